"""
Descriptors that other processes may share: their kinds, and how to open them anew.

twisted.internet.stdio.StandardIO is not used: it sets O_NONBLOCK on descriptions that
other processes share and does not always clear it, does not report the loss of the
reader of stdout, and never closes stdout.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fcntl import F_GETFL, fcntl
from functools import partial
from select import poll

#: The most bytes in one read, and the size that pipes are widened to where possible.
CHUNK = 2**18

#: Devices whose terminal depends on the process and the time: /dev/tty, /dev/console
#: and /dev/ptmx by their major number, and /dev/tty0 (Linux, admin-guide/devices).
_ALIASES = 5
_FOREGROUND = os.makedev(4, 0)


class Borrowed(socket.socket):
    """A socket object for a descriptor that it does not own: it never closes it."""

    def __del__(self) -> None:
        """Leave the descriptor open."""
        self.detach()


@dataclass(frozen=True)
class Opened:
    """
    A descriptor for a pipe, terminal, socket or file that other processes may share.

    :ivar fd: the caller closes it.
    :ivar restore: the caller calls it at the end, before it closes the descriptor that
        this one was made from.
    """

    fd: int
    restore: Callable[[], None]


def output(fd: int) -> Opened:
    """
    Return a descriptor for writing without blocking to one that may be shared.

    A terminal or a pipe is opened anew where that is possible (Linux), as O_NONBLOCK
    affects all processes that share the description: a shell reads from the same
    terminal.  A socket is left as it is, as
    :func:`twisted_tcpclient.relay.access.write_to` uses MSG_DONTWAIT.  Otherwise
    O_NONBLOCK is set, and cleared by ``restore``.

    :raises OSError: if it is not open.
    """
    anew = _opened_anew(fd, os.O_WRONLY)
    if anew is not None:
        return Opened(anew, _nothing)
    ours = os.dup(fd)
    if is_socket(fd) or not os.get_blocking(fd):
        # If two commands share the description, only the first one sets and clears
        # O_NONBLOCK.
        return Opened(ours, _nothing)
    os.set_blocking(ours, False)
    return Opened(ours, lambda: os.set_blocking(fd, True))


def source(fd: int) -> Opened:
    """
    Return a descriptor for reading without blocking from one that may be shared.

    If two processes read a pipe or a terminal, both find it readable, and one blocks in
    read(2).  So it is opened anew with O_NONBLOCK where that is possible (Linux).  A
    socket delivers urgent data in line until ``restore`` is called, as recv(2) leaves
    it out otherwise.

    :raises OSError: if it is not open.
    """
    if is_socket(fd):
        return Opened(os.dup(fd), _in_line(Borrowed(fileno=fd)))
    anew = _opened_anew(fd, os.O_RDONLY)
    if anew is None:
        return Opened(os.dup(fd), _nothing)
    if not _hung_up(fd):
        return Opened(anew, _nothing)
    os.close(anew)
    return Opened(os.dup(fd), _nothing)


def _in_line(shared: socket.socket) -> Callable[[], None]:
    """Set SO_OOBINLINE (RFC 6093, 3.3); return a function that undoes that."""
    if shared.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE):
        return _nothing
    change = partial(shared.setsockopt, socket.SOL_SOCKET, socket.SO_OOBINLINE)
    change(1)
    return partial(change, 0)


def _opened_anew(fd: int, access: int) -> int | None:
    """
    Open the same pipe or terminal once more, with O_NONBLOCK.

    :param access: O_RDONLY or O_WRONLY.
    :returns: the new descriptor; None if it cannot be opened anew.
    :raises OSError: if the descriptor is not open.
    """
    status = os.fstat(fd)
    if not (stat.S_ISFIFO(status.st_mode) or _is_itself(fd, status.st_rdev)):
        return None
    if fcntl(fd, F_GETFL) & os.O_ACCMODE not in (access, os.O_RDWR):
        # A read or write for which the descriptor is not open has to fail with EBADF.
        return None
    with suppress(OSError):
        return os.open(f"/proc/self/fd/{fd}", access | os.O_NONBLOCK | os.O_NOCTTY)
    return None


def _is_itself(fd: int, device: int) -> bool:
    """Return whether opening the device of a descriptor gives the same terminal."""
    alias = os.major(device) == _ALIASES or device == _FOREGROUND
    return os.isatty(fd) and not alias


def _hung_up(fd: int) -> bool:
    """
    Return whether a pipe has no writer.

    poll(2) never reports the end of a FIFO that had none when it was opened (fifo(7)).
    """
    asked = poll()
    asked.register(fd, 0)
    return bool(asked.poll(0))


def tells_of_readers(fd: int) -> bool:
    """
    Return whether a descriptor becomes readable when its last reader closes it.

    This is true of the write end of a pipe: poll(2) reports POLLERR.
    """
    write_only = fcntl(fd, F_GETFL) & os.O_ACCMODE == os.O_WRONLY
    return write_only and stat.S_ISFIFO(os.fstat(fd).st_mode)


def has_reader(fd: int) -> bool:
    """
    Return whether a process may still read what is written to a descriptor.

    poll(2) reports POLLERR for a pipe that has lost its last reader, POLLHUP for a UNIX
    socket whose peer is closed, and both for a TCP socket after RST.  FIN says nothing:
    it comes from a peer that has closed its socket, and from one that still reads.
    """
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return True
    asked = poll()
    asked.register(fd, 0)
    return not asked.poll(0)


def _nothing() -> None:
    """Restore nothing, as nothing was changed."""


def is_socket(fd: int) -> bool:
    """Return whether a descriptor is a socket; False if it is not open."""
    with suppress(OSError):
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    return False


def is_direct(fd: int) -> bool:
    """Return whether a descriptor is open with O_DIRECT (Linux)."""
    return bool(fcntl(fd, F_GETFL) & getattr(os, "O_DIRECT", 0))


def is_file(fd: int) -> bool:
    """Return whether a descriptor is a regular file, which is always readable."""
    return stat.S_ISREG(os.fstat(fd).st_mode)


def waits(fd: int) -> bool:
    """Return whether a read may have to wait, and the reactor can watch for it."""
    kind = os.fstat(fd).st_mode
    return stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) or os.isatty(fd)


def remaining(fd: int) -> int:
    """Return how many bytes a regular file has behind its current offset."""
    return os.fstat(fd).st_size - os.lseek(fd, 0, os.SEEK_CUR)


def widen(fd: int) -> None:
    """
    Let a pipe hold ``CHUNK`` bytes where that is possible; leave other kinds alone.

    The pipes of a user have a common limit (pipe(7)), so the maximum is not asked for.
    """
    with suppress(ImportError, OSError, ValueError):
        from fcntl import F_GETPIPE_SZ, F_SETPIPE_SZ

        if fcntl(fd, F_GETPIPE_SZ) < CHUNK:
            fcntl(fd, F_SETPIPE_SZ, CHUNK)

"""
Descriptors that are not sockets of the reactor's: what they are, what they hold,
and when they can be read or written.

Twisted's StandardIO is not used: it makes descriptions non-blocking that others
share and leaves some of them so, keeps still when the reader of stdout goes
away, and never closes what it has written to.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from fcntl import F_GETFL, fcntl, ioctl
from functools import partial
from mmap import PAGESIZE, mmap
from select import POLLIN, poll
from sys import byteorder
from termios import FIONREAD, TIOCOUTQ
from typing import Any

from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

#: Bytes that are taken at a time, and that pipes are made to hold where they can.
CHUNK = 2**18

#: The event of poll(2) for the end of a socket (Linux).  The end of a pipe is POLLHUP,
#: which poll(2) reports without being asked.
_HANG_UP = getattr(select, "POLLRDHUP", 0)

#: Reads what there is, which may be nothing yet.
#: Raises BlockingIOError if one has to wait for it, and EOFError at the end.
Read = Callable[[], "list[bytes]"]


#: Devices whose terminal depends on the process and the time: /dev/tty, /dev/console
#: and /dev/ptmx by their major number, and /dev/tty0 (Linux, admin-guide/devices).
_ALIASES = 5
_FOREGROUND = os.makedev(4, 0)
#: The device number of each master of a pseudo-terminal, that of /dev/ptmx.
_MASTER = os.makedev(_ALIASES, 2)


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
    :func:`twisted_tcpclient.relay.movers.writer` uses MSG_DONTWAIT.  Otherwise
    O_NONBLOCK is set, and cleared by ``restore``.

    :raises OSError: if it is not open.
    """
    anew = _opened_anew(fd, os.O_WRONLY)
    if anew is not None:
        return Opened(anew, _nothing)
    ours = os.dup(fd)
    if is_socket(fd) or not os.get_blocking(fd):
        # If two commands share it, only the first sets and clears O_NONBLOCK.
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
    :returns: the new descriptor; None if there cannot be one.
    :raises OSError: if the descriptor is not open.
    """
    status = os.fstat(fd)
    if not (stat.S_ISFIFO(status.st_mode) or _is_itself(fd, status.st_rdev)):
        return None
    if fcntl(fd, F_GETFL) & os.O_ACCMODE not in (access, os.O_RDWR):
        # A read or write that the descriptor is not open for stays EBADF.
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
    Whether it becomes readable when its last reader goes: a pipe that nothing
    can be read from.
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
    """Whether it is a regular file, which can be read at any time."""
    return stat.S_ISREG(os.fstat(fd).st_mode)


def waits(fd: int) -> bool:
    """Whether the next byte may be a long time in coming, which can be watched."""
    kind = os.fstat(fd).st_mode
    return stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) or os.isatty(fd)


def remaining(fd: int) -> int:
    """How many bytes a regular file has from where it stands."""
    return os.fstat(fd).st_size - os.lseek(fd, 0, os.SEEK_CUR)


class Rest(Enum):
    """What is known of the input that was not read."""

    #: There is unread input.
    SOME = auto()
    #: There is none, and none will come.
    NONE = auto()
    #: There is none yet: a pipe that has a writer, a socket that is not shut down.
    UNKNOWN = auto()


def rest(fd: int) -> Rest:
    """
    Return what is known of the unread input of a descriptor, without reading it.

    A terminal has none: what was typed ahead is for the process that reads it next.
    Neither has a character device, as its bytes belong to no session.
    """
    with suppress(OSError):
        kind = os.fstat(fd).st_mode
        if stat.S_ISREG(kind) or stat.S_ISBLK(kind):
            return Rest.SOME if _is_before_end(fd) else Rest.NONE
        if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind):
            return _of_stream(fd)
    return Rest.NONE


def _is_before_end(fd: int) -> bool:
    """
    Return whether a file or a block device has bytes behind its current offset.

    Only a read tells: files of /proc, and block devices, have the size 0.  The buffer
    is a page of its own, as O_DIRECT demands aligned memory (open(2)).
    """
    with mmap(-1, PAGESIZE) as page:
        return os.preadv(fd, [page], os.lseek(fd, 0, os.SEEK_CUR)) > 0


def _of_stream(fd: int) -> Rest:
    """Return what is known of the unread input of a pipe or a socket."""
    ready = poll()
    ready.register(fd, _HANG_UP)
    hung_up = bool(ready.poll(0))
    # After poll(2), as a writer may write and close between the two calls.
    if _amount(fd, FIONREAD) > 0:
        return Rest.SOME
    return Rest.NONE if hung_up else Rest.UNKNOWN


def outstanding(fd: int) -> int:
    """How many bytes the kernel still holds for a socket's peer, where it tells."""
    return _amount(fd, TIOCOUTQ)


def _amount(fd: int, request: int) -> int:
    """A number of bytes that the kernel is asked for; 0 where it does not say."""
    try:
        held = ioctl(fd, request, bytes(4))
    except (OSError, ValueError):
        return 0
    return int.from_bytes(held, byteorder)


def reader(fd: int) -> Read:
    """
    Return a function that reads a descriptor without blocking.

    Its blocking mode is left as it is, as other processes may share it.
    """
    fetch = _fetcher(fd)

    def read() -> list[bytes]:
        data = fetch()
        if not data:
            raise EOFError
        return [data]

    return read


def _fetcher(fd: int) -> Callable[[], bytes]:
    """Return a function that reads once; it returns nothing at the end."""
    if is_socket(fd):
        receive = Borrowed(fileno=fd).recv
        return lambda: receive(CHUNK, socket.MSG_DONTWAIT)
    status = os.fstat(fd)
    if is_direct(fd):
        read = _paged(fd)
    elif _waits_in_read(fd, status.st_mode):
        read = _instant(fd)
    else:
        read = partial(os.read, fd, CHUNK)
    ends = status.st_rdev == _MASTER
    ready = poll()
    ready.register(fd, POLLIN)

    def fetch() -> bytes:
        if not ready.poll(0):
            raise BlockingIOError
        try:
            return read()
        except OSError as error:
            # read(2) of a master fails with EIO once all slaves are closed (Linux).
            if ends and error.errno == errno.EIO:
                return b""
            raise

    return fetch


def _waits_in_read(fd: int, mode: int) -> bool:
    """Return whether read(2) may block where preadv2(2) with RWF_NOWAIT does not."""
    blocking = stat.S_ISFIFO(mode) and os.get_blocking(fd)
    return blocking and hasattr(os, "RWF_NOWAIT")


def _paged(fd: int) -> Callable[[], bytes]:
    """Return a function that reads into page-aligned memory, as O_DIRECT demands."""
    page = mmap(-1, CHUNK)
    return lambda: page[: os.readv(fd, [page])]


def _instant(fd: int) -> Callable[[], bytes]:
    """Return a function that reads a blocking pipe without waiting (Linux 6.4)."""
    page = mmap(-1, CHUNK)

    def read() -> bytes:
        try:
            # -1 is the current offset (preadv2(2)), the only one of a pipe.
            return page[: os.preadv(fd, [page], -1, os.RWF_NOWAIT)]
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return os.read(fd, CHUNK)

    return read


def widen(fd: int) -> None:
    """
    Let a pipe hold more, where that is possible; anything else is left alone.

    Not as much as may be: all pipes of a user together have a limit (pipe(7)).
    """
    with suppress(ImportError, OSError, ValueError):
        from fcntl import F_GETPIPE_SZ, F_SETPIPE_SZ

        if fcntl(fd, F_GETPIPE_SZ) < CHUNK:
            fcntl(fd, F_SETPIPE_SZ, CHUNK)


@implementer(IReadWriteDescriptor)
class Watch:
    """
    Tells when a descriptor can be read or written; it is somebody else's.

    :ivar fd: the descriptor.
    """

    def __init__(
        self,
        reactor: Any,
        fd: int,
        readable: Callable[[], None],
        writable: Callable[[], None],
    ) -> None:
        """
        :param readable: called while :meth:`reading` is on, and there is
            something to read, or the end, or an error.
        :param writable: the same for writing.
        """
        self._reactor = reactor
        self.fd = fd
        self._readable = readable
        self._writable = writable
        self._reads = self._writes = False

    def reading(self, wanted: bool) -> None:
        """Tell from now on, or no longer, when it can be read."""
        if wanted != self._reads:
            self._reads = wanted
            change = self._reactor.addReader if wanted else self._reactor.removeReader
            change(self)

    def writing(self, wanted: bool) -> None:
        """Tell from now on, or no longer, when it can be written."""
        if wanted != self._writes:
            self._writes = wanted
            change = self._reactor.addWriter if wanted else self._reactor.removeWriter
            change(self)

    def stop(self) -> None:
        """Tell nothing more."""
        self.reading(False)
        self.writing(False)

    def fileno(self) -> int:
        """The descriptor."""
        return self.fd

    def doRead(self) -> None:
        """It can be read."""
        self._readable()

    def doWrite(self) -> None:
        """It can be written."""
        self._writable()

    def connectionLost(self, reason: Failure) -> None:
        """Somebody has hung up; whoever reads or writes will see what it is."""
        reads, writes = self._reads, self._writes
        self.stop()
        if reads:
            self._readable()
        if writes:
            self._writable()

    def logPrefix(self) -> str:
        """What Twisted's log calls it."""
        return "tcpclient"

"""
Descriptors that are not sockets of the reactor's: what they are, what they hold,
and when they can be read or written.

Twisted's StandardIO is not used: it makes descriptions non-blocking that others
share and leaves some of them so, keeps still when the reader of stdout goes
away, and never closes what it has written to.
"""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from fcntl import F_GETFL, fcntl, ioctl
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

#: What poll(2) is asked for to tell of the end of a socket (Linux); it always tells of
#: that of a pipe.
_HANG_UP = getattr(select, "POLLRDHUP", 0)

#: Reads what there is, which may be nothing yet.
#: Raises BlockingIOError if one has to wait for it, and EOFError at the end.
Read = Callable[[], "list[bytes]"]


@dataclass(frozen=True)
class Output:
    """
    A descriptor to write to that does not block.

    :ivar fd: ours to close.
    :ivar restore: to be called in the end.
    """

    fd: int
    restore: Callable[[], None]


def output(fd: int) -> Output:
    """
    A way to write to a descriptor that others may share, without blocking.

    A terminal or a pipe is opened anew where the system can (Linux), as its
    description is not ours to change: a shell reads from the same terminal.
    Otherwise the description is changed, and changed back in the end.

    :raises OSError: if it is not open.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode) or os.isatty(fd):
        try:
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
            return Output(os.open(f"/proc/self/fd/{fd}", flags), _nothing)
        except OSError:
            pass
    blocking = os.get_blocking(fd)
    ours = os.dup(fd)
    os.set_blocking(ours, False)
    return Output(ours, lambda: os.set_blocking(fd, blocking))


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

    poll(2) reports POLLERR for a pipe that has lost its last reader, and POLLHUP for a
    UNIX socket whose peer is closed.  Of a TCP socket only a reset is known: FIN comes
    from a peer that has closed it and from one that still reads.
    """
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return True
    asked = poll()
    asked.register(fd, 0)
    return not asked.poll(0)


def _nothing() -> None:
    """Nothing was changed."""


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

    #: There is some.
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
    Return whether a file or a block device has more where it stands.

    Only reading tells: files of /proc, and block devices, have the size 0.  The buffer
    is a page of its own, as O_DIRECT demands (open(2)).
    """
    with mmap(-1, PAGESIZE) as page:
        return os.preadv(fd, [page], os.lseek(fd, 0, os.SEEK_CUR)) > 0


def _of_stream(fd: int) -> Rest:
    """Return the same for a pipe or a socket."""
    ready = poll()
    ready.register(fd, _HANG_UP)
    hung_up = bool(ready.poll(0))
    # Asked in this order, as a writer may write and go between the two.
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
    What reads a descriptor that may block, without blocking.

    It is asked first: it may be shared, and is not ours to change.
    """
    ready = poll()
    ready.register(fd, POLLIN)

    def read() -> list[bytes]:
        if not ready.poll(0):
            raise BlockingIOError
        data = os.read(fd, CHUNK)
        if not data:
            raise EOFError
        return [data]

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

"""
Two ends of our own on descriptors that are not sockets of the reactor's: stdin
and stdout, or the pipes to a prog.

Twisted's StandardIO is not used: it makes descriptions non-blocking that others
share and leaves some of them so, keeps still when the reader of stdout goes
away, and never closes what it has written to.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from fcntl import F_GETFL, fcntl
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure
from zope.interface import implementer

#: Bytes read at a time: what a pipe holds on Linux.
CHUNK = 65536


def _broken_pipe() -> OSError:
    return BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


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


def _nothing() -> None:
    """Nothing was changed."""


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


class Source(FileDescriptor):
    """
    Reads a descriptor until its end.  A push producer.

    The descriptor is read only when the reactor finds it readable, so it may
    block: nothing needs to be changed about it.
    """

    def __init__(
        self,
        reactor: Any,
        fd: int,
        received: Callable[[bytes], None],
        ended: Callable[[OSError | None], None],
    ) -> None:
        """
        :param fd: closed at the end.
        :param received: called with what was read.
        :param ended: called once: with None at the end of input, or with what
            went wrong.  Not called if :meth:`close` was.
        """
        super().__init__(reactor)
        self._fd = fd
        self._received = received
        self._ended = ended
        self._error: OSError | None = None
        self.connected = 1

    def fileno(self) -> int:
        """The descriptor, -1 once it is closed."""
        return self._fd

    def doRead(self) -> Exception | None:
        """Read what there is."""
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return None
        except OSError as error:
            self._error = error
            return error
        if not data:
            return CONNECTION_DONE
        self._received(data)
        return None

    def connectionLost(self, reason: Failure) -> None:
        """The end was reached, or reading failed."""
        if self._fd < 0:
            return
        ended = self._ended
        self.close()
        ended(self._error)

    def stopProducing(self) -> None:
        """Whoever consumed this has gone."""
        self.close()

    def close(self) -> None:
        """Stop reading, whatever may still come."""
        if self._fd < 0:
            return
        self._received, self._ended = lambda _: None, lambda _: None
        self.stopReading()
        self.connected = 0
        self.disconnected = 1
        os.close(self._fd)
        self._fd = -1


class Sink(FileDescriptor):
    """
    Writes a descriptor.  A consumer with a buffer.

    :ivar written: how many bytes have left the buffer.
    """

    def __init__(
        self,
        reactor: Any,
        fd: int,
        ended: Callable[[OSError | None], None],
    ) -> None:
        """
        :param fd: non-blocking; closed at the end.
        :param ended: called once: with None when ``loseConnection`` was
            called and all is written, or with what went wrong.  Not called if
            :meth:`close` was.
        """
        super().__init__(reactor)
        self._fd = fd
        self.written = 0
        self._ended = ended
        self._error: OSError | None = None
        self.connected = 1
        if tells_of_readers(fd):
            self.startReading()

    def fileno(self) -> int:
        """The descriptor, -1 once it is closed."""
        return self._fd

    def writeSomeData(self, data: bytes) -> int | Exception:
        """Write what fits."""
        try:
            written = os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._error = error
            return error
        self.written += written
        return written

    def doRead(self) -> Exception | None:
        """The last reader of the pipe has gone."""
        self._error = _broken_pipe()
        return self._error

    def connectionLost(self, reason: Failure) -> None:
        """All is written, or writing failed."""
        if self._fd < 0:
            return
        if not (self.disconnecting and reason.check(ConnectionDone)):
            # Reactors call it ConnectionDone too when the other end of a pipe
            # goes away: only after loseConnection does it mean success.
            self._error = self._error or _broken_pipe()
        ended, error = self._ended, self._error
        self.close()
        ended(error)

    def close(self) -> None:
        """Close, whatever may still be in the buffer."""
        if self._fd < 0:
            return
        self._ended = lambda _: None
        # First, as otherwise letting go of the producer begins to write again.
        self.connected = 0
        self.disconnected = 1
        if self.producer is not None:
            self.unregisterProducer()
        self.stopReading()
        self.stopWriting()
        os.close(self._fd)
        self._fd = -1

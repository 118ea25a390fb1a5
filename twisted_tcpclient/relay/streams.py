"""
Streams: one descriptor that is read, and one that is written, as parts of a transport.

They may be pipes to whoever has made us its prog.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionDone
from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure

from twisted_tcpclient.relay.descriptors import output, reader, source, tells_of_readers
from twisted_tcpclient.relay.movers import writer


def _broken_pipe() -> OSError:
    return BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class Source(FileDescriptor):
    """
    Reads a descriptor until its end.  A push producer.
    """

    def __init__(
        self,
        reactor: Any,
        fd: int,
        received: Callable[[bytes], None],
        ended: Callable[[OSError | None], None],
    ) -> None:
        """
        :param fd: of any kind; its flags are restored and it is closed at the end.
        :param received: called with what was read.
        :param ended: called once: with None at the end of input, or with what
            went wrong.  Not called if :meth:`close` was.
        """
        super().__init__(reactor)
        self._given = fd
        self._opened = source(fd)
        self._fd = self._opened.fd
        self._read = reader(self._fd)
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
            pieces = self._read()
        except BlockingIOError:
            return None
        except EOFError:
            return CONNECTION_DONE
        except OSError as error:
            self._error = error
            return error
        self._received(b"".join(pieces))
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
        self._opened.restore()
        os.close(self._given)
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
        :param fd: of any kind; its flags are restored and it is closed at the end.
        :param ended: called once: with None when ``loseConnection`` was
            called and all is written, or with what went wrong.  Not called if
            :meth:`close` was.
        """
        super().__init__(reactor)
        self._given = fd
        self._opened = output(fd)
        self._fd = self._opened.fd
        self._write = writer(self._fd)
        self.written = 0
        self._ended = ended
        self._error: OSError | None = None
        self.connected = 1
        if tells_of_readers(self._fd):
            self.startReading()

    def fileno(self) -> int:
        """The descriptor, -1 once it is closed."""
        return self._fd

    def writeSomeData(self, data: bytes) -> int | Exception:
        """Write what fits."""
        try:
            written = self._write([data])
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
        self._opened.restore()
        os.close(self._given)
        self._fd = -1

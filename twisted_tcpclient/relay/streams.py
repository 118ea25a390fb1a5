"""
Streams: a descriptor that is read and a descriptor that is written, for ``ucspi``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionDone
from twisted.internet.main import CONNECTION_DONE
from twisted.python.failure import Failure

from twisted_tcpclient.relay.access import read_from, write_to
from twisted_tcpclient.relay.descriptors import output, source, tells_of_readers
from twisted_tcpclient.relay.endings import broken_pipe


class Source(FileDescriptor):
    """
    A descriptor that is read until EOF.  A push producer.
    """

    def __init__(
        self,
        reactor: Any,
        fd: int,
        received: Callable[[bytes], None],
        ended: Callable[[OSError | None], None],
    ) -> None:
        """
        :param reactor: reads the descriptor.
        :param fd: of any kind; its flags are restored, and it is closed.
        :param received: called with the bytes.
        :param ended: called once: with None at EOF, or with the error of reading.  Not
            called after :meth:`close`.
        """
        super().__init__(reactor)
        self._given = fd
        self._opened = source(fd)
        self._fd = self._opened.fd
        self._read = read_from(self._fd)
        self._received = received
        self._ended = ended
        self._error: OSError | None = None
        self.connected = 1

    def fileno(self) -> int:
        """Return the descriptor; -1 when it is closed."""
        return self._fd

    def doRead(self) -> Exception | None:
        """Read once, and give the bytes to ``received``."""
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
        """Close, and call ``ended`` with the error of reading, if any."""
        if self._fd < 0:
            return
        ended = self._ended
        self.close()
        ended(self._error)

    def stopProducing(self) -> None:
        """Close: the consumer is gone."""
        self.close()

    def close(self) -> None:
        """Close the descriptor; neither function is called any more."""
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
    A descriptor that is written.  A consumer with a buffer.

    :ivar written: how many bytes have left the buffer.
    """

    def __init__(
        self,
        reactor: Any,
        fd: int,
        ended: Callable[[OSError | None], None],
    ) -> None:
        """
        :param reactor: writes the descriptor.
        :param fd: of any kind; its flags are restored, and it is closed.
        :param ended: called once: with None when ``loseConnection`` was called and the
            buffer is written, or with the error of writing.  Not called after
            :meth:`close`.
        """
        super().__init__(reactor)
        self._given = fd
        self._opened = output(fd)
        self._fd = self._opened.fd
        self._write = write_to(self._fd)
        self.written = 0
        self._ended = ended
        self._error: OSError | None = None
        self.connected = 1

    def start(self) -> None:
        """Watch for the loss of the last reader, if the descriptor is a pipe."""
        if tells_of_readers(self._fd):
            self.startReading()

    def fileno(self) -> int:
        """Return the descriptor; -1 when it is closed."""
        return self._fd

    def writeSomeData(self, data: bytes) -> int | Exception:
        """Write as much as the descriptor takes."""
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
        """Note EPIPE: the reactor reports that the pipe has no reader."""
        self._error = broken_pipe()
        return self._error

    def connectionLost(self, reason: Failure) -> None:
        """Close, and call ``ended`` with the error of writing, if any."""
        if self._fd < 0:
            return
        if not (self.disconnecting and reason.check(ConnectionDone)):
            # Reactors also give ConnectionDone when the reader of a pipe is gone.
            # ConnectionDone means success only after loseConnection.
            self._error = self._error or broken_pipe()
        ended, error = self._ended, self._error
        self.close()
        ended(error)

    def close(self) -> None:
        """Close the descriptor, drop the buffer, and do not call ``ended`` any more."""
        if self._fd < 0:
            return
        self._ended = lambda _: None
        # unregisterProducer starts writing if ``connected`` is true, so clear it first.
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

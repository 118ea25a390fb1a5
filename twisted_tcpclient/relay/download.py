"""
The download of a session: the direction from the server to the local output.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted_tcpclient.relay.descriptors import has_reader, tells_of_readers
from twisted_tcpclient.relay.endings import broken_pipe
from twisted_tcpclient.relay.pump import Pump, State
from twisted_tcpclient.relay.side import Side
from twisted_tcpclient.relay.watch import Watch
from twisted_tcpclient.relay.wire import Reply, Wire


class Download:
    """Delivers what the server sends to the local output."""

    def __init__(
        self,
        reactor: Any,
        wire: Wire,
        network: Watch,
        fd: int,
        *,
        reply: Reply,
        ended: Callable[[Exception | None], None],
        failed: Callable[[OSError], None],
        deserted: Callable[[], None],
    ) -> None:
        """
        :param network: the watch of the wire.
        :param fd: the output.
        :param reply: called with the records that TLS has to send in reply.
        :param ended: called once, when the server's side has ended and all is
            delivered: with None or EOFError after an orderly end, or with the error.
        :param failed: called when the output takes no more.
        :param deserted: called when the last reader of the output has closed it, and
            nothing is undelivered.
        """
        self._failed = failed
        self._deserted = deserted
        self._output = Side(reactor, fd, self._reader_left, self.turn)
        self._pump = Pump(
            wire.receiving(fd, reply),
            network,
            self._output.watch,
            network,
            ended,
            failed,
        )

    def start(self) -> None:
        """Watch for the loss of the last reader, if the output is a pipe."""
        self._output.watch.reading(tells_of_readers(self._output.fd))

    def turn(self) -> None:
        """Move bytes from the server to the output."""
        self._pump.turn()

    def discard(self) -> None:
        """Close the output, and discard what the server still sends."""
        self._output.close()
        self._pump.discard()

    def stop(self) -> None:
        """Deliver nothing more, and close the output."""
        self._output.close()
        self._pump.stop()

    def _reader_left(self) -> None:
        self._output.watch.reading(False)
        if self._pump.held:
            self._failed(broken_pipe())
        else:
            self._deserted()

    # State.

    @property
    def has_ended(self) -> bool:
        """Whether the server's side has ended, and all that it sent is delivered."""
        return self._pump.state is not State.OPEN

    @property
    def has_output(self) -> bool:
        """Whether the output is still open."""
        return self._output.is_open

    @property
    def has_reader(self) -> bool:
        """
        Whether a process may read the output.

        If bytes are undelivered, the next write shows whether there is a reader.
        """
        if not self._output.is_open:
            return False
        return self._pump.held > 0 or has_reader(self._output.fd)

    @property
    def undelivered(self) -> int:
        """How many bytes were received and are not delivered."""
        return self._pump.held

    @property
    def received(self) -> int:
        """How many bytes the server has sent, also before the relay began."""
        return self._pump.given + self._pump.held

    def moved(self) -> tuple[int, ...]:
        """Return counters that change whenever bytes have moved."""
        return self._pump.taken, self._pump.given

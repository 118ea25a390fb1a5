"""
The upload of a session: the direction from the local input to the server.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from twisted_tcpclient.errors import ConnectionBroken, TCPClientError
from twisted_tcpclient.relay.access import Read, read_from
from twisted_tcpclient.relay.descriptors import waits
from twisted_tcpclient.relay.pump import Pump, State
from twisted_tcpclient.relay.queues import Unread, unread
from twisted_tcpclient.relay.side import Side
from twisted_tcpclient.relay.watch import Watch
from twisted_tcpclient.relay.wire import Wire

#: The most bytes of TLS itself that may wait for a server that does not read them.
UNHEARD = 2**20


class Upload:
    """
    Sends the local input to the server, and the records of TLS itself.

    Bytes that are not input (``_tail``) may follow the last byte of input.  The kernel
    counts them as unacknowledged; they are subtracted, as no input is lost with them.
    """

    def __init__(
        self,
        reactor: Any,
        wire: Wire,
        network: Watch,
        fd: int,
        translate: Callable[[bytes], bytes] | None,
        *,
        heard: Callable[[], int],
        ended: Callable[[Exception | None], None],
        failed: Callable[[OSError | TCPClientError], None],
    ) -> None:
        """
        :param network: the watch of the wire.
        :param fd: the input.
        :param translate: applied to the input before it is sent.
        :param heard: returns how many bytes the server has sent.
        :param ended: called once, after the input was closed: with None at its end, or
            with the error.
        :param failed: called when the server takes no more.
        """
        self._wire = wire
        self._heard = heard
        self._ended = ended
        self._failed = failed
        self._as_is = translate is None and not wire.secure
        self._owed = True
        self._tail = 0
        self._answered_from = 0
        self._input = Side(reactor, fd, self.turn, self.turn)
        read = read_from(fd)
        if translate is None:
            mover = wire.sending(fd, read)
        else:
            mover = wire.sending(None, _translated(read, translate))
        between = self._input.watch if waits(fd) else network
        self._pump = Pump(
            mover, self._input.watch, network, between, self._input_ended, failed
        )

    # Moving bytes.

    def turn(self) -> None:
        """Move input to the server."""
        self._move(self._pump.turn)

    def send_records(self, records: bytes, released: bool) -> None:
        """
        Send records of TLS itself: answers, close_notify, alerts.

        :param released: whether they hold input that TLS had withheld.
        """
        self._tail = 0 if released else self._tail + len(records)
        self._move(partial(self._pump.push, records))
        if self._pump.held > UNHEARD:
            self._failed(ConnectionBroken("the server does not read TLS's answers"))

    def _move(self, move: Callable[[], None]) -> None:
        """Move bytes; if any moved, record how much the server had sent by then."""
        pump = self._pump
        taken, given = pump.taken, pump.given
        move()
        if pump.taken != taken:
            self._tail = 0
        if (pump.taken, pump.given) != (taken, given):
            self._answered_from = self._heard()

    # The end.

    def tell(self) -> None:
        """Tell the server that no more input will be sent."""
        self._owed = bool(self.unsent or self.unacknowledged)
        if not self._wire.secure:
            # The kernel counts FIN as a byte.
            self._tail += 1
        self._end()

    def close_notify(self) -> None:
        """Send close_notify, if the wire is TLS."""
        if self._wire.secure:
            self._end()

    def finish(self, then: Callable[[], None]) -> None:
        """Read no more input, and call ``then`` once all that was read is sent."""
        self._pump.finish(then)

    def stop(self) -> None:
        """Send nothing more, and close the input."""
        self._close_input()
        self._pump.stop()

    def _end(self) -> None:
        records = self._wire.end()
        if records:
            self.send_records(records, released=False)

    def _input_ended(self, error: Exception | None) -> None:
        self._close_input()
        self._ended(error)

    def _close_input(self) -> None:
        """
        Close the input.

        The offset of a file is moved back over bytes that were read and not sent, so
        that the next process that reads the file gets them.
        """
        if self._as_is and self._input.is_open and self._pump.ahead:
            with suppress(OSError):
                os.lseek(self._input.fd, -self._pump.ahead, os.SEEK_CUR)
        self._input.close()

    # State.

    @property
    def has_ended(self) -> bool:
        """Whether no more input is read."""
        return not self._input.is_open

    @property
    def unsent(self) -> int:
        """How many bytes were read and are not given to the kernel."""
        return self._pump.held if self._owed else 0

    @property
    def unacknowledged(self) -> int:
        """How many bytes of input the server has not acknowledged."""
        return max(0, self._wire.unsent() - self._tail) if self._owed else 0

    @property
    def sent(self) -> int:
        """How many bytes were given to the kernel."""
        return self._pump.given

    @property
    def answered(self) -> bool:
        """Whether the server has sent a byte since the last byte was sent to it."""
        return self._heard() > self._answered_from

    def unread(self) -> Unread:
        """Return whether the input has bytes that were not read."""
        return unread(self._input.fd) if self._input.is_open else Unread.NONE

    def is_refused(self, ended: bool) -> bool:
        """
        Return whether the server has refused input.

        :param ended: whether the server has ended in order.  A read does not report a
            RST after that, so SO_ERROR is read.
        """
        if not self._owed:
            return False
        if self._pump.state is State.DONE:
            return True
        return ended and self.unacknowledged > 0 and self._wire.refused()

    def moved(self) -> tuple[int, ...]:
        """Return counters that change whenever bytes have moved."""
        return self._pump.taken, self._pump.given, self._wire.unsent()


def _translated(read: Read, translate: Callable[[bytes], bytes]) -> Read:
    """Return a function that reads and translates."""
    return lambda: [*map(translate, read())]

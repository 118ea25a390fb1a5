"""
The outcome of a session: its error, if there is one, and the closing of its connection.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred

from twisted_tcpclient.relay.wire import Wire


class Closing:
    """
    Closes the connection of a session, and fires a Deferred with its outcome.

    :ivar error: the error that the session fails with; None if it is in order so far.
    :ivar fired: fires once the connection is closed.  Cancelling it closes the
        connection.
    """

    def __init__(self, wire: Wire, stop: Callable[[], None]) -> None:
        """:param stop: called before the connection is closed, to move nothing more."""
        self._wire = wire
        self._stop = stop
        self.error: Exception | None = None
        self.fired: Deferred[None] = Deferred(lambda _: self.fail(CancelledError()))

    def blame(self, error: Exception | None) -> None:
        """Set the error, unless there is one already."""
        self.error = self.error or error

    def close(self) -> None:
        """Close the connection in order."""
        self._stop()
        self._wire.close(self._fire)

    def leave(self) -> None:
        """
        Close the connection without waiting for the server.

        The kernel still sends the bytes that it was given.  So the next process that
        reads an input file begins after those bytes.
        """
        self._stop()
        self._wire.leave()
        self._fire()

    def fail(self, error: Exception) -> None:
        """Close the connection at once, even if it is being closed already."""
        self.blame(error)
        self._stop()
        self._wire.abort()
        self._fire()

    def _fire(self) -> None:
        if not self.fired.called:
            if self.error is None:
                self.fired.callback(None)
            else:
                self.fired.errback(self.error)

"""
A wire over a Twisted transport of any kind, which keeps its socket.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from twisted_tcpclient.relay.access import Read, write_to
from twisted_tcpclient.relay.below import Below
from twisted_tcpclient.relay.endings import broken_pipe
from twisted_tcpclient.relay.movers import Copy, Mover
from twisted_tcpclient.relay.outlet import Outlet, Room
from twisted_tcpclient.relay.watch import Call, Prompted, Watch
from twisted_tcpclient.relay.wire import Reply

#: The most bytes that follow the input when Twisted ends TLS: close_notify, in a record
#: of at most 85 (AES-256-CBC with HMAC-SHA384), and FIN.
_FAREWELL = 100

#: Seconds between two looks for a close_notify that Twisted has not reported.
_LOOK = 1.0


def _flow(transport: Any, wanted: bool) -> None:
    """Resume a transport if bytes are wanted; pause it otherwise."""
    if wanted:
        transport.resumeProducing()
    else:
        transport.pauseProducing()


class _Lookout:
    """
    Looks for the server's close_notify.

    Twisted answers close_notify, but reports it only once its buffer is written, which
    never happens if the server does not read.  Until then Twisted drops the bytes that
    it is given.  So the session is polled.
    """

    def __init__(
        self, clock: IReactorTime, transport: Any, found: Callable[[], None]
    ) -> None:
        """:param found: called at each look after close_notify has come."""
        self._transport = transport
        self._found = found
        self._looking = LoopingCall(self.look)
        self._looking.clock = clock

    def start(self) -> None:
        """Look now, and every ``_LOOK`` seconds."""
        self._looking.start(_LOOK)

    def look(self) -> None:
        """Call ``found`` if close_notify has come and Twisted has answered it."""
        from twisted_tcpclient.tls import sessions

        # Twisted answers close_notify; it does not answer a fatal alert.
        answered = sessions.is_closing(self._transport)
        if answered and sessions.has_been_closed(self._transport):
            self._found()

    def stop(self) -> None:
        """Stop looking."""
        if self._looking.running:
            self._looking.stop()


class Lent:
    """
    A connection over a Twisted transport of any kind, which keeps its socket.

    :ivar secure: whether it is TLS.
    """

    def __init__(
        self, clock: IReactorTime, transport: Any, early: list[bytes], secure: bool
    ) -> None:
        """
        :param clock: the reactor.
        :param transport: connected, and paused.
        :param early: bytes that have come already, in pieces.
        :param secure: whether it is TLS.
        """
        self.secure = secure
        self._transport = transport
        self._incoming = early
        self._error: Exception | None = None
        self._closed: Callable[[], None] = lambda: None
        self._watch = Prompted(clock, self._ready, partial(_flow, transport))
        self._outlet = Outlet(clock, transport, self._watch.prompt)
        self._below = Below(transport)
        self._lookout = _Lookout(clock, transport, lambda: self.ended(None))

    # Reports of Twisted.

    def deliver(self, data: bytes) -> None:
        """Keep bytes from the server for the relay."""
        self._incoming.append(data)
        self._watch.prompt()

    def ended(self, error: Exception | None) -> None:
        """Handle the end of the server's side, which is in order without an error."""
        if self._error is None:
            # Over TLS, close_notify makes an end orderly, so SO_ERROR is not read.
            broken = None if self.secure else self._below.kernel_error()
            self._error = error or broken or EOFError()
        self._lookout.stop()
        self._watch.prompt()

    def lost(self, error: Exception | None) -> None:
        """Handle the loss of the connection, with its error or None if in order."""
        self._outlet.lose()
        if error is not None:
            # The kernel closes the connection when its last descriptor is closed, which
            # is the duplicate.
            self._below.close()
        self.ended(error)
        self._closed()

    # Requests of the relay.

    def start(self) -> None:
        """Register as a producer; over TLS, look for close_notify every second."""
        self._below.start()
        self._outlet.start()
        if self.secure and self._error is None:
            self._lookout.start()

    def watch(self, reactor: Any, readable: Call, writable: Call) -> Watch:
        """Return a watch of the transport."""
        self._watch.calls(readable, writable)
        return self._watch

    def receiving(self, sink: int, reply: Reply) -> Mover:
        """Return a copy of the bytes that Twisted delivers; Twisted replies for TLS."""
        return Copy(self._read, write_to(sink))

    def sending(self, source: int | None, read: Read) -> Mover:
        """Return a mover that copies what ``read`` returns to the transport."""
        return Copy(read, self._write)

    def end(self) -> bytes:
        """Have Twisted send FIN, or close_notify over TLS, and return b""."""
        if self._outlet.room is not Room.GONE:
            # Twisted ends a connection only when it has no producer.
            self._transport.unregisterProducer()
            if self.secure:
                self._transport.loseConnection()
            else:
                self._transport.loseWriteConnection()
        return b""

    def break_off(self) -> None:
        """Do nothing: the connection is gone, so nothing more can come."""

    def hang_up(self) -> None:
        """Do nothing: Twisted sends FIN once the server has answered close_notify."""

    def refused(self) -> bool:
        """Return whether a RST has come, as far as the socket is known."""
        return self._below.refused()

    def unsent(self) -> int:
        """Return how many bytes Twisted and the kernel hold, as far as is known."""
        if self.secure and self._outlet.room is Room.GONE and self._below.is_open:
            return self._below.unsent_but(_FAREWELL)
        return self._outlet.untried + self._below.unsent()

    def close(self, then: Callable[[], None]) -> None:
        """Close once all is written, and call ``then`` when that is done."""
        self._stop()
        if self._outlet.room is Room.GONE:
            then()
        else:
            self._closed = then
            self._transport.unregisterProducer()
            self._transport.loseConnection()

    def leave(self) -> None:
        """Close with a RST: ``loseConnection`` would wait for the server."""
        self.abort()

    def abort(self) -> None:
        """Close with a RST, if the connection is open."""
        self._stop()
        if self._outlet.room is not Room.GONE:
            self._transport.abortConnection()

    # Bytes.

    def _ready(self) -> tuple[bool, bool]:
        """Return whether the relay can read, and whether it can write."""
        can_read = bool(self._incoming) or self._error is not None
        return can_read, self._outlet.room is not Room.FULL

    def _read(self) -> list[bytes]:
        pieces, self._incoming = self._incoming, []
        if pieces:
            return pieces
        raise self._error or BlockingIOError

    def _write(self, pieces: list[bytes]) -> int:
        if self.secure and self._error is None:
            self._lookout.look()
        gone = self._outlet.room is Room.GONE
        if gone or (self.secure and self._error is not None):
            raise broken_pipe()
        if self._outlet.room is Room.FULL:
            raise BlockingIOError
        data = b"".join(pieces)
        self._outlet.write(data)
        return len(data)

    def _stop(self) -> None:
        """Stop looking and counting, and close the duplicate of the socket."""
        self._lookout.stop()
        self._outlet.stop()
        self._below.close()

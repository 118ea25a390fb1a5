"""
A wire that stays in Twisted's hands: any transport will do.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

from twisted_tcpclient.descriptors import Read, Watch, outstanding
from twisted_tcpclient.endings import has_refused, of_kernel
from twisted_tcpclient.movers import Copy, Mover, writer
from twisted_tcpclient.wire import Wire

#: Seconds between two looks for a close_notify that Twisted has not reported.
LOOK = 1.0


@implementer(IPushProducer)
class Lent(Wire, Watch):
    """A connection that stays in Twisted's hands: any transport will do."""

    def __init__(
        self, clock: IReactorTime, transport: Any, early: list[bytes], secure: bool
    ) -> None:
        self._clock = clock
        self._transport = transport
        self._incoming = early
        self.secure = secure
        self.fd = -1
        self._end: Exception | None = None
        self._full = self._gone = False
        self._reads = self._writes = False
        self._later: IDelayedCall | None = None
        self._looking: IDelayedCall | None = None
        self._closed: Callable[[], None] = lambda: None
        self._below = None if secure else _socket_below(transport)
        if self._below is not None:
            # recv(2) leaves urgent data out otherwise (RFC 6093, 3.3).
            self._below.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)

    # From Twisted.

    def received(self, data: bytes) -> None:
        """Something has come."""
        self._incoming.append(data)
        self._look()

    def ended(self, error: Exception | None) -> None:
        """Handle the end of what comes from the server."""
        broken = of_kernel(self._below) if self._below is not None else None
        self._end = self._end or error or broken or EOFError()
        self._look()

    def lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._gone = True
        # Whoever waits to write is to hear of it.
        self._full = False
        self.ended(error)
        self._forget()
        self._closed()

    def _forget(self) -> None:
        """Ask the kernel nothing more."""
        if self._below is not None:
            self._below.close()
            self._below = None

    def pauseProducing(self) -> None:
        """The server is slow."""
        self._full = True

    def resumeProducing(self) -> None:
        """The server is ready."""
        self._full = False
        self._look()

    def stopProducing(self) -> None:
        """The connection is gone, which is told otherwise."""

    # For the pumps.

    def watch(
        self,
        reactor: Any,
        readable: Callable[[], None],
        writable: Callable[[], None],
    ) -> Watch:
        """Be that."""
        self._readable, self._writable = readable, writable
        self._transport.registerProducer(self, True)
        if self.secure:
            self._look_for_close(False)
        return self

    def _look_for_close(self, closed: bool) -> None:
        """
        Look for close_notify from time to time.

        Twisted's TLS reports it only when all that it was given is sent, which a server
        that has closed may never take.

        :param closed: whether the last look has found it.  A fatal alert looks the
            same, but Twisted reports an alert within an iteration of the reactor.
        """
        from twisted_tcpclient.tls.sessions import has_been_closed

        self._looking = None
        now_closed = bool(has_been_closed(self._transport))
        if closed and now_closed:
            self.ended(None)
        elif not self._gone:
            self._looking = self._clock.callLater(
                LOOK, self._look_for_close, now_closed
            )

    def reading(self, wanted: bool) -> None:
        """Tell from now on, or no longer, when something has come."""
        if wanted != self._reads:
            self._reads = wanted
            if wanted:
                self._transport.resumeProducing()
            else:
                self._transport.pauseProducing()
        self._look_later()

    def writing(self, wanted: bool) -> None:
        """Tell from now on, or no longer, when more can be sent."""
        self._writes = wanted
        self._look_later()

    def _ready(self) -> tuple[bool, bool]:
        reads = self._reads and bool(self._incoming or self._end)
        return reads, self._writes and not self._full

    def _look_later(self) -> None:
        if any(self._ready()) and self._later is None:
            self._later = self._clock.callLater(0, self._look)

    def _look(self) -> None:
        if self._later is not None and self._later.active():
            self._later.cancel()
        self._later = None
        reads, writes = self._ready()
        if reads:
            self._readable()
        if writes:
            self._writable()

    def download(self, sink: int, fast: bool) -> Mover:
        """What writes what comes to that descriptor."""
        return Copy(self._take, writer(sink))

    def upload(self, source: int, read: Read, fast: bool) -> Mover:
        """What sends what is read."""
        return Copy(read, self._give)

    def _take(self) -> list[bytes]:
        pieces, self._incoming = self._incoming, []
        if pieces:
            return pieces
        raise self._end or BlockingIOError

    def _give(self, pieces: list[bytes]) -> int:
        if self._gone:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        if self._full:
            raise BlockingIOError
        self._transport.write(b"".join(pieces))
        return sum(map(len, pieces))

    # The end.

    def end(self) -> None:
        """Tell the server that no more will be sent."""
        if not self._gone:
            # A registered producer would keep the close from ever happening.
            self._transport.unregisterProducer()
            if self.secure:
                self._transport.loseConnection()
            else:
                self._transport.loseWriteConnection()

    def break_off(self) -> None:
        """It is gone: nothing more comes than what has come."""

    def hang_up(self) -> None:
        """Do nothing: Twisted sends FIN once the server has answered close_notify."""

    def refused(self) -> bool:
        """Return whether a RST has come, as far as the socket is known."""
        return self._below is not None and has_refused(self._below)

    def leave(self) -> None:
        """Close without waiting for the server, as ``loseConnection`` would."""
        self.abort()

    def unsent(self) -> int:
        """How many bytes the kernel still holds for the peer, where it tells."""
        try:
            return outstanding(self._transport.fileno())
        except (AttributeError, TypeError):
            # There is no descriptor below it.
            return 0

    def close(self, then: Callable[[], None]) -> None:
        """Close in good order; that is done when all is written."""
        if self._gone:
            then()
        else:
            self._closed = then
            self._transport.unregisterProducer()
            self._transport.loseConnection()

    def abort(self) -> None:
        """Close with a reset."""
        if not self._gone:
            self._transport.abortConnection()

    def stop(self) -> None:
        """Tell nothing more."""
        self._forget()
        self._reads = self._writes = False
        for call in (self._later, self._looking):
            if call is not None and call.active():
                call.cancel()
        self._later = self._looking = None


def _socket_below(transport: Any) -> socket.socket | None:
    """
    The socket of a transport once more, if there is one below it: how a connection
    has ended is asked for when Twisted has closed its own.
    """
    with suppress(AttributeError, TypeError, OSError):
        fd = transport.fileno()
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            return socket.socket(fileno=os.dup(fd))
    return None

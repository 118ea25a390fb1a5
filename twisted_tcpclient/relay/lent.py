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

from twisted_tcpclient.relay.descriptors import Read, Watch, outstanding
from twisted_tcpclient.relay.endings import has_refused, of_kernel
from twisted_tcpclient.relay.movers import Copy, Mover, writer
from twisted_tcpclient.relay.wire import Wire

#: Bytes that may follow the input when TLS ends in Twisted's hands: close_notify, in a
#: record that takes at most 85 (AES-256-CBC with HMAC-SHA384), and FIN.
_FAREWELL = 100

#: Seconds between two looks for a close_notify that Twisted has not reported.
_LOOK = 1.0

#: Turns of the reactor after which Twisted has tried to write what it was given: its
#: TLS may gather for one.
_TURNS = 2


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
        self._untried = self._turns = 0
        self._trying: IDelayedCall | None = None
        self._below = _socket_below(transport)
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
        self._end = self._end or error or self._broken() or EOFError()
        self._look()

    def lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._gone = True
        # Whoever waits to write is to hear of it.
        self._full = False
        if error is not None:
            # A connection that was given up is gone with the last of its descriptors.
            self._forget()
        self.ended(error)
        self._closed()

    def _broken(self) -> OSError | None:
        """Return the error of the kernel's; over TLS close_notify tells instead."""
        if self.secure or self._below is None:
            return None
        return of_kernel(self._below)

    def _forget(self) -> None:
        """Ask the kernel nothing more."""
        if self._below is not None:
            self._below.close()
            self._below = None

    def pauseProducing(self) -> None:
        """The server is slow."""
        self._full = True

    def _notice(self) -> None:
        """
        See whether the server has said close_notify: Twisted tells once all is written,
        drops what it is given meanwhile, and a server may never take the rest.
        """
        if self.secure and self._end is None:
            from twisted_tcpclient.tls import sessions

            # Twisted answers close_notify; a fatal alert it does not.
            answered = sessions.is_closing(self._transport)
            if answered and sessions.has_been_closed(self._transport):
                self.ended(None)

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
            self._look_for_close()
        return self

    def _look_for_close(self) -> None:
        """Look for close_notify from time to time."""
        self._looking = None
        self._notice()
        if self._end is None:
            self._looking = self._clock.callLater(_LOOK, self._look_for_close)

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
        self._notice()
        if self._gone or (self.secure and self._end is not None):
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        if self._full:
            raise BlockingIOError
        self._transport.write(b"".join(pieces))
        given = sum(map(len, pieces))
        self._untried += given
        self._turns = _TURNS
        if self._trying is None:
            self._trying = self._clock.callLater(0, self._turned)
        return given

    def _turned(self) -> None:
        """Twisted has had a turn: what it could not write, the kernel tells of."""
        self._trying = None
        self._turns -= 1
        if self._turns:
            self._trying = self._clock.callLater(0, self._turned)
        else:
            self._untried = 0

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
        """How many bytes the kernel and Twisted still hold, where they tell."""
        if self._below is None:
            return self._untried
        held = outstanding(self._below.fileno())
        if self.secure and self._gone:
            # A UNIX socket counts what its buffers take, not what is in them.
            is_unix = self._below.family == socket.AF_UNIX
            return 0 if is_unix else max(0, held - _FAREWELL)
        return self._untried + held

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
        for call in (self._later, self._trying, self._looking):
            if call is not None and call.active():
                call.cancel()
        self._later = self._trying = self._looking = None


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

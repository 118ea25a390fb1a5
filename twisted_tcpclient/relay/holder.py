"""
The holder: the protocol that keeps a new connection until it is used.

Twisted connects, negotiates and does the handshake.  After that the relay or prog uses
the connection.  If the transport is a socket of Twisted's, or TLS of this package over
one, the holder takes out the socket, and over TLS also the session.  It lends any other
transport to the relay as it is.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IPullProducer,
    IReactorTime,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_tcpclient.facts import is_complete, is_secure
from twisted_tcpclient.relay.endings import of_transport
from twisted_tcpclient.relay.lent import Lent
from twisted_tcpclient.relay.wire import Clear, Ended, Secure, Wire


@implementer(IPullProducer)
class _Flush:
    """Calls a function once a transport has written all that it was given."""

    def __init__(self, transport: Any, then: Callable[[], None]) -> None:
        self._transport = transport
        self._then = then
        self._asked = False

    def start(self) -> None:
        """Register as a pull producer: called at once, and when the buffer is empty."""
        self._transport.registerProducer(self, False)
        self._transport.startWriting()

    def resumeProducing(self) -> None:
        """Ignore the first request; the second one means that the buffer is empty."""
        if not self._asked:
            self._asked = True
        else:
            self._transport.unregisterProducer()
            self._then()

    def stopProducing(self) -> None:
        """Do nothing: the transport reports the loss to its protocol."""


@implementer(IHalfCloseableProtocol)
class Holder(Protocol):
    """
    Keeps a connection, and the bytes that arrive meanwhile, until it is used.

    A connection can be used once, by :meth:`take_socket` or by :meth:`wire`.
    """

    transport: Any

    def __init__(self) -> None:
        self._early: list[bytes] = []
        self._finished = self._lost = False
        self._error: Exception | None = None
        self._settled: Deferred[None] | None = None
        self._wire: Wire | None = None
        self._lent: Lent | None = None

    # From Twisted.

    def connectionMade(self) -> None:
        """Substitute the methods that the transport lacks, and pause the transport."""
        if not is_complete(self.transport):
            from twisted_tcpclient.stages.foreign import Completed

            self.transport = Completed(self.transport)
        self.transport.pauseProducing()

    def dataReceived(self, data: bytes) -> None:
        """Keep the data, or give it to the wire."""
        if self._lent is None:
            self._early.append(data)
        else:
            self._lent.deliver(data)

    def readConnectionLost(self) -> None:
        """Record the server's FIN, or report it to the wire."""
        if self._lent is None:
            self._finished = True
        else:
            self._lent.ended(None)

    def writeConnectionLost(self) -> None:
        """Do nothing: the wire has sent FIN."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Record the end, or report it to the wire; ignore it for a taken socket."""
        if self._wire is not None and self._lent is None:
            return
        self._lost = True
        self._error = of_transport(self.transport, reason)
        if self._lent is not None:
            self._lent.lost(self._error)
        self._fire()

    # The use.

    async def take_socket(self, reactor: Any) -> int | None:
        """
        Take out the socket of a connection in clear from which nothing was read.

        :returns: its descriptor, in blocking mode, which the caller closes; None for
            any other connection, which is left as it is.
        """
        if not self._is_bare():
            return None
        await self._wait_until_settled(reactor, self.transport)
        if not self._is_bare() or self._lost:
            return None
        self._wire = Ended([], None)
        taken = _taken_out(self.transport)
        taken.setblocking(True)
        return taken.detach()

    async def wire(self, reactor: Any) -> Wire:
        """
        Return the connection as a wire, without its transport where that is possible.

        The last bytes of the handshake have to be written first, so a server that does
        not read delays this.
        """
        below = self._below()
        if below is not None:
            await self._wait_until_settled(reactor, below)
        self._wire = self._made(reactor)
        return self._wire

    def abort(self) -> None:
        """Abort the connection, whether it was used or not."""
        if self._wire is not None:
            self._wire.abort()
        elif not self._lost:
            self.transport.abortConnection()

    def _is_bare(self) -> bool:
        """Return whether the transport is a socket, from which nothing was read."""
        return _is_socket(self.transport) and not self._early

    def _below(self) -> Any:
        """
        Return the transport whose socket can be taken out, None if there is none.

        That is a socket in clear, or the socket below TLS of this package.
        """
        if self._is_bare():
            return self.transport
        if is_secure(self.transport):
            from twisted_tcpclient.stages.handshake import TLSTransport

            if isinstance(self.transport, TLSTransport):
                below = self.transport.transport
                return below if _is_socket(below) else None
        return None

    async def _wait_until_settled(self, reactor: Any, below: Any) -> None:
        """
        Wait until the stages have delivered and the transport has written everything.

        A stage before this protocol, such as one for a greeting, delivers the data that
        it holds by the next iteration of the reactor.  A transport that has nothing to
        write is not registered with the reactor for writing: the reactor would then
        handle a RST that prog has to see.
        """
        await deferLater(reactor, 0)
        if below in reactor.getWriters():
            await self._flushed(below)

    def _flushed(self, below: Any) -> Deferred[None]:
        """Wait until a transport has written all, or until the connection is lost."""
        settled: Deferred[None] = Deferred()
        self._settled = settled
        if not below.disconnecting:
            _Flush(below, self._fire).start()
        return settled

    def _fire(self) -> None:
        """Fire the Deferred that :meth:`_flushed` has returned, once."""
        settled, self._settled = self._settled, None
        if settled is not None:
            settled.callback(None)

    def _made(self, clock: IReactorTime) -> Wire:
        """Return the wire for the connection as it is now."""
        below = self._below()
        if below is None:
            return self._lend(clock)
        if self._lost:
            return Ended(self._early, self._error)
        if below is self.transport:
            return Clear(_taken_out(below))
        return self._released(below)

    def _released(self, below: Any) -> Wire:
        """Return the socket and the session of TLS of this package as a wire."""
        from twisted_tcpclient.tls import sessions
        from twisted_tcpclient.tls.records import Records

        if sessions.has_been_closed(self.transport):
            # close_notify came with the end of the handshake; Twisted is closing.
            return Ended(self._early, None)
        records = Records(self.transport.getHandle())
        self.transport.release()
        return Secure(_taken_out(below), records, self._early)

    def _lend(self, clock: IReactorTime) -> Wire:
        """Return a wire that uses the transport as it is."""
        secure = is_secure(self.transport)
        self._lent = Lent(clock, self.transport, self._early, secure)
        if self._lost:
            self._lent.lost(self._error)
        elif self._finished:
            self._lent.ended(None)
        return self._lent


def _is_socket(transport: Any) -> bool:
    """
    Return whether a transport is a socket in clear.

    A TCP transport whose ``startTLS`` was called, as endpoints of other packages may
    do, has its socket below a TLS session of Twisted's.
    """
    return isinstance(transport, Connection) and not is_secure(transport)


def _taken_out(transport: Any) -> socket.socket:
    """
    Take the socket out of a TCP or UNIX transport that has nothing left to write.

    The transport has no socket afterwards, so that neither the transport nor the
    reactor can shut the connection down.
    """
    transport.stopReading()
    transport.stopWriting()
    handle: socket.socket = transport.getHandle()
    taken = socket.socket(fileno=handle.detach())
    taken.setblocking(False)
    transport.abortConnection()
    return taken

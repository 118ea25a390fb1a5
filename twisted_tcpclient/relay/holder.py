"""
The network's end, held until somebody has a use for it.

Twisted connects, negotiates and does the handshake.  Then the socket is taken out of
its transport, and with it the session from TLS; or the transport is lent as it is.
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
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_tcpclient.relay.endings import of_transport
from twisted_tcpclient.relay.lent import Lent
from twisted_tcpclient.relay.wire import Clear, Ended, Records, Secure, Wire


def take(transport: Any) -> socket.socket:
    """
    Take the socket out of a TCP or UNIX transport.

    Nothing may be left in the transport to be written.  It is left without a
    socket, so that neither its end nor the reactor's shuts the connection down.
    """
    transport.stopReading()
    transport.stopWriting()
    handle: socket.socket = transport.getHandle()
    taken = socket.socket(fileno=handle.detach())
    taken.setblocking(False)
    transport.abortConnection()
    return taken


@implementer(IPullProducer)
class _Flushed:
    """Calls once a transport has written all it was given."""

    def __init__(self, transport: Any, then: Callable[[], None]) -> None:
        self._transport = transport
        self._then = then
        self._asked = False
        transport.registerProducer(self, False)
        transport.startWriting()

    def resumeProducing(self) -> None:
        """Asked for more: at once, and then when nothing is left to write."""
        if not self._asked:
            self._asked = True
        else:
            self._transport.unregisterProducer()
            self._then()

    def stopProducing(self) -> None:
        """The transport is gone, which is told to its protocol."""


@implementer(IHalfCloseableProtocol)
class Network(Protocol):
    """
    Holds a connection until somebody has a use for it.

    Over TLS something may come before that.  So it keeps what comes, and how
    the connection ends.
    """

    transport: Any

    def __init__(self) -> None:
        self._records: Callable[[Any], Records] | None = None
        self._early: list[bytes] = []
        self._lost = False
        self._error: Exception | None = None
        self._waiting: Deferred[Wire] | None = None
        self._wire: Wire | None = None
        self._lent: Lent | None = None
        self._finished = False

    def connectionMade(self) -> None:
        """Hold back."""
        self.transport.pauseProducing()

    def dataReceived(self, data: bytes) -> None:
        """Keep it, or pass it on."""
        if self._lent is None:
            self._early.append(data)
        else:
            self._lent.received(data)

    def readConnectionLost(self) -> None:
        """The server has sent its FIN."""
        if self._lent is None:
            self._finished = True
        else:
            self._lent.ended(None)

    def writeConnectionLost(self) -> None:
        """Our own FIN is out."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, or has been given away."""
        if self._wire is not None:
            return
        self._lost = True
        self._error = of_transport(self.transport, reason)
        if self._lent is not None:
            self._lent.lost(self._error)
        self._settled()

    def lend(self, clock: IReactorTime, secure: bool) -> Wire:
        """
        Let the connection be used as it is, in Twisted's hands.

        :param secure: whether it is TLS.
        """
        self._lent = Lent(clock, self.transport, self._early, secure)
        if self._lost:
            self._lent.lost(self._error)
        elif self._finished:
            self._lent.ended(None)
        return self._lent

    def release(
        self, records: Callable[[Any], Records] | None = None
    ) -> Deferred[Wire]:
        """
        Give the connection away; it may have ended by then.

        It is a TCP or UNIX socket, from which nobody has read, or one that
        :func:`twisted_tcpclient.endpoints.secured` has secured.

        :param records: makes the records of such a session of TLS.
        """
        self._records = records
        self._waiting = Deferred()
        waiting = self._waiting
        if self._lost or self._records is None:
            self._settled()
        elif not self.transport.transport.disconnecting:
            # The end of the handshake may not be out yet.
            _Flushed(self.transport.transport, self._settled)
        return waiting

    def abort(self) -> None:
        """Give the connection up, whoever has it, if it is still there."""
        if self._wire is not None:
            self._wire.abort()
        elif not self._lost:
            self.transport.abortConnection()

    def _settled(self) -> None:
        """Nothing is left to be done in Twisted's hands."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._wire = self._taken()
            waiting.callback(self._wire)

    def _taken(self) -> Wire:
        if self._lost:
            return Ended(self._early, self._error)
        if self._records is None:
            return Clear(take(self.transport))
        from twisted_tcpclient.tls import sessions

        if sessions.has_been_closed(self.transport):
            # close_notify came with the end of the handshake; Twisted is closing.
            return Ended(self._early, None)
        session = self._records(self.transport.getHandle())
        self.transport.release()
        return Secure(take(self.transport.transport), session, self._early)

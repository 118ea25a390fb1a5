"""
The stage that waits for TLS to prove who the server is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_tcpclient.errors import TLSFailed
from twisted_tcpclient.stages.base import Stage

if TYPE_CHECKING:
    from twisted_tcpclient.tls.creator import Creator


@implementer(IHandshakeListener)
class Handshake(Stage):
    """Holds a connection until TLS has proved who the server is."""

    awaited = "the TLS handshake"

    def __init__(self, creator: Creator, *args: Any) -> None:
        super().__init__(*args)
        self._creator = creator

    def connectionMade(self) -> None:
        """Tell the transport which creator has made its session."""
        self.transport.creator = self._creator
        super().connectionMade()

    def handshakeCompleted(self) -> None:
        """The handshake is over; a renegotiation changes nothing."""
        if self.transport.aborted:
            # A creator has found fault in a callback of OpenSSL's, which could not
            # stop the handshake.  The reason comes with the end of the connection.
            return
        try:
            self._creator.accept(self.transport.getHandle())
        except TLSFailed as error:
            self.refuse(error)
        else:
            first = self._waiting
            self.open()
            if first:
                self.announce()

    def lost(self, reason: Failure) -> Exception:
        """The certificate was bad, or the handshake broke."""
        return self._creator.explain(self.transport.getHandle(), reason)


class TLSTransport(BufferingTLSTransport):
    """
    Twisted's TLS, which tells a FIN without close_notify from a reset.

    :ivar creator: what has made the session.
    :ivar ended: why the connection below TLS ended.
    :ivar aborted: whether it was given up on this side.
    """

    creator: Creator
    ended = connectionDone
    aborted = _released = False

    def abortConnection(self) -> None:
        """Note that it was; the end may come later."""
        self.aborted = True
        super().abortConnection()

    def release(self) -> None:
        """
        Let go of the session and of the connection below: someone else goes on
        with both.
        """
        self._released = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note the reason; TLS has only one for both."""
        self.ended = reason
        if not self._released:
            super().connectionLost(reason)


class _TLSFactory(TLSMemoryBIOFactory):
    protocol = TLSTransport


@implementer(IStreamClientEndpoint)
class TLSEndpoint:
    """
    An endpoint with TLS on its connections.

    As Twisted's wrapClientTLS, which cannot be given a clock in Twisted 24.
    """

    def __init__(
        self,
        creator: IOpenSSLClientConnectionCreator,
        endpoint: IStreamClientEndpoint,
        clock: IReactorTime,
    ) -> None:
        self._creator = creator
        self._endpoint = endpoint
        self._clock = clock

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect, and begin the handshake."""
        factory = _TLSFactory(self._creator, True, protocolFactory, clock=self._clock)
        connecting: Deferred[Any] = self._endpoint.connect(factory)
        return connecting.addCallback(lambda tls: tls.wrappedProtocol)

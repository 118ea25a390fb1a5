"""
TLS on a connection, and the stage that waits until the server is verified.
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
from twisted_tcpclient.stages.base import Stage, StageState

if TYPE_CHECKING:
    from twisted_tcpclient.tls.creator import Creator


@implementer(IHandshakeListener)
class Handshake(Stage):
    """
    A stage that holds a connection until its server is verified.

    It must be the protocol directly above TLS: Twisted calls handshakeCompleted of
    that protocol and of no other.
    """

    awaited = "the TLS handshake"

    def __init__(self, creator: Creator, *args: Any) -> None:
        """
        :param creator: checks the certificate; the other parameters are those of a
            stage.
        """
        super().__init__(*args)
        self._creator = creator

    def connectionMade(self) -> None:
        """Set ``creator`` of the transport, for the user of the connection."""
        self.transport.creator = self._creator
        super().connectionMade()

    def handshakeCompleted(self) -> None:
        """
        Open the stage, or refuse the connection with the verdict of the creator.

        Twisted calls this again after a renegotiation; that call has no effect.
        """
        if self.transport.aborted:
            # A creator has aborted in a callback of OpenSSL, which does not stop the
            # handshake.  connectionLost is called later, with the reason.
            return
        try:
            self._creator.accept(self.transport.getHandle())
        except TLSFailed as error:
            self.refuse(error)
        else:
            first = self.state is StageState.HOLDING
            self.open()
            if first:
                self.announce()

    def loss_error(self, reason: Failure) -> Exception:
        """Return the verdict on the certificate, or the error of the handshake."""
        return self._creator.explain(self.transport.getHandle(), reason)


class TLSTransport(BufferingTLSTransport):
    """
    Twisted's TLS transport, which also records why the connection below it has ended.

    :ivar creator: the creator of the session, once the stage is connected.
    :ivar ended: the reason for the end of the connection below TLS.  It distinguishes
        FIN without close_notify from RST; the protocol gets ConnectionLost for both.
    :ivar aborted: whether this side has called abortConnection.
    """

    creator: Creator
    ended = connectionDone
    aborted = _released = False

    def abortConnection(self) -> None:
        """Abort, and set ``aborted``, because connectionLost may be called later."""
        self.aborted = True
        super().abortConnection()

    def release(self) -> None:
        """Ignore the end of the connection below: another object has its socket now."""
        self._released = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note the reason, and end the session unless it was released."""
        self.ended = reason
        if not self._released:
            super().connectionLost(reason)


class _TLSFactory(TLSMemoryBIOFactory):
    protocol = TLSTransport


@implementer(IStreamClientEndpoint)
class TLSEndpoint:
    """
    An endpoint that begins TLS on the connections of another one.

    ``twisted.internet.endpoints.wrapClientTLS`` of Twisted 24.7 takes no clock.
    """

    def __init__(
        self,
        creator: IOpenSSLClientConnectionCreator,
        endpoint: IStreamClientEndpoint,
        clock: IReactorTime,
    ) -> None:
        """
        :param creator: makes the TLS connections.
        :param endpoint: connects.
        :param clock: the reactor.
        """
        self._creator = creator
        self._endpoint = endpoint
        self._clock = clock

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect, and begin the handshake.

        Fails with the errors of the wrapped endpoint.

        :param protocolFactory: builds the protocol above TLS.
        :returns: fires with that protocol, before the handshake is over.
        """
        factory = _TLSFactory(self._creator, True, protocolFactory, clock=self._clock)
        connecting: Deferred[Any] = self._endpoint.connect(factory)
        return connecting.addCallback(lambda tls: tls.wrappedProtocol)

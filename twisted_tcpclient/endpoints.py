"""
The stages composed: endpoints whose connections may be used at once.

    plain      RacingEndpoint | UNIXClientEndpoint
    implicit   secured(creator, plain)
    STARTTLS   secured(creator, negotiated(dialect, plain))
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_tcpclient.dialects import find
from twisted_tcpclient.errors import Attempt, ConnectFailed, TLSFailed
from twisted_tcpclient.race import explain
from twisted_tcpclient.stages import Stage, StagedEndpoint

if TYPE_CHECKING:
    from twisted_tcpclient.tls import ConnectionCreator


#: What fits into an address of a UNIX socket everywhere on Linux.
LONGEST_PATH = 107


@implementer(IStreamClientEndpoint)
class SocketEndpoint:
    """A UNIX socket, by path or by abstract name."""

    def __init__(self, reactor: Any, path: str, timeout: float) -> None:
        """:param path: ``@`` and a name for an abstract socket (Linux)."""
        self._path = path
        address = "\0" + path[1:] if path.startswith("@") else path
        self._endpoint = UNIXClientEndpoint(reactor, address, timeout)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect.

        Fails with :class:`~twisted_tcpclient.errors.ConnectFailed`.  Cancelling
        ends the attempt and fails with
        :class:`twisted.internet.error.ConnectingCancelledError`.
        """

        def failed(failure: Failure) -> NoReturn:
            failure.trap(ConnectError, OSError)
            attempt = Attempt(f"socket {self._path}", explain(failure.value))
            raise ConnectFailed([attempt]) from None

        if len(os.fsencode(self._path)) > LONGEST_PATH:
            # Twisted would never hear of the attempt again.
            attempt = Attempt(f"socket {self._path}", "file name too long")
            return fail(ConnectFailed([attempt]))
        connecting: Deferred[IProtocol] = self._endpoint.connect(protocolFactory)
        return connecting.addErrback(failed)


@implementer(IHandshakeListener)
class Handshake(Stage):
    """Holds a connection until TLS has proved who the server is."""

    awaited = "the TLS handshake"

    def __init__(self, creator: ConnectionCreator, *args: Any) -> None:
        super().__init__(*args)
        self._creator = creator

    def handshakeCompleted(self) -> None:
        """The handshake is over; a renegotiation changes nothing."""
        try:
            self._creator.accept(self.transport.getHandle())
        except TLSFailed as error:
            self.refuse(error)
        else:
            self.open()

    def lost(self, reason: Failure) -> Exception:
        """The certificate was bad, or the handshake broke."""
        return self._creator.explain(self.transport.getHandle(), reason)


class _TLSTransport(BufferingTLSTransport):
    """
    Twisted's TLS, which tells a FIN without close_notify from a reset.

    :ivar ended: why the connection below TLS ended.
    """

    ended = connectionDone

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note the reason; TLS has only one for both."""
        self.ended = reason
        super().connectionLost(reason)


class _TLSFactory(TLSMemoryBIOFactory):
    protocol = _TLSTransport


@implementer(IStreamClientEndpoint)
class _TLSEndpoint:
    """
    An endpoint with TLS on its connections.

    As Twisted's wrapClientTLS, which cannot be given a clock in Twisted 24.
    """

    def __init__(
        self, creator: ConnectionCreator, endpoint: IStreamClientEndpoint, clock: Any
    ) -> None:
        self._creator = creator
        self._endpoint = endpoint
        self._clock = clock

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect, and begin the handshake."""
        factory = _TLSFactory(self._creator, True, protocolFactory, clock=self._clock)
        connecting: Deferred[Any] = self._endpoint.connect(factory)
        return connecting.addCallback(lambda tls: tls.wrappedProtocol)


def secured(
    creator: ConnectionCreator,
    endpoint: IStreamClientEndpoint,
    clock: Any,
    timeout: float | None = None,
) -> IStreamClientEndpoint:
    """
    TLS on the connections of an endpoint: connected means verified.

    ``connect`` of the result fails as that of the wrapped endpoint does;
    with :class:`~twisted_tcpclient.errors.VerificationFailed` or its subclass
    :class:`~twisted_tcpclient.errors.NameMismatch` if the certificate is not to
    be trusted; with :class:`~twisted_tcpclient.errors.HandshakeFailed` if TLS
    does not come about; with :class:`~twisted_tcpclient.errors.TimedOut` if the
    handshake takes too long.  Cancelling closes the connection and fails with
    :class:`twisted.internet.error.ConnectingCancelledError`.

    :param timeout: for the handshake, in seconds; None for no limit.
    """

    def build(factory: IProtocolFactory, address: IAddress | None) -> Stage:
        return Handshake(creator, factory, address, clock, timeout)

    return StagedEndpoint(_TLSEndpoint(creator, endpoint, clock), build)


def starttls(
    dialect: str,
    creator: ConnectionCreator,
    endpoint: IStreamClientEndpoint,
    clock: Any,
    timeout: float | None = None,
    host: str = "",
    greeting: bool = False,
) -> IStreamClientEndpoint:
    """
    STARTTLS on the connections of an endpoint: connected means verified.

    ``connect`` of the result fails as that of :func:`secured` does, and with a
    :class:`~twisted_tcpclient.errors.NegotiationFailed` of its own kind if the
    server does not offer STARTTLS, refuses it, claims that we are logged in,
    sends bytes in clear where none may come, does not speak the protocol, or
    hangs up.  It never falls back to clear text.

    :param dialect: its name, one of :data:`twisted_tcpclient.dialects.NAMES`.
    :param timeout: for the dialogue, and again for the handshake, in seconds.
    :param host: the name of the server, which some dialects say in clear: that
        for which its certificate has to be.
    :param greeting: whether to begin with a greeting from that host, made up by
        the dialect, for protocols that wait for one.
    :raises KeyError: where there is no such dialect.
    :raises ValueError: if a greeting is wanted, and the dialect has none.
    """
    from twisted_tcpclient.greeting import greeted
    from twisted_tcpclient.starttls import negotiated

    negotiating = negotiated(dialect, endpoint, clock, timeout, host)
    connected = secured(creator, negotiating, clock, timeout)
    if not greeting:
        return connected
    make = find(dialect).greeting
    if make is None:
        raise ValueError(f"{dialect} has no greeting")
    return greeted(make(host), connected, clock)

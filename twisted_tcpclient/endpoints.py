"""
The stages composed: endpoints whose connections may be used at once.

    plain      RacingEndpoint | UNIXClientEndpoint
    implicit   secured(creator, plain)
    STARTTLS   secured(creator, negotiated(dialect, plain))
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import (
    IAddress,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.task import deferLater
from zope.interface import implementer

from twisted_tcpclient.errors import Attempt, ConnectFailed
from twisted_tcpclient.race import connect_reason, is_eagain
from twisted_tcpclient.registry import find
from twisted_tcpclient.stages.base import Stage, StagedEndpoint
from twisted_tcpclient.stages.handshake import Handshake, TLSEndpoint

if TYPE_CHECKING:
    pass


#: What fits into an address of a UNIX socket everywhere on Linux.
LONGEST_PATH = 107

#: How long to wait for a server that is busy, in seconds: there is no event.
PAUSE = 0.1


@implementer(IStreamClientEndpoint)
class SocketEndpoint:
    """A UNIX socket, by path or by abstract name."""

    def __init__(self, reactor: Any, path: str, timeout: float) -> None:
        """
        :param reactor: connects.
        :param path: ``@`` and a name for an abstract socket (Linux).
        :param timeout: for connecting, in seconds.
        """
        self._reactor = reactor
        self._path = path
        self._timeout = timeout
        address = "\0" + path[1:] if path.startswith("@") else path
        self._endpoint = UNIXClientEndpoint(reactor, address, timeout)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect.

        Fails with :class:`twisted_tcpclient.errors.ConnectFailed`.  Cancelling
        ends the attempt and fails with
        :class:`twisted.internet.defer.CancelledError` or
        :class:`twisted.internet.error.ConnectingCancelledError`.

        :param protocolFactory: builds the protocol for the connection.
        :returns: fires with that protocol, connected.
        """
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        if len(os.fsencode(self._path)) > LONGEST_PATH:
            # Twisted would never hear of the attempt again.
            raise self._failed("file name too long")
        end = self._reactor.seconds() + self._timeout
        while True:
            try:
                connected: IProtocol = await self._endpoint.connect(factory)
                return connected
            except (ConnectError, OSError) as error:
                # EAGAIN of a UNIX socket: the server's queue is full (connect(2)).
                if not is_eagain(error):
                    raise self._failed(connect_reason(error)) from None
            if self._reactor.seconds() >= end:
                raise self._failed("timed out")
            await deferLater(self._reactor, PAUSE)

    def _failed(self, why: str) -> ConnectFailed:
        return ConnectFailed([Attempt(f"socket {self._path}", why)])


def secured(
    creator: IOpenSSLClientConnectionCreator,
    endpoint: IStreamClientEndpoint,
    clock: IReactorTime,
    timeout: float | None = None,
) -> IStreamClientEndpoint:
    """
    TLS on the connections of an endpoint: connected means verified.

    ``connect`` of the result fails as that of the wrapped endpoint does;
    with :class:`twisted_tcpclient.errors.VerificationFailed` or its subclass
    :class:`twisted_tcpclient.errors.NameMismatch` if the certificate is not to
    be trusted; with :class:`twisted_tcpclient.errors.HandshakeFailed` if TLS
    does not come about; with :class:`twisted_tcpclient.errors.TimedOut` if the
    handshake takes too long.  Cancelling closes the connection and fails with
    :class:`twisted.internet.error.ConnectingCancelledError`.

    :param creator: a :class:`twisted_tcpclient.tls.ConnectionCreator`, or that of
        somebody else, such as :func:`twisted.internet.ssl.optionsForClientTLS`
        makes.  What the latter verifies is what is verified, and it tells no
        more than that the verification failed.
    :param endpoint: makes the connections that TLS is to begin on.
    :param clock: the reactor.
    :param timeout: for the handshake, in seconds; None for no limit.
    :returns: an endpoint, which can connect as often as the wrapped one.
    """
    from twisted_tcpclient.tls.creator import judging

    judge = judging(creator)

    def build(factory: IProtocolFactory, address: IAddress | None) -> Stage:
        return Handshake(judge, factory, address, clock, timeout)

    return StagedEndpoint(TLSEndpoint(judge, endpoint, clock), build)


def starttls(
    dialect: str,
    creator: IOpenSSLClientConnectionCreator,
    endpoint: IStreamClientEndpoint,
    clock: IReactorTime,
    timeout: float | None = None,
    host: str = "",
    greeting: bool = False,
) -> IStreamClientEndpoint:
    """
    STARTTLS on the connections of an endpoint: connected means verified.

    ``connect`` of the result fails as that of :func:`secured` does, and with a
    :class:`twisted_tcpclient.errors.NegotiationFailed` of its own kind if the
    server does not offer STARTTLS, refuses it, claims that we are logged in,
    sends bytes in clear where none may come, does not speak the protocol, or
    hangs up.  It never falls back to clear text.

    :param dialect: its name, for :func:`twisted_tcpclient.registry.find`.
    :param creator: as for :func:`secured`.
    :param endpoint: makes the connections, in clear.
    :param clock: the reactor.
    :param timeout: for the dialogue, and again for the handshake, in seconds;
        None for no limit.
    :param host: the name of the server, which some dialects say in clear: that
        for which its certificate has to be.
    :param greeting: whether to begin with a greeting from that host, made up by
        the dialect, for protocols that wait for one.
    :raises KeyError: where there is no such dialect.
    :raises SettingsError: where there is one that cannot be used.
    :raises DialectFailed: if its greeting cannot be made.
    :raises ValueError: if a greeting is wanted, and the dialect has none.
    """
    from twisted_tcpclient.stages.greeting import greeted, greeting_from
    from twisted_tcpclient.stages.negotiation import negotiated

    negotiating = negotiated(dialect, endpoint, clock, timeout, host)
    connected = secured(creator, negotiating, clock, timeout)
    if not greeting:
        return connected
    return greeted(greeting_from(find(dialect), host), connected, clock)

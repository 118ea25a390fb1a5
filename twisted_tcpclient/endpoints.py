"""
Endpoints whose connections may be used as soon as ``connect`` fires.

    clear      RacingEndpoint | SocketEndpoint
    TLS        secured(creator, clear)
    STARTTLS   secured(creator, negotiated(dialect, clear))
"""

from __future__ import annotations

import os
from typing import Any

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

#: The longest path of a UNIX socket, in bytes: sun_path holds 108 with a NUL (unix(7)).
LONGEST_PATH = 107

#: Seconds between attempts while the queue of the listening socket is full.
PAUSE = 0.1


@implementer(IStreamClientEndpoint)
class SocketEndpoint:
    """A UNIX socket, by path or by abstract name (unix(7))."""

    def __init__(self, reactor: Any, path: str, timeout: float) -> None:
        """
        :param reactor: connects.
        :param path: a path, or ``@`` and a name for an abstract socket (Linux).
        :param timeout: for connecting, in seconds.
        """
        self._reactor = reactor
        self._path = path
        self._timeout = timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect, and try again while the queue of the listening socket is full.

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
            # Twisted's Deferred would never fire: socket.connect raises OSError.
            raise self._error("file name too long")
        endpoint = UNIXClientEndpoint(self._reactor, self._address(), self._timeout)
        end = self._reactor.seconds() + self._timeout
        while True:
            try:
                connected: IProtocol = await endpoint.connect(factory)
                return connected
            except (ConnectError, OSError) as error:
                # EAGAIN of a UNIX socket: the server's queue is full (connect(2)).
                if not is_eagain(error):
                    raise self._error(connect_reason(error)) from None
            if self._reactor.seconds() >= end:
                raise self._error("timed out")
            # The kernel reports no event when the queue has room again.
            await deferLater(self._reactor, PAUSE)

    def _address(self) -> str:
        """Return the address for connect(2), where an abstract name begins with NUL."""
        path = self._path
        return "\0" + path[1:] if path.startswith("@") else path

    def _error(self, why: str) -> ConnectFailed:
        return ConnectFailed([Attempt(f"socket {self._path}", why)])


def secured(
    creator: IOpenSSLClientConnectionCreator,
    endpoint: IStreamClientEndpoint,
    clock: IReactorTime,
    timeout: float | None = None,
) -> IStreamClientEndpoint:
    """
    Return an endpoint with TLS on the connections of another one.

    ``connect`` fires when the certificate is verified.  It fails with the errors of
    the wrapped endpoint; with :class:`twisted_tcpclient.errors.VerificationFailed`, or
    its subclass :class:`twisted_tcpclient.errors.NameMismatch`, if the certificate is
    not valid for the server; with :class:`twisted_tcpclient.errors.HandshakeFailed` if
    the handshake fails for another reason; with
    :class:`twisted_tcpclient.errors.TimedOut` if it takes too long.  Cancelling closes
    the connection and fails with
    :class:`twisted.internet.error.ConnectingCancelledError`.

    :param creator: a :class:`twisted_tcpclient.tls.ConnectionCreator`, or another
        provider of the interface, such as
        :func:`twisted.internet.ssl.optionsForClientTLS` returns.  Another provider
        decides what is verified, and its error does not say why a chain is refused.
    :param endpoint: makes the connections, in clear.
    :param clock: the reactor.
    :param timeout: for the handshake, in seconds; None for no limit.
    :returns: an endpoint that can connect as often as the wrapped one.
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
    Return an endpoint with STARTTLS on the connections of another one.

    ``connect`` fires when the certificate is verified, and never for a connection in
    clear.  It fails with the errors of :func:`secured`, and with a subclass of
    :class:`twisted_tcpclient.errors.NegotiationFailed` if the server does not offer
    STARTTLS, refuses it, claims that the client is logged in, sends bytes in clear
    after the go-ahead or before a command, does not speak the protocol, or closes the
    connection.

    :param dialect: the name of the dialect, for
        :func:`twisted_tcpclient.registry.find`.
    :param creator: as for :func:`secured`.
    :param endpoint: makes the connections, in clear.
    :param clock: the reactor.
    :param timeout: for the dialogue, and again for the handshake, in seconds; None for
        no limit.
    :param host: the name of the server, which some dialects send in clear; the same
        name as that for which the creator verifies the certificate.
    :param greeting: whether the protocol first receives a greeting from that host,
        made up by the dialect.
    :returns: an endpoint that can connect as often as the wrapped one.
    :raises KeyError: if there is no such dialect.
    :raises SettingsError: if the dialect cannot be used.
    :raises DialectFailed: if the dialect fails to make its greeting.
    :raises ValueError: if a greeting is wanted, and the dialect has none.
    """
    from twisted_tcpclient.stages.greeting import greeted, greeting_from
    from twisted_tcpclient.stages.negotiation import negotiated

    negotiating = negotiated(dialect, endpoint, clock, timeout, host)
    connected = secured(creator, negotiating, clock, timeout)
    if not greeting:
        return connected
    return greeted(greeting_from(find(dialect), host), connected, clock)

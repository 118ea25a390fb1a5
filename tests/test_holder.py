"""
Which connections are taken out of Twisted's hands, and which are lent.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    ProcessEndpoint,
    quoteStringArgument,
    wrapClientTLS,
)
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from tests import servers
from tests.certificates import shared
from tests.command import PATIENCE
from twisted_tcpclient.command.described import DescribedEndpoint, endpoint_from
from twisted_tcpclient.endpoints import SocketEndpoint, secured, starttls
from twisted_tcpclient.race import RacingEndpoint
from twisted_tcpclient.relay.holder import Holder
from twisted_tcpclient.relay.lent import Lent
from twisted_tcpclient.relay.wire import Clear, Ended, Secure
from twisted_tcpclient.settings import TLSSettings
from twisted_tcpclient.stages.greeting import greeted
from twisted_tcpclient.tls import ConnectionCreator

reactor: Any = global_reactor


def creator() -> ConnectionCreator:
    """Return a creator for connections to localhost."""
    return ConnectionCreator(TLSSettings.for_host("localhost", str(shared().ca)))


def twisted_creator() -> Any:
    """Return a creator of Twisted's for connections to localhost."""
    trusted = Certificate.loadPEM(shared().ca.read_bytes())
    return optionsForClientTLS("localhost", trusted)


@implementer(IStreamClientEndpoint)
class Upgraded:
    """An endpoint that begins TLS by ``startTLS``, as other packages may do."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        """:param endpoint: makes the connections, in clear."""
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Connect, and begin TLS."""

        def begin(protocol: Any) -> Any:
            protocol.transport.startTLS(twisted_creator())
            return protocol

        return self._endpoint.connect(protocolFactory).addCallback(begin)


class HolderTests(TestCase):
    """Connections to a real mail server, by endpoints of all kinds."""

    timeout = PATIENCE

    async def wire(self, endpoint: IStreamClientEndpoint) -> Any:
        """Connect, and return the wire; it is aborted in the end."""
        holder: Any = await endpoint.connect(Factory.forProtocol(Holder))
        wire = await holder.wire(reactor)
        self.addCleanup(wire.abort)
        return wire

    def check(self, kind: type[Any], *kinds: IStreamClientEndpoint) -> Deferred[None]:
        """Check that connections of these endpoints become that kind of wire."""

        async def check() -> None:
            for endpoint in kinds:
                self.assertIs(type(await self.wire(endpoint)), kind, endpoint)

        return Deferred.fromCoroutine(check())

    def described(self, description: str) -> IStreamClientEndpoint:
        """Return the endpoint that ``-E`` makes of a description."""
        endpoint = endpoint_from(reactor, description)
        return DescribedEndpoint(reactor, endpoint, description, PATIENCE)

    def clear(self) -> IStreamClientEndpoint:
        """Return the way to the mail server in clear."""
        return RacingEndpoint(reactor, "localhost", servers.postfix().smtp)

    def test_clear(self) -> Deferred[None]:
        """The socket of a connection in clear is taken out, with ``-E`` as well."""
        port = servers.postfix().smtp
        return self.check(
            Clear,
            self.clear(),
            self.described(f"tcp:localhost:{port}"),
            self.described(f"tcpclient:localhost:{port}"),
        )

    def test_unix(self) -> Deferred[None]:
        """The socket of a UNIX connection is taken out."""
        path = self.mktemp()
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(path)
        listener.listen()
        return self.check(
            Clear,
            SocketEndpoint(reactor, path, PATIENCE),
            self.described(f"unix:{path}"),
        )

    def test_secure(self) -> Deferred[None]:
        """
        Socket and session are taken out of TLS of this package, by whichever creator:
        in the library, from a string, and with ``-E``.
        """
        postfix = servers.postfix()
        smtps = RacingEndpoint(reactor, "localhost", postfix.smtps)
        trusted = f"trustRoots={quoteStringArgument(str(shared().ca))}"
        return self.check(
            Secure,
            secured(creator(), smtps, reactor),
            secured(twisted_creator(), smtps, reactor),
            starttls("smtp", creator(), self.clear(), reactor),
            self.described(f"starttls:smtp:localhost:{postfix.smtp}:{trusted}"),
            self.described(f"tcpclient:localhost:{postfix.smtps}:tls=yes:{trusted}"),
        )

    def test_lent(self) -> Deferred[None]:
        """
        TLS of Twisted's own, also by startTLS, TLS within TLS, a connection of which
        something was read already, and a process stay in Twisted's hands.
        """
        smtps = RacingEndpoint(reactor, "localhost", servers.postfix().smtps)
        inner = wrapClientTLS(twisted_creator(), smtps)
        return self.check(
            Lent,
            inner,
            Upgraded(smtps),
            greeted(b"220 hello\r\n", self.clear(), reactor),
            ProcessEndpoint(reactor, sys.executable, [sys.executable, "-c", "input()"]),
        )

    async def test_over(self) -> None:
        """A connection that is lost before its use is an ended wire."""
        holder: Any = await self.clear().connect(Factory.forProtocol(Holder))
        holder.transport.resumeProducing()
        gone: Deferred[None] = Deferred()
        lost = holder.connectionLost

        def note(*reason: Any) -> None:
            lost(*reason)
            gone.callback(None)

        self.patch(holder, "connectionLost", note)
        holder.transport.abortConnection()
        await gone
        self.assertIs(type(await holder.wire(reactor)), Ended)
        self.assertIs(await holder.take_socket(reactor), None)

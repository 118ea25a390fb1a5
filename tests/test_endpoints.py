"""
The endpoints: ``connect`` fires when the server is verified, or fails.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ServerEndpoint, UNIXServerEndpoint
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionDone,
)
from twisted.internet.interfaces import (
    IHandshakeListener,
    IProtocolNegotiationFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import (
    ClientFactory,
    Factory,
    Protocol,
    connectionDone,
)
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from tests.certificates import EXPIRED, Identity, self_signed, shared
from tests.transcripts import (
    DOMAIN,
    GOOD,
    PEER,
    Attempt,
    Exchange,
    Handshake,
    MemoryTransport,
    Recorder,
    Recorders,
    Stages,
    TLSServer,
)
from twisted_tcpclient.connection import observe
from twisted_tcpclient.endpoints import PAUSE, SocketEndpoint, secured, starttls
from twisted_tcpclient.errors import Attempt as Failed
from twisted_tcpclient.errors import (
    ConnectFailed,
    HandshakeFailed,
    NameMismatch,
    TCPClientError,
    TimedOut,
    TLSFailed,
    VerificationFailed,
)
from twisted_tcpclient.race import RacingEndpoint
from twisted_tcpclient.settings import TLSSettings
from twisted_tcpclient.stages.handshake import Handshake as HandshakeStage
from twisted_tcpclient.testing import client_bytes
from twisted_tcpclient.tls import ConnectionCreator

reactor: Any = global_reactor

TIMEOUT = 30

#: A fatal alert, handshake_failure.
ALERT = b"\x15\x03\x01\x00\x02\x02\x28"


def trusting(**others: Any) -> ConnectionCreator:
    """Return a creator that trusts the tests' CA, and verifies the name localhost."""
    settings = {"authorities": str(shared().ca), "name": "localhost", **others}
    return ConnectionCreator(TLSSettings(**settings))


def implicit(
    tcp: IStreamClientEndpoint, clock: MemoryReactorClock
) -> IStreamClientEndpoint:
    """Return an endpoint with TLS from the first byte."""
    return secured(trusting(), tcp, clock, TIMEOUT)


def borrowed(
    host: str, authority: Path
) -> Callable[[IStreamClientEndpoint, MemoryReactorClock], IStreamClientEndpoint]:
    """Return endpoints with TLS by each of Twisted's own creators."""
    trusted = Certificate.loadPEM(authority.read_bytes())
    creator = optionsForClientTLS(host, trusted)
    return lambda tcp, clock: secured(creator, tcp, clock, TIMEOUT)


class BorrowedTests(SynchronousTestCase):
    """TLS from the first byte, by Twisted's own creators."""

    def shake(self, host: str, authority: Path, server: TLSServer) -> Handshake:
        """Try to connect."""
        handshake = Handshake(borrowed(host, authority), server)
        handshake.finish()
        self.assertEqual(handshake.left, [])
        return handshake

    def refuses(self, host: str, authority: Path, error: type[Exception]) -> None:
        """
        Check that each version of TLS fails with an error, builds no protocol and sends
        no data.
        """
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            server = TLSServer(versions=(version, version))
            handshake = self.shake(host, authority, server)
            self.assertIs(type(handshake.error), error)
            self.assertEqual(handshake.error.peer, PEER)
            self.assertEqual(handshake.factory.built, [])

    def test_connected(self) -> None:
        """``connect`` fires when the creator has accepted the certificate."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            server = TLSServer(versions=(version, version))
            handshake = self.shake("localhost", shared().ca, server)
            handshake.server.transport.write(b"answer")
            handshake.finish()
            self.assertEqual(handshake.result.received, b"answer")
            found = observe(handshake.result.transport).tls
            assert found is not None
            self.assertEqual(found.server_name, "localhost")
            self.assertEqual(found.subject, "CN=localhost")

    def test_name(self) -> None:
        """
        A wrong name is a NameMismatch, also where the creator can only abort after the
        handshake (Twisted 24.7).
        """
        self.refuses("evil.example", shared().ca, NameMismatch)

    def test_authority(self) -> None:
        """An unknown CA is a VerificationFailed."""
        self.refuses("localhost", shared().stranger_ca, VerificationFailed)

    def test_no_tls(self) -> None:
        """A server that does not speak TLS is a HandshakeFailed."""
        tls12 = TLSServer(
            versions=(SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION), ciphers=b"NULL-SHA256"
        )
        error = self.shake("localhost", shared().ca, tls12).error
        self.assertIs(type(error), HandshakeFailed)


class HandshakeTests(SynchronousTestCase):
    """TLS from the first byte, with a server in memory."""

    def test_connected_means_secured(self) -> None:
        """``connect`` fires, and the protocol is built, when the handshake is over."""
        handshake = Handshake(implicit, TLSServer())
        self.assertTrue(handshake.undecided)
        self.assertEqual(handshake.factory.built, [])
        handshake.finish()
        (following,) = handshake.factory.built
        self.assertIs(handshake.result, following)
        self.assertEqual(following.made, 1)
        self.assertEqual(following.transport.getPeer(), PEER)
        self.assertIsInstance(following.transport.getHandle(), SSL.Connection)

    def test_carries(self) -> None:
        """Data and the loss go from each side to the other."""
        handshake = Handshake(implicit, TLSServer())
        handshake.finish()
        handshake.result.transport.write(b"question")
        handshake.server.transport.write(b"answer")
        handshake.finish()
        self.assertEqual(handshake.server.received, b"question")
        self.assertEqual(handshake.result.received, b"answer")
        handshake.server.transport.loseConnection()
        handshake.finish()
        (reason,) = handshake.result.lost
        self.assertTrue(reason.check(ConnectionDone))
        self.assertEqual(handshake.left, [])

    def test_data_with_the_handshake(self) -> None:
        """
        Data that the server sends with its last handshake message reaches the protocol.
        """
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            handshake = Handshake(implicit, TLSServer(versions=(version, version)))
            handshake.server.transport.write(b"hello")
            handshake.finish()
            self.assertEqual(handshake.result.received, b"hello")

    def test_no_deadline_left(self) -> None:
        """The deadline is cancelled after the handshake."""
        handshake = Handshake(implicit, TLSServer())
        handshake.finish()
        self.assertEqual(handshake.left, [])

    def test_no_deadline(self) -> None:
        """Without a timeout there is no deadline."""
        handshake = Handshake(
            lambda tcp, clock: secured(trusting(), tcp, clock), TLSServer()
        )
        handshake.reactor.advance(10**6)
        handshake.finish()
        self.assertIsNotNone(handshake.result)

    def test_deadline(self) -> None:
        """A handshake that exceeds the timeout fails with TimedOut."""
        exchange = Exchange(implicit)
        exchange.reactor.advance(TIMEOUT - 0.1)
        self.assertTrue(exchange.undecided)
        exchange.reactor.advance(0.1)
        self.assertIsInstance(exchange.error, TimedOut)
        self.assertIn("handshake", str(exchange.error))
        self.assertEqual(exchange.error.peer, PEER)
        self.assertTrue(exchange.transport.disconnected)
        exchange.hang_up()
        self.assertEqual(exchange.left, [])
        self.assertEqual(exchange.factory.built, [])

    def test_cancelled(self) -> None:
        """Cancelling in the handshake aborts the connection and leaves no call."""
        exchange = Exchange(implicit)
        exchange.connecting.cancel()
        self.assertIsInstance(exchange.error, ConnectingCancelledError)
        self.assertTrue(exchange.transport.disconnected)
        exchange.hang_up()
        self.assertEqual(exchange.left, [])
        self.assertEqual(exchange.factory.built, [])

    def test_not_connected(self) -> None:
        """The error of the wrapped endpoint is that of ``connect``."""
        attempt = Attempt(implicit)
        ((_, _, factory, _, _),) = attempt.reactor.tcpClients
        error = ConnectError("no")
        factory.clientConnectionFailed(attempt.reactor.connectors[0], Failure(error))
        self.assertIs(attempt.error, error)
        self.assertEqual(attempt.left, [])

    def broken(self, *segments: bytes) -> Any:
        """Return the error for bytes in place of a handshake."""
        exchange = Exchange(implicit)
        for segment in segments:
            exchange.hear(segment)
        exchange.hang_up()
        self.assertIsInstance(exchange.error, HandshakeFailed)
        self.assertNotIsInstance(exchange.error, VerificationFailed)
        self.assertEqual(exchange.factory.built, [])
        self.assertEqual(exchange.left, [])
        message = str(exchange.error)
        self.assertTrue(message.startswith("TLS handshake failed: "), message)
        # The words of OpenSSL follow those of this package in one line.
        self.assertRegex(message, r"\A[ -~]*[^.]\Z")
        return exchange.error

    def test_no_tls(self) -> None:
        """
        A greeting in clear is an error that says that the server does not speak TLS.
        """
        for greeting in (b"220 mx.example.org ESMTP\r\n", b"* OK ready\r\n"):
            self.assertIn("does not speak TLS", str(self.broken(greeting)))

    def test_closed(self) -> None:
        """A server that closes in place of a handshake is an error."""
        self.assertRegex(str(self.broken()), "connection (was closed|lost)")

    def test_alert(self) -> None:
        """An alert in place of a handshake is an error with its name."""
        self.assertIn("handshake failure", str(self.broken(ALERT)))

    def test_no_common_version(self) -> None:
        """The lack of a common version of TLS is an error."""
        only_new = {"minimum": "TLSv1_3"}
        handshake = Handshake(
            lambda tcp, clock: secured(trusting(**only_new), tcp, clock),
            TLSServer(versions=(SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION)),
        )
        handshake.finish()
        self.assertIsInstance(handshake.error, HandshakeFailed)
        self.assertIn("version", str(handshake.error))

    def test_certificate(self) -> None:
        """A certificate that cannot be verified is an error of its own type."""
        handshake = Handshake(implicit, TLSServer(shared().stranger.server(["x"])))
        handshake.finish()
        self.assertIsInstance(handshake.error, VerificationFailed)
        self.assertEqual(handshake.error.peer, PEER)
        self.assertEqual(handshake.factory.built, [])
        self.assertEqual(handshake.left, [])

    def test_listens_to_tls(self) -> None:
        """The stage provides IHandshakeListener by its class, which Twisted asks."""
        self.assertTrue(IHandshakeListener.implementedBy(HandshakeStage))


@implementer(IHandshakeListener)
class Listener(Recorder):
    """
    An application that provides IHandshakeListener.

    :ivar heard: for each call of handshakeCompleted, how often it was connected and the
    data it had by then.
    """

    def __init__(self, at_once: Callable[[Any], object] = type) -> None:
        super().__init__()
        self._at_once = at_once
        self.heard: list[tuple[int, bytes]] = []

    def connectionMade(self) -> None:
        """Call the function of the test."""
        super().connectionMade()
        self._at_once(self.transport)

    def handshakeCompleted(self) -> None:
        """Note the call."""
        self.heard.append((self.made, self.received))


@implementer(IProtocolNegotiationFactory)
class Negotiators(ClientFactory):
    """A factory of one protocol, which offers protocols by ALPN."""

    noisy = False

    def __init__(self, built: Listener) -> None:
        self.built = built

    def buildProtocol(self, addr: object) -> Listener:
        """Return the protocol."""
        return self.built

    def acceptableProtocols(self) -> list[bytes]:
        """Return two protocols; the server chooses the second."""
        return [b"no", b"yes"]


@implementer(IStreamClientEndpoint)
class Instead:
    """An endpoint that connects a factory of its own."""

    def __init__(self, endpoint: IStreamClientEndpoint, factory: Any) -> None:
        self._endpoint = endpoint
        self._factory = factory

    def connect(self, protocolFactory: object) -> Any:
        """Connect the other factory."""
        return self._endpoint.connect(self._factory)


class PassedOnTests(SynchronousTestCase):
    """What Twisted's TLS tells applications, through the stages."""

    def connected(self, client: Listener) -> list[tuple[Handshake, bytes]]:
        """
        Yield a connection of each kind, with the greeting that the client receives.
        """
        return [
            (self.handshake(client, implicit), b""),
            (self.handshake(client, borrowed("localhost", shared().ca)), b""),
            (
                self.handshake(client, self.greeted, GOOD["smtp"]),
                b"220 localhost ESMTP\r\n",
            ),
        ]

    def handshake(
        self, client: Listener, stages: Stages, transcript: str | None = None
    ) -> Handshake:
        """Return a connection in memory."""
        factory = Negotiators(client)
        server = TLSServer()
        server.choose(lambda connection, offered: offered[-1])
        return Handshake(
            lambda tcp, clock: Instead(stages(tcp, clock), factory), server, transcript
        )

    def greeted(
        self, tcp: IStreamClientEndpoint, clock: MemoryReactorClock
    ) -> IStreamClientEndpoint:
        """Return an endpoint with STARTTLS and a greeting."""
        return starttls("smtp", trusting(), tcp, clock, 30, "localhost", greeting=True)

    def test_told_of_the_handshake(self) -> None:
        """
        The protocol is told by handshakeCompleted once, after connectionMade and before
        all data.
        """
        client = Listener()
        for number, (handshake, greeting) in enumerate(self.connected(client)):
            handshake.finish()
            self.assertEqual(client.heard, [(number + 1, b"")])
            handshake.reactor.advance(0)
            handshake.server.transport.write(b"hello")
            handshake.finish()
            self.assertEqual(client.received, greeting + b"hello")
            client.heard, client.received = [], b""

    def test_not_told(self) -> None:
        """After loseConnection, handshakeCompleted is not called."""
        client = Listener(lambda transport: transport.loseConnection())
        for handshake, _ in self.connected(client):
            handshake.finish()
            self.assertEqual(client.heard, [])

    def test_negotiated(self) -> None:
        """
        The protocols of the factory are offered by ALPN. Twisted's own creators of 24.7
        do not offer them in the first ClientHello.
        """
        client = Listener()
        for handshake, _ in self.connected(client)[::2]:
            handshake.finish()
            self.assertIs(handshake.result, client)
            self.assertEqual(client.transport.negotiatedProtocol, b"yes")


class FakeCreator:
    """A creator whose verdict is that of the test."""

    def __init__(self, error: TLSFailed | None = None) -> None:
        self.error = error
        self.asked = 0

    def accept(self, connection: object) -> None:
        """Raise the error of the test, if there is one."""
        self.asked += 1
        if self.error is not None:
            raise self.error


class Tunnel(MemoryTransport):
    """A transport that looks like TLS."""

    aborted = False

    def getHandle(self) -> object:
        """Return a handle that is not used."""
        return object()


class HandshakeStageTests(SynchronousTestCase):
    """The stage without TLS."""

    def held(self, creator: Any) -> tuple[HandshakeStage, Tunnel, Recorders]:
        """Return a stage that waits for a handshake."""
        factory = Recorders()
        stage = HandshakeStage(creator, factory, PEER, Clock(), None)
        tunnel = Tunnel()
        stage.makeConnection(tunnel)
        return stage, tunnel, factory

    def test_renegotiation(self) -> None:
        """
        A second handshakeCompleted builds no protocol, and calls that of the first
        protocol once.
        """
        stage, _, factory = self.held(FakeCreator())
        client = Listener()
        self.patch(factory, "buildProtocol", lambda _: client)
        stage.handshakeCompleted()
        stage.handshakeCompleted()
        self.assertEqual((client.made, len(client.heard)), (1, 1))

    def test_not_accepted(self) -> None:
        """The verdict of the creator is asked for after the handshake."""
        stage, tunnel, factory = self.held(FakeCreator(VerificationFailed("no")))
        stage.handshakeCompleted()
        self.failureResultOf(stage.ready, VerificationFailed)
        self.assertTrue(tunnel.disconnected)
        self.assertEqual(factory.built, [])


class SecuredDialects:
    """STARTTLS, and TLS with a server in memory; mixed in below."""

    dialect = ""

    def handshake(
        self: Any,
        identity: Identity | None = None,
        creator: ConnectionCreator | None = None,
    ) -> Any:
        """Hold the dialogue and the handshake."""
        self.attempt = Handshake(
            lambda tcp, clock: starttls(
                self.dialect, creator or trusting(), tcp, clock, TIMEOUT, DOMAIN
            ),
            TLSServer(identity),
            GOOD[self.dialect],
        )
        self.attempt.finish()
        return self.attempt

    def refused(
        self: Any, identity: Identity, error: type[Exception], why: str
    ) -> None:
        """Check that a server with an identity is refused and receives no data."""
        attempt = self.handshake(identity)
        self.assertIs(type(attempt.error), error)
        self.assertIn(why, str(attempt.error))
        self.assertEqual(attempt.factory.built, [])
        self.assertEqual(attempt.server.received, b"")
        self.assertEqual(attempt.left, [])
        self.in_clear(attempt)

    def in_clear(self: Any, attempt: Handshake) -> None:
        """
        Check that the client has sent in clear what the dialogue has, and no more.
        """
        said = attempt.clear
        tag = said.partition(b" ")[0][:-1]
        self.assertEqual(said, client_bytes(GOOD[self.dialect], tag))

    def test_secured(self: Any) -> None:
        """After the dialogue there is TLS, with the application's protocol above it."""
        attempt = self.handshake()
        self.assertIs(attempt.result, attempt.factory.built[0])
        attempt.result.transport.write(b"question")
        attempt.server.transport.write(b"answer")
        attempt.finish()
        self.assertEqual(attempt.server.received, b"question")
        self.assertEqual(attempt.result.received, b"answer")
        self.in_clear(attempt)
        self.assertEqual(attempt.left, [])

    def test_certificate_T_1_self_signed(self: Any) -> None:
        """A self-signed certificate is refused."""
        self.refused(self_signed(["localhost"]), VerificationFailed, "self-signed")

    def test_certificate_T_2_wrong_name(self: Any) -> None:
        """A certificate for another name is refused."""
        identity = shared().authority.server(["evil.example"])
        self.refused(identity, NameMismatch, "evil.example")

    def test_certificate_T_3_expired(self: Any) -> None:
        """A certificate past its date is refused."""
        identity = shared().authority.server(["localhost"], valid=EXPIRED)
        self.refused(identity, VerificationFailed, "expired")

    def test_certificate_T_4_untrusted(self: Any) -> None:
        """A certificate of an unknown authority is refused."""
        identity = shared().stranger.server(["localhost"])
        self.refused(identity, VerificationFailed, "unknown CA")

    def test_insecure(self: Any) -> None:
        """With verify=False each of these certificates is accepted."""
        for identity in (
            self_signed(["localhost"]),
            shared().authority.server(["evil.example"]),
            shared().authority.server(["localhost"], valid=EXPIRED),
            shared().stranger.server(["localhost"]),
        ):
            attempt = self.handshake(identity, trusting(verify=False))
            self.assertIsNotNone(attempt.result, attempt.error)


class SecuredFTPTests(SecuredDialects, SynchronousTestCase):
    """FTP with a TLS server in memory."""

    dialect = "ftp"


class SecuredIMAPTests(SecuredDialects, SynchronousTestCase):
    """IMAP with a TLS server in memory."""

    dialect = "imap"


class SecuredIRCTests(SecuredDialects, SynchronousTestCase):
    """IRC with a TLS server in memory."""

    dialect = "irc"


class SecuredLDAPTests(SecuredDialects, SynchronousTestCase):
    """LDAP with a TLS server in memory."""

    dialect = "ldap"


class SecuredLMTPTests(SecuredDialects, SynchronousTestCase):
    """LMTP with a TLS server in memory."""

    dialect = "lmtp"


class SecuredMySQLTests(SecuredDialects, SynchronousTestCase):
    """MySQL with a TLS server in memory."""

    dialect = "mysql"


class SecuredNNTPTests(SecuredDialects, SynchronousTestCase):
    """NNTP with a TLS server in memory."""

    dialect = "nntp"


class SecuredPOP3Tests(SecuredDialects, SynchronousTestCase):
    """POP3 with a TLS server in memory."""

    dialect = "pop3"


class SecuredPostgresTests(SecuredDialects, SynchronousTestCase):
    """PostgreSQL with a TLS server in memory."""

    dialect = "postgres"


class SecuredSieveTests(SecuredDialects, SynchronousTestCase):
    """ManageSieve with a TLS server in memory."""

    dialect = "sieve"


class SecuredSMTPTests(SecuredDialects, SynchronousTestCase):
    """SMTP with a TLS server in memory."""

    dialect = "smtp"


class SecuredTelnetTests(SecuredDialects, SynchronousTestCase):
    """Telnet with a TLS server in memory."""

    dialect = "telnet"


class SecuredXMPPTests(SecuredDialects, SynchronousTestCase):
    """XMPP with a TLS server in memory."""

    dialect = "xmpp"


class SecuredXMPPServerTests(SecuredDialects, SynchronousTestCase):
    """XMPP between servers with a TLS server in memory."""

    dialect = "xmpp-server"


class Peer(Protocol):
    """The server's protocol: it greets, and fires when it is connected and lost."""

    def __init__(self) -> None:
        self.made: Deferred[Peer] = Deferred()
        self.gone: Deferred[None] = Deferred()
        self.received = b""

    def connectionMade(self) -> None:
        """Send the greeting."""
        assert self.transport is not None
        self.transport.write(b"hello")
        self.made.callback(self)

    def dataReceived(self, data: bytes) -> None:
        """Keep the data."""
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fire."""
        self.gone.callback(None)


class Greeted(Recorder):
    """The client's protocol: it fires at the greeting and at the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.greeted: Deferred[None] = Deferred()
        self.gone: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Fire at the greeting."""
        super().dataReceived(data)
        if self.received == b"hello":
            self.greeted.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fire."""
        super().connectionLost(reason)
        self.gone.callback(None)


class LoopbackTests(TestCase):
    """Sockets of the kernel."""

    timeout = 60

    def listen(self, endpoint: IStreamServerEndpoint, peer: Peer, tls: bool) -> Any:
        """Listen for one connection."""
        factory: Any = Factory.forProtocol(lambda: peer)
        if tls:
            factory = TLSMemoryBIOFactory(TLSServer(), False, factory)
        port: Any = self.successResultOf(endpoint.listen(factory))
        self.addCleanup(port.stopListening)
        return port

    @inlineCallbacks
    def converse(self, endpoint: IStreamClientEndpoint, peer: Peer) -> Any:
        """
        Connect, wait for the greeting, answer and close, and check that nothing is
        left.
        """
        client: Any = yield endpoint.connect(Factory.forProtocol(Greeted))
        yield client.greeted
        client.transport.write(b"bye")
        client.transport.loseConnection()
        yield client.gone
        yield peer.gone
        self.assertEqual(peer.received, b"bye")

    @inlineCallbacks
    def test_tcp(self) -> Any:
        """
        TLS over TCP: addresses raced, certificate verified, data in both directions.
        """
        peer = Peer()
        port = self.listen(
            TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"), peer, True
        )
        endpoint = RacingEndpoint(reactor, "127.0.0.1", port.getHost().port)
        creator = trusting(name="127.0.0.1")
        yield self.converse(secured(creator, endpoint, reactor, 60), peer)

    @inlineCallbacks
    def test_unix(self) -> Any:
        """UNIX sockets by path and by abstract name, with TLS and in clear."""
        name = os.urandom(8).hex()
        for path, address in ((name, name), ("@" + name, "\0" + name)):
            for tls in (False, True):
                peer = Peer()
                port = self.listen(UNIXServerEndpoint(reactor, address), peer, tls)
                endpoint: Any = SocketEndpoint(reactor, path, 30)
                if tls:
                    endpoint = secured(trusting(name=None), endpoint, reactor, 60)
                yield self.converse(endpoint, peer)
                yield port.stopListening()

    @inlineCallbacks
    def failed(self, path: str) -> Any:
        """Return the reason for which a socket does not connect."""
        endpoint = SocketEndpoint(reactor, path, 30)
        error = yield self.assertFailure(endpoint.connect(Recorders()), ConnectFailed)
        (attempt,) = error.attempts
        self.assertEqual(attempt.address, f"socket {path}")
        return attempt.reason

    @inlineCallbacks
    def test_no_socket(self) -> Any:
        """A path without a socket is an error in djb's words."""
        reason = yield self.failed(os.path.abspath("missing"))
        self.assertEqual(reason, "file does not exist")

    @inlineCallbacks
    def test_no_listener(self) -> Any:
        """A socket without a listener, and a regular file, are errors with the path."""
        path = os.path.abspath("dead")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
        self.assertEqual((yield self.failed(path)), "connection refused")
        with open("file", "w"):
            pass
        self.assertEqual((yield self.failed("./file")), "connection refused")
        self.assertEqual((yield self.failed("@no-listener")), "connection refused")

    def busy(self) -> socket.socket:
        """Listen at the address ``busy`` with a queue that is full."""
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind("busy")
        listener.listen(0)
        waiting = socket.socket(socket.AF_UNIX)
        self.addCleanup(waiting.close)
        waiting.connect("busy")
        self.addCleanup(os.unlink, "busy")
        return listener

    @inlineCallbacks
    def test_busy(self) -> Any:
        """A connection to a full queue is tried again until there is room."""
        listener = self.busy()
        connecting = SocketEndpoint(reactor, "busy", TIMEOUT).connect(Recorders())
        # By then it has been turned away.
        for _ in range(10):
            yield deferLater(reactor, 0)
        self.assertNoResult(connecting)
        with listener.accept()[0]:
            client: Any = yield connecting
        client.transport.abortConnection()

    @inlineCallbacks
    def test_busy_for_too_long(self) -> Any:
        """It is tried until the timeout."""
        self.busy()
        connecting = SocketEndpoint(reactor, "busy", 0.2).connect(Recorders())
        error = yield self.assertFailure(connecting, ConnectFailed)
        self.assertEqual(error.attempts, (Failed("socket busy", "timed out"),))

    @inlineCallbacks
    def test_long_path(self) -> Any:
        """A path that is too long for an address is an error."""
        for path in (
            "/" + "x" * 107,
            "/" + "x" * 200,
            "@" + "x" * 108,
            "/" + "\xe9" * 54,
        ):
            reason = yield self.failed(path)
            self.assertIn("too long", reason)

    def test_longest_path(self) -> None:
        """A path of the greatest length is tried."""
        memory = MemoryReactorClock()
        for path in ("/" + "x" * 106, "@" + "x" * 106):
            SocketEndpoint(memory, path, 30).connect(Recorders())
        self.assertEqual(len(memory.unixClients), 2)


class SocketEndpointTests(SynchronousTestCase):
    """UNIX sockets in memory."""

    def test_abstract(self) -> None:
        """``@`` stands for the NUL before an abstract name."""
        memory = MemoryReactorClock()
        SocketEndpoint(memory, "@name", 7).connect(Recorders())
        ((address, _, timeout, _),) = memory.unixClients
        self.assertEqual((address, timeout), ("\0name", 7))

    def test_cancelled(self) -> None:
        """Cancelling ends the attempt, and is no ConnectFailed."""
        memory = MemoryReactorClock()
        connecting = SocketEndpoint(memory, "/socket", 7).connect(Recorders())
        connecting.cancel()
        self.assertTrue(memory.connectors[0].stoppedConnecting)
        self.failureResultOf(connecting, ConnectingCancelledError)

    def turned_away(self, memory: MemoryReactorClock) -> None:
        """Fail an attempt as Twisted does when the queue is full."""
        _, factory, _, _ = memory.unixClients[-1]
        factory.clientConnectionFailed(memory.connectors[-1], Failure(ConnectError()))

    def test_busy(self) -> None:
        """A full queue is tried again until the timeout."""
        memory = MemoryReactorClock()
        connecting = SocketEndpoint(memory, "/socket", 3 * PAUSE).connect(Recorders())
        for _ in range(3):
            self.turned_away(memory)
            self.assertNoResult(connecting)
            memory.advance(PAUSE)
        self.assertEqual(len(memory.unixClients), 4)
        self.turned_away(memory)
        error = self.failureResultOf(connecting, ConnectFailed).value
        self.assertEqual(error.attempts, (Failed("socket /socket", "timed out"),))

    def test_busy_and_cancelled(self) -> None:
        """Cancelling ends the wait for a full queue."""
        memory = MemoryReactorClock()
        connecting = SocketEndpoint(memory, "/socket", 7).connect(Recorders())
        self.turned_away(memory)
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.assertEqual(memory.getDelayedCalls(), [])


class ErrorTests(SynchronousTestCase):
    """The errors that an application may catch."""

    def test_root(self) -> None:
        """All errors of connecting are below one root."""
        for error in (
            ConnectFailed,
            HandshakeFailed,
            NameMismatch,
            TimedOut,
            VerificationFailed,
        ):
            self.assertTrue(issubclass(error, TCPClientError))
        self.assertTrue(issubclass(NameMismatch, VerificationFailed))
        self.assertFalse(issubclass(HandshakeFailed, VerificationFailed))

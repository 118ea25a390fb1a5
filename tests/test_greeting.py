"""
Greetings, which dialects make up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    NoProtocol,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import ClientFactory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.certificates import shared
from tests.transcripts import GOOD, Exchange, Handshake, Recorder, TLSServer
from twisted_tcpclient import endpoints
from twisted_tcpclient.dialects import NAMES, Dialect, find
from twisted_tcpclient.endpoints import starttls
from twisted_tcpclient.errors import NameMismatch
from twisted_tcpclient.settings import TLSSettings
from twisted_tcpclient.stages.greeting import greeted
from twisted_tcpclient.tls import ConnectionCreator

GREETING = b"220 mx.example.org ESMTP\r\n"

#: The greeting of each dialect for the host mx.example.org.
GREETINGS = {
    "ftp": b"220 mx.example.org\r\n",
    "imap": b"* OK ready\r\n",
    "lmtp": b"220 mx.example.org LMTP\r\n",
    "nntp": b"200 mx.example.org\r\n",
    "pop3": b"+OK ready\r\n",
    "smtp": GREETING,
}


def stages(
    tcp: IStreamClientEndpoint, clock: MemoryReactorClock
) -> IStreamClientEndpoint:
    """Return an endpoint with a greeting and no other stage."""
    return greeted(GREETING, tcp, clock)


class Reaction(Recorder):
    """A recorder that calls a function at its first data."""

    def __init__(self, react: Callable[[Any], object]) -> None:
        super().__init__()
        self._react = react

    def dataReceived(self, data: bytes) -> None:
        """Keep the data, and call the function."""
        react, self._react = self._react, lambda _: None
        super().dataReceived(data)
        react(self)


class Once(ClientFactory):
    """A factory of the protocol of the test."""

    noisy = False

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build

    def buildProtocol(self, addr: object) -> Any:
        """Return the protocol."""
        return self._build()


class GreetingTests(SynchronousTestCase):
    """The stage over a transport in memory."""

    def setUp(self) -> None:
        """Begin a connection with a greeting."""
        self.exchange = Exchange(stages)

    def pass_iteration(self) -> None:
        """Run the delayed calls that are due."""
        self.exchange.reactor.advance(0)

    def reacting(self, react: Callable[[Any], object]) -> Reaction:
        """Begin a connection whose application calls a function at its first data."""
        client = Reaction(react)

        class Reacting(Exchange):
            def __init__(self) -> None:
                super().__init__(lambda tcp, clock: Fixed(stages(tcp, clock), client))

        self.exchange = Reacting()
        return client

    def test_connected_before_greeted(self) -> None:
        """``connect`` fires with a protocol that has received nothing yet."""
        client = self.exchange.result
        self.assertEqual((client.made, client.received), (1, b""))
        self.pass_iteration()
        self.assertEqual(client.received, GREETING)

    def test_greeted_once(self) -> None:
        """The greeting is delivered once, in one piece, and no call is left."""
        self.pass_iteration()
        self.assertEqual(self.exchange.left, [])
        self.exchange.reactor.advance(1000)
        self.assertEqual(self.exchange.result.received, GREETING)

    def test_nothing_is_said(self) -> None:
        """The client sends nothing."""
        self.pass_iteration()
        self.assertEqual(self.exchange.heard(), b"")

    def test_data_after_the_greeting(self) -> None:
        """Later data is delivered as it arrives."""
        self.pass_iteration()
        self.exchange.hear(b"one")
        self.assertEqual(self.exchange.result.received, GREETING + b"one")
        self.exchange.hear(b"two")
        self.assertEqual(self.exchange.result.received, GREETING + b"onetwo")

    def test_server_that_speaks_at_once(self) -> None:
        """Data that arrives before the greeting is delivered after it, in order."""
        self.exchange.hear(b"one")
        self.exchange.hear(b"two")
        self.assertEqual(self.exchange.result.received, b"")
        self.pass_iteration()
        self.assertEqual(self.exchange.result.received, GREETING + b"onetwo")
        self.exchange.hear(b"three")
        self.assertTrue(self.exchange.result.received.endswith(b"onetwothree"))

    def test_nothing_overtakes(self) -> None:
        """Data that arrives while the greeting is delivered comes after it."""
        client = self.reacting(lambda _: self.exchange.hear(b"three"))
        self.exchange.hear(b"one")
        self.exchange.hear(b"two")
        self.pass_iteration()
        self.assertEqual(client.received, GREETING + b"onetwothree")

    def test_lost_before(self) -> None:
        """A loss before the greeting is delivered after the greeting and the data."""
        for error in (ConnectionDone(), ConnectionLost()):
            self.setUp()
            self.exchange.hear(b"bye")
            client = self.exchange.result
            self.exchange.hang_up(error)
            self.assertEqual(client.received, GREETING + b"bye")
            self.assertEqual([reason.value for reason in client.lost], [error])
            self.assertEqual(self.exchange.left, [])

    def test_lost_after(self) -> None:
        """A later loss is delivered once."""
        self.pass_iteration()
        self.exchange.hang_up()
        client = self.exchange.result
        self.assertEqual(client.received, GREETING)
        self.assertEqual(len(client.lost), 1)

    def test_aborted_before(self) -> None:
        """After an abort the application receives no greeting."""
        self.exchange.hang_up(ConnectionAborted())
        client = self.exchange.result
        self.assertEqual((client.received, len(client.lost)), (b"", 1))
        self.assertEqual(self.exchange.left, [])

    def raising(self) -> Reaction:
        """Return an application that raises at its greeting."""
        return self.reacting(lambda _: 1 / 0)

    def test_raises(self) -> None:
        """
        An application that raises at its greeting is disconnected, and receives no
        more.
        """
        client = self.raising()
        self.exchange.hear(b"more")
        self.assertRaises(ZeroDivisionError, self.pass_iteration)
        self.assertTrue(self.exchange.transport.disconnected)
        self.exchange.hear(b"and more")
        self.exchange.hang_up()
        self.assertEqual((client.received, len(client.lost)), (GREETING, 1))

    def test_raises_at_the_end(self) -> None:
        """It is told of the loss, also if the loss has caused the greeting."""
        client = self.raising()
        self.assertRaises(ZeroDivisionError, self.exchange.hang_up)
        self.assertEqual(len(client.lost), 1)

    def test_not_built(self) -> None:
        """Without a protocol there is no greeting."""
        self.exchange = Unbuilt()
        self.assertIsInstance(self.exchange.error, NoProtocol)
        self.assertTrue(self.exchange.transport.disconnected)
        self.assertEqual(self.exchange.left, [])
        self.exchange.hear(b"data")
        self.exchange.hang_up()


@implementer(IStreamClientEndpoint)
class Fixed:
    """An endpoint that connects the protocol of the test."""

    def __init__(self, endpoint: IStreamClientEndpoint, protocol: object) -> None:
        self._endpoint = endpoint
        self._protocol = protocol

    def connect(self, protocolFactory: object) -> Any:
        """Connect the protocol."""
        return self._endpoint.connect(Once(lambda: self._protocol))


class Unbuilt(Exchange):
    """A connection whose factory builds no protocol."""

    def __init__(self) -> None:
        super().__init__(lambda tcp, clock: Fixed(stages(tcp, clock), None))


class StarttlsTests(SynchronousTestCase):
    """Greetings inside TLS, after a dialogue in clear."""

    def handshake(
        self, dialect: str, greeting: bool, name: str = "localhost"
    ) -> Handshake:
        """Begin a connection with a server whose greeting has another name."""
        creator = ConnectionCreator(
            TLSSettings(authorities=str(shared().ca), name=name)
        )
        return Handshake(
            lambda tcp, clock: starttls(
                dialect, creator, tcp, clock, 30, "mx.example.org", greeting
            ),
            TLSServer(),
            GOOD[dialect].replace("ready", "WIRE").replace("ESMTP", "ESMTP WIRE"),
        )

    def test_dialects(self) -> None:
        """The greeting is that of the dialect, and no byte of the server's."""
        self.assertEqual(set(GREETINGS), {n for n in NAMES if find(n).greeting})
        for dialect in GREETINGS:
            attempt = self.handshake(dialect, True)
            server = attempt.server

            def speak(server: Any = server) -> None:
                server.transport.write(b"early")

            self.patch(server, "connectionMade", speak)
            attempt.finish()
            attempt.reactor.advance(0)
            wanted = GREETINGS[dialect] + b"early"
            self.assertEqual(attempt.result.received, wanted)
            attempt.server.transport.write(b" late")
            attempt.finish()
            self.assertEqual(attempt.result.received, wanted + b" late")
            self.assertEqual(attempt.left, [])

    def test_aborted(self) -> None:
        """After an abort over TLS the application receives nothing."""

        class Quitter(Recorder):
            def connectionMade(self) -> None:
                self.transport.abortConnection()

        quitter = Quitter()
        attempt = self.handshake("smtp", True)
        self.patch(attempt.factory, "buildProtocol", lambda _: quitter)
        attempt.finish()
        attempt.reactor.advance(0)
        self.assertIs(attempt.result, quitter)
        self.assertEqual((quitter.received, len(quitter.lost)), (b"", 1))
        self.assertEqual(attempt.left, [])

    def test_none(self) -> None:
        """Without greeting=True there is no greeting."""
        for dialect in GREETINGS:
            attempt = self.handshake(dialect, False)
            attempt.finish()
            attempt.reactor.advance(0)
            self.assertEqual(attempt.result.received, b"")

    def test_refused(self) -> None:
        """A connection whose certificate is refused has no greeting."""
        attempt = self.handshake("smtp", True, name="other.example.org")
        attempt.finish()
        self.assertIsInstance(attempt.error, NameMismatch)
        self.assertEqual((attempt.factory.built, attempt.left), ([], []))

    def test_dialect_without(self) -> None:
        """A dialect without a greeting is an error before connecting."""
        silent = Dialect("smtp", 25, "none", find("smtp").dialogue, None)
        self.patch(endpoints, "find", lambda name: silent)
        creator = ConnectionCreator(TLSSettings(name="localhost"))
        memory = MemoryReactorClock()
        tcp = TCP4ClientEndpoint(memory, "192.0.2.1", 25)
        error = self.assertRaises(
            ValueError, starttls, "smtp", creator, tcp, memory, greeting=True
        )
        self.assertIn("smtp", str(error))

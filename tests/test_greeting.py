"""
Greetings: made up by the dialect, never taken from the wire.
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

#: What each dialect says for the host mx.example.org.
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
    """A greeting, and nothing before it."""
    return greeted(GREETING, tcp, clock)


class Reaction(Recorder):
    """Does something as soon as it hears something."""

    def __init__(self, react: Callable[[Any], object]) -> None:
        super().__init__()
        self._react = react

    def dataReceived(self, data: bytes) -> None:
        """Keep it, and react to the first."""
        react, self._react = self._react, lambda _: None
        super().dataReceived(data)
        react(self)


class Once(ClientFactory):
    """Builds what it was given."""

    noisy = False

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build

    def buildProtocol(self, addr: object) -> Any:
        """Build."""
        return self._build()


class GreetingTests(SynchronousTestCase):
    """The stage alone, over a transport in memory."""

    def setUp(self) -> None:
        """A connection that is to be greeted."""
        self.exchange = Exchange(stages)

    def pass_iteration(self) -> None:
        """Let the reactor do what is due."""
        self.exchange.reactor.advance(0)

    def reacting(self, react: Callable[[Any], object]) -> Reaction:
        """A connection whose application reacts to its greeting."""
        client = Reaction(react)

        class Reacting(Exchange):
            def __init__(self) -> None:
                super().__init__(lambda tcp, clock: Fixed(stages(tcp, clock), client))

        self.exchange = Reacting()
        return client

    def test_connected_before_greeted(self) -> None:
        """``connect`` fires first, with a protocol that has heard nothing yet."""
        client = self.exchange.result
        self.assertEqual((client.made, client.received), (1, b""))
        self.pass_iteration()
        self.assertEqual(client.received, GREETING)

    def test_greeted_once(self) -> None:
        """One greeting, in one piece, and nothing is left for later."""
        self.pass_iteration()
        self.assertEqual(self.exchange.left, [])
        self.exchange.reactor.advance(1000)
        self.assertEqual(self.exchange.result.received, GREETING)

    def test_nothing_is_said(self) -> None:
        """The server hears nothing of it."""
        self.pass_iteration()
        self.assertEqual(self.exchange.heard(), b"")

    def test_data_after_the_greeting(self) -> None:
        """What arrives later is passed on as it arrives."""
        self.pass_iteration()
        self.exchange.hear(b"one")
        self.assertEqual(self.exchange.result.received, GREETING + b"one")
        self.exchange.hear(b"two")
        self.assertEqual(self.exchange.result.received, GREETING + b"onetwo")

    def test_server_that_speaks_at_once(self) -> None:
        """What arrives before the greeting comes after it, in order."""
        self.exchange.hear(b"one")
        self.exchange.hear(b"two")
        self.assertEqual(self.exchange.result.received, b"")
        self.pass_iteration()
        self.assertEqual(self.exchange.result.received, GREETING + b"onetwo")
        self.exchange.hear(b"three")
        self.assertTrue(self.exchange.result.received.endswith(b"onetwothree"))

    def test_nothing_overtakes(self) -> None:
        """Not even what arrives while the application is being greeted."""
        client = self.reacting(lambda _: self.exchange.hear(b"three"))
        self.exchange.hear(b"one")
        self.exchange.hear(b"two")
        self.pass_iteration()
        self.assertEqual(client.received, GREETING + b"onetwothree")

    def test_lost_before(self) -> None:
        """
        Of a connection that ends at once, the application hears the greeting,
        what the server had to say, and then the end, for its reason.
        """
        for error in (ConnectionDone(), ConnectionLost()):
            self.setUp()
            self.exchange.hear(b"bye")
            client = self.exchange.result
            self.exchange.hang_up(error)
            self.assertEqual(client.received, GREETING + b"bye")
            self.assertEqual([reason.value for reason in client.lost], [error])
            self.assertEqual(self.exchange.left, [])

    def test_lost_after(self) -> None:
        """An end that comes later is passed on, once."""
        self.pass_iteration()
        self.exchange.hang_up()
        client = self.exchange.result
        self.assertEqual(client.received, GREETING)
        self.assertEqual(len(client.lost), 1)

    def test_aborted_before(self) -> None:
        """Whoever has aborted the connection hears no greeting."""
        self.exchange.hang_up(ConnectionAborted())
        client = self.exchange.result
        self.assertEqual((client.received, len(client.lost)), (b"", 1))
        self.assertEqual(self.exchange.left, [])

    def raising(self) -> Reaction:
        """An application that raises when it is greeted."""
        return self.reacting(lambda _: 1 / 0)

    def test_raises(self) -> None:
        """
        An application that raises on its greeting is disconnected, as it would
        be on anything else it hears, and hears nothing more.
        """
        client = self.raising()
        self.exchange.hear(b"more")
        self.assertRaises(ZeroDivisionError, self.pass_iteration)
        self.assertTrue(self.exchange.wire.disconnected)
        self.exchange.hear(b"and more")
        self.exchange.hang_up()
        self.assertEqual((client.received, len(client.lost)), (GREETING, 1))

    def test_raises_at_the_end(self) -> None:
        """Even then it hears of the end."""
        client = self.raising()
        self.assertRaises(ZeroDivisionError, self.exchange.hang_up)
        self.assertEqual(len(client.lost), 1)

    def test_not_built(self) -> None:
        """Nobody is greeted where there is no application."""
        self.exchange = Unbuilt()
        self.assertIsInstance(self.exchange.error, NoProtocol)
        self.assertTrue(self.exchange.wire.disconnected)
        self.assertEqual(self.exchange.left, [])
        self.exchange.hear(b"data")
        self.exchange.hang_up()


@implementer(IStreamClientEndpoint)
class Fixed:
    """An endpoint that connects another application than it is asked to."""

    def __init__(self, endpoint: IStreamClientEndpoint, protocol: object) -> None:
        self._endpoint = endpoint
        self._protocol = protocol

    def connect(self, protocolFactory: object) -> Any:
        """Connect that one."""
        return self._endpoint.connect(Once(lambda: self._protocol))


class Unbuilt(Exchange):
    """A connection for which there is no application."""

    def __init__(self) -> None:
        super().__init__(lambda tcp, clock: Fixed(stages(tcp, clock), None))


class StarttlsTests(SynchronousTestCase):
    """Greetings inside TLS, after a dialogue in clear."""

    def handshake(
        self, dialect: str, greeting: bool, name: str = "localhost"
    ) -> Handshake:
        """A connection with a server that is called otherwise than it says."""
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
        """Each dialect has its greeting, and no byte of it is from the wire."""
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
        """Whoever has aborted the connection hears nothing more, over TLS too."""

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
        """Unless it is wanted there is no greeting at all."""
        for dialect in GREETINGS:
            attempt = self.handshake(dialect, False)
            attempt.finish()
            attempt.reactor.advance(0)
            self.assertEqual(attempt.result.received, b"")

    def test_refused(self) -> None:
        """A connection that is not to be trusted is not greeted."""
        attempt = self.handshake("smtp", True, name="other.example.org")
        attempt.finish()
        self.assertIsInstance(attempt.error, NameMismatch)
        self.assertEqual((attempt.factory.built, attempt.left), ([], []))

    def test_dialect_without(self) -> None:
        """A dialect that has no greeting says so before anything is connected."""
        silent = Dialect("smtp", 25, "none", find("smtp").dialogue, None)
        self.patch(endpoints, "find", lambda name: silent)
        creator = ConnectionCreator(TLSSettings(name="localhost"))
        memory = MemoryReactorClock()
        tcp = TCP4ClientEndpoint(memory, "192.0.2.1", 25)
        error = self.assertRaises(
            ValueError, starttls, "smtp", creator, tcp, memory, greeting=True
        )
        self.assertIn("smtp", str(error))

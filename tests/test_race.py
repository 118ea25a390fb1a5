"""
The race of addresses: when attempts start, which one wins, and how failures are
reported.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Sequence
from threading import Event
from typing import Any
from unittest import skipUnless

from twisted.internet import reactor as global_reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import (
    AlreadyCalledError,
    CancelledError,
    Deferred,
    inlineCallbacks,
)
from twisted.internet.error import (
    ConnectBindError,
    ConnectError,
    ConnectingCancelledError,
    ConnectionLost,
    NoProtocol,
    TimeoutError,
    getConnectError,
)
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from twisted.internet.protocol import (
    ClientFactory,
    Factory,
    Protocol,
    connectionDone,
)
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from tests.servers import loopbacks
from tests.transcripts import MemoryTransport, Recorder, Recorders
from twisted_tcpclient.errors import (
    AddressNotFound,
    ConnectFailed,
    LookupFailed,
)
from twisted_tcpclient.names.resolver import Address, Resolver
from twisted_tcpclient.race import (
    RacingEndpoint,
    Track,
    connect_reason,
)
from twisted_tcpclient.settings import ConnectSettings

reactor: Any = global_reactor

on_linux = skipUnless(sys.platform == "linux", "only Linux binds to interfaces")

#: Addresses of this machine: one with a listener, two without.
HERE, NOT_HERE, NOR_HERE = "127.83.12.1", "127.83.12.2", "127.83.12.3"

V4: list[Address] = [IPv4Address("TCP", f"192.0.2.{n}", 25) for n in range(1, 5)]
V6: list[Address] = [IPv6Address("TCP", f"2001:db8::{n}", 25) for n in range(1, 5)]


@implementer(IHostResolution)
class Resolution:
    """A look-up of :class:`Names`."""

    def __init__(self, name: str, stubborn: bool) -> None:
        self.name = name
        self.cancelled = False
        self._stubborn = stubborn

    def cancel(self) -> None:
        """
        Note that it was cancelled, or raise NotImplementedError as Twisted's own
        resolver.
        """
        if self._stubborn:
            raise NotImplementedError
        self.cancelled = True


@implementer(IHostnameResolver)
class Names:
    """
    A resolver that answers when the test says so.

    :ivar questions: the names, ports and types of addresses that it was asked for.
    """

    def __init__(self, stubborn: bool = False) -> None:
        self.questions: list[tuple[str, int, Any]] = []
        self.resolution: Resolution
        self._receiver: IResolutionReceiver
        self._stubborn = stubborn

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        """Note the question."""
        self.questions.append((hostName, portNumber, addressTypes))
        self.resolution = Resolution(hostName, self._stubborn)
        self._receiver = resolutionReceiver
        resolutionReceiver.resolutionBegan(self.resolution)
        return self.resolution

    def answer(self, *addresses: IAddress) -> None:
        """Answer the last question with these addresses."""
        for address in addresses:
            self._receiver.addressResolved(address)
        self._receiver.resolutionComplete()


def refused(number: int = errno.ECONNREFUSED) -> Exception:
    """Return Twisted's error for an errno of connect(2)."""
    error: Exception = getConnectError((number, "whatever"))
    return error


class Racing(SynchronousTestCase):
    """Races in memory."""

    host = "mail.example.org"

    def setUp(self) -> None:
        """Make a reactor in memory, and a resolver for it."""
        self.reactor = MemoryReactorClock()
        self.names = Names()
        self.reactor.nameResolver = self.names
        self.told: list[str] = []
        self.factory: Any = Recorders()

    def start(self, *addresses: IAddress, **others: Any) -> Deferred[Any]:
        """
        Start a race, and answer its look-up with these addresses if there are any.
        """
        endpoint = RacingEndpoint(
            self.reactor, self.host, 25, ConnectSettings(**others), self.told.append
        )
        self.connecting: Deferred[Any] = endpoint.connect(self.factory)
        if addresses:
            self.names.answer(*addresses)
        return self.connecting

    @property
    def tried(self) -> list[str]:
        """The addresses of the attempts, in order."""
        return [client[0] for client in self.reactor.tcpClients]

    def fail_attempt(self, which: int, error: Exception | None = None) -> None:
        """Let an attempt fail, and run the calls that are due."""
        factory = self.reactor.tcpClients[which][2]
        connector = self.reactor.connectors[which]
        factory.clientConnectionFailed(connector, Failure(error or refused()))
        self.reactor.advance(0)

    def succeed(self, which: int) -> MemoryTransport:
        """Let an attempt succeed."""
        factory = self.reactor.tcpClients[which][2]
        protocol = factory.buildProtocol(V4[0])
        wire = MemoryTransport()
        if protocol is not None:
            protocol.makeConnection(wire)
        return wire

    def nothing_left(self) -> None:
        """Check that no timer is left."""
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def failures(self) -> list[tuple[str, str]]:
        """Return the address and the reason of each failure of ``connect``."""
        failure: Any = self.failureResultOf(self.connecting, ConnectFailed)
        self.nothing_left()
        return [(a.address, a.reason) for a in failure.value.attempts]


class RaceTests(Racing):
    """Several addresses."""

    def test_one(self) -> None:
        """A race of one address succeeds when it answers."""
        connecting = self.start(V4[0])
        self.assertEqual(self.tried, [V4[0].host])
        self.assertNoResult(connecting)
        self.succeed(0)
        self.assertIs(self.successResultOf(connecting), self.factory.built[0])
        self.nothing_left()

    def test_zones(self) -> None:
        """
        An address is connected to in its zone; an address in two zones counts as two.
        """
        self.start(
            *(IPv6Address("TCP", "fe80::1", 25, scopeID=zone) for zone in (901, 902))
        )
        self.reactor.advance(0.25)
        self.assertEqual(self.tried, ["fe80::1%901", "fe80::1%902"])
        self.connecting.cancel()
        self.failureResultOf(self.connecting)

    def test_delay(self) -> None:
        """An attempt starts 250 ms after the one before."""
        self.start(*V4[:3])
        for n in (1, 2, 3):
            self.assertEqual(len(self.tried), n)
            self.reactor.advance(0.24)
            self.assertEqual(len(self.tried), n)
            self.reactor.advance(0.01)
        self.assertEqual(self.tried, [a.host for a in V4[:3]])
        self.connecting.cancel()
        self.failureResultOf(self.connecting)

    def test_delay_as_set(self) -> None:
        """The settings may set another delay."""
        self.start(*V4[:2], attempt_delay=2)
        self.reactor.advance(1.9)
        self.assertEqual(len(self.tried), 1)
        self.reactor.advance(0.1)
        self.assertEqual(len(self.tried), 2)
        self.connecting.cancel()
        self.failureResultOf(self.connecting)

    def test_no_delay(self) -> None:
        """
        With a delay of 0, the race does not keep the reactor busy once all attempts
        have started.
        """
        self.start(V4[0], attempt_delay=0)
        for call in self.reactor.getDelayedCalls():
            self.assertGreater(call.getTime(), self.reactor.seconds())
        self.connecting.cancel()
        self.failureResultOf(self.connecting)

    def test_interleaved(self) -> None:
        """The families take turns."""
        self.start(*V6[:2], *V4[:2])
        self.reactor.pump([0.25] * 3)
        wanted = [V6[0].host, V4[0].host, V6[1].host, V4[1].host]
        self.assertEqual(self.tried, wanted)
        self.connecting.cancel()
        self.failureResultOf(self.connecting)

    def test_failure_starts_the_next(self) -> None:
        """The next attempt starts as soon as one fails."""
        self.start(*V4[:3])
        self.fail_attempt(0)
        self.assertEqual(len(self.tried), 2)
        self.fail_attempt(1)
        self.assertEqual(len(self.tried), 3)
        self.succeed(2)
        self.successResultOf(self.connecting)
        self.nothing_left()

    def test_delay_begins_anew(self) -> None:
        """After an early start, the delay of the next attempt counts from there."""
        self.start(*V4[:3])
        self.reactor.advance(0.2)
        self.fail_attempt(0)
        self.assertEqual(len(self.tried), 2)
        self.reactor.advance(0.24)
        self.assertEqual(len(self.tried), 2)
        self.reactor.advance(0.01)
        self.assertEqual(len(self.tried), 3)
        self.connecting.cancel()
        self.failureResultOf(self.connecting)

    def test_older_attempt_fails(self) -> None:
        """The next attempt starts whichever attempt fails, even an older one."""
        self.start(*V4[:3])
        self.reactor.advance(0.25)
        self.fail_attempt(0)
        self.assertEqual(len(self.tried), 3)
        self.fail_attempt(1)
        self.fail_attempt(2)
        self.assertEqual(len(self.failures()), 3)

    def test_first_to_answer_wins(self) -> None:
        """
        When an attempt succeeds, the others are stopped, and no protocol is built for
        them.
        """
        self.start(*V4[:3])
        self.reactor.pump([0.25, 0.25])
        self.succeed(1)
        self.assertIs(self.successResultOf(self.connecting), self.factory.built[0])
        self.assertEqual(
            [c.stoppedConnecting for c in self.reactor.connectors], [True, False, True]
        )
        self.assertEqual(len(self.factory.built), 1)
        self.nothing_left()

    def test_winner_stops_the_rest(self) -> None:
        """When an attempt succeeds, no other is started."""
        self.start(*V4)
        self.succeed(0)
        self.reactor.advance(10)
        self.assertEqual(len(self.tried), 1)

    def test_all_fail(self) -> None:
        """All addresses are reported with their reasons, in the order of failing."""
        self.start(*V4[:3])
        self.reactor.pump([0.25, 0.25])
        self.fail_attempt(1, refused(errno.ENETUNREACH))
        self.fail_attempt(2, TimeoutError())
        self.assertNoResult(self.connecting)
        self.fail_attempt(0)
        where = "host mail.example.org ip {} port 25"
        self.assertEqual(
            self.failures(),
            [
                (where.format(V4[1].host), "network is unreachable"),
                (where.format(V4[2].host), "timed out"),
                (where.format(V4[0].host), "connection refused"),
            ],
        )

    def test_message(self) -> None:
        """The text of the error has all addresses and reasons."""
        self.start(*V4[:2])
        self.fail_attempt(0)
        self.fail_attempt(1, TimeoutError())
        failure: Any = self.failureResultOf(self.connecting, ConnectFailed)
        self.assertEqual(
            str(failure.value),
            "host mail.example.org ip 192.0.2.1 port 25: connection refused; "
            "host mail.example.org ip 192.0.2.2 port 25: timed out",
        )

    def test_last_one_fails_first(self) -> None:
        """
        The race goes on while an attempt is under way, though all addresses have been
        tried.
        """
        self.start(*V4[:2])
        self.reactor.advance(0.25)
        self.fail_attempt(1)
        self.reactor.advance(30)
        self.assertNoResult(self.connecting)
        self.succeed(0)
        self.successResultOf(self.connecting)

    def test_timeout(self) -> None:
        """Each attempt has the timeout of the settings."""
        self.start(*V4[:2], attempt_timeout=7.0)
        self.reactor.advance(0.25)
        self.assertEqual([c[3] for c in self.reactor.tcpClients], [7, 7])
        self.connecting.cancel()
        self.failureResultOf(self.connecting)

    def test_announced(self) -> None:
        """Each attempt is announced when it starts."""
        self.start(V6[0], V4[0])
        self.assertEqual(
            self.told,
            ["trying host mail.example.org ip 2001:db8::1 port 25"],
        )
        self.fail_attempt(0)
        self.assertEqual(
            self.told[1:],
            ["trying host mail.example.org ip 192.0.2.1 port 25"],
        )
        self.connecting.cancel()
        self.failureResultOf(self.connecting)

    def test_cancelled(self) -> None:
        """Cancelling stops all attempts; the error is not ConnectFailed."""
        self.start(*V4[:3])
        self.reactor.advance(0.25)
        self.connecting.cancel()
        self.failureResultOf(self.connecting, ConnectingCancelledError)
        for connector in self.reactor.connectors:
            self.assertTrue(connector.stoppedConnecting)
        self.nothing_left()
        self.assertEqual(self.factory.built, [])

    def test_cancelled_after_failures(self) -> None:
        """Cancelling after a failed attempt is not ConnectFailed either."""
        self.start(*V4[:2])
        self.fail_attempt(0)
        self.connecting.cancel()
        self.failureResultOf(self.connecting, ConnectingCancelledError)
        self.nothing_left()

    def test_no_protocol(self) -> None:
        """A factory that builds no protocol fails ``connect`` with NoProtocol."""

        class Nothing(ClientFactory):
            def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
                return None

        self.factory = Nothing()
        self.start(V4[0])
        self.succeed(0)
        self.reactor.advance(0.25)
        self.failureResultOf(self.connecting, NoProtocol)
        self.nothing_left()

    def test_no_protocol_after_a_failure(self) -> None:
        """NoProtocol is the error even if another address has failed before."""
        self.patch(self.factory, "buildProtocol", lambda addr: None)
        self.start(*V4[:2])
        self.fail_attempt(0)
        self.succeed(1)
        self.reactor.advance(0.25)
        self.failureResultOf(self.connecting, NoProtocol)
        self.nothing_left()


class LocalTests(Racing):
    """The local address and port."""

    def bindings(self) -> list[Any]:
        """Return the local address of each attempt."""
        return [client[4] for client in self.reactor.tcpClients]

    def test_any(self) -> None:
        """Without a local address and port, attempts are bound to neither."""
        self.start(V4[0])
        self.assertEqual(self.bindings(), [None])
        self.connecting.cancel()
        self.failureResultOf(self.connecting)

    def test_address(self) -> None:
        """With a local address, several attempts run at the same time."""
        self.start(*V4[:2], local_ip="192.0.2.99")
        self.reactor.advance(0.25)
        self.assertEqual(self.bindings(), [("192.0.2.99", 0)] * 2)
        self.connecting.cancel()
        self.failureResultOf(self.connecting)

    def test_port(self) -> None:
        """With a local port, an attempt starts only when the one before has failed."""
        self.start(*V4[:3], local_port=4000)
        self.reactor.advance(59)
        self.assertEqual(self.bindings(), [("", 4000)])
        self.fail_attempt(0)
        self.assertEqual(self.bindings(), [("", 4000)] * 2)
        self.reactor.advance(59)
        self.assertEqual(len(self.tried), 2)
        self.fail_attempt(1)
        self.fail_attempt(2)
        self.assertEqual(len(self.failures()), 3)

    def test_port_cancelled(self) -> None:
        """With a local port, cancelling leaves no timer either."""
        self.start(*V4[:3], local_port=4000)
        self.connecting.cancel()
        self.failureResultOf(self.connecting, ConnectingCancelledError)
        self.nothing_left()

    def test_bind_error(self) -> None:
        """If bind(2) fails the reason says so."""
        self.start(V4[0], local_port=4000)
        self.fail_attempt(0, ConnectBindError(errno.EADDRINUSE, "whatever"))
        ((_, reason),) = self.failures()
        self.assertEqual(reason, "unable to bind socket: address already used")


class HostTests(Racing):
    """From a host to its addresses."""

    def test_question(self) -> None:
        """
        The resolver is asked for the host, the port, and the families of the settings.
        """
        for family, kinds in (
            (0, {IPv4Address, IPv6Address}),
            (4, {IPv4Address}),
            (6, {IPv6Address}),
        ):
            self.setUp()
            self.start(V4[0], family=family)
            ((name, port, asked),) = self.names.questions
            self.assertEqual((name, port, set(asked)), (self.host, 25, kinds))
            self.connecting.cancel()
            self.failureResultOf(self.connecting)

    def test_no_question(self) -> None:
        """A host that is an address is not looked up."""
        for host, wanted in (
            ("192.0.2.1", ["192.0.2.1"]),
            ("[2001:db8::1]", ["2001:db8::1"]),
            ("fe80::1%lo", ["fe80::1%lo"]),
            ("0", ["::1", "127.0.0.1"]),
            ("", ["::1", "127.0.0.1"]),
        ):
            self.setUp()
            self.host = host
            self.start()
            self.reactor.advance(0.25)
            self.assertEqual(self.tried, wanted)
            self.assertEqual(self.names.questions, [])
            self.connecting.cancel()
            self.failureResultOf(self.connecting)
            self.nothing_left()

    def test_this_machine_in_one_family(self) -> None:
        """``0`` is an address of the family in the settings."""
        for family, wanted in ((4, ["127.0.0.1"]), (6, ["::1"])):
            self.setUp()
            self.host = "0"
            self.start(family=family)
            self.reactor.advance(1)
            self.assertEqual(self.tried, wanted)
            self.connecting.cancel()
            self.failureResultOf(self.connecting)

    def test_wrong_family(self) -> None:
        """A host that is an address of the other family has no address."""
        for host, family in (("::1", 4), ("127.0.0.1", 6), ("[::1]", 4)):
            self.setUp()
            self.host = host
            self.start(family=family)
            failure = self.failureResultOf(self.connecting, AddressNotFound)
            self.assertIn(f"no IPv{family} address for {host}", str(failure.value))
            self.assertEqual(self.tried, [])

    def test_no_address(self) -> None:
        """A host without addresses fails ``connect`` with AddressNotFound."""
        self.start()
        self.names.answer()
        failure = self.failureResultOf(self.connecting, AddressNotFound)
        self.assertEqual(str(failure.value), "no IP address for mail.example.org")
        self.nothing_left()

    def test_late(self) -> None:
        """A look-up that takes too long is cancelled, and fails with LookupFailed."""
        self.start(attempt_timeout=7.0)
        self.reactor.advance(6.9)
        self.assertNoResult(self.connecting)
        self.reactor.advance(0.1)
        self.check_late()
        self.assertTrue(self.names.resolution.cancelled)

    def check_late(self) -> None:
        """
        Check the error for a look-up that takes too long, and that its answer is
        ignored.
        """
        failure = self.failureResultOf(self.connecting, LookupFailed)
        self.assertEqual(
            str(failure.value),
            "temporarily unable to figure out IP address for mail.example.org:"
            " timed out",
        )
        self.nothing_left()
        # The resolver may answer after all.
        self.names.answer(V4[0])
        self.assertEqual(self.tried, [])

    def test_late_without_cancel(self) -> None:
        """The same holds for Twisted's own resolver, which cannot cancel a look-up."""
        self.names = Names(stubborn=True)
        self.reactor.nameResolver = self.names
        self.start(attempt_timeout=7.0)
        self.reactor.advance(7)
        self.check_late()

    def test_cancelled(self) -> None:
        """Cancelling ends the look-up, and its answer is ignored."""
        self.start()
        self.connecting.cancel()
        self.failureResultOf(self.connecting, CancelledError)
        self.assertTrue(self.names.resolution.cancelled)
        self.nothing_left()
        self.names.answer(V4[0])
        self.assertEqual(self.tried, [])

    def test_cancelled_without_cancel(self) -> None:
        """The same holds for a resolver that cannot cancel a look-up."""
        self.names = Names(stubborn=True)
        self.reactor.nameResolver = self.names
        self.start()
        self.connecting.cancel()
        self.failureResultOf(self.connecting, CancelledError)
        self.nothing_left()


class TrackTests(SynchronousTestCase):
    """The reactor of a race."""

    def test_no_resolver(self) -> None:
        """No resolver can be installed in a race."""
        track = Track(MemoryReactorClock(), "x", V4, ConnectSettings(), print)
        self.assertRaises(NotImplementedError, track.installNameResolver, Names())
        self.assertIs(track.nameResolver, track)

    def test_time(self) -> None:
        """Time and timers are those of the real reactor."""
        memory = MemoryReactorClock()
        track = Track(memory, "x", V4, ConnectSettings(attempt_delay=3), print)
        memory.advance(5)
        self.assertEqual(track.seconds(), 5)
        called: list[int] = []
        track.callLater(100, called.append, 1)
        self.assertEqual(track.getDelayedCalls(), memory.getDelayedCalls())
        memory.advance(3)
        self.assertEqual(called, [1])


class ReasonTests(SynchronousTestCase):
    """The words for a failed attempt."""

    def test_words(self) -> None:
        """The words are djb's if there are any, else strerror(3)'s in lower case."""
        for error, words in (
            (refused(), "connection refused"),
            (refused(errno.ECONNRESET), "connection reset"),
            (refused(errno.EACCES), "access denied"),
            (refused(errno.ETIMEDOUT), "timed out"),
            (TimeoutError(), "timed out"),
            (
                ConnectBindError(errno.EADDRNOTAVAIL, ""),
                "unable to bind socket: address not available",
            ),
            (
                ConnectBindError(errno.EAFNOSUPPORT, ""),
                "address family not supported by protocol",
            ),
            (
                ConnectBindError(socket.EAI_NONAME, "Name or service not known"),
                "unable to bind socket: address not available",
            ),
            (
                # Twisted's error for EAGAIN.
                ConnectError(string=Failure(ConnectionLost())),
                "resource temporarily unavailable",
            ),
            (ValueError("What Is It"), "what is it"),
        ):
            self.assertEqual(connect_reason(error), words)


@implementer(IHostnameResolver)
class Fixed:
    """A resolver that answers each question at once, with the same addresses."""

    def __init__(self, *hosts: str) -> None:
        self._hosts = hosts

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> Any:
        """Answer the question."""
        resolution = Resolution(hostName, False)
        resolutionReceiver.resolutionBegan(resolution)
        for host in self._hosts:
            address = IPv4Address("TCP", host, portNumber)
            resolutionReceiver.addressResolved(address)
        resolutionReceiver.resolutionComplete()
        return resolution


class LoopbackTests(TestCase):
    """Real sockets on this machine."""

    timeout = 60

    def setUp(self) -> None:
        """
        Listen on an address that no other test uses; the kernel accepts connections.
        """
        self.listener = socket.create_server((HERE, 0))
        self.addCleanup(self.listener.close)
        self.port: int = self.listener.getsockname()[1]

    def answer(self, resolver: Any) -> None:
        """Install a resolver for this test."""
        before = reactor.installNameResolver(resolver)
        self.addCleanup(reactor.installNameResolver, before)

    @inlineCallbacks
    def connect(self, host: str, port: int, **others: Any) -> Any:
        """Connect, close, and return the remote and the local address."""
        factory = Recorders()
        endpoint = RacingEndpoint(reactor, host, port, ConnectSettings(**others))
        client = yield endpoint.connect(factory)
        places = client.transport.getPeer(), client.transport.getHost()
        gone: Deferred[None] = Deferred()
        client.connectionLost = lambda reason: gone.callback(None)
        client.transport.loseConnection()
        yield gone
        return places

    @inlineCallbacks
    def fails(self, host: str, port: int, **others: Any) -> Any:
        """Return the reason for each address that could not be connected to."""
        settings = ConnectSettings(**others)
        endpoint = RacingEndpoint(reactor, host, port, settings)
        error = yield self.assertFailure(endpoint.connect(Recorders()), ConnectFailed)
        return [attempt.reason for attempt in error.attempts]

    @inlineCallbacks
    def test_eagain(self) -> Any:
        """If connect(2) returns EAGAIN, the reason is in words."""
        self.patch(socket.socket, "connect_ex", lambda *_: errno.EAGAIN)
        reasons = yield self.fails(HERE, self.port)
        self.assertEqual(reasons, ["resource temporarily unavailable"])

    @inlineCallbacks
    def test_itself(self) -> Any:
        """
        A connection of a socket to itself is a failure, and no protocol is built for
        it.
        """
        for host in (NOT_HERE, *(["::1"] if "::1" in loopbacks() else [])):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.socket(family) as bound:
                bound.bind((host, 0))
                port = bound.getsockname()[1]
            factory = Recorders()
            settings = ConnectSettings(local_ip=host, local_port=port)
            endpoint = RacingEndpoint(reactor, host, port, settings)
            error = yield self.assertFailure(endpoint.connect(factory), ConnectFailed)
            reasons = [attempt.reason for attempt in error.attempts]
            self.assertEqual(reasons, ["connected to itself: no server listens there"])
            self.assertEqual(factory.built, [])

    @inlineCallbacks
    def test_itself_then_another(self) -> Any:
        """
        After a connection to itself, the next address is tried from the same port.
        """
        self.answer(Fixed(NOT_HERE, HERE))
        settings = {"local_ip": NOT_HERE, "local_port": self.port}
        ends = yield self.connect("name", self.port, **settings)
        self.assertEqual([end.host for end in ends], [HERE, NOT_HERE])
        self.assertEqual([end.port for end in ends], [self.port, self.port])

    @inlineCallbacks
    def test_raises_at_once(self) -> Any:
        """
        If connectionMade() of the protocol raises, ``connect`` fails with that error.
        """

        class Raising(Recorder):
            def connectionMade(self) -> None:
                raise ZeroDivisionError

        for addresses in ((HERE,), (NOT_HERE, HERE)):
            self.answer(Fixed(*addresses))
            endpoint = RacingEndpoint(reactor, "name", self.port)
            connecting = endpoint.connect(Factory.forProtocol(Raising))
            yield self.assertFailure(connecting, ZeroDivisionError)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    @inlineCallbacks
    def test_cancelled_by_the_protocol(self) -> Any:
        """A protocol that cancels ``connect`` in connectionMade() is disconnected."""
        gone: Deferred[None] = Deferred()

        class Canceller(Recorder):
            def connectionMade(self) -> None:
                connecting.cancel()

            def connectionLost(self, reason: Failure = connectionDone) -> None:
                gone.callback(None)

        self.answer(Fixed(HERE))
        endpoint = RacingEndpoint(reactor, "name", self.port)
        connecting = endpoint.connect(Factory.forProtocol(Canceller))
        yield self.assertFailure(connecting, ConnectingCancelledError)
        yield gone
        # Twisted's endpoint then fires the Deferred once more, and logs the error.
        self.flushLoggedErrors(AlreadyCalledError)

    @inlineCallbacks
    def test_nodelay(self) -> Any:
        """TCP_NODELAY is set if the settings say so."""
        for wanted in (False, True):
            settings = ConnectSettings(nodelay=wanted)
            endpoint = RacingEndpoint(reactor, HERE, self.port, settings)
            client: Any = yield endpoint.connect(Recorders())
            self.assertEqual(bool(client.transport.getTcpNoDelay()), wanted)
            client.transport.abortConnection()

    @inlineCallbacks
    def test_second_address(self) -> Any:
        """If the first address refuses, the second one is tried at once."""
        self.answer(Fixed(NOT_HERE, HERE))
        peer, _ = yield self.connect("name", self.port, attempt_delay=3600)
        self.assertEqual(peer.host, HERE)

    @inlineCallbacks
    def test_all_refused(self) -> Any:
        """If all addresses refuse, all of them are reported."""
        self.answer(Fixed(NOT_HERE, NOR_HERE))
        reasons = yield self.fails("name", self.port, attempt_delay=3600)
        self.assertEqual(reasons, ["connection refused"] * 2)

    @inlineCallbacks
    def test_local_address(self) -> Any:
        """The connection comes from the local address in the settings."""
        _, host = yield self.connect(HERE, self.port, local_ip="127.0.0.9")
        self.assertEqual(host.host, "127.0.0.9")

    @inlineCallbacks
    def test_local_port(self) -> Any:
        """The connection comes from the local port in the settings."""
        with socket.create_server(("127.0.0.9", 0)) as free:
            port = free.getsockname()[1]
        _, host = yield self.connect(
            HERE, self.port, local_ip="127.0.0.9", local_port=port
        )
        self.assertEqual((host.host, host.port), ("127.0.0.9", port))

    @inlineCallbacks
    def test_not_our_address(self) -> Any:
        """An address of another machine is an error, in djb's words."""
        reasons = yield self.fails(HERE, self.port, local_ip="192.0.2.1")
        self.assertEqual(reasons, ["unable to bind socket: address not available"])

    @inlineCallbacks
    def test_port_in_use(self) -> Any:
        """A local port in use is an error, in djb's words."""
        reasons = yield self.fails(HERE, self.port, local_ip=HERE, local_port=self.port)
        self.assertEqual(reasons, ["unable to bind socket: address already used"])

    @on_linux
    @inlineCallbacks
    def test_interface(self) -> Any:
        """A connection over the interface in the settings is made."""
        peer, _ = yield self.connect(HERE, self.port, interface="lo")
        self.assertEqual(peer.host, HERE)

    @on_linux
    @inlineCallbacks
    def test_no_interface(self) -> Any:
        """An interface that does not exist is named, for each address."""
        self.answer(Fixed(NOT_HERE, HERE))
        reasons = yield self.fails("name", self.port, interface="nosuch0")
        self.assertEqual(len(reasons), 2)
        for reason in reasons:
            self.assertIn("unable to bind to interface nosuch0", reason)

    @on_linux
    @inlineCallbacks
    def test_no_interfaces(self) -> Any:
        """On a system without SO_BINDTODEVICE, the reason is ENOPROTOOPT."""
        self.patch(socket, "SO_BINDTODEVICE", None)
        (reason,) = yield self.fails(HERE, self.port, interface="lo")
        self.assertIn("unable to bind to interface lo: protocol not available", reason)

    @on_linux
    @inlineCallbacks
    def test_no_interface_and_a_port(self) -> Any:
        """
        If binding to the interface fails, the next attempt starts at once, with a local
        port too.
        """
        self.answer(Fixed(NOT_HERE, HERE))
        with socket.create_server(("127.0.0.9", 0)) as free:
            port = free.getsockname()[1]
        reasons = yield self.fails(
            "name", self.port, interface="nosuch0", local_port=port
        )
        self.assertEqual(len(reasons), 2)

    @on_linux
    @inlineCallbacks
    def test_interface_and_a_port_in_use(self) -> Any:
        """A local port in use is the reason even if an interface is set."""
        with socket.create_server(("0.0.0.0", 0)) as used:
            port = used.getsockname()[1]
            reasons = yield self.fails(HERE, self.port, interface="lo", local_port=port)
        self.assertEqual(reasons, ["unable to bind socket: address already used"])

    @inlineCallbacks
    def test_no_zone(self) -> Any:
        """
        An address with an unknown zone cannot be connected to; the error names it.
        """
        endpoint = RacingEndpoint(reactor, "fe80::1%nosuch0", self.port)
        connecting = endpoint.connect(Recorders())
        error = yield self.assertFailure(connecting, AddressNotFound, ConnectFailed)
        self.assertIn("fe80::1%nosuch0", str(error))

    @inlineCallbacks
    def test_system_resolver(self) -> Any:
        """A name is looked up by the system's resolver."""
        self.answer(Resolver(reactor))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            peer, _ = yield self.connect("localhost", port)
        self.assertEqual(peer.port, port)

    def hang(self) -> Event:
        """Let getaddrinfo() hang; return an event that is set when it is called."""
        asked, answered = Event(), Event()
        self.addCleanup(answered.set)

        def getaddrinfo(*_: object) -> Any:
            asked.set()
            answered.wait()
            return []

        self.patch(socket, "getaddrinfo", getaddrinfo)
        return asked

    @inlineCallbacks
    def test_hanging_resolver(self) -> Any:
        """A look-up that does not end fails with LookupFailed."""
        self.answer(Resolver(reactor))
        self.hang()
        endpoint = RacingEndpoint(
            reactor, "name.example", 25, ConnectSettings(attempt_timeout=0.01)
        )
        connecting = endpoint.connect(Recorders())
        failure = yield self.assertFailure(connecting, LookupFailed)
        self.assertIn("timed out", str(failure))

    def test_hanging_resolver_cancelled(self) -> None:
        """Cancelling a look-up that does not end fails with CancelledError."""
        self.answer(Resolver(reactor))
        asked = self.hang()
        connecting = RacingEndpoint(reactor, "name.example", 25).connect(Recorders())
        asked.wait()
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)

    @inlineCallbacks
    def fails_to_resolve(self, number: int, error: type[Exception]) -> Any:
        """Let getaddrinfo() fail with that number, and return the text of the error."""
        self.answer(Resolver(reactor))

        def getaddrinfo(*_: object) -> Any:
            raise socket.gaierror(number, "Whatever It Was")

        self.patch(socket, "getaddrinfo", getaddrinfo)
        endpoint = RacingEndpoint(reactor, "name.example", 25)
        failure = yield self.assertFailure(endpoint.connect(Recorders()), error)
        return str(failure)

    @inlineCallbacks
    def test_unknown(self) -> Any:
        """EAI_NONAME and EAI_NODATA mean that the name has no address."""
        for number in (socket.EAI_NONAME, socket.EAI_NODATA):
            message = yield self.fails_to_resolve(number, AddressNotFound)
            self.assertEqual(message, "no IP address for name.example")

    @inlineCallbacks
    def test_dead_resolver(self) -> Any:
        """
        Other failures of getaddrinfo() are LookupFailed: the look-up may succeed later.
        """
        for number in (socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_SYSTEM):
            message = yield self.fails_to_resolve(number, LookupFailed)
            self.assertIn(
                "temporarily unable to figure out IP address for name.example", message
            )
            self.assertIn("whatever it was", message)

    @inlineCallbacks
    def test_impossible_name(self) -> Any:
        """Text that is no name has no address."""
        self.answer(Resolver(reactor))
        for name in ("x" * 64 + ".example", "a..b", "a\0b"):
            endpoint = RacingEndpoint(reactor, name, 25)
            connecting = endpoint.connect(Recorders())
            yield self.assertFailure(connecting, AddressNotFound)

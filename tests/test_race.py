"""
The race of addresses: who starts when, who wins, and what the losers report.
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
from tests.transcripts import Recorder, Recorders, Wire
from twisted_tcpclient.errors import (
    AddressNotFound,
    Attempt,
    ConnectFailed,
    LookupFailed,
)
from twisted_tcpclient.names.addresses import Address
from twisted_tcpclient.names.resolver import Resolver
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
    """One question."""

    def __init__(self, name: str, stubborn: bool) -> None:
        self.name = name
        self.cancelled = False
        self._stubborn = stubborn

    def cancel(self) -> None:
        """Forget it; Twisted's own resolver does not know how."""
        if self._stubborn:
            raise NotImplementedError
        self.cancelled = True


@implementer(IHostnameResolver)
class Names:
    """
    A resolver that answers when it is told to.

    :ivar questions: what it was asked: names, ports, and kinds of addresses.
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
        """Answer it."""
        for address in addresses:
            self._receiver.addressResolved(address)
        self._receiver.resolutionComplete()


def refused(number: int = errno.ECONNREFUSED) -> Exception:
    """Why a connection was not made."""
    error: Exception = getConnectError((number, "whatever"))
    return error


class Racing(SynchronousTestCase):
    """Runs races in memory."""

    host = "mail.example.org"

    def setUp(self) -> None:
        """A reactor that does what it is told, and nothing else."""
        self.reactor = MemoryReactorClock()
        self.names = Names()
        self.reactor.nameResolver = self.names
        self.told: list[str] = []
        self.factory: Any = Recorders()

    def start(self, *addresses: IAddress, **others: Any) -> Deferred[Any]:
        """A race to these addresses."""
        endpoint = RacingEndpoint(
            self.reactor, self.host, 25, ConnectSettings(**others), self.told.append
        )
        self.connecting: Deferred[Any] = endpoint.connect(self.factory)
        if addresses:
            self.names.answer(*addresses)
        return self.connecting

    @property
    def tried(self) -> list[str]:
        """The addresses that attempts were made to, in order."""
        return [client[0] for client in self.reactor.tcpClients]

    def fail_attempt(self, which: int, error: Exception | None = None) -> None:
        """An attempt fails; whatever is to happen at once happens."""
        factory = self.reactor.tcpClients[which][2]
        connector = self.reactor.connectors[which]
        factory.clientConnectionFailed(connector, Failure(error or refused()))
        self.reactor.advance(0)

    def succeed(self, which: int) -> Wire:
        """An attempt succeeds."""
        factory = self.reactor.tcpClients[which][2]
        protocol = factory.buildProtocol(V4[0])
        wire = Wire()
        if protocol is not None:
            protocol.makeConnection(wire)
        return wire

    def nothing_left(self) -> None:
        """Neither an attempt nor a timer is left behind."""
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def failures(self) -> list[tuple[str, str]]:
        """What ``connect`` failed with."""
        failure: Any = self.failureResultOf(self.connecting, ConnectFailed)
        self.nothing_left()
        return [(a.address, a.reason) for a in failure.value.attempts]


class RaceTests(Racing):
    """Addresses against each other."""

    def test_one(self) -> None:
        """One address that answers is all that is needed."""
        connecting = self.start(V4[0])
        self.assertEqual(self.tried, [V4[0].host])
        self.assertNoResult(connecting)
        self.succeed(0)
        self.assertIs(self.successResultOf(connecting), self.factory.built[0])
        self.nothing_left()

    def test_zones(self) -> None:
        """An address is connected to in its zone; two zones are two addresses."""
        self.start(
            *(IPv6Address("TCP", "fe80::1", 25, scopeID=zone) for zone in (901, 902))
        )
        self.reactor.advance(0.25)
        self.assertEqual(self.tried, ["fe80::1%901", "fe80::1%902"])
        self.connecting.cancel()
        self.failureResultOf(self.connecting)

    def test_delay(self) -> None:
        """Every address joins the race a quarter of a second after the last one."""
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
        """Or after as long as the settings say."""
        self.start(*V4[:2], attempt_delay=2)
        self.reactor.advance(1.9)
        self.assertEqual(len(self.tried), 1)
        self.reactor.advance(0.1)
        self.assertEqual(len(self.tried), 2)
        self.connecting.cancel()
        self.failureResultOf(self.connecting)

    def test_no_delay(self) -> None:
        """
        No delay at all does not mean to ask again and again, as fast as we can,
        whether there is another address (RFC 8305, 8).
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
        """A refused address costs no time."""
        self.start(*V4[:3])
        self.fail_attempt(0)
        self.assertEqual(len(self.tried), 2)
        self.fail_attempt(1)
        self.assertEqual(len(self.tried), 3)
        self.succeed(2)
        self.successResultOf(self.connecting)
        self.nothing_left()

    def test_delay_begins_anew(self) -> None:
        """After that the next address gets its whole head start."""
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
        """Whichever attempt fails, the next one starts."""
        self.start(*V4[:3])
        self.reactor.advance(0.25)
        self.fail_attempt(0)
        self.assertEqual(len(self.tried), 3)
        self.fail_attempt(1)
        self.fail_attempt(2)
        self.assertEqual(len(self.failures()), 3)

    def test_first_to_answer_wins(self) -> None:
        """The others are stopped, and nothing is built for them."""
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
        """Addresses that had not been tried by then never are."""
        self.start(*V4)
        self.succeed(0)
        self.reactor.advance(10)
        self.assertEqual(len(self.tried), 1)

    def test_all_fail(self) -> None:
        """Every address is reported with its reason, in the order of failing."""
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
        """The error's own text names them all."""
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
        """While one is still trying nobody gives up."""
        self.start(*V4[:2])
        self.reactor.advance(0.25)
        self.fail_attempt(1)
        self.reactor.advance(30)
        self.assertNoResult(self.connecting)
        self.succeed(0)
        self.successResultOf(self.connecting)

    def test_timeout(self) -> None:
        """Every attempt has the same time."""
        self.start(*V4[:2], attempt_timeout=7.0)
        self.reactor.advance(0.25)
        self.assertEqual([c[3] for c in self.reactor.tcpClients], [7, 7])
        self.connecting.cancel()
        self.failureResultOf(self.connecting)

    def test_announced(self) -> None:
        """Every attempt is announced as it begins."""
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
        """Cancelling stops all attempts, and is no failure to connect."""
        self.start(*V4[:3])
        self.reactor.advance(0.25)
        self.connecting.cancel()
        self.failureResultOf(self.connecting, ConnectingCancelledError)
        for connector in self.reactor.connectors:
            self.assertTrue(connector.stoppedConnecting)
        self.nothing_left()
        self.assertEqual(self.factory.built, [])

    def test_cancelled_after_failures(self) -> None:
        """Not even where some have failed by then."""
        self.start(*V4[:2])
        self.fail_attempt(0)
        self.connecting.cancel()
        self.failureResultOf(self.connecting, ConnectingCancelledError)
        self.nothing_left()

    def test_no_protocol(self) -> None:
        """A factory that builds nothing is not the fault of an address."""

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
        """Even where another address is at fault, too: it is not what matters."""
        self.patch(self.factory, "buildProtocol", lambda addr: None)
        self.start(*V4[:2])
        self.fail_attempt(0)
        self.succeed(1)
        self.reactor.advance(0.25)
        self.failureResultOf(self.connecting, NoProtocol)
        self.nothing_left()


class LocalTests(Racing):
    """Our own end of the connection."""

    def bindings(self) -> list[Any]:
        """What the attempts were bound to."""
        return [client[4] for client in self.reactor.tcpClients]

    def test_any(self) -> None:
        """Nothing was asked for, nothing is bound."""
        self.start(V4[0])
        self.assertEqual(self.bindings(), [None])
        self.connecting.cancel()
        self.failureResultOf(self.connecting)

    def test_address(self) -> None:
        """With an address of our own addresses are still raced."""
        self.start(*V4[:2], local_ip="192.0.2.99")
        self.reactor.advance(0.25)
        self.assertEqual(self.bindings(), [("192.0.2.99", 0)] * 2)
        self.connecting.cancel()
        self.failureResultOf(self.connecting)

    def test_port(self) -> None:
        """With a port of our own they are tried one at a time."""
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
        """Cancelling leaves no timer behind, however far away."""
        self.start(*V4[:3], local_port=4000)
        self.connecting.cancel()
        self.failureResultOf(self.connecting, ConnectingCancelledError)
        self.nothing_left()

    def test_bind_error(self) -> None:
        """An address or a port that is not to be had is said to be that."""
        self.start(V4[0], local_port=4000)
        self.fail_attempt(0, ConnectBindError(errno.EADDRINUSE, "whatever"))
        ((_, reason),) = self.failures()
        self.assertEqual(reason, "unable to bind socket: address already used")


class HostTests(Racing):
    """From a host to its addresses."""

    def test_question(self) -> None:
        """The resolver is asked for the host, its port, and what we can use."""
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
        """An address is nobody's business."""
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

    def test_places(self) -> None:
        """An address is named once, a name with its address."""
        for host, where in (
            ("192.0.2.1", "192.0.2.1 port 25"),
            ("[2001:db8::1]", "2001:db8::1 port 25"),
            ("0", "host 0 ip ::1 port 25"),
            ("", "host 0 ip ::1 port 25"),
        ):
            self.setUp()
            self.host = host
            self.start(family=0)
            self.assertEqual(self.told, [f"trying {where}"])
            self.connecting.cancel()
            self.failureResultOf(self.connecting)

    def test_this_machine_in_one_family(self) -> None:
        """``0`` keeps to the family that was asked for."""
        for family, wanted in ((4, ["127.0.0.1"]), (6, ["::1"])):
            self.setUp()
            self.host = "0"
            self.start(family=family)
            self.reactor.advance(1)
            self.assertEqual(self.tried, wanted)
            self.connecting.cancel()
            self.failureResultOf(self.connecting)

    def test_wrong_family(self) -> None:
        """An address of the other family is none."""
        for host, family in (("::1", 4), ("127.0.0.1", 6), ("[::1]", 4)):
            self.setUp()
            self.host = host
            self.start(family=family)
            failure = self.failureResultOf(self.connecting, AddressNotFound)
            self.assertIn(f"no IPv{family} address for {host}", str(failure.value))
            self.assertEqual(self.tried, [])

    def test_no_address(self) -> None:
        """A host without addresses is a failure of its own kind."""
        self.start()
        self.names.answer()
        failure = self.failureResultOf(self.connecting, AddressNotFound)
        self.assertEqual(str(failure.value), "no IP address for mail.example.org")
        self.nothing_left()

    def test_late(self) -> None:
        """A look-up that takes too long is a failure that may pass."""
        self.start(attempt_timeout=7.0)
        self.reactor.advance(6.9)
        self.assertNoResult(self.connecting)
        self.reactor.advance(0.1)
        self.check_late()
        self.assertTrue(self.names.resolution.cancelled)

    def check_late(self) -> None:
        """The look-up took too long, and nothing is left of it."""
        failure = self.failureResultOf(self.connecting, LookupFailed)
        self.assertEqual(
            str(failure.value),
            "temporarily unable to figure out IP address for mail.example.org:"
            " timed out",
        )
        self.nothing_left()
        # Should there be an answer after all, nobody cares.
        self.names.answer(V4[0])
        self.assertEqual(self.tried, [])

    def test_late_without_cancel(self) -> None:
        """The same with a resolver that cannot be told to stop: Twisted's own."""
        self.names = Names(stubborn=True)
        self.reactor.nameResolver = self.names
        self.start(attempt_timeout=7.0)
        self.reactor.advance(7)
        self.check_late()

    def test_cancelled(self) -> None:
        """Cancelling ends the look-up and leaves nothing."""
        self.start()
        self.connecting.cancel()
        self.failureResultOf(self.connecting, CancelledError)
        self.assertTrue(self.names.resolution.cancelled)
        self.nothing_left()
        self.names.answer(V4[0])
        self.assertEqual(self.tried, [])

    def test_cancelled_without_cancel(self) -> None:
        """The same with a resolver that cannot be told to stop."""
        self.names = Names(stubborn=True)
        self.reactor.nameResolver = self.names
        self.start()
        self.connecting.cancel()
        self.failureResultOf(self.connecting, CancelledError)
        self.nothing_left()


class TrackTests(SynchronousTestCase):
    """The reactor that the race is run on."""

    def test_is_no_place_for_resolvers(self) -> None:
        """Names are looked up before the race; nobody changes that in it."""
        track = Track(MemoryReactorClock(), "x", V4, ConnectSettings(), print)
        self.assertRaises(NotImplementedError, track.installNameResolver, Names())
        self.assertIs(track.nameResolver, track)

    def test_keeps_the_time(self) -> None:
        """Its time, and what is to be called later, are the real reactor's."""
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
    """Why an attempt failed, in words."""

    def test_words(self) -> None:
        """The words of djb where he has any, else the system's, in lower case."""
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
                # What Twisted makes of EAGAIN.
                ConnectError(string=Failure(ConnectionLost())),
                "resource temporarily unavailable",
            ),
            (ValueError("What Is It"), "what is it"),
        ):
            self.assertEqual(connect_reason(error), words)

    def test_attempts(self) -> None:
        """An error that was made without attempts has none."""
        self.assertEqual(ConnectFailed([]).attempts, ())
        attempt = Attempt("x port 1", "no")
        self.assertEqual(ConnectFailed([attempt]).attempts, (attempt,))


@implementer(IHostnameResolver)
class Fixed:
    """A resolver with one answer to everything."""

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
        """Answer."""
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
        A listener that nobody needs to accept from, and its port; at addresses
        that nobody else uses.
        """
        self.listener = socket.create_server((HERE, 0))
        self.addCleanup(self.listener.close)
        self.port: int = self.listener.getsockname()[1]

    def answer(self, resolver: Any) -> None:
        """Have names resolved by that."""
        before = reactor.installNameResolver(resolver)
        self.addCleanup(reactor.installNameResolver, before)

    @inlineCallbacks
    def connect(self, host: str, port: int, **others: Any) -> Any:
        """Connect, and close; where it led, and where it came from."""
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
        """Why it did not connect, address by address."""
        settings = ConnectSettings(**others)
        endpoint = RacingEndpoint(reactor, host, port, settings)
        error = yield self.assertFailure(endpoint.connect(Recorders()), ConnectFailed)
        return [attempt.reason for attempt in error.attempts]

    @inlineCallbacks
    def test_again(self) -> Any:
        """Where the kernel says EAGAIN the reason is in words."""
        self.patch(socket.socket, "connect_ex", lambda *_: errno.EAGAIN)
        reasons = yield self.fails(HERE, self.port)
        self.assertEqual(reasons, ["resource temporarily unavailable"])

    @inlineCallbacks
    def test_itself(self) -> Any:
        """A connection to itself is no connection, and no protocol is made for it."""
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
        """The other addresses of the host are tried from the same port."""
        self.answer(Fixed(NOT_HERE, HERE))
        settings = {"local_ip": NOT_HERE, "local_port": self.port}
        ends = yield self.connect("name", self.port, **settings)
        self.assertEqual([end.host for end in ends], [HERE, NOT_HERE])
        self.assertEqual([end.port for end in ends], [self.port, self.port])

    @inlineCallbacks
    def test_raises_at_once(self) -> Any:
        """A protocol that raises as it is connected fails ``connect``."""

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
        """
        A protocol that cancels as it is connected is disconnected, and nothing of
        the race is left.
        """
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
        # Twisted's endpoint goes on to tell that it is connected.
        self.flushLoggedErrors(AlreadyCalledError)

    @inlineCallbacks
    def test_nodelay(self) -> Any:
        """Small packets are sent at once if that is wanted."""
        for wanted in (False, True):
            settings = ConnectSettings(nodelay=wanted)
            endpoint = RacingEndpoint(reactor, HERE, self.port, settings)
            client: Any = yield endpoint.connect(Recorders())
            self.assertEqual(bool(client.transport.getTcpNoDelay()), wanted)
            client.transport.abortConnection()

    @inlineCallbacks
    def test_second_address(self) -> Any:
        """
        A first address that refuses does not keep us from the second, even
        where only a failure starts the next attempt.
        """
        self.answer(Fixed(NOT_HERE, HERE))
        peer, _ = yield self.connect("name", self.port, attempt_delay=3600)
        self.assertEqual(peer.host, HERE)

    @inlineCallbacks
    def test_all_refused(self) -> Any:
        """When all refuse, all are told of."""
        self.answer(Fixed(NOT_HERE, NOR_HERE))
        reasons = yield self.fails("name", self.port, attempt_delay=3600)
        self.assertEqual(reasons, ["connection refused"] * 2)

    @inlineCallbacks
    def test_local_address(self) -> Any:
        """The connection comes from the address that was asked for."""
        _, host = yield self.connect(HERE, self.port, local_ip="127.0.0.9")
        self.assertEqual(host.host, "127.0.0.9")

    @inlineCallbacks
    def test_local_port(self) -> Any:
        """And from the port."""
        with socket.create_server(("127.0.0.9", 0)) as free:
            port = free.getsockname()[1]
        _, host = yield self.connect(
            HERE, self.port, local_ip="127.0.0.9", local_port=port
        )
        self.assertEqual((host.host, host.port), ("127.0.0.9", port))

    @inlineCallbacks
    def test_not_our_address(self) -> Any:
        """An address that is not ours is an error, in djb's words."""
        reasons = yield self.fails(HERE, self.port, local_ip="192.0.2.1")
        self.assertEqual(reasons, ["unable to bind socket: address not available"])

    @inlineCallbacks
    def test_port_in_use(self) -> Any:
        """So is a port that is somebody else's."""
        reasons = yield self.fails(HERE, self.port, local_ip=HERE, local_port=self.port)
        self.assertEqual(reasons, ["unable to bind socket: address already used"])

    @on_linux
    @inlineCallbacks
    def test_interface(self) -> Any:
        """Through an interface that leads there we get there."""
        peer, _ = yield self.connect(HERE, self.port, interface="lo")
        self.assertEqual(peer.host, HERE)

    @on_linux
    @inlineCallbacks
    def test_no_interface(self) -> Any:
        """An interface that is not there is named, for each address."""
        self.answer(Fixed(NOT_HERE, HERE))
        reasons = yield self.fails("name", self.port, interface="nosuch0")
        self.assertEqual(len(reasons), 2)
        for reason in reasons:
            self.assertIn("unable to bind to interface nosuch0", reason)

    @on_linux
    @inlineCallbacks
    def test_no_interfaces(self) -> Any:
        """Where the system cannot bind to interfaces that is the reason given."""
        self.patch(socket, "SO_BINDTODEVICE", None)
        (reason,) = yield self.fails(HERE, self.port, interface="lo")
        self.assertIn("unable to bind to interface lo: protocol not available", reason)

    @on_linux
    @inlineCallbacks
    def test_no_interface_and_a_port(self) -> Any:
        """It does not wait for anything, even where attempts wait for each other."""
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
        """A local port that is in use is the reason, and not the interface."""
        with socket.create_server(("0.0.0.0", 0)) as used:
            port = used.getsockname()[1]
            reasons = yield self.fails(HERE, self.port, interface="lo", local_port=port)
        self.assertEqual(reasons, ["unable to bind socket: address already used"])

    @inlineCallbacks
    def test_no_zone(self) -> Any:
        """A zone that is no interface of this machine has no addresses."""
        endpoint = RacingEndpoint(reactor, "fe80::1%nosuch0", self.port)
        connecting = endpoint.connect(Recorders())
        error = yield self.assertFailure(connecting, AddressNotFound, ConnectFailed)
        self.assertIn("fe80::1%nosuch0", str(error))

    @inlineCallbacks
    def test_system_resolver(self) -> Any:
        """Our own resolver finds what the system knows."""
        self.answer(Resolver(reactor))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            peer, _ = yield self.connect("localhost", port)
        self.assertEqual(peer.port, port)

    def hang(self) -> Event:
        """Have the system's resolver hang; the event is set once it does."""
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
        """A look-up that does not end is given up, as one that may work later."""
        self.answer(Resolver(reactor))
        self.hang()
        endpoint = RacingEndpoint(
            reactor, "name.example", 25, ConnectSettings(attempt_timeout=0.01)
        )
        connecting = endpoint.connect(Recorders())
        failure = yield self.assertFailure(connecting, LookupFailed)
        self.assertIn("timed out", str(failure))

    def test_hanging_resolver_cancelled(self) -> None:
        """Cancelling such a look-up is no failure to find anything."""
        self.answer(Resolver(reactor))
        asked = self.hang()
        connecting = RacingEndpoint(reactor, "name.example", 25).connect(Recorders())
        asked.wait()
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)

    @inlineCallbacks
    def fails_to_resolve(self, number: int, error: type[Exception]) -> Any:
        """A look-up that ends with that error of the system's."""
        self.answer(Resolver(reactor))

        def getaddrinfo(*_: object) -> Any:
            raise socket.gaierror(number, "Whatever It Was")

        self.patch(socket, "getaddrinfo", getaddrinfo)
        endpoint = RacingEndpoint(reactor, "name.example", 25)
        failure = yield self.assertFailure(endpoint.connect(Recorders()), error)
        return str(failure)

    @inlineCallbacks
    def test_unknown(self) -> Any:
        """A name that does not exist, or has no address, has no address."""
        for number in (socket.EAI_NONAME, socket.EAI_NODATA):
            message = yield self.fails_to_resolve(number, AddressNotFound)
            self.assertEqual(message, "no IP address for name.example")

    @inlineCallbacks
    def test_dead_resolver(self) -> Any:
        """A failure of the look-up itself may pass."""
        for number in (socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_SYSTEM):
            message = yield self.fails_to_resolve(number, LookupFailed)
            self.assertIn(
                "temporarily unable to figure out IP address for name.example", message
            )
            self.assertIn("whatever it was", message)

    @inlineCallbacks
    def test_impossible_name(self) -> Any:
        """What can be no name at all has no address."""
        self.answer(Resolver(reactor))
        for name in ("x" * 64 + ".example", "a..b", "a\0b"):
            endpoint = RacingEndpoint(reactor, name, 25)
            connecting = endpoint.connect(Recorders())
            yield self.assertFailure(connecting, AddressNotFound)

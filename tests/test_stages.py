"""
Stages: a connection is held until a condition is met, and then let go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionDone,
    ConnectionLost,
    NoProtocol,
)
from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.transcripts import PEER, Attempt, MemoryTransport, Recorder, Recorders
from twisted_tcpclient.errors import TCPClientError, TimedOut
from twisted_tcpclient.stages.base import Stage, StagedEndpoint, StageFactory

ADDRESS = IPv4Address("TCP", "192.0.2.99", 99)


class NoLongerPossibleError(TCPClientError):
    """What a gate says when the connection is lost."""


class Gate(Stage):
    """A stage that others open and close."""

    awaited = "somebody"

    def dataReceived(self, data: bytes) -> None:
        """Nobody looks at it."""

    def loss_error(self, reason: Failure) -> Exception:
        """The reason, in our words."""
        return NoLongerPossibleError(str(reason.value))


class StageTests(SynchronousTestCase):
    """One stage, in front of one factory."""

    def setUp(self) -> None:
        """A stage on a transport."""
        self.clock = Clock()
        self.factory = Recorders()
        self.wire = MemoryTransport()
        self.gate = self.held(self.factory, 30)

    def held(self, factory: Any, timeout: float | None) -> Gate:
        """A stage that holds a connection."""
        gate = Gate(factory, ADDRESS, self.clock, timeout)
        gate.makeConnection(self.wire)
        return gate

    def refused(self, error: type[Exception]) -> Any:
        """Check that the stage has failed with that error, and is done."""
        failure: Any = self.failureResultOf(self.gate.ready, error)
        self.assertTrue(self.wire.disconnected, "not aborted")
        self.assertEqual(self.factory.built, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return failure.value

    def test_holds(self) -> None:
        """Nothing is built, and nothing said, before the stage is opened."""
        self.gate.dataReceived(b"early")
        self.assertNoResult(self.gate.ready)
        self.assertEqual(self.factory.built, [])
        self.assertEqual(self.wire.value(), b"")

    def test_opens(self) -> None:
        """
        An open stage has built the next protocol for its address, connected it
        to the transport itself, and says so.
        """
        addresses: list[IAddress | None] = []
        build = self.factory.buildProtocol

        def note(address: IAddress | None) -> Recorder:
            addresses.append(address)
            return build(address)

        self.patch(self.factory, "buildProtocol", note)
        self.gate.open()
        (following,) = self.factory.built
        self.assertIs(self.successResultOf(self.gate.ready), following)
        self.assertIs(following.transport, self.wire)
        self.assertEqual(following.made, 1)
        self.assertEqual(addresses, [ADDRESS])

    def test_forwards(self) -> None:
        """What comes after that, and the end, go to the next protocol alone."""
        self.gate.open()
        (following,) = self.factory.built
        self.gate.dataReceived(b"one")
        self.gate.dataReceived(b"two")
        self.assertEqual(following.received, b"onetwo")
        reason = Failure(ConnectionLost())
        self.gate.connectionLost(reason)
        self.assertEqual(following.lost, [reason])

    def test_opens_once(self) -> None:
        """Opening an open stage, as a renegotiation does, changes nothing."""
        self.gate.open()
        self.gate.open()
        self.assertEqual(len(self.factory.built), 1)
        self.assertEqual(self.factory.built[0].made, 1)

    def test_connected_before_told(self) -> None:
        """Whoever waits for the protocol finds it connected."""
        found: list[int] = []

        def note(following: Any) -> None:
            found.append(following.made)

        self.gate.ready.addCallback(note)
        self.gate.open()
        self.assertEqual(found, [1])

    def test_refuses(self) -> None:
        """A refused connection is aborted, and its error says whose it was."""
        self.gate.refuse(NoLongerPossibleError("no"))
        self.assertEqual(self.refused(NoLongerPossibleError).peer, PEER)

    def test_refuses_with_any_error(self) -> None:
        """Errors of others are passed on as they are."""
        error = KeyError("no")
        self.gate.refuse(error)
        self.assertIs(self.refused(KeyError), error)

    def test_refused_stays_refused(self) -> None:
        """Neither opening nor another refusal nor the end changes that."""
        self.gate.refuse(NoLongerPossibleError("no"))
        self.gate.open()
        self.gate.refuse(KeyError("another"))
        self.gate.connectionLost(Failure(ConnectionDone()))
        self.refused(NoLongerPossibleError)

    def test_open_stays_open(self) -> None:
        """A refusal that comes too late does nothing."""
        self.gate.open()
        self.gate.refuse(NoLongerPossibleError("too late"))
        self.assertFalse(self.wire.disconnecting)
        self.assertIs(self.successResultOf(self.gate.ready), self.factory.built[0])

    def test_lost(self) -> None:
        """A connection that is lost early fails for the reason the stage gives."""
        self.gate.connectionLost(Failure(ConnectionLost("gone")))
        error = self.refused(NoLongerPossibleError)
        self.assertIn("gone", str(error))
        self.assertEqual(error.peer, PEER)

    def test_lost_is_for_subclasses(self) -> None:
        """There is no reason that holds for all stages."""
        stage = Stage(self.factory, ADDRESS, self.clock, None)
        self.assertRaises(NotImplementedError, stage.loss_error, connectionDone)

    def test_no_protocol(self) -> None:
        """A factory that builds nothing is a failure, as for any endpoint."""

        class Nothing(ClientFactory):
            def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
                return None

        self.gate = self.held(Nothing(), None)
        self.gate.open()
        self.failureResultOf(self.gate.ready, NoProtocol)
        self.assertTrue(self.wire.disconnected)
        self.gate.connectionLost(connectionDone)

    def test_no_protocol_but_an_error(self) -> None:
        """A factory that raises is a failure of that very kind."""

        class Raising(ClientFactory):
            def buildProtocol(self, addr: IAddress | None) -> Protocol:
                raise ZeroDivisionError

        self.gate = self.held(Raising(), 30)
        self.gate.open()
        self.failureResultOf(self.gate.ready, ZeroDivisionError)
        self.assertTrue(self.wire.disconnected)
        self.gate.connectionLost(connectionDone)

    def test_deadline(self) -> None:
        """When its time is up a stage fails, and says what it waited for."""
        self.clock.advance(29.9)
        self.assertNoResult(self.gate.ready)
        self.clock.advance(0.1)
        error = self.refused(TimedOut)
        self.assertIn("somebody", str(error))
        self.assertEqual(error.peer, PEER)

    def test_deadline_of_zero(self) -> None:
        """No time at all is a deadline too."""
        self.gate = self.held(self.factory, 0)
        self.clock.advance(0)
        self.failureResultOf(self.gate.ready, TimedOut)

    def test_no_deadline(self) -> None:
        """Without a time there is no deadline."""
        self.gate.open()
        self.held(self.factory, None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_deadline_left(self) -> None:
        """An open stage has no deadline any more."""
        self.gate.open()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        """Cancelling aborts the connection; the error tells where it led."""
        self.gate.ready.cancel()
        error = self.refused(ConnectingCancelledError)
        self.assertEqual(error.address, ADDRESS)
        self.gate.connectionLost(connectionDone)

    def cancelled_meanwhile(self, then: Callable[[], object]) -> None:
        """
        The next protocol cancels while it is connected: the connection is aborted,
        the error is that of any cancelling, and the protocol hears of the end.

        :param then: what it does after that.
        """

        class Canceller(Recorder):
            def connectionMade(_) -> None:  # noqa: N805
                self.gate.ready.cancel()
                then()

        following = Canceller()
        self.patch(self.factory, "buildProtocol", lambda _: following)
        try:
            self.gate.open()
        finally:
            self.refused(ConnectingCancelledError)
            self.gate.connectionLost(connectionDone)
            self.assertEqual(following.lost, [connectionDone])

    def test_cancelled_by_the_next(self) -> None:
        """Whoever waits for the protocol hears of it once."""
        self.cancelled_meanwhile(lambda: None)

    def test_cancelled_by_the_next_which_raises(self) -> None:
        """What it raises after that is for the reactor to log."""
        with self.assertRaises(ZeroDivisionError):
            self.cancelled_meanwhile(lambda: 1 / 0)


class StageFactoryTests(SynchronousTestCase):
    """What builds stages."""

    def test_life(self) -> None:
        """The factory behind hears of the beginning and the end."""
        told: list[str] = []

        class Told(Recorders):
            def doStart(self) -> None:
                told.append("start")

            def doStop(self) -> None:
                told.append("stop")

        factory = StageFactory(lambda f, a: Gate(f, a, Clock(), None), Told())
        factory.doStart()
        factory.doStop()
        self.assertEqual(told, ["start", "stop"])

    def test_builds_only_the_stage(self) -> None:
        """The protocol behind is not built before its time."""
        recorders = Recorders()
        factory = StageFactory(lambda f, a: Gate(f, a, Clock(), None), recorders)
        self.assertIsInstance(factory.buildProtocol(ADDRESS), Gate)
        self.assertEqual(recorders.built, [])


class StagedEndpointTests(SynchronousTestCase):
    """An endpoint with a stage."""

    def setUp(self) -> None:
        """A connection that is being made through one stage, and another."""
        self.gates: list[Gate] = []

        def build(factory: IProtocolFactory, address: IAddress | None) -> Gate:
            self.gates.append(Gate(factory, address, self.clock, 30))
            return self.gates[-1]

        self.clock = Clock()
        self.attempt = Attempt(
            lambda tcp, _: StagedEndpoint(StagedEndpoint(tcp, build), build)
        )
        self.wire = MemoryTransport()

    def establish(self) -> None:
        """The stream is up."""
        self.attempt.build().makeConnection(self.wire)

    def test_waits_for_all(self) -> None:
        """``connect`` fires when the last stage is open, with what it built."""
        self.establish()
        self.assertTrue(self.attempt.undecided)
        self.gates[0].open()
        self.assertTrue(self.attempt.undecided)
        self.gates[1].open()
        self.assertIs(self.attempt.result, self.attempt.factory.built[0])

    def test_any_may_refuse(self) -> None:
        """The failure of either stage is that of ``connect``."""
        for which in (0, 1):
            self.setUp()
            self.establish()
            for gate in range(which):
                self.gates[gate].open()
            self.gates[which].refuse(KeyError("no"))
            self.assertIsInstance(self.attempt.error, KeyError)
            self.assertTrue(self.wire.disconnected)
            self.assertEqual(self.attempt.factory.built, [])
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_connected(self) -> None:
        """The failure of the endpoint behind is that of ``connect``."""
        ((_, _, factory, _, _),) = self.attempt.reactor.tcpClients
        (connector,) = self.attempt.reactor.connectors
        factory.clientConnectionFailed(connector, Failure(ConnectError("no")))
        self.assertIsInstance(self.attempt.error, ConnectError)
        self.assertEqual(self.gates, [])

    def test_cancelled_while_connecting(self) -> None:
        """Cancelling early ends the attempt itself."""
        self.attempt.connecting.cancel()
        (connector,) = self.attempt.reactor.connectors
        self.assertTrue(connector.stoppedConnecting)
        self.assertIsInstance(self.attempt.error, ConnectingCancelledError)

    def test_cancelled_in_a_stage(self) -> None:
        """Cancelling later aborts the connection, whichever stage holds it."""
        for which in (0, 1):
            self.setUp()
            self.establish()
            for gate in range(which):
                self.gates[gate].open()
            self.attempt.connecting.cancel()
            self.assertIsInstance(self.attempt.error, ConnectingCancelledError)
            self.assertTrue(self.wire.disconnected)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_end_reaches_the_last(self) -> None:
        """Data, and the end, go through all stages, even from one to the next."""
        self.establish()
        self.gates[0].open()
        self.gates[1].open()
        (following,) = self.attempt.factory.built
        self.attempt.protocol.dataReceived(b"data")
        self.attempt.protocol.connectionLost(connectionDone)
        self.assertEqual(following.received, b"data")
        self.assertEqual(following.lost, [connectionDone])

    def test_failure_in_the_next_protocol(self) -> None:
        """
        A next protocol that raises as it is connected fails ``connect``, as one
        that cannot be built does: nobody waits for ever.
        """

        class Raising(Recorder):
            def connectionMade(self) -> None:
                raise ZeroDivisionError

        self.patch(self.attempt.factory, "buildProtocol", lambda _: Raising())
        self.establish()
        self.gates[0].open()
        try:
            self.gates[1].open()
        except ZeroDivisionError:
            # A reactor would log it, and close the connection.
            self.attempt.protocol.connectionLost(Failure(ConnectionLost()))
        self.assertFalse(self.attempt.undecided)

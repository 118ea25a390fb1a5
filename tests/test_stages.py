"""
Stages: a connection is held until a condition is met, and then handed on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
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
from twisted_tcpclient.stages.base import (
    Stage,
    StagedEndpoint,
    StageFactory,
    StageState,
)

ADDRESS = IPv4Address("TCP", "192.0.2.99", 99)


class NoLongerPossibleError(TCPClientError):
    """The error of a gate whose connection is lost."""


class Gate(Stage):
    """A stage that the test opens and refuses."""

    awaited = "a call of the test"

    def dataReceived(self, data: bytes) -> None:
        """Ignore the data."""

    def loss_error(self, reason: Failure) -> Exception:
        """Return an error with the reason."""
        return NoLongerPossibleError(str(reason.value))


class StageTests(SynchronousTestCase):
    """One stage in front of one factory."""

    def setUp(self) -> None:
        """Make a stage on a transport in memory."""
        self.clock = Clock()
        self.factory = Recorders()
        self.transport = MemoryTransport()
        self.gate = self.held(self.factory, 30)

    def held(self, factory: Any, timeout: float | None) -> Gate:
        """Return a stage that holds a connection."""
        gate = Gate(factory, ADDRESS, self.clock, timeout)
        gate.makeConnection(self.transport)
        return gate

    def refused(self, error: type[Exception]) -> Any:
        """Check that the stage has failed with an error, and return the error."""
        failure: Any = self.failureResultOf(self.gate.ready, error)
        self.assertTrue(self.transport.disconnected, "not aborted")
        self.assertEqual(self.factory.built, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return failure.value

    def test_holds(self) -> None:
        """Before it opens, a stage builds no protocol and sends no byte."""
        self.gate.dataReceived(b"early")
        self.assertNoResult(self.gate.ready)
        self.assertEqual(self.factory.built, [])
        self.assertEqual(self.transport.value(), b"")

    def test_opens(self) -> None:
        """
        A stage that opens builds the next protocol for its address, connects it to the
        same transport object, and fires ``ready`` with it.
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
        self.assertIs(following.transport, self.transport)
        self.assertEqual(following.made, 1)
        self.assertEqual(addresses, [ADDRESS])

    def test_forwards(self) -> None:
        """An open stage gives all data, and the loss, to the next protocol."""
        self.gate.open()
        (following,) = self.factory.built
        self.gate.dataReceived(b"one")
        self.gate.dataReceived(b"two")
        self.assertEqual(following.received, b"onetwo")
        reason = Failure(ConnectionLost())
        self.gate.connectionLost(reason)
        self.assertEqual(following.lost, [reason])

    def test_connected_before_told(self) -> None:
        """The next protocol is connected before ``ready`` fires."""
        found: list[int] = []

        def note(following: Any) -> None:
            found.append(following.made)

        self.gate.ready.addCallback(note)
        self.gate.open()
        self.assertEqual(found, [1])

    def test_refuses(self) -> None:
        """A refused connection is aborted, and its error has the server's address."""
        self.gate.refuse(NoLongerPossibleError("no"))
        self.assertEqual(self.refused(NoLongerPossibleError).peer, PEER)

    def test_refuses_with_any_error(self) -> None:
        """An error of another package stays as it is."""
        error = KeyError("no")
        self.gate.refuse(error)
        self.assertIs(self.refused(KeyError), error)

    def test_lost(self) -> None:
        """The loss of the connection fails ``ready`` with the error of the stage."""
        self.gate.connectionLost(Failure(ConnectionLost("gone")))
        error = self.refused(NoLongerPossibleError)
        self.assertIn("gone", str(error))
        self.assertEqual(error.peer, PEER)

    def test_lost_is_for_subclasses(self) -> None:
        """A stage without an error for the loss does not work."""
        stage = Stage(self.factory, ADDRESS, self.clock, None)
        self.assertRaises(NotImplementedError, stage.loss_error, connectionDone)

    def test_no_protocol(self) -> None:
        """A factory that builds no protocol fails ``ready`` with NoProtocol."""

        class Nothing(ClientFactory):
            def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
                return None

        self.gate = self.held(Nothing(), None)
        self.gate.open()
        self.failureResultOf(self.gate.ready, NoProtocol)
        self.assertTrue(self.transport.disconnected)
        self.gate.connectionLost(connectionDone)

    def test_no_protocol_but_an_error(self) -> None:
        """A factory that raises fails ``ready`` with its exception."""

        class Raising(ClientFactory):
            def buildProtocol(self, addr: IAddress | None) -> Protocol:
                raise ZeroDivisionError

        self.gate = self.held(Raising(), 30)
        self.gate.open()
        self.failureResultOf(self.gate.ready, ZeroDivisionError)
        self.assertTrue(self.transport.disconnected)
        self.gate.connectionLost(connectionDone)

    def test_deadline(self) -> None:
        """The deadline fails ``ready``, and its message names the condition."""
        self.clock.advance(29.9)
        self.assertNoResult(self.gate.ready)
        self.clock.advance(0.1)
        error = self.refused(TimedOut)
        self.assertIn("a call of the test", str(error))
        self.assertEqual(error.peer, PEER)

    def test_deadline_of_zero(self) -> None:
        """A timeout of zero is a deadline in the next iteration."""
        self.gate = self.held(self.factory, 0)
        self.clock.advance(0)
        self.failureResultOf(self.gate.ready, TimedOut)

    def test_no_deadline(self) -> None:
        """Without a timeout there is no deadline."""
        self.gate.open()
        self.held(self.factory, None)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_deadline_left(self) -> None:
        """An open stage has cancelled its deadline."""
        self.gate.open()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        """Cancelling aborts the connection; the error has the address."""
        self.gate.ready.cancel()
        error = self.refused(ConnectingCancelledError)
        self.assertEqual(error.address, ADDRESS)
        self.gate.connectionLost(connectionDone)

    def cancelled_meanwhile(self, then: Callable[[], object]) -> None:
        """
        Check what follows if the next protocol cancels in its connectionMade: the
        connection is aborted, ``ready`` fails, and the protocol hears of the loss.

        :param then: called by the protocol after that.
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
        """``ready`` fails once if the next protocol cancels it."""
        self.cancelled_meanwhile(lambda: None)

    def test_cancelled_by_the_next_which_raises(self) -> None:
        """An exception after that is raised into the reactor."""
        with self.assertRaises(ZeroDivisionError):
            self.cancelled_meanwhile(lambda: 1 / 0)


#: What may happen to a stage on its transport.
EVENTS: dict[str, Callable[[Gate, Clock], object]] = {
    "open": lambda gate, _: gate.open(),
    "refuse": lambda gate, _: gate.refuse(KeyError("no")),
    "deadline": lambda _, clock: clock.advance(30),
    "loss": lambda gate, _: gate.connectionLost(connectionDone),
    "cancelling": lambda gate, _: gate.ready.cancel(),
}

#: The state of a stage after each event.
TRANSITIONS = {
    StageState.HOLDING: {
        "open": StageState.OPEN,
        "refuse": StageState.REFUSED,
        "deadline": StageState.REFUSED,
        "loss": StageState.REFUSED,
        "cancelling": StageState.REFUSED,
    },
    StageState.OPEN: dict.fromkeys(EVENTS, StageState.OPEN),
    StageState.REFUSED: dict.fromkeys(EVENTS, StageState.REFUSED),
}


class TransitionTests(SynchronousTestCase):
    """The states of a stage."""

    def in_state(self, state: StageState, factory: Any, clock: Clock) -> Gate:
        """Return a stage in a state."""
        gate = Gate(factory, ADDRESS, clock, 30)
        gate.ready.addErrback(lambda _: None)
        gate.makeConnection(MemoryTransport())
        if state is StageState.OPEN:
            gate.open()
        elif state is StageState.REFUSED:
            gate.refuse(KeyError("no"))
        self.assertIs(gate.state, state)
        return gate

    def test_table(self) -> None:
        """
        Each event leads from each state to the state of the table. OPEN has built one
        protocol, REFUSED none; only REFUSED has aborted the connection, and no delayed
        call is left.
        """
        for state, row in TRANSITIONS.items():
            self.assertEqual(row.keys(), EVENTS.keys())
            for event, following in row.items():
                clock, factory = Clock(), Recorders()
                gate = self.in_state(state, factory, clock)
                EVENTS[event](gate, clock)
                where = (state, event)
                is_open = following is StageState.OPEN
                self.assertIs(gate.state, following, where)
                self.assertEqual(len(factory.built), is_open, where)
                self.assertEqual(gate.transport.disconnected, not is_open, where)
                self.assertEqual(clock.getDelayedCalls(), [], where)

    def test_factory(self) -> None:
        """A factory that builds no protocol, or raises, leads to REFUSED."""
        for result in (lambda _: None, lambda _: 1 / 0):
            factory = Recorders()
            self.patch(factory, "buildProtocol", result)
            gate = self.in_state(StageState.HOLDING, factory, Clock())
            gate.open()
            self.assertIs(gate.state, StageState.REFUSED)

    def test_factory_that_cancels(self) -> None:
        """
        A factory that cancels ``ready`` leads to REFUSED; its protocol is not used.
        """
        factory = Recorders()
        gate = self.in_state(StageState.HOLDING, factory, Clock())
        following = Recorder()

        def cancel(_: object) -> Recorder:
            gate.ready.cancel()
            return following

        self.patch(factory, "buildProtocol", cancel)
        gate.open()
        self.assertIs(gate.state, StageState.REFUSED)
        self.assertEqual(following.made, 0)


class StageFactoryTests(SynchronousTestCase):
    """Factories of stages."""

    def test_life(self) -> None:
        """The factory behind a stage is told of its start and its stop."""
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
        """The protocol behind a stage is built when the stage opens."""
        recorders = Recorders()
        factory = StageFactory(lambda f, a: Gate(f, a, Clock(), None), recorders)
        self.assertIsInstance(factory.buildProtocol(ADDRESS), Gate)
        self.assertEqual(recorders.built, [])


class StagedEndpointTests(SynchronousTestCase):
    """An endpoint with two stages."""

    def setUp(self) -> None:
        """Begin a connection through two stages."""
        self.gates: list[Gate] = []

        def build(factory: IProtocolFactory, address: IAddress | None) -> Gate:
            self.gates.append(Gate(factory, address, self.clock, 30))
            return self.gates[-1]

        self.clock = Clock()
        self.attempt = Attempt(
            lambda tcp, _: StagedEndpoint(StagedEndpoint(tcp, build), build)
        )
        self.transport = MemoryTransport()

    def establish(self) -> None:
        """Connect the stream."""
        self.attempt.build().makeConnection(self.transport)

    def test_waits_for_all(self) -> None:
        """``connect`` fires with the last protocol when all stages are open."""
        self.establish()
        self.assertTrue(self.attempt.undecided)
        self.gates[0].open()
        self.assertTrue(self.attempt.undecided)
        self.gates[1].open()
        self.assertIs(self.attempt.result, self.attempt.factory.built[0])

    def test_any_may_refuse(self) -> None:
        """The error of each stage is that of ``connect``."""
        for which in (0, 1):
            self.setUp()
            self.establish()
            for gate in range(which):
                self.gates[gate].open()
            self.gates[which].refuse(KeyError("no"))
            self.assertIsInstance(self.attempt.error, KeyError)
            self.assertTrue(self.transport.disconnected)
            self.assertEqual(self.attempt.factory.built, [])
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_not_connected(self) -> None:
        """The error of the wrapped endpoint is that of ``connect``."""
        ((_, _, factory, _, _),) = self.attempt.reactor.tcpClients
        (connector,) = self.attempt.reactor.connectors
        factory.clientConnectionFailed(connector, Failure(ConnectError("no")))
        self.assertIsInstance(self.attempt.error, ConnectError)
        self.assertEqual(self.gates, [])

    def test_cancelled_while_connecting(self) -> None:
        """Cancelling before there is a connection ends the attempt."""
        self.attempt.connecting.cancel()
        (connector,) = self.attempt.reactor.connectors
        self.assertTrue(connector.stoppedConnecting)
        self.assertIsInstance(self.attempt.error, ConnectingCancelledError)

    def test_cancelled_in_a_stage(self) -> None:
        """Cancelling aborts the connection that a stage holds."""
        for which in (0, 1):
            self.setUp()
            self.establish()
            for gate in range(which):
                self.gates[gate].open()
            self.attempt.connecting.cancel()
            self.assertIsInstance(self.attempt.error, ConnectingCancelledError)
            self.assertTrue(self.transport.disconnected)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_end_reaches_the_last(self) -> None:
        """Data, and the loss, go through all stages to the last protocol."""
        self.establish()
        self.gates[0].open()
        self.gates[1].open()
        (following,) = self.attempt.factory.built
        self.attempt.protocol.dataReceived(b"data")
        self.attempt.protocol.connectionLost(connectionDone)
        self.assertEqual(following.received, b"data")
        self.assertEqual(following.lost, [connectionDone])

    def test_failure_in_the_next_protocol(self) -> None:
        """A next protocol that raises in connectionMade fails ``connect``."""

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

"""
How a session ends, by table: in memory, with a clock.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_tcpclient.relay.farewell import (
    DESERTED,
    LINGER,
    LOOK,
    PENDING,
    STUCK,
    Farewell,
    Phase,
    Sight,
    Step,
)
from twisted_tcpclient.relay.queues import Unread
from twisted_tcpclient.settings import Shutdown


class Table(SynchronousTestCase):
    """A farewell that is shown what a test says."""

    def setUp(self) -> None:
        """Begin a session of a conversation that needs its reader."""
        self.begin()

    def begin(
        self,
        shutdown: Shutdown | None = None,
        typed: bool = False,
        needed: bool = True,
    ) -> None:
        """Begin a session."""
        self.clock = Clock()
        self.sight = Sight()
        self.steps: list[Step] = []
        self.farewell = Farewell(
            self.clock,
            shutdown or Shutdown(),
            lambda: self.sight,
            self.steps.append,
            typed=typed,
            needed=needed,
        )

    def show(self, **changes: Any) -> Phase:
        """Let something happen, and return the phase that follows."""
        self.sight = replace(self.sight, **changes)
        self.farewell.look()
        return self.farewell.phase

    def wait(self, seconds: float) -> Phase:
        """Let time pass, and return the phase that follows."""
        self.clock.pump([LOOK] * round(seconds / LOOK))
        return self.farewell.phase

    def waits(self, seconds: float, phase: Phase, *steps: Step) -> None:
        """After so many seconds, and not before, these steps lead to that phase."""
        before = self.farewell.phase, list(self.steps)
        self.assertIs(self.wait(seconds - LOOK), before[0])
        self.assertEqual(self.steps, before[1])
        self.assertIs(self.wait(LOOK), phase)
        self.assertEqual(self.steps, [*before[1], *steps])

    def over(self, *steps: Step) -> None:
        """The session is over after these steps; nothing waits any more."""
        self.assertIs(self.farewell.phase, Phase.OVER)
        self.assertEqual(self.steps, list(steps))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ToldTests(Table):
    """When the server is told that no more will be sent."""

    def test_unanswered(self) -> None:
        """A server that has said nothing since our last byte has 15 s to answer."""
        self.assertIs(self.show(input_ended=True), Phase.WAITING)
        self.waits(15, Phase.TOLD, Step.TELL)

    def test_answered(self) -> None:
        """One that has answered is told after 5 s of silence."""
        self.show(input_ended=True, answered=True)
        self.waits(5, Phase.TOLD, Step.TELL)

    def test_typed(self) -> None:
        """Where the input is a terminal it is 1 s, answered or not."""
        for answered in (True, False):
            self.begin(typed=True)
            self.show(input_ended=True, answered=answered)
            self.waits(1, Phase.TOLD, Step.TELL)

    def test_talking(self) -> None:
        """Each byte of the server's begins a new silence."""
        self.show(input_ended=True)
        for heard in range(1, 20):
            self.assertIs(self.wait(4.9), Phase.WAITING)
            self.show(heard=heard, answered=True)
        self.waits(5, Phase.TOLD, Step.TELL)

    def test_slow_reader(self) -> None:
        """A server is not quiet while we do not listen: its words are undelivered."""
        self.show(input_ended=True, answered=True, undelivered=1)
        self.assertIs(self.wait(1000), Phase.WAITING)
        self.show(undelivered=0)
        self.waits(5, Phase.TOLD, Step.TELL)

    def test_slow_server(self) -> None:
        """The silence begins when all that was sent is acknowledged."""
        for owed in ({"unacknowledged": 9}, {"unsent": 9}):
            self.begin()
            self.show(input_ended=True, **owed)
            self.assertIs(self.wait(1000), Phase.WAITING)
            self.show(unacknowledged=0, unsent=0)
            self.waits(15, Phase.TOLD, Step.TELL)

    def test_now(self) -> None:
        """--shutdown now: as soon as all is given to the kernel."""
        self.begin(Shutdown.after(0))
        self.assertIs(self.show(input_ended=True, unsent=1), Phase.WAITING)
        self.assertIs(self.show(unsent=0, unacknowledged=1), Phase.TOLD)
        self.assertEqual(self.steps, [Step.TELL])

    def test_seconds(self) -> None:
        """--shutdown SECONDS: after that time, answered or not, typed or not."""
        for typed in (True, False):
            for answered in (True, False):
                self.begin(Shutdown.after(7), typed)
                self.show(input_ended=True, answered=answered)
                self.waits(7, Phase.TOLD, Step.TELL)

    def test_never(self) -> None:
        """--shutdown never: the server ends the session."""
        self.begin(Shutdown.after(inf))
        self.show(input_ended=True)
        self.assertIs(self.wait(10_000), Phase.WAITING)
        self.show(server_ended=True, unread=Unread.NONE)
        self.over(Step.CLOSE)

    def test_open(self) -> None:
        """Without an end of input nothing is told, and no timer runs."""
        self.show(heard=1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIs(self.wait(1000), Phase.OPEN)


class WholeTests(Table):
    """Whether a session was whole that the server has ended in order."""

    def test_whole(self) -> None:
        """Nothing is left, all is acknowledged: at once."""
        self.show(server_ended=True, unread=Unread.NONE)
        self.over(Step.CLOSE)

    def test_told(self) -> None:
        """The same when the server was told before."""
        self.begin(Shutdown.after(0))
        self.show(input_ended=True, unread=Unread.NONE)
        self.show(server_ended=True)
        self.over(Step.TELL, Step.CLOSE)

    def test_left(self) -> None:
        """Input that is left makes half a session, whatever else is so."""
        for changes in ({}, {"unsent": 1}, {"unacknowledged": 1}):
            self.begin()
            self.show(server_ended=True, unread=Unread.SOME, **changes)
            self.over(Step.LEFT_UNSENT)

    def test_busy_writer(self) -> None:
        """A pipe that has a writer, and nothing in it, gets a moment to show more."""
        self.assertIs(self.show(server_ended=True), Phase.CHECKING)
        self.waits(PENDING, Phase.OVER, Step.CLOSE)
        self.begin()
        self.show(server_ended=True)
        self.show(unread=Unread.SOME)
        self.over(Step.LEFT_UNSENT)
        self.begin()
        self.show(server_ended=True)
        self.show(unread=Unread.NONE)
        self.over(Step.CLOSE)

    def test_acknowledged_later(self) -> None:
        """What the kernel still holds may be acknowledged after the server's end."""
        self.show(server_ended=True, unread=Unread.NONE, unsent=1, unacknowledged=5)
        for left in range(4, 0, -1):
            self.assertIs(self.wait(STUCK - LOOK), Phase.CHECKING)
            self.show(unsent=0, unacknowledged=left)
        self.show(unacknowledged=0)
        self.over(Step.CLOSE)

    def test_stuck(self) -> None:
        """If it is not, the server did not take everything."""
        self.show(server_ended=True, unread=Unread.NONE, unacknowledged=5)
        self.waits(STUCK, Phase.OVER, Step.LEFT_UNSENT)

    def test_refused(self) -> None:
        """RST for what is not acknowledged says the same at once."""
        self.show(server_ended=True, unread=Unread.NONE, unacknowledged=5)
        self.show(refused=True)
        self.over(Step.LEFT_UNSENT)


class ReaderTests(Table):
    """When no process reads the output any more."""

    def test_prog(self) -> None:
        """Prog may close 6 and go on writing to 7."""
        self.begin(needed=False)
        self.assertIs(self.show(has_reader=False), Phase.OPEN)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_hang_up(self) -> None:
        """A tunnel's user closes both pipes, in either order: FIN follows at once."""
        for order in (
            ("input_ended", "has_reader"),
            ("has_reader", "input_ended"),
        ):
            for needed in (True, False):
                self.begin(needed=needed)
                for each in order:
                    self.show(**{each: each == "input_ended"})
                self.assertIs(self.farewell.phase, Phase.LINGERING)
                self.assertEqual(self.steps, [Step.HANG_UP])
                self.show(server_ended=True)
                self.over(Step.HANG_UP, Step.CLOSE)

    def test_deserted(self) -> None:
        """Where input stays open that is an error of the output's."""
        self.show(has_reader=False)
        self.waits(DESERTED, Phase.OVER, Step.NO_READER)

    def test_deserted_by_both(self) -> None:
        """Where the server ends meanwhile it is none."""
        self.show(has_reader=False)
        self.show(server_ended=True, unread=Unread.NONE)
        self.over(Step.CLOSE)

    def test_acknowledged_first(self) -> None:
        """FIN waits for the acknowledgement of what was sent before."""
        self.show(input_ended=True, has_reader=False, unacknowledged=2)
        self.wait(STUCK - LOOK)
        self.show(unacknowledged=1)
        self.assertIs(self.wait(STUCK - LOOK), Phase.LEAVING)
        self.assertIs(self.show(unacknowledged=0), Phase.LINGERING)

    def test_not_taken(self) -> None:
        """A server that takes no more of it makes that an error."""
        self.show(input_ended=True, has_reader=False, unacknowledged=2)
        self.waits(STUCK, Phase.OVER, Step.NOT_TAKEN)

    def test_refused(self) -> None:
        """So does RST for it, at once."""
        self.show(input_ended=True, has_reader=False, unacknowledged=2)
        self.show(refused=True)
        self.over(Step.NOT_TAKEN)

    def test_told_before(self) -> None:
        """The reader may go after the server was told."""
        self.begin(Shutdown.after(0))
        self.show(input_ended=True)
        self.show(has_reader=False)
        self.assertEqual(self.steps, [Step.TELL, Step.HANG_UP])

    def test_no_event(self) -> None:
        """A look finds that out where no event tells, as with a socket."""
        self.begin(Shutdown.after(0))
        self.show(input_ended=True)
        self.sight = replace(self.sight, has_reader=False)
        self.assertIs(self.wait(LOOK), Phase.LINGERING)

    def test_deaf_server(self) -> None:
        """A server that does not close keeps no one waiting."""
        self.show(input_ended=True, has_reader=False)
        self.waits(LINGER, Phase.OVER, Step.LEAVE)
        self.over(Step.HANG_UP, Step.LEAVE)


class StopTests(Table):
    """A session that ends for another reason."""

    def test_stop(self) -> None:
        """Nothing is decided any more, and no timer is left."""
        self.show(input_ended=True)
        self.farewell.stop()
        self.wait(100)
        self.show(server_ended=True)
        self.over()

    def test_within_a_step(self) -> None:
        """A step may look again, or stop."""
        self.begin(Shutdown.after(0))
        steps: list[Step] = []

        def act(step: Step) -> None:
            steps.append(step)
            self.farewell.look()
            self.farewell.stop()

        self.farewell = Farewell(
            self.clock,
            Shutdown.after(0),
            lambda: self.sight,
            act,
            typed=False,
            needed=True,
        )
        self.show(input_ended=True)
        self.assertEqual(steps, [Step.TELL])
        self.assertEqual(self.clock.getDelayedCalls(), [])

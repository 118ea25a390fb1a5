"""
The end of a session by its table of transitions: in memory, with a clock.
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
    """A farewell that is shown the sights of a test."""

    def setUp(self) -> None:
        """Begin a session that needs a reader of its output."""
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
        """Change the sight, and return the phase that follows."""
        self.sight = replace(self.sight, **changes)
        self.farewell.look()
        return self.farewell.phase

    def wait(self, seconds: float) -> Phase:
        """Let time pass, and return the phase that follows."""
        self.clock.pump([LOOK] * round(seconds / LOOK))
        return self.farewell.phase

    def waits(self, seconds: float, phase: Phase, *steps: Step) -> None:
        """Assert that these steps lead to a phase after so many seconds, not before."""
        before = self.farewell.phase, list(self.steps)
        self.assertIs(self.wait(seconds - LOOK), before[0])
        self.assertEqual(self.steps, before[1])
        self.assertIs(self.wait(LOOK), phase)
        self.assertEqual(self.steps, [*before[1], *steps])

    def over(self, *steps: Step) -> None:
        """Assert that the session is over after these steps, without a timer."""
        self.assertIs(self.farewell.phase, Phase.OVER)
        self.assertEqual(self.steps, list(steps))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ToldTests(Table):
    """The moment at which the server is told that no more will be sent."""

    def test_unanswered(self) -> None:
        """A server that has said nothing since our last byte has 15 s to answer."""
        self.assertIs(self.show(input_ended=True), Phase.WAITING)
        self.waits(15, Phase.TOLD, Step.TELL)

    def test_answered(self) -> None:
        """A server that has answered is told after 5 s of silence."""
        self.show(input_ended=True, answered=True)
        self.waits(5, Phase.TOLD, Step.TELL)

    def test_typed(self) -> None:
        """If the input is a terminal the time is 1 s, answered or not."""
        for answered in (True, False):
            self.begin(typed=True)
            self.show(input_ended=True, answered=answered)
            self.waits(1, Phase.TOLD, Step.TELL)

    def test_talking(self) -> None:
        """Each byte from the server begins a new silence."""
        self.show(input_ended=True)
        for heard in range(1, 20):
            self.assertIs(self.wait(4.9), Phase.WAITING)
            self.show(heard=heard, answered=True)
        self.waits(5, Phase.TOLD, Step.TELL)

    def test_slow_reader(self) -> None:
        """A server is not quiet while bytes that it sent are undelivered."""
        self.show(input_ended=True, answered=True, undelivered=1)
        self.assertIs(self.wait(1000), Phase.WAITING)
        self.show(undelivered=0)
        self.waits(5, Phase.TOLD, Step.TELL)

    def test_slow_server(self) -> None:
        """The silence begins once all that was sent is acknowledged."""
        for owed in ({"unacknowledged": 9}, {"unsent": 9}):
            self.begin()
            self.show(input_ended=True, **owed)
            self.assertIs(self.wait(1000), Phase.WAITING)
            self.show(unacknowledged=0, unsent=0)
            self.waits(15, Phase.TOLD, Step.TELL)

    def test_now(self) -> None:
        """--shutdown now: the server is told once all is given to the kernel."""
        self.begin(Shutdown.after(0))
        self.assertIs(self.show(input_ended=True, unsent=1), Phase.WAITING)
        self.assertIs(self.show(unsent=0, unacknowledged=1), Phase.TOLD)
        self.assertEqual(self.steps, [Step.TELL])

    def test_seconds(self) -> None:
        """--shutdown SECONDS: the time is the same, answered or not, typed or not."""
        for typed in (True, False):
            for answered in (True, False):
                self.begin(Shutdown.after(7), typed)
                self.show(input_ended=True, answered=answered)
                self.waits(7, Phase.TOLD, Step.TELL)

    def test_never(self) -> None:
        """--shutdown never: the server is not told, and ends the session."""
        self.begin(Shutdown.after(inf))
        self.show(input_ended=True)
        self.assertIs(self.wait(10_000), Phase.WAITING)
        self.show(server_ended=True, unread=Unread.NONE)
        self.over(Step.CLOSE)

    def test_open(self) -> None:
        """Before the end of input the server is not told, and no timer runs."""
        self.show(heard=1)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIs(self.wait(1000), Phase.OPEN)


class WholeTests(Table):
    """The difference between a whole session and one that the server ends early."""

    def test_whole(self) -> None:
        """If no input is left and all is acknowledged, the session is whole at once."""
        self.show(server_ended=True, unread=Unread.NONE)
        self.over(Step.CLOSE)

    def test_told(self) -> None:
        """The same if the server was told before."""
        self.begin(Shutdown.after(0))
        self.show(input_ended=True, unread=Unread.NONE)
        self.show(server_ended=True)
        self.over(Step.TELL, Step.CLOSE)

    def test_left(self) -> None:
        """If input is left the session is not whole, acknowledged or not."""
        for changes in ({}, {"unsent": 1}, {"unacknowledged": 1}):
            self.begin()
            self.show(server_ended=True, unread=Unread.SOME, **changes)
            self.over(Step.LEFT_UNSENT)

    def test_busy_writer(self) -> None:
        """An empty pipe that has a writer gets a moment to show more input."""
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
        """Bytes may be acknowledged after the server's end."""
        self.show(server_ended=True, unread=Unread.NONE, unsent=1, unacknowledged=5)
        for left in range(4, 0, -1):
            self.assertIs(self.wait(STUCK - LOOK), Phase.CHECKING)
            self.show(unsent=0, unacknowledged=left)
        self.show(unacknowledged=0)
        self.over(Step.CLOSE)

    def test_stuck(self) -> None:
        """Bytes that are not acknowledged in time were not taken."""
        self.show(server_ended=True, unread=Unread.NONE, unacknowledged=5)
        self.waits(STUCK, Phase.OVER, Step.LEFT_UNSENT)

    def test_refused(self) -> None:
        """RST for bytes that are not acknowledged tells the same at once."""
        self.show(server_ended=True, unread=Unread.NONE, unacknowledged=5)
        self.show(refused=True)
        self.over(Step.LEFT_UNSENT)


class ReaderTests(Table):
    """A session whose output has no reader."""

    def test_prog(self) -> None:
        """Prog may close 6 and go on writing to 7."""
        self.begin(needed=False)
        self.assertIs(self.show(has_reader=False), Phase.OPEN)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_hang_up(self) -> None:
        """If a tunnel's user closes both pipes, in any order, FIN follows at once."""
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
        """If input stays open, the lost reader is an error."""
        self.show(has_reader=False)
        self.waits(DESERTED, Phase.OVER, Step.NO_READER)

    def test_deserted_by_both(self) -> None:
        """If the server ends meanwhile, it is not an error."""
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
        """It is an error if the server acknowledges no more."""
        self.show(input_ended=True, has_reader=False, unacknowledged=2)
        self.waits(STUCK, Phase.OVER, Step.NOT_TAKEN)

    def test_refused(self) -> None:
        """It is an error at once if the server answers with RST."""
        self.show(input_ended=True, has_reader=False, unacknowledged=2)
        self.show(refused=True)
        self.over(Step.NOT_TAKEN)

    def test_told_before(self) -> None:
        """The reader may leave after the server was told."""
        self.begin(Shutdown.after(0))
        self.show(input_ended=True)
        self.show(has_reader=False)
        self.assertEqual(self.steps, [Step.TELL, Step.HANG_UP])

    def test_no_event(self) -> None:
        """A regular look finds a lost reader that no event reports, as of a socket."""
        self.begin(Shutdown.after(0))
        self.show(input_ended=True)
        self.sight = replace(self.sight, has_reader=False)
        self.assertIs(self.wait(LOOK), Phase.LINGERING)

    def test_deaf_server(self) -> None:
        """A server that does not close in time is not waited for."""
        self.show(input_ended=True, has_reader=False)
        self.waits(LINGER, Phase.OVER, Step.LEAVE)
        self.over(Step.HANG_UP, Step.LEAVE)


class StopTests(Table):
    """A session that ends for a reason that the table does not know."""

    def test_stop(self) -> None:
        """After stop() no step is taken, and no timer is left."""
        self.show(input_ended=True)
        self.farewell.stop()
        self.wait(100)
        self.show(server_ended=True)
        self.over()

    def test_within_a_step(self) -> None:
        """The function that takes a step may call look() and stop()."""
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

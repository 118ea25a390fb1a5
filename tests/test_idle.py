"""
The idle timeout, in memory.
"""

from __future__ import annotations

from fractions import Fraction

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.transcripts import patient
from twisted_tcpclient.relay.idle import Idle


class IdleTests(SynchronousTestCase):
    """The time in which nothing moves."""

    def start(self, seconds: float | None) -> Idle:
        """Start a timer over a number that a test changes."""
        self.clock = Clock()
        self.moved = 0
        self.expired: list[float] = []
        self.idle = Idle(self.clock, seconds, lambda: self.moved, self.note)
        self.idle.start()
        return self.idle

    def note(self) -> None:
        """Record the time of the call."""
        self.expired.append(self.clock.seconds())

    def test_expires(self) -> None:
        """It calls once when nothing has moved for the limit."""
        self.start(8)
        self.clock.pump([1] * 7)
        self.assertEqual(self.expired, [])
        self.clock.advance(1)
        self.assertEqual(self.expired, [8])
        self.clock.pump([1] * 100)
        self.assertEqual(self.expired, [8])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_progress(self) -> None:
        """Each movement begins a new limit."""
        self.start(8)
        for _ in range(100):
            self.clock.pump([1] * 7)
            self.moved += 1
        self.assertEqual(self.expired, [])
        self.clock.pump([1] * 9)
        self.assertEqual(len(self.expired), 1)

    def test_backwards(self) -> None:
        """A smaller value is a movement, too."""
        self.start(8)
        for _ in range(10):
            self.clock.pump([1] * 7)
            self.moved = -self.moved or 1
        self.assertEqual(self.expired, [])
        self.idle.stop()

    def test_stopped_process(self) -> None:
        """A time in which the process was stopped (SIGSTOP) counts as one look."""
        self.start(8)
        self.clock.advance(1000)
        self.moved += 1
        self.clock.pump([1] * 7)
        self.assertEqual(self.expired, [])
        self.idle.stop()

    def test_never(self) -> None:
        """Without a limit it never calls, and schedules nothing."""
        idle = self.start(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(10**9)
        self.assertEqual(self.expired, [])
        idle.stop()

    def test_stopped(self) -> None:
        """After stop() nothing is scheduled; a second stop() is allowed."""
        idle = self.start(8)
        self.clock.pump([1] * 3)
        idle.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        idle.stop()
        self.clock.advance(100)
        self.assertEqual(self.expired, [])

    def test_stopped_when_expired(self) -> None:
        """The function that it calls may stop it."""
        clock = Clock()
        told: list[None] = []

        def stop() -> None:
            idle.stop()
            told.append(None)

        idle = Idle(clock, 8, lambda: 0, stop)
        idle.start()
        clock.pump([1] * 20)
        self.assertEqual(len(told), 1)
        self.assertEqual(clock.getDelayedCalls(), [])

    @patient
    @given(st.lists(st.integers(1, 120), max_size=8))
    @example([59, 59, 59])
    def test_bounds(self, pauses: list[int]) -> None:
        """
        It calls when nothing has moved for the limit, and at most one look later.
        """
        limit = 64
        self.start(limit)
        last = 0.0
        for pause in pauses:
            self.clock.pump([1] * pause)
            if self.expired:
                break
            self.moved += 1
            last = self.clock.seconds()
        self.clock.pump([1] * limit * 2)
        (when,) = self.expired
        self.assertGreaterEqual(when - last, limit)
        self.assertLessEqual(when - last, limit + Fraction(limit, Idle.LOOKS))

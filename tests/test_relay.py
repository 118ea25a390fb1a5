"""
The parts of the relay that need no server: line ends, idle time, and quiet.
"""

from __future__ import annotations

import os
import socket
from fractions import Fraction
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.transcripts import patient
from twisted_tcpclient.relay import PATIENCE, QUIET, Idle, Local, Relay, crlf
from twisted_tcpclient.wire import Wire

#: Bytes in which line ends, whole and torn, are frequent.
TEXT = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"\0"])).map(b"".join)


def translated(*chunks: bytes) -> bytes:
    """What becomes of these chunks, in all."""
    translate = crlf()
    return b"".join(map(translate, chunks))


class CRLFTests(SynchronousTestCase):
    """LF into CRLF."""

    def test_table(self) -> None:
        """A LF becomes CRLF; a CRLF stays one; a lone CR stays alone."""
        for before, after in (
            (b"", b""),
            (b"a\nb\n", b"a\r\nb\r\n"),
            (b"a\r\nb\r\n", b"a\r\nb\r\n"),
            (b"\n\n", b"\r\n\r\n"),
            (b"\r\n\n", b"\r\n\r\n"),
            (b"a\rb\r", b"a\rb\r"),
            (b"\r\r\n", b"\r\r\n"),
            (b"\n\r", b"\r\n\r"),
            (b"no end", b"no end"),
            (bytes(range(256)), bytes(range(10)) + b"\r\n" + bytes(range(11, 256))),
        ):
            self.assertEqual(translated(before), after)

    def test_torn(self) -> None:
        """A CRLF stays one, even where a chunk ends within it."""
        self.assertEqual(translated(b"a\r", b"\nb"), b"a\r\nb")
        self.assertEqual(translated(b"\r", b"\n", b"\r", b"\n"), b"\r\n\r\n")
        self.assertEqual(translated(b"\r", b"a\n"), b"\ra\r\n")
        self.assertEqual(translated(b"\r", b"\r", b"\n"), b"\r\r\n")

    def test_nothing(self) -> None:
        """A chunk with nothing in it changes nothing."""
        self.assertEqual(translated(b"\r", b"", b"\n"), b"\r\n")

    def test_apart(self) -> None:
        """One stream does not know of another."""
        one, other = crlf(), crlf()
        one(b"\r")
        self.assertEqual(other(b"\n"), b"\r\n")

    @patient
    @given(TEXT, st.sets(st.integers(0, 40)))
    @example(b"\r\n", {1})
    def test_chunks(self, text: bytes, cuts: set[int]) -> None:
        """However a stream is cut, the same comes out."""
        places = [0, *sorted(cut for cut in cuts if 0 < cut < len(text)), len(text)]
        chunks = [text[a:b] for a, b in pairwise(places)]
        self.assertEqual(translated(*chunks), translated(text))

    @patient
    @given(TEXT)
    def test_every_line(self, text: bytes) -> None:
        """
        Afterwards every LF has its CR; nothing else has changed; and doing it
        again changes nothing.
        """
        result = translated(text)
        self.assertNotIn(b"\n", result.replace(b"\r\n", b""))
        self.assertEqual(result.replace(b"\r\n", b"\n"), text.replace(b"\r\n", b"\n"))
        self.assertEqual(translated(result), result)


class IdleTests(SynchronousTestCase):
    """The time in which nothing moves."""

    def start(self, seconds: float | None) -> Idle:
        """Watch something that moves when it is told to."""
        self.clock = Clock()
        self.moved = 0
        self.expired: list[float] = []
        self.idle = Idle(self.clock, seconds, lambda: self.moved, self.note)
        return self.idle

    def note(self) -> None:
        """Time is up."""
        self.expired.append(self.clock.seconds())

    def test_expires(self) -> None:
        """When nothing moves for so long, that is told, once."""
        self.start(8)
        self.clock.pump([1] * 7)
        self.assertEqual(self.expired, [])
        self.clock.advance(1)
        self.assertEqual(self.expired, [8])
        self.clock.pump([1] * 100)
        self.assertEqual(self.expired, [8])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_progress(self) -> None:
        """Whatever moves puts that off."""
        self.start(8)
        for _ in range(100):
            self.clock.pump([1] * 7)
            self.moved += 1
        self.assertEqual(self.expired, [])
        self.clock.pump([1] * 9)
        self.assertEqual(len(self.expired), 1)

    def test_backwards(self) -> None:
        """Any other value is a movement, greater or not."""
        self.start(8)
        for _ in range(10):
            self.clock.pump([1] * 7)
            self.moved = -self.moved or 1
        self.assertEqual(self.expired, [])
        self.idle.stop()

    def test_stopped_process(self) -> None:
        """The time in which we were stopped is not the server's: it has a look more."""
        self.start(8)
        self.clock.advance(1000)
        self.moved += 1
        self.clock.pump([1] * 7)
        self.assertEqual(self.expired, [])
        self.idle.stop()

    def test_never(self) -> None:
        """Without a limit nothing is ever told, and nothing waits for it."""
        idle = self.start(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(10**9)
        self.assertEqual(self.expired, [])
        idle.stop()

    def test_stopped(self) -> None:
        """Once it is stopped nothing is left; stopping again does no harm."""
        idle = self.start(8)
        self.clock.pump([1] * 3)
        idle.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        idle.stop()
        self.clock.advance(100)
        self.assertEqual(self.expired, [])

    def test_stopped_when_expired(self) -> None:
        """It may be stopped by whoever is told."""
        clock = Clock()
        told: list[None] = []

        def stop() -> None:
            idle.stop()
            told.append(None)

        idle = Idle(clock, 8, lambda: 0, stop)
        clock.pump([1] * 20)
        self.assertEqual(len(told), 1)
        self.assertEqual(clock.getDelayedCalls(), [])

    @patient
    @given(st.lists(st.integers(1, 120), max_size=8))
    @example([59, 59, 59])
    def test_bounds(self, pauses: list[int]) -> None:
        """
        It is told when nothing has moved for as long as was said, and for
        little more: one look more.
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


class Noting(Wire):
    """A connection whose end is noted, as it waits for the server to be quiet."""

    secure = True

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(connected)
        self.ended = False

    def end(self) -> None:
        """Say close_notify."""
        self.ended = True


class QuietTests(SynchronousTestCase):
    """A server is told of the end of our side once it is quiet."""

    def setUp(self) -> None:
        """Have nothing to say to a server, which may say what it likes."""
        self.clock = MemoryReactorClock()
        ours, self.server = socket.socketpair()
        ours.setblocking(False)
        self.heard, sink = os.pipe()
        os.set_blocking(self.heard, False)
        nothing = os.open(os.devnull, os.O_RDONLY)
        self.wire = Noting(ours)
        local = Local(nothing, sink, "nothing", "pipe", needed=True)
        relay = Relay(self.clock, self.wire, local, idle=None)
        self.addCleanup(os.close, self.heard)
        self.addCleanup(self.server.close)
        self.addCleanup(self.failureResultOf, relay.finished, CancelledError)
        self.addCleanup(relay.finished.cancel)

    def test_quiet(self) -> None:
        """That is when it has said nothing for a while."""
        self.clock.advance(QUIET / 2)
        self.assertFalse(self.wire.ended)
        self.clock.advance(QUIET / 2)
        self.assertTrue(self.wire.ended)

    def test_stopped(self) -> None:
        """What has come by then is heard first, though nobody has told us of it: when
        a process goes on that was stopped, time is up before it has read anything.
        """
        self.server.send(b"late")
        self.clock.advance(10 * QUIET)
        self.assertEqual(os.read(self.heard, 100), b"late")
        self.assertFalse(self.wire.ended)
        self.clock.advance(QUIET)
        self.assertTrue(self.wire.ended)

    def test_talking(self) -> None:
        """Whoever never ceases to talk is told all the same."""
        for _ in range(int(PATIENCE / QUIET) - 1):
            self.server.send(b"x")
            self.clock.advance(QUIET)
            self.assertEqual(os.read(self.heard, 100), b"x")
            self.assertFalse(self.wire.ended)
        self.server.send(b"x")
        self.clock.advance(QUIET)
        self.assertTrue(self.wire.ended)

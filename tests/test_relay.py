"""
The parts of the relay that need no server: line ends, and quiet.
"""

from __future__ import annotations

import os
import socket
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.transcripts import patient
from twisted_tcpclient.relay.farewell import LOOK
from twisted_tcpclient.relay.movers import Copy, Mover, writer
from twisted_tcpclient.relay.relay import Local, Relay, crlf
from twisted_tcpclient.relay.wire import Wire
from twisted_tcpclient.settings import RelaySettings, Shutdown

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


class Greeting(Wire):
    """A connection over which something has come before the relay reads it."""

    def download(self, sink: int, fast: bool) -> Mover:
        """Move that, and what comes."""
        return Copy(self._receive, writer(sink), [b"220 ready\r\n"])


class GreetedTests(SynchronousTestCase):
    """What has come with the end of the handshake."""

    def test_answered(self) -> None:
        """
        It counts as an answer: a server that has said something since our last byte
        has 5 s, not 15.
        """
        clock = MemoryReactorClock()
        ours, server = socket.socketpair()
        ours.setblocking(False)
        heard, sink = os.pipe()
        nothing = os.open(os.devnull, os.O_RDONLY)
        local = Local(nothing, sink, "nothing", "pipe", needed=True)
        relay = Relay(clock, Greeting(ours), local, RelaySettings())
        self.assertEqual(os.read(heard, 100), b"220 ready\r\n")
        server.setblocking(False)
        clock.pump([LOOK] * (round(5 / LOOK) - 1))
        self.assertRaises(BlockingIOError, server.recv, 1)
        clock.advance(LOOK)
        self.assertEqual(server.recv(1), b"")
        server.close()
        relay.finished.cancel()
        self.failureResultOf(relay.finished, CancelledError)
        os.close(heard)


class Noting(Wire):
    """A connection over TLS whose close_notify is only noted."""

    secure = True

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(connected)
        self.ended = False

    def end(self) -> None:
        """Say close_notify."""
        self.ended = True


class QuietTests(SynchronousTestCase):
    """What a process that was stopped, as by a shell, makes of that time."""

    def test_stopped(self) -> None:
        """
        What has come while the process was stopped is heard before the server is
        taken to be quiet, though its time is up: timers run before reads.
        """
        clock = MemoryReactorClock()
        ours, server = socket.socketpair()
        ours.setblocking(False)
        heard, sink = os.pipe()
        os.set_blocking(heard, False)
        nothing = os.open(os.devnull, os.O_RDONLY)
        wire = Noting(ours)
        local = Local(nothing, sink, "nothing", "pipe", needed=True)
        relay = Relay(clock, wire, local, RelaySettings(shutdown=Shutdown.after(1)))
        looks = round(1 / LOOK)
        clock.pump([LOOK] * (looks - 1))
        server.send(b"late")
        clock.advance(LOOK)
        self.assertEqual(os.read(heard, 100), b"late")
        self.assertFalse(wire.ended)
        clock.pump([LOOK] * (looks - 1))
        self.assertFalse(wire.ended)
        clock.advance(LOOK)
        self.assertTrue(wire.ended)
        relay.finished.cancel()
        self.failureResultOf(relay.finished, CancelledError)
        os.close(heard)
        server.close()

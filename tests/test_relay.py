"""
Parts of the relay without a server: line ends, and the silence of a server.
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

from tests.test_wire import Scripted
from tests.transcripts import patient
from twisted_tcpclient.relay.farewell import LOOK
from twisted_tcpclient.relay.lines import crlf
from twisted_tcpclient.relay.local import Local
from twisted_tcpclient.relay.relay import Relay
from twisted_tcpclient.relay.wire import Secure
from twisted_tcpclient.settings import RelaySettings, Shutdown

#: Bytes in which line ends, whole and torn, are frequent.
TEXT = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"\0"])).map(b"".join)


def translated(*chunks: bytes) -> bytes:
    """Return the translation of a stream of these chunks."""
    translate = crlf()
    return b"".join(map(translate, chunks))


class CRLFTests(SynchronousTestCase):
    """The translation of LF to CRLF."""

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
        """An empty chunk changes nothing."""
        self.assertEqual(translated(b"\r", b"", b"\n"), b"\r\n")

    def test_apart(self) -> None:
        """Each stream has a state of its own."""
        one, other = crlf(), crlf()
        one(b"\r")
        self.assertEqual(other(b"\n"), b"\r\n")

    @patient
    @given(TEXT, st.sets(st.integers(0, 40)))
    @example(b"\r\n", {1})
    def test_chunks(self, text: bytes, cuts: set[int]) -> None:
        """The translation does not depend on where chunks end."""
        places = [0, *sorted(cut for cut in cuts if 0 < cut < len(text)), len(text)]
        chunks = [text[a:b] for a, b in pairwise(places)]
        self.assertEqual(translated(*chunks), translated(text))

    @patient
    @given(TEXT)
    def test_every_line(self, text: bytes) -> None:
        """
        Each LF of the result has a CR before it, nothing else has changed, and a second
        translation changes nothing.
        """
        result = translated(text)
        self.assertNotIn(b"\n", result.replace(b"\r\n", b""))
        self.assertEqual(result.replace(b"\r\n", b"\n"), text.replace(b"\r\n", b"\n"))
        self.assertEqual(translated(result), result)


class QuietTests(SynchronousTestCase):
    """What counts as the server's silence, after the end of input."""

    def join(self, shutdown: Shutdown, *early: bytes) -> None:
        """Start a relay without input, over a connection on which bytes have come."""
        self.clock = MemoryReactorClock()
        ours, self.server = socket.socketpair()
        for end in (ours, self.server):
            end.setblocking(False)
        self.heard, sink = os.pipe()
        os.set_blocking(self.heard, False)
        nothing = os.open(os.devnull, os.O_RDONLY)
        local = Local(nothing, sink, "nothing", "pipe", needed=True)
        wire = Secure(ours, Scripted(), [*early])
        relay = Relay(self.clock, wire, local, RelaySettings(shutdown=shutdown))
        relaying = relay.start()
        self.addCleanup(os.close, self.heard)
        self.addCleanup(self.server.close)
        self.addCleanup(self.failureResultOf, relaying, CancelledError)
        self.addCleanup(relaying.cancel)

    def assert_told_after(self, seconds: float) -> None:
        """The server is told after so many seconds, and not before."""
        self.clock.pump([LOOK] * (round(seconds / LOOK) - 1))
        self.assertRaises(BlockingIOError, self.server.recv, 100)
        self.clock.advance(LOOK)
        self.assertEqual(self.server.recv(100), b"close_notify")

    def test_greeted(self) -> None:
        """
        Bytes that came with the end of the handshake count as an answer: a server that
        has said something since the last byte to it has 5 s, not 15.
        """
        self.join(Shutdown(), b"220 ready\r\n")
        self.assertEqual(os.read(self.heard, 100), b"220 ready\r\n")
        self.assert_told_after(5)

    def test_stopped(self) -> None:
        """
        Bytes that came while the process was stopped (SIGSTOP) begin a new silence,
        though its time is up: the reactor runs timers before it reads.
        """
        self.join(Shutdown.after(1))
        self.clock.pump([LOOK] * (round(1 / LOOK) - 1))
        self.server.send(b"late")
        self.clock.advance(LOOK)
        self.assertEqual(os.read(self.heard, 100), b"late")
        self.assert_told_after(1)

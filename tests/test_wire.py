"""
Wires, and the parts of them: in memory, and over pairs of sockets.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from twisted_tcpclient.errors import ConnectionBroken
from twisted_tcpclient.relay.movers import Withheld
from twisted_tcpclient.relay.outlet import Outlet, Room
from twisted_tcpclient.relay.watch import Prompted
from twisted_tcpclient.relay.wire import Clear, Ended, Reply, Secure


class Scripted:
    """Records of TLS that a test sets."""

    def __init__(self) -> None:
        self.ended: Exception | None = None
        self.kept = b""
        self.answers = b""
        self.releases = False

    def decrypt(self, data: bytes) -> list[bytes]:
        """Return the data; forget what was kept if the test says so."""
        if self.releases:
            self.kept = b""
        return [data]

    def encrypt(self, data: bytes) -> bytes:
        """Return the data."""
        return data

    def close_notify(self) -> bytes:
        """Return a word in place of the record."""
        return b"close_notify"

    def pending(self) -> bytes:
        """Return the answers once."""
        answers, self.answers = self.answers, b""
        return answers


def refuse(records: bytes, released: bool) -> None:
    """Fail, as nothing has to be replied."""
    raise AssertionError(records)


class SocketTestCase(SynchronousTestCase):
    """Wires over one end of a pair of sockets."""

    def setUp(self) -> None:
        """Make the pair."""
        self.ours, self.server = socket.socketpair()
        for end in (self.ours, self.server):
            end.setblocking(False)
            self.addCleanup(end.close)


class ClearTests(SocketTestCase):
    """A connection in clear."""

    def test_end(self) -> None:
        """end() sends FIN, and leaves nothing to send."""
        self.assertEqual(Clear(self.ours).end(), b"")
        self.assertEqual(self.server.recv(1), b"")

    def test_read_after_break_off(self) -> None:
        """After break_off() the bytes that have come can be read, and then the end."""
        wire = Clear(self.ours)
        take = wire.receiving(-1, refuse).take
        self.server.send(b"x" * 10)
        wire.break_off()
        self.assertEqual(take(), 10)
        self.assertRaises(EOFError, take)

    def test_closed(self) -> None:
        """A wire that is closed has no unsent bytes, and can be aborted."""
        wire = Clear(self.ours)
        closed: list[None] = []
        wire.close(lambda: closed.append(None))
        self.assertEqual((closed, wire.unsent()), ([None], 0))
        wire.abort()


class SecureTests(SocketTestCase):
    """A connection over TLS."""

    def setUp(self) -> None:
        """Make a wire."""
        super().setUp()
        self.records = Scripted()
        self.wire = Secure(self.ours, self.records, [])
        self.replies: list[tuple[bytes, bool]] = []

    def take(self, reply: Reply | None = None) -> int:
        """Take once from the server."""
        record = reply or (lambda *what: self.replies.append(what))
        return self.wire.receiving(-1, record).take()

    def test_end(self) -> None:
        """end() returns close_notify, and does not send FIN."""
        self.assertEqual(self.wire.end(), b"close_notify")
        self.assertRaises(BlockingIOError, self.server.recv, 1)
        self.wire.hang_up()
        self.assertEqual(self.server.recv(1), b"")

    def test_reply(self) -> None:
        """The answers of TLS to what has come are replied."""
        self.records.answers = b"answer"
        self.server.send(b"question")
        self.assertEqual(self.take(), len(b"question"))
        self.assertEqual(self.replies, [(b"answer", False)])

    def test_nothing_to_reply(self) -> None:
        """Without an answer nothing is replied."""
        self.server.send(b"question")
        self.assertEqual(self.take(refuse), len(b"question"))

    def test_withheld(self) -> None:
        """Input that TLS keeps is not sent, and is replied once TLS releases it."""
        up = self.wire.sending(None, lambda: [b"input"])
        self.records.kept = b"input"
        self.assertRaises(Withheld, up.take)
        self.records.answers = b"half"
        self.server.send(b"x")
        self.take()
        self.records.answers, self.records.releases = b"input", True
        self.server.send(b"x")
        self.take()
        self.assertEqual(self.replies, [(b"half", False), (b"input", True)])

    def test_cut_short(self) -> None:
        """FIN while input is kept is another error than FIN without close_notify."""
        self.server.shutdown(socket.SHUT_WR)
        for kept, words in ((b"", "no close_notify"), (b"input", "TLS failed")):
            self.records.kept = kept
            error = self.assertRaises(ConnectionBroken, self.take)
            self.assertIn(words, str(error))


class EndedTests(SynchronousTestCase):
    """A connection that has ended before the relay begins."""

    def test_take(self) -> None:
        """The early bytes are held, with the end or the error behind them."""
        for error, raised in (
            (None, EOFError),
            (ConnectionBroken("reset"), ConnectionBroken),
        ):
            down = Ended([b"early"], error).receiving(-1, refuse)
            self.assertEqual(down.held, 5)
            self.assertRaises(raised, down.take)

    def test_nothing_is_sent(self) -> None:
        """No input is taken, and the server is not told of its end."""
        wire = Ended([], None)
        self.assertRaises(Withheld, wire.sending(0, list).take)
        self.assertEqual(wire.end(), b"")

    def test_watch(self) -> None:
        """The end can be read in the next turn of the reactor, once it is wanted."""
        clock = Clock()
        called: list[str] = []
        watch = Ended([], None).watch(
            clock, lambda: called.append("read"), lambda: called.append("write")
        )
        clock.advance(0)
        self.assertEqual(called, [])
        watch.reading(True)
        self.assertEqual(called, [])
        clock.advance(0)
        self.assertEqual(called, ["read"])


class PromptedTests(SynchronousTestCase):
    """A watch of a wire without a descriptor."""

    def setUp(self) -> None:
        """Watch a wire that is as ready as a test says."""
        self.clock = Clock()
        self.ready = False, False
        self.called: list[str] = []
        self.flow: list[bool] = []
        self.watch = Prompted(self.clock, lambda: self.ready, self.flow.append)
        self.watch.calls(
            lambda: self.called.append("read"), lambda: self.called.append("write")
        )

    def test_not_ready(self) -> None:
        """It calls only for what is ready."""
        self.watch.reading(True)
        self.watch.writing(True)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.ready = False, True
        self.watch.prompt()
        self.assertEqual(self.called, ["write"])

    def test_not_wanted(self) -> None:
        """It calls only for what is wanted."""
        self.ready = True, True
        self.watch.prompt()
        self.watch.reading(True)
        self.clock.advance(0)
        self.assertEqual(self.called, ["read"])

    def test_stop(self) -> None:
        """After stop() it does not call, and has no timer."""
        self.ready = True, True
        self.watch.reading(True)
        self.watch.stop()
        self.watch.prompt()
        self.assertEqual((self.called, self.clock.getDelayedCalls()), ([], []))

    def test_flow(self) -> None:
        """The wire is told when bytes begin or cease to be wanted, once each."""
        for wanted in (True, True, False, False, True):
            self.watch.reading(wanted)
        self.assertEqual(self.flow, [True, False, True])


class Turns(Clock):
    """A clock of turns of the reactor: a call that a turn adds waits for the next."""

    def turn(self) -> None:
        """Make the calls that wait."""
        for call in list(self.getDelayedCalls()):
            function = call.func
            call.cancel()
            function()


class OutletTests(SynchronousTestCase):
    """The outlet of a transport."""

    def setUp(self) -> None:
        """Make the outlet of a transport in memory."""
        self.clock = Turns()
        self.transport: Any = StringTransport()
        self.prompts: list[None] = []
        self.outlet = Outlet(
            self.clock, self.transport, lambda: self.prompts.append(None)
        )

    def test_room(self) -> None:
        """The room follows the transport, and stays gone once the connection is."""
        self.outlet.start()
        pause, resume = (
            self.transport.producer.pauseProducing,
            self.transport.producer.resumeProducing,
        )
        for event, room in (
            (pause, Room.FULL),
            (pause, Room.FULL),
            (resume, Room.FREE),
            (self.outlet.lose, Room.GONE),
            (pause, Room.GONE),
            (resume, Room.GONE),
        ):
            event()
            self.assertIs(self.outlet.room, room)
        self.assertEqual(len(self.prompts), 2)

    def test_untried(self) -> None:
        """Bytes count as untried for two turns after the last write."""
        self.outlet.write(b"12")
        self.clock.turn()
        self.outlet.write(b"3")
        self.assertEqual(self.transport.value(), b"123")
        self.clock.turn()
        self.assertEqual(self.outlet.untried, 3)
        self.clock.turn()
        self.assertEqual(self.outlet.untried, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop(self) -> None:
        """After stop() no timer is left."""
        self.outlet.write(b"12")
        self.outlet.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

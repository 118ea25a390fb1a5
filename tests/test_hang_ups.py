"""Programs that use the command as a tunnel, and hang up: they close both pipes."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests import servers
from tests.command import (
    AT_ONCE,
    PATIENCE,
    TCP,
    TLS,
    Cut,
    Kind,
    Outcome,
    Peer,
    finish,
    run,
    start,
    together,
)
from tests.test_ends import BY_DEFAULT
from tests.test_prog import state

FAREWELL = b"* BYE\r\n"

#: The request for the bytes that a socket has not sent yet (linux/sockios.h).
SIOCOUTQNSD = 0x894B

#: More than the buffers of a pipe, a socket and a relay hold.
LARGE = 16 * 2**20

#: The beginning of the message about a lost reader.
UNWRITABLE = "unable to write standard output: "


class User:
    """The program at the other ends of the command's pipes."""

    #: The ways to hang up.
    WAYS = ("output first", "input first", "socket")

    def __init__(self, way: str, *arguments: str) -> None:
        """Start the command."""
        self._way = way
        if way == "socket":
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = start(*arguments, stdin=theirs, stdout=theirs)
            self._input = os.fdopen(os.dup(ours.fileno()), "wb", 0)
            self._output = os.fdopen(ours.detach(), "rb", 0)
            return
        self._process = start(*arguments)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input = os.fdopen(os.dup(self._process.stdin.fileno()), "wb", 0)
        self._output = os.fdopen(os.dup(self._process.stdout.fileno()), "rb", 0)
        for pipe in (self._process.stdin, self._process.stdout):
            pipe.close()
        self._process.stdin = self._process.stdout = None

    @property
    def pid(self) -> int:
        """The process id of the command."""
        return self._process.pid

    def write(self, data: bytes) -> None:
        """Write all of the data."""
        view = memoryview(data)
        while view:
            view = view[self._input.write(view) :]

    def read(self, size: int) -> bytes:
        """Read this many bytes, or all until the end."""
        data = b""
        while len(data) < size and (more := self._output.read(size - len(data))):
            data += more
        return data

    def leave_output(self) -> None:
        """Close the pipe of stdout."""
        self._output.close()

    def hang_up(self) -> Outcome:
        """Close both pipes, and return the command's outcome."""
        pipes = [self._output, self._input]
        for pipe in reversed(pipes) if self._way == "input first" else pipes:
            pipe.close()
        return finish(self._process)

    def outcome(self) -> Outcome:
        """Keep the pipe of stdin open, and return the command's outcome."""
        outcome = finish(self._process)
        self._input.close()
        return outcome


def waits(peer: Peer) -> None:
    """End in order after the client has ended."""
    peer.leave()


def resets(peer: Peer) -> None:
    """Reset the connection after the client has ended."""
    peer.gone()
    peer.reset()


def cuts(peer: Peer) -> None:
    """Send FIN without close_notify after the client has ended."""
    peer.gone()
    peer.cut()


def speaks_clear(peer: Peer) -> None:
    """Answer the client's close_notify in clear, as Exim does."""
    peer.gone()
    with contextlib.suppress(OSError):
        peer.send_clear(b"421 lost connection\r\n" * 3)
        peer.cut()


def hears_nothing(peer: Peer) -> None:
    """Ignore all that the client sends, until its FIN comes."""
    with contextlib.suppress(OSError, SSL.Error, Cut):
        while peer.socket.recv(65536):
            pass


#: The ways in which a server ends a session after its last word.
ENDINGS: Mapping[str, Callable[[Peer], object]] = {
    "at once": Peer.finish,
    "waits": waits,
    "resets": resets,
    "cuts": cuts,
    "clear": speaks_clear,
    "deaf": hears_nothing,
}


class HangUpTests(SynchronousTestCase):
    """A user who hangs up after the last word: status 0, and no message."""

    def check(
        self,
        kind: Kind,
        way: str,
        ending: Callable[[Peer], object],
        shutdown: tuple[str, ...] = BY_DEFAULT,
    ) -> None:
        """The session is whole, however the server ends it."""

        def serve(peer: Peer) -> None:
            self.assertEqual(peer.line(), b"a LOGOUT\r\n")
            peer.send(FAREWELL)
            ending(peer)

        with kind.serve(serve, shutdown) as server:
            user = User(way, *server.arguments)
            user.write(b"a LOGOUT\r\n")
            self.assertEqual(user.read(len(FAREWELL)), FAREWELL)
            self.assertEqual(user.hang_up(), Outcome(0, b"", ""))
            server.result()

    def test_all_was_said(self) -> None:
        """For both pipes in either order, or one socket, and every end of a server."""
        together(
            {
                f"{kind.name}, {way}, {name}": functools.partial(
                    self.check, kind, way, ending
                )
                for kind in (TCP, TLS)
                for way in User.WAYS
                for name, ending in ENDINGS.items()
                if kind.secure or name != "clear"
            }
        )

    def test_told_at_once(self) -> None:
        """The same if the server was told at once, before the user hung up."""
        together(
            {
                f"{kind.name}, {way}": functools.partial(
                    self.check, kind, way, hears_nothing, AT_ONCE
                )
                for kind, way in itertools.product((TCP, TLS), User.WAYS)
            }
        )

    def test_noted(self) -> None:
        """-v notes why the session ends."""
        with TLS.serve(waits, BY_DEFAULT) as server:
            outcome = User("socket", "-v", *server.arguments).hang_up()
        self.assertEqual(outcome.status, 0)
        self.assertIn("no process reads the answer", outcome.err)

    def test_upload(self) -> None:
        """All that the user has sent before arrives."""
        data = b"x" * (LARGE // 4)

        def check(kind: Kind, way: str) -> None:
            def serve(peer: Peer) -> bytes:
                peer.send(FAREWELL)
                received = peer.rest()
                peer.finish()
                return received

            with kind.serve(serve, BY_DEFAULT) as server:
                user = User(way, *server.arguments)
                self.assertEqual(user.read(len(FAREWELL)), FAREWELL)
                user.write(data)
                self.assertEqual(user.hang_up(), Outcome(0, b"", ""))
                self.assertEqual(len(server.result()), len(data))

        together(
            {
                f"{kind.name}, {way}": functools.partial(check, kind, way)
                for kind, way in itertools.product((TCP, TLS), User.WAYS)
            }
        )

    def test_prog(self) -> None:
        """The same for a prog that exits."""

        def check(ending: Callable[[Peer], object], shutdown: tuple[str, ...]) -> None:
            with TLS.serve(ending, shutdown) as server:
                outcome = run("-RHl0", "-a0", *server.arguments, "true", data=None)
                self.assertEqual(outcome, Outcome(0, b"", ""))
                server.result()

        together(
            {
                f"{name} {shutdown}": functools.partial(check, each, shutdown)
                for name, each in ENDINGS.items()
                for shutdown in (BY_DEFAULT, AT_ONCE)
            }
        )


def is_stuck(user: User, peers: Sequence[Peer]) -> bool:
    """
    Return whether the command holds bytes that its user does not read.

    It sleeps while the server cannot send, because the command's socket is full.
    """
    if not peers or state(user.pid) != "S":
        return False
    answer = fcntl.ioctl(peers[0].socket.fileno(), SIOCOUTQNSD, bytes(4))
    return int.from_bytes(answer, sys.byteorder) > 0


class UndeliveredTests(SynchronousTestCase):
    """A user who hangs up before it has read all bytes from the server."""

    def check(self, kind: Kind, way: str) -> None:
        """The message tells that stdout could not be written."""
        peers: list[Peer] = []

        def serve(peer: Peer) -> None:
            peers.append(peer)
            with contextlib.suppress(OSError, SSL.Error):
                peer.send(b"x" * LARGE)
                peer.finish()

        with kind.serve(serve, BY_DEFAULT) as server:
            user = User(way, *server.arguments)
            self.assertEqual(user.read(1), b"x")
            servers.eventually(lambda: is_stuck(user, peers), "the command to be stuck")
            outcome = user.hang_up()
            self.assertEqual(outcome.status, 111)
            # A UNIX socket that is closed with bytes unread resets its peer.
            reset = "unable to read standard input: connection reset"
            self.assertTrue(outcome.complaint().startswith((UNWRITABLE, reset)))

    def test_unread(self) -> None:
        """For both pipes in either order, or one socket."""
        together(
            {
                f"{kind.name}, {way}": functools.partial(self.check, kind, way)
                for kind, way in itertools.product((TCP, TLS), User.WAYS)
            }
        )

    def test_not_taken(self) -> None:
        """An upload that the server does not take is an error as well."""

        def check(kind: Kind, way: str) -> None:
            def serve(peer: Peer) -> None:
                peer.send(FAREWELL)
                self.assertTrue(peer.receive())
                peer.reset()

            with kind.serve(serve, BY_DEFAULT) as server:
                user = User(way, *server.arguments)
                self.assertEqual(user.read(len(FAREWELL)), FAREWELL)
                # The command may end before it has read all of this.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    user.write(b"x" * LARGE)
                outcome = user.hang_up()
                self.assertEqual(outcome.status, 111)
                self.assertTrue(outcome.complaint())

        together(
            {
                f"{kind.name}, {way}": functools.partial(check, kind, way)
                for kind, way in itertools.product((TCP, TLS), User.WAYS)
            }
        )


class HeadTests(SynchronousTestCase):
    """A reader of stdout that exits while stdin stays open: `... | head -1`."""

    def check(self, kind: Kind, more: bytes) -> None:
        """The command ends with an error about stdout."""
        left = threading.Event()

        def serve(peer: Peer) -> None:
            peer.send(b"first\n")
            left.wait(PATIENCE)
            with contextlib.suppress(OSError, SSL.Error):
                peer.send(more)
            peer.gone()

        with kind.serve(serve, BY_DEFAULT) as server:
            user = User("output first", "-a0", *server.arguments)
            self.assertEqual(user.read(6), b"first\n")
            user.leave_output()
            left.set()
            outcome = user.outcome()
            self.assertEqual((outcome.status, outcome.out), (111, b""))
            self.assertEqual(outcome.complaint(), f"{UNWRITABLE}broken pipe")

    def test_head(self) -> None:
        """For a server that sends more, and for one that does not."""
        together(
            {
                f"{kind.name}, {len(more)} more": functools.partial(
                    self.check, kind, more
                )
                for kind in (TCP, TLS)
                for more in (b"", b"second\n", b"x" * LARGE)
            }
        )

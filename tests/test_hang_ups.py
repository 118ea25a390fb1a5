"""Users of a tunnel who hang up: a mail reader closes both pipes when it is done."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import socket
import threading
from collections.abc import Callable, Mapping

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

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

FAREWELL = b"* BYE\r\n"

#: More than the buffers of a pipe, a socket and a relay hold.
LARGE = 16 * 2**20

#: The beginning of the only message that a lost reader leads to.
UNWRITABLE = "unable to write standard output: "


class User:
    """The program at the other end of the pipes of a command."""

    #: How it hangs up, by name.
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

    def write(self, data: bytes) -> None:
        """Write all of it."""
        view = memoryview(data)
        while view:
            view = view[self._input.write(view) :]

    def read(self, size: int) -> bytes:
        """Read so many bytes."""
        data = b""
        while len(data) < size and (more := self._output.read(size - len(data))):
            data += more
        return data

    def leave_output(self) -> None:
        """Close stdout's pipe."""
        self._output.close()

    def hang_up(self) -> Outcome:
        """Close both pipes, and return how the command ends."""
        pipes = [self._output, self._input]
        for pipe in reversed(pipes) if self._way == "input first" else pipes:
            pipe.close()
        return finish(self._process)

    def outcome(self) -> Outcome:
        """Keep stdin's pipe open until the command ends, and return how it does."""
        outcome = finish(self._process)
        self._input.close()
        return outcome


def waits(peer: Peer) -> None:
    """Wait until the client has ended, and end in order."""
    peer.leave()


def resets(peer: Peer) -> None:
    """Reset the connection once the client has ended."""
    peer.gone()
    peer.reset()


def cuts(peer: Peer) -> None:
    """Close the connection below TLS as soon as the client has ended."""
    peer.gone()
    peer.cut()


def speaks_clear(peer: Peer) -> None:
    """Go on in clear after the client's close_notify, as Exim does."""
    peer.gone()
    with contextlib.suppress(OSError):
        peer.send_clear(b"421 lost connection\r\n" * 3)
        peer.cut()


def hears_nothing(peer: Peer) -> None:
    """Read no more, and keep the connection for as long as there is a client.

    The FIN of the client has to come: without one this is never over.
    """
    with contextlib.suppress(OSError, SSL.Error, Cut):
        while peer.socket.recv(65536):
            pass


#: What a server does at the end of a session in which it has said all.
ENDINGS: Mapping[str, Callable[[Peer], object]] = {
    "at once": Peer.finish,
    "waits": waits,
    "resets": resets,
    "cuts": cuts,
    "clear": speaks_clear,
    "deaf": hears_nothing,
}


class HangUpTests(SynchronousTestCase):
    """A user who hangs up after the last word: status 0, and silence."""

    def check(
        self,
        kind: Kind,
        way: str,
        ending: Callable[[Peer], object],
        shutdown: tuple[str, ...] = BY_DEFAULT,
    ) -> None:
        """The session of a polite user is whole, however the server ends it."""

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
        """Both pipes closed in either order, or one socket, and every kind of end."""
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
        """The same when the server is told at once, before the user is known to go."""
        together(
            {
                f"{kind.name}, {way}": functools.partial(
                    self.check, kind, way, hears_nothing, AT_ONCE
                )
                for kind, way in itertools.product((TCP, TLS), User.WAYS)
            }
        )

    def test_upload(self) -> None:
        """What such a user has sent before arrives in full."""
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
        """So it is with a prog that ends, when TLS is all that was wanted."""

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


class UndeliveredTests(SynchronousTestCase):
    """A user who hangs up before all that the server has said was read."""

    def check(self, kind: Kind, way: str) -> None:
        """It is an error that says what could not be written."""

        def serve(peer: Peer) -> None:
            with contextlib.suppress(OSError, SSL.Error):
                peer.send(b"x" * LARGE)
                peer.finish()

        with kind.serve(serve, BY_DEFAULT) as server:
            user = User(way, *server.arguments)
            self.assertEqual(user.read(1), b"x")
            outcome = user.hang_up()
            self.assertEqual(outcome.status, 111)
            # A UNIX socket that is closed with bytes unread resets its peer.
            reset = "unable to read standard input: connection reset"
            self.assertTrue(outcome.complaint().startswith((UNWRITABLE, reset)))

    def test_unread(self) -> None:
        """Both pipes closed in either order, or one socket."""
        together(
            {
                f"{kind.name}, {way}": functools.partial(self.check, kind, way)
                for kind, way in itertools.product((TCP, TLS), User.WAYS)
            }
        )

    def test_not_taken(self) -> None:
        """What the server does not take of an upload is an error as well."""

        def check(kind: Kind, way: str) -> None:
            def serve(peer: Peer) -> None:
                peer.send(FAREWELL)
                self.assertTrue(peer.receive())
                peer.reset()

            with kind.serve(serve, BY_DEFAULT) as server:
                user = User(way, *server.arguments)
                self.assertEqual(user.read(len(FAREWELL)), FAREWELL)
                # The command ends before it has read this.
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
    """A reader of stdout that has enough while stdin stays open: `... | head -1`."""

    def check(self, kind: Kind, more: bytes) -> None:
        """The command ends, and says why."""
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
        """Whether the server goes on or has said all that it has to say."""
        together(
            {
                f"{kind.name}, {len(more)} more": functools.partial(
                    self.check, kind, more
                )
                for kind in (TCP, TLS)
                for more in (b"", b"second\n", b"x" * LARGE)
            }
        )

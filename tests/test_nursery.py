"""The nursery: a command from it behaves like one that is started by itself."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.command import (
    PATIENCE,
    Outcome,
    Peer,
    environment,
    finish,
    run_in,
    serving,
    start,
)
from tests.nursery import Nursery

#: A prog that prints what it has inherited, without the port of its connection.
SHOW = """
import os, signal
os.environ.pop("TCPLOCALPORT")
print(sorted(os.environ.items()), os.getcwd(), sorted(os.listdir("/proc/self/fd")))
print(os.getsid(0) == os.getpgrp() == os.getpid(), os.umask(0))
print([signal.getsignal(each) for each in signal.valid_signals()])
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
"""


class NurseryTests(SynchronousTestCase):
    """The same command from a nursery and started by itself."""

    def setUp(self) -> None:
        """Start a nursery."""
        if sys.platform != "linux":
            raise SkipTest("nurseries are made for Linux")
        self.nursery = Nursery(environment())

    def assert_alike(self, *arguments: str, data: bytes | None = b"") -> Outcome:
        """Check that both ways have the same outcome, and return it."""
        alone = finish(start(*arguments), data)
        self.assertEqual(run_in(self.nursery, *arguments, data=data), alone)
        return alone

    def test_prog(self) -> None:
        """Prog inherits the same environment, descriptors, session and signals."""
        with serving(Peer.finish, "-RHl0") as server:
            prog = (sys.executable, "-c", SHOW)
            outcome = self.assert_alike(*server.arguments, *prog)
        self.assertEqual((outcome.status, outcome.err), (0, ""))
        self.assertIn(str(Path.cwd()).encode(), outcome.out)
        self.assertIn(b"\nTrue ", outcome.out)

    def test_client_mode(self) -> None:
        """The server gets the input, and its answer reaches stdout."""

        def echo(peer: Peer) -> None:
            peer.send(peer.rest())
            peer.finish()

        with serving(echo) as server:
            outcome = self.assert_alike(*server.arguments, data=b"hello\n" * 50_000)
        self.assertEqual(outcome, Outcome(0, b"hello\n" * 50_000, ""))

    def test_open_input(self) -> None:
        """Without data stdin stays open until the command has ended."""
        with serving(Peer.finish) as server:
            self.assert_alike(*server.arguments, data=None)

    def test_failures(self) -> None:
        """Errors are the same, and arguments need not be text."""
        for arguments in (("--nonsense",), ("\udcff", "25"), ("@\u00e9",)):
            self.assertIn(self.assert_alike(*arguments).status, (100, 111))

    def test_hangs(self) -> None:
        """A command that does not end in time is killed, and the test fails."""
        over = threading.Event()
        with serving(lambda peer: over.wait(PATIENCE)) as server:
            run = (run_in, self.nursery, *server.arguments)
            error = self.assertRaises(AssertionError, *run, patience=1.0)
            over.set()
        self.assertIn("hangs; it wrote 0 bytes", str(error))

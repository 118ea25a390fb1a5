"""Ends of sessions with a server, a prog or a terminal that does not co-operate."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from contextlib import closing

from twisted.trial.unittest import SynchronousTestCase

from tests.command import (
    PATIENCE,
    TCP,
    TLS,
    Outcome,
    Peer,
    finish,
    run,
    start,
    tcp_listener,
    terminal,
)

#: Runs the command with ident on the port that is the first argument.
IDENT_ELSEWHERE = """
import sys
from twisted_tcpclient.names import reverse
from twisted_tcpclient.command.console import run
reverse.IDENT_PORT = int(sys.argv[1])
sys.exit(run(sys.argv[2:]))
"""


class LookupTests(SynchronousTestCase):
    """Sessions that end during their look-ups."""

    def test_signals(self) -> None:
        """
        SIGTERM, SIGINT and SIGHUP end a session that waits for the answer of ident;
        prog is not run.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with closing(tcp_listener()) as ident, TCP.serve(Peer.rest) as server:
                ident.settimeout(PATIENCE)
                port = str(ident.getsockname()[1])
                command = (sys.executable, "-c", IDENT_ELSEWHERE, port)
                process = start(
                    "-Hl0", *server.arguments, "echo", "ran", command=command
                )
                asked: socket.socket = ident.accept()[0]
                with asked:
                    asked.settimeout(PATIENCE)
                    self.assertIn(b",", asked.recv(100))
                    process.send_signal(number)
                    self.assertEqual(finish(process), Outcome(128 + number, b"", ""))


class DeafServerTests(SynchronousTestCase):
    """Servers that do not close."""

    def test_prog_has_exited(self) -> None:
        """
        Once prog has exited and 6 and 7 are closed, the command exits even with -a 0,
        though the server does not answer close_notify.
        """
        done = threading.Event()

        def deaf(peer: Peer) -> None:
            done.wait(PATIENCE)

        with TLS.serve(deaf) as server:
            outcome = run("-RHl0", "-a0", *server.arguments, "sh", "-c", "exit 3")
            done.set()
        self.assertEqual(outcome, Outcome(3, b"", ""))


class TerminalTests(SynchronousTestCase):
    """Terminals that other programs use at the same time."""

    def test_blocking(self) -> None:
        """The terminal is in blocking mode while the command runs."""
        done = threading.Event()

        def hello(peer: Peer) -> None:
            peer.send(b"hello\n")
            done.wait(PATIENCE)
            peer.finish()

        with terminal() as (master, slave), TCP.serve(hello) as server:
            process = start(*server.arguments, stdin=slave, stdout=slave)
            shown = b""
            while not shown.endswith(b"\n"):
                shown += os.read(master, 100)
            self.assertEqual(shown, b"hello\r\n")
            self.assertTrue(os.get_blocking(slave))
            done.set()
            self.assertEqual(finish(process, None).status, 0)

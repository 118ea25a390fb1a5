"""How a session ends when somebody is no longer there, or does not listen."""

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

#: The command, with ident on a port of our own.
IDENT_ELSEWHERE = """
import sys
from twisted_tcpclient.names import reverse
from twisted_tcpclient.command.console import run
reverse.IDENT_PORT = int(sys.argv[1])
sys.exit(run(sys.argv[2:]))
"""


class LookupTests(SynchronousTestCase):
    """A session that is ended while it looks things up."""

    def test_signals(self) -> None:
        """
        A signal during the look-ups ends the session: prog is not run, though
        all that it waits for is the answer of ident.
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
    """A server that does not close."""

    def test_prog_is_gone(self) -> None:
        """
        Once prog is gone, and 6 and 7 with it, a server that ignores
        close_notify does not keep the session, whatever -a says.
        """
        done = threading.Event()

        def deaf(peer: Peer) -> None:
            done.wait(PATIENCE)

        with TLS.serve(deaf) as server:
            outcome = run("-RHl0", "-a0", *server.arguments, "sh", "-c", "exit 3")
            done.set()
        self.assertEqual(outcome, Outcome(3, b"", ""))


class TerminalTests(SynchronousTestCase):
    """A terminal that others use, too."""

    def test_blocking(self) -> None:
        """While the command runs the terminal blocks as before, for a shell."""
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

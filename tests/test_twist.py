"""The command under ``twist``."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.command import (
    STARTTLS,
    TCP,
    TLS,
    Kind,
    Outcome,
    Peer,
    every,
    finish,
    run,
    serving,
    start,
    terminal,
    together,
)
from tests.test_client_mode import finishing, noise, running, same
from tests.test_command import refusing
from tests.test_prog import LOOK, QUICK, python, sh, state

TWIST = (sys.executable, "-m", "twisted", "tcpclient")


def errors(outcome: Outcome) -> list[str]:
    """Return the lines on stderr that the command wrote, without those of the log."""
    return [line for line in outcome.err.splitlines() if line.startswith("tcpclient:")]


class ClientModeTests(SynchronousTestCase):
    """Client mode under ``twist``: stdout has the server's bytes and nothing else."""

    def test_session(self) -> None:
        """
        Both directions are complete, with a reply after EOF; no line of the log is on
        stdout.
        """
        question, reply = noise(100_000), noise(120_000)

        def answer(peer: Peer) -> bytes:
            received = peer.rest()
            peer.send(reply)
            return finishing(peer, received)

        def check(kind: Kind) -> None:
            with kind.serve(answer) as server:
                outcome = run(*server.arguments, command=TWIST, data=question)
                self.assertTrue(same(server.result(), question))
            self.assertTrue(same(outcome.out, reply), outcome.out[:300])
            self.assertEqual((outcome.status, errors(outcome)), (0, []))
            self.assertNotIn("Traceback", outcome.err)

        every(check)

    def test_log(self) -> None:
        """With --log-file the log is written to that file."""
        path = Path(self.mktemp()).absolute()
        command = (*TWIST[:3], "--log-file", str(path), TWIST[3])
        with serving(Peer.finish) as server:
            outcome = run(*server.arguments, command=command)
        self.assertEqual(outcome, Outcome(0, b"", ""))
        self.assertTrue(path.exists())

    def test_debug_log(self) -> None:
        """No line of the log is on stdout at level debug, nor with -v."""

        def greet(peer: Peer) -> None:
            peer.send(b"hello\n")
            peer.finish()

        command = (*TWIST[:3], "--log-level", "debug", TWIST[3])
        for options, words in (((), command), (("-v",), TWIST)):
            with serving(greet) as server:
                outcome = run(*options, *server.arguments, command=words)
            self.assertEqual((outcome.status, outcome.out), (0, b"hello\n"))
            self.assertIn("Starting reactor...", outcome.err)

    def test_terminal(self) -> None:
        """The terminal is in blocking mode after the command."""
        with terminal() as (_, slave), serving(Peer.finish) as server:
            outcome = run(
                *server.arguments, command=TWIST, stdin=slave, stdout=slave, data=None
            )
            self.assertEqual(outcome.status, 0)
            self.assertTrue(os.get_blocking(slave))


class StatusTests(SynchronousTestCase):
    """The exit status under ``twist``."""

    def test_failure(self) -> None:
        """The command reports a failure in one line beside the log, with status 111."""
        with refusing() as port:
            outcome = run("127.0.0.1", port, command=TWIST)
        place = f"127.0.0.1 port {port}"
        self.assertEqual((outcome.status, outcome.out), (111, b""))
        self.assertEqual(
            errors(outcome),
            [f"tcpclient: fatal: unable to connect to {place}: connection refused"],
        )
        self.assertNotIn("Traceback", outcome.err)

    def test_usage(self) -> None:
        """
        A wrong command line leads to a message without a traceback, and to status 64.
        """
        wrong: dict[str, tuple[str, ...]] = {
            "no host given": (),
            "no port given": ("127.0.0.1",),
            "no such protocol": ("-s", "gopher", "0", "1"),
            "option -Y not recognized": ("-Y", "0", "1"),
            "option --verb not recognized: write --verbose": ("--verb", "0", "1"),
            "-m: has no meaning without TLS": ("-m", "x", "0", "1"),
            "unable to figure out port number for nosuchservice": (
                "0",
                "nosuchservice",
            ),
        }

        def check(words: str, arguments: tuple[str, ...]) -> None:
            outcome = run(*arguments, command=TWIST)
            told = outcome.out.decode() + outcome.err
            self.assertIn(words, told)
            self.assertNotIn("Traceback", told)
            # twist exits with EX_USAGE of sysexits.h for a wrong command line.
            self.assertEqual(outcome.status, 64)

        together({w: functools.partial(check, w, a) for w, a in wrong.items()})

    def test_prog(self) -> None:
        """The status is that of prog, or 128 plus the signal that killed it."""
        expected = {"exit 0": 0, "exit 3": 3, "kill -KILL $$": 128 + signal.SIGKILL}

        def check(kind: Kind, line: str) -> None:
            with kind.serve(Peer.leave) as server:
                outcome = run(*QUICK, *server.arguments, *sh(line), command=TWIST)
            self.assertEqual((outcome.status, outcome.out), (expected[line], b""))
            self.assertEqual(errors(outcome), [])

        together(
            {
                f"{line} {kind.name}": functools.partial(check, kind, line)
                for line in expected
                for kind in (TCP, TLS)
            }
        )


class ClosedTests(SynchronousTestCase):
    """Runs of ``twist`` with closed standard descriptors."""

    def session(self, redirections: str) -> Outcome:
        """Return the outcome of client mode with these redirections."""

        def hello(peer: Peer) -> None:
            peer.send(b"hello\n")
            peer.finish()

        with serving(hello) as server:
            line = f'exec "$@" {redirections}'
            command = ("/bin/sh", "-c", line, "sh", *TWIST)
            return run(*server.arguments, command=command, data=None)

    def test_input(self) -> None:
        """
        Closed stdin is empty input, and none of twist's descriptors is used for it.
        """
        self.assertEqual(self.session("<&-"), Outcome(0, b"hello\n", ""))

    def test_output(self) -> None:
        """Closed stdout is an error that names it."""
        outcome = self.session(">&-")
        self.assertEqual((outcome.status, outcome.out), (111, b""))
        reason = "unable to write standard output: bad file descriptor"
        self.assertEqual(outcome.complaint(), reason)

    def test_error(self) -> None:
        """
        With closed stderr the session and its status are as before, without messages.
        """
        self.assertEqual(self.session("2>&-"), Outcome(0, b"hello\n", ""))
        self.assertEqual(self.session("<&- >&- 2>&-"), Outcome(111, b"", ""))


class ProgTests(SynchronousTestCase):
    """Prog under ``twist``, where it is a child in clear as well."""

    def test_dialogue(self) -> None:
        """Prog exchanges data on 6 and 7, and its stdout is the command's."""

        def talk(peer: Peer) -> bytes:
            peer.send(b"who is there\n")
            return finishing(peer, peer.line())

        def check(kind: Kind) -> None:
            prog = sh('read line <&6; echo "prog, $line" >&7; echo "$line"; exit 4')
            with kind.serve(talk) as server:
                outcome = run(*QUICK, *server.arguments, *prog, command=TWIST)
                self.assertEqual(server.result(), b"prog, who is there\n")
            self.assertEqual((outcome.status, outcome.out), (4, b"who is there\n"))

        every(check)

    def test_socket(self) -> None:
        """
        In clear 6 and 7 are the socket, in blocking mode; only 0, 1 and 2 are open
        besides.
        """
        with TCP.serve(Peer.leave) as server:
            outcome = run(*QUICK, *server.arguments, *python(LOOK), command=TWIST)
        found = json.loads(outcome.out)
        self.assertEqual(found["fds"], [0, 1, 2, 6, 7])
        self.assertEqual(found["sockets"], [True, True])
        self.assertEqual(found["blocking"], [True, True])

    def test_signal(self) -> None:
        """SIGTERM, SIGINT and SIGHUP end prog first, then twist."""

        def check(kind: Kind, number: signal.Signals) -> None:
            prog = sh("echo $$; exec cat <&6")
            with kind.serve(Peer.leave) as server:
                arguments = (*QUICK, *server.arguments, *prog)
                with running(*arguments, command=TWIST) as process:
                    assert process.stdout is not None
                    child = int(process.stdout.readline())
                    process.send_signal(number)
                    outcome = finish(process)
                    self.assertEqual(state(child), "")
            self.assertEqual(outcome.out, b"")
            self.assertNotIn("Traceback", outcome.err)
            self.assertNotEqual(outcome.status, 0)

        together(
            {
                f"{number.name} {kind.name}": functools.partial(check, kind, number)
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
                for kind in (TCP, STARTTLS)
            }
        )

    def test_ignored(self) -> None:
        """
        With SIGHUP ignored by the parent (nohup), neither twist nor prog is ended by
        it.
        """

        def talk(peer: Peer) -> None:
            os.kill(int(peer.line()), signal.SIGHUP)
            peer.send(b"still there\n")
            peer.finish()

        def check(kind: Kind) -> None:
            line = 'trap "" HUP; exec "$@"'
            command = ("/bin/sh", "-c", line, "sh", *TWIST)
            prog = sh("echo $PPID >&7; cat <&6")
            with kind.serve(talk) as server:
                arguments = (*QUICK, *server.arguments, *prog)
                outcome = run(*arguments, command=command)
            self.assertEqual(outcome, Outcome(0, b"still there\n", ""))

        every(check, TCP, TLS)

    def test_client_signal(self) -> None:
        """SIGTERM and SIGHUP end client mode without a message."""

        def hello(peer: Peer) -> None:
            peer.send(b"hello\n")
            peer.gone()

        def check(number: signal.Signals, status: int) -> None:
            with (
                TCP.serve(hello) as server,
                running(*server.arguments, command=TWIST) as process,
            ):
                assert process.stdout is not None
                self.assertEqual(process.stdout.readline(), b"hello\n")
                process.send_signal(number)
                outcome = finish(process, None)
            self.assertEqual(outcome, Outcome(status, b"", ""))

        # Twisted re-raises the SIGTERM that it has handled; it does not handle SIGHUP.
        expected = {signal.SIGTERM: -signal.SIGTERM, signal.SIGHUP: 128 + signal.SIGHUP}
        together(
            {
                each.name: functools.partial(check, each, s)
                for each, s in expected.items()
            }
        )


class HelpTests(SynchronousTestCase):
    """The plugin, found by ``twist`` in the checkout."""

    def test_listed(self) -> None:
        """
        ``twist --help`` lists the command, and its help is that of ``tcpclient
        --help``.
        """
        listed = run("--help", command=TWIST[:3])
        self.assertIn(b"tcpclient", listed.out)
        helped = run("--help", command=TWIST)
        self.assertEqual(helped.status, 0)
        self.assertEqual(helped.out, run("--help").out)

    def test_unprintable(self) -> None:
        """If the help cannot be written, that is one error, without a traceback."""
        with open("/dev/full", "wb") as full:
            outcome = finish(start("--help", command=TWIST, stdout=full))
        reason = "Error: unable to write standard output: no space left on device"
        self.assertEqual(outcome.status, 64)
        self.assertEqual(outcome.err.splitlines()[0], reason)

    def test_elsewhere(self) -> None:
        """The command runs under ``twist`` from any directory."""
        process = start("--version", command=TWIST, cwd=Path("/"))
        outcome = finish(process)
        self.assertEqual(outcome.status, 0)
        self.assertTrue(outcome.out.startswith(b"tcpclient "))

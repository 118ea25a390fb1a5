"""The same job under `twist`."""

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
    """Return the lines on stderr that are ours and not of the log."""
    return [line for line in outcome.err.splitlines() if line.startswith("tcpclient:")]


class ClientModeTests(SynchronousTestCase):
    """Client mode: stdout has what the server says, and nothing else."""

    def test_session(self) -> None:
        """Both directions are complete, late reply and all; the log is elsewhere."""
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
        """The log is still where -l says, if it says so."""
        path = Path(self.mktemp()).absolute()
        command = (*TWIST[:3], "--log-file", str(path), TWIST[3])
        with serving(Peer.finish) as server:
            outcome = run(*server.arguments, command=command)
        self.assertEqual(outcome, Outcome(0, b"", ""))
        self.assertTrue(path.exists())

    def test_talkative(self) -> None:
        """However much is logged, none of it is on stdout."""

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
        """The terminal blocks again after the end."""
        with terminal() as (_, slave), serving(Peer.finish) as server:
            outcome = run(
                *server.arguments, command=TWIST, stdin=slave, stdout=slave, data=None
            )
            self.assertEqual(outcome.status, 0)
            self.assertTrue(os.get_blocking(slave))


class StatusTests(SynchronousTestCase):
    """The exit status is that of the command."""

    def test_failure(self) -> None:
        """What cannot be done is said in one line of ours, and the status is 111."""
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
        """A wrong command line is no traceback, and not a success."""
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
            # 64 is what twist has for this.
            self.assertEqual(outcome.status, 64)

        together({w: functools.partial(check, w, a) for w, a in wrong.items()})

    def test_prog(self) -> None:
        """Prog's status, or 128 and the signal that killed it, is ours."""
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
    """Started with descriptors closed."""

    def session(self, redirections: str) -> Outcome:
        """What becomes of client mode with these redirections of the shell's."""

        def hello(peer: Peer) -> None:
            peer.send(b"hello\n")
            peer.finish()

        with serving(hello) as server:
            line = f'exec "$@" {redirections}'
            command = ("/bin/sh", "-c", line, "sh", *TWIST)
            return run(*server.arguments, command=command, data=None)

    def test_input(self) -> None:
        """A closed standard input is empty input, and no connection of twist's."""
        self.assertEqual(self.session("<&-"), Outcome(0, b"hello\n", ""))

    def test_output(self) -> None:
        """A closed standard output cannot be written to, which is said."""
        outcome = self.session(">&-")
        self.assertEqual((outcome.status, outcome.out), (111, b""))
        reason = "unable to write standard output: bad file descriptor"
        self.assertEqual(outcome.complaint(), reason)

    def test_error(self) -> None:
        """Without standard error nothing is said, and all else is as ever."""
        self.assertEqual(self.session("2>&-"), Outcome(0, b"hello\n", ""))
        self.assertEqual(self.session("<&- >&- 2>&-"), Outcome(111, b"", ""))


class ProgTests(SynchronousTestCase):
    """Prog is a child, in clear as well; for prog nothing else is different."""

    def test_dialogue(self) -> None:
        """Prog talks on 6 and 7, and prints on stdout."""

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
        """In clear 6 and 7 are the socket, which blocks, and no more is open."""
        with TCP.serve(Peer.leave) as server:
            outcome = run(*QUICK, *server.arguments, *python(LOOK), command=TWIST)
        found = json.loads(outcome.out)
        self.assertEqual(found["fds"], [0, 1, 2, 6, 7])
        self.assertEqual(found["sockets"], [True, True])
        self.assertEqual(found["blocking"], [True, True])

    def test_signal(self) -> None:
        """TERM, INT and HUP end prog first, and twist when prog has ended."""

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
        """Under nohup HUP does not end twist, and prog is not told."""

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
        """TERM and HUP end client mode as well, without a word."""

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

        # Twist ends by the signal, where Twisted handles it.
        expected = {signal.SIGTERM: -signal.SIGTERM, signal.SIGHUP: 128 + signal.SIGHUP}
        together(
            {
                each.name: functools.partial(check, each, s)
                for each, s in expected.items()
            }
        )


class HelpTests(SynchronousTestCase):
    """Twist knows us, from the checkout."""

    def test_listed(self) -> None:
        """The command is among those of twist, and its help is ours."""
        listed = run("--help", command=TWIST[:3])
        self.assertIn(b"tcpclient", listed.out)
        helped = run("--help", command=TWIST)
        self.assertEqual(helped.status, 0)
        self.assertEqual(helped.out, run("--help").out)

    def test_elsewhere(self) -> None:
        """It does not depend on the current directory."""
        process = start("--version", command=TWIST, cwd=Path("/"))
        outcome = finish(process)
        self.assertEqual(outcome.status, 0)
        self.assertTrue(outcome.out.startswith(b"tcpclient "))

"""What a process inherits: file systems, signals, a terminal, a clock, a locale."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests import certificates, servers
from tests.command import (
    COMMAND,
    ON_TERMINAL,
    PATIENCE,
    TCP,
    TLS,
    Kind,
    Outcome,
    Peer,
    environment,
    finish,
    kill,
    run,
    server_context,
    serving,
    start,
    terminal,
    together,
    trusting,
)
from tests.packages import find_program
from tests.test_client_mode import running
from tests.test_prog import QUICK, python, sh, until
from tests.test_twist import TWIST

#: In clear prog replaces the command; over TLS it is a child.
KINDS = (TCP, TLS)


def greet(peer: Peer) -> None:
    """Send a line, and close in good order."""
    peer.send(b"hello\n")
    peer.finish()


# Files.


def bare(*hidden: str, then: str = "") -> tuple[str, ...]:
    """Return the words that run a command where these directories are empty."""
    if os.geteuid() != 0:
        raise SkipTest("only root can hide directories")
    hide = "".join(f"mount -t tmpfs none {directory}; " for directory in hidden)
    unshare = find_program("unshare", "util-linux")
    command = (unshare, "--mount", "sh", "-ec", f'{hide} {then} exec "$@"', "sh")
    if subprocess.run([*command, "true"], capture_output=True).returncode:
        raise SkipTest("this container may not make namespaces")
    return command


class BareTests(SynchronousTestCase):
    """
    Systems without /proc, or with an empty /dev as well, as in a chroot or a container.
    """

    def test_client(self) -> None:
        """Client mode works without /proc and /dev."""

        def echo(peer: Peer) -> None:
            peer.send(peer.line())
            peer.finish()

        command = (*bare("/dev", "/proc"), *COMMAND)
        for kind in KINDS:
            with kind.serve(echo) as server:
                outcome = run(*server.arguments, command=command, data=b"hello\n")
                self.assertEqual(outcome, Outcome(0, b"hello\n", ""))

    def test_prog(self) -> None:
        """
        Prog has its connection and the descriptors that the command inherited.  Over
        TLS spawnProcess() needs /dev/null, and the error message says so.
        """

        def check(*hidden: str) -> None:
            command = (*bare(*hidden), *COMMAND)
            for kind in KINDS:
                if kind.secure and "/dev" in hidden:
                    with kind.serve(Peer.gone) as server:
                        outcome = run(
                            *QUICK, *server.arguments, "true", command=command
                        )
                    self.assertEqual(outcome.status, 111)
                    self.assertEqual(
                        outcome.complaint(),
                        "unable to run true: /dev/null: file does not exist",
                    )
                    continue
                reading, low = os.pipe()
                # Descriptors 6 and 7 of prog are replaced, so the pipe gets a higher
                # number.
                writing = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 20)
                os.close(low)
                code = f"import os; os.write({writing}, os.read(6, 100))"
                with kind.serve(greet) as server, os.fdopen(reading, "rb") as given:
                    words = (*QUICK, *server.arguments, *python(code))
                    process = start(*words, command=command, pass_fds=(writing,))
                    os.close(writing)
                    self.assertEqual(finish(process), Outcome(0, b"", ""))
                    self.assertEqual(given.read(), b"hello\n")

        check("/proc")
        check("/dev", "/proc")

    def test_closed(self) -> None:
        """
        Without /proc and /dev, closed stdin is empty input, and closed stdout is an
        error; the new socket is used as neither.
        """
        there = bare("/dev", "/proc")

        def check(kind: Kind, line: str) -> None:
            shell = ("sh", "-c", f'exec "$@" {line}', "sh")
            self.closed(kind, (*there, *shell, *COMMAND), " >&-" in f" {line}")

        together(
            {
                f"{kind.name} {line}": functools.partial(check, kind, line)
                for kind in KINDS
                for line in ("<&- 2>&-", "<&- >&-")
            }
        )

    def closed(self, kind: Kind, command: tuple[str, ...], output: bool) -> None:
        """
        Check a session with closed descriptors; `output` is whether stdout is closed.
        """

        def talk(peer: Peer) -> bytes:
            peer.send(b"hello\n")
            received = b""
            with contextlib.suppress(Exception):
                received = peer.rest()
            peer.finish()
            return received

        with kind.serve(talk) as server:
            outcome = run(*server.arguments, command=command)
            self.assertEqual(server.result(), b"")
        if output:
            words = "unable to write standard output: bad file descriptor"
            self.assertEqual((outcome.status, outcome.complaint()), (111, words))
        else:
            self.assertEqual(outcome, Outcome(0, b"hello\n", ""))

    def test_ctrl_c(self) -> None:
        """
        Without /dev/tty, too, Ctrl-C reaches prog once: the command does not send a
        second SIGINT.
        """
        code = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
os.write(1, b"ready\\n")
os.read(6, 1)
signal.sigwait([signal.SIGINT])
os.write(7, b"first\\n")
os.read(6, 1)
os.write(1, b"again\\n" if signal.sigtimedwait([signal.SIGINT], 0) else b"once\\n")
"""
        waiting = threading.Event()

        def talk(peer: Peer) -> None:
            waiting.wait(PATIENCE)
            peer.send(b"x")
            peer.line()
            # A byte that the command relays comes after its handling of the signal.
            peer.send(b"x")
            peer.finish()

        # spawnProcess() needs /dev/null.
        without_tty = bare("/dev", then="mknod -m 666 /dev/null c 1 3;")
        command = (*ON_TERMINAL[:2], *without_tty, *COMMAND)
        with terminal() as (master, slave), TLS.serve(talk) as server:
            words = (*QUICK, *server.arguments, *python(code))
            process = start(*words, command=command, stdin=slave, session=False)
            assert process.stdout is not None
            self.assertEqual(process.stdout.readline(), b"ready\n")
            # Two pending SIGINT would be delivered as one, so the command is stopped
            # meanwhile.
            process.send_signal(signal.SIGSTOP)
            until(process.pid, "T")
            os.write(master, b"\x03")
            waiting.set()
            process.send_signal(signal.SIGCONT)
            self.assertEqual(finish(process), Outcome(0, b"once\n", ""))

    def test_passphrase(self) -> None:
        """
        The error names /dev/tty if a passphrase is needed and that file does not exist.
        """
        encrypted = str(certificates.shared().encrypted_client)
        with terminal() as (_, slave), TLS.serve(Peer.gone) as server:
            command = (*ON_TERMINAL[:2], *bare("/dev"), *COMMAND)
            words = ("-n", encrypted, *server.arguments)
            outcome = run(*words, command=command, stdin=slave, session=False)
        self.assertEqual(outcome.status, 111)
        complaint = outcome.complaint()
        self.assertTrue(complaint.endswith("(/dev/tty: file does not exist)"))


# Signals.


class GivenSignalsTests(SynchronousTestCase):
    """Signals that the parent has blocked or ignores."""

    NAMES = ("CHLD", "TERM", "INT", "HUP", "TSTP", "CONT", "TTIN", "TTOU", "USR1")
    #: A prog that prints its signal masks.
    SHOW = ("grep", "Sig", "/proc/self/status")

    def shown(self, kind: Kind, option: str, *names: str) -> set[str]:
        """Return the names of the signals that prog finds blocked or ignored."""
        with kind.serve(greet) as server:
            command = ("env", f"--{option}-signal={','.join(names)}", *COMMAND)
            outcome = run(*QUICK, *server.arguments, *self.SHOW, command=command)
        self.assertEqual((outcome.status, outcome.err), (0, ""))
        lines = dict(line.split(":\t") for line in outcome.out.decode().splitlines())
        mask = int(lines["SigBlk" if option == "block" else "SigIgn"], 16)
        # signal.Signals leaves out 32 and 33, which glibc uses itself.
        return {
            each.name.removeprefix("SIG")
            for each in signal.Signals
            if mask >> each - 1 & 1
        }

    def test_blocked(self) -> None:
        """
        A session ends when prog exits, though all these signals were blocked; prog
        inherits the mask.
        """
        for kind in KINDS:
            self.assertEqual(self.shown(kind, "block", *self.NAMES), set(self.NAMES))

    def test_ignored(self) -> None:
        """
        A session ends when prog exits, though all these signals were ignored; in clear
        prog ignores them, too, except SIGPIPE, which Python ignores for itself.
        """
        for kind in KINDS:
            # spawnProcess() resets ignored signals to their default.
            expected = set() if kind.secure else set(self.NAMES)
            found = self.shown(kind, "ignore", *self.NAMES, "PIPE")
            self.assertEqual(found, expected)

    def test_client_mode(self) -> None:
        """
        A signal ends client mode if the parent had blocked it, and does not if the
        parent ignored it.
        """

        def talk(peer: Peer) -> None:
            peer.send(b"hello\n")
            with contextlib.suppress(Exception):
                peer.line()
                peer.send(b"bye\n")
            peer.leave()

        def check(option: str, name: str) -> None:
            number = signal.Signals[f"SIG{name}"]
            command = ("env", f"--{option}-signal={name}", *COMMAND)
            with (
                TCP.serve(talk) as server,
                running(*server.arguments, command=command) as process,
            ):
                assert process.stdout is not None and process.stdin is not None
                self.assertEqual(process.stdout.readline(), b"hello\n")
                process.send_signal(number)
                if option == "block":
                    outcome = finish(process, None)
                    self.assertEqual(outcome, Outcome(128 + number, b"", ""))
                else:
                    self.assertEqual(finish(process, b"x\n").out, b"bye\n")

        together(
            {
                f"{option} {name}": functools.partial(check, option, name)
                for option in ("block", "ignore")
                for name in ("TERM", "INT")
            }
        )

    def test_twist(self) -> None:
        """
        Under ``twist`` the command notices the end of prog if SIGCHLD was blocked or
        ignored.
        """
        for option in ("block", "ignore"):
            with TLS.serve(greet) as server:
                command = ("env", f"--{option}-signal=CHLD", *TWIST)
                words = (*QUICK, *server.arguments, *sh("read line <&6; exit 3"))
                self.assertEqual(run(*words, command=command), Outcome(3, b"", ""))


class BlockingTests(SynchronousTestCase):
    """
    Reads and writes that block, before the connection or while an error is reported.
    """

    def test_files(self) -> None:
        """
        SIGTERM, SIGINT and SIGHUP end a command that waits for the content of a FIFO
        named by an option.
        """
        with tempfile.TemporaryDirectory() as directory:
            together(
                {
                    f"{option} {number.name}": functools.partial(
                        self.ended,
                        Path(directory, f"{option}-{number}"),
                        option,
                        number,
                    )
                    for option, number in (
                        ("-c", signal.SIGTERM),
                        ("-L", signal.SIGINT),
                        ("-n", signal.SIGHUP),
                        ("-f", signal.SIGTERM),
                    )
                }
            )

    def ended(self, fifo: Path, option: str, number: signal.Signals) -> None:
        """Check that a signal ends the command while it reads a file."""
        os.mkfifo(fifo)
        words = ("--tls", option, str(fifo), "127.0.0.1", "1")
        with running(*words) as process:
            writing = servers.eventually(functools.partial(has_come, fifo), "a reader")
            with os.fdopen(writing, "wb"):
                process.send_signal(number)
                self.assertEqual(finish(process, None), Outcome(-number, b"", ""))

    def test_full_stderr(self) -> None:
        """
        The command exits though a long message does not fit into the pipe of stderr.
        """
        page = os.sysconf("SC_PAGE_SIZE")
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb"), os.fdopen(writing, "wb") as stderr:
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 2 * page)
            os.write(writing, b"x" * page)
            missing = "/" + "x" * 3 * page
            process = start("127.0.0.1", "1", missing, stderr=stderr)
            self.assertEqual(finish(process), Outcome(111, b"", ""))

    def test_long(self) -> None:
        """A long message is complete if it is read."""
        missing = "/" + "x" * 20_000
        outcome = run("127.0.0.1", "1", missing)
        self.assertTrue(outcome.complaint().startswith(f"unable to run {missing}: "))


def has_come(path: Path) -> int | None:
    """Return a descriptor for writing to a FIFO, or None if it has no reader yet."""
    try:
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


# The terminal.

#: Runs a command in a process group of its own, in the background of its terminal.  The
#: group is orphaned, or its parent waits until it is stopped and continues it in the
#: foreground.
BACKGROUND = """
import os, signal, sys
how, mail, until, *command = sys.argv[1:]
go, ready = os.pipe()
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    if how == "orphaned" and os.fork():
        os._exit(0)
    os.dup2(int(mail), 0)
    for each in (ready, int(mail), int(until)):
        os.close(each)
    os.read(go, 1)
    os.execvp(command[0], command)
if how == "orphaned":
    os.waitpid(child, 0)
    os.close(ready)
    os.read(int(until), 1)
    sys.exit()
os.close(ready)
_, status = os.waitpid(child, os.WUNTRACED)
os.write(1, b"stopped %d\\n" % os.WSTOPSIG(status))
os.tcsetpgrp(0, child)
os.kill(child, signal.SIGCONT)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""


class BackgroundTests(SynchronousTestCase):
    """Background jobs that need the passphrase of a key."""

    @contextlib.contextmanager
    def started(
        self, how: str, *words: str, option: str = "--default-signal"
    ) -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
        """
        Start a background job; yield the process, the user's side of the terminal, and
        the pipe that is its stdin.
        """
        mail, mailing = os.pipe()
        until, held = os.pipe()
        with terminal() as (master, slave), os.fdopen(held, "wb"):
            os.write(mailing, b"mail\n")
            os.close(mailing)
            process = start(
                *(how, str(mail), str(until), "env", option, *COMMAND, *words),
                command=(*ON_TERMINAL[:2], sys.executable, "-c", BACKGROUND),
                stdin=slave,
                session=False,
                pass_fds=(mail, until),
            )
            os.close(until)
            guard = threading.Timer(PATIENCE, kill, [process])
            guard.start()
            try:
                yield process, master, mail
            finally:
                guard.cancel()
                os.close(mail)

    def test_orphaned(self) -> None:
        """
        The command fails if it is in an orphaned process group, with SIGTTIN and
        SIGTTOU at their default or ignored; it does not read stdin.
        """
        encrypted = str(certificates.shared().encrypted_client)

        def check(option: str) -> None:
            with self.started(
                "orphaned", "-n", encrypted, "--tls", "127.0.0.1", "1", option=option
            ) as (process, _, mail):
                assert process.stderr is not None
                said = process.stderr.readline().decode()
                self.assertIn("no terminal to ask for the passphrase", said)
                self.assertIn("(/dev/tty: input/output error)", said)
                self.assertEqual(os.read(mail, 100), b"mail\n")
            self.assertEqual(finish(process, None).err, "")

        for option in ("--default-signal", "--ignore-signal=TTOU,TTIN"):
            check(option)

    def test_job_control(self) -> None:
        """
        A background job is stopped by SIGTTOU, and asks for the passphrase when it is
        continued in the foreground.
        """
        shared = certificates.shared()

        def demand(peer: Peer) -> bytes:
            peer.secure(server_context(client_ca=shared.ca))
            data = peer.rest()
            peer.finish()
            return data

        key = ("-n", str(shared.encrypted_client), *trusting())
        with (
            serving(demand) as server,
            self.started("stopped", *key, *server.arguments) as (process, master, _),
        ):
            assert process.stdout is not None
            stopped = process.stdout.readline()
            self.assertEqual(stopped, b"stopped %d\n" % signal.SIGTTOU)
            asked = b""
            while not asked.endswith(b": "):
                self.assertTrue(select.select([master], [], [], PATIENCE)[0], asked)
                asked += os.read(master, 4096)
            os.write(master, shared.passphrase.encode() + b"\n")
            self.assertEqual(finish(process, None), Outcome(0, b"", ""))
            self.assertEqual(server.result(), b"mail\n")


# The clock.

#: Runs the command with a time.time() that moves by hours with each call.
RESTLESS = """
import sys, time
step, said = float(sys.argv[1]), time.time()
def restless():
    global said
    said += step
    return said
time.time = restless
from twisted_tcpclient.__main__ import main
del sys.argv[1]
sys.exit(main())
"""


class ClockTests(SynchronousTestCase):
    """A system clock that is set by hours, again and again."""

    def restless(self, check: Callable[[tuple[str, ...]], object]) -> None:
        """
        Call `check` for a clock that is set forward, and for one that is set back.
        """
        steps = ("3600", "-3600")
        commands = {s: (sys.executable, "-c", RESTLESS, s) for s in steps}
        together({s: functools.partial(check, c) for s, c in commands.items()})

    def test_idle(self) -> None:
        """The seconds of -a end a session in which no byte moves."""

        def check(command: tuple[str, ...]) -> None:
            with TLS.serve(Peer.gone) as server:
                words = ("-a", "1", *server.arguments)
                outcome = run(*words, command=command, data=None)
            self.assertEqual(outcome.status, 111)
            self.assertIn("timed out: nothing was sent", outcome.complaint())

        self.restless(check)

    def test_steady_traffic(self) -> None:
        """
        A session with steady traffic is not ended by the clock, and the server is told
        of EOF.
        """

        def talk(peer: Peer) -> bytes:
            for _ in range(20):
                peer.send(b"ping\n")
                assert peer.line() == b"pong\n"
            # The command sends close_notify or FIN when the server has been quiet for a
            # while.
            rest = peer.rest()
            peer.finish()
            return rest

        def check(command: tuple[str, ...]) -> None:
            for kind in KINDS:
                with kind.serve(talk) as server:
                    data = b"pong\n" * 20
                    outcome = run(*server.arguments, command=command, data=data)
                    self.assertEqual(outcome, Outcome(0, b"ping\n" * 20, ""))
                    self.assertEqual(server.result(), b"")

        self.restless(check)


# The locale.


class LocaleTests(SynchronousTestCase):
    """
    Prog's LC_CTYPE without /proc; with /proc, the environment of prog is tested by
    `tests.torture.test_processes.SurroundingsTests`.
    """

    #: All but the last two make Python set LC_CTYPE (PEP 538).
    GIVEN: tuple[dict[str, str], ...] = (
        {},
        {"LC_CTYPE": "C"},
        {"LANG": "xx_YY.none", "LC_CTYPE": "POSIX"},
        {"LC_CTYPE": "C.UTF-8"},
        {"LC_ALL": "C", "LC_CTYPE": "C.UTF-8"},
    )
    MEANS_C = (None, "", "C", "POSIX", "xx_YY.none")

    def test_guessed(self) -> None:
        """Without /proc, prog finds a value of LC_CTYPE that means the same."""
        command = (*bare("/proc"), *COMMAND)

        def check(given: dict[str, str]) -> None:
            with TLS.serve(greet) as server:
                words = (*QUICK, *server.arguments, "env")
                outcome = run(*words, command=command, env=environment(**given))
            self.assertEqual((outcome.status, outcome.err), (0, ""))
            lines = outcome.out.decode().splitlines()
            pairs = dict(line.split("=", 1) for line in lines if "=" in line)
            found = {k: v for k, v in pairs.items() if k.startswith(("LC_", "LANG"))}
            if given.get("LC_CTYPE") in self.MEANS_C:
                self.assertIn(found.pop("LC_CTYPE", None), self.MEANS_C)
                given = {k: v for k, v in given.items() if k != "LC_CTYPE"}
            self.assertEqual(found, given)

        together({str(each): functools.partial(check, each) for each in self.GIVEN})

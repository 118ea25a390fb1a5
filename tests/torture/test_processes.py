"""Signals, unusual descriptors, resource limits, users, environments and arguments."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import signal
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from tests import certificates, servers
from tests.command import (
    COMMAND,
    ON_TERMINAL,
    PATIENCE,
    ROOT,
    STARTTLS,
    TCP,
    TLS,
    Kind,
    Outcome,
    Peer,
    environment,
    every,
    finish,
    run,
    run_in,
    serving,
    start,
    terminal,
    together,
    trusting,
)
from tests.nursery import Nursery
from tests.test_client_mode import MIB, noise
from tests.test_command import mute
from tests.test_many import (
    EchoServer,
    LeavingNothing,
    Pinger,
    connections,
)
from tests.test_prog import QUICK, python, sh, state, until
from tests.torture import share
from tests.torture.paths import Place
from tests.torture.resolvers import Answers, Question, resolver
from twisted_tcpclient.command.inheritance import inherited
from twisted_tcpclient.command.options import Options
from twisted_tcpclient.command.session import Session

reactor: Any = global_reactor

#: A prog that copies the connection to stdout.
PROG = sh("cat <&6")


@functools.cache
def _island() -> Place:
    """Return a place with a loopback only, where host names come from DNS."""
    island = Place()
    hosts, switch = "127.0.0.1 localhost\n", "hosts: files dns\n"
    resolv = "nameserver 127.0.0.1\noptions timeout:1 attempts:30\n"
    island.cover(hosts=hosts, nsswitch_conf=switch, resolv_conf=resolv)
    return island


def gone(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether no process of the process group exists any more."""
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return True
    return False


class Stage:
    """A moment in a session at which the server waits until the test lets it go on."""

    def __init__(self) -> None:
        """Make the events; the session has not reached the stage yet."""
        self.reached = threading.Event()
        self.go = threading.Event()

    def wait(self) -> None:
        """Wait until the test sets `go`."""
        self.reached.set()
        self.go.wait(PATIENCE)

    def finish(self, peer: Peer) -> None:
        """Wait until the test sets `go`, then end the session in order."""
        self.wait()
        peer.send(b"end\n")
        peer.finish()


Started = Iterator[subprocess.Popen[bytes]]


#: All tests share one name server on the island.
_asking = threading.Lock()


@contextlib.contextmanager
def looking(stage: Stage, *prog: str) -> Started:
    """Start a session that waits for the look-up of its host."""

    def late(question: Question) -> list[bytes]:
        stage.reached.set()
        return [question.address()] if stage.go.is_set() else []

    def greet(peer: Peer) -> None:
        peer.send(b"end\n")
        peer.finish()

    island = _island()
    behaviours: dict[str, Answers] = {"late": late}
    with (
        _asking,
        resolver(island, behaviours),
        island.serving(greet, "127.0.0.1") as server,
    ):
        arguments = (*QUICK, "late.example.test", server.arguments[1], *prog)
        yield island.call(start, *arguments)


@contextlib.contextmanager
def connecting(stage: Stage, *prog: str) -> Started:
    """Start a session that waits for the answer to its connect."""
    with mute() as port:
        process = start("-v", *QUICK, "127.0.0.1", port, *prog)
        assert process.stderr is not None
        while b"trying" not in process.stderr.readline():
            pass
        stage.reached.set()
        yield process


def _stage(
    script: Callable[[Stage, Peer], object], *options: str
) -> Callable[..., contextlib.AbstractContextManager[subprocess.Popen[bytes]]]:
    """
    Return a context manager that starts a session whose server reaches this stage.
    """

    @contextlib.contextmanager
    def lead(stage: Stage, *prog: str) -> Started:
        words = (*QUICK, *options, *(trusting() if options else ()))
        with serving(functools.partial(script, stage), *words) as server:
            yield start(*server.arguments, *prog)
            # The script may fail: the client has closed the connection if a signal
            # ended it.
            stage.go.set()
            with contextlib.suppress(OSError):
                server.result()

    return lead


def _greeting(stage: Stage, peer: Peer) -> None:
    stage.wait()
    STARTTLS.prepare(peer)
    stage.finish(peer)


def _asked(stage: Stage, peer: Peer) -> None:
    peer.send(b"220 mail.example.test ESMTP\r\n")
    peer.line()
    stage.wait()
    peer.send(b"250-mail.example.test\r\n250 STARTTLS\r\n")
    peer.line()
    peer.send(b"220 go ahead\r\n")
    peer.secure()
    stage.finish(peer)


def _handshake(stage: Stage, peer: Peer) -> None:
    stage.wait()
    peer.secure()
    stage.finish(peer)


def _relaying(kind: Kind) -> Callable[[Stage, Peer], None]:
    def script(stage: Stage, peer: Peer) -> None:
        kind.prepare(peer)
        # The client has answered, so it relays.
        peer.send(b"begin\n")
        peer.line()
        stage.finish(peer)

    return script


STAGES: dict[str, Callable[..., Any]] = {
    "look-up": looking,
    "connect": connecting,
    "greeting": _stage(_greeting, "-s", "smtp"),
    "STARTTLS": _stage(_asked, "-s", "smtp"),
    "handshake": _stage(_handshake, "--tls"),
    "relaying": _stage(_relaying(TCP)),
    "relaying TLS": _stage(_relaying(TLS), "--tls"),
}

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class SignalTests(SynchronousTestCase):
    """Signals at every stage of a session."""

    def setUp(self) -> None:
        """
        Make the island now, since `functools.cache` does not keep two threads from
        making two.
        """
        _island()

    def reach(self, stage: Stage, name: str, process: subprocess.Popen[bytes]) -> bytes:
        """Wait until a session has reached the stage; return its output."""
        printed = b""
        if name.startswith("relaying"):
            assert process.stdin is not None and process.stdout is not None
            printed = process.stdout.readline()
            process.stdin.write(b"x\n")
            process.stdin.flush()
        self.assertTrue(stage.reached.wait(PATIENCE))
        return printed

    def test_terminated(self) -> None:
        """
        TERM, INT and HUP end the command at each stage with status 128+n, without a
        message, and no process is left.
        """

        def check(name: str, number: signal.Signals, prog: tuple[str, ...]) -> None:
            stage = Stage()
            with STAGES[name](stage, *prog) as process:
                self.reach(stage, name, process)
                process.send_signal(number)
                outcome = finish(process, None)
                self.assertEqual(outcome, Outcome(128 + number, b"", ""))
                self.assertTrue(gone(process))

        together(
            {
                f"{name} {number.name} {bool(prog)}": functools.partial(
                    check, name, number, prog
                )
                for name in STAGES
                for number in ENDING[: share(1, 3)]
                for prog in ((), ("echo", "prog"))[: share(1, 2)]
                # test_faults.Fault06 sends signals while prog runs.
                if not (prog and name.startswith("relaying"))
            }
        )

    def test_interrupted(self) -> None:
        """STOP and CONT, or PIPE, at any stage do not disturb the session."""

        def check(name: str) -> None:
            stage = Stage()
            with STAGES[name](stage) as process:
                printed = self.reach(stage, name, process)
                process.send_signal(signal.SIGSTOP)
                until(process.pid, "T")
                process.send_signal(signal.SIGPIPE)
                process.send_signal(signal.SIGCONT)
                servers.eventually(
                    lambda: state(process.pid) != "T", "the process to continue"
                )
                stage.go.set()
                outcome = finish(process, None)
                self.assertEqual(
                    (outcome.status, printed + outcome.out, outcome.err),
                    (0, printed + b"end\n", ""),
                )

        # A connection attempt without an answer takes too long to succeed afterwards.
        together({n: functools.partial(check, n) for n in STAGES if n != "connect"})

    def test_many_at_once(self) -> None:
        """
        If many signals arrive at once, one of them decides the status, without a
        message.
        """

        def check(numbers: tuple[signal.Signals, ...]) -> None:
            stage = Stage()
            with STAGES["relaying"](stage) as process:
                self.reach(stage, "relaying", process)
                # Signals sent to a stopped process are delivered together when it
                # continues.
                process.send_signal(signal.SIGSTOP)
                until(process.pid, "T")
                for number in numbers:
                    process.send_signal(number)
                process.send_signal(signal.SIGCONT)
                outcome = finish(process, None)
                self.assertIn(outcome.status, [128 + number for number in numbers])
                self.assertEqual((outcome.out, outcome.err), (b"", ""))

        check((*ENDING, signal.SIGTSTP, signal.SIGPIPE))

    def test_passphrase(self) -> None:
        """
        A signal or Ctrl-C at the passphrase prompt ends the command, and the terminal
        echoes again.
        """
        encrypted = str(certificates.shared().encrypted_client)

        def check(number: signal.Signals | None) -> None:
            with terminal() as (master, slave), serving(Peer.gone) as server:
                before = termios.tcgetattr(slave)
                process = start(
                    *("-n", encrypted, *trusting(), *server.arguments),
                    command=ON_TERMINAL,
                    stdin=slave,
                    session=False,
                )
                asked = b""
                while b"passphrase" not in asked:
                    asked += os.read(master, 4096)
                if number is None:
                    os.write(master, b"\x03")
                else:
                    process.send_signal(number)
                outcome = finish(process)
                ended = -(number or signal.SIGINT)
                self.assertEqual(outcome, Outcome(ended, b"", ""))
                self.assertEqual(termios.tcgetattr(slave), before)

        together(
            {
                str(number): functools.partial(check, number)
                for number in (None, *ENDING)
            }
        )


class DescriptorTests(SynchronousTestCase):
    """
    Standard descriptors that are full, non-blocking, or open for the wrong direction,
    and all of them closed.
    """

    BAD, FULL = "bad file descriptor", "no space left on device"

    #: The redirections of the shell, and the text of the error; "" if there is none.
    INPUTS = {
        "<>/dev/null": "",
        "0>/dev/null": f"unable to read standard input: {BAD}",
    }
    OUTPUTS = {
        ">>/dev/full": f"unable to write standard output: {FULL}",
        "1<>/dev/full": f"unable to write standard output: {FULL}",
        "1</dev/null": f"unable to write standard output: {BAD}",
    }

    def session(self, kind: Kind, line: str) -> Outcome:
        """Run a session with these redirections."""

        def talk(peer: Peer) -> None:
            peer.send(b"hello\n")
            peer.leave()

        with kind.serve(talk) as server:
            command = ("/bin/sh", "-c", f'"$@" {line}', "sh", *COMMAND)
            return run(*server.arguments, command=command)

    def check(self, kind: Kind, line: str, words: str) -> None:
        """Check that the session is whole, or that it fails with this message."""
        outcome = self.session(kind, line)
        if words:
            self.assertEqual((outcome.status, outcome.out), (111, b""))
            self.assertEqual(outcome.complaint(), words)
        else:
            self.assertEqual(outcome, Outcome(0, b"hello\n", ""))

    def test_unusable(self) -> None:
        """If stdin cannot be read or stdout cannot be written, the error names it."""
        lines = self.INPUTS | self.OUTPUTS
        together(
            {
                f"{kind.name} {line}": functools.partial(self.check, kind, line, words)
                for kind in (TCP, TLS)[: share(1, 2)]
                for line, words in lines.items()
            }
        )

    def test_unusable_stderr(self) -> None:
        """Without a usable stderr the session and its exit status are the same."""

        def check(line: str) -> None:
            outcome = self.session(TCP, line)
            self.assertEqual(outcome, Outcome(0, b"hello\n", ""))
            outcome = self.session(TCP, f"{line} >/dev/full")
            self.assertEqual((outcome.status, outcome.err), (111, ""))

        lines = ("2>&-", "2>/dev/full", "2</dev/null")
        together({line: functools.partial(check, line) for line in lines})

    def test_all_closed(self) -> None:
        """
        If stdin, stdout and stderr are closed, prog has the connection on 6 and 7, and
        no other descriptor.
        """
        look = python(
            "import os; os.write(7, b' '.join(sorted(b'%d' % int(fd) for fd in"
            " os.listdir('/proc/self/fd'))))"
        )

        def talk(peer: Peer) -> bytes:
            said = peer.rest() if not secure else peer.line()
            peer.finish()
            return said

        for kind in (TCP, TLS):
            secure = kind.secure
            with kind.serve(talk) as server:
                line = '"$@" <&- >&- 2>&-'
                command = ("/bin/sh", "-c", line, "sh", *COMMAND)
                outcome = run(*QUICK, *server.arguments, *look, command=command)
                self.assertEqual(outcome, Outcome(0, b"", ""))
                # Descriptor 0 is that of listdir; it shows that the shell had closed 0.
                self.assertEqual(server.result(), b"0 6 7")

    def test_non_blocking(self) -> None:
        """Non-blocking standard descriptors work, and stay non-blocking."""
        data = noise(MIB)

        def check(kind: Kind) -> None:
            def echo(peer: Peer) -> None:
                peer.send(peer.exactly(len(data)))
                peer.finish()

            ours, theirs = socket.socketpair()
            with ours, theirs, kind.serve(echo) as server:
                theirs.setblocking(False)
                process = start(*server.arguments, stdin=theirs, stdout=theirs)
                sending = threading.Thread(target=ours.sendall, args=(data,))
                sending.start()
                received = bytearray()
                while len(received) < len(data):
                    received += ours.recv(65536)
                sending.join()
                self.assertEqual(finish(process).status, 0)
                self.assertEqual(bytes(received), data)
                self.assertFalse(theirs.getblocking())
                self.assertFalse(os.get_blocking(theirs.fileno()))

        every(check, TCP, TLS)


class ProgTests(SynchronousTestCase):
    """What prog does with its descriptors, and when it exits."""

    def test_closes(self) -> None:
        """Prog may close 6 and 7 and continue; its status is returned."""

        def leave(peer: Peer) -> None:
            with contextlib.suppress(OSError):
                peer.send(b"hello\n")
            peer.leave()

        with TLS.serve(leave) as server:
            prog = sh("exec 6<&- 7>&-; read go; exit 5")
            outcome = run(*QUICK, *server.arguments, *prog, data=b"go\n")
        self.assertEqual(outcome, Outcome(5, b"", ""))

    def test_ends_early(self) -> None:
        """
        If prog exits before it has read or written, the command returns its status.
        """

        def pour(peer: Peer) -> None:
            with contextlib.suppress(Exception):
                peer.send(noise(MIB))
            peer.gone()

        with TLS.serve(pour) as server:
            outcome = run(*QUICK, *server.arguments, *sh("exit 4"))
        self.assertEqual((outcome.status, outcome.out), (4, b""))


#: Return the command under limits of prlimit(1).
def _limited(*words: str) -> tuple[str, ...]:
    return ("prlimit", *words, "--", *COMMAND)


def _as_user(user: int) -> tuple[str, ...]:
    """Return a command prefix: a user who may read all files and write none."""
    # Python may be in a directory that only root can read.
    read = "dac_read_search"
    return (
        *("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"),
        *(f"--inh-caps=+{read}", f"--ambient-caps=+{read}"),
        # Measuring coverage would write a file.
        *("env", "-u", "COVERAGE_PROCESS_CONFIG", "-u", "COVERAGE_PROCESS_START"),
    )


class LimitTests(SynchronousTestCase):
    """Resource limits: the session is whole, or ends with status 111 and one line."""

    def setUp(self) -> None:
        """
        Make the island now, since `functools.cache` does not keep two threads from
        making two.
        """
        _island()

    def limited(self, kind: Kind, limit: str, *prog: str, host: str = "") -> Outcome:
        """Run a session under a limit."""

        def talk(peer: Peer) -> None:
            peer.send(b"hello\n" * 1000)
            peer.finish()

        with kind.serve(talk) as server:
            *options, address, port = server.arguments
            words = (*QUICK, *options, host or address, port, *prog)
            return run(*words, command=_limited(limit))

    def whole_or_told(self, outcome: Outcome) -> bool:
        """
        Check that the session is whole, or failed with one line; return True if whole.
        """
        if outcome.status == 0:
            self.assertEqual(outcome, Outcome(0, b"hello\n" * 1000, ""))
            return True
        self.assertEqual((outcome.status, outcome.out), (111, b""))
        self.assertTrue(outcome.complaint())
        return False

    def test_descriptors(self) -> None:
        """
        If there are too few descriptors, the command says so and delivers no bytes.
        """
        ways: tuple[tuple[Kind, tuple[str, ...], str], ...] = (
            (TLS, PROG, ""),
            (TCP, (), "localhost"),
            (TCP, PROG, ""),
            (TLS, (), ""),
            (TCP, (), ""),
        )[: share(2, 5)]
        whole: dict[int, set[bool]] = {}

        def check(number: int, way: tuple[Kind, tuple[str, ...], str]) -> None:
            kind, prog, host = way
            outcome = self.limited(kind, f"--nofile={number}", *prog, host=host)
            whole.setdefault(number, set()).add(self.whole_or_told(outcome))
            if outcome.status:
                self.assertIn("too many open files", outcome.complaint())

        # Python itself needs some descriptors to start.
        numbers = range(8, 24, share(5, 1))
        together(
            {
                f"{number} {way}": functools.partial(check, number, way)
                for number in numbers
                for way in ways
            }
        )
        self.assertEqual(whole[numbers[0]], {False})
        self.assertEqual(whole[numbers[-1]], {True})

    def test_output(self) -> None:
        """
        A file that exceeds its size limit and a full disk are reported as write errors.
        """

        def talk(peer: Peer) -> None:
            with contextlib.suppress(Exception):
                peer.send(down)
            peer.gone()

        down = noise(4 * MIB)
        island = _island()
        disk = servers.make_directory("disk")
        island.tool("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk))

        def check(kind: Kind, name: str, command: tuple[str, ...], words: str) -> None:
            output: Any = island.call(open, disk / name, "wb+")
            with output, kind.serve(talk) as server:
                outcome = run(*server.arguments, command=command, stdout=output)
                self.assertEqual(outcome.status, 111)
                complaint = f"unable to write standard output: {words}"
                self.assertEqual(outcome.complaint(), complaint)
                output.seek(0)
                self.assertTrue(down.startswith(output.read()))

        for kind in (TCP, TLS):
            # Coverage writes a file of about 100 kB on the disk too.
            check(kind, "grown", _limited(f"--fsize={MIB}"), "file too large")
            check(kind, "disk", COMMAND, "no space left on device")
            island.tool("rm", str(disk / "grown"), str(disk / "disk"))

    def test_processes(self) -> None:
        """
        If processes or threads cannot be created, the session fails with one line.
        """

        def check(number: int, prog: tuple[str, ...], host: str) -> bool:
            # RLIMIT_NPROC counts the processes of a user, so each run has a user of its
            # own.
            user = _as_user(54000 + number * 10 + len(prog) * 2 + bool(host))
            command = ("prlimit", f"--nproc={number}", "--", *user, *COMMAND)

            def talk(peer: Peer) -> None:
                with contextlib.suppress(Exception):
                    peer.secure()
                    peer.send(b"hello\n" * 1000)
                peer.finish()

            words = ("--tls", *trusting(), "-m", "localhost", "-4")
            with serving(talk, *QUICK, *words) as server:
                *options, address, port = server.arguments
                arguments = (*options, host or address, port, *prog)
                return self.whole_or_told(run(*arguments, command=command))

        def least(prog: tuple[str, ...], host: str) -> None:
            numbers = range(1, 5, share(3, 1))
            found = [check(number, prog, host) for number in numbers]
            # One process is enough without a look-up and prog; four are enough for
            # both.
            self.assertEqual((found[0], found[-1]), (not (prog or host), True))

        together(
            {
                "alone": lambda: least((), ""),
                "name": lambda: least((), "localhost"),
                "prog": lambda: least(("cat", "/dev/fd/6"), ""),
            }
        )

    def test_memory(self) -> None:
        """
        If there is no memory for a thread, the look-up fails; sessions without threads
        succeed.
        """
        # The program loads all modules, then limits its memory to less than a thread's
        # stack.
        code = """
import resource, sys
from twisted_tcpclient import endpoints, tls
from twisted_tcpclient.command import console
from twisted_tcpclient.names import resolver, reverse
from twisted_tcpclient.stages import handshake, negotiation
from twisted_tcpclient.tls import creator
from twisted.internet import reactor
from twisted_tcpclient.__main__ import main
for line in open("/proc/self/status"):
    if line.startswith("VmSize:"):
        size = int(line.split()[1]) * 1024 + 6 * 2**20
_, most = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (size, most))
sys.exit(main())
"""
        command = (sys.executable, "-c", code)

        def talk(peer: Peer) -> None:
            peer.send(b"hello\n")
            peer.finish()

        reason = "resource temporarily unavailable"
        with TCP.serve(talk) as server:
            port = server.arguments[-1]
            outcome = run(*QUICK, "localhost", port, command=command)
            self.assertEqual((outcome.status, outcome.out), (111, b""))
            words = "temporarily unable to figure out IP address for localhost"
            self.assertEqual(outcome.complaint(), f"{words}: {reason}")
            # An IP address needs no thread.
            outcome = run(*QUICK, *server.arguments, command=command)
            self.assertEqual(outcome, Outcome(0, b"hello\n", ""))
        with TLS.serve(talk) as server:
            prog = ("cat", "/dev/fd/6")
            outcome = run(*QUICK, *server.arguments, *prog, command=command)
            self.assertEqual(outcome, Outcome(0, b"hello\n", ""))

    def test_loading(self) -> None:
        """
        An error while the program is loaded is reported in one line, with status 111.
        """
        # Under a real limit the module that fails depends on the machine, so one is
        # made to fail.
        code = """
import builtins, sys
kind, words = {"memory": (MemoryError, ""), "python": (SystemError, "x"),
    "file": (OSError, "gone"), "module": (ImportError, "failed to map")}[sys.argv[1]]
sys.argv[1:2] = []
real = builtins.__import__
def failing(name, *rest):
    if name == "twisted_tcpclient.command.options":
        raise kind(24, "Too many open files") if kind is OSError else kind(words)
    return real(name, *rest)
builtins.__import__ = failing
from twisted_tcpclient.__main__ import main
sys.exit(main())
"""
        expected = {
            "memory": "out of memory",
            "python": "out of memory",
            "file": "too many open files",
            "module": "failed to map",
        }

        def check(what: str) -> None:
            outcome = run("0", "1", command=(sys.executable, "-c", code, what))
            self.assertEqual((outcome.status, outcome.out), (111, b""))
            self.assertEqual(outcome.complaint(), expected[what])

        together({what: functools.partial(check, what) for what in expected})
        # With stderr closed, the exit status is the only report.
        command = ("/bin/sh", "-c", '"$@" 2>&-', "sh", sys.executable, "-c", code)
        outcome = run("file", "0", "1", command=command)
        self.assertEqual(outcome, Outcome(111, b"", ""))


class SurroundingsTests(SynchronousTestCase):
    """Users, environments and arguments of any kind."""

    def test_other_user(self) -> None:
        """
        A user without a name, home directory and terminal can run all kinds of
        sessions.
        """
        command = (*_as_user(54321), *COMMAND)

        def talk(peer: Peer) -> None:
            peer.send(b"hello\n")
            peer.finish()

        def check(kind: Kind, prog: tuple[str, ...]) -> None:
            env = environment(HOME="/nonexistent")
            with kind.serve(talk) as server:
                words = (*QUICK, *server.arguments, *prog)
                outcome = run(*words, command=command, env=env)
            self.assertEqual(outcome, Outcome(0, b"hello\n", ""))

        together(
            {
                f"{kind.name} {prog}": functools.partial(check, kind, prog)
                for kind in (TCP, STARTTLS)
                for prog in ((), PROG)
            }
        )

    #: A prog that prints its environment and its arguments.
    SHOW = ("/bin/sh", "-c", '/bin/cat /proc/$$/environ; printf "%s\\0" "$@"', "sh")

    def shown(self, kind: Kind, env: dict[bytes, bytes], *words: bytes) -> Outcome:
        """Run a session with this environment; return what prog prints."""

        def talk(peer: Peer) -> None:
            peer.send(b"hello\n")
            peer.leave()

        with kind.serve(talk) as server:
            show = (*QUICK, *server.arguments, *self.SHOW)
            arguments = [*map(os.fsencode, (*COMMAND, *show)), *words]
            process = subprocess.Popen(
                arguments,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=ROOT,
                start_new_session=True,
            )
            return finish(process, None)

    ENVIRONMENTS: dict[str, dict[bytes, bytes]] = {
        "empty": {},
        "huge": {b"V%d" % number: b"x" * 100_000 for number in range(12)},
        "many": {b"V%d" % number: b"" for number in range(20_000)},
        "not UTF-8": {b"\xff\xfe": b"\x80\x81", b"LANG": b"C.UTF-8"},
        "POSIX": {b"\xc3\xa4": b"\xc3\xa4\xff", b"LC_ALL": b"POSIX"},
        "no locale": {b"LC_ALL": b"\xff", b"LANG": b"no_SUCH.locale"},
        "control": {b"A\nB": b"\x1b[31m\n", b" ": b"\x7f", b"LANG": b"C"},
        "no PATH": {b"PATH": b""},
        # Python sets LC_CTYPE to C.UTF-8 in these (PEP 538).
        "C": {b"LC_CTYPE": b"C"},
        "no LC_CTYPE": {b"LC_CTYPE": b""},
        "unknown": {b"LANG": b"xx_YY.none", b"LC_CTYPE": b"POSIX"},
        "odd": {b"PYTHONIOENCODING": b"ascii", b"TZ": b"\xff", b"HOME": b"\xff"},
    }

    def test_environment(self) -> None:
        """Prog inherits each variable of the command, byte by byte."""

        def check(kind: Kind, name: str) -> None:
            env = self.ENVIRONMENTS[name]
            outcome = self.shown(kind, env)
            self.assertEqual((outcome.status, outcome.err), (0, ""))
            pairs = [each.partition(b"=") for each in outcome.out.split(b"\0") if each]
            found = {key: value for key, _, value in pairs}
            self.assertEqual({k: found.get(k) for k in env}, env)
            # The command has set all other variables.
            more = {key for key in found if key not in env}
            known = (b"PROTO", b"TCP", b"SSL_")
            self.assertEqual([key for key in more if not key.startswith(known)], [])

        together(
            {
                f"{kind.name} {name}": functools.partial(check, kind, name)
                for kind in (TCP, TLS)[: share(1, 2)]
                for name in self.ENVIRONMENTS
            }
        )

    def test_full_environment(self) -> None:
        """
        If the environment has no room for the variables of UCSPI, prog fails with an
        error.
        """
        # Fill the environment up to the limit of the kernel, within a few bytes.
        most = resource.getrlimit(resource.RLIMIT_STACK)[0] // 4
        size = 100_000
        env = {b"V%02d" % number: b"x" * size for number in range(most // (size + 16))}

        def room(spare: int) -> bool:
            # The same arguments and environment, for a program that does nothing.
            filled = {**env, b"W": b"x" * spare}
            options = (*QUICK, *TLS.options())
            words = [*COMMAND, *options, "127.0.0.1", "12345", *self.SHOW]
            try:
                subprocess.run(words, env=filled, executable="/bin/true")
            except OSError:
                return False
            return True

        # Find the largest possible filling by bisection.
        low, high = 0, size
        while high - low > 8:
            middle = (low + high) // 2
            low, high = (middle, high) if room(middle) else (low, middle)
        # A connection with TLS adds more than 100 bytes.
        outcome = self.shown(TLS, {**env, b"W": b"x" * (low - 100)})
        self.assertEqual((outcome.status, outcome.out), (111, b""))
        self.assertEqual(
            outcome.complaint(), "unable to run /bin/sh: argument list too long"
        )

    def test_arguments(self) -> None:
        """Prog gets its arguments byte by byte."""
        every_byte = bytes(range(1, 256))
        words = (every_byte, b"", b"-s", b"--", b"\xff", b" ", b"a\nb", b"x" * 100_000)

        def check(kind: Kind) -> None:
            env = {b"LC_ALL": b"C.UTF-8"}
            outcome = self.shown(kind, env, *words)
            self.assertEqual((outcome.status, outcome.err), (0, ""))
            self.assertTrue(outcome.out.endswith(b"\0".join((b"", *words, b""))))

        every(check, TCP, TLS)

    #: Options with and without a value.
    LETTERS = "TipIastnCcLmMfhHrRltkQq46dDvez"

    def test_any_arguments(self) -> None:
        """
        Random command lines end with status 0, 100 or 111, and print whole printable
        lines.
        """
        # The island has only a loopback, and no name server runs.
        nursery = Nursery(environment(), _island().call)

        def word(dice: Random) -> str:
            size = dice.choice((0, 1, 2, 5, 30, 300))
            raw = bytes(
                dice.choice((dice.randrange(1, 256), 45, 48)) for _ in range(size)
            )
            usual = dice.choice(("0", "1", "127.0.0.1", "--", "-", "@x", "/x", "smtp"))
            return os.fsdecode(raw) if dice.random() < 0.5 else usual

        def check(seed: int) -> None:
            dice = Random(seed)
            words = []
            for _ in range(dice.randrange(6)):
                letter = dice.choice(self.LETTERS)
                words.append(f"-{letter}{word(dice) if dice.random() < 0.3 else ''}")
                if dice.random() < 0.6:
                    words.append(word(dice))
            # The last time limits count.
            words += ["-T", "1", "-a", "1", "-t", "1"]
            words += [word(dice) for _ in range(dice.randrange(4))]
            outcome = run_in(nursery, *words)
            self.assertIn(outcome.status, (0, 100, 111), words)
            self.assertNotIn("Traceback", outcome.err, words)
            for line in outcome.err.splitlines():
                self.assertTrue(line.startswith("tcpclient: "), (words, line))
                self.assertTrue(line.isascii() and line.isprintable(), (words, line))

        seeds = range(share(60, 3000))
        together({str(s): functools.partial(check, s) for s in seeds})


def threads() -> int:
    """Return the number of threads of this process."""
    return len(os.listdir("/proc/self/task"))


def memory() -> int:
    """Return the resident memory of this process in kB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def unreaped() -> set[int]:
    """Return the ids of the zombie children of this process."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            how, parent, *_ = path.read_text().rpartition(")")[2].split()
            if (how, int(parent)) == ("Z", os.getpid()):
                found.add(int(path.parent.name))
    return found


class SequenceTests(LeavingNothing):
    """Many sessions one after the other in one process."""

    #: The growth of resident memory, in kB, that is not a leak.
    SLACK = 8_000

    @inlineCallbacks
    def test_connections(self) -> Any:
        """
        A thousand connections leave no descriptor, thread, delayed call or memory
        behind.
        """
        server = EchoServer()
        process = reactor.spawnProcess(
            server,
            sys.executable,
            [sys.executable, "-m", "tests.echo_server", str(_server())],
            env=environment(),
        )

        def end() -> Deferred[None]:
            process.signalProcess("KILL")
            return server.ended

        self.addCleanup(end)
        endpoint = connections((yield server.port))

        @inlineCallbacks
        def ping(count: int) -> Any:
            for _ in range(count):
                pinger: Any = yield endpoint.connect(Factory.forProtocol(Pinger))
                yield pinger.echoed
                pinger.transport.loseConnection()
                yield pinger.gone

        # The first connections create objects that are kept.
        yield ping(20)
        self.note()
        before = threads(), memory()
        yield ping(share(100, 1000))
        yield self.settle()
        self.assert_nothing_left()
        self.assertLessEqual(threads(), before[0])
        self.assertLess(memory(), before[1] + self.SLACK)

    @inlineCallbacks
    def test_progs(self) -> Any:
        """
        Sessions with prog leave no descriptor, thread, delayed call, memory or zombie.
        """
        yield from self.sessions(share(30, 1000), "true")

    @inlineCallbacks
    def test_failures(self) -> Any:
        """
        Sessions whose prog is killed leave no descriptor, thread, delayed call, memory
        or zombie.
        """
        yield from self.sessions(share(15, 300), "sh", "-c", "kill -9 $$")

    def sessions(self, count: int, *prog: str) -> Any:
        """Run `count` sessions over TLS, one after the other."""

        def serve(peer: Peer) -> None:
            TLS.prepare(peer)
            peer.leave()

        # Earlier tests may have left threads and zombies.
        idle, others = threads(), unreaped()
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        options = (*QUICK, *TLS.options())
        server = stack.enter_context(serving(serve, *options))

        def session() -> Deferred[int]:
            settings = Options()
            settings.parseOptions([*server.arguments, *prog])
            return Session(reactor, settings.settings, inherited(os.environb)).run()

        for number in range(count):
            if number == 5:
                self.note()
                before = memory()
            status = yield session()
            self.assertEqual(status, 128 + signal.SIGKILL if len(prog) > 1 else 0)
            server.result()
        yield self.settle()
        # A thread of the server may still be closing its socket.
        stack.close()
        servers.eventually(lambda: threads() <= idle, "threads to end")
        self.assertEqual(unreaped() - others, set())
        self.assertEqual(set(reactor.getDelayedCalls()) - self.before[1], set())
        self.assertLess(memory(), before + self.SLACK)


def _server() -> Path:
    return certificates.shared().server

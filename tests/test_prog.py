"""Prog: a program with the connection on 6 and 7, over every kind of connection."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests import servers
from tests.command import (
    COMMAND,
    ON_TERMINAL,
    PATIENCE,
    TCP,
    TLS,
    Kind,
    Outcome,
    Peer,
    every,
    finish,
    peak,
    run,
    serving,
    shell,
    start,
    terminal,
    together,
)
from tests.packages import find_program
from tests.test_client_mode import MIB, SLACK, finishing, noise, running, same

#: No look-ups of names and no ident, whose answers depend on the machine.
QUICK = ("-RHl0",)


def python(code: str) -> tuple[str, ...]:
    """Return the command that runs Python code, without site-packages."""
    return (sys.executable, "-I", "-S", "-c", code)


def sh(code: str) -> tuple[str, ...]:
    """Return the command that runs a line of sh."""
    return ("/bin/sh", "-c", code)


def state(pid: int) -> str:
    """
    Return the one-letter state of a process, or an empty string once it is reaped.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return text.rpartition(")")[2].split()[0]


def until(pid: int, *states: str) -> None:
    """Wait until a process is in one of these states."""
    servers.eventually(lambda: state(pid) in states, f"{pid} to be in {states}")


class DataTests(SynchronousTestCase):
    """Bytes between the server and prog."""

    def test_dialogue(self) -> None:
        """
        Prog reads on 6 what the server sends, and the server receives what prog writes
        to 7.
        """

        def talk(peer: Peer) -> bytes:
            peer.send(b"who is there\n")
            answer = peer.line()
            peer.finish()
            return answer

        def check(kind: Kind) -> None:
            prog = sh('read line <&6; echo "prog, $line" >&7; echo "$line"; exit 4')
            with kind.serve(talk) as server:
                outcome = run(*QUICK, *server.arguments, *prog)
                self.assertEqual(server.result(), b"prog, who is there\n")
            self.assertEqual(outcome, Outcome(4, b"who is there\n", ""))

        every(check)

    def test_standard_descriptors(self) -> None:
        """Prog has the command's stdin, stdout and stderr."""

        def check(kind: Kind) -> None:
            prog = sh("cat; echo error >&2")
            with kind.serve(Peer.leave) as server:
                outcome = run(*QUICK, *server.arguments, *prog, data=b"input\n")
            self.assertEqual(outcome, Outcome(0, b"input\n", "error\n"))

        every(check, TCP, TLS)

    def test_server_writes_first(self) -> None:
        """
        The session is complete if the server sends all its bytes before it reads any.
        """
        up, down = noise(10 * MIB), noise(12 * MIB)

        def rude(peer: Peer) -> bytes:
            peer.send(down)
            return finishing(peer, peer.exactly(len(up)))

        # Prog reads and writes in two processes.
        prog = sh("cat <&6 >&1 & cat >&7; wait")

        with TLS.serve(rude) as server:
            outcome = run(*QUICK, *server.arguments, *prog, data=up)
            self.assertTrue(same(server.result(), up))
        self.assertTrue(same(outcome.out, down), len(outcome.out))
        self.assertEqual((outcome.status, outcome.err), (0, ""))

    def test_prog_stalls(self) -> None:
        """
        The memory of the command does not grow while prog does not read, and all bytes
        arrive later.
        """
        down = noise(24 * MIB)

        stalled, done = threading.Event(), threading.Event()

        def eager(peer: Peer) -> bytes:
            rest = peer.send_until_still(down)
            stalled.set()
            peer.send(rest)
            done.wait(PATIENCE)
            return finishing(peer, rest)

        prog = sh(f"read go; head -c {len(down)} <&6; read go")
        with TLS.serve(eager) as server:
            with running(*QUICK, *server.arguments, *prog) as process:
                assert process.stdin is not None and process.stdout is not None
                idle = peak(process.pid)
                self.assertTrue(stalled.wait(PATIENCE))
                os.write(process.stdin.fileno(), b"go\n")
                received = process.stdout.read(len(down))
                used = peak(process.pid)
                done.set()
                outcome = finish(process, b"go\n")
            self.assertTrue(server.result(), "no backpressure")
        self.assertEqual(outcome, Outcome(0, b"", ""))
        self.assertTrue(same(received, down))
        # At the first look the command may not have loaded OpenSSL yet.
        self.assertLess(used, max(idle, 50) + SLACK)


#: A prog that prints its process id, descriptors and signal masks.
LOOK = """
import fcntl, json, os, signal, socket, stat
fds = [int(fd) for fd in os.listdir("/proc/self/fd")]
def there(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
six, seven = os.fstat(6), os.fstat(7)
status = dict(
    line.split(":", 1) for line in open("/proc/self/status").read().splitlines()
)
print(json.dumps({
    "pid": os.getpid(),
    "fds": sorted(filter(there, fds)),
    "sockets": [stat.S_ISSOCK(s.st_mode) for s in (six, seven)],
    "fifos": [stat.S_ISFIFO(s.st_mode) for s in (six, seven)],
    "same": six.st_ino == seven.st_ino,
    "blocking": [os.get_blocking(6), os.get_blocking(7)],
    "ignored": status["SigIgn"].strip(),
    "blocked": status["SigBlk"].strip(),
}))
"""


class ReplacedTests(SynchronousTestCase):
    """Prog in clear, which replaces the command, and over TLS, where it is a child."""

    def test_process(self) -> None:
        """
        In clear prog has the process id of the command, and the socket on 6 and 7; over
        TLS it has another process id, and pipes on 6 and 7.  Both are in blocking mode,
        and only 0, 1 and 2 are open besides.
        """

        def check(kind: Kind) -> None:
            with kind.serve(Peer.leave) as server:
                process = start(*QUICK, *server.arguments, *python(LOOK))
                outcome = finish(process)
            self.assertEqual((outcome.status, outcome.err), (0, ""))
            found = json.loads(outcome.out)
            self.assertEqual(found["pid"] == process.pid, not kind.secure)
            self.assertEqual(found["fds"], [0, 1, 2, 6, 7])
            self.assertEqual(found["blocking"], [True, True])
            self.assertEqual(found["same"], not kind.secure)
            self.assertEqual(found["sockets"], [not kind.secure] * 2)
            self.assertEqual(found["fifos"], [kind.secure] * 2)

        every(check)

    def test_signals(self) -> None:
        """
        Prog ignores and blocks no signal if the command did not, though Python ignores
        SIGPIPE.
        """

        def check(kind: Kind) -> None:
            # A prog in Python would ignore SIGPIPE itself.
            read = ("grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status")
            with kind.serve(Peer.leave) as server:
                outcome = run(*QUICK, *server.arguments, *read)
            lines = outcome.out.decode().splitlines()
            masks = dict(line.split(":\t") for line in lines)
            # Linux has real-time signals from 32 on; glibc uses 32 and 33 itself.
            found = {name: int(mask, 16) % 2**31 for name, mask in masks.items()}
            self.assertEqual(found, {"SigBlk": 0, "SigIgn": 0})

        every(check, TCP, TLS)

    def test_inherited(self) -> None:
        """A descriptor that the command inherited is open in prog."""

        def check(kind: Kind) -> None:
            with (
                tempfile.NamedTemporaryFile() as file,
                kind.serve(Peer.leave) as server,
            ):
                Path(file.name).write_bytes(b"inherited\n")
                words = " ".join((*QUICK, *server.arguments))
                outcome = shell(f"tcpclient {words} sh -c 'cat <&9' 9<{file.name}")
            self.assertEqual(outcome, Outcome(0, b"inherited\n", ""))

        every(check, TCP, TLS)

    def test_early_data(self) -> None:
        """Prog receives all bytes that the server sent before prog was started."""
        data = noise(100_000)

        def check(kind: Kind) -> None:
            def early(peer: Peer) -> bytes:
                peer.send(data)
                return finishing(peer, b"")

            # The question to ident, which is refused, delays prog.
            with kind.serve(early) as server:
                outcome = run("-Hl0", *server.arguments, *sh("cat <&6"))
            self.assertTrue(same(outcome.out, data))

        every(check, TCP, TLS)


class EndTests(SynchronousTestCase):
    """Ends of sessions with prog: half-close, order of ends, and exit status."""

    def test_half_close_in_clear(self) -> None:
        """In clear prog ends its side with shutdown(2), and receives the reply."""

        def late(peer: Peer) -> bytes:
            question = peer.rest()
            peer.send(b"reply")
            return finishing(peer, question)

        code = """
import socket
s = socket.socket(fileno=7)
s.sendall(b"question")
s.shutdown(socket.SHUT_WR)
print(s.recv(100).decode(), end="")
"""

        with TCP.serve(late) as server:
            outcome = run(*QUICK, *server.arguments, *python(code))
            self.assertEqual(outcome, Outcome(0, b"reply", ""))
            self.assertEqual(server.result(), b"question")

    def test_reads_no_more(self) -> None:
        """If prog closes 6, the server receives everything that prog still writes."""
        data = noise(300_000)

        def listen(peer: Peer) -> bytes:
            peer.send(b"x" * 100_000)
            return finishing(peer, peer.rest())

        with TLS.serve(listen) as server:
            prog = sh("exec 6<&-; cat >&7; exit 2")
            outcome = run(*QUICK, *server.arguments, *prog, data=data)
            self.assertTrue(same(server.result(), data))
        self.assertEqual(outcome, Outcome(2, b"", ""))

    def test_late_server(self) -> None:
        """
        Bytes that prog wrote before it exited arrive though the server reads late.
        """
        data = noise(MIB)

        ended = threading.Event()

        def lazy(peer: Peer) -> bytes:
            peer.send(b"chatter\n")
            ended.wait(PATIENCE)
            return finishing(peer, peer.rest())

        # Pipes and sockets hold less than this, so prog exits when most of it is read.
        prog = sh("cat >&7; exit 2")
        with TLS.serve(lazy) as server:
            process = start(*QUICK, *server.arguments, *prog)
            threading.Thread(target=ended.set).start()
            outcome = finish(process, data)
            self.assertTrue(same(server.result(), data))
        self.assertEqual(outcome, Outcome(2, b"", ""))

    def test_writes_after_the_end(self) -> None:
        """A prog that writes after the server's end is killed by SIGPIPE."""
        with TLS.serve(Peer.finish) as server:
            prog = sh("cat <&6; while echo x; do :; done >&7")
            outcome = run(*QUICK, *server.arguments, *prog)
        self.assertIn(outcome.status, (128 + signal.SIGPIPE, -signal.SIGPIPE))

    def test_failure(self) -> None:
        """
        If TLS is cut short, the command exits with prog's status, or with 111 if that
        is 0.
        """

        def cut(peer: Peer) -> None:
            peer.send(b"hello\n")
            peer.cut()
            peer.gone()

        with TLS.serve(cut) as server:
            for status, expected in ((0, 111), (9, 9)):
                prog = sh(f"cat <&6; exit {status}")
                outcome = run(*QUICK, *server.arguments, *prog)
                self.assertEqual((outcome.status, outcome.out), (expected, b"hello\n"))
                self.assertIn("cut short", outcome.complaint())

    def test_idle(self) -> None:
        """The seconds of -a limit sessions of prog over TLS."""
        with TLS.serve(Peer.gone) as server:
            outcome = run("-a", "1", *QUICK, *server.arguments, *sh("cat <&6"))
        self.assertEqual((outcome.status, outcome.out), (111, b""))
        self.assertIn("timed out", outcome.complaint())


class GrandchildTests(SynchronousTestCase):
    """Children of prog that still have 6 and 7 open when prog has exited."""

    def test_holds_descriptors(self) -> None:
        """
        The command exits when the server has closed, though a grandchild holds 6 and 7
        open.
        """
        with tempfile.TemporaryDirectory() as directory, fifo(directory) as path:
            # The open of the FIFO blocks until `fifo` opens it for writing.
            prog = sh(f"(: <{path}) >/dev/null 2>&1 & exit 6")
            with TLS.serve(Peer.finish) as server:
                outcome = run(*QUICK, *server.arguments, *prog)
        self.assertEqual(outcome, Outcome(6, b"", ""))


@contextlib.contextmanager
def fifo(directory: str) -> Iterator[str]:
    """Make a FIFO, and let its readers go when the block ends."""
    path = f"{directory}/fifo"
    os.mkfifo(path)
    try:
        yield path
    finally:
        # Opening for writing lets readers that wait in open(2) go; closing it is their
        # EOF.
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))


#: Has the signal write to a pipe, which the code reads: Python runs a handler between
#: system calls only, and a signal that comes just before one does not interrupt it.
AWAKE = """
woken, waking = os.pipe()
os.set_blocking(waking, False)
signal.set_wakeup_fd(waking)
"""


class SignalTests(SynchronousTestCase):
    """Signals that the command receives while prog runs."""

    def test_forwarded(self) -> None:
        """SIGTERM, SIGINT and SIGHUP reach prog, which may handle them."""

        def check(name: str) -> None:
            def speak(peer: Peer) -> None:
                peer.send(b"hello\n")
                peer.leave()

            code = f"""
import os, signal
def caught(*_):
    os.write(1, b"{name}\\n")
    os._exit(8)
{AWAKE}
signal.signal(signal.SIG{name}, caught)
os.write(1, os.read(6, 100))
os.read(woken, 1)
"""
            with (
                TLS.serve(speak) as server,
                running(*QUICK, *server.arguments, *python(code)) as process,
            ):
                assert process.stdout is not None
                self.assertEqual(process.stdout.readline(), b"hello\n")
                process.send_signal(signal.Signals[f"SIG{name}"])
                outcome = finish(process)
            self.assertEqual(outcome, Outcome(8, f"{name}\n".encode(), ""))

        together({n: functools.partial(check, n) for n in ("TERM", "INT", "HUP")})

    def test_stopped(self) -> None:
        """
        SIGTSTP stops prog and the command, SIGCONT continues both, and the session is
        complete.
        """
        prog = sh("echo $$; cat <&6")
        awake = threading.Event()

        def patient(peer: Peer) -> bytes:
            awake.wait(PATIENCE)
            peer.send(b"hello\n")
            return finishing(peer, b"")

        with (
            TLS.serve(patient) as server,
            running(
                *QUICK, *server.arguments, *prog, command=GROUPED, session=False
            ) as process,
        ):
            assert process.stdout is not None
            child = int(process.stdout.readline())
            process.send_signal(signal.SIGTSTP)
            until(process.pid, "T")
            until(child, "T")
            process.send_signal(signal.SIGCONT)
            servers.eventually(lambda: state(child) != "T", "prog to continue")
            servers.eventually(
                lambda: state(process.pid) != "T", "the command to continue"
            )
            awake.set()
            outcome = finish(process)
        self.assertEqual(outcome, Outcome(0, b"hello\n", ""))

    def test_ctrl_c(self) -> None:
        """Ctrl-C reaches prog once: the command does not send a second SIGINT."""
        code = f"""
import os, select, signal
count = 0
def note(*_):
    global count
    count += 1
    os.write(1, b"%d\\n" % count)
{AWAKE}
signal.signal(signal.SIGINT, note)
os.write(1, b"ready\\n")
while True:
    ready, _, _ = select.select([6, woken], [], [])
    if woken in ready:
        os.read(woken, 100)
    if 6 in ready:
        if not os.read(6, 1):
            break
        os.write(7, b"pong\\n")
"""

        settled = threading.Event()

        def talk(peer: Peer) -> None:
            settled.wait(PATIENCE)
            # A byte that the command relays comes after its handling of the signal.
            for _ in range(3):
                peer.send(b"x")
                peer.line()
            peer.finish()

        with terminal() as (master, slave), TLS.serve(talk) as server:
            process = start(
                *QUICK,
                *server.arguments,
                *python(code),
                command=ON_TERMINAL,
                stdin=slave,
                session=False,
            )
            assert process.stdout is not None
            self.assertEqual(process.stdout.readline(), b"ready\n")
            # Two pending SIGINT would be delivered as one, so the command is stopped
            # meanwhile.
            process.send_signal(signal.SIGSTOP)
            until(process.pid, "T")
            os.write(master, b"\x03")
            self.assertEqual(process.stdout.readline(), b"1\n")
            process.send_signal(signal.SIGCONT)
            settled.set()
            self.assertEqual(finish(process), Outcome(0, b"", ""))


#: Runs the command in a process group of its own, but in the session of the tests.
GROUPED = (
    sys.executable,
    "-I",
    "-S",
    "-c",
    "import os, sys; os.setpgid(0, 0); os.execv(sys.argv[1], sys.argv[1:])",
    *COMMAND,
)


class ToolTests(SynchronousTestCase):
    """Sessions with programs of ucspi-tcp and ucspi-unix."""

    def test_tcpserver(self) -> None:
        """Prog exchanges data with a program that tcpserver runs."""
        echo = servers.tcpserver("cat")
        prog = sh("echo ping >&7; read line <&6; echo $line")
        outcome = run(*QUICK, echo.host, str(echo.port), *prog)
        self.assertEqual(outcome, Outcome(0, b"ping\n", ""))

    def test_unixserver(self) -> None:
        """Prog exchanges data with a program that unixserver runs."""
        echo = servers.unixserver("cat")
        prog = sh("echo ping >&7; read line <&6; echo $line")
        outcome = run(*QUICK, str(echo.path), *prog)
        self.assertEqual(outcome, Outcome(0, b"ping\n", ""))

    def test_mconnect(self) -> None:
        """Djb's mconnect-io works as prog; it ends each line of stdin with CRLF."""
        program = find_program("mconnect-io", "ucspi-tcp")

        def greet(peer: Peer) -> bytes:
            peer.send(b"220 ready\r\n")
            line = peer.line()
            peer.finish()
            return line

        with serving(greet) as server:
            outcome = run(*QUICK, *server.arguments, program, data=b"QUIT\n")
            self.assertEqual(server.result(), b"QUIT\r\n")
        self.assertEqual(outcome, Outcome(0, b"220 ready\r\n", ""))

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
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests import certificates, servers
from tests.command import (
    COMMAND,
    ON_TERMINAL,
    PATIENCE,
    STARTTLS,
    TCP,
    TLS,
    UNIX,
    Kind,
    Outcome,
    Peer,
    every,
    finish,
    peak,
    run,
    server_context,
    serving,
    shell,
    start,
    terminal,
    together,
    trusting,
)
from tests.packages import find_program
from tests.test_client_mode import MIB, SLACK, finishing, noise, running, same

#: No look-ups of names and no ident, whose answers depend on the machine.
QUICK = ("-RHl0",)

PLAIN = (TCP, UNIX)
SECURE = (TLS, STARTTLS)


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
            with kind.serve(Peer.gone) as server:
                outcome = run(*QUICK, *server.arguments, *prog, data=b"input\n")
            self.assertEqual(outcome, Outcome(0, b"input\n", "error\n"))

        def check_secure(kind: Kind) -> None:
            prog = sh("cat; echo error >&2")
            with kind.serve(Peer.leave) as server:
                outcome = run(*QUICK, *server.arguments, *prog, data=b"input\n")
            self.assertEqual(outcome, Outcome(0, b"input\n", "error\n"))

        every(check, *PLAIN)
        every(check_secure, *SECURE)

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

        def check(kind: Kind) -> None:
            with kind.serve(rude) as server:
                outcome = run(*QUICK, *server.arguments, *prog, data=up)
                self.assertTrue(same(server.result(), up))
            self.assertTrue(same(outcome.out, down), len(outcome.out))
            self.assertEqual((outcome.status, outcome.err), (0, ""))

        every(check)

    def test_prog_stalls(self) -> None:
        """
        The memory of the command does not grow while prog does not read, and all bytes
        arrive later.
        """
        down = noise(24 * MIB)

        def check(kind: Kind) -> None:
            stalled, done = threading.Event(), threading.Event()

            def eager(peer: Peer) -> bytes:
                rest = peer.send_until_still(down)
                stalled.set()
                peer.send(rest)
                done.wait(PATIENCE)
                return finishing(peer, rest)

            prog = sh(f"read go; head -c {len(down)} <&6; read go")
            with kind.serve(eager) as server:
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

        every(check, *SECURE)


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

    def look(self, kind: Kind, **how: Any) -> tuple[dict[str, Any], int]:
        """Return what a prog prints about itself, and the process id of the command."""
        # Python starts with SIGPIPE ignored, so test_signals looks at signals with
        # grep.
        prog = python(LOOK)
        with kind.serve(Peer.leave) as server:
            process = start(*QUICK, *server.arguments, *prog, **how)
            outcome = finish(process)
        self.assertEqual((outcome.status, outcome.err), (0, ""))
        found: dict[str, Any] = json.loads(outcome.out)
        return found, process.pid

    def test_same_process(self) -> None:
        """Prog has the process id of the command in clear, and another one over TLS."""

        def check(kind: Kind) -> None:
            found, pid = self.look(kind)
            self.assertEqual(found["pid"] == pid, not kind.secure)

        every(check)

    def test_descriptors(self) -> None:
        """
        6 and 7 are the socket in clear, pipes over TLS, and in blocking mode; only 0, 1
        and 2 are open besides.
        """

        def check(kind: Kind) -> None:
            found, _ = self.look(kind)
            self.assertEqual(found["fds"], [0, 1, 2, 6, 7])
            self.assertEqual(found["blocking"], [True, True])
            self.assertEqual(found["same"], not kind.secure)
            self.assertEqual(found["sockets"], [not kind.secure] * 2)
            self.assertEqual(found["fifos"], [kind.secure] * 2)

        every(check)

    def test_signals(self) -> None:
        """Prog has the signals ignored and blocked that the command had inherited."""
        read = "grep -E '^Sig(Ign|Blk)' /proc/self/status"

        def check(kind: Kind) -> None:
            with kind.serve(Peer.leave) as server:
                results = {0: run(*QUICK, *server.arguments, *sh(read))}
                if not kind.secure:
                    words = " ".join((*QUICK, *server.arguments))
                    nohup = f"trap '' HUP; tcpclient {words} sh -c \"{read}\""
                    results[1 << (signal.SIGHUP - 1)] = shell(nohup)
            for expected, result in results.items():
                values = dict(
                    line.split(":\t") for line in result.out.decode().splitlines()
                )
                # Linux has real-time signals from 32 on; glibc uses 32 and 33 itself.
                ignored, blocked = (
                    int(values[name], 16) % 2**31 for name in ("SigIgn", "SigBlk")
                )
                self.assertEqual((ignored, blocked), (expected, 0))

        every(check)

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

        every(check)

    def test_replaced(self) -> None:
        """
        Descriptors 6 and 7 that the command inherited are replaced by the connection.
        """

        def check(kind: Kind) -> None:
            with kind.serve(greet) as server:
                words = " ".join((*QUICK, *server.arguments))
                line = f"tcpclient {words} sh -c 'cat <&6' 6</dev/null 7</dev/null"
                self.assertEqual(shell(line), Outcome(0, b"hello\n", ""))

        every(check)

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

        every(check)


def greet(peer: Peer) -> None:
    """Send hello and close."""
    peer.send(b"hello\n")
    peer.finish()


class EndTests(SynchronousTestCase):
    """Ends of sessions with prog: half-close, order of ends, and exit status."""

    def test_half_close(self) -> None:
        """
        If prog closes 7, the server receives close_notify, and its reply arrives on 6
        in full.
        """
        reply = noise(200_000)

        def late(peer: Peer) -> bytes:
            question = peer.rest()
            peer.send(reply)
            return finishing(peer, question)

        def check(kind: Kind) -> None:
            prog = sh("echo question >&7; exec 7>&-; cat <&6; exit 3")
            with kind.serve(late) as server:
                outcome = run(*QUICK, *server.arguments, *prog)
                self.assertEqual(server.result(), b"question\n")
            self.assertTrue(same(outcome.out, reply), len(outcome.out))
            self.assertEqual((outcome.status, outcome.err), (3, ""))

        every(check, *SECURE)

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

        def check(kind: Kind) -> None:
            with kind.serve(late) as server:
                outcome = run(*QUICK, *server.arguments, *python(code))
                self.assertEqual(outcome, Outcome(0, b"reply", ""))
                self.assertEqual(server.result(), b"question")

        every(check, *PLAIN)

    def test_reads_no_more(self) -> None:
        """If prog closes 6, the server receives everything that prog still writes."""
        data = noise(300_000)

        def listen(peer: Peer) -> bytes:
            peer.send(b"x" * 100_000)
            return finishing(peer, peer.rest())

        def check(kind: Kind) -> None:
            with kind.serve(listen) as server:
                prog = sh("exec 6<&-; cat >&7; exit 2")
                outcome = run(*QUICK, *server.arguments, *prog, data=data)
                self.assertTrue(same(server.result(), data))
            self.assertEqual(outcome, Outcome(2, b"", ""))

        every(check, *SECURE)

    def test_late_server(self) -> None:
        """
        Bytes that prog wrote before it exited arrive though the server reads late.
        """
        data = noise(MIB)

        def check(kind: Kind) -> None:
            ended = threading.Event()

            def lazy(peer: Peer) -> bytes:
                peer.send(b"chatter\n")
                ended.wait(PATIENCE)
                return finishing(peer, peer.rest())

            # Pipes and sockets hold less than this, so prog exits when most of it is
            # read.
            prog = sh("cat >&7; exit 2")
            with kind.serve(lazy) as server:
                process = start(*QUICK, *server.arguments, *prog)
                threading.Thread(target=ended.set).start()
                outcome = finish(process, data)
                self.assertTrue(same(server.result(), data))
            self.assertEqual(outcome, Outcome(2, b"", ""))

        every(check, *SECURE)

    def test_outlives_the_server(self) -> None:
        """
        If the server ends first, the command waits for prog, and exits with its status.
        """

        def check(kind: Kind) -> None:
            with kind.serve(greet) as server:
                prog = sh("cat <&6; echo end; read go; exit 7")
                with running(*QUICK, *server.arguments, *prog) as process:
                    assert process.stdout is not None
                    self.assertEqual(process.stdout.read(10), b"hello\nend\n")
                    # The server has closed, and prog still runs.
                    server.result()
                    self.assertIsNone(process.poll())
                    outcome = finish(process, b"go\n")
            self.assertEqual(outcome, Outcome(7, b"", ""))

        every(check, *SECURE)

    def test_writes_after_the_end(self) -> None:
        """A prog that writes after the server's end is killed by SIGPIPE."""

        def check(kind: Kind) -> None:
            with kind.serve(Peer.finish) as server:
                prog = sh("cat <&6; while echo x; do :; done >&7")
                outcome = run(*QUICK, *server.arguments, *prog)
            self.assertIn(outcome.status, (128 + signal.SIGPIPE, -signal.SIGPIPE))

        every(check, *SECURE)

    def test_failure(self) -> None:
        """
        If TLS is cut short, the command exits with prog's status, or with 111 if that
        is 0.
        """

        def cut(peer: Peer) -> None:
            peer.send(b"hello\n")
            peer.cut()
            peer.gone()

        def check(kind: Kind) -> None:
            with kind.serve(cut) as server:
                for status, expected in ((0, 111), (9, 9)):
                    prog = sh(f"cat <&6; exit {status}")
                    outcome = run(*QUICK, *server.arguments, *prog)
                    self.assertEqual(
                        (outcome.status, outcome.out), (expected, b"hello\n")
                    )
                    self.assertIn("cut short", outcome.complaint())

        every(check, *SECURE)

    def test_certificate_refused(self) -> None:
        """
        The command fails if a server requires a client certificate after the handshake.
        """

        def demand(peer: Peer) -> None:
            with contextlib.suppress(SSL.Error):
                peer.secure(server_context(client_ca=certificates.shared().ca))
            peer.gone()

        with serving(demand, "--tls", *trusting()) as server:
            outcome = run(*QUICK, *server.arguments, *sh("cat <&6"))
        self.assertEqual((outcome.status, outcome.out), (111, b""))
        self.assertIn("certificate required", outcome.complaint())

    def test_idle(self) -> None:
        """The seconds of -a limit sessions of prog over TLS."""

        def check(kind: Kind) -> None:
            with kind.serve(Peer.gone) as server:
                outcome = run("-a", "1", *QUICK, *server.arguments, *sh("cat <&6"))
            self.assertEqual((outcome.status, outcome.out), (111, b""))
            self.assertIn("timed out", outcome.complaint())

        every(check, *SECURE)


class GrandchildTests(SynchronousTestCase):
    """Children of prog that still have 6 and 7 open when prog has exited."""

    def test_continues_the_session(self) -> None:
        """
        A grandchild continues the session, and the command exits with prog's status.
        """

        def talk(peer: Peer) -> bytes:
            prog = int(peer.line())
            # In clear prog is the test's own child, and stays a zombie until the test
            # reaps it.
            until(prog, "", "Z")
            peer.send(b"still there\n")
            answer = peer.line()
            peer.finish()
            return answer

        def check(kind: Kind) -> None:
            prog = sh('(read line <&6; echo "yes, $line" >&7) & echo $$ >&7; exit 5')
            with kind.serve(talk) as server:
                outcome = run(*QUICK, *server.arguments, *prog)
                self.assertEqual(server.result(), b"yes, still there\n")
            self.assertEqual(outcome, Outcome(5, b"", ""))

        every(check)

    def test_holds_descriptors(self) -> None:
        """
        The command exits when the server has closed, though a grandchild holds 6 and 7
        open.
        """

        def check(kind: Kind) -> None:
            with tempfile.TemporaryDirectory() as directory, fifo(directory) as path:
                # The open of the FIFO blocks until `fifo` opens it for writing.
                prog = sh(f"(: <{path}) >/dev/null 2>&1 & exit 6")
                with kind.serve(Peer.finish) as server:
                    outcome = run(*QUICK, *server.arguments, *prog)
            self.assertEqual(outcome, Outcome(6, b"", ""))

        every(check, *SECURE)


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

        def check(kind: Kind, name: str) -> None:
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
                kind.serve(speak) as server,
                running(*QUICK, *server.arguments, *python(code)) as process,
            ):
                assert process.stdout is not None
                self.assertEqual(process.stdout.readline(), b"hello\n")
                process.send_signal(signal.Signals[f"SIG{name}"])
                outcome = finish(process)
            self.assertEqual(outcome, Outcome(8, f"{name}\n".encode(), ""))

        together(
            {
                f"{name} {kind.name}": functools.partial(check, kind, name)
                for name in ("TERM", "INT", "HUP")
                for kind in (TCP, TLS)
            }
        )

    def test_killed(self) -> None:
        """A prog that does not handle SIGTERM is killed by it."""

        def speak(peer: Peer) -> None:
            peer.send(b"hello\n")
            peer.leave()

        def check(kind: Kind) -> None:
            prog = sh("read line <&6; echo $line; exec cat <&6")
            with (
                kind.serve(speak) as server,
                running(*QUICK, *server.arguments, *prog) as process,
            ):
                assert process.stdout is not None
                self.assertEqual(process.stdout.readline(), b"hello\n")
                process.terminate()
                outcome = finish(process)
            expected = 128 + signal.SIGTERM if kind.secure else -signal.SIGTERM
            self.assertEqual(outcome, Outcome(expected, b"", ""))

        every(check)

    def test_stopped(self) -> None:
        """
        SIGTSTP stops prog and the command, SIGCONT continues both, and the session is
        complete.
        """

        def check(kind: Kind) -> None:
            prog = sh("echo $$; cat <&6")
            awake = threading.Event()

            def patient(peer: Peer) -> bytes:
                awake.wait(PATIENCE)
                peer.send(b"hello\n")
                return finishing(peer, b"")

            with (
                kind.serve(patient) as server,
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

        every(check, TCP, TLS)

    def test_prog_stops_itself(self) -> None:
        """A prog that stops itself and is continued completes the session."""

        def check(kind: Kind) -> None:
            def patient(peer: Peer) -> bytes:
                prog = int(peer.line())
                until(prog, "T")
                peer.send(b"while you were away\n")
                os.kill(prog, signal.SIGCONT)
                answer = peer.line()
                peer.finish()
                return answer

            prog = sh('echo $$ >&7; kill -STOP $$; read line <&6; echo "$line" >&7')
            with kind.serve(patient) as server:
                outcome = run(*QUICK, *server.arguments, *prog)
                self.assertEqual(server.result(), b"while you were away\n")
            self.assertEqual(outcome, Outcome(0, b"", ""))

        every(check)

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

        def check(kind: Kind) -> None:
            settled = threading.Event()

            def talk(peer: Peer) -> None:
                settled.wait(PATIENCE)
                # A byte that the command relays comes after its handling of the signal.
                for _ in range(3):
                    peer.send(b"x")
                    peer.line()
                peer.finish()

            with terminal() as (master, slave), kind.serve(talk) as server:
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
                # Two pending SIGINT would be delivered as one, so the command is
                # stopped meanwhile.
                process.send_signal(signal.SIGSTOP)
                until(process.pid, "T")
                os.write(master, b"\x03")
                self.assertEqual(process.stdout.readline(), b"1\n")
                process.send_signal(signal.SIGCONT)
                settled.set()
                self.assertEqual(finish(process), Outcome(0, b"", ""))

        every(check, *SECURE)


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

"""Client mode: stdin and stdout joined to a server, over every kind of connection."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests import certificates, servers
from tests.command import (
    AT_ONCE,
    ON_TERMINAL,
    PATIENCE,
    STILL,
    TCP,
    TLS,
    UNIX,
    Kind,
    Outcome,
    Peer,
    every,
    finish,
    kill,
    listening,
    peak,
    run,
    server_context,
    serving,
    shell,
    start,
    tcp_listener,
    terminal,
    together,
    trusting,
)

MIB = 2**20

#: How much more memory than an idle run a session may need, in MiB.
SLACK = 12


#: Runs the command with sockets whose send buffers are as small as the kernel allows.
NARROW = """
import socket, sys
from twisted.internet import tcp
from twisted_tcpclient.command import console
create = tcp.Client.createInternetSocket
def narrow(client):
    made = create(client)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    return made
tcp.Client.createInternetSocket = narrow
sys.exit(console.run(sys.argv[1:]))
"""


def asking() -> SSL.Context:
    """Return the settings of a server that requires a client certificate."""
    return server_context(client_ca=certificates.shared().ca)


@contextlib.contextmanager
def long_chain() -> Iterator[Path]:
    """
    Write a client certificate with a chain that is longer than Twisted sends at once,
    and yield its path.
    """
    shared = certificates.shared()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "chain.pem")
        path.write_bytes(shared.client.read_bytes() + shared.ca.read_bytes() * 150)
        yield path


@functools.cache
def noise(size: int) -> bytes:
    """Return pseudo-random bytes, the same ones for the same size."""
    return random.Random(size).randbytes(size)


def same(first: bytes, second: bytes) -> bool:
    """
    Tell whether large byte strings are equal; a failed assertion prints no bytes then.
    """
    return hashlib.sha256(first).digest() == hashlib.sha256(second).digest()


def feed(process: subprocess.Popen[bytes], data: bytes) -> threading.Thread:
    """
    Write data to the stdin of a process in a thread, and leave stdin open until the
    thread is joined.
    """
    assert process.stdin is not None
    stdin: IO[bytes] = process.stdin

    def write() -> None:
        with contextlib.suppress(BrokenPipeError):
            stdin.write(data)
            stdin.flush()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


@contextlib.contextmanager
def running(*arguments: str, **how: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start the command, yield its process, and kill it afterwards if it still runs."""
    process = start(*arguments, **how)
    try:
        yield process
    finally:
        if process.poll() is None:
            kill(process)
        process.wait(PATIENCE)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


class EndTests(SynchronousTestCase):
    """How the end of one direction is told to the other side."""

    def test_server_ends(self) -> None:
        """The command exits when the server closes, though stdin is still open."""
        banner = noise(1_000_000)

        def speak(peer: Peer) -> None:
            peer.send(banner)
            peer.finish()

        def check(kind: Kind) -> None:
            with kind.serve(speak) as server:
                outcome = run(*server.arguments, data=None)
            self.assertTrue(same(outcome.out, banner), len(outcome.out))
            self.assertEqual((outcome.status, outcome.err), (0, ""))

        every(check, TCP, UNIX, TLS)

    def test_silent_server(self) -> None:
        """A server that closes without having sent anything leads to status 0."""

        def check(kind: Kind) -> None:
            with kind.serve(Peer.finish) as server:
                outcome = run(*server.arguments, data=None)
            self.assertEqual(outcome, Outcome(0, b"", ""))

        every(check, TCP, TLS)


class FlowTests(SynchronousTestCase):
    """Bytes in both directions, with and without backpressure."""

    def test_both_ways(self) -> None:
        """All bytes arrive in order when both sides send at the same time."""
        up, down = noise(6 * MIB), noise(7 * MIB)

        def check(kind: Kind) -> None:
            with kind.serve(
                lambda peer: finishing(peer, peer.exchange(down))
            ) as server:
                outcome = run(*server.arguments, data=up)
                self.assertTrue(same(server.result(), up))
            self.assertTrue(same(outcome.out, down), len(outcome.out))
            self.assertEqual((outcome.status, outcome.err), (0, ""))

        every(check)

    def test_chunks(self) -> None:
        """
        Bytes arrive unchanged however they are split by writes and reads on the way.
        """
        dice = random.Random(6)

        def echo(peer: Peer) -> None:
            for piece in iter(peer.receive, b""):
                middle = dice.randrange(len(piece) + 1)
                for part in (piece[:middle], piece[middle:]):
                    if part:
                        peer.send(part)
            peer.finish()

        def check(kind: Kind) -> None:
            data = noise(400_000)
            with kind.serve(echo) as server, running(*server.arguments) as process:
                assert process.stdin is not None and process.stdout is not None
                stdin, stdout = process.stdin.fileno(), process.stdout.fileno()
                position, received = 0, b""
                while position < len(data):
                    size = dice.choice((1, 2, 100, 1460, 4096, 16384, 40000))
                    position += os.write(stdin, data[position : position + size])
                    while len(received) < position:
                        received += os.read(stdout, dice.choice((1, 500, 65536)))
                self.assertTrue(same(received, data))
                self.assertEqual(finish(process), Outcome(0, b"", ""))

        every(check, TCP, TLS)

    def test_one_way_stalls(self) -> None:
        """Bytes from stdin reach the server while the pipe of stdout is full."""
        # The server sends more than the kernel buffers of sockets and pipe hold
        # together.
        up, down = noise(3 * MIB), noise(24 * MIB)

        def check(kind: Kind) -> None:
            arrived = threading.Event()

            def pour(peer: Peer) -> bytes:
                rest = peer.send_until_still(down)
                assert rest, "no backpressure"
                received = peer.exactly(len(up))
                arrived.set()
                peer.send(rest)
                return finishing(peer, received)

            with kind.serve(pour) as server, running(*server.arguments) as process:
                assert process.stdout is not None
                feeding = feed(process, up)
                self.assertTrue(arrived.wait(PATIENCE), "stdin has not arrived")
                feeding.join(PATIENCE)
                shown = process.stdout.read(len(down))
                self.assertTrue(same(shown, down), f"{len(shown)} bytes")
                self.assertEqual(finish(process, None), Outcome(0, b"", ""))
                self.assertTrue(same(server.result(), up))

        every(check, TCP, TLS)

    def test_reader_stalls_after_end(self) -> None:
        """
        The command does not end its side of the connection while a part of the server's
        reply waits for the reader of stdout.
        """
        reply = noise(10 * MIB)

        def check(kind: Kind) -> None:
            stalled = threading.Event()

            def answer(peer: Peer) -> bool:
                peer.line()
                rest = peer.send_until_still(reply)
                hung_up = select.select([peer.socket], [], [], 2.0)[0]
                stalled.set()
                peer.send(rest)
                peer.finish()
                return bool(rest and not hung_up)

            with (
                kind.serve(answer, ("--shutdown", "1")) as server,
                running(*server.arguments) as process,
            ):
                assert process.stdin is not None and process.stdout is not None
                process.stdin.write(b"go\n")
                process.stdin.close()
                process.stdin = None
                self.assertTrue(stalled.wait(PATIENCE))
                self.assertTrue(same(process.stdout.read(), reply))
                self.assertEqual(finish(process, None), Outcome(0, b"", ""))
                self.assertTrue(server.result())

        every(check, TCP, TLS)

    def test_server_stalls(self) -> None:
        """
        The memory of the command does not grow while the server does not read, and all
        bytes arrive later.
        """
        up = noise(24 * MIB)

        def check(kind: Kind) -> None:
            go, done = threading.Event(), threading.Event()

            def lazy(peer: Peer) -> bytes:
                go.wait(PATIENCE)
                received = peer.exactly(len(up))
                peer.send(b"x")
                done.wait(PATIENCE)
                return finishing(peer, received)

            with kind.serve(lazy) as server, running(*server.arguments) as process:
                assert process.stdin is not None and process.stdout is not None
                rest = fill(process.stdin.fileno(), up)
                self.assertTrue(rest, "no backpressure")
                go.set()
                feeding = feed(process, rest)
                # The server sends one byte when it has received everything.
                self.assertEqual(os.read(process.stdout.fileno(), 1), b"x")
                feeding.join(PATIENCE)
                used = peak(process.pid)
                done.set()
                self.assertEqual(finish(process).status, 0)
                self.assertTrue(same(server.result(), up))
            self.assertLess(used, peak_of_idle(kind) + SLACK)

        every(check, TCP, TLS)

    def test_reader_stalls(self) -> None:
        """
        The memory of the command does not grow while the pipe of stdout is full, and
        all bytes arrive later.
        """
        down = noise(24 * MIB)

        def check(kind: Kind) -> None:
            stalled, done = threading.Event(), threading.Event()

            def eager(peer: Peer) -> bool:
                rest = peer.send_until_still(down)
                stalled.set()
                peer.send(rest)
                done.wait(PATIENCE)
                peer.finish()
                return bool(rest)

            with kind.serve(eager) as server, running(*server.arguments) as process:
                assert process.stdout is not None
                stalled.wait(PATIENCE)
                received = process.stdout.read(len(down))
                used = peak(process.pid)
                done.set()
                self.assertEqual(finish(process), Outcome(0, b"", ""))
                self.assertTrue(server.result(), "no backpressure")
            self.assertTrue(same(received, down))
            self.assertLess(used, peak_of_idle(kind) + SLACK)

        every(check, TCP, TLS)


@functools.cache
def peak_of_idle(kind: Kind) -> int:
    """Return the peak memory in MiB of a session in which one byte is sent."""

    def script(peer: Peer) -> None:
        peer.send(b"x")
        peer.gone()

    with kind.serve(script) as server, running(*server.arguments) as process:
        assert process.stdout is not None
        assert os.read(process.stdout.fileno(), 1) == b"x"
        return peak(process.pid)


def finishing(peer: Peer, result: bytes) -> bytes:
    """Close in good order, and return the result."""
    peer.finish()
    return result


def fill(fd: int, data: bytes) -> bytes:
    """
    Write until the descriptor takes no more for STILL seconds, and return the rest.
    """
    view = memoryview(data)
    os.set_blocking(fd, False)
    try:
        while view and select.select([], [fd], [], STILL)[1]:
            view = view[os.write(fd, view[:65536]) :]
    finally:
        os.set_blocking(fd, True)
    return bytes(view)


class DescriptorTests(SynchronousTestCase):
    """Kinds of files that may be stdin and stdout."""

    REPLY = b"reply\n" * 1000

    def answer(self, peer: Peer) -> bytes:
        """Read until EOF, then reply."""
        question = peer.rest()
        peer.send(self.REPLY)
        return finishing(peer, question)

    def check(self, kind: Kind, stdin: Any, data: bytes = b"") -> None:
        """
        Check that a session with this stdin sends its data and delivers the reply.
        """
        with kind.serve(self.answer) as server:
            outcome = run(*server.arguments, stdin=stdin)
            self.assertEqual(outcome, Outcome(0, self.REPLY, ""))
            self.assertEqual(server.result(), data)

    def test_input_file(self) -> None:
        """A regular file as stdin is sent from its current offset to its end."""
        with tempfile.TemporaryFile() as file:
            file.write(b"skipped" + b"file" * 50_000)

            def check(kind: Kind) -> None:
                with open(f"/proc/self/fd/{file.fileno()}", "rb") as stdin:
                    os.lseek(stdin.fileno(), len(b"skipped"), os.SEEK_SET)
                    self.check(kind, stdin, b"file" * 50_000)

            file.flush()
            every(check, TCP, TLS)

    def test_input_socket(self) -> None:
        """A socket as stdin is sent until its EOF."""

        def check(kind: Kind) -> None:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                ours.sendall(b"socket")
                ours.shutdown(socket.SHUT_WR)
                self.check(kind, theirs, b"socket")

        every(check, TCP, TLS)

    def test_input_terminal(self) -> None:
        """A terminal as stdin is sent until Ctrl-D."""

        def check(kind: Kind) -> None:
            with terminal() as (master, slave):
                os.write(master, b"typed\n\x04")
                self.check(kind, slave, b"typed\n")

        every(check, TCP, TLS)

    def test_output_file(self) -> None:
        """
        The reply is appended to a regular file that stdout has open in append mode.
        """

        def check(kind: Kind) -> None:
            with tempfile.NamedTemporaryFile("ab", buffering=0) as file:
                file.write(b"first\n")
                with kind.serve(self.answer) as server:
                    outcome = run(*server.arguments, stdout=file)
                self.assertEqual((outcome.status, outcome.err), (0, ""))
                self.assertEqual(Path(file.name).read_bytes(), b"first\n" + self.REPLY)

        every(check, TCP, TLS)

    def test_output_null(self) -> None:
        """/dev/null as stdout takes the whole reply."""

        def check(kind: Kind) -> None:
            with kind.serve(self.answer) as server:
                outcome = run(*server.arguments, stdout=subprocess.DEVNULL)
            self.assertEqual(outcome, Outcome(0, b"", ""))

        every(check, TCP, TLS)

    def test_output_socket(self) -> None:
        """One socket may be both stdin and stdout."""

        def check(kind: Kind) -> None:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                ours.sendall(b"question")
                ours.shutdown(socket.SHUT_WR)
                with kind.serve(self.answer) as server:
                    outcome = run(*server.arguments, stdin=theirs, stdout=theirs)
                    self.assertEqual(outcome, Outcome(0, b"", ""))
                    self.assertEqual(server.result(), b"question")
                theirs.close()
                self.assertEqual(Peer(ours).rest(), self.REPLY)

        every(check, TCP, TLS)

    def test_output_terminal(self) -> None:
        """A terminal as stdout receives the whole reply."""

        def check(kind: Kind) -> None:
            with terminal() as (master, slave), kind.serve(self.answer) as server:
                tty.setraw(slave)
                with running(*server.arguments, stdout=slave) as process:
                    assert process.stdin is not None
                    process.stdin.close()
                    process.stdin = None
                    received = b""
                    while len(received) < len(self.REPLY):
                        received += os.read(master, 4096)
                    self.assertEqual(finish(process), Outcome(0, b"", ""))
                self.assertEqual(received, self.REPLY)

        every(check, TCP, TLS)

    def test_head(self) -> None:
        """
        The command exits with status 111 when the reader of stdout has gone, though
        stdin is open and the server is silent.
        """

        def once(peer: Peer) -> bool:
            peer.send(b"first\nsecond\n")
            peer.gone()
            return True

        def check(kind: Kind) -> None:
            with kind.serve(once) as server, open_pipe() as stdin:
                words = " ".join(server.arguments)
                line = f"{{ tcpclient {words}; echo $? >&2; }} | head -n 1"
                outcome = shell(line, stdin=stdin)
                self.assertEqual(outcome.out, b"first\n")
                self.assertTrue(server.result())
            self.assertEqual(outcome.status, 0)
            self.assertEqual(outcome.err.split("\n")[-2], "111")

        every(check, TCP, TLS)


@contextlib.contextmanager
def open_pipe() -> Iterator[int]:
    """Yield a pipe for stdin that stays open and empty."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


class TerminalTests(SynchronousTestCase):
    """State of the terminal after a session."""

    def on_terminal(
        self, end: Callable[[int, subprocess.Popen[bytes]], object]
    ) -> tuple[Outcome, bool]:
        """
        Run the command on a terminal until the server has sent a line, then call `end`.

        Return the outcome, and whether the terminal is in blocking mode.
        """

        def speak(peer: Peer) -> None:
            peer.send(b"hello\r\n")
            peer.leave()

        with terminal() as (master, slave), TCP.serve(speak) as server:
            before = termios.tcgetattr(slave)
            process = start(
                *server.arguments,
                command=ON_TERMINAL,
                stdin=slave,
                stdout=slave,
                session=False,
            )
            shown = b""
            while b"hello" not in shown:
                shown += os.read(master, 4096)
            end(master, process)
            outcome = finish(process)
            self.assertEqual(termios.tcgetattr(slave), before)
            return outcome, os.get_blocking(slave)

    def test_ends(self) -> None:
        """
        After EOF, Ctrl-C, SIGTERM and SIGHUP the terminal has the settings that it had
        before, and is in blocking mode.
        """
        ends: dict[str, tuple[Callable[[int, Any], object], int]] = {
            "end of file": (lambda master, _: os.write(master, b"\x04"), 0),
            "Ctrl-C": (lambda master, _: os.write(master, b"\x03"), 130),
            "SIGTERM": (lambda _, process: process.send_signal(signal.SIGTERM), 143),
            "SIGHUP": (lambda _, process: process.send_signal(signal.SIGHUP), 129),
        }

        def check(name: str) -> None:
            end, status = ends[name]
            outcome, blocking = self.on_terminal(end)
            self.assertEqual((outcome.status, outcome.err), (status, ""))
            self.assertTrue(blocking)

        together({name: functools.partial(check, name) for name in ends})

    def test_interrupted_early(self) -> None:
        """
        Ctrl-C during the STARTTLS dialogue or the TLS handshake ends the command with
        status 130, and without a message.
        """

        def check(options: tuple[str, ...]) -> None:
            accepted = threading.Event()

            def wait(peer: Peer) -> None:
                accepted.set()
                peer.gone()

            with terminal() as (master, slave), serving(wait, *options) as server:
                process = start(
                    *server.arguments, command=ON_TERMINAL, stdin=slave, session=False
                )
                self.assertTrue(accepted.wait(PATIENCE))
                os.write(master, b"\x03")
                self.assertEqual(finish(process), Outcome(130, b"", ""))

        together(
            {
                "STARTTLS": lambda: check(("-s", "smtp")),
                "TLS": lambda: check(("--tls",)),
            }
        )


class LeftTests(SynchronousTestCase):
    """
    Servers that end the session in good order before they have received everything.
    """

    def early(self, peer: Peer) -> None:
        """Send a reply and the end at once, then read until the client has closed."""
        peer.send(b"enough\n")
        peer.half_close()
        peer.gone()

    def test_input_left(self) -> None:
        """
        The command fails if the server closes while a part of stdin is unsent; the
        reply is delivered.
        """

        def check(kind: Kind) -> None:
            with tempfile.TemporaryFile() as file, kind.serve(self.early) as server:
                file.truncate(64 * MIB)
                outcome = run(*server.arguments, stdin=file)
            self.assertEqual((outcome.status, outcome.out), (111, b"enough\n"))
            self.assertIn(
                "the server closed the connection before all of standard input was"
                " sent",
                outcome.complaint(),
            )

        every(check, TCP, UNIX, TLS)

    def test_nothing_left(self) -> None:
        """The command succeeds if the server closes after its reply to QUIT."""

        def quit_(peer: Peer) -> bytes:
            said = peer.line()
            peer.send(b"221 bye\r\n")
            peer.finish()
            return said

        def check(kind: Kind) -> None:
            with kind.serve(quit_) as server:
                outcome = run(*server.arguments, data=b"QUIT\r\n")
            self.assertEqual(outcome, Outcome(0, b"221 bye\r\n", ""))

        every(check, TCP, TLS)


class BrokenTests(SynchronousTestCase):
    """Sessions that do not end in good order: status 111 and the reason."""

    def test_unread(self) -> None:
        """The command fails if the server closes without having read what was sent."""

        def ignore(peer: Peer) -> None:
            select.select([peer.socket], [], [], PATIENCE)

        def check(kind: Kind) -> None:
            with kind.serve(ignore) as server:
                process = start(*server.arguments)
                feeding = feed(process, b"x" * 100)
                outcome = finish(process, None)
                feeding.join(PATIENCE)
            self.assertEqual(outcome.status, 111)
            self.assertIn("connection reset", outcome.complaint())

        every(check, TCP, UNIX)

    def test_long_chain(self) -> None:
        """
        A server that sends first is heard though the client's certificate chain is too
        long for Twisted to send it at once.
        """

        def greet(peer: Peer) -> None:
            peer.secure(asking())
            peer.send(b"hello")
            peer.finish()

        with long_chain() as chain:
            options = ("-a", "5", "-n", str(chain), *trusting())
            with serving(greet, *options) as server:
                outcome = run(*server.arguments, data=None)
        self.assertEqual(outcome, Outcome(0, b"hello", ""))

    def test_garbage(self) -> None:
        """
        Bytes that are no TLS record, in the middle of a TLS session, are an error.
        """

        def spoil(peer: Peer) -> None:
            peer.send(b"hello")
            peer.send_clear(b"this is not TLS\r\n" * 10)
            peer.gone()

        with TLS.serve(spoil) as server:
            outcome = run(*server.arguments, data=None)
        self.assertEqual((outcome.status, outcome.out), (111, b"hello"))
        outcome.complaint()

    def test_idle_in_handshake(self) -> None:
        """The seconds of -a limit the TLS handshake."""
        with serving(Peer.gone, "-a", "1", "--tls") as server:
            outcome = run(*server.arguments)
        self.assertEqual((outcome.status, outcome.out), (111, b""))
        self.assertIn("timed out waiting for the TLS handshake", outcome.complaint())

    def test_idle_in_last_message(self) -> None:
        """
        The seconds of -a limit the time in which a server does not read the client's
        last message of the handshake.
        """

        def deaf(over: threading.Event, peer: Peer) -> None:
            tls = SSL.Connection(asking(), None)
            tls.set_accept_state()
            hello = b""
            while not hello:
                tls.bio_write(peer.socket.recv(65536))
                with contextlib.suppress(SSL.WantReadError):
                    tls.do_handshake()
                with contextlib.suppress(SSL.WantReadError):
                    hello = tls.bio_read(65536)
            peer.socket.sendall(hello)
            over.wait(PATIENCE)

        def check(chain: Path, *prog: str) -> None:
            over = threading.Event()
            script = functools.partial(deaf, over)
            listener = tcp_listener()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            port = str(listener.getsockname()[1])
            options = ("-v", "-a", "5", "-n", str(chain), *trusting())
            command = (sys.executable, "-c", NARROW)
            with listening(listener, script, *options, "127.0.0.1", port) as server:
                outcome = run(*server.arguments, *prog, command=command)
                over.set()
            self.assertEqual((outcome.status, outcome.out), (111, b""))
            self.assertIn("\ntcpclient: secured with ", outcome.err)
            self.assertIn(": timed out: nothing was sent or received\n", outcome.err)

        with long_chain() as chain:
            together({"": lambda: check(chain), "prog": lambda: check(chain, "true")})

    def test_no_idle_limit(self) -> None:
        """With -a 0 a session that ends in good order has status 0."""
        with serving(lambda peer: finishing(peer, peer.line())) as server:
            outcome = run("-a", "0", *server.arguments, data=b"x\n")
        self.assertEqual(outcome, Outcome(0, b"", ""))


class TcpserverTests(SynchronousTestCase):
    """Sessions with the programs of two other packages: tcpserver and unixserver."""

    def test_cat(self) -> None:
        """Three megabytes that cat sends back arrive unchanged."""
        data = noise(3_000_000)

        def check(*arguments: str) -> None:
            outcome = run(*AT_ONCE, *arguments, data=data)
            self.assertTrue(same(outcome.out, data), len(outcome.out))
            self.assertEqual((outcome.status, outcome.err), (0, ""))

        tcp = servers.tcpserver("cat")
        unix = servers.unixserver("cat")
        together(
            {
                "tcpserver": lambda: check(tcp.host, str(tcp.port)),
                "unixserver": lambda: check(str(unix.path)),
            }
        )

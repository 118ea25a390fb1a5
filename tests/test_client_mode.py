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
    ON_TERMINAL,
    PATIENCE,
    STARTTLS,
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


#: Runs the command with sockets that hold as little as a socket can.
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
    """Return the settings of a server that asks for a certificate of ours."""
    return server_context(client_ca=certificates.shared().ca)


@contextlib.contextmanager
def long_chain() -> Iterator[Path]:
    """Make a certificate for us, with a chain too long for Twisted to send at once."""
    shared = certificates.shared()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "chain.pem")
        path.write_bytes(shared.client.read_bytes() + shared.ca.read_bytes() * 150)
        yield path


@functools.cache
def noise(size: int) -> bytes:
    """Return bytes that are not alike, the same ones for the same size."""
    return random.Random(size).randbytes(size)


def same(first: bytes, second: bytes) -> bool:
    """Tell whether big things are equal, without showing them when they are not."""
    return hashlib.sha256(first).digest() == hashlib.sha256(second).digest()


def feed(process: subprocess.Popen[bytes], data: bytes) -> threading.Thread:
    """Give a process its input, and leave stdin open until the thread is joined."""
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
    """Start the command; it is gone afterwards."""
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
    """How one side is told that the other has ended."""

    def test_half_close(self) -> None:
        """After the end of stdin the server's late reply is delivered in full."""
        question, reply = noise(300_000), noise(200_000)

        def answer(peer: Peer) -> bytes:
            received = peer.rest()
            peer.send(reply)
            peer.finish()
            return received

        def check(kind: Kind) -> None:
            with kind.serve(answer) as server:
                outcome = run(*server.arguments, data=question)
                self.assertTrue(same(server.result(), question))
            self.assertTrue(same(outcome.out, reply), len(outcome.out))
            self.assertEqual((outcome.status, outcome.err), (0, ""))

        every(check)

    def test_no_input(self) -> None:
        """With no input at all what the server has to say is delivered."""

        def banner(peer: Peer) -> bytes:
            rest = peer.rest()
            peer.send(b"late")
            peer.finish()
            return rest

        def check(kind: Kind) -> None:
            with kind.serve(banner) as server:
                outcome = run(*server.arguments, stdin=subprocess.DEVNULL)
                self.assertEqual(outcome, Outcome(0, b"late", ""))
                self.assertEqual(server.result(), b"")

        every(check)

    def test_server_ends(self) -> None:
        """When the server ends so does the session, though stdin is still open."""
        banner = noise(1_000_000)

        def speak(peer: Peer) -> None:
            peer.send(banner)
            peer.finish()

        def check(kind: Kind) -> None:
            with kind.serve(speak) as server:
                outcome = run(*server.arguments, data=None)
            self.assertTrue(same(outcome.out, banner), len(outcome.out))
            self.assertEqual((outcome.status, outcome.err), (0, ""))

        every(check)

    def test_silent_server(self) -> None:
        """A server that says nothing and closes is no error."""

        def check(kind: Kind) -> None:
            with kind.serve(Peer.finish) as server:
                outcome = run(*server.arguments, data=None)
            self.assertEqual(outcome, Outcome(0, b"", ""))

        every(check)


class FlowTests(SynchronousTestCase):
    """Bytes in both directions, however they come and go."""

    def test_both_ways(self) -> None:
        """Both ways at once everything arrives, and in order."""
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

    def test_writes_before_it_reads(self) -> None:
        """A server that writes all it has before it reads at all is no deadlock."""
        up, down = noise(10 * MIB), noise(20 * MIB)

        def rude(peer: Peer) -> bytes:
            peer.send(down)
            return finishing(peer, peer.rest())

        def check(kind: Kind) -> None:
            with kind.serve(rude) as server:
                outcome = run(*server.arguments, data=up)
                self.assertTrue(same(server.result(), up))
            self.assertTrue(same(outcome.out, down), len(outcome.out))
            self.assertEqual((outcome.status, outcome.err), (0, ""))

        every(check)

    def test_chunks(self) -> None:
        """However the bytes are cut into pieces on the way, the same ones arrive."""
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

        every(check)

    def test_one_way_stalls(self) -> None:
        """While nobody reads stdout, what comes from stdin is sent all the same."""
        # The kernel may hold a good part of what nobody reads.
        up, down = noise(3 * MIB), noise(24 * MIB)

        def check(kind: Kind) -> None:
            arrived = threading.Event()

            def pour(peer: Peer) -> bytes:
                rest = peer.send_until_still(down)
                assert rest, "nothing held the server back"
                received = peer.exactly(len(up))
                arrived.set()
                peer.send(rest)
                return finishing(peer, received)

            with kind.serve(pour) as server, running(*server.arguments) as process:
                assert process.stdout is not None
                feeding = feed(process, up)
                self.assertTrue(arrived.wait(PATIENCE), "nothing has arrived")
                feeding.join(PATIENCE)
                shown = process.stdout.read(len(down))
                self.assertTrue(same(shown, down), f"{len(shown)} bytes")
                self.assertEqual(finish(process, None), Outcome(0, b"", ""))
                self.assertTrue(same(server.result(), up))

        every(check)

    def test_reader_stalls_after_end(self) -> None:
        """
        A server whose reply is not read yet is not quiet: it is not told of the end
        of stdin before its reply has been delivered.
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

        every(check)

    def idle(self, kind: Kind) -> int:
        """Return how much memory a session takes in which little is said."""

        def check(peer: Peer) -> None:
            peer.send(b"x")
            peer.gone()

        with kind.serve(check) as server, running(*server.arguments) as process:
            assert process.stdout is not None and process.stdin is not None
            self.assertEqual(os.read(process.stdout.fileno(), 1), b"x")
            return peak(process.pid)

    def test_server_stalls(self) -> None:
        """While the server does not read memory stays flat, and then all arrives."""
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
                self.assertTrue(rest, "nothing held the input back")
                go.set()
                feeding = feed(process, rest)
                # It has all arrived when the server says so.
                self.assertEqual(os.read(process.stdout.fileno(), 1), b"x")
                feeding.join(PATIENCE)
                used = peak(process.pid)
                done.set()
                self.assertEqual(finish(process).status, 0)
                self.assertTrue(same(server.result(), up))
            self.assertLess(used, self.idle(kind) + SLACK)

        every(check)

    def test_reader_stalls(self) -> None:
        """While nobody reads stdout memory stays flat, and then all arrives."""
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
                self.assertTrue(server.result(), "nothing held the server back")
            self.assertTrue(same(received, down))
            self.assertLess(used, self.idle(kind) + SLACK)

        every(check)


def finishing(peer: Peer, result: bytes) -> bytes:
    """Close in good order, and return the result."""
    peer.finish()
    return result


def fill(fd: int, data: bytes) -> bytes:
    """Write until nobody takes any more, and return what is left."""
    view = memoryview(data)
    os.set_blocking(fd, False)
    try:
        while view and select.select([], [fd], [], STILL)[1]:
            view = view[os.write(fd, view[:65536]) :]
    finally:
        os.set_blocking(fd, True)
    return bytes(view)


class DescriptorTests(SynchronousTestCase):
    """Whatever stdin and stdout may be."""

    REPLY = b"reply\n" * 1000

    def answer(self, peer: Peer) -> bytes:
        """Read a question to its end, then reply."""
        question = peer.rest()
        peer.send(self.REPLY)
        return finishing(peer, question)

    def check(self, kind: Kind, stdin: Any, data: bytes = b"") -> None:
        """The session is complete with that stdin."""
        with kind.serve(self.answer) as server:
            outcome = run(*server.arguments, stdin=stdin)
            self.assertEqual(outcome, Outcome(0, self.REPLY, ""))
            self.assertEqual(server.result(), data)

    def test_input_file(self) -> None:
        """A regular file is sent from its current offset to its end."""
        with tempfile.TemporaryFile() as file:
            file.write(b"skipped" + b"file" * 50_000)

            def check(kind: Kind) -> None:
                with open(f"/proc/self/fd/{file.fileno()}", "rb") as stdin:
                    os.lseek(stdin.fileno(), len(b"skipped"), os.SEEK_SET)
                    self.check(kind, stdin, b"file" * 50_000)

            file.flush()
            every(check, TCP, TLS)

    def test_input_null(self) -> None:
        """/dev/null is the end of input at once."""
        every(lambda kind: self.check(kind, subprocess.DEVNULL), TCP, TLS)

    def test_input_socket(self) -> None:
        """A socket may be stdin."""

        def check(kind: Kind) -> None:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                ours.sendall(b"socket")
                ours.shutdown(socket.SHUT_WR)
                self.check(kind, theirs, b"socket")

        every(check, TCP, TLS)

    def test_input_terminal(self) -> None:
        """A terminal may be stdin; its end of file is the end of input."""

        def check(kind: Kind) -> None:
            with terminal() as (master, slave):
                os.write(master, b"typed\n\x04")
                self.check(kind, slave, b"typed\n")

        every(check, TCP, TLS)

    def test_output_file(self) -> None:
        """A regular file takes all, after what is in it where it is appended to."""

        def check(kind: Kind) -> None:
            with tempfile.NamedTemporaryFile("ab", buffering=0) as file:
                file.write(b"first\n")
                with kind.serve(self.answer) as server:
                    outcome = run(*server.arguments, stdout=file)
                self.assertEqual((outcome.status, outcome.err), (0, ""))
                self.assertEqual(Path(file.name).read_bytes(), b"first\n" + self.REPLY)

        every(check, TCP, TLS)

    def test_output_null(self) -> None:
        """/dev/null takes all."""

        def check(kind: Kind) -> None:
            with kind.serve(self.answer) as server:
                outcome = run(*server.arguments, stdout=subprocess.DEVNULL)
            self.assertEqual(outcome, Outcome(0, b"", ""))

        every(check, TCP, TLS)

    def test_output_socket(self) -> None:
        """A socket may be stdout, and the same one stdin."""

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
        """A terminal may be stdout."""

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

    def test_nonblocking_output(self) -> None:
        """A pipe that was made non-blocking before takes all, and stays what it is."""
        data = noise(5_000_000)

        def check(kind: Kind) -> None:
            reading, writing = os.pipe()
            os.set_blocking(writing, False)
            with open(reading, "rb") as reader:
                with kind.serve(lambda peer: finishing(peer, sending(peer))) as server:
                    process = start(*server.arguments, stdout=writing)
                    stalled.wait(PATIENCE)
                    received = reader.read(len(data))
                    outcome = finish(process)
                self.assertFalse(os.get_blocking(writing))
            os.close(writing)
            self.assertEqual(outcome, Outcome(0, b"", ""))
            self.assertTrue(same(received, data), len(received))

        def sending(peer: Peer) -> bytes:
            rest = peer.send_until_still(data)
            stalled.set()
            peer.send(rest)
            return b""

        stalled = threading.Event()
        every(check, TCP, TLS)

    def test_head(self) -> None:
        """When stdout's reader leaves the session ends, though nobody says anything."""

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

        every(check)


@contextlib.contextmanager
def open_pipe() -> Iterator[int]:
    """Make a stdin that stays open and says nothing."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


class TerminalTests(SynchronousTestCase):
    """The terminal belongs to the user."""

    def on_terminal(
        self, kind: Kind, end: Callable[[int, subprocess.Popen[bytes]], object]
    ) -> tuple[Outcome, bool, bytes]:
        """Run on a terminal until the server has spoken, then end it.

        Returns how it ended, whether the terminal still blocks, and what it showed.
        """

        def speak(peer: Peer) -> None:
            peer.send(b"hello\r\n")
            peer.leave()

        with terminal() as (master, slave), kind.serve(speak) as server:
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
            return outcome, os.get_blocking(slave), shown

    def test_ends(self) -> None:
        """At the end, and after SIGTERM or Ctrl-C, the terminal is as it was."""
        ends: dict[str, tuple[Callable[[int, Any], object], int]] = {
            "end of file": (lambda master, _: os.write(master, b"\x04"), 0),
            "Ctrl-C": (lambda master, _: os.write(master, b"\x03"), 130),
            "SIGTERM": (lambda _, process: process.send_signal(signal.SIGTERM), 143),
            "SIGHUP": (lambda _, process: process.send_signal(signal.SIGHUP), 129),
        }

        def check(kind: Kind, name: str) -> None:
            end, status = ends[name]
            outcome, blocking, _ = self.on_terminal(kind, end)
            self.assertEqual((outcome.status, outcome.err), (status, ""))
            self.assertTrue(blocking)

        together(
            {
                f"{name} {kind.name}": functools.partial(check, kind, name)
                for name in ends
                for kind in (TCP, TLS)
            }
        )

    def test_interrupted_early(self) -> None:
        """Ctrl-C while waiting for STARTTLS ends it as quietly, with status 130."""

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
    """A server that ends the session, in good order, before it has all."""

    def early(self, peer: Peer) -> None:
        """Say all there is to say at once, and then listen."""
        peer.send(b"enough\n")
        peer.half_close()
        peer.gone()

    def test_left(self) -> None:
        """Input that is known to be left is an error; the reply is delivered."""

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

        every(check)

    def test_nothing_left(self) -> None:
        """A server that closes when it has been told to is no error."""

        def quit_(peer: Peer) -> bytes:
            said = peer.line()
            peer.send(b"221 bye\r\n")
            peer.finish()
            return said

        def check(kind: Kind) -> None:
            with kind.serve(quit_) as server:
                outcome = run(*server.arguments, data=b"QUIT\r\n")
            self.assertEqual(outcome, Outcome(0, b"221 bye\r\n", ""))

        every(check)


class BrokenTests(SynchronousTestCase):
    """Whatever ends otherwise than in good order is an error with a reason."""

    def failing(self, kind: Kind, script: Callable[[Peer], Any], **how: Any) -> str:
        """Run a session that fails, and return what is said about it."""
        with kind.serve(script) as server:
            outcome = run(*server.arguments, **{"data": None, **how})
        self.assertEqual(outcome.status, 111, outcome)
        return outcome.complaint()

    def test_disk_full(self) -> None:
        """Output that cannot be written is an error."""

        def speak(peer: Peer) -> None:
            peer.send(b"hello")
            peer.gone()

        def check(kind: Kind) -> None:
            with open("/dev/full", "wb") as full:
                complaint = self.failing(kind, speak, stdout=full)
            self.assertEqual(
                complaint, "unable to write standard output: no space left on device"
            )

        every(check)

    def test_reset(self) -> None:
        """A reset is an error; what came before it is delivered."""

        def check(kind: Kind) -> None:
            def break_off(peer: Peer) -> None:
                peer.send(b"hello")
                # Not before it has arrived: a reset overtakes.
                heard.wait(PATIENCE)
                peer.reset()

            heard = threading.Event()
            with kind.serve(break_off) as server, running(*server.arguments) as process:
                assert process.stdout is not None
                self.assertEqual(process.stdout.read(5), b"hello")
                heard.set()
                outcome = finish(process, None)
            self.assertEqual(outcome.status, 111)
            self.assertIn("connection reset", outcome.complaint())

        # A UNIX socket knows no reset but that of unread bytes.
        every(check, TCP, TLS, STARTTLS)

    def test_unread(self) -> None:
        """A server that closes without reading what was sent is an error as well."""

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

    def test_cut_short(self) -> None:
        """A FIN without close_notify is an error; what came before is delivered."""

        def cut(peer: Peer) -> None:
            peer.send(b"hello")
            peer.cut()
            peer.gone()

        def check(kind: Kind) -> None:
            with kind.serve(cut) as server:
                outcome = run(*server.arguments, data=None)
            self.assertEqual((outcome.status, outcome.out), (111, b"hello"))
            self.assertIn("cut short: no close_notify", outcome.complaint())

        every(check, TLS, STARTTLS)

    def test_long_chain(self) -> None:
        """A server that speaks first does so once it has a long chain of ours, too."""

        def greet(peer: Peer) -> None:
            peer.secure(asking())
            peer.send(b"hello")
            peer.finish()

        with long_chain() as chain:
            options = ("-a", "5", "-n", str(chain), *trusting())
            with serving(greet, *options) as server:
                outcome = run(*server.arguments, data=None)
        self.assertEqual(outcome, Outcome(0, b"hello", ""))

    def test_certificate_refused(self) -> None:
        """A TLS 1.3 server that wants a certificate is an error with its reason."""

        def demand(peer: Peer) -> None:
            with contextlib.suppress(SSL.Error):
                peer.secure(server_context(client_ca=certificates.shared().ca))
            peer.gone()

        with serving(demand, "--tls", *trusting()) as server:
            outcome = run(*server.arguments, data=None)
        self.assertEqual((outcome.status, outcome.out), (111, b""))
        self.assertIn("certificate required", outcome.complaint())

    def test_garbage(self) -> None:
        """What is no TLS in the middle of TLS is an error."""

        def spoil(peer: Peer) -> None:
            peer.send(b"hello")
            peer.send_clear(b"this is not TLS\r\n" * 10)
            peer.gone()

        with TLS.serve(spoil) as server:
            outcome = run(*server.arguments, data=None)
        self.assertEqual((outcome.status, outcome.out), (111, b"hello"))
        outcome.complaint()

    def test_idle(self) -> None:
        """When nothing moves for the time of -a the session is given up."""

        def check(kind: Kind) -> None:
            with kind.serve(Peer.gone) as server:
                outcome = run("-a", "1", *server.arguments, data=None)
            self.assertEqual((outcome.status, outcome.out), (111, b""))
            self.assertIn("timed out", outcome.complaint())

        every(check)

    def test_idle_before(self) -> None:
        """The time of -a bounds STARTTLS and the handshake as well."""

        def check(*options: str) -> None:
            with serving(Peer.gone, "-a", "1", *options) as server:
                outcome = run(*server.arguments)
            self.assertEqual((outcome.status, outcome.out), (111, b""))
            self.assertIn("timed out waiting for ", outcome.complaint())

        together(
            {
                "STARTTLS": lambda: check("-s", "imap"),
                "TLS": lambda: check("--tls"),
            }
        )

    def test_idle_after(self) -> None:
        """It bounds the time in which a server does not take the handshake's end."""

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

    def test_never_idle(self) -> None:
        """With -a 0 there is no such limit: a session ends when it ends."""

        def check(kind: Kind) -> None:
            with kind.serve(lambda peer: finishing(peer, peer.line())) as server:
                outcome = run("-a", "0", *server.arguments, data=b"x\n")
            self.assertEqual(outcome, Outcome(0, b"", ""))

        every(check, TCP, TLS)


class TcpserverTests(SynchronousTestCase):
    """Sessions with programs of others: tcpserver and unixserver."""

    def test_cat(self) -> None:
        """What cat says comes back whole."""
        data = noise(3_000_000)

        def check(*arguments: str) -> None:
            outcome = run(*arguments, data=data)
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

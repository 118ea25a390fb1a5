"""The ends of sessions over every kind of connection: whole, early, or by a reset."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable
from fcntl import ioctl
from sys import byteorder
from termios import FIONREAD

from OpenSSL import SSL
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests import servers, tls13
from tests import test_described as described
from tests.command import (
    AT_ONCE,
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
    run,
    server_context,
    serving,
    start,
    terminal,
    together,
    trusting,
)
from tests.packages import find_program
from tests.test_client_mode import MIB, noise, running, same
from twisted_tcpclient.relay.descriptors import CHUNK, widen

#: The options of a user who gives none: the command decides when the server is told.
BY_DEFAULT: tuple[str, ...] = ()

#: Seconds in which a slow server watches for a hang-up of its client.
SLOW = 2.0

#: The kinds over which prog is a child with pipes.
PIPED = (TLS, STARTTLS)


def hung_up(peer: Peer, seconds: float) -> bool:
    """Return whether the client sends bytes, or ends, within this time."""
    return bool(select.select([peer.socket], [], [], seconds)[0])


def answer_slowly(question: bytes, peer: Peer) -> bool:
    """
    Answer a question after ``SLOW`` seconds, unless the client hangs up meanwhile.

    :returns: whether the client has hung up, or has sent anything else.
    """
    received = peer.exactly(len(question))
    gone = hung_up(peer, SLOW)
    if not gone:
        peer.send(b"the answer\n")
    peer.finish()
    return gone or not same(received, question)


def refuse(done: threading.Event, peer: Peer) -> None:
    """Read 10 bytes, refuse the rest in order, and keep the socket until ``done``."""
    peer.exactly(10)
    peer.send(b"413\n")
    peer.half_close()
    done.wait(PATIENCE)


class AnswerTests(SynchronousTestCase):
    """A server that takes FIN or close_notify for a hang-up."""

    def answers(self, size: int, kind: Kind, *options: str, prog: str = "") -> None:
        """A slow answer to so many bytes arrives, and the session is whole."""
        question = noise(size)
        slow = functools.partial(answer_slowly, question)
        with kind.serve(slow, BY_DEFAULT) as server:
            words = ("sh", "-c", prog) if prog else ()
            arguments = ("-RHl0", *options, *server.arguments, *words)
            outcome = run(*arguments, data=question)
            self.assertFalse(server.result(), "the client has hung up")
        self.assertEqual(outcome, Outcome(0, b"the answer\n", ""))

    def test_client_mode(self) -> None:
        """
        Its late answer arrives, in clear and over TLS, however much was sent to it.
        """
        for size in (20, 3 * MIB):
            every(functools.partial(self.answers, size))

    def test_prog(self) -> None:
        """The same when prog closes 7 and reads 6."""
        prog = "cat >&7; exec 7>&-; cat <&6"
        for size in (20, 3 * MIB):
            every(functools.partial(self.answers, size, prog=prog), *PIPED)

    def test_described(self) -> None:
        """The same with -E."""

        def check(way: described.Way, size: int) -> None:
            question = noise(size)
            slow = functools.partial(answer_slowly, question)
            with way.serve(slow) as (server, description):
                outcome = described.connect(
                    description, shutdown=BY_DEFAULT, data=question
                )
                self.assertFalse(server.result(), "the client has hung up")
            self.assertEqual(outcome, Outcome(0, b"the answer\n", ""))

        ways = (described.TCP, described.UNIX, described.TLS, described.STARTTLS)
        for size in (20, 3 * MIB):
            described.every(functools.partial(check, size=size), *ways)

    def test_never(self) -> None:
        """With --shutdown never the server is not told, and ends the session."""
        every(lambda kind: self.answers(20, kind, "--shutdown", "never"))

    def test_seconds(self) -> None:
        """With --shutdown SECONDS the server is told after that time, not before."""

        def waits(peer: Peer) -> tuple[bool, bytes]:
            peer.line()
            early = hung_up(peer, 0.5)
            rest = peer.rest()
            peer.finish()
            return early, rest

        def check(kind: Kind) -> None:
            with kind.serve(waits, ("--shutdown", "1")) as server:
                outcome = run(*server.arguments, data=b"hello\n")
                self.assertEqual(server.result(), (False, b""))
            self.assertEqual(outcome, Outcome(0, b"", ""))

        every(check)

    def test_terminal(self) -> None:
        """The server is told soon of the end of a terminal's input."""

        def check(kind: Kind) -> None:
            with kind.serve(Peer.finish, BY_DEFAULT) as server, terminal() as ends:
                master, slave = ends
                process = start(
                    *("-v", *server.arguments),
                    command=ON_TERMINAL,
                    stdin=slave,
                    session=False,
                )
                os.write(master, b"\x04")
                outcome = finish(process, None)
            self.assertEqual(outcome.status, 0)

        every(check)

    def test_said(self) -> None:
        """-v tells how long the server has to be quiet, and what ended the session."""

        def slow(peer: Peer) -> None:
            peer.line()
            hung_up(peer, 0.5)
            peer.send(b"bye\n")
            peer.finish()

        with TCP.serve(slow, BY_DEFAULT) as server:
            outcome = run("-v", *server.arguments, data=b"QUIT\n")
        *_, waits, ended = outcome.err.splitlines()
        self.assertEqual(
            waits,
            "tcpclient: standard input has ended; the server is told when it has been"
            " quiet for 15 s (--shutdown)",
        )
        self.assertEqual(ended, "tcpclient: the server has ended the connection")

    def test_said_never(self) -> None:
        """-v tells that --shutdown never lets the server not be told."""

        def late(peer: Peer) -> None:
            peer.line()
            hung_up(peer, 0.5)
            peer.finish()

        with TCP.serve(late, BY_DEFAULT) as server:
            options = ("-v", "--shutdown", "never", *server.arguments)
            outcome = run(*options, data=b"QUIT\n")
        self.assertIn(" has ended; the server is told never (--shutdown)", outcome.err)

    def test_postfix(self) -> None:
        """A mail of 3 MB to Postfix ends with its 221, over STARTTLS and in clear."""
        server = servers.postfix()
        body = b"Subject: long\r\n\r\n" + (b"x" * 70 + b"\r\n") * (3 * MIB // 72)
        mail = (
            b"EHLO me\r\nMAIL FROM:<a@example.test>\r\nRCPT TO:<user@example.test>\r\n"
            b"DATA\r\n" + body + b"\r\n.\r\nQUIT\r\n"
        )

        def check(*options: str) -> None:
            outcome = run(*options, server.host, str(server.smtp), data=mail)
            self.assertEqual((outcome.status, outcome.err), (0, ""))
            self.assertIn(b"\r\n221 ", outcome.out)

        secure = ("-s", "smtp", "-m", "mail.example.test", *trusting())
        together({"clear": check, "STARTTLS": lambda: check(*secure)})


class LeftTests(SynchronousTestCase):
    """A server that ends in order before it has taken everything."""

    def refused(self, kind: Kind, *prog: str, **how: object) -> None:
        """The session fails, and the server's bytes are delivered."""
        done = threading.Event()
        with kind.serve(functools.partial(refuse, done), BY_DEFAULT) as server:
            outcome = run("-RHl0", *server.arguments, *prog, **how)  # type: ignore[arg-type]
            done.set()
        self.assertEqual((outcome.status, outcome.out), (111, b"413\n"), kind.name)
        self.assertIn("before all of ", outcome.complaint())

    def test_described(self) -> None:
        """The same with -E."""

        def check(way: described.Way) -> None:
            done = threading.Event()
            with way.serve(functools.partial(refuse, done)) as (_, description):
                outcome = described.connect(
                    description, shutdown=BY_DEFAULT, data=noise(4 * MIB)
                )
                done.set()
            self.assertEqual((outcome.status, outcome.out), (111, b"413\n"))
            self.assertIn("before all of ", outcome.complaint())

        described.every(check, described.TCP, described.TLS, described.STARTTLS)

    def test_described_in_buffers(self) -> None:
        """With -E bytes that only Twisted and the kernel have taken count as unsent."""

        def check(shutdown: tuple[str, ...], way: described.Way) -> None:
            done = threading.Event()
            script = functools.partial(refuse, done)
            with way.serve(script) as (_, description), tempfile.TemporaryFile() as all:
                # One read takes the whole file.
                all.write(noise(CHUNK))
                all.seek(0)
                outcome = described.connect(
                    description, shutdown=shutdown, stdin=all, data=None
                )
                done.set()
            self.assertEqual((outcome.status, outcome.out), (111, b"413\n"))
            self.assertIn("before all of ", outcome.complaint())

        ways = (described.TCP, described.UNIX, described.TLS, described.STARTTLS)
        for shutdown in (BY_DEFAULT, AT_ONCE):
            described.every(functools.partial(check, shutdown), *ways)

    def test_unacknowledged(self) -> None:
        """Bytes that only the kernel has taken count as unsent."""
        # More than a server's kernel takes, and less than both kernels hold.
        large = noise(4 * MIB)
        every(lambda kind: self.refused(kind, data=large), TCP, TLS, STARTTLS)
        every(lambda kind: self.refused(kind, data=noise(200_000)), UNIX)

    def test_busy_writer(self) -> None:
        """A pipe with a writer that is empty for a moment is not at its end."""
        endless = ("sh", "-c", "cat /dev/zero | head -c 1000000000")

        def check(kind: Kind) -> None:
            with subprocess.Popen(endless, stdout=subprocess.PIPE) as writer:
                self.refused(kind, stdin=writer.stdout, data=None)
                assert writer.stdout is not None
                writer.stdout.close()

        for _ in range(3):
            every(check)

    def test_prog(self) -> None:
        """The same for the bytes that prog writes."""
        prog = ("sh", "-c", "head -c 5000000 /dev/zero >&7; exec 7>&-; cat <&6")
        every(lambda kind: self.refused(kind, *prog), *PIPED)

    def test_device(self) -> None:
        """Unread bytes of a block device count, though its size is reported as 0."""
        losetup = find_program("losetup", "mount")
        with tempfile.NamedTemporaryFile() as file:
            file.truncate(64 * MIB)
            made = subprocess.run(
                (losetup, "--show", "-f", file.name), capture_output=True, text=True
            )
            if made.returncode:
                raise SkipTest("loop devices cannot be had here (only root can)")
            device = made.stdout.strip()
            try:
                for kind in (TCP, TLS):
                    with open(device, "rb", buffering=0) as disk:
                        self.refused(kind, stdin=disk, data=None)
            finally:
                subprocess.run((losetup, "-d", device), check=True)

    def test_open_input(self) -> None:
        """Input that stays open and is empty is not an error."""

        def check(kind: Kind) -> None:
            with kind.serve(Peer.finish, BY_DEFAULT) as server:
                outcome = run(*server.arguments, data=None)
            self.assertEqual(outcome, Outcome(0, b"", ""))

        every(check)


def hurry(peer: Peer) -> None:
    """Send without delay (TCP_NODELAY): RST would drop bytes that wait."""
    peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class ResetTests(SynchronousTestCase):
    """RST after an orderly end."""

    def after(self, kind: Kind, end: Callable[[Peer], object]) -> Outcome:
        """Run a session whose server resets after its end."""

        def script(peer: Peer) -> None:
            hurry(peer)
            peer.line()
            peer.send(b"221 bye\r\n")
            end(peer)
            peer.reset()

        with kind.serve(script, BY_DEFAULT) as server:
            return run(*server.arguments, data=b"QUIT\r\n")

    def test_close_notify(self) -> None:
        """RST after close_notify is not an error: the server reads no more."""
        for _ in range(3):
            every(
                lambda kind: self.assertEqual(
                    self.after(kind, Peer.half_close), Outcome(0, b"221 bye\r\n", "")
                ),
                *PIPED,
            )

    def test_told_late(self) -> None:
        """A server that closes with close_notify unread resets in order."""

        def late(peer: Peer) -> None:
            hurry(peer)
            peer.line()
            # close_notify comes meanwhile, and stays unread.
            select.select([peer.socket], [], [], PATIENCE)
            peer.send(b"221 bye\r\n")
            peer.half_close()
            peer.socket.close()

        def check(kind: Kind) -> None:
            with kind.serve(late, ("--shutdown", "1")) as server:
                outcome = run(*server.arguments, data=b"QUIT\r\n")
            self.assertEqual(outcome, Outcome(0, b"221 bye\r\n", ""))

        every(check, *PIPED)


class NoReaderTests(SynchronousTestCase):
    """The end of a session whose output has no reader."""

    def test_ignores_close_notify(self) -> None:
        """
        A server that ignores close_notify gets FIN behind it.  Prog's status is the
        session's, though the server answers in clear.
        """

        def ignore(peer: Peer) -> bool:
            peer.line()
            # Until FIN comes below TLS.
            while peer.socket.recv(65536):
                pass
            peer.send_clear(b"421 you have not said QUIT\r\n")
            return True

        def check(kind: Kind) -> None:
            with kind.serve(ignore, BY_DEFAULT) as server:
                prog = ("sh", "-c", "echo hello >&7")
                outcome = run("-RHl0", "-a0", *server.arguments, *prog)
                self.assertTrue(server.result())
            self.assertEqual(outcome, Outcome(0, b"", ""))

        every(check, *PIPED)

    def test_all_is_sent(self) -> None:
        """FIN waits until a slow server has taken all that prog wrote."""
        size = 6 * MIB

        def slow(peer: Peer) -> int:
            hung_up(peer, PATIENCE)
            return len(peer.rest())

        def check(kind: Kind) -> None:
            with kind.serve(slow, BY_DEFAULT) as server:
                prog = ("sh", "-c", f"head -c {size} /dev/zero >&7")
                outcome = run("-RHl0", *server.arguments, *prog)
                self.assertEqual(server.result(), size)
            self.assertEqual(outcome, Outcome(0, b"", ""))

        every(check, *PIPED)

    def test_echo(self) -> None:
        """The answer of a server is read meanwhile, so that it goes on taking."""

        def echo(peer: Peer) -> int:
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            assert gone.wait(PATIENCE)
            # Time for the command to notice: an answer before that is undelivered.
            threading.Event().wait(SLOW)
            taken = 0
            while data := peer.receive():
                taken += len(data)
                peer.send(data)
            return taken

        def check(kind: Kind) -> None:
            gone.clear()
            with (
                kind.serve(echo, BY_DEFAULT) as server,
                tempfile.TemporaryFile() as file,
            ):
                file.write(noise(size))
                file.seek(0)
                with running("-v", *server.arguments, stdin=file) as process:
                    assert process.stdout is not None and process.stderr is not None
                    while b"input has ended" not in process.stderr.readline():
                        pass
                    process.stdout.close()
                    process.stdout = None
                    gone.set()
                    outcome = finish(process, None)
                self.assertEqual(server.result(), size)
            self.assertEqual(outcome.status, 0, outcome.err)

        # What our kernel holds beside what the server's takes.
        size, gone = 3 * MIB // 2, threading.Event()
        for kind in (TCP, TLS):
            check(kind)


class UnexpectedEOFTests(SynchronousTestCase):
    """FIN without close_notify."""

    def cut(self, peer: Peer) -> None:
        """Answer, and close without close_notify, as Cyrus does."""
        peer.line()
        peer.send(b"bye\n")
        peer.cut()
        peer.gone()

    def test_refused(self) -> None:
        """It is an error, whose message names the option that accepts it."""
        with TLS.serve(self.cut, BY_DEFAULT) as server:
            outcome = run(*server.arguments, data=b"QUIT\n")
        self.assertEqual((outcome.status, outcome.out), (111, b"bye\n"))
        self.assertTrue(
            outcome.complaint().endswith(
                ": TLS connection cut short: no close_notify"
                " (--ignore-unexpected-eof accepts that)"
            ),
            outcome.err,
        )

    def test_accepted(self) -> None:
        """With the option it is an end in order, and -v notes it."""

        def check(kind: Kind) -> None:
            with kind.serve(self.cut, BY_DEFAULT) as server:
                options = ("-v", "--ignore-unexpected-eof", *server.arguments)
                outcome = run(*options, data=b"QUIT\n")
            self.assertEqual((outcome.status, outcome.out), (0, b"bye\n"))
            self.assertIn("closed TLS without close_notify\n", outcome.err)

        every(check, *PIPED)

    def test_left(self) -> None:
        """The option does not accept an upload that was cut short."""

        def cut(peer: Peer) -> None:
            peer.exactly(10)
            peer.cut()
            peer.gone()

        def check(kind: Kind) -> None:
            with kind.serve(cut, BY_DEFAULT) as server, tempfile.TemporaryFile() as big:
                big.truncate(64 * MIB)
                options = ("--ignore-unexpected-eof", *server.arguments)
                outcome = run(*options, stdin=big, data=None)
            self.assertEqual(outcome.status, 111)
            self.assertIn("before all of standard input", outcome.complaint())

        every(check, *PIPED)

    def test_reset(self) -> None:
        """The option does not accept a reset."""

        def reset(peer: Peer) -> None:
            peer.line()
            peer.reset()

        with TLS.serve(reset, BY_DEFAULT) as server:
            options = ("--ignore-unexpected-eof", *server.arguments)
            outcome = run(*options, data=b"QUIT\n")
        self.assertEqual(outcome.status, 111)
        self.assertIn(": connection reset", outcome.complaint())


def is_read(writing: int) -> bool:
    """Return whether nothing is left in a pipe."""
    return int.from_bytes(ioctl(writing, FIONREAD, bytes(4)), byteorder) == 0


class WithheldTests(SynchronousTestCase):
    """Input that was read while half a message of TLS itself had come."""

    def withheld(
        self, end: Callable[[tls13.Server, Peer], object], *options: str
    ) -> Outcome:
        """
        Run a session whose input is withheld until the server does this.

        :param end: may send the rest of the ticket.
        """

        def script(peer: Peer) -> None:
            server = tls13.Server(peer)
            ready = server.sealed(tls13.DATA, b"ready\n")
            part = server.sealed(tls13.HANDSHAKE, tls13.ticket()[:50])
            peer.socket.sendall(ready + part)
            assert taken.wait(PATIENCE)
            end(server, peer)
            over.wait(PATIENCE)

        taken, over = threading.Event(), threading.Event()
        secure = ("--tls", *trusting(), *options)
        with (
            serving(script, *secure, shutdown=BY_DEFAULT) as server,
            running(*server.arguments) as process,
        ):
            assert process.stdin is not None and process.stdout is not None
            self.assertEqual(process.stdout.readline(), b"ready\n")
            writing = process.stdin.fileno()
            widen(writing)
            # More than a server's kernel takes, and no more than one read takes.
            self.assertEqual(os.write(writing, noise(200_000)), 200_000)
            servers.eventually(lambda: is_read(writing), "the input to be read")
            taken.set()
            outcome = finish(process)
            over.set()
        return outcome

    def test_cut_short(self) -> None:
        """--ignore-unexpected-eof does not accept input that was not sent."""
        outcome = self.withheld(lambda _, peer: peer.cut(), "--ignore-unexpected-eof")
        self.assertEqual((outcome.status, outcome.out), (111, b""))
        self.assertIn(": TLS failed: ", outcome.complaint())

    def test_unacknowledged(self) -> None:
        """After the other half it counts as input that the server has to take."""

        def end(server: tls13.Server, peer: Peer) -> None:
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            server.send(tls13.HANDSHAKE, tls13.ticket()[50:])
            hung_up(peer, PATIENCE)
            server.send(tls13.ALERT, tls13.CLOSE_NOTIFY)

        outcome = self.withheld(end)
        self.assertEqual((outcome.status, outcome.out), (111, b""))
        self.assertIn("before all of ", outcome.complaint())


class EarlyEndTests(SynchronousTestCase):
    """A server that ends with the last message of the handshake."""

    def test_close_notify(self) -> None:
        """Its bytes are delivered, and the session ends though its socket is open."""

        def script(peer: Peer) -> None:
            tls = SSL.Connection(server_context(SSL.TLS1_2_VERSION), None)
            tls.set_accept_state()
            while True:
                try:
                    tls.do_handshake()
                    break
                except SSL.WantReadError:
                    with contextlib.suppress(SSL.WantReadError):
                        peer.socket.sendall(tls.bio_read(CHUNK))
                    tls.bio_write(peer.socket.recv(CHUNK))
            tls.sendall(b"busy\n")
            tls.shutdown()
            peer.socket.sendall(tls.bio_read(CHUNK))
            over.wait(PATIENCE)

        over = threading.Event()
        secure = ("--tls", *trusting())
        with serving(script, *secure, shutdown=BY_DEFAULT) as server:
            outcome = run(*server.arguments, data=b"")
            over.set()
        self.assertEqual(outcome, Outcome(0, b"busy\n", ""))

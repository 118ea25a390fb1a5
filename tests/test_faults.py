"""The seventeen faults of the C tcpclient: for each, tests that show its absence.

Each class is one fault; numbers and order are those of ``doc/differences.rst``.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests import certificates, servers
from tests.command import (
    ON_TERMINAL,
    PATIENCE,
    STILL,
    TCP,
    TLS,
    UNIX,
    Cut,
    Kind,
    Outcome,
    Peer,
    environment,
    every,
    finish,
    run,
    server_context,
    serving,
    shell,
    start,
    terminal,
    together,
    trusting,
)
from tests.test_client_mode import MIB, finishing, noise, running, same
from tests.test_prog import QUICK, sh, state, until
from tests.torture import share

UPLOAD = 1_000_000
UPLOADS, SIDE_BY_SIDE = share(20, 200), 20

#: Runs the command several times in parallel, each in a process that is forked after
#: all imports; prints every exit status that is not 0.
MANY = """
import os, sys
from twisted_tcpclient import endpoints, tls
from twisted_tcpclient.command import console
from twisted_tcpclient.names import resolver, reverse
from twisted_tcpclient.stages import handshake, negotiation
from twisted_tcpclient.tls import creator
count, path, *arguments = sys.argv[1:]
def upload():
    pid = os.fork()
    if pid:
        return pid
    os.dup2(os.open(path, os.O_RDONLY), 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        os._exit(console.run(arguments))
    finally:
        os._exit(99)
for _ in [upload() for _ in range(int(count))]:
    _, status = os.wait()
    if status:
        print(os.waitstatus_to_exitcode(status))
"""


class Fault01(SynchronousTestCase):
    """The C program cuts uploads short, with status 0."""

    def upload(self, kind: Kind, count: int) -> None:
        """
        Check that uploads are complete with a server that sends first and reads late.
        """
        data = noise(UPLOAD)

        def chatter(peer: Peer) -> bool:
            peer.send(b"chatter\r\n" * 5000)
            # The C program loses data only if the server reads late; no event marks
            # that moment.
            select.select([], [], [], STILL)
            received = peer.rest()
            peer.send(b"thank you\r\n")
            peer.finish()
            return same(received, data)

        with tempfile.NamedTemporaryFile() as file, kind.serve(chatter) as server:
            Path(file.name).write_bytes(data)
            # A batch has to end within PATIENCE.
            for _ in range(count // SIDE_BY_SIDE):
                command = (sys.executable, "-c", MANY, str(SIDE_BY_SIDE), file.name)
                outcome = run(*server.arguments, command=command)
                self.assertEqual(outcome, Outcome(0, b"", ""))
            whole = [server.result() for _ in range(count)]
        self.assertEqual(whole, [True] * count)

    def test_tls(self) -> None:
        """
        Uploads of 1 MB over TLS 1.3, whose server sends session tickets, arrive
        complete.
        """
        self.upload(TLS, UPLOADS)

    def test_plain(self) -> None:
        """Uploads of 1 MB in clear and over UNIX sockets arrive complete."""
        every(lambda kind: self.upload(kind, SIDE_BY_SIDE), TCP, UNIX)


class Fault02(SynchronousTestCase):
    """The C program loses what the server sends after the EOF of stdin."""

    def test_client_mode(self) -> None:
        """A reply that the server sends after the EOF of stdin is delivered in full."""
        question, reply = noise(300_000), noise(200_000)

        def answer(peer: Peer) -> bytes:
            received = peer.rest()
            peer.send(reply)
            return finishing(peer, received)

        def check(kind: Kind) -> None:
            with kind.serve(answer) as server:
                outcome = run(*server.arguments, data=question)
                self.assertTrue(same(server.result(), question))
            self.assertTrue(same(outcome.out, reply), len(outcome.out))
            self.assertEqual((outcome.status, outcome.err), (0, ""))

        every(check)

    def test_no_input(self) -> None:
        """With /dev/null as stdin, everything that the server sends is delivered."""

        def banner(peer: Peer) -> bytes:
            rest = peer.rest()
            peer.send(b"late")
            return finishing(peer, rest)

        def check(kind: Kind) -> None:
            with kind.serve(banner) as server:
                outcome = run(*server.arguments, stdin=subprocess.DEVNULL)
                self.assertEqual(outcome, Outcome(0, b"late", ""))
                self.assertEqual(server.result(), b"")

        every(check, TCP, TLS)

    def test_prog(self) -> None:
        """
        If prog closes 7, the server receives close_notify, and its reply arrives on 6
        in full.
        """
        reply = noise(200_000)

        def late(peer: Peer) -> bytes:
            question = peer.rest()
            peer.send(reply)
            return finishing(peer, question)

        with TLS.serve(late) as server:
            prog = sh("echo question >&7; exec 7>&-; cat <&6; exit 3")
            outcome = run(*QUICK, *server.arguments, *prog)
            self.assertEqual(server.result(), b"question\n")
        self.assertTrue(same(outcome.out, reply), len(outcome.out))
        self.assertEqual((outcome.status, outcome.err), (3, ""))


class Fault03(SynchronousTestCase):
    """The C program does not verify certificates, and fails whenever -m asks for it."""

    def setUp(self) -> None:
        """
        Make two certificate directories: with the trusted CA, and with another one.
        """
        shared = certificates.shared()
        self.directory = Path(self.mktemp())
        for name, ca in (("ours", shared.ca), ("theirs", shared.stranger_ca)):
            (self.directory / name).mkdir(parents=True)
            (self.directory / name / "serverca.pem").write_bytes(ca.read_bytes())
        self.ours = self.directory.absolute() / "ours"
        self.theirs = self.directory.absolute() / "theirs"

    def connect(self, *options: str, **env: str) -> Outcome:
        """
        Connect to a server whose certificate is for localhost and mail.example.test.
        """

        def hello(peer: Peer) -> None:
            peer.secure()
            peer.send(b"hello\n")
            peer.finish()

        with serving(hello) as server:
            arguments = ("--tls", *options, *server.arguments)
            return run(*arguments, env=environment(**env))

    def test_match(self) -> None:
        """-m succeeds with a name of the certificate, and fails with any other name."""
        names = {"mail.example.test": 0, "other.example.test": 111}

        def check(name: str, status: int) -> None:
            outcome = self.connect(*trusting(), "-m", name)
            self.assertEqual((outcome.status, outcome.out), WELCOME[status])
            if status:
                words = f"the certificate is not for {name} but for localhost, "
                self.assertIn(words, outcome.complaint())

        together({k: functools.partial(check, k, v) for k, v in names.items()})

    def test_authorities(self) -> None:
        """
        -c has precedence over SERVERCA, SERVERCA over serverca.pem, and -C over
        CERTDIR.
        """
        ours, theirs = str(self.ours), str(self.theirs)
        ca, stranger = f"{ours}/serverca.pem", f"{theirs}/serverca.pem"
        cases: list[tuple[int, tuple[str, ...], dict[str, str]]] = [
            (111, ("-c", stranger), {"SERVERCA": ca, "CERTDIR": ours}),
            (0, (), {"SERVERCA": ca, "CERTDIR": theirs}),
            (111, (), {"SERVERCA": stranger, "CERTDIR": ours}),
            (0, ("-C", ours), {"CERTDIR": theirs}),
            (111, ("-C", theirs), {"CERTDIR": ours}),
        ]

        def check(status: int, options: tuple[str, ...], env: dict[str, str]) -> None:
            outcome = self.connect(*options, **env)
            self.assertEqual((outcome.status, outcome.out), WELCOME[status])
            if status:
                self.assertIn("unknown CA", outcome.complaint())

        together({str(case): functools.partial(check, *case) for case in cases})

    def test_server_name(self) -> None:
        """The command sends the name of a host as SNI, and no SNI for an IP address."""

        def named(peer: Peer) -> None:
            context = SSL.Context(SSL.TLS_SERVER_METHOD)
            chain = str(certificates.shared().server)
            context.use_certificate_chain_file(chain)
            context.use_privatekey_file(chain)
            context.set_tlsext_servername_callback(
                lambda connection: names.append(connection.get_servername())
            )
            peer.secure(context)
            peer.finish()

        for host, name in (("localhost", b"localhost"), ("127.0.0.1", None)):
            names: list[bytes | None] = []
            with serving(named) as server:
                port = str(server.address[1])
                outcome = run("--tls", *trusting(), "-4", host, port)
            self.assertEqual(outcome, Outcome(0, b"", ""))
            self.assertEqual(names, [name])


WELCOME = {0: (0, b"hello\n"), 111: (111, b"")}


class Fault04(SynchronousTestCase):
    """The C program has status 0 for every failure after connecting."""

    def test_reset(self) -> None:
        """A reset connection is an error; bytes received before it are delivered."""

        def check(kind: Kind) -> None:
            def break_off(peer: Peer) -> None:
                peer.send(b"hello")
                # close(2) with SO_LINGER 0 discards bytes that are not sent yet.
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

        every(check, TCP, TLS)

    def test_disk_full(self) -> None:
        """The command fails if stdout cannot be written (ENOSPC)."""

        def speak(peer: Peer) -> None:
            peer.send(b"hello")
            peer.gone()

        def check(kind: Kind) -> None:
            with open("/dev/full", "wb") as full, kind.serve(speak) as server:
                outcome = run(*server.arguments, data=None, stdout=full)
            self.assertEqual(outcome.status, 111)
            self.assertEqual(
                outcome.complaint(),
                "unable to write standard output: no space left on device",
            )

        every(check, TCP, TLS)

    def test_prog(self) -> None:
        """The command exits with prog's exit status."""

        def check(kind: Kind) -> None:
            with kind.serve(Peer.gone) as server:
                outcome = run(*QUICK, *server.arguments, *sh("exit 3"))
            self.assertEqual(outcome, Outcome(3, b"", ""))

        every(check, TCP, TLS)

    def test_killed_prog(self) -> None:
        """
        If a signal kills prog, the command is killed by it in clear, and exits with 128
        plus its number over TLS.
        """

        def check(kind: Kind) -> None:
            with kind.serve(Peer.gone) as server:
                outcome = run(*QUICK, *server.arguments, *sh("kill -KILL $$"))
            expected = 128 + signal.SIGKILL if kind.secure else -signal.SIGKILL
            self.assertEqual(outcome, Outcome(expected, b"", ""))

        every(check, TCP, TLS)


#: TLS 1.2, whose servers send nothing after the handshake by themselves.
OLD = Kind(
    "TLS 1.2",
    lambda: ("--tls", *trusting()),
    lambda peer: peer.secure(server_context(SSL.TLS1_2_VERSION)),
)


class Fault05(SynchronousTestCase):
    """The C program takes SIGCHLD for a timeout."""

    def test_grandchild(self) -> None:
        """
        A grandchild continues the session on 6 and 7 after prog has exited, and the
        command exits with prog's status.
        """

        def talk(peer: Peer) -> bytes:
            until(int(peer.line()), "")
            peer.send(b"still there\n")
            return finishing(peer, peer.line())

        def check(kind: Kind) -> None:
            prog = sh('(read line <&6; echo "yes, $line" >&7) & echo $$ >&7; exit 5')
            with kind.serve(talk) as server:
                outcome = run(*QUICK, *server.arguments, *prog)
                self.assertEqual(server.result(), b"yes, still there\n")
            self.assertEqual(outcome, Outcome(5, b"", ""))

        every(check, OLD, TLS)

    def test_stopped(self) -> None:
        """A prog that stops itself and is continued completes the session."""

        def talk(peer: Peer) -> bytes:
            prog = int(peer.line())
            until(prog, "T")
            peer.send(b"while you were away\n")
            os.kill(prog, signal.SIGCONT)
            return finishing(peer, peer.line())

        def check(kind: Kind) -> None:
            prog = sh('echo $$ >&7; kill -STOP $$; read line <&6; echo "$line" >&7')
            with kind.serve(talk) as server:
                outcome = run(*QUICK, *server.arguments, *prog)
                self.assertEqual(server.result(), b"while you were away\n")
            self.assertEqual(outcome, Outcome(0, b"", ""))

        every(check, OLD, TLS)


class Fault06(SynchronousTestCase):
    """The C program does not wait for prog, and leaves it behind."""

    def test_server_first(self) -> None:
        """
        If the server closes first, the command waits for prog and exits with its
        status.
        """

        def greet(peer: Peer) -> None:
            peer.send(b"hello\n")
            peer.finish()

        with TLS.serve(greet) as server:
            prog = sh("cat <&6; echo end; read go; exit 5")
            with running(*QUICK, *server.arguments, *prog) as process:
                assert process.stdout is not None
                self.assertEqual(process.stdout.read(10), b"hello\nend\n")
                server.result()
                self.assertIsNone(process.poll())
                self.assertEqual(finish(process, b"go\n"), Outcome(5, b"", ""))

    def test_signals(self) -> None:
        """After SIGTERM, SIGINT and SIGHUP the command exits when prog has ended."""

        def check(number: signal.Signals) -> None:
            with TLS.serve(Peer.leave) as server:
                prog = sh("echo $$; exec cat <&6")
                with running(*QUICK, *server.arguments, *prog) as process:
                    assert process.stdout is not None
                    child = int(process.stdout.readline())
                    process.send_signal(number)
                    self.assertEqual(finish(process), Outcome(128 + number, b"", ""))
                    self.assertEqual(state(child), "")

        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        together({n.name: functools.partial(check, n) for n in numbers})


class Fault07(SynchronousTestCase):
    """STARTTLS over IMAP cannot work in the C program."""

    def test_tag(self) -> None:
        """
        The command sends CAPABILITY and STARTTLS with tags, and accepts tagged replies.
        """

        def imap(peer: Peer) -> list[bytes]:
            peer.send(b"* OK ready\r\n")
            said = []
            for untagged in (b"* CAPABILITY IMAP4rev1 STARTTLS\r\n", b""):
                tag, command = peer.line().split()
                said.append(command)
                assert tag.isalnum()
                peer.send(untagged + tag + b" OK\r\n")
            peer.secure()
            peer.finish()
            return said

        with serving(imap, "-s", "imap", *trusting()) as server:
            self.assertEqual(run(*server.arguments), Outcome(0, b"", ""))
            self.assertEqual(server.result(), [b"CAPABILITY", b"STARTTLS"])

    def test_dovecot(self) -> None:
        """STARTTLS over IMAP succeeds with Dovecot."""
        server = servers.dovecot()
        arguments = ("-s", "imap", *trusting(), server.host, str(server.imap))
        outcome = run(*arguments, data=b"a LOGOUT\r\n")
        self.assertEqual((outcome.status, outcome.err), (0, ""))
        self.assertIn(b"a OK Logout", outcome.out)


class Fault08(SynchronousTestCase):
    """The C program's STARTTLS dialogue has no timeout, and breaks the protocols."""

    def test_timeout(self) -> None:
        """
        The command gives up after the seconds of -a if the server stops before or in
        the SMTP dialogue.
        """

        def fall_silent(*said: bytes) -> None:
            def silent(peer: Peer) -> None:
                for text in said:
                    peer.send(text)
                    if text.startswith(b"220 "):
                        peer.line()
                peer.gone()

            with serving(silent, "-a", "1", "-s", "smtp") as server:
                outcome = run(*server.arguments)
            self.assertEqual(outcome.status, 111)
            self.assertIn("timed out waiting for STARTTLS", outcome.complaint())

        points = ((), (b"220 x\r\n", b"250-x\r\n"))
        together({str(p): functools.partial(fall_silent, *p) for p in points})

    def test_greeting(self) -> None:
        """
        The command reads a greeting of several lines to its end, then sends EHLO, then
        STARTTLS.
        """

        def smtp(peer: Peer) -> bytes:
            peer.send(b"220-mail.example.test\r\n220-has much\r\n")
            # The greeting ends with the line that has a space after 220 (RFC 5321,
            # 4.2.1).
            early = select.select([peer.socket], [], [], STILL)[0]
            peer.send(b"220 to say\r\n")
            said = peer.line()
            peer.send(b"250-mail.example.test\r\n250-SIZE 1\r\n250 starttls\r\n")
            said += peer.line()
            peer.send(b"220-go\r\n220 ahead\r\n")
            peer.secure()
            peer.finish()
            return b"early" if early else said

        with serving(smtp, "-s", "smtp", *trusting()) as server:
            self.assertEqual(run(*server.arguments), Outcome(0, b"", ""))
            self.assertEqual(server.result(), b"EHLO [127.0.0.1]\r\nSTARTTLS\r\n")

    def test_pop3(self) -> None:
        """
        A POP3 server that greets with -ERR has refused the connection; nothing is sent.
        """

        def refuse(peer: Peer) -> bytes:
            peer.send(b"-ERR no\r\n")
            peer.gone()
            return peer.clear

        with serving(refuse, "-s", "pop3") as server:
            outcome = run(*server.arguments)
            self.assertEqual(server.result(), b"")
        self.assertEqual(outcome.status, 111)
        self.assertIn("the server refused the connection", outcome.complaint())


class Fault09(SynchronousTestCase):
    """
    The C program overruns buffers with an empty file for -f and with -e over IPv6.
    """

    def test_empty_file(self) -> None:
        """An empty file for -f is an error with its reason."""
        with tempfile.NamedTemporaryFile() as file:
            outcome = run("--tls", "-f", file.name, "0", "1")
        self.assertEqual(outcome.status, 111)
        self.assertEqual(outcome.complaint(), f"no ciphers in {file.name}")

    def test_ipv6(self) -> None:
        """A session with -e over IPv6 succeeds."""
        host = servers.loopbacks()[-1]

        def greet(peer: Peer) -> None:
            peer.send(b"hello\n")
            peer.finish()

        with serving(greet, host=host) as server:
            outcome = run("-e", *server.arguments)
        self.assertEqual(outcome, Outcome(0, b"hello\n", ""))


class Fault10(SynchronousTestCase):
    """In the C program -M fails, and -C is not recognized."""

    def test_versions(self) -> None:
        """
        -M selects the versions of TLS that are offered, by the names of the C program.
        """
        versions = {"TLSv1_2": b"TLSv1.2", "SSLv23": b"TLSv1.3"}

        def check(method: str, version: bytes) -> None:
            with TLS.serve(Peer.leave) as server:
                prog = sh("printf $SSL_PROTOCOL")
                outcome = run("-M", method, *QUICK, *server.arguments, *prog)
            self.assertEqual(outcome, Outcome(0, version, ""))

        together({k: functools.partial(check, k, v) for k, v in versions.items()})

    def test_directory(self) -> None:
        """
        The command takes the CA and the client certificate from the directory of -C.
        """
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        shared = certificates.shared()
        (directory / "serverca.pem").write_bytes(shared.ca.read_bytes())
        (directory / "clientcert.pem").write_bytes(shared.client.read_bytes())

        def demand(peer: Peer) -> None:
            peer.secure(server_context(client_ca=shared.ca))
            peer.send(b"welcome\n")
            peer.finish()

        with serving(demand) as server:
            outcome = run("-C", str(directory), "-n", "", *server.arguments)
        self.assertEqual(outcome, Outcome(0, b"welcome\n", ""))


class Fault11(SynchronousTestCase):
    """In the C program the socket becomes stdin or stdout if that is closed."""

    def test_closed(self) -> None:
        """
        Closed stdin is empty input, and closed stdout is an error; the server does not
        receive its own bytes, and the command exits.
        """

        def talk(peer: Peer) -> bytes:
            peer.send(b"from the server\n")
            said = b""
            with contextlib.suppress(OSError, SSL.Error, Cut):
                said = peer.rest()
            return finishing(peer, said)

        def check(kind: Kind) -> None:
            with kind.serve(talk) as server:
                words = " ".join(server.arguments)
                outcome = shell(f"tcpclient {words} <&-")
                self.assertEqual(outcome, Outcome(0, b"from the server\n", ""))
                self.assertEqual(server.result(), b"")
                for closed in (">&-", "<&- >&-"):
                    outcome = shell(f"tcpclient {words} {closed}")
                    self.assertEqual((outcome.status, outcome.out), (111, b""))
                    self.assertIn(
                        "unable to write standard output", outcome.complaint()
                    )
                    self.assertEqual(server.result(), b"", closed)

        every(check, TCP, TLS)


class Fault12(SynchronousTestCase):
    """The C program hangs if the server writes before it reads."""

    def test_duplex(self) -> None:
        """
        All bytes arrive if both sides write more than the buffers hold before they
        read.
        """
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

        every(check, TCP, TLS)


class Fault13(SynchronousTestCase):
    """The C program takes a cut connection, or a late alert, for a normal end."""

    def test_cut(self) -> None:
        """
        FIN without close_notify is an error; bytes received before it are delivered.
        """

        def cut(peer: Peer) -> None:
            peer.send(b"half of it")
            peer.cut()
            peer.gone()

        def check(kind: Kind) -> None:
            with kind.serve(cut) as server:
                outcome = run(*server.arguments, data=None)
            self.assertEqual((outcome.status, outcome.out), (111, b"half of it"))
            self.assertIn("cut short: no close_notify", outcome.complaint())

        every(check, TLS, OLD)

    def test_alert(self) -> None:
        """
        The command fails with the alert's reason if the server refuses the client
        certificate.
        """
        stranger = certificates.shared().stranger.client()
        path = stranger.save(certificates.shared().directory / "stranger-client.pem")

        def demand(peer: Peer) -> None:
            with contextlib.suppress(SSL.Error):
                peer.secure(server_context(client_ca=certificates.shared().ca))
            peer.gone()

        options = ("--tls", *trusting(), "-n", str(path))
        with serving(demand, *options) as server:
            outcome = run(*server.arguments, data=None)
        self.assertEqual((outcome.status, outcome.out), (111, b""))
        self.assertIn("unknown ca", outcome.complaint())


class Fault14(SynchronousTestCase):
    """The C program loses data if stdout is non-blocking."""

    def test_nonblocking(self) -> None:
        """
        5 MB arrive through a non-blocking stdout that is read late, and it is
        non-blocking afterwards.
        """
        data = noise(5_000_000)

        def check(kind: Kind) -> None:
            late = threading.Event()

            def pour(peer: Peer) -> None:
                rest = peer.send_until_still(data)
                late.set()
                peer.send(rest)
                peer.finish()

            reading, writing = os.pipe()
            os.set_blocking(writing, False)
            with (
                open(reading, "rb") as reader,
                open(writing, "wb") as writer,
                kind.serve(pour) as server,
            ):
                process = start(*server.arguments, stdout=writer)
                self.assertTrue(late.wait(PATIENCE))
                received = reader.read(len(data))
                self.assertEqual(finish(process), Outcome(0, b"", ""))
                self.assertFalse(os.get_blocking(writing))
            self.assertTrue(same(received, data), len(received))

        # In clear the kernel moves the bytes (splice); over TLS they are copied.
        every(check, TCP, TLS)


class Fault15(SynchronousTestCase):
    """The C program takes failures of DNS for permanent, and words for numbers."""

    def test_stalled(self) -> None:
        """
        A DNS server that does not answer is a temporary failure after the seconds of
        -T.
        """
        network = servers.network()
        command = network.inside(sys.executable, "-m", "twisted_tcpclient")
        outcome = run("-T", "1", "stalled.example.test", "25", command=tuple(command))
        self.assertEqual(outcome.status, 111)
        self.assertEqual(
            outcome.complaint(),
            "temporarily unable to figure out IP address for stalled.example.test:"
            " timed out",
        )

    def test_nonsense(self) -> None:
        """
        Words and numbers out of range are refused; 300.1.1.1 is not taken for 44.1.1.1:
        an octet above 255 makes no IPv4 address.
        """
        cases = {
            ("-T", "x", "0", "1"): 100,
            ("0", "65536"): 100,
            ("300.1.1.1", "25"): 111,
        }

        def check(arguments: tuple[str, ...], status: int) -> None:
            outcome = run(*arguments)
            self.assertEqual((outcome.status, outcome.out), (status, b""))
            self.assertNotIn("44.1.1.1", outcome.complaint())

        together({str(k): functools.partial(check, k, v) for k, v in cases.items()})


class Fault16(SynchronousTestCase):
    """
    The C program reports timeouts with an unrelated reason, and reads a key's
    passphrase from stdin.
    """

    def test_idle(self) -> None:
        """
        If no byte moves for the seconds of -a, the command fails; the message has the
        address, the port and the reason.
        """

        def check(kind: Kind) -> None:
            with kind.serve(Peer.gone) as server:
                outcome = run("-a", "1", *server.arguments, data=None)
            self.assertEqual((outcome.status, outcome.out), (111, b""))
            place = f"127.0.0.1 port {server.address[1]}"
            self.assertEqual(
                outcome.complaint(), f"{place}: timed out: nothing was sent or received"
            )

        every(check, TCP, TLS)

    def test_no_terminal(self) -> None:
        """
        Without a terminal the command fails instead of asking for a passphrase, and
        does not read stdin.
        """
        encrypted = str(certificates.shared().encrypted_client)
        reading, writing = os.pipe()
        os.write(writing, b"open sesame\n")
        with TLS.serve(Peer.leave) as server:
            outcome = run("-n", encrypted, *server.arguments, stdin=reading)
        self.assertEqual(outcome.status, 111)
        self.assertIn("there is no terminal to ask", outcome.complaint())
        self.assertEqual(os.read(reading, 100), b"open sesame\n")
        os.close(reading)
        os.close(writing)

    def test_terminal(self) -> None:
        """
        The command reads the passphrase from the terminal even if stdin is a pipe.
        """
        shared = certificates.shared()

        def demand(peer: Peer) -> bytes:
            peer.secure(server_context(client_ca=shared.ca))
            return finishing(peer, peer.rest())

        with terminal() as (master, slave), serving(demand) as server:
            inner = 'printf mail | "$@"'
            process = start(
                "-n",
                str(shared.encrypted_client),
                *trusting(),
                *server.arguments,
                command=(*ON_TERMINAL[:2], "sh", "-c", inner, "sh", *ON_TERMINAL[2:]),
                stdin=slave,
                session=False,
            )
            asked = b""
            while b"passphrase" not in asked:
                asked += os.read(master, 4096)
            os.write(master, shared.passphrase.encode() + b"\n")
            outcome = finish(process)
            self.assertEqual((outcome.status, outcome.out), (0, b""))
            self.assertEqual(server.result(), b"mail")


class Fault17(SynchronousTestCase):
    """The C program reads stdin in pieces of a kilobyte."""

    def test_pieces(self) -> None:
        """
        The command reads a file of 16 MB in few calls: a call reads 64 kB.
        """
        size = 16 * MIB

        def count(peer: Peer) -> int:
            received = peer.exactly(size)
            peer.send(b"x")
            asked.wait(PATIENCE)
            peer.finish()
            return len(received)

        asked = threading.Event()
        with tempfile.TemporaryFile() as file:
            file.write(noise(size))
            file.seek(0)
            # In clear sendfile(2) moves the bytes of a file, and nothing is read.
            with TLS.serve(count) as server:
                with running(*server.arguments, stdin=file) as process:
                    assert process.stdout is not None
                    self.assertEqual(process.stdout.read(1), b"x")
                    reads = self.reads(process)
                    asked.set()
                    self.assertEqual(finish(process).status, 0)
                self.assertEqual(server.result(), size)
        # The count has the reads of start-up and imports in it, which were about 2000.
        # In pieces of 1 kB there would be 16,384 more.
        self.assertLess(reads, size // 65536 + 4000)

    def reads(self, process: subprocess.Popen[bytes]) -> int:
        """Return the number of read system calls that a process has made."""
        lines = Path(f"/proc/{process.pid}/io").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("syscr")).split()[1])

"""
TLS handshakes that fail or are malformed, and events of TLS after the handshake.
"""

from __future__ import annotations

import contextlib
import functools
import random
import socket
import subprocess
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.certificates import shared
from tests.command import (
    PATIENCE,
    Cut,
    Outcome,
    Peer,
    Script,
    finish,
    kill,
    run,
    serving,
    start,
    trusting,
)
from tests.torture import share
from tests.torture.openssl import program
from tests.torture.sessions import (
    ANYTHING,
    IMPLICIT,
    WAYS,
    Way,
    context,
    meet,
    meet_at_socket,
    session,
)

BOTH = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)


def good(version: int = 0, ciphers: bytes = ANYTHING) -> SSL.Context:
    """
    Return a server context with a valid certificate, and this version and these
    ciphers.
    """
    return context(shared().server_identity, ciphers, version)


async def served(script: Script, way: Way, *options: str) -> Outcome:
    """Run the command against a server that follows a script once TLS is to begin."""

    def begun(peer: Peer) -> Any:
        way.begin(peer)
        # The client may close the connection at any step.
        with contextlib.suppress(OSError, Cut, SSL.Error):
            script(peer)

    with serving(begun) as server:
        arguments = (*way.options, *trusting(), *options)
        outcome = await session(*arguments, "127.0.0.1", str(server.address[1]))
        await deferToThread(server.result)
        return outcome


class Handshakes(TestCase):
    """A test case for handshakes that fail."""

    timeout = 600

    def refused(self, outcome: Outcome, *reasons: str) -> str:
        """
        Check that the session failed before prog was run; return the error message.
        """
        self.assertEqual((outcome.status, outcome.out), (111, b""))
        complaint = outcome.complaint()
        self.assertRegex(complaint, r"\A127\.0\.0\.1 port \d+: ")
        self.assertTrue(any(reason in complaint for reason in reasons), complaint)
        return complaint


class ParameterTests(Handshakes):
    """TLS versions and cipher suites."""

    async def refuses(
        self, tls: SSL.Context, options: Sequence[str], *reasons: str
    ) -> None:
        """Check that the handshake fails, with and without STARTTLS."""
        for way in WAYS:
            outcome, seen = await meet(way, tls, *trusting(), *options)
            self.refused(outcome, *reasons)
            self.assertEqual(seen.secret, b"")

    def test_old_versions(self) -> Deferred[None]:
        """A server that has only TLS 1.0 or 1.1 is refused, with any ciphers."""

        async def check() -> None:
            for version in (SSL.TLS1_VERSION, SSL.TLS1_1_VERSION):
                for options in ((), ("-f", "ALL:@SECLEVEL=0")):
                    # Either side may be the first to find that there is no common
                    # version.
                    reasons = ("no common TLS version", "alert protocol version")
                    await self.refuses(good(version), options, *reasons)

        return Deferred.fromCoroutine(check())

    def test_missing_version(self) -> Deferred[None]:
        """A server that does not have the TLS version of -M is refused."""

        async def check() -> None:
            for offered, wanted in zip(BOTH, ("TLSv1_3", "TLSv1_2"), strict=True):
                tls = good(offered)
                await self.refuses(tls, ("-M", wanted), "protocol version")

        return Deferred.fromCoroutine(check())

    def test_missing_cipher(self) -> Deferred[None]:
        """A server that has none of the ciphers of -f is refused."""

        async def check() -> None:
            tls = good(SSL.TLS1_2_VERSION, b"ECDHE-ECDSA-AES128-GCM-SHA256")
            wanted = ("-f", "ECDHE-ECDSA-AES256-GCM-SHA384", "-M", "TLSv1_2")
            await self.refuses(tls, wanted, "handshake failure")
            suite = good(SSL.TLS1_3_VERSION)
            suite.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")
            wanted = ("-f", "TLS_AES_256_GCM_SHA384", "-M", "TLSv1_3")
            await self.refuses(suite, wanted, "handshake failure")

        return Deferred.fromCoroutine(check())

    def test_weak_ciphers(self) -> Deferred[None]:
        """A server that has only weak or anonymous ciphers is refused."""

        async def check() -> None:
            for cipher in (b"NULL", b"EXPORT", b"RC4", b"DES", b"AECDH", b"ADH"):
                with contextlib.suppress(SSL.Error):
                    tls = good(SSL.TLS1_2_VERSION, cipher + b":@SECLEVEL=0")
                    await self.refuses(tls, (), "handshake failure")

        return Deferred.fromCoroutine(check())


class AnonymousTests(Handshakes):
    """Cipher suites without a certificate, which -f can allow."""

    LET_IN = ("-f", "ALL:@SECLEVEL=0")

    def anonymous(self) -> SSL.Context:
        """Return the context of a server without a certificate."""
        return context(None, b"AECDH:@SECLEVEL=0", SSL.TLS1_2_VERSION)

    def test_no_certificate(self) -> Deferred[None]:
        """
        A server that shows no certificate is refused, over TCP and at a UNIX socket,
        with and without STARTTLS.
        """

        async def check() -> None:
            for way in WAYS:
                for more in ((), ("-m", "mail.example.test")):
                    options = (*trusting(), *self.LET_IN, *more)
                    outcome, seen = await meet(way, self.anonymous(), *options)
                    self.refused(outcome, "the server has shown no certificate")
                    self.assertEqual(seen.secret, b"")
                    outcome, seen = await meet_at_socket(
                        way, self.anonymous(), *options
                    )
                    self.assertEqual((outcome.status, outcome.out), (111, b""))
                    self.assertRegex(
                        outcome.complaint(),
                        r"\Asocket /.*/s: the server has shown no certificate\Z",
                    )
                    self.assertEqual(seen.secret, b"")

        return Deferred.fromCoroutine(check())

    def test_insecure(self) -> Deferred[None]:
        """With -k, a server that shows no certificate is accepted."""

        async def check() -> None:
            outcome, _ = await meet(IMPLICIT, self.anonymous(), "-k", *self.LET_IN)
            self.assertEqual((outcome.status, outcome.out), (0, b"prog"))

        return Deferred.fromCoroutine(check())


class PartTests(Handshakes):
    """Handshakes that come in parts, or are changed."""

    def flight(self, peer: Peer, tls: SSL.Context) -> bytes:
        """Return the first flight of a TLS server in answer to the ClientHello."""
        connection = SSL.Connection(tls, None)
        connection.set_accept_state()
        connection.bio_write(peer.socket.recv(1 << 16))
        with contextlib.suppress(SSL.WantReadError):
            connection.do_handshake()
        said: bytes = connection.bio_read(1 << 16)
        return said

    def test_dripped(self) -> Deferred[None]:
        """A handshake that comes byte by byte has the same result as in one piece."""

        def drip(tls: SSL.Context, peer: Peer) -> None:
            peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.socket = Dripping(peer.socket)  # type: ignore[assignment]
            peer.secure(tls)
            peer.leave()

        async def check() -> None:
            bad = context(shared().stranger.server(["x.test"], ["127.0.0.1"]))
            for way in WAYS:
                for version in BOTH:
                    outcome = await served(functools.partial(drip, good(version)), way)
                    self.assertEqual(outcome, Outcome(0, b"prog", ""))
                outcome = await served(functools.partial(drip, bad), way)
                self.refused(outcome, "unknown CA")

        return Deferred.fromCoroutine(check())

    def change(self, tls: SSL.Context, point: int, peer: Peer) -> None:
        """
        Flip one bit of the flight, send it, and close: the client may wait for more.
        """
        said = bytearray(self.flight(peer, tls))
        said[len(said) * point // 1000] ^= 1 << point % 8
        peer.socket.sendall(said)
        peer.cut()
        peer.gone()

    def points(self) -> list[int]:
        """Return the places at which to change a flight, in thousandths."""
        return sorted(random.Random(1).sample(range(1000), share(25, 1000)))

    def test_changed(self) -> Deferred[None]:
        """A handshake with one bit flipped anywhere fails."""

        async def check() -> None:
            for version in BOTH:
                tls = good(version)
                for point in self.points():
                    script = functools.partial(self.change, tls, point)
                    outcome = await served(script, WAYS[point % 2])
                    self.assertEqual(outcome.status, 111)
                    self.assertTrue(outcome.complaint())

        return Deferred.fromCoroutine(check())


class Dripping:
    """A wrapper of a socket that sends one byte at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def sendall(self, data: bytes) -> None:
        """Send each byte by a system call of its own."""
        for number in range(len(data)):
            self._connection.sendall(data[number : number + 1])

    def __getattr__(self, name: str) -> Any:
        """Delegate to the socket."""
        return getattr(self._connection, name)


def record(kind: int, data: bytes, version: bytes = b"\3\3") -> bytes:
    """Return a TLS record (RFC 5246, section 6.2.1)."""
    return bytes((kind,)) + version + len(data).to_bytes(2, "big") + data


def message(kind: int, data: bytes) -> bytes:
    """Return a handshake message in a record (RFC 5246, section 7.4)."""
    return record(0x16, bytes((kind,)) + len(data).to_bytes(3, "big") + data)


def hello(
    end: bytes = b"\x11" * 8, version: bytes = b"\3\3", cipher: int = 0xC02B
) -> bytes:
    """Return a ServerHello of TLS 1.2."""
    extensions = b"\xff\1\0\1\0" + b"\0\x17\0\0"
    sizes = len(extensions).to_bytes(2, "big")
    return message(
        2,
        version
        + b"\x22" * 24
        + end
        + b"\0"
        + cipher.to_bytes(2, "big")
        + b"\0"
        + sizes
        + extensions,
    )


def listed(*certificates: bytes) -> bytes:
    """Return a Certificate message with these certificates, or with none."""
    each = [len(data).to_bytes(3, "big") + data for data in certificates]
    inside = b"".join(each)
    return message(11, len(inside).to_bytes(3, "big") + inside)


class NonsenseTests(Handshakes):
    """Servers that answer the ClientHello with something else than their part."""

    async def answers(self, said: bytes, *reasons: str) -> None:
        """
        Check that the handshake fails after this answer, with and without STARTTLS.
        """

        def script(peer: Peer) -> None:
            peer.socket.recv(1 << 16)
            peer.socket.sendall(said)
            peer.cut()
            peer.gone()

        for way in WAYS:
            self.refused(await served(script, way), *reasons)

    def hold(self, *cases: tuple[bytes, str]) -> Deferred[None]:
        """Check all cases: the answer of the server, and a text of the error."""

        async def check() -> None:
            for said, reason in cases:
                await self.answers(said, reason)

        return Deferred.fromCoroutine(check())

    def test_other_protocols(self) -> Deferred[None]:
        """
        If the server answers in another protocol, the error says that it does not speak
        TLS.
        """
        no_tls = "the server does not speak TLS here"
        return self.hold(
            (b"", "connection"),
            (b"220 mail.example.test ESMTP\r\n", no_tls),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", no_tls),
            (b"SSH-2.0-OpenSSH_9.2\r\n", no_tls),
            (b"\x1b[2J\x07" * 40, no_tls),
            (b"\0" * 400, "TLS handshake failed: "),
            (b"\xff" * 400, "TLS handshake failed: "),
        )

    def test_records(self) -> Deferred[None]:
        """
        The handshake fails if the first record is of another type or is malformed.
        """
        failed = "TLS handshake failed: "
        return self.hold(
            (record(0x17, b"secret" * 10), failed),
            (record(0x14, b"\1"), failed),
            (record(0x14, b"\1") * 1000, failed),
            (record(0x16, b"") * 1000, failed),
            (record(0x18, b"\1\xff\xff"), failed),
            (record(0x16, b"\2\xff\xff\xff" + b"x" * 100), failed),
            (b"\x16\3\3\xff\xff" + b"x" * 100, failed),
            (message(0, b""), failed),
            (message(1, b"\3\3" + b"x" * 34), failed),
            (message(20, b"x" * 12), failed),
            (message(254, b"x"), failed),
        )

    def test_server_hellos(self) -> Deferred[None]:
        """
        The handshake fails if the ServerHello selects a version or cipher not offered,
        or signals a downgrade.
        """
        return self.hold(
            (hello(version=b"\3\0"), "no common TLS version"),
            (hello(version=b"\3\2"), "no common TLS version"),
            (hello(version=b"\3\5"), "TLS handshake failed: "),
            (hello(cipher=0x0000), "cipher returned"),
            (hello(cipher=0x0018), "cipher returned"),
            # An attacker has removed TLS 1.3 from the ClientHello (RFC 8446, section
            # 4.1.3).
            (hello(b"DOWNGRD\1"), "inappropriate fallback"),
            (hello(b"DOWNGRD\0"), "inappropriate fallback"),
        )

    def test_certificate_messages(self) -> Deferred[None]:
        """The handshake fails if the Certificate message is empty or malformed."""
        failed = "TLS handshake failed: "
        leaf = shared().server_identity.certificate.public_bytes(Encoding.DER)
        return self.hold(
            (hello() + listed(), failed),
            (hello() + listed(b""), failed),
            (hello() + listed(b"certificate"), failed),
            (hello() + listed(leaf + b"x"), failed),
            (hello() + listed(leaf[:-1]), failed),
            (hello() + message(11, b"\xff\xff\xff" + leaf), failed),
            (hello() + message(14, b""), failed),
        )

    def test_random(self) -> Deferred[None]:
        """Random records and random bytes make the handshake fail."""
        some = random.Random(3)
        return self.hold(
            *(
                (
                    record(
                        some.choice((0x15, 0x16)), some.randbytes(some.randrange(300))
                    )
                    + some.randbytes(some.randrange(300)),
                    "TLS handshake failed: ",
                )
                for _ in range(share(10, 500))
            )
        )


LOOPBACK = ("-accept", "127.0.0.1:0")


class Printing:
    """A process of ``openssl s_server``, which obeys commands on its stdin."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [program(), "s_server", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.port = self.until(b"ACCEPT").rpartition(b":")[2].decode().strip()

    def until(self, words: bytes) -> bytes:
        """Read its output up to a line that contains these words; return the line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if words in line:
                return line
        raise AssertionError(f"s_server exited without printing {words!r}")

    def say(self, line: bytes) -> None:
        """Write a line to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Kill the process and wait for it."""
        self.process.kill()
        self.process.communicate()


class StreamTests(SynchronousTestCase):
    """Events of TLS after the handshake, while data goes both ways."""

    def printing(self, *options: str) -> Printing:
        """Start a server with a certificate; it is killed at the end of the test."""
        files = ("-cert", str(shared().server), "-key", str(shared().server))
        printing = Printing(*LOOPBACK, *files, *options)
        self.addCleanup(printing.end)
        return printing

    def client(self, server: Printing) -> subprocess.Popen[bytes]:
        """Start the command against the server, with a stdin that stays open."""
        options = ("--tls", *trusting(), "-a", f"{PATIENCE:.0f}")
        process = start(*options, "127.0.0.1", server.port)
        self.addCleanup(finish, process)
        self.addCleanup(kill, process)
        return process

    def both_ways(
        self,
        server: Printing,
        client: subprocess.Popen[bytes],
        word: bytes,
        before: bytes = b"",
    ) -> None:
        """
        Send a line to the server and receive one from it.

        The server has obeyed its earlier commands by then, and shown the text `before`.
        """
        assert client.stdin is not None and client.stdout is not None
        client.stdin.write(b"from " + word + b"\n")
        client.stdin.flush()
        if before:
            server.until(before)
        server.until(b"from " + word)
        server.say(b"to " + word)
        self.assertEqual(client.stdout.readline(), b"to " + word + b"\n")

    def test_key_updates(self) -> None:
        """Key updates do not disturb the session (RFC 8446, section 4.6.3)."""
        server = self.printing("-tls1_3", "-msg")
        client = self.client(server)
        self.both_ways(server, client, b"begin")
        for number in range(share(4, 200)):
            # The command K also requests a key update from the client.
            server.say((b"k", b"K")[number % 2])
            self.both_ways(server, client, b"%d" % number, b">>> TLS 1.3, Handshake")

    def test_tickets(self) -> None:
        """A session continues with a hundred session tickets, and with none."""
        for options in (
            ("-tls1_3", "-num_tickets", "100"),
            ("-tls1_3", "-num_tickets", "0"),
            ("-tls1_2",),
            ("-tls1_2", "-no_ticket"),
        ):
            server = self.printing(*options)
            self.both_ways(server, self.client(server), b"end")

    def test_no_alpn(self) -> None:
        """
        The client sends no ALPN extension: a server with ALPN protocols is not asked to
        select one.
        """
        asked: list[list[bytes]] = []

        def choose(connection: object, offered: list[bytes]) -> bytes:
            asked.append(offered)
            return offered[0]

        def script(peer: Peer) -> None:
            tls = good()
            tls.set_alpn_select_callback(choose)
            peer.secure(tls)
            peer.finish()

        with serving(script, "--tls", *trusting()) as other:
            self.assertEqual(run(*other.arguments), Outcome(0, b"", ""))
            other.result()
        self.assertEqual(asked, [])

    def test_renegotiation(self) -> None:
        """
        The client declines renegotiation (RFC 5246, section 7.2.2). If the server
        accepts that, the session continues; if the server ends the connection, the data
        received before is delivered and the status is 111.
        """

        def lenient(peer: Peer) -> None:
            connection = self.asking(peer)
            connection.send(b" and after")
            connection.shutdown()
            self.flush(peer, connection)
            peer.gone()

        def strict(peer: Peer) -> None:
            connection = self.asking(peer)
            connection.bio_write(peer.socket.recv(1 << 16))
            with contextlib.suppress(SSL.Error):
                connection.recv(1)
            self.flush(peer, connection)
            peer.gone()

        with serving(lenient, "--tls", *trusting()) as server:
            outcome = run(*server.arguments, data=None)
            server.result()
        self.assertEqual(outcome, Outcome(0, b"before and after", ""))
        with serving(strict, "--tls", *trusting()) as server:
            outcome = run(*server.arguments, data=None)
            server.result()
        self.assertEqual((outcome.status, outcome.out), (111, b"before"))
        self.assertIn("TLS failed: ", outcome.complaint())

    def asking(self, peer: Peer) -> SSL.Connection:
        """Return a TLS connection on which the server has requested renegotiation."""
        connection = SSL.Connection(good(SSL.TLS1_2_VERSION), None)
        connection.set_accept_state()
        while True:
            try:
                connection.do_handshake()
                break
            except SSL.WantReadError:
                self.flush(peer, connection)
                connection.bio_write(peer.socket.recv(1 << 16))
        connection.send(b"before")
        self.assertTrue(connection.renegotiate())
        connection.do_handshake()
        self.flush(peer, connection)
        return connection

    def flush(self, peer: Peer, connection: SSL.Connection) -> None:
        """Send the TLS records that wait in memory."""
        with contextlib.suppress(SSL.WantReadError):
            while True:
                peer.socket.sendall(connection.bio_read(1 << 16))

"""
Every dialect with a real server, and the first words of its protocol inside TLS.

Telnet has no such server; its recorded dialogue is in ``test_endpoints``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests import certificates, servers
from tests.transcripts import STREAMS
from twisted_tcpclient import dialects
from twisted_tcpclient.dialects import mysql
from twisted_tcpclient.endpoints import starttls
from twisted_tcpclient.errors import NameMismatch
from twisted_tcpclient.settings import TLSSettings
from twisted_tcpclient.tls import ConnectionCreator

TIMEOUT = 30


class Reader(Protocol):
    """
    A protocol that waits for words of the server.

    :ivar gone: fires at the loss of the connection.
    """

    transport: Any

    def __init__(self) -> None:
        self.gone: Deferred[None] = Deferred()
        self.received = b""
        self._wanted = b""
        self._found: Deferred[bytes] | None = None

    def until(self, wanted: bytes) -> Deferred[bytes]:
        """Return all data up to a text, the text included."""
        found: Deferred[bytes] = Deferred()
        self._wanted, self._found = wanted, found
        self._look()
        return found

    def dataReceived(self, data: bytes) -> None:
        """Keep the data, and look for the text."""
        self.received += data
        self._look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fire."""
        if self._found is not None:
            text = f"{self._wanted!r} never came, only {self.received!r}"
            self._found.errback(AssertionError(text))
        self.gone.callback(None)

    def _look(self) -> None:
        if self._found is not None and self._wanted in self.received:
            before, _, self.received = self.received.partition(self._wanted)
            found, self._found = self._found, None
            found.callback(before + self._wanted)


class ProtocolTests(TestCase):
    """Real servers."""

    timeout = 120

    def endpoint(self, dialect: str, port: int, name: str) -> IStreamClientEndpoint:
        """Return an endpoint with STARTTLS that verifies a name."""
        creator = ConnectionCreator(
            TLSSettings(authorities=str(certificates.shared().ca), name=name)
        )
        tcp = TCP4ClientEndpoint(reactor, servers.HOST, port)
        return starttls(dialect, creator, tcp, reactor, TIMEOUT, "localhost")

    @inlineCallbacks
    def converse(self, dialect: str, port: int, *exchanges: tuple[bytes, bytes]) -> Any:
        """
        Connect with the right name and exchange a few words inside TLS; then check that
        another name is refused.

        :param exchanges: pairs of bytes to send and text to wait for.

        :returns: the data that came for each pair.
        """
        factory = Factory.forProtocol(Reader)
        client: Any = yield self.endpoint(dialect, port, "localhost").connect(factory)
        heard = []
        for question, answer in exchanges:
            client.transport.write(question)
            heard.append((yield client.until(answer)))
        client.transport.abortConnection()
        yield client.gone
        stranger = self.endpoint(dialect, port, "evil.example").connect(factory)
        yield self.assertFailure(stranger, NameMismatch)
        return heard

    @inlineCallbacks
    def test_smtp(self) -> Any:
        """Postfix: EHLO inside TLS, which offers no STARTTLS."""
        (offer,) = yield self.converse(
            "smtp", servers.postfix().smtp, (b"EHLO [127.0.0.1]\r\n", b"250 ")
        )
        self.assertTrue(offer.startswith(b"250-mail.example.test"), offer)
        self.assertNotIn(b"STARTTLS", offer)

    @inlineCallbacks
    def test_pop3(self) -> Any:
        """Dovecot: USER and PASS inside TLS."""
        dovecot = servers.dovecot()
        yield self.converse(
            "pop3",
            dovecot.pop3,
            (b"USER %s\r\n" % dovecot.user.encode(), b"+OK\r\n"),
            (b"PASS %s\r\n" % dovecot.password.encode(), b"+OK Logged in."),
        )

    @inlineCallbacks
    def test_imap(self) -> Any:
        """Dovecot: LOGIN inside TLS."""
        dovecot = servers.dovecot()
        login = f"1 LOGIN {dovecot.user} {dovecot.password}\r\n".encode()
        yield self.converse("imap", dovecot.imap, (login, b"1 OK"))

    @inlineCallbacks
    def test_lmtp(self) -> Any:
        """Dovecot: LHLO inside TLS, which offers no STARTTLS."""
        (offer,) = yield self.converse(
            "lmtp", servers.dovecot().lmtp, (b"LHLO [127.0.0.1]\r\n", b"250 ")
        )
        self.assertNotIn(b"STARTTLS", offer)

    @inlineCallbacks
    def test_sieve(self) -> Any:
        """Dovecot: capabilities come unasked inside TLS, without STARTTLS."""
        capabilities, _ = yield self.converse(
            "sieve",
            servers.dovecot().sieve,
            (b"", b"\r\nOK "),
            (b"NOOP\r\n", b"NOOP"),
        )
        self.assertIn(b'"IMPLEMENTATION"', capabilities)
        self.assertNotIn(b'"STARTTLS"', capabilities)

    @inlineCallbacks
    def test_ftp(self) -> Any:
        """Vsftpd: PBSZ, PROT (RFC 4217, 9) and a login inside TLS."""
        yield self.converse(
            "ftp",
            servers.vsftpd().port,
            (b"PBSZ 0\r\n", b"200 "),
            (b"PROT P\r\n", b"200 "),
            (b"USER anonymous\r\n", b"331 "),
            (b"PASS me@example.test\r\n", b"230 "),
        )

    @inlineCallbacks
    def test_nntp(self) -> Any:
        """INN: CAPABILITIES inside TLS, without STARTTLS."""
        (offer,) = yield self.converse(
            "nntp", servers.nnrpd().port, (b"CAPABILITIES\r\n", b"\r\n.\r\n")
        )
        self.assertTrue(offer.startswith(b"101 "), offer)
        self.assertNotIn(b"STARTTLS", offer)

    @inlineCallbacks
    def test_nntp_of_two_modes(self) -> Any:
        """INN: innd lists STARTTLS only after MODE READER (RFC 3977, 5.3)."""
        (offer,) = yield self.converse(
            "nntp", servers.innd().port, (b"CAPABILITIES\r\n", b"\r\n.\r\n")
        )
        self.assertIn(b"\r\nREADER\r\n", offer)
        self.assertNotIn(b"MODE-READER", offer)

    @inlineCallbacks
    def test_ldap(self) -> Any:
        """Slapd: an anonymous bind inside TLS."""
        yield self.converse(
            "ldap",
            servers.slapd().port,
            (
                bytes.fromhex("30 0c 02 01 02 60 07 02 01 03 04 00 80 00"),
                bytes.fromhex("30 0c 02 01 02 61 07 0a 01 00 04 00 04 00"),
            ),
        )

    @inlineCallbacks
    def test_postgres(self) -> Any:
        """PostgreSQL: a login, after which the server reports TLS."""
        start = b"\0\3\0\0user\0postgres\0\0"
        query = b"select ssl from pg_stat_ssl where pid = pg_backend_pid()\0"
        ready = b"Z\0\0\0\x05I"
        _, row = yield self.converse(
            "postgres",
            servers.postgresql().port,
            ((len(start) + 4).to_bytes(4, "big") + start, ready),
            (b"Q" + (len(query) + 4).to_bytes(4, "big") + query, ready),
        )
        self.assertIn(b"D\0\0\0\x0b\0\1\0\0\0\1t", row)

    @inlineCallbacks
    def test_mysql(self) -> Any:
        """
        MariaDB: a login with the flags of the request, after which the server reports
        the cipher.
        """
        login = (
            mysql.CAPABILITIES.to_bytes(4, "little")
            + mysql.LARGEST_PACKET.to_bytes(4, "little")
            + bytes([mysql.UTF8MB4])
            + bytes(23)
            + b"root\0"
            + b"\0"
            + b"mysql_native_password\0"
        )
        query = b"\3SHOW STATUS LIKE 'Ssl_version'"
        _, row = yield self.converse(
            "mysql",
            servers.mariadb().port,
            (len(login).to_bytes(3, "little") + b"\2" + login, b"\0\0\0\2\0"),
            (len(query).to_bytes(3, "little") + b"\0" + query, b"TLSv1.3"),
        )
        self.assertIn(b"Ssl_version", row)

    @inlineCallbacks
    def check_xmpp(self, dialect: str, port: int, namespace: str) -> Any:
        """Open a stream inside TLS, and check its features."""
        header = f"<stream:stream to='localhost' version='1.0' {STREAMS}"
        (features,) = yield self.converse(
            dialect,
            port,
            (f"{header} xmlns='{namespace}'>".encode(), b"</stream:features>"),
        )
        self.assertNotIn(b"starttls", features)
        return features

    @inlineCallbacks
    def test_xmpp(self) -> Any:
        """Prosody: inside TLS it offers a login."""
        port = servers.prosody().client
        features = yield self.check_xmpp("xmpp", port, "jabber:client")
        self.assertIn(b"SCRAM-SHA-1", features)

    @inlineCallbacks
    def test_xmpp_server(self) -> Any:
        """Prosody: inside TLS it offers EXTERNAL to a server."""
        port = servers.prosody().server
        features = yield self.check_xmpp("xmpp-server", port, "jabber:server")
        self.assertIn(b"dialback", features)

    @inlineCallbacks
    def test_irc(self) -> Any:
        """InspIRCd: NICK and USER inside TLS."""
        yield self.converse(
            "irc",
            servers.inspircd().port,
            (b"NICK tester\r\nUSER tester 0 * :Tester\r\n", b" 001 tester "),
        )

    def test_command(self) -> None:
        """The command sends the name of -m as the domain of XMPP, and verifies it."""
        arguments = ["-s", "XMPP", "-m", "localhost"]
        arguments += ["-c", str(certificates.shared().ca)]
        arguments += [servers.HOST, str(servers.prosody().client)]
        stream = f"<stream:stream to='localhost' version='1.0' {STREAMS}"
        run = subprocess.run(
            [sys.executable, "-m", "twisted_tcpclient", *arguments],
            input=f"{stream} xmlns='jabber:client'></stream:stream>".encode(),
            capture_output=True,
            cwd=Path(__file__).parent.parent,
            timeout=TIMEOUT,
        )
        self.assertEqual(run.stderr, b"")
        self.assertTrue(run.stdout.startswith(b"<?xml"), run.stdout)
        self.assertTrue(run.stdout.endswith(b"</stream:stream>"), run.stdout)
        self.assertEqual(run.returncode, 0)


class TableTests(SynchronousTestCase):
    """The table of the documentation agrees with the code."""

    def rows(self) -> dict[str, list[str]]:
        """Return the rows of the table, by name."""
        text = (Path(__file__).parent.parent / "doc" / "dialects.rst").read_text()
        table = re.split(r"\n=+ [= ]+\n", text)[2]
        rows = [re.split(r" {2,}", line) for line in table.splitlines()]
        return {name: rest for name, *rest in rows}

    def test_registry(self) -> None:
        """
        Each dialect has a row with its RFC, its port, and whether it has a greeting.
        """
        rows = self.rows()
        self.assertEqual(tuple(rows), dialects.NAMES)
        for dialect in map(dialects.find, dialects.NAMES):
            rfc, port, _, greeting = rows[dialect.name]
            self.assertEqual(rfc, dialect.rfc)
            self.assertEqual(port, str(dialect.port))
            self.assertEqual(greeting, "yes" if dialect.greeting else "no")

    def test_servers(self) -> None:
        """The server of a row is the one in the test above."""
        for name, (_, _, server, _) in self.rows().items():
            test = getattr(ProtocolTests, f"test_{name.replace('-', '_')}", None)
            if test is None:
                self.assertEqual((name, server), ("telnet", "transcripts"))
            else:
                tested = test.__doc__.strip().partition(":")[0]
                self.assertEqual(tested.lower(), server.lower())

    def test_flags(self) -> None:
        """The flags that a client of MySQL has to repeat are those of the request."""
        text = (Path(__file__).parent.parent / "doc" / "dialects.rst").read_text()
        self.assertIn(f"``0x{mysql.CAPABILITIES:08x}``", text)

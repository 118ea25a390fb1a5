"""
The servers and certificates of the tests: each has the properties that tests rely on.
"""

from __future__ import annotations

import ast
import contextlib
import imaplib
import json
import os
import poplib
import shutil
import smtplib
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from cryptography import x509
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests import certificates, packages, servers
from tests.certificates import CLIENT, EXPIRED, FUTURE, Authority, Identity

PATIENCE = 10


def trusting(*, client: Path | None = None) -> ssl.SSLContext:
    """Return the settings of a client that trusts the shared authority."""
    context = ssl.create_default_context(cafile=str(certificates.shared().ca))
    if client is not None:
        context.load_cert_chain(client)
    return context


def received(connection: socket.socket) -> bytes:
    """Read until the peer closes."""
    connection.settimeout(PATIENCE)
    with connection, connection.makefile("rb") as stream:
        return stream.read()


def from_tcp(host: str, port: int) -> bytes:
    """Connect over TCP, and read until the peer closes."""
    return received(socket.create_connection((host, port), PATIENCE))


def from_unix(path: Path) -> bytes:
    """Connect to a UNIX socket, and read until the peer closes."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.fspath(path))
    return received(connection)


@dataclass
class Handshake:
    """A TLS handshake in memory, which shows how OpenSSL judges a certificate."""

    server: Identity
    directory: Path
    trusted: Authority
    revocations: list[x509.CertificateRevocationList] = field(default_factory=list)

    def verdict(self, name: str = "localhost") -> str:
        """Return OpenSSL's reason to refuse the certificate, or an empty string."""
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = self._client_settings().wrap_bio(
            to_client, to_server, server_hostname=name
        )
        server = self._server_settings().wrap_bio(
            to_server, to_client, server_side=True
        )
        try:
            for side in (client, server, client):
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()
        except ssl.SSLCertVerificationError as error:
            return str(error.verify_message)
        return ""

    def _client_settings(self) -> ssl.SSLContext:
        root = self.trusted.save(self.directory / "root.pem")
        context = ssl.create_default_context(cafile=str(root))
        if self.revocations:
            path = self.directory / "crl.pem"
            certificates.save_revocations(path, *self.revocations)
            context.load_verify_locations(path)
            context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
        return context

    def _server_settings(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server.save(self.directory / "server.pem"))
        return context


class CertificateTests(SynchronousTestCase):
    """Certificates of :mod:`tests.certificates`, as OpenSSL judges them."""

    def setUp(self) -> None:
        """Make an authority."""
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.root = Authority.root()

    def verdict(
        self,
        server: Identity,
        name: str = "localhost",
        *revocations: x509.CertificateRevocationList,
    ) -> str:
        """Return OpenSSL's reason to refuse a server, or an empty string."""
        handshake = Handshake(server, self.directory, self.root, list(revocations))
        return handshake.verdict(name)

    def test_names(self) -> None:
        """A certificate is accepted for its names and addresses only."""
        server = self.root.server(["localhost", "mail.example.test"], ["::1"])
        for name in ("localhost", "mail.example.test", "::1"):
            self.assertEqual(self.verdict(server, name), "")
        self.assertIn("mismatch", self.verdict(server, "www.example.test"))
        self.assertIn("mismatch", self.verdict(server, "127.0.0.1"))

    def test_common_name_alone(self) -> None:
        """
        A certificate with a common name and no alternative name is accepted for that
        name.
        """
        server = self.root.server(common_name="localhost")
        with self.assertRaises(x509.ExtensionNotFound):
            server.certificate.extensions.get_extension_for_class(
                x509.SubjectAlternativeName
            )
        self.assertEqual(self.verdict(server), "")
        self.assertIn("mismatch", self.verdict(server, "mail.example.test"))

    def test_time(self) -> None:
        """Certificates that have expired or are not valid yet are refused."""
        expired = self.root.server(["localhost"], valid=EXPIRED)
        future = self.root.server(["localhost"], valid=FUTURE)
        self.assertIn("expired", self.verdict(expired))
        self.assertIn("not yet valid", self.verdict(future))

    def test_self_signed(self) -> None:
        """A self-signed certificate is refused."""
        server = certificates.self_signed(["localhost"])
        self.assertIn("self", self.verdict(server))

    def test_stranger(self) -> None:
        """
        A certificate of another authority is refused, even if both have the same name.
        """
        server = Authority.root().server(["localhost"])
        self.assertIn("unable to get local issuer", self.verdict(server))

    def test_intermediates(self) -> None:
        """
        A chain with two intermediates is accepted, and refused if the server does not
        send them.
        """
        issuer = self.root.intermediate("First").intermediate("Second")
        server = issuer.server(["localhost"])
        self.assertEqual(self.verdict(server), "")
        forgetful = server.without_intermediates()
        self.assertIn("unable to get local issuer", self.verdict(forgetful))

    def test_purpose(self) -> None:
        """A server's certificate is refused if its purpose is client authentication."""
        server = self.root.server(["localhost"], purposes=[CLIENT])
        self.assertIn("purpose", self.verdict(server))

    def test_revocation(self) -> None:
        """A certificate is revoked by a list that contains it, and by no other list."""
        good, bad = self.root.server(["localhost"]), self.root.server(["localhost"])
        revocations = self.root.revocations(bad)
        self.assertEqual(self.verdict(good, "localhost", revocations), "")
        self.assertIn("revoked", self.verdict(bad, "localhost", revocations))

    def test_expired_revocations(self) -> None:
        """An expired revocation list leads to refusal."""
        revocations = self.root.revocations(valid=EXPIRED)
        server = self.root.server(["localhost"])
        self.assertIn("CRL has expired", self.verdict(server, "localhost", revocations))

    def test_passphrase(self) -> None:
        """
        The shared encrypted key can be read with its passphrase, and with no other.
        """
        shared = certificates.shared()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_cert_chain(shared.encrypted_client, password=shared.passphrase)
        with self.assertRaises(ssl.SSLError):
            context.load_cert_chain(shared.encrypted_client, password="another")

    def test_separate_files(self) -> None:
        """Key and chain can be written to separate files."""
        server = self.root.intermediate().server(["localhost"])
        key = server.save_key(self.directory / "key.pem")
        chain = server.save_chain(self.directory / "chain.pem")
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key)
        self.assertNotIn("PRIVATE", chain.read_text())
        self.assertNotIn("CERTIFICATE", key.read_text())


class PostfixTests(SynchronousTestCase):
    """Postfix, with every way in which SMTP is secured."""

    def setUp(self) -> None:
        """Start Postfix."""
        self.postfix = servers.postfix()

    def connect(self, port: int, host: str = servers.HOST) -> smtplib.SMTP:
        """Connect without TLS, and send EHLO."""
        client = smtplib.SMTP(host, port, timeout=PATIENCE)
        self.addCleanup(client.close)
        client.ehlo()
        return client

    def test_message(self) -> None:
        """A message sent after STARTTLS is delivered, at every address."""
        for address in self.postfix.addresses:
            client = self.connect(self.postfix.smtp, address)
            client.starttls(context=trusting())
            text = f"sent to {address}"
            client.sendmail("me@example.org", "user@example.test", f"\r\n{text}\r\n")
            self.assertIn("with ESMTPS", self.postfix.message(text))

    def test_implicit(self) -> None:
        """The smtps port begins with TLS."""
        client = smtplib.SMTP_SSL(
            self.postfix.host, self.postfix.smtps, context=trusting(), timeout=PATIENCE
        )
        self.addCleanup(client.close)
        self.assertEqual(client.noop()[0], 250)

    def test_plain(self) -> None:
        """The plain port does not offer STARTTLS; the other ports do."""
        postfix = self.postfix
        offers = {
            port: self.connect(port).has_extn("starttls")
            for port in (postfix.smtp, postfix.mutual, postfix.plain)
        }
        self.assertEqual(
            offers, {postfix.smtp: True, postfix.mutual: True, postfix.plain: False}
        )

    def test_client_certificate(self) -> None:
        """The mutual port serves a client that has a certificate."""
        client = self.connect(self.postfix.mutual)
        client.starttls(context=trusting(client=certificates.shared().client))
        self.assertEqual(client.ehlo()[0], 250)

    def test_no_client_certificate(self) -> None:
        """The mutual port refuses a client without a certificate."""
        client = self.connect(self.postfix.mutual)
        client.starttls(context=trusting())
        self.assertEqual(client.ehlo()[0], 421)

    def test_socket(self) -> None:
        """A UNIX socket leads to the same server."""
        connection = socket.socket(socket.AF_UNIX)
        self.addCleanup(connection.close)
        connection.settimeout(PATIENCE)
        connection.connect(os.fspath(self.postfix.socket))
        connection.sendall(b"QUIT\r\n")
        self.assertTrue(received(connection).startswith(b"220 mail.example.test "))

    def test_unknown_user(self) -> None:
        """Mail for other recipients than user@example.test is refused."""
        client = self.connect(self.postfix.plain)
        for recipient in ("nobody@example.test", "user@example.org"):
            with self.assertRaises(smtplib.SMTPRecipientsRefused):
                client.sendmail("me@example.org", recipient, "\r\n")

    def test_server_name(self) -> None:
        """The log contains the SNI of a client."""
        with socket.create_connection((servers.HOST, self.postfix.smtps)) as plain:
            trusting().wrap_socket(plain, server_hostname="mail.example.test").close()
        line = servers.logged(self.postfix.log, "to mail.example.test")
        self.assertIn("TLS connection established", line)


class DovecotTests(SynchronousTestCase):
    """Dovecot, with every way in which IMAP and POP3 are secured."""

    def setUp(self) -> None:
        """Start Dovecot."""
        self.dovecot = servers.dovecot()

    def check_imap(self, client: imaplib.IMAP4) -> None:
        """Log in, and fetch the welcome message."""
        with client:
            client.login(self.dovecot.user, self.dovecot.password)
            client.select(readonly=True)
            self.assertIn("Welcome", str(client.fetch("1", "BODY.PEEK[HEADER]")))

    def check_pop3(self, client: poplib.POP3) -> None:
        """Log in, and fetch the welcome message."""
        self.addCleanup(client.close)
        client.user(self.dovecot.user)
        client.pass_(self.dovecot.password)
        self.assertIn(b"Subject: Welcome", client.retr(1)[1])
        client.quit()

    def test_imap(self) -> None:
        """The IMAP port offers STARTTLS, at every address."""
        for address in self.dovecot.addresses:
            client = imaplib.IMAP4(address, self.dovecot.imap, PATIENCE)
            client.starttls(trusting())
            self.check_imap(client)

    def test_imaps(self) -> None:
        """The imaps port begins with TLS."""
        client = imaplib.IMAP4_SSL(
            self.dovecot.host,
            self.dovecot.imaps,
            ssl_context=trusting(),
            timeout=PATIENCE,
        )
        self.check_imap(client)

    def test_pop3(self) -> None:
        """The POP3 port offers STLS."""
        client = poplib.POP3(self.dovecot.host, self.dovecot.pop3, PATIENCE)
        client.stls(trusting())
        self.check_pop3(client)

    def test_pop3s(self) -> None:
        """The pop3s port begins with TLS."""
        client = poplib.POP3_SSL(
            self.dovecot.host, self.dovecot.pop3s, timeout=PATIENCE, context=trusting()
        )
        self.check_pop3(client)

    def test_log(self) -> None:
        """The log distinguishes a login over TLS from a login in clear."""
        for tls in (False, True):
            before = self.dovecot.log.stat().st_size
            client = imaplib.IMAP4(self.dovecot.host, self.dovecot.imap, PATIENCE)
            port = client.socket().getsockname()[1]
            if tls:
                client.starttls(trusting())
            self.check_imap(client)
            line = servers.logged(self.dovecot.log, f"rport={port}", before)
            self.assertEqual(line.endswith(", TLS"), tls, line)

    def test_wrong_password(self) -> None:
        """A wrong password is refused."""
        with imaplib.IMAP4(self.dovecot.host, self.dovecot.imap, PATIENCE) as client:
            client.starttls(trusting())
            with self.assertRaises(imaplib.IMAP4.error):
                client.login(self.dovecot.user, "another")


class UcspiTests(SynchronousTestCase):
    """The servers of UCSPI, which run a program for each connection."""

    def test_tcpserver(self) -> None:
        """Tcpserver runs its program with the connection on stdout."""
        server = servers.tcpserver("printenv", "TCPREMOTEIP")
        self.assertEqual(from_tcp(server.host, server.port), b"127.0.0.1\n")

    def test_tcpserver_options(self) -> None:
        """Options are handed to tcpserver."""
        server = servers.tcpserver("true", options=("-RHl0", "-B", "hello"))
        self.assertEqual(from_tcp(server.host, server.port), b"hello")

    def test_tcpserver_again(self) -> None:
        """
        The same arguments lead to the same server, and other arguments to another one.
        """
        first = servers.tcpserver("echo", "first")
        self.assertIs(servers.tcpserver("echo", "first"), first)
        self.assertNotEqual(servers.tcpserver("echo", "second").port, first.port)

    def test_log(self) -> None:
        """The stderr of the program is in the log."""
        server = servers.tcpserver("sh", "-c", "echo $PROTO >&2")
        from_tcp(server.host, server.port)
        self.assertEqual(servers.logged(server.log, "TCP"), "TCP")

    def test_unixserver(self) -> None:
        """Unixserver runs its program with the connection on stdout."""
        server = servers.unixserver("printenv", "PROTO")
        self.assertEqual(from_unix(server.path), b"UNIX\n")

    def test_failure(self) -> None:
        """The error contains the reason if a server cannot start."""
        packages.find_program("tcpserver", "ucspi-tcp")
        error = self.assertRaises(
            RuntimeError, servers.tcpserver, "true", host="192.0.2.1"
        )
        self.assertIn("unable to bind", str(error))


ASK_NAMES = """
import json, socket, sys

def addresses(name):
    found = socket.getaddrinfo(name + ".example.test", None, type=socket.SOCK_STREAM)
    return sorted({address[0] for *_, address in found})

def name(address):
    return socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0]

def answer(ask, question):
    try:
        return ask(question)
    except socket.gaierror:
        return None

names, numbers = map(str.split, sys.argv[1:])
print(json.dumps({
    **{each: answer(addresses, each) for each in names},
    **{each: answer(name, each) for each in numbers},
}))
"""

CONNECT = """
import errno, socket, sys

try:
    socket.create_connection((sys.argv[1], 25), timeout=0.2)
except TimeoutError:
    print("silence")
except OSError as error:
    print(errno.errorcode[error.errno])
"""

QUERY = """
import socket, sys

kind = {"A": 1, "PTR": 12}[sys.argv[1]]
labels = [*sys.argv[2].encode().split(b"."), b""]
name = b"".join(bytes([len(label)]) + label for label in labels)
query = bytes.fromhex("000101000001000000000000") + name + bytes([0, kind, 0, 1])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(float(sys.argv[3]))
    client.sendto(query, ("127.0.0.1", 53))
    try:
        print("answer", len(client.recv(512)))
    except TimeoutError:
        print("silence")
"""


class NetworkTests(SynchronousTestCase):
    """The network namespace with a name server, whose names exist only inside."""

    def setUp(self) -> None:
        """Start the network, with its name server."""
        self.network = servers.network()

    def run_inside(self, script: str, *arguments: str) -> str:
        """Run a Python script in the network, and return its output."""
        command = self.network.inside(sys.executable, "-c", script, *arguments)
        return subprocess.check_output(command, text=True, timeout=PATIENCE).strip()

    def test_addresses(self) -> None:
        """Names have no, one or several addresses, some of which do not answer."""
        expected = {
            "five": ["127.0.0.5"],
            "liar": ["127.0.0.11"],
            "many": ["127.0.0.7", "127.0.0.8"],
            "nameless": ["127.0.0.9"],
            "nosuch": None,
            "racing": ["127.0.0.5", "192.0.2.1"],
            "silent": ["192.0.2.1"],
        }
        if "::1" in servers.loopbacks():
            expected["six"] = ["::1"]
            expected["many"] = ["127.0.0.7", "127.0.0.8", "::1"]
        answers = json.loads(self.run_inside(ASK_NAMES, " ".join(expected), ""))
        self.assertEqual(answers, expected)

    def test_names(self) -> None:
        """Addresses have their own name, no name, or the name of another address."""
        expected = {
            "127.0.0.1": "localhost",
            "127.0.0.5": "five.example.test",
            "127.0.0.7": "many.example.test",
            "127.0.0.8": "many.example.test",
            "127.0.0.9": None,
            "127.0.0.10": "liar.example.test",
        }
        if "::1" in servers.loopbacks():
            expected["::1"] = "six.example.test"
        answers = json.loads(self.run_inside(ASK_NAMES, "", " ".join(expected)))
        self.assertEqual(answers, expected)

    def test_questions_are_logged(self) -> None:
        """The log contains the questions that the name server was asked."""
        self.run_inside(ASK_NAMES, "logged", "")
        servers.logged(self.network.log, "query[A] logged.example.test from 127.0.0.1")

    def test_unanswered(self) -> None:
        """The name server leaves some questions unanswered, and answers others."""
        reverse = "in-addr.arpa"
        known = ("PTR", f"5.0.0.127.{reverse}")
        self.assertIn("answer", self.run_inside(QUERY, *known, "30"))
        for question in (
            ("A", "stalled.example.test"),
            ("PTR", f"66.0.0.127.{reverse}"),
        ):
            self.assertEqual(self.run_inside(QUERY, *question, "0.2"), "silence")

    def test_connections(self) -> None:
        """A connection to some addresses is refused, times out, or is unreachable."""
        ends = {
            address: self.run_inside(CONNECT, address)
            for address in ("127.0.0.5", "192.0.2.1", "198.51.100.1")
        }
        self.assertEqual(
            ends,
            {
                "127.0.0.5": "ECONNREFUSED",
                "192.0.2.1": "silence",
                "198.51.100.1": "ENETUNREACH",
            },
        )

    def test_isolation(self) -> None:
        """The network is a namespace of its own."""
        link = Path("/proc/self/ns/net")
        inside = subprocess.check_output(self.network.inside("readlink", str(link)))
        self.assertNotEqual(inside.strip(), bytes(link.readlink()))

    def test_host_is_left_alone(self) -> None:
        """The name server is in resolv.conf inside the network only."""
        settings = "/etc/resolv.conf"
        inside = subprocess.check_output(self.network.inside("cat", settings))
        self.assertEqual(inside, b"nameserver 127.0.0.1\n")
        mounts = Path("/proc/self/mountinfo").read_text()
        self.assertNotIn(str(self.network.log.parent), mounts)

    def test_directory(self) -> None:
        """A command inside the network has the same current directory as outside."""
        inside = subprocess.check_output(self.network.inside("pwd"), text=True)
        self.assertEqual(inside.strip(), str(Path.cwd()))


ASK_IDENT = """
import socket, sys

host, port = sys.argv[1], int(sys.argv[2])

def ask(theirs, ours):
    with socket.create_connection((host, port)) as client:
        client.sendall(b"%d, %d\\r\\n" % (theirs, ours))
        return client.makefile().readline().replace(" ", "").strip()

family = socket.AF_INET6 if ":" in host else socket.AF_INET
with socket.create_server((host, 0), family=family) as server:
    theirs = server.getsockname()[1]
    with socket.create_connection((host, theirs)) as client, server.accept()[0]:
        ours = client.getsockname()[1]
        print(ask(theirs, ours).replace(f"{theirs},{ours}:", ""))
    print(ask(theirs, 1).replace(f"{theirs},1:", ""))
"""

SHOW_PEER = ("sh", "-c", 'echo "$TCPREMOTEHOST $TCPREMOTEINFO"')

READ_FROM = """
import socket, sys

source, host, port = sys.argv[1:]
client = socket.create_connection((host, int(port)), source_address=(source, 0))
print(client.makefile().read())
"""


class IdentTests(SynchronousTestCase):
    """The ident server, which names the user of a connection."""

    def setUp(self) -> None:
        """Start the ident server."""
        self.ident = servers.identd()

    def run_inside(self, script: str, *arguments: str) -> str:
        """Run a Python script in the network, and return its output."""
        command = self.ident.network.inside(sys.executable, "-c", script, *arguments)
        return subprocess.check_output(command, text=True, timeout=PATIENCE).strip()

    def test_answers(self) -> None:
        """
        The ident server names the user of a connection, and has no user for other
        ports.
        """
        for host in (*servers.loopbacks(), "127.0.0.5"):
            answers = self.run_inside(ASK_IDENT, host, str(self.ident.port))
            self.assertEqual(
                answers.splitlines(),
                [f"USERID:UNIX:{self.ident.user}", "ERROR:NO-USER"],
            )

    def test_tcpserver(self) -> None:
        """A tcpserver in the network learns the name and the user of its client."""
        server = servers.tcpserver(*SHOW_PEER, options=(), inside=self.ident.network)
        seen = self.run_inside(READ_FROM, "127.0.0.5", server.host, str(server.port))
        self.assertEqual(seen, f"five.example.test {self.ident.user}")


START_ALL = """
from tests import certificates, packages, servers

network = servers.network()
postfix, dovecot = servers.postfix(), servers.dovecot()
tcpserver, unixserver = servers.tcpserver("cat"), servers.unixserver("cat")
print(postfix.smtp, dovecot.imap, tcpserver.port)
print(
    certificates.shared().directory,
    *(log.parent for log in (postfix.log, dovecot.log, tcpserver.log)),
    *(log.parent for log in (unixserver.log, network.log, servers.identd().log)),
)
print(network.pid)
"""


class EndTests(SynchronousTestCase):
    """The end of the process that has started servers."""

    def test_end(self) -> None:
        """
        When the process exits, its servers have ended, and their files and network are
        removed.
        """
        servers.identd()
        servers.postfix()
        servers.dovecot()
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        told = subprocess.check_output(
            [sys.executable, "-c", START_ALL], env=environment, text=True
        )
        ports, directories, processes = map(str.split, told.splitlines())
        for port in ports:
            with self.assertRaises(ConnectionRefusedError):
                from_tcp(servers.HOST, int(port))
        self.assertEqual([path for path in directories if Path(path).exists()], [])
        self.assertFalse(Path("/proc", *processes).exists())


class SkipTests(SynchronousTestCase):
    """
    Servers that cannot run: the tests that need them are skipped, and do not fail.
    """

    def test_missing_program(self) -> None:
        """The reason of the skip has the Debian package that is missing."""
        self.patch(os, "geteuid", lambda: 0)
        self.patch(packages, "PLACES", ())
        self.patch(packages, "BESIDE", Path(self.mktemp()))
        start = {
            "postfix": servers.postfix,
            "dovecot-imapd": servers.started_dovecot,
            "dnsmasq-base": servers.network,
            "oidentd": servers.identd,
            "ucspi-tcp": servers.tcpserver,
            "ucspi-unix": servers.unixserver,
            "cyrus-common": servers.cyrus,
            "ejabberd": servers.ejabberd,
            "exim4-daemon-light": servers.exim,
            "lighttpd": servers.lighttpd,
            "nodejs": servers.node,
            "opensmtpd": servers.opensmtpd,
            "pure-ftpd": servers.pure_ftpd,
        }
        with mock.patch.dict(os.environ, {"PATH": ""}):
            for package, server in start.items():
                # `__wrapped__` avoids functools.cache, which may hold a server that has
                # started.
                skip = self.assertRaises(packages.Missing, server.__wrapped__)
                self.assertEqual(packages.missing([str(skip)]), [package])

    def test_not_root(self) -> None:
        """
        The servers that need root are skipped for other users, whether installed or
        not.
        """
        self.patch(os, "geteuid", lambda: 1)
        self.patch(shutil, "which", lambda name, path: f"/usr/sbin/{name}")
        for server in (servers.postfix, servers.started_dovecot, servers.network):
            skip = self.assertRaises(SkipTest, server.__wrapped__)
            self.assertIn("only root", str(skip))

    def test_installer(self) -> None:
        """The installer lists every package that a test can be skipped for."""
        listed = subprocess.check_output([packages.INSTALLER, "--list"], text=True)
        named = set(packages_named())
        self.assertIn("postfix", named)
        self.assertEqual(named - set(listed.split()), set())


#: Functions, and the position of the argument that is the name of a package.
NAMES = {"find_program": 1, "Missing": 1, "find_unpacked": 0}


def packages_named() -> Iterator[str]:
    """Yield the packages that calls in the tests name."""
    for path in Path(__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                place = NAMES.get(node.func.id, len(node.args))
                for word in node.args[place:]:
                    if isinstance(word, ast.Constant):
                        yield str(word.value)

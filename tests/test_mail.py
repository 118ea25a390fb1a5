"""Sessions with Postfix and Dovecot."""

from __future__ import annotations

import functools
import os
import shlex
import smtplib
import socket
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests import certificates, servers
from tests.command import (
    COMMAND,
    PATIENCE,
    ROOT,
    Outcome,
    Peer,
    environment,
    listening,
    run,
    server_context,
    shell,
    together,
    trusting,
)
from tests.test_prog import QUICK

#: A prog: for each argument, sends the part before "|" as a line, then reads up to a
#: line that begins with the part after it.
EXPECT = """
import os, sys
network, to_network = os.fdopen(6, "rb"), os.fdopen(7, "wb", 0)
for step in sys.argv[1:]:
    words, _, wanted = step.partition("|")
    if words:
        to_network.write(words.encode() + b"\\r\\n")
    line = None
    while line is None or not line.startswith(wanted.encode()):
        line = network.readline()
        if not line:
            sys.exit("no " + wanted)
        sys.stdout.write(line.decode())
"""


def expect(*steps: str) -> tuple[str, ...]:
    """Return the prog that does these steps."""
    return (sys.executable, "-I", "-S", "-c", EXPECT, *steps)


#: Prints the headers of a message, which imaplib reads through a command.
IMAPLIB = """
import imaplib, sys
with imaplib.IMAP4_stream(sys.argv[1]) as mailbox:
    mailbox.login(*sys.argv[2:])
    mailbox.select(readonly=True)
    print(mailbox.fetch("1", "(BODY.PEEK[HEADER])"))
"""

#: Input that ends a session in each protocol, and a part of the server's last reply.
FAREWELLS = {
    "smtp": (b"EHLO client.example.test\r\nQUIT\r\n", b"221 2.0.0 Bye\r\n"),
    "pop3": (b"CAPA\r\nQUIT\r\n", b"+OK Logging out\r\n"),
    "imap": (b"a CAPABILITY\r\nb LOGOUT\r\n", b"b OK Logout completed"),
}


def starttls_ports() -> dict[str, int]:
    """Return the port at which each protocol offers STARTTLS."""
    postfix, imap = servers.postfix(), servers.dovecot()
    return {"smtp": postfix.smtp, "pop3": imap.pop3, "imap": imap.imap}


def tls_ports() -> dict[str, int]:
    """Return the port at which each protocol begins with TLS."""
    postfix, imap = servers.postfix(), servers.dovecot()
    return {"smtp": postfix.smtps, "pop3": imap.pop3s, "imap": imap.imaps}


class ClientModeTests(SynchronousTestCase):
    """Dialogues that are piped to the command."""

    def check(self, protocol: str, outcome: Outcome, greeted: bool) -> None:
        """Check the outcome of a dialogue with a server."""
        _, last = FAREWELLS[protocol]
        self.assertEqual((outcome.status, outcome.err), (0, ""))
        self.assertIn(last, outcome.out)
        begin = {"smtp": b"220 ", "pop3": b"+OK", "imap": b"* OK"}[protocol]
        after = {"smtp": b"250-", "pop3": b"+OK\r\nCAPA", "imap": b"* CAPABILITY"}
        # The command does not print what the server sent before TLS.
        start = begin if greeted else after[protocol]
        self.assertTrue(outcome.out.startswith(start), outcome.out)

    def test_starttls(self) -> None:
        """
        With -s the dialogue takes place over TLS; the dialogue in clear is not printed.
        """

        def check(protocol: str, port: int) -> None:
            data, _ = FAREWELLS[protocol]
            arguments = ("-s", protocol, *trusting(), "localhost", str(port))
            self.check(protocol, run(*arguments, data=data), False)

        together(
            {
                protocol: functools.partial(check, protocol, port)
                for protocol, port in starttls_ports().items()
            }
        )

    def test_tls(self) -> None:
        """With --tls the command prints the server's greeting and its replies."""

        def check(protocol: str, port: int) -> None:
            data, _ = FAREWELLS[protocol]
            arguments = ("--tls", *trusting(), "localhost", str(port))
            self.check(protocol, run(*arguments, data=data), True)

        together(
            {
                protocol: functools.partial(check, protocol, port)
                for protocol, port in tls_ports().items()
            }
        )

    def test_plain(self) -> None:
        """In clear the command prints the server's greeting and its replies."""

        def check(protocol: str, port: int) -> None:
            data, _ = FAREWELLS[protocol]
            self.check(protocol, run("localhost", str(port), data=data), True)

        together(
            {
                protocol: functools.partial(check, protocol, port)
                for protocol, port in starttls_ports().items()
            }
        )

    def test_unix(self) -> None:
        """STARTTLS works over a UNIX socket, and -m says which name is verified."""
        path = str(servers.postfix().socket)
        data, _ = FAREWELLS["smtp"]

        def check(options: tuple[str, ...], greeted: bool) -> None:
            self.check("smtp", run(*options, path, data=data), greeted)

        tls = ("-s", "smtp", *trusting())
        together(
            {
                "plain": lambda: check((), True),
                "STARTTLS": lambda: check(tls, False),
                "name": lambda: check((*tls, "-m", "localhost"), False),
            }
        )

    def test_crlf(self) -> None:
        """With --crlf the server accepts lines that end with LF on stdin."""
        port = str(servers.postfix().smtps)
        arguments = ("--tls", "--crlf", *trusting(), "localhost", port)
        outcome = run(*arguments, data=b"EHLO x\nQUIT\n")
        self.check("smtp", outcome, True)


class ProgTests(SynchronousTestCase):
    """Progs that speak to a mail server on 6 and 7."""

    def test_send(self) -> None:
        """
        A prog sends mail with STARTTLS, with TLS, in clear, and over a UNIX socket.
        """
        postfix = servers.postfix()
        starttls, tls = ("-s", "smtp", *trusting()), ("--tls", *trusting())
        cases: Mapping[str, tuple[tuple[str, ...], bool]] = {
            "STARTTLS": ((*starttls, "localhost", str(postfix.smtp)), False),
            "TLS": ((*tls, "localhost", str(postfix.smtps)), True),
            "plain": (("localhost", str(postfix.plain)), True),
            "UNIX": ((str(postfix.socket),), True),
            "UNIX STARTTLS": ((*starttls, str(postfix.socket)), False),
        }

        def check(arguments: tuple[str, ...], greeted: bool) -> None:
            mark = uuid.uuid4().hex
            # After STARTTLS the server does not greet again (RFC 3207, 4.2).
            prog = expect(
                *(["|220 "] if greeted else []),
                "EHLO client.example.test|250 ",
                "MAIL FROM:<sender@example.test>|250 ",
                "RCPT TO:<user@example.test>|250 ",
                "DATA|354 ",
                f"Subject: {mark}|",
                "\r\nHello.\r\n.|250 ",
                "QUIT|221 ",
            )
            prog = tuple(step.replace(f"{mark}|", f"{mark}") for step in prog)
            outcome = run(*QUICK, *arguments, *sendable(prog))
            self.assertEqual((outcome.status, outcome.err), (0, ""))
            message = postfix.message(mark)
            secured = arguments[0] in ("-s", "--tls")
            self.assertEqual("using TLSv1.3" in message, secured)

        together({k: functools.partial(check, *case) for k, case in cases.items()})

    def test_read(self) -> None:
        """A prog reads mail by IMAP and POP3, with STARTTLS and with TLS."""
        server = servers.dovecot()
        imap = (
            f"a LOGIN {server.user} {server.password}|a OK",
            "b SELECT INBOX|b OK",
            "c FETCH 1 BODY.PEEK[HEADER]|c OK",
            "d LOGOUT|d OK",
        )
        pop3 = (
            f"USER {server.user}|+OK",
            f"PASS {server.password}|+OK",
            "TOP 1 0|.",
            "QUIT|+OK",
        )

        def check(port: int, options: tuple[str, ...], steps: tuple[str, ...]) -> None:
            arguments = (*options, *trusting(), "localhost", str(port))
            outcome = run(*QUICK, *arguments, *expect(*steps))
            self.assertEqual((outcome.status, outcome.err), (0, ""))
            self.assertIn(b"Subject: Welcome", outcome.out)

        together(
            {
                "imap": lambda: check(server.imap, ("-s", "imap"), imap),
                "imaps": lambda: check(server.imaps, ("--tls",), ("|* OK", *imap)),
                "pop3": lambda: check(server.pop3, ("-s", "pop3"), pop3),
                "pop3s": lambda: check(server.pop3s, ("--tls",), ("|+OK", *pop3)),
            }
        )


class GreetingTests(SynchronousTestCase):
    """--greeting, for clients that wait for a greeting after STARTTLS."""

    def test_client_mode(self) -> None:
        """
        A made-up greeting, with no word of the server's own, precedes the server's
        replies; also under ``twist``.
        """
        greetings = {
            "smtp": b"220 localhost ESMTP\r\n",
            "pop3": b"+OK ready\r\n",
            "imap": b"* OK ready\r\n",
        }
        twist = (sys.executable, "-m", "twisted", "tcpclient")

        def check(protocol: str, *arguments: str, **how: tuple[str, ...]) -> None:
            data, last = FAREWELLS[protocol]
            options = ("-s", protocol, "--greeting", *trusting())
            outcome = run(*options, *arguments, data=data, **how)
            self.assertEqual((outcome.status, outcome.err), (0, ""))
            self.assertTrue(outcome.out.startswith(greetings[protocol]), outcome.out)
            self.assertIn(last, outcome.out)

        ports, path = starttls_ports(), str(servers.postfix().socket)
        smtp = str(ports["smtp"])
        together(
            {
                "unix": lambda: check("smtp", "-m", "localhost", path),
                "unnamed": lambda: check("smtp", path),
                "twist": lambda: check("smtp", "localhost", smtp, command=twist),
                **{
                    name: functools.partial(check, name, "localhost", str(port))
                    for name, port in ports.items()
                },
            }
        )

    def test_prog(self) -> None:
        """A prog that waits for 220 before it sends works with --greeting."""
        prog = expect("|220 localhost ESMTP", "EHLO client.example.test|250 ")
        arguments = ("-s", "smtp", "--greeting", *trusting())
        port = str(servers.postfix().smtp)
        outcome = run(*QUICK, *arguments, "localhost", port, *prog)
        self.assertEqual((outcome.status, outcome.err), (0, ""))

    def test_imaplib(self) -> None:
        """Python's imaplib works with the command as its tunnel and --greeting."""
        server = servers.dovecot()
        options = shlex.join(("-s", "imap", "--greeting", *trusting()))
        tunnel = f"{shlex.join(COMMAND)} {options} localhost {server.imap}"
        program = (sys.executable, "-c", IMAPLIB, tunnel)
        outcome = run(server.user, server.password, command=program)
        self.assertEqual((outcome.status, outcome.err), (0, ""))
        self.assertIn(b"Subject: Welcome", outcome.out)

    def test_gateway(self) -> None:
        """
        A client that knows no TLS sends mail through a port of tcpserver, as the recipe
        in the README says.
        """
        postfix, mark = servers.postfix(), uuid.uuid4().hex
        options = ("-s", "smtp", "--greeting", *trusting(), "localhost")
        gateway = servers.tcpserver(
            *("env", f"PYTHONPATH={ROOT}", *COMMAND, *options, str(postfix.smtp))
        )
        with smtplib.SMTP(gateway.host, gateway.port, timeout=PATIENCE) as client:
            body = f"Subject: {mark}\r\n\r\nHello.\r\n"
            client.sendmail("a@example.test", "user@example.test", body)
        self.assertIn("using TLSv1.3", postfix.message(mark))

    def test_refused(self) -> None:
        """No greeting is printed if the server's certificate is refused."""
        port = str(servers.postfix().smtp)
        options = ("-s", "smtp", "--greeting", "-m", "other.test", *trusting())
        outcome = run(*options, "localhost", port, data=None)
        self.assertEqual((outcome.status, outcome.out), (111, b""))


def sendable(prog: tuple[str, ...]) -> tuple[str, ...]:
    """Join the steps for the header and body of a message, which have no reply."""
    *before, subject, body, last = prog
    return (*before, f"{subject}\r\n{body}", last)


class RefusalTests(SynchronousTestCase):
    """Sessions that are refused: status 111, no byte on stdout, and prog is not run."""

    def check(self, words: str, *arguments: str, data: bytes = b"QUIT\r\n") -> None:
        """Check that client mode and prog both fail with these words."""
        marker = certificates.shared().directory / uuid.uuid4().hex
        for extra in ((), ("touch", str(marker))):
            outcome = run(*QUICK, *arguments, *extra, data=data)
            self.assertEqual((outcome.status, outcome.out), (111, b""))
            self.assertIn(words, outcome.complaint())
        self.assertFalse(marker.exists())

    def test_unknown_ca(self) -> None:
        """
        A server whose certificate is from another CA than the trusted one is refused.
        """
        stranger = ("-c", str(certificates.shared().stranger_ca), "localhost")
        server = servers.dovecot()
        self.check("unknown CA", "-s", "imap", *stranger, str(server.imap))
        self.check("unknown CA", "--tls", *stranger, str(server.imaps))

    def test_system(self) -> None:
        """
        Without -c only the system's CAs are trusted, so the tests' server is refused.
        """
        port = str(servers.postfix().smtps)
        self.check("unknown CA", "--tls", "localhost", port)

    def test_not_offered(self) -> None:
        """A server that does not offer STARTTLS is refused."""
        postfix = servers.postfix()
        arguments = ("-s", "smtp", *trusting(), "localhost", str(postfix.plain))
        self.check("the server does not offer STARTTLS", *arguments)

    def test_wrong_protocol(self) -> None:
        """The command fails with a dialect that the server does not speak."""
        port = str(servers.postfix().smtp)
        words = "the server does not speak IMAP"
        self.check(words, "-s", "imap", *trusting(), "localhost", port)

    def test_client_certificate(self) -> None:
        """
        A server that requires a client certificate serves clients that have one only.
        """
        shared, port = certificates.shared(), str(servers.postfix().mutual)
        arguments = ("-s", "smtp", *trusting(), "localhost", port)
        mail = ("EHLO x|250 ", "MAIL FROM:<a@example.test>|")
        refused = run(*QUICK, *arguments, *expect(*mail))
        self.assertNotIn(b"250 2.1.0 Ok", refused.out)
        welcome = run("-n", str(shared.client), *QUICK, *arguments, *expect(*mail))
        self.assertIn(b"250 2.1.0 Ok", welcome.out)
        self.assertEqual(welcome.status, 0)


class ExampleTests(SynchronousTestCase):
    """Examples of the manual page, with other ports."""

    def setUp(self) -> None:
        """Make a certificate directory, which CERTDIR leads to."""
        shared = certificates.shared()
        self.certdir = Path(tempfile.mkdtemp(dir=shared.directory))
        for name, path in (("clientcert", shared.client), ("serverca", shared.ca)):
            (self.certdir / f"{name}.pem").write_bytes(path.read_bytes())
        self.script = self.certdir / "my_script"

    def example(self, line: str, data: bytes = b"", **env: str) -> bytes:
        """Run an example, and return its output."""
        env = environment(CERTDIR=str(self.certdir), **env)
        outcome = shell(line, data=data, env=env)
        self.assertEqual((outcome.status, outcome.err), (0, ""))
        return outcome.out

    def write_script(self, *steps: str) -> None:
        """Write the script that the examples run."""
        words = " ".join(f"'{word}'" for word in expect(*steps)[:4])
        steps_ = " ".join(f"'{step}'" for step in steps)
        self.script.write_text(f"#!/bin/sh\nexec {words} '{EXPECT}' {steps_}\n")
        self.script.chmod(0o755)

    def test_1(self) -> None:
        """The first example opens an SMTP session with STARTTLS."""
        port = servers.postfix().smtp
        said = self.example(f'tcpclient -n "" -s smtp 0 {port}', FAREWELLS["smtp"][0])
        self.assertIn(FAREWELLS["smtp"][1], said)

    def test_2(self) -> None:
        """The second example opens a POP3 session with STLS."""
        port = servers.dovecot().pop3
        said = self.example(f'tcpclient -n "" -s pop3 0 {port}', FAREWELLS["pop3"][0])
        self.assertIn(FAREWELLS["pop3"][1], said)

    def test_3(self) -> None:
        """The third example runs a prog on an IMAP session with STARTTLS."""
        port = servers.dovecot().imap
        self.write_script("a CAPABILITY|a OK", "b LOGOUT|b OK")
        said = self.example(f'tcpclient -n "" -s imap 0 {port} {self.script}')
        self.assertIn(b"a OK", said)

    def test_4(self) -> None:
        """The fourth example opens an IMAP session with STARTTLS."""
        port = servers.dovecot().imap
        said = self.example(f'tcpclient -n "" -s imap 0 {port}', FAREWELLS["imap"][0])
        self.assertIn(FAREWELLS["imap"][1], said)

    def test_5(self) -> None:
        """The fifth example opens an SMTP session in clear."""
        port = servers.postfix().smtp
        said = self.example(f"tcpclient 127.0.0.1 {port}", FAREWELLS["smtp"][0])
        self.assertTrue(said.startswith(b"220 mail.example.test ESMTP"))
        self.assertIn(FAREWELLS["smtp"][1], said)

    def test_6(self) -> None:
        """The sixth example opens a session over TLS with the certificate of -n."""
        port, certificate = servers.postfix().smtps, self.certdir / "clientcert.pem"
        line = f"tcpclient -n {certificate} 127.0.0.1 {port}"
        said = self.example(line, FAREWELLS["smtp"][0])
        self.assertTrue(said.startswith(b"220 mail.example.test ESMTP"))
        self.assertIn(FAREWELLS["smtp"][1], said)

    def test_7(self) -> None:
        """The seventh example runs a prog over TLS, with the file of TLS_CERTFILE."""
        port = servers.postfix().smtps
        os.rename(self.certdir / "clientcert.pem", self.certdir / "other.pem")
        self.write_script("|220 ", "EHLO x|250 ", "QUIT|221 ")
        line = f'tcpclient -n "" 0 {port} {self.script}'
        said = self.example(line, TLS_CERTFILE=str(self.certdir / "other.pem"))
        self.assertIn(b"250-mail.example.test", said)

    def test_8(self) -> None:
        """The eighth example opens a session over TLS through a UNIX socket."""

        def smtp(peer: Peer) -> bytes:
            peer.secure(server_context(client_ca=certificates.shared().ca))
            peer.send(b"220 mail.example.test ESMTP\r\n")
            said = peer.line()
            peer.send(b"221 bye\r\n")
            peer.finish()
            return said

        path, certificate = self.certdir / "smtpd", self.certdir / "clientcert.pem"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        with listening(listener, smtp) as server:
            said = self.example(f"tcpclient -n {certificate} {path}", b"QUIT\r\n")
            self.assertEqual(server.result(), b"QUIT\r\n")
        self.assertEqual(said, b"220 mail.example.test ESMTP\r\n221 bye\r\n")

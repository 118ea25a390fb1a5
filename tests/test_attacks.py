"""Attacks on STARTTLS, against the command.

The letters are those of "Why TLS Is Better Without STARTTLS" (USENIX Security 2021).
Until its certificate is verified, any server may be under an attacker's control.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests import certificates
from tests.certificates import EXPIRED, Authority
from tests.command import (
    Cut,
    Peer,
    run,
    server_context,
    serving,
    together,
    trusting,
)

Speech = Callable[[Peer], None]


class Hostile:
    """A server that follows the protocol except for some of its texts."""

    def __init__(self, protocol: str, **changes: bytes) -> None:
        self.protocol = protocol
        self.changes = changes

    def say(self, peer: Peer, name: str, usual: bytes, **parts: bytes) -> None:
        """Send a text, or the text that replaces it."""
        text = self.changes.get(name, usual)
        for key, value in parts.items():
            text = text.replace(b"<" + key.encode() + b">", value)
        peer.send(text)

    def talk(self, peer: Peer) -> None:
        """Hold the dialogue up to the point at which TLS begins."""
        getattr(self, self.protocol)(peer)

    def smtp(self, peer: Peer) -> None:
        """Hold the dialogue of RFC 3207."""
        self.say(peer, "greeting", b"220 mail.example.test\r\n")
        peer.line()
        self.say(peer, "offer", b"250-mail.example.test\r\n250 STARTTLS\r\n")
        peer.line()
        self.say(peer, "go", b"220 go ahead\r\n")

    def pop3(self, peer: Peer) -> None:
        """Hold the dialogue of RFC 2595."""
        self.say(peer, "greeting", b"+OK ready\r\n")
        peer.line()
        self.say(peer, "offer", b"+OK\r\nUSER\r\nSTLS\r\n.\r\n")
        peer.line()
        self.say(peer, "go", b"+OK begin\r\n")

    def imap(self, peer: Peer) -> None:
        """Hold the dialogue of RFC 9051."""
        self.say(peer, "greeting", b"* OK ready\r\n")
        tag = peer.line().split(b" ")[0]
        self.say(
            peer,
            "offer",
            b"* CAPABILITY IMAP4rev1 STARTTLS\r\n<tag> OK done\r\n",
            tag=tag,
        )
        tag = peer.line().split(b" ")[0]
        self.say(peer, "go", b"<tag> OK begin\r\n", tag=tag)


#: All that a client may say in clear, by its first word (after the tag in IMAP).
INNOCENT = {
    "smtp": (b"EHLO", b"STARTTLS"),
    "pop3": (b"CAPA", b"STLS"),
    "imap": (b"CAPABILITY", b"STARTTLS"),
}


def innocent(protocol: str, clear: bytes) -> bool:
    """Return whether bytes in clear are those of the dialogue and no more."""
    position = 1 if protocol == "imap" else 0
    words = [line.split()[position] for line in clear.split(b"\r\n")[:-1]]
    expected = list(INNOCENT[protocol][: len(words)])
    return clear[-2:] in (b"", b"\r\n") and words == expected


class AttackTests(SynchronousTestCase):
    """
    Each attack ends with status 111 and one line; no byte is sent in clear after it,
    and prog is not run.
    """

    def attack(
        self,
        protocol: str,
        talk: Speech,
        words: str,
        *options: str,
        prog: bool = False,
    ) -> bytes:
        """Attack once, with prog or in client mode; return the bytes sent in clear."""

        def script(peer: Peer) -> bytes:
            # The client closes the connection.
            with contextlib.suppress(OSError, Cut, SSL.Error):
                talk(peer)
                peer.rest()
            return peer.clear

        with tempfile.TemporaryDirectory() as directory:
            touched = Path(directory) / "touched"
            command = ("touch", os.fspath(touched)) if prog else ()
            with serving(script, "-s", protocol, *trusting(), *options) as server:
                arguments = ("-RHl0", *server.arguments, *command)
                outcome = run(*arguments, data=b"secret\r\n")
                clear: bytes = server.result()
            self.assertFalse(touched.exists(), "prog was run")
        self.assertEqual((outcome.status, outcome.out), (111, b""), outcome)
        self.assertIn(words, outcome.complaint())
        self.assertNotIn(b"secret", clear)
        # A ClientHello would be among these bytes, too.
        self.assertTrue(innocent(protocol, clear), clear)
        return clear

    def both(
        self, protocol: str, talk: Speech, words: str, *options: str
    ) -> list[bytes]:
        """Attack in client mode, then with prog."""
        modes = (False, True)
        return [
            self.attack(protocol, talk, words, *options, prog=prog) for prog in modes
        ]

    def attacks(self, cases: Mapping[str, tuple[Hostile, str]]) -> None:
        """
        Attack side by side, in client mode and with prog by turns.

        :param cases: for each name a server, and the words of the command's message.
        """
        together(
            {
                name: functools.partial(
                    self.attack,
                    hostile.protocol,
                    hostile.talk,
                    words,
                    prog=bool(number % 2),
                )
                for number, (name, (hostile, words)) in enumerate(cases.items())
            }
        )

    def test_stripping(self) -> None:
        """D_*: the client stops if STARTTLS is removed from the offer."""
        self.attacks(
            {
                "smtp": (
                    Hostile("smtp", offer=b"250-x\r\n250 SIZE 1000\r\n"),
                    "does not offer STARTTLS",
                ),
                "smtp, renamed": (
                    Hostile("smtp", offer=b"250-x\r\n250 XXXXXXXA\r\n"),
                    "does not offer STARTTLS",
                ),
                "smtp, no EHLO": (
                    Hostile("smtp", offer=b"502 what\r\n"),
                    "refused EHLO",
                ),
                "pop3": (
                    Hostile("pop3", offer=b"+OK\r\nUSER\r\n.\r\n"),
                    "does not offer STLS",
                ),
                "imap": (
                    Hostile(
                        "imap", offer=b"* CAPABILITY IMAP4rev1\r\n<tag> OK done\r\n"
                    ),
                    "does not offer STARTTLS",
                ),
                "imap, greeting": (
                    Hostile("imap", greeting=b"* OK [CAPABILITY IMAP4rev1] hi\r\n"),
                    "does not offer STARTTLS",
                ),
            }
        )

    def test_refusal(self) -> None:
        """O_1 to O_4: the client stops at each reply that is no go-ahead."""
        refused = "refused STARTTLS"
        cases = {
            text: (Hostile("smtp", go=text.encode() + b"\r\n"), refused)
            for text in ("454 not now", "501 what", "502 no", "503 no", "250 ok")
        }
        cases["-ERR"] = (Hostile("pop3", go=b"-ERR no\r\n"), "refused STLS")
        cases["NO"] = (Hostile("imap", go=b"<tag> NO\r\n"), refused)
        cases["BAD"] = (Hostile("imap", go=b"<tag> BAD no\r\n"), refused)
        cases["+"] = (Hostile("imap", go=b"+ go on\r\n"), "not asked for")
        cases["pop3 +"] = (Hostile("pop3", go=b"+ \r\n"), "does not speak POP3")
        self.attacks(cases)

    def test_response_injection(self) -> None:
        """B_1: bytes behind the go-ahead in clear end the connection."""
        injected = "sent data in clear after agreeing"
        self.attacks(
            {
                "smtp": (Hostile("smtp", go=b"220 go\r\n250 injected\r\n"), injected),
                "smtp, part": (Hostile("smtp", go=b"220 go\r\n2"), injected),
                "pop3": (Hostile("pop3", go=b"+OK\r\n+OK injected\r\n"), injected),
                "imap": (
                    Hostile("imap", go=b"<tag> OK\r\n* OK injected\r\n"),
                    injected,
                ),
                "TLS record": (
                    Hostile("smtp", go=b"220 go\r\n\x16\x03\x03\x00\x02xx"),
                    injected,
                ),
            }
        )

    def test_injected_alert(self) -> None:
        """B_2, B_3: an alert or a BYE around the go-ahead ends the connection."""
        self.attacks(
            {
                "alert": (
                    Hostile("smtp", go=b"220 go\r\n\x15\x03\x03\x00\x02\x02\x28"),
                    "sent data in clear",
                ),
                "BYE before": (
                    Hostile("imap", go=b"* BYE\r\n<tag> OK go\r\n"),
                    "said BYE",
                ),
                "BYE after": (
                    Hostile("imap", go=b"<tag> OK go\r\n* BYE\r\n"),
                    "sent data in clear",
                ),
            }
        )

    def test_late_injection(self) -> None:
        """B_1: bytes in clear after the ClientHello fail the handshake."""

        def talk(peer: Peer) -> None:
            Hostile("smtp").talk(peer)
            # By the ClientHello the client has accepted the go-ahead.
            hello = peer.socket.recv(65536)
            hellos.append(hello[:1])
            peer.send(b"250 injected\r\n")

        hellos: list[bytes] = []
        self.both("smtp", talk, "handshake failed")
        self.assertEqual(hellos, [b"\x16", b"\x16"])

    def test_preauth(self) -> None:
        """P_*: the client sends nothing to a server that claims a login."""
        for greeting in (
            b"* PREAUTH ready\r\n",
            b"* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n",
            b"* preauth\r\n",
        ):
            hostile = Hostile("imap", greeting=greeting)
            clear = self.both("imap", hostile.talk, "logged in already")
            self.assertEqual(clear, [b"", b""])

    def test_referral(self) -> None:
        """L_1, M_*: the client follows no referral to another server."""
        self.attacks(
            {
                "login": (
                    Hostile("imap", go=b"<tag> NO [REFERRAL imap://evil/] no\r\n"),
                    "refused STARTTLS",
                ),
                "mailbox": (
                    Hostile("imap", greeting=b"* BYE [REFERRAL imap://evil/] x\r\n"),
                    "refused the connection",
                ),
            }
        )

    def test_tampering(self) -> None:
        """
        Mailbox data in clear reaches neither stdout nor prog, before TLS or after.
        """
        data = (
            b'* LIST () "/" evil\r\n* LSUB () "/" evil\r\n* STATUS x (MESSAGES 9)\r\n'
            b"* SEARCH 1 2\r\n* FLAGS (\\Evil)\r\n* 9 EXISTS\r\n* 9 RECENT\r\n"
            b"* 1 EXPUNGE\r\n* 1 FETCH (FLAGS ())\r\n<tag> OK go\r\n"
        )

        def talk(peer: Peer) -> None:
            Hostile("imap", go=data).talk(peer)
            peer.secure()
            peer.send(b"inside\r\n")
            peer.finish()

        with serving(talk, "-s", "imap", *trusting()) as server:
            outcome = run(*server.arguments)
            self.assertEqual((outcome.out, outcome.err), (b"inside\r\n", ""))
            with_prog = run("-RHl0", *server.arguments, "sh", "-c", "cat <&6")
            self.assertEqual((with_prog.out, with_prog.err), (b"inside\r\n", ""))

    def test_spoofing(self) -> None:
        """A server's words before TLS are shown with -v only, escaped and labelled."""
        text = b"\x1b]0;evil\x07 [ALERT] your password, please"
        cases = {
            "smtp": Hostile("smtp", greeting=b"554 " + text + b"\r\n"),
            "pop3": Hostile("pop3", greeting=b"-ERR " + text + b"\r\n"),
            "imap": Hostile("imap", go=b"<tag> NO " + text + b"\r\n"),
        }

        def check(protocol: str, hostile: Hostile) -> None:
            with serving(hostile.talk, "-s", protocol) as server:
                silent = run(*server.arguments)
                self.assertNotIn("password", silent.complaint())
                spoken = run("-v", *server.arguments)
            self.assertEqual((spoken.status, spoken.out), (111, b""))
            *_, last = spoken.err.splitlines()
            code = {"smtp": "554", "pop3": "-ERR", "imap": "NO"}[protocol]
            self.assertIn(f"the server, unauthenticated, said: {code} ", last)
            self.assertIn(f"{code} \\x1b]0;evil\\x07 [ALERT]", last)
            self.assertTrue(spoken.err.replace("\n", "").isprintable())

        together({name: functools.partial(check, name, h) for name, h in cases.items()})

    def test_certificates(self) -> None:
        """T_1 to T_4: a certificate that cannot be verified ends the connection."""
        shared = certificates.shared()
        other, directory = Authority.root("Evil Root"), shared.directory
        names = (("localhost",), ("127.0.0.1",))
        wrong = {
            "self-signed": (certificates.self_signed(*names), "self-signed"),
            "unknown CA": (other.server(*names), "unknown CA"),
            "expired": (
                shared.authority.server(*names, valid=EXPIRED),
                "certificate has expired",
            ),
            "name": (
                shared.authority.server(("evil.example.test",)),
                "the certificate is not for 127.0.0.1 but for evil.example.test",
            ),
        }

        def check(protocol: str, name: str) -> None:
            identity, words = wrong[name]
            path = identity.save(directory / f"{protocol} {name}.pem")

            def talk(peer: Peer) -> None:
                Hostile(protocol).talk(peer)
                clear = peer.clear
                peer.secure(server_context(certificate=path))
                # In TLS the client sends an alert and no data.
                said.append(peer.rest())
                peer.clear = clear

            said: list[bytes] = []
            self.both(protocol, talk, words)
            self.assertEqual(b"".join(said), b"")

        together(
            {
                f"{protocol} {name}": functools.partial(check, protocol, name)
                for protocol, name in (
                    ("smtp", "self-signed"),
                    ("pop3", "unknown CA"),
                    ("imap", "expired"),
                    ("smtp", "name"),
                )
            }
        )

    def test_pre_emptive_reply(self) -> None:
        """A reply that comes before its command ends the connection."""
        before = "sent data before it was asked"
        self.attacks(
            {
                "smtp": (
                    Hostile("smtp", offer=b"250-x\r\n250 STARTTLS\r\n220 go ahead\r\n"),
                    before,
                ),
                "pop3": (
                    Hostile("pop3", offer=b"+OK\r\nSTLS\r\n.\r\n+OK begin\r\n"),
                    before,
                ),
                "imap": (
                    Hostile(
                        "imap",
                        greeting=b"* OK [CAPABILITY STARTTLS] x\r\na2 OK begin\r\n",
                    ),
                    before,
                ),
                "imap, another tag": (
                    Hostile("imap", go=b"a2 OK begin\r\n"),
                    "not asked for",
                ),
            }
        )

    def test_ignored_status(self) -> None:
        """CVE-2016-0772: a refusal is no go-ahead, even if TLS follows it."""

        def talk(peer: Peer) -> None:
            Hostile("smtp", go=b"454 no\r\n").talk(peer)
            # TLS would succeed if the client began it.
            hellos.append(peer.socket.recv(10))

        hellos: list[bytes] = []
        self.both("smtp", talk, "refused STARTTLS")
        self.assertEqual(b"".join(hellos), b"")

    def test_resources(self) -> None:
        """Lines and replies without end, and slow drips, are bounded."""
        drip = Hostile("smtp", greeting=b"2")
        self.attacks(
            {
                "line": (Hostile("smtp", greeting=b"220 " + b"x" * 20_000), "too long"),
                "lines": (
                    Hostile("smtp", greeting=b"220-x\r\n" * 20_000),
                    "speaks without end",
                ),
                "pop3": (
                    Hostile("pop3", offer=b"+OK\r\n" + b"X\r\n" * 40_000),
                    "speaks without end",
                ),
                "imap": (
                    Hostile("imap", go=b"* 1 FETCH x\r\n" * 10_000),
                    "speaks without end",
                ),
                "literal": (
                    Hostile("imap", go=b"* OK {4294967295}\r\n" + b"x" * 100),
                    "not asked for",
                ),
            }
        )
        self.attack("smtp", drip.talk, "timed out waiting for STARTTLS", "-a", "1")

    def test_greetings(self) -> None:
        """The client does not answer a greeting of another protocol."""
        refused = "refused the connection"
        greetings = {
            ("smtp", b"221 bye\r\n"): refused,
            ("smtp", b"354 go on\r\n"): refused,
            ("smtp", b"421 later\r\n"): refused,
            ("smtp", b"554 no\r\n"): refused,
            ("smtp", b"220-a\r\n250 b\r\n"): "differ in their code",
            ("smtp", b"+OK\r\n"): "does not speak SMTP",
            ("pop3", b"-ERR no\r\n"): refused,
            ("pop3", b"220 hi\r\n"): "does not speak POP3",
            ("imap", b"* BYE\r\n"): refused,
            ("imap", b"220 hi\r\n"): "does not speak IMAP",
            ("imap", b"\r\n"): "does not speak IMAP",
        }

        def check(protocol: str, greeting: bytes, words: str) -> None:
            talk = Hostile(protocol, greeting=greeting).talk
            self.assertEqual(self.attack(protocol, talk, words), b"")

        together(
            {
                f"{key}": functools.partial(check, *key, words)
                for key, words in greetings.items()
            }
        )

    def test_hanging_up(self) -> None:
        """A server that closes the connection at any point is an error."""

        def check(protocol: str, lines: int) -> None:
            hostile = Hostile(protocol)
            heard = 0

            def talk(peer: Peer) -> None:
                nonlocal heard
                usual, heard = peer.line, 0

                def line() -> bytes:
                    nonlocal heard
                    if heard == lines:
                        raise OSError
                    heard += 1
                    return usual()

                peer.line = line  # type: ignore[method-assign]
                hostile.talk(peer)

            self.attack(protocol, talk, "closed the connection before TLS")

        together(
            {
                f"{protocol} {lines}": functools.partial(check, protocol, lines)
                for protocol, lines in (("smtp", 0), ("pop3", 1), ("imap", 1))
            }
        )

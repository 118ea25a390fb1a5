"""
STARTTLS: attacks on the stages, in memory.

The attacks are those of "Why TLS Is Better Without STARTTLS" (USENIX Security 2021).
The name of a test has the letters of its attack there.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectingCancelledError, ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tests import transcripts
from tests.certificates import shared
from tests.test_dialogue import echo
from tests.transcripts import (
    DOMAIN,
    FTP,
    GOOD,
    IMAP,
    IRC,
    LDAP,
    LMTP,
    MYSQL,
    NNTP,
    PEER,
    POP3,
    SIEVE,
    SMTP,
    STARTTLS_OID,
    TELNET,
    TLS_NAMESPACE,
    XMPP,
    Exchange,
    MemoryTransport,
)
from twisted_tcpclient.dialects import (
    NAMES,
    Bytes,
    Dialect,
)
from twisted_tcpclient.dialogue import LONGEST_LINE, MOST
from twisted_tcpclient.endpoints import starttls
from twisted_tcpclient.errors import (
    BadReply,
    Disconnected,
    HandshakeFailed,
    InjectedData,
    NegotiationFailed,
    NotOffered,
    Preauthenticated,
    Refused,
    TCPClientError,
    TimedOut,
)
from twisted_tcpclient.settings import TLSSettings
from twisted_tcpclient.stages.base import StagedEndpoint
from twisted_tcpclient.stages.negotiation import (
    LastWords,
    Negotiation,
    client_name,
    negotiated,
    negotiation,
)
from twisted_tcpclient.testing import Segment, parse_transcript
from twisted_tcpclient.text import printable
from twisted_tcpclient.tls import ConnectionCreator

#: The timeout of the dialogue, in seconds.
TIMEOUT = 30

#: A fatal alert, handshake_failure, in clear.
ALERT = b"\x15\x03\x01\x00\x02\x02\x28"

#: The alert close_notify, in clear.
CLOSE_NOTIFY = b"\x15\x03\x03\x00\x02\x01\x00"

#: The first byte of a TLS record that holds a handshake message.
HELLO = b"\x16"


class Lines(SynchronousTestCase):
    """Helpers that hold dialogues through the whole endpoint."""

    dialect = ""

    def converse(self) -> Exchange:
        """Begin a connection through the whole endpoint."""
        creator = ConnectionCreator(
            TLSSettings(authorities=str(shared().ca), name="localhost")
        )

        def stages(
            tcp: IStreamClientEndpoint, clock: MemoryReactorClock
        ) -> IStreamClientEndpoint:
            return starttls(self.dialect, creator, tcp, clock, TIMEOUT, DOMAIN)

        return Exchange(stages)

    def given_up(
        self,
        exchange: Exchange,
        error: type[Exception],
        said: bytes,
    ) -> Any:
        """
        Check that a connection is aborted, and that nothing follows.

        :param said: all bytes that the client may have sent in clear.

        :returns: the error.
        """
        self.assertIs(type(exchange.error), error)
        self.assertTrue(exchange.transport.disconnected, "not aborted")
        self.assertEqual(exchange.transport.value(), said)
        # A transport may deliver data after abortConnection; the stage sends nothing.
        exchange.hear(b"250 OK\r\n+OK\r\n* OK\r\n.\r\n" + ALERT)
        exchange.hang_up()
        self.assertEqual(exchange.transport.value(), said)
        self.assertEqual(exchange.transport.late, b"")
        self.assertEqual(exchange.factory.built, [])
        self.assertEqual(exchange.left, [])
        self.assertIsNone(exchange.result)
        return exchange.error

    def attack(
        self, transcript: str, error: type[NegotiationFailed]
    ) -> NegotiationFailed:
        """
        Check that the last segment of a transcript ends the dialogue with an error.
        """
        exchange = self.converse()
        said = exchange.play(transcript)
        failure = self.given_up(exchange, error, said)
        assert isinstance(failure, NegotiationFailed)
        self.assertEqual(failure.peer, PEER)
        return failure

    def secures(self, transcript: str) -> None:
        """Check that the client sends a TLS ClientHello after a transcript."""
        exchange = self.converse()
        said = exchange.play(transcript)
        sent = exchange.transport.value()
        self.assertTrue(sent.startswith(said + HELLO), sent)
        self.assertTrue(exchange.undecided)
        self.assertEqual(exchange.factory.built, [])
        exchange.connecting.cancel()
        exchange.hang_up()
        self.assertEqual(exchange.left, [])


class Attacks(Lines):
    """Data and helpers for the attacks on one dialect."""

    #: Data that a server may send after a successful login.
    agreement = b""
    #: The last words of a server before it closes the connection.
    farewell = b""
    #: The bytes that end what a server says, if the protocol has an end.
    end = b"\r\n"
    #: The error for bytes of another protocol.
    junk: type[NegotiationFailed] = BadReply
    #: The beginning of a line that a server may send.
    drip = b"* 20"

    @property
    def good(self) -> str:
        """The good dialogue."""
        return GOOD[self.dialect]

    @property
    def asked(self) -> str:
        """The good dialogue up to the last segment of the server."""
        return self.good[: self.good.rindex("    S")]

    def go_ahead(self, said: bytes) -> bytes:
        """
        Return the last segment of the server.

        :param said: all bytes of the client, which have the tag.
        """
        *_, last = [said for said in parse_transcript(self.good) if said.by_server]
        tag = said.rpartition(b"2 STARTTLS")[0].rpartition(b"\n")[2]
        return last.tagged(tag)

    def check_segment(self, data: bytes) -> None:
        """Check that data behind the go-ahead, in its segment, is refused."""
        exchange = self.converse()
        said = exchange.play(self.asked)
        exchange.hear(self.go_ahead(said) + data)
        self.given_up(exchange, InjectedData, said)

    def check_next_segment(self, data: bytes) -> None:
        """Check that data in clear after the ClientHello fails the handshake."""
        exchange = self.converse()
        exchange.play(self.good)
        sent = exchange.transport.value()
        exchange.hear(data)
        self.assertTrue(exchange.transport.disconnecting)
        # A transport may deliver data after abortConnection.
        exchange.hear(b"250 OK\r\n")
        exchange.hang_up()
        self.assertIsInstance(exchange.error, HandshakeFailed)
        # OpenSSL may answer with an alert, which is in clear before the key exchange.
        rest = exchange.transport.value()[len(sent) :]
        self.assertIn(rest[:1], (b"", ALERT[:1]))
        self.assertLessEqual(len(rest), len(ALERT))
        self.assertEqual(exchange.factory.built, [])
        self.assertEqual(exchange.left, [])


class CommonAttacks:
    """The tests that are the same for every dialect; mixed in below."""

    def test_honest(self: Any) -> None:
        """A good dialogue is followed by TLS."""
        self.secures(self.good)

    def test_stripping_D_downgrade_to_nothing(self: Any) -> None:
        """
        Without the go-ahead the client waits until the deadline, and sends nothing.
        """
        exchange = self.converse()
        said = exchange.play(self.asked)
        exchange.reactor.advance(TIMEOUT)
        self.given_up(exchange, TimedOut, said)

    def test_response_injection_B_1(self: Any) -> None:
        """
        CVE-2011-0411, from the client's side: replies in the segment of the go-ahead
        end the connection.
        """
        self.check_segment(self.agreement)

    def test_response_injection_B_1_of_one_byte(self: Any) -> None:
        """One byte behind the go-ahead ends the connection."""
        for byte in (b"\r", b"\n", b" ", b"\0", HELLO):
            self.check_segment(byte)

    def test_response_injection_B_1_in_two_segments(self: Any) -> None:
        """Replies in the segment after the go-ahead fail the handshake."""
        self.check_next_segment(self.agreement)

    def test_response_injection_B_1_torn(self: Any) -> None:
        """A byte behind a go-ahead that comes in two segments ends the connection."""
        exchange = self.converse()
        said = exchange.play(self.asked)
        data = self.go_ahead(said)
        middle = len(data) // 2
        exchange.hear(data[:middle])
        exchange.hear(data[middle:] + b"2")
        self.given_up(exchange, InjectedData, said)

    def test_injected_alert_B_2(self: Any) -> None:
        """A TLS alert behind the go-ahead, in its segment, ends the connection."""
        self.check_segment(ALERT)

    def test_injected_alert_B_2_in_two_segments(self: Any) -> None:
        """A TLS alert in the next segment fails the handshake."""
        self.check_next_segment(ALERT)

    def test_injected_close_notify_B_2(self: Any) -> None:
        """close_notify before the handshake fails the handshake."""
        self.check_next_segment(CLOSE_NOTIFY)

    def test_injected_bye_B_3(self: Any) -> None:
        """A BYE behind the go-ahead, in its segment, ends the connection."""
        self.check_segment(self.farewell)

    def test_injected_bye_B_3_in_two_segments(self: Any) -> None:
        """A BYE in place of the handshake fails the handshake."""
        self.check_next_segment(self.farewell)

    def test_injected_bye_B_3_before_the_reply(self: Any) -> None:
        """A BYE in place of the go-ahead is a refusal."""
        exchange = self.converse()
        said = exchange.play(self.asked)
        exchange.hear(self.farewell)
        self.given_up(exchange, Refused, said)

    def test_junk_B_before_the_reply(self: Any) -> None:
        """A TLS record in place of the go-ahead is no reply."""
        exchange = self.converse()
        said = exchange.play(self.asked)
        exchange.hear(ALERT + self.end)
        self.given_up(exchange, self.junk, said)

    def test_command_injection(self: Any) -> None:
        """
        The request for TLS is followed by one TLS record and no other bytes, so that a
        server that does not empty its buffer finds no command.
        """
        exchange = self.converse()
        said = exchange.play(self.good)
        hello = exchange.transport.value()[len(said) :]
        length = int.from_bytes(hello[3:5], "big")
        self.assertEqual((hello[:1], len(hello)), (HELLO, 5 + length))
        exchange.connecting.cancel()
        exchange.hang_up()

    def test_resource_long_line(self: Any) -> None:
        """A line without end exceeds the bound."""
        for said in self.before_each_reply():
            exchange, clear = said
            for _ in range(17):
                if exchange.undecided:
                    exchange.hear(b"x" * 1000)
            self.given_up(exchange, self.junk, clear)

    def test_resource_long_line_at_once(self: Any) -> None:
        """A line that is too long is an error, although its end has come."""
        for exchange, clear in self.before_each_reply():
            exchange.hear(b"* " + b"x" * LONGEST_LINE + self.end)
            self.given_up(exchange, self.junk, clear)

    def test_resource_slow_drip(self: Any) -> None:
        """
        The deadline is one for the whole dialogue: bytes and lines do not extend it.
        """
        for exchange, clear in self.before_each_reply():
            for byte in self.drip:
                exchange.reactor.advance(1)
                exchange.hear(bytes([byte]))
                self.assertTrue(exchange.undecided)
            exchange.reactor.advance(TIMEOUT - len(self.drip))
            self.given_up(exchange, TimedOut, clear)

    def test_closed(self: Any) -> None:
        """Closing at any step of the dialogue fails ``connect`` and leaves no call."""
        for exchange, clear in self.at_each_step():
            exchange.hang_up(ConnectionLost())
            self.assertIs(type(exchange.error), Disconnected)
            self.assertEqual(exchange.error.peer, PEER)
            self.assertEqual(exchange.transport.value(), clear)
            self.assertEqual(exchange.left, [])

    def test_closed_after_the_dialogue(self: Any) -> None:
        """Closing in place of the handshake fails the handshake."""
        exchange = self.converse()
        exchange.play(self.good)
        exchange.hang_up()
        self.assertIsInstance(exchange.error, HandshakeFailed)
        self.assertEqual(exchange.left, [])

    def test_cancelled(self: Any) -> None:
        """Cancelling at any step aborts the connection and leaves no call."""
        for exchange, clear in self.at_each_step():
            exchange.connecting.cancel()
            self.given_up(exchange, ConnectingCancelledError, clear)

    def test_cancelled_after_the_dialogue(self: Any) -> None:
        """Cancelling in the handshake aborts the connection and leaves no call."""
        exchange = self.converse()
        exchange.play(self.good)
        exchange.connecting.cancel()
        self.assertIsInstance(exchange.error, ConnectingCancelledError)
        self.assertTrue(exchange.transport.disconnected)
        exchange.hang_up()
        self.assertEqual(exchange.left, [])
        self.assertEqual(exchange.factory.built, [])

    def test_deadline(self: Any) -> None:
        """The deadline fails ``connect`` at any step of the dialogue."""
        for exchange, clear in self.at_each_step():
            exchange.reactor.advance(TIMEOUT)
            error = self.given_up(exchange, TimedOut, clear)
            self.assertIn("STARTTLS", str(error))

    def test_deadline_is_over_with_the_dialogue(self: Any) -> None:
        """The handshake has a deadline of its own, which its message names."""
        exchange = self.converse()
        exchange.reactor.advance(TIMEOUT - 1)
        exchange.play(self.good)
        exchange.reactor.advance(TIMEOUT - 1)
        self.assertTrue(exchange.undecided)
        exchange.reactor.advance(1)
        self.assertIsInstance(exchange.error, TimedOut)
        self.assertIn("handshake", str(exchange.error))
        self.assertTrue(exchange.transport.disconnected)
        exchange.hang_up()
        self.assertEqual(exchange.left, [])

    def test_ui_spoofing(self: Any) -> None:
        """
        The server's words are in server_text and in no message; printable escapes them.
        """
        evil = "PLEASE-TYPE-YOUR-PASSWORD \x1b[2J\x07\x9b"
        for failing in self.spoofs(evil):
            error = self.attack(failing, None)
            self.assertNotIn("PASSWORD", str(error))
            self.assertIn(b"PASSWORD", error.server_text)
            self.assertNotRegex(printable(error.server_text), "[^ -~]")


class DialogueAttacks:
    """
    The test for dialects in which the server sends more than once; mixed in below.
    """

    def test_preemptive_reply_to_everything(self: Any) -> None:
        """All replies at once, before the first command, end the connection."""
        exchange = self.converse()
        first = exchange.transport.value()
        exchange.hear(
            b"".join(s.data for s in parse_transcript(self.good) if s.by_server)
        )
        self.given_up(exchange, InjectedData, first)


class Steps(Attacks):
    """Helpers that stop a dialogue at each of its steps."""

    #: Dialogues that the server ends with words, which are TEXT here.
    talkative: tuple[str, ...] = ()

    def spoofs(self, text: str) -> Sequence[str]:
        """Return the dialogues that the server ends with a text."""
        return [failing.replace("TEXT", text) for failing in self.talkative]

    def endless(self, transcript: str, chunk: bytes) -> None:
        """Check that a chunk that is sent again and again exceeds the bound."""
        exchange = self.converse()
        said = exchange.play(transcript)
        for _ in range(MOST // len(chunk) + 1):
            if exchange.undecided:
                exchange.hear(chunk)
        self.given_up(exchange, BadReply, said)

    def at_each_step(self) -> list[tuple[Exchange, bytes]]:
        """Return an exchange at each step, with what the client has sent by then."""
        length = len(parse_transcript(self.asked))
        return [self.stopped(after) for after in range(length + 1)]

    def before_each_reply(self) -> list[tuple[Exchange, bytes]]:
        """Return the same for the steps at which the server begins a reply."""
        said = [Segment(False, b""), *parse_transcript(self.good)]
        return [
            self.stopped(after)
            for after, each in enumerate(said[:-1])
            if not each.by_server
        ]

    def stopped(self, after: int) -> tuple[Exchange, bytes]:
        """Return an exchange after a number of steps."""
        exchange = self.converse()
        for _, _ in zip(range(after), exchange.steps(self.good), strict=False):
            pass
        return exchange, exchange.transport.value()

    def attack(
        self, transcript: str, error: type[NegotiationFailed] | None
    ) -> NegotiationFailed:
        """Check that the last segment ends the dialogue; with any error for None."""
        if error is None:
            exchange = self.converse()
            exchange.play(transcript)
            error = type(exchange.error)
        return super().attack(transcript, error)


class SMTPAttackTests(CommonAttacks, DialogueAttacks, Steps):
    """Attacks on SMTP."""

    dialect = "smtp"
    agreement = b"250 OK\r\n"
    farewell = b"221 mx.example.org closing\r\n"
    talkative = (
        "S: 554 TEXT",
        "S: TEXT",
        "S: 220-a\nS: 230 TEXT",
        "S: 220 a\nC: EHLO [192.0.2.1]\nS: 500 TEXT",
        SMTP.replace("220 Go ahead", "454 TEXT"),
        SMTP.replace("220 Go ahead", "TEXT"),
    )

    def test_stripping_D(self) -> None:
        """STARTTLS removed from the reply to EHLO: the client stops."""
        self.attack(
            """
            S: 220 mx.example.org ESMTP
            C: EHLO [192.0.2.1]
            S: 250-mx.example.org
            S: 250 SIZE 10000000
            """,
            NotOffered,
        )

    def test_refusal_O(self) -> None:
        """STARTTLS refused, unknown or continued (O_1 to O_4): no mail in clear."""
        for code in (454, 501, 354):
            self.attack(SMTP.replace("220 Go", f"{code} no"), Refused)

    def test_tampering(self) -> None:
        """Other lines in the reply to EHLO change nothing."""
        self.secures(
            SMTP.replace("S: 250 SIZE", "S: 250-AUTH PLAIN\nS: 250-X-EVIL\nS: 250 SIZE")
        )

    def test_preemptive_reply(self) -> None:
        """A reply to EHLO in the segment of the greeting ends the connection."""
        self.attack("S: 220 mx\nS+ 250-mx\nS+ 250 STARTTLS", InjectedData)

    def test_preemptive_reply_to_starttls(self) -> None:
        """A go-ahead in the segment of the reply to EHLO ends the connection."""
        self.attack(
            """
            S: 220 mx
            C: EHLO [192.0.2.1]
            S: 250-mx
            S: 250 STARTTLS
            S+ 220 go
            """,
            InjectedData,
        )

    def test_preemptive_reply_in_two_segments(self) -> None:
        """The first byte of a reply before its command ends the connection."""
        self.attack("S: 220 mx\nS+ 2", InjectedData)

    def test_resource_endless_greeting(self) -> None:
        """A greeting of lines without end exceeds the bound."""
        exchange = self.converse()
        while exchange.undecided:
            exchange.hear(b"220-" + b"x" * 500 + b"\r\n")
        self.given_up(exchange, BadReply, b"")

    def test_resource_endless_lines(self) -> None:
        """A reply of short lines without end exceeds the bound."""
        exchange, clear = self.before_each_reply()[1]
        for _ in range(MOST // 100):
            exchange.hear(b"250-\r\n" * 20)
            if not exchange.undecided:
                break
        self.given_up(exchange, BadReply, clear)


class POP3AttackTests(CommonAttacks, DialogueAttacks, Steps):
    """Attacks on POP3."""

    dialect = "pop3"
    agreement = b"+OK\r\n"
    farewell = b"-ERR bye\r\n"
    talkative = (
        "S: -ERR TEXT",
        "S: TEXT",
        "S: +OK\nC: CAPA\nS: TEXT",
        POP3.replace("+OK Begin", "-ERR TEXT"),
        POP3.replace("+OK Begin", "TEXT"),
    )

    def test_stripping_D(self) -> None:
        """STLS removed from the capabilities: the client stops."""
        self.attack(
            """
            S: +OK ready
            C: CAPA
            S: +OK list
            S: TOP
            S: USER
            S: .
            """,
            NotOffered,
        )

    def test_refusal_O(self) -> None:
        """STLS refused or continued (O_1, O_4): no login in clear."""
        self.attack(POP3.replace("+OK Begin", "-ERR no"), Refused)
        self.attack(POP3.replace("+OK Begin", "+ go on"), BadReply)

    def test_tampering(self) -> None:
        """Other capabilities change nothing."""
        self.secures(
            POP3.replace("S: TOP", "S: IMPLEMENTATION evil\nS: SASL PLAIN\nS: +OK")
        )

    def test_preemptive_reply(self) -> None:
        """A reply to CAPA in the segment of the greeting ends the connection."""
        self.attack("S: +OK hello\nS+ +OK list\nS+ STLS\nS+ .", InjectedData)

    def test_preemptive_reply_to_starttls(self) -> None:
        """A go-ahead in the segment of the list ends the connection."""
        self.attack(
            """
            S: +OK
            C: CAPA
            S: +OK
            S: STLS
            S: .
            S+ +OK go
            """,
            InjectedData,
        )

    def test_resource_endless_lines(self) -> None:
        """A list without end exceeds the bound."""
        exchange, clear = self.before_each_reply()[1]
        exchange.hear(b"+OK\r\n")
        for _ in range(MOST // 20):
            exchange.hear(b"X\r\n" * 20)
            if not exchange.undecided:
                break
        self.given_up(exchange, BadReply, clear)


class IMAPAttackTests(CommonAttacks, DialogueAttacks, Steps):
    """Attacks on IMAP."""

    dialect = "imap"
    agreement = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n"
    farewell = b"* BYE\r\n"
    talkative = (
        "S: * PREAUTH [ALERT] TEXT",
        "S: * BYE [ALERT] TEXT",
        "S: * NO TEXT",
        "S: TEXT",
        "S: * OK\nC: {tag}1 CAPABILITY\nS: {tag}1 NO [ALERT] TEXT",
        "S: * OK\nC: {tag}1 CAPABILITY\nS: * BYE TEXT",
        "S: * OK\nC: {tag}1 CAPABILITY\nS: TEXT",
        IMAP.replace("{tag}2 OK", "{tag}2 NO [ALERT] TEXT"),
        IMAP.replace("{tag}2 OK", "{tag}2 BAD TEXT"),
    )

    def test_stripping_D(self) -> None:
        """STARTTLS removed from the capabilities: the client stops."""
        self.attack(
            """
            S: * OK ready
            C: {tag}1 CAPABILITY
            S: * CAPABILITY IMAP4rev1 LOGINDISABLED
            S: {tag}1 OK done
            """,
            NotOffered,
        )

    def test_refusal_O(self) -> None:
        """STARTTLS unknown, refused or continued (O_1 to O_4): no login in clear."""
        self.attack(IMAP.replace("{tag}2 OK", "{tag}2 BAD"), Refused)
        self.attack(IMAP.replace("{tag}2 OK", "{tag}2 NO"), Refused)
        self.attack(IMAP.replace("{tag}2 OK", "+ continue"), BadReply)

    def test_preauth_P(self) -> None:
        """PREAUTH, after which STARTTLS is impossible, is an error."""
        self.attack("S: * PREAUTH welcome", Preauthenticated)

    def test_preauth_P_with_more(self) -> None:
        """Data behind PREAUTH changes nothing."""
        self.attack(
            """
            S: * PREAUTH welcome
            S+ * OK [CAPABILITY IMAP4rev1 STARTTLS] ready
            S+ * LIST () "/" INBOX
            """,
            Preauthenticated,
        )

    def test_preauth_P_later(self) -> None:
        """PREAUTH after the greeting does not replace the go-ahead."""
        self.secures(IMAP.replace("S: {tag}2", "S: * PREAUTH welcome\nS: {tag}2"))
        self.attack(IMAP.replace("{tag}2 OK", "{tag}2 PREAUTH"), Refused)

    def test_referral_L_1(self) -> None:
        """A login referral (RFC 2221) in the greeting is not followed."""
        self.attack("S: * BYE [REFERRAL imap://evil.example/] go there", Refused)
        self.secures(IMAP.replace("* OK", "* OK [REFERRAL imap://evil.example/]"))

    def test_referral_L_1_in_reply(self) -> None:
        """A login referral in the reply to CAPABILITY or STARTTLS is not followed."""
        referral = "[REFERRAL imap://evil.example/]"
        self.attack(IMAP.replace("{tag}2 OK", f"{{tag}}2 NO {referral}"), Refused)
        self.attack(
            f"S: * OK\nC: {{tag}}1 CAPABILITY\nS: {{tag}}1 NO {referral}", NotOffered
        )
        self.secures(IMAP.replace("{tag}2 OK", f"{{tag}}2 OK {referral}"))

    def test_referral_M_1(self) -> None:
        """A mailbox referral (RFC 2193) in an untagged line is skipped."""
        referral = "S: * NO [REFERRAL imap://evil.example/INBOX] moved"
        self.secures(IMAP.replace("S: {tag}2 OK", f"{referral}\nS: {{tag}}2 OK"))

    def test_referral_M_2(self) -> None:
        """A mailbox referral in the go-ahead is not followed."""
        exchange = self.converse()
        exchange.play(
            IMAP.replace("{tag}2 OK", "{tag}2 OK [REFERRAL imap://evil.example/INBOX]")
        )
        ((host, port, *_),) = exchange.reactor.tcpClients
        self.assertEqual((host, port), (PEER.host, PEER.port))
        exchange.connecting.cancel()
        exchange.hang_up()

    def test_tampering(self) -> None:
        """Untagged mailbox data before the go-ahead is skipped."""
        for line in (
            '* LIST () "/" evil',
            '* LSUB () "/" evil',
            "* STATUS INBOX (MESSAGES 17)",
            "* SEARCH 1 2 3",
            "* FLAGS (\\Seen)",
            "* 17 EXISTS",
            "* 17 RECENT",
            "* 17 EXPUNGE",
            "* 17 FETCH (FLAGS (\\Seen))",
            "* OK [PARSE] evil",
            "* NO [BADCHARSET] evil",
            "* OK [ALERT] evil",
        ):
            self.secures(IMAP.replace("S: {tag}2", f"S: {line}\nS: {{tag}}2"))
            self.secures(IMAP.replace("S: {tag}1", f"S: {line}\nS: {{tag}}1"))

    def test_preemptive_reply(self) -> None:
        """A tagged reply before its command ends the connection: its tag is a guess."""
        for line in ("a1 OK", "A2 OK", "1 OK", "+ OK", "OK"):
            self.attack(f"S: * OK\nS+ {line}", InjectedData)
            self.attack(f"S: * OK\nS+ * OK\nS+ {line}", InjectedData)

    def test_preemptive_capabilities(self) -> None:
        """Untagged lines behind the greeting do not replace the reply to CAPABILITY."""
        exchange = self.converse()
        exchange.hear(b"* OK\r\n* CAPABILITY IMAP4rev1 STARTTLS\r\n")
        self.assertRegex(exchange.heard(), rb"\A[0-9a-f]{12}1 CAPABILITY\r\n\Z")
        exchange.reactor.advance(TIMEOUT)
        self.assertIsInstance(exchange.error, TimedOut)

    def test_preemptive_reply_to_starttls(self) -> None:
        """A go-ahead in the segment of the reply to CAPABILITY ends the connection."""
        self.attack(
            """
            S: * OK
            C: {tag}1 CAPABILITY
            S: * CAPABILITY STARTTLS
            S: {tag}1 OK done
            S+ {tag}2 OK go
            """,
            InjectedData,
        )

    def test_preemptive_reply_of_the_first(self) -> None:
        """A go-ahead among the untagged lines of CAPABILITY is an error."""
        self.attack(
            """
            S: * OK
            C: {tag}1 CAPABILITY
            S: * CAPABILITY STARTTLS
            S: {tag}2 OK go
            """,
            BadReply,
        )

    def test_resource_huge_literal(self) -> None:
        """A literal of any length is an error."""
        for length in ("{4294967296}", "{10}", "{10+}"):
            self.attack(f'{self.asked}S: * LIST () "/" {length}', BadReply)

    def test_resource_endless_lines(self) -> None:
        """Untagged lines without end exceed the bound."""
        exchange, clear = self.before_each_reply()[2]
        for _ in range(MOST // 20):
            exchange.hear(b"* 1 EXISTS\r\n" * 10)
            if not exchange.undecided:
                break
        self.given_up(exchange, BadReply, clear)


class LMTPAttackTests(CommonAttacks, DialogueAttacks, Steps):
    """Attacks on LMTP."""

    dialect = "lmtp"
    agreement = b"250 OK\r\n"
    farewell = b"421 closing\r\n"
    talkative = (
        "S: 554 TEXT",
        "S: 220 a\nC: LHLO [192.0.2.1]\nS: 500 TEXT",
        LMTP.replace("220 Go ahead", "454 TEXT"),
    )

    def test_stripping_D(self) -> None:
        """STARTTLS removed from the reply to LHLO: the client stops."""
        self.attack(LMTP.partition("S: 250-STARTTLS")[0] + "S: 250 SIZE", NotOffered)

    def test_refusal_O(self) -> None:
        """STARTTLS refused: no message in clear."""
        for code in (250, 354, 421, 454, 500, 502, 503):
            self.attack(LMTP.replace("220 Go", f"{code} Go"), Refused)

    def test_resource_endless_lines(self) -> None:
        """A reply without end exceeds the bound."""
        start = LMTP.partition("S: 250-mx")[0]
        self.endless(start, b"250-STARTTLS\r\n" * 64)


class FTPAttackTests(CommonAttacks, DialogueAttacks, Steps):
    """Attacks on FTP."""

    dialect = "ftp"
    agreement = b"232 logged in\r\n"
    farewell = b"421 closing\r\n"
    talkative = (
        "S: 421 TEXT",
        "S: TEXT",
        "S: 220 a\nC: AUTH TLS\nS: 500 TEXT",
        "S: 220 a\nC: AUTH TLS\nS: 534-TEXT\nS: TEXT\nS: 534 TEXT",
    )

    def test_stripping_D(self) -> None:
        """AUTH made unknown: no login in clear."""
        for code in (500, 502, 504):
            self.attack(FTP.replace("234 Go", f"{code} no"), NotOffered)

    def test_refusal_O(self) -> None:
        """AUTH refused: no login in clear."""
        for code in (421, 431, 530, 533, 534, 535, 536):
            self.attack(FTP.replace("234 Go", f"{code} no"), Refused)

    def test_preemptive_reply(self) -> None:
        """A go-ahead in the segment of the greeting ends the connection."""
        self.attack("S: 220 ready\nS+ 234 go", InjectedData)

    def test_preemptive_reply_inside(self) -> None:
        """A go-ahead inside the greeting is a line of the greeting."""
        exchange = self.converse()
        exchange.play("S: 220-hello\nS: 234 go\nS: 220 ready\nC: AUTH TLS")
        self.assertTrue(exchange.undecided)
        exchange.connecting.cancel()

    def test_resource_endless_lines(self) -> None:
        """A reply without a last line exceeds the bound."""
        self.endless("S: 220-hello", b"220-hello\r\nhello\r\n" * 32)


class NNTPAttackTests(CommonAttacks, DialogueAttacks, Steps):
    """Attacks on NNTP."""

    dialect = "nntp"
    agreement = b"281 accepted\r\n"
    farewell = b"400 closing\r\n"
    talkative = (
        "S: 400 TEXT",
        "S: TEXT",
        "S: 200 a\nC: CAPABILITIES\nS: TEXT",
        NNTP.replace("382 Go ahead", "580 TEXT"),
    )

    def test_stripping_D(self) -> None:
        """STARTTLS removed from the capabilities: the client stops."""
        self.attack(NNTP.partition("S: STARTTLS")[0] + "S: .", NotOffered)

    def test_refusal_O(self) -> None:
        """STARTTLS refused: no login in clear."""
        for code in (200, 281, 381, 400, 480, 483, 500, 502, 580):
            self.attack(NNTP.replace("382 Go", f"{code} Go"), Refused)

    def test_preemptive_reply_to_starttls(self) -> None:
        """A go-ahead in the segment of the list ends the connection."""
        start = NNTP.partition("C: STARTTLS")[0]
        self.attack(f"{start}S+ 382 go", InjectedData)

    def test_resource_endless_lines(self) -> None:
        """A list without end exceeds the bound."""
        self.endless(NNTP.partition("S: VERSION")[0], b"READER\r\n" * 64)


class SieveAttackTests(CommonAttacks, DialogueAttacks, Steps):
    """Attacks on ManageSieve."""

    dialect = "sieve"
    agreement = b'"SASL" "PLAIN"\r\nOK\r\n'
    farewell = b'BYE "bye"\r\n'
    drip = b'"STA'
    talkative = (
        'S: BYE "TEXT"',
        "S: TEXT",
        'S: "STARTTLS"\nS: NO "TEXT"',
        SIEVE.replace('OK "Begin TLS negotiation now"', 'NO "TEXT"'),
    )

    def test_stripping_D(self) -> None:
        """STARTTLS removed from the capabilities: the client stops."""
        self.attack(SIEVE.partition('S: "STARTTLS"')[0] + "S: OK", NotOffered)

    def test_refusal_O(self) -> None:
        """STARTTLS refused: no login in clear."""
        for word in ("NO", "BYE", "NO (TRYLATER)"):
            self.attack(SIEVE.replace('S: OK "Begin', f'S: {word} "Begin'), Refused)

    def test_referral(self) -> None:
        """A referral is not followed."""
        self.attack('S: BYE (REFERRAL "sieve://evil.example") "there"', Refused)

    def test_preemptive_reply(self) -> None:
        """A go-ahead in the segment of the capabilities ends the connection."""
        self.attack('S: "STARTTLS"\nS: OK "ready"\nS+ OK "go"', InjectedData)

    def test_injected_capabilities(self) -> None:
        """
        Capabilities behind the go-ahead, as a server sends them in TLS, end the
        connection.
        """
        self.check_segment(b'"IMPLEMENTATION" "evil"\r\n"SASL" "PLAIN"\r\nOK\r\n')

    def test_response_injection_B_1_after_literal(self) -> None:
        """Bytes behind a go-ahead that ends with a literal end the connection."""
        exchange = self.converse()
        said = exchange.play(self.asked)
        exchange.hear(b"OK {2}\r\nok\r\nOK")
        self.given_up(exchange, InjectedData, said)

    def test_resource_endless_lines(self) -> None:
        """Capabilities without end exceed the bound."""
        self.endless("", b'"NOTIFY" "mailto"\r\n' * 32)

    def test_resource_literals(self) -> None:
        """A literal above the bound, and literals without end, are an error."""
        for length in (MOST, 999999999, "9" * 4000):
            self.attack(f'S: "A" {{{length}}}', BadReply)
        self.endless("", b"{8}\r\nSTARTTLS" * 32)


class XMPPAttackTests(CommonAttacks, DialogueAttacks, Steps):
    """Attacks on XMPP."""

    dialect = "xmpp"
    agreement = b"<stream:features><mechanisms/></stream:features>"
    farewell = b"</stream:stream>"
    end = b">"
    opened = XMPP.partition("S| <stream:features")[0]
    talkative = (
        XMPP.partition("S|")[0] + "S| <TEXT>",
        opened + "S| <stream:error><text>TEXT</text></stream:error>",
    )

    def spoofs(self, text: str) -> Sequence[str]:
        """Return dialogues with the part of the text that XML allows."""
        return super().spoofs(re.sub("[^ -~]", "", text))

    def test_stripping_D(self) -> None:
        """STARTTLS removed from the features: the client stops."""
        self.attack(self.opened + "S| <stream:features/>", NotOffered)

    def test_refusal_O(self) -> None:
        """<failure/>: no login in clear."""
        failure = f"S| <failure {TLS_NAMESPACE}/></stream:stream>"
        self.attack(self.asked + failure, Refused)

    def test_lookalikes(self) -> None:
        """A <proceed/> of another namespace, or inside an element, is no go-ahead."""
        for element in (
            "<proceed/>",
            "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls '/>",
            "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
            f"<message><proceed {TLS_NAMESPACE}/></message>",
        ):
            self.attack(f"{self.asked}S| {element}", BadReply)

    def test_preemptive_reply(self) -> None:
        """A <proceed/> in the segment of the features ends the connection."""
        go_ahead = self.go_ahead(b"")
        exchange = self.converse()
        exchange.play(self.opened + "S| <stream:features>")
        said = exchange.transport.value()
        exchange.hear(
            b"<starttls %s/></stream:features>" % TLS_NAMESPACE.encode() + go_ahead
        )
        self.given_up(exchange, InjectedData, said)

    def test_keepalive_B_1(self) -> None:
        """White space is skipped between elements and refused after <proceed/>."""
        self.check_segment(b" ")
        self.check_segment(b"\n")

    def test_resource_entities(self) -> None:
        """A document type is an error, so that there are no entities to expand."""
        laughs = "<!DOCTYPE a [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;'>]>"
        self.attack(XMPP.partition("S|")[0] + f"S| {laughs}", BadReply)

    def test_resource_endless(self) -> None:
        """Features, their depth and white space are bounded."""
        start = self.opened + "S| <stream:features>"
        for chunk in (b"<a/>", b"<a>", b" ", b"<a b='c'>text</a>", b"<a b='", b"\n>"):
            exchange = self.converse()
            said = exchange.play(start)
            while exchange.undecided:
                exchange.hear(chunk * 100)
            self.given_up(exchange, BadReply, said)


class XMPPServerAttackTests(CommonAttacks, DialogueAttacks, Steps):
    """Attacks on XMPP between servers."""

    dialect = "xmpp-server"
    agreement = XMPPAttackTests.agreement
    farewell = XMPPAttackTests.farewell
    end = b">"


class LDAPAttackTests(CommonAttacks, Steps):
    """Attacks on LDAP."""

    dialect = "ldap"
    #: A bind that succeeded.
    agreement = bytes.fromhex("30 0c 02 01 02 61 07 0a 01 00 04 00 04 00")
    #: The notice of disconnection.
    farewell = bytes.fromhex(
        f"30 24 02 01 00 78 1f 0a 01 34 04 00 04 00 8a 16 {STARTTLS_OID[:-1]}6"
    )
    drip = bytes.fromhex("30 84 00 00")
    end = b""

    def spoofs(self, text: str) -> Sequence[str]:
        """Return responses with the text: a refusal, and one that is malformed."""
        message = text.encode("latin-1")
        fields = b"\x0a\x01\x35\x04\x00\x04" + bytes([len(message)]) + message
        response = b"\x02\x01\x01\x78" + bytes([len(fields)]) + fields
        refusal = b"\x30" + bytes([len(response)]) + response
        return [
            f"{self.asked}S# {refusal.hex()}",
            f"{self.asked}S# {refusal.replace(b'x', b'a', 1).hex()}",
        ]

    def test_stripping_D(self) -> None:
        """StartTLS made unknown: no bind in clear."""
        self.attack(LDAP.replace("0a 01 00", "0a 01 02"), NotOffered)

    def test_refusal_O(self) -> None:
        """StartTLS refused: no bind in clear."""
        for result in ("01", "0a", "0d", "34", "35", "50", "ff"):
            self.attack(LDAP.replace("0a 01 00", f"0a 01 {result}"), Refused)

    def test_preemptive_reply(self) -> None:
        """A response to another request, or to none, is no go-ahead."""
        for number in ("00", "02"):
            answer = LDAP.replace("30 0c 02 01 01", f"30 0c 02 01 {number}")
            self.attack(answer, BadReply)

    def test_resource_lengths(self) -> None:
        """A message with a length above the bound is an error."""
        for length in ("82 20 01", "83 01 00 00", "84 7f ff ff ff", "84 ff ff ff ff"):
            self.attack(f"{self.asked}S# 30 {length[:2]}\nS# {length[3:]}", BadReply)
        self.attack(f"{self.asked}S# 30 85", BadReply)
        self.attack(f"{self.asked}S# 30 80", BadReply)


class PostgresAttackTests(CommonAttacks, Steps):
    """Attacks on PostgreSQL."""

    dialect = "postgres"
    agreement = b"S" * 8
    farewell = b"N" * 8
    drip = b""
    end = b""

    def test_stripping_D(self) -> None:
        """An error message in place of the answer: no login in clear."""
        self.attack(self.asked + "S| E", NotOffered)

    def test_refusal_O(self) -> None:
        """N: no login in clear."""
        self.attack(self.asked + "S| N", Refused)

    def test_response_injection_CVE_2021_23222(self) -> None:
        """Messages in the segment of the go-ahead end the connection."""
        self.check_segment(b"R\0\0\0\x08\0\0\0\0")

    def test_ui_spoofing_CVE_2024_10977(self) -> None:
        """The text of an error message is not in the error."""
        error = self.attack(self.asked + "S| E    \x1b[2J PASSWORD?", NotOffered)
        self.assertEqual(error.server_text, b"E")
        self.assertNotIn("PASSWORD", str(error))


class MySQLAttackTests(CommonAttacks, Steps):
    """Attacks on MySQL, where the server sends once, and first."""

    dialect = "mysql"
    #: An OK packet.
    agreement = bytes.fromhex("07 00 00 02 00 00 00 02 00 00 00")
    #: An error packet.
    farewell = bytes.fromhex("06 00 00 00 ff 69 04 62 79 65")
    drip = bytes.fromhex("39 00 00 00 0a")
    end = b""

    def spoofs(self, text: str) -> Sequence[str]:
        """Return an error packet and a malformed greeting with the text."""
        message = text.encode("latin-1")
        result = []
        for packet in (b"\xff\x69\x04" + message, b"\x09" + message):
            head = bytes([len(packet), 0, 0, 0])
            result.append(f"S# {head.hex()}\nS# {packet.hex()}")
        return result

    def test_stripping_D_CVE_2015_3152(self) -> None:
        """The flag of TLS removed from the greeting: no login in clear."""
        hidden = MYSQL.replace("00 ff ff", "00 ff f7").partition("C#")[0]
        self.attack(hidden, NotOffered)

    def test_preemptive_reply(self) -> None:
        """A packet behind the greeting ends the connection."""
        for more in (b"\0", self.agreement, self.farewell):
            self.check_segment(more)

    def test_resource_lengths(self) -> None:
        """A packet with a length above the bound is an error."""
        for length in ("01 04 00", "00 00 01", "ff ff ff"):
            self.attack(f"S# {length} 00", BadReply)


class IRCAttackTests(CommonAttacks, Steps):
    """Attacks on IRC."""

    dialect = "irc"
    agreement = b":srv 001 you :Welcome\r\n"
    farewell = b"ERROR :Closing link\r\n"
    talkative = (
        "C: STARTTLS\nS: :s 421 * :TEXT",
        "C: STARTTLS\nS: :s 691 * :TEXT",
        "C: STARTTLS\nS: ERROR :TEXT",
        "C: STARTTLS\nS: :s TEXT",
    )

    def test_stripping_D(self) -> None:
        """STARTTLS made unknown: no registration in clear."""
        for number in (421, 451):
            self.attack(f"{self.asked}S: :s {number} * STARTTLS :no", NotOffered)

    def test_refusal_O(self) -> None:
        """STARTTLS refused: no registration in clear."""
        self.attack(f"{self.asked}S: :s 691 * :no", Refused)

    def test_ignored_status(self) -> None:
        """Numerics other than 670 are no go-ahead, whatever their text."""
        for number in ("001", "020", "671", "900"):
            exchange = self.converse()
            said = exchange.play(f"{self.asked}S: :s {number} * :670")
            exchange.reactor.advance(TIMEOUT)
            self.given_up(exchange, TimedOut, said)

    def test_tampering(self) -> None:
        """Notices and pings are skipped, and not answered."""
        self.secures(IRC.replace("S: :irc", "S: PING x\nS: NOTICE * :670\nS: :irc", 1))

    def test_resource_endless_lines(self) -> None:
        """Notices without end exceed the bound."""
        self.endless(self.asked, b":s NOTICE * :wait\r\n" * 32)


class TelnetAttackTests(CommonAttacks, DialogueAttacks, Steps):
    """Attacks on telnet, where text is skipped after DO, within the bounds."""

    dialect = "telnet"
    #: The dialogue up to WILL.
    start = TELNET.rpartition("S#")[0]
    #: WILL ECHO, WILL SUPPRESS-GO-AHEAD.
    agreement = bytes.fromhex("ff fb 01 ff fb 03")
    #: DONT START_TLS.
    farewell = bytes.fromhex("ff fe 2e ff fe 2e")
    drip = bytes.fromhex("ff fd 01 ff")
    end = b""

    def test_junk_B_before_the_reply(self) -> None:
        """A TLS record is no offer before DO, and no reply before FOLLOWS."""
        self.attack(f"S# {ALERT.hex()}", NotOffered)
        exchange = self.converse()
        said = exchange.play(f"{self.start}S# {ALERT.hex()}")
        exchange.reactor.advance(TIMEOUT)
        self.given_up(exchange, TimedOut, said)

    def test_resource_long_line(self) -> None:
        """Text without end exceeds the bound, in segments of any length."""
        self.attack("S| xxx", NotOffered)
        for length in (1, 1000, MOST + 1):
            self.endless(self.start, b"x" * length)

    def test_resource_long_line_at_once(self) -> None:
        """Lines of text without end exceed the bound."""
        self.endless(self.start, b"x" * 1000 + b"\r\n")

    def test_stripping_D(self) -> None:
        """A prompt without an offer of START_TLS: the client stops."""
        self.attack("S# ff fb 01 ff fb 03\nS| login: ", NotOffered)

    def test_refusal_O(self) -> None:
        """DONT: nothing in clear."""
        self.attack("S# ff fe 2e", Refused)
        self.attack(self.start + "S# ff fe 2e", Refused)

    def test_preemptive_reply(self) -> None:
        """FOLLOWS in the segment of DO ends the connection."""
        self.attack("S# ff fd 2e ff fa 2e 01 ff f0", InjectedData)

    def test_ui_spoofing(self) -> None:
        """A prompt before TLS is not read beyond its first byte."""
        error = self.attack("S| PASSWORD: ", NotOffered)
        self.assertNotIn("PASSWORD", str(error))
        self.assertEqual(error.server_text, b"P")

    def test_resource_endless(self) -> None:
        """Options and subnegotiations without end exceed the bound."""
        self.endless("", bytes.fromhex("ff fd 18 ff fb 01") * 64)
        exchange = self.converse()
        exchange.hear(bytes.fromhex("ff fa 18") + bytes(600))
        self.given_up(exchange, BadReply, b"")


class EveryDialectTests(SynchronousTestCase):
    """All dialects are attacked."""

    def test_attacked(self) -> None:
        """Every dialect has a class with all the common attacks."""
        classes = Steps.__subclasses__()
        self.assertEqual(sorted(each.dialect for each in classes), sorted(NAMES))
        for each in classes:
            self.assertTrue(issubclass(each, CommonAttacks), each)


class NegotiationTests(SynchronousTestCase):
    """The stage that holds a dialogue."""

    def converse(self, dialect: str, timeout: float | None = None) -> Exchange:
        """Begin a connection without TLS after the dialogue."""
        return Exchange(
            lambda tcp, clock: negotiated(dialect, tcp, clock, timeout, DOMAIN)
        )

    def test_steps_aside(self) -> None:
        """
        After the dialogue the next protocol receives all data unchanged, and the loss.
        """
        for dialect, transcript in GOOD.items():
            exchange = self.converse(dialect)
            exchange.play(transcript)
            (following,) = exchange.factory.built
            self.assertIs(exchange.result, following)
            self.assertEqual(following.made, 1)
            self.assertIs(following.transport.getPeer(), PEER)
            for data in (b"a line\r\n", b"\n", b"x" * 100000, b"\0"):
                exchange.hear(data)
            self.assertEqual(
                following.received, b"a line\r\n\n" + b"x" * 100000 + b"\0"
            )
            exchange.hang_up()
            self.assertEqual(len(following.lost), 1)

    def test_without_deadline(self) -> None:
        """Without a timeout there is no deadline."""
        exchange = self.converse("smtp")
        self.assertEqual(exchange.left, [])

    def test_deaf_after_the_decision(self) -> None:
        """
        After the deadline the stage answers nothing that the transport still delivers.
        """
        for dialect, transcript in GOOD.items():
            exchange = self.converse(dialect, TIMEOUT)
            said = exchange.transport.value()
            exchange.reactor.advance(TIMEOUT)
            for each in parse_transcript(transcript):
                exchange.hear(each.data if each.by_server else b"")
            self.assertEqual(exchange.transport.value(), said)
            self.assertEqual(exchange.transport.late, b"")

    def test_bounds_are_not_narrow(self) -> None:
        """Lines and replies as long as the RFCs allow are accepted."""
        long = "x" * 1000
        exchange = self.converse("smtp")
        exchange.play(SMTP.replace("S: 220 mx", f"S: 220-{long}\n" * 40 + "S: 220 mx"))
        self.assertIsNotNone(exchange.result)

    def test_longest_line(self) -> None:
        """A line of LONGEST_LINE bytes is accepted."""
        length = LONGEST_LINE - len("220 \r")
        exchange = self.converse("smtp")
        exchange.hear(b"220 " + b"x" * length + b"\r\n")
        self.assertEqual(exchange.heard(), b"EHLO [192.0.2.1]\r\n")

    def test_line_ends(self) -> None:
        """Only the line end is removed from a line: a dot and a blank end no list."""
        exchange = self.converse("pop3")
        exchange.play(POP3.replace("S: TOP", "S: . \nS: .\t"))
        self.assertIsNotNone(exchange.result)

    def test_every_dialect(self) -> None:
        """Every dialect has one class of stages, and a good dialogue."""
        self.assertEqual(sorted(NAMES), sorted(GOOD))
        for name in NAMES:
            self.assertIs(negotiation(name), negotiation(name))
            self.assertEqual(negotiation(name).dialect.name, name)

    def test_only_the_dialect_in_use(self) -> None:
        """The use of a dialect imports its module and no other."""
        program = (
            "import sys\n"
            "from twisted_tcpclient.stages.negotiation import negotiation\n"
            "before = set(sys.modules)\n"
            "negotiation('imap')\n"
            "print(*sorted(set(sys.modules) - before))\n"
        )
        printed = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            check=True,
            cwd=Path(__file__).parent.parent,
            text=True,
        )
        self.assertEqual(printed.stdout.split(), ["twisted_tcpclient.dialects.imap"])

    def test_unknown_dialect(self) -> None:
        """An unknown dialect is an error before connecting."""
        self.assertRaises(KeyError, negotiated, "gopher", None, None)

    def test_errors_can_be_caught(self) -> None:
        """Each failure of a dialogue has a type, below one root."""
        kinds = NegotiationFailed.__subclasses__()
        self.assertEqual(
            {kind.__name__ for kind in kinds},
            {
                "BadReply",
                "DialectFailed",
                "Disconnected",
                "InjectedData",
                "NotOffered",
                "Preauthenticated",
                "Refused",
            },
        )
        self.assertTrue(issubclass(NegotiationFailed, TCPClientError))


class Counted(Negotiation):
    """A stage for a dialogue of lines and of bytes."""

    dialect = Dialect("counted", 1, "RFC 0", lambda parameters: echo())


class BytesTests(SynchronousTestCase):
    """Numbers of bytes, among lines, through the stage."""

    def converse(self, timeout: float | None = None) -> Exchange:
        """Begin a connection without TLS after the dialogue."""
        return Exchange(
            lambda tcp, clock: StagedEndpoint(
                tcp,
                lambda factory, address: Counted("", factory, address, clock, timeout),
            )
        )

    def test_any_segments(self) -> None:
        """The dialogue receives the same, in whatever segments the bytes come."""
        for size in range(1, 12):
            exchange = self.converse()
            data = b"\x05\r\nab\nline\r\n"
            for at in range(0, len(data), size):
                exchange.hear(data[at : at + size])
            self.assertEqual(exchange.heard(), b"\x05\r\nab\nline")
            for at in range(0, 4, size):
                self.assertTrue(exchange.undecided)
                exchange.hear(b"done"[at : at + size])
            self.assertIsNotNone(exchange.result)
            exchange.hear(b"more")
            self.assertEqual(exchange.result.received, b"more")

    def test_one_too_many_before_it_was_asked(self) -> None:
        """An unread byte at a Send is an error, after a line and after bytes."""
        for more in (b"d", b"done", b"\n"):
            exchange = self.converse()
            exchange.hear(b"\x01aline\n" + more)
            self.assertIsInstance(exchange.error, InjectedData)
            self.assertEqual(exchange.heard(), b"")

    def test_one_too_many_at_the_end(self) -> None:
        """A byte behind the last one of the dialogue is an error."""
        for pieces in ((b"done!",), (b"do", b"ne!"), (b"don", b"e\n")):
            exchange = self.converse()
            exchange.hear(b"\x01aline\n")
            for piece in pieces:
                exchange.hear(piece)
            self.assertIsInstance(exchange.error, InjectedData)
            self.assertEqual(exchange.factory.built, [])
            self.assertEqual(exchange.transport.late, b"")

    def test_refused(self) -> None:
        """Bytes behind a refusal change nothing."""
        exchange = self.converse()
        exchange.hear(b"\x01aline\n")
        exchange.hear(b"deaddone")
        self.assertIsInstance(exchange.error, Refused)
        self.assertEqual(exchange.error.server_text, b"dead")
        self.assertEqual(exchange.factory.built, [])

    def test_long_lines(self) -> None:
        """The bound on lines holds after bytes."""
        exchange = self.converse()
        exchange.hear(b"\x01a" + b"x" * (LONGEST_LINE + 1))
        self.assertIsInstance(exchange.error, BadReply)

    def test_deadline(self) -> None:
        """Bytes that do not come end the wait at the deadline."""
        exchange = self.converse(TIMEOUT)
        for _ in range(TIMEOUT):
            self.assertTrue(exchange.undecided)
            exchange.hear(b"\xff")
            exchange.reactor.advance(1)
        self.assertIsInstance(exchange.error, TimedOut)
        exchange.hear(b"\xff" * 255 + b"line\n")
        self.assertEqual(exchange.heard(), b"")
        self.assertEqual(exchange.left, [])

    def test_closed(self) -> None:
        """A connection lost within the bytes is an error."""
        exchange = self.converse()
        exchange.hear(b"\x05abc")
        exchange.hang_up()
        self.assertIsInstance(exchange.error, Disconnected)

    def test_nothing(self) -> None:
        """A step that waits for less than one byte cannot be made."""
        for count in (0, -1):
            self.assertRaises(ValueError, Bytes, count)


class HoldingTransport(MemoryTransport):
    """A transport in memory whose buffer is emptied by the test."""

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Ask a pull producer once, as it is registered."""
        StringTransport.registerProducer(self, producer, streaming)
        if not streaming:
            producer.resumeProducing()

    def let_go(self) -> None:
        """Empty the buffer: ask the producer for more."""
        if self.producer is not None and not self.streaming:
            self.producer.resumeProducing()


class LastWordsTests(SynchronousTestCase):
    """A request without an answer leaves the buffer before TLS begins."""

    def setUp(self) -> None:
        """Hold a dialogue in MySQL up to its request."""
        with patch.object(transcripts, "MemoryTransport", HoldingTransport):
            self.exchange = Exchange(
                lambda tcp, clock: negotiated("mysql", tcp, clock, TIMEOUT, DOMAIN)
            )
        self.exchange.play(MYSQL)
        self.assertTrue(self.exchange.undecided)
        self.assertEqual(self.exchange.factory.built, [])

    def let_go(self) -> None:
        """Empty the transport's buffer."""
        transport: Any = self.exchange.transport
        transport.let_go()

    def refused(self, error: type[Exception]) -> None:
        """Check that the connection is aborted, also when the buffer is emptied."""
        self.assertIs(type(self.exchange.error), error)
        self.let_go()
        self.let_go()
        self.assertEqual(self.exchange.factory.built, [])
        self.assertEqual(self.exchange.transport.late, b"")
        self.assertEqual(self.exchange.left, [])

    def test_left(self) -> None:
        """The connection is made when the buffer is empty."""
        self.let_go()
        (following,) = self.exchange.factory.built
        self.assertIs(self.exchange.result, following)
        self.assertIsNone(self.exchange.transport.producer)
        self.exchange.hear(b"hello")
        self.assertEqual(following.received, b"hello")

    def test_injected(self) -> None:
        """Data that comes before is refused: it is in clear, behind the greeting."""
        self.exchange.hear(b"\x15")
        self.refused(InjectedData)

    def test_lost(self) -> None:
        """The loss of the connection before is an error."""
        self.exchange.hang_up(ConnectionLost())
        self.refused(Disconnected)

    def test_deadline(self) -> None:
        """The deadline holds while the kernel does not take the request."""
        self.exchange.reactor.advance(TIMEOUT)
        self.refused(TimedOut)

    def test_cancelled(self) -> None:
        """Cancelling aborts the connection."""
        self.exchange.connecting.cancel()
        self.refused(ConnectingCancelledError)

    def test_no_consumer(self) -> None:
        """A transport that is no IConsumer is given the request without waiting."""
        written: list[bytes] = []

        class Bare:
            write = staticmethod(written.append)

        LastWords(Bare(), b"request", lambda: written.append(b"left")).start()
        self.assertEqual(written, [b"request", b"left"])


class ClientNameTests(SynchronousTestCase):
    """The client's name in EHLO."""

    def test_literals(self) -> None:
        """An address is an address literal (RFC 5321, 4.1.3) without its zone."""
        for address, name in (
            (IPv4Address("TCP", "192.0.2.1", 1), b"[192.0.2.1]"),
            (IPv6Address("TCP", "2001:db8::1", 1), b"[IPv6:2001:db8::1]"),
            (IPv6Address("TCP", "fe80::1%eth0", 1), b"[IPv6:fe80::1]"),
            (UNIXAddress("/run/socket"), b"localhost"),
            (UNIXAddress(None), b"localhost"),
        ):
            self.assertEqual(client_name(address), name)

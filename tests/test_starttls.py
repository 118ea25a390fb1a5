"""
STARTTLS: whoever stands on the line between us and the server gets nowhere.

The attacks are those of "Why TLS Is Better Without STARTTLS" (USENIX Security
2021); each has tests with its name in it, and the letters it has there.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectingCancelledError, ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import shared
from tests.transcripts import (
    GOOD,
    IMAP,
    PEER,
    POP3,
    SMTP,
    Conversation,
    Said,
    parse,
)
from twisted_tcpclient.dialects import (
    LINE,
    NAMES,
    Bytes,
    Dialect,
    Dialogue,
    Parameters,
    Send,
)
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
from twisted_tcpclient.report import printable
from twisted_tcpclient.settings import TLSSettings
from twisted_tcpclient.stages import StagedEndpoint
from twisted_tcpclient.starttls import (
    Negotiation,
    client_name,
    negotiated,
    negotiation,
)
from twisted_tcpclient.tls import ConnectionCreator

#: How long the dialogue may take.
TIMEOUT = 30

#: A fatal alert, handshake_failure, as TLS itself would send it.
ALERT = b"\x15\x03\x01\x00\x02\x02\x28"

#: The first byte of a TLS record that holds a handshake message.
HELLO = b"\x16"


class Lines(SynchronousTestCase):
    """Holds conversations with servers, honest and other."""

    dialect = ""

    def converse(self) -> Conversation:
        """A connection that is being made through the whole endpoint."""
        creator = ConnectionCreator(
            TLSSettings(authorities=str(shared().ca), name="localhost")
        )

        def stages(
            tcp: IStreamClientEndpoint, clock: MemoryReactorClock
        ) -> IStreamClientEndpoint:
            return starttls(self.dialect, creator, tcp, clock, TIMEOUT)

        return Conversation(stages)

    def given_up(
        self,
        conversation: Conversation,
        error: type[Exception],
        said: bytes,
    ) -> Any:
        """
        Check that a connection was given up, and that this is the end of it.

        :param said: all that the client may have said in clear.
        :returns: the error.
        """
        self.assertIs(type(conversation.error), error)
        self.assertTrue(conversation.wire.disconnected, "not aborted")
        self.assertEqual(conversation.wire.value(), said)
        # Even if it were not the end, nothing more would be said.
        conversation.hear(b"250 OK\r\n+OK\r\n* OK\r\n.\r\n" + ALERT)
        conversation.hang_up()
        self.assertEqual(conversation.wire.value(), said)
        self.assertEqual(conversation.wire.late, b"")
        self.assertEqual(conversation.factory.built, [])
        self.assertEqual(conversation.left, [])
        self.assertIsNone(conversation.result)
        return conversation.error

    def attack(
        self, transcript: str, error: type[NegotiationFailed]
    ) -> NegotiationFailed:
        """The last segment of the transcript ends it with that very error."""
        conversation = self.converse()
        said = conversation.play(transcript)
        failure = self.given_up(conversation, error, said)
        assert isinstance(failure, NegotiationFailed)
        self.assertEqual(failure.peer, PEER)
        return failure

    def secures(self, transcript: str) -> None:
        """The next thing that the client says is a TLS ClientHello."""
        conversation = self.converse()
        said = conversation.play(transcript)
        sent = conversation.wire.value()
        self.assertTrue(sent.startswith(said + HELLO), sent)
        self.assertTrue(conversation.undecided)
        self.assertEqual(conversation.factory.built, [])
        conversation.connecting.cancel()
        conversation.hang_up()
        self.assertEqual(conversation.left, [])


class Attacks(Lines):
    """What may be done to every dialect."""

    #: What the server says when it agrees, and when it refuses.
    agreement = ""
    #: What the server says last of all.
    farewell = ""

    @property
    def good(self) -> str:
        """A dialogue that ends where TLS begins."""
        return GOOD[self.dialect]

    @property
    def asked(self) -> str:
        """The same, up to the client's request for TLS."""
        return self.good[: self.good.rindex("S: ")]

    def check_segment(self, data: bytes) -> None:
        """Refuse what comes in clear, in the segment of the go-ahead."""
        conversation = self.converse()
        said = conversation.play(self.asked)
        *_, last = parse(self.good)
        tag = said.rpartition(b"2 STARTTLS")[0].rpartition(b"\n")[2]
        conversation.hear(last.tagged(tag) + data)
        self.given_up(conversation, InjectedData, said)

    def check_next_segment(self, data: bytes) -> None:
        """Refuse what comes in clear after the ClientHello."""
        conversation = self.converse()
        conversation.play(self.good)
        sent = conversation.wire.value()
        conversation.hear(data)
        self.assertTrue(conversation.wire.disconnecting)
        conversation.hang_up()
        self.assertIsInstance(conversation.error, HandshakeFailed)
        # TLS may answer with an alert of its own, in clear as all alerts are
        # before keys are agreed on; there is nothing else.
        rest = conversation.wire.value()[len(sent) :]
        self.assertIn(rest[:1], (b"", ALERT[:1]))
        self.assertLessEqual(len(rest), len(ALERT))
        self.assertEqual(conversation.factory.built, [])
        self.assertEqual(conversation.left, [])


class CommonAttacks:
    """The tests that are the same for every dialect; mixed in below."""

    def test_honest(self: Any) -> None:
        """A server that does everything right is answered with TLS."""
        self.secures(self.good)

    def test_stripping_D_downgrade_to_nothing(self: Any) -> None:
        """
        Whatever is left out of the dialogue, the client never goes on in clear:
        without the server's last word there is only waiting, then the deadline.
        """
        conversation = self.converse()
        said = conversation.play(self.asked)
        conversation.reactor.advance(TIMEOUT)
        self.given_up(conversation, TimedOut, said)

    def test_response_injection_B_1(self: Any) -> None:
        """
        CVE-2011-0411 seen from the client: replies in the segment of the
        go-ahead end the connection, to be used neither before nor after TLS.
        """
        self.check_segment(self.agreement.encode() + b"\r\n")

    def test_response_injection_B_1_of_one_byte(self: Any) -> None:
        """One byte too many is enough, even if it is not a whole line."""
        for byte in (b"\r", b"\n", b" ", b"\0", HELLO):
            self.check_segment(byte)

    def test_response_injection_B_1_in_two_segments(self: Any) -> None:
        """
        Replies in a segment of their own are no TLS, and end the handshake.
        """
        self.check_next_segment(self.agreement.encode() + b"\r\n")

    def test_response_injection_B_1_torn(self: Any) -> None:
        """The same if the go-ahead itself comes in two segments."""
        conversation = self.converse()
        said = conversation.play(self.asked)
        *_, last = parse(self.good)
        tag = said.rpartition(b"2 STARTTLS")[0].rpartition(b"\n")[2]
        data = last.tagged(tag)
        conversation.hear(data[:5])
        conversation.hear(data[5:] + b"2")
        self.given_up(conversation, InjectedData, said)

    def test_injected_alert_B_2(self: Any) -> None:
        """A TLS alert right behind the go-ahead, in clear, is injected data."""
        self.check_segment(ALERT)

    def test_injected_alert_B_2_in_two_segments(self: Any) -> None:
        """A TLS alert before any handshake is final."""
        self.check_next_segment(ALERT)

    def test_injected_bye_B_3(self: Any) -> None:
        """A farewell right behind the go-ahead is injected data."""
        self.check_segment(self.farewell.encode() + b"\r\n")

    def test_injected_bye_B_3_in_two_segments(self: Any) -> None:
        """A farewell in place of a handshake is final."""
        self.check_next_segment(self.farewell.encode() + b"\r\n")

    def test_injected_bye_B_3_before_the_reply(self: Any) -> None:
        """A farewell in place of the go-ahead is a refusal."""
        self.attack(self.asked + "S: " + self.farewell, Refused)

    def test_junk_B_before_the_reply(self: Any) -> None:
        """TLS records before the go-ahead are no reply."""
        conversation = self.converse()
        said = conversation.play(self.asked)
        conversation.hear(ALERT + b"\r\n")
        self.given_up(conversation, BadReply, said)

    def test_preemptive_reply_to_everything(self: Any) -> None:
        """A whole dialogue said at once, before the first command, is an attack."""
        said = b"".join(s.data for s in parse(self.good) if s.by_server)
        conversation = self.converse()
        conversation.hear(said)
        self.given_up(conversation, InjectedData, b"")

    def test_command_injection(self: Any) -> None:
        """
        What follows our request for TLS is TLS, so that nothing is there for a
        careless server to take for a command.
        """
        conversation = self.converse()
        said = conversation.play(self.good)
        hello = conversation.wire.value()[len(said) :]
        length = int.from_bytes(hello[3:5], "big")
        self.assertEqual((hello[:1], len(hello)), (HELLO, 5 + length))
        conversation.connecting.cancel()
        conversation.hang_up()

    def test_resource_long_line(self: Any) -> None:
        """A line without end is not waited for."""
        for said in self.before_each_reply():
            conversation, clear = said
            for _ in range(9):
                if conversation.undecided:
                    conversation.hear(b"x" * 1000)
            self.given_up(conversation, BadReply, clear)

    def test_resource_long_line_at_once(self: Any) -> None:
        """Nor is it taken when it has an end after all."""
        for conversation, clear in self.before_each_reply():
            conversation.hear(b"* " + b"x" * Negotiation.MAX_LENGTH + b"\r\n")
            self.given_up(conversation, BadReply, clear)

    def test_resource_slow_drip(self: Any) -> None:
        """
        The deadline is one for the whole dialogue: neither single bytes nor
        whole lines put it off.
        """
        for conversation, clear in self.before_each_reply():
            for byte in (b"*", b" ", b"2", b"0"):
                conversation.reactor.advance(TIMEOUT / 4 - 1)
                conversation.hear(byte)
                self.assertTrue(conversation.undecided)
            conversation.reactor.advance(4)
            self.given_up(conversation, TimedOut, clear)

    def test_closed(self: Any) -> None:
        """Closing at any step of the dialogue fails ``connect`` and leaves nothing."""
        for conversation, clear in self.at_each_step():
            conversation.hang_up(ConnectionLost())
            self.assertIs(type(conversation.error), Disconnected)
            self.assertEqual(conversation.error.peer, PEER)
            self.assertEqual(conversation.wire.value(), clear)
            self.assertEqual(conversation.left, [])

    def test_closed_after_the_dialogue(self: Any) -> None:
        """Closing in place of a handshake is a failure of the handshake."""
        conversation = self.converse()
        conversation.play(self.good)
        conversation.hang_up()
        self.assertIsInstance(conversation.error, HandshakeFailed)
        self.assertEqual(conversation.left, [])

    def test_cancelled(self: Any) -> None:
        """Cancelling at any step aborts the connection and leaves nothing."""
        for conversation, clear in self.at_each_step():
            conversation.connecting.cancel()
            self.given_up(conversation, ConnectingCancelledError, clear)

    def test_cancelled_after_the_dialogue(self: Any) -> None:
        """Cancelling in the middle of the handshake does the same."""
        conversation = self.converse()
        conversation.play(self.good)
        conversation.connecting.cancel()
        self.assertIsInstance(conversation.error, ConnectingCancelledError)
        self.assertTrue(conversation.wire.disconnected)
        conversation.hang_up()
        self.assertEqual(conversation.left, [])
        self.assertEqual(conversation.factory.built, [])

    def test_deadline(self: Any) -> None:
        """At any step of the dialogue time may run out, and that is the end."""
        for conversation, clear in self.at_each_step():
            conversation.reactor.advance(TIMEOUT)
            error = self.given_up(conversation, TimedOut, clear)
            self.assertIn("STARTTLS", str(error))

    def test_deadline_is_over_with_the_dialogue(self: Any) -> None:
        """The handshake has its own time, of which its message tells."""
        conversation = self.converse()
        conversation.reactor.advance(TIMEOUT - 1)
        conversation.play(self.good)
        conversation.reactor.advance(TIMEOUT - 1)
        self.assertTrue(conversation.undecided)
        conversation.reactor.advance(1)
        self.assertIsInstance(conversation.error, TimedOut)
        self.assertIn("handshake", str(conversation.error))
        self.assertTrue(conversation.wire.disconnected)
        conversation.hang_up()
        self.assertEqual(conversation.left, [])

    def test_ui_spoofing(self: Any) -> None:
        """
        What the server says is no part of any message: it is kept apart, and
        shown, if at all, as printable ASCII.
        """
        evil = "PLEASE-TYPE-YOUR-PASSWORD \x1b[2J\x07\x9b"
        for failing in self.talkative:
            error = self.attack(failing.replace("TEXT", evil), None)
            self.assertNotIn("PASSWORD", str(error))
            self.assertIn(b"PASSWORD", error.server_text)
            self.assertNotRegex(printable(error.server_text), "[^ -~]")


class Steps(Attacks):
    """Stops a dialogue wherever it can be stopped."""

    def at_each_step(self) -> list[tuple[Conversation, bytes]]:
        """A conversation for every place, and what was said by then."""
        length = len(parse(self.good))
        return [self.stopped(after) for after in range(length)]

    def before_each_reply(self) -> list[tuple[Conversation, bytes]]:
        """The same, but only where the server has to begin a reply."""
        said = [Said(False, b""), *parse(self.good)]
        return [
            self.stopped(after)
            for after, each in enumerate(said[:-1])
            if not each.by_server
        ]

    def stopped(self, after: int) -> tuple[Conversation, bytes]:
        """A conversation after so many steps."""
        conversation = self.converse()
        for _, _ in zip(range(after), conversation.steps(self.good), strict=False):
            pass
        return conversation, conversation.wire.value()

    def attack(
        self, transcript: str, error: type[NegotiationFailed] | None
    ) -> NegotiationFailed:
        """As ever; any error will do if none is given."""
        if error is None:
            conversation = self.converse()
            conversation.play(transcript)
            error = type(conversation.error)
        return super().attack(transcript, error)


class SMTPAttackTests(CommonAttacks, Steps):
    """Attacks on SMTP."""

    dialect = "smtp"
    agreement = "250 OK"
    farewell = "221 mx.example.org closing"
    talkative = (
        "S: 554 TEXT",
        "S: TEXT",
        "S: 220-a\nS: 230 TEXT",
        "S: 220 a\nC: EHLO [192.0.2.1]\nS: 500 TEXT",
        SMTP.replace("220 Go ahead", "454 TEXT"),
        SMTP.replace("220 Go ahead", "TEXT"),
    )

    def test_stripping_D(self) -> None:
        """STARTTLS taken out of the reply to EHLO: the client stops there."""
        self.attack(
            """
            S: 220 mx.example.org ESMTP
            C: EHLO [192.0.2.1]
            S: 250-mx.example.org
            S: 250 SIZE 10000000
            """,
            NotOffered,
        )

    def test_stripping_D_overwritten(self) -> None:
        """The same for a keyword that was written over, as some firewalls do."""
        self.attack(
            """
            S: 220 mx.example.org ESMTP
            C: EHLO [192.0.2.1]
            S: 250-mx.example.org
            S: 250-XXXXXXXA
            S: 250 SIZE 10000000
            """,
            NotOffered,
        )

    def test_stripping_D_no_ehlo(self) -> None:
        """EHLO made unknown: the client does not go back to HELO."""
        self.attack(
            """
            S: 220 mx.example.org ESMTP
            C: EHLO [192.0.2.1]
            S: 502 what?
            """,
            NotOffered,
        )

    def test_refusal_O_3_454(self) -> None:
        """TLS not available due to a temporary reason: no mail in clear."""
        self.attack(SMTP.replace("220 Go", "454 no"), Refused)

    def test_refusal_O_501_502_503(self) -> None:
        """STARTTLS as a wrong command: no mail in clear."""
        for code in (501, 502, 503):
            self.attack(SMTP.replace("220 Go", f"{code} no"), Refused)

    def test_refusal_O_4_continue(self) -> None:
        """354, the continuation of SMTP, is no go-ahead."""
        self.attack(SMTP.replace("220 Go", "354 go on"), Refused)

    def test_ignored_status(self) -> None:
        """CVE-2016-0772: the code of the reply counts, not that there is one."""
        for code in (250, 251, 421, 500, 550, 554, 220 + 1):
            self.attack(SMTP.replace("220 Go", f"{code} Go"), Refused)

    def test_tampering(self) -> None:
        """Any other lines of the reply to EHLO change nothing, and go nowhere."""
        self.secures(
            SMTP.replace("S: 250 SIZE", "S: 250-AUTH PLAIN\nS: 250-X-EVIL\nS: 250 SIZE")
        )

    def test_preemptive_reply(self) -> None:
        """A reply to EHLO in the segment of the greeting was not asked for."""
        self.attack("S: 220 mx\nS+ 250-mx\nS+ 250 STARTTLS", InjectedData)

    def test_preemptive_reply_to_starttls(self) -> None:
        """A go-ahead in the segment of the reply to EHLO is not one."""
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
        """Nor may it come while we have something to say."""
        self.attack("S: 220 mx\nS+ 2", InjectedData)

    def test_malformed_greeting(self) -> None:
        """Neither 221, nor 354, nor 421, nor 5xx is a greeting, nor what is no SMTP."""
        for line in ("221 bye", "354 go on", "421 busy", "500 no", "554 no"):
            self.attack(f"S: {line}", Refused)
        for line in ("* OK", "+OK", "SSH-2.0-x", "<html>", ""):
            self.attack(f"S: {line}", BadReply)

    def test_resource_endless_greeting(self) -> None:
        """A greeting of ever more lines is not waited for."""
        conversation = self.converse()
        while conversation.undecided:
            conversation.hear(b"220-" + b"x" * 500 + b"\r\n")
        self.given_up(conversation, BadReply, b"")

    def test_resource_endless_lines(self) -> None:
        """Nor is any other reply, even if its lines are as short as can be."""
        conversation, clear = self.before_each_reply()[1]
        for _ in range(Negotiation.MAX_TOTAL // 100):
            conversation.hear(b"250-\r\n" * 20)
            if not conversation.undecided:
                break
        self.given_up(conversation, BadReply, clear)


class POP3AttackTests(CommonAttacks, Steps):
    """Attacks on POP3."""

    dialect = "pop3"
    agreement = "+OK"
    farewell = "-ERR bye"
    talkative = (
        "S: -ERR TEXT",
        "S: TEXT",
        "S: +OK\nC: CAPA\nS: TEXT",
        POP3.replace("+OK Begin", "-ERR TEXT"),
        POP3.replace("+OK Begin", "TEXT"),
    )

    def test_stripping_D(self) -> None:
        """STLS taken out of the capabilities: the client stops there."""
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

    def test_stripping_D_no_capa(self) -> None:
        """CAPA made unknown, STLS too: the client asks, and stops there."""
        self.attack(
            """
            S: +OK ready
            C: CAPA
            S: -ERR what?
            C: STLS
            S: -ERR what?
            """,
            Refused,
        )

    def test_refusal_O_1_ERR(self) -> None:
        """STLS refused: no login in clear."""
        self.attack(POP3.replace("+OK Begin", "-ERR no"), Refused)

    def test_refusal_O_4_continue(self) -> None:
        """A request to continue, as in RFC 5034, is no go-ahead."""
        self.attack(POP3.replace("+OK Begin", "+ go on"), BadReply)

    def test_ignored_status(self) -> None:
        """CVE-2016-0772: what the reply says counts, not that there is one."""
        for line in ("-ERR", "-err [SYS/TEMP] later", "-ERR +OK"):
            self.attack(POP3.replace("+OK Begin", line), Refused)

    def test_tampering(self) -> None:
        """Any other capabilities change nothing, and go nowhere."""
        self.secures(
            POP3.replace("S: TOP", "S: IMPLEMENTATION evil\nS: SASL PLAIN\nS: +OK")
        )

    def test_preemptive_reply(self) -> None:
        """A reply to CAPA in the segment of the greeting was not asked for."""
        self.attack("S: +OK hello\nS+ +OK list\nS+ STLS\nS+ .", InjectedData)

    def test_preemptive_reply_to_starttls(self) -> None:
        """A go-ahead in the segment of the list is not one."""
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

    def test_malformed_greeting(self) -> None:
        """-ERR is a refusal; and what is no POP3 is an error."""
        self.attack("S: -ERR no", Refused)
        for line in ("* OK", "220 mx", "+OKAY", "OK", "<html>", ""):
            self.attack(f"S: {line}", BadReply)

    def test_resource_endless_lines(self) -> None:
        """A list of ever more capabilities is not waited for."""
        conversation, clear = self.before_each_reply()[1]
        conversation.hear(b"+OK\r\n")
        for _ in range(Negotiation.MAX_TOTAL // 20):
            conversation.hear(b"X\r\n" * 20)
            if not conversation.undecided:
                break
        self.given_up(conversation, BadReply, clear)


class IMAPAttackTests(CommonAttacks, Steps):
    """Attacks on IMAP."""

    dialect = "imap"
    agreement = "* CAPABILITY IMAP4rev1 AUTH=PLAIN"
    farewell = "* BYE"
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
        """STARTTLS taken out of the capabilities: the client stops there."""
        self.attack(
            """
            S: * OK ready
            C: {tag}1 CAPABILITY
            S: * CAPABILITY IMAP4rev1 LOGINDISABLED
            S: {tag}1 OK done
            """,
            NotOffered,
        )

    def test_stripping_D_in_greeting(self) -> None:
        """The same if they come in the greeting."""
        self.attack("S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready", NotOffered)

    def test_refusal_O_1_BAD(self) -> None:
        """STARTTLS as an unknown command: no login in clear."""
        self.attack(IMAP.replace("{tag}2 OK", "{tag}2 BAD"), Refused)

    def test_refusal_O_2_NO(self) -> None:
        """STARTTLS refused: no login in clear."""
        self.attack(IMAP.replace("{tag}2 OK", "{tag}2 NO"), Refused)

    def test_refusal_O_4_continue(self) -> None:
        """A request to continue is no go-ahead."""
        self.attack(IMAP.replace("{tag}2 OK", "+ continue"), BadReply)

    def test_ignored_status(self) -> None:
        """CVE-2016-0772: what the reply says counts, not that there is one."""
        for condition in ("NO", "BAD", "no [UNAVAILABLE]", "BYE", ""):
            self.attack(IMAP.replace("{tag}2 OK", f"{{tag}}2 {condition}"), Refused)

    def test_preauth_P(self) -> None:
        """PREAUTH would make STARTTLS impossible: the client closes."""
        self.attack("S: * PREAUTH welcome", Preauthenticated)

    def test_preauth_P_in_any_case(self) -> None:
        """However it is written."""
        for word in ("preauth", "PreAuth", "PREAUTH "):
            self.attack(f"S: * {word}", Preauthenticated)

    def test_preauth_P_with_offer(self) -> None:
        """Even where STARTTLS is offered with it."""
        self.attack(
            "S: * PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] welcome", Preauthenticated
        )

    def test_preauth_P_with_more(self) -> None:
        """Whatever comes with it: it is not looked at."""
        self.attack(
            """
            S: * PREAUTH welcome
            S+ * OK [CAPABILITY IMAP4rev1 STARTTLS] ready
            S+ * LIST () "/" INBOX
            """,
            Preauthenticated,
        )

    def test_preauth_P_later(self) -> None:
        """After the greeting PREAUTH means nothing: there is TLS, or nothing."""
        self.secures(IMAP.replace("S: {tag}2", "S: * PREAUTH welcome\nS: {tag}2"))
        self.attack(IMAP.replace("{tag}2 OK", "{tag}2 PREAUTH"), Refused)

    def test_referral_L_1(self) -> None:
        """A login referral (RFC 2221) in the greeting is not followed."""
        self.attack("S: * BYE [REFERRAL imap://evil.example/] go there", Refused)
        self.secures(IMAP.replace("* OK", "* OK [REFERRAL imap://evil.example/]"))

    def test_referral_L_1_in_reply(self) -> None:
        """Nor is one in the replies to CAPABILITY and STARTTLS."""
        referral = "[REFERRAL imap://evil.example/]"
        self.attack(IMAP.replace("{tag}2 OK", f"{{tag}}2 NO {referral}"), Refused)
        self.attack(
            f"S: * OK\nC: {{tag}}1 CAPABILITY\nS: {{tag}}1 NO {referral}", NotOffered
        )
        self.secures(IMAP.replace("{tag}2 OK", f"{{tag}}2 OK {referral}"))

    def test_referral_M_1(self) -> None:
        """A mailbox referral (RFC 2193) as an untagged line is passed over."""
        referral = "S: * NO [REFERRAL imap://evil.example/INBOX] moved"
        self.secures(IMAP.replace("S: {tag}2 OK", f"{referral}\nS: {{tag}}2 OK"))

    def test_referral_M_2(self) -> None:
        """Nor does one in the go-ahead lead to anyone else."""
        conversation = self.converse()
        conversation.play(
            IMAP.replace("{tag}2 OK", "{tag}2 OK [REFERRAL imap://evil.example/INBOX]")
        )
        ((host, port, *_),) = conversation.reactor.tcpClients
        self.assertEqual((host, port), (PEER.host, PEER.port))
        conversation.connecting.cancel()
        conversation.hang_up()

    def test_tampering(self) -> None:
        """Untagged data before the go-ahead is passed over, and goes nowhere."""
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
        """A tagged reply before the command: nobody knows the tag by then."""
        for line in ("a1 OK", "A2 OK", "1 OK", "* OK"):
            self.attack(f"S: * OK\nS+ {line}", InjectedData)

    def test_preemptive_reply_to_starttls(self) -> None:
        """A go-ahead in the segment of the reply to CAPABILITY is not one."""
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
        """A go-ahead before we have asked, in the place of untagged data, is none."""
        self.attack(
            """
            S: * OK
            C: {tag}1 CAPABILITY
            S: * CAPABILITY STARTTLS
            S: {tag}2 OK go
            """,
            BadReply,
        )

    def test_malformed_greeting(self) -> None:
        """BYE is a refusal; and what is no IMAP greeting is an error."""
        self.attack("S: * BYE no", Refused)
        for line in ("* NO", "* BAD", "+OK", "220 mx", "OK", "<html>", ""):
            self.attack(f"S: {line}", BadReply)

    def test_resource_huge_literal(self) -> None:
        """A literal is not waited for, whatever its length."""
        for length in ("{4294967296}", "{10}", "{10+}"):
            self.attack(f'{self.asked}S: * LIST () "/" {length}', BadReply)

    def test_resource_endless_lines(self) -> None:
        """Ever more untagged lines are not waited for."""
        conversation, clear = self.before_each_reply()[2]
        for _ in range(Negotiation.MAX_TOTAL // 20):
            conversation.hear(b"* 1 EXISTS\r\n" * 10)
            if not conversation.undecided:
                break
        self.given_up(conversation, BadReply, clear)


class NegotiationTests(SynchronousTestCase):
    """What all dialects have in common."""

    def converse(self, dialect: str, timeout: float | None = None) -> Conversation:
        """A connection without TLS behind the dialogue."""
        return Conversation(lambda tcp, clock: negotiated(dialect, tcp, clock, timeout))

    def test_steps_aside(self) -> None:
        """
        After the dialogue the next protocol has the transport to itself: it is
        given what comes, as it comes, and hears of the end.
        """
        for dialect, transcript in GOOD.items():
            conversation = self.converse(dialect)
            conversation.play(transcript)
            (following,) = conversation.factory.built
            self.assertIs(conversation.result, following)
            self.assertEqual(following.made, 1)
            self.assertIs(following.transport.getPeer(), PEER)
            for data in (b"a line\r\n", b"\n", b"x" * 100000, b"\0"):
                conversation.hear(data)
            self.assertEqual(
                following.received, b"a line\r\n\n" + b"x" * 100000 + b"\0"
            )
            conversation.hang_up()
            self.assertEqual(len(following.lost), 1)

    def test_without_deadline(self) -> None:
        """Where no time is given, none is kept."""
        conversation = self.converse("smtp")
        self.assertEqual(conversation.left, [])

    def test_deaf_after_the_decision(self) -> None:
        """
        Once time is up nothing is answered any more, not even the right words,
        should a transport still deliver them.
        """
        for dialect, transcript in GOOD.items():
            conversation = self.converse(dialect, TIMEOUT)
            conversation.reactor.advance(TIMEOUT)
            conversation.hear(parse(transcript)[0].data)
            self.assertEqual(conversation.wire.value(), b"")
            self.assertEqual(conversation.wire.late, b"")

    def test_bounds_are_not_narrow(self) -> None:
        """Lines and replies as long as the RFCs allow are accepted."""
        long = "x" * 1000
        conversation = self.converse("smtp")
        conversation.play(
            SMTP.replace("S: 220 mx", f"S: 220-{long}\n" * 40 + "S: 220 mx")
        )
        self.assertIsNotNone(conversation.result)

    def test_longest_line(self) -> None:
        """A line of exactly the greatest length is a line."""
        length = Negotiation.MAX_LENGTH - len("220 \r")
        conversation = self.converse("smtp")
        conversation.hear(b"220 " + b"x" * length + b"\r\n")
        self.assertEqual(conversation.heard(), b"EHLO [192.0.2.1]\r\n")

    def test_total_counts_all_lines(self) -> None:
        """The bound on all that is said holds over the whole dialogue."""
        conversation = self.converse("imap")
        half = b"* %s\r\n" % (b"x" * 996) * (Negotiation.MAX_TOTAL // 2000 + 1)
        conversation.play("S: * OK\nC: {tag}1 CAPABILITY")
        conversation.hear(half)
        conversation.play("S: * CAPABILITY STARTTLS\nS: {tag}1 OK\nC: {tag}2 STARTTLS")
        self.assertTrue(conversation.undecided)
        conversation.hear(half)
        self.assertIsInstance(conversation.error, BadReply)

    def test_every_dialect(self) -> None:
        """Every dialect has its negotiation, made once, and is tested here."""
        self.assertEqual(sorted(NAMES), sorted(GOOD))
        for name in NAMES:
            self.assertIs(negotiation(name), negotiation(name))
            self.assertEqual(negotiation(name).dialect.name, name)

    def test_only_the_dialect_in_use(self) -> None:
        """No dialect is imported before it is used, and no other is then."""
        program = (
            "import sys\n"
            "from twisted_tcpclient.starttls import negotiation\n"
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
        """A dialect that does not exist is an error at once."""
        self.assertRaises(KeyError, negotiated, "gopher", None, None)

    def test_errors_can_be_caught(self) -> None:
        """Every way in which a dialogue fails has a type, below one root."""
        kinds = NegotiationFailed.__subclasses__()
        self.assertEqual(
            {kind.__name__ for kind in kinds},
            {
                "BadReply",
                "Disconnected",
                "InjectedData",
                "NotOffered",
                "Preauthenticated",
                "Refused",
            },
        )
        self.assertTrue(issubclass(NegotiationFailed, TCPClientError))


def counted(parameters: Parameters) -> Dialogue:
    """A byte for a length, so many bytes, a line, all said back; four bytes."""
    length = yield Bytes(1)
    piece = yield Bytes(length[0])
    line = yield LINE
    yield Send(length + piece + line)
    end = yield Bytes(4)
    if end != b"done":
        raise Refused("not done", end)


class Counted(Negotiation):
    """Drives a dialect of lines and of bytes."""

    dialect = Dialect("counted", 1, "RFC 0", counted)


class BytesTests(SynchronousTestCase):
    """Exact counts of bytes, among lines."""

    def converse(self, timeout: float | None = None) -> Conversation:
        """A connection without TLS behind the dialogue."""
        return Conversation(
            lambda tcp, clock: StagedEndpoint(
                tcp,
                lambda factory, address: Counted("", factory, address, clock, timeout),
            )
        )

    def test_any_segments(self) -> None:
        """However the bytes come, the dialect is given those it waits for."""
        for size in range(1, 12):
            conversation = self.converse()
            data = b"\x05\r\nab\nline\r\n"
            for at in range(0, len(data), size):
                conversation.hear(data[at : at + size])
            self.assertEqual(conversation.heard(), b"\x05\r\nab\nline")
            for at in range(0, 4, size):
                self.assertTrue(conversation.undecided)
                conversation.hear(b"done"[at : at + size])
            self.assertIsNotNone(conversation.result)
            conversation.hear(b"more")
            self.assertEqual(conversation.result.received, b"more")

    def test_one_too_many_before_it_was_asked(self) -> None:
        """Nothing may be unread when the client speaks, in either mode."""
        for more in (b"d", b"done", b"\n"):
            conversation = self.converse()
            conversation.hear(b"\x01aline\n" + more)
            self.assertIsInstance(conversation.error, InjectedData)
            self.assertEqual(conversation.heard(), b"")

    def test_one_too_many_at_the_end(self) -> None:
        """Nor at the end, in the segment of the last byte."""
        for pieces in ((b"done!",), (b"do", b"ne!"), (b"don", b"e\n")):
            conversation = self.converse()
            conversation.hear(b"\x01aline\n")
            for piece in pieces:
                conversation.hear(piece)
            self.assertIsInstance(conversation.error, InjectedData)
            self.assertEqual(conversation.factory.built, [])
            self.assertEqual(conversation.wire.late, b"")

    def test_refused(self) -> None:
        """What follows a refusal is never looked at."""
        conversation = self.converse()
        conversation.hear(b"\x01aline\n")
        conversation.hear(b"deaddone")
        self.assertIsInstance(conversation.error, Refused)
        self.assertEqual(conversation.error.server_text, b"dead")
        self.assertEqual(conversation.factory.built, [])

    def test_long_lines(self) -> None:
        """The bound on lines holds after bytes."""
        conversation = self.converse()
        conversation.hear(b"\x01a" + b"x" * (Negotiation.MAX_LENGTH + 1))
        self.assertIsInstance(conversation.error, BadReply)

    def test_deadline(self) -> None:
        """Bytes that do not come are not waited for without end."""
        conversation = self.converse(TIMEOUT)
        for _ in range(TIMEOUT):
            self.assertTrue(conversation.undecided)
            conversation.hear(b"\xff")
            conversation.reactor.advance(1)
        self.assertIsInstance(conversation.error, TimedOut)
        conversation.hear(b"\xff" * 255 + b"line\n")
        self.assertEqual(conversation.heard(), b"")
        self.assertEqual(conversation.left, [])

    def test_closed(self) -> None:
        """The connection may end in the middle of a piece."""
        conversation = self.converse()
        conversation.hear(b"\x05abc")
        conversation.hang_up()
        self.assertIsInstance(conversation.error, Disconnected)

    def test_nothing(self) -> None:
        """Nobody can wait for nothing."""
        for count in (0, -1):
            self.assertRaises(ValueError, Bytes, count)

    def test_too_many(self) -> None:
        """More than may ever come is not waited for."""

        class Greedy(Negotiation):
            MAX_TOTAL = 5
            dialect = Counted.dialect

        def stages(
            tcp: IStreamClientEndpoint, clock: MemoryReactorClock
        ) -> IStreamClientEndpoint:
            return StagedEndpoint(
                tcp, lambda factory, address: Greedy("", factory, address, clock, None)
            )

        conversation = Conversation(stages)
        conversation.hear(b"\x05")
        self.assertIsInstance(conversation.error, BadReply)
        conversation = Conversation(stages)
        conversation.hear(b"\x04abcd")
        self.assertTrue(conversation.undecided)
        conversation.hear(b"\n")
        self.assertIsInstance(conversation.error, BadReply)


class ClientNameTests(SynchronousTestCase):
    """What we call ourselves in EHLO."""

    def test_literals(self) -> None:
        """Our address as RFC 5321, 4.1.3 wants it; a zone is nobody's business."""
        for address, name in (
            (IPv4Address("TCP", "192.0.2.1", 1), b"[192.0.2.1]"),
            (IPv6Address("TCP", "2001:db8::1", 1), b"[IPv6:2001:db8::1]"),
            (IPv6Address("TCP", "fe80::1%eth0", 1), b"[IPv6:fe80::1]"),
            (UNIXAddress("/run/socket"), b"localhost"),
            (UNIXAddress(None), b"localhost"),
        ):
            self.assertEqual(client_name(address), name)

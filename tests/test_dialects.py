"""
The built-in dialects: what each sends before TLS, and how it takes each reply.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.packages import service_port
from tests.transcripts import (
    DOMAIN,
    FTP,
    GOOD,
    IMAP,
    IRC,
    LDAP,
    LINEWISE,
    LMTP,
    MYSQL,
    NNTP,
    POP3,
    POSTGRES,
    SIEVE,
    SMTP,
    STARTTLS_OID,
    TELNET,
    TLS_NAMESPACE,
    XMPP,
    XMPP_SERVER,
    Exchange,
    patient,
    talk_in,
)
from twisted_tcpclient import dialects
from twisted_tcpclient.dialects import Parameters, Send
from twisted_tcpclient.errors import (
    BadReply,
    InjectedData,
    NegotiationFailed,
    NotOffered,
    Preauthenticated,
    Refused,
)
from twisted_tcpclient.stages.negotiation import negotiated
from twisted_tcpclient.testing import client_bytes, join_turns, parse_transcript


class Dialogues(SynchronousTestCase):
    """Helpers that hold dialogues in one dialect."""

    dialect = ""

    def agrees(self, transcript: str) -> None:
        """Check that a dialogue ends at the point at which TLS begins."""
        talk = talk_in(self.dialect)
        talk.play(transcript)
        self.assertTrue(talk.agreed, talk.error)
        self.assertEqual(talk.unread, b"")

    def fails(
        self, transcript: str, error: type[NegotiationFailed], said: bytes = b""
    ) -> NegotiationFailed:
        """
        Check that the last line of a transcript ends the dialogue with an error.

        :param said: a part of the server_text of the error.
        """
        talk = talk_in(self.dialect)
        talk.play(transcript)
        self.assertIs(type(talk.error), error)
        assert talk.error is not None
        self.assertIn(said, talk.error.server_text)
        return talk.error


class SMTPTests(Dialogues):
    """RFC 3207."""

    dialect = "smtp"

    def test_rfc(self) -> None:
        """The client sends EHLO with its address, then STARTTLS."""
        self.agrees(SMTP)

    def test_long_greeting(self) -> None:
        """A greeting may have several lines."""
        self.agrees("""
            S: 220-mx.example.org ESMTP
            S: 220-You are being watched
            S: 220-
            S: 220 ready
            C: EHLO [192.0.2.1]
            S: 250-mx.example.org
            S: 250 STARTTLS
            C: STARTTLS
            S: 220 Go ahead
        """)

    def test_long_agreement(self) -> None:
        """A go-ahead may have several lines; TLS waits for the last one."""
        talk = talk_in(self.dialect)
        talk.play(SMTP.replace("220 Go", "220-Go"))
        self.assertFalse(talk.over)
        talk.play("S: 220 now")
        self.assertTrue(talk.agreed)

    def test_bare_codes(self) -> None:
        """A reply needs no text."""
        self.agrees("""
            S: 220
            C: EHLO [192.0.2.1]
            S: 250-
            S: 250 STARTTLS
            C: STARTTLS
            S: 220
        """)

    def test_keyword_in_any_case(self) -> None:
        """The keyword may be in any case, with blanks behind it."""
        for keyword in ("starttls", "StartTLS", "STARTTLS  "):
            self.agrees(SMTP.replace("250-STARTTLS", f"250-{keyword}"))

    def test_refusing_greeting(self) -> None:
        """A greeting other than 220 is a refusal."""
        for code in (554, 421, 221, 354, 250, 200, 500):
            line = f"{code} mx.example.org says no"
            self.fails(f"S: {line}", Refused, b"says no")

    def test_no_smtp(self) -> None:
        """A line that is no reply is an error at each step."""
        for line in (
            "",
            "22",
            "SSH-2.0-OpenSSH",
            "* OK hello",
            "+OK hello",
            "2200 hello",
            "220x hello",
            "220_",
            "-220 hello",
            " 220 hello",
            "2\xb20 hello",
            "+20 hello",
            "\x16\x03\x01",
        ):
            self.fails(f"S: {line}", BadReply, line.encode("latin-1"))
            hello = f"S: 220 hi\nC: EHLO [192.0.2.1]\nS: {line}"
            self.fails(hello, BadReply)
            self.fails(SMTP.replace("S: 220 Go ahead", f"S: {line}"), BadReply)

    def test_mixed_codes(self) -> None:
        """Lines of one reply with several codes are an error (RFC 5321, 4.2.1)."""
        self.fails("S: 220-hello\nS: 250 world", BadReply)
        self.fails("S: 220-hello\nS: 554-world", BadReply)
        self.fails(
            """
            S: 220 hello
            C: EHLO [192.0.2.1]
            S: 250-mx
            S: 500 STARTTLS
            """,
            BadReply,
        )
        self.fails(SMTP.replace("220 Go", "220-Go") + "S: 454 no", BadReply)

    def test_ehlo_refused(self) -> None:
        """A refusal of EHLO is an error; HELO is not tried."""
        for code in (421, 454, 500, 502, 503, 220, 251):
            self.fails(
                f"S: 220 hello\nC: EHLO [192.0.2.1]\nS: {code} no EHLO",
                NotOffered,
                b"no EHLO",
            )

    def test_hidden(self) -> None:
        """Without STARTTLS in the list it is not sent."""
        self.fails(SMTP.partition("S: 250-STARTTLS")[0] + "S: 250 SIZE", NotOffered)
        self.fails("S: 220 a\nC: EHLO [192.0.2.1]\nS: 250 mx", NotOffered)

    def test_not_the_keyword(self) -> None:
        """Only a line that is the keyword offers STARTTLS."""
        for line in (
            "X-STARTTLS",
            "STARTTLSX",
            "X STARTTLS",
            "STARTTLS X",
            "AUTH STARTTLS",
            "XXXXXXXA",
            "",
        ):
            offer = f"S: 220 hi\nC: EHLO [192.0.2.1]\nS: 250-mx\nS: 250 {line}"
            self.fails(offer, NotOffered)

    def test_name_of_the_server(self) -> None:
        """The first line after EHLO is the server's name, and offers nothing."""
        self.fails(
            """
            S: 220 hello
            C: EHLO [192.0.2.1]
            S: 250-STARTTLS
            S: 250 SIZE
            """,
            NotOffered,
        )

    def test_refused(self) -> None:
        """A reply other than 220 is no go-ahead."""
        for code in (454, 501, 502, 503, 554, 421, 221, 250, 354):
            refusal = SMTP.replace("220 Go ahead", f"{code} not now")
            self.fails(refusal, Refused, b"not now")

    def test_refused_at_length(self) -> None:
        """All lines of a refusal are in server_text, and in no message."""
        error = self.fails(
            SMTP.replace("220 Go ahead", "454-not now") + "S: 454 perhaps later",
            Refused,
            b"454 not now perhaps later",
        )
        self.assertNotIn("later", str(error))

    def test_temporary(self) -> None:
        """A code from 400 to 499 is reported as a temporary refusal."""
        hello = "S: 220 a\nC: EHLO [192.0.2.1]\n"
        for transcript, error, message in (
            ("S: {} x", Refused, "the server refused the connection"),
            (hello + "S: {} x", NotOffered, "the server refused EHLO"),
            (
                SMTP.replace("220 Go ahead", "{} x"),
                Refused,
                "the server refused STARTTLS",
            ),
        ):
            for code in (421, 450, 454):
                failure = self.fails(transcript.format(code), error)
                self.assertEqual(str(failure), f"{message} temporarily")
                self.assertEqual(failure.server_text, b"%d x" % code)
            for code in (354, 500, 554):
                failure = self.fails(transcript.format(code), error)
                self.assertEqual(str(failure), message)
                self.assertEqual(failure.server_text, b"%d x" % code)

    def test_blank_line(self) -> None:
        """Data behind the greeting is quoted in the message."""
        for line, words in (("", r'"\r\n"'), ("hello", r'"hello\r\n"')):
            error = self.fails(f"S: 220 mx\nS+ {line}", InjectedData)
            expected = f"the server sent data before it was asked: {words}"
            self.assertEqual(str(error), expected)


class POP3Tests(Dialogues):
    """RFC 2595 and RFC 2449."""

    dialect = "pop3"

    def test_rfc(self) -> None:
        """The client sends CAPA, then STLS."""
        self.agrees(POP3)

    def test_any_case(self) -> None:
        """Indicators and capabilities may be in any case."""
        self.agrees(
            POP3.replace("+OK", "+ok").replace("S: STLS", "S: stls").replace("B", "b")
        )

    def test_bare_indicators(self) -> None:
        """An indicator needs no text."""
        self.agrees("""
            S: +OK
            C: CAPA
            S: +OK
            S: STLS
            S: .
            C: STLS
            S: +OK
        """)

    def test_without_capa(self) -> None:
        """STLS is sent to a server that does not know CAPA."""
        self.agrees("""
            S: +OK ready
            C: CAPA
            S: -ERR unknown command
            C: STLS
            S: +OK go
        """)

    def test_neither_capa_nor_stls(self) -> None:
        """A server that knows neither CAPA nor STLS has refused STLS."""
        self.fails(
            """
            S: +OK ready
            C: CAPA
            S: -ERR unknown command
            C: STLS
            S: -ERR unknown too
            """,
            Refused,
            b"unknown too",
        )

    def test_refusing_greeting(self) -> None:
        """-ERR as a greeting is a refusal of the connection."""
        self.fails("S: -ERR too busy", Refused, b"too busy")
        self.fails("S: -err", Refused)

    def test_no_pop3(self) -> None:
        """A line that is neither +OK nor -ERR is an error at each step."""
        for line in (
            "",
            "OK",
            "+OKAY",
            "+ OK",
            "+ continue",
            "-ERROR",
            "220 hello",
            "* OK hello",
            "\x16\x03\x01",
        ):
            self.fails(f"S: {line}", BadReply, line.encode("latin-1"))
            self.fails(f"S: +OK\nC: CAPA\nS: {line}", BadReply)
            self.fails(POP3.replace("S: +OK Begin", f"S: {line} Begin"), BadReply)

    def test_hidden(self) -> None:
        """Without STLS in the list it is not sent."""
        self.fails(POP3.partition("S: STLS")[0] + "S: .", NotOffered)
        self.fails("S: +OK\nC: CAPA\nS: +OK\nS: .", NotOffered)

    def test_not_the_keyword(self) -> None:
        """Only a line that is the keyword offers STLS."""
        for line in ("XSTLS", "STLSX", "SASL STLS", "STLS X", "STARTTLS", "..STLS"):
            self.fails(f"S: +OK\nC: CAPA\nS: +OK\nS: {line}\nS: .", NotOffered)

    def test_dots(self) -> None:
        """Only a line of one dot ends the list."""
        self.agrees(POP3.replace("S: TOP", "S: ..\nS: .TOP\nS: . ."))

    def test_refused(self) -> None:
        """A reply other than +OK is no go-ahead."""
        refusal = POP3.replace("+OK Begin", "-ERR do not begin")
        self.fails(refusal, Refused, b"-ERR do not begin")


class IMAPTests(Dialogues):
    """RFC 9051, and RFC 3501 before it."""

    dialect = "imap"

    def test_rfc(self) -> None:
        """The client sends CAPABILITY, then STARTTLS, each with a tag."""
        self.agrees(IMAP)

    def test_greeted_with_capabilities(self) -> None:
        """CAPABILITY is not sent if the greeting has the capabilities."""
        self.agrees("""
            S: * OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] ready
            C: {tag}2 STARTTLS
            S: {tag}2 OK go
        """)

    def test_any_case(self) -> None:
        """All words but the tag may be in any case."""
        self.agrees("""
            S: * ok Ready
            C: {tag}1 CAPABILITY
            S: * Capability imap4rev1 StartTLS
            S: {tag}1 ok done
            C: {tag}2 STARTTLS
            S: {tag}2 Ok go
        """)
        self.agrees("""
            S: * Ok [Capability imap4rev1 starttls] ready
            C: {tag}2 STARTTLS
            S: {tag}2 ok
        """)

    def test_other_code_in_greeting(self) -> None:
        """Another response code in the greeting has no capabilities."""
        self.agrees(IMAP.replace("* OK", "* OK [ALERT] CAPABILITY STARTTLS"))

    def test_untagged_lines(self) -> None:
        """Untagged lines before a reply are skipped."""
        junk = """
            S: * OK [ALERT] you have won
            S: * 42 EXISTS
            S: * LIST () "/" INBOX
            S: * NO nothing
            S: * BAD nothing
            S: * PREAUTH nothing
            S: *
        """
        self.agrees(
            IMAP.replace("S: {tag}1 OK", f"{junk}S: {{tag}}1 OK").replace(
                "S: {tag}2 OK", f"{junk}S: {{tag}}2 OK"
            )
        )

    def test_unilateral_lines(self) -> None:
        """Untagged lines in the segment of the greeting are skipped, but for BYE."""
        waiting = "S+ * OK Waiting for authentication process to respond.."
        ready = "S+ * OK [CAPABILITY IMAP4rev1 STARTTLS] Dovecot ready."
        start = IMAP.partition("C: {tag}1")[0]
        rest = IMAP[len(start) :]
        self.agrees(f"{start}{waiting}\n{ready}\n{rest}")
        late = f"{start}S+ * BYE too slow\nC: {{tag}}1 CAPABILITY"
        self.fails(late, Refused, b"too slow")

    def test_braces(self) -> None:
        """Only a number in braces at the end of a line announces a literal."""
        for line in ("* OK {hello}", "* OK {}", "* OK {4} x", "* OK {4", "* OK 4}"):
            self.agrees(IMAP.replace("S: {tag}2", f"S: {line}\nS: {{tag}}2"))

    def test_capabilities_before_the_reply(self) -> None:
        """Capabilities before the go-ahead change nothing."""
        self.agrees(IMAP.replace("S: {tag}2", "S: * CAPABILITY IMAP4rev1\nS: {tag}2"))

    def test_last_capabilities_count(self) -> None:
        """The last of several lists of capabilities counts."""
        self.fails(
            IMAP.partition("S: {tag}1 OK")[0]
            + "S: * CAPABILITY IMAP4rev2\nS: {tag}1 OK done",
            NotOffered,
        )

    def test_preauthenticated(self) -> None:
        """PREAUTH is an error, with or without an offer of STARTTLS."""
        for line in (
            "* PREAUTH welcome home",
            "* preauth",
            "* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] welcome",
        ):
            self.fails(f"S: {line}", Preauthenticated, line.encode())

    def test_bye(self) -> None:
        """BYE is a refusal at each step."""
        self.fails("S: * BYE go away", Refused, b"go away")
        self.fails("S: * bye", Refused)
        for tag in ("{tag}1 OK", "{tag}2 OK"):
            start = IMAP.partition(f"S: {tag}")[0]
            self.fails(f"{start}S: * BYE go away", Refused, b"go away")

    def test_no_imap(self) -> None:
        """A greeting other than ``* OK``, ``* PREAUTH`` and ``* BYE`` is an error."""
        for line in (
            "",
            "*",
            "* ",
            "OK",
            "* NO",
            "* BAD hello",
            "*OK",
            "** OK",
            "* [OK] hello",
            "+ OK",
            "+OK hello",
            "220 hello",
            "tag1 OK hello",
            "\x16\x03\x01",
        ):
            self.fails(f"S: {line}", BadReply, line.encode("latin-1"))

    def test_capability_refused(self) -> None:
        """A refusal of CAPABILITY is an error."""
        for condition in ("NO", "BAD", "PREAUTH", ""):
            self.fails(
                f"S: * OK\nC: {{tag}}1 CAPABILITY\nS: {{tag}}1 {condition} sorry",
                NotOffered,
                b"sorry",
            )

    def test_hidden(self) -> None:
        """Without STARTTLS in the list it is not sent."""
        self.fails("S: * OK [CAPABILITY IMAP4rev1 LOGINDISABLED]", NotOffered)
        for line in ("S: * CAPABILITY IMAP4rev1", "S: * OK", ""):
            self.fails(
                f"S: * OK\nC: {{tag}}1 CAPABILITY\n{line}\nS: {{tag}}1 OK", NotOffered
            )

    def test_not_the_keyword(self) -> None:
        """Only a word that is the keyword offers STARTTLS."""
        for word in ("XSTARTTLS", "STARTTLSX", "AUTH=STARTTLS", '"STARTTLS"', "STLS"):
            self.fails(f"S: * OK [CAPABILITY {word}] hello", NotOffered)
        capabilities = IMAP.partition("S: {tag}1 OK")[0].replace(
            "STARTTLS", "[STARTTLS]"
        )
        self.fails(capabilities + "S: {tag}1 OK", NotOffered)

    def test_refused(self) -> None:
        """A condition other than OK is no go-ahead."""
        for condition in (
            "NO",
            "BAD",
            "OKAY",
            "[OK]",
            "BYE",
            "PREAUTH",
            "STARTTLS",
            "+",
        ):
            refusal = IMAP.replace("{tag}2 OK Begin", f"{{tag}}2 {condition} Begin")
            self.fails(refusal, Refused, b"Begin")
        self.fails(IMAP.partition("S: {tag}2")[0] + "S: {tag}2 ", Refused)

    def test_unasked(self) -> None:
        """
        Another tag, a continuation request, a literal and an empty line are errors.
        """
        for line in (
            "+ continue",
            "+",
            "",
            "a1 OK done",
            "TAG1 OK done",
            "tag OK done",
            "tag11 OK done",
            "tag1",
            "* LIST () {4}",
            "* LIST () {4+}",
            "OK done",
        ):
            self.fails(f"S: * OK\nC: tag1 CAPABILITY\nS: {line}", BadReply)
        self.fails(IMAP.replace("S: {tag}2 OK", "S: {tag}1 OK"), BadReply)


class LMTPTests(Dialogues):
    """RFC 2033 and RFC 3207."""

    dialect = "lmtp"

    def test_rfc(self) -> None:
        """The client sends LHLO with its address, then STARTTLS."""
        self.agrees(LMTP)

    def test_as_smtp(self) -> None:
        """The rest of the dialogue is that of SMTP."""
        self.fails("S: 421 busy", Refused, b"busy")
        self.fails("S: 220-a\nS: 421 b", BadReply)
        self.fails("S: 220 a\nC: LHLO [192.0.2.1]\nS: 250 a", NotOffered)
        error = self.fails("S: 220 a\nC: LHLO [192.0.2.1]\nS: 500 what?", NotOffered)
        self.assertIn("LHLO", str(error))
        self.fails(LMTP.replace("220 Go", "454 no"), Refused)


class FTPTests(Dialogues):
    """RFC 4217 and RFC 959."""

    dialect = "ftp"

    def test_rfc(self) -> None:
        """The client sends AUTH TLS after the greeting."""
        self.agrees(FTP)
        self.agrees("S: 220\nC: AUTH TLS\nS: 234")

    def test_inner_lines(self) -> None:
        """Any line may be inside a reply, also one with another code."""
        for line in ("", "hello", "230-x", "230 x", " 220 x", "22", "2200 x", "220-x"):
            self.agrees(f"S: 220-a\nS: {line}\nS: 220 b\nC: AUTH TLS\nS: 234 ok")
            self.agrees(f"S: 220 a\nC: AUTH TLS\nS: 234-a\nS: {line}\nS: 234 b")

    def test_not_ready(self) -> None:
        """220 is waited for after 120 (RFC 959, 5.4)."""
        self.agrees(f"S: 120 in 5 minutes\n{FTP}")
        self.fails("S: 120-wait\nS: 120 5 minutes\nS: 421 sorry", Refused, b"sorry")
        self.fails("S: 120 wait\nS: 120 wait", Refused)

    def test_refusing_greeting(self) -> None:
        """A greeting other than 220 is a refusal."""
        for code in (421, 221, 234, 500, 530):
            self.fails(f"S: {code} no", Refused, b"no")

    def test_no_ftp(self) -> None:
        """A line that is no reply is an error at each step."""
        for line in ("", "SSH-2.0-x", "+OK", "* OK", "22", "220x", "\x16\x03\x01"):
            self.fails(f"S: {line}", BadReply, line.encode("latin-1"))
            self.fails(f"S: 220 hi\nC: AUTH TLS\nS: {line}", BadReply)

    def test_unknown(self) -> None:
        """A server that does not know AUTH TLS does not offer it."""
        for code in (500, 502, 504):
            self.fails(f"S: 220 hi\nC: AUTH TLS\nS: {code} what?", NotOffered, b"what?")

    def test_refused(self) -> None:
        """A reply other than 234 is no go-ahead, 334 included."""
        for code in (334, 421, 431, 530, 534, 535, 220, 200):
            text = b"%d no" % code
            error = self.fails(f"S: 220 hi\nC: AUTH TLS\nS: {code} no", Refused, text)
            self.assertEqual("temporarily" in str(error), code in (421, 431))
        self.assertIn("temporarily", str(self.fails("S: 421 busy", Refused)))


class NNTPTests(Dialogues):
    """RFC 4642 and RFC 3977."""

    dialect = "nntp"

    def test_rfc(self) -> None:
        """The client sends CAPABILITIES, then STARTTLS."""
        self.agrees(NNTP)
        self.agrees(NNTP.replace("S: 201", "S: 200").replace("STARTTLS", "starttls", 1))

    def test_without_capabilities(self) -> None:
        """STARTTLS is sent to a server that does not know CAPABILITIES."""
        for code in (500, 480, 502):
            start = f"S: 200 hi\nC: CAPABILITIES\nS: {code} what?\nC: STARTTLS\n"
            self.agrees(start + "S: 382 go")
            self.fails(start + "S: 500 what?", Refused, b"what?")

    def test_refusing_greeting(self) -> None:
        """A greeting other than 200 and 201 is a refusal."""
        for code in (400, 502, 202, 101, 382):
            self.fails(f"S: {code} no", Refused, b"no")

    def test_no_nntp(self) -> None:
        """A line that is no reply of one line is an error at each step."""
        for line in ("", "+OK", "* OK", "20", "200-hello", "200x", "\x16\x03\x01"):
            self.fails(f"S: {line}", BadReply, line.encode("latin-1"))
            self.fails(f"S: 200 hi\nC: CAPABILITIES\nS: {line}", BadReply)
            self.fails(NNTP.replace("S: 382 Go ahead", f"S: {line}"), BadReply)

    def test_hidden(self) -> None:
        """Without STARTTLS in the list it is not sent."""
        start = "S: 200 hi\nC: CAPABILITIES\nS: 101 list\nS: VERSION 2\n"
        self.fails(start + "S: .", NotOffered)
        for line in ("XSTARTTLS", "STARTTLS X", "AUTHINFO STARTTLS", "..", "STLS"):
            self.fails(f"{start}S: {line}\nS: .", NotOffered)

    def test_refused(self) -> None:
        """A reply other than 382 is no go-ahead."""
        for code in (400, 483, 502, 580, 381, 200):
            text = b"%d no" % code
            error = self.fails(NNTP.replace("382 Go", f"{code} no"), Refused, text)
            self.assertEqual("temporarily" in str(error), code == 400)

    def test_mode_reader(self) -> None:
        """
        MODE READER is sent once, if a server lists MODE-READER without STARTTLS or
        answers STARTTLS with 401.
        """
        transit = "S: 201 hi\nC: CAPABILITIES\nS: 101 a\nS: mode-reader\nS: .\n"
        both = transit.replace("S: .", "S: STARTTLS\nS: .")
        old = "S: 201 hi\nC: CAPABILITIES\nS: 500 a\n"
        wrong = "C: STARTTLS\nS: 401 MODE-READER\n"
        listed = "S: 101 a\nS: STARTTLS\nS: .\n"
        for beginning in (transit, both + wrong, old + wrong):
            for code in (200, 201):
                asked = f"{beginning}C: MODE READER\nS: {code} hi\nC: CAPABILITIES\n"
                self.agrees(f"{asked}{listed}C: STARTTLS\nS: 382 go")
                self.agrees(f"{asked}S: 500 what?\nC: STARTTLS\nS: 382 go")
                self.fails(f"{asked}{listed}{wrong}", Refused, b"401")
                self.fails(f"{asked}S: 101 a\nS: MODE-READER\nS: .", NotOffered)
            for code in (400, 500, 502, 382):
                asked = f"{beginning}C: MODE READER\nS: {code} no"
                error = self.fails(asked, Refused, b"%d no" % code)
                self.assertIn("refused MODE READER", str(error))
        # MODE-READER beside STARTTLS changes nothing while STARTTLS works.
        self.agrees(both + "C: STARTTLS\nS: 382 go")


class SieveTests(Dialogues):
    """RFC 5804."""

    dialect = "sieve"

    def test_rfc(self) -> None:
        """The client waits for the capabilities, and sends STARTTLS."""
        self.agrees(SIEVE)

    def test_any_case(self) -> None:
        """Conditions and names may be in any case."""
        self.agrees('S: "StartTLS"\nS: ok\nC: STARTTLS\nS: Ok')

    def test_codes(self) -> None:
        """A condition may have a response code, with strings in it."""
        self.agrees(
            """
            S: "STARTTLS"
            S: OK (TAG "a (b) {3}") "hello"
            C: STARTTLS
            S: OK (REFERRAL "sieve://evil.example/") "go"
            """
        )

    def test_literals(self) -> None:
        """Each string may be a literal with any bytes in it."""
        self.agrees(
            """
            S: {14}
            S: IMPLEMENTATION "v"
            S: "NOTIFY" {7}
            S: mailto:
            S: {8}
            S: STARTTLS
            S: OK (TAG {2}
            S: a" {4}
            S| NO
            S|  b
            S: ) {0}
            S:
            C: STARTTLS
            S: OK {2}
            S: ok
            """
        )

    def test_no_literals(self) -> None:
        """Braces in quotes, or within a line, announce no literal."""
        self.agrees('S: "STARTTLS" "{9}"\nS: OK "{9}"\nC: STARTTLS\nS: OK "{9}"')
        for line in ('"A" {9} "B"', '"A" {9+}', '"A" {-1}', '"A" {}', '"A" {x}', "{9"):
            self.fails(f"S: {line}", BadReply)

    def test_quotes(self) -> None:
        """A quote or a backslash in quotes has a backslash before it."""
        self.agrees(SIEVE.replace('"ready"', r'"\"STARTTLS\" \\"'))
        self.agrees(SIEVE.replace('"ready"', r'"\\" "x"'))
        for text in (r'"\x"', '"', '"a', r'"a\"', 'a"', r"\\"):
            self.fails(SIEVE.partition("S: OK")[0] + f"S: OK {text}", BadReply)

    def test_refusing_greeting(self) -> None:
        """NO and BYE are refusals of the connection, also behind capabilities."""
        for line in ('BYE "too busy"', 'no "too busy"'):
            self.fails(f"S: {line}", Refused, b"too busy")
            self.fails(f'S: "STARTTLS"\nS: {line}', Refused, b"too busy")

    def test_hidden(self) -> None:
        """Without STARTTLS in the list it is not sent."""
        self.fails("S: OK", NotOffered)
        for line in ('"XSTARTTLS"', '"SASL" "STARTTLS"', '"STARTTLS X"', '"STLS"'):
            self.fails(f"S: {line}\nS: OK", NotOffered)

    def test_no_sieve(self) -> None:
        """A line that is no response is an error at each step."""
        for line in (
            "",
            "  ",
            "STARTTLS",
            "OKAY",
            'OK"',
            "+OK",
            "* OK",
            "220 x",
            "\x16\x03",
        ):
            self.fails(f"S: {line}", BadReply)
            self.fails(SIEVE.rpartition("S: OK")[0] + f"S: {line}", BadReply)

    def test_capability_for_an_answer(self) -> None:
        """A capability is no reply to STARTTLS."""
        self.fails(SIEVE.rpartition("S: OK")[0] + 'S: "OK" "go"', BadReply)

    def test_refused(self) -> None:
        """A condition other than OK is no go-ahead."""
        for word in ("NO", "BYE", "no", "NO (TRYLATER)"):
            refusal = SIEVE.replace("OK ", "OK  ", 1).replace("OK ", f"{word} ")
            error = self.fails(refusal.replace(f"{word}  ", "OK "), Refused, b"Begin")
            self.assertTrue(error.server_text.startswith(word.upper().encode()[:2]))


class IRCTests(Dialogues):
    """The ``tls`` extension of IRCv3."""

    dialect = "irc"

    def test_specification(self) -> None:
        """The client sends STARTTLS first, and waits for 670."""
        self.agrees(IRC)
        self.agrees("C: STARTTLS\nS: 670 * :go")

    def test_numerics(self) -> None:
        """Other numerics are skipped."""
        for number in ("439", "020", "001", "464", "671", "900"):
            waiting = f":irc.example.org {number} * :Please wait"
            self.agrees(f"C: STARTTLS\nS: {waiting}\nS: {waiting}\nS: :x 670 * :go")
            self.fails(f"C: STARTTLS\nS: {waiting}\nS: :x 691 * :no", Refused)

    def test_passed_over(self) -> None:
        """Notices and pings are skipped."""
        self.agrees(
            """
            C: STARTTLS
            S: NOTICE AUTH :*** Checking Ident
            S: :irc.example.org notice * :*** 670
            S: PING :12345
            S: :irc.example.org PING x
            S: :irc.example.org 670 * :go
            """
        )

    def test_unknown(self) -> None:
        """A server that does not know the command does not offer STARTTLS."""
        for number in (421, 451):
            line = f":srv {number} * STARTTLS :what?"
            self.fails(f"C: STARTTLS\nS: {line}", NotOffered, b"what?")

    def test_refused(self) -> None:
        """691 is a refusal of STARTTLS, ERROR one of the connection."""
        for line in (":srv 691 * :STARTTLS failed", "ERROR :Closing link", ":s error"):
            self.fails(f"C: STARTTLS\nS: {line}", Refused, line.encode())

    def test_no_irc(self) -> None:
        """Another message is an error."""
        for line in ("", ":", ":670", "x 670", ":srv x 670", "6700 *", ":s 01 *"):
            self.fails(f"C: STARTTLS\nS: {line}", BadReply, line.encode())


class PostgresTests(Dialogues):
    """The SSLRequest of PostgreSQL."""

    dialect = "postgres"

    def test_documentation(self) -> None:
        """The client sends the request, and reads one byte."""
        self.agrees(POSTGRES)

    def test_refused(self) -> None:
        """N is a refusal."""
        request = POSTGRES.partition("S|")[0]
        self.fails(request + "S| N", Refused)
        self.fails(request + "S| Nonsense", Refused, b"N")

    def test_error(self) -> None:
        """The text of an error message, which came in clear, is not in the error."""
        request = POSTGRES.partition("S|")[0]
        error = self.fails(request + "S| E    FATAL", NotOffered)
        self.assertEqual(error.server_text, b"E")

    def test_no_postgres(self) -> None:
        """Another byte is an error."""
        for text in ("s", "n", "220", "\x16", "\0", "R", "G"):
            self.fails(POSTGRES.partition("S|")[0] + f"S| {text}", BadReply)

    def test_one_byte(self) -> None:
        """The byte behind the answer stays unread."""
        talk = talk_in(self.dialect)
        talk.hear(b"S2")
        self.assertTrue(talk.agreed)
        self.assertEqual(talk.unread, b"2")


class MySQLTests(Dialogues):
    """The handshake of MySQL."""

    dialect = "mysql"

    def greets(self, packet: bytes, number: int = 0) -> str:
        """Return the transcript of a first packet."""
        return f"S# {(len(packet).to_bytes(3, 'little') + bytes([number])).hex()}\n" + (
            f"S# {packet.hex()}"
        )

    def test_documentation(self) -> None:
        """The client reads the greeting, and sends the request, which has no answer."""
        self.agrees(MYSQL)

    def test_least(self) -> None:
        """A greeting that ends after the lower flags is accepted."""
        start = b"\x0a5.5\0" + b"idididid" + b"salt" + b"\0"
        self.agrees(self.greets(start + b"\0\x08") + MYSQL[MYSQL.index("\n    C#") :])
        self.fails(self.greets(start + b"\0"), BadReply)

    def test_hidden(self) -> None:
        """Without the flag of TLS the client sends nothing."""
        self.fails(MYSQL.replace("00 ff ff", "00 ff f7").partition("C#")[0], NotOffered)

    def test_refused(self) -> None:
        """
        An error packet of number 0 or 1 is a refusal; its code, its SQLSTATE and its
        text are in server_text.
        """
        for number in (0, 1):
            for packet, said in (
                (b"\xff\x69\x04Host 'x' is blocked", b"1129 Host 'x' is blocked"),
                (b"\xff\x10\x04Too many connections", b"1040 Too many connections"),
                (b"\xff\x10\x04#08004Too many", b"1040 (08004) Too many"),
                (b"\xff\x10\x04#080 Too many", b"1040 #080 Too many"),
                (b"\xff\x10\x04", b"1040 "),
            ):
                error = self.fails(self.greets(packet, number), Refused)
                self.assertEqual(error.server_text, said)
            self.fails(self.greets(b"\xff", number), Refused)

    def test_no_mysql(self) -> None:
        """A packet that is no greeting is an error."""
        for packet in (b"\x09" + b"x" * 40, b"\x0a" + b"x" * 40, b"\x0a\0", b"\0"):
            self.fails(self.greets(packet), BadReply)
        for text in ("220 hello", "\x16\x03\x01\0", "+OK "):
            self.fails(f"S| {text}", BadReply)

    def test_lengths(self) -> None:
        """A packet that is too long, empty, or not the first, is an error."""
        for head in (
            *("00 00 00 00", "01 04 00 00", "ff ff ff 00", "40 00 00 02"),
            *("00 00 00 01", "01 04 00 01", "ff ff ff 01", "40 00 00 ff"),
        ):
            self.fails(f"S# {head}", BadReply)
        self.fails(self.greets(b"\x0a" + b"x" * 40, number=1), BadReply)


class LDAPTests(Dialogues):
    """RFC 4511."""

    dialect = "ldap"
    request = LDAP.partition("S#")[0]

    def answered(self, *answer: str) -> str:
        """Return the transcript with another answer, in hexadecimal digits."""
        return "".join([self.request, *(f"\nS# {piece}" for piece in answer)])

    def result(self, code: int, text: bytes, more: bytes = b"") -> str:
        """Return the transcript with a result code and a text."""
        fields = bytes([10, 1, code, 4, 0, 4, len(text)]) + text + more
        response = bytes([2, 1, 1, 0x78, len(fields)]) + fields
        return self.answered(bytes([0x30, len(response)]).hex(), response.hex())

    def test_rfc(self) -> None:
        """The client sends the request, and reads the response."""
        self.agrees(LDAP)

    def test_named(self) -> None:
        """The response may have a name."""
        self.agrees(self.result(0, b"", bytes.fromhex("8a 16" + STARTTLS_OID)))
        self.agrees(self.result(0, b"ok", b"\x8b\x01x"))

    def test_long_lengths(self) -> None:
        """Lengths may have the long form of one to four bytes, at each level."""
        fields = "0a 81 01 00 04 82 00 00 04 84 00 00 00 00"
        response = f"02 83 00 00 01 01 78 84 00 00 00 0e {fields}"
        self.agrees(self.answered(f"30 84 00 00 00 1a {response}"))
        self.agrees(self.answered(f"30 81 1a {response}"))
        # More than four are too many even for zeros.
        self.fails(self.answered("30 85"), BadReply)

    def test_indefinite_lengths(self) -> None:
        """Indefinite lengths are an error (RFC 4511, 5.1)."""
        self.fails(self.answered("30 80"), BadReply)
        self.fails(self.answered("30 05 02 80 01 00 00"), BadReply)

    def test_too_long(self) -> None:
        """A message that is too long, or empty, is an error."""
        for head in ("84 7f ff ff ff", "84 ff ff ff ff", "82 20 01", "00", "81 00"):
            self.fails(
                self.answered(f"30 {head[:2]}", *filter(None, [head[2:]])), BadReply
            )

    def test_broken(self) -> None:
        """Elements that do not fit into each other are an error."""
        for content in (
            "02",
            "02 01",
            "02 02 01",
            "02 01 01",
            "02 01 01 78",
            "02 01 01 78 00",
            "02 01 01 78 03 0a 01 00",
            "02 01 01 78 05 0a 01 00 04 00",
            "02 01 01 78 07 0a 01 00 04 00 04 01",
            "02 01 01 78 06 0a 00 04 00 04 00",
            "02 00 78 07 0a 01 00 04 00 04 00",
            "02 01 01 78 07 02 01 00 04 00 04 00",
            "02 01 01 61 07 0a 01 00 04 00 04 00",
            "04 01 01 78 07 0a 01 00 04 00 04 00",
            "02 01 01 78 07 0a 84 00 00 00",
            "02 89 01",
        ):
            length = len(bytes.fromhex(content))
            self.fails(self.answered(f"30 {length:02x}", content), BadReply)

    def test_long_numbers(self) -> None:
        """
        Numbers above four bytes are an error. Python converts no integer of more than
        4300 digits to text (sys.set_int_max_str_digits).
        """

        def element(tag: int, content: bytes) -> bytes:
            return bytes([tag, 0x82]) + len(content).to_bytes(2, "big") + content

        for number, result in ((1, 5), (5, 1), (1, 2000), (1, 4000), (4000, 1)):
            fields = element(10, b"\xff" * result) + b"\4\0\4\0"
            message = element(2, bytes(number - 1) + b"\1") + element(0x78, fields)
            self.fails(self.answered(element(0x30, message).hex()), BadReply)

    def test_not_ours(self) -> None:
        """A response to another request, or of another name, is an error."""
        for number in ("00", "02", "ff"):
            self.fails(LDAP.replace("0c 02 01 01", f"0c 02 01 {number}"), BadReply)
        self.fails(self.result(0, b"", b"\x8a\x031.2"), BadReply)

    def test_unsolicited(self) -> None:
        """Notifications of other things (RFC 4511, 4.4) are skipped."""
        name = b"1.3.6.1.4.1.1466.20037.1"
        notice = self.result(0, b"", bytes([0x8A, len(name)]) + name)
        notice = notice.replace("020101", "020100").removeprefix(self.request)
        for response in (LDAP, self.result(2, b"what?")):
            response = response.removeprefix(self.request)
            talk = talk_in(self.dialect)
            talk.play(f"{self.request}{notice}\n{notice}\n{response}")
            self.assertEqual(talk.agreed, response in LDAP)
            self.assertEqual(isinstance(talk.error, NotOffered), not talk.agreed)

    def test_disconnection(self) -> None:
        """The notice of disconnection (RFC 4511, 4.4.1) is a refusal."""
        name = bytes.fromhex("8a 16" + STARTTLS_OID.removesuffix("37") + "36")
        notice = self.result(52, b"going down", name)
        self.fails(notice.replace("020101", "020100"), Refused, b"going down")
        self.fails(notice, Refused)

    def test_unknown(self) -> None:
        """A server that does not know StartTLS answers with protocolError."""
        self.fails(self.result(2, b"what?"), NotOffered, b"what?")

    def test_refused(self) -> None:
        """A result other than success is no go-ahead; a referral is not followed."""
        for code in (1, 3, 10, 13, 52, 53, 80, 128, 255):
            error = self.fails(self.result(code, b"not now"), Refused, b"not now")
            self.assertIn(f" {code}", str(error))

    def test_no_ldap(self) -> None:
        """Bytes that are no message are an error."""
        for text in ("220 hello", "\x16\x03", "+OK", "HTTP/1.1"):
            self.fails(f"{self.request}\nS| {text}", BadReply)


class TelnetTests(Dialogues):
    """draft-altman-telnet-starttls."""

    dialect = "telnet"

    def test_draft(self) -> None:
        """The client answers DO with WILL and FOLLOWS, and waits for FOLLOWS."""
        self.agrees(TELNET)

    def test_other_options(self) -> None:
        """Other options are skipped without an answer."""
        others = """
            S# ff fd 18 ff fb 01 ff fc 03 ff fe 05
            S# ff f1 ff f2 ff f9 ff f6 ff ef
            S# ff fa 18 01 ff f0
            S# ff fa 20 ff ff 2e ff f0
        """
        self.agrees(others + TELNET.replace("S# ff fa", f"{others}\nS# ff fa"))

    def test_refused(self) -> None:
        """DONT is a refusal, in place of DO and after it."""
        self.fails("S# ff fe 2e", Refused)
        self.fails(TELNET.replace("S# ff fa 2e 01 ff f0", "S# ff fe 2e"), Refused)

    def test_text(self) -> None:
        """Text before DO is an error, and text after it is skipped."""
        for text in ("login: ", "\0", "220 hello", "\x16\x03\x01", "\xff\xff"):
            self.fails(f"S| {text}", NotOffered)
            self.agrees(TELNET.replace("S# ff fa", f"S| {text}\nS# ff fa"))

    def test_unasked(self) -> None:
        """Other commands about START_TLS are an error."""
        for command in ("fb 2e", "fc 2e", "fa 2e 01 ff f0", "fa 2e ff f0"):
            self.fails(f"S# ff {command}", BadReply)
        for command in ("fb 2e", "fc 2e", "fd 2e", "fa 2e 02 ff f0", "fa 2e ff f0"):
            start = TELNET.rpartition("S#")[0]
            self.fails(f"{start}S# ff {command}", BadReply)

    def test_no_telnet(self) -> None:
        """Commands without a meaning here are an error."""
        for command in ("f0", "00", "eb", "fa 18 ff 01"):
            self.fails(f"S# ff {command}", BadReply)
            self.fails(f"{TELNET.rpartition('S#')[0]}S# ff {command}", BadReply)
        self.fails("S# ff fa 18" + " 00" * 511, BadReply)

    def test_too_many(self) -> None:
        """The number of other options is bounded."""
        self.agrees("S#" + " ff fd 18" * 255 + TELNET)
        self.fails("S#" + " ff fd 18" * 256, BadReply)


class XMPPTests(Dialogues):
    """RFC 6120."""

    dialect = "xmpp"

    #: The stream header of the client, and then that of the server.
    client, server = XMPP.split("\n    S|")[:2]
    opened = f"{client}\nS|{server}\n"
    asked = XMPP.rpartition("S|")[0]

    def test_rfc(self) -> None:
        """
        The client opens a stream to the domain, waits for features, and sends STARTTLS.
        """
        self.agrees(XMPP)

    def test_server(self) -> None:
        """Between servers only the namespace differs."""
        self.assertEqual(XMPP_SERVER, XMPP.replace("jabber:client", "jabber:server"))
        talk = talk_in("xmpp-server")
        talk.play(XMPP_SERVER)
        self.assertTrue(talk.agreed)

    def test_domain(self) -> None:
        """The domain is escaped for XML; without a domain there is no ``to``."""
        for host, to in (
            ("im.example.org", b" to='im.example.org'"),
            ("b\xfccher.example", " to='b\xfccher.example'".encode()),
            ("a&b<c'd", b" to='a&amp;b&lt;c&apos;d'"),
            ("im.example.org.", b" to='im.example.org'"),
            ("", b""),
            (".", b""),
        ):
            dialogue = dialects.find("xmpp").dialogue(Parameters(host=host))
            said = next(dialogue)
            assert isinstance(said, Send)
            start = b"<?xml version='1.0'?><stream:stream%s version=" % to
            self.assertTrue(said.data.startswith(start), said.data)
            dialogue.close()

    def test_any_form(self) -> None:
        """
        Quotes, prefixes, blanks and empty elements may have any form that XML allows.
        """
        self.agrees(
            f"""
            {self.client}
            S| <s:stream xmlns:s="http://etherx.jabber.org/streams" version="1.0"
            S|  xmlns="jabber:client" id="a>b" >
            S# 20 0d 0a
            S| <s:features  ><x:starttls xmlns:x="urn:ietf:params:xml:ns:xmpp-tls"/>
            S| <other xmlns="o" a="/>"><deep><deeper/></deep>text</other></s:features >
            C| <starttls {TLS_NAMESPACE}/>
            S# 0a
            S| <t:proceed xmlns:t="urn:ietf:params:xml:ns:xmpp-tls"
            S|  a='>>'></t:proceed>
            """
        )

    def test_hidden(self) -> None:
        """Without STARTTLS in the features it is not sent."""
        for features in (
            "<stream:features/>",
            "<stream:features></stream:features>",
            "<stream:features><starttls/></stream:features>",
            "<stream:features><starttls xmlns='x'/></stream:features>",
            f"<stream:features><a><starttls {TLS_NAMESPACE}/></a></stream:features>",
            f"<stream:features><x {TLS_NAMESPACE}/></stream:features>",
            "<stream:features>starttls</stream:features>",
        ):
            self.fails(f"{self.opened}S| {features}", NotOffered)

    def test_old(self) -> None:
        """A stream without a version is an error, as it has no features."""
        for version in ("", "version=''"):
            old = self.opened.replace("id='x' version='1.0'", version)
            self.fails(old, NotOffered)

    def test_refused(self) -> None:
        """<failure/>, a stream error and the end of the stream are refusals."""
        for answer in (
            f"<failure {TLS_NAMESPACE}/>",
            "<stream:error><reset xmlns='x'/></stream:error>",
            "</stream:stream>",
        ):
            self.fails(f"{self.asked}S| {answer}", Refused, answer.encode())

    def test_stream_error(self) -> None:
        """The message has the condition of a stream error, if RFC 6120 defines it."""
        space = "xmlns='urn:ietf:params:xml:ns:xmpp-streams'"
        for inside, words in (
            (f"<host-unknown {space}/>", ": host-unknown"),
            (f"<text {space}>host-gone</text><host-gone {space}/>", ": host-gone"),
            (f"<see-other-host {space}>evil</see-other-host>", ": see-other-host"),
            (f"<type-your-password {space}/>", ""),
            ("<host-unknown/>", ""),
            ("<host-unknown xmlns='x'/>", ""),
            (f"<x xmlns='x'><host-unknown {space}/></x>", ""),
            ("", ""),
        ):
            answer = f"<stream:error>{inside}</stream:error>"
            for before in (self.opened, self.asked):
                error = self.fails(f"{before}S| {answer}", Refused)
                self.assertEqual(str(error), f"the server sent a stream error{words}")

    def test_white_space(self) -> None:
        """
        White space between elements is skipped; other bytes before the request are an
        error.
        """
        request, answer = f"C| <starttls {TLS_NAMESPACE}/>", "S| <proceed"
        self.agrees(XMPP.replace(request, f"S+\n    S+\n    {request}"))
        self.agrees(XMPP.replace(answer, f"S# 20 09 0d 0a\n    {answer}"))
        self.fails(XMPP.partition("C| <starttls")[0] + "S+ x", InjectedData)

    def test_refusing_greeting(self) -> None:
        """
        A stream error, or the end of the stream, before the features is a refusal.
        """
        for answer in ("<stream:error>no</stream:error>", "</stream:stream>"):
            self.fails(f"{self.opened}S| {answer}", Refused, answer.encode())

    def test_unasked(self) -> None:
        """Another element in place of the features or of the go-ahead is an error."""
        for text in ("x>", "<message/>", "a <stream:features/>"):
            self.fails(f"{self.opened}S| {text}", BadReply)
            self.fails(f"{self.asked}S| {text}", BadReply)
        for element in ("<message/>", f"<proceed {TLS_NAMESPACE}/>", "<features/>"):
            self.fails(f"{self.opened}S| {element}", BadReply, element.encode())
        for element in ("<proceed/>", "<stream:features/>", "<proceed xmlns='x'/>"):
            self.fails(f"{self.asked}S| {element}", BadReply, element.encode())

    def test_no_xmpp(self) -> None:
        """Bytes that are no XMPP stream are an error."""
        for text in (
            "<html>",
            "<stream version='1.0'>",
            "<stream:stream version='1.0'>",
            "<a xmlns='jabber:client'>",
            "220 hello>",
            "\x16\x03\x01>",
            "\xff>",
            "<>",
            "</a>",
            "<a></b>",
        ):
            self.fails(f"{self.client}\nS| {text}", BadReply)

    def test_forbidden(self) -> None:
        """XML that RFC 6120, 11.1 forbids is an error."""
        for text in (
            "<!DOCTYPE x>",
            "<!DOCTYPE x [<!ENTITY a 'b'>",
            "<!DOCTYPE x SYSTEM 'file:///etc/passwd'>",
            "<?x y?>",
            "<!-- hello -->",
        ):
            self.fails(f"{self.client}\nS| {text}", BadReply)
        for text in ("<!-- x -->", "<?x y?>", "&x;<a/>", "<!DOCTYPE x>"):
            self.fails(f"{self.opened}S| {text}", BadReply)

    def test_entities(self) -> None:
        """Only the entities of XML itself are known."""
        text = "&amp;&lt;&#62;&#x3e;"
        self.agrees(XMPP.replace("<mechanism>PLAIN", f"<mechanism a='{text}'>{text}"))
        self.fails(XMPP.partition("PLAIN")[0] + "&evil;</mechanism>", BadReply)

    def test_encoding(self) -> None:
        """The encoding is UTF-8, whatever the declaration says."""
        declared = self.server.replace("1.0'?", "1.0' encoding='ISO-8859-1'?")
        for name, error in (("caf\xc3\xa9", None), ("caf\xe9", BadReply)):
            talk = talk_in(self.dialect)
            server = declared.replace("id='x'", f"id='{name}'")
            talk.play(f"{self.client}\nS|{server}")
            self.assertIs(talk.error and type(talk.error), error)

    def test_too_long(self) -> None:
        """Text, depth and tags without end exceed the bound."""
        texts = ("x" * 16384, "<a>" * 6000, "<a b='" + ">" * 16384, "<a>" + ">" * 33)
        for text in texts:
            talk = talk_in(self.dialect)
            talk.hear(parse_transcript(self.opened)[1].data)
            talk.hear(text.encode())
            self.assertIsInstance(talk.error, BadReply)

    def test_no_further(self) -> None:
        """The byte behind the go-ahead stays unread."""
        talk = talk_in(self.dialect)
        talk.play(self.asked)
        talk.hear(parse_transcript(XMPP)[-1].data + b" ")
        self.assertTrue(talk.agreed)
        self.assertEqual(talk.unread, b" ")


class RegistryTests(SynchronousTestCase):
    """The dialects by name, and their parameters."""

    def test_found_by_name(self) -> None:
        """Every dialect is found by its name, in any case."""
        for name in dialects.NAMES:
            for spelling in (name, name.upper(), name.title()):
                self.assertEqual(dialects.find(spelling).name, name)

    def test_unknown(self) -> None:
        """Another name, also that of another module, is an error."""
        for name in (
            "",
            "ftps",
            "__init__",
            ".smtp",
            "smtp.x",
            "os",
            " smtp",
            "replies",
        ):
            self.assertRaises(KeyError, dialects.find, name)

    def test_every_protocol(self) -> None:
        """The list of names is complete."""
        self.assertEqual(
            " ".join(dialects.NAMES),
            "ftp imap irc ldap lmtp mysql nntp pop3 postgres sieve smtp telnet xmpp"
            " xmpp-server",
        )
        self.assertEqual(sorted(GOOD), list(dialects.NAMES))

    def test_registered(self) -> None:
        """The ports are those of IANA's registry."""
        for dialect in map(dialects.find, dialects.NAMES):
            # IANA has no port for LMTP but 24, for private mail systems.
            service = {
                "imap": "imap2",
                "irc": "ircd",
                "lmtp": None,
                "postgres": "postgresql",
                "xmpp": "xmpp-client",
            }.get(dialect.name, dialect.name)
            if service is not None:
                self.assertEqual(dialect.port, service_port(service), service)
        self.assertEqual(dialects.find("lmtp").port, 24)

    def test_greetings(self) -> None:
        """
        A greeting is one whole line without capabilities; a name cannot add to it.
        """
        for name in ("mx.example.org", "192.0.2.1", "a b\r\n250 c", "b\xfccher", ""):
            host = name.encode() if "." in name and " " not in name else b"localhost"
            greetings = {
                "ftp": b"220 %s\r\n" % host,
                "imap": b"* OK ready\r\n",
                "lmtp": b"220 %s LMTP\r\n" % host,
                "nntp": b"200 %s\r\n" % host,
                "pop3": b"+OK ready\r\n",
                "smtp": b"220 %s ESMTP\r\n" % host,
            }
            for dialect in map(dialects.find, dialects.NAMES):
                made = dialect.greeting and dialect.greeting(name)
                self.assertEqual(made, greetings.get(dialect.name))

    def test_tags_differ(self) -> None:
        """The tags of connections are 48 random bits."""
        tags = {Parameters().tag for _ in range(100)}
        self.assertEqual(len(tags), 100)
        for tag in tags:
            self.assertRegex(tag, rb"\A[0-9a-f]{12}\Z")


#: Dialogues for each of their ends.
DIALOGUES = {
    "smtp": (
        SMTP,
        SMTP.replace("220 Go", "220-Go") + "S: 220 on",
        SMTP.replace("S: 220 mx", "S: 220-mx\nS: 220-hello\nS: 220 mx"),
        SMTP.replace("220 Go", "454 No"),
        "S: 554 no",
        "S: hello",
        "S: 220 a\nC: EHLO [192.0.2.1]\nS: 250-a\nS: 250 b",
        "S: 220 a\nC: EHLO [192.0.2.1]\nS: 502 b",
    ),
    "pop3": (
        POP3,
        "S: +OK\nC: CAPA\nS: -ERR\nC: STLS\nS: +OK",
        "S: +OK\nC: CAPA\nS: -ERR\nC: STLS\nS: -ERR",
        "S: -ERR no",
        "S: hello",
        "S: +OK\nC: CAPA\nS: +OK\nS: TOP\nS: .",
    ),
    "imap": (
        IMAP,
        "S: * OK [CAPABILITY STARTTLS]\nC: {tag}2 STARTTLS\nS: * 1 EXISTS\n"
        "S: {tag}2 OK",
        IMAP.replace("{tag}2 OK", "{tag}2 NO"),
        "S: * PREAUTH",
        "S: * BYE",
        "S: hello",
        "S: * OK\nC: {tag}1 CAPABILITY\nS: * CAPABILITY\nS: {tag}1 OK",
        "S: * OK\nC: {tag}1 CAPABILITY\nS: + go on",
    ),
    "ftp": (
        FTP,
        "S: 120 wait\nS: 220 a\nC: AUTH TLS\nS: 234-a\nS: 200 b\nS: 234 c",
        "S: 220 a\nC: AUTH TLS\nS: 500 b",
        "S: 220 a\nC: AUTH TLS\nS: 534 b",
        "S: 421 no",
        "S: hello",
    ),
    "irc": (
        IRC,
        "C: STARTTLS\nS: PING x\nS: 421 a",
        "C: STARTTLS\nS: 691 a",
        "C: STARTTLS\nS: ERROR",
        "C: STARTTLS\nS: hello",
    ),
    "ldap": (
        LDAP,
        LDAP.replace("30 0c", "30 84 00 00 00 0c"),
        LDAP.replace("0a 01 00", "0a 01 02"),
        LDAP.replace("0a 01 00", "0a 01 34"),
        LDAP.replace("0a 01 00", "0a 02 00"),
        LDAP.replace("30 0c", "30 84 ff 00 00 0c"),
        LDAP.replace("30 0c", "16 03"),
    ),
    "lmtp": (
        LMTP,
        LMTP.replace("220 Go", "454 No"),
        "S: 554 no",
        "S: 220 a\nC: LHLO [192.0.2.1]\nS: 250-a\nS: 250 b",
    ),
    "mysql": (
        MYSQL,
        MYSQL.replace("00 ff ff", "00 ff f7").partition("C#")[0],
        "S# 05 00 00 00 ff 01 02 61 62",
        "S# 00 00 00 00",
        "S# 02 00 00 00 0a 00",
        "S# ff ff ff 00",
    ),
    "nntp": (
        NNTP,
        "S: 200 a\nC: CAPABILITIES\nS: 500 b\nC: STARTTLS\nS: 382 c",
        "S: 200 a\nC: CAPABILITIES\nS: 101 b\nS: .",
        NNTP.replace("382 Go", "580 No"),
        NNTP.replace("382 Go", "401 MODE-READER") + f"C: MODE READER\n{NNTP}",
        NNTP.replace("S: STARTTLS", "S: MODE-READER").partition("C: STARTTLS")[0]
        + "C: MODE READER\nS: 502 no",
        "S: 400 no",
        "S: hello",
    ),
    "postgres": (
        POSTGRES,
        POSTGRES.replace("S| S", "S| N"),
        POSTGRES.replace("S| S", "S| E"),
        POSTGRES.replace("S| S", "S| x"),
    ),
    "sieve": (
        SIEVE,
        'S: "A" {2}\nS: {1\nS: {8}\nS: STARTTLS\nS: OK\nC: STARTTLS\nS: OK {1}\nS: x',
        'S: "A"\nS: OK',
        'S: "STARTTLS"\nS: OK\nC: STARTTLS\nS: NO "a"',
        'S: BYE "no"',
        "S: hello",
    ),
    "telnet": (
        TELNET,
        "S# ff fd 18 ff fa 18 01 ff f0 ff f1\n" + TELNET,
        TELNET.rpartition("S#")[0] + "S# ff fe 2e",
        "S# ff fe 2e",
        "S# 61",
        "S# ff fa 2e 01 ff f0",
    ),
    "xmpp": (
        XMPP,
        XMPP.replace("proceed ", "failure "),
        XMPP.partition("S| <stream:features")[0] + "S| </stream:stream>",
        XMPP.partition("S| <stream:features")[0] + "S| <stream:features/>",
        XMPP.partition("S|")[0] + "S| hello>",
        XMPP.partition("S|")[0] + "S| <!DOCTYPE x>",
    ),
    "xmpp-server": (XMPP_SERVER, XMPP_SERVER.replace("proceed ", "x:proceed ")),
}
EVERY = [(name, text) for name, texts in DIALOGUES.items() for text in texts]

#: All that the client may send; it may stop after any command.
ALLOWED = {
    "ftp": rb"(AUTH TLS\r\n)?",
    "imap": rb"(tag1 CAPABILITY\r\n)?(tag2 STARTTLS\r\n)?",
    "irc": rb"STARTTLS\r\n",
    "ldap": re.escape(client_bytes(LDAP)),
    "lmtp": rb"(LHLO \[192\.0\.2\.1\]\r\n(STARTTLS\r\n)?)?",
    "mysql": b"(%s)?" % re.escape(client_bytes(MYSQL)),
    "nntp": rb"(CAPABILITIES\r\n(STARTTLS\r\n)?)?"
    rb"(MODE READER\r\n(CAPABILITIES\r\n(STARTTLS\r\n)?)?)?",
    "pop3": rb"(CAPA\r\n(STLS\r\n)?)?",
    "postgres": re.escape(client_bytes(POSTGRES)),
    "sieve": rb"(STARTTLS\r\n)?",
    "smtp": rb"(EHLO \[192\.0\.2\.1\]\r\n(STARTTLS\r\n)?)?",
    "telnet": b"(%s)?" % re.escape(client_bytes(TELNET)),
    "xmpp": rb"<\?xml [^>]+><stream:stream [^>]+>(<starttls [^>]+/>)?",
    "xmpp-server": rb"<\?xml [^>]+><stream:stream [^>]+>(<starttls [^>]+/>)?",
}
#: The last command before the go-ahead.
REQUESTS = {
    name: [said for said in parse_transcript(text) if not said.by_server][-1].tagged(
        b"tag"
    )
    for name, text in GOOD.items()
}


def exchange(dialect: str) -> Exchange:
    """Begin a connection in memory, without TLS after the dialogue."""
    return Exchange(lambda tcp, clock: negotiated(dialect, tcp, clock, host=DOMAIN))


def pieces(data: bytes, cuts: set[int]) -> list[bytes]:
    """Return the data, cut at the given places."""
    places = [0, *sorted(cut for cut in cuts if 0 < cut < len(data)), len(data)]
    return [data[a:b] for a, b in pairwise(places)]


def said_like(dialect: str) -> st.SearchStrategy[bytes]:
    """Return a strategy for what a server may send, good and bad."""
    known = st.sampled_from(
        [
            said.tagged(b"tag")
            for text in DIALOGUES[dialect]
            for said in parse_transcript(text)
            if said.by_server
        ]
    )
    noise = st.binary(max_size=8)
    return st.one_of(
        known,
        known,
        noise,
        noise.map(lambda data: data + b"\r\n"),
        st.tuples(known, noise).map(b"".join),
        st.tuples(known, st.integers(1, 40)).map(lambda cut: cut[0][: cut[1]]),
        known.map(bytes.lower),
    )


def monologues() -> st.SearchStrategy[tuple[str, list[bytes]]]:
    """Return a strategy for a dialect and what a server may send in it."""
    return st.sampled_from(sorted(DIALOGUES)).flatmap(
        lambda name: st.tuples(st.just(name), st.lists(said_like(name), max_size=12))
    )


class PropertyTests(SynchronousTestCase):
    """Properties of all dialogues, by Hypothesis."""

    @patient
    @given(st.sampled_from(EVERY), st.sets(st.integers(1, 120)), st.booleans())
    @example(("smtp", SMTP), set(range(120)), False)
    @example(("pop3", POP3), set(range(120)), False)
    @example(("imap", IMAP), set(range(120)), True)
    @example(("ldap", LDAP), set(range(120)), False)
    @example(("mysql", MYSQL), set(range(120)), False)
    @example(("sieve", SIEVE), set(range(120)), False)
    @example(("telnet", TELNET), set(range(120)), False)
    @example(("xmpp", XMPP), set(range(800)), False)
    def test_chunks(self, which: tuple[str, str], cuts: set[int], bare: bool) -> None:
        """
        The outcome is the same in whatever segments the bytes come, with CRLF or LF.
        """
        dialect, transcript = which
        alone = talk_in(dialect)
        alone.play(transcript)
        driven = exchange(dialect)
        for turn in join_turns(parse_transcript(transcript)):
            # The tag is known from the first command.
            tag = b"" if driven.transport.value() == b"" else self.tag(driven)
            data = turn.tagged(tag)
            if not turn.by_server:
                self.assertEqual(driven.heard(), data)
                continue
            if bare and dialect in LINEWISE:
                data = data.replace(b"\r\n", b"\n")
            for piece in pieces(data, cuts):
                driven.hear(piece)
        self.assertEqual(driven.heard(), b"")
        self.assertEqual(driven.result is not None, alone.agreed)
        self.assertIs(type(driven.error), type(alone.error))

    def tag(self, driven: Exchange) -> bytes:
        """Return the client's tag."""
        first: bytes = driven.transport.value().partition(b" ")[0]
        return first[:-1]

    @patient
    @given(monologues())
    def test_arbitrary(self, which: tuple[str, list[bytes]]) -> None:
        """
        Any replies lead to a known error, to agreement or to waiting, and the client
        sends nothing but the commands of the dialogue.
        """
        dialect, monologue = which
        talk = talk_in(dialect)
        for data in monologue:
            if talk.over:
                break
            talk.hear(data)
        said = talk.collect()
        self.assertIsNotNone(re.fullmatch(ALLOWED[dialect], said), said)
        if talk.error is not None:
            self.assertIsNot(type(talk.error), NegotiationFailed)
        if talk.agreed:
            self.assertTrue(said.endswith(REQUESTS[dialect]), said)

    @patient
    @given(st.sampled_from(sorted(GOOD)), st.lists(st.binary(max_size=40), max_size=8))
    def test_arbitrary_bytes(self, dialect: str, segments: list[bytes]) -> None:
        """
        Any bytes in any segments raise nothing into the reactor, and fail ``connect``
        with an error of this package.
        """
        driven: Any = exchange(dialect)
        for segment in segments:
            if not driven.undecided:
                break
            driven.hear(segment)
        if driven.error is not None:
            self.assertIsInstance(driven.error, NegotiationFailed)
            self.assertTrue(driven.transport.disconnected)
        said = driven.transport.value()
        if dialect == "imap":
            said = re.sub(rb"\b[0-9a-f]{12}([12])", rb"tag\1", said)
        self.assertIsNotNone(re.fullmatch(ALLOWED[dialect], said), said)
        self.assertEqual(driven.transport.late, b"")

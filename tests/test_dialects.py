"""
Dialects: what each protocol says before TLS, and what it makes of the answers.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.transcripts import GOOD, IMAP, POP3, SMTP, Conversation, Talk, turns
from twisted_tcpclient import dialects
from twisted_tcpclient.dialects import Parameters
from twisted_tcpclient.errors import (
    BadReply,
    NegotiationFailed,
    NotOffered,
    Preauthenticated,
    Refused,
)
from twisted_tcpclient.starttls import negotiated


class Dialogues(SynchronousTestCase):
    """Holds dialogues in one dialect."""

    dialect = ""

    def agrees(self, transcript: str) -> None:
        """The dialogue ends in the point where TLS begins."""
        talk = Talk(self.dialect)
        talk.play(transcript)
        self.assertTrue(talk.agreed, talk.error)
        self.assertEqual(talk.unread, b"")

    def fails(
        self, transcript: str, error: type[NegotiationFailed], said: bytes = b""
    ) -> NegotiationFailed:
        """
        The last line is too much: it ends the dialogue with that very error.

        :param said: what the error has to quote of the server.
        """
        talk = Talk(self.dialect)
        talk.play(transcript)
        self.assertIs(type(talk.error), error)
        assert talk.error is not None
        self.assertIn(said, talk.error.server_text)
        return talk.error


class SMTPTests(Dialogues):
    """RFC 3207."""

    dialect = "smtp"

    def test_rfc(self) -> None:
        """EHLO with our address, then STARTTLS, then TLS."""
        self.agrees(SMTP)

    def test_long_greeting(self) -> None:
        """A greeting of several lines is waited for to its end."""
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
        """The reply to STARTTLS may have several lines: TLS waits for the last."""
        talk = Talk(self.dialect)
        talk.play(SMTP.replace("220 Go", "220-Go"))
        self.assertFalse(talk.over)
        talk.play("S: 220 now")
        self.assertTrue(talk.agreed)

    def test_bare_codes(self) -> None:
        """Replies without a text are replies."""
        self.agrees("""
            S: 220
            C: EHLO [192.0.2.1]
            S: 250-
            S: 250 STARTTLS
            C: STARTTLS
            S: 220
        """)

    def test_keyword_in_any_case(self) -> None:
        """Keywords are compared without regard to case, and blanks at the end."""
        for keyword in ("starttls", "StartTLS", "STARTTLS  "):
            self.agrees(SMTP.replace("250-STARTTLS", f"250-{keyword}"))

    def test_refusing_greeting(self) -> None:
        """Only 220 is a welcome."""
        for code in (554, 421, 221, 354, 250, 200, 500):
            line = f"{code} mx.example.org says no"
            self.fails(f"S: {line}", Refused, b"says no")

    def test_no_smtp(self) -> None:
        """What is no reply is an error, wherever it comes."""
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
        """The lines of a reply have one code (RFC 5321, 4.2.1)."""
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
        """Without EHLO there is no STARTTLS, and no HELO is tried."""
        for code in (421, 454, 500, 502, 503, 220, 251):
            self.fails(
                f"S: 220 hello\nC: EHLO [192.0.2.1]\nS: {code} no EHLO",
                NotOffered,
                b"no EHLO",
            )

    def test_hidden(self) -> None:
        """A server that does not list STARTTLS is not asked for it."""
        self.fails(SMTP.partition("S: 250-STARTTLS")[0] + "S: 250 SIZE", NotOffered)
        self.fails("S: 220 a\nC: EHLO [192.0.2.1]\nS: 250 mx", NotOffered)

    def test_not_the_keyword(self) -> None:
        """Only a line of its own that is the keyword offers STARTTLS."""
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
        """The first line after EHLO is the server's name, whatever it looks like."""
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
        """Only 220 is a go-ahead."""
        for code in (454, 501, 502, 503, 554, 421, 221, 250, 354):
            refusal = SMTP.replace("220 Go ahead", f"{code} not now")
            self.fails(refusal, Refused, b"not now")

    def test_refused_at_length(self) -> None:
        """All lines of a refusal are kept apart from the message."""
        error = self.fails(
            SMTP.replace("220 Go ahead", "454-not now") + "S: 454 perhaps later",
            Refused,
            b"not now perhaps later",
        )
        self.assertNotIn("later", str(error))


class POP3Tests(Dialogues):
    """RFC 2595 and RFC 2449."""

    dialect = "pop3"

    def test_rfc(self) -> None:
        """CAPA, STLS, TLS."""
        self.agrees(POP3)

    def test_any_case(self) -> None:
        """Indicators and capabilities are compared without regard to case."""
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
        """A server that knows no CAPA may know STLS."""
        self.agrees("""
            S: +OK ready
            C: CAPA
            S: -ERR unknown command
            C: STLS
            S: +OK go
        """)

    def test_neither_capa_nor_stls(self) -> None:
        """A server that knows no CAPA and refuses STLS has refused it."""
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
        """-ERR for a greeting is a refusal of the connection."""
        self.fails("S: -ERR too busy", Refused, b"too busy")
        self.fails("S: -err", Refused)

    def test_no_pop3(self) -> None:
        """What is neither +OK nor -ERR is an error, wherever a status is due."""
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
        """A server that does not list STLS is not asked for it."""
        self.fails(POP3.partition("S: STLS")[0] + "S: .", NotOffered)
        self.fails("S: +OK\nC: CAPA\nS: +OK\nS: .", NotOffered)

    def test_not_the_keyword(self) -> None:
        """Only a line that is the keyword offers STLS."""
        for line in ("XSTLS", "STLSX", "SASL STLS", "STLS X", "STARTTLS", "..STLS"):
            self.fails(f"S: +OK\nC: CAPA\nS: +OK\nS: {line}\nS: .", NotOffered)

    def test_dots(self) -> None:
        """Only a lone dot ends the list."""
        self.agrees(POP3.replace("S: TOP", "S: ..\nS: .TOP\nS: . ."))

    def test_refused(self) -> None:
        """Only +OK is a go-ahead."""
        refusal = POP3.replace("+OK Begin", "-ERR do not begin")
        self.fails(refusal, Refused, b"do not begin")


class IMAPTests(Dialogues):
    """RFC 9051, and RFC 3501 before it."""

    dialect = "imap"

    def test_rfc(self) -> None:
        """CAPABILITY, STARTTLS, TLS, with a tag for each."""
        self.agrees(IMAP)

    def test_greeted_with_capabilities(self) -> None:
        """Capabilities in the greeting need not be asked for."""
        self.agrees("""
            S: * OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] ready
            C: {tag}2 STARTTLS
            S: {tag}2 OK go
        """)

    def test_any_case(self) -> None:
        """Everything but the tag is compared without regard to case."""
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
        """Another code in the greeting says nothing of capabilities."""
        self.agrees(IMAP.replace("* OK", "* OK [ALERT] CAPABILITY STARTTLS"))

    def test_untagged_lines(self) -> None:
        """Untagged lines before the reply are passed over."""
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

    def test_capabilities_before_the_reply(self) -> None:
        """Capabilities beside the reply to STARTTLS change nothing."""
        self.agrees(IMAP.replace("S: {tag}2", "S: * CAPABILITY IMAP4rev1\nS: {tag}2"))

    def test_last_capabilities_count(self) -> None:
        """Of several lists the last one counts."""
        self.fails(
            IMAP.partition("S: {tag}1 OK")[0]
            + "S: * CAPABILITY IMAP4rev2\nS: {tag}1 OK done",
            NotOffered,
        )

    def test_preauthenticated(self) -> None:
        """PREAUTH is refused, with or without an offer of STARTTLS."""
        for line in (
            "* PREAUTH welcome home",
            "* preauth",
            "* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] welcome",
        ):
            self.fails(f"S: {line}", Preauthenticated, line.encode())

    def test_bye(self) -> None:
        """BYE is the end, at every point."""
        self.fails("S: * BYE go away", Refused, b"go away")
        self.fails("S: * bye", Refused)
        for tag in ("{tag}1 OK", "{tag}2 OK"):
            start = IMAP.partition(f"S: {tag}")[0]
            self.fails(f"{start}S: * BYE go away", Refused, b"go away")

    def test_no_imap(self) -> None:
        """Only ``* OK``, ``* PREAUTH`` and ``* BYE`` are greetings."""
        for line in (
            "",
            "*",
            "* ",
            "OK",
            "* NO",
            "* BAD hello",
            "*OK",
            "** OK",
            "+ OK",
            "+OK hello",
            "220 hello",
            "tag1 OK hello",
            "\x16\x03\x01",
        ):
            self.fails(f"S: {line}", BadReply, line.encode("latin-1"))

    def test_capability_refused(self) -> None:
        """Without CAPABILITY nobody knows of STARTTLS."""
        for condition in ("NO", "BAD", "PREAUTH", ""):
            self.fails(
                f"S: * OK\nC: {{tag}}1 CAPABILITY\nS: {{tag}}1 {condition} sorry",
                NotOffered,
                b"sorry",
            )

    def test_hidden(self) -> None:
        """A server that does not list STARTTLS is not asked for it."""
        self.fails("S: * OK [CAPABILITY IMAP4rev1 LOGINDISABLED]", NotOffered)
        for line in ("S: * CAPABILITY IMAP4rev1", "S: * OK", ""):
            self.fails(
                f"S: * OK\nC: {{tag}}1 CAPABILITY\n{line}\nS: {{tag}}1 OK", NotOffered
            )

    def test_not_the_keyword(self) -> None:
        """Only the keyword offers STARTTLS."""
        for word in ("XSTARTTLS", "STARTTLSX", "AUTH=STARTTLS", '"STARTTLS"', "STLS"):
            self.fails(f"S: * OK [CAPABILITY {word}] hello", NotOffered)

    def test_refused(self) -> None:
        """Only OK is a go-ahead."""
        for condition in ("NO", "BAD", "OKAY", "BYE", "PREAUTH", "STARTTLS", "+"):
            refusal = IMAP.replace("{tag}2 OK Begin", f"{{tag}}2 {condition} Begin")
            self.fails(refusal, Refused, b"Begin")
        self.fails(IMAP.partition("S: {tag}2")[0] + "S: {tag}2 ", Refused)

    def test_unasked(self) -> None:
        """
        Neither another tag, nor a continuation request, nor a literal, nor an
        empty line has a place in the dialogue.
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


class RegistryTests(SynchronousTestCase):
    """The dialects, and what they are given."""

    def test_found_by_name(self) -> None:
        """Every dialect is found by its name, in any case."""
        for name in dialects.NAMES:
            for spelling in (name, name.upper(), name.title()):
                self.assertEqual(dialects.find(spelling).name, name)

    def test_unknown(self) -> None:
        """Nothing else is: above all no other module."""
        for name in ("", "ftp", "smtps", "__init__", ".smtp", "smtp.x", "os", " smtp"):
            self.assertRaises(KeyError, dialects.find, name)

    def test_registered(self) -> None:
        """Ports and RFCs are those of IANA's registry."""
        self.assertEqual(
            [(d.name, d.port, d.rfc) for d in map(dialects.find, dialects.NAMES)],
            [
                ("imap", 143, "RFC 9051"),
                ("pop3", 110, "RFC 2595"),
                ("smtp", 25, "RFC 3207"),
            ],
        )

    def test_tags_differ(self) -> None:
        """No two connections have the same tag, and none can be guessed."""
        tags = {Parameters().tag for _ in range(100)}
        self.assertEqual(len(tags), 100)
        for tag in tags:
            self.assertRegex(tag, rb"\A[0-9a-f]{12}\Z")


#: Dialogues for every way in which one may end, nothing said too early.
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
}
EVERY = [(name, text) for name, texts in DIALOGUES.items() for text in texts]

#: What the client may say, all in all; it may stop at the end of any line.
ALLOWED = {
    "smtp": rb"(EHLO \[192\.0\.2\.1\]\r\n(STARTTLS\r\n)?)?",
    "pop3": rb"(CAPA\r\n(STLS\r\n)?)?",
    "imap": rb"(tag1 CAPABILITY\r\n)?(tag2 STARTTLS\r\n)?",
}


def conversation(dialect: str) -> Conversation:
    """One connection in memory, without TLS."""
    return Conversation(lambda tcp, clock: negotiated(dialect, tcp, clock))


def pieces(data: bytes, cuts: set[int]) -> list[bytes]:
    """The data, cut at these places."""
    places = [0, *sorted(cut for cut in cuts if 0 < cut < len(data)), len(data)]
    return [data[a:b] for a, b in pairwise(places)]


def lines_like(dialect: str) -> st.SearchStrategy[bytes]:
    """Lines that a server may say, good, bad and mangled."""
    known = [
        line
        for text in DIALOGUES[dialect]
        for turn in turns(text)
        if turn.by_server
        for line in turn.tagged(b"tag").splitlines()
    ]
    line = st.sampled_from(known)
    noise = st.binary(max_size=8).map(lambda b: b.replace(b"\n", b""))
    return st.one_of(
        line, line, noise, st.tuples(line, noise).map(b"".join), line.map(bytes.lower)
    )


class PropertyTests(SynchronousTestCase):
    """What holds for all dialogues."""

    @settings(deadline=None)
    @given(st.sampled_from(EVERY), st.sets(st.integers(1, 120)), st.booleans())
    @example(("smtp", SMTP), set(range(120)), False)
    @example(("pop3", POP3), set(range(120)), False)
    @example(("imap", IMAP), set(range(120)), True)
    def test_chunks(self, which: tuple[str, str], cuts: set[int], bare: bool) -> None:
        """
        However the bytes of a server are cut into segments, with CRLF or LF at
        the ends of its lines, the dialogue and its outcome are the same.
        """
        dialect, transcript = which
        alone = Talk(dialect)
        alone.play(transcript)
        driven = conversation(dialect)
        for turn in turns(transcript):
            # The tag is known once the client has said it.
            tag = b"" if driven.wire.value() == b"" else self.tag(driven)
            data = turn.tagged(tag)
            if not turn.by_server:
                self.assertEqual(driven.heard(), data)
                continue
            data = data.replace(b"\r\n", b"\n") if bare else data
            for piece in pieces(data, cuts):
                driven.hear(piece)
        self.assertEqual(driven.heard(), b"")
        self.assertEqual(driven.result is not None, alone.agreed)
        self.assertIs(type(driven.error), type(alone.error))

    def tag(self, driven: Conversation) -> bytes:
        """The tag that the client uses."""
        first: bytes = driven.wire.value().partition(b" ")[0]
        return first[:-1]

    def check_arbitrary(self, dialect: str, lines: list[bytes]) -> None:
        """Whatever is said, the client keeps to what it may say and raise."""
        talk = Talk(dialect)
        said = b""
        for line in lines:
            if talk.over:
                break
            talk.hear(line + b"\n")
            said += talk.take()
        self.assertIsNotNone(re.fullmatch(ALLOWED[dialect], said), said)
        if talk.error is not None:
            self.assertIsNot(type(talk.error), NegotiationFailed)
        if talk.agreed:
            self.assertRegex(said, rb"(STARTTLS|STLS)\r\n\Z")

    @settings(deadline=None)
    @given(st.lists(lines_like("smtp"), max_size=12))
    def test_arbitrary_smtp(self, lines: list[bytes]) -> None:
        """Any lines at all end in a known error, in agreement, or in waiting."""
        self.check_arbitrary("smtp", lines)

    @settings(deadline=None)
    @given(st.lists(lines_like("pop3"), max_size=12))
    def test_arbitrary_pop3(self, lines: list[bytes]) -> None:
        """Any lines at all end in a known error, in agreement, or in waiting."""
        self.check_arbitrary("pop3", lines)

    @settings(deadline=None)
    @given(st.lists(lines_like("imap"), max_size=12))
    def test_arbitrary_imap(self, lines: list[bytes]) -> None:
        """Any lines at all end in a known error, in agreement, or in waiting."""
        self.check_arbitrary("imap", lines)

    @settings(deadline=None)
    @given(st.sampled_from(sorted(GOOD)), st.lists(st.binary(max_size=40), max_size=8))
    def test_arbitrary_bytes(self, dialect: str, segments: list[bytes]) -> None:
        """
        Any bytes in any segments: nothing is raised into the reactor, and what
        ``connect`` fails with is an error of its own kind.
        """
        driven: Any = conversation(dialect)
        for segment in segments:
            if not driven.undecided:
                break
            driven.hear(segment)
        if driven.error is not None:
            self.assertIsInstance(driven.error, NegotiationFailed)
            self.assertTrue(driven.wire.disconnected)
        said = driven.wire.value()
        if dialect == "imap":
            said = re.sub(rb"\b[0-9a-f]{12}([12])", rb"tag\1", said)
        self.assertIsNotNone(re.fullmatch(ALLOWED[dialect], said), said)
        self.assertEqual(driven.wire.late, b"")

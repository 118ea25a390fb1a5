"""
The test double for authors of dialects.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.transcripts import SMTP, talk_in
from twisted_tcpclient.dialects import LINE, Dialect, Dialogue, Parameters, Send
from twisted_tcpclient.errors import Refused
from twisted_tcpclient.testing import (
    Segment,
    Talk,
    client_bytes,
    cuts,
    join_turns,
    parse_transcript,
)


class TranscriptTests(SynchronousTestCase):
    """The form of transcripts."""

    def test_forms(self) -> None:
        """Each form of a line gives its bytes; S+ adds to the segment before."""
        for line, segment in (
            ("S: 220 hi", Segment(True, b"220 hi\r\n")),
            ("C: {tag}1 NOOP", Segment(False, b"{tag}1 NOOP\r\n")),
            ("S:", Segment(True, b"\r\n")),
            ("S:  two blanks", Segment(True, b" two blanks\r\n")),
            ("S| caf\xe9", Segment(True, b"caf\xe9")),
            ("C| <a/>", Segment(False, b"<a/>")),
            ("S# ff 00", Segment(True, b"\xff\0")),
            ("C# 41", Segment(False, b"A")),
            ("S: a\n  S+ b", Segment(True, b"a\r\nb\r\n")),
        ):
            self.assertEqual(parse_transcript(f"\n    {line}\n\n"), [segment])

    def test_other_forms(self) -> None:
        """A line of another form is an error, and not a test that checks less."""
        for transcript in ("220 hi", "X: a", "S", "S- a", "C: a\nS+ b", "S+ a", "C+ a"):
            self.assertRaises(ValueError, parse_transcript, transcript)
        self.assertRaises(ValueError, parse_transcript, "S# xy")

    def test_turns(self) -> None:
        """The segments of one side in a row become one."""
        said = parse_transcript("S: a\nS: b\nC: c\nS: d")
        self.assertEqual(
            join_turns(said),
            [
                Segment(True, b"a\r\nb\r\n"),
                Segment(False, b"c\r\n"),
                Segment(True, b"d\r\n"),
            ],
        )

    def test_cuts(self) -> None:
        """The server's bytes come whole, byte by byte, and cut at each place."""
        said = parse_transcript("S| ab\nS| {tag}\nC: c\nS| d")
        self.assertEqual(
            list(cuts(said, b"t")),
            [
                [b"abt", b"d"],
                [b"a", b"b", b"t", b"d"],
                [b"a", b"bt", b"d"],
                [b"ab", b"t", b"d"],
            ],
        )

    def test_client_bytes(self) -> None:
        """All bytes of the client are joined, with its tag in them."""
        transcript = "C: {tag}1 A\nS: {tag}1 OK\nC: {tag}2 B"
        self.assertEqual(client_bytes(transcript, b"x"), b"x1 A\r\nx2 B\r\n")
        self.assertEqual(client_bytes(transcript), b"tag1 A\r\ntag2 B\r\n")


class TalkTests(SynchronousTestCase):
    """A dialogue with the test."""

    def test_agrees(self) -> None:
        """A dialogue that returns has agreed, and nothing is left."""
        talk = talk_in("smtp")
        self.assertFalse(talk.over)
        talk.play(SMTP)
        self.assertTrue(talk.agreed and talk.over)
        self.assertEqual((talk.error, talk.unread, talk.collect()), (None, b"", b""))

    def test_fails(self) -> None:
        """A dialogue that fails has its error, and is over."""
        talk = talk_in("smtp")
        talk.play("S: 554 no")
        self.assertTrue(talk.over and not talk.agreed)
        self.assertIsInstance(talk.error, Refused)

    def test_departures(self) -> None:
        """
        Other bytes of the client, too few, too many, or an early end fail the test.
        """
        for transcript in (
            SMTP.replace("EHLO [192.0.2.1]", "EHLO localhost"),
            "S: 220 hi\nS: 250 x",
            "S: 220 hi",
            "C: EHLO [192.0.2.1]",
            "S: 554 no\nS: 220 hi",
            f"{SMTP}\nS: 250 more",
            f"{SMTP}\nC: QUIT",
        ):
            self.assertRaises(AssertionError, talk_in("smtp").play, transcript)

    def test_parameters(self) -> None:
        """The dialogue has the parameters of the test, and ``{tag}`` their tag."""

        def dialogue(parameters: Parameters) -> Dialogue:
            yield Send(b"%s %s\r\n" % (parameters.tag, parameters.host.encode()))
            yield LINE

        dialect = Dialect("own", None, "none", dialogue)
        Talk(dialect).play("C: tag server.example.org\nS: ok")
        talk = Talk(dialect, Parameters(host="a.example", tag=b"x"))
        talk.play("C: {tag} a.example\nS: ok")
        self.assertTrue(talk.agreed)

"""
The engine that drives dialogues, and its independence of TCP segments.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from socket import IPPROTO_TCP, TCP_INFO
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.certificates import shared
from tests.transcripts import DOMAIN, GOOD, MYSQL, Exchange, talk_in
from twisted_tcpclient import dialects
from twisted_tcpclient.dialogue import (
    LINE,
    LONGEST_LINE,
    MOST,
    QUOTED,
    BadReply,
    Bytes,
    Conversation,
    DialectFailed,
    Dialogue,
    InjectedData,
    Line,
    NegotiationFailed,
    Refused,
    Send,
    State,
    Step,
)
from twisted_tcpclient.endpoints import starttls
from twisted_tcpclient.settings import TLSSettings
from twisted_tcpclient.stages.negotiation import negotiated
from twisted_tcpclient.testing import Segment, client_bytes, cuts, parse_transcript
from twisted_tcpclient.tls import ConnectionCreator


def echo() -> Dialogue:
    """Read a length, so many bytes and a line, send them back, and read four bytes."""
    length = yield Bytes(1)
    piece = yield Bytes(length[0])
    line = yield LINE
    yield Send(length + piece + line)
    end = yield Bytes(4)
    if end != b"done":
        raise Refused("not done", end)


def driven(*steps: Step, most: int = MOST) -> Conversation:
    """Return a conversation that has started with a dialogue of these steps."""

    def dialogue() -> Dialogue:
        for step in steps:
            _ = yield step

    conversation = Conversation(dialogue, "the dialogue", most)
    conversation.start()
    return conversation


class ConversationTests(SynchronousTestCase):
    """The engine without a transport."""

    def failed(
        self, conversation: Conversation, error: type[NegotiationFailed]
    ) -> NegotiationFailed:
        """Check that a conversation has failed for good, and return its error."""
        self.assertIs(conversation.state, State.FAILED)
        assert conversation.error is not None
        self.assertIs(type(conversation.error), error)
        first = conversation.error
        self.assertEqual(conversation.receive(b"done\n" * 100), b"")
        self.assertEqual((conversation.leftover, conversation.missing), (b"", 0))
        self.assertIs(conversation.error, first)
        return first

    def test_any_segments(self) -> None:
        """The dialogue receives the same, in whatever segments the bytes come."""
        for end in (b"\n", b"\r\n"):
            data = b"\x05\r\nab\nline" + end
            for size in range(1, len(data) + 1):
                conversation = Conversation(echo, "echo")
                self.assertEqual(conversation.start(), b"")
                said = b"".join(
                    conversation.receive(data[at : at + size])
                    for at in range(0, len(data), size)
                )
                self.assertEqual(said, b"\x05\r\nab\nline")
                self.assertIs(conversation.state, State.BYTES)
                self.assertEqual(conversation.missing, 4)
                self.assertEqual(conversation.receive(b"done"), b"")
                self.assertIs(conversation.state, State.DONE)

    def test_leftover(self) -> None:
        """What comes behind the last byte consumed is left over, in any segments."""
        for pieces in ((b"done220 hello\n",), (b"do", b"ne220 ", b"hello\n")):
            conversation = Conversation(echo, "echo")
            conversation.start()
            conversation.receive(b"\x01a\n")
            for piece in pieces:
                conversation.receive(piece)
            self.assertIs(conversation.state, State.DONE)
            self.assertEqual(conversation.leftover, b"220 hello\n")
            self.assertIsNone(conversation.error)

    def test_hear(self) -> None:
        """A caller may split lines and count bytes itself, by ``hear``."""
        conversation = Conversation(echo, "echo")
        conversation.start()
        self.assertEqual((conversation.state, conversation.missing), (State.BYTES, 1))
        conversation.hear(b"\x02", b"abli")
        conversation.hear(b"ab", b"li")
        self.assertEqual((conversation.state, conversation.missing), (State.LINE, 0))
        self.assertEqual(conversation.hear(b"line\r\n", b""), b"\x02abline")
        conversation.hear(b"done", b"more")
        self.assertEqual((conversation.state, conversation.missing), (State.DONE, 0))
        conversation.hear(b"", b"more and more")
        self.assertEqual(conversation.leftover, b"more and more")

    def test_unread_when_something_is_sent(self) -> None:
        """Unread bytes at a Send are an error that quotes their beginning, escaped."""
        for unread, words in (
            (b"\r\n", r'"\r\n"'),
            (b"2", '"2"'),
            (b"\x1b[2J\xff\x00", r'"\x1b[2J\xff\x00"'),
            (b"x" * QUOTED, f'"{"x" * QUOTED}"'),
            (b"x" * (QUOTED + 1), f'"{"x" * QUOTED}"...'),
        ):
            conversation = driven(LINE, Send(b"EHLO\r\n"), LINE)
            self.assertEqual(conversation.receive(b"220 hi\r\n" + unread), b"")
            error = self.failed(conversation, InjectedData)
            expected = f"the server sent data before it was asked: {words}"
            self.assertEqual(str(error), expected)
            self.assertEqual(error.server_text, unread)

    def test_unasked(self) -> None:
        """
        Unread bytes that match ``unasked`` are read after the Send; others are an
        error.
        """
        blank = re.compile(rb" *")
        for unread, heard in ((b"", b"x"), (b" ", b" "), (b"  ", b" ")):
            seen: list[bytes] = []

            def dialogue(seen: list[bytes] = seen) -> Dialogue:
                yield LINE
                yield Send(b"go", blank)
                seen.append((yield Bytes(1)))

            conversation = Conversation(dialogue, "the dialogue")
            conversation.start()
            self.assertEqual(conversation.receive(b"\n" + unread), b"go")
            conversation.receive(b"x")
            self.assertEqual(seen, [heard])
        for unread in (b"x", b" x", b"x ", b" \n"):
            conversation = driven(LINE, Send(b"go", blank), LINE)
            conversation.receive(b"\n" + unread)
            self.failed(conversation, InjectedData)

    def test_longest_line(self) -> None:
        """
        A line of LONGEST_LINE bytes is read; a longer one is an error before its end.
        """
        for end in (b"\n", b"\r\n"):
            conversation = driven(LINE)
            conversation.receive(b"x" * (LONGEST_LINE + 1 - len(end)) + end)
            self.assertIs(conversation.state, State.DONE)
        for line in (b"x" * (LONGEST_LINE + 1), b"x" * (LONGEST_LINE + 1) + b"\n"):
            for size in (1000, len(line)):
                conversation = driven(LINE)
                for at in range(0, len(line), size):
                    conversation.receive(line[at : at + size])
                self.assertIn("too long", str(self.failed(conversation, BadReply)))

    def test_total_received(self) -> None:
        """The bound counts all bytes consumed, line ends included."""
        conversation = driven(LINE, Bytes(3), LINE, most=10)
        conversation.receive(b"a\r\nbcdef\r\n")
        self.assertIs(conversation.state, State.DONE)
        conversation = driven(LINE, Bytes(3), LINE, most=10)
        conversation.receive(b"a\r\nbcdefg\r\n")
        self.assertIn("without end", str(self.failed(conversation, BadReply)))

    def test_announced(self) -> None:
        """A step that waits for more bytes than the bound leaves is an error."""
        conversation = driven(Bytes(6), Bytes(4), most=10)
        self.assertIs(conversation.state, State.BYTES)
        for steps in ((Bytes(11),), (Bytes(6), Bytes(5)), (LINE, Bytes(5))):
            conversation = driven(*steps, most=10)
            conversation.receive(b"12345\n")
            self.assertIn("announced", str(self.failed(conversation, BadReply)))

    def test_total_sent(self) -> None:
        """
        A dialogue that sends more than the bound is at fault, and no more is sent.
        """
        conversation = Conversation(lambda: iter([Send(b"12345")] * 9), "it", 10)  # type: ignore[arg-type,return-value]
        self.assertEqual(conversation.start(), b"1234512345")
        error = self.failed(conversation, DialectFailed)
        self.assertEqual(str(error), "it speaks without end before TLS")

    def test_no_steps(self) -> None:
        """A value that is no step is an error that names its type."""
        for step, kind in (
            (None, "NoneType"),
            (b"x", "bytes"),
            (Line, "type"),
            (Send(b""), "Send"),
            (Send("x"), "Send"),  # type: ignore[arg-type]
            (Bytes(1.5), "Bytes"),  # type: ignore[arg-type]
        ):
            error = self.failed(driven(step), DialectFailed)  # type: ignore[arg-type]
            expected = f"the dialogue yields what is no step: {kind}"
            self.assertEqual(str(error), expected)

    def test_said_before_a_failure(self) -> None:
        """The bytes sent before a failure are returned."""

        def dialogue() -> Dialogue:
            yield Send(b"a")
            yield Send(b"b")
            raise Refused("no", b"text")

        conversation = Conversation(dialogue, "the dialogue")
        self.assertEqual(conversation.start(), b"ab")
        self.assertEqual(self.failed(conversation, Refused).server_text, b"text")


#: The tag of a client for which every random number is zero.
TAG = b"0" * 12

#: Bytes that a server may send unasked, by dialect, each with the number of segments
#: of the good transcript that the server has to send before.
EXTRAS: dict[str, tuple[tuple[int, bytes], ...]] = {
    "imap": (
        (1, b"* OK Waiting for authentication process to respond..\r\n"),
        (1, b"* 3 EXISTS\r\n* CAPABILITY IMAP4rev1 STARTTLS\r\n* OK {see} {4\r\n"),
    ),
    "irc": (
        (0, b":irc.example.org 439 * :Please wait while we process\r\n"),
        (0, b"NOTICE AUTH :*** 670\r\nPING :1\r\n:x 020 * :wait\r\n"),
    ),
    "ldap": (
        (
            0,
            bytes.fromhex("30 14 02 01 00 78 0f 0a 01 00 04 00 04 00 8a 06")
            + b"1.3.99",
        ),
    ),
    "telnet": (
        (0, bytes.fromhex("ff fd 18 ff fb 01 ff f1 ff fa 20 ff ff 2e ff f0")),
        (0, bytes.fromhex("ff fa ff f0 ff fe 05")),
        (1, b"\r\nlogin: \xff\xff\xfa\x2e \xff\xf9"),
    ),
    "xmpp": ((1, b" \r\n\t"),),
    "xmpp-server": ((1, b"\n"),),
}


def arranged(dialect: str) -> Iterator[list[Segment]]:
    """
    Yield the good dialogue, and the same with each extra at each place it may have.
    """
    good = parse_transcript(GOOD[dialect])
    yield good
    last = max(place for place, said in enumerate(good) if said.by_server)
    for least, extra in EXTRAS.get(dialect, ()):
        for place in range(last + 1):
            if sum(said.by_server for said in good[:place]) >= least:
                yield [*good[:place], Segment(True, extra), *good[place:]]


def negotiating(dialect: str) -> Exchange:
    """Return a connection in memory with the tag TAG, and no TLS after the dialogue."""
    with patch.object(dialects, "urandom", bytes):
        return Exchange(lambda tcp, clock: negotiated(dialect, tcp, clock, host=DOMAIN))


class SegmentTests(SynchronousTestCase):
    """The outcome does not depend on TCP segments."""

    def test_engine(self) -> None:
        """
        The engine agrees in each segmentation of each good dialogue, with each extra
        at each place.
        """
        counted = 0
        for dialect, transcript in GOOD.items():
            for says in arranged(dialect):
                for segments in cuts(says, b"tag"):
                    counted += 1
                    talk = talk_in(dialect)
                    for segment in segments:
                        talk.hear(segment)
                    where = (dialect, segments)
                    self.assertTrue(talk.agreed, (*where, talk.error))
                    self.assertEqual(talk.unread, b"", where)
                    self.assertEqual(talk.collect(), client_bytes(transcript), where)
        self.assertGreater(counted, 5000)

    def test_negotiation(self) -> None:
        """So does the stage that splits lines for the engine."""
        for dialect, transcript in GOOD.items():
            for number, says in enumerate(arranged(dialect)):
                for count, segments in enumerate(cuts(says, TAG)):
                    if count > 1 and (number + count) % 7:
                        continue
                    exchange = negotiating(dialect)
                    for segment in segments:
                        exchange.hear(segment)
                    where = (dialect, segments, exchange.error)
                    self.assertIsNotNone(exchange.result, where)
                    expected = client_bytes(transcript, TAG)
                    self.assertEqual(exchange.transport.value(), expected, where)

    def test_forged(self) -> None:
        """
        A reply that comes before its command is an error, also behind unasked data.
        """
        for dialect, extras in EXTRAS.items():
            says = parse_transcript(GOOD[dialect])
            asked = [n for n, said in enumerate(says) if not said.by_server][-1]
            before = next(cuts(says[:asked]))
            if not before:
                # The client sends first, and once: no reply can come before.
                continue
            reply = next(cuts(says[asked:]))[0]
            for extra in (b"", *(extra for _, extra in extras)):
                talk = talk_in(dialect)
                for turn in (*before[:-1], before[-1] + extra + reply):
                    talk.hear(turn)
                self.assertFalse(talk.agreed, (dialect, extra))
                self.assertIsInstance(talk.error, InjectedData, (dialect, extra))

    def test_after_the_go_ahead(self) -> None:
        """Unasked data that is skipped before the go-ahead is refused after it."""
        for dialect, extras in EXTRAS.items():
            for _, extra in extras:
                exchange = negotiating(dialect)
                *turns, last = next(cuts(parse_transcript(GOOD[dialect]), TAG))
                for turn in (*turns, last + extra):
                    exchange.hear(turn)
                self.assertIsInstance(exchange.error, InjectedData, (dialect, extra))
                self.assertIn("after agreeing to TLS", str(exchange.error))

    def test_bounded(self) -> None:
        """Unasked data without end exceeds the bound."""
        for dialect, extras in EXTRAS.items():
            says = parse_transcript(GOOD[dialect])
            for least, extra in extras:
                talk = talk_in(dialect)
                heard = 0
                for said in says:
                    if heard >= max(least, 1):
                        break
                    if said.by_server and least:
                        talk.hear(said.tagged(b"tag"))
                        heard += 1
                    heard += not least
                for _ in range(MOST // len(extra) + 1):
                    if not talk.over:
                        talk.hear(extra)
                self.assertIsNotNone(talk.error, (dialect, extra))
                self.assertNotIsInstance(talk.error, InjectedData)


class Greeter(Protocol):
    """A MySQL server that greets, and counts the segments that follow."""

    transport: Any

    def __init__(self, counted: Deferred[int]) -> None:
        self._counted = counted
        self._received = b""

    def connectionMade(self) -> None:
        """Send the greeting."""
        self.transport.write(parse_transcript(MYSQL)[0].data)

    def dataReceived(self, data: bytes) -> None:
        """Fire with the number of segments once the whole ClientHello has come."""
        self._received += data
        hello = self._received[len(client_bytes(MYSQL)) :]
        complete = len(hello) > 5 and len(hello) >= 5 + int.from_bytes(
            hello[3:5], "big"
        )
        if complete and not self._counted.called:
            # tcpi_data_segs_in of struct tcp_info, in linux/tcp.h.
            info = self.transport.getHandle().getsockopt(IPPROTO_TCP, TCP_INFO, 256)
            self._counted.callback(struct.unpack_from("I", info, 152)[0])


class KernelTests(TestCase):
    """The segments that the kernel makes of the bytes written."""

    @inlineCallbacks
    def test_request_without_answer(self) -> Any:
        """
        A request without an answer is in a segment of its own before the ClientHello:
        some servers lose a ClientHello in the same segment.
        """
        from twisted.internet import reactor

        clock: Any = reactor
        counted: Deferred[int] = Deferred()
        factory = Factory.forProtocol(lambda: Greeter(counted))
        port = clock.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        creator = ConnectionCreator(
            TLSSettings(authorities=str(shared().ca), name="localhost")
        )
        tcp = TCP4ClientEndpoint(clock, "127.0.0.1", port.getHost().port)
        endpoint = starttls("mysql", creator, tcp, clock, 60)
        connecting = endpoint.connect(Factory.forProtocol(Protocol))
        segments = yield counted
        connecting.cancel()
        yield self.assertFailure(connecting, ConnectingCancelledError)
        self.assertGreaterEqual(segments, 2)

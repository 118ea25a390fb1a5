"""
The engine that drives dialogues, and the segments in which a server's words come.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from socket import IPPROTO_TCP, TCP_INFO
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests import transcripts
from tests.certificates import shared
from tests.transcripts import (
    DOMAIN,
    GOOD,
    MYSQL,
    Said,
    Talk,
    answers,
    parse,
)
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
    NegotiationFailed,
    Refused,
    Send,
    State,
    Step,
)
from twisted_tcpclient.endpoints import starttls
from twisted_tcpclient.settings import TLSSettings
from twisted_tcpclient.stages.negotiation import negotiated
from twisted_tcpclient.tls import ConnectionCreator


def echo() -> Dialogue:
    """A byte for a length, so many bytes, a line, all sent back; then four bytes."""
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
    """The engine alone."""

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
        """However bytes are cut, the dialogue is sent what it waits for."""
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
        """A caller may split lines and count bytes itself, and tell what is unread."""
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
        """Unread bytes, whole lines or not, are an error that quotes them."""
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
        """What may come unasked is read after the step, as if it had come later."""
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
        """A line may be so long and no longer, with or without its end."""
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
        """All that is consumed counts, lines with their ends, and is bounded."""
        conversation = driven(LINE, Bytes(3), LINE, most=10)
        conversation.receive(b"a\r\nbcdef\r\n")
        self.assertIs(conversation.state, State.DONE)
        conversation = driven(LINE, Bytes(3), LINE, most=10)
        conversation.receive(b"a\r\nbcdefg\r\n")
        self.assertIn("without end", str(self.failed(conversation, BadReply)))

    def test_announced(self) -> None:
        """More bytes than may still come are not waited for."""
        conversation = driven(Bytes(6), Bytes(4), most=10)
        self.assertIs(conversation.state, State.BYTES)
        for steps in ((Bytes(11),), (Bytes(6), Bytes(5)), (LINE, Bytes(5))):
            conversation = driven(*steps, most=10)
            conversation.receive(b"12345\n")
            self.assertIn("announced", str(self.failed(conversation, BadReply)))

    def test_total_sent(self) -> None:
        """A dialogue that sends without end is at fault; what was sent is bounded."""
        conversation = Conversation(lambda: iter([Send(b"12345")] * 9), "it", 10)  # type: ignore[arg-type,return-value]
        self.assertEqual(conversation.start(), b"1234512345")
        error = self.failed(conversation, DialectFailed)
        self.assertEqual(str(error), "it speaks without end before TLS")

    def test_no_steps(self) -> None:
        """What is no step is the dialogue's fault, and is named."""
        for step, kind in (
            (None, "NoneType"),
            (b"x", "bytes"),
            (Send(b""), "Send"),
            (Send("x"), "Send"),  # type: ignore[arg-type]
            (Bytes(1.5), "Bytes"),  # type: ignore[arg-type]
        ):
            error = self.failed(driven(step), DialectFailed)  # type: ignore[arg-type]
            expected = f"the dialogue yields what is no step: {kind}"
            self.assertEqual(str(error), expected)

    def test_said_before_a_failure(self) -> None:
        """What was to be sent before the failure is returned, and nothing after it."""

        def dialogue() -> Dialogue:
            yield Send(b"a")
            yield Send(b"b")
            raise Refused("no", b"text")

        conversation = Conversation(dialogue, "the dialogue")
        self.assertEqual(conversation.start(), b"ab")
        self.assertEqual(self.failed(conversation, Refused).server_text, b"text")


#: The tag of a client for which every random number is zero.
TAG = b"0" * 12

#: What a server may say unasked, by dialect: how many things of the good transcript
#: it has to have said before, and the bytes.
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


def arranged(dialect: str) -> Iterator[list[Said]]:
    """The good dialogue, and the same with each extra at each place it may have."""
    good = parse(GOOD[dialect])
    yield good
    last = max(place for place, said in enumerate(good) if said.by_server)
    for least, extra in EXTRAS.get(dialect, ()):
        for place in range(last + 1):
            if sum(said.by_server for said in good[:place]) >= least:
                yield [*good[:place], Said(True, extra), *good[place:]]


def server_turns(says: list[Said]) -> list[bytes]:
    """What the server says at a time, between the client's turns."""
    turns: list[Said] = []
    for said in says:
        if turns and turns[-1].by_server == said.by_server:
            said = replace(said, data=turns.pop().data + said.data)
        turns.append(said)
    return [turn.data for turn in turns if turn.by_server]


def cuts(turns: list[bytes], tag: bytes) -> Iterator[list[bytes]]:
    """The segments: a turn each, a byte each, and each turn cut at each byte."""
    turns = [turn.replace(b"{tag}", tag) for turn in turns]
    yield turns
    yield [bytes([byte]) for turn in turns for byte in turn]
    for number, turn in enumerate(turns):
        for at in range(1, len(turn)):
            yield [*turns[:number], turn[:at], turn[at:], *turns[number + 1 :]]


def negotiating(dialect: str) -> transcripts.Conversation:
    """A connection in memory with a known tag, without TLS behind the dialogue."""
    with patch.object(dialects, "urandom", bytes):
        return transcripts.Conversation(
            lambda tcp, clock: negotiated(dialect, tcp, clock, host=DOMAIN)
        )


class SegmentTests(SynchronousTestCase):
    """TCP segments decide nothing."""

    def test_engine(self) -> None:
        """
        However the good dialogues are cut, and whatever the server may say unasked
        comes wherever it may come, the outcome is the same.
        """
        counted = 0
        for dialect, transcript in GOOD.items():
            for says in arranged(dialect):
                for segments in cuts(server_turns(says), b"tag"):
                    counted += 1
                    talk = Talk(dialect)
                    for segment in segments:
                        talk.hear(segment)
                    where = (dialect, segments)
                    self.assertTrue(talk.agreed, (*where, talk.error))
                    self.assertEqual(talk.unread, b"", where)
                    self.assertEqual(talk.take(), answers(transcript, b"tag"), where)
        self.assertGreater(counted, 5000)

    def test_negotiation(self) -> None:
        """The same holds of the protocol that splits lines for the engine."""
        for dialect, transcript in GOOD.items():
            for number, says in enumerate(arranged(dialect)):
                for count, segments in enumerate(cuts(server_turns(says), TAG)):
                    if count > 1 and (number + count) % 7:
                        continue
                    exchange = negotiating(dialect)
                    for segment in segments:
                        exchange.hear(segment)
                    where = (dialect, segments, exchange.error)
                    self.assertIsNotNone(exchange.result, where)
                    expected = answers(transcript, TAG)
                    self.assertEqual(exchange.wire.value(), expected, where)

    def test_forged(self) -> None:
        """A reply that is there before its command is refused, behind extras, too."""
        for dialect, extras in EXTRAS.items():
            says = parse(GOOD[dialect])
            asked = [n for n, said in enumerate(says) if not said.by_server]
            turns = server_turns(says[: asked[-1]])
            if not turns:
                # The client speaks first and once: nothing is there before.
                continue
            reply = server_turns(says[asked[-1] :])[0]
            for extra in (b"", *(extra for _, extra in extras)):
                talk = Talk(dialect)
                for turn in turns[:-1]:
                    talk.hear(turn.replace(b"{tag}", b"tag"))
                last = turns[-1] + extra + reply
                talk.hear(last.replace(b"{tag}", b"tag"))
                self.assertFalse(talk.agreed, (dialect, extra))
                self.assertIsInstance(talk.error, InjectedData, (dialect, extra))

    def test_after_the_go_ahead(self) -> None:
        """What may come unasked before the go-ahead may not come after it."""
        for dialect, extras in EXTRAS.items():
            for _, extra in extras:
                exchange = negotiating(dialect)
                *turns, last = next(cuts(server_turns(parse(GOOD[dialect])), TAG))
                for turn in (*turns, last + extra):
                    exchange.hear(turn)
                self.assertIsInstance(exchange.error, InjectedData, (dialect, extra))
                self.assertIn("after agreeing to TLS", str(exchange.error))

    def test_bounded(self) -> None:
        """What may come unasked may not come for ever."""
        for dialect, extras in EXTRAS.items():
            says = parse(GOOD[dialect])
            for least, extra in extras:
                talk = Talk(dialect)
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
    """A MySQL server that greets, and tells how many segments brought the rest."""

    transport: Any

    def __init__(self, counted: Deferred[int]) -> None:
        self._counted = counted
        self._received = b""

    def connectionMade(self) -> None:
        """Greet."""
        self.transport.write(parse(MYSQL)[0].data)

    def dataReceived(self, data: bytes) -> None:
        """Wait for a whole ClientHello behind the request."""
        self._received += data
        hello = self._received[len(answers(MYSQL)) :]
        complete = len(hello) > 5 and len(hello) >= 5 + int.from_bytes(
            hello[3:5], "big"
        )
        if complete and not self._counted.called:
            # tcpi_data_segs_in of struct tcp_info, in linux/tcp.h.
            info = self.transport.getHandle().getsockopt(IPPROTO_TCP, TCP_INFO, 256)
            self._counted.callback(struct.unpack_from("I", info, 152)[0])


class KernelTests(TestCase):
    """What the kernel makes of what is written."""

    @inlineCallbacks
    def test_request_without_answer(self) -> Any:
        """
        A request that has no answer leaves in a segment of its own, before the
        ClientHello: some servers lose what comes in the same segment.
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

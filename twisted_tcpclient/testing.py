"""
A test double for authors of dialects: a server that follows a transcript.

It drives a dialect by the engine that also drives it on a connection, without Twisted
and without a network.  A transcript is text with a line for each line or piece of data
that one side sends::

    S: 220 mx.example.org       the server sends this line, in a segment of its own,
    S+ 250 too early            or in the segment of the line before;
    C: EHLO [192.0.2.1]         the client has to send this line, and nothing else

    S| <proceed/>               the server sends this text, without a line end;
    C# 30 0c 02 01 01           the client has to send these bytes, in hexadecimal

``C|`` and ``S#`` are the counterparts of ``S|`` and ``C#``.  ``{tag}`` stands for the
tag of the client's commands.  Blank lines, and blanks before a line, are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from twisted_tcpclient.dialects import Dialect, Parameters
from twisted_tcpclient.dialogue import Conversation, NegotiationFailed, State

__all__ = [
    "PARAMETERS",
    "Segment",
    "Talk",
    "client_bytes",
    "cuts",
    "join_turns",
    "parse_transcript",
]

#: The default parameters of a :class:`Talk`.
PARAMETERS = Parameters(b"[192.0.2.1]", "server.example.org", b"tag")


@dataclass(frozen=True)
class Segment:
    """
    Bytes that one side sends at once.

    :ivar by_server: whether the server sends them.
    :ivar data: the bytes, in which ``{tag}`` stands for the client's tag.
    """

    by_server: bool
    data: bytes

    def tagged(self, tag: bytes) -> bytes:
        """
        Return the bytes with a tag in the place of ``{tag}``.

        :param tag: the client's tag.
        """
        return self.data.replace(b"{tag}", tag)


def parse_transcript(transcript: str) -> list[Segment]:
    """
    Return the segments that both sides send, in order.

    :param transcript: in the form that this module describes.
    :raises ValueError: if a line has another form.
    """
    result: list[Segment] = []
    for line in filter(None, map(str.lstrip, transcript.splitlines())):
        side, form, text = line[:1], line[1:2], line[2:].removeprefix(" ")
        if side not in ("S", "C") or form not in (":", "|", "#", "+"):
            raise ValueError(f"not a line of a transcript: {line!r}")
        data = _data(form, text)
        if form != "+":
            result.append(Segment(side == "S", data))
        elif side == "S" and result and result[-1].by_server:
            result[-1] = replace(result[-1], data=result[-1].data + data)
        else:
            raise ValueError(f"no segment of the server before: {line!r}")
    return result


def _data(form: str, text: str) -> bytes:
    """Return the bytes for the text of a line."""
    if form == "#":
        return bytes.fromhex(text)
    return text.encode("latin-1") + (b"" if form == "|" else b"\r\n")


def join_turns(said: Iterable[Segment]) -> list[Segment]:
    """
    Return the same bytes with all that one side sends in a row in one segment.

    :param said: the segments of a transcript.
    """
    result: list[Segment] = []
    for segment in said:
        if result and result[-1].by_server == segment.by_server:
            segment = replace(segment, data=result.pop().data + segment.data)
        result.append(segment)
    return result


def client_bytes(transcript: str, tag: bytes = PARAMETERS.tag) -> bytes:
    """
    Return all bytes that the client has to send.

    :param transcript: in the form that this module describes.
    :param tag: the client's tag.
    """
    return b"".join(
        segment.tagged(tag)
        for segment in parse_transcript(transcript)
        if not segment.by_server
    )


def cuts(said: Iterable[Segment], tag: bytes = PARAMETERS.tag) -> Iterator[list[bytes]]:
    """
    Yield the server's bytes as TCP may deliver them: one list of segments at a time.

    A turn is all that the server sends in a row.  In the first list each segment is a
    turn, in the second each segment is a byte.  In each further list one turn is cut
    into two segments, at a different place in each list.

    :param said: the segments of a transcript.
    :param tag: the client's tag.
    """
    whole = [turn.tagged(tag) for turn in join_turns(said) if turn.by_server]
    yield whole
    yield [bytes([byte]) for turn in whole for byte in turn]
    for number, turn in enumerate(whole):
        for at in range(1, len(turn)):
            yield [*whole[:number], turn[:at], turn[at:], *whole[number + 1 :]]


class Talk:
    """
    A dialogue of a dialect with a test.

    :ivar conversation: the engine that drives the dialect.
    """

    def __init__(self, dialect: Dialect, parameters: Parameters = PARAMETERS) -> None:
        """
        Start the dialogue.

        :param dialect: the dialect under test.
        :param parameters: the parameters of its dialogue.
        """
        self.conversation = Conversation(
            lambda: dialect.dialogue(parameters), f"the dialect {dialect.name}"
        )
        self._tag = parameters.tag
        self._sent = self.conversation.start()

    @property
    def agreed(self) -> bool:
        """Whether the dialogue has returned: the server has agreed to start TLS."""
        return self.conversation.state is State.DONE

    @property
    def error(self) -> NegotiationFailed | None:
        """The error with which the dialogue has failed; None if it has not."""
        return self.conversation.error

    @property
    def over(self) -> bool:
        """Whether the dialogue has returned or failed."""
        return self.agreed or self.error is not None

    @property
    def unread(self) -> bytes:
        """The bytes that have come and that the dialogue has not read."""
        return self.conversation.leftover

    def hear(self, data: bytes) -> None:
        """
        Give the dialogue bytes of the server.

        :param data: one segment.
        """
        self._sent += self.conversation.receive(data)

    def collect(self) -> bytes:
        """Return the bytes that the client has sent since the last call."""
        sent, self._sent = self._sent, b""
        return sent

    def play(self, transcript: str) -> None:
        """
        Play the server's part of a transcript, and check the client's part.

        :param transcript: in the form that this module describes.
        :raises AssertionError: if the client sends other bytes, or the dialogue is
            over before the last segment of the server.
        :raises ValueError: if a line of the transcript has another form.
        """
        for segment in parse_transcript(transcript):
            if segment.by_server:
                if self.over:
                    raise AssertionError(f"over before {segment}: {self.error!r}")
                self.hear(segment.tagged(self._tag))
            else:
                self._check(segment.tagged(self._tag))
        self._check(b"")

    def _check(self, expected: bytes) -> None:
        sent = self.collect()
        if sent != expected:
            raise AssertionError(f"sent {sent!r}, not {expected!r}: {self.error!r}")

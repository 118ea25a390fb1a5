"""
STARTTLS in ManageSieve: RFC 5804, 2.2, with the grammar of section 4.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass

from twisted_tcpclient.dialects import Dialect, Parameters
from twisted_tcpclient.dialogue import (
    LINE,
    BadReply,
    Bytes,
    Dialogue,
    NotOffered,
    Refused,
    Send,
    Step,
)

#: A quoted string, the length of a literal that follows on lines of its own, or any
#: other word.
_WORD = re.compile(
    rb' *(?:"(?P<quoted>(?:[^"\\]|\\["\\])*)"'
    rb"|\{(?P<length>[0-9]{1,9})\}\Z"
    rb'|(?P<atom>[^ "{}\\]+))'
)


@dataclass(frozen=True)
class Response:
    """
    One line of a response: a capability, or the line that ends the response.

    :ivar condition: OK, NO or BYE; empty for a capability.
    :ivar name: the name of the capability; empty at the end of a response.
    :ivar text: the words that follow.
    """

    condition: bytes
    name: bytes
    text: bytes

    @property
    def whole(self) -> bytes:
        """The condition and the text, for the ``server_text`` of errors."""
        return self.condition + b" " + self.text


def _response_words() -> Generator[Step, bytes, list[tuple[bool, bytes]]]:
    """Wait for one line; return for each word whether it is a string, and the word."""
    words: list[tuple[bool, bytes]] = []
    line, at = (yield LINE), 0
    while at < len(line.rstrip()):
        match = _WORD.match(line, at)
        if match is None:
            raise BadReply("the server does not speak ManageSieve", line)
        at = match.end()
        if match["length"] is None:
            words.append((match["atom"] is None, match["atom"] or match["quoted"]))
        else:
            length = int(match["length"])
            words.append((True, (yield Bytes(length)) if length else b""))
            line, at = (yield LINE), 0
    return words


def response() -> Generator[Step, bytes, Response]:
    """Wait for a capability (RFC 5804, 1.7) or for the end of a response."""
    words = yield from _response_words()
    text = b" ".join(word for _, word in words[1:])
    if not words:
        raise BadReply("the server sent an empty line")
    quoted, first = words[0]
    if quoted:
        return Response(b"", first.upper(), text)
    if first.upper() not in (b"OK", b"NO", b"BYE"):
        raise BadReply("the server does not speak ManageSieve", first + b" " + text)
    return Response(first.upper(), b"", text)


def dialogue(parameters: Parameters) -> Dialogue:
    """Hold the dialogue: capabilities, which the server sends unasked, STARTTLS."""
    names: list[bytes] = []
    while not (answer := (yield from response())).condition:
        names.append(answer.name)
    if answer.condition != b"OK":
        raise Refused("the server refused the connection", answer.whole)
    if b"STARTTLS" not in names:
        raise NotOffered("the server does not offer STARTTLS")
    yield Send(b"STARTTLS\r\n")
    answer = yield from response()
    if not answer.condition:
        raise BadReply("the server sent what was not asked for", answer.name)
    if answer.condition != b"OK":
        raise Refused("the server refused STARTTLS", answer.whole)


# No greeting: after TLS the server sends its capabilities again (RFC 5804, 2.2).
DIALECTS = (Dialect("sieve", 4190, "RFC 5804", dialogue),)

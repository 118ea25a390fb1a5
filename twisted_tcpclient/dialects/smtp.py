"""
STARTTLS in SMTP: RFC 3207, over the replies of RFC 5321, 4.2.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from twisted_tcpclient.dialects import LINE, Dialect, Dialogue, Line, Parameters, Send
from twisted_tcpclient.errors import BadReply, NotOffered, Refused


@dataclass(frozen=True)
class Reply:
    """A reply of one or more lines, all of the same code."""

    code: int
    lines: tuple[bytes, ...]

    @property
    def text(self) -> bytes:
        """The lines in one."""
        return b" ".join(self.lines)


def _parse(line: bytes) -> tuple[int, bytes, bytes]:
    """Code, separator and text of one line of a reply."""
    code, separator, text = line[:3], line[3:4], line[4:]
    if not (len(code) == 3 and code.isdigit() and separator in (b"", b" ", b"-")):
        raise BadReply("the server does not speak SMTP", line)
    return int(code), separator, text


def reply() -> Generator[Line, bytes, Reply]:
    """Wait for a whole reply."""
    first, separator, text = _parse((yield LINE))
    lines = [text]
    while separator == b"-":
        code, separator, text = _parse((yield LINE))
        if code != first:
            raise BadReply("the lines of a reply differ in their code", text)
        lines.append(text)
    return Reply(first, tuple(lines))


def dialogue(parameters: Parameters) -> Dialogue:
    """Greeting, EHLO, STARTTLS."""
    greeting = yield from reply()
    if greeting.code != 220:
        raise Refused("the server refused the connection", greeting.text)
    yield Send(b"EHLO %s\r\n" % parameters.client)
    hello = yield from reply()
    if hello.code != 250:
        raise NotOffered("the server refused EHLO", hello.text)
    if not any(line.strip().upper() == b"STARTTLS" for line in hello.lines[1:]):
        raise NotOffered("the server does not offer STARTTLS")
    yield Send(b"STARTTLS\r\n")
    answer = yield from reply()
    if answer.code != 220:
        raise Refused("the server refused STARTTLS", answer.text)


def greeting(host: str) -> bytes:
    """The greeting of RFC 5321, 4.2."""
    return b"220 %s ESMTP\r\n" % host.encode("ascii", "replace")


DIALECT = Dialect("smtp", 25, "RFC 3207", dialogue, greeting)

"""
Replies that begin with a code of three digits, as FTP gave them to others.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass

from twisted_tcpclient.dialogue import LINE, BadReply, Step

_NAME = re.compile(r"[A-Za-z0-9.:_-]+")


@dataclass(frozen=True)
class Reply:
    """
    A reply of one or more lines, all of the same code.

    :ivar code: three digits, as a number.
    :ivar lines: the text behind the code, for each line.
    """

    code: int
    lines: tuple[bytes, ...]

    @property
    def text(self) -> bytes:
        """The code once, and the text of all lines."""
        return b" ".join([b"%03d" % self.code, *self.lines])

    @property
    def temporary(self) -> bool:
        """Whether it is a transient refusal (RFC 5321, 4.2.1; RFC 959, 4.2)."""
        return 400 <= self.code < 500


def parse(line: bytes, protocol: str) -> tuple[int, bytes, bytes]:
    """
    Code, separator and text of one line of a reply.

    :param protocol: what the server should speak, for the message if it does not.
    """
    code, separator, text = line[:3], line[3:4], line[4:]
    if not (len(code) == 3 and code.isdigit() and separator in (b"", b" ", b"-")):
        raise BadReply(f"the server does not speak {protocol}", line)
    return int(code), separator, text


def reply(protocol: str) -> Generator[Step, bytes, Reply]:
    """Wait for a whole reply, each line of which has the code (RFC 5321, 4.2)."""
    first, separator, text = parse((yield LINE), protocol)
    lines = [text]
    while separator == b"-":
        code, separator, text = parse((yield LINE), protocol)
        if code != first:
            raise BadReply("the lines of a reply differ in their code", text)
        lines.append(text)
    return Reply(first, tuple(lines))


def refused(what: str, temporary: bool) -> str:
    """
    Return the message for a refusal.

    :param what: what the server has refused.
    """
    return f"the server refused {what}" + (" temporarily" if temporary else "")


def named(host: str) -> bytes:
    """The name of a host for a greeting: a word, whatever is in the name."""
    return host.encode("ascii") if _NAME.fullmatch(host) else b"localhost"

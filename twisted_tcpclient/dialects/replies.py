"""
Replies that begin with a code of three digits (RFC 959, 4.2; RFC 5321, 4.2).
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
    A reply of one or more lines.

    :ivar code: three digits, as a number.
    :ivar lines: the text behind the code, line by line.
    """

    code: int
    lines: tuple[bytes, ...]

    @property
    def text(self) -> bytes:
        """The code, and the texts of all lines."""
        return b" ".join([b"%03d" % self.code, *self.lines])

    @property
    def temporary(self) -> bool:
        """Whether it is a transient refusal (RFC 5321, 4.2.1; RFC 959, 4.2)."""
        return 400 <= self.code < 500


def split_code(line: bytes, protocol: str) -> tuple[int, bytes, bytes]:
    """
    Return the code, the separator and the text of one line of a reply.

    :param line: without its line end.
    :param protocol: the protocol, for the message.
    :raises BadReply: if the line does not begin with a code.
    """
    code, separator, text = line[:3], line[3:4], line[4:]
    if not (len(code) == 3 and code.isdigit() and separator in (b"", b" ", b"-")):
        raise BadReply(f"the server does not speak {protocol}", line)
    return int(code), separator, text


def reply(protocol: str) -> Generator[Step, bytes, Reply]:
    """
    Wait for a whole reply, each line of which has the same code (RFC 5321, 4.2.1).

    :param protocol: the protocol, for the message.
    :raises BadReply: if a line does not begin with the code.
    """
    first, separator, text = split_code((yield LINE), protocol)
    lines = [text]
    while separator == b"-":
        code, separator, text = split_code((yield LINE), protocol)
        if code != first:
            raise BadReply("the lines of a reply differ in their code", text)
        lines.append(text)
    return Reply(first, tuple(lines))


def refusal(what: str, temporary: bool) -> str:
    """
    Return the message for a refusal.

    :param what: the command that the server has refused, or "the connection".
    :param temporary: whether the server may agree later.
    """
    return f"the server refused {what}" + (" temporarily" if temporary else "")


def host_word(host: str) -> bytes:
    """
    Return the name of a server as one word for a greeting.

    :returns: b"localhost" for a name with a blank, a line end or a letter that is not
        ASCII, so that a name cannot add to the greeting.
    """
    return host.encode("ascii") if _NAME.fullmatch(host) else b"localhost"

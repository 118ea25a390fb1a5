"""
STARTTLS in IMAP: RFC 9051, 6.2.1; RFC 3501, 6.2.1.
"""

from __future__ import annotations

import re
from collections.abc import Generator

from twisted_tcpclient.dialects import Dialect, Parameters
from twisted_tcpclient.dialogue import (
    LINE,
    BadReply,
    Dialogue,
    NotOffered,
    Preauthenticated,
    Refused,
    Send,
    Step,
)

#: Lines that a server may send at any time (RFC 9051, 7), the last one perhaps
#: incomplete.  A reply is not among them: its tag is random (``Parameters.tag``), so
#: that the server does not know it before the command.
_UNTAGGED = re.compile(rb"(?:\*[^\n]*\n)*(?:\*[^\n]*)?")
#: The announcement of a literal (RFC 9051, 4.3).
_LITERAL = re.compile(rb"\{[0-9]+\+?\}\Z")


def _upper_words(line: bytes) -> list[bytes]:
    """Return the words of a line, in upper case."""
    return line.upper().split()


def _check_greeting(line: bytes) -> None:
    """Raise an error unless a greeting is ``* OK`` (RFC 9051, 7.1)."""
    condition = _upper_words(line)[:2]
    if condition == [b"*", b"PREAUTH"]:
        raise Preauthenticated("the server says we are logged in already", line)
    if condition == [b"*", b"BYE"]:
        raise Refused("the server refused the connection", line)
    if condition != [b"*", b"OK"]:
        raise BadReply("the server does not speak IMAP", line)


def _tagged(tag: bytes) -> Generator[Step, bytes, tuple[bytes, bytes, list[bytes]]]:
    """
    Wait for the reply with a tag.

    All untagged lines but CAPABILITY and BYE are dropped: they came in clear.

    :returns: the condition (OK, NO, BAD), the line behind the tag, and the words of
        the last untagged CAPABILITY.
    """
    capabilities: list[bytes] = []
    while True:
        line = yield LINE
        words = _upper_words(line)
        if line.startswith(tag + b" "):
            return (
                words[1] if len(words) > 1 else b"",
                line[len(tag) + 1 :],
                capabilities,
            )
        if words[:2] == [b"*", b"BYE"]:
            raise Refused("the server said BYE", line)
        if words[:2] == [b"*", b"CAPABILITY"]:
            capabilities = words[2:]
        elif words[:1] != [b"*"] or _LITERAL.search(line):
            # No command of this dialogue leads to a continuation request, another
            # tag or a literal.
            raise BadReply("the server sent what was not asked for", line)


def _listed(line: bytes) -> list[bytes]:
    """Return the capabilities in the response code of a greeting (RFC 9051, 7.1)."""
    code = line.partition(b"[")[2].partition(b"]")[0].upper().split()
    return code[1:] if code[:1] == [b"CAPABILITY"] else []


def dialogue(parameters: Parameters) -> Dialogue:
    """
    Hold the dialogue: greeting, CAPABILITY, STARTTLS.

    CAPABILITY is not sent if the greeting lists the capabilities.
    """
    greeting = yield LINE
    _check_greeting(greeting)
    capabilities = _listed(greeting)
    if not capabilities:
        tag = parameters.tag + b"1"
        yield Send(tag + b" CAPABILITY\r\n", _UNTAGGED)
        condition, text, capabilities = yield from _tagged(tag)
        if condition != b"OK":
            raise NotOffered("the server refused CAPABILITY", text)
    if b"STARTTLS" not in capabilities:
        raise NotOffered("the server does not offer STARTTLS")
    tag = parameters.tag + b"2"
    yield Send(tag + b" STARTTLS\r\n", _UNTAGGED)
    condition, text, _ = yield from _tagged(tag)
    if condition != b"OK":
        raise Refused("the server refused STARTTLS", text)


def greeting(host: str) -> bytes:
    """
    Return the greeting for which a client waits (RFC 9051, 7.1.1).

    It has no capabilities: those listed before TLS must be dropped (RFC 9051, 6.2.1).
    """
    return b"* OK ready\r\n"


DIALECTS = (Dialect("imap", 143, "RFC 9051", dialogue, greeting),)

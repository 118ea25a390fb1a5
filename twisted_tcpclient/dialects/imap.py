"""
STARTTLS in IMAP: RFC 9051, 6.2.1 (RFC 3501, 6.2.1).
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


def _words(line: bytes) -> list[bytes]:
    """The words of a line in upper case."""
    return line.upper().split()


def _check_greeting(line: bytes) -> None:
    """Accept ``* OK`` and nothing else."""
    condition = _words(line)[:2]
    if condition == [b"*", b"PREAUTH"]:
        raise Preauthenticated("the server says we are logged in already", line)
    if condition == [b"*", b"BYE"]:
        raise Refused("the server refused the connection", line)
    if condition != [b"*", b"OK"]:
        raise BadReply("the server does not speak IMAP", line)


def _reply(tag: bytes) -> Generator[Step, bytes, tuple[bytes, bytes, list[bytes]]]:
    """
    Wait for the reply with our tag: its condition, its text, and the
    capabilities that came on the way.  All other untagged lines are forgotten,
    as they may come from anyone.
    """
    capabilities: list[bytes] = []
    while True:
        line = yield LINE
        words = _words(line)
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
            # Neither a continuation request, nor another tag, nor a literal has
            # a place in this dialogue.
            raise BadReply("the server sent what was not asked for", line)


def _greeted(line: bytes) -> list[bytes]:
    """The capabilities that a greeting names, if it does."""
    code = line.partition(b"[")[2].partition(b"]")[0].upper().split()
    return code[1:] if code[:1] == [b"CAPABILITY"] else []


def dialogue(parameters: Parameters) -> Dialogue:
    """Greeting, CAPABILITY unless greeted with it, STARTTLS."""
    greeting = yield LINE
    _check_greeting(greeting)
    capabilities = _greeted(greeting)
    if not capabilities:
        tag = parameters.tag + b"1"
        yield Send(tag + b" CAPABILITY\r\n", _UNTAGGED)
        condition, text, capabilities = yield from _reply(tag)
        if condition != b"OK":
            raise NotOffered("the server refused CAPABILITY", text)
    if b"STARTTLS" not in capabilities:
        raise NotOffered("the server does not offer STARTTLS")
    tag = parameters.tag + b"2"
    yield Send(tag + b" STARTTLS\r\n", _UNTAGGED)
    condition, text, _ = yield from _reply(tag)
    if condition != b"OK":
        raise Refused("the server refused STARTTLS", text)


def greeting(host: str) -> bytes:
    """
    What a client waits for (RFC 9051, 7.1.1), without capabilities: those of
    before TLS are to be forgotten.
    """
    return b"* OK ready\r\n"


DIALECTS = (Dialect("imap", 143, "RFC 9051", dialogue, greeting),)

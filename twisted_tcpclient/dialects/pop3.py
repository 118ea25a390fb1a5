"""
STLS in POP3: RFC 2595, 4; the capabilities of RFC 2449.
"""

from __future__ import annotations

from collections.abc import Generator

from twisted_tcpclient.dialects import Dialect, Parameters
from twisted_tcpclient.dialogue import (
    LINE,
    BadReply,
    Dialogue,
    NotOffered,
    Refused,
    Send,
    Step,
)


def _status() -> Generator[Step, bytes, tuple[bool, bytes]]:
    """Wait for a status line; return whether it is positive, and the line."""
    line = yield LINE
    indicator = line.partition(b" ")[0]
    if indicator.upper() not in (b"+OK", b"-ERR"):
        raise BadReply("the server does not speak POP3", line)
    return indicator.upper() == b"+OK", line


def _capabilities() -> Generator[Step, bytes, list[bytes]]:
    """Wait for a list that ends with a lone dot."""
    names: list[bytes] = []
    while (line := (yield LINE)) != b".":
        names.append(line.strip().upper())
    return names


def dialogue(parameters: Parameters) -> Dialogue:
    """Greeting, CAPA, STLS."""
    welcome, text = yield from _status()
    if not welcome:
        raise Refused("the server refused the connection", text)
    yield Send(b"CAPA\r\n")
    # A server without CAPA may still know STLS: there is one way to find out.
    listed, _ = yield from _status()
    if listed and b"STLS" not in (yield from _capabilities()):
        raise NotOffered("the server does not offer STLS")
    yield Send(b"STLS\r\n")
    agreed, text = yield from _status()
    if not agreed:
        raise Refused("the server refused STLS", text)


def greeting(host: str) -> bytes:
    """What a client waits for (RFC 1939, 4); no timestamp, so no APOP."""
    return b"+OK ready\r\n"


DIALECTS = (Dialect("pop3", 110, "RFC 2595", dialogue, greeting),)

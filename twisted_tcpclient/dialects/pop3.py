"""
STLS in POP3: RFC 2595, 4, with the capabilities of RFC 2449.
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
    """Wait for a status line, and return whether it is +OK, and the line."""
    line = yield LINE
    indicator = line.partition(b" ")[0]
    if indicator.upper() not in (b"+OK", b"-ERR"):
        raise BadReply("the server does not speak POP3", line)
    return indicator.upper() == b"+OK", line


def _capabilities() -> Generator[Step, bytes, list[bytes]]:
    """Wait for the list of capabilities, and return their names in upper case."""
    names: list[bytes] = []
    while (line := (yield LINE)) != b".":
        names.append(line.strip().upper())
    return names


def dialogue(parameters: Parameters) -> Dialogue:
    """Hold the dialogue: greeting, CAPA, STLS."""
    welcome, text = yield from _status()
    if not welcome:
        raise Refused("the server refused the connection", text)
    yield Send(b"CAPA\r\n")
    # A server without CAPA (RFC 2449) may know STLS (RFC 2595), so STLS is sent.
    listed, _ = yield from _status()
    if listed and b"STLS" not in (yield from _capabilities()):
        raise NotOffered("the server does not offer STLS")
    yield Send(b"STLS\r\n")
    agreed, text = yield from _status()
    if not agreed:
        raise Refused("the server refused STLS", text)


def greeting(host: str) -> bytes:
    """
    Return the greeting for which a client waits (RFC 1939, 4).

    It has no timestamp, so that the client does not try APOP.
    """
    return b"+OK ready\r\n"


DIALECTS = (Dialect("pop3", 110, "RFC 2595", dialogue, greeting),)

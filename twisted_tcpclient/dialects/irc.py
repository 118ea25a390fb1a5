"""
STARTTLS in IRC: the ``tls`` extension of IRCv3.

IRCv3 deprecates it in favour of TLS from the first byte (RFC 7194).
"""

from __future__ import annotations

import re

from twisted_tcpclient.dialects import Dialect, Parameters
from twisted_tcpclient.dialogue import (
    LINE,
    BadReply,
    Dialogue,
    NotOffered,
    Refused,
    Send,
)

#: RPL_STARTTLS.
_AGREED = b"670"
#: ERR_UNKNOWNCOMMAND and ERR_NOTREGISTERED, of servers that do not know STARTTLS.
_UNKNOWN = (b"421", b"451")
#: ERR_STARTTLS, and the message before a server closes the connection.
_REFUSED = (b"691", b"ERROR")
#: Messages that a server may send before it has read STARTTLS, among them numerics
#: such as 439, by which some networks make a client wait.
_SKIPPED = re.compile(rb"NOTICE|PING|[0-9]{3}")


def _command_of(line: bytes) -> bytes:
    """Return the command or numeric of a message (RFC 1459, 2.3.1), in upper case."""
    words = line.upper().split()
    if words and words[0].startswith(b":"):
        del words[0]
    return words[0] if words else b""


def dialogue(parameters: Parameters) -> Dialogue:
    """Hold the dialogue: STARTTLS, before NICK and USER."""
    yield Send(b"STARTTLS\r\n")
    while (command := _command_of(line := (yield LINE))) != _AGREED:
        if command in _UNKNOWN:
            raise NotOffered("the server does not know STARTTLS", line)
        if command in _REFUSED:
            raise Refused("the server refused STARTTLS", line)
        if not _SKIPPED.fullmatch(command):
            raise BadReply("the server does not speak IRC", line)


# No greeting: a client sends NICK and USER first (RFC 1459, 4.1).
DIALECTS = (Dialect("irc", 6667, "IRCv3 tls", dialogue),)

"""
STARTTLS in IRC: the ``tls`` extension of IRCv3, deprecated in favour of TLS from
the first byte (RFC 7194).
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

_AGREED = b"670"
#: Unknown command, and "register first", from servers that know no STARTTLS.
_UNKNOWN = (b"421", b"451")
#: STARTTLS has failed, and the server ends the connection.
_REFUSED = (b"691", b"ERROR")
#: What a server may send before it has read STARTTLS.  Numerics that do not answer
#: STARTTLS are among it, such as 439, by which networks make a client wait.
_PASSED_OVER = re.compile(rb"NOTICE|PING|[0-9]{3}")


def _command(line: bytes) -> bytes:
    """The command or number of a message (RFC 1459, 2.3.1), in upper case."""
    words = line.upper().split()
    if words and words[0].startswith(b":"):
        del words[0]
    return words[0] if words else b""


def dialogue(parameters: Parameters) -> Dialogue:
    """STARTTLS, before anything else is said."""
    yield Send(b"STARTTLS\r\n")
    while (command := _command(line := (yield LINE))) != _AGREED:
        if command in _UNKNOWN:
            raise NotOffered("the server does not know STARTTLS", line)
        if command in _REFUSED:
            raise Refused("the server refused STARTTLS", line)
        if not _PASSED_OVER.fullmatch(command):
            raise BadReply("the server does not speak IRC", line)


# A server says nothing that a client would wait for before NICK and USER.
DIALECTS = (Dialect("irc", 6667, "IRCv3 tls", dialogue),)

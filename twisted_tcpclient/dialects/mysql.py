"""
TLS in MySQL and MariaDB: "Protocol::SSLRequest" in their documentation.

There is no answer to the request, only TLS.  What the client says in TLS has to
have the capability flags said here, and the packet number 2.
"""

from __future__ import annotations

import re
from collections.abc import Generator

from twisted_tcpclient.dialects import Dialect, Parameters
from twisted_tcpclient.dialogue import (
    BadReply,
    Bytes,
    Dialogue,
    NotOffered,
    Refused,
    Send,
    Step,
)

PROTOCOL_41 = 0x200
SSL = 0x800
SECURE_CONNECTION = 0x8000
PLUGIN_AUTH = 0x80000

CAPABILITIES = PROTOCOL_41 | SSL | SECURE_CONNECTION | PLUGIN_AUTH
LARGEST_PACKET = 1 << 24
UTF8MB4 = 45

#: The longest greeting to wait for; those of real servers are of 80 to 120 bytes.
_LONGEST = 1024

#: An error: its code, a SQLSTATE if the server assumes a client of version 4.1, and
#: its text.
_ERROR = re.compile(
    rb"\xff(?P<code>.{0,2})(?:#(?P<state>[0-9A-Z]{5}))?(?P<text>.*)", re.DOTALL
)


def _greeting() -> Generator[Step, bytes, bytes]:
    """
    Wait for the first packet, and return it if it is a greeting.

    :raises Refused: if it is an error ("ERR_Packet"), which some servers give the
        packet number 1.
    """
    head = yield Bytes(4)
    length, number = int.from_bytes(head[:3], "little"), head[3]
    if number > 1 or not 0 < length <= _LONGEST:
        raise BadReply("the server does not speak MySQL", head)
    packet = yield Bytes(length)
    if error := _ERROR.fullmatch(packet):
        raise Refused("the server refused the connection", _told(error))
    if number != 0:
        raise BadReply("the server does not speak MySQL", head + packet)
    return packet


def _told(error: re.Match[bytes]) -> bytes:
    """Return the code, the SQLSTATE if there is one, and the text of an error."""
    code = b"%d" % int.from_bytes(error["code"], "little")
    state = b" (%b)" % error["state"] if error["state"] else b""
    return code + state + b" " + error["text"]


def _capabilities(packet: bytes) -> int:
    """
    The lower half of the capability flags ("Protocol::HandshakeV10").

    They stand after the version, the thread id, eight bytes of a challenge, and
    a zero.
    """
    _, end, rest = packet[1:].partition(b"\0")
    if not packet.startswith(b"\x0a") or not end or len(rest) < 15:
        raise BadReply("the server does not speak MySQL", packet)
    return int.from_bytes(rest[13:15], "little")


def dialogue(parameters: Parameters) -> Dialogue:
    """Greeting, SSLRequest."""
    packet = yield from _greeting()
    if not _capabilities(packet) & SSL:
        # Whoever goes on here gives passwords away (CVE-2015-3152).
        raise NotOffered("the server does not offer TLS")
    request = (
        CAPABILITIES.to_bytes(4, "little")
        + LARGEST_PACKET.to_bytes(4, "little")
        + bytes([UTF8MB4])
        + bytes(23)
    )
    yield Send(len(request).to_bytes(3, "little") + b"\x01" + request)


# The greeting holds a challenge: one that is made up would be of no use.
DIALECTS = (Dialect("mysql", 3306, "MySQL", dialogue),)

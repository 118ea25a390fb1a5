"""
TLS in MySQL and MariaDB: "Protocol::SSLRequest" in their documentation.

There is no answer to the request, only TLS.  What the client says in TLS has to
have the capability flags said here, and the packet number 2.
"""

from __future__ import annotations

from collections.abc import Generator

from twisted_tcpclient.dialects import (
    Bytes,
    Dialect,
    Dialogue,
    Parameters,
    Send,
    Step,
)
from twisted_tcpclient.errors import BadReply, NotOffered, Refused

PROTOCOL_41 = 0x200
SSL = 0x800
SECURE_CONNECTION = 0x8000
PLUGIN_AUTH = 0x80000

CAPABILITIES = PROTOCOL_41 | SSL | SECURE_CONNECTION | PLUGIN_AUTH
LARGEST_PACKET = 1 << 24
UTF8MB4 = 45

#: The longest greeting to wait for; those of real servers are of 80 to 120 bytes.
_LONGEST = 1024


def _greeting() -> Generator[Step, bytes, bytes]:
    """Wait for the first packet."""
    head = yield Bytes(4)
    length, number = int.from_bytes(head[:3], "little"), head[3]
    if number != 0 or not 0 < length <= _LONGEST:
        raise BadReply("the server does not speak MySQL", head)
    return (yield Bytes(length))


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
    if packet.startswith(b"\xff"):
        raise Refused("the server refused the connection", packet[3:])
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

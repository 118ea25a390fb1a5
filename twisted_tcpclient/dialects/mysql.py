"""
TLS in MySQL and MariaDB: "Protocol::SSLRequest" in their documentation.

The server does not answer the request: the client's next bytes are the ClientHello.
The first packet of the client inside TLS has to repeat the capability flags of the
request, and has the packet number 2.
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

#: The longest greeting that is accepted, in bytes; servers send 80 to 120.
_LONGEST = 1024

#: An error ("ERR_Packet"): its code, a SQLSTATE from servers of version 4.1 or later,
#: and its text.
_ERROR = re.compile(
    rb"\xff(?P<code>.{0,2})(?:#(?P<state>[0-9A-Z]{5}))?(?P<text>.*)", re.DOTALL
)


def _handshake() -> Generator[Step, bytes, bytes]:
    """
    Wait for the first packet ("Protocol::HandshakeV10"), and return it.

    :raises Refused: if it is an error; some servers give it the packet number 1.
    :raises BadReply: if it is another packet.
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


def _flags(packet: bytes) -> int:
    """
    Return the lower half of the capability flags of a first packet.

    The flags follow the version, the thread ID, eight bytes of a challenge and a zero.

    :raises BadReply: if the packet has another form.
    """
    _, end, rest = packet[1:].partition(b"\0")
    if not packet.startswith(b"\x0a") or not end or len(rest) < 15:
        raise BadReply("the server does not speak MySQL", packet)
    return int.from_bytes(rest[13:15], "little")


def dialogue(parameters: Parameters) -> Dialogue:
    """Hold the dialogue: greeting, SSLRequest."""
    packet = yield from _handshake()
    if not _flags(packet) & SSL:
        # Clients that went on in clear sent passwords to attackers (CVE-2015-3152).
        raise NotOffered("the server does not offer TLS")
    request = (
        CAPABILITIES.to_bytes(4, "little")
        + LARGEST_PACKET.to_bytes(4, "little")
        + bytes([UTF8MB4])
        + bytes(23)
    )
    yield Send(len(request).to_bytes(3, "little") + b"\x01" + request)


# No greeting can be made up: the server's greeting has the challenge for the password.
DIALECTS = (Dialect("mysql", 3306, "MySQL", dialogue),)

"""
SSLRequest in PostgreSQL: "SSL Session Encryption" in its documentation.

The answer to the request is one byte.
"""

from __future__ import annotations

from twisted_tcpclient.dialects import Dialect, Parameters
from twisted_tcpclient.dialogue import (
    BadReply,
    Bytes,
    Dialogue,
    NotOffered,
    Refused,
    Send,
)

#: The length of the request, and a number in place of the protocol version.
_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


def dialogue(parameters: Parameters) -> Dialogue:
    """Hold the dialogue: SSLRequest, and the answer S (agreed) or N (refused)."""
    yield Send(_REQUEST)
    answer = yield Bytes(1)
    if answer == b"N":
        raise Refused("the server is not willing to use TLS", answer)
    if answer == b"E":
        # The error message that follows came in clear, so it is not read
        # (CVE-2024-10977).
        raise NotOffered("the server does not know of TLS", answer)
    if answer != b"S":
        raise BadReply("the server does not speak PostgreSQL", answer)


DIALECTS = (Dialect("postgres", 5432, "PostgreSQL", dialogue),)

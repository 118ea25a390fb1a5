"""
SSLRequest in PostgreSQL: its documentation, "Message Flow", "SSL Session
Encryption".  The answer is one byte.
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

#: Its own length, and a number that is no version.
_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


def dialogue(parameters: Parameters) -> Dialogue:
    """SSLRequest; S, or N."""
    yield Send(_REQUEST)
    answer = yield Bytes(1)
    if answer == b"N":
        raise Refused("the server is not willing to use TLS", answer)
    if answer == b"E":
        # An error message follows, which anyone may have written: it is not
        # even read (CVE-2024-10977).
        raise NotOffered("the server does not know of TLS", answer)
    if answer != b"S":
        raise BadReply("the server does not speak PostgreSQL", answer)


DIALECTS = (Dialect("postgres", 5432, "PostgreSQL", dialogue),)

"""
Certificates whose DER was changed in ways that no library would sign.

The signatures do not fit any more.  A client that does not verify ignores that; another
one notices it only after it has parsed the certificate.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.certificates import der

#: The fields of a TBSCertificate (RFC 5280, 4.1) that these certificates have.
FIELDS = (
    "version",
    "serial",
    "algorithm",
    "issuer",
    "validity",
    "subject",
    "key",
    "extensions",
)


def elements(content: bytes) -> list[bytes]:
    """Return the elements in the content of another."""
    result = []
    while content:
        length = content[1]
        start = 2
        if length > 0x80:
            start += length & 0x7F
            length = int.from_bytes(content[2:start], "big")
        result.append(content[: start + length])
        content = content[start + length :]
    return result


def content(whole: bytes) -> bytes:
    """Return the content of an element."""
    return whole[2 + (whole[1] & 0x7F if whole[1] > 0x80 else 0) :]


def rewritten(certificate: x509.Certificate, **fields: bytes) -> bytes:
    """Return a certificate in DER with other elements instead of its own."""
    tbs, *rest = elements(content(certificate.public_bytes(Encoding.DER)))
    parts = elements(content(tbs))
    for name, replacement in fields.items():
        parts[FIELDS.index(name)] = replacement
    return _sequence(_sequence(*parts), *rest)


def name(attributes: Sequence[tuple[bytes, int, bytes]]) -> bytes:
    """Return a Name (RFC 5280, 4.1.2.4) of attributes: OID, tag and text."""
    return _sequence(
        *(
            der(0x31, _sequence(der(6, oid), der(tag, text)))
            for oid, tag, text in attributes
        )
    )


def _sequence(*contents: bytes) -> bytes:
    return der(0x30, b"".join(contents))

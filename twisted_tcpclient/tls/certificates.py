"""
The subject of a certificate as text, and the check that a certificate is well-formed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from warnings import catch_warnings, simplefilter

from OpenSSL import crypto

from twisted_tcpclient.text import printable

#: Shown instead of a subject that cannot be read.
UNREADABLE = "(unreadable)"

#: The longest subject that is shown, or given to prog, in characters.
_SHOWN = 1024


@contextmanager
def unwarned() -> Iterator[None]:
    """
    Suppress the warnings of cryptography about malformed certificates.

    Python writes warnings to stderr, where a server must not be able to write.
    """
    with catch_warnings():
        simplefilter("ignore")
        yield


@unwarned()
def subject(certificate: crypto.X509) -> str:
    """Return the subject of a certificate (RFC 4514) in printable ASCII."""
    try:
        name = certificate.to_cryptography().subject.rfc4514_string()
    except Exception:
        # cryptography raises errors of many types for certificates that it cannot read.
        return UNREADABLE
    return printable(name[:_SHOWN])


def malformed(certificate: crypto.X509) -> bool:
    """
    Return whether cryptography cannot read a certificate or one of its extensions.

    OpenSSL reads only the extensions that it needs.
    """
    try:
        list(certificate.to_cryptography().extensions)
    except Exception:
        return True
    return False

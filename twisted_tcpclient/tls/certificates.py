"""
What a certificate says, as far as it can be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from warnings import catch_warnings, simplefilter

from OpenSSL import crypto

from twisted_tcpclient.text import printable

#: Instead of a subject.
UNREADABLE = "(unreadable)"

#: How much of a subject is shown, and told to prog, in characters.
_SHOWN = 1024


@contextmanager
def unwarned() -> Iterator[None]:
    """
    What cryptography finds odd in a certificate is for whoever makes one; on
    stderr it would only help whoever wants to be seen there.
    """
    with catch_warnings():
        simplefilter("ignore")
        yield


@unwarned()
def subject(certificate: crypto.X509) -> str:
    """The subject as RFC 4514 writes it, in printable ASCII."""
    try:
        name = certificate.to_cryptography().subject.rfc4514_string()
    except Exception:
        # There is no end to what may be wrong with one, nor to the types of
        # error that cryptography has for it.
        return UNREADABLE
    return printable(name[:_SHOWN])


def malformed(certificate: crypto.X509) -> bool:
    """Whether a certificate makes no sense; OpenSSL reads only what it needs."""
    try:
        list(certificate.to_cryptography().extensions)
    except Exception:
        return True
    return False

"""
The words and the errors for failures of TLS.
"""

from __future__ import annotations

from collections.abc import Sequence

from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, ServiceID
from twisted.python.failure import Failure

from twisted_tcpclient.errors import (
    NO_CERTIFICATE,
    ConnectionBroken,
    HandshakeFailed,
    NameMismatch,
    TLSFailed,
    VerificationFailed,
)
from twisted_tcpclient.text import printable
from twisted_tcpclient.tls.certificates import UNREADABLE, malformed, subject

_CODES = SSL.X509VerificationCodes


_UNKNOWN_CA = "unknown CA, or an intermediate certificate is missing"
_MALFORMED = "it is malformed"
_NOT_ITS_NAME = "its CA may not certify that name"

#: Words for X509_V_ERR numbers, by default from pyOpenSSL's names for them.
_REASONS = {
    code: name.removeprefix("ERR_").lower().replace("_", " ")
    for name, code in vars(_CODES).items()
    if name.startswith("ERR_")
} | {
    _CODES.ERR_CERT_HAS_EXPIRED: "certificate has expired",
    _CODES.ERR_CERT_NOT_YET_VALID: "certificate is not yet valid",
    _CODES.ERR_CERT_REVOKED: "certificate is revoked",
    _CODES.ERR_CRL_HAS_EXPIRED: "the certificate revocation list has expired",
    _CODES.ERR_CRL_NOT_YET_VALID: "the certificate revocation list is not yet valid",
    _CODES.ERR_UNABLE_TO_GET_CRL: "no certificate revocation list of its issuer",
    _CODES.ERR_DEPTH_ZERO_SELF_SIGNED_CERT: "self-signed certificate",
    _CODES.ERR_SELF_SIGNED_CERT_IN_CHAIN: "unknown CA (self-signed)",
    _CODES.ERR_UNABLE_TO_GET_ISSUER_CERT: "the CA that has issued it is not trusted",
    _CODES.ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY: _UNKNOWN_CA,
    _CODES.ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE: _UNKNOWN_CA,
    _CODES.ERR_CERT_SIGNATURE_FAILURE: "its signature is wrong",
    _CODES.ERR_CRL_SIGNATURE_FAILURE: (
        "the signature of the certificate revocation list is wrong"
    ),
    _CODES.ERR_KEYUSAGE_NO_CRL_SIGN: "its CA may not sign revocation lists",
    _CODES.ERR_INVALID_PURPOSE: "it is not for servers to use",
    _CODES.ERR_INVALID_CA: "it is not the certificate of a CA",
    _CODES.ERR_CERT_CHAIN_TOO_LONG: "the chain is too long",
    _CODES.ERR_PATH_LENGTH_EXCEEDED: "the chain below it is longer than it allows",
    _CODES.ERR_PERMITTED_VIOLATION: _NOT_ITS_NAME,
    _CODES.ERR_EXCLUDED_VIOLATION: _NOT_ITS_NAME,
    _CODES.ERR_UNSUPPORTED_NAME_SYNTAX: _NOT_ITS_NAME,
    _CODES.ERR_UNHANDLED_CRITICAL_EXTENSION: "it has an unknown critical extension",
    _CODES.ERR_INVALID_EXTENSION: _MALFORMED,
    _CODES.ERR_ERROR_IN_CERT_NOT_BEFORE_FIELD: _MALFORMED,
    _CODES.ERR_ERROR_IN_CERT_NOT_AFTER_FIELD: _MALFORMED,
    # pyOpenSSL has no names for these.
    66: "its key is too weak",
    67: "the key of a CA is too weak",
    68: "its signature is too weak",
}


_NO_TLS = ": the server does not speak TLS here"
_HINTS = {
    "wrong version number": _NO_TLS,
    "packet length too long": _NO_TLS,
    "unsupported protocol": ": no common TLS version",
}

#: The longest text from a certificate that is shown in an error, in characters.
_NAMED = 200


def tls_reason(error: BaseException | None) -> str:
    """
    Return why TLS has failed, in a few words.

    :param error: of OpenSSL, or of the connection below TLS.
    """
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list):
        reasons = [entry[-1] for entry in error.args[0] if entry[-1]]
        if reasons:
            # OpenSSL queues the cause first, and its consequences after it.
            telling = [reason for reason in reasons if reason in _HINTS]
            reason = (telling or reasons)[-1]
            return printable(reason) + _HINTS.get(reason, "")
    if isinstance(error, (SSL.Error, SSL.SysCallError)):
        return "the connection was closed"
    words = str(error).rstrip(".")
    return printable(words.partition(": ")[2] or words).lower()


def broken(error: BaseException | None) -> ConnectionBroken:
    """Return the error for a session that has failed."""
    return ConnectionBroken(f"TLS failed: {tls_reason(error)}")


def handshake_failed(reason: Failure, asked: bool = False) -> HandshakeFailed:
    """
    Return the error for a handshake that failed, but not because of the certificate.

    :param asked: whether the server asked for a client certificate that it did not
        get.
    """
    told = tls_reason(reason.value)
    if asked:
        told += f": {NO_CERTIFICATE}"
    return HandshakeFailed(f"TLS handshake failed: {told}")


def verification_failed(
    certificate: crypto.X509, code: int, depth: int
) -> VerificationFailed:
    """
    Return the error for a fault of a certificate.

    :param code: OpenSSL's X509_V_ERR number of the fault.
    :param depth: 0 for the server's own certificate.
    """
    reason = _REASONS.get(code, f"verification error {code}")
    if reason == _UNKNOWN_CA and malformed(certificate):
        # OpenSSL finds no issuer for a certificate that it cannot read.
        reason = _MALFORMED
    name = subject(certificate)
    whose = name if name == UNREADABLE else f"({shortened(name)})"
    return VerificationFailed(
        f"certificate verification failed: {reason} {whose}", code, depth, reason
    )


def explain_handshake(reason: Failure) -> TLSFailed:
    """
    Return the error for a failed handshake of a creator of another package.

    Twisted's creator raises the errors of service_identity for a wrong name.  For a bad
    chain OpenSSL reports only "certificate verify failed".
    """
    error = reason.value
    if isinstance(error, VerificationError):
        wanted = [printable(_wanted(each.mismatched_id)) for each in error.errors]
        return NameMismatch(f"the certificate is not for {', '.join(wanted)}")
    if isinstance(error, CertificateError):
        return VerificationFailed(f"the certificate is not valid: {error}")
    if tls_reason(error) == "certificate verify failed":
        return VerificationFailed(
            "certificate verification failed: unknown CA, or a certificate that is"
            " not valid"
        )
    return handshake_failed(reason)


def _wanted(identity: ServiceID) -> str:
    """Return the name or the address in a reference identity."""
    if isinstance(identity, DNS_ID):
        return identity.hostname.decode("ascii")
    return str(getattr(identity, "ip", identity))


def shortened(text: str) -> str:
    """Return the text, cut if it is too long for an error."""
    return text if len(text) <= _NAMED else f"{text[:_NAMED]}..."


def listed(names: Sequence[object]) -> str:
    """Return some of the names in a certificate, in printable ASCII."""
    known = ", ".join(printable(str(name)) for name in names[:8])
    return shortened(known) or "no name at all"

"""
The verdict on a server's certificate.

OpenSSL calls :class:`Judge` during the handshake.  A refusal there stops the handshake
before the client certificate is sent, for a wrong name as for a wrong chain.

No exception may leave a callback: pyOpenSSL raises it again in do_handshake(), where
Twisted handles SSL.Error alone.  So the judge stores the error in a :class:`Verdict`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from OpenSSL import SSL, crypto

from twisted_tcpclient.errors import NameMismatch, VerificationFailed
from twisted_tcpclient.settings import TLSSettings
from twisted_tcpclient.text import printable
from twisted_tcpclient.tls.certificates import malformed, subject, unwarned
from twisted_tcpclient.tls.identity import (
    Identity,
    Name,
    alternatives,
    has_common_name,
    has_name,
    is_wildcard,
    may_certify,
)
from twisted_tcpclient.tls.reasons import listed, shortened, verification_failed

_CODES = SSL.X509VerificationCodes

#: OpenSSL's name for the state in which it has read a CertificateRequest.
_REQUESTED = b"SSLv3/TLS read server certificate request"

#: An entry as in OpenSSL's error queue: library, function and reason.
_CLOSED = ("SSL routines", "", "closed by the server")


@dataclass
class Verdict:
    """
    The results of OpenSSL's callbacks for one connection.

    :ivar issuers: the certificates of CAs that OpenSSL has accepted, the root first.
    :ivar accepted: whether the server's own certificate was accepted, name included.
    :ivar asked: whether the server has asked for a client certificate.
    :ivar error: why a certificate was refused; None if none was.
    """

    issuers: list[crypto.X509] = field(default_factory=list)
    accepted: bool = False
    asked: bool = False
    error: VerificationFailed | None = None


class JudgedConnection(SSL.Connection):
    """
    OpenSSL's end of a connection, without a socket.

    :ivar verdict: the verdict on the server's certificate.
    """

    def __init__(self, context: SSL.Context) -> None:
        """:param context: whose callbacks are those of a :class:`Judge`."""
        super().__init__(context, None)
        self.verdict = Verdict()

    def do_handshake(self) -> None:
        """
        Continue the handshake.

        :raises SSL.Error: always with a reason, because Twisted reads the first one.
            pyOpenSSL gives no reason for a close_notify, which an attacker can send in
            clear, and none for a failure that follows another error.
        """
        try:
            super().do_handshake()
        except SSL.Error as error:
            if isinstance(error, SSL.ZeroReturnError) or error.args == ([],):
                raise SSL.Error([_CLOSED]) from None
            raise


class Judge:
    """The callbacks of an OpenSSL context: they fill in the verdicts."""

    def __init__(self, settings: TLSSettings, identity: Identity | None) -> None:
        """
        :param settings: whether the common name counts, and the name for messages.
        :param identity: the reference identity; None to check the chain alone.
        """
        self._settings = settings
        self._identity = identity

    def note_request(self, connection: JudgedConnection, where: int, _: int) -> None:
        """Note that the server asks for a certificate (SSL_CTX_set_info_callback)."""
        if where & SSL.SSL_CB_LOOP and connection.get_state_string() == _REQUESTED:
            connection.verdict.asked = True

    @unwarned()
    def verify(
        self,
        connection: JudgedConnection,
        certificate: crypto.X509,
        code: int,
        depth: int,
        ok: int,
    ) -> bool:
        """
        Return whether to continue with the chain (SSL_CTX_set_verify).

        OpenSSL calls this for each fault that it finds, and then for each certificate
        from the root down to the server's own.

        :param code: X509_V_ERR of the fault.
        :param depth: 0 for the server's own certificate.
        :param ok: 0 for a fault.
        """
        verdict = connection.verdict
        try:
            if ok:
                self._check_certificate(certificate, depth, verdict)
            elif not _is_tolerable(code, depth):
                verdict.error = verification_failed(certificate, code, depth)
        except VerificationFailed as error:
            verdict.error = error
        except Exception:
            # cryptography has errors of many types for extensions that it cannot read.
            code = _CODES.ERR_INVALID_EXTENSION
            verdict.error = verification_failed(certificate, code, depth)
        return verdict.error is None

    def _check_certificate(
        self, certificate: crypto.X509, depth: int, verdict: Verdict
    ) -> None:
        """
        Check a certificate in which OpenSSL has found no fault.

        :raises VerificationFailed: if it is malformed, or for another name.
        """
        if depth > 0:
            verdict.issuers.append(certificate)
            return
        if malformed(certificate):
            raise verification_failed(certificate, _CODES.ERR_INVALID_EXTENSION, 0)
        if self._identity is not None:
            self._check_name(certificate, self._identity, verdict.issuers)
        verdict.accepted = True

    def _check_name(
        self, certificate: crypto.X509, identity: Identity, issuers: list[crypto.X509]
    ) -> None:
        """
        Compare a certificate with the reference identity (RFC 9525).

        :raises NameMismatch: if it is for another name.
        :raises VerificationFailed: if one of its CAs may not certify the name.
        """
        names = alternatives(certificate.to_cryptography())
        if has_name([name for name in names if not is_wildcard(name)], identity):
            return
        self._check_others(certificate, names, identity)
        # OpenSSL compares the names in a certificate with the name constraints of its
        # CAs, but not the names that a wildcard stands for, nor a common name that
        # does not look like a host name.
        for issuer in issuers:
            if not may_certify(issuer.to_cryptography(), identity):
                raise verification_failed(certificate, _CODES.ERR_EXCLUDED_VIOLATION, 0)

    def _check_others(
        self, certificate: crypto.X509, names: list[Name], identity: Identity
    ) -> None:
        """
        Compare all names in a certificate, or its common name if that counts.

        :raises NameMismatch: if none of them matches the identity.
        """
        if self._settings.common_name and not names:
            found = has_common_name(certificate.to_cryptography(), identity)
            shown = shortened(subject(certificate))
        else:
            found, shown = has_name(names, identity), listed(names)
        if not found:
            wanted = printable(self._settings.name or "")
            raise NameMismatch(f"the certificate is not for {wanted} but for {shown}")


def _is_tolerable(code: int, depth: int) -> bool:
    """
    Return whether to tolerate a fault: the missing CRL for the certificate of a CA.

    The user has to give the CRL of the CA that issued the server's certificate.  The
    CRLs of the CAs above that one are checked if they are given.
    """
    return depth > 0 and code == _CODES.ERR_UNABLE_TO_GET_CRL

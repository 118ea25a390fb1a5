"""
TLS: connections that prove who they reach.

Only here OpenSSL is imported.  Certificates are judged in OpenSSL's
verification callback, where a wrong name stops the handshake just as a wrong
chain does: before our own certificate is sent.  No exception may leave such a
callback, so what was found is written down in a :class:`Verdict`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

from OpenSSL import SSL, crypto
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocolNegotiationFactory,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_tcpclient.errors import (
    NameMismatch,
    SettingsError,
    TLSFailed,
    VerificationFailed,
)
from twisted_tcpclient.facts import TLSFacts
from twisted_tcpclient.settings import TLSSettings
from twisted_tcpclient.text import printable
from twisted_tcpclient.tls.certificates import malformed, subject, unwarned
from twisted_tcpclient.tls.context import client_context
from twisted_tcpclient.tls.identity import (
    Identity,
    alternatives,
    has_common_name,
    is_wildcard,
    match,
    may_certify,
    reference,
    server_name,
)
from twisted_tcpclient.tls.reasons import (
    explain_handshake,
    handshake_failed,
    listed,
    shortened,
    verification_failed,
)
from twisted_tcpclient.tls.sessions import observe_session

_CODES = SSL.X509VerificationCodes

#: OpenSSL's name for the state in which it has read a CertificateRequest.
_ASKED = b"SSLv3/TLS read server certificate request"

#: An error as OpenSSL has them in its queue.
_CLOSED = ("SSL routines", "", "closed by the server")


@dataclass
class Verdict:
    """What OpenSSL's callbacks found out about one connection."""

    issuers: list[crypto.X509] = field(default_factory=list)
    judged: bool = False
    asked: bool = False
    error: VerificationFailed | None = None


class _Connection(SSL.Connection):
    """OpenSSL's end of a connection."""

    def do_handshake(self) -> None:
        """
        Go on with the handshake.

        An error has a reason here, as Twisted looks for one.  OpenSSL gives none
        for a close_notify, which anyone can send in clear, nor for what comes
        after another error.
        """
        try:
            super().do_handshake()
        except SSL.Error as error:
            if isinstance(error, SSL.ZeroReturnError) or error.args == ([],):
                raise SSL.Error([_CLOSED]) from None
            raise


@implementer(IOpenSSLClientConnectionCreator)
class ConnectionCreator:
    """
    Makes TLS connections that verify as the settings say.

    :ivar name: the name that the server's certificate has to have, or "".
    """

    def __init__(self, settings: TLSSettings) -> None:
        """
        Read all files.

        :param settings: what to verify, and how; the same for each connection.
        :raises SettingsError: if a file cannot be used, or no cipher is left.
        """
        self._settings = settings
        self.name = settings.name or ""
        try:
            self._identity = (
                reference(settings.name) if settings.name is not None else None
            )
            self._server_name = (
                server_name(settings.server_name) if settings.server_name else None
            )
        except ValueError:
            name = printable(settings.name or "")
            raise SettingsError(f"no certificate can have the name {name!r}") from None
        # A connection's own app data is taken by Twisted.
        self._verdicts: WeakKeyDictionary[SSL.Connection, Verdict] = WeakKeyDictionary()
        self._context = client_context(settings, self._judge, self._observe)

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        """
        A connection of our own, with the name of the server in its hello.

        See :class:`twisted.internet.interfaces.IOpenSSLClientConnectionCreator`.

        :param tlsProtocol: asked for the protocols that its factory knows (ALPN).
        """
        connection = _Connection(self._context, None)
        self._verdicts[connection] = Verdict()
        if self._server_name is not None:
            connection.set_tlsext_host_name(self._server_name)
        protocols = _protocols(tlsProtocol)
        if protocols:
            connection.set_alpn_protos(protocols)
        return connection

    def accept(self, connection: SSL.Connection) -> None:
        """
        Hold a finished handshake against the settings once more.

        :raises VerificationFailed: if no certificate was ever judged, as when an
            anonymous cipher was allowed.
        """
        if self._settings.verify and not self._verdicts[connection].judged:
            raise VerificationFailed("the server has shown no certificate")

    def explain(self, connection: SSL.Connection, reason: Failure) -> TLSFailed:
        """Why the handshake failed, in our words."""
        verdict = self._verdicts[connection]
        return verdict.error or handshake_failed(reason, verdict.asked)

    def lacks_certificate(self, connection: SSL.Connection) -> bool:
        """
        Return whether the server asked for a client certificate that it did not get.

        True only where the settings name no certificate.  A server that insists on
        one refuses in the handshake (TLS 1.2, RFC 5246, 7.4.6), or afterwards, when
        the handshake has succeeded on this side (TLS 1.3, RFC 8446, 4.4.2.4).
        """
        return self._verdicts[connection].asked

    def observe(self, connection: SSL.Connection) -> TLSFacts:
        """What is known of an established session, and of what we had offered."""
        offered = self._settings.maximum.replace("_", ".")
        return replace(observe_session(connection), offered=offered)

    def _observe(self, connection: SSL.Connection, where: int, result: int) -> None:
        """OpenSSL's information callback: nothing may be raised from here."""
        if where & SSL.SSL_CB_LOOP and connection.get_state_string() == _ASKED:
            self._verdicts[connection].asked = True

    @unwarned()
    def _judge(
        self, connection: SSL.Connection, x: crypto.X509, code: int, depth: int, ok: int
    ) -> bool:
        """OpenSSL's verification callback: nothing may be raised from here."""
        verdict = self._verdicts[connection]
        if not ok and depth > 0 and code == _CODES.ERR_UNABLE_TO_GET_CRL:
            # Whoever gives a CRL gives that of the CA they care for; a list of
            # every CA above it is honoured where there is one, not demanded.
            return True
        try:
            if not ok:
                raise verification_failed(x, code, depth)
            if depth > 0:
                verdict.issuers.append(x)
            else:
                if malformed(x):
                    raise verification_failed(x, _CODES.ERR_INVALID_EXTENSION, depth)
                if self._identity is not None:
                    self._check_name(x, self._identity, verdict.issuers)
                verdict.judged = True
        except VerificationFailed as error:
            verdict.error = verdict.error or error
            return False
        except Exception:
            verdict.error = verification_failed(x, _CODES.ERR_INVALID_EXTENSION, depth)
            return False
        return True

    def _check_name(
        self, x: crypto.X509, identity: Identity, issuers: list[crypto.X509]
    ) -> None:
        """
        Compare the certificate with the reference identity (RFC 9525).

        :raises NameMismatch: if it is for someone else.
        :raises VerificationFailed: if its CA may not say that it is for this one.
        """
        certificate = x.to_cryptography()
        names = alternatives(certificate)
        if match([name for name in names if not is_wildcard(name)], identity):
            return
        if self._settings.common_name and not names:
            found = has_common_name(certificate, identity)
            shown = shortened(subject(x))
        else:
            found, shown = match(names, identity), listed(names)
        if not found:
            raise NameMismatch(
                f"the certificate is not for {printable(self.name)} but for {shown}"
            )
        # OpenSSL holds the names in the certificate against the name constraints of
        # its CAs.  A wildcard stands for others, and a CN need not look like a name.
        for issuer in issuers:
            if not may_certify(issuer.to_cryptography(), identity):
                raise verification_failed(x, _CODES.ERR_EXCLUDED_VIOLATION, 0)


def _protocols(tls: object) -> list[bytes]:
    """What the factory above TLS wants to be offered to the server."""
    factory = getattr(getattr(tls, "factory", None), "wrappedFactory", None)
    if not IProtocolNegotiationFactory.providedBy(factory):
        return []
    return list(factory.acceptableProtocols())


@implementer(IOpenSSLClientConnectionCreator)
class BorrowedCreator:
    """
    Somebody else's TLS connections, with our words for how they fail.

    What they verify is their own affair: see
    :func:`twisted.internet.ssl.optionsForClientTLS`.
    """

    name = ""

    def __init__(self, creator: IOpenSSLClientConnectionCreator) -> None:
        self._creator = creator

    def clientConnectionForTLS(
        self, tlsProtocol: TLSMemoryBIOProtocol
    ) -> SSL.Connection:
        """As the other makes it."""
        return self._creator.clientConnectionForTLS(tlsProtocol)

    def accept(self, connection: SSL.Connection) -> None:
        """There is nothing to add to what the other has verified."""

    def lacks_certificate(self, connection: SSL.Connection) -> bool:
        """Return False: another creator does not tell what the server asked for."""
        return False

    def observe(self, connection: SSL.Connection) -> TLSFacts:
        """Return the facts of an established session."""
        return observe_session(connection)

    def explain(self, connection: SSL.Connection, reason: Failure) -> TLSFailed:
        """Why the handshake failed, as far as the other has told."""
        return explain_handshake(reason)


Creator = ConnectionCreator | BorrowedCreator


def judging(creator: IOpenSSLClientConnectionCreator) -> Creator:
    """A creator that can explain itself: ours, or that of somebody else."""
    if isinstance(creator, ConnectionCreator):
        return creator
    return BorrowedCreator(creator)

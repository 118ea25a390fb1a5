"""
The creators of TLS connections: this package's, and a wrapper for those of others.
"""

from __future__ import annotations

from dataclasses import replace

from OpenSSL import SSL
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocolNegotiationFactory,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_tcpclient.errors import SettingsError, TLSFailed, VerificationFailed
from twisted_tcpclient.facts import TLSFacts
from twisted_tcpclient.settings import Host, TLSSettings
from twisted_tcpclient.text import printable
from twisted_tcpclient.tls.context import client_context
from twisted_tcpclient.tls.identity import identity_of
from twisted_tcpclient.tls.reasons import explain_handshake, handshake_failed
from twisted_tcpclient.tls.sessions import session_facts
from twisted_tcpclient.tls.verdict import Judge, JudgedConnection


@implementer(IOpenSSLClientConnectionCreator)
class ConnectionCreator:
    """
    A creator of TLS connections that verify the server as the settings say.

    :ivar name: the name that the server's certificate must have, as typed; "" if only
        the chain is verified.
    """

    def __init__(self, settings: TLSSettings) -> None:
        """
        Read all files that the settings name.

        :param settings: what to verify, and how; the same for each connection.
        :raises SettingsError: if a file cannot be used, or no cipher is left.
        """
        self._settings = settings
        self.name = settings.name or ""
        try:
            identity = identity_of(settings.name) if settings.name is not None else None
            self._server_name = (
                Host(settings.server_name).server_name if settings.server_name else None
            )
        except ValueError:
            name = printable(settings.name or "")
            raise SettingsError(f"no certificate can have the name {name!r}") from None
        judge = Judge(settings, identity)
        self._context = client_context(settings, judge.verify, judge.note_request)

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        """
        Make a connection whose ClientHello has the server's name (SNI).

        See :class:`twisted.internet.interfaces.IOpenSSLClientConnectionCreator`.

        :param tlsProtocol: the TLS protocol of the connection; its factory may name the
            protocols to offer (ALPN, RFC 7301).
        """
        connection = JudgedConnection(self._context)
        if self._server_name is not None:
            connection.set_tlsext_host_name(self._server_name.encode("ascii"))
        protocols = _acceptable_protocols(tlsProtocol)
        if protocols:
            connection.set_alpn_protos(protocols)
        return connection

    def accept(self, connection: JudgedConnection) -> None:
        """
        Check a finished handshake against the settings.

        :raises VerificationFailed: if no certificate was verified, as with an anonymous
            cipher suite.
        """
        if self._settings.verify and not connection.verdict.accepted:
            raise VerificationFailed("the server has shown no certificate")

    def explain(self, connection: JudgedConnection, reason: Failure) -> TLSFailed:
        """Return the error for a handshake that failed for that reason."""
        verdict = connection.verdict
        return verdict.error or handshake_failed(reason, verdict.asked)

    def lacks_certificate(self, connection: JudgedConnection) -> bool:
        """
        Return whether the server asked for a client certificate that it did not get.

        The result is False if the settings name a certificate.  A server that requires
        a certificate refuses during the handshake in TLS 1.2 (RFC 5246, 7.4.6).  In TLS
        1.3 it may refuse after the handshake has succeeded on this side (RFC 8446,
        4.4.2.4).
        """
        return connection.verdict.asked

    def session_facts(self, connection: SSL.Connection) -> TLSFacts:
        """Return the facts of a session, with the highest version that was offered."""
        offered = self._settings.maximum.replace("_", ".")
        return replace(session_facts(connection), offered=offered)


def _acceptable_protocols(tls: object) -> list[bytes]:
    """Return the protocols that the factory above TLS offers to the server (ALPN)."""
    factory = getattr(getattr(tls, "factory", None), "wrappedFactory", None)
    if not IProtocolNegotiationFactory.providedBy(factory):
        return []
    return list(factory.acceptableProtocols())


@implementer(IOpenSSLClientConnectionCreator)
class BorrowedCreator:
    """
    A creator of another package, such as Twisted's
    :func:`twisted.internet.ssl.optionsForClientTLS` makes.

    That creator decides what is verified.  This class turns its errors into those of
    :mod:`twisted_tcpclient.errors`.
    """

    name = ""

    def __init__(self, creator: IOpenSSLClientConnectionCreator) -> None:
        self._creator = creator

    def clientConnectionForTLS(
        self, tlsProtocol: TLSMemoryBIOProtocol
    ) -> SSL.Connection:
        """Make a connection by the borrowed creator."""
        return self._creator.clientConnectionForTLS(tlsProtocol)

    def accept(self, connection: SSL.Connection) -> None:
        """Accept every handshake that the borrowed creator has let succeed."""

    def lacks_certificate(self, connection: SSL.Connection) -> bool:
        """Return False: another creator does not report a CertificateRequest."""
        return False

    def session_facts(self, connection: SSL.Connection) -> TLSFacts:
        """Return the facts of an established session."""
        return session_facts(connection)

    def explain(self, connection: SSL.Connection, reason: Failure) -> TLSFailed:
        """Return the error for a handshake that failed for that reason."""
        return explain_handshake(reason)


Creator = ConnectionCreator | BorrowedCreator


def judging(creator: IOpenSSLClientConnectionCreator) -> Creator:
    """Return a creator of this package as it is, or a wrapper around another one."""
    if isinstance(creator, ConnectionCreator):
        return creator
    return BorrowedCreator(creator)

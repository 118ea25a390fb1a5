"""
The session of a transport with TLS, whoever has made it.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.python.failure import Failure

from twisted_tcpclient.errors import ConnectionBroken
from twisted_tcpclient.facts import TLSFacts
from twisted_tcpclient.text import printable
from twisted_tcpclient.tls.certificates import subject
from twisted_tcpclient.tls.reasons import broken


def observe(transport: Any) -> TLSFacts | None:
    """
    What is known of the session of a transport with TLS, whoever has made it; None
    where that is not OpenSSL.
    """
    connection = transport.getHandle()
    if not isinstance(connection, SSL.Connection):
        return None
    return observe_session(connection)


def observe_session(connection: SSL.Connection) -> TLSFacts:
    """The same for OpenSSL's end of it."""
    certificate = connection.get_peer_certificate()
    digest = certificate.digest("sha256") if certificate else b""
    server_name = connection.get_servername()
    protocol = connection.get_protocol_version_name()
    return TLSFacts(
        protocol=protocol,
        offered=protocol,
        cipher=connection.get_cipher_name() or "",
        server_name=printable(server_name) if server_name else None,
        certificate_hash=(
            f"SHA256:{digest.decode().replace(':', '').lower()}" if digest else None
        ),
        subject=subject(certificate) if certificate else None,
    )


def is_established(transport: Any) -> bool:
    """
    Whether the handshake of a transport with TLS is over, whoever has begun it.

    TLS that is not OpenSSL's is taken for established: there is no way to tell.
    """
    connection = transport.getHandle()
    if not isinstance(connection, SSL.Connection):
        return True
    return connection.get_peer_finished() is not None


def is_closing(transport: Any) -> bool:
    """Whether close_notify has been said to the server."""
    connection = transport.getHandle()
    if not isinstance(connection, SSL.Connection):
        return False
    return bool(connection.get_shutdown() & SSL.SENT_SHUTDOWN)


def is_verified(transport: Any) -> bool:
    """Whether anyone has judged the certificate on a transport with TLS."""
    connection = transport.getHandle()
    if not isinstance(connection, SSL.Connection):
        return True
    return connection.get_verify_mode() != SSL.VERIFY_NONE


def alert(reason: Failure) -> ConnectionBroken | None:
    """Return the error for a session that TLS itself has ended; None otherwise."""
    return broken(reason.value) if isinstance(reason.value, SSL.Error) else None


def has_been_closed(transport: Any) -> bool | None:
    """Return whether close_notify has come; None if the TLS is not OpenSSL's."""
    connection = transport.getHandle()
    if not isinstance(connection, SSL.Connection):
        return None
    return bool(connection.get_shutdown() & SSL.RECEIVED_SHUTDOWN)

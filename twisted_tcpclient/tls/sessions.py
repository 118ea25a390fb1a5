"""
The TLS session of a transport, made by this package or by another.
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


def _openssl(transport: Any) -> SSL.Connection | None:
    """Return the OpenSSL session of a transport; None if its TLS is not OpenSSL's."""
    handle = transport.getHandle()
    return handle if isinstance(handle, SSL.Connection) else None


def tls_facts(handle: Any) -> TLSFacts | None:
    """
    Return the facts of a session; None if its TLS is not OpenSSL's.

    :param handle: the handle of its transport.
    """
    return session_facts(handle) if isinstance(handle, SSL.Connection) else None


def session_facts(session: SSL.Connection) -> TLSFacts:
    """Return the facts of an established session."""
    certificate = session.get_peer_certificate()
    digest = certificate.digest("sha256") if certificate else b""
    server_name = session.get_servername()
    protocol = session.get_protocol_version_name()
    return TLSFacts(
        protocol=protocol,
        offered=protocol,
        cipher=session.get_cipher_name() or "",
        server_name=printable(server_name) if server_name else None,
        certificate_hash=(
            f"SHA256:{digest.decode().replace(':', '').lower()}" if digest else None
        ),
        subject=subject(certificate) if certificate else None,
    )


def is_established(transport: Any) -> bool:
    """Return whether the handshake is over; True if the TLS is not OpenSSL's."""
    session = _openssl(transport)
    return session is None or session.get_peer_finished() is not None


def is_closing(transport: Any) -> bool:
    """Return whether close_notify was sent; False if the TLS is not OpenSSL's."""
    session = _openssl(transport)
    return session is not None and bool(session.get_shutdown() & SSL.SENT_SHUTDOWN)


def is_verified(handle: Any) -> bool:
    """
    Return whether the certificate was verified; True if the TLS is not OpenSSL's.

    With SSL_VERIFY_NONE it was not.

    :param handle: the handle of the transport.
    """
    known = isinstance(handle, SSL.Connection)
    return not known or handle.get_verify_mode() != SSL.VERIFY_NONE


def alert(reason: Failure) -> ConnectionBroken | None:
    """Return the error for a session that an error of OpenSSL has ended, else None."""
    return broken(reason.value) if isinstance(reason.value, SSL.Error) else None


def has_been_closed(transport: Any) -> bool | None:
    """Return whether close_notify has come; None if the TLS is not OpenSSL's."""
    session = _openssl(transport)
    if session is None:
        return None
    return bool(session.get_shutdown() & SSL.RECEIVED_SHUTDOWN)

"""
The facts about a connection, and the environment that describes them to a program.

The user that ident names, and the text of certificates, are printable ASCII already
(:mod:`twisted_tcpclient.names.reverse`, :mod:`twisted_tcpclient.tls.certificates`).
:func:`environment` escapes all other characters in any value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import (
    INegotiated,
    ISSLTransport,
    ITCPTransport,
    IUNIXTransport,
)

from twisted_tcpclient.text import printable

_IP = (IPv4Address, IPv6Address)


@dataclass(frozen=True)
class TLSFacts:
    """
    The facts about an established TLS session.

    :ivar protocol: the version in use, "TLSv1.3".
    :ivar offered: the highest version that the client is known to have offered.
    :ivar cipher: OpenSSL's name of the cipher in use.
    :ivar server_name: the name sent as SNI; None if none was sent.
    :ivar certificate_hash: "SHA256:" and the hash of the server's certificate in
        hexadecimal; None without a certificate.
    :ivar subject: the subject of the server's certificate (RFC 4514); None without a
        certificate.
    """

    protocol: str
    offered: str
    cipher: str
    server_name: str | None = None
    certificate_hash: str | None = None
    subject: str | None = None


@dataclass(frozen=True)
class Facts:
    """
    The facts about a connection.  A fact that is not known is None.

    :ivar protocol: "TCP", "TCP6" or "UNIX", as in PROTO.
    :ivar local_ip: the address of this side.
    :ivar local_port: the port of this side.
    :ivar local_host: the name of this side's host.
    :ivar remote_ip: the address of the server.
    :ivar remote_port: the port of the server.
    :ivar remote_host: the name of the server's host.
    :ivar remote_info: the user that ident on the server's host names (RFC 1413).
    :ivar tls: the TLS session; None in clear.
    """

    protocol: str | None = None
    local_ip: str | None = None
    local_port: int | None = None
    local_host: str | None = None
    remote_ip: str | None = None
    remote_port: int | None = None
    remote_host: str | None = None
    remote_info: str | None = None
    tls: TLSFacts | None = None


def is_secure(transport: Any) -> bool:
    """Return whether a transport is TLS, of this package or of another."""
    return bool(
        INegotiated.providedBy(transport) or ISSLTransport.providedBy(transport)
    )


def is_complete(transport: Any) -> bool:
    """
    Return whether a transport can be paused and aborted, and has addresses.

    A transport that is not a socket, such as that of a process, lacks some methods.
    """
    interfaces = (ITCPTransport, IUNIXTransport, ISSLTransport, INegotiated)
    return any(interface.providedBy(transport) for interface in interfaces)


def _own_address(transport: Any) -> Any:
    """Return the local address; None if the transport has lost its socket."""
    try:
        return transport.getHost()
    except (AttributeError, OSError):
        return None


def address_facts(transport: Any) -> Facts:
    """
    Return the protocol and the addresses of a transport.

    UCSPI has variables for TCP and UNIX sockets; nothing is known of other transports.

    :param transport: with ``getHost`` and ``getPeer``.
    """
    local, remote = _own_address(transport), transport.getPeer()
    if isinstance(remote, UNIXAddress):
        return Facts("UNIX")
    if not (isinstance(remote, _IP) and isinstance(local, _IP)):
        return Facts()
    return Facts(
        protocol="TCP6" if isinstance(remote, IPv6Address) else "TCP",
        local_ip=local.host,
        local_port=local.port,
        remote_ip=remote.host,
        remote_port=remote.port,
    )


def _tls_variables(tls: TLSFacts | None) -> dict[str, str | None]:
    """Return the variables that s6-networking sets for a TLS session."""
    return {
        "SSL_PROTOCOL": None if tls is None else tls.protocol,
        "SSL_CIPHER": None if tls is None else tls.cipher,
        "SSL_TLS_SNI_SERVERNAME": None if tls is None else tls.server_name,
        "SSL_PEER_CERT_HASH": None if tls is None else tls.certificate_hash,
        "SSL_PEER_CERT_SUBJECT": None if tls is None else tls.subject,
    }


def _provider(tls: TLSFacts) -> str:
    """Return TLS_PROVIDER in the form of the C tcpclient."""
    return (
        f"tcpclient, TLS Server={tls.protocol},"
        f" Client={tls.offered}, Ciphers={tls.cipher}"
    )


def variables(facts: Facts, provider: bool = False) -> dict[str, str | None]:
    """
    Return the variables of tcp-environ(5) and of TLS.

    The value None stands for a variable that must be unset.

    :param facts: the facts about the connection.
    :param provider: whether to set TLS_PROVIDER for a connection with TLS.
    """
    return {
        "PROTO": facts.protocol,
        "TCPLOCALPORT": None if facts.local_port is None else str(facts.local_port),
        "TCPLOCALIP": facts.local_ip,
        "TCPLOCALHOST": facts.local_host,
        "TCPREMOTEPORT": None if facts.remote_port is None else str(facts.remote_port),
        "TCPREMOTEIP": facts.remote_ip,
        "TCPREMOTEHOST": facts.remote_host,
        "TCPREMOTEINFO": facts.remote_info,
        **_tls_variables(facts.tls),
        "TLS_PROVIDER": _provider(facts.tls) if provider and facts.tls else None,
    }


def environment(
    inherited: Mapping[bytes, bytes], facts: Facts, provider: bool = False
) -> dict[bytes, bytes]:
    """
    Return the environment for prog: the inherited one and the facts.

    Variables of another connection are removed: each variable of :func:`variables` is
    set from the facts or unset.

    :param inherited: such as ``os.environb``; it is not changed.
    :param facts: the facts about the connection.
    :param provider: whether to set TLS_PROVIDER for a connection with TLS.
    :returns: a new environment, whose added values are printable ASCII.
    """
    result = dict(inherited)
    for name, value in variables(facts, provider).items():
        key = name.encode("ascii")
        if value is None:
            result.pop(key, None)
        else:
            result[key] = printable(value).encode("ascii")
    return result

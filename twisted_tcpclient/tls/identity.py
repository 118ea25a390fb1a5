"""
The names in a certificate, and the name that it has to have (RFC 9525).

The common name counts only if the user asks for that.  service_identity compares the
names.  It would accept some malformed names, so these are not passed to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeVar

from cryptography import x509
from cryptography.x509.oid import NameOID
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import (
    DNS_ID,
    CertificatePattern,
    DNSPattern,
    IPAddress_ID,
    IPAddressPattern,
    verify_service_identity,
)

from twisted_tcpclient.settings import Host, is_ip

T = TypeVar("T", bound=x509.ExtensionType)

Identity = DNS_ID | IPAddress_ID

#: A DNS name or an IP address; in a malformed certificate any text, or a network.
Name = str | IPv4Address | IPv6Address | IPv4Network | IPv6Network

#: Labels of 1 to 63 characters, without blanks around them: OpenSSL does not match a
#: name that ends with a blank against the excluded subtrees of a CA.
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")


def _identity(name: str) -> Identity:
    """
    Return the identity for a DNS name or an IP address, without conversion.

    :raises ValueError: if the text is neither.
    """
    if is_ip(name):
        return IPAddress_ID(name)
    identity = DNS_ID(name)
    if name != name.strip() or not _HOST.fullmatch(identity.hostname.decode("ascii")):
        raise ValueError(name)
    return identity


def identity_of(name: str) -> Identity:
    """
    Return the identity that the certificate of a host has to have.

    :param name: as typed.  An empty name is an error; ``Host`` would take it for this
        machine.
    :raises ValueError: if no certificate can have that name.
    """
    if not name:
        raise ValueError(name)
    return _identity(Host(name).reference)


def _extension(certificate: x509.Certificate, kind: type[T]) -> T | None:
    """
    Return the value of an extension, None if the certificate has none of that type.

    :raises ValueError: if the extensions cannot be read.
    :raises x509.DuplicateExtension: if an extension occurs twice.
    """
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def alternatives(certificate: x509.Certificate) -> list[Name]:
    """
    Return the DNS names and the IP addresses in a certificate (subjectAltName).

    :raises ValueError: if the extensions cannot be read.
    :raises x509.DuplicateExtension: if an extension occurs twice.
    """
    names = _extension(certificate, x509.SubjectAlternativeName)
    if names is None:
        return []
    return [
        *names.get_values_for_type(x509.DNSName),
        *names.get_values_for_type(x509.IPAddress),
    ]


def is_wildcard(name: Name) -> bool:
    """Return whether a name is a wildcard (RFC 9525, 6.3): ``*.example.org``."""
    return isinstance(name, str) and name.startswith("*.")


def _patterns(names: Iterable[Name]) -> Iterator[CertificatePattern]:
    """Yield the patterns of service_identity for the well-formed names."""
    for name in names:
        if isinstance(name, (IPv4Address, IPv6Address)):
            yield IPAddressPattern(name)
        elif isinstance(name, str) and _HOST.fullmatch(name.removeprefix("*.")):
            with suppress(CertificateError):
                yield DNSPattern.from_bytes(name.encode("ascii"))


def has_name(names: Sequence[Name], identity: Identity) -> bool:
    """Return whether one of the names in a certificate matches an identity."""
    try:
        verify_service_identity(list(_patterns(names)), [identity], [])
    except (CertificateError, VerificationError):
        return False
    return True


def has_common_name(certificate: x509.Certificate, identity: Identity) -> bool:
    """Return whether a certificate has one common name, which is the identity's."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    try:
        return [_identity(str(cn.value)) for cn in names] == [identity]
    except ValueError:
        return False


def may_certify(authority: x509.Certificate, identity: Identity) -> bool:
    """
    Return whether the name constraints of a CA (RFC 5280, 4.2.1.10) allow a name.

    :raises ValueError: if the extensions cannot be read.
    :raises x509.DuplicateExtension: if an extension occurs twice.
    """
    constraints = _extension(authority, x509.NameConstraints)
    if constraints is None:
        return True
    permitted = _within(constraints.permitted_subtrees, identity)
    excluded = _within(constraints.excluded_subtrees, identity)
    return (not permitted or any(permitted)) and not any(excluded)


def _within(
    subtrees: Iterable[x509.GeneralName] | None, identity: Identity
) -> list[bool]:
    """Return, for each subtree of the identity's type, whether it has the identity."""
    if isinstance(identity, IPAddress_ID):
        return [
            identity.ip in network
            for subtree in subtrees or ()
            if isinstance(network := subtree.value, (IPv4Network, IPv6Network))
        ]
    host = identity.hostname.decode("ascii")
    return [
        _is_below(host, subtree.value.lower().removeprefix("."))
        for subtree in subtrees or ()
        if isinstance(subtree, x509.DNSName)
    ]


def _is_below(host: str, base: str) -> bool:
    """Return whether a host is a domain or below it; "" is the domain of all hosts."""
    return f".{host}".endswith(f".{base}" if base else "")

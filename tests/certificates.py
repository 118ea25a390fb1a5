"""Certificates for the tests, issued by authorities that exist for one run.

An `Authority` issues good certificates and each kind of bad one that a test needs.
`shared` writes the usual ones to files, once a process.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from OpenSSL import crypto

SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

DIGEST = SHA256()

#: An extension, and whether it is critical.
Extension = tuple[x509.ExtensionType, bool]


@dataclass(frozen=True)
class Period:
    """The time in which a certificate or a revocation list is valid."""

    start: datetime
    end: datetime

    @classmethod
    def hours(cls, start: float, end: float) -> Period:
        """
        Return a period from its start and end in hours from now; the past is negative.
        """
        now = datetime.now(timezone.utc)
        return cls(now + timedelta(hours=start), now + timedelta(hours=end))


EXPIRED = Period.hours(-48, -24)
CURRENT = Period.hours(-1, 24)
FUTURE = Period.hours(24, 48)


def key_usage(*allowed: str) -> x509.KeyUsage:
    """
    Return a KeyUsage with these bits, by the names that `cryptography` gives them.
    """
    bits = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{bit: bit in allowed for bit in bits})


SIGNING = key_usage("digital_signature")
ISSUING = key_usage("key_cert_sign", "crl_sign")
AUTHORITY = x509.BasicConstraints(True, None)


@dataclass(frozen=True)
class Identity:
    """A certificate, its private key, and the intermediates between it and the root."""

    certificate: x509.Certificate
    key: PrivateKey
    intermediates: tuple[x509.Certificate, ...] = ()

    def without_intermediates(self) -> Identity:
        """Return the identity of a server that does not send its intermediates."""
        return replace(self, intermediates=())

    def key_pem(self, passphrase: str | None = None) -> bytes:
        """Return the private key, encrypted if a passphrase is given."""
        return self.key.private_bytes(
            Encoding.PEM,
            PrivateFormat.PKCS8,
            BestAvailableEncryption(passphrase.encode())
            if passphrase
            else NoEncryption(),
        )

    def chain_pem(self) -> bytes:
        """Return the certificate, followed by its intermediates."""
        return _pem(self.certificate, *self.intermediates)

    def save(self, path: Path, passphrase: str | None = None) -> Path:
        """Write key and chain to one file, the form that most programs read."""
        path.write_bytes(self.key_pem(passphrase) + self.chain_pem())
        return path

    def save_key(self, path: Path, passphrase: str | None = None) -> Path:
        """Write the private key alone."""
        path.write_bytes(self.key_pem(passphrase))
        return path

    def save_chain(self, path: Path) -> Path:
        """Write the certificate and its intermediates, without the key."""
        path.write_bytes(self.chain_pem())
        return path


@dataclass(frozen=True)
class Authority:
    """An issuer of certificates: a root, or an intermediate below another authority."""

    identity: Identity

    @classmethod
    def root(
        cls,
        name: str = "Test Root",
        valid: Period = CURRENT,
        *,
        path_length: int | None = None,
        key: PrivateKey | None = None,
        extensions: Sequence[Extension] = (),
    ) -> Authority:
        """Make an authority with a self-signed certificate."""
        key = key or _new_key()
        basic = x509.BasicConstraints(True, path_length)
        draft = _authority_draft(_subject(name), key, valid, basic, ISSUING)
        draft = _extended(draft, extensions)
        return cls(Identity(_signed_by_itself(draft, name, key), key))

    def intermediate(
        self,
        name: str = "Test Intermediate",
        valid: Period = CURRENT,
        *,
        basic: x509.BasicConstraints = AUTHORITY,
        usage: x509.KeyUsage = ISSUING,
        key: PrivateKey | None = None,
        extensions: Sequence[Extension] = (),
    ) -> Authority:
        """Make an authority whose certificate this one has signed."""
        key = key or _new_key()
        draft = _authority_draft(_subject(name), key, valid, basic, usage)
        return Authority(self._issue(_extended(draft, extensions), key))

    def server(
        self,
        names: Sequence[str] = (),
        addresses: Sequence[str] = (),
        *,
        common_name: str | None = None,
        valid: Period = CURRENT,
        usage: x509.KeyUsage = SIGNING,
        purposes: Sequence[ObjectIdentifier] = (SERVER,),
        key: PrivateKey | None = None,
        extensions: Sequence[Extension] = (),
    ) -> Identity:
        """Issue a server certificate; without names and addresses it has no SAN.

        The common name is the first of the names unless it is given.
        """
        key = key or _new_key()
        subject = _subject(common_name or _first(names))
        draft = _named(_draft(subject, key, valid), names, addresses)
        draft = _extended(_restricted(draft, usage, purposes), extensions)
        return self._issue(draft, key)

    def client(
        self,
        common_name: str = "Test Client",
        *,
        valid: Period = CURRENT,
        usage: x509.KeyUsage = SIGNING,
        purposes: Sequence[ObjectIdentifier] = (CLIENT,),
    ) -> Identity:
        """Issue a client certificate."""
        key = _new_key()
        draft = _draft(_subject(common_name), key, valid)
        return self._issue(_restricted(draft, usage, purposes), key)

    def revocations(
        self, *revoked: Identity, valid: Period = CURRENT
    ) -> x509.CertificateRevocationList:
        """Sign a list of revoked certificates; `valid` may be a period of the past."""
        draft = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.identity.certificate.subject)
            .last_update(valid.start)
            .next_update(valid.end)
            .add_extension(_identifier(self.identity.key), critical=False)
            .add_extension(x509.CRLNumber(1), critical=False)
        )
        for identity in revoked:
            entry = (
                x509.RevokedCertificateBuilder()
                .serial_number(identity.certificate.serial_number)
                .revocation_date(valid.start)
            )
            draft = draft.add_revoked_certificate(entry.build())
        return draft.sign(self.identity.key, SHA256())

    def altered(
        self,
        identity: Identity,
        change: Callable[[bytes], bytes],
        digest: HashAlgorithm = DIGEST,
    ) -> Identity:
        """Change a certificate in ways that libraries do not offer, and sign it.

        :param change: is called with the signed part and the algorithm's name, both in
            DER; keeps the length.
        :returns: the certificate as an object of `cryptography`, or of pyOpenSSL if
            `cryptography` cannot read it.
        """
        tbs = identity.certificate.tbs_certificate_bytes
        rest = identity.certificate.public_bytes(Encoding.DER).partition(tbs)[2]
        before = tbs + rest[: 2 + rest[1]]
        after = change(before)
        assert after != before and len(after) == len(before)
        signature = _signature(self.identity.key, after[: len(tbs)], digest)
        signed = der(0x30, after + der(0x03, b"\0" + signature))
        certificate: Any
        try:
            certificate = x509.load_der_x509_certificate(signed)
        except (ValueError, x509.InvalidVersion):
            certificate = crypto.load_certificate(crypto.FILETYPE_ASN1, signed)
        return replace(identity, certificate=certificate)

    def save(self, path: Path) -> Path:
        """Write the certificate of this authority, without its key."""
        return save_certificates(path, self.identity.certificate)

    def _issue(self, draft: x509.CertificateBuilder, key: PrivateKey) -> Identity:
        issuer = self.identity.certificate.subject
        draft = draft.issuer_name(issuer).add_extension(
            _identifier(self.identity.key), critical=False
        )
        return Identity(draft.sign(self.identity.key, SHA256()), key, self._path())

    def _path(self) -> tuple[x509.Certificate, ...]:
        certificate = self.identity.certificate
        # A server may leave the root out of its chain (RFC 5246, 7.4.2).
        if certificate.issuer == certificate.subject:
            return ()
        return (certificate, *self.identity.intermediates)


def self_signed(
    names: Sequence[str] = (),
    addresses: Sequence[str] = (),
    *,
    common_name: str | None = None,
    valid: Period = CURRENT,
) -> Identity:
    """Make a server certificate that is signed by its own key."""
    key = _new_key()
    common_name = common_name or _first(names)
    draft = _named(_draft(_subject(common_name), key, valid), names, addresses)
    draft = _restricted(draft, SIGNING, (SERVER,))
    return Identity(_signed_by_itself(draft, common_name, key), key)


def save_certificates(path: Path, *certificates: x509.Certificate) -> Path:
    """Write certificates to one file, such as a file of trusted roots."""
    path.write_bytes(_pem(*certificates))
    return path


def save_revocations(path: Path, *lists: x509.CertificateRevocationList) -> Path:
    """Write revocation lists to one file."""
    path.write_bytes(_pem(*lists))
    return path


def der(tag: int, content: bytes) -> bytes:
    """Encode one value by the distinguished encoding rules (DER) of ASN.1."""
    size = len(content)
    length = size.to_bytes(max(1, (size.bit_length() + 7) // 8), "big")
    if size > 127:
        length = bytes((0x80 | len(length),)) + length
    return bytes((tag,)) + length + content


@dataclass(frozen=True)
class Shared:
    """The files that most tests need, with the identities and authorities in them."""

    directory: Path
    authority: Authority
    ca: Path
    revocations: Path
    server_identity: Identity
    server: Path
    client_identity: Identity
    client: Path
    encrypted_client: Path
    passphrase: str
    stranger: Authority
    stranger_ca: Path


@functools.cache
def shared() -> Shared:
    """Make the usual files, once a process; they are removed when the process exits.

    `server` is valid for localhost, mail.example.test, 127.0.0.1 and ::1.  `server` and
    `client` contain key and chain; `encrypted_client` is `client` with its key
    encrypted by `passphrase`.  `revocations` is a current list that is empty.
    `stranger` is another authority, which has issued none of these.
    """
    directory = Path(tempfile.mkdtemp(prefix="certificates-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    authority, stranger = Authority.root(), Authority.root("Test Stranger")
    server = authority.server(("localhost", "mail.example.test"), ("127.0.0.1", "::1"))
    client = authority.client()
    passphrase = "open sesame"
    return Shared(
        directory=directory,
        authority=authority,
        ca=authority.save(directory / "ca.pem"),
        revocations=save_revocations(directory / "crl.pem", authority.revocations()),
        server_identity=server,
        server=server.save(directory / "server.pem"),
        client_identity=client,
        client=client.save(directory / "client.pem"),
        encrypted_client=client.save(directory / "encrypted-client.pem", passphrase),
        passphrase=passphrase,
        stranger=stranger,
        stranger_ca=stranger.save(directory / "stranger-ca.pem"),
    )


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _signature(key: PrivateKey, data: bytes, digest: HashAlgorithm) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), digest)
    return key.sign(data, ec.ECDSA(digest))


def _pem(*objects: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in objects)


def _first(names: Sequence[str]) -> str:
    return names[0] if names else "Test Server"


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _identifier(key: PrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _draft(
    subject: x509.Name, key: PrivateKey, valid: Period
) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid.start)
        .not_valid_after(valid.end)
        .add_extension(identifier, critical=False)
    )


def _authority_draft(
    subject: x509.Name,
    key: PrivateKey,
    valid: Period,
    basic: x509.BasicConstraints,
    usage: x509.KeyUsage,
) -> x509.CertificateBuilder:
    return (
        _draft(subject, key, valid)
        .add_extension(basic, critical=True)
        .add_extension(usage, critical=True)
    )


def _extended(
    draft: x509.CertificateBuilder, extensions: Sequence[Extension]
) -> x509.CertificateBuilder:
    for extension, critical in extensions:
        draft = draft.add_extension(extension, critical)
    return draft


def _named(
    draft: x509.CertificateBuilder, names: Sequence[str], addresses: Sequence[str]
) -> x509.CertificateBuilder:
    if not names and not addresses:
        return draft
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    alternatives += [x509.IPAddress(ip_address(address)) for address in addresses]
    return draft.add_extension(
        x509.SubjectAlternativeName(alternatives), critical=False
    )


def _restricted(
    draft: x509.CertificateBuilder,
    usage: x509.KeyUsage,
    purposes: Sequence[ObjectIdentifier],
) -> x509.CertificateBuilder:
    draft = draft.add_extension(x509.BasicConstraints(False, None), critical=True)
    draft = draft.add_extension(usage, critical=True)
    if purposes:
        draft = draft.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    return draft


def _signed_by_itself(
    draft: x509.CertificateBuilder, name: str, key: PrivateKey
) -> x509.Certificate:
    return draft.issuer_name(_subject(name)).sign(key, SHA256())

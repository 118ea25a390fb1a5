"""
TLS: from settings and files to connections that prove who they reach.

The only module that imports OpenSSL.  Certificates are judged in OpenSSL's
verification callback, where a wrong name stops the handshake just as a wrong
chain does: before our own certificate is sent.  No exception may leave such a
callback, so what was found is written down in a :class:`Verdict`.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from getpass import getpass
from glob import escape, glob
from typing import Any
from warnings import catch_warnings, simplefilter
from weakref import WeakKeyDictionary

from cryptography import x509
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, ServiceID
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocolNegotiationFactory,
)
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_tcpclient.errors import (
    ConnectionBroken,
    CutShort,
    HandshakeFailed,
    NameMismatch,
    SettingsError,
    TLSFailed,
    VerificationFailed,
)
from twisted_tcpclient.facts import TLSFacts
from twisted_tcpclient.identity import (
    Identity,
    alternatives,
    has_common_name,
    is_wildcard,
    match,
    may_certify,
    reference,
    server_name,
)
from twisted_tcpclient.network import plain_diagnosis
from twisted_tcpclient.report import os_reason, printable
from twisted_tcpclient.settings import TLSSettings

_VERSIONS = {"TLSv1_2": SSL.TLS1_2_VERSION, "TLSv1_3": SSL.TLS1_3_VERSION}

_CODES = SSL.X509VerificationCodes

_UNKNOWN_CA = "unknown CA, or an intermediate certificate is missing"
_MALFORMED = "it is malformed"
_NOT_ITS_NAME = "its CA may not certify that name"

#: Texts of X509_V_ERR numbers, from the names that pyOpenSSL has for them.
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

_CERTIFICATE = re.compile(
    rb"-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----.+?"
    rb"-----END (X509 |TRUSTED )?CERTIFICATE-----",
    re.DOTALL,
)
_CRL = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)


@contextmanager
def _unwarned() -> Iterator[None]:
    """
    What cryptography finds odd in a certificate is for whoever makes one; on
    stderr it would only help whoever wants to be seen there.
    """
    with catch_warnings():
        simplefilter("ignore")
        yield


@_unwarned()
def subject(certificate: crypto.X509) -> str:
    """The subject as RFC 4514 writes it, in printable ASCII."""
    try:
        name = certificate.to_cryptography().subject.rfc4514_string()
    except Exception:
        # There is no end to what may be wrong with one, nor to the types of
        # error that cryptography has for it.
        return _UNREADABLE
    return printable(name[:_SHOWN])


#: Instead of a subject.
_UNREADABLE = "(unreadable)"

#: How much of a subject is shown, and told to prog, in characters.
_SHOWN = 1024

#: How much of what a certificate says is shown in an error, in characters.
_NAMED = 200


@dataclass
class Verdict:
    """What the verification callback found out about one connection."""

    issuers: list[crypto.X509] = field(default_factory=list)
    judged: bool = False
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


#: An error as OpenSSL has them in its queue.
_CLOSED = ("SSL routines", "", "closed by the server")


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
            # The same reading of the name for both, international or not.
            self._server_name = (
                server_name(settings.server_name) if settings.server_name else None
            )
        except ValueError:
            name = printable(settings.name or "")
            raise SettingsError(f"no certificate can have the name {name!r}") from None
        # A connection's own app data is taken by Twisted.
        self._verdicts: WeakKeyDictionary[SSL.Connection, Verdict] = WeakKeyDictionary()
        self._context = _context(settings, self._judge)

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
        return verdict.error or _broken(reason)

    def observe(self, connection: SSL.Connection) -> TLSFacts:
        """What is known of an established session, and of what we had offered."""
        offered = self._settings.maximum.replace("_", ".")
        return replace(_observe(connection), offered=offered)

    @_unwarned()
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
                raise _failure(x, code, depth)
            if depth > 0:
                verdict.issuers.append(x)
            else:
                if _malformed(x):
                    raise _failure(x, _CODES.ERR_INVALID_EXTENSION, depth)
                if self._identity is not None:
                    self._check_name(x, self._identity, verdict.issuers)
                verdict.judged = True
        except VerificationFailed as error:
            verdict.error = verdict.error or error
            return False
        except Exception:
            verdict.error = _failure(x, _CODES.ERR_INVALID_EXTENSION, depth)
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
            shown = _shortened(subject(x))
        else:
            found, shown = match(names, identity), _shown(names)
        if not found:
            raise NameMismatch(
                f"the certificate is not for {printable(self.name)} but for {shown}"
            )
        # OpenSSL holds the names in the certificate against the name constraints of
        # its CAs.  A wildcard stands for others, and a CN need not look like a name.
        for issuer in issuers:
            if not may_certify(issuer.to_cryptography(), identity):
                raise _failure(x, _CODES.ERR_EXCLUDED_VIOLATION, 0)


def _protocols(tls: object) -> list[bytes]:
    """What the factory above TLS wants to be offered to the server."""
    factory = getattr(getattr(tls, "factory", None), "wrappedFactory", None)
    if not IProtocolNegotiationFactory.providedBy(factory):
        return []
    return list(factory.acceptableProtocols())


def observe(transport: Any) -> TLSFacts | None:
    """
    What is known of the session of a transport with TLS, whoever has made it; None
    where that is not OpenSSL.
    """
    connection = transport.getHandle()
    return _observe(connection) if isinstance(connection, SSL.Connection) else None


def _observe(connection: SSL.Connection) -> TLSFacts:
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


def diagnose(transport: Any, reason: Failure) -> Exception | None:
    """
    What the end of an established connection means: None if the server said
    close_notify (RFC 8446, 6.1), as without it anyone may have cut the connection
    short.

    :param transport: with TLS, whoever has made it.  Only those of
        :func:`twisted_tcpclient.endpoints.secured` know a reset from a FIN.
    """
    connection = transport.getHandle()
    if isinstance(reason.value, SSL.Error):
        # First: to OpenSSL a fatal alert is a shutdown as well.
        return _failed(reason.value)
    if not isinstance(connection, SSL.Connection):
        return plain_diagnosis(transport, reason)
    if connection.get_shutdown() & SSL.RECEIVED_SHUTDOWN:
        return None
    ended: Failure = getattr(transport, "ended", connectionDone)
    if ended.check(ConnectionDone):
        return CutShort("TLS connection cut short: no close_notify")
    return ConnectionBroken("connection reset")


def _broken(reason: Failure) -> HandshakeFailed:
    """The error for a handshake that failed, and not for the certificate."""
    return HandshakeFailed(f"TLS handshake failed: {explain(reason.value)}")


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

    def explain(self, connection: SSL.Connection, reason: Failure) -> TLSFailed:
        """Why the handshake failed, as far as the other has told."""
        return explain_handshake(reason)


Creator = ConnectionCreator | BorrowedCreator


def judging(creator: IOpenSSLClientConnectionCreator) -> Creator:
    """A creator that can explain itself: ours, or that of somebody else."""
    if isinstance(creator, ConnectionCreator):
        return creator
    return BorrowedCreator(creator)


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


def explain_handshake(reason: Failure) -> TLSFailed:
    """Why a handshake that was for others to judge has failed, in our words."""
    error = reason.value
    if isinstance(error, VerificationError):
        wanted = [printable(_name(each.mismatched_id)) for each in error.errors]
        return NameMismatch(f"the certificate is not for {', '.join(wanted)}")
    if isinstance(error, CertificateError):
        return VerificationFailed(f"the certificate is not valid: {error}")
    if explain(error) == "certificate verify failed":
        return VerificationFailed(
            "certificate verification failed: unknown CA, or a certificate that is"
            " not valid"
        )
    return _broken(reason)


def _name(identity: ServiceID) -> str:
    """What a reference identity is for."""
    if isinstance(identity, DNS_ID):
        return identity.hostname.decode("ascii")
    return str(getattr(identity, "ip", identity))


def _shortened(text: str) -> str:
    """As much of it as fits into an error."""
    return text if len(text) <= _NAMED else f"{text[:_NAMED]}..."


def _shown(names: Sequence[object]) -> str:
    """Some of the names of a certificate, to be shown."""
    known = ", ".join(printable(str(name)) for name in names[:8])
    return _shortened(known) or "no name at all"


def _malformed(certificate: crypto.X509) -> bool:
    """Whether a certificate makes no sense; OpenSSL reads only what it needs."""
    try:
        list(certificate.to_cryptography().extensions)
    except Exception:
        return True
    return False


class Records:
    """
    An established session: clear text into records and back, without I/O.

    :ivar ended: why nothing more can be decrypted: EOFError after close_notify,
        or what is wrong; None before the end.
    """

    def __init__(self, connection: SSL.Connection) -> None:
        """:param connection: one without a socket, its handshake done."""
        self._connection = connection
        self.ended: Exception | None = None

    def decrypt(self, data: bytes) -> list[bytes]:
        """All that can be read once these bytes have come."""
        self._connection.bio_write(data)
        receive = self._connection.recv
        pieces: list[bytes] = []
        try:
            while True:
                pieces.append(receive(_RECORD))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.ended = EOFError()
        except SSL.Error as error:
            self.ended = _failed(error)
        return pieces

    def encrypt(self, data: bytes) -> bytes:
        """
        The records for that.

        :raises ConnectionBroken: if TLS has failed.
        """
        try:
            self._connection.sendall(data)
        except SSL.Error as error:
            raise _failed(error) from None
        return self.pending()

    def close_notify(self) -> bytes:
        """What tells the server that nothing more will be sent."""
        with suppress(SSL.Error):
            self._connection.shutdown()
        return self.pending()

    def pending(self) -> bytes:
        """What TLS has to send."""
        pieces: list[bytes] = []
        with suppress(SSL.WantReadError):
            while not pieces or len(pieces[-1]) == _PENDING:
                pieces.append(self._connection.bio_read(_PENDING))
        return b"".join(pieces)


#: Bytes in a record.
_RECORD = 2**14
#: Bytes of records that are fetched at a time: no less than encrypt gives.
_PENDING = 17 * _RECORD


def _failed(error: BaseException | None) -> ConnectionBroken:
    return ConnectionBroken(f"TLS failed: {explain(error)}")


def _failure(certificate: crypto.X509, code: int, depth: int) -> VerificationFailed:
    """The error for one of OpenSSL's verdicts."""
    reason = _REASONS.get(code, f"verification error {code}")
    if reason == _UNKNOWN_CA and _malformed(certificate):
        # To OpenSSL nobody can have issued it.
        reason = _MALFORMED
    name = subject(certificate)
    whose = name if name == _UNREADABLE else f"({_shortened(name)})"
    return VerificationFailed(
        f"certificate verification failed: {reason} {whose}", code, depth, reason
    )


def explain(error: BaseException | None) -> str:
    """An error of OpenSSL's, or of the connection below it, in a few words."""
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list):
        reasons = [entry[-1] for entry in error.args[0] if entry[-1]]
        if reasons:
            # OpenSSL puts the general behind the particular.
            telling = [reason for reason in reasons if reason in _HINTS]
            reason = (telling or reasons)[-1]
            return printable(reason) + _HINTS.get(reason, "")
    if isinstance(error, (SSL.Error, SSL.SysCallError)):
        return "the connection was closed"
    words = str(error).rstrip(".")
    return printable(words.partition(": ")[2] or words).lower()


_NO_TLS = ": the server does not speak TLS here"
_HINTS = {
    "wrong version number": _NO_TLS,
    "packet length too long": _NO_TLS,
    "unsupported protocol": ": no common TLS version",
}


def _context(settings: TLSSettings, judge: Callable[..., bool]) -> SSL.Context:
    """A context with everything in it that the settings name."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_min_proto_version(_VERSIONS[settings.minimum])
    context.set_max_proto_version(_VERSIONS[settings.maximum])
    _set_ciphers(context, settings)
    if settings.certificate is not None:
        _use_certificate(context, settings.certificate, settings.private_key)
    if settings.verify:
        context.set_verify(SSL.VERIFY_PEER, judge)
        _trust(context, settings.authorities)
        if settings.revocations is not None:
            _add_revocations(context, settings.revocations)
    else:
        context.set_verify(SSL.VERIFY_NONE, None)
    return context


def _set_ciphers(context: SSL.Context, settings: TLSSettings) -> None:
    """Restrict the ciphers of TLS 1.2 and the suites of TLS 1.3."""
    for names, restrict in (
        (settings.ciphers, context.set_cipher_list),
        (settings.suites, context.set_tls13_ciphersuites),
    ):
        if names is not None:
            try:
                restrict(names.encode("ascii"))
            except (SSL.Error, UnicodeEncodeError):
                raise SettingsError(
                    f"no usable cipher in {printable(names)!r}"
                ) from None


def _read(path: str, what: str) -> bytes:
    """
    The contents of a file the user named.

    :raises SettingsError: if there is none, or it may not be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:
        why = os_reason(error) if isinstance(error, OSError) else str(error)
        raise SettingsError(f"unable to read {what} {printable(path)}: {why}") from None


def _certificates(data: bytes) -> list[crypto.X509]:
    """
    The certificates in a PEM file, read by OpenSSL, which is less strict with
    the old CAs that systems still list.

    :raises ValueError: if there is none.
    :raises crypto.Error: if one is damaged.
    """
    blocks = [match.group() for match in _CERTIFICATE.finditer(data)]
    if not blocks:
        raise ValueError("no certificate")
    return [crypto.load_certificate(crypto.FILETYPE_PEM, block) for block in blocks]


def _trust(context: SSL.Context, authorities: str | None) -> None:
    """Trust the CAs in a file, in the files of a directory, or the system's."""
    if authorities is None:
        context.set_default_verify_paths()
        return
    files = [authorities]
    if os.path.isdir(authorities):
        files = sorted(glob(os.path.join(escape(authorities), "*.pem")))
    store = context.get_cert_store()
    try:
        assert store is not None
        for file in files:
            for certificate in _certificates(_read(file, "CA certificates")):
                store.add_cert(certificate)
        if not files:
            raise ValueError("no file")
    except (ValueError, crypto.Error):
        raise SettingsError(f"no CA certificate in {printable(authorities)}") from None


def _add_revocations(context: SSL.Context, path: str) -> None:
    """Honour the CRLs in a file; a server without a current one is refused."""
    blocks = _CRL.findall(_read(path, "certificate revocation lists"))
    store = context.get_cert_store()
    try:
        if store is None or not blocks:
            raise ValueError
        for block in blocks:
            store.add_crl(x509.load_pem_x509_crl(block))
    except (ValueError, crypto.Error):
        raise SettingsError(
            f"no certificate revocation list in {printable(path)}"
        ) from None
    store.set_flags(
        crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL
    )


def _use_certificate(
    context: SSL.Context, path: str, key_path: str | None = None
) -> None:
    """
    Present the certificate in a PEM file, with its chain and its key.

    The file is read once: it may be a pipe from another program.

    :param key_path: the file with the key, where that is another one.
    """
    data = _read(path, "certificate")
    try:
        own, *chain = _certificates(data)
        context.use_certificate(own)
        for certificate in chain:
            context.add_extra_chain_cert(certificate)
    except (ValueError, SSL.Error, crypto.Error):
        raise SettingsError(f"no certificate in {printable(path)}") from None
    if key_path is not None:
        path, data = key_path, _read(key_path, "private key")
    try:
        context.use_privatekey(_private_key(data, path))
        context.check_privatekey()
    except (SSL.Error, crypto.Error, ValueError):
        raise SettingsError(
            f"no private key of the certificate in {printable(path)}"
        ) from None


def _private_key(data: bytes, path: str) -> crypto.PKey:
    """
    The key in a PEM file.

    The user is asked for a passphrase outside of OpenSSL's callback, so that
    a signal can end the asking.
    """
    asked: list[int] = []

    def decline(*_: object) -> bytes:
        asked.append(1)
        return b""

    try:
        return crypto.load_privatekey(crypto.FILETYPE_PEM, data, decline)
    except (crypto.Error, ValueError):
        if not asked:
            raise
    passphrase = _passphrase(path)
    try:
        return crypto.load_privatekey(crypto.FILETYPE_PEM, data, passphrase)
    except (crypto.Error, ValueError):
        raise SettingsError(f"wrong passphrase for {printable(path)}") from None


def _passphrase(path: str) -> bytes:
    """
    Ask on the terminal, and nowhere else: stdin may be someone's mail.

    :raises SettingsError: if there is no terminal.
    """
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise SettingsError(
            f"the key in {printable(path)} is encrypted,"
            " and there is no terminal to ask for the passphrase"
        ) from None
    try:
        with _mortal():
            return getpass(f"passphrase for {printable(path)}: ").encode()
    except EOFError:
        raise SettingsError(f"no passphrase for {printable(path)}") from None


class _Signalled(BaseException):
    """A signal came while the user was asked."""


@contextmanager
def _mortal() -> Iterator[None]:
    """
    Let signals end the process, as nothing has begun yet, but not before
    whatever is inside has cleaned up: the terminal has to get its echo back.
    """

    def die(number: int, frame: object) -> None:
        raise _Signalled(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, die) for number in numbers}
    stopping = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    try:
        yield
    except _Signalled as signalled:
        (number,) = signalled.args
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    finally:
        signal.signal(signal.SIGTSTP, stopping)
        for number, handler in before.items():
            signal.signal(number, handler)

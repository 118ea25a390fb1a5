"""
The OpenSSL context for TLS settings, with the files that the settings name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from glob import escape, glob

from cryptography import x509
from OpenSSL import SSL, crypto

from twisted_tcpclient.errors import SettingsError
from twisted_tcpclient.settings import TLSSettings
from twisted_tcpclient.text import os_reason, printable
from twisted_tcpclient.tls.passphrase import ask_passphrase

_VERSIONS = {"TLSv1_2": SSL.TLS1_2_VERSION, "TLSv1_3": SSL.TLS1_3_VERSION}

_CERTIFICATE = re.compile(
    rb"-----BEGIN (X509 |TRUSTED )?CERTIFICATE-----.+?"
    rb"-----END (X509 |TRUSTED )?CERTIFICATE-----",
    re.DOTALL,
)
_CRL = re.compile(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)


def client_context(
    settings: TLSSettings,
    verify: Callable[..., bool],
    note_request: Callable[..., None],
) -> SSL.Context:
    """
    Return a context with the versions, ciphers, certificates and CRLs of the settings.

    :param verify: OpenSSL's verification callback.
    :param note_request: OpenSSL's information callback, which is set only if the
        settings name no client certificate.
    :raises SettingsError: if a file cannot be used, or no cipher is left.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_min_proto_version(_VERSIONS[settings.minimum])
    context.set_max_proto_version(_VERSIONS[settings.maximum])
    _set_ciphers(context, settings)
    if settings.certificate is not None:
        _use_certificate(context, settings.certificate, settings.private_key)
    else:
        context.set_info_callback(note_request)
    if settings.verify:
        _verify_with(context, verify, settings)
    else:
        context.set_verify(SSL.VERIFY_NONE, None)
    return context


def _verify_with(
    context: SSL.Context, verify: Callable[..., bool], settings: TLSSettings
) -> None:
    """Verify the server by a callback and the files that the settings name."""
    context.set_verify(SSL.VERIFY_PEER, verify)
    _trust(context, settings.authorities)
    if settings.revocations is not None:
        _add_revocations(context, settings.revocations)


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
    Return the contents of a file that the user named.

    :param what: what the file holds, for the message.
    :raises SettingsError: if the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:
        why = os_reason(error) if isinstance(error, OSError) else str(error)
        raise SettingsError(f"unable to read {what} {printable(path)}: {why}") from None


def _certificates(data: bytes) -> list[crypto.X509]:
    """
    Return the certificates in a PEM file.

    OpenSSL parses them: cryptography refuses some old CAs that systems still list.

    :raises ValueError: if the file holds none.
    :raises crypto.Error: if one is damaged.
    """
    blocks = [match.group() for match in _CERTIFICATE.finditer(data)]
    if not blocks:
        raise ValueError("no certificate")
    return [crypto.load_certificate(crypto.FILETYPE_PEM, block) for block in blocks]


def _trust(context: SSL.Context, authorities: str | None) -> None:
    """
    Trust the CAs in a file, in the files of a directory, or the system's.

    :raises SettingsError: if the file or the directory holds no CA certificate.
    """
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
    """
    Have OpenSSL check each certificate against the CRLs in a file.

    OpenSSL reports a fault for a certificate whose issuer has no CRL in the file.
    :class:`twisted_tcpclient.tls.verdict.Judge` tolerates that fault for CAs.

    :raises SettingsError: if the file holds no CRL.
    """
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

    The file is read once, as it may be a pipe.

    :param key_path: the file with the key, if that is another one.
    :raises SettingsError: if there is no certificate, or no key that belongs to it.
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
    Return the key in a PEM file, and ask for its passphrase if it has one.

    The user is asked outside of OpenSSL's callback: in the callback an exception of a
    signal handler would be lost.

    :raises SettingsError: if the passphrase is wrong, or cannot be asked for.
    :raises crypto.Error: if there is no key.
    :raises ValueError: if the key is of a type that is not supported.
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
    passphrase = ask_passphrase(path)
    try:
        return crypto.load_privatekey(crypto.FILETYPE_PEM, data, passphrase)
    except (crypto.Error, ValueError):
        raise SettingsError(f"wrong passphrase for {printable(path)}") from None

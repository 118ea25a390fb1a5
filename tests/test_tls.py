"""
TLS: which servers are trusted, the errors for the others, and the files of the
settings.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID
from OpenSSL import SSL, crypto
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import (
    CURRENT,
    EXPIRED,
    Identity,
    save_certificates,
    save_revocations,
    self_signed,
    shared,
)
from tests.command import PATIENCE
from tests.transcripts import Handshake, TLSServer
from twisted_tcpclient.endpoints import secured
from twisted_tcpclient.errors import (
    ConnectionBroken,
    CutShort,
    HandshakeFailed,
    NameMismatch,
    SettingsError,
    VerificationFailed,
)
from twisted_tcpclient.relay.endings import of_transport
from twisted_tcpclient.settings import TLSSettings
from twisted_tcpclient.tls import ConnectionCreator
from twisted_tcpclient.tls.reasons import tls_reason

TLS1_2 = (SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION)
TLS1_3 = (SSL.TLS1_3_VERSION, SSL.TLS1_3_VERSION)

ROOT = Path(__file__).resolve().parent.parent


class Trust(SynchronousTestCase):
    """Handshakes with servers in memory."""

    def setUp(self) -> None:
        """Take the usual authority, and make a directory for files."""
        self.authority = shared().authority
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def shake(
        self, server: Identity | TLSServer | None = None, **settings: Any
    ) -> Handshake:
        """Return a handshake with these settings, which is over."""
        settings = {"authorities": str(shared().ca), "name": "localhost", **settings}
        self.creator = ConnectionCreator(TLSSettings(**settings))
        tls = server if isinstance(server, TLSServer) else TLSServer(server)
        handshake = Handshake(
            lambda tcp, clock: secured(self.creator, tcp, clock, 30), tls
        )
        handshake.factory.diagnose = of_transport
        handshake.finish()
        return handshake

    def accepts(
        self, server: Identity | TLSServer | None = None, **settings: Any
    ) -> Handshake:
        """Check that the server is accepted."""
        handshake = self.shake(server, **settings)
        self.assertIsNotNone(handshake.result, handshake.error)
        return handshake

    def refuses(
        self,
        why: str,
        server: Identity | TLSServer | None = None,
        error: type[Exception] = VerificationFailed,
        **settings: Any,
    ) -> Any:
        """
        Check that the server is refused for that reason, and that no protocol was
        built.
        """
        handshake = self.shake(server, **settings)
        self.assertIs(type(handshake.error), error)
        self.assertIn(why, str(handshake.error))
        # Messages are one line of printable ASCII.
        self.assertRegex(str(handshake.error), r"\A[ -~]*\Z")
        self.assertEqual(handshake.factory.built, [])
        self.assertEqual(handshake.left, [])
        return handshake.error


class NameTests(Trust):
    """The name that a certificate has to have (the reference identity)."""

    def test_names(self) -> None:
        """Each DNS name in the certificate matches, in upper or lower case."""
        for name in (
            "localhost",
            "mail.example.test",
            "LocalHost",
            "MAIL.EXAMPLE.TEST",
            "localhost.",
        ):
            self.accepts(name=name)

    def test_addresses(self) -> None:
        """
        Each IP address in the certificate matches, however it is written; a zone is
        ignored.
        """
        for name in ("127.0.0.1", "::1", "0:0:0:0:0:0:0:1", "::1%lo"):
            self.accepts(name=name)

    def test_wildcard(self) -> None:
        """A wildcard stands for one label, the first."""
        server = self.authority.server(["*.example.test"])
        self.accepts(server, name="mx.example.test")
        for name in ("example.test", "a.b.example.test", "mx.example.test.test"):
            self.refuses("not for", server, NameMismatch, name=name)

    def test_wrong_name(self) -> None:
        """
        A valid certificate for other names is refused, and the message lists them.
        """
        for name in ("example.test", "xlocalhost", "localhost.test", "test"):
            error = self.refuses(f"not for {name}", None, NameMismatch, name=name)
            self.assertIn("localhost, mail.example.test, 127.0.0.1, ::1", str(error))

    def test_wrong_address(self) -> None:
        """An IP address matches no other IP address."""
        for name in ("127.0.0.2", "::2", "::ffff:127.0.0.1"):
            self.refuses(f"not for {name}", None, NameMismatch, name=name)

    def test_address_is_no_name(self) -> None:
        """An IP address among the DNS names matches no address, and the reverse."""
        named = self.authority.server(["192.0.2.1"])
        self.refuses("not for", named, NameMismatch, name="192.0.2.1")
        numbered = self.authority.server((), ["127.0.0.1"])
        self.refuses("not for", numbered, NameMismatch, name="localhost")

    def test_many_names(self) -> None:
        """The message lists only some of many names."""
        names = [f"host{n}.example.test" for n in range(500)]
        error = self.refuses("host0", self.authority.server(names), NameMismatch)
        self.assertLess(len(str(error)), 400)

    def test_common_name(self) -> None:
        """
        The common name counts only if the user gave the name, in upper or lower case.
        """
        server = self.authority.server(common_name="old.example.test")
        self.accepts(server, name="old.example.test", common_name=True)
        self.accepts(server, name="OLD.example.test", common_name=True)
        error = self.refuses("no name at all", server, NameMismatch, name="old.test")
        self.assertNotIn("old.example.test", str(error))
        self.refuses("no name at all", server, NameMismatch, name="old.example.test")

    def test_wrong_common_name(self) -> None:
        """Another common name does not match, and wildcards in it stand for nothing."""
        for cn in ("new.example.test", "*.example.test", "old.example.test."):
            self.refuses(
                cn,
                self.authority.server(common_name=cn),
                NameMismatch,
                name="old.example.test",
                common_name=True,
            )

    def test_common_name_beside_others(self) -> None:
        """
        The common name does not count beside a DNS name or an IP address (RFC 9525).
        """
        for server in (
            self.authority.server(["a.test"], common_name="b.test"),
            self.authority.server((), ["192.0.2.1"], common_name="b.test"),
        ):
            self.refuses("not for", server, NameMismatch, name="b.test")
            self.refuses(
                "not for", server, NameMismatch, name="b.test", common_name=True
            )

    def test_common_name_with_san(self) -> None:
        """A name that the user gave may match any name in the certificate."""
        self.accepts(name="mail.example.test", common_name=True)

    def test_no_name(self) -> None:
        """Without a name, as over a UNIX socket, only the chain is verified."""
        self.accepts(self.authority.server(["whoever.test"]), name=None)
        self.refuses("unknown CA", shared().stranger.server(["x"]), name=None)

    def test_international_name(self) -> None:
        """A name that is not ASCII is verified, and sent as SNI, in its ASCII form."""
        server = TLSServer(self.authority.server(["xn--bcher-kva.example"]))
        self.accepts(server, name="b\xfccher.example", server_name="b\xfccher.example")
        self.assertEqual(server.names, [b"xn--bcher-kva.example"])

    def test_impossible_name(self) -> None:
        """A name that no certificate can have is an error when the creator is made."""
        for name in ("", ".", "a b", "a\nb", "user@host", "\u2603" * 70, "1"):
            settings = TLSSettings(authorities=str(shared().ca), name=name)
            error = self.assertRaises(SettingsError, ConnectionCreator, settings)
            self.assertRegex(str(error), r"\A[ -~]*\Z")

    def test_server_name(self) -> None:
        """SNI is the name in the settings; without one no SNI is sent."""
        for name, sent in (("mail.example.test", b"mail.example.test"), (None, None)):
            server = TLSServer()
            handshake = self.accepts(server, server_name=name)
            self.assertEqual(server.names, [sent])
            facts = self.creator.session_facts(handshake.result.transport.getHandle())
            self.assertEqual(facts.server_name, name)


def poisoned(
    *parts: tuple[x509.ObjectIdentifier, str],
    names: list[str],
    extension: x509.ExtensionType | None = None,
) -> Identity:
    """Issue a certificate with any names in it."""
    issuer = shared().authority.identity
    key = ec.generate_private_key(ec.SECP256R1())
    draft = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(*part) for part in parts]))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(CURRENT.start)
        .not_valid_after(CURRENT.end)
    )
    if names:
        extension = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    if extension is not None:
        draft = draft.add_extension(extension, critical=False)
    return Identity(draft.sign(issuer.key, SHA256()), key)


class PoisonTests(Trust):
    """Certificates whose text is meant to do harm where it is shown."""

    #: Escape sequences, control characters of 7 and 8 bits, and line separators.
    EVIL = "evil\x1b[2J\x07\r\ntcpclient: all is well\x7f\x9b1m\u202e\u2028"

    def test_in_subject(self) -> None:
        """Control characters in a subject are escaped in a message."""
        server = poisoned((NameOID.COMMON_NAME, self.EVIL), names=[])
        error = self.refuses(
            "evil", server, NameMismatch, name="good.test", common_name=True
        )
        self.assertIn("\\x1b", str(error))

    def test_in_names(self) -> None:
        """Control characters in DNS names are escaped in a message."""
        evil = self.EVIL.encode("ascii", "ignore").decode()
        server = poisoned((NameOID.COMMON_NAME, "x"), names=[evil, "other.test"])
        error = self.refuses("not for localhost", server, NameMismatch)
        self.assertNotIn("\x1b", str(error))

    def test_in_untrusted_subject(self) -> None:
        """
        Control characters in the subject of an unknown CA's certificate are escaped.
        """
        stranger = self_signed(common_name=self.EVIL)
        self.refuses("evil", stranger)

    def test_long_subject(self) -> None:
        """A long subject is cut in a message."""
        parts = [(NameOID.ORGANIZATIONAL_UNIT_NAME, "x" * 60)] * 50
        server = poisoned(*parts, names=["localhost"])
        ca = str(shared().stranger_ca)
        error = self.refuses("unknown CA", server, authorities=ca)
        self.assertLess(len(str(error)), 400)

    def test_nul(self) -> None:
        """A name does not end at a NUL, whether it is compared or shown."""
        for trick in ("localhost\0.evil.test", "\0localhost"):
            server = poisoned((NameOID.COMMON_NAME, trick), names=[])
            error = self.refuses("\\00", server, NameMismatch, common_name=True)
            self.assertNotIn("\0", str(error))
            server = poisoned((NameOID.COMMON_NAME, "x"), names=[trick])
            error = self.shake(server).error
            self.assertIsInstance(error, VerificationFailed)
            self.assertNotIn("\0", str(error))

    def garbled(self, tag: bytes) -> Identity:
        """Return a certificate whose subject cannot be decoded."""
        identity = self_signed(["localhost"], common_name="GARBLED!")
        der = identity.certificate.public_bytes(Encoding.DER)
        bad = tag + b"\x08\xff\xfe\x1b[2J\xc3\x28"
        garbled = der.replace(b"\x0c\x08GARBLED!", bad)
        certificate: Any = crypto.load_certificate(crypto.FILETYPE_ASN1, garbled)
        return replace(identity, certificate=certificate)

    #: Types of ASN.1 strings: libraries accept any bytes in the first one.
    TELETEX, PRINTABLE = b"\x14", b"\x13"

    def test_unreadable_subject(self) -> None:
        """A subject that cannot be decoded is not shown."""
        self.refuses("(unreadable)", self.garbled(self.TELETEX))

    def test_unreadable(self) -> None:
        """A certificate that cannot be parsed is refused."""
        self.refuses("(unreadable)", self.garbled(self.PRINTABLE))

    def test_unreadable_in_facts(self) -> None:
        """Without verification, prog gets no subject if it cannot be decoded."""
        for tag in (self.TELETEX, self.PRINTABLE):
            handshake = self.accepts(self.garbled(tag), verify=False)
            facts = self.creator.session_facts(handshake.result.transport.getHandle())
            self.assertIn(facts.subject, (None, "(unreadable)"))

    def test_unreadable_names(self) -> None:
        """A certificate whose names cannot be parsed matches no name."""
        oid = ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        for names in (b"\x82\x04\xff\xfe\xfd\xfc", b"\x87\x03abc"):
            alternatives = b"\x30" + bytes([len(names)]) + names
            extension = x509.UnrecognizedExtension(oid, alternatives)
            server = poisoned(
                (NameOID.COMMON_NAME, "localhost"), names=[], extension=extension
            )
            for common_name in (False, True):
                self.refuses("", server, common_name=common_name)

    def test_in_facts(self) -> None:
        """The subject that prog gets is printable ASCII."""
        server = poisoned((NameOID.COMMON_NAME, self.EVIL), names=["localhost"])
        handshake = self.accepts(server)
        facts = self.creator.session_facts(handshake.result.transport.getHandle())
        assert facts.subject is not None
        self.assertRegex(facts.subject, r"\A[ -~]*\Z")
        self.assertIn("evil", facts.subject)


class ChainTests(Trust):
    """The chain from the server's certificate to a trust anchor."""

    def test_expired(self) -> None:
        """
        A certificate past its time is refused; the error has OpenSSL's number and the
        depth.
        """
        server = self.authority.server(["localhost"], valid=EXPIRED)
        error = self.refuses("certificate has expired (CN=localhost)", server)
        self.assertEqual((error.code, error.depth), (10, 0))

    def test_unknown_authority(self) -> None:
        """A certificate of a CA that is not trusted is refused."""
        self.refuses("unknown CA", authorities=str(shared().stranger_ca))

    def test_self_signed(self) -> None:
        """A self-signed certificate is refused."""
        self.refuses("self-signed certificate", self_signed(["localhost"]))

    def test_self_signed_and_trusted(self) -> None:
        """
        A self-signed certificate is accepted if the user trusts it, for its own names
        alone.
        """
        server = self_signed(["localhost"])
        ca = save_certificates(self.directory / "ca.pem", server.certificate)
        self.accepts(server, authorities=str(ca))
        self.refuses("not for", server, NameMismatch, authorities=str(ca), name="x.y")

    def test_intermediate(self) -> None:
        """A chain is followed if the server sends the intermediates."""
        server = self.authority.intermediate().server(["localhost"])
        self.accepts(server)
        error = self.refuses("intermediate", server.without_intermediates())
        self.assertEqual(error.depth, 0)

    def test_intermediate_expired(self) -> None:
        """
        An intermediate has to be valid too; the error names it, and has its depth.
        """
        server = self.authority.intermediate("Old", EXPIRED).server(["localhost"])
        error = self.refuses("expired (CN=Old)", server)
        self.assertEqual(error.depth, 1)

    def test_insecure(self) -> None:
        """Without verification, certificates with any fault are accepted."""
        for server in (
            self_signed(["localhost"]),
            self.authority.server(["x.test"]),
            self.authority.server(["localhost"], valid=EXPIRED),
            shared().stranger.server(["localhost"]),
        ):
            self.accepts(server, verify=False)

    def test_insecure_asks_no_files(self) -> None:
        """Without verification, no CA file is needed."""
        self.accepts(verify=False, authorities=None)

    def test_system(self) -> None:
        """Without a CA file, the system's CAs are trusted, and no others."""
        for ca, check in (
            (shared().ca, self.accepts),
            (shared().stranger_ca, lambda **settings: self.refuses("CA", **settings)),
        ):
            before = os.environ.get("SSL_CERT_FILE")
            os.environ["SSL_CERT_FILE"] = str(ca)
            try:
                check(authorities=None)
            finally:
                del os.environ["SSL_CERT_FILE"]
                if before is not None:
                    os.environ["SSL_CERT_FILE"] = before

    def test_only_once(self) -> None:
        """The verdict on one connection does not count for the next one."""
        self.accepts()
        first = self.creator
        for name in ("x.test", "localhost"):
            server = TLSServer(self.authority.server([name]))
            handshake = Handshake(
                lambda tcp, clock: secured(first, tcp, clock, 30), server
            )
            handshake.finish()
            self.assertEqual(handshake.result is not None, name == "localhost")

    def test_accepted_only_if_verified(self) -> None:
        """A handshake in which OpenSSL has asked for no verdict is not accepted."""
        settings = TLSSettings(authorities=str(shared().ca), name="localhost")
        creator = ConnectionCreator(settings)
        connection = creator.clientConnectionForTLS(None)
        self.assertRaises(VerificationFailed, creator.accept, connection)


class RevocationTests(Trust):
    """Certificate revocation lists (CRLs)."""

    def lists(self, *lists: x509.CertificateRevocationList) -> str:
        """Write CRLs into a file, and return its path."""
        return str(save_revocations(self.directory / "crl.pem", *lists))

    def test_revoked(self) -> None:
        """A revoked certificate is refused."""
        server = self.authority.server(["localhost"])
        crl = self.lists(self.authority.revocations(server))
        error = self.refuses("certificate is revoked", server, revocations=crl)
        self.assertEqual(error.code, 23)

    def test_not_revoked(self) -> None:
        """A certificate that is not on the list is accepted."""
        other = self.authority.server(["localhost"])
        self.accepts(revocations=self.lists(self.authority.revocations(other)))
        self.accepts(revocations=str(shared().revocations))

    def test_several(self) -> None:
        """A file may hold the CRLs of several CAs."""
        server = self.authority.server(["localhost"])
        crl = self.lists(
            shared().stranger.revocations(), self.authority.revocations(server)
        )
        self.refuses("revoked", server, revocations=crl)
        self.accepts(revocations=crl)

    def test_chain(self) -> None:
        """
        Of a chain, the CRL of the CA that issued the server's certificate is required.
        Those of the CAs above it count if they are there.
        """
        intermediate = self.authority.intermediate()
        server = intermediate.server(["localhost"])
        own = intermediate.revocations()
        self.accepts(server, revocations=self.lists(own))
        self.accepts(server, revocations=self.lists(own, self.authority.revocations()))
        above = self.authority.revocations(intermediate.identity)
        error = self.refuses("revoked", server, revocations=self.lists(own, above))
        self.assertEqual(error.depth, 1)
        error = self.refuses(
            "no certificate revocation list",
            server,
            revocations=self.lists(self.authority.revocations()),
        )
        self.assertEqual(error.depth, 0)

    def test_name_still_counts(self) -> None:
        """Where the CRL of a CA is missing, a wrong name is still refused."""
        intermediate = self.authority.intermediate()
        crl = self.lists(intermediate.revocations())
        server = intermediate.server(["x.test"])
        self.refuses("not for", server, NameMismatch, revocations=crl)


class ClientCertificateTests(Trust):
    """The certificate of the client."""

    #: The subject of the client certificate.
    CLIENT = "CN=Test Client"

    def test_presented(self) -> None:
        """The client certificate is sent to a server that asks for it."""
        for versions in (TLS1_2, TLS1_3):
            server = TLSServer(insists=True, versions=versions)
            handshake = self.accepts(server, certificate=str(shared().client))
            handshake.server.transport.write(b"welcome")
            handshake.finish()
            self.assertEqual(handshake.result.received, b"welcome")
            self.assertEqual(server.clients, [self.CLIENT])

    def test_with_chain(self) -> None:
        """The client certificate is sent with its intermediates."""
        client = self.authority.intermediate().client()
        path = client.save(self.directory / "client.pem")
        server = TLSServer(insists=True)
        self.accepts(server, certificate=str(path))
        self.assertEqual(server.clients, [self.CLIENT])

    def test_certificate_first(self) -> None:
        """In the file, the key may come before or after the certificates."""
        path = self.directory / "client.pem"
        client = shared().client_identity
        path.write_bytes(client.chain_pem() + client.key_pem())
        server = TLSServer(insists=True)
        self.accepts(server, certificate=str(path))
        self.assertEqual(server.clients, [self.CLIENT])

    def test_not_asked_for(self) -> None:
        """The client certificate is not sent to a server that does not ask for it."""
        server = TLSServer()
        self.accepts(server, certificate=str(shared().client))
        self.assertEqual(server.clients, [])

    def test_optional(self) -> None:
        """
        Without a client certificate, a server that asks for one but does not insist is
        used.
        """
        server = TLSServer(asks=True)
        self.accepts(server)
        self.assertEqual(server.clients, [])

    def test_not_to_strangers(self) -> None:
        """
        A server that is refused does not get the client certificate: the handshake ends
        before it is sent.
        """
        for versions in (TLS1_2, TLS1_3):
            for identity, error in (
                (self.authority.server(["evil.test"]), NameMismatch),
                (shared().stranger.server(["localhost"]), VerificationFailed),
            ):
                server = TLSServer(identity, asks=True, versions=versions)
                self.refuses(
                    "",
                    server,
                    error,
                    certificate=str(shared().client),
                    name="good.test",
                )
                self.assertEqual(server.clients, [])

    def test_missing(self) -> None:
        """
        TLS 1.2: a server that insists on a certificate fails the handshake.  The error
        says so, and names the option.
        """
        server = TLSServer(insists=True, versions=TLS1_2)
        words = "failure: the server asked for a client certificate (-n)"
        self.refuses(words, server, HandshakeFailed)

    def test_missing_in_1_3(self) -> None:
        """
        TLS 1.3: a server insists on a certificate only after the handshake.  Then the
        end of the connection is an error, which says so.
        """
        handshake = self.shake(TLSServer(insists=True, versions=TLS1_3))
        (error,) = handshake.result.diagnoses
        self.assertIs(type(error), ConnectionBroken)
        self.assertIn("certificate required", str(error))

    def test_asked(self) -> None:
        """
        The creator knows of each connection whether the server asked for a certificate
        that it did not get, in TLS 1.2 and 1.3.
        """
        client = str(shared().client)
        for versions in (TLS1_2, TLS1_3):
            for server, settings, lacks in (
                (TLSServer(versions=versions), {}, False),
                (TLSServer(asks=True, versions=versions), {}, True),
                (TLSServer(asks=True, versions=versions), {"verify": False}, True),
                (
                    TLSServer(asks=True, versions=versions),
                    {"certificate": client},
                    False,
                ),
            ):
                handshake = self.accepts(server, **settings)
                connection = handshake.result.transport.getHandle()
                self.assertIs(self.creator.lacks_certificate(connection), lacks)

    def test_verification_first(self) -> None:
        """
        If the server's certificate is refused, the error does not name the client
        certificate.
        """
        server = TLSServer(
            self.authority.server(["evil.test"]), asks=True, versions=TLS1_2
        )
        error = self.refuses("not for localhost", server, NameMismatch)
        self.assertNotIn("client certificate", str(error))

    def test_refused_in_1_3(self) -> None:
        """
        TLS 1.3: the same holds for a client certificate that the server does not trust.
        """
        path = shared().stranger.client().save(self.directory / "client.pem")
        server = TLSServer(insists=True, versions=TLS1_3)
        handshake = self.shake(server, certificate=str(path))
        (error,) = handshake.result.diagnoses
        self.assertIs(type(error), ConnectionBroken)
        self.assertIn("unknown ca", str(error))


class EndTests(Trust):
    """The errors for the end of a connection."""

    def ended(self, handshake: Handshake) -> Exception | None:
        """Return the error for the end of the connection, None for an orderly one."""
        (diagnosis,) = handshake.result.diagnoses
        assert diagnosis is None or isinstance(diagnosis, Exception)
        return diagnosis

    def test_closed(self) -> None:
        """close_notify is an orderly end."""
        handshake = self.accepts()
        handshake.server.transport.loseConnection()
        handshake.finish()
        self.assertIsNone(self.ended(handshake))

    def test_cut_short(self) -> None:
        """A FIN without close_notify is an error, as an attacker can send it."""
        for versions in (TLS1_2, TLS1_3):
            handshake = self.accepts(TLSServer(versions=versions))
            handshake.server.transport.write(b"half of it")
            handshake.finish()
            handshake.cut()
            self.assertEqual(handshake.result.received, b"half of it")
            self.assertIs(type(self.ended(handshake)), CutShort)

    def test_reset(self) -> None:
        """A reset is another error than a FIN."""
        handshake = self.accepts()
        handshake.protocol.connectionLost(Failure(ConnectionLost()))
        error = self.ended(handshake)
        self.assertIs(type(error), ConnectionBroken)
        self.assertEqual(str(error), "connection reset")

    def test_garbage(self) -> None:
        """A record that cannot be decrypted is an error with a reason."""
        handshake = self.accepts()
        handshake.protocol.dataReceived(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        handshake.finish()
        error = self.ended(handshake)
        self.assertIs(type(error), ConnectionBroken)
        self.assertRegex(str(error), r"\ATLS failed: [ -~]+\Z")

    def test_both(self) -> None:
        """A FIN right after close_notify is an orderly end."""
        handshake = self.accepts()
        handshake.server.transport.loseConnection()
        handshake.cut()
        self.assertIsNone(self.ended(handshake))
        (reason,) = handshake.result.lost
        self.assertTrue(reason.check(ConnectionDone))


class ExplainTests(SynchronousTestCase):
    """The words for OpenSSL's errors."""

    def test_table(self) -> None:
        """
        The words are the last reason in OpenSSL's queue, or the kind of the error.
        """
        for error, words in (
            (SSL.Error([("", "", "first"), ("", "", "second")]), "second"),
            (SSL.Error([("", "", "some\x1bthing"), ("", "", "")]), "some\\x1bthing"),
            (SSL.Error([]), "the connection was closed"),
            (SSL.Error([("", "", "")]), "the connection was closed"),
            (SSL.Error(), "the connection was closed"),
            (SSL.SysCallError(-1, "Unexpected EOF"), "the connection was closed"),
            (ConnectionDone(), "connection was closed cleanly"),
            (ValueError("What?"), "what?"),
        ):
            self.assertEqual(tls_reason(error), words)

    def test_hints(self) -> None:
        """For some reasons the likely cause follows."""
        for reason in ("wrong version number", "packet length too long"):
            words = tls_reason(SSL.Error([("", "", reason)]))
            self.assertEqual(words, f"{reason}: the server does not speak TLS here")
        words = tls_reason(SSL.Error([("", "", "unsupported protocol")]))
        self.assertEqual(words, "unsupported protocol: no common TLS version")


class SettingsTests(Trust):
    """Versions of TLS and ciphers."""

    def observed(self, **settings: Any) -> Any:
        """Return the facts of a session with these settings."""
        handshake = self.accepts(**settings)
        return self.creator.session_facts(handshake.result.transport.getHandle())

    def test_versions(self) -> None:
        """
        The highest version within bounds is used, and the highest that was offered is
        known.
        """
        for low, high, used in (
            ("TLSv1_2", "TLSv1_3", "TLSv1.3"),
            ("TLSv1_2", "TLSv1_2", "TLSv1.2"),
            ("TLSv1_3", "TLSv1_3", "TLSv1.3"),
        ):
            facts = self.observed(minimum=low, maximum=high)
            self.assertEqual(facts.protocol, used)
            self.assertEqual(facts.offered, high.replace("_", "."))

    def test_bounds(self) -> None:
        """A server without a version within bounds is refused, with a reason."""
        for setting, versions in (("TLSv1_3", TLS1_2), ("TLSv1_2", TLS1_3)):
            self.refuses(
                "version",
                TLSServer(versions=versions),
                HandshakeFailed,
                minimum=setting,
                maximum=setting,
            )

    def test_ciphers(self) -> None:
        """A cipher list restricts TLS 1.2."""
        cipher = "ECDHE-ECDSA-AES128-GCM-SHA256"
        facts = self.observed(ciphers=cipher, maximum="TLSv1_2")
        self.assertEqual(facts.cipher, cipher)

    def test_suites(self) -> None:
        """Cipher suites restrict TLS 1.3."""
        suite = "TLS_CHACHA20_POLY1305_SHA256"
        self.assertEqual(self.observed(suites=suite).cipher, suite)

    def test_no_common_cipher(self) -> None:
        """A server without a common cipher fails the handshake."""
        server = TLSServer(versions=TLS1_2, ciphers=b"ECDHE-ECDSA-AES128-GCM-SHA256")
        self.refuses(
            "handshake failure",
            server,
            HandshakeFailed,
            ciphers="ECDHE-ECDSA-AES256-GCM-SHA384",
        )

    def test_no_such_cipher(self) -> None:
        """A list without a usable cipher is an error when the creator is made."""
        for name in ("NO-SUCH-CIPHER", "caf\xe9", "\x1b[2J", ""):
            for which in ("ciphers", "suites"):
                if (name, which) == ("", "suites"):
                    continue
                settings: Any = {which: name, "verify": False}
                error = self.assertRaises(
                    SettingsError, ConnectionCreator, TLSSettings(**settings)
                )
                self.assertIn("no usable cipher", str(error))
                self.assertRegex(str(error), r"\A[ -~]*\Z")

    def test_facts(self) -> None:
        """The facts are those of the certificate, and OpenSSL's names."""
        facts = self.observed(server_name="localhost")
        certificate = shared().server_identity.certificate
        self.assertEqual(facts.subject, "CN=localhost")
        self.assertEqual(
            facts.certificate_hash, "SHA256:" + certificate.fingerprint(SHA256()).hex()
        )
        self.assertRegex(facts.cipher, r"\ATLS_[A-Z0-9_]+\Z")
        self.assertEqual(facts.server_name, "localhost")


class FileTests(Trust):
    """The files that the settings name."""

    def fails(self, why: str, **settings: Any) -> str:
        """Check that the files are an error in one printable line, and return it."""
        error = self.assertRaises(
            SettingsError, ConnectionCreator, TLSSettings(**settings)
        )
        self.assertIn(why, str(error))
        self.assertRegex(str(error), r"\A[ -~]*\Z")
        return str(error)

    def file(self, content: bytes, name: str = "file.pem") -> str:
        """Write a file, and return its path."""
        path = self.directory / name
        path.write_bytes(content)
        return str(path)

    def test_missing(self) -> None:
        """A file that does not exist is named, with the reason."""
        for which, what in (
            ("certificate", "certificate"),
            ("authorities", "CA certificates"),
            ("revocations", "certificate revocation lists"),
        ):
            settings = {"authorities": str(shared().ca), which: "no/such\nfile"}
            message = self.fails(f"unable to read {what} no/such", **settings)
            self.assertIn("file does not exist", message)

    def test_directory(self) -> None:
        """A directory is accepted for CAs alone, and has to hold some."""
        for which, why in (
            ("certificate", "is a directory"),
            ("authorities", "no CA certificate"),
            ("revocations", "is a directory"),
        ):
            settings = {"authorities": str(shared().ca), which: str(self.directory)}
            self.fails(why, **settings)

    def test_impossible(self) -> None:
        """A path with a NUL in it is an error."""
        for which in ("certificate", "authorities", "revocations"):
            settings = {"authorities": str(shared().ca), which: "a\0b"}
            self.fails("unable to read", **settings)

    def test_garbage(self) -> None:
        """A file without a certificate, or without a CRL, is an error."""
        for content in (b"", b"garbage", bytes(range(256)), self.marked(b"JUNK")):
            path = self.file(content)
            self.fails("no certificate in", certificate=path)
            self.fails("no CA certificate in", authorities=path)
            self.fails_as_list(path)

    def test_garbled(self) -> None:
        """Marks of PEM around garbage are an error."""
        path = self.file(self.marked(b"CERTIFICATE"))
        self.fails("no certificate in", certificate=path)
        self.fails("no CA certificate in", authorities=path)
        self.fails_as_list(self.file(self.marked(b"X509 CRL")))

    def test_mistaken(self) -> None:
        """A file of certificates is not accepted as one of CRLs."""
        self.fails_as_list(str(shared().ca))

    def marked(self, what: bytes) -> bytes:
        """Return garbage between marks of PEM."""
        return b"-----BEGIN %s-----\nAAAA\n-----END %s-----\n" % (what, what)

    def fails_as_list(self, path: str) -> None:
        """Check that the file is not accepted as one of CRLs."""
        self.fails(
            "no certificate revocation list in",
            authorities=str(shared().ca),
            revocations=path,
        )

    def test_without_key(self) -> None:
        """A certificate without a key is an error."""
        chain = shared().client_identity.chain_pem()
        self.fails("no private key", certificate=self.file(chain))

    def test_key_of_another(self) -> None:
        """A certificate with the key of another is an error."""
        other = shared().server_identity.key_pem()
        chain = shared().client_identity.chain_pem()
        self.fails("no private key", certificate=self.file(other + chain))

    def test_key_only(self) -> None:
        """A key without a certificate is an error."""
        key = shared().client_identity.key_pem()
        self.fails("no certificate in", certificate=self.file(key))


#: A script that makes a creator, and prints whether that worked.
_ASKING = """
import sys
from twisted_tcpclient.errors import SettingsError
from twisted_tcpclient.settings import TLSSettings
from twisted_tcpclient.tls import ConnectionCreator
try:
    ConnectionCreator(TLSSettings(certificate=sys.argv[1]))
except SettingsError as error:
    sys.exit(str(error))
print("in order")
"""


#: The leader of a session that opens a terminal gets it as its controlling terminal.
#: SIGTERM is delivered to another thread, so that it does not interrupt poll(2).
_ON_TERMINAL = """
import os, signal, sys, threading
os.open(sys.argv[2], os.O_RDWR)
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
"""


class PassphraseTests(SynchronousTestCase):
    """The passphrase of a key, which is asked for on the terminal alone."""

    def test_no_terminal(self) -> None:
        """Without a terminal an encrypted key is an error, and stdin is not read."""
        process = subprocess.run(
            [sys.executable, "-c", _ASKING, str(shared().encrypted_client)],
            cwd=ROOT,
            input=shared().passphrase + "\n",
            capture_output=True,
            text=True,
            start_new_session=True,
        )
        self.assertEqual(process.returncode, 1)
        self.assertEqual(process.stdout, "")
        self.assertIn("encrypted, and there is no terminal", process.stderr)
        self.assertEqual(process.stderr.count("\n"), 1)

    def ask(
        self, react: Callable[[IO[bytes], subprocess.Popen[bytes]], object]
    ) -> tuple[str, int]:
        """
        Run a script on a terminal; return its output and its status.

        :param react: called at the prompt.
        """
        ours, theirs = os.openpty()
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                _ON_TERMINAL + _ASKING,
                str(shared().encrypted_client),
                os.ttyname(theirs),
            ],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        # A process that hangs is killed, which fails the test.
        guard = threading.Timer(PATIENCE, process.kill)
        guard.start()
        self.addCleanup(guard.join)
        self.addCleanup(guard.cancel)
        said = b""
        with os.fdopen(ours, "r+b", 0) as stream:
            while data := self.read(stream):
                said += data
                if said.endswith(b": "):
                    react(stream, process)
        return said.decode(), process.wait()

    def answer(self, words: str) -> str:
        """Return the output for an answer at the prompt."""

        def react(stream: IO[bytes], process: subprocess.Popen[bytes]) -> None:
            stream.write(words.encode() + b"\n")

        said, _ = self.ask(react)
        return said

    def read(self, stream: IO[bytes]) -> bytes:
        """Return the next output of the terminal, b"" at the end."""
        try:
            return stream.read(1024)
        except OSError:
            # EIO: no process has the terminal open any more (Linux).
            return b""

    def test_terminal(self) -> None:
        """The passphrase is asked for on the terminal, and not echoed."""
        said = self.answer(shared().passphrase)
        self.assertIn("in order", said)
        self.assertNotIn(shared().passphrase, said)
        self.assertIn(str(shared().encrypted_client), said)

    def test_wrong(self) -> None:
        """A wrong passphrase is an error."""
        for answer in ("wrong", "\n", "x" * 2000):
            said = self.answer(answer)
            self.assertNotIn("in order", said)
            self.assertNotIn("Traceback", said)

    def test_signal(self) -> None:
        """A signal that comes before the answer is read ends the process."""

        def react(stream: IO[bytes], process: subprocess.Popen[bytes]) -> None:
            process.terminate()

        _, status = self.ask(react)
        self.assertEqual(status, -signal.SIGTERM)

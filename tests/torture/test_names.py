"""
The names that a certificate is valid for (RFC 9525), compared with reference names.

Each case is a handshake in memory.  The same case is given to ``openssl verify``; where
OpenSSL decides otherwise, the case says why.

The cases of C2SP's x509-limbo about server names are included.  Its data is in no
package registry, so the certificates are made here, as
https://x509-limbo.com/testcases/ describes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority, Identity, der, save_certificates
from tests.torture.openssl import verifies
from tests.transcripts import Handshake, TLSServer
from twisted_tcpclient.endpoints import secured
from twisted_tcpclient.errors import NameMismatch, SettingsError, VerificationFailed
from twisted_tcpclient.settings import TLSSettings, is_ip
from twisted_tcpclient.tls import ConnectionCreator

#: A name as it is encoded in a certificate: its tag, and any bytes.
Name = tuple[int, bytes]

#: The tags of the kinds of names (RFC 5280, section 4.2.1.6).
EMAIL, DNS, DIRECTORY, URI, IP = 0x81, 0x82, 0xA4, 0x86, 0x87

Constraints = tuple[x509.NameConstraints, bool]


def dns(*hosts: str) -> list[Name]:
    """Return DNS names."""
    return [(DNS, host.encode()) for host in hosts]


def ips(*addresses: str) -> list[Name]:
    """Return IP addresses."""
    return [(IP, ip_address(address).packed) for address in addresses]


def other(kind: x509.OtherName) -> list[Name]:
    """Return a name of the kind otherName."""
    return [(0xA0, x509.SubjectAlternativeName([kind]).public_bytes()[4:])]


def subtree(text: str) -> x509.GeneralName:
    """Return a subtree of DNS names or of IP addresses."""
    if "/" in text:
        return x509.IPAddress(ip_network(text))
    return x509.DNSName(text)


def only(*subtrees: str) -> x509.NameConstraints:
    """Return constraints that permit only these subtrees."""
    return x509.NameConstraints([subtree(text) for text in subtrees], None)


def but(*subtrees: str) -> x509.NameConstraints:
    """Return constraints that exclude these subtrees."""
    return x509.NameConstraints(None, [subtree(text) for text in subtrees])


@dataclass(frozen=True)
class Case:
    """
    A certificate, and the reference name that it is compared with.

    :ivar name: The reference name.
    :ivar presented: The subject alternative names of the certificate.
    :ivar good: Whether the certificate is valid for the reference name.
    :ivar differs: Why ``openssl verify`` decides otherwise; empty if it does not.
    :ivar cn: The CN of the certificate.
    :ivar given: Whether the name was given by ``-m``.
    :ivar constraints: Constraints of the CAs in the chain, beginning below the root.
    :ivar critical: Whether the extension with the names is critical.
    """

    name: str
    presented: Sequence[Name]
    good: bool
    differs: str = ""
    cn: str = "unrelated"
    given: bool = False
    constraints: Sequence[x509.NameConstraints] = ()
    critical: bool = False

    def certificate(self, authority: Authority) -> Identity:
        """Issue the certificate."""
        for number, constraints in enumerate(self.constraints):
            authority = authority.intermediate(
                f"CA {number}", extensions=[(constraints, True)]
            )
        value = der(0x30, b"".join(der(tag, name) for tag, name in self.presented))
        oid = ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        names = (x509.UnrecognizedExtension(oid, value), self.critical)
        return authority.server(
            common_name=self.cn, extensions=[names] if self.presented else []
        )


class Naming(SynchronousTestCase):
    """A test case that makes certificates and does handshakes with them."""

    def setUp(self) -> None:
        """Make a root CA, and a directory for files."""
        self.authority = Authority.root("Naming Root")
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.ca = self.authority.save(self.directory / "ca.pem")

    def hold(self, *cases: Case) -> None:
        """Check all cases; fail with a list of the wrong ones."""
        wrong = [f"{case}: {why}" for case in cases if (why := self.judge(case))]
        self.assertEqual(wrong, [])

    def judge(self, case: Case) -> str:
        """Return how the verdict of the package or of OpenSSL is wrong; else ""."""
        identity = case.certificate(self.authority)
        error = self.shake(identity, case)
        if (error is None) != case.good:
            return f"the verdict is {error}"
        if error is not None and not str(error).isprintable():
            return f"not printable: {error}"
        if error is not None and len(str(error)) > 400:
            return f"{len(str(error))} characters"
        if (self.openssl(identity, case) != case.good) != bool(case.differs):
            return "OpenSSL does not decide as the case says"
        return ""

    def shake(self, identity: Identity, case: Case) -> VerificationFailed | None:
        """Do the handshake; return the error of the verification, if any."""
        settings = TLSSettings(
            authorities=str(self.ca), name=case.name, common_name=case.given
        )
        creator = ConnectionCreator(settings)
        handshake = Handshake(
            lambda tcp, clock: secured(creator, tcp, clock, 30), TLSServer(identity)
        )
        handshake.finish()
        self.assertFalse(handshake.undecided)
        if handshake.result is not None:
            return None
        self.assertEqual(handshake.factory.built, [])
        self.assertIn(type(handshake.error), (NameMismatch, VerificationFailed))
        error: VerificationFailed = handshake.error
        return error

    def openssl(self, identity: Identity, case: Case) -> bool:
        """Tell whether ``openssl verify`` accepts the certificate for the name."""
        leaf = save_certificates(self.directory / "leaf.pem", identity.certificate)
        chain = save_certificates(
            self.directory / "chain.pem",
            # The file of -untrusted must contain a certificate.
            *(identity.intermediates or [identity.certificate]),
        )
        kind = "-verify_ip" if is_ip(case.name) else "-verify_hostname"
        files = ["-CAfile", str(self.ca), "-untrusted", str(chain), str(leaf)]
        # OpenSSL does not convert international names.
        name = case.name if case.name.isascii() else case.name.encode("idna").decode()
        return verifies(kind, name, *files)


_A_DOT = "OpenSSL takes a dot at the end as part of the name"
_PART = "OpenSSL lets a wildcard stand for a part of a label unless told otherwise"
_A_LABEL = "service_identity lets no wildcard stand for an international label"
_UNDERSCORE = "OpenSSL lets no wildcard stand for a label with an underscore"
_NOT_GIVEN = "OpenSSL uses the CN if there is no DNS name, also without -m"
_UNHEARD = "OpenSSL checks the wildcard against constraints, not the host"
_BESIDE = "OpenSSL ignores the CN only beside DNS names"


class HostTests(Naming):
    """DNS names without wildcards (RFC 9525, section 6.3)."""

    def test_exact(self) -> None:
        """
        A DNS name is valid for the same name, in upper or lower case, with or without a
        dot at the end of the reference name.
        """
        names = dns("mail.example.test", "b.test", "LOCALHOST", "under_score.test")
        self.hold(
            Case("mail.example.test", names, True),
            Case("MAIL.Example.Test", names, True),
            Case("b.test", names, True),
            Case("localhost", names, True),
            Case("under_score.test", names, True),
            Case("mail.example.test.", names, True, _A_DOT),
            Case("127.1", dns("127.1"), True),
            Case("3com.example", dns("3com.example"), True),
        )

    def test_others(self) -> None:
        """
        A DNS name is not valid for a name that shares only letters or labels with it.
        """
        names = dns("mail.example.test", "localhost")
        for name in (
            "example.test",
            "test",
            "a.mail.example.test",
            "xmail.example.test",
            "mail.example.testx",
            "mail-example.test",
            "mailexample.test",
            "mail.example",
            "mail.example.test.evil.test",
            "localhost.localdomain",
            "local",
        ):
            self.hold(Case(name, names, False))

    def test_malformed(self) -> None:
        """A malformed DNS name is valid for no host."""
        for name in (
            "localhost.",
            ".localhost",
            "",
            ".",
            "https://localhost",
            "localhost:443",
            "localhost/",
            "root@localhost",
            "localhost,evil.test",
        ):
            self.hold(Case("localhost", dns(name), False))
        long = f"{'x' * 64}.test"
        self.hold(Case("localhost", dns("x" * 20000, long, *["y" * 60] * 99), False))

    def test_blanks(self) -> None:
        """
        White space is part of a name: a DNS name with a blank is valid for no host.
        Name constraints treat blanks in the same way.
        """
        for name in (
            " localhost",
            "localhost ",
            "\tlocalhost",
            "localhost\n",
            "localhost\r",
            "local host",
            "localhost\x0b",
            "localhost\x0c",
        ):
            self.hold(Case("localhost", dns(name), False))

    def test_nul(self) -> None:
        """A NUL does not end a name."""
        for name in (
            "localhost\0",
            "localhost\0.evil.test",
            "\0localhost",
            "local\0host",
            "evil.test\0localhost",
        ):
            self.hold(Case("localhost", dns(name), False))
            self.hold(Case("localhost", [], False, cn=name, given=True))

    def test_control_bytes(self) -> None:
        """
        A name with control characters is valid for no host, and the error shows it
        escaped.
        """
        for name in (
            "\x1b[2J",
            "\x07",
            "\r\ntcpclient: fine",
            "\x7f",
            "\x9b1m",
            "\u202e",
        ):
            self.hold(
                Case("localhost", dns(name), False),
                Case("localhost", [], False, cn=name, given=True),
                Case("localhost", [(EMAIL, name.encode())], False, cn=name),
            )


class WildcardTests(Naming):
    """Wildcards (RFC 9525, section 6.3; RFC 6125, section 6.4.3)."""

    def test_one_label(self) -> None:
        """A wildcard stands for exactly one label, the leftmost."""
        names = dns("*.example.test")
        self.hold(
            Case("mx.example.test", names, True),
            Case("MX.example.TEST", names, True),
            Case("mx.example.test.", names, True, _A_DOT),
            Case("mx-1.example.test", names, True),
            Case("a.b.c.d.test", dns("*.b.c.d.test"), True),
            Case("_imaps.example.test", names, True, _UNDERSCORE),
            Case("example.test", names, False),
            Case("a.b.example.test", names, False),
            Case("mx.example.test.test", names, False),
            Case("mxexample.test", names, False),
            Case("mx.example.com", names, False),
        )

    def test_other_places(self) -> None:
        """A wildcard in another label, or for part of a label, is valid for no host."""
        name = "mail.mx.example.test"
        for wildcard, differs in (
            ("mail.*.example.test", ""),
            ("*.*.example.test", ""),
            ("mail.mx.example.*", ""),
            ("m*.mx.example.test", _PART),
            ("*l.mx.example.test", _PART),
            ("m*l.mx.example.test", ""),
            ("**.mx.example.test", ""),
            ("*mail.mx.example.test", _PART),
            ("mail*.mx.example.test", _PART),
            ("m**l.mx.example.test", ""),
            ("*", ""),
            ("*.", ""),
            ("*..mx.example.test", ""),
            (".*.mx.example.test", ""),
            ("*.mx.example.test.", ""),
            (" *.mx.example.test", ""),
            ("*.mx.example.test\n", ""),
            ("*\0.mx.example.test", ""),
            ("%2A.mx.example.test", ""),
            ("?ail.mx.example.test", ""),
        ):
            self.hold(Case(name, dns(wildcard), False, differs))

    def test_top_level(self) -> None:
        """
        A wildcard followed by only one label is valid for no host, and no wildcard is
        valid for a host without a dot.
        """
        self.hold(
            Case("example.test", dns("*.test"), False),
            Case("localhost", dns("*"), False),
            Case("localhost", dns("*.localhost"), False),
            # The package has no public suffix list.
            Case("example.co.uk", dns("*.co.uk"), True),
        )

    def test_addresses(self) -> None:
        """A wildcard is valid for no IP address."""
        self.hold(
            Case("127.0.0.1", dns("*.0.0.1"), False),
            Case("127.0.0.1", dns("*"), False),
            Case("127.0.0.1", dns("127.0.0.*"), False),
            Case("::1", dns("*::1"), False),
        )

    def test_international(self) -> None:
        """
        A wildcard inside an A-label is valid for no host, and a wildcard stands for no
        A-label.
        """
        self.hold(
            Case("a.xn--bcher-kva.test", dns("*.xn--bcher-kva.test"), True),
            Case("a.b\xfccher.test", dns("*.xn--bcher-kva.test"), True),
            Case("xn--bcher-kva.example.test", dns("xn--b*-kva.example.test"), False),
            Case("xn--bcher-kva.example.test", dns("xn--*.example.test"), False),
            Case("xn--bcher-kva.example.test", dns("*.example.test"), False, _A_LABEL),
            Case("b\xfccher.example.test", dns("*.example.test"), False, _A_LABEL),
        )


class InternationalTests(Naming):
    """International names (RFC 5280, section 7.2; RFC 5890)."""

    def test_both_ways(self) -> None:
        """U-labels and A-labels are compared as A-labels, in upper or lower case."""
        names = dns("xn--bcher-kva.test")
        self.hold(
            Case("b\xfccher.test", names, True),
            Case("xn--bcher-kva.test", names, True),
            Case("XN--BCHER-KVA.TEST", names, True),
            Case("b\xfccher.test", dns("XN--BCHER-KVA.test"), True),
            Case("b\xfccher.test.", names, True, _A_DOT),
        )

    def test_not_ascii(self) -> None:
        """A DNS name that is not ASCII is valid for no host."""
        for raw in ("b\xfccher.test".encode(), b"b\xfccher.test", b"\xff\xfe"):
            for name in ("b\xfccher.test", "xn--bcher-kva.test"):
                self.hold(Case(name, [(DNS, raw)], False))

    def test_lookalikes(self) -> None:
        """Letters that look the same are different letters."""
        cyrillic = "ex\u0430mple.test"
        self.hold(
            Case("example.test", dns(cyrillic), False),
            Case("example.test", dns("xn--exmple-4nf.test"), False),
            Case(cyrillic, dns("example.test"), False),
            Case(cyrillic, dns("xn--exmple-4nf.test"), True),
            Case("strasse.test", dns("xn--strae-oqa.test"), False),
        )


class AddressTests(Naming):
    """IP addresses (RFC 9525, section 6.4)."""

    def test_exact(self) -> None:
        """
        An IP address is valid for the same address in any notation; a zone is ignored.
        """
        names = ips("127.0.0.1", "::1", "2001:db8::8a2e:370:7334")
        self.hold(
            Case("127.0.0.1", names, True),
            Case("::1", names, True),
            Case("0:0:0:0:0:0:0:1", names, True),
            Case("2001:DB8::8A2E:370:7334", names, True),
            Case("::1%lo", names, True, "OpenSSL has no addresses with a zone"),
        )

    def test_others(self) -> None:
        """
        An IP address is not valid for another address, nor is a network for its
        addresses.
        """
        names = [*ips("127.0.0.1", "::1"), (IP, bytes((10, 0, 0, 0, 255, 0, 0, 0)))]
        for name in ("127.0.0.2", "::2", "::ffff:127.0.0.1", "::7f00:1", "10.0.0.0"):
            self.hold(Case(name, names, False))
        self.hold(Case("127.0.0.1", ips("::ffff:127.0.0.1", "::127.0.0.1"), False))

    def test_names_and_addresses(self) -> None:
        """
        A DNS name is not valid for an IP address, nor an IP address for a DNS name.
        """
        self.hold(
            Case("127.0.0.1", dns("127.0.0.1"), False),
            Case("::1", dns("::1"), False),
            Case("localhost", ips("127.0.0.1", "::1"), False),
            Case("127.0.0.1", [(URI, b"ip:127.0.0.1")], False),
            Case("127.0.0.1", [(IP, b"127.0.0.1")], False),
            Case("127.1", ips("127.0.0.1"), False),
        )


class OtherKindTests(Naming):
    """Names of other kinds than DNS and IP."""

    def test_kinds(self) -> None:
        """
        An e-mail address, a URI, a service name and a directory name are valid for no
        host.
        """
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        service = x509.OtherName(
            x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7"), der(0x16, b"_imap.localhost")
        )
        for kind, name in (
            (EMAIL, b"localhost"),
            (EMAIL, b"root@localhost"),
            (URI, b"https://localhost"),
            (URI, b"localhost"),
            (DIRECTORY, subject.public_bytes()),
            *other(service),
        ):
            self.hold(Case("localhost", [(kind, name)], False))


class CommonNameTests(Naming):
    """The CN, if -m gives the name and the certificate has no other names."""

    def test_given(self) -> None:
        """
        With -m, a CN is valid if it equals the name of -m after the same conversion; a
        wildcard in the CN is an ordinary character.
        """
        for name, cn, differs in (
            ("old.example.test", "old.example.test", ""),
            ("OLD.example.test", "old.EXAMPLE.test", ""),
            ("localhost", "localhost", ""),
            ("b\xfccher.test", "xn--bcher-kva.test", ""),
            (
                "b\xfccher.test",
                "b\xfccher.test",
                "OpenSSL knows no international names",
            ),
            ("192.0.2.1", "192.0.2.1", "OpenSSL compares addresses with addresses"),
        ):
            self.hold(Case(name, [], True, differs, cn=cn, given=True))

    def test_wrong(self) -> None:
        """With -m, a CN that differs from the name is refused."""
        for name, cn, differs in (
            ("old.example.test", "new.example.test", ""),
            ("old.example.test", "old.example.test.", ""),
            ("old.example.test", "*.example.test", "OpenSSL allows a wildcard CN"),
            ("old.example.test", " old.example.test", ""),
            ("old.example.test", "old.example.test ", ""),
            ("old.example.test", "CN=old.example.test", ""),
            # The Kelvin sign becomes an ASCII k when it is converted to lower case.
            ("mail.bank.test", "mail.ban\u212a.test", ""),
            ("strasse.test", "stra\xdfe.test", ""),
            ("192.0.2.1", "192.0.2.01", ""),
        ):
            self.hold(Case(name, [], False, differs, cn=cn, given=True))

    def test_not_given(self) -> None:
        """Without -m, the CN is ignored."""
        self.hold(
            Case("localhost", [], False, _NOT_GIVEN, cn="localhost"),
            Case("127.0.0.1", [], False, cn="127.0.0.1"),
        )

    def test_beside(self) -> None:
        """
        With -m, the CN is ignored beside a DNS name or an address, even a malformed
        one.
        """
        for presented, differs in (
            (dns("other.test"), ""),
            (dns(""), ""),
            (dns("b\xfccher.test"), ""),
            (ips("192.0.2.1"), _BESIDE),
            ([(IP, bytes((192, 0, 2, 0, 255, 255, 255, 0)))], _BESIDE),
            ([(IP, b"abc")], _BESIDE),
        ):
            self.hold(
                Case("localhost", presented, False, differs, cn="localhost", given=True)
            )
        # Only names of these two kinds make the CN irrelevant.
        self.hold(
            Case("localhost", [(EMAIL, b"a@b.test")], True, cn="localhost", given=True),
            Case("localhost", [(URI, b"sip:b.test")], True, cn="localhost", given=True),
        )


class ConstraintTests(Naming):
    """Name constraints (RFC 5280, section 4.2.1.10), also for wildcards and the CN."""

    def test_presented(self) -> None:
        """A certificate is refused if its CA may not certify one of its names."""
        for name, presented, good, *constraints in (
            ("a.test", dns("a.test"), True, only("a.test")),
            ("x.y.a.test", dns("x.y.a.test"), True, only("a.test")),
            ("xa.test", dns("xa.test"), False, only("a.test")),
            ("b.test", dns("b.test"), False, only("a.test")),
            ("a.test", dns("a.test", "b.test"), False, only("a.test")),
            ("b.test", dns("b.test"), True, but("a.test")),
            ("a.test", dns("a.test"), False, but("a.test")),
            ("A.TEST", dns("A.TEST"), False, but("a.test")),
            ("x.a.test", dns("x.a.test"), False, but("a.test")),
            ("b.test", dns("b.test", "x.a.test"), False, but("a.test")),
            ("a.test", dns("a.test"), False, only("a.test", "b.test"), only("b.test")),
            ("a.test", dns("a.test"), False, only("b.test"), only("a.test")),
            ("a.test", dns("a.test"), False, only("a.test"), but("a.test")),
            ("a.test", dns("a.test"), True, only("192.0.2.0/24")),
            ("192.0.2.1", ips("192.0.2.1"), True, only("192.0.2.0/24")),
            ("192.0.3.1", ips("192.0.3.1"), False, only("192.0.2.0/24")),
            ("192.0.2.1", ips("192.0.2.1"), False, but("192.0.2.0/24")),
            ("::1", ips("::1"), False, but("::/64")),
            ("::1", ips("::1"), True, only("::1/128")),
            ("::1", ips("::1"), False, only("192.0.2.0/24")),
        ):
            self.hold(Case(name, presented, good, constraints=constraints))

    def test_blanks(self) -> None:
        """White space in a name does not exempt it from name constraints."""
        for name in ("a.test ", "x.a.test\n", "a.test.", "*.a.test\t"):
            self.hold(
                Case("a.test", dns(name), False, constraints=[but("a.test")]),
                Case("x.a.test", dns(name), False, constraints=[but("a.test")]),
            )

    def test_wildcard(self) -> None:
        """A wildcard is not valid for a host that its CA may not certify."""
        presented = dns("*.a.test")
        self.hold(
            Case("x.a.test", presented, True, constraints=[but("y.a.test")]),
            Case("y.a.test", presented, False, _UNHEARD, constraints=[but("y.a.test")]),
            Case(
                "y.a.test",
                presented,
                False,
                _UNHEARD,
                constraints=[only("a.test"), but("y.a.test")],
            ),
            Case("x.a.test", presented, True, constraints=[only("a.test")]),
            Case("x.a.test", presented, True, constraints=[only("")]),
            Case("x.a.test", presented, True, constraints=[but("192.0.2.0/24")]),
            Case("x.a.test", presented, False, constraints=[only("x.a.test")]),
            Case("x.a.test", presented, False, constraints=[but("")]),
        )

    def test_common_name(self) -> None:
        """A CN is not valid for a name that its CA may not certify."""
        never = "OpenSSL compares addresses with addresses"
        for name, cn, good, differs, constraints in (
            ("a.test", "a.test", True, "", only("a.test")),
            ("b.test", "b.test", False, "", only("a.test")),
            ("a.test", "a.test", False, "", but("a.test")),
            ("ban\u212a.test".casefold(), "ban\u212a.test", False, "", only("a.test")),
            ("b\xfccher.test", "b\xfccher.test", False, "", only("a.test")),
            ("192.0.2.1", "192.0.2.1", True, never, only("192.0.2.0/24")),
            ("192.0.3.1", "192.0.3.1", False, "", only("192.0.2.0/24")),
            ("192.0.2.1", "192.0.2.1", False, "", but("192.0.2.0/24")),
        ):
            self.hold(
                Case(
                    name,
                    [],
                    good,
                    differs,
                    cn=cn,
                    given=True,
                    constraints=[constraints],
                )
            )


class ReferenceTests(Naming):
    """Reference names that no certificate can contain."""

    def test_impossible(self) -> None:
        """
        A reference name that no certificate can contain is a SettingsError in printable
        ASCII.
        """
        for name in (
            "",
            ".",
            "..",
            "a..b",
            ".example.test",
            "example.test..",
            "*",
            "*.example.test",
            "a b",
            " localhost",
            "localhost ",
            "localhost\n",
            "a\0b",
            "\x1b[2J",
            "user@host",
            "https://localhost",
            "localhost:25",
            "1",
            f"{'x' * 64}.test",
            "\u2603" * 70,
            "\udcff.test",
        ):
            settings: Any = TLSSettings(authorities=str(self.ca), name=name)
            error = self.assertRaises(SettingsError, ConnectionCreator, settings)
            self.assertTrue(str(error).isprintable() and str(error).isascii())


@dataclass(frozen=True)
class Limbo:
    """
    A case of x509-limbo.

    :ivar case: The same case, with the verdict of the package.
    :ivar otherwise: Why the verdict of x509-limbo differs; empty if it does not.
    """

    case: Case
    otherwise: str = ""


_STRICT = "a rule for CAs, which neither OpenSSL nor the package enforces"
_CN_RULE = "the CN is ignored if the certificate has other names"


def _cn(name: str, presented: Sequence[Name], cn: str) -> Limbo:
    """Return a case whose CN is not a copy of one of the names."""
    return Limbo(Case(name, presented, True, cn=cn), _CN_RULE)


_OTHER = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\5\0")


def _nc(
    name: str,
    presented: Sequence[Name],
    good: bool,
    *constraints: x509.NameConstraints,
    differs: str = "",
) -> Limbo:
    """Return a case of name constraints in which the verdicts agree."""
    return Limbo(Case(name, presented, good, differs, constraints=constraints))


#: The cases by their names in x509-limbo.
LIMBO: Mapping[str, Limbo] = {
    "webpki::san::exact-dns-san": Limbo(Case("example.com", dns("example.com"), True)),
    "webpki::san::exact-localhost-ip-san": Limbo(
        Case("127.0.0.1", ips("127.0.0.1"), True)
    ),
    "webpki::san::mismatch-domain-san": Limbo(
        Case("example2.com", dns("example.com"), False)
    ),
    "webpki::san::mismatch-subdomain-san": Limbo(
        Case("def.example.com", dns("abc.example.com"), False)
    ),
    "webpki::san::mismatch-subdomain-apex-san": Limbo(
        Case("abc.example.com", dns("example.com"), False)
    ),
    "webpki::san::mismatch-apex-subdomain-san": Limbo(
        Case("example.com", dns("abc.example.com"), False)
    ),
    "webpki::san::public-suffix-wildcard-san": Limbo(
        Case("example.com", dns("*.com"), False)
    ),
    "webpki::san::leftmost-wildcard-san": Limbo(
        Case("foo.example.com", dns("*.example.com"), True)
    ),
    "webpki::san::wildcard-embedded-leftmost-san": Limbo(
        Case("baz.example.com", dns("ba*.example.com"), False, _PART)
    ),
    "webpki::san::wildcard-not-in-leftmost-san": Limbo(
        Case("foo.bar.example.com", dns("foo.*.example.com"), False)
    ),
    "webpki::san::wildcard-match-across-labels-san": Limbo(
        Case("foo.bar.example.com", dns("*.example.com"), False)
    ),
    "webpki::san::wildcard-embedded-ulabel-san": Limbo(
        Case(
            "xn--bliss-1b3c148a.example.com",
            dns("xn--*-1b3c148a.example.com"),
            False,
        )
    ),
    "webpki::san::unicode-emoji-san": Limbo(
        Case("xn--628h.example.com", dns("\U0001f61c.example.com"), False)
    ),
    "webpki::san::no-san": Limbo(
        Case("example.com", [], False, _NOT_GIVEN, cn="example.com")
    ),
    "webpki::san::san-critical-with-nonempty-subject": Limbo(
        Case(
            "example.com", dns("example.com"), True, cn="something-else", critical=True
        ),
        _STRICT,
    ),
    "rfc5280::san::malformed": Limbo(
        Case("example.com", [(0x6C, b"com")], False),
    ),
    "rfc5280::san::underscore-dns": Limbo(
        Case("foo_bar.example.com", dns("foo_bar.example.com"), True),
        "hosts with an underscore exist, though the rules for hosts forbid it",
    ),
    "webpki::cn::cabf-cn-ipv4-hex-mismatch": _cn(
        "192.168.1.1", ips("192.168.1.1"), "0xC0A80101"
    ),
    "webpki::cn::cabf-cn-ipv4-leading-zeros-mismatch": _cn(
        "192.168.1.1", ips("192.168.1.1"), "192.168.001.001"
    ),
    "webpki::cn::cabf-cn-ipv6-uppercase-mismatch": _cn(
        "2001:db8::8a2e:370:7334",
        ips("2001:db8::8a2e:370:7334"),
        "2001:DB8::8A2E:370:7334",
    ),
    "webpki::cn::cabf-cn-ipv6-uncompressed-mismatch": _cn(
        "2001:db8::1", ips("2001:db8::1"), "2001:0db8:0000:0000:0000:0000:0000:0001"
    ),
    "webpki::cn::cabf-cn-ipv6-non-rfc5952-mismatch": _cn(
        "2001:db8::1:0:0:1", ips("2001:db8::1:0:0:1"), "2001:db8:0:0:1:0:0:1"
    ),
    "webpki::cn::cabf-cn-punycode-not-in-san": _cn(
        "xn--n3h.com", dns("xn--n3h.com"), "xn--nxasmq6b.com"
    ),
    "webpki::cn::cabf-cn-utf8-vs-punycode-mismatch": _cn(
        "xn--test--wg5h0h.com", dns("xn--test--wg5h0h.com"), "test-\u6e2c\u8a66.com"
    ),
    "webpki::cn::cabf-cn-not-in-san": _cn(
        "valid.example.com",
        dns("valid.example.com", "another.example.com"),
        "notinsan.example.com",
    ),
    "webpki::cn::cabf-cn-case-mismatch": _cn(
        "example.com", dns("example.com"), "Example.COM"
    ),
    "rfc5280::nc::permitted-dns-mismatch": _nc(
        "not-example.com", dns("not-example.com"), False, only("example.com")
    ),
    "rfc5280::nc::excluded-dns-match": _nc(
        "example.com", dns("example.com"), False, but("example.com")
    ),
    "rfc5280::nc::permitted-dns-match": _nc(
        "example.com", dns("example.com"), True, only("example.com")
    ),
    "rfc5280::nc::permitted-dns-match-more": _nc(
        "foo.bar.example.com", dns("foo.bar.example.com"), True, only("example.com")
    ),
    "rfc5280::nc::excluded-dns-match-second": _nc(
        "example.com",
        dns("example.com", "not-allowed.example.com"),
        False,
        but("not-allowed.example.com"),
    ),
    "rfc5280::nc::permitted-ip-mismatch": _nc(
        "192.0.3.1", ips("192.0.3.1"), False, only("192.0.2.0/24")
    ),
    "rfc5280::nc::excluded-ipv4-match": _nc(
        "192.0.2.1", ips("192.0.2.1"), False, but("192.0.2.0/24")
    ),
    "rfc5280::nc::excluded-ipv6-match": _nc("::1", ips("::1"), False, but("::1/128")),
    "rfc5280::nc::permitted-ipv4-match": _nc(
        "192.0.2.1", ips("192.0.2.1"), True, only("192.0.2.0/24")
    ),
    "rfc5280::nc::permitted-ipv6-match": _nc("::1", ips("::1"), True, only("::1/128")),
    "rfc5280::nc::excluded-match-permitted-and-excluded": _nc(
        "example.com",
        dns("example.com"),
        False,
        x509.NameConstraints(
            [x509.DNSName("example.com")], [x509.DNSName("example.com")]
        ),
    ),
    "rfc5280::nc::permitted-different-constraint-type": _nc(
        "example.com", dns("example.com"), True, only("192.0.2.0/24")
    ),
    "rfc5280::nc::excluded-different-constraint-type": _nc(
        "example.com", dns("example.com"), True, but("192.0.2.0/24")
    ),
    "rfc5280::nc::invalid-dnsname-leading-period": Limbo(
        Case(
            "foo.example.com",
            dns("foo.example.com"),
            True,
            constraints=[only(".example.com")],
        ),
        "OpenSSL treats a leading dot as in constraints on URIs",
    ),
    "rfc5280::nc::restrictive-permits-in-intermediates-narrows": _nc(
        "foo.example.com",
        dns("foo.example.com"),
        False,
        only("foo.example.com", "bar.example.com"),
        only("bar.example.com"),
    ),
    "rfc5280::nc::restrictive-permits-in-intermediates-widens": _nc(
        "foo.example.com",
        dns("foo.example.com"),
        False,
        only("bar.example.com"),
        only("foo.example.com", "bar.example.com"),
    ),
    "rfc5280::nc::nc-permits-invalid-dns-san": Limbo(
        Case(
            "foo.example.com",
            dns(".example.com", "foo.example.com"),
            True,
            constraints=[only("example.com")],
        ),
        "a malformed name does no harm beside the right one",
    ),
    "rfc5280::nc::nc-permits-invalid-ip-san": _nc(
        "192.0.2.1",
        [(IP, bytes((192, 0, 2, 0, 255, 255, 255, 0))), *ips("192.0.2.1")],
        False,
        only("192.0.2.0/24"),
    ),
    "rfc5280::nc::nc-forbids-othername": _nc(
        "example.com",
        [*dns("example.com"), *other(_OTHER)],
        False,
        x509.NameConstraints(
            [x509.DNSName("example.com")],
            [_OTHER],
        ),
    ),
    "rfc5280::nc::nc-forbids-othername-noop": _nc(
        "example.com",
        dns("example.com"),
        True,
        x509.NameConstraints(
            [x509.DNSName("example.com")],
            [_OTHER],
        ),
    ),
    "cve::cve-2025-61727": _nc(
        "bar.example.com",
        dns("*.example.com"),
        False,
        x509.NameConstraints(
            [x509.DNSName("example.com")], [x509.DNSName("bar.example.com")]
        ),
        differs=_UNHEARD,
    ),
    "cve::cve-2025-61727-nc-permits-variant": _nc(
        "foo.example.com", dns("*.example.com"), False, only("foo.example.com")
    ),
}


class LimboTests(Naming):
    """The cases of x509-limbo about server names."""

    def test_names(self) -> None:
        """The verdict is that of x509-limbo, or the case says why it differs."""
        self.hold(*(limbo.case for limbo in LIMBO.values()))

    def test_differences(self) -> None:
        """
        Where the verdict differs from x509-limbo, the package accepts the certificate.
        """
        for name, limbo in LIMBO.items():
            if limbo.otherwise:
                self.assertTrue(limbo.case.good, name)

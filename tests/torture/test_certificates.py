"""
Certificates with each fault that they can have, and some that only look faulty.

The command meets each of them over implicit TLS and over STARTTLS, with the server
named by its host, by ``-m`` and by its address.  The sessions run within this process,
against a server on a socket. ``openssl verify`` judges the same files; if its verdict
differs, the case says why.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import MD5, SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID
from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from tests.certificates import (
    CLIENT,
    EXPIRED,
    FUTURE,
    ISSUING,
    SERVER,
    SIGNING,
    Authority,
    Extension,
    Identity,
    key_usage,
    save_certificates,
    save_revocations,
    self_signed,
)
from tests.command import AT_ONCE, Outcome, run, serving, together
from tests.torture import share
from tests.torture.openssl import verifies
from tests.torture.sessions import (
    IMPLICIT,
    WAYS,
    Seen,
    Way,
    context,
    meet,
    meet_at_socket,
    meeting,
)

#: The names in the certificates, unless the case is about them.
NAMES, ADDRESSES = ("localhost", "mail.example.test"), ("127.0.0.1",)


@dataclass(frozen=True)
class Naming:
    """How the user names the server, and the version of TLS that is used."""

    options: tuple[str, ...]
    host: str
    version: int


NAMINGS = {
    "host": Naming((), "localhost", SSL.TLS1_3_VERSION),
    "-m": Naming(("-m", "mail.example.test"), "127.0.0.1", SSL.TLS1_2_VERSION),
    "address": Naming((), "127.0.0.1", SSL.TLS1_3_VERSION),
}


@dataclass(frozen=True)
class Case:
    """
    A certificate of a server, and the result of verifying it.

    :ivar reason: why it is refused, in the words of the error; empty if it is not.

    :ivar differs: why the verdict of ``openssl verify`` differs; empty if it does not.

    :ivar lists: the CRLs of ``-L``, None for no ``-L``.

    :ivar version: the only version of TLS with which the server can send it, 0 for any.
    """

    shown: Identity
    reason: str = ""
    differs: str = ""
    lists: Sequence[x509.CertificateRevocationList] | None = None
    version: int = 0


Cases = Mapping[str, Case]

SHA256_WITH_RSA = bytes.fromhex("2a864886f70d01010b")
MD5_WITH_RSA = bytes.fromhex("2a864886f70d010104")
SHA1_WITH_RSA = bytes.fromhex("2a864886f70d010105")

#: Object identifiers that no standard has.
UNKNOWN = x509.ObjectIdentifier("2.5.29.99")
UNHEARD = x509.ObjectIdentifier("2.5.29.98")


@functools.cache
def root() -> Authority:
    """Return the root that is trusted."""
    return Authority.root("Matrix Root")


@functools.cache
def rsa_root() -> Authority:
    """Return another root that is trusted, which signs with RSA."""
    return Authority.root("RSA Root", key=rsa.generate_private_key(65537, 2048))


@functools.cache
def old_root() -> Authority:
    """Return a root that is trusted but has expired."""
    return Authority.root("Old Root", valid=EXPIRED)


def server(authority: Authority | None = None, **how: object) -> Identity:
    """Issue a certificate for the server, with one thing changed."""
    issue: Callable[..., Identity] = (authority or root()).server
    return issue(NAMES, ADDRESSES, **how)


def below(authority: Authority, depth: int) -> Authority:
    """Return a CA with so many CAs between it and the given one, itself included."""
    for number in range(depth):
        authority = authority.intermediate(f"Level {number}")
    return authority


def constrained(
    permitted: Sequence[x509.GeneralName] | None,
    excluded: Sequence[x509.GeneralName] | None,
) -> Authority:
    """Return a CA with name constraints."""
    constraints = x509.NameConstraints(permitted, excluded)
    return root().intermediate("Constrained", extensions=[(constraints, True)])


def network(text: str) -> x509.IPAddress:
    """Return a subtree of addresses."""
    return x509.IPAddress(ip_network(text))


def unknown(critical: bool, kind: x509.ObjectIdentifier = UNKNOWN) -> list[Extension]:
    """Return an extension of an unknown type."""
    return [(x509.UnrecognizedExtension(kind, b"\5\0"), critical)]


def in_place(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Return a change of some bytes for others."""
    return lambda data: data.replace(old, new)


def damaged(identity: Identity) -> Identity:
    """Return the certificate with a byte changed, so that its signature is wrong."""
    data = identity.certificate.public_bytes(Encoding.DER)
    other = data.replace(b"mail.example.test", b"mail.example.tesu")
    return replace(identity, certificate=x509.load_der_x509_certificate(other))


def feeble() -> rsa.RSAPrivateKey:
    """Return a key that is too short for cryptography to make."""
    key = crypto.PKey()
    key.generate_key(crypto.TYPE_RSA, 512)
    made = key.to_cryptography_key()
    assert isinstance(made, rsa.RSAPrivateKey)
    return made


def times() -> Cases:
    """Return the cases of the time in which a certificate is valid."""
    return {
        "good": Case(server()),
        "expired": Case(server(valid=EXPIRED), "certificate has expired"),
        "not yet valid": Case(server(valid=FUTURE), "not yet valid"),
        "intermediate expired": Case(
            server(root().intermediate("Past", EXPIRED)), "expired (CN=Past)"
        ),
        "intermediate not yet valid": Case(
            server(root().intermediate("To Be", FUTURE)), "not yet valid (CN=To Be)"
        ),
        "root expired": Case(server(old_root()), "expired (CN=Old Root)"),
        "no time": Case(
            root().altered(
                server(), lambda data: re.sub(rb"\d{12}Z", b"x" * 12 + b"Z", data)
            ),
            "malformed",
        ),
    }


def chains() -> Cases:
    """Return the cases of the chain."""
    missing = "unknown CA, or an intermediate certificate is missing"
    long = "the chain below it is longer than it allows"
    no_authority = "it is not the certificate of a CA"
    middle = root().intermediate()
    stranger = Authority.root("Stranger")
    leaf = Authority(server())
    two = server(below(root(), 2))
    tight = x509.BasicConstraints(True, 0)
    return {
        "unknown CA": Case(server(stranger), missing),
        "unknown CA, sent": Case(
            replace(server(stranger), intermediates=(stranger.identity.certificate,)),
            "unknown CA (self-signed)",
        ),
        "unknown CA below": Case(server(stranger.intermediate()), missing),
        "namesake": Case(server(Authority.root("Matrix Root")), missing),
        "self-signed": Case(self_signed(NAMES, ADDRESSES), "self-signed certificate"),
        "intermediate": Case(server(middle)),
        "intermediate missing": Case(server(middle).without_intermediates(), missing),
        "intermediate of another": Case(
            replace(
                server(middle),
                intermediates=(root().intermediate().identity.certificate,),
            ),
            missing,
        ),
        "out of order": Case(
            replace(two, intermediates=tuple(reversed(two.intermediates)))
        ),
        "with others": Case(
            replace(
                two,
                intermediates=(
                    stranger.identity.certificate,
                    *two.intermediates,
                    server().certificate,
                ),
            )
        ),
        "a hundred": Case(server(below(root(), 100))),
        "more than a hundred": Case(
            server(below(root(), 101)), "the chain is too long"
        ),
        "hundreds": Case(server(below(root(), 200)), "the chain is too long"),
        "longer than allowed": Case(
            server(root().intermediate("Tight", basic=tight).intermediate("Low")),
            f"{long} (CN=Tight)",
        ),
        "as long as allowed": Case(
            server(
                root()
                .intermediate("Loose", basic=x509.BasicConstraints(True, 1))
                .intermediate("Low")
            )
        ),
        "issued by a server": Case(server(leaf), no_authority),
        "issued by no CA": Case(
            server(
                root().intermediate("None", basic=x509.BasicConstraints(False, None))
            ),
            f"{no_authority} (CN=None)",
        ),
        "issued by a CA without keyCertSign": Case(
            server(root().intermediate("Mute", usage=SIGNING)), no_authority
        ),
        "tampered with": Case(damaged(server()), "its signature is wrong"),
    }


def uses() -> Cases:
    """Return the cases of key usage and extended key usage."""
    wrong = "it is not for servers to use"
    # In TLS 1.2, OpenSSL's server does not send a certificate that cannot sign.
    latest = SSL.TLS1_3_VERSION
    clients = x509.ExtendedKeyUsage([CLIENT])
    both = x509.ExtendedKeyUsage([CLIENT, SERVER])
    return {
        "any use": Case(server(purposes=())),
        "servers and clients": Case(server(purposes=(CLIENT, SERVER))),
        "clients": Case(server(purposes=(CLIENT,)), wrong),
        "code": Case(server(purposes=(ExtendedKeyUsageOID.CODE_SIGNING,)), wrong),
        # OpenSSL does not accept it for servers, as RFC 5280, 4.2.1.12 allows.
        "any purpose": Case(
            server(purposes=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)), wrong
        ),
        "CA for clients": Case(
            server(root().intermediate("Clients", extensions=[(clients, False)])),
            f"{wrong} (CN=Clients)",
        ),
        "CA for both": Case(
            server(root().intermediate("Both", extensions=[(both, False)]))
        ),
        "to sign certificates": Case(server(usage=ISSUING), wrong, version=latest),
        "to sign lists": Case(
            server(usage=key_usage("crl_sign")), wrong, version=latest
        ),
        "to sign letters": Case(
            server(usage=key_usage("content_commitment")), wrong, version=latest
        ),
        # OpenSSL accepts any of digitalSignature, keyEncipherment and keyAgreement.
        "to agree on keys": Case(
            server(usage=key_usage("key_agreement")), version=latest
        ),
        "to encrypt keys": Case(
            server(usage=key_usage("key_encipherment")), version=latest
        ),
        # A CA may be a server as well.
        "a CA itself": Case(
            server(root().intermediate("Both")),
        ),
    }


def constraints() -> Cases:
    """Return the cases of name constraints."""
    wrong = "its CA may not certify that name"
    here = [x509.DNSName("localhost"), x509.DNSName("example.test")]
    return {
        "permitted": Case(server(constrained([*here, network("127.0.0.0/8")], None))),
        "other name": Case(
            server(constrained([x509.DNSName("other.test")], None)), wrong
        ),
        "one of them": Case(server(constrained(here[:1], None)), wrong),
        "other address": Case(
            server(constrained([network("10.0.0.0/8")], None)), wrong
        ),
        "excluded": Case(server(constrained(None, here[1:])), wrong),
        "excluded address": Case(
            server(constrained(None, [network("127.0.0.0/8")])), wrong
        ),
        "excluded others": Case(
            server(constrained(None, [x509.DNSName("other.test"), network("::/0")]))
        ),
        "by a CA above": Case(server(below(constrained(None, here[:1]), 2)), wrong),
    }


def strengths() -> Cases:
    """
    Return the cases of weak keys and signatures (OpenSSL's default security level, 2).
    """
    weak = rsa.generate_private_key(65537, 1024)
    signed = server(rsa_root())
    return {
        "RSA": Case(signed),
        "1024 bits": Case(server(key=weak), "its key is too weak"),
        "512 bits": Case(
            server(key=feeble()), "its key is too weak", version=SSL.TLS1_2_VERSION
        ),
        "CA of 1024 bits": Case(
            server(root().intermediate("Weak", key=weak)),
            "the key of a CA is too weak (CN=Weak)",
        ),
        "MD5": Case(
            rsa_root().altered(signed, in_place(SHA256_WITH_RSA, MD5_WITH_RSA), MD5()),
            "its signature is too weak",
        ),
        "SHA-1": Case(
            rsa_root().altered(
                signed, in_place(SHA256_WITH_RSA, SHA1_WITH_RSA), SHA1()
            ),
            "its signature is too weak",
        ),
    }


def forms() -> Cases:
    """Return the cases of malformed and unusual certificates."""
    malformed = "it is malformed"
    alternative = x509.SubjectAlternativeName([x509.DNSName("other.test")])
    second = x509.UnrecognizedExtension(UNKNOWN, alternative.public_bytes())
    san = ExtensionOID.SUBJECT_ALTERNATIVE_NAME
    garbage = x509.UnrecognizedExtension(san, b"example.test")
    many = [f"host{number}.example.test" for number in range(3000)]
    return {
        "critical extension": Case(
            server(extensions=unknown(True)), "unknown critical extension"
        ),
        "critical extension above": Case(
            server(root().intermediate("Strange", extensions=unknown(True))),
            "unknown critical extension (CN=Strange)",
        ),
        "extension": Case(server(extensions=unknown(False))),
        "names twice": Case(
            root().altered(
                server(extensions=[(second, False)]),
                in_place(b"\x06\x03\x55\x1d\x63", b"\x06\x03\x55\x1d\x11"),
            ),
            malformed,
            version=SSL.TLS1_3_VERSION,
        ),
        "extension twice": Case(
            root().altered(
                server(extensions=[*unknown(False), *unknown(False, UNHEARD)]),
                in_place(b"\x06\x03\x55\x1d\x62", b"\x06\x03\x55\x1d\x63"),
            ),
            malformed,
            "openssl verify does not look at what it does not know",
        ),
        "names that are none": Case(
            root().server(common_name="localhost", extensions=[(garbage, False)]),
            malformed,
            version=SSL.TLS1_3_VERSION,
        ),
        "version 6": Case(
            root().altered(server(), in_place(b"\xa0\3\2\1\2", b"\xa0\3\2\1\5")),
            malformed,
            "openssl verify does not look at the version",
        ),
        "thousands of names": Case(root().server([*NAMES, *many], ADDRESSES)),
        "a hundred thousand bytes": Case(
            root().server([*NAMES, *many, *(f"a.{name}" for name in many)], ADDRESSES),
            "TLS handshake failed: excessive message size",
            "openssl verify has no bound",
        ),
    }


def revocations() -> Cases:
    """Return the cases of CRLs."""
    leaf, middle = server(), root().intermediate("Middle")
    low = server(middle)
    mute = root().intermediate("Mute", usage=key_usage("key_cert_sign"))
    above = root().revocations()
    gone = "certificate is revoked"
    none = "no certificate revocation list of its issuer"
    return {
        "on no list": Case(leaf, lists=[above]),
        "revoked": Case(
            leaf, f"{gone} (CN=localhost)", lists=[root().revocations(leaf)]
        ),
        "another revoked": Case(leaf, lists=[root().revocations(server())]),
        "intermediate revoked": Case(
            low,
            f"{gone} (CN=Middle)",
            lists=[middle.revocations(), root().revocations(middle.identity)],
        ),
        "below an intermediate, revoked": Case(
            low, f"{gone} (CN=localhost)", lists=[middle.revocations(low), above]
        ),
        "below an intermediate": Case(low, lists=[middle.revocations(), above]),
        "no list above": Case(
            low,
            "",
            "we demand a list of the CA that has issued the server's certificate only",
            lists=[middle.revocations()],
        ),
        "no list": Case(low, none, lists=[above]),
        "list of another": Case(
            leaf, none, lists=[Authority.root("Stranger").revocations()]
        ),
        "list expired": Case(
            leaf, "list has expired", lists=[root().revocations(valid=EXPIRED)]
        ),
        "list above expired": Case(
            low,
            "list has expired (CN=Middle)",
            lists=[middle.revocations(), root().revocations(valid=EXPIRED)],
        ),
        "list not yet valid": Case(
            leaf, "list is not yet valid", lists=[root().revocations(valid=FUTURE)]
        ),
        "list forged": Case(
            leaf, none, lists=[Authority.root("Matrix Root").revocations()]
        ),
        "list of a CA without cRLSign": Case(
            server(mute),
            "may not sign revocation lists",
            lists=[mute.revocations(), above],
        ),
    }


GROUPS = (times, chains, uses, constraints, strengths, forms, revocations)


class Matrix(TestCase):
    """Sessions with servers that send the certificate of a case."""

    #: For all cases of a group on a busy machine, in seconds.
    timeout = 600

    def setUp(self) -> None:
        """Make a directory, and write the trusted roots into a file."""
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.trusted = save_certificates(
            self.directory / "trusted.pem",
            *(each().identity.certificate for each in (root, rsa_root, old_root)),
        )

    def options(self, case: Case) -> list[str]:
        """Return the options for the files of a case."""
        options = ["-c", str(self.trusted)]
        if case.lists is not None:
            path = save_revocations(self.directory / "lists.pem", *case.lists)
            options += ["-L", str(path)]
        return options

    def each(self, cases: Cases) -> Iterator[tuple[str, Case, Way, Naming]]:
        """Yield each case in each way, with each naming of the server."""
        for name, case in cases.items():
            for way in WAYS:
                for how, naming in NAMINGS.items():
                    yield f"{name}, {way.name}, by {how}", case, way, naming

    async def meet(
        self, case: Case, way: Way, naming: Naming, *more: str
    ) -> tuple[Outcome, Seen]:
        """
        Run a session with a server, and return its outcome and what the server has
        seen.
        """
        tls = context(case.shown, version=case.version or naming.version)
        options = ["-4", *self.options(case), *naming.options, *more]
        return await meet(way, tls, *options, host=naming.host)


def refused(outcome: Outcome, seen: Seen, way: Way, reason: str) -> str:
    """Return the fault in how a server was refused, "" if there is none."""
    if (outcome.status, outcome.out) != (111, b""):
        return f"not refused: {outcome}"
    complaint = outcome.complaint()
    if reason not in complaint:
        return f"another reason: {complaint}"
    if not re.match(r"(host localhost ip )?127\.0\.0\.1 port \d+: ", complaint):
        return f"no address: {complaint}"
    return overexposed(seen, way)


def overexposed(seen: Seen, way: Way) -> str:
    """Return the fault if a server has seen more than it may see, "" if it has not."""
    if seen.secret or not re.fullmatch(way.clear, seen.clear):
        return f"too much was said: {seen}"
    return ""


class SessionTests(Matrix):
    """
    Status, messages, and the bytes that the server gets, for each case in each way.
    """

    async def hold(self, cases: Cases) -> None:
        """Check all of the cases, and fail with a list of those that do not hold."""
        wrong = []
        for name, case, way, naming in self.each(cases):
            outcome, seen = await self.meet(case, way, naming)
            if case.reason:
                why = refused(outcome, seen, way, case.reason)
            elif outcome != Outcome(0, b"prog", ""):
                why = f"refused: {outcome}"
            else:
                why = overexposed(seen, way)
            if why:
                wrong.append(f"{name}: {why}")
        self.assertFalse(wrong, "\n".join(wrong))

    def test_times(self) -> Deferred[None]:
        """The server's certificate and those of its CAs have to be valid now."""
        return Deferred.fromCoroutine(self.hold(times()))

    def test_chains(self) -> Deferred[None]:
        """
        The chain has to lead to a trust anchor over CAs, with at most 100 between.
        """
        return Deferred.fromCoroutine(self.hold(chains()))

    def test_uses(self) -> Deferred[None]:
        """A certificate that is not for servers is refused."""
        return Deferred.fromCoroutine(self.hold(uses()))

    def test_constraints(self) -> Deferred[None]:
        """A certificate with a name that a CA above it may not certify is refused."""
        return Deferred.fromCoroutine(self.hold(constraints()))

    def test_strengths(self) -> Deferred[None]:
        """Weak keys and signatures are refused."""
        return Deferred.fromCoroutine(self.hold(strengths()))

    def test_level(self) -> Deferred[None]:
        """Weak keys and signatures are accepted with -f DEFAULT:@SECLEVEL=0."""

        async def check() -> None:
            for name, case in strengths().items():
                options = ("-f", "DEFAULT:@SECLEVEL=0")
                outcome, _ = await self.meet(case, IMPLICIT, NAMINGS["host"], *options)
                self.assertEqual(outcome, Outcome(0, b"prog", ""), name)

        return Deferred.fromCoroutine(check())

    def test_forms(self) -> Deferred[None]:
        """Malformed certificates are refused."""
        return Deferred.fromCoroutine(self.hold(forms()))

    def test_revocations(self) -> Deferred[None]:
        """
        Revoked certificates are refused, and those without a current CRL of their
        issuer.
        """
        return Deferred.fromCoroutine(self.hold(revocations()))


class InsecureTests(Matrix):
    """``-k`` accepts any certificate, with a warning."""

    async def let_in(self) -> None:
        """Run a session with prog for each case."""
        warning = (
            "tcpclient: warning: the server's certificate is not verified (-k):"
            " anyone may answer\n"
        )
        for group in GROUPS:
            for name, case in group().items():
                naming = NAMINGS["host"]
                outcome, seen = await self.meet(case, IMPLICIT, naming, "-k")
                if "handshake failed" not in case.reason:
                    self.assertEqual(outcome, Outcome(0, b"prog", warning), name)
                self.assertEqual(overexposed(seen, IMPLICIT), "", name)

    def test_all(self) -> Deferred[None]:
        """Any certificate is accepted, with a warning each time."""
        return Deferred.fromCoroutine(self.let_in())


class SocketTests(Matrix):
    """Over a UNIX socket the chain is always verified, the name only with ``-m``."""

    async def meet_there(self, case: Case, way: Way, *more: str) -> Outcome:
        """
        Run a session over a UNIX socket, and check that the server has not seen too
        much.
        """
        tls = context(case.shown, version=case.version)
        options = [*self.options(case), *more]
        outcome, seen = await meet_at_socket(way, tls, *options)
        self.assertEqual(overexposed(seen, way), "")
        return outcome

    async def refuses(self) -> None:
        """Check each case: it is refused there for the same reason."""
        for group in GROUPS:
            for name, case in group().items():
                for way in WAYS:
                    outcome = await self.meet_there(case, way)
                    if not case.reason:
                        self.assertEqual(outcome, Outcome(0, b"prog", ""), name)
                        continue
                    self.assertEqual((outcome.status, outcome.out), (111, b""), name)
                    self.assertIn(case.reason, outcome.complaint())
                    self.assertRegex(outcome.complaint(), r"\Asocket /.*/s: ")

    async def compares(self) -> None:
        """Check that a name is compared if there is one."""
        other = Case(root().server(["other.test"]))
        for way in WAYS:
            self.assertEqual((await self.meet_there(other, way)).status, 0)
            good = await self.meet_there(other, way, "-m", "other.test")
            self.assertEqual(good.status, 0)
            bad = await self.meet_there(other, way, "-m", "mail.example.test")
            self.assertEqual((bad.status, bad.out), (111, b""))
            self.assertIn("is not for mail.example.test but for", bad.complaint())

    def test_chain(self) -> Deferred[None]:
        """A fault in the chain is an error that names the socket."""
        return Deferred.fromCoroutine(self.refuses())

    def test_name(self) -> Deferred[None]:
        """The name is compared only with ``-m``."""
        return Deferred.fromCoroutine(self.compares())


class OpenSSLTests(Matrix):
    """The verdicts of ``openssl verify`` on the same certificates."""

    def pem(self, name: str, *certificates: object) -> str:
        """Write certificates into a file, and return its path."""
        path = self.directory / name
        dump = crypto.dump_certificate
        path.write_bytes(
            b"".join(
                each.public_bytes(Encoding.PEM)
                if isinstance(each, x509.Certificate)
                else dump(crypto.FILETYPE_PEM, each)  # type: ignore[arg-type]
                for each in certificates
            )
        )
        return str(path)

    def verifies(self, case: Case) -> bool:
        """Return whether ``openssl verify`` accepts the certificate of a case."""
        leaf = self.pem("leaf.pem", case.shown.certificate)
        chain = self.pem(
            "chain.pem", *(case.shown.intermediates or [case.shown.certificate])
        )
        lists: list[str] = []
        if case.lists is not None:
            path = save_revocations(self.directory / "crl.pem", *case.lists)
            lists = ["-crl_check_all", "-CRLfile", str(path)]
        return verifies(
            *("-auth_level", "2", "-verify_hostname", "localhost", *lists),
            *("-CAfile", str(self.trusted), "-untrusted", chain, leaf),
        )

    def test_all(self) -> None:
        """The verdict is the same, or the case says why it is not."""
        for group in GROUPS:
            for name, case in group().items():
                differs = self.verifies(case) == bool(case.reason)
                self.assertEqual(differs, bool(case.differs), name)


class CommandTests(Matrix):
    """The command as a process of its own, with stdin."""

    def command(self, case: Case, way: Way, naming: Naming) -> None:
        """Run the command once in client mode."""
        tls = context(case.shown, version=case.version or naming.version)
        with serving(meeting(way, tls)) as server:
            port = str(server.address[1])
            # The server says nothing, and would be told of the end after 15 s.
            options = [
                "-4",
                *AT_ONCE,
                *way.options,
                *self.options(case),
                *naming.options,
            ]
            outcome = run(*options, naming.host, port, data=b"secret\r\n")
            seen: Seen = server.result()
        if case.reason:
            self.assertEqual(refused(outcome, seen, way, case.reason), "")
        else:
            self.assertEqual(outcome, Outcome(0, b"", ""))
            self.assertEqual(seen.secret, b"secret\r\n")

    def test_some(self) -> None:
        """The command gives the results of the sessions, for a share of all cases."""
        every = [
            case
            for group in GROUPS
            for case in self.each(
                {name: case for name, case in group().items() if case.lists is None}
            )
        ]
        # The chosen cases are spread evenly over all.
        count = share(12, len(every))
        chosen = [every[number * len(every) // count] for number in range(count)]
        together(
            {
                name: functools.partial(self.command, case, way, naming)
                for name, case, way, naming in chosen
            }
        )

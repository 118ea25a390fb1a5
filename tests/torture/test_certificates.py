"""
Every way in which a certificate can be wrong, and some in which it only looks so.

Each is met over implicit TLS and over STARTTLS, with the server named by its host, by
``-m`` and by its address: sessions of the command within this process, against a server
on a socket.  What ``openssl verify`` says of the same files is asked for too; where it
comes to another verdict the case says why.
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

#: What a certificate is for here, unless that is what is wrong with it.
NAMES, ADDRESSES = ("localhost", "mail.example.test"), ("127.0.0.1",)


@dataclass(frozen=True)
class Naming:
    """How the command is told whom to expect, and the version of TLS that is used."""

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
    What a server shows, and what becomes of it.

    :ivar reason: why it is refused, in the words of the error; empty if it is not.
    :ivar differs: why ``openssl verify`` sees it otherwise; empty if it does not.
    :ivar lists: the revocation lists of ``-L``, None for no ``-L``.
    :ivar version: the one version of TLS with which it can be shown.
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

#: Extensions that nobody knows.
UNKNOWN = x509.ObjectIdentifier("2.5.29.99")
UNHEARD = x509.ObjectIdentifier("2.5.29.98")


@functools.cache
def root() -> Authority:
    """The authority that is trusted."""
    return Authority.root("Matrix Root")


@functools.cache
def rsa_root() -> Authority:
    """One that is trusted as well, and signs with RSA."""
    return Authority.root("RSA Root", key=rsa.generate_private_key(65537, 2048))


@functools.cache
def old_root() -> Authority:
    """One that was to be trusted until yesterday."""
    return Authority.root("Old Root", valid=EXPIRED)


def server(authority: Authority | None = None, **how: object) -> Identity:
    """Issue a certificate for the server, and have one thing wrong with it."""
    issue: Callable[..., Identity] = (authority or root()).server
    return issue(NAMES, ADDRESSES, **how)


def below(authority: Authority, depth: int) -> Authority:
    """An authority with so many between it and that one."""
    for number in range(depth):
        authority = authority.intermediate(f"Level {number}")
    return authority


def constrained(
    permitted: Sequence[x509.GeneralName] | None,
    excluded: Sequence[x509.GeneralName] | None,
) -> Authority:
    """An authority that may not certify everything."""
    constraints = x509.NameConstraints(permitted, excluded)
    return root().intermediate("Constrained", extensions=[(constraints, True)])


def network(text: str) -> x509.IPAddress:
    """A subtree of addresses."""
    return x509.IPAddress(ip_network(text))


def unknown(critical: bool, kind: x509.ObjectIdentifier = UNKNOWN) -> list[Extension]:
    """An extension that nobody knows."""
    return [(x509.UnrecognizedExtension(kind, b"\5\0"), critical)]


def in_place(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Change some bytes for others."""
    return lambda data: data.replace(old, new)


def damaged(identity: Identity) -> Identity:
    """A certificate that was tampered with."""
    data = identity.certificate.public_bytes(Encoding.DER)
    other = data.replace(b"mail.example.test", b"mail.example.tesu")
    return replace(identity, certificate=x509.load_der_x509_certificate(other))


def feeble() -> rsa.RSAPrivateKey:
    """A key that cryptography refuses to make."""
    key = crypto.PKey()
    key.generate_key(crypto.TYPE_RSA, 512)
    made = key.to_cryptography_key()
    assert isinstance(made, rsa.RSAPrivateKey)
    return made


def times() -> Cases:
    """When it holds."""
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
    """Who vouches for it."""
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
        "issued by whom may not": Case(
            server(root().intermediate("Mute", usage=SIGNING)), no_authority
        ),
        "tampered with": Case(damaged(server()), "its signature is wrong"),
    }


def uses() -> Cases:
    """What it may be used for."""
    wrong = "it is not for servers to use"
    # With TLS 1.2 it is the server that would not show them.
    latest = SSL.TLS1_3_VERSION
    clients = x509.ExtendedKeyUsage([CLIENT])
    both = x509.ExtendedKeyUsage([CLIENT, SERVER])
    return {
        "any use": Case(server(purposes=())),
        "servers and clients": Case(server(purposes=(CLIENT, SERVER))),
        "clients": Case(server(purposes=(CLIENT,)), wrong),
        "code": Case(server(purposes=(ExtendedKeyUsageOID.CODE_SIGNING,)), wrong),
        # Not one of those that OpenSSL takes for a server's (RFC 5280, 4.2.1.12).
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
        # One of the three will do for OpenSSL, whichever it is that TLS needs.
        "to agree on keys": Case(
            server(usage=key_usage("key_agreement")), version=latest
        ),
        "to encrypt keys": Case(
            server(usage=key_usage("key_encipherment")), version=latest
        ),
        # What may be an authority may also be a server.
        "a CA itself": Case(
            server(root().intermediate("Both")),
        ),
    }


def constraints() -> Cases:
    """What its CA may certify."""
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
    """How hard it is to forge: level 2 of OpenSSL, which is its default."""
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
    """How it is written."""
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
    """Who has taken it back."""
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
        "list of whom may not": Case(
            server(mute),
            "may not sign revocation lists",
            lists=[mute.revocations(), above],
        ),
    }


GROUPS = (times, chains, uses, constraints, strengths, forms, revocations)


class Matrix(TestCase):
    """Meets servers that show something."""

    #: For all of a group, on a machine that has other things to do.
    timeout = 600

    def setUp(self) -> None:
        """Who is trusted, and a place for files."""
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.trusted = save_certificates(
            self.directory / "trusted.pem",
            *(each().identity.certificate for each in (root, rsa_root, old_root)),
        )

    def options(self, case: Case) -> list[str]:
        """The files of a case."""
        options = ["-c", str(self.trusted)]
        if case.lists is not None:
            path = save_revocations(self.directory / "lists.pem", *case.lists)
            options += ["-L", str(path)]
        return options

    def each(self, cases: Cases) -> Iterator[tuple[str, Case, Way, Naming]]:
        """All of the cases, in every way."""
        for name, case in cases.items():
            for way in WAYS:
                for how, naming in NAMINGS.items():
                    yield f"{name}, {way.name}, by {how}", case, way, naming

    async def meet(
        self, case: Case, way: Way, naming: Naming, *more: str
    ) -> tuple[Outcome, Seen]:
        """Meet a server once."""
        tls = context(case.shown, version=case.version or naming.version)
        options = ["-4", *self.options(case), *naming.options, *more]
        return await meet(way, tls, *options, host=naming.host)


def refused(outcome: Outcome, seen: Seen, way: Way, reason: str) -> str:
    """Tell what is wrong with the way in which a server was refused."""
    if (outcome.status, outcome.out) != (111, b""):
        return f"not refused: {outcome}"
    complaint = outcome.complaint()
    if reason not in complaint:
        return f"another reason: {complaint}"
    if not re.match(r"(host localhost ip )?127\.0\.0\.1 port \d+: ", complaint):
        return f"no address: {complaint}"
    return overexposed(seen, way)


def overexposed(seen: Seen, way: Way) -> str:
    """Tell what was said to a server that should not have been."""
    if seen.secret or not re.fullmatch(way.clear, seen.clear):
        return f"too much was said: {seen}"
    return ""


class SessionTests(Matrix):
    """Status, words, and what was said, for each case in each way."""

    async def hold(self, cases: Cases) -> None:
        """All of these are as they say; otherwise fail with each that is not."""
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
        """A certificate holds in its time, and so does each above it."""
        return Deferred.fromCoroutine(self.hold(times()))

    def test_chains(self) -> Deferred[None]:
        """The chain leads to somebody who is trusted, over CAs, and is not endless."""
        return Deferred.fromCoroutine(self.hold(chains()))

    def test_uses(self) -> Deferred[None]:
        """A certificate that is not for servers is not for ours."""
        return Deferred.fromCoroutine(self.hold(uses()))

    def test_constraints(self) -> Deferred[None]:
        """No name in a certificate is one that a CA above it may not certify."""
        return Deferred.fromCoroutine(self.hold(constraints()))

    def test_strengths(self) -> Deferred[None]:
        """What can be forged is not believed."""
        return Deferred.fromCoroutine(self.hold(strengths()))

    def test_level(self) -> Deferred[None]:
        """What is weak is let in by whoever asks for it with -f, and only there."""

        async def check() -> None:
            for name, case in strengths().items():
                options = ("-f", "DEFAULT:@SECLEVEL=0")
                outcome, _ = await self.meet(case, IMPLICIT, NAMINGS["host"], *options)
                self.assertEqual(outcome, Outcome(0, b"prog", ""), name)

        return Deferred.fromCoroutine(check())

    def test_forms(self) -> Deferred[None]:
        """What is not written as it should be is not believed, however it looks."""
        return Deferred.fromCoroutine(self.hold(forms()))

    def test_revocations(self) -> Deferred[None]:
        """What was taken back is not believed, nor what nobody can ask about."""
        return Deferred.fromCoroutine(self.hold(revocations()))


class InsecureTests(Matrix):
    """``-k``: all of it is let in, and said to be."""

    async def let_in(self) -> None:
        """Each of them, with prog, which is told of the certificate what can be."""
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
        """Whoever answers is trusted, and a warning says so each time."""
        return Deferred.fromCoroutine(self.let_in())


class SocketTests(Matrix):
    """Over a UNIX socket: the chain always, the name with ``-m`` only."""

    async def meet_there(self, case: Case, way: Way, *more: str) -> Outcome:
        """Meet a server once; nothing that is not meant for it is said to it."""
        tls = context(case.shown, version=case.version)
        options = [*self.options(case), *more]
        outcome, seen = await meet_at_socket(way, tls, *options)
        self.assertEqual(overexposed(seen, way), "")
        return outcome

    async def refuses(self) -> None:
        """Each of them that is refused elsewhere."""
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
        """A name, if there is one to compare."""
        other = Case(root().server(["other.test"]))
        for way in WAYS:
            self.assertEqual((await self.meet_there(other, way)).status, 0)
            good = await self.meet_there(other, way, "-m", "other.test")
            self.assertEqual(good.status, 0)
            bad = await self.meet_there(other, way, "-m", "mail.example.test")
            self.assertEqual((bad.status, bad.out), (111, b""))
            self.assertIn("is not for mail.example.test but for", bad.complaint())

    def test_chain(self) -> Deferred[None]:
        """What is wrong with a chain is wrong there, too; the path is told."""
        return Deferred.fromCoroutine(self.refuses())

    def test_name(self) -> Deferred[None]:
        """A name is compared where one was given."""
        return Deferred.fromCoroutine(self.compares())


class OpenSSLTests(Matrix):
    """What ``openssl verify`` says of the same certificates."""

    def pem(self, name: str, *certificates: object) -> str:
        """A file of certificates."""
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
        """Whether it has nothing against a certificate."""
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
        """It comes to the same verdict, or the case says why not."""
        for group in GROUPS:
            for name, case in group().items():
                differs = self.verifies(case) == bool(case.reason)
                self.assertEqual(differs, bool(case.differs), name)


class CommandTests(Matrix):
    """The command itself, with what is on its standard input."""

    def command(self, case: Case, way: Way, naming: Naming) -> None:
        """Run it once, in client mode."""
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
        """What a session does the command does: of all of this, a share."""
        every = [
            case
            for group in GROUPS
            for case in self.each(
                {name: case for name, case in group().items() if case.lists is None}
            )
        ]
        # Those that are taken are spread over all.
        count = share(12, len(every))
        chosen = [every[number * len(every) // count] for number in range(count)]
        together(
            {
                name: functools.partial(self.command, case, way, naming)
                for name, case, way, naming in chosen
            }
        )

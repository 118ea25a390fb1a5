"""
Reading a host: the name that is looked up is the one that is sent and verified.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.certificates import shared
from tests.command import (
    Outcome,
    Peer,
    Server,
    environment,
    invite,
    listening,
    run,
    run_in,
    server_context,
)
from tests.nursery import Nursery
from tests.torture.paths import Place
from tests.torture.resolvers import UNKNOWN, Question, resolver
from tests.transcripts import Recorders, patient
from twisted_tcpclient.errors import AddressNotFound, SettingsError
from twisted_tcpclient.race import RacingEndpoint
from twisted_tcpclient.settings import LONGEST_NAME, Host, TLSSettings
from twisted_tcpclient.tls import ConnectionCreator
from twisted_tcpclient.tls.identity import identity_of

#: Names as typed, and their ASCII forms (UTS 46, non-transitional).
NAMES = {
    "localhost": "localhost",
    "MAIL.Example.org": "mail.example.org",
    "mail.example.org.": "mail.example.org.",
    "_dmarc.example.org": "_dmarc.example.org",
    "under_score": "under_score",
    "-leading.and-.trailing": "-leading.and-.trailing",
    "127.1": "127.1",
    "300.1.1.1": "300.1.1.1",
    "xn--strae-oqa.example": "xn--strae-oqa.example",
    # In IDNA 2003, and in the transitional form of UTS 46, it is strasse.
    "stra\xdfe.example": "xn--strae-oqa.example",
    "B\xfccher.example": "xn--bcher-kva.example",
    "bu\u0308cher.example": "xn--bcher-kva.example",
    "_dmarc.B\xfccher.example": "_dmarc.xn--bcher-kva.example",
    "b\xfccher\u3002example\uff0e": "xn--bcher-kva.example.",
    "fa\xdf_x.example": "xn--fa_x-wna.example",
    "\u05d0.example": "xn--4db.example",
    # IDNA 2008 excludes symbols.
    "\u2615.example": "xn--53h.example",
    "I\u2665ny.example": "xn--iny-zx5a.example",
}

#: Addresses as typed, and as they are read.
ADDRESSES = {
    "127.0.0.1": "127.0.0.1",
    "[127.0.0.1]": "127.0.0.1",
    "::1": "::1",
    "[::1]": "::1",
    "fe80::1%eth0": "fe80::1%eth0",
    "[fe80::1%Eth0]": "fe80::1%Eth0",
    # Digits, dots and brackets of full width.
    "\uff11\uff12\uff17.0.0.1": "127.0.0.1",
    "127\u30020\uff0e0\uff611": "127.0.0.1",
    "\uff3b::1\uff3d": "::1",
}

#: Texts that are neither names nor addresses.
NOTHING = (
    *(".", "..", "a..b", ".a", "a..", " ", "a b", "a\n", "a\0b", "\x1b[2J"),
    *("*", "\uff0a", "*.example.org", "user@host", "https://host", "host:25", "a/b"),
    *("[", "]", "[]", "[localhost]", "[[::1]]", "[127.0.0.1", "::1]", ":::"),
    *(
        "1.2.3.4.",
        "1.2.3.4\u3002",
        "1.2.3.4 ",
        "1.2.3.4%eth0",
        "fe80::1%",
        "fe80::1%b\xfcro",
        "12345::",
    ),
    *("\xad", "\uff10", "\u2026", "a\u200db", "\u0301a", "\U0001f600\u200d", "\ud800"),
    # Bytes of an argument that are not UTF-8.
    "\udcffhost",
    # Letters that are written from right to left, and digits that are not.
    "\u06271\u0663",
    *("x" * 64, "\xfc" * 64, ".".join(["y" * 63] * 4), "\u212a" * 300, "a." * 200),
)


class HostTests(SynchronousTestCase):
    """The names that are made of a host as typed."""

    def test_names(self) -> None:
        """A name is looked up in lower case and ASCII; no label is lost."""
        for typed, name in NAMES.items():
            self.assertEqual(Host(typed).lookup, name, ascii(typed))

    def test_names_of_tls(self) -> None:
        """That name, without its final dot, is sent as SNI and verified."""
        for typed, name in NAMES.items():
            host, undotted = Host(typed), name.removesuffix(".")
            self.assertEqual(host.name, typed)
            self.assertEqual(host.server_name, undotted, ascii(typed))
            self.assertEqual(host.reference, undotted, ascii(typed))

    def test_addresses(self) -> None:
        """An IP address loses its brackets, whatever its digits; it is never SNI."""
        for typed, address in ADDRESSES.items():
            host = Host(typed)
            self.assertEqual(host.lookup, address, ascii(typed))
            self.assertEqual(host.server_name, None)

    def test_zone(self) -> None:
        """The zone of an address is connected to, and not verified."""
        for typed in ("fe80::1%eth0", "[fe80::1%eth0]"):
            self.assertEqual(Host(typed).lookup, "fe80::1%eth0")
            self.assertEqual(Host(typed).reference, "fe80::1")

    def test_this_machine(self) -> None:
        """``0`` and "" are this machine, whose certificate is for localhost."""
        for typed in ("0", ""):
            host = Host(typed)
            self.assertEqual(host.lookup, "0")
            self.assertEqual(host.name, "localhost")
            self.assertEqual(host.server_name, "localhost")
            self.assertEqual(host.reference, "localhost")

    def test_nothing(self) -> None:
        """Any other text is a ValueError, in each of the three uses."""
        for typed in NOTHING:
            host = Host(typed)
            self.assertEqual(host.name, typed)
            for use in ("lookup", "server_name", "reference"):
                self.assertRaises(ValueError, getattr, host, use)

    def test_length(self) -> None:
        """A name has at most 253 characters, beside its final dot."""
        longest = ("x." * LONGEST_NAME)[:LONGEST_NAME]
        self.assertEqual(Host(longest).lookup, longest)
        self.assertEqual(Host(longest + ".").lookup, longest + ".")
        for typed in (longest + "x", longest + "x."):
            self.assertRaises(ValueError, getattr, Host(typed), "lookup")

    @patient
    @given(st.text(max_size=80))
    @example("\u1e9e.\u00ad.\u2f9a")
    def test_once(self, typed: str) -> None:
        """A converted name is printable ASCII, and converts to itself."""
        try:
            name = Host(typed).lookup
        except ValueError:
            return
        self.assertTrue(name.isascii() and name.isprintable())
        self.assertEqual(Host(name).lookup, name)

    def test_identities(self) -> None:
        """A certificate for the ASCII form is one for the host as typed."""
        for typed, name in {**NAMES, **ADDRESSES}.items():
            if any(c.isalpha() for c in name) or ":" in name:
                self.assertEqual(identity_of(typed), identity_of(name), ascii(typed))


class EndpointTests(SynchronousTestCase):
    """Hosts that cannot be converted, before anything is looked up or sent."""

    def test_nothing(self) -> None:
        """The endpoint fails with one clear error, and looks nothing up."""
        reactor: Any = MemoryReactorClock()
        for typed in NOTHING:
            endpoint = RacingEndpoint(reactor, typed, 25)
            failure = self.failureResultOf(
                endpoint.connect(Recorders()), AddressNotFound
            )
            words = f"no IP address for {typed}: not a valid name"
            self.assertEqual(str(failure.value), words)
        self.assertEqual(reactor.tcpClients, [])

    def test_settings(self) -> None:
        """With text that is no host in the settings, no creator can be made."""
        for typed in NOTHING:
            settings = TLSSettings.for_host(typed)
            self.assertRaises(SettingsError, ConnectionCreator, settings)


@dataclass
class Seen:
    """The names that were looked up in DNS, and those that were sent as SNI."""

    asked: list[str] = field(default_factory=list)
    sent: list[bytes | None] = field(default_factory=list)

    def answer(self, question: Question) -> list[bytes]:
        """Note a question, and answer it."""
        self.asked.append(question.label)
        return [question.address()]

    def greet(self, prepare: Callable[[Peer, SSL.Context], object], peer: Peer) -> None:
        """Note the SNI of a ClientHello, if there is one, and send a greeting."""
        context = _context()
        context.set_tlsext_servername_callback(
            lambda connection: self.sent.append(connection.get_servername())
        )
        prepare(peer, context)
        peer.send(b"hello\n")
        peer.finish()


def _context() -> SSL.Context:
    """Return the context of a server with a certificate for the ASCII names alone."""
    identity = shared().authority.server(
        ["xn--strae-oqa.example", "xn--bcher-kva.example"], common_name="x"
    )
    context: SSL.Context = server_context.__wrapped__()
    context.use_certificate(identity.certificate)
    context.use_privatekey(identity.key)
    return context


def _starttls(peer: Peer, context: SSL.Context) -> None:
    invite(peer)
    peer.secure(context)


@functools.cache
def _place() -> Place:
    """Return a network in which names come from DNS alone."""
    place = Place()
    place.cover(
        hosts="127.0.0.1 localhost\n",
        nsswitch_conf="hosts: files dns\n",
        resolv_conf="nameserver 127.0.0.1\noptions timeout:5 attempts:3\n",
    )
    return place


@functools.cache
def _nursery() -> Nursery:
    return Nursery(environment(), _place().call)


#: The command with a resolver that gives an address with a zone, as mDNS does.  The C
#: library reads no zones in hosts(5), and DNS has none.
_ZONED = """
import socket, sys
from twisted_tcpclient import __main__
number = socket.if_nametoindex("v0")
def getaddrinfo(host, port, family=0, kind=0, protocol=0, flags=0):
    if host != "zoned.example":
        return known(host, port, family, kind, protocol, flags)
    return [(socket.AF_INET6, kind, 6, "", ("fe80::1", port, 0, number))]
known, socket.getaddrinfo = socket.getaddrinfo, getaddrinfo
sys.exit(__main__.main())
"""


@functools.cache
def _zones() -> Place:
    """Return a network with the same link-local address in two zones."""
    place = Place()
    try:
        place.ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")
    except RuntimeError as error:
        raise SkipTest(f"this kernel has no pairs of interfaces: {error}") from None
    for name in ("v0", "v1"):
        place.ip("link", "set", name, "up")
    for name in ("lo", "v0"):
        place.ip("address", "replace", "fe80::1/64", "dev", name, "nodad")
    return place


class ZoneTests(SynchronousTestCase):
    """Names of link-local addresses."""

    def session(self, *arguments: str) -> Outcome:
        """Run the command in the network of :func:`_zones`."""
        words = (sys.executable, "-c", _ZONED)
        return _zones().call(run, *arguments, command=words)

    def test_zone(self) -> None:
        """The zone that the resolver gives is connected to, and shown."""

        def listen() -> socket.socket:
            number = socket.if_nametoindex("v0")
            listener = socket.socket(socket.AF_INET6)
            listener.bind(("fe80::1", 0, 0, number))
            return listener

        def greet(peer: Peer) -> None:
            peer.send(b"hello\n")
            peer.finish()

        listener = _zones().call(listen)
        port = str(listener.getsockname()[1])
        with listening(listener, greet):
            outcome = self.session("-v", "zoned.example", port)
            told = self.session("-HRl0", "zoned.example", port, "env")
        self.assertEqual((outcome.status, outcome.out), (0, b"hello\n"))
        for words in (
            f"trying host zoned.example ip fe80::1%v0 port {port}\n",
            f"connected to fe80::1%v0 port {port}\n",
        ):
            self.assertIn(words, outcome.err)
        self.assertIn(b"TCPREMOTEIP=fe80::1%v0\n", told.out)

    def test_refused(self) -> None:
        """The message for a refused connection has the zone."""
        outcome = self.session("zoned.example", "9")
        words = "host zoned.example ip fe80::1%v0 port 9: connection refused"
        self.assertEqual(outcome.complaint(), f"unable to connect to {words}")


class OneReadingTests(SynchronousTestCase):
    """The same name is looked up, sent and verified, wherever the user gives it."""

    #: Names as typed, and the first labels of their ASCII forms.
    TYPED = {
        "stra\xdfe.example": "xn--strae-oqa",
        "B\xfccher.example": "xn--bcher-kva",
        "b\xfccher\u3002Example.": "xn--bcher-kva",
    }

    @contextlib.contextmanager
    def serve(
        self, prepare: Callable[[Peer, SSL.Context], object]
    ) -> Iterator[tuple[Seen, Server]]:
        """Start a name server that knows the ASCII names alone, and a server."""
        seen = Seen()

        def other(question: Question) -> list[bytes]:
            seen.asked.append(question.label)
            return [question.reply(flags=UNKNOWN)]

        right = dict.fromkeys(self.TYPED.values(), seen.answer)
        script = functools.partial(seen.greet, prepare)
        place = _place()
        with (
            resolver(place, {**right, "strasse": other, "bcher": other}),
            place.serving(script, "127.0.0.1") as server,
        ):
            yield seen, server

    def check(
        self,
        words: Callable[[str, str], tuple[str, ...]],
        prepare: Callable[[Peer, SSL.Context], object],
        secure: bool = True,
    ) -> None:
        """Connect to each of the names."""
        for typed, label in self.TYPED.items():
            with self.serve(prepare) as (seen, server):
                outcome = run_in(_nursery(), *words(typed, server.arguments[1]))
            self.assertEqual(outcome, Outcome(0, b"hello\n", ""), ascii(typed))
            self.assertEqual(set(seen.asked), {label})
            sni = f"{label}.example".encode()
            self.assertEqual(seen.sent, [sni] if secure else [])

    def test_clear(self) -> None:
        """In clear the name is looked up in its ASCII form."""
        self.check(lambda host, port: (host, port), lambda *_: None, secure=False)

    def test_tls(self) -> None:
        """Over TLS the ASCII form is also sent and verified."""
        ca = str(shared().ca)
        self.check(lambda host, port: ("--tls", "-c", ca, host, port), Peer.secure)

    def test_starttls(self) -> None:
        """After STARTTLS the ASCII form is also sent and verified."""
        ca = str(shared().ca)
        self.check(lambda host, port: ("-s", "smtp", "-c", ca, host, port), _starttls)

    def test_strings(self) -> None:
        """In endpoint strings the ASCII form is also sent and verified."""
        ca = str(shared().ca)

        def tls(host: str, port: str) -> tuple[str, ...]:
            return ("-E", f"tcpclient:{host}:{port}:tls=yes:trustRoots={ca}")

        def starttls(host: str, port: str) -> tuple[str, ...]:
            return ("-E", f"starttls:smtp:{host}:{port}:trustRoots={ca}")

        self.check(tls, Peer.secure)
        self.check(starttls, _starttls)

    def test_other_endpoints(self) -> None:
        """Twisted's own endpoints look up the ASCII form as well."""

        def tcp(host: str, port: str) -> tuple[str, ...]:
            return ("-E", f"tcp:{host}:{port}")

        self.check(tcp, lambda *_: None, secure=False)
        with self.serve(lambda *_: None) as (seen, server):
            outcome = run_in(_nursery(), "-E", f"tcp:*:{server.arguments[1]}")
            self.assertEqual((outcome.status, outcome.out), (111, b""))
        self.assertEqual((seen.asked, server.connections), ([], 0))

    def test_match(self) -> None:
        """The name of -m is converted in the same way."""
        ca = str(shared().ca)
        typed = "Stra\xdfe.example"
        with self.serve(Peer.secure) as (seen, server):
            words = ("--tls", "-c", ca, "-m", typed, "127.0.0.1", server.arguments[1])
            outcome = run_in(_nursery(), *words)
        self.assertEqual(outcome, Outcome(0, b"hello\n", ""))
        self.assertEqual((seen.asked, seen.sent), ([], [b"xn--strae-oqa.example"]))

    def test_addresses(self) -> None:
        """An address in other digits is connected to, and verified, as an address."""

        def secure(peer: Peer, context: SSL.Context) -> None:
            peer.secure(server_context())

        ca = str(shared().ca)
        for typed in ("\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021"):
            with self.serve(secure) as (seen, server):
                words = ("--tls", "-c", ca, typed, server.arguments[1])
                outcome = run_in(_nursery(), *words)
            self.assertEqual(outcome, Outcome(0, b"hello\n", ""))
            self.assertEqual(seen.asked, [])

    def test_shown(self) -> None:
        """
        A message shows the name as typed, escaped; -v shows the ASCII form as well.
        """
        ca = str(shared().ca)
        typed = "B\xfccher.example"
        with self.serve(Peer.secure) as (_, server):
            port = server.arguments[1]
            outcome = run_in(_nursery(), "-v", "--tls", "-c", ca, typed, port)
        for words in (
            "tcpclient: B\\xfccher.example is read as xn--bcher-kva.example\n",
            f"trying host B\\xfccher.example ip 127.0.0.1 port {port}\n",
            "verified as B\\xfccher.example (xn--bcher-kva.example)",
        ):
            self.assertIn(words, outcome.err)

    def test_nothing(self) -> None:
        """
        Text that is no host is an error in one line, status 111, and not looked up.
        """
        with self.serve(Peer.secure) as (seen, server):
            for typed in ("*", "a b", "a..b", "x" * 64, "\xad", "\uff0a", "\udcff"):
                for options in ((), ("--tls",)):
                    outcome = run_in(_nursery(), *options, typed, server.arguments[1])
                    self.assertEqual((outcome.status, outcome.out), (111, b""))
                    words = "name" if options else ": not a valid name"
                    self.assertIn(words, outcome.complaint())
        self.assertEqual((seen.asked, server.connections), ([], 0))

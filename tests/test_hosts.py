"""One reading of a host: the name that is looked up is the one sent and verified."""

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
from twisted_tcpclient.settings import LONGEST_NAME, TLSSettings, read_host, sni
from twisted_tcpclient.tls import ConnectionCreator
from twisted_tcpclient.tls.identity import reference, server_name

#: What is typed, and the ASCII form in which it is read (UTS 46, non-transitional).
NAMES = {
    "localhost": "localhost",
    "MAIL.Example.org": "mail.example.org",
    "mail.example.org.": "mail.example.org.",
    "_dmarc.example.org": "_dmarc.example.org",
    "under_score": "under_score",
    "-leading.and-.trailing": "-leading.and-.trailing",
    "127.1": "127.1",
    "300.1.1.1": "300.1.1.1",
    "0": "0",
    "xn--strae-oqa.example": "xn--strae-oqa.example",
    # IDNA 2003, and UTS 46 in its transitional form, read strasse.
    "stra\xdfe.example": "xn--strae-oqa.example",
    "B\xfccher.example": "xn--bcher-kva.example",
    "bu\u0308cher.example": "xn--bcher-kva.example",
    "_dmarc.B\xfccher.example": "_dmarc.xn--bcher-kva.example",
    "b\xfccher\u3002example\uff0e": "xn--bcher-kva.example.",
    "fa\xdf_x.example": "xn--fa_x-wna.example",
    "\u05d0.example": "xn--4db.example",
    # Symbols are not in IDNA 2008.
    "\u2615.example": "xn--53h.example",
    "I\u2665ny.example": "xn--iny-zx5a.example",
}

#: What is typed, and the address that it is.
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

#: What is neither.
NOTHING = (
    *("", ".", "..", "a..b", ".a", "a..", " ", "a b", "a\n", "a\0b", "\x1b[2J"),
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
    # Letters from right to left, and digits of another direction.
    "\u06271\u0663",
    *("x" * 64, "\xfc" * 64, ".".join(["y" * 63] * 4), "\u212a" * 300, "a." * 200),
)


class ReadingTests(SynchronousTestCase):
    """What a host as typed is read as."""

    def test_names(self) -> None:
        """A name is read as ASCII, in lower case, and no label is lost."""
        for typed, name in NAMES.items():
            self.assertEqual(read_host(typed), name, ascii(typed))

    def test_addresses(self) -> None:
        """An address is read as itself, whatever its digits and brackets are."""
        for typed, address in ADDRESSES.items():
            self.assertEqual(read_host(typed), address, ascii(typed))

    def test_nothing(self) -> None:
        """Anything else is an error."""
        for typed in NOTHING:
            self.assertRaises(ValueError, read_host, typed)

    def test_length(self) -> None:
        """A name has at most 253 characters, beside its final dot."""
        longest = ("x." * LONGEST_NAME)[:LONGEST_NAME]
        self.assertEqual(read_host(longest), longest)
        self.assertEqual(read_host(longest + "."), longest + ".")
        for typed in (longest + "x", longest + "x."):
            self.assertRaises(ValueError, read_host, typed)

    @patient
    @given(st.text(max_size=80))
    @example("\u1e9e.\u00ad.\u2f9a")
    def test_once(self, typed: str) -> None:
        """What was read is ASCII, and is read as itself; or there is a ValueError."""
        try:
            name = read_host(typed)
        except ValueError:
            return
        self.assertTrue(name.isascii() and name.isprintable())
        self.assertEqual(read_host(name), name)

    def test_everywhere(self) -> None:
        """SNI and the reference identity come of the name that is looked up."""
        for typed, name in NAMES.items():
            host = name.removesuffix(".")
            self.assertEqual(sni(typed), host)
            if any(c.isalpha() for c in host):
                self.assertEqual(server_name(typed), host.encode())
                self.assertEqual(reference(typed), reference(host))
        for typed, address in ADDRESSES.items():
            self.assertEqual((sni(typed), server_name(typed)), (None, None))
            self.assertEqual(reference(typed), reference(address))


class EndpointTests(SynchronousTestCase):
    """What cannot be read, before anything is looked up or sent."""

    def test_nothing(self) -> None:
        """What is neither a name nor an address is one clear error, and no question."""
        reactor: Any = MemoryReactorClock()
        for typed in NOTHING:
            if typed:
                endpoint = RacingEndpoint(reactor, typed, 25)
                failure = self.failureResultOf(
                    endpoint.connect(Recorders()), AddressNotFound
                )
                words = f"no IP address for {typed}: not a valid name"
                self.assertEqual(str(failure.value), words)
        self.assertEqual(reactor.tcpClients, [])

    def test_settings(self) -> None:
        """Settings for such a host make no TLS."""
        for typed in NOTHING:
            if typed:
                settings = TLSSettings.for_host(typed)
                self.assertRaises(SettingsError, ConnectionCreator, settings)


@dataclass
class Seen:
    """What was asked for: names of DNS, and names of SNI."""

    asked: list[str] = field(default_factory=list)
    sent: list[bytes | None] = field(default_factory=list)

    def answer(self, question: Question) -> list[bytes]:
        """Note a question, and answer it."""
        self.asked.append(question.label)
        return [question.address()]

    def greet(self, prepare: Callable[[Peer, SSL.Context], object], peer: Peer) -> None:
        """Note the name in a ClientHello, if there is one, and greet."""
        context = _context()
        context.set_tlsext_servername_callback(
            lambda connection: self.sent.append(connection.get_servername())
        )
        prepare(peer, context)
        peer.send(b"hello\n")
        peer.finish()


def _context() -> SSL.Context:
    """Return the settings of a server for the ASCII form of the names alone."""
    identity = shared().authority.server(
        ["xn--strae-oqa.example", "xn--bcher-kva.example"], common_name="whoever"
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
    """Return a network where names come from DNS alone."""
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


#: The command, where the system's resolver knows a name in a zone, as by mDNS.  The
#: C library reads no zones in hosts(5), and DNS has none.
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
    """Names that lead to link-local addresses."""

    def session(self, *arguments: str) -> Outcome:
        """Run the command where the names are."""
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
        """A message has the zone."""
        outcome = self.session("zoned.example", "9")
        words = "host zoned.example ip fe80::1%v0 port 9: connection refused"
        self.assertEqual(outcome.complaint(), f"unable to connect to {words}")


class OneReadingTests(SynchronousTestCase):
    """The same name is looked up, sent and verified, whichever way it is given."""

    #: What is typed, and the first label of the name that it is read as.
    TYPED = {
        "stra\xdfe.example": "xn--strae-oqa",
        "B\xfccher.example": "xn--bcher-kva",
        "b\xfccher\u3002Example.": "xn--bcher-kva",
    }

    @contextlib.contextmanager
    def serve(
        self, prepare: Callable[[Peer, SSL.Context], object]
    ) -> Iterator[tuple[Seen, Server]]:
        """Have a name server that knows the ASCII form alone, and a server."""
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
        """Over TLS that form is also sent and verified."""
        ca = str(shared().ca)
        self.check(lambda host, port: ("--tls", "-c", ca, host, port), Peer.secure)

    def test_starttls(self) -> None:
        """After STARTTLS it is, too."""
        ca = str(shared().ca)
        self.check(lambda host, port: ("-s", "smtp", "-c", ca, host, port), _starttls)

    def test_strings(self) -> None:
        """In an endpoint string it is, too."""
        ca = str(shared().ca)

        def tls(host: str, port: str) -> tuple[str, ...]:
            return ("-E", f"tcpclient:{host}:{port}:tls=yes:trustRoots={ca}")

        def starttls(host: str, port: str) -> tuple[str, ...]:
            return ("-E", f"starttls:smtp:{host}:{port}:trustRoots={ca}")

        self.check(tls, Peer.secure)
        self.check(starttls, _starttls)

    def test_other_endpoints(self) -> None:
        """Endpoints of Twisted's own look the same name up."""

        def tcp(host: str, port: str) -> tuple[str, ...]:
            return ("-E", f"tcp:{host}:{port}")

        self.check(tcp, lambda *_: None, secure=False)
        with self.serve(lambda *_: None) as (seen, server):
            outcome = run_in(_nursery(), "-E", f"tcp:*:{server.arguments[1]}")
            self.assertEqual((outcome.status, outcome.out), (111, b""))
        self.assertEqual((seen.asked, server.connections), ([], 0))

    def test_match(self) -> None:
        """A name of -m is read in the same way."""
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
        """A message has the name as typed, escaped; -v tells what it is read as."""
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
        """What cannot be read is one line, status 111, and no question to DNS."""
        with self.serve(Peer.secure) as (seen, server):
            for typed in ("*", "a b", "a..b", "x" * 64, "\xad", "\uff0a", "\udcff"):
                for options in ((), ("--tls",)):
                    outcome = run_in(_nursery(), *options, typed, server.arguments[1])
                    self.assertEqual((outcome.status, outcome.out), (111, b""))
                    words = "name" if options else ": not a valid name"
                    self.assertIn(words, outcome.complaint())
        self.assertEqual((seen.asked, server.connections), ([], 0))

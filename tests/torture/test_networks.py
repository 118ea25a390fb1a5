"""Networks that fail: data is transferred whole, or the session is an error."""

from __future__ import annotations

import contextlib
import functools
import select
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.command import (
    AT_ONCE,
    STARTTLS,
    TCP,
    TLS,
    Cut,
    Kind,
    Outcome,
    Peer,
    environment,
    listening,
    run_in,
    together,
)
from tests.nursery import Nursery
from tests.test_client_mode import noise, same
from tests.test_prog import QUICK, python
from tests.torture import WHOLE, paths, share
from tests.torture.paths import (
    FAR,
    Path,
    Place,
    Treatment,
    broken,
    doubled,
    late,
    lossy,
    narrow,
    passed,
    path,
    spoilt,
    swallowed,
)
from tests.torture.resolvers import (
    AAAA,
    CNAME,
    DENIED,
    FAILED,
    PTR,
    TRUNCATED,
    TXT,
    UNKNOWN,
    A,
    Answers,
    Question,
    labels,
    resolver,
)

#: Most cases wait, so more of them than there are processors run at the same time.
WORKERS = 8

#: A prog that sends its stdin and prints what it receives, both at the same time.
COPY = """
import os, socket, threading
def copy(source, target, end):
    try:
        while data := os.read(source, 65536):
            while data:
                data = data[os.write(target, data):]
        end()
    except OSError:
        os._exit(3)
def end():
    try:
        socket.socket(fileno=7).shutdown(socket.SHUT_WR)
    except OSError:
        os.close(7)
sending = threading.Thread(target=copy, args=(0, 7, end))
sending.start()
copy(6, 1, sending.join)
"""


@dataclass(frozen=True)
class Mode:
    """A way to use the command: the kind of connection, and prog, if any."""

    kind: Kind
    prog: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The kind of connection, and "prog" or "client"."""
        return f"{self.kind.name} {'prog' if self.prog else 'client'}"

    @property
    def becomes_prog(self) -> bool:
        """
        Whether the process becomes prog, so that messages and status are those of prog.
        """
        return bool(self.prog) and not self.kind.secure


MODES = (
    Mode(TCP),
    Mode(TLS),
    Mode(STARTTLS),
    Mode(TCP, python(COPY)),
    Mode(TLS, python(COPY)),
)


def nursery(mtu: int = 1500) -> Nursery:
    """Return the nursery at the near end of a path."""
    return _made(path(mtu))


@functools.cache
def _made(way: Path) -> Nursery:
    return Nursery(environment(), way.near.call)


@dataclass
class Far:
    """
    The server at the far end of a transfer.

    :ivar down: The bytes that it sends.
    :ivar size: The number of bytes that the client sends.
    :ivar received: The bytes that it has received.
    :ivar peers: Its connections.
    """

    down: bytes
    size: int
    received: bytes = b""
    peers: list[Peer] = field(default_factory=list)

    def follow(self, prepare: Callable[[Peer], object], peer: Peer) -> None:
        """Send and receive all data, then close."""
        self.peers.append(peer)
        # The test checks the client; the errors of the server do not matter.
        with contextlib.suppress(OSError, Cut, SSL.Error, AssertionError):
            prepare(peer)
            self.received = peer.exchange(self.down)
            peer.finish()

    def give_up(self) -> None:
        """Shut down the connections of scripts that still wait for the client."""
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.socket.shutdown(socket.SHUT_RDWR)


class Transfers(SynchronousTestCase):
    """A test case for transfers in both directions over a faulty path."""

    def setUp(self) -> None:
        """
        Make the path now, since `functools.cache` does not keep two threads from making
        two.
        """
        nursery()

    def transfer(
        self,
        mode: Mode,
        treatment: Treatment = passed,
        size: int = 100_000,
        host: str = FAR[0],
        options: tuple[str, ...] = (),
        mtu: int = 1500,
    ) -> Outcome:
        """
        Send and receive random bytes, and check the outcome.

        With status 0 the data is whole.  With any other status one line tells the
        error, and stdout is a beginning of the data sent.
        """
        up, down = noise(size), noise(size + 1)
        far = Far(down, size)
        way = path(mtu)
        script = functools.partial(far.follow, mode.kind.prepare)
        with way.far.serving(script, host) as server:
            port = int(server.arguments[1])
            words = (*self.options(mode), *options, *server.arguments, *mode.prog)
            with way.treating(port, treatment, host):
                outcome = run_in(nursery(mtu), *words, data=up)
            if outcome.status == 0:
                server.result()
            far.give_up()
        self.check(mode, outcome, far, up)
        return outcome

    def options(self, mode: Mode) -> tuple[str, ...]:
        """Return the options of the kind of connection, without look-ups for prog."""
        name = ("-m", "localhost") if mode.kind.secure else ()
        return (*QUICK, *AT_ONCE, *mode.kind.options(), *name)

    def check(self, mode: Mode, outcome: Outcome, far: Far, up: bytes) -> None:
        """Check that the data is whole, or that there is an error."""
        if outcome.status == 0:
            self.assertEqual(outcome.err, "")
            self.assertTrue(same(outcome.out, far.down), len(outcome.out))
            self.assertTrue(same(far.received, up), len(far.received))
            return
        self.assertTrue(far.down.startswith(outcome.out))
        if mode.becomes_prog and outcome.status == 3:
            # Prog has replaced the command, which can write no message.
            self.assertEqual(outcome.err, "")
            return
        self.assertTrue(outcome.complaint())
        self.assertIn(outcome.status, (111, 3) if mode.prog else (111,))


def weathers(dice: Random) -> dict[str, Treatment]:
    """Return the faults that TCP recovers from, by name."""
    return {
        "loss": lossy(0.04, dice),
        "reordering": late(0.02, dice),
        "duplicates": doubled(0.3, dice),
        "corruption": spoilt(0.04, dice),
    }


class WeatherTests(Transfers):
    """Faults of the path that TCP recovers from: the transfer is whole."""

    def test_faulty_path(self) -> None:
        """
        The transfer is whole in spite of loss, reordering, duplicates and corruption.
        """

        def check(mode: Mode, treatment: Treatment, host: str) -> None:
            outcome = self.transfer(mode, treatment, host=host)
            self.assertEqual((outcome.status, outcome.err), (0, ""))

        for seed in range(share(1, 10)):
            together(
                {
                    f"{name} {mode.name} {seed}": functools.partial(
                        check, mode, treatment, FAR[(seed + number) % 2]
                    )
                    for name, treatment in weathers(Random(seed)).items()
                    for number, mode in enumerate(MODES)
                },
                WORKERS,
            )

    def test_small_mtu(self) -> None:
        """The transfer is whole over a path with a small MTU."""

        def check(mode: Mode, mtu: int) -> None:
            outcome = self.transfer(mode, mtu=mtu, size=60_000)
            self.assertEqual((outcome.status, outcome.err), (0, ""))

        for mtu in (296, 576, 1280)[: share(1, 3)]:
            nursery(mtu)
            together({m.name: functools.partial(check, m, mtu) for m in MODES}, WORKERS)

    def test_pause(self) -> None:
        """The transfer is whole if the link is down for a moment."""

        def check(mode: Mode) -> None:
            count = 0

            def treat(packet: paths.Packet) -> paths.Fate:
                nonlocal count
                count += 1
                # Delay packets 21 to 39 by 0.4 s.
                return [(0.4 if 20 < count < 40 else 0.0, packet)]

            outcome = self.transfer(mode, treat)
            self.assertEqual((outcome.status, outcome.err), (0, ""))
            self.assertGreater(count, 40)

        together({m.name: functools.partial(check, m) for m in MODES[:3]}, WORKERS)


#: The size of a small transfer in bytes each way, and about how many packets it takes.
SMALL, PACKETS = 20_000, 100


class BrokenTests(Transfers):
    """Paths that fail after a number of packets."""

    def sweep(self, ends: Callable[[int], Treatment], step: int) -> None:
        """
        Let the path fail after each number of packets, or after a share of these
        numbers.
        """
        failed = []

        def check(mode: Mode, number: int, host: str) -> None:
            bounds = ("-T", "1", "-a", "1")
            outcome = self.transfer(
                mode, ends(number), size=SMALL, options=bounds, host=host
            )
            failed.append(outcome.status != 0)

        together(
            {
                f"{mode.name} {number}": functools.partial(
                    check, mode, number, FAR[number % 2]
                )
                for index, mode in enumerate(MODES)
                # -a does not bound a session once the process has become prog.
                if not mode.becomes_prog or ends is broken
                for number in range(0, PACKETS, step)
                if WHOLE or (number + index) % 2
            },
            WORKERS,
        )
        # Some transfers have to fail and some to succeed, or the numbers are wrong.
        self.assertEqual(set(failed), {True, False})

    def test_blackhole(self) -> None:
        """If no packet arrives any more, the session is an error within -T and -a."""
        self.sweep(swallowed, share(11, 1))

    def test_reset(self) -> None:
        """If both ends get a RST, the session is an error or was complete."""
        self.sweep(broken, share(7, 1))

    def test_lost_large_packets(self) -> None:
        """If large packets are lost without ICMP, the session is an error within -a."""

        def check(mode: Mode) -> None:
            outcome = self.transfer(mode, narrow(600), options=("-a", "1"))
            self.assertEqual(outcome.status, 111)

        together(
            {
                mode.name: functools.partial(check, mode)
                for mode in MODES
                if not mode.becomes_prog
            },
            WORKERS,
        )


class AddressTests(Transfers):
    """The near end loses its address or its route during a transfer."""

    def lose(self, *words: str, options: tuple[str, ...] = ()) -> None:
        """
        Check that the session ends with an error within -a if `ip` runs with these
        words.
        """
        count = 0

        def treat(packet: paths.Packet) -> paths.Fate:
            nonlocal count
            count += 1
            if count == 20:
                path().near.ip(*words)
            return passed(packet)

        for mode in MODES[: share(1, 2)]:
            count = 0
            outcome = self.transfer(mode, treat, options=("-a", "3", *options))
            self.assertEqual(outcome.status, 111)
            self.assertIn("nothing was sent or received", outcome.err)
            path().near.ip(*[{"add": "del", "del": "add"}.get(w, w) for w in words])

    def test_address(self) -> None:
        """The session is an error within -a if its local address is removed."""
        ours = ("10.9.0.77/32", "dev", "path")
        path().near.ip("address", "add", *ours)
        self.lose("address", "del", *ours, options=("-i", "10.9.0.77"))

    def test_route(self) -> None:
        """
        The session is an error within -a if the route to the server disappears, whether
        the kernel reports that (unreachable) or not (blackhole).
        """
        for kind in ("blackhole", "unreachable"):
            self.lose("route", "add", kind, f"{FAR[0]}/32")


class FamilyTests(Transfers):
    """Host names with an IPv4 and an IPv6 address, one of which does not work."""

    DEAD = {"silent": swallowed, "refuses": broken}

    def setUp(self) -> None:
        """Add a host name with both addresses to /etc/hosts of the near end."""
        super().setUp()
        names = "".join(f"{address} dual.test\n" for address in FAR)
        self.etc = _names(names)

    def first(self, family: int) -> None:
        """Let the resolver return the addresses of this family first."""
        text = "precedence ::ffff:0:0/96 100\nprecedence ::/0 40\n"
        (self.etc / "gai.conf").write_text(text if family == 4 else "")

    @contextlib.contextmanager
    def dual(self, script: Callable[[Peer], object]) -> Iterator[tuple[str, str]]:
        """
        Serve on both addresses with the same port; yield the host name and the port.
        """
        place = path().far
        with contextlib.ExitStack() as stack:
            listeners = [place.listener(FAR[0])]
            port = listeners[0].getsockname()[1]
            listeners.append(place.listener(FAR[1], port))
            for listener in listeners:
                stack.enter_context(listening(listener, script))
            yield "dual.test", str(port)

    def connect(self, treatment: Treatment) -> Outcome:
        """Run the command against both addresses, with a treatment of its packets."""

        def hello(peer: Peer) -> None:
            peer.send(b"hello from " + peer.socket.getsockname()[0].encode())
            peer.finish()

        with (
            self.dual(hello) as (name, port),
            path().treating(int(port), treatment, *FAR),
        ):
            return run_in(nursery(), name, port)

    def test_one_is_dead(self) -> None:
        """If one address is silent or refuses, the other is used, in either order."""
        for first in (4, 6):
            self.first(first)

            def check(how: str, dead: int) -> None:
                treatment = self.DEAD[how](0, dead)
                alive = FAR[0] if dead == 6 else FAR[1]
                said = f"hello from {alive}".encode()
                self.assertEqual(self.connect(treatment), Outcome(0, said, ""))

            together(
                {
                    f"{dead} {how}": functools.partial(check, how, dead)
                    for how in self.DEAD
                    for dead in (4, 6)
                },
                WORKERS,
            )

    def test_order(self) -> None:
        """
        If both addresses work, the first is used; so `first` does decide the order.
        """
        for family, address in zip((4, 6), FAR, strict=True):
            self.first(family)
            said = f"hello from {address}".encode()
            self.assertEqual(self.connect(passed), Outcome(0, said, ""))


@functools.cache
def _names(hosts: str) -> Any:
    """Mount files for the resolver at the near end of the path."""
    switch = "hosts: files\n"
    return path().near.cover(hosts=hosts, nsswitch_conf=switch, gai_conf="")


#: resolv.conf of the island: its name server is a thread of the test.
RESOLV = "nameserver 127.0.0.1\noptions timeout:1 attempts:3\n"


@functools.cache
def _island() -> Place:
    """Return a place with a loopback only, where host names come from DNS."""
    island = Place()
    hosts, switch = "127.0.0.1 localhost\n", "hosts: files dns\n"
    island.cover(hosts=hosts, nsswitch_conf=switch, resolv_conf=RESOLV)
    return island


@functools.cache
def islanders() -> Nursery:
    """Return the nursery on the island."""
    return Nursery(environment(), _island().call)


class Islands(SynchronousTestCase):
    """
    A test case for sessions with a greeting server, and a faulty name or ident server.
    """

    def setUp(self) -> None:
        """Make the island and its nursery."""
        self.place = _island()
        islanders()

    def session(self, *arguments: str) -> Outcome:
        """Run the command to its end."""
        return run_in(islanders(), *arguments)

    def lines(self, outcome: Outcome) -> list[str]:
        """
        Check that a session failed in order; return its lines without their prefix.
        """
        self.assertEqual((outcome.status, outcome.out), (111, b""))
        *warnings, fatal = outcome.err.splitlines(keepends=True)
        for line in warnings:
            self.assertTrue(line.startswith("tcpclient: warning: "), line)
            self.assertTrue(line[:-1].isascii() and line[:-1].isprintable(), line)
        Outcome(111, b"", fatal).complaint()
        return [line[:-1].split(": ", 2)[2] for line in (*warnings, fatal)]


def greet(peer: Peer) -> None:
    """Send a line and close."""
    peer.send(b"hello\n")
    peer.finish()


def _wrong(question: Question) -> bytes:
    """
    Return a reply with a wrong query number, and with an address without a server.
    """
    number = int.from_bytes(question.data[:2], "big")
    lie = question.address("127.6.6.6")
    return ((number + 1) % 65536).to_bytes(2, "big") + lie[2:]


def _second(answers: Answers) -> Answers:
    """Answer only the second time that a question is asked."""
    asked: set[tuple[bytes, int]] = set()

    def behave(question: Question) -> list[bytes]:
        key = question.name, question.kind
        if key in asked:
            return answers(question)
        asked.add(key)
        return []

    return behave


def _mutated(seed: int) -> Answers:
    """Answer with a reply in which random bytes after the query number are changed."""

    def behave(question: Question) -> list[bytes]:
        dice = Random(seed + question.kind)
        records = [(A, bytes(4)), (CNAME, question.name), (AAAA, bytes(16))]
        reply = bytearray(question.reply(*dice.choices(records, k=3)))
        for _ in range(dice.randrange(1, 9)):
            reply[dice.randrange(2, len(reply))] = dice.randrange(256)
        return [bytes(reply[: dice.choice((len(reply), dice.randrange(2, 60)))])]

    return behave


#: 200 records of addresses without a server.
NOWHERE = [(A, bytes((127, 0, 1, number))) for number in range(200)]
#: A record of 256 bytes; many of them make a reply larger than a UDP packet may be.
BULK = (TXT, b"\xff" + b"x" * 255)


class ResolverTests(Islands):
    """Name servers that are silent, slow, absent, or give wrong replies."""

    #: Replies with which the command connects in the end.
    GOOD: dict[str, Answers] = {
        "good": lambda q: [q.address()],
        "twice": lambda q: [q.address()] * 2,
        "slow": _second(lambda q: [q.address()]),
        "forged": lambda q: [*[_wrong(q)] * 50, q.address()],
        "one-refuses": lambda q: [
            q.reply(*[(A, bytes((127, 6, 6, 6))), (A, bytes((127, 0, 0, 1)))])
            if q.kind == A
            else q.reply()
        ],
        "six-fails": lambda q: [q.address() if q.kind == A else q.reply(flags=FAILED)],
        "six-lies": lambda q: [
            q.address() if q.kind == A else q.reply((AAAA, b"\x20\x01" + bytes(14)))
        ],
        "huge": lambda q: [
            q.reply((A, bytes((127, 0, 0, 1))), *[BULK] * 200)
            if q.kind == A
            else q.reply()
        ],
    }

    #: Replies with which the command fails, and the beginning of its message.
    BAD: dict[str, tuple[str, Answers]] = {
        "silent": ("temporarily", lambda q: []),
        "failed": ("temporarily", lambda q: [q.reply(flags=FAILED)]),
        "denied": ("temporarily", lambda q: [q.reply(flags=DENIED)]),
        "unknown": ("no IP address", lambda q: [q.reply(flags=UNKNOWN)]),
        "empty": ("no IP address", lambda q: [q.reply()]),
        "truncated": ("temporarily", lambda q: [q.reply(flags=TRUNCATED)]),
        "short": ("", lambda q: [q.reply((q.kind, b"\x7f"))]),
        "circle": ("", lambda q: [q.reply((CNAME, q.name))]),
        "odd-name": ("", lambda q: [q.reply((CNAME, labels(b"\x1b[2J\n", b"x")))]),
        "noise": ("", lambda q: [q.data[:2] + noise(500)]),
        "nothing": ("", lambda q: [b"x"]),
        "many": ("unable to connect", lambda q: [q.reply(*NOWHERE)]),
        "multicast": ("unable to connect", lambda q: [q.address("224.0.0.1")]),
        "broadcast": ("unable to connect", lambda q: [q.address("255.255.255.255")]),
        "reserved": ("unable to connect", lambda q: [q.address("240.0.0.1")]),
    }

    def serve(self, behaviours: dict[str, Answers]) -> str:
        """Start a greeting server and a name server; return the port of the first."""
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        stack.enter_context(resolver(self.place, behaviours))
        server = stack.enter_context(self.place.serving(greet, "127.0.0.1"))
        return server.arguments[1]

    def test_good(self) -> None:
        """
        The command ignores forged replies and retries, and connects to the right
        address.
        """
        port = self.serve(self.GOOD)

        def check(label: str) -> None:
            outcome = self.session("-T", "20", f"{label}.example.test", port)
            self.assertEqual((outcome.status, outcome.out), (0, b"hello\n"))
            self.assertEqual(outcome.err, "")

        together({each: functools.partial(check, each) for each in self.GOOD}, WORKERS)

    def test_bad(self) -> None:
        """
        With unusable replies the command ends within -T, with printable errors only.
        """
        port = self.serve({label: answers for label, (_, answers) in self.BAD.items()})

        def check(label: str, words: str) -> None:
            # A definite error needs its time; the others only have to end within -T.
            bound = "20" if words and words != "temporarily" else "1"
            outcome = self.session("-T", bound, f"{label}.example.test", port)
            for line in self.lines(outcome):
                self.assertTrue(line.startswith(words), line)

        together(
            {
                label: functools.partial(check, label, words)
                for label, (words, _) in self.BAD.items()
            },
            WORKERS,
        )

    def test_no_name_server(self) -> None:
        """If no name server runs, the error is temporary: the name may exist."""
        outcome = self.session("-T", "10", "good.example.test", "25")
        (line,) = self.lines(outcome)
        self.assertTrue(line.startswith("temporarily unable to figure out"), line)

    def test_mutated(self) -> None:
        """
        With randomly changed replies the command connects, or ends with printable
        errors.
        """
        seeds = range(share(16, 400))
        port = self.serve({f"mutant{seed}": _mutated(seed) for seed in seeds})

        def check(seed: int) -> None:
            outcome = self.session("-T", "1", f"mutant{seed}.example.test", port)
            if outcome.status == 0:
                self.assertEqual(outcome, Outcome(0, b"hello\n", ""))
            else:
                self.lines(outcome)

        together({str(s): functools.partial(check, s) for s in seeds}, WORKERS)


class Told(Islands):
    """A test case for variables of prog whose values come from an untrusted server."""

    def told(self, name: str, *arguments: str, sure: bool = False) -> str | None:
        """
        Return a variable of prog's environment; check that it is one printable word.

        :param sure: Whether the variable will be set, so that it is waited for.
        """
        bound = "30" if sure else "1"
        outcome = self.session("-l0", "-t", bound, *arguments, "env", "-0")
        self.assertEqual((outcome.status, outcome.err), (0, ""))
        pairs = [
            each.split("=", 1) for each in outcome.out.decode().split("\0") if each
        ]
        value = dict(pairs).get(name)
        if value is not None:
            self.assertTrue(value and value.isascii() and value.isprintable(), value)
            self.assertNotIn(" ", value)
        return value

    @contextlib.contextmanager
    def addresses(self, count: int) -> Iterator[list[tuple[str, str]]]:
        """
        Start greeting servers on `count` addresses; yield the host and port of each.
        """
        with contextlib.ExitStack() as stack:
            servers = [
                stack.enter_context(self.place.serving(greet, f"127.0.2.{number + 1}"))
                for number in range(count)
            ]
            yield [(each.arguments[0], each.arguments[1]) for each in servers]


_NAME = labels(b"a", b"example", b"test")


class ReverseTests(Told):
    """Names of addresses (PTR records)."""

    #: Answers to a PTR query, and the value of TCPREMOTEHOST.
    NAMES: dict[str, tuple[str | None, Answers]] = {
        "good": ("a.example.test", lambda q: [q.reply((PTR, _NAME))]),
        "capitals": ("a.example.test", lambda q: [q.reply((PTR, _NAME.upper()))]),
        "silent": (None, lambda q: []),
        "failed": (None, lambda q: [q.reply(flags=FAILED)]),
        "control": (None, lambda q: [q.reply((PTR, labels(b"\x1b[31mred", b"x")))]),
        "newline": (None, lambda q: [q.reply((PTR, labels(b"a\nPATH=b", b"x")))]),
        "blank": (None, lambda q: [q.reply((PTR, labels(b"a b", b"x")))]),
        "nul": (None, lambda q: [q.reply((PTR, labels(b"a\0b", b"x")))]),
        "not-ascii": (None, lambda q: [q.reply((PTR, labels(b"\xff\xfe", b"x")))]),
        "root": (None, lambda q: [q.reply((PTR, b"\0"))]),
        "short": (None, lambda q: [q.reply((PTR, b"\x3fxx"))]),
        "circle": (None, lambda q: [q.reply((PTR, b"\xc0\x0c"), (PTR, b"\xc0\x2a"))]),
        "noise": (None, lambda q: [q.data[:2] + noise(400)]),
        "gone": (None, lambda q: [q.reply(flags=UNKNOWN)]),
    }

    def test_names(self) -> None:
        """
        A valid name is in TCPREMOTEHOST; with any other reply it is unset, within -t.
        """
        cases = list(self.NAMES.values())
        # In a PTR query the first label is the last byte of the address.
        behaviours = {str(n + 1): answers for n, (_, answers) in enumerate(cases)}
        with (
            self.addresses(len(cases)) as places,
            resolver(self.place, behaviours),
        ):

            def check(number: int) -> None:
                expected, _ = cases[number]
                sure = expected is not None
                told = self.told("TCPREMOTEHOST", "-R", *places[number], sure=sure)
                if sure:
                    self.assertEqual(told, expected)

            together(
                {
                    name: functools.partial(check, number)
                    for number, name in enumerate(self.NAMES)
                },
                WORKERS,
            )

    def test_longest(self) -> None:
        """TCPREMOTEHOST holds the longest possible name whole, or is unset."""
        long = labels(*[b"x" * 63] * 3, b"y" * 61)
        with (
            self.addresses(1) as ((host, port),),
            resolver(self.place, {"1": lambda q: [q.reply((PTR, long))]}),
        ):
            told = self.told("TCPREMOTEHOST", "-R", host, port)
            self.assertIn(told, (None, ".".join(["x" * 63] * 3 + ["y" * 61])))


def _says(*words: bytes) -> Callable[[Peer], object]:
    """
    Return a script that sends these words in reply to a line, then waits for the end.
    """

    def script(peer: Peer) -> None:
        asked = peer.line()
        for word in words:
            peer.send(word.replace(b"PORTS", asked.strip()))
        peer.leave()

    return script


def _drips(peer: Peer) -> None:
    """Send a byte every 50 ms, without end."""
    with contextlib.suppress(OSError):
        while not select.select([peer.socket], [], [], 0.05)[0] or peer.line():
            peer.send(b"x")


class IdentTests(Told):
    """User names from ident servers (RFC 1413)."""

    #: What an ident server does, and the value of TCPREMOTEINFO.
    SERVERS: dict[str, tuple[str | None, Any]] = {
        "good": ("joe", _says(b"PORTS : USERID : UNIX : joe\r\n")),
        "two lines": ("joe", _says(b"PORTS:USERID:UNIX:joe\r\nPORTS:ERROR:X\r\n")),
        "colons": ("a:b:c", _says(b"PORTS : USERID : UNIX : a:b:c\r\n")),
        "pieces": ("joe", _says(b"1 , 2 : US", b"ERID : UNIX : ", b"joe\r", b"\n")),
        "blanks": ("joeuser", _says(b"PORTS : USERID : UNIX :  joe user \r\n")),
        "escape": ("[31mjoe", _says(b"PORTS:USERID:UNIX:\x1b[31mjoe\x07\r\n")),
        "newline": ("a", _says(b"PORTS:USERID:UNIX:a\nPATH=b\r\n")),
        "nul": ("ab", _says(b"PORTS:USERID:UNIX:a\0b\r\n")),
        "not UTF-8": ("ab", _says(b"PORTS:USERID:UNIX:a\xff\xfeb\r\n")),
        "no user": (None, _says(b"PORTS : USERID : UNIX : \r\n")),
        "error": (None, _says(b"PORTS : ERROR : NO-USER\r\n")),
        "no reply": (None, _says(b"hello\r\n")),
        "empty": (None, _says(b"\r\n")),
        "endless": (None, _says(b"x" * 100_000)),
        "long": (None, _says(b"PORTS:USERID:UNIX:" + b"x" * 5000 + b"\r\n")),
        "drip": (None, _drips),
        "silent": (None, Peer.gone),
        "closes": (None, Peer.finish),
        "resets": (None, Peer.reset),
        "gone": (None, None),
    }

    def test_servers(self) -> None:
        """
        A user name is in TCPREMOTEINFO in printable letters; without one it is unset,
        within -t.
        """
        cases = list(self.SERVERS.values())
        with contextlib.ExitStack() as stack:
            places = stack.enter_context(self.addresses(len(cases)))
            for (host, _), (_, script) in zip(places, cases, strict=True):
                if script is not None:
                    listener = self.place.listener(host, 113)
                    stack.enter_context(listening(listener, script))

            def check(number: int) -> None:
                expected, _ = cases[number]
                sure = expected is not None
                told = self.told("TCPREMOTEINFO", "-H", *places[number], sure=sure)
                self.assertEqual(told, expected)

            together(
                {
                    name: functools.partial(check, number)
                    for number, name in enumerate(self.SERVERS)
                },
                WORKERS,
            )

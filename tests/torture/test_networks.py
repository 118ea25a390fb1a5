"""Networks that fail: what is sent comes through whole, or the session is an error."""

from __future__ import annotations

import contextlib
import functools
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.command import (
    STARTTLS,
    TCP,
    TLS,
    Cut,
    Kind,
    Outcome,
    Peer,
    Server,
    listening,
    together,
)
from tests.test_client_mode import noise, same
from tests.test_prog import QUICK, python
from tests.torture import paths, share
from tests.torture.nursery import Nurseries
from tests.torture.paths import (
    FAR,
    Path,
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

#: Most cases wait: more of them than there are processors may do so side by side.
WORKERS = 8

#: Whatever is bounded by a second or a few is over by then, on a busy machine as well.
SOON = 45.0

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
    """A way to use the command: a kind of connection, and prog or none."""

    kind: Kind
    prog: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """In two words."""
        return f"{self.kind.name} {'prog' if self.prog else 'client'}"

    @property
    def becomes_prog(self) -> bool:
        """Whether the end is prog's own, words and status."""
        return bool(self.prog) and not self.kind.secure


MODES = (
    Mode(TCP),
    Mode(TLS),
    Mode(STARTTLS),
    Mode(TCP, python(COPY)),
    Mode(TLS, python(COPY)),
)


def nurseries(mtu: int = 1500) -> Nurseries:
    """Where the command is run at the near end of a path."""
    return _made(path(mtu))


@functools.cache
def _made(way: Path) -> Nurseries:
    return Nurseries(way.near.call)


@dataclass
class Far:
    """What the far end of a transfer has sent and received, and how it ends."""

    down: bytes
    size: int
    received: bytes = b""
    peers: list[Peer] = field(default_factory=list)

    def follow(self, prepare: Callable[[Peer], object], peer: Peer) -> None:
        """Send and receive all, and close."""
        self.peers.append(peer)
        # What goes wrong here is what the test is about.
        with contextlib.suppress(OSError, Cut, SSL.Error, AssertionError):
            prepare(peer)
            self.received = peer.exchange(self.down)
            peer.finish()

    def give_up(self) -> None:
        """End what still waits for somebody who is gone."""
        for peer in self.peers:
            with contextlib.suppress(OSError):
                peer.socket.shutdown(socket.SHUT_RDWR)


class Transfers(SynchronousTestCase):
    """Transfers both ways, over a path on which things happen."""

    def setUp(self) -> None:
        """Have a path: what is made once must not be made by two at the same time."""
        nurseries()

    def transfer(
        self,
        mode: Mode,
        treatment: Treatment = passed,
        size: int = 100_000,
        host: str = FAR[0],
        options: tuple[str, ...] = (),
        mtu: int = 1500,
    ) -> Outcome:
        """Send and receive random bytes; what has status 0 is whole.

        Anything else is an error, of which one line tells, and what did arrive is the
        beginning of what was sent.
        """
        up, down = noise(size), noise(size + 1)
        far = Far(down, size)
        way = path(mtu)
        script = functools.partial(far.follow, mode.kind.prepare)
        with way.far.serving(script, host) as server:
            port = int(server.arguments[1])
            words = (*self.options(mode), *options, *server.arguments, *mode.prog)
            began = time.monotonic()
            with way.treating(port, treatment):
                outcome = nurseries(mtu).run(*words, data=up)
            took = time.monotonic() - began
            if outcome.status == 0:
                server.result()
            far.give_up()
        self.assertLess(took, SOON)
        self.check(mode, outcome, far, up)
        return outcome

    def options(self, mode: Mode) -> tuple[str, ...]:
        """What the command is told of the kind, and of no look-ups."""
        name = ("-m", "localhost") if mode.kind.secure else ()
        return (*QUICK, *mode.kind.options(), *name)

    def check(self, mode: Mode, outcome: Outcome, far: Far, up: bytes) -> None:
        """It is whole, or it is an error."""
        if outcome.status == 0:
            self.assertEqual(outcome.err, "")
            self.assertTrue(same(outcome.out, far.down), len(outcome.out))
            self.assertTrue(same(far.received, up), len(far.received))
            return
        self.assertTrue(far.down.startswith(outcome.out))
        if mode.becomes_prog and outcome.status == 3:
            # By then we were gone.
            self.assertEqual(outcome.err, "")
            return
        self.assertTrue(outcome.complaint())
        self.assertIn(outcome.status, (111, 3) if mode.prog else (111,))


def weathers(dice: Random) -> dict[str, Treatment]:
    """What may happen to packets, and is no reason to give up."""
    return {
        "loss": lossy(0.04, dice),
        "reordering": late(0.02, dice),
        "duplicates": doubled(0.3, dice),
        "corruption": spoilt(0.04, dice),
    }


class WeatherTests(Transfers):
    """What TCP is made for: all comes through whole."""

    def test_weather(self) -> None:
        """Loss, delay, reordering, duplicates and corruption are not noticed."""

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

    def test_narrow(self) -> None:
        """Nor is a path for small packets only."""

        def check(mode: Mode, mtu: int) -> None:
            outcome = self.transfer(mode, mtu=mtu, size=60_000)
            self.assertEqual((outcome.status, outcome.err), (0, ""))

        for mtu in (296, 576, 1280)[: share(1, 3)]:
            nurseries(mtu)
            together(
                {m.name: functools.partial(check, m, mtu) for m in MODES}, WORKERS
            )

    def test_pause(self) -> None:
        """Nor is a link that is down for a moment in mid-transfer."""

        def check(mode: Mode) -> None:
            count = 0

            def treat(packet: paths.Packet) -> paths.Fate:
                nonlocal count
                count += 1
                # Nothing comes through for a while, then all at once.
                return [(0.4 if 20 < count < 40 else 0.0, packet)]

            outcome = self.transfer(mode, treat)
            self.assertEqual((outcome.status, outcome.err), (0, ""))
            self.assertGreater(count, 40)

        together({m.name: functools.partial(check, m) for m in MODES[:3]}, WORKERS)


#: About as many packets has a transfer of so many bytes each way, all told.
SMALL, PACKETS = 20_000, 100


class BrokenTests(Transfers):
    """A path that ends, after any number of packets."""

    def sweep(self, ends: Callable[[int], Treatment], step: int) -> None:
        """End the path after each number of packets, or after some of them."""
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
                for mode in MODES
                # What has become prog is not ours to bound.
                if not mode.becomes_prog or ends is broken
                for number in range(0, PACKETS, step)
            },
            WORKERS,
        )
        # It is no test if all fail, or none does.
        self.assertEqual(set(failed), {True, False})

    def test_blackhole(self) -> None:
        """After that nothing arrives any more: an error within -T and -a."""
        self.sweep(swallowed, share(11, 1))

    def test_reset(self) -> None:
        """After that both ends are told that the connection is reset."""
        self.sweep(broken, share(7, 1))

    def test_too_narrow(self) -> None:
        """Big packets are lost, and nobody is told: an error within -a."""

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
    """An end of the path that goes away in mid-transfer."""

    def lose(self, *words: str, options: tuple[str, ...] = ()) -> None:
        """The session is an error within -a if ip(8) does that at the near end."""
        count = 0

        def treat(packet: paths.Packet) -> paths.Fate:
            nonlocal count
            count += 1
            if count == 20:
                path().near.ip(*words)
            return passed(packet)

        for mode in MODES[: share(1, 2)]:
            count = 0
            outcome = self.transfer(mode, treat, options=("-a", "1", *options))
            self.assertEqual(outcome.status, 111)
            self.assertIn("nothing was sent or received", outcome.err)
            path().near.ip(*[{"add": "del", "del": "add"}.get(w, w) for w in words])

    def test_address(self) -> None:
        """An address of ours is taken away."""
        ours = ("10.9.0.77/32", "dev", "path")
        path().near.ip("address", "add", *ours)
        self.lose("address", "del", *ours, options=("-i", "10.9.0.77"))

    def test_route(self) -> None:
        """There is no way to the server any more, and nobody says so, or we do."""
        for kind in ("blackhole", "unreachable"):
            self.lose("route", "add", kind, f"{FAR[0]}/32")


class FamilyTests(Transfers):
    """A name with an address of each family, one of which is dead."""

    DEAD = {"silent": swallowed, "refuses": broken}

    def setUp(self) -> None:
        """Have a name, and a way to say which family comes first."""
        super().setUp()
        names = "".join(f"{address} dual.test\n" for address in FAR)
        self.etc = _names(names)

    def first(self, family: int) -> None:
        """Have the resolver prefer a family."""
        text = "precedence ::ffff:0:0/96 100\nprecedence ::/0 40\n"
        (self.etc / "gai.conf").write_text(text if family == 4 else "")

    @contextlib.contextmanager
    def dual(self, script: Callable[[Peer], object]) -> Iterator[tuple[str, str]]:
        """Serve on both addresses, and return the name and the port."""
        place = path().far
        with contextlib.ExitStack() as stack:
            listeners = [place.listener(FAR[0])]
            port = listeners[0].getsockname()[1]
            listeners.append(place.listener(FAR[1], port))
            for listener in listeners:
                stack.enter_context(listening(listener, script))
            yield "dual.test", str(port)

    def connect(self, treatment: Treatment, *options: str) -> Outcome:
        """What becomes of it when that befalls the packets."""

        def hello(peer: Peer) -> None:
            peer.send(b"hello from " + peer.socket.getsockname()[0].encode())
            peer.finish()

        with self.dual(hello) as (name, port), path().treating(int(port), treatment):
            began = time.monotonic()
            outcome = nurseries().run(*options, name, port)
            self.assertLess(time.monotonic() - began, SOON)
            return outcome

    def test_one_is_dead(self) -> None:
        """The other is used, whichever it is, and whichever comes first."""
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
        """With both alive it is the first: the order is what the tests make of it."""
        for family, address in zip((4, 6), FAR, strict=True):
            self.first(family)
            said = f"hello from {address}".encode()
            self.assertEqual(self.connect(passed), Outcome(0, said, ""))

    def test_both_are_dead(self) -> None:
        """Each address is reported, with its own reason, within -T."""
        for first in (4, 6):
            self.first(first)

            def both(packet: paths.Packet) -> paths.Fate:
                silent = packet.data[0] >> 4 == 4
                return [] if silent else broken(0)(packet)

            outcome = self.connect(both, "-T", "1")
            warning, fatal = outcome.err.splitlines()
            self.assertEqual((outcome.status, outcome.out), (111, b""))
            self.assertIn(f"{FAR[1]} port", warning)
            self.assertTrue(warning.endswith("connection refused"), warning)
            self.assertIn(f"{FAR[0]} port", fatal)
            self.assertTrue(fatal.endswith("timed out"), fatal)


@functools.cache
def _names(hosts: str) -> Any:
    """Put names into the near end of the path."""
    switch = "hosts: files\n"
    return path().near.cover(hosts=hosts, nsswitch_conf=switch, gai_conf="")

"""
The cost of stages: handshakes a second, beside those of Twisted alone.

    python -m benchmarks.handshakes [ROUNDS [COUNT [AT_ONCE]]]

One server in another process serves all clients: SMTP with STARTTLS on one port, TLS
from the first byte on the other.  Each kind of client opens COUNT connections, AT_ONCE
at a time, and aborts each when its handshake has completed.  The kinds take turns, in
another order each round.  All verify chain and name.

Seconds of wall time include client and server, on all cores.  CPU seconds are those
of the client alone, which contain the cost of a stage.  Other load on the machine
disturbs both.  At the end one run of each kind is profiled.  The profiler slows Python
down more than C, but the number of function calls does not depend on other load.
"""

from __future__ import annotations

import cProfile
import gc
import os
import pstats
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IAddress, IHandshakeListener
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from twisted.internet.task import cooperate, react
from twisted.protocols.basic import LineReceiver
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.certificates import shared
from tests.transcripts import GOOD, Doorman
from twisted_tcpclient.endpoints import secured, starttls
from twisted_tcpclient.settings import TLSSettings
from twisted_tcpclient.tls import ConnectionCreator

HOST = "127.0.0.1"


def allow_descriptors() -> None:
    """Raise the soft limit on descriptors to the hard limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


# The server.


class Doors(Factory):
    """Factory of SMTP dialogues that start TLS after the go-ahead."""

    noisy = False

    def __init__(self, tls: Any) -> None:
        self._tls = tls

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Return a dialogue with TLS behind it."""
        return Doorman(GOOD["smtp"], self._tls.buildProtocol(addr))


def serve(file: str) -> None:
    """Print the ports, TLS first, and serve until the process is killed."""
    from twisted.internet import reactor as global_reactor

    reactor: Any = global_reactor
    allow_descriptors()
    options = PrivateCertificate.loadPEM(Path(file).read_bytes()).options()
    nothing: Any = Factory.forProtocol(Protocol)
    tls = TLSMemoryBIOFactory(options, False, nothing)
    tls.noisy = False
    for factory in (tls, Doors(tls)):
        port = reactor.listenTCP(0, factory, backlog=4096, interface=HOST)
        print(port.getHost().port, flush=True)
    reactor.run()


class Server(ProcessProtocol):
    """
    The server's process.

    :ivar ports: fires with its two ports, TLS first.
    :ivar ended: fires when the process has ended.
    """

    def __init__(self) -> None:
        self.ports: Deferred[list[int]] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self._said = b""

    def outReceived(self, data: bytes) -> None:
        """Fire ``ports`` when both lines have come."""
        self._said += data
        if self._said.count(b"\n") == 2:
            self.ports.callback([int(port) for port in self._said.split()])

    def processEnded(self, reason: Failure) -> None:
        """Fire ``ended``; fail ``ports`` if the process did not start."""
        if not self.ports.called:
            self.ports.errback(reason)
        self.ended.callback(None)


# The clients.  Each connects once and fires when the handshake has completed.


@implementer(IHandshakeListener)
class Listener(Protocol):
    """
    The protocol that a program needs above Twisted's TLS to learn of the handshake.

    :ivar up: fires with the protocol when the handshake has completed.
    """

    transport: Any

    def __init__(self) -> None:
        self.up: Deferred[Protocol] = Deferred()

    def handshakeCompleted(self) -> None:
        """Fire ``up``."""
        self.up.callback(self)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Fail ``up`` if the handshake did not complete."""
        if not self.up.called:
            self.up.errback(reason)


@implementer(IHandshakeListener)
class ByHand(LineReceiver):
    """STARTTLS by a protocol that calls ``startTLS``, with the same dialogue."""

    transport: Any

    def __init__(self, options: Any) -> None:
        self.up: Deferred[Protocol] = Deferred()
        self._options = options
        self._said = [b"EHLO [127.0.0.1]", b"STARTTLS"]

    def lineReceived(self, line: bytes) -> None:
        """Send the next command after the last line of each reply, then start TLS."""
        if line[3:4] == b"-":
            return
        if self._said:
            self.sendLine(self._said.pop(0))
        else:
            self.transport.startTLS(self._options)

    def handshakeCompleted(self) -> None:
        """Fire ``up``."""
        self.up.callback(self)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Fail ``up`` if the handshake did not complete."""
        if not self.up.called:
            self.up.errback(reason)


Connect = Callable[[], "Deferred[Any]"]


def clients(reactor: Any, ports: Sequence[int]) -> dict[str, Connect]:
    """Return the kinds of clients by name, each as a function that connects."""
    implicit, explicit = (
        TCP4ClientEndpoint(reactor, HOST, port, timeout=300) for port in ports
    )
    ca = shared().ca
    theirs = optionsForClientTLS(HOST, Certificate.loadPEM(ca.read_bytes()))
    ours = ConnectionCreator(TLSSettings(authorities=str(ca), name=HOST))
    listeners, plain = Factory.forProtocol(Listener), Factory.forProtocol(Protocol)
    by_hand = Factory.forProtocol(lambda: ByHand(theirs))
    for factory in (listeners, plain, by_hand):
        factory.noisy = False

    def up(connecting: Deferred[Any]) -> Deferred[Any]:
        return connecting.addCallback(lambda protocol: protocol.up)

    bare = wrapClientTLS(theirs, implicit)
    verified = secured(ours, implicit, reactor, 300)
    negotiated = starttls("smtp", ours, explicit, reactor, 300)
    return {
        "wrapClientTLS": lambda: up(bare.connect(listeners)),
        "secured": lambda: verified.connect(plain),
        "by hand": lambda: up(explicit.connect(by_hand)),
        "starttls": lambda: negotiated.connect(plain),
    }


# Measuring.


@dataclass(frozen=True)
class Run:
    """
    The times of one run.

    :ivar seconds: seconds of wall time for each handshake.
    :ivar cpu: CPU seconds of the client for each handshake.
    """

    seconds: float
    cpu: float


async def measure(connect: Connect, count: int, at_once: int) -> Run:
    """Connect ``count`` times, ``at_once`` in parallel, and return the times."""

    def abort(protocol: Any) -> None:
        protocol.transport.abortConnection()

    work = (connect().addCallback(abort) for _ in range(count))
    gc.collect()
    began, cpu = time.perf_counter(), time.process_time()
    for worker in [cooperate(work) for _ in range(at_once)]:
        await worker.whenDone()
    return Run(
        (time.perf_counter() - began) / count, (time.process_time() - cpu) / count
    )


def ratios(above: Sequence[float], below: Sequence[float]) -> str:
    """Return the median of the ratios and their range, as text."""
    found = [a / b for a, b in zip(above, below, strict=True)]
    return f"{median(found):5.2f}  ({min(found):.2f} to {max(found):.2f})"


#: Pairs of kinds, and the cost that their ratio shows.
COMPARED = (
    ("secured", "wrapClientTLS", "the same bytes on the wire: the cost of one stage"),
    ("starttls", "by hand", "the same bytes on the wire: the cost of two stages"),
    ("by hand", "wrapClientTLS", "the cost of the dialogue, without stages"),
    ("starttls", "wrapClientTLS", "the cost of two stages and the dialogue"),
)


def show(runs: dict[str, list[Run]]) -> None:
    """Print the medians, and the ratios round by round."""
    print(f"{'':14} handshakes/s   client CPU ms/handshake")
    for name, found in runs.items():
        seconds = median(run.seconds for run in found)
        cpu = median(run.cpu for run in found)
        print(f"{name:14} {1 / seconds:12.0f} {1000 * cpu:25.3f}")
    for above, below, what in COMPARED:
        print(f"\n{above} / {below}: {what}")
        for kind in ("seconds", "cpu"):
            one, other = (
                [getattr(run, kind) for run in runs[name]] for name in (above, below)
            )
            print(f"    {kind:8} {ratios(one, other)}")


#: Places by parts of the name of a function, or of its file; the first match counts.
PLACES = (
    ("the kernel", ("_socket", "epoll", "socket.close")),
    ("OpenSSL", ("_openssl",)),
    ("pyOpenSSL, cryptography, service_identity", ("OpenSSL", "cryptography", "ident")),
    ("twisted_tcpclient", ("twisted_tcpclient",)),
    ("Twisted, zope.interface", ("twisted", "zope")),
    ("the rest of Python", ("",)),
)


async def profile(connect: Connect, count: int, at_once: int) -> dict[str, float]:
    """Return the function calls of a handshake, and its milliseconds in each place."""
    profiler = cProfile.Profile()
    profiler.enable()
    await measure(connect, count, at_once)
    profiler.disable()
    stats: Any = pstats.Stats(profiler)
    spent = {"calls of functions": stats.total_calls / count}
    spent |= dict.fromkeys((place for place, _ in PLACES), 0.0)
    for (file, _, function), (_, _, seconds, _, _) in stats.stats.items():
        where = function if file == "~" else file
        place = next(p for p, parts in PLACES if any(part in where for part in parts))
        spent[place] += 1000 * seconds / count
    return spent


def show_profiles(profiles: dict[str, dict[str, float]]) -> None:
    """Print the profiles of all kinds in columns."""
    print("\nprofiled, for each handshake: calls of functions, then milliseconds")
    print(f"{'':42}" + "".join(f"{name:>15}" for name in profiles))
    for row in next(iter(profiles.values())):
        found = [profile[row] for profile in profiles.values()]
        digits = 3 if row in dict(PLACES) else 0
        print(f"{row:42}" + "".join(f"{each:15.{digits}f}" for each in found))


async def benchmark(
    reactor: Any, rounds: int = 9, count: int = 1000, at_once: int = 50
) -> None:
    """Start the server, measure, print, and kill the server."""
    allow_descriptors()
    server = Server()
    process = reactor.spawnProcess(
        server,
        sys.executable,
        [sys.executable, "-m", "benchmarks.handshakes", "serve", str(shared().server)],
        env=os.environ,
        childFDs={0: 0, 1: "r", 2: 2},
    )
    try:
        kinds = clients(reactor, await server.ports)
        runs: dict[str, list[Run]] = {name: [] for name in kinds}
        for connect in kinds.values():
            await measure(connect, at_once, at_once)
        for turn in range(rounds):
            order = list(kinds)
            for name in order[turn % 4 :] + order[: turn % 4]:
                runs[name].append(await measure(kinds[name], count, at_once))
        print(f"{rounds} rounds of {count} handshakes, {at_once} at once")
        show(runs)
        show_profiles(
            {
                name: await profile(connect, count, at_once)
                for name, connect in kinds.items()
            }
        )
    finally:
        process.signalProcess("KILL")
        await server.ended


def main(*arguments: str) -> None:
    """Measure, or with the argument "serve" be the server."""
    if arguments[:1] == ("serve",):
        serve(arguments[1])
    else:
        numbers = [int(argument) for argument in arguments]
        react(lambda reactor: Deferred.fromCoroutine(benchmark(reactor, *numbers)))


if __name__ == "__main__":
    main(*sys.argv[1:])

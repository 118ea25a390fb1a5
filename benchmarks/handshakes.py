"""
The cost of the stages: handshakes a second, beside those of Twisted alone.

    python -m benchmarks.handshakes [ROUNDS [COUNT [AT_ONCE]]]

One server process, the same for all clients, greets as SMTP on one port and begins with
TLS on another.  Each kind of client makes COUNT connections, AT_ONCE at a time; a
connection is aborted once its handshake is complete.  The kinds take turns, in another
order each round.  All clients verify chain and name.

Wall-clock seconds include client and server, on all cores.  CPU seconds are those of
the client alone, which is the part that a stage can change.  Both depend on other
processes of the machine.  At the end one run of each kind is profiled.  The profiler
makes Python look slower in comparison to C, but the number of function calls for a
handshake does not depend on other processes.
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
    """Raise the limit of descriptors of this process to its hard limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


# The server.


class Doors(Factory):
    """A factory of SMTP servers that begin TLS after the dialogue."""

    noisy = False

    def __init__(self, tls: Any) -> None:
        self._tls = tls

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Return a server for one connection."""
        return Doorman(GOOD["smtp"], self._tls.buildProtocol(addr))


def serve(file: str) -> None:
    """Serve until the process is ended; print the ports, that of TLS first."""
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
    The process of the server.

    :ivar ports: Fires with the ports.
    :ivar ended: Fires when the process has ended.
    """

    def __init__(self) -> None:
        self.ports: Deferred[list[int]] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self._said = b""

    def outReceived(self, data: bytes) -> None:
        """Collect two lines, the ports."""
        self._said += data
        if self._said.count(b"\n") == 2:
            self.ports.callback([int(port) for port in self._said.split()])

    def processEnded(self, reason: Failure) -> None:
        """Fail `ports` if the server could not start."""
        if not self.ports.called:
            self.ports.errback(reason)
        self.ended.callback(None)


# The clients.  Each connects once and fires when the handshake is complete.


@implementer(IHandshakeListener)
class Listener(Protocol):
    """
    The least that an application above Twisted's TLS needs to know when TLS is up.

    :ivar up: Fires when the handshake is complete.
    """

    transport: Any

    def __init__(self) -> None:
        self.up: Deferred[Protocol] = Deferred()

    def handshakeCompleted(self) -> None:
        """Fire `up`."""
        self.up.callback(self)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Fail `up` if the handshake is not complete."""
        if not self.up.called:
            self.up.errback(reason)


@implementer(IHandshakeListener)
class ByHand(LineReceiver):
    """STARTTLS written by hand, as is common: the same dialogue, then ``startTLS``."""

    transport: Any

    def __init__(self, options: Any) -> None:
        self.up: Deferred[Protocol] = Deferred()
        self._options = options
        self._said = [b"EHLO [127.0.0.1]", b"STARTTLS"]

    def lineReceived(self, line: bytes) -> None:
        """Answer the last line of each reply."""
        if line[3:4] == b"-":
            return
        if self._said:
            self.sendLine(self._said.pop(0))
        else:
            self.transport.startTLS(self._options)

    def handshakeCompleted(self) -> None:
        """Fire `up`."""
        self.up.callback(self)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Fail `up` if the handshake is not complete."""
        if not self.up.called:
            self.up.errback(reason)


Connect = Callable[[], "Deferred[Any]"]


def clients(reactor: Any, ports: Sequence[int]) -> dict[str, Connect]:
    """Return the kinds of clients by name."""
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
    One run of one kind.

    :ivar seconds: Wall-clock seconds for each handshake.
    :ivar cpu: CPU seconds of the client for each handshake.
    """

    seconds: float
    cpu: float


async def measure(connect: Connect, count: int, at_once: int) -> Run:
    """Make `count` connections, `at_once` at a time."""

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
    """Return the median of the ratios and their range."""
    found = [a / b for a, b in zip(above, below, strict=True)]
    return f"{median(found):5.2f}  ({min(found):.2f} to {max(found):.2f})"


#: Pairs of kinds to compare, and the meaning of the difference.
COMPARED = (
    ("secured", "wrapClientTLS", "the same bytes on the wire: what our stage costs"),
    ("starttls", "by hand", "the same bytes on the wire: what two stages cost"),
    ("by hand", "wrapClientTLS", "what the dialogue costs without us"),
    ("starttls", "wrapClientTLS", "stages and dialogue, against TLS at once"),
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


#: Groups of functions, by parts of their name or file.
PLACES = (
    ("the kernel", ("_socket", "epoll", "socket.close")),
    ("OpenSSL", ("_openssl",)),
    ("pyOpenSSL, cryptography, service_identity", ("OpenSSL", "cryptography", "ident")),
    ("twisted_tcpclient", ("twisted_tcpclient",)),
    ("Twisted, zope.interface", ("twisted", "zope")),
    ("the rest of Python", ("",)),
)


async def profile(connect: Connect, count: int, at_once: int) -> dict[str, float]:
    """
    Return the number of function calls of a handshake, and the milliseconds in each
    group.
    """
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
    """Print the profiles side by side."""
    print("\nunder the profiler, for each handshake; but for the calls, milliseconds")
    print(f"{'':42}" + "".join(f"{name:>15}" for name in profiles))
    for row in next(iter(profiles.values())):
        found = [profile[row] for profile in profiles.values()]
        digits = 3 if row in dict(PLACES) else 0
        print(f"{row:42}" + "".join(f"{each:15.{digits}f}" for each in found))


async def benchmark(
    reactor: Any, rounds: int = 9, count: int = 1000, at_once: int = 50
) -> None:
    """Start the server, measure, print, and end the server."""
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
    """Measure, or serve."""
    if arguments[:1] == ("serve",):
        serve(arguments[1])
    else:
        numbers = [int(argument) for argument in arguments]
        react(lambda reactor: Deferred.fromCoroutine(benchmark(reactor, *numbers)))


if __name__ == "__main__":
    main(*sys.argv[1:])

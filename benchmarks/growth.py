"""
CPU time and memory of many connections in one process.

``python -m benchmarks.growth KIND COUNT PORT CA`` is that process: it opens COUNT
connections at once, has a line echoed over each, and prints the cost as JSON.
"""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import traffic
from benchmarks.measure import PATIENCE, Log, Row, Sample, Table, alternate, environment
from benchmarks.traffic import HOST, NotExact

KINDS = ("plain", "TLS")


def allow_descriptors() -> None:
    """Raise the soft limit on descriptors to the hard limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


# The server.


def serve(listener: socket.socket, certificate: Path | None) -> None:
    """Echo what each client sends, in one thread for each connection."""
    allow_descriptors()
    while True:
        connection, _ = listener.accept()
        arguments = (connection, certificate)
        threading.Thread(target=_echo, args=arguments, daemon=True).start()


def _echo(connection: Any, certificate: Path | None) -> None:
    connection.settimeout(PATIENCE)
    with suppress(OSError):
        if certificate is not None:
            context = traffic.tls_context(certificate)
            connection = context.wrap_socket(connection, server_side=True)
        while data := connection.recv(100):
            connection.sendall(data)
    connection.close()


@contextmanager
def echoing(certificate: Path | None) -> Iterator[str]:
    """Run an echo server, and return its port."""
    listener, port = traffic.listen()
    with listener:
        server = traffic.start(serve, listener, certificate)
    try:
        yield port
    finally:
        server.end()


# The clients.


def resident() -> int:
    """Return the resident memory of this process, in KiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def endpoint(kind: str, reactor: Any, port: int, ca: str) -> Any:
    """Return an endpoint: Twisted's own if the kind begins with "Twisted"."""
    from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS

    if kind.startswith("Twisted"):
        plain: Any = HostnameEndpoint(reactor, HOST, port)
        if kind.endswith("plain"):
            return plain
        from twisted.internet.ssl import Certificate, optionsForClientTLS

        trusted = Certificate.loadPEM(Path(ca).read_bytes())
        return wrapClientTLS(optionsForClientTLS(HOST, trusted), plain)
    from twisted_tcpclient.race import RacingEndpoint

    ours = RacingEndpoint(reactor, HOST, port)
    if kind.endswith("plain"):
        return ours
    from twisted_tcpclient.endpoints import secured
    from twisted_tcpclient.settings import TLSSettings
    from twisted_tcpclient.tls import ConnectionCreator

    settings = TLSSettings(name=HOST, authorities=ca)
    return secured(ConnectionCreator(settings), ours, reactor, 300)


async def connect(reactor: Any, kind: str, count: str, port: str, ca: str) -> None:
    """Open COUNT connections at once, and print what they cost."""
    from twisted.internet.defer import Deferred, gatherResults
    from twisted.internet.protocol import Factory, Protocol

    class Asking(Protocol):
        transport: Any

        def __init__(self) -> None:
            self.answered: Deferred[None] = Deferred()

        def connectionMade(self) -> None:
            self.transport.write(b"hello\n")

        def dataReceived(self, data: bytes) -> None:
            self.answered.callback(None)

    factory: Any = Factory.forProtocol(Asking)
    factory.noisy = False
    through = endpoint(kind, reactor, int(port), ca)

    async def one() -> Any:
        protocol: Any = await through.connect(factory)
        await protocol.answered
        return protocol

    # Modules and caches are loaded by the first connection, which is not counted.
    first = await one()
    before, began, cpu = resident(), time.perf_counter(), time.process_time()
    made = await gatherResults(
        [Deferred.fromCoroutine(one()) for _ in range(int(count))]
    )
    taken = {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "KiB": resident() - before,
    }
    for protocol in (first, *made):
        protocol.transport.abortConnection()
    print(json.dumps(taken))


def take(kind: str, count: int, port: str, ca: str) -> dict[str, float]:
    """Run that process, and return the cost of each connection."""
    command = (sys.executable, "-m", "benchmarks.growth", kind, str(count), port, ca)
    done = subprocess.run(command, capture_output=True, env=environment())
    if done.returncode:
        raise NotExact(done.stderr.decode(errors="replace")[-500:])
    found: dict[str, float] = json.loads(done.stdout)
    return {name: value / count for name, value in found.items()}


def growth(counts: Sequence[int], runs: int, log: Log) -> list[Table]:
    """Measure all counts, plain and over TLS, beside Twisted's own endpoints."""
    from tests import certificates

    shared = certificates.shared()
    ca = str(shared.ca)
    times: list[Row] = []
    sizes: list[Row] = []
    for kind in KINDS:
        with echoing(shared.server if kind == "TLS" else None) as port:
            for count in counts:
                log.step(f"{count} connections, {kind}")
                found = alternate(
                    {
                        name: partial(take, f"{name} {kind}", count, port, ca)
                        for name in ("tcpclient", "Twisted alone")
                    },
                    runs,
                )
                for rows, unit, factor in ((times, "cpu", 1000), (sizes, "KiB", 1)):
                    samples = {
                        name: Sample(tuple(factor * one[unit] for one in taken))
                        for name, taken in found.items()
                    }
                    rows.append(Row(f"{count:,}, {kind}", samples))
    return [
        Table(
            "Connections in one process, CPU time of each",
            "ms",
            times,
            more=False,
        ),
        Table(
            "Connections in one process, memory of each",
            "KiB",
            sizes,
            more=False,
            ratio=False,
            digits=0,
        ),
    ]


def main(*arguments: str) -> None:
    """Run as the process with many connections."""
    from twisted.internet.defer import Deferred
    from twisted.internet.task import react

    allow_descriptors()
    react(lambda reactor: Deferred.fromCoroutine(connect(reactor, *arguments)))


if __name__ == "__main__":
    main(*sys.argv[1:])

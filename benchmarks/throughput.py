"""
Throughput from a server to a pipe, a file or /dev/null, and from a pipe or a file to
a server.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from benchmarks import peers, traffic
from benchmarks.measure import (
    Goal,
    Log,
    Row,
    Sample,
    Table,
    Usage,
    alternate,
    best,
    launch,
    ratio,
    reap,
)
from benchmarks.peers import OURS, Client
from benchmarks.traffic import Account, NotExact, Service
from tests import certificates

#: Bytes that are hashed before the timed runs; no multiple of a buffer size.
CHECKED = (32 << 20) + 12345

#: Bytes above which one run is enough in the tables by size.
LONG = 1 << 28


@dataclass(frozen=True)
class Carried:
    """
    One run in which every byte has arrived.

    :ivar seconds: from the connection to the end of both sides.
    :ivar whole: from the start of the program to the end of both sides.
    :ivar cpu: CPU seconds of the program, its start included.
    :ivar server: CPU seconds of the server.
    """

    size: int
    seconds: float
    whole: float
    cpu: float
    server: float

    @property
    def rate(self) -> float:
        """The throughput in GB a second."""
        return self.size / self.seconds / 1e9


@dataclass(frozen=True)
class Flow:
    """
    A direction, and the local end of it.

    :ivar down: whether the bytes come from the server.
    :ivar end: "pipe", "file", "null", or "prog" for a prog that counts.
    :ivar folder: where files are written.
    """

    down: bool
    end: str
    folder: Path

    @property
    def words(self) -> str:
        """The name of the row."""
        end = "/dev/null" if self.end == "null" else self.end
        return f"download to {end}" if self.down else f"upload from {end}"

    def carry(self, client: Client, service: Service) -> Carried:
        """
        Let a program carry bytes.

        :raises NotExact: if not all bytes have arrived, or the program has failed.
        """
        listener, port = traffic.listen()
        with listener:
            serve = traffic.send if self.down else traffic.receive
            server = traffic.start(serve, listener, service)
        try:
            command = client.download if self.down else client.upload
            work = self._down if self.down else self._up
            with ExitStack() as stack:
                began = time.monotonic()
                usage, account = work(stack, peers.at(command, port), service)
            if usage.status:
                # Without a connection, server.result() would wait in vain.
                raise NotExact(f"exit status {usage.status}: {usage.err[-200:]}")
            served = server.result()
        finally:
            server.end()
        arrived = account if self.down else served
        self._check(arrived, service)
        ended = max(served.ended, account.ended)
        return Carried(
            service.size,
            ended - served.began,
            ended - began,
            usage.cpu,
            served.cpu,
        )

    def prepare(self, size: int) -> None:
        """
        Use as much memory as a file of that size will need.

        In a virtual machine the first use of a page is slow, as the host allocates it
        then.  That must not count against the first client.
        """
        if self.end == "file":
            path = traffic.fill(self.folder / "received", size)
            path.unlink()

    def _check(self, arrived: Account, service: Service) -> None:
        if arrived.count != service.size:
            raise NotExact(f"{arrived.count} bytes of {service.size} arrived")
        if service.digest and arrived.digest != traffic.digest_of(service.size):
            raise NotExact("other bytes arrived than were sent")

    def _down(
        self, stack: ExitStack, command: Sequence[str], service: Service
    ) -> tuple[Usage, Account]:
        """Run a program, and count the bytes of its output."""
        # Input that does not end, so that the program sends no FIN.
        stdin, hold = os.pipe()
        stack.callback(os.close, hold)
        # Bytes that are hashed go to a pipe in place of /dev/null or a prog.
        end = "pipe" if service.digest and self.end != "file" else self.end
        if end == "null":
            usage = self._run(command, stdin, DEVNULL, service.size)
            return usage, _told(service.size)
        if end == "file":
            path = self.folder / "received"
            with path.open("wb") as file:
                usage = self._run(command, stdin, file, service.size)
            account = _told(path.stat().st_size)
            if service.digest:
                with path.open("rb") as file:
                    account = traffic.drain(file.fileno(), digest=True)
            path.unlink()
            return usage, account
        reading, writing = os.pipe()
        if end == "prog":
            usage = self._run(command, stdin, writing, service.size)
            with os.fdopen(reading) as told:
                return usage, _told(int(told.read()))
        drain = traffic.start(_without, writing, traffic.drain, reading, service.digest)
        os.close(reading)
        usage = self._run(command, stdin, writing, service.size)
        return usage, drain.result()

    def _up(
        self, stack: ExitStack, command: Sequence[str], service: Service
    ) -> tuple[Usage, Account]:
        """Run a program with input; the server counts the bytes."""
        if self.end == "file":
            path = traffic.fill(self.folder / f"sent-{service.size}", service.size)
            with path.open("rb") as file:
                usage = self._run(command, os.dup(file.fileno()), DEVNULL, service.size)
            return usage, _told(service.size)
        if self.end == "prog" and not service.digest:
            usage = self._run(
                command, os.open("/dev/null", os.O_RDONLY), DEVNULL, service.size
            )
            return usage, _told(service.size)
        reading, writing = os.pipe()
        feed = traffic.start(_without, reading, traffic.feed, writing, service.size)
        os.close(writing)
        usage = self._run(command, reading, DEVNULL, service.size)
        return usage, feed.result()

    def _run(self, command: Sequence[str], stdin: int, stdout: Any, size: int) -> Usage:
        """Run a program, and close the descriptors that it was given."""
        process = launch(command, stdin, stdout)
        os.close(stdin)
        if isinstance(stdout, int) and stdout >= 0:
            os.close(stdout)
        return reap(process, size)


def _without(fd: int, work: Callable[..., Account], *arguments: Any) -> Account:
    """Close the other end of a pipe in a forked process, then call ``work``."""
    os.close(fd)
    return work(*arguments)


def _told(count: int) -> Account:
    """Return an account of ``count`` bytes that ends now."""
    return Account(0, time.monotonic(), count, 0)


@dataclass(frozen=True)
class Contest:
    """
    Several clients that carry the same bytes in turns.

    A client that fails once is out; a failure of tcpclient is raised.
    """

    flow: Flow
    clients: Sequence[Client]
    certificate: Path | None
    log: Log
    out: set[str] = field(default_factory=set)

    def run(self, size: int, runs: int) -> dict[str, list[Carried]]:
        """Return the runs of each client that carries all bytes exactly."""
        self.log.step(f"{self.flow.words}, {'TLS' if self.certificate else 'plain'}")
        fit = {
            client.name: partial(self._carry, client, size)
            for client in self.clients
            if self._exact(client)
        }
        self.flow.prepare(size)
        found = alternate(fit, runs)
        return {
            name: [one for one in carried if one is not None]
            for name, carried in found.items()
            if name not in self.out
        }

    def _exact(self, client: Client) -> bool:
        """Return whether a client carries all bytes exactly; log it if not."""
        service = Service(CHECKED, self.certificate, digest=True)
        return self._try(client, service) is not None

    def _carry(self, client: Client, size: int) -> Carried | None:
        return self._try(client, Service(size, self.certificate))

    def _try(self, client: Client, service: Service) -> Carried | None:
        if client.name in self.out:
            return None
        try:
            return self.flow.carry(client, service)
        except NotExact as error:
            if client.name == OURS:
                raise
            self.out.add(client.name)
            self.log.complain(f"{client.name}, {self.flow.words}: {error}")
            return None


def sample(carried: Sequence[Carried] | None, kind: str) -> Sample | None:
    """Return one figure of several runs."""
    if not carried:
        return None
    return Sample(tuple(getattr(one, kind) for one in carried))


def row(
    what: str,
    found: Mapping[str, Sequence[Carried]],
    clients: Sequence[Client],
    kind: str,
) -> Row:
    """Return one figure of all clients as a row."""
    samples = {c.name: sample(found.get(c.name), kind) for c in clients}
    return Row(what, samples)


def others(row: Row) -> list[Sample | None]:
    """Return the samples of the other programs."""
    return list(row.samples.values())[1:]


def busy(found: Mapping[str, Sequence[Carried]]) -> str:
    """Return the part of the time in which the server was busy with tcpclient."""
    shares = sample_share(found[OURS])
    return f"{100 * shares:.0f} %"


def sample_share(carried: Sequence[Carried]) -> float:
    """Return the median of the parts of the time in which the server was busy."""
    return Sample(tuple(one.server / one.seconds for one in carried)).median


def flows(folder: Path, *ends: str) -> list[Flow]:
    """Return the flows with names such as ``down pipe``."""
    return [
        Flow(words.split()[0] == "down", words.split()[1], folder) for words in ends
    ]


PLAIN = ("down pipe", "down file", "down null", "up pipe", "up file")
TLS = ("down pipe", "up pipe")


def plain(folder: Path, size: int, runs: int, log: Log) -> list[Table]:
    """Measure client mode in clear, beside all programs."""
    clients = peers.plain()
    rows, shares = [], []
    for flow in flows(folder, *PLAIN):
        found = Contest(flow, clients, None, log).run(size, runs)
        one = row(flow.words, found, clients, "rate")
        rows.append(
            Row(
                one.what,
                one.samples,
                [
                    Goal(
                        "x the fastest peer",
                        1.5,
                        ratio(one.ours, best(others(one), more=True)),
                    ),
                    Goal("x socat", 3, ratio(one.ours, one.samples.get("socat"))),
                ],
            )
        )
        shares.append(f"{flow.words} {busy(found)}")
    notes = [f"With tcpclient the server was busy: {', '.join(shares)} of the time."]
    return [Table("Plain, client mode", "GB/s", rows, notes=notes)]


def tls(folder: Path, size: int, runs: int, log: Log) -> list[Table]:
    """Measure client mode over TLS beside all programs, and prog beside client mode."""
    clients, certificate = peers.tls(), certificates.shared().server
    rates, seconds, progs, shares = [], [], [], []
    for flow in flows(folder, *TLS):
        everyone = list(clients)
        found = Contest(flow, clients, certificate, log).run(size, runs)
        rate = row(flow.words, found, everyone, "rate")
        cpu = row(flow.words, found, everyone, "cpu")
        rates.append(
            Row(
                rate.what,
                rate.samples,
                [
                    Goal(
                        "x the fastest peer",
                        1,
                        ratio(rate.ours, best(others(rate), more=True)),
                    )
                ],
            )
        )
        fastest = _fastest(found)
        seconds.append(
            Row(
                cpu.what,
                cpu.samples,
                [
                    Goal(
                        "x the CPU seconds of the fastest peer",
                        1,
                        ratio(cpu.ours, sample(found.get(fastest), "cpu")),
                        most=True,
                    )
                ],
            )
        )
        shares.append(f"{flow.words} {busy(found)}")
    for words in ("down", "up"):
        progs.append(_prog(folder, words, size, runs, log))
    notes = [f"With tcpclient the server was busy: {', '.join(shares)} of the time."]
    return [
        Table("TLS, client mode", "GB/s", rates, notes=notes),
        Table(
            "TLS, client mode, CPU time of the client", "seconds", seconds, more=False
        ),
        Table("TLS, prog", "GB/s", progs),
    ]


def _fastest(found: Mapping[str, Sequence[Carried]]) -> str:
    """Return the name of the fastest other program, "" if there is none."""
    rates = {
        name: rate.median
        for name, carried in found.items()
        if name != OURS and (rate := sample(carried, "rate")) is not None
    }
    return max(rates, key=lambda name: rates[name], default="")


def _prog(folder: Path, words: str, size: int, runs: int, log: Log) -> Row:
    """Measure prog beside client mode with a pipe, over TLS, in one direction."""
    certificate = certificates.shared().server
    client = peers.tls()[0]
    prog, pipe = flows(folder, f"{words} prog", f"{words} pipe")
    log.step(f"TLS, prog, {words}")
    prog.carry(peers.tls_prog(CHECKED, True), Service(CHECKED, certificate, True))
    found = alternate(
        {
            "prog": partial(
                prog.carry, peers.tls_prog(size, False), Service(size, certificate)
            ),
            "client mode": partial(pipe.carry, client, Service(size, certificate)),
        },
        runs,
    )
    samples = {name: sample(carried, "rate") for name, carried in found.items()}
    one = Row("from the server" if prog.down else "to the server", samples)
    goal = Goal("x client mode", 0.9, ratio(one.ours, samples["client mode"]))
    return Row(one.what, samples, [goal])


def plain_prog(folder: Path, size: int, runs: int, log: Log) -> list[Table]:
    """Measure prog without TLS: cat has the socket that each program has opened."""
    clients, rows = peers.plain_prog(), []
    for flow in flows(folder, "down pipe", "up file"):
        found = Contest(flow, clients, None, log).run(size, runs)
        what = "cat reads 6" if flow.down else "cat writes 7"
        one = row(what, found, clients, "rate")
        goal = Goal(
            "x the C tcpclient",
            1,
            ratio(one.ours, one.samples.get("C tcpclient")),
            digits=1,
        )
        rows.append(Row(one.what, one.samples, [goal]))
    return [Table("Plain, prog", "GB/s", rows)]


def sizes(folder: Path, size: int, runs: int, log: Log) -> list[Table]:
    """Measure the time from start to end by size."""
    steps = [step for step in (1 << 10, 1 << 20, 1 << 26, 1 << 30) if step < size]
    tables = []
    for title, clients, certificate in (
        ("plain", peers.plain(), None),
        ("TLS", peers.tls(), certificates.shared().server),
    ):
        # ncat is not among them: over TLS it hangs when there is little to read.
        some = [c for c in clients if c.name in (OURS, "socat -b 262144")]
        (flow,) = flows(folder, "down null")
        rows = []
        for step in [*steps, size]:
            log.step(f"{amount(step)}, {title}")
            found = alternate(
                {
                    client.name: partial(flow.carry, client, Service(step, certificate))
                    for client in some
                },
                # Long runs vary less.
                1 if step > LONG else runs,
            )
            rows.append(row(amount(step), found, some, "whole"))
        tables.append(
            Table(
                f"Download to /dev/null by size, {title}, the start included",
                "seconds",
                rows,
                more=False,
                digits=3,
            )
        )
    return tables


def amount(size: int) -> str:
    """Return a number of bytes as text, such as "4 GiB"."""
    for unit in ("GiB", "MiB", "KiB"):
        factor = {"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10}[unit]
        if size >= factor:
            return f"{size / factor:g} {unit}"
    return f"{size} bytes"


def clear(folder: Path) -> None:
    """Remove the files in a folder."""
    for path in folder.iterdir():
        with suppress(OSError):
            path.unlink()

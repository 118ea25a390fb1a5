"""
Memory of the command while a reader is stalled, and after.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

from benchmarks import peers, traffic
from benchmarks.measure import (
    PATIENCE,
    SLOW,
    Goal,
    Log,
    Row,
    Sample,
    Table,
    launch,
    reap,
)
from benchmarks.throughput import amount
from benchmarks.traffic import NotExact, Service, Worker
from tests import certificates

#: Seconds without a change after which a value is at rest.
STILL = 0.25

#: KiB in a MiB.
MORE = 1024


def at_rest(value: Callable[[], object], size: int = 0) -> None:
    """
    Wait until a value is at rest, while ``size`` bytes are carried.

    :raises NotExact: if the value keeps changing.
    """
    began = changed = time.monotonic()
    last = value()
    while time.monotonic() < changed + STILL:
        time.sleep(STILL / 10)
        if (now := value()) != last:
            last, changed = now, time.monotonic()
        if time.monotonic() > began + PATIENCE + size / SLOW:
            raise NotExact("it does not come to rest")


def peak(process: Popen[bytes]) -> float:
    """Return the peak resident memory of a process, in MiB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / MORE


def ticks(process: Popen[bytes]) -> tuple[str, ...]:
    """Return the CPU time of a process so far, user and system."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return tuple(fields[11:13])


def over_idle(down: bool, size: int, certificate: Path | None) -> float:
    """
    Offer ``size`` bytes to a client whose reader is stalled, until nothing moves any
    more; then let the reader read them all.

    :returns: the growth of the client's peak memory since it connected, in MiB.
    """
    go, last, reads = traffic.event(), traffic.event(), traffic.event()
    ready = traffic.event()
    progress = traffic.counter()
    # The sender begins when the client is idle, the receiver when the client stalls.
    service = Service(
        size,
        certificate,
        ready=ready,
        gate=go if down else reads,
        last=last,
        progress=progress if down else None,
    )
    listener, port = traffic.listen()
    with listener:
        server = traffic.start(
            traffic.send if down else traffic.receive, listener, service
        )
    client = (peers.plain() if certificate is None else peers.tls())[0]
    command = peers.at(client.download, port)
    reading, writing = os.pipe()
    with ExitStack() as stack:
        stack.callback(server.end)
        if down:
            stdin, hold = os.pipe()
            stack.callback(os.close, hold)
            process = launch(command, stdin, writing)
            os.close(stdin)
            worker = traffic.start(_other_end, writing, hold, _drain, reading, reads)
            ours = (reading, writing)
        else:
            process = launch(command, reading, DEVNULL)
            worker = traffic.start(
                _other_end, reading, -1, _feed, writing, go, size, progress
            )
            ours = (reading, writing)
        stack.callback(worker.end)
        for fd in ours:
            os.close(fd)
        if not ready.wait(PATIENCE):
            raise NotExact("the client does not connect")
        at_rest(lambda: ticks(process))
        idle = peak(process)
        go.set()
        # Before the first byte has come, the clock stands for the progress, which thus
        # is never at rest.
        at_rest(lambda: progress.value or time.monotonic())
        if progress.value == size:
            raise NotExact(f"all {size} bytes were sent while the reader was stalled")
        reads.set()
        at_rest(lambda: (progress.value, ticks(process)), size)
        grown = peak(process) - idle
        last.set()
        _end(process, server, worker, down, size)
    return grown


def _end(
    process: Popen[bytes], server: Worker, worker: Worker, down: bool, size: int
) -> None:
    """Wait for all processes, and check that every byte has arrived."""
    usage = reap(process)
    served, account = server.result(), worker.result()
    count = account.count if down else served.count
    if usage.status or count != size:
        raise NotExact(f"status {usage.status}, {count} of {size}: {usage.err}")


def _other_end(fd: int, other: int, work: Callable[..., Any], *arguments: Any) -> Any:
    """Close inherited ends of pipes in a forked process, then call ``work``."""
    for each in (fd, other):
        if each >= 0:
            os.close(each)
    return work(*arguments)


def _drain(fd: int, gate: Any) -> Any:
    return traffic.drain(fd, gate=gate)


def _feed(fd: int, gate: Any, size: int, progress: Any) -> Any:
    gate.wait()
    return traffic.feed(fd, size, progress)


def memory(size: int, runs: int, log: Log) -> list[Table]:
    """Measure both directions, plain and over TLS."""
    rows = []
    secure = certificates.shared().server
    for what, certificate in (("plain", None), ("TLS", secure)):
        for down in (True, False):
            reader = "stdout is" if down else "the server is"
            words = f"{what}, {reader} stalled, {amount(size)}"
            log.step(words)
            values = [over_idle(down, size, certificate) for _ in range(runs)]
            sample = Sample(tuple(values))
            goal = Goal("MiB over idle", 8, max(values), most=True, digits=1)
            rows.append(Row(words, {"tcpclient": sample}, [goal]))
    return [
        Table(
            "Memory over idle, at the most",
            "MiB",
            rows,
            more=False,
            ratio=False,
            digits=1,
        )
    ]

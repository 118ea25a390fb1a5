"""
The command that runs the benchmarks.

    python -m benchmarks [--quick] [--size 4GiB] [--runs 3] [--page PAGE] [name ...]

It prints the tables, and writes them into PAGE if that is given.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from benchmarks import (
    growth,
    machine,
    memory,
    messages,
    page,
    peers,
    starting,
    throughput,
)
from benchmarks.measure import Log, Table, environment

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True)
class Extent:
    """
    The amounts of data, runs and connections.

    :ivar size: bytes in each run of a throughput benchmark.
    :ivar offered: bytes that are offered to a stalled reader.
    :ivar runs: the number of runs, where one run takes seconds.
    :ivar starts: the number of runs, where one run takes tenths of seconds.
    :ivar requests: requests in one run.
    :ivar counts: numbers of connections.
    :ivar handshakes: the arguments for ``benchmarks.handshakes``.
    """

    size: int = 4 << 30
    offered: int = 10 << 30
    runs: int = 3
    starts: int = 21
    requests: int = 10_000
    counts: Sequence[int] = (1, 10, 100, 1000)
    handshakes: Sequence[str] = ("5", "300")


QUICK = Extent(1 << 28, 1 << 30, 1, 5, 1000, (1, 100), ("1", "100"))

#: For the tests of the benchmarks: too little for meaningful figures.
TINY = Extent(1 << 20, 1 << 26, 1, 1, 10, (1, 2), ("1", "4", "2"))


def bytes_of(words: str) -> int:
    """
    Return the bytes of a size such as ``4GiB``.

    :raises ValueError: if the text is not a size.
    """
    found = re.fullmatch(r"(\d+) ?([KMG]?)(iB)?", words)
    if found is None:
        raise ValueError(words)
    return int(found.group(1)) * _UNITS[found.group(2)]


def parts(
    extent: Extent, folder: Path, log: Log
) -> dict[str, Callable[[], list[Table]]]:
    """Return the benchmarks by name, each as a function that returns its tables."""
    size, runs = extent.size, extent.runs
    return {
        "plain": lambda: throughput.plain(folder, size, runs, log),
        "plain-prog": lambda: throughput.plain_prog(folder, size, runs, log),
        "tls": lambda: throughput.tls(folder, size, runs, log),
        "start": lambda: starting.start(extent.starts, log),
        "memory": lambda: memory.memory(extent.offered, 1, log),
        "messages": lambda: messages.messages(extent.requests, runs, log),
        "sizes": lambda: throughput.sizes(folder, size, runs, log),
        "growth": lambda: growth.growth(extent.counts, runs, log),
    }


def handshakes(arguments: Sequence[str], log: Log) -> str:
    """Run the benchmark of handshakes, and return what it prints."""
    if find_spec("benchmarks.handshakes") is None:
        return ""
    log.step("handshakes")
    command = (sys.executable, "-m", "benchmarks.handshakes", *arguments)
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env=environment(), check=True
    )
    return done.stdout


def measure(extent: Extent, names: Sequence[str]) -> str:
    """Run the named benchmarks, or all, and return the generated part of the page."""
    log, load, began = Log(), machine.load(), time.monotonic()
    folder = Path(
        tempfile.mkdtemp(prefix="benchmarks-", dir=machine.folder(extent.size))
    )
    try:
        known = parts(extent, folder, log)
        chosen = [name for name in known if not names or name in names]
        tables = [table for name in chosen for table in known[name]()]
    finally:
        shutil.rmtree(folder)
    wanted = not names or "handshakes" in names
    said = handshakes(extent.handshakes, log) if wanted else ""
    minutes = (time.monotonic() - began) / 60
    remarks = [
        f"{throughput.amount(extent.size)} in each run, {extent.runs} runs of each "
        f"program; {extent.starts} runs where a start is timed.",
        f"It took {minutes:.0f} minutes.  The load of the machine was {load} before.",
        *[f"Not installed, so left out: {name}." for name in peers.missing()],
        *[f"Not counted: {complaint}." for complaint in log.complaints],
    ]
    when = time.strftime("%Y-%m-%d", time.gmtime())
    return page.generated(when, machine.facts(), tables, remarks, said)


def main(arguments: Sequence[str]) -> None:
    """Parse the command line, measure, print, and write the page if one is given."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--quick", action="store_true", help="in under two minutes")
    parser.add_argument("--tiny", action="store_true", help="only check that it runs")
    parser.add_argument("--size", type=bytes_of, help="bytes in each run, such as 4GiB")
    parser.add_argument("--runs", type=int, help="number of runs that take seconds")
    parser.add_argument("--page", type=Path, help="the page to write the tables into")
    parser.add_argument(
        "names", nargs="*", help="benchmarks to run, such as plain, tls"
    )
    told = parser.parse_args(arguments)
    extent = TINY if told.tiny else QUICK if told.quick else Extent()
    changes = {k: v for k in ("size", "runs") if (v := getattr(told, k)) is not None}
    found = measure(replace(extent, **changes), told.names)
    print(found)
    if told.page is not None:
        page.write(told.page, found)


if __name__ == "__main__":
    main(sys.argv[1:])

"""
Commands run and timed in turns, and the values that hold their figures.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent

#: Seconds after which a command counts as hanging.
PATIENCE = 60.0

#: Bytes a second that each program carries at least, also on a busy machine.
SLOW = 20e6

T = TypeVar("T")


@dataclass(frozen=True)
class Usage:
    """Exit status and stderr of a process, and CPU seconds with its children."""

    status: int
    cpu: float
    err: str


def environment() -> dict[str, str]:
    """
    Return the environment of commands.

    Python imports the checkout, and keeps compiled modules, as in an installation.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}


def launch(command: Sequence[str], stdin: Any, stdout: Any) -> subprocess.Popen[bytes]:
    """Start a command, with a pipe for its stderr."""
    return subprocess.Popen(
        command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=environment()
    )


def reap(process: subprocess.Popen[bytes], size: int = 0) -> Usage:
    """Wait for a command that carries ``size`` bytes; kill it if it hangs."""
    assert process.stderr is not None
    watch = os.pidfd_open(process.pid)
    ended, _, _ = select.select([watch], [], [], PATIENCE + size / SLOW)
    os.close(watch)
    if not ended:
        process.kill()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    with process.stderr as stderr:
        err = stderr.read().decode(errors="replace").strip()
    cpu = usage.ru_utime + usage.ru_stime
    return Usage(process.returncode, cpu, err if ended else "it hangs")


@dataclass(frozen=True)
class Sample:
    """The figures of several runs."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the figures."""
        return median(self.values)

    def scaled(self, factor: float) -> Sample:
        """Return the figures in another unit."""
        return Sample(tuple(value * factor for value in self.values))


@dataclass(frozen=True)
class Goal:
    """
    A figure to reach.

    :ivar words: what the number is a multiple of, as in "x socat".
    :ivar wanted: the number to reach.
    :ivar got: the measured number, or None if there is no program to compare with.
    :ivar most: whether the number is an upper limit.
    :ivar digits: digits after the point.
    """

    words: str
    wanted: float
    got: float | None
    most: bool = False
    digits: int = 2

    @property
    def met(self) -> bool | None:
        """Whether the rounded number reaches the goal; None if there is no number."""
        if self.got is None:
            return None
        got = round(self.got, self.digits)
        return got <= self.wanted if self.most else got >= self.wanted


@dataclass(frozen=True)
class Row:
    """
    The figures of several programs for one job.

    :ivar samples: by program, that of tcpclient first; None for a program that failed.
    """

    what: str
    samples: Mapping[str, Sample | None]
    goals: Sequence[Goal] = ()

    @property
    def ours(self) -> Sample:
        """The figures of tcpclient."""
        found = next(iter(self.samples.values()))
        assert found is not None
        return found


@dataclass(frozen=True)
class Table:
    """
    Rows of one kind.

    :ivar unit: the unit of all figures.
    :ivar more: whether more is better.
    :ivar ratio: whether there is a column with the ratio to the best other program.
    :ivar digits: digits after the point.
    :ivar notes: paragraphs below the table.
    """

    title: str
    unit: str
    rows: Sequence[Row]
    more: bool = True
    ratio: bool = True
    digits: int = 2
    notes: Sequence[str] = ()


@dataclass
class Log:
    """Progress on stderr, and a list of the programs that failed."""

    complaints: list[str] = field(default_factory=list)

    def step(self, words: str) -> None:
        """Print what is measured now."""
        print(f"... {words}", file=sys.stderr, flush=True)

    def complain(self, words: str) -> None:
        """Note that a program has failed, once for each text."""
        if words not in self.complaints:
            self.complaints.append(words)
            print(f"!!! {words}", file=sys.stderr, flush=True)


def alternate(kinds: Mapping[str, Callable[[], T]], runs: int) -> dict[str, list[T]]:
    """
    Call the functions in turns, ``runs`` rounds, and return their results by name.

    Each round begins with another function, so that other load disturbs all alike.
    """
    found: dict[str, list[T]] = {name: [] for name in kinds}
    order = list(kinds)
    for turn in range(runs):
        first = turn % len(order)
        for name in order[first:] + order[:first]:
            found[name].append(kinds[name]())
    return found


def best(samples: Sequence[Sample | None], more: bool) -> Sample | None:
    """Return the sample with the best median, None if there is no sample."""
    there = [sample for sample in samples if sample is not None]
    if not there:
        return None
    choose = max if more else min
    return choose(there, key=lambda sample: sample.median)


def ratio(ours: Sample, other: Sample | None) -> float | None:
    """Return the median of ours divided by that of the other program."""
    return None if other is None else ours.median / other.median

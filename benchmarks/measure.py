"""Running commands in turns, and the results as samples, goals, rows and tables."""

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

#: Seconds after which a command that carries no bytes counts as hanging.
PATIENCE = 60.0

#: Bytes a second that every program reaches, even on a busy machine.
SLOW = 20e6

T = TypeVar("T")


@dataclass(frozen=True)
class Usage:
    """
    The end of a process: its status, its CPU seconds with those of its children, its
    stderr.
    """

    status: int
    cpu: float
    err: str


def environment() -> dict[str, str]:
    """
    Return the environment of commands.

    Python imports the checkout, and caches compiled modules as in an installation.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}


def launch(command: Sequence[str], stdin: Any, stdout: Any) -> subprocess.Popen[bytes]:
    """Start a command."""
    return subprocess.Popen(
        command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=environment()
    )


def reap(process: subprocess.Popen[bytes], size: int = 0) -> Usage:
    """Wait for a command that carries `size` bytes to end; kill it if it hangs."""
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
    """Measurements of one quantity."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the values."""
        return median(self.values)

    def scaled(self, factor: float) -> Sample:
        """Return the sample in another unit."""
        return Sample(tuple(value * factor for value in self.values))


@dataclass(frozen=True)
class Goal:
    """
    A goal, and how far it is reached.

    :ivar words: The unit of the numbers, as the page shows it.
    :ivar wanted: The number to reach.
    :ivar got: The measured number; None if there is no program to compare with.
    :ivar most: Whether the number is an upper bound.
    :ivar digits: The digits after the decimal point that count.
    """

    words: str
    wanted: float
    got: float | None
    most: bool = False
    digits: int = 2

    @property
    def met(self) -> bool | None:
        """
        Whether the goal is reached, as far as the shown digits tell; None if not
        measured.
        """
        if self.got is None:
            return None
        got = round(self.got, self.digits)
        return got <= self.wanted if self.most else got >= self.wanted


@dataclass(frozen=True)
class Row:
    """
    One quantity, measured for several programs.

    :ivar what: The quantity.
    :ivar samples: By program, tcpclient first; None if the program failed or was not
        exact.
    """

    what: str
    samples: Mapping[str, Sample | None]
    goals: Sequence[Goal] = ()

    @property
    def ours(self) -> Sample:
        """The sample of tcpclient."""
        found = next(iter(self.samples.values()))
        assert found is not None
        return found


@dataclass(frozen=True)
class Table:
    """
    Rows of one kind.

    :ivar unit: The unit of all numbers.
    :ivar more: Whether more is better.
    :ivar ratio: Whether a column shows the ratio of tcpclient to the best peer.
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
    """The progress on stderr, and the complaints that the page repeats."""

    complaints: list[str] = field(default_factory=list)

    def step(self, words: str) -> None:
        """Print the step that begins now."""
        print(f"... {words}", file=sys.stderr, flush=True)

    def complain(self, words: str) -> None:
        """Print and keep the reason why a result does not count."""
        if words not in self.complaints:
            self.complaints.append(words)
            print(f"!!! {words}", file=sys.stderr, flush=True)


def alternate(kinds: Mapping[str, Callable[[], T]], runs: int) -> dict[str, list[T]]:
    """
    Call each function `runs` times, in turns, and begin each round with another one.

    So a disturbance of the machine affects all of them alike.
    """
    found: dict[str, list[T]] = {name: [] for name in kinds}
    order = list(kinds)
    for turn in range(runs):
        first = turn % len(order)
        for name in order[first:] + order[:first]:
            found[name].append(kinds[name]())
    return found


def best(samples: Sequence[Sample | None], more: bool) -> Sample | None:
    """Return the best of the samples that exist."""
    there = [sample for sample in samples if sample is not None]
    if not there:
        return None
    choose = max if more else min
    return choose(there, key=lambda sample: sample.median)


def ratio(ours: Sample, other: Sample | None) -> float | None:
    """Return the ratio of the medians."""
    return None if other is None else ours.median / other.median

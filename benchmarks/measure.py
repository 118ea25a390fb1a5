"""
Taking times: commands one after the other in turns, and what is made of them.
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

#: Whatever takes longer hangs, in seconds.
PATIENCE = 60.0

#: Bytes a second that everybody manages, whatever else the machine does.
SLOW = 20e6

T = TypeVar("T")


@dataclass(frozen=True)
class Usage:
    """How a process has ended, and the CPU seconds that it and its children took."""

    status: int
    cpu: float
    err: str


def environment() -> dict[str, str]:
    """
    What commands are run with: the checkout is what Python imports, and compiled
    modules are kept, as they are where something is installed.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"}


def launch(command: Sequence[str], stdin: Any, stdout: Any) -> subprocess.Popen[bytes]:
    """Start a command."""
    return subprocess.Popen(
        command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=environment()
    )


def reap(process: subprocess.Popen[bytes], size: int = 0) -> Usage:
    """Wait for the end of a command that carries so much; one that hangs is ended."""
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
    """Some measurements of one thing."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The one in the middle."""
        return median(self.values)

    def scaled(self, factor: float) -> Sample:
        """The same in another unit."""
        return Sample(tuple(value * factor for value in self.values))


@dataclass(frozen=True)
class Goal:
    """
    What is to be reached.

    :ivar words: as it is told.
    :ivar wanted: the number that is told.
    :ivar got: the number there is, or None if there is nobody to compare with.
    :ivar most: whether less is better.
    """

    words: str
    wanted: float
    got: float | None
    most: bool = False
    digits: int = 2

    @property
    def met(self) -> bool | None:
        """Whether it is reached, as far as the digits that are shown tell."""
        if self.got is None:
            return None
        got = round(self.got, self.digits)
        return got <= self.wanted if self.most else got >= self.wanted


@dataclass(frozen=True)
class Row:
    """
    One thing that was measured of several programs.

    :ivar samples: ours first; None where a program did not do it, or not right.
    """

    what: str
    samples: Mapping[str, Sample | None]
    goals: Sequence[Goal] = ()

    @property
    def ours(self) -> Sample:
        """What was measured of us."""
        found = next(iter(self.samples.values()))
        assert found is not None
        return found


@dataclass(frozen=True)
class Table:
    """
    Rows of one kind.

    :ivar unit: of all numbers in it.
    :ivar more: whether more is better.
    :ivar ratio: whether a column tells what ours is to the best of the others.
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
    """Tells how far it is, and keeps what went wrong."""

    complaints: list[str] = field(default_factory=list)

    def step(self, words: str) -> None:
        """Say what is done now."""
        print(f"... {words}", file=sys.stderr, flush=True)

    def complain(self, words: str) -> None:
        """Note that something cannot be counted."""
        if words not in self.complaints:
            self.complaints.append(words)
            print(f"!!! {words}", file=sys.stderr, flush=True)


def alternate(kinds: Mapping[str, Callable[[], T]], runs: int) -> dict[str, list[T]]:
    """
    Call each in turn, so many times, each round beginning with another: what
    disturbs the machine for a while disturbs all alike.
    """
    found: dict[str, list[T]] = {name: [] for name in kinds}
    order = list(kinds)
    for turn in range(runs):
        first = turn % len(order)
        for name in order[first:] + order[:first]:
            found[name].append(kinds[name]())
    return found


def best(samples: Sequence[Sample | None], more: bool) -> Sample | None:
    """The best of some."""
    there = [sample for sample in samples if sample is not None]
    if not there:
        return None
    choose = max if more else min
    return choose(there, key=lambda sample: sample.median)


def ratio(ours: Sample, other: Sample | None) -> float | None:
    """How many times the other ours is."""
    return None if other is None else ours.median / other.median

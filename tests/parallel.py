"""
Run tests in several processes side by side.

Each process is a `tests.worker`, and gets the tests of one class at a time.  It gets
the classes of one module before those of another, so that the servers of a module start
in few processes.  Two processes share a module only when all modules have begun.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import traceback
import unittest
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from tests.reports import Report

#: The modules whose classes take longest.  They begin first: otherwise one process
#: would still run them when the others have nothing left.
FIRST = (
    "tests.test_field",
    "tests.torture.test_dialogues",
    "tests.test_faults",
    "tests.test_ends",
    "tests.test_ucspi",
    "tests.test_client_mode",
    "tests.torture.test_certificates",
    "tests.torture.test_networks",
    "tests.test_surroundings",
)


@dataclass(frozen=True)
class Unit:
    """The tests of one class."""

    module: str
    name: str
    tests: tuple[str, ...]


def units(suite: Iterable[Any]) -> list[Unit]:
    """Return the units of a suite that trial has loaded."""
    tests: dict[str, list[str]] = {}
    for name in names(suite):
        # A module that cannot be imported is a test with the name of the module.
        tests.setdefault(name.rpartition(".")[0], []).append(name)
    return [
        Unit(kind.rpartition(".")[0], kind, tuple(each)) for kind, each in tests.items()
    ]


def names(suite: Iterable[Any]) -> Iterator[str]:
    """Yield the name of each test of a suite."""
    for each in suite:
        if isinstance(each, unittest.TestSuite):
            yield from names(each)
        else:
            yield each.id()


class Waiting:
    """The units that no worker has got, by module.  Threads may share it."""

    def __init__(self, units: Iterable[Unit]) -> None:
        """Order the modules: those of `FIRST`, then the others as they come."""
        self._lock = threading.Lock()
        self._modules: dict[str, list[Unit]] = {module: [] for module in FIRST}
        for unit in units:
            self._modules.setdefault(unit.module, []).append(unit)
        self._fresh = list(self._modules)

    def next(self, module: str) -> Unit | None:
        """
        Take the next unit for a worker; None if there is none.

        :param module: the module that the worker has had.
        """
        with self._lock:
            while not self._modules.get(module) and self._fresh:
                module = self._fresh.pop(0)
            if not self._modules.get(module):
                module = max(self._modules, key=lambda name: len(self._modules[name]))
            left = self._modules[module]
            return left.pop(0) if left else None

    def clear(self) -> None:
        """Drop all units."""
        with self._lock:
            self._modules = {module: [] for module in self._modules}


class Worker:
    """A process of `tests.worker`, which is replaced if it dies."""

    def __init__(self) -> None:
        """Start the process."""
        self._interrupted = False
        self._start()

    def _start(self) -> None:
        self._socket, other = socket.socketpair()
        with other:
            descriptor = other.fileno()
            # In a session of its own: Ctrl-C on the terminal is for the parent alone.
            self._process = subprocess.Popen(
                (sys.executable, "-m", "tests.worker", str(descriptor)),
                stdin=subprocess.DEVNULL,
                pass_fds=(descriptor,),
                start_new_session=True,
            )
        self._lines = self._socket.makefile(encoding="utf-8")

    def run(self, unit: Unit) -> Report:
        """Run tests, and return their report.  If the process dies, all have failed."""
        # EPIPE: the process is dead.  Reading tells the same.
        with contextlib.suppress(BrokenPipeError):
            self._socket.sendall(json.dumps(unit.tests).encode() + b"\n")
        report, running = self._report()
        if report is None:
            report = self._death(unit, running)
        return report

    def finish(self) -> Report:
        """Let the process end, and return the errors that belong to no test."""
        self._close()
        report, _ = self._report()
        status = self._process.wait()
        if self._interrupted or (report and not status):
            return report or Report()
        return Report(failed=1, details=f"at its end a worker {ended(status)}")

    def interrupt(self) -> None:
        """End the test that runs, and start no other."""
        self._interrupted = True
        self._close()
        self._process.send_signal(signal.SIGINT)

    def _close(self) -> None:
        # ENOTCONN: the process is dead.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def _report(self) -> tuple[Report | None, str]:
        """Wait for a report, and return it with the test that started last."""
        running = "its first test"
        # ECONNRESET: the process died with input unread.
        with contextlib.suppress(ConnectionResetError):
            for line in self._lines:
                news = json.loads(line) if line.endswith("\n") else running
                if isinstance(news, dict):
                    return Report.parse(news), running
                running = news
        return None, running

    def _death(self, unit: Unit, running: str) -> Report:
        status, count = self._process.wait(), len(unit.tests)
        if self._interrupted:
            return Report()
        self._start()
        return Report(
            ran=count,
            failed=count,
            details=f"the worker that ran {unit.name} {ended(status)} in {running};\n"
            f"the results of the {count} tests of {unit.name} are lost",
        )


def ended(status: int) -> str:
    """Return how a process has ended, in words."""
    if status < 0:
        # The real-time signals have no names.
        names = {int(each): each.name for each in signal.Signals}
        return f"was killed by {names.get(-status, f'signal {-status}')}"
    return f"exited with status {status}"


class Pool:
    """Workers, and the units that they share."""

    def __init__(self, units: Sequence[Unit], count: int) -> None:
        """
        Start the workers.

        :param count: The number of workers.
        """
        self._waiting = Waiting(units)
        self._workers = [Worker() for _ in range(count)]
        self._reports: SimpleQueue[Report | None] = SimpleQueue()

    def run(self) -> Iterator[Report]:
        """Run the tests, and yield reports as they come.  SIGINT ends it early."""
        for worker in self._workers:
            threading.Thread(target=self._drive, args=(worker,)).start()
        before = signal.signal(signal.SIGINT, lambda *_: self._interrupt())
        try:
            for _ in self._workers:
                yield from iter(self._reports.get, None)
        finally:
            signal.signal(signal.SIGINT, before)

    def _drive(self, worker: Worker) -> None:
        """Hand units to a worker as long as there are any, or until that fails."""
        module = ""
        try:
            while unit := self._waiting.next(module):
                module = unit.module
                self._reports.put(worker.run(unit))
            self._reports.put(worker.finish())
        except Exception:
            self._reports.put(Report(failed=1, details=traceback.format_exc()))
        finally:
            # `run` waits for this, also after an error of this module.
            self._reports.put(None)

    def _interrupt(self) -> None:
        self._waiting.clear()
        for worker in self._workers:
            worker.interrupt()

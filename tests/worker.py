"""
A process that runs tests for `tests.parallel`: ``python -m tests.worker DESCRIPTOR``.

The descriptor is a socket that carries lines of JSON.  The worker receives lists of
test names.  It sends the name of each test that starts and, after the tests of a list,
an object: their report.  When the socket ends, it sends one more report, with the
errors that belong to no test, and exits.
"""

from __future__ import annotations

import io
import json
import os
import select
import signal
import socket
import sys
import tempfile
import unittest
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TextIO

from twisted.python import log
from twisted.trial.reporter import TreeReporter
from twisted.trial.runner import TestLoader, TrialRunner

from tests.reports import Report

#: What trial prints between the failures and its own count.
RULE = "-" * 79


class Channel:
    """The connection to `tests.parallel`: lines of JSON, in both directions."""

    def __init__(self, descriptor: int) -> None:
        """Use the socket with this descriptor, and keep it from other programs."""
        self._socket = socket.socket(fileno=descriptor)
        # Otherwise a program that a test starts keeps the socket open when we die.
        self._socket.set_inheritable(False)
        self._lines = self._socket.makefile("rw", encoding="utf-8")

    def receive(self) -> list[str]:
        """Wait for the names of tests, and return them; none at the end."""
        line = self._lines.readline()
        return json.loads(line) if line else []

    def send(self, news: str | dict[str, Any]) -> None:
        """Send the name of a test, or a report."""
        print(json.dumps(news), file=self._lines, flush=True)

    def ended(self) -> bool:
        """Return whether the parent has closed its end while tests run."""
        return bool(select.select([self._socket], [], [], 0)[0])


class HandedReporter(TreeReporter):
    """A reporter that sends the name of each test, and stops when the channel ends."""

    def __init__(self, stream: TextIO, channel: Channel) -> None:
        """Write to the stream as trial does."""
        super().__init__(stream, publisher=log)
        self._channel = channel

    def startTest(self, test: Any) -> None:
        """Send the name of the test."""
        self._channel.send(test.id())
        super().startTest(test)

    def stopTest(self, test: Any) -> None:
        """Stop the run if the channel has ended."""
        super().stopTest(test)
        if self._channel.ended():
            self.stop()


class HandedSuite(unittest.TestSuite):
    """The tests that `tests.parallel` hands out, as one suite for trial."""

    def __init__(self, channel: Channel) -> None:
        """Take the names of tests from the channel, and report there."""
        super().__init__()
        self._channel = channel

    def run(self, result: Any, debug: bool = False) -> Any:
        """Run tests until the channel ends."""
        while names := self._channel.receive():
            self._run_names(names)
        return result

    def _run_names(self, names: Sequence[str]) -> None:
        stream = io.StringIO()
        reporter = HandedReporter(stream, self._channel)
        TestLoader().loadByNames(list(names))(reporter)
        progress = stream.getvalue()
        reporter.done()
        details = without_count(stream.getvalue()[len(progress) :])
        self._channel.send(asdict(Report.of(reporter, progress, details)))


def without_count(text: str) -> str:
    """Return the end of trial's output without its own count."""
    return text.rpartition(RULE)[0].strip("\n")


def main(descriptor: int) -> None:
    """Run tests until the channel ends."""
    channel = Channel(descriptor)
    stream = io.StringIO()
    with tempfile.TemporaryDirectory(
        prefix="trial-", ignore_cleanup_errors=True
    ) as folder:
        runner = TrialRunner(
            TreeReporter, stream=stream, workingDirectory=os.path.join(folder, "work")
        )
        result = runner.run(HandedSuite(channel))
    channel.send(asdict(Report.of(result, details=without_count(stream.getvalue()))))


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        # The servers end at exit, which a second interrupt would prevent.
        signal.signal(signal.SIGINT, signal.SIG_IGN)

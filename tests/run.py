"""
Runs the tests with trial, and ends with one line that counts them.  If a test was
skipped for want of a Debian package, the lines before it name the packages and the
command that installs them.

``python -m tests.run [name ...]``: names of packages, modules, classes or tests,
as for ``trial``; all tests by default.

With ``CI`` in the environment a skipped test is a failure: what has not run has
shown nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.trial.reporter import TreeReporter
from twisted.trial.runner import TestLoader, TrialRunner

from tests import packages


@dataclass(frozen=True)
class Tally:
    """How many tests went which way."""

    passed: int
    failed: int
    skipped: int

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def tally(result: Any) -> Tally:
    """
    Count what trial's reporter has seen.

    An error is a failure wherever it comes from: a module that cannot be
    imported, too.  A test that is expected to fail and does has passed.
    """
    return Tally(
        passed=result.successes + len(result.expectedFailures),
        failed=sum(
            map(len, (result.failures, result.errors, result.unexpectedSuccesses))
        ),
        skipped=len(result.skips),
    )


def status(counted: Tally, strict: bool) -> int:
    """
    The exit status: 0 for success.  To have run nothing is no success.

    :param strict: whether a skipped test is a failure.
    """
    nothing = counted == Tally(0, 0, 0)
    return int(bool(counted.failed or nothing or (strict and counted.skipped)))


def run(names: Sequence[str]) -> Any:
    """Run the tests of these names, and return trial's reporter."""
    with tempfile.TemporaryDirectory(
        prefix="trial-", ignore_cleanup_errors=True
    ) as folder:
        # A folder that is not there yet: trial does not touch others.
        runner = TrialRunner(
            TreeReporter, workingDirectory=os.path.join(folder, "work")
        )
        return runner.run(TestLoader().loadByNames(list(names), recurse=True))


def advice(reasons: Iterable[str]) -> str:
    """
    Return which packages the skipped tests need, and how to install them; nothing
    if they were skipped for other reasons.
    """
    missing = packages.missing(reasons)
    if not missing:
        return ""
    named = textwrap.fill(
        ", ".join(missing), initial_indent="  ", subsequent_indent="  "
    )
    return (
        f"\nSome of the skipped tests need Debian packages that are not installed:\n"
        f"{named}\nmake servers (Debian, as root) installs them.\n"
    )


def heed_signals() -> None:
    """
    Undo what nohup, and a shell that starts us in the background, have done.

    An ignored signal is ignored by every program that the tests start, too.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def main(names: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run, count, and return the exit status."""
    heed_signals()
    result = run(names or ["tests"])
    counted = tally(result)
    strict = environ.get("CI", "").lower() not in ("", "0", "false")
    if strict and counted.skipped:
        print("\nSkipped, which CI does not allow:")
        for test, reason in result.skips:
            print(f"  {test.id()}: {reason}")
    print(advice(str(reason) for _, reason in result.skips), end="")
    print(counted, flush=True)
    return status(counted, strict)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))

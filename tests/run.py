"""
Run the tests with trial: ``python -m tests.run [NAME ...]``.

A name is that of a package, module, class or test, as for ``trial``; the default is all
tests.  The last line counts the tests.  If Debian packages were missing, the lines
before it name them and the command that installs them.

With ``CI`` in the environment a skipped test is a failure, as a test that has not run
shows nothing.
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
    """The numbers of tests that passed, failed and were skipped."""

    passed: int
    failed: int
    skipped: int

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def tally(result: Any) -> Tally:
    """
    Count the results in trial's reporter.

    An error is a failure, also that of a module that cannot be imported.  A test that
    is expected to fail and does has passed.
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
    Return the exit status.  A run without any test fails.

    :param strict: Whether a skipped test is a failure.
    """
    nothing = counted == Tally(0, 0, 0)
    return int(bool(counted.failed or nothing or (strict and counted.skipped)))


def run(names: Sequence[str]) -> Any:
    """Run the tests with these names; return trial's reporter."""
    with tempfile.TemporaryDirectory(
        prefix="trial-", ignore_cleanup_errors=True
    ) as folder:
        # The folder must not exist yet: trial deletes only folders that it has created.
        runner = TrialRunner(
            TreeReporter, workingDirectory=os.path.join(folder, "work")
        )
        return runner.run(TestLoader().loadByNames(list(names), recurse=True))


def advice(reasons: Iterable[str]) -> str:
    """
    Return the Debian packages that skipped tests need, and how to install them.

    The text is empty if the tests were skipped for other reasons.
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


def restore_signals() -> None:
    """
    Restore the default action of signals that nohup or a shell has ignored.

    A program that is started by the tests would ignore them too.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def main(names: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the tests, print the count, and return the exit status."""
    restore_signals()
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

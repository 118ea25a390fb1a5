"""The outcome of tests: numbers, and the text that trial prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Report:
    """
    The outcome of some tests.

    :ivar ran: how many tests have run; each may fail in several ways.
    :ivar skips: the test and the reason, for each test that was skipped.
    :ivar progress: one line for each test that has run.
    :ivar details: the failures in full, and the reasons of skips.
    """

    ran: int = 0
    passed: int = 0
    failed: int = 0
    skips: tuple[tuple[str, str], ...] = ()
    progress: str = ""
    details: str = ""

    @classmethod
    def of(cls, result: Any, progress: str = "", details: str = "") -> Report:
        """
        Count the results in trial's reporter.

        An error is a failure, also that of a module that cannot be imported.  A test
        that is expected to fail and does has passed.
        """
        failures = (result.failures, result.errors, result.unexpectedSuccesses)
        return cls(
            ran=result.testsRun,
            passed=result.successes + len(result.expectedFailures),
            failed=sum(map(len, failures)),
            skips=tuple((test.id(), str(why)) for test, why in result.skips),
            progress=progress,
            details=details,
        )

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> Report:
        """Return a report that was sent as JSON."""
        return cls(**{**fields, "skips": tuple(map(tuple, fields["skips"]))})

    def __str__(self) -> str:
        """Return the last line of a run."""
        skipped = len(self.skips)
        return f"{self.passed} passed, {self.failed} failed, {skipped} skipped"

    def status(self, strict: bool) -> int:
        """
        Return the exit status.  A run without any test fails.

        :param strict: Whether a skipped test is a failure.
        """
        nothing = not (self.passed or self.failed or self.skips)
        return int(bool(self.failed or nothing or (strict and self.skips)))


def total(reports: Iterable[Report]) -> Report:
    """Return the sum of reports: counts and skips, without the words."""
    each = tuple(reports)
    return Report(
        ran=sum(report.ran for report in each),
        passed=sum(report.passed for report in each),
        failed=sum(report.failed for report in each),
        skips=tuple(skip for report in each for skip in report.skips),
    )

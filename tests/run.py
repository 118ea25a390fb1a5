"""
Run the tests with trial: ``python -m tests.run [-j N] [--SELECTION] [NAME ...]``.

A name is that of a package, module, class or test, as for ``trial``; the default is all
tests.  They run in N processes side by side, two for each core by default; with
``-j 1`` they run in this process, as a debugger needs it.  The last line counts the
tests.  If Debian packages were missing, the lines before it name them and the command
that installs them.

With ``CI`` in the environment a skipped test is a failure, as a test that has not run
shows nothing.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence

from twisted.trial.reporter import TreeReporter
from twisted.trial.runner import TestLoader, TrialRunner
from twisted.trial.unittest import TestSuite

from tests import packages
from tests.parallel import Pool, Unit, units
from tests.reports import Report, total

#: The modules that ``--versions`` leaves out.  They check sources, pages and packaging;
#: or they measure; or they repeat with real servers and clients, faulty networks and
#: random input what other tests check with scripted servers.  CI runs them on the
#: newest set only: where their outcome depends on the versions of Python and Twisted,
#: that of the other tests does, too.
INDEPENDENT = (
    "tests.test_api",
    "tests.test_attacks",
    "tests.test_benchmarks",
    "tests.test_demo",
    "tests.test_field",
    "tests.test_handshakes",
    "tests.test_packaging",
    "tests.test_real_clients",
    "tests.test_rules",
    "tests.test_words",
    "tests.torture.test_any",
    "tests.torture.test_attackers",
    "tests.torture.test_dialogues",
    "tests.torture.test_names",
    "tests.torture.test_networks",
    "tests.torture.test_processes",
)

#: The modules in which CI measures coverage, as that makes tests slower by half: they
#: reach more than 95 % of the package, the others repeat it with other parts.
COVERED = (
    *("tests.test_addresses", "tests.test_client_certificates"),
    *("tests.test_client_mode", "tests.test_command", "tests.test_connection"),
    *("tests.test_described", "tests.test_dialects", "tests.test_dialogue"),
    *("tests.test_endpoints", "tests.test_facts", "tests.test_farewell"),
    *("tests.test_greeting", "tests.test_holder", "tests.test_hosts"),
    *("tests.test_idle", "tests.test_lookup", "tests.test_messages"),
    *("tests.test_options", "tests.test_plugins", "tests.test_prog"),
    *("tests.test_race", "tests.test_records", "tests.test_relay"),
    *("tests.test_shared", "tests.test_stages", "tests.test_starttls"),
    *("tests.test_strings", "tests.test_testing", "tests.test_tls"),
    *("tests.test_twist", "tests.test_ucspi", "tests.test_wire"),
)

#: Selections of modules by name: a description, and whether a module is selected.
SELECTIONS: Mapping[str, tuple[str, Callable[[str], bool]]] = {
    "versions": (
        "only tests whose outcome may depend on the versions of Python and packages",
        lambda module: module not in INDEPENDENT,
    ),
    "covered": (
        "only the modules in which CI measures coverage",
        lambda module: module in COVERED,
    ),
    "uncovered": (
        "only the modules in which CI does not measure coverage",
        lambda module: module not in COVERED,
    ),
}

#: Processes for each core.  Most tests wait, for servers and for quiet times.
PER_CORE = 2


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options: `jobs`, `selection` and `names`."""
    parser = argparse.ArgumentParser(prog="python -m tests.run")
    parser.add_argument(
        *("-j", "--jobs"),
        type=int,
        default=PER_CORE * (os.cpu_count() or 1),
        help="how many processes; 1 runs the tests in this one (default: %(default)s)",
    )
    for name, (text, _) in SELECTIONS.items():
        parser.add_argument(
            f"--{name}", dest="selection", action="store_const", const=name, help=text
        )
    parser.add_argument("names", nargs="*", help="of modules, classes or tests")
    return parser.parse_args(arguments)


def load(names: Sequence[str]) -> TestSuite:
    """Return the tests with these names."""
    return TestLoader().loadByNames(list(names), recurse=True)


def run_here(suite: TestSuite) -> Report:
    """Run tests in this process, and return their report."""
    with tempfile.TemporaryDirectory(
        prefix="trial-", ignore_cleanup_errors=True
    ) as folder:
        # The folder must not exist yet: trial deletes only folders that it has created.
        runner = TrialRunner(
            TreeReporter, workingDirectory=os.path.join(folder, "work")
        )
        return Report.of(runner.run(suite))


def run_side_by_side(found: Sequence[Unit], jobs: int) -> Report:
    """Run tests in several processes, print their reports, and return the sum."""
    reports = []
    for report in Pool(found, jobs).run():
        print(report.progress, end="", flush=True)
        reports.append(report)
    for report in filter(lambda each: each.details, reports):
        print(f"\n{report.details}", flush=True)
    print()
    counted = total(reports)
    lost = sum(len(unit.tests) for unit in found) - counted.ran
    if lost > 0:
        print(f"{lost} tests have not run")
        counted = total((counted, Report(failed=lost)))
    return counted


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


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the tests, print the count, and return the exit status."""
    restore_signals()
    options = parse(arguments)
    suite = load(options.names or ["tests"])
    found = units(suite)
    if options.selection:
        _, selected = SELECTIONS[options.selection]
        found = [unit for unit in found if selected(unit.module)]
        suite = load([name for unit in found for name in unit.tests])
    jobs = min(options.jobs, len(found))
    report = run_here(suite) if jobs < 2 else run_side_by_side(found, jobs)
    strict = environ.get("CI", "").lower() not in ("", "0", "false")
    if strict and report.skips:
        print("\nSkipped, which CI does not allow:")
        for test, reason in report.skips:
            print(f"  {test}: {reason}")
    print(advice(reason for _, reason in report.skips), end="")
    print(report, flush=True)
    return report.status(strict)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))

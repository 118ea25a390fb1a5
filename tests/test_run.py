"""The runner of the tests: its last lines and its exit status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests import programs
from tests.packages import find_program

#: Tests with known outcomes.
TESTS = """
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.packages import Missing


class Tests(SynchronousTestCase):
    def test_passes(self):
        pass

    def test_skipped(self):
        raise SkipTest("this machine has no moon")

    def test_missing(self):
        raise Missing("exim", "exim4-daemon-light")

    def test_also_missing(self):
        raise Missing("nginx", "nginx-light")
"""

ADVICE = """\
Some of the skipped tests need Debian packages that are not installed:
  exim4-daemon-light, nginx-light
make servers (Debian, as root) installs them.
"""


class LastLinesTests(SynchronousTestCase):
    """The last lines of a run."""

    def setUp(self) -> None:
        """Write a module of tests that can be run."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "some_tests.py").write_text(TESTS)
        self.path = f"{programs.ROOT}:{folder}"

    def run_tests(self, name: str = "", ci: str = "") -> programs.Outcome:
        """Run the module or one of its tests."""
        name = ".".join(("some_tests", *(("Tests", name) if name else ())))
        return programs.run(
            *(sys.executable, "-m", "tests.run", name), PYTHONPATH=self.path, CI=ci
        )

    def test_missing_packages(self) -> None:
        """A run with missing packages passes and names the packages."""
        outcome = self.run_tests()
        self.assertEqual(outcome.status, 0, outcome)
        lines = f"\n{ADVICE}1 passed, 0 failed, 3 skipped\n"
        self.assertTrue(outcome.out.decode().endswith(lines), outcome)

    def test_nothing_missing(self) -> None:
        """A run without missing packages does not mention ``make servers``."""
        outcome = self.run_tests("test_skipped")
        self.assertNotIn(b"make servers", outcome.out)

    def test_ci(self) -> None:
        """With CI set, a skipped test makes the run fail."""
        outcome = self.run_tests("test_missing", ci="true")
        self.assertEqual(outcome.status, 1, outcome)
        self.assertIn(b"install the Debian package exim4-daemon-light", outcome.out)


class MakeTests(SynchronousTestCase):
    """The command that the last lines recommend."""

    def test_target(self) -> None:
        """``make servers`` runs `tests/install-servers`."""
        make = find_program("make", "make")
        script = subprocess.run(
            (make, "--no-print-directory", "--dry-run", "servers"),
            cwd=programs.ROOT,
            capture_output=True,
            text=True,
        )
        self.assertEqual(
            (script.returncode, script.stdout), (0, "tests/install-servers\n")
        )

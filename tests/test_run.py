"""The runner of the tests: its last lines, its exit status, and its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests import programs
from tests.packages import find_program
from tests.parallel import FIRST, Unit, Waiting
from tests.run import INDEPENDENT
from tests.servers import eventually

#: The runner in one process, and with two workers.
WAYS = (("-j1",), ("-j2",))

ADVICE = """\
Some of the skipped tests need Debian packages that are not installed:
  exim4-daemon-light, nginx-light
make servers (Debian, as root) installs them.
"""

#: Two classes, and so two units.
PASSING = """\
def test_good(self): pass
class Others(TestCase):
    def test_good(self): pass
"""


class RunnerTests(SynchronousTestCase):
    """``python -m tests.run`` on a module that a test has written."""

    def setUp(self) -> None:
        """Have a folder for the module."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def write(self, body: str) -> None:
        """Write a module with a class of tests."""
        sample = "import os, signal, time\nfrom tests.packages import Missing\n"
        sample += "from twisted.trial.unittest import SkipTest, TestCase\n"
        first, other, more = body.partition("class Others")
        sample += f"class Sample(TestCase):\n{textwrap.indent(first, '    ')}"
        sample += other + more
        (self.folder / "sample.py").write_text(sample)

    def start(self, *arguments: str, ci: str = "") -> subprocess.Popen[str]:
        """Start the runner on the module."""
        search = os.pathsep.join((str(programs.ROOT), str(self.folder)))
        return subprocess.Popen(
            (sys.executable, "-m", "tests.run", *arguments),
            cwd=self.folder,
            env={**os.environ, "CI": ci, "PYTHONPATH": search},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen[str], status: int) -> list[str]:
        """Wait for the end of the runner, and return the lines of its output."""
        output = process.communicate()[0]
        self.assertEqual(process.returncode, status, output)
        return output.splitlines()

    def lines(
        self, body: str, status: int, *way: str, name: str = "sample", ci: str = ""
    ) -> list[str]:
        """Run tests with this body, and return the lines of the output."""
        self.write(body)
        return self.finish(self.start(*way, name, ci=ci), status)


class CountTests(RunnerTests):
    """The last line, and the status."""

    def test_counted(self) -> None:
        """Tests are counted by outcome; errors, and unexpected successes, failed."""
        body = """\
def test_good(self): pass
def test_todo(self): self.fail()
test_todo.todo = "later"
def test_done(self): pass
test_done.todo = "done already"
def test_wrong(self): self.fail("the moon is missing")
def test_error(self): raise OSError("no sun")
class Others(TestCase):
    def test_skipped(self): pass
    test_skipped.skip = "no reason"
"""
        for way in WAYS:
            lines = self.lines(body, 1, *way)
            self.assertEqual(lines[-1], "2 passed, 3 failed, 1 skipped", lines)
            for wanted in (
                "twisted.trial.unittest.FailTest: the moon is missing",
                "builtins.OSError: no sun",
                "sample.Sample.test_wrong",
                "no reason",
            ):
                self.assertIn(wanted, lines)

    def test_import_error(self) -> None:
        """A module that cannot be imported is a failure, and its error is shown."""
        (self.folder / "other.py").write_text("import no_such_module")
        for way in WAYS:
            self.write(PASSING)
            lines = self.finish(self.start(*way, "sample", "other"), 1)
            self.assertEqual(lines[-1], "2 passed, 1 failed, 0 skipped")
            self.assertIn("No module named 'no_such_module'", "".join(lines))

    def test_nothing(self) -> None:
        """A run without any test is a failure."""
        lines = self.lines("pass", 1)
        self.assertEqual(lines[-1], "0 passed, 0 failed, 0 skipped")

    def test_one(self) -> None:
        """A test that is named runs alone."""
        lines = self.lines(PASSING, 0, name="sample.Others.test_good")
        self.assertEqual(lines[-1], "1 passed, 0 failed, 0 skipped")

    def test_leaves_nothing(self) -> None:
        """A run leaves no file of trial or Hypothesis behind."""
        for way in WAYS:
            lines = self.lines(PASSING, 0, *way)
            self.assertEqual(lines[-1], "2 passed, 0 failed, 0 skipped")
            left = {path.name for path in self.folder.iterdir()}
            self.assertEqual(left - {"__pycache__"}, {"sample.py"})


class SkipTests(RunnerTests):
    """The lines about tests that were skipped."""

    BODY = """\
def test_good(self): pass
def test_skipped(self): raise SkipTest("this machine has no moon")
def test_missing(self): raise Missing("exim", "exim4-daemon-light")
class Others(TestCase):
    def test_also_missing(self): raise Missing("nginx", "nginx-light")
"""

    def test_missing_packages(self) -> None:
        """A run with missing packages passes and names the packages."""
        for way in WAYS:
            lines = self.lines(self.BODY, 0, *way)
            last = f"{ADVICE}1 passed, 0 failed, 3 skipped"
            self.assertTrue("\n".join(lines).endswith(last), lines)

    def test_nothing_missing(self) -> None:
        """A run without missing packages does not mention ``make servers``."""
        lines = self.lines(self.BODY, 0, name="sample.Sample.test_skipped")
        self.assertNotIn("make servers", "\n".join(lines))

    def test_ci(self) -> None:
        """With CI set, a skipped test fails the run, and is listed with its reason."""
        lines = self.lines(self.BODY, 1, ci="true")
        wanted = "  sample.Sample.test_skipped: this machine has no moon"
        self.assertIn(wanted, lines)


class WorkerTests(RunnerTests):
    """The processes that run tests side by side."""

    def test_killed(self) -> None:
        """If a worker dies, its tests have failed, and the other tests still run."""
        for end, told in (
            ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
            ("os.kill(os.getpid(), 40)", "was killed by signal 40"),
            ("os._exit(3)", "exited with status 3"),
        ):
            body = f"def test_end(self): {end}\n{PASSING}"
            lines = self.lines(body, 1, "-j2")
            worker = f"the worker that ran sample.Sample {told} in "
            self.assertIn(f"{worker}sample.Sample.test_end;", lines)
            self.assertEqual(lines[-1], "1 passed, 2 failed, 0 skipped")

    def test_interrupted(self) -> None:
        """SIGINT ends the tests that run, and their servers; the run fails."""
        self.write("""\
def test_long(self):
    from pathlib import Path
    from tests.servers.daemon import start
    server = start(Path.cwd(), "sleep", "1000")
    Path(__file__).with_name("started").write_text(str(server.pid))
    time.sleep(1000)
class Others(TestCase):
    def test_good(self): pass
""")
        started = self.folder / "started"
        process = self.start("-j2", "sample")

        def written() -> str:
            return started.read_text() if started.exists() else ""

        server = int(eventually(written, "the server to start"))
        process.send_signal(signal.SIGINT)
        lines = self.finish(process, 1)
        self.assertRegex(lines[-1], r"\A[01] passed, [12] failed, 0 skipped\Z")
        self.assertRaises(ProcessLookupError, os.kill, server, 0)


class WaitingTests(SynchronousTestCase):
    """The order in which units are handed to workers."""

    def test_order(self) -> None:
        """A worker goes on with its module, begins another, then shares one."""
        units = [Unit(f"m{m}", f"m{m}.C{c}", ()) for m in (1, 2) for c in (1, 2, 3)]
        waiting = Waiting(units)
        had = ("", "", "m1", "m2", "m1", "m1", "m2")
        taken = [waiting.next(module) for module in had]
        names = [unit.name if unit else None for unit in taken]
        self.assertEqual(
            names, ["m1.C1", "m2.C1", "m1.C2", "m2.C2", "m1.C3", "m2.C3", None]
        )

    def test_names(self) -> None:
        """The modules that the runner names exist."""
        for name in (*FIRST, *INDEPENDENT):
            path = programs.ROOT.joinpath(*name.split(".")).with_suffix(".py")
            self.assertTrue(path.exists(), name)


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

"""The benchmarks: they run, reject inexact transfers, and write their page."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from docutils.core import publish_doctree
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from benchmarks import growth, memory, messages, page, peers, throughput
from benchmarks.measure import Goal, Log, Row, Sample, Table, alternate, environment
from benchmarks.peers import COMMAND, OURS, Client
from benchmarks.starting import greeting, milliseconds
from benchmarks.traffic import HOST, NotExact, Service
from tests import certificates
from tests.command import ROOT

SMALL = 1 << 20


def needs_linux() -> None:
    """Skip the test on systems without splice(2), which the benchmarks use."""
    if not hasattr(os, "splice"):
        raise SkipTest("the benchmarks need splice: Linux")


class Quiet(Log):
    """A log that prints no progress and keeps complaints."""

    def step(self, words: str) -> None:
        """Print nothing."""

    def complain(self, words: str) -> None:
        """Keep the complaint."""
        self.complaints.append(words)


class CarryTests(SynchronousTestCase):
    """Transfers that are accepted or rejected."""

    def setUp(self) -> None:
        needs_linux()
        self.folder = Path(tempfile.mkdtemp(prefix="benchmarks-"))
        self.addCleanup(self.folder.rmdir)
        self.addCleanup(throughput.clear, self.folder)

    def carry(self, words: str, shell: str, digest: bool = False) -> None:
        """
        Transfer bytes with a line of sh as the client; its server sends to it, or reads
        from it.
        """
        (flow,) = throughput.flows(self.folder, words)
        connect = f"exec 5<>/dev/tcp/127.0.0.1/PORT; {shell}"
        told = ("bash", "-c", connect)
        flow.carry(Client("sh", told, told), Service(SMALL, digest=digest))

    def test_exact(self) -> None:
        """A client that transfers exactly the bytes is accepted in every flow."""
        for end in ("pipe", "file", "null"):
            self.carry(f"down {end}", "exec cat <&5")
        for end in ("pipe", "file"):
            self.carry(f"up {end}", "exec cat >&5")

    def test_too_little(self) -> None:
        """A client that transfers a byte too little is rejected in every flow."""
        for words, shell in (
            ("down pipe", f"head -c {SMALL - 1} <&5; cat <&5 >/dev/null"),
            ("down file", f"head -c {SMALL - 1} <&5; cat <&5 >/dev/null"),
            ("down null", f"head -c {SMALL // 2} <&5"),
            ("up pipe", f"head -c {SMALL - 1} >&5; cat >/dev/null"),
            ("up file", f"head -c {SMALL - 1} >&5"),
        ):
            with self.assertRaises(NotExact, msg=words):
                self.carry(words, shell)

    def test_too_much(self) -> None:
        """A client that transfers a byte too much is rejected."""
        for words, shell in (
            ("down pipe", "cat <&5; echo"),
            ("up file", "cat >&5; echo >&5"),
        ):
            with self.assertRaises(NotExact, msg=words):
                self.carry(words, shell)

    def test_other_bytes(self) -> None:
        """
        A client that transfers other bytes of the same number is rejected by the hash.
        """
        for words, shell in (
            ("down pipe", r"tr '\1' '\2' <&5"),
            ("up file", r"tr '\1' '\2' >&5"),
        ):
            self.carry(words, shell)
            with self.assertRaises(NotExact, msg=words):
                self.carry(words, shell, digest=True)

    def test_status(self) -> None:
        """A client that exits with a status other than 0 is rejected."""
        with self.assertRaises(NotExact):
            self.carry("down pipe", "cat <&5; exit 3")

    def test_failing_peer(self) -> None:
        """
        If another client fails it is left out with a complaint; if the command fails,
        the contest fails.
        """
        (flow,) = throughput.flows(self.folder, "down pipe")
        good = peers.plain()[0]
        bad = Client("bad", ("false", "PORT"), ("false", "PORT"))
        log = Quiet()
        found = throughput.Contest(flow, [good, bad], None, log).run(SMALL, 1)
        self.assertEqual(list(found), [OURS])
        self.assertEqual(len(log.complaints), 1)
        ours = Client(OURS, bad.download, bad.upload)
        with self.assertRaises(NotExact):
            throughput.Contest(flow, [ours], None, log).run(SMALL, 1)


class PartTests(SynchronousTestCase):
    """The other benchmarks, run for the command with the smallest numbers."""

    def setUp(self) -> None:
        needs_linux()

    def test_start(self) -> None:
        """
        A start is timed until prog exits, after STARTTLS; a failing prog is an error.
        """
        shared = certificates.shared()
        with greeting(shared.server, starttls=True) as port:
            options = ("-s", "smtp", "-c", str(shared.ca), HOST, port)
            self.assertGreater(milliseconds((*COMMAND, *options, "true")), 0)
            with self.assertRaises(NotExact):
                milliseconds((*COMMAND, *options, "false"))

    def test_messages(self) -> None:
        """Requests are sent and replied to."""
        self.assertGreater(messages.exchange(peers.tls()[0], 3), 0)

    def test_memory(self) -> None:
        """
        The memory over an idle run is measured while a reader stalls, in clear and over
        TLS.
        """
        self.assertGreaterEqual(memory.over_idle(True, 1 << 26, None), 0)
        certificate = certificates.shared().server
        self.assertGreaterEqual(memory.over_idle(False, 1 << 26, certificate), 0)

    def test_growth(self) -> None:
        """Connections of one process are measured in seconds, CPU seconds and KiB."""
        shared = certificates.shared()
        with growth.echoing(shared.server) as port:
            taken = growth.take("tcpclient TLS", 3, port, str(shared.ca))
        self.assertEqual(set(taken), {"seconds", "cpu", "KiB"})

    def test_prog(self) -> None:
        """Over TLS prog transfers the same number of bytes as client mode."""
        folder = Path(tempfile.mkdtemp(prefix="benchmarks-"))
        self.addCleanup(folder.rmdir)
        service = Service(SMALL, certificates.shared().server)
        for flow in throughput.flows(folder, "down prog", "up prog"):
            carried = flow.carry(peers.tls_prog(SMALL, False), service)
            self.assertEqual(carried.size, SMALL)


class PageTests(SynchronousTestCase):
    """The page with the figures."""

    def table(self, *goals: Goal) -> Table:
        """Return a table with one row."""
        samples = {OURS: Sample((1.0, 3.0, 2.0)), "other": Sample((4.0,)), "no": None}
        return Table("Some", "GB/s", [Row("thing", samples, goals)])

    def test_figures(self) -> None:
        """
        The page has median and range, the ratio to the best other program, and each
        goal with its result.
        """
        missed, met = Goal("x it", 0.51, 0.5), Goal("x it", 0.5, 0.5, most=True)
        table = self.table(missed, met, Goal("x nobody", 1, None))
        text = page.generated("today", [("CPU", "one")], [table], ["A remark."], "")
        for words in (
            "2.00 (1.00 to 3.00)  4.00 (4.00 to 4.00)  n/a  0.50",
            "at least 0.51 x it   0.50      no",
            "at most 0.5 x it     0.50      yes",
            "at least 1 x nobody  n/a       n/a",
        ):
            self.assertIn(words, text)
        publish_doctree(text, settings_overrides={"report_level": 1, "halt_level": 1})

    def test_replaced(self) -> None:
        """Only the generated part of a page is replaced, once or twice."""
        empty = f"before\n{page.BEGIN}old\n{page.END}after\n"
        once = page.replaced(empty, "new")
        self.assertEqual(once, f"before\n{page.BEGIN}\nnew\n{page.END}after\n")
        self.assertEqual(page.replaced(once, "new"), once)
        with self.assertRaises(ValueError):
            page.replaced("a page without a place", "new")

    def test_turns(self) -> None:
        """
        All programs have the same number of turns, and each round begins with another
        one.
        """
        called: list[str] = []
        kinds = {name: lambda name=name: called.append(name) for name in "abc"}
        found = alternate(kinds, 3)
        self.assertEqual("".join(called), "abcbcacab")
        self.assertEqual(
            {name: len(runs) for name, runs in found.items()}, dict.fromkeys("abc", 3)
        )

    def test_command(self) -> None:
        """``python -m benchmarks`` writes its figures into a page."""
        needs_linux()
        copy = Path(self.mktemp()).absolute()
        copy.write_text((ROOT / "doc" / "performance.rst").read_text("utf-8"), "utf-8")
        arguments = ("--tiny", "--page", str(copy), "plain-prog")
        done = subprocess.run(
            (sys.executable, "-m", "benchmarks", *arguments),
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("cat reads 6", copy.read_text("utf-8"))

"""The benchmarks: that they run, count only what is exact, and write the page."""

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
    """Skip where the ends of the benchmarks cannot work."""
    if not hasattr(os, "splice"):
        raise SkipTest("the benchmarks need splice: Linux")


class Quiet(Log):
    """Tells nobody how far it is."""

    def step(self, words: str) -> None:
        """Not now."""

    def complain(self, words: str) -> None:
        """Keep it."""
        self.complaints.append(words)


class CarryTests(SynchronousTestCase):
    """What counts as carried."""

    def setUp(self) -> None:
        needs_linux()
        self.folder = Path(tempfile.mkdtemp(prefix="benchmarks-"))
        self.addCleanup(self.folder.rmdir)
        self.addCleanup(throughput.clear, self.folder)

    def carry(self, words: str, shell: str, digest: bool = False) -> None:
        """Let a line of sh be the client; its server sends to, or reads from, it."""
        (flow,) = throughput.flows(self.folder, words)
        connect = f"exec 5<>/dev/tcp/127.0.0.1/PORT; {shell}"
        told = ("bash", "-c", connect)
        flow.carry(Client("sh", told, told), Service(SMALL, digest=digest))

    def test_exact(self) -> None:
        """A client that carries all, and nothing else, is fine in all flows."""
        for end in ("pipe", "file", "null"):
            self.carry(f"down {end}", "exec cat <&5")
        for end in ("pipe", "file"):
            self.carry(f"up {end}", "exec cat >&5")

    def test_too_little(self) -> None:
        """One byte less is no run, wherever it is lost."""
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
        """One byte more is none either."""
        for words, shell in (
            ("down pipe", "cat <&5; echo"),
            ("up file", "cat >&5; echo >&5"),
        ):
            with self.assertRaises(NotExact, msg=words):
                self.carry(words, shell)

    def test_other_bytes(self) -> None:
        """As many bytes, but others, are found by the hash."""
        for words, shell in (
            ("down pipe", r"tr '\1' '\2' <&5"),
            ("up file", r"tr '\1' '\2' >&5"),
        ):
            self.carry(words, shell)
            with self.assertRaises(NotExact, msg=words):
                self.carry(words, shell, digest=True)

    def test_status(self) -> None:
        """A client that ends badly has not done it."""
        with self.assertRaises(NotExact):
            self.carry("down pipe", "cat <&5; exit 3")

    def test_peer_is_out(self) -> None:
        """A peer that fails is told of and left out; that we fail is an error."""
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
    """Each of the other parts runs, with ours and no more of it than there must be."""

    def setUp(self) -> None:
        needs_linux()

    def test_start(self) -> None:
        """A start is timed until the end of prog, after STARTTLS too."""
        shared = certificates.shared()
        with greeting(shared.server, starttls=True) as port:
            options = ("-s", "smtp", "-c", str(shared.ca), HOST, port)
            self.assertGreater(milliseconds((*COMMAND, *options, "true")), 0)
            with self.assertRaises(NotExact):
                milliseconds((*COMMAND, *options, "false"))

    def test_messages(self) -> None:
        """Requests are asked and replied to."""
        self.assertGreater(messages.exchange(peers.tls()[0], 3), 0)

    def test_memory(self) -> None:
        """A stalled reader is offered more than is taken, and then reads all."""
        self.assertGreaterEqual(memory.over_idle(True, 1 << 26, None), 0)
        certificate = certificates.shared().server
        self.assertGreaterEqual(memory.over_idle(False, 1 << 26, certificate), 0)

    def test_growth(self) -> None:
        """Several connections in one process are made and used."""
        shared = certificates.shared()
        with growth.echoing(shared.server) as port:
            taken = growth.take("tcpclient TLS", 3, port, str(shared.ca))
        self.assertEqual(set(taken), {"seconds", "cpu", "KiB"})

    def test_prog(self) -> None:
        """Over TLS prog carries as much as is counted in client mode."""
        folder = Path(tempfile.mkdtemp(prefix="benchmarks-"))
        self.addCleanup(folder.rmdir)
        service = Service(SMALL, certificates.shared().server)
        for flow in throughput.flows(folder, "down prog", "up prog"):
            carried = flow.carry(peers.tls_prog(SMALL, False), service)
            self.assertEqual(carried.size, SMALL)


class PageTests(SynchronousTestCase):
    """What becomes of the figures."""

    def table(self, *goals: Goal) -> Table:
        """A table with one row."""
        samples = {OURS: Sample((1.0, 3.0, 2.0)), "other": Sample((4.0,)), "no": None}
        return Table("Some", "GB/s", [Row("thing", samples, goals)])

    def test_figures(self) -> None:
        """Median, spread, the ratio to the best other, and each goal are there."""
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
        """Only the generated part is replaced, however often."""
        empty = f"before\n{page.BEGIN}old\n{page.END}after\n"
        once = page.replaced(empty, "new")
        self.assertEqual(once, f"before\n{page.BEGIN}\nnew\n{page.END}after\n")
        self.assertEqual(page.replaced(once, "new"), once)
        with self.assertRaises(ValueError):
            page.replaced("a page without a place", "new")

    def test_turns(self) -> None:
        """All have the same number of turns, and another begins each round."""
        called: list[str] = []
        kinds = {name: lambda name=name: called.append(name) for name in "abc"}
        found = alternate(kinds, 3)
        self.assertEqual("".join(called), "abcbcacab")
        self.assertEqual(
            {name: len(runs) for name, runs in found.items()}, dict.fromkeys("abc", 3)
        )

    def test_command(self) -> None:
        """The command puts what it finds into a page."""
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

"""``benchmarks.handshakes``, the benchmark of handshakes."""

from __future__ import annotations

import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.programs import ROOT, run


class BenchmarkTests(SynchronousTestCase):
    """A short run, whose figures are not checked."""

    def test_runs(self) -> None:
        """
        The benchmark completes handshakes of every kind, and prints rate, CPU and
        ratios.
        """
        words = ("-m", "benchmarks.handshakes", "2", "3", "3")
        outcome = run(sys.executable, *words, PYTHONPATH=str(ROOT))
        self.assertEqual((outcome.status, outcome.err), (0, b""))
        lines = outcome.out.decode("ascii").splitlines()
        for name in ("wrapClientTLS", "secured", "by hand", "starttls"):
            (row,) = (line for line in lines if line.startswith(f"{name}  "))
            rate, cpu = row.removeprefix(name).split()
            self.assertGreater(float(rate), 0)
            self.assertGreater(float(cpu), 0)
        self.assertEqual(sum(" / " in line for line in lines), 4)

"""``make demo``: what it prints, its exit status, and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import shared
from tests.command import PATIENCE, ROOT, environment


class DemoTests(SynchronousTestCase):
    """``doc/examples/demo.py``, which ``make demo`` runs."""

    def demo(self, **changes: str) -> tuple[int, str]:
        """Run the demo, and return its status and its output.

        Check that no process of its process group and no file in TMPDIR is left.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        process = subprocess.Popen(
            (sys.executable, ROOT / "doc" / "examples" / "demo.py"),
            cwd=ROOT,
            env=environment(TMPDIR=str(folder.absolute()), **changes),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        # communicate() returns at EOF, when the last process that has stdout open has
        # exited.
        shown, _ = process.communicate(timeout=PATIENCE)
        with self.assertRaises(ProcessLookupError):
            os.killpg(process.pid, 0)
        self.assertEqual(list(folder.iterdir()), [])
        return process.returncode, shown.decode("ascii")

    def assert_in_order(self, parts: list[str], text: str) -> None:
        """Assert that the text contains all parts, in this order."""
        place = 0
        for part in parts:
            found = text.find(part, place)
            self.assertGreaterEqual(found, 0, f"{part!r} is not next in {text}")
            place = found + len(part)

    def test_shows_the_main_job(self) -> None:
        """
        The demo prints the command, its messages and the dialogue, then an explanation,
        and then what to type next.
        """
        status, shown = self.demo()
        self.assertEqual(status, 0, shown)
        self.assert_in_order(
            [
                "tcpclient -v -s smtp -R -c ",
                "tcpclient: connected to 127.0.0.1 port ",
                "verified as localhost",
                "TCPREMOTEIP=127.0.0.1",
                "SSL_PROTOCOL=TLSv1.3",
                "client: EHLO localhost",
                "server: 250 PIPELINING",
                "client: QUIT",
                "server: 221 goodbye",
                "What happened:",
                "What to type next",
                "tcpclient -v -s smtp -R mail.example.org 25 ",
            ],
            shown,
        )

    def test_revocation_lists(self) -> None:
        """
        The demo succeeds though CERTDIR or SERVERCRL leads to a list of another
        authority.
        """
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        shutil.copy(shared().revocations, folder / "servercrl.pem")
        for changes in (
            {"CERTDIR": str(folder)},
            {"SERVERCRL": str(folder / "servercrl.pem")},
        ):
            status, shown = self.demo(**changes)
            self.assertEqual(status, 0, shown)

    def test_what_to_type_next_can_be_typed(self) -> None:
        """The demo prints commands that exist at the paths shown."""
        _, shown = self.demo()
        following = shown.partition("What to type next")[2]
        words = re.findall(r"^ +\$ (\S+)", following, re.MULTILINE)
        self.assertEqual(len(words), 2)
        for word in words:
            self.assertIsNotNone(shutil.which(ROOT / word), word)
        self.assertIn("/hello.py\n", following)

    def test_failure_is_told(self) -> None:
        """The demo exits with status 1 and prints no explanation if tcpclient fails."""
        status, shown = self.demo(TLS_CIPHER_LIST="none-of-this-name")
        self.assertEqual(status, 1)
        self.assertIn("tcpclient: fatal: no usable cipher", shown)
        self.assertIn("The demo failed", shown)
        self.assertNotIn("What happened", shown)

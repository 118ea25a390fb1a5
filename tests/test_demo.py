"""The demo shows what it says it shows, and cleans up after itself."""

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
    """``make demo``, once its environment is there."""

    def demo(self, **changes: str) -> tuple[int, str]:
        """Run the demo; return its status, and all that it shows.

        Nobody it has started may be left then, and no file.
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
        # Its end is the end of the last process that could still write.
        shown, _ = process.communicate(timeout=PATIENCE)
        with self.assertRaises(ProcessLookupError):
            os.killpg(process.pid, 0)
        self.assertEqual(list(folder.iterdir()), [])
        return process.returncode, shown.decode("ascii")

    def assert_in_order(self, parts: list[str], text: str) -> None:
        """Assert that all of these are in the text, one after the other."""
        place = 0
        for part in parts:
            found = text.find(part, place)
            self.assertGreaterEqual(found, 0, f"{part!r} is not next in {text}")
            place = found + len(part)

    def test_shows_the_main_job(self) -> None:
        """What is typed, what comes of it, in words what it was, and what is next."""
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
        """Those of this machine are not about an authority that was made up."""
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
        """The commands shown are there, from where the demo was started."""
        _, shown = self.demo()
        following = shown.partition("What to type next")[2]
        words = re.findall(r"^ +\$ (\S+)", following, re.MULTILINE)
        self.assertEqual(len(words), 2)
        for word in words:
            self.assertIsNotNone(shutil.which(ROOT / word), word)
        self.assertIn("/hello.py\n", following)

    def test_failure_is_told(self) -> None:
        """When tcpclient fails, so does the demo, and claims nothing."""
        status, shown = self.demo(TLS_CIPHER_LIST="none-of-this-name")
        self.assertEqual(status, 1)
        self.assertIn("tcpclient: fatal: no usable cipher", shown)
        self.assertIn("The demo failed", shown)
        self.assertNotIn("What happened", shown)

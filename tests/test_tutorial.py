"""The programs of the tutorial, and their output."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

from twisted.internet.endpoints import quoteStringArgument
from twisted.trial.unittest import SynchronousTestCase

from tests import servers
from tests.certificates import shared
from tests.programs import ROOT, run

TUTORIAL = ROOT / "doc" / "tutorial.rst"

_BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n\n((?:(?: {4}.*)?\n)+)", re.MULTILINE)


def programs(page: Path = TUTORIAL) -> list[tuple[str, str]]:
    """Return the programs of a page, each with the output that the page shows."""
    found: list[tuple[str, str]] = []
    for kind, block in _BLOCK.findall(page.read_text()):
        text = textwrap.dedent(block).strip() + "\n"
        if kind == "python":
            found.append((text, ""))
        else:
            program, _ = found.pop()
            found.append((program, text))
    return found


class TutorialTests(SynchronousTestCase):
    """The tutorial, with its servers replaced by the tests' own."""

    def test_programs(self) -> None:
        """Each program succeeds, and prints what the tutorial shows."""
        postfix = servers.postfix()
        roots = quoteStringArgument(str(shared().ca))
        found = programs()
        self.assertEqual(len(found), 4)
        for number, (program, shown) in enumerate(found):
            for name, port in (
                ("mx.example.org", postfix.smtp),
                ("old.example.org", postfix.plain),
            ):
                program = program.replace(
                    f"starttls:smtp:{name}",
                    f"starttls:smtp:localhost:{port}:trustRoots={roots}",
                )
            self.assertNotIn("example.org", program)
            path = Path(f"program{number}.py")
            path.write_text(program)
            outcome = run(sys.executable, path)
            self.assertEqual((outcome.status, outcome.err), (0, b""), program)
            wanted = shown.replace("mx.example.org", "localhost")
            self.assertEqual(outcome.out.decode("ascii"), wanted)

    def test_programs_can_fail(self) -> None:
        """The first program fails with a server whose certificate it does not trust."""
        program, _ = programs()[0]
        port = servers.postfix().smtp
        path = Path("program.py")
        path.write_text(program.replace("mx.example.org", f"localhost:{port}"))
        outcome = run(sys.executable, path)
        self.assertEqual(outcome.status, 1)
        self.assertIn(b"VerificationFailed", outcome.err)

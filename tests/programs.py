"""Programs that tests run to their end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.utils import getProcessOutputAndValue

#: The directory of the packages, which is the root of the checkout.
ROOT = Path(__file__).parent.parent

#: Seconds that a program may take.
PATIENCE = 60

#: The command.
TCPCLIENT = (sys.executable, "-m", "twisted_tcpclient")


@dataclass(frozen=True)
class Outcome:
    """Exit status and output of a program."""

    status: int
    out: bytes
    err: bytes


def environment(**changes: str) -> dict[str, str]:
    """Return the environment of a program that imports modules of the checkout."""
    return os.environ | {"PYTHONPATH": str(ROOT)} | changes


def run(*command: str | Path, stdin: bytes = b"", **changes: str) -> Outcome:
    """Run a program, and block until it has ended: its server needs another process."""
    process = subprocess.run(
        command,
        env=environment(**changes),
        input=stdin,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    return Outcome(process.returncode, process.stdout, process.stderr)


@inlineCallbacks
def spawn(
    reactor: Any, *command: str, **changes: str
) -> Generator[Deferred[Any], Any, Outcome]:
    """Run a program without blocking the reactor, so that its server may run here."""
    out, err, status = yield getProcessOutputAndValue(
        command[0],
        command[1:],
        env=environment(**changes),
        reactor=reactor,
    )
    return Outcome(status, out, err)

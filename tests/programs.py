"""Programs that the tests run, from start to end."""

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

#: Where the packages are.
ROOT = Path(__file__).parent.parent

#: How long a program may take, in seconds.
PATIENCE = 60

#: Our own tcpclient.
TCPCLIENT = (sys.executable, "-m", "twisted_tcpclient")


@dataclass(frozen=True)
class Outcome:
    """What has become of a program."""

    status: int
    out: bytes
    err: bytes


def environment(**changes: str) -> dict[str, str]:
    """The environment for a program that is to find our packages."""
    return os.environ | {"PYTHONPATH": str(ROOT)} | changes


def run(*command: str | Path, stdin: bytes = b"", **changes: str) -> Outcome:
    """Run a program whose server is in a process of its own."""
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
    """Run a program whose server is in this very process."""
    out, err, status = yield getProcessOutputAndValue(
        command[0],
        command[1:],
        env=environment(**changes),
        reactor=reactor,
    )
    return Outcome(status, out, err)

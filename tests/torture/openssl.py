"""
The program `openssl`, which has its own opinion.
"""

from __future__ import annotations

import shutil
import subprocess

from twisted.trial.unittest import SkipTest


def program() -> str:
    """Return where it is."""
    found = shutil.which("openssl")
    if found is None:
        raise SkipTest("openssl is missing: install the Debian package openssl")
    return found


def verifies(*arguments: str) -> bool:
    """Tell whether ``openssl verify`` has nothing against a server's certificate."""
    command = (program(), "verify", "-purpose", "sslserver", *arguments)
    return subprocess.run(command, capture_output=True).returncode == 0

"""
The program `openssl`, which has its own opinion.
"""

from __future__ import annotations

import subprocess

from tests.packages import find_program


def program() -> str:
    """Return where it is."""
    return find_program("openssl", "openssl")


def verifies(*arguments: str) -> bool:
    """Tell whether ``openssl verify`` has nothing against a server's certificate."""
    command = (program(), "verify", "-purpose", "sslserver", *arguments)
    return subprocess.run(command, capture_output=True).returncode == 0

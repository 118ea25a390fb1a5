"""The program `openssl`, as a second opinion on certificates."""

from __future__ import annotations

import subprocess

from tests.packages import find_program


def program() -> str:
    """Return the path of the program."""
    return find_program("openssl", "openssl")


def verifies(*arguments: str) -> bool:
    """Tell whether ``openssl verify`` accepts a server's certificate."""
    command = (program(), "verify", "-purpose", "sslserver", *arguments)
    return subprocess.run(command, capture_output=True).returncode == 0

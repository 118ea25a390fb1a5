"""Debian packages that tests need.

A test without its package is skipped, and the reason names the package to install.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path

from twisted.trial.unittest import SkipTest

#: The script that "make servers" runs.
INSTALLER = Path(__file__).resolve().with_name("install-servers")

#: Directories of daemons and of the superuser's tools, which may not be on PATH.
PLACES = (
    "/usr/sbin",
    "/sbin",
    "/usr/lib/postfix/sbin",
    "/usr/lib/dovecot",
    "/usr/lib/news/bin",
    "/usr/lib/postgresql/15/bin",
    "/usr/lib/git-core",
)

#: Where the installer unpacks packages that conflict with installed ones.
BESIDE = Path("/var/cache/twisted-tcpclient-tests")


class Missing(SkipTest):
    """Raised when a Debian package is not installed; skips the test."""

    def __init__(self, what: str, package: str) -> None:
        super().__init__(f"{what} is missing: install the Debian package {package}")


def find_program(name: str, package: str) -> str:
    """Return the path of a program of a package.

    :raises Missing: if the program is not found.
    """
    places = os.pathsep.join((os.environ.get("PATH", os.defpath), *PLACES))
    found = shutil.which(name, path=places)
    if found is None:
        raise Missing(name, package)
    return found


def service_port(name: str) -> int:
    """Return the port of a TCP service, from /etc/services.

    :raises Missing: if there is no such file.
    """
    if not Path("/etc/services").exists():
        raise Missing("/etc/services", "netbase")
    return socket.getservbyname(name, "tcp")


def find_unpacked(package: str) -> Path:
    """Return the directory that contains the unpacked files of a package.

    :raises Missing: if there is no such directory.
    """
    found = BESIDE / package
    if not found.is_dir():
        raise Missing(str(found), package)
    return found


def missing(reasons: Iterable[str]) -> list[str]:
    """Return the names of missing packages, from the reasons of skipped tests."""
    told = re.compile(r" is missing: install the Debian package (\S+)\Z")
    matches = map(told.search, reasons)
    return sorted({match[1] for match in matches if match})

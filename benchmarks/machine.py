"""
The machine and the versions of the programs, without host names and paths.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import ssl
import subprocess
from importlib.metadata import version
from pathlib import Path

#: The option that prints the version of each program, and where it stands.
_ASKED = {
    "socat": ("-V", r"socat version (\S+)"),
    "ncat": ("--version", r"Version (\S+)"),
    "openssl": ("version", r"OpenSSL (\S+)"),
}


def processor() -> str:
    """Return the model of the CPU."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def memory() -> str:
    """Return the size of the memory."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return f"{pages / (1 << 30):.0f} GiB"


def peer(name: str) -> str | None:
    """Return the version of a program, or None if it is not installed."""
    if shutil.which(name) is None:
        return None
    if name not in _ASKED:
        return _debian("ucspi-tcp")
    option, pattern = _ASKED[name]
    told = subprocess.run((name, option), capture_output=True, text=True)
    found = re.search(pattern, told.stdout + told.stderr)
    return found.group(1) if found else "?"


def _debian(package: str) -> str:
    """Return the version of a Debian package, or "?"."""
    query = ("dpkg-query", "-W", "-f", "${Version}", package)
    try:
        told = subprocess.run(query, capture_output=True, text=True)
    except OSError:
        return "?"
    return told.stdout or "?"


def libraries() -> str:
    """Return the versions of Python and of the packages that tcpclient uses."""
    from OpenSSL import SSL

    ours = re.search(r"OpenSSL (\S+)", SSL.SSLeay_version(SSL.SSLEAY_VERSION).decode())
    return ", ".join(
        [
            f"{platform.python_implementation()} {platform.python_version()}",
            f"Twisted {version('Twisted')}",
            f"pyOpenSSL {version('pyOpenSSL')}",
            f"cryptography {version('cryptography')}"
            + (f" with OpenSSL {ours.group(1)}" if ours else ""),
        ]
    )


def server() -> str:
    """Return what the servers use for TLS."""
    return f"Python's ssl with {' '.join(ssl.OPENSSL_VERSION.split()[:2])}"


def load() -> str:
    """Return the load average of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def facts() -> list[tuple[str, str]]:
    """Return all rows of the table, each a name and a value."""
    peers = {
        "socat": peer("socat"),
        "ncat": peer("ncat"),
        "openssl s_client": peer("openssl"),
        "C tcpclient (ucspi-tcp)": peer("tcpclient"),
    }
    return [
        ("CPU", f"{processor()}, {os.cpu_count()} cores"),
        ("Memory", memory()),
        ("System", f"{platform.system()} {platform.release()}"),
        ("tcpclient", libraries()),
        ("Servers", server()),
        *[(name, told) for name, told in peers.items() if told is not None],
    ]


def folder(size: int) -> Path:
    """Return a folder with room for two files of that size, in memory if possible."""
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 3 * size:
        return memory
    return Path("/var/tmp")

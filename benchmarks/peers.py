"""
The measured programs, and the command line of each for each job.

Each has its best options: one direction only, if it has such an option.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass

from benchmarks.traffic import HOST
from tests import certificates

OURS = "tcpclient"

#: tcpclient without look-ups, as the other programs do none.
COMMAND = (sys.executable, "-m", "twisted_tcpclient", "-RHl0")

#: The servers of uploads send no answer that an early FIN could cost.
AT_ONCE = ("--shutdown", "now")

#: A Python that imports the reactor, as tcpclient does, and then becomes another
#: program.
BY_PYTHON = (
    *(sys.executable, "-c"),
    "import os, sys, twisted.internet.reactor; os.execvp(sys.argv[1], sys.argv[1:])",
)

#: Programs, and the Debian package of each.
PACKAGES = {
    "socat": "socat",
    "ncat": "ncat",
    "openssl": "openssl",
    "tcpclient": "ucspi-tcp",
}


@dataclass(frozen=True)
class Client:
    """
    The command lines of a program, with ``PORT`` in place of the port.

    :ivar download: the command that receives.
    :ivar upload: the command that sends.
    """

    name: str
    download: tuple[str, ...]
    upload: tuple[str, ...]

    @property
    def program(self) -> str:
        """The name of the program."""
        return self.download[0]


def here(client: Client) -> bool:
    """Return whether a program is installed."""
    return shutil.which(client.program) is not None


def missing() -> list[str]:
    """Return the programs that are not installed, and so are in no table."""
    return [
        f"{name} (Debian package {package})"
        for name, package in PACKAGES.items()
        if shutil.which(name) is None
    ]


def _socat(address: str, name: str, *options: str) -> Client:
    return Client(
        name,
        ("socat", *options, "-u", address, "STDOUT"),
        ("socat", *options, "-u", "STDIN", address),
    )


def plain() -> list[Client]:
    """Return the clients in clear, tcpclient first."""
    ours = (*COMMAND, *AT_ONCE, HOST, "PORT")
    address = f"TCP4:{HOST}:PORT"
    known = [
        Client(OURS, ours, ours),
        _socat(address, "socat"),
        _socat(address, "socat -b 262144", "-b", "262144"),
        Client(
            "ncat",
            ("ncat", "--recv-only", HOST, "PORT"),
            ("ncat", "--send-only", HOST, "PORT"),
        ),
    ]
    return [client for client in known if here(client)]


def tls() -> list[Client]:
    """
    Return the clients over TLS, tcpclient first.

    All verify the certificate and its name.
    """
    ca = str(certificates.shared().ca)
    ours = (*COMMAND, *AT_ONCE, "--tls", "-c", ca, HOST, "PORT")
    address = f"OPENSSL:{HOST}:PORT,pf=ip4,cafile={ca},commonname=localhost"
    ncat = (
        *("ncat", "--ssl", "--ssl-verify", "--ssl-trustfile", ca),
        *("--ssl-servername", "localhost"),
    )
    s_client = (
        *("openssl", "s_client", "-quiet", "-verify_quiet", "-CAfile", ca),
        *("-verify_return_error", "-verify_hostname", "localhost"),
        *("-connect", f"{HOST}:PORT"),
    )
    known = [
        Client(OURS, ours, ours),
        _socat(address, "socat"),
        _socat(address, "socat -b 262144", "-b", "262144"),
        Client(
            "ncat",
            (*ncat, "--recv-only", HOST, "PORT"),
            (*ncat, "--send-only", HOST, "PORT"),
        ),
        Client("s_client", s_client, s_client),
    ]
    return [client for client in known if here(client)]


def plain_prog() -> list[Client]:
    """
    Return the programs that hand the connection to cat, tcpclient first.

    "C, by Python" is the C program in a process that was Python before: the speed of
    cat depends on what its process did before.
    """
    down, up = ("sh", "-c", "exec cat <&6"), ("sh", "-c", "exec cat >&7")
    c = ("tcpclient", "-RHl0")
    known = []
    for name, command in (
        (OURS, COMMAND),
        ("C tcpclient", c),
        ("C, by Python", (*BY_PYTHON, *c)),
    ):
        told = (*command, HOST, "PORT")
        known.append(Client(name, (*told, *down), (*told, *up)))
    return known if shutil.which(c[0]) else known[:1]


def tls_prog(size: int, digest: bool) -> Client:
    """
    Return tcpclient with a prog that costs no more than the process at the other end
    of a pipe in client mode; with cat if the bytes are hashed.
    """
    told = (*COMMAND, "--tls", "-c", str(certificates.shared().ca), HOST, "PORT")
    if digest:
        down, up = ("sh", "-c", "exec cat <&6"), ("sh", "-c", "exec cat >&7")
        return Client("prog", (*told, *down), (*told, *up))
    prog = (sys.executable, "-m", "benchmarks.prog")
    return Client("prog", (*told, *prog, "drain"), (*told, *prog, "feed", str(size)))


def at(command: tuple[str, ...], port: str) -> tuple[str, ...]:
    """Return a command with the port in place of ``PORT``."""
    return tuple(word.replace("PORT", port) for word in command)

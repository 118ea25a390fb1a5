"""
The programs that are measured, and how each is told to do a job.

Each is told so as to do its best: one direction only, where it knows that.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass

from benchmarks.traffic import HOST
from tests import certificates

OURS = "tcpclient"

#: Ours; without look-ups, as nobody else does any.
COMMAND = (sys.executable, "-m", "twisted_tcpclient", "-RHl0")

#: The servers of uploads listen to the end, and say nothing that could be lost.
AT_ONCE = ("--shutdown", "now")

#: A Python that does what a start of ours takes most of its time for, and then becomes
#: another program.
BY_PYTHON = (
    *(sys.executable, "-c"),
    "import os, sys, twisted.internet.reactor; os.execvp(sys.argv[1], sys.argv[1:])",
)

#: What is looked for, and the Debian package it is in.
PACKAGES = {
    "socat": "socat",
    "ncat": "ncat",
    "openssl": "openssl",
    "tcpclient": "ucspi-tcp",
}


@dataclass(frozen=True)
class Client:
    """
    How a program is told to connect.

    :ivar download: its command, up to the place of the port.
    :ivar upload: the same to send.
    """

    name: str
    download: tuple[str, ...]
    upload: tuple[str, ...]

    @property
    def program(self) -> str:
        """What is run."""
        return self.download[0]


def here(client: Client) -> bool:
    """Whether a program is installed."""
    return shutil.which(client.program) is not None


def missing() -> list[str]:
    """What is not installed, and so is not in any table."""
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
    """Clients in clear, ours first."""
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
    """Clients over TLS, ours first.  All verify the certificate and its name."""
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
    Programs that hand the connection to cat, ours first.

    Who is started by Python is the C program, too: how fast cat is afterwards depends
    on what the same process did before.
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
    Ours with a prog of our own, which is to cost no more than who is at the other
    end of a pipe in client mode; or with cat, for what is hashed.
    """
    told = (*COMMAND, "--tls", "-c", str(certificates.shared().ca), HOST, "PORT")
    if digest:
        down, up = ("sh", "-c", "exec cat <&6"), ("sh", "-c", "exec cat >&7")
        return Client("prog", (*told, *down), (*told, *up))
    prog = (sys.executable, "-m", "benchmarks.prog")
    return Client("prog", (*told, *prog, "drain"), (*told, *prog, "feed", str(size)))


def at(command: tuple[str, ...], port: str) -> tuple[str, ...]:
    """A command with the port in its place."""
    return tuple(word.replace("PORT", port) for word in command)

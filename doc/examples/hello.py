"""
A prog for tcpclient: says hello to a mail server, and goodbye.

It knows nothing of networks and nothing of TLS.  It reads descriptor 6, writes
descriptor 7, and finds what it may want to know in its environment.  That is all
there is to UCSPI.  It is for use with ``-s smtp``: after STARTTLS it is for the
client to speak first.
"""

from __future__ import annotations

import os
import sys
from typing import BinaryIO

TOLD = (
    "PROTO",
    "TCPREMOTEIP",
    "TCPREMOTEPORT",
    "SSL_PROTOCOL",
    "SSL_PEER_CERT_SUBJECT",
)


def say(line: str) -> None:
    """Show a line at once: others write to this terminal as well."""
    print(f"   prog: {line}", flush=True)


def reply(server: BinaryIO) -> int:
    """Show a reply of one line or more, and return its code."""
    while True:
        line = server.readline().decode("ascii", "backslashreplace").rstrip("\r\n")
        if not line[:3].isdigit():
            sys.exit(f"   prog: this is no reply to what I said: {line!r}")
        say(f"server: {ascii(line)[1:-1]:.200}")
        if line[3:4] != "-":
            return int(line[:3])


def main() -> None:
    """One EHLO, one QUIT."""
    for name in TOLD:
        say(f"{name}={os.environ.get(name, '')}")
    with open(6, "rb") as server, open(7, "wb", buffering=0) as to_server:
        for command, expected in (("EHLO localhost", 250), ("QUIT", 221)):
            say(f"client: {command}")
            to_server.write(command.encode("ascii") + b"\r\n")
            if reply(server) != expected:
                sys.exit(f"   prog: the server did not like {command}")


if __name__ == "__main__":
    main()

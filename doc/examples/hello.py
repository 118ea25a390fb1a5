"""
A prog for tcpclient that sends EHLO and QUIT to a mail server.

It reads descriptor 6, writes descriptor 7, and finds facts about the connection in
its environment (UCSPI).  It has no code for networks or TLS.  Use it with ``-s smtp``:
after STARTTLS the client speaks first.
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
    """Print a line without a buffer, as tcpclient writes to the same terminal."""
    print(f"   prog: {line}", flush=True)


def reply(server: BinaryIO) -> int:
    """Print a reply of one line or more, and return its code."""
    while True:
        line = server.readline().decode("ascii", "backslashreplace").rstrip("\r\n")
        if not line[:3].isdigit():
            sys.exit(f"   prog: not an SMTP reply: {line!r}")
        say(f"server: {ascii(line)[1:-1]:.200}")
        if line[3:4] != "-":
            return int(line[:3])


def main() -> None:
    """Print the environment, and send EHLO and QUIT."""
    for name in TOLD:
        say(f"{name}={os.environ.get(name, '')}")
    with open(6, "rb") as server, open(7, "wb", buffering=0) as to_server:
        for command, expected in (("EHLO localhost", 250), ("QUIT", 221)):
            say(f"client: {command}")
            to_server.write(command.encode("ascii") + b"\r\n")
            if reply(server) != expected:
                sys.exit(f"   prog: the server did not accept {command}")


if __name__ == "__main__":
    main()

"""Servers of UCSPI: tcpserver and unixserver."""

from __future__ import annotations

import functools
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.packages import find_program
from tests.servers.daemon import (
    HOST,
    failure,
    listening_sockets,
    make_directory,
    start,
    wait_until_ready,
)
from tests.servers.network import Network


@dataclass(frozen=True)
class TcpServer:
    """A port of tcpserver, which runs a program for each connection."""

    host: str
    port: int
    log: Path


WITHOUT_LOOKUPS = ("-R", "-H", "-l0")


@functools.cache
def tcpserver(
    *command: str,
    options: tuple[str, ...] = WITHOUT_LOOKUPS,
    host: str = HOST,
    inside: Network | None = None,
) -> TcpServer:
    """
    Start tcpserver on this host or in a network; the same arguments give the same
    server.
    """
    tcpserver = find_program("tcpserver", "ucspi-tcp")
    directory = make_directory("tcpserver")
    arguments = [tcpserver, "-1", *options, host, "0", *command]
    if inside is not None:
        arguments = inside.inside(*arguments)
    process = start(directory, *arguments, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as announcement:
        port = announcement.readline()
    if not port:
        raise RuntimeError(failure(process, directory))
    return TcpServer(host=host, port=int(port), log=directory / "output")


@dataclass(frozen=True)
class UnixServer:
    """A socket of unixserver, which runs a program for each connection."""

    path: Path
    log: Path


@functools.cache
def unixserver(*command: str, options: tuple[str, ...] = ()) -> UnixServer:
    """Start unixserver; the same arguments give the same server."""
    unixserver = find_program("unixserver", "ucspi-unix")
    directory = make_directory("unixserver")
    path = directory / "socket"
    process = start(directory, unixserver, *options, str(path), *command)
    wait_until_ready(process, directory, lambda: str(path) in listening_sockets())
    return UnixServer(path=path, log=directory / "output")

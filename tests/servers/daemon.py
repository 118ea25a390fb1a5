"""
Daemons on loopback: found, started on free ports, and ended with the tests.

Each fixture starts a daemon at the first call, and returns the facts about it.  The
daemon ends with the test process, and its files are removed.  If it cannot run, the
test is skipped with the missing Debian package as the reason.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from twisted.trial.unittest import SkipTest

from tests import certificates
from tests.packages import find_program

T = TypeVar("T")

HOST = "127.0.0.1"
PATIENCE = 60.0
PAUSE = 0.01


def eventually(find: Callable[[], T | None], what: str) -> T:
    """Return the result of `find` once it is true; fail after `PATIENCE` seconds."""
    deadline = time.monotonic() + PATIENCE
    while not (found := find()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE} s in vain for {what}")
        time.sleep(PAUSE)
    return found


def logged(log: Path, text: str, since: int = 0) -> str:
    """
    Wait for a line with this text in a server's log; return the line.

    :param since: The number of bytes of the log to skip, as port numbers are used
        again.
    """

    def find() -> str | None:
        data = log.read_bytes()[since:] if log.exists() else b""
        lines = data.decode(errors="replace").splitlines()
        return next((line for line in lines if text in line), None)

    return eventually(find, f"{text!r} in {log}")


@functools.cache
def loopbacks() -> tuple[str, ...]:
    """Return the loopback addresses of this machine; it may have no IPv6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return (HOST,)
    return (HOST, "::1")


@dataclass(frozen=True)
class Server:
    """A server of one protocol, with STARTTLS on its port of 127.0.0.1."""

    host: str
    port: int
    log: Path


def serve(
    directory: Path, command: Callable[[int], tuple[str, ...]], ready: str = ""
) -> Server:
    """
    Start a server that gets its port on the command line or in its files.

    :param ready: What the server prints when it is ready, if it listens before that.
    """
    (port,) = serve_on(1, directory, command, ready)
    return Server(host=HOST, port=port, log=directory / "output")


def serve_on(
    count: int,
    directory: Path,
    command: Callable[..., tuple[str, ...]],
    ready: str = "",
) -> list[int]:
    """Start a server on some ports, which are the arguments of `command`."""
    log = directory / "output"
    with free_ports(count) as ports:
        process = start(directory, *command(*ports))
        wait_until_ready(
            process,
            directory,
            lambda: (
                listens(process.pid, *ports, everywhere=False) and ready in text_of(log)
            ),
        )
    return ports


def own_certificate(directory: Path, owner: str | int) -> Path:
    """Copy the server's certificate and key for a server that is not root."""
    path = directory / "certificate.pem"
    shutil.copy(certificates.shared().server, path)
    path.chmod(0o600)
    shutil.chown(path, owner)
    return path


def as_user(user: str, *command: str) -> tuple[str, ...]:
    """
    Return the command that runs a command as a user, without a process in between.
    """
    setpriv = find_program("setpriv", "util-linux")
    return (setpriv, f"--reuid={user}", f"--regid={user}", "--clear-groups", *command)


def bound_by_modes(*command: str) -> tuple[str, ...]:
    """Return a command prefix under which file modes apply, also for root."""
    if os.geteuid() != 0:
        return command
    capabilities = "-dac_override,-dac_read_search"
    setpriv = find_program("setpriv", "util-linux")
    return (setpriv, f"--bounding-set={capabilities}", *command)


def require_root(package: str) -> None:
    """Skip the test unless the process is root, as most daemons need root to start."""
    if os.geteuid() != 0:
        raise SkipTest(
            f"only root can start the server of the Debian package {package}"
        )


def make_directory(name: str) -> Path:
    """Make a temporary directory for a daemon; it is removed when the process exits."""
    directory = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    # Servers that give up root have to reach their files.
    directory.chmod(0o755)
    return directory


@contextlib.contextmanager
def free_ports(count: int) -> Iterator[list[int]]:
    """
    Hold free ports while a server starts on them.

    The ports are bound with SO_REUSEADDR and not listened on.  So the kernel gives them
    to no process that binds to port 0, but a server that asks for them gets them.
    """
    with contextlib.ExitStack() as kept:
        sockets = [kept.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind((HOST, 0))
        yield [each.getsockname()[1] for each in sockets]


def start(
    directory: Path, *arguments: str, stdout: int | None = None
) -> subprocess.Popen[bytes]:
    """Start a server in a process group of its own, which is ended at exit."""
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output if stdout is None else stdout,
            stderr=output,
            start_new_session=True,
        )
    atexit.register(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    _signal_group(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
    # Processes that are left could write into the directory that is removed next.
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def wait_until_ready(
    process: subprocess.Popen[bytes], directory: Path, ready: Callable[[], bool]
) -> None:
    """
    Wait until a server is ready; raise RuntimeError if it exits or takes too long.
    """

    def alive() -> bool:
        return process.poll() is None

    with contextlib.suppress(AssertionError):
        eventually(lambda: ready() or not alive(), f"{process.args!r} to start")
    if not (ready() and alive()):
        raise RuntimeError(failure(process, directory))


def greets(port: int, greeting: bytes) -> bool:
    """Tell whether the first bytes of a server begin with this greeting."""
    with socket.create_connection((HOST, port), PATIENCE) as connection:
        return connection.recv(1024).startswith(greeting)


def failure(process: subprocess.Popen[bytes], directory: Path) -> str:
    """Return why a daemon did not start, with its output and its log."""
    told = text_of(directory / "output") + text_of(directory / "log")
    return f"{process.args!r} did not start: {told}"


def text_of(path: Path) -> str:
    """Return the text of a file; "" if there is no such file."""
    return path.read_text(errors="replace") if path.exists() else ""


def listens(pid: int, *ports: int, everywhere: bool = True) -> bool:
    """
    Tell whether a process's network namespace listens on ports of all loopbacks.

    It reads /proc/PID/net, as a test connection would make the server act.
    """
    tables = ("tcp", "tcp6")[: len(loopbacks()) if everywhere else 1]
    return all(_listening_ports(pid, table).issuperset(ports) for table in tables)


def _listening_ports(pid: int, table: str) -> set[int]:
    rows = [row.split() for row in _table(pid, table)]
    listening = "0A"
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == listening}


def listening_sockets() -> set[str]:
    """Return the paths of the UNIX sockets on which processes listen."""
    rows = [row.split(maxsplit=7) for row in _table(os.getpid(), "unix")]
    listening = "00010000"
    return {row[7] for row in rows if len(row) == 8 and row[3] == listening}


def _table(pid: int, name: str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
    except OSError:
        # The process has ended, or the kernel has no such protocol (IPv6).
        return []

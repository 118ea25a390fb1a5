"""Client programs that use the command as their tunnel, and their home directories.

A client program runs the command as its user would have it: by a line in its settings,
or through a port that `tcpserver` listens on.  A `Place` is its home directory.  The
`tcpclient` in its PATH runs the command, and records the exit status and the stderr.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests import certificates, servers
from tests.command import COMMAND, PATIENCE, ROOT, Outcome, environment, finish, start
from tests.packages import find_program
from tests.servers.daemon import listening_sockets, make_directory, wait_until_ready
from tests.servers.daemon import start as daemon
from tests.servers.ucspi import TcpServer

#: Runs the command with this process's stdin and stdout, forwards the signals that a
#: client program may send to its tunnel, and records the status and stderr of the run.
RECORDER = """
import os, signal, subprocess, sys, tempfile
runs, root, command = sys.argv[1:4]
run = tempfile.mkdtemp(dir=runs)
with open(run + "/stderr", "wb") as stderr:
    child = subprocess.Popen(
        command.split() + sys.argv[4:],
        env={**os.environ, "PYTHONPATH": root},
        stderr=stderr,
        close_fds=False,
    )
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: child.send_signal(number))
    status = child.wait()
status = status if status >= 0 else 128 - status
with open(run + "/writing", "w") as file:
    file.write(str(status))
os.rename(run + "/writing", run + "/status")
sys.exit(status)
"""


@dataclass(frozen=True)
class Place:
    """The home directory of one client program."""

    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the client program.

        SERVERCA is the authority of the tests, so that the lines in settings are those
        that a user writes.
        """
        path = os.pathsep.join((str(self.directory / "bin"), os.environ["PATH"]))
        found = environment(
            HOME=str(self.directory),
            LC_ALL="C.UTF-8",
            PATH=path,
            SERVERCA=str(certificates.shared().ca),
            TERM="xterm",
        )
        # Client programs in Python must not import modules of the checkout.
        del found["PYTHONPATH"]
        return found

    def write(self, name: str, text: str) -> str:
        """Write a file that only its owner can read, and return its path."""
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    def start(self, program: str, *arguments: str, **how: Any) -> Any:
        """Start a client program here."""
        return start(
            *arguments,
            command=(program,),
            env=self.environment,
            cwd=self.directory,
            **how,
        )

    def run(self, program: str, *arguments: str, data: bytes = b"") -> Outcome:
        """Run a client program to its end."""
        return finish(self.start(program, *arguments), data)

    def tunnels(self, count: int = 1) -> list[Outcome]:
        """
        Wait until this many runs of the command have ended, and return their outcomes.
        """

        def ended() -> list[Path]:
            return list(self.directory.glob("runs/*/status"))

        servers.eventually(lambda: len(ended()) >= count, f"{count} runs to end")
        return [
            Outcome(
                int(status.read_text()),
                b"",
                (status.parent / "stderr").read_text(errors="replace"),
            )
            for status in ended()
        ]

    def gateway(self, *arguments: str) -> TcpServer:
        """
        Start a TCP port that runs `tcpclient` with these arguments, and return its
        server.
        """
        return servers.tcpserver(*self._command("tcpclient", *arguments))

    def socket(self, *arguments: str) -> Path:
        """
        Start a UNIX socket that runs `tcpclient` with these arguments, and return its
        path.
        """
        command = self._command("tcpclient", *arguments)
        return servers.unixserver(*command, options=("--",)).path

    def socat(self, *arguments: str) -> Path:
        """
        Start a UNIX socket of socat, which gives `tcpclient` one socket for stdin and
        stdout, and return its path.
        """
        socat = find_program("socat", "socat")
        directory = make_directory("socat")
        path = directory / "socket"
        ends = (f"UNIX-LISTEN:{path},fork", " ".join(("EXEC:tcpclient", *arguments)))
        process = daemon(directory, *self._command(socat, *ends))
        wait_until_ready(process, directory, lambda: str(path) in listening_sockets())
        return path

    def _command(self, *words: str) -> tuple[str, ...]:
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        return ("env", *variables, *words)


def place() -> Place:
    """Make a place; it is removed when the tests end."""
    shared = certificates.shared().directory
    directory = Path(tempfile.mkdtemp(prefix="client-", dir=shared))
    for name in ("bin", "runs"):
        (directory / name).mkdir()
    (directory / "recorder.py").write_text(RECORDER)
    recorder = (sys.executable, "-I", "-S", str(directory / "recorder.py"))
    words = " ".join((*recorder, str(directory / "runs"), str(ROOT)))
    tcpclient = directory / "bin" / "tcpclient"
    tcpclient.write_text(f"#!/bin/sh\nexec {words} '{' '.join(COMMAND)}' \"$@\"\n")
    tcpclient.chmod(0o755)
    return Place(directory)


def on_terminal(here: Place, *command: str) -> Outcome:
    """Run a program on a terminal of its own; `out` is what the terminal has shown."""
    master, slave = os.openpty()
    with os.fdopen(master, "rb", 0) as user:
        with os.fdopen(slave, "rb", 0) as terminal:
            arguments = ("--ctty", "--wait", *command)
            how = {"stdin": terminal, "stdout": terminal}
            process = here.start("setsid", *arguments, **how)
        shown = b""
        # Linux: read(2) of the master fails with EIO once no process has the slave
        # open.
        with contextlib.suppress(OSError):
            while select.select([user], [], [], PATIENCE)[0]:
                shown += os.read(user.fileno(), 65536)
    outcome = finish(process)
    return Outcome(outcome.status, shown, outcome.err)

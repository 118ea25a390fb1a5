"""
Processes of the command, forked from a process that has loaded its modules.

The nursery imports all that the command needs, once, and forks a child for each run.
So a run does not spend time on imports.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from tests.command import Outcome, environment

#: Seconds within which a run ends if its limits are a few seconds, on a busy machine
#: too.
SOON = 45.0

#: The program of the nursery.  Each line of its stdin is a request in JSON: the
#: arguments of the command, and the folder of its stdin, stdout and stderr.
_NURSERY = """
import json, os, sys
from twisted_tcpclient import __main__, endpoints, tls
from twisted_tcpclient.command import console
from twisted_tcpclient.names import resolver, reverse
from twisted_tcpclient.stages import handshake, negotiation
from twisted_tcpclient.tls import creator
print("ready", flush=True)
for line in sys.stdin:
    words, folder = json.loads(line)
    pid = os.fork()
    if not pid:
        os.dup2(os.open(f"{folder}/in", os.O_RDONLY), 0)
        os.dup2(os.open(f"{folder}/out", os.O_WRONLY | os.O_CREAT), 1)
        os.dup2(os.open(f"{folder}/err", os.O_WRONLY | os.O_CREAT), 2)
        sys.argv[1:] = words
        status = 99
        try:
            status = __main__.main()
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(status, flush=True)
"""


class Nursery:
    """A process that runs the command for one request at a time."""

    def __init__(self, call: Callable[..., Any]) -> None:
        """
        :param call: Calls a function in the network namespace where commands are to
            run.
        """
        self._process: subprocess.Popen[str] = call(
            subprocess.Popen,
            (sys.executable, "-c", _NURSERY),
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self.close)
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def run(self, *arguments: str, data: bytes = b"") -> Outcome:
        """
        Run the command with `data` as its stdin; fail if it takes longer than `SOON`.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="nursery-") as folder:
            (Path(folder) / "in").write_bytes(data)
            request = json.dumps((arguments, folder))
            print(request, file=self._process.stdin, flush=True)
            status = int(self._process.stdout.readline())
            took = time.monotonic() - began
            assert took < SOON, f"{arguments} took {took} s"
            out, err = (Path(folder) / name for name in ("out", "err"))
            return Outcome(status, out.read_bytes(), err.read_text())

    def close(self) -> None:
        """Close the stdin of the nursery and wait until it has exited."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Nurseries:
    """A pool of nurseries that makes a new one when all are busy."""

    def __init__(self, call: Callable[..., Any]) -> None:
        """
        :param call: Calls a function in the network namespace where commands are to
            run.
        """
        self._call = call
        self._idle: SimpleQueue[Nursery] = SimpleQueue()

    @contextlib.contextmanager
    def _one(self) -> Iterator[Nursery]:
        try:
            nursery = self._idle.get_nowait()
        except Empty:
            nursery = Nursery(self._call)
        yield nursery
        # A nursery whose run has failed does not get here, so it is not used again.
        self._idle.put(nursery)

    def run(self, *arguments: str, data: bytes = b"") -> Outcome:
        """
        Run the command with `data` as its stdin; fail if it takes longer than `SOON`.
        """
        with self._one() as nursery:
            return nursery.run(*arguments, data=data)

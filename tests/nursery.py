"""The command many times over, without the price of loading it each time.

A nursery has loaded all that the command needs, and makes a child for each run: a
process of its own that begins where the imports are done, after half a second of work
that each `python -m twisted_tcpclient` has to do.  All else is the same: argv, the
environment, the working directory, the descriptors 0 to 2 and no others, and a session
of its own.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

#: How long all arguments of a command may be, in bytes: the kernel takes 200 KB for
#: one message, and they travel as JSON.
LARGEST_REQUEST = 50_000

_NURSERY = """
import json, os, select, socket, sys
from twisted_tcpclient import __main__, endpoints, tls
from twisted_tcpclient.command import console
from twisted_tcpclient.names import resolver, reverse
from twisted_tcpclient.stages import handshake, negotiation
from twisted_tcpclient.tls import creator
channel = socket.socket(fileno=int(sys.argv[1]))
running = {}
while True:
    ready = select.select([channel, *running], [], [])[0]
    for pidfd in set(ready) - {channel}:
        pid, answer = running.pop(pidfd)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        try:
            os.write(answer, b"%d" % status)
        except BrokenPipeError:
            pass
        os.close(answer)
        os.close(pidfd)
    if channel not in ready:
        continue
    request, descriptors, _, _ = socket.recv_fds(channel, 1 << 18, 4)
    if not request:
        sys.exit()
    words, folder = json.loads(request)
    pid = os.fork()
    if not pid:
        os.setsid()
        os.chdir(folder)
        for number in range(3):
            os.dup2(descriptors[number], number)
        os.closerange(3, 1 << 20)
        sys.argv[1:] = map(os.fsdecode, map(bytes.fromhex, words))
        sys.exit(__main__.main())
    *given, answer = descriptors
    for descriptor in given:
        os.close(descriptor)
    running[os.pidfd_open(pid)] = pid, answer
    os.write(answer, b"%d" % pid)
"""


class Hangs(Exception):
    """A command that does not end: its output so far."""

    def __init__(self, out: bytes, err: bytes) -> None:
        """Have what it wrote on stdout and on stderr."""
        super().__init__(out, err)
        self.out, self.err = out, err


def call(function: Callable[..., Any], *arguments: Any, **how: Any) -> Any:
    """Call a function here."""
    return function(*arguments, **how)


class Nursery:
    """A process that makes children.  Threads may share it."""

    def __init__(self, env: Mapping[str, str], call: Callable[..., Any] = call) -> None:
        """Start it.

        :param env: the environment of the commands.
        :param call: calls a function where the commands are to be.
        """
        self._channel, other = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with other:
            self._process: subprocess.Popen[bytes] = call(
                subprocess.Popen,
                (sys.executable, "-c", _NURSERY, str(other.fileno())),
                env=env,
                stdin=subprocess.DEVNULL,
                pass_fds=(other.fileno(),),
                start_new_session=True,
            )
        atexit.register(self._end)

    def _end(self) -> None:
        self._channel.close()
        self._process.wait()

    def run(
        self, *arguments: str, data: bytes | None, patience: float
    ) -> tuple[int, bytes, bytes]:
        """Run the command to its end; return its status, and what it has written.

        :param data: the input; None to keep stdin open as long as the command runs.
        :param patience: in seconds.
        :raises Hangs: that was not long enough; the command has been killed.
        """
        stdin, writer = os.pipe()
        (out_reader, stdout), (err_reader, stderr) = os.pipe(), os.pipe()
        answer, other = socket.socketpair(type=socket.SOCK_SEQPACKET)
        given = (stdin, stdout, stderr, other.detach())
        self._request(arguments, given)
        for descriptor in given:
            os.close(descriptor)
        with answer, contextlib.ExitStack() as held, ThreadPoolExecutor(3) as pool:
            answer.settimeout(patience)
            pid = int(answer.recv(100))
            out, err = (pool.submit(read, each) for each in (out_reader, err_reader))
            if data is None:
                held.callback(os.close, writer)
            else:
                pool.submit(write, writer, data)
            try:
                status = int(answer.recv(100))
            except TimeoutError:
                os.killpg(pid, signal.SIGKILL)
                raise Hangs(out.result(patience), err.result(patience)) from None
            return status, out.result(patience), err.result(patience)

    def _request(
        self, arguments: tuple[str, ...], descriptors: tuple[int, ...]
    ) -> None:
        words = [os.fsencode(word).hex() for word in arguments]
        request = json.dumps((words, os.getcwd())).encode()
        socket.send_fds(self._channel, [request], descriptors)


def read(descriptor: int) -> bytes:
    """Read all until the end, and close."""
    with open(descriptor, "rb") as file:
        return file.read()


def write(descriptor: int, data: bytes) -> None:
    """Write all, as far as it is read, and close."""
    with contextlib.suppress(BrokenPipeError), open(descriptor, "wb", 0) as file:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]

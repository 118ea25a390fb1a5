"""
Processes of the command, forked from a process that has loaded its modules.

The nursery imports all that the command needs, once, and forks a child for each run.
So a run does not spend half a second of CPU time on imports.  All else is as with
``python -m twisted_tcpclient``: argv, the environment, the working directory, the
descriptors 0 to 2 and no others, and a session of its own.
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
from typing import IO, Any

#: The most bytes of arguments in a request.  They are sent as hexadecimal JSON in one
#: message, and the kernel refuses messages of more than about 200 KB (EMSGSIZE).
LARGEST_REQUEST = 50_000

#: The program of the nursery.  A request is one message with the arguments, the working
#: directory, and four descriptors: stdin, stdout, stderr, and a socket to which the
#: process id goes and, when the child has exited, its status.
_NURSERY = """
import json, os, select, socket, sys
from twisted.internet import epollreactor
from twisted_tcpclient import __main__, endpoints, tls
from twisted_tcpclient.command import console
from twisted_tcpclient.names import resolver, reverse
from twisted_tcpclient.stages import handshake, negotiation
from twisted_tcpclient.tls import creator, records
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


def call(function: Callable[..., Any], *arguments: Any, **how: Any) -> Any:
    """Call a function in the caller's own namespaces."""
    return function(*arguments, **how)


class Nursery:
    """A process that forks commands.  Threads may share it."""

    def __init__(self, env: Mapping[str, str], call: Callable[..., Any] = call) -> None:
        """
        Start the process.

        :param env: The environment of the commands.
        :param call: Calls a function in the network namespace where commands are to
            run.
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

    def start(self, *arguments: str, stdin: Any = subprocess.PIPE) -> Child:
        """
        Start the command.

        :param stdin: PIPE, a descriptor or a file, as for `subprocess.Popen`.
        """
        writer = None
        if stdin == subprocess.PIPE:
            reader, writer = os.pipe()
        else:
            reader = os.dup(stdin if isinstance(stdin, int) else stdin.fileno())
        (out, stdout), (err, stderr) = os.pipe(), os.pipe()
        answer, other = socket.socketpair(type=socket.SOCK_SEQPACKET)
        given = (reader, stdout, stderr, other.detach())
        words = [os.fsencode(word).hex() for word in arguments]
        request = json.dumps((words, os.getcwd())).encode()
        socket.send_fds(self._channel, [request], given)
        for descriptor in given:
            os.close(descriptor)
        return Child(arguments, answer, writer, out, err)


class Child:
    """A command that a nursery has started: some of `subprocess.Popen`."""

    def __init__(
        self,
        arguments: tuple[str, ...],
        answer: socket.socket,
        stdin: int | None,
        stdout: int,
        stderr: int,
    ) -> None:
        """
        Wait for the process id.

        :param answer: The socket that the process id comes from, and then the status.
        """
        self.args = arguments
        self.stdin = None if stdin is None else os.fdopen(stdin, "wb")
        self.stdout, self.stderr = os.fdopen(stdout, "rb"), os.fdopen(stderr, "rb")
        self._answer = answer
        self.pid = int(answer.recv(100))

    def wait(self, timeout: float) -> int:
        """
        Wait for the end of the process, once, and return its status.

        :param timeout: Seconds.
        :raises subprocess.TimeoutExpired: if it is still running then.
        """
        self._answer.settimeout(timeout)
        try:
            with self._answer:
                return int(self._answer.recv(100))
        except TimeoutError:
            raise subprocess.TimeoutExpired(self.args, timeout) from None

    def kill(self) -> None:
        """Kill the process and its process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def communicate(
        self, data: bytes | None, timeout: float
    ) -> tuple[int, bytes, bytes]:
        """
        Send the input, and return the status, stdout and stderr.

        :param data: The input; None keeps stdin open until the command has exited.
        :param timeout: Seconds.
        :raises subprocess.TimeoutExpired: if the command is still running then; it is
            killed, and the error has its output.
        """
        stdin: Any = contextlib.nullcontext() if self.stdin is None else self.stdin
        with stdin, self.stdout, self.stderr, ThreadPoolExecutor(3) as pool:
            out, err = pool.submit(self.stdout.read), pool.submit(self.stderr.read)
            if self.stdin is not None and data is not None:
                pool.submit(write, self.stdin, data)
            try:
                status = self.wait(timeout)
            except subprocess.TimeoutExpired as expired:
                self.kill()
                expired.output, expired.stderr = out.result(), err.result()
                raise
            return status, out.result(timeout), err.result(timeout)


def write(file: IO[bytes], data: bytes) -> None:
    """Write data until the reader has closed, and close the file."""
    with contextlib.suppress(BrokenPipeError), file:
        file.write(data)

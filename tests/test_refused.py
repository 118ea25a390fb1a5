"""Calls that the kernel refuses or does not have: then bytes are copied."""

from __future__ import annotations

import errno
import functools
import itertools
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests import seccomp
from tests.command import (
    COMMAND,
    PATIENCE,
    TCP,
    UNIX,
    Outcome,
    Peer,
    finish,
    run,
    start,
    together,
)
from tests.test_pumps import PumpTestCase, digest, text
from twisted_tcpclient.relay.access import write_to
from twisted_tcpclient.relay.movers import Copy, Splice
from twisted_tcpclient.relay.pump import Pump
from twisted_tcpclient.relay.watch import Polled

#: The errors of calls that a kernel does not have, or a filter forbids.
ERRORS = (
    "EPERM",
    "EACCES",
    "ENOSYS",
    "EINVAL",
    "ENOMEM",
    "EOVERFLOW",
    "EIO",
    "EBADF",
    "EOPNOTSUPP",
    "ESPIPE",
)

#: Not a multiple of any size of buffers, and more than one call moves.
SIZE = 700_001


def swap(peer: Peer, answer: bytes) -> bytes:
    """Send an answer while the question comes, end, and return the question."""
    received = peer.exchange(answer)
    peer.finish()
    return received


class FilterTests(SynchronousTestCase):
    """A seccomp filter that forbids splice or sendfile."""

    def check(self, name: str, calls: str, source: str) -> None:
        """Assert that all bytes arrive, both ways."""
        question, answer = text(SIZE), text(SIZE + 1)
        under = (sys.executable, "-m", "tests.seccomp", name, calls)
        with (
            TCP.serve(lambda peer: swap(peer, answer)) as server,
            tempfile.TemporaryFile(buffering=0) as file,
        ):
            file.write(question)
            file.seek(0)
            if source == "file":
                how: dict[str, Any] = {"stdin": file}
            else:
                how = {"data": question}
            outcome = run(*server.arguments, command=(*under, *COMMAND), **how)
            self.assertEqual((outcome.status, outcome.err), (0, ""))
            self.assertEqual(digest(outcome.out), digest(answer))
            self.assertEqual(digest(server.result()), digest(question))

    def test_refused(self) -> None:
        """All bytes arrive, whatever errno the filter returns."""
        if not seccomp.supported():
            raise SkipTest("the numbers of system calls are not known here")
        together(
            {
                f"{name} {calls} {source}": functools.partial(
                    self.check, name, calls, source
                )
                for name in ("EPERM", "ENOSYS", "EINVAL")
                for calls, source in (
                    ("splice,sendfile", "pipe"),
                    ("splice,sendfile", "file"),
                    ("sendfile", "file"),
                )
            },
            2,
        )

    def test_works(self) -> None:
        """The filter makes a call fail."""
        if not seccomp.supported():
            raise SkipTest("the numbers of system calls are not known here")
        splice = "import os; r, w = os.pipe(); os.splice(r, w, 1)"
        command = (sys.executable, "-m", "tests.seccomp", "EXDEV", "splice")
        outcome = run("-c", splice, command=(*command, sys.executable))
        self.assertEqual((outcome.status, outcome.out), (1, b""))
        self.assertIn(os.strerror(errno.EXDEV), outcome.err)


class Failing:
    """A call that fails from some time on."""

    def __init__(self, call: Callable[..., int], name: str, after: int) -> None:
        self._call = call
        self._name = name
        self._after = after

    def __call__(self, *arguments: Any, **how: Any) -> int:
        """Call, or fail."""
        self._after -= 1
        if self._after < 0:
            number = getattr(errno, self._name)
            raise OSError(number, os.strerror(number))
        return self._call(*arguments, **how)


class ErrorTests(PumpTestCase):
    """Calls that succeed for a while, and then fail."""

    async def check(self, name: str, after: int, source: str) -> None:
        """Assert that all bytes arrive once and in order."""
        question, answer = text(SIZE), text(SIZE + 1)
        self.patch(os, "splice", Failing(SPLICE, name, after))
        self.patch(os, "sendfile", Failing(SENDFILE, name, after))
        for kind in (TCP, UNIX):
            with kind.serve(lambda peer: swap(peer, answer)) as server:
                reading = getattr(self, f"from_{source}")(question)
                writing, drained = self.to_pipe()
                error = await self.relay(kind, server, reading, writing, True)
                self.assertIsNone(error, (name, after))
                self.assertEqual(digest(server.result()), digest(question))
            self.assertEqual(digest(drained.result(PATIENCE)), digest(answer))

    async def test_each(self) -> None:
        """All bytes arrive with each errno, at the first call and at later ones."""
        for number, name in enumerate(ERRORS):
            for after in (0, 1, 2, 3 + number):
                await self.check(name, after, ("pipe", "file")[number % 2])

    def pump(self, source: socket.socket) -> list[Exception | None]:
        """Return how a pump ends that splices from a socket."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        source.setblocking(False)

        def receive() -> list[bytes]:
            data = source.recv(1000)
            if not data:
                raise EOFError
            return [data]

        copy = Copy(receive, write_to(writing))
        watch = Polled(MemoryReactor(), source.fileno(), self.fail, self.fail)
        ended: list[Exception | None] = []
        splice = Splice(source.fileno(), writing, copy, os.pipe())
        pump = Pump(splice, watch, watch, watch, ended.append, self.fail)
        pump.turn()
        pump.turn()
        pump.stop()
        return ended

    def test_reset(self) -> None:
        """A RST that the kernel reports to splice is an error; FIN is not."""
        for reset in (True, False):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                client = socket.create_connection(listener.getsockname())
                peer = Peer(listener.accept()[0])
            with client:
                (peer.reset if reset else peer.socket.close)()
                (error,) = self.pump(client)
            if reset:
                self.assertIsInstance(error, ConnectionResetError)
            else:
                self.assertIsNone(error)


SPLICE, SENDFILE = os.splice, os.sendfile


#: Chunks, each with whether its last byte is urgent.
Parts = tuple[tuple[bytes, bool], ...]


class UrgentTests(PumpTestCase):
    """Urgent data of TCP: splice stops at it, and recv(2) leaves it out (RFC 6093)."""

    PARTS: tuple[Parts, ...] = (
        ((b"abc", False), (b"!", True), (b"x" * 100_000, False)),
        ((b"!", True), (b"x" * 100_000, False)),
        ((b"x" * 300_000, False), (b"!", True)),
        ((b"!", True),),
        ((b"abc!", True), (b"abc?", True), (b"abc", False)),
        tuple((b"abc", urgent) for urgent in (True, False) * 20),
    )

    @staticmethod
    def say(sender: socket.socket, parts: Parts) -> bytes:
        """Send the chunks, and return their bytes."""
        for data, urgent in parts:
            if urgent:
                sender.sendall(data[:-1])
                sender.send(data[-1:], socket.MSG_OOB)
            else:
                sender.sendall(data)
        return b"".join(data for data, _ in parts)

    def finish(self, sender: socket.socket, parts: Parts) -> None:
        """Send the chunks, and FIN."""
        self.say(sender, parts)
        sender.shutdown(socket.SHUT_WR)

    async def test_download(self) -> None:
        """All that a server sends arrives, spliced or copied."""

        def speak(parts: Parts, peer: Peer) -> bytes:
            said = self.say(peer.socket, parts)
            peer.half_close()
            peer.rest()
            return said

        for parts, fast in itertools.product(self.PARTS, (True, False)):
            reading, hold = os.pipe()
            writing, drained = self.to_pipe()
            with TCP.serve(functools.partial(speak, parts)) as server:
                error = await self.relay(TCP, server, reading, writing, fast)
                self.assertIsNone(error)
                said = server.result()
            os.close(hold)
            self.assertEqual(digest(drained.result(PATIENCE)), digest(said))

    def test_described(self) -> None:
        """It arrives with -E, where Twisted reads."""

        def speak(parts: Parts, peer: Peer) -> bytes:
            said = self.say(peer.socket, parts)
            peer.finish()
            return said

        for parts in self.PARTS:
            with TCP.serve(functools.partial(speak, parts)) as server:
                port = server.arguments[-1]
                outcome = run("-E", f"tcp:127.0.0.1:{port}", stdin=subprocess.DEVNULL)
                said = server.result()
            self.assertEqual((outcome.status, outcome.err), (0, ""))
            self.assertEqual(digest(outcome.out), digest(said))

    def test_open(self) -> None:
        """It arrives before the next byte, while the connection stays open."""

        def speak(peer: Peer) -> bytes:
            self.say(peer.socket, ((b"abc", False), (b"!", True)))
            return peer.exactly(4)

        with TCP.serve(speak) as server:
            # The command reads from the pipe that it writes to: bytes come back.
            reading, writing = os.pipe()
            process = start(*server.arguments, stdin=reading, stdout=writing)
            self.assertEqual(server.result(), b"abc!")
            os.close(reading)
            os.close(writing)
            self.assertEqual(finish(process), Outcome(0, b"", ""))

    def upload(self, blocking: bool) -> None:
        """Assert that a socket on stdin is sent in whole, and stays as it was."""
        for parts in self.PARTS:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                theirs = socket.create_connection(listener.getsockname())
                ours, _ = listener.accept()
            with ours, theirs, TCP.serve(lambda peer: swap(peer, b"")) as server:
                theirs.setblocking(blocking)
                self.say(ours, parts[:1])
                self.pool.submit(self.finish, ours, parts[1:])
                outcome = run(*server.arguments, stdin=theirs)
                self.assertEqual(outcome, Outcome(0, b"", ""))
                sent = b"".join(data for data, _ in parts)
                self.assertEqual(digest(server.result()), digest(sent))
                option = theirs.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE)
                self.assertEqual((option, theirs.getblocking()), (0, blocking))

    def test_upload(self) -> None:
        """A socket on stdin is sent in whole, in blocking mode or not."""
        self.upload(True)
        self.upload(False)

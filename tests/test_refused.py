"""What the kernel refuses to do, or does not do at all: then bytes are copied."""

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

#: What a kernel or a filter may say of a call that it does not have, or let be made.
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

#: Not a multiple of anything, and more than is moved at a time.
SIZE = 700_001


def swap(peer: Peer, answer: bytes) -> bytes:
    """Send an answer while the question comes, and then end."""
    received = peer.exchange(answer)
    peer.finish()
    return received


class FilterTests(SynchronousTestCase):
    """A filter of seccomp forbids what would be fastest."""

    def check(self, name: str, calls: str, source: str) -> None:
        """All is sent, and all arrives."""
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
        """Whatever it answers, from a pipe or a file, in both directions."""
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
        """The filter does forbid what it is told to."""
        if not seccomp.supported():
            raise SkipTest("the numbers of system calls are not known here")
        splice = "import os; r, w = os.pipe(); os.splice(r, w, 1)"
        command = (sys.executable, "-m", "tests.seccomp", "EXDEV", "splice")
        outcome = run("-c", splice, command=(*command, sys.executable))
        self.assertEqual((outcome.status, outcome.out), (1, b""))
        self.assertIn(os.strerror(errno.EXDEV), outcome.err)


class Failing:
    """A call that fails for once, or from then on."""

    def __init__(self, call: Callable[..., int], name: str, after: int) -> None:
        self._call = call
        self._name = name
        self._after = after

    def __call__(self, *arguments: Any, **how: Any) -> int:
        """Do it, or fail."""
        self._after -= 1
        if self._after < 0:
            number = getattr(errno, self._name)
            raise OSError(number, os.strerror(number))
        return self._call(*arguments, **how)


class ErrorTests(PumpTestCase):
    """The kernel does it for a while, and then does not, for whatever reason."""

    async def check(self, name: str, after: int, source: str) -> None:
        """All is sent, and all arrives, once and in order."""
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
        """Each of these errors, at the first call and at later ones."""
        for number, name in enumerate(ERRORS):
            for after in (0, 1, 2, 3 + number):
                await self.check(name, after, ("pipe", "file")[number % 2])

    def pump(self, source: socket.socket) -> list[Exception | None]:
        """How a pump ends that splices from there."""
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
        """
        The end of a connection is told as it is: of a reset the kernel tells splice,
        and would tell a copy that there is an end in good order.
        """
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


#: What is sent, and whether the last byte of it is urgent.
Parts = tuple[tuple[bytes, bool], ...]


class UrgentTests(PumpTestCase):
    """
    Urgent data of TCP, at which splice stops, and which recv leaves out unless it is
    told not to (RFC 6093).
    """

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
        """Send that, and return it."""
        for data, urgent in parts:
            if urgent:
                sender.sendall(data[:-1])
                sender.send(data[-1:], socket.MSG_OOB)
            else:
                sender.sendall(data)
        return b"".join(data for data, _ in parts)

    def finish(self, sender: socket.socket, parts: Parts) -> None:
        """Send that, and no more."""
        self.say(sender, parts)
        sender.shutdown(socket.SHUT_WR)

    async def test_download(self) -> None:
        """What a server sends arrives in whole, spliced or copied."""

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
        """It arrives with -E as well, where Twisted reads."""

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
        """It arrives though nothing comes after it, and the connection stays open."""

        def speak(peer: Peer) -> bytes:
            self.say(peer.socket, ((b"abc", False), (b"!", True)))
            return peer.exactly(4)

        with TCP.serve(speak) as server:
            # What is written is what is read, so that it comes back.
            reading, writing = os.pipe()
            process = start(*server.arguments, stdin=reading, stdout=writing)
            self.assertEqual(server.result(), b"abc!")
            os.close(reading)
            os.close(writing)
            self.assertEqual(finish(process), Outcome(0, b"", ""))

    def upload(self, blocking: bool) -> None:
        """A socket on stdin is sent in whole, and stays as it was."""
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
        """In blocking mode or not."""
        self.upload(True)
        self.upload(False)

"""
Descriptors that other processes share: the command reads and writes them without
blocking, and leaves them as they were.
"""

from __future__ import annotations

import errno
import functools
import os
import socket
import tempfile
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.command import (
    PATIENCE,
    TCP,
    TLS,
    Kind,
    Outcome,
    Peer,
    every,
    finish,
    kill,
    run,
    start,
    terminal,
)
from tests.test_pumps import MIB, digest, text
from twisted_tcpclient.relay import access, descriptors
from twisted_tcpclient.relay.access import read_from, write_to
from twisted_tcpclient.relay.descriptors import CHUNK, output, source

REPLY = b"reply\n" * 1000


def answer(peer: Peer) -> bytes:
    """Read a question to its end, reply, and return the question."""
    question = peer.rest()
    peer.send(REPLY)
    peer.finish()
    return question


@contextmanager
def fifo() -> Iterator[tuple[int, int]]:
    """Make a FIFO: an end to read from, and one to write to."""
    with tempfile.TemporaryDirectory() as directory:
        name = f"{directory}/fifo"
        os.mkfifo(name)
        both = os.open(name, os.O_RDWR)
        reading = os.open(name, os.O_RDONLY)
        writing = os.open(name, os.O_WRONLY)
        os.close(both)
        yield reading, writing


class Ready:
    """A poll(2) that reports input which another process takes just after."""

    def register(self, fd: int, events: int) -> None:
        """Ignore the descriptor."""

    def poll(self, timeout: int) -> list[int]:
        """Report input."""
        return [1]


class RaceTests(SynchronousTestCase):
    """Input that another process takes between poll(2) and read(2)."""

    def waits(self, fd: int, anew: bool = True) -> None:
        """Assert that reading does not block, and leaves the descriptor as it was."""
        opened = source(fd)
        self.assertEqual(os.get_blocking(opened.fd), not anew)
        self.patch(access, "poll", Ready)
        self.assertRaises(BlockingIOError, read_from(opened.fd))
        os.close(opened.fd)
        opened.restore()
        self.assertTrue(os.get_blocking(fd))

    def test_pipe(self) -> None:
        """Reading a pipe or a FIFO does not block."""
        reading, writing = os.pipe()
        self.waits(reading)
        for end in (reading, writing):
            os.close(end)
        with fifo() as (reading, writing):
            self.waits(reading)
            os.close(reading)
            os.close(writing)

    def test_terminal(self) -> None:
        """Reading a terminal does not block."""
        with terminal() as (_, slave):
            self.waits(slave)

    def test_socket(self) -> None:
        """Reading a socket does not block, and does not set O_NONBLOCK."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.waits(ours.fileno(), anew=False)

    def test_without_proc(self) -> None:
        """Reading a pipe does not block in a chroot without /proc."""
        self.patch(descriptors.os, "open", refuse)  # type: ignore[attr-defined]
        reading, writing = os.pipe()
        try:
            os.preadv(reading, [bytearray(1)], -1, os.RWF_NOWAIT)
        except BlockingIOError:
            self.waits(reading, anew=False)
        except OSError:
            raise SkipTest("this kernel has no RWF_NOWAIT for pipes") from None
        finally:
            os.close(reading)
            os.close(writing)

    def test_two(self) -> None:
        """Two commands that read one pipe send each line once, and both see the end."""

        def check(kind: Kind) -> None:
            lines = [b"%d\n" % number for number in range(2000)]
            with kind.serve(answer) as server:
                reading, writing = os.pipe()
                processes = [start(*server.arguments, stdin=reading) for _ in range(2)]
                os.close(reading)
                for line in lines:
                    os.write(writing, line)
                os.close(writing)
                for process in processes:
                    self.assertEqual(finish(process), Outcome(0, REPLY, ""))
                both = server.result() + server.result()
            self.assertEqual(sorted(both), sorted(b"".join(lines)))

        every(check, TCP, TLS)


def refuse(*arguments: Any) -> int:
    """Fail to open a file."""
    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))


class EndTests(SynchronousTestCase):
    """The end of a pipe is seen, before and after the command starts."""

    def check(self, pipe: Callable[[], Any], late: bool) -> None:
        """Assert that the input is sent, and then its end."""

        def session(kind: Kind) -> None:
            with pipe() as (reading, writing), kind.serve(answer) as server:
                os.write(writing, b"question")
                if not late:
                    os.close(writing)
                process = start(*server.arguments, stdin=reading)
                os.close(reading)
                if late:
                    os.close(writing)
                self.assertEqual(finish(process), Outcome(0, REPLY, ""))
                self.assertEqual(server.result(), b"question")

        every(session, TCP, TLS)

    def test_pipe(self) -> None:
        """The end of a pipe is seen."""
        self.check(anonymous, False)
        self.check(anonymous, True)

    def test_fifo(self) -> None:
        """
        The same for a FIFO: poll(2) never reports the end of one that had no writer
        when it was opened (fifo(7)).
        """
        self.check(fifo, False)
        self.check(fifo, True)

    def test_other_end(self) -> None:
        """The wrong end of a pipe is not opened anew: EBADF stays."""
        reading, writing = os.pipe()
        for opened, use in (
            (source(writing), lambda fd: os.read(fd, 1)),
            (output(reading), lambda fd: os.write(fd, b"x")),
        ):
            with self.assertRaises(OSError) as raised:
                use(opened.fd)
            self.assertEqual(raised.exception.errno, errno.EBADF)
            os.close(opened.fd)
        for end in (reading, writing):
            os.close(end)


@contextmanager
def anonymous() -> Iterator[tuple[int, int]]:
    """Make a pipe."""
    yield os.pipe()


class MasterTests(SynchronousTestCase):
    """The master of a pseudo-terminal: /dev/ptmx opens another one."""

    def test_output(self) -> None:
        """Output to a master reaches its slave; the master blocks afterwards."""

        def check(kind: Kind) -> None:
            with terminal() as (master, slave), kind.serve(answer) as server:
                tty.setraw(slave)
                process = start(*server.arguments, stdout=master)
                assert process.stdin is not None
                process.stdin.close()
                process.stdin = None
                received = b""
                while len(received) < len(REPLY):
                    received += os.read(slave, 4096)
                self.assertEqual(finish(process), Outcome(0, b"", ""))
                self.assertEqual(received, REPLY)
                self.assertTrue(os.get_blocking(master))

        every(check, TCP, TLS)

    def test_input(self) -> None:
        """The input ends when the last slave is closed (EIO on Linux)."""

        def check(kind: Kind) -> None:
            master, slave = os.openpty()
            tty.setraw(slave)
            with kind.serve(answer) as server:
                os.write(slave, b"question")
                process = start(*server.arguments, stdin=master)
                os.close(slave)
                self.assertEqual(finish(process), Outcome(0, REPLY, ""))
                self.assertEqual(server.result(), b"question")
            os.close(master)

        every(check, TCP, TLS)

    def test_anew(self) -> None:
        """A slave is opened anew; a master is not."""
        with terminal() as (master, slave):
            for fd, anew in ((slave, True), (master, False)):
                for opened in (source(fd), output(fd)):
                    os.set_blocking(fd, True)
                    # O_NONBLOCK belongs to the open file description.
                    self.assertEqual(os.get_blocking(opened.fd), not anew)
                    os.close(opened.fd)
                    opened.restore()


class ModeTests(SynchronousTestCase):
    """O_NONBLOCK, which all processes share that have the description."""

    def test_restored(self) -> None:
        """Two outputs of one description leave it as it was, in any order."""
        for blocking in (True, False):
            for order in (0, 1):
                with terminal() as (master, _):
                    os.set_blocking(master, blocking)
                    outputs = [output(master), output(master)]
                    for ended in (outputs[order], outputs[1 - order]):
                        os.close(ended.fd)
                        ended.restore()
                    self.assertEqual(os.get_blocking(master), blocking)

    def test_socket(self) -> None:
        """A socket on stdout stays in blocking mode, and a full one does not block."""

        def check(kind: Kind) -> None:
            def pour(peer: Peer) -> None:
                peer.send_until_still(bytes(64 * MIB))
                full.set()
                peer.gone()

            full = threading.Event()
            ours, theirs = socket.socketpair()
            with ours, theirs, kind.serve(pour) as server:
                process = start(*server.arguments, stdout=theirs)
                self.addCleanup(kill, process)
                self.assertTrue(full.wait(PATIENCE))
                self.assertTrue(os.get_blocking(theirs.fileno()))
                process.terminate()
                self.assertEqual(process.wait(PATIENCE), 143)
                process.communicate()
                self.assertTrue(os.get_blocking(theirs.fileno()))

        every(check, TCP, TLS)

    def test_full(self) -> None:
        """A full socket in blocking mode does not block."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            write = write_to(ours.fileno())
            self.assertGreater(write([bytes(CHUNK)] * 4), 0)
            with self.assertRaises(BlockingIOError):
                while True:
                    write([bytes(CHUNK)])


class DirectTests(SynchronousTestCase):
    """Files that are open with O_DIRECT, which demands aligned memory."""

    def check(self, size: int, kind: Kind, *options: str) -> None:
        """Assert that all of a file is sent."""
        data = text(size) if size else b""
        with tempfile.NamedTemporaryFile(buffering=0) as file:
            file.write(data)
            with kind.serve(answer) as server:
                with open(direct(file.name), "rb", buffering=0) as stdin:
                    outcome = run(*options, *server.arguments, stdin=stdin)
                self.assertEqual(outcome, Outcome(0, REPLY, ""))
                self.assertEqual(digest(server.result()), digest(data))

    def test_sizes(self) -> None:
        """A file of any size is sent, over TCP and TLS."""
        for size in (0, 1, 4096, 3 * CHUNK + 17):
            every(functools.partial(self.check, size), TCP, TLS)

    def test_offset(self) -> None:
        """From an unaligned offset it is sent, or that is an error."""
        with tempfile.NamedTemporaryFile(buffering=0) as file:
            data = text(MIB)
            file.write(data)
            with TCP.serve(answer) as server:
                with open(direct(file.name), "rb", buffering=0) as stdin:
                    stdin.seek(7)
                    outcome = run(*server.arguments, stdin=stdin)
                if outcome.status == 0:
                    self.assertEqual(digest(server.result()), digest(data[7:]))
                else:
                    self.assertEqual(
                        outcome.complaint(),
                        "unable to read standard input: invalid argument",
                    )


def direct(name: str) -> int:
    """Open a file with O_DIRECT, or skip the test."""
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECT)
    except OSError:
        raise SkipTest("this file system has no O_DIRECT") from None

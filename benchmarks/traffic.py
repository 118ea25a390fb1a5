"""
Both ends of what is measured: servers, and who fills and empties the pipes.

Each is a process of its own, forked from the benchmark, and made to cost less
than whoever is measured: what is sent is one block over and over, what arrives
in clear is thrown away in the kernel (MSG_TRUNC), pipes are filled and emptied by
splice.  They count every byte; with ``digest`` they read what arrives and hash
it, which is for runs that are not timed.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import socket
import ssl
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from fcntl import ioctl
from functools import cache
from pathlib import Path
from struct import pack
from termios import TIOCOUTQ
from typing import Any

from benchmarks import prog
from benchmarks.measure import PATIENCE

HOST = "127.0.0.1"

#: A prime, so that a block that is lost or doubled shows.  It is small enough to
#: stay in the cache of a CPU.
BLOCK = 1_048_583

_FORK = multiprocessing.get_context("fork")


class NotExact(Exception):
    """Other bytes arrived than were sent, or nothing at all."""


@cache
def block() -> bytes:
    """
    What is sent, over and over: the same in every process.

    No byte of it is a letter: s_client takes some for commands.
    """
    noise = random.Random(BLOCK).randbytes(BLOCK)
    return noise.translate(bytes(i & 0x3F for i in range(256)))


def digest_of(size: int) -> str:
    """The SHA-256 of so many bytes of what is sent."""
    found = hashlib.sha256()
    for _ in range(size // BLOCK):
        found.update(block())
    found.update(block()[: size % BLOCK])
    return found.hexdigest()


@dataclass(frozen=True)
class Account:
    """
    What somebody has sent or received.

    :ivar began: when the connection was accepted, on the monotonic clock.
    :ivar ended: when all was done.
    :ivar cpu: CPU seconds.
    :ivar digest: SHA-256 of what was received, if asked for.
    """

    began: float
    ended: float
    count: int
    cpu: float
    digest: str = ""


# Processes.


@dataclass
class Worker:
    """A function at work in a process of its own."""

    process: Any
    _results: Any = field(repr=False)

    def result(self, patience: float = PATIENCE) -> Any:
        """
        Wait for its end, and return what the function did.

        :raises NotExact: if it failed, or takes for ever.
        """
        if not self._results.poll(patience):
            self.end()
            raise NotExact("it hangs")
        result, error = self._results.recv()
        self.process.join()
        if error:
            raise NotExact(error)
        return result

    def end(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.join()


def start(function: Callable[..., Any], *arguments: Any) -> Worker:
    """Call a function in a process of its own."""
    # Made before anything is timed: the process inherits it.
    block()
    ours, theirs = _FORK.Pipe(duplex=False)

    def work() -> None:
        try:
            theirs.send((function(*arguments), ""))
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            words = f"{function.__name__}, line {place.lineno}: {error!r}"
            with suppress(OSError):
                theirs.send((None, words))

    process = _FORK.Process(target=work, daemon=True)
    process.start()
    return Worker(process, ours)


def event() -> Any:
    """Something to wait for, across processes."""
    return _FORK.Event()


def counter() -> Any:
    """A number that one process changes and another reads."""
    return _FORK.Value("Q", 0)


# Servers.


@dataclass(frozen=True)
class Service:
    """
    What a server does.

    :ivar size: how many bytes are sent or received.
    :ivar certificate: key and chain, for TLS.
    :ivar digest: whether what arrives is hashed.
    :ivar ready: set once the connection is there.
    :ivar gate: waited for before anything is sent or received.
    :ivar last: waited for before the connection is closed.
    :ivar progress: what has been sent so far.
    """

    size: int
    certificate: Path | None = None
    digest: bool = False
    ready: Any = None
    gate: Any = None
    last: Any = None
    progress: Any = None

    def accept(self, listener: socket.socket) -> Any:
        """One connection, secured."""
        connection, _ = listener.accept()
        # The kernel looks at the time: Python would ask it, and wait, piece by piece.
        patience = pack("ll", int(PATIENCE), 0)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        if self.certificate is not None:
            context = tls_context(self.certificate)
            connection = context.wrap_socket(connection, server_side=True)
        if self.ready is not None:
            self.ready.set()
        return connection


def listen() -> tuple[socket.socket, str]:
    """A socket to accept from, and its port."""
    listener = socket.create_server((HOST, 0), backlog=2000)
    return listener, str(listener.getsockname()[1])


@cache
def tls_context(certificate: Path) -> ssl.SSLContext:
    """The settings of a TLS server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def say_goodbye(connection: Any) -> None:
    """Say that no more will be sent, and wait until the client has gone."""
    if isinstance(connection, ssl.SSLSocket):
        # Few clients answer a close_notify.
        with suppress(OSError):
            connection.unwrap()
    else:
        connection.shutdown(socket.SHUT_WR)
        # A client that leaves something unread resets the connection, or has gone
        # before all was on its way.  Our own FIN counts as one byte.
        if connection.recv(1):
            raise NotExact("the client has sent something")
        waiting = ioctl(connection, TIOCOUTQ, bytes(4))
        if int.from_bytes(waiting, sys.byteorder) > 1:
            raise NotExact("the client has gone before all was sent")
    connection.close()


def send(listener: socket.socket, service: Service) -> Account:
    """Send so many bytes to the first who comes."""
    connection = service.accept(listener)
    began, cpu = time.monotonic(), time.process_time()
    if service.gate is not None:
        service.gate.wait()
    view, left = memoryview(block()), service.size
    while left:
        piece = view[:left] if left < BLOCK else view
        connection.sendall(piece)
        left -= len(piece)
        if service.progress is not None:
            service.progress.value = service.size - left
    if service.last is not None:
        service.last.wait()
    say_goodbye(connection)
    return Account(began, time.monotonic(), service.size, time.process_time() - cpu)


def receive(listener: socket.socket, service: Service) -> Account:
    """Receive so many bytes from the first who comes."""
    connection = service.accept(listener)
    began, cpu = time.monotonic(), time.process_time()
    if service.gate is not None:
        service.gate.wait()
    secure = isinstance(connection, ssl.SSLSocket)
    flags = 0 if secure or service.digest else socket.MSG_TRUNC
    buffer, count, found = bytearray(1 << 20), 0, hashlib.sha256()
    # In clear every client says when it has ended.  Over TLS s_client does not: so
    # we say it, once we have what was to come.
    while not (secure and count >= service.size):
        received = connection.recv_into(buffer, 0, flags)
        if not received:
            break
        if service.digest:
            found.update(memoryview(buffer)[:received])
        count += received
    if service.last is not None:
        service.last.wait()
    say_goodbye(connection)
    digest = found.hexdigest() if service.digest else ""
    ended = time.monotonic()
    return Account(began, ended, count, time.process_time() - cpu, digest)


def echo(listener: socket.socket, service: Service) -> Account:
    """Send back what the first who comes sends, so many bytes in all."""
    connection = service.accept(listener)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    began, cpu, count = time.monotonic(), time.process_time(), 0
    while count < service.size:
        data = connection.recv(65536)
        if not data:
            break
        connection.sendall(data)
        count += len(data)
    say_goodbye(connection)
    return Account(began, time.monotonic(), count, time.process_time() - cpu)


def greet(listener: socket.socket, certificate: Path | None, starttls: bool) -> None:
    """Let everybody connect, one after the other, and wait until they go."""
    while True:
        connection: Any = listener.accept()[0]
        connection.settimeout(PATIENCE)
        with suppress(OSError):
            if starttls:
                agree(connection)
            if certificate is not None:
                context = tls_context(certificate)
                connection = context.wrap_socket(connection, server_side=True)
            connection.recv(1)
        connection.close()


def agree(connection: socket.socket) -> None:
    """Speak SMTP up to STARTTLS."""
    connection.sendall(b"220 mail.example.test ESMTP\r\n")
    connection.recv(4096)
    connection.sendall(b"250-mail.example.test\r\n250 STARTTLS\r\n")
    connection.recv(4096)
    connection.sendall(b"220 go ahead\r\n")


# Pipes.


def drain(fd: int, digest: bool = False, gate: Any = None) -> Account:
    """Empty a pipe until its end."""
    if gate is not None:
        gate.wait()
    began, cpu = time.monotonic(), time.process_time()
    count, found = 0, hashlib.sha256()
    if digest:
        while data := os.read(fd, 65536):
            found.update(data)
            count += len(data)
    else:
        count = prog.drain(fd)
    digest_ = found.hexdigest() if digest else ""
    ended = time.monotonic()
    return Account(began, ended, count, time.process_time() - cpu, digest_)


def feed(fd: int, size: int, progress: Any = None) -> Account:
    """Fill a pipe with so many bytes, and close it."""
    began, cpu = time.monotonic(), time.process_time()
    source = os.memfd_create("block")
    os.write(source, block())
    sent = 0
    while sent < size:
        offset = sent % BLOCK
        sent += os.splice(
            source, fd, min(BLOCK - offset, size - sent), offset_src=offset
        )
        if progress is not None:
            progress.value = sent
    os.close(fd)
    return Account(began, time.monotonic(), sent, time.process_time() - cpu)


def fill(path: Path, size: int) -> Path:
    """Write a file of so many bytes, unless it is there."""
    if not path.exists() or path.stat().st_size != size:
        with path.open("wb", buffering=0) as file:
            left = size
            while left:
                left -= file.write(block()[:left])
    return path

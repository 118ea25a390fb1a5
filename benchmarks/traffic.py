"""
Both ends of the measured programs: servers, and processes that fill and empty pipes.

Each runs in a process that is forked from the benchmark, and costs less than the
measured program: it sends one block over and over, discards received plaintext in the
kernel (MSG_TRUNC), and fills and empties pipes by splice.  It counts every byte.  With
``digest`` it reads and hashes the received bytes, in runs that are not timed.
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

#: Bytes of a block: a prime, so that a lost or doubled block changes the digest, and
#: small enough for the cache of a CPU.
BLOCK = 1_048_583

_FORK = multiprocessing.get_context("fork")


class NotExact(Exception):
    """The received bytes are not the sent bytes, or a process has failed."""


@cache
def block() -> bytes:
    """
    Return the block that is sent over and over, the same in every process.

    It contains no letter, as s_client takes some letters for commands.
    """
    noise = random.Random(BLOCK).randbytes(BLOCK)
    return noise.translate(bytes(i & 0x3F for i in range(256)))


def digest_of(size: int) -> str:
    """Return the SHA-256 of the first ``size`` bytes that are sent."""
    found = hashlib.sha256()
    for _ in range(size // BLOCK):
        found.update(block())
    found.update(block()[: size % BLOCK])
    return found.hexdigest()


@dataclass(frozen=True)
class Account:
    """
    The bytes that a process has sent or received.

    :ivar began: when the connection was accepted, on the monotonic clock.
    :ivar ended: when the last byte was handled, on the monotonic clock.
    :ivar count: the number of bytes.
    :ivar cpu: CPU seconds.
    :ivar digest: SHA-256 of the received bytes, or "".
    """

    began: float
    ended: float
    count: int
    cpu: float
    digest: str = ""


# Processes.


@dataclass
class Worker:
    """A function that runs in a forked process."""

    process: Any
    _results: Any = field(repr=False)

    def result(self, patience: float = PATIENCE) -> Any:
        """
        Wait for the function, and return its result.

        :raises NotExact: if it failed, or takes longer than ``patience`` seconds.
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
        """Kill the process."""
        self.process.kill()
        self.process.join()


def start(function: Callable[..., Any], *arguments: Any) -> Worker:
    """Call a function in a forked process."""
    # Made before the timed part, so that the process inherits it.
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
    """Return an event that is shared by processes."""
    return _FORK.Event()


def counter() -> Any:
    """Return a number that is shared by processes."""
    return _FORK.Value("Q", 0)


# Servers.


@dataclass(frozen=True)
class Service:
    """
    The task of a server.

    :ivar size: the number of bytes to send or receive.
    :ivar certificate: key and chain, for TLS; None in clear.
    :ivar digest: whether received bytes are hashed.
    :ivar ready: event that is set when the connection is accepted.
    :ivar gate: event that is awaited before the first byte.
    :ivar last: event that is awaited before the connection is closed.
    :ivar progress: counter of the bytes sent so far.
    """

    size: int
    certificate: Path | None = None
    digest: bool = False
    ready: Any = None
    gate: Any = None
    last: Any = None
    progress: Any = None

    def accept(self, listener: socket.socket) -> Any:
        """Return one connection, with TLS if there is a certificate."""
        connection, _ = listener.accept()
        # Timeouts in the kernel: with settimeout() Python would call poll() for each
        # piece.
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
    """Return a listening socket and its port."""
    listener = socket.create_server((HOST, 0), backlog=2000)
    return listener, str(listener.getsockname()[1])


@cache
def tls_context(certificate: Path) -> ssl.SSLContext:
    """Return the context of a TLS server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def say_goodbye(connection: Any) -> None:
    """
    End the server's side, and wait for the client to close.

    :raises NotExact: if a client in clear has sent a byte, or left one unread.
    """
    if isinstance(connection, ssl.SSLSocket):
        # Few clients answer a close_notify, so an error is normal.
        with suppress(OSError):
            connection.unwrap()
    else:
        connection.shutdown(socket.SHUT_WR)
        # A client that leaves bytes unread resets the connection, or leaves them in the
        # send queue.  The FIN counts as one byte of that queue.
        if connection.recv(1):
            raise NotExact("the client has sent a byte")
        waiting = ioctl(connection, TIOCOUTQ, bytes(4))
        if int.from_bytes(waiting, sys.byteorder) > 1:
            raise NotExact("the client has closed before all bytes were sent")
    connection.close()


def send(listener: socket.socket, service: Service) -> Account:
    """Accept one connection and send ``service.size`` bytes."""
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
    """Accept one connection and receive until its end, over TLS until all has come."""
    connection = service.accept(listener)
    began, cpu = time.monotonic(), time.process_time()
    if service.gate is not None:
        service.gate.wait()
    secure = isinstance(connection, ssl.SSLSocket)
    flags = 0 if secure or service.digest else socket.MSG_TRUNC
    buffer, count, found = bytearray(1 << 20), 0, hashlib.sha256()
    # In clear every client sends FIN.  Over TLS s_client does not end its side, so the
    # server ends the connection when all bytes have come.
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
    """Accept one connection and echo ``service.size`` bytes."""
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
    """Accept connections one after the other, and wait for each client to close."""
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
    """Speak SMTP up to the go-ahead."""
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
    """Fill a pipe with ``size`` bytes, and close it."""
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
    """Write a file of ``size`` bytes, unless it exists."""
    if not path.exists() or path.stat().st_size != size:
        with path.open("wb", buffering=0) as file:
            left = size
            while left:
                left -= file.write(block()[:left])
    return path

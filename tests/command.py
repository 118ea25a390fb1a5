"""Runs of the command, and servers that follow a script.

Commands run in processes of their own.  Servers run in threads of the test process and
follow a script, a function that is called with each connection as its `Peer`.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SkipTest

from tests import certificates
from tests.nursery import LARGEST_REQUEST, Nursery

ROOT = Path(__file__).resolve().parent.parent
COMMAND = (sys.executable, "-m", "twisted_tcpclient")

#: Seconds after which a command or a connection is taken to hang.
PATIENCE = 60.0

#: Seconds without progress after which a connection is taken to be stalled.
STILL = 0.3

CHUNK = 65536


# The command.


@dataclass(frozen=True)
class Outcome:
    """Exit status and output of a command."""

    status: int
    out: bytes
    err: str

    def complaint(self) -> str:
        """Return the only line on stderr, without its prefix.

        :raises AssertionError: if stderr is not one printable line with the prefix of
            an error.
        """
        line, end, more = self.err.partition("\n")
        start = "tcpclient: fatal: "
        printable = line.isascii() and line.isprintable()
        if end != "\n" or more or not printable or not line.startswith(start):
            raise AssertionError(f"not one line of an error: {self.err!r}")
        return line.removeprefix(start)


def environment(**changes: str) -> dict[str, str]:
    """Return what the command needs in its environment, with changes."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name == "PATH" or name.startswith("COVERAGE")
    }
    return {**kept, "PYTHONPATH": str(ROOT), **changes}


def start(
    *arguments: str,
    command: tuple[str, ...] = COMMAND,
    env: Mapping[str, str] | None = None,
    stdin: Any = subprocess.PIPE,
    stdout: Any = subprocess.PIPE,
    stderr: Any = subprocess.PIPE,
    pass_fds: tuple[int, ...] = (),
    session: bool = True,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """
    Start the command with these arguments, by default without a controlling terminal.
    """
    return subprocess.Popen(
        (*command, *arguments),
        env=environment() if env is None else env,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=pass_fds,
        start_new_session=session,
        cwd=cwd,
    )


def finish(process: subprocess.Popen[bytes], data: bytes | None = b"") -> Outcome:
    """Write the input of a command, wait for its end, and return its outcome.

    If `data` is None, stdin stays open as long as the command runs.
    """
    stdin, hold = process.stdin, contextlib.ExitStack()
    if data is None and stdin is not None:
        process.stdin = None
        hold.enter_context(stdin)
    with hold:
        try:
            out, err = process.communicate(data or None, PATIENCE)
        except subprocess.TimeoutExpired:
            kill(process)
            out, err = process.communicate()
            text = (err or b"").decode(errors="replace")
            raise AssertionError(
                f"{process.args!r} hangs; it wrote {len(out or b'')} bytes and {text!r}"
            ) from None
    return Outcome(process.returncode, out or b"", (err or b"").decode())


def run(*arguments: str, data: bytes | None = b"", **how: Any) -> Outcome:
    """Run the command to its end; without data, stdin stays open all the time."""
    stdin = how.get("stdin", subprocess.PIPE)
    nursery = nursery_for(*arguments, **how)
    if nursery is None or stdin == subprocess.DEVNULL:
        return finish(start(*arguments, **how), data)
    return run_in(nursery, *arguments, data=data, stdin=stdin)


#: The nursery of each environment; None after the first run in an environment.
_NURSERIES: dict[frozenset[tuple[str, str]], Nursery | None] = {}
_MAKING = threading.Lock()


def nursery_for(
    *arguments: str, env: Mapping[str, str] | None = None, **how: Any
) -> Nursery | None:
    """
    Return the nursery for a run; None if the command has to be started by itself.

    A nursery is made for the second run in an environment, as it costs as much as a
    run.  It cannot give the command anything but arguments, environment and stdin.
    """
    small = sum(map(len, arguments)) <= LARGEST_REQUEST
    if sys.platform != "linux" or not small or not how.keys() <= {"stdin"}:
        return None
    env = environment() if env is None else env
    key = frozenset(env.items())
    with _MAKING:
        if key not in _NURSERIES:
            return _NURSERIES.setdefault(key)
        nursery = _NURSERIES[key] = _NURSERIES[key] or Nursery(env)
        return nursery


def run_in(
    nursery: Nursery,
    *arguments: str,
    data: bytes | None = b"",
    stdin: Any = subprocess.PIPE,
    patience: float = PATIENCE,
) -> Outcome:
    """Run the command to its end, in a process from this nursery."""
    child = nursery.start(*arguments, stdin=stdin)
    try:
        status, out, err = child.communicate(data, patience)
    except subprocess.TimeoutExpired as hangs:
        text = (hangs.stderr or b"").decode(errors="replace")
        raise AssertionError(
            f"{arguments!r} hangs; it wrote {len(hangs.output)} bytes and {text!r}"
        ) from None
    return Outcome(status, out, err.decode())


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process, and all processes of its session if it leads one."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getsid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()


def shell(line: str, **how: Any) -> Outcome:
    """Run a line of sh in which `tcpclient` is the command."""
    words = " ".join(COMMAND)
    script = f'tcpclient() {{ {words} "$@"; }}\n{line}'
    return run("-c", script, command=("/bin/sh",), **how)


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """Yield both sides of a pseudo-terminal: the user's, and that of programs."""
    master, slave = os.openpty()
    try:
        yield master, slave
    finally:
        os.close(master)
        os.close(slave)


#: Runs a command with its stdin as its controlling terminal.
ON_TERMINAL = ("setsid", "--ctty", *COMMAND)


def peak(pid: int) -> int:
    """Return the peak memory of a process in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    raise AssertionError(f"process {pid} has ended")


def together(cases: Mapping[str, Callable[[], object]], workers: int = 4) -> None:
    """Run cases in parallel threads, and fail with the names of the cases that fail."""
    # functools.cache may call a function twice if two threads ask at the same time,
    # which would make two sets of certificates.
    server_context()
    with ThreadPoolExecutor(workers) as pool:
        futures = {name: pool.submit(case) for name, case in cases.items()}
    errors = {name: future.exception() for name, future in futures.items()}
    failed = {name: error for name, error in errors.items() if error is not None}
    for error in failed.values():
        if isinstance(error, SkipTest):
            raise error
    if failed:
        told = "; ".join(f"{name}: {error!r}" for name, error in failed.items())
        raise AssertionError(told) from next(iter(failed.values()))


# Servers.


class Cut(Exception):
    """Raised when a connection ends without the close_notify of TLS."""


class Peer:
    """A connection that a server has accepted, in clear until `secure` is called.

    `clear` is all that was received in clear.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        self.socket = connection
        self.clear = b""
        self._tls: SSL.Connection | None = None
        self._line = b""
        self._ended = False

    def secure(self, context: SSL.Context | None = None) -> None:
        """Complete the server's part of a TLS handshake."""
        tls = SSL.Connection(context or server_context(), None)
        tls.set_accept_state()
        self._tls = tls
        while True:
            try:
                tls.do_handshake()
            except SSL.WantReadError:
                self._flush()
                self._feed()
            except SSL.Error:
                # The client has to receive the alert.
                self._flush()
                raise
            else:
                self._flush()
                return

    def send(self, data: bytes) -> None:
        """Send all data, encrypted if the connection is secure."""
        if self._tls is None:
            self.socket.sendall(data)
            return
        view = memoryview(data)
        while view:
            view = view[self._tls.send(bytes(view[:16384])) :]
            self._flush()

    def send_clear(self, data: bytes) -> None:
        """Send data on the socket, without encryption."""
        self.socket.sendall(data)

    def receive(self) -> bytes:
        """
        Return the next bytes, or an empty string once the peer has closed in order.
        """
        if self._line:
            data, self._line = self._line, b""
            return data
        while self._tls is not None:
            received = self._decrypt(self._tls)
            if received or self._ended:
                return received
            self._feed()
        data = self.socket.recv(CHUNK)
        self._ended = not data
        self.clear += data
        return data

    def rest(self) -> bytes:
        """Receive until the peer closes."""
        return b"".join(iter(self.receive, b""))

    def line(self) -> bytes:
        """Receive a line; EOF may cut it short."""
        received = b""
        while b"\n" not in received and (data := self.receive()):
            received += data
        line, end, self._line = received.partition(b"\n")
        return line + end

    def exactly(self, size: int) -> bytes:
        """Receive this many bytes, or fewer if the peer closes."""
        received = bytearray()
        while len(received) < size and (data := self.receive()):
            received += data
        self._line = bytes(received[size:])
        return bytes(received[:size])

    def exchange(self, data: bytes) -> bytes:
        """Send data and receive at the same time, until the peer closes."""
        received, view, waiting = bytearray(), memoryview(data), b""
        while not self._ended or view or waiting:
            if view and not waiting:
                waiting, view = self._encrypt(bytes(view[:CHUNK])), view[CHUNK:]
            readable, writable, _ = select.select(
                [] if self._ended else [self.socket],
                [self.socket] if waiting else [],
                [],
                PATIENCE,
            )
            if not (readable or writable):
                raise AssertionError("no progress in either direction")
            if writable:
                waiting = waiting[self.socket.send(waiting) :]
            if readable:
                received += self.receive()
        return bytes(received)

    def send_until_still(self, data: bytes) -> bytes:
        """Send until the peer takes no more for STILL seconds, and return the rest."""
        view = memoryview(data)
        while view and select.select([], [self.socket], [], STILL)[1]:
            self.send(bytes(view[:4096]))
            view = view[4096:]
        return bytes(view)

    def half_close(self) -> None:
        """Send FIN, or close_notify over TLS."""
        if self._tls is None:
            self.socket.shutdown(socket.SHUT_WR)
        else:
            self._tls.shutdown()
            self._flush()

    def finish(self) -> bytes:
        """Close in good order, and return what the peer still sent."""
        rest = b""
        with contextlib.suppress(OSError, Cut, SSL.Error):
            self.half_close()
            rest = self.rest()
        self.socket.close()
        return rest

    def cut(self) -> None:
        """Send FIN without close_notify."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Send RST."""
        no_linger = b"\1\0\0\0\0\0\0\0"
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        self.socket.close()

    def gone(self) -> None:
        """Receive until the peer has closed, in order or not."""
        with contextlib.suppress(ConnectionError, SSL.Error, Cut):
            self.rest()

    def _decrypt(self, tls: SSL.Connection) -> bytes:
        pieces = []
        with contextlib.suppress(SSL.WantReadError):
            try:
                while True:
                    pieces.append(tls.recv(CHUNK))
            except SSL.ZeroReturnError:
                self._ended = True
        return b"".join(pieces)

    def leave(self) -> None:
        """Wait until the peer has closed, then close in good order."""
        self.gone()
        self.finish()

    def _encrypt(self, data: bytes) -> bytes:
        if self._tls is None:
            return data
        self._tls.sendall(data)
        return self._pending()

    def _pending(self) -> bytes:
        assert self._tls is not None
        pieces = []
        with contextlib.suppress(SSL.WantReadError):
            while True:
                pieces.append(self._tls.bio_read(CHUNK))
        return b"".join(pieces)

    def _flush(self) -> None:
        self.socket.sendall(self._pending())

    def _feed(self) -> None:
        assert self._tls is not None
        data = self.socket.recv(CHUNK)
        if not data:
            raise Cut
        self._tls.bio_write(data)


@functools.cache
def server_context(
    version: int = 0, client_ca: Path | None = None, certificate: Path | None = None
) -> SSL.Context:
    """
    Return the settings of a TLS server; with `client_ca`, clients need a certificate.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    chain = str(certificate or certificates.shared().server)
    context.use_certificate_chain_file(chain)
    context.use_privatekey_file(chain)
    if version:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    if client_ca is not None:
        context.load_verify_locations(str(client_ca))
        context.set_verify(
            SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *a: bool(a[4])
        )
    return context


Script = Callable[[Peer], Any]


@dataclass
class Server:
    """A server that calls a script with every connection."""

    arguments: tuple[str, ...]
    address: Any
    _results: SimpleQueue[Future[Any]] = field(default_factory=SimpleQueue)

    def result(self) -> Any:
        """Wait for the end of a script, and return its result or raise its error."""
        try:
            return self._results.get(timeout=PATIENCE).result()
        except Empty:
            raise AssertionError("no script has ended") from None

    @property
    def connections(self) -> int:
        """Number of scripts that have ended and whose result was not fetched."""
        return self._results.qsize()


def _follow(script: Script, peer: Peer, results: SimpleQueue[Future[Any]]) -> None:
    future: Future[Any] = Future()
    try:
        with peer.socket:
            future.set_result(script(peer))
    except BaseException as error:
        future.set_exception(error)
    results.put(future)


def _accept(listener: socket.socket, script: Script, server: Server) -> None:
    threads: list[threading.Thread] = []
    # accept() fails once `listening` has shut the listener down.
    with contextlib.suppress(OSError):
        while True:
            peer = Peer(listener.accept()[0])
            follower = threading.Thread(
                target=_follow, args=(script, peer, server._results), daemon=True
            )
            follower.start()
            threads.append(follower)
    for thread in threads:
        thread.join(PATIENCE)


@contextlib.contextmanager
def listening(
    listener: socket.socket, script: Script, *arguments: str
) -> Iterator[Server]:
    """Call a script with every connection to a bound socket."""
    listener.listen(200)
    server = Server(arguments, listener.getsockname())
    accepting = threading.Thread(
        target=_accept, args=(listener, script, server), daemon=True
    )
    accepting.start()
    try:
        yield server
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(PATIENCE)


def tcp_listener(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Return a TCP socket that is bound and listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=200)


#: Options for servers that read until EOF before they answer.
AT_ONCE = ("--shutdown", "now")


@contextlib.contextmanager
def serving(
    script: Script,
    *options: str,
    host: str = "127.0.0.1",
    shutdown: tuple[str, ...] = AT_ONCE,
) -> Iterator[Server]:
    """Call a script with every connection to a TCP port.

    `arguments` of the server are the options, then host and port.
    """
    listener = tcp_listener(host)
    port = str(listener.getsockname()[1])
    with listening(listener, script, *options, *shutdown, host, port) as server:
        yield server


# Kinds of connections.


@dataclass(frozen=True)
class Kind:
    """A kind of connection: options of the command, and what its server does first."""

    name: str
    options: Callable[[], tuple[str, ...]]
    prepare: Callable[[Peer], object]
    unix: bool = False
    secure: bool = True

    @contextlib.contextmanager
    def serve(
        self, script: Script, shutdown: tuple[str, ...] = AT_ONCE
    ) -> Iterator[Server]:
        """Call a script with every connection, once `prepare` has returned.

        :param shutdown: options that say when the server is told of the EOF of stdin.
        """

        def prepared(peer: Peer) -> Any:
            self.prepare(peer)
            return script(peer)

        if not self.unix:
            with serving(prepared, *self.options(), shutdown=shutdown) as server:
                yield server
            return
        with tempfile.TemporaryDirectory(prefix="socket-") as directory:
            path = f"{directory}/s"
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            arguments = (*self.options(), *shutdown, path)
            with listening(listener, prepared, *arguments) as server:
                yield server


def trusting() -> tuple[str, ...]:
    """Return the options with which the command trusts the shared CA only."""
    return ("-c", str(certificates.shared().ca))


def invite(peer: Peer) -> None:
    """Speak SMTP up to the go-ahead of STARTTLS."""
    peer.send(b"220 mail.example.test ESMTP\r\n")
    assert peer.line().startswith(b"EHLO ")
    peer.send(b"250-mail.example.test\r\n250 STARTTLS\r\n")
    assert peer.line() == b"STARTTLS\r\n"
    peer.send(b"220 go ahead\r\n")


def agree(peer: Peer) -> None:
    """Speak SMTP up to STARTTLS, then complete the TLS handshake."""
    invite(peer)
    peer.secure()


TCP = Kind("TCP", lambda: (), lambda peer: None, secure=False)
UNIX = Kind("UNIX", lambda: (), lambda peer: None, unix=True, secure=False)
TLS = Kind("TLS", lambda: ("--tls", *trusting()), Peer.secure)
STARTTLS = Kind("STARTTLS", lambda: ("-s", "smtp", *trusting()), agree)
KINDS = (TCP, UNIX, TLS, STARTTLS)


def every(case: Callable[[Kind], object], *kinds: Kind) -> None:
    """
    Run a case for these kinds of connections in parallel; by default for all kinds.
    """
    together({kind.name: functools.partial(case, kind) for kind in kinds or KINDS})

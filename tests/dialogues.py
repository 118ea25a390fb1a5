"""Dialogues with real servers through the command: what is said, and what comes back.

A dialogue is a list of pieces for the command's stdin and a pattern for all of its
stdout.  `converse` plays a dialogue from a pipe, at the pace that the pieces ask for;
`recite` plays it from a file, as fast as the server takes it.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import IO, Any

from tests import command
from tests.command import Outcome, nursery_for, start
from tests.nursery import Child


@dataclass(frozen=True)
class Piece:
    """Bytes for stdin, sent once a prompt has come and a pause in seconds has passed.

    The prompt is the beginning of a line of the server, after that of the last piece.
    """

    data: bytes
    prompt: bytes = b""
    pause: float = 0


@dataclass(frozen=True)
class Dialogue:
    """What the client says, and a pattern of all that the server says."""

    pieces: tuple[Piece, ...]
    answer: bytes

    @property
    def data(self) -> bytes:
        """All that the client says."""
        return b"".join(piece.data for piece in self.pieces)

    def without_prompts(self) -> Dialogue:
        """Say the same without waiting for what the server says."""
        return replace(self, pieces=(Piece(self.data),))

    def is_answered_by(self, out: bytes) -> bool:
        """Tell whether this is the whole answer."""
        return re.fullmatch(self.answer, out) is not None


#: How long the largest dialogue may take on the busiest machine, in seconds.
PATIENCE = 180.0

#: A line of nearly the size that all servers of mail take (RFC 5321, 4.5.3.1.6).
_LINE = b"x" * 990 + b"\r\n"


def lines(size: int) -> bytes:
    """Return lines of text that are so many bytes long, or as long as one line end."""
    whole, rest = divmod(max(size, 2), len(_LINE))
    return _LINE * whole + (b"x" * (rest - 2) + b"\r\n" if rest >= 2 else b"")


def mail(
    *sizes: int, name: str = "client.example.test", greeting: bool = False
) -> Dialogue:
    """Send messages with bodies of so many bytes by SMTP, and QUIT.

    :param name: what EHLO says.
    :param greeting: whether the server greets first, as it does in clear.
    """
    pieces = [Piece(b"EHLO %s\r\n" % name.encode(), b"220 " if greeting else b"")]
    for size in sizes:
        body = b"Subject: dialogue\r\n\r\n" + lines(size) + b".\r\n"
        pieces += (
            Piece(b"MAIL FROM:<sender@example.test>\r\n", b"250 "),
            Piece(b"RCPT TO:<user@example.test>\r\n", b"250 "),
            Piece(b"DATA\r\n", b"250 "),
            Piece(body, b"354 "),
        )
    return Dialogue(
        (*pieces, Piece(b"QUIT\r\n", b"250 ")),
        rb"(220 .*\r\n)?(250-.*\r\n)*250 .*\r\n"
        rb"((250 .*\r\n){2}354 .*\r\n250 .*\r\n){%d}221 .*\r\n" % len(sizes),
    )


def post(*sizes: int, wait: int = 0, close: bool = True) -> Dialogue:
    """Send bodies of so many bytes by HTTP; each is answered so many seconds later.

    :param close: whether the last request asks the server to close the connection.
    """
    pieces: list[Piece] = []
    answer = b""
    for number, size in enumerate(sizes, 1):
        ends = close and number == len(sizes)
        connection = b"close" if ends else b"keep-alive"
        head = (
            b"POST /?wait=%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
            b"Connection: %s\r\n\r\n" % (wait, size, connection)
        )
        pieces += (Piece(head), Piece(bytes(size)))
        answer += rb"HTTP/1.1 200 OK\r\n(.+\r\n)+\r\nreceived %d bytes\n" % size
    return Dialogue(tuple(pieces), answer)


def get(size: int, wait: int = 0) -> Dialogue:
    """Ask for so many bytes by HTTP/1.0, which come so many seconds later."""
    request = b"GET /bytes?size=%d&wait=%d HTTP/1.0\r\n\r\n" % (size, wait)
    answer = rb"HTTP/1.[01] 200 OK\r\n(.+\r\n)+\r\nx{%d}" % size
    return Dialogue((Piece(request),), answer)


def append(*sizes: int, user: str, password: str) -> Dialogue:
    """Store messages with bodies of so many bytes by IMAP, and LOGOUT."""
    prompt = b"a OK"
    pieces = [Piece(b"a LOGIN %s %s\r\n" % (user.encode(), password.encode()))]
    for size in sizes:
        message = b"Subject: dialogue\r\n\r\n" + lines(size)
        command = b"b APPEND INBOX {%d+}\r\n" % len(message)
        pieces += (Piece(command, prompt), Piece(message + b"\r\n"))
        prompt = b"b OK"
    return Dialogue(
        (*pieces, Piece(b"c LOGOUT\r\n", prompt)),
        rb"(\* .*\r\n)*a OK.*\r\n((\* .*\r\n)*b OK.*\r\n){%d}"
        rb"\* BYE.*\r\nc OK.*\r\n" % len(sizes),
    )


def files(*sizes: int) -> Dialogue:
    """Say NOOP by FTP for so many bytes, and QUIT."""
    noops = sum(sizes) // 6 + 1
    return Dialogue(
        (
            Piece(b"USER ftp\r\n"),
            Piece(b"PASS me@\r\n", b"(331|230) "),
            Piece(b"NOOP\r\n", b"230 "),
            *(Piece(b"NOOP\r\n", b"200 "),) * (noops - 1),
            Piece(b"QUIT\r\n", b"200 "),
        ),
        rb"((331|230)[ -].*\r\n)+(200 .*\r\n){%d}(221[ -].*\r\n)+" % noops,
    )


def chat(*sizes: int) -> Dialogue:
    """Open an XMPP stream, say nothing in so many blanks, and close the stream."""
    opened = (
        b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' version='1.0'"
        b" xmlns:stream='http://etherx.jabber.org/streams' to='localhost'>"
    )
    return Dialogue(
        (
            Piece(opened),
            *(Piece(b" " * size) for size in sizes),
            Piece(b"</stream:stream>"),
        ),
        rb"<\?xml version='1.0'\?>\s*<stream:stream .*</stream:features>"
        rb"</stream:stream>",
    )


class _Listener:
    """Collects what a stream gives, for a thread that waits for parts of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.heard = bytearray()
        self._stream = stream
        self._ended = False
        self._more = threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with self._stream as stream:
            while data := os.read(stream.fileno(), command.CHUNK):
                with self._more:
                    self.heard += data
                    self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()

    def wait_for(self, prompt: bytes, since: int) -> int:
        """Wait for a line that begins so, or for the end; return where it ends."""
        line = re.compile(b"^" + prompt + b".*\n", re.MULTILINE)
        with self._more:
            self._more.wait_for(
                lambda: self._ended or line.search(self.heard, since),
                PATIENCE,
            )
            found = line.search(self.heard, since)
            return found.end() if found else len(self.heard)

    def all(self) -> bytes:
        """Wait for the end, and return all of it."""
        self._thread.join(PATIENCE)
        return bytes(self.heard)


def converse(arguments: Iterable[str], pieces: Iterable[Piece]) -> Outcome:
    """Run the command with these pieces on a pipe, and return what it leaves behind."""
    process = begin(*arguments)
    assert process.stdin and process.stdout
    out = _Listener(process.stdout)
    place = 0
    # A pipe is broken when the command has ended, or will not read it again.
    with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
        for piece in pieces:
            if piece.prompt:
                place = out.wait_for(piece.prompt, place)
            # The pause is what is tested: servers and the command see it.
            threading.Event().wait(piece.pause)
            stdin.write(piece.data)
            stdin.flush()
    return _outcome(process, out)


def recite(arguments: Iterable[str], data: bytes) -> Outcome:
    """Run the command with a file for its stdin, and return what it leaves behind."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        process = begin(*arguments, stdin=file)
        assert process.stdout
        return _outcome(process, _Listener(process.stdout))


def begin(
    *arguments: str, stdin: Any = subprocess.PIPE
) -> subprocess.Popen[bytes] | Child:
    """Start the command, in a nursery where that is possible."""
    nursery = nursery_for(*arguments)
    return (nursery.start if nursery else start)(*arguments, stdin=stdin)


def _outcome(process: subprocess.Popen[bytes] | Child, out: _Listener) -> Outcome:
    """Wait for the end of a command whose stdout has a listener."""
    assert process.stderr
    try:
        status = process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"{process.args!r} hangs; {out.all()[-200:]!r}") from None
    with process.stderr as err:
        return Outcome(status, out.all(), err.read().decode())

"""Dialogues with real servers through the command: input, and a pattern of the output.

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
    """Bytes for stdin, sent after a prompt has arrived and `pause` seconds have passed.

    The prompt is a pattern for the beginning of a line of the server, after the line
    that matched the prompt before it.
    """

    data: bytes
    prompt: bytes = b""
    pause: float = 0


@dataclass(frozen=True)
class Dialogue:
    """The client's input, and a pattern of all that the server sends."""

    pieces: tuple[Piece, ...]
    answer: bytes

    @property
    def data(self) -> bytes:
        """All that the client sends."""
        return b"".join(piece.data for piece in self.pieces)

    def without_prompts(self) -> Dialogue:
        """Return the same dialogue as one piece, which waits for no prompt."""
        return replace(self, pieces=(Piece(self.data),))

    def is_answered_by(self, out: bytes) -> bool:
        """Tell whether this output is the whole answer."""
        return re.fullmatch(self.answer, out) is not None


#: Seconds that the largest dialogue may take on a busy machine.
PATIENCE = 180.0

#: A line below the limit of 1000 bytes with its CRLF (RFC 5321, 4.5.3.1.6).
_LINE = b"x" * 990 + b"\r\n"


def lines(size: int) -> bytes:
    """Return lines of text of this total size in bytes, and of at least one CRLF."""
    whole, rest = divmod(max(size, 2), len(_LINE))
    return _LINE * whole + (b"x" * (rest - 2) + b"\r\n" if rest >= 2 else b"")


def mail(
    *sizes: int, name: str = "client.example.test", greeting: bool = False
) -> Dialogue:
    """
    Return a dialogue that sends messages with bodies of these sizes by SMTP, and QUIT.

    :param name: the client's name in EHLO.
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
    """
    Return a dialogue that sends bodies of these sizes by HTTP; the server waits before
    each answer.

    :param wait: seconds before each answer.
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
    """Return a dialogue that asks for this many bytes by HTTP/1.0.

    :param wait: seconds before the answer.
    """
    request = b"GET /bytes?size=%d&wait=%d HTTP/1.0\r\n\r\n" % (size, wait)
    answer = rb"HTTP/1.[01] 200 OK\r\n(.+\r\n)+\r\nx{%d}" % size
    return Dialogue((Piece(request),), answer)


def append(*sizes: int, user: str, password: str) -> Dialogue:
    """
    Return a dialogue that stores messages with bodies of these sizes by IMAP, and
    LOGOUT.
    """
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
    """Return a dialogue that sends this many bytes of NOOP by FTP, and QUIT."""
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
    """
    Return a dialogue that opens an XMPP stream, sends this many blanks, and closes it.
    """
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
    """
    A thread that collects a stream, for another thread that waits for parts of it.
    """

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
        """
        Wait for a line whose beginning matches the prompt, or for EOF; return where the
        line ends.
        """
        line = re.compile(b"^" + prompt + b".*\n", re.MULTILINE)
        with self._more:
            self._more.wait_for(
                lambda: self._ended or line.search(self.heard, since),
                PATIENCE,
            )
            found = line.search(self.heard, since)
            return found.end() if found else len(self.heard)

    def all(self) -> bytes:
        """Wait for EOF, and return all bytes."""
        self._thread.join(PATIENCE)
        return bytes(self.heard)


def converse(arguments: Iterable[str], pieces: Iterable[Piece]) -> Outcome:
    """Run the command with these pieces on a pipe, and return its outcome."""
    process = begin(*arguments)
    assert process.stdin and process.stdout
    out = _Listener(process.stdout)
    place = 0
    # EPIPE: the command has exited, or will not read stdin again.
    with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
        for piece in pieces:
            if piece.prompt:
                place = out.wait_for(piece.prompt, place)
            # The pause is a part of the dialogue: the server and the command measure
            # it.
            threading.Event().wait(piece.pause)
            stdin.write(piece.data)
            stdin.flush()
    return _outcome(process, out)


def recite(arguments: Iterable[str], data: bytes) -> Outcome:
    """Run the command with a file as its stdin, and return its outcome."""
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
    """
    Wait for the end of a command whose stdout is collected, and return its outcome.
    """
    assert process.stderr
    try:
        status = process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"{process.args!r} hangs; {out.all()[-200:]!r}") from None
    with process.stderr as err:
        return Outcome(status, out.all(), err.read().decode())

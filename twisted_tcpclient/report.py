"""
What is said to the user: whole lines on stderr, of printable ASCII only.

Descriptor 2 is written to directly, as ``twist`` puts its log in the place of
``sys.stderr``, and as a line must not be lost when the process is replaced.
"""

from __future__ import annotations

import errno
import os
import select
import traceback
from contextlib import suppress
from dataclasses import dataclass

SILENT, ERRORS, PROGRESS = range(3)


def printable(text: str | bytes) -> str:
    """The text with all that is not printable ASCII escaped, as Python writes it."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return "".join(
        c if " " <= c <= "~" else c.encode("unicode_escape", "surrogatepass").decode()
        for c in text
    )


#: djb's words, which scripts may look for, where they differ from the C library's.
_WORDS = {
    errno.ENOENT: "file does not exist",
    errno.EACCES: "access denied",
    errno.EADDRINUSE: "address already used",
    errno.EADDRNOTAVAIL: "address not available",
    errno.ECONNRESET: "connection reset",
    errno.ETIMEDOUT: "timed out",
}


def os_reason(error: OSError) -> str:
    """Why the system refused, in a few words in lower case."""
    if not error.errno:
        return str(error).lower()
    return _WORDS.get(error.errno) or os.strerror(error.errno).lower()


_HERE = os.path.join(os.path.dirname(__file__), "")


def fault(error: BaseException) -> str:
    """
    The type of an error that nobody expected, and where it was raised, if it can
    be told outside this package.  Its text is left out: it may be a server's.
    """
    if isinstance(error, SyntaxError):
        return f"SyntaxError ({error.filename}, line {error.lineno})"
    stack = traceback.extract_tb(error.__traceback__)
    frames = [f for f in stack if not f.filename.startswith("<")]
    others = [f for f in frames if not f.filename.startswith(_HERE)]
    where = [f" ({f.filename}, line {f.lineno})" for f in (others or frames)[-1:]]
    return "".join([type(error).__name__, *where])


def place(host: str, ip: str, port: int) -> str:
    """Where a connection goes, in words: the host as given, and its address."""
    if ip in (host, host[1:-1]):
        return f"{ip} port {port}"
    return f"host {host or '0'} ip {ip} port {port}"


@dataclass(frozen=True)
class Report:
    """
    Says what the verbosity allows.

    :ivar verbosity: 0 silent, 1 errors, 2 errors and progress.
    """

    verbosity: int = ERRORS

    def fatal(self, message: str) -> None:
        """The run has failed."""
        self._say(ERRORS, f"fatal: {message}")

    def warning(self, message: str) -> None:
        """Something is not as it should be, and the run goes on."""
        self._say(ERRORS, f"warning: {message}")

    def progress(self, message: str) -> None:
        """For ``-v`` only."""
        self._say(PROGRESS, message)

    def _say(self, level: int, message: str) -> None:
        if self.verbosity < level:
            return
        line = f"tcpclient: {printable(message)}\n".encode("ascii")
        # If stderr fails there is no other place to say so.
        with suppress(OSError):
            _write(2, line)


#: How long the reader of stderr may stall, in milliseconds.
_PATIENCE = 1000


def _write(fd: int, line: bytes) -> None:
    """
    Write a line, or as much of it as the reader takes in time.

    A pipe that poll(2) reports as writable takes ``PIPE_BUF`` bytes without
    blocking (POSIX), and no more.
    """
    waiting = select.poll()
    waiting.register(fd, select.POLLOUT)
    while line and waiting.poll(_PATIENCE):
        line = line[os.write(fd, line[: select.PIPE_BUF]) :]

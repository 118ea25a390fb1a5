"""
Messages to the user: whole lines on stderr, in printable ASCII.

Messages are written to descriptor 2 itself: ``twist`` replaces ``sys.stderr`` by its
log, and a line in a buffer is lost when the process becomes prog.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted_tcpclient.errors import (
    ConnectFailed,
    CutShort,
    DescriptionError,
    LocalFailure,
    NegotiationFailed,
    SettingsError,
    TCPClientError,
)
from twisted_tcpclient.text import printable

SILENT, ERRORS, PROGRESS = range(3)


@dataclass(frozen=True)
class Messages:
    """
    Writes the messages that the verbosity allows.

    :ivar verbosity: 0 silent, 1 errors, 2 errors and progress.
    """

    verbosity: int = ERRORS

    def fatal(self, message: str) -> None:
        """Write that the run has failed, and why."""
        self._say(ERRORS, f"fatal: {message}")

    def warning(self, message: str) -> None:
        """Write that something is probably wrong; the run goes on."""
        self._say(ERRORS, f"warning: {message}")

    def progress(self, message: str) -> None:
        """Write a step of the run, if ``-v`` is given."""
        self._say(PROGRESS, message)

    def _say(self, level: int, message: str) -> None:
        if self.verbosity < level:
            return
        line = f"tcpclient: {printable(message)}\n".encode("ascii")
        # There is no other place to report that stderr has failed.
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


#: What the user can try next, by the type of the error.
_HINTS: dict[type[TCPClientError], str] = {
    CutShort: " (--ignore-unexpected-eof accepts that)",
}

#: How much of a server's reply is shown, in bytes.
SHOWN = 300


def complain(
    messages: Messages,
    error: BaseException | None,
    where: Callable[[Any], str],
    peer: object | None,
) -> None:
    """
    Write an error, and where it happened.

    :param where: returns the beginning of a message about a connection to a peer.
    :param peer: the address that was reached; ``error.peer`` takes precedence.
    """
    if isinstance(error, ConnectFailed):
        _complain_of_attempts(messages, error)
    elif isinstance(error, (DescriptionError, LocalFailure, SettingsError)):
        messages.fatal(str(error))
    elif isinstance(error, TCPClientError):
        hint = _HINTS.get(type(error), "")
        messages.fatal(f"{where(error.peer or peer)}{error}{hint}")
    else:
        messages.fatal(f"{type(error).__name__}: {error}")
    if isinstance(error, NegotiationFailed) and error.server_text:
        said = printable(error.server_text[:SHOWN])
        messages.progress(f"the server, unauthenticated, said: {said}")


def _complain_of_attempts(messages: Messages, error: ConnectFailed) -> None:
    """Write a warning for each attempt but the last, and a fatal error for the last."""
    *others, last = (
        f"unable to connect to {attempt.address}: {attempt.reason}"
        for attempt in error.attempts
    )
    for line in others:
        messages.warning(line)
    messages.fatal(last)

"""
A passphrase that is asked for on the terminal.
"""

from __future__ import annotations

import os
import select
import signal
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from twisted_tcpclient.errors import SettingsError
from twisted_tcpclient.report import os_reason, printable

TERMINAL = "/dev/tty"

#: How long a signal may wait that comes just before the waiting for input begins,
#: in milliseconds.
_MISSED = 100


def ask(path: str) -> bytes:
    """
    Ask on the terminal, and nowhere else: stdin may be a mail to be sent.

    In the background, job control stops the process until it is continued in the
    foreground.  A signal that ends the process does so at once, when the terminal
    has its echo back.

    :param path: of the key, for the prompt and for messages.
    :returns: the line that was typed, without its end.
    :raises SettingsError: if there is no terminal, or nothing can be read there,
        as in the background of a shell that has gone; or if no line was typed.
    """
    try:
        terminal = os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        raise _cannot_ask(path, os_reason(error)) from None
    try:
        with _signals_kept() as kept, _silenced(terminal):
            if _ready(terminal, select.POLLOUT, kept):
                os.write(terminal, f"passphrase for {printable(path)}: ".encode())
            line = _line(terminal, kept)
    except OSError as error:
        raise _cannot_ask(path, os_reason(error)) from None
    except termios.error as error:
        raise _cannot_ask(path, os.strerror(error.args[0]).lower()) from None
    finally:
        os.close(terminal)
    if not line.endswith(b"\n"):
        raise SettingsError(f"no passphrase for {printable(path)}")
    return line[:-1]


def _cannot_ask(path: str, why: str) -> SettingsError:
    return SettingsError(
        f"the key in {printable(path)} is encrypted, and there is no terminal to ask"
        f" for the passphrase ({TERMINAL}: {why})"
    )


@contextmanager
def _silenced(terminal: int) -> Iterator[None]:
    """
    Take the echo from a terminal, and what was typed before, and give it back.

    :raises termios.error: in the background, where job control cannot stop the
        process: its process group is orphaned.
    """
    before = termios.tcgetattr(terminal)
    silent = [*before]
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSAFLUSH, silent)
    try:
        yield
    finally:
        # The terminal may have hung up.
        with suppress(OSError, termios.error):
            termios.tcsetattr(terminal, termios.TCSAFLUSH, before)
            os.write(terminal, b"\n")


def _ready(terminal: int, event: int, kept: list[int]) -> bool:
    """Wait for a terminal; False if a signal is kept, which comes first."""
    waiting = select.poll()
    waiting.register(terminal, event)
    while not kept:
        if waiting.poll(_MISSED):
            return True
    return False


def _line(terminal: int, kept: list[int]) -> bytes:
    """
    A line, or what there is of it when the user ends it by Ctrl-D, or when a signal
    is kept.
    """
    line = b""
    while not line.endswith(b"\n") and _ready(terminal, select.POLLIN, kept):
        # Another reader of the terminal may have been faster.
        with suppress(BlockingIOError):
            data = os.read(terminal, select.PIPE_BUF)
            if not data:
                break
            line += data
    return line


@contextmanager
def _signals_kept() -> Iterator[list[int]]:
    """
    Keep the signals that end the process, and then let the first of them end it:
    what is inside has to clean up.

    Those of job control stop it at once: the kernel answers the use of a terminal
    from the background by them.  A signal that is ignored, as by nohup, stays so.
    """
    kept: list[int] = []

    def keep(number: int, frame: object) -> None:
        kept.append(number)

    before = {
        number: signal.signal(number, keep)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    for number in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
        before[number] = signal.signal(number, signal.SIG_DFL)
    try:
        yield kept
    finally:
        if kept:
            signal.signal(kept[0], signal.SIG_DFL)
            os.kill(os.getpid(), kept[0])
        for number, handler in before.items():
            signal.signal(number, handler)

"""
The prompt for a passphrase, on the terminal.
"""

from __future__ import annotations

import os
import select
import signal
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from twisted_tcpclient.errors import SettingsError
from twisted_tcpclient.text import os_reason, printable

TERMINAL = "/dev/tty"

#: The timeout of one poll(2), in milliseconds.  A signal that arrives just before
#: poll(2) does not interrupt it, and is noticed after that time.
_MISSED = 100


def ask_passphrase(path: str) -> bytes:
    """
    Ask for the passphrase of a key on the terminal: stdin may hold data to send.

    In the background, job control stops the process until it is continued in the
    foreground.  A signal that ends the process does so as soon as the echo of the
    terminal is restored.

    :param path: the path of the key, for the prompt and for messages.
    :returns: the line that was typed, without its end.
    :raises SettingsError: if there is no terminal, or it cannot be read, as in the
        background of a shell that has exited; or if no line was typed.
    """
    try:
        terminal = os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        raise _cannot_ask(path, os_reason(error)) from None
    try:
        with _signals_kept() as kept, _silenced(terminal):
            if _await_ready(terminal, select.POLLOUT, kept):
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
    """Return the error for a terminal that cannot be opened, read or written."""
    return SettingsError(
        f"the key in {printable(path)} is encrypted, and there is no terminal to ask"
        f" for the passphrase ({TERMINAL}: {why})"
    )


@contextmanager
def _silenced(terminal: int) -> Iterator[None]:
    """
    Turn the echo of a terminal off, discard what was typed, and restore the echo.

    :raises termios.error: in the background, if the process group is orphaned, so that
        job control cannot stop the process.
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


def _await_ready(terminal: int, event: int, kept: list[int]) -> bool:
    """Wait until a terminal is ready; return False if a signal has been kept."""
    waiting = select.poll()
    waiting.register(terminal, event)
    while not kept:
        if waiting.poll(_MISSED):
            return True
    return False


def _line(terminal: int, kept: list[int]) -> bytes:
    """
    Read a line, and return it; without its end if the user has typed Ctrl-D or a signal
    has been kept.
    """
    line = b""
    while not line.endswith(b"\n") and _await_ready(terminal, select.POLLIN, kept):
        # EAGAIN: another process has read the input of the terminal first.
        with suppress(BlockingIOError):
            data = os.read(terminal, select.PIPE_BUF)
            if not data:
                break
            line += data
    return line


@contextmanager
def _signals_kept() -> Iterator[list[int]]:
    """
    Keep SIGINT, SIGTERM and SIGHUP back until the body has restored the terminal.

    The first of them then ends the process.  The signals of job control stop the
    process at once: the kernel sends SIGTTIN or SIGTTOU if a process in the background
    uses a terminal.  A signal that is ignored, as with nohup, stays ignored.
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

"""
A passphrase that is asked for on the terminal.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getpass

from twisted_tcpclient.errors import SettingsError
from twisted_tcpclient.report import printable


def ask(path: str) -> bytes:
    """
    Ask on the terminal, and nowhere else: stdin may be someone's mail.

    :raises SettingsError: if there is no terminal.
    """
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise SettingsError(
            f"the key in {printable(path)} is encrypted,"
            " and there is no terminal to ask for the passphrase"
        ) from None
    try:
        with _mortal():
            return getpass(f"passphrase for {printable(path)}: ").encode()
    except EOFError:
        raise SettingsError(f"no passphrase for {printable(path)}") from None


#: How long a signal may wait that comes just before the reading begins, in seconds.
_MISSED = 0.1


class _Signalled(BaseException):
    """A signal came while the user was asked."""


@contextmanager
def _mortal() -> Iterator[None]:
    """
    Let signals end the process, as nothing has begun yet, but not before
    whatever is inside has cleaned up: the terminal has to get its echo back.
    """

    def die(number: int, frame: object) -> None:
        raise _Signalled(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, die) for number in numbers}
    before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    # Only a signal within a system call breaks it off: Python would see to one that
    # came before the reading when that is over.
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, lambda *_: None)
    timer = signal.setitimer(signal.ITIMER_REAL, _MISSED, _MISSED)
    try:
        yield
    except _Signalled as signalled:
        (number,) = signalled.args
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)

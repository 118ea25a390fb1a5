"""
The reactor of the command, with the monotonic clock.

Twisted's reactors use time.time().  If the system clock is set back by an hour, each of
their timers is an hour late.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import Any

from twisted.internet.error import ReactorAlreadyInstalledError
from twisted.internet.main import installReactor
from twisted.python.runtime import platform


def _kind() -> Any:
    """Return the class of the reactor that Twisted chooses for this system."""
    if platform.isMacOSX():
        from twisted.internet.selectreactor import SelectReactor

        return SelectReactor
    try:
        from twisted.internet.epollreactor import EPollReactor
    except ImportError:
        from twisted.internet.pollreactor import PollReactor

        return PollReactor
    return EPollReactor


def install() -> None:
    """
    Install a reactor with the monotonic clock as the global one.

    If a plugin of another package has installed a reactor already, that one stays.
    """
    kind = type("MonotonicReactor", (_kind(),), {"seconds": staticmethod(monotonic)})
    with suppress(ReactorAlreadyInstalledError):
        installReactor(kind())

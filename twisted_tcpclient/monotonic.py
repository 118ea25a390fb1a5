"""
The reactor of the command, whose clock nobody sets.

Twisted's reactors use the time of day.  When that is set back an hour, whatever
waits for a second waits for an hour more.
"""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import Any

from twisted.internet.error import ReactorAlreadyInstalledError
from twisted.internet.main import installReactor
from twisted.python.runtime import platform


def _kind() -> Any:
    """The class of the reactor that Twisted chooses for this system."""
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
    Make such a reactor the global one.

    A plugin of another package may have installed one before, which stays.
    """
    kind = type("MonotonicReactor", (_kind(),), {"seconds": staticmethod(monotonic)})
    with suppress(ReactorAlreadyInstalledError):
        installReactor(kind())

"""
The command as a service of ``twist tcpclient``.
"""

from __future__ import annotations

import atexit
import os
import signal
from contextlib import suppress
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning

from twisted_tcpclient.command import options
from twisted_tcpclient.command.console import occupy_standard_descriptors
from twisted_tcpclient.command.inheritance import inherited
from twisted_tcpclient.command.session import Session

__all__ = ["Options", "TCPClientService", "makeService"]


class Options(options.Options):
    """The options of the command, under ``twist``."""

    def __init__(self) -> None:
        # Done now, before twist makes its reactor: the descriptors of the reactor could
        # otherwise get the numbers 0, 1 and 2.
        occupy_standard_descriptors()
        super().__init__()


class TCPClientService(Service):
    """A session that starts with the reactor of ``twist`` and stops it at the end."""

    def __init__(self, reactor: Any, parsed: Options) -> None:
        self._reactor = reactor
        given = inherited(os.environb)
        self._session = Session(reactor, parsed.settings, given)
        self._over: Deferred[int] | None = None
        self._ending = signal.SIGTERM

    def startService(self) -> None:
        """Start the session as soon as the reactor runs."""
        super().startService()
        self._reactor.callWhenRunning(self._start_session)

    def _start_session(self) -> None:
        # Twisted does not handle SIGHUP.  Its default action would end twist and leave
        # prog running.
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            signal.signal(signal.SIGHUP, self._note_hang_up)
        self._over = self._session.run().addCallback(self._exit)

    def _note_hang_up(self, number: int, frame: object) -> None:
        self._ending = signal.SIGHUP
        self._reactor.callFromThread(self._stop_reactor)

    def _stop_reactor(self) -> None:
        # The reactor may be stopping already.
        with suppress(ReactorNotRunning):
            self._reactor.stop()

    def _exit(self, status: int) -> int:
        # twist exits with 0 (twisted/twisted#11335).  The handlers of atexit run after
        # the shutdown triggers of the reactor.
        atexit.register(os._exit, status)
        if self.running:
            self._reactor.stop()
        return status

    def stopService(self) -> Deferred[int] | None:
        """End the session, and wait for prog if there is one."""
        super().stopService()
        if self._over is not None and not self._over.called:
            self._session.signal(self._ending)
        return self._over


def makeService(parsed: Options) -> Service:
    """Return the service for the options of ``twist tcpclient``."""
    from twisted.internet import reactor

    from twisted_tcpclient.names.resolver import Resolver

    reactor.installNameResolver(Resolver(reactor))  # type: ignore[attr-defined]
    return TCPClientService(reactor, parsed)

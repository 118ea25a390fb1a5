"""
What ``twist tcpclient`` runs.
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
        # Now, as twist has no reactor yet that could be 0, 1 or 2 itself.
        occupy_standard_descriptors()
        super().__init__()


class TCPClientService(Service):
    """The session under ``twist``."""

    def __init__(self, reactor: Any, parsed: Options) -> None:
        self._reactor = reactor
        given = inherited(os.environb)
        self._session = Session(reactor, parsed.settings, given)
        self._over: Deferred[int] | None = None
        self._ending = signal.SIGTERM

    def startService(self) -> None:
        """Begin as soon as the reactor runs."""
        super().startService()
        self._reactor.callWhenRunning(self._start)

    def _start(self) -> None:
        # Twisted leaves this one alone: twist would end and leave prog behind.
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
            signal.signal(signal.SIGHUP, self._hung_up)
        self._over = self._session.run().addCallback(self._exit)

    def _hung_up(self, number: int, frame: object) -> None:
        self._ending = signal.SIGHUP
        self._reactor.callFromThread(self._stop)

    def _stop(self) -> None:
        # It may be stopping already.
        with suppress(ReactorNotRunning):
            self._reactor.stop()

    def _exit(self, status: int) -> int:
        # Twisted knows no exit status (twisted/twisted#11335).  This is the
        # last thing that happens, after all its handlers have had their say.
        atexit.register(os._exit, status)
        if self.running:
            self._reactor.stop()
        return status

    def stopService(self) -> Deferred[int] | None:
        """End the session; wait for prog, if there is one."""
        super().stopService()
        if self._over is not None and not self._over.called:
            self._session.signal(self._ending)
        return self._over


def makeService(parsed: Options) -> Service:
    """What ``twist tcpclient`` runs."""
    from twisted.internet import reactor

    from twisted_tcpclient.names.resolver import Resolver

    reactor.installNameResolver(Resolver(reactor))  # type: ignore[attr-defined]
    return TCPClientService(reactor, parsed)

"""
What ``twist tcpclient`` runs.
"""

from __future__ import annotations

import atexit
import os
import signal
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred

from twisted_tcpclient.options import Options
from twisted_tcpclient.session import Session

__all__ = ["Options", "TCPClientService", "makeService"]


class TCPClientService(Service):
    """The session under ``twist``."""

    def __init__(self, reactor: Any, options: Options) -> None:
        self._reactor = reactor
        self._session = Session(reactor, options.settings, os.environb)
        self._over: Deferred[int] | None = None

    def startService(self) -> None:
        """Begin as soon as the reactor runs: children need its SIGCHLD."""
        super().startService()
        self._reactor.callWhenRunning(self._start)

    def _start(self) -> None:
        self._over = self._session.run().addCallback(self._exit)

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
            self._session.signal(signal.SIGTERM)
        return self._over


def makeService(options: Options) -> Service:
    """What ``twist tcpclient`` runs."""
    from twisted.internet import reactor

    from twisted_tcpclient.lookup import Resolver

    reactor.installNameResolver(Resolver(reactor))  # type: ignore[attr-defined]
    return TCPClientService(reactor, options)

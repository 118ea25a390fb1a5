"""
A greeting for protocols that wait for one.

STARTTLS has consumed the server's greeting, in clear: it may have come from
anyone and is gone.  Most clients wait for one before they speak, so they are
given one made up by the dialect, inside what TLS protects.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from twisted_tcpclient.dialects import Dialect
from twisted_tcpclient.errors import DialectFailed
from twisted_tcpclient.facts import is_secure
from twisted_tcpclient.stages.base import Stage, StagedEndpoint
from twisted_tcpclient.text import fault


class Greeting(Stage):
    """
    Opens at once, and lets the greeting be the first that is received.

    It is delivered in an iteration of its own, as one from the network would
    be: by then whoever called ``connect`` has the protocol in hand.
    """

    awaited = "the greeting"

    def __init__(self, greeting: bytes, *args: Any) -> None:
        super().__init__(*args)
        self._held: list[bytes] = [greeting]
        self._call: IDelayedCall | None = None
        self.ready.addCallback(self._opened)

    def connectionMade(self) -> None:
        """Nothing to wait for."""
        super().connectionMade()
        self.open()
        if is_secure(self.transport):
            self.announce()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """What was received before is delivered before, unless nobody wants it."""
        try:
            if self._call is not None and self._call.active():
                self._call.cancel()
                if not reason.check(ConnectionAborted):
                    self._greet()
        finally:
            super().connectionLost(reason)

    def _opened(self, protocol: IProtocol) -> IProtocol:
        self.dataReceived = self._hold  # type: ignore[method-assign]
        self._call = self._clock.callLater(0, self._greet)
        return protocol

    def _hold(self, data: bytes) -> None:
        """A server that speaks at once is heard after the greeting."""
        self._held.append(data)

    def _greet(self) -> None:
        if getattr(self.transport, "aborted", False):
            # TLS tells of that as of any other loss.
            return
        try:
            while self._held:
                self._forward(self._held.pop(0))
        except BaseException:
            # The reactor closes what raises as it is read from; no more here.
            self.transport.abortConnection()
            raise
        self.dataReceived = self._forward  # type: ignore[method-assign]


def greeting_from(dialect: Dialect, host: str) -> bytes:
    """
    The greeting that a dialect makes up for a host.

    :raises ValueError: if it has none.
    :raises DialectFailed: if it should have one, and does not make it.
    """
    if dialect.greeting is None:
        raise ValueError(f"{dialect.name} has no greeting")
    try:
        return b"%b" % dialect.greeting(host)
    except Exception as error:
        raise DialectFailed(
            f"the dialect {dialect.name} made no greeting: {fault(error)}"
        ) from error


def greeted(
    greeting: bytes, endpoint: IStreamClientEndpoint, clock: Any
) -> IStreamClientEndpoint:
    """
    An endpoint whose connections begin with those bytes.

    ``connect`` fails as that of the wrapped endpoint does.
    """

    def build(factory: IProtocolFactory, address: IAddress | None) -> Stage:
        return Greeting(greeting, factory, address, clock, None)

    return StagedEndpoint(endpoint, build)

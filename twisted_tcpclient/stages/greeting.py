"""
A made-up greeting, for protocols that wait for one.

STARTTLS reads the server's greeting in clear, where an attacker could have written it,
and drops it.  Most clients of SMTP, IMAP or POP3 wait for a greeting before they send.
So the dialect makes one up, and the protocol receives it after TLS is established.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IReactorTime,
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
    A stage that opens at once, and delivers the greeting before all other data.

    The greeting is delivered in the next iteration of the reactor.  By then the caller
    of ``connect`` has the protocol, as with a greeting from the network.
    """

    awaited = "the greeting"

    def __init__(self, greeting: bytes, *args: Any) -> None:
        """:param greeting: the bytes; the other parameters are those of a stage."""
        super().__init__(*args)
        self._held: list[bytes] = [greeting]
        self._call: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Open: there is no condition."""
        super().connectionMade()
        self.ready.addCallback(self._schedule_greeting)
        self.open()
        if is_secure(self.transport):
            self.announce()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Deliver what was received before the loss, unless this side has aborted."""
        try:
            if self._call is not None and self._call.active():
                self._call.cancel()
                if not reason.check(ConnectionAborted):
                    self._greet()
        finally:
            super().connectionLost(reason)

    def _schedule_greeting(self, protocol: IProtocol) -> IProtocol:
        self.dataReceived = self._hold  # type: ignore[method-assign]
        self._call = self._clock.callLater(0, self._greet)
        return protocol

    def _hold(self, data: bytes) -> None:
        """Keep data that comes before the greeting is delivered."""
        self._held.append(data)

    def _greet(self) -> None:
        """Deliver the greeting, and the data that has come meanwhile."""
        if getattr(self.transport, "aborted", False):
            # TLSTransport reports its own abort as ConnectionLost.
            return
        try:
            while self._held:
                self._forward(self._held.pop(0))
        except BaseException:
            # The reactor disconnects a protocol that raises in dataReceived, but only
            # if the reactor itself has called it.
            self.transport.abortConnection()
            raise
        self.dataReceived = self._forward  # type: ignore[method-assign]


def greeting_from(dialect: Dialect, host: str) -> bytes:
    """
    Return the greeting that a dialect makes up.

    :param host: the name of the server for the greeting.
    :raises ValueError: if the dialect has no greeting.
    :raises DialectFailed: if the dialect raises, or makes something other than bytes.
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
    greeting: bytes, endpoint: IStreamClientEndpoint, clock: IReactorTime
) -> IStreamClientEndpoint:
    """
    Return an endpoint whose protocols receive a greeting before all other data.

    ``connect`` fails with the errors of the wrapped endpoint.

    :param greeting: the bytes, line end included.
    :param endpoint: makes the connections.
    :param clock: the reactor.
    """

    def build(factory: IProtocolFactory, address: IAddress | None) -> Stage:
        return Greeting(greeting, factory, address, clock, None)

    return StagedEndpoint(endpoint, build)

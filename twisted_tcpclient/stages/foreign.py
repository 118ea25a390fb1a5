"""
Whatever Twisted can describe, as an endpoint whose connections may be used.

Twisted's ``tls:`` counts as connected before anyone has seen the certificate, and
endpoints of other packages have habits of their own.  Here, too, connected means
usable.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.error import (
    ConnectionDone,
    ConnectionLost,
)
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IProcessTransport,
)
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

from twisted_tcpclient.errors import (
    ConnectionBroken,
)
from twisted_tcpclient.facts import is_complete, is_secure
from twisted_tcpclient.stages.base import Stage

#: How often to look whether TLS has got through, where nobody says so, in seconds.
LOOK = 0.05


def _nothing(*_: object) -> None:
    """It cannot be done, and can be done without."""


def _close_input(transport: Any) -> None:
    """
    Tell a program behind a transport that we have no more to say.  Nobody else can
    be told so: they have to end it.
    """
    if IProcessTransport.providedBy(transport):
        transport.closeStdin()


#: What is done in the place of what a transport lacks.
_INSTEAD: dict[str, Callable[..., object]] = {
    "pauseProducing": _nothing,
    "resumeProducing": _nothing,
    "registerProducer": _nothing,
    "unregisterProducer": _nothing,
    "loseWriteConnection": _close_input,
    "abortConnection": lambda transport: transport.loseConnection(),
    "fileno": lambda transport: -1,
}


class Completed:
    """
    A transport, with something in the place of what it may lack.

    It is never a socket that may be handed over: whoever has made it may have more
    to read or to write than we know of.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        directlyProvides(self, providedBy(transport))
        # Asked for now: a connection that is lost may not know them any more.
        self._peer = _address(transport.getPeer)
        self._host = _address(transport.getHost)

    def __getattr__(self, name: str) -> Any:
        if name in _INSTEAD and not hasattr(self._transport, name):
            return partial(_INSTEAD[name], self._transport)
        return getattr(self._transport, name)

    def getHandle(self) -> Any:
        """The session of TLS, and never a socket."""
        return self._transport.getHandle() if is_secure(self._transport) else None

    def getPeer(self) -> Any:
        """The other end, None where it has no address."""
        return self._peer

    def getHost(self) -> Any:
        """Our end, None where it has no address."""
        return self._host


def _address(find: Callable[[], Any]) -> Any:
    try:
        return find()
    except Exception:
        # Not all that is connected to has an address, and not all says so alike.
        return None


@implementer(IHandshakeListener)
class Settled(Stage):
    """
    Holds a connection until TLS, if there is any and whoever has made it, is
    through.

    Twisted tells only the protocol directly above TLS of the handshake; where that
    is not us, we look.
    """

    awaited = "the TLS handshake"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._looking: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """There is a connection, though perhaps nobody has called makeConnection."""
        self._complete()
        super().connectionMade()
        self._look()

    def open(self) -> None:
        """Build the next protocol and step aside."""
        self._look_no_more()
        super().open()

    def refuse(self, error: Exception) -> None:
        """Close, and fail with that error."""
        self._look_no_more()
        super().refuse(error)

    def handshakeCompleted(self) -> None:
        """The handshake is over."""
        if _is_settled(self.transport):
            self.open()

    def dataReceived(self, data: bytes) -> None:
        """Nothing is delivered before the handshake is over: so it is."""
        self.open()
        if self._next is not None:
            self._forward(data)

    def connectionLost(self, reason: Failure | None = connectionDone) -> None:
        """It is gone, though perhaps it was never made, and nobody says why."""
        self._complete()
        if self._looking and reason and reason.check(ConnectionDone, ConnectionLost):
            self._look_back()
        super().connectionLost(reason or connectionDone)

    def lost(self, reason: Failure) -> Exception:
        """The certificate was bad, or the handshake broke."""
        if not is_secure(self.transport):
            return ConnectionBroken("the connection was closed")
        from twisted_tcpclient.tls.reasons import explain_handshake

        return explain_handshake(reason)

    def _complete(self) -> None:
        if not (isinstance(self.transport, Completed) or is_complete(self.transport)):
            self.transport = Completed(self.transport)

    def _look(self) -> None:
        self._looking = None
        if _is_settled(self.transport):
            self.open()
        else:
            self._looking = self._clock.callLater(LOOK, self._look)

    def _look_back(self) -> None:
        """Perhaps TLS got through, and the server has been faster than our look."""
        from twisted_tcpclient.tls.sessions import is_established

        if is_established(self.transport):
            self.open()

    def _look_no_more(self) -> None:
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()


def _is_settled(transport: Any) -> bool:
    """
    Whether there is no TLS, or it has got through.

    Twisted 24 compares names when all the rest is over, and then says close_notify
    to a wrong one: whose end it is, is known when the connection is lost.
    """
    if not is_secure(transport):
        return True
    from twisted_tcpclient.tls.sessions import is_closing, is_established

    return is_established(transport) and not is_closing(transport)

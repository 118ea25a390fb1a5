"""
A stage for connections that other packages have made.

Twisted's ``tls:`` connects before the certificate is verified.  Transports of other
packages may lack methods that every transport of Twisted has.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IProcessTransport,
)
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

from twisted_tcpclient.errors import ConnectionBroken
from twisted_tcpclient.facts import is_complete, is_secure
from twisted_tcpclient.stages.base import Stage

#: The interval at which the state of a handshake is polled, in seconds.
POLL = 0.05


def _do_nothing(*_: object) -> None:
    """Stand in for a method that the relay can do without."""


def _close_stdin(transport: Any) -> None:
    """Close the stdin of a process; other transports have no half-close."""
    if IProcessTransport.providedBy(transport):
        transport.closeStdin()


#: Functions that stand in for methods which a transport lacks.
_SUBSTITUTES: dict[str, Callable[..., object]] = {
    "pauseProducing": _do_nothing,
    "resumeProducing": _do_nothing,
    "registerProducer": _do_nothing,
    "unregisterProducer": _do_nothing,
    "loseWriteConnection": _close_stdin,
    "abortConnection": lambda transport: transport.loseConnection(),
    "fileno": lambda transport: -1,
}


def _address_or_none(get: Callable[[], Any]) -> Any:
    """Return an address; None if the transport raises any exception."""
    try:
        return get()
    except Exception:
        return None


class Completed:
    """
    A transport with substitutes for the methods that it lacks.

    It provides the interfaces of the transport.  It never gives the socket away: the
    package that made the transport may hold bytes that it has read or not sent.
    """

    def __init__(self, transport: Any) -> None:
        """:param transport: of any package, connected."""
        self._transport = transport
        directlyProvides(self, providedBy(transport))
        # Read now: a transport of Twisted has no addresses after connectionLost.
        self._peer = _address_or_none(transport.getPeer)
        self._host = _address_or_none(transport.getHost)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the transport, or a substitute for it."""
        if name in _SUBSTITUTES and not hasattr(self._transport, name):
            return partial(_SUBSTITUTES[name], self._transport)
        return getattr(self._transport, name)

    def getHandle(self) -> Any:
        """Return the TLS session; None in clear, where the handle is a socket."""
        return self._transport.getHandle() if is_secure(self._transport) else None

    def getPeer(self) -> Any:
        """Return the server's address, or None if the transport has none."""
        return self._peer

    def getHost(self) -> Any:
        """Return the client's address, or None if the transport has none."""
        return self._host


@implementer(IHandshakeListener)
class Settled(Stage):
    """
    A stage that holds a connection until its TLS handshake is over.

    In clear it opens at once.  Twisted calls handshakeCompleted only of the protocol
    directly above TLS.  If another protocol lies between, the stage polls the session;
    data, too, shows that the handshake is over.
    """

    awaited = "the TLS handshake"

    def __init__(self, *args: Any, direct: bool = True) -> None:
        """
        :param direct: whether a socket that the endpoint connects may be given away: no
            protocol of another package holds its data, or changes them.

        The other parameters are those of :class:`Stage`.
        """
        super().__init__(*args)
        self._direct = direct
        self._polling: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Begin to poll; ``transport`` may have been set without makeConnection."""
        self._complete()
        super().connectionMade()
        self._poll()

    def handshakeCompleted(self) -> None:
        """Open the stage, unless Twisted is about to close the connection."""
        if _is_settled(self.transport):
            self.open()

    def dataReceived(self, data: bytes) -> None:
        """Open the stage: TLS delivers no data before the handshake is over."""
        self.open()
        if self._next is not None:
            self._forward(data)

    def connectionLost(self, reason: Failure | None = connectionDone) -> None:
        """
        Call connectionLost of the next protocol, or fail ``ready``.

        Other packages may call this without connectionMade, and with None.
        """
        self._complete()
        if self._polling and reason and reason.check(ConnectionDone, ConnectionLost):
            self._open_if_established()
        super().connectionLost(reason or connectionDone)

    def loss_error(self, reason: Failure) -> Exception:
        """Return the verdict on the certificate, or the error of the handshake."""
        if not is_secure(self.transport):
            return ConnectionBroken("the connection was closed")
        from twisted_tcpclient.tls.reasons import explain_handshake

        return explain_handshake(reason)

    def cancel_calls(self) -> None:
        """Cancel the deadline, and stop polling."""
        super().cancel_calls()
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.cancel()

    def _complete(self) -> None:
        usable = self._direct and is_complete(self.transport)
        if not (usable or isinstance(self.transport, Completed)):
            self.transport = Completed(self.transport)

    def _poll(self) -> None:
        self._polling = None
        if _is_settled(self.transport):
            self.open()
        else:
            self._polling = self._clock.callLater(POLL, self._poll)

    def _open_if_established(self) -> None:
        """Open the stage if the handshake was over before the connection ended."""
        from twisted_tcpclient.tls.sessions import is_established

        if is_established(self.transport):
            self.open()


def _is_settled(transport: Any) -> bool:
    """
    Return whether a transport is in clear, or its handshake has succeeded.

    Twisted 24.7 compares the names of the certificate after the handshake, and sends
    close_notify if they differ; its verdict comes with connectionLost.
    """
    if not is_secure(transport):
        return True
    from twisted_tcpclient.tls.sessions import is_closing, is_established

    return is_established(transport) and not is_closing(transport)

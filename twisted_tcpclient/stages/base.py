"""
A connection becomes usable in stages.

The stream is up; the server has agreed to start TLS; TLS has proved who the
server is.  A stage is a protocol that holds a new connection until its
condition is met.  Then it builds the next protocol on the same transport and
from there on only forwards.  What comes next never hears of it.

So nobody calls ``transport.startTLS`` and nobody assigns
``transport.protocol``: the first could not wait for the verdict on the
certificate, the second does nothing at all under a wrapped transport.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectingCancelledError, NoProtocol
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IProtocol,
    IProtocolFactory,
    IProtocolNegotiationFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer

from twisted_tcpclient.errors import TCPClientError, TimedOut


class Stage(Protocol):
    """
    Holds a connection until :meth:`open` or :meth:`refuse` is called.

    :ivar ready: fires with the next protocol, connected, or fails.  Cancelling
        it aborts the connection.
    """

    #: What the stage waits for, in the words of its messages.
    awaited = "the connection"
    #: Wrapped transports have what they wrap, which no interface says.
    transport: Any

    def __init__(
        self,
        factory: IProtocolFactory,
        address: Any,
        clock: IReactorTime,
        timeout: float | None,
    ) -> None:
        """
        :param factory: builds the next protocol.
        :param address: given to it.
        :param timeout: how long the stage may take in all, in seconds.
        """
        self._factory = factory
        self._address = address
        self._next: IProtocol | None = None
        self._waiting = True
        self._clock = clock
        self._timeout = timeout
        self._deadline: Any = None
        self.ready: Deferred[IProtocol] = Deferred(self._cancelled)

    def connectionMade(self) -> None:
        """Start the clock; subclasses begin their work after this."""
        if self._timeout is not None:
            self._deadline = self._clock.callLater(self._timeout, self._expired)

    def open(self) -> None:
        """The condition is met: build the next protocol and step aside."""
        if not self._settle():
            return
        try:
            following = self._factory.buildProtocol(self._address)
            if following is None:
                raise NoProtocol()
            self._next = following
            self.dataReceived = self._forward  # type: ignore[method-assign]
            following.makeConnection(self.transport)
        except BaseException:
            self.transport.abortConnection()
            if self.ready.called:
                raise
            self.ready.errback()
        else:
            # The next protocol itself may have had enough as it was connected.
            if not self.ready.called:
                self.ready.callback(following)

    def announce(self) -> None:
        """Tell the next protocol, if it wants to know, that the handshake is over."""
        following: Any = self._next
        if self.transport.disconnecting:
            return
        if IHandshakeListener.providedBy(following):
            following.handshakeCompleted()

    def refuse(self, error: Exception) -> None:
        """The condition will not be met: close, and fail with that error."""
        if not self._settle():
            return
        if isinstance(error, TCPClientError):
            error.peer = self.transport.getPeer()
        self.dataReceived = self._ignore  # type: ignore[method-assign]
        self.transport.abortConnection()
        self.ready.errback(error)

    def lost(self, reason: Failure) -> Exception:
        """Why the condition can no longer be met, for subclasses to say."""
        raise NotImplementedError

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the next protocol, or whoever waits for it."""
        if self._next is not None:
            self._next.connectionLost(reason)
        elif self._waiting:
            self.refuse(self.lost(reason))

    def _forward(self, data: bytes) -> None:
        assert self._next is not None
        self._next.dataReceived(data)

    def _ignore(self, data: bytes) -> None:
        """An aborted transport may still deliver what it has read."""

    def _settle(self) -> bool:
        """True the first time only: what is decided stays decided."""
        first, self._waiting = self._waiting, False
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        return first

    def _expired(self) -> None:
        self.refuse(TimedOut(f"timed out waiting for {self.awaited}"))

    def _cancelled(self, ready: Deferred[IProtocol]) -> None:
        error = ConnectingCancelledError(self._address)
        if self._waiting:
            self.refuse(error)
        else:
            # By the next protocol, while it is being connected.
            self.transport.abortConnection()
            ready.errback(error)


class StageFactory(ClientFactory):
    """Builds one stage in front of a factory."""

    noisy = False

    def __init__(
        self,
        build: Callable[[IProtocolFactory, IAddress | None], Stage],
        factory: IProtocolFactory,
    ) -> None:
        self._build = build
        self._factory = factory
        if IProtocolNegotiationFactory.providedBy(factory):
            directlyProvides(self, IProtocolNegotiationFactory)

    def acceptableProtocols(self) -> list[bytes]:
        """Those of the factory, where it has any (ALPN)."""
        protocols: list[bytes] = self._factory.acceptableProtocols()  # type: ignore[attr-defined]
        return protocols

    def doStart(self) -> None:
        """Passed on."""
        self._factory.doStart()

    def doStop(self) -> None:
        """Passed on."""
        self._factory.doStop()

    def buildProtocol(self, addr: IAddress | None) -> Stage:
        """The stage; the protocol behind it is built when its time comes."""
        return self._build(self._factory, addr)


@implementer(IStreamClientEndpoint)
class StagedEndpoint:
    """An endpoint with one stage in front of whatever connects through it."""

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        build: Callable[[IProtocolFactory, IAddress | None], Stage],
    ) -> None:
        self._endpoint = endpoint
        self._build = build

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect, and wait for the stage.

        Fails as the wrapped endpoint does, and as the stage does.  Cancelling
        closes the connection at whatever point it is.
        """
        factory = StageFactory(self._build, protocolFactory)
        connected: Deferred[Any] = self._endpoint.connect(factory)
        return connected.addCallback(lambda stage: stage.ready)

"""
Stages: protocols that hold a connection until a condition is met.

A connection becomes usable in stages: the server has agreed to start TLS; TLS has
verified the server's certificate.  Each stage holds the connection until its condition
is met, builds the next protocol on the same transport, and then only forwards to it.

``transport.startTLS`` is not used: with it a connection would count as made before its
certificate is verified.  ``transport.protocol`` is not assigned: a wrapped transport,
such as TLS in Twisted, ignores that attribute.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectingCancelledError, NoProtocol
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
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


class StageState(Enum):
    """
    The owner of the connection.

    HOLDING is the first state.  ``open`` leads to OPEN; ``refuse``, a factory that
    builds no protocol, the deadline, the loss of the connection and the cancelling of
    ``ready`` lead to REFUSED.  OPEN and REFUSED are final.
    """

    HOLDING = "the stage"
    OPEN = "the next protocol"
    REFUSED = "no protocol: the connection is aborted"


class Stage(Protocol):
    """
    A protocol that holds a connection until :meth:`open` or :meth:`refuse` is called.

    :ivar state: a :class:`StageState`.
    :ivar ready: fires with the next protocol, connected; fails with the error given to
        :meth:`refuse`, or with that of a factory or a protocol that raises.  Cancelling
        it aborts the connection.
    """

    #: The condition, for the message of the deadline.
    awaited = "the connection"
    #: Wrapped transports have attributes that are in no interface.
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
        :param address: the address for the factory.
        :param clock: keeps the deadline.
        :param timeout: seconds from connectionMade to the deadline; None for no
            deadline.
        """
        self.state = StageState.HOLDING
        self.ready: Deferred[IProtocol] = Deferred(self._cancelled)
        self._factory = factory
        self._address = address
        self._clock = clock
        self._timeout = timeout
        self._deadline: IDelayedCall | None = None
        self._next: IProtocol | None = None

    def connectionMade(self) -> None:
        """Set the deadline.  Subclasses begin their work after this."""
        if self._timeout is not None:
            self._deadline = self._clock.callLater(self._timeout, self._time_out)

    def open(self) -> None:
        """Build the next protocol and give it the connection, if still HOLDING."""
        if self.state is not StageState.HOLDING:
            return
        try:
            following = self._build()
        except BaseException as error:
            self.refuse(error)
        else:
            self._hand_on(following)

    def refuse(self, error: BaseException) -> None:
        """
        Abort the connection and fail ``ready``, if still HOLDING.

        :param error: a :class:`twisted_tcpclient.errors.TCPClientError` is given the
            address of the server as its ``peer``.
        """
        if not self._leave_for(StageState.REFUSED):
            return
        if isinstance(error, TCPClientError):
            error.peer = self.transport.getPeer()
        # Twisted's TLS delivers what it has decrypted even after abortConnection.
        self.dataReceived = self._drop_data  # type: ignore[method-assign]
        self.transport.abortConnection()
        self.ready.errback(error)

    def announce(self) -> None:
        """Call handshakeCompleted of the next protocol, if it provides that method."""
        following: Any = self._next
        if self.transport.disconnecting:
            return
        if IHandshakeListener.providedBy(following):
            following.handshakeCompleted()

    def loss_error(self, reason: Failure) -> Exception:
        """
        Return the error for a connection that was lost while HOLDING.

        :param reason: the reason given to connectionLost.
        :raises NotImplementedError: always; each subclass overrides the method.
        """
        raise NotImplementedError

    def cancel_calls(self) -> None:
        """Cancel the delayed calls of the stage: it leaves HOLDING."""
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Call connectionLost of the next protocol; without one, fail ``ready``."""
        if self._next is not None:
            self._next.connectionLost(reason)
        elif self.state is StageState.HOLDING:
            self.refuse(self.loss_error(reason))

    def _leave_for(self, state: StageState) -> bool:
        """Change from HOLDING to a final state; return False in a final state."""
        if self.state is not StageState.HOLDING:
            return False
        self.state = state
        self.cancel_calls()
        return True

    def _build(self) -> IProtocol:
        following = self._factory.buildProtocol(self._address)
        if following is None:
            raise NoProtocol()
        return following

    def _hand_on(self, following: IProtocol) -> None:
        """Connect the next protocol; abort the connection if that raises."""
        if not self._leave_for(StageState.OPEN):
            # The factory has cancelled ``ready`` meanwhile.
            return
        self._next = following
        self.dataReceived = self._forward  # type: ignore[method-assign]
        try:
            following.makeConnection(self.transport)
        except BaseException:
            self.transport.abortConnection()
            if self.ready.called:
                raise
            self.ready.errback()
        else:
            # The next protocol may have cancelled ``ready`` in its connectionMade.
            if not self.ready.called:
                self.ready.callback(following)

    def _forward(self, data: bytes) -> None:
        assert self._next is not None
        self._next.dataReceived(data)

    def _drop_data(self, data: bytes) -> None:
        pass

    def _time_out(self) -> None:
        self.refuse(TimedOut(f"timed out waiting for {self.awaited}"))

    def _cancelled(self, ready: Deferred[IProtocol]) -> None:
        error = ConnectingCancelledError(self._address)
        if self.state is StageState.HOLDING:
            self.refuse(error)
        else:
            # The next protocol has cancelled ``ready`` in its connectionMade.
            self.transport.abortConnection()
            ready.errback(error)


class StageFactory(ClientFactory):
    """A factory that puts one stage in front of the protocols of another factory."""

    noisy = False

    def __init__(
        self,
        build: Callable[[IProtocolFactory, IAddress | None], Stage],
        factory: IProtocolFactory,
    ) -> None:
        """
        :param build: makes a stage for a factory and an address.
        :param factory: builds the protocols behind the stages.
        """
        self._build = build
        self._factory = factory
        if IProtocolNegotiationFactory.providedBy(factory):
            directlyProvides(self, IProtocolNegotiationFactory)

    def acceptableProtocols(self) -> list[bytes]:
        """Return the protocols that the wrapped factory offers by ALPN (RFC 7301)."""
        protocols: list[bytes] = self._factory.acceptableProtocols()  # type: ignore[attr-defined]
        return protocols

    def doStart(self) -> None:
        """Call doStart of the wrapped factory."""
        self._factory.doStart()

    def doStop(self) -> None:
        """Call doStop of the wrapped factory."""
        self._factory.doStop()

    def buildProtocol(self, addr: IAddress | None) -> Stage:
        """Return a stage, which builds the protocol behind it when it opens."""
        return self._build(self._factory, addr)


@implementer(IStreamClientEndpoint)
class StagedEndpoint:
    """An endpoint that puts one stage in front of the connections of another one."""

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        build: Callable[[IProtocolFactory, IAddress | None], Stage],
    ) -> None:
        """
        :param endpoint: connects.
        :param build: makes a stage for a factory and an address.
        """
        self._endpoint = endpoint
        self._build = build

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect, and wait for the stage to open.

        Fails with the errors of the wrapped endpoint and with those of the stage.
        Cancelling ends the attempt, or aborts the connection that the stage holds.

        :param protocolFactory: builds the protocol behind the stage.
        :returns: fires with that protocol, connected.
        """
        factory = StageFactory(self._build, protocolFactory)
        connected: Deferred[Any] = self._endpoint.connect(factory)
        return connected.addCallback(lambda stage: stage.ready)

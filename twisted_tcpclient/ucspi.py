"""
The program's side of UCSPI: descriptors 6 and 7 as an endpoint.

A UCSPI client runs its program with the connection on 6 (to read) and 7 (to write), a
UCSPI server on 0 and 1.  With this endpoint a Twisted program can be that program.
Without TLS both descriptors are one socket, which the reactor adopts.  With TLS they
are pipes, and the addresses are in the environment.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    NoProtocol,
)
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableProtocol,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_tcpclient.errors import LocalFailure
from twisted_tcpclient.relay.streams import Sink, Source
from twisted_tcpclient.text import os_reason

Environment = Mapping[str, str]


def address_from(environ: Environment, side: str) -> IAddress:
    """
    Return the address of one side of the connection.

    :param environ: an environment with PROTO, TCPLOCALIP, TCPREMOTEIP and so on.
    :param side: "LOCAL" or "REMOTE".
    :returns: a UNIXAddress without a name if PROTO is not TCP, TCP6 or SSL, or if the
        address is missing or the port is not a number.
    """
    protocol = environ.get("PROTO", "")
    prefix = "SSL" if protocol.startswith("SSL") else "TCP"
    ip = environ.get(f"{prefix}{side}IP", "")
    port = environ.get(f"{prefix}{side}PORT", "")
    number = int(port) if port.isascii() and port.isdigit() else -1
    if not protocol.startswith(prefix) or not ip or number < 0:
        return UNIXAddress(None)
    kind = IPv6Address if ":" in ip else IPv4Address
    return kind("TCP", ip, number)


class _PipesState(Enum):
    """The states of :class:`Pipes`, in order: no transition leads to an earlier one."""

    OPEN = "data is read and written"
    CLOSING = "loseConnection was called: the buffer is written"
    ABORTED = "both descriptors are closed, and connectionLost is due"
    LOST = "connectionLost was called"


def _is_half_closeable(protocol: IProtocol) -> bool:
    return bool(IHalfCloseableProtocol.providedBy(protocol))


@implementer(ITransport, IConsumer, IPushProducer)
class Pipes:
    """
    A transport over two descriptors: one to read from, one to write to.

    It calls the protocol as Twisted's TCP transports do: a protocol that raises loses
    its connection, and connectionLost is called once, with ConnectionDone after an
    orderly end, ConnectionLost after an error, ConnectionAborted after an abort.
    """

    def __init__(
        self,
        reactor: Any,
        descriptors: tuple[int, int],
        protocol: IProtocol,
        environ: Environment,
    ) -> None:
        """
        :param reactor: reads and writes the descriptors.
        :param descriptors: one to read from, one to write to; they are closed at the
            end.
        :param protocol: receives the bytes that are read.
        :param environ: the environment with the addresses.
        """
        reading, writing = descriptors
        self._protocol = protocol
        self._environ = environ
        self._state = _PipesState.OPEN
        self._reason: Exception = ConnectionDone()
        self._broken = False
        self._accepted = 0
        self._producer: Any = None
        self._source = Source(reactor, reading, self._deliver, self._reading_ended)
        self._sink: Sink | None = Sink(reactor, writing, self._writing_ended)
        self._reactor = reactor

    # ITransport

    @property
    def disconnecting(self) -> bool:
        """Whether the connection is closed, or being closed, by either side."""
        return self._state is not _PipesState.OPEN

    def write(self, data: bytes) -> None:
        """Write to the descriptor, unless the write side is closed."""
        if self.disconnecting:
            return
        if self._sink is not None:
            self._accepted += len(data)
            self._sink.write(data)
        elif self._broken:
            self._reason = ConnectionLost()

    def writeSequence(self, data: Any) -> None:
        """Write a sequence of bytes."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close both descriptors once the buffer is written."""
        if self.disconnecting:
            return
        self._state = _PipesState.CLOSING
        self._source.close()
        if self._sink is None:
            self._reactor.callLater(0, self._lost, self._reason)
        self.loseWriteConnection()

    def loseWriteConnection(self) -> None:
        """Close the write descriptor once the buffer is written."""
        if self._sink is not None:
            self._sink.loseConnection()

    def abortConnection(self) -> None:
        """Close both descriptors now, and drop the buffer."""
        self._give_up(ConnectionAborted())

    def _give_up(self, reason: BaseException) -> None:
        """Close both descriptors, and call connectionLost in the next iteration."""
        if self._state in (_PipesState.ABORTED, _PipesState.LOST):
            return
        self._state = _PipesState.ABORTED
        self._source.close()
        if self._sink is not None:
            self._sink.close()
        self._sink = None
        self._reactor.callLater(0, self._lost, reason)

    def getPeer(self) -> IAddress:
        """Return the server's address, from the environment."""
        return address_from(self._environ, "REMOTE")

    def getHost(self) -> IAddress:
        """Return the client's address, from the environment."""
        return address_from(self._environ, "LOCAL")

    # IPushProducer and IConsumer

    def pauseProducing(self) -> None:
        """Stop reading until resumeProducing."""
        self._source.pauseProducing()

    def resumeProducing(self) -> None:
        """Resume reading."""
        self._source.resumeProducing()

    def stopProducing(self) -> None:
        """Close the connection: the consumer is gone."""
        self.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause and resume a producer as the buffer fills and empties."""
        if self._sink is None:
            producer.stopProducing()
        else:
            self._sink.registerProducer(producer, streaming)
            self._producer = producer

    def unregisterProducer(self) -> None:
        """Stop pausing and resuming the producer."""
        self._producer = None
        if self._sink is not None:
            self._sink.unregisterProducer()

    # Calls of the protocol

    def _notify(self, method: Callable[..., object], *arguments: object) -> None:
        """Call a method of the protocol, and close the connection if it raises."""
        try:
            method(*arguments)
        except BaseException as error:
            self._give_up(error)
            raise

    def _deliver(self, data: bytes) -> None:
        # dataReceived is looked up for each call, because a protocol may replace it.
        self._notify(self._protocol.dataReceived, data)

    # The ends

    def start(self) -> None:
        """Begin to read, and connect the protocol."""
        # Reading starts before makeConnection, so that connectionMade can call
        # pauseProducing.  The reactor reads nothing before its next iteration.
        self._source.resumeProducing()
        if self._sink is not None:
            self._sink.start()
        try:
            self._protocol.makeConnection(self)
        except BaseException:
            self.abortConnection()
            raise

    def _reading_ended(self, error: OSError | None) -> None:
        half_closed = error is None and _is_half_closeable(self._protocol)
        if error is not None:
            self._reason = ConnectionLost()
        if half_closed:
            self._notify(self._protocol.readConnectionLost)  # type: ignore[attr-defined]
        if self._sink is None:
            self._lost(self._reason)
        elif not half_closed:
            self.loseConnection()

    def _writing_ended(self, error: OSError | None) -> None:
        assert self._sink is not None
        self._broken = error is not None
        if self._sink.written < self._accepted:
            self._reason = ConnectionLost()
        self._sink = None
        if (
            error is None
            and _is_half_closeable(self._protocol)
            and not self.disconnecting
        ):
            self._notify(self._protocol.writeConnectionLost)  # type: ignore[attr-defined]
        # EPIPE says that the reader of this pipe is gone.  The other pipe may hold
        # data that was written before, so it is read to EOF.
        if self._source.fileno() < 0:
            self._lost(self._reason)

    def _lost(self, reason: BaseException) -> None:
        if self._state is _PipesState.LOST:
            return
        self._state = _PipesState.LOST
        producer, self._producer = self._producer, None
        if producer is not None:
            # The producer is stopped only now: it is often a connection that also
            # consumes the bytes read from this one, and stopProducing would close it.
            producer.stopProducing()
        self._protocol.connectionLost(Failure(reason))


def _given(descriptor: int) -> os.stat_result:
    """
    Return the status of an inherited descriptor.

    If 6 and 7 were not inherited, they may be files that the reactor has opened.
    Python opens all files non-inheritable (PEP 446).

    :raises OSError: EBADF, if the descriptor is not open or not inheritable.
    """
    status = os.fstat(descriptor)
    if not os.get_inheritable(descriptor):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return status


class _Once(Factory):
    """A factory that keeps its protocol: adoptStreamConnection does not return it."""

    noisy = False

    def __init__(self, factory: IProtocolFactory) -> None:
        self._factory = factory
        self.built: IProtocol | None = None

    def buildProtocol(self, addr: Any) -> Any:
        self.built = self._factory.buildProtocol(addr)
        return self.built


@implementer(IStreamClientEndpoint)
class UCSPIEndpoint:
    """An endpoint that adopts the descriptors which a UCSPI client has passed on."""

    def __init__(
        self,
        reactor: Any,
        descriptors: tuple[int, int] | None = None,
        environ: Environment | None = None,
    ) -> None:
        """
        :param reactor: reads and writes the descriptors.
        :param descriptors: one to read from, one to write to; 6 and 7 by default,
            which must have been inherited.  A UCSPI server passes 0 and 1.  The
            endpoint closes them, so it connects once.
        :param environ: the environment with the addresses; that of the process by
            default.
        """
        self._reactor = reactor
        self._descriptors = descriptors or (6, 7)
        self._status = os.fstat if descriptors else _given
        self._environ = os.environ if environ is None else environ
        self._taken = False

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect at once.

        Fails with :class:`twisted_tcpclient.errors.LocalFailure` if the descriptors
        are not open, have been taken before, or are 6 and 7 and were not inherited;
        with NoProtocol if the factory builds no protocol; with the errors of the
        factory.

        :param protocolFactory: builds the protocol for the connection.
        :returns: a Deferred that has already fired with that protocol, connected.
        """
        try:
            return succeed(self._adopt(protocolFactory))
        except BaseException:
            return fail()

    def _adopt(self, factory: IProtocolFactory) -> IProtocol:
        if self._taken:
            raise self._unusable("they have been taken before")
        try:
            reading, writing = map(self._status, self._descriptors)
        except OSError as error:
            raise self._unusable(os_reason(error)) from None
        self._taken = True
        one = (reading.st_dev, reading.st_ino) == (writing.st_dev, writing.st_ino)
        connect = (
            self._socket if one and stat.S_ISSOCK(reading.st_mode) else self._pipes
        )
        return connect(factory)

    def _unusable(self, why: str) -> LocalFailure:
        numbers = " and ".join(map(str, self._descriptors))
        return LocalFailure(f"no connection on descriptors {numbers}: {why}")

    def _socket(self, factory: IProtocolFactory) -> IProtocol:
        """Adopt a socket, to which both descriptors refer."""
        reading, writing = self._descriptors
        once = _Once(factory)
        with socket.socket(fileno=reading) as adopted:
            if writing != reading:
                os.close(writing)
            try:
                # ENOTCONN: the socket was reset, or never connected.
                adopted.getpeername()
                adopted.setblocking(False)
            except OSError as error:
                raise self._unusable(os_reason(error)) from None
            try:
                self._reactor.adoptStreamConnection(reading, adopted.family, once)
            except BaseException:
                transport = getattr(once.built, "transport", None)
                if transport is not None:
                    transport.abortConnection()
                raise
        if once.built is None:
            raise NoProtocol()
        return once.built

    def _pipes(self, factory: IProtocolFactory) -> IProtocol:
        """Connect the protocol to two descriptors of any kind."""
        try:
            protocol = factory.buildProtocol(address_from(self._environ, "REMOTE"))
            if protocol is None:
                raise NoProtocol()
        except BaseException:
            for descriptor in self._descriptors:
                os.close(descriptor)
            raise
        Pipes(self._reactor, self._descriptors, protocol, self._environ).start()
        return protocol

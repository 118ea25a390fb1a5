"""
The other side of UCSPI: descriptors 6 and 7 as a connection.

With this a Twisted program is the prog under any UCSPI client.  Without TLS
both descriptors are one socket, which the reactor can adopt.  With TLS they are
pipes, and the addresses are in the environment.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable, Mapping
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


def address(environ: Environment, side: str) -> IAddress:
    """
    The address of one side ("LOCAL" or "REMOTE") as the environment has it.

    Understands TCP, TCP6, SSL and UNIX; for anything else, and for a port that
    is no number, it is a UNIX address without a name.
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


@implementer(ITransport, IConsumer, IPushProducer)
class Pipes:
    """A transport over two descriptors: one to read from, one to write to."""

    def __init__(
        self,
        reactor: Any,
        descriptors: tuple[int, int],
        protocol: IProtocol,
        environ: Environment,
    ) -> None:
        reading, writing = descriptors
        self._protocol = protocol
        self._environ = environ
        self.disconnecting = self._aborted = False
        self._reason: Exception = ConnectionDone()
        self._gone = self._broken = False
        self._accepted = 0
        self._producer: Any = None
        self._source = Source(reactor, reading, self._received, self._reading_ended)
        self._sink: Sink | None = Sink(reactor, writing, self._writing_ended)
        self._reactor = reactor

    # ITransport

    def write(self, data: bytes) -> None:
        """Send, unless the sending side is closed."""
        if self.disconnecting:
            return
        if self._sink is not None:
            self._accepted += len(data)
            self._sink.write(data)
        elif self._broken:
            self._reason = ConnectionLost()

    def writeSequence(self, data: Any) -> None:
        """Send."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close both sides once all is written."""
        if self._gone or self.disconnecting:
            return
        self.disconnecting = True
        self._source.close()
        if self._sink is None:
            self._reactor.callLater(0, self._lost, self._reason)
        self.loseWriteConnection()

    def loseWriteConnection(self) -> None:
        """Close the sending side once all is written."""
        if self._sink is not None:
            self._sink.loseConnection()

    def abortConnection(self) -> None:
        """Close both sides now."""
        self._give_up(ConnectionAborted())

    def _give_up(self, reason: BaseException) -> None:
        if self._gone or self._aborted:
            return
        self.disconnecting = self._aborted = True
        self._source.close()
        if self._sink is not None:
            self._sink.close()
        self._sink = None
        self._reactor.callLater(0, self._lost, reason)

    def getPeer(self) -> IAddress:
        """The server, as the environment has it."""
        return address(self._environ, "REMOTE")

    def getHost(self) -> IAddress:
        """Ourselves, as the environment has it."""
        return address(self._environ, "LOCAL")

    # IPushProducer and IConsumer

    def pauseProducing(self) -> None:
        """Stop reading for now."""
        self._source.pauseProducing()

    def resumeProducing(self) -> None:
        """Go on reading."""
        self._source.resumeProducing()

    def stopProducing(self) -> None:
        """Whoever consumed this has gone."""
        self.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let a producer know when to pause."""
        if self._sink is None:
            producer.stopProducing()
        else:
            self._sink.registerProducer(producer, streaming)
            self._producer = producer

    def unregisterProducer(self) -> None:
        """The producer is done."""
        self._producer = None
        if self._sink is not None:
            self._sink.unregisterProducer()

    # What the protocol is told

    def _tell(self, event: Callable[..., object], *what: object) -> None:
        """As over TCP, one that raises loses its connection."""
        try:
            event(*what)
        except BaseException as error:
            self._give_up(error)
            raise

    def _received(self, data: bytes) -> None:
        # Asked for each time: a protocol may put another in the place of its own.
        self._tell(self._protocol.dataReceived, data)

    # The ends

    def start(self) -> None:
        """Connect the protocol, and begin to read."""
        # Nothing is read before the next iteration; until then the protocol may
        # pause what has been started, but could not if it was started later.
        self._source.resumeProducing()
        if self._sink is not None:
            self._sink.start()
        try:
            self._protocol.makeConnection(self)
        except BaseException:
            self.abortConnection()
            raise

    def _reading_ended(self, error: OSError | None) -> None:
        half_closed = error is None and self._half_closeable
        if error is not None:
            self._reason = ConnectionLost()
        if half_closed:
            self._tell(self._protocol.readConnectionLost)  # type: ignore[attr-defined]
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
        if error is None and self._half_closeable and not self.disconnecting:
            self._tell(self._protocol.writeConnectionLost)  # type: ignore[attr-defined]
        # If nobody listens any more, what they have said before is still to be
        # read, and ends in an end of input.
        if self._source.fileno() < 0:
            self._lost(self._reason)

    @property
    def _half_closeable(self) -> bool:
        return bool(IHalfCloseableProtocol.providedBy(self._protocol))

    def _lost(self, reason: BaseException) -> None:
        if self._gone:
            return
        self._gone = True
        producer, self._producer = self._producer, None
        if producer is not None:
            # As late as here: a producer is often a connection that is to get
            # what may still be read from this one.
            producer.stopProducing()
        self._protocol.connectionLost(Failure(reason))


def _given(descriptor: int) -> os.stat_result:
    """
    The status of a descriptor that we were given.

    Where 6 and 7 were not, the reactor may have them, for its own use.  What Python
    opens is told by not being inheritable (PEP 446).

    :raises OSError: if it is not open, or is one of our own.
    """
    status = os.fstat(descriptor)
    if not os.get_inheritable(descriptor):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return status


class _Once(Factory):
    """Builds one protocol and keeps it, as adopting a socket returns none."""

    noisy = False

    def __init__(self, factory: IProtocolFactory) -> None:
        self._factory = factory
        self.built: IProtocol | None = None

    def buildProtocol(self, addr: Any) -> Any:
        self.built = self._factory.buildProtocol(addr)
        return self.built


@implementer(IStreamClientEndpoint)
class UCSPIEndpoint:
    """Adopts the descriptors that a UCSPI client has given us."""

    def __init__(
        self,
        reactor: Any,
        descriptors: tuple[int, int] | None = None,
        environ: Environment | None = None,
    ) -> None:
        """
        :param reactor: reads and writes them.
        :param descriptors: to read from, and to write to; 6 and 7 by default, which
            must have been inherited.  They are taken: the endpoint connects once, as
            what has these numbers later is another's.
        :param environ: where the addresses are; the process's by default.
        """
        self._reactor = reactor
        self._descriptors = descriptors or (6, 7)
        self._status = os.fstat if descriptors else _given
        self._environ = os.environ if environ is None else environ
        self._taken = False

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect at once.

        Fails with :class:`twisted_tcpclient.errors.LocalFailure` if the
        descriptors are not open, have been taken before, or are 6 and 7 and were
        not inherited; and as the factory does.  There is nothing to cancel.

        :param protocolFactory: builds the protocol for the connection.
        :returns: has fired with that protocol, connected.
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
        """Both descriptors are one socket."""
        reading, writing = self._descriptors
        once = _Once(factory)
        with socket.socket(fileno=reading) as adopted:
            if writing != reading:
                os.close(writing)
            try:
                # What is not connected any more is nothing to adopt.
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
        """Two descriptors of any kind."""
        try:
            protocol = factory.buildProtocol(address(self._environ, "REMOTE"))
            if protocol is None:
                raise NoProtocol()
        except BaseException:
            for descriptor in self._descriptors:
                os.close(descriptor)
            raise
        Pipes(self._reactor, self._descriptors, protocol, self._environ).start()
        return protocol

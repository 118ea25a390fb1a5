"""
Races of the addresses of a host (RFC 8305).

Twisted's :class:`HostnameEndpoint` runs the race.  It has four faults: after a failed
attempt it waits before it starts the next one; it keeps the order of the resolver,
which may have all addresses of one family first; it reports only the last failure; it
drops the zone of an IPv6 address.

HostnameEndpoint asks its reactor for addresses, timers and connections.  So it gets a
:class:`Track` in place of the reactor.  The track returns the addresses in the order of
RFC 8305, starts the next attempt when one fails, and keeps all failures.

:func:`connect_reason` returns why a connection was not made.  Other endpoints use it.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectBindError, ConnectError, NotConnectingError
from twisted.internet.error import TimeoutError as ConnectTimeoutError
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IDelayedCall,
    IHostnameResolver,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IReactorTime,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_tcpclient.errors import AddressNotFound, Attempt, ConnectFailed
from twisted_tcpclient.names.addresses import resolve
from twisted_tcpclient.names.resolver import Address, Resolution
from twisted_tcpclient.settings import ConnectSettings, Host
from twisted_tcpclient.text import os_reason, place

#: The delay, in seconds, if only a failure may start the next attempt.
_ONE_AT_A_TIME = 1e9

#: Errors of socket(2), for which Twisted raises ConnectBindError as for bind(2).
_NO_SOCKET = {
    *(errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EMFILE, errno.ENFILE),
    *(errno.ENOBUFS, errno.ENOMEM),
}


def is_eagain(error: BaseException | None) -> bool:
    """
    Return whether connect() has returned EAGAIN.

    Twisted takes EAGAIN for EINPROGRESS.  The socket then reports a hang-up, and the
    error carries a Failure but no errno.
    """
    return type(error) is ConnectError and error.osError is None


def connect_reason(error: BaseException | None) -> str:
    """
    Return why an attempt to connect failed, in a few words in lower case.

    :param error: as Twisted's transports and endpoints raise it.
    """
    if isinstance(error, ConnectTimeoutError):
        return "timed out"
    number = errno.EAGAIN if is_eagain(error) else getattr(error, "osError", None)
    binding = isinstance(error, ConnectBindError) and number not in _NO_SOCKET
    if binding and number == socket.EAI_NONAME:
        # getaddrinfo() has failed: this machine has no interface with the name of the
        # zone in the address.
        number = errno.EADDRNOTAVAIL
    why = os_reason(OSError(number, "")) if number else str(error).lower()
    return f"unable to bind socket: {why}" if binding else why


@implementer(IConnector)
class _Stoppable:
    """
    A connector that can be stopped at any time.

    Twisted's stopConnecting() raises NotConnectingError once the connection is made.
    HostnameEndpoint does not expect that error if it is cancelled while the protocol is
    being built.
    """

    def __init__(self, connector: IConnector) -> None:
        self._connector = connector

    def stopConnecting(self) -> None:
        """Stop the attempt, or close the connection if it has been made."""
        try:
            self._connector.stopConnecting()
        except NotConnectingError:
            self.disconnect()

    def disconnect(self) -> None:
        """Call ``disconnect`` of Twisted's connector."""
        self._connector.disconnect()

    def connect(self) -> None:
        """Call ``connect`` of Twisted's connector."""
        self._connector.connect()

    def getDestination(self) -> IAddress:
        """Return what ``getDestination`` of Twisted's connector returns."""
        return self._connector.getDestination()


class _Entrant(ClientFactory):
    """The factory of one attempt: it wraps that of HostnameEndpoint."""

    noisy = False

    def __init__(
        self, track: Track, address: str, factory: ClientFactory, nodelay: bool
    ) -> None:
        """
        :param track: receives the reason if the attempt fails.
        :param address: the address in words, for that report.
        :param factory: the factory of HostnameEndpoint.
        """
        self._track = track
        self._address = address
        self._factory = factory
        self._nodelay = nodelay
        #: Why this side has ended the attempt, "" if it has not.
        self._why = ""

    def doStart(self) -> None:
        self._factory.doStart()

    def doStop(self) -> None:
        self._factory.doStop()

    def startedConnecting(self, connector: IConnector) -> None:
        self._connector: Any = connector
        self._factory.startedConnecting(_Stoppable(connector))

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if _is_looped(self._connector):
            self.blame("connected to itself: no server listens there")
            # A FIN would leave the port in TIME-WAIT, and the next attempt could not
            # bind to it.
            self._connector.transport.abortConnection()
            return None
        if self._nodelay:
            self._connector.transport.setTcpNoDelay(True)
        protocol = self._factory.buildProtocol(addr)
        if protocol is None:
            # Twisted does not call clientConnectionFailed() after this.
            self._track.hurry()
        return protocol

    def blame(self, why: str) -> None:
        """Set the reason why this side is about to end the attempt."""
        self._why = why

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        why = self._why or connect_reason(reason.value)
        self._track.note_failure(self._address, why)
        self._factory.clientConnectionFailed(connector, reason)
        self._track.hurry()

    def clientConnectionLost(self, connector: IConnector, reason: Failure) -> None:
        if self._why:
            self.clientConnectionFailed(connector, Failure(ConnectError()))
            return
        self._factory.clientConnectionLost(connector, reason)
        # If connectionMade() of the protocol has raised, HostnameEndpoint still waits
        # for this attempt.  HostnameEndpoint ignores this call if the attempt has won.
        self._factory.clientConnectionFailed(connector, reason)
        self._track.hurry()


@implementer(IReactorTime, IReactorPluggableNameResolver, IHostnameResolver)
class Track:
    """
    The reactor of one race.

    :ivar attempts: the failures so far, in order.
    """

    def __init__(
        self,
        reactor: Any,
        host: str,
        addresses: list[Address],
        settings: ConnectSettings,
        trying: Callable[[str], None],
    ) -> None:
        self._reactor = reactor
        self._host = host
        self._addresses = addresses
        self._settings = settings
        self._trying = trying
        self._next: IDelayedCall | None = None
        self._hurried = False
        self._started = 0
        self.attempts: list[Attempt] = []
        # Two attempts cannot be bound to the same port at the same time.
        self._delay = _ONE_AT_A_TIME if settings.local_port else settings.attempt_delay

    @property
    def nameResolver(self) -> Track:
        """Return the track, which knows the addresses already."""
        return self

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """Refuse: no name is looked up within a race."""
        raise NotImplementedError

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Return the addresses in the order in which to try them."""
        resolution = Resolution(hostName, succeed(self._addresses))
        resolution.report_to(resolutionReceiver)
        return resolution

    def seconds(self) -> float:
        """Return the time of the reactor, in seconds."""
        return float(self._reactor.seconds())

    def callLater(self, delay: float, callable: Any, *args: Any, **kw: Any) -> Any:
        """
        Schedule a call after the delay of this race instead of the given one.

        HostnameEndpoint uses this only for the timer of the next attempt.  It counts
        the delay from the start of the race.  RFC 8305 counts the delay from the
        previous attempt, which may have started early after a failure.
        """
        self._next = self._reactor.callLater(self._pause(), callable, *args, **kw)
        self._hurried = False
        return self._next

    def _pause(self) -> float:
        """Return the seconds until the next attempt, unless an attempt fails before."""
        if self._hurried:
            return 0.0
        left = len(self._addresses) - self._started
        return self._delay if left else _ONE_AT_A_TIME

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """Return the calls of the reactor."""
        calls: Sequence[IDelayedCall] = self._reactor.getDelayedCalls()
        return calls

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory,
        timeout: float = 30,
        bindAddress: Any = None,
    ) -> IConnector:
        """Start an attempt by the reactor, with the interface and TCP_NODELAY set."""
        self._started += 1
        where = place(self._host, host, port)
        self._trying(f"trying {where}")
        entrant = _Entrant(self, where, factory, self._settings.nodelay)
        try:
            connector: IConnector = self._reactor.connectTCP(
                host, port, entrant, timeout=timeout, bindAddress=bindAddress
            )
        except BaseException:
            self.hurry()
            raise
        # Twisted calls connect(2) in the next iteration of the reactor.
        self._bind(connector, entrant)
        return connector

    def _bind(self, connector: IConnector, entrant: _Entrant) -> None:
        """Bind an attempt to the interface, if one is set, or stop the attempt."""
        interface = self._settings.interface
        if not interface or not _has_socket(connector):
            return
        try:
            _bind_to_device(connector, interface)
        except OSError as error:
            why = os_reason(error)
            entrant.blame(f"unable to bind to interface {interface}: {why}")
            connector.stopConnecting()

    def hurry(self) -> None:
        """Start the next attempt now, because one has failed."""
        if self._next is not None and self._next.active():
            self._next.reset(0)
        else:
            # The attempt failed within connectTCP(), before the timer was set.
            self._hurried = True

    def note_failure(self, address: str, why: str) -> None:
        """Append a failure to ``attempts``."""
        self.attempts.append(Attempt(address, why))


def _has_socket(connector: Any) -> bool:
    """Return whether an attempt has a socket; if not, Twisted reports its failure."""
    return bool(connector.transport.fileno() >= 0)


def _is_looped(connector: Any) -> bool:
    """
    Return whether both ends of a connection are the same socket.

    If a socket connects to the port that it is bound to, it gets its own SYN, and TCP
    takes that for a simultaneous open (RFC 9293, 3.5).
    """
    transport = getattr(connector, "transport", None)
    if transport is None:
        # The connectors of twisted.internet.testing have no transport.
        return False
    return bool(transport.getHost() == transport.getPeer())


def _bind_to_device(connector: Any, interface: str) -> None:
    """
    Let a socket use one network interface only.

    :raises OSError: if the system does not allow it, or has no such option.
    """
    option = getattr(socket, "SO_BINDTODEVICE", None)
    if option is None:
        raise OSError(errno.ENOPROTOOPT, "")
    connector.transport.getHandle().setsockopt(
        socket.SOL_SOCKET, option, os.fsencode(interface) + b"\0"
    )


@implementer(IStreamClientEndpoint)
class RacingEndpoint:
    """An endpoint that races the addresses of a host (RFC 8305)."""

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int,
        settings: ConnectSettings | None = None,
        trying: Callable[[str], None] = lambda message: None,
    ) -> None:
        """
        :param reactor: connects and looks up names.
        :param host: a name, which need not be ASCII; an address, in brackets or not,
            with a zone or not; or ``0`` for this machine.
        :param port: 1 to 65535.
        :param settings: how to connect; the defaults if not given.
        :param trying: called with a message when an attempt starts, and if the host is
            converted to an ASCII name.
        """
        self._reactor = reactor
        self._host = host
        self._port = port
        self._settings = settings or ConnectSettings()
        self._trying = trying

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Look the host up, and connect.

        Fails with :class:`twisted_tcpclient.errors.AddressNotFound` if the host has no
        address, with :class:`twisted_tcpclient.errors.LookupFailed` if the look-up
        failed or took too long, and with
        :class:`twisted_tcpclient.errors.ConnectFailed` if no address could be connected
        to.  Cancelling ends all attempts and fails with
        :class:`twisted.internet.defer.CancelledError` or
        :class:`twisted.internet.error.ConnectingCancelledError`.

        :param protocolFactory: builds the protocol for the connection.
        :returns: fires with that protocol, connected.
        """
        host = self._host
        try:
            name = Host(host).lookup
        except ValueError:
            return fail(AddressNotFound(f"no IP address for {host}: not a valid name"))
        if not host.isascii():
            self._trying(f"{host} is read as {name}")
        resolving = resolve(self._reactor, host, name, self._port, self._settings)
        return resolving.addCallback(
            lambda addresses: self._race(addresses, protocolFactory)
        )

    def _race(
        self, addresses: list[Address], factory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        """Race the addresses by Twisted's HostnameEndpoint."""
        settings = self._settings
        track = Track(self._reactor, self._host, addresses, settings, self._trying)
        endpoint = HostnameEndpoint(
            track,
            addresses[0].host,
            self._port,
            settings.attempt_timeout,
            self._binding(),
            settings.attempt_delay,
        )
        return endpoint.connect(factory).addErrback(self._translate, track.attempts)

    def _translate(self, failure: Failure, attempts: Sequence[Attempt]) -> Failure:
        """Raise the error of this package for a failed race, if there is one."""
        if failure.check(socket.gaierror):
            # connectTCP() raises gaierror if this machine has no interface with the
            # name of the zone in an address.
            raise AddressNotFound(f"no IP address for {self._host}") from None
        if attempts and failure.check(ConnectError, OSError):
            raise ConnectFailed(attempts) from None
        return failure

    def _binding(self) -> tuple[str, int] | None:
        """Return the local address and port to bind to, if the settings name one."""
        settings = self._settings
        if not settings.local_ip and not settings.local_port:
            return None
        return (settings.local_ip, settings.local_port)

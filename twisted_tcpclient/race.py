"""
Racing the addresses of a host (RFC 8305).

The race itself is Twisted's :class:`HostnameEndpoint`.  It falls short in four
ways: it does not start the next attempt when one fails, it keeps to one family
until all of its addresses are spent, it reports only the last failure, and it
drops the zone of an IPv6 address.  All four are mended from outside, by the
reactor that it is handed: :class:`Track` gives it the addresses in our order,
hurries it on when an attempt fails, and keeps a record of the failures.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Any, NoReturn

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import (
    Deferred,
    TimeoutError,
    fail,
    succeed,
)
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

from twisted_tcpclient.errors import (
    AddressNotFound,
    Attempt,
    ConnectFailed,
    LookupFailed,
)
from twisted_tcpclient.names.resolver import Resolution
from twisted_tcpclient.settings import ConnectSettings, Host, is_ip
from twisted_tcpclient.text import os_reason, place

Address = IPv4Address | IPv6Address

#: So long that only a failure starts the next attempt.
_ONE_AT_A_TIME = 1e9

_KINDS: dict[int, tuple[type[Address], ...]] = {
    0: (IPv4Address, IPv6Address),
    4: (IPv4Address,),
    6: (IPv6Address,),
}


def literals(name: str, port: int) -> list[Address]:
    """
    Return the addresses that a host stands for without any look-up.

    ``0`` is this machine, in both families.

    :param name: a :attr:`twisted_tcpclient.settings.Host.lookup`.
    """
    if name == "0":
        return [IPv6Address("TCP", "::1", port), IPv4Address("TCP", "127.0.0.1", port)]
    if not is_ip(name):
        return []
    kind = IPv6Address if ":" in name else IPv4Address
    return [kind("TCP", name, port)]


def zoned(address: Address) -> Address:
    """
    Return an address with its zone in its text (RFC 4007, 11).

    Resolvers give the zone as a number beside the address, and connectTCP() takes the
    text alone.
    """
    if isinstance(address, IPv4Address) or not address.scopeID or "%" in address.host:
        return address
    return IPv6Address("TCP", f"{address.host}%{_zone(address.scopeID)}", address.port)


def _zone(zone: int | str) -> str:
    """Return the name of a zone, or its number if it has no name in ASCII."""
    if isinstance(zone, str):
        return zone
    try:
        name = socket.if_indextoname(zone)
    except (OSError, OverflowError):
        return str(zone)
    return name if name.isascii() else str(zone)


def interleaved(addresses: Iterable[Address]) -> list[Address]:
    """The addresses with their families taking turns (RFC 8305, 4)."""
    ordered = list(dict.fromkeys(addresses))
    first = [a for a in ordered if type(a) is type(ordered[0])]
    second = [a for a in ordered if type(a) is not type(ordered[0])]
    turns = chain.from_iterable(zip_longest(first, second))
    return [address for address in turns if address is not None]


@implementer(IResolutionReceiver)
class _Receiver:
    """Collects what a resolver finds."""

    def __init__(self) -> None:
        self.found: Deferred[list[Address]] = Deferred(lambda _: self._cancel())
        self._addresses: list[Any] = []
        self._cancelled = False

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        self.resolution = resolutionInProgress

    def addressResolved(self, address: IAddress) -> None:
        self._addresses.append(address)

    def resolutionComplete(self) -> None:
        # A look-up that is cancelled completes too, but that is no result.
        if not (self.found.called or self._cancelled):
            self.found.callback(self._addresses)

    def _cancel(self) -> None:
        self._cancelled = True
        # Twisted's own resolver cannot: its answer comes to nobody.
        with suppress(NotImplementedError):
            self.resolution.cancel()


def _no_address(host: str, family: int) -> AddressNotFound:
    """The error for a host without an address, of one family or at all."""
    kind = f"IPv{family}" if family else "IP"
    return AddressNotFound(f"no {kind} address for {host}")


def _explain_lookup(host: str, family: int, failure: Failure | None) -> Exception:
    """The error for a look-up that found nothing."""
    error = failure.value if failure is not None else None
    unknown = isinstance(error, socket.gaierror) and error.errno in (
        socket.EAI_NONAME,
        socket.EAI_NODATA,
    )
    if isinstance(error, OSError) and not unknown:
        why = (error.strerror or "unknown").lower()
        return LookupFailed(
            f"temporarily unable to figure out IP address for {host}: {why}"
        )
    return _no_address(host, family)


def resolve(
    reactor: Any, host: str, name: str, port: int, settings: ConnectSettings
) -> Deferred[list[Address]]:
    """
    Look up the addresses of a host, in the order in which to try them.

    :param host: as typed, for messages.
    :param name: a :attr:`twisted_tcpclient.settings.Host.lookup`.
    :raises AddressNotFound: if there is none of the wanted family.
    :raises LookupFailed: if the look-up failed, or took too long.
    """
    kinds = _KINDS[settings.family]
    known = literals(name, port)
    if known:
        fitting = [address for address in known if isinstance(address, kinds)]
        if fitting:
            return succeed(fitting)
        return fail(_no_address(host, settings.family))
    receiver = _Receiver()

    def check(found: list[Address]) -> list[Address]:
        if not found:
            reason = getattr(receiver.resolution, "failure", None)
            raise _explain_lookup(host, settings.family, reason)
        return interleaved(zoned(address) for address in found)

    def late(failure: Failure) -> NoReturn:
        failure.trap(TimeoutError)
        raise LookupFailed(
            f"temporarily unable to figure out IP address for {host}: timed out"
        )

    reactor.nameResolver.resolveHostName(
        receiver, name, portNumber=port, addressTypes=kinds
    )
    receiver.found.addTimeout(settings.attempt_timeout, reactor)
    return receiver.found.addCallbacks(check, late)


#: What there may be no socket for, to begin with (socket(2)).
_NO_SOCKET = {
    *(errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EMFILE, errno.ENFILE),
    *(errno.ENOBUFS, errno.ENOMEM),
}


def said_again(error: BaseException | None) -> bool:
    """
    Return whether connect() has returned EAGAIN.

    Twisted takes EAGAIN for EINPROGRESS.  The socket then reports a hang-up, and the
    error carries a Failure but no errno.
    """
    return type(error) is ConnectError and error.osError is None


def explain(error: BaseException | None) -> str:
    """Why an attempt to connect failed, in a few words."""
    if isinstance(error, ConnectTimeoutError):
        return "timed out"
    number = errno.EAGAIN if said_again(error) else getattr(error, "osError", None)
    # Twisted has one error for both: no socket, and none where one wants it.
    binding = isinstance(error, ConnectBindError) and number not in _NO_SOCKET
    if binding and number == socket.EAI_NONAME:
        # The zone of the address is no interface of this machine.
        number = errno.EADDRNOTAVAIL
    why = os_reason(OSError(number, "")) if number else str(error).lower()
    return f"unable to bind socket: {why}" if binding else why


@implementer(IConnector)
class _Stoppable:
    """
    A connector that can be stopped at any time.

    Twisted's says that it is not connecting if it has just connected, which keeps the
    race from being cancelled.
    """

    def __init__(self, connector: IConnector) -> None:
        self._connector = connector

    def stopConnecting(self) -> None:
        """Disconnect, if it is too late for that."""
        try:
            self._connector.stopConnecting()
        except NotConnectingError:
            self.disconnect()

    def disconnect(self) -> None:
        """Passed on."""
        self._connector.disconnect()

    def connect(self) -> None:
        """Passed on."""
        self._connector.connect()

    def getDestination(self) -> IAddress:
        """Passed on."""
        return self._connector.getDestination()


class _Entrant(ClientFactory):
    """One attempt: reports to the track, and passes everything on."""

    noisy = False

    def __init__(
        self, track: Track, address: str, factory: ClientFactory, nodelay: bool
    ) -> None:
        self._track = track
        self._address = address
        self._factory = factory
        self._nodelay = nodelay
        self._looped = False
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
            self._looped = True
            # RST leaves no TIME-WAIT, during which the next attempt could not bind.
            self._connector.transport.abortConnection()
            return None
        if self._nodelay:
            self._connector.transport.setTcpNoDelay(True)
        protocol = self._factory.buildProtocol(addr)
        if protocol is None:
            # Which is a failure, too, but nobody calls it one.
            self._track.hurry()
        return protocol

    def blame(self, why: str) -> None:
        """Say why this attempt is about to be stopped."""
        self._why = why

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._track.failed(self._address, self._why or explain(reason.value))
        self._factory.clientConnectionFailed(connector, reason)
        self._track.hurry()

    def clientConnectionLost(self, connector: IConnector, reason: Failure) -> None:
        if self._looped:
            self.blame("connected to itself: no server listens there")
            self.clientConnectionFailed(connector, Failure(ConnectError()))
            return
        self._factory.clientConnectionLost(connector, reason)
        # Nobody would hear of a protocol that has raised as it was connected.  Once
        # it is connected this is nothing to anyone.
        self._factory.clientConnectionFailed(connector, reason)
        self._track.hurry()


@implementer(IReactorTime, IReactorPluggableNameResolver, IHostnameResolver)
class Track:
    """
    The reactor as one race sees it.

    :ivar attempts: the failures so far.
    """

    def __init__(
        self,
        reactor: Any,
        host: str,
        addresses: Sequence[Address],
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
        # With a fixed port, a second attempt would find it in use.
        self._delay = _ONE_AT_A_TIME if settings.local_port else settings.attempt_delay

    @property
    def nameResolver(self) -> Track:
        """Names have been looked up before the race."""
        return self

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """Not for this reactor."""
        raise NotImplementedError

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Give out the addresses in our order."""
        resolution = Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        for address in self._addresses:
            resolutionReceiver.addressResolved(address)
        resolutionReceiver.resolutionComplete()
        return resolution

    def seconds(self) -> float:
        """The time."""
        return float(self._reactor.seconds())

    def callLater(self, delay: float, callable: Any, *args: Any, **kw: Any) -> Any:
        """
        Only the endpoint's own rhythm comes through here.

        It counts from the start of the race; RFC 8305 counts from the attempt
        before, which may have been hurried.  So the delay is ours.  Once all
        have started, only a failure makes any difference.
        """
        if self._hurried:
            delay = 0.0
        elif self._started == len(self._addresses):
            delay = _ONE_AT_A_TIME
        else:
            delay = self._delay
        self._hurried = False
        self._next = self._reactor.callLater(delay, callable, *args, **kw)
        return self._next

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """The real reactor's."""
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
        """Connect as the real reactor does, with what the settings ask for."""
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
        interface = self._settings.interface
        if interface and _has_socket(connector):
            # It is not connected before the next iteration.
            try:
                _bind_to_device(connector, interface)
            except OSError as error:
                why = os_reason(error)
                entrant.blame(f"unable to bind to interface {interface}: {why}")
                connector.stopConnecting()
        return connector

    def hurry(self) -> None:
        """An attempt has failed: let the next one start now."""
        if self._next is not None and self._next.active():
            self._next.reset(0)
        else:
            # It failed at once, before the next one was arranged.
            self._hurried = True

    def failed(self, address: str, why: str) -> None:
        """Keep the reason for the report."""
        self.attempts.append(Attempt(address, why))


def _has_socket(connector: Any) -> bool:
    """Whether there is one: otherwise it has failed, and says so soon."""
    return bool(connector.transport.fileno() >= 0)


def _is_looped(connector: Any) -> bool:
    """
    Return whether both ends of a connection are the same socket.

    If a socket connects to the port that it is bound to, it gets its own SYN, and TCP
    takes that for a simultaneous open (RFC 9293, 3.5).
    """
    transport = getattr(connector, "transport", None)
    if transport is None:
        # A reactor in memory (Twisted's doubles for tests) has no transport here.
        return False
    return bool(transport.getHost() == transport.getPeer())


def _bind_to_device(connector: Any, interface: str) -> None:
    """
    Let a socket use one network interface only.

    :raises OSError: if the system does not let us.
    """
    option = getattr(socket, "SO_BINDTODEVICE", None)
    if option is None:
        raise OSError(errno.ENOPROTOOPT, "")
    connector.transport.getHandle().setsockopt(
        socket.SOL_SOCKET, option, os.fsencode(interface) + b"\0"
    )


@implementer(IStreamClientEndpoint)
class RacingEndpoint:
    """Connects to whichever address of a host answers first."""

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int,
        settings: ConnectSettings | None = None,
        trying: Callable[[str], None] = lambda message: None,
    ) -> None:
        """
        :param reactor: connects, and looks up names.
        :param host: a name, an address (in brackets or not, with a zone or
            not), or ``0`` for this machine.  Names need not be ASCII.
        :param port: 1 to 65535.
        :param settings: how to connect, the defaults if not given.
        :param trying: called with a message for each attempt.
        """
        self._reactor = reactor
        self._host = host
        self._port = port
        self._settings = settings or ConnectSettings()
        self._trying = trying

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect.

        Fails with :class:`twisted_tcpclient.errors.AddressNotFound` or
        :class:`twisted_tcpclient.errors.LookupFailed` if the name does not
        lead to an address, with
        :class:`twisted_tcpclient.errors.ConnectFailed` if none of the
        addresses answers.  Cancelling ends all attempts
        and fails with :class:`twisted.internet.defer.CancelledError` or
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
        self, addresses: Sequence[Address], factory: IProtocolFactory
    ) -> Deferred[IProtocol]:
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

        def failed(failure: Failure) -> Failure:
            if failure.check(socket.gaierror):
                # An address whose zone is no interface of this machine.
                raise AddressNotFound(f"no IP address for {self._host}") from None
            if track.attempts and failure.check(ConnectError, OSError):
                raise ConnectFailed(track.attempts) from None
            return failure

        return endpoint.connect(factory).addErrback(failed)

    def _binding(self) -> tuple[str, int] | None:
        settings = self._settings
        if not settings.local_ip and not settings.local_port:
            return None
        return (settings.local_ip, settings.local_port)

"""
The addresses of a host, in the order in which to try them.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Any, NoReturn

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IResolutionReceiver,
)
from zope.interface import implementer

from twisted_tcpclient.errors import AddressNotFound, LookupFailed
from twisted_tcpclient.names.resolver import Address
from twisted_tcpclient.settings import ConnectSettings, is_ip

#: The types of addresses by the family that the settings name, 0 for both.
_KINDS: dict[int, tuple[type[Address], ...]] = {
    0: (IPv4Address, IPv6Address),
    4: (IPv4Address,),
    6: (IPv6Address,),
}


def resolve(
    reactor: Any, host: str, name: str, port: int, settings: ConnectSettings
) -> Deferred[list[Address]]:
    """
    Find the addresses of a host, by a look-up if the name is not an address.

    :param host: the host as typed, for messages.
    :param name: a :attr:`twisted_tcpclient.settings.Host.lookup`.
    :returns: fires with at least one address.  Fails with AddressNotFound if the host
        has no address of the wanted family, and with LookupFailed if the look-up failed
        or timed out.
    """
    known = literals(name, port)
    if not known:
        lookup = _Lookup(host, settings.family)
        return lookup.start(reactor, name, port, settings.attempt_timeout)
    kinds = _KINDS[settings.family]
    fitting = [address for address in known if isinstance(address, kinds)]
    return succeed(fitting) if fitting else fail(_no_address(host, settings.family))


def literals(name: str, port: int) -> list[Address]:
    """
    Return the addresses that a name stands for without any look-up.

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
    """Return each address once, with the families taking turns (RFC 8305, 4)."""
    ordered = list(dict.fromkeys(addresses))
    first = [a for a in ordered if type(a) is type(ordered[0])]
    second = [a for a in ordered if type(a) is not type(ordered[0])]
    turns = chain.from_iterable(zip_longest(first, second))
    return [address for address in turns if address is not None]


@implementer(IResolutionReceiver)
class _Lookup:
    """The receiver of one look-up by the reactor's resolver."""

    def __init__(self, host: str, family: int) -> None:
        self._host = host
        self._family = family
        self._found: list[Any] = []
        self._resolution: IHostResolution
        self._result: Deferred[list[Address]] = Deferred(self._cancel)

    def start(
        self, reactor: Any, name: str, port: int, timeout: float
    ) -> Deferred[list[Address]]:
        """
        Ask the resolver.

        :param timeout: in seconds.
        :returns: as :func:`resolve`.
        """
        reactor.nameResolver.resolveHostName(
            self, name, portNumber=port, addressTypes=_KINDS[self._family]
        )
        return self._result.addTimeout(timeout, reactor, self._time_out)

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Keep the resolution, to cancel it and to read why it failed."""
        self._resolution = resolutionInProgress

    def addressResolved(self, address: IAddress) -> None:
        """Keep one address."""
        self._found.append(address)

    def resolutionComplete(self) -> None:
        """Fire with the addresses or fail, unless the look-up was cancelled."""
        if self._result.called:
            return
        if self._found:
            self._result.callback(interleaved(map(zoned, self._found)))
        else:
            self._result.errback(self._failure())

    def _failure(self) -> Exception:
        """Return the error for a look-up that found no address."""
        failure = getattr(self._resolution, "failure", None)
        error = failure.value if failure is not None else None
        if not isinstance(error, OSError) or _is_unknown(error):
            return _no_address(self._host, self._family)
        return _lookup_failed(self._host, (error.strerror or "unknown").lower())

    def _time_out(self, outcome: object, seconds: float) -> NoReturn:
        raise _lookup_failed(self._host, "timed out")

    def _cancel(self, result: Deferred[list[Address]]) -> None:
        # errback() comes first, because cancel() may complete the look-up.
        result.errback(CancelledError())
        # Twisted's own resolver cannot cancel a look-up.
        with suppress(NotImplementedError):
            self._resolution.cancel()


def _is_unknown(error: OSError) -> bool:
    """Return whether an error of getaddrinfo() means that a host has no address."""
    numbers = (socket.EAI_NONAME, socket.EAI_NODATA)
    return isinstance(error, socket.gaierror) and error.errno in numbers


def _no_address(host: str, family: int) -> AddressNotFound:
    """Return the error for a host without an address, or without one of a family."""
    kind = f"IPv{family}" if family else "IP"
    return AddressNotFound(f"no {kind} address for {host}")


def _lookup_failed(host: str, why: str) -> LookupFailed:
    """Return the error for a look-up that may succeed later, in djb's words."""
    return LookupFailed(
        f"temporarily unable to figure out IP address for {host}: {why}"
    )

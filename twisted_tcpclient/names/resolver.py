"""
Finding things out about hosts: addresses, names, and ident (RFC 1413).

Names go through the system's resolver, /etc/hosts and all, in threads of our
own: they are daemons, so that a resolver which does not answer cannot keep the
process from ending, as the reactor's thread pool would.

What is only there to be put into a variable is absent on failure, never an
error.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Any, TypeVar

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import (
    Deferred,
    maybeDeferred,
)
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_tcpclient.settings import Host

T = TypeVar("T")

IDENT_PORT = 113


def in_daemon(reactor: Any, call: Callable[[], T]) -> Deferred[T]:
    """
    The result of a call that blocks, made in a thread that is not waited for.

    Cancelling forgets about the result.

    :raises OSError: if no thread can be had.
    """
    result: Deferred[T] = Deferred()

    def run() -> None:
        # When we become prog SIGPIPE is not ignored any more, and whoever wakes the
        # reactor just then would end us by it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
        try:
            outcome: T | Failure = call()
        except BaseException:
            outcome = Failure()
        # One that was cancelled takes no notice.
        reactor.callFromThread(result.callback, outcome)

    try:
        Thread(target=run, daemon=True).start()
    except RuntimeError:
        # Which is all that Python says of it.
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
    return result


def addresses(
    host: str, port: int, types: Sequence[type[IAddress]]
) -> list[IPv4Address | IPv6Address]:
    """
    Return the addresses of a host in the order that the system prefers (RFC 6724).

    Blocks.  Twisted's endpoints pass names on as typed, so each name is converted here:
    the C library takes ``*`` for the loopback, and Python converts names by IDNA 2003.

    :raises socket.gaierror: if there is none, or the look-up failed.
    """
    try:
        name = Host(host).lookup
    except ValueError:
        raise socket.gaierror(socket.EAI_NONAME, "not a valid name") from None
    families = {
        socket.AF_INET: IPv4Address,
        socket.AF_INET6: IPv6Address,
    }
    wanted = [family for family, kind in families.items() if kind in types]
    family = wanted[0] if len(wanted) == 1 else socket.AF_UNSPEC
    found = socket.getaddrinfo(name, port, family, socket.SOCK_STREAM)
    return [
        # Address and port; for IPv6 also the flow label and the number of the zone.
        families[socket.AddressFamily(family)]("TCP", *sockaddr)
        for family, _, _, _, sockaddr in found
        if family in families
    ]


@implementer(IHostResolution)
class Resolution:
    """
    One look-up under way.

    :ivar failure: why it found nothing, once it is over.
    """

    failure: Failure | None = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.looking: Deferred[Any] = Deferred()

    def cancel(self) -> None:
        """Forget about it."""
        self.looking.cancel()


@implementer(IHostnameResolver)
class Resolver:
    """The system's resolver, without the reactor's thread pool."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """See :class:`twisted.internet.interfaces.IHostnameResolver`."""
        resolution = Resolution(hostName)
        types = addressTypes or (IPv4Address, IPv6Address)
        resolution.looking = maybeDeferred(
            in_daemon, self._reactor, lambda: addresses(hostName, portNumber, types)
        )

        def found(result: list[IPv4Address | IPv6Address]) -> None:
            for address in result:
                resolutionReceiver.addressResolved(address)

        def failed(failure: Failure) -> None:
            resolution.failure = failure

        resolutionReceiver.resolutionBegan(resolution)
        resolution.looking.addCallbacks(found, failed)
        resolution.looking.addCallback(
            lambda _: resolutionReceiver.resolutionComplete()
        )
        return resolution

"""
The system's resolver (getaddrinfo(3)), called in daemon threads.

The process waits for the threads of the reactor's pool before it ends, but not for
daemon threads.  So a resolver that does not answer does not keep it from ending.
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

from twisted_tcpclient.settings import read_host

T = TypeVar("T")


def in_daemon(reactor: Any, call: Callable[[], T]) -> Deferred[T]:
    """
    Make a call that blocks in a daemon thread of its own.

    :returns: fires with the result of the call, or fails with its exception.
        Cancelling drops the result; the call goes on.
    :raises OSError: if the system allows no other thread.
    """
    result: Deferred[T] = Deferred()

    def work() -> None:
        # callFromThread() writes to a pipe of the reactor.  When this process becomes
        # prog, the pipe is closed, and SIGPIPE is not ignored any more.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
        try:
            outcome: T | Failure = call()
        except BaseException:
            outcome = Failure()
        # A Deferred that was cancelled ignores its result.
        reactor.callFromThread(result.callback, outcome)

    try:
        Thread(target=work, daemon=True).start()
    except RuntimeError:
        # Python raises RuntimeError when pthread_create(3) returns EAGAIN.
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
    return result


def system_addresses(
    host: str, port: int, types: Sequence[type[IAddress]]
) -> list[IPv4Address | IPv6Address]:
    """
    Return the addresses of a host in the order that the system prefers (RFC 6724).

    This blocks.  Twisted's endpoints look names up as typed, so each name is converted
    here: Python converts names by IDNA 2003, and the C library takes ``*`` for the
    loopback.

    :raises socket.gaierror: if there is no address, or the look-up failed.
    """
    try:
        name = read_host(host)
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
        # sockaddr: address and port; for IPv6 also flow label and number of the zone.
        families[socket.AddressFamily(family)]("TCP", *sockaddr)
        for family, _, _, _, sockaddr in found
        if family in families
    ]


@implementer(IHostResolution)
class Resolution:
    """
    One look-up.

    :ivar looking: fires when the look-up is over.
    :ivar failure: why the look-up failed; None if it did not, or is not over.
    """

    failure: Failure | None = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.looking: Deferred[Any] = Deferred()

    def cancel(self) -> None:
        """Drop the result."""
        self.looking.cancel()


@implementer(IHostnameResolver)
class Resolver:
    """The system's resolver, without the thread pool of the reactor."""

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
            in_daemon,
            self._reactor,
            lambda: system_addresses(hostName, portNumber, types),
        )

        def found(result: list[IPv4Address | IPv6Address]) -> None:
            for address in result:
                resolutionReceiver.addressResolved(address)

        def note(failure: Failure) -> None:
            resolution.failure = failure

        resolutionReceiver.resolutionBegan(resolution)
        resolution.looking.addCallbacks(found, note)
        resolution.looking.addCallback(
            lambda _: resolutionReceiver.resolutionComplete()
        )
        return resolution

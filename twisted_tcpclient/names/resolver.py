"""
The system's resolver (getaddrinfo(3)), called in daemon threads.

The process waits for the threads of the reactor's pool before it ends, but not for
daemon threads.  So a resolver that does not answer does not keep the process alive.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable, Sequence
from functools import partial
from threading import Thread
from typing import Any, TypeVar

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred
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

Address = IPv4Address | IPv6Address


def in_daemon(reactor: Any, call: Callable[[], T]) -> Deferred[T]:
    """
    Call a function that blocks, in a daemon thread of its own.

    :returns: fires with the result of the call, or fails with its exception.
        Cancelling drops the result; the call goes on.
    :raises OSError: EAGAIN, if no thread can be created.
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
) -> list[Address]:
    """
    Return the addresses of a host in the order that the system prefers (RFC 6724).

    The call blocks.  Twisted's endpoints look names up as typed, so each name is
    converted here: Python would convert it by IDNA 2003, and the C library takes ``*``
    for the loopback address.

    :raises socket.gaierror: if there is no address, or the look-up failed.
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
        # sockaddr: address and port; for IPv6 also flow label and number of the zone.
        families[socket.AddressFamily(family)]("TCP", *sockaddr)
        for family, _, _, _, sockaddr in found
        if family in families
    ]


@implementer(IHostResolution)
class Resolution:
    """
    One look-up of a name.

    :ivar failure: why the look-up failed; None if it succeeded or is not over.
    """

    def __init__(self, name: str, looking: Deferred[list[Address]]) -> None:
        """:param looking: fires with the addresses."""
        self.name = name
        self.failure: Failure | None = None
        self._looking: Deferred[Any] = looking

    def cancel(self) -> None:
        """Drop the result; the thread of a look-up continues."""
        self._looking.cancel()

    def report_to(self, receiver: IResolutionReceiver) -> None:
        """Report the beginning, the addresses and the end to a receiver."""
        receiver.resolutionBegan(self)
        self._looking.addCallbacks(partial(_report, receiver), self._note)
        self._looking.addCallback(lambda _: receiver.resolutionComplete())

    def _note(self, failure: Failure) -> None:
        self.failure = failure


def _report(receiver: IResolutionReceiver, found: list[Address]) -> None:
    for address in found:
        receiver.addressResolved(address)


@implementer(IHostnameResolver)
class Resolver:
    """The system's resolver, in daemon threads instead of the reactor's thread pool."""

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
        types = addressTypes or (IPv4Address, IPv6Address)
        looking = maybeDeferred(
            in_daemon,
            self._reactor,
            lambda: system_addresses(hostName, portNumber, types),
        )
        resolution = Resolution(hostName, looking)
        resolution.report_to(resolutionReceiver)
        return resolution

"""
What the names of a connection's hosts are, and which user ident names (RFC 1413).

A name that cannot be found is absent, not an error: it only goes into a variable.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    gatherResults,
    maybeDeferred,
    succeed,
)
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from twisted_tcpclient.facts import Facts
from twisted_tcpclient.names.resolver import in_daemon
from twisted_tcpclient.settings import LookupSettings

T = TypeVar("T")

IDENT_PORT = 113


def absent(looking: Deferred[T], reactor: Any, timeout: float) -> Deferred[T | None]:
    """
    The result, or None when it fails or is not there in time (in seconds).

    Cancelling is no result: whoever cancels wants no more of any of it.
    """

    def failed(failure: Failure) -> None:
        if failure.check(CancelledError, ConnectingCancelledError):
            raise CancelledError

    late: Callable[[Any, float], Any] = lambda outcome, seconds: None  # noqa: E731
    return looking.addTimeout(timeout, reactor, late).addErrback(failed)


def host_name(reactor: Any, ip: str, timeout: float) -> Deferred[str | None]:
    """The name of an address by reverse DNS, in lower case, or None."""

    def ask() -> str:
        # Not getnameinfo: that of Python 3.10 stops all other threads meanwhile.
        return socket.gethostbyaddr(ip)[0].lower()

    return absent(maybeDeferred(in_daemon, reactor, ask), reactor, timeout)


class Ident(LineOnlyReceiver):
    """
    Asks one question of an ident server.

    :ivar answer: fires with the user, or fails.
    """

    # Lines end in CRLF; some servers are content with LF.
    delimiter = b"\n"
    MAX_LENGTH = 1000
    transport: Any

    def __init__(self, remote_port: int, local_port: int) -> None:
        self._question = b"%d , %d\r\n" % (remote_port, local_port)
        self.answer: Deferred[str] = Deferred(self._cancelled)

    def connectionMade(self) -> None:
        """Ask."""
        self.transport.write(self._question)

    def lineReceived(self, line: bytes) -> None:
        """Take the first line for the answer, whatever it is."""
        self._settle(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """An answer without end is none."""
        self._settle(b"")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """No answer."""
        self._settle(b"")

    def _settle(self, line: bytes) -> None:
        self._hang_up()
        if not self.answer.called:
            try:
                self.answer.callback(parse_ident(line))
            except ValueError:
                self.answer.errback()

    def _cancelled(self, answer: Deferred[str]) -> None:
        answer.errback(CancelledError())
        self._hang_up()

    def _hang_up(self) -> None:
        self.transport.abortConnection()


def parse_ident(line: bytes) -> str:
    """
    The user in the reply of an ident server, in printable ASCII without blanks.

    The ports are not compared: a connection is asked one question, and whoever
    answers it may say anything.

    :raises ValueError: if the line names no user.
    """
    fields = line.split(b":", 3)
    if len(fields) != 4 or fields[1].strip().upper() != b"USERID":
        raise ValueError(line)
    user = "".join(chr(c) for c in fields[3] if 0x21 <= c <= 0x7E)
    if not user:
        raise ValueError(line)
    return user


def ident(
    reactor: Any,
    local: IPv4Address | IPv6Address,
    remote: IPv4Address | IPv6Address,
    timeout: float,
) -> Deferred[str | None]:
    """
    The user whom the remote host's ident names as the owner of a connection.

    The question comes from the local address of the connection, as ident
    servers answer for the pair of hosts that asks (RFC 1413, 3).
    """
    endpoint = TCP6ClientEndpoint if ":" in remote.host else TCP4ClientEndpoint
    connecting = maybeDeferred(
        endpoint(reactor, remote.host, IDENT_PORT, timeout, (local.host, 0)).connect,
        Factory.forProtocol(lambda: Ident(remote.port, local.port)),
    )
    connecting.addCallback(lambda protocol: protocol.answer)
    return absent(connecting, reactor, timeout)


def _ends(facts: Facts) -> tuple[Any, Any]:
    """Return the local and the remote address of a connection with IP addresses."""
    kind: Any = IPv6Address if ":" in (facts.remote_ip or "") else IPv4Address
    return (
        kind("TCP", facts.local_ip, facts.local_port),
        kind("TCP", facts.remote_ip, facts.remote_port),
    )


async def complete(reactor: Any, facts: Facts, wanted: LookupSettings) -> Facts:
    """
    Return the facts with the names and the user that are wanted.

    All are looked up at the same time.  A connection without IP addresses has none.
    """
    if facts.remote_ip is None or facts.local_ip is None:
        return facts
    seconds = wanted.timeout
    none: Deferred[str | None] = succeed(None)
    asked: list[Deferred[str | None]] = [
        host_name(reactor, facts.remote_ip, seconds) if wanted.remote_host else none,
        (
            host_name(reactor, facts.local_ip, seconds)
            if wanted.local_host is None
            else succeed(wanted.local_host)
        ),
        ident(reactor, *_ends(facts), seconds) if wanted.remote_info else none,
    ]
    found = await gatherResults(asked, consumeErrors=True)
    remote_host, local_host, remote_info = found
    return replace(
        facts,
        remote_host=remote_host,
        local_host=local_host,
        remote_info=remote_info,
    )

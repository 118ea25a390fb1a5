"""
The host names of a connection, and the user that ident names (RFC 1413).

A name that cannot be found is None, not an error: only prog's environment needs it.
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
    Turn the failure of a look-up into None, and end the look-up after a timeout.

    :param timeout: in seconds.
    :returns: fires with the result, or None.  Fails with CancelledError if it is
        cancelled.
    """

    def forgive(failure: Failure) -> None:
        if failure.check(CancelledError, ConnectingCancelledError):
            raise CancelledError

    late: Callable[[Any, float], Any] = lambda outcome, seconds: None  # noqa: E731
    return looking.addTimeout(timeout, reactor, late).addErrback(forgive)


def host_name(reactor: Any, ip: str, timeout: float) -> Deferred[str | None]:
    """
    Return the name of an address by the system's resolver, in lower case, or None.

    :param timeout: in seconds.
    """

    def look_up() -> str:
        # gethostbyaddr(), because Python 3.10 holds the GIL during getnameinfo().
        return socket.gethostbyaddr(ip)[0].lower()

    return absent(maybeDeferred(in_daemon, reactor, look_up), reactor, timeout)


class Ident(LineOnlyReceiver):
    """
    A client of an ident server, for one question (RFC 1413).

    :ivar answer: fires with the user.  Fails with ValueError if the server names none.
    """

    # Lines end with CRLF; some servers send LF alone.
    delimiter = b"\n"
    MAX_LENGTH = 1000
    transport: Any

    def __init__(self, remote_port: int, local_port: int) -> None:
        """
        :param remote_port: the port on the server's host.
        :param local_port: the port on this host.
        """
        self._question = b"%d , %d\r\n" % (remote_port, local_port)
        self.answer: Deferred[str] = Deferred(self._cancel_answer)

    def connectionMade(self) -> None:
        """Send the question."""
        self.transport.write(self._question)

    def lineReceived(self, line: bytes) -> None:
        """Take the first line as the answer, and hang up."""
        self._finish_with(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Fail, as the answer is longer than any user's name."""
        self._finish_with(b"")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail, if there was no answer."""
        self._finish_with(b"")

    def _finish_with(self, line: bytes) -> None:
        self._hang_up()
        if not self.answer.called:
            try:
                self.answer.callback(parse_ident(line))
            except ValueError:
                self.answer.errback()

    def _cancel_answer(self, answer: Deferred[str]) -> None:
        answer.errback(CancelledError())
        self._hang_up()

    def _hang_up(self) -> None:
        self.transport.abortConnection()


def parse_ident(line: bytes) -> str:
    """
    Return the user in the reply of an ident server, in printable ASCII without blanks.

    The ports in the reply are not compared: the client asks one question on a
    connection, and the server can lie anyway.

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
    Return the user that ident on the remote host names for a connection, or None.

    The question is sent from the local address of the connection: an ident server takes
    the two addresses of the connection from those of the query (RFC 1413, 3).

    :param timeout: for connecting and the answer together, in seconds.
    """
    endpoint = TCP6ClientEndpoint if ":" in remote.host else TCP4ClientEndpoint
    connecting = maybeDeferred(
        endpoint(reactor, remote.host, IDENT_PORT, timeout, (local.host, 0)).connect,
        Factory.forProtocol(lambda: Ident(remote.port, local.port)),
    )
    connecting.addCallback(lambda protocol: protocol.answer)
    return absent(connecting, reactor, timeout)


async def complete(reactor: Any, facts: Facts, wanted: LookupSettings) -> Facts:
    """
    Return the facts with the names and the user that the settings ask for.

    All are looked up at the same time.  Without IP addresses nothing is looked up.
    """
    if facts.remote_ip is None or facts.local_ip is None:
        return facts
    asked = _asked(reactor, *_ends(facts), wanted)
    remote_host, local_host, remote_info = await gatherResults(
        asked, consumeErrors=True
    )
    return replace(
        facts,
        remote_host=remote_host,
        local_host=local_host,
        remote_info=remote_info,
    )


def _ends(facts: Facts) -> tuple[Any, Any]:
    """Return the local and the remote address of a connection with IP addresses."""
    kind: Any = IPv6Address if ":" in (facts.remote_ip or "") else IPv4Address
    return (
        kind("TCP", facts.local_ip, facts.local_port),
        kind("TCP", facts.remote_ip, facts.remote_port),
    )


def _asked(
    reactor: Any, local: Any, remote: Any, wanted: LookupSettings
) -> list[Deferred[str | None]]:
    """Start the look-ups: the remote name, the local name, and the user."""
    seconds = wanted.timeout
    none: Deferred[str | None] = succeed(None)
    return [
        host_name(reactor, remote.host, seconds) if wanted.remote_host else none,
        (
            host_name(reactor, local.host, seconds)
            if wanted.local_host is None
            else succeed(wanted.local_host)
        ),
        ident(reactor, local, remote, seconds) if wanted.remote_info else none,
    ]

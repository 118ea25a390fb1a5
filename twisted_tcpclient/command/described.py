"""
The endpoint that a description (``-E``) names.
"""

from __future__ import annotations

from typing import Any, NoReturn

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    clientFromString,
)
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
)
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_tcpclient.endpoints import SocketEndpoint
from twisted_tcpclient.errors import (
    Attempt,
    ConnectFailed,
    DescriptionError,
    TCPClientError,
)
from twisted_tcpclient.race import RacingEndpoint, connect_reason
from twisted_tcpclient.stages.base import Stage, StageFactory
from twisted_tcpclient.stages.foreign import Settled

#: Endpoints that connect a socket and do nothing else with it.
_SOCKETS = (
    HostnameEndpoint,
    RacingEndpoint,
    SocketEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)


def parse(reactor: Any, description: str) -> IStreamClientEndpoint:
    """
    The endpoint that a description is of.

    :raises DescriptionError: that says what is wrong with it.
    """
    try:
        endpoint: IStreamClientEndpoint = clientFromString(reactor, description)
    except Exception as error:
        # Parsers raise whatever int() and wrong calls raise.
        raise DescriptionError(
            f"unable to make an endpoint of {description}: {_mistake(error)}"
        ) from error
    return endpoint


def _mistake(error: Exception) -> str:
    """What is wrong with a description, for whoever has written it."""
    if isinstance(error.__cause__, StopIteration):
        return "there is nothing behind the last backslash"
    words = _words(error)
    # The name of a function would tell them nothing.
    return words.rpartition("() ")[2] if isinstance(error, TypeError) else words


def _words(error: Any) -> str:
    """What an error of anybody's says; if it says nothing, what led to it."""
    words = str(error) or str(error.__context__ or "")
    return words.rstrip(".") or type(error).__name__


@implementer(IStreamClientEndpoint)
class DescribedEndpoint:
    """Connects what a description describes: connected means usable."""

    def __init__(self, reactor: Any, description: str, timeout: float | None) -> None:
        """
        :param timeout: for connecting, and again for a handshake, in seconds;
            None for no more than what the description says.
        :raises DescriptionError: if that is no description.
        """
        self._reactor = reactor
        self._description = description
        self._timeout = timeout
        self._endpoint = parse(reactor, description)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect, and wait until TLS is through, if there is any.

        Fails with :class:`twisted_tcpclient.errors.ConnectFailed`, or with what
        the endpoints and stages of this package fail with.  Cancelling is passed on.
        """
        if type(self._endpoint) in _SOCKETS:
            return self._connect(protocolFactory)
        built: list[Settled] = []

        def build(factory: IProtocolFactory, address: IAddress | None) -> Stage:
            stage = Settled(factory, address, self._reactor, self._timeout)
            built.append(stage)
            return stage

        # Some connect with a protocol of their own.
        return self._connect(StageFactory(build, protocolFactory)).addCallback(
            lambda stage: (stage if isinstance(stage, Settled) else built[-1]).ready
        )

    def _connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        connecting: Deferred[Any] = maybeDeferred(self._endpoint.connect, factory)
        if self._timeout is not None:
            connecting.addTimeout(self._timeout, self._reactor, self._late)
        return connecting.addErrback(self._failed)

    def _late(self, result: Any, seconds: float) -> NoReturn:
        raise self._error("timed out")

    def _failed(self, failure: Failure) -> NoReturn:
        if failure.check(TCPClientError, CancelledError, ConnectingCancelledError):
            failure.raiseException()
        known = failure.check(ConnectError, OSError)
        reason = connect_reason if known else _words
        why = reason(failure.value).rstrip(".")
        raise self._error(why) from None

    def _error(self, reason: str) -> ConnectFailed:
        return ConnectFailed([Attempt(self._description, reason)])

"""
The endpoint of a description (``-E``).
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
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_tcpclient.errors import (
    Attempt,
    ConnectFailed,
    DescriptionError,
    TCPClientError,
)
from twisted_tcpclient.race import RacingEndpoint, connect_reason
from twisted_tcpclient.stages.base import Stage, StagedEndpoint, StageFactory
from twisted_tcpclient.stages.foreign import Settled

#: The endpoints of Twisted and of this package that connect a socket and put no other
#: protocol on it.  An endpoint of another package may have a protocol that holds data,
#: or changes them, so its socket stays its own.
_DIRECT = (
    HostnameEndpoint,
    RacingEndpoint,
    StagedEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
)


def endpoint_from(reactor: Any, description: str) -> IStreamClientEndpoint:
    """
    Return the endpoint of a description.

    :param reactor: the reactor of the endpoint.
    :param description: as for ``twisted.internet.endpoints.clientFromString``.
    :raises DescriptionError: if no endpoint can be made of it.
    """
    try:
        endpoint: IStreamClientEndpoint = clientFromString(reactor, description)
    except Exception as error:
        # Twisted's parsers let through the exceptions of int() and of wrong calls.
        raise DescriptionError(
            f"unable to make an endpoint of {description}: {_mistake(error)}"
        ) from error
    return endpoint


def _mistake(error: Exception) -> str:
    """Return what is wrong with a description, from the exception of its parser."""
    if isinstance(error.__cause__, StopIteration):
        return "there is nothing behind the last backslash"
    text = _text(error)
    # The text of a TypeError begins with the name of a function of the parser.
    return text.rpartition("() ")[2] if isinstance(error, TypeError) else text


def _text(error: Any) -> str:
    """Return the text of an exception, or of its context, or the name of its type."""
    text = str(error) or str(error.__context__ or "")
    return text.rstrip(".") or type(error).__name__


@implementer(IStreamClientEndpoint)
class DescribedEndpoint:
    """A wrapper for an endpoint of any package, which waits for its TLS handshake."""

    def __init__(
        self,
        reactor: Any,
        endpoint: IStreamClientEndpoint,
        description: str,
        timeout: float | None,
    ) -> None:
        """
        :param reactor: keeps the deadlines.
        :param endpoint: the endpoint of the description.
        :param description: the description, for messages.
        :param timeout: seconds for connecting, and again for a handshake; None for no
            limit beside that of the endpoint.
        """
        self._reactor = reactor
        self._endpoint = endpoint
        self._description = description
        self._timeout = timeout

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect, and wait for the TLS handshake if there is TLS.

        Fails with :class:`twisted_tcpclient.errors.ConnectFailed`, or with the errors
        of this package's endpoints and stages.  Cancelling cancels the endpoint.

        :param protocolFactory: builds the protocol for the connection.
        :returns: fires with that protocol, connected.
        """
        built: list[Settled] = []

        def build(factory: IProtocolFactory, address: IAddress | None) -> Stage:
            direct = type(self._endpoint) in _DIRECT
            stage = Settled(
                factory, address, self._reactor, self._timeout, direct=direct
            )
            built.append(stage)
            return stage

        # Endpoints of some packages fire with a protocol of their own.
        return self._connect(StageFactory(build, protocolFactory)).addCallback(
            lambda stage: (stage if isinstance(stage, Settled) else built[-1]).ready
        )

    def _connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        connecting: Deferred[Any] = maybeDeferred(self._endpoint.connect, factory)
        if self._timeout is not None:
            connecting.addTimeout(self._timeout, self._reactor, self._timed_out)
        return connecting.addErrback(self._translate)

    def _timed_out(self, result: Any, seconds: float) -> NoReturn:
        raise self._error("timed out")

    def _translate(self, failure: Failure) -> NoReturn:
        """Raise the error of this package for a failure of the endpoint."""
        if failure.check(TCPClientError, CancelledError, ConnectingCancelledError):
            failure.raiseException()
        known = failure.check(ConnectError, OSError)
        reason = connect_reason if known else _text
        why = reason(failure.value).rstrip(".")
        raise self._error(why) from None

    def _error(self, why: str) -> ConnectFailed:
        return ConnectFailed([Attempt(self._description, why)])

"""
What is connected to: how it is reached, and how it is called in messages.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IStreamClientEndpoint

from twisted_tcpclient.command.messages import Messages
from twisted_tcpclient.race import RacingEndpoint
from twisted_tcpclient.settings import Settings
from twisted_tcpclient.text import place


class Target(Protocol):
    """What is connected to."""

    def endpoint(self, reactor: Any, messages: Messages) -> IStreamClientEndpoint:
        """
        The stream, without any TLS of ours.

        :raises DescriptionError: if it cannot be made.
        """

    def reached(self, peer: Any) -> str:
        """What was connected to, in words."""

    def where(self, peer: Any) -> str:
        """
        The beginning of a message about a connection.

        :param peer: its other end, None where there was no connection yet.
        """


class HostTarget:
    """A host, with all of its addresses."""

    def __init__(self, settings: Settings, port: int) -> None:
        self._host = settings.host
        self._port = port
        self._settings = settings.connect

    def endpoint(self, reactor: Any, messages: Messages) -> IStreamClientEndpoint:
        """A race."""
        return RacingEndpoint(
            reactor, self._host, self._port, self._settings, messages.progress
        )

    def reached(self, peer: Any) -> str:
        """The address that has won."""
        return f"{peer.host} port {peer.port}"

    def where(self, peer: Any) -> str:
        """The host as given, and its address."""
        if peer is None:
            return ""
        return f"{place(self._host, peer.host, peer.port)}: "


class SocketTarget:
    """A UNIX socket."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.host
        self._timeout = settings.connect.attempt_timeout

    def endpoint(self, reactor: Any, messages: Messages) -> IStreamClientEndpoint:
        """The socket."""
        from twisted_tcpclient.endpoints import SocketEndpoint

        return SocketEndpoint(reactor, self._path, self._timeout)

    def reached(self, peer: Any) -> str:
        """Its path."""
        return f"socket {self._path}"

    def where(self, peer: Any) -> str:
        """Its path."""
        return f"socket {self._path}: "


class DescribedTarget:
    """An endpoint in Twisted's words."""

    def __init__(self, settings: Settings, description: str) -> None:
        self._description = description
        self._timeout = settings.idle

    def endpoint(self, reactor: Any, messages: Messages) -> IStreamClientEndpoint:
        """Whatever it describes."""
        from twisted_tcpclient.command.described import DescribedEndpoint

        endpoint = DescribedEndpoint(reactor, self._description, self._timeout)
        messages.progress(f"trying {self._description}")
        return endpoint

    def reached(self, peer: Any) -> str:
        """The description, and the address if it is one."""
        if not isinstance(peer, (IPv4Address, IPv6Address)):
            return self._description
        return f"{self._description} ip {peer.host} port {peer.port}"

    def where(self, peer: Any) -> str:
        """The same."""
        return f"{self.reached(peer)}: "


def target(settings: Settings) -> Target:
    """What the settings want to be connected."""
    if settings.endpoint is not None:
        return DescribedTarget(settings, settings.endpoint)
    if settings.port is None:
        return SocketTarget(settings)
    return HostTarget(settings, settings.port)

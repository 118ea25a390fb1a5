"""
The target of a run: its endpoint, and its name in messages.
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
    """A host, a UNIX socket, or a description."""

    def endpoint(self, reactor: Any, messages: Messages) -> IStreamClientEndpoint:
        """
        Return the endpoint, without the TLS and STARTTLS that options ask for.

        :param reactor: the reactor of the endpoint.
        :param messages: receives the progress of connecting.
        :raises DescriptionError: if no endpoint can be made of a description.
        """

    def reached(self, peer: Any) -> str:
        """
        Return the text that follows "connected to" in a message.

        :param peer: the server's address.
        """

    def where(self, peer: Any) -> str:
        """
        Return the beginning of a message about a connection.

        :param peer: the server's address; None if there was no connection yet.
        """


class HostTarget:
    """The target for HOST and PORT; the addresses of the host are raced (RFC 8305)."""

    def __init__(self, settings: Settings, port: int) -> None:
        self._host = settings.host
        self._port = port
        self._settings = settings.connect

    def endpoint(self, reactor: Any, messages: Messages) -> IStreamClientEndpoint:
        """Return a RacingEndpoint."""
        return RacingEndpoint(
            reactor, self._host, self._port, self._settings, messages.progress
        )

    def reached(self, peer: Any) -> str:
        """Return the address and the port that have answered."""
        return f"{peer.host} port {peer.port}"

    def where(self, peer: Any) -> str:
        """Return the host as typed, with its address; "" without a connection."""
        if peer is None:
            return ""
        return f"{place(self._host, peer.host, peer.port)}: "


class SocketTarget:
    """The target for the path or the abstract name of a UNIX socket."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.host
        self._timeout = settings.connect.attempt_timeout

    def endpoint(self, reactor: Any, messages: Messages) -> IStreamClientEndpoint:
        """Return a SocketEndpoint."""
        from twisted_tcpclient.endpoints import SocketEndpoint

        return SocketEndpoint(reactor, self._path, self._timeout)

    def reached(self, peer: Any) -> str:
        """Return the path."""
        return f"socket {self._path}"

    def where(self, peer: Any) -> str:
        """Return the path, whether or not there was a connection."""
        return f"socket {self._path}: "


class DescribedTarget:
    """The target for a description, a string that ``clientFromString`` reads."""

    def __init__(self, settings: Settings, description: str) -> None:
        self._description = description
        self._timeout = settings.idle

    def endpoint(self, reactor: Any, messages: Messages) -> IStreamClientEndpoint:
        """Return a DescribedEndpoint."""
        from twisted_tcpclient.command.described import (
            DescribedEndpoint,
            endpoint_from,
        )

        endpoint = endpoint_from(reactor, self._description)
        messages.progress(f"trying {self._description}")
        return DescribedEndpoint(reactor, endpoint, self._description, self._timeout)

    def reached(self, peer: Any) -> str:
        """Return the description, with the address if it is an IP address."""
        if not isinstance(peer, (IPv4Address, IPv6Address)):
            return self._description
        return f"{self._description} ip {peer.host} port {peer.port}"

    def where(self, peer: Any) -> str:
        """Return the description, with the address if there was a connection."""
        return f"{self.reached(peer)}: "


def target(settings: Settings) -> Target:
    """Return the target of the settings."""
    if settings.endpoint is not None:
        return DescribedTarget(settings, settings.endpoint)
    if settings.port is None:
        return SocketTarget(settings)
    return HostTarget(settings, settings.port)

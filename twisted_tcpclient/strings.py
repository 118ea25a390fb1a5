"""
Endpoint strings: ``starttls:``, ``tcpclient:`` and ``ucspi:``.

Twisted loads all parsers whenever it resolves a string of any kind, so nothing
heavy is imported here before a string of ours is parsed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.internet.interfaces import (
    IStreamClientEndpoint,
    IStreamClientEndpointStringParserWithReactor,
)
from twisted.plugin import IPlugin
from zope.interface import implementer

T = TypeVar("T")

_SWITCH = {"yes": True, "no": False}


class Arguments:
    """
    The arguments of one string, taken one by one.

    Whatever is wrong is a ``ValueError`` that names the part.
    """

    def __init__(self, prefix: str, keywords: Mapping[str, str]) -> None:
        self._prefix = prefix
        self._left = dict(keywords)

    def wrong(self, message: str) -> ValueError:
        """The error for something that is wrong."""
        return ValueError(f"{self._prefix}: {message}")

    def text(self, name: str) -> str | None:
        """An argument as it is, None where it is not given."""
        return self._left.pop(name, None)

    def take(self, name: str, convert: Callable[[str], T], default: T, what: str) -> T:
        """An argument, converted."""
        text = self.text(name)
        if text is None:
            return default
        try:
            return convert(text)
        except (ValueError, KeyError):
            raise self.wrong(f"{name}: not {what}: {text!r}") from None

    def seconds(self, name: str, default: float) -> float:
        """A time."""
        return self.take(name, _seconds, default, "a number of seconds")

    def switch(self, name: str, default: bool) -> bool:
        """``yes`` or ``no``."""
        return self.take(name, _SWITCH.__getitem__, default, "yes or no")

    def finish(self) -> None:
        """Nothing may be left over."""
        for name in self._left:
            raise self.wrong(f"unknown argument: {name!r}")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError(text)
    return seconds


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise ValueError(text)
    return port


@dataclass(frozen=True)
class _Target:
    """Where to connect to, and how long it may take."""

    host: str
    port: int
    endpoint: IStreamClientEndpoint
    timeout: float


def _target(reactor: Any, arguments: Arguments, host: str, port: int) -> _Target:
    """The endpoint below TLS: racing, or whatever ``endpoint=`` describes."""
    timeout = arguments.seconds("timeout", 30)
    nested, address = arguments.text("endpoint"), arguments.text("bindAddress")
    delay = arguments.seconds("attemptDelay", 0.25)
    if nested is not None:
        from twisted.internet.endpoints import clientFromString

        return _Target(host, port, clientFromString(reactor, nested), timeout)
    from twisted_tcpclient.race import RacingEndpoint
    from twisted_tcpclient.settings import ConnectSettings

    settings = ConnectSettings(
        attempt_delay=delay, attempt_timeout=timeout, local_ip=address or ""
    )
    return _Target(host, port, RacingEndpoint(reactor, host, port, settings), timeout)


def _creator(arguments: Arguments, host: str) -> Any:
    """TLS as the arguments want it."""
    from twisted_tcpclient.errors import SettingsError
    from twisted_tcpclient.settings import TLSSettings, is_ip, reference_identity
    from twisted_tcpclient.tls import ConnectionCreator

    given = arguments.text("hostname")
    if given == "":
        raise arguments.wrong("hostname: the name is empty")
    name = given or reference_identity(host)
    settings = TLSSettings(
        certificate=arguments.text("certificate"),
        private_key=arguments.text("privateKey"),
        authorities=arguments.text("trustRoots"),
        revocations=arguments.text("crl"),
        name=name,
        common_name=given is not None,
        server_name=None if is_ip(name) else name.removesuffix("."),
        verify=arguments.switch("verify", True),
    )
    if settings.private_key is not None and settings.certificate is None:
        raise arguments.wrong("privateKey: there is no certificate")
    arguments.finish()
    try:
        return ConnectionCreator(settings)
    except SettingsError as error:
        raise arguments.wrong(str(error)) from None


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class STARTTLSParser:
    """``starttls:DIALECT:HOST[:PORT]``"""

    prefix = "starttls"

    def parseStreamClient(
        self, reactor: Any, *args: Any, **keywords: Any
    ) -> IStreamClientEndpoint:
        """
        See :class:`IStreamClientEndpointStringParserWithReactor`.

        :raises ValueError: that says which part of the string is wrong.
        """
        from twisted_tcpclient import dialects
        from twisted_tcpclient.endpoints import starttls

        arguments = Arguments(self.prefix, keywords)
        if not 2 <= len(args) <= 3:
            raise arguments.wrong("wanted: starttls:DIALECT:HOST[:PORT]")
        try:
            dialect = dialects.find(args[0])
        except KeyError:
            known = ", ".join(dialects.NAMES)
            raise arguments.wrong(
                f"no such dialect: {args[0]!r} (there are: {known})"
            ) from None
        port = _checked_port(arguments, args[2]) if args[2:] else dialect.port
        target = _target(reactor, arguments, args[1], port)
        greeting = arguments.switch("greeting", False)
        if greeting and dialect.greeting is None:
            raise arguments.wrong(f"greeting: {dialect.name} has none")
        return starttls(
            dialect.name,
            _creator(arguments, target.host),
            target.endpoint,
            reactor,
            target.timeout,
            greeting=target.host if greeting else None,
        )


def _checked_port(arguments: Arguments, text: str) -> int:
    try:
        return _port(text)
    except ValueError:
        raise arguments.wrong(f"port: not from 1 to 65535: {text!r}") from None


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class TCPClientParser:
    """``tcpclient:HOST:PORT``, with ``tls=yes`` or without."""

    prefix = "tcpclient"

    def parseStreamClient(
        self, reactor: Any, *args: Any, **keywords: Any
    ) -> IStreamClientEndpoint:
        """
        See :class:`IStreamClientEndpointStringParserWithReactor`.

        :raises ValueError: that says which part of the string is wrong.
        """
        arguments = Arguments(self.prefix, keywords)
        if len(args) != 2:
            raise arguments.wrong("wanted: tcpclient:HOST:PORT")
        port = _checked_port(arguments, args[1])
        target = _target(reactor, arguments, args[0], port)
        if not arguments.switch("tls", False):
            arguments.finish()
            return target.endpoint
        from twisted_tcpclient.endpoints import secured

        creator = _creator(arguments, target.host)
        return secured(creator, target.endpoint, reactor, target.timeout)


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class UCSPIParser:
    """``ucspi:``"""

    prefix = "ucspi"

    def parseStreamClient(
        self, reactor: Any, *args: Any, **keywords: Any
    ) -> IStreamClientEndpoint:
        """
        See :class:`IStreamClientEndpointStringParserWithReactor`.

        :raises ValueError: if there is anything after the prefix.
        """
        from twisted_tcpclient.ucspi import UCSPIEndpoint

        arguments = Arguments(self.prefix, keywords)
        if any(args):
            raise arguments.wrong("takes no arguments")
        arguments.finish()
        return UCSPIEndpoint(reactor)

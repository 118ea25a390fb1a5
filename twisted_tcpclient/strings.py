"""
Endpoint strings: ``starttls:``, ``tcpclient:`` and ``ucspi:``.

Twisted loads all parsers whenever it resolves a string of any kind, so nothing
heavy is imported here before a string of ours is parsed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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

    def __init__(
        self,
        prefix: str,
        names: Sequence[str],
        placed: Sequence[str],
        keywords: Mapping[str, str],
    ) -> None:
        """
        :param names: of the arguments that have a place, in order.  As with
            Twisted's own strings they may be given as keywords too.
        :raises ValueError: if there are too many, or one twice, or an empty one.
        """
        self._prefix = prefix
        self._left = dict(zip(names, placed, strict=False))
        if len(placed) > len(names):
            extra = placed[len(names)]
            raise self.wrong(
                f"one part too many: {extra!r} (in a value a colon is written \\:)"
            )
        for name, text in keywords.items():
            if name in self._left:
                raise self.wrong(f"{name}: given twice, the second time as {text!r}")
            self._left[name] = text
        for name, text in self._left.items():
            if not text:
                raise self.wrong(f"{name}: is empty")

    def wrong(self, message: str) -> ValueError:
        """The error for something that is wrong."""
        return ValueError(f"{self._prefix}: {message}")

    def text(self, name: str) -> str | None:
        """An argument as it is, None where it is not given."""
        return self._left.pop(name, None)

    def required(self, name: str) -> str:
        """An argument that has to be there."""
        text = self.text(name)
        if text is None:
            raise self.wrong(f"{name}: is missing")
        return text

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

    def finish(self, where: str = "") -> None:
        """Nothing may be left over."""
        for name in self._left:
            raise self.wrong(f"{name}: no such argument{where}")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise ValueError(text)
    return seconds


def _port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdigit() else 0
    if not 0 < port < 65536:
        raise ValueError(text)
    return port


def _ip(text: str) -> str:
    from twisted_tcpclient.settings import is_ip

    if not is_ip(text):
        raise ValueError(text)
    return text


@dataclass(frozen=True)
class _Target:
    """Where to connect to, and how long it may take."""

    host: str
    endpoint: IStreamClientEndpoint
    timeout: float


def _target(reactor: Any, arguments: Arguments, default: int | None) -> _Target:
    """
    The endpoint below TLS: racing, or whatever ``endpoint=`` describes.

    :param default: the port where none is given; None where one has to be.
    """
    host = arguments.required("host")
    port = arguments.take("port", _port, default, "a port from 1 to 65535")
    if port is None:
        raise arguments.wrong("port: is missing")
    timeout = arguments.seconds("timeout", 30)
    nested = arguments.text("endpoint")
    if nested is not None:
        return _Target(host, _nested(reactor, arguments, nested), timeout)
    from twisted_tcpclient.race import RacingEndpoint
    from twisted_tcpclient.settings import ConnectSettings

    settings = ConnectSettings(
        attempt_delay=arguments.seconds("attemptDelay", 0.25),
        attempt_timeout=timeout,
        local_ip=arguments.take("bindAddress", _ip, "", "an IP address"),
    )
    return _Target(host, RacingEndpoint(reactor, host, port, settings), timeout)


def _nested(reactor: Any, arguments: Arguments, description: str) -> Any:
    """The endpoint of a string in the string."""
    from twisted.internet.endpoints import clientFromString

    for name in ("attemptDelay", "bindAddress"):
        if arguments.text(name) is not None:
            raise arguments.wrong(f"{name}: has no meaning with endpoint")
    try:
        return clientFromString(reactor, description)
    except Exception as error:
        # Parsers raise whatever int() and wrong calls raise.
        raise arguments.wrong(f"endpoint: {description!r}: {error}") from error


def _creator(arguments: Arguments, host: str) -> Any:
    """TLS as the arguments want it."""
    from twisted_tcpclient.errors import SettingsError
    from twisted_tcpclient.settings import TLSSettings, reference_identity
    from twisted_tcpclient.tls import ConnectionCreator

    given = arguments.text("hostname")
    name = given or reference_identity(host)
    settings = TLSSettings(
        certificate=arguments.text("certificate"),
        private_key=arguments.text("privateKey"),
        authorities=arguments.text("trustRoots"),
        revocations=arguments.text("crl"),
        name=name,
        common_name=given is not None,
        server_name=name,
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
class _Parser:
    """
    What the parsers have in common.

    :cvar prefix: what a string begins with.
    :cvar names: of the arguments that have a place, in order.
    """

    prefix: str
    names: tuple[str, ...] = ()

    # Positional only: "reactor=" in a string is a mistake like any other.
    def parseStreamClient(  # type: ignore[override]
        self, reactor: Any, /, *args: Any, **keywords: Any
    ) -> IStreamClientEndpoint:
        """
        See :class:`IStreamClientEndpointStringParserWithReactor`.

        :raises ValueError: that says which part of the string is wrong.
        """
        # With nothing behind the colon there still is an argument, an empty one.
        placed = args if any(args) else ()
        return self.parse(reactor, Arguments(self.prefix, self.names, placed, keywords))

    def parse(self, reactor: Any, arguments: Arguments) -> IStreamClientEndpoint:
        """The endpoint, for subclasses to make."""
        raise NotImplementedError


class STARTTLSParser(_Parser):
    """``starttls:DIALECT:HOST[:PORT]``"""

    prefix = "starttls"
    names = ("dialect", "host", "port")

    def parse(self, reactor: Any, arguments: Arguments) -> IStreamClientEndpoint:
        """STARTTLS, and then TLS."""
        from twisted_tcpclient import registry
        from twisted_tcpclient.endpoints import starttls
        from twisted_tcpclient.errors import SettingsError

        name = arguments.required("dialect")
        try:
            dialect = registry.find(name)
        except registry.UnknownDialect as error:
            known = ", ".join(error.known)
            raise arguments.wrong(
                f"dialect: there is no {name!r} (there are: {known})"
            ) from None
        except SettingsError as error:
            raise arguments.wrong(f"dialect: {error}") from error
        target = _target(reactor, arguments, dialect.port)
        greeting = arguments.switch("greeting", False)
        if greeting and dialect.greeting is None:
            raise arguments.wrong(f"greeting: {dialect.name} has none")
        creator = _creator(arguments, target.host)
        return starttls(
            dialect.name,
            creator,
            target.endpoint,
            reactor,
            target.timeout,
            host=creator.name,
            greeting=greeting,
        )


class TCPClientParser(_Parser):
    """``tcpclient:HOST:PORT``, with ``tls=yes`` or without."""

    prefix = "tcpclient"
    names = ("host", "port")

    def parse(self, reactor: Any, arguments: Arguments) -> IStreamClientEndpoint:
        """A race, and then perhaps TLS."""
        target = _target(reactor, arguments, None)
        if not arguments.switch("tls", False):
            arguments.finish(" without tls=yes")
            return target.endpoint
        from twisted_tcpclient.endpoints import secured

        creator = _creator(arguments, target.host)
        return secured(creator, target.endpoint, reactor, target.timeout)


class UCSPIParser(_Parser):
    """``ucspi:``"""

    prefix = "ucspi"

    def parse(self, reactor: Any, arguments: Arguments) -> IStreamClientEndpoint:
        """The descriptors that we were given."""
        from twisted_tcpclient.ucspi import UCSPIEndpoint

        arguments.finish()
        return UCSPIEndpoint(reactor)

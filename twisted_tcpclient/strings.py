"""
Endpoint strings: ``starttls:``, ``tcpclient:`` and ``ucspi:``.

Twisted imports all parsers whenever it resolves any endpoint string, so this module
imports nothing heavy until it parses a string of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.interfaces import (
    IStreamClientEndpoint,
    IStreamClientEndpointStringParserWithReactor,
)
from twisted.plugin import IPlugin
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted_tcpclient.dialects import Dialect
    from twisted_tcpclient.settings import TLSSettings

T = TypeVar("T")


class Arguments:
    """
    The arguments of one string, taken one by one.

    Every mistake is a ValueError that names the prefix and the argument.
    """

    def __init__(
        self,
        prefix: str,
        names: Sequence[str],
        placed: Sequence[str],
        keywords: Mapping[str, str],
    ) -> None:
        """
        :param names: the names of the positional arguments, in order.  As in Twisted's
            own strings, they may also be given as keywords.
        :param placed: the positional arguments.
        :raises ValueError: if there are too many, or one is given twice or is empty.
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
        """Return the error for a mistake in the string."""
        return ValueError(f"{self._prefix}: {message}")

    def raw(self, name: str) -> str | None:
        """Take an argument as it is, None if it is not given."""
        return self._left.pop(name, None)

    def required(self, name: str) -> str:
        """Take an argument that must be given."""
        text = self.raw(name)
        if text is None:
            raise self.wrong(f"{name}: is missing")
        return text

    def converted(self, name: str, check: Callable[[str], T], default: T) -> T:
        """Take an argument, converted by a function of ``twisted_tcpclient.values``."""
        text = self.raw(name)
        if text is None:
            return default
        try:
            return check(text)
        except ValueError as error:
            raise self.wrong(f"{name}: {error}") from None

    def refuse_rest(self, where: str = "") -> None:
        """
        Refuse the arguments that have not been taken.

        :param where: an addition to the message.
        """
        for name in self._left:
            raise self.wrong(f"{name}: no such argument{where}")


@dataclass(frozen=True)
class _Target:
    """The host to connect to, the endpoint below TLS, and the timeout in seconds."""

    host: str
    endpoint: IStreamClientEndpoint
    timeout: float


def _target(reactor: Any, arguments: Arguments, default: int | None) -> _Target:
    """
    Return the target, with a RacingEndpoint or with the endpoint of ``endpoint=``.

    :param default: the port if none is given; None if one must be given.
    """
    from twisted_tcpclient import values

    host = arguments.required("host")
    port = arguments.converted("port", values.port, default)
    if port is None:
        raise arguments.wrong("port: is missing")
    timeout = arguments.converted("timeout", values.seconds, 30.0)
    nested = arguments.raw("endpoint")
    if nested is not None:
        return _Target(host, _nested(reactor, arguments, nested), timeout)
    from twisted_tcpclient.race import RacingEndpoint
    from twisted_tcpclient.settings import ConnectSettings

    settings = ConnectSettings(
        attempt_delay=arguments.converted("attemptDelay", values.seconds, 0.25),
        attempt_timeout=timeout,
        local_ip=arguments.converted("bindAddress", values.address, ""),
    )
    return _Target(host, RacingEndpoint(reactor, host, port, settings), timeout)


def _nested(reactor: Any, arguments: Arguments, description: str) -> Any:
    """Return the endpoint that the string in ``endpoint=`` describes."""
    from twisted.internet.endpoints import clientFromString

    for name in ("attemptDelay", "bindAddress"):
        if arguments.raw(name) is not None:
            raise arguments.wrong(f"{name}: has no meaning with endpoint")
    try:
        return clientFromString(reactor, description)
    except Exception as error:
        # Parsers also let through errors of int() and of calls with wrong arguments.
        raise arguments.wrong(f"endpoint: {description!r}: {error}") from error


def _creator(arguments: Arguments, host: str) -> Any:
    """Return the creator of TLS connections to a host."""
    from twisted_tcpclient.errors import SettingsError
    from twisted_tcpclient.tls import ConnectionCreator

    settings = _tls(arguments, host)
    arguments.refuse_rest()
    try:
        return ConnectionCreator(settings)
    except SettingsError as error:
        raise arguments.wrong(str(error)) from None


def _tls(arguments: Arguments, host: str) -> TLSSettings:
    """Return the settings for TLS, for the name of ``hostname=`` or else the host."""
    from twisted_tcpclient import values
    from twisted_tcpclient.settings import TLSSettings

    name = arguments.converted("hostname", values.host_name, None)
    settings = replace(
        TLSSettings.for_host(name or host, arguments.raw("trustRoots")),
        certificate=arguments.raw("certificate"),
        private_key=arguments.raw("privateKey"),
        revocations=arguments.raw("crl"),
        common_name=name is not None,
        verify=arguments.converted("verify", values.switch, True),
    )
    if settings.private_key is not None and settings.certificate is None:
        raise arguments.wrong("privateKey: there is no certificate")
    return settings


def _dialect(arguments: Arguments) -> Dialect:
    """Return the dialect that the string names; raise ValueError if it names none."""
    from twisted_tcpclient import values
    from twisted_tcpclient.errors import SettingsError

    name = arguments.required("dialect")
    try:
        return values.dialect(name)
    except (ValueError, SettingsError) as error:
        raise arguments.wrong(f"dialect: {error}") from error


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class _Parser:
    """
    Base of the parsers.

    :cvar prefix: the word before the first colon.
    :cvar names: the names of the positional arguments, in order.
    """

    prefix: str
    names: tuple[str, ...] = ()

    # Positional only: "reactor=" in a string is a mistake like any other.
    def parseStreamClient(  # type: ignore[override]
        self, reactor: Any, /, *args: Any, **keywords: Any
    ) -> IStreamClientEndpoint:
        """
        See :class:`IStreamClientEndpointStringParserWithReactor`.

        :raises ValueError: with the wrong part of the string in its message.
        """
        # clientFromString("ucspi:") passes one argument, which is empty.
        placed = args if any(args) else ()
        return self.parse(reactor, Arguments(self.prefix, self.names, placed, keywords))

    def parse(self, reactor: Any, arguments: Arguments) -> IStreamClientEndpoint:
        """Return the endpoint for the arguments; each subclass implements this."""
        raise NotImplementedError


class STARTTLSParser(_Parser):
    """The parser of ``starttls:DIALECT:HOST[:PORT]``."""

    prefix = "starttls"
    names = ("dialect", "host", "port")

    def parse(self, reactor: Any, arguments: Arguments) -> IStreamClientEndpoint:
        """Return an endpoint with TLS after STARTTLS."""
        from twisted_tcpclient import values
        from twisted_tcpclient.endpoints import starttls

        dialect = _dialect(arguments)
        target = _target(reactor, arguments, dialect.port)
        greeting = arguments.converted("greeting", values.switch, False)
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
    """The parser of ``tcpclient:HOST:PORT``, with ``tls=yes`` or without."""

    prefix = "tcpclient"
    names = ("host", "port")

    def parse(self, reactor: Any, arguments: Arguments) -> IStreamClientEndpoint:
        """Return an endpoint for a host and a port, with TLS if ``tls=yes`` says so."""
        from twisted_tcpclient import values

        target = _target(reactor, arguments, None)
        if not arguments.converted("tls", values.switch, False):
            arguments.refuse_rest(" without tls=yes")
            return target.endpoint
        from twisted_tcpclient.endpoints import secured

        creator = _creator(arguments, target.host)
        return secured(creator, target.endpoint, reactor, target.timeout)


class UCSPIParser(_Parser):
    """The parser of ``ucspi:``."""

    prefix = "ucspi"

    def parse(self, reactor: Any, arguments: Arguments) -> IStreamClientEndpoint:
        """Return the endpoint for descriptors 6 and 7."""
        from twisted_tcpclient.ucspi import UCSPIEndpoint

        arguments.refuse_rest()
        return UCSPIEndpoint(reactor)

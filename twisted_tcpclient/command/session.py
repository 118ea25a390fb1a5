"""
A session: one run of the command, from settings to an exit status.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.python.failure import Failure

from twisted_tcpclient import program
from twisted_tcpclient.command.inheritance import Inheritance
from twisted_tcpclient.command.messages import PROGRESS, Messages, complain
from twisted_tcpclient.command.target import target
from twisted_tcpclient.connection import Connection, HandOver, connect
from twisted_tcpclient.errors import DescriptionError
from twisted_tcpclient.facts import environment
from twisted_tcpclient.names import reverse
from twisted_tcpclient.relay.lines import crlf
from twisted_tcpclient.settings import Host, RelaySettings, Settings, TLSSettings

#: The exit status for a wrong command line.
USAGE = 100

#: The exit status for a failure that may be temporary.
TEMPORARY = 111


def _nothing() -> None:
    """Do nothing."""


class Session:
    """
    One run of the command.

    It connects and secures the connection, and gives it to prog or joins it to stdin
    and stdout.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        inheritance: Inheritance,
        hand_over: HandOver | None = None,
        prepared: Callable[[], None] = _nothing,
    ) -> None:
        """
        :param inheritance: the environment and the signals that prog inherits.
        :param hand_over: runs prog on the socket of a connection in clear; by default
            prog is run as a child, and its exit is awaited.
        :param prepared: called before connecting, when all files have been read.
        """
        self._reactor = reactor
        self._settings = settings
        self._inheritance = inheritance
        self._hand_over = hand_over
        self._prepared = prepared
        self._target = target(settings)
        self._messages = Messages(settings.verbosity)
        self._connection: Connection | None = None
        self._running: Deferred[int] | None = None
        self._ended_by = 0

    def run(self) -> Deferred[int]:
        """
        Connect, secure, and run prog or relay.

        :returns: fires with the exit status, and does not fail.  Errors have been
            reported by then.
        """
        self._running = Deferred.fromCoroutine(self._run())
        return self._running.addErrback(self._explain)

    @property
    def has_child(self) -> bool:
        """Whether prog runs as a child of this process."""
        return self._connection is not None and self._connection.has_child

    def signal(self, number: int) -> None:
        """Send a signal to prog if it runs as a child; otherwise end the session."""
        if self._connection is not None and self.has_child:
            self._connection.signal(number)
        elif self._running is not None:
            self._ended_by = number
            self._running.cancel()

    async def _run(self) -> int:
        command = self._command() if self._settings.program else None
        endpoint = self._endpoint()
        self._prepared()
        connection = self._connection = await connect(self._reactor, endpoint)
        try:
            self._announce(connection)
            if command is not None:
                return await self._execute(connection, command)
            await connection.relay(0, 1, self._relaying())
            return 0
        except BaseException:
            connection.abort()
            raise

    # Arguments for the library.

    def _command(self) -> program.Command:
        """Return prog with the environment and the signals that it inherits."""
        given = self._inheritance
        command = program.command(self._settings.program, given.environment)
        return replace(command, blocked=given.blocked, ignored=given.ignored)

    def _endpoint(self) -> IStreamClientEndpoint:
        """Return the endpoint to connect, with the TLS that the settings ask for."""
        plain = self._target.endpoint(self._reactor, self._messages)
        if self._settings.tls is not None:
            return self._secured(plain, self._settings.tls)
        if self._settings.endpoint is None:
            self._messages.progress("using un-encrypted connection")
        return plain

    def _secured(
        self, plain: IStreamClientEndpoint, tls: TLSSettings
    ) -> IStreamClientEndpoint:
        """Return an endpoint with TLS, after STARTTLS if that is asked for."""
        from twisted_tcpclient.endpoints import secured, starttls
        from twisted_tcpclient.tls.creator import ConnectionCreator

        settings, reactor = self._settings, self._reactor
        creator = ConnectionCreator(tls)
        if tls.certificate is not None:
            self._messages.progress(f"using certificate {tls.certificate}")
        if not tls.verify:
            self._messages.warning(
                "the server's certificate is not verified (-k): anyone may answer"
            )
        if settings.starttls is None:
            return secured(creator, plain, reactor, settings.idle)
        return starttls(
            settings.starttls,
            creator,
            plain,
            reactor,
            settings.idle,
            creator.name,
            settings.greeting,
        )

    def _relaying(self) -> RelaySettings:
        """Return the settings of the relay."""
        settings = self._settings
        return RelaySettings(
            idle=settings.idle,
            shutdown=settings.shutdown,
            ignore_unexpected_eof=settings.ignore_unexpected_eof,
            translate=crlf() if settings.crlf else None,
            note=self._messages.progress,
            warn=self._warn,
        )

    async def _execute(self, connection: Connection, command: program.Command) -> int:
        """Run prog on the connection, and return the exit status."""
        settings = self._settings
        facts = await reverse.complete(self._reactor, connection.facts, settings.lookup)
        told = environment(command.environment, facts, settings.provider)
        outcome = await connection.execute(
            replace(command, environment=told),
            self._relaying(),
            self._hand_over,
            self._complain,
        )
        return outcome.status or (TEMPORARY if outcome.error else 0)

    # Messages.

    def _announce(self, connection: Connection) -> None:
        """Print the address and TLS (``-v``); warn if the endpoint verified nothing."""
        settings = self._settings
        if settings.tls is None and not connection.verified:
            self._messages.warning(
                "the server's certificate is not verified (-E): anyone may answer"
            )
        if settings.verbosity < PROGRESS:
            return
        reached = self._target.reached(connection.peer)
        self._messages.progress(f"connected to {reached}")
        tls = connection.facts.tls
        if tls is not None:
            session = f"{tls.protocol} {tls.cipher}{self._verified()}: {tls.subject}"
            self._messages.progress(f"secured with {session}")

    def _verified(self) -> str:
        """Return which name was verified, for a message."""
        tls = self._settings.tls
        if tls is None:
            return ""
        if not tls.verify:
            return ", not verified"
        if tls.name is None:
            return ", chain verified, no name to compare"
        if tls.name.isascii():
            return f", verified as {tls.name}"
        return f", verified as {tls.name} ({Host(tls.name).reference})"

    @property
    def _peer(self) -> IAddress | None:
        """The address that was reached, None before that."""
        return None if self._connection is None else self._connection.peer

    def _warn(self, message: str) -> None:
        """Print a warning about the connection."""
        self._messages.warning(f"{self._target.where(self._peer)}{message}")

    def _complain(self, error: BaseException | None) -> None:
        """Print an error, with the target that it is about."""
        complain(self._messages, error, self._target.where, self._peer)

    def _explain(self, failure: Failure) -> int:
        """Report a failure, and return the exit status for it."""
        if self._ended_by:
            return 128 + self._ended_by
        self._complain(failure.value)
        return USAGE if failure.check(DescriptionError) else TEMPORARY

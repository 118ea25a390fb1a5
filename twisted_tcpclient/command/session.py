"""
From settings to an exit status: the order of events.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure

from twisted_tcpclient import program
from twisted_tcpclient.command.inheritance import Inheritance
from twisted_tcpclient.command.messages import PROGRESS, Messages, complain
from twisted_tcpclient.command.target import target
from twisted_tcpclient.connection import local, observe
from twisted_tcpclient.errors import (
    NO_CERTIFICATE,
    ConnectionBroken,
    DescriptionError,
    LocalFailure,
    TimedOut,
)
from twisted_tcpclient.facts import Facts, environment, is_secure
from twisted_tcpclient.names import reverse
from twisted_tcpclient.relay.holder import Network
from twisted_tcpclient.relay.idle import IDLED
from twisted_tcpclient.relay.relay import Local, Manner, Relay, crlf
from twisted_tcpclient.relay.wire import Wire
from twisted_tcpclient.settings import Host, Settings
from twisted_tcpclient.text import os_reason

if TYPE_CHECKING:
    from twisted_tcpclient.tls.creator import ConnectionCreator

#: The exit status for a wrong command line.
USAGE = 100

#: The exit status for whatever may work another time.
TEMPORARY = 111

#: Runs prog on a socket, and fires with its status.
HandOver = Callable[[program.Command, int], "Deferred[int]"]


def _late(released: object, seconds: float) -> NoReturn:
    raise TimedOut(IDLED)


class Session:
    """One run of the settings."""

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        inheritance: Inheritance,
        hand_over: HandOver | None = None,
    ) -> None:
        """
        :param inheritance: what prog gets, beside the connection.
        :param hand_over: runs prog on a connection in clear; a child that is
            waited for if not given.
        """
        self._reactor = reactor
        self._settings = settings
        self._target = target(settings)
        self._inheritance = inheritance
        self._hand_over = hand_over or self._child
        self._messages = Messages(settings.verbosity)
        self._program: program.Program | None = None
        self._creator: ConnectionCreator | None = None
        self._running: Deferred[int] | None = None
        self._ended_by = 0
        self._peer: object | None = None
        self._lacks_certificate = False

    def prepared(self) -> None:
        """Called when all files are read, before connecting; for the caller to set."""

    def run(self) -> Deferred[int]:
        """
        Connect, secure, hand over or relay.

        :returns: fires with the exit status; does not fail.  What went wrong
            has been reported by then.
        """
        self._running = Deferred.fromCoroutine(self._run())
        return self._running.addErrback(self._explain)

    @property
    def has_child(self) -> bool:
        """Whether prog runs as a child of ours."""
        return self._program is not None and not self._program.exited.called

    def signal(self, number: int) -> None:
        """
        Act on a signal: prog is given it, where there is one.  Otherwise the
        session ends.
        """
        if self._program is not None and self.has_child:
            self._program.signal(number)
        elif self._running is not None:
            self._ended_by = number
            self._running.cancel()

    # The order of events.

    async def _run(self) -> int:
        command = self._command() if self._settings.program else None
        network = await self._connect()
        try:
            return await self._use(network, command)
        except BaseException:
            network.abort()
            raise

    def _command(self) -> program.Command:
        """Return prog with what it inherits."""
        given = self._inheritance
        command = program.command(self._settings.program, given.environment)
        return replace(command, blocked=given.blocked, ignored=given.ignored)

    async def _use(self, network: Network, command: program.Command | None) -> int:
        """Whatever the connection was made for."""
        settings = self._settings
        if command is None:
            return await self._client(network)
        transport: Any = network.transport
        facts = await reverse.complete(
            self._reactor, self._facts(transport), transport, settings.lookup
        )
        told = environment(command.environment, facts, settings.provider)
        command = replace(command, environment=told)
        if isinstance(transport, Connection):
            return await self._hand_over(command, program.detach(transport))
        return await self._pipe(network, command)

    async def _connect(self) -> Any:
        """Connected, and verified where TLS was asked for."""
        endpoint = self._endpoint()
        self.prepared()
        factory = Factory.forProtocol(Network)
        factory.noisy = False
        network: Any = await endpoint.connect(factory)
        transport: Any = network.transport
        self._peer = transport.getPeer()
        if self._creator is not None:
            handle = transport.getHandle()
            self._lacks_certificate = self._creator.lacks_certificate(handle)
        self._announce(transport)
        self._warn(transport)
        return network

    def _endpoint(self) -> IStreamClientEndpoint:
        """What to connect through."""
        settings = self._settings
        endpoint = self._target.endpoint(self._reactor, self._messages)
        if settings.tls is None:
            if settings.endpoint is None:
                self._messages.progress("using un-encrypted connection")
            return endpoint
        from twisted_tcpclient.endpoints import secured, starttls
        from twisted_tcpclient.tls.creator import ConnectionCreator

        creator = self._creator = ConnectionCreator(settings.tls)
        if settings.tls.certificate is not None:
            self._messages.progress(f"using certificate {settings.tls.certificate}")
        if not settings.tls.verify:
            self._messages.warning(
                "the server's certificate is not verified (-k): anyone may answer"
            )
        if settings.starttls is None:
            return secured(creator, endpoint, self._reactor, settings.idle)
        return starttls(
            settings.starttls,
            creator,
            endpoint,
            self._reactor,
            settings.idle,
            settings.tls.name or "",
            settings.greeting,
        )

    def _announce(self, transport: Any) -> None:
        """Say what was reached, for ``-v``: otherwise it is not looked at."""
        if self._settings.verbosity < PROGRESS:
            return
        reached = self._target.reached(transport.getPeer())
        self._messages.progress(f"connected to {reached}")
        tls = self._facts(transport).tls
        if tls is not None:
            self._messages.progress(
                f"secured with {tls.protocol} {tls.cipher}{self._verified()}:"
                f" {tls.subject}"
            )

    def _verified(self) -> str:
        """What was verified, as far as it is known."""
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

    def _warn(self, transport: Any) -> None:
        """TLS that is not ours may verify nothing."""
        if self._settings.tls is not None or not is_secure(transport):
            return
        from twisted_tcpclient.tls.sessions import is_verified

        if not is_verified(transport):
            self._messages.warning(
                "the server's certificate is not verified (-E): anyone may answer"
            )

    def _facts(self, transport: Any) -> Facts:
        facts = observe(transport)
        if self._creator is None:
            return facts
        return replace(facts, tls=self._creator.observe(transport.getHandle()))

    # Using the connection.

    async def _wire(self, network: Network) -> Wire:
        """The connection, out of Twisted's hands where it was made by us."""
        settings = self._settings
        if settings.endpoint is not None:
            return network.lend(self._reactor, is_secure(network.transport))
        if self._creator is None:
            return await network.release()
        from twisted_tcpclient.tls.records import Records

        # The end of the handshake may not be out yet, and nobody may ever take it.
        released = network.release(Records)
        if settings.idle is not None:
            released.addTimeout(settings.idle, self._reactor, _late)
        return await released

    async def _client(self, network: Network) -> int:
        """Join stdin and stdout to the network."""
        wire = await self._wire(network)
        try:
            ours, restore = local(0, 1, "standard input", "standard output")
        except OSError as error:
            why = os_reason(error)
            raise LocalFailure(f"no standard input or output: {why}") from None
        try:
            await self._relay(wire, ours)
        finally:
            restore()
        return 0

    async def _relay(self, wire: Wire, ours: Local) -> None:
        """
        Join the network and our side until both are done.

        A server may show only by the end that it insists on a client certificate: in
        TLS 1.3 the handshake has succeeded on this side by then (RFC 8446, 4.4.2.4).
        """
        relay = Relay(self._reactor, wire, ours, self._manner())
        try:
            await relay.finished
        except ConnectionBroken as error:
            if relay.snubbed and self._lacks_certificate:
                raise ConnectionBroken(f"{error}: {NO_CERTIFICATE}") from None
            raise
        if relay.snubbed and self._lacks_certificate:
            where = self._target.where(self._peer)
            self._messages.warning(f"{where}{NO_CERTIFICATE}")

    def _manner(self) -> Manner:
        """Return what the user asked of the relay."""
        settings = self._settings
        return Manner(
            idle=settings.idle,
            shutdown=settings.shutdown,
            ignore_unexpected_eof=settings.ignore_unexpected_eof,
            translate=crlf() if settings.crlf else None,
            note=self._messages.progress,
        )

    async def _pipe(self, network: Network, command: program.Command) -> int:
        """Run prog as a child, with the network behind its pipes."""
        wire = await self._wire(network)
        child, local = program.pipes(self._reactor, command)
        self._program = child
        relaying = Deferred.fromCoroutine(self._relay(wire, local))
        explained = relaying.addCallbacks(lambda _: 0, self._explain)
        status = await child.exited
        relayed = await explained
        return status or relayed

    def _child(self, command: program.Command, connection: int) -> Deferred[int]:
        """Run prog as a child that has the socket itself."""
        self._program = program.hand_over(self._reactor, command, connection)
        return self._program.exited

    # Errors.

    def _explain(self, failure: Failure) -> int:
        """Report a failure, and turn it into a status."""
        if self._ended_by:
            return 128 + self._ended_by
        complain(self._messages, failure.value, self._target.where, self._peer)
        return USAGE if failure.check(DescriptionError) else TEMPORARY

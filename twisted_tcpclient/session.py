"""
From settings to an exit status: the order of events.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from twisted_tcpclient import program
from twisted_tcpclient.descriptors import output
from twisted_tcpclient.errors import (
    ConnectFailed,
    LocalFailure,
    NegotiationFailed,
    SettingsError,
    TCPClientError,
)
from twisted_tcpclient.facts import Facts, environment, observe
from twisted_tcpclient.race import RacingEndpoint
from twisted_tcpclient.relay import (
    Diagnosis,
    Local,
    Network,
    Relay,
    crlf,
    plain_diagnosis,
)
from twisted_tcpclient.report import PROGRESS, Report, os_reason, place, printable
from twisted_tcpclient.settings import Settings

if TYPE_CHECKING:
    from twisted_tcpclient.tls import ConnectionCreator

#: The exit status for whatever may work another time.
TEMPORARY = 111

#: How much of a server's words is shown, in bytes.
_SHOWN = 300

#: Runs prog on a socket, and fires with its status.
HandOver = Callable[[program.Command, int], "Deferred[int]"]


class Session:
    """One run of the settings."""

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        environ: Mapping[bytes, bytes],
        hand_over: HandOver | None = None,
    ) -> None:
        """
        :param environ: what prog inherits.
        :param hand_over: runs prog on a connection in clear; a child that is
            waited for if not given.
        """
        self._reactor = reactor
        self._settings = settings
        self._environ = environ
        self._hand_over = hand_over or self._child
        self._report = Report(settings.verbosity)
        self._program: program.Program | None = None
        self._creator: ConnectionCreator | None = None
        self._running: Deferred[int] | None = None
        self._ended_by = 0
        self._peer: object | None = None

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
        command = None
        if self._settings.program:
            command = program.command(self._settings.program, self._environ)
        network = await self._connect()
        try:
            return await self._use(network, command)
        except BaseException:
            network.abort()
            raise

    async def _use(self, network: Network, command: program.Command | None) -> int:
        """Whatever the connection was made for."""
        settings = self._settings
        if command is None:
            return await self._client(network)
        facts = await self._gather(network)
        command = replace(
            command, environment=environment(self._environ, facts, settings.provider)
        )
        if settings.tls is None:
            return await self._hand_over(command, program.detach(network.transport))
        return await self._pipe(network, command)

    async def _connect(self) -> Any:
        """Connected, and verified where TLS was asked for."""
        endpoint = self._endpoint()
        factory = Factory.forProtocol(lambda: Network(self._diagnosis()))
        factory.noisy = False
        network: Any = await endpoint.connect(factory)
        transport: Any = network.transport
        self._peer = transport.getPeer()
        if self._settings.connect.nodelay and self._settings.port is not None:
            transport.setTcpNoDelay(True)
        self._announce(transport)
        return network

    def _endpoint(self) -> IStreamClientEndpoint:
        """What to connect through."""
        settings = self._settings
        endpoint = self._plain_endpoint()
        if settings.tls is None:
            self._report.progress("using un-encrypted connection")
            return endpoint
        from twisted_tcpclient.endpoints import secured, starttls
        from twisted_tcpclient.tls import ConnectionCreator

        creator = self._creator = ConnectionCreator(settings.tls)
        if settings.tls.certificate is not None:
            self._report.progress(f"using certificate {settings.tls.certificate}")
        if not settings.tls.verify:
            self._report.warning(
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
        )

    def _plain_endpoint(self) -> IStreamClientEndpoint:
        settings = self._settings
        if settings.port is None:
            from twisted_tcpclient.endpoints import SocketEndpoint

            return SocketEndpoint(
                self._reactor, settings.host, settings.connect.attempt_timeout
            )
        return RacingEndpoint(
            self._reactor,
            settings.host,
            settings.port,
            settings.connect,
            self._report,
        )

    def _announce(self, transport: Any) -> None:
        """Say what was reached, for ``-v``: otherwise it is not looked at."""
        if self._settings.verbosity < PROGRESS:
            return
        if self._settings.port is None:
            self._report.progress(f"connected to socket {self._settings.host}")
        else:
            peer = transport.getPeer()
            self._report.progress(f"connected to {peer.host} port {peer.port}")
        tls = self._facts(transport).tls
        if tls is None or self._settings.tls is None:
            return
        name = self._settings.tls.name
        if not self._settings.tls.verify:
            verified = "not verified"
        elif name is None:
            verified = "chain verified, no name to compare"
        else:
            verified = f"verified as {name}"
        self._report.progress(
            f"secured with {tls.protocol} {tls.cipher}, {verified}: {tls.subject}"
        )

    # What prog is told.

    def _facts(self, transport: Any) -> Facts:
        facts = observe(transport)
        if self._creator is None:
            return facts
        return replace(facts, tls=self._creator.observe(transport.getHandle()))

    async def _gather(self, network: Network) -> Facts:
        """All the facts, with the look-ups side by side."""
        transport: Any = network.transport
        facts = self._facts(transport)
        if self._settings.port is None:
            return facts
        names = await gatherResults(self._lookups(transport), consumeErrors=True)
        remote_host, local_host, remote_info = names
        return replace(
            facts,
            remote_host=remote_host,
            local_host=local_host,
            remote_info=remote_info,
        )

    def _lookups(self, transport: Any) -> list[Deferred[str | None]]:
        """The look-ups, all started: of the server, of ourselves, of the user."""
        wanted = self._settings.lookup
        none: Deferred[str | None] = succeed(None)
        if not (wanted.remote_host or wanted.remote_info or wanted.local_host is None):
            return [none, succeed(wanted.local_host), none]
        from twisted_tcpclient.lookup import host_name, ident

        reactor, seconds = self._reactor, wanted.timeout
        local, remote = transport.getHost(), transport.getPeer()
        return [
            host_name(reactor, remote.host, seconds) if wanted.remote_host else none,
            (
                host_name(reactor, local.host, seconds)
                if wanted.local_host is None
                else succeed(wanted.local_host)
            ),
            ident(reactor, local, remote, seconds) if wanted.remote_info else none,
        ]

    # Using the connection.

    async def _client(self, network: Network) -> int:
        """Join stdin and stdout to the network."""
        settings = self._settings
        try:
            written = output(1)
            reading = os.dup(0)
        except OSError as error:
            why = os_reason(error)
            raise LocalFailure(f"no standard input or output: {why}") from None
        names = "standard input", "standard output"
        try:
            await Relay(
                self._reactor,
                network,
                Local(reading, written.fd, *names, needed=True),
                secure=settings.tls is not None,
                idle=settings.idle,
                translate=crlf() if settings.crlf else None,
            ).finished
        finally:
            written.restore()
        return 0

    async def _pipe(self, network: Network, command: program.Command) -> int:
        """Run prog as a child, with the network behind its pipes."""
        child, local = program.pipes(self._reactor, command)
        self._program = child
        relay = Relay(
            self._reactor, network, local, secure=True, idle=self._settings.idle
        )
        relaying = relay.finished.addCallbacks(lambda _: 0, self._explain)
        status = await child.exited
        relayed = await relaying
        return status or relayed

    def _child(self, command: program.Command, connection: int) -> Deferred[int]:
        """Run prog as a child that has the socket itself."""
        try:
            child = program.spawn(self._reactor, command, (connection, connection))
        finally:
            os.close(connection)
        self._program = child
        return child.exited

    # Errors.

    def _diagnosis(self) -> Diagnosis:
        """What to make of the end of the connection."""
        if self._creator is None:
            return plain_diagnosis
        from twisted_tcpclient.tls import diagnose

        return diagnose

    def _explain(self, failure: Failure) -> int:
        """Report a failure, and turn it into a status."""
        if self._ended_by:
            return 128 + self._ended_by
        self._complain(failure.value)
        return TEMPORARY

    def _complain(self, error: BaseException | None) -> None:
        """Say what went wrong, and where."""
        if isinstance(error, ConnectFailed):
            *others, last = (
                f"unable to connect to {attempt.address}: {attempt.reason}"
                for attempt in error.attempts
            )
            for line in others:
                self._report.warning(line)
            self._report.fatal(last)
        elif isinstance(error, (LocalFailure, SettingsError)):
            self._report.fatal(str(error))
        elif isinstance(error, TCPClientError):
            self._report.fatal(f"{self._where(error.peer or self._peer)}{error}")
        else:
            self._report.fatal(f"{type(error).__name__}: {error}")
        if isinstance(error, NegotiationFailed) and error.server_text:
            said = printable(error.server_text[:_SHOWN])
            self._report.progress(f"the server, unauthenticated, said: {said}")

    def _where(self, peer: Any) -> str:
        """The beginning of a message about a connection."""
        if self._settings.port is None:
            return f"socket {self._settings.host}: "
        if peer is None:
            return ""
        return f"{place(self._settings.host, peer.host, peer.port)}: "

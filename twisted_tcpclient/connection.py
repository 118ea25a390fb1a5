"""
A connection that is not read yet, and what can be done with it.

Programs that put a protocol of their own on a connection use the endpoints.  This is
for programs that do as the command ``tcpclient`` does: they give the connection to
another program on descriptors 6 and 7 (UCSPI), or join it to two descriptors.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from twisted_tcpclient import facts, program
from twisted_tcpclient.errors import (
    NO_CERTIFICATE,
    ConnectionBroken,
    LocalFailure,
    TCPClientError,
    TimedOut,
)
from twisted_tcpclient.facts import Facts, TLSFacts
from twisted_tcpclient.relay.descriptors import output, source
from twisted_tcpclient.relay.holder import Holder
from twisted_tcpclient.relay.idle import IDLED
from twisted_tcpclient.relay.local import Local
from twisted_tcpclient.relay.relay import Relay
from twisted_tcpclient.relay.wire import Wire
from twisted_tcpclient.settings import RelaySettings
from twisted_tcpclient.text import os_reason

#: Runs prog on a socket, and fires with its status.
HandOver = Callable[[program.Command, int], "Deferred[int]"]

#: Standard descriptors as messages call them.
_NAMES = {0: "standard input", 1: "standard output"}


def observe(transport: Any) -> Facts:
    """
    Return the facts that a transport knows: both addresses, and its TLS session.

    :param transport: connected, in clear or with TLS of any origin.
    :returns: the facts, without the names and the user that have to be looked up.
    """
    return replace(facts.address_facts(transport), tls=_session(transport))


def _session(transport: Any) -> TLSFacts | None:
    """Return the facts of a transport's TLS session, None in clear."""
    if not facts.is_secure(transport):
        return None
    creator = _creator_of(transport)
    if creator is not None:
        known: TLSFacts = creator.session_facts(transport.getHandle())
        return known
    from twisted_tcpclient.tls import sessions

    return sessions.tls_facts(transport)


def _creator_of(transport: Any) -> Any:
    """
    Return the creator of a transport's TLS session; None in clear, and for TLS of
    another package.
    """
    if not facts.is_secure(transport):
        return None
    from twisted_tcpclient.stages.handshake import TLSTransport

    return transport.creator if isinstance(transport, TLSTransport) else None


def _lacks_certificate(transport: Any) -> bool:
    """Return whether the server asked for a client certificate that it did not get."""
    creator = _creator_of(transport)
    return creator is not None and creator.lacks_certificate(transport.getHandle())


@dataclass(frozen=True)
class Outcome:
    """
    How a program and its connection have ended.

    :ivar status: the program's exit status, or 128 plus the number of the signal that
        ended it.
    :ivar error: what went wrong with the connection; None if it ended in order, and for
        a program that had the socket itself.
    """

    status: int
    error: TCPClientError | None = None


class Connection:
    """
    A connection that is not read yet: see :func:`connect`.

    It can be used once, by :meth:`run` or by :meth:`relay`; :meth:`abort` ends it.

    :ivar peer: the address of the server; None if it has none.
    """

    def __init__(self, reactor: Any, holder: Holder) -> None:
        """
        Use :func:`connect` instead.

        :param reactor: runs programs, and reads descriptors.
        :param holder: connected.
        """
        self._reactor = reactor
        self._holder = holder
        self._child: program.Program | None = None
        self._addresses = facts.address_facts(holder.transport)
        self.peer: IAddress | None = holder.transport.getPeer()
        self._lacks_certificate = _lacks_certificate(holder.transport)

    @property
    def facts(self) -> Facts:
        """Both addresses, and the TLS session."""
        return replace(self._addresses, tls=_session(self._holder.transport))

    @property
    def verified(self) -> bool:
        """Whether the server's certificate was verified; True in clear."""
        transport = self._holder.transport
        if not facts.is_secure(transport):
            return True
        from twisted_tcpclient.tls.sessions import is_verified

        return is_verified(transport)

    # A program.

    def run(
        self,
        arguments: Sequence[str],
        environment: Mapping[bytes, bytes],
        settings: RelaySettings | None = None,
    ) -> Deferred[Outcome]:
        """
        Run a program on the connection, as a child, and wait for it.

        The program reads the connection from descriptor 6 and writes it to 7, and
        inherits 0, 1 and 2.  If the connection is a socket in clear, these are the
        socket itself.  Otherwise, as with TLS, they are pipes.

        Cancelling ends the program with SIGTERM, and the connection, and fails
        with :class:`twisted.internet.defer.CancelledError`.

        :param arguments: the program, by path or to be found in PATH, and its
            arguments.
        :param environment: the whole environment of the program;
            :func:`twisted_tcpclient.facts.environment` makes one that describes the
            connection.
        :param settings: how bytes are relayed if the program has pipes; the defaults if
            not given.
        :returns: fires with an :class:`Outcome`.  Fails with
            :class:`twisted_tcpclient.errors.LocalFailure` if the program cannot
            be run.
        """

        async def run() -> Outcome:
            try:
                command = program.command(arguments, environment)
            except LocalFailure:
                self.abort()
                raise
            return await self.execute(command, settings or RelaySettings())

        return Deferred.fromCoroutine(run())

    async def execute(
        self,
        command: program.Command,
        settings: RelaySettings,
        hand_over: HandOver | None = None,
        failed: Callable[[TCPClientError], None] = lambda error: None,
    ) -> Outcome:
        """
        Run prog on the connection, as :meth:`run` does, for the command.

        :param command: prog.
        :param settings: how bytes are relayed if prog has pipes.
        :param hand_over: runs prog on the socket of a connection in clear; a child that
            is waited for if not given.
        :param failed: called with what goes wrong with the connection, at once.
        """
        try:
            descriptor = await self._timed(
                self._holder.take_socket(self._reactor), settings
            )
            if descriptor is not None:
                return Outcome(
                    await (hand_over or self._run_child)(command, descriptor)
                )
            return await self._run_with_pipes(command, settings, failed)
        except BaseException:
            self.abort()
            raise

    @property
    def has_child(self) -> bool:
        """Whether the program runs as a child of this process."""
        return self._child is not None and self._child.running

    def signal(self, number: int) -> None:
        """
        Send a signal to the program, if it runs as a child.

        :param number: of the signal.
        """
        if self._child is not None:
            self._child.signal(number)

    async def _run_with_pipes(
        self,
        command: program.Command,
        settings: RelaySettings,
        failed: Callable[[TCPClientError], None],
    ) -> Outcome:
        """Run prog with pipes on 6 and 7, and relay."""
        wire = await self._timed(self._holder.wire(self._reactor), settings)
        child, ours = program.pipes(self._reactor, command)
        errors: list[TCPClientError] = []

        def note_error(failure: Failure) -> None:
            error = failure.value
            if not isinstance(error, TCPClientError):
                failure.raiseException()
            errors.append(error)
            failed(error)

        relaying = Deferred.fromCoroutine(self._join(wire, ours, settings))
        relaying.addErrback(note_error)
        try:
            status = await self._waited(child)
        except BaseException:
            relaying.addErrback(lambda failure: failure.trap(CancelledError))
            relaying.cancel()
            raise
        await relaying
        return Outcome(status, errors[0] if errors else None)

    def _run_child(self, command: program.Command, descriptor: int) -> Deferred[int]:
        """Run prog as a child that has the socket itself."""
        child = program.hand_over(self._reactor, command, descriptor)
        return Deferred.fromCoroutine(self._waited(child))

    async def _waited(self, child: program.Program) -> int:
        """Return the status of a child; end it if the waiting is cancelled."""
        self._child = child
        try:
            return await child.exited
        except BaseException:
            child.signal(signal.SIGTERM)
            raise

    # Descriptors.

    def relay(
        self,
        reading: int,
        writing: int,
        settings: RelaySettings | None = None,
    ) -> Deferred[None]:
        """
        Join the connection and two descriptors, until both are done.

        At the end of input the server is told (FIN, or close_notify over TLS) once it
        has been quiet, and all that it still sends is written.  The descriptors may be
        of any kind, and stay open.  Cancelling ends the connection, and fails with
        :class:`twisted.internet.defer.CancelledError`.

        :param reading: the descriptor to read from.
        :param writing: the descriptor to write to.
        :param settings: how bytes are relayed; the defaults if not given.
        :returns: fires when the server has ended the connection in order.
            Fails with :class:`twisted_tcpclient.errors.ConnectionBroken` if it
            ended otherwise; with its subclass
            :class:`twisted_tcpclient.errors.CutShort` if TLS ended without
            close_notify; with :class:`twisted_tcpclient.errors.TimedOut` if
            nothing has moved; with
            :class:`twisted_tcpclient.errors.LocalFailure` if one of the
            descriptors cannot be used.
        """
        relaying = self._relay(reading, writing, settings or RelaySettings())
        return Deferred.fromCoroutine(relaying)

    async def _relay(self, reading: int, writing: int, settings: RelaySettings) -> None:
        try:
            wire = await self._timed(self._holder.wire(self._reactor), settings)
            ours, restore = _local(reading, writing)
        except BaseException:
            self.abort()
            raise
        try:
            await self._join(wire, ours, settings)
        finally:
            restore()

    # Both.

    async def _join(self, wire: Wire, ours: Local, settings: RelaySettings) -> None:
        """
        Join the connection and the local side until both are done.

        A server may show only by the end that it insists on a client certificate: in
        TLS 1.3 the handshake has succeeded on this side by then (RFC 8446, 4.4.2.4).
        """
        relay = Relay(self._reactor, wire, ours, settings)
        try:
            await relay.start()
        except ConnectionBroken as error:
            if relay.snubbed and self._lacks_certificate:
                raise ConnectionBroken(f"{error}: {NO_CERTIFICATE}") from None
            raise
        if relay.snubbed and self._lacks_certificate:
            settings.warn(NO_CERTIFICATE)

    def _timed(self, using: Any, settings: RelaySettings) -> Deferred[Any]:
        """Return the holder's answer, which the server can delay by not reading."""
        answer = Deferred.fromCoroutine(using)
        if settings.idle is not None:
            answer.addTimeout(settings.idle, self._reactor, _late)
        return answer

    def abort(self) -> None:
        """End the connection at once, without telling the server in order."""
        self._holder.abort()


def _late(result: object, seconds: float) -> NoReturn:
    raise TimedOut(IDLED)


def _local(reading: int, writing: int) -> tuple[Local, Callable[[], None]]:
    """
    Return the local side on descriptors that stay open, and a function that restores
    them.

    :raises LocalFailure: if one of them cannot be used.
    """
    reads, writes = (_NAMES.get(n, f"descriptor {n}") for n in (reading, writing))
    read = _opened(source, reading, reads)
    try:
        written = _opened(output, writing, writes)
    except LocalFailure:
        os.close(read.fd)
        read.restore()
        raise

    def restore() -> None:
        read.restore()
        written.restore()

    return Local(read.fd, written.fd, reads, writes, needed=True), restore


def _opened(opening: Callable[[int], Any], number: int, name: str) -> Any:
    """
    Return what opens a descriptor anew.

    :raises LocalFailure: if that is not possible.
    """
    try:
        return opening(number)
    except OSError as error:
        raise LocalFailure(f"unable to use {name}: {os_reason(error)}") from None


def connect(reactor: Any, endpoint: IStreamClientEndpoint) -> Deferred[Connection]:
    """
    Connect, and read nothing.

    Any endpoint will do: of this package, of Twisted, or made from a string.  Over TLS
    of Twisted's own the certificate may not have been verified when this fires.

    :param reactor: runs programs, and reads descriptors.
    :param endpoint: not connected yet.
    :returns: fires with a connection.  Fails, and is cancelled, as ``connect`` of
        the endpoint.
    """
    factory = Factory.forProtocol(Holder)
    factory.noisy = False
    connecting: Deferred[Any] = endpoint.connect(factory)
    return connecting.addCallback(lambda holder: Connection(reactor, holder))

"""
A connection from which nothing was read, for a program or for two descriptors.

Programs with a protocol of their own use the endpoints.  This module is for programs
that do what the command ``tcpclient`` does: give the connection to another program on
descriptors 6 and 7 (UCSPI), or relay between it and two descriptors.
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

#: A function that runs prog on a socket; its Deferred fires with the exit status.
HandOver = Callable[[program.Command, int], "Deferred[int]"]

#: The names of the standard descriptors in messages.
_NAMES = {0: "standard input", 1: "standard output"}


def observe(transport: Any) -> Facts:
    """
    Return the facts that a transport knows: both addresses, and its TLS session.

    :param transport: connected, in clear or with TLS of any package.
    :returns: the facts, without the host names and the ident user, which need look-ups.
    """
    tls = _session(transport, _handle(transport))
    return replace(facts.address_facts(transport), tls=tls)


def _handle(transport: Any) -> Any:
    """Return the handle of a transport's TLS session, None in clear."""
    return transport.getHandle() if facts.is_secure(transport) else None


def _session(transport: Any, handle: Any) -> TLSFacts | None:
    """Return the facts of a transport's TLS session, None in clear."""
    if not facts.is_secure(transport):
        return None
    creator = _creator_of(transport)
    if creator is not None:
        known: TLSFacts = creator.session_facts(handle)
        return known
    from twisted_tcpclient.tls import sessions

    return sessions.tls_facts(handle)


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
    :ivar error: the error of the connection; None if the connection ended in order, and
        for a program that had the socket itself.
    """

    status: int
    error: TCPClientError | None = None


class Connection:
    """
    A connection from which nothing was read: :func:`connect` returns it.

    It can be used once, by :meth:`run` or by :meth:`relay`; :meth:`abort` closes it.

    :ivar peer: the address of the server; None if it has none.
    """

    def __init__(self, reactor: Any, holder: Holder) -> None:
        """
        Use :func:`connect` instead.

        :param reactor: runs programs, and reads descriptors.
        :param holder: the protocol that holds the connection.
        """
        self._reactor = reactor
        self._holder = holder
        self._child: program.Program | None = None
        self._addresses = facts.address_facts(holder.transport)
        self.peer: IAddress | None = holder.transport.getPeer()
        # A transport of Twisted has no handle after connectionLost.
        self._handle = _handle(holder.transport)
        self._lacks_certificate = _lacks_certificate(holder.transport)

    @property
    def facts(self) -> Facts:
        """Both addresses, and the TLS session."""
        tls = _session(self._holder.transport, self._handle)
        return replace(self._addresses, tls=tls)

    @property
    def verified(self) -> bool:
        """Whether the server's certificate was verified; True in clear."""
        if not facts.is_secure(self._holder.transport):
            return True
        from twisted_tcpclient.tls.sessions import is_verified

        return is_verified(self._handle)

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

        Cancelling sends SIGTERM to the program, aborts the connection, and fails with
        :class:`twisted.internet.defer.CancelledError`.

        :param arguments: the path of the program, or its name to look up in PATH, and
            its arguments.
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
        :param hand_over: runs prog on the socket of a connection in clear; by default
            prog is run as a child, and its exit is awaited.
        :param failed: called with an error of the connection as soon as it occurs.
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

        :param number: the number of the signal.
        """
        if self._child is not None:
            self._child.signal(number)

    async def _run_with_pipes(
        self,
        command: program.Command,
        settings: RelaySettings,
        failed: Callable[[TCPClientError], None],
    ) -> Outcome:
        """Run prog with pipes on 6 and 7, and relay between them and the connection."""
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
        """Wait for a child, and return its status; send SIGTERM if cancelled."""
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
        Relay between the connection and two descriptors until both sides have ended.

        After the end of input the server gets FIN, or close_notify over TLS, once it
        has been quiet for the time that ``settings.shutdown`` gives.  Everything that
        the server still sends is written.  The descriptors may be of any kind, and stay
        open.  Cancelling aborts the connection, and fails with
        :class:`twisted.internet.defer.CancelledError`.

        :param reading: the descriptor to read from.
        :param writing: the descriptor to write to.
        :param settings: how bytes are relayed; the defaults if not given.
        :returns: fires when the server has ended the connection in order.
            Fails with :class:`twisted_tcpclient.errors.ConnectionBroken` if it
            ended otherwise; with its subclass
            :class:`twisted_tcpclient.errors.CutShort` if TLS ended without
            close_notify; with :class:`twisted_tcpclient.errors.TimedOut` if no
            byte has moved for ``settings.idle`` seconds; with
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

    # Programs and descriptors.

    async def _join(self, wire: Wire, ours: Local, settings: RelaySettings) -> None:
        """
        Relay between the connection and the local side until both have ended.

        In TLS 1.3 a server that requires a client certificate may refuse after the
        handshake has succeeded on this side (RFC 8446, 4.4.2.4).  So, if the server
        asked for a certificate, got none, and ended without sending any data, the error
        or a warning says that a certificate was missing.
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
        """
        Return a Deferred for a coroutine of the holder, limited to ``settings.idle``.

        The holder first writes the end of the handshake, so a server that does not read
        delays it.
        """
        answer = Deferred.fromCoroutine(using)
        if settings.idle is not None:
            answer.addTimeout(settings.idle, self._reactor, _late)
        return answer

    def abort(self) -> None:
        """Close the connection at once, without close_notify, and drop unsent bytes."""
        self._holder.abort()


def _late(result: object, seconds: float) -> NoReturn:
    raise TimedOut(IDLED)


def _local(reading: int, writing: int) -> tuple[Local, Callable[[], None]]:
    """
    Return the local side for two descriptors that stay open, and a function that undoes
    the changes to their modes.

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
    Return the result of :func:`source` or :func:`output` for a descriptor.

    :param opening: the one of these functions to call.
    :raises LocalFailure: if it raises OSError.
    """
    try:
        return opening(number)
    except OSError as error:
        raise LocalFailure(f"unable to use {name}: {os_reason(error)}") from None


def connect(reactor: Any, endpoint: IStreamClientEndpoint) -> Deferred[Connection]:
    """
    Connect, and read nothing.

    The endpoint may be of this package, of Twisted, or made from a string.  Endpoints
    with Twisted's own TLS connect before the handshake, so that the certificate may not
    have been verified when this fires.

    :param reactor: runs programs, and reads descriptors.
    :param endpoint: makes the connection.
    :returns: fires with a :class:`Connection`.  Fails with the errors of ``connect`` of
        the endpoint.  Cancelling cancels that ``connect``.
    """
    factory = Factory.forProtocol(Holder)
    factory.noisy = False
    connecting: Deferred[Any] = endpoint.connect(factory)
    return connecting.addCallback(lambda holder: Connection(reactor, holder))

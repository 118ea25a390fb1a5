"""
A connection that nobody reads yet, and what can be done with it.

The endpoints are for programs that put a protocol of their own on a connection.
This is for those that do as the command ``tcpclient`` does: they give it to a
program on descriptors 6 and 7 (UCSPI), or join it to descriptors of their own.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import (
    INegotiated,
    ISSLTransport,
    IStreamClientEndpoint,
    ITCPTransport,
    IUNIXTransport,
)
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from twisted_tcpclient import facts, program
from twisted_tcpclient.errors import LocalFailure
from twisted_tcpclient.facts import Facts
from twisted_tcpclient.relay.descriptors import output, source
from twisted_tcpclient.relay.holder import Network
from twisted_tcpclient.relay.relay import Local, Manner, Relay
from twisted_tcpclient.settings import Shutdown
from twisted_tcpclient.text import os_reason


def observe(transport: Any) -> Facts:
    """
    What a transport knows by itself: both addresses, and its TLS session.

    :param transport: connected, in clear or with TLS of whatever origin.
    :returns: the facts; names, and what ident says, would have to be looked up.
    """
    known = facts.address_facts(transport)
    if not facts.is_secure(transport):
        return known
    from twisted_tcpclient.tls import sessions

    return replace(known, tls=sessions.tls_facts(transport))


#: Transports that lack nothing.
_SOCKETS = (ITCPTransport, IUNIXTransport, ISSLTransport, INegotiated)


class _Untouched(Network):
    """
    The network's end, which knows whether something has come already.

    :ivar touched: whether something has.
    """

    touched = False

    def connectionMade(self) -> None:
        """Hold back; not all that is connected to can do that, or has an address."""
        if not any(each.providedBy(self.transport) for each in _SOCKETS):
            from twisted_tcpclient.stages.foreign import Completed

            self.transport = Completed(self.transport)
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        """The first: from then on there is nothing to know."""
        self.touched = True
        self.dataReceived = super().dataReceived  # type: ignore[method-assign]
        super().dataReceived(data)


class Connection:
    """
    A connection that nobody reads yet: see :func:`connect`.

    It can be used once: by :meth:`run`, or by :meth:`relay`, or given up by
    :meth:`abort`.

    :ivar facts: what is known of it: both addresses, and its TLS session.
    """

    def __init__(self, reactor: Any, network: _Untouched) -> None:
        """
        For :func:`connect` to make.

        :param reactor: runs programs, and reads descriptors.
        :param network: connected.
        """
        self._reactor = reactor
        self._network = network
        self._secure = facts.is_secure(network.transport)
        self.facts: Facts = observe(network.transport)

    def run(
        self,
        arguments: Sequence[str],
        environment: Mapping[bytes, bytes],
        idle: float | None = None,
        shutdown: Shutdown | None = None,
        ignore_unexpected_eof: bool = False,
    ) -> Deferred[int]:
        """
        Run a program on the connection, as a child, and wait for it.

        It has the connection on descriptors 6 (to read) and 7 (to write), and
        ours on 0, 1 and 2.  A connection in clear is the socket itself, and
        nothing of ours stays in between.  With TLS they are pipes.

        Cancelling ends the program with SIGTERM, and the connection, and fails
        with :class:`twisted.internet.defer.CancelledError`.

        :param arguments: the program, by path or to be found in PATH, and what
            it is called with.
        :param environment: all of the program's; what
            :func:`twisted_tcpclient.facts.environment` makes tells it of the
            connection.
        :param idle: with TLS, seconds without progress after which the
            connection is given up; None for no limit.
        :param shutdown: with TLS, when the server is told that the program has
            closed 7; the command's default if not given.
        :param ignore_unexpected_eof: whether FIN without close_notify, which an
            attacker can send, is an orderly end of TLS.
        :returns: fires with the exit status, or 128 plus the number of the signal
            that ended it.  Fails with
            :class:`twisted_tcpclient.errors.LocalFailure` if the program cannot
            be run, and, if its status is 0, with what else has gone wrong:
            :class:`twisted_tcpclient.errors.ConnectionBroken`,
            :class:`twisted_tcpclient.errors.TimedOut`.
        """
        manner = Manner(idle, shutdown or Shutdown(), ignore_unexpected_eof)
        return Deferred.fromCoroutine(self._run(arguments, environment, manner))

    def relay(
        self,
        reading: int,
        writing: int,
        idle: float | None = None,
        shutdown: Shutdown | None = None,
        ignore_unexpected_eof: bool = False,
    ) -> Deferred[None]:
        """
        Join the connection and two descriptors, until both are done.

        At the end of input the server is told (FIN, or close_notify over TLS) once it
        has been quiet, and all that it still sends is written.  The descriptors may be
        of any kind, and stay open.  Cancelling gives the connection up, and fails with
        :class:`twisted.internet.defer.CancelledError`.

        :param reading: the descriptor to read from.
        :param writing: the descriptor to write to.
        :param idle: seconds without progress after which the connection is given
            up; None for no limit.
        :param shutdown: when the server is told of the end of input; the command's
            default if not given.
        :param ignore_unexpected_eof: whether FIN without close_notify, which an
            attacker can send, is an orderly end of TLS.
        :returns: fires when the server has ended the connection in good order.
            Fails with :class:`twisted_tcpclient.errors.ConnectionBroken` if it
            ended otherwise; with its subclass
            :class:`twisted_tcpclient.errors.CutShort` if TLS ended without
            close_notify; with :class:`twisted_tcpclient.errors.TimedOut` if
            nothing has moved; with
            :class:`twisted_tcpclient.errors.LocalFailure` if one of the
            descriptors cannot be used.
        """
        manner = Manner(idle, shutdown or Shutdown(), ignore_unexpected_eof)
        return Deferred.fromCoroutine(self._relay(reading, writing, manner))

    def abort(self) -> None:
        """Give the connection up, without a word to the server."""
        self._network.abort()

    async def _run(
        self,
        arguments: Sequence[str],
        environment: Mapping[bytes, bytes],
        manner: Manner,
    ) -> int:
        try:
            command = program.command(arguments, environment)
            # Whatever stands before us, a proxy's answer for one, may have read more
            # than its own: that is ours by the next iteration.
            await deferLater(self._reactor, 0)
            if self._is_socket():
                return await self._hand_over(command)
            return await self._pipe(command, manner)
        except BaseException:
            self.abort()
            raise

    def _is_socket(self) -> bool:
        """Whether there is nothing above the socket, and nothing was read."""
        if self._secure or self._network.touched:
            return False
        handle = getattr(self._network.transport, "getHandle", lambda: None)()
        return isinstance(handle, socket.socket)

    async def _hand_over(self, command: program.Command) -> int:
        """Give away the socket itself."""
        handle = program.detach(self._network.transport)
        return await self._wait(program.hand_over(self._reactor, command, handle))

    async def _pipe(self, command: program.Command, manner: Manner) -> int:
        """Give away pipes, and relay."""
        child, local = program.pipes(self._reactor, command)
        wire = self._network.lend(self._reactor, self._secure)
        relay = Relay(self._reactor, wire, local, manner)
        broken: list[Failure] = []
        relaying = relay.finished.addErrback(broken.append)
        status = await self._wait(child)
        await relaying
        if broken and (status == 0 or broken[0].check(CancelledError)):
            broken[0].raiseException()
        return status

    async def _wait(self, child: program.Program) -> int:
        """The status of a child, which does not outlive being waited for."""
        try:
            return await child.exited
        except BaseException:
            assert child.transport is not None
            with suppress(ProcessExitedAlready):
                child.transport.signalProcess(signal.SIGTERM)
            raise

    async def _relay(self, reading: int, writing: int, manner: Manner) -> None:
        try:
            ours, restore = local(
                reading, writing, f"descriptor {reading}", f"descriptor {writing}"
            )
        except OSError as error:
            self.abort()
            why = os_reason(error)
            raise LocalFailure(f"unable to use a descriptor: {why}") from None
        wire = self._network.lend(self._reactor, self._secure)
        relay = Relay(self._reactor, wire, ours, manner)
        try:
            await relay.finished
        finally:
            restore()


def local(
    reading: int, writing: int, reads: str, writes: str
) -> tuple[Local, Callable[[], None]]:
    """
    Our side, on descriptors that stay somebody else's, and what to call in the end.

    :param reads: what is read from, for messages.
    :param writes: what is written to, for messages.
    :raises OSError: if one of them is not open.
    """
    read = source(reading)
    try:
        written = output(writing)
    except OSError:
        os.close(read.fd)
        read.restore()
        raise

    def restore() -> None:
        read.restore()
        written.restore()

    return Local(read.fd, written.fd, reads, writes, needed=True), restore


def connect(reactor: Any, endpoint: IStreamClientEndpoint) -> Deferred[Connection]:
    """
    Connect, and let nobody read what comes.

    Any endpoint will do: ours, Twisted's, or that of a string.  Over TLS of
    Twisted's own nobody has looked at the certificate when this fires.

    :param reactor: runs programs, and reads descriptors.
    :param endpoint: not connected yet.
    :returns: fires with a connection.  Fails, and is cancelled, as ``connect`` of
        the endpoint.
    """
    factory = Factory.forProtocol(_Untouched)
    factory.noisy = False
    connecting: Deferred[Any] = endpoint.connect(factory)
    return connecting.addCallback(lambda network: Connection(reactor, network))

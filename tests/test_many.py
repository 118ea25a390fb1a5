"""
Resources of connections: many at once, and connections that are cancelled, leave
nothing behind.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import socket
import sys
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    gatherResults,
    inlineCallbacks,
)
from twisted.internet.endpoints import clientFromString, quoteStringArgument
from twisted.internet.error import ConnectingCancelledError, ProcessTerminated
from twisted.internet.interfaces import (
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from twisted.internet.protocol import (
    Factory,
    ProcessProtocol,
    Protocol,
    connectionDone,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase
from zope.interface import implementer

from tests.certificates import shared
from tests.echo_server import allow_descriptors
from tests.programs import environment
from tests.transcripts import Recorders
from twisted_tcpclient.stages.base import Stage

reactor: Any = global_reactor

MANY = 1000


def connections(port: int) -> Any:
    """Return the endpoint under test."""
    roots = quoteStringArgument(str(shared().ca))
    return clientFromString(
        reactor,
        f"starttls:smtp:127.0.0.1:{port}:trustRoots={roots}:timeout=300:greeting=yes",
    )


def descriptors() -> list[str]:
    """Return the paths that the open descriptors of this process lead to, sorted."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        # The descriptor of the listing itself is closed by now.
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return sorted(found)


def protocols() -> list[object]:
    """
    Return all objects of the protocols of connections that have not been collected.
    """
    gc.collect()
    kinds = (Stage, TLSMemoryBIOProtocol, Pinger)
    return [each for each in gc.get_objects() if issubclass(type(each), kinds)]


class EchoServer(ProcessProtocol):
    """The protocol of the process of the echo server."""

    def __init__(self) -> None:
        self.port: Deferred[int] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self._said = b""

    def outReceived(self, data: bytes) -> None:
        """Collect the line with the port."""
        self._said += data
        if self._said.endswith(b"\n"):
            self.port.callback(int(self._said))

    def errReceived(self, data: bytes) -> None:
        """Write its errors to the real stderr, where a person can see them."""
        sys.__stderr__.buffer.write(data)  # type: ignore[union-attr]

    def processEnded(self, reason: Failure) -> None:
        """Note the end; the process is killed."""
        reason.trap(ProcessTerminated)
        self.ended.callback(None)


class Pinger(Protocol):
    """A client that sends a word after the greeting, and waits for its echo."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.echoed: Deferred[None] = Deferred()
        self.gone: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Send after the greeting; note the echo."""
        self.received += data
        if self.received == b"220 127.0.0.1 ESMTP\r\n":
            self.transport.write(b"ping")
        elif self.received.endswith(b"ping"):
            self.echoed.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note the end."""
        self.gone.callback(None)


class LeavingNothing(TestCase):
    """Tests that compare the resources of this process before and after."""

    timeout = 300

    def note(self) -> None:
        """Remember open descriptors, delayed calls and protocols."""
        self.before = descriptors(), set(reactor.getDelayedCalls()), protocols()

    def assert_nothing_left(self) -> None:
        """Check that the resources are those of the last :meth:`note`."""
        open_before, calls, known = self.before
        self.assertEqual(set(reactor.getDelayedCalls()) - calls, set())
        self.assertEqual(descriptors(), open_before)
        left = [each for each in protocols() if not any(each is old for old in known)]
        self.assertEqual(left, [])

    @inlineCallbacks
    def settle(self) -> Any:
        """Run three turns of the reactor."""
        for _ in range(3):
            later: Deferred[None] = Deferred()
            reactor.callLater(0, later.callback, None)
            yield later


class ManyTests(LeavingNothing):
    """A thousand connections at once."""

    @inlineCallbacks
    def ping(self, endpoint: Any, count: int) -> Any:
        """Make connections, wait for an echo on each, then close all of them.

        :returns: the number of open descriptors while all connections were open.
        """
        factory = Factory.forProtocol(Pinger)
        connecting = [endpoint.connect(factory) for _ in range(count)]
        pingers: Any = yield gatherResults(connecting)
        yield gatherResults([each.echoed for each in pingers])
        together = len(descriptors())
        for each in pingers:
            each.transport.loseConnection()
        yield gatherResults([each.gone for each in pingers])
        return together

    @inlineCallbacks
    def test_many(self) -> Any:
        """
        A thousand connections exchange data while all are open, and leave no
        descriptor, delayed call or protocol behind.
        """
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        if allow_descriptors() < MANY + 200:
            raise SkipTest(f"a process may not have {MANY} descriptors here")
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        server = EchoServer()
        process = reactor.spawnProcess(
            server,
            sys.executable,
            [sys.executable, "-m", "tests.echo_server", str(shared().server)],
            env=environment(),
        )

        def end() -> Deferred[None]:
            process.signalProcess("KILL")
            return server.ended

        self.addCleanup(end)
        endpoint = connections((yield server.port))
        # The first connection imports modules, and fills caches.
        yield self.ping(endpoint, 1)
        self.note()
        together = yield self.ping(endpoint, MANY)
        self.assertGreaterEqual(together, len(self.before[0]) + MANY)
        yield self.settle()
        self.assert_nothing_left()


class Script(Protocol):
    """A server that sends one line for each time that it receives data."""

    transport: Any

    def __init__(self, *lines: bytes) -> None:
        self._lines = [*lines, None]
        #: Fires when data has arrived, or the connection was made, and no line is left
        #: to send.
        self.reached: Deferred[None] = Deferred()
        self.gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Send the first line."""
        self.dataReceived(b"")

    def dataReceived(self, data: bytes) -> None:
        """Send the next line."""
        line = self._lines.pop(0)
        if line is None:
            self.reached.callback(None)
        else:
            self.transport.write(line + b"\r\n")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note the end."""
        self.gone.callback(None)


@implementer(IHostnameResolver, IHostResolution)
class Stalled:
    """A resolver that finds nothing."""

    name = "stalled.example.test"

    def __init__(self) -> None:
        self.asked = 0
        self.cancelled = 0

    def resolveHostName(
        self, resolutionReceiver: IResolutionReceiver, *args: Any, **keywords: Any
    ) -> IHostResolution:
        """Count the question, and never answer it."""
        self.asked += 1
        resolutionReceiver.resolutionBegan(self)
        return self

    def cancel(self) -> None:
        """Count the cancelled question."""
        self.cancelled += 1


class CancelTests(LeavingNothing):
    """Cancelled calls of ``connect``, at every stage."""

    @inlineCallbacks
    def cancel(self, connecting: Any, *errors: type[Exception]) -> Any:
        """Cancel, and check the error."""
        connecting.cancel()
        yield self.assertFailure(connecting, *errors)
        yield self.settle()

    @inlineCallbacks
    def test_resolving(self) -> Any:
        """Cancelling ends the look-up, and leaves nothing behind."""
        stalled = Stalled()
        previous = reactor.installNameResolver(stalled)
        self.addCleanup(reactor.installNameResolver, previous)
        endpoint = clientFromString(reactor, f"starttls:smtp:{stalled.name}")
        yield self.settle()
        self.note()
        connecting = endpoint.connect(Recorders())
        self.assertEqual((stalled.asked, stalled.cancelled), (1, 0))
        yield self.cancel(connecting, CancelledError)
        self.assertEqual((stalled.asked, stalled.cancelled), (1, 1))
        del connecting
        self.assert_nothing_left()

    @inlineCallbacks
    def test_connecting(self) -> Any:
        """
        Cancelling ends the attempt to connect, both in the turn in which it began and
        later, and leaves nothing behind.
        """
        listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(listener.close)
        # Linux drops SYNs while the queue of accept() is full.
        for _ in range(4):
            waiting = socket.socket()
            self.addCleanup(waiting.close)
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        endpoint = connections(listener.getsockname()[1])
        for begun in (False, True):
            yield self.settle()
            self.note()
            connecting = endpoint.connect(Recorders())
            if begun:
                yield self.settle()
            self.assertEqual(len(descriptors()), len(self.before[0]) + 1)
            self.assertNoResult(connecting)
            yield self.cancel(connecting, ConnectingCancelledError)
            del connecting
            self.assert_nothing_left()

    @inlineCallbacks
    def reach(self, *lines: bytes) -> Any:
        """
        Cancel when the server has sent these lines and has received an answer to the
        last one; check that nothing is left.
        """
        server = Script(*lines)
        served: Any = Factory.forProtocol(lambda: server)
        port = reactor.listenTCP(0, served, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        endpoint = connections(port.getHost().port)
        factory = Recorders()
        yield self.settle()
        self.note()
        connecting = endpoint.connect(factory)
        yield server.reached
        self.assertFalse(factory.built)
        yield self.cancel(connecting, ConnectingCancelledError)
        yield server.gone
        yield self.settle()
        del connecting
        self.assert_nothing_left()
        self.assertEqual(factory.built, [])

    def test_greeting(self) -> Any:
        """Cancelling closes the connection while the greeting is waited for."""
        return self.reach()

    def test_dialogue(self) -> Any:
        """Cancelling closes the connection while the answer to EHLO is waited for."""
        return self.reach(b"220 ready")

    def test_starttls(self) -> Any:
        """
        Cancelling closes the connection while the answer to STARTTLS is waited for.
        """
        return self.reach(b"220 ready", b"250-hello\r\n250 STARTTLS")

    def test_handshake(self) -> Any:
        """Cancelling closes the connection during the TLS handshake."""
        return self.reach(b"220 ready", b"250-hello\r\n250 STARTTLS", b"220 go")

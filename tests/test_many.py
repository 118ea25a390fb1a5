"""
Connections leave nothing behind: many at once, and any that is cancelled.
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
    """The endpoint under test."""
    roots = quoteStringArgument(str(shared().ca))
    return clientFromString(
        reactor,
        f"starttls:smtp:127.0.0.1:{port}:trustRoots={roots}:timeout=300:greeting=yes",
    )


def descriptors() -> list[str]:
    """Where the open descriptors of this process lead."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        # That of the listing itself is gone.
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return sorted(found)


def protocols() -> list[object]:
    """All protocols of connections with stages that have not been collected."""
    gc.collect()
    kinds = (Stage, TLSMemoryBIOProtocol, Pinger)
    return [each for each in gc.get_objects() if issubclass(type(each), kinds)]


class EchoServer(ProcessProtocol):
    """The server's process."""

    def __init__(self) -> None:
        self.port: Deferred[int] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self._said = b""

    def outReceived(self, data: bytes) -> None:
        """The port, in one line."""
        self._said += data
        if self._said.endswith(b"\n"):
            self.port.callback(int(self._said))

    def errReceived(self, data: bytes) -> None:
        """Nothing is expected here."""
        sys.__stderr__.buffer.write(data)  # type: ignore[union-attr]

    def processEnded(self, reason: Failure) -> None:
        """It was killed."""
        reason.trap(ProcessTerminated)
        self.ended.callback(None)


class Pinger(Protocol):
    """Says something after the greeting, and waits for the echo."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.echoed: Deferred[None] = Deferred()
        self.gone: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Greeted, or answered."""
        self.received += data
        if self.received == b"220 127.0.0.1 ESMTP\r\n":
            self.transport.write(b"ping")
        elif self.received.endswith(b"ping"):
            self.echoed.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell."""
        self.gone.callback(None)


class LeavingNothing(TestCase):
    """Tests that compare what there is before with what there is after."""

    timeout = 300

    def note(self) -> None:
        """Remember what there is now."""
        self.before = descriptors(), set(reactor.getDelayedCalls()), protocols()

    def assert_nothing_left(self) -> None:
        """Check that there is nothing else now."""
        open_before, calls, known = self.before
        self.assertEqual(set(reactor.getDelayedCalls()) - calls, set())
        self.assertEqual(descriptors(), open_before)
        left = [each for each in protocols() if not any(each is old for old in known)]
        self.assertEqual(left, [])

    @inlineCallbacks
    def settle(self) -> Any:
        """Let what is due now happen."""
        for _ in range(3):
            later: Deferred[None] = Deferred()
            reactor.callLater(0, later.callback, None)
            yield later


class ManyTests(LeavingNothing):
    """A thousand at once."""

    @inlineCallbacks
    def ping(self, endpoint: Any, count: int) -> Any:
        """Connect so often, hear an echo on each, and only then close them all."""
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
        All complete while all are open, and no descriptor, delayed call or
        protocol is left of them.
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
        # Some things are made with the first connection, and kept.
        yield self.ping(endpoint, 1)
        self.note()
        together = yield self.ping(endpoint, MANY)
        self.assertGreaterEqual(together, len(self.before[0]) + MANY)
        yield self.settle()
        self.assert_nothing_left()


class Script(Protocol):
    """A server that says some lines, one for each time it hears something."""

    transport: Any

    def __init__(self, *lines: bytes) -> None:
        self._lines = [*lines, None]
        #: Fires when it has heard something, or was connected, and has no answer.
        self.reached: Deferred[None] = Deferred()
        self.gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Greet."""
        self.dataReceived(b"")

    def dataReceived(self, data: bytes) -> None:
        """The next."""
        line = self._lines.pop(0)
        if line is None:
            self.reached.callback(None)
        else:
            self.transport.write(line + b"\r\n")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell."""
        self.gone.callback(None)


@implementer(IHostnameResolver, IHostResolution)
class Stalled:
    """Never finds anything."""

    name = "stalled.example.test"

    def __init__(self) -> None:
        self.asked = 0
        self.cancelled = 0

    def resolveHostName(
        self, resolutionReceiver: IResolutionReceiver, *args: Any, **keywords: Any
    ) -> IHostResolution:
        """Begin."""
        self.asked += 1
        resolutionReceiver.resolutionBegan(self)
        return self

    def cancel(self) -> None:
        """Count."""
        self.cancelled += 1


class CancelTests(LeavingNothing):
    """Cancelling ``connect`` at every stage."""

    @inlineCallbacks
    def cancel(self, connecting: Any, *errors: type[Exception]) -> Any:
        """Cancel, and check that that is what happened, and nothing is left."""
        connecting.cancel()
        yield self.assertFailure(connecting, *errors)
        yield self.settle()

    @inlineCallbacks
    def test_resolving(self) -> Any:
        """The look-up is cancelled."""
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
        """The attempt is given up, before it has begun and after."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(listener.close)
        # As many as it lets wait: whoever comes after them gets no answer.
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
        """Cancel when the server has said that, and has heard the answer."""
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
        """The server has not greeted yet: the connection is closed."""
        return self.reach()

    def test_dialogue(self) -> Any:
        """The server thinks about EHLO: the connection is closed."""
        return self.reach(b"220 ready")

    def test_asked(self) -> Any:
        """The server thinks about STARTTLS: the connection is closed."""
        return self.reach(b"220 ready", b"250-hello\r\n250 STARTTLS")

    def test_handshake(self) -> Any:
        """The server thinks about the client's hello: the connection is closed."""
        return self.reach(b"220 ready", b"250-hello\r\n250 STARTTLS", b"220 go")

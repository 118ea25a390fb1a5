""":class:`Connection`, which gives a connection to a program or to descriptors."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks
from twisted.internet.endpoints import (
    ProcessEndpoint,
    clientFromString,
    wrapClientTLS,
)
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests import servers
from tests.certificates import shared
from tests.command import PATIENCE, Cut, Peer, Server, listening, tcp_listener
from twisted_tcpclient import program
from twisted_tcpclient.connection import Connection, Outcome, connect
from twisted_tcpclient.endpoints import secured, starttls
from twisted_tcpclient.errors import (
    ConnectionBroken,
    CutShort,
    LocalFailure,
    TimedOut,
)
from twisted_tcpclient.facts import Facts, environment
from twisted_tcpclient.race import RacingEndpoint
from twisted_tcpclient.settings import RelaySettings, Shutdown, TLSSettings
from twisted_tcpclient.stages.greeting import greeted
from twisted_tcpclient.tls import ConnectionCreator

reactor: Any = global_reactor

#: The servers of these tests send after they have received EOF.
NOW = RelaySettings(shutdown=Shutdown.after(0))

#: The outcome of a program that exits with 0 and whose connection ends in order.
WELL = Outcome(0)

#: A descriptor number that is never open.
NOT_OPEN = 1 << 30

#: A program that copies stdin to stdout.
CAT = "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"

#: More bytes than any pipe or socket buffer holds.
MUCH = os.urandom(1 << 22)


def trusting() -> ConnectionCreator:
    """Return a creator of TLS connections to localhost that trusts the shared CA."""
    return ConnectionCreator(TLSSettings.for_host("localhost", str(shared().ca)))


def echo(peer: Peer) -> bytes:
    """Receive until EOF, send the same bytes, close, and return them."""
    said = peer.rest()
    peer.send(said)
    peer.finish()
    return said


def secret(script: Any) -> Any:
    """Return the script with a TLS handshake before it."""

    def follow(peer: Peer) -> Any:
        peer.secure()
        return script(peer)

    return follow


def abandoned(peer: Peer) -> None:
    """Wait until the client has closed, in the TLS handshake or after it."""
    with contextlib.suppress(ConnectionError, Cut, SSL.Error):
        peer.secure()
        peer.gone()


class ConnectionTestCase(TestCase):
    """Servers in threads, and programs that are run on connections to them."""

    timeout = 120

    def serve(self, script: Any) -> tuple[Server, IStreamClientEndpoint]:
        """
        Start a server that follows a script, and return it with an endpoint for it.
        """
        listener = tcp_listener()
        served = listening(listener, script)
        server = served.__enter__()

        def stop() -> None:
            served.__exit__(None, None, None)

        # Stopping joins the server's threads, which may wait for callbacks in the
        # reactor's thread.
        self.addCleanup(deferToThread, stop)
        port = listener.getsockname()[1]
        return server, RacingEndpoint(reactor, "127.0.0.1", port)

    def serve_secretly(self, script: Any) -> tuple[Server, IStreamClientEndpoint]:
        """Start the same server behind TLS, and return it with an endpoint for it."""
        server, plain = self.serve(secret(script))
        return server, secured(trusting(), plain, reactor, 60)

    def result(self, server: Server) -> Deferred[Any]:
        """Return the script's result; a thread waits for it, as that blocks."""
        return deferToThread(server.result)

    def run_python(
        self, connection: Connection, code: str, settings: RelaySettings = NOW
    ) -> Deferred[Outcome]:
        """Run a Python program on a connection, and return the outcome."""
        told = environment(os.environb, connection.facts)
        command = [sys.executable, "-c", code]
        return connection.run(command, told, settings)


class RunTests(ConnectionTestCase):
    """:meth:`Connection.run`, which gives a connection to a program on 6 and 7."""

    @inlineCallbacks
    def test_socket(self) -> Any:
        """
        In clear the program has the socket on 6 and 7, and run() returns its status.
        """
        server, plain = self.serve(echo)
        connection = yield connect(reactor, plain)
        self.assertEqual(connection.facts.protocol, "TCP")
        self.assertIs(connection.facts.tls, None)
        outcome = yield self.run_python(
            connection,
            "import os, socket\n"
            "s = socket.socket(fileno=os.dup(7))\n"
            "assert os.get_blocking(6) and os.get_blocking(7)\n"
            "assert str(s.getpeername()[1]) == os.environ['TCPREMOTEPORT']\n"
            "s.sendall(b'hello')\n"
            "s.shutdown(socket.SHUT_WR)\n"
            "assert open(6, 'rb').read() == b'hello'\n"
            "os._exit(7)",
        )
        self.assertEqual(outcome, Outcome(7))
        self.assertEqual((yield self.result(server)), b"hello")

    @inlineCallbacks
    def test_tls(self) -> Any:
        """With TLS the program has pipes, and the variables of the session."""
        server, endpoint = self.serve_secretly(echo)
        connection = yield connect(reactor, endpoint)
        self.assertEqual(connection.facts.tls.subject, "CN=localhost")
        outcome = yield self.run_python(
            connection,
            "import os\n"
            "assert os.environ['SSL_PEER_CERT_SUBJECT'] == 'CN=localhost'\n"
            "with open(7, 'wb') as out: out.write(os.environb[b'SSL_PROTOCOL'])\n"
            "assert open(6, 'rb').read() == os.environb[b'SSL_PROTOCOL']",
        )
        self.assertEqual(outcome, WELL)
        self.assertEqual((yield self.result(server)), b"TLSv1.3")

    @inlineCallbacks
    def test_starttls(self) -> Any:
        """A program runs on a connection after STARTTLS, with a real server."""
        postfix = servers.postfix()
        plain = RacingEndpoint(reactor, "localhost", postfix.smtp)
        endpoint = starttls("smtp", trusting(), plain, reactor, 60)
        connection = yield connect(reactor, endpoint)
        outcome = yield self.run_python(
            connection,
            "open(7, 'wb', 0).write(b'QUIT\\r\\n')\n"
            "assert open(6, 'rb').read().startswith(b'221 ')",
            RelaySettings(),
        )
        self.assertEqual(outcome, WELL)

    @inlineCallbacks
    def test_endpoint_of_twisted(self) -> Any:
        """A program runs on a connection over Twisted's own wrapClientTLS."""
        plain = RacingEndpoint(reactor, "localhost", servers.postfix().smtps)
        trusted = Certificate.loadPEM(shared().ca.read_bytes())
        creator = optionsForClientTLS("localhost", trusted)
        connection = yield connect(reactor, wrapClientTLS(creator, plain))
        outcome = yield self.run_python(
            connection,
            "import os\n"
            "assert open(6, 'rb', 0).read(4) == b'220 '\n"
            "open(7, 'wb', 0).write(b'QUIT\\r\\n')\n",
        )
        self.assertEqual(outcome, WELL)

    @inlineCallbacks
    def test_killed(self) -> Any:
        """If a signal kills the program, run() returns 128 plus its number."""
        _, plain = self.serve(echo)
        connection = yield connect(reactor, plain)
        outcome = yield self.run_python(
            connection, "import os; os.kill(os.getpid(), 9)"
        )
        self.assertEqual(outcome, Outcome(128 + signal.SIGKILL))

    @inlineCallbacks
    def test_no_program(self) -> Any:
        """If the program does not exist, run() fails and the connection is closed."""
        for secure in (False, True):
            server, endpoint = self.serve(abandoned if secure else Peer.gone)
            if secure:
                endpoint = secured(trusting(), endpoint, reactor, 60)
            connection = yield connect(reactor, endpoint)
            running = connection.run(["/nowhere"], {})
            error = yield self.assertFailure(running, LocalFailure)
            self.assertEqual(str(error), "unable to run /nowhere: file does not exist")
            yield self.result(server)

    @inlineCallbacks
    def test_cut_short(self) -> Any:
        """
        The outcome has the program's status and the error of the connection, whatever
        the status is: TLS that is cut short is an error.
        """

        def cut(peer: Peer) -> None:
            peer.send(b"half of")
            peer.cut()
            peer.gone()

        for status in (0, 3):
            server, endpoint = self.serve_secretly(cut)
            connection = yield connect(reactor, endpoint)
            running = self.run_python(
                connection,
                "import sys\n"
                "assert open(6, 'rb').read() == b'half of'\n"
                f"sys.exit({status})",
            )
            outcome = yield running
            self.assertEqual(outcome.status, status)
            self.assertIsInstance(outcome.error, CutShort)
            yield self.result(server)

    @inlineCallbacks
    def test_cancelled(self) -> Any:
        """Cancelling run() ends the program and the connection."""
        for serve in (self.serve, self.serve_secretly):
            begun: Deferred[bytes] = Deferred()

            def wait(peer: Peer, begun: Deferred[bytes] = begun) -> None:
                reactor.callFromThread(begun.callback, peer.line())
                peer.gone()

            server, endpoint = serve(wait)
            connection = yield connect(reactor, endpoint)
            # read_bytes() returns at EOF, when the program, which has the FIFO open,
            # has ended.
            alive = Path(self.mktemp()).absolute()
            os.mkfifo(alive)
            ended = deferToThread(alive.read_bytes)
            running = self.run_python(
                connection,
                "import os, signal\n"
                f"os.open({str(alive)!r}, os.O_WRONLY)\n"
                "os.write(7, b'hello\\n')\n"
                "while True: signal.pause()",
            )
            yield begun
            running.cancel()
            yield self.assertFailure(running, CancelledError)
            yield ended
            yield self.result(server)

    @inlineCallbacks
    def test_cancelled_late(self) -> Any:
        """Cancelling run() ends the connection if the program has already exited."""
        begun: Deferred[bytes] = Deferred()
        over = threading.Event()

        def wait(peer: Peer) -> None:
            # rest() returns when the program has exited, as that closes 7.
            reactor.callFromThread(begun.callback, peer.rest())
            over.wait(PATIENCE)

        server, endpoint = self.serve_secretly(wait)
        connection = yield connect(reactor, endpoint)
        running = self.run_python(connection, "raise SystemExit(3)")
        yield begun
        running.cancel()
        yield self.assertFailure(running, CancelledError)
        over.set()
        yield self.result(server)

    def test_pipes(self) -> None:
        """A program that cannot be run leaves no descriptor open."""
        real, left = os.pipe, [1]

        def one() -> tuple[int, int]:
            if not left:
                raise OSError(errno.EMFILE, "")
            left.pop()
            return real()

        before = os.listdir("/dev/fd")
        command = program.command(["true"], {b"PATH": os.fsencode(os.defpath)})
        self.assertRaises(
            ValueError, program.pipes, reactor, replace(command, arguments=(b"\0",))
        )
        self.patch(os, "pipe", one)
        self.assertRaises(LocalFailure, program.pipes, reactor, command)
        self.assertEqual(os.listdir("/dev/fd"), before)


class RelayTests(ConnectionTestCase):
    """:meth:`Connection.relay`, which joins a connection to two descriptors."""

    def pipe(self) -> tuple[int, int]:
        """Return a pipe that is closed at the end of the test."""
        ends = os.pipe()
        for end in ends:
            self.addCleanup(os.close, end)
        return ends

    @inlineCallbacks
    def test_relay(self) -> Any:
        """
        All bytes of a file are sent, the whole answer is written, and both descriptors
        stay open.
        """
        for serve in (self.serve, self.serve_secretly):
            server, endpoint = serve(echo)
            source, target = Path(self.mktemp()), Path(self.mktemp())
            source.write_bytes(MUCH)
            with open(source, "rb") as reading, open(target, "wb") as writing:
                connection = yield connect(reactor, endpoint)
                yield connection.relay(
                    reading.fileno(), writing.fileno(), replace(NOW, idle=60)
                )
                self.assertEqual(reading.read(), b"")
                writing.write(b"more")
            self.assertEqual(target.read_bytes(), MUCH + b"more")
            self.assertEqual((yield self.result(server)), MUCH)

    @inlineCallbacks
    def test_pipes(self) -> Any:
        """relay() works with pipes, and they are in blocking mode afterwards."""
        _, plain = self.serve(lambda peer: peer.send(b"answer"))
        (reading, _), (taking, writing) = self.pipe(), self.pipe()
        connection = yield connect(reactor, plain)
        yield connection.relay(reading, writing)
        self.assertEqual(os.read(taking, 100), b"answer")
        self.assertTrue(os.get_blocking(reading))
        self.assertTrue(os.get_blocking(writing))

    @inlineCallbacks
    def test_reset_and_idle(self) -> Any:
        """
        relay() fails if the server resets the connection, and if it is idle for too
        long.
        """

        def reset(peer: Peer) -> None:
            peer.receive()
            peer.reset()

        for script, idle, error in (
            (reset, None, ConnectionBroken),
            (Peer.gone, 0.1, TimedOut),
        ):
            _, plain = self.serve(script)
            (reading, feeding), (_, writing) = self.pipe(), self.pipe()
            os.write(feeding, b"hello")
            connection = yield connect(reactor, plain)
            relaying = connection.relay(reading, writing, RelaySettings(idle=idle))
            yield self.assertFailure(relaying, error)

    @inlineCallbacks
    def test_closed(self) -> Any:
        """relay() fails and closes the connection if a descriptor is not open."""
        reading, writing = self.pipe()
        for pair in ((NOT_OPEN, writing), (reading, NOT_OPEN)):
            server, plain = self.serve(Peer.gone)
            connection = yield connect(reactor, plain)
            yield self.assertFailure(connection.relay(*pair), LocalFailure)
            yield self.result(server)

    @inlineCallbacks
    def test_cancelled(self) -> Any:
        """Cancelling relay() closes the connection."""
        server, plain = self.serve(abandoned)
        (reading, _), (_, writing) = self.pipe(), self.pipe()
        connection = yield connect(reactor, secured(trusting(), plain, reactor, 60))
        relaying = connection.relay(reading, writing)
        relaying.cancel()
        yield self.assertFailure(relaying, CancelledError)
        yield self.result(server)


class ConnectTests(ConnectionTestCase):
    """:func:`connect`, and connections before they are used."""

    @inlineCallbacks
    def test_early(self) -> Any:
        """Bytes that arrive before run() is called reach the program."""

        def speak(peer: Peer) -> None:
            peer.send(b"hello")
            peer.finish()

        for serve in (self.serve, self.serve_secretly):
            server, endpoint = serve(speak)
            connection = yield connect(reactor, endpoint)
            running = self.run_python(
                connection, "assert open(6, 'rb').read() == b'hello'"
            )
            self.assertEqual((yield running), WELL)
            yield self.result(server)

    @inlineCallbacks
    def test_read_before(self) -> Any:
        """
        Bytes that a stage has already read, such as those after the answer of a proxy,
        are no longer in the socket; they reach the program all the same.
        """
        server, plain = self.serve(echo)
        connection = yield connect(reactor, greeted(b"hello, ", plain, reactor))
        outcome = yield self.run_python(
            connection,
            "import os\n"
            "with open(7, 'wb') as out: out.write(b'world')\n"
            "assert open(6, 'rb').read() == b'hello, world'",
        )
        self.assertEqual(outcome, WELL)
        self.assertEqual((yield self.result(server)), b"world")

    @inlineCallbacks
    def test_process(self) -> Any:
        """
        connect() works with a ProcessEndpoint, which has neither a socket nor an
        address.
        """
        endpoint = ProcessEndpoint(reactor, sys.executable, [sys.executable, "-c", CAT])
        connection = yield connect(reactor, endpoint)
        self.assertEqual(connection.facts, Facts())
        outcome = yield self.run_python(
            connection,
            "with open(7, 'wb') as out: out.write(b'there and back')\n"
            "assert open(6, 'rb').read() == b'there and back'",
        )
        self.assertEqual(outcome, WELL)

    @inlineCallbacks
    def test_abort(self) -> Any:
        """abort() closes a connection that is not used; its facts stay known."""
        server, plain = self.serve(abandoned)
        connection = yield connect(reactor, secured(trusting(), plain, reactor, 60))
        connection.abort()
        yield self.result(server)
        self.assertEqual(connection.facts.tls.subject, "CN=localhost")
        self.assertTrue(connection.verified)

    @inlineCallbacks
    def test_failure(self) -> Any:
        """connect() fails with the endpoint's own error."""
        with tcp_listener() as listener:
            port = listener.getsockname()[1]
        endpoint = clientFromString(reactor, f"tcp:127.0.0.1:{port}")
        yield self.assertFailure(connect(reactor, endpoint), ConnectionRefusedError)

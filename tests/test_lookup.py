"""
Look-ups by the system's resolver and by ident: results, failures and timeouts.
"""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, current_thread
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet import reactor as global_reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks
from twisted.internet.error import (
    ConnectingCancelledError,
    ConnectionDone,
    ConnectionRefusedError,
)
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from twisted.internet.protocol import connectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from tests.transcripts import patient
from twisted_tcpclient.names.resolver import Resolver, in_daemon, system_addresses
from twisted_tcpclient.names.reverse import (
    IDENT_PORT,
    Ident,
    host_name,
    ident,
    parse_ident,
)

reactor: Any = global_reactor

LOCAL = IPv4Address("TCP", "192.0.2.1", 40000)
REMOTE = IPv4Address("TCP", "192.0.2.25", 25)

#: Seconds that no test takes.
PATIENCE = 60


class ParseTests(SynchronousTestCase):
    """The replies of ident servers (RFC 1413)."""

    def test_users(self) -> None:
        """The user is the text after the third colon, without blanks."""
        for line, user in (
            (b"6193, 23 : USERID : UNIX : stjohns", "stjohns"),
            (b"6193,23:USERID:UNIX:stjohns", "stjohns"),
            (b"6193, 23 : userid : OTHER :StJohns", "StJohns"),
            (b"6193, 23 : USERID : UNIX,US-ASCII : stjohns", "stjohns"),
            (b"6193, 23 : USERID : OTHER : joe blow", "joeblow"),
            (b"6193, 23 : USERID : OTHER : a:b:c", "a:b:c"),
            (b" 6193 , 23 :  USERID  : : \t x \t", "x"),
            (b"::USERID::x"[1:], "x"),
        ):
            self.assertEqual(parse_ident(line), user, line)

    def test_printable(self) -> None:
        """Control characters and bytes beyond ASCII are removed."""
        line = b"1, 2 : USERID : OTHER : " + bytes(range(256))
        printable = bytes(range(0x21, 0x7F)).decode()
        self.assertEqual(parse_ident(line), printable)
        self.assertEqual(parse_ident(b"1,2:USERID:X:\x1b[2Jr\x00oot\xff"), "[2Jroot")

    def test_no_users(self) -> None:
        """Any other line names no user."""
        for line in (
            b"",
            b":",
            b":::",
            b"6193, 23 : ERROR : NO-USER",
            b"6193, 23 : ERROR : HIDDEN-USER : x",
            b"6193, 23 : USERID : UNIX",
            b"6193, 23 : USERID : UNIX :",
            b"6193, 23 : USERID : UNIX :   ",
            b"6193, 23 : USERID : UNIX : \x00\x01\xff",
            b"6193, 23 : USERIDS : UNIX : x",
            b"6193, 23 : X : USERID : x",
            b"220 mx.example.org ESMTP",
        ):
            self.assertRaises(ValueError, parse_ident, line)

    @patient
    @given(st.binary(max_size=200))
    @example(b"1 : USERID : \xff : \xff")
    def test_anything(self, line: bytes) -> None:
        """Any line names a user in printable ASCII, or none."""
        for whole in (line, b"1, 2 : USERID : " + line, b"1,2:USERID:UNIX:" + line):
            try:
                user = parse_ident(whole)
            except ValueError:
                continue
            self.assertIsNotNone(re.fullmatch(r"[!-~]+", user), user)


class IdentProtocolTests(SynchronousTestCase):
    """The client of an ident server, in memory."""

    def setUp(self) -> None:
        """Make a client that has sent its question."""
        self.wire = StringTransport()
        self.ident = Ident(25, 40000)
        self.ident.makeConnection(self.wire)

    def test_question(self) -> None:
        """The question has the server's port first (RFC 1413, 3)."""
        self.assertEqual(self.wire.value(), b"25 , 40000\r\n")
        self.assertNoResult(self.ident.answer)

    def test_answer(self) -> None:
        """
        The first line is the answer, however it is segmented; then the client hangs up.
        """
        for byte in b"25 , 40000 : USERID : UNIX : joe\r\n":
            self.ident.dataReceived(bytes([byte]))
        self.assertEqual(self.successResultOf(self.ident.answer), "joe")
        self.assertTrue(self.wire.disconnecting)
        self.ident.connectionLost(connectionDone)

    def test_more(self) -> None:
        """Bytes after the first line are ignored."""
        line = b"25,40000:USERID:UNIX:"
        self.ident.dataReceived(line + b"joe\r\n" + line + b"eve\r\n")
        self.ident.dataReceived(line + b"eve\r\n")
        self.assertEqual(self.successResultOf(self.ident.answer), "joe")

    def test_line_ends(self) -> None:
        """
        A line may end with LF alone, and may have the greatest length, however it is
        segmented.
        """
        for line in (
            b"25,40000:USERID:UNIX:joe\n",
            b"25:USERID:x:" + b"y" * 987 + b"\r\n",
        ):
            self.assertLess(len(line), 1002)
            for cut in (0, len(line) - 1):
                self.setUp()
                self.ident.dataReceived(line[:cut])
                self.ident.dataReceived(line[cut:])
                self.assertTrue(self.successResultOf(self.ident.answer))

    def test_error(self) -> None:
        """An answer without a user fails."""
        self.ident.dataReceived(b"25 , 40000 : ERROR : NO-USER\r\n")
        self.failureResultOf(self.ident.answer, ValueError)
        self.assertTrue(self.wire.disconnecting)

    def test_closed(self) -> None:
        """A connection that is closed within the first line fails."""
        self.ident.dataReceived(b"25,40000:USERID:UNIX:joe")
        self.ident.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(self.ident.answer, ValueError)

    def test_endless(self) -> None:
        """A line that is too long fails at once."""
        for _ in range(3):
            self.ident.dataReceived(b"x" * 500)
        self.failureResultOf(self.ident.answer, ValueError)
        self.assertTrue(self.wire.disconnecting)

    def test_cancelled(self) -> None:
        """Cancelling hangs up."""
        self.ident.answer.cancel()
        self.failureResultOf(self.ident.answer, CancelledError)
        self.assertTrue(self.wire.disconnecting)
        self.ident.connectionLost(connectionDone)


class IdentTests(SynchronousTestCase):
    """The look-up of a user, in memory."""

    def setUp(self) -> None:
        """Make a reactor in memory."""
        self.reactor = MemoryReactorClock()

    def ask(
        self, local: Any = LOCAL, remote: Any = REMOTE, timeout: float = 7
    ) -> Deferred[str | None]:
        """Ask for the user of a connection."""
        return ident(self.reactor, local, remote, timeout)

    def connected(self) -> tuple[Any, StringTransport]:
        """Let the ident server accept; return the client and its transport."""
        ((_, _, factory, _, _),) = self.reactor.tcpClients
        protocol = factory.buildProtocol(None)
        assert protocol is not None
        wire = StringTransport()
        protocol.makeConnection(wire)
        return protocol, wire

    def test_where(self) -> None:
        """
        The question goes to port 113 of the server's host, from the local address of
        the connection.
        """
        six = IPv6Address("TCP", "2001:db8::1", 40000)
        far = IPv6Address("TCP", "2001:db8::25", 25)
        for local, remote in ((LOCAL, REMOTE), (six, far)):
            self.setUp()
            self.ask(local, remote)
            ((host, port, _, _, binding),) = self.reactor.tcpClients
            self.assertEqual((host, port), (remote.host, IDENT_PORT))
            self.assertEqual(binding, (local.host, 0))

    def test_user(self) -> None:
        """The user is the result, and no timer is left."""
        asking = self.ask()
        protocol, wire = self.connected()
        self.assertEqual(wire.value(), b"25 , 40000\r\n")
        protocol.dataReceived(b"25 , 40000 : USERID : UNIX : joe\r\n")
        self.assertEqual(self.successResultOf(asking), "joe")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_refused(self) -> None:
        """Without an ident server the result is None."""
        asking = self.ask()
        ((_, _, factory, _, _),) = self.reactor.tcpClients
        connector = self.reactor.connectors[0]
        factory.clientConnectionFailed(connector, Failure(ConnectionRefusedError()))
        self.assertIsNone(self.successResultOf(asking))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_error(self) -> None:
        """If the server names no user the result is None."""
        asking = self.ask()
        protocol, _ = self.connected()
        protocol.dataReceived(b"25 , 40000 : ERROR : NO-USER\r\n")
        self.assertIsNone(self.successResultOf(asking))

    def test_timeout_while_connecting(self) -> None:
        """The timeout ends connecting."""
        asking = self.ask()
        self.reactor.advance(6.9)
        self.assertNoResult(asking)
        self.reactor.advance(0.1)
        self.assertIsNone(self.successResultOf(asking))
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_timeout_while_waiting(self) -> None:
        """The same timeout ends the wait for an answer."""
        asking = self.ask()
        self.reactor.advance(6.9)
        protocol, wire = self.connected()
        protocol.dataReceived(b"25 , 400")
        self.reactor.advance(0.1)
        self.assertIsNone(self.successResultOf(asking))
        self.assertTrue(wire.disconnecting)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        """
        Cancelling while connecting or waiting fails with CancelledError, and leaves
        nothing.
        """
        asking = self.ask()
        asking.cancel()
        self.failureResultOf(asking, CancelledError, ConnectingCancelledError)
        self.assertTrue(self.reactor.connectors[0].stoppedConnecting)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.setUp()
        asking = self.ask()
        _, wire = self.connected()
        asking.cancel()
        self.failureResultOf(asking, CancelledError)
        self.assertTrue(wire.disconnecting)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_impossible(self) -> None:
        """If connectTCP() raises, the result is None."""

        def refuse(*_: object, **__: object) -> None:
            raise OSError

        self.patch(self.reactor, "connectTCP", refuse)
        self.assertIsNone(self.successResultOf(self.ask()))
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class Hanging(TestCase):
    """Calls that block until the test ends."""

    timeout = PATIENCE

    def hanging(self, name: str) -> Event:
        """
        Let a function of socket block; return an event that is set when it is called.
        """
        asked, answered = Event(), Event()
        self.addCleanup(answered.set)

        def block(*_: object) -> None:
            asked.set()
            answered.wait()
            raise OSError

        self.patch(socket, name, block)
        return asked


class DaemonTests(Hanging):
    """Calls in daemon threads."""

    @inlineCallbacks
    def test_result(self) -> Any:
        """The result comes back to the thread of the reactor."""
        result = yield in_daemon(reactor, lambda: 17)
        self.assertEqual(result, 17)

    @inlineCallbacks
    def test_failure(self) -> Any:
        """An exception of the call comes back, too."""

        def fail() -> None:
            raise ZeroDivisionError

        yield self.assertFailure(in_daemon(reactor, fail), ZeroDivisionError)

    @inlineCallbacks
    def test_daemon(self) -> Any:
        """The thread is a daemon, which does not keep the process from ending."""
        thread = yield in_daemon(reactor, current_thread)
        self.assertIsNot(thread, current_thread())
        self.assertTrue(thread.daemon)

    @inlineCallbacks
    def test_pipe(self) -> Any:
        """
        The thread blocks SIGPIPE, which would end prog if this process becomes prog.
        """
        blocked = yield in_daemon(
            reactor, lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ())
        )
        self.assertIn(signal.SIGPIPE, blocked)

    def test_cancelled(self) -> None:
        """The result of a call that was cancelled is dropped."""

        class Mailbox:
            def callFromThread(self, *call: Any) -> None:
                calls.put(call)

        calls: SimpleQueue[Any] = SimpleQueue()
        calling = in_daemon(Mailbox(), lambda: 17)
        deliver, *outcome = calls.get()
        calling.cancel()
        self.failureResultOf(calling, CancelledError)
        deliver(*outcome)


class HostNameTests(Hanging):
    """The names of addresses."""

    def names(self, answer: Callable[..., object]) -> None:
        """Let gethostbyaddr() answer so."""
        self.patch(socket, "gethostbyaddr", answer)

    @inlineCallbacks
    def test_name(self) -> Any:
        """The result is the name in lower case, and not the address."""
        asked: list[Any] = []

        def answer(ip: str) -> tuple[str, list[str], list[str]]:
            asked.append(ip)
            return "Mail.EXAMPLE.org", [], [ip]

        self.names(answer)
        name = yield host_name(reactor, "192.0.2.25", PATIENCE)
        self.assertEqual(name, "mail.example.org")
        self.assertEqual(asked, ["192.0.2.25"])

    @inlineCallbacks
    def test_absent(self) -> Any:
        """If the resolver fails the result is None."""
        for error in (
            socket.gaierror(socket.EAI_NONAME, "no"),
            socket.gaierror(socket.EAI_AGAIN, "later"),
            UnicodeError("what?"),
            OSError("broken"),
        ):

            def answer(*_: object, error: Exception = error) -> tuple[str, str]:
                raise error

            self.names(answer)
            name = yield host_name(reactor, "192.0.2.25", PATIENCE)
            self.assertIsNone(name)

    @inlineCallbacks
    def test_loopback(self) -> Any:
        """127.0.0.1 has a name in lower case, or none."""
        name = yield host_name(reactor, "127.0.0.1", PATIENCE)
        self.assertTrue(name is None or name == name.lower())
        self.assertNotEqual(name, "127.0.0.1")

    @inlineCallbacks
    def test_timeout(self) -> Any:
        """A look-up that does not end is ended by the timeout."""
        self.hanging("gethostbyaddr")
        name = yield host_name(reactor, "192.0.2.25", 0.01)
        self.assertIsNone(name)

    def test_cancelled(self) -> None:
        """Cancelling fails with CancelledError, and leaves no timer."""
        asked = self.hanging("gethostbyaddr")
        asking = host_name(reactor, "192.0.2.25", PATIENCE)
        asked.wait()
        asking.cancel()
        self.failureResultOf(asking, CancelledError)


@implementer(IResolutionReceiver)
class Receiver:
    """A receiver that keeps what a resolver reports."""

    def __init__(self) -> None:
        self.began: list[IHostResolution] = []
        self.found: list[IAddress] = []
        self.complete: Deferred[None] = Deferred()

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Keep the look-up."""
        self.began.append(resolutionInProgress)

    def addressResolved(self, address: IAddress) -> None:
        """Keep an address."""
        self.found.append(address)

    def resolutionComplete(self) -> None:
        """Fire ``complete``."""
        self.complete.callback(None)


class ResolverTests(Hanging):
    """The addresses of names."""

    def answer(self, *found: tuple[int, str], error: Exception | None = None) -> None:
        """Let getaddrinfo() answer so."""
        self.asked: list[Any] = []

        def getaddrinfo(*question: object) -> list[Any]:
            self.asked.append(question)
            if error is not None:
                raise error
            return [
                (family, socket.SOCK_STREAM, 6, "", (host, 25))
                for family, host in found
            ]

        self.patch(socket, "getaddrinfo", getaddrinfo)

    def resolve(self, name: str = "name.example", **others: Any) -> Receiver:
        """Start a look-up."""
        self.receiver = Receiver()
        Resolver(reactor).resolveHostName(self.receiver, name, 25, **others)
        return self.receiver

    @inlineCallbacks
    def test_addresses(self) -> Any:
        """The result has all addresses in the order of getaddrinfo(), with the port."""
        self.answer(
            (socket.AF_INET6, "2001:db8::1"),
            (socket.AF_INET, "192.0.2.1"),
            (socket.AF_INET6, "2001:db8::2"),
        )
        receiver = self.resolve()
        yield receiver.complete
        self.assertEqual(
            receiver.found,
            [
                IPv6Address("TCP", "2001:db8::1", 25),
                IPv4Address("TCP", "192.0.2.1", 25),
                IPv6Address("TCP", "2001:db8::2", 25),
            ],
        )
        self.assertEqual(len(receiver.began), 1)
        self.assertEqual(receiver.began[0].name, "name.example")

    @inlineCallbacks
    def test_unknown_family(self) -> Any:
        """Addresses that are neither IPv4 nor IPv6 are left out."""
        self.answer((socket.AF_UNIX, "/x"), (socket.AF_INET, "192.0.2.1"))
        receiver = self.resolve()
        yield receiver.complete
        self.assertEqual(receiver.found, [IPv4Address("TCP", "192.0.2.1", 25)])

    @inlineCallbacks
    def test_families(self) -> Any:
        """getaddrinfo() is asked for the wanted families only."""
        self.answer()
        for types, family in (
            (None, socket.AF_UNSPEC),
            ((IPv4Address, IPv6Address), socket.AF_UNSPEC),
            ((IPv4Address,), socket.AF_INET),
            ((IPv6Address,), socket.AF_INET6),
        ):
            yield self.resolve(addressTypes=types).complete
            self.assertEqual(
                self.asked.pop(), ("name.example", 25, family, socket.SOCK_STREAM)
            )

    @inlineCallbacks
    def test_failure(self) -> Any:
        """A look-up that fails reports no address, and has its failure."""
        error = socket.gaierror(socket.EAI_AGAIN, "later")
        self.answer(error=error)
        receiver = self.resolve()
        yield receiver.complete
        self.assertEqual(receiver.found, [])
        resolution: Any = receiver.began[0]
        self.assertIs(resolution.failure.value, error)

    @inlineCallbacks
    def test_no_failure(self) -> Any:
        """A look-up that finds no address has no failure."""
        self.answer()
        receiver = self.resolve()
        yield receiver.complete
        resolution: Any = receiver.began[0]
        self.assertIsNone(resolution.failure)

    def test_cancelled(self) -> None:
        """A look-up that is cancelled is complete at once, without addresses."""
        asked = self.hanging("getaddrinfo")
        receiver = self.resolve()
        asked.wait()
        resolution: Any = receiver.began[0]
        resolution.cancel()
        self.successResultOf(receiver.complete)
        self.assertEqual(receiver.found, [])

    def test_localhost(self) -> None:
        """The answer of the real getaddrinfo() is understood."""
        found = system_addresses("127.0.0.1", 25, (IPv4Address,))
        self.assertEqual(found, [IPv4Address("TCP", "127.0.0.1", 25)])
        self.assertRaises(OSError, system_addresses, "::1", 25, (IPv4Address,))

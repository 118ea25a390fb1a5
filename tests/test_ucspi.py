"""
Descriptors 6 and 7 as a connection.
"""

from __future__ import annotations

import os
import socket
import sys
import tty
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    NoProtocol,
)
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableProtocol,
    IPushProducer,
    ITransport,
)
from twisted.internet.protocol import ClientFactory, Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests import servers
from tests.certificates import shared
from tests.packages import find_program
from tests.programs import TCPCLIENT, Outcome, spawn
from tests.transcripts import TLSServer
from twisted_tcpclient.errors import LocalFailure
from twisted_tcpclient.relay.streams import Source
from twisted_tcpclient.ucspi import UCSPIEndpoint, address_from

reactor: Any = global_reactor

#: More bytes than all buffers on the way hold, several times over.
BIG = os.urandom(1 << 16) * 128

#: A program that imports Twisted and nothing of this package.  It does as its argument
#: says, records its events, and prints them at the end.
PROGRAM = r"""
import sys
from hashlib import sha256
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react
from zope.interface import implementer

class Base(Protocol):
    def __init__(self):
        self.events = []
        self.gone = Deferred()

    def dataReceived(self, data):
        self.events.append(data.decode("ascii"))

    def connectionLost(self, reason):
        self.events.append(reason.type.__name__)
        if not self.gone.called:
            self.gone.callback(None)

class Addresses(Base):
    def connectionMade(self):
        peer, host = self.transport.getPeer(), self.transport.getHost()
        self.events += [type(peer).__name__, peer.host, str(peer.port)]
        self.events += [type(host).__name__, host.host, str(host.port)]
        self.transport.loseConnection()

class Echo(Base):
    def connectionMade(self):
        self.transport.registerProducer(self.transport, True)

    def dataReceived(self, data):
        self.transport.write(data)

@implementer(IHalfCloseableProtocol)
class HalfEcho(Echo):
    def readConnectionLost(self):
        self.transport.unregisterProducer()
        self.transport.write(b"<end>")
        self.transport.loseConnection()

    def writeConnectionLost(self):
        pass

@implementer(IHalfCloseableProtocol)
class Listener(Base):
    # Sends, half-closes, and reads to EOF.
    def connectionMade(self):
        self.transport.write(b"question")
        self.transport.loseWriteConnection()

    def writeConnectionLost(self):
        self.events.append("said")

    def readConnectionLost(self):
        self.events.append("heard")
        self.transport.loseConnection()

class Greeter(Base):
    def connectionMade(self):
        self.transport.write(b"hello")

class Aborter(Base):
    def connectionMade(self):
        self.transport.write(b"x")
        self.transport.abortConnection()

async def main(reactor):
    factory = Factory.forProtocol(globals()[sys.argv[1]])
    client = await clientFromString(reactor, "ucspi:").connect(factory)
    await client.gone
    # Other data may follow.
    later = Deferred()
    reactor.callLater(0, reactor.callLater, 0, later.callback, None)
    await later
    print(*client.events)

react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""


@implementer(IHalfCloseableProtocol)
class Peer(Protocol):
    """
    The server's protocol, which keeps data and events.

    :ivar polite: whether it closes when the client has closed.
    """

    transport: Any

    def __init__(self) -> None:
        self.polite = True
        self.received = bytearray()
        self.made: Deferred[None] = Deferred()
        self.heard: Deferred[None] = Deferred()
        self.gone: Deferred[None] = Deferred()
        self._wanted: tuple[int, Deferred[None]] | None = None

    def hear(self, count: int) -> Deferred[None]:
        """Wait for a number of bytes in all."""
        enough: Deferred[None] = Deferred()
        self._wanted = (count, enough)
        self.dataReceived(b"")
        return enough

    def connectionMade(self) -> None:
        """Fire."""
        self.made.callback(None)

    def dataReceived(self, data: bytes) -> None:
        """Keep the data."""
        self.received += data
        if self._wanted is not None and len(self.received) >= self._wanted[0]:
            (_, enough), self._wanted = self._wanted, None
            enough.callback(None)

    def readConnectionLost(self) -> None:
        """Fire."""
        if self.polite:
            self.transport.loseConnection()
        self.heard.callback(None)

    def writeConnectionLost(self) -> None:
        """Do nothing: the test has closed the write side."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fire."""
        self.gone.callback(None)


class UnderTcpclient(TestCase):
    """A Twisted program as prog of a tcpclient."""

    timeout = 120

    def setUp(self) -> None:
        """Make the server's side of one connection."""
        self.peer = Peer()

    @inlineCallbacks
    def listen(self, tls: bool = False) -> Any:
        """Listen, and return the port."""
        factory: Any = Factory.forProtocol(lambda: self.peer)
        if tls:
            factory = TLSMemoryBIOFactory(TLSServer(), False, factory)
        listener = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        port: Any = yield listener.listen(factory)
        self.addCleanup(port.stopListening)
        return port.getHost().port

    @inlineCallbacks
    def start(self, program: str, tls: bool = False) -> Any:
        """
        Run the program under the command, and return its outcome as a Deferred once it
        is connected.
        """
        port = yield self.listen(tls)
        # A server that has said nothing would be told of the end after 15 s.
        secure = ("--tls", "-c", str(shared().ca), "--shutdown", "now")
        options = secure if tls else ()
        running = self.run_under(
            (*TCPCLIENT, "-R", "-H", *options, "127.0.0.1", str(port)), program
        )
        yield self.peer.made
        return [running]

    def run_under(self, tcpclient: tuple[str, ...], program: str) -> Any:
        """Run the program under a tcpclient."""
        return spawn(reactor, *tcpclient, sys.executable, "-c", PROGRAM, program)

    def happened(self, outcome: Outcome) -> list[str]:
        """Return the events that the program has recorded."""
        self.assertEqual((outcome.status, outcome.err), (0, b""))
        return outcome.out.decode("ascii").split()

    @inlineCallbacks
    def addresses(self, tls: bool) -> Any:
        """Check that the program has both addresses of the connection."""
        (running,) = yield self.start("Addresses", tls)
        host, peer = self.peer.transport.getHost(), self.peer.transport.getPeer()
        events = self.happened((yield running))
        self.assertEqual(
            events,
            [
                *("IPv4Address", host.host, str(host.port)),
                *("IPv4Address", peer.host, str(peer.port)),
                "ConnectionDone",
            ],
        )
        yield self.peer.gone

    def test_addresses_of_the_socket(self) -> Any:
        """Without TLS the addresses are those of the socket."""
        return self.addresses(tls=False)

    def test_addresses_of_the_environment(self) -> Any:
        """Over TLS the addresses are those of the environment."""
        return self.addresses(tls=True)

    @inlineCallbacks
    def test_echo(self) -> Any:
        """
        More data than all buffers hold comes back unchanged; the server's EOF is a
        half-close.
        """
        (running,) = yield self.start("HalfEcho")
        self.peer.transport.write(BIG)
        self.peer.transport.loseWriteConnection()
        self.assertEqual(self.happened((yield running)), ["ConnectionDone"])
        yield self.peer.gone
        self.assert_same(self.peer.received, BIG + b"<end>")

    @inlineCallbacks
    def test_echo_over_tls(self) -> Any:
        """The same over TLS."""
        (running,) = yield self.start("Echo", tls=True)
        self.peer.transport.write(BIG)
        yield self.peer.hear(len(BIG))
        self.peer.transport.loseConnection()
        self.assertEqual(self.happened((yield running)), ["ConnectionDone"])
        yield self.peer.gone
        self.assert_same(self.peer.received, BIG)

    def assert_same(self, one: bytes | bytearray, other: bytes) -> None:
        """Compare data without printing it."""
        self.assertEqual(sha256(one).hexdigest(), sha256(other).hexdigest())

    @inlineCallbacks
    def listener(self, tls: bool) -> Any:
        """Check that the program receives the answer after its half-close."""
        self.peer.polite = False
        (running,) = yield self.start("Listener", tls)
        # Twisted's TLS has no half-close: the end of the question stands for it.
        yield self.peer.gone if tls else self.peer.heard
        self.assertEqual(bytes(self.peer.received), b"question")
        if not tls:
            self.peer.transport.write(b"answer")
            self.peer.transport.loseConnection()
        events = self.happened((yield running))
        answer = [] if tls else ["answer"]
        self.assertEqual(events, ["said", *answer, "heard", "ConnectionDone"])
        yield self.peer.gone

    def test_listener(self) -> Any:
        """The half-close of the program is FIN on the socket."""
        return self.listener(tls=False)

    def test_listener_over_tls(self) -> Any:
        """The half-close of the program is close_notify over TLS."""
        return self.listener(tls=True)

    @inlineCallbacks
    def closed(self, tls: bool) -> Any:
        """Check that the server's EOF ends a program that has no half-close."""
        (running,) = yield self.start("Base", tls)
        self.peer.transport.write(b"bye")
        self.peer.transport.loseConnection()
        self.assertEqual(self.happened((yield running)), ["bye", "ConnectionDone"])
        yield self.peer.gone

    def test_closed(self) -> Any:
        """The server closes the socket."""
        return self.closed(tls=False)

    def test_closed_over_tls(self) -> Any:
        """The server closes the TLS connection."""
        return self.closed(tls=True)

    @inlineCallbacks
    def test_reset(self) -> Any:
        """RST is no orderly end."""
        (running,) = yield self.start("Greeter")
        yield self.peer.hear(len("hello"))
        self.peer.transport.abortConnection()
        self.assertEqual(self.happened((yield running)), ["ConnectionLost"])
        yield self.peer.gone

    @inlineCallbacks
    def test_abort(self) -> Any:
        """A program that aborts is told of the loss once."""
        for tls in (False, True):
            self.setUp()
            (running,) = yield self.start("Aborter", tls)
            self.assertEqual(self.happened((yield running)), ["ConnectionAborted"])
            yield self.peer.gone

    def other_tcpclient(self) -> str:
        """Return the tcpclient of ucspi-tcp, which is beside its tcpserver."""
        tcpserver = find_program("tcpserver", "ucspi-tcp")
        return os.path.join(os.path.dirname(tcpserver), "tcpclient")

    @inlineCallbacks
    def test_under_another(self) -> Any:
        """The program works under another tcpclient."""
        tcpclient = self.other_tcpclient()
        port = yield self.listen()
        options = ("-R", "-H", "-l0", "127.0.0.1", str(port))
        running = self.run_under((tcpclient, *options), "HalfEcho")
        yield self.peer.made
        self.peer.transport.write(BIG)
        self.peer.transport.loseWriteConnection()
        self.assertEqual(self.happened((yield running)), ["ConnectionDone"])
        yield self.peer.gone
        self.assert_same(self.peer.received, BIG + b"<end>")

    @inlineCallbacks
    def test_addresses_under_another(self) -> Any:
        """Under another tcpclient it has the addresses."""
        tcpclient = self.other_tcpclient()
        port = yield self.listen()
        options = ("-R", "-H", "-l0", "127.0.0.1", str(port))
        running = self.run_under((tcpclient, *options), "Addresses")
        yield self.peer.made
        peer = self.peer.transport.getPeer()
        self.assertEqual(
            self.happened((yield running)),
            [
                *("IPv4Address", "127.0.0.1", str(port)),
                *("IPv4Address", peer.host, str(peer.port)),
                "ConnectionDone",
            ],
        )
        yield self.peer.gone


class Client(Protocol):
    """The application, which keeps data and events."""

    transport: Any

    def __init__(self, at_once: Callable[[Any], object] = type) -> None:
        """:param at_once: called with the transport in connectionMade."""
        self._at_once = at_once
        self.received = b""
        self.some: Deferred[None] = Deferred()
        self.gone: Deferred[None] = Deferred()
        self.lost: list[type[BaseException] | None] = []

    def connectionMade(self) -> None:
        """Call the function of the test."""
        self._at_once(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """Keep the data."""
        self.received += data
        if not self.some.called:
            self.some.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fire."""
        self.lost.append(reason.type)
        if not self.gone.called:
            self.gone.callback(None)


@implementer(IHalfCloseableProtocol)
class HalfClient(Client):
    """An application with half-close."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: Deferred[None] = Deferred()
        self.said: Deferred[None] = Deferred()

    def readConnectionLost(self) -> None:
        """Fire."""
        self.heard.callback(None)

    def writeConnectionLost(self) -> None:
        """Fire."""
        self.said.callback(None)


@implementer(IPushProducer)
class Faucet:
    """A producer that records its calls."""

    def __init__(self) -> None:
        self.paused: Deferred[None] = Deferred()
        self.resumed: Deferred[None] = Deferred()
        self.stopped = 0

    def pauseProducing(self) -> None:
        """Fire, the first time."""
        if not self.paused.called:
            self.paused.callback(None)

    def resumeProducing(self) -> None:
        """Fire, the first time."""
        if not self.resumed.called:
            self.resumed.callback(None)

    def stopProducing(self) -> None:
        """Count the call."""
        self.stopped += 1


class Building(ClientFactory):
    """A factory of one protocol, which keeps the addresses."""

    noisy = False

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self.addresses: list[IAddress | None] = []

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Return the protocol."""
        self.addresses.append(addr)
        return self._build()


ENVIRON = {
    "PROTO": "TCP",
    "TCPLOCALIP": "192.0.2.1",
    "TCPLOCALPORT": "40000",
    "TCPREMOTEIP": "192.0.2.25",
    "TCPREMOTEPORT": "25",
}


def identity(descriptor: int) -> object:
    """Return the device and inode of a descriptor; None if it is closed."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return (status.st_dev, status.st_ino)


class PipesTests(TestCase):
    """Two pipes, whose other ends the test has."""

    timeout = 60

    def setUp(self) -> None:
        """Make two pipes."""
        self.reading, self.to_client = os.pipe()
        self.from_client, self.writing = os.pipe()
        self.open = {self.to_client, self.from_client}
        self.addCleanup(self.shut_all, self.open)
        self.taken = {each: identity(each) for each in (self.reading, self.writing)}

    def shut(self, descriptor: int) -> None:
        """Close one of the test's ends."""
        self.open.remove(descriptor)
        os.close(descriptor)

    def shut_all(self, descriptors: set[int]) -> None:
        """Close the test's ends that are open."""
        while descriptors:
            os.close(descriptors.pop())

    def connect(self, build: Callable[[], Any] = Client) -> Any:
        """Connect."""
        endpoint = UCSPIEndpoint(reactor, (self.reading, self.writing), ENVIRON)
        self.factory = Building(build)
        return self.successResultOf(endpoint.connect(self.factory))

    def assert_closed(self) -> None:
        """
        Check that both descriptors were closed; other files may have the numbers by
        now.
        """
        for descriptor, pipe in self.taken.items():
            self.assertNotEqual(identity(descriptor), pipe)

    def rest(self) -> bytes:
        """Return all that the client has written, once it has closed."""
        said = b""
        while data := os.read(self.from_client, 65536):
            said += data
        return said

    @inlineCallbacks
    def over(self, client: Client, reason: type[Exception]) -> Any:
        """
        Check that the connection was lost once, for a reason, and that no descriptor is
        open.
        """
        yield client.gone
        # A delayed delivery would happen in this iteration.
        later: Deferred[None] = Deferred()
        reactor.callLater(0, reactor.callLater, 0, later.callback, None)
        yield later
        self.assertEqual(client.lost, [reason])
        self.assert_closed()

    @inlineCallbacks
    def test_transport(self) -> Any:
        """The transport provides its interfaces, and has the addresses."""
        client = self.connect()
        for interface in (ITransport, IConsumer, IPushProducer):
            verifyObject(interface, client.transport)
        peer = IPv4Address("TCP", "192.0.2.25", 25)
        self.assertEqual(client.transport.getPeer(), peer)
        self.assertEqual(self.factory.addresses, [peer])
        host = IPv4Address("TCP", "192.0.2.1", 40000)
        self.assertEqual(client.transport.getHost(), host)
        client.transport.loseConnection()
        yield self.over(client, ConnectionDone)

    @inlineCallbacks
    def test_end_of_input(self) -> Any:
        """At EOF the buffer is written, and then the connection is done."""
        client = self.connect()
        client.transport.writeSequence([b"a", b"nswer"])
        os.write(self.to_client, b"question")
        self.shut(self.to_client)
        yield self.over(client, ConnectionDone)
        self.assertEqual(client.received, b"question")
        self.assertEqual(self.rest(), b"answer")

    @inlineCallbacks
    def left_alone(self, ours: tuple[int, int], theirs: tuple[int, int]) -> Any:
        """
        Check that data goes through descriptors whose flags are the same afterwards.
        """
        kept = [os.dup(each) for each in ours]
        self.reading, self.writing = ours
        client = self.connect()
        os.write(theirs[0], b"question\n")
        yield client.some
        self.assertEqual(client.received, b"question\n")
        client.transport.write(b"answer\n")
        client.transport.loseConnection()
        yield client.gone
        self.assertEqual(os.read(theirs[1], 100), b"answer\n")
        self.assertEqual(client.lost, [ConnectionDone])
        self.assertTrue(all(map(os.get_blocking, kept)))
        for each in (*kept, *theirs):
            os.close(each)

    @inlineCallbacks
    def test_left_alone(self) -> Any:
        """O_NONBLOCK of shared descriptors is restored, whatever they are."""
        for end in (self.reading, self.writing, self.to_client, self.from_client):
            os.close(end)
        self.open.clear()
        first, second = socket.socketpair(), socket.socketpair()
        ours = first[0].detach(), second[0].detach()
        yield self.left_alone(ours, (first[1].detach(), second[1].detach()))
        yield self.left_alone(*self.terminals())
        yield self.left_alone(*reversed(self.terminals()))

    def terminals(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the masters of two pseudo-terminals, and their slaves."""
        (first, slave), (second, other) = os.openpty(), os.openpty()
        tty.setraw(slave)
        tty.setraw(other)
        return (first, second), (slave, other)

    @inlineCallbacks
    def test_master_ends(self) -> Any:
        """The end of the slave is EOF on the master (EIO on Linux)."""
        os.close(self.reading)
        self.reading, slave = os.openpty()
        self.taken[self.reading] = identity(self.reading)
        tty.setraw(slave)
        client = self.connect()
        os.write(slave, b"data")
        os.close(slave)
        yield self.over(client, ConnectionDone)
        self.assertEqual(client.received, b"data")

    @inlineCallbacks
    def test_lose_connection(self) -> Any:
        """
        The buffer is written after loseConnection; what is written or arrives later is
        dropped.
        """
        client = self.connect()
        os.write(self.to_client, b"too late")
        client.transport.write(b"last words")
        client.transport.loseConnection()
        client.transport.write(b"too late")
        client.transport.loseConnection()
        yield self.over(client, ConnectionDone)
        self.assertEqual((client.received, self.rest()), (b"", b"last words"))
        client.transport.loseConnection()
        client.transport.abortConnection()
        self.assertEqual(client.lost, [ConnectionDone])

    @inlineCallbacks
    def test_half_closed_by_the_other_side(self) -> Any:
        """After EOF the client can still write."""
        client: Any = self.connect(HalfClient)
        self.shut(self.to_client)
        yield client.heard
        client.transport.write(b"more")
        client.transport.loseConnection()
        yield self.over(client, ConnectionDone)
        self.assertEqual(self.rest(), b"more")

    @inlineCallbacks
    def test_half_closed_by_us(self) -> Any:
        """After loseWriteConnection the client can still read."""
        client: Any = self.connect(HalfClient)
        client.transport.write(b"question")
        client.transport.loseWriteConnection()
        yield client.said
        self.assertEqual(self.rest(), b"question")
        client.transport.write(b"too late")
        os.write(self.to_client, b"answer")
        yield client.some
        self.assertEqual(client.lost, [])
        self.shut(self.to_client)
        yield self.over(client, ConnectionDone)
        self.assertEqual(client.received, b"answer")

    @inlineCallbacks
    def test_half_closed_then_lost(self) -> Any:
        """The connection ends by loseConnection, whichever half is closed."""
        for first in (True, False):
            if not first:
                self.setUp()
            client: Any = self.connect(HalfClient)
            if first:
                self.shut(self.to_client)
                yield client.heard
            else:
                client.transport.loseWriteConnection()
                yield client.said
            client.transport.loseConnection()
            client.transport.loseConnection()
            yield self.over(client, ConnectionDone)

    @inlineCallbacks
    def test_abort(self) -> Any:
        """The buffer is dropped by abortConnection, which is the reason of the loss."""
        client = self.connect()
        client.transport.write(b"lost")
        client.transport.abortConnection()
        client.transport.abortConnection()
        client.transport.write(b"lost too")
        self.assertEqual(client.lost, [])
        yield self.over(client, ConnectionAborted)
        self.assertEqual(self.rest(), b"")

    @inlineCallbacks
    def test_no_reader(self) -> Any:
        """
        Without a reader of its pipe the client still receives data; with an empty
        buffer the end is orderly.
        """
        client = self.connect()
        self.shut(self.from_client)
        os.write(self.to_client, b"farewell")
        self.shut(self.to_client)
        yield self.over(client, ConnectionDone)
        self.assertEqual(client.received, b"farewell")

    @inlineCallbacks
    def test_unheard(self) -> Any:
        """With a buffer that was not written the end is a loss."""
        client = self.connect()
        self.shut(self.from_client)
        client.transport.write(b"hello?")
        os.write(self.to_client, b"farewell")
        yield client.some
        self.assertEqual(client.lost, [])
        self.shut(self.to_client)
        yield self.over(client, ConnectionLost)
        self.assertEqual(client.received, b"farewell")

    @inlineCallbacks
    def test_unheard_later(self) -> Any:
        """Data that is written after the reader is gone makes it a loss, too."""
        client = self.connect()
        self.shut(self.from_client)
        os.write(self.to_client, b"farewell")
        yield client.some
        client.transport.write(b"hello?")
        self.shut(self.to_client)
        yield self.over(client, ConnectionLost)

    @inlineCallbacks
    def test_unheard_at_the_end(self) -> Any:
        """A buffer that cannot be written after loseConnection is a loss."""
        client = self.connect()
        client.transport.write(BIG)
        client.transport.loseConnection()
        self.shut(self.from_client)
        yield self.over(client, ConnectionLost)

    @inlineCallbacks
    def test_paused(self) -> Any:
        """A client that pauses in connectionMade receives nothing."""
        client = self.connect(lambda: Client(lambda t: t.pauseProducing()))
        os.write(self.to_client, b"data")
        later: Deferred[None] = Deferred()
        reactor.callLater(0, reactor.callLater, 0, later.callback, None)
        yield later
        self.assertEqual(client.received, b"")
        client.transport.resumeProducing()
        yield client.some
        self.assertEqual(client.received, b"data")
        client.transport.stopProducing()
        yield self.over(client, ConnectionDone)

    @inlineCallbacks
    def test_flow(self) -> Any:
        """
        A producer is paused and resumed as the pipe fills and empties, and is stopped
        at the end.
        """
        client = self.connect()
        faucet = Faucet()
        client.transport.registerProducer(faucet, True)
        client.transport.write(BIG)
        yield faucet.paused
        self.assertFalse(faucet.resumed.called)
        ended: Deferred[Any] = Deferred()
        heard: list[bytes] = []
        source = Source(reactor, self.from_client, heard.append, ended.callback)
        self.open.remove(self.from_client)
        source.resumeProducing()
        yield faucet.resumed
        self.assertEqual(faucet.stopped, 0)
        client.transport.loseConnection()
        yield ended
        self.assertEqual(sha256(b"".join(heard)).digest(), sha256(BIG).digest())
        yield self.over(client, ConnectionDone)
        self.assertEqual(faucet.stopped, 1)

    @inlineCallbacks
    def test_producer_done(self) -> Any:
        """
        A producer that has unregistered is not stopped; a second one at a time is an
        error.
        """
        client = self.connect()
        first, second = Faucet(), Faucet()
        client.transport.registerProducer(first, True)
        with self.assertRaises(RuntimeError):
            client.transport.registerProducer(second, True)
        client.transport.unregisterProducer()
        client.transport.registerProducer(second, True)
        client.transport.abortConnection()
        yield self.over(client, ConnectionAborted)
        self.assertEqual((first.stopped, second.stopped), (0, 1))
        client.transport.registerProducer(first, True)
        self.assertEqual(first.stopped, 1)
        client.transport.unregisterProducer()

    @inlineCallbacks
    def test_closed_at_once(self) -> Any:
        """A client may close in connectionMade."""
        os.write(self.to_client, b"data")
        client = self.connect(lambda: Client(lambda t: t.loseConnection()))
        yield self.over(client, ConnectionDone)
        self.assertEqual(client.received, b"")

    @inlineCallbacks
    def test_raises_at_once(self) -> Any:
        """
        A client that raises in connectionMade fails ``connect``, and loses its
        connection.
        """
        client = Client(lambda transport: 1 / 0)
        endpoint = UCSPIEndpoint(reactor, (self.reading, self.writing), ENVIRON)
        connecting = endpoint.connect(Building(lambda: client))
        self.failureResultOf(connecting, ZeroDivisionError)
        yield self.over(client, ConnectionAborted)

    @inlineCallbacks
    def test_raises_later(self) -> Any:
        """
        A client that raises in another method loses its connection with its own
        exception.
        """

        def fail(*_: object) -> None:
            raise ZeroDivisionError

        for kind, event in (
            (Client, "dataReceived"),
            (HalfClient, "dataReceived"),
            (HalfClient, "readConnectionLost"),
            (HalfClient, "writeConnectionLost"),
        ):
            self.setUp()
            client: Any = self.connect(kind)
            setattr(client, event, fail)
            if event == "dataReceived":
                os.write(self.to_client, b"data")
            elif event == "readConnectionLost":
                self.shut(self.to_client)
            else:
                client.transport.loseWriteConnection()
            yield self.over(client, ZeroDivisionError)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    @inlineCallbacks
    def test_once(self) -> Any:
        """
        A second connect is an error, and closes no file that has the number by then.
        """
        endpoint = UCSPIEndpoint(reactor, (self.reading, self.writing), ENVIRON)
        client: Any = self.successResultOf(endpoint.connect(Building(Client)))
        failure = self.failureResultOf(endpoint.connect(Building(Client)), LocalFailure)
        self.assertIn("taken before", str(failure.value))
        os.write(self.to_client, b"data")
        self.shut(self.to_client)
        yield self.over(client, ConnectionDone)
        self.assertEqual(client.received, b"data")

    @inlineCallbacks
    def test_replaced(self) -> Any:
        """A protocol may replace its own ``dataReceived``."""
        client = self.connect()
        heard: Deferred[bytes] = Deferred()
        client.dataReceived = heard.callback
        os.write(self.to_client, b"data")
        self.assertEqual((yield heard), b"data")
        client.transport.abortConnection()
        yield self.over(client, ConnectionAborted)
        self.assertEqual(client.received, b"")

    def test_not_built(self) -> None:
        """A factory that builds none, or raises, leaves no descriptor open."""

        def fail() -> Any:
            raise FileNotFoundError("of the factory's own")

        for build, error in ((lambda: None, NoProtocol), (fail, FileNotFoundError)):
            endpoint = UCSPIEndpoint(reactor, (self.reading, self.writing), ENVIRON)
            self.failureResultOf(endpoint.connect(Building(build)), error)
            self.assert_closed()
            self.setUp()
        os.close(self.reading)
        os.close(self.writing)


class SocketTests(TestCase):
    """Two descriptors of one socket."""

    timeout = 60

    def pair(self, family: int, host: str) -> tuple[socket.socket, socket.socket]:
        """Return a connection over TCP."""
        with socket.create_server((host, 0), family=family) as server:
            client = socket.create_connection(server.getsockname()[:2])
            accepted, _ = server.accept()
        self.addCleanup(accepted.close)
        return client, accepted

    def adopted(self, client: socket.socket, build: Callable[[], Any]) -> Any:
        """Return the result of adopting two descriptors of a socket."""
        self.descriptors = (os.dup(client.fileno()), client.detach())
        self.taken = identity(self.descriptors[0])
        endpoint = UCSPIEndpoint(reactor, self.descriptors, ENVIRON)
        return endpoint.connect(Building(build))

    def left(self) -> int:
        """Return the number of descriptors of the client's socket."""
        numbers = map(int, os.listdir("/proc/self/fd"))
        return [identity(number) for number in numbers].count(self.taken)

    @inlineCallbacks
    def test_addresses(self) -> Any:
        """The addresses are those of the socket, whatever the environment has."""
        for host in servers.loopbacks():
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            ours, theirs = self.pair(family, host)
            local, remote = ours.getsockname()[:2], theirs.getsockname()[:2]
            client: Any = yield self.adopted(ours, Client)
            self.assertEqual(self.left(), 1)
            kind = IPv6Address if ":" in host else IPv4Address
            self.assertEqual(client.transport.getHost(), kind("TCP", *local))
            self.assertEqual(client.transport.getPeer(), kind("TCP", *remote))
            theirs.sendall(b"hello")
            yield client.some
            client.transport.write(b"goodbye")
            client.transport.loseConnection()
            yield client.gone
            self.assertEqual(client.received, b"hello")
            self.assertEqual(theirs.recv(100), b"goodbye")
            self.assertEqual(client.lost, [ConnectionDone])

    @inlineCallbacks
    def test_unix(self) -> Any:
        """UNIX sockets are adopted, too."""
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        client: Any = yield self.adopted(ours, Client)
        self.assertIsInstance(client.transport.getPeer(), UNIXAddress)
        theirs.sendall(b"hello")
        theirs.close()
        yield client.gone
        self.assertEqual((client.received, client.lost), (b"hello", [ConnectionDone]))

    @inlineCallbacks
    def test_one_descriptor(self) -> Any:
        """One descriptor may be both."""
        ours, theirs = self.pair(socket.AF_INET, "127.0.0.1")
        number = ours.detach()
        endpoint = UCSPIEndpoint(reactor, (number, number), {})
        client: Any = yield endpoint.connect(Building(Client))
        theirs.close()
        yield client.gone
        self.assertEqual(client.lost, [ConnectionDone])

    @inlineCallbacks
    def test_two_sockets(self) -> Any:
        """Two sockets are used as two pipes are."""
        first, theirs = socket.socketpair()
        second, others = socket.socketpair()
        for each in (theirs, others):
            self.addCleanup(each.close)
        descriptors = (first.detach(), second.detach())
        endpoint = UCSPIEndpoint(reactor, descriptors, ENVIRON)
        client: Any = yield endpoint.connect(Building(Client))
        theirs.sendall(b"hello")
        yield client.some
        client.transport.write(b"goodbye")
        client.transport.loseConnection()
        yield client.gone
        self.assertEqual(others.recv(100), b"goodbye")
        self.assertEqual((client.received, client.lost), (b"hello", [ConnectionDone]))

    def test_not_connected(self) -> None:
        """A socket without a peer is an error."""
        connecting = self.adopted(socket.socket(), Client)
        failure = self.failureResultOf(connecting, LocalFailure)
        self.assertIn("not connected", str(failure.value))
        self.assertEqual(self.left(), 0)

    def test_not_built(self) -> None:
        """A factory that builds none, or raises, leaves no descriptor open."""

        def fail() -> Any:
            raise FileNotFoundError("of the factory's own")

        for build, error in ((lambda: None, NoProtocol), (fail, FileNotFoundError)):
            ours, _ = self.pair(socket.AF_INET, "127.0.0.1")
            self.failureResultOf(self.adopted(ours, build), error)
            self.assertEqual(self.left(), 0)

    @inlineCallbacks
    def test_raises_at_once(self) -> Any:
        """
        A client that raises in connectionMade fails ``connect``, and loses its
        connection.
        """

        def fail(transport: Any) -> None:
            raise FileNotFoundError("of the client's own")

        client = Client(fail)
        ours, _ = self.pair(socket.AF_INET, "127.0.0.1")
        self.failureResultOf(self.adopted(ours, lambda: client), FileNotFoundError)
        yield client.gone
        self.assertEqual(client.lost, [ConnectionAborted])


class ClosedTests(SynchronousTestCase):
    """Descriptors that are not open."""

    def test_closed(self) -> None:
        """If either is closed, the error names both."""
        reading, writing = os.pipe()
        gone = os.dup(reading)
        os.close(gone)
        for pair in ((gone, writing), (reading, gone), (gone, gone)):
            connecting = UCSPIEndpoint(reactor, pair).connect(Building(Client))
            failure: Any = self.failureResultOf(connecting, LocalFailure)
            self.assertIn(f"descriptors {pair[0]} and {pair[1]}", str(failure.value))
        os.close(reading)
        os.close(writing)

    def test_usual_descriptors(self) -> None:
        """The defaults are 6 and 7, and the environment of the process."""
        asked: list[int] = []

        def fstat(descriptor: int) -> Any:
            asked.append(descriptor)
            raise OSError(9, "Bad file descriptor")

        self.patch(os, "fstat", fstat)
        connecting = UCSPIEndpoint(reactor).connect(Building(Client))
        failure: Any = self.failureResultOf(connecting, LocalFailure)
        self.assertEqual(asked, [6])
        self.assertIn("descriptors 6 and 7: bad file descriptor", str(failure.value))


#: PROTO, other variables, and the address.
ADDRESSES = [
    ("TCP", {"TCPREMOTEIP": "192.0.2.1", "TCPREMOTEPORT": "25"}, ("192.0.2.1", 25)),
    ("TCP", {"TCPREMOTEIP": "2001:db8::1", "TCPREMOTEPORT": "1"}, ("2001:db8::1", 1)),
    ("TCP6", {"TCPREMOTEIP": "2001:db8::1", "TCPREMOTEPORT": "1"}, ("2001:db8::1", 1)),
    ("TCP6", {"TCPREMOTEIP": "192.0.2.1", "TCPREMOTEPORT": "1"}, ("192.0.2.1", 1)),
    ("TCP6", {"TCPREMOTEIP": "fe80::1%lo", "TCPREMOTEPORT": "1"}, ("fe80::1%lo", 1)),
    ("SSL", {"SSLREMOTEIP": "192.0.2.1", "SSLREMOTEPORT": "993"}, ("192.0.2.1", 993)),
    ("SSL6", {"SSLREMOTEIP": "2001:db8::1", "SSLREMOTEPORT": "1"}, ("2001:db8::1", 1)),
    ("SSL", {"TCPREMOTEIP": "192.0.2.1", "TCPREMOTEPORT": "993"}, None),
    ("TCP", {"TCPLOCALIP": "192.0.2.1", "TCPLOCALPORT": "25"}, None),
    ("TCP", {"TCPREMOTEIP": "192.0.2.1"}, None),
    ("TCP", {"TCPREMOTEPORT": "25"}, None),
    ("TCP", {"TCPREMOTEIP": "", "TCPREMOTEPORT": "25"}, None),
    ("UNIX", {}, None),
    ("UNIX", {"TCPREMOTEIP": "192.0.2.1", "TCPREMOTEPORT": "25"}, None),
    ("", {"TCPREMOTEIP": "192.0.2.1", "TCPREMOTEPORT": "25"}, None),
    *(
        ("TCP", {"TCPREMOTEIP": "192.0.2.1", "TCPREMOTEPORT": port}, None)
        for port in ("", "smtp", "-1", "1.5", "\u00b2", "\u0662")
    ),
]


class AddressTests(SynchronousTestCase):
    """Addresses from the environment."""

    def test_table(self) -> None:
        """Each environment gives its address, or one without a name."""
        for protocol, variables, wanted in ADDRESSES:
            found = address_from({"PROTO": protocol, **variables}, "REMOTE")
            if wanted is None:
                self.assertEqual(found, UNIXAddress(None), (protocol, variables))
            else:
                kind = IPv6Address if ":" in wanted[0] else IPv4Address
                self.assertEqual(found, kind("TCP", *wanted))

    def test_sides(self) -> None:
        """Each side has its own address."""
        self.assertEqual(
            [address_from(ENVIRON, side) for side in ("LOCAL", "REMOTE")],
            [
                IPv4Address("TCP", "192.0.2.1", 40000),
                IPv4Address("TCP", "192.0.2.25", 25),
            ],
        )

    def test_no_environment(self) -> None:
        """Without variables there is no address."""
        self.assertEqual(address_from({}, "REMOTE"), UNIXAddress(None))

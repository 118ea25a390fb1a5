"""
Transcripts of dialogues, and connections in memory on which to hold them.

:mod:`twisted_tcpclient.testing` describes the form of a transcript.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from hypothesis import HealthCheck, settings
from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, IOPump
from twisted.test.iosim import connect as join
from zope.interface import implementer

from tests.certificates import Identity, shared
from twisted_tcpclient.dialects import Parameters, find
from twisted_tcpclient.testing import (
    Segment,
    Talk,
    client_bytes,
    join_turns,
    parse_transcript,
)

#: Settings of Hypothesis without limits of time, for busy machines.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

HOST = IPv4Address("TCP", "192.0.2.1", 40000)
PEER = IPv4Address("TCP", "192.0.2.25", 25)
#: The name of the server, for dialects that send it.
DOMAIN = "im.example.org"

#: A good dialogue for each dialect, up to the point at which TLS begins.
SMTP = """
    S: 220 mx.example.org ESMTP
    C: EHLO [192.0.2.1]
    S: 250-mx.example.org
    S: 250-STARTTLS
    S: 250 SIZE 10000000
    C: STARTTLS
    S: 220 Go ahead
"""
POP3 = """
    S: +OK POP3 ready <1896.697170952@example.org>
    C: CAPA
    S: +OK Capability list follows
    S: TOP
    S: STLS
    S: .
    C: STLS
    S: +OK Begin TLS negotiation
"""
IMAP = """
    S: * OK IMAP4rev2 server ready
    C: {tag}1 CAPABILITY
    S: * CAPABILITY IMAP4rev2 STARTTLS LOGINDISABLED
    S: {tag}1 OK CAPABILITY completed
    C: {tag}2 STARTTLS
    S: {tag}2 OK Begin TLS negotiation now
"""
LMTP = """
    S: 220 mx.example.org LMTP
    C: LHLO [192.0.2.1]
    S: 250-mx.example.org
    S: 250-STARTTLS
    S: 250 PIPELINING
    C: STARTTLS
    S: 220 Go ahead
"""
FTP = """
    S: 220-Welcome
    S:  to ftp.example.org
    S: 220 ready
    C: AUTH TLS
    S: 234 Go ahead
"""
NNTP = """
    S: 201 news.example.org ready, no posting
    C: CAPABILITIES
    S: 101 Capability list
    S: VERSION 2
    S: READER
    S: STARTTLS
    S: .
    C: STARTTLS
    S: 382 Go ahead
"""
SIEVE = """
    S: "IMPLEMENTATION" "Example (v2) \\"really\\""
    S: "SASL" ""
    S: "STARTTLS"
    S: "VERSION" "1.0"
    S: OK "ready"
    C: STARTTLS
    S: OK "Begin TLS negotiation now"
"""
IRC = """
    C: STARTTLS
    S: :irc.example.org NOTICE * :*** Looking up your hostname
    S: :irc.example.org 670 * :STARTTLS successful, go ahead
"""
STREAMS = "xmlns:stream='http://etherx.jabber.org/streams'"
TLS_NAMESPACE = "xmlns='urn:ietf:params:xml:ns:xmpp-tls'"


def xmpp(namespace: str) -> str:
    """Return the transcript for content of a namespace."""
    to = f"to='{DOMAIN}' version='1.0'"
    back = f"from='{DOMAIN}' id='x' version='1.0'"
    return f"""
    C| <?xml version='1.0'?><stream:stream {to} xmlns='{namespace}' {STREAMS}>
    S| <?xml version='1.0'?><stream:stream {back} xmlns='{namespace}' {STREAMS}>
    S| <stream:features><starttls {TLS_NAMESPACE}><required/></starttls>
    S| <mechanisms><mechanism>PLAIN</mechanism></mechanisms></stream:features>
    C| <starttls {TLS_NAMESPACE}/>
    S| <proceed {TLS_NAMESPACE}/>
"""


XMPP = xmpp("jabber:client")
XMPP_SERVER = xmpp("jabber:server")

STARTTLS_OID = "31 2e 33 2e 36 2e 31 2e 34 2e 31 2e 31 34 36 36 2e 32 30 30 33 37"
LDAP = f"""
    C# 30 1d 02 01 01 77 18 80 16 {STARTTLS_OID}
    S# 30 0c 02 01 01 78 07 0a 01 00 04 00 04 00
"""
POSTGRES = """
    C# 00 00 00 08 04 d2 16 2f
    S| S
"""
#: The greeting of MySQL, up to the flags, and after them.
MYSQL_START = "39 00 00 00 0a 38 2e 30 2e 33 36 00 01 02 03 04" + " 61" * 8 + " 00"
MYSQL_REST = "ff 02 00 ff df 15" + " 00" * 10 + " 63" * 12 + " 00 61 75 74 68 00"
MYSQL = f"""
    S# {MYSQL_START} ff ff {MYSQL_REST}
    C# 20 00 00 01 00 8a 08 00 00 00 00 01 2d {"00 " * 23}
"""
TELNET = """
    S# ff fd 2e
    C# ff fb 2e ff fa 2e 01 ff f0
    S# ff fa 2e 01 ff f0
"""
GOOD = {
    "ftp": FTP,
    "imap": IMAP,
    "irc": IRC,
    "ldap": LDAP,
    "lmtp": LMTP,
    "mysql": MYSQL,
    "nntp": NNTP,
    "pop3": POP3,
    "postgres": POSTGRES,
    "sieve": SIEVE,
    "smtp": SMTP,
    "telnet": TELNET,
    "xmpp": XMPP,
    "xmpp-server": XMPP_SERVER,
}
#: The dialects of lines, which may end in LF alone.
LINEWISE = ("ftp", "imap", "irc", "lmtp", "nntp", "pop3", "sieve", "smtp")


#: The parameters of a dialogue in memory.
PARAMETERS = Parameters(b"[192.0.2.1]", DOMAIN, b"tag")


def talk_in(dialect: str) -> Talk:
    """Return a talk in a built-in dialect, which has begun."""
    return Talk(find(dialect), PARAMETERS)


#: Called at connectionLost with the transport and the reason.
Diagnosis = Callable[[Any, Failure], object]


class Recorder(Protocol):
    """
    A protocol that records its calls.

    :ivar diagnoses: the result of ``diagnose`` for each connectionLost.
    """

    transport: Any

    def __init__(self, diagnose: Diagnosis | None = None) -> None:
        self._diagnose = diagnose
        self.diagnoses: list[object] = []
        self.made = 0
        self.received = b""
        self.lost: list[Failure] = []

    def connectionMade(self) -> None:
        """Count the call."""
        self.made += 1

    def dataReceived(self, data: bytes) -> None:
        """Keep the data."""
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Keep the reason."""
        self.lost.append(reason)
        if self._diagnose is not None:
            self.diagnoses.append(self._diagnose(self.transport, reason))


class Recorders(ClientFactory):
    """A factory of recorders, which keeps them."""

    noisy = False

    def __init__(self) -> None:
        self.built: list[Recorder] = []
        self.diagnose: Diagnosis | None = None

    def buildProtocol(self, addr: IAddress | None) -> Recorder:
        """Return a new recorder."""
        self.built.append(Recorder(self.diagnose))
        return self.built[-1]


class MemoryTransport(StringTransport):
    """
    A transport in memory.

    :ivar late: the bytes that were written after it was closed.
    """

    def __init__(self) -> None:
        super().__init__(HOST, PEER)
        self.late = b""
        self._read = 0

    def write(self, data: bytes) -> None:
        """Keep the bytes; apart from the others if the transport is closed."""
        if self.disconnecting:
            self.late += data
        else:
            super().write(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Ask a pull producer for more at once: the buffer is always empty."""
        super().registerProducer(producer, streaming)
        while self.producer is not None and not streaming:
            producer.resumeProducing()

    def take(self) -> bytes:
        """Return the bytes that were written since the last call."""
        said: bytes = self.value()[self._read :]
        self._read += len(said)
        return said


Stages = Callable[[IStreamClientEndpoint, MemoryReactorClock], IStreamClientEndpoint]


class Attempt:
    """
    A connection in memory that is being made through endpoints of this package.

    :ivar result: the protocol with which ``connect`` has fired.

    :ivar error: the error with which it has failed.
    """

    def __init__(self, stages: Stages) -> None:
        """:param stages: wraps the endpoint in memory."""
        self.reactor = MemoryReactorClock()
        self.factory = Recorders()
        self.result: Any = None
        self.error: Any = None
        tcp = TCP4ClientEndpoint(self.reactor, PEER.host, PEER.port)
        self.connecting: Deferred[Any] = stages(tcp, self.reactor).connect(self.factory)
        self.connecting.addCallbacks(self._succeeded, self._failed)
        self.protocol: Any = None

    def build(self) -> Any:
        """Return the protocol that the reactor builds for a new connection."""
        ((_, _, factory, _, _),) = self.reactor.tcpClients
        self.protocol = factory.buildProtocol(PEER)
        return self.protocol

    @property
    def undecided(self) -> bool:
        """Whether ``connect`` has neither fired nor failed."""
        return self.result is None and self.error is None

    @property
    def left(self) -> Sequence[object]:
        """The delayed calls that are left."""
        calls: Sequence[object] = self.reactor.getDelayedCalls()
        return calls

    def _succeeded(self, protocol: object) -> None:
        self.result = protocol

    def _failed(self, failure: Failure) -> None:
        self.error = failure.value


class Exchange(Attempt):
    """
    A connection in memory with a server that follows a transcript.

    :ivar transport: the transport of the client.
    """

    def __init__(self, stages: Stages) -> None:
        super().__init__(stages)
        self.transport = MemoryTransport()
        self._tag = b""
        self.build().makeConnection(self.transport)

    def hear(self, data: bytes) -> None:
        """Deliver bytes of the server, in one segment."""
        self.protocol.dataReceived(data)

    def hang_up(self, reason: Exception | None = None) -> None:
        """Lose the connection."""
        self.transport.disconnecting = True
        self.protocol.connectionLost(Failure(reason or ConnectionDone()))

    def heard(self) -> bytes:
        """Return the bytes that the client has sent since the last call."""
        said = self.transport.take()
        if said.endswith((b"1 CAPABILITY\r\n", b"2 STARTTLS\r\n")):
            self._tag = said.partition(b" ")[0][:-1]
        return said

    def play(self, transcript: str) -> bytes:
        """
        Play a transcript, and return all bytes that the client has to have sent.

        :raises AssertionError: if the client sends other bytes.
        """
        for _ in self.steps(transcript):
            pass
        return client_bytes(transcript, self._tag)

    def steps(self, transcript: str) -> Generator[Segment, None, None]:
        """Play a transcript one segment at a time."""
        every = parse_transcript(transcript)
        for said in every:
            if said.by_server:
                self.hear(said.tagged(self._tag))
            else:
                heard = self.heard()
                expected = said.tagged(self._tag)
                if said is every[-1]:
                    # TLS may have begun.
                    heard = heard[: len(expected)]
                assert heard == expected, (heard, expected, self.error)
            yield said


@implementer(IOpenSSLServerConnectionCreator)
class TLSServer:
    """
    The server's side of TLS handshakes.

    :ivar names: the name that each client has sent as SNI; None without SNI.

    :ivar clients: the subjects of the client certificates.
    """

    def __init__(
        self,
        identity: Identity | None = None,
        *,
        asks: bool = False,
        insists: bool = False,
        versions: tuple[int, int] = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION),
        ciphers: bytes | None = None,
    ) -> None:
        """
        :param asks: whether to ask for a client certificate of the tests' CA.

        :param insists: whether to require one.
        """
        identity = identity or shared().server_identity
        self.names: list[bytes | None] = []
        self.clients: list[str] = []
        self._context = context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(versions[0])
        context.set_max_proto_version(versions[1])
        if ciphers is not None:
            context.set_cipher_list(ciphers)
        context.use_certificate(identity.certificate)
        context.use_privatekey(identity.key)
        for certificate in identity.intermediates:
            context.add_extra_chain_cert(certificate)
        context.set_tlsext_servername_callback(self._named)
        if asks or insists:
            context.load_verify_locations(str(shared().ca))
            mode = SSL.VERIFY_FAIL_IF_NO_PEER_CERT if insists else 0
            context.set_verify(SSL.VERIFY_PEER | mode, self._judge)

    def choose(self, choice: Callable[[Any, list[bytes]], bytes]) -> None:
        """Set the function that chooses one of the protocols offered by ALPN."""
        self._context.set_alpn_select_callback(choice)

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        """Return a new connection."""
        return SSL.Connection(self._context, None)

    def _named(self, connection: SSL.Connection) -> None:
        self.names.append(connection.get_servername())

    def _judge(self, _: object, x509: Any, number: int, depth: int, ok: int) -> bool:
        if depth == 0:
            self.clients.append(x509.to_cryptography().subject.rfc4514_string())
        return bool(ok)


class Doorman(Protocol):
    """A server that plays its side of a transcript, and then starts TLS."""

    def __init__(self, transcript: str, tls: IProtocol) -> None:
        self._turns = join_turns(parse_transcript(transcript))
        self._tls = tls
        self.clear = b""

    def connectionMade(self) -> None:
        """Send the first turn, if it is that of the server."""
        if self._turns[0].by_server:
            self._speak(b"")

    def dataReceived(self, data: bytes) -> None:
        """Answer a turn of the client; only its length and its tag matter."""
        asked = self._turns.pop(0)
        assert not asked.by_server
        tag = data.partition(b" ")[0][:-1]
        length = len(asked.tagged(tag))
        self.clear += data[:length]
        self._speak(tag)
        if data[length:]:
            # The last request has no reply (MySQL): TLS follows it at once.
            self.dataReceived(data[length:])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell TLS, if it has begun."""
        if not self._turns:
            self._tls.connectionLost(reason)

    def _speak(self, tag: bytes) -> None:
        assert self.transport is not None
        if self._turns:
            self.transport.write(self._turns.pop(0).tagged(tag))
        if not self._turns:
            self.dataReceived = self._tls.dataReceived  # type: ignore[method-assign]
            self._tls.makeConnection(self.transport)


class Handshake(Attempt):
    """
    A connection in memory with a TLS server.

    :ivar server: the protocol above TLS on the server's side.
    """

    def __init__(
        self, stages: Stages, server: TLSServer, transcript: str | None = None
    ) -> None:
        """
        :param transcript: the dialogue before TLS; None for TLS from the first byte.
        """
        super().__init__(stages)
        factory = Recorders()
        tls = TLSMemoryBIOFactory(server, False, factory, clock=self.reactor)
        protocol: Any = tls.buildProtocol(PEER)
        (self.server,) = factory.built
        self._door = protocol
        if transcript is not None:
            self._door = Doorman(transcript, protocol)
        self.transport = FakeTransport(self.build(), False, HOST, PEER)
        self._server_transport = FakeTransport(self._door, True, PEER, HOST)
        self.pump: IOPump = join(
            self._door,
            self._server_transport,
            self.protocol,
            self.transport,
            greet=False,
            clock=self.reactor,
        )

    @property
    def clear(self) -> bytes:
        """The bytes that the client has sent before TLS."""
        clear: bytes = self._door.clear
        return clear

    def finish(self) -> None:
        """Carry data between both sides until neither has any left."""
        self.pump.flush()

    def cut(self) -> None:
        """Close the connection below TLS, without close_notify."""
        self._server_transport.loseConnection()
        self.finish()

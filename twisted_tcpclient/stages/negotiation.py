"""
STARTTLS: the dialogue in clear, and the moment at which it ends.

A dialect is driven by the engine of :mod:`twisted_tcpclient.dialogue`, which keeps
the bounds; here it gets a transport and a deadline.  When the server has agreed,
nothing may be left over: a TLS server never speaks first, so whatever is left was
put in by an attacker (CVE-2011-0411 seen from the client), and the connection is
given up, not cleaned up.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IProtocolFactory,
    IPullProducer,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_tcpclient.dialects import Dialect, Parameters
from twisted_tcpclient.dialogue import LONGEST_LINE, Conversation, Dialogue, State
from twisted_tcpclient.errors import Disconnected, InjectedData
from twisted_tcpclient.registry import find
from twisted_tcpclient.stages.base import Stage, StagedEndpoint


def client_name(host: IAddress) -> bytes:
    """Our own address as an address literal (RFC 5321, 4.1.3)."""
    ip = getattr(host, "host", "")
    if ":" in ip:
        return b"[IPv6:%s]" % ip.partition("%")[0].encode("ascii")
    return b"[%s]" % ip.encode("ascii") if ip else b"localhost"


@implementer(IPullProducer)
class LastWords:
    """
    A producer of bytes that calls when they have left the transport's buffer.

    A transport asks a pull producer for bytes when it is registered, and again when
    the buffer is empty.  By then the bytes have been written in a system call of their
    own, and are in a TCP segment of their own unless the kernel's send queue is full.
    """

    def __init__(self, transport: Any, words: bytes, left: Callable[[], None]) -> None:
        """
        :param words: one byte at least.
        :param left: called when they have left the buffer.
        """
        self._transport = transport
        self._words = words
        self._left = left

    def start(self) -> None:
        """Write the bytes; a transport that is no consumer has no buffer to ask."""
        if IConsumer.providedBy(self._transport):
            self._transport.registerProducer(self, False)
        else:
            self._transport.write(self._words)
            self._left()

    def resumeProducing(self) -> None:
        """Write the bytes, or call once they have left the buffer."""
        if self._words:
            words, self._words = self._words, b""
            self._transport.write(words)
        else:
            self._transport.unregisterProducer()
            self._left()

    def stopProducing(self) -> None:
        """Do nothing: ``connectionLost`` tells the protocol of the loss."""


class Negotiation(LineReceiver, Stage):
    """Drives one dialect over a transport, then steps aside."""

    transport: Any

    # Lines end in CRLF; some servers are content with LF.
    delimiter = b"\n"
    #: A longer line goes to the engine before its end has come; the engine refuses it.
    MAX_LENGTH = LONGEST_LINE

    awaited = "STARTTLS"
    dialect: Dialect

    def __init__(self, host: str, *args: Any) -> None:
        """:param host: the name of the server, for dialects that say it."""
        super().__init__(*args)
        self._conversation = Conversation(
            self._begin, f"the dialect {self.dialect.name}"
        )
        self._host = host
        self._piece = b""

    def connectionMade(self) -> None:
        """Begin the dialogue."""
        Stage.connectionMade(self)
        self._follow(self._conversation.start())

    def lineReceived(self, line: bytes) -> None:
        """Hand the engine its line."""
        self._hear(line + self.delimiter, self.clearLineBuffer())

    def lineLengthExceeded(self, line: bytes) -> None:
        """Hand the engine a line without end, which it refuses."""
        self._hear(line, b"")

    def rawDataReceived(self, data: bytes) -> None:
        """Hand the engine its bytes as soon as they are complete."""
        self._piece += data
        count = self._conversation.missing
        if len(self._piece) >= count:
            piece, rest = self._piece[:count], self._piece[count:]
            self._piece = b""
            self._hear(piece, rest)

    def lost(self, reason: Failure) -> Exception:
        """Return the error for a connection that ended within the dialogue."""
        return Disconnected("the server closed the connection before TLS")

    def refuse(self, error: Exception) -> None:
        """Give up: what is still unread is never looked at."""
        self.clearLineBuffer()
        super().refuse(error)

    def _begin(self) -> Dialogue:
        client = client_name(self.transport.getHost())
        return self.dialect.dialogue(Parameters(client, self._host))

    def _hear(self, said: bytes, unread: bytes) -> None:
        self._follow(self._conversation.hear(said, unread))

    def _follow(self, words: bytes) -> None:
        """Send what the engine says, and do what its state asks for."""
        conversation = self._conversation
        if conversation.state is State.DONE:
            self._finish(words, conversation.leftover)
            return
        if words:
            self.transport.write(words)
        if conversation.state is State.LINE:
            self.setLineMode(conversation.leftover)
        elif conversation.state is State.BYTES:
            self.setRawMode()
            self.dataReceived(conversation.leftover)
        else:
            assert conversation.error is not None
            self.refuse(conversation.error)

    def _finish(self, words: bytes, leftover: bytes) -> None:
        """
        Open the connection for TLS, as the server has agreed; refuse a leftover.

        :param words: the last request, where it has no answer, as in MySQL.  Some
            servers lose a ClientHello that comes in the segment of that request.
        """
        self.setRawMode()
        if leftover:
            when = "in clear after agreeing to TLS"
            self.refuse(InjectedData(f"the server sent data {when}", leftover))
        elif words:
            LastWords(self.transport, words, self.open).start()
        else:
            self.open()


@cache
def negotiation(name: str) -> type[Negotiation]:
    """
    The negotiation in the dialect of that name, which is imported only now.

    :raises KeyError: where there is no such dialect.
    :raises SettingsError: where there is one that cannot be used.
    """
    dialect = find(name)
    return type(f"Negotiation_{dialect.name}", (Negotiation,), {"dialect": dialect})


def negotiated(
    dialect: str,
    endpoint: IStreamClientEndpoint,
    clock: IReactorTime,
    timeout: float | None = None,
    host: str = "",
) -> IStreamClientEndpoint:
    """
    An endpoint whose connections have come to the point where TLS must begin.

    Meant to be wrapped in TLS and nothing else: see
    :func:`twisted_tcpclient.endpoints.starttls`.

    :param dialect: its name, such as "smtp".
    :param timeout: for the whole dialogue, in seconds.
    :param host: the name of the server, which some dialects say: that for which
        its certificate has to be.
    :raises KeyError: where there is no such dialect.
    :raises SettingsError: where there is one that cannot be used.
    """
    protocol = negotiation(dialect)

    def build(factory: IProtocolFactory, address: IAddress | None) -> Stage:
        return protocol(host, factory, address, clock, timeout)

    return StagedEndpoint(endpoint, build)

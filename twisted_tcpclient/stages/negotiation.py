"""
STARTTLS: the dialogue in clear, up to the point at which TLS begins.

:class:`twisted_tcpclient.dialogue.Conversation` drives a dialect within the bounds;
:class:`Negotiation` adds a transport and a deadline.  A TLS server sends nothing
before the ClientHello.  So bytes that follow the go-ahead in clear were injected by an
attacker (CVE-2011-0411, from the client's side), and the connection is refused.
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
    """
    Return the name of the client for commands such as EHLO.

    It is an address literal (RFC 5321, 4.1.3) without the zone of an IPv6 address, or
    "localhost" if the address is not an IP address.

    :param host: the client's address.
    """
    ip = getattr(host, "host", "")
    if ":" in ip:
        return b"[IPv6:%s]" % ip.partition("%")[0].encode("ascii")
    return b"[%s]" % ip.encode("ascii") if ip else b"localhost"


@implementer(IPullProducer)
class LastWords:
    """
    A producer of bytes that calls back when they have left the transport's buffer.

    A transport asks a pull producer for bytes when it is registered, and again when
    the buffer is empty.  By then the bytes have been written in a system call of their
    own, and are in a TCP segment of their own unless the kernel's send queue is full.
    """

    def __init__(self, transport: Any, words: bytes, left: Callable[[], None]) -> None:
        """
        :param transport: writes the bytes.
        :param words: one byte at least.
        :param left: called without arguments when they have left the buffer.
        """
        self._transport = transport
        self._words = words
        self._left = left

    def start(self) -> None:
        """
        Register as a producer, which writes the bytes.

        A transport that is not an IConsumer cannot report that its buffer is empty, so
        ``left`` is called at once.
        """
        if IConsumer.providedBy(self._transport):
            self._transport.registerProducer(self, False)
        else:
            self._transport.write(self._words)
            self._left()

    def resumeProducing(self) -> None:
        """Write the bytes; at the next call, report that they have left the buffer."""
        if self._words:
            words, self._words = self._words, b""
            self._transport.write(words)
        else:
            self._transport.unregisterProducer()
            self._left()

    def stopProducing(self) -> None:
        """Do nothing: the stage learns of the loss from connectionLost."""


class Negotiation(LineReceiver, Stage):
    """
    A stage that drives one dialect, and opens when the server has agreed to TLS.

    It splits lines and counts bytes for the engine, which enforces all bounds.

    :cvar dialect: the dialect.
    """

    transport: Any

    #: LF, as some servers send it without CR; the engine removes a CR.
    delimiter = b"\n"
    #: A longer line goes to the engine before its end has come; the engine refuses it.
    MAX_LENGTH = LONGEST_LINE

    awaited = "STARTTLS"
    dialect: Dialect

    def __init__(self, host: str, *args: Any) -> None:
        """
        :param host: the name of the server, which some dialects send in clear; the
            other parameters are those of a stage.
        """
        super().__init__(*args)
        self._host = host
        self._conversation = Conversation(
            self._dialogue, f"the dialect {self.dialect.name}"
        )
        self._piece = b""

    def connectionMade(self) -> None:
        """Set the deadline, and start the dialogue."""
        Stage.connectionMade(self)
        self._follow(self._conversation.start())

    def lineReceived(self, line: bytes) -> None:
        """Give the engine the line for which it waits."""
        self._hear(line + self.delimiter, self.clearLineBuffer())

    def lineLengthExceeded(self, line: bytes) -> None:
        """Give the engine a line that is too long, which it refuses."""
        self._hear(line, b"")

    def rawDataReceived(self, data: bytes) -> None:
        """Give the engine the bytes for which it waits, once they are complete."""
        self._piece += data
        count = self._conversation.missing
        if len(self._piece) >= count:
            piece, rest = self._piece[:count], self._piece[count:]
            self._piece = b""
            self._hear(piece, rest)

    def loss_error(self, reason: Failure) -> Exception:
        """Return the error for a server that has closed the connection before TLS."""
        return Disconnected("the server closed the connection before TLS")

    def refuse(self, error: BaseException) -> None:
        """Drop the unread lines, abort the connection and fail ``ready``."""
        self.clearLineBuffer()
        super().refuse(error)

    def _dialogue(self) -> Dialogue:
        client = client_name(self.transport.getHost())
        return self.dialect.dialogue(Parameters(client, self._host))

    def _hear(self, said: bytes, unread: bytes) -> None:
        self._follow(self._conversation.hear(said, unread))

    def _follow(self, words: bytes) -> None:
        """Send the words of the engine, and act on its state."""
        conversation = self._conversation
        if conversation.state is State.DONE:
            self._agree(words, conversation.leftover)
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

    def _agree(self, words: bytes, leftover: bytes) -> None:
        """
        Open the connection for TLS, or refuse a leftover.

        :param words: the last request, if it has no answer (MySQL).  Some servers lose
            a ClientHello that comes in the segment of that request.
        :param leftover: the bytes that follow the go-ahead.
        """
        self.setRawMode()
        if leftover:
            message = "the server sent data in clear after agreeing to TLS"
            self.refuse(InjectedData(message, leftover))
        elif words:
            LastWords(self.transport, words, self.open).start()
        else:
            self.open()


@cache
def negotiation(name: str) -> type[Negotiation]:
    """
    Return the class of stages for a dialect, and import its module.

    :param name: the name of the dialect.
    :raises KeyError: if there is no such dialect.
    :raises SettingsError: if it cannot be used.
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
    Return an endpoint that connects once the server has agreed to start TLS.

    Wrap it only in :func:`twisted_tcpclient.endpoints.secured`: its connections are
    still in clear.

    :param dialect: the name of the dialect, such as "smtp".
    :param endpoint: makes the connections, in clear.
    :param clock: the reactor.
    :param timeout: for the whole dialogue, in seconds; None for no limit.
    :param host: the name of the server, which some dialects send in clear; the
        certificate is to be verified for the same name.
    :raises KeyError: if there is no such dialect.
    :raises SettingsError: if it cannot be used.
    """
    protocol = negotiation(dialect)

    def build(factory: IProtocolFactory, address: IAddress | None) -> Stage:
        return protocol(host, factory, address, clock, timeout)

    return StagedEndpoint(endpoint, build)

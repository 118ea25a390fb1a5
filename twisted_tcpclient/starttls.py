"""
STARTTLS: the dialogue in clear, and the moment at which it ends.

The rules here hold for every dialect.  What a server may say, and the time it
may take, are bounded.  Nothing is sent while something is still unread.  When the
server has agreed, the buffer must be empty: a TLS server never speaks first,
so whatever stands there was put in by someone else (CVE-2011-0411 seen from
the client), and the connection is given up, not cleaned up.  A dialect may come
from another package: what it does wrong is an error of its own kind, and ends the
connection, too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from twisted.internet.interfaces import (
    IAddress,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

from twisted_tcpclient.dialects import Bytes, Dialect, Line, Parameters, Send
from twisted_tcpclient.errors import (
    BadReply,
    DialectFailed,
    Disconnected,
    InjectedData,
    NegotiationFailed,
)
from twisted_tcpclient.registry import find
from twisted_tcpclient.report import fault
from twisted_tcpclient.stages import Stage, StagedEndpoint


def client_name(host: IAddress) -> bytes:
    """Our own address as an address literal (RFC 5321, 4.1.3)."""
    ip = getattr(host, "host", "")
    if ":" in ip:
        return b"[IPv6:%s]" % ip.partition("%")[0].encode("ascii")
    return b"[%s]" % ip.encode("ascii") if ip else b"localhost"


class Negotiation(LineReceiver, Stage):
    """Drives one dialect over a transport, then steps aside."""

    transport: Any

    # Lines end in CRLF; some servers are content with LF.
    delimiter = b"\n"
    #: The longest line, in bytes.  The RFCs allow 512 to 8192.
    MAX_LENGTH = 8192
    #: The most that a server, or a dialect, may say before TLS, in bytes.
    MAX_TOTAL = 65536

    awaited = "STARTTLS"
    dialect: Dialect

    def __init__(self, host: str, *args: Any) -> None:
        """:param host: the name of the server, for dialects that say it."""
        super().__init__(*args)
        self._host = host
        self._received = 0
        self._sent = 0
        self._wanted = 0
        self._piece = b""

    def connectionMade(self) -> None:
        """Begin the dialogue."""
        Stage.connectionMade(self)
        self._advance(self._begin)

    def _begin(self) -> object:
        client = client_name(self.transport.getHost())
        self._dialogue = self.dialect.dialogue(Parameters(client, self._host))
        return next(self._dialogue)

    def lineReceived(self, line: bytes) -> None:
        """Hand the dialect its line."""
        self._hear(line.removesuffix(b"\r"), len(line) + len(self.delimiter))

    def rawDataReceived(self, data: bytes) -> None:
        """Hand the dialect its bytes; what is more is left unread."""
        self._piece += data
        if len(self._piece) >= self._wanted:
            piece, rest = self._piece[: self._wanted], self._piece[self._wanted :]
            self._piece = b""
            self.setLineMode(rest)
            self._hear(piece, len(piece))

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line without end."""
        self.refuse(BadReply("the server sent a line that is too long"))

    def lost(self, reason: Failure) -> Exception:
        """The server, or the network, had enough of us."""
        return Disconnected("the server closed the connection before TLS")

    def _hear(self, said: bytes, length: int) -> None:
        """
        The server has said what the dialect waits for.

        :param length: of all that it is made of.
        """
        self._received += length
        if self._received > self.MAX_TOTAL:
            self.refuse(BadReply("the server speaks without end before TLS"))
        else:
            self._advance(lambda: self._dialogue.send(said))

    def _advance(self, step: Callable[[], object]) -> None:
        """Let the dialect take a step, and say what it says up to its next wait."""
        try:
            while self._follow(step()):
                step = lambda: next(self._dialogue)  # noqa: E731
        except StopIteration:
            self._finish()
        except NegotiationFailed as error:
            self.refuse(error)
        except Exception as error:
            failed = DialectFailed(f"{self._accused} has failed: {fault(error)}")
            failed.__cause__ = error
            self.refuse(failed)

    def _follow(self, said: object) -> bool:
        """Do what the dialect says; true if it did not say to wait."""
        match said:
            case Send(bytes(data)) if data:
                self._send(data)
                return True
            case Bytes(int(count)):
                self._await(count)
            case Line():
                pass
            case _:
                kind = type(said).__name__
                raise DialectFailed(f"{self._accused} yields what is no step: {kind}")
        return False

    def _send(self, data: bytes) -> None:
        """Say it, if nothing is unread, and unless it is without end."""
        self._require_silence("before it was asked")
        self._sent += len(data)
        if self._sent > self.MAX_TOTAL:
            raise DialectFailed(f"{self._accused} speaks without end before TLS")
        self.transport.write(data)

    @property
    def _accused(self) -> str:
        return f"the dialect {self.dialect.name}"

    def _await(self, count: int) -> None:
        """Wait for so many bytes, unless they are too many to wait for."""
        if count > self.MAX_TOTAL - self._received:
            raise BadReply("the server announced more than it may say before TLS")
        self._wanted = count
        self.setRawMode()

    def refuse(self, error: Exception) -> None:
        """Give up: what is still unread is never looked at."""
        self.clearLineBuffer()
        super().refuse(error)

    def _finish(self) -> None:
        """The server has agreed: nothing may follow in clear."""
        try:
            self._require_silence("in clear after agreeing to TLS")
        except InjectedData as error:
            self.refuse(error)
        else:
            self.open()

    def _require_silence(self, when: str) -> None:
        if self.clearLineBuffer():
            raise InjectedData(f"the server sent data {when}")


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

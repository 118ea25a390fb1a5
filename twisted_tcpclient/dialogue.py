"""
Dialogues before TLS, and the engine that drives them, without I/O.

A dialogue is a generator that reads like the transcript in its RFC.  It yields
:class:`Send` to send bytes; :data:`LINE` to wait for a line, which it receives without
the line end; :class:`Bytes` to wait for a number of bytes.  It returns when it has
succeeded, and raises a :class:`NegotiationFailed` otherwise.

:class:`Conversation` drives any dialogue.  It enforces the bounds, and refuses bytes
that the protocol does not let the server send before a :class:`Send`.  When the
dialogue returns, the bytes that it has not consumed are the leftover.  The caller
decides what the leftover means.

The failures of dialogues are defined here, as dialogues import no Twisted;
:mod:`twisted_tcpclient.errors` re-exports them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum

from twisted_tcpclient.text import fault, printable

#: The longest line, in bytes, without its LF.  The RFCs allow 512 to 8192.
LONGEST_LINE = 8192
#: The most that either side may send in a dialogue, in bytes.
MOST = 65536
#: The most bytes of unasked data that a message quotes.
QUOTED = 20


class TCPClientError(Exception):
    """
    The root of all errors of this package.

    :ivar peer: the server's address, as ``getPeer`` of the transport returned it; None
        if there was no connection yet.
    """

    peer: object | None = None


class NegotiationFailed(TCPClientError):
    """
    STARTTLS has failed.

    :ivar server_text: the server's words, unescaped, with the reply code if the
        protocol has codes.  They came in clear, so an attacker may have written them;
        escape them before they reach a terminal.
    """

    def __init__(self, message: str, server_text: bytes = b"") -> None:
        """
        :param message: the failure, without words of the server.
        :param server_text: the server's words.
        """
        super().__init__(message)
        self.server_text = server_text


class NotOffered(NegotiationFailed):
    """The server does not offer STARTTLS, or an attacker has removed the offer."""


class Refused(NegotiationFailed):
    """The server has refused the connection, or STARTTLS."""


class Preauthenticated(NegotiationFailed):
    """
    The server claims that the client is logged in (IMAP PREAUTH).

    IMAP allows STARTTLS only before the login (RFC 9051, 6.2).
    """


class InjectedData(NegotiationFailed):
    """Bytes came in clear where the protocol allows none, as from an attacker."""


class BadReply(NegotiationFailed):
    """The server does not speak the protocol, or exceeds the bounds."""


class DialectFailed(NegotiationFailed):
    """The dialect is at fault.  ``__cause__`` is the exception that it has raised."""


class Disconnected(NegotiationFailed):
    """The server closed the connection before the dialogue was over."""


@dataclass(frozen=True)
class Send:
    """
    The step that sends bytes.

    :ivar data: the bytes, one at least, line end included.
    :ivar unasked: a pattern that has to match all unread bytes: those that the server
        may have sent unasked before it reads ``data``, cut off at any byte.  The
        dialogue reads them after this step as if they had come later, so that the
        outcome does not depend on TCP segments.  None if no byte may be unread: a reply
        that comes before its command is forged.
    """

    data: bytes
    unasked: re.Pattern[bytes] | None = None


@dataclass(frozen=True)
class Line:
    """The step that waits for a line from the server."""


LINE = Line()


@dataclass(frozen=True)
class Bytes:
    """
    The step that waits for a number of bytes from the server.

    :ivar count: the number, one at least.
    :raises ValueError: if the number is less than one.
    """

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"nothing would come: {self.count}")


Step = Send | Line | Bytes
Dialogue = Generator[Step, bytes, None]


class State(Enum):
    """The states of a :class:`Conversation`: what it waits for."""

    NEW = "its start"
    LINE = "a line"
    BYTES = "bytes"
    DONE = "nothing: the dialogue has returned"
    FAILED = "nothing: the dialogue has failed"


class Conversation:
    """
    The engine that drives one dialogue.

    :meth:`receive` takes the bytes of the server in any segments.  :meth:`hear` takes
    one line or piece, from a caller that splits lines and counts bytes itself.  Both
    return the bytes to send, even if the dialogue fails after it has sent them.

    :ivar state: a :class:`State`.
    :ivar missing: the number of bytes to wait for if the state is BYTES; else 0.
    :ivar leftover: the bytes that have arrived after the last byte consumed.
    :ivar error: the failure if the state is FAILED; else None.
    """

    def __init__(
        self, begin: Callable[[], Dialogue], name: str, most: int = MOST
    ) -> None:
        """
        :param begin: makes the dialogue.
        :param name: the dialogue, for the message of a :class:`DialectFailed`.
        :param most: the most that either side may send, in bytes.
        """
        self.state = State.NEW
        self.missing = 0
        self.leftover = b""
        self.error: NegotiationFailed | None = None
        self._begin = begin
        self._name = name
        self._most = most
        self._received = 0
        self._sent = 0

    def start(self) -> bytes:
        """Run the dialogue up to its first wait, and return the bytes to send."""
        return self._advance(self._first)

    def receive(self, data: bytes) -> bytes:
        """
        Take bytes of the server, and return the bytes to send.

        :param data: one segment or more, cut anywhere.
        """
        if self.state is State.FAILED:
            return b""
        said = b""
        self.leftover += data
        while piece := self._piece():
            said += self.hear(piece, self.leftover[len(piece) :])
        return said

    def hear(self, said: bytes, unread: bytes) -> bytes:
        """
        Take one line or piece of the server, and return the bytes to send.

        :param said: in the state LINE a line with its LF, or more than LONGEST_LINE
            bytes of a line; in the state BYTES ``missing`` bytes.
        :param unread: all bytes that have arrived after ``said``.
        """
        self.leftover = unread
        self._received += len(said)
        if self.state is State.LINE:
            said = said.removesuffix(b"\n")
            if len(said) > LONGEST_LINE:
                return self._fail(BadReply("the server sent a line that is too long"))
            said = said.removesuffix(b"\r")
        elif self.state is not State.BYTES:
            return b""
        if self._received > self._most:
            return self._fail(BadReply("the server speaks without end before TLS"))
        return self._advance(lambda: self._dialogue.send(said))

    def _piece(self) -> bytes:
        """Return the next line or piece of the leftover; b"" if it is incomplete."""
        length = self.missing
        if self.state is State.LINE:
            length = self.leftover.find(b"\n") + 1
            if not length and len(self.leftover) > LONGEST_LINE:
                length = len(self.leftover)
        return self.leftover[:length] if length <= len(self.leftover) else b""

    def _first(self) -> Step:
        """Make the dialogue, and return its first step."""
        self._dialogue = self._begin()
        return next(self._dialogue)

    def _advance(self, step: Callable[[], Step]) -> bytes:
        """
        Run the dialogue up to its next wait, and return the bytes to send.

        :param step: runs the dialogue up to its next step.
        """
        said = b""
        self.missing = 0
        try:
            while isinstance(wanted := step(), Send):
                said += self._sendable(wanted)
                step = lambda: next(self._dialogue)  # noqa: E731
            self._await(wanted)
        except StopIteration:
            self.state = State.DONE
        except NegotiationFailed as error:
            self._fail(error)
        except Exception as error:
            failed = DialectFailed(f"{self._name} has failed: {fault(error)}")
            failed.__cause__ = error
            self._fail(failed)
        return said

    def _sendable(self, step: Send) -> bytes:
        """Return the bytes of a step, if the dialogue may send them now."""
        if not isinstance(step.data, bytes) or not step.data:
            raise self._no_step(step)
        if self.leftover and not (
            step.unasked and step.unasked.fullmatch(self.leftover)
        ):
            raise InjectedData(
                f"the server sent data before it was asked: {quoted(self.leftover)}",
                self.leftover,
            )
        self._sent += len(step.data)
        if self._sent > self._most:
            raise DialectFailed(f"{self._name} speaks without end before TLS")
        return step.data

    def _await(self, step: object) -> None:
        """Set the state for a step that waits, within the bounds."""
        match step:
            case Line():
                self.state = State.LINE
            case Bytes(int(count)):
                if count > self._most - self._received:
                    raise BadReply(
                        "the server announced more than it may say before TLS"
                    )
                self.state, self.missing = State.BYTES, count
            case _:
                raise self._no_step(step)

    def _no_step(self, value: object) -> DialectFailed:
        """Return the error for a value that a dialogue may not yield."""
        kind = type(value).__name__
        return DialectFailed(f"{self._name} yields what is no step: {kind}")

    def _fail(self, error: NegotiationFailed) -> bytes:
        """Record the error, drop the leftover, and return b"": nothing to send."""
        self.state, self.error = State.FAILED, error
        self.missing, self.leftover = 0, b""
        return b""


def quoted(data: bytes) -> str:
    """
    Return the beginning of the server's words, escaped, in double quotes.

    :param data: the words; "..." follows if they are longer than QUOTED.
    """
    more = "..." if len(data) > QUOTED else ""
    return f'"{printable(data[:QUOTED])}"{more}'

"""
Dialogues before TLS, and the engine that drives them, without I/O.

A dialogue is a generator that reads like the transcript in its RFC.  It yields
:class:`Send` to say something; :data:`LINE` to wait for a line, which it is sent
without its line end; :class:`Bytes` to wait for so many bytes.  It returns when it
has succeeded, and raises a :class:`NegotiationFailed` otherwise.

:class:`Conversation` drives any dialogue.  It enforces the bounds, refuses bytes that
the server may not have sent before a :class:`Send`, and ends with a leftover: the
bytes after the last one that the dialogue has consumed.  The caller decides what the
leftover means.

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
#: The most that either side may say in a dialogue, in bytes.
MOST = 65536
#: How much of what came unasked is quoted in a message, in bytes.
QUOTED = 20


class TCPClientError(Exception):
    """
    The root of all errors of this package.

    :ivar peer: the Twisted address of the connection the error is about, or
        None where there was no connection yet.
    """

    peer: object | None = None


class NegotiationFailed(TCPClientError):
    """
    STARTTLS has failed.

    :ivar server_text: what the server said, unauthenticated and unescaped,
        with its reply code where it has one.  It may come from an attacker
        and must not reach a terminal as it is.
    """

    def __init__(self, message: str, server_text: bytes = b"") -> None:
        """
        :param message: in our own words.
        :param server_text: the server's words.
        """
        super().__init__(message)
        self.server_text = server_text


class NotOffered(NegotiationFailed):
    """The server does not offer STARTTLS; an attacker may have hidden it."""


class Refused(NegotiationFailed):
    """The server said no: to the connection, or to STARTTLS."""


class Preauthenticated(NegotiationFailed):
    """The server claims that we are logged in: STARTTLS is not possible then."""


class InjectedData(NegotiationFailed):
    """Bytes came in clear where none may come: an attacker may have sent them."""


class BadReply(NegotiationFailed):
    """The server does not speak the protocol, or speaks without end."""


class DialectFailed(NegotiationFailed):
    """The dialect itself is at fault; its own error is the ``__cause__``."""


class Disconnected(NegotiationFailed):
    """The connection was closed in the middle of the dialogue."""


@dataclass(frozen=True)
class Send:
    """
    Bytes to be sent.

    :ivar data: all of them, one at least, line end included.
    :ivar unasked: matches, as a whole, all that the server may have sent unasked by
        now, cut off at any byte.  These bytes stay unread, and are read after this
        step as if they had come later, so that the outcome does not depend on TCP
        segments.  None if no byte may be unread: a reply that comes before its
        command is forged.
    """

    data: bytes
    unasked: re.Pattern[bytes] | None = None


@dataclass(frozen=True)
class Line:
    """The step that waits for one more line from the server."""


LINE = Line()


@dataclass(frozen=True)
class Bytes:
    """
    The step that waits for exactly so many bytes from the server.

    :ivar count: how many, one at least.
    """

    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"nothing would come: {self.count}")


Step = Send | Line | Bytes
Dialogue = Generator[Step, bytes, None]


class State(Enum):
    """What a conversation waits for."""

    NEW = "its start"
    LINE = "a line"
    BYTES = "bytes"
    DONE = "nothing: the dialogue has returned"
    FAILED = "nothing: the dialogue has failed"


class Conversation:
    """
    The engine that drives one dialogue.

    Give it the bytes of the server: :meth:`receive` takes them in any segments,
    :meth:`hear` takes what the state asks for from a caller that splits lines and
    counts bytes itself.  Both return the bytes to send, even if the conversation
    fails after them.

    :ivar state: what the conversation waits for.
    :ivar missing: how many bytes, if the state is BYTES; else 0.
    :ivar leftover: all bytes that have arrived after the last byte consumed.
    :ivar error: why the conversation has failed, if the state is FAILED.
    """

    def __init__(
        self, begin: Callable[[], Dialogue], name: str, most: int = MOST
    ) -> None:
        """
        :param begin: makes the dialogue.
        :param name: names the dialogue in a :class:`DialectFailed`.
        :param most: how much either side may say, in bytes.
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
        """Run the dialogue up to its first wait, and return what it sends."""
        return self._advance(self._first)

    def receive(self, data: bytes) -> bytes:
        """
        Take bytes as they arrive, and return what is to be sent now.

        :param data: in any segments.
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
        Take what the state asks for, and return what is to be sent now.

        :param said: a line with its LF, or ``missing`` bytes.  A line that is
            longer than LONGEST_LINE needs no LF.
        :param unread: all bytes that have arrived after it.
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
        """Return the next line or bytes if they are complete; else nothing."""
        length = self.missing
        if self.state is State.LINE:
            length = self.leftover.find(b"\n") + 1
            if not length and len(self.leftover) > LONGEST_LINE:
                length = len(self.leftover)
        return self.leftover[:length] if length <= len(self.leftover) else b""

    def _first(self) -> Step:
        self._dialogue = self._begin()
        return next(self._dialogue)

    def _advance(self, step: Callable[[], Step]) -> bytes:
        """Run the dialogue up to its next wait, and return what it sends."""
        said = b""
        self.missing = 0
        try:
            while isinstance(wish := step(), Send):
                said += self._say(wish)
                step = lambda: next(self._dialogue)  # noqa: E731
            self._await(wish)
        except StopIteration:
            self.state = State.DONE
        except NegotiationFailed as error:
            self._fail(error)
        except Exception as error:
            failed = DialectFailed(f"{self._name} has failed: {fault(error)}")
            failed.__cause__ = error
            self._fail(failed)
        return said

    def _say(self, wish: Send) -> bytes:
        """Check that the dialogue may send now, and return the bytes."""
        if not isinstance(wish.data, bytes) or not wish.data:
            raise self._no_step(wish)
        if self.leftover and not (
            wish.unasked and wish.unasked.fullmatch(self.leftover)
        ):
            raise InjectedData(
                f"the server sent data before it was asked: {quoted(self.leftover)}",
                self.leftover,
            )
        self._sent += len(wish.data)
        if self._sent > self._most:
            raise DialectFailed(f"{self._name} speaks without end before TLS")
        return wish.data

    def _await(self, wish: object) -> None:
        """Set the state for a line, or for bytes within the bounds."""
        match wish:
            case Line():
                self.state = State.LINE
            case Bytes(int(count)):
                if count > self._most - self._received:
                    raise BadReply(
                        "the server announced more than it may say before TLS"
                    )
                self.state, self.missing = State.BYTES, count
            case _:
                raise self._no_step(wish)

    def _no_step(self, wish: object) -> DialectFailed:
        kind = type(wish).__name__
        return DialectFailed(f"{self._name} yields what is no step: {kind}")

    def _fail(self, error: NegotiationFailed) -> bytes:
        """Record the error, drop the leftover, and return nothing to send."""
        self.state, self.error = State.FAILED, error
        self.missing, self.leftover = 0, b""
        return b""


def quoted(data: bytes) -> str:
    """Return the beginning of what a server said, escaped, in double quotes."""
    more = "..." if len(data) > QUOTED else ""
    return f'"{printable(data[:QUOTED])}"{more}'

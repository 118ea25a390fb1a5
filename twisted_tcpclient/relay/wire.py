"""
Wires: the connections that a relay reads and writes.

:class:`Clear` and :class:`Secure` use a socket without a Twisted transport, so that no
byte passes through the buffers of a transport.
:class:`twisted_tcpclient.relay.lent.Lent` uses a transport.
"""

from __future__ import annotations

import socket
import typing
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from struct import pack
from typing import Any

from twisted_tcpclient.relay.access import Read, write_nowhere, write_to
from twisted_tcpclient.relay.descriptors import CHUNK
from twisted_tcpclient.relay.endings import cut_short, has_refused, within_message
from twisted_tcpclient.relay.movers import Copy, Mover, Withheld, mover
from twisted_tcpclient.relay.queues import outstanding
from twisted_tcpclient.relay.watch import Call, Polled, Prompted, Watch

#: Sends records of TLS itself.  The second argument is whether they hold input that
#: TLS had withheld.
Reply = Callable[[bytes, bool], None]


class Wire(typing.Protocol):
    """
    A connection that a relay reads and writes.

    :ivar secure: whether it is TLS.
    """

    secure: bool

    def start(self) -> None:
        """Prepare the connection for being read and written."""

    def watch(self, reactor: Any, readable: Call, writable: Call) -> Watch:
        """Return a watch that calls when bytes have come, and when more can be sent."""

    def receiving(self, sink: int, reply: Reply) -> Mover:
        """
        Return the mover from the server to a descriptor.

        :param reply: called with the records that TLS has to send in reply.
        """

    def sending(self, source: int | None, read: Read) -> Mover:
        """
        Return the mover to the server.

        :param source: the descriptor that ``read`` reads; None if ``read`` translates
            the bytes, so that the kernel must not move them.
        """

    def end(self) -> bytes:
        """
        Tell the server that no more will be sent.

        :returns: close_notify, if the caller has to send it; b"" if there is nothing to
            send.
        """

    def break_off(self) -> None:
        """Shut down both directions; bytes that have come already can still be read."""

    def hang_up(self) -> None:
        """Send FIN, over TLS as well."""

    def refused(self) -> bool:
        """Return whether a RST has come, even after the server's FIN."""

    def unsent(self) -> int:
        """Return how many bytes are unacknowledged, as far as the kernel reports it."""

    def close(self, then: Callable[[], None]) -> None:
        """Close in order, and call ``then`` once the connection is closed."""

    def leave(self) -> None:
        """Close without waiting for the server to close."""

    def abort(self) -> None:
        """Close with a RST, if the connection is open."""


class Clear:
    """
    A connection in clear: a socket that only this process uses.

    :ivar secure: False.
    """

    secure = False

    def __init__(self, connected: socket.socket) -> None:
        """:param connected: a connected socket in non-blocking mode."""
        self._socket = connected

    def start(self) -> None:
        """Set SO_OOBINLINE: else recv(2) leaves urgent data out (RFC 6093, 3.3)."""
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)

    def watch(self, reactor: Any, readable: Call, writable: Call) -> Watch:
        """Return a watch of the socket."""
        return Polled(reactor, self._socket.fileno(), readable, writable)

    def receiving(self, sink: int, reply: Reply) -> Mover:
        """Return the fastest mover from the socket; nothing has to be replied."""
        copy = Copy(self._receive, write_to(sink))
        return mover(self._socket.fileno(), sink, copy)

    def sending(self, source: int | None, read: Read) -> Mover:
        """Return the fastest mover to the socket."""
        copy = Copy(read, write_to(self._socket.fileno()))
        return copy if source is None else mover(source, self._socket.fileno(), copy)

    def end(self) -> bytes:
        """Send FIN, and return b""."""
        self._shut(socket.SHUT_WR)
        return b""

    def break_off(self) -> None:
        """Shut down both directions of the socket."""
        self._shut(socket.SHUT_RDWR)

    def hang_up(self) -> None:
        """Send FIN."""
        self._shut(socket.SHUT_WR)

    def refused(self) -> bool:
        """Return whether a RST has come, even after the server's FIN."""
        return has_refused(self._socket)

    def unsent(self) -> int:
        """Return how many bytes are unacknowledged; a FIN counts as one."""
        return outstanding(self._socket.fileno())

    def close(self, then: Callable[[], None]) -> None:
        """Shut down and close the socket, and call ``then``."""
        self._shut(socket.SHUT_RDWR)
        self._socket.close()
        then()

    def leave(self) -> None:
        """Close the socket."""
        self._socket.close()

    def abort(self) -> None:
        """Close the socket with a RST, if it is open."""
        if self._socket.fileno() >= 0:
            linger = pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._socket.close()

    def _shut(self, how: int) -> None:
        with suppress(OSError):
            self._socket.shutdown(how)

    def _receive(self) -> list[bytes]:
        """Read from the socket; raise EOFError at the end."""
        data = self._socket.recv(CHUNK)
        if not data:
            raise EOFError
        return [data]


class Records(typing.Protocol):
    """
    The records of an established TLS session, without I/O.

    See :class:`twisted_tcpclient.tls.records.Records`.
    """

    ended: Exception | None
    kept: bytes

    def decrypt(self, data: bytes) -> list[bytes]:
        """Return the plaintext that can be read after these bytes, in pieces."""

    def encrypt(self, data: bytes) -> bytes:
        """Return the records for plaintext; b"" as long as it is kept."""

    def close_notify(self) -> bytes:
        """Return the record of close_notify; b"" if it comes with ``pending``."""

    def pending(self) -> bytes:
        """Return the bytes that TLS has to send."""


class Secure:
    """
    A connection over TLS: records over a socket.

    :ivar secure: True.
    """

    secure = True

    def __init__(
        self, connected: socket.socket, records: Records, early: list[bytes]
    ) -> None:
        """
        :param connected: a connected socket in non-blocking mode.
        :param early: plaintext that has come already, in pieces.
        """
        self._socket = connected
        self._clear = Clear(connected)
        self._records = records
        self._early = early

    def start(self) -> None:
        """Prepare the socket, as :meth:`Clear.start` does."""
        self._clear.start()

    def watch(self, reactor: Any, readable: Call, writable: Call) -> Watch:
        """Return a watch of the socket."""
        return self._clear.watch(reactor, readable, writable)

    def receiving(self, sink: int, reply: Reply) -> Mover:
        """Return a mover that decrypts records and writes their plaintext."""
        read = partial(self._decrypted, reply)
        return Copy(read, write_to(sink), self._early)

    def sending(self, source: int | None, read: Read) -> Mover:
        """Return a mover that sends the rest of a handshake, then encrypted input."""
        left = self._records.pending()
        write = write_to(self._socket.fileno())
        return Copy(partial(self._encrypted, read), write, [left] if left else [])

    def end(self) -> bytes:
        """
        Return close_notify, as FIN alone would mean truncation.

        :returns: b"" while TLS withholds input: ``reply`` of :meth:`receiving` is later
            called with the records of that input and close_notify.
        """
        return self._records.close_notify()

    def break_off(self) -> None:
        """Shut down both directions of the socket, as :meth:`Clear.break_off` does."""
        self._clear.break_off()

    def hang_up(self) -> None:
        """Send FIN below TLS."""
        self._clear.hang_up()

    def refused(self) -> bool:
        """Return whether a RST has come, even after the server's FIN."""
        return self._clear.refused()

    def unsent(self) -> int:
        """Return how many bytes of records are unacknowledged."""
        return self._clear.unsent()

    def close(self, then: Callable[[], None]) -> None:
        """Close the socket, as :meth:`Clear.close` does."""
        self._clear.close(then)

    def leave(self) -> None:
        """Close the socket, as :meth:`Clear.leave` does."""
        self._clear.leave()

    def abort(self) -> None:
        """Close the socket with a RST, as :meth:`Clear.abort` does."""
        self._clear.abort()

    def _encrypted(self, read: Read) -> list[bytes]:
        """
        Read plaintext, and return its records.

        :raises Withheld: while TLS keeps the plaintext: OpenSSL has a part of a
            handshake message, and encrypts nothing before the rest comes.
        """
        if not self._records.kept:
            records = self._records.encrypt(*read())
        if self._records.kept:
            raise Withheld
        return [records]

    def _decrypted(self, reply: Reply) -> list[bytes]:
        """Read records, and return their plaintext; let TLS reply to them."""
        ended = self._records.ended
        if ended is not None:
            raise ended
        data = self._socket.recv(CHUNK)
        if not data:
            raise within_message() if self._records.kept else cut_short()
        withheld = bool(self._records.kept)
        pieces = self._records.decrypt(data)
        if self._records.ended is not None:
            # The socket has to become readable once more, so that ``ended`` is raised.
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RD)
        records = self._records.pending()
        if records:
            reply(records, withheld and not self._records.kept)
        return pieces


class Ended:
    """
    A connection that has ended before the relay began, with its last bytes.

    :ivar secure: False: close_notify cannot be sent any more.
    """

    secure = False

    def __init__(self, early: list[bytes], error: Exception | None) -> None:
        """
        :param early: bytes that have come before the end, in pieces.
        :param error: the reason of the end; None for an orderly one.
        """
        self._early = early
        self._error = error or EOFError()

    def start(self) -> None:
        """Do nothing: the connection is closed."""

    def watch(self, reactor: Any, readable: Call, writable: Call) -> Watch:
        """Return a watch that always calls: the end can be read at any time."""
        watch = Prompted(reactor, lambda: (True, True), lambda wanted: None)
        watch.calls(readable, writable)
        return watch

    def receiving(self, sink: int, reply: Reply) -> Mover:
        """Return a copy of the last bytes, with the end behind them."""
        return Copy(self._raise_end, write_to(sink), self._early)

    def sending(self, source: int | None, read: Read) -> Mover:
        """Return a mover that takes no input."""
        return Copy(self._withhold, write_nowhere)

    def end(self) -> bytes:
        """Return b"": nothing can be sent to the server any more."""
        return b""

    def break_off(self) -> None:
        """Do nothing: the connection is closed."""

    def hang_up(self) -> None:
        """Do nothing: the connection is closed."""

    def refused(self) -> bool:
        """Return False: no input was sent that the server could have refused."""
        return False

    def unsent(self) -> int:
        """Return 0: no byte was sent."""
        return 0

    def close(self, then: Callable[[], None]) -> None:
        """Call ``then`` at once."""
        then()

    def leave(self) -> None:
        """Do nothing: the connection is closed."""

    def abort(self) -> None:
        """Do nothing: the connection is closed."""

    def _raise_end(self) -> list[bytes]:
        """Raise EOFError, or the error with which the connection has ended."""
        raise self._error

    def _withhold(self) -> list[bytes]:
        """Raise Withheld, so that the reactor does not report unread input for ever."""
        raise Withheld

"""
Wires: connections as a relay uses them, to be read and written by pumps.

These are sockets that are ours alone: bytes move as fast as the kernel and OpenSSL
can move them, without a transport's buffers.
"""

from __future__ import annotations

import socket
import typing
from collections.abc import Callable
from contextlib import suppress
from struct import pack
from typing import Any

from twisted_tcpclient.relay.descriptors import CHUNK, Read, Watch, outstanding
from twisted_tcpclient.relay.endings import cut_short, has_refused, within_message
from twisted_tcpclient.relay.movers import Copy, Mover, Withheld, mover, writer


class Records(typing.Protocol):
    """What makes records of TLS: :class:`twisted_tcpclient.tls.records.Records`."""

    ended: Exception | None
    kept: bytes

    def decrypt(self, data: bytes) -> list[bytes]:
        """Return the clear text that can be read once these bytes have come."""

    def encrypt(self, data: bytes) -> bytes:
        """Return the records for clear text; none as long as it is kept."""

    def close_notify(self) -> bytes:
        """Return close_notify as a record."""

    def pending(self) -> bytes:
        """What TLS has to send."""


class Clear:
    """
    A connection in clear that is ours alone.

    :ivar secure: whether this is TLS.
    """

    secure = False

    def __init__(self, connected: socket.socket) -> None:
        """:param connected: does not block."""
        self._socket = connected
        with suppress(OSError):
            # recv(2) leaves urgent data out otherwise (RFC 6093, 3.3).
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)

    def fileno(self) -> int:
        """The socket's descriptor, -1 once it is closed."""
        return self._socket.fileno()

    def watch(
        self,
        reactor: Any,
        readable: Callable[[], None],
        writable: Callable[[], None],
    ) -> Watch:
        """What tells when something has come, and when more can be sent."""
        return Watch(reactor, self.fileno(), readable, writable)

    def download(self, sink: int, fast: bool) -> Mover:
        """What moves what comes to that descriptor."""
        copy = Copy(self._receive, writer(sink))
        return mover(self.fileno(), sink, copy) if fast else copy

    def upload(self, source: int, read: Read, fast: bool) -> Mover:
        """What sends what is read."""
        copy = Copy(read, writer(self.fileno()))
        return mover(source, self.fileno(), copy) if fast else copy

    def on_reply(self, push: Callable[[bytes, bool], None]) -> None:
        """
        Have that called with what is to be sent though nobody asked for it, and with
        whether that holds input.
        """

    def end(self) -> None:
        """Tell the server that no more will be sent."""
        self._shut(socket.SHUT_WR)

    def break_off(self) -> None:
        """Let nothing more come than what has come."""
        self._shut(socket.SHUT_RDWR)

    def hang_up(self) -> None:
        """Send FIN, below TLS too."""
        self._shut(socket.SHUT_WR)

    def refused(self) -> bool:
        """Return whether a RST has come, even after the server's FIN."""
        return has_refused(self._socket)

    def unsent(self) -> int:
        """How many bytes the kernel still holds for the peer, where it tells."""
        return outstanding(self.fileno())

    def close(self, then: Callable[[], None]) -> None:
        """Close in good order, and call that once it is done."""
        self._shut(socket.SHUT_RDWR)
        self._socket.close()
        then()

    def leave(self) -> None:
        """Close without waiting for the server to close."""
        self._socket.close()

    def abort(self) -> None:
        """Close with a reset, if it is open."""
        if self.fileno() >= 0:
            linger = pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._socket.close()

    def _shut(self, how: int) -> None:
        with suppress(OSError):
            self._socket.shutdown(how)

    def _receive(self) -> list[bytes]:
        """Read from the socket."""
        data = self._socket.recv(CHUNK)
        if not data:
            raise EOFError
        return [data]


Wire = Clear


class Secure(Clear):
    """A connection over TLS."""

    secure = True

    def __init__(
        self, connected: socket.socket, records: Records, early: list[bytes]
    ) -> None:
        """:param early: what has come already."""
        super().__init__(connected)
        self._records = records
        self._early = early
        self._push: Callable[[bytes, bool], None] = lambda data, released: None

    def download(self, sink: int, fast: bool) -> Mover:
        """What moves what comes to that descriptor, decrypted."""
        return Copy(self._decrypted, writer(sink), self._early)

    def upload(self, source: int, read: Read, fast: bool) -> Mover:
        """Return a copy that encrypts, and first sends the rest of a handshake."""
        left = self._records.pending()
        return Copy(
            lambda: [self._encrypted(read)],
            writer(self.fileno()),
            [left] if left else [],
        )

    def _encrypted(self, read: Read) -> bytes:
        """
        Read clear text, and return it as records.

        :raises Withheld: while TLS keeps what was read; see :class:`Records` of
            :mod:`twisted_tcpclient.tls.records`.
        """
        if not self._records.kept:
            records = self._records.encrypt(*read())
        if self._records.kept:
            raise Withheld
        return records

    def on_reply(self, push: Callable[[bytes, bool], None]) -> None:
        """Have that called with what TLS has to say, and with withheld input."""
        self._push = push

    def end(self) -> None:
        """Send close_notify: FIN alone would mean truncation."""
        self._say(self._records.close_notify())

    def _decrypted(self) -> list[bytes]:
        """Read from the socket."""
        ended = self._records.ended
        if ended is not None:
            raise ended
        data = self._socket.recv(CHUNK)
        if not data:
            raise within_message() if self._records.kept else cut_short()
        withheld = bool(self._records.kept)
        pieces = self._records.decrypt(data)
        if self._records.ended is not None:
            # Nothing else may make it readable again, to be asked for the end.
            self._shut(socket.SHUT_RD)
        released = withheld and not self._records.kept
        self._say(self._records.pending(), released)
        return pieces

    def _say(self, records: bytes, released: bool = False) -> None:
        """
        Push records to the server, if there are any.

        :param released: whether they hold input that was withheld.
        """
        if records:
            self._push(records, released)


class Ended(Clear):
    """What a connection has left behind."""

    def __init__(self, early: list[bytes], error: Exception | None) -> None:
        """
        :param early: what has come.
        :param error: how it ended.
        """
        ours, theirs = socket.socketpair()
        theirs.close()
        super().__init__(ours)
        self._early = early
        self._error = error or EOFError()

    def download(self, sink: int, fast: bool) -> Mover:
        """What has come, and then the end."""
        return Copy(self._fail, writer(sink), self._early)

    def upload(self, source: int, read: Read, fast: bool) -> Mover:
        """Nothing will be sent."""
        return Copy(self._withhold, writer(self.fileno()))

    def _fail(self) -> list[bytes]:
        raise self._error

    def _withhold(self) -> list[bytes]:
        # Input that waits would be found readable for ever.
        raise Withheld

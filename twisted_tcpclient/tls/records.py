"""
The records of an established session.
"""

from __future__ import annotations

from contextlib import suppress

from OpenSSL import SSL

from twisted_tcpclient.endings import within_message
from twisted_tcpclient.tls.reasons import broken

#: Bytes in a record.
_RECORD = 2**14

#: Bytes of records that are fetched at a time: no less than encrypt gives.
_PENDING = 17 * _RECORD


class Records:
    """
    An established session: clear text into records and back, without I/O.

    While a message of the handshake has come in part, as a ticket of TLS 1.3 that
    begins in one record and ends in another, OpenSSL encrypts nothing.  What is to
    be sent is kept then, and comes out of :meth:`pending` once :meth:`decrypt` was
    given the rest.

    :ivar ended: why nothing more can be decrypted: EOFError after close_notify,
        or what is wrong; None before the end.
    :ivar kept: clear text that was given to :meth:`encrypt`, and waits.
    """

    def __init__(self, connection: SSL.Connection) -> None:
        """:param connection: one without a socket, its handshake done."""
        self._connection = connection
        self._closing = False
        self.ended: Exception | None = None
        self.kept = b""

    def decrypt(self, data: bytes) -> list[bytes]:
        """All that can be read once these bytes have come."""
        self._connection.bio_write(data)
        receive = self._connection.recv
        pieces: list[bytes] = []
        try:
            while True:
                pieces.append(receive(_RECORD))
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            self.ended = self._end(error)
        if self.kept or self._closing:
            self._catch_up()
        if self.kept and isinstance(self.ended, EOFError):
            self.ended = within_message()
        return pieces

    def encrypt(self, data: bytes) -> bytes:
        """
        The records for that; none as long as it is kept.

        :param data: nothing while something is kept: there is no bound to that here.
        :raises ConnectionBroken: if TLS has failed.
        """
        try:
            self._send(data)
        except SSL.Error as error:
            raise broken(error) from None
        return self.pending()

    def close_notify(self) -> bytes:
        """
        What tells the server that nothing more will be sent; it comes after what is
        kept.
        """
        self._closing = True
        self._catch_up()
        return self.pending()

    def pending(self) -> bytes:
        """What TLS has to send."""
        pieces: list[bytes] = []
        with suppress(SSL.WantReadError):
            while not pieces or len(pieces[-1]) == _PENDING:
                pieces.append(self._connection.bio_read(_PENDING))
        return b"".join(pieces)

    def _end(self, error: SSL.Error) -> Exception:
        """What an error that OpenSSL reads means."""
        closed = self._connection.get_shutdown() & SSL.RECEIVED_SHUTDOWN
        # It calls close_notify an error of the system's where user_canceled has
        # come before (RFC 8446, 6.1).
        if isinstance(error, SSL.ZeroReturnError) or (
            closed and isinstance(error, SSL.SysCallError)
        ):
            return EOFError()
        return broken(error)

    def _send(self, data: bytes) -> None:
        """Encrypt, or keep: what OpenSSL has not taken it wants to have once more."""
        self.kept = data
        # It asks for more before it has taken any: sendall reads nothing, so that no
        # message begins to come within it.
        with suppress(SSL.WantReadError):
            self._connection.sendall(data)
            self.kept = b""

    def _catch_up(self) -> None:
        """Encrypt what was kept, and say close_notify if that is wanted."""
        # A session that has failed says so where it is read.
        with suppress(SSL.Error):
            if self.kept:
                self._send(self.kept)
            if self._closing and not self.kept:
                self._connection.shutdown()
                self._closing = False

"""
The records of an established session.
"""

from __future__ import annotations

from contextlib import suppress

from OpenSSL import SSL

from twisted_tcpclient.tls.reasons import broken

#: Bytes in a record.
_RECORD = 2**14

#: Bytes of records that are fetched at a time: no less than encrypt gives.
_PENDING = 17 * _RECORD


class Records:
    """
    An established session: clear text into records and back, without I/O.

    :ivar ended: why nothing more can be decrypted: EOFError after close_notify,
        or what is wrong; None before the end.
    """

    def __init__(self, connection: SSL.Connection) -> None:
        """:param connection: one without a socket, its handshake done."""
        self._connection = connection
        self.ended: Exception | None = None

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
        except SSL.ZeroReturnError:
            self.ended = EOFError()
        except SSL.Error as error:
            self.ended = broken(error)
        return pieces

    def encrypt(self, data: bytes) -> bytes:
        """
        The records for that.

        :raises ConnectionBroken: if TLS has failed.
        """
        try:
            self._connection.sendall(data)
        except SSL.Error as error:
            raise broken(error) from None
        return self.pending()

    def close_notify(self) -> bytes:
        """What tells the server that nothing more will be sent."""
        with suppress(SSL.Error):
            self._connection.shutdown()
        return self.pending()

    def pending(self) -> bytes:
        """What TLS has to send."""
        pieces: list[bytes] = []
        with suppress(SSL.WantReadError):
            while not pieces or len(pieces[-1]) == _PENDING:
                pieces.append(self._connection.bio_read(_PENDING))
        return b"".join(pieces)

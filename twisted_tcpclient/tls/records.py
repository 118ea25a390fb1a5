"""
The TLS records of an established session.
"""

from __future__ import annotations

from contextlib import suppress

from OpenSSL import SSL

from twisted_tcpclient.errors import WITHIN_MESSAGE, ConnectionBroken
from twisted_tcpclient.tls.reasons import broken

#: The most bytes of plaintext in a record (RFC 8446, 5.1).
_RECORD = 2**14

#: The most bytes of one BIO_read(): more than the records of 256 KiB of plaintext.
_PENDING = 17 * _RECORD


class Records:
    """
    An established session: plaintext into records and back, without I/O.

    OpenSSL encrypts nothing while it has only a part of a handshake message, such as a
    TLS 1.3 ticket that begins in one record and ends in another.  Plaintext to be sent
    is kept meanwhile.  Once :meth:`decrypt` gets the rest of the message,
    :meth:`pending` returns the records of the kept plaintext.

    :ivar ended: why nothing more can be decrypted: EOFError after close_notify,
        ConnectionBroken after a failure; None before the end.
    :ivar kept: plaintext that was given to :meth:`encrypt` and is not encrypted yet.
    """

    def __init__(self, connection: SSL.Connection) -> None:
        """:param connection: has no socket, and has completed its handshake."""
        self._connection = connection
        self._closing = False
        self.ended: Exception | None = None
        self.kept = b""

    def decrypt(self, data: bytes) -> list[bytes]:
        """Decrypt the server's next bytes; return the plaintext of complete records."""
        self._connection.bio_write(data)
        receive = self._connection.recv
        pieces: list[bytes] = []
        try:
            while True:
                pieces.append(receive(_RECORD))
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            self.ended = self._meaning(error)
        if self.kept or self._closing:
            self._catch_up()
        if self.kept and isinstance(self.ended, EOFError):
            self.ended = ConnectionBroken(WITHIN_MESSAGE)
        return pieces

    def encrypt(self, data: bytes) -> bytes:
        """
        Encrypt plaintext, and return the records: none if the plaintext is kept.

        Do not call this while ``kept`` is not empty: the new plaintext would replace
        the kept one.

        :raises ConnectionBroken: if TLS has failed.
        """
        try:
            self._encrypt(data)
        except SSL.Error as error:
            raise broken(error) from None
        return self.pending()

    def close_notify(self) -> bytes:
        """
        Return the record of close_notify; b"" if plaintext is kept, as :meth:`pending`
        then returns that record later.
        """
        self._closing = True
        self._catch_up()
        return self.pending()

    def pending(self) -> bytes:
        """Return the records that are to be sent."""
        pieces: list[bytes] = []
        with suppress(SSL.WantReadError):
            while not pieces or len(pieces[-1]) == _PENDING:
                pieces.append(self._connection.bio_read(_PENDING))
        return b"".join(pieces)

    def _meaning(self, error: SSL.Error) -> Exception:
        """Return what an error of SSL_read() means for the session."""
        closed = self._connection.get_shutdown() & SSL.RECEIVED_SHUTDOWN
        # After user_canceled (RFC 8446, 6.1) OpenSSL reports close_notify as
        # SSL_ERROR_SYSCALL.
        if isinstance(error, SSL.ZeroReturnError) or (
            closed and isinstance(error, SSL.SysCallError)
        ):
            return EOFError()
        return broken(error)

    def _encrypt(self, data: bytes) -> None:
        """Encrypt plaintext, or keep it until SSL_write() can be repeated."""
        self.kept = data
        # WantReadError means that no byte was encrypted: sendall() reads no records, so
        # that the state of OpenSSL does not change within it.
        with suppress(SSL.WantReadError):
            self._connection.sendall(data)
            self.kept = b""

    def _catch_up(self) -> None:
        """Encrypt the kept plaintext, and then close_notify if it is due."""
        # An SSL.Error is ignored, because decrypt() reports that the session failed.
        with suppress(SSL.Error):
            if self.kept:
                self._encrypt(self.kept)
            if self._closing and not self.kept:
                self._connection.shutdown()
                self._closing = False

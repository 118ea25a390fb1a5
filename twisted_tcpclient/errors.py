"""
The errors of this package, all below :class:`TCPClientError`.

The text of an error consists of words of this package, addresses, and escaped text of a
certificate or of at most 20 bytes that a server sent unasked.  The reply of a server
before TLS, which is not authenticated, is in ``server_text``.

The base class and the errors of dialogues are defined in
:mod:`twisted_tcpclient.dialogue`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twisted_tcpclient.dialogue import (
    BadReply,
    DialectFailed,
    Disconnected,
    InjectedData,
    NegotiationFailed,
    NotOffered,
    Preauthenticated,
    Refused,
    TCPClientError,
)

__all__ = [
    "AddressNotFound",
    "Attempt",
    "BadReply",
    "ConnectFailed",
    "ConnectionBroken",
    "CutShort",
    "DescriptionError",
    "DialectFailed",
    "Disconnected",
    "HandshakeFailed",
    "InjectedData",
    "LeftUnsent",
    "LocalFailure",
    "LookupFailed",
    "NameMismatch",
    "NegotiationFailed",
    "NotOffered",
    "Preauthenticated",
    "Refused",
    "SettingsError",
    "TCPClientError",
    "TLSFailed",
    "TimedOut",
    "VerificationFailed",
]

#: The likely reason for a failure if the server asked for a client certificate and the
#: settings name none.
NO_CERTIFICATE = "the server asked for a client certificate (-n)"

#: The server closed the connection after only a part of a handshake message of TLS.
WITHIN_MESSAGE = "TLS failed: the server closed the connection within a message"


class SettingsError(TCPClientError):
    """A file or a value that the user named cannot be used."""


class DescriptionError(TCPClientError):
    """A description of an endpoint (``-E``) cannot be parsed."""


class AddressNotFound(TCPClientError):
    """The host has no address."""


class LookupFailed(TCPClientError):
    """The look-up of the host failed, or took too long; it may succeed later."""


@dataclass(frozen=True)
class Attempt:
    """
    An address that could not be connected to.

    :ivar address: the address in words: "127.0.0.1 port 25", or "host
        mail.example.org ip 192.0.2.1 port 25", or "socket /run/smtp".
    :ivar reason: why, in lower case: "connection refused".
    """

    address: str
    reason: str


class ConnectFailed(TCPClientError):
    """
    No address could be connected to.

    :ivar attempts: one for each address, in the order of their failures.
    """

    def __init__(self, attempts: Sequence[Attempt]) -> None:
        """:param attempts: at least one."""
        super().__init__(attempts)
        self.attempts = tuple(attempts)

    def __str__(self) -> str:
        return "; ".join(f"{each.address}: {each.reason}" for each in self.attempts)


class TimedOut(TCPClientError):
    """STARTTLS or the TLS handshake took too long, or a session was idle too long."""


class TLSFailed(TCPClientError):
    """The TLS handshake failed; the subclasses say why."""


class HandshakeFailed(TLSFailed):
    """The TLS handshake failed for a reason other than the certificate."""


class VerificationFailed(TLSFailed):
    """
    The server's certificate, or one of its CAs, is not trusted.

    :ivar reason: why not, in a few words: "certificate has expired".
    :ivar code: OpenSSL's X509_V_ERR number; 0 if OpenSSL has none.
    :ivar depth: the place of the certificate in the chain; 0 is the server's own.
    """

    def __init__(
        self, message: str, code: int = 0, depth: int = 0, reason: str = ""
    ) -> None:
        """
        :param message: the text of the error, in printable ASCII.
        :param code: OpenSSL's X509_V_ERR number.
        :param depth: the place of the certificate in the chain.
        :param reason: why, in a few words; the message if not given.
        """
        super().__init__(message)
        self.reason = reason or message
        self.code = code
        self.depth = depth


class NameMismatch(VerificationFailed):
    """The certificate is valid, but for another name."""


class ConnectionBroken(TCPClientError):
    """An established connection ended without an orderly close."""


class CutShort(ConnectionBroken):
    """TLS ended without close_notify, so that the data may not be complete."""


class LeftUnsent(ConnectionBroken):
    """The server closed the session in order, before all input was sent."""

    def __init__(self, reads: str) -> None:
        """:param reads: the name of the input: "standard input"."""
        super().__init__(reads)

    def __str__(self) -> str:
        return f"the server closed the connection before all of {self.args[0]} was sent"


class LocalFailure(TCPClientError):
    """A descriptor or a program of this side cannot be used."""

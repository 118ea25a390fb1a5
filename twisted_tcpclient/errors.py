"""
What can go wrong, as a hierarchy one can catch.

The text of an error is made of our own words and of addresses.  Words of a
server that has not proved who it is are kept apart, in ``server_text``.

The root, and the failures of dialogues, are defined in
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

#: The likely reason for a failure after a server asked for a client certificate that
#: is not configured.
NO_CERTIFICATE = "the server asked for a client certificate (-n)"

#: The server closed TCP after only a part of a message of TLS itself.
WITHIN_MESSAGE = "TLS failed: the server closed the connection within a message"


class SettingsError(TCPClientError):
    """A file or a value the user named cannot be used."""


class DescriptionError(TCPClientError):
    """A description of an endpoint is not one."""


class AddressNotFound(TCPClientError):
    """The host name has no address."""


class LookupFailed(TCPClientError):
    """The look-up of the host name failed; it may work later."""


@dataclass(frozen=True)
class Attempt:
    """
    One address that was tried in vain.

    :ivar address: the address in words: "127.0.0.1 port 25", or "host
        mail.example.org ip 192.0.2.1 port 25", or "socket /run/smtp".
    :ivar reason: why it failed, in lower case: "connection refused".
    """

    address: str
    reason: str


class ConnectFailed(TCPClientError):
    """
    No address could be connected to.

    :ivar attempts: one for each address, in the order in which they failed.
    """

    def __init__(self, attempts: Sequence[Attempt]) -> None:
        """:param attempts: at least one."""
        super().__init__(attempts)
        self.attempts = tuple(attempts)

    def __str__(self) -> str:
        return "; ".join(f"{each.address}: {each.reason}" for each in self.attempts)


class TimedOut(TCPClientError):
    """A stage was not over when its time was."""


class TLSFailed(TCPClientError):
    """TLS did not come about, or broke."""


class HandshakeFailed(TLSFailed):
    """The TLS handshake failed for a reason other than the certificate."""


class VerificationFailed(TLSFailed):
    """
    The certificate is not one to trust.

    :ivar reason: why not, in a few words: "certificate has expired".
    :ivar code: OpenSSL's X509_V_ERR number, 0 where it has none.
    :ivar depth: which certificate, counted from the server's own (0).
    """

    def __init__(
        self, message: str, code: int = 0, depth: int = 0, reason: str = ""
    ) -> None:
        """
        :param message: in printable ASCII.
        :param code: see above.
        :param depth: see above.
        :param reason: the message if not given.
        """
        super().__init__(message)
        self.reason = reason or message
        self.code = code
        self.depth = depth


class NameMismatch(VerificationFailed):
    """The certificate is sound, but it is for someone else."""


class ConnectionBroken(TCPClientError):
    """An established connection ended otherwise than by an orderly close."""


class CutShort(ConnectionBroken):
    """TLS ended without close_notify: what came before may not be all."""


class LeftUnsent(ConnectionBroken):
    """The server has ended the session, in good order, before all was sent."""

    def __init__(self, reads: str) -> None:
        """:param reads: what is left of, in words."""
        super().__init__(reads)

    def __str__(self) -> str:
        return f"the server closed the connection before all of {self.args[0]} was sent"


class LocalFailure(TCPClientError):
    """Reading or writing on our own side failed."""

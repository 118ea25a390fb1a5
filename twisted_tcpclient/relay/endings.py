"""
What the end of a connection means.

A server ends a connection in order with FIN in clear, and with close_notify over TLS
(RFC 8446, 6.1).  FIN without close_notify is a truncation: an attacker can send it.
RST is an error, except after an orderly end: a server that closes its socket while
bytes of the client are unread sends RST after its last byte (RFC 1122, 4.2.2.13).

:func:`of_socket` and :func:`of_transport` return None for an orderly end, and an error
otherwise.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from twisted_tcpclient.errors import (
    WITHIN_MESSAGE,
    ConnectionBroken,
    CutShort,
    LocalFailure,
    TCPClientError,
)
from twisted_tcpclient.facts import is_secure
from twisted_tcpclient.text import os_reason


def cut_short() -> CutShort:
    """Return the error for a FIN without close_notify."""
    return CutShort("TLS connection cut short: no close_notify")


def within_message() -> ConnectionBroken:
    """
    Return the error for a FIN within a handshake message of TLS.

    Input that OpenSSL withholds until the message is complete is lost then, so that
    ``--ignore-unexpected-eof`` does not accept that end.
    """
    return ConnectionBroken(WITHIN_MESSAGE)


def reset() -> ConnectionBroken:
    """Return the error for a RST."""
    return ConnectionBroken("connection reset")


def of_socket(error: Exception) -> TCPClientError | None:
    """
    Return what an error of reading or writing the connection means.

    :param error: EOFError for an orderly end, an OSError of the system call, or an
        error of this package, which is returned as it is.
    """
    if isinstance(error, EOFError):
        return None
    if isinstance(error, TCPClientError):
        return error
    if isinstance(error, ConnectionError):
        return reset()
    return ConnectionBroken(
        os_reason(error) if isinstance(error, OSError) else str(error)
    )


def explains(error: Exception | None) -> bool:
    """
    Return whether the end of a connection explains an earlier failure to send.

    A fatal alert does, and so does any other failure of TLS.  FIN without close_notify
    does not.
    """
    return isinstance(error, TCPClientError) and not isinstance(error, CutShort)


def of_transport(transport: Any, reason: Failure) -> TCPClientError | None:
    """
    Return what a transport's ``connectionLost`` means.

    :param transport: in clear, or with TLS of any package.  Only transports of
        :func:`twisted_tcpclient.endpoints.secured` distinguish RST from FIN below TLS.
    :param reason: the argument of ``connectionLost``.
    """
    if not is_secure(transport):
        return _of_stream(reason)
    from twisted_tcpclient.tls import sessions

    # OpenSSL sets SSL_RECEIVED_SHUTDOWN for a fatal alert too, so check alerts first.
    alert = sessions.alert(reason)
    if alert is not None:
        return alert
    closed = sessions.has_been_closed(transport)
    if closed is None:
        return _of_stream(reason)
    if closed:
        return None
    below: Failure | None = getattr(transport, "ended", None)
    return cut_short() if below is None or below.check(ConnectionDone) else reset()


def _of_stream(reason: Failure) -> TCPClientError | None:
    """Return what Twisted's reason for the loss of a TCP or UNIX stream means."""
    if reason.check(ConnectionDone):
        return None
    if reason.type is ConnectionLost:
        return reset()
    return ConnectionBroken(str(reason.value))


def of_kernel(connected: socket.socket) -> OSError | None:
    """
    Return the error that the kernel holds for a socket (SO_ERROR), and clear it.

    EPOLLERR can precede EPOLLIN for a RST; Twisted then reports ConnectionDone, so
    SO_ERROR decides.  EPIPE is a RST after the server's FIN, which was orderly.
    """
    number = connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number in (0, errno.EPIPE):
        return None
    return OSError(number, os.strerror(number))


def has_refused(connected: socket.socket) -> bool:
    """Return whether a RST has come, even after the server's FIN; clears SO_ERROR."""
    return connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0


def broken_pipe() -> BrokenPipeError:
    """Return the error for output that has lost its reader: EPIPE."""
    return BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def unreadable(what: str, error: OSError) -> LocalFailure:
    """Return the error for input that cannot be read."""
    return LocalFailure(f"unable to read {what}: {os_reason(error)}")


def unwritable(what: str, error: OSError) -> LocalFailure:
    """Return the error for output that cannot be written."""
    return LocalFailure(f"unable to write {what}: {os_reason(error)}")

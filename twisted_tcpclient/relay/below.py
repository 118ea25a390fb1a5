"""
The socket below a Twisted transport.
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from typing import Any

from twisted_tcpclient.relay.endings import has_refused, of_kernel
from twisted_tcpclient.relay.queues import outstanding


class Below:
    """
    A duplicate of the socket below a transport.

    It stays open when Twisted closes the transport's socket, so that the kernel can be
    asked how the connection has ended.  Without a socket, the methods return 0, False
    or None.
    """

    def __init__(self, transport: Any) -> None:
        """:param transport: a transport of any kind."""
        self._socket = _duplicate(transport)

    def start(self) -> None:
        """Set SO_OOBINLINE: else recv(2) leaves urgent data out (RFC 6093, 3.3)."""
        if self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)

    @property
    def is_open(self) -> bool:
        """Whether the duplicate is open, so that the kernel can be asked."""
        return self._socket is not None

    def unsent(self) -> int:
        """Return how many bytes are unacknowledged; 0 if that is not known."""
        return 0 if self._socket is None else outstanding(self._socket.fileno())

    def unsent_but(self, tail: int) -> int:
        """
        Return how many bytes are unacknowledged, without the last ones.

        For a UNIX socket this is 0: SIOCOUTQ counts the memory of buffers there, which
        is more than the bytes in them.

        :param tail: how many bytes to subtract: the last bytes, which are not input.
        """
        if self._socket is None or self._socket.family == socket.AF_UNIX:
            return 0
        return max(0, self.unsent() - tail)

    def refused(self) -> bool:
        """Return whether a RST has come; False if that is not known."""
        return self._socket is not None and has_refused(self._socket)

    def kernel_error(self) -> OSError | None:
        """Return the error that the kernel holds for the socket, and clear it."""
        return None if self._socket is None else of_kernel(self._socket)

    def close(self) -> None:
        """Close the duplicate; the kernel cannot be asked any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _duplicate(transport: Any) -> socket.socket | None:
    """Return a duplicate of the socket of a transport; None if it has none."""
    with suppress(AttributeError, TypeError, OSError):
        fd = transport.fileno()
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            return socket.socket(fileno=os.dup(fd))
    return None

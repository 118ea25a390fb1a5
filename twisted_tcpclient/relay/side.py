"""
One descriptor of the local side, which the relay watches, and closes at the end.
"""

from __future__ import annotations

import os
from typing import Any

from twisted_tcpclient.relay.watch import Call, Polled


class Side:
    """
    A descriptor that the relay reads or writes, and closes once.

    :ivar fd: the descriptor.
    :ivar watch: watches it.
    :ivar is_open: whether it has not been closed yet.
    """

    def __init__(self, reactor: Any, fd: int, readable: Call, writable: Call) -> None:
        """
        :param readable: called when the descriptor can be read, if that is watched.
        :param writable: called when the descriptor can be written.
        """
        self.fd = fd
        self.watch = Polled(reactor, fd, readable, writable)
        self.is_open = True

    def close(self) -> None:
        """Close the descriptor, if it is open."""
        if self.is_open:
            self.is_open = False
            self.watch.stop()
            os.close(self.fd)

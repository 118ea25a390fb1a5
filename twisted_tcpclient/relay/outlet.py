"""
The outlet, by which a lent wire writes to its Twisted transport.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from zope.interface import implementer

#: Turns of the reactor after which Twisted has tried to write the bytes that it was
#: given: its TLS may gather them for one turn.
_TURNS = 2


class Room(Enum):
    """The states of a transport that is written to."""

    #: The transport takes more bytes.
    FREE = auto()
    #: Its buffer is full.
    FULL = auto()
    #: The connection is gone.
    GONE = auto()


@implementer(IPushProducer)
class Outlet:
    """
    Writes to a transport while there is room, as a push producer.

    :ivar room: whether the transport takes more.
    :ivar untried: how many bytes Twisted was given in the last turns of the reactor.
        The kernel does not count them before Twisted has tried to write them.
    """

    def __init__(
        self, clock: IReactorTime, transport: Any, ready: Callable[[], None]
    ) -> None:
        """
        :param clock: the reactor.
        :param ready: called when there is room again.
        """
        self._clock = clock
        self._transport = transport
        self._ready = ready
        self._turns = 0
        self._call: IDelayedCall | None = None
        self.room = Room.FREE
        self.untried = 0

    def start(self) -> None:
        """Have the transport report when its buffer is full."""
        self._transport.registerProducer(self, True)

    def write(self, data: bytes) -> None:
        """Give bytes to the transport, and count them as untried."""
        self._transport.write(data)
        self.untried += len(data)
        self._turns = _TURNS
        if self._call is None:
            self._call = self._clock.callLater(0, self._turned)

    def lose(self) -> None:
        """Note that the connection is gone."""
        self.room = Room.GONE

    def stop(self) -> None:
        """Stop counting turns of the reactor."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def pauseProducing(self) -> None:
        """Note that the transport's buffer is full."""
        if self.room is Room.FREE:
            self.room = Room.FULL

    def resumeProducing(self) -> None:
        """Note that the transport takes more, and call ``ready``."""
        if self.room is Room.FULL:
            self.room = Room.FREE
        self._ready()

    def stopProducing(self) -> None:
        """Do nothing: the transport's protocol reports the loss of the connection."""

    def _turned(self) -> None:
        """Count a turn of the reactor; after the last one no byte is untried."""
        self._call = None
        self._turns -= 1
        if self._turns:
            self._call = self._clock.callLater(0, self._turned)
        else:
            self.untried = 0

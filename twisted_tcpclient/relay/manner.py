"""
The local side and the options of a relay, as its caller gives them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from twisted_tcpclient.settings import Shutdown


@dataclass(frozen=True)
class Local:
    """
    The local side of a relay: two descriptors.

    :ivar reading: the descriptor to read from; closed at the end.
    :ivar writing: the descriptor to write to, non-blocking; closed at the end.
    :ivar reads: the name of the input, for messages.
    :ivar writes: the name of the output, for messages.
    :ivar needed: whether it is an error if no process reads what the server sends.
        A prog may close 6 and go on writing to 7.
    """

    reading: int
    writing: int
    reads: str
    writes: str
    needed: bool


def _ignore(note: str) -> None:
    """Drop a note."""


@dataclass(frozen=True)
class Manner:
    """
    The options of a relay.

    :ivar idle: seconds without progress until it gives up; None for no limit.
    :ivar shutdown: when the server is told of the end of input.
    :ivar ignore_unexpected_eof: whether FIN without close_notify is an orderly end of
        TLS.
    :ivar translate: applied to the input before it is sent.
    :ivar note: called with a message for each step towards the end.
    """

    idle: float | None = None
    shutdown: Shutdown = field(default_factory=Shutdown)
    ignore_unexpected_eof: bool = False
    translate: Callable[[bytes], bytes] | None = None
    note: Callable[[str], None] = _ignore

"""
The two descriptors of a relay, with their names for messages.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Local:
    """
    The local side of a relay: two descriptors.

    :ivar reading: the descriptor to read from; closed at the end.
    :ivar writing: the descriptor to write to, non-blocking; closed at the end.
    :ivar reads: the name of the input, for messages.
    :ivar writes: the name of the output, for messages.
    :ivar needed: whether it is an error if no process reads what the server sends.
        False for prog, which may close 6 and go on writing to 7.
    """

    reading: int
    writing: int
    reads: str
    writes: str
    needed: bool

"""
Hard use: attackers, certificates, networks, processes, and words of any shape.

All of it runs with the other tests, in a share that leaves CI its time;
``make torture`` (``TORTURE=1``) runs the whole.
"""

from __future__ import annotations

import os

#: Whether to run the whole, and not a share.
WHOLE = os.environ.get("TORTURE", "") not in ("", "0")


def share(part: int, whole: int) -> int:
    """Return how many of something to do: a part of it, or the whole."""
    return whole if WHOLE else part


def every(part: int, whole: int = 1) -> slice:
    """Return one in so many of a list, in the share and in the whole."""
    return slice(0, None, share(part, whole))

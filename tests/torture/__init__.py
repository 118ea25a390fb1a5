"""
Hard use: attackers, certificates, networks, processes and random input.

``make test`` runs a share of these tests, to keep CI short; ``make torture``
(``TORTURE=1``) runs all of them.
"""

from __future__ import annotations

import os

#: Whether to run all cases instead of a share.
WHOLE = os.environ.get("TORTURE", "") not in ("", "0")


def share(part: int, whole: int) -> int:
    """Return the number for the share (`part`) or for all cases (`whole`)."""
    return whole if WHOLE else part


def every(part: int, whole: int = 1) -> slice:
    """
    Return a slice with a step of `part` for the share and of `whole` for all cases.
    """
    return slice(0, None, share(part, whole))

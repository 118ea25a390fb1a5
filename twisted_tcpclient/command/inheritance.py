"""
The environment and the signals that prog inherits from the parent of this process.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from twisted_tcpclient.program import IGNORED_BY_PYTHON

#: Values that Python gives LC_CTYPE if the locale is C or cannot be used (PEP 538).
_COERCED = (b"C.UTF-8", b"C.utf8", b"UTF-8")


@dataclass(frozen=True)
class Inheritance:
    """
    The environment and the signals for prog.

    :ivar environment: the variables as the parent has set them.
    :ivar blocked: the numbers of the signals that are blocked.
    :ivar ignored: the numbers of the signals that are ignored.  SIGPIPE and SIGXFSZ
        are never among them: Python ignores both at its start, so that their
        earlier state is unknown.
    """

    environment: Mapping[bytes, bytes]
    blocked: frozenset[int]
    ignored: frozenset[int]


def inherited(environ: Mapping[bytes, bytes]) -> Inheritance:
    """
    Return what this process has inherited.

    Call this before the process changes its environment or its signals.

    :param environ: ``os.environb``.
    """
    return Inheritance(
        _before_coercion(environ),
        frozenset(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        frozenset(
            number
            for number in signal.valid_signals()
            if number not in IGNORED_BY_PYTHON
            and signal.getsignal(number) is signal.SIG_IGN
        ),
    )


def _before_coercion(environ: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Return the environment as it was before Python changed LC_CTYPE."""
    given = dict(environ)
    if given.get(b"LC_CTYPE") not in _COERCED:
        return given
    try:
        # This file shows the environment as it was at execve(2) (proc(5)).
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        ctype = _guess(environ)
    else:
        values = [e.partition(b"=")[2] for e in entries if e.startswith(b"LC_CTYPE=")]
        ctype = values[0] if values else None
    del given[b"LC_CTYPE"]
    return given if ctype is None else given | {b"LC_CTYPE": ctype}


def _guess(environ: Mapping[bytes, bytes]) -> bytes | None:
    """
    Return LC_CTYPE as it may have been, for a system without /proc/self/environ.

    Python does not change LC_CTYPE if LC_ALL is set (PEP 538).  It turns its UTF-8
    mode on when it coerces the locale, and leaves it off when LC_CTYPE was given as
    C.UTF-8 (PEP 540).  A locale that was coerced was C.  Without LANG, an unset
    LC_CTYPE has the same effect as C.
    """
    if not sys.flags.utf8_mode or environ.keys() & {b"PYTHONUTF8", b"LC_ALL"}:
        return environ[b"LC_CTYPE"]
    return b"C" if b"LANG" in environ else None

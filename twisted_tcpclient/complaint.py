"""
An error in words, for the user.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted_tcpclient.errors import (
    ConnectFailed,
    CutShort,
    DescriptionError,
    LocalFailure,
    NegotiationFailed,
    SettingsError,
    TCPClientError,
)
from twisted_tcpclient.report import Report, printable

#: What to try next, by the type of an error.
_HINTS: dict[type[TCPClientError], str] = {
    CutShort: " (--ignore-unexpected-eof accepts that)",
}

#: How much of a server's words is shown, in bytes.
SHOWN = 300


def complain(
    report: Report,
    error: BaseException | None,
    where: Callable[[Any], str],
    peer: object | None,
) -> None:
    """
    Say what went wrong, and where.

    :param where: the beginning of a message about a connection to that peer.
    :param peer: what was connected to, where the error does not know better.
    """
    if isinstance(error, ConnectFailed):
        _complain_of_attempts(report, error)
    elif isinstance(error, (DescriptionError, LocalFailure, SettingsError)):
        report.fatal(str(error))
    elif isinstance(error, TCPClientError):
        hint = _HINTS.get(type(error), "")
        report.fatal(f"{where(error.peer or peer)}{error}{hint}")
    else:
        report.fatal(f"{type(error).__name__}: {error}")
    if isinstance(error, NegotiationFailed) and error.server_text:
        said = printable(error.server_text[:SHOWN])
        report.progress(f"the server, unauthenticated, said: {said}")


def _complain_of_attempts(report: Report, error: ConnectFailed) -> None:
    """All but the last are warnings: it is the last that ends the run."""
    *others, last = (
        f"unable to connect to {attempt.address}: {attempt.reason}"
        for attempt in error.attempts
    )
    for line in others:
        report.warning(line)
    report.fatal(last)

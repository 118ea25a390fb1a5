"""
Checks of single values, for the command line and for endpoint strings.

Each function converts the text of one value, or raises ValueError with the reason.  The
caller puts the name of the option or of the argument in front of the reason.

The two callers accept the same forms, with one exception: endpoint strings accept
fractions of seconds (:func:`seconds`), the command line accepts whole seconds only
(:func:`number`), as the C program does.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

from twisted_tcpclient.settings import Host, Shutdown, is_ip
from twisted_tcpclient.text import printable

if TYPE_CHECKING:
    from twisted_tcpclient.dialects import Dialect

#: The supported versions of TLS.
VERSIONS = ("TLSv1_2", "TLSv1_3")

#: Versions that the C program accepts, and that are refused here as not secure.
_GONE = ("SSLv2", "SSLv3", "TLSv1", "TLSv1_1")


def _wrong(what: str, text: str) -> ValueError:
    """Return the error for a text that is not what was expected."""
    return ValueError(f"{what}: {printable(text)!r}")


def _is_number(text: str) -> bool:
    """Return whether a text is a number of up to nine ASCII digits."""
    return text.isascii() and text.isdigit() and len(text) < 10


def filled(noun: str) -> Callable[[str], str]:
    """
    Return a check of a text that must not be empty.

    An unset variable in a script must not turn a restriction off.

    :param noun: the name of the value in the error, as in "the name is empty".
    """

    def check(text: str) -> str:
        if not text:
            raise ValueError(f"the {noun} is empty")
        return text

    return check


def number(text: str) -> int:
    """Return a whole number that is not negative."""
    if not _is_number(text):
        raise _wrong("not a number", text)
    return int(text)


def seconds(text: str) -> float:
    """Return a positive number of seconds, fractions included."""
    try:
        result = float(text)
    except ValueError:
        result = 0.0
    if not 0 < result < inf:
        raise _wrong("not a number of seconds", text)
    return result


def switch(text: str) -> bool:
    """Return True for yes, False for no."""
    if text not in ("yes", "no"):
        raise _wrong("not yes or no", text)
    return text == "yes"


def port(text: str) -> int:
    """Return a port number, from 1 to 65535."""
    result = number(text)
    if not 0 < result < 65536:
        raise ValueError(f"not from 1 to 65535: {result}")
    return result


def local_port(text: str) -> int:
    """Return a port number to bind to; 0 is any port."""
    return 0 if text == "0" else port(text)


def address(text: str) -> str:
    """Check an IP address, and return it as typed."""
    if not is_ip(text):
        raise _wrong("not an IP address", text)
    return text


def host_name(text: str) -> str:
    """Check a DNS name or an IP address, and return it as typed."""
    filled("name")(text)
    host = Host(text)
    try:
        # Raises ValueError for any other text.
        host.lookup  # noqa: B018
    except ValueError:
        raise _wrong("neither a name nor an IP address", text) from None
    return text


def dialect(text: str) -> Dialect:
    """
    Return the dialect of a protocol.

    :raises SettingsError: if the dialect comes from another package and cannot be used.
    """
    from twisted_tcpclient import registry

    try:
        return registry.find(text)
    except registry.UnknownDialect as error:
        known = ", ".join(error.known)
        raise ValueError(
            f"no such protocol: {printable(text)!r} (there are: {known})"
        ) from None


def timeouts(text: str) -> tuple[float, float]:
    """
    Return the attempt delay and the attempt timeout for X+Y, or for X.

    The delay is X seconds, 0.25 at most; the timeout is X+Y seconds.
    """
    first, plus, second = text.partition("+")
    head = number(first)
    total = head + (number(second) if plus else 0)
    if not total:
        raise ValueError("0 seconds are not enough to connect")
    return min(head, 0.25), float(total)


def shutdown(text: str) -> Shutdown:
    """Return the settings for ``now``, ``never`` or a number of seconds of silence."""
    if text in ("now", "never"):
        return Shutdown.after(0.0 if text == "now" else inf)
    if not _is_number(text):
        raise _wrong("not now, never or a number of seconds", text)
    return Shutdown.after(float(text))


def versions(text: str) -> tuple[str, str]:
    """
    Return the lowest and the highest version of TLS, for a version or MIN:MAX.

    SSLv23 is the C program's name for all versions.
    """
    if text == "SSLv23":
        return VERSIONS
    first, colon, last = text.partition(":")
    result = _version(first), _version(last if colon else first)
    if result[0] > result[1]:
        raise ValueError(f"the range is empty: {text}")
    return result


def _version(text: str) -> str:
    if text in _GONE:
        raise ValueError(
            f"{text} is gone: it is not secure; there are TLSv1_2 and TLSv1_3"
        )
    if text not in VERSIONS:
        raise ValueError(
            f"no such version: {printable(text)!r} (there are: TLSv1_2, TLSv1_3)"
        )
    return text

"""
The values of options: text that is checked as it is read.

A value that cannot be is a ``usage.UsageError`` that names the option.
"""

from __future__ import annotations

from math import inf

from twisted.python.usage import UsageError

from twisted_tcpclient.settings import Shutdown, is_ip, read_host
from twisted_tcpclient.text import printable

#: The versions of TLS that there are.
VERSIONS = ("TLSv1_2", "TLSv1_3")
_GONE = ("SSLv2", "SSLv3", "TLSv1", "TLSv1_1")


def number(text: str, what: str) -> int:
    """A whole number that is not negative, in ASCII digits."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError(f"{what}: not a number: {printable(text)!r}")
    return int(text)


def port(text: str, what: str) -> int:
    """The number of a port."""
    result = number(text, what)
    if not 0 < result < 65536:
        raise UsageError(f"{what}: not from 1 to 65535: {result}")
    return result


def not_empty(text: str, what: str) -> str:
    """An unset variable in a script must not turn a restriction off."""
    if not text:
        raise UsageError(f"{what} is empty")
    return text


def name(text: str, what: str) -> str:
    """Return a DNS name or an IP address, as typed."""
    not_empty(text, f"{what}: the name")
    try:
        read_host(text)
    except ValueError:
        raise UsageError(
            f"{what}: neither a name nor an IP address: {printable(text)!r}"
        ) from None
    return text


def address(text: str, what: str) -> str:
    """Return an IP address."""
    if not is_ip(text):
        raise UsageError(f"{what}: not an IP address: {printable(text)!r}")
    return text


def timeouts(text: str, what: str) -> tuple[float, float]:
    """
    X+Y, or X: seconds until the next address is tried as well, and seconds that each
    may take.
    """
    first, plus, second = text.partition("+")
    head = number(first, what)
    total = head + (number(second, what) if plus else 0)
    if not total:
        raise UsageError(f"{what}: 0 seconds are not enough to connect")
    return min(head, 0.25), float(total)


def shutdown(text: str, what: str) -> Shutdown:
    """Return the silence to wait for: none (now), endless (never), or seconds."""
    if text in ("now", "never"):
        return Shutdown.after(0.0 if text == "now" else inf)
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError(
            f"{what}: not now, never or a number of seconds: {printable(text)!r}"
        )
    return Shutdown.after(float(text))


def versions(text: str, what: str) -> tuple[str, str]:
    """A version of TLS, or MIN:MAX, or what the C program calls all of them."""
    if text == "SSLv23":
        return VERSIONS
    first, colon, last = text.partition(":")
    result = _version(first, what), _version(last if colon else first, what)
    if result[0] > result[1]:
        raise UsageError(f"{what}: the range is empty: {text}")
    return result


def _version(text: str, what: str) -> str:
    if text in _GONE:
        raise UsageError(
            f"{what}: {text} is gone: it is not secure; there are TLSv1_2 and TLSv1_3"
        )
    if text not in VERSIONS:
        raise UsageError(
            f"{what}: no such version: {printable(text)!r}"
            " (there are: TLSv1_2, TLSv1_3)"
        )
    return text

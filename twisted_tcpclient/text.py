"""
Text without I/O: escaping, reasons of the operating system, places.
"""

from __future__ import annotations

import errno
import os
import traceback


def printable(text: str | bytes) -> str:
    """The text with all that is not printable ASCII escaped, as Python writes it."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return "".join(
        c if " " <= c <= "~" else c.encode("unicode_escape", "surrogatepass").decode()
        for c in text
    )


#: djb's words, which scripts may look for, where they differ from the C library's.
_WORDS = {
    errno.ENOENT: "file does not exist",
    errno.EACCES: "access denied",
    errno.EADDRINUSE: "address already used",
    errno.EADDRNOTAVAIL: "address not available",
    errno.ECONNRESET: "connection reset",
    errno.ETIMEDOUT: "timed out",
}


def os_reason(error: OSError) -> str:
    """Why the system refused, in a few words in lower case."""
    if not error.errno:
        return str(error).lower()
    return _WORDS.get(error.errno) or os.strerror(error.errno).lower()


_HERE = os.path.join(os.path.dirname(__file__), "")


def fault(error: BaseException) -> str:
    """
    The type of an error that nobody expected, and where it was raised, if it can
    be told outside this package.  Its text is left out: it may be a server's.
    """
    if isinstance(error, SyntaxError):
        return f"SyntaxError ({error.filename}, line {error.lineno})"
    stack = traceback.extract_tb(error.__traceback__)
    frames = [f for f in stack if not f.filename.startswith("<")]
    others = [f for f in frames if not f.filename.startswith(_HERE)]
    where = [f" ({f.filename}, line {f.lineno})" for f in (others or frames)[-1:]]
    return "".join([type(error).__name__, *where])


def place(host: str, ip: str, port: int) -> str:
    """Where a connection goes, in words: the host as given, and its address."""
    if ip in (host, host[1:-1]):
        return f"{ip} port {port}"
    return f"host {host or '0'} ip {ip} port {port}"

"""
Text for messages: escaping, reasons of system errors, and names of servers.
"""

from __future__ import annotations

import errno
import os
import traceback


def printable(text: str | bytes) -> str:
    """
    Return a text in printable ASCII.

    All other characters are escaped as in Python's string literals.  Bytes are decoded
    as UTF-8.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return "".join(
        c if " " <= c <= "~" else c.encode("unicode_escape", "surrogatepass").decode()
        for c in text
    )


#: The words of djb's programs, which scripts may match, where strerror(3) differs.
_WORDS = {
    errno.ENOENT: "file does not exist",
    errno.EACCES: "access denied",
    errno.EADDRINUSE: "address already used",
    errno.EADDRNOTAVAIL: "address not available",
    errno.ECONNRESET: "connection reset",
    errno.ETIMEDOUT: "timed out",
}


def os_reason(error: OSError) -> str:
    """Return the reason of an OSError in lower case, as djb or strerror(3) words it."""
    if not error.errno:
        return str(error).lower()
    return _WORDS.get(error.errno) or os.strerror(error.errno).lower()


_HERE = os.path.join(os.path.dirname(__file__), "")


def fault(error: BaseException) -> str:
    """
    Return the type of an unexpected error, and the file and the line that raised it.

    If the traceback has lines outside this package, such as in a dialect of another
    package, the last of them is named.  The text of the error is left out, because a
    server may have sent it.
    """
    if isinstance(error, SyntaxError):
        return f"SyntaxError ({error.filename}, line {error.lineno})"
    stack = traceback.extract_tb(error.__traceback__)
    frames = [f for f in stack if not f.filename.startswith("<")]
    others = [f for f in frames if not f.filename.startswith(_HERE)]
    where = [f" ({f.filename}, line {f.lineno})" for f in (others or frames)[-1:]]
    return "".join([type(error).__name__, *where])


def place(host: str, ip: str, port: int) -> str:
    """
    Return the name of a server in messages: host, address and port.

    :param host: as typed, "" for this machine.
    :param ip: named alone if the host is that address, in brackets or not.
    """
    if ip in (host, host[1:-1]):
        return f"{ip} port {port}"
    return f"host {host or '0'} ip {ip} port {port}"

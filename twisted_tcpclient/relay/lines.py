"""
Line ends: LF, which Unix programs write, and CRLF, which many protocols demand.
"""

from __future__ import annotations

from collections.abc import Callable


def crlf() -> Callable[[bytes], bytes]:
    """
    Return a function that translates LF to CRLF in a stream of chunks.

    CRLF stays as it is, even if a chunk ends between CR and LF.
    """
    last = b""

    def translate(data: bytes) -> bytes:
        nonlocal last
        joined = last + data
        translated = joined.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        result = translated[len(last) :]
        last = b"\r" if joined.endswith(b"\r") else b""
        return result

    return translate

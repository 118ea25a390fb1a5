"""
TLS connections that verify the server.

Only this package imports OpenSSL.  Its names are loaded on first use, because a
connection in clear does not need them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twisted_tcpclient.tls.creator import ConnectionCreator

__all__ = ["ConnectionCreator"]


def __getattr__(name: str) -> Any:
    """Import :class:`ConnectionCreator` on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from twisted_tcpclient.tls import creator

    return getattr(creator, name)

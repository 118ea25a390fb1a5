"""
TLS connections that verify the server.

Only this sub-package imports OpenSSL.  Its public name is loaded on first use, as a
connection in clear does not need it.
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

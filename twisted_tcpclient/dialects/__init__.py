"""
The built-in dialects: one generator for each protocol with STARTTLS.

A dialect reads like the transcript in its RFC: it is a dialogue as
:mod:`twisted_tcpclient.dialogue` describes it, which returns when the server has
agreed to start TLS.

Dialects import no Twisted and do no I/O.  Dialects of other packages use the same
steps; :mod:`twisted_tcpclient.registry` finds both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from os import urandom

from twisted_tcpclient.dialogue import LINE, Bytes, Dialogue, Line, Send, Step

__all__ = [
    "LINE",
    "NAMES",
    "Bytes",
    "Dialect",
    "Dialogue",
    "Line",
    "Parameters",
    "Send",
    "Step",
    "find",
]


def _random_tag() -> bytes:
    return urandom(6).hex().encode("ascii")


@dataclass(frozen=True)
class Parameters:
    """
    Values for one dialogue.

    :ivar client: the client's name for greetings such as EHLO: an address literal, so
        that no look-up is needed (RFC 5321, 4.1.3).
    :ivar host: the name of the server, as the user gave it; "" if there is none.  A
        dialect must not use a name that the server sends instead.
    :ivar tag: the prefix of commands whose replies repeat it: 48 random bits, so that
        a reply cannot be forged before the command was seen.
    """

    client: bytes = b"localhost"
    host: str = ""
    tag: bytes = field(default_factory=_random_tag)


@dataclass(frozen=True)
class Dialect:
    """
    A protocol with STARTTLS.

    :ivar name: as given to ``-s``, in lower case.
    :ivar port: the registered port; None if there is none, so that the user has to
        give one.
    :ivar rfc: the document that defines its STARTTLS.
    :ivar dialogue: makes the generator for one connection.
    :ivar greeting: makes up a greeting from the name of the server, for clients that
        wait for one; None if no greeting can be made up or no client waits for one.
    :raises ValueError: if the port is not from 1 to 65535.
    """

    name: str
    port: int | None
    rfc: str
    dialogue: Callable[[Parameters], Dialogue]
    greeting: Callable[[str], bytes] | None = None

    def __post_init__(self) -> None:
        if self.port is not None and self.port not in range(1, 65536):
            raise ValueError(f"not a port from 1 to 65535: {self.port!r}")


#: The module of each dialect, by its name.
_MODULES = {
    "ftp": "ftp",
    "imap": "imap",
    "irc": "irc",
    "ldap": "ldap",
    "lmtp": "lmtp",
    "mysql": "mysql",
    "nntp": "nntp",
    "pop3": "pop3",
    "postgres": "postgres",
    "sieve": "sieve",
    "smtp": "smtp",
    "telnet": "telnet",
    "xmpp": "xmpp",
    "xmpp-server": "xmpp",
}

#: The names of the built-in dialects.
NAMES = tuple(_MODULES)


def find(name: str) -> Dialect:
    """
    Return the built-in dialect of a name, and import its module.

    :param name: in upper or lower case.
    :raises KeyError: if there is no such dialect.
    """
    module = import_module(f"{__name__}.{_MODULES[name.lower()]}")
    dialects: dict[str, Dialect] = {each.name: each for each in module.DIALECTS}
    return dialects[name.lower()]

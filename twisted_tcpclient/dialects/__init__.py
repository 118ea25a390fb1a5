"""
What each protocol says before TLS.

A dialect is one generator, written like the transcript in its RFC: a dialogue as
:mod:`twisted_tcpclient.dialogue` describes it, which returns once the server has
agreed to start TLS.

Dialects import no Twisted and do no input or output.  Dialects of other packages use
the same steps; :mod:`twisted_tcpclient.registry` finds them.
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
    What a dialect may need to know.

    :ivar client: our name for greetings such as EHLO: an address literal, so
        that no look-up is needed (RFC 5321, 4.1.3).
    :ivar host: the name of the server, as the user gave it; "" where there is
        none.  Nothing that a server says may take its place.
    :ivar tag: the prefix of commands whose replies repeat it.  A reply cannot
        be forged before the command was seen, as nobody can guess it.
    """

    client: bytes = b"localhost"
    host: str = ""
    tag: bytes = field(default_factory=_random_tag)


@dataclass(frozen=True)
class Dialect:
    """
    A protocol with STARTTLS.

    :ivar name: as given to ``-s``, in lower case.
    :ivar port: the port it is registered for; None where there is none, so that
        one has to be given.
    :ivar rfc: where its STARTTLS is defined, for people to read.
    :ivar dialogue: makes the generator for one connection.
    :ivar greeting: makes up, for a host, the greeting that a client waits for
        and that STARTTLS has consumed; None where no client waits for one.
    """

    name: str
    port: int | None
    rfc: str
    dialogue: Callable[[Parameters], Dialogue]
    greeting: Callable[[str], bytes] | None = None

    def __post_init__(self) -> None:
        if self.port is not None and self.port not in range(1, 65536):
            raise ValueError(f"not a port from 1 to 65535: {self.port!r}")


#: The modules that dialects live in, by name.
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

NAMES = tuple(_MODULES)


def find(name: str) -> Dialect:
    """
    Our dialect of that name; only its own module is imported.

    :param name: in upper or lower case.
    :raises KeyError: where there is none.
    """
    module = import_module(f"{__name__}.{_MODULES[name.lower()]}")
    dialects: dict[str, Dialect] = {each.name: each for each in module.DIALECTS}
    return dialects[name.lower()]

"""
What each protocol says before TLS.

A dialect is one generator, written like the transcript in its RFC.  It yields
:class:`Send` to say something and :data:`LINE` to wait for a line, which it is
sent without its line end.  It returns once the server has agreed to start TLS,
and raises a :class:`~twisted_tcpclient.errors.NegotiationFailed` otherwise.

Dialects know no Twisted and do no input or output.  Bounds on length and time,
and the rule that nothing may be left unread when something is sent, are kept by
whoever drives them (:mod:`twisted_tcpclient.starttls`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from importlib import import_module
from os import urandom


@dataclass(frozen=True)
class Send:
    """Bytes to be sent, line end included."""

    data: bytes


@dataclass(frozen=True)
class Line:
    """The wish for one more line from the server."""


LINE = Line()

Step = Send | Line
Dialogue = Generator[Step, bytes, None]


def _random_tag() -> bytes:
    return urandom(6).hex().encode("ascii")


@dataclass(frozen=True)
class Parameters:
    """
    What a dialect may need to know.

    :ivar client: our name for greetings such as EHLO: an address literal, so
        that no look-up is needed (RFC 5321, 4.1.3).
    :ivar tag: the prefix of commands whose replies repeat it.  A reply cannot
        be forged before the command was seen, as nobody can guess it.
    """

    client: bytes = b"localhost"
    tag: bytes = field(default_factory=_random_tag)


@dataclass(frozen=True)
class Dialect:
    """
    A protocol with STARTTLS.

    :ivar name: as given to ``-s``, in lower case.
    :ivar port: the port it is registered for.
    :ivar rfc: where its STARTTLS is defined.
    :ivar dialogue: makes the generator for one connection.
    :ivar greeting: makes up the greeting of a host, for a client that waits for
        one after TLS has begun; None where none would.
    """

    name: str
    port: int
    rfc: str
    dialogue: Callable[[Parameters], Dialogue]
    greeting: Callable[[str], bytes] | None = None


NAMES = ("imap", "pop3", "smtp")


def find(name: str) -> Dialect:
    """
    The dialect of that name, in any case.

    :raises KeyError: where there is none.
    """
    if name.lower() not in NAMES:
        raise KeyError(name)
    dialect: Dialect = import_module(f"{__name__}.{name.lower()}").DIALECT
    return dialect

"""
The table of options: parser, ``--help`` and man page are made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from twisted_tcpclient import values
from twisted_tcpclient.command.messages import ERRORS, PROGRESS, SILENT
from twisted_tcpclient.settings import CERTIFICATES


def _dialects() -> Sequence[str]:
    """Return the names of this package's dialects, which only ``--help`` needs."""
    from twisted_tcpclient.dialects import NAMES

    return NAMES


@dataclass(frozen=True)
class Value:
    """
    The value of an option.

    :ivar name: the placeholder for it.  FILE is the path of a file, DIR that of a
        directory.
    :ivar read: returns what a text means; raises ValueError with the reason if the text
        is wrong.
    :ivar words: returns the words that are accepted, if they can be listed.
    :ivar other: a description of the other values that are accepted beside the words.
    """

    name: str
    read: Callable[[str], Any]
    words: Callable[[], Sequence[str]] = tuple
    other: str = ""


class Needs(Enum):
    """The part of the command line without which an option has no effect."""

    NOTHING = auto()
    #: HOST and PORT or SOCKET, not -E.
    HOST = auto()
    STARTTLS = auto()
    #: TLS by --tls, -n or -s.
    TLS = auto()
    #: TLS as above, or perhaps by the endpoint of -E.
    ANY_TLS = auto()


@dataclass(frozen=True)
class Option:
    """
    One option.

    :ivar letter: "" if it has none.
    :ivar name: the long name.
    :ivar text: what it does, as an imperative without a full stop.
    :ivar value: None for a flag, which takes no value.
    :ivar default: the value, as typed, if no option of this key is given; "" for the
        flag that is in effect then; None if there is no default.
    :ivar shares: the key that the option shares with others.  Options that exclude each
        other have the same key: the last one wins.
    :ivar means: what a flag writes to its key.
    :ivar needs: the part of the command line without which it has no effect.
    """

    letter: str
    name: str
    text: str
    value: Value | None = None
    default: str | None = None
    shares: str = ""
    means: object = True
    needs: Needs = Needs.NOTHING

    @property
    def key(self) -> str:
        """The key of the parsed options to which the option writes."""
        return self.shares or self.name

    @property
    def spelling(self) -> str:
        """The option as messages name it: by its letter if it has one."""
        return f"-{self.letter}" if self.letter else f"--{self.name}"

    def read(self, text: str) -> Any:
        """
        Return what the option writes to its key.

        :param text: the value, "" for a flag.
        :raises ValueError: with the reason, if the value is wrong.
        """
        return self.means if self.value is None else self.value.read(text)


@dataclass(frozen=True)
class Group:
    """Options with a common title, in the order in which they are shown."""

    title: str
    options: tuple[Option, ...]


_DESCRIPTION = Value("DESCRIPTION", values.filled("description"))
_TIMEOUTS = Value("X+Y", values.timeouts)
_IP = Value("IP", values.address)
_PORT = Value("PORT", values.local_port)
_INTERFACE = Value("NAME", values.filled("name"))
_SECONDS = Value("SECONDS", values.number)
_WHEN = Value(
    "WHEN",
    values.shutdown,
    lambda: ("now", "never"),
    "seconds of silence (if not given: 5; 15 before an answer; 1 on a terminal)",
)
# The dialect is looked up only after all options are read: if a dialect of another
# package cannot be used, -q after -s has to silence the error.
_PROTOCOL = Value("PROTOCOL", str, _dialects)
_CERTIFICATE = Value("FILE", str)
_FILE = Value("FILE", values.filled("name"))
_DIRECTORY = Value("DIR", values.filled("name"))
_NAME = Value("NAME", values.host_name)
_VERSION = Value("VERSION", values.versions, lambda: values.VERSIONS, "MIN:MAX")
_CIPHERS = Value("LIST", values.filled("list"))
_LOCAL_NAME = Value("NAME", str)

_GENERAL = (
    Option(
        "q", "quiet", "print nothing, not even errors", shares="verbosity", means=SILENT
    ),
    Option("Q", "errors", "print errors", default="", shares="verbosity", means=ERRORS),
    Option(
        "v", "verbose", "print errors and progress", shares="verbosity", means=PROGRESS
    ),
    Option("", "version", "print the version", shares="print", means="version"),
    Option("", "help", "print the list of options", shares="print", means="help"),
)
_CONNECTING = (
    Option(
        "E",
        "endpoint",
        "connect to this Twisted endpoint, such as tls:HOST:PORT, instead of HOST and"
        " PORT",
        _DESCRIPTION,
    ),
    Option(
        "",
        "tcp",
        "take HOST for a name or an address; a UNIX socket is an error",
        needs=Needs.HOST,
    ),
    Option(
        "T",
        "connect-timeout",
        "give each address X+Y seconds; try the next one after X, or after 0.25 if X is"
        " more",
        _TIMEOUTS,
        "2+58",
        needs=Needs.HOST,
    ),
    Option("i", "local-ip", "connect from this local address", _IP, needs=Needs.HOST),
    Option(
        "p",
        "local-port",
        "connect from this local port; 0 is any port",
        _PORT,
        needs=Needs.HOST,
    ),
    Option(
        "I",
        "interface",
        "connect through this network interface only",
        _INTERFACE,
        needs=Needs.HOST,
    ),
    Option("4", "ipv4", "use IPv4 only", shares="family", means=4, needs=Needs.HOST),
    Option("6", "ipv6", "use IPv6 only", shares="family", means=6, needs=Needs.HOST),
    Option(
        "d",
        "delay",
        "let TCP collect small writes, by Nagle's algorithm",
        default="",
        shares="no-delay",
        means=False,
        needs=Needs.HOST,
    ),
    Option("D", "no-delay", "send each write at once (TCP_NODELAY)", needs=Needs.HOST),
    Option(
        "a",
        "idle-timeout",
        "give up after SECONDS without any data; 0 is never",
        _SECONDS,
        "300",
    ),
    Option("", "shutdown", "tell the server at this time that input has ended", _WHEN),
)
_TLS = (
    Option("", "tls", "use TLS from the first byte"),
    Option("s", "starttls", "use TLS after STARTTLS", _PROTOCOL),
    Option(
        "",
        "greeting",
        "with -s: start with a made-up greeting, as most clients wait for one",
        needs=Needs.STARTTLS,
    ),
    Option(
        "n",
        "certificate",
        "use TLS, and present this client certificate; '' is the default one",
        _CERTIFICATE,
    ),
    Option(
        "C",
        "certificate-directory",
        f"look for certificates here, instead of in {CERTIFICATES}",
        _DIRECTORY,
        needs=Needs.TLS,
    ),
    Option(
        "c",
        "ca-file",
        "trust the CAs in this file, and no other",
        _FILE,
        needs=Needs.TLS,
    ),
    Option(
        "L",
        "crl-file",
        "refuse servers that these revocation lists name",
        _FILE,
        needs=Needs.TLS,
    ),
    Option(
        "m",
        "match",
        "expect this name in the certificate, instead of HOST",
        _NAME,
        needs=Needs.TLS,
    ),
    Option(
        "k",
        "insecure",
        "do not verify the server: it may be an attacker",
        needs=Needs.TLS,
    ),
    Option(
        "M",
        "tls-method",
        "use this version of TLS only",
        _VERSION,
        "TLSv1_2:TLSv1_3",
        needs=Needs.TLS,
    ),
    Option(
        "f",
        "ciphers",
        "use these ciphers: an OpenSSL list, or a file with one (with a slash)",
        _CIPHERS,
        needs=Needs.TLS,
    ),
    Option(
        "",
        "ignore-unexpected-eof",
        "accept FIN without close_notify, which an attacker can forge",
        needs=Needs.ANY_TLS,
    ),
    Option("z", "provider", "set TLS_PROVIDER for prog"),
)
_CLIENT_MODE = (Option("", "crlf", "turn each LF from standard input into CRLF"),)
_PROG = (
    Option(
        "h", "remote-host", "look up the server's name for TCPREMOTEHOST", default=""
    ),
    Option(
        "H",
        "no-remote-host",
        "leave TCPREMOTEHOST unset",
        shares="remote-host",
        means=False,
    ),
    Option(
        "l",
        "local-host",
        "set TCPLOCALHOST to NAME, instead of looking it up",
        _LOCAL_NAME,
    ),
    Option(
        "e",
        "system-names",
        "has no effect: names are always looked up as the system does",
    ),
    Option("r", "remote-info", "ask the server's ident for TCPREMOTEINFO", default=""),
    Option(
        "R",
        "no-remote-info",
        "leave TCPREMOTEINFO unset",
        shares="remote-info",
        means=False,
    ),
    Option(
        "t",
        "lookup-timeout",
        "wait up to SECONDS for each of these look-ups",
        _SECONDS,
        "26",
    ),
)

GROUPS = (
    Group("General", _GENERAL),
    Group("Connecting", _CONNECTING),
    Group("TLS", _TLS),
    Group("Client mode", _CLIENT_MODE),
    Group("Environment of prog", _PROG),
)

OPTIONS = tuple(option for group in GROUPS for option in group.options)

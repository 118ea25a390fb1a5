"""
The options as ``--help`` shows them; a test holds them against the parser.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted_tcpclient import dialects, registry
from twisted_tcpclient.settings import CERTIFICATES


@dataclass(frozen=True)
class Entry:
    """One option as ``--help`` shows it."""

    letter: str
    name: str
    value: str
    text: str

    def __str__(self) -> str:
        letter = f"-{self.letter}," if self.letter else "   "
        value = f" {self.value}" if self.value else ""
        return f"  {letter} --{self.name}{value}"


GROUPS: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    (
        "General",
        (
            Entry("q", "quiet", "", "print nothing, not even errors"),
            Entry("Q", "errors", "", "print errors (default)"),
            Entry("v", "verbose", "", "print errors and what happens"),
            Entry("", "version", "", "print the version"),
            Entry("", "help", "", "print this"),
        ),
    ),
    (
        "Connecting",
        (
            Entry(
                "E",
                "endpoint",
                "DESCRIPTION",
                "connect this Twisted endpoint, such as tls:HOST:PORT;"
                " of this group only -a and --shutdown go with it",
            ),
            Entry("", "tcp", "", "HOST and PORT follow; a UNIX socket is an error"),
            Entry(
                "T",
                "connect-timeout",
                "X+Y",
                "seconds for each address (2+58); the next one joins"
                " after X, or 0.25 if that is less",
            ),
            Entry("i", "local-ip", "IP", "connect from this address"),
            Entry("p", "local-port", "PORT", "connect from this port"),
            Entry("I", "interface", "NAME", "connect through this network interface"),
            Entry("4", "ipv4", "", "IPv4 only"),
            Entry("6", "ipv6", "", "IPv6 only"),
            Entry("d", "delay", "", "let TCP collect small writes (default)"),
            Entry("D", "no-delay", "", "send at once (TCP_NODELAY)"),
            Entry(
                "a",
                "idle-timeout",
                "SECONDS",
                "give up when nothing moves for so long (300); 0: never",
            ),
            Entry(
                "",
                "shutdown",
                "WHEN",
                "tell the server of the end of input now, never, or when it has been"
                " quiet for so many seconds (5; 15 before an answer; 1 on a terminal)",
            ),
        ),
    ),
    (
        "TLS",
        (
            Entry("", "tls", "", "TLS from the first byte"),
            Entry(
                "s",
                "starttls",
                "PROTOCOL",
                f"TLS after STARTTLS: {', '.join(dialects.NAMES)}",
            ),
            Entry(
                "",
                "greeting",
                "",
                "begin with a made-up greeting, after -s, as most clients expect",
            ),
            Entry(
                "n",
                "certificate",
                "FILE",
                "TLS with this client certificate; '': the default one",
            ),
            Entry(
                "C",
                "certificate-directory",
                "DIR",
                f"where certificates are ({CERTIFICATES})",
            ),
            Entry("c", "ca-file", "FILE", "CAs to trust instead of the system's"),
            Entry(
                "L", "crl-file", "FILE", "revocation lists that the server must pass"
            ),
            Entry(
                "m",
                "match",
                "NAME",
                "the name in the server's certificate, if not HOST",
            ),
            Entry("k", "insecure", "", "do not verify the server: anyone may answer"),
            Entry("M", "tls-method", "VERSION", "TLSv1_2, TLSv1_3 or MIN:MAX"),
            Entry(
                "f", "ciphers", "LIST", "OpenSSL cipher list, or a file (with a slash)"
            ),
            Entry(
                "",
                "ignore-unexpected-eof",
                "",
                "accept FIN without close_notify, which an attacker can forge",
            ),
            Entry("z", "provider", "", "give prog TLS_PROVIDER"),
        ),
    ),
    (
        "Client mode",
        (Entry("", "crlf", "", "turn LF from standard input into CRLF"),),
    ),
    (
        "What prog is told",
        (
            Entry("h", "remote-host", "", "look up TCPREMOTEHOST (default)"),
            Entry("H", "no-remote-host", "", "do not"),
            Entry("l", "local-host", "NAME", "TCPLOCALHOST, instead of looking it up"),
            Entry(
                "e", "system-names", "", "look names up as the system does (always so)"
            ),
            Entry("r", "remote-info", "", "ask for TCPREMOTEINFO by ident (default)"),
            Entry("R", "no-remote-info", "", "do not"),
            Entry("t", "lookup-timeout", "SECONDS", "for each of these look-ups (26)"),
        ),
    ),
)

SYNOPSIS = """\
Usage: tcpclient [options] HOST PORT [prog [argument ...]]
       tcpclient [options] SOCKET    [prog [argument ...]]
       tcpclient [options] -E DESCRIPTION [prog [argument ...]]

Connect, with TLS or without, and hand the connection to prog on descriptors 6
and 7 (UCSPI), or join it to standard input and output if there is no prog.
HOST is a name, an IPv4 or IPv6 address, or 0 for this machine.  SOCKET is the
path of a UNIX socket (anything with a slash), or @NAME for an abstract one.
"""

EPILOGUE = """\
Exit status: 0; 100 wrong usage; 111 failed, may work later; or that of prog.
"""


def help_text() -> str:
    """All options by group, for a terminal of 80 columns."""
    lines = [SYNOPSIS]
    for title, entries in GROUPS:
        lines.append(f"{title}:")
        for entry in entries:
            head, words = f"{entry!s:<34} ", entry.text.split()
            for word in words:
                if len(head) + len(word) > 80:
                    lines.append(head.rstrip())
                    head = " " * 35
                head += word + " "
            lines.append(head.rstrip())
        lines.append("")
    if others := registry.others():
        lines.append(f"Other packages have, for -s: {', '.join(others)}\n")
    return "\n".join([*lines, EPILOGUE])

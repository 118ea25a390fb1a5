"""
What the user asked for, as frozen values, and the conversion of a host.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address

#: Where the C program looks for certificates unless told otherwise.
CERTIFICATES = "/etc/indimail/certs"

#: Characters of the longest name (RFC 1035, 2.3.4), without its final dot.
LONGEST_NAME = 253

#: Labels of RFC 1123, 2.1, in lower case.  Underscores are not for hosts, but DNS and
#: hosts(5) have them (RFC 8552).
_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")

#: Zero width non-joiner and joiner: allowed in some contexts only (RFC 5892, A).
_JOINERS = "\u200c\u200d"


def read_host(typed: str) -> str:
    """
    Convert a host as typed to the name that is looked up, sent as SNI and verified.

    An IP address loses its brackets and keeps its zone (RFC 4007, 11).  A name becomes
    lower case and ASCII by UTS 46, non-transitional.  Converting the result once more
    changes nothing.

    :raises ValueError: if the text is neither an IP address nor a name.
    """
    if len(typed) > LONGEST_NAME + 1:
        raise ValueError(typed)
    name = typed if typed.isascii() else _to_ascii(typed)
    bare = name[1:-1] if name[:1] == "[" and name[-1:] == "]" else name
    if is_ip(bare):
        return bare
    name = name.lower()
    undotted = name.removesuffix(".")
    if not _NAME.fullmatch(name) or len(undotted) > LONGEST_NAME:
        raise ValueError(typed)
    # An IP address has no final dot.  "0" means this machine only if it was typed so,
    # not if UTS 46 has mapped another digit to it.
    if is_ip(undotted) or name == "0" != typed:
        raise ValueError(typed)
    return name


def _to_ascii(name: str) -> str:
    """
    Return the ASCII form of a name (UTS 46, 4.2).

    :raises ValueError: if UTS 46 does not allow the name.
    """
    # Only a name that is not ASCII needs the tables of idna.
    import idna

    # Without STD3 rules, as names in DNS and in hosts(5) have underscores.  idna is
    # non-transitional by default, and 3.20 announces that the argument will go.
    mapped = idna.uts46_remap(name, std3_rules=False)
    return ".".join(_label(label) for label in mapped.split("."))


def _label(label: str) -> str:
    """
    Return the ASCII form of one label that UTS 46 has mapped.

    :raises ValueError: if neither IDNA 2008 nor UTS 46 allows it.
    """
    if label.isascii():
        return label
    import idna

    try:
        return idna.alabel(label).decode("ascii")
    except (idna.InvalidCodepoint, idna.InvalidCodepointContext):
        # IDNA 2008 excludes symbols, such as emoji, but registered names contain them.
        return _symbolic(label)


def _symbolic(label: str) -> str:
    """
    Return the ASCII form of a label that is valid in UTS 46 alone.

    alabel() has checked hyphens and combining marks before it looks at characters.

    :raises ValueError: if a joiner is out of context, or directions are mixed.
    """
    import idna

    for position, character in enumerate(label):
        if character in _JOINERS and not idna.valid_contextj(label, position):
            raise ValueError(label)
    idna.check_bidi(label)
    return "xn--" + label.encode("punycode").decode("ascii")


def reference_identity(host: str) -> str:
    """Return the name that the certificate of a host has to have, as it was typed."""
    return "localhost" if host in ("", "0") else host


def is_ip(name: str) -> bool:
    """Return whether a name is an IP address; an IPv6 zone has to be ASCII."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return name.isascii()


def sni(host: str) -> str | None:
    """
    Return the name to send to a host (RFC 6066, 3), None to an IP address.

    :raises ValueError: if the text is neither an IP address nor a name.
    """
    name = read_host(host)
    return None if is_ip(name) else name.removesuffix(".")


@dataclass(frozen=True)
class TLSSettings:
    """
    How TLS is to be done.

    :ivar certificate: PEM file with our certificate, its chain and its key.
    :ivar private_key: PEM file with the key, where that is another file.
    :ivar authorities: PEM file with the CAs to trust, or a directory of such
        files (``*.pem``); None for the system's.
    :ivar revocations: PEM file with CRLs; None to check none.
    :ivar ciphers: OpenSSL cipher list for TLS 1.2; None for the default.
    :ivar suites: TLS 1.3 cipher suites; None for the default.
    :ivar minimum: the lowest version, "TLSv1_2" or "TLSv1_3".
    :ivar maximum: the highest version.
    :ivar name: the reference identity, a DNS name or an IP address as typed; None
        to check the chain only, as over a UNIX socket.
    :ivar common_name: whether a certificate without any DNS or IP name may
        match by its CN: only for a name the user gave for that purpose.
    :ivar server_name: the host whose name to send as SNI, as typed; None for no SNI.
        An IP address is never sent as SNI (RFC 6066, 3).
    :ivar verify: False to trust whoever answers.
    """

    certificate: str | None = None
    private_key: str | None = None
    authorities: str | None = None
    revocations: str | None = None
    ciphers: str | None = None
    suites: str | None = None
    minimum: str = "TLSv1_2"
    maximum: str = "TLSv1_3"
    name: str | None = None
    common_name: bool = False
    server_name: str | None = None
    verify: bool = True

    @classmethod
    def for_host(cls, host: str, authorities: str | None = None) -> TLSSettings:
        """
        What a host of that name or address wants: it is verified, and told its
        name.  For anything else there is ``dataclasses.replace``.

        :param host: as for the endpoint: a name or an address.
        :param authorities: a PEM file with the CAs to trust, or a directory of
            such files; None for the system's.
        """
        name = reference_identity(host)
        return cls(authorities=authorities, name=name, server_name=name)


@dataclass(frozen=True)
class ConnectSettings:
    """
    How a TCP connection is to be made.

    :ivar attempt_delay: seconds until the next address joins the race.
    :ivar attempt_timeout: seconds that one address, and the look-up of the
        name, may take.
    :ivar local_ip: the address to bind to, "" for any.
    :ivar local_port: the port to bind to, 0 for any.
    :ivar interface: the network interface to bind to, "" for any.
    :ivar family: 4 or 6 for that family only, 0 for both.
    :ivar nodelay: whether to set TCP_NODELAY.
    """

    attempt_delay: float = 0.25
    attempt_timeout: float = 60.0
    local_ip: str = ""
    local_port: int = 0
    interface: str = ""
    family: int = 0
    nodelay: bool = False


@dataclass(frozen=True)
class Shutdown:
    """
    When the server is told that no more will be sent (FIN, or close_notify over TLS).

    After the end of input the server has to be quiet for some time, in seconds; 0 is
    at once, and infinity is never.

    :ivar answered: if the server has sent something since our last byte.
    :ivar unanswered: if it has not, so that it may owe an answer.
    :ivar typed: if the input is a terminal.
    """

    answered: float = 5.0
    unanswered: float = 15.0
    typed: float = 1.0

    @classmethod
    def after(cls, seconds: float) -> Shutdown:
        """
        Return the same time for all three.

        :param seconds: 0 for at once, ``math.inf`` for never.
        """
        return cls(seconds, seconds, seconds)


def _ignore(message: str) -> None:
    """Drop a message."""


@dataclass(frozen=True)
class RelaySettings:
    """
    How bytes are relayed between a connection and two descriptors.

    :ivar idle: seconds without progress after which the connection is given up; None
        for no limit.
    :ivar shutdown: when the server is told of the end of input.
    :ivar ignore_unexpected_eof: whether FIN without close_notify, which an attacker can
        send, is an orderly end of TLS.
    :ivar translate: a function that is applied to the input before it is sent; None
        sends it as it is.
    :ivar note: called with a message for each step towards the end.
    :ivar warn: called with a message about an orderly end that is probably a fault.
    """

    idle: float | None = None
    shutdown: Shutdown = field(default_factory=Shutdown)
    ignore_unexpected_eof: bool = False
    translate: Callable[[bytes], bytes] | None = None
    note: Callable[[str], None] = _ignore
    warn: Callable[[str], None] = _ignore


@dataclass(frozen=True)
class LookupSettings:
    """
    What to find out for prog.

    :ivar remote_host: whether to look up the name of the server.
    :ivar remote_info: whether to ask the server's ident (RFC 1413).
    :ivar local_host: our own name; None to look it up.
    :ivar timeout: seconds that each of the look-ups may take.
    """

    remote_host: bool = True
    remote_info: bool = True
    local_host: str | None = None
    timeout: float = 26.0


@dataclass(frozen=True)
class Settings:
    """
    One run.

    :ivar host: a name or an address; the path of a UNIX socket, or ``@`` and an
        abstract name, where ``port`` is None.
    :ivar port: 1 to 65535, or None.
    :ivar endpoint: the description of a Twisted client endpoint, to be connected
        in the place of host and port; None where these say it all.
    :ivar program: prog and its arguments; empty for client mode.
    :ivar verbosity: 0 silent, 1 errors, 2 errors and progress.
    :ivar starttls: the dialect to secure the connection with, or None.
    :ivar greeting: whether it is then to make up a greeting.
    :ivar tls: None for a connection in clear.
    :ivar idle: seconds without any progress after which the session is given
        up; None for no limit.
    :ivar shutdown: when the server is told of the end of input.
    :ivar ignore_unexpected_eof: whether FIN without close_notify is an orderly end of
        TLS.
    :ivar provider: whether prog is to have TLS_PROVIDER.
    :ivar crlf: whether client mode turns LF from stdin into CRLF.
    """

    host: str
    port: int | None
    endpoint: str | None = None
    program: tuple[str, ...] = ()
    verbosity: int = 1
    connect: ConnectSettings = field(default_factory=ConnectSettings)
    lookup: LookupSettings = field(default_factory=LookupSettings)
    starttls: str | None = None
    greeting: bool = False
    tls: TLSSettings | None = None
    idle: float | None = 300.0
    shutdown: Shutdown = field(default_factory=Shutdown)
    ignore_unexpected_eof: bool = False
    provider: bool = False
    crlf: bool = False

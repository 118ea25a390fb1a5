"""
Frozen values: the settings of a run, and the host with its three names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address

#: The directory of certificates in the C tcpclient.
CERTIFICATES = "/etc/indimail/certs"

#: The length of the longest name, in characters, without its final dot (RFC 1035,
#: 2.3.4).
LONGEST_NAME = 253

#: Labels of RFC 1123, 2.1, in lower case.  It allows no underscore in a host name, but
#: names in DNS (RFC 8552) and in hosts(5) contain them.
_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")

#: Zero width non-joiner and joiner: allowed in some contexts only (RFC 5892, A).
_JOINERS = "\u200c\u200d"


@dataclass(frozen=True)
class Host:
    """
    A host as typed, and the names derived from it.  ``0`` and "" mean this machine.

    The names are properties, so that a host can be kept and shown before it is checked.
    :attr:`lookup`, :attr:`reference` and :attr:`server_name` raise ValueError if
    the text is neither an IP address nor a name.
    """

    typed: str

    @property
    def name(self) -> str:
        """The name to verify, as typed: ``localhost`` for this machine."""
        return "localhost" if self.typed in ("", "0") else self.typed

    @property
    def lookup(self) -> str:
        """
        The name to look up, or the address to connect to.

        An IP address loses its brackets and keeps its zone (RFC 4007, 11).  A name
        becomes lower case and ASCII by UTS 46, non-transitional.  Converting the result
        once more changes nothing.
        """
        return _converted(self.typed or "0")

    @property
    def reference(self) -> str:
        """
        The reference identifier (RFC 9525, 6.1): the name without its final dot, or the
        IP address without its zone: certificates contain neither dot nor zone.
        """
        host = _converted(self.name)
        return host.partition("%")[0] if is_ip(host) else host.removesuffix(".")

    @property
    def server_name(self) -> str | None:
        """The name to send as SNI, None for an IP address (RFC 6066, 3)."""
        reference = self.reference
        return None if is_ip(reference) else reference


def _converted(typed: str) -> str:
    """
    Return the name to look up, or the IP address, for a host as typed.

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

    # STD3 rules would refuse underscores, which names in DNS and hosts(5) contain.  The
    # argument ``transitional`` is False by default, and deprecated since idna 3.20.
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


def is_ip(name: str) -> bool:
    """Return whether a name is an IP address; an IPv6 zone has to be ASCII."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return name.isascii()


@dataclass(frozen=True)
class TLSSettings:
    """
    The settings of TLS.

    :ivar certificate: PEM file with the client certificate, its chain and its key; None
        for no client certificate.
    :ivar private_key: PEM file with the key, if that is another file.
    :ivar authorities: PEM file with the CAs to trust, or a directory of such files
        (``*.pem``); None for the system's.
    :ivar revocations: PEM file with CRLs; None to check no certificate against CRLs.
    :ivar ciphers: OpenSSL cipher list for TLS 1.2; None for the default.
    :ivar suites: TLS 1.3 cipher suites; None for the default.
    :ivar minimum: the lowest version, "TLSv1_2" or "TLSv1_3".
    :ivar maximum: the highest version.
    :ivar name: the reference identity, a DNS name or an IP address as typed; None
        to check the chain only, as over a UNIX socket.
    :ivar common_name: whether a certificate without a DNS name and an IP address may
        match by its common name: only for a name that the user gave (``-m``).
    :ivar server_name: the host whose name to send as SNI, as typed; None for no SNI.
        An IP address is never sent as SNI (RFC 6066, 3).
    :ivar verify: whether to verify the server; False accepts any certificate.
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
        Return the settings that verify a host by its name and send the name as SNI.

        ``dataclasses.replace`` changes other fields.

        :param host: as for the endpoint: a name or an address.
        :param authorities: a PEM file with the CAs to trust, or a directory of
            such files; None for the system's.
        """
        name = Host(host).name
        return cls(authorities=authorities, name=name, server_name=name)


@dataclass(frozen=True)
class ConnectSettings:
    """
    The settings of TCP connections.

    :ivar attempt_delay: seconds between the starts of two attempts (RFC 8305, 5).
    :ivar attempt_timeout: seconds for the look-up, and again for each attempt.
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
    When to tell the server that the input has ended (FIN, or close_notify over TLS).

    The values are the seconds for which the server has to be quiet after EOF; 0 is at
    once, and infinity is never.

    :ivar answered: the time if the server has sent data since the last byte to it.
    :ivar unanswered: the time if it has not: an answer may be due.
    :ivar typed: the time if the input is a terminal.
    """

    answered: float = 5.0
    unanswered: float = 15.0
    typed: float = 1.0

    @classmethod
    def after(cls, seconds: float) -> Shutdown:
        """
        Return the settings with the same time in all three cases.

        :param seconds: 0 for at once, ``math.inf`` for never.
        """
        return cls(seconds, seconds, seconds)


def _ignore(message: str) -> None:
    """Ignore a message, as ``note`` and ``warn`` do by default."""


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
    :ivar note: called with a message at each step towards the end.
    :ivar warn: called with a message about an orderly end that is probably a fault.
    """

    idle: float | None = None
    shutdown: Shutdown = field(default_factory=Shutdown)
    ignore_unexpected_eof: bool = False
    translate: Callable[[bytes], bytes] | None = None
    note: Callable[[str], None] = field(default_factory=lambda: _ignore)
    warn: Callable[[str], None] = field(default_factory=lambda: _ignore)


@dataclass(frozen=True)
class LookupSettings:
    """
    The look-ups for the environment of prog.

    :ivar remote_host: whether to look up the name of the server's host.
    :ivar remote_info: whether to ask ident on the server's host (RFC 1413).
    :ivar local_host: the name of this host; None to look it up.
    :ivar timeout: seconds that each of the look-ups may take.
    """

    remote_host: bool = True
    remote_info: bool = True
    local_host: str | None = None
    timeout: float = 26.0


@dataclass(frozen=True)
class Settings:
    """
    The settings of one run of the command.

    :ivar host: a name or an address; if ``port`` is None, the path of a UNIX socket, or
        ``@`` and an abstract name.
    :ivar port: 1 to 65535, or None.
    :ivar endpoint: the description of a Twisted client endpoint, which is connected
        instead of host and port; None to connect to host and port.
    :ivar program: prog and its arguments; empty for client mode.
    :ivar verbosity: 0 silent, 1 errors, 2 errors and progress.
    :ivar connect: the settings of TCP connections.
    :ivar lookup: the look-ups for prog.
    :ivar starttls: the name of the dialect for STARTTLS, or None.
    :ivar greeting: whether the dialect makes up a greeting after STARTTLS.
    :ivar tls: the settings of TLS; None for a connection in clear.
    :ivar idle: seconds without any progress after which the session ends; None for no
        limit.
    :ivar shutdown: when the server is told of the end of input.
    :ivar ignore_unexpected_eof: whether FIN without close_notify is an orderly end of
        TLS.
    :ivar provider: whether prog gets TLS_PROVIDER.
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

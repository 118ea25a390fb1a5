"""
The command line: the only reader of argv.

Every value is parsed and checked here, so that what comes after has nothing to
doubt.  A command line that is wrong raises ``usage.UsageError``.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, NoReturn

from twisted.python import usage

from twisted_tcpclient import __version__
from twisted_tcpclient.errors import SettingsError
from twisted_tcpclient.report import ERRORS, PROGRESS, SILENT, os_reason, printable
from twisted_tcpclient.settings import (
    CERTIFICATES,
    ConnectSettings,
    LookupSettings,
    Settings,
    TLSSettings,
    reference_identity,
    sni,
)

_GONE = ("SSLv2", "SSLv3", "TLSv1", "TLSv1_1")
_VERSIONS = ("TLSv1_2", "TLSv1_3")


def _print(text: str) -> NoReturn:
    """
    Print what was asked for, and exit.

    :raises SettingsError: if it cannot be printed.
    """
    data = text.encode()
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError as error:
        raise SettingsError(
            f"unable to write standard output: {os_reason(error)}"
        ) from None
    raise SystemExit(0)


def _number(text: str, what: str) -> int:
    """A whole number that is not negative, in ASCII digits."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise usage.UsageError(f"{what}: not a number: {printable(text)!r}")
    return int(text)


def _not_empty(text: str, what: str) -> str:
    """An unset variable in a script must not turn a restriction off."""
    if not text:
        raise usage.UsageError(f"{what} is empty")
    return text


def _port(text: str, what: str) -> int:
    number = _number(text, what)
    if not 0 < number < 65536:
        raise usage.UsageError(f"{what}: not from 1 to 65535: {number}")
    return number


class Options(usage.Options):
    """
    The options of ``tcpclient`` and of ``twist tcpclient``.

    Options that exclude each other write to the same key: the last one wins.
    """

    optFlags = [
        ["tls", None, ""],
        ["insecure", "k", ""],
        ["provider", "z", ""],
        ["crlf", None, ""],
        ["greeting", None, ""],
        ["system-names", "e", ""],
    ]
    optParameters = [
        ["local-host", "l", None, ""],
        ["certificate", "n", None, ""],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["verbosity"] = ERRORS
        self["remote-host"] = self["remote-info"] = True
        self["idle"], self["lookup-timeout"] = 300, 26
        self["arguments"] = ()
        for name in (
            *("endpoint", "connect-timeout", "local-ip", "local-port"),
            *("family", "nodelay", "starttls", "versions"),
            *("match", "ca-file", "crl-file", "certificate-directory"),
            *("ciphers", "interface"),
        ):
            self[name] = None

    def getUsage(self, width: int | None = None) -> str:
        """
        What ``twist`` prints after an error: not so much that the error is
        lost from sight.
        """
        return "Try 'twist tcpclient --help'.\n"

    def opt_version(self) -> None:
        """Print the version."""
        _print(f"tcpclient {__version__}\n")

    def opt_help(self) -> None:
        """Print the help."""
        from twisted_tcpclient.help import help_text

        _print(help_text())

    def opt_quiet(self) -> None:
        """Print nothing."""
        self["verbosity"] = SILENT

    opt_q = opt_quiet

    def opt_errors(self) -> None:
        """Print errors."""
        self["verbosity"] = ERRORS

    opt_Q = opt_errors

    def opt_verbose(self) -> None:
        """Print what happens."""
        self["verbosity"] = PROGRESS

    opt_v = opt_verbose

    def opt_ipv4(self) -> None:
        """IPv4 only."""
        self["family"] = 4

    opt_4 = opt_ipv4

    def opt_ipv6(self) -> None:
        """IPv6 only."""
        self["family"] = 6

    opt_6 = opt_ipv6

    def opt_delay(self) -> None:
        """Leave Nagle's algorithm on."""
        self["nodelay"] = False

    opt_d = opt_delay

    def opt_no_delay(self) -> None:
        """Set TCP_NODELAY."""
        self["nodelay"] = True

    opt_D = opt_no_delay

    def opt_remote_host(self) -> None:
        """Look up the name of the server."""
        self["remote-host"] = True

    opt_h = opt_remote_host

    def opt_no_remote_host(self) -> None:
        """Do not look it up."""
        self["remote-host"] = False

    opt_H = opt_no_remote_host

    def opt_remote_info(self) -> None:
        """Ask ident."""
        self["remote-info"] = True

    opt_r = opt_remote_info

    def opt_no_remote_info(self) -> None:
        """Do not ask ident."""
        self["remote-info"] = False

    opt_R = opt_no_remote_info

    def opt_endpoint(self, value: str) -> None:
        """What to connect, in Twisted's words."""
        self["endpoint"] = _not_empty(value, "-E: the description")

    opt_E = opt_endpoint

    def opt_connect_timeout(self, value: str) -> None:
        """Seconds for each address: X+Y, or X."""
        first, plus, second = value.partition("+")
        head = _number(first, "-T")
        total = head + (_number(second, "-T") if plus else 0)
        if not total:
            raise usage.UsageError("-T: 0 seconds are not enough to connect")
        self["connect-timeout"] = min(head, 0.25), float(total)

    opt_T = opt_connect_timeout

    def opt_local_ip(self, value: str) -> None:
        """The address to bind to."""
        try:
            ip_address(value)
        except ValueError:
            raise usage.UsageError(
                f"-i: not an IP address: {printable(value)!r}"
            ) from None
        self["local-ip"] = value

    opt_i = opt_local_ip

    def opt_local_port(self, value: str) -> None:
        """The port to bind to."""
        self["local-port"] = 0 if value == "0" else _port(value, "-p")

    opt_p = opt_local_port

    def opt_interface(self, value: str) -> None:
        """The network interface to bind to."""
        self["interface"] = _not_empty(value, "-I: the name")

    opt_I = opt_interface

    def opt_idle_timeout(self, value: str) -> None:
        """Seconds without progress."""
        self["idle"] = _number(value, "-a")

    opt_a = opt_idle_timeout

    def opt_lookup_timeout(self, value: str) -> None:
        """Seconds for each look-up."""
        self["lookup-timeout"] = _number(value, "-t")

    opt_t = opt_lookup_timeout

    def opt_starttls(self, value: str) -> None:
        """The dialect."""
        self["starttls"] = value

    opt_s = opt_starttls

    def opt_tls_method(self, value: str) -> None:
        """One version, or a range."""
        if value == "SSLv23":
            self["versions"] = _VERSIONS
            return
        first, colon, last = value.partition(":")
        versions = (first, last if colon else first)
        for version in versions:
            if version in _GONE:
                raise usage.UsageError(
                    f"-M: {version} is gone: it is not secure;"
                    " there are TLSv1_2 and TLSv1_3"
                )
            if version not in _VERSIONS:
                raise usage.UsageError(
                    f"-M: no such version: {printable(version)!r}"
                    " (there are: TLSv1_2, TLSv1_3)"
                )
        if versions[0] > versions[1]:
            raise usage.UsageError(f"-M: the range is empty: {value}")
        self["versions"] = versions

    opt_M = opt_tls_method

    def opt_ciphers(self, value: str) -> None:
        """A list, or a file with one."""
        self["ciphers"] = _not_empty(value, "-f: the list")

    opt_f = opt_ciphers

    def opt_match(self, value: str) -> None:
        """The reference identity."""
        self["match"] = _not_empty(value, "-m: the name")

    opt_m = opt_match

    def opt_certificate_directory(self, value: str) -> None:
        """Where the files are that no option names."""
        self["certificate-directory"] = _not_empty(value, "-C: the name")

    opt_C = opt_certificate_directory

    def opt_ca_file(self, value: str) -> None:
        """The CAs to trust."""
        self["ca-file"] = _not_empty(value, "-c: the name")

    opt_c = opt_ca_file

    def opt_crl_file(self, value: str) -> None:
        """The revocation lists."""
        self["crl-file"] = _not_empty(value, "-L: the name")

    opt_L = opt_crl_file

    def parseArgs(self, *arguments: str) -> None:
        """HOST PORT prog, or SOCKET prog; with -E, prog."""
        self["arguments"] = arguments

    def postOptions(self) -> None:
        """
        Make the settings; under ``twist``, also keep its log off stdout.

        :raises SettingsError: see :func:`settings`; under ``twist``, which
            knows no other, it is a ``usage.UsageError``.
        """
        try:
            self.settings = settings(self, os.environ)
        except SettingsError as error:
            if self.parent is None:
                raise
            raise usage.UsageError(str(error)) from None
        if self.parent is not None:
            self._calm(self.parent)

    def _calm(self, twist: usage.Options) -> None:
        """Keep the log of ``twist`` off stdout, and to what matters."""
        from twisted.logger import LogLevel

        if twist["logFile"] is sys.stdout:
            twist["logFile"] = sys.stderr
        if twist["logLevel"] is LogLevel.info and self["verbosity"] < PROGRESS:
            twist["logLevel"] = LogLevel.warn


def _service(text: str) -> int:
    """A port by number or by name."""
    if text.isascii() and text.isdigit():
        return _port(text, "port")
    try:
        return socket.getservbyname(text, "tcp")
    except (OSError, UnicodeError):
        raise SettingsError(
            f"unable to figure out port number for {printable(text)}"
        ) from None


def _is_socket(host: str) -> bool:
    return "/" in host or host.startswith("@")


def _dialect(name: str | None) -> str | None:
    """
    The name of the dialect, as it writes itself.

    :raises SettingsError: if it is of another package, and cannot be used.
    """
    if name is None:
        return None
    from twisted_tcpclient import registry

    try:
        return registry.find(name).name
    except registry.UnknownDialect as error:
        known = ", ".join(error.known)
        raise usage.UsageError(
            f"-s: no such protocol: {printable(name)!r} (there are: {known})"
        ) from None


def _ciphers(
    value: str | None, environ: Mapping[str, str]
) -> tuple[str | None, str | None]:
    """
    The cipher list and the TLS 1.3 suites.

    :raises SettingsError: if the file named for them cannot be read, or there are
        none.
    """
    if value is None:
        lists = environ.get("TLS_CIPHER_LIST"), environ.get("TLS_CIPHER_SUITE")
        return lists[0] or None, lists[1] or None
    if "/" in value or os.path.exists(value):
        value = _first_word(value)
    names = value.split(":")
    suites = [name for name in names if name.startswith("TLS_")]
    others = [name for name in names if name and not name.startswith("TLS_")]
    if not (suites or others):
        raise SettingsError(f"no usable cipher in {printable(value)!r}")
    return ":".join(others) or None, ":".join(suites) or None


def _first_word(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            words = file.read().split()
    except OSError as error:
        raise SettingsError(
            f"unable to read ciphers {printable(path)}: {os_reason(error)}"
        ) from None
    if not words:
        raise SettingsError(f"no ciphers in {printable(path)}")
    return words[0]


def _certificate_file(
    given: str | None,
    variable: str | None,
    default: str,
    folder: str,
    usable: Callable[[str], bool] = lambda path: os.access(path, os.R_OK),
) -> str | None:
    """
    The file for one purpose: as given, else from the environment, else the
    default in the certificate directory if it can be used.
    """
    if given:
        return given
    if variable:
        return variable if variable[0] in "./" else os.path.join(folder, variable)
    path = os.path.join(folder, default)
    return path if usable(path) else None


def _wants_tls(options: Options) -> bool:
    """Whether TLS is asked for: by --tls, by -n, or by -s alone."""
    return bool(
        options["tls"] or options["certificate"] is not None or options["starttls"]
    )


def _reference_identity(options: Options, host: str) -> str | None:
    """The name the certificate has to have; None where nobody has said one."""
    name: str | None = options["match"]
    if name is not None or options["endpoint"] is not None or _is_socket(host):
        return name
    return reference_identity(host)


def _tls(options: Options, host: str, environ: Mapping[str, str]) -> TLSSettings:
    """What is asked for, and what is found."""
    folder = options["certificate-directory"] or environ.get("CERTDIR") or CERTIFICATES
    name = _reference_identity(options, host)
    ciphers, suites = _ciphers(options["ciphers"], environ)
    minimum, maximum = options["versions"] or _VERSIONS
    return TLSSettings(
        certificate=(
            None
            if options["certificate"] is None
            else _certificate_file(
                options["certificate"],
                environ.get("TLS_CERTFILE"),
                "clientcert.pem",
                folder,
            )
        ),
        authorities=_certificate_file(
            options["ca-file"], environ.get("SERVERCA"), "serverca.pem", folder
        ),
        revocations=_certificate_file(
            options["crl-file"],
            environ.get("SERVERCRL"),
            "servercrl.pem",
            folder,
            # One that cannot be read is an error: to check nothing is less safe.
            os.path.lexists,
        ),
        ciphers=ciphers,
        suites=suites,
        minimum=minimum,
        maximum=maximum,
        name=name,
        common_name=options["match"] is not None,
        server_name=sni(name) if name else None,
        verify=not options["insecure"],
    )


def _connect(options: Options) -> ConnectSettings:
    """How to connect: what was asked for, and the defaults for the rest."""
    asked: dict[str, Any] = {
        "local_ip": options["local-ip"],
        "local_port": options["local-port"],
        "interface": options["interface"],
        "family": _family(options["local-ip"], options["family"]),
        "nodelay": options["nodelay"],
    }
    if options["connect-timeout"] is not None:
        asked["attempt_delay"], asked["attempt_timeout"] = options["connect-timeout"]
    return ConnectSettings(**{k: v for k, v in asked.items() if v is not None})


def _family(local_ip: str | None, family: int | None) -> int | None:
    """The family asked for, or that of the local address."""
    if local_ip is None:
        return family
    version = ip_address(local_ip).version
    if family not in (None, version):
        raise usage.UsageError(f"-i and -{family} do not go together")
    return version


def _destination(options: Options) -> tuple[str, int | None, tuple[str, ...]]:
    """Host, port and prog."""
    arguments: list[str] = list(options["arguments"])
    if options["endpoint"] is not None:
        return "", None, tuple(arguments)
    if not arguments:
        raise usage.UsageError("no host given")
    host = arguments.pop(0)
    port = None
    if not _is_socket(host):
        if not arguments:
            raise usage.UsageError("no port given")
        port = _service(arguments.pop(0))
    return host, port, tuple(arguments)


#: What the description says in the place of these options.
_OF_THE_STREAM = {
    "connect-timeout": "-T",
    "local-ip": "-i",
    "local-port": "-p",
    "interface": "-I",
    "family": "-4 or -6",
    "nodelay": "-d or -D",
}
#: These are about TLS of ours, of which a description knows nothing.
_OF_OUR_TLS = {
    "match": "-m",
    "ca-file": "-c",
    "crl-file": "-L",
    "certificate-directory": "-C",
    "versions": "-M",
    "ciphers": "-f",
    "insecure": "-k",
}


def _check_endpoint(options: Options) -> None:
    """
    Refuse what would be dropped in silence next to -E.

    :raises usage.UsageError: if there is any such option; or if nobody has said
        whom a certificate has to be for.
    """
    if options["endpoint"] is None:
        return
    for name, letter in _OF_THE_STREAM.items():
        if options[name] is not None:
            raise usage.UsageError(f"{letter}: has no meaning with -E")
    if _wants_tls(options):
        if options["match"] is None and not options["insecure"]:
            raise usage.UsageError(
                "-E with --tls or -s needs -m, the name in the server's certificate,"
                " or -k"
            )
        return
    for name, letter in _OF_OUR_TLS.items():
        if options[name]:
            raise usage.UsageError(
                f"{letter}: has no meaning with -E without --tls or -s:"
                " the description says how TLS of its own is done"
            )


def _greeting(options: Options, dialect: str | None) -> bool:
    """
    Whether there is to be a greeting, in the place of that before STARTTLS.

    :raises usage.UsageError: if there is none to be had.
    """
    if not options["greeting"]:
        return False
    if dialect is None:
        raise usage.UsageError("--greeting: has no meaning without -s")
    from twisted_tcpclient import registry

    if registry.find(dialect).greeting is None:
        raise usage.UsageError(f"--greeting: {dialect} has none")
    return True


def settings(options: Options, environ: Mapping[str, str]) -> Settings:
    """
    The settings for parsed options.

    :raises usage.UsageError: if the command line is wrong.
    :raises SettingsError: if it names a port or a file that is not there.
    """
    _check_endpoint(options)
    starttls = _dialect(options["starttls"])
    host, port, program = _destination(options)
    return Settings(
        host=host,
        port=port,
        endpoint=options["endpoint"],
        program=program,
        verbosity=options["verbosity"],
        connect=_connect(options),
        lookup=LookupSettings(
            remote_host=options["remote-host"],
            remote_info=options["remote-info"],
            local_host=options["local-host"],
            timeout=options["lookup-timeout"],
        ),
        starttls=starttls,
        greeting=_greeting(options, starttls),
        tls=_tls(options, host, environ) if _wants_tls(options) else None,
        idle=options["idle"] or None,
        provider=bool(options["provider"]),
        crlf=bool(options["crlf"]),
    )

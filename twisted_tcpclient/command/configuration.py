"""
The conversion of the parsed options and the environment into settings.

Options that contradict each other are refused, and so are options without effect.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from twisted.python.usage import UsageError

from twisted_tcpclient import values
from twisted_tcpclient.command.table import Needs, Option
from twisted_tcpclient.errors import SettingsError
from twisted_tcpclient.settings import (
    CERTIFICATES,
    ConnectSettings,
    LookupSettings,
    Settings,
    Shutdown,
    TLSSettings,
)
from twisted_tcpclient.text import os_reason, printable

if TYPE_CHECKING:
    from twisted_tcpclient.dialects import Dialect

#: The parsed options, by the keys of the table.
Options = Mapping[str, Any]

Environment = Mapping[str, str]


def settings(
    options: Options, given: Mapping[str, Option], environ: Environment
) -> Settings:
    """
    Return the settings for parsed options.

    :param given: the options on the command line, by key.
    :raises UsageError: if the command line is wrong.
    :raises SettingsError: if it names a port or a file that does not exist.
    """
    _check_effects(options, given)
    dialect = _chosen_dialect(options)
    host, port, program = _destination(options)
    _check_program(options, program)
    return Settings(
        host=host,
        port=port,
        endpoint=options["endpoint"],
        program=program,
        verbosity=options["verbosity"],
        connect=_connect_settings(options),
        lookup=_lookup(options),
        starttls=None if dialect is None else dialect.name,
        greeting=_greeting(options, dialect),
        tls=_tls_settings(options, host, environ) if _wants_tls(options) else None,
        idle=options["idle-timeout"] or None,
        shutdown=options["shutdown"] or Shutdown(),
        ignore_unexpected_eof=bool(options["ignore-unexpected-eof"]),
        provider=bool(options["provider"]),
        crlf=bool(options["crlf"]),
    )


# Options without effect.


def _check_effects(options: Options, given: Mapping[str, Option]) -> None:
    """
    Refuse options that would have no effect, and TLS without a name to verify.

    :raises UsageError: if there is any such option.
    """
    for option in given.values():
        if reason := _no_effect(option.needs, options):
            raise UsageError(f"{option.spelling}: {reason}")
    described = options["endpoint"] is not None
    named = options["match"] is not None or options["insecure"]
    if described and _wants_tls(options) and not named:
        raise UsageError(
            "-E with --tls or -s needs -m, the name in the server's certificate, or -k"
        )


def _no_effect(needs: Needs, options: Options) -> str:
    """Return why an option with these needs has no effect, "" if it has one."""
    described = options["endpoint"] is not None
    tls = _wants_tls(options)
    match needs:
        case Needs.HOST if described:
            return "has no meaning with -E"
        case Needs.STARTTLS if options["starttls"] is None:
            return "has no meaning without -s"
        case Needs.TLS if described and not tls:
            return (
                "has no meaning with -E without --tls or -s:"
                " the description says how TLS of its own is done"
            )
        case Needs.TLS if not tls:
            return "has no meaning without TLS: add --tls, or -s PROTOCOL for STARTTLS"
        case Needs.ANY_TLS if not tls and not described:
            return "has no meaning without --tls or -s"
    return ""


def _check_program(options: Options, program: tuple[str, ...]) -> None:
    """
    Refuse options that have no effect on prog, which writes to the server itself.

    :raises UsageError: if there is any such option.
    """
    if program and options["crlf"]:
        raise UsageError(f"--crlf: has no effect on {printable(program[0])}")


# Where to connect to, and how.


def _destination(options: Options) -> tuple[str, int | None, tuple[str, ...]]:
    """
    Return host, port and prog from the arguments.

    :raises UsageError: if host or port is missing or wrong.
    :raises SettingsError: if the port has an unknown name.
    """
    arguments: tuple[str, ...] = options["arguments"]
    if options["endpoint"] is not None:
        return "", None, arguments
    if not arguments:
        raise UsageError("no host given")
    host, *rest = arguments
    if _is_socket(host):
        if options["tcp"]:
            raise UsageError(f"--tcp: HOST is a UNIX socket: {printable(host)!r}")
        return host, None, tuple(rest)
    if not rest:
        raise UsageError("no port given")
    return host, _service(rest[0]), tuple(rest[1:])


def _is_socket(host: str) -> bool:
    """Return whether the first argument is a UNIX socket."""
    return "/" in host or host.startswith("@")


def _service(text: str) -> int:
    """
    Return a port, given by number or by name.

    :raises UsageError: if the number is out of range.
    :raises SettingsError: if the system does not know the name.
    """
    if text.isascii() and text.isdigit():
        try:
            return values.port(text)
        except ValueError as error:
            raise UsageError(f"port: {error}") from None
    try:
        return socket.getservbyname(text, "tcp")
    except (OSError, UnicodeError):
        raise SettingsError(
            f"unable to figure out port number for {printable(text)}"
        ) from None


def _connect_settings(options: Options) -> ConnectSettings:
    """Return the settings of TCP connections."""
    delay, timeout = options["connect-timeout"]
    local_ip = options["local-ip"]
    return ConnectSettings(
        attempt_delay=delay,
        attempt_timeout=timeout,
        local_ip=local_ip or "",
        local_port=options["local-port"] or 0,
        interface=options["interface"] or "",
        family=_family(local_ip, options["family"]),
        nodelay=options["no-delay"],
    )


def _family(local_ip: str | None, family: int | None) -> int:
    """
    Return the family of the local address, or the one given by -4 or -6; 0 is any.

    :raises UsageError: if they differ.
    """
    if local_ip is None:
        return family or 0
    version = ip_address(local_ip).version
    if family not in (None, version):
        raise UsageError(f"-i and -{family} do not go together")
    return version


def _lookup(options: Options) -> LookupSettings:
    """Return the settings of the look-ups for prog."""
    return LookupSettings(
        remote_host=options["remote-host"],
        remote_info=options["remote-info"],
        local_host=options["local-host"],
        timeout=options["lookup-timeout"],
    )


# STARTTLS and TLS.


def _wants_tls(options: Options) -> bool:
    """Return whether TLS is asked for: by --tls, by -n, or by -s."""
    asked = options["tls"], options["certificate"], options["starttls"]
    return any(each is not None for each in asked)


def _chosen_dialect(options: Options) -> Dialect | None:
    """
    Return the dialect of -s.

    :raises UsageError: if there is no such dialect.
    :raises SettingsError: if it comes from another package and cannot be used.
    """
    if options["starttls"] is None:
        return None
    try:
        return values.dialect(options["starttls"])
    except ValueError as error:
        raise UsageError(f"-s: {error}") from None


def _greeting(options: Options, dialect: Dialect | None) -> bool:
    """
    Return whether prog or stdout gets a made-up greeting.

    :raises UsageError: if the dialect has none.
    """
    if dialect is None or not options["greeting"]:
        return False
    if dialect.greeting is None:
        raise UsageError(f"--greeting: {dialect.name} has none")
    return True


def _tls_settings(options: Options, host: str, environ: Environment) -> TLSSettings:
    """Return the settings for TLS, from options, environment and directory."""
    folder = _folder(options, environ)
    ciphers, suites = _ciphers(options["ciphers"], environ)
    minimum, maximum = options["tls-method"]
    return replace(
        _names_to_verify(options, host),
        certificate=_certificate(options, environ, folder),
        authorities=_file(
            options["ca-file"], environ.get("SERVERCA"), "serverca.pem", folder
        ),
        revocations=_file(
            options["crl-file"], environ.get("SERVERCRL"), "servercrl.pem", folder
        ),
        ciphers=ciphers,
        suites=suites,
        minimum=minimum,
        maximum=maximum,
        verify=not options["insecure"],
    )


def _names_to_verify(options: Options, host: str) -> TLSSettings:
    """Return settings with the name to verify: that of -m, or the host."""
    match: str | None = options["match"]
    if match is not None:
        return replace(TLSSettings.for_host(match), common_name=True)
    if options["endpoint"] is not None or _is_socket(host):
        return TLSSettings()
    return TLSSettings.for_host(host)


def _ciphers(value: str | None, environ: Environment) -> tuple[str | None, str | None]:
    """
    Return the cipher list and the TLS 1.3 suites.

    :raises SettingsError: if the file with the list cannot be read, or the list is
        empty.
    """
    if value is None:
        lists = environ.get("TLS_CIPHER_LIST"), environ.get("TLS_CIPHER_SUITE")
        return lists[0] or None, lists[1] or None
    # No cipher list contains a slash.  HIGH is a list, even if a file has that name.
    if "/" in value:
        value = _first_word(value)
    names = value.split(":")
    suites = [name for name in names if name.startswith("TLS_")]
    others = [name for name in names if name and not name.startswith("TLS_")]
    if not (suites or others):
        raise SettingsError(f"no usable cipher in {printable(value)!r}")
    return ":".join(others) or None, ":".join(suites) or None


def _first_word(path: str) -> str:
    """
    Return the first word of a file with ciphers.

    :raises SettingsError: if it cannot be read, or is empty.
    """
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


# Files of TLS.


def _folder(options: Options, environ: Environment) -> str:
    """
    Return the certificate directory.

    :raises SettingsError: if it was named and is not a directory: only the default may
        be absent.
    """
    named: str | None = options["certificate-directory"] or environ.get("CERTDIR")
    if not named:
        return CERTIFICATES
    try:
        if not stat.S_ISDIR(os.stat(named).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except OSError as error:
        raise SettingsError(
            f"unable to use certificate directory {printable(named)}:"
            f" {os_reason(error)}"
        ) from None
    return named


def _certificate(options: Options, environ: Environment, folder: str) -> str | None:
    """Return the file with the client certificate, None without -n."""
    given: str | None = options["certificate"]
    if given is None:
        return None
    return _file(given, environ.get("TLS_CERTFILE"), "clientcert.pem", folder)


def _file(
    given: str | None, variable: str | None, default: str, folder: str
) -> str | None:
    """
    Return the file for one purpose: as given, else from the environment, else the
    default in the certificate directory if there is one.

    :raises SettingsError: if the directory cannot be searched: it may hold a CRL, and
        without that a revoked certificate would be accepted.
    """
    if given:
        return given
    if variable:
        return variable if variable[0] in "./" else os.path.join(folder, variable)
    path = os.path.join(folder, default)
    try:
        # lstat(), not stat(): a dangling symbolic link is not an absent file.
        os.lstat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(
            f"unable to look for {printable(path)}: {os_reason(error)}"
        ) from None
    return path

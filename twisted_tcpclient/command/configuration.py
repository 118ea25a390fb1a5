"""
From the options and the environment to settings.

What nobody has asked for has its default here.  Options that contradict each other
are refused, and so are those that would have no effect.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from twisted.python.usage import UsageError

from twisted_tcpclient.errors import SettingsError
from twisted_tcpclient.settings import (
    CERTIFICATES,
    ConnectSettings,
    LookupSettings,
    Settings,
    Shutdown,
    TLSSettings,
    reference_identity,
)
from twisted_tcpclient.text import os_reason, printable
from twisted_tcpclient.values import VERSIONS, port

#: What the options say, by their long names.
Options = Mapping[str, Any]


def _service(text: str) -> int:
    """A port by number or by name."""
    if text.isascii() and text.isdigit():
        return port(text, "port")
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
        raise UsageError(
            f"-s: no such protocol: {printable(name)!r} (there are: {known})"
        ) from None


def _ciphers(
    value: str | None, environ: Mapping[str, str]
) -> tuple[str | None, str | None]:
    """
    Return the cipher list and the TLS 1.3 suites.

    :raises SettingsError: if the file named for them cannot be read, or there are
        none.
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


def _folder(options: Options, environ: Mapping[str, str]) -> str:
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


def _certificate_file(
    given: str | None, variable: str | None, default: str, folder: str
) -> str | None:
    """
    Return the file for one purpose: as given, else from the environment, else the
    default in the certificate directory if there is one.

    :raises SettingsError: if the directory cannot be searched: it may hold a list of
        revoked certificates that must not be left out.
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
    """Return the settings for TLS, from options, environment and directory."""
    folder = _folder(options, environ)
    name = _reference_identity(options, host)
    ciphers, suites = _ciphers(options["ciphers"], environ)
    minimum, maximum = options["versions"] or VERSIONS
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
            options["crl-file"], environ.get("SERVERCRL"), "servercrl.pem", folder
        ),
        ciphers=ciphers,
        suites=suites,
        minimum=minimum,
        maximum=maximum,
        name=name,
        common_name=options["match"] is not None,
        server_name=name,
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
        raise UsageError(f"-i and -{family} do not go together")
    return version


def _destination(options: Options) -> tuple[str, int | None, tuple[str, ...]]:
    """Host, port and prog."""
    arguments: list[str] = list(options["arguments"])
    if options["endpoint"] is not None:
        return "", None, tuple(arguments)
    if not arguments:
        raise UsageError("no host given")
    host = arguments.pop(0)
    if _is_socket(host):
        if options["tcp"]:
            raise UsageError(f"--tcp: HOST is a UNIX socket: {printable(host)!r}")
        return host, None, tuple(arguments)
    if not arguments:
        raise UsageError("no port given")
    service = _service(arguments.pop(0))
    return host, service, tuple(arguments)


def _check_program(options: Options, program: tuple[str, ...]) -> None:
    """
    Refuse options that have no effect on prog, which writes to the server itself.

    :raises UsageError: if there is any such option.
    """
    if program and options["crlf"]:
        raise UsageError(f"--crlf: has no effect on {printable(program[0])}")


#: What the description says in the place of these options.
_OF_THE_STREAM = {
    "connect-timeout": "-T",
    "local-ip": "-i",
    "local-port": "-p",
    "interface": "-I",
    "family": "-4 or -6",
    "nodelay": "-d or -D",
    "tcp": "--tcp",
}
#: Options that have a meaning only with TLS that this package does.
_OF_OUR_TLS = {
    "match": "-m",
    "ca-file": "-c",
    "crl-file": "-L",
    "certificate-directory": "-C",
    "versions": "-M",
    "ciphers": "-f",
    "insecure": "-k",
}


def _check_effects(options: Options) -> None:
    """
    Refuse options that would have no effect.

    :raises UsageError: if there is any such option.
    """
    if options["endpoint"] is not None:
        _check_endpoint(options)
    if _wants_tls(options):
        return
    for name, letter in _OF_OUR_TLS.items():
        if options[name]:
            raise UsageError(f"{letter}: {_no_tls(options)}")


def _no_tls(options: Options) -> str:
    """Say why an option about TLS has no meaning, and what to add."""
    if options["endpoint"] is None:
        return "has no meaning without TLS: add --tls, or -s PROTOCOL for STARTTLS"
    return (
        "has no meaning with -E without --tls or -s:"
        " the description says how TLS of its own is done"
    )


def _check_endpoint(options: Options) -> None:
    """
    Refuse options that do not go with -E.

    :raises UsageError: if there is any such option, or if TLS has no name to verify.
    """
    for name, letter in _OF_THE_STREAM.items():
        if options[name] is not None:
            raise UsageError(f"{letter}: has no meaning with -E")
    unnamed = options["match"] is None and not options["insecure"]
    if _wants_tls(options) and unnamed:
        raise UsageError(
            "-E with --tls or -s needs -m, the name in the server's certificate, or -k"
        )


def _greeting(options: Options, dialect: str | None) -> bool:
    """
    Whether there is to be a greeting, in the place of that before STARTTLS.

    :raises UsageError: if there is none to be had.
    """
    if not options["greeting"]:
        return False
    if dialect is None:
        raise UsageError("--greeting: has no meaning without -s")
    from twisted_tcpclient import registry

    if registry.find(dialect).greeting is None:
        raise UsageError(f"--greeting: {dialect} has none")
    return True


def _ignores_eof(options: Options) -> bool:
    """
    Return whether FIN without close_notify is an orderly end of TLS.

    :raises UsageError: if there is no TLS.
    """
    if not options["ignore-unexpected-eof"]:
        return False
    if not _wants_tls(options) and options["endpoint"] is None:
        raise UsageError("--ignore-unexpected-eof: has no meaning without --tls or -s")
    return True


def settings(options: Options, environ: Mapping[str, str]) -> Settings:
    """
    Return the settings for parsed options.

    :raises UsageError: if the command line is wrong.
    :raises SettingsError: if it names a port or a file that is not there.
    """
    _check_effects(options)
    starttls = _dialect(options["starttls"])
    host, service, program = _destination(options)
    _check_program(options, program)
    return Settings(
        host=host,
        port=service,
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
        shutdown=options["shutdown"] or Shutdown(),
        ignore_unexpected_eof=_ignores_eof(options),
        provider=bool(options["provider"]),
        crlf=bool(options["crlf"]),
    )

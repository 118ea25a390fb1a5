"""
The command line: the only reader of argv.

Every value is checked as it is read, so that what comes after has nothing to
doubt.  A command line that is wrong raises ``usage.UsageError``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from getopt import GetoptError
from typing import NoReturn

from twisted.python import usage

from twisted_tcpclient import __version__, values
from twisted_tcpclient.command.configuration import settings
from twisted_tcpclient.command.messages import ERRORS, PROGRESS, SILENT
from twisted_tcpclient.errors import SettingsError
from twisted_tcpclient.text import os_reason


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
        ["ignore-unexpected-eof", None, ""],
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
            *("ciphers", "interface", "shutdown", "tcp"),
        ):
            self[name] = None
        # getopt accepts any unique prefix of a long name, so that a new option could
        # break a script.  With each name listed twice no prefix is unique.  Twisted
        # also lists each letter as a long name; these are prefixes, too.
        self._names = [name for name in self.longOpt if len(name.rstrip("=")) > 1]
        self.longOpt = self._names * 2

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Parse a command line.

        :raises UsageError: if it is wrong; for an abbreviated long option, the error
            names the full options.
        """
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            cause = error.__context__
            meant = self._meant(cause) if isinstance(cause, GetoptError) else ""
            if not meant:
                raise
            raise usage.UsageError(meant) from None

    def _meant(self, error: GetoptError) -> str:
        """Return the message for an abbreviated option, "" for any other error."""
        word = error.opt
        names = [name.rstrip("=") for name in self._names]
        # In getopt's message a letter has one dash before it.
        if not word or word in names or f"--{word}" not in error.msg:
            return ""
        full = sorted(f"--{name}" for name in names if name.startswith(word))
        if not full:
            return ""
        return f"option --{word} not recognized: write {' or '.join(full)}"

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
        from twisted_tcpclient.command.help import help_text

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

    def opt_tcp(self) -> None:
        """HOST is never a UNIX socket."""
        self["tcp"] = True

    def opt_endpoint(self, value: str) -> None:
        """What to connect, in Twisted's words."""
        self["endpoint"] = values.not_empty(value, "-E: the description")

    opt_E = opt_endpoint

    def opt_connect_timeout(self, value: str) -> None:
        """Seconds for each address: X+Y, or X."""
        self["connect-timeout"] = values.timeouts(value, "-T")

    opt_T = opt_connect_timeout

    def opt_local_ip(self, value: str) -> None:
        """The address to bind to."""
        self["local-ip"] = values.address(value, "-i")

    opt_i = opt_local_ip

    def opt_local_port(self, value: str) -> None:
        """The port to bind to."""
        self["local-port"] = 0 if value == "0" else values.port(value, "-p")

    opt_p = opt_local_port

    def opt_interface(self, value: str) -> None:
        """The network interface to bind to."""
        self["interface"] = values.not_empty(value, "-I: the name")

    opt_I = opt_interface

    def opt_idle_timeout(self, value: str) -> None:
        """Seconds without progress."""
        self["idle"] = values.number(value, "-a")

    opt_a = opt_idle_timeout

    def opt_shutdown(self, value: str) -> None:
        """When to tell the server of the end of input."""
        self["shutdown"] = values.shutdown(value, "--shutdown")

    def opt_lookup_timeout(self, value: str) -> None:
        """Seconds for each look-up."""
        self["lookup-timeout"] = values.number(value, "-t")

    opt_t = opt_lookup_timeout

    def opt_starttls(self, value: str) -> None:
        """The dialect."""
        self["starttls"] = value

    opt_s = opt_starttls

    def opt_tls_method(self, value: str) -> None:
        """One version, or a range."""
        self["versions"] = values.versions(value, "-M")

    opt_M = opt_tls_method

    def opt_ciphers(self, value: str) -> None:
        """A list, or a file with one."""
        self["ciphers"] = values.not_empty(value, "-f: the list")

    opt_f = opt_ciphers

    def opt_match(self, value: str) -> None:
        """The reference identity."""
        self["match"] = values.name(value, "-m")

    opt_m = opt_match

    def opt_certificate_directory(self, value: str) -> None:
        """Where the files are that no option names."""
        self["certificate-directory"] = values.not_empty(value, "-C: the name")

    opt_C = opt_certificate_directory

    def opt_ca_file(self, value: str) -> None:
        """The CAs to trust."""
        self["ca-file"] = values.not_empty(value, "-c: the name")

    opt_c = opt_ca_file

    def opt_crl_file(self, value: str) -> None:
        """The revocation lists."""
        self["crl-file"] = values.not_empty(value, "-L: the name")

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

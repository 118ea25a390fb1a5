"""
The command line: options, values and arguments, and the errors about them.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections import Counter
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogLevel
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tests.packages import service_port
from tests.transcripts import patient
from twisted_tcpclient import __version__, dialects
from twisted_tcpclient.command import configuration
from twisted_tcpclient.command.help import help_text
from twisted_tcpclient.command.options import Options
from twisted_tcpclient.command.table import GROUPS, OPTIONS, Option
from twisted_tcpclient.errors import SettingsError
from twisted_tcpclient.settings import (
    CERTIFICATES,
    ConnectSettings,
    LookupSettings,
    Settings,
    Shutdown,
    TLSSettings,
)

#: Values that options accept; the others accept "x".
VALUES = {
    "connect-timeout": "5",
    "local-ip": "192.0.2.1",
    "local-port": "4000",
    "idle-timeout": "5",
    "lookup-timeout": "5",
    "starttls": "smtp",
    "tls-method": "TLSv1_3",
    "ciphers": "HIGH",
    "shutdown": "now",
    "certificate-directory": ".",
}

#: Options that have a meaning only with TLS, with values.
OF_TLS = (
    *(("-m", "h"), ("-c", "x"), ("-L", "x"), ("-C", "."), ("-k",)),
    *(("-M", "TLSv1_3"), ("-f", "HIGH")),
)

#: Options that other options need.
NEEDED = {
    "greeting": ("-s", "smtp"),
    "match": ("--tls",),
    "ca-file": ("--tls",),
    "crl-file": ("--tls",),
    "certificate-directory": ("--tls",),
    "tls-method": ("--tls",),
    "ciphers": ("--tls",),
    "insecure": ("--tls",),
    "ignore-unexpected-eof": ("--tls",),
}

#: Characters of arguments: execve() takes all but NUL.
WORD = st.characters(exclude_characters="\0")


def example(option: Option) -> list[str]:
    """Return a value that an option accepts, an empty list for a flag."""
    return [] if option.value is None else [VALUES.get(option.name, "x")]


class Parsing(SynchronousTestCase):
    """Base of tests that parse command lines, in an environment of their own."""

    def setUp(self) -> None:
        """Make an empty certificate directory, and name it in the environment."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.environ: dict[str, str] = {"CERTDIR": str(self.folder)}
        self.patch(os, "environ", self.environ)

    def file(self, name: str, content: str = "x") -> str:
        """Make a file in the certificate directory, and return its path."""
        path = self.folder / name
        path.write_text(content)
        return str(path)

    def parse(self, *arguments: str) -> Settings:
        """Return the settings for a command line."""
        options = Options()
        options.parseOptions(list(arguments))
        return options.settings

    def host(self, *arguments: str) -> Settings:
        """Return the settings for options before a host."""
        return self.parse(*arguments, "mail.example.org", "25")

    def tls(self, *arguments: str, host: str = "mail.example.org") -> TLSSettings:
        """Return the settings for TLS, for options with --tls."""
        settings = self.parse("--tls", *arguments, host, "25").tls
        assert settings is not None
        return settings

    def wrong(self, words: str, *arguments: str) -> None:
        """Check that a command line is a usage error with these words."""
        error = self.assertRaises(usage.UsageError, self.parse, *arguments)
        self.check_message(words, error)

    def fails(self, words: str, *arguments: str) -> None:
        """Check that a command line is refused for the state of the system."""
        error = self.assertRaises(SettingsError, self.parse, *arguments)
        self.check_message(words, error)

    def check_message(self, words: str, error: Any) -> None:
        """Check that a message has these words, in one line of printable ASCII."""
        self.assertIn(words, str(error))
        self.assertRegex(str(error), r"\A[ -~]+\Z")


class ArgumentTests(Parsing):
    """Host, port and prog."""

    def test_defaults(self) -> None:
        """Without options the connection is TCP in clear, with documented defaults."""
        self.assertEqual(
            self.parse("mail.example.org", "25"),
            Settings(
                host="mail.example.org",
                port=25,
                program=(),
                verbosity=1,
                connect=ConnectSettings(
                    attempt_delay=0.25,
                    attempt_timeout=60.0,
                    local_ip="",
                    local_port=0,
                    interface="",
                    family=0,
                    nodelay=False,
                ),
                lookup=LookupSettings(
                    remote_host=True, remote_info=True, local_host=None, timeout=26
                ),
                starttls=None,
                tls=None,
                idle=300,
                shutdown=Shutdown(5, 15, 1),
                provider=False,
                crlf=False,
            ),
        )

    def test_default_settings(self) -> None:
        """The defaults of the library are those of the command."""
        self.assertEqual(self.parse("h", "25"), Settings("h", 25))
        self.assertEqual(self.tls(host="h"), TLSSettings.for_host("h"))

    def test_prog(self) -> None:
        """All arguments after host and port are prog, its options included."""
        settings = self.parse("-v", "h", "25", "prog", "-v", "--", "-x", "", "--tls")
        self.assertEqual(settings.program, ("prog", "-v", "--", "-x", "", "--tls"))
        self.assertIsNone(settings.tls)

    def test_options_end(self) -> None:
        """The options end at ``--`` or at the first argument that is not an option."""
        self.assertEqual(self.parse("-v", "--", "-h", "25").host, "-h")
        self.assertEqual(self.parse("h", "25", "--", "x").program, ("--", "x"))
        self.assertEqual(self.parse("h", "25", "-q").program, ("-q",))

    def test_words_of_twisted(self) -> None:
        """A word by which Twisted asks for completions goes to prog like any other."""
        settings = self.parse("h", "25", "prog", "--_shell-completion", "x")
        self.assertEqual(settings.program, ("prog", "--_shell-completion", "x"))

    def test_sockets(self) -> None:
        """A path or an abstract name has no port."""
        for host in ("/run/smtpd", "./u.sock", "dir/u.sock", "@name", "/"):
            settings = self.parse(host, "25", "x")
            self.assertEqual((settings.host, settings.port), (host, None))
            self.assertEqual(settings.program, ("25", "x"))
            self.assertEqual(self.parse(host).program, ())

    def test_hosts(self) -> None:
        """Any other first argument is a host, and is kept as typed."""
        for host in ("", "0", "::1", "[::1]", "fe80::1%eth0", "127.0.0.1", "a.b"):
            settings = self.parse(host, "25")
            self.assertEqual((settings.host, settings.port), (host, 25))

    def test_tcp(self) -> None:
        """With --tcp a UNIX socket is an error, so that a port never becomes prog."""
        for host in ("/run/smtpd", "./u.sock", "a/b", "@name", "@"):
            self.wrong("--tcp: HOST is a UNIX socket", "--tcp", host, "id", "-u")
        for host in ("", "0", "::1", "mail.example.org"):
            self.assertEqual(self.parse("--tcp", host, "25"), self.parse(host, "25"))
        self.wrong("--tcp: has no meaning with -E", "--tcp", "-E", "tcp:h:1")
        self.wrong("no port", "--tcp", "h")

    def test_ports(self) -> None:
        """A port is a number, or a name that the system knows."""
        for text, number in (
            *(("1", 1), ("65535", 65535), ("00025", 25)),
            ("smtp", service_port("smtp")),
        ):
            self.assertEqual(self.parse("h", text).port, number)

    def test_wrong_ports(self) -> None:
        """A number out of range is a usage error; it is not taken modulo 65536."""
        for text in ("0", "65536", "99999", "4294967321", "9" * 30):
            self.wrong("port", "h", text)

    def test_unknown_ports(self) -> None:
        """An unknown name is a failure of this system, as another may know it."""
        for text in ("nosuchservice", "", "-1", "25 ", "2\u00b25", "\x1b[2J", "+25"):
            self.fails("unable to figure out port number for ", "--", "h", text)

    def test_missing(self) -> None:
        """A command line without host, or without port, is wrong."""
        self.wrong("no host")
        self.wrong("no host", "-v")
        self.wrong("no port", "h")
        self.wrong("no port", "")
        self.wrong("no port", "--tls", "h")


class OptionTests(Parsing):
    """Options, by letter and by name, with right and wrong values."""

    def same(self, expected: Settings, *spellings: tuple[str, ...]) -> None:
        """Check that all spellings give these settings, which are not the defaults."""
        self.assertNotEqual(expected, self.host())
        for spelling in spellings:
            self.assertEqual(self.host(*spelling), expected, spelling)

    def changed(self, **changes: Any) -> Settings:
        """Return the default settings with changes."""
        return replace(self.host(), **changes)

    def connecting(self, **changes: Any) -> Settings:
        """Return the default settings with changes to ConnectSettings."""
        return self.changed(connect=replace(ConnectSettings(), **changes))

    def looking_up(self, **changes: Any) -> Settings:
        """Return the default settings with changes to LookupSettings."""
        return self.changed(lookup=replace(LookupSettings(), **changes))

    def refuses(self, letter: str, name: str, *texts: str) -> None:
        """Check that an option refuses these values, and names its letter."""
        for text in texts:
            self.wrong(f"{letter}: ", f"--{name}={text}", "h", "25")

    def test_every_option(self) -> None:
        """Each option of the table is accepted, by letter and by name alike."""
        for option in OPTIONS:
            if option.key == "print":
                continue
            arguments = [*example(option), *NEEDED.get(option.name, ())]
            by_name = self.host(f"--{option.name}", *arguments)
            by_letter = self.host(option.spelling, *arguments)
            self.assertEqual(by_letter, by_name, option.name)

    def test_last_wins(self) -> None:
        """Of options that exclude each other, the last one counts, however spelled."""
        for options, settings in (
            (("-q", "-Q", "-v"), [self.changed(verbosity=n) for n in (0, 1, 2)]),
            (("-4", "-6"), [self.connecting(family=4), self.connecting(family=6)]),
            (("-d", "-D"), [self.host(), self.connecting(nodelay=True)]),
            (("-h", "-H"), [self.host(), self.looking_up(remote_host=False)]),
            (("-r", "-R"), [self.host(), self.looking_up(remote_info=False)]),
        ):
            for last, expected in zip(options, settings, strict=True):
                for first in options:
                    self.assertEqual(self.host(first, last), expected)
                    self.assertEqual(self.host(first + last[1:]), expected)

    def test_last_value_wins(self) -> None:
        """Of an option given twice, the last value counts, however spelled."""
        self.assertEqual(self.host("-a5", "--idle-timeout=7").idle, 7)
        self.assertEqual(self.host("--local-host=x", "-ly").lookup.local_host, "y")
        self.assertEqual(self.host("-p5", "-p", "7").connect.local_port, 7)

    def test_connect_timeout(self) -> None:
        """-T X+Y is the timeout of each address; the delay is X, or 0.25 if less."""
        for value, delay, total in (
            ("5+10", 0.25, 15),
            ("2+58", 0.25, 60),
            ("7", 0.25, 7),
            ("1+0", 0.25, 1),
            ("0+5", 0, 5),
        ):
            for spelling in (
                (f"-T{value}",),
                ("-T", value),
                ("--connect-timeout", value),
                (f"--connect-timeout={value}",),
            ):
                connect = self.host(*spelling).connect
                self.assertEqual(connect.attempt_timeout, total)
                self.assertEqual(connect.attempt_delay, delay)

    def test_wrong_connect_timeout(self) -> None:
        """-T takes whole numbers, whose sum is not 0."""
        wrong = ("x", "", "5+", "+5", "5+x", "-1", "1.5", "5+10+15", "1e3", "\u0663")
        self.refuses("-T", "connect-timeout", *wrong)
        for value in ("0", "0+0"):
            self.wrong("not enough", "-T", value, "h", "25")

    def test_local_ip(self) -> None:
        """-i takes an IP address, which sets the family."""
        for value, family in (("192.0.2.1", 4), ("2001:db8::1", 6)):
            expected = self.connecting(local_ip=value, family=family)
            self.same(expected, ("-i", value), (f"-{family}", "-i", value))
        wrong = ("localhost", "1.2.3", "1.2.3.400", "", "[::1]", "\x1b[2J")
        self.refuses("-i", "local-ip", *wrong)

    def test_local_ip_of_another_family(self) -> None:
        """-4 or -6 with a local address of the other family is an error."""
        for family, value in (("6", "192.0.2.1"), ("4", "2001:db8::1")):
            words = f"-i and -{family} do not go together"
            self.wrong(words, f"-{family}", "-i", value, "h", "25")

    def test_local_port(self) -> None:
        """-p takes a port; 0 is any port."""
        for value in (1, 4000, 65535):
            self.same(self.connecting(local_port=value), ("-p", str(value)))
        self.assertEqual(self.host("-p", "0"), self.host())
        wrong = ("x", "65536", "-1", "", "99999999999999", "1 ", "smtp")
        self.refuses("-p", "local-port", *wrong)

    def test_interface(self) -> None:
        """-I takes the name of a network interface."""
        self.same(self.connecting(interface="eth0"), ("-I", "eth0"))

    def test_idle_timeout(self) -> None:
        """-a takes whole seconds; 0 is never."""
        self.same(self.changed(idle=5), ("-a5",), ("-a", "5"), ("--idle-timeout=5",))
        self.same(self.changed(idle=None), ("-a0",))
        self.refuses("-a", "idle-timeout", "x", "", "-1", "1.5", "9" * 10)

    def test_shutdown(self) -> None:
        """--shutdown takes now, never or whole seconds, for all three times."""
        for value, seconds in (("now", 0), ("0", 0), ("7", 7), ("never", inf)):
            settings = self.host("--shutdown", value)
            self.assertEqual(settings.shutdown, Shutdown(seconds, seconds, seconds))
        wrong = ("", "x", "-1", "1.5", "Now", "1e3", "9" * 20, "\u0661")
        self.refuses("--shutdown", "shutdown", *wrong)

    def test_local_host(self) -> None:
        """-l takes any name, which may be 0 or empty."""
        for value in ("here.example.org", "0", ""):
            self.same(
                self.looking_up(local_host=value),
                ("-l", value),
                (f"--local-host={value}",),
            )

    def test_lookup_timeout(self) -> None:
        """-t takes whole seconds."""
        self.same(self.looking_up(timeout=5), ("-t5",), ("-t", "5"))
        self.refuses("-t", "lookup-timeout", "x", "", "-1", "1.5")

    def test_system_names(self) -> None:
        """-e changes nothing."""
        self.assertEqual(self.host("-e"), self.host())

    def test_flags(self) -> None:
        """-z and --crlf set one value each."""
        self.same(self.changed(provider=True), ("-z",))
        self.same(self.changed(crlf=True), ("--crlf",))

    def test_crlf_for_prog(self) -> None:
        """--crlf with prog, on whose output it has no effect, is an error."""
        for where in (("h", "25"), ("/run/smtpd",), ("-E", "tcp:h:1")):
            self.wrong("--crlf: has no effect on cat", "--crlf", *where, "cat", "-v")

    def test_ignore_unexpected_eof(self) -> None:
        """--ignore-unexpected-eof is an error in clear."""
        self.assertFalse(self.host("--tls").ignore_unexpected_eof)
        for options in (("--tls",), ("-s", "smtp"), ("-n", "")):
            settings = self.host("--ignore-unexpected-eof", *options)
            self.assertTrue(settings.ignore_unexpected_eof)
        words = "--ignore-unexpected-eof: has no meaning without --tls or -s"
        self.wrong(words, "--ignore-unexpected-eof", "h", "25")

    def test_combined(self) -> None:
        """Letters combine, and the last of them may have its value in the same word."""
        self.assertEqual(
            self.host("-RHl0"),
            self.looking_up(remote_host=False, remote_info=False, local_host="0"),
        )
        self.assertEqual(
            self.host("-vDT5+10"),
            replace(self.connecting(nodelay=True, attempt_timeout=15.0), verbosity=2),
        )
        self.assertEqual(self.host("-qz4", "-a", "7").idle, 7)

    def test_unknown(self) -> None:
        """The error for an unknown option names it."""
        for option in ("-x", "-vx", "--nosuch", "--nosuch=5", "-\x1b", "--\x1b[2J"):
            error = self.assertRaises(usage.UsageError, self.host, option)
            self.assertIn(option.strip("-v").split("=")[0], str(error))

    def test_abbreviations(self) -> None:
        """An abbreviated long option is an error, which names the full options."""
        names = [option.name for option in OPTIONS]
        for option in OPTIONS:
            value = "=5" if option.value else ""
            for length in range(1, len(option.name)):
                word = option.name[:length]
                if word not in names:
                    error = self.assertRaises(
                        usage.UsageError, self.host, f"--{word}{value}"
                    )
                    self.assertIn(f"--{word} not recognized: write ", str(error))
                    self.assertIn(f" --{option.name}", str(error))
        self.wrong("write --tls or --tls-method", "--tl", "h", "25")
        self.wrong("option -n requires argument", "-n")

    def test_no_value(self) -> None:
        """A missing value is an error, and so is the value of a flag."""
        for option in OPTIONS:
            if option.value is None:
                error = self.assertRaises(
                    usage.UsageError, self.host, f"--{option.name}=x"
                )
                self.assertIn(option.name, str(error))
                continue
            for word in {option.spelling, f"--{option.name}"}:
                error = self.assertRaises(usage.UsageError, self.parse, word)
                self.assertIn(word.lstrip("-"), str(error))


class EndpointTests(Parsing):
    """-E, which replaces host and port."""

    def test_description(self) -> None:
        """The description is kept as typed, and all arguments are prog."""
        for spelling in (("-Etls:h:1",), ("-E", "tls:h:1"), ("--endpoint=tls:h:1",)):
            settings = self.parse(*spelling)
            self.assertEqual(settings, Settings("", None, endpoint="tls:h:1"))
        settings = self.parse("-E", "x", "-E", "tcp:h:1", "prog", "-v", "-E")
        self.assertEqual(settings.endpoint, "tcp:h:1")
        self.assertEqual(settings.program, ("prog", "-v", "-E"))

    def test_empty(self) -> None:
        """An empty description is an error."""
        self.wrong("-E: the description is empty", "-E", "")

    def test_together(self) -> None:
        """Options that have an effect with -E mean the same as without it."""
        together = ("-q", "-a5", "-Hh", "-Rr", "-lx", "-t5", "-z", "--crlf", "-e")
        with_host, without = self.host(*together), self.parse(*together, "-Ex")
        self.assertEqual(replace(with_host, host="", port=None, endpoint="x"), without)

    def test_connecting(self) -> None:
        """An option about connecting is an error, even if its value is the default."""
        for arguments in (
            *(("-T2+58",), ("-i", "127.0.0.1"), ("-p0",), ("-I", "lo")),
            *(("-4",), ("-6",), ("-d",), ("-D",)),
        ):
            words = f"{arguments[0][:2]}: has no meaning with -E"
            self.wrong(words, *arguments, "-E", "tcp:h:1")

    def test_tls_of_its_own(self) -> None:
        """An option about TLS is an error if TLS is up to the endpoint alone."""
        for arguments in OF_TLS:
            words = f"{arguments[0]}: has no meaning with -E without --tls or -s"
            self.wrong(words, *arguments, "-E", "tls:h:1")
            self.parse("--tls", "-m", "h", *arguments, "-E", "tcp:h:1")

    def test_tls_on_top(self) -> None:
        """TLS on top of an endpoint needs -m or -k: a description gives no name."""
        for tls in (("--tls",), ("-n", ""), ("-s", "smtp")):
            self.wrong("needs -m", *tls, "-E", "tcp:h:1")
            settings = self.parse(*tls, "-m", "mail.example.org", "-E", "tcp:h:1").tls
            assert settings is not None
            self.assertEqual(settings.name, "mail.example.org")
            self.assertEqual(settings.server_name, "mail.example.org")
            settings = self.parse(*tls, "-k", "-E", "tcp:h:1").tls
            assert settings is not None
            self.assertEqual((settings.name, settings.verify), (None, False))


class TLSTests(Parsing):
    """Options that ask for TLS, and options about it."""

    def test_asked_for(self) -> None:
        """--tls, -n and -s ask for TLS, each alone; no other option does."""
        certificate = self.file("mine.pem")
        for spelling in (
            ("--tls",),
            ("-n", certificate),
            ("-n", ""),
            ("--certificate=",),
            ("-s", "smtp"),
            ("--starttls", "imap"),
        ):
            self.assertIsNotNone(self.host(*spelling).tls, spelling)
        for harmless in ("-z", "--provider", "-v"):
            self.assertIsNone(self.host(harmless).tls)

    def test_forgotten(self) -> None:
        """
        An option about TLS is an error without TLS, so that nothing is sent in clear
        because --tls was forgotten; variables of the environment are not.
        """
        for arguments in OF_TLS:
            words = f"{arguments[0]}: has no meaning without TLS: add --tls, or -s"
            for where in (("h", "25"), ("h", "25", "prog"), ("/run/smtpd",)):
                self.wrong(words, *arguments, *where)
            for tls in (("--tls",), ("-n", ""), ("-s", "smtp")):
                self.assertIsNotNone(self.host(*arguments, *tls).tls)
        for name in ("SERVERCA", "SERVERCRL", "TLS_CERTFILE", "TLS_CIPHER_LIST"):
            self.environ[name] = "/no/such/file"
        self.environ["CERTDIR"] = "/no/such/directory"
        self.assertIsNone(self.host().tls)

    def test_defaults(self) -> None:
        """By default the host is verified with the system's CAs, by TLS 1.2 or 1.3."""
        self.assertEqual(
            self.tls(),
            TLSSettings(
                certificate=None,
                authorities=None,
                revocations=None,
                ciphers=None,
                suites=None,
                minimum="TLSv1_2",
                maximum="TLSv1_3",
                name="mail.example.org",
                common_name=False,
                server_name="mail.example.org",
                verify=True,
            ),
        )

    def test_starttls(self) -> None:
        """-s takes a dialect in upper or lower case; the last one counts."""
        for value in ("smtp", "pop3", "imap"):
            for spelling in (
                ("-s", value),
                (f"-s{value.upper()}",),
                ("--starttls", value.title()),
                ("-simap", f"--starttls={value}"),
            ):
                self.assertEqual(self.host(*spelling).starttls, value)

    def test_unknown_dialect(self) -> None:
        """The error for an unknown dialect lists the dialects."""
        for value in ("gopher", "", "smtps", "smtp ", "__init__", "\x1b[2J"):
            self.wrong("-s: no such protocol: ", f"--starttls={value}", "h", "25")
            self.wrong(", imap, irc,", f"--starttls={value}", "h", "25")

    def test_greeting(self) -> None:
        """--greeting is an error without a dialect that has a greeting."""
        for name in dialects.NAMES:
            arguments = ("-s", name, "--greeting", "h", "25")
            if dialects.find(name).greeting is None:
                self.wrong(f"--greeting: {name} has none", *arguments)
            else:
                self.assertTrue(self.parse(*arguments).greeting)
        self.assertFalse(self.host("-s", "smtp").greeting)
        for spelling in ((), ("--tls",), ("-E", "starttls:smtp:h")):
            arguments = (*spelling, "--greeting", "h", "25")
            self.wrong("--greeting: has no meaning without -s", *arguments)

    def test_insecure(self) -> None:
        """-k turns verification off."""
        self.assertFalse(self.tls("-k").verify)

    def test_names(self) -> None:
        """The host as typed is verified and sent as SNI; this machine is localhost."""
        for host, name in (
            ("mail.example.org", "mail.example.org"),
            ("B\u00fccher.example", "B\u00fccher.example"),
            ("0", "localhost"),
            ("", "localhost"),
            ("[::1]", "[::1]"),
        ):
            tls = self.tls(host=host)
            self.assertEqual((tls.name, tls.server_name), (name, name))
            self.assertFalse(tls.common_name)

    def test_match(self) -> None:
        """-m replaces the host in both places, and its name may also be the CN."""
        for spelling, name in (
            (("-m", "x.org"), "x.org"),
            (("--match=x.org",), "x.org"),
            (("-my.org", "-mx.org"), "x.org"),
            (("-m", "192.0.2.1"), "192.0.2.1"),
            (("-m", "0"), "localhost"),
        ):
            tls = self.tls(*spelling)
            self.assertEqual((tls.name, tls.server_name), (name, name))
            self.assertTrue(tls.common_name)

    def test_match_no_name(self) -> None:
        """-m refuses a text that is neither a name nor an address."""
        for value in ("*", "a b", "a..b", "x" * 64, "*.example.org", "\udcff", "a/b"):
            words = "-m: neither a name nor an IP address: "
            self.wrong(words, "--tls", "-m", value, "h", "25")

    def test_empty(self) -> None:
        """
        An empty value, as of an unset variable in a script, is an error for options
        that restrict: it must not turn the restriction off.
        """
        for letter, name, what in (
            ("-m", "match", "name"),
            ("-c", "ca-file", "name"),
            ("-L", "crl-file", "name"),
            ("-C", "certificate-directory", "name"),
            ("-I", "interface", "name"),
            ("-f", "ciphers", "list"),
        ):
            for spelling in ((letter, ""), (f"--{name}=",), (letter, "x", letter, "")):
                message = f"{letter}: the {what} is empty"
                self.wrong(message, "--tls", *spelling, "h", "25")

    def test_socket(self) -> None:
        """Over a UNIX socket only -m gives a name to verify and to send."""
        for host in ("/run/smtpd", "@smtpd"):
            tls = self.parse("--tls", host).tls
            assert tls is not None
            self.assertEqual((tls.name, tls.server_name), (None, None))
            self.assertTrue(tls.verify)
            tls = self.parse("--tls", "-m", "x.org", host).tls
            assert tls is not None
            self.assertEqual((tls.name, tls.server_name), ("x.org", "x.org"))

    def test_versions(self) -> None:
        """-M takes one version, a range, or SSLv23 for all versions."""
        for value, low, high in (
            ("TLSv1_2", "TLSv1_2", "TLSv1_2"),
            ("TLSv1_3", "TLSv1_3", "TLSv1_3"),
            ("TLSv1_2:TLSv1_3", "TLSv1_2", "TLSv1_3"),
            ("TLSv1_2:TLSv1_2", "TLSv1_2", "TLSv1_2"),
            ("SSLv23", "TLSv1_2", "TLSv1_3"),
        ):
            tls = self.tls("-M", value)
            self.assertEqual((tls.minimum, tls.maximum), (low, high))

    def test_gone_versions(self) -> None:
        """The error for a version that is not secure says that it is gone."""
        for version in ("SSLv2", "SSLv3", "TLSv1", "TLSv1_1"):
            for value in (version, f"{version}:TLSv1_3", f"TLSv1_2:{version}"):
                self.wrong(f"-M: {version} is gone", "-M", value, "h", "25")

    def test_wrong_versions(self) -> None:
        """-M refuses any other text, and a range from high to low."""
        for value in (
            *("bogus", "", "TLSv1.3", "tlsv1_3", "TLSv1_2:", ":TLSv1_3", "\x1b"),
        ):
            self.wrong("-M: no such version", f"--tls-method={value}", "h", "25")
        self.wrong("-M: the range is empty", "-M", "TLSv1_3:TLSv1_2", "h", "25")


class FileTests(Parsing):
    """Files for TLS: by an option, by a variable, or in the certificate directory."""

    #: For each purpose: the option, the variable, the default, and the setting.
    CA = ("-c", "SERVERCA", "serverca.pem", "authorities")
    CRL = ("-L", "SERVERCRL", "servercrl.pem", "revocations")
    CERTIFICATE = ("-n", "TLS_CERTFILE", "clientcert.pem", "certificate")

    def test_given(self) -> None:
        """The file of an option comes first, even if it does not exist."""
        for option, variable, default, setting in (self.CA, self.CRL, self.CERTIFICATE):
            self.file(default)
            self.environ[variable] = self.file("other")
            tls = self.tls(option, "some/file")
            self.assertEqual(getattr(tls, setting), "some/file")
            tls = self.tls(option, "one", option, "two")
            self.assertEqual(getattr(tls, setting), "two")

    def test_variables(self) -> None:
        """The file of a variable comes second, relative to that directory."""
        for option, variable, default, setting in (self.CA, self.CRL, self.CERTIFICATE):
            self.file(default)
            options = (option, "") if setting == "certificate" else ()
            for value, path in (
                ("/some/file", "/some/file"),
                ("./file", "./file"),
                ("file", str(self.folder / "file")),
            ):
                self.environ[variable] = value
                self.assertEqual(getattr(self.tls(*options), setting), path)

    def test_defaults(self) -> None:
        """The default in the certificate directory comes last, if it exists."""
        for option, variable, default, setting in (self.CA, self.CRL, self.CERTIFICATE):
            options = (option, "") if setting == "certificate" else ()
            for empty in (False, True):
                if empty:
                    self.environ[variable] = ""
                self.assertIsNone(getattr(self.tls(*options), setting))
                path = self.file(default)
                self.assertEqual(getattr(self.tls(*options), setting), path)
                os.unlink(path)

    def test_no_certificate(self) -> None:
        """Without -n there is no client certificate, whatever files exist."""
        self.file("clientcert.pem")
        self.environ["TLS_CERTFILE"] = "/some/file"
        self.assertIsNone(self.tls().certificate)

    def test_directory(self) -> None:
        """The certificate directory is that of -C, of $CERTDIR, or the default."""
        other = Path(self.mktemp()).absolute()
        other.mkdir()
        (other / "serverca.pem").write_text("x")
        wanted = str(other / "serverca.pem")
        self.assertEqual(self.tls("-C", str(other)).authorities, wanted)
        self.environ["CERTDIR"] = str(other)
        self.assertEqual(self.tls().authorities, wanted)
        self.environ["SERVERCA"] = "ca.pem"
        for unset in ({"CERTDIR": ""}, {}):
            del self.environ["CERTDIR"]
            self.environ.update(unset)
            self.assertEqual(self.tls().authorities, f"{CERTIFICATES}/ca.pem")
            self.environ["CERTDIR"] = "x"

    def test_no_directory(self) -> None:
        """A named certificate directory must be a directory, if there is TLS."""
        file = self.file("file")
        for path, reason in (
            (str(self.folder / "missing"), "file does not exist"),
            (file, "not a directory"),
            (f"{file}/below", "not a directory"),
            (str(self.folder / ("x" * 300)), "file name too long"),
        ):
            words = f"unable to use certificate directory {path}: {reason}"
            del self.environ["CERTDIR"]
            self.fails(words, "--tls", "-C", path, "h", "25")
            self.environ["CERTDIR"] = path
            self.fails(words, "--tls", "h", "25")
            self.fails(words, "-n", "", "-c", file, "-L", file, "h", "25")
            self.assertIsNone(self.host().tls)

    def test_absent_directory(self) -> None:
        """The default directory may be absent, but may not be a file."""
        missing = str(self.folder / "missing")
        self.patch(configuration, "CERTIFICATES", missing)
        del self.environ["CERTDIR"]
        self.assertEqual(self.tls().authorities, None)
        self.patch(configuration, "CERTIFICATES", self.file("file"))
        self.fails("serverca.pem: not a directory", "--tls", "h", "25")

    def test_dangling_link(self) -> None:
        """A default that is a dangling symbolic link counts as existing."""
        for option, _, default, setting in (self.CA, self.CRL, self.CERTIFICATE):
            options = (option, "") if setting == "certificate" else ()
            path = self.folder / default
            path.symlink_to("nowhere")
            self.assertEqual(getattr(self.tls(*options), setting), str(path))
            path.unlink()


class CipherTests(Parsing):
    """Ciphers, from options, files and variables."""

    def ciphers(self, *arguments: str) -> tuple[str | None, str | None]:
        """Return the list for TLS 1.2, and the suites for TLS 1.3."""
        tls = self.tls(*arguments)
        return tls.ciphers, tls.suites

    def test_none(self) -> None:
        """Without -f and variables OpenSSL's default is used."""
        self.assertEqual(self.ciphers(), (None, None))

    def test_list(self) -> None:
        """Names of TLS 1.3 suites in -f go to TLS 1.3, the others to TLS 1.2."""
        suite = "TLS_AES_256_GCM_SHA384"
        both = f"{suite}:TLS_CHACHA20_POLY1305_SHA256"
        for value, wanted in (
            ("HIGH", ("HIGH", None)),
            (suite, (None, suite)),
            (f"HIGH:{suite}:!aNULL", ("HIGH:!aNULL", suite)),
            (both, (None, both)),
        ):
            self.assertEqual(self.ciphers("-f", value), wanted)

    def test_file(self) -> None:
        """A file gives its first word."""
        for content in ("HIGH", "HIGH\n", "\n  HIGH and more\n", "HIGH\nLOW\n"):
            path = self.file("ciphers", content)
            self.assertEqual(self.ciphers("-f", path), ("HIGH", None))
        name = os.path.relpath(path)
        self.assertEqual(self.ciphers("-f", name), ("HIGH", None))

    def test_file_of_this_name(self) -> None:
        """A file in the current directory is read only if its path has a slash."""
        name = "HIGH"
        Path(name).write_text("LOW")
        self.addCleanup(os.unlink, name)
        self.assertEqual(self.ciphers("-f", name), ("HIGH", None))
        self.assertEqual(self.ciphers("-f", f"./{name}"), ("LOW", None))

    def test_no_file(self) -> None:
        """A file that cannot be read, or is empty, is an error."""
        missing = str(self.folder / "missing")
        self.fails("file does not exist", "--tls", "-f", missing, "h", "25")
        self.fails("is a directory", "--tls", "-f", str(self.folder), "h", "25")
        for content in ("", " \n\t\n"):
            empty = self.file("empty", content)
            self.fails("no ciphers in", "--tls", "-f", empty, "h", "25")

    def test_variables(self) -> None:
        """Without -f, variables give list and suites; an empty one counts as unset."""
        self.environ["TLS_CIPHER_LIST"] = self.environ["TLS_CIPHER_SUITE"] = ""
        self.assertEqual(self.ciphers(), (None, None))
        self.environ["TLS_CIPHER_LIST"] = "HIGH"
        self.assertEqual(self.ciphers(), ("HIGH", None))
        self.environ["TLS_CIPHER_SUITE"] = "TLS_AES_256_GCM_SHA384"
        self.assertEqual(self.ciphers(), ("HIGH", "TLS_AES_256_GCM_SHA384"))
        self.assertEqual(self.ciphers("-f", "LOW"), ("LOW", None))

    def test_no_names(self) -> None:
        """A list of colons is an error, not the default."""
        file = self.file("colons", "::\n")
        for value, shown in ((":", ":"), (file, "::")):
            self.fails(f"no usable cipher in '{shown}'", "--tls", "-f", value, "h", "1")


class TableTests(SynchronousTestCase):
    """The table of options."""

    def test_once(self) -> None:
        """No name and no letter occurs twice."""
        words = [f"--{option.name}" for option in OPTIONS]
        words += [f"-{option.letter}" for option in OPTIONS if option.letter]
        self.assertEqual([word for word, n in Counter(words).items() if n > 1], [])

    def test_letters_of_the_c_program(self) -> None:
        """Each letter of the C program is an option."""
        letters = {option.letter for option in OPTIONS}
        self.assertLessEqual(set("qQvTipdDCncLzfMsmahHlrRt" + "46Ie"), letters)

    def test_words(self) -> None:
        """An option accepts all words that its value may be."""
        counted = 0
        for option in OPTIONS:
            for word in option.value.words() if option.value is not None else ():
                option.read(word)
                counted += 1
        self.assertGreater(counted, 10)

    def test_defaults(self) -> None:
        """The options of one key have one default at most, which is accepted."""
        keys = [option.key for option in OPTIONS if option.default is not None]
        self.assertEqual([key for key, n in Counter(keys).items() if n > 1], [])
        for option in OPTIONS:
            if option.default is not None:
                self.assertEqual(Options()[option.key], option.read(option.default))


class HelpTests(Parsing):
    """--help and --version."""

    def test_text(self) -> None:
        """The help has each group and option, in 80 columns of ASCII."""
        text = help_text()
        for option in OPTIONS:
            value = f" {option.value.name} " if option.value is not None else " "
            self.assertIn(f"--{option.name}{value}", text)
        for group in GROUPS:
            self.assertIn(f"\n{group.title}:\n", text)
        for line in text.splitlines():
            self.assertLessEqual(len(line), 80, line)
            self.assertEqual(line, line.rstrip())
            self.assertTrue(line.isascii())
        self.assertTrue(text.endswith("\n"))

    def test_facts(self) -> None:
        """The help lists the dialects and versions, and has defaults and directory."""
        text = " ".join(help_text().split())
        names = ", ".join(dialects.NAMES[:-1])
        for words in (
            f"PROTOCOL is {names} or {dialects.NAMES[-1]} ",
            "VERSION is TLSv1_2, TLSv1_3 or MIN:MAX (default: TLSv1_2:TLSv1_3)",
            "(default: 2+58)",
            "print errors (default)",
            CERTIFICATES,
        ):
            self.assertIn(words, text)

    def shown(self, *options: str) -> str:
        """Return what is printed before the process would exit with status 0."""
        out: list[bytes] = []

        def write(descriptor: int, data: bytes) -> int:
            self.assertEqual(descriptor, 1)
            # write() takes a part, as a pipe does that is nearly full.
            out.append(data[:100])
            return len(out[-1])

        self.patch(os, "write", write)
        error = self.assertRaises(SystemExit, self.parse, *options)
        self.assertEqual(error.code, 0)
        return b"".join(out).decode("ascii")

    def test_help(self) -> None:
        """--help prints the help and exits, whatever follows."""
        self.assertEqual(self.shown("--help"), help_text())
        self.assertEqual(self.shown("-v", "--help", "-p", "x"), help_text())

    def test_version(self) -> None:
        """--version prints the version of this package and exits."""
        self.assertEqual(self.shown("--version"), f"tcpclient {__version__}\n")

    def test_not_printed(self) -> None:
        """A failure to print is an error."""

        def write(descriptor: int, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "full")

        self.patch(os, "write", write)
        for option in ("--help", "--version"):
            self.fails("unable to write standard output: no space left", option)

    def test_usage(self) -> None:
        """Under ``twist`` an error comes with one line about --help, not the help."""
        for usage_text in (Options().getUsage(), Options().getUsage(width=40)):
            self.assertIn("--help", usage_text)
            self.assertEqual(usage_text.count("\n"), 1)


class ParentTests(Parsing):
    """The options as ``twist`` uses them."""

    level = LogLevel.info

    def under(self, log: object, *arguments: str) -> dict[str, Any]:
        """Return the options of ``twist`` after those of the command are parsed."""
        options = Options()
        parent: dict[str, Any] = {"logFile": log, "logLevel": self.level}
        options.parent = parent  # type: ignore[assignment]
        options.parseOptions([*arguments, "h", "25"])
        return parent

    def test_log(self) -> None:
        """A log on stdout moves to stderr: stdout has the server's bytes."""
        self.assertIs(self.under(sys.stdout)["logFile"], sys.stderr)

    def test_other_log(self) -> None:
        """A log to another file stays there."""
        log = io.StringIO()
        self.assertIs(self.under(log)["logFile"], log)

    def test_level(self) -> None:
        """The default level becomes warn, unless -v is given."""
        log = io.StringIO()
        self.assertIs(self.under(log)["logLevel"], LogLevel.warn)
        self.assertIs(self.under(log, "-q")["logLevel"], LogLevel.warn)
        self.assertIs(self.under(log, "-v")["logLevel"], LogLevel.info)

    def test_other_level(self) -> None:
        """A level that is not the default stays."""
        for self.level in (LogLevel.debug, LogLevel.error):
            self.assertIs(self.under(io.StringIO())["logLevel"], self.level)

    def test_errors(self) -> None:
        """A SettingsError becomes a UsageError, the only one that ``twist`` catches."""
        missing = str(self.folder / "missing")
        error = self.assertRaises(
            usage.UsageError, self.under, sys.stdout, "--tls", "-f", missing
        )
        self.assertIn("unable to read ciphers", str(error))


class AnythingTests(SynchronousTestCase):
    """Properties of all command lines."""

    def setUp(self) -> None:
        """Discard what is printed."""
        self.patch(os, "write", lambda descriptor, data: len(data))

    @patient
    @given(
        st.lists(
            st.one_of(
                st.sampled_from([f"-{o.letter}" for o in OPTIONS if o.letter]),
                st.sampled_from([f"--{o.name}" for o in OPTIONS if o.name != "help"]),
                st.text(WORD, max_size=6),
                st.sampled_from(["h", "25", "0", "x", "--", "", "smtp", "5+10"]),
            ),
            max_size=7,
        )
    )
    def test_anything(self, arguments: list[str]) -> None:
        """Parsing gives settings within bounds, or one of the documented errors."""
        options = Options()
        try:
            options.parseOptions(arguments)
        except (usage.UsageError, SettingsError):
            return
        except SystemExit as error:
            self.assertEqual(error.code, 0)
            return
        settings = options.settings
        self.assertTrue(settings.port is None or 0 < settings.port < 65536)
        self.assertGreater(settings.connect.attempt_timeout, 0)
        self.assertTrue(settings.idle is None or settings.idle > 0)

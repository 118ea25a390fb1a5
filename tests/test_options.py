"""
The command line: every option, every value, and every way to get it wrong.
"""

from __future__ import annotations

import errno
import io
import os
import sys
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
from twisted_tcpclient.command.help import GROUPS, Entry, help_text
from twisted_tcpclient.command.options import Options
from twisted_tcpclient.errors import SettingsError
from twisted_tcpclient.settings import (
    CERTIFICATES,
    ConnectSettings,
    LookupSettings,
    Settings,
    Shutdown,
    TLSSettings,
)

ENTRIES: list[Entry] = [entry for _, entries in GROUPS for entry in entries]

#: A value that every option with one accepts.
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

#: Options that have a meaning only with TLS, and values for them.
OF_TLS = (
    *(("-m", "h"), ("-c", "x"), ("-L", "x"), ("-C", "."), ("-k",)),
    *(("-M", "TLSv1_3"), ("-f", "HIGH")),
)

#: What some options are nothing without.
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

#: What the words of a command line are made of: no system passes on a NUL.
WORD = st.characters(exclude_characters="\0")


class Parsing(SynchronousTestCase):
    """Parses command lines, in an environment of their own."""

    def setUp(self) -> None:
        """No certificates, and no variables, but what a test sets."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.environ: dict[str, str] = {"CERTDIR": str(self.folder)}
        self.patch(os, "environ", self.environ)

    def file(self, name: str, content: str = "x") -> str:
        """A file in the certificate directory."""
        path = self.folder / name
        path.write_text(content)
        return str(path)

    def parse(self, *arguments: str) -> Settings:
        """The settings for a command line."""
        options = Options()
        options.parseOptions(list(arguments))
        return options.settings

    def host(self, *arguments: str) -> Settings:
        """The settings for these options and some host."""
        return self.parse(*arguments, "mail.example.org", "25")

    def tls(self, *arguments: str, host: str = "mail.example.org") -> TLSSettings:
        """The settings for TLS, where there is to be TLS."""
        settings = self.parse("--tls", *arguments, host, "25").tls
        assert settings is not None
        return settings

    def wrong(self, words: str, *arguments: str) -> None:
        """The command line is wrong: that is said on one line, printably."""
        error = self.assertRaises(usage.UsageError, self.parse, *arguments)
        self.check_message(words, error)

    def fails(self, words: str, *arguments: str) -> None:
        """The command line is fine, and the world is not."""
        error = self.assertRaises(SettingsError, self.parse, *arguments)
        self.check_message(words, error)

    def check_message(self, words: str, error: Any) -> None:
        """The message is fit to be shown."""
        self.assertIn(words, str(error))
        self.assertRegex(str(error), r"\A[ -~]+\Z")


class ArgumentTests(Parsing):
    """What is no option."""

    def test_defaults(self) -> None:
        """Without options: TCP in clear, and the defaults of the man page."""
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
                provider=False,
                crlf=False,
            ),
        )

    def test_default_settings(self) -> None:
        """The defaults of the library are those of the command."""
        self.assertEqual(self.parse("h", "25"), Settings("h", 25))

    def test_prog(self) -> None:
        """Host, port, and all the rest is prog, its own options included."""
        settings = self.parse("-v", "h", "25", "prog", "-v", "--", "-x", "", "--tls")
        self.assertEqual(settings.program, ("prog", "-v", "--", "-x", "", "--tls"))
        self.assertIsNone(settings.tls)

    def test_options_end(self) -> None:
        """``--`` ends the options, and so does the first argument that is none."""
        self.assertEqual(self.parse("-v", "--", "-h", "25").host, "-h")
        self.assertEqual(self.parse("h", "25", "--", "x").program, ("--", "x"))
        self.assertEqual(self.parse("h", "25", "-q").program, ("-q",))

    def test_sockets(self) -> None:
        """A path has no port; nor has an abstract name."""
        for host in ("/run/smtpd", "./u.sock", "dir/u.sock", "@name", "/"):
            settings = self.parse(host, "25", "x")
            self.assertEqual((settings.host, settings.port), (host, None))
            self.assertEqual(settings.program, ("25", "x"))
            self.assertEqual(self.parse(host).program, ())

    def test_hosts(self) -> None:
        """Anything else is a host, and kept as it is."""
        for host in ("", "0", "::1", "[::1]", "fe80::1%eth0", "127.0.0.1", "a.b"):
            settings = self.parse(host, "25")
            self.assertEqual((settings.host, settings.port), (host, 25))

    def test_tcp(self) -> None:
        """With --tcp a socket is wrong, and so the port never becomes prog."""
        for host in ("/run/smtpd", "./u.sock", "a/b", "@name", "@"):
            self.wrong("--tcp: HOST is a UNIX socket", "--tcp", host, "id", "-u")
        for host in ("", "0", "::1", "mail.example.org"):
            self.assertEqual(self.parse("--tcp", host, "25"), self.parse(host, "25"))
        self.wrong("--tcp: has no meaning with -E", "--tcp", "-E", "tcp:h:1")
        self.wrong("no port", "--tcp", "h")

    def test_ports(self) -> None:
        """Ports are numbers, or names that the system knows."""
        for text, number in (
            *(("1", 1), ("65535", 65535), ("00025", 25)),
            ("smtp", service_port("smtp")),
        ):
            self.assertEqual(self.parse("h", text).port, number)

    def test_wrong_ports(self) -> None:
        """A number that is no port is wrong; it is not cut down to one."""
        for text in ("0", "65536", "99999", "4294967321", "9" * 30):
            self.wrong("port", "h", text)

    def test_unknown_ports(self) -> None:
        """A name that is no service may be one elsewhere."""
        for text in ("nosuchservice", "", "-1", "25 ", "2\u00b25", "\x1b[2J", "+25"):
            self.fails("unable to figure out port number for ", "--", "h", text)

    def test_missing(self) -> None:
        """Without a host, or a host's port, there is nothing to do."""
        self.wrong("no host")
        self.wrong("no host", "-v")
        self.wrong("no port", "h")
        self.wrong("no port", "")
        self.wrong("no port", "--tls", "h")


class OptionTests(Parsing):
    """Every option, short and long."""

    def same(self, expected: Settings, *spellings: tuple[str, ...]) -> None:
        """All spellings mean the same, and that is not what nothing means."""
        self.assertNotEqual(expected, self.host())
        for spelling in spellings:
            self.assertEqual(self.host(*spelling), expected, spelling)

    def changed(self, **changes: Any) -> Settings:
        """The defaults, but for this."""
        return replace(self.host(), **changes)

    def connecting(self, **changes: Any) -> Settings:
        """The defaults, but for this about connecting."""
        return self.changed(connect=replace(ConnectSettings(), **changes))

    def looking_up(self, **changes: Any) -> Settings:
        """The defaults, but for this about looking things up."""
        return self.changed(lookup=replace(LookupSettings(), **changes))

    def test_verbosity(self) -> None:
        """Options -q -Q -v: the last one wins."""
        for level, short, name in (
            (0, "-q", "--quiet"),
            (1, "-Q", "--errors"),
            (2, "-v", "--verbose"),
        ):
            for spelling in (short, name):
                for before in ("-q", "-Q", "-v"):
                    settings = self.host(before, spelling)
                    self.assertEqual(settings.verbosity, level)

    def test_connect_timeout(self) -> None:
        """Option -T x+y: each address has x+y seconds, and a head start of x."""
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
                if delay:
                    self.assertEqual(connect.attempt_delay, delay)
                else:
                    self.assertLess(connect.attempt_delay, 0.1)

    def test_wrong_connect_timeout(self) -> None:
        """Anything else is no time; and no time at all is not enough."""
        for value in (
            "x",
            "",
            "5+",
            "+5",
            "5+x",
            "-1",
            "1.5",
            "5+10+15",
            "1e3",
            "\u0663",
        ):
            self.wrong("-T", f"-T{value}" if value else "--connect-timeout=", "h", "25")
        for value in ("0", "0+0"):
            self.wrong("not enough", "-T", value, "h", "25")

    def test_local_ip(self) -> None:
        """Option -i: an address, which decides the family."""
        for value, family in (("192.0.2.1", 4), ("2001:db8::1", 6)):
            expected = self.connecting(local_ip=value, family=family)
            self.same(expected, ("-i", value), ("--local-ip", value))

    def test_local_ip_and_family(self) -> None:
        """Options -4 and -6 must agree with it."""
        for family, value in (("4", "192.0.2.1"), ("6", "2001:db8::1")):
            settings = self.host(f"-{family}", "-i", value)
            self.assertEqual(settings.connect.family, int(family))
        for family, value in (("6", "192.0.2.1"), ("4", "2001:db8::1")):
            self.wrong("-i", f"-{family}", "-i", value, "h", "25")

    def test_wrong_local_ip(self) -> None:
        """Anything else is none."""
        for value in ("localhost", "1.2.3", "1.2.3.400", "", "[::1]", "\x1b[2J"):
            self.wrong("-i", f"--local-ip={value}", "h", "25")

    def test_local_port(self) -> None:
        """Option -p: a port; 0 is any."""
        for value in (1, 4000, 65535):
            expected = self.connecting(local_port=value)
            self.same(expected, ("-p", str(value)), ("--local-port", str(value)))
        self.assertEqual(self.host("-p", "0"), self.host())

    def test_wrong_local_port(self) -> None:
        """Anything else is none."""
        for value in ("x", "65536", "-1", "", "99999999999999", "1 ", "smtp"):
            self.wrong("-p", f"--local-port={value}", "h", "25")

    def test_interface(self) -> None:
        """Option -I: the name of an interface."""
        self.same(
            self.connecting(interface="eth0"), ("-I", "eth0"), ("--interface=eth0",)
        )

    def test_family(self) -> None:
        """Options -4 and -6: the last one wins."""
        self.same(
            self.connecting(family=4), ("-4",), ("--ipv4",), ("-64",), ("-6", "--ipv4")
        )
        self.same(
            self.connecting(family=6), ("-6",), ("--ipv6",), ("-46",), ("-4", "--ipv6")
        )

    def test_delay(self) -> None:
        """Options -d and -D: the last one wins."""
        self.same(
            self.connecting(nodelay=True),
            ("-D",),
            ("--no-delay",),
            ("-dD",),
            ("-D", "-D"),
        )
        for spelling in (("-d",), ("--delay",), ("-Dd",), ("--no-delay", "--delay")):
            self.assertEqual(self.host(*spelling), self.host())

    def test_idle_timeout(self) -> None:
        """Option -a: seconds; 0 is never."""
        self.same(self.changed(idle=5), ("-a5",), ("-a", "5"), ("--idle-timeout=5",))
        self.same(self.changed(idle=None), ("-a0",))

    def test_shutdown(self) -> None:
        """--shutdown: now, never, or seconds; otherwise the server's answer decides."""
        self.assertEqual(self.host().shutdown, Shutdown(5, 15, 1))
        for value, seconds in (("now", 0), ("0", 0), ("7", 7), ("never", inf)):
            told = self.host("--shutdown", value).shutdown
            self.assertEqual(told, Shutdown(seconds, seconds, seconds))

    def test_wrong_shutdown(self) -> None:
        """Anything else is wrong."""
        for value in ("", "x", "-1", "1.5", "Now", "1e3", "9" * 20, "\u0661"):
            self.wrong("--shutdown", f"--shutdown={value}", "h", "25")

    def test_ignore_unexpected_eof(self) -> None:
        """--ignore-unexpected-eof: only where there is TLS."""
        self.assertFalse(self.host("--tls").ignore_unexpected_eof)
        for options in (("--tls",), ("-s", "smtp"), ("-n", "")):
            settings = self.host("--ignore-unexpected-eof", *options)
            self.assertTrue(settings.ignore_unexpected_eof)
        self.wrong("--ignore-unexpected-eof", "--ignore-unexpected-eof", "h", "25")

    def test_wrong_idle_timeout(self) -> None:
        """Anything else is none."""
        for value in ("x", "", "-1", "1.5", "9" * 10):
            self.wrong("-a", f"--idle-timeout={value}", "h", "25")

    def test_remote_host(self) -> None:
        """Options -h and -H: the last one wins."""
        self.same(
            self.looking_up(remote_host=False), ("-H",), ("--no-remote-host",), ("-hH",)
        )
        for spelling in (("-h",), ("--remote-host",), ("-Hh",)):
            self.assertEqual(self.host(*spelling), self.host())

    def test_remote_info(self) -> None:
        """Options -r and -R: the last one wins."""
        self.same(
            self.looking_up(remote_info=False), ("-R",), ("--no-remote-info",), ("-rR",)
        )
        for spelling in (("-r",), ("--remote-info",), ("-Rr",)):
            self.assertEqual(self.host(*spelling), self.host())

    def test_local_host(self) -> None:
        """Option -l: a name, which may be 0, or empty."""
        for value in ("here.example.org", "0", ""):
            self.same(
                self.looking_up(local_host=value),
                ("-l", value),
                (f"--local-host={value}",),
            )

    def test_lookup_timeout(self) -> None:
        """Option -t: seconds."""
        self.same(
            self.looking_up(timeout=5), ("-t5",), ("-t", "5"), ("--lookup-timeout", "5")
        )

    def test_wrong_lookup_timeout(self) -> None:
        """Anything else is none."""
        for value in ("x", "", "-1", "1.5"):
            self.wrong("-t", f"--lookup-timeout={value}", "h", "25")

    def test_system_names(self) -> None:
        """Option -e changes nothing: names are always looked up like that."""
        for spelling in ("-e", "--system-names"):
            self.assertEqual(self.host(spelling), self.host())

    def test_flags(self) -> None:
        """Options -z and --crlf."""
        self.same(self.changed(provider=True), ("-z",), ("--provider",))
        self.same(self.changed(crlf=True), ("--crlf",))

    def test_crlf_for_prog(self) -> None:
        """Option --crlf has no effect on what prog writes, and so is wrong with it."""
        for where in (("h", "25"), ("/run/smtpd",), ("-E", "tcp:h:1")):
            self.wrong("--crlf: has no effect on cat", "--crlf", *where, "cat", "-v")

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

    def test_later_wins(self) -> None:
        """Of the same option the last one counts, whichever way it is written."""
        self.assertEqual(self.host("-a5", "--idle-timeout=7").idle, 7)
        self.assertEqual(self.host("--local-host=x", "-ly").lookup.local_host, "y")
        self.assertEqual(self.host("-p5", "-p", "7").connect.local_port, 7)

    def test_unknown(self) -> None:
        """What is no option is wrong, and named."""
        for option in ("-x", "-vx", "--nosuch", "--nosuch=5", "-\x1b", "--\x1b[2J"):
            error = self.assertRaises(usage.UsageError, self.host, option)
            self.assertIn(option.strip("-v").split("=")[0], str(error))

    def test_abbreviations(self) -> None:
        """
        No long option may be cut short, whether another begins so or not: the error
        names what it may be.
        """
        names = [entry.name for entry in ENTRIES]
        for entry in ENTRIES:
            value = "=5" if entry.value else ""
            for length in range(1, len(entry.name)):
                word = entry.name[:length]
                if word not in names:
                    option = f"--{word}{value}"
                    error = self.assertRaises(usage.UsageError, self.host, option)
                    self.assertIn(f"--{word} not recognized: write ", str(error))
                    self.assertIn(f" --{entry.name}", str(error))
        self.wrong("write --tls or --tls-method", "--tl", "h", "25")
        self.wrong("option -n requires argument", "-n")

    def test_no_value(self) -> None:
        """An option without its value is wrong; one with a value it has not, too."""
        for entry in ENTRIES:
            if entry.value:
                for option in filter(None, (entry.letter, "-" + entry.name)):
                    error = self.assertRaises(
                        usage.UsageError, self.parse, f"-{option}"
                    )
                    self.assertIn(option, str(error))
            else:
                option = f"--{entry.name}=x"
                self.assertRaises(usage.UsageError, self.host, option)


class EndpointTests(Parsing):
    """Option -E, which stands for host and port."""

    def test_description(self) -> None:
        """The description is kept as it is, and what follows is prog."""
        for spelling in (("-Etls:h:1",), ("-E", "tls:h:1"), ("--endpoint=tls:h:1",)):
            settings = self.parse(*spelling)
            self.assertEqual(settings, Settings("", None, endpoint="tls:h:1"))
        settings = self.parse("-E", "x", "-E", "tcp:h:1", "prog", "-v", "-E")
        self.assertEqual(settings.endpoint, "tcp:h:1")
        self.assertEqual(settings.program, ("prog", "-v", "-E"))

    def test_empty(self) -> None:
        """None at all is not one."""
        self.wrong("-E: the description is empty", "-E", "")

    def test_together(self) -> None:
        """What has a meaning with it keeps it."""
        together = ("-q", "-a5", "-Hh", "-Rr", "-lx", "-t5", "-z", "--crlf", "-e")
        with_host, without = self.host(*together), self.parse(*together, "-Ex")
        self.assertEqual(replace(with_host, host="", port=None, endpoint="x"), without)

    def test_connecting(self) -> None:
        """How to connect is for the description to say, even if it is the default."""
        for arguments in (
            *(("-T2+58",), ("-i", "127.0.0.1"), ("-p0",), ("-I", "lo")),
            *(("-4",), ("-6",), ("-d",), ("-D",)),
        ):
            self.wrong(f"{arguments[0][:2]}", *arguments, "-E", "tcp:h:1")
            self.wrong("has no meaning with -E", *arguments, "-E", "tcp:h:1")

    def test_tls_of_its_own(self) -> None:
        """No option of ours is silently without effect on TLS that is not ours."""
        for arguments in OF_TLS:
            words = f"{arguments[0]}: has no meaning with -E without --tls or -s"
            self.wrong(words, *arguments, "-E", "tls:h:1")
            self.parse("--tls", "-m", "h", *arguments, "-E", "tcp:h:1")

    def test_tls_on_top(self) -> None:
        """TLS of ours has to be told whom to expect: a description names nobody."""
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
    """TLS, and when there is any."""

    def test_asked_for(self) -> None:
        """By --tls, by -n, or by -s alone; and by nothing else."""
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
        An option that has a meaning only with TLS is wrong without it, so that no
        password is sent in clear because a letter was forgotten; variables are not.
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
        """Verified against the host, with the system's trust, TLS 1.2 and 1.3."""
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
        """Option -s: a dialect, in any case; the last one wins."""
        for value in ("smtp", "pop3", "imap"):
            for spelling in (
                ("-s", value),
                (f"-s{value.upper()}",),
                ("--starttls", value.title()),
                ("-simap", f"--starttls={value}"),
            ):
                self.assertEqual(self.host(*spelling).starttls, value)

    def test_unknown_dialect(self) -> None:
        """Anything else is wrong, and the message says what there is."""
        for value in ("gopher", "", "smtps", "smtp ", "__init__", "\x1b[2J"):
            self.wrong(", imap, irc,", f"--starttls={value}", "h", "25")

    def test_greeting(self) -> None:
        """Option --greeting: for dialects that can greet, and for nothing else."""
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
        """Option -k turns verification off, and nothing else does."""
        for spelling in ("-k", "--insecure"):
            self.assertFalse(self.tls(spelling).verify)

    def test_names(self) -> None:
        """The certificate must be for the host as given, which is sent as SNI."""
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
        """Option -m: another name, which may also be the CN of old certificates."""
        for spelling in (("-m", "x.org"), ("--match=x.org",), ("-my.org", "-mx.org")):
            tls = self.tls(*spelling)
            self.assertEqual((tls.name, tls.server_name), ("x.org", "x.org"))
            self.assertTrue(tls.common_name)
        tls = self.tls("-m", "192.0.2.1")
        self.assertEqual((tls.name, tls.server_name), ("192.0.2.1", "192.0.2.1"))

    def test_match_no_name(self) -> None:
        """What is neither a name nor an address cannot be matched: it is wrong."""
        for value in ("*", "a b", "a..b", "x" * 64, "*.example.org", "\udcff", "a/b"):
            words = "-m: neither a name nor an IP address: "
            self.wrong(words, "--tls", "-m", value, "h", "25")

    def test_match_nothing(self) -> None:
        """An empty name does not turn verification off: it is wrong."""
        for spelling in (("-m", ""), ("--match=",), ("-m", "x", "-m", "")):
            self.wrong("-m: the name is empty", "--tls", *spelling, "h", "25")

    def test_nothing(self) -> None:
        """Nor does anything else that is empty turn off what it restricts."""
        for letter, name, what in (
            ("-c", "ca-file", "name"),
            ("-L", "crl-file", "name"),
            ("-C", "certificate-directory", "name"),
            ("-I", "interface", "name"),
            ("-f", "ciphers", "list"),
        ):
            for spelling in ((letter, ""), (f"--{name}=",)):
                message = f"{letter}: the {what} is empty"
                self.wrong(message, "--tls", *spelling, "h", "25")

    def test_socket(self) -> None:
        """Over a UNIX socket there is no name, unless -m gives one."""
        for host in ("/run/smtpd", "@smtpd"):
            tls = self.parse("--tls", host).tls
            assert tls is not None
            self.assertEqual((tls.name, tls.server_name), (None, None))
            self.assertTrue(tls.verify)
            tls = self.parse("--tls", "-m", "x.org", host).tls
            assert tls is not None
            self.assertEqual((tls.name, tls.server_name), ("x.org", "x.org"))

    def test_versions(self) -> None:
        """Option -M: one version, a range, or the old word for any."""
        for value, low, high in (
            ("TLSv1_2", "TLSv1_2", "TLSv1_2"),
            ("TLSv1_3", "TLSv1_3", "TLSv1_3"),
            ("TLSv1_2:TLSv1_3", "TLSv1_2", "TLSv1_3"),
            ("TLSv1_2:TLSv1_2", "TLSv1_2", "TLSv1_2"),
            ("SSLv23", "TLSv1_2", "TLSv1_3"),
        ):
            for spelling in (("-M", value), (f"--tls-method={value}",)):
                tls = self.tls(*spelling)
                self.assertEqual((tls.minimum, tls.maximum), (low, high))

    def test_gone_versions(self) -> None:
        """Versions that are not secure are gone, and the message says so plainly."""
        for version in ("SSLv2", "SSLv3", "TLSv1", "TLSv1_1"):
            for value in (version, f"{version}:TLSv1_3", f"TLSv1_2:{version}"):
                self.wrong(f"-M: {version} is gone", "-M", value, "h", "25")

    def test_wrong_versions(self) -> None:
        """Anything else is no version."""
        for value in (
            "bogus",
            "",
            "TLSv1.3",
            "tlsv1_3",
            "TLSv1_2:",
            ":TLSv1_3",
            "\x1b",
        ):
            self.wrong("-M: no such version", f"--tls-method={value}", "h", "25")
        self.wrong("range is empty", "-M", "TLSv1_3:TLSv1_2", "h", "25")


class FileTests(Parsing):
    """Which files are used."""

    #: For each purpose: the option, the variable, the default, and the setting.
    CA = ("-c", "SERVERCA", "serverca.pem", "authorities")
    CRL = ("-L", "SERVERCRL", "servercrl.pem", "revocations")
    CERTIFICATE = ("-n", "TLS_CERTFILE", "clientcert.pem", "certificate")

    def test_given(self) -> None:
        """What an option names is used, whatever else there is, even if missing."""
        for option, variable, default, setting in (self.CA, self.CRL, self.CERTIFICATE):
            self.file(default)
            self.environ[variable] = self.file("other")
            tls = self.tls(option, "some/file")
            self.assertEqual(getattr(tls, setting), "some/file")
            tls = self.tls(option, "one", option, "two")
            self.assertEqual(getattr(tls, setting), "two")

    def test_long_names(self) -> None:
        """The same by the long names."""
        tls = self.tls("--ca-file=a", "--crl-file=b", "--certificate=c")
        self.assertEqual(
            (tls.authorities, tls.revocations, tls.certificate), ("a", "b", "c")
        )

    def test_variables(self) -> None:
        """Else what a variable names; relative to the certificate directory."""
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
        """Else the default in the certificate directory, if it is there."""
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
        """Without -n there is no client certificate, whatever else there is."""
        self.file("clientcert.pem")
        self.environ["TLS_CERTFILE"] = "/some/file"
        self.assertIsNone(self.tls().certificate)

    def test_directory(self) -> None:
        """Option -C, else $CERTDIR, else the one that the C program has."""
        other = Path(self.mktemp()).absolute()
        other.mkdir()
        (other / "serverca.pem").write_text("x")
        wanted = str(other / "serverca.pem")
        self.assertEqual(self.tls("-C", str(other)).authorities, wanted)
        spelling = f"--certificate-directory={other}"
        self.assertEqual(self.tls(spelling).authorities, wanted)
        self.environ["CERTDIR"] = str(other)
        self.assertEqual(self.tls().authorities, wanted)
        for empty in ("", None):
            del self.environ["CERTDIR"]
            if empty is not None:
                self.environ["CERTDIR"] = empty
            self.environ["SERVERCA"] = "ca.pem"
            wanted = "/etc/indimail/certs/ca.pem"
            self.assertEqual(self.tls().authorities, wanted)
            self.environ["CERTDIR"] = "x"

    def test_no_directory(self) -> None:
        """A directory that was named and is none is an error, where there is TLS."""
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
        """The default directory alone, which no option names, may be absent."""
        missing = str(self.folder / "missing")
        self.patch(configuration, "CERTIFICATES", missing)
        del self.environ["CERTDIR"]
        self.assertEqual(self.tls().authorities, None)
        # But it may not be something else.
        self.patch(configuration, "CERTIFICATES", self.file("file"))
        self.fails("serverca.pem: not a directory", "--tls", "h", "25")

    def test_present(self) -> None:
        """A default that cannot be read is not one that is absent."""
        for option, _, default, setting in (self.CA, self.CRL, self.CERTIFICATE):
            options = (option, "") if setting == "certificate" else ()
            path = self.folder / default
            path.symlink_to("nowhere")
            self.assertEqual(getattr(self.tls(*options), setting), str(path))
            path.unlink()

    def test_empty_names(self) -> None:
        """
        An unset variable in a script, as -c "" or -L "" would be, does not
        quietly mean to trust whom the system trusts, or to check no list.
        """
        for option in ("-c", "-L"):
            self.wrong(option, "--tls", option, "", "h", "25")


class CipherTests(Parsing):
    """Ciphers, from options, files and variables."""

    def ciphers(self, *arguments: str) -> tuple[str | None, str | None]:
        """The list for TLS 1.2, and the suites for TLS 1.3."""
        tls = self.tls(*arguments)
        return tls.ciphers, tls.suites

    def test_none(self) -> None:
        """By default OpenSSL has its own opinion."""
        self.assertEqual(self.ciphers(), (None, None))

    def test_list(self) -> None:
        """Option -f: names of TLS 1.3 go to TLS 1.3, all others to TLS 1.2."""
        suite = "TLS_AES_256_GCM_SHA384"
        for value, wanted in (
            ("HIGH", ("HIGH", None)),
            (suite, (None, suite)),
            (f"HIGH:{suite}:!aNULL", ("HIGH:!aNULL", suite)),
            (f"{suite}:TLS_CHACHA20_POLY1305_SHA256", (None, None)),
        ):
            for spelling in (("-f", value), (f"--ciphers={value}",)):
                found = self.ciphers(*spelling)
                if wanted == (None, None):
                    self.assertEqual(found, (None, value))
                else:
                    self.assertEqual(found, wanted)

    def test_file(self) -> None:
        """A file that holds one: its first word."""
        for content in ("HIGH", "HIGH\n", "\n  HIGH and more\n", "HIGH\nLOW\n"):
            path = self.file("ciphers", content)
            self.assertEqual(self.ciphers("-f", path), ("HIGH", None))
        name = os.path.relpath(path)
        self.assertEqual(self.ciphers("-f", name), ("HIGH", None))

    def test_file_of_this_name(self) -> None:
        """A file in the current directory is taken with a slash in its name alone."""
        name = "HIGH"
        Path(name).write_text("LOW")
        self.addCleanup(os.unlink, name)
        self.assertEqual(self.ciphers("-f", name), ("HIGH", None))
        self.assertEqual(self.ciphers("-f", f"./{name}"), ("LOW", None))

    def test_no_file(self) -> None:
        """A file that cannot be read, or holds nothing, is an error."""
        missing = str(self.folder / "missing")
        self.fails("file does not exist", "--tls", "-f", missing, "h", "25")
        self.fails("is a directory", "--tls", "-f", str(self.folder), "h", "25")
        for content in ("", " \n\t\n"):
            empty = self.file("empty", content)
            self.fails("no ciphers in", "--tls", "-f", empty, "h", "25")

    def test_variables(self) -> None:
        """Else the variables, one for each."""
        self.environ["TLS_CIPHER_LIST"] = "HIGH"
        self.assertEqual(self.ciphers(), ("HIGH", None))
        self.environ["TLS_CIPHER_SUITE"] = "TLS_AES_256_GCM_SHA384"
        self.assertEqual(self.ciphers(), ("HIGH", "TLS_AES_256_GCM_SHA384"))
        self.assertEqual(self.ciphers("-f", "LOW"), ("LOW", None))

    def test_no_names(self) -> None:
        """A list of nothing is not the default."""
        file = self.file("colons", "::\n")
        for value, shown in ((":", ":"), (file, "::")):
            self.fails(f"no usable cipher in '{shown}'", "--tls", "-f", value, "h", "1")

    def test_empty_variables(self) -> None:
        """A variable that is empty is as good as none."""
        self.environ["TLS_CIPHER_LIST"] = self.environ["TLS_CIPHER_SUITE"] = ""
        self.assertEqual(self.ciphers(), (None, None))


class HelpTests(Parsing):
    """What is said of the options, held against the parser."""

    def test_every_option(self) -> None:
        """
        Every option that there is has its place in the help, and the reverse,
        with the same letter, and with a value if it takes one.
        """
        options = Options()
        # The parser knows a letter as a long name, too.
        takes = {
            name.removesuffix("="): name.endswith("=")
            for name in options.longOpt
            if len(name.removesuffix("=")) > 1
        }
        letters = {
            letter: options.synonyms[letter]
            for letter in options.shortOpt.replace(":", "")
        }
        self.assertEqual({entry.name: bool(entry.value) for entry in ENTRIES}, takes)
        self.assertEqual(
            {entry.letter: entry.name for entry in ENTRIES if entry.letter}, letters
        )

    def test_once(self) -> None:
        """No name, and no letter, is there twice."""
        names = [entry.name for entry in ENTRIES]
        letters = [entry.letter for entry in ENTRIES if entry.letter]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(len(letters), len(set(letters)))

    def test_man_page(self) -> None:
        """Every letter of the C program is still there."""
        letters = {entry.letter for entry in ENTRIES}
        self.assertLessEqual(set("qQvTipdDCncLzfMsmahHlrRt" + "46Ie"), letters)

    def test_works(self) -> None:
        """Every option in the help can be used as it says, by letter and by name."""
        for entry in ENTRIES:
            if entry.name in ("help", "version"):
                continue
            value = VALUES.get(entry.name, "x") if entry.value else None
            arguments = [] if value is None else [value]
            arguments += NEEDED.get(entry.name, ())
            by_name = self.host(f"--{entry.name}", *arguments)
            if entry.letter:
                self.assertEqual(self.host(f"-{entry.letter}", *arguments), by_name)

    def test_text(self) -> None:
        """Every option is in the text, by its names; no line is too long."""
        text = help_text()
        for entry in ENTRIES:
            self.assertIn(f"--{entry.name}{entry.value and ' '}{entry.value}", text)
            self.assertTrue(entry.text)
            self.assertTrue(entry.text[0].islower() or entry.text[0].isupper())
        for title, _ in GROUPS:
            self.assertIn(f"\n{title}:\n", text)
        for line in text.splitlines():
            self.assertLessEqual(len(line), 80, line)
            self.assertEqual(line, line.rstrip())
            self.assertTrue(line.isascii())
        self.assertTrue(text.endswith("\n"))

    def shown(self, option: str) -> str:
        """What is printed for an option that only prints."""
        out: list[bytes] = []

        def write(descriptor: int, data: bytes) -> int:
            self.assertEqual(descriptor, 1)
            # Not all at once, as with a pipe that is nearly full.
            out.append(data[:100])
            return len(out[-1])

        self.patch(os, "write", write)
        error = self.assertRaises(SystemExit, self.parse, option)
        self.assertEqual(error.code, 0)
        return b"".join(out).decode("ascii")

    def test_help(self) -> None:
        """--help prints it, and succeeds."""
        self.assertEqual(self.shown("--help"), help_text())

    def test_version(self) -> None:
        """--version prints our version, not Twisted's, and succeeds."""
        self.assertEqual(self.shown("--version"), f"tcpclient {__version__}\n")

    def test_not_printed(self) -> None:
        """Where nothing can be printed that is an error, not silence."""

        def write(descriptor: int, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "full")

        self.patch(os, "write", write)
        for option in ("--help", "--version"):
            self.fails("unable to write standard output: no space left", option)

    def test_usage(self) -> None:
        """Under ``twist`` an error is not followed by a page of help."""
        for usage_text in (Options().getUsage(), Options().getUsage(width=40)):
            self.assertIn("--help", usage_text)
            self.assertEqual(usage_text.count("\n"), 1)

    def test_directory(self) -> None:
        """The help names the directory that is used."""
        self.assertIn(CERTIFICATES, help_text())


class ParentTests(Parsing):
    """Under ``twist``."""

    level = LogLevel.info

    def under(self, log: object, *arguments: str) -> dict[str, Any]:
        """The options of ``twist`` after ours have been parsed."""
        options = Options()
        parent: dict[str, Any] = {"logFile": log, "logLevel": self.level}
        options.parent = parent  # type: ignore[assignment]
        options.parseOptions([*arguments, "h", "25"])
        return parent

    def test_log(self) -> None:
        """Its log does not go where the server's bytes go."""
        self.assertIs(self.under(sys.stdout)["logFile"], sys.stderr)

    def test_other_log(self) -> None:
        """A log elsewhere stays there."""
        log = io.StringIO()
        self.assertIs(self.under(log)["logFile"], log)

    def test_level(self) -> None:
        """The log keeps to warnings, unless what happens was asked for."""
        log = io.StringIO()
        self.assertIs(self.under(log)["logLevel"], LogLevel.warn)
        self.assertIs(self.under(log, "-q")["logLevel"], LogLevel.warn)
        self.assertIs(self.under(log, "-v")["logLevel"], LogLevel.info)

    def test_other_level(self) -> None:
        """Another level was chosen by somebody, and stays."""
        for self.level in (LogLevel.debug, LogLevel.error):
            self.assertIs(self.under(io.StringIO())["logLevel"], self.level)

    def test_errors(self) -> None:
        """Whatever is wrong is an error that ``twist`` knows."""
        missing = str(self.folder / "missing")
        error = self.assertRaises(
            usage.UsageError, self.under, sys.stdout, "--tls", "-f", missing
        )
        self.assertIn("unable to read ciphers", str(error))


class AnythingTests(SynchronousTestCase):
    """What holds for all command lines."""

    def setUp(self) -> None:
        """Nothing is printed where the results of tests are."""
        self.patch(os, "write", lambda descriptor, data: len(data))

    @patient
    @given(
        st.lists(
            st.one_of(
                st.sampled_from([f"-{e.letter}" for e in ENTRIES if e.letter]),
                st.sampled_from([f"--{e.name}" for e in ENTRIES if e.name != "help"]),
                st.text(WORD, max_size=6),
                st.sampled_from(["h", "25", "0", "x", "--", "", "smtp", "5+10"]),
            ),
            max_size=7,
        )
    )
    def test_anything(self, arguments: list[str]) -> None:
        """A command line is right, or wrong, or cannot be met; never a surprise."""
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

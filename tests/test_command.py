"""What the command says, what it returns, and whom it connects to."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import signal
import socket
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests import certificates, servers
from tests.command import (
    COMMAND,
    ROOT,
    STARTTLS,
    TCP,
    TLS,
    UNIX,
    Kind,
    Outcome,
    Peer,
    environment,
    every,
    finish,
    listening,
    run,
    serving,
    shell,
    start,
    together,
    trusting,
)
from tests.packages import Missing

#: Python's own doing in the C locale (PEP 538), and coverage's, are not ours.
FOREIGN = ("LC_CTYPE", "COVERAGE")

#: No look-ups, so that nothing depends on the machine.
QUICK = ("-RHl0",)


def one_port(*hosts: str) -> list[socket.socket]:
    """Return sockets that are bound to one port on these hosts, and do not listen."""
    families = [socket.AF_INET6 if ":" in host else socket.AF_INET for host in hosts]
    while True:
        sockets, port = [socket.socket(family) for family in families], 0
        try:
            for bound, host in zip(sockets, hosts, strict=True):
                bound.bind((host, port))
                port = bound.getsockname()[1]
        except OSError as error:
            for bound in sockets:
                bound.close()
            # What is free on one host need not be on another.
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return sockets


@contextlib.contextmanager
def refusing(*hosts: str) -> Iterator[str]:
    """Hold a port that is free on these hosts, and where nobody listens."""
    with contextlib.ExitStack() as held:
        sockets = one_port(*(hosts or ("127.0.0.1",)))
        for bound in sockets:
            held.enter_context(bound)
        yield str(sockets[0].getsockname()[1])


@contextlib.contextmanager
def mute() -> Iterator[str]:
    """Hold a port that answers no attempt to connect, not even to refuse it."""
    with socket.socket() as listener, contextlib.ExitStack() as held:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # When the queue is full the kernel drops what comes.
        for _ in range(4):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield str(listener.getsockname()[1])


def greet(peer: Peer) -> object:
    """Say hello, and who is there."""
    # Who does not read may be gone, with a reset, by the time that is sent.
    name = peer.socket.getpeername()
    peer.send(b"hello\n")
    peer.finish()
    return name


def both_loopbacks() -> None:
    """Skip a test that needs IPv6 where there is none."""
    if "::1" not in servers.loopbacks():
        raise SkipTest("this machine has no IPv6")


class UsageTests(SynchronousTestCase):
    """A wrong command line is one line on stderr and status 100."""

    def test_wrong(self) -> None:
        """Each wrong command line is refused with a reason, before anything is done."""
        wrong = {
            "no host given": (),
            "no port given": ("127.0.0.1",),
            "option -Y not recognized": ("-Y", "0", "1"),
            "option --nonsense not recognized": ("--nonsense", "0", "1"),
            "option --no not recognized: write --no-delay": ("--no", "0", "1"),
            "-m: has no meaning without TLS: add --tls": ("-m", "x", "0", "1"),
            "-k: has no meaning without TLS: add --tls": ("-k", "0", "1", "cat"),
            "--tcp: HOST is a UNIX socket: '@x'": ("--tcp", "@x", "id", "-u"),
            "--crlf: has no effect on cat": ("--crlf", "0", "1", "cat"),
            "-i: not an IP address: 'x'": ("-i", "x", "0", "1"),
            "-s: no such protocol: 'gopher'": ("-s", "gopher", "0", "1"),
            "-p: not a number: 'x'": ("-p", "x", "0", "1"),
            "-p: not from 1 to 65535: 65536": ("-p", "65536", "0", "1"),
            "-T: not a number: 'x'": ("-T", "x", "0", "1"),
            "-T: not a number: '-1'": ("-T", "-1", "0", "1"),
            "-a: not a number: 'x'": ("-a", "x", "0", "1"),
            "-t: not a number: '1.5'": ("-t", "1.5", "0", "1"),
            "port: not from 1 to 65535: 99999": ("0", "99999"),
            "port: not from 1 to 65535: 0": ("0", "0"),
            "-M: SSLv3 is gone": ("-M", "SSLv3", "0", "1"),
            "-M: no such version: 'bogus'": ("-M", "bogus", "0", "1"),
            "-M: the range is empty": ("-M", "TLSv1_3:TLSv1_2", "0", "1"),
            "-m: the name is empty": ("-m", "", "0", "1"),
            "option -n requires argument": ("-n",),
        }

        def check(words: str, arguments: tuple[str, ...]) -> None:
            outcome = run(*arguments)
            self.assertIn(words, outcome.complaint())
            self.assertEqual((outcome.status, outcome.out), (100, b""))

        together(
            {
                words: functools.partial(check, words, arguments)
                for words, arguments in wrong.items()
            }
        )

    def test_control_characters(self) -> None:
        """What the user typed is escaped before it comes back on the terminal."""
        outcome = run("-s", "\x1b[31m\nx", "0", "1")
        self.assertEqual(outcome.status, 100)
        self.assertIn("\\x1b[31m", outcome.complaint())

    def test_help_and_version(self) -> None:
        """Help and version go to stdout, and are no error."""
        for option, words in (("--help", b"Usage: "), ("--version", b"tcpclient ")):
            outcome = run(option)
            self.assertTrue(outcome.out.startswith(words))
            self.assertEqual((outcome.status, outcome.err), (0, ""))


class FailureTests(SynchronousTestCase):
    """What cannot be done is said in one line, and the status is 111."""

    def check(self, outcome: Outcome, words: str) -> None:
        """Hold a failure against the words for it."""
        self.assertEqual(outcome.complaint(), words)
        self.assertEqual((outcome.status, outcome.out), (111, b""))

    def test_refused(self) -> None:
        """A refused connection is reported with address and port."""
        with refusing() as port:
            outcome = run("127.0.0.1", port)
        place = f"127.0.0.1 port {port}"
        self.check(outcome, f"unable to connect to {place}: connection refused")

    def test_refused_name(self) -> None:
        """A refused connection to a name is reported with the name as well."""
        with refusing() as port:
            outcome = run("-4", "localhost", port)
        place = f"host localhost ip 127.0.0.1 port {port}"
        self.check(outcome, f"unable to connect to {place}: connection refused")

    def test_all_refused(self) -> None:
        """When no address answers, each one is reported on a line of its own."""
        both_loopbacks()
        with refusing("127.0.0.1", "::1") as port:
            outcome = run("0", port)
        self.assertEqual(
            outcome.err.splitlines(),
            [
                f"tcpclient: {kind}: unable to connect to host 0 ip {ip} port {port}:"
                " connection refused"
                for kind, ip in (("warning", "::1"), ("fatal", "127.0.0.1"))
            ],
        )
        self.assertEqual((outcome.status, outcome.out), (111, b""))

    def test_unknown(self) -> None:
        """Hosts and ports that do not exist are named."""
        label = "a" * 64
        expected = {
            f"no IP address for {label}.invalid: not a valid name": (
                f"{label}.invalid",
                "25",
            ),
            "no IP address for ::1%lo": ("::1%lo", "25"),
            "no IP address for fe80::1%nosuch": ("fe80::1%nosuch", "25"),
            "no IPv6 address for 127.0.0.1": ("-6", "127.0.0.1", "25"),
            "no IPv4 address for ::1": ("-4", "::1", "25"),
            "unable to figure out port number for nosuchservice": (
                "127.0.0.1",
                "nosuchservice",
            ),
        }
        together(
            {
                words: lambda a=arguments, w=words: self.check(run(*a), w)  # type: ignore[misc]
                for words, arguments in expected.items()
            }
        )

    def test_unknown_name(self) -> None:
        """A name that does not exist has no address; DNS may be out of order, too."""
        outcome = run("nonexistent.invalid", "25")
        self.assertEqual((outcome.status, outcome.out), (111, b""))
        self.assertIn("IP address for nonexistent.invalid", outcome.complaint())

    def test_octets(self) -> None:
        """An octet over 255 is not taken modulo 256: this is no address of anyone's."""
        outcome = run("300.1.1.1", "25")
        self.assertEqual(outcome.status, 111)
        self.assertIn("IP address for 300.1.1.1", outcome.complaint())

    def test_unix_sockets(self) -> None:
        """A UNIX socket that is not there, or where nobody listens, is named."""
        with tempfile.TemporaryDirectory() as directory:
            path = f"{directory}/s"
            what = f"unable to connect to socket {path}"
            self.check(run(path), f"{what}: file does not exist")
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(path)
                self.check(run(path), f"{what}: connection refused")

    def test_local_address(self) -> None:
        """An address that is not ours, or in no zone of ours, is none to use."""
        ways = [("192.0.2.1", "127.0.0.1")]
        if "::1" in servers.loopbacks():
            ways.append(("fe80::1%nosuch0", "::1"))
        for local, host in ways:
            with refusing() as port:
                outcome = run("-i", local, host, port)
            self.assertIn(
                "unable to bind socket: address not available", outcome.complaint()
            )
            self.assertEqual((outcome.status, outcome.out), (111, b""))

    def test_local_port(self) -> None:
        """A port in use cannot be connected from."""
        with serving(greet) as server, refusing() as taken:
            outcome = run("-p", taken, "-i", "127.0.0.1", *server.arguments)
        self.assertIn(
            "unable to bind socket: address already used", outcome.complaint()
        )
        self.assertEqual((outcome.status, outcome.out), (111, b""))

    def test_timed_out(self) -> None:
        """An address that does not answer is given up after the time of -T."""
        with mute() as port:
            outcome = run("-T", "1", "127.0.0.1", port)
        self.check(outcome, f"unable to connect to 127.0.0.1 port {port}: timed out")

    def test_unusable_files(self) -> None:
        """A file for TLS that is not there or useless is named, before connecting."""
        with tempfile.TemporaryDirectory() as directory:
            missing, empty = f"{directory}/missing", f"{directory}/empty"
            Path(empty).touch()
            expected = {
                f"unable to read certificate {missing}: file does not exist": "-n",
                f"unable to read CA certificates {missing}: file does not exist": "-c",
                f"unable to read certificate revocation lists {missing}"
                ": file does not exist": "-L",
                f"unable to read ciphers {missing}: file does not exist": "-f",
                f"no certificate in {empty}": "-n",
                f"no CA certificate in {empty}": "-c",
                f"no certificate revocation list in {empty}": "-L",
                f"no ciphers in {empty}": "-f",
            }
            with serving(greet) as server:

                def check(words: str, option: str) -> None:
                    path = missing if "missing" in words else empty
                    outcome = run("--tls", option, path, *server.arguments)
                    self.check(outcome, words)

                together(
                    {
                        words: functools.partial(check, words, option)
                        for words, option in expected.items()
                    }
                )
                self.assertEqual(server.connections, 0)

    def test_closed_directories(self) -> None:
        """A directory that may not be searched may hold what restricts: an error."""
        with tempfile.TemporaryDirectory() as directory, serving(greet) as server:
            closed = Path(directory) / "closed"
            closed.mkdir(0o000)
            ca = str(certificates.shared().ca)
            cases: tuple[tuple[tuple[str, ...], dict[str, str]], ...] = (
                (("-c", ca, "-C", str(closed)), {}),
                (("-c", ca), {"CERTDIR": str(closed)}),
            )
            for options, env in cases:
                outcome = run(
                    *("--tls", *options, *server.arguments),
                    command=servers.bound_by_modes(*COMMAND),
                    env=environment(**env),
                )
                path = f"{closed}/servercrl.pem"
                self.check(outcome, f"unable to look for {path}: access denied")
            self.assertEqual(server.connections, 0)

    def test_closed_files(self) -> None:
        """A file of the certificate directory that may not be read is not absent."""
        for name, what in (
            ("clientcert.pem", "certificate"),
            ("serverca.pem", "CA certificates"),
            ("servercrl.pem", "certificate revocation lists"),
        ):
            with tempfile.TemporaryDirectory() as directory, serving(greet) as server:
                path = Path(directory) / name
                path.touch(0o000)
                outcome = run(
                    *("-n", "", "-C", directory, *server.arguments),
                    command=servers.bound_by_modes(*COMMAND),
                )
                self.check(outcome, f"unable to read {what} {path}: access denied")
                self.assertEqual(server.connections, 0)

    def test_prog(self) -> None:
        """A prog that is missing, or may not be executed, is named; TLS or not."""
        with tempfile.TemporaryDirectory() as directory:
            plain = f"{directory}/plain"
            Path(plain).touch()
            expected = {
                f"unable to run {prog}: {reason}": prog
                for prog, reason in (
                    ("nosuchprog", "file does not exist"),
                    (f"{directory}/none", "file does not exist"),
                    (plain, "access denied"),
                    (directory, "access denied"),
                )
            }

            def check(kind: Kind) -> None:
                with kind.serve(greet) as server:
                    for words, prog in expected.items():
                        self.check(run(*server.arguments, prog), words)

            every(check, TCP, TLS)

    def test_quiet(self) -> None:
        """With -q nothing is said; with a later -Q it is."""
        with refusing() as port:
            quiet = run("-q", "127.0.0.1", port)
            loud = run("-q", "-Q", "127.0.0.1", port)
        self.assertEqual((quiet.status, quiet.err), (111, ""))
        self.assertIn("connection refused", loud.complaint())
        self.assertEqual(run("-q", "0", "nosuchservice").err, "")

    def test_no_stderr(self) -> None:
        """A failure is a failure when nobody can be told."""
        with refusing() as port:
            for redirection in ("2>&-", "2>/dev/full"):
                outcome = shell(f"tcpclient 127.0.0.1 {port} {redirection}")
                self.assertEqual((outcome.status, outcome.out), (111, b""))


class ProgressTests(SynchronousTestCase):
    """With -v stderr tells what happens."""

    def test_plain(self) -> None:
        """A connection in clear is announced as such, with address and port."""
        with serving(greet) as server:
            outcome = run("-v", *server.arguments)
        place = f"127.0.0.1 port {server.address[1]}"
        self.assertEqual(
            outcome.err.splitlines()[:3],
            [
                "tcpclient: using un-encrypted connection",
                f"tcpclient: trying {place}",
                f"tcpclient: connected to {place}",
            ],
        )
        self.assertEqual((outcome.status, outcome.out), (0, b"hello\n"))

    def test_name(self) -> None:
        """A name is announced with the address that it led to."""
        with serving(greet) as server:
            port = str(server.address[1])
            outcome = run("-v4", "localhost", port)
        self.assertIn(
            f"tcpclient: trying host localhost ip 127.0.0.1 port {port}",
            outcome.err.splitlines(),
        )

    def test_unix(self) -> None:
        """A UNIX socket is announced by its path."""
        with UNIX.serve(greet) as server:
            outcome = run("-v", *server.arguments)
        self.assertIn(
            f"tcpclient: connected to socket {server.address}",
            outcome.err.splitlines(),
        )

    def test_tls(self) -> None:
        """Version, cipher, certificate, and the name that was verified are told."""
        client = str(certificates.shared().client)
        with TLS.serve(greet) as server:
            outcome = run("-v", "-n", client, *server.arguments)
        lines = outcome.err.splitlines()
        self.assertEqual(lines[0], f"tcpclient: using certificate {client}")
        self.assertIn(
            "tcpclient: secured with TLSv1.3 TLS_AES_256_GCM_SHA384,"
            " verified as 127.0.0.1: CN=localhost",
            lines,
        )

    def test_insecure(self) -> None:
        """Not to verify is possible, and said without being asked for."""
        with Kind("insecure", lambda: (), Peer.secure).serve(greet) as server:
            outcome = run("-k", "--tls", *server.arguments)
        self.assertEqual((outcome.status, outcome.out), (0, b"hello\n"))
        self.assertIn("tcpclient: warning: the server's certificate", outcome.err)
        self.assertEqual(outcome.err.count("\n"), 1)


class HostTests(SynchronousTestCase):
    """The ways to say whom to connect to."""

    def reach(self, *arguments: str, listen: str = "127.0.0.1") -> Outcome:
        """Connect to a server on one address; the port is filled in."""
        with serving(greet, host=listen) as server:
            port = str(server.address[1])
            return run(*(port if word == "PORT" else word for word in arguments))

    def check(self, *arguments: str, listen: str = "127.0.0.1") -> None:
        """A server on one address is reached in silence."""
        outcome = self.reach(*arguments, listen=listen)
        self.assertEqual(outcome, Outcome(0, b"hello\n", ""), arguments)

    def test_ipv4(self) -> None:
        """Names and addresses of IPv4 lead to it; so does 0 where IPv6 is refused."""
        cases = (
            ("127.0.0.1", "PORT"),
            ("[127.0.0.1]", "PORT"),
            ("localhost", "PORT"),
            ("0", "PORT"),
            ("", "PORT"),
            ("-4", "0", "PORT"),
            ("-4", "localhost", "PORT"),
            ("-i", "127.0.0.1", "localhost", "PORT"),
            ("--", "127.0.0.1", "PORT"),
        )
        together({str(case): functools.partial(self.check, *case) for case in cases})

    def test_ipv6(self) -> None:
        """Names and addresses of IPv6 lead to it, with brackets and zones."""
        both_loopbacks()
        cases = (
            ("::1", "PORT"),
            ("[::1]", "PORT"),
            ("0", "PORT"),
            ("-6", "0", "PORT"),
        )
        together(
            {
                str(case): functools.partial(self.check, *case, listen="::1")
                for case in cases
            }
        )

    def test_family(self) -> None:
        """With -4 or -6 the other family is not even tried."""
        both_loopbacks()
        for option, tried, listen in (
            ("-4", "127.0.0.1", "::1"),
            ("-6", "::1", "127.0.0.1"),
        ):
            other, held = one_port(listen, tried)
            with other, held:
                other.listen()
                port = str(other.getsockname()[1])
                complaint = run(option, "0", port).complaint()
            self.assertIn(f"host 0 ip {tried} port {port}: ", complaint)

    def test_last_option(self) -> None:
        """Of options that exclude each other the last one holds."""
        self.check("-6", "-4", "0", "PORT")

    def test_service(self) -> None:
        """A port may be the name of a service."""
        try:
            port = socket.getservbyname("tcpmux", "tcp")
        except OSError:
            raise Missing("/etc/services", "netbase") from None
        self.assertIn(f" port {port}: ", run("127.0.0.1", "tcpmux").complaint())

    def test_paths(self) -> None:
        """Whatever has a slash is the path of a socket, a relative one as well."""
        with tempfile.TemporaryDirectory() as directory:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(f"{directory}/u.sock")
            with listening(listener, greet):
                for path in ("./u.sock", f"../{Path(directory).name}/u.sock"):
                    outcome = run(path, cwd=Path(directory))
                    self.assertEqual(outcome, Outcome(0, b"hello\n", ""))
                # There is no port to say: what follows is prog already.
                outcome = run("./u.sock", "echo", "25", cwd=Path(directory))
                self.assertEqual(outcome, Outcome(0, b"25\n", ""))

    def test_abstract(self) -> None:
        """A name after @ is an abstract socket."""
        if not sys.platform.startswith("linux"):
            raise SkipTest("abstract sockets are Linux's")
        name = f"tcpclient-{uuid.uuid4()}"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"\0{name}")
        with listening(listener, greet):
            self.assertEqual(run(f"@{name}"), Outcome(0, b"hello\n", ""))

    def test_second_address(self) -> None:
        """When the first address refuses the next one is used, without a word."""
        both_loopbacks()
        listener, held = one_port("127.0.0.1", "::1")
        with held, listening(listener, greet) as server:
            port = str(server.address[1])
            outcome = run("-v", "0", port)
        self.assertEqual((outcome.status, outcome.out), (0, b"hello\n"))
        self.assertEqual(
            outcome.err.splitlines()[1:4],
            [
                f"tcpclient: trying host 0 ip ::1 port {port}",
                f"tcpclient: trying host 0 ip 127.0.0.1 port {port}",
                f"tcpclient: connected to 127.0.0.1 port {port}",
            ],
        )


class SocketTests(SynchronousTestCase):
    """What the options do to the socket, as its other end or prog sees it."""

    def test_local_address(self) -> None:
        """With -i the connection comes from that address, with -p from that port."""
        with refusing("127.0.0.2") as port:
            pass
        with serving(greet) as server:
            run("-i", "127.0.0.2", "-p", port, *server.arguments)
            self.assertEqual(server.result(), ("127.0.0.2", int(port)))

    def option(self, code: str, *options: str) -> bytes:
        """Ask the socket on descriptor 6 something, in Python."""
        script = f"import socket; s = socket.socket(fileno=6); print({code})"
        with serving(greet) as server:
            arguments = (*QUICK, *options, *server.arguments)
            outcome = run(*arguments, sys.executable, "-c", script)
        self.assertEqual((outcome.status, outcome.err), (0, ""))
        return outcome.out.strip()

    def test_delay(self) -> None:
        """Nagle's algorithm is off with -D, and on with -d and without both."""
        code = "s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0"
        self.assertEqual(self.option(code, "-D"), b"True")
        self.assertEqual(self.option(code), b"False")
        self.assertEqual(self.option(code, "-Dd"), b"False")

    def test_interface(self) -> None:
        """With -I the socket is bound to that interface; one that is not is named."""
        code = "s.getsockopt(socket.SOL_SOCKET, 25, 16).rstrip(bytes(1)).decode()"
        self.assertEqual(self.option(code, "-I", "lo"), b"lo")
        with serving(greet) as server:
            outcome = run("-I", "nosuch0", *server.arguments)
        self.assertIn(
            "unable to bind to interface nosuch0: no such device", outcome.complaint()
        )
        self.assertEqual(outcome.status, 111)


class EnvironmentTests(SynchronousTestCase):
    """The variables that prog finds."""

    def variables(self, *arguments: str, **env: str) -> dict[str, str]:
        """Return what `env` sees, without what it takes to run us."""
        base = {"PYTHONPATH": str(ROOT), **env}
        base |= {n: v for n, v in os.environ.items() if n.startswith("COVERAGE")}
        outcome = run(*arguments, "/usr/bin/env", env=base)
        self.assertEqual((outcome.status, outcome.err), (0, ""))
        pairs = [line.split("=", 1) for line in outcome.out.decode().splitlines()]
        found = {name: value for name, value in pairs if not name.startswith(FOREIGN)}
        self.assertEqual(found.pop("PYTHONPATH"), str(ROOT))
        return found

    def test_tcp(self) -> None:
        """Over TCP addresses and ports of both sides are set, and nothing else."""
        with serving(greet) as server:
            found = self.variables(*QUICK, *server.arguments)
            _, local_port = server.result()
        self.assertEqual(
            found,
            {
                "PROTO": "TCP",
                "TCPLOCALIP": "127.0.0.1",
                "TCPLOCALPORT": str(local_port),
                "TCPLOCALHOST": "0",
                "TCPREMOTEIP": "127.0.0.1",
                "TCPREMOTEPORT": str(server.address[1]),
            },
        )

    def test_tcp6(self) -> None:
        """Over IPv6 the protocol is TCP6, and addresses are bare."""
        both_loopbacks()
        with serving(greet, host="::1") as server:
            found = self.variables(*QUICK, *server.arguments)
        self.assertEqual(found["PROTO"], "TCP6")
        self.assertEqual(found["TCPREMOTEIP"], "::1")
        self.assertEqual(found["TCPLOCALIP"], "::1")

    def test_unix(self) -> None:
        """Over a UNIX socket there is only the protocol."""
        with UNIX.serve(greet) as server:
            found = self.variables(*QUICK, *server.arguments)
        self.assertEqual(found, {"PROTO": "UNIX"})

    STALE = dict.fromkeys(
        (
            "PROTO",
            "TCPLOCALIP",
            "TCPLOCALPORT",
            "TCPLOCALHOST",
            "TCPREMOTEIP",
            "TCPREMOTEPORT",
            "TCPREMOTEHOST",
            "TCPREMOTEINFO",
            "SSL_PROTOCOL",
            "SSL_CIPHER",
            "SSL_TLS_SNI_SERVERNAME",
            "SSL_PEER_CERT_HASH",
            "SSL_PEER_CERT_SUBJECT",
            "TLS_PROVIDER",
        ),
        "stale",
    )

    def test_stale(self) -> None:
        """What was inherited of ours and does not apply is gone; all else is kept."""

        def check(kind: Kind) -> None:
            with kind.serve(greet) as server:
                found = self.variables(
                    *QUICK, *server.arguments, **self.STALE, OTHER="kept"
                )
            self.assertEqual(found["OTHER"], "kept")
            self.assertNotIn("stale", found.values())

        every(check)

    def test_tls(self) -> None:
        """Over TLS the session and the server's certificate are described."""
        with TLS.serve(greet) as server:
            port = str(server.address[1])
            arguments = ("--tls", *trusting(), *QUICK, "-4", "localhost", port)
            found = self.variables(*arguments)
        digest = certificates.shared().server_identity.certificate
        self.assertEqual(
            {name: v for name, v in found.items() if not name.startswith("TCP")},
            {
                "PROTO": "TCP",
                "SSL_PROTOCOL": "TLSv1.3",
                "SSL_CIPHER": "TLS_AES_256_GCM_SHA384",
                "SSL_TLS_SNI_SERVERNAME": "localhost",
                "SSL_PEER_CERT_HASH": f"SHA256:{fingerprint(digest)}",
                "SSL_PEER_CERT_SUBJECT": "CN=localhost",
            },
        )

    def test_provider(self) -> None:
        """TLS_PROVIDER is set with -z, over TLS only."""
        for kind, expected in (
            (TCP, None),
            (
                STARTTLS,
                "tcpclient, TLS Server=TLSv1.3, Client=TLSv1.3,"
                " Ciphers=TLS_AES_256_GCM_SHA384",
            ),
        ):
            with kind.serve(greet) as server:
                found = self.variables("-z", *QUICK, *server.arguments)
            self.assertEqual(found.get("TLS_PROVIDER"), expected)

    def test_settings_stay(self) -> None:
        """The variables that configure TLS reach prog as they are."""
        ca = str(certificates.shared().ca)
        with TLS.serve(greet) as server:
            port = str(server.address[1])
            found = self.variables(
                *QUICK, "--tls", "127.0.0.1", port, SERVERCA=ca, CERTDIR="/"
            )
        self.assertEqual((found["SERVERCA"], found["CERTDIR"]), (ca, "/"))


def fingerprint(certificate: object) -> str:
    """Return the SHA-256 of a certificate in hex."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509 import Certificate

    assert isinstance(certificate, Certificate)
    return certificate.fingerprint(SHA256()).hex()


class StatusTests(SynchronousTestCase):
    """The status of prog is that of the command."""

    def test_exit(self) -> None:
        """Prog's exit status is passed on."""

        def check(kind: Kind) -> None:
            with kind.serve(Peer.gone) as server:
                outcome = run(*QUICK, *server.arguments, "sh", "-c", "exit 3")
            self.assertEqual(outcome, Outcome(3, b"", ""))

        every(check)

    def test_killed(self) -> None:
        """A signal kills the command too; with TLS the status is 128 plus it."""

        def check(kind: Kind) -> None:
            with kind.serve(Peer.gone) as server:
                outcome = run(*QUICK, *server.arguments, "sh", "-c", "kill -KILL $$")
            expected = 128 + signal.SIGKILL if kind.secure else -signal.SIGKILL
            self.assertEqual(outcome, Outcome(expected, b"", ""))

        every(check)


class StandardDescriptorTests(SynchronousTestCase):
    """Closed standard descriptors, and what goes through them."""

    def test_closed(self) -> None:
        """Closed stdin is empty; closed stdout is an error; neither is the socket."""

        def echo(peer: Peer) -> bytes:
            peer.send(b"hello\n")
            data = peer.rest()
            peer.finish()
            return data

        def check(kind: Kind) -> None:
            with kind.serve(echo) as server:
                words = " ".join(server.arguments)
                outcome = shell(f"tcpclient {words} <&-")
                self.assertEqual(outcome, Outcome(0, b"hello\n", ""))
                self.assertEqual(server.result(), b"")
                outcome = shell(f"tcpclient {words} 2>&- </dev/null")
                self.assertEqual(outcome, Outcome(0, b"hello\n", ""))
                self.assertEqual(server.result(), b"")
                outcome = shell(f"tcpclient {words} >&-")
                self.assertEqual((outcome.status, outcome.out), (111, b""))
                self.assertIn("unable to write standard output", outcome.complaint())
                with contextlib.suppress(Exception):
                    server.result()
                outcome = shell(f"tcpclient {words} <&- >&- 2>&-")
                self.assertEqual(outcome, Outcome(111, b"", ""))

        every(check, TCP, TLS)

    def test_closed_with_prog(self) -> None:
        """Prog finds 6 and 7 where they belong, whatever was closed before."""

        def check(kind: Kind) -> None:
            with kind.serve(greet) as server:
                words = " ".join((*QUICK, *server.arguments))
                for closed in ("<&-", "2>&-", "<&- 2>&-", "6>&- 7>&-", "6</dev/null"):
                    outcome = shell(f"tcpclient {words} sh -c 'cat <&6' {closed}")
                    self.assertEqual(outcome, Outcome(0, b"hello\n", ""), closed)

        every(check, TCP, TLS)

    def test_crlf(self) -> None:
        """With --crlf lines end in CRLF on the wire, and none gets a second CR."""

        def check(kind: Kind) -> None:
            with kind.serve(Peer.rest) as server:
                data = b"one\ntwo\r\n\nthree"
                run("--crlf", *server.arguments, data=data)
                self.assertEqual(server.result(), b"one\r\ntwo\r\n\r\nthree")
                run(*server.arguments, data=data)
                self.assertEqual(server.result(), data)

        every(check, TCP)

    def test_unreadable_stdin(self) -> None:
        """Input that cannot be read is an error with its reason."""
        with serving(Peer.gone) as server:
            outcome = shell(f"tcpclient {' '.join(server.arguments)} 0>/dev/null")
        self.assertEqual(outcome.status, 111)
        self.assertEqual(
            outcome.complaint(), "unable to read standard input: bad file descriptor"
        )


class ShapeTests(SynchronousTestCase):
    """What holds for every run."""

    def test_no_traces(self) -> None:
        """No run leaves a traceback, whatever is thrown at it."""
        strange: list[tuple[str, ...]] = [
            ("\udcff", "25"),
            ("localhost", "\udcff"),
            ("x" * 300, "25"),
            ("a..b", "25"),
            ("%lo", "25"),
            ("[", "25"),
            ("[]", "25"),
            ("::1%nosuch", "25"),
            ("@",),
            ("/" + "x" * 200,),
            ("-l", "\n", "localhost", "x y"),
            ("--tls", "-m", "\udcff", "127.0.0.1", "1"),
            ("--tls", "-m", "*.x", "127.0.0.1", "1"),
            ("-I", "\udcff", "127.0.0.1", "1"),
            ("-I", "x" * 20, "127.0.0.1", "1"),
            ("-f", "NOSUCH", "--tls", "127.0.0.1", "1"),
            ("-C", "\udcff", "-n", "", "127.0.0.1", "1"),
            ("-i", "fe80::1%nosuch", "::1", "1"),
        ]

        def check(arguments: tuple[str, ...]) -> None:
            outcome = run(*arguments)
            self.assertIn(outcome.status, (100, 111))
            outcome.complaint()

        together({str(a): functools.partial(check, a) for a in strange})

    def test_prog_first(self) -> None:
        """Prog is looked for before anybody is connected to."""
        with serving(greet) as server:
            run(*server.arguments, "nosuchprog")
            self.assertEqual(server.connections, 0)

    def test_executable(self) -> None:
        """The command runs from any directory, as a module."""
        with serving(greet) as server, tempfile.TemporaryDirectory() as directory:
            process = start(*server.arguments, cwd=Path(directory))
            self.assertEqual(finish(process), Outcome(0, b"hello\n", ""))

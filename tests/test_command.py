"""What the command says, its exit status, and the addresses that it connects to."""

from __future__ import annotations

import contextlib
import errno
import os
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
    trusting,
)
from tests.packages import Missing

#: Python sets LC_CTYPE in the C locale (PEP 538), and coverage.py needs its own
#: variables.
FOREIGN = ("LC_CTYPE", "COVERAGE")

#: No look-ups of names and no ident, whose answers depend on the machine.
QUICK = ("-RHl0",)


def one_port(*hosts: str) -> list[socket.socket]:
    """Return one socket for each host, bound to the same port, and not listening."""
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
            # A port that is free on the first host may be in use on another.
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return sockets


@contextlib.contextmanager
def refusing(*hosts: str) -> Iterator[str]:
    """Yield a port that is bound on these hosts, and refuses connections."""
    with contextlib.ExitStack() as held:
        sockets = one_port(*(hosts or ("127.0.0.1",)))
        for bound in sockets:
            held.enter_context(bound)
        yield str(sockets[0].getsockname()[1])


@contextlib.contextmanager
def mute() -> Iterator[str]:
    """Yield a port that neither accepts nor refuses connections."""
    with socket.socket() as listener, contextlib.ExitStack() as held:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # Linux drops SYNs while the queue of accept() is full.
        for _ in range(4):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield str(listener.getsockname()[1])


def greet(peer: Peer) -> object:
    """Send hello, close, and return the address of the client."""
    # getpeername() fails with ENOTCONN once a client that does not read has sent RST.
    name = peer.socket.getpeername()
    peer.send(b"hello\n")
    peer.finish()
    return name


def both_loopbacks() -> None:
    """Skip the test if the machine has no IPv6."""
    if "::1" not in servers.loopbacks():
        raise SkipTest("this machine has no IPv6")


class UsageTests(SynchronousTestCase):
    """Wrong command lines: one line on stderr and status 100."""

    def test_wrong(self) -> None:
        """A wrong command line is refused with its reason, before anything is done."""
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

        for words, arguments in wrong.items():
            outcome = run(*arguments)
            self.assertIn(words, outcome.complaint())
            self.assertEqual((outcome.status, outcome.out), (100, b""))

    def test_control_characters(self) -> None:
        """Control characters of the command line are escaped in messages."""
        outcome = run("-s", "\x1b[31m\nx", "0", "1")
        self.assertEqual(outcome.status, 100)
        self.assertIn("\\x1b[31m", outcome.complaint())

    def test_help_and_version(self) -> None:
        """Help and version are printed on stdout, with status 0."""
        for option, words in (("--help", b"Usage: "), ("--version", b"tcpclient ")):
            outcome = run(option)
            self.assertTrue(outcome.out.startswith(words))
            self.assertEqual((outcome.status, outcome.err), (0, ""))


class FailureTests(SynchronousTestCase):
    """
    Failures before a connection is established: one line on stderr and status 111.
    """

    def check(self, outcome: Outcome, words: str) -> None:
        """Check that an outcome is a failure with this message."""
        self.assertEqual(outcome.complaint(), words)
        self.assertEqual((outcome.status, outcome.out), (111, b""))

    def test_refused(self) -> None:
        """The message about a refused connection has the address and the port."""
        with refusing() as port:
            outcome = run("127.0.0.1", port)
        place = f"127.0.0.1 port {port}"
        self.check(outcome, f"unable to connect to {place}: connection refused")

    def test_all_refused(self) -> None:
        """If all addresses refuse, the command prints one line for each of them."""
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
        """The message about an unknown host or service has its name."""
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
        for words, arguments in expected.items():
            self.check(run(*arguments), words)

    def test_unknown_name(self) -> None:
        """
        If a name does not exist the command fails with the name in the message, which
        also allows for a DNS that is out of order.
        """
        outcome = run("nonexistent.invalid", "25")
        self.assertEqual((outcome.status, outcome.out), (111, b""))
        self.assertIn("IP address for nonexistent.invalid", outcome.complaint())

    def test_unix_sockets(self) -> None:
        """
        The message has the path of a UNIX socket that does not exist or that is not
        listening.
        """
        with tempfile.TemporaryDirectory() as directory:
            path = f"{directory}/s"
            what = f"unable to connect to socket {path}"
            self.check(run(path), f"{what}: file does not exist")
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(path)
                self.check(run(path), f"{what}: connection refused")

    def test_local_address(self) -> None:
        """
        The command fails if the address of -i is not one of the machine's, or has an
        unknown zone.
        """
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
        """The command fails if the port of -p is in use."""
        with serving(greet) as server, refusing() as taken:
            outcome = run("-p", taken, "-i", "127.0.0.1", *server.arguments)
        self.assertIn(
            "unable to bind socket: address already used", outcome.complaint()
        )
        self.assertEqual((outcome.status, outcome.out), (111, b""))

    def test_timed_out(self) -> None:
        """
        The command gives up an address that does not answer after the seconds of -T.
        """
        with mute() as port:
            outcome = run("-T", "1", "127.0.0.1", port)
        self.check(outcome, f"unable to connect to 127.0.0.1 port {port}: timed out")

    def test_unusable_files(self) -> None:
        """
        The message has the path of a TLS file that is missing or has no usable content,
        and no connection is made.
        """
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
            }
            with serving(greet) as server:
                for words, option in expected.items():
                    path = missing if "missing" in words else empty
                    arguments = ("--tls", option, path, *server.arguments)
                    self.check(run(*arguments), words)
                self.assertEqual(server.connections, 0)

    def test_closed_directories(self) -> None:
        """
        The command fails if it may not search the certificate directory, which could
        hold a revocation list.
        """
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
        """
        The command fails if it may not read a file of the certificate directory,
        instead of taking it for absent.
        """
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
        """
        The message has the path of a prog that is missing or not executable, and no
        connection is made.
        """
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
            with serving(greet) as server:
                for words, prog in expected.items():
                    self.check(run(*server.arguments, prog), words)
                self.assertEqual(server.connections, 0)

    def test_quiet(self) -> None:
        """With -q the command prints nothing; a later -Q makes it print again."""
        with refusing() as port:
            quiet = run("-q", "127.0.0.1", port)
            loud = run("-q", "-Q", "127.0.0.1", port)
        self.assertEqual((quiet.status, quiet.err), (111, ""))
        self.assertIn("connection refused", loud.complaint())


class ProgressTests(SynchronousTestCase):
    """Messages of -v about the progress of a connection."""

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
        """A name is announced with the address that was found for it."""
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
        """
        The command prints the file of its certificate, the TLS version, the cipher, and
        the verified name and the subject of the server's certificate.
        """
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
        """With -k the certificate is not verified, and a warning says so without -v."""
        with Kind("insecure", lambda: (), Peer.secure).serve(greet) as server:
            outcome = run("-k", "--tls", *server.arguments)
        self.assertEqual((outcome.status, outcome.out), (0, b"hello\n"))
        self.assertIn("tcpclient: warning: the server's certificate", outcome.err)
        self.assertEqual(outcome.err.count("\n"), 1)


class HostTests(SynchronousTestCase):
    """Forms in which HOST and PORT may be given."""

    def reach(self, *arguments: str, listen: str = "127.0.0.1") -> Outcome:
        """Connect to a server on one address; PORT is replaced by its port."""
        with serving(greet, host=listen) as server:
            port = str(server.address[1])
            words = (port if word == "PORT" else word for word in arguments)
            return run(*words)

    def check(self, *arguments: str, listen: str = "127.0.0.1") -> None:
        """Check that a server on one address is reached, with no message."""
        outcome = self.reach(*arguments, listen=listen)
        self.assertEqual(outcome, Outcome(0, b"hello\n", ""), arguments)

    def test_ipv4(self) -> None:
        """
        HOST may be an IPv4 address, with or without brackets, localhost, 0 or empty;
        the last three lead to 127.0.0.1 if ::1 refuses.
        """
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
        for case in cases:
            self.check(*case)

    def test_ipv6(self) -> None:
        """
        A server on ::1 is reached by its address, with and without brackets, and by 0.
        """
        both_loopbacks()
        cases = (
            ("::1", "PORT"),
            ("[::1]", "PORT"),
            ("0", "PORT"),
            ("-6", "0", "PORT"),
        )
        for case in cases:
            self.check(*case, listen="::1")

    def test_family(self) -> None:
        """With -4 or -6 the command does not try addresses of the other family."""
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
        """Of options that exclude each other the last one has effect."""
        self.check("-6", "-4", "0", "PORT")

    def test_service(self) -> None:
        """PORT may be the name of a service."""
        try:
            port = socket.getservbyname("tcpmux", "tcp")
        except OSError:
            raise Missing("/etc/services", "netbase") from None
        self.assertIn(f" port {port}: ", run("127.0.0.1", "tcpmux").complaint())

    def test_paths(self) -> None:
        """A HOST with a slash is the path of a UNIX socket, absolute or relative."""
        with tempfile.TemporaryDirectory() as directory:
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(f"{directory}/u.sock")
            with listening(listener, greet):
                for path in ("./u.sock", f"../{Path(directory).name}/u.sock"):
                    outcome = run(path, cwd=Path(directory))
                    self.assertEqual(outcome, Outcome(0, b"hello\n", ""))
                # A UNIX socket has no PORT argument, so "echo" is prog.
                outcome = run("./u.sock", "echo", "25", cwd=Path(directory))
                self.assertEqual(outcome, Outcome(0, b"25\n", ""))

    def test_abstract(self) -> None:
        """A HOST that begins with @ is the name of an abstract UNIX socket."""
        if not sys.platform.startswith("linux"):
            raise SkipTest("abstract sockets are Linux's")
        name = f"tcpclient-{uuid.uuid4()}"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"\0{name}")
        with listening(listener, greet):
            self.assertEqual(run(f"@{name}"), Outcome(0, b"hello\n", ""))

    def test_second_address(self) -> None:
        """
        If the first address refuses, the command connects to the second one, as -v
        shows.
        """
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
    """Options for the socket, as the server or prog sees their effect."""

    def test_local_address(self) -> None:
        """With -i and -p the connection comes from that address and port."""
        with refusing("127.0.0.2") as port:
            pass
        with serving(greet) as server:
            run("-i", "127.0.0.2", "-p", port, *server.arguments)
            self.assertEqual(server.result(), ("127.0.0.2", int(port)))

    def option(self, code: str, *options: str) -> bytes:
        """Return what a Python expression about the socket on descriptor 6 prints."""
        script = f"import socket; s = socket.socket(fileno=6); print({code})"
        with serving(greet) as server:
            arguments = (*QUICK, *options, *server.arguments)
            outcome = run(*arguments, sys.executable, "-c", script)
        self.assertEqual((outcome.status, outcome.err), (0, ""))
        return outcome.out.strip()

    def test_delay(self) -> None:
        """Nagle's algorithm is off with -D, and on with -d or with neither."""
        code = "s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0"
        self.assertEqual(self.option(code, "-D"), b"True")
        self.assertEqual(self.option(code), b"False")
        self.assertEqual(self.option(code, "-Dd"), b"False")

    def test_interface(self) -> None:
        """With -I the socket is bound to that interface; an unknown one is an error."""
        code = "s.getsockopt(socket.SOL_SOCKET, 25, 16).rstrip(bytes(1)).decode()"
        self.assertEqual(self.option(code, "-I", "lo"), b"lo")
        with serving(greet) as server:
            outcome = run("-I", "nosuch0", *server.arguments)
        self.assertIn(
            "unable to bind to interface nosuch0: no such device", outcome.complaint()
        )
        self.assertEqual(outcome.status, 111)


class EnvironmentTests(SynchronousTestCase):
    """Variables that prog finds in its environment."""

    def variables(self, *arguments: str, **env: str) -> dict[str, str]:
        """
        Return the variables that `env` prints, without those that run the command.
        """
        base = {"PYTHONPATH": str(ROOT), **env}
        base |= {n: v for n, v in os.environ.items() if n.startswith("COVERAGE")}
        outcome = run(*arguments, "/usr/bin/env", env=base)
        self.assertEqual((outcome.status, outcome.err), (0, ""))
        pairs = [line.split("=", 1) for line in outcome.out.decode().splitlines()]
        found = {name: value for name, value in pairs if not name.startswith(FOREIGN)}
        self.assertEqual(found.pop("PYTHONPATH"), str(ROOT))
        return found

    def test_tcp(self) -> None:
        """Over TCP the addresses and ports of both sides are set, and nothing else."""
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
        """Over IPv6 PROTO is TCP6, and addresses have no brackets."""
        both_loopbacks()
        with serving(greet, host="::1") as server:
            found = self.variables(*QUICK, *server.arguments)
        self.assertEqual(found["PROTO"], "TCP6")
        self.assertEqual(found["TCPREMOTEIP"], "::1")
        self.assertEqual(found["TCPLOCALIP"], "::1")

    def test_unix(self) -> None:
        """Over a UNIX socket only PROTO is set."""
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

    def test_tls(self) -> None:
        """
        Over TLS the variables describe the session and the server's certificate, and
        TLS_PROVIDER is set with -z; inherited variables of another connection are
        removed, and all other variables are kept.
        """
        with TLS.serve(greet) as server:
            port = str(server.address[1])
            arguments = ("-z", "--tls", *trusting(), *QUICK, "-4", "localhost", port)
            found = self.variables(*arguments, **self.STALE, OTHER="kept")
        digest = certificates.shared().server_identity.certificate
        self.assertNotIn("stale", found.values())
        self.assertEqual(
            {name: v for name, v in found.items() if not name.startswith("TCP")},
            {
                "PROTO": "TCP",
                "SSL_PROTOCOL": "TLSv1.3",
                "SSL_CIPHER": "TLS_AES_256_GCM_SHA384",
                "SSL_TLS_SNI_SERVERNAME": "localhost",
                "SSL_PEER_CERT_HASH": f"SHA256:{fingerprint(digest)}",
                "SSL_PEER_CERT_SUBJECT": "CN=localhost",
                "TLS_PROVIDER": "tcpclient, TLS Server=TLSv1.3, Client=TLSv1.3,"
                " Ciphers=TLS_AES_256_GCM_SHA384",
                "OTHER": "kept",
            },
        )


def fingerprint(certificate: object) -> str:
    """Return the SHA-256 fingerprint of a certificate in hex."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509 import Certificate

    assert isinstance(certificate, Certificate)
    return certificate.fingerprint(SHA256()).hex()


class StandardDescriptorTests(SynchronousTestCase):
    """Standard descriptors that are closed, and the bytes that go through them."""

    def test_closed_with_prog(self) -> None:
        """
        Prog finds the connection on 6 and 7, whichever descriptors were closed or open
        before.
        """

        def check(kind: Kind) -> None:
            with kind.serve(greet) as server:
                words = " ".join((*QUICK, *server.arguments))
                for line in ("<&- 2>&-", "6</dev/null 7</dev/null"):
                    outcome = shell(f"tcpclient {words} sh -c 'cat <&6' {line}")
                    self.assertEqual(outcome, Outcome(0, b"hello\n", ""), line)

        every(check, TCP, TLS)

    def test_crlf(self) -> None:
        """
        With --crlf every line ends with CRLF on the wire, and a CRLF is left as it is.
        """
        with serving(Peer.rest) as server:
            run("--crlf", *server.arguments, data=b"one\ntwo\r\n\nthree")
            self.assertEqual(server.result(), b"one\r\ntwo\r\n\r\nthree")


class ShapeTests(SynchronousTestCase):
    """Properties of every run."""

    def test_no_traceback(self) -> None:
        """Strange arguments lead to one line on stderr, and never to a traceback."""
        strange: tuple[tuple[str, ...], ...] = (
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
        )

        for arguments in strange:
            outcome = run(*arguments)
            self.assertIn(outcome.status, (100, 111))
            outcome.complaint()

    def test_any_directory(self) -> None:
        """The command runs as a module from any directory."""
        with serving(greet) as server, tempfile.TemporaryDirectory() as directory:
            process = start(*server.arguments, cwd=Path(directory))
            self.assertEqual(finish(process), Outcome(0, b"hello\n", ""))

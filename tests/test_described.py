"""-E: endpoints of descriptions, joined to stdio or given to prog."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests import certificates, servers
from tests.certificates import EXPIRED
from tests.command import (
    AT_ONCE,
    PATIENCE,
    ROOT,
    Cut,
    Outcome,
    Peer,
    Script,
    Server,
    agree,
    environment,
    listening,
    run,
    server_context,
    serving,
    shell,
    together,
    trusting,
)
from tests.packages import find_program
from tests.test_client_mode import finishing, noise, same
from tests.test_command import refusing
from tests.test_prog import LOOK, QUICK, python, sh
from tests.test_twist import TWIST, errors
from twisted_tcpclient.command.described import endpoint_from
from twisted_tcpclient.errors import DescriptionError

#: Endpoints of another package, with habits that such packages have.
DROP_IN = """
from zope.interface import implementer
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    ProcessEndpoint, TCP4ClientEndpoint, clientFromString
)
from twisted.internet.interfaces import (
    IStreamClientEndpoint, IStreamClientEndpointStringParserWithReactor
)
from twisted.internet.protocol import Factory, Protocol
from twisted.plugin import IPlugin
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class Parser:
    def __init__(self, prefix, parse):
        self.prefix = prefix
        self.parseStreamClient = parse


# Does not forward handshakeCompleted.
class Hiding:
    def __init__(self, endpoint):
        self.endpoint = endpoint

    def connect(self, factory):
        wrapping = WrappingFactory(factory)
        wrapping.noisy = False
        connecting = self.endpoint.connect(wrapping)
        return connecting.addCallback(lambda wrapper: wrapper.wrappedProtocol)


# Writes a line, and reads one, before it connects another protocol to the socket.
class Preface(Protocol):
    above = None

    def __init__(self, factory, address):
        self.factory, self.address, self.got = factory, address, b""
        self.ready = Deferred()

    def connectionMade(self):
        self.transport.write(b"preface\\n")

    def dataReceived(self, data):
        if self.above is not None:
            return self.above.dataReceived(data)
        self.got += data
        line, end, rest = self.got.partition(b"\\n")
        if end:
            self.transport.write(b"and more\\n")
            self.above = self.factory.buildProtocol(self.address)
            self.above.makeConnection(self.transport)
            self.ready.callback(self.above)
            if rest:
                self.above.dataReceived(rest)

    def connectionLost(self, reason):
        if self.above is not None:
            self.above.connectionLost(reason)


# As WebSocket packages do: connect fires with a protocol of the package before there
# is a connection; the transport has few methods; makeConnection is not called.
class Narrow(Protocol):
    def __init__(self, above):
        self.above = above

    def connectionMade(self):
        self.above.transport = Transport(self.transport)

    def dataReceived(self, data):
        if data.startswith(b"open\\n"):
            self.above.connectionMade()
            data = data[5:]
        if data:
            self.above.dataReceived(data)

    def connectionLost(self, reason):
        self.above.connectionLost(None)


class Transport:
    def __init__(self, transport):
        self.write = transport.write
        self.loseConnection = transport.loseConnection

    def getPeer(self):
        raise NotImplementedError()

    getHost = getPeer


@implementer(IStreamClientEndpoint)
class Through:
    def __init__(self, reactor, port, build, ready=lambda protocol: protocol):
        self.endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", int(port))
        self.build, self.ready = build, ready

    def connect(self, factory):
        class Building(Factory):
            noisy = False
            buildProtocol = lambda _, address: self.build(factory, address)
        return self.endpoint.connect(Building()).addCallback(self.ready)


hiding = Parser("hiding", lambda reactor, description: Hiding(
    clientFromString(reactor, description)))
preface = Parser("preface", lambda reactor, port: Through(
    reactor, port, Preface, lambda protocol: protocol.ready))
narrow = Parser("narrow", lambda reactor, port: Through(
    reactor, port, lambda factory, address: Narrow(factory.buildProtocol(address))))
child = Parser("child", lambda reactor, *words: ProcessEndpoint(
    reactor, words[0], words))


def raises(reactor, error):
    raise {"nothing": Exception(), "lines": Exception("one\\ntwo")}[error]


raising = Parser("raising", raises)
"""


@functools.cache
def package() -> Path:
    """Install the package with the drop-in."""
    folder = Path(
        tempfile.mkdtemp(prefix="package-", dir=certificates.shared().directory)
    )
    (folder / "twisted" / "plugins").mkdir(parents=True)
    (folder / "twisted" / "plugins" / "tests_drop_in.py").write_text(DROP_IN)
    return folder


def trusted(ca: Path | None = None, **changes: str) -> dict[str, str]:
    """Return an environment in which the system trusts that CA, or ours."""
    path = str(ca or certificates.shared().ca)
    return environment(SSL_CERT_FILE=path, SSL_CERT_DIR="/nowhere", **changes)


def connect(
    description: str,
    *words: str,
    shutdown: tuple[str, ...] = AT_ONCE,
    **how: Any,
) -> Outcome:
    """Run the command with a description."""
    settings = {"env": trusted(), **how}
    return run(*shutdown, "-E", description, *words, **settings)


@dataclass(frozen=True)
class Way:
    """
    A description, and the first steps of its server.

    :ivar form: the description, with PORT or PATH for the address.
    """

    name: str
    form: str
    prepare: Callable[[Peer], object] = lambda peer: None
    secure: bool = True

    @contextlib.contextmanager
    def serve(self, script: Script) -> Iterator[tuple[Server, str]]:
        """
        Follow a script with each connection; yield the server and its description.
        """

        def prepared(peer: Peer) -> object:
            self.prepare(peer)
            return script(peer)

        if "PORT" in self.form:
            with serving(prepared) as server:
                yield server, self.form.replace("PORT", server.arguments[-1])
            return
        with (
            tempfile.TemporaryDirectory(prefix="socket-") as folder,
            socket.socket(socket.AF_UNIX) as listener,
        ):
            listener.bind(f"{folder}/s")
            with listening(listener, prepared) as server:
                yield server, self.form.replace("PATH", f"{folder}/s")


TCP = Way("tcp", "tcp:127.0.0.1:PORT", secure=False)
UNIX = Way("unix", "unix:PATH", secure=False)
TLS = Way("tls", "tls:localhost:PORT", Peer.secure)
STARTTLS = Way("starttls", "starttls:smtp:localhost:PORT", agree)
WAYS = (
    TCP,
    UNIX,
    TLS,
    STARTTLS,
    Way("tcpclient", "tcpclient:localhost:PORT", secure=False),
    Way("tcpclient tls", "tcpclient:localhost:PORT:tls=yes", Peer.secure),
    Way("tls nested", r"tls:localhost:1:endpoint=tcp\:127.0.0.1\:PORT", Peer.secure),
    Way("starttls unix", r"starttls:smtp:localhost:endpoint=unix\:PATH", agree),
    Way("hiding tcp", r"hiding:tcp\:127.0.0.1\:PORT", secure=False),
    Way("hiding tls", r"hiding:tls\:localhost\:PORT", Peer.secure),
)


#: Ways that are tried in client mode only, as prog makes no difference to them.
ALIKE = ("unix", "tcpclient", "tcpclient tls", "starttls", "tls nested", "hiding tcp")


def every(case: Callable[[Way], object], *ways: Way) -> None:
    """Run a case with several ways side by side; with all by default."""
    package()
    together({way.name: functools.partial(case, way) for way in ways or WAYS})


def with_package() -> dict[str, str]:
    """Return an environment with the drop-in."""
    path = os.pathsep.join((str(ROOT), str(package())))
    return {**trusted(), "PYTHONPATH": path}


class ClientModeTests(SynchronousTestCase):
    """The connection, joined to stdin and stdout."""

    def test_session(self) -> None:
        """Both directions are complete; EOF on stdin is a half-close."""
        question, reply = noise(100_000), noise(120_000)

        def answer(peer: Peer) -> bytes:
            received = peer.rest()
            peer.send(reply)
            return finishing(peer, received)

        def check(way: Way) -> None:
            with way.serve(answer) as (server, description):
                outcome = connect(description, data=question, env=with_package())
                self.assertTrue(same(server.result(), question))
            self.assertTrue(same(outcome.out, reply), outcome.out[:300])
            self.assertEqual((outcome.status, outcome.err), (0, ""))

        every(check)

    def test_issue(self) -> None:
        """The request of twisted/twisted#12845 brings the answer, from OpenSSL too."""
        line = (
            r"printf 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'"
            " | {} -E tls:localhost:{}"
        )
        twist = " ".join((*TWIST,))

        def check(command: str, port: int) -> None:
            outcome = shell(line.format(command, port), env=trusted())
            self.assertTrue(outcome.out.startswith(b"HTTP/1.0 200 ok"), outcome)
            self.assertTrue(outcome.out.endswith(b"</BODY></HTML>\r\n\r\n"), outcome)
            self.assertEqual((outcome.status, outcome.err), (0, ""))

        with openssl("-www") as port:
            together(
                {
                    command: functools.partial(check, command, port)
                    for command in ("tcpclient", twist)
                }
            )

    def test_mail(self) -> None:
        """Postfix and Dovecot, with TLS and with STARTTLS."""
        postfix, dovecot = servers.postfix(), servers.dovecot()
        cases = {
            f"tls:localhost:{postfix.smtps}": (b"220 ", b"QUIT\r\n", b"221 "),
            f"tls:localhost:{dovecot.imaps}": (b"* OK", b"a LOGOUT\r\n", b"a OK"),
            f"starttls:pop3:localhost:{dovecot.pop3}": (b"+OK", b"QUIT\r\n", b"+OK"),
            f"starttls:smtp:localhost:{postfix.smtp}:greeting=yes": (
                *(b"220 localhost ESMTP\r\n", b"QUIT\r\n", b"221 "),
            ),
            rf"starttls:smtp:localhost:endpoint=unix\:{postfix.socket}": (
                *(b"221 ", b"QUIT\r\n", b"221 "),
            ),
        }

        def check(description: str) -> None:
            begin, typed, last = cases[description]
            outcome = connect(description, shutdown=(), data=typed)
            self.assertEqual((outcome.status, outcome.err), (0, ""))
            self.assertTrue(outcome.out.startswith(begin), outcome.out)
            self.assertIn(last, outcome.out)

        together({each: functools.partial(check, each) for each in cases})

    def test_tcpserver(self) -> None:
        """Cat under tcpserver and unixserver sends all bytes back."""
        tcp, unix = servers.tcpserver("cat"), servers.unixserver("cat")
        data = noise(1_000_000)

        def check(description: str) -> None:
            outcome = connect(description, data=data)
            self.assertTrue(same(outcome.out, data))
            self.assertEqual((outcome.status, outcome.err), (0, ""))

        descriptions = (f"tcp:localhost:{tcp.port}", f"unix:{unix.path}")
        together({each: functools.partial(check, each) for each in descriptions})

    def test_crlf(self) -> None:
        """--crlf, -a and -v work with -E."""
        with TLS.serve(lambda peer: finishing(peer, peer.line())) as (server, what):
            outcome = run(
                *("-v", "-a", "20", "--crlf", "-E", what), data=b"hi\n", env=trusted()
            )
            self.assertEqual(server.result(), b"hi\r\n")
        port = what.rpartition(":")[2]
        trying, connected, secured, *_ = outcome.err.splitlines()
        self.assertEqual(trying, f"tcpclient: trying {what}")
        self.assertEqual(
            connected, f"tcpclient: connected to {what} ip 127.0.0.1 port {port}"
        )
        self.assertRegex(
            secured, r"\Atcpclient: secured with TLSv1\.3 .*: CN=localhost"
        )


@contextlib.contextmanager
def openssl(*options: str) -> Iterator[int]:
    """Run OpenSSL's server, on a port of its choice."""
    server = str(certificates.shared().server)
    program = find_program("openssl", "openssl")
    command = (program, "s_server", "-accept", "127.0.0.1:0", "-cert", server)
    process = subprocess.Popen(
        (*command, *options), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        with process.stdout as announcement:
            for line in announcement:
                if line.startswith(b"ACCEPT "):
                    yield int(line.rpartition(b":")[2])
                    break
            else:
                raise AssertionError("openssl s_server does not listen")
    finally:
        process.kill()
        process.wait(PATIENCE)


class ProgTests(SynchronousTestCase):
    """The connection, given to prog."""

    def test_dialogue(self) -> None:
        """Prog reads 6 and writes 7, and its exit status is that of the command."""

        def talk(peer: Peer) -> bytes:
            peer.send(b"who is there\n")
            return finishing(peer, peer.line())

        def check(way: Way) -> None:
            prog = sh('read line <&6; echo "prog, $line" >&7; echo "$line"; exit 4')
            with way.serve(talk) as (server, description):
                outcome = run(*(*QUICK, "-E", description, *prog), env=with_package())
                self.assertEqual(server.result(), b"prog, who is there\n")
            self.assertEqual((outcome.status, outcome.out), (4, b"who is there\n"))
            self.assertEqual(outcome.err, "")

        every(check, *(way for way in WAYS if way.name not in ALIKE))

    def test_environment(self) -> None:
        """Prog's environment has the facts of the connection, and no stale ones."""
        stale = {"TCPREMOTEIP": "192.0.2.1", "SSL_PROTOCOL": "SSLv2", "PROTO": "x"}
        tcp = {"PROTO": "TCP", "TCPREMOTEIP": "127.0.0.1", "TCPLOCALHOST": "0"}
        tls = {
            "SSL_PROTOCOL": "TLSv1.3",
            "SSL_CIPHER": "TLS_AES_256_GCM_SHA384",
            "SSL_PEER_CERT_SUBJECT": "CN=localhost",
            "SSL_TLS_SNI_SERVERNAME": "localhost",
            "TLS_PROVIDER": "tcpclient, TLS Server=TLSv1.3, Client=TLSv1.3,"
            " Ciphers=TLS_AES_256_GCM_SHA384",
        }
        expected = {
            "tcp": tcp,
            "unix": {"PROTO": "UNIX"},
            "tls": tcp | tls,
            "starttls": tcp | tls,
            "hiding tls": tcp | tls,
        }
        names = ("PROTO", "TCP", "SSL_", "TLS_")
        not_asked = ("SSL_CERT_FILE", "SSL_CERT_DIR", "TCPREMOTEPORT", "TCPLOCALPORT")
        known = (*not_asked, "TCPLOCALIP", "SSL_PEER_CERT_HASH")

        def check(way: Way) -> None:
            code = "import json, os; print(json.dumps(dict(os.environ)))"
            with way.serve(Peer.leave) as (_, description):
                outcome = run(
                    *("-z", *QUICK, "-E", description, *python(code)),
                    env={**with_package(), **stale},
                )
            found = {
                name: value
                for name, value in json.loads(outcome.out).items()
                if name.startswith(names) and name not in known
            }
            self.assertEqual(found, expected[way.name])

        every(check, *(way for way in WAYS if way.name in expected))

    def test_socket(self) -> None:
        """
        A socket that only Twisted has used is given to prog, which replaces the
        command.
        """

        def check(way: Way) -> None:
            with way.serve(Peer.leave) as (_, description):
                outcome = run(*QUICK, "-E", description, *python(LOOK), env=trusted())
            found = json.loads(outcome.out)
            self.assertEqual(found["fds"], [0, 1, 2, 6, 7])
            self.assertEqual(found["sockets"], [True, True])
            self.assertEqual(found["blocking"], [True, True])

        every(check, TCP, UNIX, WAYS[4])

    def test_status(self) -> None:
        """A prog that a signal kills over TLS gives 128 plus the signal."""
        with TLS.serve(Peer.leave) as (_, description):
            outcome = connect(description, *sh("kill -KILL $$"))
        self.assertEqual((outcome.status, outcome.err), (137, ""))

    def test_prog_first(self) -> None:
        """A prog that does not exist is an error before connecting."""
        with refusing() as port:
            outcome = connect(f"tcp:127.0.0.1:{port}", "nosuchprog")
        self.assertEqual(outcome.status, 111)
        self.assertIn("unable to run nosuchprog", outcome.complaint())


class FailureTests(SynchronousTestCase):
    """Failures: one line, status 111, empty stdout, prog not run."""

    def check(self, words: str, description: str, *options: str, **how: Any) -> None:
        """Check that the command fails with these words."""
        outcome = connect(description, *options, "echo", "started", data=None, **how)
        self.assertEqual((outcome.status, outcome.out), (111, b""), outcome.err)
        self.assertIn(words, outcome.complaint())

    def test_refused(self) -> None:
        """The message has the description, or the address that was tried."""
        with refusing("127.0.0.1") as port:
            address = f"127.0.0.1:{port}"
            reasons = {
                f"tcp:{address}": f"tcp:{address}: connection refused",
                f"tls:{address}": f"tls:{address}: connection refused",
                f"tcpclient:{address}": f"127.0.0.1 port {port}: connection refused",
                "unix:/no/file": "unix:/no/file: file does not exist",
            }
            together(
                {
                    what: functools.partial(
                        self.check, f"unable to connect to {why}", what
                    )
                    for what, why in reasons.items()
                }
            )

    def test_bad_certificate(self) -> None:
        """A bad certificate is an error before stdout or prog receive a byte."""
        shared = certificates.shared()
        own = shared.authority.server(("localhost",), valid=EXPIRED)
        expired = own.save(Path(self.mktemp()).absolute())
        strangers = trusted(shared.stranger_ca)

        def greet(peer: Peer) -> None:
            peer.secure()
            peer.send(b"220 hello\r\n")
            peer.gone()

        def late(peer: Peer) -> None:
            peer.secure(server_context(certificate=expired))
            peer.send(b"220 hello\r\n")
            peer.gone()

        hidden = {**with_package(), "SSL_CERT_FILE": str(shared.stranger_ca)}
        with serving(greet) as good, serving(late) as bad:
            ports = good.arguments[-1], bad.arguments[-1]
            nested = rf"endpoint=tcp\:127.0.0.1\:{ports[0]}"
            failed, mismatch = "verification failed", "the certificate is not for "
            cases = {
                f"tls:localhost:{ports[0]}": (failed, strangers),
                f"tls:localhost:{ports[1]}": (failed, trusted()),
                f"tls:other.test:1:{nested}": (f"{mismatch}other.test", trusted()),
                f"tls:127.0.0.9:1:{nested}": (f"{mismatch}127.0.0.9", trusted()),
                rf"hiding:tls\:localhost\:{ports[0]}": (failed, hidden),
                f"tcpclient:localhost:{ports[0]}:tls=yes": ("unknown CA", strangers),
            }
            together(
                {
                    what: functools.partial(self.check, words, what, env=env)
                    for what, (words, env) in cases.items()
                }
            )

    def test_hidden(self) -> None:
        """
        Behind a wrapper that hides the handshake, a wrong name is an error, and a right
        one is accepted although the server closes at once.
        """

        def check(name: str, script: Script) -> None:
            with Way("", "PORT", Peer.secure).serve(script) as (_, port):
                inner = rf"tls\:{name}\:1\:endpoint\=tcp\\\:127.0.0.1\\\:{port}"
                outcome = connect(
                    *(f"hiding:{inner}", "echo", "started"), env=with_package()
                )
            good = name == "localhost"
            self.assertEqual(outcome.status, 0 if good else 111, outcome.err)
            self.assertEqual(outcome.out, b"started\n" if good else b"")
            self.assertEqual("is not for other.test" in outcome.err, not good)

        together(
            {
                f"{name} {script.__name__}": functools.partial(check, name, script)
                for name in ("localhost", "other.test")
                for script in (Peer.leave, Peer.finish)
            }
        )

    def test_no_tls(self) -> None:
        """A server without TLS, and a silent one, are errors."""

        def talk(peer: Peer) -> None:
            peer.send(b"220 hello\r\n" * 10)
            peer.gone()

        with serving(talk) as talking, serving(Peer.gone) as silent:
            ports = talking.arguments[-1], silent.arguments[-1]
            timed_out = "timed out waiting for the TLS handshake"
            check = self.check
            together(
                {
                    "talking": lambda: check(
                        "the server does not speak TLS here",
                        f"tls:localhost:{ports[0]}",
                    ),
                    "silent": lambda: check(
                        timed_out, f"tls:localhost:{ports[1]}", "-a", "5"
                    ),
                }
            )

    def test_cut_short(self) -> None:
        """The end of TLS without close_notify is an error, after the data."""

        def cut(peer: Peer) -> None:
            peer.send(b"half of it\n")
            peer.cut()
            with contextlib.suppress(Cut):
                peer.gone()

        def check(way: Way) -> None:
            with way.serve(cut) as (_, description):
                client = connect(description, data=None, env=with_package())
                prog = connect(description, *sh("cat <&6"), env=with_package())
            for outcome in (client, prog):
                self.assertEqual((outcome.status, outcome.out), (111, b"half of it\n"))
                self.assertIn("cut short: no close_notify", outcome.complaint())
                self.assertIn(f"{description} ip 127.0.0.1 port", outcome.err)

        every(check, TLS, STARTTLS, WAYS[9])

    def test_reset(self) -> None:
        """RST on a connection in clear is an error."""

        def reset(peer: Peer) -> None:
            peer.send(b"hello\n")
            peer.line()
            peer.reset()

        def check(way: Way) -> None:
            with way.serve(reset) as (_, description):
                outcome = connect(description, data=b"x\n", env=with_package())
            self.assertEqual((outcome.status, outcome.out), (111, b"hello\n"))
            self.assertIn(": connection reset", outcome.complaint())

        every(check, TCP, WAYS[8])

    def test_timed_out(self) -> None:
        """-a bounds the time of connecting."""
        with serving(Peer.gone) as silent:
            port = silent.arguments[-1]
            self.check(
                f"unable to connect to starttls:smtp:localhost:{port}: timed out",
                f"starttls:smtp:localhost:{port}",
                *("-a", "1"),
            )

    def test_unverified(self) -> None:
        """An endpoint that verifies nothing is used, with a warning."""
        warning = (
            "tcpclient: warning: the server's certificate is not verified (-E):"
            " anyone may answer\n"
        )
        forms = ("ssl:localhost:PORT", "tcpclient:localhost:PORT:tls=yes:verify=no")

        def check(form: str) -> None:
            with Way("", form, Peer.secure).serve(Peer.finish) as (_, description):
                outcome = connect(description, env=trusted(Path("/dev/null")))
            self.assertEqual(outcome, Outcome(0, b"", warning))

        together({form: functools.partial(check, form) for form in forms})


class DescriptionTests(SynchronousTestCase):
    """Malformed descriptions are usage errors that name the wrong part."""

    def test_wrong(self) -> None:
        """Each has a reason in one printable line."""
        wrong = {
            "nosuch:x": "Unknown endpoint type: 'nosuch'",
            "tcp:localhost": "'port'",
            "tcp:localhost:x": "'x'",
            "tcp:localhost:1:color=red": "'color'",
            "tls:localhost:1:endpoint=nosuch": "'nosuch'",
            "tls:localhost:1:certificate=/no/file": "/no/file",
            "tls:localhost:1:trustRoots=/no/folder": "/no/folder",
            "tcp:localhost\\": "there is nothing behind the last backslash",
            "starttls:gopher:localhost": "no such protocol: 'gopher'",
            "starttls:irc:localhost:greeting=yes": "greeting: irc has none",
        }

        for description, words in wrong.items():
            error = self.assertRaises(
                DescriptionError, endpoint_from, MemoryReactorClock(), description
            )
            begin = f"unable to make an endpoint of {description}: "
            self.assertTrue(str(error).startswith(begin), error)
            self.assertIn(words, str(error))

    def test_status(self) -> None:
        """The command exits with status 100, and does not run prog."""
        wrong = {
            "\x1b[2J\n:x": r"\x1b[2J\n:x: Unknown endpoint type: '\x1b[2j\n'",
            "raising:nothing": "raising:nothing: Exception",
            "raising:lines": r"raising:lines: one\ntwo",
        }

        def check(description: str, words: str) -> None:
            outcome = connect(description, "echo", "started", env=with_package())
            self.assertEqual((outcome.status, outcome.out), (100, b""))
            self.assertEqual(
                outcome.complaint(), f"unable to make an endpoint of {words}"
            )

        package()
        together({d: functools.partial(check, d, w) for d, w in wrong.items()})


class OnTopTests(SynchronousTestCase):
    """TLS or STARTTLS of the command over a description."""

    def test_tls(self) -> None:
        """The name of -m is verified, over any endpoint."""

        def both(peer: Peer) -> None:
            agree(peer)
            peer.finish()

        with serving(both) as server:
            port = server.arguments[-1]
            for name, status in (("localhost", 0), ("other.test", 111)):
                outcome = connect(
                    *(f"tcp:localhost:{port}", "-s", "smtp", "-m", name),
                    *trusting(),
                )
                self.assertEqual((outcome.status, outcome.out), (status, b""))
                self.assertEqual("is not for other.test" in outcome.err, status == 111)

    def test_inherited(self) -> None:
        """A connection of another tcpclient is secured afterwards."""
        port = str(servers.postfix().smtp)
        inner = (*("-E", "ucspi:", "-s", "smtp", "-m", "localhost"), *trusting())
        command = (sys.executable, "-m", "twisted_tcpclient")
        outcome = run(*QUICK, "localhost", port, *command, *inner, data=b"QUIT\r\n")
        self.assertEqual((outcome.status, outcome.err), (0, ""))
        self.assertTrue(outcome.out.startswith(b"221 "))

    def test_not_inherited(self) -> None:
        """If 6 and 7 were not inherited, no file of the process is taken for them."""
        for given in ("6<&- 7<&-", "6<&- 7</dev/null", "6</dev/null 7<&-"):
            for prog in ("", "true"):
                outcome = shell(f"tcpclient -E ucspi: {prog} {given}")
                self.assertEqual((outcome.status, outcome.out), (111, b""), given)
                self.assertEqual(
                    outcome.complaint(),
                    "no connection on descriptors 6 and 7: bad file descriptor",
                )


class PluginTests(SynchronousTestCase):
    """Endpoints of other packages, with habits that such packages have."""

    def test_preface(self) -> None:
        """
        Data that a plugin has read from its socket is not lost, and the socket is not
        given to prog.
        """

        def script(peer: Peer) -> tuple[bytes, bytes, bytes]:
            first = peer.line()
            peer.send(b"welcome\nfor prog\n")
            second = peer.line()
            return first, second, finishing(peer, peer.line())

        prog = sh('read line <&6; echo "$line"; echo done >&7')
        for words, typed, out in (
            ((), b"done\n", b"for prog\n"),
            (prog, b"", b"for prog\n"),
        ):
            with serving(script) as server:
                outcome = connect(
                    *(f"preface:{server.arguments[-1]}", *words),
                    data=typed,
                    env=with_package(),
                )
                self.assertEqual(
                    server.result(), (b"preface\n", b"and more\n", b"done\n")
                )
            self.assertEqual(outcome, Outcome(0, out, ""))

    def test_pipes(self) -> None:
        """Prog gets pipes, although the plugin has passed on a socket."""

        def script(peer: Peer) -> bytes:
            peer.line()
            peer.send(b"welcome\n")
            peer.line()
            return peer.rest()

        with serving(script) as server:
            outcome = connect(
                f"preface:{server.arguments[-1]}",
                *sh("test -p /dev/fd/6 && test -p /dev/fd/7 && echo pipes"),
                env=with_package(),
            )
            self.assertEqual(server.result(), b"")
        self.assertEqual(outcome, Outcome(0, b"pipes\n", ""))

    def test_gone(self) -> None:
        """The end of prog ends the connection, although the server goes on."""

        def script(peer: Peer) -> bytes:
            peer.line()
            peer.send(b"welcome\n")
            peer.line()
            return peer.rest()

        with serving(script) as server:
            port = server.arguments[-1]
            outcome = connect(f"preface:{port}", *sh("echo x >&7"), env=with_package())
            self.assertEqual(server.result(), b"x\n")
        self.assertEqual(outcome, Outcome(0, b"", ""))

    def test_narrow(self) -> None:
        """A transport with write and loseConnection only is enough."""

        def script(peer: Peer) -> bytes:
            peer.send(b"open\nhello\n")
            return finishing(peer, peer.line())

        expected = {(): b"hello\n", sh("cat <&6 & echo hi >&7; wait"): b"hello\n"}
        for words, out in expected.items():
            with serving(script) as server:
                port = server.arguments[-1]
                outcome = connect(
                    f"narrow:{port}", *words, data=b"hi\n", env=with_package()
                )
                self.assertEqual(server.result(), b"hi\n")
            self.assertEqual(outcome, Outcome(0, out, ""))

    def test_narrow_closed(self) -> None:
        """Such a connection that ends before it is made is an error."""
        with serving(Peer.finish) as server:
            description = f"narrow:{server.arguments[-1]}"
            outcome = connect(description, data=None, env=with_package())
        self.assertEqual(outcome.status, 111)
        self.assertEqual(
            outcome.complaint(), f"{description}: the connection was closed"
        )

    def test_child(self) -> None:
        """A process as the peer has no address; its failure is an error."""
        environ = with_package()
        outcome = connect("child:/bin/cat", data=b"hello\n", env=environ)
        self.assertEqual(outcome, Outcome(0, b"hello\n", ""))
        code = "echo ${PROTO-none} ${TCPREMOTEIP-none}; cat <&6"
        outcome = connect("child:/bin/echo:hello", *sh(code), env=environ)
        self.assertEqual(outcome, Outcome(0, b"none none\nhello\n", ""))
        outcome = connect("child:/bin/false", data=None, env=environ)
        self.assertEqual(outcome.status, 111)
        self.assertIn("exit code 1", outcome.complaint())


class TwistTests(SynchronousTestCase):
    """The same under twist."""

    def test_prog(self) -> None:
        """Prog is a child, with the socket in clear and with pipes over TLS."""

        def talk(peer: Peer) -> bytes:
            peer.send(b"hello\n")
            return finishing(peer, peer.line())

        def check(way: Way) -> None:
            prog = sh('read line <&6; echo "$line"; echo bye >&7; exit 5')
            with way.serve(talk) as (server, description):
                outcome = run(
                    *(*QUICK, "-E", description, *prog),
                    command=TWIST,
                    env=trusted(),
                )
                self.assertEqual(server.result(), b"bye\n")
            self.assertEqual((outcome.status, outcome.out), (5, b"hello\n"))
            self.assertEqual(errors(outcome), [])

        every(check, TCP, TLS)

    def test_failure(self) -> None:
        """
        A malformed description is 100, a bad certificate 111, without a traceback.
        """
        with TLS.serve(Peer.gone) as (_, description):
            for what, status in (("nosuch:x", 100), (description, 111)):
                outcome = run(
                    *("-E", what, "echo", "started"),
                    command=TWIST,
                    env=trusted(certificates.shared().stranger_ca),
                )
                self.assertEqual((outcome.status, outcome.out), (status, b""))
                self.assertEqual(len(errors(outcome)), 1)
                self.assertNotIn("Traceback", outcome.err)

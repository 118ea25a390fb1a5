"""
Endpoint strings: every argument has its effect, and every mistake is named.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.endpoints import (
    TCP4ServerEndpoint,
    UNIXServerEndpoint,
    clientFromString,
    quoteStringArgument,
)
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IStreamClientEndpointStringParserWithReactor
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.plugin import IPlugin
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from tests import servers
from tests.certificates import save_revocations, shared
from tests.programs import TCPCLIENT, run
from tests.transcripts import Recorders, TLSServer
from twisted_tcpclient.errors import (
    ConnectFailed,
    NameMismatch,
    TimedOut,
    VerificationFailed,
)
from twisted_tcpclient.strings import STARTTLSParser, TCPClientParser, UCSPIParser

reactor: Any = global_reactor

#: A program that imports Twisted only: sends a line through the endpoint of a string,
#: and prints the answer.
PROGRAM = r"""
import sys
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react

class Client(Protocol):
    def __init__(self):
        self.gone = Deferred()

    def connectionMade(self):
        self.transport.write(sys.argv[2].encode("ascii") + b"\r\n")

    def dataReceived(self, data):
        sys.stdout.write(data.decode("ascii"))

    def connectionLost(self, reason):
        self.gone.callback(None)

async def main(reactor):
    endpoint = clientFromString(reactor, sys.argv[1])
    client = await endpoint.connect(Factory.forProtocol(Client))
    await client.gone

react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""


def argument(name: str, value: object) -> str:
    """Return an argument with its value quoted as Twisted quotes it."""
    return f":{name}={quoteStringArgument(str(value))}"


def trusted(description: str) -> str:
    """Return a string that trusts the tests' CA."""
    return description + argument("trustRoots", shared().ca)


class AloneTests(SynchronousTestCase):
    """Programs that import Twisted only."""

    def converse(self, *command: str) -> str:
        """Return the answer of the server, which a command prints."""
        outcome = run(*command)
        self.assertEqual((outcome.status, outcome.err), (0, b""))
        return outcome.out.decode("ascii")

    def test_starttls(self) -> None:
        """``starttls:`` works in a program that does not import this package."""
        description = trusted(f"starttls:smtp:localhost:{servers.postfix().smtp}")
        answer = self.converse(sys.executable, "-c", PROGRAM, description, "QUIT")
        self.assertEqual(answer, "221 2.0.0 Bye\r\n")

    def test_tcpclient(self) -> None:
        """``tcpclient:`` works there in clear and with TLS."""
        dovecot = servers.dovecot()
        for description in (
            f"tcpclient:localhost:{dovecot.imap}",
            trusted(f"tcpclient:localhost:{dovecot.imaps}:tls=yes"),
        ):
            answer = self.converse(
                sys.executable, "-c", PROGRAM, description, "a LOGOUT"
            )
            self.assertTrue(answer.startswith("* OK "), answer)
            self.assertIn("a OK Logout completed", answer)

    def test_ucspi(self) -> None:
        """``ucspi:`` works there under tcpclient, in clear and with TLS."""
        dovecot = servers.dovecot()
        for options, port in (
            (("-R", "-H"), dovecot.pop3),
            (("-R", "-H", "--tls", "-c", str(shared().ca)), dovecot.pop3s),
        ):
            command = (*TCPCLIENT, *options, "localhost", str(port))
            program = (sys.executable, "-c", PROGRAM, "ucspi:", "QUIT")
            answer = self.converse(*command, *program)
            self.assertRegex(answer, r"\A\+OK Dovecot.*\r\n\+OK Logging out\r\n\Z")

    def test_light(self) -> None:
        """
        A Twisted program that uses any plugin imports the drop-in, the module with the
        parsers, and no other module of this package or of its dependencies.
        """
        lines = (
            "import sys",
            "import twisted.application.service, twisted.internet.interfaces",
            "import twisted.plugin, twisted.plugins",
            "before = set(sys.modules)",
            "from twisted.plugins import twisted_tcpclient_plugin",
            "print(*sorted(set(sys.modules) - before))",
            "print(*sys.modules)",
        )
        answer = self.converse(sys.executable, "-c", "\n".join(lines))
        new, every = (line.split() for line in answer.splitlines())
        self.assertEqual(
            [name for name in new if name.startswith("twisted")],
            [
                "twisted.plugins.twisted_tcpclient_plugin",
                "twisted_tcpclient",
                "twisted_tcpclient.strings",
            ],
        )
        beside = [name for name in new if not name.startswith("twisted")]
        self.assertEqual(set(beside) - set(sys.stdlib_module_names), set())
        for heavy in ("OpenSSL", "cryptography", "service_identity"):
            self.assertNotIn(heavy, every)
        self.assertNotIn("twisted.internet.reactor", every)


class Talker(Protocol):
    """A client that collects the data from the server until the end."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.gone: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Collect the data."""
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fire ``gone``."""
        self.gone.callback(None)


class ServerTests(TestCase):
    """Strings for real servers."""

    timeout = 60

    @inlineCallbacks
    def converse(self, description: str, said: bytes = b"QUIT\r\n") -> Any:
        """Send bytes to the server, and return its answer."""
        endpoint = clientFromString(reactor, description)
        client: Any = yield endpoint.connect(Factory.forProtocol(Talker))
        self.secured = isinstance(client.transport.getHandle(), SSL.Connection)
        client.transport.write(said)
        yield client.gone
        return client.received

    def refused(self, description: str, error: type[Exception]) -> Any:
        """Check that connecting fails with this error, and builds no protocol."""
        factory = Recorders()
        connecting = clientFromString(reactor, description).connect(factory)

        def check(error: Any) -> Any:
            self.assertEqual(factory.built, [])
            return error

        return self.assertFailure(connecting, error).addCallback(check)

    @inlineCallbacks
    def test_dialects(self) -> Any:
        """After the dialogue of each dialect the connection is TLS."""
        postfix, dovecot = servers.postfix(), servers.dovecot()
        for dialect, port, said, answer in (
            ("smtp", postfix.smtp, b"QUIT\r\n", b"221 "),
            ("SMTP", postfix.smtp, b"QUIT\r\n", b"221 "),
            ("pop3", dovecot.pop3, b"QUIT\r\n", b"+OK "),
            ("imap", dovecot.imap, b"a LOGOUT\r\n", b"* BYE "),
        ):
            description = trusted(f"starttls:{dialect}:localhost:{port}")
            answered = yield self.converse(description, said)
            self.assertTrue(answered.startswith(answer), answered)
            self.assertTrue(self.secured)

    @inlineCallbacks
    def test_tcpclient(self) -> Any:
        """``tcpclient:`` uses TLS with ``tls=yes`` only."""
        postfix = servers.postfix()
        for tls in (":tls=no", ""):
            yield self.converse(f"tcpclient:localhost:{postfix.smtp}{tls}")
            self.assertFalse(self.secured)
        yield self.converse(trusted(f"tcpclient:localhost:{postfix.smtps}:tls=yes"))
        self.assertTrue(self.secured)

    @inlineCallbacks
    def test_keywords_for_places(self) -> Any:
        """Positional arguments may be keywords, as in Twisted's own strings."""
        port = servers.postfix().smtp
        for description in (
            f"starttls:port={port}:host=localhost:dialect=smtp",
            f"starttls:smtp:port={port}:host=localhost",
            f"STARTTLS:smtp:localhost:port={port}",
        ):
            answered = yield self.converse(trusted(description))
            self.assertEqual(answered, b"221 2.0.0 Bye\r\n")

    @inlineCallbacks
    def test_ipv6(self) -> Any:
        """The colons of an IPv6 address are quoted."""
        if "::1" not in servers.loopbacks():
            raise SkipTest("this machine has no IPv6")
        port = servers.postfix().smtp
        for host in (r"\:\:1", r"[\:\:1]"):
            answered = yield self.converse(trusted(f"starttls:smtp:{host}:{port}"))
            self.assertEqual(answered, b"221 2.0.0 Bye\r\n")

    @inlineCallbacks
    def test_trust(self) -> Any:
        """
        ``trustRoots`` is a file or a directory of files; other CAs are not trusted.
        Without it the system's CAs are trusted.
        """
        certificates = shared()
        for name, authority in (
            ("good", certificates.authority),
            ("bad", certificates.stranger),
        ):
            os.mkdir(name)
            authority.save(Path(name, "ca.pem"))
        for start in (
            f"starttls:smtp:localhost:{servers.postfix().smtp}",
            f"tcpclient:localhost:{servers.postfix().smtps}:tls=yes",
        ):
            for roots in (certificates.ca, "good"):
                yield self.converse(start + argument("trustRoots", roots))
                self.assertTrue(self.secured)
            for end in (
                "",
                argument("trustRoots", certificates.stranger_ca),
                argument("trustRoots", "bad"),
            ):
                yield self.refused(start + end, VerificationFailed)

    @inlineCallbacks
    def test_hostname(self) -> Any:
        """``hostname`` is verified and sent as SNI."""
        postfix = servers.postfix()
        start = trusted(f"starttls:smtp:127.0.0.1:{postfix.smtp}")
        yield self.converse(start + ":hostname=mail.example.test")
        servers.logged(postfix.log, "to mail.example.test")
        error = yield self.refused(start + ":hostname=other.example.test", NameMismatch)
        self.assertIn("other.example.test", str(error))

    @inlineCallbacks
    def test_wrong_host(self) -> Any:
        """Without ``hostname`` the host is verified, with any endpoint below TLS."""
        postfix = servers.postfix()
        for start in (
            f"starttls:smtp:127.0.0.2:endpoint=tcp\\:127.0.0.1\\:{postfix.smtp}",
            f"tcpclient:127.0.0.2:1:tls=yes:endpoint=tcp\\:127.0.0.1\\:{postfix.smtps}",
        ):
            yield self.refused(trusted(start), NameMismatch)

    @inlineCallbacks
    def test_no_verification(self) -> Any:
        """``verify=no`` accepts any server; ``verify=yes`` is the default."""
        start = f"starttls:smtp:localhost:{servers.postfix().smtp}"
        yield self.converse(start + ":verify=no:hostname=other.example.test")
        self.assertTrue(self.secured)
        yield self.refused(start + ":verify=yes", VerificationFailed)

    @inlineCallbacks
    def test_revocations(self) -> Any:
        """A certificate that the list of ``crl`` names is refused, others are not."""
        certificates = shared()
        start = trusted(f"starttls:smtp:localhost:{servers.postfix().smtp}")
        yield self.converse(start + argument("crl", certificates.revocations))
        revoking = certificates.authority.revocations(certificates.server_identity)
        path = save_revocations(Path(self.mktemp()), revoking)
        error = yield self.refused(start + argument("crl", path), VerificationFailed)
        self.assertIn("revoked", str(error))

    @inlineCallbacks
    def test_client_certificate(self) -> Any:
        """``certificate`` is sent to the server; ``privateKey`` may be another file."""
        certificates = shared()
        start = trusted(f"starttls:smtp:localhost:{servers.postfix().mutual}")
        chain = certificates.client_identity.save_chain(Path(self.mktemp()))
        key = certificates.client_identity.save_key(Path(self.mktemp()))
        for end in (
            argument("certificate", certificates.client),
            argument("certificate", chain) + argument("privateKey", key),
        ):
            answered = yield self.converse(start + end)
            self.assertEqual(answered, b"221 2.0.0 Bye\r\n")
        # In TLS 1.3 the client's handshake is complete before the server refuses.
        answered = yield self.converse(start)
        self.assertNotIn(b"221", answered)

    @inlineCallbacks
    def test_bind_address(self) -> Any:
        """``bindAddress`` is the client's address, as the server sees it."""
        server = servers.tcpserver("sh", "-c", "echo $TCPREMOTEIP")
        for address in ("127.0.0.1", "127.0.0.3"):
            answered = yield self.converse(
                f"tcpclient:{server.host}:{server.port}:bindAddress={address}", b""
            )
            self.assertEqual(answered.decode("ascii").strip(), address)

    @inlineCallbacks
    def test_greeting(self) -> Any:
        """``greeting=yes`` adds a made-up greeting; ``greeting=no`` adds none."""
        postfix, dovecot = servers.postfix(), servers.dovecot()
        for dialect, port, said, greeting in (
            ("smtp", postfix.smtp, b"QUIT\r\n", b"220 localhost ESMTP\r\n"),
            ("pop3", dovecot.pop3, b"QUIT\r\n", b"+OK ready\r\n"),
            ("imap", dovecot.imap, b"a LOGOUT\r\n", b"* OK ready\r\n"),
        ):
            start = trusted(f"starttls:{dialect}:localhost:{port}")
            greeted = yield self.converse(start + ":greeting=yes", said)
            plain = yield self.converse(start + ":greeting=no", said)
            self.assertTrue(greeted.startswith(greeting), greeted)
            self.assertFalse(plain.startswith(greeting), plain)

    @inlineCallbacks
    def test_nested(self) -> Any:
        """
        ``endpoint`` is any other string, quoted, and strings in that are quoted twice.
        """
        postfix = servers.postfix()
        start = trusted("starttls:smtp:mail.example.test")
        for nested in (
            f"unix:{quoteStringArgument(str(postfix.socket))}",
            f"tcp:127.0.0.1:{postfix.smtp}",
            f"tcpclient:localhost:{postfix.smtp}:bindAddress=127.0.0.1",
            "tcpclient:x:1" + argument("endpoint", f"tcp:127.0.0.1:{postfix.smtp}"),
        ):
            answered = yield self.converse(start + argument("endpoint", nested))
            self.assertEqual(answered, b"221 2.0.0 Bye\r\n")
            self.assertTrue(self.secured)

    @inlineCallbacks
    def test_quoting(self) -> Any:
        """Paths may contain all characters that have a meaning in strings."""
        odd = "a:b\\c=d e"
        os.mkdir(odd)
        roots = shared().authority.save(Path(odd, "roots.pem"))
        path = os.path.join(odd, "s:=\\")
        peer = Talker()
        factory: Any = Factory.forProtocol(lambda: peer)
        tls = TLSMemoryBIOFactory(TLSServer(), False, factory)
        port = yield UNIXServerEndpoint(reactor, path).listen(tls)
        self.addCleanup(port.stopListening)
        nested = "unix" + argument("path", path)
        endpoint = clientFromString(
            reactor,
            "tcpclient:localhost:1:tls=yes"
            + argument("trustRoots", roots)
            + argument("endpoint", nested),
        )
        client: Any = yield endpoint.connect(Factory.forProtocol(Talker))
        client.transport.write(b"bye")
        client.transport.loseConnection()
        yield client.gone
        yield peer.gone
        self.assertEqual(peer.received, b"bye")

    @inlineCallbacks
    def test_every_attempt(self) -> Any:
        """The error has all addresses of the host, if none of them answers."""
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        for start in ("tcpclient:0:", "tcpclient:0:tls=yes:port=", "starttls:smtp:0:"):
            error = yield self.refused(f"{start}{port}", ConnectFailed)
            for address in ("::1", "127.0.0.1"):
                self.assertIn(address, str(error))

    @inlineCallbacks
    def test_timeout(self) -> Any:
        """``timeout`` also bounds the dialogue before TLS, and the handshake."""
        silent = [Talker(), Talker()]
        left = iter(silent)
        factory: Any = Factory.forProtocol(lambda: next(left))
        listener = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        port: Any = yield listener.listen(factory)
        self.addCleanup(port.stopListening)
        number = port.getHost().port
        for start, awaited in (
            (f"starttls:smtp:127.0.0.1:{number}", "STARTTLS"),
            (f"tcpclient:127.0.0.1:{number}:tls=yes", "handshake"),
        ):
            error = yield self.refused(start + ":timeout=1", TimedOut)
            self.assertIn(awaited, str(error))
        for peer in silent:
            yield peer.gone


class MemoryTests(SynchronousTestCase):
    """Arguments that set how to connect, in memory."""

    def setUp(self) -> None:
        """Make a reactor without a network."""
        self.reactor = MemoryReactorClock()

    def connect(self, description: str) -> None:
        """Begin to connect, and cancel at the end of the test."""
        connecting = clientFromString(self.reactor, description).connect(Recorders())

        def cancel() -> None:
            connecting.cancel()
            self.failureResultOf(connecting, ConnectingCancelledError)

        self.addCleanup(cancel)

    def test_default_port(self) -> None:
        """The default port is that of the dialect."""
        for description, wanted in (
            ("starttls:smtp:192.0.2.1", 25),
            ("starttls:pop3:192.0.2.1", 110),
            ("starttls:imap:192.0.2.1", 143),
            ("starttls:imap:192.0.2.1:4711", 4711),
        ):
            self.setUp()
            self.connect(description)
            ((host, port, _, timeout, bind),) = self.reactor.tcpClients
            self.assertEqual((host, port), ("192.0.2.1", wanted))
            self.assertEqual((timeout, bind), (30, None))

    def test_connection(self) -> None:
        """``timeout`` and ``bindAddress`` are passed to connectTCP()."""
        for start in ("starttls:smtp:192.0.2.1", "tcpclient:192.0.2.1:25"):
            self.setUp()
            self.connect(start + ":timeout=7.5:bindAddress=192.0.2.7")
            ((_, port, _, timeout, bind),) = self.reactor.tcpClients
            self.assertEqual((port, timeout, bind), (25, 7.5, ("192.0.2.7", 0)))

    def test_attempt_delay(self) -> None:
        """The second address is tried after ``attemptDelay`` seconds."""
        for argument, delay in (("", 0.25), (":attemptDelay=3", 3)):
            self.setUp()
            self.connect("tcpclient:0:25" + argument)
            self.reactor.advance(delay - 0.01)
            self.assertEqual(len(self.reactor.tcpClients), 1)
            self.reactor.advance(0.02)
            self.assertEqual(len(self.reactor.tcpClients), 2)


#: Wrong strings, and patterns of their errors.
WRONG = [
    # Arguments that are missing, empty or too many.
    ("starttls", "dialect: is missing"),
    ("starttls:", "dialect: is missing"),
    ("starttls:smtp", "host: is missing"),
    ("starttls:host=localhost", "dialect: is missing"),
    ("starttls::localhost", "dialect: is empty"),
    ("starttls:smtp:", "host: is empty"),
    ("starttls:smtp::25", "host: is empty"),
    ("starttls:smtp:localhost:", "port: is empty"),
    (
        "starttls:smtp:localhost:25:more",
        r"one part too many: 'more' \(in a value a colon is written \\:\)",
    ),
    ("starttls:smtp:::1:25", "is empty|too many"),
    ("starttls:smtp:localhost:25:host=other", "host: given twice.*'other'"),
    ("tcpclient", "host: is missing"),
    ("tcpclient:localhost", "port: is missing"),
    ("tcpclient:localhost:25:26", "one part too many: '26'"),
    ("ucspi:6:7", "one part too many: '6'"),
    # Values.
    ("starttls:gopher:localhost", "dialect: no such protocol: 'gopher'.*imap, irc"),
    *(
        (f"{start}:{port}", f"port: {reason}")
        for start in ("starttls:smtp:localhost", "tcpclient:localhost")
        for port, reason in (
            *(("0", "not from 1 to 65535: 0"), ("65536", "not from 1 to 65535: 65536")),
            *(
                (text, f"not a number: '{re.escape(text)}'")
                for text in ("-1", "+25", " 25", "2_5", "smtp")
            ),
            ("\u0662\u0665", "not a number: '.*u0662.*u0665'"),
        )
    ),
    *(
        (
            f"tcpclient:localhost:25:{name}={value}",
            f"{name}: not a number of seconds: '{value}'",
        )
        for name in ("timeout", "attemptDelay")
        for value in ("soon", "0", "-1", "nan", "inf")
    ),
    ("tcpclient:localhost:25:timeout=", "timeout: is empty"),
    ("tcpclient:localhost:25:bindAddress=here", "bindAddress: not an IP.*'here'"),
    ("tcpclient:localhost:25:tls=maybe", "tls: not yes or no: 'maybe'"),
    ("starttls:smtp:localhost:verify=none", "verify: not yes or no: 'none'"),
    ("starttls:smtp:localhost:greeting=1", "greeting: not yes or no: '1'"),
    ("starttls:smtp:localhost:hostname=", "hostname: is empty"),
    ("starttls:smtp:localhost:hostname=a b", "hostname: neither a name nor.*'a b'"),
    ("starttls:smtp:a b", "name 'a b'"),
    # Files.
    ("starttls:smtp:localhost:trustRoots=missing", "CA certificates missing: file"),
    ("starttls:smtp:localhost:trustRoots=empty", "CA certificate in empty"),
    ("starttls:smtp:localhost:trustRoots=junk", "CA certificate in junk"),
    ("starttls:smtp:localhost:certificate=missing", "certificate missing: file"),
    ("starttls:smtp:localhost:certificate=junk", "certificate in junk"),
    ("starttls:smtp:localhost:crl=missing", "revocation lists missing: file"),
    ("starttls:smtp:localhost:crl=junk", "revocation list in junk"),
    ("starttls:smtp:localhost:privateKey=junk", "privateKey: there is no certificate"),
    # Names.
    ("starttls:smtp:localhost:trustroots=x", "trustroots: no such argument"),
    ("starttls:smtp:localhost:tls=yes", "tls: no such argument"),
    ("starttls:smtp:localhost:reactor=x", "reactor: no such argument"),
    ("starttls:smtp:localhost:self=x", "self: no such argument"),
    ("tcpclient:localhost:25:greeting=yes", "greeting: no such argument"),
    ("tcpclient:localhost:25:verify=no", "verify: no such.* without tls=yes"),
    ("tcpclient:localhost:25:trustRoots=x", "trustRoots: no such.* without tls=yes"),
    ("ucspi:timeout=1", "timeout: no such argument"),
    # Strings in strings.
    ("starttls:smtp:localhost:endpoint=", "endpoint: is empty"),
    ("starttls:smtp:localhost:endpoint=carrier\\:x", "endpoint: .*carrier"),
    ("starttls:smtp:localhost:endpoint=tcp\\:x\\:y", "endpoint: 'tcp:x:y'"),
    ("starttls:smtp:localhost:endpoint=tcp", "endpoint: 'tcp'"),
    ("starttls:smtp:localhost:endpoint=tcp\\:a\\:1\\:b=c", "endpoint: 'tcp:a:1:b=c'"),
    ("starttls:smtp:localhost:endpoint=unix", "endpoint: 'unix'"),
    (
        "starttls:smtp:localhost:endpoint=tcpclient\\:a\\:0",
        "endpoint: 'tcpclient:a:0': tcpclient: port: not from 1 to 65535: 0",
    ),
    *(
        (
            f"starttls:smtp:localhost:endpoint=tcp\\:a\\:1:{name}={value}",
            f"{name}: has no meaning with endpoint",
        )
        for name, value in (("bindAddress", "127.0.0.1"), ("attemptDelay", "1"))
    ),
]


class WrongTests(SynchronousTestCase):
    """Wrong strings."""

    def test_named(self) -> None:
        """Each mistake is a ValueError that names the prefix and the argument."""
        Path("junk").write_text("no certificate")
        os.mkdir("empty")
        for description, named in WRONG:
            error = self.assertRaises(
                ValueError, clientFromString, MemoryReactorClock(), description
            )
            prefix = description.partition(":")[0]
            self.assertRegex(str(error), f"\\A{prefix}: .*{named}", description)

    def test_key_of_another(self) -> None:
        """The error about a key of another certificate names its file."""
        key = shared().server_identity.save_key(Path("other-key"))
        description = "starttls:smtp:localhost" + argument(
            "certificate", shared().client
        )
        error = self.assertRaises(
            ValueError,
            clientFromString,
            MemoryReactorClock(),
            description + argument("privateKey", key),
        )
        self.assertIn("other-key", str(error))

    def test_nothing_left(self) -> None:
        """Parsing a string, right or wrong, connects nothing and starts no timer."""
        memory = MemoryReactorClock()
        clientFromString(memory, "starttls:smtp:localhost")
        self.assertRaises(ValueError, clientFromString, memory, "starttls:smtp")
        self.assertEqual((memory.tcpClients, memory.getDelayedCalls()), ([], []))


class ParserTests(SynchronousTestCase):
    """The parsers as plugins."""

    def test_interfaces(self) -> None:
        """The parsers provide the interfaces that Twisted looks for."""
        for parser in (STARTTLSParser(), TCPClientParser(), UCSPIParser()):
            verifyObject(IStreamClientEndpointStringParserWithReactor, parser)
            self.assertTrue(IPlugin.providedBy(parser))

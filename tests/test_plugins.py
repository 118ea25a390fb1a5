"""Dialects of other packages, found by Twisted's plugin system."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from functools import cache, partial
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import quoteStringArgument
from twisted.trial.unittest import SynchronousTestCase

from tests import servers
from tests.certificates import shared
from tests.command import (
    ROOT,
    Outcome,
    Peer,
    Script,
    environment,
    run,
    serving,
    together,
    trusting,
)
from tests.programs import run as run_program
from tests.test_packaging import Environment, artefacts, install
from tests.test_tutorial import programs
from tests.transcripts import Exchange
from twisted_tcpclient.dialects import (
    LINE,
    NAMES,
    Bytes,
    Dialect,
    Dialogue,
    Parameters,
    Send,
    smtp,
)
from twisted_tcpclient.dialogue import MOST
from twisted_tcpclient.errors import DialectFailed
from twisted_tcpclient.plugin import DialectPlugin
from twisted_tcpclient.stages.base import StagedEndpoint
from twisted_tcpclient.stages.greeting import greeting_from
from twisted_tcpclient.stages.negotiation import Negotiation

PAGE = ROOT / "doc" / "writing-a-dialect.rst"
EXAMPLE = ROOT / "doc" / "examples" / "nbd"

#: NBD's option number 3, a list of what there is, and 2, the end.
LIST, ABORT = (b"IHAVEOPT\0\0\0%c\0\0\0\0" % number for number in (3, 2))

#: A Twisted program that sends what it is told to, and prints what it receives.
TALK = """
import sys
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react


class Talk(Protocol):
    def __init__(self):
        self.gone = Deferred()

    def connectionMade(self):
        self.transport.write(sys.stdin.buffer.read())

    def dataReceived(self, data):
        sys.stdout.buffer.write(data)

    def connectionLost(self, reason):
        self.gone.callback(None)


async def main(reactor, description):
    endpoint = clientFromString(reactor, description)
    await (await endpoint.connect(Factory.forProtocol(Talk))).gone


react(lambda *args: Deferred.fromCoroutine(main(*args)), sys.argv[1:])
"""


class Installed:
    """The example, installed in an environment of its own."""

    def __init__(self) -> None:
        self.environment: Environment = install(artefacts().wheel, "dialects")
        self.before = self.run("-s", "nbd", "localhost", "10809")
        source = self.environment.folder / "source"
        shutil.copytree(EXAMPLE, source)
        self.environment.add(source)

    def run(self, *arguments: str, data: bytes = b"", program: str = "") -> Outcome:
        """Run the command of this environment, or a program."""
        folder = self.environment.folder
        python = (str(self.environment.python), "-c", program)
        command = python if program else (str(folder / "bin" / "tcpclient"),)
        env = environment()
        del env["PYTHONPATH"]
        return run(*arguments, data=data, command=command, env=env, cwd=folder)


@cache
def installed() -> Installed:
    """Install the example, once."""
    return Installed()


class ExampleTests(SynchronousTestCase):
    """The example of the documentation, installed and used."""

    def test_size(self) -> None:
        """The package has at most thirty lines, blank lines not counted."""
        lines = [
            line
            for path in EXAMPLE.rglob("*.*")
            if path.suffix in (".py", ".toml")
            for line in path.read_text().splitlines()
            if line
        ]
        self.assertLessEqual(len(lines), 30)

    def test_page(self) -> None:
        """The page shows every file of the package as it is."""
        page = PAGE.read_text()
        for name in (
            "pyproject.toml",
            "nbd_starttls.py",
            "twisted/plugins/nbd_starttls_plugin.py",
        ):
            text = textwrap.indent((EXAMPLE / name).read_text(), "    ")
            self.assertIn(f"\n\n{text}\n", page)
            self.assertIn(f"``{name}``", page)

    def test_transcript(self) -> None:
        """The page's test with the transcript of an RFC passes."""
        program, _ = programs(PAGE)[2]
        self.assertIn("RFC_3207", program)
        outcome = run_program(sys.executable, "-c", program, PYTHONPATH=str(ROOT))
        self.assertEqual((outcome.status, outcome.err), (0, b""))

    def test_tests(self) -> None:
        """The page's tests pass with the dialect, and fail with a fault in it."""
        tests, _ = programs(PAGE)[3]
        dialect = (EXAMPLE / "nbd_starttls.py").read_text()
        for sound, faulty, status in (
            ("", "", 0),
            ("& 1:", "& 2:", 1),
            ('"IHAVEOPT", 5, 0', '"IHAVEOPT", 6, 0', 1),
            ("Bytes(20)", "Bytes(21)", 1),
            ("!= (0x3E889045565A9, 5)", "== ()", 1),
            ("kind != 1", "kind == 7", 1),
            ("not greeting.startswith", "greeting.startswith", 1),
        ):
            self.assertIn(sound, dialect)
            folder = Path(self.mktemp()).absolute()
            folder.mkdir()
            text = dialect.replace(sound, faulty) if sound else dialect
            (folder / "nbd_starttls.py").write_text(text)
            (folder / "test_nbd_starttls.py").write_text(tests)
            path = f"{folder}{os.pathsep}{ROOT}"
            outcome = run_program(
                sys.executable, folder / "test_nbd_starttls.py", PYTHONPATH=path
            )
            self.assertEqual(outcome.status, status, (faulty, outcome.err))

    def test_before(self) -> None:
        """Before it is installed its name is unknown."""
        complaint = installed().before.complaint()
        self.assertIn("-s: no such protocol: 'nbd' (there are: ftp,", complaint)
        self.assertNotIn("nbd)", complaint)
        self.assertEqual(installed().before.status, 100)

    def test_command(self) -> None:
        """
        Once it is installed, ``-s`` finds it in any case, and a real server understands
        it. That server closes TCP without close_notify, which is reported as with any
        server.
        """
        outcome = installed().run(
            *("-s", "NBD", *trusting(), "-n", str(shared().client)),
            *("-RHl0", "localhost", str(servers.nbd().port)),
            *("sh", "-c", "cat >&7; cat <&6"),
            data=LIST + ABORT,
        )
        self.assertIn(b"\0\0\0\4disk", outcome.out)
        self.assertIn("cut short: no close_notify", outcome.complaint())

    def test_string(self) -> None:
        """Endpoint strings find it, in a program that imports only Twisted."""
        certificates = shared()
        description = (
            f"starttls:nbd:localhost:{servers.nbd().port}"
            f":trustRoots={quoteStringArgument(str(certificates.ca))}"
            f":certificate={quoteStringArgument(str(certificates.client))}"
        )
        outcome = installed().run(description, data=LIST + ABORT, program=TALK)
        self.assertEqual((outcome.status, outcome.err), (0, ""))
        self.assertIn(b"\0\0\0\4disk", outcome.out)

    def test_listed(self) -> None:
        """It is listed wherever all names are listed."""
        for known in (
            installed().run("-s", "nonsense", "localhost", "1").err,
            installed().run("starttls:nonsense:localhost", program=TALK).err,
        ):
            self.assertIn("(there are: ftp, imap, ", known)
            self.assertIn(", xmpp-server, nbd)", known)
        told = installed().run("--help").out
        self.assertIn(b"\nOther packages have, for -s: nbd\n", told)

    def test_no_greeting(self) -> None:
        """
        The message about a greeting that it does not have is that of built-in dialects.
        """
        description = "starttls:nbd:localhost:greeting=yes"
        outcome = installed().run(description, program=TALK)
        self.assertIn("starttls: greeting: nbd has none", outcome.err)

    def test_attacks(self) -> None:
        """The attacks that fail against built-in dialects fail against it."""
        greeting, reply = b"NBDMAGICIHAVEOPT\0\3", b"\0\3\xe8\x89\4Ue\xa9\0\0\0\5"
        early = {
            b"220 mail.example.test\r\n": "the server does not speak NBD",
            greeting[:-1] + b"\0": "the server is too old for STARTTLS",
            greeting + b"x": "the server sent data before it was asked",
        }
        late = {
            b"\0\0\0\1\0\0\0\0x": "the server sent data in clear after agreeing",
            b"\x80\0\0\2\0\0\0\2no": "the server refused STARTTLS",
            b"\x80\0\0\2\xff\xff\xff\xff": "the server announced more than it may say",
        }

        def at_once(said: bytes, peer: Peer) -> None:
            peer.send(said)
            peer.gone()

        def in_reply(said: bytes, peer: Peer) -> None:
            peer.send(greeting)
            assert peer.exactly(20) == b"\0\0\0\1IHAVEOPT\0\0\0\5\0\0\0\0"
            peer.send(reply + said)
            peer.gone()

        def check(script: Script, complaint: str) -> None:
            with serving(script, "-s", "nbd") as server:
                outcome = installed().run(*server.arguments)
            self.assertIn(complaint, outcome.complaint())
            self.assertEqual((outcome.status, outcome.out), (111, b""))

        installed()
        together(
            {
                complaint: partial(check, partial(script, said), complaint)
                for script, cases in ((at_once, early), (in_reply, late))
                for said, complaint in cases.items()
            }
        )


class DropInTests(SynchronousTestCase):
    """Drop-ins, good and bad."""

    def setUp(self) -> None:
        """Make a directory for drop-ins and for the modules to which they point."""
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "twisted" / "plugins").mkdir(parents=True)
        self.path = f"{self.folder}{os.pathsep}{ROOT}"

    def drop_in(self, name: str, text: str) -> None:
        """Add a drop-in."""
        (self.folder / "twisted" / "plugins" / f"{name}.py").write_text(text)

    def dialect(self, name: str, module: str, text: str) -> None:
        """Add a drop-in for a dialect, and a module with the dialect."""
        self.drop_in(
            f"{module}_plugin",
            "from twisted_tcpclient.plugin import DialectPlugin\n"
            f"dialect = DialectPlugin({name!r}, {module!r})\n",
        )
        head = """\
            from twisted_tcpclient.dialects import *
            from twisted_tcpclient.dialects import Bytes, Dialect, LINE, Send
        """
        text = textwrap.dedent(head) + textwrap.dedent(text)
        (self.folder / f"{module}.py").write_text(text)

    def run_command(self, *arguments: str) -> Outcome:
        """Run the command with the drop-ins."""
        return run(*arguments, env=environment(PYTHONPATH=self.path))

    def complaint(self, name: str) -> str:
        """Return the message of the command about a dialect that it cannot use."""
        outcome = self.run_command("-s", name, "localhost", "1")
        self.assertEqual((outcome.status, outcome.out), (111, b""))
        return outcome.complaint()

    def tell(self, program: str) -> object:
        """Return the JSON that a program prints."""
        outcome = run(
            command=(sys.executable, "-c", f"import json, sys\n{program}"),
            env=environment(PYTHONPATH=self.path),
        )
        self.assertEqual((outcome.status, outcome.err), (0, ""))
        return json.loads(outcome.out)

    def test_comes_and_goes(self) -> None:
        """
        A dialect is found while its drop-in is there, whatever Twisted's cache of
        drop-ins says.
        """
        names = (
            "from twisted_tcpclient import registry\n"
            "print(json.dumps(registry.others()))"
        )
        self.assertEqual(self.tell(names), [])
        self.dialect("first", "one", "")
        self.assertEqual(self.tell(names), ["first"])
        self.dialect("second", "two", "")
        self.assertEqual(self.tell(names), ["first", "second"])
        self.assertTrue((self.folder / "twisted/plugins/dropin.cache").exists())
        (self.folder / "twisted/plugins/one_plugin.py").unlink()
        self.assertEqual(self.tell(names), ["second"])

    def test_light(self) -> None:
        """
        The use of a built-in dialect imports neither the plugin system nor other
        packages; the use of another dialect imports its module only.
        """
        self.dialect("first", "one", "raise SystemExit('loaded')")
        text = "DIALECTS = (Dialect('second', None, '', None),)"
        self.dialect("second", "two", text)
        program = (
            "from twisted_tcpclient.registry import find\n"
            "def loaded():\n"
            "    names = 'twisted.plugin', 'twisted_tcpclient.plugin', 'one', 'two'\n"
            "    return [name for name in names if name in sys.modules]\n"
            "find('smtp')\n"
            "before = loaded()\n"
            "find('second')\n"
            "print(json.dumps([before, loaded()]))"
        )
        self.assertEqual(
            self.tell(program),
            [[], ["twisted.plugin", "twisted_tcpclient.plugin", "two"]],
        )

    def test_built_in_first(self) -> None:
        """Another package cannot replace a built-in dialect."""
        self.dialect("smtp", "mine", "raise SystemExit('loaded')")
        program = (
            "from twisted_tcpclient import registry\n"
            "smtp = registry.find('SMTP')\n"
            "print(json.dumps([smtp.rfc, registry.others()]))"
        )
        self.assertEqual(self.tell(program), ["RFC 3207", []])

    def test_two_of_a_name(self) -> None:
        """A name that two packages have is an error that names both modules."""
        for module in ("one", "two"):
            text = "DIALECTS = (Dialect('same', 1, '', None),)"
            self.dialect("same", module, text)
        said = self.complaint("same")
        self.assertEqual(said, "the dialect same is in two packages: one and two")

    def test_unusable(self) -> None:
        """
        A dialect that is announced and cannot be used is an error of one line with its
        name and its module, under ``twist`` and in endpoint strings, too.
        """
        self.dialect("absent", "absence", "DIALECTS = ()")
        said = self.complaint("absent")
        self.assertEqual(said, "the dialect absent is not in absence: it should be")
        self.dialect("empty", "emptiness", "")
        said = self.complaint("empty")
        self.assertTrue(
            said.startswith("the dialect empty in emptiness cannot be used: Attrib"),
            said,
        )
        text = "class Other:\n    name = 'other'\nDIALECTS = (Other(),)"
        self.dialect("other", "others", text)
        said = self.complaint("other")
        self.assertEqual(said, "the dialect other in others is no Dialect: Other")
        text = "DIALECTS = (Dialect('harbour', '25', '', None),)"
        self.dialect("harbour", "harbours", text)
        cause = "ValueError: not a port from 1 to 65535: '25'"
        wanted = f"the dialect harbour in harbours cannot be used: {cause}"
        self.assertEqual(self.complaint("harbour"), wanted)
        self.dialect("gone", "going", "import nowhere_at_all")
        cause = "ModuleNotFoundError: No module named 'nowhere_at_all'"
        wanted = f"the dialect gone in going cannot be used: {cause}"
        self.assertEqual(self.complaint("gone"), wanted)
        twist = run(
            *("twist", "tcpclient", "-s", "gone", "localhost", "1")[1:],
            command=(sys.executable, "-m", "twisted"),
            env=environment(PYTHONPATH=self.path),
        )
        self.assertIn(wanted, twist.err + twist.out.decode())
        self.assertNotIn("Traceback", twist.err)
        program = f"sys.argv[1:] = ['starttls:gone:localhost']\n{TALK}"
        outcome = run(
            command=(sys.executable, "-c", f"import sys\n{program}"),
            env=environment(PYTHONPATH=self.path),
        )
        self.assertIn(f"ValueError: starttls: dialect: {wanted}", outcome.err)

    def test_broken_neighbour(self) -> None:
        """
        A drop-in that cannot be imported does not hide other dialects; a warning of one
        line has its place, unless -q is given.
        """
        self.drop_in("broken", "import nowhere_at_all\n")
        self.drop_in("wrong", "def (\n")
        self.dialect(
            "blunt",
            "bluntness",
            """
            def dialogue(parameters):
                yield Send(b"TLS\\n")
                yield LINE
            DIALECTS = (Dialect("blunt", None, "", dialogue),)
            """,
        )

        def script(peer: Peer) -> None:
            assert peer.line() == b"TLS\n"
            peer.send(b"OK\n")
            peer.secure()
            peer.send(b"good")
            peer.finish()

        with serving(script, "-s", "blunt", *trusting(), "-m", "localhost") as server:
            outcome = self.run_command(*server.arguments)
            silent = self.run_command("-q", *server.arguments)
        self.assertEqual((outcome.status, outcome.out), (0, b"good"))
        place = self.folder / "twisted" / "plugins"
        warnings = sorted(outcome.err.splitlines())
        start = "tcpclient: warning: unexpected error"
        self.assertEqual(
            warnings[0],
            f"{start}: ModuleNotFoundError ({place}/broken.py, line 1):"
            " No module named 'nowhere_at_all'",
        )
        second = f"{start}: SyntaxError ({place}/wrong.py, line 1): invalid"
        self.assertTrue(warnings[1].startswith(second), warnings)
        self.assertEqual(len(warnings), 2)
        self.assertEqual((silent.status, silent.out, silent.err), (0, b"good", ""))
        ours = self.run_command("-s", "smtp", "127.0.0.1", "1")
        self.assertIn("connection refused", ours.complaint())

    def test_no_port(self) -> None:
        """Where a dialect has no port, one has to be given."""
        text = "DIALECTS = (Dialect('portless', None, '', None),)"
        self.dialect("portless", "portlessness", text)
        program = (
            "from twisted.internet.endpoints import clientFromString\n"
            "from twisted.internet.testing import MemoryReactorClock\n"
            "clientFromString(MemoryReactorClock(), 'starttls:portless:h:1')\n"
            "try:\n"
            "    clientFromString(MemoryReactorClock(), 'starttls:portless:h')\n"
            "except ValueError as error:\n"
            "    print(json.dumps(str(error)))"
        )
        self.assertEqual(self.tell(program), "starttls: port: is missing")

    def test_fault(self) -> None:
        """
        A dialect that raises another exception is an error of one line, with its name
        and the place, and without words of the server.
        """
        text = """
            def dialogue(parameters):
                int((yield LINE))
            DIALECTS = (Dialect("faulty", None, "", dialogue),)
        """
        self.dialect("faulty", "faultiness", text)
        module = self.folder / "faultiness.py"
        line = 1 + module.read_text().splitlines().index("    int((yield LINE))")

        def script(peer: Peer) -> None:
            peer.send(b"not a number\r\n")
            peer.gone()

        with serving(script, "-s", "faulty") as server:
            outcome = self.run_command("-v", *server.arguments)
        *_, last = outcome.err.splitlines()
        self.assertEqual(
            last,
            f"tcpclient: fatal: 127.0.0.1 port {server.arguments[-1]}:"
            f" the dialect faulty has failed: ValueError ({module}, line {line})",
        )
        self.assertEqual((outcome.status, outcome.out), (111, b""))
        self.assertNotIn("not a number", outcome.err)


class NameTests(SynchronousTestCase):
    """The names of dialects."""

    def test_names(self) -> None:
        """A plugin takes names that need no quotes, and no others."""
        for name in (*NAMES, "x", "9p"):
            self.assertEqual(DialectPlugin(name, "module").name, name)
        for name in ("", "NBD", "a:b", "a b", "-s", "a\n", "a_b", "\xe4"):
            self.assertRaises(ValueError, DialectPlugin, name, "module")


def exchange(dialogue: Any) -> Exchange:
    """Begin a connection through a dialect of another package."""
    dialect = Dialect("strange", None, "", dialogue)
    protocol: Any = type("Strange", (Negotiation,), {"dialect": dialect})
    return Exchange(
        lambda tcp, clock: StagedEndpoint(
            tcp, lambda factory, address: protocol("", factory, address, clock, 60)
        )
    )


class BoundsTests(SynchronousTestCase):
    """The bounds, for a dialect of another package."""

    def failed(self, exchange: Exchange) -> str:
        """
        Return the message; check that the connection is aborted and no call is left.
        """
        self.assertIsInstance(exchange.error, DialectFailed)
        self.assertTrue(exchange.transport.disconnecting)
        self.assertEqual((exchange.factory.built, exchange.left), ([], []))
        said = str(exchange.error)
        self.assertTrue(said.startswith("the dialect strange "), said)
        return said

    def test_endless_talk(self) -> None:
        """A dialect that sends without end is stopped at the bound."""

        def dialogue(parameters: Parameters) -> Dialogue:
            for _ in range(1000):
                yield Send(bytes(1000))

        said = self.failed(endless := exchange(dialogue))
        self.assertIn("speaks without end", said)
        self.assertLessEqual(len(endless.transport.value()), MOST)

    def test_errors(self) -> None:
        """
        The exception of a dialect is the cause of the error, whose message has its type
        and no words of the server.
        """

        def later(parameters: Parameters) -> Dialogue:
            line = yield LINE
            raise ValueError(line)

        def at_once(parameters: Parameters) -> Dialogue:
            raise ValueError(b"secret")

        def deaf(parameters: Parameters) -> Any:
            return iter([LINE])

        for dialogue, kind in (
            (later, ValueError),
            (at_once, ValueError),
            (deaf, AttributeError),
            (lambda parameters: None, TypeError),
            (lambda: None, TypeError),
        ):
            strange = exchange(dialogue)
            strange.hear(b"secret\n")
            said = self.failed(strange)
            self.assertIn(f"has failed: {kind.__name__} (", said)
            self.assertNotIn("secret", said)
            self.assertIsInstance(strange.error.__cause__, kind)

    def test_place(self) -> None:
        """The message has the line of the dialect, not one of the engine."""

        def dialogue(parameters: Parameters) -> Dialogue:
            yield Bytes(0)

        path = Path(__file__)
        line = 1 + path.read_text().splitlines().index("            yield Bytes(0)")
        self.assertIn(f"({path}, line {line})", self.failed(exchange(dialogue)))

    def test_nothing(self) -> None:
        """A dialect without steps leads to TLS at once."""
        self.assertIsNotNone(exchange(lambda parameters: iter(())).result)

    def test_greeting(self) -> None:
        """A dialect whose greeting raises or is not bytes is at fault."""
        for greeting, kind in (
            (lambda host: 1 // 0, "ZeroDivisionError"),
            (lambda host: "220 ready", "TypeError"),
            (lambda host: None, "TypeError"),
        ):
            made: Any = greeting
            dialect = Dialect("strange", None, "", smtp.dialogue, made)
            with self.assertRaises(DialectFailed) as caught:
                greeting_from(dialect, "localhost")
            said = str(caught.exception)
            self.assertIn(f"the dialect strange made no greeting: {kind}", said)

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

from tests import programs, servers
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
from tests.test_packaging import Environment, artefacts, install
from tests.transcripts import Exchange
from twisted_tcpclient.dialects import (
    LINE,
    NAMES,
    Bytes,
    Dialect,
    Dialogue,
    Line,
    Parameters,
    Send,
    Step,
    smtp,
)
from twisted_tcpclient.dialogue import MOST
from twisted_tcpclient.errors import BadReply, DialectFailed
from twisted_tcpclient.plugin import DialectPlugin
from twisted_tcpclient.stages.base import StagedEndpoint
from twisted_tcpclient.stages.greeting import greeting_from
from twisted_tcpclient.stages.negotiation import Negotiation

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
    """The example, installed where we are, with what was so before."""

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
    """Install it, once."""
    return Installed()


class ExampleTests(SynchronousTestCase):
    """The example in the documentation, installed and used."""

    def test_size(self) -> None:
        """It is complete in thirty lines, those that are empty not counted."""
        lines = [
            line
            for path in EXAMPLE.rglob("*.*")
            if path.suffix in (".py", ".toml")
            for line in path.read_text().splitlines()
            if line
        ]
        self.assertLessEqual(len(lines), 30)

    def test_page(self) -> None:
        """Every file of it stands in the documentation as it is."""
        page = (ROOT / "doc" / "writing-a-dialect.rst").read_text()
        for name in (
            "pyproject.toml",
            "nbd_starttls.py",
            "twisted/plugins/nbd_starttls_plugin.py",
        ):
            text = textwrap.indent((EXAMPLE / name).read_text(), "    ")
            self.assertIn(f"\n\n{text}\n", page)
            self.assertIn(f"``{name}``", page)

    def test_without_network(self) -> None:
        """What the page says of testing a dialect without a network works."""
        page = (ROOT / "doc" / "writing-a-dialect.rst").read_text()
        start = page.index("    from nbd_starttls import dialogue\n")
        program = textwrap.dedent(page[start : page.index("\n\n\n", start)])
        self.assertEqual(program.count("assert"), 3)
        outcome = programs.run(
            sys.executable, "-c", program, PYTHONPATH=f"{EXAMPLE}:{ROOT}"
        )
        self.assertEqual((outcome.status, outcome.err), (0, b""))

    def test_before(self) -> None:
        """Before it is installed there is no such dialect."""
        complaint = installed().before.complaint()
        self.assertIn("-s: no such protocol: 'nbd' (there are: ftp,", complaint)
        self.assertNotIn("nbd)", complaint)
        self.assertEqual(installed().before.status, 100)

    def test_command(self) -> None:
        """
        At once ``-s`` knows it, in any case, and a real server understands it.  That
        it hangs up without close_notify is told, as of any server.
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
        """So do endpoint strings, in a program that imports only Twisted."""
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
        """It is listed where all names are."""
        for known in (
            installed().run("-s", "nonsense", "localhost", "1").err,
            installed().run("starttls:nonsense:localhost", program=TALK).err,
        ):
            self.assertIn("(there are: ftp, imap, ", known)
            self.assertIn(", xmpp-server, nbd)", known)
        told = installed().run("--help").out
        self.assertIn(b"\nOther packages have, for -s: nbd\n", told)

    def test_no_greeting(self) -> None:
        """That it has no greeting is said of it as of ours."""
        description = "starttls:nbd:localhost:greeting=yes"
        outcome = installed().run(description, program=TALK)
        self.assertIn("starttls: greeting: nbd has none", outcome.err)

    def test_attacks(self) -> None:
        """What holds for our dialects holds for it: each of these is refused."""
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
    """What a drop-in may be, good and bad."""

    def setUp(self) -> None:
        """Make a place for drop-ins, and for the modules that they point to."""
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "twisted" / "plugins").mkdir(parents=True)
        self.path = f"{self.folder}{os.pathsep}{ROOT}"

    def drop_in(self, name: str, text: str) -> None:
        """Add one."""
        (self.folder / "twisted" / "plugins" / f"{name}.py").write_text(text)

    def dialect(self, name: str, module: str, text: str) -> None:
        """Add a drop-in for a dialect, and a module with it."""
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
        """Run the command where these are found."""
        return run(*arguments, env=environment(PYTHONPATH=self.path))

    def complaint(self, name: str) -> str:
        """What the command says of a dialect that it cannot use."""
        outcome = self.run_command("-s", name, "localhost", "1")
        self.assertEqual((outcome.status, outcome.out), (111, b""))
        return outcome.complaint()

    def tell(self, program: str) -> object:
        """The JSON that a program prints."""
        outcome = run(
            command=(sys.executable, "-c", f"import json, sys\n{program}"),
            env=environment(PYTHONPATH=self.path),
        )
        self.assertEqual((outcome.status, outcome.err), (0, ""))
        return json.loads(outcome.out)

    def test_comes_and_goes(self) -> None:
        """
        A dialect is there when its drop-in is, and gone when it is: what Twisted has
        noted down of drop-ins in between changes nothing.
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
        Neither the plugin system nor anything of another package is loaded for a
        dialect of ours; and for one of another package, of them only that.
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

    def test_ours_come_first(self) -> None:
        """Nobody takes the name of a dialect of ours."""
        self.dialect("smtp", "mine", "raise SystemExit('loaded')")
        program = (
            "from twisted_tcpclient import registry\n"
            "smtp = registry.find('SMTP')\n"
            "print(json.dumps([smtp.rfc, registry.others()]))"
        )
        self.assertEqual(self.tell(program), ["RFC 3207", []])

    def test_two_of_a_name(self) -> None:
        """Where two packages have a name, none of them is taken, and both are named."""
        for module in ("one", "two"):
            text = "DIALECTS = (Dialect('same', 1, '', None),)"
            self.dialect("same", module, text)
        said = self.complaint("same")
        self.assertEqual(said, "the dialect same is in two packages: one and two")

    def test_unusable(self) -> None:
        """
        A dialect that is announced and is not there is one line, with its name and
        that of its module; under ``twist`` it is an error like any other.
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
        A drop-in that cannot be loaded, whoever brings it, is no reason not to find a
        dialect: it is told in one line, with its place, unless -q is given.
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
        A dialect that raises what it should not is one line, with its name and the
        place; nothing of what the server said is in it.
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
    """The names that a dialect may have."""

    def test_names(self) -> None:
        """A name needs no quotes anywhere; another is an error to whoever gives it."""
        for name in (*NAMES, "x", "9p"):
            self.assertEqual(DialectPlugin(name, "module").name, name)
        for name in ("", "NBD", "a:b", "a b", "-s", "a\n", "a_b", "\xe4"):
            self.assertRaises(ValueError, DialectPlugin, name, "module")


def exchange(dialogue: Any) -> Exchange:
    """A connection behind a dialect that anyone might have written."""
    dialect = Dialect("strange", None, "", dialogue)
    protocol: Any = type("Strange", (Negotiation,), {"dialect": dialect})
    return Exchange(
        lambda tcp, clock: StagedEndpoint(
            tcp, lambda factory, address: protocol("", factory, address, clock, 60)
        )
    )


class BoundsTests(SynchronousTestCase):
    """A dialect of another package is held to the bounds of ours."""

    def failed(self, exchange: Exchange) -> str:
        """What is said of it; the connection is gone, and nothing is left."""
        self.assertIsInstance(exchange.error, DialectFailed)
        self.assertTrue(exchange.wire.disconnecting)
        self.assertEqual((exchange.factory.built, exchange.left), ([], []))
        said = str(exchange.error)
        self.assertTrue(said.startswith("the dialect strange "), said)
        return said

    def test_endless_talk(self) -> None:
        """One that never stops to send is stopped."""

        def dialogue(parameters: Parameters) -> Dialogue:
            for _ in range(1000):
                yield Send(bytes(1000))

        said = self.failed(endless := exchange(dialogue))
        self.assertIn("speaks without end", said)
        self.assertLessEqual(len(endless.wire.value()), MOST)

    def test_endless_questions(self) -> None:
        """One that never has enough is stopped, whether it takes lines or bytes."""
        for step in (LINE, Bytes(7)):

            def dialogue(parameters: Parameters, step: Step = step) -> Dialogue:
                while True:
                    yield step

            asking = exchange(dialogue)
            for _ in range(MOST // 7 + 1):
                asking.hear(b"a line\n")
            self.assertIsInstance(asking.error, BadReply)

    def test_too_many_bytes(self) -> None:
        """One that wants more than may come is not waited for."""
        asking = exchange(lambda parameters: iter([Bytes(1 << 40)]))
        self.assertIsInstance(asking.error, BadReply)

    def test_no_steps(self) -> None:
        """What is no step ends it, and so does nothing at all to send."""
        for step, kind in (
            (None, "NoneType"),
            (b"STARTTLS", "bytes"),
            (Line, "type"),
            (Send(b""), "Send"),
            (Send("STARTTLS"), "Send"),  # type: ignore[arg-type]
            (Bytes(1.5), "Bytes"),  # type: ignore[arg-type]
        ):
            said = self.failed(exchange(lambda parameters, s=step: iter([s])))
            self.assertEqual(
                said, f"the dialect strange yields what is no step: {kind}"
            )

    def test_errors(self) -> None:
        """
        What it raises is kept as the cause; the message has the kind, and nothing of
        what the server said.
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
        """The place is where the dialect was, not where we noticed."""

        def dialogue(parameters: Parameters) -> Dialogue:
            yield Bytes(0)

        path = Path(__file__)
        line = 1 + path.read_text().splitlines().index("            yield Bytes(0)")
        self.assertIn(f"({path}, line {line})", self.failed(exchange(dialogue)))

    def test_nothing(self) -> None:
        """One that has nothing to say leads to TLS at once."""
        self.assertIsNotNone(exchange(lambda parameters: iter(())).result)

    def test_greeting(self) -> None:
        """A greeting that is not made, or not of bytes, is the dialect's fault."""
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

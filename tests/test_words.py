"""Man page, README and the pages in doc/ agree with the program."""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path

from docutils import nodes
from docutils.core import publish_doctree
from twisted.internet.endpoints import quoteStringArgument
from twisted.python.reflect import namedAny
from twisted.trial.unittest import SkipTest, SynchronousTestCase

import twisted_tcpclient
from tests import certificates, servers
from tests.command import (
    PATIENCE,
    ROOT,
    Outcome,
    Peer,
    environment,
    listening,
    run,
    serving,
    together,
)
from tests.packages import find_program
from twisted_tcpclient.command.help import GROUPS
from twisted_tcpclient.command.options import Options
from twisted_tcpclient.facts import Facts, variables
from twisted_tcpclient.settings import ConnectSettings

DOC = ROOT / "doc"
README = ROOT / "README.rst"
MAN_PAGE = DOC / "tcpclient.1.rst"
PACKAGE = ROOT / "twisted_tcpclient"


# Reading pages.


@functools.cache
def page(path: Path) -> nodes.document:
    """
    Return a page as a tree of docutils; raise AssertionError if docutils complains.
    """
    complaints = StringIO()
    document: nodes.document = publish_doctree(
        path.read_text("utf-8"),
        source_path=str(path),
        settings_overrides={
            "report_level": 1,
            "halt_level": 5,
            "syntax_highlight": "none",
            "warning_stream": complaints,
        },
    )
    if complaints.getvalue():
        raise AssertionError(complaints.getvalue())
    return document


def pages() -> list[Path]:
    """Return all pages."""
    return [README, *sorted(DOC.glob("*.rst"))]


def title(section: nodes.section) -> str:
    """Return the title of a section."""
    return section[0].astext()


def section(path: Path, *titles: str) -> nodes.Element:
    """Return a section, found by its title and the titles of the sections around it."""
    found: nodes.Element = page(path)
    for wanted in titles:
        inside = [each for each in found if isinstance(each, nodes.section)]
        (found,) = (each for each in inside if title(each) == wanted)
    return found


def cells(element: nodes.Element) -> list[list[str]]:
    """Return the rows of the first table, without its header."""
    table = next(element.findall(nodes.tbody))
    return [
        [entry.astext() for entry in row.findall(nodes.entry)]
        for row in table.findall(nodes.row)
    ]


def terms(element: nodes.Element) -> list[nodes.term]:
    """Return the terms of a definition list."""
    return list(element.findall(nodes.term))


def literals(element: nodes.Element) -> list[str]:
    """Return the literals in an element."""
    return [each.astext() for each in element.findall(nodes.literal)]


def commands(element: nodes.Element) -> list[str]:
    """Return the commands that the reader is told to type, without the prompt."""
    return [
        line.removeprefix("$ ")
        for block in element.findall(nodes.literal_block)
        for line in block.astext().splitlines()
        if line.startswith("$ ")
    ]


def printed(element: nodes.Element) -> dict[str, list[str]]:
    """Return the lines that are shown below each command to type."""
    found: dict[str, list[str]] = {}
    for block in element.findall(nodes.literal_block):
        below: list[str] = []
        for line in block.astext().splitlines():
            if line.startswith("$ "):
                below = found.setdefault(line.removeprefix("$ "), [])
            elif line:
                below.append(line)
    return found


def alike(shown: str) -> re.Pattern[str]:
    """Return a pattern for a shown line with other hosts, numbers and subjects."""
    parts = re.split(r"(host mail\.example\.org|CN=\S+|[\w.-]+\.org|[\d.]+)", shown)
    return re.compile(
        "".join(
            r"(host )?\S+" if at % 2 else re.escape(part)
            for at, part in enumerate(parts)
        )
    )


# Options.


@dataclass(frozen=True, order=True)
class Option:
    """An option, as the man page, ``--help`` or the parser has it."""

    letter: str
    name: str
    valued: bool


def option_of(item: nodes.option_list_item) -> tuple[Option, set[str]]:
    """Return an option of the man page, and the names of its value there."""
    words = [word.astext() for word in item.findall(nodes.option_string)]
    letters = [word[1:] for word in words if not word.startswith("--")]
    names = [word[2:] for word in words if word.startswith("--")]
    values = {value.astext() for value in item.findall(nodes.option_argument)}
    (name,) = names
    return Option("".join(letters), name, bool(values)), {
        v.strip(" <>") for v in values
    }


def described() -> list[tuple[str, list[tuple[Option, set[str]]]]]:
    """Return the groups of the man page, each with its options."""
    return [
        (title(group), [option_of(i) for i in group.findall(nodes.option_list_item)])
        for group in section(MAN_PAGE, "OPTIONS")
        if isinstance(group, nodes.section)
    ]


def parsed() -> set[Option]:
    """Return the options of the parser."""
    options = Options()
    letters = re.findall("(.)(:?)", options.shortOpt)
    valued = {letter for letter, colon in letters if colon}
    by_name = {options.synonyms[letter]: letter for letter, _ in letters}
    if len(by_name) != len(letters):
        raise AssertionError(f"two letters have one name: {letters}")
    found = set()
    for word in sorted(set(options.longOpt)):
        name = word.removesuffix("=")
        letter = by_name.pop(name, "")
        found.add(Option(letter, name, word.endswith("=")))
        if letter and (letter in valued) != word.endswith("="):
            raise AssertionError(f"-{letter} and --{name} differ in taking a value")
    if by_name:
        raise AssertionError(f"letters without a name: {by_name}")
    return found


class OptionTests(SynchronousTestCase):
    """Man page, ``--help`` and parser have the same options."""

    def test_same_options(self) -> None:
        """
        Man page, ``--help`` and parser have the same letters and long names, and agree
        which take a value.
        """
        page = {option for _, group in described() for option, _ in group}
        shown = {
            Option(entry.letter, entry.name, bool(entry.value))
            for _, entries in GROUPS
            for entry in entries
        }
        self.assertEqual(sorted(page), sorted(shown))
        self.assertEqual(sorted(page), sorted(parsed()))

    def test_same_order(self) -> None:
        """
        The man page has the groups of ``--help``, in the same order, with the same
        names of values.
        """
        self.assertEqual(
            [(name, [(o.name, value) for o, value in g]) for name, g in described()],
            [
                (name, [(e.name, {e.value} if e.value else set()) for e in entries])
                for name, entries in GROUPS
            ],
        )

    def test_defaults(self) -> None:
        """The defaults in the man page are those of the parser."""
        told = {
            option.name: item.astext()
            for item in section(MAN_PAGE, "OPTIONS").findall(nodes.option_list_item)
            for option, _ in [option_of(item)]
        }
        options = Options()
        first, second = re.findall(
            r"default is (\d+)\+(\d+)", told["connect-timeout"]
        ).pop()
        self.assertEqual(int(first) + int(second), ConnectSettings().attempt_timeout)
        for name, key in (("idle-timeout", "idle"), ("lookup-timeout", None)):
            (seconds,) = re.findall(r"default\s+is\s+(\d+)", told[name])
            self.assertEqual(int(seconds), options[key or name], name)


# Texts of the source.


@functools.cache
def constants() -> tuple[tuple[re.Pattern[str], ...], frozenset[str]]:
    """
    Return the texts of the package: as patterns, in which .+ stands for values, and
    whole.
    """
    patterns, words = [], set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.add(node.value)
                patterns.append(re.escape(node.value))
            elif isinstance(node, ast.JoinedStr):
                parts = [
                    re.escape(str(part.value))
                    if isinstance(part, ast.Constant)
                    else ".+"
                    for part in node.values
                ]
                patterns.append("".join(parts))
    telling = [p for p in patterns if len(p.replace(".+", "")) > 9]
    return tuple(re.compile(pattern) for pattern in telling), frozenset(words)


class ManPageTests(SynchronousTestCase):
    """The man page except for its options."""

    def render(self) -> Path:
        """Make the man page; fail if docutils complains."""
        output = Path(self.mktemp())
        made = run(
            *("-m", "docutils", "--writer=manpage", "--strict"),
            *(str(MAN_PAGE), str(output)),
            command=(sys.executable,),
        )
        self.assertEqual((made.status, made.err), (0, ""))
        return output

    def test_mandoc(self) -> None:
        """Mandoc finds no error in the man page."""
        mandoc = find_program("mandoc", "mandoc")
        path = str(self.render())
        lint = run("-T", "lint", "-W", "error", path, command=(mandoc,))
        self.assertEqual((lint.status, lint.out), (0, b""))

    def test_man(self) -> None:
        """Man shows the man page without a warning."""
        man = find_program("man", "man-db")
        path = str(self.render().absolute())
        shown = run(
            *("--warnings", "--local-file", path),
            command=(man,),
            env=environment(LC_ALL="C.UTF-8", MANWIDTH="80"),
        )
        if b"minimized" in shown.out:
            raise SkipTest("this system has no man pages (minimized Debian)")
        self.assertEqual((shown.status, shown.err), (0, ""))
        self.assertIn(b"EXIT STATUS", shown.out)

    def test_index_command(self) -> None:
        """The command in doc/index.rst makes the man page."""
        (line,) = (
            literal.astext()
            for literal in page(DOC / "index.rst").findall(nodes.literal)
            if "--writer=manpage" in literal.astext()
        )
        output = Path(self.mktemp()).absolute()
        words = [sys.executable, *line.split()[1:-1], str(output)]
        subprocess.run(words, cwd=ROOT, check=True, timeout=PATIENCE)
        self.assertIn(".TH", output.read_text("utf-8"))

    def test_messages(self) -> None:
        """Every message in the man page occurs in the source."""
        messages = [
            literal.astext()
            for term in terms(section(MAN_PAGE, "MESSAGES"))
            for literal in term.findall(nodes.literal)
        ]
        self.assertGreater(len(messages), 30)
        patterns, _ = constants()
        for message in messages:
            text = re.sub("<[a-z]+>", "x", message.removeprefix("<where>: "))
            known = any(pattern.fullmatch(text) for pattern in patterns)
            self.assertTrue(known, f"nothing in the source prints {message!r}")

    def test_variables_read(self) -> None:
        """Every variable that the man page says is read occurs in the source."""
        elsewhere = {"SSL_CERT_FILE", "SSL_CERT_DIR", "PATH"}
        names = self.variables("What is read")
        _, words = constants()
        self.assertLessEqual(names - elsewhere, words)
        self.assertLessEqual(
            {word for word in words if re.fullmatch("(TLS_|SERVER|CERT)[A-Z_]+", word)},
            names | set(variables(Facts("TCP"))),
        )

    def test_variables_set(self) -> None:
        """The man page lists exactly the variables that are set for prog."""
        self.assertEqual(
            self.variables("What is set for prog"), set(variables(Facts("TCP")))
        )

    def variables(self, heading: str) -> set[str]:
        """Return the variables in a section of ENVIRONMENT."""
        found = terms(section(MAN_PAGE, "ENVIRONMENT", heading))
        return {name for term in found for name in term.astext().split(", ")}


# Commands to run.


@dataclass(frozen=True)
class Recipe:
    """
    The server and the input for a command, and the expected output.

    :ivar server: Starts the server; yields replacements for hosts, ports and paths.
    :ivar typed: The input.
    :ivar out: A part of the expected output.
    :ivar err: A part of the expected messages; "" if there must be none.
    """

    server: Callable[[], contextlib.AbstractContextManager[dict[str, str]]]
    typed: bytes = b""
    out: bytes = b""
    err: str = ""


@contextlib.contextmanager
def postfix() -> Iterator[dict[str, str]]:
    """Replace hosts and ports by those of Postfix."""
    server = servers.postfix()
    yield {
        "mail.example.org 25": f"localhost {server.smtp}",
        "smtp:mail.example.org": f"smtp:localhost:{server.smtp}",
        "mail.example.org 465": f"localhost {server.smtps}",
        " 0 25": f" 0 {server.smtp}",
        "127.0.0.1 25": f"127.0.0.1 {server.smtp}",
        "127.0.0.1 465": f"127.0.0.1 {server.smtps}",
        "/etc/indimail/certs/clientcert.pem": str(certificates.shared().client),
    }


@contextlib.contextmanager
def dovecot() -> Iterator[dict[str, str]]:
    """Replace hosts and ports by those of Dovecot."""
    server = servers.dovecot()
    yield {
        "mail.example.org 143": f"localhost {server.imap}",
        "mail.example.org 993": f"localhost {server.imaps}",
        "mail.example.org:993": f"localhost:{server.imaps}",
        " 0 110": f" 0 {server.pop3}",
        " 0 143": f" 0 {server.imap}",
    }


def following(script: Callable[[Peer], None], words: str, out: bytes = b"") -> Recipe:
    """
    Return a recipe whose server follows a script over TLS instead of this host and
    port.
    """

    def prepared(peer: Peer) -> None:
        peer.secure()
        script(peer)
        peer.finish()

    @contextlib.contextmanager
    def server() -> Iterator[dict[str, str]]:
        with serving(prepared) as served:
            port = served.arguments[-1]
            host = "0" if words.startswith("0 ") else "localhost"
            yield {f" {words}": f" {host} {port}"}

    return Recipe(server, out=out)


def echo(peer: Peer) -> None:
    """Send back all bytes received, after EOF."""
    peer.send(peer.rest())


def welcome(peer: Peer) -> None:
    """Send a line and wait for one."""
    peer.send(b"hi\n")
    peer.line()


@contextlib.contextmanager
def unix(words: str, secure: bool = False) -> Iterator[dict[str, str]]:
    """Send a line on a UNIX socket, which replaces a path or an abstract name."""

    def script(peer: Peer) -> None:
        if secure:
            peer.secure()
        welcome(peer)
        peer.finish()

    with (
        tempfile.TemporaryDirectory(prefix="socket-") as folder,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        abstract = words.startswith("@")
        name = f"@{Path(folder).name}" if abstract else f"{folder}/s"
        listener.bind(f"\0{name[1:]}" if abstract else name)
        with listening(listener, script):
            client = str(certificates.shared().client)
            yield {words: name, "/etc/indimail/certs/clientcert.pem": client}


IMAGE = os.urandom(300_000)


def backup(peer: Peer) -> None:
    """Read until EOF, and reply with the hash."""
    peer.send(hashlib.sha256(peer.rest()).hexdigest().encode() + b"\n")


def files(peer: Peer) -> None:
    """Send the content of a file."""
    peer.send(IMAGE)


@contextlib.contextmanager
def www() -> Iterator[dict[str, str]]:
    """Reply to an HTTP request over TLS."""

    def script(peer: Peer) -> None:
        peer.secure()
        assert peer.line() == b"GET / HTTP/1.0\r\n"
        peer.send(b"HTTP/1.0 200 OK\r\n\r\nhi\n")
        peer.finish()

    with serving(script) as served:
        yield {"www.example.org:443": f"localhost:{served.arguments[-1]}"}


BACKUP = "tcpclient --shutdown now --tls backup.example.org 7000 <disk.img >receipt"
GET = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | tcpclient -E tls:www.example.org:443"

SAID_HELLO = Recipe(postfix, b"EHLO me\nQUIT\n", b"221 ")

CLIENTS = "Be the tunnel of mutt, ssh, git and others"

README_RECIPES = {
    "tcpclient -v -RHl0 -s smtp mail.example.org 25 true": Recipe(
        postfix, err="verified as localhost"
    ),
    "tcpclient -v -RHl0 -s imap mail.example.org 143 true": Recipe(
        dovecot, err="verified as localhost"
    ),
    "tcpclient -v -RHl0 --tls mail.example.org 465 true": Recipe(
        postfix, err="verified as localhost"
    ),
    "tcpclient --crlf -s smtp mail.example.org 25": SAID_HELLO,
    "tcpclient --crlf --tls mail.example.org 993": Recipe(
        dovecot, b"a CAPABILITY\nb LOGOUT\n", b"b OK"
    ),
    "printf 'a CAPABILITY\\nb LOGOUT\\n' |"
    " tcpclient --crlf -s imap mail.example.org 143": Recipe(dovecot, out=b"b OK"),
    "tcpclient -s imap mail.example.org 143 sh -c"
    " 'printf \"a LOGOUT\\r\\n\" >&7; cat <&6'": Recipe(dovecot, out=b"a OK"),
    "tcpclient -s smtp mail.example.org 25 python3 doc/examples/hello.py": Recipe(
        postfix, out=b"server: 221 "
    ),
    BACKUP: following(backup, "backup.example.org 7000"),
    "tcpclient --tls files.example.org 7001 </dev/null >copy.img": following(
        files, "files.example.org 7001"
    ),
    "tcpclient -a 0 -s imap --greeting mail.example.org 143": Recipe(
        dovecot, b"a LOGOUT\r\n", b"* OK ready\r\n"
    ),
    GET: Recipe(www, out=b"HTTP/1.0 200 OK\r\n"),
    "printf 'QUIT\\r\\n' | tcpclient -E starttls:smtp:mail.example.org": Recipe(
        postfix, out=b"221 "
    ),
    "tcpclient -E tls:mail.example.org:993 sh -c"
    " 'printf \"a LOGOUT\\r\\n\" >&7; cat <&6'": Recipe(dovecot, out=b"a OK"),
    "tcpclient /run/example.sock": Recipe(
        lambda: unix("/run/example.sock"), b"bye\n", b"hi\n"
    ),
    "tcpclient @example": Recipe(lambda: unix("@example"), b"bye\n", b"hi\n"),
    "tcpclient --tls -m mail.example.org /run/example.sock": Recipe(
        lambda: unix("/run/example.sock", secure=True), b"bye\n", b"hi\n"
    ),
}

#: Commands that are run by other tests: test_demo, run, test_packaging and test_mail.
RUN_ELSEWHERE = {
    "make demo",
    "make test",
    "python3 -m pip install .",
    "tcpserver -RHl0 127.0.0.1 2525 tcpclient -s smtp --greeting mail.example.org 25",
}

MAN_RECIPES = (
    Recipe(postfix, b"EHLO me\r\nQUIT\r\n", b"221 "),
    Recipe(dovecot, b"CAPA\r\nQUIT\r\n", b"+OK"),
    Recipe(dovecot, out=b"a OK"),
    Recipe(dovecot, b"a LOGOUT\r\n", b"a OK"),
    Recipe(postfix, b"QUIT\r\n", b"221 "),
    Recipe(postfix, b"QUIT\r\n", b"221 "),
    following(echo, "0 5555", b"hello\n"),
    Recipe(lambda: unix("/run/indimail/smtpd", secure=True), b"bye\n", b"hi\n"),
    Recipe(postfix, err="verified as localhost"),
    Recipe(dovecot, b"a LOGOUT\r\n", b"* OK ready\r\n"),
    Recipe(www, out=b"HTTP/1.0 200 OK\r\n"),
    Recipe(postfix, b"QUIT\r\n", b"221 "),
)


class RecipeTests(SynchronousTestCase):
    """Commands in README and man page, run as printed."""

    def setUp(self) -> None:
        """Make ``tcpclient`` a command, and set up files and certificates."""
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "bin").mkdir(parents=True)
        tool = self.folder / "bin" / "tcpclient"
        tool.write_text(f'#!/bin/sh\nexec {sys.executable} -m twisted_tcpclient "$@"\n')
        tool.chmod(0o755)
        (self.folder / "bin" / "python3").symlink_to(sys.executable)
        (self.folder / "doc").symlink_to(DOC)
        (self.folder / "disk.img").write_bytes(IMAGE)
        shared = certificates.shared()
        directory = self.folder / "certs"
        directory.mkdir()
        shutil.copy(shared.client, directory / "clientcert.pem")
        shutil.copy(shared.ca, directory / "serverca.pem")
        path = os.pathsep.join((str(self.folder / "bin"), os.environ["PATH"]))
        self.environment = environment(
            PATH=path,
            CERTDIR=str(directory),
            TLS_CERTFILE="clientcert.pem",
            SSL_CERT_FILE=str(shared.ca),
        )

    def type(self, line: str, recipe: Recipe) -> Outcome:
        """Run a command against a server of the tests; check its output."""
        with recipe.server() as places:
            # Replace all in one pass: a port of the tests may begin like a printed one.
            printed = "|".join(map(re.escape, places))
            line = re.sub(printed, lambda match: places[match[0]], line)
            # The certificates of the tests are for mail.example.test.
            line = line.replace("-m mail.example.org", "-m mail.example.test")
            outcome = run(
                *("-c", line),
                data=recipe.typed,
                command=("/bin/sh",),
                env=self.environment,
                cwd=self.folder,
            )
        self.assertEqual(outcome.status, 0, f"{line}: {outcome.err}")
        self.assertIn(recipe.out, outcome.out, line)
        self.assertIn(recipe.err, outcome.err, line)
        if not recipe.err:
            self.assertEqual(outcome.err, "", line)
        return outcome

    def type_and_compare(self, line: str, recipe: Recipe) -> None:
        """Run a line of the README; it prints what stands below it, among others."""
        outcome = self.type(line, recipe)
        said = outcome.out.decode("ascii", "replace").splitlines()
        said += outcome.err.splitlines()
        for shown in printed(page(README))[line]:
            pattern = alike(shown)
            self.assertTrue(any(map(pattern.fullmatch, said)), f"{shown}: {said}")

    def type_all(
        self, recipes: Mapping[str, Recipe], run_line: Callable[[str, Recipe], object]
    ) -> None:
        """Run lines side by side."""
        # `functools.cache` does not keep two threads from starting two servers.
        servers.postfix()
        servers.dovecot()
        together({line: partial(run_line, line, r) for line, r in recipes.items()})

    def test_readme_is_run(self) -> None:
        """Every command in the README is run by a test."""
        self.assertEqual(set(commands(page(README))), {*README_RECIPES, *RUN_ELSEWHERE})

    def test_readme(self) -> None:
        """Every recipe of the README works as printed, and prints what is shown."""
        self.type_all(README_RECIPES, self.type_and_compare)
        receipt = (self.folder / "receipt").read_text()
        self.assertEqual(receipt.strip(), hashlib.sha256(IMAGE).hexdigest())
        self.assertEqual((self.folder / "copy.img").read_bytes(), IMAGE)

    def test_man_page(self) -> None:
        """Every example in the man page works as printed."""
        examples = commands(section(MAN_PAGE, "EXAMPLES"))
        self.type_all(dict(zip(examples, MAN_RECIPES, strict=True)), self.type)

    def test_clients(self) -> None:
        """The lines for client programs are those of the man page, which are tested."""
        tunnels = section(README, "What people do with it", CLIENTS)
        (table,) = tunnels.findall(nodes.table)
        lines = {" ".join(each.split()) for each in literals(table)}
        known = {" ".join(each.split()) for each in literals(page(MAN_PAGE))}
        self.assertGreater(len(lines), 3)
        self.assertEqual(lines - known, set())

    def test_make(self) -> None:
        """The ``make`` commands in the README are targets of the Makefile."""
        makefile = (ROOT / "Makefile").read_text("utf-8")
        for line in commands(page(README)):
            if line.startswith("make "):
                self.assertIn(f"\n{line.removeprefix('make ')}:", makefile)


class PythonTests(SynchronousTestCase):
    """The program in the README."""

    def run_it(self, authorities: Path) -> Outcome:
        """Run it with a string for Postfix, trusting these authorities."""
        (code,) = (
            block.astext()
            for block in page(README).findall(nodes.literal_block)
            if block.astext().startswith("import ")
        )
        path = Path(self.mktemp()).absolute()
        path.write_text(f"{code}\n", "utf-8")
        trusted = quoteStringArgument(str(authorities))
        description = f"starttls:smtp:localhost:{servers.postfix().smtp}"
        argument = f"{description}:trustRoots={trusted}"
        return run(str(path), argument, command=(sys.executable,))

    def test_works(self) -> None:
        """It sends EHLO over TLS and prints the answer."""
        outcome = self.run_it(certificates.shared().ca)
        self.assertEqual((outcome.status, outcome.err), (0, ""))
        self.assertIn(b"'250 ", outcome.out)
        self.assertIn(b"'221 ", outcome.out)

    def test_verifies(self) -> None:
        """It sends nothing to a server whose certificate is not verified."""
        outcome = self.run_it(certificates.shared().stranger_ca)
        self.assertEqual((outcome.status, outcome.out), (1, b""))
        self.assertIn(": certificate verification failed: ", outcome.err)

    def test_endpoints(self) -> None:
        """Every endpoint in the table is where the table says."""
        rows = cells(section(README, "In your own program", "Endpoints"))
        for name, module, _ in rows:
            found = importlib.import_module(f"twisted_tcpclient.{module}")
            self.assertTrue(callable(getattr(found, name)), name)


# All pages.


class PageTests(SynchronousTestCase):
    """README and the pages in doc/."""

    def test_parse(self) -> None:
        """
        Docutils has no complaint about any page, and no single backticks are left in
        one.
        """
        for path in pages():
            self.assertEqual(list(page(path).findall(nodes.title_reference)), [], path)

    def test_links(self) -> None:
        """Every relative link of a page leads to a file that exists."""
        for path in pages():
            for reference in page(path).findall(nodes.reference):
                target = reference.get("refuri", "")
                if target and not re.match("[a-z]+:", target):
                    self.assertTrue(
                        (path.parent / target).exists(), f"{path}: {target}"
                    )

    def test_index(self) -> None:
        """The index links to every page."""
        links = {
            reference.get("refuri")
            for reference in page(DOC / "index.rst").findall(nodes.reference)
        }
        names = {path.name for path in pages() if path.parent == DOC}
        self.assertLessEqual(names - {"index.rst"}, links)

    def test_version(self) -> None:
        """Man page and changelog begin with the version of the package."""
        version = twisted_tcpclient.__version__
        changes = [
            title(each)
            for each in page(DOC / "changelog.rst")
            if isinstance(each, nodes.section)
        ]
        # docutils takes a single section as the subtitle of its page.
        changes += [
            s.astext() for s in page(DOC / "changelog.rst").findall(nodes.subtitle)
        ]
        self.assertEqual(changes[0].split()[0], version)
        (told,) = page(MAN_PAGE).findall(nodes.version)
        self.assertEqual(told.astext(), version)

    def test_bounds(self) -> None:
        """The bounds in doc/security.rst are those in the code."""
        rows = cells(section(DOC / "security.rst", "Bounds"))
        self.assertGreater(len(rows), 3)
        for what, bound, where in rows:
            value = namedAny(f"twisted_tcpclient.{where}")
            self.assertEqual(float(bound), value, what)

    def test_promises(self) -> None:
        """Each promise in doc/security.rst names tests, and these tests exist."""
        for name in (
            "What is verified",
            "What is never done",
            "What is shown, and how",
        ):
            items = [*section(DOC / "security.rst", name).findall(nodes.list_item)]
            self.assertGreater(len(items), 3)
            for item in items:
                tests = [each for each in literals(item) if each.startswith("tests.")]
                self.assertGreater(len(tests), 0, item.astext())
        for literal in literals(page(DOC / "security.rst")):
            if literal.startswith("tests."):
                self.assertIsNotNone(namedAny(literal))

    def test_faults(self) -> None:
        """Each fault of the C program is named with a class of tests that exists."""
        page_of_faults = section(DOC / "differences.rst", "The seventeen faults")
        found = terms(page_of_faults)
        numbers = [term.astext().partition(":")[0] for term in found]
        self.assertEqual(numbers, [f"Fault {number}" for number in range(1, 18)])
        for number, item in enumerate(
            page_of_faults.findall(nodes.definition_list_item), 1
        ):
            *_, name = (each.astext() for each in item.findall(nodes.literal))
            self.assertEqual(name, f"tests.test_faults.Fault{number:02}")
            module, _, case = name.rpartition(".")
            tests = vars(getattr(importlib.import_module(module), case))
            self.assertTrue(any(each.startswith("test_") for each in tests), name)

    def test_files(self) -> None:
        """Every file of the project that a page names exists."""
        for path in pages():
            for literal in page(path).findall(nodes.literal):
                name = literal.astext()
                if re.fullmatch(r"(tests|doc|twisted_tcpclient|\.ci)/[\w./]+", name):
                    self.assertTrue((ROOT / name).exists(), f"{path}: {name}")

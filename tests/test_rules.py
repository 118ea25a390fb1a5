"""Rules of the source: which module may import which, and names that may not occur."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "twisted_tcpclient"
DROP_IN = ROOT / "twisted" / "plugins" / "twisted_tcpclient_plugin.py"
TESTS = ROOT / "tests"

ARCHITECTURE = ROOT / "doc" / "architecture.rst"

#: Modules that import the global reactor, as a run begins there.
BEGINNINGS = {"command.console", "command.service"}


@cache
def modules() -> dict[str, ast.Module]:
    """Return the syntax trees of the modules of the package, by name."""
    result = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        result[name] = ast.parse(path.read_text(), str(path))
    return result


def imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """
    Yield each import anywhere in a tree: the module, and the name imported from it.

    The name is "" if the module itself is imported.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead"
            for alias in node.names:
                yield node.module or "", alias.name


def attributes(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield each attribute of a plain name, as in ``os.environ``: both names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.value.id, node.attr


def short(name: str) -> str:
    """Return a module's name without that of the package."""
    return name.partition(".")[2]


def room(name: str) -> str:
    """Return the room of a module, whose name is given without the package."""
    return name.partition(".")[0] or "__init__"


def picture() -> dict[str, set[str]]:
    """
    Return the picture of the architecture page: each room, from the top down, with the
    rooms that its arrow leads to.
    """
    _, _, after = ARCHITECTURE.read_text().partition("The rooms\n=")
    _, _, drawn = after.partition("::\n\n")
    block, _, _ = drawn.partition("\n\n")
    lines = re.findall(r"^    (\w+) +(?:-> ([\w, ]+?))?(?:  |$)", block, re.MULTILINE)
    return {name: set(re.findall(r"\w+", arrow)) for name, arrow in lines}


def reached(rooms: dict[str, set[str]], name: str) -> set[str]:
    """Return the rooms that a room leads to, directly or by way of others."""
    return rooms[name].union(*(reached(rooms, other) for other in rooms[name]))


def known(name: str) -> set[str]:
    """Return the modules of the package that a module imports, by full name."""
    found = set()
    for module, imported in imports(modules()[name]):
        inner = f"{module}.{imported}"
        found.add(inner if inner in modules() else module)
    return found & modules().keys()


def private(name: str) -> bool:
    """Tell whether a name is private."""
    return name.startswith("_") and not name.startswith("__")


class ImportTests(SynchronousTestCase):
    """Which module may import which."""

    def importers(self, *packages: str) -> set[str]:
        """Return the modules that import one of these packages."""
        return {
            short(name)
            for name, tree in modules().items()
            for module, _ in imports(tree)
            if module.partition(".")[0] in packages
        }

    def test_there_are_modules(self) -> None:
        """The package has modules to check."""
        self.assertGreater(len(modules()), 15)
        self.assertIn("twisted_tcpclient.dialects.smtp", modules())

    def test_rooms(self) -> None:
        """
        The picture of the architecture page is the graph of imports between rooms,
        without the arrows that other arrows imply, and each arrow leads down.
        """
        graph: dict[str, set[str]] = {room(short(name)): set() for name in modules()}
        for name in modules():
            found = {room(short(other)) for other in known(name)}
            graph[room(short(name))] |= found - {room(short(name)), "__init__"}
        del graph["__init__"]
        drawn = picture()
        direct = {
            name: {
                other
                for other in others
                if not any(other in reached(graph, third) for third in others)
            }
            for name, others in graph.items()
        }
        self.assertEqual(drawn, direct)
        order = list(drawn)
        for name, others in drawn.items():
            for other in others:
                self.assertLess(order.index(name), order.index(other), name)

    def test_places(self) -> None:
        """The table of the architecture page names modules and rooms that are there."""
        _, _, table = ARCHITECTURE.read_text().partition("Where does it go?")
        for row in re.split("\n(?=[a-z])", table):
            for name in re.findall("``([a-z_]+/[a-z_.]*)``", row):
                planned = "a new room" in row or name == "stages/tunnel.py"
                self.assertEqual((PACKAGE / name).exists(), not planned, row)

    def test_no_circle(self) -> None:
        """
        No module imports itself through other modules, not even within a function.
        """
        graph = {name: known(name) for name in modules()}
        while graph:
            free = {name for name, other in graph.items() if not other & graph.keys()}
            self.assertTrue(free, f"imports in a circle: {sorted(graph)}")
            graph = {name: graph[name] for name in graph.keys() - free}

    def test_no_twisted(self) -> None:
        """
        Dialogues, dialects, errors, settings and text import the standard library only;
        settings also import idna.
        """
        pure = ("dialogue", "dialects", "errors", "settings", "text")
        for name, tree in modules().items():
            if room(short(name)) in pure:
                outside = {
                    module.partition(".")[0]
                    for module, _ in imports(tree)
                    if module not in modules()
                }
                allowed = {"idna"} if short(name) == "settings" else set()
                self.assertLessEqual(outside - sys.stdlib_module_names, allowed, name)

    def test_idna(self) -> None:
        """Only settings import idna, so that a name is converted in one way."""
        self.assertEqual(self.importers("idna"), {"settings"})

    def test_tls(self) -> None:
        """Only tls imports OpenSSL, cryptography and service_identity."""
        found = self.importers("OpenSSL", "cryptography", "service_identity")
        self.assertEqual({room(name) for name in found}, {"tls"})

    def test_reactor(self) -> None:
        """Only the modules where a run begins import the global reactor."""
        found = {
            short(name)
            for name, tree in modules().items()
            for module, imported in imports(tree)
            if f"{module}.{imported}".startswith("twisted.internet.reactor")
        }
        self.assertEqual(found, BEGINNINGS)

    def test_argv(self) -> None:
        """Only ``__main__`` reads argv."""
        found = {
            short(name)
            for name, tree in modules().items()
            if ("sys", "argv") in {*attributes(tree), *imports(tree)}
        }
        self.assertEqual(found, {"__main__"})

    def test_environment(self) -> None:
        """
        Only the command reads the environment and hands it on as a value; ``ucspi``
        reads it for the endpoint string of that name, and forgets it.
        """
        names = ("environ", "environb", "getenv", "getenvb", "putenv", "unsetenv")
        found = {
            room(short(name))
            for name, tree in modules().items()
            for module, attribute in (*attributes(tree), *imports(tree))
            if module == "os" and attribute in names
        }
        self.assertEqual(found, {"command", "ucspi"})

    def test_stderr(self) -> None:
        """Only the command writes messages to the user."""
        for name in modules():
            if room(short(name)) not in ("command", "__main__"):
                self.assertNotIn("twisted_tcpclient.command.messages", known(name))


class TwistedTests(SynchronousTestCase):
    """The way in which Twisted is used."""

    def test_no_private_imports(self) -> None:
        """No module and no test imports a private name."""
        trees = dict(modules())
        for path in (DROP_IN, *sorted(TESTS.rglob("*.py"))):
            trees[path.name] = ast.parse(path.read_text(), str(path))
        for name, tree in trees.items():
            for module, imported in imports(tree):
                for part in (*module.split("."), imported):
                    self.assertFalse(private(part), (name, module, imported))

    def test_no_private_attributes(self) -> None:
        """No module uses a private attribute of another object, except os._exit."""
        for name, tree in modules().items():
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and private(node.attr):
                    owner = node.value.id if isinstance(node.value, ast.Name) else ""
                    # os._exit is documented in spite of its underscore.
                    if (owner, node.attr) != ("os", "_exit"):
                        self.assertEqual(owner, "self", (name, node.lineno, node.attr))

    def test_no_private_collisions(self) -> None:
        """
        No class of the package has a private attribute with the name of one in its
        Twisted base class, which it would overwrite.
        """
        checked = 0
        for name in modules():
            if name == "twisted_tcpclient.__main__":
                continue
            for owner in self.classes(import_module(name)):
                ours: set[str] = set()
                theirs: set[str] = set()
                for base in owner.__mro__:
                    if base.__module__.startswith("twisted_tcpclient"):
                        ours |= self.private_names(base)
                    elif base.__module__.startswith("twisted."):
                        checked += 1
                        theirs |= self.private_names(base)
                self.assertEqual(ours & theirs, set(), owner)
        self.assertGreater(checked, 10)

    def classes(self, module: ModuleType) -> list[type[Any]]:
        """Return the classes that a module defines."""
        return [
            value
            for value in vars(module).values()
            if isinstance(value, type) and value.__module__ == module.__name__
        ]

    def private_names(self, owner: type[Any]) -> set[str]:
        """
        Return the private names that the source of a class gives to its instances.
        """
        tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(owner)))
        named = {attribute for name, attribute in attributes(tree) if name == "self"}
        return {name for name in named | vars(owner).keys() if private(name)}

    def test_no_start_tls(self) -> None:
        """No module calls startTLS, or assigns the protocol of a transport."""
        for name, tree in modules().items():
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute):
                    self.assertNotEqual(node.attr, "startTLS", name)
                    if isinstance(node.ctx, ast.Store):
                        self.assertNotEqual(node.attr, "protocol", name)

    def test_no_print(self) -> None:
        """No module calls print, whose output goes to the log under ``twist``."""
        found = {
            short(name)
            for name, tree in modules().items()
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and node.id == "print"
        }
        self.assertEqual(found, set())

    def test_drop_in(self) -> None:
        """
        The drop-in for ``twist`` is in namespace packages, where Twisted looks for
        plugins.  It imports nothing of the package but `strings`, as every use of any
        plugin loads it.
        """
        for folder in (DROP_IN.parent, DROP_IN.parent.parent):
            self.assertFalse((folder / "__init__.py").exists())
        for module, _ in imports(ast.parse(DROP_IN.read_text())):
            ours = module.startswith("twisted_tcpclient")
            self.assertTrue(not ours or module == "twisted_tcpclient.strings", module)
            self.assertNotIn("OpenSSL", module)


class StartTests(SynchronousTestCase):
    """
    Modules that are loaded at start, which takes time before the connection is made.
    """

    def loaded(self, *names: str) -> set[str]:
        """Return the modules that are loaded after these imports."""
        code = (
            "import json, sys\n"
            + "".join(f"import {name}\n" for name in names)
            + "json.dump(list(sys.modules), sys.stdout)"
        )
        process = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, check=True
        )
        return set(json.loads(process.stdout))

    def test_plain(self) -> None:
        """Without TLS the command loads neither tls, stages, dialects nor --help."""
        loaded = self.loaded("twisted_tcpclient.command.console")
        self.assertIn("twisted_tcpclient.command.session", loaded)
        for name in (
            *("tls", "endpoints", "stages", "plugin", "dialects"),
            *("command.described", "command.help"),
        ):
            self.assertNotIn(f"twisted_tcpclient.{name}", loaded)

    def test_garbage(self) -> None:
        """
        Objects that are loaded at start are frozen, so that garbage collection skips
        them; collection is enabled for the objects of a session.
        """
        code = (
            "import gc, twisted_tcpclient.command.console as console\n"
            "console.run = lambda _: print(gc.isenabled(), gc.get_freeze_count() > 0)\n"
            "from twisted_tcpclient.__main__ import main\n"
            "main()"
        )
        process = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, check=True
        )
        self.assertEqual(process.stdout, b"True True\n")

    def test_no_reactor(self) -> None:
        """Importing any module except ``__main__`` installs no reactor."""
        names = [name for name in modules() if name != "twisted_tcpclient.__main__"]
        self.assertNotIn("twisted.internet.reactor", self.loaded(*names))

    def test_dialects(self) -> None:
        """
        A dialect can be imported without Twisted and without the errors of the package.
        """
        loaded = self.loaded("twisted_tcpclient.dialects.imap")
        self.assertIn("twisted_tcpclient.dialogue", loaded)
        self.assertNotIn("twisted", loaded)
        self.assertNotIn("twisted_tcpclient.errors", loaded)


class DocumentationTests(SynchronousTestCase):
    """The documentation of the tests."""

    def test_docstrings(self) -> None:
        """Every test has a docstring."""
        counted = 0
        for path in sorted(TESTS.rglob("test_*.py")):
            for node in ast.walk(ast.parse(path.read_text(), str(path))):
                if isinstance(
                    node, (ast.FunctionDef, ast.AsyncFunctionDef)
                ) and node.name.startswith("test"):
                    counted += 1
                    said = ast.get_docstring(node) or ""
                    where = f"{path.name}:{node.lineno} {node.name}"
                    self.assertGreater(len(said), 10, where)
        self.assertGreater(counted, 300)

    def test_no_sleep(self) -> None:
        """No test module calls time.sleep: tests wait for events."""
        for path in sorted(TESTS.rglob("test_*.py")):
            tree = ast.parse(path.read_text(), str(path))
            self.assertNotIn(("time", "sleep"), {*attributes(tree), *imports(tree)})

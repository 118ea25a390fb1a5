"""
Rules of the house: who may know what, and what is written nowhere.
"""

from __future__ import annotations

import ast
import inspect
import json
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

#: Where a run begins: the command, and ``twist``.
BEGINNINGS = {"console", "service"}


@cache
def modules() -> dict[str, ast.Module]:
    """The modules of the package, by name."""
    result = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts).removesuffix(".__init__")
        result[name] = ast.parse(path.read_text(), str(path))
    return result


def imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """
    All that is imported anywhere: the module, and the name out of it, or
    nothing where it is the module itself.
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
    """All that is asked of a plain name, as in ``os.environ``: both names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node.value.id, node.attr


def short(name: str) -> str:
    """A module's name without that of the package."""
    return name.partition(".")[2]


def packages(names: set[str]) -> set[str]:
    """The packages of modules, or themselves where they are in none."""
    return {name.partition(".")[0] for name in names}


def private(name: str) -> bool:
    """Whether a name is somebody's own affair."""
    return name.startswith("_") and not name.startswith("__")


class ImportTests(SynchronousTestCase):
    """Which module may know which other."""

    def importers(self, *packages: str) -> set[str]:
        """The modules that import anything of these."""
        return {
            short(name)
            for name, tree in modules().items()
            for module, _ in imports(tree)
            if module.partition(".")[0] in packages
        }

    def test_there_are_modules(self) -> None:
        """The rules have something to rule."""
        self.assertGreater(len(modules()), 15)
        self.assertIn("twisted_tcpclient.dialects.smtp", modules())

    def test_dialects(self) -> None:
        """Dialects know the standard library, the engine, and each other."""
        for name, tree in modules().items():
            if name.startswith("twisted_tcpclient.dialects"):
                for module, _ in imports(tree):
                    top = module.partition(".")[0]
                    ours = module.removeprefix("twisted_tcpclient.").partition(".")[0]
                    self.assertTrue(
                        top in sys.stdlib_module_names
                        or ours in ("dialects", "dialogue"),
                        (name, module),
                    )

    def test_errors(self) -> None:
        """
        Errors, the engine of dialogues, and settings know the standard library; the
        engine knows how text is escaped, the errors know the engine, and the settings
        how names are read.
        """
        for name, known in (
            ("errors", "dialogue"),
            ("dialogue", "report"),
            ("settings", "international"),
        ):
            for module, _ in imports(modules()[f"twisted_tcpclient.{name}"]):
                if module != f"twisted_tcpclient.{known}":
                    self.assertIn(module.partition(".")[0], sys.stdlib_module_names)

    def test_names(self) -> None:
        """One module knows IDNA: no two readings of a name."""
        self.assertEqual(self.importers("idna"), {"international"})
        found = {
            short(name)
            for name, tree in modules().items()
            for module, _ in imports(tree)
            if module == "twisted_tcpclient.international"
        }
        self.assertEqual(found, {"settings"})

    def test_tls(self) -> None:
        """One package knows OpenSSL; a module beside it, what is in certificates."""
        self.assertEqual(packages(self.importers("OpenSSL")), {"tls"})
        found = packages(self.importers("cryptography", "service_identity"))
        self.assertEqual(found, {"tls", "identity"})

    def test_reactor(self) -> None:
        """Only where a run begins the global reactor is known."""
        found = {
            short(name)
            for name, tree in modules().items()
            for module, imported in imports(tree)
            if f"{module}.{imported}".startswith("twisted.internet.reactor")
        }
        self.assertEqual(found, BEGINNINGS)

    def test_argv(self) -> None:
        """The command line is read where the command begins, and nowhere else."""
        found = {
            short(name)
            for name, tree in modules().items()
            if ("sys", "argv") in {*attributes(tree), *imports(tree)}
        }
        self.assertLessEqual(found, {"__main__"})

    def test_environment(self) -> None:
        """The environment is read by whoever begins, and handed on as a value."""
        names = ("environ", "environb", "getenv", "getenvb", "putenv", "unsetenv")
        found = {
            short(name)
            for name, tree in modules().items()
            for module, attribute in (*attributes(tree), *imports(tree))
            if module == "os" and attribute in names
        }
        self.assertLessEqual(found, {"session", "options", "ucspi"} | BEGINNINGS)

    def test_one_way(self) -> None:
        """Imports run one way: no module imports, by whatever way, itself."""
        graph = {
            name: {
                known
                for module, imported in imports(tree)
                for known in (module, f"{module}.{imported}")
                if known in modules()
            }
            for name, tree in modules().items()
        }
        while graph:
            free = {name for name, known in graph.items() if not known & graph.keys()}
            self.assertTrue(free, f"imports in a circle: {sorted(graph)}")
            graph = {name: known for name, known in graph.items() if name not in free}

    def test_session_is_near_the_end(self) -> None:
        """Nobody knows the session and the command line but those who begin."""
        late = {"session", "options", *BEGINNINGS}
        for name, tree in modules().items():
            for module, imported in imports(tree):
                for known in (module, f"{module}.{imported}"):
                    if short(known) in late:
                        self.assertIn(short(name), {"__main__"} | BEGINNINGS)


class TwistedTests(SynchronousTestCase):
    """How Twisted is used."""

    def test_no_private_imports(self) -> None:
        """No private name is imported, from Twisted or from anyone."""
        trees = dict(modules())
        for path in (DROP_IN, *sorted(TESTS.rglob("*.py"))):
            trees[path.name] = ast.parse(path.read_text(), str(path))
        for name, tree in trees.items():
            for module, imported in imports(tree):
                for part in (*module.split("."), imported):
                    self.assertFalse(private(part), (name, module, imported))

    def test_no_private_attributes(self) -> None:
        """What is private to another object is left alone."""
        for name, tree in modules().items():
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute) and private(node.attr):
                    owner = node.value.id if isinstance(node.value, ast.Name) else ""
                    # Python's documentation has this one, underscore and all.
                    if (owner, node.attr) != ("os", "_exit"):
                        self.assertEqual(owner, "self", (name, node.lineno, node.attr))

    def test_no_private_collisions(self) -> None:
        """
        No attribute of ours has the name of a private one of Twisted's: it
        would be theirs, whether we know of it or not.
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
        """The classes that a module defines."""
        return [
            value
            for value in vars(module).values()
            if isinstance(value, type) and value.__module__ == module.__name__
        ]

    def private_names(self, owner: type[Any]) -> set[str]:
        """The private names that the source of a class gives to its instances."""
        tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(owner)))
        named = {attribute for name, attribute in attributes(tree) if name == "self"}
        return {name for name in named | vars(owner).keys() if private(name)}

    def test_stages_instead(self) -> None:
        """TLS is not started on a transport, nor a transport given a protocol."""
        for name, tree in modules().items():
            for node in ast.walk(tree):
                if isinstance(node, ast.Attribute):
                    self.assertNotEqual(node.attr, "startTLS", name)
                    if isinstance(node.ctx, ast.Store):
                        self.assertNotEqual(node.attr, "protocol", name)

    def test_prints(self) -> None:
        """Nobody prints: under ``twist`` that goes to the log."""
        found = {
            short(name)
            for name, tree in modules().items()
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and node.id == "print"
        }
        self.assertEqual(found, set())

    def test_drop_in(self) -> None:
        """
        The drop-in for ``twist`` is where Twisted looks, in packages that are
        nobody's, and loads nothing but the parsers of strings, which are light
        (tests.test_strings): every use of any plugin imports it.
        """
        for folder in (DROP_IN.parent, DROP_IN.parent.parent):
            self.assertFalse((folder / "__init__.py").exists())
        for module, _ in imports(ast.parse(DROP_IN.read_text())):
            ours = module.startswith("twisted_tcpclient")
            self.assertTrue(not ours or module == "twisted_tcpclient.strings", module)
            self.assertNotIn("OpenSSL", module)


class StartTests(SynchronousTestCase):
    """What is loaded when: the time from start to connect is a feature."""

    def loaded(self, *names: str) -> set[str]:
        """The modules in memory after these have been imported."""
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
        """Without TLS neither our TLS, nor STARTTLS, nor any dialect is loaded."""
        loaded = self.loaded("twisted_tcpclient.console")
        self.assertIn("twisted_tcpclient.session", loaded)
        for name in (
            *("tls", "endpoints", "described", "starttls", "stages", "plugin"),
        ):
            self.assertNotIn(f"twisted_tcpclient.{name}", loaded)
        for name in ("dialects", "help", "international"):
            self.assertNotIn(f"twisted_tcpclient.{name}", loaded)

    def test_garbage(self) -> None:
        """
        What is loaded at the start is never searched for garbage; what a session
        makes is.
        """
        code = (
            "import gc, twisted_tcpclient.console as console\n"
            "console.run = lambda _: print(gc.isenabled(), gc.get_freeze_count() > 0)\n"
            "from twisted_tcpclient.__main__ import main\n"
            "main()"
        )
        process = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, check=True
        )
        self.assertEqual(process.stdout, b"True True\n")

    def test_no_reactor(self) -> None:
        """No reactor is installed by an import: that is for whoever runs it."""
        names = [name for name in modules() if name != "twisted_tcpclient.__main__"]
        self.assertNotIn("twisted.internet.reactor", self.loaded(*names))

    def test_dialects(self) -> None:
        """A dialect, and the engine, can be used without Twisted and the errors."""
        loaded = self.loaded("twisted_tcpclient.dialects.imap")
        self.assertIn("twisted_tcpclient.dialogue", loaded)
        self.assertNotIn("twisted", loaded)
        self.assertNotIn("twisted_tcpclient.errors", loaded)


class DocumentationTests(SynchronousTestCase):
    """What tests say of themselves."""

    def test_docstrings(self) -> None:
        """Every test says, in words, what it holds."""
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
        """The tests of parts wait for events, never for time to pass."""
        for path in sorted(TESTS.rglob("test_*.py")):
            tree = ast.parse(path.read_text(), str(path))
            self.assertNotIn(("time", "sleep"), {*attributes(tree), *imports(tree)})

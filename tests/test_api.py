"""
The Python API: the names in ``doc/api.rst`` exist, have types and docstrings, and work.
"""

from __future__ import annotations

import ast
import configparser
import dataclasses
import inspect
import pickle
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from docutils import nodes
from twisted.trial.unittest import SynchronousTestCase

from tests import certificates, servers
from tests.programs import ROOT, run
from tests.test_tutorial import programs
from tests.test_words import page
from twisted_tcpclient import dialogue, errors
from twisted_tcpclient.tls import creator

PAGE = ROOT / "doc" / "api.rst"
TYPED = ROOT / "tests" / "typing_api.py"

_NAME = re.compile(r"[a-z]+\.[A-Za-z_]+")


@cache
def public() -> dict[str, Any]:
    """Return the names that the page lists, with their objects."""
    document = page(PAGE)
    listed: list[nodes.Node] = list(document.findall(nodes.term))
    for body in document.findall(nodes.tbody):
        listed += [row[0] for row in body.findall(nodes.row)]
    names = [
        literal.astext()
        for element in listed
        for literal in element.findall(nodes.literal)
    ]
    names.append("errors.Attempt")
    found = {}
    for name in names:
        if name in found or not _NAME.fullmatch(name):
            raise AssertionError(name)
        module, _, attribute = name.partition(".")
        found[name] = getattr(import_module(f"twisted_tcpclient.{module}"), attribute)
    return found


@cache
def shown() -> frozenset[str]:
    """Return the names that the generated API pages show as public."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    start = "PUBLIC:twisted_tcpclient."
    rules = settings["tool:pydoctor"]["privacy"].split()
    return frozenset(r.removeprefix(start) for r in rules if r.startswith(start))


def callables() -> Iterator[tuple[str, Any, str]]:
    """
    Yield all public functions, methods and constructors: name, function, documentation.

    The parameters of a constructor may be documented in either docstring.
    """
    for name, value in public().items():
        if inspect.isfunction(value):
            yield name, value, value.__doc__ or ""
        elif inspect.isclass(value):
            yield from methods(name, value)


def methods(name: str, owner: type[Any]) -> Iterator[tuple[str, Any, str]]:
    """Yield the public methods that a class defines itself."""
    for key, value in vars(owner).items():
        function = getattr(value, "__func__", value)
        if not inspect.isfunction(function):
            continue
        if key == "__init__" and not dataclasses.is_dataclass(owner):
            yield name, function, f"{owner.__doc__}{function.__doc__}"
        elif not key.startswith("_") and shown() & {f"{name}.*", f"{name}.{key}"}:
            yield f"{name}.{key}", function, function.__doc__ or ""


class NameTests(SynchronousTestCase):
    """The public names."""

    def test_defined(self) -> None:
        """
        Each name on the page is defined in the module that the page gives.  The modules
        errors and dialects re-export names of dialogue, and tls re-exports its creator.
        """
        self.assertGreater(len(public()), 30)
        for name, value in public().items():
            origin = getattr(value, "__module__", None)
            if inspect.isclass(value) or inspect.isfunction(value):
                module = f"twisted_tcpclient.{name.partition('.')[0]}"
                self.assertIn(
                    origin, (module, dialogue.__name__, creator.__name__), name
                )

    def test_errors(self) -> None:
        """Every error of the package is on the page."""
        found = {
            f"errors.{name}"
            for name, value in vars(errors).items()
            if inspect.isclass(value)
            and value.__module__ in (errors.__name__, dialogue.__name__)
        }
        self.assertEqual(
            found, {name for name in public() if name.startswith("errors.")}
        )

    def test_hierarchy(self) -> None:
        """
        All errors are TCPClientErrors, and specific errors are subclasses of general
        ones.
        """
        for name, value in public().items():
            if name.startswith("errors.") and value is not errors.Attempt:
                self.assertTrue(issubclass(value, errors.TCPClientError), name)
        for parent, children in (
            (
                errors.NegotiationFailed,
                (errors.NotOffered, errors.Refused, errors.InjectedData),
            ),
            (errors.VerificationFailed, (errors.NameMismatch,)),
            (errors.TLSFailed, (errors.HandshakeFailed, errors.VerificationFailed)),
            (errors.ConnectionBroken, (errors.CutShort,)),
        ):
            for child in children:
                self.assertTrue(issubclass(child, parent), child)

    def test_pickled(self) -> None:
        """
        An error that is pickled and unpickled has the same type, text and attributes.
        """
        for error in (
            errors.ConnectFailed(
                [errors.Attempt("a port 1", "b"), errors.Attempt("c", "d")]
            ),
            errors.LeftUnsent("standard input"),
            errors.NotOffered("none", b"words"),
            errors.NameMismatch("another", 62, 1, "reason"),
        ):
            other = pickle.loads(pickle.dumps(error))
            self.assertEqual((type(other), str(other)), (type(error), str(error)))
            self.assertEqual(vars(other), vars(error))

    def test_pages(self) -> None:
        """The generated API pages and doc/api.rst show the same names as public."""
        members = {name for name in shown() if name.count(".") == 2}
        # The settings show all errors with one pattern.
        names = {name for name in public() if not name.startswith("errors.")}
        modules = {name.partition(".")[0] for name in public()}
        self.assertEqual(shown() - members, {*names, *modules, "errors.**"})
        self.assertEqual(
            {name.rpartition(".")[0] for name in members},
            {name for name in names if inspect.isclass(public()[name])},
        )


class DocumentedTests(SynchronousTestCase):
    """The documentation of public names."""

    def test_docstrings(self) -> None:
        """Every public class, function and method has a docstring."""
        for name, value in public().items():
            if inspect.isclass(value) or inspect.isfunction(value):
                self.assertGreater(len(inspect.getdoc(value) or ""), 15, name)
        for name, _, said in callables():
            self.assertGreater(len(said), 15, name)

    def test_parameters(self) -> None:
        """
        Each parameter has a type and a :param line; each function has a return type.
        """
        counted = 0
        for name, function, said in callables():
            signature = inspect.signature(function)
            self.assertIsNot(signature.return_annotation, signature.empty, name)
            for parameter in signature.parameters.values():
                if parameter.name in ("self", "cls"):
                    continue
                counted += 1
                where = f"{name}({parameter.name})"
                self.assertIsNot(parameter.annotation, parameter.empty, where)
                self.assertIn(f":param {parameter.name}:", said, where)
        self.assertGreater(counted, 30)

    def test_fields(self) -> None:
        """Each field of a public dataclass has an :ivar line."""
        counted = 0
        for name, value in public().items():
            if dataclasses.is_dataclass(value):
                for field in dataclasses.fields(value):
                    counted += 1
                    said = value.__doc__ or ""
                    self.assertIn(f":ivar {field.name}:", said, name)
        self.assertGreater(counted, 40)

    def test_typed(self) -> None:
        """``tests/typing_api.py``, which mypy checks, uses every public name."""
        tree = ast.parse(TYPED.read_text())
        used = {
            f"{node.value.id}.{node.attr}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        }
        self.assertLessEqual(set(public()), used)


class ExampleTests(SynchronousTestCase):
    """The example programs on the page, run against servers of the tests."""

    def run_example(self, number: int, trusted: str = "") -> None:
        """Run an example and compare its output with the page."""
        postfix = servers.postfix()
        program, printed = programs(PAGE)[number]
        for host, port, ours in (
            ("mail.example.org", 465, postfix.smtps),
            ("mx.example.org", 25, postfix.smtp),
        ):
            program = program.replace(f'"{host}", {port}', f'"localhost", {ours}')
            program = program.replace(host, "localhost")
        self.assertNotIn("example.org", program)
        path = Path(self.mktemp())
        path.write_text(program)
        outcome = run(sys.executable, path, SSL_CERT_FILE=trusted)
        self.assertEqual((outcome.status, outcome.err), (0, b""))
        self.assertEqual(outcome.out.decode("ascii"), printed)

    def test_examples(self) -> None:
        """Each example runs, and prints the output that the page shows."""
        trusted = str(certificates.shared().ca)
        self.assertEqual(len(programs(PAGE)), 3)
        self.run_example(0, trusted)
        self.run_example(1, trusted)
        self.run_example(2)

"""Wheel and sdist: installed into environments of their own, and run there."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from atexit import register
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.command import ROOT
from twisted_tcpclient import __version__

#: Names of files and directories that tools create in a checkout.
_LITTER = (
    ".git",
    ".venv*",
    ".*_cache",
    ".coverage*",
    ".hypothesis",
    "__pycache__",
    "_trial_temp*",
    "*.egg-info",
    "build",
    "dist",
    "dropin.cache",
)

#: Files of the top level that the sdist contains.
_BESIDE = ("LICENSE", "Makefile", "README.rst", "setup.cfg", ".ruff.toml")

_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")

#: Directories of the top level that the sdist contains.
_KEPT = (".ci", "benchmarks", "doc", "tests", "twisted", "twisted_tcpclient")

#: Options of pip that keep it from fetching dependencies.
_ALONE = ("--no-deps", "--no-index")


def output(*command: str | Path, cwd: Path, status: int = 0, **environ: str) -> str:
    """Run a command without PYTHONPATH, and return its output.

    :raises AssertionError: if it exits with another status than expected.
    """
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    process = subprocess.run(
        command,
        cwd=cwd,
        env=inherited | environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if process.returncode != status:
        raise AssertionError(f"{command} {process.returncode}: {process.stdout}")
    return process.stdout


@functools.cache
def _folder() -> Path:
    """Return a directory that is removed when the process exits."""
    folder = Path(tempfile.mkdtemp(prefix="packaging-"))
    register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@dataclass(frozen=True)
class Artefacts:
    """The two files that are published."""

    sdist: Path
    wheel: Path


@functools.cache
def artefacts() -> Artefacts:
    """
    Build both from a copy of the checkout, as building writes into the source
    directory.
    """
    source, target = _folder() / "source", _folder() / "dist"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*_LITTER))
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir", target)
    output(*build, "--sdist", "--wheel", source, cwd=_folder())
    (sdist,) = target.glob("*.tar.gz")
    (wheel,) = target.glob("*.whl")
    return Artefacts(sdist, wheel)


@dataclass(frozen=True)
class Environment:
    """A virtual environment that has tcpclient from an artefact and nowhere else."""

    folder: Path

    @property
    def python(self) -> Path:
        """The path of the interpreter."""
        return self.folder / "bin" / "python"

    def module(self, *arguments: str) -> str:
        """Return what ``python -m`` prints, run in a directory outside the checkout."""
        return output(self.python, "-m", *arguments, cwd=self.folder)

    def tell(self, expression: str) -> str:
        """Return the value of an expression about the installed package."""
        program = f"import pathlib, twisted_tcpclient as package; print({expression})"
        return output(self.python, "-c", program, cwd=self.folder).strip()

    def add(self, artefact: Path) -> None:
        """Install a wheel, an sdist or a directory, without its dependencies."""
        if artefact.suffix != ".whl":
            # pip builds a wheel first in this case, too.  The build runs here in a step
            # of its own because the new environment has no setuptools.
            wheels = self.folder / "wheels"
            build = (*_PIP, "wheel", *_ALONE, "--no-build-isolation")
            output(*build, "--wheel-dir", wheels, artefact, cwd=self.folder)
            (artefact,) = wheels.iterdir()
        install = (*_PIP, "--python", self.python, "install", *_ALONE)
        output(*install, artefact, cwd=self.folder)


def install(artefact: Path, name: str) -> Environment:
    """Make an environment with an artefact and this environment's dependencies."""
    environment = Environment(_folder() / name)
    output(sys.executable, "-m", "venv", "--without-pip", name, cwd=_folder())
    environment.add(artefact)
    site = Path(environment.tell("pathlib.Path(package.__file__).parent.parent"))
    # site.py adds the paths of a .pth file to sys.path, and reads no .pth file in them.
    # So the checkout, which is installed in this environment by a .pth file, is not on
    # the path.
    ours = (Path(p).absolute() for p in sys.path if Path(p).name == "site-packages")
    (site / "shared.pth").write_text("".join(f"{path}\n" for path in ours))
    return environment


class WheelTests(SynchronousTestCase):
    """The package, installed from the wheel."""

    @staticmethod
    @functools.cache
    def environment() -> Environment:
        """Return the environment."""
        return install(artefacts().wheel, "wheel")

    def test_package_is_the_installed_one(self) -> None:
        """The package is imported from the environment, and not from the checkout."""
        place = Path(self.environment().tell("package.__file__"))
        self.assertIn(self.environment().folder, place.parents)

    def test_command(self) -> None:
        """The command ``tcpclient`` is installed, and prints the version."""
        folder = self.environment().folder
        said = output(folder / "bin" / "tcpclient", "--version", cwd=folder)
        self.assertIn(__version__, said)

    def test_module(self) -> None:
        """``python -m twisted_tcpclient`` prints the version."""
        said = self.environment().module("twisted_tcpclient", "--version")
        self.assertIn(__version__, said)

    def test_twist(self) -> None:
        """``twist tcpclient`` is installed, and prints the command's help."""
        said = self.environment().module("twisted", "tcpclient", "--help")
        self.assertIn("--starttls", said)

    def test_typed(self) -> None:
        """The package has the marker of PEP 561 for type checkers."""
        marker = "(pathlib.Path(package.__file__).parent / 'py.typed').is_file()"
        self.assertEqual(self.environment().tell(marker), "True")


class SdistTests(WheelTests):
    """The package, installed from the sdist."""

    @staticmethod
    @functools.cache
    def environment() -> Environment:
        """Return the environment."""
        return install(artefacts().sdist, "sdist")

    def test_contents(self) -> None:
        """
        The sdist contains the tests, the demo, the benchmarks and the documentation.
        """
        with tarfile.open(artefacts().sdist) as archive:
            files = {name.partition("/")[2] for name in archive.getnames()}
        kept = {
            path.relative_to(ROOT).as_posix()
            for folder in _KEPT
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and not any(map(path.match, ("*.pyc", *_LITTER)))
        }
        self.assertEqual({*_BESIDE, *kept} - files, set())


class LowerBoundTests(SynchronousTestCase):
    """Lower bounds of the dependencies."""

    def test_oldest_set_is_that_of_the_wheel(self) -> None:
        """
        CI's run with the oldest versions installs the lower bounds of the wheel's
        metadata.
        """
        with zipfile.ZipFile(artefacts().wheel) as wheel:
            (name,) = (n for n in wheel.namelist() if n.endswith("/METADATA"))
            metadata = message_from_bytes(wheel.read(name))
        required = [
            requirement.replace(">=", "==")
            for requirement in metadata.get_all("Requires-Dist", [])
            if "extra ==" not in requirement
        ]
        self.assertTrue(all("==" in requirement for requirement in required))
        script = ROOT / ".ci" / "run"
        pins = output("bash", script, "oldest", sys.executable, cwd=_folder())
        self.assertEqual(sorted(pins.split()), sorted(required))

    def test_pins_reach_pip(self) -> None:
        """``make test`` hands the versions in ``PINS`` to pip."""
        make = ("make", "--dry-run", "test", "VENV=nowhere", "PINS=Twisted==24.7.0")
        (install,) = (
            line
            for line in output(*make, cwd=ROOT).splitlines()
            if "pip install" in line
        )
        self.assertTrue(install.endswith(" --editable '.[test]' Twisted==24.7.0"))

"""
All dialects by name: the built-in ones, and those of other packages.

A built-in name is looked up first, so that another package cannot replace a built-in
dialect.  Twisted's plugin system, which imports the drop-ins of all packages, is asked
only for other names and for the list of all names.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from twisted_tcpclient import dialects
from twisted_tcpclient.dialects import Dialect
from twisted_tcpclient.errors import SettingsError

if TYPE_CHECKING:
    from twisted_tcpclient.plugin import IDialectPlugin


class UnknownDialect(KeyError):
    """
    The error for a name that no dialect has.

    :ivar known: the names of all dialects.
    """

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        """
        :param name: the unknown name.
        :param known: the names of all dialects.
        """
        super().__init__(name)
        self.known = known


def find(name: str) -> Dialect:
    """
    Return the dialect of a name, and import its module.

    :param name: in upper or lower case.
    :raises KeyError: if no dialect has that name; an :class:`UnknownDialect`.
    :raises SettingsError: if the dialect of another package cannot be used, or two
        packages have a dialect of that name.
    """
    name = name.lower()
    return dialects.find(name) if name in dialects.NAMES else _load(name)


def others() -> tuple[str, ...]:
    """Return the names of the dialects that are not built in, in order."""
    return _names(_plugins())


def _plugins() -> list[IDialectPlugin]:
    from twisted.plugin import getPlugins

    from twisted_tcpclient.plugin import IDialectPlugin

    return list(getPlugins(IDialectPlugin))


def _names(plugins: list[IDialectPlugin]) -> tuple[str, ...]:
    return tuple(sorted({each.name for each in plugins}.difference(dialects.NAMES)))


# functools.cache does not cache exceptions: after a failure a package may be installed
# and then found.
@cache
def _load(name: str) -> Dialect:
    """Return the dialect with that name from another package."""
    module = _module(name)
    try:
        found: dict[str, object] = {
            each.name: each for each in import_module(module).DIALECTS
        }
    except Exception as error:
        raise SettingsError(
            f"the dialect {name} in {module} cannot be used:"
            f" {type(error).__name__}: {error}"
        ) from error
    if name not in found:
        raise SettingsError(f"the dialect {name} is not in {module}: it should be")
    dialect = found[name]
    if not isinstance(dialect, Dialect):
        raise SettingsError(
            f"the dialect {name} in {module} is no Dialect: {type(dialect).__name__}"
        )
    return dialect


def _module(name: str) -> str:
    """Return the name of the one module that has the dialect, by its drop-in."""
    plugins = _plugins()
    modules: list[str] = sorted({each.module for each in plugins if each.name == name})
    if not modules:
        raise UnknownDialect(name, (*dialects.NAMES, *_names(plugins)))
    if len(modules) > 1:
        raise SettingsError(
            f"the dialect {name} is in two packages: {' and '.join(modules)}"
        )
    return modules[0]

"""
Every dialect by its name: ours, and those of other packages.

Ours come first.  Twisted's plugin system is not even asked unless a name is not ours,
or all names are wanted: a package that is installed can add to what there is, and take
nothing away.
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
    There is no dialect of a name.

    :ivar known: the names there are.
    """

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(name)
        self.known = known


def find(name: str) -> Dialect:
    """
    The dialect of that name; only its own module is imported.

    :param name: in upper or lower case.
    :raises KeyError: where there is none; an :class:`UnknownDialect`.
    :raises SettingsError: where another package has one that cannot be used, or two
        packages have one.
    """
    name = name.lower()
    return dialects.find(name) if name in dialects.NAMES else _load(name)


def others() -> tuple[str, ...]:
    """The names of dialects that only other packages have."""
    return _names(_plugins())


def _plugins() -> list[IDialectPlugin]:
    from twisted.plugin import getPlugins

    from twisted_tcpclient.plugin import IDialectPlugin

    return list(getPlugins(IDialectPlugin))


def _names(plugins: list[IDialectPlugin]) -> tuple[str, ...]:
    return tuple(sorted({each.name for each in plugins}.difference(dialects.NAMES)))


# What has been found stays: its module is in memory.  What has not may still come.
@cache
def _load(name: str) -> Dialect:
    plugins = _plugins()
    modules = sorted({each.module for each in plugins if each.name == name})
    if not modules:
        raise UnknownDialect(name, (*dialects.NAMES, *_names(plugins)))
    if len(modules) > 1:
        raise SettingsError(
            f"the dialect {name} is in two packages: {' and '.join(modules)}"
        )
    (module,) = modules
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

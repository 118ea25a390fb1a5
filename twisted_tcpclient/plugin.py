"""
The plugin by which another package announces a dialect to Twisted's plugin system.

This module imports little: every Twisted program that looks for plugins of any kind
imports the drop-ins of all packages, and they import this module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface, implementer

#: Names that need no quotes in a shell or in an endpoint string.
_NAME = re.compile("[a-z0-9][a-z0-9-]*")


class IDialectPlugin(Interface):
    """The name of a dialect, and the module that has it."""

    name = Attribute("The name of the dialect, as given to ``-s``, in lower case.")
    module = Attribute(
        "The full name of the module whose ``DIALECTS`` has the dialect: a tuple of"
        " :class:`twisted_tcpclient.dialects.Dialect`."
    )


@implementer(IPlugin, IDialectPlugin)
@dataclass(frozen=True)
class DialectPlugin:
    """
    The name of one dialect and its module, for a drop-in in ``twisted/plugins``::

        nbd = DialectPlugin("nbd", "nbd_starttls")

    The module is imported when the dialect is used.

    :ivar name: of the dialect: small letters, digits and hyphens.
    :ivar module: the full name of the module whose ``DIALECTS`` has the dialect.
    :raises ValueError: if the name has other characters.
    """

    name: str
    module: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"not small letters, digits and hyphens: the name {self.name!r}"
            )

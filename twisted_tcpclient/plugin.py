"""
What another package tells Twisted's plugin system of its dialects.

Light on purpose: where there is such a package, every Twisted program that looks for
plugins of any kind imports this.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface, implementer

#: What needs no quoting, neither in a shell nor in an endpoint string.
_NAME = re.compile("[a-z0-9][a-z0-9-]*")


class IDialectPlugin(Interface):
    """Where a dialect is."""

    name = Attribute("The name of the dialect, as given to ``-s``, in lower case.")
    module = Attribute(
        "The full name of the module that has it, in ``DIALECTS``, a tuple of"
        " :class:`twisted_tcpclient.dialects.Dialect`."
    )


@implementer(IPlugin, IDialectPlugin)
@dataclass(frozen=True)
class DialectPlugin:
    """
    One dialect, for a drop-in in ``twisted/plugins``::

        nbd = DialectPlugin("nbd", "nbd_starttls")

    The module is imported when somebody asks for the dialect, and not before.

    :ivar name: of the dialect: small letters, digits and hyphens.
    :ivar module: the full name of the module that has it, in ``DIALECTS``.
    """

    name: str
    module: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"not small letters, digits and hyphens: the name {self.name!r}"
            )

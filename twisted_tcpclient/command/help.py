"""
The text of ``--help``, made from the table of options.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from twisted_tcpclient import registry
from twisted_tcpclient.command.table import GROUPS, Option

SYNOPSIS = """\
Usage: tcpclient [options] HOST PORT [prog [argument ...]]
       tcpclient [options] SOCKET    [prog [argument ...]]
       tcpclient [options] -E DESCRIPTION [prog [argument ...]]

Connect, with TLS or without, and hand the connection to prog on descriptors 6
and 7 (UCSPI), or join it to standard input and output if there is no prog.
HOST is a name, an IPv4 or IPv6 address, or 0 for this machine.  SOCKET is the
path of a UNIX socket (anything with a slash), or @NAME for an abstract one.
"""

EPILOGUE = """\
Exit status: 0; 100 wrong usage; 111 failed, may work later; 128+n ended by
signal n; or that of prog.
"""


def either(words: Sequence[str]) -> str:
    """Return words as a list for people: ``a, b or c``."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def effect(option: Option) -> str:
    """Return what an option does, which words its value may be, and its default."""
    text = option.text
    if option.value is not None and (words := option.value.words()):
        other = [option.value.other] if option.value.other else []
        text += f"; {option.value.name} is {either([*words, *other])}"
    if option.default is not None:
        text += f" (default: {option.default})" if option.default else " (default)"
    return text


def _entry(option: Option) -> str:
    """Return an option with what it does, in 80 columns."""
    letter = f"-{option.letter}," if option.letter else "   "
    value = f" {option.value.name}" if option.value is not None else ""
    head = f"  {letter} --{option.name}{value}"
    return textwrap.fill(
        effect(option),
        80,
        initial_indent=f"{head:<34} ",
        subsequent_indent=" " * 35,
        break_long_words=False,
        break_on_hyphens=False,
    )


def help_text() -> str:
    """Return all options by group, for a terminal of 80 columns."""
    parts = [SYNOPSIS]
    for group in GROUPS:
        parts += [f"{group.title}:", *map(_entry, group.options), ""]
    if others := registry.others():
        parts.append(f"Other packages have, for -s: {', '.join(others)}\n")
    return "\n".join([*parts, EPILOGUE])

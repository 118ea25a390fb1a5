"""
The parser of the command line: from words to settings.

Every value is checked as it is read, by the table of options.  A command line that is
wrong raises ``usage.UsageError``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from getopt import GetoptError, getopt
from typing import NoReturn

from twisted.python import usage

from twisted_tcpclient import __version__
from twisted_tcpclient.command.configuration import settings
from twisted_tcpclient.command.messages import PROGRESS
from twisted_tcpclient.command.table import OPTIONS, Option
from twisted_tcpclient.errors import SettingsError
from twisted_tcpclient.text import os_reason

#: Each option by the words that getopt() returns for it.
_BY_WORD = {
    word: option for option in OPTIONS for word in (option.spelling, f"--{option.name}")
}


def _print(text: str) -> NoReturn:
    """
    Print a text, and exit.

    :raises SettingsError: if it cannot be printed.
    """
    data = text.encode()
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError as error:
        raise SettingsError(
            f"unable to write standard output: {os_reason(error)}"
        ) from None
    raise SystemExit(0)


def _print_answer(question: str) -> NoReturn:
    """
    Print the help or the version, and exit.

    :raises SettingsError: if it cannot be printed.
    """
    if question == "version":
        _print(f"tcpclient {__version__}\n")
    from twisted_tcpclient.command.help import help_text

    _print(help_text())


def _full_names(error: GetoptError) -> str:
    """Return the message for an abbreviated option, "" for any other error."""
    word = error.opt
    names = [option.name for option in OPTIONS]
    # In getopt's message a letter has one dash before it.
    if not word or word in names or f"--{word}" not in error.msg:
        return ""
    full = sorted(f"--{name}" for name in names if name.startswith(word))
    if not full:
        return ""
    return f"option --{word} not recognized: write {' or '.join(full)}"


class Options(usage.Options):
    """
    The options of ``tcpclient`` and of ``twist tcpclient``, by the keys of the table.

    :ivar given: the options on the command line, by their keys.
    :ivar settings: the settings that the options mean, set by :meth:`parseOptions`.
    """

    # Twisted makes shortOpt and longOpt from these, and completions for ``twist``.
    optFlags = [
        [option.name, option.letter or None, option.text]
        for option in OPTIONS
        if option.value is None
    ]
    optParameters = [
        [option.name, option.letter or None, None, option.text]
        for option in OPTIONS
        if option.value is not None
    ]

    def __init__(self) -> None:
        super().__init__()
        self.clear()
        self["arguments"] = ()
        self.given: dict[str, Option] = {}
        for option in OPTIONS:
            self.setdefault(option.key)
            if option.default is not None:
                self[option.key] = option.read(option.default)

    def parseOptions(self, options: Sequence[str] = ()) -> None:
        """
        Parse the words of a command line.

        :raises UsageError: if it is wrong; for an abbreviated long option, the error
            names the full options.
        :raises SettingsError: see :func:`settings`; under ``twist``, which handles no
            other error, it is a ``usage.UsageError``.
        """
        try:
            self._parse(list(options))
        except SettingsError as error:
            if self.parent is None:
                raise
            raise usage.UsageError(str(error)) from None

    def _parse(self, words: list[str]) -> None:
        """Read each option and the arguments, and make the settings."""
        try:
            # getopt() accepts any unique prefix of a long name, so that a new option
            # could break a script.  With each name listed twice no prefix is unique.
            found, arguments = getopt(words, self.shortOpt, self.longOpt * 2)
        except GetoptError as error:
            raise usage.UsageError(_full_names(error) or str(error)) from None
        for word, text in found:
            self._store(_BY_WORD[word], text)
        self["arguments"] = tuple(arguments)
        self.postOptions()

    def _store(self, option: Option, text: str) -> None:
        """
        Write the meaning of an option to its key.

        :raises UsageError: if the value is wrong.
        """
        try:
            self[option.key] = option.read(text)
        except ValueError as error:
            raise usage.UsageError(f"{option.spelling}: {error}") from None
        self.given[option.key] = option
        if option.key == "print":
            _print_answer(self["print"])

    def getUsage(self, width: int | None = None) -> str:
        """
        Return what ``twist`` prints before an error: one line, so that the error stays
        in sight.
        """
        return "Try 'twist tcpclient --help'.\n"

    def postOptions(self) -> None:
        """Make the settings; under ``twist``, also keep the log off stdout."""
        self.settings = settings(self, self.given, os.environ)
        if self.parent is not None:
            self._quieten(self.parent)

    def _quieten(self, twist: usage.Options) -> None:
        """Keep the log of ``twist`` off stdout, and to warnings unless -v is given."""
        from twisted.logger import LogLevel

        if twist["logFile"] is sys.stdout:
            twist["logFile"] = sys.stderr
        if twist["logLevel"] is LogLevel.info and self["verbosity"] < PROGRESS:
            twist["logLevel"] = LogLevel.warn

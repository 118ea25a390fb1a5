"""
The command, from argv to an exit status.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import ILogObserver, LogEvent, globalLogBeginner
from twisted.python import usage
from zope.interface import provider

from twisted_tcpclient import program
from twisted_tcpclient.errors import LocalFailure, SettingsError
from twisted_tcpclient.options import Options
from twisted_tcpclient.report import Report, fault, os_reason
from twisted_tcpclient.session import TEMPORARY, USAGE, Session

#: The descriptors that a session takes at most, beside those that we were given.
NEEDED = 16

_SIGNALS = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGTSTP,
    signal.SIGCONT,
)


def occupy_standard_descriptors() -> None:
    """
    Give 0, 1 and 2 something where they are closed, lest a socket become one.

    Closed input is empty input.  Closed output stays an error: what is open
    there cannot be written to.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open("/dev/null", os.O_RDONLY)


def _claim_descriptors() -> None:
    """
    Make sure that a session will not run out of descriptors half way.

    :raises OSError: if fewer than :data:`NEEDED` can be had.
    """
    claimed: list[int] = []
    try:
        while len(claimed) < NEEDED:
            claimed.append(os.open("/dev/null", os.O_RDONLY))
    finally:
        for descriptor in claimed:
            os.close(descriptor)


def _typed(number: int) -> bool:
    """
    Whether a signal was typed: then the terminal has sent it to prog as well.
    """
    if number not in (signal.SIGINT, signal.SIGTSTP):
        return False
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


class Console:
    """One run of the command, from the reactor's start to its end."""

    def __init__(self, reactor: Any, options: Options) -> None:
        self._reactor = reactor
        self._session = Session(reactor, options.settings, os.environb, self._hand_over)
        self._status = TEMPORARY
        # Whoever started us with a signal ignored, as nohup does, means it.
        self._ignored = [n for n in _SIGNALS if signal.getsignal(n) is signal.SIG_IGN]
        self._pending: list[int] = []
        #: What to become once the reactor has ended.
        self.becoming: tuple[program.Command, int] | None = None

    def run(self) -> int:
        """Run the reactor until the session is over, and return its status."""
        self._reactor.callWhenRunning(self._start)
        self._reactor.run()
        return self._status

    def _start(self) -> None:
        for number in _SIGNALS:
            ignored = number in self._ignored
            signal.signal(number, signal.SIG_IGN if ignored else self._signalled)
        self._session.run().addCallback(self._over)

    def _over(self, status: int) -> None:
        self._status = status
        self._reactor.stop()

    def _hand_over(self, command: program.Command, connection: int) -> Deferred[int]:
        self.becoming = (command, connection)
        return succeed(0)

    def let_go(self) -> None:
        """Give signals back to the system; one that came too late ends us."""
        for number in _SIGNALS:
            if number not in self._ignored:
                signal.signal(number, signal.SIG_DFL)
        for pending in self._pending:
            os.kill(os.getpid(), pending)

    def _signalled(self, number: int, frame: object) -> None:
        self._pending.append(number)
        self._reactor.callFromThread(self._act, number)

    def _act(self, number: int) -> None:
        self._pending.remove(number)
        stopping = number in (signal.SIGTSTP, signal.SIGCONT)
        if self._session.has_child:
            if not _typed(number):
                self._session.signal(number)
        elif not stopping:
            self._session.signal(number)
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)


def _log(options: Options) -> None:
    """
    Say in a line what Twisted logs with a traceback: for one, that it cannot load
    the plugins of some other package.
    """

    @provider(ILogObserver)
    def say(event: LogEvent) -> None:
        failure = event.get("log_failure", event.get("failure"))
        if failure is not None:
            report = Report(options["verbosity"])
            report.warning(f"unexpected error: {fault(failure.value)}: {failure.value}")

    globalLogBeginner.beginLoggingTo([say], redirectStandardIO=False)


def run(arguments: Sequence[str]) -> int:
    """
    The command.

    :param arguments: argv without its first.
    :returns: the exit status, if the process does not become prog.
    """
    occupy_standard_descriptors()
    options = Options()
    _log(options)
    report = Report()
    try:
        options.parseOptions(list(arguments))
    except usage.UsageError as error:
        report.fatal(f"{error} (try 'tcpclient --help')")
        return USAGE
    except SettingsError as error:
        Report(options["verbosity"]).fatal(str(error))
        return TEMPORARY
    try:
        _claim_descriptors()
    except OSError as error:
        report = Report(options["verbosity"])
        report.fatal(f"not enough descriptors: {os_reason(error)}")
        return TEMPORARY
    from twisted.internet import reactor

    from twisted_tcpclient.lookup import Resolver

    reactor.installNameResolver(Resolver(reactor))  # type: ignore[attr-defined]
    console = Console(reactor, options)
    status = console.run()
    if console.becoming is not None:
        console.let_go()
        try:
            program.replace(*console.becoming)
        except LocalFailure as error:
            Report(options["verbosity"]).fatal(str(error))
            return TEMPORARY
    return status

"""
The command: from argv to an exit status.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import ILogObserver, LogEvent, globalLogBeginner
from twisted.python import usage
from zope.interface import provider

from twisted_tcpclient import program
from twisted_tcpclient.command import monotonic
from twisted_tcpclient.command.inheritance import Inheritance, inherited
from twisted_tcpclient.command.messages import Messages
from twisted_tcpclient.command.options import Options
from twisted_tcpclient.command.session import TEMPORARY, USAGE, Session
from twisted_tcpclient.errors import LocalFailure, SettingsError
from twisted_tcpclient.text import fault, os_reason

#: How many descriptors a session opens at most.
NEEDED = 16

_SIGNALS = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGTSTP,
    signal.SIGCONT,
)


#: Signals that must not stay blocked: those above, those of job control, and SIGCHLD,
#: by which the reactor learns that a child has ended.
_NEEDED_SIGNALS = (*_SIGNALS, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCHLD)


def occupy_standard_descriptors() -> None:
    """
    Open 0, 1 and 2 where they are closed, so that no socket gets these numbers.

    Closed input becomes empty input.  Closed output stays an error: the new descriptor
    is open for reading only.  No file in /dev is needed.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            _occupy(descriptor)


def _occupy(descriptor: int) -> None:
    """Open a descriptor that is the lowest free one, without using /dev."""
    if descriptor == 0:
        _, writing = os.pipe()
        os.close(writing)
    else:
        # Not a pipe: through /proc/self/fd it could be opened anew for writing.
        os.open("/", os.O_RDONLY)


def _claim_descriptors() -> None:
    """
    Check that a session will not run out of descriptors half way.

    :raises OSError: if fewer than :data:`NEEDED` can be opened.
    """
    claimed: list[int] = []
    try:
        while len(claimed) < NEEDED:
            claimed.extend(os.pipe())
    finally:
        for descriptor in claimed:
            os.close(descriptor)


def _typed(number: int) -> bool:
    """
    Return whether the terminal sent a signal, which prog has received as well.
    """
    if number not in (signal.SIGINT, signal.SIGTSTP):
        return False
    # A chroot may lack /dev/tty while one of these descriptors is the terminal.
    return any(_in_foreground(descriptor) for descriptor in (0, 1, 2)) or (
        _in_foreground_of_its_terminal()
    )


def _in_foreground(terminal: int) -> bool:
    """Return whether a descriptor is a terminal with this process in its foreground."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False


def _in_foreground_of_its_terminal() -> bool:
    """Return whether this process is in the foreground of /dev/tty."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return _in_foreground(terminal)
    finally:
        os.close(terminal)


class Console:
    """One run of the command, from the reactor's start to its end."""

    def __init__(
        self, reactor: Any, options: Options, inheritance: Inheritance
    ) -> None:
        self._reactor = reactor
        # The session calls ``handle`` once it has read its files.  Until then signals
        # have their default action, which ends the process: open(2) of a FIFO, or
        # OpenSSL, may block, and Python runs no handler meanwhile.
        handle = partial(self._handle, self._signalled)
        self._session = Session(
            reactor, options.settings, inheritance, self._hand_over, handle
        )
        #: The exit status, once the reactor has ended.
        self.status = TEMPORARY
        # A signal that the parent has set to be ignored, as nohup does, stays ignored.
        self._ignored = inheritance.ignored
        self._pending: list[int] = []
        self._becoming: tuple[program.Command, int] | None = None

    def run(self) -> None:
        """Run the reactor until the session is over."""
        self._reactor.callWhenRunning(self._start)
        self._reactor.run()

    def replace_process(self) -> None:
        """
        Become prog if the session has called ``_hand_over``.

        :raises LocalFailure: if prog cannot be run.
        """
        if self._becoming is not None:
            self._release_signals()
            program.become(*self._becoming)

    def _start(self) -> None:
        self._handle(signal.SIG_DFL)
        running = self._session.run()
        self._handle(self._signalled)
        running.addCallback(self._finished)

    def _handle(self, handler: Any) -> None:
        """Set the handler of each signal that is not ignored."""
        for number in _SIGNALS:
            ignored = number in self._ignored
            signal.signal(number, signal.SIG_IGN if ignored else handler)

    def _finished(self, status: int) -> None:
        self.status = status
        self._reactor.stop()

    def _hand_over(self, command: program.Command, connection: int) -> Deferred[int]:
        self._becoming = (command, connection)
        return succeed(0)

    def _release_signals(self) -> None:
        """Restore default actions, and resend the signals that were not handled."""
        self._handle(signal.SIG_DFL)
        for pending in self._pending:
            os.kill(os.getpid(), pending)

    def _signalled(self, number: int, frame: object) -> None:
        self._pending.append(number)
        self._reactor.callFromThread(self._handle_signal, number)

    def _handle_signal(self, number: int) -> None:
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
    Write one line for each failure that Twisted logs, without a traceback.

    Twisted logs a failure if it cannot load a plugin of another package, for example.
    """

    @provider(ILogObserver)
    def say(event: LogEvent) -> None:
        failure = event.get("log_failure", event.get("failure"))
        if failure is not None:
            messages = Messages(options["verbosity"])
            messages.warning(
                f"unexpected error: {fault(failure.value)}: {failure.value}"
            )

    globalLogBeginner.beginLoggingTo([say], redirectStandardIO=False)


def _parsed(arguments: Sequence[str]) -> Options | int:
    """Return the parsed options, or the exit status if they are wrong."""
    options = Options()
    _log(options)
    try:
        options.parseOptions(list(arguments))
    except usage.UsageError as error:
        Messages().fatal(f"{error} (try 'tcpclient --help')")
        return USAGE
    except SettingsError as error:
        Messages(options["verbosity"]).fatal(str(error))
        return TEMPORARY
    return options


def _run_reactor(options: Options, given: Inheritance) -> Console:
    """Run a session under the reactor, and return its console when it is over."""
    monotonic.install()
    from twisted.internet import reactor

    from twisted_tcpclient.names.resolver import Resolver

    reactor.installNameResolver(Resolver(reactor))  # type: ignore[attr-defined]
    console = Console(reactor, options, given)
    console.run()
    return console


def run(arguments: Sequence[str]) -> int:
    """
    Run the command.

    :param arguments: argv without its first.
    :returns: the exit status, if the process does not become prog.
    """
    given = inherited(os.environb)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _NEEDED_SIGNALS)
    occupy_standard_descriptors()
    options = _parsed(arguments)
    if isinstance(options, int):
        return options
    messages = Messages(options["verbosity"])
    try:
        _claim_descriptors()
    except OSError as error:
        messages.fatal(f"not enough descriptors: {os_reason(error)}")
        return TEMPORARY
    console = _run_reactor(options, given)
    try:
        console.replace_process()
    except LocalFailure as error:
        messages.fatal(str(error))
        return TEMPORARY
    return console.status

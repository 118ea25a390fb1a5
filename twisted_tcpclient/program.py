"""
Prog: a program with a connection on descriptors 6 and 7 (UCSPI).

In clear prog gets the socket itself: the command replaces its process by prog, and
``twist`` and the library run prog as a child.  Over TLS prog is always a child.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fcntl import F_DUPFD_CLOEXEC, fcntl
from resource import RLIMIT_NOFILE, getrlimit
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from twisted_tcpclient.errors import LocalFailure
from twisted_tcpclient.relay.local import Local
from twisted_tcpclient.text import os_reason, printable

#: The descriptors of UCSPI: prog reads the connection from one and writes to the other.
READ, WRITE = 6, 7

#: Signals that Python ignores; programs expect their default action.
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)

#: The largest number of descriptors that are tried if /dev/fd cannot be listed.
_MOST = 2**16


@dataclass(frozen=True)
class Command:
    """
    A program to run: its file, arguments, environment and signals.

    :ivar path: the path of its file.
    :ivar arguments: argv: its name as given, then its arguments.
    :ivar environment: its whole environment.
    :ivar blocked: the signals that are blocked in prog; None for those that are
        blocked in the calling thread.
    :ivar ignored: the signals that are ignored if this process becomes prog.  A child
        ignores no signal: spawnProcess restores the default actions.
    """

    path: bytes
    arguments: tuple[bytes, ...]
    environment: Mapping[bytes, bytes]
    blocked: frozenset[int] | None = None
    ignored: frozenset[int] = frozenset()


def _unable(name: bytes, error: OSError) -> LocalFailure:
    """
    Return the error for a prog that cannot be run.

    spawnProcess opens /dev/null.  If that fails, the message names /dev/null.
    """
    why = os_reason(error)
    if error.filename == os.devnull:
        why = f"{os.devnull}: {why}"
    return LocalFailure(f"unable to run {printable(name)}: {why}")


def _located(name: bytes, search: bytes) -> bytes:
    """
    Return the path of a program: its name if that has a slash, else the first in PATH.

    :raises LocalFailure: if no such file exists, or no such file may be executed.
    """
    if b"/" in name:
        candidates = [name]
    else:
        candidates = [
            os.path.join(folder or b".", name) for folder in search.split(b":")
        ]
    number = errno.ENOENT
    for candidate in candidates:
        if name and os.path.isfile(candidate):
            if os.access(candidate, os.X_OK):
                return candidate
            number = errno.EACCES
        elif os.path.exists(candidate) and b"/" in name:
            number = errno.EACCES
    raise _unable(name, OSError(number, ""))


class Program(ProcessProtocol):
    """
    Prog as a child.

    :ivar running: whether prog has not exited yet.
    :ivar exited: fires with the exit status, or 128 plus the number of the signal that
        killed prog.  It does not wait until the descriptors of prog are closed, because
        a grandchild may keep them open.
    """

    def __init__(self) -> None:
        self.running = True
        self.exited: Deferred[int] = Deferred()

    def processExited(self, reason: Failure) -> None:
        """Fire ``exited`` with the exit status."""
        self.running = False
        error: Any = reason.value
        self.exited.callback(
            error.exitCode if error.signal is None else 128 + error.signal
        )

    def signal(self, number: int) -> None:
        """Send a signal to prog, if it is running."""
        if self.running and self.transport is not None:
            # prog may have ended before the reactor has handled SIGCHLD.
            with suppress(ProcessLookupError):
                os.kill(self.transport.pid, number)


def _inherited() -> dict[int, int]:
    """
    Return the descriptors that this process has inherited, as childFDs of spawnProcess.

    Descriptors that Python opens are not inheritable (PEP 446).
    """
    given = {}
    for descriptor in _numbers():
        # EBADF: os.listdir() has closed the descriptor with which it read /dev/fd.
        with suppress(OSError):
            if os.get_inheritable(descriptor):
                given[descriptor] = descriptor
    return given


def _numbers() -> Iterable[int]:
    """Return the numbers of open descriptors; without /dev/fd, all numbers."""
    try:
        return [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        most, _ = getrlimit(RLIMIT_NOFILE)
        return range(min(most, _MOST) if most >= 0 else _MOST)


@contextmanager
def _blocked(wanted: frozenset[int] | None) -> Iterator[None]:
    """
    Set the signal mask that a child inherits, and restore the mask afterwards.

    SIGCHLD is left unblocked: the reactor learns from it that a child has ended.
    """
    how = signal.SIG_BLOCK if wanted is None else signal.SIG_SETMASK
    before = signal.pthread_sigmask(how, wanted or ())
    try:
        yield
    finally:
        after = {number for number in before if number != signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_SETMASK, after)


def _aside(descriptor: int) -> int:
    """Return a copy of a descriptor with a number above 7."""
    return int(fcntl(descriptor, F_DUPFD_CLOEXEC, WRITE + 1))


def spawn(reactor: Any, command: Command, descriptors: tuple[int, int]) -> Program:
    """
    Run prog as a child, with two descriptors of this process as its 6 and 7.

    The child inherits all other descriptors that this process has inherited, as with
    :func:`become`.

    :raises LocalFailure: if prog cannot be run.
    """
    program = Program()
    reading, writing = descriptors
    try:
        with _blocked(command.blocked):
            reactor.spawnProcess(
                program,
                command.path,
                command.arguments,
                dict(command.environment),
                childFDs={**_inherited(), READ: reading, WRITE: writing},
            )
    except OSError as error:
        raise _unable(command.arguments[0], error) from None
    return program


def hand_over(reactor: Any, command: Command, connection: int) -> Program:
    """
    Run prog as a child that has the socket itself, and close the socket here.

    :raises LocalFailure: if prog cannot be run.
    """
    try:
        return spawn(reactor, command, (connection, connection))
    finally:
        os.close(connection)


def _pipe(reads: ExitStack, writes: ExitStack) -> tuple[int, int]:
    """
    Create a pipe, and return its two ends.

    :param reads: the stack that closes the read end.
    :param writes: the stack that closes the write end.
    :raises LocalFailure: if pipe(2) fails.
    """
    try:
        reading, writing = os.pipe()
    except OSError as error:
        raise LocalFailure(f"unable to create pipe: {os_reason(error)}") from None
    reads.callback(os.close, reading)
    writes.callback(os.close, writing)
    return reading, writing


def pipes(reactor: Any, command: Command) -> tuple[Program, Local]:
    """
    Run prog as a child with pipes on 6 and 7.

    :returns: the child, and this process's ends of the pipes.
    :raises LocalFailure: if prog cannot be run, or a pipe cannot be created.
    """
    with ExitStack() as theirs, ExitStack() as ours:
        from_prog, seven = _pipe(ours, theirs)
        six, to_prog = _pipe(theirs, ours)
        program = spawn(reactor, command, (six, seven))
        for end in (from_prog, to_prog):
            os.set_blocking(end, False)
        # From here on the caller closes from_prog and to_prog.
        ours.pop_all()
    return program, Local(
        from_prog, to_prog, "the output of prog", "the input of prog", needed=False
    )


def become(command: Command, connection: int) -> None:
    """
    Replace this process by prog, with the connection on 6 and 7.  Does not return.

    :raises LocalFailure: if prog cannot be run.
    """
    for number in IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    for ignored in command.ignored:
        signal.signal(ignored, signal.SIG_IGN)
    if command.blocked is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, command.blocked)
    try:
        copy = _aside(connection)
        for descriptor in (READ, WRITE):
            os.dup2(copy, descriptor, inheritable=True)
        os.execve(  # noqa: S606 - what this program is for
            command.path, command.arguments, command.environment
        )
    except OSError as error:
        raise _unable(command.arguments[0], error) from None


def command(arguments: Sequence[str], environment: Mapping[bytes, bytes]) -> Command:
    """
    Return the program that a command line names.

    :raises LocalFailure: if no such file exists, or no such file may be executed.
    """
    words = tuple(os.fsencode(word) for word in arguments)
    path = _located(words[0], environment.get(b"PATH", os.fsencode(os.defpath)))
    return Command(path, words, environment)

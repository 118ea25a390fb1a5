"""
Prog: a program with a connection on descriptors 6 and 7 (UCSPI).

A connection in clear is handed over whole: prog gets the socket itself, and
nothing of ours stays between it and the network.  From the console the process
becomes prog; elsewhere, and always over TLS, prog is a child.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fcntl import F_DUPFD_CLOEXEC, fcntl
from queue import SimpleQueue
from threading import Thread, stack_size
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twisted_tcpclient.errors import LocalFailure
from twisted_tcpclient.network import take
from twisted_tcpclient.relay import Local
from twisted_tcpclient.report import os_reason, printable

#: What the descriptors of UCSPI are for.
READ, WRITE = 6, 7

#: Python ignores these; a program expects the default.
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


#: What a thread that only waits needs for its stack, in bytes; usual are 8 MiB.
_STACK = 2**18


@dataclass(frozen=True)
class Command:
    """
    A program that exists.

    :ivar path: where it is.
    :ivar arguments: its own name first.
    :ivar environment: all of it.
    :ivar blocked: the signals that it finds blocked; None for those that are
        blocked in the calling thread.
    :ivar ignored: signals that it finds ignored if the process becomes it.  A
        child finds those ignored that this process ignores.
    """

    path: bytes
    arguments: tuple[bytes, ...]
    environment: Mapping[bytes, bytes]
    blocked: frozenset[int] | None = None
    ignored: frozenset[int] = frozenset()


def _unable(name: bytes, error: OSError) -> LocalFailure:
    return LocalFailure(f"unable to run {printable(name)}: {os_reason(error)}")


def find(name: bytes, search: bytes) -> bytes:
    """
    Where a program is: its name if that is a path, else the first in PATH.

    :raises LocalFailure: if there is none, or none that may be run.
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


def detach(transport: Any) -> int:
    """
    Take the socket out of a transport and return its descriptor, blocking.

    The transport must not have read or written anything.
    """
    taken = take(transport)
    taken.setblocking(True)
    return taken.detach()


class Program:
    """
    Prog as a child.

    A thread waits for its end.  So SIGCHLD is not needed, which the parent of
    this process may have left blocked.

    :ivar exited: fires with its exit status, or 128 plus the signal that
        killed it, without waiting for its descriptors to be closed: a
        grandchild may keep them.  Fails with LocalFailure if the kernel has not
        kept the status: if SIGCHLD is ignored, or if another part of the process
        has waited for all children.
    """

    def __init__(self, reactor: Any) -> None:
        """
        :param reactor: its thread fires :attr:`exited`.
        """
        self.exited: Deferred[int] = Deferred()
        self._reactor = reactor
        #: Its process id while it may be running.
        self._pid = 0

    def start(self, command: Command, descriptors: tuple[int, int]) -> None:
        """
        Run it, with two descriptors above 7 as its 6 and 7.

        :raises OSError: if it cannot be run.
        """
        started: SimpleQueue[int] = SimpleQueue()
        # Before prog, as there may be no thread to be had that waits for its end.
        _start_thread(self._wait, started)
        try:
            self._pid = _spawn(command, descriptors)
        finally:
            started.put(self._pid)

    def _wait(self, started: SimpleQueue[int]) -> None:
        """In a thread: wait for the end, and tell the reactor."""
        # Python acts on signals in the main thread.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        pid = started.get()
        if not pid:
            return
        try:
            _, status = os.waitpid(pid, 0)
        except ChildProcessError as error:
            why = f"unable to learn how prog has ended: {os_reason(error)}"
            self._reactor.callFromThread(self._ended, Failure(LocalFailure(why)))
        else:
            code = os.waitstatus_to_exitcode(status)
            code = code if code >= 0 else 128 - code
            self._reactor.callFromThread(self._ended, code)

    def _ended(self, result: Any) -> None:
        self._pid = 0
        self.exited.callback(result)

    def signal(self, number: int) -> None:
        """Pass a signal on to prog, if it is still there."""
        if self._pid:
            # It may have ended, and the reactor not know it yet.
            with suppress(ProcessLookupError):
                os.kill(self._pid, number)


def _start_thread(target: Callable[..., None], *arguments: Any) -> None:
    """
    Start a daemon thread that needs little memory.

    :raises OSError: if there can be none.
    """
    usual = stack_size(_STACK)
    try:
        Thread(target=target, args=arguments, daemon=True).start()
    except RuntimeError:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
    finally:
        stack_size(usual)


def _spawn(command: Command, descriptors: tuple[int, int]) -> int:
    """
    Start a child and return its process id.

    It inherits each descriptor that this process was given: those that Python
    opens are not inheritable (PEP 446).
    """
    reading, writing = descriptors
    blocked = command.blocked
    if blocked is None:
        blocked = frozenset(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    return os.posix_spawn(
        command.path,
        command.arguments,
        command.environment,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, reading, READ),
            (os.POSIX_SPAWN_DUP2, writing, WRITE),
        ],
        setsigmask=blocked,
        setsigdef=IGNORED_BY_PYTHON,
    )


@contextmanager
def _aside(*descriptors: int) -> Iterator[list[int]]:
    """Copies of descriptors that are out of the way of 6 and 7."""
    with ExitStack() as closing:
        copies = []
        for descriptor in descriptors:
            copies.append(int(fcntl(descriptor, F_DUPFD_CLOEXEC, WRITE + 1)))
            closing.callback(os.close, copies[-1])
        yield copies


def spawn(reactor: Any, command: Command, descriptors: tuple[int, int]) -> Program:
    """
    Run prog as a child, with two of our descriptors as its 6 and 7.

    :raises LocalFailure: if it cannot be run.
    """
    program = Program(reactor)
    try:
        with _aside(*descriptors) as (reading, writing):
            program.start(command, (reading, writing))
    except OSError as error:
        raise _unable(command.arguments[0], error) from None
    return program


def hand_over(reactor: Any, command: Command, connection: int) -> Program:
    """
    Run prog as a child that has the connection itself; here it is closed.

    :raises LocalFailure: if it cannot be run.
    """
    try:
        return spawn(reactor, command, (connection, connection))
    finally:
        os.close(connection)


def _pipe(reads: ExitStack, writes: ExitStack) -> tuple[int, int]:
    """
    A pipe, each end to be closed with the others of whoever has it.

    :raises LocalFailure: if there cannot be one.
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

    :returns: the child, and our ends of the pipes.
    :raises LocalFailure: if it cannot be run.
    """
    with ExitStack() as theirs, ExitStack() as ours:
        from_prog, seven = _pipe(ours, theirs)
        six, to_prog = _pipe(theirs, ours)
        program = spawn(reactor, command, (six, seven))
        os.set_blocking(to_prog, False)
        # From here on they are the caller's to close.
        ours.pop_all()
    return program, Local(
        from_prog, to_prog, "the output of prog", "the input of prog", needed=False
    )


def replace(command: Command, connection: int) -> None:
    """
    Become prog, with the connection on 6 and 7.  Does not return.

    :raises LocalFailure: if it cannot be run.
    """
    for number in IGNORED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)
    for ignored in command.ignored:
        signal.signal(ignored, signal.SIG_IGN)
    if command.blocked is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, command.blocked)
    try:
        with _aside(connection) as (copy,):
            for descriptor in (READ, WRITE):
                os.dup2(copy, descriptor, inheritable=True)
            os.execve(  # noqa: S606 - what this program is for
                command.path, command.arguments, command.environment
            )
    except OSError as error:
        raise _unable(command.arguments[0], error) from None


def command(arguments: Sequence[str], environment: Mapping[bytes, bytes]) -> Command:
    """
    The program that a command line names.

    :raises LocalFailure: if there is none, or none that may be run.
    """
    words = tuple(os.fsencode(word) for word in arguments)
    path = find(words[0], environment.get(b"PATH", os.fsencode(os.defpath)))
    return Command(path, words, environment)

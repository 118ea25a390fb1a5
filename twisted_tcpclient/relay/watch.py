"""
Watches: objects that call a function when bytes can be moved.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

#: Called when an end of a pump is ready.
Call = Callable[[], None]


class Watch(typing.Protocol):
    """
    An object that calls when one end of a pump can be read or written.

    :ivar fd: the descriptor; -1 if there is none.
    """

    fd: int

    def reading(self, wanted: bool) -> None:
        """Start or stop calling when bytes, the end, or an error can be read."""

    def writing(self, wanted: bool) -> None:
        """Start or stop calling when bytes can be written, or an error has come."""

    def stop(self) -> None:
        """Stop calling."""


@implementer(IReadWriteDescriptor)
class Polled:
    """
    A :class:`Watch` of a descriptor by the reactor.  It never closes the descriptor.

    :ivar fd: the descriptor.
    """

    def __init__(self, reactor: Any, fd: int, readable: Call, writable: Call) -> None:
        """
        :param readable: called when the descriptor can be read.
        :param writable: called when the descriptor can be written.
        """
        self._reactor = reactor
        self.fd = fd
        self._readable = readable
        self._writable = writable
        self._reads = self._writes = False

    def reading(self, wanted: bool) -> None:
        """Start or stop calling when the descriptor can be read."""
        if wanted != self._reads:
            self._reads = wanted
            change = self._reactor.addReader if wanted else self._reactor.removeReader
            change(self)

    def writing(self, wanted: bool) -> None:
        """Start or stop calling when the descriptor can be written."""
        if wanted != self._writes:
            self._writes = wanted
            change = self._reactor.addWriter if wanted else self._reactor.removeWriter
            change(self)

    def stop(self) -> None:
        """Stop calling."""
        self.reading(False)
        self.writing(False)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.fd

    def doRead(self) -> None:
        """Call ``readable``: the descriptor can be read."""
        self._readable()

    def doWrite(self) -> None:
        """Call ``writable``: the descriptor can be written."""
        self._writable()

    def connectionLost(self, reason: Failure) -> None:
        """
        Call the functions that are wanted: poll(2) has reported POLLHUP or POLLERR.

        The next read or write gets the error.
        """
        reads, writes = self._reads, self._writes
        self.stop()
        if reads:
            self._readable()
        if writes:
            self._writable()

    def logPrefix(self) -> str:
        """Return the name for Twisted's log."""
        return "tcpclient"


class Prompted:
    """
    A :class:`Watch` of a wire that has no descriptor.

    It calls in the next turn of the reactor, or when :meth:`prompt` is called.
    """

    fd = -1

    def __init__(
        self,
        clock: Any,
        ready: Callable[[], tuple[bool, bool]],
        flow: Callable[[bool], None],
    ) -> None:
        """
        :param clock: the reactor.
        :param ready: returns whether it can be read, and whether it can be written.
        :param flow: called with whether bytes are wanted, when that changes.
        """
        self._clock = clock
        self._readable = self._writable = _ignore
        self._ready = ready
        self._flow = flow
        self._reads = self._writes = False
        self._call: Any = None

    def reading(self, wanted: bool) -> None:
        """Start or stop calling when the wire can be read."""
        if wanted != self._reads:
            self._reads = wanted
            self._flow(wanted)
        self._schedule()

    def writing(self, wanted: bool) -> None:
        """Start or stop calling when the wire can be written."""
        self._writes = wanted
        self._schedule()

    def stop(self) -> None:
        """Stop calling."""
        self._reads = self._writes = False
        self._cancel()

    def calls(self, readable: Call, writable: Call) -> None:
        """
        Set the functions to call.

        :param readable: called when the wire can be read.
        :param writable: called when the wire can be written.
        """
        self._readable, self._writable = readable, writable

    def prompt(self) -> None:
        """Call ``readable`` and ``writable``, each if it is wanted and ready."""
        self._cancel()
        reads, writes = self._due()
        if reads:
            self._readable()
        if writes:
            self._writable()

    def _due(self) -> tuple[bool, bool]:
        """Return whether to call for reading, and whether for writing."""
        can_read, can_write = self._ready()
        return self._reads and can_read, self._writes and can_write

    def _schedule(self) -> None:
        """Call :meth:`prompt` in the next turn of the reactor, if anything is due."""
        if any(self._due()) and self._call is None:
            self._call = self._clock.callLater(0, self.prompt)

    def _cancel(self) -> None:
        """Cancel the call that was scheduled."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None


def _ignore() -> None:
    """Ignore a call: no relay uses the wire yet."""

"""
Movers: the ways in which bytes get from one descriptor to another.

There are three.  :class:`SendFile` has the kernel send a file (sendfile(2), Linux).
:class:`Splice` leaves bytes in the kernel, too, and passes them on through a pipe of
our own (splice(2), Linux).  :class:`Copy` has them come through this process: where
somebody has to see them, as over TLS, and wherever the kernel does neither.

A failure of splice or sendfile does not prove that nothing can be moved: a seccomp
filter may return any errno, and splice stops at TCP's urgent data (RFC 6093) as it does
at the end.  The failed call has moved nothing, so :class:`Copy` goes on where it
stopped, and its result counts.  :func:`is_final` names the exception.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress

from twisted_tcpclient.relay.descriptors import (
    CHUNK,
    Borrowed,
    Read,
    is_direct,
    is_file,
    is_socket,
    remaining,
    widen,
)

#: Bytes of a file that the kernel is asked to send at a time.
_SENT = 2**22

#: Pieces that are written at a time: the kernel takes no more (IOV_MAX of Linux).
_VECTOR = 1024

#: The errors of a lost connection that Python does not map to ConnectionError.
_GONE = {
    errno.ETIMEDOUT,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.ENETDOWN,
}

#: Writes some of that, and returns how much that was.
#: Raises BlockingIOError if one has to wait.
Write = Callable[["list[bytes]"], int]


class Withheld(BlockingIOError):
    """The source may not be read until something has been pushed (``Pump.push``)."""


def is_final(error: OSError) -> bool:
    """
    Return whether an error of splice or sendfile is the loss of a connection.

    Linux reports the loss once: after it recv(2) returns 0 as at an orderly end, so
    that a copy would not meet the error again.
    """
    return isinstance(error, ConnectionError) or error.errno in _GONE


def writer(fd: int) -> Write:
    """
    Return a function that writes a descriptor without blocking.

    :param fd: a socket, which may be in blocking mode; or any other descriptor in
        non-blocking mode.
    """
    if is_socket(fd):
        send = Borrowed(fileno=fd).sendmsg
        return lambda pieces: send(pieces[:_VECTOR], (), socket.MSG_DONTWAIT)
    return lambda pieces: os.writev(fd, pieces[:_VECTOR])


def _nowhere(pieces: list[bytes]) -> int:
    """Write to nobody."""
    return sum(map(len, pieces))


class Copy:
    """
    Moves bytes through this process.

    :ivar held: how many bytes were taken and not yet given.
    """

    def __init__(
        self, read: Read, write: Write, held: list[bytes] | None = None
    ) -> None:
        """
        :param held: what is to be given first.
        """
        self._read = read
        self._write = write
        self._pieces: list[bytes] = []
        self.held = 0
        self.add(*held or ())

    def take(self) -> int:
        """
        Read, and return how much that was.

        :raises BlockingIOError: if one has to wait for more.
        :raises EOFError: at the end.
        """
        self.add(*self._read())
        return self.held

    def give(self) -> int:
        """
        Write some of what is held, and return how much that was.

        :raises BlockingIOError: if one has to wait.
        """
        given = left = self._write(self._pieces)
        self.held -= given
        while left >= len(self._pieces[0]):
            left -= len(self._pieces.pop(0))
            if not self._pieces:
                return given
        self._pieces[0] = self._pieces[0][left:]
        return given

    def add(self, *pieces: bytes) -> None:
        """Hold these as well."""
        self._pieces.extend(pieces)
        self.held += sum(map(len, pieces))

    def discard(self) -> None:
        """Nobody is there any more to be given anything."""
        self._write = _nowhere

    def copied(self) -> Copy:
        """Return this: it copies."""
        return self

    def widen(self) -> None:
        """There is nothing to hold more."""

    def close(self) -> None:
        """Forget what is held."""
        self._pieces, self.held = [], 0


class Splice:
    """
    Moves bytes within the kernel, through a pipe of our own.

    If splice returns 0, or EAGAIN twice in a row, the copy reads once in its place.
    The pipe and the copy never hold bytes at the same time, as more is taken only when
    all is given.  So the order of bytes is kept.
    """

    def __init__(self, source: int, sink: int, copy: Copy) -> None:
        """
        :param source: a pipe, or a socket that does not block.
        :param sink: a descriptor that does not block.
        :param copy: moves the same where this cannot.
        :raises OSError: if there cannot be a pipe.
        """
        self._source = source
        self._sink = sink
        self._copy = copy
        self._out, self._in = os.pipe()
        self._piped = 0
        self._waited = False

    @property
    def held(self) -> int:
        """How many bytes were taken and not yet given."""
        return self._piped + self._copy.held

    def take(self) -> int:
        """
        Move bytes from the source into our pipe, which is empty.

        :raises BlockingIOError: if the source has no bytes yet.
        :raises EOFError: if the copy has found the end.
        """
        try:
            self._piped = _splice(self._source, self._in, CHUNK)
        except BlockingIOError:
            if not self._waited:
                self._waited = True
                raise
        self._waited = False
        return self._piped or self._copy.take()

    def give(self) -> int:
        """Move bytes from our pipe, or from the copy, to the sink."""
        if not self._piped:
            return self._copy.give()
        given = _splice(self._out, self._sink, self._piped)
        self._piped -= given
        return given

    def copied(self) -> Copy:
        """Return what goes on in place of this, which ends."""
        while self._piped:
            piece = os.read(self._out, self._piped)
            self._copy.add(piece)
            self._piped -= len(piece)
        self._close_pipe()
        return self._copy

    def widen(self) -> None:
        """Hold more at a time."""
        widen(self._in)

    def close(self) -> None:
        """Close the pipe, and forget what is held."""
        self._piped = 0
        self._copy.close()
        self._close_pipe()

    def _close_pipe(self) -> None:
        os.close(self._out)
        os.close(self._in)


class SendFile:
    """
    Has the kernel send a regular file.

    The file stands where it was sent to: nothing of it is read ahead.

    :ivar held: how many bytes are to be sent before it is looked at again.
    """

    def __init__(self, source: int, sink: int, copy: Copy) -> None:
        """
        :param source: the file.
        :param sink: a socket that does not block.
        :param copy: moves the same where this cannot.
        """
        self._source = source
        self._sink = sink
        self._copy = copy
        self.held = 0

    def take(self) -> int:
        """
        Look how much of the file is left.

        :raises OSError: at the end, as far as one can see: files of /proc have no
            size, and others grow, so only reading tells.
        """
        self.held = min(max(0, remaining(self._source)), _SENT)
        if not self.held:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return self.held

    def give(self) -> int:
        """
        Send some of it.

        :raises OSError: if nothing more comes, though it has a size that says so: it
            was cut off meanwhile, or is of /sys.  Only reading tells.
        """
        given = os.sendfile(self._sink, self._source, None, self.held)
        if not given:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.held -= given
        return given

    def copied(self) -> Copy:
        """Return what goes on in place of this, which ends."""
        self.close()
        return self._copy

    def widen(self) -> None:
        """There is nothing to hold more."""

    def close(self) -> None:
        """Send no more."""
        self.held = 0


Mover = Copy | Splice | SendFile


def mover(source: int, sink: int, copy: Copy) -> Mover:
    """
    The fastest way from one descriptor to another.

    Whether the kernel can do it shows when it is asked to: whoever asks falls back
    on the copy.

    :param copy: the way that always exists.
    """
    if not hasattr(os, "splice") or os.isatty(sink) or _blocks(sink):
        return copy
    if is_file(source) and not is_direct(source):
        return SendFile(source, sink, copy)
    if _patient(source):
        with suppress(OSError):
            return Splice(source, sink, copy)
    return copy


def _patient(fd: int) -> bool:
    """Return whether splice(2) from a descriptor does not wait for more bytes."""
    if is_socket(fd):
        return not _blocks(fd)
    return stat.S_ISFIFO(os.fstat(fd).st_mode)


def _blocks(fd: int) -> bool:
    """Return whether it is a socket in blocking mode, on which splice blocks."""
    return is_socket(fd) and os.get_blocking(fd)


def _splice(source: int, sink: int, size: int) -> int:
    return os.splice(source, sink, size, flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK)

"""
Movers: the ways to move bytes from one descriptor to another.

- :class:`SendFile` has the kernel send a file (sendfile(2), Linux).
- :class:`Splice` keeps bytes in the kernel and moves them through a pipe (splice(2),
  Linux).
- :class:`Copy` moves bytes through this process: over TLS, for input that is
  translated, and where the kernel does neither of the above.

A failure of splice or sendfile does not prove that nothing can be moved: a seccomp
filter may return any errno, and splice stops at TCP's urgent data (RFC 6093) as it does
at the end.  The failed call has moved nothing, so :class:`Copy` continues at the same
byte, and its result counts.  :func:`is_final` names the exception.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from twisted_tcpclient.relay.access import Read, Write, write_nowhere
from twisted_tcpclient.relay.descriptors import (
    CHUNK,
    is_direct,
    is_file,
    is_socket,
    remaining,
    widen,
)

#: The most bytes of a file in one sendfile(2).
_SENT = 2**22

#: The errors of a lost connection that Python does not map to ConnectionError.
_GONE = {
    errno.ETIMEDOUT,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.ENETDOWN,
}


class Withheld(BlockingIOError):
    """The source must not be read until bytes have been pushed (``Pump.push``)."""


def is_final(error: OSError) -> bool:
    """
    Return whether an error of splice or sendfile is the loss of a connection.

    Linux reports the loss once: after it recv(2) returns 0 as at an orderly end, so
    that a copy would not meet the error again.
    """
    return isinstance(error, ConnectionError) or error.errno in _GONE


class Copy:
    """
    A mover through this process.

    :ivar held: how many bytes were taken and not yet given.
    """

    def __init__(
        self, read: Read, write: Write, held: list[bytes] | None = None
    ) -> None:
        """
        :param held: pieces to give first.
        """
        self._read = read
        self._write = write
        self._pieces: list[bytes] = list(held or ())
        self.held = sum(map(len, self._pieces))

    @property
    def ahead(self) -> int:
        """How many bytes of the source were read and not yet given."""
        return self.held

    def take(self) -> int:
        """
        Read, and return how many bytes are held now.

        :raises BlockingIOError: if no bytes have come yet.
        :raises EOFError: at the end.
        """
        self.add(*self._read())
        return self.held

    def give(self) -> int:
        """
        Write some of the held bytes, and return how many were written.

        :raises BlockingIOError: if the sink takes none now.
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
        """Add pieces to those that are held."""
        self._pieces.extend(pieces)
        self.held += sum(map(len, pieces))

    def discard(self) -> None:
        """Discard all bytes from now on: the sink is closed."""
        self._write = write_nowhere

    def copied(self) -> Copy:
        """Return this mover: it copies already."""
        return self

    def widen(self) -> None:
        """Do nothing: there is no pipe to widen."""

    def close(self) -> None:
        """Drop the held bytes."""
        self._pieces, self.held = [], 0


class Splice:
    """
    A mover within the kernel, through a pipe.

    If splice returns 0, or EAGAIN twice in a row, the copy reads once in its place.
    The pipe and the copy never hold bytes at the same time, as more is taken only when
    all is given.  So the order of bytes is kept.
    """

    def __init__(
        self, source: int, sink: int, copy: Copy, pipe: tuple[int, int]
    ) -> None:
        """
        :param source: a pipe, or a socket in non-blocking mode.
        :param sink: a descriptor in non-blocking mode.
        :param copy: moves bytes between the same descriptors where splice cannot.
        :param pipe: the two ends of an empty pipe, which :meth:`close` closes.
        """
        self._source = source
        self._sink = sink
        self._copy = copy
        self._out, self._in = pipe
        self._piped = 0
        self._waited = False

    @property
    def held(self) -> int:
        """How many bytes were taken and not yet given."""
        return self._piped + self._copy.held

    @property
    def ahead(self) -> int:
        """How many bytes of the source were read and not yet given."""
        return self.held

    def take(self) -> int:
        """
        Move bytes from the source into the pipe, which is empty.

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
        """Move bytes from the pipe, or from the copy, to the sink."""
        if not self._piped:
            return self._copy.give()
        given = _splice(self._out, self._sink, self._piped)
        self._piped -= given
        return given

    def copied(self) -> Copy:
        """Close the pipe, and return the copy, which holds the bytes of the pipe."""
        while self._piped:
            piece = os.read(self._out, self._piped)
            self._copy.add(piece)
            self._piped -= len(piece)
        self._close_pipe()
        return self._copy

    def widen(self) -> None:
        """Let the pipe hold ``CHUNK`` bytes, if that is possible."""
        widen(self._in)

    def close(self) -> None:
        """Close the pipe, and drop the held bytes."""
        self._piped = 0
        self._copy.close()
        self._close_pipe()

    def _close_pipe(self) -> None:
        os.close(self._out)
        os.close(self._in)


class SendFile:
    """
    A mover that has the kernel send a regular file.

    It reads nothing ahead: the file's offset is behind the last byte that was sent.

    :ivar ahead: how many bytes of the file were read and not yet given: always 0.
    :ivar held: how many bytes to send before the size of the file is read again.
    """

    ahead = 0

    def __init__(self, source: int, sink: int, copy: Copy) -> None:
        """
        :param source: the file.
        :param sink: a socket in non-blocking mode.
        :param copy: moves bytes between the same descriptors where sendfile cannot.
        """
        self._source = source
        self._sink = sink
        self._copy = copy
        self.held = 0

    def take(self) -> int:
        """
        Return how many bytes to send next.

        :raises OSError: if the size shows no more bytes.  Files of /proc have the size
            0 and other files grow, so the copy has to read to find the end.
        """
        self.held = min(max(0, remaining(self._source)), _SENT)
        if not self.held:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return self.held

    def give(self) -> int:
        """
        Send some of the file, and return how many bytes were sent.

        :raises OSError: if sendfile(2) returns 0 before the end that the size shows:
            the file was truncated meanwhile, or is of /sys.  The copy has to read.
        """
        given = os.sendfile(self._sink, self._source, None, self.held)
        if not given:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.held -= given
        return given

    def copied(self) -> Copy:
        """Return the copy, which reads on from the file's offset."""
        self.close()
        return self._copy

    def widen(self) -> None:
        """Do nothing: there is no pipe to widen."""

    def close(self) -> None:
        """Send no more."""
        self.held = 0


Mover = Copy | Splice | SendFile


def mover(source: int, sink: int, copy: Copy) -> Mover:
    """
    Return the fastest mover from one descriptor to another.

    Only a call shows whether the kernel can do it, so a pump falls back on the copy.

    :param copy: moves bytes between the same descriptors, whatever their kinds.
    """
    if not hasattr(os, "splice") or os.isatty(sink) or _blocks(sink):
        return copy
    if is_file(source) and not is_direct(source):
        return SendFile(source, sink, copy)
    if _can_splice_from(source):
        with suppress(OSError):
            return Splice(source, sink, copy, os.pipe())
    return copy


def _can_splice_from(fd: int) -> bool:
    """Return whether splice(2) from a descriptor returns without waiting for bytes."""
    if is_socket(fd):
        return not _blocks(fd)
    return stat.S_ISFIFO(os.fstat(fd).st_mode)


def _blocks(fd: int) -> bool:
    """Return whether a descriptor is a socket in blocking mode: splice blocks on it."""
    return is_socket(fd) and os.get_blocking(fd)


def _splice(source: int, sink: int, size: int) -> int:
    return os.splice(source, sink, size, flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK)

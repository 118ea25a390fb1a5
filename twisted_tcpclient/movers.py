"""
Movers: the ways in which bytes get from one descriptor to another.

There are three.  :class:`SendFile` has the kernel send a file (sendfile(2), Linux).
:class:`Splice` leaves bytes in the kernel, too, and passes them on through a pipe of
our own (splice(2), Linux).  :class:`Copy` has them come through this process: where
somebody has to see them, as over TLS, and wherever the kernel does neither.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from twisted_tcpclient.descriptors import CHUNK, Read, is_file, remaining, widen

#: Bytes of a file that the kernel is asked to send at a time.
_SENT = 2**22

#: Pieces that are written at a time: the kernel takes no more (IOV_MAX of Linux).
_VECTOR = 1024

#: Writes some of that, and returns how much that was.
#: Raises BlockingIOError if one has to wait.
Write = Callable[["list[bytes]"], int]


def writer(fd: int) -> Write:
    """What writes a descriptor that does not block."""
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

    :ivar held: how many bytes were taken and not yet given.
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
        self.held = 0

    def take(self) -> int:
        """From the source into our pipe, which is empty."""
        self.held = _splice(self._source, self._in, CHUNK)
        if not self.held:
            raise EOFError
        return self.held

    def give(self) -> int:
        """From our pipe to the sink."""
        given = _splice(self._out, self._sink, self.held)
        self.held -= given
        return given

    def copied(self) -> Copy:
        """Return what goes on in place of this, which ends."""
        while self.held:
            piece = os.read(self._out, self.held)
            self._copy.add(piece)
            self.held -= len(piece)
        self.close()
        return self._copy

    def widen(self) -> None:
        """Hold more at a time."""
        widen(self._in)

    def close(self) -> None:
        """Close the pipe, and forget what is in it."""
        self.held = 0
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
    if not hasattr(os, "splice") or os.isatty(sink):
        return copy
    if is_file(source):
        return SendFile(source, sink, copy)
    if _patient(source):
        with suppress(OSError):
            return Splice(source, sink, copy)
    return copy


def _patient(fd: int) -> bool:
    """Whether taking from it more than there is does not block."""
    kind = os.fstat(fd).st_mode
    return stat.S_ISFIFO(kind) or (stat.S_ISSOCK(kind) and not os.get_blocking(fd))


def _splice(source: int, sink: int, size: int) -> int:
    return os.splice(source, sink, size, flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK)

"""
Pumps: each moves bytes one way, from one descriptor to another.

There are two ways to move them.  :class:`Splice` leaves them in the kernel and
passes them on through a pipe of our own (splice(2), Linux).  :class:`Copy` has
them come through this process: where somebody has to see them, as over TLS, and
wherever the kernel does not splice.  Both take, then give, and take no more
before all is given.  So a reader that stalls stalls the writer, and memory
stays flat.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from fcntl import fcntl, ioctl
from select import POLLIN, poll
from sys import byteorder
from termios import FIONREAD

from twisted_tcpclient.descriptors import Watch
from twisted_tcpclient.errors import TCPClientError

#: Bytes that are copied at a time: many more do not stay in the cache.
CHUNK = 2**16
#: Bytes that are spliced at a time, where pipes can be made to hold them.
PIPE = 2**18
#: Bytes that are moved before it is the turn of others.
TURN = 2**22

#: Pieces that are written at a time: the kernel takes no more (IOV_MAX of Linux).
_VECTOR = 1024

#: What the kernel says where it does not splice.
_CANNOT = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}

#: Reads what there is, which may be nothing yet.
#: Raises BlockingIOError if one has to wait for it, and EOFError at the end.
Read = Callable[[], "list[bytes]"]

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
        :param source: a pipe, a regular file, or a socket that does not block.
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
        self.held = _splice(self._source, self._in, PIPE)
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


Mover = Copy | Splice


def mover(source: int, sink: int, copy: Copy) -> Mover:
    """
    The fastest way from one descriptor to another.

    Whether the kernel splices shows when it is asked to: a :class:`Pump` falls
    back on the copy.

    :param copy: the way that always exists.
    """
    if hasattr(os, "splice") and _patient(source) and not os.isatty(sink):
        with suppress(OSError):
            return Splice(source, sink, copy)
    return copy


def _patient(fd: int) -> bool:
    """Whether taking from it more than there is does not block."""
    kind = os.fstat(fd).st_mode
    return (
        stat.S_ISFIFO(kind)
        or stat.S_ISREG(kind)
        or (stat.S_ISSOCK(kind) and not os.get_blocking(fd))
    )


def _splice(source: int, sink: int, size: int) -> int:
    return os.splice(source, sink, size, flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK)


def widen(fd: int) -> None:
    """
    Let a pipe hold more, where that is possible; anything else is left alone.

    Not as much as may be: all pipes of a user together have a limit (pipe(7)).
    """
    with suppress(ImportError, OSError, ValueError):
        from fcntl import F_GETPIPE_SZ, F_SETPIPE_SZ

        if fcntl(fd, F_GETPIPE_SZ) < PIPE:
            fcntl(fd, F_SETPIPE_SZ, PIPE)


def reader(fd: int) -> Read:
    """
    What reads a descriptor that may block, without blocking.

    It is asked first: it may be shared, and is not ours to change.
    """
    ready = poll()
    ready.register(fd, POLLIN)

    def read() -> list[bytes]:
        if not ready.poll(0):
            raise BlockingIOError
        data = os.read(fd, CHUNK)
        if not data:
            raise EOFError
        return [data]

    return read


def unread(fd: int) -> bool:
    """
    Whether there is known to be more to read.

    Never of a terminal: what was typed ahead is for whoever reads it next.
    """
    with suppress(OSError):
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            return os.lseek(fd, 0, os.SEEK_CUR) < status.st_size
        if not os.isatty(fd):
            held = ioctl(fd, FIONREAD, bytes(4))
            return int.from_bytes(held, byteorder) > 0
    return False


class Pump:
    """
    Moves bytes one way, as the reactor finds descriptors ready.

    :ivar taken: how many bytes were taken so far.
    :ivar given: how many bytes were given so far.
    :ivar stalled: whether it waits for whoever it gives to.
    """

    def __init__(
        self,
        mover: Mover,
        source: Watch,
        sink: Watch,
        between: Watch,
        ended: Callable[[Exception | None], None],
        failed: Callable[[OSError], None],
    ) -> None:
        """
        :param source: watches what is taken from.
        :param sink: watches what is given to.
        :param between: what to watch between two turns: one of both that is no
            file, as files cannot be watched.
        :param ended: called once, when nothing more will be taken and all is
            given: with None at the end, or with what went wrong.
        :param failed: called when no more can be given.
        """
        self._mover = mover
        self._source = source
        self._sink = sink
        self._between = between
        self._ended = ended
        self._failed = failed
        self._taking = True
        self._stopped = False
        self._then: Callable[[], None] | None = None
        self._wide = self._within = False
        self.taken = self.given = 0
        self.stalled = False

    @property
    def held(self) -> int:
        """How many bytes were taken, and not yet given."""
        return self._mover.held

    def turn(self) -> None:
        """Move what can be moved, within bounds."""
        if self._within:
            return
        bound = self.given + TURN
        if self.given > PIPE and not self._wide:
            self._widen()
        while self._mover.held or self._taking:
            if self._mover.held:
                moved = self._give()
            elif self.given < bound:
                moved = self._take()
            else:
                self._wait(self._between)
                return
            if not moved:
                return
        self._rest()

    def finish(self, then: Callable[[], None]) -> None:
        """Take no more, and call that once all is given."""
        self._taking = False
        self._then = then
        self._source.reading(False)
        self.turn()

    def push(self, data: bytes) -> None:
        """Give that as well, though it was not taken here."""
        if not self._stopped:
            self._mover = self._mover.copied()
            self._mover.add(data)
            self.turn()

    def discard(self) -> None:
        """Nobody is there any more to be given anything; go on taking."""
        if not self._stopped:
            self._mover = self._mover.copied()
            self._mover.discard()
            self._sink.stop()
            self.turn()

    def stop(self) -> None:
        """Move nothing more."""
        if not self._stopped:
            self._stopped = True
            self._taking = self.stalled = False
            self._then = None
            self._wait(None)
            self._mover.close()

    def _widen(self) -> None:
        """Whoever has so much to say may have much more."""
        self._wide = True
        self._mover.widen()
        widen(self._source.fd)
        widen(self._sink.fd)

    def _take(self) -> bool:
        """Return whether one may go on."""
        try:
            self.taken += self._taken()
            return not self._stopped
        except BlockingIOError:
            self._wait(self._source)
        except EOFError:
            self._end(None)
        except (OSError, TCPClientError) as error:
            if self._cannot_splice(error):
                return True
            self._end(error)
        return False

    def _taken(self) -> int:
        """
        Take.  TLS may have something to send meanwhile, and find that it cannot:
        what comes of that is not to begin another turn.
        """
        self._within = True
        try:
            return self._mover.take()
        finally:
            self._within = False

    def _give(self) -> bool:
        """Return whether one may go on."""
        try:
            self.given += self._mover.give()
            self.stalled = False
            return True
        except BlockingIOError:
            self.stalled = True
            self._wait(self._sink)
        except OSError as error:
            if self._cannot_splice(error):
                return True
            self.stalled = False
            self._wait(None)
            self._failed(error)
        return False

    def _cannot_splice(self, error: Exception) -> bool:
        """Whether this is why, and copying goes on in its place."""
        if isinstance(self._mover, Copy) or error.args[0] not in _CANNOT:
            return False
        self._mover = self._mover.copied()
        return True

    def _end(self, error: Exception | None) -> None:
        self._taking = False
        self._wait(None)
        self._ended(error)

    def _wait(self, on: Watch | None) -> None:
        """Go on as soon as that is ready."""
        self._source.reading(on is self._source)
        self._sink.writing(on is self._sink)

    def _rest(self) -> None:
        """There is nothing to do any more."""
        self._wait(None)
        then, self._then = self._then, None
        if then is not None:
            then()

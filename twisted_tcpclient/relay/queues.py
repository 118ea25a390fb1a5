"""
The queues that the kernel keeps for a descriptor: unread input and unsent output.
"""

from __future__ import annotations

import os
import select
import stat
from contextlib import suppress
from enum import Enum, auto
from fcntl import ioctl
from mmap import PAGESIZE, mmap
from sys import byteorder
from termios import FIONREAD, TIOCOUTQ

#: The event of poll(2) for the end of a socket (Linux).  The end of a pipe is POLLHUP,
#: which poll(2) reports without being asked.
_HANG_UP = getattr(select, "POLLRDHUP", 0)


class Unread(Enum):
    """Whether a descriptor has unread input."""

    #: There is unread input.
    SOME = auto()
    #: There is no unread input, and none will come.
    NONE = auto()
    #: No input has come yet: a pipe that has a writer, a socket that is not shut down.
    UNKNOWN = auto()


def unread(fd: int) -> Unread:
    """
    Return whether a descriptor has unread input, without reading it.

    A terminal counts as having none: the next process that reads the terminal gets the
    lines typed ahead.  So does any other character device: its bytes belong to no
    session.
    """
    with suppress(OSError):
        kind = os.fstat(fd).st_mode
        if stat.S_ISREG(kind) or stat.S_ISBLK(kind):
            return Unread.SOME if _is_before_end(fd) else Unread.NONE
        if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind):
            return _unread_of_stream(fd)
    return Unread.NONE


def _is_before_end(fd: int) -> bool:
    """
    Return whether a file or a block device has bytes behind its current offset.

    The size does not show it: st_size is 0 for files of /proc and for block devices.
    So one page is read, into aligned memory because of O_DIRECT (open(2)).
    """
    with mmap(-1, PAGESIZE) as page:
        return os.preadv(fd, [page], os.lseek(fd, 0, os.SEEK_CUR)) > 0


def _unread_of_stream(fd: int) -> Unread:
    """Return whether a pipe or a socket has unread input."""
    ready = select.poll()
    ready.register(fd, _HANG_UP)
    hung_up = bool(ready.poll(0))
    # FIONREAD comes after poll(2): a writer may write and close between the two calls.
    if _amount(fd, FIONREAD) > 0:
        return Unread.SOME
    return Unread.NONE if hung_up else Unread.UNKNOWN


def outstanding(fd: int) -> int:
    """
    Return how many bytes the peer of a socket has not acknowledged.

    :returns: 0 if the kernel does not know, as for a socket that is closed.
    """
    return _amount(fd, TIOCOUTQ)


def _amount(fd: int, request: int) -> int:
    """Return the number of bytes that an ioctl(2) reports; 0 if it fails."""
    try:
        held = ioctl(fd, request, bytes(4))
    except (OSError, ValueError):
        return 0
    return int.from_bytes(held, byteorder)

"""
Functions that read and write descriptors of any kind without blocking.

The blocking mode of a descriptor stays as it is, as other processes may share it.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from functools import partial
from mmap import mmap
from select import POLLIN, poll

from twisted_tcpclient.relay.descriptors import CHUNK, Borrowed, is_direct, is_socket

#: Reads once and returns what was read, in pieces; the list may be empty.
#: Raises BlockingIOError if no bytes have come yet, and EOFError at the end.
Read = Callable[[], "list[bytes]"]

#: Writes some of the pieces, and returns how many bytes were written.
#: Raises BlockingIOError if the descriptor takes none now.
Write = Callable[["list[bytes]"], int]

#: The largest number of pieces in one writev(2) or sendmsg(2): IOV_MAX of Linux.
_VECTOR = 1024

#: The device number of each master of a pseudo-terminal: that of /dev/ptmx
#: (Linux, admin-guide/devices).
_MASTER = os.makedev(5, 2)


def read_from(fd: int) -> Read:
    """Return a function that reads a descriptor without blocking."""
    fetch = _fetcher(fd)

    def read() -> list[bytes]:
        data = fetch()
        if not data:
            raise EOFError
        return [data]

    return read


def _fetcher(fd: int) -> Callable[[], bytes]:
    """Return a function that reads once; it returns b"" at the end."""
    if is_socket(fd):
        receive = Borrowed(fileno=fd).recv
        return lambda: receive(CHUNK, socket.MSG_DONTWAIT)
    status = os.fstat(fd)
    if is_direct(fd):
        read = _paged(fd)
    elif _waits_in_read(fd, status.st_mode):
        read = _instant(fd)
    else:
        read = partial(os.read, fd, CHUNK)
    is_master = status.st_rdev == _MASTER
    ready = poll()
    ready.register(fd, POLLIN)

    def fetch() -> bytes:
        if not ready.poll(0):
            raise BlockingIOError
        try:
            return read()
        except OSError as error:
            # read(2) of a master fails with EIO once all slaves are closed (Linux).
            if is_master and error.errno == errno.EIO:
                return b""
            raise

    return fetch


def _waits_in_read(fd: int, mode: int) -> bool:
    """Return whether read(2) may block where preadv2(2) with RWF_NOWAIT does not."""
    blocking = stat.S_ISFIFO(mode) and os.get_blocking(fd)
    return blocking and hasattr(os, "RWF_NOWAIT")


def _paged(fd: int) -> Callable[[], bytes]:
    """Return a function that reads into page-aligned memory, as O_DIRECT demands."""
    page = mmap(-1, CHUNK)
    return lambda: page[: os.readv(fd, [page])]


def _instant(fd: int) -> Callable[[], bytes]:
    """Return a function that reads a blocking pipe without waiting (Linux 6.4)."""
    page = mmap(-1, CHUNK)

    def read() -> bytes:
        try:
            # -1 is the current offset (preadv2(2)), the only one of a pipe.
            return page[: os.preadv(fd, [page], -1, os.RWF_NOWAIT)]
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return os.read(fd, CHUNK)

    return read


def write_to(fd: int) -> Write:
    """
    Return a function that writes a descriptor without blocking.

    :param fd: a socket, which may be in blocking mode; or any other descriptor in
        non-blocking mode.
    """
    if is_socket(fd):
        send = Borrowed(fileno=fd).sendmsg
        return lambda pieces: send(pieces[:_VECTOR], (), socket.MSG_DONTWAIT)
    return lambda pieces: os.writev(fd, pieces[:_VECTOR])


def write_nowhere(pieces: list[bytes]) -> int:
    """Discard all pieces, and return how many bytes they have."""
    return sum(map(len, pieces))

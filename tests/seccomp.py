"""Runs a command under a filter that answers some system calls with an error (Linux).

    python -m tests.seccomp ERRNO CALL[,CALL...] COMMAND [ARGUMENT ...]

Containers and sandboxes use such filters, see seccomp(2).
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterator, Sequence

#: The audit architecture of each machine, and the numbers of its system calls.
_MACHINES = {
    "x86_64": (0xC000003E, {"splice": 275, "sendfile": 40}),
    "aarch64": (0xC00000B7, {"splice": 76, "sendfile": 71}),
}

_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER = 38, 22, 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000

#: Instructions of classic BPF: load a word, jump if equal, return.
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06

#: Offsets in struct seccomp_data of the number of the call and of the architecture.
_NUMBER, _ARCHITECTURE = 0, 4


def supported() -> bool:
    """Tell whether the numbers of this machine's system calls are known."""
    return sys.platform == "linux" and platform.machine() in _MACHINES


def _program(calls: Sequence[str], number: int) -> Iterator[bytes]:
    """Yield the instructions of a filter."""
    architecture, numbers = _MACHINES[platform.machine()]
    pack = struct.Struct("HBBI").pack
    yield pack(_LOAD, 0, 0, _ARCHITECTURE)
    yield pack(_JUMP_EQUAL, 1, 0, architecture)
    yield pack(_RETURN, 0, 0, _ALLOW)
    yield pack(_LOAD, 0, 0, _NUMBER)
    for call in calls:
        yield pack(_JUMP_EQUAL, 0, 1, numbers[call])
        yield pack(_RETURN, 0, 0, _ERRNO | number)
    yield pack(_RETURN, 0, 0, _ALLOW)


def install(calls: Sequence[str], number: int) -> None:
    """
    Answer these calls with an error, in this process from now on, and in all children.

    :raises OSError: if the kernel has no such filters.
    """
    instructions = list(_program(calls, number))
    code = ctypes.create_string_buffer(b"".join(instructions))
    head = struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_NO_NEW_PRIVS, 1, 0, 0, 0), (_SET_SECCOMP, _FILTER, head, 0, 0)):
        if libc.prctl(*(_argument(each) for each in arguments)):
            why = ctypes.get_errno()
            raise OSError(why, os.strerror(why))


def _argument(value: int | bytes) -> object:
    """Return a value as prctl(2) takes it."""
    return ctypes.c_ulong(value) if isinstance(value, int) else ctypes.c_char_p(value)


if __name__ == "__main__":
    install(sys.argv[2].split(","), getattr(errno, sys.argv[1]))
    os.execv(sys.argv[3], sys.argv[3:])

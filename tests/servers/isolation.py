"""A mount namespace for daemons with users and paths that are compiled in."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.packages import find_program

#: The first user number that no Debian package allocates.
FIRST_USER = 64900

_ENTER = """\
set -e
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/group" /etc/group
shift
while [ "$1" != -- ]; do
    mount -t tmpfs -o mode=755 tmpfs "$1"
    shift
done
shift
exec "$@"
"""


def isolated(
    directory: Path,
    command: Sequence[str],
    *,
    users: Sequence[str],
    empty: Sequence[str] = (),
    home: str = "/nonexistent",
) -> tuple[str, ...]:
    """
    Return the command that runs `command` in a new mount namespace, in one process.

    :param users: Users to add, numbered from `FIRST_USER`.
    :param empty: Directories that are replaced by empty, writable ones.
    :param home: The home directory of the users.
    """
    unshare = find_program("unshare", "util-linux")
    if subprocess.run([unshare, "--mount", "true"], capture_output=True).returncode:
        raise SkipTest("this container may not make a mount namespace")
    passwd, group = (Path("/etc", name).read_text() for name in ("passwd", "group"))
    for number, user in enumerate(users, FIRST_USER):
        passwd += f"{user}:x:{number}:{number}::{home}:/usr/sbin/nologin\n"
        group += f"{user}:x:{number}:\n"
    (directory / "passwd").write_text(passwd)
    (directory / "group").write_text(group)
    enter = (unshare, "--mount", "sh", "-c", _ENTER, "sh", str(directory))
    return (*enter, *empty, "--", *command)

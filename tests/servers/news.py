"""INN: innd, the server for peers, and nnrpd, the server for readers."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

from tests.packages import find_program
from tests.servers.daemon import (
    HOST,
    Server,
    as_user,
    make_directory,
    own_certificate,
    require_root,
    serve,
)


@functools.cache
def nnrpd() -> Server:
    """Start nnrpd, INN's server for readers, with an empty spool."""
    program = find_program("nnrpd", "inn2")
    require_root("inn2")
    directory, settings = _inn("nnrpd")
    readers = str(directory / "etc" / "readers.conf")

    def command(port: int) -> tuple[str, ...]:
        nnrpd = (program, "-D", "-f", "-b", HOST, "-p", str(port), "-c", readers)
        return "/usr/bin/env", f"INNCONF={settings}", *nnrpd

    return serve(directory, command)


@functools.cache
def innd() -> Server:
    """
    Start innd, which offers STARTTLS only after MODE READER.

    The tests connect as a peer, like every client on its host with Debian's settings;
    innd gives other clients to nnrpd at once.
    """
    program, history = find_program("innd", "inn2"), find_program("makedbz", "inn2")
    require_root("inn2")
    directory, settings = _inn("innd")
    environment = ("/usr/bin/env", f"INNCONF={settings}")
    path = directory / "db" / "history"
    made = (*environment, history, "-i", "-f", str(path))
    subprocess.run(as_user("news", *made), check=True, cwd=directory)
    for part in path.parent.glob("history.n.*"):
        part.rename(path.with_suffix(part.suffix))

    def command(port: int) -> tuple[str, ...]:
        # innd acts on SIGTERM only at its next connection.  So the signal ends a shell,
        # and the rest of the process group is killed.
        shell = ("/bin/sh", "-c", '"$@" & wait', "sh")
        innd = (*environment, program, "-d", "-N", "-P", str(port))
        return as_user("news", *shell, *innd)

    return serve(directory, command)


def _inn(name: str) -> tuple[Path, Path]:
    """Make a spool for INN; return its directory and its settings file."""
    directory = make_directory(name)
    for path in _INN_PATHS:
        (directory / path).mkdir()
    for path, text in _INN_FILES.items():
        (directory / path).write_text(text)
    certificate = own_certificate(directory, "news")
    settings = directory / "inn.conf"
    paths = [path for path in _INN_PATHS if "/" not in path]
    settings.write_text(
        _INN_SETTINGS
        + "".join(f"path{path}: {directory}/{path}\n" for path in paths)
        + f"tlscertfile: {certificate}\ntlskeyfile: {certificate}\n"
    )
    for each in (directory, *directory.rglob("*")):
        shutil.chown(each, "news", "news")
    return directory, settings


_INN_PATHS = (
    "articles",
    "db",
    "etc",
    "http",
    "log",
    "overview",
    "run",
    "spool",
    "spool/outgoing",
    "tmp",
)

_INN_FILES = {
    "db/active": """\
control 0000000000 0000000001 n
control.cancel 0000000000 0000000001 n
example.test 0000000000 0000000001 y
junk 0000000000 0000000001 y
""",
    "db/active.times": "",
    "db/history": "",
    "db/newsgroups": "example.test\tAll the news.\n",
    "etc/storage.conf": "method tradspool { newsgroups: * class: 0 }\n",
    "overview/group.index": "",
    "spool/tradspool.map": "",
    "etc/control.ctl": "all:*:*:drop\n",
    "etc/expire.ctl": "/remember/:11\n*:A:1:10:never\n",
    "etc/incoming.conf": """\
peer ME { hostname: "localhost, 127.0.0.1, ::1" }
""",
    "etc/newsfeeds": "ME:!*::\nnone:!*:Tl:\n",
    "etc/readers.conf": """\
auth "all" { hosts: "*" default: "reader" }
access "all" { users: "*" newsgroups: "*" }
""",
}

_INN_SETTINGS = """\
mta: /bin/true
pathhost: news.example.test
domain: example.test
hismethod: hisv6
ovmethod: tradindexed
pathnews: /usr/lib/news
nnrpdloadlimit: 0
bindaddress: 127.0.0.1
bindaddress6: "::1"
"""

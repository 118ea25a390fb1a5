"""nnrpd of INN."""

from __future__ import annotations

import functools
import shutil

from tests.packages import find_program
from tests.servers.daemon import (
    HOST,
    Server,
    make_directory,
    own_certificate,
    require_root,
    serve,
)


@functools.cache
def nnrpd() -> Server:
    """Start nnrpd, the part of INN that readers talk to, on a spool of nothing."""
    program = find_program("nnrpd", "inn2")
    require_root("inn2")
    directory = make_directory("nnrpd")
    for name in _INN_PATHS:
        (directory / name).mkdir()
    for name, text in _INN_FILES.items():
        (directory / name).write_text(text)
    certificate = own_certificate(directory, "news")
    settings = directory / "inn.conf"
    settings.write_text(
        _INN_SETTINGS
        + "".join(f"path{name}: {directory}/{name}\n" for name in _INN_PATHS)
        + f"tlscertfile: {certificate}\ntlskeyfile: {certificate}\n"
    )
    for path in (directory, *directory.rglob("*")):
        shutil.chown(path, "news", "news")
    readers = str(directory / "readers.conf")

    def command(port: int) -> tuple[str, ...]:
        nnrpd = (program, "-D", "-f", "-b", HOST, "-p", str(port), "-c", readers)
        return "/usr/bin/env", f"INNCONF={settings}", *nnrpd

    return serve(directory, command)


_INN_PATHS = (
    "articles",
    "db",
    "etc",
    "log",
    "overview",
    "run",
    "spool",
    "tmp",
)

_INN_FILES = {
    "db/active": "example.test 0000000000 0000000001 y\n",
    "db/active.times": "",
    "db/history": "",
    "db/newsgroups": "example.test\tAll the news.\n",
    "etc/storage.conf": "method tradspool { newsgroups: * class: 0 }\n",
    "overview/group.index": "",
    "spool/tradspool.map": "",
    "readers.conf": """\
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
"""

"""Cyrus, an IMAP server that ends TLS without close_notify."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from dataclasses import dataclass

from tests.packages import find_program, find_unpacked
from tests.servers.daemon import (
    HOST,
    make_directory,
    own_certificate,
    require_root,
    serve_on,
)


@dataclass(frozen=True)
class Cyrus:
    """
    Cyrus, in which `user` logs in with `password`; the first login creates the INBOX.
    """

    host: str
    imap: int
    imaps: int
    user: str
    password: str


@functools.cache
def cyrus() -> Cyrus:
    """Start Cyrus with implicit TLS on `imaps` and STARTTLS on `imap`."""
    common, imapd = find_unpacked("cyrus-common"), find_unpacked("cyrus-imapd")
    saslpasswd = find_program("saslpasswd2", "sasl2-bin")
    require_root("cyrus-imapd")
    directory = make_directory("cyrus")
    for name in ("socket", "proc", "db"):
        (directory / "config" / name).mkdir(parents=True)
    certificate = own_certificate(directory, "nobody")
    settings, services = directory / "imapd.conf", directory / "cyrus.conf"
    settings.write_text(f"""\
configdirectory: {directory}/config
partition-default: {directory}/spool
cyrus_user: nobody
servername: mail.example.test
autocreate_quota: 0
maxmessagesize: 0
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {directory}/sasldb2
sasl_mech_list: PLAIN LOGIN
tls_server_cert: {certificate}
tls_server_key: {certificate}
""")
    user, password = "user", "secret"
    database = ("-f", str(directory / "sasldb2"), "-u", "mail.example.test")
    subprocess.run(
        (saslpasswd, "-p", "-c", *database, user), input=password.encode(), check=True
    )
    for path in (directory, *directory.rglob("*")):
        shutil.chown(path, "nobody", "nogroup")
    program = f"{imapd}/usr/lib/cyrus/bin/imapd -C {settings}"
    master = f"{common}/usr/sbin/cyrmaster"
    (libraries,) = (common / "usr/lib").glob("*/libcyrus.so.0")

    def command(imap: int, imaps: int) -> tuple[str, ...]:
        services.write_text(f"""\
START {{
}}
SERVICES {{
  imap cmd="{program}" listen="{HOST}:{imap}" prefork=1
  imaps cmd="{program} -s" listen="{HOST}:{imaps}" prefork=1
}}
EVENTS {{
}}
""")
        files = ("-C", str(settings), "-M", str(services), "-p", f"{directory}/pid")
        library = f"LD_LIBRARY_PATH={os.path.dirname(libraries)}"
        return "/usr/bin/env", library, master, *files, "-D"

    imap, imaps = serve_on(2, directory, command)
    return Cyrus(host=HOST, imap=imap, imaps=imaps, user=user, password=password)

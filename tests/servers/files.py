"""File servers: vsftpd, pure-ftpd, nbd-server."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import subprocess

from tests import certificates
from tests.packages import find_program, find_unpacked
from tests.servers.daemon import (
    HOST,
    PATIENCE,
    Server,
    eventually,
    free_ports,
    listens,
    make_directory,
    own_certificate,
    require_root,
    serve,
    text_of,
)
from tests.servers.isolation import isolated


@functools.cache
def vsftpd() -> Server:
    """Start vsftpd, an FTP server with anonymous login."""
    program = find_program("vsftpd", "vsftpd")
    require_root("vsftpd")
    directory = make_directory("vsftpd")
    for name in ("empty", "files"):
        (directory / name).mkdir()
    settings = directory / "vsftpd.conf"

    def command(port: int) -> tuple[str, ...]:
        settings.write_text(f"""\
listen=YES
listen_address={HOST}
listen_port={port}
background=NO
anonymous_enable=YES
anon_root={directory}/files
secure_chroot_dir={directory}/empty
vsftpd_log_file={directory}/log
ssl_enable=YES
allow_anon_ssl=YES
rsa_cert_file={certificates.shared().server}
seccomp_sandbox=NO
""")
        return program, str(settings)

    return serve(directory, command)


@functools.cache
def pure_ftpd() -> Server:
    """
    Start pure-ftpd, with anonymous login.  It ends TLS without close_notify.

    It reads the next TCP segment even if decrypted commands are waiting, so commands
    that are sent ahead may get no answer.
    """
    package = find_unpacked("pure-ftpd")
    require_root("pure-ftpd")
    directory = make_directory("pure-ftpd")
    (directory / "files").mkdir()
    certificate = own_certificate(directory, 0)
    program = str(package / "usr/sbin/pure-ftpd")
    options = (
        *("--anonymousonly", "--dontresolve", "--tls=1"),
        *(f"--certfile={certificate}", f"--pidfile={directory}/pid"),
    )

    def command(port: int) -> tuple[str, ...]:
        return isolated(
            directory,
            (program, *options, f"--bind={HOST},{port}"),
            users=("ftp",),
            empty=("/run",),
            home=f"{directory}/files",
        )

    return serve(directory, command)


@functools.cache
def nbd() -> Server:
    """
    Start nbd-server: the export `disk`, for clients with a certificate.

    It offers STARTTLS. It always becomes a daemon, so its id is read from its pid file.
    """
    program = find_program("nbd-server", "nbd-server")
    directory = make_directory("nbd")
    shared = certificates.shared()
    settings, disk, pid = (directory / name for name in ("config", "disk", "pid"))
    disk.write_bytes(bytes(4096))
    with free_ports(1) as (port,):
        settings.write_text(f"""\
[generic]
listenaddr = {HOST}
port = {port}
certfile = {shared.server}
keyfile = {shared.server}
cacertfile = {shared.ca}
allowlist = true
[disk]
exportname = {disk}
readonly = true
""")
        command = (program, "-C", str(settings), "-p", str(pid))
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
        daemon = int(
            eventually(lambda: text_of(pid).strip(), "nbd-server's process id")
        )
        atexit.register(_terminate, daemon)
        eventually(lambda: listens(daemon, port, everywhere=False), "nbd-server")
    return Server(host=HOST, port=port, log=directory / "log")


def _terminate(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)

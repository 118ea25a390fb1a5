"""OpenSSH's server."""

from __future__ import annotations

import functools
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.packages import find_program
from tests.servers.daemon import HOST, make_directory, require_root, serve


@dataclass(frozen=True)
class SSH:
    """An SSH server on 127.0.0.1, where root logs in with a key."""

    host: str
    port: int
    host_key: Path
    user_key: Path
    log: Path


@functools.cache
def sshd() -> SSH:
    """Start OpenSSH's server."""
    program = find_program("sshd", "openssh-server")
    keygen = find_program("ssh-keygen", "openssh-client")
    require_root("openssh-server")
    directory = make_directory("sshd")
    for name in ("host", "user"):
        command = (keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name))
        subprocess.run(command, check=True, capture_output=True)
    # sshd requires this directory, which Debian's systemd unit creates.
    Path("/run/sshd").mkdir(exist_ok=True)
    settings = directory / "sshd_config"

    def with_port(port: int) -> tuple[str, ...]:
        settings.write_text(f"""\
ListenAddress {HOST}:{port}
HostKey {directory}/host
AuthorizedKeysFile {directory}/user.pub
StrictModes no
PermitRootLogin prohibit-password
UsePAM no
UseDNS no
PidFile none
Subsystem sftp internal-sftp
""")
        return program, "-D", "-e", "-f", str(settings)

    server = serve(directory, with_port, "Server listening")
    return SSH(
        host=server.host,
        port=server.port,
        host_key=directory / "host.pub",
        user_key=directory / "user",
        log=server.log,
    )

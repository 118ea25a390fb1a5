"""SMTP servers that behave differently from Postfix: Exim, OpenSMTPD, aiosmtpd."""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tests import certificates
from tests.packages import find_unpacked
from tests.servers.daemon import (
    HOST,
    Server,
    make_directory,
    own_certificate,
    require_root,
    serve,
    serve_on,
)
from tests.servers.isolation import FIRST_USER, isolated

#: The largest message that these servers accept, in bytes.
LARGEST = 100_000_000


@functools.cache
def exim() -> Server:
    """
    Start Exim, which accepts and discards all mail.

    It does not answer close_notify (Exim 4.96; it would continue in clear if it had
    more to say), and it accepts commands before it has answered the last one.
    """
    package = find_unpacked("exim4-daemon-light")
    require_root("exim4-daemon-light")
    directory = make_directory("exim")
    (directory / "spool").mkdir()
    settings = directory / "exim.conf"
    server = own_certificate(directory, FIRST_USER)
    settings.write_text(f"""\
keep_environment =
spool_directory = {directory}/spool
log_file_path = {directory}/%slog
pid_file_path = {directory}/pid
primary_hostname = mail.example.test
host_lookup =
rfc1413_hosts =
tls_advertise_hosts = *
tls_certificate = {server}
tls_privatekey = {server}
message_size_limit = {LARGEST}
smtp_accept_max = 0
smtp_enforce_sync = false
queue_only = true
acl_smtp_rcpt = accept
acl_smtp_data = discard
""")
    for path in (directory, directory / "spool"):
        os.chown(path, FIRST_USER, FIRST_USER)
    program = str(package / "usr/sbin/exim4")

    def command(port: int) -> tuple[str, ...]:
        listener = f"<; [{HOST}]:{port}"
        exim = (program, "-C", str(settings), "-bdf", "-oX", listener)
        return isolated(directory, exim, users=("Debian-exim",))

    return serve(directory, command)


@functools.cache
def opensmtpd() -> Server:
    """
    Start OpenSMTPD, which accepts no command before it has answered the last one.

    It offers no TLS: in Debian 12 each of its TLS handshakes fails (OpenSMTPD#1171).
    """
    package = find_unpacked("opensmtpd")
    require_root("opensmtpd")
    directory = make_directory("opensmtpd")
    settings = directory / "smtpd.conf"
    prepare = f"""\
set -e
mkdir -p -m 711 /var/spool/smtpd
mkdir -p /var/lib/opensmtpd/empty
ln -s {package}/usr/libexec/opensmtpd /usr/libexec/opensmtpd
exec {package}/usr/sbin/smtpd -d -f {settings}
"""

    def command(port: int) -> tuple[str, ...]:
        settings.write_text(f"""\
smtp max-message-size "{LARGEST}"
listen on {HOST} port {port} hostname mail.example.test
action keep mda "cat >/dev/null" virtual {{ "@" = nobody }}
match from any for any action keep
""")
        return isolated(
            directory,
            ("sh", "-c", prepare),
            users=("opensmtpd", "opensmtpq"),
            empty=("/run", "/usr/libexec", "/var/lib", "/var/spool"),
        )

    return serve(directory, command)


@dataclass(frozen=True)
class Aiosmtpd:
    """
    aiosmtpd: `smtp` offers STARTTLS, `plain` does not.

    Its reply to a message tells the size of the message.  It delays its reply to QUIT
    by the number of seconds in the client's name: "EHLO slow2" means 2 s.
    """

    host: str
    smtp: int
    plain: int


@functools.cache
def aiosmtpd() -> Aiosmtpd:
    """Start aiosmtpd."""
    directory = make_directory("aiosmtpd")
    script = Path(__file__).parent.joinpath("scripts", "mailer.py")
    server = str(certificates.shared().server)
    smtp, plain = serve_on(
        2,
        directory,
        lambda *ports: (
            *(sys.executable, str(script), server, str(LARGEST)),
            *map(str, ports),
        ),
    )
    return Aiosmtpd(host=HOST, smtp=smtp, plain=plain)

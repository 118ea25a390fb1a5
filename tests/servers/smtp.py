"""Postfix."""

from __future__ import annotations

import functools
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests import certificates
from tests.packages import find_program
from tests.servers.daemon import (
    HOST,
    eventually,
    free_ports,
    listens,
    loopbacks,
    make_directory,
    require_root,
    start,
    wait_until_ready,
)


@dataclass(frozen=True)
class Postfix:
    """An SMTP server that stores mail for user@example.test."""

    host: str
    addresses: tuple[str, ...]
    smtp: int
    smtps: int
    plain: int
    mutual: int
    socket: Path
    mailbox: Path
    log: Path

    def message(self, text: str) -> str:
        """Wait for a message that contains this text; return it."""

        def find() -> str | None:
            files = self.mailbox.glob("new/*")
            messages = (file.read_text(errors="replace") for file in files)
            return next((message for message in messages if text in message), None)

        return eventually(find, f"a message with {text!r}")


@functools.cache
def postfix() -> Postfix:
    """
    Start Postfix.

    It offers STARTTLS on port `smtp` and on the UNIX `socket`, but not on `plain`. On
    `mutual` it offers STARTTLS and requires a client certificate.  On `smtps` TLS is
    implicit.  The log has the SNI of the client: "to NAME" for mail.example.test, and
    "SNI NAME" for any other.
    """
    master = find_program("master", "postfix")
    require_root("postfix")
    directory = make_directory("postfix")
    _make_postfix_directories(directory)
    _write_postfix_settings(directory / "config" / "main.cf", directory)
    with free_ports(4) as ports:
        smtp, smtps, plain, mutual = ports
        listeners = {
            smtp: "",
            smtps: "-o smtpd_tls_wrappermode=yes",
            plain: "-o smtpd_tls_security_level=none",
            mutual: "-o smtpd_tls_security_level=encrypt -o smtpd_tls_req_ccert=yes",
        }
        _write_postfix_services(directory / "config" / "master.cf", listeners)
        process = start(directory, master, "-d", "-c", str(directory / "config"))
        wait_until_ready(process, directory, lambda: listens(process.pid, *ports))
    return Postfix(
        host=HOST,
        addresses=loopbacks(),
        smtp=smtp,
        smtps=smtps,
        plain=plain,
        mutual=mutual,
        socket=directory / "queue" / "public" / "socket",
        mailbox=directory / "mail" / "user",
        log=directory / "log",
    )


_POSTFIX_DIRECTORIES = {
    "config": ("root", "root"),
    "data": ("postfix", "root"),
    "mail": ("nobody", "nogroup"),
    "queue": ("root", "root"),
    "queue/pid": ("root", "root"),
    "queue/public": ("postfix", "postdrop"),
    **{
        f"queue/{name}": ("postfix", "root")
        for name in (
            "active",
            "bounce",
            "corrupt",
            "defer",
            "deferred",
            "hold",
            "incoming",
            "private",
            "trace",
        )
    },
}

_POSTFIX_SERVICES = """\
socket  unix       n - n -     - smtpd
cleanup unix       n - n -     0 cleanup
qmgr    unix       n - n 300   1 qmgr
tlsmgr  unix       - - n 1000? 1 tlsmgr
rewrite unix       - - n -     - trivial-rewrite
bounce  unix       - - n -     0 bounce
defer   unix       - - n -     0 bounce
trace   unix       - - n -     0 bounce
error   unix       - - n -     - error
virtual unix       - n n -     - virtual
postlog unix-dgram n - n -     1 postlogd
"""


def _make_postfix_directories(directory: Path) -> None:
    for name, owner in _POSTFIX_DIRECTORIES.items():
        (directory / name).mkdir()
        shutil.chown(directory / name, *owner)


def _write_postfix_services(path: Path, listeners: dict[int, str]) -> None:
    lines = [
        f"[{address}]:{port} inet n - n - - smtpd {options}\n"
        for port, options in listeners.items()
        for address in loopbacks()
    ]
    path.write_text("".join(lines) + _POSTFIX_SERVICES)


def _write_postfix_settings(path: Path, directory: Path) -> None:
    shared = certificates.shared()
    path.write_text(f"""\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/log
maillog_file_prefixes = {directory}
inet_protocols = {"all" if "::1" in loopbacks() else "ipv4"}
myhostname = mail.example.test
mydestination =
alias_maps =
local_recipient_maps =
fast_flush_domains =
default_transport = error:only example.test is served here
virtual_mailbox_domains = example.test
virtual_mailbox_base = {directory}/mail
virtual_mailbox_maps = inline:{{ user@example.test=user/ }}
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
message_size_limit = 100000000
mailbox_size_limit = 0
virtual_mailbox_limit = 0
smtpd_peername_lookup = no
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_relay_restrictions = reject_unauth_destination
smtpd_tls_security_level = may
smtpd_tls_chain_files = {shared.server}
smtpd_tls_CAfile = {shared.ca}
tls_server_sni_maps = inline:{{ mail.example.test={shared.server} }}
smtpd_tls_loglevel = 1
smtpd_tls_received_header = yes
""")
    # Postfix waits up to a second if main.cf is as new as the current time.
    os.utime(path, (0, 0))

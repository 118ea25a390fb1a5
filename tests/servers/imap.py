"""Dovecot, a server of IMAP, POP3, LMTP and ManageSieve."""

from __future__ import annotations

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests import certificates
from tests.packages import find_program
from tests.servers.daemon import (
    HOST,
    eventually,
    free_ports,
    greets,
    listens,
    loopbacks,
    make_directory,
    require_root,
    start,
    wait_until_ready,
)


@dataclass(frozen=True)
class Dovecot:
    """
    Dovecot, in which `user` and `writer` log in with `password`.

    Each mailbox has one message with the subject Welcome; `writer` is for tests that
    store messages.  Dovecot treats loopback as secure and does not insist on TLS. The
    log has "TLS" for a login over TLS, and the port of the client as "rport=".
    """

    host: str
    addresses: tuple[str, ...]
    imap: int
    imaps: int
    pop3: int
    pop3s: int
    lmtp: int
    sieve: int
    user: str
    writer: str
    password: str
    mailbox: Path
    log: Path


def dovecot() -> Dovecot:
    """
    Start Dovecot: implicit TLS on `imaps` and `pop3s`, STARTTLS on the other ports.
    """
    server = started_dovecot()
    # Dovecot listens before it can greet in full, also when its login processes have
    # ended after a minute without a client (idle_kill).
    for port, greeting in (
        (server.imap, b"* OK [CAPABILITY "),
        (server.pop3, b"+OK "),
    ):
        awake = functools.partial(greets, port, greeting)
        eventually(awake, f"Dovecot to greet with {greeting!r}")
    return server


@functools.cache
def started_dovecot() -> Dovecot:
    """Start Dovecot once; it may not be ready to greet."""
    program = find_program("dovecot", "dovecot-imapd")
    find_program("imap-login", "dovecot-imapd")
    find_program("pop3-login", "dovecot-pop3d")
    find_program("lmtp", "dovecot-lmtpd")
    find_program("managesieve-login", "dovecot-managesieved")
    require_root("dovecot-imapd")
    directory = make_directory("dovecot")
    user, writer, password = "user", "writer", "secret"
    (directory / "users").write_text(
        "".join(f"{each}:{{PLAIN}}{password}\n" for each in (user, writer))
    )
    mailbox = directory / "mail" / user
    for each in (mailbox, directory / "mail" / writer):
        _make_maildir(each, "Subject: Welcome\n\nHello.\n")
    settings = directory / "dovecot.conf"
    with free_ports(len(_DOVECOT_LISTENERS)) as free:
        ports = dict(zip(_DOVECOT_LISTENERS, free, strict=True))
        listeners = [_dovecot_listener(name, port) for name, port in ports.items()]
        settings.write_text(_dovecot_settings(directory) + "".join(listeners))
        process = start(directory, program, "-F", "-c", str(settings))
        wait_until_ready(process, directory, lambda: listens(process.pid, *free))
    return Dovecot(
        host=HOST,
        addresses=loopbacks(),
        imap=ports["imap"],
        imaps=ports["imaps"],
        pop3=ports["pop3"],
        pop3s=ports["pop3s"],
        lmtp=ports["lmtp"],
        sieve=ports["sieve"],
        user=user,
        writer=writer,
        password=password,
        mailbox=mailbox,
        log=directory / "log",
    )


# The service of each listener, and whether its TLS is implicit.
_DOVECOT_LISTENERS = {
    "imap": ("imap-login", "no"),
    "imaps": ("imap-login", "yes"),
    "pop3": ("pop3-login", "no"),
    "pop3s": ("pop3-login", "yes"),
    "lmtp": ("lmtp", "no"),
    "sieve": ("managesieve-login", "no"),
}


def _make_maildir(mailbox: Path, message: str) -> None:
    for name in ("cur", "new", "tmp"):
        (mailbox / name).mkdir(parents=True)
    (mailbox / "new" / "1").write_text(message)
    for path in (mailbox, *mailbox.rglob("*")):
        shutil.chown(path, "nobody", "nogroup")


def _dovecot_listener(name: str, port: int) -> str:
    service, tls = _DOVECOT_LISTENERS[name]
    return f"""\
service {service} {{
  inet_listener {name} {{
    port = {port}
    ssl = {tls}
  }}
}}
"""


def _dovecot_login(service: str) -> str:
    # Keep one process for all clients.  A new process connects to the authentication
    # service first, and closes the connection of a client that has sent all its input
    # by then.
    return f"""\
service {service} {{
  service_count = 0
  process_min_avail = 1
  process_limit = 1
}}
"""


def _dovecot_settings(directory: Path) -> str:
    # The syntax of Dovecot 2.3; that of 2.4 differs.
    server = certificates.shared().server
    return f"""\
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/log
protocols = imap pop3 lmtp sieve
listen = {", ".join(loopbacks())}
ssl = yes
ssl_cert = <{server}
ssl_key = <{server}
mail_location = maildir:~
auth_failure_delay = 0
{"".join(map(_dovecot_login, ("imap-login", "pop3-login")))}\
login_log_format_elements = user=<%u> rip=%r rport=%b %c
passdb {{
  driver = passwd-file
  args = {directory}/users
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={directory}/mail/%u
}}
"""

"""Real servers on loopback for the tests to talk to.

Each function starts a server on free ports when it is first asked for, and returns the
facts about it.  The server ends with the process, and its files go with it.  Where it
cannot run the test is skipped, with the Debian package that is missing as the reason.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from twisted.trial.unittest import SkipTest

from tests import certificates

T = TypeVar("T")

HOST = "127.0.0.1"
PATIENCE = 60.0
PAUSE = 0.01

# The superuser's tools are not on everybody's path, and daemons are on nobody's.
PLACES = (
    "/usr/sbin",
    "/sbin",
    "/usr/lib/postfix/sbin",
    "/usr/lib/dovecot",
    "/usr/lib/news/bin",
    "/usr/lib/postgresql/15/bin",
    "/usr/lib/git-core",
)


def eventually(find: Callable[[], T | None], what: str) -> T:
    """Return what is found as soon as it is there, or fail when patience ends."""
    deadline = time.monotonic() + PATIENCE
    while not (found := find()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE} s in vain for {what}")
        time.sleep(PAUSE)
    return found


def logged(log: Path, text: str, since: int = 0) -> str:
    """Wait for a line with this text in a server's log, and return the line.

    :param since: after so many bytes of the log, as ports come back.
    """

    def find() -> str | None:
        data = log.read_bytes()[since:] if log.exists() else b""
        lines = data.decode(errors="replace").splitlines()
        return next((line for line in lines if text in line), None)

    return eventually(find, f"{text!r} in {log}")


@functools.cache
def loopbacks() -> tuple[str, ...]:
    """Return the loopback addresses of this machine; not every one has IPv6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return (HOST,)
    return (HOST, "::1")


@dataclass(frozen=True)
class Postfix:
    """An SMTP server; it keeps what is sent to user@example.test."""

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
        """Wait until a message with this text has arrived, and return it."""

        def find() -> str | None:
            files = self.mailbox.glob("new/*")
            messages = (file.read_text(errors="replace") for file in files)
            return next((message for message in messages if text in message), None)

        return eventually(find, f"a message with {text!r}")


@functools.cache
def postfix() -> Postfix:
    """Start Postfix.

    STARTTLS is offered on port `smtp` and on the UNIX `socket`, and not on `plain`.
    On `mutual` it is offered, and a client certificate is demanded.  On `smtps` TLS
    comes first.  The log names the server that a client asked for by SNI: "to NAME"
    where it is mail.example.test, and "SNI NAME" where it is another.
    """
    master = _program("master", "postfix")
    _require_root("postfix")
    directory = _directory("postfix")
    _make_postfix_directories(directory)
    _write_postfix_settings(directory / "config" / "main.cf", directory)
    with _free_ports(4) as ports:
        smtp, smtps, plain, mutual = ports
        listeners = {
            smtp: "",
            smtps: "-o smtpd_tls_wrappermode=yes",
            plain: "-o smtpd_tls_security_level=none",
            mutual: "-o smtpd_tls_security_level=encrypt -o smtpd_tls_req_ccert=yes",
        }
        _write_postfix_services(directory / "config" / "master.cf", listeners)
        process = _start(directory, master, "-d", "-c", str(directory / "config"))
        _await(process, directory, lambda: _listens(process.pid, *ports))
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
    # Postfix waits for a file that has just been written to settle: a second in all.
    os.utime(path, (0, 0))


@dataclass(frozen=True)
class Dovecot:
    """A server of IMAP, POP3, LMTP and ManageSieve; `user` logs in with `password`.

    One message is there: its subject is Welcome.  Dovecot takes loopback for secure, so
    it does not insist on TLS; the log has "TLS" where a login was over it, and the port
    of the client as "rport=".
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
    password: str
    mailbox: Path
    log: Path


def dovecot() -> Dovecot:
    """Start Dovecot: TLS at once on `imaps` and `pop3s`, STARTTLS on the others."""
    server = started_dovecot()
    # It listens before it can do more than tell that it is starting, and the same
    # again when nobody has come for a minute.
    for port, greeting in (
        (server.imap, b"* OK [CAPABILITY "),
        (server.pop3, b"+OK "),
    ):
        greets = functools.partial(_greets, port, greeting)
        eventually(greets, f"Dovecot to greet with {greeting!r}")
    return server


@functools.cache
def started_dovecot() -> Dovecot:
    """The same, which may not be awake."""
    program = _program("dovecot", "dovecot-imapd")
    _program("imap-login", "dovecot-imapd")
    _program("pop3-login", "dovecot-pop3d")
    _program("lmtp", "dovecot-lmtpd")
    _program("managesieve-login", "dovecot-managesieved")
    _require_root("dovecot-imapd")
    directory = _directory("dovecot")
    user, password = "user", "secret"
    (directory / "users").write_text(f"{user}:{{PLAIN}}{password}\n")
    mailbox = directory / "mail" / user
    _make_maildir(mailbox, "Subject: Welcome\n\nHello.\n")
    settings = directory / "dovecot.conf"
    with _free_ports(len(_DOVECOT_LISTENERS)) as free:
        ports = dict(zip(_DOVECOT_LISTENERS, free, strict=True))
        listeners = [_dovecot_listener(name, port) for name, port in ports.items()]
        settings.write_text(_dovecot_settings(directory) + "".join(listeners))
        process = _start(directory, program, "-F", "-c", str(settings))
        _await(process, directory, lambda: _listens(process.pid, *free))
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
        password=password,
        mailbox=mailbox,
        log=directory / "log",
    )


# The name of each listener, the service it belongs to, and whether TLS comes first.
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
    # One process for all clients: a new one must meet the authentication process
    # first, and a client that has sent all it has by then is hung up on.
    return f"""\
service {service} {{
  service_count = 0
  process_min_avail = 1
  process_limit = 1
}}
"""


def _dovecot_settings(directory: Path) -> str:
    # In the language of Dovecot 2.3; that of 2.4 is another.
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


@dataclass(frozen=True)
class Server:
    """A server of one protocol, with STARTTLS on its port of 127.0.0.1."""

    host: str
    port: int
    log: Path


def _serve(
    directory: Path, command: Callable[[int], tuple[str, ...]], ready: str = ""
) -> Server:
    """Start a server that is told its port on the command line or in its files.

    It is ready when it listens, and has said so if it listens before it is.
    """
    log = directory / "output"
    with _free_ports(1) as (port,):
        process = _start(directory, *command(port))
        _await(
            process,
            directory,
            lambda: (
                _listens(process.pid, port, everywhere=False) and ready in _text(log)
            ),
        )
    return Server(host=HOST, port=port, log=log)


def _own_certificate(directory: Path, owner: str) -> Path:
    """Copy the server's certificate, with its key, for a server that is not root."""
    path = directory / "certificate.pem"
    shutil.copy(certificates.shared().server, path)
    path.chmod(0o600)
    shutil.chown(path, owner)
    return path


def _as_user(user: str, *command: str) -> tuple[str, ...]:
    """Return the command that runs a command as a user, in the same process."""
    setpriv = _program("setpriv", "util-linux")
    return (setpriv, f"--reuid={user}", f"--regid={user}", "--clear-groups", *command)


@functools.cache
def vsftpd() -> Server:
    """Start vsftpd: FTP, in which anonymous may log in."""
    program = _program("vsftpd", "vsftpd")
    _require_root("vsftpd")
    directory = _directory("vsftpd")
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

    return _serve(directory, command)


@functools.cache
def nnrpd() -> Server:
    """Start nnrpd, the part of INN that readers talk to, on a spool of nothing."""
    program = _program("nnrpd", "inn2")
    _require_root("inn2")
    directory = _directory("nnrpd")
    for name in _INN_PATHS:
        (directory / name).mkdir()
    for name, text in _INN_FILES.items():
        (directory / name).write_text(text)
    certificate = _own_certificate(directory, "news")
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

    return _serve(directory, command)


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


@functools.cache
def slapd() -> Server:
    """Start slapd: LDAP, with nothing in it but its root."""
    program = _program("slapd", "slapd")
    directory = _directory("slapd")
    shared = certificates.shared()
    settings = directory / "slapd.conf"
    settings.write_text(f"""\
TLSCertificateFile {shared.server}
TLSCertificateKeyFile {shared.server}
TLSCACertificateFile {shared.ca}
pidfile {directory}/pid
""")
    return _serve(
        directory,
        lambda port: (
            *(program, "-d", "0"),
            *("-f", str(settings), "-h", f"ldap://{HOST}:{port}/"),
        ),
    )


@functools.cache
def postgresql() -> Server:
    """Start PostgreSQL; anyone may log in as postgres."""
    program = _program("postgres", "postgresql-15")
    initdb = _program("initdb", "postgresql-15")
    _require_root("postgresql-15")
    directory = _directory("postgresql")
    shutil.chown(directory, "postgres")
    data = str(directory / "data")
    subprocess.run(
        _as_user("postgres", initdb, "-D", data, "-A", "trust", "--no-sync"),
        check=True,
        capture_output=True,
        cwd=directory,
    )
    certificate = _own_certificate(directory, "postgres")
    settings = (
        f"listen_addresses={HOST}",
        "unix_socket_directories=",
        "fsync=off",
        "ssl=on",
        f"ssl_cert_file={certificate}",
        f"ssl_key_file={certificate}",
    )
    options = [word for each in settings for word in ("-c", each)]
    return _serve(
        directory,
        lambda port: _as_user(
            "postgres", program, "-D", data, "-p", str(port), *options
        ),
        "ready to accept connections",
    )


@functools.cache
def mariadb() -> Server:
    """Start MariaDB with no tables at all; anyone may log in."""
    program = _program("mariadbd", "mariadb-server")
    _require_root("mariadb-server")
    directory = _directory("mariadb")
    data = directory / "data"
    data.mkdir()
    shutil.chown(data, "mysql")
    certificate = _own_certificate(directory, "mysql")
    options = (
        "--no-defaults",
        "--user=mysql",
        "--skip-grant-tables",
        "--innodb=OFF",
        "--default-storage-engine=Aria",
        f"--bind-address={HOST}",
        f"--datadir={data}",
        f"--socket={data}/socket",
        f"--pid-file={data}/pid",
        f"--ssl-cert={certificate}",
        f"--ssl-key={certificate}",
    )
    return _serve(
        directory,
        lambda port: (program, *options, f"--port={port}"),
        "ready for connections",
    )


@dataclass(frozen=True)
class Prosody:
    """An XMPP server for the domain localhost, for clients and for servers."""

    host: str
    client: int
    server: int
    domain: str
    log: Path


@functools.cache
def prosody() -> Prosody:
    """Start Prosody."""
    program = _program("prosody", "prosody")
    _require_root("prosody")
    directory = _directory("prosody")
    settings = directory / "prosody.cfg.lua"
    server = certificates.shared().server
    with _free_ports(2) as ports:
        settings.write_text(f"""\
daemonize = false
run_as_root = true
certificates = "{directory}"
data_path = "{directory}/data"
log = {{ info = "{directory}/log" }}
interfaces = {{ "{HOST}" }}
c2s_ports = {{ {ports[0]} }}
s2s_ports = {{ {ports[1]} }}
modules_enabled = {{ "tls", "saslauth", "dialback" }}
modules_disabled = {{ "http", "offline", "posix" }}
VirtualHost "localhost"
  ssl = {{ certificate = "{server}", key = "{server}" }}
""")
        process = _start(directory, program, "--config", str(settings), "-F")
        _await(
            process,
            directory,
            lambda: _listens(process.pid, *ports, everywhere=False),
        )
    return Prosody(
        host=HOST,
        client=ports[0],
        server=ports[1],
        domain="localhost",
        log=directory / "log",
    )


@functools.cache
def inspircd() -> Server:
    """Start InspIRCd."""
    program = _program("inspircd", "inspircd")
    # It does not always live through its own end, and is to leave no core behind.
    limit = _program("prlimit", "util-linux")
    _require_root("inspircd")
    directory = _directory("inspircd")
    settings = directory / "inspircd.conf"
    places = ("configdir", "datadir", "logdir", "runtimedir")
    server = certificates.shared().server

    def command(port: int) -> tuple[str, ...]:
        settings.write_text(f"""\
<config format="xml">
<server name="irc.example.test" description="test" network="Test">
<admin name="admin" nick="admin" email="admin@example.test">
<path {" ".join(f'{place}="{directory}"' for place in places)}>
<module name="ssl_gnutls">
<module name="starttls">
<sslprofile name="tests" provider="gnutls" certfile="{server}" keyfile="{server}">
<starttls provider="tests">
<bind address="{HOST}" port="{port}" type="clients">
<connect name="all" allow="*" resolvehostnames="no">
<dns server="{HOST}" timeout="1">
""")
        inspircd = (program, "--runasroot", "--nofork", "--nopid", "--nolog")
        return limit, "--core=0", *inspircd, f"--config={settings}"

    return _serve(directory, command)


@functools.cache
def nbd() -> Server:
    """Start nbd-server: the export disk, for clients with a certificate.

    It offers STARTTLS, and makes a daemon of itself, whatever it is told.
    """
    program = _program("nbd-server", "nbd-server")
    directory = _directory("nbd")
    shared = certificates.shared()
    settings, disk, pid = (directory / name for name in ("config", "disk", "pid"))
    disk.write_bytes(bytes(4096))
    with _free_ports(1) as (port,):
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
        daemon = int(eventually(lambda: _text(pid).strip(), "nbd-server's number"))
        atexit.register(_terminate, daemon)
        eventually(lambda: _listens(daemon, port, everywhere=False), "nbd-server")
    return Server(host=HOST, port=port, log=directory / "log")


def _terminate(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


@dataclass(frozen=True)
class SSH:
    """An SSH server of 127.0.0.1, where root logs in by a key."""

    host: str
    port: int
    host_key: Path
    user_key: Path
    log: Path


@functools.cache
def sshd() -> SSH:
    """Start OpenSSH's server."""
    program = _program("sshd", "openssh-server")
    keygen = _program("ssh-keygen", "openssh-client")
    _require_root("openssh-server")
    directory = _directory("sshd")
    for name in ("host", "user"):
        command = (keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name))
        subprocess.run(command, check=True, capture_output=True)
    # The server insists on this directory, which Debian's unit makes when it starts it.
    Path("/run/sshd").mkdir(exist_ok=True)
    settings = directory / "sshd_config"

    def command_for(port: int) -> tuple[str, ...]:
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

    server = _serve(directory, command_for, "Server listening")
    return SSH(
        host=server.host,
        port=server.port,
        host_key=directory / "host.pub",
        user_key=directory / "user",
        log=server.log,
    )


@dataclass(frozen=True)
class Network:
    """A network of our own, with a loopback and a name server and nothing else."""

    pid: int
    log: Path

    def inside(self, *command: str) -> list[str]:
        """Return the command that runs a command in here, in the same directory."""
        return [
            _program("nsenter", "util-linux"),
            f"--target={self.pid}",
            "--net",
            "--mount",
            f"--wdns={Path.cwd()}",
            "--",
            *command,
        ]


@functools.cache
def network() -> Network:
    """Start dnsmasq in a network of its own; `Network.log` shows what it is asked.

    All under example.test:

    - five is 127.0.0.5, six is ::1, and many is 127.0.0.7, 127.0.0.8 and ::1;
      each of these addresses leads back to its name, and 127.0.0.1 to localhost;
    - nameless is 127.0.0.9, which has no name;
    - 127.0.0.10 says that it is liar, and liar is 127.0.0.11;
    - silent is 192.0.2.1, where nothing ever answers, not even to refuse;
      racing is 192.0.2.1 and 127.0.0.5;
    - stalled, and the name of 127.0.0.66, are questions that are never answered.

    Any address that is not of 127.0.0.0/8 or 192.0.2.0/24 is unreachable.
    """
    dnsmasq = _program("dnsmasq", "dnsmasq-base")
    unshare = _program("unshare", "util-linux")
    ip = _program("ip", "iproute2")
    _require_root("dnsmasq-base")
    isolate = (unshare, "--net", "--mount")
    if subprocess.run([*isolate, "true"], capture_output=True).returncode:
        raise SkipTest("this container may not make a network namespace")
    directory = _directory("network")
    for name, text in _NETWORK_FILES.items():
        (directory / name).write_text(text)
    settings = directory / "dnsmasq.conf"
    settings.write_text(f"{_ZONE}log-facility={directory}/log\n")
    process = _start(
        directory, *isolate, "sh", "-c", _ENTER, ip, str(directory), dnsmasq
    )
    # The table of ports cannot tell: until it leaves, the process sees the host's.
    _await(process, directory, lambda: "started" in _text(directory / "log"))
    return Network(pid=process.pid, log=directory / "log")


# No --fork: the process keeps its id, by which others find the way in.
_ENTER = """\
set -e
"$0" link set lo up
"$0" route add 192.0.2.0/24 dev lo
for file in hosts nsswitch.conf resolv.conf; do
    mount --bind "$1/$file" "/etc/$file"
done
exec "$2" --conf-file="$1/dnsmasq.conf"
"""

_NETWORK_FILES = {
    "hosts": "127.0.0.1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "resolv.conf": "nameserver 127.0.0.1\n",
}

_ZONE = """\
keep-in-foreground
user=root
pid-file=
listen-address=127.0.0.1
bind-interfaces
no-hosts
no-resolv
bogus-priv
cache-size=0
log-queries
local=/example.test/
host-record=five.example.test,127.0.0.5
host-record=six.example.test,::1
host-record=many.example.test,127.0.0.7
host-record=many.example.test,127.0.0.8
host-record=many.example.test,::1
ptr-record=1.0.0.127.in-addr.arpa,localhost
ptr-record=10.0.0.127.in-addr.arpa,liar.example.test
address=/liar.example.test/127.0.0.11
address=/nameless.example.test/127.0.0.9
address=/silent.example.test/192.0.2.1
address=/racing.example.test/192.0.2.1
address=/racing.example.test/127.0.0.5
server=/stalled.example.test/192.0.2.53
rev-server=127.0.0.66/32,192.0.2.53
"""


@dataclass(frozen=True)
class Ident:
    """An ident server inside a network: all connections there belong to `user`."""

    network: Network
    port: int
    user: str
    log: Path


@functools.cache
def identd() -> Ident:
    """Start oidentd on every address of the network, on the port that clients ask."""
    oidentd = _program("oidentd", "oidentd")
    inside = network()
    directory = _directory("identd")
    settings = directory / "oidentd.conf"
    port, user = 113, "tester"
    # Whoever runs the tests: the answer is for a connection that there is, at least.
    settings.write_text(f'default {{ default {{ force reply "{user}" }} }}\n')
    command = inside.inside(oidentd, "-i", "-S", "-C", str(settings))
    process = _start(directory, *command)
    _await(process, directory, lambda: _listens(inside.pid, port))
    return Ident(network=inside, port=port, user=user, log=directory / "output")


@dataclass(frozen=True)
class TcpServer:
    """A program run by tcpserver for each connection to a port."""

    host: str
    port: int
    log: Path


WITHOUT_LOOKUPS = ("-R", "-H", "-l0")


@functools.cache
def tcpserver(
    *command: str,
    options: tuple[str, ...] = WITHOUT_LOOKUPS,
    host: str = HOST,
    inside: Network | None = None,
) -> TcpServer:
    """Start tcpserver, here or inside a network; the same request, the same server."""
    tcpserver = _program("tcpserver", "ucspi-tcp")
    directory = _directory("tcpserver")
    arguments = [tcpserver, "-1", *options, host, "0", *command]
    if inside is not None:
        arguments = inside.inside(*arguments)
    process = _start(directory, *arguments, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as announcement:
        port = announcement.readline()
    if not port:
        raise RuntimeError(_failure(process, directory))
    return TcpServer(host=host, port=int(port), log=directory / "output")


@dataclass(frozen=True)
class UnixServer:
    """A program run by unixserver for each connection to a socket."""

    path: Path
    log: Path


@functools.cache
def unixserver(*command: str, options: tuple[str, ...] = ()) -> UnixServer:
    """Start unixserver; the same request, the same server."""
    unixserver = _program("unixserver", "ucspi-unix")
    directory = _directory("unixserver")
    path = directory / "socket"
    process = _start(directory, unixserver, *options, str(path), *command)
    _await(process, directory, lambda: str(path) in _listening_sockets())
    return UnixServer(path=path, log=directory / "output")


def _program(name: str, package: str) -> str:
    places = os.pathsep.join((os.environ.get("PATH", os.defpath), *PLACES))
    found = shutil.which(name, path=places)
    if found is None:
        raise SkipTest(f"{name} is missing: install the Debian package {package}")
    return found


def _require_root(package: str) -> None:
    if os.geteuid() != 0:
        raise SkipTest(
            f"only root can start the server of the Debian package {package}"
        )


def _directory(name: str) -> Path:
    directory = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    # Servers give up root, and have to reach their files all the same.
    directory.chmod(0o755)
    return directory


@contextlib.contextmanager
def _free_ports(count: int) -> Iterator[list[int]]:
    """Keep free ports for a server that does not choose its own, while it starts.

    Who asks for any port does not get these; who asks for these in particular does,
    because they are bound only, not listened on, and may be shared.
    """
    with contextlib.ExitStack() as kept:
        sockets = [kept.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind((HOST, 0))
        yield [each.getsockname()[1] for each in sockets]


def _start(
    directory: Path, *arguments: str, stdout: int | None = None
) -> subprocess.Popen[bytes]:
    """Start a server in a process group of its own, to be ended when we end."""
    with (directory / "output").open("wb") as output:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output if stdout is None else stdout,
            stderr=output,
            start_new_session=True,
        )
    atexit.register(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    _signal_group(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
    # Whoever is left would write into a directory that is about to be removed.
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _await(
    process: subprocess.Popen[bytes], directory: Path, ready: Callable[[], bool]
) -> None:
    """Wait until a server is ready, as long as it lives."""

    def alive() -> bool:
        return process.poll() is None

    with contextlib.suppress(AssertionError):
        eventually(lambda: ready() or not alive(), f"{process.args!r} to start")
    if not (ready() and alive()):
        raise RuntimeError(_failure(process, directory))


def _greets(port: int, greeting: bytes) -> bool:
    """Tell whether a server's first words begin so."""
    with socket.create_connection((HOST, port), PATIENCE) as connection:
        return connection.recv(1024).startswith(greeting)


def _failure(process: subprocess.Popen[bytes], directory: Path) -> str:
    told = _text(directory / "output") + _text(directory / "log")
    return f"{process.args!r} did not start: {told}"


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _listens(pid: int, *ports: int, everywhere: bool = True) -> bool:
    """Tell whether the network of a process listens on ports of every loopback.

    A connection made to find out would make the server do something; this does not.
    """
    tables = ("tcp", "tcp6")[: len(loopbacks()) if everywhere else 1]
    return all(_listening_ports(pid, table).issuperset(ports) for table in tables)


def _listening_ports(pid: int, table: str) -> set[int]:
    rows = [row.split() for row in _table(pid, table)]
    listening = "0A"
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == listening}


def _listening_sockets() -> set[str]:
    rows = [row.split(maxsplit=7) for row in _table(os.getpid(), "unix")]
    listening = "00010000"
    return {row[7] for row in rows if len(row) == 8 and row[3] == listening}


def _table(pid: int, name: str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
    except OSError:
        # The process has ended, or this machine has no such protocol.
        return []

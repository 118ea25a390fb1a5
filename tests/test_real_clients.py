"""Client programs of other projects, with the command as their tunnel.

Each job succeeds with the right exit status, and neither the client nor the command
prints an error: users see what a tunnel writes to stderr.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import uuid
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests import servers
from tests.clients import Place, on_terminal, place
from tests.command import ROOT, Outcome, together
from tests.packages import find_program

#: The outcome of a run of the command that has succeeded in silence.
FINE = Outcome(0, b"", "")

#: Settings of clients, as the man page has them.
IMAP = "tcpclient -a 0 -s imap --greeting mail.example.org 143"
SMTP = "tcpclient -s smtp --greeting mail.example.org 25"
POSTGRES = "tcpclient -a 0 -s postgres db.example.org 5432"
PLUGIN = "tcpclient -s imap --greeting %h %p"
LINES = {
    "mutt": f'set tunnel="{IMAP}"',
    "mbsync": f'Tunnel "{IMAP}"',
    "offlineimap": f"transporttunnel = {IMAP}",
    "fetchmail": f'plugin "{PLUGIN}"',
    "swaks": f'--pipe "{SMTP}"',
    "ssh": "ProxyCommand tcpclient %h %p",
    "gateway": f"tcpserver -RHl0 127.0.0.1 2525 {SMTP}",
    "database": f"tcpserver -RHl0 127.0.0.1 5433 {POSTGRES}",
    "socket": f"unixserver -- /run/user/1000/.s.PGSQL.5432 {POSTGRES}",
}


def line(name: str, port: int) -> str:
    """
    Return a line of the man page for a server of the tests instead of its example.
    """
    return re.sub(r"(mail|db)\.example\.org \d+", f"localhost {port}", LINES[name])


def command(name: str, port: int) -> tuple[str, ...]:
    """Return the words of such a line that follow ``tcpclient``."""
    _, _, arguments = line(name, port).partition(" tcpclient ")
    return tuple(arguments.split())


#: More bytes than the buffers between client and server hold.
LARGE = 3_000_000

SENDER, RECIPIENT = "sender@example.test", "user@example.test"


def letter(mark: str, size: int = 0) -> str:
    """Return a message with this subject and about this many bytes of text."""
    line = "All work and no play makes a long message.\n"
    text = line * (size // len(line))
    return (
        f"From: {SENDER}\nTo: {RECIPIENT}\nSubject: {mark}\n\nHello.\n{text}The end.\n"
    )


class WordsTests(SynchronousTestCase):
    """The man page."""

    def test_man_page(self) -> None:
        """The settings that these tests try are those of the man page."""
        page = " ".join((ROOT / "doc" / "tcpclient.1.rst").read_text().split())
        for name, printed in LINES.items():
            self.assertIn(f"``{printed}``", page, name)


class RealClientTests(SynchronousTestCase):
    """Assertions for tests with client programs."""

    def unnoticed(self, here: Place, count: int = 1) -> None:
        """Check that this many runs of the command have succeeded in silence."""
        self.assertEqual(here.tunnels(count), [FINE] * count)

    def arrived(self, mark: str, size: int = 0) -> None:
        """Check that a message has arrived in full, over TLS."""
        message = servers.postfix().message(mark)
        self.assertIn("using TLSv1.3", message)
        self.assertTrue(message.rstrip().endswith("The end."), message[-100:])
        self.assertGreaterEqual(len(message), size)


class IMAPTests(RealClientTests):
    """Mail readers, with the command as a tunnel to an IMAP server."""

    def setUp(self) -> None:
        """Start Dovecot, and make a place."""
        self.server = servers.dovecot()
        self.here = place()

    def test_mutt(self) -> None:
        """
        Mutt reads a message and logs out, and does not report an error of its tunnel.
        """
        mutt = find_program("mutt", "mutt")
        settings = self.here.write(
            "muttrc",
            f"""\
{line("mutt", self.server.imap)}
set folder="imap://{self.server.user}@localhost/"
set spoolfile="+INBOX"
set imap_pass={self.server.password}
set quit=yes pipe_decode=no wait_key=no sleep_time=0
push "<pipe-message>cat >message<enter><quit>"
""",
        )
        outcome = on_terminal(self.here, mutt, "-n", "-F", settings)
        self.assertEqual((outcome.status, outcome.err), (0, ""), outcome.out)
        self.assertNotIn(b"returned error", outcome.out)
        message = (self.here.directory / "message").read_text()
        self.assertIn("Subject: Welcome", message)
        self.unnoticed(self.here)

    def mbsync(self) -> Outcome:
        """Synchronize all mailboxes with those of the server, in both directions."""
        mbsync = find_program("mbsync", "isync")
        maildir = self.here.directory / "mail"
        maildir.mkdir(exist_ok=True)
        settings = self.here.write(
            "mbsyncrc",
            f"""\
IMAPAccount far
{line("mbsync", self.server.imap)}
User {self.server.user}
Pass {self.server.password}
SSLType None

IMAPStore far
Account far

MaildirStore near
Path {maildir}/
Inbox {maildir}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
SyncState *
""",
        )
        return self.here.run(mbsync, "--quiet", "--config", settings, "--all")

    def test_mbsync(self) -> None:
        """Mbsync (isync) fetches a message, and stores a large one on the server."""
        name, mark = f"sent-{uuid.uuid4().hex}", uuid.uuid4().hex
        sent = self.here.directory / "mail" / name
        for part in ("cur", "new", "tmp"):
            (sent / part).mkdir(parents=True)
        (sent / "new" / "1.letter").write_text(letter(mark, LARGE))
        outcome = self.mbsync()
        self.assertEqual((outcome.status, outcome.err), (0, ""))
        (fetched,) = self.here.directory.glob("mail/INBOX/*/*,U=1*")
        self.assertIn("Subject: Welcome", fetched.read_text())
        (stored,) = self.server.mailbox.glob(f".{name}/*/*S=*")
        self.assertIn(f"Subject: {mark}", stored.read_text()[:200])
        self.assertGreaterEqual(stored.stat().st_size, LARGE - 100)
        self.unnoticed(self.here)

    def test_offlineimap(self) -> None:
        """OfflineIMAP fetches a message, and prints nothing."""
        offlineimap = find_program("offlineimap", "offlineimap3")
        settings = self.here.write(
            "offlineimaprc",
            f"""\
[general]
accounts = all
metadata = {self.here.directory}/metadata
ui = quiet

[Account all]
localrepository = near
remoterepository = far

[Repository near]
type = Maildir
localfolders = {self.here.directory}/mail

[Repository far]
type = IMAP
{line("offlineimap", self.server.imap)}
remoteuser = {self.server.user}
remotepass = {self.server.password}
ssl = no
starttls = no
readonly = yes
folderfilter = lambda name: name == "INBOX"
""",
        )
        outcome = self.here.run(offlineimap, "-c", settings, "-o")
        self.assertEqual(outcome, FINE)
        (fetched,) = self.here.directory.glob("mail/INBOX/*/*,U=1,*")
        self.assertIn("Subject: Welcome", fetched.read_text())
        self.unnoticed(self.here)


class FetchmailTests(RealClientTests):
    """Fetchmail, with the command as its plugin."""

    #: fetchmail's warning for root, which the tests run as, because their servers need
    #: it.
    ROOT = "fetchmail: WARNING: Running as root is discouraged.\n"

    def fetch(self, protocol: str, port: int) -> None:
        """Fetch a message over a protocol."""
        fetchmail = find_program("fetchmail", "fetchmail")
        server, here = servers.dovecot(), place()
        plugin = LINES["fetchmail"].replace("imap", protocol)
        fetched = here.directory / "fetched"
        settings = here.write(
            "fetchmailrc",
            f"""\
poll localhost service {port} protocol {protocol} {plugin}
    auth password user {server.user} password {server.password}
    keep fetchall sslproto '' mda "cat >>{fetched}"
""",
        )
        files = ("--idfile", f"{here.directory}/ids", "--pidfile", "pid")
        outcome = here.run(fetchmail, "--silent", "--nodetach", "-f", settings, *files)
        expected = self.ROOT if os.geteuid() == 0 else ""
        self.assertEqual((outcome.status, outcome.err), (0, expected))
        self.assertIn("Subject: Welcome", fetched.read_text())
        self.unnoticed(here)

    def test_fetchmail(self) -> None:
        """Fetchmail fetches a message by IMAP and by POP3."""
        server = servers.dovecot()
        together(
            {
                "imap": lambda: self.fetch("imap", server.imap),
                "pop3": lambda: self.fetch("pop3", server.pop3),
            }
        )


class SMTPTests(RealClientTests):
    """Programs that send mail."""

    def setUp(self) -> None:
        """Start Postfix, and make a place."""
        self.server = servers.postfix()
        self.here = place()
        self.arguments = command("gateway", self.server.smtp)

    def test_swaks(self) -> None:
        """
        Swaks sends mail through a pipe; the server's refusal of a recipient is its
        status.
        """
        swaks, mark = find_program("swaks", "swaks"), uuid.uuid4().hex
        pipe = shlex.split(line("swaks", self.server.smtp))
        words = (*pipe, "--silent", "2", "--from", SENDER, "--to")
        outcome = self.here.run(swaks, *words, RECIPIENT, "--data", letter(mark))
        self.assertEqual(outcome, FINE)
        self.arrived(mark)
        refused = self.here.run(swaks, *words, "nobody@example.test")
        no_recipient = 24
        self.assertEqual(refused.status, no_recipient)
        self.unnoticed(self.here, 2)

    def msmtp(self, *lines: str) -> tuple[str, ...]:
        """
        Return the command with which msmtp sends mail to the recipients that follow.
        """
        msmtp = find_program("msmtp", "msmtp")
        settings = ("account default", "tls off", "auth off", f"from {SENDER}", *lines)
        path = self.here.write("msmtprc", "".join(f"{line}\n" for line in settings))
        return (msmtp, "-C", path)

    def test_msmtp(self) -> None:
        """Msmtp sends a large message through a TCP port."""
        gateway, mark = self.here.gateway(*self.arguments), uuid.uuid4().hex
        msmtp = self.msmtp(f"host {gateway.host}", f"port {gateway.port}")
        data = letter(mark, LARGE).encode()
        self.assertEqual(self.here.run(*msmtp, RECIPIENT, data=data), FINE)
        self.arrived(mark, LARGE)
        self.unnoticed(self.here)

    def test_msmtp_socket(self) -> None:
        """Msmtp sends a large message through a UNIX socket."""
        path, mark = self.here.socket(*self.arguments), uuid.uuid4().hex
        msmtp = self.msmtp("host localhost", f"socket {path}")
        data = letter(mark, LARGE).encode()
        self.assertEqual(self.here.run(*msmtp, RECIPIENT, data=data), FINE)
        self.arrived(mark, LARGE)
        self.unnoticed(self.here)

    def commit(self, subject: str) -> str:
        """Make a repository with one commit, and return the path of its patch."""
        git = find_program("git", "git-email")

        def run(*words: str) -> None:
            self.assertEqual(self.here.run(git, *words), FINE)

        self.here.write(".gitconfig", f"[user]\nname = Sender\nemail = {SENDER}\n")
        (self.here.directory / "file").write_text(f"{subject}\n")
        run("init", "--quiet")
        run("add", "file")
        run("commit", "--quiet", "-m", f"{subject}\n\nThe end.")
        run("format-patch", "-1", "--quiet", "--signature=The end.")
        (path,) = self.here.directory.glob("*.patch")
        return str(path)

    def test_git(self) -> None:
        """Git send-email sends a patch through a TCP port, and through msmtp."""
        find_program("git-send-email", "git-email")
        git, mark = find_program("git", "git"), uuid.uuid4().hex
        gateway = self.here.gateway(*self.arguments)
        port = (f"--smtp-server={gateway.host}", f"--smtp-server-port={gateway.port}")
        msmtp = self.msmtp(f"host {gateway.host}", f"port {gateway.port}")
        sendmail = (f"--sendmail-cmd={' '.join(msmtp)}",)
        who = (f"--from={SENDER}", f"--to={RECIPIENT}", "--suppress-cc=all")
        words = ("send-email", "--quiet", "--confirm=never", *who)
        for number, way in enumerate((port, sendmail), start=1):
            patch = self.commit(f"{mark} {number}")
            outcome = self.here.run(git, *words, *way, patch)
            self.assertEqual((outcome.status, outcome.err), (0, ""), outcome.out)
            self.assertIn("using TLS", self.server.message(f"{mark} {number}"))
            self.unnoticed(self.here, number)
            Path(patch).unlink()


class CurlTests(RealClientTests):
    """Curl, through a TCP port or a UNIX socket in front of the command."""

    def curl(self, here: Place, *arguments: str) -> Outcome:
        """Run curl, which prints nothing but errors and what it fetches."""
        curl = find_program("curl", "curl")
        return here.run(curl, "-q", "--silent", "--show-error", *arguments)

    def fetch(self, protocol: str, port: int, path: str) -> None:
        """Fetch a message over a protocol."""
        server, here = servers.dovecot(), place()
        gateway = here.gateway("-s", protocol, "--greeting", "localhost", str(port))
        url = f"{protocol}://{gateway.host}:{gateway.port}/{path}"
        outcome = self.curl(here, "--user", f"{server.user}:{server.password}", url)
        self.assertEqual((outcome.status, outcome.err), (0, ""))
        self.assertIn(b"Subject: Welcome", outcome.out)
        self.unnoticed(here)

    def send(self) -> None:
        """Send a large message."""
        here, mark = place(), uuid.uuid4().hex
        port = str(servers.postfix().smtp)
        gateway = here.gateway("-s", "smtp", "--greeting", "localhost", port)
        path = here.write("letter", letter(mark, LARGE))
        url = f"smtp://{gateway.host}:{gateway.port}/client.example.test"
        who = ("--mail-from", SENDER, "--mail-rcpt", RECIPIENT)
        outcome = self.curl(here, url, *who, "--upload-file", path)
        self.assertEqual(outcome, FINE)
        self.arrived(mark, LARGE)
        self.unnoticed(here)

    def test_web(self) -> None:
        """
        Curl downloads and uploads large files over HTTP, with two downloads on one
        connection.
        """
        web = servers.nginx(servers.uvicorn().http, servers.aiosmtpd().plain)
        here = place()
        arguments = ("--tls", "localhost", str(web.https))
        # nginx ends a connection that it keeps open without close_notify.  On a TCP
        # socket the command cannot tell a client that has closed from one that has
        # half-closed.
        gateway = here.gateway("--ignore-unexpected-eof", *arguments)
        at = {
            "port": ("127.0.0.1", f"http://{gateway.host}:{gateway.port}"),
            "socket": (str(here.socket(*arguments)), "http://localhost"),
        }

        def check(way: str) -> None:
            path, url = at[way]
            options = ("--unix-socket", path) if way == "socket" else ()
            upload = here.write(f"upload {way}", "x" * LARGE)
            long, short = f"{url}/?size={LARGE}", f"{url}/?size=1"
            got = self.curl(here, *options, long, short)
            self.assertEqual(got, Outcome(0, b"x" * (LARGE + 1), ""))
            posted = self.curl(here, *options, "--data-binary", f"@{upload}", url)
            self.assertEqual(
                posted, Outcome(0, f"received {LARGE} bytes\n".encode(), "")
            )

        together({way: functools.partial(check, way) for way in at})
        self.unnoticed(here, 4)

    def test_mail(self) -> None:
        """Curl fetches a message by IMAP and by POP3, and sends a large one."""
        server = servers.dovecot()
        together(
            {
                "imap": lambda: self.fetch("imap", server.imap, "INBOX;MAILINDEX=1"),
                "pop3": lambda: self.fetch("pop3", server.pop3, "1"),
                "smtp": self.send,
            }
        )


class PsqlTests(RealClientTests):
    """psql, through a TCP port or a UNIX socket in front of the command."""

    #: The name of the socket that PostgreSQL's clients look for in a directory.
    SOCKET = ".s.PGSQL.5432"

    def query(self, here: Place, where: str) -> None:
        """
        Run short, large and wrong queries, and an upload, each in a session of its own.
        """
        psql = find_program("psql", "postgresql-client-15")
        words = (f"{where} user=postgres dbname=postgres", "-XAtc")
        secure = "select ssl, version from pg_stat_ssl where pid = pg_backend_pid()"
        self.assertEqual(here.run(psql, *words, secure), Outcome(0, b"t|TLSv1.3\n", ""))
        long = here.run(psql, *words, f"select repeat('x', {LARGE})")
        self.assertEqual(long, Outcome(0, b"x" * LARGE + b"\n", ""))
        wrong = here.run(psql, *words, "select 1/0")
        self.assertEqual((wrong.status, wrong.err), (1, "ERROR:  division by zero\n"))
        copied = here.run(
            psql,
            *words,
            "create temp table t (t text)",
            *("-c", "copy t from stdin", "-c", "select sum(length(t)) from t"),
            data=(b"x" * 999 + b"\n") * 3000,
        )
        self.assertEqual((copied.status, copied.err), (0, ""))
        self.assertTrue(copied.out.endswith(b"\n2997000\n"), copied.out)
        self.unnoticed(here, 4)

    def test_port(self) -> None:
        """Psql reaches a database over TLS through a TCP port."""
        here, server = place(), servers.postgresql()
        gateway = here.gateway(*command("database", server.port))
        port = f"host={gateway.host} port={gateway.port}"
        self.query(here, f"{port} sslmode=disable gssencmode=disable")

    def test_socat(self) -> None:
        """
        Psql reaches a database over TLS through socat, which uses one socket as both
        stdin and stdout of the command.
        """
        here, server = place(), servers.postgresql()
        path = here.socat(*command("socket", server.port))
        (here.directory / self.SOCKET).symlink_to(path)
        self.query(here, f"host={here.directory}")

    def test_socket(self) -> None:
        """Psql reaches a database over TLS through a UNIX socket."""
        here, server = place(), servers.postgresql()
        path = here.socket(*command("socket", server.port))
        link = here.directory / self.SOCKET
        link.symlink_to(path)
        self.query(here, f"host={here.directory}")


class SSHTests(RealClientTests):
    """OpenSSH's ssh and scp, with the command as ProxyCommand.

    ssh ends its ProxyCommand with SIGHUP, and ignores its exit status; both write to
    the same stderr.
    """

    def setUp(self) -> None:
        """Start a server, and write the settings to log in there with a key."""
        self.server = servers.sshd()
        self.here = place()
        known = f"server {self.server.host_key.read_text()}"
        settings = self.here.write(
            "config",
            f"""\
Host *
    {LINES["ssh"]}
    Port {self.server.port}
    User root
    IdentityFile {self.server.user_key}
    IdentitiesOnly yes
    HostKeyAlias server
    UserKnownHostsFile {self.here.write("known", known)}
    GlobalKnownHostsFile none
    BatchMode yes
""",
        )
        self.options = ("-F", settings)

    def silent(self, count: int = 1) -> None:
        """Check that this many runs ended by themselves or by SIGHUP, in silence."""
        for outcome in self.here.tunnels(count):
            self.assertIn(outcome.status, (0, 128 + 1))
            self.assertEqual(outcome.err, "")

    def test_ssh(self) -> None:
        """
        Ssh runs a command on the server, with its stdin, stdout, stderr and status.
        """
        ssh = find_program("ssh", "openssh-client")
        for script, data, outcome in (
            ("cat; exit 3", b"hello", Outcome(3, b"hello", "")),
            ("exec cat", b"x" * LARGE, Outcome(0, b"x" * LARGE, "")),
            ("echo oops >&2", b"", Outcome(0, b"", "oops\n")),
        ):
            words = (*self.options, "localhost", script)
            self.assertEqual(self.here.run(ssh, *words, data=data), outcome)
        self.silent(3)

    def test_scp(self) -> None:
        """Scp copies a large file to the server and back."""
        scp = find_program("scp", "openssh-client")
        near, far, back = (self.here.directory / name for name in ("1", "2", "3"))
        near.write_bytes(os.urandom(LARGE))
        for paths in ((str(near), f"localhost:{far}"), (f"localhost:{far}", str(back))):
            self.assertEqual(self.here.run(scp, "-q", *self.options, *paths), FINE)
        self.assertEqual(back.read_bytes(), near.read_bytes())
        self.silent(2)

"""The real servers, each with the arguments to reach it and a dialogue for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tests import certificates, dialogues, servers
from tests.command import together
from tests.dialogues import Dialogue


@dataclass(frozen=True)
class Service:
    """
    A server, one way to reach it, and a dialogue for it.

    :ivar port: Returns the port; starts the server if necessary.
    :ivar options: The options of the command; empty for a connection in clear.
    :ivar upload: Returns a dialogue that sends bodies of these sizes, in bytes.
    :ivar tells_end: Whether the server ends TLS with close_notify.
    :ivar pipelines: Whether it accepts a command before it has answered the last one.
    """

    name: str
    port: Callable[[], int]
    options: tuple[str, ...]
    upload: Callable[..., Dialogue]
    tells_end: bool = True
    pipelines: bool = True

    def arguments(self, port: int | None = None) -> tuple[str, ...]:
        """Return the arguments of the command, for another port if one is given."""
        trusting = ("-c", str(certificates.shared().ca)) if self.secure else ()
        where = ("localhost", str(port or self.port()))
        return (*self.options, *trusting, *where)

    @property
    def secure(self) -> bool:
        """Whether the connection uses TLS."""
        return bool(self.options)


def side_by_side(
    check: Callable[[Service], object], found: Sequence[Service], workers: int = 4
) -> None:
    """Start all servers, then check them side by side; starting them has no lock."""
    cases = {service.name: partial(check, service) for service in found}
    for service in found:
        service.port()
    together(cases, workers)


def nginx() -> servers.Nginx:
    """Return nginx in front of uvicorn and aiosmtpd."""
    return servers.nginx(servers.uvicorn().http, servers.aiosmtpd().plain)


def haproxy() -> servers.Web:
    """Return HAProxy in front of uvicorn."""
    return servers.haproxy(servers.uvicorn().http)


def _store_in_cyrus(*sizes: int) -> Dialogue:
    cyrus = servers.cyrus()
    return dialogues.append(*sizes, user=cyrus.user, password=cyrus.password)


def _store_in_dovecot(*sizes: int) -> Dialogue:
    dovecot = servers.dovecot()
    return dialogues.append(*sizes, user=dovecot.writer, password=dovecot.password)


def _talk_to_pure_ftpd(*sizes: int) -> Dialogue:
    # The dialogue is that of the control connection; FTP sends files on another one.
    return dialogues.files(min(sum(sizes), 3_000))


_greeted = partial(dialogues.mail, greeting=True)

CLEAR = ()
TLS = ("--tls",)
STARTTLS_SMTP = ("-s", "smtp")

WEB = (
    Service("uvicorn", lambda: servers.uvicorn().http, CLEAR, dialogues.post),
    Service("uvicorn, TLS", lambda: servers.uvicorn().https, TLS, dialogues.post),
    Service("node", lambda: servers.node().http, CLEAR, dialogues.post),
    Service("node, TLS", lambda: servers.node().https, TLS, dialogues.post),
    Service("nginx", lambda: nginx().http, CLEAR, dialogues.post),
    Service("nginx, TLS", lambda: nginx().https, TLS, dialogues.post),
    Service("HAProxy", lambda: haproxy().http, CLEAR, dialogues.post),
    Service("HAProxy, TLS", lambda: haproxy().https, TLS, dialogues.post),
    Service(
        "stunnel", lambda: servers.stunnel(servers.uvicorn().http), TLS, dialogues.post
    ),
)

MAIL = (
    Service("Postfix", lambda: servers.postfix().smtp, STARTTLS_SMTP, dialogues.mail),
    Service("Postfix, TLS", lambda: servers.postfix().smtps, TLS, _greeted),
    Service("Exim", lambda: servers.exim().port, STARTTLS_SMTP, dialogues.mail),
    Service("aiosmtpd", lambda: servers.aiosmtpd().plain, CLEAR, _greeted),
    Service(
        "aiosmtpd, STARTTLS",
        lambda: servers.aiosmtpd().smtp,
        STARTTLS_SMTP,
        dialogues.mail,
    ),
    Service(
        "nginx, SMTP",
        lambda: nginx().smtp,
        STARTTLS_SMTP,
        dialogues.mail,
        pipelines=False,
    ),
    Service(
        "OpenSMTPD",
        lambda: servers.opensmtpd().port,
        CLEAR,
        _greeted,
        pipelines=False,
    ),
)

OTHERS = (
    Service(
        "Dovecot", lambda: servers.dovecot().imap, ("-s", "imap"), _store_in_dovecot
    ),
    Service(
        "Cyrus",
        lambda: servers.cyrus().imap,
        ("-s", "imap"),
        _store_in_cyrus,
        tells_end=False,
    ),
    Service(
        "pure-ftpd",
        lambda: servers.pure_ftpd().port,
        ("-s", "ftp"),
        _talk_to_pure_ftpd,
        tells_end=False,
        pipelines=False,
    ),
    Service(
        "ejabberd",
        lambda: servers.ejabberd().port,
        ("-s", "xmpp"),
        dialogues.chat,
        tells_end=False,
    ),
)

ALL = (*WEB, *MAIL, *OTHERS)

# lighttpd refuses large bodies, so its only answer to them is an error.
LIGHTTPD = Service("lighttpd", lambda: servers.lighttpd().http, CLEAR, dialogues.post)
LIGHTTPD_TLS = Service(
    "lighttpd, TLS", lambda: servers.lighttpd().https, TLS, dialogues.post
)

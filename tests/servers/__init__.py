"""Real servers on loopback for the tests, one module for each kind."""

from tests.servers.chat import ejabberd, inspircd, prosody
from tests.servers.cyrus import cyrus
from tests.servers.daemon import (
    HOST,
    bound_by_modes,
    eventually,
    logged,
    loopbacks,
    make_directory,
)
from tests.servers.databases import mariadb, postgresql, slapd
from tests.servers.files import nbd, pure_ftpd, vsftpd
from tests.servers.imap import Dovecot, dovecot, started_dovecot
from tests.servers.mta import aiosmtpd, exim, opensmtpd
from tests.servers.network import Ident, Network, identd, network
from tests.servers.news import innd, nnrpd
from tests.servers.smtp import Postfix, postfix
from tests.servers.ssh import sshd
from tests.servers.ucspi import tcpserver, unixserver
from tests.servers.web import (
    Nginx,
    Web,
    haproxy,
    lighttpd,
    nginx,
    node,
    stunnel,
    uvicorn,
)

__all__ = [
    "HOST",
    "Dovecot",
    "Ident",
    "Network",
    "Nginx",
    "Postfix",
    "Web",
    "aiosmtpd",
    "bound_by_modes",
    "cyrus",
    "dovecot",
    "ejabberd",
    "eventually",
    "exim",
    "haproxy",
    "identd",
    "innd",
    "inspircd",
    "lighttpd",
    "logged",
    "loopbacks",
    "make_directory",
    "mariadb",
    "nbd",
    "network",
    "nginx",
    "nnrpd",
    "node",
    "opensmtpd",
    "postfix",
    "postgresql",
    "prosody",
    "pure_ftpd",
    "slapd",
    "sshd",
    "started_dovecot",
    "stunnel",
    "tcpserver",
    "unixserver",
    "uvicorn",
    "vsftpd",
]

"""Real servers on loopback for the tests to talk to, one module a protocol."""

from tests.servers.chat import inspircd, prosody
from tests.servers.daemon import (
    HOST,
    eventually,
    logged,
    loopbacks,
    make_directory,
)
from tests.servers.databases import mariadb, postgresql, slapd
from tests.servers.files import nbd, vsftpd
from tests.servers.imap import Dovecot, dovecot, started_dovecot
from tests.servers.network import Ident, Network, identd, network
from tests.servers.news import nnrpd
from tests.servers.smtp import Postfix, postfix
from tests.servers.ucspi import tcpserver, unixserver

__all__ = [
    "HOST",
    "Dovecot",
    "Ident",
    "Network",
    "Postfix",
    "dovecot",
    "eventually",
    "identd",
    "inspircd",
    "logged",
    "loopbacks",
    "make_directory",
    "mariadb",
    "nbd",
    "network",
    "nnrpd",
    "postfix",
    "postgresql",
    "prosody",
    "slapd",
    "started_dovecot",
    "tcpserver",
    "unixserver",
    "vsftpd",
]

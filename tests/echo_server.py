"""A STARTTLS server for a process of its own: SMTP up to TLS, then an echo.

    python -m tests.echo_server FILE

FILE contains the certificate and its key.  The port is printed once it is open.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import PrivateCertificate
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.protocols.wire import Echo

from tests.transcripts import GOOD, Doorman

reactor: Any = global_reactor

#: Connections that may wait for accept().
BACKLOG = 4096


def allow_descriptors() -> int:
    """Raise the soft limit of open descriptors to the hard limit, and return it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


class Doormen(Factory):
    """A factory of SMTP servers that start TLS with an echo behind it."""

    noisy = False

    def __init__(self, certificate: PrivateCertificate) -> None:
        echo: Any = Factory.forProtocol(Echo)
        self._tls = TLSMemoryBIOFactory(certificate.options(), False, echo)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Return a server for one connection."""
        tls: Any = self._tls.buildProtocol(addr)
        return Doorman(GOOD["smtp"], tls)


def main(file: str) -> None:
    """Serve until the process is killed."""
    allow_descriptors()
    certificate = PrivateCertificate.loadPEM(Path(file).read_bytes())
    factory = Doormen(certificate)
    port = reactor.listenTCP(0, factory, backlog=BACKLOG, interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""
A STARTTLS server for a process of its own: SMTP up to TLS, then an echo.

    python -m tests.echo_server FILE

FILE has the certificate and its key.  The port is printed once it is open.
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

#: How many may knock at once.
BACKLOG = 4096


def allow_descriptors() -> int:
    """Allow this process as many descriptors as it may have, and return how many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


class Doormen(Factory):
    """Builds a doorman in front of each echo."""

    noisy = False

    def __init__(self, certificate: PrivateCertificate) -> None:
        echo: Any = Factory.forProtocol(Echo)
        self._tls = TLSMemoryBIOFactory(certificate.options(), False, echo)

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """One more."""
        tls: Any = self._tls.buildProtocol(addr)
        return Doorman(GOOD["smtp"], tls)


def main(file: str) -> None:
    """Serve until the process is ended."""
    allow_descriptors()
    certificate = PrivateCertificate.loadPEM(Path(file).read_bytes())
    factory = Doormen(certificate)
    port = reactor.listenTCP(0, factory, backlog=BACKLOG, interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""
Sessions of the command in the process of the tests.

They go from argv to the exit status and the line on stderr, over real sockets, and do
not spend time on starting a process.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from tests.certificates import Identity
from tests.command import Cut, Outcome, Peer, Script, invite, listening, serving
from twisted_tcpclient.command.inheritance import inherited
from twisted_tcpclient.command.options import Options
from twisted_tcpclient.command.session import Session

#: An OpenSSL cipher list that allows all ciphers and key sizes: the client has to
#: choose.
ANYTHING = b"ALL:@SECLEVEL=0"


@contextlib.contextmanager
def overheard() -> Iterator[Callable[[], str]]:
    """
    Redirect file descriptor 2 to a file, and yield a function that returns its text.
    """
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield lambda: os.pread(file.fileno(), 1 << 20, 0).decode()
        finally:
            os.dup2(kept, 2)
            os.close(kept)


async def session(*arguments: str) -> Outcome:
    """
    Run the command with these arguments, and with `touch FILE` as prog.

    The output is b"prog" if prog was run, else empty.
    """
    with tempfile.TemporaryDirectory() as directory, overheard() as heard:
        touched = Path(directory) / "touched"
        options = Options()
        options.parseOptions(["-RHl0", *arguments, "touch", str(touched)])
        status = await Session(reactor, options.settings, inherited(os.environb)).run()
        return Outcome(status, b"prog" if touched.exists() else b"", heard())


def context(
    identity: Identity | None, ciphers: bytes = ANYTHING, version: int = 0
) -> SSL.Context:
    """Return a server context with this certificate, or with none."""
    made = SSL.Context(SSL.TLS_SERVER_METHOD)
    made.set_cipher_list(ciphers)
    if version:
        made.set_min_proto_version(version)
        made.set_max_proto_version(version)
    if identity is not None:
        made.use_certificate(identity.certificate)
        made.use_privatekey(identity.key)
        for certificate in identity.intermediates:
            made.add_extra_chain_cert(certificate)
    return made


@dataclass(frozen=True)
class Seen:
    """The bytes that a server has received in clear and over TLS."""

    clear: bytes
    secret: bytes


@dataclass(frozen=True)
class Way:
    """A way to begin TLS: the options of the command, and the dialogue in clear."""

    name: str
    options: tuple[str, ...]
    begin: Callable[[Peer], None]
    #: A pattern for all that the client says in clear.
    clear: bytes


IMPLICIT = Way("implicit", ("--tls",), lambda peer: None, b"")
STARTTLS = Way("STARTTLS", ("-s", "smtp"), invite, rb"EHLO \S+\r\nSTARTTLS\r\n")
WAYS = (IMPLICIT, STARTTLS)


def meeting(way: Way, tls: SSL.Context) -> Script:
    """
    Return a script that does the handshake and then reads until the client closes.
    """

    def script(peer: Peer) -> Seen:
        way.begin(peer)
        secret = b""
        with contextlib.suppress(OSError, Cut, SSL.Error):
            peer.secure(tls)
            secret = peer.rest()
        peer.finish()
        return Seen(peer.clear, secret)

    return script


async def meet(
    way: Way, tls: SSL.Context, *arguments: str, host: str = "127.0.0.1"
) -> tuple[Outcome, Seen]:
    """
    Run the command against a server; return the outcome and what the server received.
    """
    with serving(meeting(way, tls)) as server:
        port = str(server.address[1])
        outcome = await session(*way.options, *arguments, host, port)
        return outcome, await deferToThread(server.result)


async def meet_at_socket(
    way: Way, tls: SSL.Context, *arguments: str
) -> tuple[Outcome, Seen]:
    """Run the command against a server at a UNIX socket; return the same as `meet`."""
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/s"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        with listening(listener, meeting(way, tls)) as server:
            outcome = await session(*way.options, *arguments, path)
            return outcome, await deferToThread(server.result)

"""
The main job of tcpclient, start to end, on this machine alone.

``make demo`` runs this.  It starts a mail server that offers STARTTLS, with a
certificate from an authority that is made for the occasion, and lets the command
``tcpclient`` connect to it: negotiate, verify, and hand over to ``hello.py``,
which says hello to the server over TLS.  Nothing of it is left afterwards.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, ProcessProtocol
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.internet.task import react
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure

HERE = Path(__file__).resolve().parent


def name(text: str) -> x509.Name:
    """The name of an authority or of a server."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def draft(
    subject: str, issuer: str, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    """What all certificates here have in common: they are good for an hour."""
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
    )


def certificates(ca_file: Path) -> CertificateOptions:
    """
    Make an authority, write its certificate to a file, and have it certify
    ``localhost``.  The authority's key is forgotten at once.
    """
    authority = "Throwaway CA of the tcpclient demo"
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = (
        draft(authority, authority, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, SHA256())
    )
    ca_file.write_bytes(ca.public_bytes(Encoding.PEM))
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        draft("localhost", authority, key)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False
        )
        .sign(ca_key, SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem += certificate.public_bytes(Encoding.PEM)
    options: CertificateOptions = PrivateCertificate.loadPEM(pem).options()
    return options


class MailServer(LineReceiver):
    """
    As much of a mail server as it takes to say hello.

    Each command is added to ``heard``, with whether it came over TLS.
    """

    transport: Any

    def __init__(
        self, options: CertificateOptions, heard: list[tuple[str, bool]]
    ) -> None:
        self._options = options
        self._secure = False
        self._heard = heard

    def connectionMade(self) -> None:
        """Greet."""
        self.sendLine(b"220 localhost ESMTP, the server of the demo")

    def lineReceived(self, line: bytes) -> None:
        """Answer a command."""
        verb = line.decode("ascii", "replace").partition(" ")[0].upper()
        self._heard.append((verb, self._secure))
        if verb == "EHLO":
            self.sendLine(b"250-localhost, pleased to meet you")
            self.sendLine(b"250 PIPELINING" if self._secure else b"250 STARTTLS")
        elif verb == "STARTTLS" and not self._secure:
            self._start_tls()
        elif verb == "QUIT":
            self.sendLine(b"221 goodbye")
            self.transport.loseConnection()
        else:
            self.sendLine(b"502 that is not in the play")

    def _start_tls(self) -> None:
        if self.clearLineBuffer():
            # Commands in clear, which must not pass for ones that came over TLS.
            self.transport.abortConnection()
            return
        self.sendLine(b"220 go ahead")
        self.transport.startTLS(self._options)
        self._secure = True


class Run(ProcessProtocol):
    """
    A command on our terminal.

    :ivar ended: fires when it has ended, with whether it said it went well.
    """

    def __init__(
        self, reactor: Any, arguments: Sequence[str], environ: Mapping[str, str]
    ) -> None:
        self.ended: Deferred[bool] = Deferred()
        reactor.spawnProcess(
            self,
            arguments[0],
            arguments,
            env=environ,
            childFDs={0: 0, 1: 1, 2: 2},
        )

    def processEnded(self, reason: Failure) -> None:
        """The command has ended."""
        self.ended.callback(getattr(reason.value, "exitCode", None) == 0)


def show(text: str) -> None:
    """Print at once: the command writes to this terminal as well."""
    print(text, flush=True)


#: What the server has to have heard, and whether over TLS.
EXPECTED = [("EHLO", False), ("STARTTLS", False), ("EHLO", True), ("QUIT", True)]

BEFORE = """\
Two things are made up for this, and gone when it ends: a certificate authority,
and a mail server on port {port} of this machine that has a certificate from it.
All the rest is the real thing.  This is what you would type:

   $ {command}

and this is what it says:
"""

AFTER = """
What happened:

 1. tcpclient connected, waited for the server's greeting, and asked for STARTTLS.
 2. It checked that the server's certificate is from the authority given with -c,
    and for the name that you typed.  Had it not been, nothing more would have
    been sent.
 3. Only then did it run hello.py, with the connection on descriptors 6 and 7.
    hello.py said EHLO and QUIT, and the server heard both over TLS.
    hello.py itself knows nothing of TLS: any program will do.

What to type next, with the name of a mail server of yours in place of
mail.example.org (it only says hello; its certificate is held against the
authorities that this machine trusts, as there is no -c):

   $ {yours}

Without a program at the end you do the talking yourself: type EHLO and QUIT.

   $ {by_hand}

And this tells you of everything else: {help}
"""


def command_line(*words: object) -> str:
    """A command as one would type it here."""
    return shlex.join(str(word) for word in words)


def environment(folder: Path) -> dict[str, str]:
    """
    Ours, but for the revocation lists that this machine may have: none of them is of
    the authority that was made up.
    """
    kept = {name: value for name, value in os.environ.items() if name != "SERVERCRL"}
    return {**kept, "CERTDIR": str(folder)}


def relative(path: Path) -> Path:
    """A path as short as may be: people are to read it."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path


async def demo(reactor: Any, tcpclient: Path, folder: Path) -> None:
    """
    Serve, connect, and tell what happened.

    :raises SystemExit: if anything else happened.
    """
    heard: list[tuple[str, bool]] = []
    ca_file = folder / "ca.pem"
    options = certificates(ca_file)
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(
        Factory.forProtocol(lambda: MailServer(options, heard))
    )
    number = port.getHost().port
    smtp = (tcpclient, "-v", "-s", "smtp")
    prog = (relative(Path(sys.executable)), relative(HERE / "hello.py"))
    # Without ident (-R): where a firewall swallows the question to a server that is
    # not on this machine, that is half a minute's wait.
    command = (*smtp, "-R", "-c", ca_file, "localhost", number, *prog)
    show(BEFORE.format(port=number, command=command_line(*command)))
    words = [str(word) for word in command]
    went_well = await Run(reactor, words, environment(folder)).ended
    await port.stopListening()
    if not went_well:
        raise SystemExit("\nThe demo failed: see above what tcpclient says.")
    if heard != EXPECTED:
        raise SystemExit(f"\nThe demo failed: the server heard {heard}.")
    show(
        AFTER.format(
            yours=command_line(*smtp, "-R", "mail.example.org", 25, *prog),
            by_hand=command_line(*smtp, "--crlf", "mail.example.org", 25),
            help=command_line(tcpclient, "--help"),
        )
    )


def main() -> None:
    """Find the command, and give the demo a folder that does not outlive it."""
    found = shutil.which("tcpclient", path=Path(sys.executable).parent)
    if found is None:
        raise SystemExit('tcpclient is not installed here: try "make demo"')
    with tempfile.TemporaryDirectory(prefix="tcpclient-demo-") as folder:
        react(demo, (relative(Path(found)), Path(folder)))


if __name__ == "__main__":
    main()

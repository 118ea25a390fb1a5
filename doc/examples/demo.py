"""
A demonstration of tcpclient on this machine alone.

``make demo`` runs it.  It starts a mail server that offers STARTTLS, with a certificate
from a temporary authority, and runs the command ``tcpclient``, which connects,
negotiates, verifies, and runs ``hello.py`` on the connection.  At the end it removes
all files and stops the server.
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
    """Return a subject or issuer with this common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def draft(
    subject: str, issuer: str, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    """Return a certificate without extensions that is valid for an hour."""
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
    Make an authority, write its certificate to a file, and return the TLS options of a
    server with a certificate for ``localhost``.

    The authority's key is kept in memory only, and only during this call.
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
    A mail server that knows EHLO, STARTTLS and QUIT.

    It adds each command to ``heard``, and whether the command came over TLS.
    """

    transport: Any

    def __init__(
        self, options: CertificateOptions, heard: list[tuple[str, bool]]
    ) -> None:
        self._options = options
        self._secure = False
        self._heard = heard

    def connectionMade(self) -> None:
        """Send the greeting."""
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
            # Plaintext after STARTTLS must not count as sent over TLS (CVE-2011-0411).
            self.transport.abortConnection()
            return
        self.sendLine(b"220 go ahead")
        self.transport.startTLS(self._options)
        self._secure = True


class Run(ProcessProtocol):
    """
    A command that shares the terminal of this process.

    :ivar ended: fires when the command has ended: True if its status was 0.
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
        """Fire ``ended``."""
        self.ended.callback(getattr(reason.value, "exitCode", None) == 0)


def show(text: str) -> None:
    """Print without a buffer, as the command writes to the same terminal."""
    print(text, flush=True)


#: The commands that the server must receive, each with whether it comes over TLS.
EXPECTED = [("EHLO", False), ("STARTTLS", False), ("EHLO", True), ("QUIT", True)]

BEFORE = """\
This demo has made a certificate authority, and has started a mail server on port
{port} of this machine with a certificate from it.  Both are removed at the end.
The command is the real one.  You would type:

   $ {command}

It prints:
"""

AFTER = """
What happened:

 1. tcpclient connected, waited for the server's greeting, and asked for STARTTLS.
 2. It verified that the server's certificate is from the authority given with -c,
    and for the host that was typed.  Otherwise it would have ended here.
 3. Then it ran hello.py with the connection on descriptors 6 and 7.  hello.py sent
    EHLO and QUIT, and the server received both over TLS.  hello.py has no code
    for TLS, and any other program can take its place.

What to type next, with your mail server in place of mail.example.org.  It sends
only EHLO and QUIT.  Without -c the CAs that this machine trusts are used:

   $ {yours}

Without a program at the end you type the commands yourself, EHLO and QUIT:

   $ {by_hand}

To list all options: {help}
"""


def command_line(*words: object) -> str:
    """Return a command line as it is typed."""
    return shlex.join(str(word) for word in words)


def environment(folder: Path) -> dict[str, str]:
    """
    Return the environment of the command, without the revocation lists of this machine.

    None of these lists is of the temporary authority, so that tcpclient would refuse
    its certificate.
    """
    kept = {name: value for name, value in os.environ.items() if name != "SERVERCRL"}
    return {**kept, "CERTDIR": str(folder)}


def relative(path: Path) -> Path:
    """Return a path relative to the current directory if it is below that."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path


async def demo(reactor: Any, tcpclient: Path, folder: Path) -> None:
    """
    Serve, run the command, and print an explanation.

    :raises SystemExit: if the command failed, or sent other commands to the server.
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
    # -R, as the shown command is used for remote servers too: a firewall that drops
    # the ident request would delay it by 26 seconds.
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
    """Find the command, and run the demo with a temporary folder."""
    found = shutil.which("tcpclient", path=Path(sys.executable).parent)
    if found is None:
        raise SystemExit('tcpclient is not installed here: try "make demo"')
    with tempfile.TemporaryDirectory(prefix="tcpclient-demo-") as folder:
        react(demo, (relative(Path(found)), Path(folder)))


if __name__ == "__main__":
    main()

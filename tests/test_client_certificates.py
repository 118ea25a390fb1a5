"""Sessions without a client certificate, with servers that ask for one.

Depending on the server and the TLS version, such a session ends with an alert during or
after the handshake, or with EOF without an alert.  In each case the error message says
that the server asked for a client certificate.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Mapping

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests import certificates, servers
from tests.command import (
    Cut,
    Outcome,
    Peer,
    run,
    server_context,
    serving,
    together,
    trusting,
)

ASKED = "the server asked for a client certificate (-n)"

VERSIONS = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}

#: The arguments that follow HOST and PORT, in client mode and with a prog.
MODES: Mapping[str, tuple[str, ...]] = {"client": (), "prog": ("sh", "-c", "cat <&6")}


def asking(version: int, insists: bool = False) -> SSL.Context:
    """Return the settings of a server that asks for a client certificate."""
    # server_context() is cached and its contexts are shared; this one is changed below.
    context = server_context.__wrapped__(version, certificates.shared().ca)
    if not insists:
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    return context


def cuts(peer: Peer) -> None:
    """Send FIN without close_notify, and wait until the client has closed."""
    peer.cut()
    peer.gone()


#: How a server ends a session that it does not want to continue.
ENDINGS: Mapping[str, Callable[[Peer], object]] = {"cut": cuts, "reset": Peer.reset}


class AskedTests(SynchronousTestCase):
    """Error messages of sessions in which the command had no certificate to send."""

    def refused(self, version: int, script: Callable[[Peer], object]) -> None:
        """
        Check that client mode and prog fail with one line that ends in the reason.
        """
        for prog in MODES.values():
            with serving(script, "--tls", *trusting()) as server:
                outcome = run("-RHl0", *server.arguments, *prog, data=None)
            self.assertEqual((outcome.status, outcome.out), (111, b""))
            self.assertTrue(outcome.complaint().endswith(f": {ASKED}"), outcome.err)

    def test_alert(self) -> None:
        """
        If the server requires a certificate and sends an alert, in the handshake (TLS
        1.2) or after it (TLS 1.3), the error says that the server asked for one.
        """

        def insist(version: int, peer: Peer) -> None:
            with contextlib.suppress(SSL.Error):
                peer.secure(asking(version, insists=True))
            peer.gone()

        together(
            {
                name: functools.partial(
                    self.refused, version, functools.partial(insist, version)
                )
                for name, version in VERSIONS.items()
            }
        )

    def test_hangs_up(self) -> None:
        """
        If the server hangs up in the handshake when it has received no certificate, the
        error says that the server asked for one.
        """

        def hang_up(peer: Peer) -> None:
            context = asking(SSL.TLS1_2_VERSION)

            def judge(*_: object) -> bool:
                raise AssertionError("there is no certificate to judge")

            context.set_verify(SSL.VERIFY_PEER, judge)
            tls = SSL.Connection(context, None)
            tls.set_accept_state()
            tls.bio_write(peer.socket.recv(65536))
            with contextlib.suppress(SSL.WantReadError):
                tls.do_handshake()
            peer.socket.sendall(tls.bio_read(65536))
            # The client's answer, with an empty Certificate message (RFC 5246, 7.4.6).
            self.assertTrue(peer.socket.recv(65536))
            peer.socket.close()

        self.refused(SSL.TLS1_2_VERSION, hang_up)

    def test_no_close_notify(self) -> None:
        """
        If the server completes the handshake and then sends FIN or RST without
        close_notify, the error says that the server asked for a certificate.
        """

        def go(version: int, ending: Callable[[Peer], object], peer: Peer) -> None:
            peer.secure(asking(version))
            ending(peer)

        together(
            {
                f"{name}, {how}": functools.partial(
                    self.refused, version, functools.partial(go, version, ending)
                )
                for (name, version), (how, ending) in itertools.product(
                    VERSIONS.items(), ENDINGS.items()
                )
            }
        )

    def test_ends_in_order(self) -> None:
        """
        If the server ends the session with close_notify before it has sent any data,
        the status is 0, and a warning says that the server asked for a certificate.
        """

        def check(version: int, prog: tuple[str, ...]) -> None:
            def leave(peer: Peer) -> None:
                peer.secure(asking(version))
                peer.finish()

            with serving(leave, "--tls", *trusting()) as server:
                outcome = run("-RHl0", *server.arguments, *prog, data=None)
            self.assertEqual((outcome.status, outcome.out), (0, b""))
            self.assertTrue(outcome.err.startswith("tcpclient: warning: "), outcome)
            self.assertTrue(outcome.err.endswith(f" {ASKED}\n"), outcome)
            self.assertEqual(outcome.err.count("\n"), 1)

        together(
            {
                f"{version}, {mode}": functools.partial(check, VERSIONS[version], prog)
                for version, (mode, prog) in itertools.product(VERSIONS, MODES.items())
            }
        )


class SlapdTests(SynchronousTestCase):
    """slapd, which uses GnuTLS and closes the connection without an alert."""

    def end(self, version: str, *options: str) -> Outcome:
        """Run a session with slapd over a version of TLS, and return its outcome."""
        port = str(servers.slapd("demand").port)
        arguments = ("-s", "ldap", "-M", version, *trusting(), *options)
        # slapd closes the connection after unbindRequest, without a response (RFC 4511,
        # 4.3).
        unbind = b"\x30\x05\x02\x01\x02\x42\x00"
        return run(*arguments, "localhost", port, data=unbind)

    def test_required(self) -> None:
        """
        The error says that the server asked for a certificate, whether slapd fails the
        handshake or closes the connection after it.
        """

        def check(version: str) -> None:
            outcome = self.end(version)
            self.assertEqual((outcome.status, outcome.out), (111, b""))
            self.assertTrue(outcome.complaint().endswith(f": {ASKED}"), outcome.err)

        together(
            {name: functools.partial(check, name) for name in ("TLSv1_2", "TLSv1_3")}
        )

    def test_given(self) -> None:
        """With -n and a client certificate, the session has status 0 and no message."""
        client = ("-n", str(certificates.shared().client))
        outcome = self.end("TLSv1_3", *client)
        self.assertEqual(outcome, Outcome(0, b"", ""))


class UnaskedTests(SynchronousTestCase):
    """Sessions whose messages do not mention client certificates."""

    def ends(
        self,
        script: Callable[[Peer], object],
        *options: str,
        prog: tuple[str, ...] = (),
        version: int = 0,
    ) -> Outcome:
        """Return the outcome of a session with a server that asks for a certificate."""

        def serve(peer: Peer) -> None:
            peer.secure(asking(version))
            with contextlib.suppress(OSError, SSL.Error, Cut):
                script(peer)

        with serving(serve, "--tls", *trusting(), *options) as server:
            return run("-RHl0", *server.arguments, *prog, data=None)

    def test_data_before_the_end(self) -> None:
        """
        After data from the server, neither a cut connection nor close_notify leads to a
        message about client certificates.
        """

        def talk(ending: Callable[[Peer], object], peer: Peer) -> None:
            peer.send(b"hello")
            ending(peer)

        def check(version: int) -> None:
            outcome = self.ends(functools.partial(talk, cuts), version=version)
            self.assertEqual((outcome.status, outcome.out), (111, b"hello"))
            self.assertNotIn("client certificate", outcome.complaint())
            outcome = self.ends(functools.partial(talk, Peer.finish), version=version)
            self.assertEqual(outcome, Outcome(0, b"hello", ""))

        together(
            {
                name: functools.partial(check, version)
                for name, version in VERSIONS.items()
            }
        )

    def test_given(self) -> None:
        """
        With -n, neither close_notify nor a cut connection leads to a message about
        client certificates.
        """
        client = ("-n", str(certificates.shared().client))
        outcome = self.ends(Peer.finish, *client)
        self.assertEqual(outcome, Outcome(0, b"", ""))
        outcome = self.ends(cuts, *client)
        self.assertEqual(outcome.status, 111)
        self.assertNotIn("client certificate", outcome.complaint())

    def test_prog_ends_first(self) -> None:
        """
        A prog that exits before the server has sent data ends the session with status 0
        and without a warning, though the server has asked for a certificate.
        """
        outcome = self.ends(Peer.leave, prog=("true",))
        self.assertEqual(outcome, Outcome(0, b"", ""))

"""Servers that ask for a client certificate, and clients that have none.

By server and version such a session ends in an alert in the handshake, in one behind
it, or in an end without a word.  Whichever it is, the command says what was asked for.
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

#: In client mode, and with a prog.
MODES: Mapping[str, tuple[str, ...]] = {"client": (), "prog": ("sh", "-c", "cat <&6")}


def asking(version: int, insists: bool = False) -> SSL.Context:
    """Return the settings of a server that asks for a client certificate."""
    # Not the shared one, which other tests use as well.
    context = server_context.__wrapped__(version, certificates.shared().ca)
    if not insists:
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    return context


def cuts(peer: Peer) -> None:
    """Close the connection below TLS."""
    peer.cut()
    peer.gone()


#: What a server does that does not like to go on.
ENDINGS: Mapping[str, Callable[[Peer], object]] = {"cut": cuts, "reset": Peer.reset}


class AskedTests(SynchronousTestCase):
    """What the command says when there was no certificate to send."""

    def refused(self, version: int, script: Callable[[Peer], object]) -> None:
        """The command fails, in both modes, with one line that ends in the reason."""
        for prog in MODES.values():
            with serving(script, "--tls", *trusting()) as server:
                outcome = run("-RHl0", *server.arguments, *prog, data=None)
            self.assertEqual((outcome.status, outcome.out), (111, b""))
            self.assertTrue(outcome.complaint().endswith(f": {ASKED}"), outcome.err)

    def test_insists(self) -> None:
        """A server that insists sends an alert: in the handshake, or behind it."""

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
        """A server may also hang up in the handshake, as soon as it sees that."""

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
            # The answer: a message with no certificate in it.
            self.assertTrue(peer.socket.recv(65536))
            peer.socket.close()

        self.refused(SSL.TLS1_2_VERSION, hang_up)

    def test_ends_badly(self) -> None:
        """Or it lets the handshake succeed, and goes without a word."""

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
        If it even ends in order, without a word, the session was whole: status 0.
        A warning says what may have been missing.
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
    """A server that has GnuTLS: it closes the connection, and sends no alert."""

    def end(self, version: str, *options: str) -> Outcome:
        """Return how the session ends with this version of TLS."""
        port = str(servers.slapd("demand").port)
        arguments = ("-s", "ldap", "-M", version, *trusting(), *options)
        # The server closes the connection at that, without an answer (RFC 4511, 4.3).
        unbind = b"\x30\x05\x02\x01\x02\x42\x00"
        return run(*arguments, "localhost", port, data=unbind)

    def test_demands(self) -> None:
        """It may fail the handshake, or what follows it; the message is as clear."""

        def check(version: str) -> None:
            outcome = self.end(version)
            self.assertEqual((outcome.status, outcome.out), (111, b""))
            self.assertTrue(outcome.complaint().endswith(f": {ASKED}"), outcome.err)

        together(
            {name: functools.partial(check, name) for name in ("TLSv1_2", "TLSv1_3")}
        )

    def test_given(self) -> None:
        """With a certificate there is nothing to say."""
        client = ("-n", str(certificates.shared().client))
        outcome = self.end("TLSv1_3", *client)
        self.assertEqual(outcome, Outcome(0, b"", ""))


class UnaskedTests(SynchronousTestCase):
    """When nothing is said of client certificates."""

    def ends(
        self,
        script: Callable[[Peer], object],
        *options: str,
        prog: tuple[str, ...] = (),
        version: int = 0,
    ) -> Outcome:
        """Return how a session ends with a server that asks for a certificate."""

        def serve(peer: Peer) -> None:
            peer.secure(asking(version))
            with contextlib.suppress(OSError, SSL.Error, Cut):
                script(peer)

        with serving(serve, "--tls", *trusting(), *options) as server:
            return run("-RHl0", *server.arguments, *prog, data=None)

    def test_content(self) -> None:
        """A server that has something to say was content without a certificate."""

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
        """With -n it has one: a bad end has another reason."""
        client = ("-n", str(certificates.shared().client))
        outcome = self.ends(Peer.finish, *client)
        self.assertEqual(outcome, Outcome(0, b"", ""))
        outcome = self.ends(cuts, *client)
        self.assertEqual(outcome.status, 111)
        self.assertNotIn("client certificate", outcome.complaint())

    def test_first_to_leave(self) -> None:
        """
        A server that would be content without one has no need to speak, where it is
        our side that ends the session: a check of its certificate prints nothing.
        """
        outcome = self.ends(Peer.leave, prog=("true",))
        self.assertEqual(outcome, Outcome(0, b"", ""))

"""
Records of TLS, and servers that send messages which no common server sends.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from OpenSSL import SSL
from twisted.internet.threads import blockingCallFromThread
from twisted.trial.unittest import SynchronousTestCase

from tests.command import PATIENCE, Kind, Outcome, Peer, run, trusting
from tests.test_pumps import MIB, PumpTestCase, reactor, text
from tests.tls13 import (
    ALERT,
    CLOSE_NOTIFY,
    DATA,
    HANDSHAKE,
    USER_CANCELED,
    Server,
    key_update,
    ticket,
)
from twisted_tcpclient.errors import ConnectionBroken
from twisted_tcpclient.tls.records import Records

#: The server does all of TLS, from the handshake on.
BY_HAND = Kind("TLS 1.3", lambda: ("--tls", *trusting()), lambda peer: None)

#: Fatal alerts: close_notify and user_canceled have no level in TLS 1.3, and others
#: are errors whatever theirs is (RFC 8446, 6).
FATAL_CLOSE_NOTIFY, FATAL_USER_CANCELED = b"\2\0", b"\2\x5a"
HANDSHAKE_FAILURE = b"\1\x28"

#: Messages that a server may send after the handshake, and whether the keys change.
MESSAGES = {
    "ticket": (ticket(), False),
    "large ticket": (ticket(16_000), False),
    "key update": (key_update(False), True),
    "key update to be answered": (key_update(True), True),
}

#: What OpenSSL has to have of a message before it begins with it: type and length.
HEADER = 4


@dataclass
class Session:
    """A session over a pair of sockets."""

    records: Records
    server: Server
    ours: socket.socket

    def decrypt(self) -> list[bytes]:
        """Return the plaintext that has come from the server."""
        return self.records.decrypt(self.ours.recv(MIB))

    def said(self, *parts: bytes) -> bytes:
        """Return the plaintext that the server reads up to close_notify."""
        self.ours.sendall(b"".join(parts))
        return self.server.rest()


@contextlib.contextmanager
def session() -> Iterator[Session]:
    """Make a session whose handshake is done, and whose tickets have come."""
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    client.set_connect_state()
    records = Records(client)
    with ours, theirs, ThreadPoolExecutor(1) as pool:
        server = pool.submit(Server, Peer(theirs))
        while True:
            try:
                client.do_handshake()
                break
            except SSL.WantReadError:
                ours.sendall(records.pending())
                client.bio_write(ours.recv(MIB))
        ours.sendall(records.pending())
        made = Session(records, server.result(PATIENCE), ours)
        made.server.send(DATA, b"ready")
        received = b""
        while received != b"ready":
            received += b"".join(made.decrypt())
        yield made


class HalfTests(SynchronousTestCase):
    """Half a message of the handshake, and bytes that are sent before the other."""

    def check(self, name: str, cut: int) -> None:
        """Assert that all arrives once, in order, and close_notify behind it."""
        whole, rekeys = MESSAGES[name]
        with session() as made:
            made.server.send(HANDSHAKE, whole[:cut])
            self.assertEqual(made.decrypt(), [])
            before = made.records.encrypt(b"x" * 40_000)
            waits = cut >= HEADER
            self.assertEqual((not before, bool(made.records.kept)), (waits, waits))
            goodbye = made.records.close_notify()
            self.assertEqual(not goodbye, waits)
            made.server.send(HANDSHAKE, whole[cut:])
            if rekeys:
                made.server.update()
            made.server.send(DATA, b"and more")
            received = made.decrypt()
            self.assertEqual(b"".join(received), b"and more")
            after = made.records.pending()
            self.assertEqual(made.records.kept, b"")
            self.assertEqual(made.said(before, goodbye, after), b"x" * 40_000)

    def test_each(self) -> None:
        """All bytes arrive, wherever the message is cut."""
        for name, (whole, _) in MESSAGES.items():
            for cut in {1, HEADER - 1, HEADER, HEADER + 1, len(whole) - 1}:
                if cut < len(whole):
                    self.check(name, cut)

    def test_close_notify(self) -> None:
        """close_notify waits for the other half, too."""
        with session() as made:
            made.server.send(HANDSHAKE, ticket()[:50])
            made.decrypt()
            self.assertEqual(made.records.close_notify(), b"")
            made.server.send(HANDSHAKE, ticket()[50:])
            made.decrypt()
            self.assertEqual(made.said(made.records.pending()), b"")

    def test_last_words(self) -> None:
        """Kept bytes are sent, though close_notify follows the other half."""
        with session() as made:
            made.server.send(HANDSHAKE, ticket()[:50])
            made.decrypt()
            self.assertEqual(made.records.encrypt(b"kept"), b"")
            records = made.server.sealed(HANDSHAKE, ticket()[50:])
            records += made.server.sealed(ALERT, CLOSE_NOTIFY)
            made.records.decrypt(records)
            self.assertIsInstance(made.records.ended, EOFError)
            after = made.records.pending() + made.records.close_notify()
            self.assertEqual(made.said(after), b"kept")

    def test_ends(self) -> None:
        """A server that ends within the message has not ended in order."""
        for kind, content in ((ALERT, CLOSE_NOTIFY), (DATA, b"data")):
            with session() as made:
                made.server.send(HANDSHAKE, ticket()[:50])
                made.decrypt()
                made.records.encrypt(b"kept")
                made.server.send(kind, content)
                made.decrypt()
                self.assertIsInstance(made.records.ended, ConnectionBroken)


class EndTests(SynchronousTestCase):
    """Alerts at the end of a session."""

    def end(self, *alerts: bytes) -> Outcome:
        """Run the command with a server that sends data, then these alerts."""

        def speak(peer: Peer) -> None:
            server = Server(peer)
            server.send(DATA, b"all that there is")
            for alert in alerts:
                server.send(ALERT, alert)
            peer.gone()

        with BY_HAND.serve(speak) as server:
            outcome = run(*server.arguments, data=None)
            server.result()
        self.assertEqual(outcome.out, b"all that there is")
        return outcome

    def test_in_order(self) -> None:
        """close_notify is an end in order, also after alerts that are warnings."""
        for alerts in (
            (CLOSE_NOTIFY,),
            (FATAL_CLOSE_NOTIFY,),
            (USER_CANCELED, CLOSE_NOTIFY),
            (USER_CANCELED, FATAL_CLOSE_NOTIFY),
            (FATAL_USER_CANCELED, CLOSE_NOTIFY),
            (USER_CANCELED, USER_CANCELED, CLOSE_NOTIFY),
        ):
            self.assertEqual(self.end(*alerts).status, 0, alerts)

    def test_broken(self) -> None:
        """Another alert is an error, even if close_notify follows."""
        for alerts in (
            (HANDSHAKE_FAILURE,),
            (HANDSHAKE_FAILURE, CLOSE_NOTIFY),
            (USER_CANCELED, HANDSHAKE_FAILURE),
        ):
            outcome = self.end(*alerts)
            self.assertEqual(outcome.status, 111, alerts)
            self.assertIn("TLS failed: ", outcome.complaint())


class Keeping(Records):
    """Records with events: plaintext has come, plaintext was kept."""

    def __init__(self, connection: SSL.Connection) -> None:
        super().__init__(connection)
        self.given = threading.Event()
        self.has_kept = threading.Event()

    def decrypt(self, data: bytes) -> list[bytes]:
        """Decrypt, and set an event if there is plaintext."""
        pieces = super().decrypt(data)
        if pieces:
            self.given.set()
        return pieces

    def encrypt(self, data: bytes) -> bytes:
        """Encrypt, and set an event if plaintext is kept."""
        records = super().encrypt(data)
        if self.kept:
            self.has_kept.set()
        return records


def watched() -> list[int]:
    """Return what the reactor reads from, after it has handled all events."""
    blockingCallFromThread(reactor, int)
    readers: list[int] = blockingCallFromThread(
        reactor, lambda: [reader.fileno() for reader in reactor.getReaders()]
    )
    return readers


class UploadTests(PumpTestCase):
    """An upload during which half a message comes, and late the other half."""

    async def test_waits(self) -> None:
        """No input is read or watched while bytes are kept; then all is sent."""
        kept, rest = text(1000), text(MIB)
        made: Future[Keeping] = Future()
        reading, writing = os.pipe()

        def keep(connection: Any) -> Keeping:
            records = Keeping(connection)
            made.set_result(records)
            return records

        def serve(peer: Peer) -> bytes:
            server = Server(peer)
            records = made.result(PATIENCE)
            # In one segment: the test can only see that the first has come.
            ready = server.sealed(DATA, b"ready")
            peer.send_clear(ready + server.sealed(HANDSHAKE, ticket()[:50]))
            assert records.given.wait(PATIENCE)
            self.assertIn(reading, watched())
            os.write(writing, kept)
            assert records.has_kept.wait(PATIENCE)
            os.write(writing, b"not read")
            self.assertNotIn(reading, watched())
            self.assertEqual(records.kept, kept)
            server.send(HANDSHAKE, ticket()[50:])
            with open(writing, "wb") as file:
                file.write(rest)
            received = server.rest()
            server.send(ALERT, CLOSE_NOTIFY)
            return received

        with BY_HAND.serve(serve) as server:
            wire = await self.connect(BY_HAND, server, keep)
            sink, drained = self.to_pipe()
            self.assertIsNone(await self.join(wire, reading, sink, True))
            self.assertEqual(server.result(), kept + b"not read" + rest)
        self.assertEqual(drained.result(PATIENCE), b"ready")

"""A TLS 1.3 server with records made by hand, which no real server would send."""

from __future__ import annotations

import contextlib
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from OpenSSL import SSL

from tests.certificates import shared
from tests.command import CHUNK, Peer

#: Record types (RFC 8446, section 5.1).
ALERT, HANDSHAKE, DATA = 21, 22, 23

#: Level and description of alerts (RFC 8446, section 6).
CLOSE_NOTIFY, USER_CANCELED = b"\1\0", b"\1\x5a"


def message(kind: int, content: bytes) -> bytes:
    """Return a handshake message without a record (RFC 8446, section 4)."""
    return bytes((kind,)) + len(content).to_bytes(3, "big") + content


def ticket(size: int = 200) -> bytes:
    """Return a NewSessionTicket message (RFC 8446, section 4.6.1)."""
    lifetime, age, nonce, extensions = b"\0\0\2\0", b"age!", b"\1n", b"\0\0"
    content = size.to_bytes(2, "big") + bytes(size)
    return message(4, lifetime + age + nonce + content + extensions)


def key_update(answer: bool) -> bytes:
    """
    Return a KeyUpdate message, after which the sender uses new keys (section 4.6.3).
    """
    return message(24, bytes((answer,)))


class Server:
    """
    A TLS 1.3 server whose application records are encrypted here (RFC 8446, section 7).

    OpenSSL does the handshake and decrypts what the client sends.
    """

    def __init__(self, peer: Peer) -> None:
        """
        Do the handshake.

        :param peer: A connection on which no byte has been sent yet.
        """
        self._peer = peer
        self._secrets: dict[str, bytes] = {}
        self._tls = SSL.Connection(self._context(), None)
        self._tls.set_accept_state()
        self._handshake()
        # OpenSSL has sent its session tickets with the same keys.
        self._sequence = self._flush()
        self._rekey(self._secrets["SERVER_TRAFFIC_SECRET_0"])

    def send(self, kind: int, *contents: bytes) -> None:
        """Send one record for each of these contents, all in one segment."""
        records = b"".join(self.sealed(kind, content) for content in contents)
        self._peer.socket.sendall(records)

    def sealed(self, kind: int, content: bytes) -> bytes:
        """Return the next record, with this content."""
        inner = content + bytes((kind,))
        header = b"\x17\3\3" + (len(inner) + 16).to_bytes(2, "big")
        nonce = (self._iv ^ self._sequence).to_bytes(12, "big")
        self._sequence += 1
        return header + self._cipher.encrypt(nonce, inner, header)

    def update(self) -> None:
        """Switch to the next generation of keys."""
        self._rekey(_expand(self._secret, "traffic upd", 32))
        self._sequence = 0

    def receive(self) -> bytes:
        """Return the next bytes of the client; b"" after its close_notify."""
        while True:
            try:
                return self._tls.recv(CHUNK)
            except SSL.ZeroReturnError:
                return b""
            except SSL.WantReadError:
                self._feed()

    def exactly(self, size: int) -> bytes:
        """Return `size` bytes of the client, or fewer if it sends close_notify."""
        received = b""
        while len(received) < size and (data := self.receive()):
            received += data
        return received

    def rest(self) -> bytes:
        """Return all that the client sends until its close_notify."""
        return b"".join(iter(self.receive, b""))

    def _context(self) -> SSL.Context:
        def keep(connection: SSL.Connection, line: bytes) -> None:
            name, _, secret = line.decode().split()
            self._secrets[name] = bytes.fromhex(secret)

        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate_chain_file(str(shared().server))
        context.use_privatekey_file(str(shared().server))
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_tls13_ciphersuites(b"TLS_AES_128_GCM_SHA256")
        context.set_keylog_callback(keep)
        return context

    def _handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
                return
            except SSL.WantReadError:
                self._flush()
                self._feed()

    def _flush(self) -> int:
        """Send OpenSSL's output; return the number of records in it."""
        said = b""
        with contextlib.suppress(SSL.WantReadError):
            while True:
                said += self._tls.bio_read(CHUNK)
        self._peer.socket.sendall(said)
        count = 0
        while said:
            count, said = count + 1, said[5 + int.from_bytes(said[3:5], "big") :]
        return count

    def _feed(self) -> None:
        data = self._peer.socket.recv(CHUNK)
        assert data, "the client has closed the connection"
        self._tls.bio_write(data)

    def _rekey(self, secret: bytes) -> None:
        self._secret = secret
        self._cipher = AESGCM(_expand(secret, "key", 16))
        self._iv = int.from_bytes(_expand(secret, "iv", 12), "big")


def _expand(secret: bytes, label: str, length: int) -> bytes:
    """Return HKDF-Expand-Label with an empty context (RFC 8446, section 7.1)."""
    name = b"tls13 " + label.encode()
    info = length.to_bytes(2, "big") + bytes((len(name),)) + name + b"\0"
    derive: Any = HKDFExpand(SHA256(), length, info)
    return bytes(derive.derive(secret))

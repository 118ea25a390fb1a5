"""A name server whose replies a test decides."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests import servers
from tests.torture.paths import Place

A, CNAME, PTR, TXT, AAAA = 1, 5, 12, 16, 28

#: The flags of a DNS header: success, SERVFAIL, NXDOMAIN, REFUSED, truncated.
FINE, FAILED, UNKNOWN, DENIED, TRUNCATED = 0x8180, 0x8182, 0x8183, 0x8185, 0x8380


@dataclass(frozen=True)
class Question:
    """
    A DNS query.

    :ivar data: The whole packet.
    """

    data: bytes

    @property
    def name(self) -> bytes:
        """The name that is asked for, in wire format."""
        return self.data[12 : self.data.index(b"\0", 12) + 1]

    @property
    def label(self) -> str:
        """The first label of the name."""
        return self.name[1 : 1 + self.name[0]].decode()

    @property
    def kind(self) -> int:
        """The record type that is asked for."""
        end = 12 + len(self.name)
        return int.from_bytes(self.data[end : end + 2], "big")

    def reply(self, *records: tuple[int, bytes], flags: int = FINE) -> bytes:
        """Return a reply with records for the name."""
        header = self.data[:2] + struct.pack("!5H", flags, 1, len(records), 0, 0)
        answers = b"".join(
            b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data
            for kind, data in records
        )
        return header + self.data[12 : 16 + len(self.name)] + answers

    def address(self, ip: str = "127.0.0.1") -> bytes:
        """
        Return a reply with an IPv4 address if type A is asked for, else an empty reply.
        """
        record = (A, socket.inet_aton(ip))
        return self.reply(*[record] if self.kind == A else [])


def labels(*parts: bytes) -> bytes:
    """Return a name in wire format."""
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


#: Returns the packets to send in reply to a query.
Answers = Callable[[Question], list[bytes]]


@contextlib.contextmanager
def resolver(place: Place, behaviours: dict[str, Answers]) -> Iterator[None]:
    """
    Answer the queries made in a place; the first label of the name selects the reply.
    """

    def bound() -> socket.socket | None:
        server = socket.socket(type=socket.SOCK_DGRAM)
        try:
            server.bind(("127.0.0.1", 53))
        except OSError as error:
            server.close()
            # A child process that is being started may hold the previous socket until
            # exec.
            if error.errno != errno.EADDRINUSE:
                raise
            return None
        return server

    def serve() -> None:
        while len(asked := server.recvfrom(4096)[0:2]) == 2 and asked[0]:
            question = Question(asked[0])
            answers = behaviours.get(question.label, lambda question: [])
            for answer in answers(question):
                server.sendto(answer, asked[1])

    server = servers.eventually(lambda: place.call(bound), "port 53 to be free")
    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    try:
        yield
    finally:
        # An empty packet ends the thread.
        server.sendto(b"", server.getsockname())
        serving.join()
        server.close()

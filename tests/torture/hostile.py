"""
A hostile server that follows a script, and the checks of how the client ended.

A script is a transcript as in :mod:`tests.transcripts` and an ending.  The same script
is followed in memory (`in_memory`), where thousands of scripts take seconds, and on a
socket (`on_socket`), against a session in this process or against the command.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import combinations
from typing import Any
from unittest.mock import patch

from OpenSSL import SSL
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from tests.certificates import shared
from tests.command import Peer
from tests.transcripts import DOMAIN, GOOD, PEER, MemoryTransport
from twisted_tcpclient import connection
from twisted_tcpclient.command.inheritance import inherited
from twisted_tcpclient.command.session import Session
from twisted_tcpclient.settings import Settings, TLSSettings
from twisted_tcpclient.testing import Segment, parse_transcript

#: Timeout of the dialogue, and of the handshake after it, in seconds.
TIMEOUT = 30

#: The longest line on stderr, in bytes, that a server can cause.
LONGEST_LINE = 300
#: The same for a line that quotes 300 bytes of the server: an escaped byte takes four.
LONGEST_QUOTE = 1300

#: Escape sequences and text that can forge the output of a terminal or a line of a log.
#: In scripts, the word `SPOOF` is replaced by it.
SPOOF = (
    b"\x1b]0;evil\x07\x1b[2J\x1b[1;1H\x9b31m\x08\x7f\x00"
    b" PASSWORD\rtcpclient: fatal: no\xff\xfe\xe2\x80\xae"
)

QUOTE = "tcpclient: the server, unauthenticated, said: "


#: The first bytes of a ClientHello record.
HELLO = Segment(False, b"\x16\x03\x01")


class Ending(Enum):
    """What a server does after the last step of its script."""

    WAIT = "waits"
    FIN = "closes"
    RST = "resets"


@dataclass(frozen=True)
class Script:
    """
    The steps of one server against one client.

    :ivar dialect: The dialect that the client speaks.
    :ivar says: The steps of both sides, in order.  The server waits for the client
        where it is the client's turn, and says its own part whatever the client has
        said.
    :ivar words: A text that the client's error message contains; "" if any will do.
    :ivar pause: Seconds that the server waits, in memory, before each step of its own.
    """

    name: str
    dialect: str
    says: tuple[Segment, ...]
    ending: Ending = Ending.WAIT
    words: str = ""
    pause: float = 0

    @classmethod
    def read(
        cls,
        name: str,
        dialect: str,
        transcript: str,
        words: str = "",
        ending: Ending = Ending.WAIT,
    ) -> Script:
        """Make a script from a transcript."""
        says = tuple(
            replace(said, data=said.data.replace(b"SPOOF", SPOOF))
            for said in parse_transcript(transcript)
        )
        return cls(name, dialect, says, ending, words)


@dataclass
class Outcome:
    """
    The result of one run of a client.

    :ivar status: Its exit status; None while the session runs.
    :ivar told: Its lines on stderr.
    :ivar clear: All bytes that it sent while connected: the dialogue, then TLS records.
    :ivar late: Bytes that it sent after it had closed the connection.
    :ivar used: Whether stdin, stdout or prog were touched.
    :ivar left: The delayed calls that remain in the reactor.
    """

    status: int | None = None
    told: list[bytes] = field(default_factory=list)
    clear: bytes = b""
    late: bytes = b""
    used: bool = False
    left: Sequence[object] = ()

    @property
    def message(self) -> str:
        """The text of the line that begins with "tcpclient: fatal: "."""
        start = b"tcpclient: fatal: "
        (line,) = [line for line in self.told if line.startswith(start)]
        return line[len(start) :].decode("ascii").rstrip("\n")


def said_in_good_order(dialect: str, clear: bytes) -> bool:
    """
    Tell whether the bytes sent are those of the dialogue, and then TLS records, if any.

    Some servers make a question of the client unnecessary, so any question may be
    missing.
    """
    clear, hello, rest = clear.partition(HELLO.data)
    clear = re.sub(rb"\b[0-9a-f]{12}([12] )", rb"{tag}\1", clear)
    clear = clear.replace(b"[127.0.0.1]", b"[192.0.2.1]")
    asked = [
        said.data for said in parse_transcript(GOOD[dialect]) if not said.by_server
    ]
    if dialect == "nntp":
        # After a change of mode the client asks again (RFC 3977, section 5.3).
        asked += [b"MODE READER\r\n", *asked]
    return are_records(hello + rest) and any(
        b"".join(some) == clear
        for count in range(len(asked) + 1)
        for some in combinations(asked, count)
    )


def are_records(data: bytes) -> bool:
    """Tell whether the data consists of whole TLS records."""
    while re.match(rb"[\x14-\x17]\x03", data):
        data = data[5 + int.from_bytes(data[3:5], "big") :]
    return data == b""


def faults(script: Script, outcome: Outcome, place: str) -> list[str]:
    """
    Return the faults of an outcome; an empty list if the client defended itself.

    :param place: The address of the server as messages show it.
    """
    found = []
    if outcome.status != 111:
        found.append(f"status {outcome.status}")
    if outcome.used:
        found.append("stdin, stdout or prog were used")
    if not are_records(outcome.late):
        found.append(f"sent after the decision: {outcome.late!r}")
    if outcome.left:
        found.append(f"left behind: {outcome.left!r}")
    if not said_in_good_order(script.dialect, outcome.clear):
        found.append(f"sent in clear: {outcome.clear!r}")
    fatal, starts = 0, [b"tcpclient: fatal: " + place.encode()]
    if script.ending is Ending.RST:
        # The RST may arrive before the client knows that it is connected.
        starts.append(b"tcpclient: fatal: unable to connect to " + place.encode())
    for line in outcome.told:
        quote = line.startswith(QUOTE.encode())
        fatal += line.startswith(tuple(starts))
        if len(line) > (LONGEST_QUOTE if quote else LONGEST_LINE):
            found.append(f"a line of {len(line)} bytes: {line[:80]!r}...")
        if not re.fullmatch(rb"tcpclient: [ -~]+\n", line):
            found.append(f"not a printable line: {line!r}")
    if fatal != 1:
        found.append(f"not one error with an address: {outcome.told!r}")
    elif script.words not in outcome.message:
        found.append(f"not {script.words!r} but {outcome.message!r}")
    return found


def settings(dialect: str, host: str, port: int, verbosity: int) -> Settings:
    """Return settings for STARTTLS that trust the tests' own CA."""
    return Settings(
        host=host,
        port=port,
        verbosity=verbosity,
        starttls=dialect,
        tls=TLSSettings(authorities=str(shared().ca), name=DOMAIN),
        idle=TIMEOUT,
    )


@contextlib.contextmanager
def watched(outcome: Outcome) -> Iterator[None]:
    """Record the lines on stderr, and whether stdin or stdout are opened."""
    write = os.write

    def witness(descriptor: int, data: bytes) -> int:
        if descriptor != 2:
            return write(descriptor, data)
        outcome.told.append(data)
        return len(data)

    def used(*_: object) -> None:
        outcome.used = True
        raise OSError("not in these tests")

    with patch.object(os, "write", witness), patch.object(connection, "_local", used):
        yield


class Client:
    """
    A session in memory, and the server's end of its connection.

    :ivar outcome: The result of the session.
    :ivar wire: The transport of the session.
    """

    def __init__(self, dialect: str, verbosity: int, outcome: Outcome) -> None:
        self.outcome = outcome
        self.reactor = MemoryReactorClock()
        self.wire = MemoryTransport()
        self._tag = self._unheard = b""
        chosen = settings(dialect, PEER.host, PEER.port, verbosity)
        self._running = Session(self.reactor, chosen, inherited({})).run()
        self._running.addCallback(self._over)
        ((_, _, factory, _, _),) = self.reactor.tcpClients
        protocol: Any = factory.buildProtocol(PEER)
        self._protocol = protocol
        self._protocol.makeConnection(self.wire)

    @property
    def over(self) -> bool:
        """Whether the session has ended."""
        return self.outcome.status is not None

    def say(self, said: Segment) -> None:
        """Deliver a step of the server in one segment."""
        self.hear(said.tagged(self._tag))

    def hear(self, data: bytes) -> None:
        """Deliver bytes to the client, also after it has closed the connection."""
        if data:
            self._protocol.dataReceived(data)

    def answers(self, said: Segment) -> bool:
        """
        Take a step of the client from its output; return False if it is not complete.
        """
        self._unheard += self.wire.take()
        length = len(said.data)
        if said.data.endswith(b"\n"):
            length = self._unheard.find(b"\n") + 1
        if not 0 < length <= len(self._unheard):
            return False
        if b"{tag}" in said.data:
            self._tag = self._unheard.partition(b" ")[0][:-1]
        self._unheard = self._unheard[length:]
        return True

    def close(self, ending: Ending) -> None:
        """End the connection as the script says, or by the client's deadline."""
        for _ in ("STARTTLS", "the handshake"):
            if ending is Ending.WAIT and not self.over:
                self.reactor.advance(TIMEOUT)
        # The server goes on talking after the client has closed the connection.
        if self.wire.disconnecting:
            self.hear(b"250 OK\r\n+OK\r\n* OK\r\n.\r\n\x15\x03\x01\x00\x02\x02\x28")
        self.outcome.clear, self.outcome.late = self.wire.value(), self.wire.late
        # The connection is lost: bytes written from here on reach no server.
        reason = ConnectionDone() if ending is Ending.FIN else ConnectionLost()
        self._protocol.connectionLost(Failure(reason))
        self.outcome.left = self.reactor.getDelayedCalls()

    def _over(self, status: int) -> None:
        self.outcome.status = status


def play(client: Client, script: Script) -> None:
    """Follow a script until it ends or the client does not take its turn."""
    for said in script.says:
        if said.by_server:
            client.reactor.advance(script.pause)
            client.say(said)
        elif client.over or not client.answers(said):
            # Stop here: the client waits for the server, and the server for the client.
            return


def in_memory(script: Script, verbosity: int = 2) -> Outcome:
    """Follow a script in memory, with a clock that the test advances."""
    outcome = Outcome()
    with watched(outcome):
        client = Client(script.dialect, verbosity, outcome)
        play(client, script)
        client.close(script.ending)
    return outcome


def in_handshake(
    script: Script, context: SSL.Context, tamper: Callable[[bytes], bytes]
) -> Outcome:
    """
    Follow a good script in memory, then answer the ClientHello with other bytes.

    :param tamper: A function that gets the first flight of a correct TLS server, and
        returns the bytes to send in its place.
    """
    outcome = Outcome()
    with watched(outcome):
        client = Client(script.dialect, 2, outcome)
        clear = b"".join(said.data for said in script.says if not said.by_server)
        play(client, script)
        hello = client.wire.value()[len(clear) :]
        client.hear(tamper(tls_flight(hello, context)))
        client.close(script.ending)
    return outcome


def on_socket(script: Script) -> Callable[[Peer], bytes]:
    """
    Return a script for :func:`tests.command.serving`; it returns all bytes received.
    """

    def follow(peer: Peer) -> bytes:
        # The client may close the connection at any step.
        with contextlib.suppress(OSError):
            _follow(script, peer)
            if script.ending is Ending.RST:
                peer.reset()
                return peer.clear
            if script.ending is Ending.FIN:
                peer.half_close()
            peer.rest()
        return peer.clear

    return follow


def _follow(script: Script, peer: Peer) -> None:
    tag = b""
    for said in script.says:
        if said.by_server:
            peer.send(said.tagged(tag))
        elif said.data.endswith(b"\n"):
            tag = peer.line().partition(b" ")[0][:-1]
        elif len(peer.exactly(len(said.data))) < len(said.data):
            return


def tls_flight(client_hello: bytes, context: SSL.Context) -> bytes:
    """Return the first flight of a TLS server in answer to a ClientHello."""
    server = SSL.Connection(context, None)
    server.set_accept_state()
    server.bio_write(client_hello)
    with contextlib.suppress(SSL.WantReadError):
        server.do_handshake()
    return server.bio_read(65536)

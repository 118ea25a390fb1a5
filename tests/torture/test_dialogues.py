"""
Random dialogues with real servers: all that the server said arrives, and the status is
0 exactly when the session was whole.

A case is made from the name of its server and its number alone: the same each time.
"""

from __future__ import annotations

import contextlib
import math
import random
import select
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from tests import services
from tests.command import CHUNK, PATIENCE, Peer, serving, together
from tests.dialogues import Dialogue, Piece, converse, get, post, recite
from tests.services import Service
from tests.torture import share

#: The most bytes of an upload, and the longest pause in seconds.
LARGEST, LONGEST = 50_000_000, 4.0

#: How many cases of one server run at the same time.
WORKERS = 16


@dataclass(frozen=True)
class Cut:
    """The connection is cut when the client has sent so many bytes: by RST or FIN."""

    after: int
    reset: bool


@dataclass(frozen=True)
class Case:
    """A dialogue, how it gets to stdin, and where the connection is cut, if it is."""

    dialogue: Dialogue
    file: bool
    cut: Cut | None

    def __str__(self) -> str:
        pieces = [
            (len(each.data), round(each.pause, 1)) for each in self.dialogue.pieces
        ]
        return f"file {self.file}, cut {self.cut}, bytes and pauses {pieces}"


def make_case(service: Service, number: int) -> Case:
    """Return the case of a server with this number."""
    chance = random.Random(f"{service.name} {number}")
    dialogue = make_dialogue(service, chance)
    file = service.pipelines and chance.random() < 0.5
    if service.pipelines:
        dialogue = dialogue.without_prompts()
    if not file:
        dialogue = replace(dialogue, pieces=tuple(paced(dialogue.pieces, chance)))
    cut = None
    if chance.random() < 0.2:
        # TLS adds to what the client says: it is not all there, wherever this is.
        after = chance.randint(1, len(dialogue.data))
        # In clear, or where it is an orderly end of TLS, FIN alone tells of no cut.
        orderly = service.secure and service.tells_end
        cut = Cut(after, reset=not orderly or chance.random() < 0.5)
    return Case(dialogue, file, cut)


def make_dialogue(service: Service, chance: random.Random) -> Dialogue:
    """Return a dialogue that a server takes."""
    sizes = [size(chance)]
    while chance.random() < 0.3:
        sizes.append(min(size(chance), LARGEST // 10))
    if service not in services.WEB:
        return service.upload(*sizes)
    wait = chance.choice((0, 0, 1, 4))
    if chance.random() < 0.3:
        return get(sizes[0], wait)
    # nginx ends a connection that it has kept by FIN alone.
    close = "nginx" in service.name or chance.random() < 0.9
    return post(*sizes, wait=wait, close=close)


def size(chance: random.Random) -> int:
    """Return a size in bytes; each order of magnitude is as likely as another."""
    return round(math.exp(chance.uniform(0, math.log(LARGEST))))


def paced(pieces: tuple[Piece, ...], chance: random.Random) -> Iterator[Piece]:
    """Yield pieces with some of them torn in two, with a pause in between."""
    for piece in pieces:
        if chance.random() < 2 / len(pieces):
            place = chance.randint(0, len(piece.data))
            yield replace(piece, data=piece.data[:place])
            yield Piece(piece.data[place:], pause=chance.uniform(0, LONGEST))
        else:
            yield piece


@contextlib.contextmanager
def cutting(port: int, cut: Cut) -> Iterator[int]:
    """Lead from a port, which is returned, to another, until the cut."""

    def lead(peer: Peer) -> None:
        left = cut.after
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as server:
            while left:
                ready, _, _ = select.select((peer.socket, server), (), (), PATIENCE)
                if peer.socket in ready:
                    data = peer.socket.recv(min(CHUNK, left))
                    server.sendall(data)
                    left -= len(data)
                if server in ready:
                    peer.socket.sendall(server.recv(CHUNK))
                assert ready, "nothing moves any more"
        if cut.reset:
            peer.reset()
        else:
            peer.cut()

    with serving(lead) as way:
        yield way.address[1]


def play(case: Case, service: Service, port: int | None = None) -> None:
    """Have the dialogue, and judge its end."""
    options = () if service.tells_end else ("--ignore-unexpected-eof",)
    arguments = (*options, *service.arguments(port))
    if case.file:
        outcome = recite(arguments, case.dialogue.data)
    else:
        outcome = converse(arguments, case.dialogue.pieces)
    if case.cut is not None:
        assert outcome.status == 111, (case.cut, outcome.status, outcome.err)
        outcome.complaint()
        return
    assert (outcome.status, outcome.err) == (0, ""), outcome.err or outcome.status
    assert case.dialogue.is_answered_by(outcome.out), outcome.out[-200:]


def play_number(service: Service, number: int) -> None:
    """Make a case and play it; its parts are told if it fails."""
    case = make_case(service, number)
    try:
        if case.cut is None:
            play(case, service)
        else:
            with cutting(service.port(), case.cut) as port:
                play(case, service, port)
    except AssertionError as error:
        raise AssertionError(f"{error}, in {case}") from error


class DialogueTests(SynchronousTestCase):
    """Random sessions with each server."""

    def check(self, name: str) -> None:
        """Have all sessions with one server."""
        (service,) = (each for each in services.ALL if each.name == name)
        # The server starts before there are clients, which begin at the same time.
        service.port()
        cases = {
            f"{name} {number}": partial(play_number, service, number)
            for number in range(share(3, 200))
        }
        together(cases, workers=WORKERS)

    def test_uvicorn(self) -> None:
        """Whole sessions with uvicorn, and cut ones, end as they should."""
        self.check("uvicorn")

    def test_node_tls(self) -> None:
        """Whole sessions with node, and cut ones, end as they should."""
        self.check("node, TLS")

    def test_nginx(self) -> None:
        """Whole sessions with nginx, and cut ones, end as they should."""
        self.check("nginx")

    def test_nginx_tls(self) -> None:
        """Whole sessions with nginx, and cut ones, end as they should."""
        self.check("nginx, TLS")

    def test_haproxy_tls(self) -> None:
        """Whole sessions with HAProxy, and cut ones, end as they should."""
        self.check("HAProxy, TLS")

    def test_stunnel(self) -> None:
        """Whole sessions with stunnel, and cut ones, end as they should."""
        self.check("stunnel")

    def test_postfix(self) -> None:
        """Whole sessions with Postfix, and cut ones, end as they should."""
        self.check("Postfix")

    def test_exim(self) -> None:
        """Whole sessions with Exim, and cut ones, end as they should."""
        self.check("Exim")

    def test_aiosmtpd_starttls(self) -> None:
        """Whole sessions with aiosmtpd, and cut ones, end as they should."""
        self.check("aiosmtpd, STARTTLS")

    def test_opensmtpd(self) -> None:
        """Whole sessions with OpenSMTPD, and cut ones, end as they should."""
        self.check("OpenSMTPD")

    def test_dovecot(self) -> None:
        """Whole sessions with Dovecot, and cut ones, end as they should."""
        self.check("Dovecot")

    def test_cyrus(self) -> None:
        """Whole sessions with Cyrus, and cut ones, end as they should."""
        self.check("Cyrus")

    def test_pure_ftpd(self) -> None:
        """Whole sessions with pure-ftpd, and cut ones, end as they should."""
        self.check("pure-ftpd")

    def test_ejabberd(self) -> None:
        """Whole sessions with ejabberd, and cut ones, end as they should."""
        self.check("ejabberd")

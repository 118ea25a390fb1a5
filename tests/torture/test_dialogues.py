"""
Random dialogues with real servers.

All bytes of the server arrive, and the status is 0 exactly if the session was whole.  A
case depends only on the name of its server and its number, so it is the same in each
run.
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

#: The largest upload in bytes, and the longest pause in seconds.
LARGEST, LONGEST = 50_000_000, 4.0

#: The number of cases that run at the same time against one server.
WORKERS = 16


@dataclass(frozen=True)
class Cut:
    """A cut of the connection by RST or FIN after the client has sent `after` bytes."""

    after: int
    reset: bool


@dataclass(frozen=True)
class Case:
    """
    A dialogue, whether stdin is a file, and where the connection is cut, if at all.
    """

    dialogue: Dialogue
    file: bool
    cut: Cut | None

    def __str__(self) -> str:
        pieces = [
            (len(each.data), round(each.pause, 1)) for each in self.dialogue.pieces
        ]
        return f"file {self.file}, cut {self.cut}, bytes and pauses {pieces}"


def make_case(service: Service, number: int) -> Case:
    """Return case `number` of a server."""
    chance = random.Random(f"{service.name} {number}")
    dialogue = make_dialogue(service, chance)
    file = service.pipelines and chance.random() < 0.5
    if service.pipelines:
        dialogue = dialogue.without_prompts()
    if not file:
        dialogue = replace(dialogue, pieces=tuple(paced(dialogue.pieces, chance)))
    cut = None
    if chance.random() < 0.2:
        # TLS sends more bytes than the dialogue has, so this place is before the end.
        after = chance.randint(1, len(dialogue.data))
        # In clear, FIN alone does not show a cut; nor over TLS if FIN without
        # close_notify counts as an orderly end.  There a RST is needed.
        orderly = service.secure and service.tells_end
        cut = Cut(after, reset=not orderly or chance.random() < 0.5)
    return Case(dialogue, file, cut)


def make_dialogue(service: Service, chance: random.Random) -> Dialogue:
    """Return a random dialogue that the server can answer."""
    sizes = [size(chance)]
    while chance.random() < 0.3:
        sizes.append(min(size(chance), LARGEST // 10))
    if service not in services.WEB:
        return service.upload(*sizes)
    wait = chance.choice((0, 0, 1, 4))
    if chance.random() < 0.3:
        return get(sizes[0], wait)
    # nginx ends a kept connection by FIN without close_notify.
    close = "nginx" in service.name or chance.random() < 0.9
    return post(*sizes, wait=wait, close=close)


def size(chance: random.Random) -> int:
    """
    Return a random size in bytes, evenly distributed over the orders of magnitude.
    """
    return round(math.exp(chance.uniform(0, math.log(LARGEST))))


def paced(pieces: tuple[Piece, ...], chance: random.Random) -> Iterator[Piece]:
    """Yield the pieces, some of them torn in two with a pause between the parts."""
    for piece in pieces:
        if chance.random() < 2 / len(pieces):
            place = chance.randint(0, len(piece.data))
            yield replace(piece, data=piece.data[:place])
            yield Piece(piece.data[place:], pause=chance.uniform(0, LONGEST))
        else:
            yield piece


@contextlib.contextmanager
def cutting(port: int, cut: Cut) -> Iterator[int]:
    """Yield a port that forwards to `port` until the cut."""

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
                assert ready, "no bytes arrive from either side"
        if cut.reset:
            peer.reset()
        else:
            peer.cut()

    with serving(lead) as way:
        yield way.address[1]


def play(case: Case, service: Service, port: int | None = None) -> None:
    """Run a case and check its output and exit status."""
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
    """Run case `number` of a server; name the case in the error."""
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
        """Run all cases of one server."""
        (service,) = (each for each in services.ALL if each.name == name)
        # Start the server before the clients, which all begin at the same time.
        service.port()
        cases = {
            f"{name} {number}": partial(play_number, service, number)
            for number in range(share(3, 200))
        }
        together(cases, workers=WORKERS)

    def test_uvicorn(self) -> None:
        """
        Sessions with uvicorn exit with status 0 if they were whole, and with 111 if
        cut.
        """
        self.check("uvicorn")

    def test_node_tls(self) -> None:
        """
        Sessions with node exit with status 0 if they were whole, and with 111 if cut.
        """
        self.check("node, TLS")

    def test_nginx(self) -> None:
        """
        Sessions with nginx in clear exit with status 0 if they were whole, and with 111
        if cut.
        """
        self.check("nginx")

    def test_nginx_tls(self) -> None:
        """
        Sessions with nginx over TLS exit with status 0 if they were whole, and with 111
        if cut.
        """
        self.check("nginx, TLS")

    def test_haproxy_tls(self) -> None:
        """
        Sessions with HAProxy exit with status 0 if they were whole, and with 111 if
        cut.
        """
        self.check("HAProxy, TLS")

    def test_stunnel(self) -> None:
        """
        Sessions with stunnel exit with status 0 if they were whole, and with 111 if
        cut.
        """
        self.check("stunnel")

    def test_postfix(self) -> None:
        """
        Sessions with Postfix exit with status 0 if they were whole, and with 111 if
        cut.
        """
        self.check("Postfix")

    def test_exim(self) -> None:
        """
        Sessions with Exim exit with status 0 if they were whole, and with 111 if cut.
        """
        self.check("Exim")

    def test_aiosmtpd_starttls(self) -> None:
        """
        Sessions with aiosmtpd exit with status 0 if they were whole, and with 111 if
        cut.
        """
        self.check("aiosmtpd, STARTTLS")

    def test_opensmtpd(self) -> None:
        """
        Sessions with OpenSMTPD exit with status 0 if they were whole, and with 111 if
        cut.
        """
        self.check("OpenSMTPD")

    def test_dovecot(self) -> None:
        """
        Sessions with Dovecot exit with status 0 if they were whole, and with 111 if
        cut.
        """
        self.check("Dovecot")

    def test_cyrus(self) -> None:
        """
        Sessions with Cyrus exit with status 0 if they were whole, and with 111 if cut.
        """
        self.check("Cyrus")

    def test_pure_ftpd(self) -> None:
        """
        Sessions with pure-ftpd exit with status 0 if they were whole, and with 111 if
        cut.
        """
        self.check("pure-ftpd")

    def test_ejabberd(self) -> None:
        """
        Sessions with ejabberd exit with status 0 if they were whole, and with 111 if
        cut.
        """
        self.check("ejabberd")

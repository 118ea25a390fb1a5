"""
Attackers before TLS, for every dialect; the attacks are in `tests.torture.scripts`.

Most attacks run in memory against a whole session; the others run on sockets, against
sessions in this process and against the command.  In all cases the client exits with
status 111, writes one printable line with the address, sends no byte in clear after its
decision, and touches neither prog nor stdout.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.certificates import shared
from tests.command import (
    Cut,
    Peer,
    run,
    server_context,
    serving,
    together,
    trusting,
)
from tests.torture import every, scripts, share
from tests.torture.der import name, rewritten
from tests.torture.hostile import (
    HELLO,
    SPOOF,
    Ending,
    Outcome,
    Script,
    faults,
    in_handshake,
    in_memory,
    on_socket,
    settings,
    watched,
)
from tests.torture.scripts import ALERT, EVERYWHERE
from tests.transcripts import DOMAIN, GOOD, PEER, SMTP
from twisted_tcpclient.command.inheritance import inherited
from twisted_tcpclient.command.session import Session
from twisted_tcpclient.dialects import NAMES
from twisted_tcpclient.testing import parse_transcript

reactor: Any = global_reactor

PLACE = f"{PEER.host} port {PEER.port}: "


class Attacks(SynchronousTestCase):
    """
    A test case that runs attacks and reports each one that the client did not repel.
    """

    def check(self, found: dict[str, list[str]], count: int) -> None:
        """Fail with the first failures in `found`, or if there were no cases at all."""
        self.assertGreater(count, 0)
        if found:
            first = "\n".join(f"{what}: {why}" for what, why in [*found.items()][:10])
            self.fail(f"{len(found)} of {count} attacks:\n{first}")

    def attack(self, cases: Iterable[Script], part: int, whole: int = 1) -> None:
        """Run every `part`-th attack in the share and every `whole`-th in the whole."""
        chosen = [*cases][every(part, whole)]
        found = {}
        for number, script in enumerate(chosen):
            # Alternate between without and with -v.
            outcome = in_memory(script, 1 + number % 2)
            if wrong := faults(script, outcome, PLACE):
                found[script.name] = wrong
        self.check(found, len(chosen))


class TableTests(SynchronousTestCase):
    """The tables cover each dialect and each kind of attack."""

    def test_every_dialect(self) -> None:
        """Each dialect has a good transcript, attacks of its own, and endless data."""
        for table in (GOOD, scripts.ATTACKS, scripts.ENDLESS):
            self.assertEqual(sorted(table), sorted(NAMES))

    def test_every_kind(self) -> None:
        """Each dialect has attacks of all the kinds that apply to every dialect."""
        for dialect, attacks in scripts.ATTACKS.items():
            kinds = {attack.kind for attack in attacks}
            self.assertLessEqual(set(EVERYWHERE), kinds, dialect)

    def test_good_dialogue(self) -> None:
        """With a good dialogue the client goes on to TLS and no fault is found."""
        for dialect in NAMES:
            says = tuple(parse_transcript(GOOD[dialect]))
            script = Script(dialect, dialect, says, Ending.FIN, "TLS handshake failed")
            outcome = in_memory(script)
            self.assertEqual(faults(script, outcome, PLACE), [])
            self.assertIn(HELLO.data, outcome.clear)

    def test_faults_are_found(self) -> None:
        """The function `faults` reports each single fault in an outcome."""
        script = Script("x", "smtp", (), words="no")
        good = Outcome(111, [b"tcpclient: fatal: here: no\n"], b"", b"", False, ())
        self.assertEqual(faults(script, good, "here: "), [])
        changes: dict[str, Any]
        for changes in (
            {"status": 0},
            {"status": None},
            {"used": True},
            {"late": b"x"},
            {"clear": b"STARTTLS\r\nx"},
            {"clear": b"STARTTLS\r\nEHLO [192.0.2.1]\r\n"},
            {"clear": b"\x16\x03\x01\x00\x01xMAIL FROM:<me>\r\n"},
            {"left": [1]},
            {"told": []},
            {"told": good.told * 2},
            {"told": [b"tcpclient: fatal: there: no\n"]},
            {"told": [b"tcpclient: fatal: here: yes\n"]},
            {"told": [*good.told, b"x\n"]},
            {"told": [b"tcpclient: fatal: here: no\x1b\n"]},
            {"told": [b"tcpclient: fatal: here: no\nno\n"]},
            {"told": [b"tcpclient: fatal: here: no" + b"x" * 300 + b"\n"]},
        ):
            bad = Outcome(**{**vars(good), **changes})
            self.assertNotEqual(faults(script, bad, "here: "), [], changes)


class MemoryTests(Attacks):
    """Attacks in memory, against a whole session."""

    def test_by_hand(self) -> None:
        """
        The client repels the attacks that depend on the protocol: STARTTLS hidden,
        refused or answered by a farewell, PREAUTH, referrals, huge literals, early
        replies, and replies of other protocols.
        """
        self.attack(scripts.by_hand(), 1)

    def test_endless(self) -> None:
        """The client gives up on greetings, lines and lists that never end."""
        self.attack(scripts.endless(), 1)

    def test_stopped(self) -> None:
        """
        The client reports FIN, RST, and silence until the deadline, after each byte of
        a dialogue.
        """
        self.attack(scripts.stopped(), 7)

    def test_split(self) -> None:
        """
        A good dialogue in which one turn comes in two segments is a good dialogue.
        """
        self.attack(scripts.split(), 9)

    def test_injected(self) -> None:
        """
        The client refuses any data in the segment of the go-ahead, single bytes
        included.
        """
        self.attack(scripts.injected(), 7)

    def test_injected_later(self) -> None:
        """
        The handshake fails if data in clear comes in a segment of its own after the
        go-ahead.
        """
        self.attack(scripts.injected_later(), 11)

    def test_alerts(self) -> None:
        """
        The client treats an alert in clear as an error, instead of any reply or
        ServerHello.
        """
        self.attack(scripts.alerts(), 4)

    def test_replaced(self) -> None:
        """
        The client repels replies that are missing, repeated, torn, too long, full of
        terminal escapes, or of another protocol.
        """
        self.attack(scripts.replaced(), 7)

    def test_mangled(self) -> None:
        """
        The client repels dialogues in which one byte of the server is added, removed or
        changed.
        """
        self.attack(scripts.mangled(), 151)

    def test_drip(self) -> None:
        """
        The deadline holds for the dialogue as a whole, and is not extended by each
        byte.
        """
        self.attack(scripts.dripped(), 1)


Tampering = Callable[[bytes], bytes]


class HandshakeTests(Attacks):
    """Attacks in memory, after a good dialogue, during the TLS handshake."""

    def setUp(self) -> None:
        """Make server contexts with a valid certificate, one for each TLS version."""
        path = Path(self.mktemp())
        shared().authority.server((DOMAIN,)).save(path)
        self.contexts = {
            version: server_context(number, None, path)
            for version, number in (
                ("TLS 1.2", SSL.TLS1_2_VERSION),
                ("TLS 1.3", SSL.TLS1_3_VERSION),
            )
        }

    def tamper(self, cases: Iterable[tuple[str, Tampering, Ending]]) -> None:
        """Tamper with the first flight of each server in each of these ways."""
        found, count = {}, 0
        for what, tampering, ending in cases:
            for version, context in self.contexts.items():
                count += 1
                says = tuple(parse_transcript(SMTP))
                script = Script(what, "smtp", says, ending, "TLS handshake")
                outcome = in_handshake(script, context, tampering)
                if wrong := faults(script, outcome, PLACE):
                    found[f"{version}: {what}"] = wrong
        self.check(found, count)

    def test_stopped(self) -> None:
        """
        The client reports FIN, RST, and silence until the deadline, anywhere in a
        handshake.
        """

        def stop(place: int, flight: bytes) -> bytes:
            return flight[: min(place, len(flight) - 1)]

        self.tamper(
            (f"{ending.value} at {place}", functools.partial(stop, place), ending)
            for place in range(0, 1000, share(23, 3))
            for ending in Ending
        )

    def test_alerts(self) -> None:
        """
        The handshake fails if an alert or other data in clear comes between its
        records.
        """

        def insert(place: int, data: bytes, flight: bytes) -> bytes:
            *most, _ = records(flight)
            return b"".join([*most[:place], data, *most[place:]])

        self.tamper(
            (
                f"{data!r} before record {place}",
                functools.partial(insert, place, data),
                Ending.FIN,
            )
            for place in range(6)
            for data in (
                ALERT,
                ALERT[:5] + b"\x01\x00",
                ALERT[:5] + b"\x01\x5a",
                ALERT[:5] + b"\x02\x00",
                b"\x17\x03\x03\x00\x05hello",
                b"\x14\x03\x03\x00\x01\x01",
                b"220 go ahead\r\n",
            )
        )


def records(flight: bytes) -> list[bytes]:
    """Return the TLS records of a flight."""
    result = []
    while flight:
        length = 5 + int.from_bytes(flight[3:5], "big")
        result.append(flight[:length])
        flight = flight[length:]
    return result


def steps(*endings: Ending) -> list[Script]:
    """Return the good dialogues, ended after each step."""
    return [
        Script(f"{dialect}: {ending.value} after {number}", dialect, says, ending)
        for dialect in scripts.dialects()
        for number, says in enumerate(scripts.steps(dialect))
        for ending in endings
    ]


class SocketTests(TestCase):
    """Attacks on sockets, against sessions in this process."""

    @inlineCallbacks
    def attack(
        self, cases: Sequence[Script], idle: float = 60
    ) -> Generator[Deferred[Any], Any, None]:
        """Run these attacks one after the other."""
        found = {}
        for script in cases:
            outcome = Outcome()
            with serving(on_socket(script)) as server, watched(outcome):
                host, port = server.address
                chosen = settings(script.dialect, host, port, 2)
                chosen = replace(chosen, idle=idle)
                outcome.status = yield Session(reactor, chosen, inherited({})).run()
                outcome.clear = yield deferToThread(server.result)
            if wrong := faults(script, outcome, f"{host} port {port}: "):
                found[script.name] = wrong
        self.assertEqual(found, {})
        self.assertGreater(len(cases), 0)

    def test_by_hand(self) -> Deferred[None]:
        """
        The client repels attacks that depend on the protocol over a real connection.
        """
        return self.attack([*scripts.by_hand()][every(6)])

    def test_endless(self) -> Deferred[None]:
        """The client gives up on data that never ends."""
        return self.attack([*scripts.endless()][every(5)])

    def test_silent(self) -> Deferred[None]:
        """The client gives up on a silent server when the time of -a has passed."""
        return self.attack(steps(Ending.WAIT)[every(6)], idle=0.1)


class CommandTests(SynchronousTestCase):
    """Attacks on sockets, against the command in client mode and with prog."""

    def attack(self, cases: Iterable[Script]) -> None:
        """Run these attacks, some at the same time."""
        together(
            {
                script.name: functools.partial(self.check, script, bool(number % 2))
                for number, script in enumerate(cases)
            }
        )

    def check(self, script: Script, prog: bool) -> None:
        """Run one attack, with prog or in client mode."""
        with tempfile.TemporaryDirectory() as directory:
            touched = Path(directory) / "touched"
            command = ("touch", os.fspath(touched)) if prog else ()
            options = ("-RHl0", "-m", DOMAIN, "-s", script.dialect, *trusting())
            with serving(on_socket(script), *options) as server:
                words = (*server.arguments, *command)
                left = run(*words, data=b"secret\r\n")
                host, port = server.address
                outcome = Outcome(
                    left.status,
                    [left.err.encode()],
                    server.result(),
                    used=touched.exists() or left.out != b"",
                )
        self.assertEqual(faults(script, outcome, f"{host} port {port}: "), [])

    def test_by_hand(self) -> None:
        """
        The command repels attacks that depend on the protocol, with one line on stderr.
        """
        self.attack([*scripts.by_hand()][every(9, 2)])

    def test_stopped(self) -> None:
        """The command reports FIN and RST after each step of the dialogue."""
        self.attack(steps(Ending.FIN, Ending.RST)[every(17, 2)])

    def test_alerts(self) -> None:
        """
        The command treats alerts in clear as an error, before and instead of a
        ServerHello.
        """
        alerts = [*scripts.alerts()]
        close_notify = [one for one in alerts if one.name.startswith("smtp: alert 1 0")]
        self.attack([*close_notify, *alerts[every(210, 50)]])


#: Fields of certificates that no CA would issue, put into a certificate of the tests.
ODD = {
    "a country of many letters": {
        "subject": name([(b"\x55\x04\x06", 0x13, b"Disneyland")])
    },
    "no text": {"subject": name([(b"\x55\x04\x03", 0x03, b"\0\1")])},
    "escapes": {
        "subject": name([(b"\x55\x04\x03", 0x0C, SPOOF.decode("latin-1").encode())])
    },
    "long": {"subject": name([(b"\x55\x04\x03", 0x0C, b"\x1b" * 60000)])},
    "no subject": {"subject": name([])},
    "a negative number": {"serial": b"\2\1\xff"},
    "version 35": {"version": b"\xa0\3\2\1\x22"},
    "no extensions": {"extensions": b""},
}


class OddCertificateTests(SynchronousTestCase):
    """Certificates that no CA would issue, but any attacker can make."""

    def check(self, folder: Path, odd: str) -> None:
        """
        Connect to a server with an odd certificate, with verification and with -k.
        """
        ours = shared().server_identity
        der = rewritten(ours.certificate, **ODD[odd])
        path = folder / odd
        path.write_bytes(
            crypto.dump_certificate(
                crypto.FILETYPE_PEM, crypto.load_certificate(crypto.FILETYPE_ASN1, der)
            )
            + ours.key_pem()
        )
        context = server_context(certificate=path)

        def greet(peer: Peer) -> None:
            # A client that does not trust the certificate sends an alert and closes.
            with contextlib.suppress(SSL.Error, Cut, OSError):
                peer.secure(context)
                peer.send(b"hello\r\n")
                peer.finish()

        with serving(greet, "--tls", *trusting()) as server:
            verified = run("-v", *server.arguments)
            prog = ("sh", "-c", "env; cat <&6")
            trusted = run("-vkRHl0", *server.arguments, *prog)
        self.assertEqual((verified.status, verified.out), (111, b""))
        self.assertEqual((trusted.status, trusted.out[-7:]), (0, b"hello\r\n"))
        for line in (*verified.err.splitlines(), *trusted.err.splitlines()):
            self.assertRegex(line, r"\Atcpclient: [ -~]+\Z")
            self.assertLess(len(line), 12000)
        self.assertRegex(verified.err, "fatal: 127.0.0.1 port [0-9]+: ")
        self.assertRegex(trusted.out[:-7], rb"\A[ -~\n]+\Z")
        self.assertIn(b"SSL_PEER_CERT_SUBJECT=", trusted.out)

    def test_odd_certificates(self) -> None:
        """
        An odd certificate is refused in one line.  With -k, the lines on stderr and the
        variables about it are printable, and nothing else is written to stderr.
        """
        folder = Path(self.mktemp())
        folder.mkdir()
        together({odd: functools.partial(self.check, folder, odd) for odd in ODD})

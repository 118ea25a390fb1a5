"""
What is fuzzed: functions that are given bytes, and fail if a promise is broken.

Hypothesis uses them, the replay of what is kept in ``corpus`` (both in `test_any`), and
the coverage-guided fuzzer (`fuzzer`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

from OpenSSL import crypto
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.usage import UsageError

from tests.certificates import shared
from tests.torture import der, scripts
from tests.torture.hostile import said_in_good_order
from tests.transcripts import DOMAIN, GOOD, HOST, Exchange
from twisted_tcpclient import dialects
from twisted_tcpclient.command.options import Options
from twisted_tcpclient.dialects import Dialogue, Parameters, Send, find
from twisted_tcpclient.dialogue import Conversation, State
from twisted_tcpclient.errors import InjectedData, NegotiationFailed, SettingsError
from twisted_tcpclient.facts import Facts, TLSFacts, environment
from twisted_tcpclient.names.reverse import Ident, parse_ident
from twisted_tcpclient.settings import Settings
from twisted_tcpclient.stages.negotiation import client_name, negotiated
from twisted_tcpclient.strings import STARTTLSParser, TCPClientParser, UCSPIParser
from twisted_tcpclient.testing import Segment, join_turns, parse_transcript
from twisted_tcpclient.text import printable
from twisted_tcpclient.tls import ConnectionCreator
from twisted_tcpclient.tls.certificates import subject

#: Inputs that were worth to be kept, a folder for each target.
CORPUS = Path(__file__).with_name("corpus")

#: Every line that is made of something foreign.
LINE = re.compile("[ -~]+")


# Dialogues.

#: The tag of a client whose random bytes are zeros.
TAG = b"0" * 12

#: What separates the turns of a server.
TURN = b"--\n"


@dataclass(frozen=True)
class Monologue:
    """What a server says, whatever the client says to it: the dialect, and turns."""

    dialect: str
    turns: tuple[bytes, ...]

    @classmethod
    def parse(cls, data: bytes) -> Monologue:
        """Read the dialect, in a line of its own, and what is said."""
        name, _, rest = data.partition(b"\n")
        names, dialect = sorted(GOOD), name.decode("latin-1")
        if dialect not in names:
            dialect = names[sum(name) % len(names)]
        return cls(dialect, tuple(rest.split(TURN)))

    def spoken(self) -> Iterator[bytes]:
        """Yield the turns, with the tag of the client where it belongs."""
        for turn in self.turns:
            yield turn.replace(b"{tag}", TAG)

    def serialize(self) -> bytes:
        """Write it so."""
        return self.dialect.encode() + b"\n" + TURN.join(self.turns)


@dataclass(frozen=True)
class Result:
    """
    How a dialogue has ended, if it has.

    :ivar clear: all that the client has said.
    """

    agreed: bool
    error: type[BaseException] | None
    words: str
    clear: bytes


def segments(data: bytes, stride: int) -> Iterator[tuple[bytes, bytes]]:
    """Cut data into pieces of a length, each with all that follows."""
    for place in range(0, len(data), stride):
        yield data[place : place + stride], data[place + stride :]


def hold(monologue: Monologue, stride: int) -> Result:
    """Hold a dialogue in segments of a length, and return how it has ended."""
    with patch.object(dialects, "urandom", bytes):
        talk = Exchange(
            lambda tcp, clock: negotiated(monologue.dialect, tcp, clock, host=DOMAIN)
        )
    for turn in monologue.spoken():
        for piece, _ in segments(turn, stride):
            if talk.undecided:
                talk.hear(piece)
    return finished(talk)


def recorded(dialogue: Dialogue, sends: list[Send]) -> Dialogue:
    """Yield the steps of a dialogue, and append each Send to `sends`."""
    answer = None
    with suppress(StopIteration):
        while True:
            step = next(dialogue) if answer is None else dialogue.send(answer)
            if isinstance(step, Send):
                sends.append(step)
            answer = yield step


def predict(monologue: Monologue, stride: int) -> Result:
    """
    Return how a dialogue ends in segments of a length, by the rule for unread bytes.

    The engine gets one byte at a time, so that no byte is ever unread.  In longer
    segments the dialogue ends in the same way, unless the rest of a segment does not
    match `Send.unasked` when the client sends, or follows the server's agreement.
    """
    sends: list[Send] = []
    parameters = Parameters(client_name(HOST), DOMAIN, TAG)
    begin = find(monologue.dialect).dialogue
    engine = Conversation(lambda: recorded(begin(parameters), sends), monologue.dialect)
    clear = engine.start()
    for turn in monologue.spoken():
        for place in range(len(turn)):
            if engine.error or agreed(engine):
                break
            sends.clear()
            said = engine.receive(turn[place : place + 1])
            unread = turn[place + 1 : (place // stride + 1) * stride]
            if unread and (early := sent_early(sends, unread, clear)):
                return early
            if unread and agreed(engine):
                return injected("in clear after agreeing to TLS", clear)
            clear += said
    error = type(engine.error) if engine.error else None
    words = str(engine.error or "").partition(": ")[0]
    return Result(agreed(engine), error, words, clear)


def agreed(engine: Conversation) -> bool:
    """Return whether the dialogue has ended in success."""
    return engine.state is State.DONE


def sent_early(sends: list[Send], unread: bytes, clear: bytes) -> Result | None:
    """Return the failure if these bytes must not be unread when the client sends."""
    for send in sends:
        if not (send.unasked and send.unasked.fullmatch(unread)):
            return injected("before it was asked", clear)
        clear += send.data
    return None


def injected(when: str, clear: bytes) -> Result:
    """Return the end of a dialogue that fails because of unread bytes."""
    return Result(False, InjectedData, f"the server sent data {when}", clear)


def finished(talk: Exchange) -> Result:
    """Return how a dialogue has ended, for good."""
    clear, error = talk.transport.value(), talk.error
    if error is not None:
        assert isinstance(error, NegotiationFailed), error
        assert type(error) is not NegotiationFailed
        assert LINE.fullmatch(str(error)) and len(str(error)) < 130, error
        assert talk.transport.disconnected
        talk.hear(b"250 OK\r\n+OK\r\n* OK\r\n.\r\n")
    talk.hang_up()
    assert talk.transport.value() == clear, clear
    assert talk.transport.late == b""
    assert not talk.left
    if error is not None:
        # What came unasked, and is quoted, depends on the segment it came in.
        words = str(error).partition(": ")[0]
        return Result(False, type(error), words, clear)
    return Result(talk.result is not None, None, "", clear)


def dialogue(data: bytes) -> None:
    """
    Whatever a server says ends in agreement, in a known error or in waiting; and in
    segments of any length it ends as the rule for unread bytes has it.
    """
    monologue = Monologue.parse(data)
    for stride in (1, 7, 1 << 20):
        end, predicted = hold(monologue, stride), predict(monologue, stride)
        assert end == predicted, (stride, end, predicted)
        assert said_in_good_order(monologue.dialect, end.clear), end.clear
        if end.agreed:
            whole = parse_transcript(GOOD[monologue.dialect])
            last = [said for said in whole if not said.by_server][-1]
            assert end.clear.endswith(last.tagged(TAG)), end.clear


def dialogue_seeds() -> Iterator[bytes]:
    """The good dialogues, and the attacks by hand."""
    for dialect, transcript in GOOD.items():
        said = [
            turn.data
            for turn in join_turns(parse_transcript(transcript))
            if turn.by_server
        ]
        yield Monologue(dialect, tuple(said)).serialize()
    for script in scripts.by_hand():
        yield Monologue(script.dialect, tuple(_turns(script.says))).serialize()


def _turns(says: tuple[Segment, ...]) -> Iterator[bytes]:
    turn = b""
    for said in says:
        if said.by_server:
            turn += said.data
        elif turn:
            yield turn
            turn = b""
    yield turn


# The command line.


def options(data: bytes) -> None:
    """
    Any argv is settings, text for stdout, or an error in one line; any settings for
    TLS are a creator of connections, or such an error.
    """
    if re.search(rb"/(dev|proc|sys)", data):
        # A file may be named, and the tests are not to read these.
        return
    write = os.write

    def swallow(descriptor: int, text: bytes) -> int:
        return len(text) if descriptor == 1 else write(descriptor, text)

    with patch.object(os, "write", swallow):
        try:
            parsed = Options()
            parsed.parseOptions([os.fsdecode(word) for word in data.split(b"\0")])
            check_settings(parsed.settings)
        except (UsageError, SettingsError) as error:
            assert LINE.fullmatch(printable(str(error))), error
        except SystemExit as end:
            assert end.code == 0


def check_settings(settings: Settings) -> None:
    """Check that settings can be used."""
    assert settings.port is None or 0 < settings.port < 65536
    is_socket = "/" in settings.host or settings.host[:1] == "@"
    assert settings.endpoint is not None or (settings.port is None) == is_socket
    assert settings.connect.attempt_timeout > 0
    assert settings.idle is None or settings.idle > 0
    assert settings.starttls is None or settings.tls is not None
    if settings.tls is not None:
        # Not the CAs of this machine, which take their time.
        creator = ConnectionCreator(replace(settings.tls, authorities=str(shared().ca)))
        creator.clientConnectionForTLS(None)
        if settings.starttls is not None:
            converse(settings.starttls, creator.name)


def converse(dialect: str, name: str) -> None:
    """A server of any name can be talked to."""
    talk = Exchange(lambda tcp, clock: negotiated(dialect, tcp, clock, host=name))
    talk.hang_up()


def options_seeds() -> Iterator[bytes]:
    """Command lines, as they are in the manual."""
    for line in (
        "-v -s smtp -m mail.example.org mail.example.org 25",
        "-q -Q -4 -6 -d -D -h -H -r -R -e -z -k host 25 prog arg",
        "-T 3+10 -a 0 -t 5 -i 127.0.0.1 -p 0 -l name -I lo host smtp",
        "--tls -n cert.pem -c ca.pem -L crl.pem -C . -f HIGH:TLS_X host 993",
        "-M TLSv1_2:TLSv1_3 -s xmpp -m [::1] @abstract",
        "--starttls=imap --match=* --crlf ./socket prog",
        "--version",
        "--help",
    ):
        yield line.replace(" ", "\0").encode()


# Endpoint strings.

PARSERS = {
    parser.prefix: parser
    for parser in (STARTTLSParser(), TCPClientParser(), UCSPIParser())
}


def strings(data: bytes) -> None:
    """Any string is an endpoint, or an error that says what is wrong with it."""
    if re.search(rb"/(dev|proc|sys)|endpoint=", data):
        # Strings in strings are Twisted's own.
        return
    prefix, *parts = data.decode("utf-8", "surrogateescape").split(":")
    parser = PARSERS.get(prefix, PARSERS["starttls"])
    placed = [part for part in parts if "=" not in part]
    named = dict(part.split("=", 1) for part in parts if "=" in part)
    if "trustRoots" not in named:
        named["trustRoots"] = str(shared().ca)
    try:
        endpoint = parser.parseStreamClient(MemoryReactorClock(), *placed, **named)
    except ValueError as error:
        assert str(error).startswith(f"{parser.prefix}: "), error
    else:
        assert IStreamClientEndpoint.providedBy(endpoint)


def strings_seeds() -> Iterator[bytes]:
    """Strings, as they are in the manual."""
    yield b"starttls:smtp:mail.example.org:25:timeout=5:attemptDelay=0.25"
    yield b"starttls:xmpp:host=::1:port=5222:hostname=example.org:greeting=yes"
    yield b"starttls:imap:0:verify=no:bindAddress=127.0.0.1:certificate=a:privateKey=b"
    yield b"tcpclient:example.org:993:tls=yes:crl=x:trustRoots=y"
    yield b"ucspi:"


# Ident.


def ident(data: bytes) -> None:
    """Whatever ident says is one printable word for a variable, or nothing."""
    try:
        user = parse_ident(data)
    except ValueError:
        pass
    else:
        assert re.fullmatch("[!-~]+", user), user
        check_environment(Facts("TCP", remote_info=user))
    answers = {asked(data, stride) for stride in (1, 7, 1 << 20)}
    assert len(answers) == 1, answers


def asked(data: bytes, stride: int) -> str | None:
    """What an ident server has answered that says this, in segments."""
    found: list[str | None] = []
    protocol, transport = Ident(25, 40000), StringTransport()
    protocol.answer.addCallbacks(found.append, lambda _: found.append(None))
    protocol.makeConnection(transport)
    for piece, _ in segments(data, stride):
        if not transport.disconnecting:
            protocol.dataReceived(piece)
    protocol.connectionLost()
    (user,) = found
    return user


def ident_seeds() -> Iterator[bytes]:
    """Answers, as they are in RFC 1413."""
    yield b"6193, 23 : USERID : UNIX :stjohns\r\n"
    yield b"6193,23:USERID:UNIX,US-ASCII: a \x1b[2J:b\r\nmore"
    yield b"6195, 23 : ERROR : NO-USER\r\n"
    yield b"25,40000:USERID:OTHER:" + b"x" * 2000


# Variables.


def check_environment(facts: Facts) -> None:
    """Prog can be run with the variables, and none of them holds anything strange."""
    for name, value in environment({}, facts, True).items():
        assert re.fullmatch(rb"[A-Z_]+", name), name
        assert re.fullmatch(rb"[ -~]*", value), value
        # What Linux takes for one string, with its name (MAX_ARG_STRLEN).
        assert len(name) + len(value) < 131000, len(value)


#: Of the parts of a name: CN, C, O, SAN of no meaning, and an e-mail address.
OIDS = (
    b"\x55\x04\x03",
    b"\x55\x04\x06",
    b"\x55\x04\x0a",
    b"\x2a\x03",
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01",
)
#: Types of strings: UTF-8, printable, T61, IA5, universal, BMP, bits, octets.
TAGS = (0x0C, 0x13, 0x14, 0x16, 0x1C, 0x1E, 0x03, 0x04)


def certificate(data: bytes) -> None:
    """
    Whatever is in a certificate, what is shown of it is short and printable.

    The data is a certificate, or else the parts of its subject: an OID and a type by
    number, a length, and the text, for each.
    """
    encoded = data
    if data[:1] != b"\x30":
        parts = []
        while data:
            head, data = data[:3].ljust(3, b"\0"), data[3:]
            text, data = data[: head[2]], data[head[2] :]
            oid, tag = OIDS[head[0] % len(OIDS)], TAGS[head[1] % len(TAGS)]
            parts.append((oid, tag, text))
        ours = shared().server_identity.certificate
        encoded = der.rewritten(ours, subject=der.name(parts))
    try:
        parsed = crypto.load_certificate(crypto.FILETYPE_ASN1, encoded)
    except crypto.Error:
        # It would not come out of a handshake.
        return
    shown = subject(parsed)
    assert re.fullmatch("[ -~]*", shown), shown
    assert len(shown) <= 10240, len(shown)
    tls = TLSFacts("TLSv1.3", "TLSv1.3", "x", subject=shown)
    check_environment(Facts("TCP", tls=tls))


def certificate_seeds() -> Iterator[bytes]:
    """A real one, and a subject."""
    yield b"\0\0\x10mail.example.org\1\1\2DE\2\2\4M\xfcll\3\7\4\1\2\3\4"
    yield b'\0\5\x06\0a\0b\xd8\0\4\3\7a@b\x1b[2J\2\1\5a,+"\0'
    yield crypto.dump_certificate(
        crypto.FILETYPE_ASN1,
        crypto.X509.from_cryptography(shared().server_identity.certificate),
    )


#: What can be fuzzed, and with what it begins.
TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], Iterator[bytes]]]] = {
    "certificate": (certificate, certificate_seeds),
    "dialogue": (dialogue, dialogue_seeds),
    "ident": (ident, ident_seeds),
    "options": (options, options_seeds),
    "strings": (strings, strings_seeds),
}


def kept(target: str) -> list[Path]:
    """The inputs of a target that were worth to be kept."""
    return sorted((CORPUS / target).iterdir())

"""
Scripts of hostile servers, dialect by dialect.

`ATTACKS` and `ENDLESS` hold the scripts that depend on the protocol.  All others are
generated from the good transcripts: a new dialect needs a transcript there and its own
attacks here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from tests.torture.hostile import HELLO, SPOOF, TIMEOUT, Ending, Script
from tests.transcripts import (
    GOOD,
    IMAP,
    LDAP,
    LMTP,
    MYSQL,
    MYSQL_REST,
    MYSQL_START,
    NNTP,
    POP3,
    POSTGRES,
    SIEVE,
    SMTP,
    STARTTLS_OID,
    STREAMS,
    TELNET,
    TLS_NAMESPACE,
    XMPP,
    XMPP_SERVER,
)
from twisted_tcpclient.testing import Segment, join_turns, parse_transcript

#: A fatal alert, handshake_failure, as a TLS record.
ALERT = b"\x15\x03\x01\x00\x02\x02\x28"

#: Bytes that have a meaning in some protocol or on a terminal.
NASTY = (0x00, 0x08, 0x09, 0x0A, 0x0D, 0x1B, 0x20, 0x22, 0x3C, 0x7B, 0x7F, 0x9B, 0xFF)

# Kinds of attacks.  Every dialect has attacks of the first four kinds.

#: The server does not offer STARTTLS, or does not know it.
HIDDEN = "hidden"
#: The server offers STARTTLS and refuses the command.
REFUSED = "refused"
#: The server says goodbye instead of the expected reply.
FAREWELL = "farewell"
#: The server says something that is not a reply of the protocol.
STRANGE = "strange"
#: The server says that the client is logged in already.
PREAUTH = "preauth"
#: The server refers the client to another server.
REFERRAL = "referral"
#: The server announces more data than the client accepts.
HUGE = "huge"
#: The server sends a reply before the client has asked.
EARLY = "early"

EVERYWHERE = (HIDDEN, REFUSED, FAREWELL, STRANGE)


@dataclass(frozen=True)
class Attack:
    """
    An attack as a transcript.

    :ivar words: A text that the client's error message contains.
    """

    kind: str
    words: str
    transcript: str


def _until(transcript: str, last: str) -> str:
    """Return the lines of the transcript before the line that contains `last`."""
    return transcript[: transcript.rindex("\n", 0, transcript.index(last))] + "\n"


_OFFER = "    S: 220 mx.example.org\n    C: EHLO [192.0.2.1]\n"
_NOT_OFFERED = "the server does not offer STARTTLS"
_REFUSED = "the server refused STARTTLS"
_CLOSED_TO_US = "the server refused the connection"
_UNASKED = "the server sent what was not asked for"
_TOO_EARLY = "the server sent data before it was asked"
_LONG = "the server announced more than it may say before TLS"

_SMTP = (
    Attack(HIDDEN, _NOT_OFFERED, _OFFER + "S: 250-mx.example.org\nS: 250 SIZE 10"),
    Attack(HIDDEN, _NOT_OFFERED, _OFFER + "S: 250-STARTTLS\nS: 250 SIZE 10"),
    Attack(HIDDEN, _NOT_OFFERED, _OFFER + "S: 250-mx\nS: 250-XXXXXXXA\nS: 250 SIZE"),
    Attack(HIDDEN, _NOT_OFFERED, _OFFER + "S: 250-mx\nS: 250 STARTTLS\x00"),
    Attack(HIDDEN, _NOT_OFFERED, _OFFER + "S: 250-mx\nS: 250 XSTARTTLS"),
    Attack(HIDDEN, "the server refused EHLO", _OFFER + "S: 502 what?"),
    Attack(HIDDEN, "the server refused EHLO", _OFFER + "S: 220 again"),
    Attack(REFUSED, _REFUSED, SMTP.replace("220 Go", "454 no")),
    Attack(REFUSED, _REFUSED, SMTP.replace("220 Go", "501 no")),
    Attack(REFUSED, _REFUSED, SMTP.replace("220 Go", "354 go on")),
    Attack(REFUSED, _REFUSED, SMTP.replace("220 Go", "250 fine, but in clear")),
    Attack(REFUSED, _REFUSED, SMTP.replace("220 Go", "554 SPOOF")),
    Attack(FAREWELL, _CLOSED_TO_US, "S: 554 no"),
    Attack(FAREWELL, _CLOSED_TO_US, "S: 421 SPOOF"),
    Attack(FAREWELL, "the server refused EHLO", _OFFER + "S: 221 bye"),
    Attack(FAREWELL, _REFUSED, SMTP.replace("220 Go", "421 closing")),
    Attack(STRANGE, "the server does not speak SMTP", "S: +OK POP3 ready"),
    Attack(STRANGE, "the server does not speak SMTP", "S: SPOOF"),
    Attack(STRANGE, "differ in their code", "S: 220-mx\nS: 250 STARTTLS"),
    Attack(EARLY, _TOO_EARLY, _OFFER + "S: 250-mx\nS: 250 STARTTLS\nS+ 220 Go ahead"),
    Attack(EARLY, _TOO_EARLY, "S: 220 mx\nS+ 250-mx\nS+ 250 STARTTLS\nS+ 220 Go"),
)


def _as_lmtp(attack: Attack) -> Attack:
    words = attack.words.replace("SMTP", "LMTP").replace("EHLO", "LHLO")
    return replace(
        attack, words=words, transcript=attack.transcript.replace("EHLO", "LHLO")
    )


_CAPA = "    S: +OK\n    C: CAPA\n"
_TAGGED = "    S: * OK ready\n    C: {tag}1 CAPABILITY\n"
_AUTH = "    S: 220 ready\n    C: AUTH TLS\n"
_LIST = "    S: 200 ready\n    C: CAPABILITIES\n"
_STREAM = XMPP.partition("    S| <stream:features")[0]
_LOGGED_IN = "the server says we are logged in already"


def _ldap(result: str, text: bytes = b"", name: str = "") -> str:
    """Return a transcript whose reply is this LDAP response."""
    fields = bytes.fromhex(result) + b"\x04\x00\x04" + bytes([len(text)]) + text
    fields += bytes.fromhex(name)
    message = b"\x02\x01\x01\x78" + bytes([len(fields)]) + fields
    whole = b"\x30" + bytes([len(message)]) + message
    return LDAP.partition("S#")[0] + f"S# {whole.hex()}"


_MYSQL_GREETING = f"S# {MYSQL_START} ff ff {MYSQL_REST}"


def _xmpp(transcript: str) -> tuple[Attack, ...]:
    """Return the attacks on an XMPP dialogue."""
    stream = transcript.partition("    S| <stream:features")[0]
    features = transcript.partition("    C| <starttls")[0]
    asked = transcript.partition("    S| <proceed")[0]
    error = f"<stream:error><see-other-host {STREAMS}>evil</see-other-host>"
    return (
        Attack(HIDDEN, _NOT_OFFERED, stream + "S| <stream:features/>"),
        Attack(
            HIDDEN,
            _NOT_OFFERED,
            stream + "S| <stream:features><starttls/></stream:features>",
        ),
        Attack(
            HIDDEN, "does not speak XMPP 1.0", features.replace(" id='x' version", " x")
        ),
        Attack(REFUSED, _REFUSED, asked + f"S| <failure {TLS_NAMESPACE}/>"),
        Attack(FAREWELL, "the server ended the stream", stream + "S| </stream:stream>"),
        Attack(FAREWELL, "the server ended the stream", asked + "S| </stream:stream>"),
        Attack(
            REFERRAL,
            "the server sent a stream error",
            stream + f"S| {error}</stream:error>",
        ),
        Attack(STRANGE, _UNASKED, asked + "S| <message><body>evil</body></message>"),
        Attack(STRANGE, _UNASKED, asked + "S| <proceed/>"),
        Attack(STRANGE, "does not speak XMPP", _until(transcript, "S|") + "S| <html>"),
        Attack(
            STRANGE, "no place in XMPP", _until(transcript, "S|") + "S| <!DOCTYPE x>"
        ),
        Attack(STRANGE, "does not speak XMPP", stream + "S| <a>SPOOF</a>"),
        Attack(EARLY, _TOO_EARLY, features.rstrip() + f"<proceed {TLS_NAMESPACE}/>"),
    )


#: The attacks that depend on the protocol, by dialect.
ATTACKS: dict[str, tuple[Attack, ...]] = {
    "smtp": _SMTP,
    "lmtp": tuple(map(_as_lmtp, _SMTP)),
    "pop3": (
        Attack(HIDDEN, "does not offer STLS", _CAPA + "S: +OK\nS: USER\nS: ."),
        Attack(HIDDEN, "does not offer STLS", _CAPA + "S: +OK STLS\nS: ."),
        Attack(HIDDEN, "does not offer STLS", _CAPA + "S: +OK\nS: STLS\x00\nS: ."),
        Attack(REFUSED, "refused STLS", POP3.replace("+OK Begin", "-ERR no")),
        Attack(REFUSED, "refused STLS", POP3.replace("+OK Begin", "-ERR SPOOF")),
        Attack(REFUSED, "refused STLS", _CAPA + "S: -ERR\nC: STLS\nS: -ERR"),
        Attack(FAREWELL, _CLOSED_TO_US, "S: -ERR no"),
        Attack(FAREWELL, _CLOSED_TO_US, "S: -ERR [IN-USE] SPOOF"),
        Attack(STRANGE, "does not speak POP3", "S: 220 mx.example.org"),
        Attack(STRANGE, "does not speak POP3", "S: SPOOF"),
        Attack(STRANGE, "does not speak POP3", POP3.replace("+OK Begin", "+ go on")),
        Attack(EARLY, _TOO_EARLY, _CAPA + "S: +OK\nS: STLS\nS: .\nS+ +OK Begin"),
        Attack(EARLY, _TOO_EARLY, "S: +OK\nS+ +OK\nS+ STLS\nS+ .\nS+ +OK Begin"),
    ),
    "imap": (
        Attack(HIDDEN, _NOT_OFFERED, _TAGGED + "S: * CAPABILITY IMAP4\nS: {tag}1 OK"),
        Attack(HIDDEN, _NOT_OFFERED, _TAGGED + "S: {tag}1 OK"),
        Attack(HIDDEN, _NOT_OFFERED, "S: * OK [CAPABILITY IMAP4rev1] ready"),
        Attack(HIDDEN, "refused CAPABILITY", _TAGGED + "S: {tag}1 NO"),
        Attack(HIDDEN, "refused CAPABILITY", _TAGGED + "S: {tag}1 BAD"),
        Attack(REFUSED, _REFUSED, IMAP.replace("{tag}2 OK", "{tag}2 NO")),
        Attack(REFUSED, _REFUSED, IMAP.replace("{tag}2 OK", "{tag}2 BAD")),
        Attack(REFUSED, _REFUSED, IMAP.replace("{tag}2 OK", "{tag}2 NO SPOOF")),
        Attack(REFUSED, _UNASKED, IMAP.replace("{tag}2 OK", "+ go on")),
        Attack(FAREWELL, _CLOSED_TO_US, "S: * BYE SPOOF"),
        Attack(FAREWELL, "the server said BYE", _TAGGED + "S: * BYE"),
        Attack(FAREWELL, "the server said BYE", IMAP.replace("{tag}2 OK", "* bye")),
        Attack(STRANGE, "does not speak IMAP", "S: 220 mx.example.org"),
        Attack(STRANGE, "does not speak IMAP", "S: SPOOF"),
        Attack(STRANGE, "does not speak IMAP", "S: * [OK] ready"),
        Attack(STRANGE, _UNASKED, IMAP.replace("{tag}2 OK", "a2 OK")),
        Attack(STRANGE, _UNASKED, IMAP.replace("{tag}2 OK", "{tag}1 OK")),
        Attack(PREAUTH, _LOGGED_IN, "S: * PREAUTH ready"),
        Attack(PREAUTH, _LOGGED_IN, "S: * preauth [CAPABILITY STARTTLS] ready"),
        Attack(PREAUTH, _LOGGED_IN, "S: * PREAUTH SPOOF"),
        Attack(
            REFERRAL,
            _REFUSED,
            IMAP.replace("{tag}2 OK", "{tag}2 NO [REFERRAL imap://evil/]"),
        ),
        Attack(REFERRAL, _CLOSED_TO_US, "S: * BYE [REFERRAL imap://evil/] try there"),
        Attack(HUGE, _UNASKED, _TAGGED + "S: * LIST () {4294967295}"),
        Attack(HUGE, _UNASKED, _until(IMAP, "{tag}2 OK") + "S: * 1 FETCH {9}"),
        Attack(EARLY, _TOO_EARLY, "S: * OK [CAPABILITY STARTTLS] x\nS+ {tag}2 OK"),
        Attack(EARLY, _TOO_EARLY, "S: * OK x\nS+ * OK y\nS+ {tag}1 OK"),
        Attack(
            EARLY,
            _TOO_EARLY,
            _TAGGED + "S: * CAPABILITY STARTTLS\nS+ {tag}1 OK\nS+ {tag}2 OK",
        ),
    ),
    "ftp": (
        Attack(HIDDEN, "does not know AUTH TLS", _AUTH + "S: 500 what?"),
        Attack(HIDDEN, "does not know AUTH TLS", _AUTH + "S: 504 no TLS"),
        Attack(REFUSED, "refused AUTH TLS", _AUTH + "S: 534 no"),
        Attack(REFUSED, "refused AUTH TLS", _AUTH + "S: 334 more"),
        Attack(REFUSED, "refused AUTH TLS", _AUTH + "S: 431 SPOOF"),
        Attack(REFUSED, "refused AUTH TLS", _AUTH + "S: 230 logged in"),
        Attack(FAREWELL, _CLOSED_TO_US, "S: 421 no"),
        Attack(FAREWELL, "refused AUTH TLS", _AUTH + "S: 421 closing"),
        Attack(STRANGE, "does not speak FTP", "S: * OK ready"),
        Attack(STRANGE, "does not speak FTP", "S: SPOOF"),
        Attack(PREAUTH, _CLOSED_TO_US, "S: 230 logged in"),
        Attack(EARLY, _TOO_EARLY, "S: 220 ready\nS+ 234 Go ahead"),
    ),
    "nntp": (
        Attack(HIDDEN, _NOT_OFFERED, _LIST + "S: 101 list\nS: VERSION 2\nS: ."),
        Attack(HIDDEN, _NOT_OFFERED, _LIST + "S: 101 STARTTLS\nS: ."),
        Attack(REFUSED, _REFUSED, NNTP.replace("382 Go", "580 No")),
        Attack(REFUSED, _REFUSED, NNTP.replace("382 Go", "502 No")),
        Attack(REFUSED, _REFUSED, NNTP.replace("382 Go", "483 SPOOF")),
        Attack(
            REFUSED,
            _REFUSED,
            NNTP.replace("382 Go", "401 MODE-READER")
            + "C: MODE READER\n"
            + NNTP.replace("382 Go", "401 MODE-READER"),
        ),
        Attack(
            HIDDEN,
            _NOT_OFFERED,
            (_LIST + "S: 101 list\nS: MODE-READER\nS: .\nC: MODE READER\n") * 2,
        ),
        Attack(
            REFUSED,
            "refused MODE READER",
            _LIST + "S: 101 list\nS: MODE-READER\nS: .\nC: MODE READER\nS: 502 SPOOF",
        ),
        Attack(FAREWELL, _CLOSED_TO_US, "S: 400 no"),
        Attack(FAREWELL, _REFUSED, NNTP.replace("382 Go", "400 closing")),
        Attack(STRANGE, "does not speak NNTP", "S: 220-mx.example.org"),
        Attack(STRANGE, "does not speak NNTP", "S: SPOOF"),
        Attack(EARLY, _TOO_EARLY, _LIST + "S: 101 a\nS: STARTTLS\nS: .\nS+ 382 Go"),
    ),
    "sieve": (
        Attack(HIDDEN, _NOT_OFFERED, 'S: "SASL" ""\nS: OK'),
        Attack(HIDDEN, _NOT_OFFERED, 'S: "SASL" "STARTTLS"\nS: OK "STARTTLS"'),
        Attack(REFUSED, _REFUSED, SIEVE.replace('OK "Begin', 'NO "Begin')),
        Attack(REFUSED, _REFUSED, SIEVE.replace('OK "Begin', 'NO "SPOOF')),
        Attack(FAREWELL, _CLOSED_TO_US, 'S: BYE "no"'),
        Attack(FAREWELL, _REFUSED, SIEVE.replace('OK "Begin', 'BYE "Begin')),
        Attack(STRANGE, "does not speak ManageSieve", "S: 220 mx.example.org"),
        Attack(STRANGE, "the server does not speak", "S: SPOOF"),
        Attack(STRANGE, _UNASKED, SIEVE.replace('OK "Begin', '"STARTTLS" "Begin')),
        Attack(REFERRAL, _CLOSED_TO_US, 'S: BYE (REFERRAL "sieve://evil") "there"'),
        Attack(
            REFERRAL,
            _REFUSED,
            SIEVE.replace('OK "Begin', 'BYE (REFERRAL "sieve://evil") "there'),
        ),
        Attack(HUGE, _LONG, 'S: "IMPLEMENTATION" {999999999}'),
        Attack(
            HUGE, _LONG, SIEVE.replace('OK "Begin TLS negotiation now"', "OK {70000}")
        ),
        Attack(EARLY, _TOO_EARLY, 'S: "STARTTLS"\nS: OK\nS+ OK "Begin"'),
    ),
    "irc": (
        Attack(
            HIDDEN, "does not know STARTTLS", "C: STARTTLS\nS: :x 421 * STARTTLS :?"
        ),
        Attack(HIDDEN, "does not know STARTTLS", "C: STARTTLS\nS: :x 451 * :register"),
        Attack(REFUSED, _REFUSED, "C: STARTTLS\nS: :irc.example.org 691 * :no"),
        Attack(REFUSED, _REFUSED, "C: STARTTLS\nS: :x 691 * :SPOOF"),
        Attack(FAREWELL, _REFUSED, "C: STARTTLS\nS: ERROR :Closing Link: SPOOF"),
        Attack(STRANGE, "does not speak IRC", "C: STARTTLS\nS: +OK"),
        Attack(STRANGE, "does not speak IRC", "C: STARTTLS\nS: SPOOF"),
        Attack(
            REFERRAL,
            _REFUSED,
            "C: STARTTLS\nS: :x 010 * evil 6667 :go\nS: :x 691 * :no",
        ),
        Attack(
            PREAUTH,
            "does not know STARTTLS",
            "C: STARTTLS\nS: :x 001 you :Welcome\nS: :x 421 you STARTTLS :?",
        ),
    ),
    "ldap": (
        Attack(HIDDEN, "does not know StartTLS", _ldap("0a 01 02")),
        Attack(REFUSED, "refused StartTLS with result code 52", _ldap("0a 01 34")),
        Attack(
            REFUSED,
            "refused StartTLS with result code 1",
            _ldap("0a 01 01", SPOOF),
        ),
        Attack(
            FAREWELL,
            "ends the connection",
            _ldap("0a 01 34", b"", "8a 16" + STARTTLS_OID[:-2] + "36"),
        ),
        Attack(STRANGE, _UNASKED, LDAP.replace("02 01 01 78", "02 01 02 78")),
        Attack(STRANGE, "does not speak LDAP", LDAP.replace("S# 30", "S# 16")),
        Attack(STRANGE, _UNASKED, LDAP.replace("0a 01 00", "02 01 00")),
        Attack(REFERRAL, "refused StartTLS with result code 10", _ldap("0a 01 0a")),
        Attack(HUGE, "too long", LDAP.partition("S#")[0] + "S# 30 84 7f ff ff ff"),
        Attack(HUGE, "too long", LDAP.partition("S#")[0] + "S# 30 ff" + " ff" * 127),
        Attack(HUGE, "broken BER", LDAP.partition("S#")[0] + "S# 30 05 02 84 7f ff ff"),
    ),
    "postgres": (
        Attack(HIDDEN, "does not know of TLS", POSTGRES.replace("S| S", "S| ESPOOF")),
        Attack(REFUSED, "not willing to use TLS", POSTGRES.replace("S| S", "S| N")),
        Attack(FAREWELL, "does not know of TLS", POSTGRES.replace("S| S", "S| E")),
        Attack(STRANGE, "does not speak PostgreSQL", POSTGRES.replace("S| S", "S| R")),
        Attack(STRANGE, "does not speak PostgreSQL", POSTGRES.replace("S| S", "S| s")),
        Attack(
            PREAUTH,
            "does not speak PostgreSQL",
            POSTGRES.replace("S| S", "S# 52 00 00 00 08 00 00 00 00"),
        ),
    ),
    "mysql": (
        Attack(HIDDEN, "does not offer TLS", f"S# {MYSQL_START} ff f7 {MYSQL_REST}"),
        Attack(HIDDEN, "does not offer TLS", f"S# {MYSQL_START} 00 00 {MYSQL_REST}"),
        Attack(REFUSED, _CLOSED_TO_US, "S# 05 00 00 00 ff 10 04 6e 6f"),
        Attack(REFUSED, _CLOSED_TO_US, "S# 05 00 00 01 ff 10 04 6e 6f"),
        Attack(FAREWELL, _CLOSED_TO_US, "S# 05 00 00 00 ff 15 04 1b 07"),
        Attack(STRANGE, "does not speak MySQL", "S: 220 mx.example.org"),
        Attack(
            STRANGE, "does not speak MySQL", MYSQL.replace("00 00 00 0a", "00 00 00 09")
        ),
        Attack(HUGE, "does not speak MySQL", "S# ff ff ff 00"),
        Attack(
            EARLY, _TOO_EARLY, _MYSQL_GREETING + " 07 00 00 02 00 00 00 02 00 00 00"
        ),
    ),
    "telnet": (
        Attack(HIDDEN, "speaks before TLS", "S| login: "),
        Attack(HIDDEN, "speaks before TLS", "S| SPOOF"),
        Attack(HIDDEN, "refused START_TLS", "S# ff fe 2e"),
        Attack(
            REFUSED, "refused START_TLS", TELNET.rpartition("S#")[0] + "S# ff fe 2e"
        ),
        Attack(FAREWELL, "does not speak telnet", "S# ff f0"),
        Attack(FAREWELL, "refused START_TLS", "S# ff f4 ff fe 2e"),
        Attack(
            HIDDEN,
            "refused START_TLS",
            TELNET.rpartition("S#")[0] + "S| login: SPOOF\nS# ff fe 2e",
        ),
        Attack(STRANGE, _UNASKED, "S# ff fb 2e"),
        Attack(STRANGE, _UNASKED, "S# ff fa 2e 01 ff f0"),
        Attack(EARLY, _TOO_EARLY, "S# ff fd 2e ff fa 2e 01 ff f0"),
        Attack(EARLY, _TOO_EARLY, "S# ff fd 2e 61 ff fd 18 ff fa 2e 01 ff f0"),
    ),
    "xmpp": _xmpp(XMPP),
    "xmpp-server": _xmpp(XMPP_SERVER),
}


@dataclass(frozen=True)
class Endless:
    """
    Data that a server repeats without end after the beginning of a dialogue.

    :ivar words: A text that the client's error message contains.
    :ivar again: The data to repeat.
    """

    words: str
    transcript: str
    again: bytes


_NO_END = "the server speaks without end before TLS"
_TOO_LONG = "the server sent a line that is too long"

#: Greetings, lines, lists and other data without end, by dialect.
ENDLESS: dict[str, tuple[Endless, ...]] = {
    "smtp": (
        Endless(_NO_END, "", b"220-hello\r\n"),
        Endless(_TOO_LONG, "", b"220"),
        Endless(_NO_END, _OFFER, b"250-X\r\n"),
        Endless(_NO_END, _until(SMTP, "220 Go"), b"220-\n"),
    ),
    "lmtp": (
        Endless(_NO_END, "", b"220-hello\r\n"),
        Endless(_TOO_LONG, _until(LMTP, "220 Go"), b"\0"),
    ),
    "pop3": (
        Endless(_TOO_LONG, "", b"+OK "),
        Endless(_NO_END, _CAPA, b"+OK\r\n"),
        Endless(_NO_END, _CAPA + "S: +OK", b"\n"),
    ),
    "imap": (
        Endless(_TOO_LONG, "", b"* OK "),
        Endless(_NO_END, _TAGGED, b"* 1 EXISTS\r\n"),
        Endless(_NO_END, _until(IMAP, "{tag}2 OK"), b"* CAPABILITY STARTTLS\r\n"),
    ),
    "ftp": (
        Endless(_NO_END, "S: 220-hello", b"\n"),
        Endless(_TOO_LONG, "S: 220-hello", b" "),
        Endless(_NO_END, _AUTH + "S: 234-", b"234-x\r\n"),
    ),
    "nntp": (
        Endless(_TOO_LONG, "", b"200 "),
        Endless(_NO_END, _LIST + "S: 101 list", b"X\r\n"),
    ),
    "sieve": (
        Endless(_NO_END, "", b'"X"\r\n'),
        Endless(_NO_END, "", b'"X" {1+}\r\n'.replace(b"+", b"") + b"x\r\n"),
        Endless(_TOO_LONG, "", b'"'),
    ),
    "irc": (
        Endless(_NO_END, "C: STARTTLS", b"PING x\r\n"),
        Endless(_NO_END, "C: STARTTLS", b"NOTICE\n"),
        Endless(_TOO_LONG, "C: STARTTLS", b"NOTICE "),
    ),
    "ldap": (
        Endless("too long", LDAP.partition("S#")[0], b"\x30\x84"),
        Endless(
            "what was not asked for",
            LDAP.partition("S#")[0] + "S# 30 82 20 00",
            b"\x04\x00",
        ),
    ),
    "postgres": (Endless("does not know of TLS", POSTGRES.partition("S|")[0], b"E"),),
    "mysql": (
        Endless("does not speak MySQL", "S# 00 04 00 00 0a", b"x"),
        Endless("does not speak MySQL", "", b"\xff"),
    ),
    "telnet": (
        Endless(_NO_END, "", b"\xff\xf1"),
        Endless(_NO_END, "", b"\xff\xfb\x01"),
        Endless(_LONG, "", b"\xff\xfa\x18" + b"x" * 500 + b"\xff\xf0"),
        Endless("does not speak telnet", "S# ff fa 18", b"x"),
        Endless(_NO_END, _until(TELNET, "S# ff fa"), b"\xff\xfd\x18"),
    ),
    "xmpp": (
        Endless(_NO_END, _STREAM, b" "),
        Endless(_NO_END, _STREAM, b"<x "),
        Endless("does not speak XMPP", _STREAM, b"<x><"),
        Endless(_NO_END, _STREAM + "S| <x a='", b">"),
        Endless("does not speak XMPP", _STREAM + "S| <x>", b">"),
        Endless(_NO_END, _STREAM + "S| <x>", b"<y>"),
        Endless(_NO_END, _STREAM + "S| <x>", b"y"),
    ),
    "xmpp-server": (
        Endless(_NO_END, XMPP_SERVER.partition("    S| <stream:features")[0], b"<x>"),
    ),
}


def dialects() -> list[str]:
    """Return the names of all dialects that have a transcript."""
    return sorted(GOOD)


# Scripts written by hand.


def by_hand() -> Iterator[Script]:
    """Yield the attacks that depend on the protocol."""
    for dialect in dialects():
        for number, attack in enumerate(ATTACKS[dialect]):
            name = f"{dialect}: {attack.kind} ({number})"
            yield Script.read(name, dialect, attack.transcript, attack.words)


def endless(length: int = 1 << 18) -> Iterator[Script]:
    """Yield the scripts of data without end, in segments of 64 KiB."""
    for dialect in dialects():
        for number, each in enumerate(ENDLESS[dialect]):
            whole = each.again * (length // len(each.again))
            segments = (
                Segment(True, whole[start : start + 65536])
                for start in range(0, len(whole), 65536)
            )
            says = (*parse_transcript(each.transcript), *segments)
            name = f"{dialect}: endless {each.again[:12]!r} ({number})"
            yield Script(name, dialect, says, words=each.words)


# Scripts generated from the good transcripts.


def steps(dialect: str) -> Iterator[tuple[Segment, ...]]:
    """Yield the beginnings of the good dialogue, one for each number of steps."""
    says = tuple(parse_transcript(GOOD[dialect]))
    return (says[:number] for number in range(len(says) + 1))


def stops(dialect: str) -> Iterator[tuple[Segment, ...]]:
    """
    Yield the beginnings of the good dialogue that end after each byte of the server.
    """
    says = parse_transcript(GOOD[dialect])
    yield ()
    for number, said in enumerate(says):
        if not said.by_server:
            yield tuple(says[: number + 1])
            continue
        for cut in range(1, len(said.data) + 1):
            yield (*says[:number], replace(said, data=said.data[:cut]))


def stopped() -> Iterator[Script]:
    """Yield scripts that close, reset or fall silent after each byte of the server."""
    for dialect in dialects():
        whole = _by_server(parse_transcript(GOOD[dialect]))
        for number, says in enumerate(stops(dialect)):
            for ending in Ending:
                words = _words_of_stop(_by_server(says) == whole, ending)
                name = f"{dialect}: {ending.value} after {number} bytes"
                yield Script(name, dialect, says, ending, words)


def _by_server(says: Iterable[Segment]) -> bytes:
    return b"".join(said.data for said in says if said.by_server)


def _words_of_stop(agreed: bool, ending: Ending) -> str:
    if ending is Ending.WAIT:
        awaited = "the TLS handshake" if agreed else "STARTTLS"
        return f"timed out waiting for {awaited}"
    if agreed:
        return "TLS handshake failed: connection lost"
    return "the server closed the connection before TLS"


def split() -> Iterator[Script]:
    """Yield good dialogues in which one turn of the server comes in two segments."""
    for dialect in dialects():
        every = join_turns(parse_transcript(GOOD[dialect]))
        for number, turn in enumerate(every):
            if turn.by_server:
                for cut in range(1, len(turn.data)):
                    halves = (
                        replace(turn, data=turn.data[:cut]),
                        replace(turn, data=turn.data[cut:]),
                    )
                    torn = b"{tag}" in turn.data and not any(
                        b"{tag}" in half.data for half in halves
                    )
                    if torn:
                        continue
                    yield Script(
                        f"{dialect}: turn {number} cut after {cut} bytes",
                        dialect,
                        (*every[:number], *halves, *every[number + 1 :]),
                        words="timed out waiting for the TLS handshake",
                    )


def dripped() -> Iterator[Script]:
    """
    Yield good dialogues byte by byte, a little faster and slower than the deadline.
    """
    for dialect in dialects():
        says = [
            replace(said, data=piece)
            for said in parse_transcript(GOOD[dialect])
            for piece in (_pieces(said.data) if said.by_server else [said.data])
        ]
        count = len([said for said in says if said.by_server])
        for speed, awaited in ((0.99, "the TLS handshake"), (1.01, "STARTTLS")):
            yield Script(
                f"{dialect}: dripped, {speed}",
                dialect,
                tuple(says),
                words=f"timed out waiting for {awaited}",
                pause=speed * TIMEOUT / count,
            )


def _pieces(data: bytes) -> list[bytes]:
    """
    Return the single bytes; the tag stays whole, as only the client knows its text.
    """
    return re.findall(rb"\{tag\}|[\s\S]", data)


def injections(dialect: str) -> Iterator[bytes]:
    """Yield the data that an attacker may inject after the go-ahead."""
    yield from (bytes([byte]) for byte in range(256))
    yield from (said.data for said in parse_transcript(GOOD[dialect]) if said.by_server)
    yield from (ALERT, ALERT[:3], b"\x16\x03\x01\x00\x05hello", b"x" * 70000)
    yield SPOOF


def injected() -> Iterator[Script]:
    """Yield dialogues with data injected in the segment of the server's last reply."""
    for dialect in dialects():
        says = tuple(parse_transcript(GOOD[dialect]))
        last = max(number for number, said in enumerate(says) if said.by_server)
        for number, data in enumerate(injections(dialect)):
            more = replace(says[last], data=says[last].data + data)
            name = f"{dialect}: injected, {data[:20]!r} ({number})"
            words = "the server sent data"
            yield Script(name, dialect, (*says[:last], more), words=words)


def injected_later() -> Iterator[Script]:
    """
    Yield dialogues with data injected in a segment of its own after the ClientHello.
    """
    for dialect in dialects():
        says = tuple(parse_transcript(GOOD[dialect]))
        for number, data in enumerate(injections(dialect)):
            yield Script(
                f"{dialect}: injected later, {data[:20]!r} ({number})",
                dialect,
                (*says, HELLO, Segment(True, data)),
                Ending.FIN,
                "TLS handshake failed",
            )


def alerts() -> Iterator[Script]:
    """Yield dialogues with an alert in clear instead of a reply or of a ServerHello."""
    for dialect in dialects():
        says = tuple(parse_transcript(GOOD[dialect]))
        for number, said in enumerate(says):
            if said.by_server:
                instead = (*says[:number], Segment(True, ALERT))
                name = f"{dialect}: an alert for step {number}"
                yield Script(name, dialect, instead, Ending.FIN)
    says = tuple(parse_transcript(SMTP))
    for level in (0, 1, 2, 255):
        for description in range(256):
            alert = ALERT[:5] + bytes([level, description])
            yield Script(
                f"smtp: alert {level} {description} for a handshake",
                "smtp",
                (*says, HELLO, Segment(True, alert)),
                Ending.FIN,
                "TLS handshake failed",
            )


def mangled() -> Iterator[Script]:
    """Yield good dialogues with one byte of the server changed, removed or added."""
    for dialect in dialects():
        says = tuple(parse_transcript(GOOD[dialect]))
        for number, said in enumerate(says):
            if said.by_server:
                for what, data in _mangled(said.data):
                    changed = (replace(said, data=data), *says[number + 1 :])
                    name = f"{dialect}: step {number}, {what}"
                    yield Script(name, dialect, (*says[:number], *changed))


def _mangled(data: bytes) -> Iterator[tuple[str, bytes]]:
    for place in range(len(data)):
        before, after = data[:place], data[place:]
        yield f"without byte {place}", before + after[1:]
        yield f"byte {place} flipped", before + bytes([after[0] ^ 0x80]) + after[1:]
        for byte in NASTY:
            yield f"{byte:02x} put before {place}", before + bytes([byte]) + after
            yield f"{byte:02x} put at {place}", before + bytes([byte]) + after[1:]


def replaced() -> Iterator[Script]:
    """
    Yield good dialogues with one reply missing, repeated, altered or of another
    protocol.
    """
    every = {
        said.data
        for transcript in GOOD.values()
        for said in parse_transcript(transcript)
        if said.by_server
    }
    for dialect in dialects():
        says = tuple(parse_transcript(GOOD[dialect]))
        for number, said in enumerate(says):
            if said.by_server:
                texts = [*_variants(said.data), *sorted(every)]
                for count, data in enumerate(texts):
                    changed = (Segment(True, data), *says[number + 1 :])
                    name = f"{dialect}: step {number} replaced, {data[:20]!r} ({count})"
                    yield Script(name, dialect, (*says[:number], *changed))


def _variants(data: bytes) -> Iterator[bytes]:
    line = data.rstrip(b"\r\n")
    yield from (b"", b"\r\n", b"\n\r", data * 2, data * 3, data.lower(), data.upper())
    yield from (line + b"\r", line + b"\n", line + b"\0\r\n", b"\0" + data, b" " + data)
    yield from (SPOOF, SPOOF + b"\r\n", line + SPOOF + b"\r\n", line[:4] + SPOOF + data)
    yield from (data + b"\xef\xbb\xbf", b"\xef\xbb\xbf" + data, data[::-1])
    yield from (line + b"x" * 9000 + b"\r\n", line + b"\x1b[2J" * 1500 + b"\r\n")
    yield from (data.replace(b" ", b"\t"), data.replace(b" ", b""), ALERT + data)

"""
STARTTLS in XMPP: RFC 6120, 5, in the streams of section 4.

The stream is read up to each ``>``, where an element may end, and not beyond, so that
the bytes after <proceed/> stay unread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from functools import partial
from typing import Any
from xml.parsers.expat import ExpatError, ParserCreate

from twisted_tcpclient.dialects import Dialect, Parameters
from twisted_tcpclient.dialogue import (
    BadReply,
    Bytes,
    Dialogue,
    NotOffered,
    Refused,
    Send,
    Step,
)

_STREAMS = "http://etherx.jabber.org/streams"
_TLS = "urn:ietf:params:xml:ns:xmpp-tls"
_ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"

#: The conditions of a stream error (RFC 6120, 4.9.3).
_CONDITIONS = (
    "bad-format",
    "bad-namespace-prefix",
    "conflict",
    "connection-timeout",
    "host-gone",
    "host-unknown",
    "improper-addressing",
    "internal-server-error",
    "invalid-from",
    "invalid-namespace",
    "invalid-xml",
    "not-authorized",
    "not-well-formed",
    "policy-violation",
    "remote-connection-failed",
    "reset",
    "resource-constraint",
    "restricted-xml",
    "see-other-host",
    "system-shutdown",
    "undefined-condition",
    "unsupported-encoding",
    "unsupported-feature",
    "unsupported-stanza-type",
    "unsupported-version",
)

#: White space may come between elements (RFC 6120, 4.6.1), and so after the features.
#: It may not come between <starttls/> and <proceed/> (5.3.3), but a server may have
#: sent it before it read <starttls/>.
_WHITE_SPACE = re.compile(rb"[ \t\r\n]*")

#: The most that a server may send, in bytes.  RFC 6120, 13.12 expects stanzas of
#: 10000.  The bound also limits the work of the parser.
_LONGEST = 16384
#: The most ``>`` that end no tag: the parser is called for each of them.
_MOST_IN_VAIN = 32


class Stream:
    """
    The server's side of a stream.

    :ivar elements: the complete elements below that of the stream: the name of each,
        and the names of its children.
    :ivar version: the version in the stream header; "" if the header has none, None
        before the header has come.
    :ivar ended: whether the server has ended the stream.
    """

    def __init__(self) -> None:
        self.elements: list[tuple[str, list[str]]] = []
        self.version: str | None = None
        self.ended = False
        self._depth = 0
        self._tags = 0
        self._in_vain = 0
        # RFC 6120, 11.6 allows UTF-8 only; this overrides another declaration.
        self._parser: Any = ParserCreate("UTF-8", " ")
        # Expat 2.6 puts off the parsing of an incomplete token until more bytes have
        # come.  Here the server sends no more bytes before the client has answered.
        if hasattr(self._parser, "SetReparseDeferralEnabled"):
            self._parser.SetReparseDeferralEnabled(False)
        self._parser.StartElementHandler = self._begin_element
        self._parser.EndElementHandler = self._end_element
        self._parser.CharacterDataHandler = self._check_text
        # RFC 6120, 11.1 forbids these.  Without a document type there are no entities
        # but those of XML itself.
        self._parser.StartDoctypeDeclHandler = self._forbid
        self._parser.ProcessingInstructionHandler = self._forbid
        self._parser.CommentHandler = self._forbid

    def feed(self, text: bytes) -> None:
        """
        Parse more of the stream.

        :param text: up to a ``>`` that may end a tag.
        :raises BadReply: if it is not well-formed, or not allowed in a stream.
        """
        tags = self._tags
        try:
            self._parser.Parse(text, False)
        except ExpatError:
            raise BadReply("the server does not speak XMPP", text) from None
        self._in_vain += tags == self._tags
        if self._in_vain > _MOST_IN_VAIN:
            raise BadReply("the server does not speak XMPP", text)

    def _begin_element(self, name: str, attributes: dict[str, str]) -> None:
        if self._depth == 0:
            if name != f"{_STREAMS} stream":
                raise BadReply("the server does not speak XMPP", name.encode())
            self.version = attributes.get("version", "")
        elif self._depth == 1:
            self._children: list[str] = []
            self._name = name
        elif self._depth == 2:
            self._children.append(name)
        self._depth += 1
        self._tags += 1

    def _end_element(self, name: str) -> None:
        self._depth -= 1
        self._tags += 1
        if self._depth == 0:
            self.ended = True
        elif self._depth == 1:
            self.elements.append((self._name, self._children))

    def _check_text(self, text: str) -> None:
        if self._depth == 1 and text.strip():
            raise BadReply("the server does not speak XMPP", text.encode())

    def _forbid(self, *_: object) -> None:
        raise BadReply("the server uses XML that has no place in XMPP")


class Reader:
    """
    A reader of the elements of a stream.

    :ivar text: the bytes since the last element, for the ``server_text`` of errors.
    """

    def __init__(self) -> None:
        self.text = b""
        self._stream = Stream()
        self._length = 0

    def element(self) -> Generator[Step, bytes, tuple[str, list[str]]]:
        """
        Wait for one element below that of the stream.

        :returns: its name, and the names of its children.
        :raises Refused: if the stream ends, or has an error (RFC 6120, 4.9).
        :raises NotOffered: if the stream has no version, and so no features.
        """
        self.text = b""
        while not self._stream.elements:
            yield from self._tag()
            if self._stream.ended:
                raise Refused("the server ended the stream", self.text)
            if self._stream.version == "":
                # A stream without a version has no features (RFC 6120, 4.7.5).
                raise NotOffered("the server does not speak XMPP 1.0", self.text)
        element = self._stream.elements.pop()
        if element[0] == f"{_STREAMS} error":
            raise Refused(_stream_error(element[1]), self.text)
        return element

    def _tag(self) -> Generator[Step, bytes, None]:
        """
        Wait for a ``>`` outside of attribute values, where a tag may end.

        Expat is given whole tags only.  It may put off the parsing of an incomplete
        tag until it has twice as many bytes (CVE-2023-52425), and older versions of
        Python have no SetReparseDeferralEnabled to prevent that.
        """
        tag, quote, within = b"", b"", False
        while True:
            byte = yield from self._byte()
            tag += byte
            if quote:
                quote = b"" if byte == quote else quote
            elif within and byte in (b"'", b'"'):
                quote = byte
            elif byte == b">":
                break
            within = within or byte == b"<"
        self.text += tag
        self._stream.feed(tag)

    def _byte(self) -> Generator[Step, bytes, bytes]:
        """Wait for one byte, within the bound."""
        if self._length == _LONGEST:
            raise BadReply("the server speaks without end before TLS", self.text)
        self._length += 1
        return (yield Bytes(1))


def _stream_error(names: list[str]) -> str:
    """
    Return the message for a stream error, with its condition.

    :param names: the names of the elements in the error.
    """
    for name in names:
        space, _, condition = name.partition(" ")
        if space == _ERRORS and condition in _CONDITIONS:
            return f"the server sent a stream error: {condition}"
    return "the server sent a stream error"


def header(namespace: str, domain: str) -> bytes:
    """
    Return the stream header of the client (RFC 6120, 4.7).

    :param namespace: the namespace of the content (RFC 6120, 4.8.2).
    :param domain: the domain of the service, for which the certificate is verified.  A
        final dot is removed (RFC 7622, 3.2).
    """
    to, domain = "", domain.removesuffix(".")
    if domain:
        for character, reference in (("&", "&amp;"), ("<", "&lt;"), ("'", "&apos;")):
            domain = domain.replace(character, reference)
        to = f" to='{domain}'"
    return (
        f"<?xml version='1.0'?><stream:stream{to} version='1.0'"
        f" xmlns='{namespace}' xmlns:stream='{_STREAMS}'>"
    ).encode()


def dialogue(namespace: str, parameters: Parameters) -> Dialogue:
    """
    Hold the dialogue: stream header, features, STARTTLS.

    :param namespace: the namespace of the content.
    :param parameters: the parameters of the dialogue.
    """
    yield Send(header(namespace, parameters.host))
    reader = Reader()
    name, features = yield from reader.element()
    if name != f"{_STREAMS} features":
        raise BadReply("the server sent what was not asked for", reader.text)
    if f"{_TLS} starttls" not in features:
        raise NotOffered("the server does not offer STARTTLS")
    yield Send(f"<starttls xmlns='{_TLS}'/>".encode(), _WHITE_SPACE)
    name, _ = yield from reader.element()
    if name == f"{_TLS} failure":
        raise Refused("the server refused STARTTLS", reader.text)
    if name != f"{_TLS} proceed":
        raise BadReply("the server sent what was not asked for", reader.text)


def _in_namespace(name: str, port: int, namespace: str) -> Dialect:
    dialogue_in: Callable[[Parameters], Dialogue] = partial(dialogue, namespace)
    return Dialect(name, port, "RFC 6120", dialogue_in)


# No greeting: after TLS the client begins a new stream first (RFC 6120, 5.4.3.3).
DIALECTS = (
    _in_namespace("xmpp", 5222, "jabber:client"),
    _in_namespace("xmpp-server", 5269, "jabber:server"),
)

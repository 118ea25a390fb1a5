"""
StartTLS in LDAP: RFC 4511, 4.14; its BER is restricted by 5.1.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

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

_START_TLS = b"1.3.6.1.4.1.1466.20037"
#: The name of the notice of disconnection (RFC 4511, 4.4.1).
_DISCONNECTION = b"1.3.6.1.4.1.1466.20036"

_INTEGER, _OCTETS, _ENUMERATED, _SEQUENCE = 0x02, 0x04, 0x0A, 0x30
_EXTENDED_REQUEST, _EXTENDED_RESPONSE = 0x77, 0x78
_REQUEST_NAME, _RESPONSE_NAME = 0x80, 0x8A

#: The message ID of the request, the only one in the dialogue.
_ID = 1
#: The longest message that is accepted, in bytes.
_LONGEST = 8192
#: The longest number, in bytes: 2^31 - 1 (RFC 4511, 4.1.1).
_LONGEST_NUMBER = 4

_SUCCESS, _PROTOCOL_ERROR = 0, 2


def _element(tag: int, content: bytes) -> bytes:
    """Return an element whose content has less than 128 bytes."""
    return bytes([tag, len(content)]) + content


def _request() -> bytes:
    """Return the extended request for StartTLS (RFC 4511, 4.14.1)."""
    name = _element(_REQUEST_NAME, _START_TLS)
    return _element(
        _SEQUENCE, _element(_INTEGER, bytes([_ID])) + _element(_EXTENDED_REQUEST, name)
    )


def _message() -> Generator[Step, bytes, bytes]:
    """Wait for a message with a definite length, and return its content."""
    head = yield Bytes(2)
    if head[0] != _SEQUENCE or head[1] == 0x80:
        raise BadReply("the server does not speak LDAP", head)
    length = head[1]
    if length > 0x80:
        if length > 0x84:
            raise BadReply("the server announced a message that is too long", head)
        length = int.from_bytes((yield Bytes(length & 0x7F)), "big")
    if not 0 < length <= _LONGEST:
        raise BadReply("the server announced a message that is too long", head)
    return (yield Bytes(length))


def _split(content: bytes) -> list[tuple[int, bytes]]:
    """Return the tags and contents of the elements in an element."""
    elements: list[tuple[int, bytes]] = []
    rest = content
    while rest:
        if len(rest) < 2 or rest[1] == 0x80:
            raise BadReply("the server sent broken BER", content)
        start, length = 2, rest[1]
        if length > 0x80:
            start += length & 0x7F
            length = int.from_bytes(rest[2:start], "big")
        if len(rest) < start + length:
            raise BadReply("the server sent broken BER", content)
        elements.append((rest[0], rest[start : start + length]))
        rest = rest[start + length :]
    return elements


@dataclass(frozen=True)
class Response:
    """
    An extended response (RFC 4511, 4.12).

    :ivar number: the message ID of the request; 0 in a notification.
    :ivar result: the result code, 0 for success.
    :ivar text: the diagnostic message.
    :ivar name: the response name; empty if there is none.
    """

    number: int
    result: int
    text: bytes
    name: bytes

    @property
    def is_unsolicited(self) -> bool:
        """
        Whether it is an unsolicited notification (RFC 4511, 4.4) that is skipped.

        The notice of disconnection is not skipped, nor is a notification without a name
        or with the name of StartTLS.
        """
        decisive = (b"", _START_TLS, _DISCONNECTION)
        return self.number == 0 and self.name not in decisive

    @classmethod
    def decode(cls, message: bytes) -> Response:
        """
        Return the response in a message.

        :param message: the content of an LDAPMessage.
        :raises BadReply: if it holds no extended response.
        """
        parts = _split(message)
        if [tag for tag, _ in parts[:2]] != [_INTEGER, _EXTENDED_RESPONSE]:
            raise BadReply("the server sent what was not asked for", message)
        fields = _split(parts[1][1])
        if [tag for tag, _ in fields[:3]] != [_ENUMERATED, _OCTETS, _OCTETS]:
            raise BadReply("the server sent what was not asked for", message)
        number, result = parts[0][1], fields[0][1]
        if not all(0 < len(each) <= _LONGEST_NUMBER for each in (number, result)):
            raise BadReply("the server sent broken BER", message)
        return cls(
            number=int.from_bytes(number, "big"),
            result=int.from_bytes(result, "big"),
            text=fields[2][1],
            name=dict(fields[3:]).get(_RESPONSE_NAME, b""),
        )


def dialogue(parameters: Parameters) -> Dialogue:
    """Hold the dialogue: request, response; unsolicited notifications are skipped."""
    yield Send(_request())
    response = Response.decode(message := (yield from _message()))
    while response.is_unsolicited:
        response = Response.decode(message := (yield from _message()))
    if response.name == _DISCONNECTION:
        raise Refused("the server ends the connection", response.text)
    if response.number != _ID or response.name not in (b"", _START_TLS):
        raise BadReply("the server sent what was not asked for", message)
    if response.result == _PROTOCOL_ERROR:
        # The result of a server that does not know the request (RFC 4511, 4.12).
        raise NotOffered("the server does not know StartTLS", response.text)
    if response.result != _SUCCESS:
        reason = f"the server refused StartTLS with result code {response.result}"
        raise Refused(reason, response.text)


DIALECTS = (Dialect("ldap", 389, "RFC 4511", dialogue),)

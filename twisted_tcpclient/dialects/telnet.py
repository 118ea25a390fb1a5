"""
START_TLS in telnet: draft-altman-telnet-starttls, with RFC 854 and RFC 855.
"""

from __future__ import annotations

import re
from collections.abc import Generator

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

_SE, _SB, _WILL, _WONT, _DO, _DONT, _IAC = 240, 250, 251, 252, 253, 254, 255
#: Commands that have no option, from EOF to GA (RFC 854, RFC 885, RFC 1184).
_ALONE = frozenset(range(236, 250)) - {_SE}
_START_TLS = 46
_FOLLOWS = bytes([_IAC, _SB, _START_TLS, 1, _IAC, _SE])

#: The longest subnegotiation that is accepted, in bytes.
_LONGEST = 512
#: The most commands about other options that are skipped.
_MOST = 256

#: Data that a server may send until it has read WILL: text, commands, and
#: subnegotiations about options other than START_TLS, the last one perhaps incomplete.
_UNASKED = re.compile(
    rb"""
    (?: [^\xff]
      | \xff [\xec-\xef\xf1-\xf9\xff]
      | \xff [\xfb-\xfe] .
      | \xff\xfa (?!\x2e) (?: [^\xff] | \xff\xff )* \xff\xf0
    )*
    (?: \xff [\xfb-\xfe]?
      | \xff\xfa (?!\x2e) (?: [^\xff] | \xff\xff )* \xff?
    )?
    """,
    re.VERBOSE | re.DOTALL,
)


def _subnegotiation() -> Generator[Step, bytes, bytes]:
    """Wait for the end of a subnegotiation (RFC 855), and return its content."""
    content = b""
    while len(content) < _LONGEST:
        byte = yield Bytes(1)
        if byte[0] == _IAC:
            byte = yield Bytes(1)
            if byte[0] == _SE:
                return content
            if byte[0] != _IAC:
                break
        content += byte
    raise BadReply("the server does not speak telnet", content)


def _next_command(is_text_allowed: bool) -> Generator[Step, bytes, bytes]:
    """
    Wait for a command, and return it with its option or with its subnegotiation.

    :param is_text_allowed: whether text before the command is skipped.
    :raises NotOffered: if text comes that is not allowed.
    """
    while True:
        byte = yield Bytes(1)
        if byte[0] == _IAC:
            byte = yield Bytes(1)
            if byte[0] != _IAC:
                break
        if not is_text_allowed:
            raise NotOffered("the server speaks before TLS", byte)
    if byte[0] in (_WILL, _WONT, _DO, _DONT):
        return byte + (yield Bytes(1))
    if byte[0] == _SB:
        return byte + (yield from _subnegotiation())
    if byte[0] in _ALONE:
        return byte
    raise BadReply("the server does not speak telnet", bytes([_IAC]) + byte)


def _wait_for(wanted: bytes, is_text_allowed: bool) -> Generator[Step, bytes, None]:
    """
    Wait for a command about START_TLS.

    Commands about other options are skipped without an answer, as both sides have to
    forget all options when TLS begins.

    :param wanted: the command.
    :param is_text_allowed: whether text before the command is skipped.
    """
    for _ in range(_MOST):
        command = yield from _next_command(is_text_allowed)
        if command == wanted:
            return
        if command == bytes([_DONT, _START_TLS]):
            raise Refused("the server refused START_TLS", command)
        if command[1:2] == bytes([_START_TLS]):
            raise BadReply("the server sent what was not asked for", command)
    raise BadReply("the server speaks without end before TLS")


def dialogue(parameters: Parameters) -> Dialogue:
    """
    Hold the dialogue: DO START_TLS, WILL START_TLS, and FOLLOWS from both sides.

    A server that sends text, such as a prompt, before DO does not offer TLS.  After
    DO, it may send text until it has read WILL.
    """
    yield from _wait_for(bytes([_DO, _START_TLS]), is_text_allowed=False)
    yield Send(bytes([_IAC, _WILL, _START_TLS]) + _FOLLOWS, _UNASKED)
    yield from _wait_for(_FOLLOWS[1:4], is_text_allowed=True)


# No greeting: the text of the server comes after TLS.
DIALECTS = (Dialect("telnet", 23, "draft-altman-telnet-starttls", dialogue),)

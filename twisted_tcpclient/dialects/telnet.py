"""
START_TLS in telnet: draft-altman-telnet-starttls, over RFC 854 and RFC 855.
"""

from __future__ import annotations

from collections.abc import Generator

from twisted_tcpclient.dialects import (
    Bytes,
    Dialect,
    Dialogue,
    Parameters,
    Send,
    Step,
)
from twisted_tcpclient.errors import BadReply, NotOffered, Refused

_SE, _NOP, _SB, _WILL, _WONT, _DO, _DONT, _IAC = (
    240,
    241,
    250,
    251,
    252,
    253,
    254,
    255,
)
_START_TLS = 46
_FOLLOWS = bytes([_IAC, _SB, _START_TLS, 1, _IAC, _SE])

#: The longest subnegotiation to wait for.
_LONGEST = 512
#: How many commands about other options to pass over.
_MOST = 256


def _subnegotiation() -> Generator[Step, bytes, bytes]:
    """Wait for the end of a subnegotiation (RFC 855), and return what is in it."""
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


def _command() -> Generator[Step, bytes, bytes]:
    """
    Wait for a command with its option, or with what is in its subnegotiation.

    Anything else is text: whoever sends that in clear does not mean to start TLS.
    """
    byte = yield Bytes(1)
    if byte[0] != _IAC:
        raise NotOffered("the server speaks before TLS", byte)
    command = yield Bytes(1)
    if command[0] in (_WILL, _WONT, _DO, _DONT):
        return command + (yield Bytes(1))
    if command[0] == _SB:
        return command + (yield from _subnegotiation())
    if command[0] == _NOP:
        return command
    raise BadReply("the server does not speak telnet", byte + command)


def _wait_for(wanted: bytes) -> Generator[Step, bytes, None]:
    """
    Wait for a command about START_TLS.

    All other options are passed over without an answer: what they lead to
    would have to be forgotten as soon as TLS is there.
    """
    for _ in range(_MOST):
        command = yield from _command()
        if command == wanted:
            return
        if command == bytes([_DONT, _START_TLS]):
            raise Refused("the server refused START_TLS", command)
        if command[1:2] == bytes([_START_TLS]):
            raise BadReply("the server sent what was not asked for", command)
    raise BadReply("the server speaks without end before TLS")


def dialogue(parameters: Parameters) -> Dialogue:
    """DO START_TLS, WILL START_TLS, and FOLLOWS from both."""
    yield from _wait_for(bytes([_DO, _START_TLS]))
    yield Send(bytes([_IAC, _WILL, _START_TLS]) + _FOLLOWS)
    yield from _wait_for(_FOLLOWS[1:4])


# Where a server has something to say, it says it after TLS.
DIALECTS = (Dialect("telnet", 23, "draft-altman-telnet-starttls", dialogue),)

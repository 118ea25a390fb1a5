"""
STARTTLS in NNTP: RFC 4642, 2, updated by RFC 8143; the replies of RFC 3977, 3.2.
"""

from __future__ import annotations

from collections.abc import Generator

from twisted_tcpclient.dialects import Dialect, Parameters
from twisted_tcpclient.dialects.replies import Reply, host_word, refusal, split_code
from twisted_tcpclient.dialogue import (
    LINE,
    BadReply,
    Dialogue,
    NotOffered,
    Refused,
    Send,
    Step,
)

#: Posting allowed, posting prohibited (RFC 3977, 5.1.1).
_WELCOMES = (200, 201)
#: The service is temporarily unavailable (RFC 3977, 5.1.1).  Other codes that
#: begin with 4 are not temporary in NNTP (RFC 3977, 3.2).
_UNAVAILABLE = 400
#: The command needs another mode (RFC 3977, 3.2.1).
_WRONG_MODE = 401


def _refusal(what: str, answer: Reply) -> str:
    """Return the message for a refusal; in NNTP only code 400 is temporary."""
    return refusal(what, answer.code == _UNAVAILABLE)


def reply() -> Generator[Step, bytes, Reply]:
    """Wait for the first line of a reply; a list of capabilities may follow it."""
    line = yield LINE
    code, separator, text = split_code(line, "NNTP")
    if separator == b"-":
        raise BadReply("the server does not speak NNTP", line)
    return Reply(code, (text,))


def capabilities() -> Generator[Step, bytes, list[bytes] | None]:
    """
    Ask for the capabilities (RFC 3977, 5.2), and wait for the list.

    :returns: the names in upper case; None if the server does not know the command.
        Servers older than RFC 3977 do not, and may still know STARTTLS.
    """
    yield Send(b"CAPABILITIES\r\n")
    if (yield from reply()).code != 101:
        return None
    names: list[bytes] = []
    while (line := (yield LINE)) != b".":
        names.append(line.strip().upper())
    return names


def mode_reader() -> Generator[Step, bytes, None]:
    """
    Ask for the mode in which the server serves readers (RFC 3977, 5.3).

    :raises Refused: if the server does not switch to it.
    """
    yield Send(b"MODE READER\r\n")
    answer = yield from reply()
    if answer.code not in _WELCOMES:
        raise Refused(_refusal("MODE READER", answer), answer.text)


def start_tls(
    names: list[bytes] | None, switched: bool
) -> Generator[Step, bytes, bool]:
    """
    Ask for TLS, unless the capabilities show that the server does not offer it.

    :param names: the capabilities; None if the server does not list them.
    :param switched: whether MODE READER has been sent.
    :returns: whether the server has agreed; if not, MODE READER may help.
    """
    if names is not None and b"STARTTLS" not in names:
        if b"MODE-READER" in names and not switched:
            return False
        raise NotOffered("the server does not offer STARTTLS")
    yield Send(b"STARTTLS\r\n")
    answer = yield from reply()
    if answer.code == _WRONG_MODE and not switched:
        return False
    if answer.code != 382:
        raise Refused(_refusal("STARTTLS", answer), answer.text)
    return True


def dialogue(parameters: Parameters) -> Dialogue:
    """
    Hold the dialogue: greeting, CAPABILITIES, STARTTLS.

    If the server needs MODE READER, CAPABILITIES and STARTTLS are repeated after it.
    """
    welcome = yield from reply()
    if welcome.code not in _WELCOMES:
        raise Refused(_refusal("the connection", welcome), welcome.text)
    names = yield from capabilities()
    if not (yield from start_tls(names, switched=False)):
        yield from mode_reader()
        names = yield from capabilities()
        yield from start_tls(names, switched=True)


def greeting(host: str) -> bytes:
    """Return the greeting for which a client waits (RFC 3977, 5.1)."""
    return b"200 %s\r\n" % host_word(host)


DIALECTS = (Dialect("nntp", 119, "RFC 4642", dialogue, greeting),)

"""
AUTH TLS in FTP: RFC 4217, 4; the replies are those of RFC 959, 4.2.
"""

from __future__ import annotations

from collections.abc import Generator

from twisted_tcpclient.dialects import Dialect, Parameters
from twisted_tcpclient.dialects.replies import Reply, host_word, refusal, split_code
from twisted_tcpclient.dialogue import LINE, Dialogue, NotOffered, Refused, Send, Step

#: Replies of a server that does not know AUTH, or not AUTH TLS (RFC 2228, 3).
_UNKNOWN = (500, 502, 504)


def reply() -> Generator[Step, bytes, Reply]:
    """
    Wait for a whole reply (RFC 959, 4.2).

    The last line has the code of the first, and a space or nothing behind it; any
    lines may come between them.
    """
    code, separator, text = split_code((yield LINE), "FTP")
    lines = [text]
    if separator == b"-":
        last = b"%03d" % code
        while (line := (yield LINE))[:4].rstrip() != last:
            lines.append(line)
        lines.append(line[4:])
    return Reply(code, tuple(lines))


def dialogue(parameters: Parameters) -> Dialogue:
    """
    Hold the dialogue: greeting, AUTH TLS.

    FEAT is not sent, as servers list AUTH there in different ways.
    """
    welcome = yield from reply()
    if welcome.code == 120:
        # 120 announces a delay; 220 follows it (RFC 959, 5.4).
        welcome = yield from reply()
    if welcome.code != 220:
        message = refusal("the connection", welcome.temporary)
        raise Refused(message, welcome.text)
    yield Send(b"AUTH TLS\r\n")
    answer = yield from reply()
    if answer.code in _UNKNOWN:
        raise NotOffered("the server does not know AUTH TLS", answer.text)
    if answer.code != 234:
        raise Refused(refusal("AUTH TLS", answer.temporary), answer.text)


def greeting(host: str) -> bytes:
    """Return the reply for which a client waits before USER (RFC 959, 5.4)."""
    return b"220 %s\r\n" % host_word(host)


DIALECTS = (Dialect("ftp", 21, "RFC 4217", dialogue, greeting),)

"""
AUTH TLS in FTP: RFC 4217, 4, over the replies of RFC 959, 4.2.
"""

from __future__ import annotations

from collections.abc import Generator

from twisted_tcpclient.dialects import Dialect, Parameters
from twisted_tcpclient.dialects.replies import Reply, named, parse, refused
from twisted_tcpclient.dialogue import LINE, Dialogue, NotOffered, Refused, Send, Step

#: Codes by which a server says that it does not know AUTH, or not AUTH TLS.
_UNKNOWN = (500, 502, 504)


def reply() -> Generator[Step, bytes, Reply]:
    """
    Wait for a whole reply: any lines may come before the last one, which has
    the code of the first, and a space or nothing (RFC 959, 4.2).
    """
    code, separator, text = parse((yield LINE), "FTP")
    lines = [text]
    if separator == b"-":
        last = b"%03d" % code
        while (line := (yield LINE))[:4].rstrip() != last:
            lines.append(line)
        lines.append(line[4:])
    return Reply(code, tuple(lines))


def dialogue(parameters: Parameters) -> Dialogue:
    """
    Greeting, AUTH TLS.

    FEAT is not asked: what servers say there of AUTH differs too much.
    """
    welcome = yield from reply()
    if welcome.code == 120:
        # Not ready yet; the greeting proper comes later (RFC 959, 5.4).
        welcome = yield from reply()
    if welcome.code != 220:
        message = refused("the connection", welcome.temporary)
        raise Refused(message, welcome.text)
    yield Send(b"AUTH TLS\r\n")
    answer = yield from reply()
    if answer.code in _UNKNOWN:
        raise NotOffered("the server does not know AUTH TLS", answer.text)
    if answer.code != 234:
        raise Refused(refused("AUTH TLS", answer.temporary), answer.text)


def greeting(host: str) -> bytes:
    """What a client waits for before USER (RFC 959, 5.4)."""
    return b"220 %s\r\n" % named(host)


DIALECTS = (Dialect("ftp", 21, "RFC 4217", dialogue, greeting),)

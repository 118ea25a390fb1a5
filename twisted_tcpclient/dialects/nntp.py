"""
STARTTLS in NNTP: RFC 4642, 2, updated by RFC 8143; replies of RFC 3977, 3.2.
"""

from __future__ import annotations

from collections.abc import Generator

from twisted_tcpclient.dialects import LINE, Dialect, Dialogue, Parameters, Send, Step
from twisted_tcpclient.dialects.replies import Reply, named, parse
from twisted_tcpclient.errors import BadReply, NotOffered, Refused


def reply() -> Generator[Step, bytes, Reply]:
    """Wait for the line that begins a reply; none of ours has a second one."""
    line = yield LINE
    code, separator, text = parse(line, "NNTP")
    if separator == b"-":
        raise BadReply("the server does not speak NNTP", line)
    return Reply(code, (text,))


def capabilities() -> Generator[Step, bytes, list[bytes]]:
    """Wait for a list that ends with a lone dot (RFC 3977, 3.1.1)."""
    names: list[bytes] = []
    while (line := (yield LINE)) != b".":
        names.append(line.strip().upper())
    return names


def dialogue(parameters: Parameters) -> Dialogue:
    """Greeting, CAPABILITIES, STARTTLS."""
    welcome = yield from reply()
    if welcome.code not in (200, 201):
        raise Refused("the server refused the connection", welcome.text)
    yield Send(b"CAPABILITIES\r\n")
    # A server of before RFC 3977 may still know STARTTLS.
    listed = (yield from reply()).code == 101
    if listed and b"STARTTLS" not in (yield from capabilities()):
        raise NotOffered("the server does not offer STARTTLS")
    yield Send(b"STARTTLS\r\n")
    answer = yield from reply()
    if answer.code != 382:
        raise Refused("the server refused STARTTLS", answer.text)


def greeting(host: str) -> bytes:
    """What a client waits for (RFC 3977, 5.1)."""
    return b"200 %s\r\n" % named(host)


DIALECTS = (Dialect("nntp", 119, "RFC 4642", dialogue, greeting),)

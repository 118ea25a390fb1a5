"""
STARTTLS in SMTP: RFC 3207.
"""

from __future__ import annotations

from twisted_tcpclient.dialects import Dialect, Parameters
from twisted_tcpclient.dialects.replies import host_word, refusal, reply
from twisted_tcpclient.dialogue import Dialogue, NotOffered, Refused, Send


def negotiate(protocol: str, hello: bytes, parameters: Parameters) -> Dialogue:
    """
    Hold the dialogue: greeting, EHLO, STARTTLS.

    :param protocol: SMTP or LMTP, for messages.
    :param hello: EHLO or LHLO, to which the server answers with its extensions.
    :param parameters: the parameters of the dialogue.
    """
    greeting = yield from reply(protocol)
    if greeting.code != 220:
        message = refusal("the connection", greeting.temporary)
        raise Refused(message, greeting.text)
    yield Send(b"%s %s\r\n" % (hello, parameters.client))
    offer = yield from reply(protocol)
    if offer.code != 250:
        message = refusal(hello.decode("ascii"), offer.temporary)
        raise NotOffered(message, offer.text)
    if not any(line.strip().upper() == b"STARTTLS" for line in offer.lines[1:]):
        raise NotOffered("the server does not offer STARTTLS")
    yield Send(b"STARTTLS\r\n")
    answer = yield from reply(protocol)
    if answer.code != 220:
        raise Refused(refusal("STARTTLS", answer.temporary), answer.text)


def dialogue(parameters: Parameters) -> Dialogue:
    """Hold the dialogue: greeting, EHLO, STARTTLS."""
    return negotiate("SMTP", b"EHLO", parameters)


def greeting(host: str) -> bytes:
    """Return the reply for which a client waits before EHLO (RFC 5321, 4.2)."""
    return b"220 %s ESMTP\r\n" % host_word(host)


DIALECTS = (Dialect("smtp", 25, "RFC 3207", dialogue, greeting),)

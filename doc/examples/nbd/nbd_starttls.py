"""STARTTLS for network block devices (NBD, doc/proto.md)."""

from struct import pack, unpack

from twisted_tcpclient.dialects import Bytes, Dialect, Dialogue, Parameters, Send
from twisted_tcpclient.errors import BadReply, NotOffered, Refused


def dialogue(parameters: Parameters) -> Dialogue:
    """Read the greeting, send STARTTLS, check the reply."""
    greeting = yield Bytes(18)
    if not greeting.startswith(b"NBDMAGICIHAVEOPT"):
        raise BadReply("the server does not speak NBD", greeting)
    if not greeting[17] & 1:
        raise NotOffered("the server is too old for STARTTLS")
    yield Send(pack(">I8sII", 1, b"IHAVEOPT", 5, 0))
    magic, option, kind, length = unpack(">QIII", (yield Bytes(20)))
    if (magic, option) != (0x3E889045565A9, 5):
        raise BadReply("the server does not answer to STARTTLS")
    text = (yield Bytes(length)) if length else b""
    if kind != 1:
        raise Refused("the server refused STARTTLS", text)


DIALECTS = (Dialect("nbd", 10809, "NBD", dialogue),)

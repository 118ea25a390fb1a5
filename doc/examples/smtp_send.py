"""
Send a message by SMTP, over any endpoint of Twisted.

    python smtp_send.py starttls:smtp:mx.example.org:greeting=yes FROM TO <message

Twisted's ESMTPClient waits for a greeting.  The server's came before STARTTLS and is
dropped; with ``greeting=yes`` the client receives one that the dialect makes up.  The
client needs no TLS context, as the endpoint does TLS.
"""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory
from twisted.internet.task import react
from twisted.mail.smtp import DNSNAME, ESMTPClient


class Sender(ESMTPClient):
    """
    An SMTP client that sends one message.

    ``sent`` fires with the number of recipients that the server has accepted.
    """

    def __init__(self, sender, recipient, message):
        super().__init__(secret=None, identity=DNSNAME)
        self.sent = Deferred()
        self._senders = [sender]
        self._recipient = recipient
        self._message = message

    def getMailFrom(self):
        """Return the sender once, then None, after which the client sends QUIT."""
        return self._senders.pop() if self._senders else None

    def getMailTo(self):
        """Return the recipients."""
        return [self._recipient]

    def getMailData(self):
        """Return the message as a file."""
        return self._message

    def sentMail(self, code, response, accepted, addresses, log):
        """Print the reply for each recipient, and fire ``sent``."""
        for address, status, text in addresses:
            print(address, status, text.decode(errors="replace"))
        self.sent.callback(accepted)

    def sendError(self, error):
        """Fail ``sent`` if the message was not sent."""
        super().sendError(error)
        if not self.sent.called:
            self.sent.errback(error)

    def connectionLost(self, reason):
        """Fail ``sent`` if the connection is lost before."""
        super().connectionLost(reason)
        if not self.sent.called:
            self.sent.errback(reason)


async def main(reactor, endpoint, sender, recipient):
    """Connect, send, and exit with an error if no recipient was accepted."""
    client = await clientFromString(reactor, endpoint).connect(
        Factory.forProtocol(lambda: Sender(sender, recipient, sys.stdin.buffer))
    )
    if not await client.sent:
        raise SystemExit(f"{recipient}: not accepted")


if __name__ == "__main__":
    react(lambda *args: Deferred.fromCoroutine(main(*args)), sys.argv[1:])

"""
Send a message by SMTP, over any endpoint of Twisted's.

    python smtp_send.py starttls:smtp:mx.example.org:greeting=yes FROM TO <message

Twisted's ESMTPClient waits for the greeting that STARTTLS has consumed in clear;
with ``greeting=yes`` it gets one that was made up inside TLS.  It need not know
of TLS itself: there is no context to give it, and nothing it could forget.
"""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory
from twisted.internet.task import react
from twisted.mail.smtp import DNSNAME, ESMTPClient


class Sender(ESMTPClient):
    """Sends one message, and tells whether the server took it."""

    def __init__(self, sender, recipient, message):
        super().__init__(secret=None, identity=DNSNAME)
        self.sent = Deferred()
        self._senders = [sender]
        self._recipient = recipient
        self._message = message

    def getMailFrom(self):
        """The next sender; None when all is done, which says QUIT."""
        return self._senders.pop() if self._senders else None

    def getMailTo(self):
        """To whom it goes."""
        return [self._recipient]

    def getMailData(self):
        """The message as a file."""
        return self._message

    def sentMail(self, code, response, accepted, addresses, log):
        """The server has answered."""
        for address, status, text in addresses:
            print(address, status, text.decode(errors="replace"))
        self.sent.callback(accepted)

    def sendError(self, error):
        """It did not come to that."""
        super().sendError(error)
        if not self.sent.called:
            self.sent.errback(error)

    def connectionLost(self, reason):
        """Tell whoever still waits."""
        super().connectionLost(reason)
        if not self.sent.called:
            self.sent.errback(reason)


async def main(reactor, endpoint, sender, recipient):
    """Connect, send, and say whether it was accepted."""
    client = await clientFromString(reactor, endpoint).connect(
        Factory.forProtocol(lambda: Sender(sender, recipient, sys.stdin.buffer))
    )
    if not await client.sent:
        raise SystemExit(f"{recipient}: not accepted")


if __name__ == "__main__":
    react(lambda *args: Deferred.fromCoroutine(main(*args)), sys.argv[1:])

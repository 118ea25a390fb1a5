"""
List the mailboxes of an IMAP account, over any endpoint of Twisted's.

    python imap_mailboxes.py starttls:imap:imap.example.org:greeting=yes USER

The password is asked for, or is the first line of what is piped in.

Twisted's IMAP4Client waits for the greeting that STARTTLS has consumed in clear;
with ``greeting=yes`` it gets one that was made up inside TLS.
"""

import sys
from getpass import getpass

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory
from twisted.internet.task import react
from twisted.mail.imap4 import IMAP4Client


class Client(IMAP4Client):
    """Tells when the server has greeted."""

    def __init__(self):
        super().__init__()
        self.greeted = Deferred()

    def serverGreeting(self, capabilities):
        """Ready."""
        self.greeted.callback(self)

    def connectionLost(self, reason):
        """Tell whoever still waits."""
        super().connectionLost(reason)
        if not self.greeted.called:
            self.greeted.errback(reason)


async def main(reactor, endpoint, user):
    """Log in, list, log out."""
    password = getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    connecting = clientFromString(reactor, endpoint)
    client = await connecting.connect(Factory.forProtocol(Client))
    await client.greeted
    await client.login(user.encode(), password.encode())
    for _flags, _delimiter, name in await client.list("", "*"):
        print(name)
    await client.logout()


if __name__ == "__main__":
    react(lambda *args: Deferred.fromCoroutine(main(*args)), sys.argv[1:])

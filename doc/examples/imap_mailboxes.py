"""
List the mailboxes of an IMAP account, over any endpoint of Twisted.

    python imap_mailboxes.py starttls:imap:imap.example.org:greeting=yes USER

The password is asked for on a terminal, or is the first line of standard input.

Twisted's IMAP4Client waits for a greeting.  The server's came before STARTTLS and is
dropped; with ``greeting=yes`` the client receives one that the dialect makes up.
"""

import sys
from getpass import getpass

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory
from twisted.internet.task import react
from twisted.mail.imap4 import IMAP4Client


class Client(IMAP4Client):
    """An IMAP client whose ``greeted`` fires when the greeting has come."""

    def __init__(self):
        super().__init__()
        self.greeted = Deferred()

    def serverGreeting(self, capabilities):
        """Fire ``greeted``."""
        self.greeted.callback(self)

    def connectionLost(self, reason):
        """Fail ``greeted`` if no greeting has come."""
        super().connectionLost(reason)
        if not self.greeted.called:
            self.greeted.errback(reason)


async def main(reactor, endpoint, user):
    """Log in, print the mailboxes, log out."""
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

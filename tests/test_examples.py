"""The programs of ``doc/examples``, run with real servers."""

from __future__ import annotations

import sys
import uuid

from twisted.internet.endpoints import quoteStringArgument
from twisted.trial.unittest import SynchronousTestCase

from tests import servers
from tests.certificates import shared
from tests.programs import ROOT, Outcome, run

EXAMPLES = ROOT / "doc" / "examples"


def trusted(description: str) -> str:
    """Return an endpoint string with the authority of the tests as its trust root."""
    return f"{description}:trustRoots={quoteStringArgument(str(shared().ca))}"


class MailTests(SynchronousTestCase):
    """Twisted's mail clients over endpoint strings."""

    def example(self, name: str, *arguments: str, stdin: bytes) -> Outcome:
        """Run an example program, and return its outcome."""
        return run(sys.executable, EXAMPLES / name, *arguments, stdin=stdin)

    def test_mailboxes(self) -> None:
        """
        imap_mailboxes.py prints the mailboxes of an account at Dovecot, over STARTTLS.
        """
        dovecot = servers.dovecot()
        outcome = self.example(
            "imap_mailboxes.py",
            trusted(f"starttls:imap:localhost:{dovecot.imap}:greeting=yes"),
            dovecot.user,
            stdin=f"{dovecot.password}\n".encode("ascii"),
        )
        self.assertEqual((outcome.status, outcome.err), (0, b""))
        self.assertIn("INBOX", outcome.out.decode("ascii").splitlines())

    def test_wrong_password(self) -> None:
        """imap_mailboxes.py fails with the reason if the password is wrong."""
        dovecot = servers.dovecot()
        outcome = self.example(
            "imap_mailboxes.py",
            trusted(f"starttls:imap:localhost:{dovecot.imap}:greeting=yes"),
            dovecot.user,
            stdin=b"wrong\n",
        )
        self.assertEqual((outcome.status, outcome.out), (1, b""))
        self.assertIn(b"Authentication failed", outcome.err)

    def test_send(self) -> None:
        """smtp_send.py delivers a message to Postfix over TLS."""
        postfix = servers.postfix()
        subject = uuid.uuid4().hex
        outcome = self.example(
            "smtp_send.py",
            trusted(f"starttls:smtp:localhost:{postfix.smtp}:greeting=yes"),
            "sender@example.test",
            "user@example.test",
            stdin=f"Subject: {subject}\n\nHello.\n.\nStill there.\n".encode("ascii"),
        )
        self.assertEqual((outcome.status, outcome.err), (0, b""))
        message = postfix.message(subject)
        self.assertIn("Hello.\n.\nStill there.\n", message)
        self.assertIn("TLS", message)

    def test_not_accepted(self) -> None:
        """
        smtp_send.py prints the server's reply and fails if the recipient is refused.
        """
        postfix = servers.postfix()
        outcome = self.example(
            "smtp_send.py",
            trusted(f"starttls:smtp:localhost:{postfix.smtp}:greeting=yes"),
            "sender@example.test",
            "user@elsewhere.test",
            stdin=b"Subject: none\n\nHello.\n",
        )
        self.assertEqual(outcome.status, 1)
        self.assertRegex(
            outcome.out, rb"user@elsewhere\.test.* 554 .*Relay access denied"
        )
        self.assertEqual(outcome.err, b"user@elsewhere.test: not accepted\n")

    def test_not_trusted(self) -> None:
        """
        smtp_send.py fails if the server's certificate is from an unknown authority.
        """
        outcome = self.example(
            "smtp_send.py",
            f"starttls:smtp:localhost:{servers.postfix().smtp}:greeting=yes",
            "sender@example.test",
            "user@example.test",
            stdin=b"Subject: none\n\nHello.\n",
        )
        self.assertEqual(outcome.status, 1)
        self.assertIn(b"VerificationFailed", outcome.err)

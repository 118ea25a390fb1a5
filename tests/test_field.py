"""
Servers of the field: each says all that it has to say, and the status tells whether the
session was whole.

What is piped to the command ends at once, as that of ``printf '...' |`` does.
"""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from tests import dialogues, servers, services
from tests.command import Outcome, run, shell
from tests.dialogues import Dialogue, converse, recite
from tests.services import Service, side_by_side

#: More than the buffers between the command and the server hold.
LARGE = 3_000_000

IGNORE = "--ignore-unexpected-eof"


def tolerant(service: Service) -> tuple[str, ...]:
    """Return the arguments with which a server's own way to end is an orderly end."""
    return (*(() if service.tells_end else (IGNORE,)), *service.arguments())


class SessionTests(SynchronousTestCase):
    """Whole sessions with each server."""

    def check(self, dialogue: Dialogue, outcome: Outcome) -> None:
        """All that the server had to say has come, and the session was whole."""
        self.assertTrue(dialogue.is_answered_by(outcome.out), outcome)
        self.assertEqual((outcome.status, outcome.err), (0, ""))

    def check_piped(self, service: Service, dialogue: Dialogue) -> None:
        """Have a dialogue from a pipe: in one piece where the server allows it."""
        if service.pipelines:
            dialogue = dialogue.without_prompts()
        self.check(dialogue, converse(tolerant(service), dialogue.pieces))

    def test_small_file(self) -> None:
        """A file of a few bytes gets its whole answer."""

        def check(service: Service) -> None:
            dialogue = service.upload(100)
            self.check(dialogue, recite(tolerant(service), dialogue.data))

        found = [service for service in services.ALL if service.pipelines]
        side_by_side(check, found)

    def test_large_pipe(self) -> None:
        """So does a pipe of 3 MB."""

        def check(service: Service) -> None:
            self.check_piped(service, service.upload(LARGE))

        side_by_side(check, services.ALL)

    def test_slow_answer(self) -> None:
        """An answer that takes some seconds is waited for."""

        def check(service: Service) -> None:
            self.check_piped(service, dialogues.get(100_000, wait=2))

        side_by_side(check, services.WEB, workers=9)

    def test_slower_answer(self) -> None:
        """So is one that takes longer than a server that has spoken may be quiet."""

        def check(service: Service) -> None:
            self.check_piped(service, dialogues.post(100_000, wait=7))

        side_by_side(check, services.WEB, workers=9)

    def test_slow_farewell(self) -> None:
        """So is the answer to QUIT, after other answers have come."""

        def check(service: Service) -> None:
            greeting = not service.secure
            dialogue = dialogues.mail(LARGE, name="slow2", greeting=greeting)
            self.check_piped(service, dialogue)

        # aiosmtpd alone, and behind nginx.
        names = ("aiosmtpd", "aiosmtpd, STARTTLS", "nginx, SMTP")
        side_by_side(check, [each for each in services.MAIL if each.name in names])

    def test_server_stays(self) -> None:
        """A server that waits for more is told that there is none."""

        def check(service: Service) -> None:
            self.check_piped(service, dialogues.post(100, close=False))

        # nginx ends a connection that it has kept for the next request by FIN alone.
        found = [
            replace(each, tells_end=each.name != "nginx, TLS") for each in services.WEB
        ]
        side_by_side(check, found, workers=9)


class NoCloseNotifyTests(SynchronousTestCase):
    """Servers that end TLS with FIN alone."""

    def test_strict(self) -> None:
        """The whole answer comes, and the error names the option that allows it."""

        def check(service: Service) -> None:
            dialogue = service.upload(100)
            outcome = converse(service.arguments(), dialogue.pieces)
            self.assertTrue(dialogue.is_answered_by(outcome.out), outcome)
            self.assertEqual(outcome.status, 111)
            self.assertIn(IGNORE, outcome.complaint())

        found = [service for service in services.ALL if not service.tells_end]
        self.assertEqual(len(found), 3)
        side_by_side(check, found)

    def test_exim(self) -> None:
        """What Exim says in clear after close_notify is not judged."""
        (exim,) = (each for each in services.MAIL if each.name == "Exim")
        outcome = run(*exim.arguments(), "true")
        self.assertEqual((outcome.status, outcome.err), (0, ""))


class RefusedUploadTests(SynchronousTestCase):
    """Servers that refuse an upload from a pipe with a busy writer."""

    def upload(self, service: Service) -> Outcome:
        """Send 200 MB in the way that people do; the server takes less."""
        size = 200_000_000
        head = "POST / HTTP/1.1\\r\\nHost: localhost\\r\\n"
        arguments = " ".join(service.arguments())
        outcome = shell(
            f"(printf '{head}Content-Length: {size}\\r\\n\\r\\n';"
            f" head -c {size} /dev/zero) | tcpclient {arguments}"
        )
        self.assertIn(b" 413 ", outcome.out)
        return outcome

    def test_refused(self) -> None:
        """Lighttpd closes before it has read all: the session was not whole."""

        def check(service: Service) -> None:
            outcome = self.upload(service)
            self.assertEqual(outcome.status, 111)
            outcome.complaint()

        found = (services.LIGHTTPD, services.LIGHTTPD_TLS)
        side_by_side(check, found)

    def test_read(self) -> None:
        """Nginx reads all that it refuses: it has said so, and that is all."""

        def check(service: Service) -> None:
            outcome = self.upload(service)
            self.assertEqual((outcome.status, outcome.err), (0, ""))

        found = [each for each in services.WEB if "nginx" in each.name]
        side_by_side(check, found)


class FixtureTests(SynchronousTestCase):
    """What the fixtures promise of their servers."""

    def test_opensmtpd(self) -> None:
        """OpenSMTPD takes no command before it has answered the last."""
        port = str(servers.opensmtpd().port)
        data = dialogues.mail(100, greeting=True).data
        self.assertIn(
            b"Pipelining not supported", run("localhost", port, data=data).out
        )

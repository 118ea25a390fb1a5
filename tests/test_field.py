"""
Sessions with real servers: every answer arrives in full, and the status says whether
the session was complete.

Stdin is a pipe or a file that ends with the last byte of the dialogue, as the output of
``printf '...' |`` does.
"""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from tests import dialogues, servers, services
from tests.command import Outcome, run, shell
from tests.dialogues import Dialogue, converse, recite
from tests.services import Service, side_by_side

#: More bytes than the buffers between the command and the server hold.
LARGE = 3_000_000

IGNORE = "--ignore-unexpected-eof"


def tolerant(service: Service) -> tuple[str, ...]:
    """
    Return the command's arguments for a server, with the option that accepts its way to
    end TLS.
    """
    return (*(() if service.tells_end else (IGNORE,)), *service.arguments())


class SessionTests(SynchronousTestCase):
    """Complete dialogues with each server."""

    def check(self, dialogue: Dialogue, outcome: Outcome) -> None:
        """
        Check that the whole answer was printed, and that the session was in order.
        """
        self.assertTrue(dialogue.is_answered_by(outcome.out), outcome)
        self.assertEqual((outcome.status, outcome.err), (0, ""))

    def check_piped(self, service: Service, dialogue: Dialogue) -> None:
        """
        Check a dialogue through a pipe, in one piece if the server takes pipelined
        commands.
        """
        if service.pipelines:
            dialogue = dialogue.without_prompts()
        self.check(dialogue, converse(tolerant(service), dialogue.pieces))

    def test_small_file(self) -> None:
        """
        An upload of 100 bytes from a file gets its whole answer from every server that
        takes pipelined commands.
        """

        def check(service: Service) -> None:
            dialogue = service.upload(100)
            self.check(dialogue, recite(tolerant(service), dialogue.data))

        found = [service for service in services.ALL if service.pipelines]
        side_by_side(check, found)

    def test_large_pipe(self) -> None:
        """An upload of 3 MB from a pipe gets its whole answer from every server."""

        def check(service: Service) -> None:
            self.check_piped(service, service.upload(LARGE))

        side_by_side(check, services.ALL)

    def test_slow_answer(self) -> None:
        """An answer that the server sends 2 s after the request arrives in full."""

        def check(service: Service) -> None:
            self.check_piped(service, dialogues.get(100_000, wait=2))

        side_by_side(check, services.WEB, workers=9)

    def test_slower_answer(self) -> None:
        """
        An answer arrives in full that comes 7 s after the request: later than the 5 s
        after which a server that has sent data is told of EOF.
        """

        def check(service: Service) -> None:
            self.check_piped(service, dialogues.post(100_000, wait=7))

        side_by_side(check, services.WEB, workers=9)

    def test_slow_farewell(self) -> None:
        """The answer to QUIT arrives if the server delays it after earlier answers."""

        def check(service: Service) -> None:
            greeting = not service.secure
            dialogue = dialogues.mail(LARGE, name="slow2", greeting=greeting)
            self.check_piped(service, dialogue)

        # aiosmtpd, also behind nginx, delays its answer to QUIT by the seconds in
        # EHLO's name.
        names = ("aiosmtpd", "aiosmtpd, STARTTLS", "nginx, SMTP")
        side_by_side(check, [each for each in services.MAIL if each.name in names])

    def test_keep_alive(self) -> None:
        """
        A server that keeps the connection open for another request is told of EOF, and
        the session is complete.
        """

        def check(service: Service) -> None:
            self.check_piped(service, dialogues.post(100, close=False))

        # nginx ends a connection that it keeps for another request with FIN alone.
        found = [
            replace(each, tells_end=each.name != "nginx, TLS") for each in services.WEB
        ]
        side_by_side(check, found, workers=9)


class NoCloseNotifyTests(SynchronousTestCase):
    """Servers that end TLS with FIN alone."""

    def test_error_by_default(self) -> None:
        """The whole answer is printed, and the error names --ignore-unexpected-eof."""

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
        """
        The bytes that Exim sends in clear after close_notify do not make the session an
        error.
        """
        (exim,) = (each for each in services.MAIL if each.name == "Exim")
        outcome = run(*exim.arguments(), "true")
        self.assertEqual((outcome.status, outcome.err), (0, ""))


class RefusedUploadTests(SynchronousTestCase):
    """Servers that refuse an upload while its writer still writes."""

    def upload(self, service: Service) -> Outcome:
        """Pipe a request of 200 MB from printf and head; the server accepts less."""
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
        """The command fails if lighttpd closes before it has read the whole upload."""

        def check(service: Service) -> None:
            outcome = self.upload(service)
            self.assertEqual(outcome.status, 111)
            outcome.complaint()

        found = (services.LIGHTTPD, services.LIGHTTPD_TLS)
        side_by_side(check, found)

    def test_refused_and_read(self) -> None:
        """
        The command succeeds with nginx, which refuses the upload but reads all of it.
        """

        def check(service: Service) -> None:
            outcome = self.upload(service)
            self.assertEqual((outcome.status, outcome.err), (0, ""))

        found = [each for each in services.WEB if "nginx" in each.name]
        side_by_side(check, found)


class FixtureTests(SynchronousTestCase):
    """What other tests assume about the servers."""

    def test_opensmtpd(self) -> None:
        """
        OpenSMTPD refuses commands that are sent before its answer to the last one.
        """
        port = str(servers.opensmtpd().port)
        data = dialogues.mail(100, greeting=True).data
        self.assertIn(
            b"Pipelining not supported", run("localhost", port, data=data).out
        )

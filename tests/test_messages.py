"""
Messages: whole lines of printable ASCII, on descriptor 2.
"""

from __future__ import annotations

import errno
import os
import re
from ast import literal_eval

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.transcripts import patient
from twisted_tcpclient.command.messages import ERRORS, PROGRESS, SILENT, Messages
from twisted_tcpclient.text import os_reason, place, printable


class PrintableTests(SynchronousTestCase):
    """Text that is escaped to be shown."""

    def test_table(self) -> None:
        """
        ASCII stays; all other characters are escaped as in Python's string literals.
        """
        for text, shown in (
            ("", ""),
            ("plain text, 100% ~", "plain text, 100% ~"),
            ("\x1b[2J", "\\x1b[2J"),
            ("a\r\n\tb\0\x7f", "a\\r\\n\\tb\\x00\\x7f"),
            ("b\xfccher", "b\\xfccher"),
            ("\u202e", "\\u202e"),
            ("\U0001f600", "\\U0001f600"),
            ("\x9b1m", "\\x9b1m"),
            (b"caf\xc3\xa9", "caf\\xe9"),
            (b"caf\xe9", "caf\\xe9"),
            (b"\xff\x00", "\\xff\\x00"),
            ("\udcff", "\\udcff"),
        ):
            self.assertEqual(printable(text), shown)

    @patient
    @given(st.one_of(st.text(), st.binary()))
    def test_anything(self, text: str | bytes) -> None:
        """Any text becomes one line of printable ASCII."""
        self.assertIsNotNone(re.fullmatch("[ -~]*", printable(text)))

    @patient
    @given(st.text(st.characters(exclude_characters="\\\"'")))
    def test_nothing_is_lost(self, text: str) -> None:
        """The escaped text is a Python literal of the text."""
        self.assertEqual(literal_eval(f'"{printable(text)}"'), text)

    def test_surrogates(self) -> None:
        """The surrogate escapes of an argument that is not UTF-8 are escaped."""
        self.assertEqual(printable(os.fsdecode(b"\xff\xfe")), "\\udcff\\udcfe")


class ReasonTests(SynchronousTestCase):
    """The words for errors of the system."""

    def test_words(self) -> None:
        """The words are those that scripts look for, in lower case."""
        for number, words in (
            (errno.ENOENT, "file does not exist"),
            (errno.EACCES, "access denied"),
            (errno.EADDRINUSE, "address already used"),
            (errno.EADDRNOTAVAIL, "address not available"),
            (errno.ECONNREFUSED, "connection refused"),
            (errno.ECONNRESET, "connection reset"),
            (errno.ETIMEDOUT, "timed out"),
            (errno.EISDIR, "is a directory"),
        ):
            self.assertEqual(os_reason(OSError(number, "Whatever")), words)

    def test_without_a_number(self) -> None:
        """An error without an errno has its own text, in lower case."""
        self.assertEqual(
            os_reason(OSError("AF_UNIX path too long")), "af_unix path too long"
        )


class PlaceTests(SynchronousTestCase):
    """The words for the other end of a connection."""

    def test_table(self) -> None:
        """An address is shown once, a name with its address, and no name as 0."""
        for host, ip, words in (
            ("127.0.0.1", "127.0.0.1", "127.0.0.1 port 25"),
            ("[::1]", "::1", "::1 port 25"),
            ("::1", "::1", "::1 port 25"),
            ("0", "127.0.0.1", "host 0 ip 127.0.0.1 port 25"),
            ("", "::1", "host 0 ip ::1 port 25"),
            ("localhost", "::1", "host localhost ip ::1 port 25"),
        ):
            self.assertEqual(place(host, ip, 25), words)


class MessagesTests(SynchronousTestCase):
    """Messages on stderr."""

    def setUp(self) -> None:
        """Keep all that is written to descriptors."""
        self.written: list[tuple[int, bytes]] = []

        def write(descriptor: int, data: bytes) -> int:
            self.written.append((descriptor, data))
            return len(data)

        self.patch(os, "write", write)

    def said(self, verbosity: int) -> list[str]:
        """Return the lines of one message of each kind."""
        self.written.clear()
        messages = Messages(verbosity)
        messages.fatal("no")
        messages.warning("hm")
        messages.progress("aha")
        return [data.decode("ascii") for _, data in self.written]

    def test_verbosity(self) -> None:
        """
        Verbosity 0 shows no message, 1 shows errors and warnings, and 2 shows all.
        """
        errors = ["tcpclient: fatal: no\n", "tcpclient: warning: hm\n"]
        self.assertEqual(self.said(SILENT), [])
        self.assertEqual(self.said(ERRORS), errors)
        self.assertEqual(self.said(PROGRESS), [*errors, "tcpclient: aha\n"])

    def test_default(self) -> None:
        """The default verbosity is 1."""
        self.assertEqual(Messages(), Messages(ERRORS))

    def test_descriptor(self) -> None:
        """A message is one line, written to descriptor 2 at once."""
        Messages().fatal("two\nlines \x1b[2J \u202e")
        self.assertEqual(
            self.written, [(2, b"tcpclient: fatal: two\\nlines \\x1b[2J \\u202e\n")]
        )

    def test_closed(self) -> None:
        """If stderr cannot be written, the message is dropped without an error."""

        def write(descriptor: int, data: bytes) -> int:
            raise OSError(errno.EBADF, "closed")

        self.patch(os, "write", write)
        Messages().fatal("no")
        Messages().warning("hm")

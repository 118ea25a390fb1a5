"""
Reports: whole lines, of printable ASCII, on descriptor 2.
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
    """Text from anywhere, fit to be shown."""

    def test_table(self) -> None:
        """ASCII stays; all else is escaped as Python writes it."""
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
        """Whatever it is, it comes out as one line of printable ASCII."""
        self.assertIsNotNone(re.fullmatch("[ -~]*", printable(text)))

    @patient
    @given(st.text(st.characters(exclude_characters="\\\"'")))
    def test_nothing_is_lost(self, text: str) -> None:
        """What was escaped can be read back."""
        self.assertEqual(literal_eval(f'"{printable(text)}"'), text)

    def test_surrogates(self) -> None:
        """Bytes that an argument was made of, and are no text, can be shown."""
        self.assertEqual(printable(os.fsdecode(b"\xff\xfe")), "\\udcff\\udcfe")


class ReasonTests(SynchronousTestCase):
    """Why the system refused."""

    def test_words(self) -> None:
        """The words that scripts look for, in lower case."""
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
        """Errors that have only words keep them."""
        self.assertEqual(
            os_reason(OSError("AF_UNIX path too long")), "af_unix path too long"
        )


class PlaceTests(SynchronousTestCase):
    """Where a connection goes."""

    def test_table(self) -> None:
        """An address is named once, a name with its address, nothing as 0."""
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
    """What is written where."""

    def setUp(self) -> None:
        """Whatever is written to a descriptor is kept."""
        self.written: list[tuple[int, bytes]] = []

        def write(descriptor: int, data: bytes) -> int:
            self.written.append((descriptor, data))
            return len(data)

        self.patch(os, "write", write)

    def said(self, verbosity: int) -> list[str]:
        """Everything that a messages may say, if it does."""
        self.written.clear()
        messages = Messages(verbosity)
        messages.fatal("no")
        messages.warning("hm")
        messages.progress("aha")
        return [data.decode("ascii") for _, data in self.written]

    def test_verbosity(self) -> None:
        """Silence, errors, or errors and progress."""
        errors = ["tcpclient: fatal: no\n", "tcpclient: warning: hm\n"]
        self.assertEqual(self.said(SILENT), [])
        self.assertEqual(self.said(ERRORS), errors)
        self.assertEqual(self.said(PROGRESS), [*errors, "tcpclient: aha\n"])

    def test_default(self) -> None:
        """Errors, unless said otherwise."""
        self.assertEqual(Messages(), Messages(ERRORS))

    def test_descriptor(self) -> None:
        """A whole line at a time, on descriptor 2."""
        Messages().fatal("two\nlines \x1b[2J \u202e")
        self.assertEqual(
            self.written, [(2, b"tcpclient: fatal: two\\nlines \\x1b[2J \\u202e\n")]
        )

    def test_nobody_listens(self) -> None:
        """Where nothing can be written the run goes on."""

        def write(descriptor: int, data: bytes) -> int:
            raise OSError(errno.EBADF, "closed")

        self.patch(os, "write", write)
        Messages().fatal("no")
        Messages().warning("hm")

"""
Any bytes from a server, any command line, any endpoint string, any answer of ident, any
certificate: what holds of them is in `tests.torture.targets`.

Here Hypothesis makes them up, and what the fuzzer has found worth keeping is gone
through again.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.torture import WHOLE, share, targets
from tests.torture.hostile import SPOOF
from tests.torture.targets import TARGETS, Monologue
from tests.transcripts import GOOD
from twisted_tcpclient.facts import Facts, TLSFacts, environment

#: The same examples in each run of the share; others in each run of the whole.
examples = settings(
    deadline=None,
    max_examples=share(150, 4000),
    derandomize=not WHOLE,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def pieces(target: str) -> st.SearchStrategy[bytes]:
    """Something out of the seeds of a target, or anything at all."""
    seeds = {
        word
        for seed in TARGETS[target][1]()
        for line in seed.splitlines(keepends=True)
        for word in (line, *line.split(b" "))
    }
    known = st.sampled_from(sorted(seeds))
    return st.one_of(known, known, known, st.binary(max_size=12), st.just(SPOOF))


def turns() -> st.SearchStrategy[tuple[bytes, ...]]:
    """What a server says, each time that it is its turn."""
    turn = st.lists(pieces("dialogue"), max_size=6).map(b"".join)
    return st.lists(turn, max_size=5).map(tuple)


def after_good_beginnings() -> st.SearchStrategy[Monologue]:
    """A good dialogue up to some turn of the server, and then anything."""
    good = [
        Monologue(dialect, tuple(said.turns[:count]))
        for dialect in sorted(GOOD)
        for said in [
            Monologue.parse(seed)
            for seed in TARGETS["dialogue"][1]()
            if seed.startswith(dialect.encode() + b"\n")
        ][:1]
        for count in range(len(said.turns) + 1)
    ]
    return st.builds(
        lambda begun, more: Monologue(begun.dialect, begun.turns + more),
        st.sampled_from(good),
        turns(),
    )


def joined(target: str, separator: bytes) -> st.SearchStrategy[bytes]:
    """Pieces of the seeds of a target, anew."""
    return st.lists(pieces(target), max_size=8).map(separator.join)


class AnyTests(SynchronousTestCase):
    """What is made up."""

    @examples
    @given(after_good_beginnings())
    def test_dialogue(self, monologue: Monologue) -> None:
        """
        Whatever a server says, cut into whatever segments, ends in TLS, a known error
        or waiting; and after an error nothing is said.
        """
        targets.dialogue(monologue.serialize())

    @examples
    @given(st.sampled_from(sorted(GOOD)), st.lists(st.binary(max_size=60), max_size=4))
    def test_dialogue_of_bytes(self, dialect: str, said: list[bytes]) -> None:
        """The same of bytes that mean nothing."""
        targets.dialogue(Monologue(dialect, tuple(said)).serialize())

    @examples
    @given(st.one_of(joined("options", b"\0"), joined("options", b""), st.binary()))
    def test_options(self, argv: bytes) -> None:
        """Any command line is settings that can be used, or an error in one line."""
        targets.options(argv)

    @examples
    @given(st.one_of(joined("strings", b":"), joined("strings", b""), st.binary()))
    def test_strings(self, text: bytes) -> None:
        """Any endpoint string is an endpoint, or a ValueError that says why not."""
        targets.strings(text)

    @examples
    @given(st.one_of(joined("ident", b":"), joined("ident", b""), st.binary()))
    def test_ident(self, answer: bytes) -> None:
        """Any answer of ident is a printable word, or none, however it is cut."""
        targets.ident(answer)

    @examples
    @given(st.one_of(joined("certificate", b""), st.binary()))
    def test_certificate(self, data: bytes) -> None:
        """Any certificate is shown in printable ASCII, and not at length."""
        targets.certificate(data)


class VariableTests(SynchronousTestCase):
    """What prog is told."""

    def test_execve(self) -> None:
        """A program can be run with whatever was found out, and sees one word of it."""
        evil = SPOOF.decode("latin-1") + "=\u202e\U0001f600\udcff"
        tls = TLSFacts(evil, evil, evil, evil, evil, evil)
        facts = Facts(evil, evil, 1, evil, evil, 2, evil, evil, tls)
        told = environment({}, facts, True)
        found = subprocess.run(
            ["/usr/bin/env", "-0"], env=told, stdout=subprocess.PIPE, check=True
        )
        expected = [b"%s=%s" % variable for variable in told.items()]
        self.assertEqual(found.stdout.split(b"\0"), [*expected, b""])
        self.assertRegex(found.stdout, rb"\A[ -~\0]+\Z")


class CorpusTests(SynchronousTestCase):
    """What the fuzzer begins with, and what it has found."""

    def replay(self, target: str) -> None:
        """Go through it again."""
        check, seeds = TARGETS[target]
        kept = {path.name: path.read_bytes() for path in targets.kept(target)}
        self.assertGreater(len(kept), 0)
        cases = {**{f"seed {n}": data for n, data in enumerate(seeds())}, **kept}
        for name, data in cases.items():
            self.hold(check, name, data)

    def hold(self, check: Callable[[bytes], None], name: str, data: bytes) -> None:
        """Check one input, and name it if it fails."""
        try:
            check(data)
        except Exception as error:
            raise AssertionError(f"{name}, {data!r}") from error

    def test_certificate(self) -> None:
        """Certificates."""
        self.replay("certificate")

    def test_dialogue(self) -> None:
        """What servers have said."""
        self.replay("dialogue")

    def test_ident(self) -> None:
        """Answers of ident."""
        self.replay("ident")

    def test_options(self) -> None:
        """Command lines."""
        self.replay("options")

    def test_strings(self) -> None:
        """Endpoint strings."""
        self.replay("strings")

    def test_every_target(self) -> None:
        """There is nothing in the corpus that nobody goes through."""
        folders = {path.name for path in targets.CORPUS.iterdir()}
        self.assertEqual(folders, set(TARGETS))
        for target in TARGETS:
            self.assertTrue(hasattr(self, f"test_{target}"), target)

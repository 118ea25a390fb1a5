"""
Random input: bytes of servers, command lines, endpoint strings, ident and certificates.

The properties are in `tests.torture.targets`. Hypothesis generates the input, and the
inputs that the fuzzer has kept are tried again.
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

#: The share uses the same examples in each run; the whole draws new ones each time.
examples = settings(
    deadline=None,
    max_examples=share(150, 4000),
    derandomize=not WHOLE,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def pieces(target: str) -> st.SearchStrategy[bytes]:
    """
    Return a strategy of words and lines from the seeds of a target, and of random
    bytes.
    """
    seeds = {
        word
        for seed in TARGETS[target][1]()
        for line in seed.splitlines(keepends=True)
        for word in (line, *line.split(b" "))
    }
    known = st.sampled_from(sorted(seeds))
    return st.one_of(known, known, known, st.binary(max_size=12), st.just(SPOOF))


def turns() -> st.SearchStrategy[tuple[bytes, ...]]:
    """Return a strategy of the turns of a server."""
    turn = st.lists(pieces("dialogue"), max_size=6).map(b"".join)
    return st.lists(turn, max_size=5).map(tuple)


def after_good_beginnings() -> st.SearchStrategy[Monologue]:
    """
    Return a strategy of good dialogues up to some turn of the server, then random
    turns.
    """
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
    """Return a strategy of joined pieces of a target's seeds."""
    return st.lists(pieces(target), max_size=8).map(separator.join)


class AnyTests(SynchronousTestCase):
    """Properties of generated input."""

    @examples
    @given(after_good_beginnings())
    def test_dialogue(self, monologue: Monologue) -> None:
        """
        Any dialogue, in any segments, ends in TLS, in a known error or in waiting, and
        the client sends nothing after an error.
        """
        targets.dialogue(monologue.serialize())

    @examples
    @given(st.sampled_from(sorted(GOOD)), st.lists(st.binary(max_size=60), max_size=4))
    def test_dialogue_of_bytes(self, dialect: str, said: list[bytes]) -> None:
        """The same holds if the server says random bytes only."""
        targets.dialogue(Monologue(dialect, tuple(said)).serialize())

    @examples
    @given(st.one_of(joined("options", b"\0"), joined("options", b""), st.binary()))
    def test_options(self, argv: bytes) -> None:
        """Any command line gives usable settings or a usage error of one line."""
        targets.options(argv)

    @examples
    @given(st.one_of(joined("strings", b":"), joined("strings", b""), st.binary()))
    def test_strings(self, text: bytes) -> None:
        """Any endpoint string gives an endpoint or a ValueError with a reason."""
        targets.strings(text)

    @examples
    @given(st.one_of(joined("ident", b":"), joined("ident", b""), st.binary()))
    def test_ident(self, answer: bytes) -> None:
        """Any reply of ident gives a printable user name or none, in any segments."""
        targets.ident(answer)

    @examples
    @given(st.one_of(joined("certificate", b""), st.binary()))
    def test_certificate(self, data: bytes) -> None:
        """Any certificate is shown as printable ASCII of bounded length."""
        targets.certificate(data)


class VariableTests(SynchronousTestCase):
    """The environment of prog."""

    def test_execve(self) -> None:
        """
        A program can be executed with any facts in its environment, which are then
        printable ASCII and one word each.
        """
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
    """The seeds of the fuzzer, and the inputs that it has kept."""

    def replay(self, target: str) -> None:
        """Check all seeds and all kept inputs of a target."""
        check, seeds = TARGETS[target]
        kept = {path.name: path.read_bytes() for path in targets.kept(target)}
        self.assertGreater(len(kept), 0)
        cases = {**{f"seed {n}": data for n, data in enumerate(seeds())}, **kept}
        for name, data in cases.items():
            self.hold(check, name, data)

    def hold(self, check: Callable[[bytes], None], name: str, data: bytes) -> None:
        """Check one input; name it in the error."""
        try:
            check(data)
        except Exception as error:
            raise AssertionError(f"{name}, {data!r}") from error

    def test_certificate(self) -> None:
        """All kept certificates pass the check."""
        self.replay("certificate")

    def test_dialogue(self) -> None:
        """All kept dialogues pass the check."""
        self.replay("dialogue")

    def test_ident(self) -> None:
        """All kept replies of ident pass the check."""
        self.replay("ident")

    def test_options(self) -> None:
        """All kept command lines pass the check."""
        self.replay("options")

    def test_strings(self) -> None:
        """All kept endpoint strings pass the check."""
        self.replay("strings")

    def test_every_target(self) -> None:
        """Each folder of the corpus belongs to a target, and each target has a test."""
        folders = {path.name for path in targets.CORPUS.iterdir()}
        self.assertEqual(folders, set(TARGETS))
        for target in TARGETS:
            self.assertTrue(hasattr(self, f"test_{target}"), target)

"""
The coverage-guided fuzzer: ``python -m tests.torture.fuzzer SECONDS [TARGET ...]``.

Each target of `tests.torture.targets` is fuzzed in a process of its own, from its seeds
and from the inputs kept in ``corpus``. An input that fails a check is written to the
current directory, and its traceback to stderr.  With ``--keep``, inputs that reached
new code are added to ``corpus``. The random seed is fixed, so that runs of the same
code are alike.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import atheris

#: The longest input, in bytes.  Longer inputs reach no new code and take longer.
LONGEST = 4096


def fuzz(target: str, *arguments: str) -> None:
    """Fuzz one target.  This function does not return."""
    with atheris.instrument_imports(include=["twisted_tcpclient"]):
        from tests.torture.targets import TARGETS
    atheris.Setup([sys.argv[0], *arguments], TARGETS[target][0])
    atheris.Fuzz()


def run(target: str, seconds: int, keep: bool) -> int:
    """Fuzz one target in a process of its own, and return its exit status."""
    from tests.torture.targets import CORPUS, TARGETS

    corpus = CORPUS / target
    corpus.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        new, seeds = Path(directory, "new"), Path(directory, "seeds")
        for folder in (new, seeds):
            folder.mkdir()
        for number, data in enumerate(TARGETS[target][1]()):
            (seeds / str(number)).write_bytes(data)
        print(f"\n{target}:", flush=True)
        status = subprocess.call(
            (
                *(sys.executable, "-m", "tests.torture.fuzzer", "--one", target),
                f"-max_len={LONGEST}",
                f"-max_total_time={seconds}",
                *("-seed=1", "-timeout=20", "-verbosity=0", "-print_final_stats=1"),
                *map(str, (new, corpus, seeds)),
            )
        )
        if keep and status == 0:
            for path in new.iterdir():
                (corpus / path.name).write_bytes(path.read_bytes())
    return status


def main(arguments: Sequence[str]) -> int:
    """Fuzz the given targets, or all; return 1 if a check failed in any of them."""
    if arguments[:1] == ["--one"]:
        fuzz(*arguments[1:])
    keep = "--keep" in arguments
    seconds, *targets = [each for each in arguments if each != "--keep"]
    from tests.torture.targets import TARGETS

    statuses = [run(each, int(seconds), keep) for each in targets or TARGETS]
    return int(any(statuses))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""
The figures as the generated part of a page in reStructuredText.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Goal, Row, Sample, Table, best, ratio

BEGIN = ".. Written by make bench from here on.\n"
END = ".. Written by make bench up to here.\n"

#: The text of a cell without a figure.
NONE = "n/a"


def replaced(page: str, part: str) -> str:
    """
    Return a page with its generated part replaced.

    :raises ValueError: if the page lacks the lines around the generated part.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("the page has no place for what is generated")
    return f"{before}{begin}\n{part}\n{end}{after}"


def write(path: Path, part: str) -> None:
    """Replace the generated part of a file."""
    path.write_text(replaced(path.read_text("utf-8"), part), "utf-8")


def generated(
    when: str,
    facts: Sequence[tuple[str, str]],
    tables: Sequence[Table],
    remarks: Sequence[str],
    handshakes: str,
) -> str:
    """Return the whole generated part."""
    parts = [
        heading("Goals"),
        goals(tables),
        heading("All figures"),
        *[section(table) for table in tables],
    ]
    if handshakes:
        parts += [
            "**Handshakes in one process**",
            "::",
            textwrap.indent(handshakes.rstrip(), "    "),
        ]
    parts += [
        heading("Machine and versions"),
        simple(("What", "Which"), [("Date", when), *facts]),
        *[filled(f"- {remark}", "  ") for remark in remarks],
    ]
    return "\n\n".join(parts) + "\n"


def heading(words: str) -> str:
    """Return the title of a section, underlined."""
    return f"{words}\n{'=' * len(words)}"


def filled(words: str, indent: str = "") -> str:
    """Return a paragraph in lines of 92 columns."""
    return textwrap.fill(
        words,
        92,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def simple(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a simple table."""
    cells = [[cell or r"\ " for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    lines = [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
    return "\n".join([rule, lines[0], rule, *lines[1:], rule])


def number(value: float, digits: int) -> str:
    """Return a number with this many digits after the point."""
    return f"{value:,.{digits}f}"


def cell(sample: Sample | None, digits: int) -> str:
    """Return the median of a sample and its range."""
    if sample is None:
        return NONE
    low, high = min(sample.values), max(sample.values)
    middle = number(sample.median, digits)
    return f"{middle} ({number(low, digits)} to {number(high, digits)})"


def section(table: Table) -> str:
    """Return a table with its title and notes."""
    names = list(dict.fromkeys(n for row in table.rows for n in row.samples))
    head = ["What", *names]
    if table.ratio:
        head.append("Ratio")
    rows = [
        [
            row.what,
            *[cell(row.samples.get(name), table.digits) for name in names],
            *([_ratio(row, table.more)] if table.ratio else []),
        ]
        for row in table.rows
    ]
    paragraphs = [filled(f"**{table.title}**, {table.unit}"), simple(head, rows)]
    return "\n\n".join([*paragraphs, *map(filled, table.notes)])


def _ratio(row: Row, more: bool) -> str:
    """Return the ratio of tcpclient to the best other program."""
    found = ratio(row.ours, best(list(row.samples.values())[1:], more))
    return NONE if found is None else number(found, 2)


def goals(tables: Sequence[Table]) -> str:
    """Return the table of all goals, each with the measured number."""
    rows = [
        (f"{table.title}: {row.what}", _wanted(goal), *_reached(goal))
        for table in tables
        for row in table.rows
        for goal in row.goals
    ]
    return simple(("What", "Goal", "Measured", "Met"), rows)


def _wanted(goal: Goal) -> str:
    direction = "at most" if goal.most else "at least"
    return f"{direction} {goal.wanted:g} {goal.words}"


def _reached(goal: Goal) -> tuple[str, str]:
    if goal.got is None:
        return NONE, NONE
    return number(goal.got, goal.digits), "yes" if goal.met else "no"

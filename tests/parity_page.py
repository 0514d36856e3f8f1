"""Writes docs/parity.md from the rows that test_parity.py tests: `python -m tests.parity_page`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.client.arm.parity.row import EVIDENCE, Row
from tests.client.arm.parity.subjects import subjects

FILE: Final = Path(__file__).parents[1] / "docs" / "parity.md"
HEAD: Final = """# Rules of Azure's control plane that a stamp keeps

Each row is a test of its own (`tests/client/arm/parity`): a request in a state, and Azure's answer to it. The
last column tells how Azure is known to answer so: recorded exchanges, its documentation, or public reports
that quote it. Where a stamp does other than Azure is in [deviations.md](deviations.md).

This page is written by `python -m tests.parity_page`.
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(_section(title, rows) for title, rows in subjects())


def _section(title: str, rows: tuple[Row, ...]) -> str:
    lines = [f"| {_cell(row.rule)} | {_answer(row)} | {_evidence(row)} |\n" for row in rows]
    return f"\n## {title}\n\n| request | answer | known |\n| --- | --- | --- |\n" + "".join(lines)


def _answer(row: Row) -> str:
    words = [str(row.status)] + ([f"`{row.code}`"] if row.code else [])
    return _cell(" ".join(words) + (f": {row.message}" if row.message else ""))


def _evidence(row: Row) -> str:
    return ", ".join(EVIDENCE[letter] for letter in row.evidence)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    FILE.write_text(page())

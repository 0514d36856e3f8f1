"""Writes the table of checks into docs/doctor.md: `python -m tests.doctor_page`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from vmstamp.cli.doctor_text import MEANINGS
from vmstamp.guest.checks import CHECKS
from vmstamp.guest.doctor import group_name
from vmstamp.guest.finding import Check, Severity

FILE: Final = Path(__file__).parents[1] / "docs" / "doctor.md"
HEAD: Final = "## The checks\n"


def page(text: str) -> str:
    """The page `text` with its last section, the checks, made anew from their records."""
    return text.partition(HEAD)[0] + HEAD + section()


def section() -> str:
    fixable = sum(check.fix is not None for check in CHECKS)
    parts = [
        f"\nThere are {len(CHECKS)}; {fixable} can be mended by `--fix`. "
        "This section is made from their records by `python -m tests.doctor_page`.\n"
    ]
    for severity in Severity:
        rows = [_row(check) for check in CHECKS if check.severity is severity]
        if rows:
            parts.append(
                f"\n### {group_name(severity)}: {MEANINGS[severity]}\n\n"
                "| id | what is right | VMs | | source |\n| --- | --- | --- | --- | --- |\n" + "".join(rows)
            )
    return "".join(parts)


def _row(check: Check) -> str:
    generations = "both" if len(check.generations) == 2 else f"Gen{check.generations[0]}"
    marks = [word for word, holds in (("identity", check.identity), ("fix", check.fix)) if holds]
    cells = (f"`{check.id}`", check.title, generations, ", ".join(marks), check.source)
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |\n"


if __name__ == "__main__":
    FILE.write_text(page(FILE.read_text()))

"""Keeps findings: reduced, as text, in fuzz/findings. One of each place is kept, the first.

A finding becomes a regression seed by moving its file to fuzz/seeds; tests replay those.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fuzz.bed import CONTROL, Bed
from fuzz.limits import Finding, find
from fuzz.looks import look_for
from fuzz.sparse import to_text

FINDINGS = Path(__file__).parent / "findings"
MOST_STEPS, MOST_SLOW_STEPS = 400, 12  # executions that reducing may take


def execute(bed: Bed, data: bytes) -> Finding | None:
    """What is wrong when the input `data` is looked at; None when nothing is."""
    look = look_for(bed.kind.name)
    try:
        rng = bed.lay(data)
        return find(lambda: look(bed.path, rng))
    finally:
        bed.clear()


def keep(bed: Bed, data: bytes, finding: Finding, directory: Path = FINDINGS) -> bool:
    """Write the finding down; False when there is one of its kind and place already: that is touched."""
    path = directory / f"{bed.kind.name}.{finding.where}.txt".replace("<", "").replace(">", "")
    if path.exists():
        path.touch()
        return False
    directory.mkdir(parents=True, exist_ok=True)
    steps = MOST_SLOW_STEPS if finding.slow else MOST_STEPS
    smaller = reduce(data, bed.valid_input(), lambda tried: _same(bed, tried, finding), steps)
    bed.lay(smaller)
    path.write_text(to_text(finding.what, bed.kind.name, bed.files()))
    bed.clear()
    return True


def count_since(moment: float, name: str, directory: Path = FINDINGS) -> int:
    """How many findings of a kind were seen, first or again, since `moment` of the wall clock."""
    return sum(path.stat().st_mtime >= moment for path in directory.glob(f"{name}.*.txt"))


def _same(bed: Bed, data: bytes, finding: Finding) -> bool:
    found = execute(bed, data)
    return found is not None and found.where == finding.where


def reduce(data: bytes, valid: bytes, holds: Callable[[bytes], bool], steps: int) -> bytes:
    """`data` with as many bytes of `valid` as can be, while it `holds`; that is asked `steps` times."""
    data = data[: len(valid)] + valid[len(data) :]
    length = len(valid)
    while length and steps:
        for low in range(CONTROL.size, len(valid), length):
            tried = data[:low] + valid[low : low + length] + data[low + length :]
            if tried != data and steps:
                steps -= 1
                data = tried if holds(tried) else data
        length //= 2
    return data

"""A few rounds of what `make fuzz` does for long."""

from __future__ import annotations

from pathlib import Path

from fuzz.__main__ import fuzz
from fuzz.seeds import seeds


def test_damaged_disks_are_refused_or_read_but_never_a_surprise(tmp_path: Path) -> None:
    findings = {name: fuzz(name, seed, 60, number=7) for name, seed in seeds(tmp_path)}
    assert len(findings) == 7
    assert not any(findings.values())

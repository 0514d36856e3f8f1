"""A few rounds of what `make fuzz` does for long; QEMU makes some of the files."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.__main__ import fuzz
from fuzz.bed import Bed
from fuzz.findings import execute
from fuzz.kinds import KINDS, make_kind


@pytest.mark.parametrize("name", KINDS)
def test_damaged_disks_are_refused_or_read_but_never_a_surprise(tmp_path: Path, name: str) -> None:
    bed, findings = Bed(make_kind(name), tmp_path), tmp_path / "findings"
    valid = bed.path.read_bytes()
    assert execute(bed, bed.valid_input(seal=True)) is None
    fuzz(bed, 60, 7, findings)
    assert bed.path.read_bytes() == valid
    bed.close()
    assert [path.read_text()[:200] for path in findings.glob("*")] == []

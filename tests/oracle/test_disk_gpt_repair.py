"""What is written for a damaged GPT, judged by sgdisk and sfdisk."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import vmstamp.disk
from vmstamp.disk.convert import WRITERS
from vmstamp.disk.gpt_repair import mended_gpt
from vmstamp.guest.doctor import diagnose, plan_mends, select
from vmstamp.guest.workshop.rework import rework

pytestmark = pytest.mark.skipif(
    not (shutil.which("sgdisk") and shutil.which("sfdisk")), reason="sgdisk (gdisk) or sfdisk is missing"
)
MIB = 1024 * 1024
SIZE = 64 * MIB


def is_whole(path: Path) -> bool:
    """sgdisk says so, and nothing before it: what it has put right in memory alone comes first."""
    done = subprocess.run(["sgdisk", "--verify", str(path)], capture_output=True, text=True, check=False)
    return (done.stderr + done.stdout).strip().startswith("No problems found")


def partitions(path: Path) -> str:
    """As sfdisk dumps them, but for what tells of the disk's size."""
    dump = subprocess.run(["sfdisk", "--dump", str(path)], capture_output=True, text=True, check=True).stdout
    return "\n".join(line for line in dump.splitlines() if not line.startswith(("last-lba", "device")))


def make(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(SIZE)
    layout = ["--new=1:2048:+16M", "--typecode=1:ef00", "--new=3:0:+40M", "--attributes=3:set:2"]
    subprocess.run(["sgdisk", *layout, str(path)], check=True, capture_output=True)


def put(path: Path, *pieces: tuple[int, bytes]) -> None:
    with path.open("r+b") as file:
        for at, data in pieces:
            file.seek(at)
            file.write(data)


def grow(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(SIZE + 7 * MIB)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "grown": grow,
    "primary header": lambda path: put(path, (512, bytes(512))),
    "primary entries": lambda path: put(path, (1024, bytes(4096))),
    "backup header": lambda path: put(path, (SIZE - 512, b"X")),
    "backup entries": lambda path: put(path, (SIZE - 33 * 512, b"X")),
    "protective MBR": lambda path: put(path, (446, bytes(66))),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_mended_gpt_has_no_problem_and_the_same_partitions(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "disk.raw"
    make(path)
    before = partitions(path)
    assert is_whole(path)
    DAMAGE[kind](path)
    assert not is_whole(path)
    with vmstamp.disk.open(path) as disk:
        mends = mended_gpt(disk)
    put(path, *mends.items())
    assert is_whole(path)
    assert partitions(path) == before


@pytest.mark.parametrize("suffix", [".raw", ".vhdx"])
def test_doctor_mends_a_grown_disk_that_holds_no_system(tmp_path: Path, suffix: str) -> None:
    source, output, raw = tmp_path / "disk.raw", tmp_path / f"mended{suffix}", tmp_path / "mended.raw"
    make(source)
    grow(source)
    with vmstamp.disk.open(source) as disk:
        found = diagnose(disk, checks=select(["part-table-valid"]))
        assert [finding.status for finding in found.findings] == ["warning"]
        plan = plan_mends(found.facts, found.checks)
        assert [mend.expected for mend in plan.mends] == ["pass"]
        outcome = rework(disk, plan.edits, output, found=found.facts.survey)
    assert outcome.changed
    with vmstamp.disk.open(output) as disk:
        assert diagnose(disk, checks=select(["part-table-valid"])).fit
        if suffix == ".vhdx":
            WRITERS["raw"](disk, raw, None)
    assert is_whole(raw)
    assert not is_whole(source)

"""What a disk file says of itself."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from vmstamp import disk
from vmstamp.disk.create import create_child
from vmstamp.disk.info import DiskInfo, describe
from vmstamp.disk.memory import MemoryDisk

MIB = 1024 * 1024


def described(path: Path) -> DiskInfo:
    with disk.open(path) as opened:
        return describe(opened)


def written(path: Path, to: str, size: int = 32 * MIB) -> Path:
    disk.convert(MemoryDisk(size, {512: b"data"}), path, to)
    return path


@pytest.mark.parametrize(
    ("to", "has_blocks"),
    [("raw", False), ("vhd-fixed", False), ("vhd-dynamic", True), ("vhdx-fixed", True)],
)
def test_only_a_disk_of_blocks_has_a_block_size(tmp_path: Path, to: str, has_blocks: bool) -> None:
    assert (described(written(tmp_path / "a", to)).block_size is not None) == has_blocks


@pytest.mark.parametrize("to", ["vhd-fixed", "vhd-dynamic", "vhdx"])
def test_a_format_with_an_identity_tells_it(tmp_path: Path, to: str) -> None:
    told = described(written(tmp_path / "a", to))
    assert told.unique_id is not None
    assert told.creator


def test_a_raw_disk_has_no_identity(tmp_path: Path) -> None:
    told = described(written(tmp_path / "a.raw", "raw"))
    assert (told.unique_id, told.creator, told.created) == (None, None, None)


def test_the_parents_are_told_from_the_nearest_on(tmp_path: Path) -> None:
    paths = [written(tmp_path / "base.vhdx", "vhdx"), tmp_path / "child.vhdx", tmp_path / "grandchild.vhdx"]
    for parent, child in pairwise(paths):
        with disk.open(parent) as opened:
            create_child(child, opened)
    assert described(paths[2]).parents == (paths[1], paths[0])


def test_a_dynamic_vhd_is_not_converted_onto_itself(tmp_path: Path) -> None:
    path = written(tmp_path / "a.vhd", "vhd-dynamic")
    assert described(path).mend == f"vmstamp disk convert {path} {tmp_path / 'a-azure.vhd'}"


def test_what_no_conversion_mends_has_no_command(tmp_path: Path) -> None:
    told = described(written(tmp_path / "a.raw", "raw", size=MIB))
    assert not told.accepted
    assert told.mend == ""

"""Disks with sectors of 4096 bytes: VHDX has them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.unit.disk.gpt_4096 import SECTOR, gpt
from vmstamp import disk
from vmstamp.disk.check import check
from vmstamp.disk.create import create_child
from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.partitions import read_partitions
from vmstamp.disk.rewrite import merge, resize
from vmstamp.errors import DiskError

MIB = 1024 * 1024
SIZE = 40 * MIB


def large_sectors(size: int, pieces: dict[int, bytes]) -> MemoryDisk:
    made = MemoryDisk(size, pieces)
    made.sector_size = SECTOR
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    content = large_sectors(SIZE, {**gpt(SIZE, 256, 2048), 8 * MIB: b"data" * 1000})
    disk.convert(content, tmp_path / "disk.vhdx")
    assert check(tmp_path / "disk.vhdx").state == "sound"
    return tmp_path / "disk.vhdx"


@pytest.mark.parametrize("to", ["vhdx", "vhdx-fixed"])
def test_a_vhdx_keeps_the_sectors(path: Path, to: str) -> None:
    again = path.with_name("again")
    with disk.open(path) as opened:
        disk.convert(opened, again, to)
        with disk.open(again) as other:
            assert (other.sector_size, other.size) == (SECTOR, SIZE)
            assert disk.compare(opened, other) is None
    assert check(again).state == "sound"


def test_a_size_is_rounded_up_to_sectors(tmp_path: Path) -> None:
    disk.convert(large_sectors(5 * SECTOR + 512, {0: b"a"}), tmp_path / "a.vhdx")
    with disk.open(tmp_path / "a.vhdx") as opened:
        assert opened.size == 6 * SECTOR


@pytest.mark.parametrize("size", [SIZE + 8 * MIB, 20 * MIB])
def test_the_backup_table_moves_along_when_it_is_resized(path: Path, size: int) -> None:
    with disk.open(path) as opened:
        resize(opened, size)
    with disk.open(path) as opened:
        assert (opened.size, opened.sector_size) == (size, SECTOR)
        table = read_partitions(opened)
        assert (table.sector_size, len(table.partitions)) == (SECTOR, 1)
        assert not [note for note in table.notes if "backup" in note]
        assert opened.read(size - SECTOR, 8) == b"EFI PART"


def test_a_partition_is_not_cut(path: Path) -> None:
    with disk.open(path) as opened, pytest.raises(DiskError, match="partition 1 ends at byte 8392704"):
        resize(opened, 8392704 + 5 * SECTOR - SECTOR)


def test_a_size_off_its_sectors_is_refused(path: Path) -> None:
    with disk.open(path) as opened, pytest.raises(DiskError, match="sectors of 4096 bytes"):
        resize(opened, SIZE + 512)


def test_a_child_has_its_parents_sectors_and_merges(path: Path) -> None:
    child = path.with_name("child.avhdx")
    with disk.open(path) as parent:
        create_child(child, parent)
        before = parent.read(0, SIZE)
    with disk.open(child) as opened:
        assert (opened.sector_size, opened.read(0, SIZE)) == (SECTOR, before)
        merge(opened)
    with disk.open(path) as merged:
        assert (merged.sector_size, merged.read(0, SIZE)) == (SECTOR, before)


def test_a_child_whose_blocks_are_partly_its_own_reads_by_sectors(path: Path) -> None:
    """Bits of the bitmap stand for 4096 bytes; the child's first block has sectors 1 and 3."""
    child = path.with_name("child.avhdx")
    with disk.open(path) as parent:
        create_child(child, parent)
        expected = bytearray(parent.read(0, MIB))
    at = child.stat().st_size
    with child.open("r+b") as file:
        file.truncate(at + 2 * MIB)
        for sector in (1, 3):
            file.seek(at + sector * SECTOR)
            file.write(b"own!" * (SECTOR // 4))
            expected[sector * SECTOR : (sector + 1) * SECTOR] = b"own!" * (SECTOR // 4)
        file.seek(at + MIB)
        file.write(bytes([0b1010]))
        file.seek(3 * MIB)
        file.write(struct.pack("<Q", at | 7))
        file.seek(3 * MIB + 2**23 * SECTOR // MIB * 8)
        file.write(struct.pack("<Q", (at + MIB) | 6))
    assert check(child).state == "sound"
    with disk.open(child) as opened:
        assert opened.read(0, MIB) == expected

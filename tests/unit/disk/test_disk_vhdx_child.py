"""Differencing VHDX files."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from vmstamp import disk
from vmstamp.disk import vhdx
from vmstamp.disk.blocks import set_runs
from vmstamp.disk.memory import MemoryDisk
from vmstamp.errors import DiskError
from vmstamp.extents import Extent

MIB = 1024 * 1024
SIZE = 9 * MIB


@pytest.fixture
def base(tmp_path: Path) -> Path:
    vhdx.write_dynamic(MemoryDisk(SIZE, {0: b"p" * 3 * MIB, 6 * MIB: b"q" * MIB}), tmp_path / "base.vhdx")
    return tmp_path / "base.vhdx"


def child_of(base: Path) -> Path:
    child = base.with_name("child.avhdx")
    with disk.open(base) as parent:
        assert isinstance(parent, vhdx.Vhdx)
        vhdx.create_differencing(child, parent)
    return child


def set_entry(path: Path, index: int, entry: int) -> None:
    with path.open("r+b") as file:
        file.seek(3 * MIB + index * 8)
        file.write(struct.pack("<Q", entry))


def append(path: Path, data: bytes) -> int:
    with path.open("r+b") as file:
        at = file.seek(0, 2)
        file.write(data)
    return at


def test_a_new_child_reads_as_its_parent(base: Path) -> None:
    with disk.open(child_of(base)) as child, disk.open(base) as parent:
        assert (child.format, child.subformat, child.size) == ("vhdx", "differencing", SIZE)
        assert child.read(0, SIZE) == parent.read(0, SIZE)
        assert list(child.extents()) == list(parent.extents())


def test_blocks_and_sectors_of_the_child_hide_the_parents(base: Path) -> None:
    child = child_of(base)
    whole = append(child, b"c" * MIB)
    part = append(child, b"d" * MIB)
    bitmap = bytearray(MIB)
    bitmap[1 * 256 + 0] = 0b00000110  # block 1 has 2048 sectors: its second and third are the child's
    at = append(child, bytes(bitmap))
    set_entry(child, 0, whole | 6)  # fully present
    set_entry(child, 1, part | 7)  # partially present
    set_entry(child, 2, 2)  # zero
    set_entry(child, 4096, at | 6)  # the sector bitmap of the first chunk, of 4096 blocks
    with disk.open(child) as opened, disk.open(base) as parent:
        expected = bytearray(parent.read(0, SIZE))
        expected[:MIB] = b"c" * MIB
        expected[MIB + 512 : MIB + 1536] = b"d" * 1024
        expected[2 * MIB : 3 * MIB] = bytes(MIB)
        assert opened.read(0, SIZE) == expected
        assert opened.read(MIB + 100, 2000) == expected[MIB + 100 : MIB + 2100]
        rebuilt = bytearray(SIZE)
        for low, high in opened.extents():
            rebuilt[low:high] = opened.read(low, high - low)
        assert rebuilt == expected
        assert not any(low < 3 * MIB and high > 2 * MIB for low, high in opened.extents())


def test_a_parent_that_was_changed_is_refused(base: Path) -> None:
    child = child_of(base)
    vhdx.write_dynamic(MemoryDisk(SIZE, {0: b"other"}), base)
    with pytest.raises(DiskError, match="was changed since") as caught:
        disk.open(child)
    assert "2.6.2.6.3" in caught.value.spec
    with child.open("rb") as file:
        file.seek(caught.value.offset or 0)
        assert file.read(4) == bytes.fromhex("b7ef4ab0")  # the parent locator's type


def test_a_parent_that_is_gone_is_named(base: Path) -> None:
    child = child_of(base)
    base.unlink()
    with pytest.raises(DiskError, match=r"parent is not there: looked for 'base\.vhdx'"):
        disk.open(child)


def test_a_child_of_a_child_has_both_parents(base: Path) -> None:
    child = child_of(base)
    with disk.open(child) as parent:
        assert isinstance(parent, vhdx.Vhdx)
        vhdx.create_differencing(base.with_name("grandchild.avhdx"), parent)
    with disk.open(base.with_name("grandchild.avhdx")) as opened:
        assert disk.describe(opened).parents == (child, base)
        assert opened.read(0, 5) == b"ppppp"


@pytest.mark.parametrize(
    ("bits", "start", "end", "runs"),
    [
        ("00000000", 0, 8, []),
        ("10000000", 0, 8, [(0, 1)]),
        ("0000000110000000", 0, 16, [(7, 9)]),
        ("1111111111111111", 3, 12, [(3, 12)]),
        ("10100000", 0, 8, [(0, 1), (2, 3)]),
        ("11111111", 8, 8, []),
    ],
)
def test_runs_of_set_bits(bits: str, start: int, end: int, runs: list[tuple[int, int]]) -> None:
    assert list(set_runs(bits, start, end)) == [Extent(*run) for run in runs]

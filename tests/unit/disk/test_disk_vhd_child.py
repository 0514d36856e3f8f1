"""Differencing VHD files."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from vmstamp import disk
from vmstamp.disk import vhd_writer
from vmstamp.disk.create import create_child
from vmstamp.disk.footer import FOOTER_SIZE
from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.rewrite import merge
from vmstamp.disk.vhd_writer import BAT_OFFSET
from vmstamp.errors import DiskError

MIB = 1024 * 1024
SIZE = 9 * MIB


@pytest.fixture(params=["vhd-dynamic", "vhd-fixed"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    disk.convert(
        MemoryDisk(SIZE, {0: b"p" * 3 * MIB, 6 * MIB: b"q" * MIB}), tmp_path / "base.vhd", request.param
    )
    return tmp_path / "base.vhd"


def child_of(base: Path, name: str = "child.vhd") -> Path:
    with disk.open(base) as parent:
        create_child(base.with_name(name), parent)
    return base.with_name(name)


def write_block(path: Path, block: int, bitmap: bytes, data: bytes) -> None:
    """Put a block before the footer at the end."""
    with path.open("r+b") as file:
        end = file.seek(-FOOTER_SIZE, 2)
        footer = file.read()
        file.seek(end)
        file.write(bitmap + data + footer)
        file.seek(BAT_OFFSET + block * 4)
        file.write(struct.pack(">I", end // 512))


def test_a_new_child_reads_as_its_parent(base: Path) -> None:
    with disk.open(child_of(base)) as child, disk.open(base) as parent:
        assert (child.format, child.subformat, child.size) == ("vhd", "differencing", SIZE)
        assert child.read(0, SIZE) == parent.read(0, SIZE)
        assert list(child.extents()) == list(parent.extents())


def test_sectors_whose_bit_is_set_are_the_childs(base: Path) -> None:
    child = child_of(base)
    bitmap = bytearray(512)
    bitmap[0] = 0b01100000  # the most significant bit is the first sector's
    write_block(child, 1, bytes(bitmap), b"c" * 2 * MIB)
    with disk.open(child) as opened, disk.open(base) as parent:
        expected = bytearray(parent.read(0, SIZE))
        expected[2 * MIB + 512 : 2 * MIB + 1536] = b"c" * 1024
        assert opened.read(0, SIZE) == expected
        rebuilt = bytearray(SIZE)
        for low, high in opened.extents():
            rebuilt[low:high] = opened.read(low, high - low)
        assert rebuilt == expected


def test_another_disk_under_the_parents_name_is_refused(base: Path) -> None:
    child = child_of(base)
    vhd_writer.write_dynamic(MemoryDisk(SIZE, {}), base)
    with pytest.raises(DiskError, match="it is another disk") as caught:
        disk.open(child)
    assert caught.value.offset == 552


def test_a_parent_changed_since_is_refused_and_a_copy_can_be_mended_as_told(base: Path) -> None:
    os.utime(base, (1_700_000_000, 1_700_000_000))
    child = child_of(base)
    os.utime(base, (1_700_003_600, 1_700_003_600))
    with pytest.raises(DiskError, match="was changed at 2023-11-14 23:13:20 UTC") as caught:
        disk.open(child)
    assert caught.value.hint.endswith(f"touch -d @1700000000 {base}")
    os.utime(base, (1_700_000_000, 1_700_000_000))
    disk.open(child).close()


def test_a_child_of_a_child_has_both_parents(base: Path) -> None:
    child = child_of(base)
    grandchild = child_of(child, "grandchild.vhd")
    with disk.open(grandchild) as opened:
        assert disk.describe(opened).parents == (child, base)
        assert opened.read(0, 5) == b"ppppp"


def test_a_parent_of_another_format_is_refused(tmp_path: Path) -> None:
    disk.convert(MemoryDisk(MIB, {}), tmp_path / "base.raw")
    with disk.open(tmp_path / "base.raw") as parent, pytest.raises(DiskError, match="a raw disk cannot be"):
        create_child(tmp_path / "child.vhd", parent)


def test_a_child_that_exists_is_not_replaced(base: Path) -> None:
    child_of(base)
    with pytest.raises(DiskError, match="is there already"):
        child_of(base)


def test_merging_gives_the_parent_what_the_child_showed(base: Path) -> None:
    child = child_of(base)
    write_block(child, 1, b"\x0f" * 512, b"c" * 2 * MIB)
    with disk.open(child) as opened:
        expected = opened.read(0, SIZE)
        kind = (opened.parent.format, opened.parent.subformat) if opened.parent else None
        merge(opened)
    with disk.open(base) as merged:
        assert merged.read(0, SIZE) == expected
        assert (merged.format, merged.subformat) == kind

"""What check finds in VHDX files, each thing at its own offset."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pytest
from google_crc32c import value as crc32c

from vmstamp import disk
from vmstamp.disk.file import ImageFile, replacing, write_at
from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.problem import Problem
from vmstamp.disk.vhdx import Vhdx, create_differencing, write_dynamic, write_fixed
from vmstamp.disk.vhdx.check import check_vhdx, repair_vhdx
from vmstamp.disk.vhdx.check_bat import Occupied
from vmstamp.disk.vhdx.layout import HEADER_OFFSETS, KIB, MIB

BAT = 3 * MIB
FIRST, SECOND = 4 * MIB, 5 * MIB  # where our writer puts the two blocks of data, 0 and 5
FULL, PARTLY = 6, 7
BITMAP = BAT + 4096 * 8  # the entry of the first chunk's sector bitmap


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_dynamic(MemoryDisk(9 * MIB, {0: b"a" * MIB, 5 * MIB: b"b" * MIB}), tmp_path / "disk.vhdx")
    return tmp_path / "disk.vhdx"


@pytest.fixture
def child(path: Path) -> Path:
    with disk.open(path) as parent:
        assert isinstance(parent, Vhdx)
        create_differencing(path.with_name("child.avhdx"), parent)
    return path.with_name("child.avhdx")


def put(path: Path, at: int, value: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(struct.pack("<Q", value))


def set_headers(path: Path, at: int, values: list[bytes]) -> None:
    """Write one of `values` at byte `at` of each header, with a right checksum."""
    with path.open("r+b") as file:
        for start, value in zip(HEADER_OFFSETS, values, strict=True):
            file.seek(start)
            header = bytearray(file.read(4 * KIB))
            header[at : at + len(value)] = value
            header[4:8] = bytes(4)
            header[4:8] = struct.pack("<I", crc32c(bytes(header)))
            file.seek(start)
            file.write(header)


def problems(path: Path) -> list[Problem]:
    file = ImageFile(path)
    try:
        return list(check_vhdx(file))
    finally:
        file.close()


@pytest.mark.parametrize(
    ("at", "entry", "spec", "message"),
    [
        (BAT, SECOND | FULL, "2.5.1.1", "block 5 at byte 5242880 lies over another block"),
        (BAT, MIB | FULL, "2.5.1.1", "block 0 at byte 1048576 lies over the log"),
        (BAT, 2 * MIB | FULL, "2.5.1.1", "lies over the metadata region"),
        (BAT, 3 * MIB | FULL, "2.5.1.1", "lies over the BAT"),
        (BAT, FULL, "2.5.1.1", "block 0 at byte 0 lies over the header section"),
        (BAT, 1 << 50 | FULL, "2.5.1.1", "behind the end of the file"),
        (BAT, FIRST | 8 | FULL, "2.5.1.1", "reserved bits"),
        (BAT, 4, "2.5.1.1", "state 4, which is not valid here"),
        (BAT, FIRST | PARTLY, "2.5.1.1", "state 7, which is not valid here"),
    ],
)
def test_a_bad_entry_of_the_bat_is_told(path: Path, at: int, entry: int, spec: str, message: str) -> None:
    put(path, at, entry)
    (problem,) = problems(path)
    assert message in problem.what
    assert problem.spec == f"[MS-VHDX] {spec}"
    assert problem.offset == (BAT + 40 if entry == SECOND | FULL else at)


def test_all_bad_entries_are_told(path: Path) -> None:
    for block in range(9):
        put(path, BAT + block * 8, 4)
    assert [problem.offset for problem in problems(path)] == [BAT + block * 8 for block in range(9)]


def test_a_partly_present_block_needs_a_sector_bitmap(child: Path) -> None:
    with child.open("r+b") as file:
        file.truncate(6 * MIB)
    put(child, BAT, FIRST | PARTLY)
    assert [(one.offset, one.spec) for one in problems(child)] == [(BAT, "[MS-VHDX] 2.5.1.2")]
    put(child, BITMAP, SECOND | FULL)
    assert problems(child) == []


def test_a_sector_bitmap_may_not_lie_over_a_block(child: Path) -> None:
    with child.open("r+b") as file:
        file.truncate(6 * MIB)
    put(child, BAT, FIRST | PARTLY)
    put(child, BITMAP, FIRST | FULL)
    (problem,) = problems(child)
    assert (problem.offset, "the sector bitmap of chunk 0" in problem.what) == (BITMAP, True)


def test_a_clean_log_must_have_a_place_too(path: Path) -> None:
    set_headers(path, 72, [struct.pack("<Q", MIB + 4096)] * 2)
    (problem,) = problems(path)
    assert (problem.offset, problem.spec) == (HEADER_OFFSETS[1] + 68, "[MS-VHDX] 2.2.2")


def test_headers_of_one_sequence_number_are_numbered_anew(path: Path) -> None:
    set_headers(path, 8, [struct.pack("<Q", 7)] * 2)
    (problem,) = problems(path)
    assert problem.repair
    file = ImageFile(path)
    with replacing(path.with_name("mended")) as fd:
        size = path.stat().st_size
        for start in range(0, size, MIB):
            write_at(fd, file.read(start, min(MIB, size - start)), start)
        repair_vhdx(file, fd)
    file.close()
    assert problems(path.with_name("mended")) == []


def test_what_is_taken_twice_is_known() -> None:
    occupied = Occupied()
    assert occupied.take(3 * MIB, 7 * MIB)
    assert occupied.take(10 * MIB, 1)
    assert not occupied.take(9 * MIB, MIB)
    assert not occupied.take(10 * MIB, 32 * MIB)
    assert occupied.take(2 * MIB, MIB)


def test_a_disk_of_many_blocks_is_checked_in_little_memory(tmp_path: Path) -> None:
    write_fixed(MemoryDisk(1 << 36, {}), tmp_path / "large.vhdx", block_size=MIB)  # 65536 blocks
    tracemalloc.start()
    try:
        assert problems(tmp_path / "large.vhdx") == []
        assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    finally:
        tracemalloc.stop()


def test_an_empty_child_of_a_large_disk_is_small(tmp_path: Path) -> None:
    write_dynamic(MemoryDisk(1 << 46, {}), tmp_path / "base.vhdx", block_size=32 * MIB)
    with disk.open(tmp_path / "base.vhdx") as parent:
        assert isinstance(parent, Vhdx)
        create_differencing(tmp_path / "child.avhdx", parent)
    assert (tmp_path / "child.avhdx").stat().st_blocks * 512 < MIB
    assert problems(tmp_path / "child.avhdx") == []


def test_a_metadata_item_may_not_be_there_twice(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(2 * MIB + 32)
        entry = file.read(32)
        file.write(entry)
    (problem,) = problems(path)
    assert "is there twice" in problem.what
    assert problem.offset == 2 * MIB + 64


def test_what_the_metadata_says_is_told(path: Path) -> None:
    with Vhdx(ImageFile(path)) as opened:
        assert (opened.block_size, opened.parameters.physical_sector_size, opened.creator) == (
            MIB,
            4096,
            "vmstamp",
        )

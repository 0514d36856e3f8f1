"""What check finds in VHD files, each thing at its own offset, and what repair makes of it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.unit.disk.test_disk_vhd_makers import dynamic, footer, sealed
from vmstamp import disk
from vmstamp.disk.check import Report, check, repair
from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.vhd_writer import write_dynamic

MIB = 1024 * 1024
SIZE = 9 * MIB
CONTENT = MemoryDisk(SIZE, {0: b"a" * MIB, 4 * MIB: b"b" * MIB, 8 * MIB: b"c" * MIB})
BAT = 1536
UNUSED = 0xFFFFFFFF


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Dynamic; its blocks 0, 2 and 4 are in the file."""
    write_dynamic(CONTENT, tmp_path / "disk.vhd")
    assert check(tmp_path / "disk.vhd").state == "sound"
    return tmp_path / "disk.vhd"


def entry(path: Path, block: int) -> int:
    return int(struct.unpack_from(">I", path.read_bytes(), BAT + 4 * block)[0])


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def set_entry(path: Path, block: int, value: int) -> None:
    overwrite(path, BAT + 4 * block, struct.pack(">I", value))


def mended(path: Path) -> tuple[Report, Path]:
    """The report of a file, and the mended copy, which is sound."""
    report, copy = check(path), path.with_name("mended")
    assert report.state == "repairable"
    repair(path, copy)
    assert check(copy).state == "sound"
    return report, copy


def test_every_bad_entry_is_told_at_its_own_place(path: Path) -> None:
    at, far = entry(path, 2) * 512, 0x7FFFFFFF * 512 + 512 + 2 * MIB
    set_entry(path, 0, 0)
    set_entry(path, 1, 0x7FFFFFFF)
    set_entry(path, 3, entry(path, 2))
    set_entry(path, 4, 2)
    assert [(problem.offset, problem.what) for problem in check(path).problems] == [
        (BAT, "the BAT says that block 0 lies at the start of the file"),
        (
            BAT + 4,
            f"block 1 would end at byte {far}, behind the end of the file",
        ),
        (BAT + 16, "block 4 at byte 1024 lies over the dynamic disk header"),
        (BAT + 12, f"block 3 at byte {at} lies over block 2"),
    ]
    assert check(path).state == "broken"


def test_one_sector_is_enough_to_lie_over_another_block(path: Path) -> None:
    set_entry(path, 1, entry(path, 2) + 1)
    (problem,) = check(path).problems
    assert (problem.offset, "lies over block 2" in problem.what) == (BAT + 4, True)


@pytest.mark.parametrize(
    ("where", "what"), [(512, "the dynamic disk header lies over the BAT"), (1000, "not at a sector")]
)
def test_a_bat_in_the_wrong_place_is_told(path: Path, where: int, what: str) -> None:
    header = bytearray(path.read_bytes()[512:1536])
    struct.pack_into(">Q", header, 16, where)
    header[36:40] = bytes(4)
    overwrite(path, 512, sealed(bytes(header), 36))
    assert any(what in problem.what for problem in check(path).problems)


def test_fields_that_have_one_valid_value_are_set(tmp_path: Path) -> None:
    """A fixed disk whose features lack the reserved bit, and which names a header that it has not."""
    data = bytearray(footer(MIB, b"win ", (30, 4, 17), kind=2))
    data[8:24] = struct.pack(">IIQ", 0, 0x10000, 512)
    data[64:68] = bytes(4)
    path = tmp_path / "disk.vhd"
    path.write_bytes(b"x" * MIB + sealed(bytes(data), 64))
    report, copy = mended(path)
    assert [problem.offset for problem in report.problems] == [MIB + 8, MIB + 16]
    assert copy.read_bytes() == b"x" * MIB + footer(MIB, b"win ", (30, 4, 17), kind=2)


def test_a_fixed_disk_whose_footer_says_less_than_there_is_is_told(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhd"
    path.write_bytes(bytes(MIB + 512) + footer(MIB, b"win ", (30, 4, 17), kind=2))
    (problem,) = check(path).problems
    assert problem.offset == MIB + 512 + 48


@pytest.mark.parametrize("left", [0, 1, 100, 511])
def test_a_cut_footer_is_written_where_it_was(path: Path, left: int) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 512 + left])
    _, copy = mended(path)
    assert copy.read_bytes() == whole


@pytest.mark.parametrize("damage", [b"C", b"conectix" + bytes(504)])
def test_a_damaged_footer_is_written_from_its_copy(path: Path, damage: bytes) -> None:
    whole = path.read_bytes()
    overwrite(path, len(whole) - 512, damage)
    _, copy = mended(path)
    assert copy.read_bytes() == whole


def test_a_damaged_copy_is_written_from_the_footer(path: Path) -> None:
    whole = path.read_bytes()
    overwrite(path, 100, b"?")
    report, copy = mended(path)
    assert [problem.offset for problem in report.problems] == [0]
    assert copy.read_bytes() == whole


def test_a_dynamic_footer_of_511_bytes_becomes_one_of_512(tmp_path: Path) -> None:
    """As very old Virtual PC wrote it: the last byte, a zero, is not there."""
    whole = dynamic(footer(32 * MIB, b"vpc ", (963, 4, 17)), 32 * MIB, 2 * MIB, 16)
    path = tmp_path / "disk.vhd"
    path.write_bytes(whole[:-1])
    _, copy = mended(path)
    assert copy.read_bytes() == whole


def test_blocks_that_nothing_refers_to_are_kept_when_the_footer_is_lost(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:-512] + b"lost" * 1000)
    _, copy = mended(path)
    data = copy.read_bytes()
    assert data[: len(whole) - 512 + 4000] == whole[:-512] + b"lost" * 1000
    assert (len(data) % 512, data[-512:]) == (0, whole[-512:])


def test_a_mended_disk_holds_what_it_held(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-512])
    _, copy = mended(path)
    with disk.open(copy) as opened:
        assert disk.compare(opened, CONTENT) is None

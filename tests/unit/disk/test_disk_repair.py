"""Mended files: what lies beside the damage is as it was."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.unit.disk.vhdx_log import log_entry, put_log
from vmstamp import disk
from vmstamp.disk.check import check, repair
from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.vhdx import layout
from vmstamp.errors import DiskError

KIB, MIB = 1024, 1024 * 1024
CONTENT = MemoryDisk(5 * MIB, {0: b"a" * 600, 3 * MIB: b"b" * 600})  # so the last block ends in a hole


@pytest.fixture
def path(tmp_path: Path) -> Path:
    disk.convert(CONTENT, tmp_path / "disk.vhdx", "vhdx")
    return tmp_path / "disk.vhdx"


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def seal(path: Path, at: int, length: int) -> None:
    """Set the checksum of the header or region table at `at`."""
    data = path.read_bytes()[at : at + length]
    overwrite(path, at + 4, struct.pack("<I", layout.checksum(data)))


def assert_mended(path: Path, mended: Path) -> None:
    assert check(path).state == "repairable"
    repair(path, mended)
    assert check(mended).state == "sound"
    assert mended.stat().st_size == path.stat().st_size
    with disk.open(mended) as opened:
        assert disk.compare(opened, CONTENT) is None


@pytest.mark.parametrize("in_place", [False, True])
def test_a_file_that_ends_in_a_hole_keeps_its_length(path: Path, in_place: bool) -> None:
    overwrite(path, 64 * KIB + 100, b"!")
    size = path.stat().st_size
    mended = path if in_place else path.with_name("mended")
    repair(path, mended)
    assert mended.stat().st_size == size
    with disk.open(mended) as opened:
        assert disk.compare(opened, CONTENT) is None


@pytest.mark.parametrize("at", layout.REGION_OFFSETS)
def test_a_region_table_with_a_wrong_signature_is_never_the_good_one(path: Path, at: int) -> None:
    overwrite(path, at, b"REGI")
    seal(path, at, layout.REGION_SIZE)
    assert_mended(path, path.with_name("mended"))


@pytest.mark.parametrize("last", [2**64 - 1, 2**64 - 2])
def test_behind_the_last_sequence_number_they_begin_anew(path: Path, last: int) -> None:
    overwrite(path, 64 * KIB + 8, struct.pack("<Q", last))
    seal(path, 64 * KIB, 4 * KIB)
    overwrite(path, 128 * KIB + 100, b"!")
    assert_mended(path, path.with_name("mended"))


def test_a_log_that_makes_the_file_longer_than_files_can_be_is_refused(path: Path) -> None:
    entry = log_entry(1, 0, [(4 * MIB, b"x" * 4096)], path.stat().st_size)
    longest = entry[:4] + bytes(4) + entry[8:56] + struct.pack("<Q", 1 << 63) + entry[64:]
    put_log(path, [(0, longest[:4] + struct.pack("<I", layout.checksum(longest)) + longest[8:])])
    with pytest.raises(DiskError, match="the log says that the file has 9223372036854775808 bytes"):
        repair(path, path.with_name("mended"))
    with pytest.raises(DiskError, match="the log says"):
        disk.open(path)

"""open() tells formats by content, and refuses what is no disk, saying what it is."""

from __future__ import annotations

import os
import random
import time
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from vmstamp import disk
from vmstamp.disk import FixedVhd
from vmstamp.disk.footer import make_footer
from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.vhd import FixedVhdFile
from vmstamp.disk.vhdx import write_dynamic
from vmstamp.errors import DiskError

MIB = 1024 * 1024
FOOTER = make_footer(MIB, UUID(int=1), datetime(2024, 1, 1, tzinfo=UTC))


@pytest.fixture
def memory_disk() -> MemoryDisk:
    rng = random.Random(1)
    pieces = {at: rng.randbytes(rng.randrange(1, 70_000)) for at in range(100_000, 5_000_000, 400_001)}
    return MemoryDisk(5 * MIB + 1536, {0: b"start", **pieces, 5 * MIB + 1533: b"end"})


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.raw", b"", "is empty"),
        ("a.raw", b"\0" * 100, "less than one sector"),
        ("a.vhd", b"\0" * MIB, "a VHD in name only"),
        ("a.VHD", b"\0" * MIB, "a VHD in name only"),
        ("a.vhdx", b"\0" * MIB, "a VHDX in name only"),
        ("a.qcow2", b"\0" * MIB, "a qcow2 disk in name only"),
        ("a.img", b"<!DOCTYPE html><title>404</title>" * 40, "is text"),
        ("a.img", b"\x1f\x8b\x08" + bytes(MIB), "is a gzip file"),
        ("a.img.xz", b"\xfd7zXZ\0" + bytes(MIB), "is an xz file"),
        ("a.ova", bytes(257) + b"ustar" + bytes(MIB), "is a tar file"),
        ("a.iso", bytes(32769) + b"CD001" + bytes(MIB), "ISO 9660"),
        ("a.vhdx", b"vhdxfile", "behind the end of the file"),
        ("a.vhdx", b"vhdxfile" + bytes(2 * MIB), "neither header"),
        ("a.vhd", bytes(MIB - 512) + FOOTER, "current size is 1048576 bytes, but 1048064"),
        ("a.vhd", bytes(MIB) + FOOTER[:100] + b"x" + FOOTER[101:], "footer checksum is"),
        ("a.vhd", FOOTER + bytes(MIB), "no footer"),
    ],
)
def test_what_is_no_whole_disk_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DiskError, match=words) as caught:
        disk.open(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    with pytest.raises(DiskError):
        disk.open(path)


def test_a_raw_disk_without_any_table_is_raw(tmp_path: Path) -> None:
    path = tmp_path / "blank"
    path.write_bytes(b"\0" * 513)
    with disk.open(path) as opened:
        assert (opened.format, opened.size, opened.subformat) == ("raw", 513, "")


def test_a_fixed_vhd_is_told_by_its_footer_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.img"
    path.write_bytes(bytes(MIB) + FOOTER)
    with disk.open(path) as opened:
        assert (opened.format, opened.subformat, opened.size) == ("vhd", "fixed", MIB)


def test_a_footer_of_511_bytes_is_read_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "old.vhd"
    path.write_bytes(bytes(MIB) + FOOTER[:511])
    with disk.open(path) as opened:
        assert isinstance(opened, FixedVhdFile)
        assert opened.size == MIB
        assert "511" in opened.notes[0]


def test_opening_a_fixed_vhd_view_needs_no_file(memory_disk: MemoryDisk) -> None:
    assert FixedVhd(memory_disk).size % MIB == 512


def test_a_small_file_that_claims_64_tib_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "huge.vhdx"
    write_dynamic(MemoryDisk(64 * 1024**4, {5 * 1024**4: b"x"}), path)
    start = time.process_time()
    with disk.open(path) as opened:
        assert opened.size == 64 * 1024**4
        assert opened.read(5 * 1024**4, 2) == b"x\0"
        assert len(list(opened.extents())) == 1
    assert time.process_time() - start < 5  # seconds; the point is that it ends
    assert path.stat().st_blocks * 512 < 40 * MIB


def test_a_vhdx_of_one_kib_that_claims_64_tib_is_refused(tmp_path: Path) -> None:
    path, whole = tmp_path / "cut.vhdx", tmp_path / "whole.vhdx"
    write_dynamic(MemoryDisk(64 * 1024**4, {}), whole)
    path.write_bytes(whole.read_bytes()[:1024])
    with pytest.raises(DiskError, match="behind the end of the file"):
        disk.open(path)

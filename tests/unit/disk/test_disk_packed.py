"""Disks in archives."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from vmstamp import disk
from vmstamp.disk.memory import MemoryDisk
from vmstamp.errors import DiskError

MIB = 1024 * 1024
CONTENT = MemoryDisk(9 * MIB, {0: b"\xa5" * MIB, 5 * MIB: os.urandom(MIB)})
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "zst": zstandard.compress,
}


def plain(directory: Path, to: str = "raw") -> bytes:
    disk.convert(CONTENT, directory / "plain", to)
    data = (directory / "plain").read_bytes()
    (directory / "plain").unlink()
    return data


def tar_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("to", ["raw", "vhd-fixed", "vhd-dynamic", "vhdx"])
@pytest.mark.parametrize("in_tar", [False, True])
def test_a_packed_disk_is_read(tmp_path: Path, packing: str, to: str, in_tar: bool) -> None:
    data = plain(tmp_path, to)
    inner = tar_of({"README": b"read me", "image/disk.vhd": data}) if in_tar else data
    path = put(tmp_path / "disk.packed", PACK[packing](inner))
    with disk.open(path, unpack=True) as opened:
        assert disk.compare(opened, CONTENT) is None
        assert opened.path == path
    assert [entry.name for entry in tmp_path.iterdir()] == ["disk.packed"]


def test_a_plain_tar_is_read_and_zeros_are_holes(tmp_path: Path) -> None:
    path = put(tmp_path / "disk.tar", tar_of({"disk.raw": plain(tmp_path)}))
    with disk.open(path, unpack=True) as opened:
        assert disk.compare(opened, CONTENT) is None
        assert sum(extent.length for extent in opened.extents()) < 3 * MIB


@pytest.mark.parametrize("packing", PACK)
def test_parts_that_follow_each_other_are_one_disk(tmp_path: Path, packing: str) -> None:
    data = plain(tmp_path)
    path = put(tmp_path / "disk.gz", PACK[packing](data[: 3 * MIB]) + PACK[packing](data[3 * MIB :]))
    with disk.open(path, unpack=True) as opened:
        assert disk.compare(opened, CONTENT) is None


def test_an_archive_is_refused_where_it_would_take_long(tmp_path: Path) -> None:
    path = put(tmp_path / "disk.gz", gzip.compress(plain(tmp_path)))
    with pytest.raises(DiskError, match="is a gzip file"):
        disk.open(path)


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_archive_is_our_error(tmp_path: Path, packing: str, damage: str) -> None:
    data = bytearray(PACK[packing](plain(tmp_path)))
    if damage == "cut":
        del data[len(data) // 2 :]
    else:
        data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    path = put(tmp_path / "disk.packed", bytes(data))
    with pytest.raises(DiskError, match="cannot be unpacked") as caught:
        disk.open(path, unpack=True)
    assert "fetch it again" in caught.value.hint


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (tar_of({"a.raw": b"x" * 512, "b.vhd": b"y" * 512}), "more than one disk: a.raw and b.vhd"),
        (tar_of({"notes.txt": b"x" * 512}), "holds no disk"),
        (gzip.compress(lzma.compress(b"x" * 5000)), "another archive"),
    ],
)
def test_what_is_not_one_disk_is_refused_by_name(tmp_path: Path, data: bytes, words: str) -> None:
    path = put(tmp_path / "disk.packed", data)
    with pytest.raises(DiskError, match=words):
        disk.open(path, unpack=True)

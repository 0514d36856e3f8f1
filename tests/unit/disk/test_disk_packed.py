"""Disks in archives."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from vmstamp import disk
from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.packed import unpack
from vmstamp.errors import DiskError

MIB = 1024 * 1024
CONTENT = MemoryDisk(9 * MIB, {0: b"\xa5" * MIB, 5 * MIB: os.urandom(MIB)})
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,  # as the zstd program does
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
        (tar_of({"a.raw": b"x" * 512, "b.vhd": b"y" * 512}), "more than one disk: a.raw, b.vhd"),
        (tar_of({"a": b"x" * 512, "b": b"y" * 512}), "holds no disk"),
        (tar_of({"notes.txt": b"x" * 512}), "is text, not a disk"),
        (gzip.compress(lzma.compress(b"x" * 5000)), "another archive, xz"),
        (gzip.compress(tar_of({"disk.raw.gz": gzip.compress(b"x" * 5000)})), "another archive, gzip"),
        (tar_of({"disk.tar": tar_of({"disk.raw": b"x" * 512})}), "another archive, tar"),
        (tar_of({"a.vmdk": b'# Disk DescriptorFile\nRW 2 FLAT "/etc/passwd" 0\n'.ljust(512)}), "VMDK descr"),
    ],
)
def test_what_is_not_one_disk_is_refused_by_name(tmp_path: Path, data: bytes, words: str) -> None:
    path = put(tmp_path / "disk.packed", data)
    with pytest.raises(DiskError, match=words):
        disk.open(path, unpack=True)


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("rest", [b"x", b"garbage!" * 1000])
def test_what_follows_an_archive_is_refused(tmp_path: Path, packing: str, rest: bytes) -> None:
    path = put(tmp_path / "disk.packed", PACK[packing](plain(tmp_path)) + rest)
    with pytest.raises(DiskError, match="cannot be unpacked"):
        disk.open(path, unpack=True)


@pytest.mark.parametrize("packing", ["gz", "xz"])
def test_zeros_may_pad_an_archive(tmp_path: Path, packing: str) -> None:
    packed = PACK[packing](plain(tmp_path)[: 5 * MIB])
    rest = PACK[packing](plain(tmp_path)[5 * MIB :])
    path = put(tmp_path / "disk.packed", packed + bytes(4096) + rest + bytes(8192))
    with disk.open(path, unpack=True) as opened:
        assert disk.compare(opened, CONTENT) is None


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("missing", [1, 4, 9])
def test_an_archive_that_lacks_its_last_bytes_is_refused(tmp_path: Path, packing: str, missing: int) -> None:
    path = put(tmp_path / "disk.packed", PACK[packing](plain(tmp_path))[:-missing])
    with pytest.raises(DiskError, match="cannot be unpacked"):
        disk.open(path, unpack=True)


@pytest.mark.parametrize("name", ["disk", "image.bin"])
def test_the_only_file_in_a_tar_is_the_disk_whatever_its_name(tmp_path: Path, name: str) -> None:
    path = put(tmp_path / "disk.tar", tar_of({name: plain(tmp_path)}))
    with disk.open(path, unpack=True) as opened:
        assert disk.compare(opened, CONTENT) is None


@pytest.mark.parametrize("order", [["README", "disk.raw", "z"], ["disk.raw", "README"]])
def test_other_files_in_a_tar_are_no_matter(tmp_path: Path, order: list[str]) -> None:
    members = {name: plain(tmp_path) if name == "disk.raw" else b"r" * 20 * MIB for name in order}
    path = put(tmp_path / "disk.tar", tar_of(members))
    with disk.open(path, unpack=True) as opened:
        assert disk.compare(opened, CONTENT) is None


def header(kind: bytes, size: int, name: str = "a.raw") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


def damaged_tars() -> dict[str, bytes]:
    one = tar_of({"a.raw": b"x" * 5000})
    two = bytearray(tar_of({"a.raw": b"x" * 512, "b.raw": b"x" * 512}))
    two[1024 + 148] ^= 1
    return {
        "cut in the data": one[:3000],
        "without its end": one[:5632],
        "second header damaged": bytes(two),
        "something behind it": one + b"x" * 512,
        "a size that is not there": header(b"0", 1 << 62),
        "a skipped size that is not there": header(b"0", 1 << 62, "README"),
        "a negative size": header(b"0", -512),
        "a long name of 8 GiB": header(b"L", 8 << 30) + bytes(4 * MIB),
        "attributes of 8 GiB": header(b"x", 8 << 30) + bytes(4 * MIB),
        "names without end": (header(b"L", 2) + b"a\0".ljust(512, b"\0")) * 900,
        "members without end": header(b"5", 0) * 10_001,
    }


@pytest.mark.parametrize("kind", list(damaged_tars()))
def test_a_damaged_tar_is_our_error(tmp_path: Path, kind: str) -> None:
    path = put(tmp_path / "disk.tar", damaged_tars()[kind])
    with pytest.raises(DiskError, match="cannot be unpacked"):
        disk.open(path, unpack=True)


def sparse_tar(parts: list[tuple[int, bytes]], size: int) -> bytes:
    """A member as GNU tar writes it with holes, its map before its data (POSIX, sparse format 1.0)."""
    numbers = [len(parts), *(number for at, data in parts for number in (at, len(data)))]
    told = "".join(f"{number}\n" for number in numbers).encode()
    stored = told.ljust(-(-len(told) // 512) * 512, b"\0") + b"".join(data for _, data in parts)
    info = tarfile.TarInfo("GNUSparseFile.1/disk.raw")
    info.size = len(stored)
    info.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "disk.raw",
        "GNU.sparse.realsize": str(size),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(stored))
    return buffer.getvalue()


def test_holes_of_a_sparse_member_cost_nothing(tmp_path: Path) -> None:
    size = 4 * 1024**4
    parts = [(0, b"\xa5" * 10_000), (1024**4, b"middle" * 70_000), (size, b"")]
    path = put(tmp_path / "disk.tar", sparse_tar(parts, size))
    start = time.process_time()
    with disk.open(path, unpack=True) as opened:
        assert opened.size == size
        assert opened.read(1024**4, 420_000) == b"middle" * 70_000
        assert opened.read(9_998, 4) == b"\xa5\xa5\0\0"
        assert sum(extent.length for extent in opened.extents()) < MIB
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("parts", "size", "words"),
    [
        ([(4096, b"b"), (0, b"a")], 8192, "not in order"),
        ([(0, b"a" * 4096)], 512, "but parts up to"),
        ([(0, b"a")], 1 << 62, "more than"),
    ],
)
def test_a_crafted_map_of_holes_is_refused(
    tmp_path: Path, parts: list[tuple[int, bytes]], size: int, words: str
) -> None:
    with pytest.raises(DiskError, match=words):
        disk.open(put(tmp_path / "disk.tar", sparse_tar(parts, size)), unpack=True)


def test_a_dictionary_of_half_a_gib_is_not_allocated(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 29}]
    block = lzma.compress(b"x" * 5000, filters=filters)
    with pytest.raises(DiskError, match="Memory usage limit"):
        disk.open(put(tmp_path / "disk.xz", block), unpack=True)


@pytest.mark.parametrize("packing", PACK)
def test_progress_is_told_in_bytes_of_the_archive(tmp_path: Path, packing: str) -> None:
    path = put(tmp_path / "disk.packed", PACK[packing](tar_of({"disk.raw": plain(tmp_path)})))
    read: list[int] = []
    unpack(path, read.append).close()
    assert sum(read) == path.stat().st_size


def test_a_directory_without_room_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "nowhere"))
    path = put(tmp_path / "disk.gz", gzip.compress(plain(tmp_path)))
    with pytest.raises(DiskError, match="No such file or directory") as caught:
        disk.open(path, unpack=True)
    assert str(tmp_path / "nowhere") in caught.value.hint
    assert "TMPDIR" in caught.value.hint

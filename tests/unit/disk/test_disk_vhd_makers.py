"""VHD files as their makers write them, by the letter of the specification: literals, not our own writer."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from vmstamp import disk
from vmstamp.errors import DiskError

KIB, MIB = 1024, 1024 * 1024
UNUSED = b"\xff" * 4
NOTE = "other readers may take its size from its geometry"


def sealed(data: bytes, at: int) -> bytes:
    """`data` with its checksum, one's complement of the sum of all other bytes, at `at`."""
    return data[:at] + struct.pack(">I", 0xFFFFFFFF - sum(data)) + data[at + 4 :]


def footer(
    size: int,
    creator: bytes,
    chs: tuple[int, int, int],
    *,
    kind: int = 3,
    version: int = 0x00050003,
    host: bytes = b"Wi2k",
) -> bytes:
    at = 2**64 - 1 if kind == 2 else 512
    start = struct.pack(">8sIIQI", b"conectix", 2, 0x10000, at, 0x1A2B3C4D)
    head = start + struct.pack(">4sI4sQQ", creator, version, host, size, size)
    return sealed(head + struct.pack(">HBBII16s428x", *chs, kind, 0, b"\x5a" * 16), 64)


def dynamic(
    foot: bytes, size: int, block_size: int, entries: int, *, table: int = 1536, gap: bytes = b""
) -> bytes:
    """A dynamic file that has its last block only, filled with 'B'; `gap` lies before the footer."""
    bat_size = -(-entries * 4 // 512) * 512
    bitmap_size = -(-block_size // 512 // 8 // 512) * 512
    count = -(-size // block_size)
    head = sealed(
        struct.pack(">8sQQIIII984x", b"cxsparse", 2**64 - 1, table, 0x10000, entries, block_size, 0), 36
    )
    first = (table + bat_size) // 512
    bat = UNUSED * (count - 1) + struct.pack(">I", first) + UNUSED * (entries - count)
    start = (foot + head).ljust(table, b"\0") + bat.ljust(bat_size, b"\xff")
    return start + b"\xff" * bitmap_size + b"B" * block_size + gap + foot


@pytest.mark.parametrize(
    ("creator", "host", "chs", "size", "block_size", "entries", "noted"),
    [
        # Virtual PC 2007: its size is what its geometry says (963 * 4 * 17 sectors)
        pytest.param(b"vpc ", b"Wi2k", (963, 4, 17), 33527808, 2 * MIB, 16, False, id="virtual-pc"),
        pytest.param(b"vpc ", b"Mac ", (963, 4, 17), 33527808, 512 * KIB, 64, False, id="virtual-pc-mac"),
        # VirtualBox keeps the size that was asked for, and a geometry rounded down
        pytest.param(b"vbox", b"Wi2k", (963, 4, 17), 32 * MIB, 2 * MIB, 16, True, id="virtualbox"),
        # disk2vhd: the geometry of the physical disk, rounded to whole tracks; a BAT larger than needed
        pytest.param(b"d2v ", b"Wi2k", (1, 255, 63), 32 * MIB, 2 * MIB, 4096, False, id="disk2vhd"),
        pytest.param(b"win ", b"Wi2k", (963, 4, 17), 32 * MIB, 2 * MIB, 16, False, id="hyper-v"),
        pytest.param(b"tap\0", b"\0\0\0\0", (963, 4, 17), 32 * MIB, 2 * MIB, 16, False, id="xenserver"),
        pytest.param(b"vs  ", b"Wi2k", (963, 4, 17), 32 * MIB, 2 * MIB, 16, True, id="virtual-server"),
        pytest.param(b"wa\0\0", b"Wi2k", (963, 4, 17), 32 * MIB, 2 * MIB, 16, True, id="azure"),
        pytest.param(b"qem2", b"Wi2k", (65535, 16, 255), 32 * MIB, 2 * MIB, 17, False, id="qemu-force-size"),
        pytest.param(b"vbox", b"Wi2k", (65535, 16, 255), 32 * MIB, 4 * KIB, 8192, False, id="max-geometry"),
        pytest.param(b"win ", b"Wi2k", (963, 4, 17), 33 * MIB, 16 * MIB, 3, False, id="blocks-of-16-mib"),
    ],
)
def test_a_dynamic_disk_has_its_current_size_whoever_made_it(
    tmp_path: Path,
    creator: bytes,
    host: bytes,
    chs: tuple[int, int, int],
    size: int,
    block_size: int,
    entries: int,
    noted: bool,
) -> None:
    path = tmp_path / "a.vhd"
    path.write_bytes(dynamic(footer(size, creator, chs, host=host), size, block_size, entries))
    start = (size - 1) // block_size * block_size
    with disk.open(path) as opened:
        assert (opened.subformat, opened.size) == ("dynamic", size)
        assert [tuple(extent) for extent in opened.extents()] == [(start, size)]
        assert opened.read(start - 5, size - start + 5) == bytes(5) + b"B" * (size - start)
        assert any(NOTE in note for note in opened.notes) == noted


def test_a_size_that_the_geometry_contradicts_is_noted_with_both(tmp_path: Path) -> None:
    path = tmp_path / "a.vhd"
    path.write_bytes(bytes(32 * MIB) + footer(32 * MIB, b"vbox", (963, 4, 17), kind=2))
    with disk.open(path) as opened:
        assert opened.size == 32 * MIB
        (note,) = opened.notes
        assert "'vbox'" in note
        assert "33527808 bytes" in note
        assert "33554432 bytes" in note


@pytest.mark.parametrize("kind", ["fixed", "dynamic"])
def test_a_footer_of_511_bytes_is_read(tmp_path: Path, kind: str) -> None:
    path, size = tmp_path / "a.vhd", 33527808
    if kind == "fixed":
        content = b"B" * size + footer(size, b"vpc ", (963, 4, 17), kind=2)
    else:
        content = dynamic(footer(size, b"vpc ", (963, 4, 17)), size, 2 * MIB, 16)
    path.write_bytes(content[:-1])
    with disk.open(path) as opened:
        assert opened.read(size - 4, 4) == b"BBBB"
        assert "511 bytes" in opened.notes[0]


@pytest.mark.parametrize("lost", [1, 100, 511, 512])
def test_a_dynamic_disk_is_read_without_the_footer_at_its_end(tmp_path: Path, lost: int) -> None:
    path, size = tmp_path / "a.vhd", 33527808
    path.write_bytes(dynamic(footer(size, b"vpc ", (963, 4, 17)), size, 2 * MIB, 16)[:-lost])
    with disk.open(path) as opened:
        assert opened.read(size - 4, 4) == b"BBBB"
        assert opened.notes


@pytest.mark.parametrize("gap", [1, 512, 5000, 3 * MIB])
def test_garbage_before_the_footer_does_not_matter(tmp_path: Path, gap: int) -> None:
    path, size = tmp_path / "a.vhd", 33527808
    foot = footer(size, b"vpc ", (963, 4, 17))
    path.write_bytes(dynamic(foot, size, 2 * MIB, 16, gap=b"G" * gap))
    with disk.open(path) as opened:
        assert (opened.read(size - 4, 4), opened.notes) == (b"BBBB", ())


def test_a_bat_behind_the_header_is_found_where_the_header_says(tmp_path: Path) -> None:
    path, size = tmp_path / "a.vhd", 33527808
    path.write_bytes(dynamic(footer(size, b"vpc ", (963, 4, 17)), size, 2 * MIB, 16, table=8192))
    with disk.open(path) as opened:
        assert opened.read(size - 4, 4) == b"BBBB"


def test_a_bat_with_too_few_entries_is_refused(tmp_path: Path) -> None:
    path, size = tmp_path / "a.vhd", 33527808
    content = bytearray(dynamic(footer(size, b"vpc ", (963, 4, 17)), size, 2 * MIB, 16))
    struct.pack_into(">I", content, 512 + 28, 15)
    content[512:1536] = sealed(bytes(content[512:548]) + bytes(4) + bytes(content[552:1536]), 36)
    path.write_bytes(content)
    with pytest.raises(DiskError, match="15 entries are too few"):
        disk.open(path)

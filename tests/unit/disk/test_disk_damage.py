"""Cut and bit-flipped files: our own error or the bytes, never anything else, and never a hang."""

from __future__ import annotations

import contextlib
import random
import struct
from pathlib import Path
from uuid import UUID

import pytest

from vmstamp import disk
from vmstamp.disk import partitions, vhdx
from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.vhdx import layout
from vmstamp.errors import DiskError

MIB = 1024 * 1024


@pytest.fixture
def memory_disk() -> MemoryDisk:
    rng = random.Random(1)
    pieces = {at: rng.randbytes(rng.randrange(1, 70_000)) for at in range(100_000, 5_000_000, 400_001)}
    return MemoryDisk(5 * MIB + 1536, {0: b"start", **pieces, 5 * MIB + 1533: b"end"})


def read_everything(path: Path) -> None:
    with disk.open(path) as opened:
        opened.read(0, min(opened.size, 8 * MIB))
        for start, end in opened.extents():
            assert 0 <= start < end <= opened.size
            opened.read(start, min(end - start, 8 * MIB))
        partitions.read_partitions(opened)


@pytest.fixture
def vhdx_file(tmp_path: Path, memory_disk: MemoryDisk) -> Path:
    path = tmp_path / "disk.vhdx"
    vhdx.write_dynamic(memory_disk, path)
    return path


@pytest.fixture
def vhd_file(tmp_path: Path) -> Path:
    path = tmp_path / "disk.vhd"
    path.write_bytes(dynamic_vhd())
    return path


def dynamic_vhd(block_size: int = 4096, blocks: tuple[int | None, ...] = (2, None, 0, 1)) -> bytes:
    """A dynamic VHD made by the letter of the specification: block i is filled with byte i + 1.

    `blocks` says which place in the file each block has; every second sector's bit is clear.
    """
    size = block_size * len(blocks)

    def sealed(data: bytes, at: int) -> bytes:
        return data[:at] + struct.pack(">I", 0xFFFFFFFF - sum(data)) + data[at + 4 :]

    footer = struct.pack(
        ">8sIIQI4sI4sQQIII16s428x",
        b"conectix",
        2,
        0x10000,
        512,
        0,
        b"vpc ",
        1,
        b"Wi2k",
        size,
        size,
        0,
        3,
        0,
        b"i" * 16,
    )
    header = struct.pack(">8sQQIIII984x", b"cxsparse", 2**64 - 1, 1536, 0x10000, len(blocks), block_size, 0)
    first = 2048
    step = 512 + block_size
    bat = b"".join(
        struct.pack(">I", 0xFFFFFFFF if place is None else (first + place * step) // 512) for place in blocks
    )
    body = bytearray(step * sum(place is not None for place in blocks))
    for block, place in enumerate(blocks):
        if place is not None:
            body[place * step] = 0b10101010
            body[place * step + 512 : (place + 1) * step] = bytes([block + 1]) * block_size
    return (
        sealed(footer, 64) + sealed(header, 36) + bat.ljust(512, b"\xff") + bytes(body) + sealed(footer, 64)
    )


def test_a_dynamic_vhd_is_read_by_its_bitmaps_in_scrambled_order(vhd_file: Path) -> None:
    def sectors(value: int) -> bytes:
        return (bytes([value]) * 512 + bytes(512)) * 4

    expected = sectors(1) + bytes(4096) + sectors(3) + sectors(4)
    with disk.open(vhd_file) as opened:
        assert (opened.format, opened.subformat) == ("vhd", "dynamic")
        assert opened.read(0, opened.size) == expected
        assert opened.read(4000, 9000) == expected[4000:13000]
        assert [tuple(extent) for extent in opened.extents()][:2] == [(0, 512), (1024, 1536)]


def test_a_dynamic_vhd_whose_last_footer_is_lost_is_read_by_the_copy(vhd_file: Path) -> None:
    data = vhd_file.read_bytes()
    vhd_file.write_bytes(data[:-512])
    with disk.open(vhd_file) as opened:
        assert "copy was used" in opened.notes[0]
        assert opened.read(0, 1) == b"\x01"


def test_a_block_behind_the_end_is_named(vhd_file: Path) -> None:
    vhd_file.write_bytes(vhd_file.read_bytes()[:8000])
    with disk.open(vhd_file) as opened, pytest.raises(DiskError, match=r"block 0 of 4096 bytes would end"):
        opened.read(0, 512)


def test_a_differencing_vhd_is_refused_by_name(vhd_file: Path) -> None:
    data = bytearray(vhd_file.read_bytes())
    for at in (0, len(data) - 512):
        data[at + 63] = 4
        data[at + 67] -= 1  # the checksum follows
    vhd_file.write_bytes(data)
    with pytest.raises(DiskError, match="its parent is not there") as caught:
        disk.open(vhd_file)
    assert "same directory" in caught.value.hint


def reseal_header(data: bytearray, change: dict[int, bytes]) -> None:
    for at in layout.HEADER_OFFSETS:
        for offset, value in change.items():
            data[at + offset : at + offset + len(value)] = value
        struct.pack_into("<I", data, at + 4, layout.checksum(bytes(data[at : at + 4096])))


def test_a_log_without_entries_is_refused(vhdx_file: Path) -> None:
    data = bytearray(vhdx_file.read_bytes())
    reseal_header(data, {48: b"\x01" * 16})
    vhdx_file.write_bytes(data)
    with pytest.raises(DiskError, match="log is not empty") as caught:
        disk.open(vhdx_file)
    assert caught.value.spec == "[MS-VHDX] 2.3.3"


def test_one_damaged_header_is_survived_and_noted(vhdx_file: Path) -> None:
    data = bytearray(vhdx_file.read_bytes())
    data[128 * 1024 + 100] ^= 1
    vhdx_file.write_bytes(data)
    with disk.open(vhdx_file) as opened:
        assert opened.notes == ("one of the two headers is damaged",)


def test_one_damaged_region_table_is_survived(vhdx_file: Path) -> None:
    data = bytearray(vhdx_file.read_bytes())
    data[192 * 1024 + 20] ^= 1
    vhdx_file.write_bytes(data)
    read_everything(vhdx_file)


def metadata_entry(item: UUID) -> int:
    """Where the entry of a metadata item lies in a file that we wrote."""
    order = list(layout.KNOWN_ITEMS)
    return 2 * MIB + 32 + order.index(item) * 32


@pytest.mark.parametrize(
    ("item", "value", "words"),
    [
        (layout.FILE_PARAMETERS, struct.pack("<II", 1 << 20, 2), "no parent locator"),
        (layout.FILE_PARAMETERS, struct.pack("<II", 3 << 20, 0), "block size 3145728"),
        (layout.FILE_PARAMETERS, struct.pack("<II", 512 << 20, 0), "block size"),
        (layout.VIRTUAL_DISK_SIZE, struct.pack("<Q", 0), "virtual disk size 0"),
        (layout.VIRTUAL_DISK_SIZE, struct.pack("<Q", 100), "virtual disk size 100"),
        (layout.VIRTUAL_DISK_SIZE, struct.pack("<Q", 2**63), "virtual disk size"),
        (layout.VIRTUAL_DISK_SIZE, struct.pack("<Q", 64 * 1024**4), "the BAT of 1048576 bytes is too short"),
        (layout.LOGICAL_SECTOR_SIZE, struct.pack("<I", 1000), "logical sector size 1000"),
    ],
)
def test_parameters_out_of_range_are_refused(vhdx_file: Path, item: UUID, value: bytes, words: str) -> None:
    data = bytearray(vhdx_file.read_bytes())
    (offset,) = struct.unpack_from("<I", data, metadata_entry(item) + 16)
    data[2 * MIB + offset : 2 * MIB + offset + len(value)] = value
    vhdx_file.write_bytes(data)
    with pytest.raises(DiskError, match=words) as caught:
        disk.open(vhdx_file)
    assert "MS-VHDX" in caught.value.spec


def test_an_unknown_required_metadata_item_is_refused(vhdx_file: Path) -> None:
    data = bytearray(vhdx_file.read_bytes())
    at = metadata_entry(layout.PHYSICAL_SECTOR_SIZE)
    data[at : at + 16] = b"\x77" * 16
    vhdx_file.write_bytes(data)
    with pytest.raises(
        DiskError, match=r"metadata item 77777777-.* is required to read the file, and unknown"
    ):
        disk.open(vhdx_file)


def test_an_unknown_required_region_is_refused(vhdx_file: Path) -> None:
    data = bytearray(vhdx_file.read_bytes())
    for at in layout.REGION_OFFSETS:
        data[at + 16 + 32 : at + 16 + 48] = b"\x77" * 16
        struct.pack_into("<I", data, at + 4, layout.checksum(bytes(data[at : at + 65536])))
    vhdx_file.write_bytes(data)
    with pytest.raises(DiskError, match=r"region 77777777-.* is required to read the file, and unknown"):
        disk.open(vhdx_file)


@pytest.mark.parametrize("entry", [(1 << 50) | 6, 7 | (4 << 20), 4, 6])
def test_a_bat_entry_that_cannot_be_is_refused(vhdx_file: Path, entry: int) -> None:
    data = bytearray(vhdx_file.read_bytes())
    struct.pack_into("<Q", data, 3 * MIB, entry)
    vhdx_file.write_bytes(data)
    with disk.open(vhdx_file) as opened:
        with pytest.raises(DiskError):
            opened.read(0, 10)
        with pytest.raises(DiskError):
            list(opened.extents())


@pytest.mark.parametrize("kind", ["vhdx_file", "vhd_file"])
def test_cut_files_give_our_error_or_the_bytes(request: pytest.FixtureRequest, kind: str) -> None:
    path: Path = request.getfixturevalue(kind)
    data = path.read_bytes()
    rng = random.Random(2)
    for cut in [1, 7, 8, 511, 512, 513, *(rng.randrange(len(data)) for _ in range(40))]:
        path.write_bytes(data[:cut])
        with contextlib.suppress(DiskError):
            read_everything(path)


@pytest.mark.parametrize("kind", ["vhdx_file", "vhd_file"])
def test_flipped_bits_give_our_error_or_the_bytes(request: pytest.FixtureRequest, kind: str) -> None:
    path: Path = request.getfixturevalue(kind)
    structures = [0, 65536, 131072, 196608, 262144, 2 * MIB, 2 * MIB + 65536, 3 * MIB, 512, 1536, 2048]
    rng = random.Random(3)
    with path.open("r+b", buffering=0) as file:
        for _ in range(150):
            at = min(rng.choice(structures) + rng.randrange(300), path.stat().st_size - 1)
            file.seek(at)
            old = file.read(1)
            file.seek(at)
            file.write(bytes([old[0] ^ 1 << rng.randrange(8)]))
            with contextlib.suppress(DiskError):
                read_everything(path)
            file.seek(at)
            file.write(old)

"""Random disks, read by us, QEMU and libvhdi: what QEMU wrote in any order, what each of our writers made."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pyvhdi
from hypothesis import given, settings
from hypothesis import strategies as st

from vmstamp import disk
from vmstamp.disk import vhdx
from vmstamp.disk.convert import WRITERS
from vmstamp.disk.memory import MemoryDisk
from vmstamp.disk.vhdx import layout
from vmstamp.extents import Extents
from vmstamp.run import run

MIB = 1024 * 1024
SECTOR = 512
PIECE = 1_000_003  # bytes that libvhdi is asked for at once: begins and ends inside of sectors
BLOCK_SIZES = {"vpc": [2 * MIB], "vhdx": [MIB, 8 * MIB, 32 * MIB]}
QEMU_NAMES = {"vhd-fixed": "vpc", "vhd-dynamic": "vpc", "vhdx-fixed": "vhdx"}


@dataclass(frozen=True)
class Written:
    """A disk of `size` bytes, in blocks; `writes` are (offset, length, byte), in their order."""

    size: int
    writes: tuple[tuple[int, int, int], ...]

    def content(self) -> bytearray:
        content = bytearray(self.size)
        for offset, length, byte in self.writes:
            content[offset : offset + length] = bytes([byte]) * length
        return content

    def source(self) -> MemoryDisk:
        """The same; what was not written is no data."""
        content = bytes(self.content())
        touched = Extents((offset, offset + length) for offset, length, _ in self.writes)
        return MemoryDisk(self.size, {low: content[low:high] for low, high in touched})


# Such that a raw disk is never taken for text.
BYTES = st.one_of(st.just(0), st.integers(0x80, 0xFF))


@st.composite
def disks(draw: st.DrawFn, block_size: int, unit: int = SECTOR) -> Written:
    """Some blocks and a rest that is no whole block; writes around the blocks' borders, and anywhere."""
    blocks = draw(st.integers(0, max(1, 12 * MIB // block_size)))
    size = blocks * block_size + draw(st.integers(1, block_size // unit - 1)) * unit
    border = st.builds(
        lambda block, away: block * block_size + away, st.integers(0, blocks), st.integers(-9000, 9000)
    )
    offset = st.one_of(border, st.integers(0, size - 1)).filter(lambda at: 0 <= at < size)
    length = st.one_of(st.integers(1, 9000), st.sampled_from([SECTOR, 4096, MIB, 2 * MIB + 1, 5 * MIB]))
    writes = draw(st.lists(st.tuples(offset, length, BYTES), min_size=1, max_size=14))
    cut = [(at, min(length, size - at), byte) for at, length, byte in writes]
    return Written(max(size, SECTOR), tuple(cut))


@contextmanager
def directory() -> Iterator[Path]:
    """One for each example, gone after it."""
    with tempfile.TemporaryDirectory(prefix="vmstamp-random-") as made:
        yield Path(made)


def write_by_qemu(path: Path, format: str, block_size: int, written: Written) -> None:
    option = "force_size=on" if format == "vpc" else f"block_size={block_size}"
    run(["qemu-img", "create", "-f", format, "-o", option, path, str(written.size)])
    commands = [f"write -P {byte} {offset} {length}" for offset, length, byte in written.writes]
    run(["qemu-io", "-f", format, *(word for command in commands for word in ("-c", command)), path])


def read_by_qemu(path: Path, format: str) -> bytes:
    plain = path.with_name("plain")
    run(["qemu-img", "convert", "-f", format, "-O", "raw", path, plain])
    return plain.read_bytes()


def read_by_libvhdi(path: Path) -> bytes:
    file = pyvhdi.file()
    file.open(str(path))
    try:
        size = file.get_media_size()
        return b"".join(file.read_buffer_at_offset(min(PIECE, size - at), at) for at in range(0, size, PIECE))
    finally:
        file.close()


def check_ours(path: Path, expected: bytes, block_size: int) -> None:
    """We read `expected` as a whole, by the extents, and in spans that begin in the middle of a block."""
    with disk.open(path) as opened:
        assert opened.size == len(expected)
        assert opened.read(0, opened.size) == expected
        rebuilt = bytearray(opened.size)
        for low, high in opened.extents():
            opened.read_into(low, memoryview(rebuilt)[low:high])
        assert rebuilt == expected
        for middle in range(block_size // 2, opened.size, block_size):
            for length in (1, block_size // 2 + 1, block_size):
                length = min(length, opened.size - middle)
                assert opened.read(middle, length) == expected[middle : middle + length]


@settings(max_examples=15, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize(
    ("format", "block_size"), [(name, size) for name, sizes in BLOCK_SIZES.items() for size in sizes]
)
def test_three_readers_agree_on_what_qemu_wrote(format: str, block_size: int, data: st.DataObject) -> None:
    written = data.draw(disks(block_size))
    with directory() as made:
        path = made / "disk"
        write_by_qemu(path, format, block_size, written)
        expected = read_by_qemu(path, format)
        assert expected == written.content()
        assert read_by_libvhdi(path) == expected
        check_ours(path, expected, block_size)


@settings(max_examples=15, deadline=None)
@given(written=disks(2 * MIB, unit=1))
@pytest.mark.parametrize("to", WRITERS)
def test_every_reader_reads_what_we_write(to: str, written: Written) -> None:
    """A disk of any number of bytes; formats round it up, and fill it with zeros."""
    with directory() as made:
        path = made / "disk"
        disk.convert(written.source(), path, to)
        expected = read_by_qemu(path, QEMU_NAMES.get(to, to))
        assert expected == written.content().ljust(len(expected), b"\0")
        if to.startswith("vhd"):
            assert read_by_libvhdi(path) == expected
        check_ours(path, expected[: written.size] if to == "raw" else expected, 2 * MIB)


@settings(max_examples=10, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("block_size", BLOCK_SIZES["vhdx"])
def test_a_vhdx_of_sectors_of_4096_bytes_is_read_as_libvhdi_reads_it(
    block_size: int, data: st.DataObject
) -> None:
    """QEMU makes none: the item is changed in one of ours; of so small a disk nothing else differs."""
    written = data.draw(disks(block_size, unit=4096))
    content = bytes(written.content())
    with directory() as made:
        path = made / "disk"
        vhdx.write_dynamic(written.source(), path, block_size=block_size)
        set_sector_size(path, 4096)
        assert read_by_libvhdi(path) == content
        check_ours(path, content, block_size)


def set_sector_size(path: Path, sector_size: int) -> None:
    with path.open("r+b") as file:
        file.seek(2 * MIB)  # where our writer puts the metadata
        table = file.read(32 * 8)
        entry = table.index(layout.LOGICAL_SECTOR_SIZE.bytes_le)
        (offset,) = struct.unpack_from("<I", table, entry + 16)
        file.seek(2 * MIB + offset)
        file.write(struct.pack("<I", sector_size))

"""Ours against libvhdi: the disks that we write, read by a reader that shares no code with QEMU's.

It is asked in pieces of an odd length, so that they begin and end inside sectors and cross blocks.
"""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
import pyvhdi

from vmstamp import disk
from vmstamp.disk.create import create_child
from vmstamp.disk.memory import MemoryDisk
from vmstamp.run import run

MIB = 1024 * 1024
SIZE = 21 * MIB
PIECE = 70_001


def source() -> MemoryDisk:
    rng = random.Random(5)
    pieces = {at: rng.randbytes(rng.randrange(1, 200_000)) for at in range(10_000, SIZE - MIB, 700_001)}
    return MemoryDisk(SIZE, {0: b"first", **pieces, SIZE - 4: b"last"})


def read_by_libvhdi(path: Path) -> bytes:
    file = pyvhdi.file()
    file.open(str(path))
    try:
        size = file.get_media_size()
        return b"".join(file.read_buffer_at_offset(min(PIECE, size - at), at) for at in range(0, size, PIECE))
    finally:
        file.close()


@pytest.mark.parametrize("to", ["vhd-fixed", "vhd-dynamic", "vhdx", "vhdx-fixed"])
def test_libvhdi_reads_what_we_write(tmp_path: Path, to: str) -> None:
    path = tmp_path / "disk"
    disk.convert(source(), path, to)
    whole = read_by_libvhdi(path)
    assert whole == source().read(0, SIZE).ljust(len(whole), b"\0")


@pytest.mark.parametrize("format", ["vpc", "vhdx"])
def test_we_read_dynamic_files_as_libvhdi_does(tmp_path: Path, format: str) -> None:
    plain, path = tmp_path / "plain", tmp_path / "disk"
    disk.convert(source(), plain, "raw")
    run(["qemu-img", "convert", "-f", "raw", "-O", format, plain, path])
    with disk.open(path) as opened:
        assert opened.read(0, opened.size) == read_by_libvhdi(path)


def test_libvhdi_reads_a_child_through_its_parent_as_we_do(tmp_path: Path) -> None:
    """Of libvhdi 20260901 only such bytes of a bitmap are compared: it takes a clear bit behind a set one in
    the same byte for set. A VHDX's child without sector bitmaps it reads as if the file's start were one.
    """
    base, child = tmp_path / "base", tmp_path / "child"
    disk.convert(source(), base, "vhd-dynamic")
    with disk.open(base) as parent:
        create_child(child, parent)
    bitmap = bytes(random.Random(3).choices(b"\x00\xff\x0f\x7f", k=512))
    put_block(child, 1536 + 4, bitmap + b"c" * 2 * MIB)
    below, above = pyvhdi.file(), pyvhdi.file()
    below.open(str(base))
    above.open(str(child))
    above.set_parent(below)
    size = above.get_media_size()
    with disk.open(child) as opened:
        for at in range(0, size, PIECE):
            length = min(PIECE, size - at)
            assert opened.read(at, length) == above.read_buffer_at_offset(length, at)
    above.close()
    below.close()


def put_block(path: Path, entry_at: int, data: bytes) -> None:
    """Put a block in front of a VHD's footer, and let the BAT's entry at `entry_at` point to it."""
    with path.open("r+b") as file:
        at = file.seek(-512, 2)
        footer = file.read()
        file.seek(at)
        file.write(data + footer)
        file.seek(entry_at)
        file.write(struct.pack(">I", at // 512))

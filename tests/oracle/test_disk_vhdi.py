"""A differencing VHD of ours, read by libvhdi, which knows parents; QEMU's reader does not.

It is asked in pieces of an odd length, so that they begin and end inside sectors and cross blocks.
"""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pyvhdi

from vmstamp import disk
from vmstamp.disk.create import create_child
from vmstamp.disk.memory import MemoryDisk

MIB = 1024 * 1024
SIZE = 21 * MIB
PIECE = 70_001


def source() -> MemoryDisk:
    rng = random.Random(5)
    pieces = {at: rng.randbytes(rng.randrange(1, 200_000)) for at in range(10_000, SIZE - MIB, 700_001)}
    return MemoryDisk(SIZE, {0: b"first", **pieces, SIZE - 4: b"last"})


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

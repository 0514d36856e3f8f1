"""Ours against libvhdi: the disks that we write, read by a reader that shares no code with QEMU's.

It is asked in pieces of an odd length, so that they begin and end inside sectors and cross blocks.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import pyvhdi

from vmstamp import disk
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

"""The size that QEMU takes a VHD to have: by current size or by geometry, as the footer's creator tells."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from vmstamp import disk
from vmstamp.disk.create import create_child
from vmstamp.disk.footer import checksum, make_footer, parse_footer, size_by_geometry
from vmstamp.disk.memory import MemoryDisk
from vmstamp.run import run

MIB = 1024 * 1024
SIZE = 31 * MIB
CREATORS = [b"win ", b"qem2", b"qemu", b"d2v ", b"CTXS", b"tap\0", b"vpc ", b"vs  ", b"vbox", b"\0\0\0\0"]


@pytest.mark.parametrize("chs", [None, (65535, 16, 255), (0, 0, 0), (1000, 16, 63)])
@pytest.mark.parametrize("creator", CREATORS)
def test_the_size_by_geometry_is_the_one_that_qemu_takes(
    tmp_path: Path, creator: bytes, chs: tuple[int, int, int] | None
) -> None:
    footer = bytearray(make_footer(SIZE, UUID(int=1), datetime(2024, 1, 1, tzinfo=UTC)))
    footer[28:32] = creator
    if chs is not None:
        footer[56:60] = struct.pack(">HBB", *chs)
    struct.pack_into(">I", footer, 64, checksum(bytes(footer)))
    path = tmp_path / "a.vhd"
    path.write_bytes(bytes(SIZE) + footer)
    told = json.loads(run(["qemu-img", "info", "-f", "vpc", "--output=json", path]).stdout)["virtual-size"]
    ours = size_by_geometry(parse_footer(bytes(footer), path, SIZE))
    assert told == (SIZE if ours is None else ours)


def test_qemu_reads_a_differencing_vhd_as_if_it_had_no_parent(tmp_path: Path) -> None:
    """So a child is read here, or merged, before QEMU is given it: QEMU says nothing, and gives zeros."""
    base, child, plain = tmp_path / "base.vhd", tmp_path / "child.vhd", tmp_path / "plain"
    disk.convert(MemoryDisk(MIB, {0: b"parent"}), base, "vhd-dynamic")
    with disk.open(base) as parent:
        create_child(child, parent)
    run(["qemu-img", "convert", "-f", "vpc", "-O", "raw", child, plain])
    assert plain.read_bytes() == bytes(MIB)
    with disk.open(child) as opened:
        assert opened.read(0, 6) == b"parent"

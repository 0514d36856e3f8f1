"""Writes dynamic and differencing VHD files: the source's data block by block, then the structures.

    0     512   copy of the footer
    512  1024   dynamic disk header
    1536        BAT, in whole sectors
    then        blocks, in the order of the disk: a sector of bitmap, then the data at a multiple of 4096
    end   512   footer

Spec: Virtual Hard Disk Image Format Specification 1.0.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

from vmstamp.disk.base import SECTOR, Disk
from vmstamp.disk.data import copy_data
from vmstamp.disk.file import replacing, write_at
from vmstamp.disk.fixed_vhd import whole_mib
from vmstamp.disk.footer import DIFFERENCING, DYNAMIC, FOOTER_SIZE, checksum, make_footer
from vmstamp.disk.resized import Resized
from vmstamp.disk.vhd import (
    DYNAMIC_COOKIE,
    DYNAMIC_HEADER,
    UNUSED,
    DynamicVhdFile,
    FixedVhdFile,
    modification_time,
)
from vmstamp.disk.vhd_locator import make_reference
from vmstamp.errors import DiskError

BLOCK_SIZE = 2 * 1024 * 1024  # the specification's default, and what all readers know
BITMAP_SIZE = BLOCK_SIZE // SECTOR // 8  # 512 bytes: one sector
HEADER_OFFSET = FOOTER_SIZE
BAT_OFFSET = HEADER_OFFSET + DYNAMIC_HEADER.size
ALIGNMENT = 4096  # of a block's data in the file, as Hyper-V does since 2012
HEADER_VERSION = 0x00010000
NO_NEXT = 0xFFFFFFFF_FFFFFFFF
MAX_SIZE = 2040 * 1024**3  # Hyper-V's limit for the format


def write_dynamic(
    source: Disk,
    path: Path,
    progress: Callable[[int], None] | None = None,
    *,
    unique_id: UUID | None = None,
) -> None:
    """Write `source` as a dynamic VHD; only blocks that hold data are in the file.

    The size is rounded up to a whole number of MiB, as for Azure; the backup GPT moves along. `progress` is
    called with the bytes of each piece read. Raises DiskError.
    """
    size = whole_mib(source.size)
    if size > MAX_SIZE:
        raise DiskError(
            path, f"a dynamic VHD cannot hold {size} bytes; {MAX_SIZE} are the most", hint="write a VHDX"
        )
    view = source if source.size == size else Resized(source, size)
    footer = make_footer(
        size, unique_id or uuid4(), datetime.now(UTC), disk_type=DYNAMIC, data_offset=HEADER_OFFSET
    )
    with replacing(path) as fd:
        _write(view, fd, footer, progress)


def create_differencing(
    path: Path, parent: FixedVhdFile | DynamicVhdFile, *, unique_id: UUID | None = None
) -> None:
    """Make `path` a differencing VHD without changes over `parent`, which must not change any more.

    It remembers the parent's unique id and time of modification, and names it by a relative and an absolute
    Windows path and a file URL.
    """
    assert parent.path is not None
    if parent.size > MAX_SIZE:
        raise DiskError(path, f"a differencing VHD cannot hold {parent.size} bytes", hint="use VHDX")
    footer = make_footer(
        parent.size,
        unique_id or uuid4(),
        datetime.now(UTC),
        disk_type=DIFFERENCING,
        data_offset=HEADER_OFFSET,
    )
    count = -(-parent.size // BLOCK_SIZE)
    bat = _empty_bat(count)
    end = BAT_OFFSET + len(bat) * 4
    fields, data = make_reference(
        parent.footer.unique_id, modification_time(parent.path), parent.path, path, end
    )
    with replacing(path, overwrite=False) as fd:
        header = footer + make_header(count, fields)
        write_at(fd, header + struct.pack(f">{len(bat)}I", *bat) + data + footer, 0)


def _empty_bat(count: int) -> array[int]:
    """A BAT for `count` blocks, none in the file, in whole sectors."""
    return array("I", [UNUSED]) * (-(-count * 4 // SECTOR) * SECTOR // 4)


def _write(source: Disk, fd: int, footer: bytes, progress: Callable[[int], None] | None) -> None:
    count = -(-source.size // BLOCK_SIZE)
    bat = _empty_bat(count)
    end = BAT_OFFSET + len(bat) * 4

    def place(offset: int) -> int:
        nonlocal end
        block, start = divmod(offset, BLOCK_SIZE)
        if bat[block] == UNUSED:
            data = -(-(end + BITMAP_SIZE) // ALIGNMENT) * ALIGNMENT
            bat[block] = (data - BITMAP_SIZE) // SECTOR
            end = data + BLOCK_SIZE
            os.ftruncate(fd, end)
            write_at(fd, b"\xff" * BITMAP_SIZE, data - BITMAP_SIZE)
        return bat[block] * SECTOR + BITMAP_SIZE + start

    copy_data(source, fd, place, unit=BLOCK_SIZE, progress=progress)
    write_at(fd, footer + make_header(count), 0)
    write_at(fd, struct.pack(f">{len(bat)}I", *bat), BAT_OFFSET)
    write_at(fd, footer, end)


def make_header(entries: int, parent: bytes = b"") -> bytes:
    """A dynamic disk header for `entries` blocks; `parent` is what follows byte 40, zero for no parent.

    Spec: VHD 1.0, Dynamic Disk Header Format.
    """
    header = bytearray(
        DYNAMIC_HEADER.pack(DYNAMIC_COOKIE, NO_NEXT, BAT_OFFSET, HEADER_VERSION, entries, BLOCK_SIZE, 0)
    )
    header[40 : 40 + len(parent)] = parent
    struct.pack_into(">I", header, 36, checksum(bytes(header), 36))
    return bytes(header)

"""Writes dynamic and fixed VHDX files: the layout, then the source's data block by block, then the BAT.

    0      1 MiB   file type identifier, both headers, both region tables
    1 MiB  1 MiB   log, empty
    2 MiB  1 MiB   metadata
    3 MiB          BAT, in whole MiB
    then           payload blocks, in the order of the disk

Spec: [MS-VHDX] 2.
"""

from __future__ import annotations

import os
import struct
import sys
from array import array
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

from vmstamp.disk.base import Disk
from vmstamp.disk.data import copy_data, nonzero
from vmstamp.disk.file import replacing, write_at
from vmstamp.disk.vhdx import layout
from vmstamp.disk.vhdx.layout import KIB, MIB, Parameters
from vmstamp.disk.vhdx.locator import make_locator
from vmstamp.disk.vhdx.reader import Vhdx
from vmstamp.errors import DiskError

CREATOR = "vmstamp"
LOG_OFFSET, LOG_LENGTH = 1 * MIB, 1 * MIB
METADATA_OFFSET, METADATA_LENGTH = 2 * MIB, 1 * MIB
BAT_OFFSET = 3 * MIB
MAX_BLOCK_COUNT = 128 * 1024  # so the BAT stays near 1 MiB while blocks are small
LARGEST_BLOCK = 32 * MIB  # Hyper-V's own choice


def choose_block_size(size: int) -> int:
    """The smallest block that keeps the BAT small: 1 MiB up to 128 GiB, growing to 32 MiB at 4 TiB.

    Small blocks keep holes holes; Hyper-V takes 32 MiB always.
    """
    block_size = MIB
    while block_size < LARGEST_BLOCK and -(-size // block_size) > MAX_BLOCK_COUNT:
        block_size *= 2
    return block_size


def write_dynamic(
    source: Disk,
    path: Path,
    progress: Callable[[int], None] | None = None,
    *,
    disk_id: UUID | None = None,
    block_size: int | None = None,
) -> None:
    """Write `source` as a dynamic VHDX; only blocks that hold data are allocated, holes stay holes.

    The size is rounded up to a whole number of sectors, which are as the source's, of 512 or 4096 bytes.
    `progress` is called with the bytes of each piece read. Raises DiskError.
    """
    parameters = _parameters(source, path, disk_id, block_size, fixed=False)
    with replacing(path) as fd:
        _write(source, fd, parameters, array("Q", bytes(parameters.bat_entry_count * 8)), progress)


def write_fixed(
    source: Disk,
    path: Path,
    progress: Callable[[int], None] | None = None,
    *,
    disk_id: UUID | None = None,
    block_size: int | None = None,
) -> None:
    """Write `source` as a fixed VHDX: all blocks are allocated, in order; holes are holes of the file."""
    parameters = _parameters(source, path, disk_id, block_size, fixed=True)
    start, step = BAT_OFFSET + _bat_length(parameters), parameters.block_size
    ratio = parameters.chunk_ratio
    bat = array("Q", bytes(parameters.bat_entry_count * 8))
    for block in range(parameters.block_count):
        bat[block + block // ratio] = start + block * step | layout.FULLY_PRESENT
    with replacing(path) as fd:
        _write(source, fd, parameters, bat, progress)


def create_differencing(path: Path, parent: Vhdx, *, disk_id: UUID | None = None) -> None:
    """Make `path` a differencing VHDX without changes over `parent`, which must not change any more.

    The locator names the parent relative to the child's directory, and by its absolute path.
    """
    assert parent.path is not None
    it = parent.parameters
    parameters = replace(it, fixed=False, has_parent=True, disk_id=disk_id or uuid4())
    absolute = parent.path.resolve()
    relative = os.path.relpath(absolute, path.absolute().parent.resolve())
    locator = make_locator(
        {
            "parent_linkage": f"{{{parent.data_write_id}}}",
            "relative_path": relative.replace("/", "\\"),
            "absolute_win32_path": str(absolute),
        }
    )
    with replacing(path, overwrite=False) as fd:  # the BAT, all zeros, is a hole
        os.ftruncate(fd, BAT_OFFSET + _bat_length(parameters))
        write_at(fd, _metadata(parameters, locator), METADATA_OFFSET)
        write_at(fd, _header_section(parameters), 0)


def _parameters(
    source: Disk, path: Path, disk_id: UUID | None, block_size: int | None, *, fixed: bool
) -> Parameters:
    sector = source.sector_size
    size = -(-source.size // sector) * sector
    if not 0 < size <= layout.MAX_SIZE:
        raise DiskError(path, f"a VHDX cannot hold a disk of {size} bytes", spec="[MS-VHDX] 2.6.2.2")
    return Parameters(
        block_size=block_size or choose_block_size(size),
        fixed=fixed,
        has_parent=False,
        size=size,
        disk_id=disk_id or uuid4(),
        logical_sector_size=sector,
        physical_sector_size=4096,
    )


def _write(
    source: Disk,
    fd: int,
    parameters: Parameters,
    bat: array[int],
    progress: Callable[[int], None] | None,
) -> None:
    """All of the file; blocks that `bat` has no place for get one when their first data comes."""
    block_size, ratio = parameters.block_size, parameters.chunk_ratio
    end = BAT_OFFSET + _bat_length(parameters)
    end += parameters.block_count * block_size if parameters.fixed else 0
    os.ftruncate(fd, end)
    write_at(fd, _metadata(parameters), METADATA_OFFSET)

    def place(offset: int) -> int:
        nonlocal end
        block, start = divmod(offset, block_size)
        index = block + block // ratio
        if not bat[index]:
            bat[index] = end | layout.FULLY_PRESENT
            end += block_size
            os.ftruncate(fd, end)
        return (bat[index] & layout.OFFSET_MASK) + start

    copy_data(source, fd, place, unit=block_size, progress=progress)
    if sys.byteorder == "big":
        bat.byteswap()
    table = memoryview(bat).cast("B")
    for low, high in nonzero(table):  # a large disk's is mostly empty
        write_at(fd, table[low:high], BAT_OFFSET + low)
    write_at(fd, _header_section(parameters), 0)


def _bat_length(parameters: Parameters) -> int:
    return -(-parameters.bat_entry_count * 8 // MIB) * MIB


def _sealed(data: bytes, size: int) -> bytes:
    """A structure grown to `size` with its checksum set."""
    data = data.ljust(size, b"\0")
    return data[:4] + struct.pack("<I", layout.checksum(data)) + data[8:]


def _header_section(parameters: Parameters) -> bytes:
    """The first MiB, up to the end of the second region table. Spec: [MS-VHDX] 2.2."""
    file_write_id, data_write_id = uuid4(), uuid4()
    section = bytearray(layout.REGION_OFFSETS[1] + layout.REGION_SIZE)
    section[:8] = layout.SIGNATURE
    creator = CREATOR.encode("utf-16-le")
    section[8 : 8 + len(creator)] = creator
    for sequence_number, offset in enumerate(layout.HEADER_OFFSETS, 1):
        header = layout.HEADER.pack(
            b"head",
            0,
            sequence_number,
            file_write_id.bytes_le,
            data_write_id.bytes_le,
            bytes(16),
            0,
            1,
            LOG_LENGTH,
            LOG_OFFSET,
        )
        section[offset : offset + 4 * KIB] = _sealed(header, 4 * KIB)
    table = layout.REGION_TABLE.pack(b"regi", 0, 2)
    for region, start, length in (
        (layout.BAT_REGION, BAT_OFFSET, _bat_length(parameters)),
        (layout.METADATA_REGION, METADATA_OFFSET, METADATA_LENGTH),
    ):
        table += layout.REGION_ENTRY.pack(region.bytes_le, start, length, 1)
    for offset in layout.REGION_OFFSETS:
        section[offset : offset + layout.REGION_SIZE] = _sealed(table, layout.REGION_SIZE)
    return bytes(section)


def _metadata(parameters: Parameters, locator: bytes = b"") -> bytes:
    """The metadata table and the items behind it. Spec: [MS-VHDX] 2.6."""
    disk = layout.IS_VIRTUAL_DISK | layout.IS_REQUIRED
    kind = {"fixed": layout.LEAVE_BLOCK_ALLOCATED, "differencing": layout.HAS_PARENT}
    items = [
        (
            layout.FILE_PARAMETERS,
            struct.pack("<II", parameters.block_size, kind.get(parameters.subformat, 0)),
            layout.IS_REQUIRED,
        ),
        (layout.VIRTUAL_DISK_SIZE, struct.pack("<Q", parameters.size), disk),
        (layout.VIRTUAL_DISK_ID, parameters.disk_id.bytes_le, disk),
        (layout.LOGICAL_SECTOR_SIZE, struct.pack("<I", parameters.logical_sector_size), disk),
        (layout.PHYSICAL_SECTOR_SIZE, struct.pack("<I", parameters.physical_sector_size), disk),
    ]
    if locator:
        items.append((layout.PARENT_LOCATOR, locator, layout.IS_REQUIRED))
    table = layout.METADATA_TABLE.pack(b"metadata", 0, len(items))
    content = b""
    for item, value, flags in items:
        offset = layout.METADATA_SIZE + len(content)
        table += layout.METADATA_ENTRY.pack(item.bytes_le, offset, len(value), flags)
        content += value
    return table.ljust(layout.METADATA_SIZE, b"\0") + content

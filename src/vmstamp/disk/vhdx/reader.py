"""Reads fixed, dynamic and differencing VHDX files.

A log that was not replayed is replayed in memory. Refused by name: unknown regions and metadata items that
are required. Spec: [MS-VHDX].
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from vmstamp.disk.base import Disk
from vmstamp.disk.blocks import HOLE, ZERO, BlockDisk, set_runs
from vmstamp.disk.file import ImageFile
from vmstamp.disk.parents import OpenParent, refuse_parent
from vmstamp.disk.vhdx import layout
from vmstamp.disk.vhdx.layout import MIB, Parameters, checksum
from vmstamp.disk.vhdx.locator import LINKAGES, PATHS, parse_locator
from vmstamp.disk.vhdx.locator import MAX_SIZE as MAX_LOCATOR
from vmstamp.disk.vhdx.log import Log, ReplayedFile
from vmstamp.errors import DiskError
from vmstamp.extents import Extent

DAMAGED = "the file is truncated or damaged; copy it again from its source"


@dataclass(frozen=True)
class Header:
    """A valid header, at `at` of the file. `log_id` 0 says that the log is empty."""

    at: int
    sequence_number: int
    data_write_id: UUID
    log_id: UUID
    log_version: int
    version: int
    log_length: int
    log_offset: int


@dataclass(frozen=True)
class Region:
    """A region's place in the file, bytes."""

    offset: int
    length: int


@dataclass(frozen=True)
class Item:
    """A metadata item, at `offset` of the file."""

    offset: int
    data: bytes


class Vhdx(BlockDisk):
    """A VHDX, open for reading. Owns the file.

    `data_write_id` is what a child remembers of its parent; it changes with every change of the data.
    `file` is what is read: with its log, when that is not empty, laid over it. Without `open_parent` a
    differencing disk's parent is left out.
    """

    format = "vhdx"

    def __init__(self, file: ImageFile, open_parent: OpenParent | None = refuse_parent) -> None:
        self.path = file.path
        if file.read(0, 8, what="the file type identifier", spec="[MS-VHDX] 2.2.1") != layout.SIGNATURE:
            raise DiskError(file.path, "'vhdxfile' was expected", offset=0, spec="[MS-VHDX] 2.2.1")
        header, notes = _current_header(file)
        if header.log_id.int:
            file = replay(file, header)
            notes += ("it was not closed properly: its log was replayed in memory",)
        self.file = file
        self.data_write_id = header.data_write_id
        regions = _read_regions(file)
        items = _read_items(file, regions[layout.METADATA_REGION])
        self.metadata_region = regions[layout.METADATA_REGION]
        self.parameters = _read_parameters(file, self.metadata_region, items)
        self.bat_region = regions[layout.BAT_REGION]
        self.size = self.parameters.size
        self.block_size = self.parameters.block_size
        self.sector_size = self.parameters.logical_sector_size
        self.subformat = self.parameters.subformat
        self.unique_id = self.parameters.disk_id
        self.notes = notes
        creator = file.read(8, 512, what="the creator")
        self.creator = creator.decode("utf-16-le", errors="replace").partition("\0")[0]
        if self.bat_region.length < self.parameters.bat_entry_count * 8:
            raise DiskError(
                file.path,
                f"the BAT of {self.bat_region.length} bytes is too short for"
                f" {self.parameters.block_count} blocks",
                offset=self.bat_region.offset,
                spec="[MS-VHDX] 2.5",
                hint=DAMAGED,
            )
        if self.parameters.has_parent and open_parent is not None:
            self.parent = _open_parent(file.path, items[layout.PARENT_LOCATOR], open_parent)

    def _locate(self, first: int, count: int) -> Sequence[int | None]:
        ratio = self.parameters.chunk_ratio
        low = first + first // ratio
        high = first + count - 1 + (first + count - 1) // ratio
        raw = self.file.read(self.bat_region.offset + low * 8, (high - low + 1) * 8, what="the BAT")
        entries = struct.unpack(f"<{high - low + 1}Q", raw)
        return [
            self._position(block, entries[block + block // ratio - low])
            for block in range(first, first + count)
        ]

    def allocated(self) -> Iterator[tuple[int, int]]:
        ratio = self.parameters.chunk_ratio
        end = self.bat_region.offset + self.parameters.bat_entry_count * 8
        for stored in self.file.extents(self.bat_region.offset, end):  # a hole in the BAT: layout.NOT_PRESENT
            low = (stored.start - self.bat_region.offset) // 8
            high = -(-(stored.end - self.bat_region.offset) // 8)
            for start in range(low, high, 8192):
                count = min(8192, high - start)
                raw = self.file.read(self.bat_region.offset + start * 8, count * 8, what="the BAT")
                for index, entry in enumerate(struct.unpack(f"<{count}Q", raw), start):
                    if not entry or index % (ratio + 1) == ratio:
                        continue
                    block = index - index // (ratio + 1)
                    if block >= self.parameters.block_count:
                        return
                    position = self._position(block, entry)
                    if position is not HOLE:
                        yield block, position

    def _present(self, block: int, position: int, start: int, end: int) -> Iterator[Extent]:
        if not self.parameters.has_parent:
            yield Extent(start, end)
            return
        entry_at = self.bat_region.offset + (block + block // self.parameters.chunk_ratio) * 8
        (entry,) = struct.unpack("<Q", self.file.read(entry_at, 8, what="the BAT"))
        if entry & layout.STATE_MASK != layout.PARTIALLY_PRESENT:
            yield Extent(start, end)
            return
        sector = self.sector_size
        first, last = start // sector, (end - 1) // sector
        low, high = first // 8, last // 8 + 1
        at = self._bitmap_position(block) + (block % self.parameters.chunk_ratio) * (
            self.block_size // sector // 8
        )
        bitmap = self.file.read(at + low, high - low, what=f"the sector bitmap of block {block}")
        base = low * 8
        bits = f"{int.from_bytes(bitmap, 'little'):0{len(bitmap) * 8}b}"[::-1]  # the least significant first
        for run in set_runs(bits, first - base, last + 1 - base):
            yield Extent(max(start, (base + run.start) * sector), min(end, (base + run.end) * sector))

    def _bitmap_position(self, block: int) -> int:
        """Where the sector bitmap block of `block`'s chunk lies. Spec: [MS-VHDX] 2.5.1.2."""
        ratio = self.parameters.chunk_ratio
        at = self.bat_region.offset + (block // ratio * (ratio + 1) + ratio) * 8
        (entry,) = struct.unpack("<Q", self.file.read(at, 8, what="the BAT"))
        position: int = entry & layout.OFFSET_MASK
        if entry & layout.STATE_MASK != layout.FULLY_PRESENT or position < MIB:
            raise DiskError(
                self.file.path,
                f"block {block} is partly present, but the entry of its sector bitmap is {entry:#018x}",
                offset=at,
                spec="[MS-VHDX] 2.5.1.2",
                hint=DAMAGED,
            )
        return position

    def _position(self, block: int, entry: int) -> int | None:
        """Where a payload block lies in the file, or HOLE, or ZERO."""
        state, position = entry & layout.STATE_MASK, entry & layout.OFFSET_MASK
        if state in layout.READS_AS_ZERO:
            return HOLE if state == layout.NOT_PRESENT or not self.parameters.has_parent else ZERO
        partly = state == layout.PARTIALLY_PRESENT and self.parameters.has_parent
        if (state != layout.FULLY_PRESENT and not partly) or position < MIB:
            raise DiskError(
                self.file.path,
                f"the BAT entry of block {block} is {entry:#018x}: its state or offset is not valid here",
                offset=self.bat_region.offset + (block + block // self.parameters.chunk_ratio) * 8,
                spec=layout.BAT_SPEC,
                hint=DAMAGED,
            )
        self._check_inside(block, position, layout.BAT_SPEC)
        return position


def _open_parent(path: Path, locator: Item, open_parent: OpenParent) -> Disk:
    """The parent that the locator names; DiskError when it is another disk, or has changed since."""
    pairs = parse_locator(locator.data, path, locator.offset)
    linkages = [pairs[key].strip("{}\0 ").lower() for key in LINKAGES if key in pairs]
    parent = open_parent([pairs[key] for key in PATHS if key in pairs])
    try:
        if not isinstance(parent, Vhdx):
            raise DiskError(path, f"its parent {parent.path} is a {parent.format} disk, not a VHDX")
        if str(parent.data_write_id) not in linkages:
            raise DiskError(
                path,
                f"its parent {parent.path} has data write GUID {parent.data_write_id},"
                f" expected {' or '.join(linkages) or 'none'}: it is another disk, or was changed since",
                offset=locator.offset,
                spec="[MS-VHDX] 2.6.2.6.3",
                hint="put the parent back as it was when the child was made",
            )
    except BaseException:
        parent.close()
        raise
    return parent


def replay(file: ImageFile, header: Header) -> ReplayedFile:
    """`file` with its log laid over it. Raises DiskError."""
    if header.log_version != 0:
        raise DiskError(
            file.path, f"log version {header.log_version} is unknown; 0 is known", spec=layout.HEADER_SPEC
        )
    return ReplayedFile(file, Log(file, header.log_offset, header.log_length, header.log_id))


def read_headers(file: ImageFile) -> list[Header]:
    """The valid headers, one or two. Raises DiskError when there is none."""
    valid = []
    for offset in layout.HEADER_OFFSETS:
        data = file.read(offset, layout.HEADER.size, what="a header", spec=layout.HEADER_SPEC)
        signature, found, sequence, _, data_write_id, log_id, *rest = layout.HEADER.unpack(data)
        log_version, version, log_length, log_offset = rest
        if signature == b"head" and found == checksum(data):
            valid.append(
                Header(
                    at=offset,
                    sequence_number=sequence,
                    data_write_id=UUID(bytes_le=data_write_id),
                    log_id=UUID(bytes_le=log_id),
                    log_version=log_version,
                    version=version,
                    log_length=log_length,
                    log_offset=log_offset,
                )
            )
    if not valid:
        raise DiskError(
            file.path,
            "neither header has its signature 'head' and a right checksum",
            offset=layout.HEADER_OFFSETS[0],
            spec=layout.HEADER_SPEC,
            hint=DAMAGED,
        )
    return valid


def _current_header(file: ImageFile) -> tuple[Header, tuple[str, ...]]:
    """The header that counts, and a note when the other one is damaged."""
    valid = read_headers(file)
    header = max(valid, key=lambda candidate: candidate.sequence_number)
    if header.version != 1:
        raise DiskError(
            file.path,
            f"version {header.version} of the format is unknown; 1 is known",
            spec=layout.HEADER_SPEC,
        )
    return header, () if len(valid) == 2 else ("one of the two headers is damaged",)


def _read_regions(file: ImageFile) -> dict[UUID, Region]:
    """The BAT and the metadata region, from the first region table that is whole."""
    for offset in layout.REGION_OFFSETS:
        data = file.read(offset, layout.REGION_SIZE, what="a region table", spec=layout.REGION_SPEC)
        signature, found, count = layout.REGION_TABLE.unpack_from(data)
        if signature == b"regi" and found == checksum(data) and count <= layout.MAX_ENTRIES:
            return _parse_regions(file, data, count, offset)
    raise DiskError(
        file.path,
        "neither region table has its signature 'regi' and a right checksum",
        offset=layout.REGION_OFFSETS[0],
        spec=layout.REGION_SPEC,
        hint=DAMAGED,
    )


def _parse_regions(file: ImageFile, data: bytes, count: int, at: int) -> dict[UUID, Region]:
    regions = {}
    for index in range(count):
        entry_at = layout.REGION_TABLE.size + index * layout.REGION_ENTRY.size
        name, offset, length, required = layout.REGION_ENTRY.unpack_from(data, entry_at)
        region = UUID(bytes_le=name)
        if region not in (layout.BAT_REGION, layout.METADATA_REGION):
            if required & 1:
                raise DiskError(
                    file.path,
                    f"region {region} is required to read the file, and unknown",
                    offset=at + entry_at,
                    spec=layout.REGION_SPEC,
                    hint="convert the disk with the program that made it",
                )
            continue
        if offset % MIB or offset < MIB or length % MIB or not length or offset + length > file.size:
            raise DiskError(
                file.path,
                f"region {region} of {length} bytes at {offset} is not inside the file in whole MiB",
                offset=at + entry_at,
                spec=layout.REGION_SPEC,
                hint=DAMAGED,
            )
        regions[region] = Region(offset, length)
    for region, name in ((layout.BAT_REGION, "BAT"), (layout.METADATA_REGION, "metadata")):
        if region not in regions:
            raise DiskError(
                file.path, f"there is no {name} region", offset=at, spec=layout.REGION_SPEC, hint=DAMAGED
            )
    return regions


def _read_parameters(file: ImageFile, region: Region, items: dict[UUID, Item]) -> Parameters:
    block_size, flags = struct.unpack("<II", items[layout.FILE_PARAMETERS].data)
    parameters = Parameters(
        block_size=block_size,
        fixed=bool(flags & layout.LEAVE_BLOCK_ALLOCATED),
        has_parent=bool(flags & layout.HAS_PARENT),
        size=int.from_bytes(items[layout.VIRTUAL_DISK_SIZE].data, "little"),
        disk_id=UUID(bytes_le=items[layout.VIRTUAL_DISK_ID].data),
        logical_sector_size=int.from_bytes(items[layout.LOGICAL_SECTOR_SIZE].data, "little"),
        physical_sector_size=int.from_bytes(items[layout.PHYSICAL_SECTOR_SIZE].data, "little"),
    )
    if parameters.has_parent and layout.PARENT_LOCATOR not in items:
        raise DiskError(
            file.path,
            "it has a parent, but no parent locator",
            offset=region.offset,
            spec="[MS-VHDX] 2.6.2.6",
            hint=DAMAGED,
        )
    _check_parameters(file, items, parameters)
    return parameters


def _check_parameters(file: ImageFile, items: dict[UUID, Item], it: Parameters) -> None:
    wrong, item, spec = "", layout.FILE_PARAMETERS, "2.6.2.1"
    if not (layout.MIN_BLOCK <= it.block_size <= layout.MAX_BLOCK) or it.block_size & (it.block_size - 1):
        wrong = f"block size {it.block_size} is not a power of two from 1 to 256 MiB"
    elif it.logical_sector_size not in (512, 4096):
        wrong = f"logical sector size {it.logical_sector_size} is neither 512 nor 4096"
        item, spec = layout.LOGICAL_SECTOR_SIZE, "2.6.2.4"
    elif not 0 < it.size <= layout.MAX_SIZE or it.size % it.logical_sector_size:
        wrong = f"virtual disk size {it.size} is not a whole number of sectors up to 64 TiB"
        item, spec = layout.VIRTUAL_DISK_SIZE, "2.6.2.2"
    if wrong:
        at = items[item].offset
        raise DiskError(file.path, wrong, offset=at, spec=f"[MS-VHDX] {spec}", hint=DAMAGED)


def _read_items(file: ImageFile, region: Region) -> dict[UUID, Item]:
    """The content of all known metadata items, checked for length."""
    data = file.read(
        region.offset, layout.METADATA_SIZE, what="the metadata table", spec=layout.METADATA_SPEC
    )
    signature, _, count = layout.METADATA_TABLE.unpack_from(data)
    if signature != b"metadata" or count > layout.MAX_ENTRIES:
        raise DiskError(
            file.path,
            "the metadata table has no signature 'metadata' or too many entries",
            offset=region.offset,
            spec=layout.METADATA_SPEC,
            hint=DAMAGED,
        )
    items: dict[UUID, Item] = {}
    for index in range(count):
        at = layout.METADATA_TABLE.size + index * layout.METADATA_ENTRY.size
        name, offset, length, flags = layout.METADATA_ENTRY.unpack_from(data, at)
        item = UUID(bytes_le=name)
        if item != layout.PARENT_LOCATOR and item not in layout.KNOWN_ITEMS:
            if flags & layout.IS_REQUIRED:
                raise DiskError(
                    file.path,
                    f"metadata item {item} is required to read the file, and unknown",
                    offset=region.offset + at,
                    spec=layout.METADATA_SPEC,
                    hint="convert the disk with the program that made it",
                )
            continue
        if (
            length != layout.KNOWN_ITEMS.get(item, min(length, MAX_LOCATOR))
            or offset < layout.METADATA_SIZE
            or offset + length > region.length
        ):
            raise DiskError(
                file.path,
                f"metadata item {item} of {length} bytes at {offset} is not as specified",
                offset=region.offset + at,
                spec=layout.METADATA_SPEC,
                hint=DAMAGED,
            )
        if item in items:
            raise DiskError(
                file.path,
                f"metadata item {item} is there twice",
                offset=region.offset + at,
                spec=layout.METADATA_SPEC,
                hint=DAMAGED,
            )
        items[item] = Item(region.offset + offset, file.read(region.offset + offset, length))
    missing = [str(item) for item in layout.KNOWN_ITEMS if item not in items]
    if missing:
        raise DiskError(
            file.path,
            f"required metadata items are missing: {', '.join(missing)}",
            offset=region.offset,
            spec="[MS-VHDX] 2.6.2",
            hint=DAMAGED,
        )
    return items

"""Reads fixed and dynamic VHDX files.

Refused by name: a log that is not empty, differencing files, unknown regions and metadata items that
are required. Spec: [MS-VHDX].
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from vmstamp.disk.blocks import BlockDisk
from vmstamp.disk.file import ImageFile
from vmstamp.disk.parents import OpenParent, refuse_parent
from vmstamp.disk.vhdx import layout
from vmstamp.disk.vhdx.layout import MIB, Parameters, checksum
from vmstamp.errors import DiskError

DAMAGED = "the file is truncated or damaged; copy it again from its source"
DIRTY = "the disk was not closed properly; attach it once in Hyper-V, or run: qemu-img check -r all FILE"


@dataclass(frozen=True)
class Header:
    """The current header. `log_id` 0 says that the log is empty."""

    sequence_number: int
    log_id: UUID
    log_version: int
    version: int


@dataclass(frozen=True)
class Region:
    """A region's place in the file, bytes."""

    offset: int
    length: int


class Vhdx(BlockDisk):
    """A fixed or dynamic VHDX, open for reading. Owns the file."""

    format = "vhdx"

    def __init__(self, file: ImageFile, open_parent: OpenParent = refuse_parent) -> None:
        self._file = file
        self.path = file.path
        if file.read(0, 8, what="the file type identifier", spec="[MS-VHDX] 2.2.1") != layout.SIGNATURE:
            raise DiskError(file.path, "'vhdxfile' was expected", offset=0, spec="[MS-VHDX] 2.2.1")
        header, notes = _read_headers(file)
        if header.log_id.int:
            raise DiskError(
                file.path, "the log is not empty and must be replayed first", spec="[MS-VHDX] 2.3", hint=DIRTY
            )
        regions = _read_regions(file)
        self.parameters = _read_parameters(file, regions[layout.METADATA_REGION])
        self._bat = regions[layout.BAT_REGION]
        self.size = self.parameters.size
        self.block_size = self.parameters.block_size
        self.sector_size = self.parameters.logical_sector_size
        self.subformat = "fixed" if self.parameters.fixed else "dynamic"
        self.unique_id = self.parameters.disk_id
        self.notes = notes
        creator = file.read(8, 512, what="the creator")
        self.creator = creator.decode("utf-16-le", errors="replace").partition("\0")[0]
        if self._bat.length < self.parameters.bat_entry_count * 8:
            raise DiskError(
                file.path,
                f"the BAT of {self._bat.length} bytes is too short for {self.parameters.block_count} blocks",
                offset=self._bat.offset,
                spec="[MS-VHDX] 2.5",
                hint=DAMAGED,
            )

    def _locate(self, first: int, count: int) -> Sequence[int | None]:
        ratio = self.parameters.chunk_ratio
        low = first + first // ratio
        high = first + count - 1 + (first + count - 1) // ratio
        raw = self._file.read(self._bat.offset + low * 8, (high - low + 1) * 8, what="the BAT")
        entries = struct.unpack(f"<{high - low + 1}Q", raw)
        return [
            self._position(block, entries[block + block // ratio - low])
            for block in range(first, first + count)
        ]

    def _allocated(self) -> Iterator[tuple[int, int]]:
        ratio = self.parameters.chunk_ratio
        end = self._bat.offset + self.parameters.bat_entry_count * 8
        for stored in self._file.extents(self._bat.offset, end):  # a hole in the BAT: layout.NOT_PRESENT
            low = (stored.start - self._bat.offset) // 8
            high = -(-(stored.end - self._bat.offset) // 8)
            for start in range(low, high, 8192):
                count = min(8192, high - start)
                raw = self._file.read(self._bat.offset + start * 8, count * 8, what="the BAT")
                for index, entry in enumerate(struct.unpack(f"<{count}Q", raw), start):
                    if not entry or index % (ratio + 1) == ratio:
                        continue
                    block = index - index // (ratio + 1)
                    position = self._position(block, entry)
                    if position is not None:
                        yield block, position

    def _position(self, block: int, entry: int) -> int | None:
        """Where a payload block lies in the file; None: it reads as zeros."""
        state, position = entry & layout.STATE_MASK, entry & layout.OFFSET_MASK
        if state in layout.READS_AS_ZERO:
            return None
        if state != layout.FULLY_PRESENT or position < MIB:
            raise DiskError(
                self._file.path,
                f"the BAT entry of block {block} is {entry:#018x}: its state or offset is not valid here",
                offset=self._bat.offset + (block + block // self.parameters.chunk_ratio) * 8,
                spec=layout.BAT_SPEC,
                hint=DAMAGED,
            )
        self._check_inside(block, position, layout.BAT_SPEC)
        return position


def _read_headers(file: ImageFile) -> tuple[Header, tuple[str, ...]]:
    """The current header, and a note when the other one is damaged."""
    valid = []
    for offset in layout.HEADER_OFFSETS:
        data = file.read(offset, layout.HEADER.size, what="a header", spec=layout.HEADER_SPEC)
        signature, found, sequence, _, _, log_id, log_version, version, _, _ = layout.HEADER.unpack(data)
        if signature == b"head" and found == checksum(data):
            valid.append(Header(sequence, UUID(bytes_le=log_id), log_version, version))
    if not valid:
        raise DiskError(
            file.path,
            "neither header has its signature 'head' and a right checksum",
            offset=layout.HEADER_OFFSETS[0],
            spec=layout.HEADER_SPEC,
            hint=DAMAGED,
        )
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


def _read_parameters(file: ImageFile, region: Region) -> Parameters:
    items = _read_items(file, region)
    block_size, flags = struct.unpack("<II", items[layout.FILE_PARAMETERS])
    parameters = Parameters(
        block_size=block_size,
        fixed=bool(flags & layout.LEAVE_BLOCK_ALLOCATED),
        has_parent=bool(flags & layout.HAS_PARENT),
        size=int.from_bytes(items[layout.VIRTUAL_DISK_SIZE], "little"),
        disk_id=UUID(bytes_le=items[layout.VIRTUAL_DISK_ID]),
        logical_sector_size=int.from_bytes(items[layout.LOGICAL_SECTOR_SIZE], "little"),
        physical_sector_size=int.from_bytes(items[layout.PHYSICAL_SECTOR_SIZE], "little"),
    )
    if parameters.has_parent:
        raise DiskError(
            file.path,
            "is a differencing VHDX, which holds only the changes to a parent disk",
            spec="[MS-VHDX] 2.6.2.1",
            hint="merge it with its parent first: Merge-VHD in Hyper-V, or Convert-VHD to a new file",
        )
    _check_parameters(file, region, parameters)
    return parameters


def _check_parameters(file: ImageFile, region: Region, it: Parameters) -> None:
    wrong, spec = "", ""
    if not (layout.MIN_BLOCK <= it.block_size <= layout.MAX_BLOCK) or it.block_size & (it.block_size - 1):
        wrong, spec = f"block size {it.block_size} is not a power of two from 1 to 256 MiB", "2.6.2.1"
    elif it.logical_sector_size not in (512, 4096):
        wrong, spec = f"logical sector size {it.logical_sector_size} is neither 512 nor 4096", "2.6.2.4"
    elif not 0 < it.size <= layout.MAX_SIZE or it.size % it.logical_sector_size:
        wrong, spec = f"virtual disk size {it.size} is not a whole number of sectors up to 64 TiB", "2.6.2.2"
    if wrong:
        raise DiskError(file.path, wrong, offset=region.offset, spec=f"[MS-VHDX] {spec}", hint=DAMAGED)


def _read_items(file: ImageFile, region: Region) -> dict[UUID, bytes]:
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
    items = {}
    for index in range(count):
        at = layout.METADATA_TABLE.size + index * layout.METADATA_ENTRY.size
        name, offset, length, flags = layout.METADATA_ENTRY.unpack_from(data, at)
        item = UUID(bytes_le=name)
        if item not in layout.KNOWN_ITEMS:
            if flags & layout.IS_REQUIRED and item != layout.PARENT_LOCATOR:
                raise DiskError(
                    file.path,
                    f"metadata item {item} is required to read the file, and unknown",
                    offset=region.offset + at,
                    spec=layout.METADATA_SPEC,
                    hint="convert the disk with the program that made it",
                )
            continue
        if (
            length != layout.KNOWN_ITEMS[item]
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
        items[item] = file.read(region.offset + offset, length)
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

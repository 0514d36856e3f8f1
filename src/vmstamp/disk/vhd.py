"""VHD files: fixed, dynamic and differencing. Big-endian.

A fixed file is the disk and a footer. A dynamic file:

    offset size   what
         0  512   copy of the footer
       512 1024   dynamic disk header (the footer's data offset tells where)
             4*n  BAT: per block the sector where it lies, all ones: not in the file
                  blocks: a bitmap of their sectors, in whole sectors, then the data
      end-512     footer

Dynamic disk header:
    offset size field
         0    8 cookie 'cxsparse'
         8    8 data offset, unused
        16    8 table offset: of the BAT
        24    4 header version 0x00010000
        28    4 max table entries
        32    4 block size, bytes
        36    4 checksum
A differencing file is a dynamic one whose clear bits, and blocks that are not in the file, are the parent's
(vhd_locator.py). Spec: Virtual Hard Disk Image Format Specification 1.0.
"""

from __future__ import annotations

import shlex
import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from vmstamp.disk.base import SECTOR, Disk
from vmstamp.disk.blocks import HOLE, BlockDisk, set_runs
from vmstamp.disk.file import ImageFile
from vmstamp.disk.footer import (
    COOKIE,
    DIFFERENCING,
    FIXED,
    FOOTER_SIZE,
    Footer,
    checksum,
    parse_footer,
    size_by_geometry,
)
from vmstamp.disk.parents import OpenParent, refuse_parent
from vmstamp.disk.vhd_locator import FIELDS_AT, ParentReference, parse_reference
from vmstamp.errors import DiskError
from vmstamp.extents import Extent

UNUSED = 0xFFFFFFFF
DYNAMIC_COOKIE = b"cxsparse"
DYNAMIC_HEADER = struct.Struct(">8sQQIIII984x")
DYNAMIC_SPEC = "VHD 1.0, Dynamic Disk Header Format"
BAT_SPEC = "VHD 1.0, Block Allocation Table and Data Blocks"
DAMAGED = "the file is truncated or damaged; copy it again from its source"


def open_vhd(file: ImageFile, open_parent: OpenParent | None = refuse_parent) -> Disk:
    """The VHD in `file`, which the disk then owns; without `open_parent` its parent is left out.

    Raises DiskError.
    """
    footer, end, notes = find_footer(file)
    notes += _size_notes(footer)
    if footer.disk_type == FIXED:
        return FixedVhdFile(file, footer, end, notes)
    return DynamicVhdFile(file, footer, notes, open_parent)


def _size_notes(footer: Footer) -> tuple[str, ...]:
    told = size_by_geometry(footer)
    if told is None:
        return ()
    creator = footer.creator_application.decode("latin-1").rstrip("\0 ")
    return (
        f"made by {creator!r}: other readers may take its size from its geometry, {told} bytes;"
        f" here and in Azure its current size counts, {footer.current_size} bytes",
    )


def find_footer(file: ImageFile) -> tuple[Footer, int, tuple[str, ...]]:
    """The footer that counts, where the data before it ends, and notes. Raises DiskError.

    It is the one at the end; of a dynamic disk, the copy at the start when that one is damaged.
    """
    end = max(file.size - FOOTER_SIZE, 0)
    tail = file.read(end, file.size - end)
    notes: tuple[str, ...] = ()
    if tail[:8] != COOKIE and tail[1:9] == COOKIE:
        end += 1
        tail = tail[1:] + b"\0"
        notes = ("the footer has 511 bytes, as very old Virtual PC wrote it",)
    try:
        return parse_footer(tail, file.path, end), end, notes
    except DiskError as trouble:
        head = file.read(0, min(FOOTER_SIZE, file.size))
        if head[:8] != COOKIE:
            raise
        footer = parse_footer(head, file.path, 0)
        if footer.disk_type == FIXED:
            raise trouble from None
        return footer, file.size, ("the footer at the end is damaged or missing; its copy was used",)


def _open_parent(path: Path, at: int, reference: ParentReference, open_parent: OpenParent) -> Disk:
    """The parent that `reference`, of the header at `at`, names; DiskError when it is another disk, or has
    changed since.
    """
    parent = open_parent(reference.names)
    try:
        if not isinstance(parent, FixedVhdFile | DynamicVhdFile):
            raise DiskError(path, f"its parent {parent.path} is a {parent.format} disk, not a VHD")
        if parent.footer.unique_id != reference.unique_id:
            raise DiskError(
                path,
                f"its parent {parent.path} has unique id {parent.footer.unique_id},"
                f" expected {reference.unique_id}: it is another disk",
                offset=at + FIELDS_AT,
                spec=DYNAMIC_SPEC,
                hint="put the parent that the child was made of beside it",
            )
        _refuse_changed(path, at, parent, reference.changed)
    except BaseException:
        parent.close()
        raise
    return parent


def _refuse_changed(path: Path, at: int, parent: FixedVhdFile | DynamicVhdFile, expected: datetime) -> None:
    """DiskError unless `expected` is the parent's time of modification, or the time stamp in its footer.

    Makers remember the one or the other.
    """
    modified = modification_time(parent.path or path)
    if any(abs((time - expected).total_seconds()) <= 2 for time in (modified, parent.footer.created)):
        return
    stamp = f"@{int(expected.timestamp())}"
    raise DiskError(
        path,
        f"its parent {parent.path} was changed at {modified:%Y-%m-%d %H:%M:%S} UTC;"
        f" the child was made of what it was at {expected:%Y-%m-%d %H:%M:%S} UTC",
        offset=at + FIELDS_AT + 16,
        spec=DYNAMIC_SPEC,
        hint="if it was only copied: " + shlex.join(["touch", "-d", stamp, str(parent.path)]),
    )


def modification_time(path: Path) -> datetime:
    """When the file was last written, in whole seconds."""
    return datetime.fromtimestamp(int(path.stat().st_mtime), UTC)


class FixedVhdFile(Disk):
    """A fixed VHD file: `footer` is what it says of itself, `size` its current size. Owns the file."""

    format = "vhd"
    subformat = "fixed"

    def __init__(self, file: ImageFile, footer: Footer, end: int, notes: tuple[str, ...]) -> None:
        self.file = file
        self.path = file.path
        self.footer = footer
        self.footer_offset = end
        self.file_size = file.size
        self.size = footer.current_size
        self.notes = notes
        if not 0 < self.size <= end:
            raise DiskError(
                file.path,
                f"current size is {self.size} bytes, but {end} bytes lie before the footer",
                offset=end + 48,
                spec="VHD 1.0, Hard Disk Footer Format",
                hint=DAMAGED,
            )

    def _read(self, offset: int, length: int) -> bytes:
        return self.file.read(offset, length)

    def _read_into(self, offset: int, view: memoryview) -> None:
        self.file.read_into(offset, view)

    def clone(self, fd: int) -> bool:
        return self.file.clone(fd, self.size)

    def extents(self) -> Iterator[Extent]:
        return self.file.extents(0, self.size)

    def close(self) -> None:
        self.file.close()


class DynamicVhdFile(BlockDisk):
    """A dynamic or differencing VHD file: `footer` is what it says of itself. Owns the file.

    A sector whose bit is clear in its block's bitmap was never written: it is zero, or the parent's.
    """

    format = "vhd"
    table_offset: int

    def __init__(
        self,
        file: ImageFile,
        footer: Footer,
        notes: tuple[str, ...],
        open_parent: OpenParent | None = refuse_parent,
    ) -> None:
        self.subformat = "differencing" if footer.disk_type == DIFFERENCING else "dynamic"
        self.file = file
        self.path = file.path
        self.footer = footer
        self.size = footer.current_size
        self.notes = notes
        at = footer.data_offset
        data = file.read(at, DYNAMIC_HEADER.size, what="the dynamic disk header", spec=DYNAMIC_SPEC)
        cookie, _, self.table_offset, version, self._entries, self.block_size, found = DYNAMIC_HEADER.unpack(
            data
        )
        wrong = ""
        if cookie != DYNAMIC_COOKIE:
            wrong = "'cxsparse' was expected"
        elif found != (computed := checksum(data, 36)):
            wrong = f"dynamic disk header checksum is {found:#010x}, computed {computed:#010x}"
        elif version >> 16 != 1:
            wrong = f"header version {version:#010x} is unknown"
        elif self.block_size < SECTOR or self.block_size & (self.block_size - 1):
            wrong = f"block size {self.block_size} is not a power of two of at least 512"
        elif not self.size or self.size % SECTOR:
            wrong = f"current size {self.size} is not a whole number of sectors"
        elif self._entries < self.block_count:
            wrong = f"the BAT's {self._entries} entries are too few for {self.size} bytes"
        if wrong:
            raise DiskError(file.path, wrong, offset=at, spec=DYNAMIC_SPEC, hint=DAMAGED)
        if self.table_offset + self.block_count * 4 > file.size:
            raise DiskError(
                file.path, "the BAT would end behind the file", offset=at + 16, spec=BAT_SPEC, hint=DAMAGED
            )
        if footer.disk_type == DIFFERENCING and open_parent is not None:
            self.parent = _open_parent(file.path, at, parse_reference(data, file, at), open_parent)
        self.bitmap_size = -(-self.block_size // SECTOR // 8 // SECTOR) * SECTOR or SECTOR

    @property
    def block_count(self) -> int:
        return -(-self.size // self.block_size)

    def _locate(self, first: int, count: int) -> Sequence[int | None]:
        raw = self.file.read(self.table_offset + first * 4, count * 4, what="the BAT", spec=BAT_SPEC)
        entries = struct.unpack(f">{count}I", raw)
        return [self._position(block, entry) for block, entry in enumerate(entries, first)]

    def allocated(self) -> Iterator[tuple[int, int]]:
        for start in range(0, self.block_count, 16384):
            count = min(16384, self.block_count - start)
            for block, position in enumerate(self._locate(start, count), start):
                if position is not HOLE:
                    yield block, position

    def _position(self, block: int, entry: int) -> int | None:
        if entry == UNUSED:
            return HOLE
        if not entry:
            raise DiskError(
                self.file.path,
                f"the BAT says that block {block} lies at the start of the file",
                offset=self.table_offset + block * 4,
                spec=BAT_SPEC,
                hint=DAMAGED,
            )
        position = entry * SECTOR + self.bitmap_size
        self._check_inside(block, position, BAT_SPEC)
        return position

    def _present(self, block: int, position: int, start: int, end: int) -> Iterator[Extent]:
        first, last = start // SECTOR, (end - 1) // SECTOR
        low, high = first // 8, last // 8 + 1
        bitmap = self.file.read(position - self.bitmap_size + low, high - low, what="a sector bitmap")
        if bitmap.count(0xFF) == len(bitmap):
            yield Extent(start, end)
            return
        base = low * 8
        bits = f"{int.from_bytes(bitmap, 'big'):0{len(bitmap) * 8}b}"  # the most significant bit first
        for run in set_runs(bits, first - base, last + 1 - base):
            yield Extent(max(start, (base + run.start) * SECTOR), min(end, (base + run.end) * SECTOR))

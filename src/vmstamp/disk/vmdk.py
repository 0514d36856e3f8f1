"""What of a VMDK file must be known before QEMU reads it: what it refers to, and whether it is whole.

Header of a sparse extent, little-endian; offsets and sizes in sectors:
    offset size field
         0    4 magic 'KDMV'
         8    4 flags: 0x10000 compressed grains
        12    8 capacity, 0: the file holds a descriptor only
        20    8 grain size
        28    8 descriptor offset;  36 8 descriptor size
        44    4 entries of a grain table
        56    8 grain directory offset
A text descriptor lists extents. QEMU reads it more loosely than the specification: so a line that is not
exactly of one of the known kinds is refused, as is what QEMU would skip without a word (extents of zeros, and
those that are not RW) and what cannot be told from a part of a disk (COWD). Snapshots are refused by name.
Spec: VMware Virtual Disk Format 5.0.
"""

from __future__ import annotations

import re
import struct
from array import array
from dataclasses import dataclass

from vmstamp.disk.base import SECTOR
from vmstamp.disk.file import ImageFile
from vmstamp.disk.neighbours import MERGE_HINT, Node, Told, image_node, neighbour, refuse_cut
from vmstamp.disk.packed import UnpackedFile
from vmstamp.errors import DiskError

SPEC = "VMware Virtual Disk Format 5.0"
DESCRIPTOR = b"# Disk Descriptor"
COMPRESSED = 0x10000
MAX_DESCRIPTOR = 1024 * 1024  # bytes
MAX_GRAINS = 64 * 1024 * 1024
MAX_SIZE = MAX_GRAINS * 64 * 1024  # bytes of a disk in grains of 64 KiB, QEMU's: 4 TiB
MAX_DIRECTORY = 128 * 1024  # entries of a grain directory; enough for MAX_GRAINS in tables of 512
MAX_TABLE = 4096  # entries of a grain table; VMware writes 512
FLAT, SPARSE = ("FLAT", "VMFS"), "SPARSE"
_HEADER = struct.Struct("<4sIIQQQQIQQ")
_EXTENT = re.compile(
    r'(RW|RDONLY|NOACCESS)[ \t]+(\d{1,18})[ \t]+([A-Z]+)(?:[ \t]+"([^"]{1,500})"(?:[ \t]+(\d{1,18}))?)?',
    re.ASCII,
)
_SETTING = re.compile(r"[\w.]+[ \t]*=.*", re.ASCII | re.DOTALL)
_PARENT = re.compile(r"^\s*parentCID\s*=\s*(\w+)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class _Extent:
    """An extent line: sizes in sectors; `start` is where a flat extent begins in its file."""

    access: str
    sectors: int
    kind: str
    name: str
    start: int


def node(file: ImageFile, follow: bool) -> Told:
    """How QEMU is to read the disk in `file`. Raises DiskError.

    Flat extents beside a descriptor are its disk; others are read only with `follow`.
    """
    own: Node = {"driver": "vmdk", "file": image_node(file), "backing": None}
    if not file.read(0, min(file.size, SECTOR)).startswith(DESCRIPTOR):
        return Told(own, "dynamic", _check_sparse_extent(file))
    if isinstance(file, UnpackedFile):
        hint = "unpack it, with the extents that it lists"
        raise DiskError(file.path, "holds a VMDK descriptor, which is no whole disk", spec=SPEC, hint=hint)
    if file.size > MAX_DESCRIPTOR:
        raise DiskError(file.path, "the descriptor is too long", spec=SPEC)
    extents = _parse_descriptor(file, file.read(0, file.size))
    for extent in extents:
        _check_extent(file, extent, follow)
    return Told(own, "dynamic" if any(extent.kind == SPARSE for extent in extents) else "fixed")


def _check_sparse_extent(file: ImageFile) -> int:
    """The bytes of a sparse extent's grains. DiskError when it refers to other files, or is cut off."""
    if file.read(0, 4, what="the header", spec=SPEC) == b"COWD":
        what = "is an ESX sparse extent (COWD), which may hold a part of a disk only"
        raise DiskError(file.path, what, spec=SPEC, hint=MERGE_HINT)
    data = file.read(0, _HEADER.size, what="the header", spec=SPEC)
    _, _, flags, capacity, grain, text_at, text_length, per_table, _, directory = _HEADER.unpack(data)
    if not capacity:
        raise DiskError(file.path, "holds a descriptor only", offset=12, spec=SPEC, hint=MERGE_HINT)
    if text_at and 0 < text_length * SECTOR <= MAX_DESCRIPTOR:
        _refuse_parent(file, file.read(text_at * SECTOR, text_length * SECTOR, what="the descriptor"))
    if flags & COMPRESSED:
        return int(grain) * SECTOR  # cut grains do not unpack, and QEMU says so
    if not grain or not 0 < per_table <= MAX_TABLE or capacity > MAX_GRAINS * grain:
        raise DiskError(file.path, "its capacity, grain or grain table size cannot be", offset=12, spec=SPEC)
    count = -(-capacity // (grain * per_table))
    if count > MAX_DIRECTORY:
        raise DiskError(file.path, f"{count} grain tables are too many", offset=44, spec=SPEC)
    last = _last_grain(file, directory, count, per_table)
    refuse_cut(file, last * SECTOR + 1 if last else 0, "its data", SPEC)
    return int(grain) * SECTOR


def _last_grain(file: ImageFile, directory: int, count: int, per_table: int) -> int:
    """The greatest sector at which a grain begins; 0 when there is none. (1: a grain of zeros)

    Each table is read once, however often a crafted directory names it.
    """
    last = 0
    for table in sorted(set(_entries(file, directory, count, "the grain directory"))):
        if table:
            last = max(last, max(_entries(file, table, per_table, "a grain table")))
    return last if last > 1 else 0


def _entries(file: ImageFile, sector: int, count: int, what: str) -> array[int]:
    entries = array("I", file.read(sector * SECTOR, count * 4, what=what, spec=SPEC))
    if struct.pack("=H", 1) != struct.pack("<H", 1):
        entries.byteswap()
    return entries


def _refuse_parent(file: ImageFile, text: bytes) -> str:
    """The descriptor as text, if it is that of a whole disk."""
    descriptor = text.split(b"\0", 1)[0].decode(errors="surrogateescape")
    parent = _PARENT.search(descriptor)
    if parent is not None and parent[1].lower() != "ffffffff":
        raise DiskError(
            file.path,
            "is a snapshot of another VMDK disk, which holds only the changes",
            spec=SPEC,
            hint=MERGE_HINT,
        )
    return descriptor


def _parse_descriptor(file: ImageFile, text: bytes) -> list[_Extent]:
    """The extents of a text descriptor, at least one. DiskError at a line of no known kind.

    QEMU cuts lines at newlines only, and scans an extent's over any white space.
    """
    extents = []
    for number, line in enumerate(_refuse_parent(file, text).split("\n"), 1):
        line = line.strip(" \t\r")
        if not line or line.startswith("#") or _SETTING.fullmatch(line):
            continue
        found = _EXTENT.fullmatch(line)
        if found is None:
            raise DiskError(file.path, f"line {number} of the descriptor cannot be: {line[:80]!r}", spec=SPEC)
        access, sectors, kind, name, start = found.groups(default="")
        extents.append(_Extent(access, int(sectors), kind, name, int(start or 0)))
    if not extents:
        raise DiskError(file.path, "the descriptor lists no extents", spec=SPEC)
    return extents


def _check_extent(file: ImageFile, extent: _Extent, follow: bool) -> None:
    """DiskError unless the extent may be read, and is there as a whole."""
    if extent.access != "RW" or extent.kind not in (*FLAT, SPARSE):
        what = f"extents of type {extent.access} {extent.kind} are not read"
        raise DiskError(file.path, what, spec=SPEC, hint=MERGE_HINT)
    beside = extent.kind in FLAT
    other = ImageFile(neighbour(file.path, extent.name, "extent", follow=follow, beside=beside))
    try:
        if extent.kind == SPARSE:
            _check_sparse_extent(other)
        else:
            refuse_cut(other, (extent.start + extent.sectors) * SECTOR, "its extent", SPEC)
    finally:
        other.close()

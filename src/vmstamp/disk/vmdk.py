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
A text descriptor lists extents, which must lie in its own directory. Snapshots are refused by name.
Spec: VMware Virtual Disk Format 5.0.
"""

from __future__ import annotations

import re
import struct
from array import array

from vmstamp.disk.base import SECTOR
from vmstamp.disk.file import ImageFile
from vmstamp.disk.neighbours import MERGE_HINT, Node, file_node, neighbour, refuse_cut
from vmstamp.errors import DiskError

SPEC = "VMware Virtual Disk Format 5.0"
DESCRIPTOR = b"# Disk Descriptor"
COMPRESSED = 0x10000
MAX_DESCRIPTOR = 1024 * 1024  # bytes
MAX_DIRECTORY = 64 * 1024 * 1024  # bytes of a grain directory
MAX_TABLE = 4096  # entries of a grain table; VMware writes 512
WHOLE, SPARSE, NOTHING = ("FLAT", "VMFS"), ("SPARSE", "VMFSSPARSE"), "ZERO"
_HEADER = struct.Struct("<4sIIQQQQIQQ")
_EXTENT = re.compile(r'^(?:RW|RDONLY|NOACCESS)\s+(\d+)\s+(\w+)(?:\s+"([^"]*)"(?:\s+(\d+))?)?', re.MULTILINE)
_PARENT = re.compile(r"^\s*parentCID\s*=\s*(\w+)", re.MULTILINE | re.IGNORECASE)


def node(file: ImageFile) -> tuple[Node, str]:
    """How QEMU is to read the disk in `file`, and its subformat. Raises DiskError."""
    told: Node = {"driver": "vmdk", "file": file_node(file.path), "backing": None}
    if not file.read(0, min(file.size, SECTOR)).startswith(DESCRIPTOR):
        _check_sparse_extent(file)
        return told, "dynamic"
    if file.size > MAX_DESCRIPTOR:
        raise DiskError(file.path, "the descriptor is too long", spec=SPEC)
    types = _check_descriptor(file, file.read(0, file.size))
    return told, "dynamic" if types & set(SPARSE) else "fixed"


def _check_sparse_extent(file: ImageFile) -> None:
    """DiskError when a sparse extent refers to other files, or is cut off."""
    if file.read(0, 4, what="the header", spec=SPEC) == b"COWD":
        return
    data = file.read(0, _HEADER.size, what="the header", spec=SPEC)
    _, _, flags, capacity, grain, text_at, text_length, per_table, _, directory = _HEADER.unpack(data)
    if not capacity:
        raise DiskError(file.path, "holds a descriptor only", offset=12, spec=SPEC, hint=MERGE_HINT)
    if text_at and 0 < text_length * SECTOR <= MAX_DESCRIPTOR:
        _refuse_parent(file, file.read(text_at * SECTOR, text_length * SECTOR, what="the descriptor"))
    if flags & COMPRESSED:
        return  # cut grains do not unpack, and QEMU says so
    if not grain or not 0 < per_table <= MAX_TABLE or capacity > MAX_DIRECTORY * grain:
        raise DiskError(file.path, "its capacity, grain or grain table size cannot be", offset=12, spec=SPEC)
    last = _last_grain(file, directory, -(-capacity // (grain * per_table)), per_table)
    refuse_cut(file, last * SECTOR + 1 if last else 0, "its data", SPEC)


def _last_grain(file: ImageFile, directory: int, count: int, per_table: int) -> int:
    """The greatest sector at which a grain begins; 0 when there is none. (1: a grain of zeros)"""
    last = 0
    for table in _entries(file, directory, count, "the grain directory"):
        if table:
            last = max(last, *_entries(file, table, per_table, "a grain table"))
    return last if last > 1 else 0


def _entries(file: ImageFile, sector: int, count: int, what: str) -> array[int]:
    entries = array("I", file.read(sector * SECTOR, count * 4, what=what, spec=SPEC))
    if struct.pack("=H", 1) != struct.pack("<H", 1):
        entries.byteswap()
    return entries


def _refuse_parent(file: ImageFile, text: bytes) -> str:
    descriptor = text.split(b"\0", 1)[0].decode(errors="replace")
    parent = _PARENT.search(descriptor)
    if parent is not None and parent[1].lower() != "ffffffff":
        raise DiskError(
            file.path,
            "is a snapshot of another VMDK disk, which holds only the changes",
            spec=SPEC,
            hint=MERGE_HINT,
        )
    return descriptor


def _check_descriptor(file: ImageFile, text: bytes) -> set[str]:
    """The types of the extents that a text descriptor lists; DiskError unless all lie beside it, whole."""
    extents = _EXTENT.findall(_refuse_parent(file, text))
    if not extents:
        raise DiskError(file.path, "the descriptor lists no extents", spec=SPEC)
    for sectors, kind, name, start in extents:
        if kind not in (*WHOLE, *SPARSE, NOTHING):
            raise DiskError(file.path, f"extents of type {kind} are not read", spec=SPEC, hint=MERGE_HINT)
        if kind == NOTHING:
            continue
        other = ImageFile(neighbour(file.path, name, "extent"))
        try:
            if kind in SPARSE:
                _check_sparse_extent(other)
            else:
                refuse_cut(other, (int(start or 0) + int(sectors)) * SECTOR, "its extent", SPEC)
        finally:
            other.close()
    return {kind for _, kind, _, _ in extents}

"""What of a qcow2 file must be known before QEMU reads it: what it refers to, and whether it is whole.

Header, big-endian:
    offset size field
         0    4 magic 'QFI\\xfb'
         4    4 version: 2 or 3
         8    8 backing file offset, 0: none;  16 4 backing file size
        20    4 cluster bits
        24    8 size
        32    4 crypt method: 0 none
        36    4 L1 size, entries;  40 8 L1 table offset
        72    8 incompatible features (version 3): 2 corrupt, 4 external data file, 16 extended L2 entries
A backing file is read only with `follow`. Spec: QEMU, docs/interop/qcow2.txt.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vmstamp.disk.file import ImageFile
from vmstamp.disk.neighbours import MERGE_HINT, Node, file_node, neighbour, refuse_cut
from vmstamp.errors import DiskError

MAGIC = b"QFI\xfb"
SPEC = "QEMU docs/interop/qcow2.txt"
MAX_CHAIN = 16  # backing files that are followed
MAX_L1_SIZE = 32 * 1024 * 1024  # bytes; QEMU's own limit
OFFSET_MASK = 0x00FFFFFFFFFFFE00
COMPRESSED, READS_AS_ZERO = 1 << 62, 1
_CORRUPT, _EXTERNAL_DATA, _EXTENDED_L2 = 2, 4, 16
_HEADER = struct.Struct(">4sIQIIQIIQ24x")
_NOT_QCOW2 = (b"KDMV", b"COWD", b"# Disk Desc", b"vhdxfile", b"conectix")


@dataclass(frozen=True)
class Header:
    """The fields that matter here; offsets and sizes in bytes."""

    backing: str | None
    cluster_bits: int
    l1_offset: int
    l1_count: int
    extended_l2: bool


def node(file: ImageFile, follow: bool, depth: int = 0) -> tuple[Node, str]:
    """How QEMU is to read the disk in `file`, and its subformat. Raises DiskError."""
    header = _read_header(file)
    refuse_cut(file, _last_cluster(file, header) + 1, "its data", SPEC)
    told: Node = {"driver": "qcow2", "file": file_node(file.path), "backing": None}
    if header.backing is None:
        return told, "dynamic"
    backing = neighbour(file.path, header.backing, "backing file", follow=follow)
    told["backing"] = _backing_node(backing, depth + 1)
    return told, "differencing"


def _backing_node(path: Path, depth: int) -> Node:
    if depth > MAX_CHAIN:
        raise DiskError(path, f"is the end of more than {MAX_CHAIN} backing files", hint=MERGE_HINT)
    file = ImageFile(path)
    try:
        head = file.read(0, min(file.size, 16))
        if head.startswith(MAGIC):
            return node(file, True, depth)[0]  # only who follows comes here
        if head.startswith(_NOT_QCOW2):
            raise DiskError(path, "is a backing file of a format other than raw and qcow2", hint=MERGE_HINT)
        return {"driver": "raw", "file": file_node(path)}
    finally:
        file.close()


def _read_header(file: ImageFile) -> Header:
    data = file.read(0, _HEADER.size, what="the header", spec=SPEC)
    _, version, backing_at, backing_length, bits, _, encryption, l1_count, l1_offset = _HEADER.unpack(data)
    features = int.from_bytes(file.read(72, 8, what="the header", spec=SPEC), "big") if version >= 3 else 0
    if version not in (2, 3):
        raise DiskError(file.path, f"version {version} of qcow2 is unknown", offset=4, spec=SPEC)
    if encryption:
        raise DiskError(file.path, "is encrypted", offset=32, spec=SPEC, hint=MERGE_HINT)
    if features & _CORRUPT:
        hint = "repair it first: qemu-img check -r all FILE"
        raise DiskError(file.path, "is marked as corrupt", offset=72, spec=SPEC, hint=hint)
    if features & _EXTERNAL_DATA:
        raise DiskError(file.path, "keeps its data in another file", offset=72, spec=SPEC, hint=MERGE_HINT)
    if not 9 <= bits <= 21 or l1_count * 8 > MAX_L1_SIZE:
        raise DiskError(file.path, f"{bits} cluster bits or {l1_count} L1 entries cannot be", spec=SPEC)
    backing = None
    if backing_at:
        if not 0 < backing_length <= 1023:
            raise DiskError(file.path, "the backing file's name is too long", offset=16, spec=SPEC)
        name = file.read(backing_at, backing_length, what="the backing file's name", spec=SPEC)
        backing = name.decode(errors="replace")
    return Header(backing, bits, l1_offset, l1_count, bool(features & _EXTENDED_L2))


def _last_cluster(file: ImageFile, header: Header) -> int:
    """The greatest offset at which a data cluster begins; 0 when there is none."""
    compressed_mask = (1 << (62 - (header.cluster_bits - 8))) - 1
    last = 0
    for table in _tables(file, header):
        for entry in table:
            if entry & COMPRESSED:
                last = max(last, entry & compressed_mask)
            elif not entry & READS_AS_ZERO or header.extended_l2:
                last = max(last, entry & OFFSET_MASK)
    return last


def _tables(file: ImageFile, header: Header) -> Iterator[array[int]]:
    """All L2 tables, without the bitmaps that extended entries have."""
    for entry in _entries(file, header.l1_offset, header.l1_count * 8, "the L1 table"):
        if offset := entry & OFFSET_MASK:
            table = _entries(file, offset, 1 << header.cluster_bits, "an L2 table")
            yield table[::2] if header.extended_l2 else table


def _entries(file: ImageFile, offset: int, length: int, what: str) -> array[int]:
    entries = array("Q", file.read(offset, length, what=what, spec=SPEC))
    if struct.pack("=H", 1) != struct.pack(">H", 1):
        entries.byteswap()
    return entries

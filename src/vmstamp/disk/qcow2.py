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
from vmstamp.disk.neighbours import MERGE_HINT, Node, Told, file_node, image_node, neighbour, refuse_cut
from vmstamp.errors import DiskError
from vmstamp.extents import Extent

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

    @property
    def entry_size(self) -> int:
        """Bytes of an L2 entry."""
        return 16 if self.extended_l2 else 8

    @property
    def compressed_mask(self) -> int:
        """The offset's bits in the entry of a compressed cluster."""
        return (1 << (62 - (self.cluster_bits - 8))) - 1


def node(file: ImageFile, follow: bool, depth: int = 0) -> Told:
    """How QEMU is to read the disk in `file`. Raises DiskError."""
    own, header = _own_node(file)
    if header.backing is None:
        return Told(own, "dynamic", 1 << header.cluster_bits)
    backing = neighbour(file.path, header.backing, "backing file", follow=follow)
    own["backing"] = _backing_node(backing, depth + 1)
    return Told(own, "differencing", 1 << header.cluster_bits)


def node_alone(file: ImageFile) -> Node:
    """How QEMU is to read what `file` itself holds, without its backing file. Raises DiskError."""
    return _own_node(file)[0]


def _own_node(file: ImageFile) -> tuple[Node, Header]:
    header = _read_header(file)
    _refuse_cut_tables(file, header)
    return {"driver": "qcow2", "file": image_node(file), "backing": None}, header


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


def _refuse_cut_tables(file: ImageFile, header: Header) -> None:
    """DiskError when a cluster begins behind the end of the file."""
    lanes = _Lanes.of(header, file.size - 1)
    for offset in _tables(file, header):
        table = file.read(offset, 1 << header.cluster_bits, what="an L2 table", spec=SPEC)
        if not lanes.all_within(table):
            refuse_cut(file, _last_cluster(table, header) + 1, "its data", SPEC)


def _tables(file: ImageFile, header: Header) -> Iterator[int]:
    """Where the L2 tables lie, ascending; each once, and none of those that are holes, which hold zeros.

    So the time goes by what is stored, whatever a crafted L1 table says.
    """
    length = 1 << header.cluster_bits
    l1 = _entries(file.read(header.l1_offset, header.l1_count * 8, what="the L1 table", spec=SPEC))
    stored: Extent | None = Extent(0, 0)
    for offset in sorted(set(map(OFFSET_MASK.__and__, l1)) - {0}):
        if offset % length:
            raise DiskError(file.path, f"an L2 table at byte {offset} begins within a cluster", spec=SPEC)
        refuse_cut(file, offset + length, "an L2 table", SPEC)
        if stored is not None and stored.end <= offset:
            stored = next(file.extents(offset, file.size), None)
        if stored is not None and stored.start < offset + length:
            yield offset


def _last_cluster(table: bytes, header: Header) -> int:
    """The greatest offset at which a cluster of the L2 table begins; 0 when there is none."""
    last = 0
    for entry in _entries(table)[:: header.entry_size // 8]:
        if entry & COMPRESSED:
            last = max(last, entry & header.compressed_mask)
        elif not entry & READS_AS_ZERO or header.extended_l2:
            last = max(last, entry & OFFSET_MASK)
    return last


@dataclass(frozen=True)
class _Lanes:
    """The question whether `_last_cluster(table) <= limit`, asked of all entries at once.

    A table is one long integer with a lane of 64 bits for each entry; `ones` has the lowest bit of each lane
    set (not those of the bitmaps in extended entries). Ten operations on it take a tenth of a loop's time.
    """

    ones: int
    limit: int
    compressed_mask: int
    zero_bit: int  # 0 with extended entries, which keep that in their bitmaps

    @classmethod
    def of(cls, header: Header, limit: int) -> _Lanes:
        count = (1 << header.cluster_bits) // header.entry_size
        lane = (1).to_bytes(8, "big").ljust(header.entry_size, b"\0")
        zero_bit = 0 if header.extended_l2 else READS_AS_ZERO
        return cls(int.from_bytes(lane * count, "big"), limit, header.compressed_mask, zero_bit)

    def all_within(self, table: bytes) -> bool:
        entries, ones = int.from_bytes(table, "big"), self.ones
        compressed = entries >> 62 & ones
        offsets = entries & ones * OFFSET_MASK
        if skipped := compressed | entries & ones * self.zero_bit:
            offsets &= ~_whole(skipped)
            offsets |= entries & ones * self.compressed_mask & _whole(compressed)
        guard = ones << 63  # stays set in a lane where the limit is not below the offset
        return (guard + ones * self.limit - offsets) & guard == guard


def _whole(bits: int) -> int:
    """All 64 bits of the lanes whose lowest bit is set in `bits`."""
    return (bits << 64) - bits


def _entries(table: bytes) -> array[int]:
    entries = array("Q", table)
    if struct.pack("=H", 1) != struct.pack(">H", 1):
        entries.byteswap()
    return entries

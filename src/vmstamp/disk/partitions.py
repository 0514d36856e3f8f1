"""Partition tables: MBR and GPT are read, GPT is written. Little-endian; sectors of 512 bytes.

MBR, sector 0:                         GPT header, sector 1 and the disk's last:
    offset size field                      offset size field
         0  440 boot code                       0    8 signature 'EFI PART'
       440    4 disk signature                  8    4 revision 0x00010000
       446 4*16 entries                        12    4 header size
       510    2 0x55 0xAA                      16    4 CRC-32 of the header, this field zero
    entry: 0 status u8, 4 type u8,             24    8 my LBA
           8 first sector u32,                 32    8 alternate LBA
           12 sector count u32                 40    8 first usable LBA, 48 8 last usable LBA
                                               56   16 disk GUID
                                               72    8 LBA of the entries
                                               80    4 count, 84 4 size of the entries, 88 4 their CRC-32
    GPT entry: type GUID 16, unique GUID 16, first LBA u64, last LBA u64 (inclusive), attributes u64,
               name 72 (UTF-16)
Spec: UEFI 2.10, 5.2 and 5.3.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from vmstamp.disk.base import SECTOR, Disk
from vmstamp.errors import DiskError

MIB = 1024 * 1024
EFI_SYSTEM = UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")  # UEFI 2.10, table 5-7
BIOS_BOOT = UUID("21686148-6449-6e6f-744e-656564454649")
LINUX_FILE_SYSTEM = UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
LINUX_ROOT_X86_64 = UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")
MICROSOFT_BASIC_DATA = UUID("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")

PROTECTIVE = 0xEE
EXTENDED = (0x05, 0x0F, 0x85)
MAX_LOGICAL = 128  # logical partitions that are followed in an extended one

HEADER = struct.Struct("<8sIII4xQQQQ16sQIII")
ENTRY = struct.Struct("<16s16sQQQ72s")
MBR_ENTRY = struct.Struct("<B3sB3sII")
_SIGNATURE = b"EFI PART"
ENTRY_COUNT = 128
ENTRY_SIZE = 128
MAX_ENTRIES_SIZE = MIB  # of an entry array that is read; tools write 16 KiB
MBR_SPEC, GPT_SPEC = "UEFI 2.10, 5.2.1", "UEFI 2.10, 5.3.2"


@dataclass(frozen=True)
class Partition:
    """A partition at the bytes [start, end). MBR: `type_byte` and `active`; GPT: the GUIDs and `name`."""

    number: int
    start: int
    end: int
    type_guid: UUID | None = None
    type_byte: int | None = None
    name: str = ""
    unique_guid: UUID | None = None
    attributes: int = 0
    active: bool = False

    @property
    def length(self) -> int:
        return self.end - self.start


@dataclass(frozen=True)
class PartitionTable:
    """`scheme` is gpt, mbr or None (the disk has no table); `notes` say what is wrong and was survived."""

    scheme: str | None
    partitions: tuple[Partition, ...] = ()
    disk_guid: UUID | None = None
    notes: tuple[str, ...] = ()
    boot_code: bool = False  # sector 0 holds a BIOS boot program
    sector_size: int = SECTOR


@dataclass(frozen=True)
class NewPartition:
    """A partition to be made; `start` and `length` in bytes, whole MiB. `length` 0: all that is left."""

    type_guid: UUID
    name: str
    start: int
    length: int
    unique_guid: UUID


@dataclass(frozen=True)
class GptImage:
    """What `build_gpt` makes: `head` is written at byte 0, `tail` at byte `tail_offset`."""

    head: bytes
    tail: bytes
    tail_offset: int
    partitions: tuple[Partition, ...]


@dataclass(frozen=True)
class Gpt:
    """One copy of a GPT, whole by its checksums; LBAs."""

    disk_guid: UUID
    my_lba: int
    alternate_lba: int
    first_usable_lba: int
    last_usable_lba: int
    entries: bytes
    entry_size: int

    def same(self, other: Gpt) -> bool:
        """Whether both copies tell of the same disk and partitions."""
        return (self.disk_guid, self.entries) == (other.disk_guid, other.entries)


def read_partitions(disk: Disk) -> PartitionTable:
    """The partition table of `disk`; scheme None when there is none.

    Both copies of a GPT are checked; the backup is used when the primary is bad, and the notes say so.
    Raises DiskError when a table is there and cannot be trusted at all.
    """
    if disk.size < SECTOR:
        return PartitionTable(None)
    sector = disk.read(0, SECTOR)
    has_mbr = sector[510:512] == b"\x55\xaa"
    types = [sector[446 + 16 * index + 4] for index in range(4)] if has_mbr else []
    protective = PROTECTIVE in types
    for sector_size in dict.fromkeys((disk.sector_size, SECTOR, 4096)):
        # Firmware and Linux believe a GPT only behind a protective MBR: one left over from the time
        # before the disk got an MBR's partitions does not count.
        if protective or (not any(types) and _signature_at(disk, sector_size)):
            table = _read_gpt(disk, sector, sector_size)
            if table is not None:
                return table if protective else _without_protection(table)
    if protective and all(kind in (0, PROTECTIVE) for kind in types):
        raise DiskError(
            disk.path or "disk",
            "a protective MBR says that there is a GPT, but neither of its copies is whole",
            offset=SECTOR,
            spec=GPT_SPEC,
            hint="the disk was truncated or overwritten at its start and end",
        )
    if not has_mbr or not _looks_like_mbr(sector, disk.data_size):
        return PartitionTable(None)
    return _read_mbr(disk, sector)


def _without_protection(table: PartitionTable) -> PartitionTable:
    note = "there is no protective MBR, so firmware and Linux do not see the GPT"
    return replace(table, notes=(*table.notes, note))


def _signature_at(disk: Disk, offset: int) -> bool:
    return disk.size >= offset + 8 and disk.read(offset, 8) == _SIGNATURE


def _read_gpt(disk: Disk, mbr: bytes, sector_size: int) -> PartitionTable | None:
    """The GPT of a disk with this sector size; None when no copy of it is valid."""
    last_lba = disk.data_size // sector_size - 1
    primary = parse_gpt(disk, 1, sector_size)
    backup_lba = primary.alternate_lba if isinstance(primary, Gpt) else last_lba
    backup = parse_gpt(disk, backup_lba, sector_size)
    if isinstance(backup, str) and backup_lba != last_lba:
        moved = parse_gpt(disk, last_lba, sector_size)
        backup = moved if isinstance(moved, Gpt) else backup
    notes = []
    if isinstance(primary, str):
        notes.append(f"the primary GPT is bad ({primary}); the backup was used")
    if isinstance(backup, str):
        notes.append(f"the backup GPT is bad ({backup})")
    elif backup.my_lba != last_lba:
        notes.append(f"the backup GPT lies in sector {backup.my_lba}, not in the last one, {last_lba}")
    if isinstance(primary, Gpt) and isinstance(backup, Gpt) and not primary.same(backup):
        notes.append("the copies of the GPT differ; the primary was used")
    if sector_size != SECTOR:
        notes.append(f"the table is made for sectors of {sector_size} bytes; Azure has sectors of 512")
    gpt = primary if isinstance(primary, Gpt) else backup
    if isinstance(gpt, str):
        return None
    return PartitionTable(
        "gpt",
        tuple(_gpt_partitions(gpt, sector_size, disk.data_size)),
        disk_guid=gpt.disk_guid,
        notes=tuple(notes),
        boot_code=any(mbr[:440]),
        sector_size=sector_size,
    )


def parse_gpt(disk: Disk, lba: int, sector_size: int) -> Gpt | str:
    """The copy of the GPT whose header is in sector `lba`, or what is wrong with it."""
    if lba < 1 or (lba + 1) * sector_size > disk.size:
        return f"sector {lba} is not on the disk"
    header = disk.read(lba * sector_size, sector_size)
    values = HEADER.unpack_from(header)
    signature, _, header_size, found, my_lba, alternate, first, last, guid, array_lba, count, size, crc = (
        values
    )
    if signature != _SIGNATURE:
        return f"no 'EFI PART' in sector {lba}"
    if not HEADER.size <= header_size <= sector_size:
        return f"its header size is {header_size}"
    computed = zlib.crc32(header[:16] + bytes(4) + header[20:header_size])
    if found != computed:
        return f"its CRC-32 is {found:#010x}, computed {computed:#010x}"
    if my_lba != lba:
        return f"it says that it lies in sector {my_lba}"
    if size < ENTRY.size or count * size > MAX_ENTRIES_SIZE:
        return f"it has {count} entries of {size} bytes"
    if array_lba * sector_size + count * size > disk.size:
        return "its entries are not on the disk"
    entries = disk.read(array_lba * sector_size, count * size)
    if zlib.crc32(entries) != crc:
        return f"its entries' CRC-32 is {zlib.crc32(entries):#010x}, expected {crc:#010x}"
    return Gpt(UUID(bytes_le=guid), my_lba, alternate, first, last, entries, size)


def _gpt_partitions(gpt: Gpt, sector_size: int, disk_size: int) -> list[Partition]:
    found = []
    for index in range(len(gpt.entries) // gpt.entry_size):
        kind, unique, first, last, attributes, name = ENTRY.unpack_from(gpt.entries, index * gpt.entry_size)
        start, end = first * sector_size, (last + 1) * sector_size
        if kind == bytes(16) or not 0 < start < end <= disk_size:
            continue
        found.append(
            Partition(
                number=index + 1,
                start=start,
                end=end,
                type_guid=UUID(bytes_le=kind),
                name=name.decode("utf-16-le", "replace").split("\0", 1)[0],
                unique_guid=UUID(bytes_le=unique),
                attributes=attributes,
                active=bool(attributes & 4),  # legacy BIOS bootable
            )
        )
    return found


def _looks_like_mbr(sector: bytes, disk_size: int) -> bool:
    """Whether sector 0 is an MBR and not a file system's boot sector, which ends in 55 AA too."""
    entries = [MBR_ENTRY.unpack_from(sector, 446 + 16 * index) for index in range(4)]
    used = [entry for entry in entries if entry[2]]
    return bool(used) and all(
        entry[0] in (0, 0x80) and entry[4] and entry[4] * SECTOR < disk_size for entry in used
    )


def _read_mbr(disk: Disk, sector: bytes) -> PartitionTable:
    partitions: list[Partition] = []
    notes: list[str] = []
    for index in range(4):
        status, _, kind, _, first, count = MBR_ENTRY.unpack_from(sector, 446 + 16 * index)
        if not kind or not count:
            continue
        start, end = first * SECTOR, (first + count) * SECTOR
        if end > disk.data_size:
            notes.append(
                f"partition {index + 1} ends at byte {end}, behind the disk's end at {disk.data_size}"
            )
            end = disk.data_size
        partitions.append(Partition(index + 1, start, end, type_byte=kind, active=status == 0x80))
        if kind in EXTENDED:
            partitions.extend(_read_logical(disk, first, notes))
    return PartitionTable("mbr", tuple(partitions), notes=tuple(notes), boot_code=any(sector[:440]))


def _read_logical(disk: Disk, extended_lba: int, notes: list[str]) -> list[Partition]:
    """The logical partitions, numbered from 5, of the extended partition at `extended_lba`."""
    found: list[Partition] = []
    lba, seen = extended_lba, set[int]()
    while lba not in seen and len(found) < MAX_LOGICAL and (lba + 1) * SECTOR <= disk.size:
        seen.add(lba)
        sector = disk.read(lba * SECTOR, SECTOR)
        if sector[510:512] != b"\x55\xaa":
            notes.append(f"the chain of logical partitions breaks off at sector {lba}")
            break
        _, _, kind, _, first, count = MBR_ENTRY.unpack_from(sector, 446)
        start, end = (lba + first) * SECTOR, min((lba + first + count) * SECTOR, disk.size)
        if kind and start < end:
            found.append(Partition(len(found) + 5, start, end, type_byte=kind))
        _, _, kind, _, following, _ = MBR_ENTRY.unpack_from(sector, 462)
        if kind not in EXTENDED or not following:
            break
        lba = extended_lba + following
    return found


def build_gpt(
    size: int, parts: Sequence[NewPartition], disk_guid: UUID, *, boot_code: bytes = b""
) -> GptImage:
    """A GPT for a disk of `size` bytes (whole MiB): protective MBR, primary and backup.

    `boot_code`, at most 440 bytes, goes to the MBR's start. Partitions begin at whole MiB, in the order
    given; the last may have length 0 and takes what is left, up to the last whole MiB before the
    backup. Raises ValueError when they do not fit or overlap.
    """
    if size % MIB or size < 3 * MIB:
        raise ValueError(f"a disk of {size} bytes is not a whole number of MiB, at least 3")
    if len(parts) > ENTRY_COUNT or len(boot_code) > 440:
        raise ValueError(f"{len(parts)} partitions or {len(boot_code)} bytes of boot code are too many")
    placed = _place(size, parts)
    entries = b"".join(
        ENTRY.pack(
            _guid(part.type_guid),
            _guid(part.unique_guid),
            part.start // SECTOR,
            part.end // SECTOR - 1,
            part.attributes,
            part.name.encode("utf-16-le")[:72],
        )
        for part in placed
    ).ljust(ENTRY_COUNT * ENTRY_SIZE, b"\0")
    last_lba = size // SECTOR - 1
    array_sectors = len(entries) // SECTOR
    primary = _pack_header(1, last_lba, 2, disk_guid, entries, last_lba)
    backup = _pack_header(last_lba, 1, last_lba - array_sectors, disk_guid, entries, last_lba)
    return GptImage(
        head=protective_mbr(size, boot_code) + primary + entries,
        tail=entries + backup,
        tail_offset=(last_lba - array_sectors) * SECTOR,
        partitions=tuple(placed),
    )


def _guid(value: UUID | None) -> bytes:
    return value.bytes_le if value is not None else bytes(16)


def _place(size: int, parts: Sequence[NewPartition]) -> list[Partition]:
    placed: list[Partition] = []
    end_of_space = (size - ENTRY_COUNT * ENTRY_SIZE - SECTOR) // MIB * MIB
    previous = MIB
    for number, part in enumerate(parts, 1):
        end = part.start + part.length if part.length else end_of_space
        if part.start % MIB or end % MIB or part.start < previous or not part.start < end <= end_of_space:
            raise ValueError(f"partition {part.name!r} at [{part.start}, {end}) does not fit in whole MiB")
        placed.append(Partition(number, part.start, end, part.type_guid, None, part.name, part.unique_guid))
        previous = end
    return placed


def _pack_header(lba: int, other: int, array: int, guid: UUID, entries: bytes, last_lba: int) -> bytes:
    array_sectors = len(entries) // SECTOR
    values = (lba, other, 2 + array_sectors, last_lba - array_sectors - 1, guid.bytes_le, array)
    counts = (ENTRY_COUNT, ENTRY_SIZE, zlib.crc32(entries))
    header = HEADER.pack(_SIGNATURE, 0x00010000, HEADER.size, 0, *values, *counts)
    sealed = header[:16] + struct.pack("<I", zlib.crc32(header)) + header[20:]
    return sealed.ljust(SECTOR, b"\0")


def protective_mbr(size: int, boot_code: bytes) -> bytes:
    """Sector 0 of a GPT disk of `size` bytes, with up to 446 bytes at its start. Spec: UEFI 2.10, 5.2.3."""
    entry = MBR_ENTRY.pack(
        0, b"\x00\x02\x00", PROTECTIVE, b"\xff\xff\xff", 1, min(size // SECTOR - 1, 0xFFFFFFFF)
    )
    return boot_code.ljust(446, b"\0") + entry + bytes(48) + b"\x55\xaa"


def moved_backup(disk: Disk, size: int) -> dict[int, bytes]:
    """What to change so that the GPT of `disk` fits a disk of `size` bytes: bytes by their offset.

    The backup goes to the new end, the primary says so, and the last usable sector moves along; the
    partitions stay. {} when there is no valid primary GPT, nothing to move, or no room for it behind the last
    partition.
    """
    if size == disk.size:
        return {}
    table = read_partitions(disk)
    sector = table.sector_size
    primary = parse_gpt(disk, 1, sector)
    last_lba = size // sector - 1
    if isinstance(primary, str) or primary.alternate_lba == last_lba:
        return {}
    array_sectors = -(-len(primary.entries) // sector)
    if any(part.end > (last_lba - array_sectors) * sector for part in table.partitions):
        return {}
    header = disk.read(sector, sector)
    _, _, header_size, *_, array_lba, _, _, _ = HEADER.unpack_from(header)

    def sealed(my_lba: int, alternate_lba: int, entries_lba: int) -> bytes:
        changed = bytearray(header)
        struct.pack_into("<QQ", changed, 24, my_lba, alternate_lba)
        struct.pack_into("<Q", changed, 48, last_lba - array_sectors - 1)
        struct.pack_into("<Q", changed, 72, entries_lba)
        struct.pack_into("<I", changed, 16, 0)
        struct.pack_into("<I", changed, 16, zlib.crc32(changed[:header_size]))
        return bytes(changed)

    backup_array = last_lba - array_sectors
    entries = primary.entries.ljust(array_sectors * sector, b"\0")
    return {
        sector: sealed(1, last_lba, array_lba),
        backup_array * sector: entries + sealed(last_lba, 1, backup_array),
    }

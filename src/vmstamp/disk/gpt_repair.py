"""A GPT made whole: what to write where one of its copies, or the protective MBR, is wrong.

The copy that firmware and Linux believe is the one that stays: the primary, or the backup in the last sector
where the primary is bad. Partitions are never moved, cut or left out; what does not fit is not mended.
Spec: UEFI 2.10, 5.3.2.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from vmstamp.disk.base import SECTOR, Disk
from vmstamp.disk.partitions import (
    ENTRY,
    HEADER,
    MBR_ENTRY,
    Gpt,
    parse_gpt,
    protective_mbr,
    read_partitions,
)

PRIMARY = 1  # the sector of the primary header
MBR_ENTRIES = 446  # bytes before them


def mended_gpt(disk: Disk) -> dict[int, bytes]:
    """What to write on `disk` so that its GPT is whole: bytes by their offset, only such as differ.

    {} when it is whole, and when it cannot be mended: there is no GPT, it is made for sectors of another size
    than 512 bytes, or a partition lies where a copy has to be. Raises DiskError as `read_partitions` does,
    when neither copy can be trusted. Blocks for reads.
    """
    table = read_partitions(disk)
    if table.scheme != "gpt" or table.sector_size != SECTOR:
        return {}
    last_lba = disk.data_size // SECTOR - 1
    good = parse_gpt(disk, PRIMARY, SECTOR)
    if isinstance(good, str):
        good = parse_gpt(disk, last_lba, SECTOR)
    if isinstance(good, str):
        return {}
    wanted = _copies(disk, good, last_lba)
    if wanted:
        wanted |= _protection(disk)
    return {at: data for at, data in wanted.items() if disk.read(at, len(data)) != data}


def _copies(disk: Disk, good: Gpt, last_lba: int) -> dict[int, bytes]:
    """Both headers with their entries, as the good copy says; {} when a partition is in their way."""
    header = disk.read(good.my_lba * SECTOR, SECTOR)
    sectors = -(-len(good.entries) // SECTOR)
    entries = good.entries.ljust(sectors * SECTOR, b"\0")
    array = HEADER.unpack_from(header)[9] if good.my_lba == PRIMARY else PRIMARY + 1
    backup_array = last_lba - sectors
    first, last = array + sectors, backup_array - 1
    if good.first_usable_lba < first or any(not first <= low <= high <= last for low, high in _spans(good)):
        return {}

    def sealed(my_lba: int, alternate_lba: int, entries_lba: int) -> bytes:
        changed = bytearray(header)
        struct.pack_into("<QQ", changed, 24, my_lba, alternate_lba)
        struct.pack_into("<Q", changed, 48, last)
        struct.pack_into("<Q", changed, 72, entries_lba)
        size = HEADER.unpack_from(header)[2]
        struct.pack_into("<I", changed, 16, 0)
        struct.pack_into("<I", changed, 16, zlib.crc32(changed[:size]))
        return bytes(changed)

    return {
        PRIMARY * SECTOR: sealed(PRIMARY, last_lba, array),
        array * SECTOR: entries,
        backup_array * SECTOR: entries + sealed(last_lba, PRIMARY, backup_array),
    }


def _spans(gpt: Gpt) -> Iterator[tuple[int, int]]:
    """First and last sector of every partition, of those too that are not on the disk."""
    for at in range(0, len(gpt.entries) - ENTRY.size + 1, gpt.entry_size):
        kind, _, first, last, _, _ = ENTRY.unpack_from(gpt.entries, at)
        if kind != bytes(16):
            yield first, last


def _protection(disk: Disk) -> dict[int, bytes]:
    """The protective MBR behind the boot program; {} when the MBR names the GPT already, or partitions."""
    sector = disk.read(0, SECTOR)
    types = [MBR_ENTRY.unpack_from(sector, MBR_ENTRIES + 16 * index)[2] for index in range(4)]
    if sector[510:512] == b"\x55\xaa" and any(types):
        return {}
    return {0: protective_mbr(disk.data_size, sector[:MBR_ENTRIES])}

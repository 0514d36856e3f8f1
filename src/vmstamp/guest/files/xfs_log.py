"""Whether an XFS was unmounted: its log then ends in a record that says so.

Big-endian. Superblock at byte 0, beside what `vmstamp.guest.files.probe` reads:

    0x04  u32  block size          0x54  u32  blocks of an allocation group
    0x30  u64  first block of the log (its group << n | the block in the group; 0: on another device)
    0x60  u32  blocks of the log   0x7C  u8   n

The log is a ring of sectors. Each begins with the number of the round in which it was written; a record's
header has its magic number there, and the round behind it:

    0x00  u32  0xFEEDBABE  0x08  u32  version        0x28   u32  operations in it
    0x04  u32  round       0x0C  u32  bytes behind   0x140  u32  size of a log buffer (version 2)

The record of an unmount has one operation, with 0x20 in the byte at 9, behind its header.

Spec: XFS Filesystem Structure, Journaling Log; Linux fs/xfs/xfs_log_recover.c xlog_find_head, xlog_find_tail
"""

from __future__ import annotations

import struct

from vmstamp.guest.files.window import Window

SECTOR = 512
RECORD_MAGIC = 0xFEEDBABE
UNMOUNT = 0x20  # XLOG_UNMOUNT_TRANS
HEADER_CYCLES = 32 * 1024  # bytes of a log buffer that one header is for
LOOK_BACK = 1024  # sectors before the head among which the last record begins; buffers have 256 KiB at most


def find_unmounted(window: Window) -> bool | None:
    """Whether the last thing in the log is an unmount; None where the log is not in the window, or no log."""
    head = window.read_at(0, SECTOR)
    if len(head) < SECTOR or head[:4] != b"XFSB":
        return None
    block, group_blocks, log_blocks = (struct.unpack_from(">I", head, at)[0] for at in (0x04, 0x54, 0x60))
    (start,) = struct.unpack_from(">Q", head, 0x30)
    shift = head[0x7C]
    place = ((start >> shift) * group_blocks + (start & ((1 << shift) - 1))) * block
    sectors = log_blocks * block // SECTOR
    if not start or not sectors or place + sectors * SECTOR > window.size:
        return None
    return _ends_in_unmount(window, place, sectors)


def _ends_in_unmount(window: Window, place: int, sectors: int) -> bool | None:
    def sector(number: int) -> bytes:
        return window.read_at(place + number % sectors * SECTOR, SECTOR)

    def cycle(number: int) -> int:
        words = struct.unpack_from(">II", sector(number))
        return int(words[1] if words[0] == RECORD_MAGIC else words[0])

    first, low, high = cycle(0), 0, sectors  # the first sector of an older round is in (low, high]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cycle(middle) == first else (low, middle)
    for number in range(high - 1, high - 1 - min(LOOK_BACK, sectors), -1):
        header = sector(number)
        magic, _, version, length = struct.unpack_from(">IIII", header)
        if magic != RECORD_MAGIC:
            continue
        operations, size = (struct.unpack_from(">I", header, at)[0] for at in (0x28, 0x140))
        headers = max(1, -(-size // HEADER_CYCLES)) if version == 2 else 1
        end = number + headers + -(-length // SECTOR)
        return operations == 1 and (end - high) % sectors == 0 and bool(sector(number + headers)[9] & UNMOUNT)
    return None

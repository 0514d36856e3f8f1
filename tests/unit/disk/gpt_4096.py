"""A partition table for sectors of 4096 bytes, by the letter of UEFI 5.3."""

from __future__ import annotations

import struct
import zlib

from vmstamp.disk.partitions import LINUX_FILE_SYSTEM

SECTOR = 4096


def gpt(size: int, first: int, last: int) -> dict[int, bytes]:
    """A table of one partition from sector `first` to `last`, as bytes by their offset."""
    end = size // SECTOR - 1
    entry = struct.pack("<16s16sQQQ72s", LINUX_FILE_SYSTEM.bytes_le, b"u" * 16, first, last, 0, b"r\0")
    entries = entry.ljust(128 * 128, b"\0")

    def header(lba: int, other: int, array: int) -> bytes:
        values = (b"EFI PART", 0x10000, 92, 0, 0, lba, other, 6, end - 5, b"d" * 16, array, 128, 128)
        packed = struct.pack("<8sIIIIQQQQ16sQIII", *values, zlib.crc32(entries))
        return packed[:16] + struct.pack("<I", zlib.crc32(packed)) + packed[20:]

    mbr = bytes(446) + struct.pack("<4xB3xII", 0xEE, 1, end) + bytes(48) + b"\x55\xaa"
    return {
        0: mbr,
        SECTOR: header(1, end, 2),
        2 * SECTOR: entries,
        (end - 4) * SECTOR: entries,
        end * SECTOR: header(end, 1, end - 4),
    }

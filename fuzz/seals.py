"""Makes a mutated file's checksums right again, so that what lies behind them is reached."""

from __future__ import annotations

import struct
import zlib

from vmstamp.disk.base import SECTOR
from vmstamp.disk.footer import COOKIE
from vmstamp.disk.footer import checksum as vhd_checksum
from vmstamp.disk.vhd import DYNAMIC_COOKIE
from vmstamp.disk.vhdx import layout
from vmstamp.disk.vhdx.layout import MIB

LOG_OFFSET, LOG_LENGTH = MIB, MIB  # where our writer and QEMU put it


def leave(data: bytearray) -> None:
    """A format without checksums."""


def seal_vhd(data: bytearray) -> None:
    """The footer, its copy, and the dynamic disk header."""
    for start in {0, max(len(data) - SECTOR, 0)}:
        if data[start : start + 8] == COOKIE:
            _put_vhd(data, start, SECTOR, 64)
    if data[SECTOR : SECTOR + 8] == DYNAMIC_COOKIE:
        _put_vhd(data, SECTOR, 1024, 36)


def _put_vhd(data: bytearray, start: int, length: int, field: int) -> None:
    value = vhd_checksum(bytes(data[start : start + length]), field)
    struct.pack_into(">I", data, start + field, value)


def seal_vhdx(data: bytearray) -> None:
    """Headers, region tables, and the log's entries where they begin now."""
    for start in layout.HEADER_OFFSETS:
        _put_crc(data, start, 4096)
    for start in layout.REGION_OFFSETS:
        _put_crc(data, start, layout.REGION_SIZE)
    for start in range(LOG_OFFSET, min(LOG_OFFSET + LOG_LENGTH, len(data)), 4096):
        if data[start : start + 4] == b"loge":
            _seal_entry(data, start)


def _put_crc(data: bytearray, start: int, length: int) -> None:
    struct.pack_into("<I", data, start + 4, layout.checksum(bytes(data[start : start + length])))


def _seal_entry(data: bytearray, start: int) -> None:
    """An entry may go on at the log's start."""
    length = min(int.from_bytes(data[start + 8 : start + 12], "little"), LOG_LENGTH)
    first = min(length, LOG_OFFSET + LOG_LENGTH - start)
    entry = data[start : start + first] + data[LOG_OFFSET : LOG_OFFSET + length - first]
    if len(entry) >= 64:
        struct.pack_into("<I", data, start + 4, layout.checksum(bytes(entry)))


def seal_gpt(data: bytearray) -> None:
    """Both headers and their entries, for sectors of 512 and of 4096 bytes."""
    for sector in (512, 4096):
        for start in (sector, len(data) - sector):
            if data[start : start + 8] == b"EFI PART":
                _seal_gpt_header(data, start, sector)


def _seal_gpt_header(data: bytearray, start: int, sector: int) -> None:
    header_size, array, count, size = struct.unpack_from("<12xI56xQII", data, start)
    entries = data[array * sector : array * sector + min(count * size, MIB)]
    struct.pack_into("<I", data, start + 88, zlib.crc32(entries))
    struct.pack_into("<I", data, start + 16, 0)
    struct.pack_into("<I", data, start + 16, zlib.crc32(data[start : start + min(header_size, sector)]))

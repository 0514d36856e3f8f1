"""NTFS: label, serial number and whether it is dirty, from the boot sector and the file record of $Volume.

Boot sector, little-endian:                    File record ('FILE'):
    offset size field                              offset size field
       0x0B    2 bytes per sector                    0x04    2 offset of the update sequence
       0x0D    1 sectors per cluster                 0x06    2 its count of u16 (one, and one a sector)
       0x30    8 cluster of $MFT                     0x14    2 offset of the first attribute
       0x40    1 clusters per file record,       Attribute: type u32, length u32, non-resident u8,
                 or -n for 2**n bytes              0x10 content length u32, 0x14 content offset u16
       0x48    8 serial number                   $VOLUME_INFORMATION (0x70) content: 0x0A flags u16

Spec: libfsntfs documentation/New Technologies File System (NTFS).asciidoc, "The volume header", "MFT entry".
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Any

from vmstamp.errors import GuestError
from vmstamp.guest.files.window import Window

VOLUME_RECORD = 3  # $Volume's number in the $MFT
VOLUME_NAME = 0x60
VOLUME_INFORMATION = 0x70
VOLUME_IS_DIRTY = 0x0001
END_OF_ATTRIBUTES = 0xFFFFFFFF
SECTOR = 512  # the stride of the update sequence

REPARSE_POINT = 0x400  # FILE_ATTRIBUTE_REPARSE_POINT. Spec: [MS-FSCC] 2.6
REPARSE_ATTRIBUTE = 0xC0
LINKS = (
    0xA0000003,
    0xA000000C,
)  # tags of mount points (junctions) and symbolic links. Spec: [MS-FSCC] 2.1.2.1
MAX_ATTRIBUTES = 1000
_IN_VOLUME = re.compile(r"(?:\\\?\?\\)?[A-Za-z]:(\\.*)?", re.DOTALL)


def read_ntfs(window: Window) -> dict[str, str]:
    """FileSystem's `uuid` (the serial number), `label`, `dirty` and `unread` for an NTFS in the window."""
    boot = window.read_at(0, SECTOR)
    damaged = {"unread": "its boot sector is damaged"}
    if len(boot) < SECTOR:
        return damaged
    sector, per_cluster = struct.unpack_from("<HB", boot, 0x0B)
    mft, serial = struct.unpack_from("<Q", boot, 0x30)[0], struct.unpack_from("<Q", boot, 0x48)[0]
    cluster = sector * (per_cluster if per_cluster <= 0x80 else 1 << (256 - per_cluster))
    size = _record_size(boot[0x40], cluster)
    if sector not in (512, 1024, 2048, 4096) or not cluster or mft * cluster >= window.size:
        return damaged
    if not SECTOR <= size <= 4096:
        return damaged
    found = {"uuid": f"{serial:016X}"}
    record = window.read_at(mft * cluster + VOLUME_RECORD * size, size)
    for kind, content in _attributes(_without_fixups(record)):
        if kind == VOLUME_NAME:
            found["label"] = content.decode("utf-16-le", "replace")
        elif kind == VOLUME_INFORMATION and len(content) >= 12:
            dirty = struct.unpack_from("<H", content, 0x0A)[0] & VOLUME_IS_DIRTY
            found["dirty"] = (
                "Windows marked it dirty: it was not shut down, or chkdsk is due" if dirty else ""
            )
    return found


def _record_size(raw: int, cluster: int) -> int:
    if raw < 0x80:
        return raw * cluster
    return 1 << min(256 - raw, 31)


def _without_fixups(record: bytes) -> bytes:
    """The record with each sector's last two bytes put back; b'' when it is none."""
    if len(record) < SECTOR or record[:4] != b"FILE":
        return b""
    offset, count = struct.unpack_from("<HH", record, 4)
    if offset + 2 * count > SECTOR or count != len(record) // SECTOR + 1:
        return b""
    fixed = bytearray(record)
    for index in range(1, count):
        fixed[index * SECTOR - 2 : index * SECTOR] = record[offset + 2 * index : offset + 2 * index + 2]
    return bytes(fixed)


def _attributes(record: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and content of the resident attributes."""
    offset = struct.unpack_from("<H", record, 0x14)[0] if record else 0
    while record and offset + 0x18 <= len(record):
        kind, length, non_resident = struct.unpack_from("<IIB", record, offset)
        if kind == END_OF_ATTRIBUTES or length < 0x18:
            return
        if not non_resident:
            size, start = struct.unpack_from("<IH", record, offset + 0x10)
            yield kind, record[offset + start : min(offset + start + size, offset + length)]
        offset += length


def find_link(entry: Any) -> str | None:
    """Where a libfsntfs entry that is a junction or a symbolic link points, as stored; None for others.

    The library's own symbolic_link_target knows no junctions.
    """
    for index in range(min(entry.number_of_attributes, MAX_ATTRIBUTES)):
        attribute = entry.get_attribute(index)
        if attribute.attribute_type == REPARSE_ATTRIBUTE and getattr(attribute, "tag", None) in LINKS:
            name: str | None = attribute.substitute_name
            return name
    return None


def link_target(stored: str) -> str:
    r"""The target of a symbolic link or junction as a path with slashes, absolute in its own volume.

    `\??\C:\Users` is /Users: a drive's letter is not stored in the volume that bears it, and the letter of
    the system's volume is nearly always the one meant. GuestError for other volumes and for servers.
    """
    match = _IN_VOLUME.fullmatch(stored)
    if match:
        return (match[1] or "\\").replace("\\", "/")
    if stored.startswith(("\\??\\", "\\\\")):
        raise GuestError("a reparse point leads out of the volume")
    return stored.replace("\\", "/")

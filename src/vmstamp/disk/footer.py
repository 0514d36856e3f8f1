"""The hard disk footer of a VHD: the 512 bytes that make a raw disk a fixed VHD.

Big-endian.
    offset size field
         0    8 cookie 'conectix'
         8    4 features: 2 (reserved, always set)
        12    4 file format version 0x00010000
        16    8 data offset: of the dynamic disk header; all ones in a fixed disk
        24    4 time stamp: seconds since 2000-01-01 00:00 UTC
        28    4 creator application
        32    4 creator version
        36    4 creator host OS: 'Wi2k' or 'Mac '
        40    8 original size, bytes
        48    8 current size, bytes
        56    4 disk geometry: cylinders u16, heads u8, sectors per track u8
        60    4 disk type: 2 fixed, 3 dynamic, 4 differencing
        64    4 checksum: one's complement of the sum of all bytes but these four
        68   16 unique id (RFC 4122 byte order)
        84    1 saved state
        85  427 reserved, zero
Spec: Virtual Hard Disk Image Format Specification 1.0 (October 2006), "Hard Disk Footer Format".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from vmstamp.errors import DiskError

FOOTER_SIZE = 512
COOKIE = b"conectix"
FEATURES_RESERVED = 0x00000002
FORMAT_VERSION = 0x00010000
NO_DATA_OFFSET = 0xFFFFFFFF_FFFFFFFF
FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
# Readers differ in what they take as the disk's size: Virtual PC and, for an unknown creator, QEMU take
# the geometry, which is rounded down; for this creator (Hyper-V's) QEMU takes the current size.
CREATOR_APPLICATION = b"win "
CREATOR_VERSION = 0x000A0000
CREATOR_HOST_OS = b"Wi2k"
SPEC = "VHD 1.0, Hard Disk Footer Format"

_LAYOUT = struct.Struct(">8sIIQI4sI4sQQHBBII16sB427x")
_CHECKSUM_AT = 64
MAX_SECTORS = 65535 * 16 * 255  # what a geometry can express
# Hyper-V, QEMU with force_size, disk2vhd, XenConvert and XenServer; QEMU from 10.0 on adds Azure's 'wa'.
# Of all others, Virtual PC, VirtualBox and QEMU itself among them, QEMU believes the geometry.
# Source: QEMU 7.2, block/vpc.c, vpc_open; measured with qemu-img.
BY_CURRENT_SIZE = (b"win ", b"qem2", b"d2v ", b"CTXS", b"tap\0")


@dataclass(frozen=True)
class Geometry:
    """Cylinders, heads and sectors per track."""

    cylinders: int
    heads: int
    sectors_per_track: int


@dataclass(frozen=True)
class Footer:
    """A parsed footer; sizes in bytes. `disk_type` is the number in the file."""

    features: int
    version: int
    data_offset: int
    created: datetime
    creator_application: bytes
    original_size: int
    current_size: int
    geometry: Geometry
    disk_type: int
    unique_id: UUID
    saved_state: int


def geometry(size: int) -> Geometry:
    """The geometry of a disk of `size` bytes. Spec: VHD 1.0, Appendix: CHS Calculation."""
    sectors = min(size // 512, MAX_SECTORS)
    if sectors >= 65535 * 16 * 63:
        return Geometry(sectors // 255 // 16, 16, 255)
    per_track = 17
    tracks = sectors // per_track
    heads = max((tracks + 1023) // 1024, 4)
    if tracks >= heads * 1024 or heads > 16:
        per_track, heads = 31, 16
        tracks = sectors // per_track
    if tracks >= heads * 1024:
        per_track, heads = 63, 16
        tracks = sectors // per_track
    return Geometry(tracks // heads, heads, per_track)


def size_by_geometry(footer: Footer) -> int | None:
    """The bytes that QEMU and Virtual PC take the disk to have, when that is not its current size."""
    chs = footer.geometry
    sectors = chs.cylinders * chs.heads * chs.sectors_per_track
    if footer.creator_application in BY_CURRENT_SIZE or sectors == MAX_SECTORS:
        return None
    return None if sectors * 512 == footer.current_size else sectors * 512


def checksum(data: bytes, at: int = _CHECKSUM_AT) -> int:
    """The one's complement of the byte sum of a footer or header, its checksum field at `at` left out."""
    return ~(sum(data) - sum(data[at : at + 4])) & 0xFFFFFFFF


def make_footer(
    size: int,
    unique_id: UUID,
    created: datetime,
    *,
    disk_type: int = FIXED,
    data_offset: int = NO_DATA_OFFSET,
) -> bytes:
    """The footer of a VHD of `size` bytes of data (a multiple of 512); `created` has a time zone.

    By default of a fixed one; the others' `data_offset` is where their dynamic disk header lies.
    """
    if size <= 0 or size % 512:
        raise ValueError(f"a disk of {size} bytes is not a whole number of sectors")
    chs = geometry(size)
    footer = bytearray(
        _LAYOUT.pack(
            COOKIE,
            FEATURES_RESERVED,
            FORMAT_VERSION,
            data_offset,
            max(0, int((created - EPOCH).total_seconds())),
            CREATOR_APPLICATION,
            CREATOR_VERSION,
            CREATOR_HOST_OS,
            size,
            size,
            chs.cylinders,
            chs.heads,
            chs.sectors_per_track,
            disk_type,
            0,
            unique_id.bytes,
            0,
        )
    )
    struct.pack_into(">I", footer, _CHECKSUM_AT, checksum(bytes(footer)))
    return bytes(footer)


def parse_footer(data: bytes, path: Path | str, offset: int) -> Footer:
    """Read the 512 bytes of a footer that lies at `offset` of `path`.

    Raises DiskError when the cookie, the checksum, the version or the disk type is not as specified.
    """
    if len(data) < FOOTER_SIZE or data[:8] != COOKIE:
        raise DiskError(
            path,
            "no footer: 'conectix' was expected",
            offset=offset,
            spec=SPEC,
            hint="the file is truncated, or it is no VHD",
        )
    values = _LAYOUT.unpack(data[:FOOTER_SIZE])
    found, computed = values[14], checksum(data[:FOOTER_SIZE])
    if found != computed:
        raise DiskError(
            path,
            f"footer checksum is {found:#010x}, computed {computed:#010x}",
            offset=offset + _CHECKSUM_AT,
            spec=SPEC,
            hint="the footer is damaged; copy the file again from its source",
        )
    if values[2] >> 16 != FORMAT_VERSION >> 16:
        raise DiskError(
            path, f"file format version {values[2]:#010x} is unknown", offset=offset + 12, spec=SPEC
        )
    if values[13] not in (FIXED, DYNAMIC, DIFFERENCING):
        raise DiskError(
            path,
            f"disk type {values[13]} is unknown; 2 (fixed), 3 (dynamic) and 4 (differencing) are known",
            offset=offset + 60,
            spec=SPEC,
        )
    return Footer(
        features=values[1],
        version=values[2],
        data_offset=values[3],
        created=EPOCH + timedelta(seconds=values[4]),
        creator_application=values[5],
        original_size=values[8],
        current_size=values[9],
        geometry=Geometry(values[10], values[11], values[12]),
        disk_type=values[13],
        unique_id=UUID(bytes=values[15]),
        saved_state=values[16],
    )

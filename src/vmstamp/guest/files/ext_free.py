"""Which blocks of an ext2, ext3 or ext4 are free, by the bitmaps of its block groups.

Little-endian. Superblock at byte 1024 (beside what `vmstamp.guest.files.probe` lists):

    0x14  u32  first data block      0x64  u32  read-only compatible features
    0x60  u32  incompatible features 0xFE  u16  size of a group's descriptor (64bit)

A group's descriptor; they lie in the block behind the superblock's, one after the other:

    0x00  u32  block of its bitmap, low    0x12  u16  flags (2: the bitmap was never written)
    0x20  u32  the same, high (64bit)

In a bitmap the lowest bit of a byte comes first, and 0 is free.

Spec: Linux Documentation/filesystems/ext4/super.rst, group_descr.rst, bitmaps.rst
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from vmstamp.errors import GuestError
from vmstamp.extents import Extent
from vmstamp.guest.files.probe import EXT_64BIT, EXT_MAGIC
from vmstamp.guest.files.window import Window

META_BG = 0x10  # incompatible: descriptors lie elsewhere
BIGALLOC = 0x200  # read-only compatible: a bit is for several blocks
BITMAP_UNWRITTEN = 2
GROUP_COUNT = 1024  # groups that are looked at; 128 GiB with blocks of 4 KiB


def free_ranges(window: Window) -> Iterator[Extent]:
    """The free ranges in bytes from the window's start, ascending, of the groups that were ever used.

    Of a file system with more groups than GROUP_COUNT every second, third, ... is looked at. Raises
    GuestError where it is none, or has features that are not read.
    """
    block = window.read_at(1024, 1024)
    if len(block) < 1024 or struct.unpack_from("<H", block, 0x38)[0] != EXT_MAGIC:
        raise GuestError("no ext2, ext3 or ext4")
    count, first, shift, per_group = (
        struct.unpack_from("<I", block, at)[0] for at in (0x04, 0x14, 0x18, 0x20)
    )
    incompatible, read_only = struct.unpack_from("<II", block, 0x60)
    if incompatible & META_BG or read_only & BIGALLOC or shift > 6 or not 0 < per_group <= 8 << (shift + 10):
        raise GuestError("an ext4 whose bitmaps are not read")
    wide = bool(incompatible & EXT_64BIT)
    if wide:
        count |= struct.unpack_from("<I", block, 0x150)[0] << 32
    length = struct.unpack_from("<H", block, 0xFE)[0] if wide else 32
    if length < (64 if wide else 32) or count << (shift + 10) > window.size:
        raise GuestError("an ext4 with a superblock that cannot be true")
    groups = -(-(count - first) // per_group)
    for group in range(0, groups, -(-groups // GROUP_COUNT) or 1):
        descriptor = window.read_at((first + 1 << (shift + 10)) + group * length, length)
        if len(descriptor) < length or struct.unpack_from("<H", descriptor, 0x12)[0] & BITMAP_UNWRITTEN:
            continue
        (place,) = struct.unpack_from("<I", descriptor, 0)
        place |= struct.unpack_from("<I", descriptor, 0x20)[0] << 32 if wide else 0
        start = first + group * per_group
        blocks = min(per_group, count - start)
        bitmap = window.read_at(place << (shift + 10), -(-blocks // 8))
        if len(bitmap) < -(-blocks // 8):
            raise GuestError(f"the bitmap of block group {group} lies outside of the file system")
        for low, high in zeros(bitmap, blocks):
            yield Extent(start + low << (shift + 10), start + high << (shift + 10))


def zeros(bitmap: bytes, count: int) -> Iterator[tuple[int, int]]:
    """The half-open ranges of bits that are 0 among the first `count`."""
    bits = f"{int.from_bytes(bitmap, 'little'):0{len(bitmap) * 8}b}"[::-1][:count]
    return (match.span() for match in re.finditer("0+", bits))

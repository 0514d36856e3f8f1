"""What a partition holds, by its magic numbers; and the superblock facts that the readers do not give.

Only ext2/3/4, XFS, btrfs, FAT and NTFS are read by this version, and LVM's physical volumes; everything else
is named, so that a report says what it did not see.

ext superblock at byte 1024, little-endian (Linux Documentation/filesystems/ext4/super.rst):

    0x04  u32  block count, low         0x5C  u32  compatible features (0x4 has_journal)
    0x18  u32  block size = 1024 << n   0x60  u32  incompatible features
    0x20  u32  blocks per group         0x68  16   UUID
    0x38  u16  magic 0xEF53             0x78  16   label
    0x3A  u16  state (1 clean, 2 errors)   0x150 u32 block count, high (64bit)

btrfs superblock at byte 65536 (Linux include/uapi/linux/btrfs_tree.h): see `vmstamp.guest.files.btrfs`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from uuid import UUID

from vmstamp.guest.files.ntfs import read_ntfs
from vmstamp.guest.files.window import Window

EXT_MAGIC = 0xEF53
EXT_HAS_JOURNAL = 0x4  # compatible
EXT_RECOVER = 0x4  # incompatible: the journal holds what the file system does not yet
EXT_EXTENTS = 0x40
EXT_64BIT = 0x80
# Incompatible features whose files libfsext gives wrongly or not at all.
EXT_UNREAD = {0x1: "compression", 0x8: "journal device", 0x8000: "inline_data", 0x10000: "encrypt"}

# btrfs: incompatible features that change what is read here, and all that are known.
BTRFS_UNREAD = {0x1000: "zoned", 0x2000: "extent-tree-v2", 0x4000: "raid-stripe-tree"}
BTRFS_KNOWN = 0x7FFF | 0x10000  # 0x10000 simple quotas

READ = ("ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "ntfs")
# What may hold an operating system that this version does not read.
OPAQUE = ("ntfs", "LVM", "LUKS", "BitLocker", "Linux RAID", "f2fs", "erofs", "squashfs")

# (offset, magic, name) in the order in which they are tried.
_MAGICS = (
    (0, b"LUKS\xba\xbe", "LUKS"),
    (3, b"-FVE-FS-", "BitLocker"),
    (0, b"XFSB", "xfs"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    (3, b"NTFS    ", "ntfs"),
    (3, b"EXFAT   ", "exfat"),
    (512, b"LABELONE", "LVM"),
    (0, b"hsqs", "squashfs"),
    (1024, b"\x10\x20\xf5\xf2", "f2fs"),
    (1024, b"\xe2\xe1\xf5\xe0", "erofs"),
    (0x8001, b"CD001", "iso9660"),
    (4096, b"\xfc\x4e\x2b\xa9", "Linux RAID"),
    (0, b"\xfc\x4e\x2b\xa9", "Linux RAID"),
    (4086, b"SWAPSPACE2", "swap"),
    (16374, b"SWAPSPACE2", "swap"),  # on arm64 with pages of 16 and 64 KiB
    (65526, b"SWAPSPACE2", "swap"),
)


@dataclass(frozen=True)
class FileSystem:
    """A file system (or other content) as its superblock tells.

    `kind` is blkid's name where it has one. `unread` says why this version does not read it ('' : it does).
    `dirty` says what is unfinished: '' clean, else a sentence's end such as 'its journal needs recovery'.
    """

    kind: str
    uuid: str = ""
    label: str = ""
    unread: str = ""
    dirty: str = ""


def probe(window: Window) -> FileSystem | None:
    """What lies in the window, or None when nothing known does. Reads a few sectors."""
    ext = _probe_ext(window)
    if ext is not None:
        return ext
    fat = _probe_fat(window)
    if fat is not None:
        return fat
    for offset, magic, kind in _MAGICS:
        if window.read_at(offset, len(magic)) == magic:
            if kind == "ntfs":
                return FileSystem(kind, **read_ntfs(window))
            if kind == "btrfs":
                return _probe_btrfs(window)
            unread = "" if kind in (*READ, "LVM") else "not read by this version"
            return FileSystem(kind, **_names(kind, window), unread=unread)
    return None


def _probe_btrfs(window: Window) -> FileSystem | None:
    block = window.read_at(0x10000, 4096)
    if len(block) < 4096:
        return None
    log, devices, features = (struct.unpack_from("<Q", block, at)[0] for at in (0x60, 0x88, 0xBC))
    missing = [name for bit, name in BTRFS_UNREAD.items() if features & bit]
    if features & ~BTRFS_KNOWN:
        missing.append(f"{features & ~BTRFS_KNOWN:#x}")
    unread = f"its feature {', '.join(missing)} is not read by this version" if missing else ""
    if devices != 1:
        unread = f"it lies on {devices} devices, of which this is one"
    return FileSystem(
        "btrfs", **_names("btrfs", window), unread=unread, dirty="its log was not replayed" if log else ""
    )


def _probe_ext(window: Window) -> FileSystem | None:
    block = window.read_at(1024, 1024)
    if len(block) < 1024 or struct.unpack_from("<H", block, 0x38)[0] != EXT_MAGIC:
        return None
    compatible, incompatible = struct.unpack_from("<II", block, 0x5C)
    kind = "ext4" if incompatible & (EXT_EXTENTS | EXT_64BIT) else "ext2"
    if kind == "ext2" and compatible & EXT_HAS_JOURNAL:
        kind = "ext3"
    state = struct.unpack_from("<H", block, 0x3A)[0]
    dirty = "its journal needs recovery" if incompatible & EXT_RECOVER else ""
    if not dirty and state & 2:
        dirty = "the kernel recorded errors in it"
    elif not dirty and not state & 1 and not compatible & EXT_HAS_JOURNAL:
        dirty = "it was not unmounted"
    return FileSystem(
        kind,
        uuid=str(UUID(bytes=block[0x68:0x78])),
        label=_text(block[0x78:0x88]),
        unread=_unread_ext(block, incompatible, window.size),
        dirty=dirty,
    )


def _unread_ext(block: bytes, incompatible: int, size: int) -> str:
    """Why an ext file system is not read: a feature, or a superblock that cannot be true."""
    features = [name for bit, name in EXT_UNREAD.items() if incompatible & bit]
    if features:
        return f"its feature {', '.join(features)} is not read by this version"
    shift, per_group = struct.unpack_from("<I4xI", block, 0x18)
    if shift > 6 or not per_group:
        return "its superblock is damaged"
    count = struct.unpack_from("<I", block, 0x04)[0]
    if incompatible & EXT_64BIT:
        count |= struct.unpack_from("<I", block, 0x150)[0] << 32
    length = count * (1024 << shift)
    if length > size:
        return f"its superblock says {length} bytes, but {size} are there"
    if count // per_group > max(16, size // (64 * 1024)):
        return "its superblock is damaged"
    return ""


def _probe_fat(window: Window) -> FileSystem | None:
    """FAT12/16/32 by the boot sector. Spec: Microsoft FAT specification, 3.1-3.3."""
    sector = window.read_at(0, 512)
    if len(sector) < 512 or sector[510:] != b"\x55\xaa" or sector[0] not in (0xEB, 0xE9):
        return None
    if sector[82:90] == b"FAT32   ":
        identifier, label = sector[67:71], sector[71:82]
    elif sector[54:57] == b"FAT":
        identifier, label = sector[39:43], sector[43:54]
    else:
        return None
    number = identifier[::-1].hex().upper()
    name = _text(label).strip()
    return FileSystem("vfat", f"{number[:4]}-{number[4:]}", "" if name == "NO NAME" else name)


def _names(kind: str, window: Window) -> dict[str, str]:
    """UUID and label of what is not read but may be named in fstab."""
    places = {"xfs": (32, 108, 12), "btrfs": (0x10020, 0x1012B, 256), "swap": (1036, 1052, 16)}
    if kind not in places:
        return {}
    uuid, label, length = places[kind]
    raw = window.read_at(uuid, 16)
    if len(raw) < 16:
        return {}
    return {"uuid": str(UUID(bytes=raw)), "label": _text(window.read_at(label, length))}


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "replace")

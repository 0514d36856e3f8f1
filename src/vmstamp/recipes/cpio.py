"""A cpio archive in the kernel's "newc" form: enough to pack an initramfs. All entries are root's.

    offset  bytes  field (each number is 8 hexadecimal digits, upper case)
    0       6      "070701"
    6       13 x 8 ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor,
                   namesize (with its NUL), check (0)
    110     -      name and NUL, padded to 4 bytes from the header's start; data, padded to 4 bytes

Format: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """A file, directory, symbolic link (`data` is its target) or character device of an archive."""

    name: str
    mode: int  # type and permissions, as in st_mode
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(name: str) -> Entry:
    return Entry(name, stat.S_IFDIR | 0o755)


def file(name: str, data: bytes, mode: int = 0o644) -> Entry:
    return Entry(name, stat.S_IFREG | mode, data)


def symlink(name: str, target: str) -> Entry:
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


def character_device(name: str, major: int, minor: int) -> Entry:
    return Entry(name, stat.S_IFCHR | 0o600, device=(major, minor))


def pack(entries: Iterable[Entry]) -> bytes:
    """The archive of the entries, in their order, closed by the trailer."""
    packed = [_pack(number, entry) for number, entry in enumerate(entries, 1)]
    return b"".join([*packed, _pack(0, Entry(TRAILER, 0))])


def _pack(number: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % value for value in fields)
    return _padded(header + name) + _padded(entry.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)

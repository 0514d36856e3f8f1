"""System calls that Python's library lacks, by ctypes. Linux on x86-64, little-endian.

Every call raises OSError with the path that it was about.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_NOATIME, MS_BIND = 1, 2, 4, 32, 1024, 4096
MS_REC, MS_PRIVATE = 16384, 1 << 18
MNT_DETACH = 2
CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38

# openat2(2)
RESOLVE_NO_MAGICLINKS, RESOLVE_IN_ROOT = 0x02, 0x10
SYS_OPENAT2, SYS_FINIT_MODULE, SYS_PIVOT_ROOT = 437, 313, 155

BLKPG = 0x1269  # linux/blkpg.h
BLKPG_ADD_PARTITION, BLKPG_DEL_PARTITION = 1, 2
FITRIM = 0xC0185879  # linux/fs.h: _IOWR('X', 121, struct fstrim_range)

RB_POWER_OFF = 0x4321FEDC

_DM_VERSION = (4, 0, 0)  # linux/dm-ioctl.h
_DM_SIZE = 312  # bytes of struct dm_ioctl
DM_DEV_CREATE, DM_DEV_SUSPEND, DM_TABLE_LOAD = 0xC138FD03, 0xC138FD06, 0xC138FD09


def _check(result: int, path: str = "") -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path or None)
    return result


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    args = (os.fsencode(source), os.fsencode(target), os.fsencode(kind), ctypes.c_ulong(flags))
    _check(_libc.mount(*args, os.fsencode(options) or None), target)


def unmount(target: str, flags: int = 0) -> None:
    _check(_libc.umount2(os.fsencode(target), flags), target)


def open_in_root(root: int, path: str, flags: int, mode: int = 0) -> int:
    """A descriptor of `path`, with all links resolved as if the directory `root` were `/`. openat2(2)."""
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    call = (ctypes.c_long(SYS_OPENAT2), ctypes.c_int(root), os.fsencode(path), how, ctypes.c_size_t(len(how)))
    return _check(_libc.syscall(*call), path)


def load_module(path: str) -> None:
    """Load a kernel module; one that is there already is fine."""
    with open(path, "rb", buffering=0) as file:
        try:
            call = (ctypes.c_long(SYS_FINIT_MODULE), ctypes.c_int(file.fileno()), b"", ctypes.c_int(0))
            _check(_libc.syscall(*call), path)
        except FileExistsError:
            pass


def unshare(flags: int) -> None:
    _check(_libc.unshare(ctypes.c_int(flags)))


def pivot_root(new: str, old: str) -> None:
    _check(_libc.syscall(ctypes.c_long(SYS_PIVOT_ROOT), os.fsencode(new), os.fsencode(old)), new)


def prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    _check(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero))


def power_off() -> None:
    _check(_libc.reboot(ctypes.c_uint(RB_POWER_OFF)))


def add_partition(disk: int, number: int, start: int, length: int) -> None:
    """Make bytes [start, start + length) of the block device `disk` its partition `number`."""
    _partition(disk, BLKPG_ADD_PARTITION, number, start, length)


def delete_partition(disk: int, number: int) -> None:
    _partition(disk, BLKPG_DEL_PARTITION, number, 0, 0)


def _partition(disk: int, operation: int, number: int, start: int, length: int) -> None:
    """struct blkpg_partition: start and length in bytes, number, two names of 64 bytes."""
    partition = ctypes.create_string_buffer(struct.pack("=qqi128x", start, length, number), 152)
    address = ctypes.addressof(partition)
    fcntl.ioctl(disk, BLKPG, struct.pack("=iii4xQ", operation, 0, 152, address))


def trim(directory: int) -> int:
    """Discard the free space of the file system that `directory` lies on; the bytes discarded."""
    span = fcntl.ioctl(directory, FITRIM, struct.pack("=QQQ", 0, 2**64 - 1, 0))
    return int(struct.unpack("=QQQ", span)[1])


def map_device(name: str, targets: list[tuple[int, str, str]]) -> int:
    """A device-mapper device of targets (sectors, type, words) in a row; its minor number.

    Spec: linux/dm-ioctl.h, struct dm_target_spec: start, length, status, next, type of 16 bytes, then words
    """
    control = os.open("/dev/mapper/control", os.O_RDWR | os.O_CLOEXEC)
    try:
        minor = _dm(control, DM_DEV_CREATE, name)
        table, sector = b"", 0
        for length, kind, text in targets:
            words = text.encode() + b"\0"
            words += bytes(-len(words) % 8)
            table += struct.pack("=QQiI16s", sector, length, 0, 40 + len(words), kind.encode()) + words
            sector += length
        _dm(control, DM_TABLE_LOAD, name, table, len(targets))
        _dm(control, DM_DEV_SUSPEND, name)  # without the flag DM_SUSPEND_FLAG it resumes
        return minor
    finally:
        os.close(control)


def _dm(control: int, request: int, name: str, data: bytes = b"", count: int = 0) -> int:
    """One request of struct dm_ioctl with `count` targets in `data`; the device's minor number."""
    fields = (*_DM_VERSION, _DM_SIZE + len(data), _DM_SIZE, count, 0, 0, 0, 0, 0, name.encode(), b"")
    buffer = bytearray(struct.pack("=3IIIIiIIIQ128s129s7x", *fields) + data)
    fcntl.ioctl(control, request, buffer)
    device = int(struct.unpack_from("=Q", buffer, 40)[0])
    return device & 0xFF | (device >> 12) & 0xFFF00

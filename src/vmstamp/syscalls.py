"""Calls of Linux about files that Python lacks: hole punching and syncfs."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

FALLOC_FL_KEEP_SIZE: Final = 0x01  # linux/falloc.h
FALLOC_FL_PUNCH_HOLE: Final = 0x02

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]

_NO_HOLES = {errno.EOPNOTSUPP, errno.ENOSYS}


def punch_hole(fd: int, offset: int, length: int) -> bool:
    """Give the bytes [offset, offset + length) of a file back; False where its file system cannot.

    The file keeps its size. Raises OSError. Source: fallocate(2).
    """
    while _libc.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length) != 0:
        number = ctypes.get_errno()
        if number in _NO_HOLES:
            return False
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return True


def sync_file_system(fd: int) -> None:
    """Write everything of the file system of `fd` to its disk. Raises OSError. Source: syncfs(2)."""
    if _libc.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

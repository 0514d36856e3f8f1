"""Raw disks: the file is the disk, byte for byte; its holes are the disk's holes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from vmstamp.disk.base import Disk
from vmstamp.disk.data import copy_data
from vmstamp.disk.file import ImageFile, replacing
from vmstamp.extents import Extent


class RawDisk(Disk):
    """The first `size` bytes of a file, as they are. Owns the file."""

    format = "raw"

    def __init__(self, file: ImageFile, *, notes: tuple[str, ...] = ()) -> None:
        self._file = file
        self.path = file.path
        self.size = file.size
        self.notes = notes

    def _read(self, offset: int, length: int) -> bytes:
        return self._file.read(offset, length)

    def _read_into(self, offset: int, view: memoryview) -> None:
        self._file.read_into(offset, view)

    def clone(self, fd: int) -> bool:
        return self._file.clone(fd, self.size)

    def extents(self) -> Iterator[Extent]:
        return self._file.extents(0, self.size)

    def close(self) -> None:
        self._file.close()


def write_raw(source: Disk, path: Path, progress: Callable[[int], None] | None = None) -> None:
    """Write `source` as a sparse file of exactly `source.size` bytes: holes and runs of zeros stay holes.

    A raw disk and a fixed VHD share their storage where the file system has reflinks. `progress` is called
    with the bytes of each piece copied. Raises DiskError.
    """
    with replacing(path) as fd:
        if source.clone(fd):
            return
        os.ftruncate(fd, source.size)
        copy_data(source, fd, lambda offset: offset, progress=progress)

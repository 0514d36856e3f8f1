"""Sparse files that hold the bytes of blobs: `content/<id>`, one file per content.

A content's file has exactly the content's size. Which of its bytes count is the page table's business
(`pages`); this module only moves bytes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from vmstamp.blob.body import Data, pieces_of
from vmstamp.extents import Extent
from vmstamp.syscalls import punch_hole, sync_file_system

FICLONE: Final = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)

# Bytes of the file system that blobs leave free: the database's log grows also when something is deleted.
RESERVE: Final = 8 << 20

_NO_REFLINK = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM}
_ZEROS: Final = bytes(1024 * 1024)
_TURNS: Final = 64  # locks for all files
_VECTORS: Final = 1024  # of one call; limits.h: IOV_MAX


class ContentDirectory:
    """The files of one directory, by content id. Thread-safe; every method may block on the disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        # The kernel lets one writer of a file in at a time, and others spin where they could sleep: a fifth
        # of the processor time of an upload by eight connections.
        self._turns = tuple(threading.Lock() for _ in range(_TURNS))

    def path(self, content: str) -> Path:
        return self._directory / content

    def names(self) -> set[str]:
        """Every file of the directory; empty when there is no directory."""
        return {entry.name for entry in self._directory.iterdir()} if self._directory.is_dir() else set()

    def create(self, content: str, size: int) -> None:
        """A new file of `size` zeros that takes no space."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path(content), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)

    def open(self, content: str, *, write: bool = False) -> int:
        """A descriptor that the caller closes; FileNotFoundError when the content is gone."""
        flags = os.O_RDWR if write else os.O_RDONLY
        return os.open(f"{self._directory}/{content}", flags | os.O_CLOEXEC)

    def require_room(self, content: str, length: int) -> None:
        """Raise ENOSPC where `length` more bytes would take the last of the file system."""
        descriptor = self.open(content)
        try:
            _require_room(descriptor, length)
        finally:
            os.close(descriptor)

    def write(self, content: str, offset: int, data: Data, *, reserved: bool = False) -> None:
        """Write all of `data`; OSError (no space) may leave a part of it.

        `reserved`: these bytes may take what is kept free.
        """
        descriptor = self.open(content, write=True)
        try:
            if not reserved:
                _require_room(descriptor, len(data))
            with self._turns[hash(content) % _TURNS]:
                write_all(descriptor, offset, data)
        finally:
            os.close(descriptor)

    def punch(self, content: str, ranges: Iterable[Extent]) -> None:
        """Make ranges zero and give their space back."""
        descriptor = self.open(content, write=True)
        try:
            for start, end in ranges:
                _punch(descriptor, start, end - start)
        finally:
            os.close(descriptor)

    def truncate(self, content: str, size: int) -> None:
        descriptor = self.open(content, write=True)
        try:
            os.ftruncate(descriptor, size)
        finally:
            os.close(descriptor)

    def copy(self, source: str, target: str, size: int, ranges: Iterable[Extent]) -> None:
        """A new file of `size` bytes with the `ranges` of the source: shared blocks where possible.

        OSError removes the half-made copy. A shared copy may hold bytes outside of `ranges` only if the
        source does.
        """
        self.create(target, size)
        origin = self.open(source)
        copy = self.open(target, write=True)
        try:
            if not _reflink(origin, copy):
                _copy_ranges(origin, copy, ranges)
            os.ftruncate(copy, size)
        except BaseException:
            self.remove(target)
            raise
        finally:
            os.close(copy)
            os.close(origin)

    def join(self, target: str, parts: Iterable[tuple[str, Extent]]) -> None:
        """A new file with these ranges of other contents, one behind the other; OSError removes it."""
        whole = list(parts)
        size = sum(extent.length for _, extent in whole)
        self.create(target, size)
        descriptor = self.open(target, write=True)
        try:
            _require_room(descriptor, size)
            at = 0
            for source, extent in whole:
                origin = self.open(source)
                try:
                    copy_range(origin, descriptor, extent.start, extent.length, at)
                finally:
                    os.close(origin)
                at += extent.length
        except BaseException:
            self.remove(target)
            raise
        finally:
            os.close(descriptor)

    def flush(self, content: str) -> None:
        """Have a content's bytes and its name on the disk before this returns."""
        descriptor = self.open(content)
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def flush_all(self) -> None:
        """Have all that was written to the file system of the contents on the disk before this returns."""
        if not self._directory.is_dir():
            return
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sync_file_system(descriptor)
        finally:
            os.close(descriptor)

    def adopt(self, path: Path, content: str) -> None:
        """Take a file of the same file system as a content by a second name; of another one, by a copy."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = self.path(content)
        try:
            os.link(path, target)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
                raise
            self._copy_in(path, content)

    def _copy_in(self, path: Path, content: str) -> None:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            self.create(content, size)
            descriptor = self.open(content, write=True)
            try:
                _copy_ranges(file.fileno(), descriptor, data_ranges(file.fileno(), size))
            except BaseException:
                self.remove(content)
                raise
            finally:
                os.close(descriptor)

    def remove(self, content: str) -> None:
        """Delete the file; nothing happens when it is gone. Open descriptors keep reading it."""
        self.path(content).unlink(missing_ok=True)


def _require_room(descriptor: int, length: int) -> None:
    """Raise ENOSPC where a write would take the last of the file system: deleting needs some of it."""
    space = os.fstatvfs(descriptor)
    if space.f_bavail * space.f_frsize < length + RESERVE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def write_all(descriptor: int, offset: int, data: Data) -> None:
    """pwritev until everything is written."""
    pieces = deque(memoryview(piece) for piece in pieces_of(data))
    while pieces:
        written = os.pwritev(descriptor, list(islice(pieces, _VECTORS)), offset)
        offset += written
        while pieces and written >= len(pieces[0]):
            written -= len(pieces.popleft())
        if written:
            pieces[0] = pieces[0][written:]


def data_ranges(descriptor: int, size: int) -> Iterator[Extent]:
    """The ranges of a file, up to `size`, that its file system does not know as holes."""
    start = 0
    while start < size:
        try:
            start = os.lseek(descriptor, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data behind `start`
                return
            raise
        end = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
        if start < end:
            yield Extent(start, end)
        start = end


def _copy_ranges(source: int, target: int, ranges: Iterable[Extent]) -> None:
    """Copy ranges between files, if there is room for all of them."""
    whole = list(ranges)
    _require_room(target, sum(extent.length for extent in whole))
    for start, end in whole:
        copy_range(source, target, start, end - start)


def copy_range(source: int, target: int, offset: int, length: int, to: int | None = None) -> None:
    """Copy bytes between files, inside the kernel where it can; to the same offset, or to `to`."""
    shift = 0 if to is None else to - offset
    while length > 0:
        try:
            copied = os.copy_file_range(source, target, length, offset, offset + shift)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            data = os.pread(source, min(length, len(_ZEROS)), offset)
            write_all(target, offset + shift, data)
            copied = len(data)
        if copied == 0:
            raise OSError(errno.EIO, f"the file ends at byte {offset}, {length} bytes early")
        offset, length = offset + copied, length - copied


def _punch(descriptor: int, offset: int, length: int) -> None:
    if not punch_hole(descriptor, offset, length):
        _write_zeros(descriptor, offset, length)


def _write_zeros(descriptor: int, offset: int, length: int) -> None:
    for start in range(offset, offset + length, len(_ZEROS)):
        write_all(descriptor, start, memoryview(_ZEROS)[: offset + length - start])


def _reflink(source: int, target: int) -> bool:
    """Let `target` share all blocks of `source`; False where the file system cannot."""
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as error:
        if error.errno not in _NO_REFLINK:
            raise
        return False
    return True

"""ImageFile: the file under a disk, read by position, with its holes; and `replacing`, to write one.

No format is known here.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vmstamp.errors import DiskError
from vmstamp.extents import Extent


class ImageFile:
    """A regular file or block device, open for reading. Thread-safe: it has no cursor of its own.

    `size` is taken once at opening; a file that shrinks afterwards makes `read` raise DiskError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not block
        except FileNotFoundError as error:
            raise DiskError(path, "there is no such file") from error
        except OSError as error:
            raise DiskError(path, f"cannot be opened: {error.strerror}") from error
        try:
            self.size = self._measure()
        except BaseException:
            self.close()
            raise

    def _measure(self) -> int:
        status = os.fstat(self._fd)
        if stat.S_ISREG(status.st_mode):
            return status.st_size
        if stat.S_ISBLK(status.st_mode):
            return os.lseek(self._fd, 0, os.SEEK_END)
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "neither a file nor a block device"
        raise DiskError(self.path, f"is {kind}", hint="name a disk file")

    def read(self, offset: int, length: int, *, what: str = "data", spec: str = "") -> bytes:
        """Exactly `length` bytes at `offset`; DiskError, naming `what`, when the file ends before."""
        if offset + length > self.size:
            raise DiskError(
                self.path,
                f"{what} of {length} bytes would end behind the end of the file at byte {self.size}",
                offset=offset,
                spec=spec,
                hint="the file is truncated or damaged; copy it again from its source",
            )
        try:
            found = os.pread(self._fd, length, offset)
            while len(found) < length:  # a read of more than 2 GiB comes in parts
                more = os.pread(self._fd, length - len(found), offset + len(found))
                if not more:
                    raise DiskError(self.path, "the file shrank while it was read", offset=offset)
                found += more
        except OSError as error:
            raise DiskError(self.path, f"cannot be read: {error.strerror}", offset=offset) from error
        return found

    def extents(self, start: int, end: int) -> Iterator[Extent]:
        """The parts of [start, end) that the file system has stored, ascending; the others are holes.

        A file system that knows no holes gives all of it. Source: lseek(2), SEEK_DATA and SEEK_HOLE.
        """
        end = min(end, self.size)
        while start < end:
            try:
                low = os.lseek(self._fd, start, os.SEEK_DATA)
                high = os.lseek(self._fd, low, os.SEEK_HOLE)
            except OSError as error:
                if error.errno == errno.ENXIO:  # no data behind `start`
                    return
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                    raise DiskError(self.path, f"cannot be read: {error.strerror}", offset=start) from error
                low, high = start, end
            if low >= end:
                return
            yield Extent(max(low, start), min(high, end))
            start = high

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


@contextmanager
def replacing(path: Path) -> Iterator[int]:
    """A descriptor of a new, empty file beside `path`, which takes that name when the block ends well.

    Nobody ever sees half a file: on an error, or Ctrl-C, the new one is gone and the old one is as it
    was. The file is synced before it takes the name. OSError becomes DiskError.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise DiskError(path, f"cannot be written: {error.strerror}") from error
    try:
        try:
            yield fd
            os.fsync(fd)
        finally:
            os.close(fd)
        beside.replace(path)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            hint = "free some space, or write to another file system" if full else ""
            raise DiskError(path, f"cannot be written: {error.strerror}", hint=hint) from error
        raise


def write_at(fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`."""
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done

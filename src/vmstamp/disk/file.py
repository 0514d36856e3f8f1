"""ImageFile: the file under a disk, read by position, with its holes; and `replacing`, to write one.

No format is known here.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Self

from vmstamp.errors import DiskError
from vmstamp.extents import Extent

FICLONERANGE = 0x4020940D  # linux/fs.h
SPARSE_FROM = 256 * 1024  # bytes of a read that looks for holes first: that costs two system calls
EXISTS_HINT = "name another file, or replace it with --overwrite"


@lru_cache(maxsize=1)
def zeros(length: int) -> bytes:
    """So many zeros. The last ones are kept: who reads a disk asks for the same length again and again."""
    return bytes(length)


@contextmanager
def filled(length: int) -> Iterator[tuple[io.BytesIO, memoryview]]:
    """A buffer of `length` zeros, 1 at least, and a view to write into it; its `getvalue` copies nothing.

    A copy of what was read costs more than reading it: it makes the heap grow and shrink each time.
    """
    buffer = io.BytesIO()
    buffer.seek(length - 1)
    buffer.write(b"\0")
    with buffer.getbuffer() as view:
        yield buffer, view


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

    @classmethod
    def from_descriptor(cls, fd: int, path: Path) -> Self:
        """The file open as `fd`, which is taken over; `path` is what errors name."""
        file = cls.__new__(cls)
        file.path, file._fd = path, fd
        file.size = file._measure()
        return file

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
        self._check_inside(offset, length, what, spec)
        if length >= SPARSE_FROM:
            stored = list(self.extents(offset, offset + length))
            if stored != [(offset, offset + length)]:
                return self._read_sparse(offset, length, stored)
        try:
            found = os.pread(self._fd, length, offset)
        except OSError as error:
            raise DiskError(self.path, f"cannot be read: {error.strerror}", offset=offset) from error
        if len(found) == length:
            return found
        rest = bytearray(length - len(found))  # a read of more than 2 GiB comes in parts
        self.read_into(offset + len(found), memoryview(rest), what=what, spec=spec)
        return found + rest

    def _read_sparse(self, offset: int, length: int, stored: list[Extent]) -> bytes:
        """What `stored` of the span holds, and zeros else: no holes are read."""
        if not stored:
            return zeros(length)
        with filled(length) as (buffer, view):
            for low, high in stored:
                self.read_into(low, view[low - offset : high - offset])
        return buffer.getvalue()

    def read_into(self, offset: int, view: memoryview, *, what: str = "data", spec: str = "") -> None:
        """Fill `view` with the bytes at `offset`; DiskError, naming `what`, when the file ends before."""
        self._check_inside(offset, len(view), what, spec)
        try:
            while view:
                count = os.preadv(self._fd, [view], offset)
                if not count:
                    raise DiskError(self.path, "the file shrank while it was read", offset=offset)
                view, offset = view[count:], offset + count
        except OSError as error:
            raise DiskError(self.path, f"cannot be read: {error.strerror}", offset=offset) from error

    def _check_inside(self, offset: int, length: int, what: str, spec: str) -> None:
        if offset + length > self.size:
            raise DiskError(
                self.path,
                f"{what} of {length} bytes would end behind the end of the file at byte {self.size}",
                offset=offset,
                spec=spec,
                hint="the file is truncated or damaged; copy it again from its source",
            )

    def clone(self, fd: int, length: int) -> bool:
        """Make the first `length` bytes of `fd` share this file's storage; False: it cannot be done.

        Only file systems with reflinks can (XFS, btrfs). Source: ioctl_ficlonerange(2).
        """
        try:
            fcntl.ioctl(fd, FICLONERANGE, struct.pack("=qQQQ", self._fd, 0, length, 0))
        except OSError:
            return False
        return True

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
def replacing(path: Path, *, overwrite: bool = True) -> Iterator[int]:
    """A descriptor of a new, empty file that takes the name `path` when the block ends well.

    Nobody ever sees half a file: until then it has no name where the file system can do that (O_TMPFILE),
    so not even SIGKILL leaves anything; elsewhere it is `.NAME.PID.partial` beside `path`. On an error, or
    Ctrl-C, the old file is as it was. A file that replaces another one is synced first. Without
    `overwrite` a file that exists is refused. OSError becomes DiskError.
    """
    beside = beside_name(path)
    try:
        replaces = check_target(path, overwrite)
        fd, named = _new_file(path, beside)
    except OSError as error:
        raise DiskError(path, f"cannot be written: {error.strerror}") from error
    try:
        try:
            yield fd
            if replaces:
                take_after(fd, path)
                os.fsync(fd)
            if not named:
                _give_name(fd, beside)
        finally:
            os.close(fd)
        take_name(beside, path, overwrite=overwrite)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise write_error(path, error) from error
        raise


def beside_name(path: Path) -> Path:
    """The name that an unfinished `path` has while this process writes it."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def take_after(fd: int, path: Path) -> None:
    """Give the file `fd` the permissions of `path`, which it will replace, and its owner where we may."""
    status = path.stat()
    with suppress(PermissionError):
        os.fchown(fd, status.st_uid, status.st_gid)
    os.fchmod(fd, stat.S_IMODE(status.st_mode))


def take_name(beside: Path, path: Path, *, overwrite: bool) -> None:
    """Name the finished file `beside` `path`; FileExistsError when that is taken and may not be replaced."""
    if overwrite:
        beside.replace(path)
    else:
        path.hardlink_to(beside)
        beside.unlink()


def write_error(path: Path, error: OSError) -> DiskError:
    """`error`, met while `path` was written, as ours."""
    if isinstance(error, FileExistsError):
        return DiskError(path, "is there already", hint=EXISTS_HINT)
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    hint = "free some space, or write to another file system" if full else ""
    return DiskError(path, f"cannot be written: {error.strerror}", hint=hint)


def check_target(path: Path, overwrite: bool) -> bool:
    """Whether a file is replaced; DiskError when that may not be."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(status.st_mode):
        raise DiskError(path, "is no regular file, and is not replaced", hint="name a file to write")
    if not overwrite:
        raise DiskError(path, "is there already", hint=EXISTS_HINT)
    return True


def _new_file(path: Path, beside: Path) -> tuple[int, bool]:
    """A descriptor of a new file, and whether it is `beside` already (else it has no name)."""
    try:
        return os.open(path.absolute().parent, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o644), False
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
    return os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644), True


def _give_name(fd: int, beside: Path) -> None:
    """Name the nameless file `fd`. Source: open(2), O_TMPFILE; linkat(2), AT_SYMLINK_FOLLOW."""
    beside.unlink(missing_ok=True)
    directory = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:  # with a directory's descriptor Python calls linkat, which follows; link would not
        os.link(str(fd), beside.absolute(), src_dir_fd=directory)
    finally:
        os.close(directory)


def sync_file(path: Path) -> None:
    """Force the file's bytes, or a directory's names, to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_at(fd: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`."""
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done

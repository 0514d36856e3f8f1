"""A part of a disk as the file-like object that libyal's bindings read from.

The bindings read in pieces of 64 bytes and more, at random; a cache of whole chunks stands between them
and the disk. A budget of calls for each operation makes an endless loop of a crafted file system an error.
"""

from __future__ import annotations

import os
from collections import OrderedDict

from vmstamp.disk.base import Disk
from vmstamp.errors import GuestError

CHUNK = 64 * 1024  # bytes read from the disk at once
CACHED_CHUNKS = 256  # 16 MiB in all
READS = 300_000  # calls, and one more for each MiB; opening ext4 of 1 TiB takes 160,000


class Window:
    """The bytes [start, start + size) of `disk`, with a cursor. Not thread-safe; does not own the disk.

    Reading past the end is short, as for a file. Raises GuestError when the budget of calls is spent,
    DiskError when the disk fails; the bindings wrap both into OSError, so the last one stays in `error`.
    """

    def __init__(self, disk: Disk, start: int, size: int, *, reads: int | None = None) -> None:
        self._disk = disk
        self._start = start
        self.size = max(0, min(size, disk.size - start))
        self._position = 0
        self._reads = READS + self.size // (1024 * 1024) if reads is None else reads
        self._left = self._reads
        self._chunks: OrderedDict[int, bytes] = OrderedDict()
        self.error: Exception | None = None

    def read(self, length: int = -1) -> bytes:
        if length < 0:
            length = self.size - self._position
        data = self.read_at(self._position, length)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def renew(self) -> None:
        """Give the next operation the whole budget; one that is spent stays spent, with its error."""
        if self._left >= 0:
            self._left = self._reads
            self.error = None

    def get_size(self) -> int:
        """The name by which the bindings ask for the size."""
        return self.size

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes at `offset`, fewer than `length` only at the end."""
        self.spend()
        end = min(offset + length, self.size)
        if offset >= end:
            return b""
        first, last = offset // CHUNK, (end - 1) // CHUNK
        if first == last:
            return self._chunk(first)[offset - first * CHUNK : end - first * CHUNK]
        if last - first >= CACHED_CHUNKS // 4:
            return self._read_disk(offset, end - offset)
        data = b"".join(self._chunk(index) for index in range(first, last + 1))
        return data[offset - first * CHUNK : end - first * CHUNK]

    def spend(self) -> None:
        """Count one call, also for what a reader keeps itself. GuestError when the budget is spent."""
        self._left -= 1
        if self._left < 0:
            self.error = GuestError("the file system needs too many reads: its structures may form a loop")
            raise self.error

    def _chunk(self, index: int) -> bytes:
        chunk = self._chunks.get(index)
        if chunk is not None:
            self._chunks.move_to_end(index)
            return chunk
        offset = index * CHUNK
        chunk = self._read_disk(offset, min(CHUNK, self.size - offset))
        self._chunks[index] = chunk
        if len(self._chunks) > CACHED_CHUNKS:
            self._chunks.popitem(last=False)
        return chunk

    def _read_disk(self, offset: int, length: int) -> bytes:
        try:
            return self._disk.read(self._start + offset, length)
        except Exception as error:
            self.error = error
            raise

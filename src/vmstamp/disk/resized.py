"""A disk seen with another size, and with changes laid over it; nothing is copied."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from vmstamp.disk.base import Disk
from vmstamp.disk.file import filled, write_at
from vmstamp.disk.partitions import moved_backup
from vmstamp.extents import Extent, merge


class Changed(Disk):
    """`source`, cut or filled with zeros to `size` bytes, with `changes`, bytes by their offset, laid over.

    The source must stay open; `close` closes it. ValueError when a change is not inside the disk.
    """

    format = "raw"

    def __init__(self, source: Disk, size: int, changes: Mapping[int, bytes]) -> None:
        if any(at < 0 or at + len(new) > size for at, new in changes.items()):
            raise ValueError(f"a change is not inside a disk of {size} bytes")
        self._source = source
        self._changes = dict(sorted(changes.items()))
        self.path = source.path
        self.notes = source.notes
        self.sector_size = source.sector_size
        self.size = size

    def _read(self, offset: int, length: int) -> bytes:
        with filled(length) as (buffer, view):
            self._read_into(offset, view)
        return buffer.getvalue()

    def _read_into(self, offset: int, view: memoryview) -> None:
        end = offset + len(view)
        held = min(end, max(offset, self._source.size))  # where the source's own bytes end
        if held > offset:
            self._source.read_into(offset, view[: held - offset])
        view[held - offset :] = bytes(end - held)
        for at, new in self._changes.items():
            low, high = max(at, offset), min(at + len(new), end)
            if low < high:
                view[low - offset : high - offset] = new[low - at : high - at]

    def clone(self, fd: int) -> bool:
        if not self._source.clone(fd):
            return False
        os.ftruncate(fd, self.size)
        for at, new in self._changes.items():
            write_at(fd, new, at)
        return True

    def extents(self) -> Iterator[Extent]:
        return merge(_with_changes(self._source.extents(), self._changes, self.size))

    def close(self) -> None:
        self._source.close()


class Resized(Changed):
    """`source` with a size of `size` bytes: zeros at the end, or the end cut; the backup GPT moves along.

    Cutting a disk whose partitions reach behind `size` leaves its partition table as it is.
    """

    def __init__(self, source: Disk, size: int) -> None:
        super().__init__(source, size, moved_backup(source, size))


def _with_changes(extents: Iterator[Extent], changes: Mapping[int, bytes], size: int) -> Iterator[Extent]:
    """Ascending ranges of both, the source's cut at `size`."""
    waiting = [Extent(at, at + len(new)) for at, new in changes.items()]
    for extent in extents:
        if extent.start >= size:
            break
        while waiting and waiting[0].start <= extent.start:
            yield waiting.pop(0)
        yield Extent(extent.start, min(extent.end, size))
    yield from waiting

"""compare: do two disks hold the same, whatever their formats?"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vmstamp.disk.base import Disk
from vmstamp.disk.data import CHUNK
from vmstamp.extents import Extent, merge


@dataclass(frozen=True)
class Difference:
    """The first byte, at `offset`, in which two disks differ; a disk reads as zeros behind its end."""

    offset: int
    left: int
    right: int


def compare(left: Disk, right: Disk, progress: Callable[[int], None] | None = None) -> Difference | None:
    """The first difference, or None. Only what one of them has stored is read.

    `progress` is called with the length of each piece compared. Raises DiskError.
    """
    for start, end in _pieces(merge(heapq.merge(left.extents(), right.extents()))):
        one, other = _padded(left, start, end), _padded(right, start, end)
        if one != other:
            at = _first_difference(one, other)
            return Difference(start + at, one[at], other[at])
        if progress is not None:
            progress(end - start)
    return None


def _pieces(extents: Iterator[Extent]) -> Iterator[Extent]:
    for start, end in extents:
        for low in range(start, end, CHUNK):
            yield Extent(low, min(end, low + CHUNK))


def _padded(disk: Disk, start: int, end: int) -> bytes:
    held = min(end, disk.data_size)
    data = disk.read(start, held - start) if held > start else b""
    return data.ljust(end - start, b"\0")


def _first_difference(one: bytes, other: bytes) -> int:
    """The index of the first byte that differs; the two are as long and not the same."""
    low, high = 0, len(one)
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] != other[low:middle]:
            high = middle
        else:
            low = middle
    return low

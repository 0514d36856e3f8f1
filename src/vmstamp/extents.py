"""Half-open byte ranges and sets of them: one small algebra for block tables, page ranges and plans.

An `Extents` is an immutable, ascending sequence of disjoint, non-adjacent ranges. Offsets are bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Extent(NamedTuple):
    """The bytes [start, end); `end` > `start`."""

    start: int
    end: int

    @property
    def length(self) -> int:
        return self.end - self.start


def merge(ranges: Iterable[tuple[int, int]]) -> Iterator[Extent]:
    """Join ascending, possibly touching or overlapping ranges lazily; empty ones are dropped."""
    start = end = -1
    for low, high in ranges:
        if high <= low:
            continue
        if start >= 0 and low <= end:
            end = max(end, high)
            continue
        if start >= 0:
            yield Extent(start, end)
        start, end = low, high
    if start >= 0:
        yield Extent(start, end)


def without(ranges: Iterable[tuple[int, int]], holes: Iterable[tuple[int, int]]) -> Iterator[Extent]:
    """What of `ranges` lies outside of `holes`, lazily; both ascending and disjoint."""
    following = iter(holes)
    hole = next(following, None)
    for start, end in ranges:
        while hole is not None and hole[1] <= start:
            hole = next(following, None)
        while hole is not None and hole[0] < end and start < end:
            if hole[0] > start:
                yield Extent(start, hole[0])
            start = hole[1]
            if start < end:
                hole = next(following, None)
        if start < end:
            yield Extent(start, end)


class Extents:
    """A set of bytes, as ascending disjoint ranges. Immutable; every operation is linear."""

    __slots__ = ("_ranges",)

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._ranges = tuple(merge(sorted(ranges)))

    def __iter__(self) -> Iterator[Extent]:
        return iter(self._ranges)

    def __len__(self) -> int:
        return len(self._ranges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Extents) and self._ranges == other._ranges

    def __hash__(self) -> int:
        return hash(self._ranges)

    def __repr__(self) -> str:
        return f"Extents({[tuple(r) for r in self._ranges]})"

    @property
    def length(self) -> int:
        """How many bytes the set holds."""
        return sum(r.length for r in self._ranges)

    def union(self, other: Extents) -> Extents:
        return Extents((*self._ranges, *other._ranges))

    def intersect(self, other: Extents) -> Extents:
        found = []
        mine, theirs = list(self._ranges), list(other._ranges)
        i = j = 0
        while i < len(mine) and j < len(theirs):
            start = max(mine[i].start, theirs[j].start)
            end = min(mine[i].end, theirs[j].end)
            if start < end:
                found.append((start, end))
            if mine[i].end < theirs[j].end:
                i += 1
            else:
                j += 1
        return Extents(found)

    def subtract(self, other: Extents) -> Extents:
        left: list[tuple[int, int]] = []
        theirs = list(other._ranges)
        j = 0
        for start, end in self._ranges:
            while j < len(theirs) and theirs[j].end <= start:
                j += 1
            k = j
            while k < len(theirs) and theirs[k].start < end:
                if theirs[k].start > start:
                    left.append((start, theirs[k].start))
                start = theirs[k].end
                k += 1
            if start < end:
                left.append((start, end))
        return Extents(left)

    def align(self, unit: int) -> Extents:
        """The set grown outwards to multiples of `unit` bytes."""
        return Extents((r.start // unit * unit, -(-r.end // unit) * unit) for r in self._ranges)

    def split(self, length: int) -> Iterator[Extent]:
        """The ranges in pieces of `length` bytes, the last of each range maybe shorter, ascending."""
        for start, end in self._ranges:
            for cut in range(start, end, length):
                yield Extent(cut, min(cut + length, end))

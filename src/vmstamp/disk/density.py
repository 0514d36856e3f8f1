"""density: where a disk's data lies, as shares of equal cells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Density:
    """`cells`: bytes of data in each of as many equal parts of the disk; `total` their sum."""

    cell_size: int
    cells: tuple[int, ...]
    total: int
    extent_count: int


def density(extents: Iterable[tuple[int, int]], size: int, count: int) -> Density:
    """Spread ascending `extents` of a disk of `size` bytes over at most `count` cells; keeps no extent."""
    cell_size = max(-(-size // count), 1)
    cells = [0] * -(-size // cell_size)
    extent_count = 0
    for start, end in extents:
        extent_count += 1
        while start < end:
            cell = start // cell_size
            stop = min(end, (cell + 1) * cell_size)
            cells[cell] += stop - start
            start = stop
    return Density(cell_size, tuple(cells), sum(cells), extent_count)

"""density: where a disk's data lies, as shares of equal cells and of chosen spans."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Density:
    """`cells`: bytes of data in each of as many equal parts of the disk; `total` their sum; `spans`: bytes of
    data in each span asked for.
    """

    cell_size: int
    cells: tuple[int, ...]
    total: int
    extent_count: int
    spans: tuple[int, ...] = ()


def density(
    extents: Iterable[tuple[int, int]], size: int, count: int, spans: Sequence[tuple[int, int]] = ()
) -> Density:
    """Spread ascending `extents` of a disk of `size` bytes over at most `count` cells; keeps no extent.

    `spans`, as (start, end), may overlap, and reach behind the disk's end. Linear in extents and spans.
    """
    cell_size = max(-(-size // count), 1)
    cells = [0] * -(-size // cell_size)
    edges = sorted({edge for span in spans for edge in span})
    before: list[int] = []  # bytes of data before each of the edges that were passed
    extent_count = total = 0
    for start, end in extents:
        extent_count += 1
        while len(before) < len(edges) and edges[len(before)] < end:
            before.append(total + max(edges[len(before)] - start, 0))
        total += end - start
        while start < end:
            cell = start // cell_size
            stop = min(end, (cell + 1) * cell_size)
            cells[cell] += stop - start
            start = stop
    before += [total] * (len(edges) - len(before))
    at = dict(zip(edges, before, strict=True))
    filled = tuple(at[end] - at[start] for start, end in spans)
    return Density(cell_size, tuple(cells), total, extent_count, filled)

"""What of a disk is worth moving: data in pieces, without the runs of zeros."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vmstamp.disk.base import Disk
from vmstamp.extents import Extent, Extents, merge

GRAIN = 64 * 1024  # bytes; a shorter run of zeros costs more to skip than to move
CHUNK = 4 * 1024 * 1024  # bytes read at once

_ZEROS = bytes(GRAIN)


def nonzero(data: bytes | memoryview, offset: int = 0, grain: int = GRAIN) -> Iterator[Extent]:
    """The parts of `data` that are not zero, in units of `grain` bytes, as ascending disk ranges.

    `offset` is where `data` lies on the disk and is added; units are counted from `data`'s start. Parts
    that are left out are all zero.
    """
    view = memoryview(data)  # compared as bytes: that is memcmp, and 40 times as fast
    zeros = _ZEROS if grain == GRAIN else bytes(grain)
    return merge(
        (offset + start, offset + min(start + grain, len(view)))
        for start in range(0, len(view), grain)
        if bytes(view[start : start + grain]) != zeros[: min(grain, len(view) - start)]
    )


def data_chunks(
    disk: Disk, *, chunk: int = CHUNK, grain: int = GRAIN, progress: Callable[[int], None] | None = None
) -> Iterator[tuple[int, memoryview]]:
    """All data of `disk` as (offset, bytes), ascending, in pieces of at most `chunk` bytes.

    Holes are not read, runs of zeros of `grain` bytes are not given. `progress` is called with the
    length of every piece read, so its sum is the sum of the disk's extents.
    """
    for start, end in disk.extents():
        for low, high in Extents([(start, end)]).split(chunk):
            data = memoryview(disk.read(low, high - low))
            for part in nonzero(data, low, grain):
                yield part.start, data[part.start - low : part.end - low]
            if progress is not None:
                progress(high - low)

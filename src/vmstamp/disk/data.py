"""What of a disk is worth moving: data in pieces, without the runs of zeros."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Iterator

from vmstamp.disk.base import Disk
from vmstamp.disk.file import write_at
from vmstamp.extents import Extent, merge

GRAIN = 64 * 1024  # bytes; a shorter run of zeros costs more to skip than to move
CHUNK = 4 * 1024 * 1024  # bytes read at once

SAMPLE = 16  # bytes; data seldom begins with so many zeros, so most grains need no whole comparison

_ZEROS = bytes(GRAIN)


def nonzero(data: bytes | memoryview, offset: int = 0, grain: int = GRAIN) -> Iterator[Extent]:
    """The parts of `data` that are not zero, in units of `grain` bytes, as ascending disk ranges.

    `offset` is where `data` lies on the disk and is added; units are counted from `data`'s start. Parts
    that are left out are all zero.
    """
    view = memoryview(data)
    zeros = _ZEROS if grain == GRAIN else bytes(grain)
    return merge(
        (offset + start, offset + min(start + grain, len(view)))
        for start in range(0, len(view), grain)
        if _differs(view[start : start + grain], zeros)
    )


def _differs(part: memoryview, zeros: bytes) -> bool:
    """Whether `part` holds more than zeros. Compared as bytes: that is memcmp, and 40 times as fast."""
    sample = bytes(part[:SAMPLE])
    return sample != zeros[: len(sample)] or bytes(part) != zeros[: len(part)]


def data_chunks(
    disk: Disk,
    *,
    chunk: int = CHUNK,
    grain: int = GRAIN,
    extents: Iterable[Extent] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, memoryview]]:
    """All data of `disk` as (offset, bytes), ascending; no piece crosses a multiple of `chunk` bytes.

    With `extents`, ascending and disjoint, that of these parts only. Holes are not read, runs of zeros of
    `grain` bytes are not given. A piece is good until the next is taken: all lie in one buffer, which makes
    this as fast as the kernel copies. `progress` is called with the length of every piece read, so its sum
    is the sum of the extents.
    """
    buffer = memoryview(mmap.mmap(-1, min(chunk, CHUNK)))
    for start, end in disk.extents() if extents is None else extents:
        while start < end:
            stop = min(end, (start // chunk + 1) * chunk, start + len(buffer))
            data = buffer[: stop - start]
            disk.read_into(start, data)
            for part in nonzero(data, start, grain):
                yield part.start, data[part.start - start : part.end - start]
            if progress is not None:
                progress(stop - start)
            start = stop


def copy_data(
    source: Disk,
    fd: int,
    place: Callable[[int], int],
    *,
    unit: int = CHUNK,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write all data of `source` to the file `fd`, a disk's offset at `place(offset)`; zeros are left out.

    No piece crosses a multiple of `unit` bytes of the disk, so a format of blocks allocates in `place`.
    OSError is the file's, DiskError the source's.
    """
    for offset, data in data_chunks(source, chunk=unit, progress=progress):
        write_at(fd, data, place(offset))

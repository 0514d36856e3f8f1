"""BlockDisk: a disk whose file holds it in blocks that a table points to."""

from __future__ import annotations

import heapq
from abc import abstractmethod
from collections.abc import Iterator, Sequence

from vmstamp.disk.base import Disk
from vmstamp.disk.file import ImageFile, filled, zeros
from vmstamp.errors import DiskError
from vmstamp.extents import Extent, merge, without

HOLE = None  # a block that is not in the file: the parent's bytes, or zeros
ZERO = -1  # a block that reads as zeros even where there is a parent


def set_runs(bits: str, start: int, end: int) -> Iterator[Extent]:
    """The runs of '1' in `bits` between the indices `start` and `end`, ascending."""
    at = bits.find("1", start, end)
    while at >= 0:
        stop = bits.find("0", at, end)
        stop = end if stop < 0 else stop
        yield Extent(at, stop)
        at = bits.find("1", stop, end)


class BlockDisk(Disk):
    """What VHD and VHDX have in common. Owns the file, and its parent.

    The table is never held in memory: a read takes from it what it needs (the operating system's cache
    has it), so a table that claims terabytes costs nothing and there is nothing to lock.
    """

    block_size: int
    file: ImageFile

    @abstractmethod
    def _locate(self, first: int, count: int) -> Sequence[int | None]:
        """Where the data of `count` blocks from `first` lies in the file, or HOLE, or ZERO."""

    @abstractmethod
    def allocated(self) -> Iterator[tuple[int, int]]:
        """All blocks that hide the parent's, as (block, offset of its data or ZERO), ascending by block."""

    def _present(self, block: int, position: int, start: int, end: int) -> Iterator[Extent]:
        """The parts of [start, end) inside a block that the file decides; the rest is as of a HOLE."""
        yield Extent(start, end)

    def _read(self, offset: int, length: int) -> bytes:
        """Without a copy where all of it lies in one block, and without touching memory where all is zero."""
        positions = self._positions(offset, length)
        if self.parent is None and all(position in (HOLE, ZERO) for position in positions):
            return zeros(length)
        first, start = divmod(offset, self.block_size)
        if len(positions) == 1 and (position := positions[0]) is not HOLE and position != ZERO:
            whole = Extent(start, start + length)
            if next(self._present(first, position, *whole), None) == whole:
                return self.file.read(position + start, length, what=f"block {first}")
        with filled(length) as (buffer, view):
            self._fill(positions, offset, view, zeros=True)
        return buffer.getvalue()

    def _read_into(self, offset: int, view: memoryview) -> None:
        self._fill(self._positions(offset, len(view)), offset, view)

    def _positions(self, offset: int, length: int) -> Sequence[int | None]:
        """Where the blocks of a span lie."""
        first = offset // self.block_size
        return self._locate(first, (offset + length - 1) // self.block_size - first + 1)

    def _fill(
        self, positions: Sequence[int | None], offset: int, view: memoryview, *, zeros: bool = False
    ) -> None:
        """Fill `view`, which holds nothing but zeros when `zeros`."""
        end, first = offset + len(view), offset // self.block_size
        for block, position in enumerate(positions, first):
            base = block * self.block_size
            start, stop = max(offset - base, 0), min(end - base, self.block_size)
            part = view[base + start - offset : base + stop - offset]
            if zeros and (position == ZERO or (position is HOLE and self.parent is None)):
                continue
            self._read_block(block, position, start, part)

    def _read_block(self, block: int, position: int | None, start: int, view: memoryview) -> None:
        """Fill `view` from byte `start` of a block on."""
        if position == ZERO:
            view[:] = bytes(len(view))
            return
        base, end = block * self.block_size, start + len(view)
        at = start
        for low, high in () if position is None else self._present(block, position, start, end):
            self._read_under(base + at, view[at - start : low - start])
            assert position is not None
            self.file.read_into(position + low, view[low - start : high - start], what=f"block {block}")
            at = high
        self._read_under(base + at, view[at - start :])

    def _read_under(self, offset: int, view: memoryview) -> None:
        """Fill `view` with what lies under this disk: the parent's bytes, then zeros."""
        held = 0
        if self.parent is not None and view:
            held = max(0, min(len(view), self.parent.size - offset))
            if held:
                self.parent.read_into(offset, view[:held])
        view[held:] = bytes(len(view) - held)

    def extents(self) -> Iterator[Extent]:
        if self.parent is None:
            return merge(self._stored())
        hidden = merge(self._own())
        under = (Extent(low, min(high, self.size)) for low, high in self.parent.extents() if low < self.size)
        return merge(heapq.merge(self._stored(), without(under, hidden)))

    def _own(self) -> Iterator[Extent]:
        """The disk's ranges that hide the parent's, ascending."""
        for block, position in self.allocated():
            base = block * self.block_size
            length = min(self.block_size, self.size - base)
            for low, high in [(0, length)] if position == ZERO else self._present(block, position, 0, length):
                yield Extent(base + low, base + high)

    def _stored(self) -> Iterator[Extent]:
        """The disk's ranges whose bytes the file has stored, ascending."""
        for block, position in self.allocated():
            if position == ZERO:
                continue
            base = block * self.block_size
            length = min(self.block_size, self.size - base)
            for stored in self.file.extents(position, position + length):
                for low, high in self._present(
                    block, position, stored.start - position, stored.end - position
                ):
                    yield Extent(base + low, base + high)

    def _check_inside(self, block: int, position: int, spec: str) -> None:
        """DiskError when a block's data, cut at the disk's size, does not lie inside the file."""
        length = min(self.block_size, self.size - block * self.block_size)
        if position + length > self.file.size:
            raise DiskError(
                self.file.path,
                f"block {block} of {length} bytes would end behind the file's end at byte {self.file.size}",
                offset=position,
                spec=spec,
                hint="the file is truncated or damaged; copy it again from its source",
            )

    def close(self) -> None:
        self.file.close()
        if self.parent is not None:
            self.parent.close()

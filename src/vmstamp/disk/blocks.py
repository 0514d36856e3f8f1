"""BlockDisk: a disk whose file holds it in blocks that a table points to."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

from vmstamp.disk.base import Disk
from vmstamp.disk.file import ImageFile
from vmstamp.errors import DiskError
from vmstamp.extents import Extent, merge


class BlockDisk(Disk):
    """What VHD and VHDX have in common. Owns the file.

    The table is never held in memory: a read takes from it what it needs (the operating system's cache
    has it), so a table that claims terabytes costs nothing and there is nothing to lock.
    """

    block_size: int
    _file: ImageFile

    @abstractmethod
    def _locate(self, first: int, count: int) -> Sequence[int | None]:
        """Where the data of `count` blocks from `first` lies in the file; None: the block is all zero."""

    @abstractmethod
    def _allocated(self) -> Iterator[tuple[int, int]]:
        """All blocks that lie in the file, as (block, offset of its data), ascending by block."""

    def _present(self, block: int, position: int, start: int, end: int) -> Iterator[Extent]:
        """The parts of [start, end) inside a block that count; the rest of it is zero."""
        yield Extent(start, end)

    def _read(self, offset: int, length: int) -> bytes:
        end = offset + length
        first = offset // self.block_size
        positions = self._locate(first, (end - 1) // self.block_size - first + 1)
        parts = []
        for block, position in enumerate(positions, first):
            base = block * self.block_size
            start, stop = max(offset - base, 0), min(end - base, self.block_size)
            parts.append(self._read_block(block, position, start, stop))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_block(self, block: int, position: int | None, start: int, end: int) -> bytes:
        if position is None:
            return bytes(end - start)
        present = list(self._present(block, position, start, end))
        if present == [(start, end)]:
            return self._file.read(position + start, end - start, what=f"block {block}")
        data = bytearray(end - start)
        for low, high in present:
            data[low - start : high - start] = self._file.read(position + low, high - low)
        return bytes(data)

    def extents(self) -> Iterator[Extent]:
        return merge(self._ranges())

    def _ranges(self) -> Iterator[Extent]:
        for block, position in self._allocated():
            base = block * self.block_size
            length = min(self.block_size, self.size - base)
            for stored in self._file.extents(position, position + length):
                for low, high in self._present(
                    block, position, stored.start - position, stored.end - position
                ):
                    yield Extent(base + low, base + high)

    def _check_inside(self, block: int, position: int, spec: str) -> None:
        """DiskError when a block's data, cut at the disk's size, does not lie inside the file."""
        length = min(self.block_size, self.size - block * self.block_size)
        if position + length > self._file.size:
            raise DiskError(
                self._file.path,
                f"block {block} of {length} bytes would end behind the file's end at byte {self._file.size}",
                offset=position,
                spec=spec,
                hint="the file is truncated or damaged; copy it again from its source",
            )

    def close(self) -> None:
        self._file.close()

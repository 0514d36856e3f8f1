"""A disk put together from pieces in memory: partition tables, small file systems, tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vmstamp.disk.base import Disk
from vmstamp.extents import Extent, merge


class MemoryDisk(Disk):
    """`size` bytes of zeros with `pieces`, bytes by their offset; of two that overlap the later one counts.

    Raises ValueError when a piece is not inside the disk.
    """

    format = "raw"

    def __init__(self, size: int, pieces: Mapping[int, bytes]) -> None:
        if any(at < 0 or at + len(piece) > size for at, piece in pieces.items()):
            raise ValueError(f"a piece is not inside a disk of {size} bytes")
        self.size = size
        self.pieces = dict(sorted(pieces.items()))

    def _read(self, offset: int, length: int) -> bytes:
        data = bytearray(length)
        for at, piece in self.pieces.items():
            low, high = max(at, offset), min(at + len(piece), offset + length)
            if low < high:
                data[low - offset : high - offset] = piece[low - at : high - at]
        return bytes(data)

    def extents(self) -> Iterator[Extent]:
        return merge((at, at + len(piece)) for at, piece in self.pieces.items())

    def close(self) -> None:
        """Nothing is held."""

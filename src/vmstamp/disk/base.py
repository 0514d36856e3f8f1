"""Disk: a virtual disk that is read by position.

The contract, which one suite checks over every implementation:

- `size` is the virtual size in bytes and never changes while the disk is open.
- `read` is positional, thread-safe and never short: inside [0, size) it returns exactly `length` bytes
  or raises DiskError. There is no cursor, so many threads share one Disk.
- `read_into` is `read` into a buffer of the caller's, for those who move much.
- `extents` gives ascending, disjoint, non-adjacent ranges inside [0, size); outside them the disk reads
  as zeros. Data that happens to be zero may lie inside them. It costs memory of a few pages only, and
  time by what is allocated, never by the virtual size.
- After `close` nothing may be called but `close`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from vmstamp.extents import Extent

SECTOR = 512  # bytes; Azure and both VHD formats address disks in these


class Disk(ABC):
    """A virtual disk, read by position; see the module for the contract.

    `path` is the file it lies in (None: it lies in no file), `format` one of raw, vhd, vhdx, qcow2, vmdk
    and vdi, `subformat` one of fixed, dynamic, differencing and '' (the format has none), `block_size` the
    bytes that it allocates at once (None: it has no blocks). `notes` are sentences about oddities that were
    met while opening and that do not hinder reading. `parent` is the disk whose changes a differencing disk
    holds; it is closed with its child. `uploaded`: it is a blob, so no upload puts anything right any more;
    `last_sector` is then what lies behind the disk where a footer should, not judged yet (b'' : nothing).
    """

    path: Path | None = None
    format: str
    subformat: str = ""
    size: int
    sector_size: int = SECTOR
    block_size: int | None = None
    notes: tuple[str, ...] = ()
    parent: Disk | None = None
    uploaded: bool = False
    last_sector: bytes = b""

    def read(self, offset: int, length: int) -> bytes:
        """The `length` bytes at `offset`; ValueError when they are not all inside [0, size).

        Blocks on the file. Raises DiskError when the file does not hold what its tables promise.
        """
        self._check_span(offset, length)
        return self._read(offset, length) if length else b""

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill `view`, which is writable and of bytes, with what lies at `offset`; errors as of `read`."""
        self._check_span(offset, len(view))
        if view:
            self._read_into(offset, view)

    def clone(self, fd: int) -> bool:
        """Make the empty file `fd` hold the disk by sharing its storage; False: it cannot be done here.

        Where the disk lies in a file as it is, and the file system has reflinks (XFS, btrfs).
        """
        return False

    def _check_span(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size:
            raise ValueError(f"[{offset}, {offset + length}) is not inside a disk of {self.size} bytes")

    @property
    def data_size(self) -> int:
        """Bytes of the virtual disk itself: `size`, unless the disk shows its file's footer too."""
        return self.size

    @abstractmethod
    def extents(self) -> Iterator[Extent]:
        """The data ranges, ascending; outside them zeros. Raises DiskError like `read`."""

    @abstractmethod
    def close(self) -> None:
        """Give back the file. May be called more than once."""

    @abstractmethod
    def _read(self, offset: int, length: int) -> bytes:
        """Like `read`; the range is inside the disk and not empty."""

    def _read_into(self, offset: int, view: memoryview) -> None:
        """Like `read_into`; the range is inside the disk and not empty."""
        view[:] = self._read(offset, len(view))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{self.subformat or 'plain'} {self.format} disk of {self.size} bytes in {self.path}>"

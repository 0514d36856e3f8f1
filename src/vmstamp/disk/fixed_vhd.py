"""FixedVhd: any disk, seen as the fixed VHD that Azure wants; nothing is copied.

[0, data size)        the source's bytes, padded with zeros to a whole number of MiB
[data size, + 512)    the footer
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

from vmstamp.disk.base import Disk
from vmstamp.disk.footer import FOOTER_SIZE, Footer, Geometry, geometry, make_footer, parse_footer
from vmstamp.disk.partitions import moved_backup
from vmstamp.disk.raw import write_raw
from vmstamp.extents import Extent, merge

__all__ = ["MIB", "FixedVhd", "Footer", "Geometry", "geometry", "make_footer", "parse_footer", "write_fixed"]

MIB = 1024 * 1024


class FixedVhd(Disk):
    """`source` as a fixed VHD file: `size` and `extents` include the footer, `data_size` does not.

    Reads go to the source, which must stay open; `close` closes it. The same `unique_id` and `created`
    give the same bytes. When padding is added, the backup GPT moves with the disk's end.
    """

    format = "vhd"
    subformat = "fixed"

    def __init__(
        self, source: Disk, *, unique_id: UUID | None = None, created: datetime | None = None
    ) -> None:
        self._source = source
        self.path = source.path
        self.notes = source.notes
        self._data_size = max(-(-source.size // MIB), 1) * MIB
        self.size = self._data_size + FOOTER_SIZE
        self.footer = make_footer(self.data_size, unique_id or uuid4(), created or datetime.now(UTC))
        self._changes = moved_backup(source, self.data_size) | {self.data_size: self.footer}

    @property
    def data_size(self) -> int:
        return self._data_size

    def _read(self, offset: int, length: int) -> bytes:
        end = offset + length
        held = min(end, max(offset, self._source.size))  # where the source's own bytes end
        data = self._source.read(offset, held - offset) if held > offset else b""
        touching = [(at, new) for at, new in self._changes.items() if at < end and offset < at + len(new)]
        if held == end and not touching:
            return data
        changed = bytearray(data.ljust(length, b"\0"))
        for at, new in touching:
            low, high = max(at, offset), min(at + len(new), end)
            changed[low - offset : high - offset] = new[low - at : high - at]
        return bytes(changed)

    def extents(self) -> Iterator[Extent]:
        changes = [Extent(at, at + len(new)) for at, new in self._changes.items()]
        return merge(heapq.merge(self._source.extents(), changes))

    def close(self) -> None:
        self._source.close()


def write_fixed(source: Disk, path: Path, progress: Callable[[int], None] | None = None) -> None:
    """Write `source` as a sparse fixed VHD file; see `write_raw` for the rest."""
    write_raw(FixedVhd(source), path, progress)

"""FixedVhd: any disk, seen as the fixed VHD that Azure wants; nothing is copied.

[0, data size)        the source's bytes, padded with zeros to a whole number of MiB
[data size, + 512)    the footer
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

from vmstamp.disk.base import Disk
from vmstamp.disk.footer import FOOTER_SIZE, Footer, Geometry, geometry, make_footer, parse_footer
from vmstamp.disk.raw import write_raw
from vmstamp.extents import Extent, merge

__all__ = ["MIB", "FixedVhd", "Footer", "Geometry", "geometry", "make_footer", "parse_footer", "write_fixed"]

MIB = 1024 * 1024


class FixedVhd(Disk):
    """`source` as a fixed VHD file: `size` and `extents` include the footer, `data_size` does not.

    Reads go to the source, which must stay open; `close` closes it. The same `unique_id` and `created`
    give the same bytes.
    """

    format = "vhd"
    subformat = "fixed"

    def __init__(
        self, source: Disk, *, unique_id: UUID | None = None, created: datetime | None = None
    ) -> None:
        self._source = source
        self.path = source.path
        self.notes = source.notes
        self.data_size = max(-(-source.size // MIB), 1) * MIB
        self.size = self.data_size + FOOTER_SIZE
        self.footer = make_footer(self.data_size, unique_id or uuid4(), created or datetime.now(UTC))

    def _read(self, offset: int, length: int) -> bytes:
        end = offset + length
        parts = []
        if offset < self._source.size:
            parts.append(self._source.read(offset, min(end, self._source.size) - offset))
        padding_start = max(offset, self._source.size)
        if padding_start < (padding_end := min(end, self.data_size)):
            parts.append(bytes(padding_end - padding_start))
        if end > self.data_size:
            parts.append(self.footer[max(offset - self.data_size, 0) : end - self.data_size])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def extents(self) -> Iterator[Extent]:
        def ranges() -> Iterator[Extent]:
            yield from self._source.extents()
            yield Extent(self.data_size, self.size)

        return merge(ranges())

    def close(self) -> None:
        self._source.close()


def write_fixed(source: Disk, path: Path, progress: Callable[[int], None] | None = None) -> None:
    """Write `source` as a sparse fixed VHD file; see `write_raw` for the rest."""
    write_raw(FixedVhd(source), path, progress)

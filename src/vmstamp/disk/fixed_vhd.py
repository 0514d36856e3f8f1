"""FixedVhd: any disk, seen as the fixed VHD that Azure wants; nothing is copied.

[0, data size)        the source's bytes, padded with zeros to a whole number of MiB
[data size, + 512)    the footer
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

from vmstamp.disk.base import Disk
from vmstamp.disk.data import copy_data
from vmstamp.disk.file import replacing
from vmstamp.disk.footer import FOOTER_SIZE, Footer, Geometry, geometry, make_footer, parse_footer
from vmstamp.disk.partitions import moved_backup
from vmstamp.disk.resized import Changed

__all__ = ["MIB", "FixedVhd", "Footer", "Geometry", "geometry", "make_footer", "parse_footer", "write_fixed"]

MIB = 1024 * 1024


class FixedVhd(Changed):
    """`source` as a fixed VHD file: `size` and `extents` include the footer, `data_size` does not.

    Reads go to the source, which must stay open; `close` closes it. The same `unique_id` and `created`
    give the same bytes. When padding is added, the backup GPT moves with the disk's end.
    """

    format = "vhd"
    subformat = "fixed"

    def __init__(
        self, source: Disk, *, unique_id: UUID | None = None, created: datetime | None = None
    ) -> None:
        self._data_size = whole_mib(source.size)
        self.footer = make_footer(self._data_size, unique_id or uuid4(), created or datetime.now(UTC))
        changes = moved_backup(source, self._data_size) | {self._data_size: self.footer}
        super().__init__(source, self._data_size + FOOTER_SIZE, changes)

    @property
    def data_size(self) -> int:
        return self._data_size


def whole_mib(size: int) -> int:
    """`size` bytes, rounded up to a whole number of MiB and at least one: what Azure takes."""
    return max(-(-size // MIB), 1) * MIB


def write_fixed(
    source: Disk,
    path: Path,
    progress: Callable[[int], None] | None = None,
    *,
    unique_id: UUID | None = None,
) -> None:
    """Write `source` as a sparse fixed VHD file; see `write_raw` for the rest."""
    view = FixedVhd(source, unique_id=unique_id)
    with replacing(path) as fd:
        if view.clone(fd):
            return
        os.ftruncate(fd, view.size)
        copy_data(view, fd, lambda offset: offset, progress=progress)

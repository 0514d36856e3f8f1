"""convert: write any disk in one of the formats that we write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vmstamp.disk.base import Disk
from vmstamp.disk.fixed_vhd import write_fixed
from vmstamp.disk.raw import write_raw
from vmstamp.disk.vhdx import write_dynamic
from vmstamp.errors import DiskError

WRITERS = {"raw": write_raw, "vhd-fixed": write_fixed, "vhdx": write_dynamic}


def convert(source: Disk, path: Path, to: str, progress: Callable[[int], None] | None = None) -> None:
    """Write `source` to `path` as `to`: raw, vhd-fixed or vhdx (dynamic).

    Written beside `path` and renamed; never onto the source itself. `progress` is called with the bytes
    of each piece read. Raises DiskError.
    """
    if to not in WRITERS:
        raise DiskError(path, f"cannot be written as {to}", hint=f"formats written: {', '.join(WRITERS)}")
    if source.path is not None and path.exists() and path.samefile(source.path):
        raise DiskError(path, "is the source itself", hint="name another file to write")
    WRITERS[to](source, path, progress)

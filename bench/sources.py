"""The disks that conversions and reads are measured on, and the room that they need."""

from __future__ import annotations

import os
import random
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.figure import Figure
from bench.scale import GIB, Scale
from vmstamp import settings

SHORTEST, LONGEST = 64 << 10, 1 << 20  # bytes of a run of data
GRAIN = 4096
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "vmstamp" / "test-recipes"


@contextmanager
def directory() -> Iterator[Path]:
    """A directory that goes again: in TMPDIR, else in /var/tmp, because /tmp may be memory."""
    with tempfile.TemporaryDirectory(
        prefix="vmstamp-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")
    ) as name:
        yield Path(name)


def find_shortage(directory: Path, needed: int) -> Figure | None:
    """A figure that does not hold when `directory` has less than `needed` bytes free."""
    free = shutil.disk_usage(directory).free
    if free >= needed:
        return None
    return Figure(
        f"not measured: room needed in {directory.parent}", needed / GIB, "GiB", free / GIB, "set TMPDIR"
    )


def scatter(path: Path, scale: Scale, longest: int = LONGEST) -> None:
    """Make a raw disk whose data lies in runs of 64 KiB to `longest` bytes all over it, the same each time.

    The gaps are drawn so that the data is spread over the whole disk. No two runs begin with the same bytes,
    and none compresses.
    """
    rng = random.Random(1)
    noise = rng.randbytes(2 * longest)
    gap = (scale.size - scale.data) * (SHORTEST + longest) // scale.data  # twice the mean
    with path.open("wb") as file:
        file.truncate(scale.size)
        at = rng.randrange(gap) // GRAIN * GRAIN
        while at < scale.size:
            length = min(rng.randrange(SHORTEST, longest + GRAIN) // GRAIN * GRAIN, scale.size - at)
            start = rng.randrange(longest)
            os.pwrite(file.fileno(), noise[start : start + length], at)
            at += length + rng.randrange(gap) // GRAIN * GRAIN


def find_debian() -> Path | None:
    """The newest Debian disk that was built before, under the home or for the tests; None without one."""
    found = [
        path
        for place in (settings.home().recipes, CACHE)
        for path in place.glob("debian-12-*.vhdx")
        if re.fullmatch(r"debian-12-[0-9a-f]{12}", path.stem)
    ]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)

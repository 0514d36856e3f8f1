"""check and repair: is a disk file sound, and what of it can be put right?

What is looked at is the file's own structure, not what lies on the disk. Each format's invariants are in
its own module; this one is their door.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

from vmstamp.disk.check_foreign import check_foreign, refuse_repair, repair_qcow2
from vmstamp.disk.check_vhd import check_vhd, repair_vhd
from vmstamp.disk.data import copy_data
from vmstamp.disk.detect import FOREIGN
from vmstamp.disk.file import ImageFile, replacing
from vmstamp.disk.footer import COOKIE
from vmstamp.disk.problem import Problem
from vmstamp.disk.raw import RawDisk
from vmstamp.disk.vhdx.check import check_vhdx, repair_vhdx
from vmstamp.errors import DiskError

State = Literal["sound", "repairable", "broken"]
MAX_PROBLEMS = 1000  # told of one file; a damaged table may have millions


@dataclass(frozen=True)
class Report:
    """What was found in the file `path`; `complete` is False when there was more than MAX_PROBLEMS."""

    path: Path
    format: str
    problems: tuple[Problem, ...]
    complete: bool = True

    @property
    def state(self) -> State:
        if not self.problems:
            return "sound"
        return "repairable" if all(problem.repair for problem in self.problems) else "broken"


@dataclass(frozen=True)
class _Format:
    name: str
    check: Callable[[ImageFile], Iterator[Problem]]
    repair: Callable[[ImageFile, int], None]


_VHD = _Format("vhd", check_vhd, repair_vhd)
_VHDX = _Format("vhdx", check_vhdx, repair_vhdx)
_FOREIGN = {
    "qcow2": _Format("qcow2", partial(check_foreign, name="qcow2"), repair_qcow2),
    "vmdk": _Format("vmdk", partial(check_foreign, name="vmdk"), refuse_repair),
    "vdi": _Format("vdi", partial(check_foreign, name="vdi"), refuse_repair),
}


def check(path: Path) -> Report:
    """Look at the disk file `path`. Raises DiskError when it is a raw disk, or cannot be read."""
    file = ImageFile(path)
    try:
        kind = _format(file)
        problems = list(islice(kind.check(file), MAX_PROBLEMS + 1))
    finally:
        file.close()
    return Report(path, kind.name, tuple(problems[:MAX_PROBLEMS]), len(problems) <= MAX_PROBLEMS)


def repair(path: Path, destination: Path, progress: Callable[[int], None] | None = None) -> None:
    """Write a mended copy of `path` to `destination`, which may be `path` itself.

    The copy takes its name when it is whole. Raises DiskError.
    """
    file = ImageFile(path)
    try:
        kind = _format(file)
        with replacing(destination, overwrite=destination == path) as fd:
            os.ftruncate(fd, file.size)  # it may end in a hole
            copy_data(RawDisk(file), fd, lambda offset: offset, progress=progress)
            kind.repair(file, fd)
    finally:
        file.close()


def _format(file: ImageFile) -> _Format:
    head = file.read(0, min(512, file.size))
    if head[:8] == b"vhdxfile":
        return _VHDX
    tail = file.read(max(file.size - 512, 0), min(512, file.size))
    if head[:8] == COOKIE or COOKIE in (tail[:8], tail[1:9]):
        return _VHD
    for offset, magic, name in FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            return _FOREIGN[name]
    raise DiskError(
        file.path,
        "is no VHD, VHDX, qcow2, VMDK or VDI: there is no structure to check",
        hint="a raw disk has none of its own; vmstamp disk info looks at its partitions",
    )

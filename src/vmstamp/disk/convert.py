"""convert: write any disk in one of the formats that we write."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from vmstamp.disk import vhd_writer, vhdx
from vmstamp.disk.base import Disk
from vmstamp.disk.file import EXISTS_HINT
from vmstamp.disk.fixed_vhd import write_fixed
from vmstamp.disk.raw import write_raw
from vmstamp.disk.resized import Resized
from vmstamp.errors import DiskError


def _by_qemu(format: str, source: Disk, path: Path, progress: Callable[[int], None] | None = None) -> None:
    from vmstamp.disk.foreign_writer import write_foreign  # who writes our own formats does not wait for it

    write_foreign(format, source, path, progress)


Writer = Callable[[Disk, Path, Callable[[int], None] | None], None]

WRITERS: dict[str, Writer] = {
    "raw": write_raw,
    "vhd-fixed": write_fixed,
    "vhd-dynamic": vhd_writer.write_dynamic,
    "vhdx": vhdx.write_dynamic,
    "vhdx-fixed": vhdx.write_fixed,
    "qcow2": partial(_by_qemu, "qcow2"),
    "vmdk": partial(_by_qemu, "vmdk"),
}
# What a name's end chooses.
SUFFIXES = {
    ".vhd": "vhd-fixed",
    ".vpc": "vhd-fixed",
    ".vhdx": "vhdx",
    ".avhdx": "vhdx",
    ".raw": "raw",
    ".img": "raw",
    ".bin": "raw",
    ".qcow2": "qcow2",
    ".vmdk": "vmdk",
}


def convert(
    source: Disk,
    path: Path,
    to: str | None = None,
    progress: Callable[[int], None] | None = None,
    *,
    size: int | None = None,
    overwrite: bool = True,
) -> None:
    """Write `source` to `path` as `to`, one of WRITERS; by default what the name's end chooses.

    `size` makes the disk so many bytes: longer with zeros, or cut at its end, whatever lies there; the
    backup GPT moves along. Written beside `path` and renamed; never onto the source itself, and onto no
    other file unless `overwrite`. `progress` is called with the bytes of each piece read. Raises DiskError,
    and ProgramMissing where QEMU is needed and not installed.
    """
    kind = to or SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise DiskError(
            path, "its name does not tell a format", hint=f"end it in one of {', '.join(SUFFIXES)}"
        )
    if kind not in WRITERS:
        raise DiskError(path, f"cannot be written as {kind}", hint=f"formats written: {', '.join(WRITERS)}")
    if path.exists():
        _refuse_replacing(source, path, overwrite)
    WRITERS[kind](source if size in (None, source.size) else Resized(source, size or 0), path, progress)


def _refuse_replacing(source: Disk, path: Path, overwrite: bool) -> None:
    disk: Disk | None = source
    while disk is not None:
        if disk.path is not None and path.samefile(disk.path):
            what = "the source itself" if disk is source else "a parent of the source"
            raise DiskError(path, f"is {what}", hint="name another file to write")
        disk = disk.parent
    if not overwrite:
        raise DiskError(path, "is there already", hint=EXISTS_HINT)

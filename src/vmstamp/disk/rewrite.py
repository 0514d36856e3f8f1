"""resize and merge: a disk file written anew under its name, in its own format and with its own id.

The new file is written whole before it takes the name, so whatever happens there is the old disk or the new.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vmstamp.disk import vhd_writer, vhdx
from vmstamp.disk.base import SECTOR, Disk
from vmstamp.disk.blocks import BlockDisk
from vmstamp.disk.data import data_chunks
from vmstamp.disk.file import sync_file
from vmstamp.disk.fixed_vhd import MIB, write_fixed
from vmstamp.disk.partitions import read_partitions
from vmstamp.disk.raw import RawDisk, write_raw
from vmstamp.disk.resized import Resized
from vmstamp.disk.vhd import DynamicVhdFile, FixedVhdFile
from vmstamp.disk.vhdx import layout
from vmstamp.errors import DiskError
from vmstamp.extents import Extent, without

GPT_ENTRIES = 128 * 128  # bytes of a GPT's entries, as all tools make them

Progress = Callable[[int], None]


def refuse_resize(disk: Disk, size: int) -> None:
    """DiskError when `disk`, in its file, cannot be given `size` bytes without loss."""
    path = disk.path or Path("-")
    refuse_rewriting(disk, path)
    if disk.subformat == "differencing":
        raise DiskError(path, "is a differencing disk", hint="merge it first: vmstamp disk merge")
    if isinstance(disk, FixedVhdFile | DynamicVhdFile) and size % MIB:
        raise DiskError(path, f"a VHD of {size} bytes is no whole number of MiB, as Azure wants it")
    if size % disk.sector_size:
        raise DiskError(path, f"{size} bytes are not a whole number of sectors of {disk.sector_size} bytes")
    _refuse_too_large(disk, path, size)
    if size < disk.size:
        _refuse_cut(disk, path, size)


def resize(disk: Disk, size: int, progress: Progress | None = None) -> None:
    """Give the disk in the file `disk.path` `size` bytes; the backup GPT moves along. Raises DiskError.

    `disk` still shows the old file afterwards.
    """
    refuse_resize(disk, size)
    assert disk.path is not None
    write_like(disk, Resized(disk, size), disk.path, progress)


def _refuse_too_large(disk: Disk, path: Path, size: int) -> None:
    limit = {DynamicVhdFile: vhd_writer.MAX_SIZE, vhdx.Vhdx: layout.MAX_SIZE}.get(type(disk), size)
    if size > limit:
        kind = f"{disk.subformat} {disk.format.upper()}"
        raise DiskError(path, f"a {kind} cannot hold {size} bytes; {limit} are the most")


def _refuse_cut(disk: Disk, path: Path, size: int) -> None:
    table = read_partitions(disk)
    backup = GPT_ENTRIES + table.sector_size if table.scheme == "gpt" else 0  # at the end of the disk
    room = size - backup
    for part in table.partitions:
        if part.end > room:
            raise DiskError(
                path,
                f"partition {part.number} ends at byte {part.end}; only {room} bytes would be left for it",
                hint="shrink the file system and the partition in the guest first",
            )
    kept = [Extent(0, size)]
    if backup:
        kept.append(Extent(max(disk.size - backup, size), disk.size))
    for offset, data in data_chunks(disk, extents=without(disk.extents(), kept), grain=SECTOR):
        found = offset + next(index for index, byte in enumerate(data) if byte)
        raise DiskError(
            path, "there is data behind the new end", offset=found, hint="erase it in the guest first"
        )


def refuse_merge(child: Disk) -> Disk:
    """The parent into which `child` can be merged, or DiskError."""
    path = child.path or Path("-")
    if child.parent is None or not isinstance(child, BlockDisk):
        raise DiskError(path, f"is a {child.subformat} {child.format} disk: it has no parent to merge into")
    parent = child.parent
    refuse_rewriting(parent, parent.path or path)
    if parent.subformat == "differencing":
        raise DiskError(
            path,
            f"its parent {parent.path} has a parent itself",
            hint=f"vmstamp disk merge {parent.path} first, or write one whole disk: vmstamp disk convert",
        )
    return parent


def merge(child: Disk, progress: Progress | None = None) -> None:
    """Write what `child` shows under its parent's name, in the parent's format and with its id.

    Other children of that parent are refused afterwards, or would show another disk. `child` is left, and
    may be removed: the parent's new name is on the disk, too.
    """
    parent = refuse_merge(child)
    assert parent.path is not None
    write_like(parent, child, parent.path, progress)
    sync_file(parent.path.resolve().parent)


def refuse_rewriting(disk: Disk, path: Path) -> None:
    if not isinstance(disk, RawDisk | FixedVhdFile | DynamicVhdFile | vhdx.Vhdx):
        raise DiskError(
            path,
            f"a {disk.format} disk cannot be rewritten in place",
            hint="write another file: vmstamp disk convert --size; or qemu-img resize",
        )


def write_like(model: Disk, content: Disk, path: Path, progress: Progress | None) -> None:
    """Write `content` to `path` in the model's format and subformat, with its id.

    Of a symbolic link the file behind it is replaced, and the link stays.
    """
    path = path.resolve() if path.is_symlink() else path
    if isinstance(model, FixedVhdFile):
        write_fixed(content, path, progress, unique_id=model.footer.unique_id)
    elif isinstance(model, DynamicVhdFile):
        vhd_writer.write_dynamic(content, path, progress, unique_id=model.footer.unique_id)
    elif isinstance(model, vhdx.Vhdx):
        write = vhdx.write_fixed if model.subformat == "fixed" else vhdx.write_dynamic
        write(content, path, progress, disk_id=model.unique_id, block_size=model.block_size)
    else:
        write_raw(content, path, progress)

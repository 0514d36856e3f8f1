"""Overlays: a VM's writes, kept apart from the sealed bytes that it shares with its image.

An overlay is a qcow2 file over a raw backing file. Making one costs the same for every size; folding
one copies only bytes that exist, inside the kernel where the file system can share them.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

from vmstamp.errors import ProgramError
from vmstamp.extents import Extent, Extents
from vmstamp.run import run

LEAKS = 3  # exit status of qemu-img check
CHUNK = 1 << 30  # bytes copied by one call at most
BUFFER = 1 << 20  # bytes, where the copy goes through this process
# What file systems say that cannot copy inside the kernel, or not from one to the other.
NOT_IN_KERNEL = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def backing_option(backing: Path, size: int) -> str:
    """QEMU's name for the first `size` bytes of a raw file: what lies behind them, a footer, stays hidden."""
    node = {"driver": "raw", "size": size, "file": {"driver": "file", "filename": str(backing)}}
    return "json:" + json.dumps(node)


def create_overlay(path: Path, backing: Path, size: int) -> None:
    """Make a qcow2 overlay of `size` bytes (a multiple of 512) over a raw file, whole or not at all."""
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    options = "preallocation=off,compat=1.1,lazy_refcounts=off"
    run(
        [
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            options,
            "-b",
            backing_option(backing, size),
            "-F",
            "raw",
            beside,
            str(size),
        ]
    )
    beside.replace(path)


def written(overlay: Path) -> bool:
    """Whether a VM wrote to its overlay; none may use it meanwhile. Raises ProgramError (damaged)."""
    data, zeros = _own_clusters(overlay)
    return bool(data or zeros)


def fold(overlay: Path, backing: Path, size: int, destination: Path) -> None:
    """Write the bytes that a VM sees, and what lies behind `size` in the backing file, as a new sparse file.

    No VM may use the overlay meanwhile. `destination` must not exist; it is removed when folding fails.
    Raises OSError (no space) and ProgramError (a damaged overlay).
    """
    data, zeros = _own_clusters(overlay)
    hidden = Extents([(start, end) for start, end, _ in data]).union(Extents(zeros))
    with backing.open("rb") as below, overlay.open("rb") as above, destination.open("xb") as out:
        try:
            whole = os.fstat(below.fileno()).st_size
            os.ftruncate(out.fileno(), whole)
            visible = Extents(_data_extents(below.fileno(), whole)).subtract(hidden)
            for start, end in visible:
                _copy(below.fileno(), start, out.fileno(), start, end - start)
            for start, end, offset in data:
                _copy(above.fileno(), offset, out.fileno(), start, min(end, size) - start)
        except BaseException:
            destination.unlink()
            raise


def copy_sparse(source: Path, destination: Path) -> None:
    """Copy a file with its holes; `destination` is removed when that fails. Raises OSError."""
    with source.open("rb") as original, destination.open("xb") as out:
        try:
            whole = os.fstat(original.fileno()).st_size
            os.ftruncate(out.fileno(), whole)
            for start, end in _data_extents(original.fileno(), whole):
                _copy(original.fileno(), start, out.fileno(), start, end - start)
        except BaseException:
            destination.unlink()
            raise


def _own_clusters(overlay: Path) -> tuple[list[tuple[int, int, int]], list[Extent]]:
    """The overlay's own ranges: with data (start, end, offset in the overlay's file), and zeroed ones."""
    _check(overlay)
    mapped = json.loads(run(["qemu-img", "map", "-f", "qcow2", "--output=json", overlay]).stdout)
    data: list[tuple[int, int, int]] = []
    zeros: list[Extent] = []
    for entry in mapped:
        if entry["depth"] != 0 or not entry.get("present", True):
            continue
        start, end = entry["start"], entry["start"] + entry["length"]
        if entry["zero"]:
            zeros.append(Extent(start, end))
        else:
            data.append((start, end, entry["offset"]))
    return data, zeros


def _check(overlay: Path) -> None:
    """Refuse a damaged or cut overlay: QEMU reads tables behind the file's end as zeros, without a word.

    Clusters that a killed QEMU had taken and not used yet (leaks, status 3) do no harm.
    """
    done = run(["qemu-img", "check", "-q", "-f", "qcow2", overlay], check=False)
    if done.status not in (0, LEAKS):
        raise ProgramError(
            ["qemu-img", "check"],
            done.status,
            done.stderr.decode(errors="replace") or f"{overlay}: corrupt",
            hint=f"the disk's last writes, in {overlay}, are damaged",
        )


def _data_extents(descriptor: int, size: int) -> Iterator[Extent]:
    """The ranges of a sparse file that hold data."""
    start = 0
    while start < size:
        try:
            start = os.lseek(descriptor, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield Extent(start, end)
        start = end


def _copy(source: int, offset: int, target: int, position: int, length: int) -> None:
    while length > 0:
        try:
            copied = os.copy_file_range(source, target, min(length, CHUNK), offset, position)
        except OSError as error:
            if error.errno not in NOT_IN_KERNEL:
                raise
            copied = os.pwrite(target, os.pread(source, min(length, BUFFER), offset), position)
        if copied == 0:
            raise OSError(errno.EIO, f"the file ends at byte {offset}, {length} bytes early")
        offset, position, length = offset + copied, position + copied, length - copied

"""Writes qcow2 and VMDK disks: `qemu-img` makes an empty one, `qemu-nbd` takes the data."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from vmstamp.disk.base import SECTOR, Disk
from vmstamp.disk.data import data_chunks
from vmstamp.disk.file import beside_name, check_target, sync_file, take_name
from vmstamp.disk.foreign import serve
from vmstamp.disk.neighbours import file_node
from vmstamp.run import run

OPTIONS = {"qcow2": ("lazy_refcounts=off",), "vmdk": ("subformat=monolithicSparse",)}


def write_foreign(
    format: str, source: Disk, path: Path, progress: Callable[[int], None] | None = None
) -> None:
    """Write `source` as `format`, qcow2 or vmdk; its size is rounded up to whole sectors.

    Written as `.NAME.PID.partial` and renamed. Raises DiskError, and ProgramMissing without QEMU's tools.
    """
    replaces = check_target(path, overwrite=True)
    beside = beside_name(path)
    size = -(-source.size // SECTOR) * SECTOR
    try:
        run(["qemu-img", "create", "-q", "-f", format, "-o", ",".join(OPTIONS[format]), beside, str(size)])
        node = {"driver": format, "file": file_node(beside)}
        with serve(node, path, connections=1, writable=True) as (connection,):
            for offset, data in data_chunks(source, progress=progress):
                connection.write(offset, data)
            connection.flush()
        if replaces:
            sync_file(beside)
        take_name(beside, path, overwrite=True)
    finally:
        beside.unlink(missing_ok=True)


write_qcow2 = functools.partial(write_foreign, "qcow2")
write_vmdk = functools.partial(write_foreign, "vmdk")

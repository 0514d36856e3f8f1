"""Writes qcow2 and VMDK disks: `qemu-img` makes an empty one, `qemu-nbd` takes the data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vmstamp.disk import vmdk
from vmstamp.disk.base import SECTOR, Disk
from vmstamp.disk.data import data_chunks
from vmstamp.disk.file import beside_name, check_target, sync_file, take_after, take_name, write_error
from vmstamp.disk.foreign import serve
from vmstamp.disk.neighbours import file_node
from vmstamp.errors import DiskError, ProgramError
from vmstamp.run import run

OPTIONS = {"qcow2": ("lazy_refcounts=off",), "vmdk": ("subformat=monolithicSparse",)}


def write_foreign(
    format: str, source: Disk, path: Path, progress: Callable[[int], None] | None = None
) -> None:
    """Write `source` as `format`, qcow2 or vmdk; its size is rounded up to whole sectors.

    Written as `.NAME.PID.partial` and renamed; a file that is replaced gives its permissions. SIGKILL leaves
    that name, but no process. Raises DiskError, and ProgramMissing without QEMU's tools.
    """
    beside = beside_name(path).absolute()  # QEMU takes a name with a colon, unless absolute, for a protocol
    size = -(-source.size // SECTOR) * SECTOR
    if format == "vmdk" and size > vmdk.MAX_SIZE:
        raise DiskError(
            path, f"a VMDK cannot hold {size} bytes here; {vmdk.MAX_SIZE} are the most", hint="write a VHDX"
        )
    try:
        replaces = check_target(path, overwrite=True)
        run(["qemu-img", "create", "-q", "-f", format, "-o", ",".join(OPTIONS[format]), beside, str(size)])
        node = {"driver": format, "file": file_node(beside)}
        with serve(node, path, connections=1, writable=True) as (connection,):
            for offset, data in data_chunks(source, progress=progress):
                connection.write(offset, data)
            connection.flush()
        if replaces:
            with beside.open("rb") as file:
                take_after(file.fileno(), path)
            sync_file(beside)
        take_name(beside, path, overwrite=True)
    except ProgramError as error:
        raise DiskError(path, f"QEMU cannot make it: {error.stderr.strip()}") from error
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        beside.unlink(missing_ok=True)

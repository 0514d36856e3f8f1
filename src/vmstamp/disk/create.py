"""create_child: a differencing disk without changes, over any disk that can have one."""

from __future__ import annotations

from pathlib import Path

from vmstamp.disk import vhd_writer, vhdx
from vmstamp.disk.base import Disk
from vmstamp.disk.vhd import DynamicVhdFile, FixedVhdFile
from vmstamp.errors import DiskError


def create_child(path: Path, parent: Disk) -> None:
    """Make `path`, which must not exist, a differencing disk of the parent's format and size.

    The parent must not change any more. Raises DiskError.
    """
    if isinstance(parent, vhdx.Vhdx):
        vhdx.create_differencing(path, parent)
    elif isinstance(parent, FixedVhdFile | DynamicVhdFile):
        vhd_writer.create_differencing(path, parent)
    else:
        raise DiskError(
            path,
            f"a {parent.format} disk cannot be the parent of a differencing disk",
            hint="a VHD or VHDX can; convert it first: vmstamp disk convert",
        )

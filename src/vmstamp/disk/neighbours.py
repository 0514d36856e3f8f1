"""The files that a disk file refers to, and how QEMU is told about them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from vmstamp.disk.file import ImageFile
from vmstamp.errors import DiskError

Node = dict[str, Any]  # a block node, as QEMU's blockdev-add takes it

MERGE_HINT = "make one whole disk of it first: qemu-img convert -O qcow2 FILE OTHER"
MOVE_HINT = "put both files into one directory, or: qemu-img convert -O qcow2 FILE OTHER"


def file_node(path: Path) -> Node:
    """The node of a plain file."""
    return {"driver": "file", "filename": str(path.absolute())}


def neighbour(path: Path, name: str, what: str) -> Path:
    """The file `name` that `path` refers to; DiskError unless it lies in the same directory."""
    other = path.parent / name
    if "\0" in name or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", name):
        raise DiskError(path, f"its {what} {name!r} lies outside of its directory", hint=MOVE_HINT)
    if other.resolve().parent != path.parent.resolve():
        raise DiskError(path, f"its {what} {name!r} lies outside of its directory", hint=MOVE_HINT)
    if other.resolve() == path.resolve():
        raise DiskError(path, f"its {what} {name!r} is itself")
    return other


def refuse_cut(file: ImageFile, end: int, what: str, spec: str) -> None:
    """DiskError when `end`, where the last piece of `what` ends, lies behind the end of the file."""
    if end > file.size:
        raise DiskError(
            file.path,
            f"{what} reaches to byte {end}, but the file ends at {file.size}",
            offset=file.size,
            spec=spec,
            hint="the file is truncated; copy it again from its source",
        )

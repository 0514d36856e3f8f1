"""The files that a disk file refers to, and how QEMU is told about them."""

from __future__ import annotations

import json
import os.path
from pathlib import Path
from typing import Any, NamedTuple

from vmstamp.disk.file import ImageFile
from vmstamp.disk.packed import UnpackedFile
from vmstamp.errors import DiskError

Node = dict[str, Any]  # a block node, as QEMU's blockdev-add takes it


class Told(NamedTuple):
    """How QEMU is to read a disk, its subformat, and the bytes of its clusters, grains or blocks."""

    node: Node
    subformat: str
    block_size: int | None = None


MERGE_HINT = "make one whole disk of it first: qemu-img convert -O qcow2 FILE OTHER"
FOLLOW_HINT = "--follow allows that, if you trust the file; or make one whole disk: qemu-img convert"


def file_node(path: Path) -> Node:
    """The node of a plain file."""
    return {"driver": "file", "filename": str(path.absolute())}


def image_node(file: ImageFile) -> Node:
    """The node of the file `file`, for a QEMU that inherits `inherited(file)`."""
    if isinstance(file, UnpackedFile):
        return {"driver": "file", "filename": f"/proc/self/fd/{file.descriptor}"}
    return file_node(file.path)


def inherited(file: ImageFile) -> tuple[int, ...]:
    """The descriptors that QEMU needs to open `file`: that of a file without a name."""
    return (file.descriptor,) if isinstance(file, UnpackedFile) else ()


def node_name(node: Node) -> str:
    """A node as a file name that QEMU's tools take; nothing in it is probed."""
    return "json:" + json.dumps(node)


def neighbour(path: Path, name: str, what: str, *, follow: bool, beside: bool = False) -> Path:
    """The file `name` that `path` refers to, as its `what`.

    DiskError unless `follow`; with `beside` a file in the same directory needs no `follow`. Names that QEMU
    would take for a protocol (`nbd:...`), and those that cannot be shown, are refused always.
    """
    if ":" in name.partition("/")[0] or not name.isprintable() or not name:
        raise DiskError(path, f"its {what} {name!r} is no file's name", hint=MERGE_HINT)
    other = path.parent / name
    found, own = Path(os.path.realpath(other)), Path(os.path.realpath(path))  # resolve() fails at a loop
    if found == own:
        raise DiskError(path, f"its {what} {name!r} is itself")
    if follow or (beside and found.parent == own.parent):
        return other
    where = "lies outside of its directory" if beside else "is another file"
    raise DiskError(path, f"its {what} {name!r} {where}", hint=FOLLOW_HINT)


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

"""Where the parent of a differencing disk lies, and what a crafted locator must not make us read.

A locator was written on another machine, by somebody: its names are hints. Each is tried from the child's
directory on, then its last component beside the child. Without `follow`, only files in the child's own
directory are opened.
"""

from __future__ import annotations

import ntpath
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vmstamp.disk.base import Disk
from vmstamp.errors import DiskError

OpenParent = Callable[[Sequence[str]], Disk]  # names, best first -> the opened parent; DiskError

MAX_CHAIN = 64  # disks from the youngest child to the base


def refuse_parent(names: Sequence[str]) -> Disk:
    """The OpenParent of those who want a single file only."""
    raise DiskError(names[0] if names else "?", "is a parent, and may not be opened here")


def candidates(child: Path, names: Sequence[str]) -> Iterator[Path]:
    """The files that `names` may mean, best first."""
    for name in names:
        if name and "\0" not in name:
            plain = name.replace("\\", "/")
            if not ntpath.splitdrive(name)[0]:
                yield child.parent / plain
    for name in names:
        last = ntpath.basename(name)  # splits at both slashes
        if last and "\0" not in last and last not in (".", ".."):
            yield child.parent / last


def find_parent(child: Path, names: Sequence[str], follow: bool) -> Path:
    """The parent's file. DiskError when none exists, or it lies outside of the child's directory."""
    outside = None
    for path in candidates(child, names):
        if not _is_file(path):
            continue
        if follow or path.resolve().parent == child.resolve().parent:
            return path
        outside = outside or path
    if outside is not None:
        raise DiskError(
            child,
            f"its parent {str(outside)!r} lies outside of its directory",
            hint="--follow allows that, if you trust the file",
        )
    told = ", ".join(repr(name) for name in dict.fromkeys(names)) or "no name"
    raise DiskError(
        child, f"its parent is not there: looked for {told}", hint="put the parent into the same directory"
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name too long for a file system
        return False


def refuse_endless(path: Path, chain: Sequence[Path]) -> None:
    """DiskError when `path` is in `chain`, its children so far, or the chain is too long."""
    resolved = path.resolve()
    if resolved in chain:
        raise DiskError(path, "is its own parent, by a chain of differencing disks")
    if len(chain) >= MAX_CHAIN:
        raise DiskError(path, f"has more than {MAX_CHAIN} children in one chain")

"""What tells whether a disk is still the one of which a part was sent."""

from __future__ import annotations

import hashlib
import json

from vmstamp.disk.base import Disk


def fingerprint(source: Disk) -> str:
    """A digest of the disk's size, and of its files' sizes and times of modification.

    '' for a disk that lies in no file: whether that has changed nobody can tell. Where the data lies is no
    part of it: a file system may tell that otherwise once it has written everything out.
    """
    files, disk = [], source
    while disk.path is not None:
        status = disk.path.stat()
        files.append((status.st_size, status.st_mtime_ns))
        if disk.parent is None:
            break
        disk = disk.parent
    if not files:
        return ""
    return hashlib.sha256(json.dumps([source.size, files]).encode()).hexdigest()[:32]

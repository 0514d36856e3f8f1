"""What a differencing VHD says of its parent: fields of its dynamic disk header, and parent locators.

Dynamic disk header, big-endian:                    Parent locator entry:
    offset size field                                   0 4 platform code
        40   16 parent unique id                        4 4 platform data space
        56    4 parent time stamp, as of a footer       8 4 platform data length, bytes
        64  512 parent unicode name, UTF-16 BE         16 8 platform data offset
       576 8*24 parent locator entries

Codes: W2ru relative and W2ku absolute Windows path (UTF-16 LE), MacX file URL (UTF-8). The data space is in
sectors by the specification and in bytes by some makers; the length alone is used.
Spec: Virtual Hard Disk Image Format Specification 1.0, "Dynamic Disk Header Format".
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit
from uuid import UUID

from vmstamp.disk.base import SECTOR
from vmstamp.disk.file import ImageFile
from vmstamp.disk.footer import EPOCH
from vmstamp.errors import DiskError

FIELDS = struct.Struct(">16sI4x512s")  # from byte 40 of the header on
LOCATOR = struct.Struct(">4sII4xQ")
FIELDS_AT, LOCATORS_AT, LOCATOR_COUNT = 40, 576, 8
ORDER = (b"W2ru", b"W2ku", b"MacX")  # the most telling first
MAX_LENGTH = 64 * 1024  # bytes of a locator's path; Windows' longest
SPEC = "VHD 1.0, Dynamic Disk Header Format"


@dataclass(frozen=True)
class ParentReference:
    """The parent's unique id, the time stamp remembered of it, and its names, best first."""

    unique_id: UUID
    changed: datetime
    names: tuple[str, ...]


def parse_reference(header: bytes, file: ImageFile, at: int) -> ParentReference:
    """Read it from the dynamic disk header that lies at `at`. Raises DiskError."""
    unique_id, stamp, name = FIELDS.unpack_from(header, FIELDS_AT)
    found: dict[bytes, str] = {}
    for index in range(LOCATOR_COUNT):
        entry_at = LOCATORS_AT + index * LOCATOR.size
        code, _, length, offset = LOCATOR.unpack_from(header, entry_at)
        if code not in ORDER or not length:
            continue
        if length > MAX_LENGTH or offset + length > file.size:
            raise DiskError(
                file.path,
                f"a parent locator of {length} bytes at {offset} is not inside the file",
                offset=at + entry_at,
                spec=SPEC,
                hint="the file is truncated or damaged; copy it again from its source",
            )
        found.setdefault(code, _decode(code, file.read(offset, length, what="a parent locator")))
    plain = name.decode("utf-16-be", errors="replace").partition("\0")[0]
    names = [found[code] for code in ORDER if code in found] + [plain]
    return ParentReference(
        UUID(bytes=unique_id), EPOCH + timedelta(seconds=stamp), tuple(filter(None, dict.fromkeys(names)))
    )


def _decode(code: bytes, data: bytes) -> str:
    """The path that a locator's data means; '' when it means none."""
    if code != b"MacX":
        return data.decode("utf-16-le", errors="replace").rstrip("\0")
    try:
        return unquote(urlsplit(data.decode("utf-8", errors="replace").rstrip("\0")).path)
    except ValueError:  # no URL: brackets that do not hold an address
        return ""


def make_reference(
    unique_id: UUID, changed: datetime, parent: Path, child: Path, data_offset: int
) -> tuple[bytes, bytes]:
    """(The header's bytes from 40 on, the locators' data for `data_offset`, in whole sectors).

    DiskError when the parent's name is no text, so that no locator can tell it.
    """
    absolute = parent.resolve()
    try:
        str(absolute).encode()
    except UnicodeEncodeError as error:
        raise DiskError(
            child,
            f"its parent's name {str(absolute)!r} is not UTF-8, and cannot be written into it",
            spec=SPEC,
            hint="rename the parent, or its directory",
        ) from error
    relative = os.path.relpath(absolute, child.absolute().parent.resolve()).replace("/", "\\")
    values = {
        b"W2ru": (relative if "\\" in relative else f".\\{relative}").encode("utf-16-le"),
        b"W2ku": str(absolute).encode("utf-16-le"),
        b"MacX": f"file://{quote(str(absolute))}".encode(),
    }
    entries, data = b"", b""
    for code, value in values.items():
        space = -(-len(value) // SECTOR) * SECTOR
        entries += LOCATOR.pack(code, space // SECTOR, len(value), data_offset + len(data))
        data += value.ljust(space, b"\0")
    name = parent.name.encode("utf-16-be")[:510]
    seconds = max(0, int((changed - EPOCH).total_seconds()))
    return FIELDS.pack(unique_id.bytes, seconds, name) + entries, data

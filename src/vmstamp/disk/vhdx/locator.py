"""The parent locator of a differencing VHDX: pairs of strings that tell which parent, and where.

Only the keys that the specification names are kept: any number of entries may point to the same bytes, so
keeping all of them would cost gigabytes.

    offset size field
         0   16 locator type: VHDX's own
        16    2 reserved
        18    2 key-value count
        20 12*n entries: key offset u32, value offset u32 (from the locator), key length u16, value length u16

Little-endian; strings are UTF-16. Spec: [MS-VHDX] 2.6.2.6.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from uuid import UUID

from vmstamp.errors import DiskError

LOCATOR_TYPE = UUID("b04aefb7-d19e-4a81-b789-25b8e9445913")
HEADER = struct.Struct("<16s2xH")
ENTRY = struct.Struct("<IIHH")
SPEC = "[MS-VHDX] 2.6.2.6"
MAX_SIZE = 1024 * 1024  # bytes of a locator: the metadata region's usual size
LINKAGES = ("parent_linkage", "parent_linkage2")
PATHS = ("relative_path", "volume_path", "absolute_win32_path")
KEYS = {key.encode("utf-16-le"): key for key in LINKAGES + PATHS}
MAX_KEY = max(map(len, KEYS))  # bytes


def parse_locator(data: bytes, path: Path, offset: int) -> dict[str, str]:
    """The pairs of KEYS in the locator `data`, which lies at `offset` of `path`. Raises DiskError."""
    if len(data) < HEADER.size:
        raise DiskError(path, f"a parent locator of {len(data)} bytes is too short", offset=offset, spec=SPEC)
    kind, count = HEADER.unpack_from(data)
    if UUID(bytes_le=kind) != LOCATOR_TYPE:
        raise DiskError(
            path, f"parent locator type {UUID(bytes_le=kind)} is unknown", offset=offset, spec=SPEC
        )
    if HEADER.size + count * ENTRY.size > len(data):
        raise DiskError(
            path,
            f"a parent locator of {len(data)} bytes cannot hold {count} entries",
            offset=offset,
            spec=SPEC,
        )
    pairs: dict[str, str] = {}
    for index in range(count):
        at = HEADER.size + index * ENTRY.size
        key_at, value_at, key_length, value_length = ENTRY.unpack_from(data, at)
        if max(key_at + key_length, value_at + value_length) > len(data):
            raise DiskError(
                path,
                f"entry {index} of the parent locator reaches behind its end",
                offset=offset + at,
                spec=SPEC,
            )
        key = KEYS.get(data[key_at : key_at + min(key_length, MAX_KEY + 1)])
        if key is not None and key not in pairs:
            pairs[key] = data[value_at : value_at + value_length].decode("utf-16-le", errors="replace")
    return pairs


def make_locator(pairs: Mapping[str, str]) -> bytes:
    """A locator with `pairs`."""
    table, strings = b"", b""
    start = HEADER.size + len(pairs) * ENTRY.size
    for key, value in pairs.items():
        key_bytes, value_bytes = key.encode("utf-16-le"), value.encode("utf-16-le")
        at = start + len(strings)
        table += ENTRY.pack(at, at + len(key_bytes), len(key_bytes), len(value_bytes))
        strings += key_bytes + value_bytes
    return HEADER.pack(LOCATOR_TYPE.bytes_le, len(pairs)) + table + strings

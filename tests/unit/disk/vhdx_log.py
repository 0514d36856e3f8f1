"""VHDX log entries, made for tests by [MS-VHDX] 2.3, and files whose log is not empty."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from google_crc32c import value as crc32c

KIB, MIB = 1024, 1024 * 1024
GUID = UUID("c0ffee00-1234-4321-8765-0123456789ab")
LOG_OFFSET, LOG_LENGTH = MIB, MIB  # where our writer puts it

Write = tuple[int, bytes | int]  # file offset; 4 KiB of data, or how many zeros


def log_entry(sequence: int, tail: int, writes: Sequence[Write], file_size: int, guid: UUID = GUID) -> bytes:
    """A log entry that does `writes`."""
    descriptors, sectors = b"", b""
    for offset, what in writes:
        if isinstance(what, int):
            descriptors += struct.pack("<4sIQQQ", b"zero", 0, what, offset, sequence)
            continue
        assert len(what) == 4096
        descriptors += struct.pack("<4s4s8sQQ", b"desc", what[-4:], what[:8], offset, sequence)
        sectors += struct.pack("<4sI", b"data", sequence >> 32) + what[8:-4]
        sectors += struct.pack("<I", sequence & 0xFFFFFFFF)
    body = -(-(64 + len(descriptors)) // 4096) * 4096
    length = body + len(sectors)
    head = struct.pack("<4sIIIQII16sQQ", b"loge", 0, length, tail, sequence, len(writes), 0, guid.bytes_le,
                       file_size, file_size)  # fmt: skip
    entry = (head + descriptors).ljust(body, b"\0") + sectors
    return entry[:4] + struct.pack("<I", crc32c(entry)) + entry[8:]


def put_log(path: Path, entries: Sequence[tuple[int, bytes]], guid: UUID = GUID) -> None:
    """Write `entries`, by their place in the log, which is a circle, and let both headers name the log."""
    with path.open("r+b") as file:
        for at, entry in entries:
            first = min(len(entry), LOG_LENGTH - at)
            file.seek(LOG_OFFSET + at)
            file.write(entry[:first])
            file.seek(LOG_OFFSET)
            file.write(entry[first:])
        for header_at in (64 * KIB, 128 * KIB):
            file.seek(header_at)
            header = bytearray(file.read(4 * KIB))
            header[48:64] = guid.bytes_le
            header[4:8] = bytes(4)
            header[4:8] = struct.pack("<I", crc32c(bytes(header)))
            file.seek(header_at)
            file.write(header)

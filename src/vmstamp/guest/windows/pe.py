"""What a Windows program's headers tell: the libraries that it is linked with, its checksum, its signature.

Little-endian. The PE header's offset is at 0x3C; from it: 6 sections u16, 20 size of the optional header u16,
24 the optional header (magic 0x10B or 0x20B, its data directories at 96 or 112, the second is the imports),
then the sections of 40 bytes (8 size in memory, 12 address, 16 size and 20 offset in the file). An import is
20 bytes, 12 the address of the library's name; zeros end them.

The optional header has the file's checksum at 64: the sum of the file's 16-bit words, that field left out,
with the carries added in, plus the file's length. Its fifth data directory has the place and length of the
signatures in the file. The loader compares the checksums of all drivers.

Spec: Microsoft PE format, "Optional Header", "Section Table", "The .idata Section", "The Attribute
Certificate Table"; ImageHlp's CheckSumMappedFile.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from vmstamp.guest.files.fs import Files

HEAD = 4096  # bytes: what a PE file's headers and section table take at most here
CHECKSUM = 64  # in the optional header
SECURITY = 4  # the data directory of signatures
DIRECTORIES = {0x10B: 96, 0x20B: 112}
MAX_IMPORTS = 128
MAX_NAME = 128  # bytes

Sections = list[tuple[int, int, int]]  # address, length and offset in the file


def find_imports(files: Files, path: str) -> tuple[str, ...]:
    """The names of the libraries; () when the file is no program, or its table leads nowhere."""
    head = files.read_part(path, 0, HEAD)
    try:
        return tuple(_imports(files, path, head))
    except struct.error:  # cut off
        return ()


@dataclass(frozen=True)
class Seal:
    """What tells whether a program is whole: checksums (`told` 0: none) and the signatures' span, if any."""

    told: int
    computed: int
    signature: tuple[int, int] | None  # first byte and length
    size: int

    @property
    def is_cut(self) -> bool:
        """The signatures lie behind the end of the file."""
        return self.signature is not None and sum(self.signature) > self.size


def read_seal(data: bytes) -> Seal | None:
    """The seal of a whole program; None when it is none."""
    try:
        start = struct.unpack_from("<I", data, 0x3C)[0]
        directories = DIRECTORIES.get(struct.unpack_from("<H", data, start + 24)[0])
        if data[:2] != b"MZ" or data[start : start + 4] != b"PE\0\0" or directories is None:
            return None
        told = struct.unpack_from("<I", data, start + 24 + CHECKSUM)[0]
        optional = struct.unpack_from("<H", data, start + 20)[0]
        place, length = 0, 0
        if optional >= directories + 8 * (SECURITY + 1):
            place, length = struct.unpack_from("<II", data, start + 24 + directories + 8 * SECURITY)
    except struct.error:  # cut off
        return None
    computed = _checksum(data, start + 24 + CHECKSUM)
    return Seal(told, computed, (place, length) if place and length else None, len(data))


def _checksum(data: bytes, field: int) -> int:
    words = array("H", data + bytes(len(data) % 2))
    if sys.byteorder == "big":
        words.byteswap()
    total = sum(words) - sum(array("H", data[field : field + 4])) if field % 2 == 0 else sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total + len(data)


def _imports(files: Files, path: str, head: bytes) -> Iterator[str]:
    start = struct.unpack_from("<I", head, 0x3C)[0]
    if head[:2] != b"MZ" or head[start : start + 4] != b"PE\0\0":
        return
    count, optional = struct.unpack_from("<6xH12xH", head, start)
    directories = DIRECTORIES.get(struct.unpack_from("<H", head, start + 24)[0])
    if directories is None or optional < directories + 16:
        return
    address = struct.unpack_from("<I", head, start + 24 + directories + 8)[0]
    sections = _sections(head, start + 24 + optional, count)
    table = _at(sections, address) if address else None
    for index in range(MAX_IMPORTS if table is not None else 0):
        entry = files.read_part(path, (table or 0) + index * 20, 20)
        name = struct.unpack_from("<12xI", entry)[0]
        place = _at(sections, name) if name else None
        if place is None:
            return
        yield files.read_part(path, place, MAX_NAME).split(b"\0", 1)[0].decode("latin-1")


def _sections(head: bytes, start: int, count: int) -> Sections:
    found = (struct.unpack_from("<8xIIII", head, start + 40 * index) for index in range(min(count, 96)))
    return [(address, max(size, raw), offset) for size, address, raw, offset in found]


def _at(sections: Sections, address: int) -> int | None:
    for start, length, offset in sections:
        if start <= address < start + length:
            return offset + address - start
    return None

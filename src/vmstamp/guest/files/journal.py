"""systemd's journal files, read by their own index: the entries that have a field of a given value.

Only what needs no hashing and no unpacking is read: the list of fields, the values of one field, and the
entries of one value. Values that are packed (longer than 512 bytes as journald writes them) are left out.

All little-endian, offsets from the file's start; an object begins at a multiple of 8:

    header    0x00 8 'LPKSHHRH'  0x0C u32 incompatible flags  0x38 16 boot id of the last entry
              0x58 u64 header size  0x78 u64 field hash table  0x80 u64 its size in bytes  0xC0 u64 last time
    object    0x00 u8 type  0x01 u8 packed, by which way  0x08 u64 size
    data      0x20 u64 next value of the field  0x28 u64 entry  0x30 u64 entry array  0x40 or 0x48 payload
    field     0x18 u64 next in the bucket  0x20 u64 first value  0x28 payload
    entry     0x18 u64 microseconds since 1970  0x28 16 boot id  0x40 its data objects
    array     0x10 u64 next array  0x18 entries

The last three lists hold u64 offsets (an entry's: with a hash behind each), in a compact file u32.

Spec: systemd docs/JOURNAL_FILE_FORMAT.md; journal-def.h
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from vmstamp.errors import GuestError
from vmstamp.guest.files.volume import Node

SIGNATURE = b"LPKSHHRH"
HEADER_LENGTH = 0xD0  # what every version has
COMPACT = 16  # HEADER_INCOMPATIBLE_COMPACT
KNOWN_FLAGS = 31  # XZ, LZ4, keyed hash, ZSTD, compact
DATA, FIELD, ENTRY, ENTRY_ARRAY = 1, 2, 3, 6  # object types

OBJECT_LIMIT = 64 * 1024  # bytes of a field or value that is looked at
BUCKET_COUNT = 4096  # of the field hash table; journald makes 1023
CHAIN_LENGTH = 20_000  # objects of one chain: values of a field, entries of a value
ITEM_COUNT = 1024  # fields of one entry
PAGE = 64 * 1024
PAGE_COUNT = 128  # pages kept


@dataclass(frozen=True)
class Entry:
    """An entry's fields, of two values of one field the last; `time` in microseconds since 1970."""

    boot_id: bytes
    time: int
    fields: dict[str, str]


class Journal:
    """One file. `boot_id` and `time` are those of its last entry. Not thread-safe.

    Every method raises GuestError where the file is damaged.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._pages: dict[int, bytes] = {}
        header = self._read(0, HEADER_LENGTH)
        (flags,) = struct.unpack_from("<I", header, 0x0C)
        if header[:8] != SIGNATURE:
            raise GuestError("no journal of systemd's")
        if flags & ~KNOWN_FLAGS:
            raise GuestError(f"a journal with features {flags & ~KNOWN_FLAGS:#x}, which are not read")
        self._compact = bool(flags & COMPACT)
        self.boot_id = header[0x38:0x48]
        self._fields, self._fields_size = struct.unpack_from("<QQ", header, 0x78)
        (self.time,) = struct.unpack_from("<Q", header, 0xC0)

    def entries(self, field: str, value: str, boot_id: bytes) -> Iterator[Entry]:
        """The entries of one boot whose field has the value, in the order in which they were written."""
        wanted = f"{field}={value}".encode()
        for offset in self._values(field.encode()):
            if self._payload(offset, DATA) == wanted:
                for entry in self._entries_of(offset):
                    head = self._object(entry, ENTRY, 0x40)
                    if head[0x28:0x38] == boot_id:
                        yield self._entry(entry, head)

    def _values(self, field: bytes) -> Iterator[int]:
        """The data objects of a field."""
        if self._fields_size > BUCKET_COUNT * 16:
            raise GuestError(f"a journal with {self._fields_size} bytes of field hash table")
        table = self._read(self._fields, self._fields_size)
        for head, _ in struct.iter_unpack("<QQ", table[: len(table) // 16 * 16]):
            for offset in self._chain(head, FIELD, 0x18):
                if self._payload(offset, FIELD) == field:
                    (first,) = struct.unpack_from("<Q", self._object(offset, FIELD, 0x28), 0x20)
                    yield from self._chain(first, DATA, 0x20)
                    return

    def _chain(self, offset: int, type: int, next: int) -> Iterator[int]:
        for _ in range(CHAIN_LENGTH):
            if not offset:
                return
            yield offset
            (offset,) = struct.unpack_from("<Q", self._object(offset, type, next + 8), next)
        raise GuestError("a chain of the journal does not end")

    def _entries_of(self, data: int) -> Iterator[int]:
        """The offsets of a value's entries: the first stands in its object, the rest in arrays."""
        first, array = struct.unpack_from("<QQ", self._object(data, DATA, 0x40), 0x28)
        if first:
            yield first
        width, form = (4, "<I") if self._compact else (8, "<Q")
        left = CHAIN_LENGTH
        for offset in self._chain(array, ENTRY_ARRAY, 0x10):
            size = min(self._size(offset) - 0x18, left * width)
            for (entry,) in struct.iter_unpack(form, self._read(offset + 0x18, size // width * width)):
                if not entry:
                    return
                yield entry
            left -= size // width
            if left <= 0:
                return

    def _entry(self, offset: int, head: bytes) -> Entry:
        width, form = (4, "<I") if self._compact else (16, "<Q8x")
        size = min(self._size(offset) - 0x40, ITEM_COUNT * width) // width * width
        fields = {}
        for (item,) in struct.iter_unpack(form, self._read(offset + 0x40, size)):
            name, equals, value = self._payload(item, DATA).partition(b"=")
            if equals:
                fields[name.decode("ascii", "replace")] = value.decode("utf-8", "replace")
        (time,) = struct.unpack_from("<Q", head, 0x18)
        return Entry(head[0x28:0x38], time, fields)

    def _payload(self, offset: int, type: int) -> bytes:
        """What a field or data object holds; b'' when it is packed or long."""
        start = 0x28 if type == FIELD else 0x48 if self._compact else 0x40
        head = self._object(offset, type, start)
        size = self._size(offset) - start
        return self._read(offset + start, size) if not head[1] and size <= OBJECT_LIMIT else b""

    def _object(self, offset: int, type: int, length: int) -> bytes:
        """The first `length` bytes of the object."""
        head = self._read(offset, length)
        if head[0] != type or offset % 8 or self._size(offset) < length:
            raise GuestError(f"no object of type {type} at byte {offset} of the journal")
        return head

    def _size(self, offset: int) -> int:
        size: int = struct.unpack("<Q", self._read(offset + 8, 8))[0]
        return size

    def _read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes."""
        if offset + length > self._node.size:
            raise GuestError(f"the journal ends before byte {offset + length}")
        parts = []
        for page in range(offset // PAGE, (offset + length - 1) // PAGE + 1):
            begin = max(offset - page * PAGE, 0)
            parts.append(self._page(page)[begin : offset + length - page * PAGE])
        return b"".join(parts)

    def _page(self, number: int) -> bytes:
        if number not in self._pages:
            if len(self._pages) >= PAGE_COUNT:
                self._pages.clear()
            self._pages[number] = self._node.read(number * PAGE, PAGE)
        return self._pages[number]

"""A registry hive, read by path: only the cells on the way to what is asked for.

Little-endian. Base block, 4096 bytes:       Cell at 4096 + offset: size i32 (negative: in use), then one of
    offset size field                            'nk' key: 2 flags u16, 20 subkeys u32, 28 their list u32,
         0    4 'regf'                                36 values u32, 40 their list u32, 72 name length u16,
         4    4 primary sequence number               76 name
         8    4 secondary sequence number        'vk' value: 2 name length u16, 4 size u32 (bit 31: the data
        20    4 major, 24 4 minor version             is in the next field), 8 data u32, 12 type u32,
        36    4 offset of the root key's cell         16 flags u16, 20 name
        40    4 size of all bins                 'lf' 'lh' list: 2 count u16, then (key u32, hint u32) each
       508    4 checksum (XOR of 127 u32)        'li' 'ri' list: 2 count u16, then (key or list u32) each
                                                 'db' big data: 2 segments u16, 4 list of segments u32
A name is Latin-1 when its flag (0x20 of a key, 0x1 of a value) is set, else UTF-16.
Changes that wait in .LOG1 and .LOG2 are not applied; `notes` says when there are some.

Spec: msuhanov/regf "Windows registry file format specification".
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from vmstamp.errors import GuestError
from vmstamp.guest.files.volume import Node

BASE_BLOCK = 4096
MAX_HIVE = 1 << 31  # bytes, as in Windows
MAX_CELL = 1024 * 1024
MAX_DATA = 1024 * 1024  # of one value, as the registry's own recommendation for a REG_BINARY
MAX_SUBKEYS = 100_000
MAX_VALUES = 20_000
MAX_DEPTH = 512  # as in Windows
MAX_SHOWN = 400  # characters of a place
BUDGET = 80_000  # cells, and one more for each 512 bytes: a crafted hive must not take for ever
CHUNK = 16 * 1024
CACHED_CHUNKS = 64
BIG_DATA_SEGMENT = 16_344

KEY_NAME_LATIN = 0x20
VALUE_NAME_LATIN = 0x1
INLINE = 0x80000000
NOTHING = 0xFFFFFFFF

KINDS = {
    0: "REG_NONE",
    1: "REG_SZ",
    2: "REG_EXPAND_SZ",
    3: "REG_BINARY",
    4: "REG_DWORD",
    5: "REG_DWORD_BIG_ENDIAN",
    6: "REG_LINK",
    7: "REG_MULTI_SZ",
    11: "REG_QWORD",
}
Data = int | str | bytes | tuple[str, ...]


@dataclass(frozen=True)
class Value:
    """`data` is int, str, a tuple of str or bytes, as `kind` says; bytes where they do not fit it."""

    name: str
    kind: str
    data: Data = field(repr=False)


class Hive:
    """An open hive. Not thread-safe; every method raises GuestError for a damaged one.

    `path` is the hive's file in the guest, `name` how its place is shown (HKLM\\SYSTEM).
    """

    def __init__(self, node: Node, path: str, name: str) -> None:
        self.path = path
        self.name = name
        self._node = node
        self._chunks: OrderedDict[int, bytes] = OrderedDict()
        self._left = BUDGET
        head = node.read(0, BASE_BLOCK)
        if len(head) < BASE_BLOCK or head[:4] != b"regf":
            raise self.damaged("it does not begin with a base block")
        if not BASE_BLOCK < node.size <= MAX_HIVE:
            raise self.damaged(f"it has {node.size} bytes")
        self.notes = tuple(_notes(head))
        self.root = self.key_at(struct.unpack_from("<I", head, 36)[0], None)

    def damaged(self, why: str) -> GuestError:
        return GuestError(f"{self.path}: the registry hive is damaged: {why}")

    def find(self, path: str) -> Key | None:
        """The key at a path with backslashes, without regard to case; None when it is absent."""
        names = [name for name in path.split("\\") if name]
        key: Key | None = self.root
        for name in names[:MAX_DEPTH]:
            key = key.subkey(name) if key is not None else None
        return key

    def value(self, path: str, name: str) -> Value | None:
        """The value `name` of the key at `path`; None when either is absent."""
        key = self.find(path)
        return key.value(name) if key is not None else None

    def place(self, path: str, name: str = "") -> str:
        r"""How a key or value is shown: HKLM\SYSTEM\Select\Current."""
        place = "\\".join(part for part in (self.name, path, name) if part)
        return printable(place, MAX_SHOWN)

    def cell(self, offset: int) -> bytes:
        """The content of the cell in use at `offset`, without its size."""
        raw = self._read(offset, 4)
        size = -struct.unpack("<i", raw)[0] if len(raw) == 4 else 0
        self._left -= 1 + max(0, size) // 512
        if self._left < 0:
            raise self.damaged("too much of it is read: its cells may form a loop")
        if not 8 <= size <= MAX_CELL or offset % 8:
            raise self.damaged(f"no cell in use at byte {BASE_BLOCK + offset}")
        content = self._read(offset + 4, size - 4)
        if len(content) != size - 4:
            raise self.damaged(f"the cell at byte {BASE_BLOCK + offset} ends behind the hive's end")
        return content

    def _read(self, offset: int, length: int) -> bytes:
        start, end = BASE_BLOCK + offset, min(BASE_BLOCK + offset + length, self._node.size)
        if end <= start:
            return b""
        first, last = start // CHUNK, (end - 1) // CHUNK
        data = b"".join(self._chunk(index) for index in range(first, last + 1))
        return data[start - first * CHUNK : end - first * CHUNK]

    def _chunk(self, index: int) -> bytes:
        chunk = self._chunks.get(index)
        if chunk is None:
            chunk = self._node.read(index * CHUNK, CHUNK)
            self._chunks[index] = chunk
            if len(self._chunks) > CACHED_CHUNKS:
                self._chunks.popitem(last=False)
        else:
            self._chunks.move_to_end(index)
        return chunk

    def key_at(self, offset: int, parent: str | None) -> Key:
        """The key in the cell at `offset`; `parent` is the path of the one above it, None for the root."""
        content = self.cell(offset)
        if len(content) < 76 or content[:2] != b"nk":
            raise self.damaged(f"no key at byte {BASE_BLOCK + offset}")
        flags = struct.unpack_from("<H", content, 2)[0]
        subkeys, values = struct.unpack_from("<I", content, 20)[0], struct.unpack_from("<I", content, 36)[0]
        length = struct.unpack_from("<H", content, 72)[0]
        name = _name(content[76 : 76 + length], bool(flags & KEY_NAME_LATIN))
        if subkeys > MAX_SUBKEYS or values > MAX_VALUES:
            raise self.damaged(f"a key at byte {BASE_BLOCK + offset} has {subkeys} subkeys, {values} values")
        lists = struct.unpack_from("<I", content, 28)[0], struct.unpack_from("<I", content, 40)[0]
        path = "" if parent is None else f"{parent}\\{name}" if parent else name
        return Key(self, path, name, subkeys, values, *lists)

    def subkey_offsets(self, list_offset: int, wanted: str | None, *, nested: bool = False) -> Iterator[int]:
        """The offsets of the keys in a list of subkeys; with `wanted` only of those that may be it."""
        content = self.cell(list_offset)
        kind, count = content[:2], struct.unpack_from("<H", content, 2)[0]
        width = 8 if kind in (b"lf", b"lh") else 4
        if kind not in (b"lf", b"lh", b"li", b"ri") or 4 + count * width > len(content):
            raise self.damaged(f"no list of subkeys at byte {BASE_BLOCK + list_offset}")
        if kind == b"ri" and nested:
            raise self.damaged("a list of lists of subkeys lies in another")
        hint = _hash(wanted) if wanted is not None and kind == b"lh" else None
        for index in range(count):
            offset = struct.unpack_from("<I", content, 4 + index * width)[0]
            if kind == b"ri":
                yield from self.subkey_offsets(offset, wanted, nested=True)
            elif hint is None or hint == struct.unpack_from("<I", content, 8 + index * width)[0]:
                yield offset

    def value_at(self, offset: int, wanted: str | None) -> Value | None:
        """The value in the cell at `offset`; None when its name is not `wanted`."""
        content = self.cell(offset)
        if len(content) < 20 or content[:2] != b"vk":
            raise self.damaged(f"no value at byte {BASE_BLOCK + offset}")
        length, size, data_offset, kind, flags = struct.unpack_from("<HIIIH", content, 2)
        name = _name(content[20 : 20 + length], bool(flags & VALUE_NAME_LATIN))
        if wanted is not None and name.casefold() != wanted.casefold():
            return None
        if size & INLINE:
            data = content[8 : 8 + min(size & ~INLINE, 4)]
        else:
            data = self._data(data_offset, size) if size else b""
        return Value(name, KINDS.get(kind, f"type {kind:#x}"), _decode(kind, data))

    def _data(self, offset: int, size: int) -> bytes:
        if size > MAX_DATA:
            raise self.damaged(f"a value at byte {BASE_BLOCK + offset} has {size} bytes, {MAX_DATA} are read")
        content = self.cell(offset)
        if size > BIG_DATA_SEGMENT and content[:2] == b"db":
            count, list_offset = struct.unpack_from("<HI", content, 2)
            offsets = self.cell(list_offset)
            if count * 4 > len(offsets) or count > MAX_DATA // BIG_DATA_SEGMENT + 1:
                raise self.damaged(f"a value at byte {BASE_BLOCK + offset} has {count} segments")
            segments = struct.unpack_from(f"<{count}I", offsets)
            content = b"".join(self.cell(segment)[:BIG_DATA_SEGMENT] for segment in segments)
        if len(content) < size:
            raise self.damaged(f"a value at byte {BASE_BLOCK + offset} has {len(content)} of {size} bytes")
        return content[:size]


@dataclass(frozen=True)
class Key:
    """A key of a hive; `path` is below the hive's root. Its subkeys and values are read when asked for."""

    hive: Hive = field(repr=False)
    path: str
    name: str
    subkey_count: int
    value_count: int
    _subkeys: int
    _values: int

    def subkeys(self) -> list[Key]:
        if not self.subkey_count or self._subkeys == NOTHING:
            return []
        offsets = self.hive.subkey_offsets(self._subkeys, None)
        return [self.hive.key_at(offset, self.path) for offset in offsets]

    def subkey(self, name: str) -> Key | None:
        if not self.subkey_count or self._subkeys == NOTHING:
            return None
        folded = name.casefold()
        for offset in self.hive.subkey_offsets(self._subkeys, name):
            key = self.hive.key_at(offset, self.path)
            if key.name.casefold() == folded:
                return key
        return None

    def values(self) -> list[Value]:
        return [v for offset in self._value_offsets() if (v := self.hive.value_at(offset, None)) is not None]

    def value(self, name: str) -> Value | None:
        for offset in self._value_offsets():
            value = self.hive.value_at(offset, name)
            if value is not None:
                return value
        return None

    def _value_offsets(self) -> tuple[int, ...]:
        if not self.value_count or self._values == NOTHING:
            return ()
        content = self.hive.cell(self._values)
        if len(content) < self.value_count * 4:
            raise self.hive.damaged(f"the list of values of {self.path or 'the root'} is too short")
        return struct.unpack_from(f"<{self.value_count}I", content)


def printable(text: str, length: int) -> str:
    """A guest's text for people: no control characters, at most `length` characters."""
    shown = "".join(char if char.isprintable() else "?" for char in text[:length])
    return f"{shown}..." if len(text) > length else shown


def _notes(head: bytes) -> Iterator[str]:
    primary, secondary = struct.unpack_from("<II", head, 4)
    if primary != secondary:
        yield f"its sequence numbers {primary} and {secondary} differ: changes wait in its log, not read here"
    computed = 0
    for word in struct.unpack_from("<127I", head):
        computed ^= word
    computed = {0xFFFFFFFF: 0xFFFFFFFE, 0: 1}.get(computed, computed)
    found = struct.unpack_from("<I", head, 508)[0]
    if found != computed:
        yield f"its checksum at byte 508 is {found:#010x}, computed {computed:#010x}"


def _hash(name: str) -> int:
    """The hint of an 'lh' list: over the upper-case UTF-16 units."""
    value = 0
    for (unit,) in struct.iter_unpack("<H", name.upper().encode("utf-16-le", "surrogatepass")):
        value = (value * 37 + unit) & 0xFFFFFFFF
    return value


def _name(raw: bytes, latin: bool) -> str:
    return raw.decode("latin-1") if latin else raw.decode("utf-16-le", "replace")


def _decode(kind: int, data: bytes) -> Data:
    if kind == 4 and len(data) == 4:
        return int.from_bytes(data, "little")
    if kind == 5 and len(data) == 4:
        return int.from_bytes(data, "big")
    if kind == 11 and len(data) == 8:
        return int.from_bytes(data, "little")
    if kind in (1, 2):
        return data.decode("utf-16-le", "replace").split("\0", 1)[0]
    if kind == 7:
        return tuple(part for part in data.decode("utf-16-le", "replace").split("\0") if part)
    return data

"""Registry hives for tests, written from a mapping. The layout is that of `vmstamp.guest.windows.hive`."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

Data = int | str | bytes | tuple[str, ...]
Tree = Mapping[str, Mapping[str, Data]]  # key path with backslashes -> value name -> data

SEGMENT = 16_344
MAX_INLINE_LIST = 500  # subkeys of one 'lh' list; more go into several under an 'ri'


@dataclass
class _Key:
    name: str
    values: dict[str, Data] = field(default_factory=dict)
    children: dict[str, _Key] = field(default_factory=dict)


class _Writer:
    def __init__(self, lists: bytes) -> None:
        self.bins = bytearray(b"hbin" + struct.pack("<II", 0, 0) + bytes(20))
        self.lists = lists
        descriptor = struct.pack("<BBHIIII", 1, 0, 0x8000, 0, 0, 0, 0)  # self-relative, nothing in it
        here = len(self.bins)
        self.security = self.cell(struct.pack("<2sHIIII", b"sk", 0, here, here, 1, 20) + descriptor)

    def cell(self, content: bytes) -> int:
        size = -(-(len(content) + 4) // 8) * 8
        offset = len(self.bins)
        self.bins += struct.pack("<i", -size) + content.ljust(size - 4, b"\0")
        return offset

    def key(self, key: _Key, root: bool) -> int:
        children = [
            self.key(key.children[name], False)
            for name in sorted(key.children, key=lambda name: name.upper())
        ]
        names = sorted((child.name for child in key.children.values()), key=lambda name: name.upper())
        subkeys = self.subkeys(list(zip(children, names, strict=True))) if children else 0xFFFFFFFF
        values = [self.value(name, data) for name, data in key.values.items()]
        value_list = self.cell(struct.pack(f"<{len(values)}I", *values)) if values else 0xFFFFFFFF
        latin = all(ord(char) < 256 for char in key.name)
        name = key.name.encode("latin-1" if latin else "utf-16-le")
        flags = (0x20 if latin else 0) | (0x0C if root else 0)
        head = struct.pack("<2sHQIIIIIIIIII", b"nk", flags, 0, 0, 0xFFFFFFFF, len(children), 0, subkeys,
                           0xFFFFFFFF, len(values), value_list, self.security, 0xFFFFFFFF)  # fmt: skip
        offset = self.cell(head.ljust(72, b"\0") + struct.pack("<HH", len(name), 0) + name)
        for child in children:
            struct.pack_into("<I", self.bins, child + 4 + 16, offset)
        return offset

    def subkeys(self, children: list[tuple[int, str]]) -> int:
        if len(children) > MAX_INLINE_LIST:
            parts = range(0, len(children), MAX_INLINE_LIST)
            lists = [self.subkeys(children[start : start + MAX_INLINE_LIST]) for start in parts]
            return self.cell(b"ri" + struct.pack(f"<H{len(lists)}I", len(lists), *lists))
        body = b"".join(
            struct.pack("<I", offset) + (b"" if self.lists == b"li" else struct.pack("<I", self.hint(name)))
            for offset, name in children
        )
        return self.cell(self.lists + struct.pack("<H", len(children)) + body)

    def hint(self, name: str) -> int:
        if self.lists == b"lf":
            return int.from_bytes(name[:4].encode("latin-1", "replace").ljust(4, b"\0"), "little")
        value = 0
        for (unit,) in struct.iter_unpack("<H", name.upper().encode("utf-16-le")):
            value = (value * 37 + unit) & 0xFFFFFFFF
        return value

    def value(self, name: str, data: Data) -> int:
        kind, raw = _encode(data)
        if len(raw) <= 4:
            size, place = len(raw) | 0x80000000, int.from_bytes(raw.ljust(4, b"\0"), "little")
        elif len(raw) > SEGMENT:
            segments = [self.cell(raw[at : at + SEGMENT]) for at in range(0, len(raw), SEGMENT)]
            listed = self.cell(struct.pack(f"<{len(segments)}I", *segments))
            size, place = len(raw), self.cell(b"db" + struct.pack("<HI", len(segments), listed))
        else:
            size, place = len(raw), self.cell(raw)
        encoded = name.encode("latin-1")
        return self.cell(struct.pack("<2sHIIIHH", b"vk", len(encoded), size, place, kind, 1, 0) + encoded)


def _encode(data: Data) -> tuple[int, bytes]:
    if isinstance(data, int):
        return 4, data.to_bytes(4, "little")
    if isinstance(data, str):
        return 2 if "%" in data else 1, (data + "\0").encode("utf-16-le")
    if isinstance(data, bytes):
        return 3, data
    return 7, ("".join(f"{text}\0" for text in data) + "\0").encode("utf-16-le")


def build_hive(tree: Tree, *, lists: bytes = b"lh", sequences: tuple[int, int] = (1, 1)) -> bytes:
    """A hive with the keys and values of `tree`; `lists` is how subkeys are listed: lh, lf or li."""
    root = _Key("ROOT")
    for path, values in tree.items():
        key = root
        for part in path.split("\\") if path else ():
            key = key.children.setdefault(part.lower(), _Key(part))
        key.values.update(values)
    writer = _Writer(lists)
    offset = writer.key(root, True)
    free = -(len(writer.bins) + 8) % 4096 + 8
    bins = bytes(writer.bins) + struct.pack("<i", free) + bytes(free - 4)
    bins = bins[:8] + struct.pack("<I", len(bins)) + bins[12:]
    head = struct.pack("<4sIIQIIIIIII", b"regf", *sequences, 0, 1, 5, 0, 1, offset, len(bins), 1)
    head = head.ljust(508, b"\0")
    checksum = 0
    for word in struct.unpack("<127I", head):
        checksum ^= word
    return (head + struct.pack("<I", checksum)).ljust(4096, b"\0") + bins

"""btrfs on one device, read: its subvolumes, directories and files.

Everything lies in B-trees of nodes at logical addresses; the tree of chunks gives their places on the disk
(its first chunks stand in the superblock), the tree of roots the other trees, one for each subvolume. Items
are ordered by key (object, type, offset). All numbers are little-endian.

    superblock at 65536: 0x00 checksum, 0x50 tree of roots, 0x58 tree of chunks, 0x60 log, 0x88 u64 devices,
        0x90 u32 sector, 0x94 u32 node, 0xA0 u32 length of the chunks at 0x32B, 0xBC u64 incompatible
        features, 0xC4 u16 kind of checksum, 0xC9 u64 number of this device
    node: 0x00 checksum, 0x30 its address, 0x60 u32 items, 0x64 u8 level, 0x65 items
        level 0: key, u32 offset from byte 0x65, u32 length; above: key, u64 address, u64 generation

Copies (DUP, RAID1 on one device) are read until one has the right checksum. Data have no checksum looked at.
Several devices, zoned devices and the extent tree of version 2 are not read.
Spec: Linux include/uapi/linux/btrfs_tree.h; btrfs documentation, "On-disk format".
"""

from __future__ import annotations

import hashlib
import stat
import struct
import zlib
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import google_crc32c

from vmstamp.errors import GuestError, VmstampError
from vmstamp.guest.files.lzo import decompress_lzo
from vmstamp.guest.files.probe import FileSystem
from vmstamp.guest.files.volume import MAX_ENTRIES, Kind, Node
from vmstamp.guest.files.window import Window

SUPERBLOCK = 0x10000
HEADER = 0x65
MAX_LEVEL = 8
MAX_CHUNKS = 65_536
MAX_FILE_EXTENTS = 200_000
MAX_SUBVOLUMES = 1000
MAX_TRANSFER = 16 * 1024 * 1024  # bytes of one extent that is unpacked; the kernel's own are 128 KiB
CACHED_NODES = 8 * 1024 * 1024  # bytes of nodes; their keys take six times as much

# Key types
INODE_ITEM, DIR_ITEM, DIR_INDEX, EXTENT_DATA = 1, 84, 96, 108
ROOT_ITEM, CHUNK_ITEM = 132, 228
# Objects
ROOT_TREE_DIR, TOP_LEVEL, FIRST_FREE, LAST_FREE = 6, 5, 256, (1 << 64) - 257
CHUNK_OBJECT = 256
MAX_OFFSET = (1 << 64) - 1
# Kinds of chunk whose copies are whole: one is enough
COPIES = 0x10 | 0x20 | 0x200 | 0x400  # RAID1, DUP, RAID1C3, RAID1C4
SPREAD = 0x8 | 0x40 | 0x80 | 0x100  # RAID0, RAID10, RAID5, RAID6
INLINE, REGULAR = 0, 1

Key = tuple[int, int, int]


@contextmanager
def _reading(window: Window, what: str) -> Iterator[None]:
    """One operation on the window; what damaged numbers lead to becomes GuestError."""
    window.renew()
    try:
        yield
    except VmstampError:
        raise
    except (struct.error, zlib.error, ValueError, IndexError, KeyError, OverflowError) as error:
        raise GuestError(
            f"{what}: the file system is damaged: {error}",
            hint="check it with `btrfs check`, or make the disk anew",
        ) from error


@dataclass(frozen=True)
class Chunk:
    """Logical [start, start + length): it lies at each of `places`, whole."""

    start: int
    length: int
    places: tuple[int, ...]


@dataclass(frozen=True)
class Page:
    """A node: `keys` ascending; of a leaf `spans` are (offset, length) in `data`, else addresses."""

    level: int
    keys: tuple[Key, ...]
    spans: tuple[tuple[int, int], ...]
    data: bytes


class Btrfs:
    """An open btrfs. `root` is its default subvolume's. Not thread-safe; owns neither window nor disk."""

    def __init__(self, window: Window, file_system: FileSystem) -> None:
        """Raises GuestError when this version does not read it or finds it damaged."""
        if file_system.unread:
            raise GuestError(f"btrfs: {file_system.unread}")
        self.window = window
        self.file_system = file_system
        self._pages: OrderedDict[int, Page] = OrderedDict()
        self._subvolumes: dict[int, Subvolume] = {}
        with _reading(window, "btrfs"):
            block = window.read_at(SUPERBLOCK, 4096)
            self._hash = _HASHES.get(struct.unpack_from("<H", block, 0xC4)[0])
            if self._hash is not None and not _is_intact(block, self._hash):
                raise GuestError("btrfs: the checksum of the superblock is wrong")
            self._roots, chunks = struct.unpack_from("<QQ", block, 0x50)
            self._node_size = struct.unpack_from("<I", block, 0x94)[0]
            if self._node_size not in (4096, 8192, 16384, 32768, 65536):
                raise GuestError(f"btrfs: nodes of {self._node_size} bytes cannot be true")
            self._device = struct.unpack_from("<Q", block, 0xC9)[0]
            length = struct.unpack_from("<I", block, 0xA0)[0]
            self._set_chunks(list(self._first_chunks(block[0x32B : 0x32B + min(length, 2048)])))
            self._set_chunks(list(self._all_chunks(chunks)))
            self.default = self._find_default()
        self.root: Node = self.subvolume(self.default).root

    # -- addresses

    def _first_chunks(self, array: bytes) -> Iterator[Chunk]:
        at = 0
        while at + 17 + 48 <= len(array):
            key = struct.unpack_from("<QBQ", array, at)
            count = struct.unpack_from("<H", array, at + 17 + 44)[0]
            yield self._chunk(key[2], array[at + 17 : at + 17 + 48 + 32 * count])
            at += 17 + 48 + 32 * count

    def _all_chunks(self, root: int) -> Iterator[Chunk]:
        low, high = (CHUNK_OBJECT, CHUNK_ITEM, 0), (CHUNK_OBJECT, CHUNK_ITEM, MAX_OFFSET)
        for count, (key, data) in enumerate(self.items(root, low, high)):
            if count >= MAX_CHUNKS:
                raise GuestError(f"btrfs: more than {MAX_CHUNKS} chunks")
            yield self._chunk(key[2], data)

    def _chunk(self, start: int, data: bytes) -> Chunk:
        length, _, _, kind = struct.unpack_from("<QQQQ", data)
        count = struct.unpack_from("<H", data, 44)[0]
        stripes = [struct.unpack_from("<QQ", data, 48 + 32 * index) for index in range(count)]
        places = tuple(offset for device, offset in stripes if device == self._device)
        if not places or (kind & SPREAD and count > 1) or (count > 1 and not kind & COPIES):
            raise GuestError("btrfs: a part of it lies on another device")
        return Chunk(start, length, places)

    def _set_chunks(self, chunks: list[Chunk]) -> None:
        self._chunks = sorted(chunks, key=lambda chunk: chunk.start)
        self._starts = [chunk.start for chunk in self._chunks]

    def places(self, address: int, length: int) -> tuple[int, ...]:
        """Where the bytes at a logical address lie in the window, each copy. GuestError: nowhere."""
        index = bisect_right(self._starts, address) - 1
        chunk = self._chunks[index] if index >= 0 else None
        if chunk is None or address + length > chunk.start + chunk.length:
            raise GuestError(f"btrfs: nothing lies at the logical address {address}")
        return tuple(place + address - chunk.start for place in chunk.places)

    def read_data(self, address: int, length: int) -> bytes:
        data = self.window.read_at(self.places(address, length)[0], length)
        if len(data) != length:
            raise GuestError(f"btrfs: the data at the logical address {address} lie behind the disk's end")
        return data

    # -- trees

    def _page(self, address: int) -> Page:
        self.window.spend()
        page = self._pages.get(address)
        if page is not None:
            self._pages.move_to_end(address)
            return page
        for place in self.places(address, self._node_size):
            data = self.window.read_at(place, self._node_size)
            whole = len(data) == self._node_size and struct.unpack_from("<Q", data, 0x30)[0] == address
            if whole and (self._hash is None or _is_intact(data, self._hash)):
                page = _parse_page(data)
                break
        else:
            raise GuestError(f"btrfs: no copy of the node at the logical address {address} is whole")
        self._pages[address] = page
        if len(self._pages) > CACHED_NODES // self._node_size:
            self._pages.popitem(last=False)
        return page

    def items(
        self, root: int, low: Key, high: Key, level: int = MAX_LEVEL + 1
    ) -> Iterator[tuple[Key, bytes]]:
        """The items with keys from `low` up to and with `high` of the tree at `root`, ascending."""
        page = self._page(root)
        if page.level >= level:
            raise GuestError(f"btrfs: the node at the logical address {root} is of level {page.level}")
        if page.level == 0:
            for index in range(bisect_left(page.keys, low), bisect_right(page.keys, high)):
                offset, length = page.spans[index]
                yield page.keys[index], page.data[offset : offset + length]
            return
        first = max(bisect_right(page.keys, low) - 1, 0)
        for index in range(first, bisect_right(page.keys, high)):
            yield from self.items(page.spans[index][0], low, high, page.level)

    # -- subvolumes

    def _find_default(self) -> int:
        for name, (target, _, _) in self._directory(self._roots, ROOT_TREE_DIR, b"default"):
            if name == b"default":
                return target
        return TOP_LEVEL

    def _directory(self, root: int, inode: int, name: bytes) -> Iterator[tuple[bytes, Key]]:
        """The entries of a directory whose names have the hash of `name`: (name, what it names)."""
        hashed = google_crc32c.extend(1, name) ^ 0xFFFFFFFF
        key = (inode, DIR_ITEM, hashed)
        for _, data in self.items(root, key, key):
            yield from _parse_entries(data)

    def subvolume(self, number: int) -> Subvolume:
        """The subvolume of that number, as `subvolid=` has it. GuestError when there is none."""
        if number not in self._subvolumes:
            with _reading(self.window, f"subvolume {number}"):
                low, high = (number, ROOT_ITEM, 0), (number, ROOT_ITEM, MAX_OFFSET)
                data = next((data for _, data in self.items(self._roots, low, high)), None)
                if data is None:
                    raise GuestError(f"btrfs: there is no subvolume {number}")
                directory, address = struct.unpack_from("<QQ", data, 168)
                self._subvolumes[number] = Subvolume(self, address, directory)
        return self._subvolumes[number]

    def find_subvolume(self, path: str) -> Subvolume | None:
        """The subvolume at `path` from the top of the file system, as `subvol=` has it."""
        node: Node | None = self.subvolume(TOP_LEVEL).root
        for part in path.strip("/").split("/"):
            if part:
                node = node.child(part) if node is not None else None
        is_top = isinstance(node, BtrfsNode) and node.inode == node.subvolume.directory
        return node.subvolume if is_top and isinstance(node, BtrfsNode) else None

    def subvolumes(self) -> list[int]:
        """The numbers of the subvolumes beside the top level, at most MAX_SUBVOLUMES."""
        numbers: list[int] = []
        with _reading(self.window, "btrfs"):
            low, high = (FIRST_FREE, ROOT_ITEM, 0), (LAST_FREE, ROOT_ITEM, MAX_OFFSET)
            for key, _ in self.items(self._roots, low, high):
                if key[1] == ROOT_ITEM and FIRST_FREE <= key[0] <= LAST_FREE and key[0] not in numbers:
                    numbers.append(key[0])
                if len(numbers) >= MAX_SUBVOLUMES:
                    break
        return numbers


def _parse_page(data: bytes) -> Page:
    count, level = struct.unpack_from("<IB", data, 0x60)
    size = 33 if level else 25
    if level > MAX_LEVEL or HEADER + count * size > len(data):
        raise GuestError(f"btrfs: a node of level {level} with {count} items cannot be true")
    table = data[HEADER : HEADER + count * size]
    rows = list(struct.iter_unpack("<QBQQQ" if level else "<QBQII", table))
    keys = tuple((row[0], row[1], row[2]) for row in rows)
    if any(one >= two for one, two in pairwise(keys)):
        raise GuestError("btrfs: the keys of a node are out of order")
    if level:
        return Page(level, keys, tuple((row[3], 0) for row in rows), b"")
    spans = tuple((HEADER + row[3], row[4]) for row in rows)
    if any(offset + length > len(data) for offset, length in spans):
        raise GuestError("btrfs: an item ends behind its node")
    return Page(level, keys, spans, data)


def _parse_entries(data: bytes) -> Iterator[tuple[bytes, Key]]:
    """The entries of a directory's item; several when their names have one hash."""
    at = 0
    while at + 30 <= len(data):
        target = struct.unpack_from("<QBQ", data, at)
        data_length, name_length = struct.unpack_from("<HH", data, at + 25)
        yield data[at + 30 : at + 30 + name_length], target
        at += 30 + name_length + data_length


Hash = Callable[[bytes], bytes]
# Kinds of checksum; 1 is xxHash, which nothing here computes: those nodes are taken as they are.
_HASHES: dict[int, Hash] = {
    0: lambda data: google_crc32c.value(data).to_bytes(4, "little"),
    2: lambda data: hashlib.sha256(data).digest(),
    3: lambda data: hashlib.blake2b(data, digest_size=32).digest(),
}


def _is_intact(block: bytes, digest: Hash) -> bool:
    wanted = digest(block[32:])
    return block[: len(wanted)] == wanted


@dataclass(frozen=True)
class Subvolume:
    """A tree of files; `address` is its root node's, `directory` its top directory's inode."""

    volume: Btrfs = field(repr=False)
    address: int
    directory: int

    @cached_property
    def root(self) -> Node:
        with _reading(self.volume.window, "/"):
            return self.node("/", self.directory)

    def node(self, name: str, inode: int) -> BtrfsNode:
        key = (inode, INODE_ITEM, 0)
        data = next((data for _, data in self.volume.items(self.address, key, key)), None)
        if data is None:
            raise GuestError(f"{name}: the file system is damaged: there is no inode {inode}")
        size, mode = struct.unpack_from("<16xQ28xI", data)
        kind = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.SYMLINK}.get(
            stat.S_IFMT(mode), Kind.OTHER
        )
        return BtrfsNode(name, kind, size, stat.S_IMODE(mode), self, inode)


@dataclass(frozen=True)
class FileExtent:
    """Bytes [offset, offset + length) of a file.

    They are those from `skip` on of what `packing` unpacks to `unpacked` bytes: of the `inline` ones, or of
    `packed` bytes at `address`; with `address` 0 and nothing inline they are zeros.
    """

    offset: int
    length: int
    packing: int = 0
    unpacked: int = 0
    address: int = 0
    packed: int = 0
    skip: int = 0
    inline: bytes | None = None


@dataclass(frozen=True)
class BtrfsNode:
    """A Node of a subvolume."""

    name: str
    kind: Kind
    size: int
    mode: int
    subvolume: Subvolume = field(repr=False)
    inode: int = field(repr=False)

    def child(self, name: str) -> Node | None:
        if self.kind is not Kind.DIRECTORY:
            return None
        volume, wanted = self.subvolume.volume, name.encode("utf-8", "surrogateescape")
        with _reading(volume.window, name):
            for found, target in volume._directory(self.subvolume.address, self.inode, wanted):
                if found == wanted:
                    return self._entry(name, target)
        return None

    def _entry(self, name: str, target: Key) -> Node:
        if target[1] == INODE_ITEM:
            return self.subvolume.node(name, target[0])
        if target[1] != ROOT_ITEM:
            raise GuestError(f"{name}: the file system is damaged: an entry of type {target[1]}")
        inner = self.subvolume.volume.subvolume(target[0])
        return inner.node(name, inner.directory)

    def names(self) -> list[str]:
        """GuestError when there are more than MAX_ENTRIES."""
        names: list[str] = []
        volume = self.subvolume.volume
        low, high = (self.inode, DIR_INDEX, 0), (self.inode, DIR_INDEX, MAX_OFFSET)
        with _reading(volume.window, self.name):
            for _, data in volume.items(self.subvolume.address, low, high):
                names += [name.decode("utf-8", "replace") for name, _ in _parse_entries(data)]
                if len(names) > MAX_ENTRIES:
                    raise GuestError(f"{self.name}: more than {MAX_ENTRIES} entries in a directory")
        return names

    @cached_property
    def _extents(self) -> list[FileExtent]:
        volume = self.subvolume.volume
        low, high = (self.inode, EXTENT_DATA, 0), (self.inode, EXTENT_DATA, MAX_OFFSET)
        extents: list[FileExtent] = []
        for key, data in volume.items(self.subvolume.address, low, high):
            extents.append(_parse_extent(key[2], data))
            if len(extents) > MAX_FILE_EXTENTS:
                raise GuestError(f"{self.name}: more than {MAX_FILE_EXTENTS} pieces in a file")
        return extents

    def read(self, offset: int, length: int) -> bytes:
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        buffer = bytearray(length)
        with _reading(self.subvolume.volume.window, self.name):
            first = bisect_right(self._extents, offset, key=lambda extent: extent.offset) - 1
            for extent in self._extents[max(first, 0) :]:
                low, high = max(offset, extent.offset), min(offset + length, extent.offset + extent.length)
                if extent.offset >= offset + length:
                    break
                if low < high:
                    data = self._piece(extent, low - extent.offset, high - low)
                    buffer[low - offset : low - offset + len(data)] = data
        return bytes(buffer)

    def _piece(self, extent: FileExtent, start: int, length: int) -> bytes:
        """`length` bytes of an extent from `start`."""
        volume = self.subvolume.volume
        if extent.inline is None and not extent.address:
            return bytes(length)
        if not extent.packing:
            if extent.inline is not None:
                return extent.inline[start : start + length]
            return volume.read_data(extent.address + extent.skip + start, length)
        if max(extent.packed, extent.unpacked) > MAX_TRANSFER:
            raise GuestError(f"{self.name}: a packed piece of {extent.unpacked} bytes cannot be true")
        packed = extent.inline if extent.inline is not None else None
        if packed is None:
            packed = volume.read_data(extent.address, extent.packed)
        data = _unpack(extent.packing, packed, extent.unpacked)
        return data[extent.skip + start : extent.skip + start + length]

    def target(self) -> str:
        if not 0 < self.size <= 4096:
            raise GuestError(f"{self.name}: a symbolic link of {self.size} bytes")
        return self.read(0, self.size).decode("utf-8", "surrogateescape")


def _parse_extent(offset: int, data: bytes) -> FileExtent:
    unpacked, packing, encryption, encoding, kind = struct.unpack_from("<8xQBBHB", data)
    if encryption or encoding:
        raise GuestError("btrfs: a file is encrypted or encoded, which this version does not read")
    if kind == INLINE:
        inline = data[21:]
        return FileExtent(offset, unpacked if packing else len(inline), packing, unpacked, inline=inline)
    address, packed, skip, length = struct.unpack_from("<QQQQ", data, 21)
    if kind != REGULAR:
        return FileExtent(offset, length)  # allocated, never written: zeros
    return FileExtent(offset, length, packing, unpacked, address, packed, skip)


def _unpack(packing: int, data: bytes, size: int) -> bytes:
    """At most `size` bytes. Kinds: btrfs_tree.h has 1 zlib, 2 LZO, 3 zstd."""
    if not size:
        return b""
    if packing == 1:
        return zlib.decompressobj().decompress(data, size)
    if packing == 2:
        return _unpack_lzo(data, size)
    if packing == 3:
        return _unpack_zstd(data, size)
    raise GuestError(f"btrfs: a packing of kind {packing} is not known here")


def _unpack_lzo(data: bytes, size: int) -> bytes:
    """u32 length of all, then segments (u32 length, LZO1X); no length crosses a border of 4096 bytes.

    Spec: Linux fs/btrfs/lzo.c.
    """
    end = min(struct.unpack_from("<I", data)[0], len(data))
    at, out = 4, bytearray()
    while at + 4 <= end and len(out) < size:
        if 4096 - at % 4096 < 4:
            at += 4096 - at % 4096
        length = struct.unpack_from("<I", data, at)[0]
        out += decompress_lzo(data[at + 4 : at + 4 + length], 4096 * 16)
        at += 4 + length
    return bytes(out[:size])


def _unpack_zstd(data: bytes, size: int) -> bytes:
    import zstandard  # loaded when a file is packed so

    unpacker: Any = zstandard.ZstdDecompressor(max_window_size=MAX_TRANSFER)
    try:
        with unpacker.stream_reader(data) as reader:
            unpacked: bytes = reader.read(size)
    except zstandard.ZstdError as error:
        raise GuestError(f"btrfs: a packed piece is damaged: {error}") from error
    return unpacked

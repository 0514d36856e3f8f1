"""What is in an initramfs: its files' names and its small texts, read without the guest's tools.

An initramfs is a sequence of cpio archives, some compressed, with zeros between them: often one with
microcode that is not compressed, then the real one. Spec: Linux Documentation/driver-api/early-userspace/
buffer-format.rst; cpio "newc":

    offset size field (hexadecimal text)       offset size field
         0    6 magic 070701 or 070702             94    8 length of the name with its NUL
        54    8 length of the content             110      name, padded to 4; content, padded to 4

Packed they are with gzip, xz, lzma, bzip2, zstd or the kernel's LZ4 ("legacy": magic 02 21 4C 18, then blocks
of u32 length and LZ4 data, each 8 MiB unpacked); LZO is named and not read. What follows a compressed archive
is not looked at; nobody makes such images.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, BinaryIO, Protocol, cast

from vmstamp.errors import GuestError
from vmstamp.guest.files.volume import Node

HEADER = 110
MAGICS = (b"070701", b"070702")
TRAILER = "TRAILER!!!"
MAX_NAME = 4096
MAX_UNPACKED = 1024 * 1024 * 1024  # bytes; the largest in use unpack to some 300 MiB
PIECE = 256 * 1024
MAX_WINDOW = 128 * 1024 * 1024  # bytes of history that zstd may keep, the kernel's own limit
MAX_NAMES = 500_000
MAX_NAMES_LENGTH = 32 * 1024 * 1024  # of all of them
MAX_TEXT = 64 * 1024  # bytes of a text that is kept
MAX_TEXTS = 2 * 1024 * 1024  # of all of them
LZ4_BLOCK = 8 * 1024 * 1024
LZ4_MAGIC = struct.pack("<I", 0x184C2102)
LZO_MAGIC = b"\x89LZO"

# The texts that are kept: what the initramfs was told of disks and modules.
_KEPT = re.compile(
    r"(etc/lvm/.*|etc/multipath.*|etc/modprobe\.d/.*|etc/cmdline\.d/.*|etc/crypttab|conf/modules|conf/param\.conf"
    r"|etc/modules-load\.d/.*|etc/fstab.*|cryptroot/crypttab|(usr/)?lib/dracut/[\w.-]*)$"
)


@dataclass(frozen=True)
class Initramfs:
    """The names in it, without a leading `/` or `./`, and the texts of some small files by name."""

    names: frozenset[str]
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def is_packed_twice(self) -> bool:
        """dracut's squash module put most of it into an image inside, which is not looked into."""
        return any(name.rsplit("/", 1)[-1] in ("squashfs-root.img", "erofs-root.img") for name in self.names)


class Readable(Protocol):
    def read(self, length: int, /) -> bytes: ...


class NodeFile(io.RawIOBase):
    """A guest's file as a stream. Reading raises GuestError when the file system is damaged."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._offset = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._node.read(self._offset, len(buffer))
        buffer[: len(data)] = data
        self._offset += len(data)
        return len(data)


def read_initramfs(node: Node) -> Initramfs:
    """What is in the initramfs file `node`. GuestError when it is damaged or packed in a way not read."""
    source = Pieces(io.BufferedReader(NodeFile(node), PIECE))
    found = _Found()
    try:
        _read(source, found)
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise GuestError(f"{node.name}: the initramfs is damaged: {error}") from error
    return Initramfs(frozenset(found.names), found.texts)


@dataclass
class _Found:
    names: set[str] = field(default_factory=set)
    texts: dict[str, str] = field(default_factory=dict)
    length: int = 0  # of all texts
    names_length: int = 0  # of all names

    def wants(self, name: str, size: int) -> bool:
        return size <= MAX_TEXT and self.length + size <= MAX_TEXTS and _KEPT.match(name) is not None


class Pieces:
    """A stream with one look ahead and a limit of what is read from it."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._ahead = b""
        self.position = 0  # bytes taken

    def peek(self, length: int) -> bytes:
        """The next `length` bytes, fewer at the end; they stay."""
        while len(self._ahead) < length:
            data = self._stream.read(length - len(self._ahead))
            if not data:
                break
            self._ahead += data
        return self._ahead[:length]

    def take(self, length: int) -> bytes:
        """The next `length` bytes; EOFError when there are fewer."""
        data = self.peek(length)
        if len(data) < length:
            raise EOFError(f"it ends at byte {self.position + len(data)}, in the middle of an entry")
        self._ahead = self._ahead[length:]
        self.position += length
        return data

    def skip(self, length: int) -> None:
        if self.position + length > MAX_UNPACKED:
            raise ValueError(f"it unpacks to more than {MAX_UNPACKED} bytes")
        while length:
            length -= len(self.take(min(length, PIECE)))

    def read(self, length: int, /) -> bytes:
        """As a file: for the decompressors, which use nothing else of one."""
        return self.take(len(self.peek(length)))


def _read(source: Pieces, found: _Found) -> None:
    while True:
        _skip_zeros(source)
        magic = source.peek(6)
        if not magic:
            return
        if magic in MAGICS:
            _archive(source, found)
            continue
        _read_inside(source, magic, found)
        return


def _read_inside(source: Pieces, magic: bytes, found: _Found) -> None:
    """A packed archive, and those that follow it in the same packing."""
    if magic.startswith(LZO_MAGIC):
        raise ValueError("it is packed with LZO, which this version does not read")
    opener = next((opener for start, opener in _OPENERS if magic.startswith(start)), None)
    if opener is None:
        raise ValueError(f"it goes on with {magic.hex()}, which no packer known here writes")
    inside = Pieces(opener(cast(BinaryIO, source)))
    if inside.peek(6) not in MAGICS:
        raise ValueError("what is packed in it is no cpio archive")
    while inside.peek(6) in MAGICS:
        _archive(inside, found)
        _skip_zeros(inside)


def _skip_zeros(source: Pieces) -> None:
    while source.peek(4) == bytes(4):
        source.skip(4)


def _archive(source: Pieces, found: _Found) -> None:
    """One cpio archive up to and with its trailer."""
    while True:
        header = source.take(HEADER)
        if header[:6] not in MAGICS:
            raise ValueError(f"no entry at byte {source.position - HEADER}")
        size, length = int(header[54:62], 16), int(header[94:102], 16)
        if not 0 < length <= MAX_NAME or size < 0:
            raise ValueError(f"a name of {length} bytes")
        name = source.take(length)[:-1].decode("utf-8", "replace")
        source.skip(-source.position % 4)
        if name == TRAILER:
            return
        name = name.removeprefix("./").lstrip("/")
        found.names.add(name)
        found.names_length += length
        if len(found.names) > MAX_NAMES or found.names_length > MAX_NAMES_LENGTH:
            raise ValueError("it has too many names")
        if found.wants(name, size):
            found.texts[name] = source.take(size).decode("utf-8", "replace")
            found.length += size
        else:
            source.skip(size)
        source.skip(-source.position % 4)


class Lz4File:
    """The kernel's LZ4 format as a stream: blocks, each after its u32 length.

    Spec: Linux lib/decompress_unlz4.c.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._block: Any = import_module("lz4.block")  # loaded when an image is packed so
        self._source = source
        self._data = b""
        self._at = 0
        source.read(len(LZ4_MAGIC))

    def read(self, length: int, /) -> bytes:
        if self._at == len(self._data):
            self._data, self._at = self._next(), 0
        data = self._data[self._at : self._at + length]
        self._at += len(data)
        return data

    def _next(self) -> bytes:
        head = self._source.read(4)
        if head == LZ4_MAGIC:
            head = self._source.read(4)
        if len(head) < 4 or not any(head):
            return b""
        (length,) = struct.unpack("<I", head)
        if length > LZ4_BLOCK + LZ4_BLOCK // 255 + 16:
            raise ValueError(f"a block of {length} bytes")
        packed = b""
        while len(packed) < length:
            piece = self._source.read(min(length - len(packed), PIECE))
            if not piece:
                raise EOFError("it ends in the middle of a block")
            packed += piece
        try:
            data: bytes = self._block.decompress(packed, uncompressed_size=LZ4_BLOCK)
        except self._block.LZ4BlockError as error:
            raise ValueError(str(error)) from error
        return data


class ZstdFile:
    """zstandard's stream reader, whose own error becomes ValueError."""

    def __init__(self, source: BinaryIO) -> None:
        import zstandard  # loaded when an image is packed so

        self._error = zstandard.ZstdError
        self._reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).stream_reader(source)

    def read(self, length: int, /) -> bytes:
        try:
            return self._reader.read(length)
        except self._error as error:
            raise ValueError(str(error)) from error


_OPENERS: tuple[tuple[bytes, Callable[[BinaryIO], Readable]], ...] = (
    (b"\x1f\x8b", lambda source: gzip.GzipFile(fileobj=source, mode="rb")),
    (b"\xfd7zXZ", lambda source: lzma.LZMAFile(source, "rb")),  # noqa: SIM115
    (b"\x5d\x00\x00", lambda source: lzma.LZMAFile(source, "rb", format=lzma.FORMAT_ALONE)),  # noqa: SIM115
    (b"BZh", lambda source: bz2.BZ2File(source, "rb")),
    (b"\x28\xb5\x2f\xfd", ZstdFile),
    (LZ4_MAGIC, Lz4File),
)

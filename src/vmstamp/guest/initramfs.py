"""The names of the files in an initramfs, read without the guest's tools.

An initramfs is a sequence of cpio archives, some compressed, with zeros between them: often one with
microcode that is not compressed, then the real one. Spec: Linux Documentation/driver-api/early-userspace/
buffer-format.rst; cpio "newc":

    offset size field (hexadecimal text)       offset size field
         0    6 magic 070701 or 070702             94    8 length of the name with its NUL
        54    8 length of the content             110      name, padded to 4; content, padded to 4

What follows a compressed archive is not looked at; nobody makes such images.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol, cast

from vmstamp.errors import GuestError
from vmstamp.guest.volume import Node

HEADER = 110
MAGICS = (b"070701", b"070702")
TRAILER = "TRAILER!!!"
MAX_NAME = 4096
MAX_UNPACKED = 1024 * 1024 * 1024  # bytes; the largest in use unpack to some 300 MiB
PIECE = 256 * 1024
MAX_WINDOW = 128 * 1024 * 1024  # bytes of history that zstd may keep, the kernel's own limit


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


def list_initramfs(node: Node) -> set[str]:
    """The names in the initramfs file `node`. GuestError when it is damaged or packed in a way not read."""
    source = Pieces(io.BufferedReader(NodeFile(node), PIECE))
    try:
        return set(_names(source))
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise GuestError(f"{node.name}: the initramfs is damaged: {error}") from error


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


def _names(source: Pieces) -> Iterator[str]:
    while True:
        _skip_zeros(source)
        magic = source.peek(6)
        if not magic:
            return
        if magic in MAGICS:
            yield from _archive(source)
            continue
        yield from _names_inside(source, magic)
        return


def _names_inside(source: Pieces, magic: bytes) -> Iterator[str]:
    opener = next((opener for start, opener in _OPENERS if magic.startswith(start)), None)
    if opener is None:
        raise ValueError(f"it goes on with {magic.hex()}, which no packer known here writes")
    inside = Pieces(opener(cast(BinaryIO, source)))
    if inside.peek(6) not in MAGICS:
        raise ValueError("what is packed in it is no cpio archive")
    yield from _archive(inside)


def _skip_zeros(source: Pieces) -> None:
    while source.peek(4) == bytes(4):
        source.skip(4)


def _archive(source: Pieces) -> Iterator[str]:
    """One cpio archive up to and with its trailer."""
    while True:
        header = source.take(HEADER)
        if header[:6] not in MAGICS:
            raise ValueError(f"no entry at byte {source.position - HEADER}")
        size, length = int(header[54:62], 16), int(header[94:102], 16)
        if not 0 < length <= MAX_NAME:
            raise ValueError(f"a name of {length} bytes")
        name = source.take(length)[:-1].decode("utf-8", "replace")
        source.skip(-source.position % 4)
        if name == TRAILER:
            return
        yield name
        source.skip(size)
        source.skip(-source.position % 4)


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
)

"""Disks as they are published: in a .gz, .xz, .zst, .bz2 or .tar, unpacked on the way.

Unpacking is sequential, and a disk is read by position: so the disk goes to a file without a name in the
temporary directory ($TMPDIR, else /var/tmp), where runs of zeros are holes. Nothing is left of it, not even
after SIGKILL.

Everything is read to its end, so a cut or damaged archive, or one with something behind it, is told from a
whole one. Memory is bounded whatever the archive claims; time goes by what it unpacks to.
"""

from __future__ import annotations

import bz2
import errno
import io
import lzma
import os
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

from vmstamp.disk.data import nonzero
from vmstamp.disk.file import ImageFile, write_at
from vmstamp.errors import DiskError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK = 4 * 1024 * 1024
PIECE = 2048  # bytes of input at once; they unpack to 64 MiB at most: zstd, blocks of 128 KiB in 4 bytes
MAX_SIZE = 64 * 1024**4  # bytes of an unpacked disk: the largest that any format holds
MAX_XZ_MEMORY = 256 * 1024 * 1024  # bytes; what `xz -9` made needs 65 MiB
MAX_MEMBERS = 10_000  # of a tar
MAX_HEADER = 1024 * 1024  # bytes of a tar member's header, with its long name, attributes and map of holes
SUFFIXES = (".raw", ".img", ".vhd", ".vhdx", ".vmdk", ".qcow2", ".vdi")
TAR_MAGIC_AT = 257
DAMAGED = "the archive is damaged or cut; fetch it again"
# What damage makes the decoders raise, beside OSError without a number (bz2) and zstandard's own.
DECODING = (EOFError, lzma.LZMAError, zlib.error, tarfile.TarError, ValueError, RecursionError)

Progress = Callable[[int], None]


class Decoder(Protocol):
    """Unpacks one member, stream or frame."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


@dataclass(frozen=True)
class Compression:
    """`magic` is at byte 0. `padded`: zeros may lie between members and at the end."""

    name: str
    magic: bytes
    decoder: Callable[[], Decoder]
    padded: bool


def _zstd() -> Decoder:
    from zstandard import ZstdDecompressor

    return cast("Decoder", ZstdDecompressor().decompressobj())


COMPRESSIONS = (
    Compression("gzip", b"\x1f\x8b", lambda: zlib.decompressobj(16 + zlib.MAX_WBITS), True),
    Compression(
        "xz", b"\xfd7zXZ\0", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY), True
    ),
    Compression("bzip2", b"BZh", bz2.BZ2Decompressor, False),
    Compression("zstd", b"\x28\xb5\x2f\xfd", _zstd, False),
)


class UnpackedFile(ImageFile):
    """A file without a name; `path`, named in errors, is the archive's."""

    @property
    def descriptor(self) -> int:
        """For a program that inherits it."""
        return self._fd


def is_packed(head: bytes) -> bool:
    """Whether a file that begins with `head` (512 bytes) is an archive that `unpack` takes."""
    return _find_compression(head) is not None or _is_tar(head)


def unpack(path: Path, progress: Progress | None = None) -> UnpackedFile:
    """The disk in the archive `path`, as a file of its own that goes with its last user.

    `progress` is called with the bytes of each piece of the archive that was read. Raises DiskError: damaged
    or cut archives, more than one disk, an archive in an archive, no space.
    """
    directory = Path(os.environ.get("TMPDIR") or "/var/tmp")
    try:
        with (
            io.BufferedReader(_Counted(path, progress), CHUNK) as packed,
            tempfile.TemporaryFile(dir=directory) as target,
        ):
            _unpack(packed, target.fileno(), path)
            _refuse_nested(path, os.pread(target.fileno(), 512, 0))
            return UnpackedFile.from_descriptor(os.dup(target.fileno()), path)
    except OSError as error:
        if error.errno is None:  # bz2's
            raise _damaged(path, error) from error
        raise _no_room(path, directory, error) from error
    except DECODING as error:
        raise _damaged(path, error) from error
    except Exception as error:  # zstandard's error is a class of its own, known only when it is loaded
        if type(error).__module__.partition(".")[0] != "zstandard":
            raise
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DiskError:
    return DiskError(path, f"cannot be unpacked: {error}", hint=DAMAGED)


def _no_room(path: Path, directory: Path, error: OSError) -> DiskError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    what = "free some space in it" if full else "see to it that it can be written"
    hint = f"it is unpacked in {directory}: {what}, or set TMPDIR to another directory"
    return DiskError(path, f"cannot be unpacked: {error.strerror}", hint=hint)


def _is_tar(head: bytes) -> bool:
    return head[TAR_MAGIC_AT : TAR_MAGIC_AT + 5] == b"ustar"


def _find_compression(head: bytes) -> Compression | None:
    return next((found for found in COMPRESSIONS if head.startswith(found.magic)), None)


def _refuse_nested(path: Path, head: bytes) -> None:
    if is_packed(head):
        found = _find_compression(head)
        raise DiskError(
            path, f"holds another archive, {found.name if found else 'tar'}", hint="unpack it first"
        )


def _unpack(packed: io.BufferedReader[Any], fd: int, path: Path) -> None:
    """Write the disk to `fd`."""
    stream: io.BufferedReader[Any] = packed
    compression = _find_compression(packed.peek(512))
    if compression is not None:
        stream = io.BufferedReader(_Members(packed, compression), CHUNK)
    if _is_tar(stream.peek(512)):
        _unpack_tar(_Budget(stream), fd, path)
    else:
        _set_size(fd, _copy(stream, fd), path)


def _copy(stream: IO[bytes], fd: int, offset: int = 0, length: int = MAX_SIZE + 1) -> int:
    """Write at most `length` bytes of the stream to `fd` from `offset` on, zeros left out; where they end."""
    end = offset + length
    while data := stream.read(min(CHUNK, end - offset)):
        for start, stop in nonzero(data, offset):
            write_at(fd, memoryview(data)[start - offset : stop - offset], start)
        offset += len(data)
    return offset


def _set_size(fd: int, size: int, path: Path) -> None:
    if size > MAX_SIZE:
        raise DiskError(path, f"holds a disk of more than {MAX_SIZE} bytes")
    os.ftruncate(fd, size)


class _Counted(io.FileIO):
    """A file whose reading is told."""

    def __init__(self, path: Path, progress: Progress | None) -> None:
        super().__init__(path)
        self._progress = progress

    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        count = super().readinto(buffer)
        if count and self._progress is not None:
            self._progress(count)
        return count


class _Members(io.RawIOBase):
    """What a compressed file unpacks to: its members, streams or frames in a row, up to its very end."""

    def __init__(self, packed: io.BufferedReader[Any], compression: Compression) -> None:
        self._packed, self._compression = packed, compression
        self._decoder = compression.decoder()
        self._held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """As many bytes as fit; fewer at the end only.

        EOFError when the last member is cut, the decoder's error when something else follows it.
        """
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view) and (self._held or self._decode()):
            count = min(len(view) - filled, len(self._held))
            view[filled : filled + count] = self._held[:count]
            self._held, filled = self._held[count:], filled + count
        return filled

    def _decode(self) -> bool:
        """Hold the next bytes, at least one; False at the end."""
        while not self._held:
            data = self._decoder.unused_data if self._decoder.eof else b""
            data = data or self._packed.read(PIECE)
            if self._decoder.eof:
                data = self._without_padding(data)
                if not data:
                    return False
                self._decoder = self._compression.decoder()
            elif not data:
                raise EOFError(f"its {self._compression.name} data ends too early")
            self._held = memoryview(self._decoder.decompress(data))
        return True

    def _without_padding(self, data: bytes) -> bytes:
        if not self._compression.padded:
            return data
        while data and not data.strip(b"\0"):
            data = self._packed.read(PIECE)
        return data.lstrip(b"\0")


class _Budget:
    """A stream of which only `left` more bytes are given (None: all); ReadError behind them."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.left: int | None = None

    def read(self, size: int = -1, /) -> bytes:
        if self.left is not None:
            self.left -= size
            if self.left < 0:
                raise tarfile.ReadError(f"a header has more than {MAX_HEADER} bytes")
        return self._stream.read(size)


def _unpack_tar(stream: _Budget, fd: int, path: Path) -> None:
    """Write the only disk in a tar to `fd`: the only file with a disk's suffix, or the only one at all.

    Which one that is, is known at the end. So the first file is taken until one with a suffix comes.
    """
    names: list[str] = []
    disks: list[str] = []
    for member, data in _tar_files(stream):
        names.append(member.name)
        if PurePosixPath(member.name).suffix.lower() in SUFFIXES:
            disks.append(member.name)
        if disks == [member.name] or len(names) == 1:
            os.ftruncate(fd, 0)
            for offset, length in _stored(member):
                data.seek(offset)
                _copy(data, fd, offset, length)
            _set_size(fd, member.size, path)
    if len(disks) > 1:
        hint = "unpack it, and name one of them"
        raise DiskError(path, f"holds more than one disk: {_listed(disks)}", hint=hint)
    if not disks and len(names) != 1:
        hint = f"looked for names that end in {', '.join(SUFFIXES)}; found {_listed(names) or 'no file'}"
        raise DiskError(path, "holds no disk", hint=hint)


def _listed(names: list[str]) -> str:
    shown = [name if name.isprintable() else repr(name) for name in names[:10]]
    return ", ".join(shown) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _tar_files(stream: _Budget) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """The regular files and their data, up to the archive's end, behind which there are zeros only.

    TarFile.next() takes a damaged header for the end, skips what is not there a block at a time, however much
    that is, and keeps all members; so the headers are read one by one.
    """
    stream.left = MAX_HEADER
    with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|") as archive:
        source = cast("IO[bytes]", archive.fileobj)
        member = archive.next()
        for _ in range(MAX_MEMBERS):
            if member is None:
                raise tarfile.ReadError("its first header is the end")
            stream.left = None
            if member.size < 0:
                raise tarfile.ReadError(f"{member.name!r} has a negative size")
            if member.isreg():
                data = cast("io.BufferedReader[Any]", archive.extractfile(member)).raw
                yield member, cast("IO[bytes]", data)
            _skip(source, archive.offset - source.tell())
            stream.left = MAX_HEADER
            try:
                member = tarfile.TarInfo.fromtarfile(archive)
            except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # typeshed does not know it
                stream.left = None
                _refuse_rest(source)
                return
        raise tarfile.ReadError(f"it holds more than {MAX_MEMBERS} members")


def _stored(member: tarfile.TarInfo) -> list[tuple[int, int]]:
    """Offsets and lengths of a member's stored parts, ascending; all of it unless it is sparse."""
    if member.sparse is None:
        return [(0, member.size)]
    parts = cast("list[tuple[int, int]]", member.sparse)
    end = 0
    for offset, length in parts:
        if offset < end or length < 0:
            raise tarfile.ReadError(f"the map of holes of {member.name!r} is not in order")
        end = offset + length
    if member.size < end:
        raise tarfile.ReadError(f"{member.name!r} has {member.size} bytes, but parts up to {end}")
    return parts


def _skip(source: IO[bytes], count: int) -> None:
    while count > 0:
        data = source.read(min(count, CHUNK))
        if not data:
            raise EOFError("its tar ends within a member")
        count -= len(data)


def _refuse_rest(source: IO[bytes]) -> None:
    while data := source.read(CHUNK):
        if data.strip(b"\0"):
            raise tarfile.ReadError("something follows the end of its tar")

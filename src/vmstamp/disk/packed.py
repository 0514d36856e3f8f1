"""Disks as they are published: in a .gz, .xz, .zst, .bz2 or .tar, unpacked on the way.

Unpacking is sequential, and a disk is read by position: so the disk goes to a file without a name in the
temporary directory ($TMPDIR, else /var/tmp), where runs of zeros are holes. Nothing is left of it, not even
after SIGKILL.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, cast

from vmstamp.disk.data import nonzero
from vmstamp.disk.file import ImageFile, write_at
from vmstamp.errors import DiskError

CHUNK = 4 * 1024 * 1024
MAX_SIZE = 64 * 1024**4  # bytes of an unpacked disk: the largest that any format holds
SUFFIXES = (".raw", ".img", ".vhd", ".vhdx", ".vmdk", ".qcow2", ".vdi")
TAR_MAGIC_AT = 257

ZSTD_PIECE = 2048  # bytes of input at once; they unpack to 64 MiB at most, as blocks of 128 KiB in 4 bytes


class Readable(Protocol):
    """What unpacking needs of a stream."""

    def read(self, size: int = -1, /) -> bytes: ...

    def close(self) -> None: ...


class _Zstd:
    """The frames of a .zst, in a row. The library's own reader takes a cut frame for a whole one."""

    def __init__(self, path: Path) -> None:
        from zstandard import ZstdDecompressor

        self._file, self._new = path.open("rb"), ZstdDecompressor().decompressobj
        self._frame = self._new()
        self._held = b""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, none at the end. EOFError when the last frame is cut."""
        while not self._held:
            data = self._frame.unused_data if self._frame.eof else b""
            data = data or self._file.read(ZSTD_PIECE)
            if not data:
                if not self._frame.eof:
                    raise EOFError("it ends within a frame")
                return b""
            if self._frame.eof:
                self._frame = self._new()
            self._held = self._frame.decompress(data)
        taken, self._held = self._held[:size], self._held[size:]
        return taken

    def close(self) -> None:
        self._file.close()


# Magic at byte 0, name, opener.
COMPRESSIONS: tuple[tuple[bytes, str, Callable[[Path], Readable]], ...] = (
    (b"\x1f\x8b", "gzip", gzip.GzipFile),
    (b"\xfd7zXZ\0", "xz", lzma.LZMAFile),
    (b"BZh", "bzip2", bz2.BZ2File),
    (b"\x28\xb5\x2f\xfd", "zstd", _Zstd),
)


def is_packed(head: bytes) -> bool:
    """Whether a file that begins with `head` (512 bytes) is an archive that `unpack` takes."""
    return _compression(head) is not None or _is_tar(head)


def _is_tar(head: bytes) -> bool:
    return head[TAR_MAGIC_AT : TAR_MAGIC_AT + 5] == b"ustar"


def _compression(head: bytes) -> tuple[str, Callable[[Path], Readable]] | None:
    for magic, name, opener in COMPRESSIONS:
        if head.startswith(magic):
            return name, opener
    return None


def unpack(path: Path) -> ImageFile:
    """The disk in the archive `path`, as a file of its own that goes with its last user.

    Raises DiskError: damaged or cut archives, more than one disk, an archive in an archive, no space.
    """
    directory = Path(os.environ.get("TMPDIR") or "/var/tmp")
    try:
        with _streams(path) as stream, tempfile.TemporaryFile(dir=directory) as target:
            _copy(stream, target.fileno(), path)
            return ImageFile.from_descriptor(os.dup(target.fileno()), path)
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile, tarfile.TarError, ValueError) as error:
        raise DiskError(path, f"cannot be unpacked: {error}", hint=DAMAGED) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = f"free some space in {directory}, or set TMPDIR to another directory"
            raise DiskError(path, f"cannot be unpacked: {error.strerror}", hint=hint) from error
        raise DiskError(path, f"cannot be unpacked: {error}", hint=DAMAGED) from error
    except Exception as error:  # zstandard's error is a class of its own, known only when it is loaded
        if type(error).__module__.partition(".")[0] != "zstandard":
            raise
        raise DiskError(path, f"cannot be unpacked: {error}", hint=DAMAGED) from error


DAMAGED = "the archive is damaged or cut; fetch it again"


@contextmanager
def _streams(path: Path) -> Iterator[_Ahead | _Member]:
    """The unpacked bytes of the disk in `path`."""
    with path.open("rb") as plain:
        found = _compression(plain.read(512))
    with closing(found[1](path) if found else path.open("rb")) as opened:
        stream = _Ahead(opened)
        head = stream.peek(512)
        if found and _compression(head) is not None:
            raise DiskError(path, f"holds another archive in its {found[0]}", hint="unpack it first")
        if not _is_tar(head):
            yield stream
            return
        with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|") as archive:
            yield _Member(archive, path)


class _Ahead:
    """A stream whose beginning can be looked at. The stream is its owner's to close."""

    def __init__(self, stream: Readable) -> None:
        self._stream, self._held = stream, b""

    def peek(self, length: int) -> bytes:
        while len(self._held) < length and (more := self._stream.read(length - len(self._held))):
            self._held += more
        return self._held

    def read(self, size: int = -1, /) -> bytes:
        if self._held:
            data, self._held = self._held[:size], self._held[size:]
            return data
        return self._stream.read(size)


class _Member:
    """The only disk in a tar archive. That it is the only one is seen when all of the archive was read."""

    def __init__(self, archive: tarfile.TarFile, path: Path) -> None:
        self._archive, self._path = archive, path
        self._stream: IO[bytes] | None = None
        self._name = ""
        self._members = iter(archive)

    def read(self, size: int = -1, /) -> bytes:
        if self._stream is None:
            self._name, self._stream = self._following()
            if self._stream is None:
                told = f"names that end in {', '.join(SUFFIXES)}"
                raise DiskError(self._path, "holds no disk", hint=f"looked for {told}")
        if data := self._stream.read(size):
            return data
        other, _ = self._following()
        if other:
            raise DiskError(
                self._path,
                f"holds more than one disk: {self._name} and {other}",
                hint="unpack it, and name one of them",
            )
        return b""

    def _following(self) -> tuple[str, IO[bytes] | None]:
        """The next member that is a disk by its name."""
        for member in self._members:
            if member.isreg() and PurePosixPath(member.name).suffix.lower() in SUFFIXES:
                return member.name, self._archive.extractfile(member)
        return "", None


def _copy(stream: _Ahead | _Member, fd: int, path: Path) -> None:
    """Write the stream to `fd`, zeros left out."""
    offset = 0
    while data := stream.read(CHUNK):
        if offset + len(data) > MAX_SIZE:
            raise DiskError(path, f"holds a disk of more than {MAX_SIZE} bytes")
        for start, end in nonzero(data, offset):
            write_at(fd, memoryview(data)[start - offset : end - offset], start)
        offset += len(data)
    os.ftruncate(fd, offset)

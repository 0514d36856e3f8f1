"""Download: a page blob becomes a disk file of any format; only its page ranges are moved.

    download    a raw disk or a fixed VHD: pieces side by side into a partial file, which the same download
                continues (`partial`); any other format: `disk.convert` of a ReadAhead, begun anew
    ReadAhead   the blob's pieces, fetched by a pool before the writer asks for them
    verify      `disk.compare` of a file and that: where do they differ first?

The file appears whole or not at all; holes stay holes.
Every request carries the blob's ETag as a condition, so a blob that changes meanwhile ends the transfer, and
the service sends a digest of every piece, which is checked.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from azure.core.exceptions import AzureError

from vmstamp import disk
from vmstamp.disk import Disk
from vmstamp.disk.compare import Difference
from vmstamp.disk.compare import compare as first_difference
from vmstamp.disk.convert import SUFFIXES
from vmstamp.disk.file import filled
from vmstamp.disk.fixed_vhd import FixedVhd
from vmstamp.errors import TransferError
from vmstamp.extents import Extent, Extents
from vmstamp.transfer.blobs import error_code
from vmstamp.transfer.destination import with_note
from vmstamp.transfer.page_blob_disk import PageBlobDisk
from vmstamp.transfer.partial import KEPT_NOTE, PartialFile, writing
from vmstamp.transfer.pool import each, workers
from vmstamp.transfer.progress import Moved, Progress

CONCURRENCY = 8
PIECE = 4 * 1024 * 1024  # bytes; REST: Get Blob gives a digest for a range up to this long

CONTINUED = ("raw", "vhd-fixed")  # formats whose bytes lie where the disk's do


@dataclass(frozen=True)
class Downloaded:
    """What a download did. `logical` is the disk's size, `data` what the blob's page ranges hold of it,
    `received` what went over the wire, `resumed` what an earlier download had written, all in bytes;
    `seconds` the time it took.
    """

    path: Path
    logical: int
    data: int
    received: int
    seconds: float
    resumed: int = 0


class Pieces(Disk):
    """`source`, read by many threads in pieces of at most 4 MiB: one request each, nothing kept."""

    def __init__(self, source: PageBlobDisk) -> None:
        self._source = source
        self.format, self.subformat = source.format, source.subformat
        self.size = source.size

    def extents(self) -> Iterator[Extent]:
        return self._source.extents()

    def _read(self, offset: int, length: int) -> bytes:
        spans = Extents([(offset, offset + length)]).split(PIECE)
        return b"".join(self._source.fetch(span) for span in spans)

    def close(self) -> None:
        """Nothing is kept."""


class ReadAhead(Disk):
    """`source` for one reader that goes forward: the next pieces of its data are fetched by a pool already.

    Owns the pool, not `source`. Keeps at most `concurrency` pieces and the one that is read. Reading
    elsewhere works, and begins anew there.
    """

    def __init__(self, source: PageBlobDisk, concurrency: int = CONCURRENCY) -> None:
        self._source = source
        self.format, self.subformat = source.format, source.subformat
        self.size = source.size
        self._pieces = list(Extents(source.extents()).split(PIECE))
        self._starts = [piece.start for piece in self._pieces]
        self._concurrency = concurrency
        self._ending = threading.Event()
        self._pool = workers(concurrency, "download", self._ending)
        self._lock = threading.Lock()
        self._coming: dict[int, Future[bytes]] = {}

    def extents(self) -> Iterator[Extent]:
        return self._source.extents()

    def _read(self, offset: int, length: int) -> bytes:
        with filled(length) as (buffer, view):
            self._read_into(offset, view)
        return buffer.getvalue()

    def _read_into(self, offset: int, view: memoryview) -> None:
        end, at = offset + len(view), offset
        index = max(bisect_right(self._starts, offset) - 1, 0)
        while at < end and index < len(self._pieces):
            piece = self._pieces[index]
            low, high = max(piece.start, at), min(piece.end, end)
            if low < high:
                view[at - offset : low - offset] = bytes(low - at)
                found = memoryview(self._fetched(index))
                view[low - offset : high - offset] = found[low - piece.start : high - piece.start]
                at = high
            elif piece.start >= end:
                break
            index += 1
        view[at - offset :] = bytes(end - at)

    def _fetched(self, index: int) -> bytes:
        """A piece's bytes, once they are here; the next ones are asked for."""
        with self._lock:
            for old in [one for one in self._coming if not index <= one <= index + self._concurrency]:
                self._coming.pop(old).cancel()
            for one in range(index, min(index + self._concurrency, len(self._pieces))):
                if one not in self._coming:
                    self._coming[one] = self._pool.submit(self._source.fetch, self._pieces[one])
            wanted = self._coming[index]
        return wanted.result()

    def close(self) -> None:
        """End the pool; what is under way is waited for."""
        self._ending.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._coming.clear()


class _Receiver:
    """Fetches pieces into a partial file, and counts. Thread-safe: the workers share it."""

    def __init__(
        self, disk: Disk, source: PageBlobDisk, partial: PartialFile, moved: Moved, progress: Progress | None
    ) -> None:
        self._disk = disk
        self._source = source
        self._partial = partial
        self._before = source.fetched
        self._progress = progress
        self._lock = threading.Lock()
        self.moved = moved

    def __call__(self, piece: Extent) -> None:
        self._partial.write(piece, self._disk.read(piece.start, piece.length))
        with self._lock:
            sent = self._source.fetched - self._before
            self.moved = replace(self.moved, done=self.moved.done + piece.length, sent=sent)
            if self._progress:
                self._progress(self.moved)


def download(
    source: PageBlobDisk,
    path: Path,
    to: str | None = None,
    *,
    overwrite: bool = False,
    resume: bool = True,
    concurrency: int = CONCURRENCY,
    progress: Progress | None = None,
) -> Downloaded:
    """Write the disk in a page blob to `path`, as `to` or as the name's end tells (`disk.convert`).

    A raw disk or fixed VHD that was ended is continued, unless not `resume`. `progress` is called one at a
    time, from any thread. Raises TransferError when the service refuses or the blob changes meanwhile,
    DiskError when the file cannot be written; what was there is then as it was.
    """
    started, before = time.monotonic(), source.fetched
    kind = to or SUFFIXES.get(path.suffix.lower())
    if kind in CONTINUED:
        kept = _receive(source, path, kind, overwrite, resume, concurrency, progress)
    else:
        kept = 0
        with ReadAhead(source, concurrency) as ahead:
            count = None if progress is None else _counted(source, progress)
            disk.convert(ahead, path, to, count, overwrite=overwrite)
    return Downloaded(
        path=path,
        logical=source.size,
        data=Extents(source.extents()).length,
        received=source.fetched - before,
        seconds=time.monotonic() - started,
        resumed=kept,
    )


def _receive(
    source: PageBlobDisk,
    path: Path,
    kind: str,
    overwrite: bool,
    resume: bool,
    concurrency: int,
    progress: Progress | None,
) -> int:
    """Fetch what is not in the partial file; the bytes that were."""
    pieces: Disk = Pieces(source) if kind == "raw" else FixedVhd(Pieces(source))
    wanted = Extents(pieces.extents())
    about = {**source.identity, "kind": kind}
    with writing(path, pieces.size, about, overwrite=overwrite, resume=resume) as partial:
        todo = wanted.subtract(partial.done)
        kept = wanted.length - todo.length
        moved = Moved(pieces.size, wanted.length, todo.length, kept=kept)
        try:
            receive = _Receiver(pieces, source, partial, moved, progress)
            each(todo.split(PIECE), receive, concurrency, "download")
        except TransferError as error:
            if isinstance(error.__cause__, AzureError) and error_code(error.__cause__) == "ConditionNotMet":
                partial.forget()  # it is a part of what is no more
                raise
            raise with_note(error, KEPT_NOTE) from error.__cause__
    return kept


def _counted(source: PageBlobDisk, progress: Progress) -> Callable[[int], None]:
    """Of the lengths of pieces, what `progress` is told."""
    data, before, done = Extents(source.extents()).length, source.fetched, 0

    def count(length: int) -> None:
        nonlocal done
        done += length
        progress(Moved(source.size, data, data, done=min(done, data), sent=source.fetched - before))

    return count


def verify(
    local: Disk,
    source: PageBlobDisk,
    *,
    concurrency: int = CONCURRENCY,
    progress: Callable[[int], None] | None = None,
) -> Difference | None:
    """The first difference between a disk and the one in a page blob, None when they hold the same.

    Where one is longer, its rest must be zeros: an upload rounds a disk up to whole MiB.
    """
    with ReadAhead(source, concurrency) as ahead:
        return first_difference(local, ahead, progress)

"""Download: a page blob becomes a disk file of any format; only its page ranges are moved.

    ReadAhead   the blob's pieces, fetched by a pool before the writer asks for them
    download    `disk.convert` of that: the file appears whole or not at all, holes stay holes
    verify      `disk.compare` of a file and that: where do they differ first?

Every request carries the blob's ETag as a condition, so a blob that changes meanwhile ends the transfer, and
the service sends the MD5 of every piece, which the SDK checks.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from vmstamp import disk
from vmstamp.disk import Disk
from vmstamp.disk.compare import Difference
from vmstamp.disk.compare import compare as first_difference
from vmstamp.disk.file import filled
from vmstamp.extents import Extent, Extents
from vmstamp.transfer.page_blob_disk import PageBlobDisk

CONCURRENCY = 8
PIECE = 4 * 1024 * 1024  # bytes; REST: Get Blob gives an MD5 for a range up to this long

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Downloaded:
    """What a download did. `logical` is the disk's size, `data` what the blob's page ranges hold of it,
    `received` what went over the wire, all in bytes; `seconds` the time it took.
    """

    path: Path
    logical: int
    data: int
    received: int
    seconds: float


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
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="download")
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
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._coming.clear()


def download(
    source: PageBlobDisk,
    path: Path,
    to: str | None = None,
    *,
    overwrite: bool = False,
    concurrency: int = CONCURRENCY,
    progress: Progress | None = None,
) -> Downloaded:
    """Write the disk in a page blob to `path`, as `to` or as the name's end tells (`disk.convert`).

    `progress` is called with the bytes of each piece. Raises TransferError when the service refuses or the
    blob changes meanwhile, DiskError when the file cannot be written; the file is then as it was.
    """
    started, before = time.monotonic(), source.fetched
    with ReadAhead(source, concurrency) as ahead:
        disk.convert(ahead, path, to, progress, overwrite=overwrite)
    return Downloaded(
        path=path,
        logical=source.size,
        data=Extents(source.extents()).length,
        received=source.fetched - before,
        seconds=time.monotonic() - started,
    )


def verify(
    local: Disk, source: PageBlobDisk, *, concurrency: int = CONCURRENCY, progress: Progress | None = None
) -> Difference | None:
    """The first difference between a disk and the one in a page blob, None when they hold the same.

    Where one is longer, its rest must be zeros: an upload rounds a disk up to whole MiB.
    """
    with ReadAhead(source, concurrency) as ahead:
        return first_difference(local, ahead, progress)

"""A page blob seen as a Disk: ranged GETs by the official SDK, extents from its page ranges.

So a managed disk is inspected where it lies, through the SAS that beginGetAccess signed, and only the bytes
that a reader asks for are moved. A VHD footer at the end is not part of the disk.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator

from azure.core.exceptions import AzureError
from azure.storage.blob import BlobClient, BlobType

from vmstamp.disk.base import Disk
from vmstamp.errors import TransferError
from vmstamp.extents import Extent, Extents, merge
from vmstamp.transfer.blobs import explain, fetch_range, kind_of, page_ranges, without_sas
from vmstamp.transfer.destination import MARK
from vmstamp.transfer.plan import FOOTER_LENGTH

BLOCK = 1024 * 1024  # bytes fetched at once
CACHED_BLOCKS = 32
COOKIE = b"conectix"  # VHD 1.0: Hard Disk Footer Format, Cookie


class PageBlobDisk(Disk):
    """A read-only Disk over `blob`. Thread-safe; the caller keeps `blob`.

    Its size and page ranges are read once; a blob that changes meanwhile is refused, by its ETag. Holes are
    answered without a request; the rest in blocks of 1 MiB, the last 32 kept. Raises TransferError when it is
    no page blob, or the service refuses.
    """

    uploaded = True

    def __init__(self, blob: BlobClient) -> None:
        self._blob = blob
        self._lock = threading.Lock()
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self.format = "vhd"
        self.subformat = "fixed"
        self.fetched = 0  # bytes moved so far
        try:
            found = blob.get_blob_properties()
            if found.blob_type != BlobType.PAGEBLOB:
                kind = kind_of(found)
                raise TransferError(f"{without_sas(blob.url)} is a {kind}, no page blob, and holds no disk")
            if MARK in {name.lower() for name in found.metadata or {}}:
                raise TransferError(
                    f"{without_sas(blob.url)} is an unfinished upload or copy, and holds no whole disk",
                    hint="finish it first: the same command continues",
                )
            self._blob_size, self._etag = int(found.size), str(found.etag)
            self._present = page_ranges(blob)
        except AzureError as error:
            raise explain(error, "reading", blob.url) from error
        self.size = self._blob_size
        tail = self.read(self._blob_size - FOOTER_LENGTH, FOOTER_LENGTH) if self._blob_size else b""
        if tail.startswith(COOKIE):
            self.size -= FOOTER_LENGTH
            self.last_sector = tail
        else:
            self.format, self.subformat = "raw", ""

    def _read(self, offset: int, length: int) -> bytes:
        parts = []
        end = offset + length
        while offset < end:
            number = offset // BLOCK
            start = offset - number * BLOCK
            stop = min(BLOCK, end - number * BLOCK)
            parts.append(self._block(number)[start:stop])
            offset = number * BLOCK + stop
        return b"".join(parts)

    def extents(self) -> Iterator[Extent]:
        """The page ranges inside the disk, ascending."""
        return merge((start, min(end, self.size)) for start, end in self._present)

    @property
    def identity(self) -> dict[str, object]:
        """What tells whether it is the same blob, unchanged."""
        return {"blob": without_sas(self._blob.url), "etag": self._etag, "size": self._blob_size}

    def close(self) -> None:
        """Forget what was fetched."""
        self._blocks.clear()

    def _block(self, number: int) -> bytes:
        with self._lock:
            if number in self._blocks:
                self._blocks.move_to_end(number)
                return self._blocks[number]
        start = number * BLOCK
        span = Extent(start, min(start + BLOCK, self._blob_size))
        data = self.fetch(span) if self._present.intersect(Extents([span])) else bytes(span.length)
        with self._lock:
            self._blocks[number] = data
            if len(self._blocks) > CACHED_BLOCKS:
                self._blocks.popitem(last=False)
        return data

    def fetch(self, span: Extent) -> bytes:
        """The bytes of `span`, at most 4 MiB, from the service, with their digest checked."""
        try:
            data = fetch_range(self._blob, span, self._etag)
        except AzureError as error:
            raise explain(error, "reading", self._blob.url) from error
        with self._lock:
            self.fetched += len(data)
        return data

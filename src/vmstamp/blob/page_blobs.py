"""Page blobs and their bytes: written, cleared, resized, read.

The order of effects, the locks and what a crash leaves are told at the top of `store`.
REST: Put Page; Get Page Ranges; Get Blob; Set Blob Properties.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from vmstamp.blob import faults, pages, tables
from vmstamp.blob.blobs import Blobs, Check, unchecked
from vmstamp.blob.body import Data
from vmstamp.blob.content import data_ranges
from vmstamp.blob.records import PAGE_BLOB, Blob, BlobRef, HttpHeaders
from vmstamp.db import Connection
from vmstamp.errors import AzureError
from vmstamp.extents import Extent, Extents

log = logging.getLogger("vmstamp.blob")

PAGE: Final = 512  # bytes; pages are written and cleared whole
SMALL: Final = 64 * 1024  # bytes that are written while other writers wait: that costs less than a query
MAXIMUM_SIZE: Final = 8 * 2**40  # bytes of a page blob


class PageBlobs(Blobs):
    """The blobs of one stamp with their pages. Thread-safe."""

    def create_page_blob(
        self,
        ref: BlobRef,
        size: int,
        *,
        metadata: dict[str, str] | None = None,
        headers: HttpHeaders | None = None,
        sequence_number: int = 0,
        tags: dict[str, str] | None = None,
        check: Check = unchecked,
    ) -> Blob:
        """A page blob of `size` zeros (a multiple of 512, at most 8 TiB); it replaces a blob of the name."""
        if size % PAGE or not 0 <= size <= MAXIMUM_SIZE:
            raise faults.invalid_header("x-ms-blob-content-length", str(size))
        new = replace(
            self._new_blob(ref, PAGE_BLOB, size),
            metadata=metadata or {},
            headers=headers or HttpHeaders(),
            sequence_number=sequence_number,
            tags=tags or {},
        )
        return self._put(new, check, lambda: self._contents.create(new.content, size), [])

    def write_pages(
        self,
        ref: BlobRef,
        offset: int,
        data: Data,
        *,
        check: Check = unchecked,
        alone: bool = False,
    ) -> Blob:
        """Write whole pages inside the blob; `alone` when `check` looks at what another write changes."""
        end = offset + len(data)
        if not alone:
            with self._locks.shared(ref):
                blob = self._check_pages(ref, offset, end, check)
                if not blob.sealed and blob.content not in self._stained:
                    with self._writes.claim(blob.content, offset, end) as free:
                        if free:
                            return self._write(blob, offset, data)
        with self._locks.exclusive(ref):
            blob = self._check_pages(ref, offset, end, check)
            return self._write(self._own_content(blob), offset, data)

    def _write(self, blob: Blob, offset: int, data: Data) -> Blob:
        new = replace(blob, etag=self.new_etag(), last_modified=self.now())
        with self._space():
            try:
                if len(data) <= SMALL:
                    over = not self._write_at_once(new, offset, data)
                else:
                    over = not self._write_and_list(new, offset, data)
                if over:
                    self._write_over(new, offset, data)
            except FileNotFoundError:
                raise faults.fault("BlobNotFound") from None
            except BaseException:
                self._stained.add(blob.content)
                raise
        return new

    def _write_at_once(self, new: Blob, offset: int, data: Data) -> bool:
        """Write few bytes in one transaction, where there is no data: whether that is so."""
        end = offset + len(data)
        with self._db.write() as connection:
            beside = pages.find_beside(connection, new.content, offset, end)
            if beside is None:
                return False
            tables.touch_blob(connection, new)
            pages.add_new(connection, new.content, beside, offset, end, new.generation)
            self._contents.write(new.content, offset, data)
        return True

    def _write_and_list(self, new: Blob, offset: int, data: Data) -> bool:
        """Write where there is no data, with other writers beside: whether that is so."""
        with self._db.read() as connection:
            if pages.find_beside(connection, new.content, offset, offset + len(data)) is None:
                return False
        self._contents.write(new.content, offset, data)
        with self._db.write() as connection:
            self._list(connection, new, offset, offset + len(data))
        return True

    def _write_over(self, new: Blob, offset: int, data: Data) -> None:
        """Write where there is data: a death in the middle must not leave a part of the new bytes.

        There must be room for both beforehand: what is in the table `redo` will be written.
        """
        self._contents.require_room(new.content, 2 * len(data))
        with self._db.write() as connection:
            self._list(connection, new, offset, offset + len(data))
            number = tables.insert_redo(connection, new.content, offset, data)
        self._contents.write(new.content, offset, data, reserved=True)
        with self._db.write() as connection:
            tables.delete_redo(connection, number)

    def _list(self, connection: Connection, new: Blob, start: int, end: int) -> None:
        tables.touch_blob(connection, new)
        pages.add(connection, new.content, start, end, new.generation)

    def _redo(self, content: str | None = None) -> None:
        """Write what was not written over yet: of one content, or of all."""
        with self._db.read() as connection:
            waiting = tables.find_redo(connection, content)
        for number, target, start, data in waiting:
            self._contents.write(target, start, data, reserved=True)
            with self._db.write() as connection:
                tables.delete_redo(connection, number)

    def clear_pages(self, ref: BlobRef, offset: int, length: int, *, check: Check = unchecked) -> Blob:
        """Make whole pages zero and give their space back."""
        with self._locks.exclusive(ref):
            blob = self._own_content(self._check_pages(ref, offset, offset + length, check))
            new = replace(blob, etag=self.new_etag(), last_modified=self.now())
            with self._space(), self._db.write() as connection:
                tables.touch_blob(connection, new)
                pages.remove(connection, blob.content, offset, offset + length, blob.generation)
            self._punch(blob.content, offset, offset + length)
        return new

    def _punch(self, content: str, start: int, end: int) -> None:
        """Give back the space of bytes that no row lists; if that fails, they wait for the next scrub."""
        try:
            self._contents.punch(content, [Extent(start, end)])
        except OSError as error:
            log.warning("%s: no hole at [%d, %d): %s", self._contents.path(content), start, end, error)
            self._stained.add(content)

    def resize(self, ref: BlobRef, size: int, *, check: Check = unchecked) -> Blob:
        """Give a page blob another size (a multiple of 512): zeros are added, or the end is cut off."""
        if size % PAGE or not 0 <= size <= MAXIMUM_SIZE:
            raise faults.invalid_header("x-ms-blob-content-length", str(size))
        with self._locks.exclusive(ref):
            checked = self._check_pages(ref, 0, 0, check)
            blob = self._own_content(checked)
            try:
                if size > blob.size:
                    self._contents.truncate(blob.content, size)
                new = self._store_size(blob, size)
                if size < blob.size:
                    self._contents.truncate(blob.content, size)
            except BaseException:
                self._stained.add(blob.content)
                raise
        return new

    def _store_size(self, blob: Blob, size: int) -> Blob:
        with self._space(), self._db.write() as connection:
            now = self._get_same(connection, blob)
            if size < blob.size:
                pages.remove(connection, blob.content, size, blob.size, blob.generation)
            connection.execute("UPDATE content SET size = ? WHERE id = ?", (size, blob.content))
            new = replace(now, size=size, etag=self.new_etag(), last_modified=self.now())
            tables.put_blob(connection, new)
        return new

    def page_ranges(
        self,
        ref: BlobRef,
        *,
        start: int = 0,
        end: int | None = None,
    ) -> list[Extent]:
        """The ranges within [start, end) that hold data, ascending and merged."""
        return self.content_ranges(self.get_blob(*ref), start, end)

    def content_ranges(self, blob: Blob, start: int = 0, end: int | None = None) -> list[Extent]:
        """As `page_ranges`, of a blob's content at the time of `blob`."""
        return [Extent(*span) for span in self.content_spans(blob, start, end)]

    def content_spans(self, blob: Blob, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
        """As `content_ranges`, as they are asked for; for the thread that asks."""
        limit = blob.size if end is None else min(end, blob.size)
        with self._db.read() as connection:
            yield from pages.spans(connection, blob.content, start, limit)

    def read(self, ref: BlobRef, offset: int, length: int) -> bytes:
        """Bytes of a blob; holes cost no reading. ValueError outside of it."""
        with self.reader(self.get_blob(*ref)) as read:
            return read(offset, length)

    @contextmanager
    def reader(self, blob: Blob) -> Iterator[Callable[[int, int], bytes]]:
        """A function that reads (offset, length) of a blob's content.

        Raises, at any piece, when the content is gone because the blob was deleted or given another one:
        a reader never gets zeros for bytes that somebody replaced meanwhile.
        """
        try:
            descriptor = self._contents.open(blob.content)
        except FileNotFoundError:
            raise self._lost(blob) from None
        try:
            yield lambda offset, length: self._read(blob, descriptor, offset, length)
        finally:
            os.close(descriptor)

    def _read(self, blob: Blob, descriptor: int, offset: int, length: int) -> bytes:
        if offset < 0 or length < 0 or offset + length > blob.size:
            raise ValueError(f"[{offset}, {offset + length}) is not inside of a blob of {blob.size} bytes")
        ranges = self.content_ranges(blob, offset, offset + length)
        if not self._exists(blob.content):
            raise self._lost(blob)
        if ranges == [(offset, offset + length)]:
            data = os.pread(descriptor, length, offset)
            return data if len(data) == length else data + bytes(length - len(data))
        buffer = bytearray(length)
        for start, end in ranges:
            piece = os.pread(descriptor, end - start, start)
            buffer[start - offset : start - offset + len(piece)] = piece
        return bytes(buffer)

    # -- inside

    def _check_pages(self, ref: BlobRef, start: int, end: int, check: Check) -> Blob:
        blob = self.get_blob(*ref)
        if blob.type != PAGE_BLOB:
            raise faults.fault("InvalidBlobType")
        if start % PAGE or end % PAGE or start < 0 or end > blob.size:
            raise faults.fault("InvalidPageRange")
        check(blob)
        return blob

    def _exists(self, content: str) -> bool:
        with self._db.read() as connection:
            return connection.execute("SELECT 1 FROM content WHERE id = ?", (content,)).fetchone() is not None

    def _lost(self, blob: Blob) -> AzureError:
        """Why a content is gone: its blob was deleted, or has another one by now, so to be asked again."""
        now = self.find_blob(*blob.ref)
        return faults.fault("BlobNotFound" if now is None else "ServerBusy")

    def _seal(self, ref: BlobRef) -> Blob:
        """Seal a blob's content; the caller holds the blob exclusively."""
        blob = self.get_blob(*ref)
        if blob.sealed:
            return blob
        self._clean(blob)
        with self._db.write() as connection:
            connection.execute("UPDATE content SET sealed = 1 WHERE id = ?", (blob.content,))
        return replace(blob, sealed=True)

    def _clean(self, blob: Blob) -> None:
        """Mend what a write that failed has left; the caller holds the blob exclusively.

        To be done before anything else is written: bytes in the table `redo` are older than that.
        """
        if blob.content not in self._stained:
            return
        self._locks.refuse_to_wait()
        with self._space():
            self._redo(blob.content)
            self._contents.truncate(blob.content, blob.size)
            self._scrub(blob.content, blob.size)
        self._stained.discard(blob.content)

    def _own_content(self, blob: Blob) -> Blob:
        """The blob with a content that may be written; the caller holds the blob exclusively."""
        if not blob.sealed:
            self._clean(blob)
            return blob
        self._locks.refuse_to_wait()
        new = replace(blob, content=uuid.uuid4().hex, sealed=False, generation=blob.generation + 1)
        with self._making(new.content):
            self._contents.copy(blob.content, new.content, blob.size, self.content_ranges(blob))
            with self._db.write() as connection:
                tables.insert_content(connection, new.content, blob.size, new.generation)
                pages.copy(connection, blob.content, new.content)
                self._get_same(connection, blob)
                unused = self._place(connection, blob, new)
        self._remove_files(unused)
        return new

    def _scrub(self, content: str, size: int) -> None:
        """Punch out what the page table does not list."""
        descriptor = self._contents.open(content)
        try:
            held = Extents(data_ranges(descriptor, size))
        finally:
            os.close(descriptor)
        with self._db.read() as connection:
            listed = Extents(pages.ranges(connection, content, 0, size))
        self._contents.punch(content, held.subtract(listed))

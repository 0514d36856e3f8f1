"""Blobs and their bytes: made, written, cleared, resized, read, deleted.

The order of effects, the locks and what a crash leaves are told at the top of `store`.
"""

from __future__ import annotations

import errno
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vmstamp.blob import faults, pages, tables
from vmstamp.blob.accounts import Accounts
from vmstamp.blob.content import data_ranges
from vmstamp.blob.locks import KeyLocks
from vmstamp.blob.records import (
    BLOCK_BLOB,
    PAGE_BLOB,
    Blob,
    BlobRef,
    BlobType,
    HttpHeaders,
    blob_of,
)
from vmstamp.db import Connection, Database
from vmstamp.errors import AzureError
from vmstamp.extents import Extent, Extents

log = logging.getLogger("vmstamp.blob")

PAGE: Final = 512  # bytes; pages are written and cleared whole
MAXIMUM_SIZE: Final = 8 * 2**40  # bytes of a page blob
_SQLITE_FULL: Final = 13

Check = Callable[[Blob | None], None]


def unchecked(blob: Blob | None) -> None:
    """The check of the stamp's own rooms: nothing is refused."""


class Blobs(Accounts):
    """The blobs of one stamp: the middle layer of `store.BlobStore`. Thread-safe."""

    def __init__(
        self,
        db: Database,
        content_directory: Path,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(db, content_directory, clock)
        self._locks = KeyLocks()
        self._stained: set[str] = set()  # contents with bytes outside their table, by a write that failed

    # -- blobs

    def find_blob(self, account: str, container: str, name: str) -> Blob | None:
        with self._db.read() as connection:
            return tables.find_blob(connection, BlobRef(account, container, name))

    def get_blob(self, account: str, container: str, name: str) -> Blob:
        """Raises 404 BlobNotFound, or ContainerNotFound when that is the reason."""
        blob = self.find_blob(account, container, name)
        if blob is None:
            self.get_container(account, container)
            raise faults.fault("BlobNotFound")
        return blob

    def list_blobs(
        self, account: str, container: str, *, prefix: str = "", start: str = "", count: int = 5000
    ) -> tuple[list[Blob], bool]:
        """Blobs by name from `start` on, at most `count`, and whether more follow."""
        with self._db.read() as connection:
            rows = connection.execute(
                "SELECT * FROM blob WHERE account = ? AND container = ? AND name >= ? "
                "AND substr(name, 1, ?) = ? ORDER BY name LIMIT ?",
                (account, container, max(start, prefix), len(prefix), prefix, count + 1),
            ).fetchall()
        blobs = [blob_of(row) for row in rows]
        return blobs[:count], len(blobs) > count

    def create_page_blob(
        self,
        account: str,
        container: str,
        name: str,
        size: int,
        *,
        metadata: dict[str, str] | None = None,
        headers: HttpHeaders | None = None,
        sequence_number: int = 0,
        check: Check = unchecked,
    ) -> Blob:
        """A page blob of `size` zeros (a multiple of 512, at most 8 TiB); it replaces a blob of the name."""
        if size % PAGE or not 0 <= size <= MAXIMUM_SIZE:
            raise faults.invalid_header("x-ms-blob-content-length", str(size))
        ref = BlobRef(account, container, name)
        new = self._new_blob(ref, PAGE_BLOB, size)
        new = replace(
            new, metadata=metadata or {}, headers=headers or HttpHeaders(), sequence_number=sequence_number
        )
        return self._put(new, check, lambda: self._contents.create(new.content, size), [])

    def put_block_blob(
        self,
        account: str,
        container: str,
        name: str,
        data: bytes | bytearray | Path,
        content_type: str = "application/octet-stream",
        *,
        metadata: dict[str, str] | None = None,
        headers: HttpHeaders | None = None,
        check: Check = unchecked,
    ) -> Blob:
        """A block blob with all of its bytes; it replaces a blob of the name. A file is read as it is now."""
        content = data.read_bytes() if isinstance(data, Path) else data
        ref = BlobRef(account, container, name)
        new = self._new_blob(ref, BLOCK_BLOB, len(content))
        kept = headers or HttpHeaders(content_type=content_type)
        new = replace(new, metadata=metadata or {}, headers=kept)

        def make() -> None:
            self._contents.create(new.content, len(content))
            self._contents.write(new.content, 0, content)

        return self._put(new, check, make, [Extent(0, len(content))] if content else [])

    def _new_blob(self, ref: BlobRef, kind: BlobType, size: int) -> Blob:
        now = self.now()
        return Blob(ref, kind, size, uuid.uuid4().hex, self.new_etag(), now, now)

    def _put(self, new: Blob, check: Check, make: Callable[[], None], ranges: list[Extent]) -> Blob:
        """Give a name a new blob whose content file `make` writes and whose page table is `ranges`."""
        with self._locks.exclusive(new.ref), self._making(new.content):
            self._check_place(new.ref, check)
            make()
            with self._db.write() as connection:
                old = self._check_place_in(connection, new.ref, check)
                tables.insert_content(connection, new.content, new.size)
                for start, end in ranges:
                    pages.add(connection, new.content, start, end)
                kept = new if old is None else replace(new, lease=old.lease)
                unused = replace_blob(connection, old, kept)
        self._remove_files(unused)
        return kept

    def delete_blob(self, account: str, container: str, name: str, check: Check = unchecked) -> None:
        ref = BlobRef(account, container, name)
        with self._locks.exclusive(ref):
            with self._db.write() as connection:
                blob = self._get(connection, ref)
                check(blob)
                tables.delete_blob(connection, ref)
                unused = tables.delete_unused(connection, [blob.content])
            self._remove_files(unused)

    def update_blob(
        self, ref: BlobRef, change: Callable[[Blob], Blob], *, check: Check = unchecked, touch: bool = True
    ) -> Blob:
        """Store what `change` makes of a blob: metadata, headers, sequence number, lease (not its bytes).

        `touch`: the blob counts as modified (a lease does not modify it).
        """
        with self._locks.exclusive(ref), self._db.write() as connection:
            blob = self._get(connection, ref)
            check(blob)
            new = change(blob)
            if touch:
                new = replace(new, etag=self.new_etag(), last_modified=self.now())
            tables.put_blob(connection, new)
        return new

    # -- bytes

    def write_pages(
        self,
        account: str,
        container: str,
        name: str,
        offset: int,
        data: bytes | bytearray | memoryview,
        *,
        check: Check = unchecked,
        alone: bool = False,
    ) -> Blob:
        """Write whole pages inside the blob; `alone` when `check` looks at what another write changes."""
        ref = BlobRef(account, container, name)
        end = offset + len(data)
        if not alone:
            with self._locks.shared(ref):
                blob = self._check_pages(ref, offset, end, check)
                if not self._is_sealed(blob.content):
                    return self._write(blob, offset, data)
        with self._locks.exclusive(ref):
            blob = self._check_pages(ref, offset, end, check)
            return self._write(self._own_content(blob), offset, data)

    def _write(self, blob: Blob, offset: int, data: bytes | bytearray | memoryview) -> Blob:
        end = offset + len(data)
        with self._space():
            try:
                self._contents.write(blob.content, offset, data)
                with self._db.write() as connection:
                    now = self._get_same(connection, blob)
                    pages.add(connection, blob.content, offset, end)
                    new = replace(now, etag=self.new_etag(), last_modified=self.now())
                    tables.touch_blob(connection, new)
            except FileNotFoundError:
                raise faults.fault("BlobNotFound") from None
            except BaseException:
                self._stained.add(blob.content)
                raise
        return new

    def clear_pages(
        self, account: str, container: str, name: str, offset: int, length: int, *, check: Check = unchecked
    ) -> Blob:
        """Make whole pages zero and give their space back."""
        ref = BlobRef(account, container, name)
        with self._locks.exclusive(ref):
            blob = self._own_content(self._check_pages(ref, offset, offset + length, check))
            with self._space(), self._db.write() as connection:
                now = self._get_same(connection, blob)
                pages.remove(connection, blob.content, offset, offset + length)
                new = replace(now, etag=self.new_etag(), last_modified=self.now())
                tables.touch_blob(connection, new)
            self._punch(blob.content, offset, offset + length)
        return new

    def _punch(self, content: str, start: int, end: int) -> None:
        """Give back the space of bytes that no row lists; if that fails, they wait for the next scrub."""
        try:
            self._contents.punch(content, [Extent(start, end)])
        except OSError as error:
            log.warning("%s: no hole at [%d, %d): %s", self._contents.path(content), start, end, error)
            self._stained.add(content)

    def resize(self, account: str, container: str, name: str, size: int, *, check: Check = unchecked) -> Blob:
        """Give a page blob another size (a multiple of 512): zeros are added, or the end is cut off."""
        if size % PAGE or not 0 <= size <= MAXIMUM_SIZE:
            raise faults.invalid_header("x-ms-blob-content-length", str(size))
        ref = BlobRef(account, container, name)
        with self._locks.exclusive(ref):
            checked = self._check_pages(ref, 0, 0, check)
            blob = self._own_content(checked)
            if size > blob.size:
                self._contents.truncate(blob.content, size)
            with self._space(), self._db.write() as connection:
                now = self._get_same(connection, blob)
                if size < blob.size:
                    pages.remove(connection, blob.content, size, blob.size)
                connection.execute("UPDATE content SET size = ? WHERE id = ?", (size, blob.content))
                new = replace(now, size=size, etag=self.new_etag(), last_modified=self.now())
                tables.put_blob(connection, new)
            if size < blob.size:
                self._contents.truncate(blob.content, size)
        return new

    def page_ranges(
        self, account: str, container: str, name: str, start: int = 0, end: int | None = None
    ) -> list[Extent]:
        """The ranges within [start, end) that hold data, ascending and merged."""
        return self.content_ranges(self.get_blob(account, container, name), start, end)

    def content_ranges(
        self, blob: Blob, start: int = 0, end: int | None = None, count: int | None = None
    ) -> list[Extent]:
        """As `page_ranges`, of a blob's content at the time of `blob`; at most `count`."""
        limit = blob.size if end is None else min(end, blob.size)
        found: list[Extent] = []
        with self._db.read() as connection:
            for extent in pages.ranges(connection, blob.content, start, limit):
                if count is not None and len(found) >= count:
                    break
                found.append(extent)
        return found

    def read(self, account: str, container: str, name: str, offset: int, length: int) -> bytes:
        """Bytes of a blob; holes cost no reading. ValueError outside of it."""
        with self.reader(self.get_blob(account, container, name)) as read:
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

    def _get(self, connection: Connection, ref: BlobRef) -> Blob:
        blob = tables.find_blob(connection, ref)
        if blob is None:
            missing = (
                "BlobNotFound"
                if tables.find_container(connection, ref.account, ref.container)
                else "ContainerNotFound"
            )
            raise faults.fault(missing)
        return blob

    def _get_same(self, connection: Connection, blob: Blob) -> Blob:
        """The blob as it is now, if it still has the content it had."""
        now = self._get(connection, blob.ref)
        if now.content != blob.content:
            raise faults.fault("BlobNotFound")
        return now

    def _check_place(self, ref: BlobRef, check: Check) -> None:
        with self._db.read() as connection:
            self._check_place_in(connection, ref, check)

    def _check_place_in(self, connection: Connection, ref: BlobRef, check: Check) -> Blob | None:
        if tables.find_container(connection, ref.account, ref.container) is None:
            raise faults.fault("ContainerNotFound")
        old = tables.find_blob(connection, ref)
        check(old)
        return old

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

    def _is_sealed(self, content: str) -> bool:
        with self._db.read() as connection:
            row = connection.execute("SELECT sealed FROM content WHERE id = ?", (content,)).fetchone()
        return bool(row and row["sealed"])

    def _seal(self, ref: BlobRef) -> Blob:
        """Seal a blob's content; the caller holds the blob exclusively."""
        blob = self.get_blob(*ref)
        if self._is_sealed(blob.content):
            return blob
        if blob.content in self._stained:
            self._scrub(blob.content, blob.size)
            self._stained.discard(blob.content)
        with self._db.write() as connection:
            connection.execute("UPDATE content SET sealed = 1 WHERE id = ?", (blob.content,))
        return blob

    def _own_content(self, blob: Blob) -> Blob:
        """The blob with a content that may be written; the caller holds the blob exclusively."""
        if not self._is_sealed(blob.content):
            return blob
        new = replace(blob, content=uuid.uuid4().hex)
        with self._making(new.content):
            self._contents.copy(blob.content, new.content, blob.size, self.content_ranges(blob))
            with self._db.write() as connection:
                tables.insert_content(connection, new.content, blob.size)
                pages.copy(connection, blob.content, new.content)
                self._get_same(connection, blob)
                unused = replace_blob(connection, blob, new)
        self._remove_files(unused)
        return new

    @contextmanager
    def _making(self, content: str) -> Iterator[None]:
        """Around the making of a new content: its file is removed when that fails."""
        try:
            with self._space():
                yield
        except BaseException:
            self._contents.remove(content)
            raise

    @contextmanager
    def _space(self) -> Iterator[None]:
        """Say in Azure's name that the file system is full."""
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise faults.no_space() from error
        except Exception as error:
            if getattr(error, "sqlite_errorcode", None) != _SQLITE_FULL:
                raise
            raise faults.no_space() from error

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


def replace_blob(connection: Connection, old: Blob | None, new: Blob) -> list[str]:
    """Store `new` in the place of `old`; the contents that nobody names any more."""
    tables.put_blob(connection, new)
    return [] if old is None else tables.delete_unused(connection, [old.content])

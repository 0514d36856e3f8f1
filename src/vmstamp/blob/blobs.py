"""Blobs and their bytes: made, written, cleared, resized, read, deleted.

The order of effects, the locks and what a crash leaves are told at the top of `store`.
"""

from __future__ import annotations

import errno
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from vmstamp.blob import faults, pages, tables
from vmstamp.blob.accounts import Accounts
from vmstamp.blob.content import data_ranges
from vmstamp.blob.locks import KeyLocks, WouldWait
from vmstamp.blob.records import (
    BLOCK_BLOB,
    PAGE_BLOB,
    Blob,
    BlobRef,
    BlobType,
    HttpHeaders,
    blob_of,
    time_text,
)
from vmstamp.db import Connection, Database
from vmstamp.errors import AzureError
from vmstamp.extents import Extent, Extents

log = logging.getLogger("vmstamp.blob")

PAGE: Final = 512  # bytes; pages are written and cleared whole
MAXIMUM_SIZE: Final = 8 * 2**40  # bytes of a page blob
_SQLITE_FULL: Final = 13

Check = Callable[[Blob | None], None]


class Position(NamedTuple):
    """A place in a listing: a blob's snapshots come before itself, oldest first."""

    name: str = ""
    snapshot: str = ""

    @classmethod
    def of(cls, blob: Blob) -> Position:
        return cls(blob.ref.name, blob.ref.snapshot or "~")

    @property
    def behind(self) -> Position:
        return Position(self.name, self.snapshot + "\0")


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

    def find_blob(self, account: str, container: str, name: str, snapshot: str = "") -> Blob | None:
        with self._db.read() as connection:
            return tables.find_blob(connection, BlobRef(account, container, name, snapshot))

    def get_blob(self, account: str, container: str, name: str, snapshot: str = "") -> Blob:
        """Raises 404 BlobNotFound, or ContainerNotFound when that is the reason."""
        blob = self.find_blob(account, container, name, snapshot)
        if blob is None:
            self.get_container(account, container)
            raise faults.fault("BlobNotFound")
        return blob

    def list_blobs(
        self,
        account: str,
        container: str,
        *,
        prefix: str = "",
        start: Position | None = None,
        count: int = 5000,
        snapshots: bool = False,
        deleted: bool = False,
        uncommitted: bool = False,
    ) -> tuple[list[Blob], bool]:
        """Blobs by name from `start` on, at most `count`, and whether more follow.

        With `snapshots` and `deleted` also snapshots, and what is soft-deleted; with `uncommitted` also names
        that have blocks and no blob yet.
        """
        name, snapshot = start or Position()
        with self._db.read() as connection:
            rows = connection.execute(
                "SELECT *, CASE snapshot WHEN '' THEN '~' ELSE snapshot END AS place FROM blob_content "
                "WHERE account = ? AND container = ? AND name >= ? AND substr(name, 1, ?) = ? "
                "AND (name > ? OR place >= ?) AND (? OR snapshot = '' OR deleted != '') "
                "AND (deleted = '' OR (? AND expires > ?)) ORDER BY name, place LIMIT ?",
                (
                    *(account, container, max(name, prefix), len(prefix), prefix, name, snapshot),
                    *(snapshots, deleted, time_text(self.now()), count + 1),
                ),
            ).fetchall()
            names = tables.staged_names(connection, account, container, prefix) if uncommitted else []
        blobs = [blob_of(row) for row in rows]
        if names:
            blocks = [self._new_blob(BlobRef(account, container, each), BLOCK_BLOB, 0) for each in names]
            blobs += [blob for blob in blocks if Position.of(blob) >= Position(name, snapshot)]
            blobs.sort(key=Position.of)
        return blobs[:count], len(blobs) > count

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

    def _new_blob(self, ref: BlobRef, kind: BlobType, size: int) -> Blob:
        now = self.now()
        content, lineage = uuid.uuid4().hex, uuid.uuid4().hex
        return Blob(ref, kind, size, content, self.new_etag(), now, now, lineage=lineage)

    def _put(
        self,
        new: Blob,
        check: Check,
        make: Callable[[], None],
        ranges: list[Extent],
        length: int | None = None,
    ) -> Blob:
        """Give a name a new blob whose content file `make` writes and whose page table is `ranges`.

        `length` is that of the file, where it is not the blob's size. Uncommitted blocks of the name go.
        """
        with self._locks.exclusive(new.ref), self._making(new.content):
            self._check_place(new.ref, check)
            make()
            with self._db.write() as connection:
                old = self._check_place_in(connection, new.ref, check)
                tables.insert_content(connection, new.content, new.size if length is None else length)
                for start, end in ranges:
                    pages.add(connection, new.content, start, end)
                freed = tables.delete_staged(connection, new.ref)
                kept = new if old is None else replace(new, lease=old.lease)
                unused = self._place(connection, old, kept) + tables.delete_unused(connection, freed)
        self._remove_files(unused)
        return kept

    def delete_blob(
        self,
        account: str,
        container: str,
        name: str,
        snapshot: str = "",
        *,
        snapshots: str = "",
        check: Check = unchecked,
    ) -> bool:
        """Delete a blob or one snapshot; whether it is gone for good, and not soft-deleted.

        `snapshots`: "include" deletes the blob's snapshots too, "only" nothing else. Without, a blob that has
        some is refused: 409 SnapshotsPresent.
        """
        ref = BlobRef(account, container, name, snapshot)
        with self._locks.exclusive(ref.base):
            with self._db.write() as connection:
                blob = self._get(connection, ref)
                check(blob)
                older = [] if snapshot else tables.snapshots(connection, ref, deleted=False)
                if older and not snapshots:
                    raise faults.fault("SnapshotsPresent")
                gone = older if snapshots == "only" else [*older, blob]
                days = self._retention(connection, account)
                for each in gone:
                    self._delete(connection, each, days)
                freed = [each.content for each in gone] + tables.delete_expired(connection, self.now())
                if not snapshot and snapshots != "only":
                    freed += tables.delete_staged(connection, ref)
                unused = tables.delete_unused(connection, freed)
            self._remove_files(unused)
        return not days

    def _delete(self, connection: Connection, blob: Blob, days: int) -> None:
        if days:
            tables.put_blob(connection, self._soft_deleted(blob, days))
        else:
            tables.delete_blob(connection, blob.ref)

    def _soft_deleted(self, blob: Blob, days: int) -> Blob:
        now = self.now()
        return replace(blob, lease=None, deleted=now, expires=now + timedelta(days=days))

    def _retention(self, connection: Connection, account: str) -> int:
        """The days for which this account keeps what is deleted; 0: it does not."""
        found = tables.find_account(connection, account)
        return 0 if found is None else found.properties.retention_days

    def _place(self, connection: Connection, old: Blob | None, new: Blob) -> list[str]:
        """Store `new` under its name; the contents that nobody names any more.

        What it overwrites as a whole becomes a soft-deleted snapshot where the account keeps what is deleted.
        """
        gone = old or tables.find_blob(connection, new.ref, deleted=True)
        if gone is not None and gone.lineage != new.lineage:
            days = self._retention(connection, gone.ref.account)
            kept = gone if gone.deleted or not days else self._soft_deleted(gone, days)
            if kept.deleted:
                moved = replace(kept, ref=kept.ref._replace(snapshot=self.new_snapshot()))
                tables.put_blob(connection, moved)
        tables.put_blob(connection, new)
        return [] if gone is None else tables.delete_unused(connection, [gone.content])

    def update_blob(
        self, ref: BlobRef, change: Callable[[Blob], Blob], *, check: Check = unchecked, touch: bool = True
    ) -> Blob:
        """Store what `change` makes of a blob: metadata, headers, sequence number, lease (not its bytes).

        `touch`: the blob counts as modified (a lease does not modify it).
        """
        with self._locks.exclusive(ref.base), self._db.write() as connection:
            blob = self._get(connection, ref)
            check(blob)
            new = change(blob)
            if touch:
                new = replace(new, etag=self.new_etag(), last_modified=self.now())
            tables.put_blob(connection, new)
        return new

    @contextmanager
    def without_waiting(self) -> Iterator[None]:
        """What is done inside, by this thread, takes no longer than the disk does; else it raises WouldWait.

        After that nothing has been changed.
        """
        with self._db.reserved() as free, self._locks.without_waiting():
            if not free:
                raise WouldWait
            yield

    def take_time(self) -> None:
        """Say that what comes next takes long: raises WouldWait inside of `without_waiting`."""
        self._locks.refuse_to_wait()

    # -- bytes

    def write_pages(
        self,
        ref: BlobRef,
        offset: int,
        data: bytes | bytearray | memoryview,
        *,
        check: Check = unchecked,
        alone: bool = False,
    ) -> Blob:
        """Write whole pages inside the blob; `alone` when `check` looks at what another write changes."""
        end = offset + len(data)
        if not alone:
            with self._locks.shared(ref):
                blob = self._check_pages(ref, offset, end, check)
                if not blob.sealed:
                    return self._write(blob, offset, data)
        with self._locks.exclusive(ref):
            blob = self._check_pages(ref, offset, end, check)
            return self._write(self._own_content(blob), offset, data)

    def _write(self, blob: Blob, offset: int, data: bytes | bytearray | memoryview) -> Blob:
        new = replace(blob, etag=self.new_etag(), last_modified=self.now())
        with self._space():
            try:
                with self._db.read() as connection:
                    over = pages.overlaps(connection, blob.content, offset, offset + len(data))
                if over:
                    self._write_over(new, offset, data)
                else:
                    self._contents.write(blob.content, offset, data)
                    with self._db.write() as connection:
                        self._list(connection, new, offset, offset + len(data))
            except FileNotFoundError:
                raise faults.fault("BlobNotFound") from None
            except BaseException:
                self._stained.add(blob.content)
                raise
        return new

    def _write_over(self, new: Blob, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write where there is data: a death in the middle must not leave a part of the new bytes."""
        with self._db.write() as connection:
            self._list(connection, new, offset, offset + len(data))
            number = tables.insert_redo(connection, new.content, offset, data)
        self._contents.write(new.content, offset, data)
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
            self._contents.write(target, start, data)
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
            if size > blob.size:
                self._contents.truncate(blob.content, size)
            with self._space(), self._db.write() as connection:
                now = self._get_same(connection, blob)
                if size < blob.size:
                    pages.remove(connection, blob.content, size, blob.size, blob.generation)
                connection.execute("UPDATE content SET size = ? WHERE id = ?", (size, blob.content))
                new = replace(now, size=size, etag=self.new_etag(), last_modified=self.now())
                tables.put_blob(connection, new)
            if size < blob.size:
                self._contents.truncate(blob.content, size)
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

    def content_ranges(
        self, blob: Blob, start: int = 0, end: int | None = None, count: int | None = None
    ) -> list[Extent]:
        """As `page_ranges`, of a blob's content at the time of `blob`; at most `count`."""
        limit = blob.size if end is None else min(end, blob.size)
        with self._db.read() as connection:
            return list(islice(pages.ranges(connection, blob.content, start, limit), count))

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

    def flush(self, blob: Blob) -> None:
        """Have a blob's bytes, and all that is committed, on the disk: they survive a loss of power.

        Flush points are Snapshot Blob and Put Block List, for their blob, and the orderly stop, for all.
        """
        with suppress(FileNotFoundError):  # deleted meanwhile
            self._contents.flush(blob.content)
        self._db.flush()

    def flush_all(self) -> None:
        """As `flush`, for every blob."""
        self._contents.flush_all()
        self._db.flush()

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

    def _seal(self, ref: BlobRef) -> Blob:
        """Seal a blob's content; the caller holds the blob exclusively."""
        blob = self.get_blob(*ref)
        if blob.sealed:
            return blob
        if blob.content in self._stained:
            self._redo(blob.content)
            self._contents.truncate(blob.content, blob.size)
            self._scrub(blob.content, blob.size)
            self._stained.discard(blob.content)
        with self._db.write() as connection:
            connection.execute("UPDATE content SET sealed = 1 WHERE id = ?", (blob.content,))
        return replace(blob, sealed=True)

    def _own_content(self, blob: Blob) -> Blob:
        """The blob with a content that may be written; the caller holds the blob exclusively."""
        if not blob.sealed:
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

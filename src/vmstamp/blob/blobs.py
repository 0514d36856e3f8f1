"""Blobs by their names: found, listed, put in the place of others, changed, deleted.

The order of effects, the locks and what a crash leaves are told at the top of `store`.
"""

from __future__ import annotations

import errno
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from vmstamp.blob import faults, pages, tables
from vmstamp.blob.accounts import Accounts
from vmstamp.blob.locks import Claims, KeyLocks, WouldWait
from vmstamp.blob.records import (
    BLOCK_BLOB,
    Blob,
    BlobRef,
    BlobType,
    blob_of,
    time_text,
)
from vmstamp.db import Connection, Database
from vmstamp.extents import Extent

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
        self._writes = Claims()  # the bytes of contents that writers with a shared key write just now
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

"""The store of one stamp's blobs: names and page tables in SQLite, bytes in sparse files.

The page table is the truth: what it does not list reads as zeros, whatever the file holds there.

What a crash (kill -9 at any instant) leaves, by the order of effects:

    write     bytes first, row second     a crash leaves bytes that no row lists: `recover` punches them out;
                                          few bytes are written inside of the row's transaction
    over      row and bytes in the table `redo`, then the bytes in their place: `recover` writes them
    append    bytes first, row second     a crash leaves a file too long: `recover` cuts it
    clear     row first, hole second      a crash leaves the same
    grow      file first, row second      a crash leaves a file too long: `recover` cuts it
    shrink    row first, file second      a crash leaves the same
    create    file first, row second      a crash leaves a file without a row: `recover` deletes it
    delete    row first, file second      a crash leaves the same

A write that fails while the server lives (no space) leaves the same. Its content is *stained* then, and is
mended in the same ways before it is written, cleared, resized or sealed next.

So whatever was answered is there afterwards, and nothing else is seen. After a loss of power that holds for
what was answered before the last flush; `flush` says what flushes.

A content is *sealed* when a second blob shares it or a virtual machine reads its file: it is never
written again. The next write to a blob gives the blob a copy of its own first.

Locks: writers of one blob hold its key shared; whoever clears, resizes, seals, shares, replaces or
deletes it, or whose conditions depend on an ETag, holds it exclusively. So no byte is written into a
content after it was sealed. Writers that hold it shared claim their bytes: what another one writes just
now is not free, and then the key is asked for exclusively, so that a death never leaves a part of one write
in what another one was answered. Deleting a container or an account takes no key: a writer that is under way
finds its blob gone when it commits. Readers take no lock.

Functions that change a blob take a `check`, called with the blob before the first effect; it raises
AzureError to refuse (lease, conditions).
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import islice
from pathlib import Path

from vmstamp.blob import faults, lease, pages, sas, tables
from vmstamp.blob.blobs import Check, Position, unchecked
from vmstamp.blob.blocks import UNCOMMITTED_KEPT
from vmstamp.blob.compare import changed
from vmstamp.blob.content import data_ranges
from vmstamp.blob.page_blobs import PAGE
from vmstamp.blob.records import PAGE_BLOB, Account, Blob, BlobRef, Container, CopyState, blob_of
from vmstamp.blob.snapshots import Snapshots
from vmstamp.blob.sources import Source
from vmstamp.blob.tags import Expression, matches
from vmstamp.extents import Extents

__all__ = ["PAGE", "Account", "Blob", "BlobRef", "BlobStore", "Check", "Container", "Position"]

log = logging.getLogger("vmstamp.blob")


class BlobStore(Snapshots):
    """The blobs of one stamp, and what its virtual machines, disks and images need of them.

    Thread-safe; every method may block on the disk. Raises AzureError with the Blob service's own codes; no
    space: see `faults.no_space`.
    """

    def recover(self) -> None:
        """Make files and rows agree; to be called before anything else uses the store."""
        with self._db.write() as connection:
            tables.delete_expired(connection, self.now())
            tables.delete_staged_before(connection, self.now() - UNCOMMITTED_KEPT)
            tables.delete_all_unused(connection)
            interrupted = tables.pending_copies(connection)
            for blob in interrupted:
                tables.put_blob(connection, self._interrupted(blob))
            rows = connection.execute("SELECT id, size, sealed FROM content").fetchall()
        self._redo()
        known = {row["id"] for row in rows}
        for name in self._contents.names() - known:
            self._contents.remove(name)
        for row in rows:
            try:
                if not row["sealed"]:
                    self._contents.truncate(row["id"], row["size"])
                    self._scrub(row["id"], row["size"])
            except FileNotFoundError:
                log.error(
                    "the content file %s is gone: its blob cannot be read", self._contents.path(row["id"])
                )
        for blob in interrupted:
            if blob.copy is not None:
                self.empty(blob.ref, blob.copy.id)

    def _interrupted(self, blob: Blob) -> Blob:
        why = "500 InternalError The server ended before the copy did. Begin it anew."
        copy = blob.copy and replace(blob.copy, status="failed", description=why, completed=self.now())
        return replace(blob, copy=copy)

    def find_tagged(
        self, account: str, container: str, expression: Expression, start: tuple[str, str], count: int
    ) -> list[Blob]:
        """Blobs whose tags an expression fits, by container and name from `start` on, at most `count`.

        `container` "" is all of them; `@container` in the expression stands for the container's name.
        """
        with self._db.read() as connection:
            rows = connection.execute(
                "SELECT * FROM blob_content WHERE account = ?1 AND (?2 = '' OR container = ?2) "
                "AND snapshot = '' AND deleted = '' AND (container, name) >= (?3, ?4) "
                "AND document -> '$.tags' IS NOT NULL ORDER BY container, name",
                (account, container, *start),
            )
            found = (blob_of(row) for row in rows)
            fitting = (
                blob for blob in found if matches(expression, blob.tags | {"@container": blob.ref.container})
            )
            return list(islice(fitting, count))

    # -- copies from foreign sources, piece by piece (`copies`)

    def begin_copy(
        self, ref: BlobRef, source: Source, copy: CopyState, change: Callable[[Blob], Blob], check: Check
    ) -> Blob:
        """The destination of a copy that is to go on; only a page blob has its full size at once."""
        new = self._new_blob(ref, source.type, source.size if source.type == PAGE_BLOB else 0)
        new = change(
            replace(
                new,
                copy=copy,
                metadata=source.metadata,
                headers=source.headers,
                sequence_number=source.sequence_number,
            )
        )
        return self._put(new, check, lambda: self._contents.create(new.content, source.size), [], source.size)

    def write_copied(self, begun: Blob, offset: int, data: bytes) -> None:
        """Bytes of a copy. Raises 409 NoPendingCopyOperation when it has been ended meanwhile."""
        with self._locks.shared(begun.ref), self._space():
            if not self.get_blob(*begun.ref).awaits(begun):
                raise faults.fault("NoPendingCopyOperation")
            self._contents.write(begun.content, offset, data)
            with self._db.write() as connection:
                pages.add(connection, begun.content, offset, offset + len(data))

    def empty(self, ref: BlobRef, copy_id: str) -> None:
        """Leave nothing of a copy that did not succeed."""
        content = uuid.uuid4().hex
        with self._locks.exclusive(ref), self._making(content):
            self._contents.create(content, 0)
            with self._db.write() as connection:
                blob = self._get(connection, ref)
                if blob.copy is None or blob.copy.id != copy_id:
                    raise faults.fault("NoPendingCopyOperation")
                tables.insert_content(connection, content, 0)
                unused = self._place(connection, blob, replace(blob, content=content, size=0))
        self._remove_files(unused)

    # -- what virtual machines, disks and images need

    def share(
        self,
        source: BlobRef,
        destination: BlobRef,
        *,
        overwrite: bool = False,
        check: Check = unchecked,
        source_check: Check = unchecked,
        change: Callable[[Blob], Blob] = lambda blob: blob,
        copied_from: str = "",
    ) -> Blob:
        """A new blob with the source's bytes, in a time that does not depend on their number.

        The two share one content until one of them is written. `change` gives the new blob other properties;
        with `copied_from`, a URL, it says that it is a copy. Raises 409 BlobAlreadyExists unless `overwrite`.
        """
        with self._exclusive_both(source.base, destination):
            self._seal(source)
            with self._space(), self._db.write() as connection:
                origin = self._get(connection, source)
                source_check(origin)
                old = self._check_place_in(connection, destination, check)
                if old is not None and not overwrite:
                    raise faults.fault("BlobAlreadyExists")
                new = change(self._shared(origin, destination, copied_from))
                new = new if old is None else replace(new, lease=old.lease)
                unused = self._place(connection, old, new)
                unused += tables.delete_unused(connection, tables.delete_staged(connection, destination))
            self._remove_files(unused)
        return new

    def _shared(self, origin: Blob, ref: BlobRef, copied_from: str) -> Blob:
        now = self.now()
        copy = None
        if copied_from:
            copy = CopyState(str(uuid.uuid4()), copied_from, origin.size, origin.size, now)
        return replace(
            origin,
            ref=ref,
            etag=self.new_etag(),
            created=now,
            last_modified=now,
            lease=None,
            copy=copy,
            lineage=uuid.uuid4().hex,
            incremental=False,
        )

    def content_path(self, ref: BlobRef) -> Path:
        """The file with a blob's bytes, sealed: it stays as it is while any blob has this content."""
        with self._locks.exclusive(ref):
            return self._contents.path(self._seal(ref).content)

    def add_snapshot(self, source: BlobRef, snapshot: BlobRef, lineage: str) -> None:
        """Make `snapshot`, a snapshot of a blob that is made with its first, of the bytes that `source` has.

        The blob itself has the bytes of its newest one. Snapshots of one lineage can be compared: their
        contents must follow from each other by writes, or by `replace_content` with `since`.
        """
        with self._exclusive_both(source.base, snapshot.base):
            self._seal(source)
            with self._space(), self._db.write() as connection:
                origin = self._get(connection, source)
                old = tables.find_blob(connection, snapshot.base)
                base = replace(self._shared(origin, snapshot.base, ""), lineage=lineage)
                unused = self._place(connection, old, base)
                new = replace(base, ref=snapshot)
                tables.put_blob(connection, new)
            self._remove_files(unused)
        self.flush(new)

    def newest_snapshot(self, ref: BlobRef) -> Blob | None:
        """The newest snapshot of a blob."""
        with self._db.read() as connection:
            found = tables.snapshots(connection, ref, deleted=False)
        return found[-1] if found else None

    def replace_content(self, ref: BlobRef, path: Path, since: Blob | None = None) -> None:
        """Give a blob the bytes of a sparse file, which is the store's from now on; its holes are zeros.

        The file's size becomes the blob's and must be a multiple of 512. `path` is gone afterwards; when
        this raises, it is still there. All of it counts as written now; with `since`, a snapshot, only what
        differs from that does: both are read for it.
        """
        content = uuid.uuid4().hex
        size = path.stat().st_size
        if size % PAGE:
            raise ValueError(f"{path}: its size of {size} bytes is not a multiple of {PAGE}")
        with self._locks.exclusive(ref), self._making(content):
            self._contents.adopt(path, content)
            written, held = self._written(content, size, since)
            with self._db.write() as connection:
                blob = self._get(connection, ref)
                generation = max(blob.generation, since.generation if since else 0) + 1
                tables.insert_content(connection, content, size, generation)
                if since:
                    pages.copy(connection, since.content, content)
                    for start, end in Extents([(0, max(size, since.size))]).subtract(held):
                        pages.remove(connection, content, start, end, generation)
                for start, end in written:
                    pages.add(connection, content, start, end, generation)
                new = replace(
                    blob, content=content, size=size, etag=self.new_etag(), last_modified=self.now()
                )
                unused = self._place(connection, blob, new)
        self._remove_files(unused)
        path.unlink(missing_ok=True)

    def _written(self, content: str, size: int, since: Blob | None) -> tuple[Extents, Extents]:
        """What of a content that has no page table yet differs from a snapshot, and what holds data."""
        descriptor = self._contents.open(content)
        try:
            held = Extents(data_ranges(descriptor, size))
            if since is None:
                return held, held
            with self.reader(since) as read:
                found = changed(
                    lambda offset, length: os.pread(descriptor, length, offset),
                    lambda offset, length: _padded(read, since.size, offset, length),
                    held,
                )
                return Extents(found), held
        finally:
            os.close(descriptor)

    def acquire_infinite_lease(self, ref: BlobRef, lease_id: str) -> None:
        """Raises 409 LeaseAlreadyPresent when somebody else holds one; taking one's own again is no error."""
        self.update_blob(
            ref,
            lambda blob: replace(blob, lease=lease.acquire(blob.lease, lease_id, lease.INFINITE, self.now())),
            touch=False,
        )

    def release_lease(self, ref: BlobRef, lease_id: str) -> None:
        """End a lease; nothing happens when the blob or its lease is gone."""
        blob = self.find_blob(*ref)
        if blob is None or blob.lease is None or blob.lease.id != lease_id:
            return
        self.update_blob(ref, lambda found: replace(found, lease=None), touch=False)

    def sign_sas(
        self,
        ref: BlobRef,
        *,
        permissions: str,
        start: datetime | None,
        expiry: datetime | None,
        policy: str | None,
    ) -> str:
        """The query string of a SAS for one blob or snapshot, signed with key1."""
        return sas.make_service_sas(
            self.get_account(ref.account).key1,
            f"/{ref.account}/{ref.container}/{ref.name}",
            "bs" if ref.snapshot else "b",
            snapshot=ref.snapshot,
            permissions=permissions,
            start=start,
            expiry=expiry,
            policy=policy,
        )

    @contextmanager
    def _exclusive_both(self, one: BlobRef, other: BlobRef) -> Iterator[None]:
        first, second = sorted((one, other))
        with self._locks.exclusive(first):
            if first == second:
                yield
                return
            with self._locks.exclusive(second):
                yield


def _padded(read: Callable[[int, int], bytes], size: int, offset: int, length: int) -> bytes:
    """Bytes of a blob of `size` bytes, with zeros behind its end."""
    there = min(length, max(0, size - offset))
    return (read(offset, there) if there else b"").ljust(length, b"\0")

"""Snapshots of blobs: taken, compared, carried on by incremental copies, brought back after a soft delete.

A snapshot is a row of its own that names the blob's content, sealed: it takes no space until the blob is
written. Pages carry the generation of their last write, and a content that was copied to be written has the
next generation: so what was written since a snapshot is known exactly.
REST: Snapshot Blob; Get Page Ranges; Incremental Copy Blob; Undelete Blob.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from heapq import merge as merge_sorted

from vmstamp.blob import faults, pages, tables
from vmstamp.blob.blobs import Check, unchecked
from vmstamp.blob.blocks import Blocks
from vmstamp.blob.records import PAGE_BLOB, Blob, BlobRef, CopyState
from vmstamp.extents import Extent


class Snapshots(Blocks):
    """The blobs of one stamp with their snapshots. Thread-safe."""

    def snapshot_blob(
        self, ref: BlobRef, *, metadata: dict[str, str] | None = None, check: Check = unchecked
    ) -> Blob:
        """A snapshot with the blob's bytes and properties; with `metadata` in the place of the blob's."""
        with self._locks.exclusive(ref):
            check(self.get_blob(*ref))
            blob = self._seal(ref)
            if blob.incremental:
                raise faults.fault("OperationNotAllowedOnIncrementalCopyBlob")
            new = replace(blob, ref=ref._replace(snapshot=self.new_snapshot()), lease=None)
            if metadata:
                new = replace(new, metadata=metadata, etag=self.new_etag(), last_modified=self.now())
            with self._space(), self._db.write() as connection:
                self._get_same(connection, blob)
                tables.put_blob(connection, new)
        self.flush(new)
        return new

    def changed_ranges(self, blob: Blob, since: Blob, start: int, end: int) -> Iterator[tuple[Extent, bool]]:
        """What was written after the snapshot `since` in [start, end), ascending: (range, whether cleared).

        Raises 409 BlobOverwritten when `since` is a snapshot of what had the blob's name before, and 400 when
        it is the later one.
        """
        if since.lineage != blob.lineage:
            raise faults.fault("BlobOverwritten")
        if since.generation > blob.generation:
            raise faults.fault("PreviousSnapshotCannotBeNewer")
        with self._db.read() as connection:
            written = pages.ranges(connection, blob.content, start, end, since=since.generation)
            gone = pages.cleared(connection, blob.content, start, end, since=since.generation)
            yield from merge_sorted(_marked(written, False), _marked(gone, True))

    def incremental_copy(
        self, source: BlobRef, destination: BlobRef, url: str, *, check: Check = unchecked
    ) -> Blob:
        """Give `destination`, whose snapshots alone are read, the source's snapshot as a snapshot of its own.

        Raises 409 where the destination is no incremental copy, or one of another blob or later snapshot.
        """
        with self._locks.exclusive(destination):
            with self._db.read() as connection:
                origin = self._get(connection, source)
            if origin.type != PAGE_BLOB:
                raise faults.fault("InvalidBlobType")
            if origin.incremental and not origin.ref.snapshot:
                raise faults.fault("CopySourceCannotBeIncrementalCopyBlob")
            with self._space(), self._db.write() as connection:
                old = self._check_place_in(connection, destination, check)
                _check_continues(old, url)
                new = self._continued(old, origin, destination, url)
                unused = self._place(connection, old, new)
                shown = replace(new, ref=destination._replace(snapshot=new.copy.snapshot if new.copy else ""))
                tables.put_blob(connection, shown)
            self._remove_files(unused)
        return new

    def _continued(self, old: Blob | None, origin: Blob, ref: BlobRef, url: str) -> Blob:
        now = self.now()
        copy = CopyState(str(uuid.uuid4()), url, origin.size, origin.size, now, snapshot=self.new_snapshot())
        return replace(
            origin,
            ref=ref,
            etag=self.new_etag(),
            created=now if old is None else old.created,
            last_modified=now,
            lease=None if old is None else old.lease,
            lineage=uuid.uuid4().hex if old is None else old.lineage,
            copy=copy,
            incremental=True,
        )

    def undelete_blob(self, ref: BlobRef) -> None:
        """Bring a soft-deleted blob back, and all of its soft-deleted snapshots. Raises 404 BlobNotFound."""
        with self._locks.exclusive(ref), self._db.write() as connection:
            blob = tables.find_blob(connection, ref, deleted=True)
            if blob is None:
                self._get(connection, ref)
                return
            for each in (blob, *tables.snapshots(connection, ref, deleted=True)):
                if each.deleted is not None:
                    tables.put_blob(connection, replace(each, deleted=None, expires=None))


def _marked(ranges: Iterable[Extent], cleared: bool) -> Iterator[tuple[Extent, bool]]:
    return ((extent, cleared) for extent in ranges)


def _check_continues(old: Blob | None, url: str) -> None:
    """Whether an incremental copy from this snapshot's URL may go on in the blob that is there."""
    if old is None:
        return
    if not old.incremental or old.copy is None:
        raise faults.fault("IncrementalCopyBlobMismatch")
    base, _, taken = url.partition("?snapshot=")
    before, _, last = old.copy.source.partition("?snapshot=")
    if base != before:
        raise faults.fault("IncrementalCopyBlobMismatch")
    if taken < last:
        raise faults.fault("IncrementalCopyOfEarlierSnapshotNotAllowed")

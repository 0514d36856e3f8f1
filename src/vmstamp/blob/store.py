"""The store of one stamp's blobs: names and page tables in SQLite, bytes in sparse files.

The page table is the truth: what it does not list reads as zeros, whatever the file holds there.

What a crash (kill -9 at any instant) leaves, by the order of effects:

    write     bytes first, row second     a crash leaves bytes that no row lists: `recover` punches them out
    clear     row first, hole second      a crash leaves the same
    grow      file first, row second      a crash leaves a file too long: `recover` cuts it
    shrink    row first, file second      a crash leaves the same
    create    file first, row second      a crash leaves a file without a row: `recover` deletes it
    delete    row first, file second      a crash leaves the same

So whatever was answered is there afterwards, and nothing else is seen.

A content is *sealed* when a second blob shares it or a virtual machine reads its file: it is never
written again. The next write to a blob gives the blob a copy of its own first.

Locks: writers of one blob hold its key shared; whoever clears, resizes, seals, shares, replaces or
deletes it, or whose conditions depend on an ETag, holds it exclusively. So no byte is written into a
content after it was sealed. Deleting a container or an account takes no key: a writer that is under way
finds its blob gone when it commits. Readers take no lock.

Functions that change a blob take a `check`, called with the blob before the first effect; it raises
AzureError to refuse (lease, conditions).
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from vmstamp.blob import faults, lease, pages, sas, tables
from vmstamp.blob.blobs import PAGE, Blobs, Check, replace_blob, unchecked
from vmstamp.blob.content import data_ranges
from vmstamp.blob.records import Account, Blob, BlobRef, Container, CopyState
from vmstamp.extents import Extents

__all__ = ["PAGE", "Account", "Blob", "BlobRef", "BlobStore", "Check", "Container"]

log = logging.getLogger("vmstamp.blob")


class BlobStore(Blobs):
    """The blobs of one stamp, and what its virtual machines, disks and images need of them.

    Thread-safe; every method may block on the disk. Raises AzureError with the Blob service's own codes; no
    space: see `faults.no_space`.
    """

    def recover(self) -> None:
        """Make files and rows agree; to be called before anything else uses the store."""
        with self._db.write() as connection:
            connection.execute("DELETE FROM content WHERE id NOT IN (SELECT content FROM blob)")
            rows = connection.execute("SELECT id, size, sealed FROM content").fetchall()
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

    # -- what virtual machines, disks and images need

    def share(
        self,
        source: BlobRef,
        destination: BlobRef,
        *,
        overwrite: bool = False,
        check: Check = unchecked,
        source_check: Check = unchecked,
        metadata: dict[str, str] | None = None,
        copied_from: str = "",
    ) -> Blob:
        """A new blob with the source's bytes, in a time that does not depend on their number.

        The two share one content until one of them is written. With `copied_from`, a URL, the new blob
        says that it is a copy. Raises 409 BlobAlreadyExists unless `overwrite`.
        """
        with self._exclusive_both(source, destination):
            self._seal(source)
            with self._space(), self._db.write() as connection:
                origin = self._get(connection, source)
                source_check(origin)
                old = self._check_place_in(connection, destination, check)
                if old is not None and not overwrite:
                    raise faults.fault("BlobAlreadyExists")
                new = self._shared(origin, destination, metadata, copied_from)
                new = new if old is None else replace(new, lease=old.lease)
                unused = replace_blob(connection, old, new)
            self._remove_files(unused)
        return new

    def _shared(self, origin: Blob, ref: BlobRef, metadata: dict[str, str] | None, copied_from: str) -> Blob:
        now = self.now()
        copy = None
        if copied_from:
            copy = CopyState(str(uuid.uuid4()), copied_from, f"{origin.size}/{origin.size}", now)
        return replace(
            origin,
            ref=ref,
            etag=self.new_etag(),
            created=now,
            last_modified=now,
            metadata=metadata or origin.metadata,
            lease=None,
            copy=copy,
        )

    def content_path(self, ref: BlobRef) -> Path:
        """The file with a blob's bytes, sealed: it stays as it is while any blob has this content."""
        with self._locks.exclusive(ref):
            return self._contents.path(self._seal(ref).content)

    def replace_content(self, ref: BlobRef, path: Path) -> None:
        """Give a blob the bytes of a sparse file, which is the store's from now on; its holes are zeros.

        The file's size becomes the blob's and must be a multiple of 512. `path` is gone afterwards; when
        this raises, it is still there.
        """
        content = uuid.uuid4().hex
        size = path.stat().st_size
        if size % PAGE:
            raise ValueError(f"{path}: its size of {size} bytes is not a multiple of {PAGE}")
        with self._locks.exclusive(ref), self._making(content):
            self._contents.adopt(path, content)
            descriptor = self._contents.open(content)
            try:
                held = Extents(data_ranges(descriptor, size))
            finally:
                os.close(descriptor)
            with self._db.write() as connection:
                blob = self._get(connection, ref)
                tables.insert_content(connection, content, size)
                for start, end in held:
                    pages.add(connection, content, start, end)
                new = replace(
                    blob, content=content, size=size, etag=self.new_etag(), last_modified=self.now()
                )
                unused = replace_blob(connection, blob, new)
        self._remove_files(unused)
        path.unlink(missing_ok=True)

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
        """The query string of a SAS for one blob, signed with key1."""
        return sas.make_service_sas(
            self.get_account(ref.account).key1,
            f"/{ref.account}/{ref.container}/{ref.name}",
            "b",
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

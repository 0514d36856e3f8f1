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

import base64
import errno
import logging
import os
import secrets
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from vmstamp.blob import faults, lease, pages, sas, tables
from vmstamp.blob.content import ContentDirectory, data_ranges
from vmstamp.blob.locks import KeyLocks
from vmstamp.blob.records import (
    BLOCK_BLOB,
    PAGE_BLOB,
    AccessPolicy,
    Account,
    Blob,
    BlobRef,
    BlobType,
    Container,
    CopyState,
    HttpHeaders,
    PublicAccess,
    account_of,
    blob_of,
)
from vmstamp.db import Connection, Database
from vmstamp.errors import AzureError
from vmstamp.extents import Extent, Extents

__all__ = ["PAGE", "Account", "Blob", "BlobRef", "BlobStore", "Container"]

log = logging.getLogger("vmstamp.blob")

PAGE: Final = 512  # bytes; pages are written and cleared whole
MAXIMUM_SIZE: Final = 8 * 2**40  # bytes of a page blob
MAXIMUM_POLICIES: Final = 5
_UNIX_EPOCH_TICKS: Final = 621_355_968_000_000_000  # 100 ns since year 1, the unit of Azure's ETags
_SQLITE_FULL: Final = 13

Check = Callable[[Blob | None], None]


def unchecked(blob: Blob | None) -> None:
    """The check of the stamp's own rooms: nothing is refused."""


@dataclass(frozen=True)
class Page:
    """One page of a listing; `following` is the name after the last one, "" at the end."""

    names: tuple[str, ...]
    following: str


class BlobStore:
    """The blobs of one stamp. Thread-safe; every method may block on the disk.

    Raises AzureError with the Blob service's own codes; no space: see `faults.no_space`.
    """

    def __init__(
        self,
        db: Database,
        content_directory: Path,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._db = db
        self._contents = ContentDirectory(content_directory)
        self._clock = clock
        self._locks = KeyLocks()
        self._ticks = 0
        self._ticks_lock = threading.Lock()
        self._stained: set[str] = set()  # contents with bytes outside their table, by a write that failed

    def now(self) -> datetime:
        return self._clock()

    # -- after a crash

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

    # -- accounts

    def create_account(self, name: str, *, hidden: bool = False) -> Account:
        """A new storage account with two keys. Raises 409 StorageAccountAlreadyTaken."""
        account = Account(name, _new_key(), _new_key(), hidden, self.now())
        with self._db.write() as connection:
            if tables.find_account(connection, name) is not None:
                raise AzureError(
                    409, "StorageAccountAlreadyTaken", f"The storage account named {name} is already taken."
                )
            tables.insert_account(connection, account)
        return account

    def find_account(self, name: str) -> Account | None:
        with self._db.read() as connection:
            return tables.find_account(connection, name)

    def get_account(self, name: str) -> Account:
        account = self.find_account(name)
        if account is None:
            raise faults.fault("ResourceNotFound", f"There is no storage account {name}.")
        return account

    def list_accounts(self, *, hidden: bool = False) -> list[Account]:
        """All accounts by name; with `hidden` the stamp's own instead."""
        with self._db.read() as connection:
            rows = connection.execute("SELECT * FROM account WHERE hidden = ? ORDER BY name", (int(hidden),))
            return [account_of(row) for row in rows]

    def regenerate_key(self, name: str, key: str) -> Account:
        """Replace "key1" or "key2"; the old one is worth nothing from now on."""
        if key not in ("key1", "key2"):
            raise AzureError(400, "InvalidValuesForRequestParameters", f"There is no key named {key}.")
        with self._db.write() as connection:
            connection.execute(f"UPDATE account SET {key} = ? WHERE name = ?", (_new_key(), name))
        return self.get_account(name)

    def delete_account(self, name: str) -> None:
        """Delete an account and all that is in it."""
        self.get_account(name)
        with self._db.write() as connection:
            contents = tables.contents_of(connection, name)
            connection.execute("DELETE FROM account WHERE name = ?", (name,))
            unused = tables.delete_unused(connection, contents)
        self._remove_files(unused)

    # -- containers

    def create_container(
        self,
        account: str,
        name: str,
        *,
        metadata: dict[str, str] | None = None,
        public_access: PublicAccess = "",
    ) -> Container:
        """A new container. Raises 409 ContainerAlreadyExists."""
        container = Container(account, name, self.new_etag(), self.now(), metadata or {}, public_access)
        self.get_account(account)
        with self._db.write() as connection:
            if tables.find_container(connection, account, name) is not None:
                raise faults.fault("ContainerAlreadyExists")
            tables.insert_container(connection, container)
        return container

    def find_container(self, account: str, name: str) -> Container | None:
        with self._db.read() as connection:
            return tables.find_container(connection, account, name)

    def get_container(self, account: str, name: str) -> Container:
        container = self.find_container(account, name)
        if container is None:
            raise faults.fault("ContainerNotFound")
        return container

    def list_containers(self, account: str, *, prefix: str = "", start: str = "", count: int = 5000) -> Page:
        """Names from `start` on, at most `count`."""
        with self._db.read() as connection:
            rows = connection.execute(
                "SELECT name FROM container WHERE account = ? AND name >= ? AND substr(name, 1, ?) = ? "
                "ORDER BY name LIMIT ?",
                (account, max(start, prefix), len(prefix), prefix, count + 1),
            ).fetchall()
        names = [row["name"] for row in rows]
        return Page(tuple(names[:count]), names[count] if len(names) > count else "")

    def update_container(
        self,
        account: str,
        name: str,
        change: Callable[[Container], Container],
        check: Callable[[Container], None] = lambda container: None,
    ) -> Container:
        """Store what `change` makes of the container: metadata, public access, stored access policies."""
        with self._db.write() as connection:
            found = tables.find_container(connection, account, name)
            if found is None:
                raise faults.fault("ContainerNotFound")
            check(found)
            new = replace(change(found), etag=self.new_etag(), last_modified=self.now())
            tables.update_container(connection, new)
        return new

    def set_access_policy(
        self,
        account: str,
        container: str,
        policy: str,
        permissions: str,
        start: datetime | None,
        expiry: datetime | None,
    ) -> None:
        """Add or replace one stored access policy. Raises 400 when the container has five others."""
        new = AccessPolicy(policy, permissions, start, expiry)

        def change(found: Container) -> Container:
            others = tuple(other for other in found.policies if other.id != policy)
            if len(others) >= MAXIMUM_POLICIES:
                raise faults.fault("OutOfRangeInput", f"A container has at most {MAXIMUM_POLICIES} policies.")
            return replace(found, policies=(*others, new))

        self.update_container(account, container, change)

    def clear_access_policies(self, account: str, container: str) -> None:
        """Remove all stored access policies: every SAS that rests on one is refused from now on."""
        self.update_container(account, container, lambda found: replace(found, policies=()))

    def delete_container(
        self, account: str, name: str, check: Callable[[Container], None] = lambda container: None
    ) -> None:
        """Delete a container and its blobs, at once."""
        with self._db.write() as connection:
            found = tables.find_container(connection, account, name)
            if found is None:
                raise faults.fault("ContainerNotFound")
            check(found)
            contents = tables.contents_of(connection, account, name)
            connection.execute("DELETE FROM container WHERE account = ? AND name = ?", (account, name))
            unused = tables.delete_unused(connection, contents)
        self._remove_files(unused)

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
                unused = _replace_blob(connection, old, kept)
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
        lock = self._locks.exclusive if alone else self._locks.shared
        for _ in range(3):
            with lock(ref):
                blob = self._check_pages(ref, offset, end, check)
                if not self._is_sealed(blob.content):
                    return self._write(blob, offset, data)
            self._unshare(ref, check)
        raise faults.fault("InternalError")

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
                unused = _replace_blob(connection, old, new)
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
                unused = _replace_blob(connection, blob, new)
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

    # -- inside

    def new_etag(self) -> str:
        """An ETag that no blob of this store had before."""
        now = self.now() - datetime(1970, 1, 1, tzinfo=UTC)
        with self._ticks_lock:
            self._ticks = max(self._ticks + 1, _UNIX_EPOCH_TICKS + now // timedelta(microseconds=1) * 10)
            return f'"0x{self._ticks:X}"'

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

    def _unshare(self, ref: BlobRef, check: Check) -> None:
        with self._locks.exclusive(ref):
            self._own_content(self._check_pages(ref, 0, 0, check))

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
                unused = _replace_blob(connection, blob, new)
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

    @contextmanager
    def _exclusive_both(self, one: BlobRef, other: BlobRef) -> Iterator[None]:
        first, second = sorted((one, other))
        with self._locks.exclusive(first):
            if first == second:
                yield
                return
            with self._locks.exclusive(second):
                yield

    def _remove_files(self, contents: list[str]) -> None:
        for content in contents:
            self._contents.remove(content)
            self._stained.discard(content)


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(64)).decode()


def _replace_blob(connection: Connection, old: Blob | None, new: Blob) -> list[str]:
    """Store `new` in the place of `old`; the contents that nobody names any more."""
    tables.put_blob(connection, new)
    return [] if old is None else tables.delete_unused(connection, [old.content])

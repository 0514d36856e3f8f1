"""Block blobs of blocks, and append blobs: their bytes.

A block that was put is a content of its own until a block list names it; committing copies the blocks, in
the list's order, into a new content. An append blob's content grows at its end; `store` says what a crash
leaves.
REST: Put Block; Put Block List; Get Block List; Append Block.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal, NamedTuple

from vmstamp.blob import faults, pages, tables
from vmstamp.blob.blobs import Check, unchecked
from vmstamp.blob.body import Data
from vmstamp.blob.page_blobs import PageBlobs
from vmstamp.blob.records import APPEND_BLOB, BLOCK_BLOB, Blob, BlobRef, Block, CopyState, HttpHeaders
from vmstamp.db import Connection
from vmstamp.extents import Extent

MAXIMUM_BLOCKS: Final = 50_000
UNCOMMITTED_KEPT: Final = timedelta(days=7)
Where = Literal["Committed", "Uncommitted", "Latest"]


class BlockLists(NamedTuple):
    """The blocks of a name: those of its blob, and those that were put since."""

    blob: Blob | None
    committed: tuple[Block, ...]
    uncommitted: tuple[Block, ...]


class Blocks(PageBlobs):
    """The blobs of one stamp with their blocks. Thread-safe."""

    def put_block_blob(
        self,
        ref: BlobRef,
        data: Data | Path,
        content_type: str = "application/octet-stream",
        *,
        metadata: dict[str, str] | None = None,
        headers: HttpHeaders | None = None,
        tags: dict[str, str] | None = None,
        tier: str = "",
        copy: CopyState | None = None,
        check: Check = unchecked,
    ) -> Blob:
        """A block blob with all of its bytes; it replaces a blob of the name. A file is read as it is now."""
        content = data.read_bytes() if isinstance(data, Path) else data
        new = replace(
            self._new_blob(ref, BLOCK_BLOB, len(content)),
            metadata=metadata or {},
            headers=headers or HttpHeaders(content_type=content_type),
            tags=tags or {},
            tier=tier,
            copy=copy,
        )

        def make() -> None:
            self._contents.create(new.content, len(content))
            self._contents.write(new.content, 0, content)

        ranges = [Extent(0, len(content))] if content else []
        return self._put(new, check, make, ranges)

    # -- blocks

    def put_block(self, ref: BlobRef, block_id: str, data: Data, *, check: Check = unchecked) -> None:
        """Keep a block until a list commits it; it replaces an uncommitted one of its id.

        Raises 400 InvalidBlobOrBlock when the name's other ids have another length.
        """
        content = uuid.uuid4().hex
        with self._locks.exclusive(ref), self._making(content):
            self._check_place(ref, check)
            self._contents.create(content, len(data))
            self._contents.write(content, 0, data)
            with self._db.write() as connection:
                blob = self._check_place_in(connection, ref, check)
                self._check_block_id(connection, ref, blob, block_id)
                tables.insert_content(connection, content, len(data))
                if data:
                    pages.add(connection, content, 0, len(data))
                block = Block(block_id, len(data))
                freed = tables.put_staged(connection, ref, block, content, self.now())
                unused = tables.delete_unused(connection, freed)
        self._remove_files(unused)

    def _check_block_id(self, connection: Connection, ref: BlobRef, blob: Blob | None, block_id: str) -> None:
        if blob is not None and blob.type != BLOCK_BLOB:
            raise faults.fault("InvalidBlobType")
        length, count = tables.staged_ids(connection, ref)
        if count and length != len(block_id):
            raise faults.fault("InvalidBlobOrBlock")
        if count >= 2 * MAXIMUM_BLOCKS:
            raise faults.fault("BlockCountExceedsLimit")

    def put_block_list(
        self,
        ref: BlobRef,
        wanted: Sequence[tuple[Where, str]],
        *,
        metadata: dict[str, str],
        headers: HttpHeaders,
        tags: dict[str, str] | None = None,
        tier: str = "",
        check: Check = unchecked,
    ) -> Blob:
        """Make the blob of these blocks, in this order. Raises 400 InvalidBlockList if one is not there."""
        if len(wanted) > MAXIMUM_BLOCKS:
            raise faults.fault("BlockListTooLong")
        with self._locks.exclusive(ref):
            self._check_place(ref, check)
            with self._db.read() as connection:
                old = tables.find_blob(connection, ref)
                staged = tables.find_staged(connection, ref)
                held = dict(tables.find_blocks(connection, old.content)) if old is not None else {}
            parts = [_find_block(where, name, old, staged, held) for where, name in wanted]
            size = sum(extent.length for _, extent in parts)
            new = replace(
                self._new_blob(ref, BLOCK_BLOB, size),
                metadata=metadata,
                headers=headers,
                tags=tags or {},
                tier=tier,
                created=self.now() if old is None else old.created,
                lease=None if old is None else old.lease,
            )
            blocks = [
                Block(name, extent.length) for (_, name), (_, extent) in zip(wanted, parts, strict=True)
            ]
            with self._making(new.content):
                self._contents.join(new.content, parts)
                with self._db.write() as connection:
                    now = self._check_place_in(connection, ref, check)
                    tables.insert_content(connection, new.content, size)
                    tables.insert_blocks(connection, new.content, blocks)
                    if size:
                        pages.add(connection, new.content, 0, size)
                    freed = tables.delete_staged(connection, ref)
                    unused = self._place(connection, now, new) + tables.delete_unused(connection, freed)
            self._remove_files(unused)
        self.flush(new)
        return new

    def block_lists(self, ref: BlobRef, *, check: Check = unchecked) -> BlockLists:
        """The blocks of a name. Raises 404 when it has neither a blob nor blocks, 409 for another type."""
        with self._db.read() as connection:
            blob = tables.find_blob(connection, ref)
            staged = {} if ref.snapshot else tables.find_staged(connection, ref)
            if blob is None and not staged:
                self._get(connection, ref)
            if blob is not None and blob.type != BLOCK_BLOB:
                raise faults.fault("InvalidBlobType")
            check(blob)
            held = [] if blob is None else tables.find_blocks(connection, blob.content)
        return BlockLists(
            blob,
            tuple(Block(name, extent.length) for name, extent in held),
            tuple(Block(name, size) for name, (_, size) in staged.items()),
        )

    # -- append blobs

    def create_append_blob(
        self,
        ref: BlobRef,
        *,
        metadata: dict[str, str],
        headers: HttpHeaders,
        tags: dict[str, str] | None = None,
        check: Check = unchecked,
    ) -> Blob:
        """An empty append blob; it replaces a blob of the name."""
        new = replace(
            self._new_blob(ref, APPEND_BLOB, 0), metadata=metadata, headers=headers, tags=tags or {}
        )
        return self._put(new, check, lambda: self._contents.create(new.content, 0), [])

    def append_block(
        self,
        ref: BlobRef,
        data: Data,
        *,
        position: int | None = None,
        maximum: int | None = None,
        check: Check = unchecked,
    ) -> tuple[Blob, int]:
        """Add bytes at the end; the blob, and where they are.

        Raises 412 unless the blob is `position` bytes long, and if it would be longer than `maximum`.
        """
        with self._locks.exclusive(ref):
            found = self.get_blob(*ref)
            check(found)
            _check_append(found, len(data), position, maximum)
            blob = self._own_content(found)
            offset, size = blob.size, blob.size + len(data)
            with self._space():
                try:
                    self._contents.write(blob.content, offset, data)
                    with self._db.write() as connection:
                        now = self._get_same(connection, blob)
                        pages.add(connection, blob.content, offset, size, now.generation)
                        connection.execute("UPDATE content SET size = ? WHERE id = ?", (size, blob.content))
                        new = replace(
                            now,
                            size=size,
                            appended=now.appended + 1,
                            etag=self.new_etag(),
                            last_modified=self.now(),
                        )
                        tables.put_blob(connection, new)
                except FileNotFoundError:
                    raise faults.fault("BlobNotFound") from None
                except BaseException:
                    self._stained.add(blob.content)
                    raise
        return new, offset


def _find_block(
    where: Where,
    name: str,
    blob: Blob | None,
    staged: dict[str, tuple[str, int]],
    held: dict[str, Extent],
) -> tuple[str, Extent]:
    """The content and the place of a block's bytes."""
    if where != "Committed" and name in staged:
        content, size = staged[name]
        return content, Extent(0, size)
    if where != "Uncommitted" and name in held and blob is not None:
        return blob.content, held[name]
    raise faults.fault("InvalidBlockList")


def _check_append(blob: Blob, length: int, position: int | None, maximum: int | None) -> None:
    if blob.type != APPEND_BLOB:
        raise faults.fault("InvalidBlobType")
    if blob.append_sealed:
        raise faults.fault("BlobIsSealed")
    if position is not None and position != blob.size:
        raise faults.fault("AppendPositionConditionNotMet")
    if maximum is not None and blob.size + length > maximum:
        raise faults.fault("MaxBlobSizeConditionNotMet")
    if blob.appended >= MAXIMUM_BLOCKS:
        raise faults.fault("BlockCountExceedsLimit")

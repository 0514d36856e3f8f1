"""Rows of accounts, containers, blobs, blocks, contents; each function runs in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from vmstamp.blob import faults
from vmstamp.blob.body import Data
from vmstamp.blob.records import (
    Account,
    Blob,
    BlobRef,
    Block,
    Container,
    account_document,
    account_of,
    blob_document,
    blob_of,
    container_document,
    container_of,
    time_text,
)
from vmstamp.db import Connection
from vmstamp.extents import Extent

_SAME_NAME = "account = ? AND container = ? AND name = ?"
_SAME_BLOB = f"{_SAME_NAME} AND snapshot = ?"


def find_account(connection: Connection, name: str) -> Account | None:
    row = connection.execute("SELECT * FROM account WHERE name = ?", (name,)).fetchone()
    return None if row is None else account_of(row)


def insert_account(connection: Connection, account: Account) -> None:
    connection.execute(
        "INSERT INTO account (name, key1, key2, hidden, created, document) VALUES (?, ?, ?, ?, ?, ?)",
        (
            account.name,
            account.key1,
            account.key2,
            int(account.hidden),
            time_text(account.created),
            account_document(account),
        ),
    )


def update_account(connection: Connection, account: Account) -> None:
    """Store the account's keys and document."""
    connection.execute(
        "UPDATE account SET key1 = ?, key2 = ?, document = ? WHERE name = ?",
        (account.key1, account.key2, account_document(account), account.name),
    )


def find_container(connection: Connection, account: str, name: str) -> Container | None:
    found = connection.execute("SELECT * FROM container WHERE account = ? AND name = ?", (account, name))
    row = found.fetchone()
    return None if row is None else container_of(row)


def insert_container(connection: Connection, container: Container) -> None:
    connection.execute(
        "INSERT INTO container (account, name, etag, last_modified, document) VALUES (?, ?, ?, ?, ?)",
        (
            container.account,
            container.name,
            container.etag,
            time_text(container.last_modified),
            container_document(container),
        ),
    )


def update_container(connection: Connection, container: Container) -> None:
    connection.execute(
        "UPDATE container SET etag = ?, last_modified = ?, document = ? WHERE account = ? AND name = ?",
        (
            container.etag,
            time_text(container.last_modified),
            container_document(container),
            container.account,
            container.name,
        ),
    )


# -- blobs


def find_blob(connection: Connection, ref: BlobRef, *, deleted: bool = False) -> Blob | None:
    """A blob or snapshot; with `deleted` also one that is soft-deleted."""
    row = connection.execute(
        f"SELECT * FROM blob_content WHERE {_SAME_BLOB} AND (? OR deleted = '')", (*ref, deleted)
    ).fetchone()
    return None if row is None else blob_of(row)


def snapshots(connection: Connection, ref: BlobRef, *, deleted: bool) -> list[Blob]:
    """The snapshots of a blob, oldest first: those that are soft-deleted, or those that are not."""
    rows = connection.execute(
        f"SELECT * FROM blob_content WHERE {_SAME_NAME} AND snapshot != '' AND (deleted != '') = ? "
        "ORDER BY snapshot",
        (*ref[:3], deleted),
    )
    return [blob_of(row) for row in rows]


def put_blob(connection: Connection, blob: Blob) -> None:
    """Insert the blob, or let it take the place of the one with its name."""
    connection.execute(
        "INSERT OR REPLACE INTO blob (account, container, name, snapshot, deleted, expires, type, content, "
        "size, etag, created, last_modified, document) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *blob.ref,
            "" if blob.deleted is None else time_text(blob.deleted),
            "" if blob.expires is None else time_text(blob.expires),
            blob.type,
            blob.content,
            blob.size,
            blob.etag,
            time_text(blob.created),
            time_text(blob.last_modified),
            blob_document(blob),
        ),
    )


def touch_blob(connection: Connection, blob: Blob) -> None:
    """Store that the blob's bytes were modified, nothing else. Raises 404 if it has this content no more."""
    touched = connection.execute(
        f"UPDATE blob SET etag = ?, last_modified = ? WHERE {_SAME_BLOB} AND content = ?",
        (blob.etag, time_text(blob.last_modified), *blob.ref, blob.content),
    )
    if touched.rowcount != 1:
        raise faults.fault("BlobNotFound")


def delete_blob(connection: Connection, ref: BlobRef) -> None:
    connection.execute(f"DELETE FROM blob WHERE {_SAME_BLOB}", ref)


def pending_copies(connection: Connection) -> list[Blob]:
    """The destinations of copies that had not ended."""
    rows = connection.execute("SELECT * FROM blob_content WHERE document -> '$.copy.status' = '\"pending\"'")
    return [blob_of(row) for row in rows.fetchall()]


def delete_expired(connection: Connection, now: datetime) -> list[str]:
    """Delete the soft-deleted blobs whose time is over; their contents, which others may name too."""
    gone = connection.execute(
        "DELETE FROM blob WHERE expires != '' AND expires <= ? RETURNING content", (time_text(now),)
    )
    return [row["content"] for row in gone.fetchall()]


# -- contents


def insert_content(connection: Connection, content: str, size: int, generation: int = 0) -> None:
    connection.execute(
        "INSERT INTO content (id, size, generation) VALUES (?, ?, ?)", (content, size, generation)
    )


def contents_of(connection: Connection, account: str, container: str | None = None) -> list[str]:
    """The contents that the blobs and blocks of an account, or of one of its containers, name."""
    where = "WHERE account = ?1 AND (?2 IS NULL OR container = ?2)"
    rows = connection.execute(
        f"SELECT content FROM blob {where} UNION SELECT content FROM staged_block {where}",
        (account, container),
    )
    return [row["content"] for row in rows]


def delete_unused(connection: Connection, contents: Iterable[str]) -> list[str]:
    """Delete those contents that nothing names any more, and return them: their files are to be removed."""
    return [
        content
        for content in contents
        if connection.execute(
            "DELETE FROM content WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM blob WHERE content = ?1) "
            "AND NOT EXISTS (SELECT 1 FROM staged_block WHERE content = ?1)",
            (content,),
        ).rowcount
    ]


def delete_all_unused(connection: Connection) -> None:
    connection.execute(
        "DELETE FROM content WHERE id NOT IN (SELECT content FROM blob) "
        "AND id NOT IN (SELECT content FROM staged_block)"
    )


def insert_redo(connection: Connection, content: str, start: int, data: Data) -> int:
    """Keep bytes that are to be written; the number of the row."""
    row = connection.execute(
        "INSERT INTO redo (content, start, data) VALUES (?, ?, ?) RETURNING number",
        (content, start, bytes(data)),
    )
    return int(row.fetchone()["number"])


def delete_redo(connection: Connection, number: int) -> None:
    connection.execute("DELETE FROM redo WHERE number = ?", (number,))


def find_redo(connection: Connection, content: str | None = None) -> list[tuple[int, str, int, bytes]]:
    """The number, content, start and bytes of what is to be written yet, oldest first."""
    rows = connection.execute(
        "SELECT number, content, start, data FROM redo WHERE ?1 IS NULL OR content = ?1 ORDER BY number",
        (content,),
    )
    return [tuple(row) for row in rows]


# -- blocks


def find_staged(connection: Connection, ref: BlobRef) -> dict[str, tuple[str, int]]:
    """The content and size of each block that was put and not committed, by id, in the order of putting."""
    rows = connection.execute(
        f"SELECT id, content, size FROM staged_block WHERE {_SAME_NAME} ORDER BY rowid", ref[:3]
    )
    return {row["id"]: (row["content"], row["size"]) for row in rows}


def staged_ids(connection: Connection, ref: BlobRef) -> tuple[int, int]:
    """The length of a name's uncommitted block ids, which is the same for all, and how many there are."""
    row = connection.execute(
        f"SELECT coalesce(max(length(id)), 0), count(*) FROM staged_block WHERE {_SAME_NAME}", ref[:3]
    ).fetchone()
    return row[0], row[1]


def put_staged(
    connection: Connection, ref: BlobRef, block: Block, content: str, created: datetime
) -> list[str]:
    """Keep a block; the content of the one with its id, which it replaces."""
    same = f"{_SAME_NAME} AND id = ?"
    old = connection.execute(
        f"DELETE FROM staged_block WHERE {same} RETURNING content", (*ref[:3], block.id)
    ).fetchall()
    connection.execute(
        "INSERT INTO staged_block (account, container, name, id, content, size, created) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (*ref[:3], block.id, content, block.size, time_text(created)),
    )
    return [row["content"] for row in old]


def delete_staged(connection: Connection, ref: BlobRef) -> list[str]:
    """Forget a name's uncommitted blocks; their contents."""
    gone = connection.execute(f"DELETE FROM staged_block WHERE {_SAME_NAME} RETURNING content", ref[:3])
    return [row["content"] for row in gone.fetchall()]


def delete_staged_before(connection: Connection, time: datetime) -> None:
    connection.execute("DELETE FROM staged_block WHERE created < ?", (time_text(time),))


def staged_names(connection: Connection, account: str, container: str, prefix: str) -> list[str]:
    """The names that have uncommitted blocks and no blob."""
    rows = connection.execute(
        "SELECT DISTINCT name FROM staged_block AS s WHERE account = ?1 AND container = ?2 "
        "AND substr(name, 1, ?3) = ?4 AND NOT EXISTS (SELECT 1 FROM blob WHERE account = ?1 "
        "AND container = ?2 AND name = s.name AND snapshot = '' AND deleted = '') ORDER BY name",
        (account, container, len(prefix), prefix),
    )
    return [row["name"] for row in rows]


def insert_blocks(connection: Connection, content: str, blocks: Sequence[Block]) -> None:
    """The committed blocks of a content, in their order."""
    start, rows = 0, []
    for position, block in enumerate(blocks):
        rows.append((content, position, block.id, start, start + block.size))
        start += block.size
    connection.executemany(
        "INSERT INTO block (content, position, id, start, end) VALUES (?, ?, ?, ?, ?)", rows
    )


def find_blocks(connection: Connection, content: str) -> list[tuple[str, Extent]]:
    """The id and the place of each committed block, ascending."""
    rows = connection.execute(
        "SELECT id, start, end FROM block WHERE content = ? ORDER BY position", (content,)
    )
    return [(row["id"], Extent(row["start"], row["end"])) for row in rows]

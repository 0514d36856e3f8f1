"""The rows of accounts, containers, blobs and contents; each function runs in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable

from vmstamp.blob.records import (
    Account,
    Blob,
    BlobRef,
    Container,
    account_of,
    blob_document,
    blob_of,
    container_document,
    container_of,
    time_text,
)
from vmstamp.db import Connection

_SAME_NAME = "account = ? AND container = ? AND name = ?"


def find_account(connection: Connection, name: str) -> Account | None:
    row = connection.execute("SELECT * FROM account WHERE name = ?", (name,)).fetchone()
    return None if row is None else account_of(row)


def insert_account(connection: Connection, account: Account) -> None:
    connection.execute(
        "INSERT INTO account (name, key1, key2, hidden, created) VALUES (?, ?, ?, ?, ?)",
        (account.name, account.key1, account.key2, int(account.hidden), time_text(account.created)),
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


def find_blob(connection: Connection, ref: BlobRef) -> Blob | None:
    row = connection.execute(f"SELECT * FROM blob WHERE {_SAME_NAME}", ref).fetchone()
    return None if row is None else blob_of(row)


def put_blob(connection: Connection, blob: Blob) -> None:
    """Insert the blob, or let it take the place of the one with its name."""
    connection.execute(
        "INSERT OR REPLACE INTO blob (account, container, name, type, content, size, etag, created, "
        "last_modified, document) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *blob.ref,
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
    """Store that the blob's bytes were modified, and nothing else."""
    connection.execute(
        f"UPDATE blob SET etag = ?, last_modified = ? WHERE {_SAME_NAME}",
        (blob.etag, time_text(blob.last_modified), *blob.ref),
    )


def delete_blob(connection: Connection, ref: BlobRef) -> None:
    connection.execute(f"DELETE FROM blob WHERE {_SAME_NAME}", ref)


def insert_content(connection: Connection, content: str, size: int) -> None:
    connection.execute("INSERT INTO content (id, size) VALUES (?, ?)", (content, size))


def contents_of(connection: Connection, account: str, container: str | None = None) -> list[str]:
    """The contents that the blobs of an account, or of one of its containers, name."""
    rows = connection.execute(
        "SELECT DISTINCT content FROM blob WHERE account = ? AND (? IS NULL OR container = ?)",
        (account, container, container),
    )
    return [row["content"] for row in rows]


def delete_unused(connection: Connection, contents: Iterable[str]) -> list[str]:
    """Delete those contents that no blob names any more, and return them: their files are to be removed."""
    return [
        content
        for content in contents
        if connection.execute(
            "DELETE FROM content WHERE id = ? AND NOT EXISTS (SELECT 1 FROM blob WHERE content = content.id)",
            (content,),
        ).rowcount
    ]

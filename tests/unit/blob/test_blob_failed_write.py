"""A write that fails in the middle while the server lives: what it leaves, and what is written after it."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vmstamp.blob.locks import Claims
from vmstamp.blob.page_blobs import SMALL
from vmstamp.blob.store import PAGE, BlobRef, BlobStore
from vmstamp.db import Database
from vmstamp.errors import AzureError

A = BlobRef("acct", "vhds", "a.vhd")
B = BlobRef("acct", "vhds", "b.vhd")
LIMIT = 16 * 2**20  # bytes of a file where the disk ends; the database is smaller
SIZE = 2 * LIMIT
LARGE = 4 * SMALL


@pytest.fixture
def store(vhds: BlobStore) -> BlobStore:
    vhds.create_page_blob(A, SIZE)
    return vhds


@contextmanager
def disk_ends() -> Iterator[None]:
    """The kernel writes no byte of a file at LIMIT or behind: a write across it is done in part."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fail_to_write(store: BlobStore, length: int) -> None:
    """Half of it is written."""
    with disk_ends(), pytest.raises(OSError, match="File too large"):
        store.write_pages(A, LIMIT - length // 2, b"f" * length)


def reopened(store: BlobStore, database: Database, tmp_path: Path) -> BlobStore:
    """The store as the next life of the server has it."""
    again = BlobStore(database, tmp_path / "content")
    again.recover()
    return again


@pytest.mark.parametrize("length", [2 * PAGE, SMALL, LARGE])
def test_a_write_that_failed_leaves_nothing(store: BlobStore, length: int) -> None:
    fail_to_write(store, length)
    assert store.page_ranges(A) == []
    assert not any(store.content_path(A).read_bytes()[LIMIT - length : LIMIT + length])


@pytest.mark.parametrize("length", [2 * PAGE, LARGE])
@pytest.mark.parametrize("then", ["seal", "crash"])
def test_a_write_over_data_that_failed_does_not_come_back_over_a_later_one(
    store: BlobStore, database: Database, tmp_path: Path, length: int, then: str
) -> None:
    start = LIMIT - length // 2
    store.write_pages(A, start, b"o" * length)
    fail_to_write(store, length)
    store.write_pages(A, start, b"n" * length)
    if then == "seal":
        store.share(A, B)
    else:
        store = reopened(store, database, tmp_path)
    assert store.read(A, start, length) == b"n" * length


def test_a_write_over_data_that_failed_is_whole_after_a_crash(
    store: BlobStore, database: Database, tmp_path: Path
) -> None:
    start = LIMIT - LARGE // 2
    store.write_pages(A, start, b"o" * LARGE)
    fail_to_write(store, LARGE)
    assert reopened(store, database, tmp_path).read(A, start, LARGE) in (b"o" * LARGE, b"f" * LARGE)


def test_what_was_cleared_after_a_write_that_failed_stays_clear(
    store: BlobStore, database: Database, tmp_path: Path
) -> None:
    start = LIMIT - LARGE // 2
    store.write_pages(A, start, b"o" * LARGE)
    fail_to_write(store, LARGE)
    store.clear_pages(A, start, LARGE)
    store = reopened(store, database, tmp_path)
    assert store.content_path(A).read_bytes()[start : start + LARGE] == bytes(LARGE)


@pytest.mark.parametrize("length", [PAGE, LARGE])
def test_a_write_whose_container_is_deleted_meanwhile_finds_no_blob(store: BlobStore, length: int) -> None:
    with pytest.raises(AzureError) as caught:
        store.write_pages(A, 0, b"x" * length, check=lambda blob: store.delete_container("acct", "vhds"))
    assert caught.value.code == "BlobNotFound"


def test_a_growth_that_failed_leaves_the_file_of_the_blobs_size(store: BlobStore, database: Database) -> None:
    with database.write() as connection:
        connection.execute(
            "CREATE TRIGGER fails BEFORE UPDATE OF size ON content BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    with pytest.raises(Exception, match="no"):
        store.resize(A, 2 * SIZE)
    assert store.content_path(A).stat().st_size == SIZE


def test_a_full_database_is_said_and_takes_the_next_write(store: BlobStore, database: Database) -> None:
    with database.read() as connection:
        count = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {count}")
        with pytest.raises(AzureError) as caught:
            for number in range(1000):
                store.write_pages(A, 2 * number * PAGE, b"x" * PAGE)
        assert caught.value.code == "InsufficientStorage"
        ranges = store.page_ranges(A)
        connection.execute("PRAGMA max_page_count = 1000000")
    store.write_pages(A, LIMIT, b"x" * PAGE)
    assert store.page_ranges(A) == [*ranges, (LIMIT, LIMIT + PAGE)]


def test_bytes_that_are_being_written_are_not_free() -> None:
    claims = Claims()
    with claims.claim("a", 10, 20) as first:
        with claims.claim("a", 19, 30) as across, claims.claim("a", 0, 11) as before:
            assert (first, across, before) == (True, False, False)
        with claims.claim("a", 20, 30) as behind, claims.claim("b", 10, 20) as other:
            assert (behind, other) == (True, True)
    with claims.claim("a", 0, 100) as again:
        assert again

"""The store against a model of bytes, and what it shares, seals and recovers."""

import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmstamp.blob import pages
from vmstamp.blob.records import CopyState
from vmstamp.blob.sources import Source
from vmstamp.blob.store import PAGE, BlobRef, BlobStore
from vmstamp.db import Database
from vmstamp.errors import AzureError
from vmstamp.extents import Extent, Extents

A = BlobRef("acct", "vhds", "a.vhd")
B = BlobRef("acct", "vhds", "b.vhd")
SIZE = 64 * PAGE


@pytest.fixture
def store(vhds: BlobStore) -> BlobStore:
    vhds.create_page_blob(A, SIZE)
    return vhds


def whole(store: BlobStore, ref: BlobRef) -> bytes:
    return store.read(ref, 0, store.get_blob(*ref).size)


def files(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "content").iterdir()}


Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(st.sampled_from(["write", "clear", "share", "resize"]), st.integers(0, 63), st.integers(1, 16)),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_a_blob_behaves_as_an_array_of_bytes(store: BlobStore, tmp_path: Path, steps: list[Step]) -> None:
    store.create_page_blob(A, SIZE)
    model, data = bytearray(SIZE), Extents()
    frozen: dict[BlobRef, bytes] = {}
    for number, (what, first, count) in enumerate(steps):
        start, end = first * PAGE, min((first + count) * PAGE, len(model))
        if what == "share":
            copy = BlobRef("acct", "vhds", f"copy-{number}")
            store.share(A, copy, overwrite=True)
            frozen[copy] = bytes(model)
        elif what == "resize":
            size = (first + 1) * PAGE
            store.resize(A, size)
            model = model[:size] + bytes(max(0, size - len(model)))
            data = data.intersect(Extents([(0, size)]))
        elif start < end and what == "write":
            piece = os.urandom(end - start)
            store.write_pages(A, start, piece)
            model[start:end] = piece
            data = data.union(Extents([(start, end)]))
        elif start < end:
            store.clear_pages(A, start, end - start)
            model[start:end] = bytes(end - start)
            data = data.subtract(Extents([(start, end)]))
    assert whole(store, A) == model
    assert store.page_ranges(A) == list(data)
    assert store.content_path(A).read_bytes() == model
    assert all(whole(store, ref) == content for ref, content in frozen.items())


@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(1, 12)), max_size=40))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_page_table_is_a_set_of_bytes(database: Database, steps: list[tuple[bool, int, int]]) -> None:
    model = Extents()
    with database.write() as connection:
        connection.execute("DELETE FROM content")
        connection.execute("INSERT INTO content (id, size) VALUES ('c', 100)")
        for adds, start, length in steps:
            piece = Extents([(start, start + length)])
            (pages.add if adds else pages.remove)(connection, "c", start, start + length)
            model = model.union(piece) if adds else model.subtract(piece)
            assert list(pages.ranges(connection, "c", 0, 100)) == list(model)
        for start in range(0, 50, 7):
            inside = model.intersect(Extents([(start, start + 9)]))
            assert list(pages.ranges(connection, "c", start, start + 9)) == list(inside)


def test_bytes_that_no_row_lists_are_zero_after_recovery(store: BlobStore, tmp_path: Path) -> None:
    store.write_pages(A, PAGE, b"a" * PAGE)
    content = store.get_blob(*A).content
    with (tmp_path / "content" / content).open("r+b") as file:
        file.write(b"x" * PAGE)
        file.seek(3 * PAGE)
        file.write(b"y" * PAGE)
        file.seek(SIZE)
        file.write(b"behind the end")
    store.recover()
    assert store.content_path(A).read_bytes() == bytes(PAGE) + b"a" * PAGE + bytes(SIZE - 2 * PAGE)


def test_recovery_removes_files_that_no_blob_names(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "content" / "orphan").write_bytes(b"left by a crash")
    store.recover()
    assert files(tmp_path) == {store.get_blob(*A).content}


def test_a_share_takes_no_bytes_until_one_is_written(store: BlobStore, tmp_path: Path) -> None:
    store.write_pages(A, 0, b"a" * PAGE)
    store.share(A, B)
    assert len(files(tmp_path)) == 1
    store.write_pages(B, PAGE, b"b" * PAGE)
    assert len(files(tmp_path)) == 2
    assert whole(store, A)[: 2 * PAGE] == b"a" * PAGE + bytes(PAGE)
    assert whole(store, B)[: 2 * PAGE] == b"a" * PAGE + b"b" * PAGE


def test_a_write_ends_however_often_its_blob_is_sealed(store: BlobStore) -> None:
    done = threading.Event()

    def seal() -> None:
        while not done.is_set():
            store.content_path(A)

    sealers = [threading.Thread(target=seal) for _ in range(2)]
    for sealer in sealers:
        sealer.start()
    try:
        for page in range(64):
            store.write_pages(A, page * PAGE, b"w" * PAGE)
    finally:
        done.set()
        for sealer in sealers:
            sealer.join()
    assert whole(store, A) == b"w" * SIZE


def test_a_file_that_was_given_out_is_never_written(store: BlobStore) -> None:
    path = store.content_path(A)
    store.write_pages(A, 0, b"n" * PAGE)
    assert path != store.content_path(A)
    assert whole(store, A)[:PAGE] == b"n" * PAGE


def test_the_last_blob_of_a_content_takes_its_file_along(store: BlobStore, tmp_path: Path) -> None:
    store.share(A, B)
    store.delete_blob(*A)
    assert len(files(tmp_path)) == 1
    store.delete_account("acct")
    assert files(tmp_path) == set()


def test_a_sparse_file_becomes_the_content(store: BlobStore, tmp_path: Path) -> None:
    path = tmp_path / "folded"
    with path.open("wb") as file:
        file.truncate(2**20)
        file.seek(2**19)
        file.write(b"d" * 4096)
    store.replace_content(A, path)
    assert not path.exists()
    assert store.get_blob(*A).size == 2**20
    assert store.page_ranges(A) == [Extent(2**19, 2**19 + 4096)]
    store.write_pages(A, 0, b"w" * PAGE)
    assert whole(store, A)[2**19 : 2**19 + 4096] == b"d" * 4096


def test_what_a_sparse_file_changed_since_a_snapshot_is_known(store: BlobStore, tmp_path: Path) -> None:
    store.resize(A, 2**20)
    store.write_pages(A, 0, b"a" * 3 * PAGE)
    store.write_pages(A, 2**19, b"b" * 4096)
    first = B._replace(snapshot=store.new_snapshot())
    store.add_snapshot(A, first, "family")
    path = tmp_path / "folded"
    with path.open("wb") as file:
        file.truncate(2**20)
        file.write((b"a" * 3 * PAGE).ljust(8192, b"c"))
    store.replace_content(A, path, since=store.newest_snapshot(B))
    second = B._replace(snapshot=store.new_snapshot())
    store.add_snapshot(A, second, "family")
    changes = list(store.changed_ranges(store.get_blob(*second), store.get_blob(*first), 0, 2**20))
    assert changes == [(Extent(0, 8192), False), (Extent(2**19, 2**19 + 4096), True)]
    assert list(store.changed_ranges(store.get_blob(*second), store.get_blob(*second), 0, 2**20)) == []
    assert store.newest_snapshot(B) == store.get_blob(*second)
    assert whole(store, B)[:8192] == (b"a" * 3 * PAGE).ljust(8192, b"c")


def test_a_reader_never_gets_zeros_for_bytes_that_were_replaced(store: BlobStore) -> None:
    store.write_pages(A, 0, b"a" * PAGE)
    with store.reader(store.get_blob(*A)) as read:
        assert read(0, PAGE) == b"a" * PAGE
        store.content_path(A)
        store.write_pages(A, PAGE, b"b" * PAGE)
        with pytest.raises(AzureError) as caught:
            read(0, PAGE)
        assert (caught.value.status, caught.value.code) == (503, "ServerBusy")
        store.delete_blob(*A)
        with pytest.raises(AzureError) as caught:
            read(0, PAGE)
        assert (caught.value.status, caught.value.code) == (404, "BlobNotFound")


def test_containers_are_listed_page_by_page(store: BlobStore) -> None:
    for name in ("c1", "c2", "c3"):
        store.create_container("acct", name)
    first = store.list_containers("acct", prefix="c", count=2)
    assert (first.names, first.following) == (("c1", "c2"), "c3")
    rest = store.list_containers("acct", prefix="c", start=first.following, count=2)
    assert (rest.names, rest.following) == (("c3",), "")


def test_an_existing_blob_is_not_shared_over(store: BlobStore) -> None:
    store.create_page_blob(B, PAGE)
    with pytest.raises(AzureError) as caught:
        store.share(A, B)
    assert (caught.value.status, caught.value.code) == (409, "BlobAlreadyExists")


@pytest.mark.parametrize(("offset", "length"), [(1, 512), (0, 100), (SIZE, 512), (SIZE - 512, 1024)])
def test_pages_outside_or_across_are_refused(store: BlobStore, offset: int, length: int) -> None:
    with pytest.raises(AzureError) as caught:
        store.write_pages(A, offset, bytes(length))
    assert (caught.value.status, caught.value.code) == (416, "InvalidPageRange")
    assert store.page_ranges(A) == []


def test_a_lease_of_the_stamp_keeps_others_out(store: BlobStore) -> None:
    store.acquire_infinite_lease(A, "vm-1")
    store.acquire_infinite_lease(A, "vm-1")
    with pytest.raises(AzureError) as caught:
        store.acquire_infinite_lease(A, "vm-2")
    assert caught.value.code == "LeaseAlreadyPresent"
    store.release_lease(A, "vm-1")
    store.acquire_infinite_lease(A, "vm-2")


def test_a_new_key_replaces_one_of_two(store: BlobStore) -> None:
    old = store.get_account("acct")
    new = store.regenerate_key("acct", "key2")
    assert (new.key1 == old.key1, new.key2 == old.key2) == (True, False)


def test_a_copy_that_the_end_of_the_server_interrupts_has_failed_and_is_empty(store: BlobStore) -> None:
    source = Source("http://elsewhere/a", None, "PageBlob", SIZE, "", None, lambda *_: b"", list)
    state = CopyState("an-id", source.url, 0, SIZE, None, "pending")
    begun = store.begin_copy(B, source, state, lambda blob: blob, lambda blob: None)
    store.write_copied(begun, 0, b"a" * PAGE)
    store.recover()
    found = store.get_blob(*B)
    assert (found.copy and found.copy.status, found.size, store.page_ranges(B)) == ("failed", 0, [])

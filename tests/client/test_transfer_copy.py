"""Copies within a stamp and between two, by the official SDK: by the service, and through here."""

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from azure.storage.blob import BlobClient

from tests.client.blob_service import ACCOUNT, BlobService, serving
from vmstamp.errors import TransferError
from vmstamp.extents import Extents
from vmstamp.transfer import copy_plan
from vmstamp.transfer.blobs import open_blob, page_ranges
from vmstamp.transfer.copy import Copied, copy, plan_copy
from vmstamp.transfer.copy_source import SAS_LIFE, CopySource
from vmstamp.transfer.destination import MARK
from vmstamp.transfer.progress import Moved

MIB = 2**20
SIZE = 16 * MIB + 512
FOOTER = (SIZE - 512, SIZE)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobService]:
    with serving(tmp_path_factory.mktemp("here")) as service:
        yield service


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobService]:
    """Another stamp."""
    with serving(tmp_path_factory.mktemp("there")) as service:
        yield service


def at(service: BlobService, name: str, **more: Any) -> BlobClient:
    return open_blob(f"{service.url}/vhds/{name}", key=service.key, **more)


def filled(service: BlobService, name: str, *spans: tuple[int, int]) -> BlobClient:
    """A page blob with random bytes in these spans and in its last page."""
    blob = at(service, name)
    blob.create_page_blob(SIZE, metadata={"kept": "yes"})
    for start, end in Extents((*spans, FOOTER)).split(4 * MIB):
        blob.upload_page(os.urandom(end - start), start, end - start)
    return blob


def snapshot_of(service: BlobService, blob: BlobClient) -> BlobClient:
    taken = blob.create_snapshot()["snapshot"]
    return open_blob(f"{blob.url}?snapshot={taken}", key=service.key)


def run(source: BlobClient, target: BlobClient, **more: Any) -> Copied:
    return copy(CopySource(source), target, sleep=lambda seconds: None, **more)


def same(source: BlobClient, target: BlobClient) -> bool:
    assert page_ranges(source) == page_ranges(target)
    return bool(source.download_blob().readall() == target.download_blob().readall())


def test_a_copy_in_one_stamp_is_one_request(here: BlobService) -> None:
    source, target = filled(here, "one.vhd", (0, MIB)), at(here, "two.vhd")
    done = run(source, target)
    assert (done.way, done.sent, done.requests) == ("copy-blob", 0, 3)
    assert same(source, target)
    assert target.get_blob_properties().metadata == {"kept": "yes"}
    with pytest.raises(TransferError, match="exists already"):
        run(source, target)
    source.upload_page(b"n" * 512, 0, 512)
    run(source, target, overwrite=True)
    assert same(source, target)


@pytest.mark.parametrize("credential", ["key", "sas"])
def test_a_copy_between_stamps_is_moved_by_the_services(
    here: BlobService, there: BlobService, credential: str
) -> None:
    name = f"from-{credential}.vhd"
    source, target = filled(here, name, (0, 512), (3 * MIB, 9 * MIB)), at(there, name)
    seen: list[Moved] = []
    reading = source if credential == "key" else open_blob(here.signed(name))
    done = run(reading, target, progress=seen.append)
    assert (done.way, done.data, done.sent) == ("put-page-from-url", 6 * MIB + 1024, 6 * MIB + 1024)
    assert (done.logical, done.skipped) == (SIZE, 10 * MIB - 512)
    assert same(source, target)
    assert target.get_blob_properties().metadata == {"kept": "yes"}
    assert (seen[-1].done, seen[-1].sent, seen[-1].skipped) == (done.sent, done.sent, done.skipped)
    assert "sig=" not in done.source + done.url


def test_a_plan_tells_the_steps_and_changes_nothing(here: BlobService, there: BlobService) -> None:
    source, target = filled(here, "plan.vhd", (MIB, 10 * MIB)), at(there, "plan.vhd")
    plan = plan_copy(CopySource(source), target)
    steps = [(step.requests, step.bytes) for step in plan.steps()]
    assert steps == [(1, 0), (3, 9 * MIB), (1, 512), (1, 0), (1, 0)]
    assert plan.total == 9 * MIB + 512
    assert not target.exists()


def test_what_a_service_cannot_reach_goes_through_here(here: BlobService, there: BlobService) -> None:
    """The source's URL for others is one that its service refuses: as a closed network does."""

    class Hidden(CopySource):
        def for_a_service(self) -> tuple[str, str | None]:
            return self.url, None

    source, target = filled(here, "hidden.vhd", (MIB, 6 * MIB)), at(there, "hidden.vhd")
    done = copy(Hidden(source), target)
    assert done.way == "read-and-write" and "CannotVerifyCopySource" in done.why
    assert done.sent == 5 * MIB + 512
    assert same(source, target)


def test_a_bearer_token_goes_along_for_the_other_service(here: BlobService, there: BlobService) -> None:
    class SignedIn(CopySource):
        def for_a_service(self) -> tuple[str, str | None]:
            return self.url, "Bearer good"

    source, target = filled(here, "signed-in.vhd", (MIB, 2 * MIB)), at(there, "signed-in.vhd")
    assert copy(SignedIn(source), target).way == "put-page-from-url"
    assert same(source, target)


def test_a_snapshot_is_copied_as_it_was(here: BlobService, there: BlobService) -> None:
    blob, target = filled(here, "snap.vhd", (0, MIB)), at(there, "snap.vhd")
    old = snapshot_of(here, blob)
    blob.clear_page(0, MIB)
    assert run(old, target).way == "put-page-from-url"
    assert same(old, target)
    again = run(old, target)
    assert (again.way, again.sent, again.requests) == ("nothing", 0, 0)


def test_a_snapshot_comes_back_over_its_own_blob(here: BlobService) -> None:
    blob = filled(here, "back.vhd", (0, MIB))
    old = snapshot_of(here, blob)
    blob.clear_page(0, MIB)
    with pytest.raises(TransferError, match="exists already"):
        run(old, blob)
    run(old, blob, overwrite=True)
    assert same(old, blob)
    with pytest.raises(TransferError, match="onto itself"):
        run(blob, blob, overwrite=True)


def test_only_what_changed_since_the_snapshot_moves(here: BlobService, there: BlobService) -> None:
    blob, target = filled(here, "inc.vhd", (0, 8 * MIB)), at(there, "inc.vhd")
    first = snapshot_of(here, blob)
    run(first, target)
    blob.upload_page(b"new!" * 128, 2 * MIB, 512)
    blob.clear_page(5 * MIB, MIB)
    second = snapshot_of(here, blob)
    blob.upload_page(b"more" * 128, 0, 512)
    done = run(second, target)
    assert (done.since, done.sent, done.cleared) == (first.snapshot, 1024, MIB)
    assert same(second, target)
    marks = copy_plan.read_marks(target.get_blob_properties().metadata)
    assert (marks.source, marks.snapshot) == (f"{ACCOUNT}/vhds/inc.vhd", second.snapshot)
    assert marks.unfinished == ""


def test_a_destination_that_was_written_to_is_not_taken_for_the_copy(
    here: BlobService, there: BlobService
) -> None:
    blob, target = filled(here, "dirty.vhd", (0, MIB)), at(there, "dirty.vhd")
    first = snapshot_of(here, blob)
    copy(CopySource(first), target)  # waits until its own second is over
    target.upload_page(b"mine" * 128, 8 * MIB, 512)
    second = snapshot_of(here, blob)
    for snapshot in (first, second):
        with pytest.raises(TransferError, match="exists already"):
            run(snapshot, target)
    done = run(second, target, overwrite=True)
    assert (done.since, done.sent) == ("", MIB + 512)
    assert same(second, target)


def test_a_base_that_the_source_lost_is_no_base(here: BlobService, there: BlobService) -> None:
    blob, target = filled(here, "lost.vhd", (0, MIB)), at(there, "lost.vhd")
    first = snapshot_of(here, blob)
    run(first, target)
    second = snapshot_of(here, blob)
    first.delete_blob()
    with pytest.raises(TransferError, match="exists already"):
        run(second, target)
    assert run(second, target, overwrite=True).since == ""
    assert same(second, target)


class Broken(CopySource):
    """Gives the URL so many times."""

    left = 3

    def for_a_service(self) -> tuple[str, str | None]:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().for_a_service()


def test_a_copy_that_was_ended_is_continued(here: BlobService, there: BlobService) -> None:
    source, target = filled(here, "cut.vhd", (0, 14 * MIB)), at(there, "cut.vhd")
    broken = Broken(source)
    with pytest.raises(KeyboardInterrupt):
        copy(broken, target, concurrency=1)
    assert page_ranges(target) == Extents([(0, 12 * MIB)])
    target.upload_page(b"foreign!" * 64, 15 * MIB, 512)
    with pytest.raises(TransferError, match="unfinished upload or copy"):
        plan_copy(CopySource(target), at(here, "elsewhere.vhd"))
    done = run(source, target)
    assert (done.resumed, done.sent) == (12 * MIB, 2 * MIB + 512)
    assert same(source, target)


def test_a_changed_source_does_not_continue_what_it_was(here: BlobService, there: BlobService) -> None:
    source, target = filled(here, "moved.vhd", (0, 16 * MIB)), at(there, "moved.vhd")
    with pytest.raises(KeyboardInterrupt):
        copy(Broken(source), target, concurrency=1)
    source.upload_page(b"n" * 512, 0, 512)
    with pytest.raises(TransferError, match="unfinished upload of another disk"):
        run(source, target)
    assert run(source, target, overwrite=True).resumed == 0
    assert same(source, target)


def test_a_source_that_changes_meanwhile_ends_it(here: BlobService, there: BlobService) -> None:
    source, target = filled(here, "live.vhd", (0, MIB)), at(there, "live.vhd")
    opened = CopySource(source)
    source.upload_page(b"n" * 512, 0, 512)
    with pytest.raises(TransferError, match="ConditionNotMet"):
        copy(opened, target)
    assert MARK in target.get_blob_properties().metadata


def test_changes_that_were_ended_are_done_anew(here: BlobService, there: BlobService) -> None:
    blob, target = filled(here, "incut.vhd", (0, 8 * MIB)), at(there, "incut.vhd")
    run(snapshot_of(here, blob), target)
    blob.upload_page(os.urandom(8 * MIB)[: 4 * MIB], 0, 4 * MIB)
    blob.upload_page(os.urandom(4 * MIB), 4 * MIB, 4 * MIB)
    second = snapshot_of(here, blob)
    broken = Broken(second)
    broken.left = 1
    with pytest.raises(KeyboardInterrupt):
        copy(broken, target, concurrency=1)
    assert not page_ranges(target).intersect(Extents([FOOTER])), "no VHD while it is half of each"
    done = run(second, target)
    assert (done.since != "", done.sent) == (True, 8 * MIB + 512)
    assert same(second, target)


def test_a_block_blob_is_copied_by_the_service(here: BlobService, there: BlobService) -> None:
    source, target = at(here, "block"), at(there, "block")
    source.upload_blob(b"text" * 1000, overwrite=True)
    done = run(source, target)
    assert done.way == "copy-blob"
    assert target.download_blob().readall() == b"text" * 1000


class Slow(BaseHTTPRequestHandler):
    """A block blob whose bytes never come."""

    go_on = threading.Event()

    def do_HEAD(self) -> None:
        self.send_response(200)
        for name, value in (
            ("Content-Length", str(MIB)),
            ("ETag", '"1"'),
            ("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT"),
            ("x-ms-blob-type", "BlockBlob"),
        ):
            self.send_header(name, value)
        self.end_headers()

    def do_GET(self) -> None:
        self.go_on.wait(30)
        self.send_error(404)

    def log_message(self, *arguments: object) -> None:
        pass


def test_ctrl_c_aborts_a_copy_that_the_service_does_by_itself(there: BlobService) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    target = at(there, "slow")
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            source = open_blob(f"http://127.0.0.1:{server.server_port}/acct/vhds/slow")
            with pytest.raises(KeyboardInterrupt):
                copy(CopySource(source), target, sleep=interrupt)
            assert not target.exists(), "the same command begins anew"
            Slow.go_on.set()
            with pytest.raises(TransferError, match="the service's own copy failed: 404"):
                copy(CopySource(source), target)
            assert not target.exists()
        finally:
            Slow.go_on.set()
            server.shutdown()
            thread.join()


def test_a_copy_into_a_blob_that_stays_clears_what_it_held(here: BlobService, there: BlobService) -> None:
    source, target = filled(here, "into.vhd", (0, MIB)), at(there, "into.vhd")
    target.create_page_blob(SIZE)
    target.upload_page(b"old." * 128, 8 * MIB, 512)
    done = run(source, target, into=True)
    assert (done.cleared, done.sent) == (512, MIB + 512)
    assert same(source, target)
    small = at(there, "small.vhd")
    small.create_page_blob(MIB)
    with pytest.raises(TransferError, match="has 1048576 bytes, but"):
        run(source, small, into=True)


def test_an_empty_page_blob_is_copied(here: BlobService, there: BlobService) -> None:
    source, target = at(here, "empty"), at(there, "empty")
    source.create_page_blob(0)
    assert run(source, target).sent == 0
    assert target.get_blob_properties().size == 0


def test_a_sas_is_signed_anew_when_half_of_it_is_over(here: BlobService) -> None:
    clock = [datetime.now(UTC)]
    source = CopySource(filled(here, "sas.vhd"), now=lambda: clock[0])
    first = source.for_a_service()
    clock[0] += SAS_LIFE / 2 - timedelta(seconds=1)
    assert source.for_a_service() == first
    clock[0] += timedelta(seconds=2)
    second = source.for_a_service()
    assert second != first
    assert open_blob(second[0]).get_blob_properties().size == SIZE

"""Upload and the page blob as a Disk, by the official SDK against our Blob service."""

import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from azure.storage.blob import BlobClient, BlobServiceClient

from vmstamp.blob.rest import app
from vmstamp.blob.store import BlobStore
from vmstamp.db import Database
from vmstamp.disk.base import Disk
from vmstamp.disk.footer import parse_footer
from vmstamp.errors import DiskError, TransferError
from vmstamp.extents import Extent, Extents
from vmstamp.transfer.blobs import open_account, open_blob, page_ranges
from vmstamp.transfer.destination import MARK
from vmstamp.transfer.fingerprint import fingerprint
from vmstamp.transfer.page_blob_disk import PageBlobDisk
from vmstamp.transfer.progress import Moved
from vmstamp.transfer.upload import upload, upload_into

MIB = 1024 * 1024


class Pattern(Disk):
    """A disk with data in the given ranges: each page holds its own number, from 1."""

    format = "raw"

    def __init__(self, size: int, *ranges: tuple[int, int], broken_at: int | None = None) -> None:
        self.size = size
        self.ranges = Extents(ranges)
        self.broken_at = broken_at

    def extents(self) -> Iterator[Extent]:
        return iter(self.ranges)

    def _read(self, offset: int, length: int) -> bytes:
        if self.broken_at is not None and offset <= self.broken_at < offset + length:
            raise DiskError("pattern", "broken on purpose", offset=self.broken_at)
        first, last = offset // 512, -(-(offset + length) // 512)
        pages = b"".join(self._page(number) for number in range(first, last))
        return pages[offset - first * 512 :][:length]

    def _page(self, number: int) -> bytes:
        held = self.ranges.intersect(Extents([(number * 512, number * 512 + 512)]))
        return (number + 1).to_bytes(8, "little") + bytes(504) if held else bytes(512)

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class Service:
    url: str
    key: str
    store: BlobStore

    def blob(self, name: str, container: str = "vhds") -> BlobClient:
        return open_blob(f"{self.url}/acct/{container}/{name}", key=self.key)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    root = tmp_path_factory.mktemp("blob")
    (root / "content").mkdir()
    database = Database(root / "stamp.db")
    store = BlobStore(database, root / "content")
    account = store.create_account("acct")
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app(store), log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with open_account(f"{url}/acct", "acct", account.key1) as client:
        client.create_container("vhds")
    yield Service(url, account.key1, store)
    server.should_exit = True
    thread.join(10)
    listener.close()
    database.close()


def listed(service: Service) -> set[str]:
    with open_account(f"{service.url}/acct", "acct", service.key) as client:
        return {blob.name for blob in client.get_container_client("vhds").list_blobs()}


def test_a_disk_becomes_a_fixed_vhd_and_holes_are_not_sent(service: Service) -> None:
    disk = Pattern(20 * MIB - 512, (0, MIB), (9 * MIB, 14 * MIB))
    seen: list[Moved] = []
    with service.blob("a.vhd") as blob:
        done = upload(disk, blob, progress=seen.append)
        content = blob.download_blob().readall()
        ranges = page_ranges(blob)
    assert (done.logical, done.data) == (20 * MIB + 512, 6 * MIB + 512)
    assert done.sent == done.data and done.skipped == done.logical - done.sent
    assert ranges == Extents([(0, MIB), (9 * MIB, 14 * MIB), (20 * MIB, 20 * MIB + 512)])
    assert content[: 20 * MIB - 512] == disk.read(0, disk.size)
    assert parse_footer(content[-512:], Path("a.vhd"), 20 * MIB).current_size == 20 * MIB
    sent = 6 * MIB + 512
    assert seen[-1] == Moved(done.logical, done.data, total=sent, done=sent, sent=sent)
    assert {one.skipped for one in seen} == {done.skipped}, "nothing but holes was skipped"
    assert "sig=" not in done.url


def test_zeros_inside_the_disks_data_are_not_sent(service: Service) -> None:
    class Zeros(Pattern):
        def extents(self) -> Iterator[Extent]:
            return iter([Extent(0, 16 * MIB)])

    with service.blob("zeros.vhd") as blob:
        done = upload(Zeros(16 * MIB, (5 * MIB, 6 * MIB)), blob)
    assert (done.data, done.sent) == (16 * MIB + 512, MIB + 512)


def test_a_blob_that_exists_is_refused_without_overwrite(service: Service) -> None:
    with service.blob("twice.vhd") as blob:
        upload(Pattern(MIB, (0, 512)), blob)
        with pytest.raises(TransferError, match="exists already") as caught:
            upload(Pattern(MIB), blob)
        assert "--overwrite" in caught.value.hint
        assert page_ranges(blob).length == 1024
        upload(Pattern(2 * MIB, (MIB, MIB + 512)), blob, overwrite=True)
        assert page_ranges(blob) == Extents([(MIB, MIB + 512), (2 * MIB, 2 * MIB + 512)])


def test_a_failure_on_the_way_leaves_no_blob(service: Service) -> None:
    with service.blob("half.vhd") as blob, pytest.raises(DiskError, match="broken on purpose"):
        upload(Pattern(64 * MIB, (0, 64 * MIB), broken_at=40 * MIB), blob)
    assert "half.vhd" not in listed(service)


def test_a_wrong_key_is_refused_before_a_byte_is_read(service: Service) -> None:
    url = f"{service.url}/acct/vhds/key.vhd"
    with open_blob(url, key="d3Jvbmc=") as blob, pytest.raises(TransferError, match="403") as caught:
        upload(Pattern(MIB, (0, MIB), broken_at=0), blob)
    assert "key" in caught.value.hint


def test_a_container_that_is_not_there_is_named(service: Service) -> None:
    with service.blob("a.vhd", "nowhere") as blob, pytest.raises(TransferError, match="ContainerNotFound"):
        upload(Pattern(MIB, (0, MIB), broken_at=0), blob)


def test_a_service_that_does_not_answer_is_said_with_the_url(service: Service) -> None:
    probe = socket.socket()
    probe.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{probe.getsockname()[1]}/acct/vhds/a.vhd"
    with open_blob(url, key="a2V5") as blob, pytest.raises(TransferError, match="no answer"):
        upload(Pattern(MIB), blob)
    probe.close()


def test_a_page_blob_reads_as_the_disk_that_was_uploaded(service: Service) -> None:
    disk = Pattern(8 * MIB, (512, 4096), (3 * MIB - 512, 3 * MIB + 512))
    with service.blob("read.vhd") as blob:
        upload(disk, blob)
        with PageBlobDisk(blob) as read:
            assert (read.size, read.format, read.subformat) == (8 * MIB, "vhd", "fixed")
            assert Extents(read.extents()) == disk.ranges
            assert read.read(0, 8 * MIB) == disk.read(0, 8 * MIB)
            assert read.read(3 * MIB - 7, 9) == disk.read(3 * MIB - 7, 9)
            assert read.fetched < 5 * MIB
            with pytest.raises(ValueError, match="not inside"):
                read.read(8 * MIB - 1, 2)


def test_a_page_blob_without_a_footer_is_a_raw_disk(service: Service) -> None:
    page = os.urandom(512)
    with service.blob("raw") as blob:
        blob.create_page_blob(MIB)
        blob.upload_page(page, 0, 512)
        with PageBlobDisk(blob) as read:
            assert (read.size, read.format) == (MIB, "raw")
            assert read.read(0, 1024) == page + bytes(512)


def test_both_account_keys_open_the_account(service: Service) -> None:
    keys = service.store.get_account("acct")
    for key in (keys.key1, keys.key2):
        client: BlobServiceClient = open_account(f"{service.url}/acct", "acct", key)
        with client:
            assert client.get_container_client("vhds").exists()


class InFile(Pattern):
    """A pattern that lies in a file, as far as its fingerprint goes."""

    def __init__(self, path: Path, *ranges: tuple[int, int], broken_at: int | None = None) -> None:
        super().__init__(64 * MIB, *ranges, broken_at=broken_at)
        self.path = path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "disk").write_bytes(b"a disk")
    return tmp_path / "disk"


WHOLE = (0, 60 * MIB)


def begin(blob: BlobClient, path: Path) -> int:
    """An upload that ends in the middle; the bytes of it that are there."""
    with pytest.raises(DiskError, match="broken on purpose"):
        upload(InFile(path, WHOLE, broken_at=40 * MIB), blob, concurrency=2)
    return page_ranges(blob).length


def test_an_upload_that_was_ended_is_continued(service: Service, path: Path) -> None:
    disk = InFile(path, WHOLE)
    with service.blob("resumed.vhd") as blob:
        there = begin(blob, path)
        assert 20 * MIB < there < 60 * MIB
        assert not blob.download_blob(64 * MIB, 512).readall().startswith(b"conectix"), "no VHD yet"
        done = upload(disk, blob)
        assert (done.resumed, done.sent) == (there, 60 * MIB - there + 512)
        assert done.logical == done.sent + done.skipped + done.resumed
        content = blob.download_blob().readall()
        assert content[: 64 * MIB] == disk.read(0, 64 * MIB)
        assert parse_footer(content[-512:], path, 64 * MIB).current_size == 64 * MIB
        assert blob.get_blob_properties().metadata == {}
        with pytest.raises(TransferError, match="exists already"):
            upload(disk, blob)


def test_an_unfinished_upload_is_no_disk(service: Service, path: Path) -> None:
    with service.blob("unfinished.vhd") as blob:
        begin(blob, path)
        with pytest.raises(TransferError, match="unfinished upload or copy") as caught:
            PageBlobDisk(blob)
        assert "same command" in caught.value.hint
        upload(InFile(path, WHOLE), blob)
        PageBlobDisk(blob).close()


def test_an_upload_is_begun_anew_when_that_is_asked_for(service: Service, path: Path) -> None:
    with service.blob("anew.vhd") as blob:
        begin(blob, path)
        done = upload(InFile(path, (0, MIB)), blob, resume=False)
        assert (done.resumed, done.sent) == (0, MIB + 512)
        assert page_ranges(blob).length == MIB + 512


def test_a_changed_disk_does_not_continue_what_it_was(service: Service, path: Path) -> None:
    with service.blob("other.vhd") as blob:
        begin(blob, path)
        os.utime(path, (1, 1))
        with pytest.raises(
            TransferError, match="unfinished upload of another disk, or of this one"
        ) as caught:
            upload(InFile(path, WHOLE), blob)
        assert "--overwrite" in caught.value.hint
        done = upload(InFile(path, WHOLE), blob, overwrite=True)
        assert (done.resumed, done.sent) == (0, 60 * MIB + 512)


def test_pages_that_are_not_the_disks_are_cleared_when_it_is_continued(service: Service, path: Path) -> None:
    with service.blob("dirty.vhd") as blob:
        begin(blob, path)
        blob.upload_page(b"foreign!" * 64, 62 * MIB, 512)
        upload(InFile(path, WHOLE), blob)
        assert page_ranges(blob) == Extents([WHOLE, (64 * MIB, 64 * MIB + 512)])


def test_an_upload_that_was_ended_after_the_footer_ends_well(service: Service, path: Path) -> None:
    with service.blob("late.vhd") as blob:
        upload(InFile(path, WHOLE), blob)
        blob.set_blob_metadata({MARK: fingerprint(InFile(path, WHOLE))})
        done = upload(InFile(path, WHOLE), blob)
        assert (done.resumed, done.sent) == (60 * MIB, 512)
        assert blob.get_blob_properties().metadata == {}


def test_a_fingerprint_knows_the_parents(path: Path, tmp_path: Path) -> None:
    child, parent = InFile(path, WHOLE), InFile(tmp_path / "parent", WHOLE)
    (tmp_path / "parent").write_bytes(b"parent")
    child.parent = parent
    before = fingerprint(child)
    os.utime(tmp_path / "parent", (2, 2))
    assert len({before, fingerprint(child), fingerprint(parent), fingerprint(InFile(path, WHOLE))}) == 4
    assert fingerprint(Pattern(MIB)) == ""


def test_what_was_in_a_blob_that_stays_is_cleared(service: Service) -> None:
    with service.blob("stays.vhd") as blob:
        blob.create_page_blob(8 * MIB + 512)
        blob.upload_page(b"old" * 1024 + bytes(1024), MIB, 4096)
        done = upload_into(Pattern(8 * MIB, (4 * MIB, 5 * MIB)), blob)
        assert (done.sent, done.resumed) == (MIB + 512, 0)
        assert page_ranges(blob) == Extents([(4 * MIB, 5 * MIB), (8 * MIB, 8 * MIB + 512)])
        with pytest.raises(TransferError, match="has 8389120 bytes, but the fixed VHD 9437696"):
            upload_into(Pattern(9 * MIB), blob)


def test_a_raw_upload_has_the_disks_bytes_alone(service: Service) -> None:
    disk = Pattern(MIB + 1024, (0, 512), (MIB, MIB + 1024))
    with service.blob("plain.raw") as blob:
        done = upload(disk, blob, raw=True)
        assert (done.logical, done.sent) == (MIB + 1024, 1536)
        assert blob.download_blob().readall() == disk.read(0, disk.size)
        with PageBlobDisk(blob) as found:
            assert (found.format, found.size) == ("raw", disk.size)


def test_a_raw_upload_of_a_part_of_a_page_is_refused(service: Service) -> None:
    with service.blob("odd.raw") as blob:
        with pytest.raises(TransferError, match="whole number of 512-byte pages"):
            upload(Pattern(700), blob, raw=True)
        assert not blob.exists()

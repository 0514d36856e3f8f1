"""Download and verify, by the official SDK against our Blob service."""

from __future__ import annotations

from pathlib import Path

import pytest
from azure.storage.blob import BlobClient

from tests.client.test_transfer_upload import MIB, Pattern, Service, service
from vmstamp import disk
from vmstamp.disk.memory import MemoryDisk
from vmstamp.errors import DiskError, TransferError
from vmstamp.extents import Extent, Extents
from vmstamp.transfer.download import PIECE, ReadAhead, download, verify
from vmstamp.transfer.page_blob_disk import PageBlobDisk
from vmstamp.transfer.partial import SYNCED, journal_path, partial_path, read_journal, writing
from vmstamp.transfer.progress import Moved
from vmstamp.transfer.upload import upload

__all__ = ["service"]  # the fixture

CONTENT = Pattern(40 * MIB, (0, 512), (3 * MIB, 9 * MIB + 512), (30 * MIB + 1024, 30 * MIB + 2048))
DATA = 512 + 6 * MIB + 512 + 1024


def put(service: Service, name: str) -> BlobClient:
    blob = service.blob(name)
    upload(CONTENT, blob, overwrite=True)
    return blob


@pytest.mark.parametrize("name", ["a.vhd", "a.vhdx", "a.raw", "a.qcow2", "a.vmdk"])
def test_a_blob_becomes_a_file_of_any_format(service: Service, tmp_path: Path, name: str) -> None:
    seen: list[Moved] = []
    with put(service, "down.vhd") as blob, PageBlobDisk(blob) as source:
        done = download(source, tmp_path / name, progress=seen.append)
    assert (done.logical, done.data, done.received) == (40 * MIB, DATA, DATA)
    assert seen[-1].done == seen[-1].total == DATA + (512 if name == "a.vhd" else 0), "with a footer"
    assert seen[-1].sent == DATA
    with disk.open(tmp_path / name) as opened:
        assert opened.size == 40 * MIB
        assert disk.compare(opened, CONTENT) is None
    assert (tmp_path / name).stat().st_blocks * 512 < 10 * MIB, "holes stay holes"


def test_a_file_that_is_there_is_refused_before_a_byte_is_moved(service: Service, tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(b"old")
    with put(service, "there.vhd") as blob, PageBlobDisk(blob) as source:
        before = source.fetched
        with pytest.raises(DiskError, match="is there already"):
            download(source, tmp_path / "a.raw")
        assert source.fetched == before
        download(source, tmp_path / "a.raw", overwrite=True)
    assert (tmp_path / "a.raw").stat().st_size == 40 * MIB


def test_a_blob_that_changes_meanwhile_ends_it_and_leaves_the_old_file(
    service: Service, tmp_path: Path
) -> None:
    (tmp_path / "a.raw").write_bytes(b"old")
    with put(service, "changed.vhd") as blob, PageBlobDisk(blob) as source:
        blob.upload_page(b"new!" * 128, 5 * MIB, 512)
        with pytest.raises(TransferError, match="ConditionNotMet") as caught:
            download(source, tmp_path / "a.raw", overwrite=True)
    assert "changed meanwhile" in caught.value.message
    assert "begin again" in caught.value.hint
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_block_blob_holds_no_disk(service: Service) -> None:
    with service.blob("block.vhd") as blob:
        blob.upload_blob(b"x" * 4096, overwrite=True)
        with pytest.raises(TransferError, match="is a BlockBlob, no page blob"):
            PageBlobDisk(blob)


def test_a_blob_that_is_not_there_is_named(service: Service) -> None:
    with service.blob("none.vhd") as blob, pytest.raises(TransferError, match=r"none\.vhd: 404 BlobNotFound"):
        PageBlobDisk(blob)


def test_a_raw_blob_is_downloaded_whole(service: Service, tmp_path: Path) -> None:
    with service.blob("raw") as blob:
        blob.create_page_blob(2 * MIB)
        blob.upload_page(b"data" * 1024, MIB, 4096)
        with PageBlobDisk(blob) as source:
            download(source, tmp_path / "a.vhd")
    data = (tmp_path / "a.vhd").read_bytes()
    assert (len(data), data[MIB : MIB + 4096]) == (2 * MIB + 512, b"data" * 1024)


def test_verify_tells_the_first_difference(service: Service) -> None:
    with put(service, "verified.vhd") as blob:
        with PageBlobDisk(blob) as source:
            assert verify(CONTENT, source) is None
        blob.upload_page(b"\xff" * 512, 8 * MIB + 512, 512)
        with PageBlobDisk(blob) as source:
            found = verify(CONTENT, source)
        assert found is not None
        assert (found.offset, found.right) == (8 * MIB + 512, 0xFF)


def test_a_longer_disk_of_zeros_is_the_same(service: Service) -> None:
    spans = ((low, high) for low, high in CONTENT.ranges)
    short = MemoryDisk(40 * MIB - 512, {low: CONTENT.read(low, high - low) for low, high in spans})
    with put(service, "longer.vhd") as blob, PageBlobDisk(blob) as source:
        assert verify(short, source) is None


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 40 * MIB), (2 * MIB, 5 * MIB), (9 * MIB, 1024), (39 * MIB, MIB), (PIECE - 1, 2)],
)
def test_reading_ahead_reads_as_the_disk(service: Service, offset: int, length: int) -> None:
    with put(service, "ahead.vhd") as blob, PageBlobDisk(blob) as source, ReadAhead(source, 2) as ahead:
        assert ahead.read(offset, length) == CONTENT.read(offset, length)
        assert ahead.read(0, 512) == CONTENT.read(0, 512), "and backwards"
        assert list(ahead.extents()) == list(CONTENT.extents())


def test_what_is_read_ahead_is_bounded(service: Service) -> None:
    dense = Pattern(64 * MIB, (0, 64 * MIB))
    with service.blob("dense.vhd") as blob:
        upload(dense, blob, overwrite=True)
        with PageBlobDisk(blob) as source, ReadAhead(source, 3) as ahead:
            ahead.read(0, 512)
            assert len(ahead._coming) == 3
            assert ahead.read(40 * MIB, MIB) == dense.read(40 * MIB, MIB)
            assert min(ahead._coming) == 10
            assert len(ahead._coming) == 3


DENSE = Pattern(64 * MIB, (0, 30 * MIB), (40 * MIB, 60 * MIB))


class Cut(PageBlobDisk):
    """Is interrupted after so many pieces."""

    left = 4

    def fetch(self, span: Extent) -> bytes:
        if span.length > MIB:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        return super().fetch(span)


def interrupted(blob: BlobClient, path: Path) -> None:
    with Cut(blob) as source, pytest.raises(KeyboardInterrupt):
        download(source, path, concurrency=1)
    assert not path.exists()


@pytest.mark.parametrize("name", ["a.raw", "a.vhd"])
def test_a_download_that_was_ended_is_continued(service: Service, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with service.blob("dense-down.vhd") as blob:
        upload(DENSE, blob, overwrite=True)
        interrupted(blob, path)
        assert partial_path(path).stat().st_blocks * 512 < 20 * MIB, "holes stay holes"
        with PageBlobDisk(blob) as source:
            done = download(source, path)
    assert (done.resumed, done.received) == (16 * MIB, 34 * MIB)
    assert [one.name for one in tmp_path.iterdir()] == [name]
    with disk.open(path) as opened:
        assert disk.compare(opened, DENSE) is None


def test_a_blob_that_has_changed_is_begun_anew(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    with service.blob("dense-changed.vhd") as blob:
        upload(DENSE, blob, overwrite=True)
        interrupted(blob, path)
        blob.upload_page(b"new!" * 128, 0, 512)
        with PageBlobDisk(blob) as source:
            done = download(source, path)
        assert (done.resumed, done.received) == (0, 50 * MIB)
    assert path.read_bytes()[:4] == b"new!"


def test_a_download_is_begun_anew_when_that_is_asked_for(service: Service, tmp_path: Path) -> None:
    with service.blob("dense-anew.vhd") as blob:
        upload(DENSE, blob, overwrite=True)
        interrupted(blob, tmp_path / "a.raw")
        with PageBlobDisk(blob) as source:
            assert download(source, tmp_path / "a.raw", resume=False).resumed == 0


def test_two_downloads_do_not_write_one_file(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    with put(service, "twice-down.vhd") as blob, PageBlobDisk(blob) as source:
        with writing(path, source.size, {}, overwrite=False, resume=True):
            with pytest.raises(DiskError, match="another download writes it"):
                download(source, path)
            assert partial_path(path).exists()
            path.write_bytes(b"")
            path.unlink()
        assert path.exists()


ABOUT = {"blob": "b", "etag": "e"}
HEAD = '{"blob": "b", "etag": "e", "boot": "now"}\n'


@pytest.mark.parametrize(
    ("text", "boot", "expected"),
    [
        (HEAD + "0 512\n1024 2048\n", "now", [(0, 512), (1024, 2048)]),
        (HEAD + "0 512\n1024 20", "now", [(0, 512)]),
        (HEAD + f"0 512\n{SYNCED}\n1024 2048\n", "later", [(0, 512)]),
        (HEAD + "0 512\n", "later", []),
        (HEAD.replace('"e"', '"f"') + "0 512\n", "now", []),
        ("{", "now", []),
        ("[]\n0 512\n", "now", []),
        ("", "now", []),
        (HEAD + "x y\n-1 5\n0 512\n", "now", [(0, 512)]),
    ],
)
def test_a_journal_tells_what_is_surely_there(text: str, boot: str, expected: list[tuple[int, int]]) -> None:
    assert read_journal(text, ABOUT, boot) == Extents(expected)


def test_a_journal_without_its_file_is_nothing(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "a.raw"
    with service.blob("dense-lost.vhd") as blob:
        upload(DENSE, blob, overwrite=True)
        interrupted(blob, path)
        partial_path(path).unlink()
        assert journal_path(path).exists()
        with PageBlobDisk(blob) as source:
            assert download(source, path).resumed == 0

"""No space left: Azure's kind of answer, a blob that is sound, and room to delete."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.core.exceptions import HttpResponseError

from tests.client.blob_service import BlobService, refusal, serving
from vmstamp import run

MIB = 2**20
SIZE_MIB = 40


@pytest.fixture
def service(tmp_path: Path) -> Iterator[BlobService]:
    """A Blob service in a file system of SIZE_MIB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    if run.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "none", tmp_path], check=False).status:
        pytest.skip("tmpfs cannot be mounted here")
    try:
        with serving(tmp_path) as service:
            yield service
    finally:
        run.run(["umount", tmp_path])


def test_a_full_file_system_refuses_writes_and_loses_nothing(service: BlobService) -> None:
    blob = service.blob("large.vhd")
    blob.create_page_blob(1024 * MIB)
    written = 0
    with pytest.raises(HttpResponseError) as caught:
        while written < SIZE_MIB:
            blob.upload_page(os.urandom(4 * MIB), written * MIB, 4 * MIB)
            written += 4
    assert refusal(caught.value) == (409, "InsufficientStorage")
    assert written >= 20
    assert [(r.start, r.end) for r in blob.list_page_ranges()] == [(0, written * MIB - 1)]
    assert blob.download_blob(written * MIB, MIB).readall() == bytes(MIB)
    with pytest.raises(HttpResponseError) as small:
        service.blob("log.txt").upload_blob(bytes(4 * MIB))
    assert refusal(small.value) == (409, "InsufficientStorage")


def test_a_copy_that_does_not_fit_leaves_both_blobs_as_they_are(service: BlobService) -> None:
    source, copy = service.blob("source.vhd"), service.blob("copy.vhd")
    source.create_page_blob(64 * MIB)
    for piece in range(5):
        source.upload_page(os.urandom(4 * MIB), piece * 4 * MIB, 4 * MIB)
    before = source.download_blob().readall()
    copy.start_copy_from_url(source.url)
    with pytest.raises(HttpResponseError) as caught:
        copy.upload_page(b"c" * 512, 0, 512)
    assert refusal(caught.value) == (409, "InsufficientStorage")
    assert source.download_blob().readall() == before
    assert copy.download_blob().readall() == before
    assert len(list((service.root / "content").iterdir())) == 1
    source.delete_blob()
    copy.delete_blob()
    assert list((service.root / "content").iterdir()) == []

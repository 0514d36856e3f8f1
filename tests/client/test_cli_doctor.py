"""`vmstamp doctor` of page blobs and managed disks of a running stamp, and of a service elsewhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.blob_service import BlobService, serving
from tests.client.test_cli_copy import disk_state
from tests.client.test_cli_stamp import Stamp, stamp
from tests.unit.cli.test_doctor import BAD, make_disk
from vmstamp import disk

__all__ = ["stamp"]  # the fixture
pytestmark = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in ("mkfs.ext4", "mformat", "mcopy")),
    reason="mkfs.ext4 (e2fsprogs), mformat and mcopy (mtools) are missing",
)
CHOSEN = ("--only", "fstab-device-names,vhd-container-kind,vhd-footer-checksum,vhd-size-1mib")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobService]:
    """A Blob service that is no part of the stamp."""
    with serving(tmp_path_factory.mktemp("elsewhere")) as service:
        yield service


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small guest whose fstab names a kernel device."""
    return make_disk(tmp_path_factory.mktemp("sick"), BAD)


EXPECTED = {
    "fstab-device-names": "fail",
    "vhd-container-kind": "pass",
    "vhd-footer-checksum": "pass",
    "vhd-size-1mib": "pass",
}


def statuses(stamp: Stamp, source: str, *more: str) -> dict[str, str]:
    found = stamp.json("doctor", source, *CHOSEN, *more, status=1)
    assert "sig=" not in found["source"]
    return {one["id"]: one["status"] for one in found["findings"]}


def test_a_page_blob_of_the_stamp_is_looked_at_where_it_lies(stamp: Stamp, sick: Path) -> None:
    url = stamp.json("upload", sick, "sick.vhd")["url"]
    assert statuses(stamp, url) == EXPECTED


def test_a_page_blob_elsewhere_by_its_sas_and_by_its_key(
    stamp: Stamp, sick: Path, elsewhere: BlobService
) -> None:
    stamp("upload", sick, elsewhere.signed("sick.vhd"))
    assert statuses(stamp, elsewhere.signed("sick.vhd")) == EXPECTED
    assert statuses(stamp, f"{elsewhere.url}/vhds/sick.vhd", "--account-key", elsewhere.key) == EXPECTED
    junit = stamp("doctor", elsewhere.signed("sick.vhd"), *CHOSEN, "--junit", status=1).text
    assert "sig=" not in junit and f'name="{elsewhere.url}/vhds/sick.vhd"' in junit


def test_a_blob_that_is_no_vhd_fails_because_no_upload_mends_it(
    stamp: Stamp, sick: Path, elsewhere: BlobService
) -> None:
    blob = elsewhere.blob("raw.vhd")
    data = sick.read_bytes()
    blob.create_page_blob(len(data))
    for at in range(0, len(data), 4 * 2**20):
        piece = data[at : at + 4 * 2**20]
        if any(piece):
            blob.upload_page(piece, at, len(piece))
    found = statuses(stamp, elsewhere.signed("raw.vhd"))
    assert (found["vhd-container-kind"], found["vhd-footer-checksum"]) == ("fail", "not applicable")


def test_a_blobs_damaged_footer_is_found(stamp: Stamp, sick: Path, elsewhere: BlobService) -> None:
    stamp("upload", sick, elsewhere.signed("hurt.vhd"))
    blob = elsewhere.blob("hurt.vhd")
    size = blob.get_blob_properties().size
    footer = bytearray(blob.download_blob(size - 512, 512).readall())
    footer[30] ^= 1
    blob.upload_page(bytes(footer), size - 512, 512)
    found = stamp.json("doctor", elsewhere.signed("hurt.vhd"), *CHOSEN, status=1)["findings"]
    told = next(one for one in found if one["id"] == "vhd-footer-checksum")
    assert told["status"] == "fail" and "checksum is" in told["found"]


def test_a_managed_disk_is_looked_at_and_given_back(stamp: Stamp, sick: Path, tmp_path: Path) -> None:
    path = tmp_path / "sick.vhdx"
    with disk.open(sick) as opened:
        disk.convert(opened, path, size=24 * 2**20)
    stamp("upload", path, "--as", "disk", "sick-1")
    assert statuses(stamp, "disk:sick-1") == EXPECTED
    assert disk_state(stamp, "sick-1") == "Unattached"


@pytest.mark.parametrize(
    ("source", "said"),
    [("disk:none", "group 'vmstamp'"), ("http://127.0.0.1:1/a/b/c.vhd?sig=x", "127.0.0.1")],
)
def test_what_is_not_there_ends_with_2(stamp: Stamp, source: str, said: str) -> None:
    done = stamp("doctor", source, "--json", status=2)
    error = json.loads(done.stderr)["error"]
    assert said in error["message"] and "sig=" not in error["message"]
    assert done.stdout == b""

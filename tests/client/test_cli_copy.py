"""`vmstamp copy` as a program: a stamp, a service elsewhere, managed disks, Ctrl-C."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.storage.blob import BlobClient

from tests.client.blob_service import BlobService, serving
from tests.client.test_cli_stamp import MIB, VMSTAMP, Stamp, disk, stamp
from vmstamp.cli.arm_client import ArmClient
from vmstamp.cli.arm_credential import ClientCredential
from vmstamp.cli.endpoint import get_endpoint
from vmstamp.cli.managed_disks import DISKS
from vmstamp.cli.resources import ensure_group
from vmstamp.cli.storage import ACCOUNTS, Account, ensure_account, ensure_container
from vmstamp.disk.memory import MemoryDisk
from vmstamp.paths import Home
from vmstamp.run import Completed, spawn
from vmstamp.transfer.blobs import open_blob, page_ranges
from vmstamp.transfer.copy import copy
from vmstamp.transfer.copy_source import CopySource
from vmstamp.transfer.download import verify
from vmstamp.transfer.page_blob_disk import PageBlobDisk
from vmstamp.transfer.partial import partial_path
from vmstamp.transfer.upload import upload

__all__ = ["disk", "stamp"]  # the fixtures


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobService]:
    """A Blob service that is no part of the stamp."""
    with serving(tmp_path_factory.mktemp("elsewhere")) as service:
        yield service


def disk_state(stamp: Stamp, name: str) -> str:
    with ArmClient(get_endpoint(Home(stamp.root / "home"))) as arm:
        return str(arm.get(arm.resource_id("vmstamp", DISKS, name))["properties"]["diskState"])


def test_a_copy_within_the_stamp_is_planned_and_done(stamp: Stamp, disk: Path) -> None:
    stamp("upload", disk, "one.vhd")
    planned = stamp.json("copy", "one.vhd", "backup/one.vhd", "--plan")
    assert (planned["way"], planned["bytes"], planned["plan"]) == ("copy-blob", 0, True)
    assert "nothing was changed" in stamp("copy", "one.vhd", "backup/one.vhd", "--plan").text
    assert "ContainerNotFound" in stamp.error("verify", disk, "backup/one.vhd", status=2)["message"]
    done = stamp.json("copy", "one.vhd", "backup/one.vhd")
    assert (done["way"], done["data"]) == ("copy-blob", MIB + 512)
    stamp("verify", disk, "backup/one.vhd")
    assert "--overwrite" in stamp.error("copy", "one.vhd", "backup/one.vhd")["hint"]
    stamp("copy", "one.vhd", "backup/one.vhd", "--overwrite")


def test_a_copy_to_a_service_elsewhere_and_back(stamp: Stamp, disk: Path, elsewhere: BlobService) -> None:
    stamp("upload", disk, "away.vhd")
    url = elsewhere.signed("away.vhd")
    planned = stamp.json("copy", "away.vhd", url, "--plan")
    assert (planned["way"], planned["bytes"]) == ("put-page-from-url", MIB + 512)
    assert not elsewhere.blob("away.vhd").exists()
    done = stamp.json("copy", "away.vhd", url)
    assert (done["way"], done["sent"], done["skipped"]) == ("put-page-from-url", MIB + 512, 39 * MIB)
    assert "sig=" not in str(done)
    plain = f"{elsewhere.url}/vhds/away.vhd"
    stamp("copy", plain, "home-again.vhd", "--source-key", elsewhere.key)
    stamp("verify", disk, "home-again.vhd")
    assert "no key" in stamp.error("copy", plain, "x.vhd")["message"]


def test_the_next_snapshot_moves_only_what_changed(stamp: Stamp, elsewhere: BlobService) -> None:
    blob = elsewhere.blob("snap.vhd")
    blob.create_page_blob(8 * MIB)
    blob.upload_page(os.urandom(4 * MIB), 0, 4 * MIB)

    def copied() -> tuple[bool, int]:
        url = f"{elsewhere.url}/vhds/snap.vhd?snapshot={blob.create_snapshot()['snapshot']}"
        done = stamp.json("copy", url, "snap/copy.vhd", "--source-key", elsewhere.key)
        return bool(done["since"]), int(done["sent"])

    assert copied() == (False, 4 * MIB)
    blob.upload_page(os.urandom(512), MIB, 512)
    assert copied() == (True, 512)
    assert copied() == (True, 0)


def test_managed_disks_are_copied_and_their_access_revoked(stamp: Stamp, disk: Path) -> None:
    stamp("upload", disk, "--as", "disk", "copied-1")
    stamp("copy", "disk:copied-1", "disks/one.vhd")
    assert disk_state(stamp, "copied-1") == "Unattached"
    stamp("verify", disk, "disks/one.vhd")
    planned = stamp.json("copy", "disks/one.vhd", "disk:copied-2", "--plan")
    assert (planned["way"], planned["bytes"]) == ("put-page-from-url", MIB + 512)
    done = stamp.json("copy", "disks/one.vhd", "disk:copied-2")
    assert (done["sent"], disk_state(stamp, "copied-2")) == (MIB + 512, "Unattached")
    stamp("copy", "disk:copied-2", "disk:copied-3")
    stamp("copy", "disk:copied-3", "disks/three.vhd")
    stamp("verify", disk, "disks/three.vhd")
    assert "exists already" in stamp.error("copy", "disks/one.vhd", "disk:copied-2")["message"]
    assert "exists already" in stamp.error("copy", "disk:copied-2", "disks/one.vhd")["message"]
    assert disk_state(stamp, "copied-2") == "Unattached"


def test_a_copy_to_an_account_that_is_not_there_is_planned(
    stamp: Stamp, disk: Path, elsewhere: BlobService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy itself makes it; the plan says so, in the same way, and makes nothing."""
    near = stamp.json("upload", disk, "near-plan.vhd")["url"]
    far = elsewhere.blob("far-plan.vhd")
    far.create_page_blob(8 * MIB)
    far.upload_page(os.urandom(4096), 0, 4096)
    monkeypatch.setitem(stamp.env, "VMSTAMP_STORAGE_ACCOUNT", "notthereyet")
    monkeypatch.setitem(stamp.env, "VMSTAMP_GROUP", "not-there-yet")
    words = ("copy", f"{elsewhere.url}/vhds/far-plan.vhd", "bbb/far.vhd", "--source-key", elsewhere.key)
    planned = stamp.json(*words, "--plan")
    assert (planned["way"], planned["bytes"]) == ("put-page-from-url", 4096)
    assert planned["destination"].endswith("/notthereyet/bbb/far.vhd")
    assert [(step["action"], step["what"], step["cost"]) for step in planned["place"]] == [
        ("make", "resource group not-there-yet", "free"),
        ("make", "storage account notthereyet", "free"),
        ("make", "container bbb", "free"),
    ]
    assert [one["cost"] for one in planned["costs"]] == ["storage by GiB-month", "egress by GiB"]
    planned = stamp.json("copy", near, "bbb/near.vhd", "--plan")
    assert (planned["way"], planned["bytes"]) == ("copy-blob", 0)
    said = stamp("copy", near, "bbb/near.vhd", "--plan").text
    assert "made first: storage account notthereyet" in said and "nothing was changed" in said
    with ArmClient(get_endpoint(Home(stamp.root / "home"))) as arm:
        assert arm.find(arm.group_id("not-there-yet")) is None
    done = stamp.json("copy", near, "bbb/near.vhd")
    assert (done["way"], done["url"]) == (planned["way"], planned["destination"])
    planned = stamp.json("copy", near, "ccc/near.vhd", "--plan")
    assert [step["action"] for step in planned["place"]] == ["use", "make"]


def test_a_copy_of_a_disk_to_an_account_that_is_not_there_is_planned(
    stamp: Stamp, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp("upload", disk, "--as", "disk", "planned-1")
    monkeypatch.setitem(stamp.env, "VMSTAMP_STORAGE_ACCOUNT", "notthereeither")
    steps = stamp.json("copy", "disk:planned-1", "one.vhd", "--plan")["steps"]
    assert [(step["action"], step["what"]) for step in steps[:3]] == [
        ("use", "resource group vmstamp"),
        ("make", "storage account notthereeither"),
        ("make", "container vhds"),
    ]
    assert [step["action"] for step in steps[3:]] == ["grant", "copy", "revoke"]
    steps = stamp.json("copy", "disk:planned-1", "disk:planned-2", "--plan")["steps"]
    assert [step["action"] for step in steps] == ["use", "grant", "make", "grant", "copy", "revoke", "revoke"]
    assert steps[2]["cost"] == "storage by GiB-month"


def test_managed_disks_are_downloaded_and_compared(stamp: Stamp, disk: Path) -> None:
    stamp("upload", disk, "--as", "disk", "fetched-1")
    back = stamp.root / "fetched.vhdx"
    stamp("download", "disk:fetched-1", back)
    stamp("verify", back, "disk:fetched-1")
    assert disk_state(stamp, "fetched-1") == "Unattached"
    stamp("disk", "compare", disk, back)
    assert "ResourceNotFound" in stamp.error("download", "disk:no-such", stamp.root / "no.raw")["message"]
    assert "--as disk fetched-2" in stamp.error("upload", disk, "disk:fetched-2", status=2)["message"]


def test_what_is_no_file_is_told_from_a_file_that_is_not_there(stamp: Stamp, elsewhere: BlobService) -> None:
    error = stamp.error("inspect", "disk:fetched-1")
    assert error["message"] == "disk:fetched-1: a managed disk is not a file of this computer"
    assert "vmstamp doctor" in error["hint"] and "vmstamp download" in error["hint"]
    error = stamp.error("upload", elsewhere.signed("x.vhd"))
    assert error["message"] == "a page blob is not a file of this computer"
    assert "sig=" not in str(error)


def test_a_blob_of_another_region_is_copied_where_it_is_wanted(stamp: Stamp, disk: Path) -> None:
    with ArmClient(get_endpoint(Home(stamp.root / "home"))) as arm:
        ensure_group(arm, "vmstamp")
        body = {"location": "westeurope", "kind": "StorageV2", "sku": {"name": "Standard_LRS"}}
        account = arm.put(arm.resource_id("vmstamp", ACCOUNTS, "faraway"), body)
    url = account["properties"]["primaryEndpoints"]["blob"].rstrip("/") + "/vhds/far.vhd"
    stamp("upload", disk, url)
    error = stamp.error("image", "create", "far", "--source", url, "--generation", "2")
    assert "same region" in error["message"] and "vmstamp copy" in error["hint"]
    near = stamp.json("copy", url, "near/near.vhd")
    assert near["way"] == "copy-blob", "another account, but one stamp"
    stamp("image", "create", "near", "--source", near["url"], "--generation", "2")
    stamp("image", "delete", "near")


def test_who_is_signed_in_uploads_and_reads_by_https(stamp: Stamp, monkeypatch: pytest.MonkeyPatch) -> None:
    """As azure-identity would: a token for https, no key and no SAS; the stamp is the authority here."""
    endpoint = get_endpoint(Home(stamp.root / "home"))
    document = json.loads((stamp.root / "home" / "stamp.json").read_text())
    url = f"{document['blob_https']}/{own_account(stamp).name}/vhds/signed-in.vhd"
    ensure_container(own_account(stamp), "vhds")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(endpoint.ca))
    content = MemoryDisk(4 * MIB, {MIB: b"data" * 128})
    token = ClientCredential(endpoint)
    try:
        with open_blob(url, token=token) as blob:
            upload(content, blob)
            with PageBlobDisk(blob) as source:
                assert verify(content, source) is None
            copied = open_blob(url.replace("signed-in", "signed-in-2"), token=token)
            assert copy(CopySource(blob), copied).data == 1024
    finally:
        token.close()


def own_account(stamp: Stamp) -> Account:
    """The stamp's own storage account."""
    with ArmClient(get_endpoint(Home(stamp.root / "home"))) as arm:
        return ensure_account(arm, "vmstamp")


def interrupt_when(blob: BlobClient, least: int, stamp: Stamp, *words: str | Path) -> Completed:
    """Begin a command, press Ctrl-C when the blob holds `least` bytes, and begin it again; how that ended."""
    said = stamp.root / f"{blob.blob_name}.said"
    process = spawn([VMSTAMP, *words], env=stamp.env, output=said)
    deadline = time.monotonic() + 120
    while not (blob.exists() and page_ranges(blob).length >= least):
        assert time.monotonic() < deadline
        assert process.poll() is None, "it was too quick to be interrupted"
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert "error: interrupted\nhint: what was sent is kept: the same command continues" in said.read_text()
    return stamp(*words, "--json")


def test_ctrl_c_ends_a_copy_and_the_same_command_continues(stamp: Stamp, elsewhere: BlobService) -> None:
    source = elsewhere.blob("large.vhd")
    source.create_page_blob(400 * MIB)
    piece = os.urandom(4 * MIB)
    for offset in range(0, 400 * MIB, 4 * MIB):
        source.upload_page(piece, offset, 4 * MIB)
    target = stamp_blob(stamp, "large-copy.vhd")
    words = ("copy", f"{elsewhere.url}/vhds/large.vhd", "large-copy.vhd", "--source-key", elsewhere.key)
    done = interrupt_when(target, 60 * MIB, stamp, *words)
    assert '"resumed": ' in done.text and '"resumed": 0' not in done.text
    assert page_ranges(target) == page_ranges(source)
    assert target.download_blob(396 * MIB, 4 * MIB).readall() == piece


def test_ctrl_c_ends_an_upload_and_the_same_command_continues(stamp: Stamp) -> None:
    path = stamp.root / "interrupted.raw"
    piece = os.urandom(MIB)
    with path.open("wb") as file:
        for _ in range(400):
            file.write(piece)
    target = stamp_blob(stamp, "interrupted.vhd")
    done = interrupt_when(target, 60 * MIB, stamp, "upload", path, "interrupted.vhd")
    assert '"resumed": ' in done.text and '"resumed": 0' not in done.text
    stamp("verify", path, "interrupted.vhd")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_an_ended_download_is_continued(stamp: Stamp, number: signal.Signals) -> None:
    blob = stamp_blob(stamp, "long.vhd")
    blob.create_page_blob(400 * MIB)
    piece = os.urandom(4 * MIB)
    for offset in range(0, 400 * MIB, 4 * MIB):
        blob.upload_page(piece, offset, 4 * MIB)
    path = stamp.root / f"long-{number}.raw"
    process = spawn([VMSTAMP, "download", "long.vhd", path], env=stamp.env)
    partial, deadline = partial_path(path), time.monotonic() + 120
    while not (partial.exists() and partial.stat().st_blocks * 512 > 60 * MIB):
        assert time.monotonic() < deadline
        assert process.poll() is None, "it was too quick to be ended"
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(60) in (130, -signal.SIGKILL)
    assert not path.exists()
    done = stamp.json("download", "long.vhd", path)
    assert done["resumed"] > 40 * MIB
    assert done["resumed"] + done["received"] == 400 * MIB
    stamp("verify", path, "long.vhd")
    assert [one.name for one in stamp.root.glob(f"*{path.name}*")] == [path.name]


def stamp_blob(stamp: Stamp, name: str) -> BlobClient:
    """A blob of the stamp's own account, by its key."""
    account = own_account(stamp)
    ensure_container(account, "vhds")
    return account.open().get_blob_client("vhds", name)

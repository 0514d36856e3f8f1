"""`az disk` and `az snapshot` on a running stamp: uploads by azcopy, copies, imports, accesses."""

import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from azure.storage.blob import BlobClient

from tests.peers.front import forwarding
from tests.peers.programs import find_peer
from tests.peers.shell import Shell
from vmstamp.disk.footer import make_footer

MIB = 2**20
SIZE = 20 * MIB


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    find_peer("az")
    find_peer("azcopy")
    shell = Shell(tmp_path_factory.mktemp("shell"))
    shell.run("vmstamp up")
    try:
        shell.az("group create -n rg -l local")
        yield shell
    finally:
        shell.run("vmstamp down")


def vhd(path: Path) -> Path:
    """A fixed VHD of 20 MiB with random bytes in its first MiB."""
    footer = make_footer(SIZE, uuid.uuid4(), datetime.now(UTC))
    path.write_bytes(os.urandom(MIB).ljust(SIZE, b"\0") + footer)
    return path


def test_disks_and_snapshots_live_their_lives_by_az(shell: Shell) -> None:
    file = vhd(shell.directory / "a.vhd")
    first = file.read_bytes()[:MIB]
    made = shell.az(
        f"disk create -g rg -n d1 --upload-type Upload --upload-size-bytes {SIZE + 512} --os-type Linux "
        "--hyper-v-generation V2"
    )
    assert made["diskState"] == "ReadyToUpload"
    sas = shell.az("disk grant-access -g rg -n d1 --access-level Write --duration-in-seconds 600")[
        "accessSAS"
    ]
    service, account, rest = sas.removeprefix("http://").split("/", 2)
    with forwarding(service) as environment:
        settings = " ".join(f"{name}='{value}'" for name, value in environment.items())
        there = f"http://{account}.blob.localhost/{rest}"  # azcopy knows a managed disk by its host name
        shell.run(f"{settings} azcopy copy '{file}' '{there}' --blob-type PageBlob")
    shell.az("disk revoke-access -g rg -n d1")
    shown = shell.az("disk show -g rg -n d1")
    assert (shown["diskState"], shown["diskSizeBytes"]) == ("Unattached", SIZE)
    with BlobClient.from_blob_url(sas, retry_total=0) as client, pytest.raises(Exception, match="Authenti"):
        client.get_blob_properties()

    full = shell.az("snapshot create -g rg -n full --source d1 --tags a=b")
    assert full["incremental"] is False and full["creationData"]["sourceResourceId"] == shown["id"]
    taken = shell.az("snapshot create -g rg -n inc1 --source d1 --incremental")
    again = shell.az("snapshot create -g rg -n inc2 --source d1 --incremental true")
    assert taken["incrementalSnapshotFamilyId"] == again["incrementalSnapshotFamilyId"]
    assert taken["osType"] == "Linux" and taken["hyperVGeneration"] == "V2"

    copied = shell.az(
        f"snapshot create -g rg -n far -l eastus --source {taken['id']} --incremental --copy-start"
    )
    assert copied["creationData"]["createOption"] == "CopyStart" and copied["location"] == "eastus"
    refused = shell.refused(f"snapshot create -g rg -n no -l eastus --source {shown['id']} --incremental")
    assert "Entity not of expected type" in refused
    assert shell.az("snapshot show -g rg -n far")["completionPercent"] == 100

    access = shell.az("snapshot grant-access -g rg -n inc1 --duration-in-seconds 600")["accessSAS"]
    later = shell.az("snapshot grant-access -g rg -n inc2 --duration-in-seconds 600")["accessSAS"]
    with BlobClient.from_blob_url(later) as client:
        assert client.download_blob(0, MIB).readall() == first
        assert client.get_page_range_diff_for_managed_disk(access) == ([], [])
    refused = shell.refused("snapshot delete -g rg -n inc1")
    assert "active shared access signature" in refused
    shell.az("snapshot revoke-access -g rg -n inc1")

    assert shell.az("snapshot update -g rg -n full --set tags.c=d")["tags"] == {"a": "b", "c": "d"}
    listed = {one["name"] for one in shell.az("snapshot list -g rg")}
    assert listed == {"full", "inc1", "inc2", "far"}

    restored = shell.az("disk create -g rg -n d2 --source inc1 --size-gb 1")
    assert restored["creationData"]["createOption"] == "Copy" and restored["diskSizeBytes"] == 2**30
    assert shell.az("disk create -g rg -n d3 --source d1")["creationData"]["sourceResourceId"] == shown["id"]
    shell.az("snapshot delete -g rg -n inc1")
    assert shell.az("disk update -g rg -n d2 --size-gb 2")["diskSizeGB"] == 2
    image = shell.az("image create -g rg -n i1 --source full --os-type Linux --hyper-v-generation V2")
    assert image["storageProfile"]["osDisk"]["snapshot"]["id"] == full["id"]


def test_a_blob_is_imported_as_disk_and_as_snapshot(shell: Shell) -> None:
    file = vhd(shell.directory / "b.vhd")
    shell.az("storage account create -n acct1 -g rg --sku Standard_LRS")
    words = shell.az("storage account show-connection-string -n acct1 -g rg")["connectionString"]
    shell.az(f"storage container create -n vhds --connection-string '{words}'")
    shell.az(f"storage blob upload -c vhds -n b.vhd -f {file} --no-progress --connection-string '{words}'")
    url = shell.az(f"storage blob url -c vhds -n b.vhd --connection-string '{words}'")
    disk = shell.az(f"disk create -g rg -n imported --source {url}")
    assert disk["creationData"]["createOption"] == "Import" and disk["diskSizeBytes"] == SIZE
    taken = shell.az(f"snapshot create -g rg -n imported --source {url}")
    assert taken["creationData"]["createOption"] == "Import" and taken["diskSizeGB"] == 1

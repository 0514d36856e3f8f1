"""Snapshots of managed disks through the official azure-mgmt-compute."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobClient

from tests.client.arm.conftest import ENDPOINT, SUBSCRIPTION, TENANT, Arm, FakeHost
from tests.client.blob_service import at_a_door
from vmstamp.arm.compute.snapshot_copies import COPY_SPEED
from vmstamp.arm.control_plane import ControlPlane, build
from vmstamp.arm.engine import Settings
from vmstamp.blob.store import BlobRef, BlobStore
from vmstamp.db import Database
from vmstamp.transfer.copy import copy
from vmstamp.transfer.copy_source import CopySource

MIB, GIB = 2**20, 2**30
READ = {"access": "Read", "durationInSeconds": 60}


def document(location: str = "westeurope", **properties: Any) -> dict[str, Any]:
    return {"location": location, "properties": properties}


def disk(arm: Any, name: str = "disk1", mark: bytes = b"the disk") -> Any:
    """A disk of 1 MiB, imported of a blob whose first bytes are `mark`."""
    creation = {"createOption": "Import", "sourceUri": arm.vhd("account1", f"{name}.vhd", mark=mark)}
    body = document(creationData=creation, osType="Linux", hyperVGeneration="V2")
    return arm.compute.disks.begin_create_or_update("rg", name, body).result()


def snapshot(
    arm: Any, name: str, source: Any, option: str = "Copy", location: str = "westeurope", **properties: Any
) -> Any:
    creation = {"createOption": option, "sourceResourceId": source.id}
    body = document(location, creationData=creation, **properties)
    return arm.compute.snapshots.begin_create_or_update("rg", name, body).result()


def grant(arm: Any, name: str) -> str:
    return str(arm.compute.snapshots.begin_grant_access("rg", name, READ).result().access_sas)


def place(url: str) -> BlobRef:
    path, _, query = url.removeprefix(f"{ENDPOINT}/").partition("?")
    named = [word.removeprefix("snapshot=") for word in query.split("&") if word.startswith("snapshot=")]
    return BlobRef(*path.split("/", 2), *(word.replace("%3A", ":") for word in named))


def bytes_of(arm: Any, name: str, offset: int, length: int) -> bytes:
    return bytes(arm.store.read(place(grant(arm, name)), offset, length))


def error_of(call: Callable[[], Any]) -> Any:
    with pytest.raises(HttpResponseError) as caught:
        call()
    return caught.value.error


def write(arm: Any, disk: Any, offset: int, data: bytes) -> None:
    """What a VM would do that held the disk and was detached."""
    state = arm.plane.engine.catalog.find(disk.id).state
    arm.store.write_pages(BlobRef(*state["place"]), offset, data.ljust(-(-len(data) // 512) * 512, b"\0"))


def test_full_snapshot_keeps_the_bytes_of_its_moment(arm: Any) -> None:
    source = disk(arm)
    made = snapshot(arm, "snap1", source, tags=None)
    assert made.properties.disk_state == "Unattached" and made.properties.incremental is False
    assert made.properties.creation_data.source_unique_id == source.properties.unique_id
    assert (made.properties.os_type, made.properties.hyper_v_generation) == ("Linux", "V2")
    assert (made.properties.disk_size_bytes, made.properties.disk_size_gb) == (MIB, 1)
    write(arm, source, 0, b"written after")
    arm.compute.disks.begin_delete("rg", "disk1").result()
    assert bytes_of(arm, "snap1", 0, 8) == b"the disk"
    assert arm.compute.snapshots.get("rg", "snap1").properties.disk_state == "ActiveSAS"
    assert (
        "active shared access signature"
        in error_of(lambda: arm.compute.snapshots.begin_delete("rg", "snap1")).message
    )
    arm.compute.snapshots.begin_revoke_access("rg", "snap1").result()
    assert [s.name for s in arm.compute.snapshots.list()] == ["snap1"]
    assert [s.name for s in arm.compute.snapshots.list_by_resource_group("rg")] == ["snap1"]
    arm.compute.snapshots.begin_delete("rg", "snap1").result()
    assert arm.store.list_accounts(hidden=True) == []


def test_snapshot_costs_no_bytes_until_the_disk_is_written(arm: Any) -> None:
    source = disk(arm)
    before = contents(arm)
    snapshot(arm, "snap1", source)
    snapshot(arm, "snap2", source, incremental=True)
    assert contents(arm) == before


def contents(arm: Any) -> list[str]:
    with arm.plane.engine.db.read() as connection:
        return sorted(row["id"] for row in connection.execute("SELECT id FROM content"))


def test_disk_and_image_are_made_of_a_snapshot(arm: Any) -> None:
    taken = snapshot(arm, "snap1", disk(arm), incremental=True)
    creation = {"createOption": "Copy", "sourceResourceId": taken.id}
    body = document(creationData=creation, diskSizeGB=2)
    made = arm.compute.disks.begin_create_or_update("rg", "disk2", body).result()
    assert made.properties.disk_size_bytes == 2 * GIB and made.properties.os_type == "Linux"
    assert made.properties.creation_data.source_unique_id == taken.properties.unique_id
    url = arm.compute.disks.begin_grant_access("rg", "disk2", READ).result().access_sas
    assert arm.store.read(place(url), 0, 8) == b"the disk"
    os_disk = {"osType": "Linux", "osState": "Generalized", "snapshot": {"id": taken.id}}
    body = document(storageProfile={"osDisk": os_disk}, hyperVGeneration="V2")
    image = arm.compute.images.begin_create_or_update("rg", "image1", body).result()
    assert image.properties.storage_profile.os_disk.snapshot.id == taken.id
    arm.compute.snapshots.begin_delete("rg", "snap1").result()
    vm = arm.vm_body(image, arm.nic())
    arm.compute.virtual_machines.begin_create_or_update("rg", "vm1", vm).result()


def test_changes_between_incremental_snapshots_are_read_by_their_sas(arm: Any) -> None:
    source = disk(arm)
    first = snapshot(arm, "snap1", source, incremental=True)
    write(arm, source, 8192, b"changed")
    second = snapshot(arm, "snap2", source, incremental=True)
    family = first.properties.incremental_snapshot_family_id
    assert family and second.properties.incremental_snapshot_family_id == family
    with at_a_door(arm.store) as door:
        urls = [grant(arm, name).replace(ENDPOINT, door) for name in ("snap1", "snap2")]
        with BlobClient.from_blob_url(urls[1]) as client:
            ranges, cleared = client.get_page_range_diff_for_managed_disk(urls[0])
            assert (ranges, cleared) == ([{"start": 8192, "end": 8703}], [])
            assert client.download_blob(8192, 7).readall() == b"changed"
        with BlobClient.from_blob_url(urls[0]) as client:
            assert client.download_blob(8192, 7).readall() == bytes(7)
            arm.compute.snapshots.begin_revoke_access("rg", "snap1").result()
            with pytest.raises(HttpResponseError):
                client.get_blob_properties()
        with BlobClient.from_blob_url(urls[1]) as client:
            client.get_blob_properties()


def test_a_blob_that_is_a_copy_of_a_snapshot_takes_the_changes_of_the_next(arm: Any) -> None:
    source = disk(arm)
    snapshot(arm, "snap1", source, incremental=True)
    write(arm, source, 8192, b"changed")
    snapshot(arm, "snap2", source, incremental=True)
    key = arm.store.get_account("account1").key1
    with at_a_door(arm.store) as one, at_a_door(arm.store) as other:
        sent = []
        for name in ("snap1", "snap2"):
            with (
                BlobClient.from_blob_url(grant(arm, name).replace(ENDPOINT, one)) as taken,
                BlobClient(f"{other}/account1", "vhds", "copy.vhd", credential=key) as target,
            ):
                sent.append(copy(CopySource(taken), target).since)
    assert sent == ["", place(grant(arm, "snap1")).snapshot]
    assert arm.store.read(BlobRef("account1", "vhds", "copy.vhd"), 8192, 7) == b"changed"


def test_family_lives_as_long_as_one_of_its_snapshots(arm: Any) -> None:
    source = disk(arm)
    snapshot(arm, "snap1", source, incremental=True)
    write(arm, source, 0, b"second")
    snapshot(arm, "snap2", source, incremental=True)
    arm.compute.disks.begin_delete("rg", "disk1").result()
    arm.compute.snapshots.begin_delete("rg", "snap2").result()
    assert bytes_of(arm, "snap1", 0, 8) == b"the disk"
    arm.compute.snapshots.begin_revoke_access("rg", "snap1").result()
    arm.compute.snapshots.begin_delete("rg", "snap1").result()
    assert arm.store.list_accounts(hidden=True) == []


def test_sixth_access_to_a_family_is_refused(arm: Any) -> None:
    source = disk(arm)
    for number in range(6):
        snapshot(arm, f"snap{number}", source, incremental=True)
    for number in range(5):
        grant(arm, f"snap{number}")
    assert "At most 5 snapshots" in error_of(lambda: grant(arm, "snap5")).message
    arm.compute.snapshots.begin_revoke_access("rg", "snap0").result()
    grant(arm, "snap5")


def test_snapshots_of_a_running_vms_disk_have_what_its_guest_wrote(arm: Any) -> None:
    vm = arm.vm()
    name = vm.properties.storage_profile.os_disk.name
    source = arm.compute.disks.get("rg", name)
    plan = arm.host.plans[vm.properties.vm_id][-1]
    arm.host.write(plan, None, 4096, b"one")
    snapshot(arm, "snap1", source, incremental=True)
    snapshot(arm, "full", source)
    arm.host.write(plan, None, 12288, b"two")
    snapshot(arm, "snap2", source, incremental=True)
    arm.compute.virtual_machines.begin_deallocate("rg", "vm1").result()
    arm.compute.disks.begin_grant_access("rg", name, READ).result()  # folds
    arm.compute.disks.begin_revoke_access("rg", name).result()
    snapshot(arm, "snap3", source, incremental=True)
    assert bytes_of(arm, "full", 4096, 3) == b"one" and bytes_of(arm, "full", 12288, 3) == bytes(3)
    one, two, three = (arm.store.get_blob(*place(grant(arm, f"snap{number}"))) for number in (1, 2, 3))
    assert arm.store.read(two.ref, 12288, 3) == b"two" and arm.store.read(three.ref, 4096, 3) == b"one"
    assert [tuple(e) for e, _ in arm.store.changed_ranges(two, one, 0, two.size)] == [(12288, 16384)]
    assert list(arm.store.changed_ranges(three, two, 0, three.size)) == []


def test_snapshot_is_uploaded_and_imported(arm: Any) -> None:
    creation: dict[str, Any] = {"createOption": "Upload", "uploadSizeBytes": 20 * MIB + 512}
    made = arm.compute.snapshots.begin_create_or_update("rg", "up", document(creationData=creation)).result()
    assert made.properties.disk_state == "ReadyToUpload"
    wanted = {"access": "Write", "durationInSeconds": 60}
    arm.compute.snapshots.begin_grant_access("rg", "up", wanted).result()
    assert arm.compute.snapshots.get("rg", "up").properties.disk_state == "ActiveUpload"
    creation = {"createOption": "Import", "sourceUri": arm.vhd("account1", "a.vhd", mark=b"imported")}
    arm.compute.snapshots.begin_create_or_update("rg", "in", document(creationData=creation)).result()
    assert bytes_of(arm, "in", 0, 8) == b"imported"


def test_snapshot_is_changed_by_patch_and_put_again(arm: Any) -> None:
    source = disk(arm)
    snapshot(arm, "snap1", source)
    changed = arm.compute.snapshots.begin_update("rg", "snap1", {"tags": {"a": "b"}}).result()
    assert changed.tags == {"a": "b"} and changed.properties.disk_size_bytes == MIB
    again = snapshot(arm, "snap1", source)
    assert again.properties.unique_id == changed.properties.unique_id
    error = error_of(lambda: snapshot(arm, "snap1", disk(arm, "disk2")))
    assert (error.code, error.message) == (
        "BadRequest",
        "Changing property 'sourceResourceId' is not allowed for existing disk 'snap1'.",
    )


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def slow(
    clock: Clock,
    db: Database,
    store: BlobStore,
    host: FakeHost,
    serve: Callable[[ControlPlane], Arm],
    tmp_path: Path,
) -> Arm:
    """A stamp whose clock stands still."""
    arm = serve(build(db, store, host, Settings(SUBSCRIPTION, TENANT, page_size=3), ENDPOINT, clock=clock))
    arm.host, arm.store = host, store
    arm.resources.resource_groups.create_or_update("rg", {"location": "westeurope"})
    return arm


def data(arm: Any, disk: Any) -> int:
    """The bytes that a disk holds."""
    ref = BlobRef(*arm.plane.engine.catalog.find(disk.id).state["place"])
    return sum(extent.length for extent in arm.store.page_ranges(ref))


def test_copy_to_another_region_is_usable_when_it_is_complete(slow: Any, clock: Clock) -> None:
    source = disk(slow)
    write(slow, source, 2**18, b"first" * 2**16)
    first = snapshot(slow, "snap1", source, incremental=True)
    write(slow, source, 4096, b"second")
    second = snapshot(slow, "snap2", source, incremental=True)
    seconds = timedelta(seconds=data(slow, source) / COPY_SPEED)

    copied = snapshot(slow, "copy1", first, "CopyStart", "eastus", incremental=True)
    assert copied.properties.completion_percent == 0 and copied.location == "eastus"
    assert copied.properties.creation_data.create_option == "CopyStart"
    body = document("eastus", creationData={"createOption": "Copy", "sourceResourceId": copied.id})
    disks = slow.compute.disks
    error = error_of(lambda: disks.begin_create_or_update("rg", "disk2", body))
    assert error.code == "OperationNotAllowed" and "completionPercent" in error.message
    assert "completionPercent" in error_of(lambda: grant(slow, "copy1")).message
    error = error_of(lambda: snapshot(slow, "copy2", second, "CopyStart", "eastus", incremental=True))
    assert "one can be copied at a time" in error.message

    clock.time += seconds / 2
    assert 0 < slow.compute.snapshots.get("rg", "copy1").properties.completion_percent < 100
    clock.time += seconds
    assert slow.compute.snapshots.get("rg", "copy1").properties.completion_percent == 100
    disks.begin_create_or_update("rg", "disk2", body).result()
    snapshot(slow, "copy2", second, "CopyStart", "eastus", incremental=True)
    clock.time += seconds
    one, two = (slow.store.get_blob(*place(grant(slow, name))) for name in ("copy1", "copy2"))
    assert [tuple(e) for e, _ in slow.store.changed_ranges(two, one, 0, two.size)] == [(4096, 4608)]


def test_copy_whose_source_goes_fails(slow: Any, clock: Clock) -> None:
    first = snapshot(slow, "snap1", disk(slow), incremental=True)
    snapshot(slow, "copy1", first, "CopyStart", "eastus", incremental=True)
    slow.compute.snapshots.begin_delete("rg", "snap1").result()
    clock.time += timedelta(hours=1)
    failed = slow.compute.snapshots.get("rg", "copy1").properties
    assert failed.copy_completion_error.error_code == "CopySourceNotFound"
    assert failed.completion_percent == 0
    slow.compute.snapshots.begin_delete("rg", "copy1").result()


def test_copies_go_in_the_order_of_the_snapshots(slow: Any, clock: Clock) -> None:
    source = disk(slow)
    first = snapshot(slow, "snap1", source, incremental=True)
    second = snapshot(slow, "snap2", source, incremental=True)
    snapshot(slow, "copy2", second, "CopyStart", "eastus", incremental=True)
    clock.time += timedelta(hours=1)
    error = error_of(lambda: snapshot(slow, "copy1", first, "CopyStart", "eastus", incremental=True))
    assert "in the order in which they were created" in error.message


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (document(), "InvalidParameter"),
        (document(creationData={"createOption": "Copy"}), "InvalidParameter"),
        (document(creationData={"createOption": "Empty"}), "InvalidParameter"),
        (document(creationData={"createOption": "Restore"}), "NotSupportedByStamp"),
        (
            document(creationData={"createOption": "Empty"}, incremental=True, diskSizeGB=1),
            "InvalidParameter",
        ),
        (
            document(creationData={"createOption": "Copy", "sourceResourceId": "/x"}),
            "LinkedInvalidPropertyId",
        ),
        (
            document(creationData={"createOption": "Import", "sourceUri": f"{ENDPOINT}/a/b/c"}),
            "DiskBlobNotFound",
        ),
    ],
)
def test_wrong_snapshot_is_refused(arm: Any, body: dict[str, Any], code: str) -> None:
    call = arm.compute.snapshots.begin_create_or_update
    assert error_of(lambda: call("rg", "snap1", body)).code == code

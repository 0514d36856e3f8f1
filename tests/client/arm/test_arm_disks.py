"""Managed disks through the official azure-mgmt-compute."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError

from vmstamp.blob.store import BlobRef
from vmstamp.disk.footer import make_footer

MIB, GIB = 2**20, 2**30


def disk(**creation: Any) -> dict[str, Any]:
    size = {"diskSizeGB": creation.pop("diskSizeGB")} if "diskSizeGB" in creation else {}
    return {"location": "westeurope", "properties": {"creationData": creation, **size}}


def create(arm: Any, name: str = "disk1", **creation: Any) -> Any:
    return arm.compute.disks.begin_create_or_update("rg", name, disk(**creation)).result()


def error_of(call: Any) -> Any:
    with pytest.raises(HttpResponseError) as caught:
        call()
    return caught.value.error


def bytes_of(arm: Any, url: str, offset: int, length: int) -> bytes:
    account, container, name = url.split("?")[0].removeprefix("http://127.0.0.1:10000/").split("/", 2)
    return bytes(arm.store.read(BlobRef(account, container, name), offset, length))


def test_empty_disk_is_created_grown_and_deleted(arm: Any) -> None:
    made = create(arm, createOption="Empty", diskSizeGB=1)
    assert made.properties.disk_state == "Unattached"
    assert made.properties.disk_size_bytes == GIB
    grown = arm.compute.disks.begin_update("rg", "disk1", {"properties": {"diskSizeGB": 2}}).result()
    assert grown.properties.disk_size_bytes == 2 * GIB
    error = error_of(lambda: arm.compute.disks.begin_update("rg", "disk1", {"properties": {"diskSizeGB": 1}}))
    assert error.code == "OperationNotAllowed"
    assert error.message.startswith("Disk downsizing is not supported.")
    access = arm.compute.disks.begin_grant_access(
        "rg", "disk1", {"access": "Read", "durationInSeconds": 60}
    ).result()
    assert bytes_of(arm, access.access_sas, 2 * GIB, 8) == b"conectix"
    assert bytes_of(arm, access.access_sas, GIB, 8) == bytes(8)
    arm.compute.disks.begin_revoke_access("rg", "disk1").result()
    arm.compute.disks.begin_delete("rg", "disk1").result()
    assert list(arm.compute.disks.list()) == []


def test_disk_is_uploaded_and_its_footer_checked(arm: Any) -> None:
    size = 20 * MIB
    made = create(arm, createOption="Upload", uploadSizeBytes=size + 512)
    assert made.properties.disk_state == "ReadyToUpload"
    sas = arm.compute.disks.begin_grant_access(
        "rg", "disk1", {"access": "Write", "durationInSeconds": 60}
    ).result()
    assert "/md-" in sas.access_sas and "si=" in sas.access_sas
    assert arm.compute.disks.get("rg", "disk1").properties.disk_state == "ActiveUpload"
    error = error_of(lambda: arm.compute.disks.begin_revoke_access("rg", "disk1").result())
    assert error.code == "InvalidVhd" and "conectix" in error.message
    arm.compute.disks.begin_grant_access("rg", "disk1", {"access": "Write", "durationInSeconds": 60}).result()
    account = sas.access_sas.removeprefix("http://127.0.0.1:10000/").split("/")[0]
    footer = make_footer(size, uuid.uuid4(), datetime.now(UTC))
    arm.store.write_pages(BlobRef(account, "disk", "abcd"), size, footer)
    arm.compute.disks.begin_revoke_access("rg", "disk1").result()
    assert arm.compute.disks.get("rg", "disk1").properties.disk_state == "Unattached"


def test_disk_is_imported_from_a_blob_and_copied(arm: Any) -> None:
    url = arm.vhd("account1", "a.vhd", mark=b"imported")
    create(arm, createOption="Import", sourceUri=url)
    source = arm.compute.disks.get("rg", "disk1")
    create(arm, "disk2", createOption="Copy", sourceResourceId=source.id)
    access = arm.compute.disks.begin_grant_access(
        "rg", "disk2", {"access": "Read", "durationInSeconds": 60}
    ).result()
    assert bytes_of(arm, access.access_sas, 0, 8) == b"imported"
    error = error_of(lambda: arm.compute.disks.begin_delete("rg", "disk2").result())
    assert error.message == (
        "There is an active shared access signature outstanding for disk disk2. Call EndGetAccess before "
        "deleting the disk."
    )


@pytest.mark.parametrize(
    ("creation", "code"),
    [
        ({"createOption": "Empty"}, "InvalidParameter"),
        ({"createOption": "Empty", "diskSizeGB": 40000}, "InvalidParameter"),
        ({"createOption": "Upload", "uploadSizeBytes": 20972032 + 512}, "BadRequest"),
        ({"createOption": "Upload", "uploadSizeBytes": 512}, "InvalidParameter"),
        ({"createOption": "Import", "sourceUri": "http://127.0.0.1:10000/a/b/c.vhd"}, "DiskBlobNotFound"),
        ({"createOption": "Restore"}, "NotSupportedByStamp"),
        ({"createOption": "Copy", "sourceResourceId": "/nowhere"}, "LinkedInvalidPropertyId"),
    ],
)
def test_wrong_disk_is_refused(arm: Any, creation: dict[str, Any], code: str) -> None:
    assert error_of(lambda: create(arm, **creation)).code == code


@pytest.mark.parametrize(
    "body",
    [
        {**disk(createOption="Upload", uploadSizeBytes=9 * 2**40 + 512)},
        {
            **disk(createOption="Empty"),
            "properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 9000},
        },
    ],
    ids=["Upload", "Empty"],
)
def test_disk_that_no_page_blob_holds_is_refused_by_name(arm: Any, body: dict[str, Any]) -> None:
    error = error_of(lambda: arm.compute.disks.begin_create_or_update("rg", "disk1", body))
    assert "(the largest here has 8191 GiB) is not supported by this stamp" in error.message


def test_blob_of_another_region_is_refused(arm: Any) -> None:
    url = arm.vhd("account1", "a.vhd")
    body = {**disk(createOption="Import", sourceUri=url), "location": "eastus"}
    error = error_of(lambda: arm.compute.disks.begin_create_or_update("rg", "disk1", body))
    assert error.code == "BadRequest" and "does not belong to the same region" in error.message


def test_blob_that_is_no_vhd_is_refused(arm: Any) -> None:
    url = arm.vhd("account1", "a.vhd")
    arm.store.clear_pages(BlobRef("account1", "vhds", "a.vhd"), MIB, 512)
    error = error_of(lambda: create(arm, createOption="Import", sourceUri=url))
    assert error.code == "InvalidVhd" and "cookie value" in error.message


def test_disk_of_a_vm_is_attached_then_reserved(arm: Any) -> None:
    vm = arm.vm()
    name = vm.properties.storage_profile.os_disk.name
    assert arm.compute.disks.get("rg", name).properties.disk_state == "Attached"
    error = error_of(lambda: arm.compute.disks.begin_delete("rg", name))
    assert error.code == "OperationNotAllowed" and error.message == f"Disk {name} is attached to VM {vm.id}."
    read = {"access": "Read", "durationInSeconds": 60}
    error = error_of(lambda: arm.compute.disks.begin_grant_access("rg", name, read))
    assert error.code == "Conflict" and "is currently attached to running VM" in error.message
    arm.compute.virtual_machines.begin_deallocate("rg", "vm1").result()
    assert arm.compute.disks.get("rg", name).properties.disk_state == "Reserved"


def test_bytes_that_a_guest_wrote_are_read_through_the_disk(arm: Any) -> None:
    vm = arm.vm()
    plan = arm.host.plans[vm.properties.vm_id][-1]
    arm.host.write(plan, None, 4096, b"from the guest")
    arm.compute.virtual_machines.begin_deallocate("rg", "vm1").result()
    name = vm.properties.storage_profile.os_disk.name
    access = arm.compute.disks.begin_grant_access(
        "rg", name, {"access": "Read", "durationInSeconds": 60}
    ).result()
    assert bytes_of(arm, access.access_sas, 4096, 14) == b"from the guest"
    assert bytes_of(arm, access.access_sas, 0, 6) == b"the os"
    error = error_of(lambda: arm.compute.virtual_machines.begin_start("rg", "vm1"))
    assert "active shared access signature" in error.message
    arm.compute.disks.begin_revoke_access("rg", name).result()
    arm.compute.virtual_machines.begin_start("rg", "vm1").result()


def test_copy_of_a_running_vms_disk_has_what_its_guest_wrote(arm: Any) -> None:
    vm = arm.vm()
    arm.host.write(arm.host.plans[vm.properties.vm_id][-1], None, 4096, b"from the guest")
    source = vm.properties.storage_profile.os_disk.managed_disk.id
    create(arm, "copy", createOption="Copy", sourceResourceId=source)
    assert arm.power("vm1") == "PowerState/running"
    read = {"access": "Read", "durationInSeconds": 60}
    access = arm.compute.disks.begin_grant_access("rg", "copy", read).result()
    assert bytes_of(arm, access.access_sas, 4096, 14) == b"from the guest"
    assert not list(arm.host.directory.glob("folded-*"))


def test_disk_of_a_deallocated_vm_grows_and_keeps_what_its_guest_wrote(arm: Any) -> None:
    vm = arm.vm()
    arm.host.write(arm.host.plans[vm.properties.vm_id][-1], None, 4096, b"from the guest")
    name = vm.properties.storage_profile.os_disk.name
    arm.compute.virtual_machines.begin_deallocate("rg", "vm1").result()
    arm.compute.disks.begin_update("rg", name, {"properties": {"diskSizeGB": 3}}).result()
    arm.compute.virtual_machines.begin_start("rg", "vm1").result()
    disk = arm.host.plans[vm.properties.vm_id][-1].os_disk
    assert disk.size == 3 * GIB
    with disk.path.open("rb") as file:
        assert file.read(4096 + 14)[4096:] == b"from the guest"
    shown = arm.compute.virtual_machines.get("rg", "vm1").properties.storage_profile.os_disk
    assert shown.disk_size_gb == 3

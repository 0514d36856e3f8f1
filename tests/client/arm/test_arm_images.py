"""Managed images through the official azure-mgmt-compute."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError

MIB = 2**20


def error_of(call: Any) -> Any:
    with pytest.raises(HttpResponseError) as caught:
        call()
    return caught.value.error


def body(**properties: Any) -> dict[str, Any]:
    return {"location": "westeurope", "properties": properties}


def os_disk(**more: Any) -> dict[str, Any]:
    return {"osDisk": {"osType": "Linux", "osState": "Generalized", **more}}


def test_image_of_blobs_is_created_listed_and_deleted(arm: Any) -> None:
    url, data = arm.vhd("account1", "os.vhd"), arm.vhd("account1", "data.vhd", 2 * MIB)
    profile = {**os_disk(blobUri=url), "dataDisks": [{"lun": 3, "blobUri": data}]}
    images = arm.compute.images
    made = images.begin_create_or_update(
        "rg", "i1", body(storageProfile=profile, hyperVGeneration="V2")
    ).result()
    assert made.properties.provisioning_state == "Succeeded"
    assert made.properties.storage_profile.os_disk.blob_uri == url
    assert made.properties.storage_profile.data_disks[0].disk_size_gb == 1
    arm.store.delete_blob("account1", "vhds", "os.vhd")
    assert [image.name for image in images.list()] == ["i1"]
    images.begin_delete("rg", "i1").result()
    assert list(images.list_by_resource_group("rg")) == []


@pytest.mark.parametrize(
    ("properties", "code", "part"),
    [
        (
            {"storageProfile": os_disk(blobUri="URL")},
            "InvalidParameter",
            "'hyperVGeneration' is missing (null)",
        ),
        (
            {"storageProfile": {"osDisk": {"osType": "Linux", "blobUri": "URL"}}},
            "InvalidParameter",
            "osState",
        ),
        ({"hyperVGeneration": "V3"}, "InvalidParameter", "Allowed values are 'V1', 'V2'"),
        ({"hyperVGeneration": "V2"}, "InvalidParameter", "storageProfile.osDisk"),
        (
            {
                "storageProfile": os_disk(blobUri="http://127.0.0.1:10000/no/such/blob.vhd"),
                "hyperVGeneration": "V2",
            },
            "ImageBlobNotFound",
            "Unable to find VHD blob",
        ),
        (
            {
                "storageProfile": os_disk(blobUri="URL", diskEncryptionSet={"id": "x"}),
                "hyperVGeneration": "V2",
            },
            "NotSupportedByStamp",
            "diskEncryptionSet",
        ),
    ],
)
def test_wrong_image_is_refused(arm: Any, properties: dict[str, Any], code: str, part: str) -> None:
    url = arm.vhd("account1", "os.vhd")
    disk = properties.get("storageProfile", {}).get("osDisk", {})
    if disk.get("blobUri") == "URL":
        disk = {**disk, "blobUri": url}
        properties = {**properties, "storageProfile": {"osDisk": disk}}
    error = error_of(lambda: arm.compute.images.begin_create_or_update("rg", "i1", body(**properties)))
    assert error.code == code and part in error.message


def test_vhd_that_is_not_whole_mib_is_refused_with_its_size(arm: Any) -> None:
    url = arm.vhd("account1", "os.vhd", MIB + 512)
    profile = os_disk(blobUri=url)
    wanted = body(storageProfile=profile, hyperVGeneration="V2")
    error = error_of(lambda: arm.compute.images.begin_create_or_update("rg", "i1", wanted))
    assert error.code == "InvalidVhd"
    assert f"virtual size {MIB + 512} bytes" in error.message and "whole number (in MBs)" in error.message


def test_image_of_a_vm_needs_it_generalized(arm: Any) -> None:
    vm = arm.vm()
    images = arm.compute.images
    source = body(sourceVirtualMachine={"id": vm.id})
    error = error_of(lambda: images.begin_create_or_update("rg", "i2", source))
    assert error.code == "OperationNotAllowed"
    assert (
        error.message == "The operation 'Create Image' requires the Virtual Machine 'vm1' to be Generalized."
    )
    elsewhere = {**source, "location": "eastus"}
    error = error_of(lambda: images.begin_create_or_update("rg", "i2", elsewhere))
    assert (error.code, error.message) == (
        "NotFound",
        "Source Virtual Machine 'vm1' specified in the request does not exist in this Azure location.",
    )


def test_image_of_a_vm_holds_what_the_guest_wrote(arm: Any) -> None:
    vm = arm.vm()
    machines = arm.compute.virtual_machines
    arm.host.write(arm.host.plans[vm.properties.vm_id][-1], None, 0, b"written")
    machines.begin_deallocate("rg", "vm1").result()
    machines.generalize("rg", "vm1")
    source = body(sourceVirtualMachine={"id": vm.id})
    image = arm.compute.images.begin_create_or_update("rg", "i2", source).result()
    assert image.properties.hyper_v_generation == "V2"
    made = machines.begin_create_or_update("rg", "vm2", arm.vm_body(image, arm.nic("nic2"))).result()
    plan = arm.host.plans[made.properties.vm_id][-1]
    with plan.os_disk.path.open("rb") as content:
        assert content.read(7) == b"written"


def test_image_is_kept_while_a_vm_is_provisioned_from_it(arm: Any) -> None:
    image, nic = arm.image(), arm.nic()
    arm.host.held.clear()
    poller = arm.compute.virtual_machines.begin_create_or_update("rg", "vm1", arm.vm_body(image, nic))
    error = error_of(lambda: arm.compute.images.begin_delete("rg", "image1"))
    assert error.code == "OperationNotAllowed"
    assert error.message == (
        "Operation 'Delete' is not allowed since the Virtual Machines 'vm1' are being provisioned using "
        "the Image 'image1'."
    )
    arm.host.held.set()
    poller.result()
    arm.compute.images.begin_delete("rg", "image1").result()
    assert arm.power("vm1") == "PowerState/running"


def test_storage_profile_of_an_image_cannot_be_changed(arm: Any) -> None:
    arm.image()
    url = arm.vhd("account1", "other.vhd")
    changed = body(storageProfile=os_disk(blobUri=url), hyperVGeneration="V2")
    error = error_of(lambda: arm.compute.images.begin_create_or_update("rg", "image1", changed))
    assert error.code == "PropertyChangeNotAllowed"
    tagged = arm.compute.images.begin_update("rg", "image1", {"tags": {"a": "b"}}).result()
    assert tagged.tags == {"a": "b"}

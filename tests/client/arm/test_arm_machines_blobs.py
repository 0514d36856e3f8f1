"""Virtual machines with blob-based disks, and their capture, through azure-mgmt-compute."""

from __future__ import annotations

from typing import Any

from tests.client.arm.machines_words import create, error_of, plan_of
from vmstamp.blob.store import BlobRef


def test_capture_of_managed_disks_is_refused(arm: Any) -> None:
    arm.vm()
    body = {"vhdPrefix": "p", "destinationContainerName": "captured", "overwriteVhds": False}
    error = error_of(lambda: arm.compute.virtual_machines.begin_capture("rg", "vm1", body))
    assert error.code == "OperationNotAllowed"
    assert error.message.startswith(
        "The Capture action is only supported on a Virtual Machine with blob based disks."
    )


def blob_vm(arm: Any) -> Any:
    image = arm.vhd("account1", "image.vhd", mark=b"the os")
    storage = {
        "osDisk": {
            "name": "os",
            "osType": "Linux",
            "createOption": "FromImage",
            "image": {"uri": image},
            "vhd": {"uri": image.replace("image.vhd", "vm1.vhd")},
        },
        "dataDisks": [
            {
                "lun": 0,
                "createOption": "Empty",
                "diskSizeGB": 1,
                "vhd": {"uri": image.replace("image.vhd", "vm1-data.vhd")},
            }
        ],
    }
    return create(arm, arm.vm_body(None or arm.image(), arm.nic(), storageProfile=storage))


def test_blob_based_vm_is_captured_to_the_system_container(arm: Any) -> None:
    vm = blob_vm(arm)
    machines = arm.compute.virtual_machines
    body = {"vhdPrefix": "pre", "destinationContainerName": "captured", "overwriteVhds": False}
    error = error_of(lambda: machines.begin_capture("rg", "vm1", body))
    assert error.message == "Capture operation cannot be completed because the VM is not generalized."
    arm.host.write(plan_of(arm, vm), 0, 0, b"data of the guest")
    machines.begin_deallocate("rg", "vm1").result()
    assert arm.store.read(BlobRef("account1", "vhds", "vm1-data.vhd"), 0, 17) == b"data of the guest"
    machines.generalize("rg", "vm1")
    template = machines.begin_capture("rg", "vm1", body).result().as_dict()
    disk = template["resources"][0]["properties"]["storageProfile"]["osDisk"]
    name = f"pre-osDisk.{vm.properties.vm_id}.vhd"
    assert disk["name"] == name
    assert disk["image"]["uri"] == (
        f"http://127.0.0.1:10000/account1/system/Microsoft.Compute/Images/captured/{name}"
    )
    assert template["parameters"]["vmSize"]["defaultValue"] == "Standard_B1ms"
    data = f"Microsoft.Compute/Images/captured/pre-dataDisk-0.{vm.properties.vm_id}.vhd"
    assert arm.store.read(BlobRef("account1", "system", data), 0, 17) == b"data of the guest"
    error = error_of(lambda: machines.begin_capture("rg", "vm1", body))
    assert error.code == "TargetDiskBlobAlreadyExists"
    machines.begin_capture("rg", "vm1", {**body, "overwriteVhds": True}).result()


def test_account_with_disks_in_use_is_kept(arm: Any) -> None:
    blob_vm(arm)
    error = error_of(lambda: arm.storage.storage_accounts.delete("rg", "account1"))
    assert error.code == "AccountCannotBeDeleted"
    arm.compute.virtual_machines.begin_delete("rg", "vm1").result()
    arm.storage.storage_accounts.delete("rg", "account1")


def test_target_blob_that_exists_is_refused(arm: Any) -> None:
    url = arm.vhd("account1", "image.vhd")
    os_disk = {"createOption": "FromImage", "image": {"uri": url}, "vhd": {"uri": url}}
    body = arm.vm_body(arm.image(), arm.nic(), storageProfile={"osDisk": os_disk})
    assert error_of(lambda: create(arm, body)).code == "TargetDiskBlobAlreadyExists"

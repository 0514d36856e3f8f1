"""What is refused of virtual machines, through azure-mgmt-compute."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client.arm.machines_words import create, error_of


def test_vm_of_an_image_of_another_region_is_refused(arm: Any) -> None:
    body = {**arm.vm_body(arm.image(), arm.nic()), "location": "eastus"}
    error = error_of(lambda: create(arm, body))
    assert error.code == "NotFound" and "The Image '" in error.message and "cannot be found" in error.message


@pytest.mark.parametrize(
    ("change", "code", "part"),
    [
        (
            {"hardwareProfile": {"vmSize": "Standard_Z9"}},
            "InvalidParameter",
            "The valid sizes in the current region are:",
        ),
        (
            {"hardwareProfile": {"vmSize": "Standard_A1_v2"}},
            "BadRequest",
            "cannot boot Hypervisor Generation '2'",
        ),
        ({"osProfile": None}, "InvalidParameter", "Required parameter 'osProfile' is missing (null)."),
        ({"priority": "Spot"}, "NotSupportedByStamp", "priority"),
        ({"proximityPlacementGroup": {"id": "/x"}}, "NotSupportedByStamp", "proximityPlacementGroup"),
        ({"networkProfile": {"networkInterfaces": []}}, "InvalidParameter", "networkInterfaces"),
    ],
)
def test_wrong_vm_is_refused(arm: Any, change: dict[str, Any], code: str, part: str) -> None:
    error = error_of(lambda: create(arm, arm.vm_body(arm.image(), arm.nic(), **change)))
    assert error.code == code and part in error.message


@pytest.mark.parametrize(
    ("change", "target"),
    [
        ({"adminUsername": "root"}, "adminUsername"),
        ({"computerName": "bad_name"}, "computerName"),
        ({"adminPassword": "weak", "linuxConfiguration": None}, "adminPassword"),
        ({"linuxConfiguration": {"disablePasswordAuthentication": True}}, "linuxConfiguration"),
        ({"linuxConfiguration": None}, "adminPassword"),
        ({"customData": "%%%"}, "customData"),
    ],
)
def test_wrong_os_profile_is_refused(arm: Any, change: dict[str, Any], target: str) -> None:
    body = arm.vm_body(arm.image(), arm.nic())
    body["properties"]["osProfile"] |= change
    error = error_of(lambda: create(arm, body))
    assert (error.code, error.target) == ("InvalidParameter", target)


def test_wrong_key_path_is_refused(arm: Any) -> None:
    body = arm.vm_body(arm.image(), arm.nic())
    body["properties"]["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"][0]["path"] = "/root/key"
    error = error_of(lambda: create(arm, body))
    assert error.target == "linuxConfiguration.ssh.publicKeys.path"


def test_data_disks_have_luns_and_limits(arm: Any) -> None:
    image, nic = arm.image(), arm.nic()

    def attempt(*disks: dict[str, Any]) -> Any:
        body = arm.vm_body(image, nic)
        body["properties"]["storageProfile"]["dataDisks"] = list(disks)
        return error_of(lambda: create(arm, body))

    empty = {"createOption": "Empty", "diskSizeGB": 1}
    assert attempt({**empty, "lun": 0}, {**empty, "lun": 0}).message == "A disk at LUN 0 already exists."
    three = attempt(*({**empty, "lun": lun} for lun in range(3)))
    assert (
        three.message == "The maximum number of data disks allowed to be attached to a VM of this size is 2."
    )
    assert attempt({"lun": 0, "createOption": "FromImage"}).code == "InvalidParameter"
    assert attempt({"lun": 0, "createOption": "Empty"}).code == "InvalidParameter"
    blob = {**empty, "lun": 0, "vhd": {"uri": "http://127.0.0.1:10000/account1/vhds/d.vhd"}}
    assert "blob based disk to VM with managed disks" in attempt(blob).message


def test_interface_of_another_vm_is_refused(arm: Any) -> None:
    image, nic = arm.image(), arm.nic()
    create(arm, arm.vm_body(image, nic))
    error = error_of(lambda: create(arm, arm.vm_body(image, nic), "vm2"))
    assert error.code == "NicInUse"
    assert error_of(lambda: arm.network.network_interfaces.begin_delete("rg", "nic1")).code == "NicInUse"


def test_second_operation_on_a_vm_is_a_conflict(arm: Any) -> None:
    image, nic = arm.image(), arm.nic()
    arm.host.held.clear()
    poller = arm.compute.virtual_machines.begin_create_or_update("rg", "vm1", arm.vm_body(image, nic))
    error = error_of(lambda: arm.compute.virtual_machines.begin_start("rg", "vm1"))
    assert error.code == "Conflict"
    arm.host.held.set()
    poller.result()


def test_what_the_stamp_does_not_do_is_named(arm: Any) -> None:
    arm.vm()
    machines = arm.compute.virtual_machines
    error = error_of(lambda: machines.begin_assess_patches("rg", "vm1"))
    assert error.code == "NotSupportedByStamp" and "'assessPatches'" in error.message
    error = error_of(lambda: machines.simulate_eviction("rg", "vm1"))
    assert error.code == "NotSupportedByStamp" and "'simulateEviction'" in error.message
    error = error_of(lambda: list(arm.compute.dedicated_host_groups.list_by_subscription()))
    assert error.code == "InvalidResourceType" and "'hostGroups'" in error.message
    error = error_of(lambda: arm.compute.virtual_machines.instance_view("rg", "nothing"))
    assert error.message == "The entity was not found in this Azure location."


def test_generalized_vm_cannot_be_started(arm: Any) -> None:
    arm.vm()
    machines = arm.compute.virtual_machines
    error = error_of(lambda: machines.generalize("rg", "vm1"))
    assert error.code == "OperationNotAllowed"
    assert error.message.startswith(
        "Operation 'generalize' is not allowed on VM 'vm1' since the VM is running. Please power off "
        "explicitly"
    )
    machines.begin_deallocate("rg", "vm1").result()
    machines.generalize("rg", "vm1")
    machines.generalize("rg", "vm1")
    error = error_of(lambda: machines.begin_start("rg", "vm1"))
    assert (error.code, error.message) == (
        "OperationNotAllowed",
        "Operation 'start' is not allowed on VM 'vm1' since the VM is generalized.",
    )
    codes = [s.code for s in machines.instance_view("rg", "vm1").statuses]
    assert codes == ["ProvisioningState/succeeded", "OSState/generalized", "PowerState/deallocated"]

"""Virtual machines through the official azure-mgmt-compute, on a host that boots at once."""

from __future__ import annotations

import json
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError

from tests.client.arm.machines_words import GIB, MIB, create, error_of, plan_of, wait_until
from vmstamp.arm.compute.host import Outcome
from vmstamp.arm.compute.turns import places
from vmstamp.blob.store import BlobRef
from vmstamp.errors import MachineError


def test_vm_is_created_of_an_image_and_shown(arm: Any) -> None:
    vm = arm.vm()
    assert vm.properties.provisioning_state == "Succeeded"
    disk = vm.properties.storage_profile.os_disk
    assert disk.name.startswith("vm1_OsDisk_1_") and disk.delete_option == "Detach"
    view = arm.compute.virtual_machines.get("rg", "vm1", expand="instanceView").properties.instance_view
    assert [s.code for s in view.statuses] == ["ProvisioningState/succeeded", "PowerState/running"]
    assert view.hyper_v_generation == "V2"
    assert view.vm_agent.statuses[0].display_status == "Ready"
    timeline = next(e for e in view.extensions if e.name == "vmstamp.timeline")
    assert timeline.substatuses[0].code == "Timeline/started"
    assert [v.name for v in arm.compute.virtual_machines.list_all()] == ["vm1"]


def test_host_gets_the_whole_plan(arm: Any) -> None:
    body = {
        "location": "westeurope",
        "sku": {"name": "Standard"},
        "properties": {"publicIPAllocationMethod": "Static"},
    }
    address = arm.network.public_ip_addresses.begin_create_or_update("rg", "ip1", body).result()
    nic = arm.nic("nic1", publicIPAddress={"id": address.id})
    vm = create(arm, arm.vm_body(arm.image(), nic))
    plan = plan_of(arm, vm)
    assert (plan.generation, plan.vcpus, plan.memory, plan.provision) == (2, 1, 2 * GIB, True)
    assert plan.os_disk.size == MIB and plan.os_disk.lun is None
    with plan.os_disk.path.open("rb") as content:
        assert content.read(6) == b"the os"
    port = plan.nics[0]
    assert (str(port.address), str(port.public_address), port.open_ports) == (
        "10.0.0.4",
        "127.101.67.4",
        (22,),
    )
    assert port.mac.startswith("00-0D-3A-") and port.hostname == "vm1"
    assert [str(s.prefix) for s in plan.networks[0].subnets] == ["10.0.0.0/24"]
    instance = plan.instance
    assert (instance.admin_username, instance.public_keys[0].path) == (
        "azureuser",
        "/home/azureuser/.ssh/authorized_keys",
    )
    shown = arm.network.network_interfaces.get("rg", "nic1").properties
    assert shown.virtual_machine.id == vm.id and shown.mac_address == port.mac


def test_secrets_reach_the_guest_and_nobody_else(arm: Any, db: Any) -> None:
    profile = {
        "computerName": "vm1",
        "adminUsername": "azureuser",
        "adminPassword": "Secret-Password-1",
        "customData": "c2VjcmV0IGRhdGE=",
    }
    vm = create(arm, arm.vm_body(arm.image(), arm.nic(), osProfile=profile))
    instance = plan_of(arm, vm).instance
    assert (instance.admin_password, instance.custom_data) == ("Secret-Password-1", "c2VjcmV0IGRhdGE=")
    shown = json.dumps(arm.compute.virtual_machines.get("rg", "vm1").as_dict())
    assert "Secret-Password-1" not in shown and "c2VjcmV0" not in shown
    with db.read() as connection:
        rows = [
            tuple(row)
            for table in ("resource", "operation")
            for row in connection.execute(f"SELECT * FROM {table}")
        ]
    assert "Secret-Password-1" not in str(rows) and "c2VjcmV0" not in str(rows)


def test_power_states_follow_the_actions(arm: Any) -> None:
    vm = arm.vm()
    machines = arm.compute.virtual_machines
    assert arm.power("vm1") == "PowerState/running"
    machines.begin_power_off("rg", "vm1").result()
    assert arm.power("vm1") == "PowerState/stopped"
    error = error_of(lambda: machines.begin_restart("rg", "vm1"))
    assert error.message == "The operation requires the VM to be running (or set to run)."
    machines.begin_start("rg", "vm1").result()
    assert not plan_of(arm, vm).provision
    machines.begin_restart("rg", "vm1").result()
    machines.begin_deallocate("rg", "vm1").result()
    assert arm.power("vm1") == "PowerState/deallocated"
    machines.begin_start("rg", "vm1").result()
    arm.host.stop(vm.properties.vm_id, graceful=True)
    assert arm.power("vm1") == "PowerState/stopped"


def test_guest_that_never_reports_fails_with_the_code_and_the_timeline(arm: Any) -> None:
    arm.host.outcome = Outcome(
        False, "OSProvisioningTimedOut", "OS Provisioning for VM 'vm1' did not finish in the allotted time."
    )
    body = arm.vm_body(arm.image(), arm.nic())
    error = error_of(lambda: create(arm, body))
    assert error.code == "OSProvisioningTimedOut"
    assert error.details[0].code == "Timeline/started"
    vm = arm.compute.virtual_machines.get("rg", "vm1", expand="instanceView")
    assert vm.properties.provisioning_state == "Failed"
    codes = [s.code for s in vm.properties.instance_view.statuses]
    assert codes == ["ProvisioningState/failed/OSProvisioningTimedOut", "PowerState/running"]
    arm.host.outcome = Outcome(True)
    assert create(arm, body).properties.provisioning_state == "Succeeded"


def test_vm_that_could_not_be_started_is_shown_as_it_was(arm: Any) -> None:
    arm.vm()
    arm.compute.virtual_machines.begin_deallocate("rg", "vm1").result()
    begun = []

    def no_start(plan: Any) -> None:
        begun.append(arm.power("vm1"))
        raise MachineError("no memory")

    arm.host.start = no_start
    with pytest.raises(HttpResponseError, match="no memory"):
        arm.compute.virtual_machines.begin_start("rg", "vm1").result()
    assert (begun, arm.power("vm1")) == (["PowerState/starting"], "PowerState/deallocated")


def test_data_disks_of_the_image_come_along(arm: Any) -> None:
    url, data = arm.vhd("account1", "os.vhd"), arm.vhd("account1", "data.vhd", 2 * MIB, b"data")
    profile = {
        "osDisk": {"osType": "Linux", "osState": "Generalized", "blobUri": url},
        "dataDisks": [{"lun": 1, "blobUri": data}],
    }
    body = {"location": "westeurope", "properties": {"storageProfile": profile, "hyperVGeneration": "V2"}}
    image = arm.compute.images.begin_create_or_update("rg", "i1", body).result()
    vm = create(arm, arm.vm_body(image, arm.nic()))
    plan = plan_of(arm, vm)
    assert [disk.lun for disk in plan.data_disks] == [1]
    with plan.data_disks[0].path.open("rb") as content:
        assert content.read(4) == b"data"


def test_specialized_disk_is_attached_without_a_profile(arm: Any) -> None:
    creation = {"createOption": "Import", "sourceUri": arm.vhd("account1", "s.vhd", mark=b"special")}
    properties = {"creationData": creation, "osType": "Linux", "hyperVGeneration": "V2"}
    body = {"location": "westeurope", "properties": properties}
    disk = arm.compute.disks.begin_create_or_update("rg", "d1", body).result()
    disk = arm.compute.disks.get("rg", "d1")
    storage = {"osDisk": {"osType": "Linux", "createOption": "Attach", "managedDisk": {"id": disk.id}}}
    wanted = arm.vm_body(arm.image(), arm.nic(), storageProfile=storage)
    error = error_of(lambda: create(arm, wanted))
    assert (error.target, error.message) == ("osProfile", "Parameter 'osProfile' is not allowed.")
    del wanted["properties"]["osProfile"]
    vm = create(arm, wanted)
    plan = plan_of(arm, vm)
    assert not plan.provision and plan.generation == 2
    second = {**wanted, "properties": {**wanted["properties"]}}
    second["properties"]["networkProfile"] = {"networkInterfaces": [{"id": arm.nic("nic2").id}]}
    error = error_of(lambda: create(arm, second, "vm2"))
    assert "already owned by VM" in error.message


def test_vm_that_is_being_created_can_be_deleted(arm: Any) -> None:
    image, nic = arm.image(), arm.nic()
    arm.host.held.clear()
    poller = arm.compute.virtual_machines.begin_create_or_update("rg", "vm1", arm.vm_body(image, nic))
    assert arm.host.started.wait(10)
    arm.compute.virtual_machines.begin_delete("rg", "vm1").result()
    assert error_of(poller.result).code == "OperationPreempted"
    assert list(arm.compute.virtual_machines.list("rg")) == []
    assert arm.host.up == set()


def test_disks_stay_unless_they_are_to_be_deleted(arm: Any) -> None:
    vm = arm.vm()
    arm.host.write(plan_of(arm, vm), None, 0, b"kept")
    arm.compute.virtual_machines.begin_delete("rg", "vm1").result()
    left = list(arm.compute.disks.list())
    assert [disk.properties.disk_state for disk in left] == ["Unattached"]
    read = {"access": "Read", "durationInSeconds": 60}
    sas = arm.compute.disks.begin_grant_access("rg", left[0].name, read).result().access_sas
    account = sas.removeprefix("http://127.0.0.1:10000/").split("/")[0]
    assert arm.store.read(BlobRef(account, "disk", "abcd"), 0, 4) == b"kept"
    body = arm.vm_body(arm.image(), arm.nic("nic2"))
    body["properties"]["storageProfile"]["osDisk"]["deleteOption"] = "Delete"
    body["properties"]["networkProfile"]["networkInterfaces"][0]["properties"]["deleteOption"] = "Delete"
    create(arm, body, "vm2")
    arm.compute.virtual_machines.begin_delete("rg", "vm2").result()
    assert [disk.name for disk in arm.compute.disks.list()] == [left[0].name]
    assert "nic2" not in [nic.name for nic in arm.network.network_interfaces.list("rg")]


def test_tags_and_size_can_be_changed_but_not_the_profile(arm: Any) -> None:
    vm = arm.vm()
    machines = arm.compute.virtual_machines
    assert machines.begin_update("rg", "vm1", {"tags": {"a": "b"}}).result().tags == {"a": "b"}
    bigger = {"properties": {"hardwareProfile": {"vmSize": "Standard_B2s"}}}
    machines.begin_update("rg", "vm1", bigger).result()
    assert plan_of(arm, vm).vcpus == 2
    vm.properties.os_profile.admin_username = "other"
    error = error_of(lambda: create(arm, vm))
    assert (error.code, error.message) == (
        "PropertyChangeNotAllowed",
        "Changing property 'osProfile.adminUsername' is not allowed.",
    )


def test_serial_log_is_a_blob_to_be_read(arm: Any) -> None:
    arm.vm()
    data = arm.compute.virtual_machines.retrieve_boot_diagnostics_data("rg", "vm1")
    account, container, name = (
        data.serial_console_log_blob_uri.split("?")[0].removeprefix("http://127.0.0.1:10000/").split("/", 2)
    )
    assert arm.store.read(BlobRef(account, container, name), 0, 13) == b"Linux version"
    picture = data.console_screenshot_blob_uri.split("?")[0].removeprefix("http://127.0.0.1:10000/")
    assert picture.endswith(".screenshot.bmp")
    assert arm.store.read(BlobRef(*picture.split("/", 2)), 0, 2) == b"BM"
    arm.compute.virtual_machines.begin_power_off("rg", "vm1").result()
    again = arm.compute.virtual_machines.retrieve_boot_diagnostics_data(
        "rg", "vm1", sas_uri_expiration_time_in_minutes=1
    )
    assert again.console_screenshot_blob_uri is None and again.serial_console_log_blob_uri
    error = error_of(
        lambda: arm.compute.virtual_machines.retrieve_boot_diagnostics_data(
            "rg", "vm1", sas_uri_expiration_time_in_minutes=1441
        )
    )
    assert error.target == "sasUriExpirationTimeInMinutes"


def test_a_redeployed_vm_is_another_process(arm: Any) -> None:
    arm.vm()
    machines = arm.compute.virtual_machines
    vm_id = machines.get("rg", "vm1").vm_id
    machines.begin_redeploy("rg", "vm1").result()
    assert len(arm.host.plans[vm_id]) == 2 and arm.power("vm1") == "PowerState/running"
    assert not arm.host.plans[vm_id][1].provision
    machines.begin_power_off("rg", "vm1").result()
    error = error_of(lambda: machines.begin_redeploy("rg", "vm1"))
    assert error.message == "The operation requires the VM to be running (or set to run)."


def test_reapply_mends_a_vm_that_failed(arm: Any) -> None:
    arm.host.outcome = Outcome(False, "OSProvisioningTimedOut", "too long")
    with pytest.raises(HttpResponseError):
        arm.vm()
    machines = arm.compute.virtual_machines
    assert machines.get("rg", "vm1").provisioning_state == "Failed"
    error = error_of(lambda: machines.begin_reapply("rg", "vm1").result())
    assert error.code == "OSProvisioningTimedOut"
    arm.host.outcome = Outcome(True)
    machines.begin_reapply("rg", "vm1").result()
    vm = machines.get("rg", "vm1", expand="instanceView")
    assert vm.provisioning_state == "Succeeded" and arm.power("vm1") == "PowerState/running"
    starts = len(arm.host.plans[vm.vm_id])
    machines.begin_reapply("rg", "vm1").result()
    assert len(arm.host.plans[vm.vm_id]) == starts, "a sound VM runs on"


def test_sizes_are_listed(arm: Any) -> None:
    sizes = list(arm.compute.virtual_machine_sizes.list("westeurope"))
    assert "Standard_B1ms" in [size.name for size in sizes]
    assert any(
        sku.name == "Standard_B1ms"
        for sku in arm.compute.resource_skus.list(filter="location eq 'westeurope'")
    )


def test_group_with_a_running_vm_is_deleted_whole(arm: Any) -> None:
    arm.vm()
    arm.resources.resource_groups.begin_delete("rg").result(30)
    assert arm.host.up == set()
    assert arm.store.find_account("account1") is None


def test_vms_beyond_what_the_computer_provisions_at_once_wait_and_say_so(
    arm: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "vmstamp")
    image, machines = arm.image(), arm.compute.virtual_machines
    bodies = [arm.vm_body(image, arm.nic(f"nic{number}")) for number in range(places() + 2)]
    arm.host.held.clear()
    pollers = []
    for number, body in enumerate(bodies):
        pollers.append(machines.begin_create_or_update("rg", f"vm{number}", body))
        wait_until(lambda number=number: len(arm.host.up) == min(number + 1, places()))
    last = f"vm{places() + 1}"
    wait_until(lambda: machines.instance_view("rg", last).statuses[0].message is not None)
    status = machines.instance_view("rg", last).statuses[0]
    assert status.code == "ProvisioningState/creating"
    assert status.message.startswith("Waits for its turn: ")
    assert f"VM {last} waits: {places()} are provisioned at a time" in caplog.text
    assert "VM vm0 waits" not in caplog.text
    assert machines.instance_view("rg", "vm0").statuses[0].message is None
    machines.begin_delete("rg", last).result()
    assert error_of(pollers[-1].result).code == "OperationPreempted"
    arm.host.held.set()
    assert [p.result().properties.provisioning_state for p in pollers[:-1]] == ["Succeeded"] * (places() + 1)


def test_no_other_operation_waits_behind_the_vms_that_wait(arm: Any) -> None:
    image, machines = arm.image(), arm.compute.virtual_machines
    bodies = [arm.vm_body(image, arm.nic(f"nic{number}")) for number in range(places() + 16)]
    arm.host.held.clear()
    pollers = [machines.begin_create_or_update("rg", f"vm{n}", body) for n, body in enumerate(bodies)]
    empty = {"creationData": {"createOption": "Empty"}, "diskSizeGB": 1}
    disk = {"location": "westeurope", "properties": empty}
    made = arm.compute.disks.begin_create_or_update("rg", "disk1", disk).result(timeout=20)
    assert made.properties.provisioning_state == "Succeeded"
    arm.host.held.set()
    assert {p.result().properties.provisioning_state for p in pollers} == {"Succeeded"}

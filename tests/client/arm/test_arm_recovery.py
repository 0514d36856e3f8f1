"""What a stamp takes up again after its server was killed, and how requests look on the wire."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from tests.client.arm.parity.machines import blob_vm, done, generalized_blob_vm
from vmstamp.arm.control_plane import ControlPlane
from vmstamp.arm.types import Request
from vmstamp.errors import AzureError

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"
BASE = "https://127.0.0.1:1"


def request(method: str, path: str, body: Any = None, **query: str) -> Request:
    return Request(method, path, {"api-version": "2024-07-01", **query}, {}, body, BASE)


def creating(arm: Any) -> None:
    """A VM whose guest does not report yet."""
    image, nic = arm.image(), arm.nic()
    arm.host.held.clear()
    profile = {
        "computerName": "vm1",
        "adminUsername": "azureuser",
        "adminPassword": "Secret-Password-1",
    }
    body = arm.vm_body(image, nic, osProfile=profile)
    arm.plane.handle(request("PUT", VM, body))
    assert arm.host.started.wait(10)


VM = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/vm1"


def test_interrupted_creation_is_taken_up_again(arm: Any, restart: Any) -> None:
    creating(arm)
    arm.host.started.clear()
    with closing(restart()) as plane:
        assert arm.host.started.wait(10)
        again = next(iter(arm.host.plans.values()))
        assert len(again) == 2 and again[1].instance.admin_password == "Secret-Password-1"
        arm.host.held.set()
        plane.engine.operations.wait(timeout=10)
        assert plane.handle(request("GET", VM)).body["properties"]["provisioningState"] == "Succeeded"


def test_interrupted_group_deletion_is_taken_up_again(arm: Any, restart: Any) -> None:
    arm.vm()
    with arm.plane.engine.db.write():
        group = arm.plane.engine.catalog.find(GROUP)
        arm.plane.engine.catalog.save(group.with_properties(provisioningState="Deleting"))
        arm.plane.engine.operations.record(group.id, "delete")
    with closing(restart()) as plane:
        plane.engine.operations.wait(timeout=10)
        with pytest.raises(AzureError) as caught:
            plane.handle(request("GET", GROUP))
        assert caught.value.code == "ResourceGroupNotFound"


def test_vm_that_ran_is_found_stopped(arm: Any, restart: Any) -> None:
    arm.vm()
    with closing(restart()) as plane:
        view = plane.handle(request("GET", f"{VM}/instanceView")).body
        assert view["statuses"][-1]["code"] == "PowerState/stopped"
        plane.handle(request("POST", f"{VM}/start"))
        plane.engine.operations.wait(timeout=10)
        view = plane.handle(request("GET", f"{VM}/instanceView")).body
        assert view["statuses"][-1]["code"] == "PowerState/running"


@pytest.mark.parametrize(("state", "left"), [("Updating", "Failed"), ("Succeeded", "Succeeded")])
def test_what_cannot_be_taken_up_again_leaves_nothing_that_turns(
    arm: Any, restart: Any, state: str, left: str
) -> None:
    arm.vm()
    engine = arm.plane.engine
    with engine.db.write():
        vm = engine.catalog.find(VM)
        engine.catalog.save(vm.with_state(turning="stopping").with_properties(provisioningState=state))
        operation = engine.operations.record(vm.id, "hibernate")
    with closing(restart()) as plane:
        ended = plane.engine.operations.find(operation)
        assert (ended.status, ended.error.code) == ("Failed", "OperationInterrupted")
        assert plane.handle(request("GET", VM)).body["properties"]["provisioningState"] == left
        view = plane.handle(request("GET", f"{VM}/instanceView")).body
        assert view["statuses"][-1]["code"] == "PowerState/stopped"
        plane.handle(request("POST", f"{VM}/start"))
        plane.engine.operations.wait(timeout=10)
        view = plane.handle(request("GET", f"{VM}/instanceView")).body
        assert view["statuses"][-1]["code"] == "PowerState/running"


def test_a_put_whose_resource_is_being_deleted_leaves_that_to_the_deletion(arm: Any, restart: Any) -> None:
    arm.vm()
    engine = arm.plane.engine
    with engine.db.write():
        vm = engine.catalog.save(engine.catalog.find(VM).with_properties(provisioningState="Deleting"))
        put = engine.operations.record(vm.id, "put")
        deletion = engine.operations.record(vm.id, "delete")
    with closing(restart()) as plane:
        plane.engine.operations.wait(timeout=10)
        assert plane.engine.operations.find(put).error.code == "OperationInterrupted"
        assert plane.engine.operations.find(deletion).status == "Succeeded"
        assert plane.engine.catalog.find(VM) is None


def test_a_vm_whose_disks_could_not_be_made_is_not_said_to_be_created_for_ever(arm: Any) -> None:
    image = arm.image()
    (disk,) = arm.plane.engine.catalog.find(image.id).state["disks"].values()
    arm.store.delete_account(disk["place"][0])
    arm.plane.handle(request("PUT", VM, arm.vm_body(image, arm.nic())))
    arm.plane.engine.operations.wait(timeout=10)
    assert arm.plane.handle(request("GET", VM)).body["properties"]["provisioningState"] == "Failed"
    first, *_, last = arm.plane.handle(request("GET", f"{VM}/instanceView")).body["statuses"]
    assert (first["code"], last["code"]) == (
        "ProvisioningState/failed/ContainerNotFound",
        "PowerState/stopped",
    )


def test_what_a_stamp_was_doing_when_it_ended_is_taken_up_by_the_next(arm: Any, restart: Any) -> None:
    creating(arm)
    arm.plane.close()
    arm.host.held.set()
    with closing(restart()) as plane:
        plane.engine.operations.wait(timeout=10)
        assert plane.handle(request("GET", VM)).body["properties"]["provisioningState"] == "Succeeded"


def test_case_and_slashes_of_a_path_do_not_count(arm: Any) -> None:
    arm.vm()
    odd = VM.upper().replace("/PROVIDERS/", "//providers//") + "/"
    assert arm.plane.handle(request("GET", odd)).body["id"] == VM


def test_put_of_a_vm_speaks_as_azure_does(arm: Any) -> None:
    body = arm.vm_body(arm.image(), arm.nic())
    reply = arm.plane.handle(request("PUT", VM, body))
    assert reply.status == 201
    assert reply.body["properties"]["provisioningState"] == "Creating"
    assert reply.headers["Azure-AsyncNotification"] == "Enabled"
    url = reply.headers["Azure-AsyncOperation"]
    path = url.removeprefix(BASE).split("?")[0]
    assert path.split("/")[3:8] == ["providers", "Microsoft.Compute", "locations", "westeurope", "operations"]
    arm.plane.engine.operations.wait(timeout=10)
    status = arm.plane.handle(request("GET", path)).body
    assert (status["status"], status["name"]) == ("Succeeded", path.split("/")[-1])
    changed = arm.plane.handle(request("PATCH", VM, {"tags": {}}))
    assert changed.status == 200 and changed.body["properties"]["provisioningState"] == "Updating"


def test_put_of_a_disk_speaks_as_azure_does(arm: Any) -> None:
    disk = f"{GROUP}/providers/Microsoft.Compute/disks/d1"
    creation = {"creationData": {"createOption": "Empty"}, "diskSizeGB": 1}
    reply = arm.plane.handle(request("PUT", disk, {"location": "westeurope", "properties": creation}))
    assert reply.status == 202 and "id" not in reply.body and "type" not in reply.body
    assert reply.body["properties"]["provisioningState"] == "Updating"
    assert reply.body["properties"]["isArmResource"] is True
    assert "/DiskOperations/" in reply.headers["Azure-AsyncOperation"]
    arm.plane.engine.operations.wait(timeout=10)
    path = reply.headers["Location"].removeprefix(BASE).split("?")[0]
    assert arm.plane.handle(request("GET", path, monitor="true")).body["id"] == disk


def test_operation_under_way_says_when_to_come_again(arm: Any) -> None:
    creating(arm)
    operation = arm.plane.engine.operations.find_open(arm.plane.engine.catalog.find(VM).id)
    place = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/westeurope"
    path = f"{place}/operations/{operation.id}"
    status = arm.plane.handle(request("GET", path))
    assert (status.body["status"], status.headers["Retry-After"]) == ("InProgress", "1")
    assert arm.plane.handle(request("GET", path, monitor="true")).status == 202
    arm.host.held.set()


@pytest.mark.parametrize(
    ("made", "code", "part"),
    [
        (Request("GET", GROUP), "MissingApiVersionParameter", "is required for all requests"),
        (Request("GET", GROUP, {"api-version": "latest"}), "InvalidApiVersionParameter", "latest"),
        (request("GET", "/subscriptions/other"), "SubscriptionNotFound", "other"),
        (
            request("GET", f"{GROUP}/providers/Microsoft.Nothing/things/x"),
            "InvalidResourceNamespace",
            "Microsoft.Nothing",
        ),
        (request("GET", f"{GROUP}/providers/Microsoft.Compute/things/x"), "InvalidResourceType", "'things'"),
        (
            request("GET", f"{GROUP}/providers/Microsoft.Compute/disks/x"),
            "ResourceNotFound",
            "Microsoft.Compute/disks/x",
        ),
        (request("GET", f"{GROUP}x/providers/Microsoft.Compute/disks/x"), "ResourceGroupNotFound", "'rgx'"),
        (
            request("PUT", f"{GROUP}/providers/Microsoft.Compute/disks/x", []),
            "InvalidRequestContent",
            "object",
        ),
        (request("PUT", f"{GROUP}/providers/Microsoft.Compute/disks/x", {}), "LocationRequired", "location"),
        (
            request("PUT", f"{GROUP}/providers/Microsoft.Resources/deployments/x", {}),
            "InvalidRequestContent",
            "properties",
        ),
        (request("PUT", f"{VM}/metrics/x", {}), "InvalidResourceType", "virtualMachines/metrics"),
    ],
)
def test_what_is_not_there_is_named(arm: Any, made: Request, code: str, part: str) -> None:
    with pytest.raises(AzureError) as caught:
        arm.plane.handle(made)
    assert caught.value.code == code and part in caught.value.message


def test_group_that_is_being_deleted_takes_nothing_new(arm: Any) -> None:
    arm.vm()
    with arm.plane.engine.db.write():
        group = arm.plane.engine.catalog.find(GROUP)
        arm.plane.engine.catalog.save(group.with_properties(provisioningState="Deleting"))
    network = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/v"
    with pytest.raises(AzureError) as caught:
        arm.plane.handle(request("PUT", network, {"location": "westeurope"}))
    assert caught.value.code == "ResourceGroupBeingDeleted"


def test_interrupted_replication_is_taken_up_again(arm: Any, restart: Any) -> None:
    compute = f"{GROUP}/providers/Microsoft.Compute"
    gallery = f"{compute}/galleries/one"
    kind = {"osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2"}
    identifier = {"publisher": "a", "offer": "b", "sku": "c"}
    source = {"source": {"id": arm.image().id}}
    regions = {"targetRegions": [{"name": "westeurope"}, {"name": "eastus"}]}
    for path, properties in (
        (gallery, {}),
        (f"{gallery}/images/linux", {**kind, "identifier": identifier}),
        (f"{gallery}/images/linux/versions/1.0.0", {"storageProfile": source, "publishingProfile": regions}),
    ):
        arm.plane.handle(request("PUT", path, {"location": "westeurope", "properties": properties}))
        arm.plane.engine.operations.wait()
    engine = arm.plane.engine
    version = engine.catalog.find(path)
    for replica in version.state["replicas"].values():
        arm.store.delete_account(replica["os"][0])
    with engine.db.write():
        engine.catalog.save(version.with_properties(provisioningState="Creating"))
        engine.operations.record(version.id, "put")
    with closing(restart()) as plane:
        plane.engine.operations.wait(timeout=10)
        shown = plane.handle(request("GET", path, **{"$expand": "ReplicationStatus"})).body["properties"]
        assert shown["provisioningState"] == "Succeeded"
        assert shown["replicationStatus"]["aggregatedState"] == "Completed"


CREATION = [("before", "remove"), ("before", "start"), ("after", "start"), ("after", "wait_ready")]
DELETION = [
    ("before", "stop"),
    ("after", "stop"),
    ("before", "fold"),
    ("before", "remove"),
    ("after", "remove"),
]


def killed(arm: Any, step: tuple[str, str], *sent: Any) -> None:
    """Send a request whose operation ends with the server's death at a step."""
    arm.host.dies = step
    arm.plane.handle(request(*sent))
    arm.plane.engine.operations.wait(timeout=10)
    assert arm.host.dies == ("", ""), "the step was not reached"
    assert len(list(arm.plane.engine.operations.unfinished())) == 1


def disks_of(plane: ControlPlane) -> list[str]:
    found = plane.handle(request("GET", f"{GROUP}/providers/Microsoft.Compute/disks")).body["value"]
    return [disk["properties"]["diskState"] for disk in found]


@pytest.mark.parametrize("step", CREATION)
def test_creation_goes_on_wherever_the_server_was_killed(arm: Any, restart: Any, step: Any) -> None:
    body = arm.vm_body(arm.image(), arm.nic())
    killed(arm, step, "PUT", VM, body)
    with closing(restart()) as plane:
        plane.engine.operations.wait(timeout=10)
        assert plane.handle(request("GET", VM)).body["properties"]["provisioningState"] == "Succeeded"
        assert len(arm.host.up) == 1 and disks_of(plane) == ["Attached"]


@pytest.mark.parametrize("step", DELETION)
def test_deletion_goes_on_wherever_the_server_was_killed(arm: Any, restart: Any, step: Any) -> None:
    vm = arm.vm()
    plan = arm.host.plans[vm.properties.vm_id][-1]
    arm.host.write(plan, None, 0, b"kept")
    killed(arm, step, "DELETE", VM)
    with closing(restart()) as plane:
        plane.engine.operations.wait(timeout=10)
        with pytest.raises(AzureError) as caught:
            plane.handle(request("GET", VM))
        assert caught.value.code == "ResourceNotFound"
        assert arm.host.up == set() and disks_of(plane) == ["Unattached"]
        found = plane.handle(request("GET", f"{GROUP}/providers/Microsoft.Network/networkInterfaces"))
        assert "virtualMachine" not in found.body["value"][0]["properties"]


@pytest.mark.parametrize("step", [("before", "start"), ("after", "start")])
def test_a_start_goes_on_wherever_the_server_was_killed(arm: Any, restart: Any, step: Any) -> None:
    arm.vm()
    done(arm, "deallocate")
    killed(arm, step, "POST", f"{VM}/start")
    with closing(restart()) as plane:
        plane.engine.operations.wait(timeout=10)
        view = plane.handle(request("GET", f"{VM}/instanceView")).body
        assert view["statuses"][-1]["code"] == "PowerState/running"


def test_a_capture_goes_on_where_the_server_was_killed(arm: Any, restart: Any) -> None:
    generalized_blob_vm(arm, data=True)
    body = {"vhdPrefix": "pre", "destinationContainerName": "captured", "overwriteVhds": False}
    killed(arm, ("before", "fold"), "POST", f"{VM}/capture", body)
    (operation,) = arm.plane.engine.operations.unfinished()
    with closing(restart()) as plane:
        plane.engine.operations.wait(timeout=10)
        ended = plane.engine.operations.find(operation.id)
        assert ended.status == "Succeeded" and len(ended.output["resources"]) == 1
        guid = plane.handle(request("GET", VM)).body["properties"]["vmId"]
        for role in ("osDisk", "dataDisk-0"):
            name = f"Microsoft.Compute/Images/captured/pre-{role}.{guid}.vhd"
            assert arm.store.find_blob("account1", "system", name) is not None


def test_a_conversion_to_managed_disks_goes_on_where_the_server_was_killed(arm: Any, restart: Any) -> None:
    blob_vm(arm)
    done(arm, "deallocate")
    killed(arm, ("before", "fold"), "POST", f"{VM}/convertToManagedDisks")
    with closing(restart()) as plane:
        plane.engine.operations.wait(timeout=10)
        storage = plane.handle(request("GET", VM)).body["properties"]["storageProfile"]
        assert "managedDisk" in storage["osDisk"] and disks_of(plane) == ["Reserved"]
        assert arm.store.get_blob("account1", "vhds", "vm1.vhd").lease is None

"""Moves between groups and subscriptions: what goes along, what is refused, what is rewritten."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.client.arm.parity.row import COMPUTE, GROUP, NETWORK, STORAGE, SUBSCRIPTION, ask
from vmstamp.arm.control_plane import ControlPlane, build
from vmstamp.arm.engine import Settings
from vmstamp.arm.moves import with_new_ids
from vmstamp.db import Database

API = "2021-04-01"
TARGET = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg2"
LOCATION = {"location": "westeurope"}
ACCOUNT = f"{STORAGE}/storageAccounts/account1"


@pytest.fixture
def moving(arm: Any) -> Any:
    arm.resources.resource_groups.create_or_update("rg2", LOCATION)
    return arm


def post(arm: Any, *ids: str, target: str = TARGET, action: str = "moveResources") -> Any:
    return ask(arm, "POST", f"{GROUP}/{action}", {"resources": ids, "targetResourceGroup": target}, api=API)


def ended(arm: Any, reply: Any) -> Any:
    assert reply.status_code == 202, reply.text
    deadline = time.monotonic() + 20
    while (found := ask(arm, "GET", reply.headers["Location"])).status_code == 202:
        assert time.monotonic() < deadline
    return found


def codes(refused: Any) -> set[tuple[str, str]]:
    """The inner codes of a provider's refusal, with the last two words of their targets."""
    assert refused["code"] == "ResourceMoveProviderValidationFailed"
    inner = [json.loads(one["message"])["error"]["details"] for one in refused["details"]]
    return {(d["code"], "/".join(d["target"].split("/")[-2:])) for details in inner for d in details}


def of_vm(vm: Any) -> list[str]:
    return [str(vm.id), str(vm.storage_profile.os_disk.managed_disk.id)]


def test_a_running_vm_moves_with_its_disk_and_runs_on(moving: Any) -> None:
    vm = moving.vm()
    assert ended(moving, post(moving, *of_vm(vm))).status_code == 204
    assert ask(moving, "GET", vm.id).status_code == 404
    moved = moving.compute.virtual_machines.get("rg2", "vm1", expand="instanceView")
    assert moved.vm_id == vm.vm_id and moving.host.running(vm.vm_id)
    disk = moving.compute.disks.get("rg2", vm.storage_profile.os_disk.name)
    assert moved.storage_profile.os_disk.managed_disk.id == disk.id
    assert disk.managed_by == moved.id
    nic = moving.network.network_interfaces.get("rg", "vm1-nic")
    assert nic.virtual_machine.id == moved.id
    moving.compute.virtual_machines.begin_deallocate("rg2", "vm1").result()
    moving.compute.virtual_machines.begin_start("rg2", "vm1").result()
    moving.compute.virtual_machines.begin_delete("rg2", "vm1").result()


def test_ids_of_parts_and_references_to_them_are_rewritten(moving: Any) -> None:
    nic = moving.nic()
    assert ended(moving, post(moving, f"{NETWORK}/virtualNetworks/vnet1")).status_code == 204
    subnet = moving.network.subnets.get("rg2", "vnet1", "default")
    assert subnet.id.startswith(f"{TARGET}/")
    found = moving.network.network_interfaces.get("rg", nic.name)
    assert found.ip_configurations[0].subnet.id == subnet.id
    refused = ask(moving, "DELETE", f"{TARGET}/providers/Microsoft.Network/virtualNetworks/vnet1")
    assert refused.json()["error"]["code"] == "InUseSubnetCannotBeDeleted"


def test_a_disk_and_its_vm_are_not_parted(moving: Any) -> None:
    vm, disk = of_vm(moving.vm())
    name = disk.split("/")[-1]
    alone = post(moving, vm)
    assert alone.status_code == 409
    assert codes(alone.json()["error"]) == {("MissingMoveDependentResources", f"disks/{name}")}
    other = post(moving, disk).json()["error"]
    assert codes(other) == {("MissingMoveDependentResources", "virtualMachines/vm1")}
    assert ask(moving, "GET", vm).status_code == 200


def test_to_another_subscription_go_only_whole_machines(moving: Any) -> None:
    alias = ask(
        moving, "PUT", "/providers/Microsoft.Subscription/aliases/dev", {"properties": {}}, api="2021-10-01"
    )
    other = f"/subscriptions/{alias.json()['properties']['subscriptionId']}/resourceGroups/rg"
    ask(moving, "PUT", other, LOCATION)
    vm = moving.vm()
    nic, network = f"{NETWORK}/networkInterfaces/vm1-nic", f"{NETWORK}/virtualNetworks/vnet1"
    refused = post(moving, *of_vm(vm), target=other).json()["error"]
    assert ("MissingMoveDependentResources", "networkInterfaces/vm1-nic") in codes(refused)
    assert ended(moving, post(moving, *of_vm(vm), nic, network, target=other)).status_code == 204
    moved = ask(moving, "GET", f"{other}/providers/Microsoft.Compute/virtualMachines/vm1").json()
    assert moved["properties"]["vmId"] == vm.vm_id
    listed = ask(moving, "GET", f"{GROUP}/resources", api=API).json()["value"]
    assert {one["type"] for one in listed} == {
        "Microsoft.Compute/images",
        "Microsoft.Storage/storageAccounts",
    }


def test_validation_tells_at_the_location_and_changes_nothing(moving: Any) -> None:
    vm, disk = of_vm(moving.vm())
    fine = ended(moving, post(moving, vm, disk, action="validateMoveResources"))
    assert fine.status_code == 204
    bad = ended(moving, post(moving, vm, action="validateMoveResources"))
    assert (bad.status_code, bad.json()["error"]["code"]) == (409, "ResourceMoveProviderValidationFailed")
    assert ask(moving, "GET", vm).status_code == 200


def test_a_disk_with_an_open_access_stays(moving: Any) -> None:
    body = {**LOCATION, "properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 1}}
    disk = moving.compute.disks.begin_create_or_update("rg", "d1", body).result()
    access = {"access": "Read", "durationInSeconds": 3600}
    moving.compute.disks.begin_grant_access("rg", "d1", access).result()
    refused = post(moving, disk.id).json()["error"]
    assert codes(refused) == {("OperationNotAllowed", "disks/d1")}
    moving.compute.disks.begin_revoke_access("rg", "d1").result()
    assert ended(moving, post(moving, disk.id)).status_code == 204


def test_what_cannot_be_moved_is_said(moving: Any) -> None:
    moving.vhd("account1", "a.vhd")
    cases = [
        (post(moving), "InvalidParameter"),
        (post(moving, ACCOUNT, target=GROUP), "InvalidParameter"),
        (post(moving, ACCOUNT, target=f"{TARGET}0"), "ResourceGroupNotFound"),
        (post(moving, ACCOUNT, target=ACCOUNT), "LinkedInvalidPropertyId"),
        (post(moving, f"{COMPUTE}/images/no"), "ResourceNotFound"),
        (post(moving, f"{TARGET}/providers/Microsoft.Compute/images/no"), "InvalidParameter"),
    ]
    assert [reply.json()["error"]["code"] for reply, _ in cases] == [code for _, code in cases]


def test_locks_that_refuse_writes_refuse_moves(moving: Any) -> None:
    moving.vhd("account1", "a.vhd")
    lock = {"properties": {"level": "ReadOnly"}}
    ask(moving, "PUT", f"{TARGET}/providers/Microsoft.Authorization/locks/l", lock, api="2020-05-01")
    assert post(moving, ACCOUNT).json()["error"]["code"] == "ScopeLocked"


def test_locks_and_tags_go_along_with_their_resource(moving: Any) -> None:
    moving.vhd("account1", "a.vhd")
    lock = {"properties": {"level": "CanNotDelete"}}
    ask(moving, "PUT", f"{ACCOUNT}/providers/Microsoft.Authorization/locks/l", lock, api="2020-05-01")
    assert ended(moving, post(moving, ACCOUNT)).status_code == 204
    account = f"{TARGET}/providers/Microsoft.Storage/storageAccounts/account1"
    assert ask(moving, "DELETE", account).json()["error"]["code"] == "ScopeLocked"
    found = ask(moving, "GET", f"{account}/providers/Microsoft.Authorization/locks/l", api="2020-05-01")
    assert found.json()["id"].startswith(account)


def test_both_groups_take_no_writes_meanwhile_and_a_restart_ends_the_move(
    db: Database, store: Any, host: Any, serve: Callable[[ControlPlane], Any]
) -> None:
    settings = Settings(SUBSCRIPTION, "t")
    arm = serve(build(db, store, host, settings, "http://127.0.0.1:10000", workers=1))
    arm.host, arm.store = host, store
    for group in ("rg", "rg2"):
        arm.resources.resource_groups.create_or_update(group, LOCATION)
    body = arm.vm_body(arm.image(), arm.nic())
    host.held.clear()
    machine = arm.compute.virtual_machines.begin_create_or_update("rg", "vm1", body, polling=False)
    host.started.wait(20)
    assert machine
    accepted = post(arm, f"{COMPUTE}/images/image1")
    assert accepted.status_code == 409  # the VM that is being made refers to it
    address = f"{NETWORK}/publicIPAddresses/ip1"
    accepted = post(arm, ACCOUNT)
    assert accepted.status_code == 202
    for path in (address, address.replace("/rg/", "/rg2/")):
        refused = ask(arm, "PUT", path, {**LOCATION, "properties": {}})
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "ResourceGroupBeingMoved")
    assert ask(arm, "GET", accepted.headers["Location"]).status_code == 202
    arm.plane.close()
    host.held.set()
    again = build(db, store, host, settings, "http://127.0.0.1:10000")
    again.recover()
    arm = serve(again)
    assert ended(arm, _at(arm, accepted)).status_code == 204
    assert (
        ask(arm, "GET", f"{TARGET}/providers/Microsoft.Storage/storageAccounts/account1").status_code == 200
    )
    again.close()


def _at(arm: Any, accepted: Any) -> Any:
    """The same answer, with its Location at another door."""
    _, found, path = accepted.headers["Location"].partition("/subscriptions/")
    accepted.headers["Location"] = f"{arm.url}{found}{path}"
    return accepted


def test_only_ids_of_what_moves_are_rewritten() -> None:
    old = "/subscriptions/s/resourceGroups/RG/providers/Microsoft.Network/virtualNetworks/v"
    new = "/subscriptions/s/resourceGroups/b/providers/Microsoft.Network/virtualNetworks/v"
    value = {"a": [old.upper(), f"{old}/subnets/x"], "b": f"{old}2", "c": f"see {old}", "d": 1}
    assert with_new_ids(value, {old.lower(): new}) == {
        "a": [new, f"{new}/subnets/x"],
        "b": f"{old}2",
        "c": f"see {old}",
        "d": 1,
    }

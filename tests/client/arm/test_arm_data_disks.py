"""Data disks that come and go, by a PUT of the VM and by the API for it, while the VM runs and while not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError

from tests.client.arm.parity.row import COMPUTE, ask

VM = f"{COMPUTE}/virtualMachines/vm1"
EMPTY = {"lun": 0, "createOption": "Empty", "diskSizeGB": 1, "name": "d0"}


def put(arm: Any, *disks: Any) -> Any:
    vm = arm.compute.virtual_machines.get("rg", "vm1")
    vm.properties.storage_profile.data_disks = list(disks)
    return arm.compute.virtual_machines.begin_create_or_update("rg", "vm1", vm).result()


def plugged(arm: Any) -> list[int]:
    """The LUNs that the VM's machine has now."""
    vm = arm.compute.virtual_machines.get("rg", "vm1")
    return sorted(arm.host.plugged[vm.properties.vm_id])


def state(arm: Any, name: str) -> str:
    return str(arm.compute.disks.get("rg", name).as_dict()["properties"]["diskState"])


def disk(arm: Any, name: str) -> str:
    body = {
        "location": "westeurope",
        "properties": {"creationData": {"createOption": "Empty"}, "diskSizeGB": 1},
    }
    return str(arm.compute.disks.begin_create_or_update("rg", name, body).result().id)


def change(arm: Any, **body: Any) -> Any:
    """Send the API's request and wait for its end: the storage profile, or the operation's error."""
    reply = ask(arm, "POST", f"{VM}/attachDetachDataDisks", body)
    assert reply.status_code == 202, reply.text
    arm.plane.engine.operations.wait()
    return ask(arm, "GET", reply.headers["Location"]).json()


@pytest.fixture
def vm(arm: Any) -> Iterator[Any]:
    yield arm.vm()


def test_a_disk_is_plugged_into_a_running_vm_and_pulled_out(arm: Any, vm: Any) -> None:
    changed = put(arm, EMPTY)
    assert changed.properties.storage_profile.data_disks[0].name == "d0"
    assert plugged(arm) == [0]
    assert len(arm.host.plans[vm.properties.vm_id]) == 1, "it was not started anew"
    assert state(arm, "d0") == "Attached"
    put(arm)
    assert plugged(arm) == []
    assert state(arm, "d0") == "Unattached"


def test_a_disk_comes_and_goes_while_the_vm_is_off(arm: Any, vm: Any) -> None:
    machines = arm.compute.virtual_machines
    machines.begin_deallocate("rg", "vm1").result()
    put(arm, EMPTY)
    machines.begin_start("rg", "vm1").result()
    assert plugged(arm) == [0]
    machines.begin_deallocate("rg", "vm1").result()
    put(arm)
    assert state(arm, "d0") == "Unattached"


def test_what_a_guest_wrote_is_on_a_disk_that_was_pulled_out(arm: Any, vm: Any) -> None:
    put(arm, EMPTY)
    arm.compute.virtual_machines.begin_restart("rg", "vm1").result()
    plan = arm.host.plans[vm.properties.vm_id][-1]
    arm.host.write(plan, 0, 0, b"of the guest")
    put(arm)
    found = arm.compute.disks.get("rg", "d0")
    again = {"lun": 3, "createOption": "Attach", "managedDisk": {"id": found.id}}
    put(arm, again)
    (path,) = [path for (_, name), path in arm.host.backing.items() if found.properties.unique_id in name]
    with path.open("rb") as content:
        assert content.read(12) == b"of the guest"


def test_disks_are_attached_and_detached_by_the_api_for_it(arm: Any, vm: Any) -> None:
    one, two = disk(arm, "one"), disk(arm, "two")
    shown = change(arm, dataDisksToAttach=[{"diskId": one, "lun": 5}, {"diskId": two, "caching": "ReadOnly"}])
    assert [(d["lun"], d["name"], d["caching"]) for d in shown["dataDisks"]] == [
        (5, "one", "None"),
        (0, "two", "ReadOnly"),
    ]
    assert plugged(arm) == [0, 5]
    shown = change(arm, dataDisksToDetach=[{"diskId": one, "detachOption": "ForceDetach"}])
    assert [d["name"] for d in shown["dataDisks"]] == ["two"]
    assert (state(arm, "one"), state(arm, "two")) == ("Unattached", "Attached")


def test_a_disk_is_detached_by_force(arm: Any, vm: Any) -> None:
    changed = put(arm, EMPTY)
    (known,) = changed.properties.storage_profile.data_disks
    known.to_be_detached, known.detach_option = True, "ForceDetach"
    assert put(arm, known).properties.storage_profile.data_disks == []
    assert state(arm, "d0") == "Unattached"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "InvalidParameter"),
        ({"dataDisksToAttach": [{"lun": 1}]}, 400, "InvalidParameter"),
        ({"dataDisksToDetach": [{"diskId": f"{COMPUTE}/disks/absent"}]}, 400, "InvalidParameter"),
        ({"dataDisksToAttach": [{"diskId": f"{COMPUTE}/disks/absent"}]}, 404, "NotFound"),
        (
            {"dataDisksToAttach": [{"diskId": "x", "diskEncryptionSet": {"id": "y"}}]},
            400,
            "NotSupportedByStamp",
        ),
    ],
    ids=["nothing", "no id", "not attached", "absent", "encryption"],
)
def test_the_api_refuses(arm: Any, vm: Any, body: dict[str, Any], status: int, code: str) -> None:
    reply = ask(arm, "POST", f"{VM}/attachDetachDataDisks", body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code), json.dumps(reply.json())


def test_the_api_takes_no_disk_of_another_vm(arm: Any, vm: Any) -> None:
    mine = disk(arm, "mine")
    body = arm.vm_body(arm.image(), arm.nic("nic2"))
    body["properties"]["storageProfile"]["dataDisks"] = [
        {"lun": 0, "createOption": "Attach", "managedDisk": {"id": mine}}
    ]
    arm.compute.virtual_machines.begin_create_or_update("rg", "vm2", body).result()
    reply = ask(arm, "POST", f"{VM}/attachDetachDataDisks", {"dataDisksToAttach": [{"diskId": mine}]})
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "ConflictingUserInput")
    with pytest.raises(HttpResponseError) as caught:
        put(arm, {"lun": 0, "createOption": "Attach", "managedDisk": {"id": mine}})
    assert caught.value.error and caught.value.error.code == "ConflictingUserInput"

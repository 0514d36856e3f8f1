"""What a stamp takes up again after its server was killed, and how requests look on the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from vmstamp.arm.control_plane import ControlPlane, build
from vmstamp.arm.engine import Settings
from vmstamp.arm.types import Request
from vmstamp.blob.store import BlobStore
from vmstamp.db import Database
from vmstamp.errors import AzureError

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"
BASE = "https://127.0.0.1:1"


def request(method: str, path: str, body: Any = None, **query: str) -> Request:
    return Request(method, path, {"api-version": "2024-07-01", **query}, {}, body, BASE)


@pytest.fixture
def restart(tmp_path: Path, host: Any) -> Iterator[Callable[[], ControlPlane]]:
    """A control plane over the same home, as if the one before had been killed at this instant."""
    opened: list[Any] = []

    def start() -> ControlPlane:
        host.up.clear()
        db = Database(tmp_path / "stamp.db")
        store = BlobStore(db, tmp_path / "content")
        store.recover()
        plane = build(db, store, host, Settings(SUBSCRIPTION, "t"), "http://127.0.0.1:10000")
        opened.extend((plane, db))
        plane.recover()
        return plane

    yield start
    for one in opened:
        one.close()


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
        (request("PUT", f"{VM}/runCommands/x", {}), "InvalidResourceType", "virtualMachines/runCommands"),
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

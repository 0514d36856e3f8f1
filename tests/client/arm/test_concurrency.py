"""Several clients at once on the same few resources: Azure's refusals, and never a state that is half of two.

Each case is a random schedule that its seed makes again, as far as threads allow: what is asked for is the
same, not who comes first. Whatever was answered, `invariants` must hold when all is at rest.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.client.arm.invariants import violations
from vmstamp.arm.control_plane import ControlPlane
from vmstamp.arm.types import Request
from vmstamp.errors import AzureError

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"
COMPUTE, NETWORK = f"{GROUP}/providers/Microsoft.Compute", f"{GROUP}/providers/Microsoft.Network"
CLIENTS, REQUESTS = 4, 40  # at a time, and of each
# How often what keeps machines coming and going is asked for, against 1 for the rest.
OFTEN = {"do_make_a_machine": 6, "do_deallocate": 5, "do_start": 5, "do_open": 4, "do_close": 4}
WHERE = {"location": "westeurope"}

# What a client may be told of another's work: what it asks for is gone, busy, in use, or not in that state.
REFUSALS = (400, 404, 409, 412)


@pytest.fixture
def close_together() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Client:
    """One client: random requests on a VM or two, their disks and interfaces, and what these are made of."""

    def __init__(self, arm: Any, seed: str) -> None:
        self._plane: ControlPlane = arm.plane
        self._image = arm.image
        self._body = arm.vm_body
        self._random = random.Random(seed)
        self.unforeseen: list[str] = []

    def run(self, count: int) -> None:
        wanted = [getattr(self, name) for name in dir(self) if name.startswith("do_")]
        weights = [OFTEN.get(one.__name__, 1) for one in wanted]
        for one in self._random.choices(wanted, weights, k=count):
            one()

    def _name(self, stem: str) -> str:
        return f"{stem}{self._random.randint(1, 2)}"

    def _send(self, method: str, path: str, body: Any = None, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(method, path, {"api-version": "2024-07-01"}, named, body, "https://stamp")
        try:
            self._plane.handle(request)
        except AzureError as error:
            if error.status not in REFUSALS:
                self.unforeseen.append(f"{method} {path}: {error.status} {error.code} {error.message}")
        except Exception as error:
            self.unforeseen.append(f"{method} {path}: {error!r}")

    def _disk_id(self, name: str) -> str:
        return f"{COMPUTE}/disks/{name}"

    def _vm(self) -> str:
        return f"{COMPUTE}/virtualMachines/{self._name('vm')}"

    # -- machines

    def do_make_a_machine(self) -> None:
        nic = type("", (), {"id": f"{NETWORK}/networkInterfaces/{self._name('nic')}"})
        image = type("", (), {"id": f"{COMPUTE}/images/image1"})
        body = self._body(image, nic)
        going = {"deleteOption": self._random.choice(["Delete", "Detach"])}
        body["properties"]["storageProfile"]["osDisk"] |= going
        if self._random.random() < 0.5:
            disk = {
                "lun": 0,
                "createOption": "Attach",
                "managedDisk": {"id": self._disk_id(self._name("disk"))},
            }
            body["properties"]["storageProfile"]["dataDisks"] = [disk | going]
        self._send("PUT", self._vm(), body)

    def do_delete_a_machine(self) -> None:
        self._send("DELETE", self._vm())

    def do_start(self) -> None:
        self._send("POST", f"{self._vm()}/start")

    def do_deallocate(self) -> None:
        self._send("POST", f"{self._vm()}/deallocate")

    def do_power_off(self) -> None:
        self._send("POST", f"{self._vm()}/powerOff")

    def do_restart(self) -> None:
        self._send("POST", f"{self._vm()}/restart")

    def do_generalize(self) -> None:
        if self._random.random() < 0.3:
            self._send("POST", f"{self._vm()}/generalize")

    def do_change_disks(self) -> None:
        disk = {"lun": 1, "createOption": "Attach", "managedDisk": {"id": self._disk_id(self._name("disk"))}}
        disks = self._random.choice([[], [disk]])
        self._send("PATCH", self._vm(), {"properties": {"storageProfile": {"dataDisks": disks}}})

    # -- disks and images

    def do_make_a_disk(self) -> None:
        creation = {"createOption": "Empty"}
        if self._random.random() < 0.3:
            creation = {"createOption": "Copy", "sourceResourceId": self._disk_id("disk1")}
        properties = {"creationData": creation, "diskSizeGB": self._random.randint(1, 2)}
        self._send("PUT", self._disk_id(self._name("disk")), {**WHERE, "properties": properties})

    def do_delete_a_disk(self) -> None:
        self._send("DELETE", self._disk_id(self._name("disk")))

    def do_grow(self) -> None:
        self._send("PATCH", self._disk_id(self._name("disk")), {"properties": {"diskSizeGB": 3}})

    def _any_disk(self) -> str:
        found = self._plane.engine.catalog.select(type="microsoft.compute/disks")
        return str(self._random.choice(found).id) if found else self._disk_id("disk1")

    def do_open(self) -> None:
        body = {"access": "Read", "durationInSeconds": 600}
        self._send("POST", f"{self._any_disk()}/beginGetAccess", body)

    def do_close(self) -> None:
        self._send("POST", f"{self._any_disk()}/endGetAccess")

    def do_make_an_image(self) -> None:
        disk = {"osType": "Linux", "osState": "Generalized", "managedDisk": {"id": self._any_disk()}}
        properties = {"hyperVGeneration": "V2", "storageProfile": {"osDisk": disk}}
        self._send("PUT", f"{COMPUTE}/images/image2", {**WHERE, "properties": properties})

    def do_delete_an_image(self) -> None:
        self._send("DELETE", f"{COMPUTE}/images/image2")

    # -- networks

    def do_make_an_interface(self) -> None:
        subnet = {"id": f"{NETWORK}/virtualNetworks/vnet1/subnets/default"}
        properties: Any = {"subnet": subnet}
        if self._random.random() < 0.5:
            properties["publicIPAddress"] = {"id": f"{NETWORK}/publicIPAddresses/ip1"}
        configurations = [{"name": "ipconfig1", "properties": properties}]
        body = {**WHERE, "properties": {"ipConfigurations": configurations}}
        self._send("PUT", f"{NETWORK}/networkInterfaces/{self._name('nic')}", body)

    def do_delete_an_interface(self) -> None:
        self._send("DELETE", f"{NETWORK}/networkInterfaces/{self._name('nic')}")

    def do_make_a_network(self) -> None:
        subnets = [{"name": "default", "properties": {"addressPrefix": "10.0.0.0/24"}}]
        space = {"addressPrefixes": ["10.0.0.0/16"]}
        body = {**WHERE, "properties": {"addressSpace": space, "subnets": subnets}}
        self._send("PUT", f"{NETWORK}/virtualNetworks/vnet1", body)

    def do_delete_a_network(self) -> None:
        self._send("DELETE", f"{NETWORK}/virtualNetworks/vnet1")

    def do_make_an_address(self) -> None:
        self._send("PUT", f"{NETWORK}/publicIPAddresses/ip1", {**WHERE, "properties": {}})

    def do_delete_an_address(self) -> None:
        self._send("DELETE", f"{NETWORK}/publicIPAddresses/ip1")


def slow_down(host: Any, seed: str) -> None:
    """Starting and stopping take a moment, as guests do."""
    chance = random.Random(seed)
    start, stop, fold = host.start, host.stop, host.fold

    def pause() -> None:
        time.sleep(chance.random() * 0.01)

    def slow_start(plan: Any) -> None:
        pause()
        start(plan)

    def slow_stop(vm_id: str, *, graceful: bool) -> None:
        pause()
        stop(vm_id, graceful=graceful)

    def slow_fold(vm_id: str, disk: Any) -> Any:
        assert vm_id not in host.up, "a disk is folded while its guest runs"
        pause()
        assert vm_id not in host.up, "a guest began while its disk was folded"
        return fold(vm_id, disk)

    host.start, host.stop, host.fold = slow_start, slow_stop, slow_fold


@pytest.mark.parametrize("seed", range(6))
def test_clients_at_once_leave_no_mixed_state(arm: Any, close_together: None, seed: int) -> None:
    arm.image()
    arm.nic("nic1")
    slow_down(arm.host, f"{seed}")
    clients = [Client(arm, f"{seed}/{number}") for number in range(CLIENTS)]
    threads = [threading.Thread(target=client.run, args=(REQUESTS,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    arm.plane.engine.operations.wait()
    assert [said for client in clients for said in client.unforeseen] == []
    assert failures(arm.plane) == []
    assert violations(arm.plane, arm.store, arm.host) == []


def failures(plane: ControlPlane) -> list[str]:
    """Operations that ended by a fault of ours, not by a refusal."""
    with plane.engine.db.read() as connection:
        rows = connection.execute("SELECT kind, resource, document FROM operation").fetchall()
    return [f"{kind} {id}: {text}" for kind, id, text in map(tuple, rows) if "Internal" in text]

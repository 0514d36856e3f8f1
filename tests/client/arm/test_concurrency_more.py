"""As test_concurrency.py, with snapshots, galleries, sets, security groups, storage and moves among them.

A snapshot of a running machine's disk is taken while it runs, so folding is watched less closely here.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import pytest

from tests.client.arm import test_concurrency
from tests.client.arm.invariants import violations
from tests.client.arm.parity.row import COMPUTE, GROUP, NETWORK, STORAGE, SUBSCRIPTION
from tests.client.arm.parity.rows_galleries import KIND
from tests.client.arm.test_pairs import failures

close_together = test_concurrency.close_together
OTHER = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg2"
WHERE = {"location": "westeurope"}
CLIENTS, REQUESTS = 4, 60  # at a time, and of each
DEFINITION = f"{COMPUTE}/galleries/gallery1/images/linux"
SET = f"{COMPUTE}/availabilitySets/set1"
RULES = f"{NETWORK}/networkSecurityGroups/group1"
ACCOUNT = f"{STORAGE}/storageAccounts/account2"


class Client(test_concurrency.Client):
    """One client that asks for these things too."""

    def _snapshot(self) -> str:
        return f"{COMPUTE}/snapshots/{self._name('snapshot')}"

    def _version(self) -> str:
        return f"{DEFINITION}/versions/1.0.{self._random.randint(1, 2)}"

    def _container(self) -> str:
        return f"{ACCOUNT}/blobServices/default/containers/{self._name('box')}"

    def _put(self, path: str, **properties: Any) -> None:
        self._send("PUT", path, {**WHERE, "properties": properties})

    # -- snapshots

    def do_snapshot(self) -> None:
        creation = {"createOption": "Copy", "sourceResourceId": self._any_disk()}
        self._put(self._snapshot(), creationData=creation, incremental=self._random.random() < 0.5)

    def do_delete_snapshot(self) -> None:
        self._send("DELETE", self._snapshot())

    def do_make_a_disk_of_a_snapshot(self) -> None:
        creation = {"createOption": "Copy", "sourceResourceId": self._snapshot()}
        self._put(self._disk_id(self._name("disk")), creationData=creation)

    # -- galleries

    def do_make_a_gallery(self) -> None:
        self._put(f"{COMPUTE}/galleries/gallery1")

    def do_delete_a_gallery(self) -> None:
        self._send("DELETE", f"{COMPUTE}/galleries/gallery1")

    def do_define(self) -> None:
        self._put(DEFINITION, **KIND)

    def do_delete_a_definition(self) -> None:
        self._send("DELETE", DEFINITION)

    def do_publish(self) -> None:
        source = self._random.choice([f"{COMPUTE}/images/{self._name('image')}", self._vm()])
        self._put(self._version(), storageProfile={"source": {"id": source}}, publishingProfile={})

    def do_delete_a_version(self) -> None:
        self._send("DELETE", self._version())

    def do_make_a_machine_of_a_version(self) -> None:
        nic = type("", (), {"id": f"{NETWORK}/networkInterfaces/{self._name('nic')}"})
        body = self._body(type("", (), {"id": DEFINITION}), nic)
        if self._random.random() < 0.5:
            body["properties"]["availabilitySet"] = {"id": SET}
        self._send("PUT", self._vm(), body)

    # -- sets and rules

    def do_make_a_set(self) -> None:
        self._send("PUT", SET, {**WHERE, "sku": {"name": "Aligned"}, "properties": {}})

    def do_delete_a_set(self) -> None:
        self._send("DELETE", SET)

    def do_make_rules(self) -> None:
        self._put(RULES)

    def do_delete_rules(self) -> None:
        self._send("DELETE", RULES)

    def do_make_an_interface_with_rules(self) -> None:
        subnet = {"id": f"{NETWORK}/virtualNetworks/vnet1/subnets/default"}
        configurations = [{"name": "ipconfig1", "properties": {"subnet": subnet}}]
        path = f"{NETWORK}/networkInterfaces/{self._name('nic')}"
        self._put(path, networkSecurityGroup={"id": RULES}, ipConfigurations=configurations)

    # -- storage

    def do_make_an_account(self) -> None:
        self._send("PUT", ACCOUNT, {**WHERE, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"})

    def do_delete_an_account(self) -> None:
        self._send("DELETE", ACCOUNT)

    def do_make_a_container(self) -> None:
        metadata = {"number": str(self._random.random())}
        self._send("PUT", self._container(), {"properties": {"metadata": metadata}})

    def do_delete_a_container(self) -> None:
        self._send("DELETE", self._container())

    # -- moves

    def do_move(self) -> None:
        what = self._random.choice(
            [self._disk_id(self._name("disk")), f"{COMPUTE}/images/image2", self._snapshot(), ACCOUNT]
        )
        groups = [GROUP, OTHER]
        self._random.shuffle(groups)
        resources = [what.replace(GROUP, groups[0])]
        body = {"resources": resources, "targetResourceGroup": groups[1]}
        self._send("POST", f"{groups[0]}/moveResources", body)


def slow_down(host: Any, seed: int) -> None:
    """Starting, stopping and folding take a moment."""
    chance = random.Random(seed)
    for name in ("start", "stop", "fold"):
        setattr(host, name, _late(getattr(host, name), chance))


def _late(real: Any, chance: random.Random) -> Any:
    def late(*given: Any, **named: Any) -> Any:
        time.sleep(chance.random() * 0.01)
        return real(*given, **named)

    return late


@pytest.mark.parametrize("seed", range(3))
def test_clients_at_once_leave_no_mixed_state(arm: Any, close_together: None, seed: int) -> None:
    arm.image()
    arm.nic("nic1")
    arm.resources.resource_groups.create_or_update("rg2", WHERE)
    slow_down(arm.host, seed)
    clients = [Client(arm, f"more {seed}/{number}") for number in range(CLIENTS)]
    threads = [threading.Thread(target=client.run, args=(REQUESTS,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    arm.plane.engine.operations.wait()
    assert [said for client in clients for said in client.unforeseen] == []
    assert failures(arm) == []
    assert violations(arm.plane, arm.store, arm.host) == []

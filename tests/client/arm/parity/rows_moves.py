"""Rules of moves between groups and subscriptions."""

from __future__ import annotations

import json
from typing import Any, Final

import requests

from tests.client.arm.parity.machines import settle
from tests.client.arm.parity.row import COMPUTE, GROUP, NETWORK, SUBSCRIPTION, Row, ask

TITLE: Final = "Moves"

API: Final = "2021-04-01"
WHERE: Final = {"location": "westeurope"}
TARGET: Final = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg2"
ADDRESS: Final = f"{NETWORK}/publicIPAddresses/ip1"
OTHER: Final = f"{NETWORK}/publicIPAddresses/ip2"
NIC: Final = f"{NETWORK}/networkInterfaces/vm1-nic"
VNET: Final = f"{NETWORK}/virtualNetworks/vnet1"
ALIAS: Final = "/providers/Microsoft.Subscription/aliases/dev"
DEPENDENT: Final = (
    "The move resources request does not contain all the dependent resources. Please check error details "
    "for missing resource ids."
)


def _move(arm: Any, *ids: str, target: str = TARGET) -> requests.Response:
    body = {"resources": list(ids), "targetResourceGroup": target}
    return ask(arm, "POST", f"{GROUP}/moveResources", body, api=API)


def _ended(arm: Any, accepted: requests.Response) -> requests.Response:
    assert accepted.status_code == 202, accepted.text
    settle(arm)
    return ask(arm, "GET", accepted.headers["Location"])


def _during_a_move(arm: Any, method: str, path: str, body: Any = None) -> requests.Response:
    """A request while `ip1` is being moved from rg to rg2: it is accepted, and its turn has not come."""
    assert ask(arm, "PUT", TARGET, WHERE, api=API).ok
    assert ask(arm, "PUT", ADDRESS, {**WHERE, "properties": {}}).ok
    settle(arm)
    moves = arm.plane._groups.moves
    submit, waiting = moves._submit, []
    moves._submit = lambda operation, asked: waiting.append((operation, asked))
    accepted = _move(arm, ADDRESS)
    answer = ask(arm, method, path, body)
    submit(*waiting[0])
    assert _ended(arm, accepted).status_code == 204
    return answer


def _elsewhere(arm: Any) -> str:
    """A group of another subscription; its id."""
    made = ask(arm, "PUT", ALIAS, {"properties": {}}, api="2021-10-01").json()["properties"]
    group = f"/subscriptions/{made['subscriptionId']}/resourceGroups/rg"
    assert ask(arm, "PUT", group, WHERE, api=API).ok
    return group


def _disk(vm: Any) -> str:
    return str(vm.storage_profile.os_disk.managed_disk.id)


def _abroad_alone(arm: Any) -> requests.Response:
    vm = arm.vm()
    return _move(arm, vm.id, target=_elsewhere(arm))


def _abroad_whole(arm: Any) -> requests.Response:
    vm, target = arm.vm(), _elsewhere(arm)
    assert _ended(arm, _move(arm, vm.id, _disk(vm), NIC, VNET, target=target)).status_code == 204
    moved = f"{target}/providers/Microsoft.Compute/virtualMachines/vm1"
    return ask(arm, "GET", moved)


def _disk_alone(arm: Any) -> requests.Response:
    vm = arm.vm()
    assert ask(arm, "PUT", TARGET, WHERE, api=API).ok
    return _move(arm, _disk(vm))


def _whole(arm: Any) -> requests.Response:
    vm = arm.vm()
    assert ask(arm, "PUT", TARGET, WHERE, api=API).ok
    return _ended(arm, _move(arm, vm.id, _disk(vm)))


def _old_id(arm: Any) -> requests.Response:
    _whole(arm)
    return ask(arm, "GET", f"{COMPUTE}/virtualMachines/vm1")


def _missing(reply: requests.Response) -> set[str]:
    """The types of what a refusal misses."""
    error = reply.json()["error"]
    inner = [json.loads(one["message"])["error"]["details"] for one in error["details"]]
    found = [detail for details in inner for detail in details]
    assert all(one["code"] == "MissingMoveDependentResources" for one in found)
    assert all(one["message"] == DEPENDENT for one in found)
    return {one["target"].split("/")[-2] for one in found}


def _nothing(arm: Any) -> requests.Response:
    assert ask(arm, "PUT", TARGET, WHERE, api=API).ok
    return _move(arm, f"{NETWORK}/publicIPAddresses/none")


ROWS: Final = (
    Row(
        "a write in the group that something is moved out of",
        "D",
        lambda arm: _during_a_move(arm, "PUT", OTHER, {**WHERE, "properties": {}}),
        409,
    ),
    Row(
        "a write in the group that something is moved into",
        "D",
        lambda arm: _during_a_move(arm, "PUT", OTHER.replace("/rg/", "/rg2/"), {**WHERE, "properties": {}}),
        409,
    ),
    Row(
        "DELETE in the group that something is moved out of",
        "D",
        lambda arm: _during_a_move(arm, "DELETE", ADDRESS),
        409,
    ),
    Row(
        "GET of what is being moved",
        "D",
        lambda arm: _during_a_move(arm, "GET", ADDRESS),
        200,
    ),
    Row("a VM is moved with its managed disk", "D", _whole, 204),
    Row("a VM that was moved, at its old id", "D", _old_id, 404, "ResourceNotFound"),
    Row(
        "a managed disk is to be moved without its VM",
        "DI",
        _disk_alone,
        409,
        "ResourceMoveProviderValidationFailed",
        "Resource move validation failed. Please see details. Diagnostic information: ...",
        holds=lambda reply: _missing(reply) == {"virtualMachines"},
    ),
    Row(
        "a VM is to be moved to another subscription without its disk and its interface",
        "DI",
        _abroad_alone,
        409,
        "ResourceMoveProviderValidationFailed",
        "Resource move validation failed. Please see details. Diagnostic information: ...",
        holds=lambda reply: _missing(reply) == {"disks", "networkInterfaces"},
    ),
    Row(
        "a VM is moved to another subscription with all that it depends on",
        "D",
        _abroad_whole,
        200,
        holds=lambda reply: reply.json()["properties"]["provisioningState"] == "Succeeded",
    ),
    Row("a move of what is not there", "R", _nothing, 404, "ResourceNotFound"),
)

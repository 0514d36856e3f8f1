"""Rules of subscriptions, groups, locks, tags and moves."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

import requests

from tests.client.arm.parity.row import GROUP, NETWORK, STORAGE, SUBSCRIPTION, Row, ask

TITLE: Final = "Subscriptions, groups, locks, tags and moves"

_ROOT: Final = f"/subscriptions/{SUBSCRIPTION}"
_ADDRESS: Final = f"{NETWORK}/publicIPAddresses/ip1"
_ACCOUNT: Final = f"{STORAGE}/storageAccounts/account1"
_TARGET: Final = f"{_ROOT}/resourceGroups/rg2"
_LOCK: Final = "providers/Microsoft.Authorization/locks/l1"
_TAGS: Final = "providers/Microsoft.Resources/tags/default"
_BODY: Final = {"location": "westeurope", "properties": {}}

Send = Callable[[Any], requests.Response]


def _address(arm: Any, location: str = "westeurope") -> None:
    body = {"location": location, "properties": {}}
    arm.network.public_ip_addresses.begin_create_or_update("rg", "ip1", body).result()


def _locked(level: str, method: str, path: str, body: Any = None) -> Send:
    """A request on something in a group that is locked."""

    def send(arm: Any) -> requests.Response:
        _address(arm)
        account = {"sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "location": "westeurope"}
        arm.storage.storage_accounts.begin_create("rg", "account1", account).result()
        ask(arm, "PUT", f"{GROUP}/{_LOCK}", {"properties": {"level": level}}, api="2020-05-01")
        return ask(arm, method, path, body)

    return send


def _group_of_a_locked_resource(arm: Any) -> requests.Response:
    _address(arm)
    lock = {"properties": {"level": "CanNotDelete"}}
    ask(arm, "PUT", f"{_ADDRESS}/{_LOCK}", lock, api="2020-05-01")
    return ask(arm, "DELETE", GROUP)


def _twice_locked(method: str, path: str, body: Any = None) -> Send:
    """A request on a resource with a CanNotDelete lock, in a group with a ReadOnly one."""

    def send(arm: Any) -> requests.Response:
        _address(arm)
        for scope, level in ((_ADDRESS, "CanNotDelete"), (GROUP, "ReadOnly")):
            ask(arm, "PUT", f"{scope}/{_LOCK}", {"properties": {"level": level}}, api="2020-05-01")
        return ask(arm, method, path, body)

    return send


def _unlocked(arm: Any) -> requests.Response:
    _locked("CanNotDelete", "DELETE", f"{GROUP}/{_LOCK}?api-version=2020-05-01")(arm)
    return ask(arm, "DELETE", _ADDRESS)


def _move_of_what_is_locked(arm: Any) -> requests.Response:
    _locked("ReadOnly", "GET", GROUP)(arm)
    return _move(arm, _ADDRESS)


def _tags(method: str, body: Any = None) -> Send:
    """A request on a group's tags, which are a=1 and b=2 before."""

    def send(arm: Any) -> requests.Response:
        tags = {"properties": {"tags": {"a": "1", "b": "2"}}}
        ask(arm, "PUT", f"{GROUP}/{_TAGS}", tags, api="2021-04-01")
        return ask(arm, method, f"{GROUP}/{_TAGS}", body, api="2021-04-01")

    return send


def _patch(operation: str, **tags: str) -> Send:
    return _tags("PATCH", {"operation": operation, "properties": {"tags": tags}})


def _has_tags(**tags: str) -> Callable[[requests.Response], bool]:
    return lambda reply: bool(reply.json()["properties"]["tags"] == tags)


def _wrong_tag(name: str, value: str = "") -> Send:
    return _tags("PUT", {"properties": {"tags": {name: value}}})


def _move(arm: Any, *ids: str, action: str = "moveResources") -> requests.Response:
    arm.resources.resource_groups.create_or_update("rg2", {"location": "westeurope"})
    body = {"resources": ids, "targetResourceGroup": _TARGET}
    return ask(arm, "POST", f"{GROUP}/{action}", body, api="2021-04-01")


def _accepted_move(arm: Any) -> requests.Response:
    _address(arm)
    return _move(arm, _ADDRESS)


def _ended(action: str) -> Send:
    def send(arm: Any) -> requests.Response:
        _address(arm)
        accepted = _move(arm, _ADDRESS, action=action)
        while (found := ask(arm, "GET", accepted.headers["Location"])).status_code == 202:
            pass
        return found

    return send


def _move_of_a_vm_alone(arm: Any) -> requests.Response:
    return _move(arm, arm.vm().id)


def _names_the_disk(reply: requests.Response) -> bool:
    detail = reply.json()["error"]["details"][0]
    inner = json.loads(detail["message"])["error"]["details"][0]
    return (
        detail["target"] == "Microsoft.Compute/virtualMachines"
        and inner["code"] == "MissingMoveDependentResources"
        and "/disks/" in inner["target"]
        and inner["message"]
        == "The move resources request does not contain all the dependent resources. Please "
        "check error details for missing resource ids."
    )


def _other_region(arm: Any) -> requests.Response:
    _address(arm)
    return ask(arm, "PUT", _ADDRESS, {**_BODY, "location": "eastus"})


def _group_elsewhere(arm: Any) -> requests.Response:
    return ask(arm, "PUT", GROUP, {"location": "eastus"})


def _absent_subscription(arm: Any) -> requests.Response:
    return ask(arm, "GET", "/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups")


def _first_page(arm: Any) -> requests.Response:
    for number in range(3):
        arm.resources.resource_groups.create_or_update(f"page{number}", {"location": "westeurope"})
        body = {"location": "westeurope", "properties": {}}
        arm.network.public_ip_addresses.begin_create_or_update(f"page{number}", "ip1", body).result()
    return ask(arm, "GET", f"{_ROOT}/resources?$top=2", api="2021-04-01")


def _register(arm: Any) -> requests.Response:
    return ask(arm, "POST", f"{_ROOT}/providers/Microsoft.Network/register", api="2021-04-01")


def _describes_types(reply: requests.Response) -> bool:
    found = reply.json()
    return (
        found["namespace"] == "Microsoft.Network"
        and found["registrationState"] == "Registered"
        and all({"resourceType", "locations", "apiVersions"} <= set(one) for one in found["resourceTypes"])
    )


def _two_and_a_link(reply: requests.Response) -> bool:
    found = reply.json()
    return len(found["value"]) == 2 and "$skiptoken=" in unquote(found["nextLink"])


ROWS: Final = (
    Row(
        "DELETE of a resource in a group with a CanNotDelete lock",
        "I",
        _locked("CanNotDelete", "DELETE", _ADDRESS),
        409,
        "ScopeLocked",
        f"The scope '{_ADDRESS}' cannot perform delete operation because following scope(s) are locked: "
        f"'{GROUP}'. Please remove the lock and try again.",
    ),
    Row(
        "PUT of a resource in a group with a CanNotDelete lock",
        "D",
        _locked("CanNotDelete", "PUT", _ADDRESS, _BODY),
        200,
    ),
    Row(
        "PUT of a resource in a group with a ReadOnly lock",
        "I",
        _locked("ReadOnly", "PUT", _ADDRESS, _BODY),
        409,
        "ScopeLocked",
        f"The scope '{_ADDRESS}' cannot perform write operation because following scope(s) are locked: "
        f"'{GROUP}'. Please remove the lock and try again.",
    ),
    Row(
        "listKeys in a group with a ReadOnly lock",
        "I",
        _locked("ReadOnly", "POST", f"{_ACCOUNT}/listKeys"),
        409,
        "ScopeLocked",
        "The scope '...' cannot perform write operation because following scope(s) are locked: ...",
    ),
    Row("GET in a group with a ReadOnly lock", "D", _locked("ReadOnly", "GET", _ACCOUNT), 200),
    Row(
        "DELETE of a group in which a resource is locked",
        "D",
        _group_of_a_locked_resource,
        409,
        "ScopeLocked",
        f"The scope '{GROUP}' cannot perform delete operation because following scope(s) are locked: "
        f"'{_ADDRESS}'. Please remove the lock and try again.",
    ),
    Row(
        "DELETE where a resource is locked against deletion and its group against writes",
        "D",
        _twice_locked("DELETE", _ADDRESS),
        409,
        "ScopeLocked",
        f"The scope '{_ADDRESS}' cannot perform delete operation because following scope(s) are locked: "
        "'...'. Please remove the lock and try again.",
        holds=lambda reply: f"'{GROUP}" in reply.text and f"{_ADDRESS}'" in reply.text,
    ),
    Row("DELETE once the lock is gone", "D", _unlocked, 202),
    Row("a move out of a group with a ReadOnly lock", "D", _move_of_what_is_locked, 409, "ScopeLocked"),
    Row(
        "PATCH of the tags of a resource in a group with a ReadOnly lock",
        "D",
        _locked("ReadOnly", "PATCH", _ADDRESS, {"tags": {"a": "b"}}),
        409,
        "ScopeLocked",
    ),
    Row("tags: Merge", "R", _patch("Merge", b="3", c="4"), 200, holds=_has_tags(a="1", b="3", c="4")),
    Row("tags: Replace", "R", _patch("Replace", c="4"), 200, holds=_has_tags(c="4")),
    Row("tags: Delete", "R", _patch("Delete", a="1"), 200, holds=_has_tags(b="2")),
    Row(
        "tags: PUT replaces them all",
        "R",
        _tags("PUT", {"properties": {"tags": {"x": "y"}}}),
        200,
        holds=_has_tags(x="y"),
    ),
    Row(
        "a tag's name with a reserved character",
        "I",
        _wrong_tag("a/b"),
        400,
        "InvalidTagNameCharacters",
        "The tag names 'a/b' have reserved characters '<,>,%,&,\\,?,/' or control characters.",
    ),
    Row("a tag's name of more than 512 characters", "D", _wrong_tag("n" * 513), 400, "InvalidTagName"),
    Row("a tag's value of more than 256 characters", "D", _wrong_tag("n", "v" * 257), 400),
    Row(
        "moveResources is accepted", "R", _accepted_move, 202, holds=lambda reply: "Location" in reply.headers
    ),
    Row("moveResources has ended", "R", _ended("moveResources"), 204),
    Row("validateMoveResources has ended", "R", _ended("validateMoveResources"), 204),
    Row(
        "a VM is to be moved without its managed disk",
        "I",
        _move_of_a_vm_alone,
        409,
        "ResourceMoveProviderValidationFailed",
        "Resource move validation failed. Please see details. Diagnostic information: ...",
        holds=_names_the_disk,
    ),
    Row(
        "a resource of that name lies in another region",
        "I",
        _other_region,
        409,
        "InvalidResourceLocation",
        "The resource 'ip1' already exists in location 'westeurope' in resource group 'rg'. A resource with "
        "the same name cannot be created in location 'eastus'. Please select a new resource name.",
    ),
    Row(
        "a group of that name lies in another region",
        "I",
        _group_elsewhere,
        409,
        "InvalidResourceGroupLocation",
        "Invalid resource group location 'eastus'. The Resource group already exists in location 'w...'.",
    ),
    Row("a subscription that is not there", "I", _absent_subscription, 404, "SubscriptionNotFound"),
    Row("a page of a list and the link to the next", "R", _first_page, 200, holds=_two_and_a_link),
    Row("register of a provider", "R", _register, 200, holds=_describes_types),
)

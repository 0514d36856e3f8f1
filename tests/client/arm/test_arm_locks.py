"""Locks keep what they should, and only that."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client.arm.parity.row import GROUP, NETWORK, STORAGE, SUBSCRIPTION, ask

API = "2020-05-01"
LOCKS = "providers/Microsoft.Authorization/locks"
ADDRESS = f"{NETWORK}/publicIPAddresses/ip1"
BODY = {"location": "westeurope", "properties": {}}


def lock(arm: Any, scope: str, name: str = "l1", level: str = "CanNotDelete") -> Any:
    body = {"properties": {"level": level, "notes": "mine"}}
    return ask(arm, "PUT", f"{scope}/{LOCKS}/{name}", body, api=API)


def address(arm: Any) -> None:
    arm.network.public_ip_addresses.begin_create_or_update("rg", "ip1", BODY).result()


def test_a_lock_lives_its_life(arm: Any) -> None:
    address(arm)
    made = lock(arm, ADDRESS)
    assert made.status_code == 201
    id = f"{ADDRESS}/{LOCKS}/l1"
    document = {
        "id": id,
        "type": "Microsoft.Authorization/locks",
        "name": "l1",
        "properties": {"level": "CanNotDelete", "notes": "mine"},
    }
    assert made.json() == document
    assert ask(arm, "GET", id, api=API).json() == document
    assert lock(arm, ADDRESS, level="ReadOnly").status_code == 200
    assert ask(arm, "DELETE", id, api=API).status_code == 200
    assert ask(arm, "DELETE", id, api=API).status_code == 204
    assert ask(arm, "GET", id, api=API).json()["error"]["code"] == "LockNotFound"


def test_locks_are_listed_at_and_below_a_scope_and_above_with_a_filter(arm: Any) -> None:
    address(arm)
    lock(arm, f"/subscriptions/{SUBSCRIPTION}", "top")
    lock(arm, GROUP, "middle")
    lock(arm, ADDRESS, "low")

    def names(scope: str, query: str = "") -> list[str]:
        found = ask(arm, "GET", f"{scope}/{LOCKS}{query}", api=API).json()["value"]
        return sorted(one["name"] for one in found)

    assert names(f"/subscriptions/{SUBSCRIPTION}") == ["low", "middle", "top"]
    assert names(GROUP) == ["low", "middle"]
    assert names(ADDRESS) == ["low"]
    assert names(GROUP, "?$filter=atScope()") == ["middle", "top"]


@pytest.mark.parametrize("scope", [f"/subscriptions/{SUBSCRIPTION}", GROUP, ADDRESS])
def test_cannot_delete_is_inherited_and_lets_writes_through(arm: Any, scope: str) -> None:
    address(arm)
    lock(arm, scope)
    refused = ask(arm, "DELETE", ADDRESS)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "ScopeLocked")
    assert f"are locked: '{scope}'." in refused.json()["error"]["message"]
    assert refused.headers["x-ms-failure-cause"] == "gateway"
    assert ask(arm, "PUT", ADDRESS, {**BODY, "tags": {"a": "b"}}).status_code == 200


def test_read_only_blocks_writes_and_posts_but_no_reads(arm: Any) -> None:
    account = {"sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "location": "westeurope"}
    arm.storage.storage_accounts.begin_create("rg", "account1", account).result()
    lock(arm, GROUP, level="ReadOnly")
    codes = [
        ask(arm, method, path, body).json()["error"]["code"]
        for method, path, body in (
            ("POST", f"{STORAGE}/storageAccounts/account1/listKeys", None),
            ("PUT", ADDRESS, BODY),
            ("PATCH", GROUP, {"tags": {}}),
            ("DELETE", GROUP, None),
            ("DELETE", f"{STORAGE}/storageAccounts/account1", None),
            ("PUT", f"{GROUP}/providers/Microsoft.Resources/deployments/d", {"properties": {}}),
        )
    ]
    assert codes == ["ScopeLocked"] * 6
    assert ask(arm, "GET", f"{STORAGE}/storageAccounts/account1").status_code == 200


def test_a_group_with_a_locked_resource_stays_as_it_is(arm: Any) -> None:
    address(arm)
    lock(arm, ADDRESS)
    refused = ask(arm, "DELETE", GROUP, api="2024-11-01").json()["error"]
    assert refused["code"] == "ScopeLocked" and ADDRESS in refused["message"]
    assert ask(arm, "GET", GROUP).json()["properties"]["provisioningState"] == "Succeeded"
    ask(arm, "DELETE", f"{ADDRESS}/{LOCKS}/l1", api=API)
    arm.resources.resource_groups.begin_delete("rg").result()


def test_a_lock_wants_a_level_and_a_scope_that_is_there(arm: Any) -> None:
    bad = ask(arm, "PUT", f"{GROUP}/{LOCKS}/l1", {"properties": {"level": "Forever"}}, api=API)
    assert bad.json()["error"]["code"] == "InvalidParameter"
    assert lock(arm, ADDRESS).json()["error"]["code"] == "ResourceNotFound"
    assert lock(arm, f"/subscriptions/{SUBSCRIPTION}/resourceGroups/no").status_code == 404


def test_locks_are_no_resources_of_lists_and_exports(arm: Any) -> None:
    address(arm)
    lock(arm, ADDRESS)
    listed = ask(arm, "GET", f"{GROUP}/resources", api="2021-04-01").json()["value"]
    assert [one["name"] for one in listed] == ["ip1"]
    template = ask(arm, "POST", f"{GROUP}/exportTemplate", {"resources": ["*"]}, api="2021-04-01").json()
    assert [one["type"] for one in template["template"]["resources"]] == [
        "Microsoft.Network/publicIPAddresses"
    ]

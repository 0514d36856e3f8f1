"""Storage accounts with their Blob service and containers in templates, what-if and export."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.client.arm.parity.row import GROUP, ask
from tests.client.arm.test_arm_containers import BODY, account, create

__all__ = ("account",)  # a fixture


def template(*resources: Any) -> dict[str, Any]:
    return {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "resources": list(resources),
    }


DECLARED = {
    "type": "Microsoft.Storage/storageAccounts",
    "apiVersion": "2023-01-01",
    "name": "account2",
    **BODY,
}
CONTAINER = "Microsoft.Storage/storageAccounts/blobServices/containers"
FLAT = (
    DECLARED,
    {
        "type": "Microsoft.Storage/storageAccounts/blobServices",
        "apiVersion": "2023-01-01",
        "name": "account2/default",
        "dependsOn": ["[resourceId('Microsoft.Storage/storageAccounts', 'account2')]"],
        "properties": {"deleteRetentionPolicy": {"enabled": True, "days": 7}},
    },
    {
        "type": CONTAINER,
        "apiVersion": "2023-01-01",
        "name": "account2/default/vhds",
        "dependsOn": ["[resourceId('Microsoft.Storage/storageAccounts', 'account2')]"],
        "properties": {"publicAccess": "None", "metadata": {"a": "b"}},
    },
)
NESTED = (
    {
        **DECLARED,
        "resources": [
            {
                "type": "blobServices/containers",
                "apiVersion": "2023-01-01",
                "name": "default/vhds",
                "dependsOn": ["account2"],
                "properties": {"metadata": {"a": "b"}},
            },
        ],
    },
)


def deploy(arm: Any, body: dict[str, Any], name: str = "d1") -> dict[str, Any]:
    path = f"{GROUP}/providers/Microsoft.Resources/deployments/{name}"
    properties = {"mode": "Incremental", "template": body}
    reply = ask(arm, "PUT", path, {"properties": properties}, api="2021-04-01")
    assert reply.status_code == 201, reply.text
    end = time.monotonic() + 60
    while True:
        found: dict[str, Any] = ask(arm, "GET", path, api="2021-04-01").json()["properties"]
        if found["provisioningState"] not in ("Accepted", "Running"):
            return found
        assert time.monotonic() < end, found
        arm.plane.engine.operations.wait()


@pytest.mark.parametrize("resources", [FLAT, NESTED], ids=["flat", "nested"])
def test_a_template_makes_an_account_with_its_container(arm: Any, resources: Any) -> None:
    done = deploy(arm, template(*resources))
    assert done["provisioningState"] == "Succeeded", done
    assert arm.store.get_container("account2", "vhds").metadata == {"a": "b"}
    again = deploy(arm, template(*resources), "d2")
    assert again["provisioningState"] == "Succeeded", again


def test_a_template_makes_nothing_when_it_asks_for_what_a_container_cannot_be(arm: Any) -> None:
    wrong = {**FLAT[2], "properties": {"immutableStorageWithVersioning": {"enabled": True}}}
    done = deploy(arm, template(DECLARED, wrong))
    assert (done["provisioningState"], done["error"]["code"]) == ("Failed", "InvalidTemplateDeployment")
    assert done["error"]["details"][0]["code"] == "NotSupportedByStamp"
    assert arm.store.find_account("account2") is None


def test_what_if_tells_containers_that_are_there_from_new_ones(arm: Any) -> None:
    deploy(arm, template(*FLAT))
    changed = {**FLAT[2], "properties": {"metadata": {"a": "c"}}}
    new = {**FLAT[2], "name": "account2/default/other"}
    path = f"{GROUP}/providers/Microsoft.Resources/deployments/d1/whatIf"
    properties = {"mode": "Incremental", "template": template(*FLAT[:2], changed, new)}
    first = ask(arm, "POST", path, {"properties": properties}, api="2021-04-01")
    arm.plane.engine.operations.wait()
    found = ask(arm, "GET", first.headers["Location"], api="2021-04-01").json()["properties"]["changes"]
    kinds = {one["resourceId"].split("/Microsoft.Storage/")[1]: one["changeType"] for one in found}
    assert kinds == {
        "storageAccounts/account2": "NoChange",
        "storageAccounts/account2/blobServices/default": "NoChange",
        "storageAccounts/account2/blobServices/default/containers/vhds": "Modify",
        "storageAccounts/account2/blobServices/default/containers/other": "Create",
    }


def test_an_exported_group_makes_its_containers_anew(account: Any) -> None:
    create(account, metadata={"a": "b"})
    body = {"resources": ["*"], "options": "SkipAllParameterization"}
    exported = ask(account, "POST", f"{GROUP}/exportTemplate", body, api="2021-04-01").json()["template"]
    account.storage.storage_accounts.delete("rg", "account1")
    done = deploy(account, exported)
    assert done["provisioningState"] == "Succeeded", done
    assert account.store.get_container("account1", "vhds").metadata == {"a": "b"}

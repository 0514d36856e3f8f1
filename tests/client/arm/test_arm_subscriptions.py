"""Several subscriptions and tenants in one stamp."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client.arm.parity.row import SUBSCRIPTION, ask
from vmstamp.arm.control_plane import ControlPlane
from vmstamp.arm.types import Request
from vmstamp.errors import AzureError

API = "2021-10-01"
ALIASES = "/providers/Microsoft.Subscription/aliases"
OTHER_TENANT = "0f0f0f0f-1111-2222-3333-444444444444"


def create(arm: Any, name: str, **more: str) -> str:
    body = {"properties": {"displayName": name, "workload": "Production", "additionalProperties": more}}
    made = ask(arm, "PUT", f"{ALIASES}/{name}", body, api=API)
    assert made.status_code == 201, made.text
    return str(made.json()["properties"]["subscriptionId"])


def act(arm: Any, subscription: str, action: str, body: Any = None) -> Any:
    return ask(
        arm, "POST", f"/subscriptions/{subscription}/providers/Microsoft.Subscription/{action}", body, api=API
    )


def test_a_subscription_is_made_by_its_alias_and_listed(arm: Any) -> None:
    made = create(arm, "dev")
    listed = ask(arm, "GET", "/subscriptions").json()["value"]
    assert [(one["subscriptionId"], one["displayName"]) for one in listed] == [
        (SUBSCRIPTION, "vmstamp"),
        (made, "dev"),
    ]
    assert ask(arm, "PUT", f"{ALIASES}/dev", {"properties": {}}, api=API).status_code == 200
    assert ask(arm, "GET", f"/subscriptions/{made}").json()["state"] == "Enabled"
    assert [one["name"] for one in ask(arm, "GET", ALIASES, api=API).json()["value"]] == ["dev"]
    assert ask(arm, "DELETE", f"{ALIASES}/dev", api=API).status_code == 200
    assert ask(arm, "GET", f"/subscriptions/{made}").status_code == 200


def test_groups_and_resources_are_of_their_subscription(arm: Any) -> None:
    other = create(arm, "dev")
    group = f"/subscriptions/{other}/resourceGroups/rg"
    assert ask(arm, "PUT", group, {"location": "westeurope"}).status_code == 201
    address = f"{group}/providers/Microsoft.Network/publicIPAddresses/ip1"
    made = ask(arm, "PUT", address, {"location": "westeurope", "properties": {}})
    assert made.status_code == 201
    assert f"/subscriptions/{other}/" in made.headers["Azure-AsyncOperation"]
    while ask(arm, "GET", made.headers["Azure-AsyncOperation"]).json()["status"] == "InProgress":
        pass
    assert ask(arm, "GET", address).json()["properties"]["provisioningState"] == "Succeeded"
    below = "providers/Microsoft.Network/publicIPAddresses"
    counts = [
        len(ask(arm, "GET", f"/subscriptions/{one}/{below}").json()["value"]) for one in (SUBSCRIPTION, other)
    ]
    assert counts == [0, 1]
    listed = ask(arm, "GET", f"/subscriptions/{SUBSCRIPTION}/resources").json()["value"]
    assert listed == []


def test_names_of_storage_accounts_are_global(arm: Any) -> None:
    account = {"sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "location": "westeurope"}
    arm.storage.storage_accounts.begin_create("rg", "account1", account).result()
    other = create(arm, "dev")
    group = f"/subscriptions/{other}/resourceGroups/rg"
    ask(arm, "PUT", group, {"location": "westeurope"})
    refused = ask(arm, "PUT", f"{group}/providers/Microsoft.Storage/storageAccounts/account1", account)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "StorageAccountAlreadyTaken")


def test_a_cancelled_subscription_can_be_read_and_enabled_again(arm: Any) -> None:
    other = create(arm, "dev")
    group = f"/subscriptions/{other}/resourceGroups/rg"
    ask(arm, "PUT", group, {"location": "westeurope"})
    assert act(arm, other, "cancel").status_code == 400
    assert act(arm, other, "cancel?IgnoreResourceCheck=true").json() == {"subscriptionId": other}
    refused = ask(arm, "PUT", f"{group}2", {"location": "westeurope"}).json()["error"]
    assert refused["code"] == "ReadOnlyDisabledSubscription"
    assert ask(arm, "GET", group).status_code == 200
    act(arm, other, "enable")
    act(arm, other, "rename", {"subscriptionName": "test"})
    assert ask(arm, "GET", f"/subscriptions/{other}").json()["displayName"] == "test"
    assert ask(arm, "PUT", f"{group}2", {"location": "westeurope"}).status_code == 201


def test_an_empty_subscription_goes_when_it_is_cancelled_and_the_first_never(arm: Any) -> None:
    other = create(arm, "dev")
    act(arm, other, "cancel")
    gone = ask(arm, "GET", f"/subscriptions/{other}")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "SubscriptionNotFound")
    assert act(arm, SUBSCRIPTION, "cancel").json()["error"]["code"] == "NotSupportedByStamp"


def test_the_token_of_another_tenant_is_refused(arm: Any, plane: ControlPlane) -> None:
    other = create(arm, "foreign", subscriptionTenantId=OTHER_TENANT)
    tenants = [one["tenantId"] for one in ask(arm, "GET", "/tenants").json()["value"]]
    assert tenants[1:] == [OTHER_TENANT]
    path, query = f"/subscriptions/{other}/resourcegroups", {"api-version": "2024-11-01"}
    with pytest.raises(AzureError) as refused:
        plane.handle(Request("GET", path, query, tenant=tenants[0]))
    assert (refused.value.status, refused.value.code) == (401, "InvalidAuthenticationTokenTenant")
    assert plane.handle(Request("GET", path, query, tenant=OTHER_TENANT.upper())).status == 200
    mine = plane.handle(Request("GET", "/subscriptions", query, tenant=OTHER_TENANT))
    assert [one["subscriptionId"] for one in mine.body["value"]] == [other]

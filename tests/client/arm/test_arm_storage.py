"""Storage accounts through the official azure-mgmt-storage."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError

from tests.client.arm.parity.row import STORAGE, ask


def code_of(caught: Any) -> Any:
    return caught.value.error.code


ACCOUNT = {"sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "location": "westeurope"}


def create(arm: Any, name: str = "account1", **more: Any) -> Any:
    return arm.storage.storage_accounts.begin_create("rg", name, {**ACCOUNT, **more}).result()


def test_account_is_created_shown_and_deleted(arm: Any) -> None:
    made = create(arm, tags={"a": "b"})
    assert made.properties.primary_endpoints.blob == "http://127.0.0.1:10000/account1/"
    assert made.properties.provisioning_state == "Succeeded"
    assert create(arm).name == "account1"
    assert [a.name for a in arm.storage.storage_accounts.list()] == ["account1"]
    arm.storage.storage_accounts.delete("rg", "account1")
    assert list(arm.storage.storage_accounts.list_by_resource_group("rg")) == []
    assert arm.store.find_account("account1") is None


def test_the_blob_service_tells_what_the_account_is(arm: Any) -> None:
    create(arm, "account1", sku={"name": "Standard_GRS"}, kind="Storage")
    found = arm.store.get_account("account1")
    assert (found.sku, found.kind) == ("Standard_GRS", "Storage")


def test_keys_are_listed_and_one_is_made_anew(arm: Any) -> None:
    create(arm)
    before = {
        key.key_name: key.value
        for key in arm.storage.storage_accounts.list_keys("rg", "account1").keys_property
    }
    assert set(before) == {"key1", "key2"}
    answer = arm.storage.storage_accounts.regenerate_key("rg", "account1", {"keyName": "key2"})
    after = {key.key_name: key.value for key in answer.keys_property}
    assert after["key1"] == before["key1"] and after["key2"] != before["key2"]
    assert arm.store.get_account("account1").key2 == after["key2"]


def test_names_are_checked(arm: Any) -> None:
    create(arm)
    check = arm.storage.storage_accounts.check_name_availability
    assert check({"name": "account2", "type": "Microsoft.Storage/storageAccounts"}).name_available
    assert check({"name": "account1", "type": "Microsoft.Storage/storageAccounts"}).reason == "AlreadyExists"
    assert check({"name": "No!", "type": "Microsoft.Storage/storageAccounts"}).reason == "AccountNameInvalid"


@pytest.mark.parametrize(
    ("name", "more", "code"),
    [
        ("No_Good", {}, "AccountNameInvalid"),
        ("account2", {"sku": {}}, "InvalidParameter"),
        ("account2", {"kind": "FileStorage"}, "NotSupportedByStamp"),
        ("account2", {"properties": {"isHnsEnabled": True}}, "NotSupportedByStamp"),
        ("account2", {"properties": {"somethingNew": 1}}, "NotSupportedByStamp"),
        ("account1", {}, "StorageAccountAlreadyTaken"),
    ],
)
def test_wrong_account_is_refused(arm: Any, name: str, more: dict[str, Any], code: str) -> None:
    create(arm)
    arm.resources.resource_groups.create_or_update("other", {"location": "westeurope"})
    with pytest.raises(HttpResponseError) as caught:
        arm.storage.storage_accounts.begin_create("other", name, {**ACCOUNT, **more}).result()
    assert code_of(caught) == code


def test_account_stays_in_its_location(arm: Any) -> None:
    create(arm)
    with pytest.raises(HttpResponseError) as caught:
        create(arm, location="eastus")
    assert code_of(caught) == "InvalidResourceLocation"


def test_key_of_another_name_is_refused(arm: Any) -> None:
    create(arm)
    with pytest.raises(HttpResponseError) as caught:
        arm.storage.storage_accounts.regenerate_key("rg", "account1", {"keyName": "key3"})
    assert code_of(caught) == "InvalidParameter"


def test_an_account_of_2015_has_its_type_among_the_properties(arm: Any) -> None:
    """So az makes one for a VM whose disks are blobs."""
    body = {"location": "westeurope", "properties": {"accountType": "Premium_LRS"}}
    made = ask(arm, "PUT", f"{STORAGE}/storageAccounts/account1", body, api="2015-06-15")
    assert made.status_code == 202, made.text
    shown = arm.storage.storage_accounts.get_properties("rg", "account1")
    assert (shown.sku.name, shown.sku.tier, shown.kind) == ("Premium_LRS", "Premium", "Storage")


SIGNED = {
    "signedServices": "b",
    "signedResourceTypes": "o",
    "signedPermission": "r",
    "signedExpiry": "2099-01-01T00:00:00Z",
}
SIGNED_BLOB = {
    "canonicalizedResource": "/blob/account1/vhds/a.vhd",
    "signedResource": "b",
    "signedPermission": "r",
    "signedExpiry": "2099-01-01T00:00:00Z",
}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"signedServices": "f"}, "NotSupportedByStamp"),
        ({"signedServices": "x"}, "InvalidParameter"),
        ({"signedResourceTypes": "z"}, "InvalidParameter"),
        ({"signedPermission": ""}, "InvalidParameter"),
        ({"signedExpiry": "tomorrow"}, "InvalidParameter"),
        ({"keyToSign": "key3"}, "InvalidParameter"),
    ],
    ids=str,
)
def test_wrong_account_sas_is_refused(arm: Any, change: dict[str, Any], code: str) -> None:
    create(arm)
    with pytest.raises(HttpResponseError) as caught:
        arm.storage.storage_accounts.list_account_sas("rg", "account1", {**SIGNED, **change})
    assert code_of(caught) == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"signedResource": "f"}, "NotSupportedByStamp"),
        ({"canonicalizedResource": "/blob/other/vhds/a.vhd"}, "InvalidParameter"),
        ({"canonicalizedResource": "/blob/account1/vhds"}, "InvalidParameter"),
        ({"canonicalizedResource": "/file/account1/vhds/a.vhd"}, "InvalidParameter"),
        ({"signedExpiry": None}, "InvalidParameter"),
    ],
    ids=str,
)
def test_wrong_service_sas_is_refused(arm: Any, change: dict[str, Any], code: str) -> None:
    create(arm)
    with pytest.raises(HttpResponseError) as caught:
        arm.storage.storage_accounts.list_service_sas("rg", "account1", {**SIGNED_BLOB, **change})
    assert code_of(caught) == code


def test_a_sas_is_signed_with_the_key_that_is_asked_for(arm: Any) -> None:
    create(arm)
    accounts = arm.storage.storage_accounts
    first = accounts.list_account_sas("rg", "account1", SIGNED).account_sas_token
    second = accounts.list_account_sas("rg", "account1", {**SIGNED, "keyToSign": "key2"}).account_sas_token
    assert first != second
    accounts.regenerate_key("rg", "account1", {"keyName": "key1"})
    assert accounts.list_account_sas("rg", "account1", SIGNED).account_sas_token != first
    policy = {"signedIdentifier": "p1", "signedPermission": None, "signedExpiry": None}
    made = accounts.list_service_sas("rg", "account1", {**SIGNED_BLOB, **policy}).service_sas_token
    assert "&si=p1&" in made and "se=" not in made

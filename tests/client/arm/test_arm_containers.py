"""The Blob service of an account and its containers by ARM, through the official azure-mgmt-storage."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError

from tests.client.arm.parity.row import GROUP, STORAGE, SUBSCRIPTION, ask
from tests.client.arm.parity.rows_storage import at_the_blob_service, blob_machine
from vmstamp.blob import lease
from vmstamp.blob.records import CorsRule

ACCOUNT = f"{STORAGE}/storageAccounts/account1"
SERVICE = f"{ACCOUNT}/blobServices/default"
BODY = {"sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "location": "westeurope"}
RULE = {
    "allowedOrigins": ["http://www.contoso.com"],
    "allowedMethods": ["GET", "PUT"],
    "maxAgeInSeconds": 100,
    "exposedHeaders": ["x-ms-meta-*"],
    "allowedHeaders": ["x-ms-meta-abc"],
}


@pytest.fixture
def account(arm: Any) -> Any:
    """A control plane with a storage account: its clients of what lies in one."""
    arm.storage.storage_accounts.begin_create("rg", "account1", BODY).result()
    return arm


def create(arm: Any, name: str = "vhds", **properties: Any) -> Any:
    return arm.storage.blob_containers.create("rg", "account1", name, {"properties": properties})


def names(arm: Any, **options: Any) -> list[str]:
    return [one.name for one in arm.storage.blob_containers.list("rg", "account1", **options)]


def refusal(call: Any, *words: Any, **options: Any) -> tuple[int | None, str | None]:
    with pytest.raises(HttpResponseError) as caught:
        call(*words, **options)
    assert caught.value.error is not None
    return caught.value.status_code, caught.value.error.code


# -- containers


def test_a_container_of_arm_is_one_of_the_blob_service(account: Any) -> None:
    made = create(account, publicAccess="Blob", metadata={"key": "Value"})
    assert made.id == f"{SERVICE}/containers/vhds"
    assert made.type == "Microsoft.Storage/storageAccounts/blobServices/containers"
    found = account.store.get_container("account1", "vhds")
    assert (found.public_access, found.metadata) == ("blob", {"key": "Value"})
    listed = at_the_blob_service(account, "GET", "/account1/vhds?restype=container")
    assert listed.headers["x-ms-blob-public-access"] == "blob"


def test_a_container_of_the_blob_service_is_shown_by_arm(account: Any) -> None:
    account.store.create_container("account1", "data", metadata={"a": "b"}, public_access="container")
    shown = account.storage.blob_containers.get("rg", "account1", "data")
    stored = account.store.get_container("account1", "data")
    assert (shown.public_access, shown.metadata, shown.etag) == ("Container", {"a": "b"}, stored.etag)
    assert shown.last_modified_time == stored.last_modified.replace(microsecond=0)
    assert (shown.lease_state, shown.lease_status, shown.lease_duration) == ("Available", "Unlocked", None)
    assert names(account) == ["data"]


def test_a_put_again_keeps_what_it_does_not_name(account: Any) -> None:
    create(account, publicAccess="Blob", metadata={"a": "b"})
    before = account.store.get_container("account1", "vhds")
    again = ask(account, "PUT", f"{SERVICE}/containers/vhds", {})
    assert (again.status_code, again.headers["ETag"]) == (200, before.etag)
    changed = create(account, publicAccess="None")
    assert (changed.public_access, changed.metadata) == ("None", {"a": "b"})
    assert changed.etag != before.etag


def test_patch_changes_metadata_and_access(account: Any) -> None:
    create(account)
    update = account.storage.blob_containers.update
    body = {"properties": {"publicAccess": "Container", "metadata": {"metadata": "true"}}}
    assert update("rg", "account1", "vhds", body).metadata == {"metadata": "true"}
    assert account.store.get_container("account1", "vhds").public_access == "container"
    update("rg", "account1", "vhds", {"properties": {"metadata": {}}})
    assert account.store.get_container("account1", "vhds").metadata == {}
    assert refusal(update, "rg", "account1", "none", body) == (404, "ContainerNotFound")


def test_a_container_goes_with_its_blobs_once(account: Any) -> None:
    account.vhd("account1", "a.vhd")
    path = f"{SERVICE}/containers/vhds"
    assert ask(account, "DELETE", path).status_code == 200
    assert account.store.find_container("account1", "vhds") is None
    assert account.store.find_blob("account1", "vhds", "a.vhd") is None
    assert ask(account, "DELETE", path).status_code == 204
    assert ask(account, "HEAD", path).status_code == 404


def test_the_account_takes_its_containers_along(account: Any) -> None:
    create(account)
    account.storage.storage_accounts.delete("rg", "account1")
    assert account.store.find_container("account1", "vhds") is None
    get = account.storage.blob_containers.get
    assert refusal(get, "rg", "account1", "vhds") == (404, "ResourceNotFound")
    assert refusal(create, account) == (404, "ParentResourceNotFound")


def test_a_list_has_pages_and_takes_a_beginning(account: Any) -> None:
    for number in range(5):
        create(account, f"box{number}")
    create(account, "other")
    first = ask(account, "GET", f"{SERVICE}/containers?$maxpagesize=2").json()
    assert [one["name"] for one in first["value"]] == ["box0", "box1"]
    rest = ask(account, "GET", first["nextLink"]).json()
    assert [one["name"] for one in rest["value"]] == ["box2", "box3"]
    assert names(account, maxpagesize="4") == ["box0", "box1", "box2", "box3", "box4", "other"]
    assert names(account, filter="box", maxpagesize="2") == [f"box{number}" for number in range(5)]
    assert names(account, include="deleted", filter="oth") == ["other"]


@pytest.mark.parametrize("query", ["$maxpagesize=0", "$maxpagesize=x", "$include=blobs", "$top=1"])
def test_a_wrong_list_is_refused(account: Any, query: str) -> None:
    reply = ask(account, "GET", f"{SERVICE}/containers?{query}")
    assert (reply.status_code, reply.json()["error"]["target"]) == (400, query.split("=")[0])


@pytest.mark.parametrize(
    ("name", "properties", "status", "code"),
    [
        ("UPPER", {}, 400, "InvalidResourceName"),
        ("a", {}, 400, "OutOfRangeInput"),
        ("a--b", {}, 400, "InvalidResourceName"),
        ("vhds", {"publicAccess": "Everybody"}, 400, "InvalidParameter"),
        ("vhds", {"metadata": {"no-good": "x"}}, 400, "InvalidMetadata"),
        ("vhds", {"metadata": {"a": "two\nlines"}}, 400, "InvalidMetadata"),
        ("vhds", {"metadata": {"a": "1", "A": "2"}}, 400, "InvalidMetadata"),
        ("vhds", {"metadata": {"a": 1}}, 400, "InvalidRequestContent"),
        ("vhds", {"immutableStorageWithVersioning": {"enabled": True}}, 400, "NotSupportedByStamp"),
        ("vhds", {"defaultEncryptionScope": "mine"}, 400, "NotSupportedByStamp"),
        ("vhds", {"denyEncryptionScopeOverride": True}, 400, "NotSupportedByStamp"),
        ("vhds", {"enableNfsV3RootSquash": True}, 400, "NotSupportedByStamp"),
        ("vhds", {"somethingNew": 1}, 400, "NotSupportedByStamp"),
    ],
    ids=str,
)
def test_a_wrong_container_is_refused_and_not_made(
    account: Any, name: str, properties: dict[str, Any], status: int, code: str
) -> None:
    reply = ask(account, "PUT", f"{SERVICE}/containers/{name}", {"properties": properties})
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert names(account) == []


def test_a_lease_keeps_the_container(account: Any) -> None:
    create(account)
    step = account.storage.blob_containers.lease
    delete = account.storage.blob_containers.delete
    held = step("rg", "account1", "vhds", {"action": "Acquire", "leaseDuration": -1}).lease_id
    assert account.store.get_container("account1", "vhds").lease.id == held
    shown = account.storage.blob_containers.get("rg", "account1", "vhds")
    assert (shown.lease_state, shown.lease_status, shown.lease_duration) == ("Leased", "Locked", "Infinite")
    assert refusal(delete, "rg", "account1", "vhds") == (412, "LeaseIdMissing")
    other = "11111111-2222-3333-4444-555555555555"
    change = {"action": "Change", "leaseId": held, "proposedLeaseId": other}
    assert step("rg", "account1", "vhds", change).lease_id == other
    assert step("rg", "account1", "vhds", {"action": "Renew", "leaseId": other}).lease_id == other
    wrong = {"action": "Release", "leaseId": held}
    assert refusal(step, "rg", "account1", "vhds", wrong) == (409, "LeaseIdMismatchWithLeaseOperation")
    assert step("rg", "account1", "vhds", {"action": "Break"}).lease_time_seconds == "0"
    assert lease.state(account.store.get_container("account1", "vhds").lease, account.store.now()) == "broken"
    delete("rg", "account1", "vhds")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "InvalidParameter"),
        ({"action": "Steal"}, "InvalidParameter"),
        ({"action": "Acquire"}, "InvalidParameter"),
        ({"action": "Acquire", "leaseDuration": 7}, "InvalidHeaderValue"),
        ({"action": "Renew"}, "InvalidParameter"),
        ({"action": "Renew", "leaseId": "mine"}, "InvalidValuesForRequestParameters"),
    ],
    ids=str,
)
def test_a_wrong_step_of_a_lease_is_refused(account: Any, body: dict[str, Any], code: str) -> None:
    create(account)
    reply = ask(account, "POST", f"{SERVICE}/containers/vhds/lease", body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, code)
    assert account.store.get_container("account1", "vhds").lease is None


@pytest.mark.parametrize("action", ["setLegalHold", "clearLegalHold", "migrate", "nothing"])
def test_what_is_not_done_with_containers_is_refused_by_name(account: Any, action: str) -> None:
    create(account)
    reply = ask(account, "POST", f"{SERVICE}/containers/vhds/{action}", {})
    assert reply.status_code == 400 and f"'{action}'" in reply.json()["error"]["message"]


def test_the_disk_of_a_machine_keeps_its_container(arm: Any) -> None:
    blob_machine(arm)
    delete = arm.storage.blob_containers.delete
    assert refusal(delete, "rg", "account1", "vhds") == (412, "LeaseIdMissing")
    body = {
        "signedServices": "b",
        "signedResourceTypes": "sco",
        "signedPermission": "rd",
        "signedExpiry": "2099-01-01T00:00:00Z",
    }
    token = ask(arm, "POST", f"{ACCOUNT}/listAccountSas", body).json()["accountSasToken"]
    refused = at_the_blob_service(arm, "DELETE", f"/account1/vhds?restype=container&{token}")
    assert (refused.status_code, refused.headers["x-ms-error-code"]) == (412, "LeaseIdMissing")
    arm.compute.virtual_machines.begin_delete("rg", "vm1").result()
    delete("rg", "account1", "vhds")
    assert arm.store.find_container("account1", "vhds") is None


def test_an_account_without_public_access_permits_none(account: Any) -> None:
    create(account, "old", publicAccess="Blob")
    account.storage.storage_accounts.update(
        "rg", "account1", {"properties": {"allowBlobPublicAccess": False}}
    )
    account.plane.engine.operations.wait()
    with_access = {"properties": {"publicAccess": "Blob"}}
    made = account.storage.blob_containers.create
    assert refusal(made, "rg", "account1", "new", with_access) == (409, "PublicAccessNotPermitted")
    anonymous = at_the_blob_service(account, "GET", "/account1/old?restype=container")
    assert anonymous.status_code == 409
    assert anonymous.headers["x-ms-error-code"] == "PublicAccessNotPermitted"
    account.storage.storage_accounts.update("rg", "account1", {"properties": {"allowBlobPublicAccess": True}})
    account.plane.engine.operations.wait()
    assert at_the_blob_service(account, "GET", "/account1/old?restype=container").status_code == 200


# -- the service


def test_the_service_shows_and_sets_its_properties(account: Any) -> None:
    services = account.storage.blob_services
    fresh = services.get_service_properties("rg", "account1")
    assert (fresh.id, fresh.sku.name) == (SERVICE, "Standard_LRS")
    assert fresh.delete_retention_policy.enabled is False and fresh.cors.cors_rules == []
    body = {"cors": {"corsRules": [RULE]}, "deleteRetentionPolicy": {"enabled": True, "days": 30}}
    services.set_service_properties("rg", "account1", {"properties": body})
    kept = account.store.get_account("account1").properties
    rule = CorsRule(("http://www.contoso.com",), ("GET", "PUT"), ("x-ms-meta-abc",), ("x-ms-meta-*",), 100)
    assert (kept.cors, kept.retention_days) == ((rule,), 30)
    shown = services.get_service_properties("rg", "account1")
    assert shown.cors.cors_rules[0].as_dict() == RULE
    services.set_service_properties("rg", "account1", {"properties": {"isVersioningEnabled": False}})
    assert account.store.get_account("account1").properties == kept
    services.set_service_properties(
        "rg", "account1", {"properties": {"deleteRetentionPolicy": {"enabled": False}}}
    )
    assert account.store.get_account("account1").properties.retention_days == 0
    assert [one.name for one in services.list("rg", "account1")] == ["default"]


@pytest.mark.parametrize(
    ("properties", "code", "named"),
    [
        ({"isVersioningEnabled": True}, "NotSupportedByStamp", "isVersioningEnabled"),
        ({"changeFeed": {"enabled": True}}, "NotSupportedByStamp", "changeFeed.enabled"),
        ({"restorePolicy": {"enabled": True, "days": 3}}, "NotSupportedByStamp", "restorePolicy.enabled"),
        (
            {"containerDeleteRetentionPolicy": {"enabled": True, "days": 7}},
            "NotSupportedByStamp",
            "containerDeleteRetentionPolicy.enabled",
        ),
        ({"staticWebsite": {"enabled": True}}, "NotSupportedByStamp", "staticWebsite.enabled"),
        (
            {"lastAccessTimeTrackingPolicy": {"enable": True}},
            "NotSupportedByStamp",
            "lastAccessTimeTrackingPolicy.enable",
        ),
        (
            {"deleteRetentionPolicy": {"enabled": True, "days": 366}},
            "InvalidValuesForRequestParameters",
            "deleteRetentionPolicy.days",
        ),
        (
            {"deleteRetentionPolicy": {"enabled": True}},
            "InvalidValuesForRequestParameters",
            "deleteRetentionPolicy.days",
        ),
        (
            {"cors": {"corsRules": [RULE] * 6}},
            "InvalidValuesForRequestParameters",
            "cors.corsRules",
        ),
        (
            {"cors": {"corsRules": [{**RULE, "allowedOrigins": []}]}},
            "InvalidValuesForRequestParameters",
            "cors.corsRules.allowedOrigins",
        ),
    ],
    ids=str,
)
def test_what_the_service_does_not_do_is_refused_by_name(
    account: Any, properties: dict[str, Any], code: str, named: str
) -> None:
    before = account.store.get_account("account1").properties
    reply = ask(account, "PUT", SERVICE, {"properties": properties})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, code), reply.text
    assert named in reply.json()["error"]["message"]
    assert account.store.get_account("account1").properties == before


def test_there_is_one_blob_service(account: Any) -> None:
    assert ask(account, "GET", f"{ACCOUNT}/blobServices/other").status_code == 404
    assert ask(account, "GET", f"{ACCOUNT}/blobServices/other/containers").status_code == 404
    assert ask(account, "PUT", f"{ACCOUNT}/blobServices/other/containers/vhds", {}).status_code == 404
    assert ask(account, "DELETE", SERVICE).status_code == 405


@pytest.mark.parametrize(
    "kind",
    ["fileServices", "queueServices", "tableServices", "managementPolicies", "encryptionScopes"],
)
def test_other_services_are_refused_by_name(account: Any, kind: str) -> None:
    for method in ("GET", "PUT"):
        reply = ask(account, method, f"{ACCOUNT}/{kind}/default", {})
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "InvalidResourceType")
        assert f"storageAccounts/{kind}" in reply.json()["error"]["message"]


# -- as any resource


def test_a_lock_of_the_account_holds_for_its_containers(account: Any) -> None:
    create(account)
    lock = f"{ACCOUNT}/providers/Microsoft.Authorization/locks/l1"
    ask(account, "PUT", lock, {"properties": {"level": "CanNotDelete"}}, api="2020-05-01")
    delete = account.storage.blob_containers.delete
    assert refusal(delete, "rg", "account1", "vhds") == (409, "ScopeLocked")
    create(account, "more")
    ask(account, "PUT", lock, {"properties": {"level": "ReadOnly"}}, api="2020-05-01")
    assert refusal(create, account, "another") == (409, "ScopeLocked")
    assert names(account) == ["more", "vhds"]


def test_a_lock_of_a_container_is_refused_by_name(account: Any) -> None:
    create(account)
    lock = f"{SERVICE}/containers/vhds/providers/Microsoft.Authorization/locks/l1"
    reply = ask(account, "PUT", lock, {"properties": {"level": "CanNotDelete"}}, api="2020-05-01")
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "NotSupportedByStamp")


def test_containers_are_in_no_list_of_resources_but_in_the_provider(account: Any) -> None:
    create(account)
    listed = ask(account, "GET", f"{GROUP}/resources").json()["value"]
    assert [one["name"] for one in listed] == ["account1"]
    described = ask(account, "GET", f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Storage").json()
    kinds = {one["resourceType"] for one in described["resourceTypes"]}
    assert {"storageAccounts/blobServices", "storageAccounts/blobServices/containers"} <= kinds


def test_the_usage_of_a_region_counts_accounts(account: Any) -> None:
    found = {one.name.value: one for one in account.storage.usages.list_by_location("westeurope")}
    assert (found["StorageAccounts"].current_value, found["StorageAccounts"].unit) == (1, "Count")
    assert next(iter(account.storage.usages.list_by_location("eastus"))).current_value == 0

"""Rules of an account's Blob service and its containers, by ARM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import requests

from tests.client.arm.parity.row import Row, ask
from tests.client.arm.parity.rows_storage import ACCOUNT, BODY, blob_machine

TITLE: Final = "Blob services and containers"
SERVICE: Final = f"{ACCOUNT}/blobServices/default"
CONTAINER: Final = f"{SERVICE}/containers/vhds"
RULE: Final = {
    "allowedOrigins": ["*"],
    "allowedMethods": ["GET"],
    "maxAgeInSeconds": 2,
    "exposedHeaders": ["*"],
    "allowedHeaders": ["*"],
}


def _account(arm: Any, **properties: Any) -> None:
    ask(arm, "PUT", ACCOUNT, {**BODY, "properties": properties})
    arm.plane.engine.operations.wait()


def sent(method: str, path: str, body: Any = None) -> Callable[[Any], requests.Response]:
    """One request when there is an account."""

    def send(arm: Any) -> requests.Response:
        _account(arm)
        return ask(arm, method, path, body)

    return send


def made(method: str, path: str, body: Any = None) -> Callable[[Any], requests.Response]:
    """One request when there is a container too."""

    def send(arm: Any) -> requests.Response:
        _account(arm)
        ask(arm, "PUT", CONTAINER, {})
        return ask(arm, method, path, body)

    return send


def _leased(arm: Any, *steps: Any) -> requests.Response:
    """The answer to the last of some steps on a container's lease."""
    _account(arm)
    ask(arm, "PUT", CONTAINER, {})
    for step in steps:
        reply = ask(arm, "POST", f"{CONTAINER}/lease", step)
    return reply


def _delete_leased(arm: Any) -> requests.Response:
    _leased(arm, {"action": "Acquire", "leaseDuration": -1})
    return ask(arm, "DELETE", CONTAINER)


def _delete_with_a_disk(arm: Any) -> requests.Response:
    blob_machine(arm)
    return ask(arm, "DELETE", CONTAINER)


def _public(arm: Any) -> requests.Response:
    _account(arm, allowBlobPublicAccess=False)
    return ask(arm, "PUT", CONTAINER, {"properties": {"publicAccess": "Blob"}})


def _shown(reply: requests.Response) -> bool:
    found = reply.json()
    properties = found["properties"]
    return (
        (found["name"], found["type"])
        == ("vhds", "Microsoft.Storage/storageAccounts/blobServices/containers")
        and found["etag"] == reply.headers["ETag"]
        and properties["lastModifiedTime"].endswith(".0000000Z")
        and properties["legalHold"] == {"hasLegalHold": False, "tags": []}
        and {name: properties[name] for name in _FRESH} == _FRESH
    )


_FRESH: Final = {
    "deleted": False,
    "remainingRetentionDays": 0,
    "defaultEncryptionScope": "$account-encryption-key",
    "denyEncryptionScopeOverride": False,
    "publicAccess": "None",
    "leaseStatus": "Unlocked",
    "leaseState": "Available",
    "hasImmutabilityPolicy": False,
    "hasLegalHold": False,
}


ROWS: Final = (
    Row(
        "PUT of a container that is new",
        "R",
        sent("PUT", CONTAINER, {}),
        201,
        holds=lambda reply: reply.headers["ETag"].startswith('"0x') and reply.json()["name"] == "vhds",
    ),
    Row("PUT of a container that is there", "D", made("PUT", CONTAINER, {}), 200),
    Row("GET of a container", "R", made("GET", CONTAINER), 200, holds=_shown),
    Row(
        "PATCH of a container",
        "R",
        made(
            "PATCH",
            CONTAINER,
            {"properties": {"publicAccess": "Container", "metadata": {"metadata": "true"}}},
        ),
        200,
        holds=lambda reply: (
            reply.json()["properties"]["publicAccess"] == "Container"
            and reply.json()["properties"]["metadata"] == {"metadata": "true"}
        ),
    ),
    Row(
        "DELETE of a container answers at once, with nothing",
        "R",
        made("DELETE", CONTAINER),
        200,
        holds=lambda reply: reply.content == b"",
    ),
    Row("DELETE of a container that is not there", "D", sent("DELETE", CONTAINER), 204),
    Row(
        "PUT of a container in an account that is not there",
        "I",
        lambda arm: ask(arm, "PUT", CONTAINER, {}),
        404,
        "ParentResourceNotFound",
        "Failed to perform 'write' on resource(s) of type 'storageAccounts/blobServices/containers', because "
        f"the parent resource '{ACCOUNT}' could not be found.",
    ),
    Row(
        "GET of a container in an account that is not there",
        "R",
        lambda arm: ask(arm, "GET", CONTAINER),
        404,
        "ResourceNotFound",
        "The Resource 'Microsoft.Storage/storageAccounts/account1' under resource group 'rg' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix",
    ),
    Row(
        "a container with public access in an account that permits none",
        "I",
        _public,
        409,
        "PublicAccessNotPermitted",
        "Public access is not permitted on this storage account.",
    ),
    Row(
        "a lease on a container is acquired",
        "R",
        lambda arm: _leased(arm, {"action": "Acquire", "leaseDuration": -1}),
        200,
        holds=lambda reply: reply.json().keys() == {"leaseId"},
    ),
    Row(
        "a lease on a container is broken",
        "R",
        lambda arm: _leased(arm, {"action": "Acquire", "leaseDuration": -1}, {"action": "Break"}),
        200,
        holds=lambda reply: reply.json() == {"leaseTimeSeconds": "0"},
    ),
    Row(
        "DELETE of a container that is leased",
        "D",
        _delete_leased,
        412,
        "LeaseIdMissing",
        "There is currently a lease on the container and no lease ID was specified in the request.",
    ),
    Row(
        "DELETE of a container that has the disk of a VM",
        "D",
        _delete_with_a_disk,
        412,
        "LeaseIdMissing",
        "There is currently a lease on the container and no lease ID was specified in the request.",
    ),
    Row(
        "GET of an account's Blob service",
        "R",
        sent("GET", SERVICE),
        200,
        holds=lambda reply: (
            reply.json()["sku"] == {"name": "Standard_LRS", "tier": "Standard"}
            and reply.json()["name"] == "default"
            and reply.json()["properties"]["cors"] == {"corsRules": []}
            and reply.json()["properties"]["deleteRetentionPolicy"]["enabled"] is False
        ),
    ),
    Row(
        "PUT of the Blob service's properties answers them",
        "R",
        sent(
            "PUT",
            SERVICE,
            {
                "properties": {
                    "cors": {"corsRules": [RULE]},
                    "defaultServiceVersion": "2017-07-29",
                    "deleteRetentionPolicy": {"enabled": True, "days": 300},
                }
            },
        ),
        200,
        holds=lambda reply: (
            reply.json()["properties"]["cors"] == {"corsRules": [RULE]}
            and reply.json()["properties"]["defaultServiceVersion"] == "2017-07-29"
            and reply.json()["properties"]["deleteRetentionPolicy"].items()
            >= {"enabled": True, "days": 300}.items()
        ),
    ),
    Row(
        "a region's usage counts a subscription's accounts",
        "R",
        sent(
            "GET",
            f"{ACCOUNT.split('/resourceGroups')[0]}/providers/Microsoft.Storage/locations/westeurope/usages",
        ),
        200,
        holds=lambda reply: (
            reply.json()["value"]
            == [
                {
                    "unit": "Count",
                    "currentValue": 1,
                    "limit": 250,
                    "name": {"value": "StorageAccounts", "localizedValue": "Storage Accounts"},
                }
            ]
        ),
    ),
)

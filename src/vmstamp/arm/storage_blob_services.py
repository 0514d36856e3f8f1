"""Microsoft.Storage/storageAccounts/blobServices: the properties of an account's Blob service, by ARM.

They are those of Get and Set Blob Service Properties; what a body leaves out stays as it is. What the Blob
service does not do (versions, the change feed, restoring, containers that come back, websites) is refused by
name where it is asked for, and may be said to be off.
REST: Blob Services, 2023-01-01.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from vmstamp.arm.faults import resource_not_found, unsupported
from vmstamp.arm.proxy_types import Page, ProxyType
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import KEEP, READ_ONLY, OneOf, Only, clean
from vmstamp.arm.types import Request
from vmstamp.blob.records import Account, CorsRule, ServiceProperties
from vmstamp.blob.store import BlobStore
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId

ACCOUNTS: Final = "Microsoft.Storage/storageAccounts"
NAME: Final = f"{ACCOUNTS}/blobServices"
ONE: Final = "default"  # the name of the one that each account has
API_VERSIONS: Final = ("2019-06-01", "2021-09-01", "2023-01-01", "2025-08-01")
MOST_RULES: Final = 5
MOST_DAYS: Final = 365

RULE: Final = {
    "allowedOrigins": [str],
    "allowedMethods": [OneOf("DELETE", "GET", "HEAD", "MERGE", "OPTIONS", "PATCH", "POST", "PUT")],
    "maxAgeInSeconds": int,
    "exposedHeaders": [str],
    "allowedHeaders": [str],
}
OFF: Final = {"enabled": Only(False)}
SHAPE: Final = {
    "location": READ_ONLY,  # clients that know no type say one of everything
    "sku": READ_ONLY,
    "properties": {
        "cors": {"corsRules": [RULE]},
        "defaultServiceVersion": str,
        "deleteRetentionPolicy": {"enabled": bool, "days": int, "allowPermanentDelete": Only(False)},
        "isVersioningEnabled": Only(False),
        "automaticSnapshotPolicyEnabled": Only(False),
        "changeFeed": {**OFF, "retentionInDays": KEEP},
        "containerDeleteRetentionPolicy": {**OFF, "days": KEEP, "allowPermanentDelete": Only(False)},
        "restorePolicy": {**OFF, "days": KEEP, "lastEnabledTime": READ_ONLY, "minRestoreTime": READ_ONLY},
        "lastAccessTimeTrackingPolicy": {
            "enable": Only(False),
            "name": KEEP,
            "trackingGranularityInDays": KEEP,
            "blobType": KEEP,
        },
        "staticWebsite": OFF,
    },
}


class BlobServices:
    """The type."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store

    def type(self) -> ProxyType:
        return ProxyType(
            name=NAME,
            owner=ACCOUNTS,
            api_versions=API_VERSIONS,
            parse=parse,
            find=self.find,
            page=self.page,
            put=self.put,
            exported=self.exported,
        )

    def find(self, id: ResourceId) -> Json:
        check_service(id)
        return show(self._store.get_account(account_name(id)))

    def page(self, below: ResourceId, request: Request) -> Page:
        return Page(((ONE, show(self._store.get_account(account_name(below)))),))

    def put(self, id: ResourceId, body: Json, owner: Resource) -> tuple[Json, bool]:
        check_service(id)
        changes = body["changes"]
        account = self._store.update_account(
            account_name(id), lambda found: replace(found, properties=replace(found.properties, **changes))
        )
        return show(account), False

    def exported(self, owner: ResourceId) -> list[tuple[ResourceId, Json]]:
        shown = show(self._store.get_account(account_name(owner)))
        return [(owner.child("blobServices", ONE), {"properties": shown["properties"]})]


def account_name(id: ResourceId) -> str:
    return id.names[0].lower()


def check_service(id: ResourceId) -> None:
    """Raises 404 unless the id is of the one Blob service of an account, or of what lies in it."""
    if id.names[1].lower() != ONE:
        raise resource_not_found(id)


def parse(body: Json) -> Json:
    """What of ServiceProperties a body changes, as `changes`. Raises AzureError (400)."""
    given = clean(body, SHAPE).get("properties", {})
    changes: dict[str, Any] = {}
    if "cors" in given:
        changes["cors"] = _rules(given["cors"].get("corsRules", []))
    if "deleteRetentionPolicy" in given:
        changes["retention_days"] = _retention_days(given["deleteRetentionPolicy"])
    if "defaultServiceVersion" in given:
        changes["default_version"] = given["defaultServiceVersion"]
    return {"changes": changes}


def _rules(given: list[Json]) -> tuple[CorsRule, ...]:
    if len(given) > MOST_RULES:
        raise _invalid("cors.corsRules")
    for rule in given:
        for name in RULE:
            if name not in rule or (name in ("allowedOrigins", "allowedMethods") and not rule[name]):
                raise _invalid(f"cors.corsRules.{name}")
        if rule["maxAgeInSeconds"] < 0:
            raise _invalid("cors.corsRules.maxAgeInSeconds")
    return tuple(
        CorsRule(
            tuple(rule["allowedOrigins"]),
            tuple(rule["allowedMethods"]),
            tuple(rule["allowedHeaders"]),
            tuple(rule["exposedHeaders"]),
            rule["maxAgeInSeconds"],
        )
        for rule in given
    )


def _retention_days(policy: Json) -> int:
    if not policy.get("enabled", False):
        return 0
    if not 1 <= policy.get("days", 0) <= MOST_DAYS:
        raise _invalid("deleteRetentionPolicy.days")
    return int(policy["days"])


def _invalid(path: str) -> AzureError:
    return AzureError(
        400,
        "InvalidValuesForRequestParameters",
        f"Values for request parameters are invalid: {path}.",
        target=path,
    )


def show(account: Account) -> Json:
    """What a GET of an account's Blob service shows beside id, name and type."""
    tier = account.sku.split("_", 1)[0]
    return {"sku": {"name": account.sku, "tier": tier}, "properties": _properties(account.properties)}


def _properties(found: ServiceProperties) -> Json:
    days = {"days": found.retention_days} if found.retention_days else {}
    version = {"defaultServiceVersion": found.default_version} if found.default_version else {}
    rules = [
        {
            "allowedOrigins": list(rule.origins),
            "allowedMethods": list(rule.methods),
            "maxAgeInSeconds": rule.max_age,
            "exposedHeaders": list(rule.exposed_headers),
            "allowedHeaders": list(rule.allowed_headers),
        }
        for rule in found.cors
    ]
    return {
        "cors": {"corsRules": rules},
        **version,
        "deleteRetentionPolicy": {
            "allowPermanentDelete": False,
            "enabled": bool(found.retention_days),
            **days,
        },
    }


def refuse_query(request: Request, *known: str) -> None:
    """Raises AzureError (400) that names a system parameter of the query which is not acted upon."""
    for name in request.query:
        if name.startswith("$") and name not in known:
            raise unsupported(f"The query parameter '{name}'", target=name)

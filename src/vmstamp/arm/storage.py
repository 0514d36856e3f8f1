"""Microsoft.Storage/storageAccounts: an account of the blob room, shown as ARM shows one.

The bytes and the keys live in the blob room; here is the resource. What lies in an account are proxy
resources: storage_blob_services.py, storage_containers.py.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.engine import Engine
from vmstamp.arm.faults import invalid_content, invalid_parameter, missing_parameter
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import KEEP, READ_ONLY, OneOf, Only, clean
from vmstamp.arm.storage_sas import Signatures
from vmstamp.arm.types import Action, AsyncStyle, Call, Change, Put, Reply, Request, ResourceType, Work
from vmstamp.blob.store import BlobStore
from vmstamp.errors import AzureError

NAME: Final = "Microsoft.Storage/storageAccounts"
API_VERSIONS: Final = ("2019-06-01", "2021-09-01", "2023-01-01", "2025-08-01")
MOST_ACCOUNTS: Final = 250  # of a subscription in a region: Azure's default, told and not enforced
ACCOUNT_NAME = re.compile(r"[a-z0-9]{3,24}")

SKUS = (
    "Standard_LRS",
    "Standard_GRS",
    "Standard_RAGRS",
    "Standard_ZRS",
    "Premium_LRS",
    "Premium_ZRS",
    "Standard_GZRS",
    "Standard_RAGZRS",
)

SHAPE = {
    "location": str,
    "tags": KEEP,
    "sku": {"name": OneOf(*SKUS), "tier": READ_ONLY},
    "kind": Only("Storage", "StorageV2", "BlobStorage"),
    "identity": Only(),
    "properties": {
        "accessTier": KEEP,
        "accountType": OneOf(*SKUS),  # what the api-versions of 2015 have in place of sku
        "allowBlobPublicAccess": bool,
        "allowCrossTenantReplication": KEEP,
        "allowSharedKeyAccess": Only(True),
        "customDomain": Only(),
        "defaultToOAuthAuthentication": KEEP,
        "dnsEndpointType": Only("Standard"),
        "encryption": {
            "services": KEEP,
            "keySource": Only("Microsoft.Storage"),
            "requireInfrastructureEncryption": KEEP,
        },
        "isHnsEnabled": Only(False),
        "isLocalUserEnabled": KEEP,
        "isNfsV3Enabled": Only(False),
        "isSftpEnabled": Only(False),
        "largeFileSharesState": KEEP,
        "minimumTlsVersion": KEEP,
        "networkAcls": {
            "bypass": KEEP,
            "defaultAction": Only("Allow"),
            "ipRules": [KEEP],
            "virtualNetworkRules": [KEEP],
        },
        "publicNetworkAccess": Only("Enabled"),
        "supportsHttpsTrafficOnly": KEEP,
        # What Azure fills in:
        "creationTime": READ_ONLY,
        "keyCreationTime": READ_ONLY,
        "primaryEndpoints": READ_ONLY,
        "primaryLocation": READ_ONLY,
        "provisioningState": READ_ONLY,
        "privateEndpointConnections": READ_ONLY,
        "statusOfPrimary": READ_ONLY,
    },
}

STYLE = AsyncStyle(
    created_status=202,
    async_header=False,
    location_header=True,
    body="empty",
    segment="asyncoperations",
    synchronous_delete=True,
)


class StorageAccounts:
    """The type and its calls. `endpoint` is the path-style URL of the blob door, without a slash."""

    def __init__(self, catalog: Catalog, store: BlobStore, endpoint: str) -> None:
        self._catalog = catalog
        self._store = store
        self._endpoint = endpoint

    def type(self) -> ResourceType:
        signed = Signatures(self._store)
        return ResourceType(
            name=NAME,
            api_versions=API_VERSIONS,
            style=STYLE,
            parse=self.parse,
            apply=self.apply,
            remove=self.remove,
            view=self.view,
            check_delete=self.check_delete,
            patch="all",
            delete_rank=7,
            actions=(
                Action("listKeys", self.list_keys, synchronous=True, beside=True),
                Action("regenerateKey", self.regenerate_key, check=_check_key, synchronous=True),
                Action(
                    "listAccountSas",
                    signed.account_sas,
                    check=signed.check_account,
                    synchronous=True,
                    beside=True,
                ),
                Action(
                    "listServiceSas",
                    signed.service_sas,
                    check=signed.check_service,
                    synchronous=True,
                    beside=True,
                ),
            ),
        )

    def calls(self, engine: Engine) -> list[Call]:
        def usages(request: Request, words: tuple[str, ...]) -> Reply:
            return self.usages(engine, request, words[0])

        return [
            Call("POST", "Microsoft.Storage", ("checkNameAvailability",), self.check_name),
            Call("GET", "Microsoft.Storage", ("locations", "{}", "usages"), usages),
        ]

    def usages(self, engine: Engine, request: Request, given: str) -> Reply:
        """How many accounts a subscription has in a region. REST: Usages - List By Location, 2023-01-01."""
        location = engine.locations.normalize(given)
        if not engine.locations.known(location):
            raise invalid_parameter(f"The location '{given}' is not valid.", "location")
        found = self._catalog.select(type=NAME, scope=f"/subscriptions/{request.subscription}")
        usage = {
            "unit": "Count",
            "currentValue": sum(account.location == location for account in found),
            "limit": MOST_ACCOUNTS,
            "name": {"value": "StorageAccounts", "localizedValue": "Storage Accounts"},
        }
        return Reply(200, {"value": [usage]})

    def parse(self, put: Put) -> Change:
        if not ACCOUNT_NAME.fullmatch(put.id.name):
            raise AzureError(
                400,
                "AccountNameInvalid",
                f"{put.id.name} is not a valid storage account name. Storage account name must be between 3 "
                "and 24 characters in length and use numbers and lower-case letters only.",
            )
        body = clean(put.body, SHAPE)
        if kind := body.get("properties", {}).pop("accountType", None):
            body = {"sku": {"name": kind}, "kind": "Storage", **body}
        if "sku" not in body or "name" not in body["sku"]:
            raise missing_parameter("sku.name")
        if put.existing is None and self._is_taken(put):
            raise AzureError(
                409,
                "StorageAccountAlreadyTaken",
                f"The storage account named {put.id.name} is already taken.",
            )
        kind = body.get("kind", put.existing.document["kind"] if put.existing else "StorageV2")
        tier = body["sku"]["name"].split("_")[0]
        properties = {**_DEFAULTS, **body.get("properties", {})}
        return Change({**body, "kind": kind, "sku": {**body["sku"], "tier": tier}, "properties": properties})

    def _is_taken(self, put: Put) -> bool:
        return any(r.name == put.id.name for r in self._catalog.select(type=NAME))

    def apply(self, resource: Resource, work: Work) -> Resource:
        if self._store.find_account(resource.name) is None:
            self._store.create_account(resource.name)
        sku, kind = resource.document["sku"]["name"], resource.document["kind"]
        public = resource.properties.get("allowBlobPublicAccess") is not False
        self._store.update_account(
            resource.name,
            lambda found: replace(found, sku=sku, kind=kind, allow_public_access=public),
        )
        return resource

    def remove(self, resource: Resource, work: Work) -> None:
        if self._store.find_account(resource.name) is not None:
            self._store.delete_account(resource.name)

    def check_delete(self, resource: Resource) -> None:
        users = self._catalog.referrers(f"account:{resource.name}", "account")
        if users:
            raise AzureError(
                409,
                "AccountCannotBeDeleted",
                "The storage account cannot be deleted due to its artifacts being in use. Artifacts in "
                f"use: disks of {', '.join(sorted({str(user.source) for user in users}))}.",
            )

    def view(self, resource: Resource, expand: str) -> Json:
        properties = {
            **resource.properties,
            "creationTime": resource.created,
            "primaryLocation": resource.location,
            "statusOfPrimary": "available",
            "primaryEndpoints": {"blob": f"{self._endpoint}/{resource.name}/"},
        }
        return {**resource.document, "properties": properties}

    def list_keys(self, resource: Resource, work: Work) -> Json:
        account = self._store.get_account(resource.name)
        keys = (("key1", account.key1), ("key2", account.key2))
        return {
            "keys": [
                {"creationTime": resource.created, "keyName": name, "value": value, "permissions": "FULL"}
                for name, value in keys
            ]
        }

    def regenerate_key(self, resource: Resource, work: Work) -> Json:
        self._store.regenerate_key(resource.name, work.input["keyName"])
        return self.list_keys(resource, work)

    def check_name(self, request: Request, words: tuple[str, ...]) -> Reply:
        name = request.json.get("name")
        if not isinstance(name, str):
            raise missing_parameter("name")
        if not ACCOUNT_NAME.fullmatch(name):
            message = (
                f"{name} is not a valid storage account name. Storage account name must be between 3 and 24 "
                "characters in length and use numbers and lower-case letters only."
            )
            return Reply(200, {"nameAvailable": False, "reason": "AccountNameInvalid", "message": message})
        if self._store.find_account(name) is not None:
            message = f"The storage account named {name} is already taken."
            return Reply(200, {"nameAvailable": False, "reason": "AlreadyExists", "message": message})
        return Reply(200, {"nameAvailable": True})


_DEFAULTS: Json = {"supportsHttpsTrafficOnly": False, "allowSharedKeyAccess": True, "accessTier": "Hot"}


def _check_key(resource: Resource, request: Request) -> Json:
    name = request.json.get("keyName")
    if name is None:
        raise missing_parameter("keyName")
    if not isinstance(name, str):
        raise invalid_content("Error converting value to type 'System.String'. Path 'keyName'")
    if name.lower() not in ("key1", "key2"):
        raise invalid_parameter("The key name is not valid: it is key1 or key2.", "keyName")
    return {"keyName": name.lower()}

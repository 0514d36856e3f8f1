"""Microsoft.Storage/storageAccounts/blobServices/containers: the containers of an account, by ARM.

They are the Blob service's own: one that either makes is shown by both. Immutability (policies, legal holds,
versions that cannot be written) and encryption scopes of one's own are refused by name.
REST: Blob Containers, 2023-01-01.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.faults import invalid_content, invalid_parameter, missing_parameter
from vmstamp.arm.proxy_types import Page, ProxyAction, ProxyType
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import READ_ONLY, OneOf, Only, clean
from vmstamp.arm.storage_blob_services import (
    ACCOUNTS,
    API_VERSIONS,
    account_name,
    check_service,
    refuse_query,
)
from vmstamp.arm.types import Request
from vmstamp.blob import faults, lease
from vmstamp.blob.blob_requests import METADATA_NAME
from vmstamp.blob.container_ops import MAXIMUM_RESULTS, check_container_name
from vmstamp.blob.records import Container
from vmstamp.blob.store import BlobStore
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId

NAME: Final = f"{ACCOUNTS}/blobServices/containers"
OWN_KEY: Final = "$account-encryption-key"  # the encryption scope that every account has


class Metadata:
    """Names and values that HTTP headers can carry, each name once whatever its case."""

    def clean(self, value: Any, path: str) -> dict[str, str]:
        if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
            raise invalid_content(f"Error converting value to type 'System.String'. Path '{path}'")
        for name, text in value.items():
            if not METADATA_NAME.fullmatch(name) or not (text.isascii() and text.isprintable()):
                raise faults.fault("InvalidMetadata")
        if len({name.lower() for name in value}) < len(value):
            raise faults.fault("InvalidMetadata")
        return dict(value)


SHAPE: Final = {
    "location": READ_ONLY,  # clients that know no type say one of everything
    "properties": {
        "publicAccess": OneOf("None", "Blob", "Container"),
        "metadata": Metadata(),
        "defaultEncryptionScope": Only(OWN_KEY),
        "denyEncryptionScopeOverride": Only(False),
        "immutableStorageWithVersioning": {
            "enabled": Only(False),
            "timeStamp": READ_ONLY,
            "migrationState": READ_ONLY,
        },
        "enableNfsV3AllSquash": Only(False),
        "enableNfsV3RootSquash": Only(False),
        # What Azure fills in:
        "deleted": READ_ONLY,
        "deletedTime": READ_ONLY,
        "hasImmutabilityPolicy": READ_ONLY,
        "hasLegalHold": READ_ONLY,
        "immutabilityPolicy": READ_ONLY,
        "lastModifiedTime": READ_ONLY,
        "leaseDuration": READ_ONLY,
        "leaseState": READ_ONLY,
        "leaseStatus": READ_ONLY,
        "legalHold": READ_ONLY,
        "remainingRetentionDays": READ_ONLY,
        "version": READ_ONLY,
    },
}
LEASE_SHAPE: Final = {
    "action": OneOf("Acquire", "Renew", "Change", "Release", "Break"),
    "leaseId": str,
    "breakPeriod": int,
    "leaseDuration": int,
    "proposedLeaseId": str,
}


class BlobContainers:
    """The type."""

    def __init__(self, catalog: Catalog, store: BlobStore) -> None:
        self._store = store
        # As Azure leases the container of a VM's disk, whoever asks for its deletion.
        store.keeps_container = lambda account, name: catalog.any_target(f"blob:{account}/{name}/", "blob")

    def type(self) -> ProxyType:
        return ProxyType(
            name=NAME,
            owner=ACCOUNTS,
            api_versions=API_VERSIONS,
            parse=parse,
            find=self.find,
            page=self.page,
            put=self.put,
            change=self.change,
            remove=self.remove,
            exported=self.exported,
            actions=(ProxyAction("lease", self.lease),),
        )

    # -- reading

    def find(self, id: ResourceId) -> Json:
        check_service(id)
        return show(self._store.get_container(*_names(id)), self._store.now())

    def page(self, below: ResourceId, request: Request) -> Page:
        """Some containers by name; `$filter` is what their names begin with."""
        check_service(below)
        refuse_query(request, "$maxpagesize", "$filter", "$include", "$skiptoken")
        if (include := request.query.get("$include", "")).lower() not in ("", "deleted"):
            raise invalid_parameter(f"The value '{include}' of '$include' is not valid.", "$include")
        found = self._store.list_containers(
            account_name(below),
            prefix=request.query.get("$filter", ""),
            start=request.query.get("$skiptoken", ""),
            count=_page_size(request),
        )
        now = self._store.now()
        known = [self._store.find_container(account_name(below), name) for name in found.names]
        return Page(tuple((one.name, show(one, now)) for one in known if one is not None), found.following)

    def exported(self, owner: ResourceId) -> list[tuple[ResourceId, Json]]:
        account, start = account_name(owner), ""
        service = owner.child("blobServices", "default")
        found: list[tuple[ResourceId, Json]] = []
        while True:
            page = self._store.list_containers(account, start=start)
            known = [self._store.find_container(account, name) for name in page.names]
            found += [(service.child("containers", one.name), _declared(one)) for one in known if one]
            if not (start := page.following):
                return found

    # -- writing

    def put(self, id: ResourceId, body: Json, owner: Resource) -> tuple[Json, bool]:
        """Make the container, or give the one that is there what the body names."""
        check_service(id)
        if self._store.find_container(*_names(id)) is not None:
            return self.change(id, body, owner), False
        check_container_name(id.name)
        given = _given(body, owner)
        container = self._store.create_container(
            *_names(id), metadata=given.get("metadata"), public_access=given.get("public_access", "")
        )
        return show(container, self._store.now()), True

    def change(self, id: ResourceId, body: Json, owner: Resource) -> Json:
        check_service(id)
        given = _given(body, owner)
        found = self._store.get_container(*_names(id))
        if replace(found, **given) != found:
            found = self._store.update_container(*_names(id), lambda container: replace(container, **given))
        return show(found, self._store.now())

    def remove(self, id: ResourceId, check: Callable[[], None]) -> bool:
        """Delete the container with its blobs. Raises 412 while it has a lease, or the disk of a VM."""
        check_service(id)
        account, name = _names(id)

        def may_go(container: Container) -> None:
            check()
            lease.check(container.lease, None, self._store.now(), write=True, what="Container")

        if self._store.find_container(account, name) is None:
            return False
        self._store.delete_container(account, name, may_go)
        return True

    def lease(self, id: ResourceId, body: Json) -> Json:
        """Lease Container by ARM. REST: Blob Containers - Lease, 2023-01-01."""
        check_service(id)
        asked = clean(body, LEASE_SHAPE)
        answer: Json = {}

        def step(container: Container) -> Container:
            held, said = _step(container.lease, asked, self._store.now())
            answer.update(said)
            return replace(container, lease=held)

        self._store.update_container(*_names(id), step, touch=False)
        return answer


def parse(body: Json) -> Json:
    """What a body says of a container, in Azure's spelling. Raises AzureError (400)."""
    return clean(body, SHAPE)


def _names(id: ResourceId) -> tuple[str, str]:
    return account_name(id), id.name.lower()


def _given(body: Json, owner: Resource) -> dict[str, Any]:
    """The fields of a Container that a body sets. Raises 409 for what its account does not permit."""
    properties = body.get("properties", {})
    fields = {"metadata": properties["metadata"]} if "metadata" in properties else {}
    if "publicAccess" in properties:
        access = properties["publicAccess"].lower()
        fields["public_access"] = "" if access == "none" else access
    if fields.get("public_access") and owner.properties.get("allowBlobPublicAccess") is False:
        raise faults.fault("PublicAccessNotPermitted")
    return fields


def _page_size(request: Request) -> int:
    text = request.query.get("$maxpagesize", "")
    if text and not (text.isdecimal() and 0 < int(text) < 10**9):
        raise invalid_parameter(f"The value '{text}' of '$maxpagesize' is not valid.", "$maxpagesize")
    return min(int(text or MAXIMUM_RESULTS), MAXIMUM_RESULTS)


def _declared(container: Container) -> Json:
    metadata = {"metadata": container.metadata} if container.metadata else {}
    return {
        "properties": {
            "defaultEncryptionScope": OWN_KEY,
            "denyEncryptionScopeOverride": False,
            "publicAccess": container.public_access.capitalize() or "None",
            **metadata,
        }
    }


def show(container: Container, now: datetime) -> Json:
    """What a GET of a container shows beside id, name and type."""
    state = lease.state(container.lease, now)
    held = {}
    if container.lease is not None and state == "leased":
        held["leaseDuration"] = "Infinite" if container.lease.seconds == lease.INFINITE else "Fixed"
    declared = _declared(container)["properties"]
    return {
        "etag": container.etag,
        "properties": {
            "immutableStorageWithVersioning": {"enabled": False},
            "deleted": False,
            "remainingRetentionDays": 0,
            **declared,
            "leaseStatus": "Locked" if state in ("leased", "breaking") else "Unlocked",
            "leaseState": state.capitalize(),
            **held,
            "lastModifiedTime": container.last_modified.strftime("%Y-%m-%dT%H:%M:%S.0000000Z"),
            "legalHold": {"hasLegalHold": False, "tags": []},
            "hasImmutabilityPolicy": False,
            "hasLegalHold": False,
        },
    }


# -- leases


def _step(held: lease.Lease | None, asked: Json, now: datetime) -> tuple[lease.Lease | None, Json]:
    """The lease after one step, and what is told of it. Raises AzureError."""
    match asked.get("action"):
        case None:
            raise missing_parameter("action")
        case "Acquire":
            if "leaseDuration" not in asked:
                raise missing_parameter("leaseDuration")
            proposed = _identity(asked, "proposedLeaseId") or str(uuid.uuid4())
            new = lease.acquire(held, proposed, asked["leaseDuration"], now)
        case "Renew":
            new = lease.renew(held, _own(asked), now)
        case "Change":
            if not (proposed := _identity(asked, "proposedLeaseId")):
                raise missing_parameter("proposedLeaseId")
            new = lease.change(held, _own(asked), proposed, now)
        case "Release":
            lease.release(held, _own(asked))
            return None, {}
        case _:
            new, seconds = lease.break_(held, asked.get("breakPeriod"), now)
            return new, {"leaseTimeSeconds": str(seconds)}
    return new, {"leaseId": new.id}


def _own(asked: Json) -> str:
    if not (identity := _identity(asked, "leaseId")):
        raise missing_parameter("leaseId")
    return identity


def _identity(asked: Json, name: str) -> str:
    try:
        return str(uuid.UUID(asked[name])) if asked.get(name) else ""
    except ValueError:
        raise AzureError(
            400,
            "InvalidValuesForRequestParameters",
            f"Values for request parameters are invalid: {name}.",
            target=name,
        ) from None

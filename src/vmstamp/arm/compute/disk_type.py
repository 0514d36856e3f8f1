"""What the resource types of disks and of snapshots have in common: their record, and what they are made of.

Disks and snapshots are VHDs in hidden accounts: their requests, their access to the bytes and their place in
a group's deletion are the same. REST: Disks; Snapshots, 2025-01-02.
"""

from __future__ import annotations

from typing import Protocol

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.compute.disk_access import Accesses
from vmstamp.arm.compute.disk_sources import (
    at_least,
    changed_creation,
    check_size,
    copied,
    import_source,
    upload_size,
)
from vmstamp.arm.compute.naming import API_VERSIONS, DISK_STYLE
from vmstamp.arm.compute.vhds import GIB, Vhds
from vmstamp.arm.faults import change_not_allowed, missing_parameter
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.types import Action, Change, Put, Request, ResourceType, Work
from vmstamp.disk.footer import FOOTER_SIZE

# The virtual size in bytes, the state that tells `apply` what to make, properties of the source.
Plan = tuple[int, Json, Json]


class DiskLike(Protocol):
    """What a type of VHDs does in its own way."""

    def parse(self, put: Put) -> Change: ...
    def apply(self, resource: Resource, work: Work) -> Resource: ...
    def remove(self, resource: Resource, work: Work) -> None: ...
    def view(self, resource: Resource, expand: str) -> Json: ...
    def check_delete(self, resource: Resource) -> None: ...
    def check_begin_access(self, resource: Resource, request: Request) -> Json: ...
    def begin_access(self, resource: Resource, work: Work) -> Json: ...


def disk_type(name: str, kind: DiskLike, accesses: Accesses, *, view_of_head: bool = False) -> ResourceType:
    """The record of a type of VHDs: Microsoft.Compute/disks or Microsoft.Compute/snapshots."""
    return ResourceType(
        name=name,
        view_of_head=view_of_head,
        api_versions=API_VERSIONS,
        style=DISK_STYLE,
        parse=kind.parse,
        apply=kind.apply,
        remove=kind.remove,
        view=kind.view,
        references=copied,
        check_delete=kind.check_delete,
        patch="all",
        delete_rank=3,
        actions=(
            Action("beginGetAccess", kind.begin_access, check=kind.check_begin_access),
            Action("endGetAccess", lambda resource, work: accesses.close(resource)),
        ),
    )


def plan_without_source(
    put: Put, creation: Json, size_gib: int | None, catalog: Catalog, vhds: Vhds
) -> Plan | None:
    """What createOption Empty, Upload and Import make; None for all others. Raises AzureError."""
    check_size(size_gib)
    match creation["createOption"]:
        case "Empty":
            if size_gib is None:
                raise missing_parameter("disk.diskSizeGB")
            return size_gib * GIB, {}, {}
        case "Upload":
            return upload_size(creation) - FOOTER_SIZE, {"upload": "ready"}, {}
        case "Import":
            blob, size = import_source(put, creation, catalog, vhds)
            return at_least(size, size_gib), {"source": blob}, {}
        case _:
            return None


def name_source(creation: Json, source: Resource) -> None:
    """Write into the creationData of a copy what it is a copy of, however the request named that."""
    creation |= {"sourceResourceId": str(source.id), "sourceUniqueId": source.properties["uniqueId"]}
    creation.pop("sourceUri", None)


def check_kept(existing: Resource, properties: Json) -> None:
    """Whether a request leaves what never changes: what it is made of, its system. Raises AzureError."""
    old = existing.properties
    if refusal := changed_creation(existing.name, properties.get("creationData", {}), old["creationData"]):
        raise refusal
    for name in ("osType", "hyperVGeneration"):
        if name in properties and properties[name] != old.get(name, properties[name]):
            raise change_not_allowed(name)

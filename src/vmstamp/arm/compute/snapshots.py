"""Microsoft.Compute/snapshots: full and incremental ones, and copies of incremental ones to other regions.

A full snapshot is a VHD of its own in a hidden account. The incremental snapshots of a disk are a family:
snapshots of one blob in one hidden account, so that Get Page Ranges tells what changed from one to the next.
Both share the disk's content: they cost no bytes until the disk is written. REST: Snapshots, 2025-01-02.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.compute import snapshot_copies as copies
from vmstamp.arm.compute.disk_access import Accesses, active_access, check_direction, read_request, sizes
from vmstamp.arm.compute.disk_sources import (
    DISKS,
    SNAPSHOTS,
    at_least,
    check_creation,
    check_whole,
    copied_id,
    copy_source,
    inherited,
    new_properties,
    passing,
    sku,
)
from vmstamp.arm.compute.disk_type import Plan, check_kept, disk_type, name_source, plan_without_source
from vmstamp.arm.compute.naming import check_name
from vmstamp.arm.compute.vhds import Vhds, new_place, place
from vmstamp.arm.faults import (
    invalid_parameter,
    not_allowed,
    not_found,
    unsupported,
)
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import KEEP, READ_ONLY, OneOf, Only, Url, clean
from vmstamp.arm.types import Change, Put, Request, ResourceType, Work
from vmstamp.disk.footer import FOOTER_SIZE
from vmstamp.errors import AzureError

COPY_START_FROM: Final = "2020-12-01"  # api-version (REST: Snapshots, DiskCreateOption)
# Documentation: Create an incremental snapshot, Restrictions. A container has as many stored access policies.
ACCESSES_OF_A_FAMILY: Final = 5

SHAPE: Final = {
    "location": str,
    "tags": KEEP,
    "sku": {"name": KEEP, "tier": READ_ONLY},
    "managedBy": READ_ONLY,
    "properties": {
        "creationData": {
            "createOption": Only("Empty", "Copy", "CopyStart", "Import", "Upload"),
            "logicalSectorSize": Only(512),
            "performancePlus": Only(False),
            "provisionedBandwidthCopySpeed": KEEP,
            "sourceResourceId": str,
            "sourceUniqueId": READ_ONLY,
            "sourceUri": Url(),
            "storageAccountId": str,
            "uploadSizeBytes": int,
        },
        "completionPercent": READ_ONLY,
        "copyCompletionError": READ_ONLY,
        "dataAccessAuthMode": Only("None"),
        "diskSizeBytes": READ_ONLY,
        "diskSizeGB": int,
        "diskState": READ_ONLY,
        "encryption": {"type": Only("EncryptionAtRestWithPlatformKey")},
        "hyperVGeneration": OneOf("V1", "V2"),
        "incremental": bool,
        "incrementalSnapshotFamilyId": READ_ONLY,
        "networkAccessPolicy": Only("AllowAll"),
        "osType": OneOf("Linux", "Windows"),
        "provisioningState": READ_ONLY,
        "publicNetworkAccess": Only("Enabled"),
        "purchasePlan": KEEP,
        "snapshotAccessState": READ_ONLY,
        "supportedCapabilities": KEEP,
        "supportsHibernation": Only(False),
        "timeCreated": READ_ONLY,
        "uniqueId": READ_ONLY,
    },
}


class Snapshots:
    """The type. `settle` gives a disk's bytes: see `Disks`."""

    def __init__(
        self,
        catalog: Catalog,
        vhds: Vhds,
        settle: Callable[[Resource], Path | None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._catalog = catalog
        self._vhds = vhds
        self._settle = settle
        self._accesses = Accesses(catalog, vhds, now)
        self._now = now

    def type(self) -> ResourceType:
        return disk_type(SNAPSHOTS, self, self._accesses)

    # -- PUT

    def parse(self, put: Put) -> Change:
        check_name(put.id.name, "snapshotName")
        body = clean(put.body, SHAPE)
        properties = body.get("properties", {})
        if put.existing:
            return _update(put, put.existing, body, properties)
        creation = properties.get("creationData", {})
        check_creation(creation)
        incremental = properties.get("incremental", False)
        if incremental and creation["createOption"] not in ("Copy", "CopyStart"):
            raise invalid_parameter(
                f"An incremental snapshot cannot be created with createOption '{creation['createOption']}'.",
                "incremental",
            )
        size, state, taken = self._plan(put, creation, properties.get("diskSizeGB"), incremental)
        family = state.get("family")
        ref = self._vhds.new_snapshot_place(family) if family else new_place(upload="upload" in state)
        fixed = {
            **taken,
            **properties,
            **sizes(size),
            **new_properties(self._catalog),
            "incremental": incremental,
            **({"incrementalSnapshotFamilyId": family} if family else {}),
        }
        document = {**body, "sku": sku(put), "properties": fixed}
        return Change(document, {**state, "place": list(ref), "size": size})

    def _plan(self, put: Put, creation: Json, size_gib: int | None, incremental: bool) -> Plan:
        made = plan_without_source(put, creation, size_gib, self._catalog, self._vhds)
        if made is not None:
            return made
        if creation["createOption"] == "CopyStart":
            source, state = self._copy_start(put, creation, incremental)
        else:
            source = copy_source(put, creation, self._catalog, self._now())
            state = {"family": _family(source)} if incremental else {}
        size = at_least(source.state["size"], size_gib)
        if state and size != source.state["size"]:
            raise invalid_parameter("An incremental snapshot has the size of its source.", "diskSizeGB")
        name_source(creation, source)
        return size, {**state, "copy of": str(source.id)}, inherited(source)

    def _copy_start(self, put: Put, creation: Json, incremental: bool) -> tuple[Resource, Json]:
        """The snapshot that is copied from region to region, and what the state keeps of that."""
        if put.api_version < COPY_START_FROM:
            raise invalid_parameter(
                f"The createOption 'CopyStart' needs api-version {COPY_START_FROM} or later.", "createOption"
            )
        id = copied_id(creation)
        if id.type.lower() != SNAPSHOTS.lower():
            raise invalid_parameter("Entity not of expected type.", "sourceResourceId")
        source = self._catalog.find(id)
        if source is None or source.provisioning_state == "Deleting":
            raise not_found(f"Snapshot {id.name} is not found.")
        if not incremental or "family" not in source.state:
            raise invalid_parameter(
                "The createOption 'CopyStart' makes an incremental snapshot of an incremental snapshot; full "
                "snapshots are not copied.",
                "incremental",
            )
        now = self._now()
        check_whole(source, now)
        family = copies.family_of(source.state["family"], put.location)
        taken = place(source.state["place"]).snapshot
        for other in self._of_family(family):
            if copies.is_under_way(other, now):
                raise not_allowed(
                    f"Snapshot {other.name} of the same disk is being copied to {put.location}: one can be "
                    "copied at a time."
                )
            if other.state["taken"] > taken:
                raise not_allowed(
                    f"Snapshot {other.name}, which is newer, was copied to {put.location} before: snapshots "
                    "must be copied in the order in which they were created."
                )
        return source, {"family": family, "taken": taken}

    def _of_family(self, family: str) -> Iterator[Resource]:
        found = self._catalog.select(type=SNAPSHOTS)
        return (snapshot for snapshot in found if snapshot.state.get("family") == family)

    def apply(self, resource: Resource, work: Work) -> Resource:
        ref, state = place(resource.state["place"]), resource.state
        if state.get("upload") == "ready":
            self._vhds.create_upload(ref, state["size"] + FOOTER_SIZE)
        elif "source" in state:
            self._vhds.copy(place(state["source"]), ref)
        elif "copy of" in state:
            return self._copy(resource)
        if "upload" not in state:
            self._grow(resource)
        return resource

    def _copy(self, resource: Resource) -> Resource:
        ref, family = place(resource.state["place"]), resource.state.get("family", "")
        if self._vhds.exists(ref):
            return resource
        source = self._catalog.find(resource.state["copy of"])
        if source is None:
            raise not_found(f"The source {resource.state['copy of']} is not found.")
        origin = place(source.state["place"])
        if "taken" in resource.state:
            length = self._vhds.changed_length(origin, self._earlier(family))
            resource = resource.with_state(copy=copies.begin(self._now(), length))
        with passing(self._settle(source) if source.type == DISKS.lower() else None) as folded:
            if family and folded is not None:
                self._vhds.take_snapshot_of_file(folded, ref, family)
            elif family:
                self._vhds.take_snapshot(origin, ref, family)
            else:
                self._vhds.copy(origin, ref)
                if folded is not None:
                    self._vhds.adopt(ref, folded)
                self._grow(resource)
        return resource

    def _earlier(self, family: str) -> str:
        """The time of the newest source snapshot that the family has a copy of; '' for none."""
        done = (s.state["taken"] for s in self._of_family(family) if s.provisioning_state == "Succeeded")
        return max(done, default="")

    def _grow(self, resource: Resource) -> None:
        ref, size, unique = (
            place(resource.state["place"]),
            resource.state["size"],
            resource.properties["uniqueId"],
        )
        self._vhds.create_empty(ref, size, unique)
        self._vhds.grow(ref, size, unique)

    # -- DELETE

    def check_delete(self, resource: Resource) -> None:
        if self._accesses.is_open(resource):
            raise active_access(resource, "deleting")

    def remove(self, resource: Resource, work: Work) -> None:
        """Delete the bytes; copies of it that are under way fail."""
        now = self._now()
        with self._catalog.db.write():
            for other in self._catalog.select(type=SNAPSHOTS):
                if other.state.get("copy of") == str(resource.id) and copies.is_under_way(other, now):
                    failed = copies.fail(other.state["copy"], now, str(resource.id))
                    self._catalog.save(other.with_state(copy=failed))
        self._vhds.delete(place(resource.state["place"]))

    # -- GET

    def view(self, resource: Resource, expand: str) -> Json:
        shown = copies.shown(resource, self._now())
        return resource.with_properties(diskState=self.state_of(resource), **shown).document

    def state_of(self, snapshot: Resource) -> str:
        is_open = self._accesses.is_open(snapshot)
        if snapshot.state.get("upload", "done") != "done":
            return "ActiveUpload" if is_open else "ReadyToUpload"
        return "ActiveSAS" if is_open else "Unattached"

    # -- access to the bytes

    def check_begin_access(self, resource: Resource, request: Request) -> Json:
        wanted = read_request(request)
        input = check_direction(wanted, resource, self.state_of(resource))
        if not input["write"]:
            check_whole(resource, self._now())
        family = resource.state.get("family")
        others = [s for s in self._of_family(family) if s.id != resource.id] if family else []
        if sum(map(self._accesses.is_open, others)) >= ACCESSES_OF_A_FAMILY:
            raise not_allowed(
                f"At most {ACCESSES_OF_A_FAMILY} snapshots of an incremental snapshot family can have an "
                "active shared access signature at a time. Call EndGetAccess for another one first."
            )
        return input

    def begin_access(self, resource: Resource, work: Work) -> Json:
        return self._accesses.open(resource, write=work.input["write"], seconds=int(work.input["seconds"]))


def _family(source: Resource) -> str:
    """The family of a disk's incremental snapshots. Raises AzureError for a source that is a snapshot."""
    if source.type != DISKS.lower():
        raise invalid_parameter(
            "An incremental snapshot is created of a disk, or of an incremental snapshot with createOption "
            "'CopyStart'.",
            "sourceResourceId",
        )
    return copies.family_of(source.properties["uniqueId"])


def _update(put: Put, existing: Resource, body: Json, properties: Json) -> Change:
    old = existing.properties
    check_kept(existing, properties)
    if properties.get("incremental", old["incremental"]) != old["incremental"]:
        raise AzureError(
            400,
            "BadRequest",
            f"Changing property 'incremental' is not allowed for existing disk '{existing.name}'.",
            target="incremental",
        )
    if properties.get("diskSizeGB", old["diskSizeGB"]) != old["diskSizeGB"]:
        raise unsupported("Changing the property 'properties.diskSizeGB' of a snapshot", target="diskSizeGB")
    kept = {**old, **properties, "creationData": old["creationData"]}
    return Change({**existing.document, **body, "sku": sku(put), "properties": kept}, existing.state)

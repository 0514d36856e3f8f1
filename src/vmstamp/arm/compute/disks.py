"""Microsoft.Compute/disks: managed disks, each a fixed VHD in a hidden account.

States: Unattached, Attached, Reserved (its VM is deallocated), ReadyToUpload, ActiveUpload, ActiveSAS. They
are computed from who refers to the disk and from which access is open. Handing out the bytes of a disk
that a deallocated VM holds first folds what the VM wrote into the VHD.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.compute.disk_access import Accesses, active_access, check_direction, read_request, sizes
from vmstamp.arm.compute.disk_sources import (
    DISKS,
    at_least,
    check_creation,
    check_size,
    copy_source,
    inherited,
    new_properties,
    passing,
    sku,
)
from vmstamp.arm.compute.disk_type import Plan, check_kept, disk_type, name_source, plan_without_source
from vmstamp.arm.compute.image_references import ImageReferences
from vmstamp.arm.compute.naming import check_name
from vmstamp.arm.compute.vhds import GIB, Vhds, new_place, place
from vmstamp.arm.compute.vm_disk import with_disk_size
from vmstamp.arm.faults import (
    not_allowed,
    not_found,
)
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import KEEP, READ_ONLY, OneOf, Only, Url, clean
from vmstamp.arm.types import Change, Put, Request, ResourceType, Work
from vmstamp.blob.records import BlobRef
from vmstamp.disk.footer import FOOTER_SIZE
from vmstamp.errors import AzureError

NAME = DISKS

SHAPE = {
    "location": str,
    "tags": KEEP,
    "sku": {"name": KEEP, "tier": READ_ONLY},
    "zones": KEEP,
    "managedBy": READ_ONLY,
    "managedByExtended": READ_ONLY,
    "properties": {
        "creationData": {
            "createOption": Only("Empty", "Copy", "Import", "Upload", "FromImage"),
            "imageReference": {"id": str, "lun": int},
            "galleryImageReference": {"id": str, "lun": int},
            "logicalSectorSize": Only(512),
            "performancePlus": Only(False),
            "sourceResourceId": str,
            "sourceUniqueId": READ_ONLY,
            "sourceUri": Url(),
            "storageAccountId": str,
            "uploadSizeBytes": int,
        },
        "osType": OneOf("Linux", "Windows"),
        "hyperVGeneration": OneOf("V1", "V2"),
        "diskSizeGB": int,
        "diskSizeBytes": READ_ONLY,
        "diskState": READ_ONLY,
        "provisioningState": READ_ONLY,
        "timeCreated": READ_ONLY,
        "uniqueId": READ_ONLY,
        "LastOwnershipUpdateTime": READ_ONLY,
        "propertyUpdatesInProgress": READ_ONLY,
        "shareInfo": READ_ONLY,
        "burstingEnabledTime": READ_ONLY,
        "burstingEnabled": KEEP,
        "diskIOPSReadWrite": KEEP,
        "diskMBpsReadWrite": KEEP,
        "diskIOPSReadOnly": KEEP,
        "diskMBpsReadOnly": KEEP,
        "encryption": {"type": Only("EncryptionAtRestWithPlatformKey")},
        "maxShares": Only(1),
        "networkAccessPolicy": Only("AllowAll"),
        "optimizedForFrequentAttach": KEEP,
        "publicNetworkAccess": Only("Enabled"),
        "purchasePlan": KEEP,
        "supportedCapabilities": KEEP,
        "supportsHibernation": Only(False),
        "tier": KEEP,
        "dataAccessAuthMode": Only("None"),
        "availabilityPolicy": KEEP,
    },
}


class Disks:
    """The type. `fold` brings what a deallocated VM wrote into the VHD of a disk that it holds.

    `settle` does that too, but of a running VM's disk gives the bytes of this moment as a file (None: they
    are those of the VHD).
    """

    def __init__(
        self,
        catalog: Catalog,
        vhds: Vhds,
        images: ImageReferences,
        fold: Callable[[Resource], None],
        settle: Callable[[Resource], Path | None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._catalog = catalog
        self._vhds = vhds
        self._fold = fold
        self._settle = settle
        self._accesses = Accesses(catalog, vhds, now)
        self._now = now
        self._images = images

    def type(self) -> ResourceType:
        return disk_type(NAME, self, self._accesses, view_of_head=True)

    # -- PUT

    def parse(self, put: Put) -> Change:
        check_name(put.id.name, "diskName")
        body = clean(put.body, SHAPE)
        properties = body.get("properties", {})
        if put.existing:
            return self._update(put, put.existing, body, properties)
        creation = properties.get("creationData", {})
        check_creation(creation)
        size, state, taken = self._plan(put, creation, properties.get("diskSizeGB"))
        fixed = {
            **taken,
            **properties,
            **sizes(size),
            **new_properties(self._catalog),
        }
        document = {**body, "sku": sku(put), "properties": fixed}
        ref = new_place(upload="upload" in state)
        return Change(document, {**state, "place": list(ref), "size": size})

    def _plan(self, put: Put, creation: Json, size_gib: int | None) -> Plan:
        if creation["createOption"] == "FromImage":
            check_size(size_gib)
            return self._from_image(put, creation, size_gib)
        made = plan_without_source(put, creation, size_gib, self._catalog, self._vhds)
        if made is not None:
            return made
        found = copy_source(put, creation, self._catalog, self._now())
        name_source(creation, found)
        return at_least(found.state["size"], size_gib), {"copy of": str(found.id)}, inherited(found)

    def _from_image(self, put: Put, creation: Json, size_gib: int | None) -> Plan:
        image, lun = self._images.for_disk(creation, put.location, put.id.subscription)
        found = image.disks["os" if lun is None else str(lun)]
        os = {"osType": image.os_type, "hyperVGeneration": f"V{image.generation}"} if lun is None else {}
        return at_least(found["size"], size_gib), {"source": found["place"]}, os

    def _update(self, put: Put, existing: Resource, body: Json, properties: Json) -> Change:
        old = existing.properties
        check_kept(existing, properties)
        wanted: int = properties["diskSizeGB"] if "diskSizeGB" in properties else old["diskSizeGB"]
        check_size(wanted)
        size = int(existing.state["size"])
        if wanted < old["diskSizeGB"]:
            raise not_allowed(
                f"Disk downsizing is not supported. Current size {size} bytes, requested size "
                f"{wanted * GIB} bytes.",
                target="diskSizeGB",
            )
        if wanted > old["diskSizeGB"]:
            if (state := self.state_of(existing)) not in ("Unattached", "Reserved"):
                raise not_allowed(
                    f"Cannot resize disk {existing.name} while it is in state {state}; "
                    "deallocate its VM, or end the access to it, first.",
                    target="diskSizeGB",
                )
            size = wanted * GIB
        kept = {**old, **properties, **sizes(size), "creationData": old["creationData"]}
        document = {**existing.document, **body, "sku": sku(put), "properties": kept}
        return Change(document, {**existing.state, "size": size})

    def apply(self, resource: Resource, work: Work) -> Resource:
        ref, state, unique = place(resource.state["place"]), resource.state, resource.properties["uniqueId"]
        if state.get("upload") == "ready":
            self._vhds.create_upload(ref, state["size"] + FOOTER_SIZE)
            return resource
        if "source" in state:
            self._vhds.copy(place(state["source"]), ref)
        elif "copy of" in state and not self._vhds.exists(ref):
            self._copy(state["copy of"], ref)
        self._vhds.create_empty(ref, state["size"], unique)
        if self._vhds.size(ref) < state["size"]:
            self._fold(resource)
            self._vhds.grow(ref, state["size"], unique)
            self._tell_holder(resource)
        return resource

    def _copy(self, id: str, ref: BlobRef) -> None:
        source = self._catalog.find(id)
        if source is None:
            raise not_found(f"Disk {id} is not found.")
        with passing(self._settle(source)) as folded:
            self._vhds.copy(place(source.state["place"]), ref)
            if folded is not None:
                self._vhds.adopt(ref, folded)

    def _tell_holder(self, disk: Resource) -> None:
        """The VM that holds a disk keeps its size too."""
        with self._catalog.db.write():
            if (vm := self._holder(disk)) is not None:
                self._catalog.save(with_disk_size(vm, disk.id.key, disk.state["size"]), touch=False)

    # -- DELETE

    def check_delete(self, resource: Resource) -> None:
        holder = self._holder(resource)
        if holder is not None:
            raise not_allowed(f"Disk {resource.name} is attached to VM {holder.id}.")
        if self._accesses.is_open(resource):
            raise active_access(resource, "deleting")

    def remove(self, resource: Resource, work: Work) -> None:
        self._vhds.delete(place(resource.state["place"]))

    # -- GET

    def view(self, resource: Resource, expand: str) -> Json:
        shown = resource.with_properties(diskState=self.state_of(resource))
        holder = self._holder(resource)
        return {**shown.document, "managedBy": str(holder.id)} if holder else shown.document

    def state_of(self, disk: Resource) -> str:
        upload = disk.state.get("upload", "done")
        if upload != "done":
            return "ActiveUpload" if self._accesses.is_open(disk) else "ReadyToUpload"
        holder = self._holder(disk)
        if holder is not None and holder.state.get("power") != "deallocated":
            return "Attached"
        if self._accesses.is_open(disk):
            return "ActiveSAS"
        return "Reserved" if holder else "Unattached"

    def _holder(self, disk: Resource) -> Resource | None:
        """The virtual machine that a disk is attached to."""
        users = self._catalog.referrers(disk.id, "disk")
        return self._catalog.find(users[0].source) if users else None

    # -- access to the bytes

    def check_begin_access(self, resource: Resource, request: Request) -> Json:
        wanted = read_request(request)
        state = self.state_of(resource)
        if state == "Attached":
            raise access_conflict(resource, self._holder(resource))
        return check_direction(wanted, resource, state)

    def begin_access(self, resource: Resource, work: Work) -> Json:
        if not work.input["write"]:
            self._fold(resource)
        return self._accesses.open(resource, write=work.input["write"], seconds=int(work.input["seconds"]))


def access_conflict(disk: Resource, holder: Resource | None) -> AzureError:
    where = f" {holder.id}" if holder else ""
    return AzureError(
        409,
        "Conflict",
        f"Access not permitted because disk {disk.name} is currently attached to running VM{where}.",
    )

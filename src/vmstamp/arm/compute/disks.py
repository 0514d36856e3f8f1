"""Microsoft.Compute/disks: managed disks, each a fixed VHD in a hidden account.

States: Unattached, Attached, Reserved (its VM is deallocated), ReadyToUpload, ActiveUpload, ActiveSAS. They
are computed from who refers to the disk and from which access is open. Handing out the bytes of a disk
that a deallocated VM holds first folds what the VM wrote into the VHD.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from vmstamp.arm.catalog import Catalog, timestamp
from vmstamp.arm.compute.naming import API_VERSIONS, DISK_STYLE, check_name
from vmstamp.arm.compute.vhds import GIB, MIB, Vhds, new_place, place
from vmstamp.arm.compute.vm_disk import LARGEST_GIB
from vmstamp.arm.faults import (
    change_not_allowed,
    invalid_parameter,
    missing_parameter,
    not_allowed,
    not_found,
    unsupported,
)
from vmstamp.arm.links import linked_id
from vmstamp.arm.shape import KEEP, READ_ONLY, Json, OneOf, Only, clean
from vmstamp.arm.types import Action, Change, Put, Request, Resource, ResourceType, Work
from vmstamp.disk.footer import FOOTER_SIZE
from vmstamp.errors import AzureError

NAME: Final = "Microsoft.Compute/disks"
# uploadSizeBytes, footer included (REST: Disks, CreationData).
SMALLEST_UPLOAD, LARGEST_UPLOAD = 20972032, 35183298347520
LONGEST_ACCESS = 60 * 86400  # seconds

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
            "logicalSectorSize": Only(512),
            "performancePlus": Only(False),
            "sourceResourceId": str,
            "sourceUniqueId": READ_ONLY,
            "sourceUri": str,
            "storageAccountId": KEEP,
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
    """The type. `fold` brings what a deallocated VM wrote into the VHD of a disk that it holds."""

    def __init__(
        self,
        catalog: Catalog,
        vhds: Vhds,
        fold: Callable[[Resource], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._catalog = catalog
        self._vhds = vhds
        self._fold = fold
        self._now = now

    def type(self) -> ResourceType:
        return ResourceType(
            name=NAME,
            view_of_head=True,
            api_versions=API_VERSIONS,
            style=DISK_STYLE,
            parse=self.parse,
            apply=self.apply,
            remove=self.remove,
            view=self.view,
            check_delete=self.check_delete,
            patch="all",
            delete_rank=3,
            actions=(
                Action("beginGetAccess", self.begin_access, check=self.check_begin_access),
                Action("endGetAccess", self.end_access),
            ),
        )

    # -- PUT

    def parse(self, put: Put) -> Change:
        check_name(put.id.name, "diskName")
        body = clean(put.body, SHAPE)
        properties = body.get("properties", {})
        if put.existing:
            return self._update(put, put.existing, body, properties)
        creation = properties.get("creationData")
        if not creation or "createOption" not in creation:
            raise missing_parameter("creationData.createOption" if creation is not None else "creationData")
        unique = str(uuid.uuid4())
        ref = new_place()
        size, state = self._plan(put, creation, properties.get("diskSizeGB"))
        fixed = {
            **state.pop("inherited", {}),
            **properties,
            "diskSizeBytes": size,
            "diskSizeGB": max(1, -(-size // GIB)),
            "uniqueId": unique,
            "timeCreated": self._catalog.now(),
            "networkAccessPolicy": "AllowAll",
            "publicNetworkAccess": "Enabled",
            "encryption": {"type": "EncryptionAtRestWithPlatformKey"},
        }
        sku = _sku(body.get("sku", {}))
        return Change({**body, "sku": sku, "properties": fixed}, {**state, "place": list(ref), "size": size})

    def _plan(self, put: Put, creation: Json, size_gib: int | None) -> tuple[int, Json]:
        """The virtual size in bytes and the state that tells `apply` what to make."""
        if size_gib is not None and not 1 <= size_gib <= LARGEST_GIB:
            raise invalid_parameter(
                f"The value '{size_gib}' of parameter 'disk.diskSizeGB' is out of range. The value must be "
                f"between '1' and '{LARGEST_GIB}', inclusive.",
                "disk.diskSizeGB",
            )
        match creation["createOption"]:
            case "Empty":
                if size_gib is None:
                    raise missing_parameter("disk.diskSizeGB")
                return size_gib * GIB, {}
            case "Upload":
                return _upload_size(creation) - FOOTER_SIZE, {"upload": "ready"}
            case "Import":
                source = self._import_source(put, creation)
                return self._at_least(self._vhds.check(place(source), put.id.name), size_gib), {
                    "source": source
                }
            case "Copy":
                disk = self._copy_source(put, creation)
                inherited = {
                    k: disk.properties[k] for k in ("osType", "hyperVGeneration") if k in disk.properties
                }
                state = {"copy of": str(disk.id), "inherited": inherited}
                return self._at_least(disk.state["size"], size_gib), state
        raise unsupported("The value 'FromImage' of property 'properties.creationData.createOption'")

    def _at_least(self, size: int, size_gib: int | None) -> int:
        if size_gib is None or size_gib * GIB == size:
            return size
        if size_gib * GIB < size:
            raise not_allowed(
                f"Disk with size smaller than its source is not allowed: the source has {size} bytes, "
                f"requested were {size_gib * GIB}.",
                target="diskSizeGB",
            )
        return size_gib * GIB

    def _import_source(self, put: Put, creation: Json) -> list[str]:
        url = creation.get("sourceUri")
        if not url:
            raise missing_parameter("disk.creationData.sourceUri")
        ref = self._vhds.find_url(url)
        account = self._account(ref.account) if ref else None
        if ref is None or account is None or not self._vhds.exists(ref):
            raise not_found_blob(url)
        if account.location != put.location:
            raise AzureError(
                400,
                "BadRequest",
                f"The source blob {self._vhds.url(ref)} does not belong to the same region as the disk.",
            )
        if not self._vhds.is_page_blob(ref):
            raise AzureError(400, "BadRequest", "Only blobs formatted as VHDs can be imported.")
        return list(ref)

    def _account(self, name: str) -> Resource | None:
        found = self._catalog.select(type="Microsoft.Storage/storageAccounts")
        return next((account for account in found if account.name == name), None)

    def _copy_source(self, put: Put, creation: Json) -> Resource:
        if not creation.get("sourceResourceId"):
            raise missing_parameter("disk.creationData.sourceResourceId")
        id = linked_id({"id": creation["sourceResourceId"]}, "properties.creationData.sourceResourceId", NAME)
        disk = self._catalog.find(id)
        if disk is None or disk.location != put.location:
            raise not_found(f"Disk {id.name} is not found.")
        if disk.state.get("upload", "done") != "done":
            raise not_allowed(f"Disk {disk.name} is being uploaded and cannot be copied.")
        if self.state_of(disk) == "Attached":
            raise access_conflict(disk, self._holder(disk))
        return disk

    def _update(self, put: Put, existing: Resource, body: Json, properties: Json) -> Change:
        old = existing.properties
        for name in ("creationData", "osType", "hyperVGeneration"):
            if name in properties and properties[name] != old.get(name, properties[name]):
                raise change_not_allowed(name)
        kept = {**old, **properties}
        size = int(existing.state["size"])
        wanted: int = properties["diskSizeGB"] if "diskSizeGB" in properties else old["diskSizeGB"]
        if wanted < old["diskSizeGB"]:
            raise not_allowed(
                f"Disk downsizing is not supported. Current size {size} bytes, requested size "
                f"{wanted * GIB} bytes.",
                target="diskSizeGB",
            )
        if wanted > old["diskSizeGB"]:
            if self.state_of(existing) != "Unattached":
                raise not_allowed(
                    f"Cannot resize disk {existing.name} while it is in state {self.state_of(existing)}; "
                    "detach it from the VM, or end the access to it, first.",
                    target="diskSizeGB",
                )
            size = wanted * GIB
        kept |= {"diskSizeGB": wanted, "diskSizeBytes": size}
        sku = _sku(body.get("sku") or existing.document["sku"])
        return Change(
            {**existing.document, **body, "sku": sku, "properties": kept}, {**existing.state, "size": size}
        )

    def apply(self, resource: Resource, work: Work) -> Resource:
        ref, state, unique = place(resource.state["place"]), resource.state, resource.properties["uniqueId"]
        if "upload" in state:
            self._vhds.create_upload(ref, state["size"] + FOOTER_SIZE)
            return resource
        if "source" in state:
            self._vhds.copy(place(state["source"]), ref)
        elif "copy of" in state and not self._vhds.exists(ref):
            source = self._catalog.find(state["copy of"])
            if source is None:
                raise not_found(f"Disk {state['copy of']} is not found.")
            self._fold(source)
            self._vhds.copy(place(source.state["place"]), ref)
        self._vhds.create_empty(ref, state["size"], unique)
        self._vhds.grow(ref, state["size"], unique)
        return resource

    # -- DELETE

    def check_delete(self, resource: Resource) -> None:
        holder = self._holder(resource)
        if holder is not None:
            raise not_allowed(f"Disk {resource.name} is attached to VM {holder.id}.")
        if self._access(resource):
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
            return "ActiveUpload" if self._access(disk) else "ReadyToUpload"
        holder = self._holder(disk)
        if holder is not None and holder.state.get("power") != "deallocated":
            return "Attached"
        if self._access(disk):
            return "ActiveSAS"
        return "Reserved" if holder else "Unattached"

    def _holder(self, disk: Resource) -> Resource | None:
        """The virtual machine that a disk is attached to."""
        users = self._catalog.referrers(disk.id, "disk")
        return self._catalog.find(users[0].source) if users else None

    def _access(self, disk: Resource) -> bool:
        """Whether a SAS of the disk is outstanding."""
        return str(disk.state.get("access until", "")) > timestamp(self._now())

    # -- access to the bytes

    def check_begin_access(self, resource: Resource, request: Request) -> Json:
        shape = {
            "access": OneOf("Read", "Write", "None"),
            "durationInSeconds": int,
            "fileFormat": Only("VHD"),
        }
        shape["getSecureVMGuestStateSAS"] = Only(False)
        body = clean(request.json, shape)
        access, seconds = body.get("access", "None"), body.get("durationInSeconds")
        if seconds is None:
            raise missing_parameter("durationInSeconds")
        if not 1 <= seconds <= LONGEST_ACCESS:
            raise invalid_parameter(
                f"The value '{seconds}' of parameter 'durationInSeconds' is out of range. The value must be "
                f"between '1' and '{LONGEST_ACCESS}', inclusive.",
                "durationInSeconds",
            )
        state = self.state_of(resource)
        if state == "Attached":
            raise access_conflict(resource, self._holder(resource))
        uploading = state in ("ReadyToUpload", "ActiveUpload")
        if access == "None" or (access == "Write") != uploading:
            raise not_allowed(
                f"Access '{access}' is not permitted because disk {resource.name} is in state {state}: "
                "Write is for disks that are to be uploaded, Read for all others."
            )
        return {"write": uploading, "seconds": seconds}

    def begin_access(self, resource: Resource, work: Work) -> Json:
        ref, write, seconds = place(resource.state["place"]), work.input["write"], int(work.input["seconds"])
        if not write:
            self._fold(resource)
        until = timestamp(self._now() + timedelta(seconds=seconds))
        policy = resource.state.get("policy") or str(uuid.uuid4())
        with self._catalog.db.write():
            url = self._vhds.open_access(ref, write, seconds, policy)
            fresh = self._catalog.find(resource.id) or resource
            self._catalog.save(fresh.with_state(**{"access until": until, "policy": policy}))
        return {"accessSAS": url}

    def end_access(self, resource: Resource, work: Work) -> None:
        ref = place(resource.state["place"])
        self._vhds.close_access(ref)
        uploaded = resource.state.get("upload") == "ready" and "access until" in resource.state
        changes: Json = {"access until": "", "policy": ""}
        try:
            if uploaded:
                changes |= {"size": self._vhds.check(ref, resource.name), "upload": "done"}
        finally:
            with self._catalog.db.write():
                fresh = self._catalog.find(resource.id) or resource
                size: int = changes["size"] if uploaded and "size" in changes else fresh.state["size"]
                fixed = {"diskSizeBytes": size, "diskSizeGB": max(1, -(-size // GIB))}
                self._catalog.save(fresh.with_state(**changes).with_properties(**fixed))


def _sku(given: Json) -> Json:
    name = given.get("name", "Standard_LRS")
    return {"name": name, "tier": str(name).split("_")[0]}


def _upload_size(creation: Json) -> int:
    length = creation.get("uploadSizeBytes")
    if length is None:
        raise missing_parameter("disk.creationData.uploadSizeBytes")
    if not SMALLEST_UPLOAD <= length <= LARGEST_UPLOAD:
        raise invalid_parameter(
            f"The value '{length}' of parameter 'disk.creationData.uploadSizeBytes' is out of range. The "
            f"value must be between '{SMALLEST_UPLOAD}' and '{LARGEST_UPLOAD}', inclusive.",
            "disk.creationData.uploadSizeBytes",
        )
    if (length - FOOTER_SIZE) % MIB:
        raise AzureError(
            400,
            "BadRequest",
            f"The upload size in bytes {length} - 512 bytes for the VHD footer ({length - FOOTER_SIZE} in "
            "this case) must be a multiple of MiB.",
        )
    return int(length)


def not_found_blob(url: str) -> AzureError:
    bare = url.split("?", 1)[0]
    return AzureError(404, "DiskBlobNotFound", f"Unable to find VHD blob with URI {bare}.")


def access_conflict(disk: Resource, holder: Resource | None) -> AzureError:
    where = f" {holder.id}" if holder else ""
    return AzureError(
        409,
        "Conflict",
        f"Access not permitted because disk {disk.name} is currently attached to running VM{where}.",
    )


def active_access(disk: Resource, doing: str) -> AzureError:
    """The refusal to attach, start or delete (`doing`) a disk while a SAS of it is outstanding."""
    return not_allowed(
        f"There is an active shared access signature outstanding for disk {disk.name}. Call EndGetAccess "
        f"before {doing} the disk."
    )

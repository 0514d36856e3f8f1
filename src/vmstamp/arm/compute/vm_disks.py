"""The disks of a virtual machine: what its storageProfile asks for, decided against images, disks and blobs.

A VM has managed disks or blob-based ones, never both. Each becomes a `VmDisk`, which the VM's state
keeps: where the VHD lies, how it is made, and what becomes of it when the VM goes.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import Final

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.compute import disks as managed
from vmstamp.arm.compute.disk_access import active_access
from vmstamp.arm.compute.image_references import ImageReferences, VmImage
from vmstamp.arm.compute.naming import check_name
from vmstamp.arm.compute.sizes import Size
from vmstamp.arm.compute.vhds import GIB, Vhds, new_place
from vmstamp.arm.compute.vm_blob_disks import BlobDisks
from vmstamp.arm.compute.vm_disk import VmDisk, gib, read_disks
from vmstamp.arm.faults import (
    change_not_allowed,
    invalid_parameter,
    missing_parameter,
    not_allowed,
    not_found,
    unsupported,
)
from vmstamp.arm.links import linked_id
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.types import Put
from vmstamp.errors import AzureError
from vmstamp.resource_id import parse_resource_id

HIGHEST_LUN: Final = 63


@dataclass(frozen=True)
class Storage:
    """What a storageProfile comes to: its document, the disks, the managed disks to be created with it."""

    document: Json
    disks: list[VmDisk]
    companions: tuple[Resource, ...]
    generation: int
    specialized: bool


@dataclass(frozen=True)
class _Source:
    """What a VM is made of: an image's or a disk's generation, os state, and the image."""

    generation: int
    specialized: bool
    image: VmImage | None = None


class StorageProfiles:
    """Decides storage profiles. Reads the catalog and blobs, changes nothing."""

    def __init__(
        self, catalog: Catalog, vhds: Vhds, disks: managed.Disks, references: ImageReferences
    ) -> None:
        self._catalog = catalog
        self._vhds = vhds
        self._managed = disks
        self._references = references
        self._blobs = BlobDisks(catalog, vhds)

    # -- a new VM

    def create(self, put: Put, profile: Json, size: Size) -> Storage:
        """The storage of a new VM. Raises AzureError."""
        os_disk = profile.get("osDisk")
        if not os_disk:
            raise missing_parameter("storageProfile.osDisk")
        if "createOption" not in os_disk:
            raise missing_parameter("osDisk.createOption")
        source = self._source(put, profile, os_disk)
        data = self._with_image_disks(profile.get("dataDisks", []), source.image)
        check_luns(data, size)
        if any(disk.get("toBeDetached") for disk in data):
            raise unsupported("The value 'true' of property 'toBeDetached' of a VM that is being made")
        blob_based = "vhd" in os_disk
        for disk in data:
            _check_kind(disk, blob_based)
        used: set[str] = set()
        done = [self._disk(put, given, source, blob_based, used) for given in (os_disk, *data)]
        document = {**profile, "osDisk": done[0][0], "dataDisks": [shown for shown, _, _ in done[1:]]}
        if source.image:
            document["imageReference"] = source.image.reference
        companions = tuple(made for _, _, made in done if made)
        return Storage(
            document, [disk for _, disk, _ in done], companions, source.generation, source.specialized
        )

    def _source(self, put: Put, profile: Json, os_disk: Json) -> _Source:
        option, reference = os_disk["createOption"], profile.get("imageReference")
        if option == "Empty":
            raise invalid_parameter(
                "The value 'Empty' of parameter 'osDisk.createOption' is not allowed.", "osDisk.createOption"
            )
        if option == "Attach":
            if reference:
                raise invalid_parameter(
                    "Cannot attach an existing OS disk if the VM is created from a platform or user image.",
                    "imageReference",
                )
            if "vhd" in os_disk:
                return _Source(1, True)
            disk = self._attachable(put, os_disk)
            return _Source(2 if disk.properties.get("hyperVGeneration") == "V2" else 1, True)
        if "vhd" in os_disk:
            if reference:
                raise not_allowed(
                    "VM created from Image cannot have blob based disks. All disks have to be managed disks.",
                    target="imageReference",
                )
            return _Source(1, False)
        if not reference:
            raise missing_parameter("imageReference")
        image = self._references.resolve(reference, put.location, put.id.subscription)
        return _Source(image.generation, image.specialized, image)

    @staticmethod
    def _with_image_disks(data: list[Json], image: VmImage | None) -> list[Json]:
        """The data disks that are asked for and, implicitly, those of the image that are not."""
        given = {disk.get("lun") for disk in data}
        luns = image.luns if image else ()
        implied = [{"lun": lun, "createOption": "FromImage"} for lun in luns if lun not in given]
        return [*data, *implied]

    # -- one disk

    def _disk(
        self, put: Put, given: Json, source: _Source, blob_based: bool, used: set[str]
    ) -> tuple[Json, VmDisk, Resource | None]:
        """A disk's document, what the state keeps of it, and the managed disk that is made with it."""
        lun = given.get("lun")
        if blob_based:
            disk = self._blobs.disk(put, given, used)
            shown = _shown(given, disk)
            return shown, disk, None
        if given["createOption"] == "Attach":
            resource = self._attachable(put, given)
            disk = _vm_disk(lun, resource, given)
        else:
            disk = self._new_disk(put, given, source.image)
        if disk.managed.lower() in used:
            raise invalid_parameter(f"The disk '{disk.name}' is used twice.", "dataDisk.managedDisk.id")
        used.add(disk.managed.lower())
        made = None if given["createOption"] == "Attach" else self._companion(put, given, disk, source)
        return _shown(given, disk), disk, made

    def _new_disk(self, put: Put, given: Json, image: VmImage | None) -> VmDisk:
        lun = given.get("lun")
        if given.get("managedDisk", {}).get("id"):
            kind = "osDisk" if lun is None else "dataDisk"
            raise AzureError(
                400,
                "InvalidParameterConflictingProperties",
                f"The property '{kind}.createOption' cannot have the value '{given['createOption']}' when "
                f"property '{kind}.managedDisk.id' is set.",
                target=f"{kind}.createOption",
            )
        label = "OsDisk_1" if lun is None else f"disk{lun + 2}"
        name = given.get("name") or f"{put.id.name}_{label}_{uuid.uuid4().hex}"
        check_name(name, "diskName")
        id = put.id.sibling("Microsoft.Compute", "disks", name)
        if self._catalog.find(id):
            raise AzureError(
                409,
                "ConflictingUserInput",
                f"Disk {name} already exists in resource group {put.id.group}. Only CreateOption.Attach is "
                "supported.",
                target="/subscriptions",
            )
        size, source = self._new_size(given, image)
        make = "copy" if source else "empty"
        delete = given.get("deleteOption", "Detach") == "Delete"
        return VmDisk(lun, name, list(new_place()), size, make, source, str(uuid.uuid4()), str(id), delete)

    def _new_size(self, given: Json, image: VmImage | None) -> tuple[int, list[str]]:
        """The size of a new disk, and the VHD of the image that it is a copy of."""
        wanted = given.get("diskSizeGB")
        if given["createOption"] == "Empty":
            if wanted is None:
                raise missing_parameter("dataDisk.diskSizeGB")
            return gib(wanted), []
        key = "os" if given.get("lun") is None else str(given["lun"])
        found = image.disks.get(key) if image else None
        if found is None:
            raise invalid_parameter(
                f"StorageProfile.dataDisks.lun {key} does not have required value(s) for image specified in "
                "storage profile.",
                "dataDisk.lun",
            )
        size = int(found["size"])
        if wanted is not None and gib(wanted) < size and gib(wanted) != -(-size // GIB) * GIB:
            raise not_allowed(
                f"The specified disk size {wanted} GB is smaller than the size of the corresponding disk in "
                f"the VM image: {-(-size // GIB)} GB. This is not allowed. Please choose equal or greater "
                "size or do not specify an explicit size.",
                target="osDisk.diskSizeGB" if key == "os" else "dataDisk.diskSizeGB",
            )
        return max(size, gib(wanted) if wanted else 0), found["place"]

    def _companion(self, put: Put, given: Json, disk: VmDisk, source: _Source) -> Resource:
        creation: Json = {"createOption": given["createOption"]}
        properties: Json = {}
        if source.image and disk.make == "copy":
            creation = source.image.creation(disk.lun)
        if disk.lun is None:
            properties = {"osType": "Linux", "hyperVGeneration": f"V{source.generation}"}
        properties |= {
            "creationData": creation,
            "diskSizeBytes": disk.size,
            "diskSizeGB": -(-disk.size // GIB),
            "uniqueId": disk.unique,
            "timeCreated": self._catalog.now(),
            "provisioningState": "Succeeded",
        }
        kind = given.get("managedDisk", {}).get("storageAccountType", "Standard_LRS")
        document = {"sku": {"name": kind, "tier": str(kind).split("_")[0]}, "properties": properties}
        state = {"place": disk.place, "size": disk.size}
        return self._catalog.new(parse_resource_id(disk.managed), put.location, document, state)

    def _attachable(self, put: Put, given: Json) -> Resource:
        """The existing managed disk that a VM attaches. Raises when it is not to be had."""
        link = given.get("managedDisk", {})
        if "id" not in link:
            raise missing_parameter("managedDisk.id")
        id = linked_id(link, "properties.storageProfile.disk.managedDisk", managed.NAME)
        disk = self._catalog.find(id)
        if disk is None or disk.location != put.location or disk.provisioning_state == "Deleting":
            raise not_found(f"Disk {id.name} is not found.")
        for user in self._catalog.referrers(disk.id, "disk", "detaching disk"):
            if user.kind == "detaching disk":
                raise AzureError(
                    409,
                    "AttachDiskWhileBeingDetached",
                    f"Cannot attach data disk '{disk.name}' to VM '{put.id.name}' because the disk is "
                    "currently being detached. Please wait until the disk is completely detached and then "
                    "try again.",
                )
            if user.source.key != put.id.key:
                raise AzureError(
                    409,
                    "ConflictingUserInput",
                    f"Disk '{disk.name}' cannot be attached as the disk is already owned by VM "
                    f"'{user.source}'.",
                    target="managedDisk.id",
                )
        state = self._managed.state_of(disk)
        if state == "ActiveSAS":
            raise active_access(disk, "attaching")
        if state not in ("Unattached", "Attached", "Reserved"):
            raise not_allowed(
                f"Disk '{disk.name}' cannot be attached: it is in state {state}.", target="managedDisk.id"
            )
        return disk

    # -- a VM that exists

    def update(self, put: Put, existing: Resource, profile: Json, size: Size) -> Storage:
        """The storage after a change: data disks may come and go, the rest stays."""
        old = existing.properties["storageProfile"]
        before = {disk.lun: disk for disk in read_disks(existing.state)}
        _check_unchanged(old, profile)
        data = [disk for disk in profile.get("dataDisks", old["dataDisks"]) if not _leaves(disk)]
        check_luns(data, size)
        blob_based = "vhd" in old["osDisk"]
        specialized = existing.state["specialized"]
        source = _Source(existing.state["generation"], specialized)
        used: set[str] = set()
        shown_os = {
            **old["osDisk"],
            **{k: v for k, v in profile.get("osDisk", {}).items() if k in _CHANGEABLE},
        }
        delete = shown_os.get("deleteOption", "Detach") == "Delete"
        disks, shown, companions = [replace(before[None], delete=delete)], [], []
        for given in data:
            kept = before.get(given["lun"])
            if kept and _same_disk(given, kept):
                was = next(d for d in old["dataDisks"] if d["lun"] == kept.lun)
                now = {**was, **{k: v for k, v in given.items() if k in _CHANGEABLE}}
                disks.append(replace(kept, delete=now.get("deleteOption", "Detach") == "Delete"))
                shown.append(now)
                continue
            if kept:
                raise invalid_parameter(f"A disk at LUN {given['lun']} already exists.", "dataDisk.lun")
            _check_kind(given, blob_based)
            document, disk, made = self._disk(put, given, source, blob_based, used)
            shown.append(document)
            disks.append(disk)
            companions += [made] if made else []
        document = {**old, "osDisk": shown_os, "dataDisks": shown}
        return Storage(document, disks, tuple(companions), source.generation, specialized)


_CHANGEABLE = ("caching", "deleteOption")


def _leaves(disk: Json) -> bool:
    """Whether a data disk is to be detached. Raises when it says how, but not that it is to be."""
    if disk.get("detachOption") and not disk.get("toBeDetached"):
        raise invalid_parameter(
            "The property 'dataDisk.detachOption' is allowed only where 'dataDisk.toBeDetached' is true.",
            "dataDisk.detachOption",
        )
    if disk.get("detachOption") and "vhd" in disk:
        raise unsupported("The value 'ForceDetach' of property 'detachOption' of a blob-based disk")
    return bool(disk.get("toBeDetached"))


def _vm_disk(lun: int | None, resource: Resource, given: Json) -> VmDisk:
    return VmDisk(
        lun,
        resource.name,
        resource.state["place"],
        int(resource.state["size"]),
        "attach",
        [],
        resource.properties["uniqueId"],
        str(resource.id),
        given.get("deleteOption", "Detach") == "Delete",
    )


def _shown(given: Json, disk: VmDisk) -> Json:
    """A disk as the VM's document shows it, with Azure's defaults."""
    common: Json = {
        "name": disk.name,
        "caching": given.get("caching", "ReadWrite" if disk.lun is None else "None"),
        "diskSizeGB": -(-disk.size // GIB),
    }
    if disk.managed:
        kind = given.get("managedDisk", {}).get("storageAccountType", "Standard_LRS")
        common["managedDisk"] = {"storageAccountType": kind, "id": disk.managed}
        common["deleteOption"] = given.get("deleteOption", "Detach")
    extra = {"osType": "Linux"} if disk.lun is None else {"toBeDetached": False}
    return {**given, **common, **extra}


def check_luns(data: list[Json], size: Size) -> None:
    """LUNs are given, in range and each used once; not more disks than the size takes."""
    seen: set[int] = set()
    for disk in data:
        lun = disk.get("lun")
        if lun is None:
            raise missing_parameter("dataDisk.lun")
        if not 0 <= lun <= HIGHEST_LUN:
            raise invalid_parameter(
                f"The value '{lun}' of parameter 'dataDisk.lun' is out of range. The value must be between "
                f"'0' and '{HIGHEST_LUN}', inclusive.",
                "dataDisk.lun",
            )
        if lun in seen:
            raise invalid_parameter(f"A disk at LUN {lun} already exists.", "dataDisk.lun")
        if "createOption" not in disk:
            raise missing_parameter("dataDisk.createOption")
        seen.add(lun)
    if len(data) > size.data_disks:
        raise not_allowed(
            "The maximum number of data disks allowed to be attached to a VM of this size is "
            f"{size.data_disks}.",
            target="dataDisks",
        )


def _check_kind(disk: Json, blob_based: bool) -> None:
    if "vhd" in disk and not blob_based:
        raise not_allowed(
            "Addition of a blob based disk to VM with managed disks is not supported.", target="dataDisk"
        )
    if blob_based and "vhd" not in disk:
        raise not_allowed(
            "Addition of a managed disk to a VM with blob based disks is not supported.", target="dataDisk"
        )


def _same_disk(given: Json, disk: VmDisk) -> bool:
    id = given.get("managedDisk", {}).get("id")
    if id:
        return bool(id.lower() == disk.managed.lower())
    name = given.get("name")
    return name is None or bool(name.lower() == disk.name.lower())


def _check_unchanged(old: Json, new: Json) -> None:
    given, was = new.get("osDisk", {}), old["osDisk"]
    for name in ("name", "createOption", "osType", "vhd", "image"):
        if name in given and given[name] != was.get(name):
            raise change_not_allowed(f"osDisk.{name}")
    if (
        "id" in given.get("managedDisk", {})
        and given["managedDisk"]["id"].lower() != was["managedDisk"]["id"].lower()
    ):
        raise change_not_allowed("osDisk.managedDisk.id")
    if given.get("diskSizeGB", was["diskSizeGB"]) != was["diskSizeGB"]:
        raise unsupported(
            "Changing the property 'storageProfile.osDisk.diskSizeGB' through the VM (change the disk)"
        )
    reference = old.get("imageReference", {})
    for name, value in new.get("imageReference", {}).items():
        if value and value.lower() != reference.get(name, "").lower():
            raise change_not_allowed("imageReference")

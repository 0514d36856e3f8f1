"""Microsoft.Compute/images: managed images, of blobs, managed disks or a generalized virtual machine.

An image has VHDs of its own in hidden accounts; they share the sources' sealed content, so making one takes
the same time for any size, and the source may go afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.compute import disks as managed
from vmstamp.arm.compute.disk_sources import SNAPSHOTS, check_whole
from vmstamp.arm.compute.naming import API_VERSIONS, STYLE, check_name
from vmstamp.arm.compute.vhds import GIB, Vhds, new_place, place
from vmstamp.arm.compute.vm_blob_disks import ACCOUNTS
from vmstamp.arm.compute.vm_disk import read_disks
from vmstamp.arm.compute.vm_disks import HIGHEST_LUN
from vmstamp.arm.faults import (
    change_not_allowed,
    invalid_parameter,
    missing_parameter,
    not_allowed,
    not_found,
)
from vmstamp.arm.links import linked_id
from vmstamp.arm.resource import Json, Reference, Resource
from vmstamp.arm.shape import KEEP, READ_ONLY, OneOf, Url, clean
from vmstamp.arm.types import Change, Put, ResourceType, Work
from vmstamp.errors import AzureError

NAME: Final = "Microsoft.Compute/images"
MACHINES: Final = "Microsoft.Compute/virtualMachines"
# From this version on the generation must be said (REST: Images).
GENERATION_REQUIRED_FROM: Final = "2019-03-01"

DISK_SHAPE = {
    "blobUri": Url(),
    "caching": OneOf("None", "ReadOnly", "ReadWrite"),
    "diskSizeGB": int,
    "managedDisk": {"id": str, "resourceGroup": READ_ONLY},
    "snapshot": {"id": str, "resourceGroup": READ_ONLY},
    "storageAccountType": KEEP,
}

SHAPE = {
    "location": str,
    "tags": KEEP,
    "properties": {
        "hyperVGeneration": OneOf("V1", "V2"),
        "provisioningState": READ_ONLY,
        "sourceVirtualMachine": {"id": str, "resourceGroup": READ_ONLY},
        "storageProfile": {
            "osDisk": {
                **DISK_SHAPE,
                "osState": OneOf("Generalized", "Specialized"),
                "osType": OneOf("Linux", "Windows"),
            },
            "dataDisks": [{**DISK_SHAPE, "lun": int}],
            "zoneResilient": KEEP,
        },
    },
}


class Images:
    """The type. `fold` and `fold_all` bring what VMs wrote into the VHDs of a disk or a VM."""

    def __init__(
        self,
        catalog: Catalog,
        vhds: Vhds,
        disks: managed.Disks,
        fold: Callable[[Resource], None],
        fold_all: Callable[[Resource], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._catalog = catalog
        self._vhds = vhds
        self._disks = disks
        self._fold = fold
        self._fold_all = fold_all
        self._now = now

    def type(self) -> ResourceType:
        return ResourceType(
            name=NAME,
            api_versions=API_VERSIONS,
            style=STYLE,
            parse=self.parse,
            apply=self.apply,
            remove=self.remove,
            references=references,
            check_delete=self.check_delete,
            patch="all",
            delete_rank=3,
        )

    # -- PUT

    def parse(self, put: Put) -> Change:
        check_name(put.id.name, "imageName")
        body = clean(put.body, SHAPE)
        properties = body.get("properties", {})
        if put.existing:
            return _update(put.existing, body, properties)
        if source := properties.get("sourceVirtualMachine"):
            return self._of_machine(put, body, properties, source)
        return self._of_disks(put, body, properties)

    def _of_machine(self, put: Put, body: Json, properties: Json, source: Json) -> Change:
        if properties.get("storageProfile", {}).get("osDisk"):
            raise invalid_parameter(
                "Parameter 'storageProfile.osDisk' is not allowed when sourceVirtualMachine is given.",
                "storageProfile",
            )
        id = linked_id(source, "properties.sourceVirtualMachine", MACHINES)
        vm = self._catalog.find(id)
        if vm is None or vm.location != put.location:
            raise not_found(
                f"Source Virtual Machine '{id.name}' specified in the request does not exist in this Azure "
                "location."
            )
        if not vm.state["generalized"]:
            raise not_allowed(
                f"The operation 'Create Image' requires the Virtual Machine '{vm.name}' to be Generalized."
            )
        shown, plan = [], {}
        for disk in read_disks(vm.state):
            plan["os" if disk.lun is None else str(disk.lun)] = _planned(disk.place, disk.size)
            origin: Json = {"managedDisk": {"id": disk.managed}} if disk.managed else {}
            if not disk.managed:
                origin = {"blobUri": self._vhds.url(disk.ref)}
            shown.append(_shown(origin, disk.lun, disk.size))
        os_disk = {**shown[0], "osType": "Linux", "osState": "Generalized"}
        profile = {**properties.get("storageProfile", {}), "osDisk": os_disk, "dataDisks": shown[1:]}
        fixed = {
            "sourceVirtualMachine": {"id": str(vm.id)},
            "storageProfile": profile,
            "hyperVGeneration": f"V{vm.state['generation']}",
        }
        return Change({**body, "properties": fixed}, {"disks": plan, "machine": str(vm.id)})

    def _of_disks(self, put: Put, body: Json, properties: Json) -> Change:
        profile = properties.get("storageProfile", {})
        os_disk = profile.get("osDisk")
        if not os_disk:
            raise missing_parameter("storageProfile.osDisk")
        for name in ("osType", "osState"):
            if name not in os_disk:
                raise missing_parameter(f"osDisk.{name}")
        if "hyperVGeneration" not in properties and put.api_version >= GENERATION_REQUIRED_FROM:
            raise missing_parameter("hyperVGeneration")
        data = profile.get("dataDisks", [])
        _check_luns(data)
        plan, shown = {}, []
        for given in (os_disk, *data):
            source, size = self._source(put, given)
            plan["os" if given is os_disk else str(given["lun"])] = {**_planned([], size), **source}
            shown.append({**_shown(given, given.get("lun"), size), **given, "diskSizeGB": -(-size // GIB)})
        fixed = {"hyperVGeneration": "V1", **properties}
        fixed["storageProfile"] = {**profile, "osDisk": shown[0], "dataDisks": shown[1:]}
        return Change({**body, "properties": fixed}, {"disks": plan})

    def _source(self, put: Put, given: Json) -> tuple[Json, int]:
        """Where a disk of the image comes from, as its state keeps it, and its size in bytes."""
        if sum(name in given for name in ("blobUri", "managedDisk", "snapshot")) != 1:
            raise invalid_parameter(
                "Exactly one of blobUri, managedDisk and snapshot must be given for a disk of an image.",
                "storageProfile",
            )
        if "snapshot" in given:
            snapshot = self._snapshot_source(put, given["snapshot"])
            return {"source": snapshot.state["place"]}, int(snapshot.state["size"])
        if "managedDisk" in given:
            disk = self._managed_source(put, given["managedDisk"])
            return {"source": disk.state["place"], "disk": str(disk.id)}, int(disk.state["size"])
        url = given["blobUri"]
        ref = self._vhds.find_url(url)
        accounts = self._catalog.select(type=ACCOUNTS)
        account = next((a for a in accounts if ref and a.name == ref.account), None)
        if ref is None or account is None or not self._vhds.exists(ref):
            raise AzureError(
                404,
                "ImageBlobNotFound",
                f"Unable to find VHD blob with URI {url.split('?')[0]}.",
                target="blobUri",
            )
        if account.location != put.location:
            raise AzureError(
                400,
                "BadRequest",
                f"The source blob {self._vhds.url(ref)} does not belong to the same region as the image.",
                target="blobUri",
            )
        if not self._vhds.is_page_blob(ref):
            raise AzureError(
                400,
                "IncorrectImageBlobType",
                f"The blob {self._vhds.url(ref)} is not a page blob. Only page blobs can be VHDs.",
                target="blobUri",
            )
        return {"source": list(ref)}, self._vhds.check(ref, put.id.name)

    def _managed_source(self, put: Put, link: Json) -> Resource:
        id = linked_id(link, "properties.storageProfile.disk.managedDisk", managed.NAME)
        disk = self._catalog.find(id)
        if disk is None or disk.location != put.location:
            raise not_found(f"Disk {id.name} is not found.")
        if (state := self._disks.state_of(disk)) not in ("Unattached", "Reserved", "ActiveSAS"):
            raise not_allowed(
                f"The disk '{disk.name}' is in state {state}; an image can be made of it when its VM is "
                "deallocated."
            )
        return disk

    def _snapshot_source(self, put: Put, link: Json) -> Resource:
        id = linked_id(link, "properties.storageProfile.disk.snapshot", SNAPSHOTS)
        found = self._catalog.find(id)
        if found is None or found.location != put.location or found.provisioning_state == "Deleting":
            raise not_found(f"Snapshot {id.name} is not found.")
        check_whole(found, self._now())
        return found

    def apply(self, image: Resource, work: Work) -> Resource:
        """Share the sources' contents. Idempotent."""
        if (machine := image.state.get("machine")) and (vm := self._catalog.find(machine)):
            self._fold_all(vm)
        for disk in image.state["disks"].values():
            if self._vhds.exists(place(disk["place"])):
                continue
            if "disk" in disk and (resource := self._catalog.find(disk["disk"])):
                self._fold(resource)
            self._vhds.copy(place(disk["source"]), place(disk["place"]))
        return image

    # -- DELETE

    def check_delete(self, image: Resource) -> None:
        users = [self._catalog.find(user.source) for user in self._catalog.referrers(image.id, "image")]
        busy = sorted(vm.name for vm in users if vm and vm.provisioning_state == "Creating")
        if busy:
            raise not_allowed(
                f"Operation 'Delete' is not allowed since the Virtual Machines '{', '.join(busy)}' are "
                f"being provisioned using the Image '{image.name}'."
            )

    def remove(self, image: Resource, work: Work) -> None:
        for disk in image.state["disks"].values():
            self._vhds.delete(place(disk["place"]))


def references(image: Resource) -> Iterator[Reference]:
    """What must stay while the image is being made."""
    properties: Any = image.properties
    if image.provisioning_state != "Creating":
        return
    if vm := properties.get("sourceVirtualMachine"):
        yield Reference("image source", vm["id"], str(image.id))
    profile = properties["storageProfile"]
    for disk in (profile["osDisk"], *profile.get("dataDisks", [])):
        if "managedDisk" in disk:
            yield Reference("image source", disk["managedDisk"]["id"], str(image.id))


def _update(existing: Resource, body: Json, properties: Json) -> Change:
    old = existing.properties
    for name in ("hyperVGeneration", "sourceVirtualMachine"):
        if name in properties and properties[name] != old.get(name):
            raise change_not_allowed(name)
    given = properties.get("storageProfile", {})
    for name in ("osDisk", "dataDisks"):
        if name in given and not _agrees(given[name], old["storageProfile"].get(name)):
            raise change_not_allowed(f"storageProfile.{name}")
    return Change({**existing.document, **body, "properties": old}, existing.state)


def _agrees(given: Any, old: Any) -> bool:
    """Whether what is given says nothing else than what is there."""
    if isinstance(given, dict) and isinstance(old, dict):
        return all(_agrees(value, old.get(name)) for name, value in given.items())
    if isinstance(given, list) and isinstance(old, list):
        return len(given) == len(old) and all(_agrees(a, b) for a, b in zip(given, old, strict=True))
    return bool(given == old)


def _planned(source: list[str], size: int) -> Json:
    return {"place": list(new_place()), "source": source, "size": size}


def _shown(origin: Json, lun: int | None, size: int) -> Json:
    found: Json = {
        **origin,
        "caching": "ReadWrite" if lun is None else "None",
        "diskSizeGB": -(-size // GIB),
        "storageAccountType": "Standard_LRS",
    }
    return found if lun is None else {"lun": lun, **found}


def _check_luns(data: list[Json]) -> None:
    seen: set[int] = set()
    for disk in data:
        if "lun" not in disk:
            raise missing_parameter("dataDisk.lun")
        if not 0 <= disk["lun"] <= HIGHEST_LUN:
            raise invalid_parameter(
                f"The value '{disk['lun']}' of parameter 'dataDisk.lun' is out of range. The value must be "
                f"between '0' and '{HIGHEST_LUN}', inclusive.",
                "dataDisk.lun",
            )
        if disk["lun"] in seen:
            raise invalid_parameter(f"A disk at LUN {disk['lun']} already exists.", "dataDisk.lun")
        seen.add(disk["lun"])

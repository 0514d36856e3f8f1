"""What a gallery image version is made of: a VM, an image, another version, or disks, snapshots and blobs.

Decides only: which VHDs, and whether they are what the image definition says. The texts of refusals are
those of docs: troubleshooting-shared-images, unless they say `NotSupportedByStamp`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from vmstamp.arm.catalog import Catalog, Clock, utc_now
from vmstamp.arm.compute.disk_sources import DISKS, SNAPSHOTS, check_whole
from vmstamp.arm.compute.vhds import Vhds
from vmstamp.arm.compute.vm_blob_disks import ACCOUNTS
from vmstamp.arm.compute.vm_disk import read_disks
from vmstamp.arm.compute.vm_disks import HIGHEST_LUN
from vmstamp.arm.faults import (
    invalid_parameter,
    invalid_property_id,
    missing_parameter,
    not_allowed,
    unsupported,
)
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.types import Put
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId, parse_resource_id

MACHINES: Final = "Microsoft.Compute/virtualMachines"
IMAGES: Final = "Microsoft.Compute/images"
PATH: Final = "properties.storageProfile"

Trait = tuple[str, str, str]  # a resource's id, the name of a property of the definition, its value there


@dataclass(frozen=True)
class SourceDisk:
    """One VHD: where it lies, its virtual size in bytes; `disk`: a managed disk to be folded first, or ''."""

    place: list[str]
    size: int
    caching: str = "None"
    disk: str = ""


@dataclass(frozen=True)
class Source:
    """VHDs by `os` or LUN, and what is known of the system on them. `machine`: a VM to be folded first."""

    disks: Mapping[str, SourceDisk]
    traits: tuple[Trait, ...] = ()
    machine: str = ""


class GallerySources:
    """Finds sources. `state_of` gives a managed disk's state, `running` whether a VM runs."""

    def __init__(
        self,
        catalog: Catalog,
        vhds: Vhds,
        state_of: Callable[[Resource], str],
        running: Callable[[Resource], bool],
        now: Clock = utc_now,
    ) -> None:
        self._catalog = catalog
        self._vhds = vhds
        self._state_of = state_of
        self._running = running
        self._now = now

    def find(self, put: Put, profile: Json, definition: Resource) -> Source:
        """The source that a new version's storageProfile names. Raises AzureError."""
        whole = profile.get("source", {})
        parts = "osDiskImage" in profile or "dataDiskImages" in profile
        given = whole.get("id") or whole.get("virtualMachineId")
        if bool(given) == parts:
            raise invalid_parameter(
                "The gallery artifact version source can only be specified either directly under "
                "storageProfile or within individual OS or data disks. One and only one source type (user "
                "image, snapshot, disk, virtual machine) can be provided.",
                "galleryImageVersion.properties.storageProfile",
            )
        source = self._whole(put, given) if given else self._parts(put, profile)
        _check_traits(source, definition)
        return source

    # -- one resource with all disks

    def _whole(self, put: Put, text: str) -> Source:
        id = _parse(text, f"{PATH}.source.id")
        match id.type.lower():
            case "microsoft.compute/virtualmachines":
                return self._machine(self._get(put, id))
            case "microsoft.compute/images":
                return _image(self._get(put, id))
            case "microsoft.compute/galleries/images/versions":
                return self._version(put, id)
        raise invalid_parameter(
            f"The source id: {text} must either be a managed image, virtual machine or another gallery image "
            "version",
            "galleryImageVersion.properties.storageProfile.source.id",
        )

    def _get(self, put: Put, id: ResourceId) -> Resource:
        found = self._catalog.find(id)
        if found is None or found.location != put.location or found.provisioning_state == "Deleting":
            raise source_not_found(str(id))
        return found

    def _machine(self, vm: Resource) -> Source:
        disks = read_disks(vm.state)
        if any(not disk.managed for disk in disks):
            raise invalid_parameter(
                f"Source virtual machine {vm.id} must be created from Managed Disks",
                "galleryImageVersion.properties.storageProfile.source.id",
            )
        if self._running(vm):
            raise unsupported(f"A gallery image version of the running VM '{vm.name}' (deallocate it first)")
        profile = vm.properties["storageProfile"]
        caching = {d["lun"]: d.get("caching", "None") for d in profile["dataDisks"]}
        caching[None] = profile["osDisk"].get("caching", "ReadWrite")
        found = {_key(d.lun): SourceDisk(d.place, d.size, caching[d.lun]) for d in disks}
        os_state = "Generalized" if vm.state["generalized"] else "Specialized"
        return Source(found, _traits(vm, os_state, f"V{vm.state['generation']}", "Linux"), str(vm.id))

    def _version(self, put: Put, id: ResourceId) -> Source:
        version, definition = self._catalog.find(id), self._catalog.find(id.parent)
        replica = version.state["replicas"].get(put.location) if version else None
        if version is None or definition is None or not replica or version.provisioning_state != "Succeeded":
            raise source_not_found(str(id))
        profile = version.properties["storageProfile"]
        caching = {str(d["lun"]): d["hostCaching"] for d in profile.get("dataDiskImages", [])}
        caching["os"] = profile["osDiskImage"]["hostCaching"]
        found = {
            key: SourceDisk(replica[key], size, caching[key]) for key, size in version.state["sizes"].items()
        }
        said = definition.properties
        return Source(found, _traits(version, said["osState"], said["hyperVGeneration"], said["osType"]))

    # -- disks one by one

    def _parts(self, put: Put, profile: Json) -> Source:
        if "osDiskImage" not in profile:
            raise missing_parameter("galleryImageVersion.properties.storageProfile.osDiskImage")
        data = profile.get("dataDiskImages", [])
        _check_luns(data)
        found: dict[str, SourceDisk] = {}
        traits: tuple[Trait, ...] = ()
        seen: set[str] = set()
        for given in (profile["osDiskImage"], *data):
            lun = given.get("lun")
            disk, named, known = self._part(put, given, "osDiskImage" if lun is None else "dataDiskImages")
            if named.lower() in seen:
                raise invalid_parameter(
                    "Duplicated source ids are found in the input disks. Source id should be unique for "
                    "each disk.",
                    "galleryImageVersion.properties.storageProfile",
                )
            seen.add(named.lower())
            found[_key(lun)] = disk
            traits += known if lun is None else ()
        return Source(found, traits)

    def _part(self, put: Put, given: Json, part: str) -> tuple[SourceDisk, str, tuple[Trait, ...]]:
        source = given.get("source", {})
        caching = given.get("hostCaching", "ReadWrite" if part == "osDiskImage" else "None")
        if url := source.get("uri"):
            return self._blob(put, url, caching), url, ()
        if "id" not in source:
            raise missing_parameter(f"galleryImageVersion.properties.storageProfile.{part}.source")
        id = _parse(source["id"], f"{PATH}.{part}.source.id")
        if id.type.lower() not in (DISKS.lower(), SNAPSHOTS.lower()):
            raise invalid_parameter(
                f"The source id: {source['id']} must be a managed disk or snapshot.",
                f"galleryImageVersion.properties.storageProfile.{part}.source.id",
            )
        disk = self._get(put, id)
        self._check_disk(disk)
        place, size = disk.state["place"], int(disk.state["size"])
        known = _traits(
            disk, "", disk.properties.get("hyperVGeneration", ""), disk.properties.get("osType", "")
        )
        folded = "" if disk.type == SNAPSHOTS.lower() else str(disk.id)
        return SourceDisk(place, size, caching, folded), str(disk.id), known

    def _check_disk(self, disk: Resource) -> None:
        if disk.type == SNAPSHOTS.lower():
            check_whole(disk, self._now())
        elif (state := self._state_of(disk)) not in ("Unattached", "Reserved", "ActiveSAS"):
            raise not_allowed(
                f"The disk '{disk.name}' is in state {state}; a gallery image version can be made of it when "
                "its VM is deallocated."
            )

    def _blob(self, put: Put, url: str, caching: str) -> SourceDisk:
        ref = self._vhds.find_url(url)
        accounts = self._catalog.select(type=ACCOUNTS)
        account = next((a for a in accounts if ref and a.name == ref.account), None)
        if ref is None or account is None or account.location != put.location or not self._vhds.exists(ref):
            raise source_not_found(url)
        if not self._vhds.is_page_blob(ref):
            raise AzureError(
                400,
                "IncorrectImageBlobType",
                f"The blob {self._vhds.url(ref)} is not a page blob. Only page blobs can be VHDs.",
            )
        return SourceDisk(list(ref), self._vhds.check(ref, put.id.name), caching)


def _image(image: Resource) -> Source:
    if image.provisioning_state != "Succeeded":
        raise not_allowed(f"The Image '{image.name}' is in provisioning state {image.provisioning_state}.")
    profile = image.properties["storageProfile"]
    caching = {str(d["lun"]): d.get("caching", "None") for d in profile.get("dataDisks", [])}
    caching["os"] = profile["osDisk"].get("caching", "ReadWrite")
    found = {
        key: SourceDisk(disk["place"], int(disk["size"]), caching.get(key, "None"))
        for key, disk in image.state["disks"].items()
    }
    os_disk = profile["osDisk"]
    generation = image.properties.get("hyperVGeneration", "V1")
    return Source(found, _traits(image, os_disk["osState"], generation, os_disk["osType"]))


def _key(lun: int | None) -> str:
    return "os" if lun is None else str(lun)


def _traits(resource: Resource, os_state: str, generation: str, os_type: str) -> tuple[Trait, ...]:
    known = (("osState", os_state), ("hyperVGeneration", generation), ("osType", os_type))
    return tuple((str(resource.id), name, value) for name, value in known if value)


# What the service calls a trait: of the source, and of the definition.
_WORDS: Final = {
    "osState": ("OS state", "OS state"),
    "hyperVGeneration": ("Hypervisor generation", "Hypervisor generation"),
    "osType": ("OS type", "OS type generation"),
}


def _check_traits(source: Source, definition: Resource) -> None:
    for id, name, value in source.traits:
        wanted = definition.properties[name]
        if value != wanted:
            own, parents = _WORDS[name]
            raise AzureError(
                400,
                "BadRequest",
                f"The resource with id '{id}' has a different {own} ['{value}'] than the parent gallery "
                f"image {parents} ['{wanted}'].",
            )


def _check_luns(data: list[Json]) -> None:
    luns = [disk.get("lun") for disk in data]
    for lun in luns:
        if lun is None:
            raise missing_parameter("galleryImageVersion.properties.storageProfile.dataDiskImages.lun")
        if not 0 <= lun <= HIGHEST_LUN:
            raise invalid_parameter(
                f"The value '{lun}' of parameter 'dataDiskImages.lun' is out of range. The value must be "
                f"between '0' and '{HIGHEST_LUN}', inclusive.",
                "galleryImageVersion.properties.storageProfile.dataDiskImages.lun",
            )
    if len(set(luns)) != len(luns):
        raise invalid_parameter(
            "Duplicated lun numbers have been detected in the input data disks. Lun number must be unique "
            "for each data disk.",
            "galleryImageVersion.properties.storageProfile.dataDiskImages",
        )


def _parse(text: str, path: str) -> ResourceId:
    try:
        return parse_resource_id(text)
    except ValueError as error:
        raise invalid_property_id(text, path) from error


def source_not_found(what: str) -> AzureError:
    return AzureError(
        404,
        "NotFound",
        f"Source {what} is not found. Please check source exists, and is in the same region as gallery image "
        "version being created.",
    )

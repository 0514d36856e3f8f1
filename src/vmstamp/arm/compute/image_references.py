"""What an imageReference names: a managed image, a gallery's image version or its latest, a platform image.

A definition's id stands for its version with the highest number that is not excluded from latest and has a
replica in the region. Texts of refusals: docs, troubleshooting-shared-images; PlatformImageNotFound is
Azure's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.compute.galleries import DEFINITIONS, VERSIONS, version_number
from vmstamp.arm.compute.platform_images import PROVIDER, TYPES, PlatformImages, azure_id
from vmstamp.arm.compute.vhds import Vhds, place
from vmstamp.arm.faults import (
    invalid_parameter,
    missing_parameter,
    not_allowed,
    not_found,
    unsupported,
)
from vmstamp.arm.locations import Locations
from vmstamp.arm.resource import Json, Resource
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId, parse_resource_id

IMAGES: Final = "Microsoft.Compute/images"
WORDS: Final = ("publisher", "offer", "sku", "version")


@dataclass(frozen=True)
class VmImage:
    """What virtual machines and disks are made of.

    `disks`: `os` or LUN -> {place, size in bytes}; `reference`: the imageReference as it is shown;
    `origin`: the creationData of a disk that is made of the image, but for its LUN.
    """

    generation: int
    specialized: bool
    disks: Mapping[str, Json]
    reference: Json
    origin: Json
    os_type: str = "Linux"
    luns: tuple[int, ...] = field(default=())

    def creation(self, lun: int | None) -> Json:
        """creationData of the disk at a LUN, None: the OS disk."""
        link = {} if lun is None else {"lun": lun}
        return {
            "createOption": "FromImage",
            **{name: {**value, **link} for name, value in self.origin.items()},
        }


class ImageReferences:
    """Resolves references. Reads the catalog and looks for VHDs, changes nothing."""

    def __init__(self, catalog: Catalog, vhds: Vhds, platform: PlatformImages) -> None:
        self._catalog = catalog
        self._vhds = vhds
        self._platform = platform

    def resolve(self, reference: Json, location: str, subscription: str) -> VmImage:
        """The image of a virtual machine's imageReference. Raises AzureError."""
        given = [name for name in WORDS if reference.get(name)]
        if not reference.get("id"):
            for name in WORDS:
                if name not in given:
                    raise missing_parameter(f"imageReference.{name}" if given else "imageReference")
            return self._platform_image(reference, location, subscription)
        if given:
            raise invalid_parameter(
                f"Parameter 'imageReference.{given[0]}' is not allowed when imageReference.id is given.",
                "imageReference",
            )
        id = _parse(reference["id"])
        match id.type.lower():
            case "microsoft.compute/images":
                return self._managed_image(id, reference, location)
            case "microsoft.compute/galleries/images":
                return self._latest(id, reference, location)
            case "microsoft.compute/galleries/images/versions":
                if id.name.lower() == "latest":
                    return self._latest(id.parent, reference, location)
                return self._version(id, reference, location)
        raise unsupported(f"The image reference '{reference['id']}'", target="imageReference.id")

    def for_disk(self, creation: Json, location: str, subscription: str) -> tuple[VmImage, int | None]:
        """The image of a disk's creationData and the LUN of the disk in it, None: the OS disk."""
        links = [name for name in ("imageReference", "galleryImageReference") if creation.get(name)]
        if len(links) != 1 or not creation[links[0]].get("id"):
            raise missing_parameter("disk.creationData.imageReference.id")
        link = creation[links[0]]
        words = _platform_words(link["id"])
        if links[0] == "galleryImageReference":
            id = _parse(link["id"])
            if id.type.lower() != VERSIONS.lower():
                raise unsupported(f"The image reference '{link['id']}'", target="galleryImageReference.id")
            image = self._version(id, {"id": link["id"]}, location)
        elif words:
            image = self._platform_image(dict(zip(WORDS, words, strict=True)), location, subscription)
        else:
            raise unsupported(f"The image reference '{link['id']}'", target="imageReference.id")
        lun = link.get("lun")
        if ("os" if lun is None else str(lun)) not in image.disks:
            raise invalid_parameter("The value of parameter imageReference is invalid.", "imageReference")
        return image, lun

    def _managed_image(self, id: ResourceId, reference: Json, location: str) -> VmImage:
        image = self._catalog.find(id)
        if image is None or image.location != location or image.provisioning_state == "Deleting":
            raise not_found(f"The Image '{id}' cannot be found in '{location}' region.")
        if image.provisioning_state != "Succeeded":
            raise not_allowed(
                f"The Image '{image.name}' is in provisioning state {image.provisioning_state}."
            )
        os_disk = image.properties["storageProfile"]["osDisk"]
        return _made(
            f"{image.properties.get('hyperVGeneration')}",
            os_disk["osState"],
            os_disk["osType"],
            image.state["disks"],
            reference,
            {"imageReference": {"id": str(image.id)}},
        )

    def _version(self, id: ResourceId, reference: Json, location: str) -> VmImage:
        version, definition = self._catalog.find(id), self._catalog.find(id.parent)
        if version is None or definition is None or not self._replicated(version, location):
            raise gallery_image_not_found(str(id), location)
        disks = {
            key: {"place": vhd, "size": version.state["sizes"][key]}
            for key, vhd in version.state["replicas"][location].items()
        }
        said = definition.properties
        return _made(
            said["hyperVGeneration"],
            said["osState"],
            said["osType"],
            disks,
            {**reference, "exactVersion": version.name},
            {"galleryImageReference": {"id": str(version.id)}},
        )

    def _latest(self, definition: ResourceId, reference: Json, location: str) -> VmImage:
        found = [
            version
            for version in self._catalog.select(type=VERSIONS, scope=str(definition))
            if self._replicated(version, location) and not _excluded(version, location)
        ]
        if not found:
            raise gallery_image_not_found(str(definition), location)
        newest = max(found, key=lambda version: version_number(version.name))
        return self._version(newest.id, reference, location)

    def _replicated(self, version: Resource, location: str) -> bool:
        """Whether a version can be used in a region: its replica there is whole."""
        replica = version.state["replicas"].get(location)
        gone = version.provisioning_state in ("Deleting", "Failed")
        return bool(replica) and not gone and all(self._vhds.exists(place(v)) for v in replica.values())

    def _platform_image(self, reference: Json, location: str, subscription: str) -> VmImage:
        words = {name: reference[name] for name in WORDS}
        image = self._platform.get(**words)
        return _made(
            image.properties["hyperVGeneration"],
            "Generalized",
            image.properties["osDisk"].get("osType", "Linux"),
            image.state["disks"],
            {**words, "exactVersion": image.name},
            {"imageReference": {"id": azure_id(subscription, location, list(image.id.names[2:]))}},
        )


def _made(
    generation: str, os_state: str, os_type: str, disks: Mapping[str, Json], reference: Json, origin: Json
) -> VmImage:
    if os_type != "Linux":
        raise unsupported(f"A virtual machine with operating system {os_type}", target="imageReference")
    luns = tuple(sorted(int(key) for key in disks if key != "os"))
    number = 2 if generation == "V2" else 1
    return VmImage(number, os_state == "Specialized", disks, reference, origin, os_type, luns)


def _excluded(version: Resource, location: str) -> bool:
    publishing = version.properties["publishingProfile"]
    here = [r for r in publishing["targetRegions"] if Locations.normalize(r["name"]) == location]
    return bool(publishing["excludeFromLatest"]) or any(r.get("excludeFromLatest") for r in here)


def _parse(text: str) -> ResourceId:
    try:
        return parse_resource_id(text)
    except ValueError:
        return ResourceId("")


def _platform_words(text: str) -> tuple[str, str, str, str] | None:
    """Publisher, offer, SKU and version in a platform image's id, None for another id."""
    id = _parse(text)
    kinds = tuple(kind.lower() for kind in id.types)
    if id.provider.lower() != "microsoft.compute" or kinds != (
        "locations",
        "publishers",
        "artifacttypes",
        "offers",
        "skus",
        "versions",
    ):
        return None
    return id.names[1], id.names[3], id.names[4], id.names[5]


def used_images(reference: Json, subscription: str) -> Iterator[str]:
    """The ids of what a stored imageReference rests on: to know who uses an image."""
    exact = reference.get("exactVersion", "")
    if id := reference.get("id"):
        yield f"{id}/versions/{exact}" if _parse(id).type.lower() == DEFINITIONS.lower() else id
    elif exact:
        names = ("global", "platformImage", *(reference[name] for name in WORDS[:3]), exact)
        yield str(ResourceId(subscription, "", PROVIDER, TYPES, names))


def gallery_image_not_found(id: str, location: str) -> AzureError:
    return AzureError(
        404,
        "GalleryImageNotFound",
        f"The gallery image {id} is not available in {location} region. Please contact image owner to "
        "replicate to this region, or change your requested region.",
        target="imageReference",
    )

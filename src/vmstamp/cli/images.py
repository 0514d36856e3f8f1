"""Images: made of page blobs, named, listed, shown. Nothing here reads a disk or a blob."""

from __future__ import annotations

from dataclasses import dataclass

from vmstamp.cli.arm_client import ArmClient, Document
from vmstamp.cli.names import check_name
from vmstamp.cli.resources import ensure_group, make
from vmstamp.cli.wanted import Cost, Wanted
from vmstamp.errors import VmstampError

IMAGES = "Microsoft.Compute/images"


@dataclass(frozen=True)
class DataVhd:
    """A data disk of an image: its LUN and its VHD's blob URL."""

    lun: int
    url: str


@dataclass(frozen=True)
class ImageRequest:
    """What an image is made of. `generation` is 1 or 2; `os_state` Generalized or Specialized."""

    name: str
    group: str
    generation: int
    os_state: str = "Generalized"
    location: str = ""
    tags: tuple[tuple[str, str], ...] = ()


def image_id(arm: ArmClient, group: str, image: str) -> str:
    """The id of an image that was named by name or by id."""
    return image if image.startswith("/") else arm.resource_id(group, IMAGES, image)


@dataclass(frozen=True)
class VmSource:
    """What a VM is made of: its imageReference, the LUNs of the image's data disks, the image's region."""

    reference: Document
    luns: tuple[int, ...] = ()
    location: str = ""


def vm_source(arm: ArmClient, group: str, image: str) -> VmSource:
    """An image by name or id, a gallery's image or version by id, or PUBLISHER:OFFER:SKU:VERSION."""
    words = image.split(":")
    if len(words) == 4 and not image.startswith("/"):
        return VmSource(dict(zip(("publisher", "offer", "sku", "version"), words, strict=True)))
    document = arm.get(image_id(arm, group, image))
    profile = document["properties"].get("storageProfile", {})
    disks = profile.get("dataDisks") or profile.get("dataDiskImages") or []
    luns = tuple(sorted(int(one["lun"]) for one in disks))
    return VmSource({"id": document["id"]}, luns, str(document.get("location") or ""))


def refuse_existing(arm: ArmClient, request: ImageRequest) -> None:
    """Raise before anything is moved when the name is bad or taken."""
    check_name("image", request.name)
    if arm.find(image_id(arm, request.group, request.name)):
        raise VmstampError(
            f"image {request.name} exists already in resource group {request.group}",
            hint=f"vmstamp image delete {request.name}, or take another name",
        )


def create_image(arm: ArmClient, request: ImageRequest, url: str, data: tuple[DataVhd, ...] = ()) -> Document:
    """PUT the image of VHDs that lie in page blobs."""
    ensure_group(arm, request.group)
    return make(arm, image_wanted(arm, request, url, data))


def image_wanted(arm: ArmClient, request: ImageRequest, url: str, data: tuple[DataVhd, ...] = ()) -> Wanted:
    """The image. Azure bills it as a snapshot of its disks."""
    profile: Document = {
        "osDisk": {"osType": "Linux", "osState": request.os_state, "blobUri": url, "caching": "ReadWrite"},
        "dataDisks": [{"lun": vhd.lun, "blobUri": vhd.url, "caching": "None"} for vhd in data],
    }
    body = {
        "location": arm.region(request.group, request.location),
        "tags": dict(request.tags),
        "properties": {"hyperVGeneration": f"V{request.generation}", "storageProfile": profile},
    }
    return Wanted("image", image_id(arm, request.group, request.name), body, Cost.STORAGE)


def get_image(arm: ArmClient, group: str, name: str) -> Document:
    return arm.get(image_id(arm, group, name))


def list_images(arm: ArmClient, group: str) -> list[Document]:
    """The images of a group; none when the group is not there."""
    return list(arm.list_in_group(group, IMAGES))


def vhds_of(image: Document) -> list[str]:
    """The blob URLs of an image's VHDs, the OS disk's first."""
    profile = image["properties"]["storageProfile"]
    disks = [profile["osDisk"], *profile.get("dataDisks", [])]
    return [str(one["blobUri"]) for one in disks if one.get("blobUri")]

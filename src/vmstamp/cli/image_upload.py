"""Images of disk files: the upload, then the image."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vmstamp import settings
from vmstamp.cli.arm_client import ArmClient, Document
from vmstamp.cli.images import ImageRequest, create_image, refuse_existing
from vmstamp.cli.names import blob_name
from vmstamp.cli.render import Reporter
from vmstamp.cli.storage import destination, drop, find_account_document, own_account_name, upload_disk
from vmstamp.cli.wanted import Cost, Wanted
from vmstamp.disk import Disk
from vmstamp.errors import VmstampError
from vmstamp.transfer.blobs import without_sas
from vmstamp.transfer.upload import Uploaded


@dataclass(frozen=True)
class FileImage:
    """An image that was made of a file: the image's document and what the upload did."""

    image: Document
    uploaded: Uploaded

    def to_json(self) -> dict[str, Any]:
        return {"image": self.image, "upload": asdict(self.uploaded)}


def create_image_of_disk(
    arm: ArmClient,
    request: ImageRequest,
    source: Disk,
    *,
    overwrite: bool,
    report: Reporter,
    account: str = "",
) -> FileImage:
    """Upload a disk and make an image of it; the blob goes again when the image cannot be made."""
    refuse_existing(arm, request)
    refuse_other_region(arm, request, account)
    blob = destination(arm, request.group, blob_name(f"{request.name}.vhd"), account)
    arm.made[without_sas(blob.url)] = Wanted("blob", without_sas(blob.url), cost=Cost.STORAGE)
    uploaded = upload_disk(source, blob, overwrite=overwrite, report=report)
    try:
        image = create_image(arm, request, uploaded.url)
    except BaseException:
        if drop(blob):
            del arm.made[without_sas(blob.url)]
        raise
    report.say(f"image {request.name} is there (generation {request.generation}, {request.os_state.lower()})")
    return FileImage(image, uploaded)


def refuse_other_region(arm: ArmClient, request: ImageRequest, account: str = "") -> None:
    """VmstampError when the account of the upload lies in another region than the image would; before it."""
    name = account or own_account_name(arm)
    there = find_account_document(arm, name)
    region = arm.region(request.group)
    if there is None or region_name(str(there["location"])) == region_name(region):
        return
    raise VmstampError(
        f"image {request.name} would lie in {region}, but storage account {name} is in {there['location']}: "
        "an image is made of a blob of its own region",
        hint=f"pass --location {there['location']}, or name another account by {settings.ACCOUNT.variable}",
    )


def region_name(text: str) -> str:
    """A region as Azure compares it: `West Europe` is westeurope."""
    return text.replace(" ", "").lower()

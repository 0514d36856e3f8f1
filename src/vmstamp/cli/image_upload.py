"""Images of disk files: the upload, then the image."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from vmstamp.cli.arm_client import ArmClient, Document
from vmstamp.cli.images import ImageRequest, create_image, refuse_existing
from vmstamp.cli.names import blob_name
from vmstamp.cli.render import Reporter
from vmstamp.cli.resources import Cost, Wanted
from vmstamp.cli.storage import destination, drop, upload_disk
from vmstamp.disk import Disk
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

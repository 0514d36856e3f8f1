"""Platform images: what was built here, put into a stamp's catalogue by Azure Stack Hub's operator's API."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import vmstamp.disk
from vmstamp import recipes
from vmstamp.cli.arm_client import ArmClient
from vmstamp.cli.render import Reporter
from vmstamp.cli.storage import destination, drop, upload_disk

CONTAINER = "platform-images"


def version_of(built: datetime) -> str:
    """A version after the time of the build, to the minute: `0.20260131.754`."""
    return f"0.{built:%Y%m%d}.{built.hour * 60 + built.minute}"


def publish(arm: ArmClient, group: str, recipe: str, path: Path, report: Reporter) -> str:
    """Put a recipe's disk into the catalogue, unless this very build is there; its URN.

    The disk goes there through a blob of the stamp's own account, which is deleted again: the image shares
    its bytes.
    """
    known = recipes.get_recipe(recipe)
    version = version_of(datetime.fromtimestamp(path.stat().st_mtime, UTC))
    urn = f"{known.publisher}:{known.offer}:{known.sku}:{version}"
    scope = f"/subscriptions/{arm.endpoint.subscription}/providers/Microsoft.Compute.Admin"
    resource = (
        f"{scope}/locations/{arm.endpoint.location}/artifactTypes/platformImage/publishers/{known.publisher}"
        f"/offers/{known.offer}/skus/{known.sku}/versions/{version}"
    )
    if arm.find(resource) is not None:
        report.say(f"platform image {urn} is there already")
        return urn
    blob = destination(arm, group, f"{CONTAINER}/{recipe}-{version}.vhd")
    with vmstamp.disk.open(path) as disk:
        uploaded = upload_disk(disk, blob, overwrite=True, report=report)
    properties = {
        "osDisk": {"osType": "Linux", "uri": uploaded.url},
        "hyperVGeneration": f"V{known.generation}",
    }
    try:
        arm.put(resource, {"properties": properties})
    finally:
        drop(blob)
    return urn

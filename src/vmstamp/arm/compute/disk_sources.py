"""What new disks and snapshots are made of: blobs, uploads; and which disk or snapshot is copied.

REST: Disks, CreationData. Everything here decides and raises; nothing is made.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.compute.snapshot_copies import is_complete
from vmstamp.arm.compute.vhds import GIB, MIB, Vhds
from vmstamp.arm.compute.vm_disk import LARGEST_GIB
from vmstamp.arm.faults import (
    invalid_content,
    invalid_parameter,
    invalid_property_id,
    missing_parameter,
    not_allowed,
    not_found,
    unsupported,
)
from vmstamp.arm.resource import Json, Reference, Resource
from vmstamp.arm.types import Put
from vmstamp.disk.footer import FOOTER_SIZE
from vmstamp.errors import AzureError
from vmstamp.resource_id import ResourceId, parse_resource_id

DISKS: Final = "Microsoft.Compute/disks"
SNAPSHOTS: Final = "Microsoft.Compute/snapshots"
# uploadSizeBytes, footer included (REST: Disks, CreationData).
SMALLEST_UPLOAD, LARGEST_UPLOAD = 20972032, 35183298347520
LARGEST_KEPT_GIB = 8191  # with its footer it is a page blob, which has at most 8 TiB
INHERITED: Final = ("osType", "hyperVGeneration", "purchasePlan", "supportedCapabilities")


def import_source(put: Put, creation: Json, catalog: Catalog, vhds: Vhds) -> tuple[list[str], int]:
    """The blob of createOption Import and the virtual size of its VHD in bytes. Raises AzureError."""
    url = creation.get("sourceUri")
    if not url:
        raise missing_parameter("sourceUri")
    ref = vhds.find_url(url)
    account = _account(catalog, ref.account) if ref else None
    if ref is None or account is None or not vhds.exists(ref):
        raise AzureError(404, "DiskBlobNotFound", f"Unable to find VHD blob with URI {url}.")
    _check_account_id(put, creation, account)
    if account.location != put.location:
        raise AzureError(
            400,
            "BadRequest",
            f"The source blob {vhds.url(ref)} does not belong to the same region as the disk.",
        )
    no_vhd = AzureError(400, "BadRequest", "Only blobs formatted as VHDs can be imported.")
    if not vhds.is_page_blob(ref):
        raise no_vhd
    try:
        return list(ref), vhds.check(ref, put.id.name)
    except AzureError as error:
        if vhds.has_cookie(ref):  # dynamic, of a broken number of MiB, ...
            raise no_vhd from error
        raise


def _check_account_id(put: Put, creation: Json, account: Resource) -> None:
    """A blob's account of another subscription must be named by its id; in one's own, templates write URIs.

    Documentation: Disks, CreationData, storageAccountId.
    """
    if account.id.subscription.lower() == put.id.subscription.lower():
        return
    given = creation.get("storageAccountId")
    if not given:
        raise missing_parameter("storageAccountId")
    if str(given).lower() != account.id.key:
        raise invalid_property_id(given, "properties.creationData.storageAccountId")


def _account(catalog: Catalog, name: str) -> Resource | None:
    found = catalog.select(type="Microsoft.Storage/storageAccounts")
    return next((account for account in found if account.name == name), None)


def check_creation(creation: Json) -> None:
    """Whether a new disk or snapshot tells what it is made of. Raises InvalidParameter."""
    if "createOption" not in creation:
        raise missing_parameter("creationData.createOption" if creation else "creationData")


def new_properties(catalog: Catalog) -> Json:
    """What every new disk and snapshot has."""
    return {
        "uniqueId": str(uuid.uuid4()),
        "timeCreated": catalog.now(),
        "networkAccessPolicy": "AllowAll",
        "publicNetworkAccess": "Enabled",
        "encryption": {"type": "EncryptionAtRestWithPlatformKey"},
    }


def upload_size(creation: Json) -> int:
    """The uploadSizeBytes of createOption Upload. Raises AzureError."""
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
    _refuse_beyond(length - FOOTER_SIZE)
    return int(length)


def copied_id(creation: Json) -> ResourceId:
    """The id of the disk or snapshot that is copied. Raises AzureError.

    Older clients (PowerShell's -SourceUri) send it as sourceUri.
    """
    path = "properties.creationData.sourceResourceId"
    text = creation.get("sourceResourceId") or creation.get("sourceUri")
    if not text:
        raise missing_parameter("sourceUri")
    try:
        found = parse_resource_id(text)
    except ValueError as error:
        raise invalid_property_id(text, path) from error
    if found.type.lower() not in (DISKS.lower(), SNAPSHOTS.lower()):
        raise invalid_property_id(text, path)
    return found


def copy_source(put: Put, creation: Json, catalog: Catalog, now: datetime) -> Resource:
    """The disk or snapshot that createOption Copy names: in the same region, whole. Raises AzureError."""
    id = copied_id(creation)
    found = catalog.find(id)
    if found is None or found.location != put.location or found.provisioning_state == "Deleting":
        kind = "Disk" if id.type.lower() == DISKS.lower() else "Snapshot"
        raise not_found(f"{kind} {id.name} is not found.")
    check_whole(found, now)
    return found


def copied(resource: Resource) -> Iterator[Reference]:
    """What a disk or snapshot is a copy of, while it is being made."""
    if "copy of" in resource.state and resource.provisioning_state not in ("Succeeded", "Failed"):
        yield Reference("copy source", resource.state["copy of"], str(resource.id))


def check_whole(source: Resource, now: datetime) -> None:
    """Whether all bytes of a disk or snapshot are there. Raises OperationNotAllowed."""
    kind = "Disk" if source.type == DISKS.lower() else "Snapshot"
    if source.state.get("upload", "done") != "done":
        raise not_allowed(f"{kind} {source.name} is being uploaded and cannot be copied.")
    if source.provisioning_state != "Succeeded" or not is_complete(source, now):
        raise not_allowed(
            f"{kind} {source.name} is not ready: its bytes are there when its provisioningState is Succeeded "
            "and its completionPercent, if it has one, is 100."
        )


def check_size(size_gib: int | None) -> None:
    """Raises InvalidParameter for a diskSizeGB that no disk has."""
    if size_gib is not None and not 1 <= size_gib <= LARGEST_GIB:
        raise invalid_parameter(
            f"The value '{size_gib}' of parameter 'disk.diskSizeGB' is out of range. The value must be "
            f"between '1' and '{LARGEST_GIB}', inclusive.",
            "disk.diskSizeGB",
        )
    if size_gib is not None:
        _refuse_beyond(size_gib * GIB)


def _refuse_beyond(size: int) -> None:
    """Refuse a disk that Azure has and that no page blob holds, by name."""
    if size > LARGEST_KEPT_GIB * GIB:
        raise unsupported(f"A disk of {size} bytes (the largest here has {LARGEST_KEPT_GIB} GiB)")


def at_least(size: int, size_gib: int | None) -> int:
    """The size in bytes of what is made of a source of `size` bytes. Raises OperationNotAllowed."""
    if size_gib is None or size_gib * GIB == size:
        return size
    if size_gib < -(-size // GIB):
        raise not_allowed(
            f"Disk with size smaller than its source is not allowed: the source has {size} bytes, "
            f"requested were {size_gib * GIB}.",
            target="diskSizeGB",
        )
    return max(size, size_gib * GIB)


@contextmanager
def passing(file: Path | None) -> Iterator[Path | None]:
    """A file that is gone at the end, if there is one and nobody adopted it."""
    try:
        yield file
    finally:
        if file is not None:
            file.unlink(missing_ok=True)


def inherited(source: Resource) -> Json:
    """What a copy takes over from its source's properties unless it says otherwise."""
    return {name: source.properties[name] for name in INHERITED if name in source.properties}


def changed_creation(name: str, given: Json, old: Json) -> AzureError | None:
    """The refusal to make what is there of something else; None when nothing else is said."""
    for member, value in given.items():
        if member == "storageAccountId":
            continue
        known = old.get("sourceResourceId" if member == "sourceUri" and member not in old else member)
        if str(value).lower() != str(known).lower():
            return AzureError(
                400,
                "BadRequest",
                f"Changing property '{member}' is not allowed for existing disk '{name}'.",
                target=member,
            )
    return None


def sku(put: Put) -> Json:
    """The SKU as it is shown. Raises InvalidRequestContent for one without a name."""
    given: Any = put.body.get("sku")
    if not given:
        shown: Json = put.existing.document["sku"] if put.existing else _sku("Standard_LRS")
        return shown
    members = {name.lower(): value for name, value in given.items()} if isinstance(given, dict) else {}
    if not isinstance(members.get("name"), str):
        raise invalid_content("Required property 'name' not found in JSON. Path 'sku'")
    return _sku(members["name"])


def _sku(name: str) -> Json:
    return {"name": name, "tier": name.split("_")[0]}

"""Disks of virtual machines in page blobs of the client's own storage accounts ("unmanaged" disks).

Capture by REST works on these alone. The texts of refusals are Azure's.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Final

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.compute.vhds import Vhds
from vmstamp.arm.compute.vm_disk import VmDisk, blob_key, gib
from vmstamp.arm.faults import invalid_parameter, missing_parameter
from vmstamp.arm.shape import Json
from vmstamp.arm.types import Put
from vmstamp.blob.records import BlobRef
from vmstamp.errors import AzureError

ACCOUNTS: Final = "Microsoft.Storage/storageAccounts"


class BlobDisks:
    """Decides blob-based disks. Reads the catalog and blobs, changes nothing."""

    def __init__(self, catalog: Catalog, vhds: Vhds) -> None:
        self._catalog = catalog
        self._vhds = vhds

    def disk(self, put: Put, given: Json, used: set[str]) -> VmDisk:
        """One disk as `given` in a storage profile. `used` are the URLs of the VM's other disks."""
        lun, kind = given.get("lun"), "osDisk" if given.get("lun") is None else "dataDisk"
        target = self._target(put, given, f"{kind}.vhd.uri", used)
        name = given.get("name") or target.name.rsplit("/", 1)[-1].removesuffix(".vhd")
        disk = VmDisk(lun, name, list(target), 0, "attach", [], str(uuid.uuid4()), "", False)
        if given["createOption"] == "Attach":
            self._check_attachable(target, name)
            return replace(disk, size=self._vhds.check(target, name))
        self._check_new(target, name, f"{kind}.vhd.uri")
        if given["createOption"] == "Empty":
            if "diskSizeGB" not in given:
                raise missing_parameter("dataDisk.diskSizeGB")
            return replace(disk, size=gib(given["diskSizeGB"]), make="empty")
        image = self._image(put, given, f"{kind}.image.uri", target, name)
        return replace(disk, size=self._vhds.check(image, name), make="copy", source=list(image))

    def _target(self, put: Put, given: Json, parameter: str, used: set[str]) -> BlobRef:
        """The blob that is or becomes the disk."""
        target = self._blob(put, given.get("vhd", {}).get("uri"), parameter)
        url = self._vhds.url(target)
        if not target.name.lower().endswith(".vhd"):
            raise invalid_parameter(f"Blob name in URL {url} must end with '.vhd' extension.", parameter)
        owner = next(iter(self._catalog.referrers(blob_key(target), "blob")), None)
        if owner and owner.source.key != put.id.key:
            raise AzureError(
                409,
                "DiskBlobAlreadyInUseByAnotherDisk",
                f"Blob {url} is already in use by another disk belonging to VM '{owner.source.name}'. You "
                "can examine the blob metadata for the disk reference information.",
            )
        if url.lower() in used:
            raise invalid_parameter(f"The blob {url} is used twice.", parameter)
        used.add(url.lower())
        return target

    def _check_attachable(self, target: BlobRef, name: str) -> None:
        self._check_page_blob(target, "DiskBlobNotFound", "IncorrectDiskBlobType")
        if self._vhds.is_leased(target):
            raise AzureError(
                409,
                "AcquireDiskLeaseFailed",
                f"Failed to acquire lease while creating disk '{name}' using blob with URI "
                f"{self._vhds.url(target)}. Blob is already in use.",
            )

    def _check_new(self, target: BlobRef, name: str, parameter: str) -> None:
        url = self._vhds.url(target)
        if "/" in target.name:
            raise invalid_parameter(
                f"Slash in the blob name of URL {url} is not supported for target disks.", parameter
            )
        if self._vhds.exists(target):
            raise AzureError(
                409,
                "TargetDiskBlobAlreadyExists",
                f"Blob {url} already exists. Please provide a different blob URI as target for disk "
                f"'{name}'.",
            )

    def _image(self, put: Put, given: Json, parameter: str, target: BlobRef, name: str) -> BlobRef:
        image = self._blob(put, given.get("image", {}).get("uri"), parameter)
        self._check_page_blob(image, "ImageBlobNotFound", "IncorrectImageBlobType")
        if image.account != target.account:
            raise invalid_parameter(
                f"Source and destination storage accounts for disk {name} are different; both must be "
                "the same.",
                parameter,
            )
        return image

    def _blob(self, put: Put, uri: str | None, parameter: str) -> BlobRef:
        """The blob that a URL names, in an account of the VM's region; it need not exist."""
        if not uri:
            raise missing_parameter(parameter)
        ref = self._vhds.find_url(uri)
        accounts = self._catalog.select(type=ACCOUNTS)
        if ref is None or not any(a.name == ref.account and a.location == put.location for a in accounts):
            raise AzureError(
                400,
                "StorageAccountNotFound" if ref else "InvalidParameter",
                f"The storage account of the URL {uri.split('?')[0]} could not be found in '{put.location}'.",
                target=parameter,
            )
        return ref

    def _check_page_blob(self, ref: BlobRef, absent: str, wrong: str) -> None:
        url = self._vhds.url(ref)
        if not self._vhds.exists(ref):
            raise AzureError(404, absent, f"Unable to find VHD blob with URI {url}.")
        if not self._vhds.is_page_blob(ref):
            raise AzureError(400, wrong, f"The blob {url} is not a page blob. Only page blobs can be VHDs.")

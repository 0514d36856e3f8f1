"""Disks of virtual machines in page blobs of the client's own storage accounts ("unmanaged" disks).

Capture by REST works on these alone. The texts of refusals are Azure's (its page "Understand common error
messages when you manage virtual machines").
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Final

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.compute.vhds import Vhds
from vmstamp.arm.compute.vm_disk import VmDisk, blob_key, gib
from vmstamp.arm.faults import invalid_parameter, missing_parameter
from vmstamp.arm.resource import Json
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
        name = given.get("name") or ""
        target = self._target(put, given, f"{kind}.vhd.uri", used, name)
        name = name or target.name.rsplit("/", 1)[-1].removesuffix(".vhd")
        disk = VmDisk(lun, name, list(target), 0, "attach", [], str(uuid.uuid4()), "", False)
        if given["createOption"] == "Attach":
            self._check_attachable(put, target, name)
            return replace(disk, size=self._vhds.check(target, name))
        empty = given["createOption"] == "Empty"
        self._check_new(target, name, f"{kind}.vhd.uri", empty=empty)
        if empty:
            if "diskSizeGB" not in given:
                raise missing_parameter("dataDisk.diskSizeGB")
            return replace(disk, size=gib(given["diskSizeGB"]), make="empty")
        image = self._image(put, given, f"{kind}.image.uri", target, name)
        return replace(disk, size=self._vhds.check(image, name), make="copy", source=list(image))

    def _target(self, put: Put, given: Json, parameter: str, used: set[str], name: str) -> BlobRef:
        """The blob that is or becomes the disk."""
        target = self._blob(put, given.get("vhd", {}).get("uri"), parameter)
        url = self._vhds.url(target)
        if not target.name.lower().endswith(".vhd"):
            raise invalid_parameter(f"Blob name in URL {url} must end with '.vhd' extension.", parameter)
        if url.lower() in used:
            raise invalid_parameter(f"A disk named '{name}' already uses the same VHD URL {url}.", parameter)
        used.add(url.lower())
        return target

    def _check_attachable(self, put: Put, target: BlobRef, name: str) -> None:
        owner = next(iter(self._catalog.referrers(blob_key(target), "blob")), None)
        if owner and owner.source.key != put.id.key:
            raise AzureError(
                409,
                "DiskBlobAlreadyInUseByAnotherDisk",
                f"Blob {self._vhds.url(target)} is already in use by another disk belonging to VM "
                f"'{owner.source.name}'. You can examine the blob metadata for the disk reference "
                "information.",
            )
        self._check_page_blob(target, name, "DiskBlobNotFound", "IncorrectDiskBlobType")
        if self._vhds.is_leased(target):
            raise AzureError(
                409,
                "AcquireDiskLeaseFailed",
                f"Failed to acquire lease while creating disk '{name}' using blob with URI "
                f"{self._vhds.url(target)}. Blob is already in use.",
            )

    def _check_new(self, target: BlobRef, name: str, parameter: str, *, empty: bool) -> None:
        url = self._vhds.url(target)
        if "/" in target.name:
            raise invalid_parameter(
                f"The blob name in URL {url} contains a slash. This is presently not supported for disks.",
                parameter,
            )
        if self._vhds.exists(target):
            wanted = "to create a new blank data disk" if empty else "as target for disk"
            raise AzureError(
                409,
                "TargetDiskBlobAlreadyExists",
                f"Blob {url} already exists. Please provide a different blob URI {wanted} '{name}'.",
            )

    def _image(self, put: Put, given: Json, parameter: str, target: BlobRef, name: str) -> BlobRef:
        image = self._blob(put, given.get("image", {}).get("uri"), parameter)
        self._check_page_blob(image, name, "ImageBlobNotFound", "IncorrectImageBlobType")
        if image.account != target.account:
            raise AzureError(
                409,
                "ConflictingUserInput",
                f"Source and destination storage accounts for disk {name} are different.",
                target=parameter,
            )
        return image

    def _blob(self, put: Put, uri: str | None, parameter: str) -> BlobRef:
        """The blob that a URL names, in an account of the VM's region; it need not exist."""
        if not uri:
            raise missing_parameter(parameter)
        ref = self._vhds.find_url(uri)
        accounts = self._catalog.select(type=ACCOUNTS)
        if ref is None:
            raise invalid_parameter(f"The URI {uri} does not look to be correct blob URI.", parameter)
        there = (a for a in accounts if a.location == put.location and a.provisioning_state != "Deleting")
        if ref.account not in {account.name for account in there}:
            raise AzureError(
                400,
                "StorageAccountNotFound",
                f"Storage account {ref.account} not found. Ensure storage account is not deleted and belongs "
                "to the same Azure location as the VM.",
                target=parameter,
            )
        return ref

    def _check_page_blob(self, ref: BlobRef, name: str, absent: str, wrong: str) -> None:
        url = self._vhds.url(ref)
        if not self._vhds.exists(ref):
            raise AzureError(404, absent, f"Unable to find VHD blob with URI {url} for disk '{name}'.")
        if not self._vhds.is_page_blob(ref):
            raise AzureError(
                400,
                wrong,
                f"Disk blobs can only be of type page blob. Blob {url} for disk '{name}' is of type block "
                "blob.",
            )

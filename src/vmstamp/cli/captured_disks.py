"""One disk of a VM that is captured: copied, server-side, to a VHD that says whose it is.

The VHD's metadata name the VM, the image and the disk, from the request on that begins the copy. So a capture
that was ended at any point, by a kill too, finds what it had begun: a VHD of a generalized VM, which can
never start again, is taken as it is when its copy is whole; any other is dropped and copied anew.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import AzureError as SdkError
from azure.storage.blob import BlobClient, BlobProperties

from vmstamp.cli.arm_client import ArmClient, Document
from vmstamp.cli.managed_disks import disk_access
from vmstamp.cli.names import CONTAINER, captured_vhd_name
from vmstamp.cli.resources import make
from vmstamp.cli.storage import Account, drop
from vmstamp.cli.vms import status_of
from vmstamp.cli.wanted import Cost, Wanted
from vmstamp.errors import AzureError, TransferError, VmstampError
from vmstamp.transfer.blobs import explain, without_sas

COPY_TIMEOUT = 3600.0  # seconds
FIRST_LOOK, LONGEST_LOOK = 0.25, 15.0  # seconds between two looks at a copy that tells no Retry-After
SNAPSHOTS = "Microsoft.Compute/snapshots"
MARK = "vmstamp_capture"  # of a VHD's metadata: Part.mark
CAPTURED_VM = "captured-vm"  # a tag: the vmId


@dataclass(frozen=True)
class CapturedDisk:
    """One copied disk: `lun` None for the OS disk, `size` the VHD's bytes."""

    lun: int | None
    url: str
    size: int


@dataclass(frozen=True)
class Part:
    """A managed disk, by its id, of a VM, by its vmId, that becomes a VHD of an image."""

    vm: str
    image: str
    lun: int | None
    disk: str

    @property
    def role(self) -> str:
        return "os" if self.lun is None else f"datadisk-{self.lun}"

    @property
    def mark(self) -> str:
        return f"{self.vm} {self.image} {self.role} {self.disk.rsplit('/', 1)[1]}"


@contextmanager
def still(arm: ArmClient, vm: Document, part: Part) -> Iterator[str]:
    """The id of what may be read of a disk: itself, or while its VM runs a snapshot, deleted at the end.

    A snapshot that a capture of the same VM left is deleted first. Raises VmstampError when another one has
    its name.
    """
    resource = arm.resource_id(part.disk.split("/")[4], SNAPSHOTS, f"{part.image}-{part.role}")
    _delete_left(arm, resource, part)
    if is_still(vm):
        yield part.disk
        return
    creation = {"createOption": "Copy", "sourceResourceId": part.disk}
    body = {"location": vm["location"], "properties": {"creationData": creation}}
    try:
        make(arm, Wanted("snapshot", resource, {**body, "tags": {CAPTURED_VM: part.vm}}, Cost.STORAGE))
    except AzureError as error:
        error.hint = error.hint or f"stop the VM first: vmstamp vm stop {vm['name']}"
        raise
    try:
        yield resource
    finally:
        arm.delete(resource)


def is_still(vm: Document) -> bool:
    """Whether a VM's disks can be read as they are, for it does not run."""
    return status_of(vm, "PowerState") in ("stopped", "deallocated")


def _delete_left(arm: ArmClient, snapshot: str, part: Part) -> None:
    found = arm.find(snapshot)
    if found is None:
        return
    if (found.get("tags") or {}).get(CAPTURED_VM) != part.vm:
        raise VmstampError(
            f"snapshot {found['name']} exists already, and is not of this VM's capture",
            hint="take another name for the image",
        )
    with suppress(AzureError):  # no access to it is open
        arm.act(snapshot, "endGetAccess")
    arm.delete(snapshot)


def copy_disk(
    arm: ArmClient, source: str, part: Part, store: Account, day: date, *, keep: bool
) -> CapturedDisk:
    """The VHD of a managed disk or snapshot (`source`) in the account, copied server-side; blocks until done.

    `keep`: one that an earlier capture of the same disk has copied is taken as it is.
    """
    begun, taken = _vhds_of(store, part)
    with disk_access(arm, source) as access:
        for name in begun:
            url = store.url(CONTAINER, name)
            with store.open_url(url) as blob:
                if keep and (size := _whole(blob)):
                    arm.made[url] = Wanted("blob", url, cost=Cost.STORAGE)
                    return CapturedDisk(part.lun, url, size)
                abandon(blob)
                taken.discard(name)
        url = store.url(CONTAINER, captured_vhd_name(part.image, part.lun, day, taken))
        with store.open_url(url) as blob:
            return CapturedDisk(part.lun, url, _copy(arm, access, blob, part))


def _vhds_of(store: Account, part: Part) -> tuple[list[str], set[str]]:
    """The names of the VHDs that captures of this very disk began, and all names that are taken."""
    try:
        with store.open() as service:
            container = service.get_container_client(CONTAINER)
            prefix = f"{part.image}-{part.role}-"
            found = list(container.list_blobs(name_starts_with=prefix, include=["metadata"]))
    except SdkError as error:
        raise explain(error, "listing", store.endpoint) from error
    mine = [str(blob.name) for blob in found if (blob.metadata or {}).get(MARK) == part.mark]
    return mine, {str(blob.name) for blob in found}


def _copy(arm: ArmClient, access: str, blob: BlobClient, part: Part) -> int:
    """Copy what lies behind a SAS to a blob that is not there yet; its size. TransferError."""
    url = without_sas(blob.url)
    arm.made[url] = Wanted("blob", url, cost=Cost.STORAGE)
    try:
        begun = blob.start_copy_from_url(
            access, metadata={MARK: part.mark}, match_condition=MatchConditions.IfMissing
        )
        return int(_finish(blob, str(begun["copy_status"])).size)
    except BaseException as error:
        if abandon(blob, part):
            arm.made.pop(url, None)
        if isinstance(error, SdkError):
            raise explain(error, "copying to", url) from error
        raise


def _whole(blob: BlobClient) -> int:
    """The size of a VHD whose copy was begun, once it is whole; 0 when it was not to be."""
    try:
        return int(_finish(blob, str(blob.get_blob_properties().copy.status)).size)
    except (SdkError, TransferError):
        return 0


def abandon(blob: BlobClient, part: Part | None = None) -> bool:
    """Delete a VHD that is not wanted, whose copy may be under way; False when that failed.

    With `part` only one that is its: a name that another took meanwhile is another's.
    """
    with suppress(SdkError):
        found = blob.get_blob_properties()
        if part is not None and (found.metadata or {}).get(MARK) != part.mark:
            return False
        if found.copy.status == "pending":
            blob.abort_copy(str(found.copy.id))
    return drop(blob)


def _finish(blob: BlobClient, state: str) -> BlobProperties:
    """Wait for a copy that was started. TransferError when it does not succeed."""
    deadline, looks = time.monotonic() + COPY_TIMEOUT, 0
    told: Mapping[str, str] = {}

    def listen(response: Any) -> None:
        nonlocal told
        told = response.http_response.headers

    while state == "pending" and time.monotonic() < deadline:
        time.sleep(pause(told, looks))
        state = str(blob.get_blob_properties(raw_response_hook=listen).copy.status)
        looks += 1
    found = blob.get_blob_properties()
    if state != "success":
        why = found.copy.status_description or "no reason given"
        raise TransferError(f"{without_sas(blob.url)}: the copy ended as {state}: {why}")
    return found


def pause(headers: Mapping[str, str], looks: int) -> float:
    """Seconds until the next look: what the service's Retry-After asks for, else twice as long each time."""
    asked = str(headers.get("Retry-After", ""))
    return float(asked) if asked.isdecimal() else min(FIRST_LOOK * 2.0 ** min(looks, 16), LONGEST_LOOK)

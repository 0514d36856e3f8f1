"""Capture a VM: its disks are copied, server-side, to VHDs, and an image is made of them.

In the classic manner (service management, x-ms-version 2014-06-01: Capture VM Image) the client says the OS
state: a generalized VM is deleted once its image is there; a specialized one may run, is captured from
snapshots then, and stays.

The VHDs lie in the storage account of the VHD that the VM's own image came from, unless another is named,
in the container `vhds`, as `<image>-os-YYYY-MM-DD.vhd` and `<image>-datadisk-<lun>-YYYY-MM-DD.vhd`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import AzureError as SdkError
from azure.storage.blob import BlobClient

from vmstamp.cli.arm_client import ArmClient, Document
from vmstamp.cli.generalize import require_generalized
from vmstamp.cli.images import DataVhd, ImageRequest, create_image, refuse_existing, vhds_of
from vmstamp.cli.managed_disks import disk_access
from vmstamp.cli.names import CONTAINER, captured_vhd_name
from vmstamp.cli.render import Reporter, bytes_text
from vmstamp.cli.storage import Account, drop, ensure_account, ensure_container, find_account
from vmstamp.cli.vms import get_vm, instance_view, status_of, vm_id
from vmstamp.errors import AzureError, TransferError, VmstampError
from vmstamp.transfer.blobs import explain, parse_blob_url, without_sas

COPY_TIMEOUT = 3600.0  # seconds
FIRST_LOOK, LONGEST_LOOK = 0.25, 15.0  # seconds between two looks at a copy that tells no Retry-After
GENERALIZED = "Generalized"
SNAPSHOTS = "Microsoft.Compute/snapshots"


@dataclass(frozen=True)
class CapturedDisk:
    """One copied disk: `lun` None for the OS disk, `size` the VHD's bytes."""

    lun: int | None
    url: str
    size: int


@dataclass(frozen=True)
class Captured:
    """The image that was made, and its VHDs."""

    image: Document
    disks: tuple[CapturedDisk, ...]

    def to_json(self) -> dict[str, Any]:
        return {"image": self.image, "disks": [vars(one) for one in self.disks]}


def capture(
    arm: ArmClient,
    group: str,
    name: str,
    image: str,
    report: Reporter,
    *,
    account: str = "",
    today: date | None = None,
    classic: bool = False,
    os_state: str = GENERALIZED,
) -> Captured:
    """Make the image `image` of a VM. Nothing is left when it fails: no VHD, no open access.

    `classic`: a generalized VM is deleted at the end. Raises AzureError (not generalized, disks in use) and
    TransferError (the copy).
    """
    vm = get_vm(arm, group, name)
    if os_state == GENERALIZED:
        require_generalized(vm)
    generation = 1 if str(instance_view(vm).get("hyperVGeneration")) == "V1" else 2
    request = ImageRequest(
        image, group, generation, os_state, location=str(vm["location"]), tags=(("captured-from", name),)
    )
    refuse_existing(arm, request)
    store = ensure_account(arm, group, account) if account else own_account(arm, group, vm)
    ensure_container(store, CONTAINER)
    day = today or datetime.now(UTC).date()
    copied: list[CapturedDisk] = []
    try:
        for lun, disk in disks_of(vm):
            with still(arm, vm, disk, f"{image}-{role_of(lun)}") as source:
                copied.append(copy_disk(arm, source, store, image, lun, day))
            report.say(f"copied {copied[-1].url.rsplit('/', 1)[1]} ({bytes_text(copied[-1].size)})")
        data = tuple(DataVhd(one.lun, one.url) for one in copied if one.lun is not None)
        document = create_image(arm, request, copied[0].url, data)
    except BaseException:
        for one in copied:
            drop(store.open_url(one.url))
        raise
    report.say(f"image {image} is there, with {len(copied) - 1} data disk(s)")
    if classic and os_state == GENERALIZED:
        arm.delete(vm_id(arm, group, name))
        report.say(f"VM {name} is deleted: a generalized VM ends with its capture")
    return Captured(document, tuple(copied))


def disks_of(vm: Document) -> list[tuple[int | None, str]]:
    """(LUN, id) of a VM's managed disks, the OS disk (LUN None) first."""
    profile = vm["properties"]["storageProfile"]
    if "managedDisk" not in profile["osDisk"]:
        raise VmstampError(
            f"VM {vm['name']} has blob-based disks, which only Azure's own capture takes",
            hint=f"az vm capture --name {vm['name']} --vhd-name-prefix PREFIX",
        )
    data = sorted(profile.get("dataDisks", []), key=lambda one: int(one["lun"]))
    return [
        (None, str(profile["osDisk"]["managedDisk"]["id"])),
        *((int(one["lun"]), str(one["managedDisk"]["id"])) for one in data),
    ]


def role_of(lun: int | None) -> str:
    return "os" if lun is None else f"datadisk-{lun}"


@contextmanager
def still(arm: ArmClient, vm: Document, disk: str, name: str) -> Iterator[str]:
    """The id of what may be read of a disk: itself, or while its VM runs a snapshot, deleted at the end."""
    if status_of(vm, "PowerState") in ("stopped", "deallocated"):
        yield disk
        return
    group = disk.split("/")[4]
    snapshot = arm.resource_id(group, SNAPSHOTS, name)
    creation = {"createOption": "Copy", "sourceResourceId": disk}
    try:
        arm.put(snapshot, {"location": vm["location"], "properties": {"creationData": creation}})
    except AzureError as error:
        error.hint = error.hint or f"stop the VM first: vmstamp vm stop {vm['name']}"
        raise
    try:
        yield snapshot
    finally:
        arm.delete(snapshot)


def own_account(arm: ArmClient, group: str, vm: Document) -> Account:
    """The VM's own storage account: that of its image's VHD; the derived one when that is gone."""
    reference = vm["properties"]["storageProfile"].get("imageReference", {}).get("id")
    image = arm.find(str(reference)) if reference else None
    for url in vhds_of(image) if image else ():
        if (account := find_account(arm, parse_blob_url(url).account)) is not None:
            return account
    return ensure_account(arm, group)


def copy_disk(
    arm: ArmClient, disk: str, store: Account, image: str, lun: int | None, day: date
) -> CapturedDisk:
    """Copy one managed disk or snapshot to a new VHD of the account, server-side; blocks until it is done."""
    role = role_of(lun)
    try:
        with store.open() as service:
            container = service.get_container_client(CONTAINER)
            taken = {str(blob.name) for blob in container.list_blobs(name_starts_with=f"{image}-{role}-")}
    except SdkError as error:
        raise explain(error, "listing", store.endpoint) from error
    url = store.url(CONTAINER, captured_vhd_name(image, lun, day, taken))
    with disk_access(arm, disk) as source, store.open_url(url) as blob:
        try:
            state = str(
                blob.start_copy_from_url(source, match_condition=MatchConditions.IfMissing)["copy_status"]
            )
        except SdkError as error:
            raise explain(error, "copying to", url) from error
        try:
            size = _finish_copy(blob, state)
        except SdkError as error:
            drop(blob)
            raise explain(error, "copying to", url) from error
        except BaseException:
            drop(blob)
            raise
    return CapturedDisk(lun, url, size)


def _finish_copy(blob: BlobClient, state: str) -> int:
    """Wait for a copy that was started; the blob's size. TransferError when it does not succeed."""
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
    return int(found.size)


def pause(headers: Mapping[str, str], looks: int) -> float:
    """Seconds until the next look: what the service's Retry-After asks for, else twice as long each time."""
    asked = str(headers.get("Retry-After", ""))
    return float(asked) if asked.isdecimal() else min(FIRST_LOOK * 2.0 ** min(looks, 16), LONGEST_LOOK)

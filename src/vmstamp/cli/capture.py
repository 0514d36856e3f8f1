"""Capture a VM: its disks are copied, server-side, to VHDs, and an image is made of them.

In the classic manner (service management, x-ms-version 2014-06-01: Capture VM Image) the client says the OS
state: a generalized VM is deleted once its image is there; a specialized one may run, is captured from
snapshots then, and stays.

The VHDs lie in the storage account of the VHD that the VM's own image came from, unless another is named,
in the container `vhds`, as `<image>-os-YYYY-MM-DD.vhd` and `<image>-datadisk-<lun>-YYYY-MM-DD.vhd`.

A capture that was ended at any point, by a kill too, is continued by the same command: VHDs and image say of
which VM they are (`captured_disks.MARK`, tags), and the VM is deleted only after its image has Succeeded.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from azure.core.exceptions import AzureError as SdkError

from vmstamp.cli.arm_client import ArmClient, Document
from vmstamp.cli.captured_disks import CAPTURED_VM, CapturedDisk, Part, abandon, copy_disk, still
from vmstamp.cli.generalize import require_generalized
from vmstamp.cli.images import DataVhd, ImageRequest, create_image, image_id, refuse_existing, vhds_of
from vmstamp.cli.names import CONTAINER
from vmstamp.cli.network import remains_of
from vmstamp.cli.quantities import bytes_text
from vmstamp.cli.render import Reporter
from vmstamp.cli.storage import Account, ensure_account, ensure_container, find_account, open_named
from vmstamp.cli.vms import get_vm, instance_view, undo, vm_id
from vmstamp.errors import VmstampError
from vmstamp.transfer.blobs import explain, parse_blob_url

GENERALIZED = "Generalized"
CAPTURED_FROM = "captured-from"  # a tag: the VM's name
UNDER_WAY = ("Creating", "Updating")


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

    `classic`: a generalized VM is deleted at the end, with its own network. Run again it goes on where it was
    ended. Raises AzureError (not generalized, disks in use) and TransferError (the copy).
    """
    generalized = os_state == GENERALIZED
    ends = classic and generalized
    vm = arm.find(vm_id(arm, group, name), **{"$expand": "instanceView"})
    done = find_captured(arm, group, name, image, vm) if generalized and (vm or ends) else None
    if done is None:
        vm = vm or get_vm(arm, group, name)  # which tells that it is not there
        done = _capture(arm, group, vm, image, report, account, today, os_state)
        report.say(f"image {image} is there, with {len(done.disks) - 1} data disk(s)")
    else:
        report.say(f"image {image} of VM {name} is there from before")
    if ends:
        end_vm(arm, group, name, report)
    return done


def _capture(
    arm: ArmClient,
    group: str,
    vm: Document,
    image: str,
    report: Reporter,
    account: str,
    today: date | None,
    os_state: str,
) -> Captured:
    generalized, identity = os_state == GENERALIZED, str(vm["properties"]["vmId"])
    if generalized:
        require_generalized(vm)
    tags = ((CAPTURED_FROM, str(vm["name"])), (CAPTURED_VM, identity))
    request = ImageRequest(image, group, generation_of(vm), os_state, location=str(vm["location"]), tags=tags)
    refuse_existing(arm, request)
    disks = disks_of(vm)
    store = ensure_account(arm, group, account) if account else own_account(arm, group, vm)
    ensure_container(store, CONTAINER)
    day = today or datetime.now(UTC).date()
    copied: list[CapturedDisk] = []
    try:
        for lun, disk in disks:
            part = Part(identity, image, lun, disk)
            with still(arm, vm, part) as source:
                copied.append(copy_disk(arm, source, part, store, day, keep=generalized))
            report.say(f"copied {copied[-1].url.rsplit('/', 1)[1]} ({bytes_text(copied[-1].size)})")
        data = tuple(DataVhd(one.lun, one.url) for one in copied if one.lun is not None)
        return Captured(create_image(arm, request, copied[0].url, data), tuple(copied))
    except BaseException:
        for one in copied:
            with store.open_url(one.url) as blob:
                if abandon(blob):
                    arm.made.pop(one.url, None)
        raise


def generation_of(vm: Document) -> int:
    """The Hyper-V generation that a VM's instance view tells."""
    return 1 if str(instance_view(vm).get("hyperVGeneration")) == "V1" else 2


def find_captured(arm: ArmClient, group: str, name: str, image: str, vm: Document | None) -> Captured | None:
    """What an earlier capture of the same generalized VM made: an image that Succeeded; None when it did not.

    `vm` None: it is gone by now. An image that is still being made is waited for, one that Failed is deleted.
    Raises VmstampError when the image of that name is another's.
    """
    resource = image_id(arm, group, image)
    found = arm.find(resource)
    if found is None:
        return None
    tags = found.get("tags") or {}
    same = vm is None or tags.get(CAPTURED_VM) == vm["properties"]["vmId"]
    state = found["properties"]["storageProfile"]["osDisk"].get("osState")
    if not same or tags.get(CAPTURED_FROM) != name or state != GENERALIZED:
        refuse_existing(arm, ImageRequest(image, group, 2))
    while found["properties"].get("provisioningState") in UNDER_WAY:
        time.sleep(arm.endpoint.interval)
        found = arm.get(resource)
    if found["properties"].get("provisioningState") != "Succeeded":
        arm.delete(resource)
        return None
    profile = found["properties"]["storageProfile"]
    luns = [None, *(int(one["lun"]) for one in profile.get("dataDisks", ()) if one.get("blobUri"))]
    vhds = zip(luns, vhds_of(found), strict=True)
    return Captured(found, tuple(CapturedDisk(lun, url, _size_of(arm, url)) for lun, url in vhds))


def _size_of(arm: ArmClient, url: str) -> int:
    """The bytes of a VHD; 0 when it is gone, which an image survives."""
    from azure.core.exceptions import ResourceNotFoundError

    try:
        with open_named(arm, url) as blob:
            return int(blob.get_blob_properties().size)
    except ResourceNotFoundError:
        return 0
    except SdkError as error:
        raise explain(error, "looking at", url) from error


def end_vm(arm: ArmClient, group: str, name: str, report: Reporter) -> None:
    """Delete a VM whose capture is done, its disks as they are set to, and its own network."""
    arm.delete(vm_id(arm, group, name))
    undo(arm, reversed([one for one in remains_of(arm, group, name) if arm.find(one)]), report.say)
    report.say(f"VM {name} is deleted: a generalized VM ends with its capture")


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


def own_account(arm: ArmClient, group: str, vm: Document) -> Account:
    """The VM's own storage account: that of its image's VHD; the derived one when that is gone."""
    return account_of_image(arm, vm) or ensure_account(arm, group)


def account_of_image(arm: ArmClient, vm: Document) -> Account | None:
    """The storage account of the VHD that the VM's image was made of."""
    reference = vm["properties"]["storageProfile"].get("imageReference", {}).get("id")
    image = arm.find(str(reference)) if reference else None
    for url in vhds_of(image) if image else ():
        if (account := find_account(arm, parse_blob_url(url).account)) is not None:
            return account
    return None

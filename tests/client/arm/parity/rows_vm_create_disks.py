"""Rules of the disks that a virtual machine is made with or gets later."""

from __future__ import annotations

from typing import Any, Final

import requests

from tests.client.arm.parity.machines import EMPTY, VM, blob_body, done, put, settle, url
from tests.client.arm.parity.row import COMPUTE, Row, ask
from tests.client.arm.parity.rows_vm_create import (
    INVALID,
    attached_body,
    made,
    special_disk,
    vm_body,
    with_data,
    without_profile,
)

TITLE: Final = "Virtual machines: disks at creation"
NOT_ALLOWED: Final = "OperationNotAllowed"


def _too_many_disks(arm: Any) -> requests.Response:
    return put(arm, with_data(arm, *({**EMPTY, "lun": lun} for lun in range(3))))


def _same_lun(arm: Any) -> requests.Response:
    return put(arm, with_data(arm, {**EMPTY, "lun": 0}, {**EMPTY, "lun": 0}))


def _taken_lun(arm: Any) -> requests.Response:
    body = with_data(arm, {**EMPTY, "lun": 0, "name": "first"})
    made(arm, body)
    done(arm, "deallocate")
    body["properties"]["storageProfile"]["dataDisks"] = [{**EMPTY, "lun": 0, "name": "second"}]
    return put(arm, body)


def _id_of_an_empty_disk(arm: Any) -> requests.Response:
    return put(arm, with_data(arm, {**EMPTY, "lun": 0, "managedDisk": {"id": f"{COMPUTE}/disks/d"}}))


def _blob_beside_managed(arm: Any) -> requests.Response:
    return put(arm, with_data(arm, {**EMPTY, "lun": 0, "vhd": {"uri": url("d.vhd")}}))


def _managed_beside_blob(arm: Any) -> requests.Response:
    return put(arm, blob_body(arm, dataDisks=[{**EMPTY, "lun": 0}]))


def _blob_of_an_image(arm: Any) -> requests.Response:
    return put(arm, blob_body(arm, imageReference={"id": arm.image("other").id}))


def _name_taken(arm: Any) -> requests.Response:
    special_disk(arm, "taken")
    return put(arm, with_data(arm, {**EMPTY, "lun": 0, "name": "taken"}))


def _owned_by_another(arm: Any) -> requests.Response:
    body = without_profile(attached_body(arm))
    made(arm, body)
    body["properties"]["networkProfile"] = {"networkInterfaces": [{"id": arm.nic("nic2").id}]}
    return put(arm, body, "vm2")


def _access(arm: Any, disk: str) -> None:
    answer = ask(arm, "POST", f"{disk}/beginGetAccess", {"access": "Read", "durationInSeconds": 600})
    assert answer.ok, answer.text
    settle(arm)


def _access_and_attach(arm: Any) -> requests.Response:
    body = without_profile(attached_body(arm))
    _access(arm, f"{COMPUTE}/disks/d1")
    return put(arm, body)


def _access_and_start(arm: Any) -> requests.Response:
    vm = arm.vm()
    done(arm, "deallocate")
    _access(arm, vm.properties.storage_profile.os_disk.managed_disk.id)
    return ask(arm, "POST", f"{VM}/start")


def _smaller_than_image(arm: Any) -> requests.Response:
    big = arm.vhd("account1", "big.vhd", 2 * 2**30)
    disk = {"osType": "Linux", "osState": "Generalized", "blobUri": big}
    properties = {"storageProfile": {"osDisk": disk}, "hyperVGeneration": "V2"}
    image = {"location": "westeurope", "properties": properties}
    assert ask(arm, "PUT", f"{COMPUTE}/images/big", image).ok
    settle(arm)
    body = vm_body(arm)
    body["properties"]["storageProfile"]["imageReference"] = {"id": f"{COMPUTE}/images/big"}
    body["properties"]["storageProfile"]["osDisk"]["diskSizeGB"] = 1
    return put(arm, body)


ROWS: Final = (
    Row(
        "more data disks than the size takes",
        "I",
        _too_many_disks,
        409,
        NOT_ALLOWED,
        "The maximum number of data disks allowed to be attached to a VM of this size is 2.",
        "dataDisks",
    ),
    Row("one LUN twice", "I", _same_lun, 400, INVALID, "A disk at LUN 0 already exists."),
    Row(
        "a LUN that another disk has already",
        "I",
        _taken_lun,
        400,
        INVALID,
        "A disk at LUN 0 already exists.",
    ),
    Row(
        "an empty disk with the id of one",
        "I",
        _id_of_an_empty_disk,
        400,
        "InvalidParameterConflictingProperties",
        "The property 'dataDisk.createOption' cannot have the value 'Empty' when property "
        "'dataDisk.managedDisk.id' is set.",
    ),
    Row(
        "a blob-based disk beside managed ones",
        "DI",
        _blob_beside_managed,
        409,
        NOT_ALLOWED,
        "Addition of a blob based disk to VM with managed disks is not supported.",
    ),
    Row(
        "a managed disk beside blob-based ones",
        "DI",
        _managed_beside_blob,
        409,
        NOT_ALLOWED,
        "Addition of a managed disk to a VM with blob based disks is not supported.",
    ),
    Row(
        "a blob-based OS disk from a managed image",
        "D",
        _blob_of_an_image,
        409,
        NOT_ALLOWED,
        "VM created from Image cannot have blob based disks. All disks have to be managed disks.",
    ),
    Row(
        "a new disk whose name is taken",
        "I",
        _name_taken,
        409,
        "ConflictingUserInput",
        "Disk taken already exists in resource group rg. Only CreateOption.Attach is supported.",
    ),
    Row(
        "a disk that another VM owns",
        "D",
        _owned_by_another,
        409,
        "ConflictingUserInput",
        f"Disk 'd1' cannot be attached as the disk is already owned by VM '{VM}'.",
    ),
    Row(
        "attaching a disk with an open access",
        "DI",
        _access_and_attach,
        409,
        NOT_ALLOWED,
        "There is an active shared access signature outstanding for disk d1. Call EndGetAccess before "
        "attaching the disk....",
    ),
    Row(
        "start with a disk with an open access",
        "DI",
        _access_and_start,
        409,
        NOT_ALLOWED,
        "There is an active shared access signature outstanding for disk vm1_OsDisk_1_.... Call EndGetAccess "
        "before ...",
    ),
    Row(
        "an OS disk smaller than its image",
        "D",
        _smaller_than_image,
        409,
        NOT_ALLOWED,
        "The specified disk size 1 GB is smaller than the size of the corresponding disk in the VM image: 2 "
        "GB. This is not allowed. ...",
    ),
)

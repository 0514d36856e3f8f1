"""Rules of virtual machines whose disks are page blobs of a storage account."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import requests

from tests.client.arm.parity.machines import EMPTY, blob_body, blob_storage, blob_vm, put, url
from tests.client.arm.parity.row import Row
from tests.client.arm.parity.rows_vm_create import INVALID, vm_body, without_profile
from vmstamp.blob.store import BlobRef

TITLE: Final = "Virtual machines: disks that are blobs"


def _no_vhd_at_the_end(arm: Any) -> requests.Response:
    return put(arm, vm_body(arm, storageProfile=blob_storage(arm, "vm1.img")))


def _folder(arm: Any) -> requests.Response:
    return put(arm, vm_body(arm, storageProfile=blob_storage(arm, "folder/vm1.vhd")))


def _from(arm: Any, source: str) -> requests.Response:
    return put(arm, vm_body(arm, storageProfile=blob_storage(arm, image={"uri": source})))


def _attach_blob(arm: Any, name: str) -> requests.Response:
    disk = {"osType": "Linux", "name": "os", "createOption": "Attach", "vhd": {"uri": url(name)}}
    return put(arm, without_profile(vm_body(arm, storageProfile={"osDisk": disk})))


def _block_blob(arm: Any, name: str) -> None:
    arm.vhd("account1", "any.vhd")
    arm.store.put_block_blob(BlobRef("account1", "vhds", name), b"text", "text/plain")


def _block_blob_as_disk(arm: Any) -> requests.Response:
    _block_blob(arm, "block.vhd")
    return _attach_blob(arm, "block.vhd")


def _block_blob_as_image(arm: Any) -> requests.Response:
    _block_blob(arm, "block.vhd")
    return _from(arm, url("block.vhd"))


def _absent_disk(arm: Any) -> requests.Response:
    arm.vhd("account1", "any.vhd")
    return _attach_blob(arm, "none.vhd")


def _absent_image(arm: Any) -> requests.Response:
    return _from(arm, url("none.vhd"))


def _broken_footer(arm: Any) -> requests.Response:
    arm.vhd("account1", "broken.vhd")
    arm.store.write_pages(BlobRef("account1", "vhds", "broken.vhd"), 2**20, bytes(512))
    return _from(arm, url("broken.vhd"))


def _odd_size(arm: Any) -> requests.Response:
    return _from(arm, arm.vhd("account1", "odd.vhd", 2**20 + 512))


def _of_type(number: int) -> Callable[[Any], requests.Response]:
    """An image whose footer is that of another type than a fixed VHD, 2."""

    def send(arm: Any) -> requests.Response:
        arm.vhd("account1", "other.vhd")
        ref = BlobRef("account1", "vhds", "other.vhd")
        footer = bytearray(arm.store.read(ref, 2**20, 512))
        footer[60:68] = number.to_bytes(4, "big") + bytes(4)
        footer[64:68] = (~sum(footer) & 0xFFFFFFFF).to_bytes(4, "big")
        arm.store.write_pages(ref, 2**20, bytes(footer))
        return _from(arm, url("other.vhd"))

    return send


def _too_small(arm: Any) -> requests.Response:
    arm.vhd("account1", "any.vhd")
    arm.store.create_page_blob(BlobRef("account1", "vhds", "small.vhd"), 1024)
    return _from(arm, url("small.vhd"))


def _data_disk(name: str) -> Callable[[Any], requests.Response]:
    """A data disk, empty, at a blob."""

    def send(arm: Any) -> requests.Response:
        disk = {**EMPTY, "lun": 0, "name": "data", "vhd": {"uri": url(name)}}
        return put(arm, blob_body(arm, dataDisks=[disk]))

    return send


def _target_taken(arm: Any) -> requests.Response:
    arm.vhd("account1", "taken.vhd")
    return put(arm, vm_body(arm, storageProfile=blob_storage(arm, "taken.vhd")))


def _empty_target_taken(arm: Any) -> requests.Response:
    arm.vhd("account1", "taken.vhd")
    disk = {**EMPTY, "lun": 0, "name": "data", "vhd": {"uri": url("taken.vhd")}}
    return put(arm, blob_body(arm, dataDisks=[disk]))


def _blob_of_another_vm(arm: Any) -> requests.Response:
    blob_vm(arm)
    disk = {"osType": "Linux", "createOption": "Attach", "vhd": {"uri": url("vm1.vhd")}}
    body = arm.vm_body(arm.image("other"), arm.nic("nic2"), storageProfile={"osDisk": disk})
    return put(arm, without_profile(body), "vm2")


def _leased_blob(arm: Any) -> requests.Response:
    arm.vhd("account1", "leased.vhd")
    arm.store.acquire_infinite_lease(BlobRef("account1", "vhds", "leased.vhd"), "someone's")
    return _attach_blob(arm, "leased.vhd")


def _other_account(arm: Any) -> requests.Response:
    return _from(arm, arm.vhd("account2", "source.vhd"))


def _same_blob_twice(arm: Any) -> requests.Response:
    disk = {**EMPTY, "lun": 0, "name": "data", "vhd": {"uri": url("vm1.vhd")}}
    return put(arm, blob_body(arm, dataDisks=[disk]))


ROWS: Final = (
    Row(
        "a blob name without .vhd",
        "D",
        _no_vhd_at_the_end,
        400,
        INVALID,
        f"Blob name in URL {url('vm1.img')} must end with '.vhd' extension.",
    ),
    Row(
        "a new disk's blob in a folder",
        "D",
        _folder,
        400,
        INVALID,
        f"The blob name in URL {url('folder/vm1.vhd')} contains a slash. This is presently not supported for "
        "disks.",
    ),
    Row(
        "a block blob as disk",
        "D",
        _block_blob_as_disk,
        400,
        "IncorrectDiskBlobType",
        f"Disk blobs can only be of type page blob. Blob {url('block.vhd')} for disk 'os' is "
        "of type block blob.",
    ),
    Row(
        "a block blob as image",
        "D",
        _block_blob_as_image,
        400,
        "IncorrectImageBlobType",
        f"Disk blobs can only be of type page blob. Blob {url('block.vhd')} for disk 'os' is "
        "of type block blob.",
    ),
    Row(
        "a disk's blob that is not there",
        "D",
        _absent_disk,
        404,
        "DiskBlobNotFound",
        f"Unable to find VHD blob with URI {url('none.vhd')} for disk 'os'.",
    ),
    Row(
        "an image's blob that is not there",
        "D",
        _absent_image,
        404,
        "ImageBlobNotFound",
        f"Unable to find VHD blob with URI {url('none.vhd')} for disk 'os'.",
    ),
    Row(
        "a VHD without its footer",
        "DI",
        _broken_footer,
        400,
        "InvalidVhd",
        f"The specified cookie value in VHD footer indicates that disk 'os' with blob {url('broken.vhd')} is "
        "not a supported VHD. Disk is expected to have cookie value 'conectix'.",
    ),
    Row(
        "a VHD whose size is not a whole number of MiB",
        "DI",
        _odd_size,
        400,
        "InvalidVhd",
        "The specified blob ... with VHD virtual size 1049088 bytes is not supported. The virtual size of a "
        "VHD must be a whole number (in MBs)...",
    ),
    *(
        Row(
            f"a {what} VHD",
            "DI",
            _of_type(number),
            400,
            "InvalidVhd",
            f"The specified disk type in VHD footer indicates that disk 'os' with blob {url('other.vhd')} is "
            f"not a fixed VHD (type 2) but of type {number}. Only fixed VHDs are supported.",
        )
        for what, number in (("dynamic", 3), ("differencing", 4))
    ),
    Row(
        "a VHD that is too small",
        "DI",
        _too_small,
        400,
        "VHDSizeInvalid",
        f"The specified disk size value of 512 for disk 'os' with blob {url('small.vhd')} is invalid. Disk "
        "size must be between 1048576 and 8795019280384.",
    ),
    Row(
        "a data disk's blob without .vhd",
        "D",
        _data_disk("data.img"),
        400,
        INVALID,
        f"Blob name in URL {url('data.img')} must end with '.vhd' extension.",
    ),
    Row(
        "a new data disk's blob in a folder",
        "D",
        _data_disk("folder/data.vhd"),
        400,
        INVALID,
        f"The blob name in URL {url('folder/data.vhd')} contains a slash. This is presently not supported "
        "for disks.",
    ),
    Row(
        "a new disk's blob that exists",
        "DI",
        _target_taken,
        409,
        "TargetDiskBlobAlreadyExists",
        f"Blob {url('taken.vhd')} already exists. Please provide a different blob URI as target for "
        "disk 'os'.",
    ),
    Row(
        "an empty disk's blob that exists",
        "D",
        _empty_target_taken,
        409,
        "TargetDiskBlobAlreadyExists",
        f"Blob {url('taken.vhd')} already exists. Please provide a different blob URI to create a new blank "
        "data disk 'data'.",
    ),
    Row(
        "a blob that is another VM's disk",
        "DI",
        _blob_of_another_vm,
        409,
        "DiskBlobAlreadyInUseByAnotherDisk",
        f"Blob {url('vm1.vhd')} is already in use by another disk belonging to VM 'vm1'. You can examine the "
        "blob metadata for the disk reference information.",
    ),
    Row(
        "a blob that someone has leased",
        "D",
        _leased_blob,
        409,
        "AcquireDiskLeaseFailed",
        f"Failed to acquire lease while creating disk 'os' using blob with URI {url('leased.vhd')}. Blob is "
        "already in use.",
    ),
    Row(
        "an image in another account than its disk",
        "D",
        _other_account,
        409,
        "ConflictingUserInput",
        "Source and destination storage accounts for disk os are different.",
    ),
    Row(
        "one blob for two disks",
        "D",
        _same_blob_twice,
        400,
        INVALID,
        f"A disk named 'data' already uses the same VHD URL {url('vm1.vhd')}.",
    ),
)

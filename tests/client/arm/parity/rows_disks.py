"""Rules of managed disks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import requests

from tests.client.arm.parity.row import COMPUTE, Row, ask
from vmstamp.blob.store import BlobRef

TITLE: Final = "Disks"
ENDPOINT: Final = "http://127.0.0.1:10000"
MIB: Final = 2**20
DISK1: Final = f"{COMPUTE}/disks/disk1"
READ: Final = {"access": "Read", "durationInSeconds": 60}
WRITE: Final = {"access": "Write", "durationInSeconds": 60}


def disk_body(location: str = "westeurope", size: int | None = None, **creation: Any) -> dict[str, Any]:
    gib = {} if size is None else {"diskSizeGB": size}
    return {"location": location, "properties": {"creationData": creation, **gib}}


def put_disk(
    arm: Any, name: str, body: dict[str, Any], kind: str = "disks", **options: Any
) -> requests.Response:
    return ask(arm, "PUT", f"{COMPUTE}/{kind}/{name}", body, **options)


def ended(arm: Any, reply: requests.Response) -> requests.Response:
    """The answer of an operation's Location once it has ended."""
    while reply.status_code == 202:
        time.sleep(0.05)
        reply = ask(arm, "GET", reply.headers["Location"])
    return reply


def post_disk(arm: Any, name: str, action: str, body: Any = None, kind: str = "disks") -> requests.Response:
    return ask(arm, "POST", f"{COMPUTE}/{kind}/{name}/{action}", body)


def make_disk(arm: Any, name: str = "disk1", **creation: Any) -> None:
    wanted = creation or {"createOption": "Empty", "size": 1}
    assert ended(arm, put_disk(arm, name, disk_body(**wanted))).status_code == 200


def _state(arm: Any, name: str = "disk1") -> requests.Response:
    return ask(arm, "GET", f"{COMPUTE}/disks/{name}")


def in_state(state: str) -> Callable[[requests.Response], bool]:
    return lambda reply: bool(reply.json()["properties"]["diskState"] == state)


def os_disk(arm: Any) -> str:
    """A running VM; the name of its OS disk."""
    return str(arm.vm().properties.storage_profile.os_disk.name)


def _deallocated(arm: Any) -> str:
    name = os_disk(arm)
    arm.compute.virtual_machines.begin_deallocate("rg", "vm1").result()
    return name


# -- created


def _created(arm: Any) -> requests.Response:
    return put_disk(arm, "disk1", disk_body(createOption="Empty", size=1))


def _created_state(arm: Any) -> requests.Response:
    make_disk(arm)
    return _state(arm)


def _created_bare(reply: requests.Response) -> bool:
    body = reply.json()
    found = all(name in reply.headers for name in ("Azure-AsyncOperation", "Location"))
    shown = body["properties"]
    bare = "id" not in body and "type" not in body and shown["isArmResource"] is True
    return found and bare and shown["provisioningState"] == "Updating"


def _upload(size: int) -> Callable[[Any], requests.Response]:
    return lambda arm: put_disk(arm, "disk1", disk_body(createOption="Upload", uploadSizeBytes=size))


def _uploading(arm: Any) -> None:
    make_disk(arm, createOption="Upload", uploadSizeBytes=20 * MIB + 512)


def _ready(arm: Any) -> requests.Response:
    _uploading(arm)
    return _state(arm)


def _active_upload(arm: Any) -> requests.Response:
    _uploading(arm)
    ended(arm, post_disk(arm, "disk1", "beginGetAccess", WRITE))
    return _state(arm)


def _bad_footer(arm: Any) -> requests.Response:
    _uploading(arm)
    ended(arm, post_disk(arm, "disk1", "beginGetAccess", WRITE))
    return ended(arm, post_disk(arm, "disk1", "endGetAccess"))


def _attach_uploading(arm: Any) -> requests.Response:
    _uploading(arm)
    disk = {"osType": "Linux", "createOption": "Attach", "managedDisk": {"id": DISK1}}
    nic = arm.nic()
    body = {
        "location": "westeurope",
        "properties": {
            "hardwareProfile": {"vmSize": "Standard_B1ms"},
            "storageProfile": {"osDisk": disk},
            "networkProfile": {"networkInterfaces": [{"id": nic.id}]},
        },
    }
    return ask(arm, "PUT", f"{COMPUTE}/virtualMachines/vm1", body)


def _imported(location: str = "westeurope", change: Callable[[Any], None] = lambda arm: None) -> Any:
    def send(arm: Any) -> requests.Response:
        url = arm.vhd("account1", "a.vhd")
        change(arm)
        return put_disk(arm, "disk1", disk_body(location, createOption="Import", sourceUri=url))

    return send


def _without_cookie(arm: Any) -> None:
    arm.store.clear_pages(BlobRef("account1", "vhds", "a.vhd"), MIB, 512)


def _misaligned(arm: Any) -> None:
    ref = BlobRef("account1", "vhds", "a.vhd")
    footer = arm.store.read(ref, MIB, 512)
    arm.store.resize(ref, MIB + 1024)
    arm.store.write_pages(ref, MIB + 512, footer)


def _dynamic(arm: Any) -> None:
    ref = BlobRef("account1", "vhds", "a.vhd")
    footer = bytearray(arm.store.read(ref, MIB, 512))
    footer[60:64] = (3).to_bytes(4, "big")
    total = sum(footer[:64]) + sum(footer[68:])
    footer[64:68] = (~total & 0xFFFFFFFF).to_bytes(4, "big")
    arm.store.write_pages(ref, MIB, bytes(footer))


def _other_source(arm: Any) -> requests.Response:
    make_disk(arm, createOption="Import", sourceUri=arm.vhd("account1", "a.vhd"))
    body = disk_body(createOption="Import", sourceUri=arm.vhd("account1", "b.vhd"))
    return put_disk(arm, "disk1", body)


# -- attached


def _attached(arm: Any) -> requests.Response:
    return _state(arm, os_disk(arm))


def _reserved(arm: Any) -> requests.Response:
    return _state(arm, _deallocated(arm))


def _delete_attached(arm: Any) -> requests.Response:
    return ask(arm, "DELETE", f"{COMPUTE}/disks/{os_disk(arm)}")


def _access_attached(arm: Any) -> requests.Response:
    return post_disk(arm, os_disk(arm), "beginGetAccess", READ)


def _shrunk(arm: Any) -> requests.Response:
    make_disk(arm, createOption="Empty", size=2)
    return ask(arm, "PATCH", DISK1, {"properties": {"diskSizeGB": 1}})


def _grown(arm: Any) -> requests.Response:
    make_disk(arm)
    return ended(arm, ask(arm, "PATCH", DISK1, {"properties": {"diskSizeGB": 2}}))


def _grown_running(arm: Any) -> requests.Response:
    path = f"{COMPUTE}/disks/{os_disk(arm)}"
    return ask(arm, "PATCH", path, {"properties": {"diskSizeGB": 2}})


def _grown_reserved(arm: Any) -> requests.Response:
    path = f"{COMPUTE}/disks/{_deallocated(arm)}"
    reply = ended(arm, ask(arm, "PATCH", path, {"properties": {"diskSizeGB": 2}}))
    arm.compute.virtual_machines.begin_start("rg", "vm1").result()
    return reply


# -- access


def _granted(arm: Any) -> requests.Response:
    make_disk(arm)
    return ended(arm, post_disk(arm, "disk1", "beginGetAccess", READ))


def _rests_on_a_policy(reply: requests.Response) -> bool:
    url = reply.json()["accessSAS"]
    return "/md-" in url and "sr=b&" in url and "&si=" in url and "se=" not in url and "sp=" not in url


def _active(arm: Any) -> requests.Response:
    _granted(arm)
    return _state(arm)


def _ended_access(arm: Any) -> requests.Response:
    _granted(arm)
    ended(arm, post_disk(arm, "disk1", "endGetAccess"))
    return _state(arm)


def _active_then_reserved(arm: Any) -> requests.Response:
    name = _deallocated(arm)
    ended(arm, post_disk(arm, name, "beginGetAccess", READ))
    ended(arm, post_disk(arm, name, "endGetAccess"))
    return _state(arm, name)


def _delete_active(arm: Any) -> requests.Response:
    _granted(arm)
    return ask(arm, "DELETE", DISK1)


def _for(seconds: int) -> Callable[[Any], requests.Response]:
    def send(arm: Any) -> requests.Response:
        make_disk(arm)
        return post_disk(arm, "disk1", "beginGetAccess", {"access": "Read", "durationInSeconds": seconds})

    return send


# -- snapshots


_UPLOAD_RANGE: Final = (
    "The value '...' of parameter 'disk.creationData.uploadSizeBytes' is out of range. The value must be "
    "between '20972032' and '35183298347520', inclusive."
)
_NO_VHD: Final = "Only blobs formatted as VHDs can be imported."

ROWS: Final = (
    Row("creation of a disk", "R", _created, 202, holds=_created_bare),
    Row("state of a disk that nobody uses", "D", _created_state, 200, holds=in_state("Unattached")),
    Row("state of a running VM's disk", "D", _attached, 200, holds=in_state("Attached")),
    Row("state of a deallocated VM's disk", "D", _reserved, 200, holds=in_state("Reserved")),
    Row("state of a disk that is to be uploaded", "D", _ready, 200, holds=in_state("ReadyToUpload")),
    Row("state of a disk that is being uploaded", "D", _active_upload, 200, holds=in_state("ActiveUpload")),
    Row(
        "uploadSizeBytes below 20 MiB and a footer",
        "D",
        _upload(20 * MIB),
        400,
        "InvalidParameter",
        _UPLOAD_RANGE,
    ),
    Row(
        "uploadSizeBytes above 32 TiB and a footer",
        "D",
        _upload(35183298347520 + MIB),
        400,
        "InvalidParameter",
        _UPLOAD_RANGE,
    ),
    Row(
        "uploadSizeBytes of a broken number of MiB",
        "I",
        _upload(20972032 + 1024),
        400,
        "BadRequest",
        "The upload size in bytes 20973056 - 512 bytes for the VHD footer (20972544 in this case) must be a "
        "multiple of MiB.",
    ),
    Row(
        "endGetAccess of an upload without a footer",
        "DI",
        _bad_footer,
        400,
        "InvalidVhd",
        "The specified cookie value in VHD footer indicates that disk 'disk1' with blob ... is not a "
        "supported VHD. Disk is expected to have cookie value 'conectix'.",
    ),
    Row("a VM with a disk that is to be uploaded", "D", _attach_uploading, 409, "OperationNotAllowed"),
    Row(
        "Import of a blob without a footer",
        "DI",
        _imported(change=_without_cookie),
        400,
        "InvalidVhd",
        "The specified cookie value in VHD footer indicates that disk 'disk1' with blob ... is not a "
        "supported VHD. Disk is expected to have cookie value 'conectix'.",
    ),
    Row(
        "Import of a VHD that is not of whole MiB",
        "I",
        _imported(change=_misaligned),
        400,
        "BadRequest",
        _NO_VHD,
    ),
    Row("Import of a dynamic VHD", "I", _imported(change=_dynamic), 400, "BadRequest", _NO_VHD),
    Row(
        "Import of a blob of another region",
        "R",
        _imported("eastus"),
        400,
        "BadRequest",
        f"The source blob {ENDPOINT}/account1/vhds/a.vhd does not belong to the same region as the disk.",
    ),
    Row(
        "an existing disk made of another blob",
        "I",
        _other_source,
        400,
        "BadRequest",
        "Changing property 'sourceUri' is not allowed for existing disk 'disk1'.",
    ),
    Row(
        "DELETE of an attached disk",
        "I",
        _delete_attached,
        409,
        "OperationNotAllowed",
        f"Disk vm1_OsDisk_1_... is attached to VM {COMPUTE}/virtualMachines/vm1.",
    ),
    Row(
        "beginGetAccess on a running VM's disk",
        "I",
        _access_attached,
        409,
        "Conflict",
        "Access not permitted because disk ... is currently attached to running VM "
        f"{COMPUTE}/virtualMachines/vm1.",
    ),
    Row("a smaller diskSizeGB", "D", _shrunk, 409, "OperationNotAllowed"),
    Row("a larger diskSizeGB", "D", _grown, 200),
    Row("a larger diskSizeGB of a running VM's disk", "D", _grown_running, 409, "OperationNotAllowed"),
    Row("a larger diskSizeGB of a deallocated VM's disk", "D", _grown_reserved, 200),
    Row("beginGetAccess", "R", _granted, 200, holds=_rests_on_a_policy),
    Row("state of a disk with an open access", "D", _active, 200, holds=in_state("ActiveSAS")),
    Row("state of a disk after endGetAccess", "D", _ended_access, 200, holds=in_state("Unattached")),
    Row(
        "state of a deallocated VM's disk after endGetAccess",
        "D",
        _active_then_reserved,
        200,
        holds=in_state("Reserved"),
    ),
    Row(
        "DELETE of a disk with an open access",
        "DI",
        _delete_active,
        409,
        "OperationNotAllowed",
        "There is an active shared access signature outstanding for disk disk1. Call EndGetAccess before "
        "deleting the disk.",
    ),
    Row("an access for 60 days", "D", _for(60 * 86400), 202),
    Row("an access for more than 60 days", "D", _for(60 * 86400 + 1), 400, "InvalidParameter"),
)

"""Managed disks: opened by a SAS that is revoked whatever happens, and made of disk files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any, Literal

from vmstamp.cli.arm_client import ArmClient, Document
from vmstamp.cli.look import look_at
from vmstamp.cli.names import check_name
from vmstamp.cli.render import Reporter, Tally
from vmstamp.cli.resources import ensure_group, make
from vmstamp.cli.storage import upload_text
from vmstamp.cli.wanted import Cost, Wanted
from vmstamp.disk import Disk, FixedVhd
from vmstamp.errors import AzureError, StampError, VmstampError
from vmstamp.transfer.blobs import open_blob
from vmstamp.transfer.plan import FOOTER_LENGTH
from vmstamp.transfer.upload import Uploaded, held_already, upload_into

DISKS = "Microsoft.Compute/disks"
SAS_SECONDS, UPLOAD_SECONDS = 3600, 24 * 3600
# Bytes of a fixed VHD with its footer; REST: Disks, CreationData, uploadSizeBytes.
SMALLEST_UPLOAD, LARGEST_UPLOAD = 20972032, 35183298347520
TO_BE_UPLOADED = ("ReadyToUpload", "ActiveUpload")


@dataclass(frozen=True)
class DiskMade:
    """A managed disk that was made of a file: its document, and what the upload did."""

    disk: Document
    uploaded: Uploaded

    def to_json(self) -> dict[str, Any]:
        return {"disk": self.disk, "upload": asdict(self.uploaded)}


@contextmanager
def disk_access(
    arm: ArmClient, disk: str, access: Literal["Read", "Write"] = "Read", seconds: int = SAS_SECONDS
) -> Iterator[str]:
    """A SAS URL of a managed disk, which is revoked at the end whatever happens."""
    try:
        answer = arm.act(disk, "beginGetAccess", {"access": access, "durationInSeconds": seconds})
    except AzureError:
        raise  # nothing was granted, and what others were granted is theirs
    except BaseException:
        _revoke(arm, disk)
        raise
    try:
        yield str(answer["accessSAS"])
    except BaseException:
        _revoke(arm, disk)
        raise
    arm.act(disk, "endGetAccess")


def _revoke(arm: ArmClient, disk: str) -> None:
    """Revoke what was granted; what went wrong is told already, this only when access may be open."""
    try:
        arm.act(disk, "endGetAccess")
    except AzureError:  # an upload that is not whole is refused
        return
    except StampError as error:
        arm.say(f"access to {disk} may still be open ({error.message}): az disk revoke-access --ids {disk}")


def create_disk_of(arm: ArmClient, group: str, name: str, source: Disk, report: Reporter) -> DiskMade:
    """Make the managed disk `name` of a disk: create, grant, upload, revoke.

    A disk of that name which still waits for its upload, with the right size, is filled; one that was
    uploaded and holds the same is what is asked for. Raises AzureError, TransferError, DiskError, and
    VmstampError when there is another disk of that name.
    """
    there = _find_closed(arm, arm.resource_id(group, DISKS, check_name("disk", name)))
    if there and _was_uploaded(there, FixedVhd(source).size):
        total = sum(extent.length for extent in source.extents())
        with (
            disk_access(arm, there["id"]) as url,
            open_blob(url) as blob,
            report.bar(f"verify {name}") as bar,
        ):
            held = held_already(source, blob, Tally(bar, total))
        if held is not None:
            report.say(f"disk {name} is there already and holds the same")
            return DiskMade(there, held)
    disk = ensure_disk_for(arm, group, name, source)
    with (
        disk_access(arm, disk, "Write", UPLOAD_SECONDS) as url,
        open_blob(url) as blob,
        report.transfer(f"upload {name}") as bar,
    ):
        done = upload_into(source, blob, progress=bar)
    report.say(f"uploaded disk {name}: {upload_text(done)}")
    return DiskMade(arm.get(disk), done)


def ensure_disk_for(arm: ArmClient, group: str, name: str, source: Disk) -> str:
    """The id of the managed disk `name`, which waits for the upload of `source`; made when it is not there.

    Raises AzureError, and VmstampError when there is another disk of that name.
    """
    disk = arm.resource_id(group, DISKS, check_name("disk", name))
    size = FixedVhd(source).size
    check_disk_size(name, size)
    _ensure_disk(arm, group, disk, source, size)
    return disk


def check_disk_size(name: str, size: int) -> None:
    """VmstampError when a fixed VHD of `size` bytes makes no managed disk: before an upload, not after."""
    if size < SMALLEST_UPLOAD:
        raise VmstampError(
            f"disk {name}: {size} bytes are too few, the smallest upload has {SMALLEST_UPLOAD}",
            hint="make it larger: vmstamp disk resize FILE 20M",
        )
    if size > LARGEST_UPLOAD:
        raise VmstampError(
            f"disk {name}: {size} bytes are too many, the largest upload has {LARGEST_UPLOAD}",
            hint="shrink the disk first",
        )


def _was_uploaded(disk: Document, size: int) -> bool:
    """Whether a managed disk was made by an upload, has a VHD of `size` bytes, and no VM has it."""
    properties = disk["properties"]
    made, now = properties["creationData"]["createOption"], properties.get("diskSizeBytes", 0)
    return (made, now + FOOTER_LENGTH, properties["diskState"]) == ("Upload", size, "Unattached")


def disk_wanted(arm: ArmClient, group: str, name: str, source: Disk) -> Wanted:
    """The managed disk for an upload; the generation and the system are told when they are known."""
    report = look_at(source).report
    creation = {"createOption": "Upload", "uploadSizeBytes": FixedVhd(source).size}
    properties: Document = {"creationData": creation}
    if report.os is not None and report.generations:
        properties |= {"osType": "Linux", "hyperVGeneration": f"V{max(report.generations)}"}
    body = {"location": arm.region(group), "sku": {"name": "Standard_LRS"}, "properties": properties}
    return Wanted("managed disk", arm.resource_id(group, DISKS, name), body, Cost.STORAGE)


def _ensure_disk(arm: ArmClient, group: str, disk: str, source: Disk, size: int) -> None:
    found = _find_closed(arm, disk)
    if found is None:
        ensure_group(arm, group)
        make(arm, disk_wanted(arm, group, disk.rsplit("/", 1)[1], source))
        return
    properties = found["properties"]
    if properties["diskState"] not in TO_BE_UPLOADED:
        raise VmstampError(
            f"disk {found['name']} exists already and is {properties['diskState']}",
            hint="take another name, or delete that disk first",
        )
    expected = properties["creationData"].get("uploadSizeBytes")
    if expected != size:
        raise VmstampError(
            f"disk {found['name']} waits for an upload of {expected} bytes, but this one has {size}",
            hint="take another name, or delete that disk first",
        )


def _find_closed(arm: ArmClient, disk: str) -> Document | None:
    """A managed disk, without the access of an upload that was ended, whose SAS may be anywhere.

    If all had been sent by then, the disk is whole now; else it still waits for its upload.
    """
    found = arm.find(disk)
    if found is None or found["properties"]["diskState"] != "ActiveUpload":
        return found
    with suppress(AzureError):  # an upload that is not whole is refused
        arm.act(disk, "endGetAccess")
    return arm.find(disk)

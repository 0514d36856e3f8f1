"""One disk of a virtual machine, as the VM's state keeps it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from vmstamp.arm.compute.vhds import GIB, place
from vmstamp.arm.faults import invalid_parameter
from vmstamp.arm.resource import Json, Resource
from vmstamp.blob.records import BlobRef

LARGEST_GIB: Final = 32767


@dataclass(frozen=True)
class VmDisk:
    """One disk of a VM as its state keeps it. `lun` None: the OS disk; `size` virtual, in bytes.

    `make` says how the VHD comes into being: `copy` of `source`, `empty`, or `attach` (it exists).
    `managed` is the managed disk's id, '' for a blob-based one; `delete`: it goes when the VM goes.
    """

    lun: int | None
    name: str
    place: list[str]
    size: int
    make: str
    source: list[str]
    unique: str
    managed: str
    delete: bool

    @property
    def ref(self) -> BlobRef:
        return place(self.place)

    @property
    def source_ref(self) -> BlobRef:
        return place(self.source)

    @property
    def overlay_name(self) -> str:
        return f"disk-{self.unique}.qcow2"


def read_disks(state: Json) -> list[VmDisk]:
    """The disks that a VM's state keeps, the OS disk first."""
    return [VmDisk(**disk) for disk in state["disks"]]


def write_disks(disks: list[VmDisk]) -> list[Json]:
    return [asdict(disk) for disk in disks]


def with_disk_size(vm: Resource, disk: str, size: int) -> Resource:
    """A VM whose managed disk, by its id in lower case, has another size (bytes)."""
    disks = [replace(d, size=size) if d.managed.lower() == disk else d for d in read_disks(vm.state)]
    profile = vm.properties["storageProfile"]
    known = {**profile, "osDisk": _resized(profile["osDisk"], disk, size)}
    known["dataDisks"] = [_resized(shown, disk, size) for shown in profile["dataDisks"]]
    return vm.with_state(disks=write_disks(disks)).with_properties(storageProfile=known)


def _resized(shown: Json, disk: str, size: int) -> Json:
    mine = shown.get("managedDisk", {}).get("id", "").lower() == disk
    return {**shown, "diskSizeGB": -(-size // GIB)} if mine else shown


def gib(size: Any) -> int:
    """A diskSizeGB in bytes. Raises InvalidParameter."""
    if not 1 <= size <= LARGEST_GIB:
        raise invalid_parameter(
            f"The value '{size}' of parameter 'diskSizeGB' is out of range. The value must be between '1' "
            f"and '{LARGEST_GIB}', inclusive.",
            "diskSizeGB",
        )
    return int(size) * GIB


def blob_key(ref: BlobRef) -> str:
    """How a reference names a blob: no resource id, but unique among them."""
    return f"blob:{ref.account}/{ref.container}/{ref.name}"

"""virtualMachines/attachDetachDataDisks: managed data disks come and go, the VM running or not.

The list of data disks that it comes to is decided and stored with the request; the operation has the host
pull and plug. So it is the same as a PUT of the VM with that list.

REST: Virtual Machines - Attach Detach Data Disks.
"""

from __future__ import annotations

from typing import Any, Final

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.compute.sizes import get_size
from vmstamp.arm.compute.vm_body import CACHING
from vmstamp.arm.compute.vm_disk import VmDisk, read_disks, write_disks
from vmstamp.arm.compute.vm_disks import HIGHEST_LUN, Storage, StorageProfiles
from vmstamp.arm.compute.vm_life import Life
from vmstamp.arm.faults import invalid_parameter, missing_parameter, not_allowed
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.shape import OneOf, Only, clean, without_nulls
from vmstamp.arm.types import Action, Put, Request, Work

SHAPE: Final = {
    "dataDisksToAttach": [
        {
            "diskId": str,
            "lun": int,
            "caching": CACHING,
            "deleteOption": OneOf("Delete", "Detach"),
            "writeAcceleratorEnabled": Only(False),
        }
    ],
    "dataDisksToDetach": [{"diskId": str, "detachOption": Only("ForceDetach")}],
}


class DataDisks:
    """The action."""

    def __init__(self, catalog: Catalog, profiles: StorageProfiles, life: Life) -> None:
        self._catalog = catalog
        self._profiles = profiles
        self._life = life

    def action(self) -> Action:
        return Action("attachDetachDataDisks", self.run, check=self.check)

    def check(self, vm: Resource, request: Request) -> Json:
        body = clean(without_nulls(request.json), SHAPE)
        coming, going = body.get("dataDisksToAttach", []), body.get("dataDisksToDetach", [])
        if not coming and not going:
            raise missing_parameter("dataDisksToAttach")
        if vm.state["generalized"]:
            raise not_allowed(
                f"Operation 'attachDetachDataDisks' is not allowed on VM '{vm.name}' since the VM is "
                "generalized."
            )
        data = wanted(vm.properties["storageProfile"]["dataDisks"], coming, going)
        put = Put(vm.id, {}, vm.location, vm, "", self._catalog)
        size = get_size(vm.properties["hardwareProfile"]["vmSize"])
        storage = self._profiles.update(put, vm, {"dataDisks": data}, size)
        changed = vm.with_properties(storageProfile=storage.document)
        self._catalog.save(changed.with_state(**exchanged(vm, storage), again=False, resized=False))
        return {}

    def run(self, vm: Resource, work: Work) -> Json:
        """Make it true; the VM's storage profile. Idempotent."""
        done = self._life.apply(vm, Work(cancelled=work.cancelled, first=False))
        found: Json = done.properties["storageProfile"]
        return found


def exchanged(existing: Resource, storage: Storage) -> Json:
    """What a VM's state keeps of its disks after a change; those that leave are let go of by `Life.apply`."""
    kept = [disk.place for disk in storage.disks]
    leaving = [VmDisk(**record) for record in existing.state.get("dropped", [])]
    leaving += [disk for disk in read_disks(existing.state) if disk.place not in [d.place for d in leaving]]
    return {
        "disks": write_disks(storage.disks),
        "dropped": write_disks([disk for disk in leaving if disk.place not in kept]),
    }


def wanted(now: list[Json], coming: list[Json], going: list[Json]) -> list[Json]:
    """The data disks after a change. Raises AzureError: a disk that is not there, or named by no id."""
    data, gone = list(now), [_id(disk, "dataDisksToDetach") for disk in going]
    for id in gone:
        if not any(_managed(disk) == id.lower() for disk in data):
            raise invalid_parameter(
                f"The disk '{id}' is not attached to the virtual machine.", "dataDisksToDetach.diskId"
            )
        data = [disk for disk in data if _managed(disk) != id.lower()]
    for disk in coming:
        given = {name: value for name, value in disk.items() if name != "diskId"}
        id = _id(disk, "dataDisksToAttach")
        if any(_managed(one) == id.lower() for one in data):
            raise invalid_parameter(f"The disk '{id}' is attached already.", "dataDisksToAttach.diskId")
        lun = given.pop("lun", _free_lun(data))
        data.append({**given, "lun": lun, "createOption": "Attach", "managedDisk": {"id": id}})
    return data


def _id(disk: Json, where: str) -> str:
    if not disk.get("diskId"):
        raise missing_parameter(f"{where}.diskId")
    return str(disk["diskId"])


def _managed(disk: Json) -> str:
    link: Any = disk.get("managedDisk", {})
    return str(link.get("id", "")).lower()


def _free_lun(data: list[Json]) -> int:
    used = {disk["lun"] for disk in data}
    return next((lun for lun in range(HIGHEST_LUN + 1) if lun not in used), HIGHEST_LUN + 1)

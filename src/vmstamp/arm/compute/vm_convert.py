"""convertToManagedDisks: the blobs of a deallocated virtual machine become managed disks.

A managed disk shares the blob's bytes; the blob stays where it is, without the VM's lease, as in Azure.

REST: Virtual Machines - Convert To Managed Disks.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.compute.vhds import GIB, Vhds, new_place, place
from vmstamp.arm.compute.vm_disk import VmDisk, read_disks, write_disks
from vmstamp.arm.compute.vm_life import Life
from vmstamp.arm.faults import not_allowed
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.types import Request, Work
from vmstamp.blob.records import BlobRef
from vmstamp.resource_id import parse_resource_id

KIND = "Standard_LRS"


class Conversions:
    """The action."""

    def __init__(self, catalog: Catalog, vhds: Vhds, life: Life) -> None:
        self._catalog = catalog
        self._vhds = vhds
        self._life = life

    def check(self, vm: Resource, request: Request) -> Json:
        """Whether it may be done now; where each disk's bytes are to lie, in order."""
        disks = read_disks(vm.state)
        if all(disk.managed for disk in disks):
            raise not_allowed(f"VM '{vm.name}' is already using managed disks.")
        if vm.state["power"] != "deallocated":
            raise not_allowed(
                f"Operation 'convertToManagedDisks' is not allowed on VM '{vm.name}' since the VM is not "
                "deallocated."
            )
        names = [self._free_name(vm, disk) for disk in disks]
        blobs = [disk.place for disk in disks]
        return {"names": names, "places": [list(new_place()) for _ in disks], "blobs": blobs}

    def _free_name(self, vm: Resource, disk: VmDisk) -> str:
        taken = self._catalog.find(vm.id.sibling("Microsoft.Compute", "disks", disk.name))
        return f"{disk.name}_{uuid.uuid4().hex}" if taken else disk.name

    def run(self, vm: Resource, work: Work) -> None:
        """Copy the bytes, then exchange the disks in one transaction. Idempotent."""
        disks = read_disks(vm.state)
        if not all(disk.managed for disk in disks):
            self._copy(vm, disks, work.input)
        for disk, blob in zip(disks, work.input["blobs"], strict=True):
            self._release(place(blob), disk.unique)

    def _release(self, blob: BlobRef, lease: str) -> None:
        found = self._vhds.store.find_blob(*blob)
        if found is not None and found.lease is not None and found.lease.id == lease:
            self._vhds.store.release_lease(blob, lease)

    def _copy(self, vm: Resource, disks: list[VmDisk], input: Json) -> None:
        self._life.fold_all(vm)
        places = input["places"]
        for disk, target in zip(disks, places, strict=True):
            self._vhds.copy(disk.ref, place(target))
        made = [self._convert(vm, *each) for each in zip(disks, input["names"], places, strict=True)]
        for disk in made:
            self._vhds.store.acquire_infinite_lease(disk.ref, disk.unique)
        with self._catalog.db.write():
            for disk in made:
                self._catalog.save(self._resource(vm, disk))
            self._exchange(vm, made)

    def _convert(self, vm: Resource, disk: VmDisk, name: str, target: list[str]) -> VmDisk:
        id = vm.id.sibling("Microsoft.Compute", "disks", name)
        return replace(disk, name=name, place=target, make="attach", source=[], managed=str(id))

    def _resource(self, vm: Resource, disk: VmDisk) -> Resource:
        properties: Json = {
            "creationData": {"createOption": "Import"},
            "diskSizeBytes": disk.size,
            "diskSizeGB": -(-disk.size // GIB),
            "uniqueId": disk.unique,
            "timeCreated": self._catalog.now(),
            "provisioningState": "Succeeded",
        }
        if disk.lun is None:
            properties |= {"osType": "Linux", "hyperVGeneration": f"V{vm.state['generation']}"}
        document = {"sku": {"name": KIND, "tier": "Standard"}, "properties": properties}
        state = {"place": disk.place, "size": disk.size}
        return self._catalog.new(parse_resource_id(disk.managed), vm.location, document, state)

    def _exchange(self, vm: Resource, made: list[VmDisk]) -> None:
        fresh = self._catalog.find(vm.id) or vm
        storage = fresh.properties["storageProfile"]
        shown = [_shown(old, disk) for old, disk in zip(_documents(storage), made, strict=True)]
        storage = {**storage, "osDisk": shown[0], "dataDisks": shown[1:]}
        self._catalog.save(fresh.with_properties(storageProfile=storage).with_state(disks=write_disks(made)))


def _documents(storage: Json) -> list[Any]:
    return [storage["osDisk"], *storage["dataDisks"]]


def _shown(old: Json, disk: VmDisk) -> Json:
    """A disk as the VM's document shows it now."""
    kept = {name: value for name, value in old.items() if name not in ("vhd", "image")}
    managed = {"storageAccountType": KIND, "id": disk.managed}
    return {**kept, "name": disk.name, "managedDisk": managed, "deleteOption": "Detach"}

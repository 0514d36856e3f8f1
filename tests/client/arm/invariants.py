"""What must hold of a control plane at rest, whatever was asked of it before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vmstamp.arm.compute.vhds import place
from vmstamp.arm.compute.vm_disk import read_disks
from vmstamp.arm.control_plane import ControlPlane
from vmstamp.arm.resource import Resource
from vmstamp.blob.store import BlobStore

# References that keep their target from being deleted.
HOLDING = ("interface", "disk", "subnet", "public address", "security group", "availability set")
ENDED = ("Succeeded", "Failed", "Canceled")
MACHINES = "microsoft.compute/virtualmachines"
DISKS = "microsoft.compute/disks"
IMAGES = "microsoft.compute/images"
SNAPSHOTS = "microsoft.compute/snapshots"
VERSIONS = "microsoft.compute/galleries/images/versions"


def violations(plane: ControlPlane, store: BlobStore, host: Any) -> list[str]:
    """Everything that is not as it must be, in words; no operation may be under way."""
    resources = plane.engine.catalog.select()
    return [
        *_operations(plane, resources),
        *_references(plane, resources),
        *_machines(plane, store, host, resources),
        *_contents(store, resources),
    ]


def _operations(plane: ControlPlane, resources: list[Resource]) -> Iterator[str]:
    for operation in plane.engine.operations.unfinished():
        yield f"the operation {operation.kind} on {operation.resource} is open"
    for resource in resources:
        if resource.provisioning_state not in ENDED:
            yield f"{resource.id} is {resource.provisioning_state}, and nothing works on it"


def _references(plane: ControlPlane, resources: list[Resource]) -> Iterator[str]:
    catalog = plane.engine.catalog
    with plane.engine.db.read() as connection:
        rows = connection.execute("SELECT source, kind, target FROM reference").fetchall()
    known = {resource.id.key for resource in resources}
    users: dict[tuple[str, str], list[str]] = {}
    for source, kind, target in map(tuple, rows):
        if source not in known:
            yield f"{source} is gone and refers to {target}"
        whole = target.rsplit("/subnets/", 1)[0] if kind == "subnet" else target
        if kind in HOLDING and catalog.find(whole) is None:
            yield f"{source} refers to {target} ({kind}), which is gone"
        users.setdefault((kind, target), []).append(source)
    for (kind, target), found in users.items():
        if kind in ("interface", "disk", "public address") and len(found) > 1:
            yield f"{target} has the users {found}"


def _machines(plane: ControlPlane, store: BlobStore, host: Any, resources: list[Resource]) -> Iterator[str]:
    catalog, now = plane.engine.catalog, plane.engine.catalog.now()
    machines = [resource for resource in resources if resource.type == MACHINES]
    for stray in host.up - {vm.properties["vmId"] for vm in machines}:
        yield f"the guest {stray} runs and is nobody's"
    for vm in machines:
        runs = vm.properties["vmId"] in host.up
        if runs != (vm.state["power"] == "running"):
            yield f"{vm.name} is said to be {vm.state['power']}; its guest runs: {runs}"
        if vm.state.get("turning"):
            yield f"{vm.name} is {vm.state['turning']}, and nothing works on it"
        if runs and vm.state["generalized"]:
            yield f"{vm.name} is generalized, and runs"
        for disk in read_disks(vm.state):
            if not disk.managed:
                if not _leased(store, disk.place, disk.unique):
                    yield f"{disk.name} of {vm.name} is not leased"
                continue
            found = catalog.find(disk.managed)
            if found is None:
                yield f"{vm.name} has the disk {disk.name}, which is gone"
                continue
            if vm.state["power"] != "deallocated" and found.state.get("access until", "") > now:
                yield f"{disk.name} is open to a SAS, and its VM is {vm.state['power']}"
            if vm.provisioning_state == "Succeeded" and not _leased(store, disk.place, disk.unique):
                yield f"{disk.name} of {vm.name} is not leased"


def _leased(store: BlobStore, where: list[str], unique: str) -> bool:
    blob = store.find_blob(*place(where))
    return blob is not None and blob.lease is not None and blob.lease.id == unique


def _contents(store: BlobStore, resources: list[Resource]) -> Iterator[str]:
    held = {disk.unique for vm in resources if vm.type == MACHINES for disk in read_disks(vm.state)}
    for disk in (resource for resource in resources if resource.type == DISKS):
        blob = store.find_blob(*place(disk.state["place"]))
        if (
            blob is None
            and disk.provisioning_state == "Succeeded"
            and disk.properties["uniqueId"] not in held
        ):
            yield f"{disk.name} has no bytes"
        if blob is not None and blob.lease is not None and disk.properties["uniqueId"] not in held:
            yield f"{disk.name} is leased, and no VM has it"
    places = {tuple(one.state["place"]) for one in resources if one.type == DISKS}
    places |= {tuple(one.state["place"]) for one in resources if one.type == SNAPSHOTS}
    for version in (resource for resource in resources if resource.type == VERSIONS):
        for replica in version.state["replicas"].values():
            places |= {tuple(where) for where in replica.values()}
    for image in (resource for resource in resources if resource.type == IMAGES):
        places |= {tuple(disk["place"]) for disk in image.state["disks"].values()}
    for account in store.list_accounts(hidden=True):
        if account.name.startswith("md-") and account.name not in {where[0] for where in places}:
            yield f"the hidden account {account.name} is nobody's"

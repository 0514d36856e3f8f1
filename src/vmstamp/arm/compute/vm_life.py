"""The life of a virtual machine: made, started, stopped, deallocated, generalized, deleted.

Its disks' VHDs hold an infinite lease while the VM exists. What the guest writes lies in overlays on the
host; `fold` brings it into the VHDs: when a disk's bytes are asked for, when a blob-based VM is
deallocated (its blobs are the client's to read), and before a VM goes whose disks stay.

A crash while a VM is made: `apply` is run again and begins anew with the same disks; nothing that a guest
wrote before it was Ready is kept. A VM that ran when the stamp ended is found stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from vmstamp.arm.catalog import Catalog
from vmstamp.arm.compute.disk_access import active_access
from vmstamp.arm.compute.host import Host
from vmstamp.arm.compute.snapshot_copies import family_of
from vmstamp.arm.compute.turns import Turns
from vmstamp.arm.compute.vhds import Vhds
from vmstamp.arm.compute.vm_disk import VmDisk, read_disks
from vmstamp.arm.compute.vm_doors import Doors
from vmstamp.arm.compute.vm_plan import Plans
from vmstamp.arm.compute.vm_view import power_state
from vmstamp.arm.faults import invalid_parameter, not_allowed, unsupported
from vmstamp.arm.operations import Preempted
from vmstamp.arm.resource import Json, Resource
from vmstamp.arm.types import Request, Work
from vmstamp.errors import AzureError, Detail
from vmstamp.resource_id import parse_resource_id

log = logging.getLogger("vmstamp.arm")

LOG_ACCESS: Final = 120 * 60  # seconds that a serial log's URL is good for, unless others are asked for
LONGEST_LOG_ACCESS: Final = 1440  # minutes (REST: Virtual Machines - Retrieve Boot Diagnostics Data)
LARGEST_LOG: Final = 16 * 2**20  # bytes of a serial log that are handed out: its end


class Life:
    """What can be done with virtual machines. Every method but the checks runs on an operation thread."""

    def __init__(self, catalog: Catalog, vhds: Vhds, host: Host, plans: Plans, turns: Turns) -> None:
        self._catalog = catalog
        self._vhds = vhds
        self.host = host
        self._plans = plans
        self.turns = turns
        self._doors = Doors(catalog, plans, host)

    # -- made and changed

    def apply(self, vm: Resource, work: Work) -> Resource:
        """Make the VM's disks and start it, or take up a change."""
        with self._failures(vm):
            return self._apply(vm, work)

    def _apply(self, vm: Resource, work: Work) -> Resource:
        self._drop(vm)
        self._make_disks(vm)
        if work.first or vm.state.get("again"):
            self._begin(vm, work)
            return self._settled(vm)
        for disk in read_disks(vm.state)[1:]:
            self.host.attach(_vm_id(vm), self._plans.disk(disk))
        if vm.state.get("resized") and power_state(vm, self.host) == "running":
            self.host.stop(_vm_id(vm), graceful=True)
            self._boot(vm, provision=False)
        return self._settled(vm)

    def _settled(self, vm: Resource) -> Resource:
        return self._keep(vm, resized=False, again=False, dropped=[], settled=self._catalog.now())

    def _begin(self, vm: Resource, work: Work) -> None:
        """The first boot, when it is this VM's turn."""
        if self.turns.full:
            log.info("VM %s waits: %d are provisioned at a time on this computer", vm.name, self.turns.limit)
        with self.turns.turn(_vm_id(vm), work.cancelled) as came:
            if not came:
                raise Preempted("the VM's creation was preempted")
            self._provision(vm, work)

    def _provision(self, vm: Resource, work: Work) -> None:
        """Boot with provisioning data, if the VM takes them, until the agent reports."""
        self.host.remove(_vm_id(vm))
        self._keep(vm, power="stopped", failure=None)
        with self._turning(vm, "starting"):
            self._boot(vm, provision=vm.state["provision"])
            self._keep(vm, power="running", turning="")
        if vm.state["wait"]:
            self._wait_ready(vm, work)
        self._keep(vm, provisioned=True)
        self._forget(vm)

    def _forget(self, vm: Resource) -> None:
        """Erase the secrets: their last byte is gone once no reader needs it."""
        if vm.state.get("secrets"):
            self._keep(vm, secrets={})
            self._catalog.db.scrub()

    def _wait_ready(self, vm: Resource, work: Work) -> None:
        outcome = self.host.wait_ready(_vm_id(vm), work.cancelled)
        if work.cancelled() and not outcome.ready:
            raise Preempted("the VM's creation was preempted")
        if outcome.ready:
            return
        details = [
            Detail(f"Timeline/{event.stage.value}", f"{event.at.isoformat()} {event.detail}".strip())
            for event in self.host.timeline(_vm_id(vm))
        ]
        raise AzureError(409, outcome.code, outcome.message, details=details)

    @contextmanager
    def _failures(self, vm: Resource) -> Iterator[None]:
        """What fails within is kept for the instance view."""
        try:
            yield
        except Preempted:
            raise
        except Exception as error:
            code = error.code if isinstance(error, AzureError) else "InternalExecutionError"
            self._keep(vm, failure={"code": code, "message": str(error)}, settled=self._catalog.now())
            raise

    @contextmanager
    def _turning(self, vm: Resource, into: str) -> Iterator[None]:
        """What the instance view says of the VM's power meanwhile: starting, stopping, deallocating.

        What is done within keeps the power that it came to, and `turning` empty, in one.
        """
        self._keep(vm, turning=into)
        try:
            yield
        except Exception:
            self._keep(vm, turning="")
            raise

    def _keep(self, vm: Resource, **state: object) -> Resource:
        """Store some of the VM's state, at once; a VM that is gone stays gone."""
        with self._catalog.db.write():
            fresh = self._catalog.find(vm.id)
            if fresh is None:
                return vm.with_state(**state)
            return self._catalog.save(fresh.with_state(**state), touch=False)

    def _make_disks(self, vm: Resource) -> None:
        for disk in read_disks(vm.state):
            if disk.make == "empty":
                self._vhds.create_empty(disk.ref, disk.size, disk.unique)
            elif disk.make == "copy":
                self._vhds.copy(disk.source_ref, disk.ref)
                self._vhds.grow(disk.ref, disk.size, disk.unique)
            self._vhds.store.acquire_infinite_lease(disk.ref, disk.unique)

    def _drop(self, vm: Resource) -> None:
        """Let go of the disks that a change took away."""
        for record in vm.state.get("dropped", []):
            disk = VmDisk(**record)
            if self._vhds.exists(disk.ref):
                self.host.detach(_vm_id(vm), self._plans.disk(disk))
                self._adopt(vm, disk)
                self._vhds.store.release_lease(disk.ref, disk.unique)

    # -- the bytes of the disks

    def fold_disk(self, disk: Resource) -> None:
        """Bring what a VM wrote into the VHD of a managed disk that it holds; the VM must not run."""
        for vm, held in self._holders(disk):
            self._fold(vm, held)

    def settle(self, disk: Resource) -> Path | None:
        """As `fold_disk`; what a running VM has on its disk at this moment is given as a new file instead.

        None: the bytes are those of the VHD. The file is the caller's.
        """
        for vm, held in self._holders(disk):
            if self._vhds.exists(held.ref) and self.host.running(_vm_id(vm)):
                return self.host.fold(_vm_id(vm), self._plans.disk(held))
        self.fold_disk(disk)
        return None

    def _holders(self, disk: Resource) -> Iterator[tuple[Resource, VmDisk]]:
        """The VMs that hold a managed disk, and what they keep of it."""
        for user in self._catalog.referrers(disk.id, "disk"):
            vm = self._catalog.find(user.source)
            for held in read_disks(vm.state) if vm else ():
                if vm and held.managed.lower() == disk.id.key:
                    yield vm, held

    def fold_all(self, vm: Resource) -> None:
        """Bring all that a VM wrote into its VHDs; it must not run."""
        for disk in read_disks(vm.state):
            self._fold(vm, disk)

    def _fold(self, vm: Resource, disk: VmDisk) -> None:
        if not self._vhds.exists(disk.ref):
            return
        if self.host.running(_vm_id(vm)):
            raise not_allowed(f"The disk '{disk.name}' is in use by the running VM '{vm.name}'.")
        self._adopt(vm, disk)

    def _adopt(self, vm: Resource, disk: VmDisk) -> None:
        folded = self.host.fold(_vm_id(vm), self._plans.disk(disk))
        if folded is not None:
            self._vhds.adopt(disk.ref, folded, family_of(disk.unique))

    # -- deleted

    def remove(self, vm: Resource, work: Work) -> None:
        """End the VM, keep the bytes of the disks that stay, delete what goes with it."""
        self.host.stop(_vm_id(vm), graceful=False)
        disks = read_disks(vm.state)
        for disk in disks:
            if not disk.delete:
                self._fold(vm, disk)
        self.host.remove(_vm_id(vm))
        for disk in disks:
            if self._vhds.exists(disk.ref):
                self._vhds.store.release_lease(disk.ref, disk.unique)
            never_made = disk.make != "attach" and not self._vhds.exists(disk.ref)
            if disk.managed and (disk.delete or never_made):
                self._vhds.delete(disk.ref)
                self._catalog.delete(parse_resource_id(disk.managed))
        self._vhds.delete_log(_vm_id(vm))
        self._remove_interfaces(vm)
        for child in self._catalog.select(scope=str(vm.id)):
            self._catalog.delete(child.id)
        self._forget(vm)

    def _remove_interfaces(self, vm: Resource) -> None:
        for link in vm.properties["networkProfile"]["networkInterfaces"]:
            interface = self._catalog.find(link["id"])
            if interface is None or link["properties"]["deleteOption"] != "Delete":
                continue
            self._catalog.delete(interface.id)
            for configuration in interface.properties["ipConfigurations"]:
                public = configuration["properties"].get("publicIPAddress", {})
                if public.get("properties", {}).get("deleteOption") == "Delete":
                    self._catalog.delete(parse_resource_id(public["id"]))

    # -- started and stopped

    def check_start(self, vm: Resource, request: Request) -> Json:
        if vm.state["generalized"]:
            raise not_allowed(
                f"Operation 'start' is not allowed on VM '{vm.name}' since the VM is generalized."
            )
        for disk in read_disks(vm.state):
            resource = self._catalog.find(disk.managed) if disk.managed else None
            if resource and str(resource.state.get("access until", "")) > self._catalog.now():
                raise active_access(resource, "starting the VM with")
        return {}

    def start(self, vm: Resource, work: Work) -> None:
        if self.host.running(_vm_id(vm)):
            self._keep(vm, power="running")
            return
        provision = vm.state["provision"] and not vm.state["provisioned"]
        with self._turning(vm, "starting"):
            self._boot(vm, provision=provision)
            self._keep(vm, power="running", turning="")

    def _boot(self, vm: Resource, *, provision: bool) -> None:
        self.host.start(self._plans.plan(vm, provision=provision))
        self._doors.open(vm)  # a security group may have changed since the plan was made

    def check_restart(self, vm: Resource, request: Request) -> Json:
        if power_state(vm, self.host) != "running":
            raise not_allowed("The operation requires the VM to be running (or set to run).")
        return {}

    def restart(self, vm: Resource, work: Work) -> None:
        self.host.stop(_vm_id(vm), graceful=True)
        self.start(vm, work)

    def redeploy(self, vm: Resource, work: Work) -> None:
        """End the VM's process and begin a new one: there is no other node to move to."""
        self.host.stop(_vm_id(vm), graceful=True)
        self.start(vm, work)

    def reapply(self, vm: Resource, work: Work) -> None:
        """Make true once more what the VM says: a failed creation is begun anew."""
        again = vm.provisioning_state == "Failed" and not vm.state["provisioned"]
        self.apply(self._keep(vm, again=again), replace(work, first=False))
        with self._catalog.db.write():
            if fresh := self._catalog.find(vm.id):
                self._catalog.save(fresh.with_properties(provisioningState="Succeeded"))

    def check_power_off(self, vm: Resource, request: Request) -> Json:
        return {"skipShutdown": request.query.get("skipshutdown", "").lower() == "true"}

    def power_off(self, vm: Resource, work: Work) -> None:
        if vm.state["power"] == "deallocated":
            return
        with self._turning(vm, "stopping"):
            self.host.stop(_vm_id(vm), graceful=not work.input.get("skipShutdown", False))
            self._keep(vm, power="stopped", turning="")

    def check_deallocate(self, vm: Resource, request: Request) -> Json:
        if request.query.get("hibernate", "").lower() == "true":
            raise unsupported("The value 'true' of query parameter 'hibernate'")
        return {}

    def deallocate(self, vm: Resource, work: Work) -> None:
        with self._turning(vm, "deallocating"):
            self.host.stop(_vm_id(vm), graceful=True)
            if any(not disk.managed for disk in read_disks(vm.state)):
                self.fold_all(vm)
            self._keep(vm, power="deallocated", turning="")

    def check_generalize(self, vm: Resource, request: Request) -> Json:
        if vm.state["power"] not in ("stopped", "deallocated"):
            raise not_allowed(
                f"Operation 'generalize' is not allowed on VM '{vm.name}' since the VM is running. Please "
                "power off explicitly in case you shut down the VM from inside the guest operating system."
            )
        return {}

    def generalize(self, vm: Resource, work: Work) -> None:
        self._keep(vm, generalized=True)

    # -- looked at

    def check_boot_diagnostics(self, vm: Resource, request: Request) -> Json:
        text = request.query.get("sasuriexpirationtimeinminutes", str(LOG_ACCESS // 60))
        if not text.isdecimal() or not 1 <= int(text[:9]) <= LONGEST_LOG_ACCESS:
            raise invalid_parameter(
                f"The value '{text}' of parameter 'sasUriExpirationTimeInMinutes' is out of range. The value "
                f"must be between '1' and '{LONGEST_LOG_ACCESS}', inclusive.",
                "sasUriExpirationTimeInMinutes",
            )
        return {"seconds": int(text) * 60}

    def boot_diagnostics(self, vm: Resource, work: Work) -> Json:
        """The serial console so far and, while it runs, a picture of its screen, as URLs of blobs."""
        seconds, id = work.input["seconds"], _vm_id(vm)
        found = {"serialConsoleLogBlobUri": self._vhds.publish_log(vm.name, id, self._log(vm), seconds)}
        if picture := self.host.screenshot(id):
            found["consoleScreenshotBlobUri"] = self._vhds.publish_screenshot(vm.name, id, picture, seconds)
        return found

    def _log(self, vm: Resource) -> bytes:
        """The end of the serial console's log."""
        path = self.host.serial_log(_vm_id(vm))
        if not path.exists():
            return b""
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - LARGEST_LOG))
            return log.read()


def _vm_id(vm: Resource) -> str:
    return str(vm.properties["vmId"])

"""This computer as the host of VMs: joins the machine and fabric rooms to what ARM's virtual machines need.

    PUT virtualMachines -> VmPlan -> start: overlays, DVD, network, QEMU -> the agent's Ready -> Outcome

A virtual network exists while a VM in it runs. Per VM, `machines/<vmId>/` holds the overlays and which
content each was laid over (`backing.json`), the DVD, the serial log and the timeline of the last boot.
Threads: ARM lets one operation at a time at a VM; networks are shared and have a lock.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from vmstamp import settings
from vmstamp.arm.compute.host import DiskPlan, NicPlan, Outcome, VmPlan
from vmstamp.errors import MachineError
from vmstamp.fabric.extensions import Handler
from vmstamp.fabric.fabric import AgentStatus, Fabric
from vmstamp.host.backing import fold_beside, fold_overlay, lies_over, note_backing
from vmstamp.host.dvd import take_dvd, write_dvd
from vmstamp.host.offers import nic_doors
from vmstamp.host.records import Recorder, read_timeline, tell, timed_out
from vmstamp.machine.accelerator import Accelerator
from vmstamp.machine.doors import Door, Doors
from vmstamp.machine.network import IMDS, WIRESERVER, Network, NetworkSpec
from vmstamp.machine.overlay import create_overlay
from vmstamp.machine.qemu import Machine
from vmstamp.machine.spec import DiskSpec, MachineSpec, NicSpec
from vmstamp.paths import Home
from vmstamp.timeline import Event, Stage, Timeline

WIRESERVER_PORT = 80
HOST_PLUGIN_PORT = 32526
IMDS_PORT = 80
PANIC_PATIENCE = 5.0  # seconds a panicked guest may take to reboot or say more
WAIT_STEP = 0.5  # seconds


@dataclass
class _Vm:
    """A VM that was started in this process; `machine` is None while it is being started."""

    plan: VmPlan
    timeline: Timeline
    machine: Machine | None = None
    disks: dict[str, DiskSpec] = field(default_factory=dict)  # data disks that are plugged in, by overlay
    doors: Doors = field(default_factory=Doors)


class VmHost:
    """The real `Host` of vmstamp.arm.compute.host. Close it when the stamp stops."""

    def __init__(
        self,
        home: Home,
        fabric: Fabric,
        accelerator: Callable[[], Accelerator],
        clock: Callable[[], datetime],
        *,
        ready_timeout: float,
        way_out: bool,
    ) -> None:
        self._home = home
        self._fabric = fabric
        self._accelerator = accelerator
        self._clock = clock
        self._ready_timeout = ready_timeout
        self._way_out = way_out
        self._lock = threading.RLock()
        self._vms: dict[str, _Vm] = {}
        self._networks: dict[str, Network] = {}
        self._hurried = threading.Event()

    # Starting

    def start(self, plan: VmPlan) -> None:
        """Run QEMU for this VM. Raises MachineError; then nothing of it runs."""
        if self.running(plan.vm_id):
            return
        self._part(plan.vm_id)
        directory = self._home.machine(plan.vm_id)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        disks = [self._lay(directory, disk) for disk in (plan.os_disk, *plan.data_disks)]
        timeline = Timeline(self._clock, Recorder(directory / "timeline.jsonl"))
        vm = _Vm(plan, timeline, disks={disk.file.name: disk for disk in disks[1:]})
        with self._lock:
            self._vms[plan.vm_id] = vm
        with ExitStack() as undo:
            undo.callback(self._leave, vm)
            with ExitStack() as taps:
                spec = MachineSpec(
                    id=plan.vm_id,
                    name=plan.instance.name,
                    generation=plan.generation,
                    vcpus=plan.vcpus,
                    memory=plan.memory,
                    accelerator=self._accelerator().name,
                    directory=directory,
                    os_disk=disks[0],
                    data_disks=tuple(disks[1:]),
                    dvd=write_dvd(directory, plan) if plan.provision else None,
                    nics=tuple(self._plug(vm, nic, taps) for nic in plan.nics),
                )
                vm.machine = Machine.start(spec, timeline, lambda: self._leave(vm))
            self._open_doors(vm, plan.nics)
            undo.pop_all()
        if not vm.machine.running:  # it ended while its ports were opened, and has left without them
            self._leave(vm)

    def _part(self, vm_id: str) -> None:
        """Wait until what ran of this VM before has left: it must not take the new start's ports along."""
        vm = self._vms.get(vm_id)
        if vm is not None and vm.machine is not None:
            vm.machine.kill()

    def _lay(self, directory: Path, disk: DiskPlan) -> DiskSpec:
        """The disk's overlay, laid anew when there is none or when its content was replaced."""
        overlay = directory / disk.overlay_name
        if not overlay.exists() or not lies_over(directory, disk):
            create_overlay(overlay, disk.path, disk.size)
            note_backing(directory, disk)
        return DiskSpec(overlay, "qcow2", lun=disk.lun)

    def _plug(self, vm: _Vm, nic: NicPlan, taps: ExitStack) -> NicSpec:
        """Give a NIC its place in its network; `taps` closes our descriptor of the tap."""

        def leased() -> None:
            vm.timeline.mark(Stage.DHCP, f"{nic.address} acknowledged to {nic.mac}")

        with self._lock:  # else another VM that leaves could close the network before the port is in it
            network = self._network(next(spec for spec in vm.plan.networks if spec.id == nic.network_id))
            if nic is vm.plan.nics[0]:
                self._fabric.register(nic.network_id, vm.plan.instance, vm.timeline)
            tap = network.add_port(nic.mac, nic.address, nic.hostname, leased)
        taps.callback(os.close, tap)
        return NicSpec(nic.mac, tap)

    def _network(self, spec: NetworkSpec) -> Network:
        """The running network, started when no VM runs in it yet. Called with the lock held."""
        found = self._networks.get(spec.id)
        if found is None:
            found = self._networks[spec.id] = self._open_network(spec)
        if found.spec != spec:
            found.change(spec)
        return found

    def _open_network(self, spec: NetworkSpec) -> Network:
        network = Network.open(spec, self._home.network(spec.id), way_out=self._way_out)
        try:
            self._fabric.serve(
                spec.id,
                wireserver=network.listen(WIRESERVER, WIRESERVER_PORT),
                host_plugin=network.listen(WIRESERVER, HOST_PLUGIN_PORT),
                imds=network.listen(IMDS, IMDS_PORT),
                catch_up=network.catch_up,
            )
        except BaseException:
            network.close()
            raise
        return network

    # The way in

    def offer(self, vm_id: str, nics: tuple[NicPlan, ...]) -> None:
        """Offer these public addresses and ports of a running VM, and no others.

        Connections through a port that is offered no more end. Raises MachineError, the rest done, for a
        port that is not to be had.
        """
        vm = self._vms.get(vm_id)
        if vm is not None and vm.machine is not None:
            self._open_doors(vm, nics)

    def _open_doors(self, vm: _Vm, nics: tuple[NicPlan, ...]) -> None:
        """Open what `nics` say; where a NIC is inside its network was told to the guest at the start."""
        wanted: list[Door] = []
        for inside in vm.plan.nics:
            network = self._networks.get(inside.network_id)
            for nic in nics:
                if nic.mac == inside.mac and network is not None:
                    wanted += nic_doors(nic, inside.address, network)
        vm.doors.keep(wanted)

    def _leave(self, vm: _Vm) -> None:
        """A VM has ended, or did not start: give its ports back and close networks without VMs."""
        vm.doors.shut()
        if vm.machine is not None and vm.machine.running:
            vm.machine.kill()
        with self._lock:
            for nic in vm.plan.nics:
                network = self._networks.get(nic.network_id)
                if network is not None:
                    network.remove_port(nic.mac)
                    if not network.port_count:
                        self._close_network(nic.network_id)

    def _close_network(self, network_id: str) -> None:
        self._fabric.close_network(network_id)
        self._networks.pop(network_id).close()

    # Waiting

    @property
    def ready_limit(self) -> float:
        """Seconds that a VM has to report Ready; more under software emulation."""
        return self._ready_timeout * settings.SLOWER[self._accelerator().name]

    def wait_ready(self, vm_id: str, cancelled: Callable[[], bool]) -> Outcome:
        """Wait for the agent's own report. Azure's codes when it fails."""
        vm = self._vms.get(vm_id)
        if vm is None or vm.machine is None:
            return Outcome(False, "OSProvisioningInternalError", "The VM does not run.")
        waited = panicked = 0.0
        while waited < self.ready_limit and panicked < PANIC_PATIENCE:
            event = vm.timeline.wait(Stage.READY, Stage.FAILED, Stage.STOPPED, timeout=WAIT_STEP)
            if event is not None:
                return self._judge(vm, event)
            if cancelled():
                return Outcome(False, "OperationPreempted", "The operation was preempted by a later one.")
            waited += WAIT_STEP
            panicked += WAIT_STEP if vm.machine.panic else 0.0
        return self._give_up(vm, waited)

    def _judge(self, vm: _Vm, event: Event) -> Outcome:
        name = vm.plan.instance.name
        if event.stage is Stage.READY:
            assert vm.machine is not None
            take_dvd(vm.machine)
            return Outcome(True)
        if event.stage is Stage.FAILED:
            message = f"OS Provisioning failed for VM '{name}' due to an internal error. {event.detail}"
            return Outcome(False, "OSProvisioningClientError", f"{message} {tell(vm.timeline)}")
        message = f"VM '{name}' stopped before its agent reported Ready: {event.detail}."
        return Outcome(False, "OSProvisioningInternalError", f"{message} {tell(vm.timeline)}")

    def _give_up(self, vm: _Vm, waited: float) -> Outcome:
        name = vm.plan.instance.name
        assert vm.machine is not None
        if vm.machine.panic:
            message = f"The kernel of VM '{name}' panicked: {vm.machine.panic}."
            return Outcome(False, "OSProvisioningInternalError", f"{message} {tell(vm.timeline)}")
        runs = self._fabric.agent(vm.plan.vm_id).heartbeat is not None
        message = timed_out(name, waited, agent_runs=runs)
        return Outcome(False, "OSProvisioningTimedOut", f"{message} {tell(vm.timeline)}")

    # Data disks of a running VM

    def attach(self, vm_id: str, disk: DiskPlan) -> None:
        """Plug a data disk into a VM; nothing when it does not run, or has it. Raises MachineError."""
        vm = self._vms.get(vm_id)
        if vm is None or vm.machine is None or not vm.machine.running or disk.overlay_name in vm.disks:
            return
        laid = self._lay(self._home.machine(vm_id), disk)
        vm.machine.attach(laid)
        vm.disks[disk.overlay_name] = laid

    def detach(self, vm_id: str, disk: DiskPlan) -> None:
        """Pull a data disk out of a VM; nothing when it does not run, or has it not. Raises MachineError."""
        vm = self._vms.get(vm_id)
        if vm is None or vm.machine is None or disk.overlay_name not in vm.disks:
            return
        if vm.machine.running:
            vm.machine.detach(vm.disks[disk.overlay_name])
        del vm.disks[disk.overlay_name]

    # Stopping

    def stop(self, vm_id: str, *, graceful: bool) -> None:
        """Power the VM off, by ACPI first when graceful; overlays stay. No error when it is off."""
        vm = self._vms.get(vm_id)
        if vm is None or vm.machine is None:
            return
        if graceful and vm.machine.running:
            limit = settings.shutdown_seconds(vm.machine.spec.accelerator)
            vm.machine.shutdown(limit, self._hurried.is_set)
        else:
            vm.machine.kill()

    def fold(self, vm_id: str, disk: DiskPlan) -> Path | None:
        """The disk's bytes now as a new sparse file in the machine's directory; None: nothing was written.

        A VM that runs is held for the time in which its overlay is copied: as after a loss of power, the
        bytes are those that its guest was told are written, and perhaps later ones.
        """
        directory = self._home.machine(vm_id)
        overlay = directory / disk.overlay_name
        if not overlay.exists() or not lies_over(directory, disk):
            return None
        vm = self._vms.get(vm_id)
        if vm is not None and vm.machine is not None and vm.machine.running:
            return fold_beside(vm.machine, overlay, disk)
        return fold_overlay(overlay, disk, f"{disk.overlay_name}.folded")

    def remove(self, vm_id: str) -> None:
        """Stop the VM if it runs and delete its machine directory. No error when there is none."""
        self.stop(vm_id, graceful=False)
        with self._lock:
            self._vms.pop(vm_id, None)
        self._fabric.forget(vm_id)
        shutil.rmtree(self._home.machine(vm_id), ignore_errors=True)

    def hurry(self) -> None:
        """Wait for no guest any more: each that is asked to shut down has its plug pulled. Does not block."""
        self._hurried.set()

    def close(self) -> None:
        """Stop every VM, side by side, and every network."""
        with self._lock:
            vms = list(self._vms)
        threads = [
            threading.Thread(target=self.stop, args=(vm_id,), kwargs={"graceful": True}) for vm_id in vms
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with self._lock:
            for network_id in list(self._networks):
                self._close_network(network_id)

    # Looking

    def running(self, vm_id: str) -> bool:
        vm = self._vms.get(vm_id)
        return vm is not None and vm.machine is not None and vm.machine.running

    def timeline(self, vm_id: str) -> list[Event]:
        """The events of the last boot, also one of an earlier server."""
        vm = self._vms.get(vm_id)
        if vm is not None:
            return vm.timeline.events()
        return read_timeline(self._home.machine(vm_id) / "timeline.jsonl")

    def agent(self, vm_id: str) -> AgentStatus | None:
        """What the guest's agents reported in this boot; None when nothing."""
        status = self._fabric.agent(vm_id)
        return status if status.reports or status.heartbeat else None

    def screenshot(self, vm_id: str) -> bytes | None:
        """What the VM's screen shows, as a BMP; None when it does not run."""
        vm = self._vms.get(vm_id)
        if vm is None or vm.machine is None or not vm.machine.running:
            return None
        try:
            return vm.machine.screen()
        except MachineError:
            if vm.machine.running:
                raise
            return None

    # Extensions

    def extend(
        self,
        vm_id: str,
        handler: Handler,
        sequence: int,
        public: Mapping[str, Any],
        protected: Mapping[str, Any] | None,
        name: str = "",
    ) -> int:
        return self._fabric.extend(vm_id, handler, sequence, public, protected, name)

    def withdraw(self, vm_id: str, handler: Handler, sequence: int, name: str = "") -> int:
        return self._fabric.withdraw(vm_id, handler, sequence, name)

    def drop(self, vm_id: str, handler: Handler, name: str = "") -> None:
        self._fabric.drop(vm_id, handler, name)

    def serial_log(self, vm_id: str) -> Path:
        return self._home.machine(vm_id) / "serial.log"

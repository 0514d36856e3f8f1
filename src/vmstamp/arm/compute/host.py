"""What virtual machines need of the computer they run on: a protocol, and the plans it takes.

The arm room decides, the host does. The real host joins the machine and fabric rooms; tests bring one
that boots at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vmstamp.timeline import Event

if TYPE_CHECKING:
    from vmstamp.fabric.extensions import Handler
    from vmstamp.fabric.instance import Instance
    from vmstamp.fabric.report import AgentStatus
    from vmstamp.machine.network import NetworkSpec


@dataclass(frozen=True)
class DiskPlan:
    """One disk of a VM: a read-only backing file and the overlay that takes the VM's writes.

    `path` is sealed content (raw bytes, a VHD footer behind them), `size` the virtual size in bytes
    without the footer, `lun` None for the OS disk, `overlay_name` a file name in the machine's
    directory that stays the same over the VM's life.
    """

    path: Path
    size: int
    lun: int | None
    overlay_name: str


@dataclass(frozen=True)
class SecondaryAddress:
    """A further address of a NIC, which its guest has to configure, and the public one that leads to it."""

    address: IPv4Address
    public_address: IPv4Address | None


@dataclass(frozen=True)
class NicPlan:
    """One network interface: `network_id` is the virtual network's resourceGuid, `mac` AA-BB-CC-DD-EE-FF.

    `open_ports` are the TCP ports of the guest that its `public_address` (a loopback address of this
    computer) offers, and those of its secondary addresses.
    """

    resource_id: str
    mac: str
    network_id: str
    address: IPv4Address
    prefix: IPv4Network
    public_address: IPv4Address | None
    open_ports: tuple[int, ...]
    hostname: str
    secondary: tuple[SecondaryAddress, ...] = ()


@dataclass(frozen=True)
class VmPlan:
    """Everything that a start needs. `memory` is in bytes; `provision` attaches the DVD with ovf-env.xml."""

    instance: Instance
    generation: int
    vcpus: int
    memory: int
    os_disk: DiskPlan
    data_disks: tuple[DiskPlan, ...]
    nics: tuple[NicPlan, ...]
    networks: tuple[NetworkSpec, ...]
    provision: bool

    @property
    def vm_id(self) -> str:
        return self.instance.vm_id


@dataclass(frozen=True)
class Outcome:
    """How a provisioning ended: ready, or Azure's code (OSProvisioningTimedOut, ...) and a message."""

    ready: bool
    code: str = ""
    message: str = ""


class Host(Protocol):
    """Runs virtual machines. Every method may block and is called from operation threads.

    A VM's writes go to overlays in its machine directory. An overlay belongs to the backing path that
    it was laid over: when a plan names another path, the bytes of the old overlay were folded and
    adopted as that new content, so the overlay is stale and a fresh one is laid (by `start`) or nothing
    was written since (`fold` gives None).
    """

    def start(self, plan: VmPlan) -> None:
        """Run QEMU for this VM, again if it ran before. Raises MachineError."""
        ...

    def wait_ready(self, vm_id: str, cancelled: Callable[[], bool]) -> Outcome:
        """Wait for the agent's report; gives up within a second or so of `cancelled()` turning true."""
        ...

    def offer(self, vm_id: str, nics: tuple[NicPlan, ...]) -> None:
        """Offer these public addresses and ports of a running VM, and no others; the rest of a NIC stays.

        No error when it does not run. Raises MachineError for a port that is not to be had; others are open.
        """
        ...

    def stop(self, vm_id: str, *, graceful: bool) -> None:
        """Power the VM off, by ACPI first when graceful; overlays stay. No error when it is off."""
        ...

    def attach(self, vm_id: str, disk: DiskPlan) -> None:
        """Plug a data disk into a running VM. No error when it does not run, or has the disk."""
        ...

    def detach(self, vm_id: str, disk: DiskPlan) -> None:
        """Pull a data disk out of a running VM. No error when it does not run, or has it not."""
        ...

    def fold(self, vm_id: str, disk: DiskPlan) -> Path | None:
        """The disk's bytes now, footer included, as a new sparse file that the caller adopts.

        None when nothing was written. The overlay is left as it is. A running VM goes on; the bytes are
        those of one moment.
        """
        ...

    def remove(self, vm_id: str) -> None:
        """Stop the VM if it runs and delete its machine directory. No error when there is none."""
        ...

    def running(self, vm_id: str) -> bool: ...

    def timeline(self, vm_id: str) -> list[Event]:
        """The events of the last boot, empty when it never ran."""
        ...

    def agent(self, vm_id: str) -> AgentStatus | None:
        """What the guest's agent last reported; None when nothing."""
        ...

    def screenshot(self, vm_id: str) -> bytes | None:
        """What the VM's screen shows, as a BMP; None when it does not run. Raises MachineError."""
        ...

    def extend(
        self,
        vm_id: str,
        handler: Handler,
        sequence: int,
        public: Mapping[str, Any],
        protected: Mapping[str, Any] | None,
        name: str = "",
    ) -> int:
        """Tell the guest's agent to run an extension handler; the number of the goal state that says so.

        Protected settings are encrypted for the guest and not kept. `name` is the extension's, of a handler
        of several. What comes of it is in `agent`.
        """
        ...

    def withdraw(self, vm_id: str, handler: Handler, sequence: int, name: str = "") -> int:
        """Tell the guest's agent to uninstall a handler, or to disable one of its extensions.

        The number of the goal state that says so.
        """
        ...

    def drop(self, vm_id: str, handler: Handler, name: str = "") -> None:
        """Say no more of a handler, or of one of its extensions, in goal states to come.

        Its settings are forgotten.
        """
        ...

    def serial_log(self, vm_id: str) -> Path:
        """Where the serial console is written; the file may not exist yet."""
        ...

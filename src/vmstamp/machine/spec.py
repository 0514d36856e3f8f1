"""What a machine is made of, and the QEMU command line that makes it. Pure; golden-tested.

The hardware is what the agents expect of Azure, as far as QEMU has it:

- SMBIOS type 3 asset tag and type 1 strings: cloud-init knows Azure by the first; the version string that
  begins with `Hyper-V` makes systemd say `microsoft`, without which Debian's walinuxagent never starts.
- One optical drive and no default devices: the agent takes the first drive that it finds.
- Data disks on a SCSI controller of their own at their LUN, never as `vd[b-z]`, which it would take for
  the DVD. The controller is always there: disks come and go while the machine runs.
- The drive of Gen1 is an IDE one, as on Azure. Its OS disk is not: Linux's ata_piix leaves the disks of what
  SMBIOS calls Microsoft's Virtual Machine to hv_storvsc ("ATA device ignore set").
- Under software emulation one virtual CPU: text patching in guest kernels races with QEMU's threads.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmstamp.machine.firmware import Firmware
from vmstamp.machine.network import colon_mac

MIB = 1 << 20
ASSET_TAG = "7783-7084-3265-9085-8269-3286-77"
BIOS_VERSION = {1: "Hyper-V BIOS v2.0", 2: "Hyper-V UEFI Release v4.1"}
KVM_CPU = (
    "host,hv-relaxed=on,hv-vapic=on,hv-spinlocks=0x1fff,hv-vpindex=on,hv-runtime=on,hv-synic=on,"
    "hv-stimer=on,hv-time=on,hv-frequencies=on"
)
# x86-64-v2, which current distributions need. With an AMD's vendor string a Debian 12 took 39 s of CPU until
# Ready instead of 50 s: Linux spares an AMD the page table isolation against Meltdown.
TCG_CPU = "Nehalem,vendor=AuthenticAMD,tcg-cpuid=off"


@dataclass(frozen=True)
class DiskSpec:
    """A disk file. `lun` None is the OS disk; `size` in bytes shows only so much of a raw file."""

    file: Path
    format: str  # raw or qcow2
    size: int | None = None
    lun: int | None = None


@dataclass(frozen=True)
class NicSpec:
    """A NIC whose tap is passed to QEMU as the open descriptor `tap`."""

    mac: str
    tap: int


@dataclass(frozen=True)
class MachineSpec:
    """One machine. `id` is the vmId, a GUID; `memory` in bytes; `directory` holds its sockets and logs."""

    id: str
    name: str
    generation: int
    vcpus: int
    memory: int
    accelerator: str  # kvm or tcg
    directory: Path
    os_disk: DiskSpec
    data_disks: tuple[DiskSpec, ...] = ()
    dvd: Path | None = None
    nics: tuple[NicSpec, ...] = ()

    @property
    def serial_log(self) -> Path:
        return self.directory / "serial.log"


def argv(spec: MachineSpec, firmware: Firmware | None, monitor: int) -> list[str]:
    """The command line of QEMU 7.2 and later for a machine.

    Gen2 needs `firmware`; `monitor` is the descriptor of a connected socket on which QEMU speaks QMP.
    """
    if (spec.generation == 2) != (firmware is not None):
        raise ValueError(f"generation {spec.generation} with firmware {firmware}")
    words = ["qemu-system-x86_64", "-name", f"guest=vmstamp-{spec.name}"]
    words += ["-nodefaults", "-no-user-config", "-display", "none"]
    words += [*_platform(spec), *_identity(spec), *_firmware(firmware), *_consoles(spec, monitor)]
    words += [*_controllers(spec), *_os_disk(spec), *_data_disks(spec), *_dvd(spec), *_nics(spec)]
    return words


def _platform(spec: MachineSpec) -> Iterator[str]:
    kvm = spec.accelerator == "kvm"
    machine = "q35,usb=off,smm=off" if spec.generation == 2 else "pc,usb=off"
    yield from ("-machine", f"{machine},vmport=off,hpet=off")
    yield from ("-accel", "kvm" if kvm else "tcg,thread=single,tb-size=512")
    yield from ("-cpu", KVM_CPU if kvm else TCG_CPU)
    yield from ("-smp", str(spec.vcpus if kvm else 1))
    yield from ("-m", f"{spec.memory // MIB}M")
    yield from ("-rtc", "base=utc")


def _identity(spec: MachineSpec) -> Iterator[str]:
    maker = "manufacturer=Microsoft Corporation"
    version, system_uuid = BIOS_VERSION[spec.generation], _system_uuid(spec)
    yield from (
        "-smbios",
        f"type=1,{maker},product=Virtual Machine,version={version},uuid={system_uuid}",
    )
    yield from ("-smbios", f"type=3,{maker},asset={ASSET_TAG}")


def _system_uuid(spec: MachineSpec) -> str:
    """The vmId as SMBIOS has it.

    Azure's Gen1 has SMBIOS 2.3, whose readers take the first three fields big-endian: cloud-init and
    azure-init swap them back there to get the vmId that IMDS says.
    """
    vm_id = uuid.UUID(spec.id)
    return str(uuid.UUID(bytes=vm_id.bytes_le) if spec.generation == 1 else vm_id)


def _firmware(firmware: Firmware | None) -> Iterator[str]:
    if firmware is not None:
        yield from ("-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={_escape(firmware.code)}")
        yield from ("-drive", f"if=pflash,format=raw,unit=1,file={_escape(firmware.variables)}")


def _consoles(spec: MachineSpec, monitor: int) -> Iterator[str]:
    yield from ("-chardev", f"file,id=serial0,path={_escape(spec.serial_log)},append=on")
    yield from ("-device", "isa-serial,chardev=serial0")
    yield from ("-chardev", f"socket,id=monitor,fd={monitor}")
    yield from ("-mon", "chardev=monitor,mode=control")
    yield from ("-device", "VGA,vgamem_mb=8")  # a screen that nobody sees, for pictures of it
    yield from ("-object", "rng-random,id=rng0,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng0")


def _controllers(spec: MachineSpec) -> Iterator[str]:
    yield from ("-device", "virtio-scsi-pci,id=scsi0")
    yield from ("-device", "virtio-scsi-pci,id=scsi1")


def _os_disk(spec: MachineSpec) -> Iterator[str]:
    yield from ("-blockdev", json.dumps(block_node(spec.os_disk, "os")))
    yield from ("-device", "scsi-hd,bus=scsi0.0,scsi-id=0,lun=0,drive=os,bootindex=1")


def _data_disks(spec: MachineSpec) -> Iterator[str]:
    for disk in spec.data_disks:
        yield from ("-blockdev", json.dumps(block_node(disk, data_node(disk))))
        device = ",".join(f"{name}={value}" for name, value in data_device(disk).items() if name != "driver")
        yield from ("-device", f"scsi-hd,{device}")


def _dvd(spec: MachineSpec) -> Iterator[str]:
    """The drive is always there, as on Azure; the medium only while the VM is to be provisioned."""
    drive = ""
    if spec.dvd is not None:
        node = {"driver": "raw", "node-name": "dvd-medium", "read-only": True}
        yield from ("-blockdev", json.dumps({**node, "file": {"driver": "file", "filename": str(spec.dvd)}}))
        drive = ",drive=dvd-medium"
    bus = "scsi-cd,bus=scsi0.0,scsi-id=1,lun=0" if spec.generation == 2 else "ide-cd,bus=ide.1,unit=0"
    yield from ("-device", f"{bus},id=dvd{drive}")


def _nics(spec: MachineSpec) -> Iterator[str]:
    for number, nic in enumerate(spec.nics):
        yield from ("-netdev", f"tap,id=net{number},fd={nic.tap}")
        # No boot ROM: a VM whose disk does not boot must not try the network.
        yield from ("-device", f"virtio-net-pci,netdev=net{number},mac={colon_mac(nic.mac)},romfile=")


def data_node(disk: DiskSpec) -> str:
    """The name of a data disk's block node."""
    return f"data{disk.lun}"


def data_device(disk: DiskSpec) -> dict[str, Any]:
    """A data disk's device, as QEMU's `device_add` and `-device` take it."""
    where = {"bus": "scsi1.0", "scsi-id": 0, "lun": disk.lun}
    return {"driver": "scsi-hd", **where, "drive": data_node(disk), "id": f"lun{disk.lun}"}


def block_node(disk: DiskSpec, node: str) -> dict[str, Any]:
    """A disk's node. Writes reach the host's page cache (what survives a crash of QEMU), flushes its disk."""
    file: dict[str, Any] = {"driver": "file", "filename": str(disk.file), "discard": "unmap"}
    options: dict[str, Any] = {"driver": disk.format, "node-name": node, "discard": "unmap", "file": file}
    if disk.size is not None and disk.format == "raw":
        options["size"] = disk.size
    return options


def _escape(path: Path) -> str:
    """A path inside a comma-separated option."""
    return str(path).replace(",", ",,")

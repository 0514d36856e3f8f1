"""QEMU's command line, word by word: each one is there for a reason that spec.py gives."""

from dataclasses import replace
from pathlib import Path

import pytest

from vmstamp.machine.firmware import Firmware
from vmstamp.machine.spec import DiskSpec, MachineSpec, NicSpec, argv

VM_ID = "7c1e5201-1234-2256-3333-444455556666"
DIRECTORY = Path("/home/u/.vmstamp/machines") / VM_ID
FIRMWARE = Firmware(Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), DIRECTORY / "efivars.fd")


def machine(generation: int, accelerator: str = "tcg", *, name: str = "web", dvd: bool = True) -> MachineSpec:
    return MachineSpec(
        id=VM_ID,
        name=name,
        generation=generation,
        vcpus=4,
        memory=2 << 30,
        accelerator=accelerator,
        directory=DIRECTORY,
        os_disk=DiskSpec(DIRECTORY / "os.qcow2", "qcow2"),
        data_disks=(
            DiskSpec(DIRECTORY / "data0.qcow2", "qcow2", lun=0),
            DiskSpec(Path("/d/x.vhd"), "raw", size=1 << 20, lun=63),
        ),
        dvd=DIRECTORY / "provisioning.iso" if dvd else None,
        nics=(NicSpec("00-0D-3A-01-02-03", 9),),
    )


COMMON = [
    "-nodefaults",
    "-no-user-config",
    "-display none",
    "-m 2048M",
    "-rtc base=utc",
    "-smbios type=3,manufacturer=Microsoft Corporation,asset=7783-7084-3265-9085-8269-3286-77",
    f"-chardev file,id=serial0,path={DIRECTORY}/serial.log,append=on",
    "-device isa-serial,chardev=serial0",
    "-device VGA,vgamem_mb=8",
    "-chardev socket,id=monitor,fd=7",
    "-mon chardev=monitor,mode=control",
    "-object rng-random,id=rng0,filename=/dev/urandom",
    "-device virtio-rng-pci,rng=rng0",
    '-blockdev {"driver": "qcow2", "node-name": "os", "discard": "unmap", "file": '
    f'{{"driver": "file", "filename": "{DIRECTORY}/os.qcow2", "discard": "unmap"}}}}',
    "-device virtio-scsi-pci,id=scsi0",
    "-device scsi-hd,bus=scsi0.0,scsi-id=0,lun=0,drive=os,bootindex=1",
    "-device virtio-scsi-pci,id=scsi1",
    '-blockdev {"driver": "qcow2", "node-name": "data0", "discard": "unmap", "file": '
    f'{{"driver": "file", "filename": "{DIRECTORY}/data0.qcow2", "discard": "unmap"}}}}',
    "-device scsi-hd,bus=scsi1.0,scsi-id=0,lun=0,drive=data0,id=lun0",
    '-blockdev {"driver": "raw", "node-name": "data63", "discard": "unmap", "file": '
    '{"driver": "file", "filename": "/d/x.vhd", "discard": "unmap"}, "size": 1048576}',
    "-device scsi-hd,bus=scsi1.0,scsi-id=0,lun=63,drive=data63,id=lun63",
    '-blockdev {"driver": "raw", "node-name": "dvd-medium", "read-only": true, "file": '
    f'{{"driver": "file", "filename": "{DIRECTORY}/provisioning.iso"}}}}',
    "-netdev tap,id=net0,fd=9",
    "-device virtio-net-pci,netdev=net0,mac=00:0d:3a:01:02:03,romfile=",
]
GENERATION_1 = [
    "-machine pc,usb=off,vmport=off,hpet=off",
    "-smbios type=1,manufacturer=Microsoft Corporation,product=Virtual Machine,"
    # Gen1's first three fields are swapped, as cloud-init expects.
    "version=Hyper-V BIOS v2.0,uuid=01521e7c-3412-5622-3333-444455556666",
    "-device ide-cd,bus=ide.1,unit=0,id=dvd,drive=dvd-medium",
]
GENERATION_2 = [
    "-machine q35,usb=off,smm=off,vmport=off,hpet=off",
    "-smbios type=1,manufacturer=Microsoft Corporation,product=Virtual Machine,"
    f"version=Hyper-V UEFI Release v4.1,uuid={VM_ID}",
    "-drive if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
    f"-drive if=pflash,format=raw,unit=1,file={DIRECTORY}/efivars.fd",
    "-device scsi-cd,bus=scsi0.0,scsi-id=1,lun=0,id=dvd,drive=dvd-medium",
]
TCG = ["-accel tcg,thread=single,tb-size=512", "-cpu Nehalem,vendor=AuthenticAMD,tcg-cpuid=off", "-smp 1"]
KVM = [
    "-accel kvm",
    "-cpu host,hv-relaxed=on,hv-vapic=on,hv-spinlocks=0x1fff,hv-vpindex=on,hv-runtime=on,hv-synic=on,"
    "hv-stimer=on,hv-time=on,hv-frequencies=on",
    "-smp 4",
]


def options(words: list[str]) -> list[str]:
    """The options of a command line, each with its value."""
    joined: list[str] = []
    for word in words[1:]:
        if word.startswith("-"):
            joined.append(word)
        else:
            joined[-1] += f" {word}"
    return joined


@pytest.mark.parametrize(
    ("generation", "accelerator", "own"),
    [
        (1, "tcg", [*GENERATION_1, *TCG]),
        (1, "kvm", [*GENERATION_1, *KVM]),
        (2, "tcg", [*GENERATION_2, *TCG]),
        (2, "kvm", [*GENERATION_2, *KVM]),
    ],
)
def test_the_hardware_is_what_azure_shows(generation: int, accelerator: str, own: list[str]) -> None:
    words = argv(machine(generation, accelerator), FIRMWARE if generation == 2 else None, 7)
    assert sorted(options(words)) == sorted(["-name guest=vmstamp-web", *COMMON, *own])


def test_an_empty_drive_stays_when_nothing_is_to_be_provisioned() -> None:
    found = options(argv(machine(2, dvd=False), FIRMWARE, 7))
    assert "-device scsi-cd,bus=scsi0.0,scsi-id=1,lun=0,id=dvd" in found
    assert not [option for option in found if "dvd-medium" in option]


def test_a_machine_without_data_disks_has_their_controller_too() -> None:
    found = options(argv(replace(machine(2), data_disks=()), FIRMWARE, 7))
    assert "-device virtio-scsi-pci,id=scsi1" in found
    assert not [option for option in found if "bus=scsi1.0" in option]


@pytest.mark.parametrize(("generation", "firmware"), [(2, None), (1, FIRMWARE)])
def test_only_generation_2_has_uefi_firmware(generation: int, firmware: Firmware | None) -> None:
    with pytest.raises(ValueError, match=f"generation {generation}"):
        argv(machine(generation), firmware, 7)

"""Everything that the checks look at, gathered once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from vmstamp.disk.base import Disk
from vmstamp.disk.partitions import BIOS_BOOT, EFI_SYSTEM
from vmstamp.guest import system
from vmstamp.guest.boot.entries import find_boot_entries
from vmstamp.guest.boot.grub import BootEntry
from vmstamp.guest.boot.kernel import Kernels
from vmstamp.guest.files.fs import Content, Files, Survey, survey
from vmstamp.guest.files.fstab import Mount, parse_fstab
from vmstamp.guest.network.survey import Network, read_network
from vmstamp.guest.packages import find_packages
from vmstamp.guest.provisioning import agents
from vmstamp.guest.provisioning.cloud_config import CloudConfig, read_cloud_config
from vmstamp.guest.provisioning.reporter import find_reporter
from vmstamp.guest.sshd import Sshd, read_sshd
from vmstamp.guest.windows.system import Windows, find_windows

# The removable-media path that a firmware with empty variables starts. Spec: UEFI 2.10, 3.5.1.1
LOADERS = {"/EFI/BOOT/BOOTX64.EFI": "x86_64", "/EFI/BOOT/BOOTAA64.EFI": "aarch64"}

MBR_EFI = 0xEF  # UEFI 2.10, 5.2.2
FSTAB = "/etc/fstab"


Mode = Literal["generalized", "specialized", "marketplace"]


@dataclass(frozen=True)
class Target:
    """What the disk is to become: the generation of VM, and whether VMs of their own are stamped out of it.

    `generation` None: whatever the disk boots in. `mode` None: nothing is said, so identity that is left is
    worth a warning only. A disk for the marketplace is a generalized one that must meet its rules as well.
    `admin` is the name of the administrator that deployments will ask for.
    """

    generation: int | None = None
    mode: Mode | None = None
    admin: str | None = None

    @property
    def without_identity(self) -> bool:
        return self.mode in ("generalized", "marketplace")


ANY_TARGET = Target()


@dataclass(frozen=True)
class Boot:
    """How a firmware would start the disk.

    `esp` is the EFI system partition (`esp_files`: None when its FAT cannot be read), `loaders` the paths
    in it that a VM with empty variables starts, `bios` whether sector 0 has a boot program with what it
    needs beside it.
    """

    esp: Content | None
    esp_files: Files | None
    loaders: tuple[str, ...]
    bios: bool

    @property
    def generations(self) -> tuple[int, ...]:
        return tuple(g for g, can in ((1, self.bios), (2, bool(self.loaders))) if can)


@dataclass(frozen=True)
class Facts:
    """A disk and, when it holds an operating system that is read, what is on it; `target` what it is for.

    Without an operating system `files` and `os` are None and the lists are empty. `windows` is None on a
    Linux; on a Windows all below it are empty.
    """

    disk: Disk
    survey: Survey
    boot: Boot
    files: Files | None = None
    os: system.OperatingSystem | None = None
    architecture: str | None = None
    windows: Windows | None = None
    kernels: tuple[str, ...] = ()
    entries: tuple[BootEntry, ...] = ()
    fstab: tuple[Mount, ...] = ()
    cloud_init: agents.CloudInit | None = None
    waagent: agents.WaAgent | None = None
    target: Target = ANY_TARGET

    @property
    def generations(self) -> tuple[int, ...]:
        """The generations of VM that are judged for: the target's, else those that the disk boots in."""
        if self.target.generation is not None:
            return (self.target.generation,)
        return self.boot.generations or (1, 2)

    @property
    def guest(self) -> Files:
        """The guest's files, for checks that apply only where they are."""
        assert self.files is not None, "a check of the guest ran without one"
        return self.files

    @cached_property
    def boots(self) -> Kernels:
        """The guest's kernels with their modules and initramfs, each read when it is asked for."""
        return Kernels(self.guest, self.kernels, self.entries)

    @property
    def provisioner(self) -> str:
        return agents.provisioner(self.cloud_init, self.waagent)

    @cached_property
    def packages(self) -> Mapping[str, str]:
        """The installed Debian packages' versions; {} on other systems."""
        return find_packages(self.guest)

    @cached_property
    def network(self) -> Network:
        return read_network(self.guest)

    @cached_property
    def cloud_config(self) -> CloudConfig:
        return read_cloud_config(self.guest)

    @cached_property
    def reporter(self) -> str | None:
        """A unit that reports Ready without cloud-init and waagent."""
        return find_reporter(self.guest, self.os.id if self.os else "")

    @cached_property
    def sshd(self) -> Sshd:
        return read_sshd(self.guest)


def has_guest(facts: Facts) -> bool:
    """For checks of what is inside a Linux guest."""
    return facts.files is not None and facts.windows is None


def has_windows(facts: Facts) -> bool:
    """For checks of what is inside a Windows guest."""
    return facts.windows is not None


def gather(disk: Disk, target: Target = ANY_TARGET) -> Facts:
    """Read the disk. Raises DiskError, and GuestError when the root file system is damaged."""
    found = survey(disk)
    return gather_guest(Facts(disk, found, _boot(disk, found), files=found.files, target=target))


def gather_guest(facts: Facts) -> Facts:
    """The facts, with what the guest's files say filled in; unchanged when there are none."""
    files = facts.files
    if files is None:
        return facts
    windows = find_windows(files)
    if windows is not None:
        return replace(
            facts,
            os=windows.operating_system(),
            architecture=windows.architecture,
            windows=windows,
        )
    return replace(
        facts,
        os=system.find_operating_system(files),
        architecture=system.find_architecture(files),
        kernels=system.find_kernels(files),
        entries=find_boot_entries(files, facts.boot.esp_files),
        fstab=tuple(parse_fstab(files.find_text(FSTAB, 1024 * 1024) or "")),
        cloud_init=agents.find_cloud_init(files),
        waagent=agents.find_waagent(files),
    )


def _boot(disk: Disk, found: Survey) -> Boot:
    esp = next((content for content in found.contents if _is_esp(content)), None)
    files = Files({"/": esp.volume}) if esp is not None and esp.volume is not None else None
    return Boot(esp, files, find_loaders(files), _has_bios_boot(disk, found))


def find_loaders(esp: Files | None) -> tuple[str, ...]:
    """The paths in an EFI system partition that a VM with empty firmware variables starts."""
    return tuple(path for path in LOADERS if esp is not None and esp.is_file(path))


def _is_esp(content: Content) -> bool:
    part = content.partition
    return part is not None and (part.type_guid == EFI_SYSTEM or part.type_byte == MBR_EFI)


def _has_bios_boot(disk: Disk, found: Survey) -> bool:
    """Sector 0 has code, and on GPT there is a BIOS boot partition that is not empty."""
    table = found.table
    if table is None or not table.boot_code:
        return False
    if table.scheme == "mbr":
        return True
    parts = [p for p in table.partitions if p.type_guid == BIOS_BOOT]
    return any(any(disk.read(part.start, min(512, part.length))) for part in parts)

"""Checks of what is mounted, of swap, LVM and multipath."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from vmstamp.guest.checks import sources
from vmstamp.guest.edits import Edit, Remove, Symlink, Write
from vmstamp.guest.facts import FSTAB, Facts, has_guest
from vmstamp.guest.files.fs import Content, Files, find_source, names_content
from vmstamp.guest.files.fstab import (
    NETWORK,
    Fields,
    Mount,
    change_fstab,
    drop,
    find_device,
    with_options,
    with_source,
)
from vmstamp.guest.finding import Check, Severity, Verdict, failed, not_applicable, passed, warned

TEXT_LIMIT = 1024 * 1024
WWIDS = "/etc/multipath/wwids"
WAAGENT_CONFIGURATION = "/etc/waagent.conf"
DEBCONF = "/var/cache/debconf/config.dat"
GROWPART = ("/usr/bin/growpart", "/usr/sbin/growpart")
OPTIONAL = ("nofail", "x-systemd.device-timeout=10s")

# Types that the kernel has no module of its own name for, or that are no file system.
PSEUDO = {
    "auto", "none", "swap", "bind", "tmpfs", "ramfs", "proc", "sysfs", "devpts", "devtmpfs", "cgroup",
    "cgroup2", "securityfs", "debugfs", "tracefs",
    "pstore", "efivarfs", "bpf", "mqueue", "hugetlbfs", "configfs",
    "fusectl", "binfmt_misc", "nfsd", "rpc_pipefs", "usbfs", "selinuxfs", "functionfs",
}  # fmt: skip
MODULES_OF_TYPES = {"nfs4": "nfs", "smb3": "cifs", "smbfs": "cifs", "iso9660": "isofs", "ext2": "ext4",
                    "ext3": "ext4", "ntfs-3g": "fuse"}  # fmt: skip


def _at(mount: Mount) -> str:
    return f"{FSTAB}:{mount.line}"


def _fstab_text(files: Files) -> str:
    return files.find_text(FSTAB, TEXT_LIMIT) or ""


# -- fstab


def _device_names(facts: Facts) -> Verdict:
    for mount in facts.fstab:
        if find_device(mount.source):
            verdict = warned if mount.is_optional else failed
            return verdict(f"{mount.source} on {mount.target} is another device on Azure", _at(mount))
    return passed(f"{len(facts.fstab)} entries, none by a name of the hardware", FSTAB)


def _fix_device_names(facts: Facts) -> Iterator[Edit]:
    """UUID= for what lies on this disk; what lies on no disk that is here must not hold up the boot."""
    changes = {}
    for mount in facts.fstab:
        if find_device(mount.source):
            content = find_by_kernel_name(facts, mount)
            uuid = content.file_system.uuid if content is not None and content.file_system else ""
            if uuid:
                changes[mount.line] = with_source(f"UUID={uuid}")
            elif not mount.is_optional and mount.target != "/" and mount.type != "swap":
                changes[mount.line] = with_options(*OPTIONAL)
    yield from _write_fstab(facts, changes)


def find_by_kernel_name(facts: Facts, mount: Mount) -> Content | None:
    """The content that an fstab line means by a disk's name: the root's, or the partition of that number.

    Only when the name is of the disk that the root is on, and the type of its file system is the line's.
    """
    if mount.target == "/":
        return facts.survey.root
    device = find_device(mount.source)
    if device is None or device[0] not in _disks_of_root(facts):
        return None
    number = device[1]
    for content in facts.survey.contents:
        found = content.file_system
        if content.number == number and content.logical is None and found is not None:
            ext = ("ext2", "ext3", "ext4")
            alike = found.kind == mount.type or (found.kind in ext and mount.type in ext)
            return content if alike or mount.type == "auto" else None
    return None


def _disks_of_root(facts: Facts) -> set[str]:
    """The names that fstab and the command lines have for the disk with the root."""
    names = [mount.source for mount in facts.fstab if mount.target in ("/", "/boot", "/boot/efi")]
    names += [root for entry in facts.entries for root in entry.command_line.values("root")]
    return {device[0] for name in names if (device := find_device(name))}


def _missing(facts: Facts) -> list[Mount]:
    return [
        mount
        for mount in facts.fstab
        if not mount.is_optional
        and names_content(mount.source)
        and find_source(mount.source, facts.survey.contents) is None
    ]


def _missing_device(facts: Facts) -> Verdict:
    for mount in _missing(facts):
        return failed(f"{mount.source} on {mount.target} is not on this disk", _at(mount))
    return passed("every file system that must be mounted is on this disk", FSTAB)


def _fix_missing_device(facts: Facts) -> Iterator[Edit]:
    """nofail; the root's own line, which has no use for it, is given the root's UUID."""
    changes = {}
    root = facts.survey.root
    for mount in _missing(facts):
        if mount.target == "/" and root is not None and root.file_system is not None:
            changes[mount.line] = with_source(f"UUID={root.file_system.uuid}")
        else:
            changes[mount.line] = with_options(*OPTIONAL)
    yield from _write_fstab(facts, changes)


def _is_of_network(mount: Mount) -> bool:
    return mount.type in NETWORK or "_netdev" in mount.options


def _network_mounts(facts: Facts) -> Verdict:
    for mount in facts.fstab:
        if _is_of_network(mount) and not mount.is_optional:
            return warned(f"{mount.source} ({mount.type}) has no nofail", _at(mount))
    return passed("no network file system holds up the boot", FSTAB)


def _fix_network_mounts(facts: Facts) -> Iterator[Edit]:
    changes = {
        mount.line: with_options("_netdev", "nofail")
        for mount in facts.fstab
        if _is_of_network(mount) and not mount.is_optional
    }
    yield from _write_fstab(facts, changes)


def _syntax(facts: Facts) -> Verdict:
    seen: dict[str, int] = {}
    for number, line in enumerate(_fstab_text(facts.guest).splitlines(), 1):
        fields = line.split()
        if fields and not fields[0].startswith("#") and len(fields) < 3:
            return failed("a line of fewer than three fields", f"{FSTAB}:{number}")
    for mount in facts.fstab:
        if not mount.target.startswith("/") and mount.target not in ("none", "swap") and mount.type != "swap":
            return failed(f"the mount point {mount.target} does not begin at /", _at(mount))
        if mount.target.startswith("/") and mount.type != "swap":
            if mount.target in seen:
                return warned(f"{mount.target} is in line {seen[mount.target]} too", _at(mount))
            seen[mount.target] = mount.line
        unknown = "" if mount.type in NETWORK else _unknown_types(facts, mount)
        if unknown:
            verdict = warned if mount.is_optional else failed
            return verdict(f"the kernel has no file system {unknown}", _at(mount))
    return passed(f"{len(facts.fstab)} entries in order", FSTAB)


def _unknown_types(facts: Facts, mount: Mount) -> str:
    """The types of the line when the kernel that boots has none of them; '' where that is not known."""
    kernel = facts.boots.default
    if kernel is None or not kernel.modules.builtin:
        return ""
    types = [one for one in mount.type.split(",") if one]
    known = any(
        one in PSEUDO
        or one.startswith("fuse")
        or MODULES_OF_TYPES.get(one, one) in kernel.modules
        or any(facts.guest.exists(f"{directory}/mount.{one}") for directory in ("/usr/sbin", "/sbin"))
        for one in types
    )
    config = kernel.config[0] if kernel.config else {}
    built = any(config.get(f"CONFIG_{one.upper()}_FS") == "y" for one in types)
    return "" if known or built else mount.type


def _fix_syntax(facts: Facts) -> Iterator[Edit]:
    """What cannot be mounted becomes a comment, of two lines of one mount point the later one."""
    seen: set[str] = set()
    changes: dict[int, Callable[[Fields], Fields | None]] = {}
    for number, line in enumerate(_fstab_text(facts.guest).splitlines(), 1):
        fields = line.split()
        if fields and not fields[0].startswith("#") and len(fields) < 3:
            changes[number] = drop
    for mount in facts.fstab:
        path = mount.target.startswith("/") and mount.type != "swap"
        unknown = mount.type not in NETWORK and _unknown_types(facts, mount)
        misplaced = not path and mount.type != "swap" and mount.target not in ("none", "swap")
        if misplaced or (mount.target != "/" and unknown) or (path and mount.target in seen):
            changes[mount.line] = drop
        elif path:
            seen.add(mount.target)
    yield from _write_fstab(facts, changes)


def _write_fstab(facts: Facts, changes: Mapping[int, Callable[[Fields], Fields | None]]) -> Iterator[Edit]:
    if changes:
        yield Write(FSTAB, change_fstab(_fstab_text(facts.guest), changes).encode())


# -- swap


def _swap_units(files: Files) -> list[str]:
    return [
        f"{directory}/{name}"
        for directory in ("/etc/systemd/system", "/usr/lib/systemd/system")
        for name in files.list(directory)
        if name.endswith(".swap") and files.readlink(f"{directory}/{name}") != "/dev/null"
    ]


# What is in memory, and where the temporary disk is mounted: cloud-init and waagent have /mnt.
NO_OS_DISK = ("/dev/zram", "/mnt/", "/dev/disk/cloud/azure_resource")


def _swap_mounts(facts: Facts) -> list[Mount]:
    return [m for m in facts.fstab if m.type == "swap" and not m.source.startswith(NO_OS_DISK)]


def _swap(facts: Facts) -> Verdict:
    for mount in _swap_mounts(facts):
        return warned(f"swap on {mount.source}", _at(mount))
    for unit in _swap_units(facts.guest):
        return warned("a unit that turns swap on", unit)
    for content in facts.survey.contents:
        if content.file_system is not None and content.file_system.kind == "swap":
            return warned("a swap partition", content.where)
    return passed("no swap on the OS disk")


def _fix_swap(facts: Facts) -> Iterator[Edit]:
    """fstab's lines become comments, swap files go, units are masked; a partition stays, unused."""
    mounts = _swap_mounts(facts)
    yield from _write_fstab(facts, {mount.line: drop for mount in mounts})
    for mount in mounts:
        if mount.source.startswith("/") and not mount.source.startswith("/dev/"):
            yield Remove(mount.source)
    for unit in _swap_units(facts.guest):
        yield Symlink(f"/etc/systemd/system/{unit.rsplit('/', 1)[-1]}", "/dev/null")


def waagent_setting(text: str, name: str) -> str | None:
    """The value of a line NAME=VALUE of waagent.conf; None when it is not set."""
    found = re.findall(rf"^[ \t]*{re.escape(name)}[ \t]*=[ \t]*([^#\n]*)", text, re.MULTILINE)
    return found[-1].strip().strip('"').lower() if found else None


def set_waagent(text: str, name: str, value: str) -> str:
    """waagent.conf with the setting, in the place of an older one, else at the end."""
    pattern = re.compile(rf"^[ \t]*{re.escape(name)}[ \t]*=.*$", re.MULTILINE)
    if pattern.search(text):
        return pattern.sub(f"{name}={value}", text)
    return f"{text.rstrip()}\n{name}={value}\n"


_RESOURCE_DISK = ("ResourceDisk.Format", "ResourceDisk.EnableSwap")


def _resource_disk_claims(facts: Facts) -> list[str]:
    text = facts.guest.find_text(WAAGENT_CONFIGURATION, TEXT_LIMIT) or ""
    return [name for name in _RESOURCE_DISK if waagent_setting(text, name) == "y"]


def _resource_disk(facts: Facts) -> Verdict:
    if facts.waagent is None:
        return not_applicable("no Azure Linux Agent")
    claims = _resource_disk_claims(facts)
    cloud_init = facts.cloud_init is not None and facts.cloud_init.enabled
    if claims and cloud_init:
        return warned(
            f"{' and '.join(claims)} are on, and cloud-init mounts the temporary disk too",
            WAAGENT_CONFIGURATION,
        )
    return passed("one owner of the temporary disk", WAAGENT_CONFIGURATION)


def _fix_resource_disk(facts: Facts) -> Iterator[Edit]:
    text = facts.guest.find_text(WAAGENT_CONFIGURATION, TEXT_LIMIT) or ""
    for name in _resource_disk_claims(facts):
        text = set_waagent(text, name, "n")
    yield Write(WAAGENT_CONFIGURATION, text.encode())


# -- multipath


def _wwids(files: Files) -> int:
    text = files.find_text(WWIDS, TEXT_LIMIT) or ""
    return sum(1 for line in text.splitlines() if line.strip() and not line.startswith("#"))


def _multipath(facts: Facts) -> Verdict:
    count = _wwids(facts.guest)
    if count:
        return warned(f"{count} disks of another machine are known to multipath", WWIDS)
    return passed("multipath knows no disk")


def _fix_multipath(facts: Facts) -> Iterator[Edit]:
    text = facts.guest.find_text(WWIDS, TEXT_LIMIT) or ""
    kept = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    yield Write(WWIDS, kept.encode())


# -- growing, GRUB's own devices


def _growpart(facts: Facts) -> Verdict:
    for path in GROWPART:
        if facts.guest.exists(path):
            return passed("growpart is there", path)
    units = "/usr/lib/repart.d", "/etc/repart.d"
    if any(facts.guest.list(path) for path in units):
        return passed("systemd-repart grows the root")
    return warned("nothing grows the root when the OS disk of a VM is larger than the image")


_INSTALL_DEVICES = re.compile(
    r"^Name: grub-pc/install_devices\n(?:(?!Name:|\n).*\n)*?Value: (.*)$", re.MULTILINE
)


def _install_devices(files: Files) -> list[str]:
    """The disks onto which Debian's grub-pc would install GRUB, that Azure's cannot be."""
    match = _INSTALL_DEVICES.search(files.find_text(DEBCONF) or "")
    listed = [one.strip() for one in match[1].split(",")] if match else []
    return [one for one in listed if one and one not in ("/dev/sda", "/dev/nvme0n1")]


def _grub_devices(facts: Facts) -> Verdict:
    if not facts.guest.is_file(DEBCONF):
        return not_applicable("no debconf database")
    listed = _install_devices(facts.guest)
    if listed:
        return warned(f"GRUB is to be installed onto {listed[0]}, which no VM on Azure has", DEBCONF)
    return passed("GRUB is not tied to a disk of another machine", DEBCONF)


def _fix_grub_devices(facts: Facts) -> Iterator[Edit]:
    """An empty answer: the next update of GRUB takes the disk that /boot is on, or asks."""
    text = facts.guest.find_text(DEBCONF) or ""
    match = _INSTALL_DEVICES.search(text)
    if match is not None:
        yield Write(DEBCONF, (text[: match.start(1)] + text[match.end(1) :]).encode(), 0o644)


CHECKS = (
    Check(
        "fstab-device-names",
        "fstab names no kernel devices",
        Severity.BOOT,
        "sda, vda, nvme0n1 and by-id names are other disks on Azure; the boot ends in an emergency shell",
        sources.UBUNTU,
        has_guest,
        _device_names,
        "use UUID=..., as `blkid` shows it",
        fix=_fix_device_names,
    ),
    Check(
        "fstab-missing-device",
        "fstab's file systems are on this disk",
        Severity.BOOT,
        "systemd waits 90 s for an absent device, then drops to an emergency shell",
        "Azure/ALAR fstab",
        has_guest,
        _missing_device,
        "remove the line, or add nofail",
        fix=_fix_missing_device,
    ),
    Check(
        "fstab-network-mounts",
        "network file systems do not hold up the boot",
        Severity.BOOT,
        "a server that is not reachable from Azure stops the boot",
        sources.MIGRATE,
        has_guest,
        _network_mounts,
        "add nofail,_netdev",
        fix=_fix_network_mounts,
    ),
    Check(
        "fstab-syntax",
        "fstab can be read and mounted",
        Severity.BOOT,
        "what systemd cannot mount ends in an emergency shell, which nobody can reach",
        "util-linux findmnt --verify",
        has_guest,
        _syntax,
        "correct the line; `findmnt --verify` checks them all; --fix makes it a comment",
        fix=_fix_syntax,
    ),
    Check(
        "swap-on-os-disk",
        "no swap on the OS disk",
        Severity.BEST,
        "swap belongs on the VM's temporary disk: the OS disk is slow and its writes are paid for",
        sources.GENERIC,
        has_guest,
        _swap,
        "remove it; let cloud-init or waagent make swap on the temporary disk",
        fix=_fix_swap,
    ),
    Check(
        "resource-disk-swap",
        "the temporary disk has one owner",
        Severity.BEST,
        "cloud-init and the agent both partition the temporary disk, and undo each other's work",
        sources.RED_HAT,
        has_guest,
        _resource_disk,
        "set ResourceDisk.Format=n and ResourceDisk.EnableSwap=n in waagent.conf",
        fix=_fix_resource_disk,
    ),
    Check(
        "multipath-wwid",
        "multipath knows no disks of another machine",
        Severity.BEST,
        "multipath may claim a disk of the VM, or wait for one that is not there",
        "multipath(8)",
        has_guest,
        _multipath,
        "remove the entries of /etc/multipath/wwids",
        fix=_fix_multipath,
    ),
    Check(
        "growpart",
        "the root grows with the OS disk",
        Severity.BEST,
        "a VM's OS disk may be larger than the image; without growpart the rest stays unused",
        sources.GENERIC,
        has_guest,
        _growpart,
        "install cloud-guest-utils (Debian, Ubuntu) or cloud-utils-growpart (Red Hat), and gdisk",
    ),
    Check(
        "grub-install-devices",
        "GRUB's updates find their disk",
        Severity.BEST,
        "an update of grub-pc stops and asks onto which disk to install, or fails",
        "Debian grub-pc debconf template grub-pc/install_devices",
        has_guest,
        _grub_devices,
        "run `dpkg-reconfigure grub-pc`, or empty the answer in debconf's database",
        fix=_fix_grub_devices,
    ),
)  # fmt: skip

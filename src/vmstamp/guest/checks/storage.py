"""Checks of what is mounted, and of swap."""

from __future__ import annotations

from vmstamp.guest.checks import sources
from vmstamp.guest.facts import FSTAB, Facts, has_guest
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed, warned
from vmstamp.guest.fs import find_source, names_content
from vmstamp.guest.fstab import KERNEL_NAME, NETWORK


def _device_names(facts: Facts) -> Verdict:
    for mount in facts.fstab:
        if KERNEL_NAME.match(mount.source):
            verdict = warned if mount.is_optional else failed
            return verdict(f"{mount.source} on {mount.target} is another device on Azure",
                           f"{FSTAB}:{mount.line}")  # fmt: skip
    return passed(f"{len(facts.fstab)} entries, none by a kernel device name", FSTAB)


def _missing_device(facts: Facts) -> Verdict:
    for mount in facts.fstab:
        if mount.is_optional or not names_content(mount.source):
            continue
        if find_source(mount.source, facts.survey.contents) is None:
            return failed(f"{mount.source} on {mount.target} is not on this disk", f"{FSTAB}:{mount.line}")
    return passed("every file system that must be mounted is on this disk", FSTAB)


def _network_mounts(facts: Facts) -> Verdict:
    for mount in facts.fstab:
        if mount.type in NETWORK and not mount.is_optional:
            return warned(f"{mount.source} ({mount.type}) has no nofail", f"{FSTAB}:{mount.line}")
    return passed("no network file system holds up the boot", FSTAB)


def _swap(facts: Facts) -> Verdict:
    for mount in facts.fstab:
        if mount.type == "swap":
            return warned(f"swap on {mount.source}", f"{FSTAB}:{mount.line}")
    for content in facts.survey.contents:
        if content.file_system is not None and content.file_system.kind == "swap":
            return warned("a swap partition", content.where)
    return passed("no swap on the OS disk")


CHECKS = (
    Check(
        "fstab-device-names",
        "fstab names no kernel devices",
        Severity.BOOT,
        "sda, vda and nvme0n1 are other disks on Azure; the boot ends in an emergency shell",
        sources.UBUNTU,
        has_guest,
        _device_names,
        "use UUID=..., as `blkid` shows it",
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
    ),
)  # fmt: skip

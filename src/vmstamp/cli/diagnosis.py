"""Why a VM did not get Ready: the probable cause from the timeline and the serial console. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from vmstamp.timeline import Stage


@dataclass(frozen=True)
class Diagnosis:
    """`reached` is the last stage passed, `cause` a sentence, `evidence` a line, `mend` what to do."""

    reached: str
    cause: str
    evidence: str
    mend: str


@dataclass(frozen=True)
class Symptom:
    """A pattern on the serial console that explains a failure; the first that matches wins."""

    pattern: re.Pattern[str]
    cause: str
    mend: str


def _symptom(pattern: str, cause: str, mend: str) -> Symptom:
    return Symptom(re.compile(pattern, re.IGNORECASE), cause, mend)


SYMPTOMS = (
    _symptom(
        r"no bootable (device|option|medi)|BdsDxe: No bootable|Boot failed: not a bootable disk",
        "the firmware found nothing to boot on the disk",
        "check the generation (Gen2 boots an ESP's EFI/BOOT/BOOTX64.EFI, Gen1 the MBR); vmstamp inspect FILE",
    ),
    _symptom(
        r"VFS: Unable to mount root|Gave up waiting for root|ALERT!.*does not exist|"
        r"dracut.*(could not boot|timeout).*|Warning: /dev/disk/by-\S+ does not exist",
        "the kernel did not find its root file system",
        "put the disk drivers (hv_storvsc, virtio_scsi, ata_piix) into the initramfs; use root=UUID=",
    ),
    _symptom(
        r"Kernel panic",
        "the kernel panicked",
        "read the lines before the panic: vmstamp vm log",
    ),
    _symptom(
        r"\(initramfs\)|(Entering|You are in|Welcome to) emergency mode|dracut:/#",
        "the guest dropped to a rescue shell",
        "a mount of /etc/fstab is missing (use UUID= and nofail), or the root file system is damaged",
    ),
    _symptom(
        r"unknown filesystem type .?udf|modprobe: FATAL: Module udf not found",
        "the guest cannot read the provisioning DVD: it lacks UDF",
        "enable the udf kernel module (remove its blacklist line, install the extra modules package)",
    ),
    _symptom(
        r"ovf-env\.xml.*(not found|missing|No such file)|Failed to mount (dvd|provisioning)",
        "the guest did not find ovf-env.xml on the provisioning DVD",
        "look for a second optical drive and for the drivers of the first one in the guest",
    ),
    _symptom(
        r"grub rescue>|error: (no such (device|partition)|unknown filesystem)",
        "GRUB did not find its files",
        "reinstall GRUB on the disk",
    ),
)

# What is probable when the stage after `reached` never came, and the console says nothing.
_STUCK = {
    "": ("the machine did not even start", "look into the stamp's log: server.log in its home"),
    Stage.STARTED: (
        "the firmware never read the OS disk",
        "check the generation and that the disk holds an operating system: vmstamp inspect FILE",
    ),
    Stage.FIRMWARE: (
        "the boot loader or kernel never spoke on the serial console",
        "check the generation; add console=ttyS0 to the kernel command line, so that it can be seen",
    ),
    Stage.KERNEL: (
        "the guest never asked for an address: no network driver, or the network is not set to DHCP",
        "the guest needs DHCP on its first interface, and no fixed MAC address or udev name rule",
    ),
    Stage.DHCP: (
        "the guest has an address, but no agent asked Azure's fabric for anything",
        "install and enable cloud-init (datasource Azure) or WALinuxAgent; see vmstamp inspect FILE",
    ),
    Stage.AGENT: (
        "the agent runs but never reported Ready",
        "read /var/log/waagent.log and /var/log/cloud-init.log in the guest",
    ),
}
_CONTACT = (
    "an agent spoke to the fabric but never reported Ready",
    "read /var/log/cloud-init.log and /var/log/waagent.log in the guest",
)


def diagnose(stages: Collection[tuple[str, str]], serial: str) -> Diagnosis:
    """The probable cause for a VM that did not get Ready, or did and cannot be logged in to.

    `stages` are (stage, detail) in the order in which they were reached, `serial` is the console's text.
    """
    details = dict(stages)
    order = [str(stage) for stage in Stage if stage in details and stage not in (Stage.FAILED, Stage.STOPPED)]
    reached = order[-1] if order else ""
    if Stage.FAILED in details:
        return Diagnosis(
            reached,
            "the guest's agent reported that provisioning failed",
            details[Stage.FAILED],
            "the agent's own reason is in its report above",
        )
    if Stage.READY in details:
        return Diagnosis(
            reached,
            "the agent reported Ready, but SSH does not answer",
            _last_line(serial),
            "is an SSH server enabled, are there host keys, does a firewall in the guest block 22?",
        )
    found = _match(serial)
    if found is not None:
        symptom, line = found
        return Diagnosis(reached, symptom.cause, line, symptom.mend)
    if Stage.STOPPED in details:
        return Diagnosis(
            reached,
            "the machine stopped before any agent reported",
            details[Stage.STOPPED] or _last_line(serial),
            "the guest shut itself down, or QEMU ended: look at the console and into server.log",
        )
    cause, mend = _STUCK.get(reached, _CONTACT)
    return Diagnosis(reached, cause, _last_line(serial), mend)


def _match(serial: str) -> tuple[Symptom, str] | None:
    lines = clean_console(serial)
    for symptom in SYMPTOMS:
        for line in lines:
            if symptom.pattern.search(line):
                return symptom, line
    return None


def _last_line(serial: str) -> str:
    lines = clean_console(serial)
    return lines[-1] if lines else ""


_ESCAPES = re.compile(r"\x1b\[[0-9;?=]*[A-Za-z]|\x1b[()][A-Z0-9]|[\x00-\x08\x0b-\x1f]")


def clean_console(serial: str) -> list[str]:
    """The lines of a serial console without escape sequences and without empty ones."""
    lines = (_ESCAPES.sub("", line).strip() for line in serial.replace("\r", "\n").split("\n"))
    return [line for line in lines if line]

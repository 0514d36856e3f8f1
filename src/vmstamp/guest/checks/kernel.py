"""Checks of the kernel that boots, and of its modules."""

from __future__ import annotations

from vmstamp.guest.boot.kernel import Kernel
from vmstamp.guest.checks import sources
from vmstamp.guest.facts import Facts
from vmstamp.guest.finding import Check, Severity, Verdict, failed, not_applicable, passed, warned

HYPERV = {"hv_vmbus": "HYPERV", "hv_storvsc": "HYPERV_STORAGE", "hv_netvsc": "HYPERV_NET"}
HYPERV_BESIDE = {
    "hv_utils": "HYPERV_UTILS",
    "hyperv_keyboard": "HYPERV_KEYBOARD",
    "pci_hyperv": "PCI_HYPERV",
    "ptp": "PTP_1588_CLOCK",
}
SRIOV = ("pci_hyperv", "mlx4_en", "mlx5_core", "mana")
# A Gen1 VM has its DVD drive on Intel's IDE controller, which one of these drives.
IDE = {"ata_piix": "ATA_PIIX", "piix": "BLK_DEV_PIIX"}
DVD = {"sr_mod": "BLK_DEV_SR", "cdrom": "CDROM", "isofs": "ISO9660_FS", "udf": "UDF_FS"}


def has_kernel(facts: Facts) -> bool:
    return facts.files is not None and facts.boots.default is not None


def default_kernel(facts: Facts) -> Kernel:
    """The kernel that boots, for checks that apply only where there is one."""
    kernel = facts.boots.default
    assert kernel is not None, "a check of the kernel ran without one"
    return kernel


def absent_modules(kernel: Kernel, wanted: dict[str, str]) -> list[str]:
    """The modules that the kernel neither has nor has built in by its configuration."""
    config = kernel.config[0] if kernel.config else {}
    return [
        name
        for name, option in wanted.items()
        if name not in kernel.modules and config.get(f"CONFIG_{option}") != "y"
    ]


def _needs_lists(kernel: Kernel) -> Verdict | None:
    if kernel.modules or kernel.config:
        return None
    return warned("the kernel has no list of modules", kernel.where)


def _hyperv(facts: Facts) -> Verdict:
    kernel = default_kernel(facts)
    unknown = _needs_lists(kernel)
    if unknown is not None:
        return unknown
    absent = absent_modules(kernel, HYPERV)
    if absent:
        return failed(f"the kernel has no {', '.join(absent)}", kernel.where)
    for other in facts.boots.all:
        absent = absent_modules(other, HYPERV) if other.modules or other.config else []
        if absent:
            found = f"the kernel {other.release}, which boots only when chosen, has no {', '.join(absent)}"
            return warned(found, other.where)
    beside = absent_modules(kernel, HYPERV_BESIDE)
    if beside:
        return warned(f"the kernel has no {', '.join(beside)}", kernel.where)
    return passed(f"{', '.join(HYPERV)} are there", kernel.where)


def _dvd(facts: Facts) -> Verdict:
    kernel = default_kernel(facts)
    unknown = _needs_lists(kernel)
    if unknown is not None:
        return unknown
    absent = absent_modules(kernel, DVD)
    if absent:
        return failed(f"the kernel has no {', '.join(absent)}", kernel.where)
    if 1 in facts.generations and len(absent_modules(kernel, IDE)) == len(IDE):
        verdict = failed if facts.generations == (1,) else warned
        return verdict("the kernel has no ata_piix: a Gen1 VM's DVD drive is on IDE", kernel.where)
    return passed(f"{', '.join(DVD)} are there", kernel.where)


def _sriov(facts: Facts) -> Verdict:
    kernel = default_kernel(facts)
    if not kernel.modules:
        return not_applicable("the kernel has no list of modules")
    absent = [name for name in SRIOV if name not in kernel.modules]
    if absent:
        return warned(f"the kernel has no {', '.join(absent)}", kernel.where)
    return passed(f"{', '.join(SRIOV)} are there", kernel.where)


def _essential_config(facts: Facts) -> Verdict:
    kernel = default_kernel(facts)
    if kernel.config is None:
        return not_applicable("the kernel's configuration is not in the guest")
    config, path = kernel.config
    absent = [name for name in ("CONFIG_WATCHDOG", "CONFIG_CIFS") if config.get(name) not in ("y", "m")]
    if absent:
        return warned(f"{', '.join(absent)} is not set", path)
    return passed("CONFIG_WATCHDOG and CONFIG_CIFS are set", path)


def _flavour(facts: Facts) -> Verdict:
    kernel = default_kernel(facts)
    if facts.os is None or not facts.os.is_like("debian", "ubuntu", "suse", "opensuse", "sles"):
        return not_applicable("the distribution has one kernel for all machines")
    if any(word in kernel.release for word in ("azure", "cloud")):
        return passed(f"{kernel.release} is made for clouds", kernel.where)
    return warned(f"{kernel.release} is the kernel for all machines", kernel.where)


CHECKS = (
    Check(
        "kernel-hv-drivers",
        "the kernel has Hyper-V's drivers",
        Severity.BOOT,
        "disks and network of a VM on Azure are devices of the Hyper-V bus",
        sources.GENERIC,
        has_kernel,
        _hyperv,
        "install a kernel with them, such as the distribution's cloud kernel",
    ),
    Check(
        "kernel-dvd-support",
        "the kernel reads the provisioning DVD",
        Severity.PROVISION,
        "the DVD with ovf-env.xml has a UDF file system",
        "Azure/WALinuxAgent common/osutil/default.py",
        has_kernel,
        _dvd,
        "install the kernel's full modules package",
    ),
    Check(
        "kernel-essential-config",
        "the kernel is configured as Azure asks",
        Severity.BEST,
        "the watchdog and Azure Files (CIFS) need them",
        sources.LISA,
        has_kernel,
        _essential_config,
        "install a kernel with CONFIG_WATCHDOG and CONFIG_CIFS",
    ),
    Check(
        "kernel-sriov",
        "the kernel has the drivers of accelerated networking",
        Severity.BEST,
        "without them a VM with accelerated networking falls back to the slow path",
        sources.CERTIFICATION,
        has_kernel,
        _sriov,
        "install a kernel with mlx4_en, mlx5_core, mana and pci-hyperv",
    ),
    Check(
        "kernel-azure-flavour",
        "the kernel is made for clouds",
        Severity.BEST,
        "the distribution's kernel for Azure boots faster and gets Azure's fixes first",
        sources.UBUNTU,
        has_kernel,
        _flavour,
        "install linux-azure (Ubuntu), linux-image-cloud-amd64 (Debian) or kernel-azure (SUSE)",
    ),
)  # fmt: skip

"""Checks of kernel modules that are kept from loading, and of those that should be."""

from __future__ import annotations

from collections.abc import Iterator

from vmstamp.guest.boot.cmdline import change_command_lines
from vmstamp.guest.boot.modules import Forbidden, comment_out, find_forbidden, module_name
from vmstamp.guest.checks.initramfs import regenerate_initramfs
from vmstamp.guest.checks.kernel import HYPERV, default_kernel, has_kernel
from vmstamp.guest.edits import Edit, Write
from vmstamp.guest.facts import Facts, has_guest
from vmstamp.guest.finding import Check, Severity, Verdict, failed, not_applicable, passed, warned

NEVER_FORBIDDEN = (*HYPERV, "sd_mod", "scsi_mod", "scsi_transport_fc", "nvme", "nvme_core")
# What a hardened image must still be able to load until it has read its provisioning DVD.
PROVISIONING = (
    "udf",
    "isofs",
    "iso9660",
    "vfat",
    "fat",
    "cdrom",
    "sr_mod",
    "ata_piix",
    "pata_acpi",
    "ata_generic",
)
NOISE = ("nouveau", "lbm_nouveau", "amdgpu", "skx_edac", "intel_cstate")
TEXT_LIMIT = 256 * 1024


def _forbidden(facts: Facts, names: tuple[str, ...]) -> list[Forbidden]:
    """What forbids one of the modules: lines of modprobe's files, words of command lines."""
    found = [one for one in find_forbidden(facts.guest) if one.module in names]
    for entry in facts.entries:
        for key in ("module_blacklist", "modprobe.blacklist", "rd.driver.blacklist"):
            listed = ",".join(entry.command_line.values(key)).split(",")
            found += [
                Forbidden(module_name(name), entry.command_line.where, 0, True)
                for name in listed
                if module_name(name) in names
            ]
    return found


def _forbidden_boot(facts: Facts) -> Verdict:
    for one in _forbidden(facts, NEVER_FORBIDDEN):
        return failed(f"{one.module} is kept from loading", one.where)
    return passed("no module that the boot needs is blacklisted")


def _forbidden_provisioning(facts: Facts) -> Verdict:
    for one in _forbidden(facts, PROVISIONING):
        return failed(f"{one.module} is kept from loading", one.where)
    return passed("no module that provisioning needs is blacklisted")


def _allow(facts: Facts, names: tuple[str, ...]) -> Iterator[Edit]:
    """The lines become comments; a file of a package gets a copy in /etc, which hides it."""
    lines: dict[str, set[int]] = {}
    for one in _forbidden(facts, names):
        if one.line:
            lines.setdefault(one.path, set()).add(one.line)
    for path, numbers in lines.items():
        text = comment_out(facts.guest.find_text(path, TEXT_LIMIT) or "", numbers)
        yield Write(f"/etc/modprobe.d/{path.rsplit('/', 1)[-1]}", text.encode())
    if len(lines) == len({one.path for one in _forbidden(facts, names)}):
        return

    def change(words: object) -> list[str]:
        return [kept for word in words if (kept := _without(word, names))]  # type: ignore[attr-defined]

    yield from change_command_lines(facts.guest, change)


def _without(word: str, names: tuple[str, ...]) -> str:
    """A word of the command line without these modules; '' when nothing of it is left."""
    key, equals, value = word.partition("=")
    if not equals or key not in ("module_blacklist", "modprobe.blacklist", "rd.driver.blacklist"):
        return word
    kept = [one for one in value.split(",") if one and module_name(one) not in names]
    return f"{key}={','.join(kept)}" if kept else ""


def _unwanted(facts: Facts, names: tuple[str, ...]) -> list[str]:
    """The modules that the kernel can load and nothing forbids."""
    forbidden = {one.module for one in find_forbidden(facts.guest)}
    return [
        name for name in names if name in default_kernel(facts).modules.loadable and name not in forbidden
    ]


def _floppy(facts: Facts) -> Verdict:
    if _unwanted(facts, ("floppy",)):
        return warned(
            "the floppy driver is loaded, and there is no floppy drive", default_kernel(facts).where
        )
    return passed("the floppy driver is not loaded")


def _noise(facts: Facts) -> Verdict:
    if facts.architecture not in (None, "x86_64"):
        return not_applicable("only for x86_64")
    unwanted = _unwanted(facts, NOISE)
    if unwanted:
        return warned(f"{', '.join(unwanted)} may be loaded", default_kernel(facts).where)
    return passed("no driver of hardware that VMs only seem to have is loaded")


def _forbid(facts: Facts, path: str, names: tuple[str, ...]) -> Iterator[Edit]:
    yield Write(path, "".join(f"blacklist {name}\n" for name in _unwanted(facts, names)).encode())


CHECKS = (
    Check(
        "module-blacklist-boot",
        "no module that the boot needs is blacklisted",
        Severity.BOOT,
        "without them the OS disk does not appear",
        "modprobe.d(5)",
        has_guest,
        _forbidden_boot,
        "remove the line, and make the initramfs anew",
        fix=lambda facts: (*_allow(facts, NEVER_FORBIDDEN), *regenerate_initramfs(facts.guest)),
    ),
    Check(
        "module-blacklist-provisioning",
        "no module that provisioning needs is blacklisted",
        Severity.PROVISION,
        "hardening guides forbid udf; then the provisioning DVD cannot be mounted",
        "Azure/WALinuxAgent issues 246, 1456, 2831",
        has_guest,
        _forbidden_provisioning,
        "remove the line, or allow udf until the VM is provisioned",
        fix=lambda facts: _allow(facts, PROVISIONING),
    ),
    Check(
        "kernel-floppy-blacklist",
        "the floppy driver is not loaded",
        Severity.BEST,
        "a Gen1 VM seems to have a floppy drive; the driver's errors fill the log and delay the boot",
        "microsoft/lisa Floppy",
        has_kernel,
        _floppy,
        "write `blacklist floppy` to a file in /etc/modprobe.d",
        generations=(1,),
        fix=lambda facts: _forbid(facts, "/etc/modprobe.d/azure-floppy.conf", ("floppy",)),
    ),
    Check(
        "kernel-noise-blacklist",
        "drivers of absent hardware are not loaded",
        Severity.BEST,
        "drivers of GPUs and of the processor's own counters fail on a VM, and on GPU sizes stand in the way "
        "of the vendor's driver",
        "osbuild/images data/distrodefs",
        has_kernel,
        _noise,
        "write `blacklist nouveau` and the others to a file in /etc/modprobe.d",
        fix=lambda facts: _forbid(facts, "/etc/modprobe.d/azure-noise.conf", NOISE),
    ),
)  # fmt: skip

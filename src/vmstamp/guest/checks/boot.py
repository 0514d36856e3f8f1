"""Checks of how the disk starts: partition table, firmware, kernel, command line."""

from __future__ import annotations

import re

from vmstamp.guest.checks import sources
from vmstamp.guest.facts import LOADERS, Facts, has_guest
from vmstamp.guest.finding import Check, Severity, Verdict, failed, not_applicable, passed, warned
from vmstamp.guest.fs import Files, find_source, names_content
from vmstamp.guest.fstab import KERNEL_NAME
from vmstamp.guest.kernel import find_initramfs
from vmstamp.guest.initramfs import list_initramfs
from vmstamp.guest.probe import OPAQUE, READ

CONSOLES = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}
HYPERV_MODULES = ("hv_vmbus", "hv_storvsc", "hv_netvsc")
HYPERV_BOOT_MODULES = ("hv_vmbus", "hv_storvsc")
BUILTIN = ("modules.builtin",)
DVD_MODULES = ("udf", "isofs", "sr_mod", "cdrom")
# What a hardened image must still be able to load until it has read its provisioning DVD.
PROVISIONING_MODULES = (*DVD_MODULES, "vfat", "ata_piix", "pata_acpi", *HYPERV_MODULES, "sd_mod", "scsi_mod")
MODPROBE_DIRECTORIES = ("/etc/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d")


def _partition_table(facts: Facts) -> Verdict:
    table = facts.survey.table
    if table is None:
        return failed(facts.survey.problem, "byte 0")
    if table.scheme is None:
        return failed("there is no partition table, so no firmware finds anything to start", "byte 0")
    if table.notes:
        return warned("; ".join(table.notes), table.scheme.upper())
    return passed(f"{table.scheme.upper()} with {len(table.partitions)} partitions")


def _generation(facts: Facts) -> Verdict:
    generations = facts.boot.generations
    if not generations:
        return failed("neither a BIOS boot program nor a UEFI removable-media loader was found")
    names = " and ".join(f"Gen{generation}" for generation in generations)
    return passed(f"boots as {names}")


def _gen2_esp(facts: Facts) -> Verdict:
    boot = facts.boot
    if boot.esp is None:
        if boot.bios:
            return not_applicable("a Gen1 disk: no EFI system partition")
        return failed("no EFI system partition")
    where = boot.esp.where
    if boot.esp_files is None:
        return failed(boot.esp.problem or "the EFI system partition holds no FAT file system", where)
    if not boot.loaders:
        return failed(f"none of {', '.join(LOADERS)} is in the EFI system partition", where)
    machine = LOADERS[boot.loaders[0]]
    if facts.architecture in LOADERS.values() and facts.architecture not in map(LOADERS.get, boot.loaders):
        return failed(f"{boot.loaders[0]} is for {machine}, the guest is {facts.architecture}", where)
    return passed(", ".join(boot.loaders), where)


def _boot_entries(facts: Facts) -> Verdict:
    """Every entry's kernel exists and its root= names a file system of this disk."""
    if not facts.entries:
        return warned("no GRUB or Boot Loader Specification entries were found in /boot")
    for entry in facts.entries:
        where = entry.command_line.where
        if "$" not in entry.kernel and not _kernel_exists(facts.guest, entry.kernel):
            return failed(f"the kernel {entry.kernel} is missing", where)
        for root in entry.command_line.values("root"):
            if names_content(root) and find_source(root, facts.survey.contents) is None:
                return failed(f"root={root} names nothing on this disk", where)
    return passed(
        f"{len(facts.entries)} entries, each with its kernel and root", facts.entries[0].command_line.where
    )


def _kernel_exists(files: Files, kernel: str) -> bool:
    """GRUB's paths start at the file system that holds /boot, which may be its own."""
    path = re.sub(r"^\(.*\)", "", kernel)
    return any(files.is_file(f"{base}{path}") for base in ("", "/boot", "/boot/efi", "/efi"))


def _root_device(facts: Facts) -> Verdict:
    for entry in facts.entries:
        for key in ("root", "resume"):
            for value in entry.command_line.values(key):
                if KERNEL_NAME.match(value):
                    return failed(f"{key}={value} is another device on Azure", entry.command_line.where)
    return passed("root= is by UUID, label or mapper name")


def _console(facts: Facts) -> Verdict:
    wanted = CONSOLES.get(facts.architecture or "", "ttyS0")
    entry = facts.entries[0]
    consoles = [value.split(",")[0] for value in entry.command_line.values("console")]
    where = entry.command_line.where
    if wanted not in consoles:
        return warned(f"no console={wanted}: the serial log and console stay empty", where)
    return passed(f"console={wanted}", where)


def _atapi(facts: Facts) -> Verdict:
    for entry in facts.entries:
        for word in ("libata.atapi_enabled=0", "reserve=0x1f0,0x8"):
            if word in entry.command_line.words:
                return failed(f"{word} hides the provisioning DVD", entry.command_line.where)
    return passed("nothing on the kernel command line hides the DVD")


def module_name(path: str) -> str:
    """A module's name by its file: `_` for `-`, no directory, no suffix."""
    return path.rsplit("/", 1)[-1].split(".ko", 1)[0].replace("-", "_")


def _modules_of(files: Files, release: str, indexes: tuple[str, ...]) -> set[str]:
    """The names of a kernel's modules, built in or loadable, with `_` for `-`. Spec: depmod(8)."""
    names: set[str] = set()
    for base in ("/usr/lib/modules", "/lib/modules"):
        for index in indexes:
            text = files.find_text(f"{base}/{release}/{index}") or ""
            names.update(module_name(line.split(":", 1)[0]) for line in text.splitlines())
        if names:
            break
    return names


def _missing_modules(facts: Facts, wanted: tuple[str, ...]) -> Verdict:
    """Whether the newest kernel, which boots by default, has the modules."""
    release = facts.kernels[-1]
    where = f"/lib/modules/{release}"
    names = _modules_of(facts.guest, release, (*BUILTIN, "modules.dep"))
    if not names:
        return warned("the kernel has no list of modules", where)
    missing = [name for name in wanted if name not in names]
    if missing:
        return failed(f"the kernel has no {', '.join(missing)}", where)
    return passed(f"{', '.join(wanted)} are there", where)


def _has_kernel(facts: Facts) -> bool:
    return facts.files is not None and bool(facts.kernels)


def _hyperv(facts: Facts) -> Verdict:
    return _missing_modules(facts, HYPERV_MODULES)


def _dvd(facts: Facts) -> Verdict:
    return _missing_modules(facts, DVD_MODULES)


def find_initramfs(files: Files, release: str) -> str | None:
    """The initramfs of a kernel, as Debian, Red Hat and SUSE name it."""
    names = (f"/boot/initrd.img-{release}", f"/boot/initramfs-{release}.img", f"/boot/initrd-{release}")
    return next((path for path in names if files.is_file(path)), None)


def _initramfs(facts: Facts) -> Verdict:
    """Whether the newest kernel finds its root on Hyper-V's disks: its drivers are in it or beside it."""
    release = facts.kernels[-1]
    path = find_initramfs(facts.guest, release)
    node = facts.guest.find(path) if path else None
    if path is None or node is None:
        return warned(f"the kernel {release} has no initramfs in /boot")
    if not node.size:
        return failed("the initramfs is empty", path)
    there = {module_name(name) for name in list_initramfs(node)} | _modules_of(facts.guest, release, BUILTIN)
    missing = [name for name in HYPERV_BOOT_MODULES if name not in there]
    if missing:
        return failed(f"the initramfs has no {', '.join(missing)}", path)
    return passed(f"{', '.join(HYPERV_BOOT_MODULES)} are in it", path)


def _blacklist(facts: Facts) -> Verdict:
    files = facts.guest
    for directory in MODPROBE_DIRECTORIES:
        for name in files.list(directory):
            if name.endswith(".conf"):
                path = f"{directory}/{name}"
                found = find_blacklisted(files.find_text(path, 256 * 1024) or "")
                if found:
                    return failed(f"{found} is kept from loading", path)
    for entry in facts.entries:
        for key in ("module_blacklist", "modprobe.blacklist"):
            listed = ",".join(entry.command_line.values(key)).split(",")
            bad = [name for name in listed if name.replace("-", "_") in PROVISIONING_MODULES]
            if bad:
                return failed(f"{bad[0]} is kept from loading", entry.command_line.where)
    return passed("no module that provisioning needs is blacklisted")


def find_blacklisted(text: str) -> str | None:
    """The first module needed for provisioning that a modprobe file forbids. Spec: modprobe.d(5)."""
    for line in text.splitlines():
        words = line.split("#", 1)[0].split()
        if len(words) < 2:
            continue
        name = words[1].replace("-", "_")
        forbids = words[0] == "blacklist" or (
            words[0] == "install" and len(words) > 2 and words[2].rsplit("/", 1)[-1] in ("true", "false")
        )
        if forbids and name in PROVISIONING_MODULES:
            return name
    return None


def _root_file_system(facts: Facts) -> Verdict:
    root = facts.survey.root
    if root is not None:
        return passed(root.describe(), root.where)
    for content in facts.survey.contents:
        if content.problem:
            return failed(content.problem, content.where)
    for content in facts.survey.contents:
        kind = content.file_system.kind if content.file_system else ""
        if content.note and kind in (*READ, *OPAQUE):
            return warned(f"{kind}: {content.note}, so nothing in it was checked", content.where)
    return failed("no operating system was found on this disk")


def _clean(facts: Facts) -> Verdict:
    for content in facts.survey.contents:
        if content.file_system is not None and content.file_system.dirty:
            return warned(
                f"{content.file_system.dirty}; what is read here may be older than what the guest would see",
                content.where,
            )
    if any(content.file_system and content.file_system.kind == "xfs" for content in facts.survey.contents):
        return passed("no sign of an unclean unmount (the log of XFS is not looked at)")
    return passed("every file system was unmounted cleanly")


def _encrypted(facts: Facts) -> Verdict:
    for content in facts.survey.contents:
        kind = content.file_system.kind if content.file_system else ""
        if kind in ("LUKS", "BitLocker"):
            return failed(f"{kind} encrypts it: nobody types the key at a boot on Azure", content.where)
    return passed("no partition is encrypted")


CHECKS = (
    Check(
        "part-table-valid",
        "the partition table is whole",
        Severity.BOOT,
        "the firmware finds partitions by the table; a GPT whose copies disagree may be refused",
        "UEFI 2.10, 5.3",
        lambda facts: True,
        _partition_table,
        "rewrite the table, e.g. `sgdisk --move-second-header` after the disk was resized",
    ),
    Check(
        "gen-detect",
        "a generation of VM can boot it",
        Severity.UPLOAD,
        "an image is Gen1 (BIOS) or Gen2 (UEFI); a VM of the other generation does not boot",
        sources.GENERATION,
        lambda facts: True,
        _generation,
        "install GRUB for UEFI with --removable (Gen2), or to the disk (Gen1)",
    ),
    Check(
        "gen2-esp",
        "UEFI finds a loader at the removable-media path",
        Severity.BOOT,
        "a new VM starts with empty firmware variables, so only EFI/BOOT/BOOTX64.EFI is tried",
        sources.UBUNTU,
        lambda facts: True,
        _gen2_esp,
        "run grub-install --removable, or copy shim and GRUB to EFI/BOOT",
    ),
    Check(
        "root-fs-supported",
        "the root file system can be read",
        Severity.BEST,
        "what cannot be read here cannot be checked before the upload",
        "vmstamp",
        lambda facts: True,
        _root_file_system,
        "use ext4, or check the guest by booting it",
    ),
    Check(
        "fs-dirty",
        "the file systems are clean",
        Severity.BEST,
        "a disk that was copied while in use may lack what was still in memory or in the journal",
        "Linux Documentation/filesystems/ext4",
        lambda facts: any(c.file_system for c in facts.survey.contents),
        _clean,
        "shut the guest down cleanly, or let e2fsck replay the journal, before making an image",
    ),
    Check(
        "disk-encrypted",
        "no partition is encrypted",
        Severity.BOOT,
        "the VM waits for a key that nobody can give",
        sources.CERTIFICATION,
        lambda facts: bool(facts.survey.contents),
        _encrypted,
        "decrypt the disk before the upload; Azure encrypts at rest itself",
    ),
    Check(
        "grub-cfg-root",
        "each boot entry has its kernel and its root",
        Severity.BOOT,
        "the kernel panics, or drops to a shell that nobody sees",
        "Azure/ALAR grubfix",
        has_guest,
        _boot_entries,
        "run update-grub in the guest",
    ),
    Check(
        "cmdline-root-device",
        "root= is not a kernel device name",
        Severity.BOOT,
        "sda, vda and nvme0n1 are other disks on Azure, or none",
        sources.GENERIC,
        lambda facts: bool(facts.entries),
        _root_device,
        "use root=UUID=... (GRUB_DISABLE_LINUX_UUID must not be set)",
    ),
    Check(
        "cmdline-console",
        "the kernel writes to the serial console",
        Severity.BEST,
        "boot diagnostics show the serial console only; without it a failed boot has no trace",
        sources.GENERIC,
        lambda facts: bool(facts.entries),
        _console,
        'add console=tty1 console=ttyS0,115200n8 to GRUB_CMDLINE_LINUX and run update-grub',
    ),
    Check(
        "cmdline-atapi-off",
        "the command line leaves the DVD drive alone",
        Severity.PROVISION,
        "the provisioning data comes on a DVD",
        sources.LISA,
        lambda facts: bool(facts.entries),
        _atapi,
        "remove it from the kernel command line",
    ),
    Check(
        "kernel-hv-drivers",
        "the kernel has Hyper-V's drivers",
        Severity.BOOT,
        "disks and network of a VM on Azure are devices of the Hyper-V bus",
        sources.GENERIC,
        _has_kernel,
        _hyperv,
        "install a kernel with them, such as the distribution's cloud kernel",
    ),
    Check(
        "initramfs-hv-modules",
        "the initramfs has Hyper-V's drivers",
        Severity.BOOT,
        "the OS disk hangs on the Hyper-V bus: without its drivers the kernel never finds its root",
        sources.RED_HAT,
        _has_kernel,
        _initramfs,
        "Debian: MODULES=most, update-initramfs -u; Red Hat: dracut -f --add-drivers 'hv_vmbus hv_storvsc'",
    ),
    Check(
        "kernel-dvd-support",
        "the kernel reads the provisioning DVD",
        Severity.PROVISION,
        "the DVD with ovf-env.xml has a UDF file system",
        "Azure/WALinuxAgent common/osutil/default.py",
        _has_kernel,
        _dvd,
        "install the kernel's full modules package",
    ),
    Check(
        "module-blacklist-provisioning",
        "no module that provisioning needs is blacklisted",
        Severity.PROVISION,
        "hardening guides forbid udf; then the provisioning DVD cannot be mounted",
        "Azure/WALinuxAgent issues 246, 1456, 2831",
        has_guest,
        _blacklist,
        "remove the line, or allow udf until the VM is provisioned",
    ),
)  # fmt: skip

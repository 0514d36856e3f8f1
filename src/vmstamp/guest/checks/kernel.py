"""Checks of the kernel that boots, of its modules, and of its initramfs."""

from __future__ import annotations

from collections.abc import Iterator

from vmstamp.guest.boot.cmdline import change_command_lines, set_words
from vmstamp.guest.boot.kernel import Kernel, has_loader_path
from vmstamp.guest.boot.modules import Forbidden, comment_out, find_forbidden, module_name
from vmstamp.guest.checks import sources
from vmstamp.guest.edits import Edit, Run, Write
from vmstamp.guest.facts import Facts, has_guest
from vmstamp.guest.files.fs import Files
from vmstamp.guest.finding import Check, Severity, Verdict, failed, not_applicable, passed, warned

HYPERV = {"hv_vmbus": "HYPERV", "hv_storvsc": "HYPERV_STORAGE", "hv_netvsc": "HYPERV_NET"}
HYPERV_BESIDE = {
    "hv_utils": "HYPERV_UTILS",
    "hyperv_keyboard": "HYPERV_KEYBOARD",
    "pci_hyperv": "PCI_HYPERV",
    "ptp": "PTP_1588_CLOCK",
}
BOOT_MODULES = ("hv_vmbus", "hv_storvsc")
SRIOV = ("pci_hyperv", "mlx4_en", "mlx5_core", "mana")
# A Gen1 VM has its DVD drive on an IDE controller, which any of these drives.
IDE = {"ata_piix": "ATA_PIIX", "ata_generic": "ATA_GENERIC", "piix": "BLK_DEV_PIIX"}
DVD = {"sr_mod": "BLK_DEV_SR", "cdrom": "CDROM", "isofs": "ISO9660_FS", "udf": "UDF_FS"}
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
NVME_TIMEOUT = "nvme_core.io_timeout=240"
TEXT_LIMIT = 256 * 1024
MAX_DROP_INS = 200

DRACUT = ("/usr/bin/dracut", "/usr/sbin/dracut", "/sbin/dracut")
DRACUT_DROP_IN = "/etc/dracut.conf.d/90-azure.conf"
DRACUT_FILES = ("/usr/lib/dracut/dracut.conf.d", "/etc/dracut.conf.d")
INITRAMFS_TOOLS = ("/usr/sbin/update-initramfs", "/sbin/update-initramfs")
PACKAGES_MODULES = "/usr/share/initramfs-tools/modules.d"
MKINITCPIO = ("/usr/bin/mkinitcpio",)


def has_kernel(facts: Facts) -> bool:
    return facts.files is not None and facts.boots.default is not None


def _kernel(facts: Facts) -> Kernel:
    kernel = facts.boots.default
    assert kernel is not None, "a check of the kernel ran without one"
    return kernel


def _absent(kernel: Kernel, wanted: dict[str, str]) -> list[str]:
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
    kernel = _kernel(facts)
    unknown = _needs_lists(kernel)
    if unknown is not None:
        return unknown
    absent = _absent(kernel, HYPERV)
    if absent:
        return failed(f"the kernel has no {', '.join(absent)}", kernel.where)
    for other in facts.boots.all:
        absent = _absent(other, HYPERV) if other.modules or other.config else []
        if absent:
            found = f"the kernel {other.release}, which boots only when chosen, has no {', '.join(absent)}"
            return warned(found, other.where)
    beside = _absent(kernel, HYPERV_BESIDE)
    if beside:
        return warned(f"the kernel has no {', '.join(beside)}", kernel.where)
    return passed(f"{', '.join(HYPERV)} are there", kernel.where)


def _dvd(facts: Facts) -> Verdict:
    kernel = _kernel(facts)
    unknown = _needs_lists(kernel)
    if unknown is not None:
        return unknown
    absent = _absent(kernel, DVD)
    if absent:
        return failed(f"the kernel has no {', '.join(absent)}", kernel.where)
    if 1 in facts.generations and len(_absent(kernel, IDE)) == len(IDE):
        verdict = failed if facts.generations == (1,) else warned
        return verdict("the kernel has no ata_piix: a Gen1 VM's DVD drive is on IDE", kernel.where)
    return passed(f"{', '.join(DVD)} are there", kernel.where)


def _sriov(facts: Facts) -> Verdict:
    kernel = _kernel(facts)
    if not kernel.modules:
        return not_applicable("the kernel has no list of modules")
    absent = [name for name in SRIOV if name not in kernel.modules]
    if absent:
        return warned(f"the kernel has no {', '.join(absent)}", kernel.where)
    return passed(f"{', '.join(SRIOV)} are there", kernel.where)


def _essential_config(facts: Facts) -> Verdict:
    kernel = _kernel(facts)
    if kernel.config is None:
        return not_applicable("the kernel's configuration is not in the guest")
    config, path = kernel.config
    absent = [name for name in ("CONFIG_WATCHDOG", "CONFIG_CIFS") if config.get(name) not in ("y", "m")]
    if absent:
        return warned(f"{', '.join(absent)} is not set", path)
    return passed("CONFIG_WATCHDOG and CONFIG_CIFS are set", path)


def _flavour(facts: Facts) -> Verdict:
    kernel = _kernel(facts)
    if facts.os is None or not facts.os.is_like("debian", "ubuntu", "suse", "opensuse", "sles"):
        return not_applicable("the distribution has one kernel for all machines")
    if any(word in kernel.release for word in ("azure", "cloud")):
        return passed(f"{kernel.release} is made for clouds", kernel.where)
    return warned(f"{kernel.release} is the kernel for all machines", kernel.where)


# -- initramfs


def _initramfs_present(facts: Facts) -> Verdict:
    """Each entry's initramfs is there; that of the kernel that boots is whole."""
    for entry in facts.entries:
        for initrd in entry.initrds:
            if "$" not in initrd and not has_loader_path(facts.guest, facts.boot.esp_files, initrd):
                return failed(f"the initramfs {initrd} is missing", entry.command_line.where)
    kernel = _kernel(facts)
    node = kernel.initramfs_node
    if node is None:
        if kernel.entry is not None and not kernel.entry.initrds:
            return passed("the kernel boots without an initramfs", kernel.entry.command_line.where)
        return warned(f"the kernel {kernel.release} has no initramfs in /boot")
    if not node.size:
        return failed("the initramfs is empty", kernel.initramfs_path or "")
    return passed(f"{len(kernel.initramfs.names)} entries, whole", kernel.initramfs_path or "")


def _has_initramfs(facts: Facts) -> bool:
    if not has_kernel(facts):
        return False
    node = _kernel(facts).initramfs_node
    return node is not None and bool(node.size)


def _needed_early(kernel: Kernel) -> list[str]:
    """What an initramfs has for Hyper-V's disks: the drivers, that of SCSI disks, and what they need."""
    loadable, builtin = kernel.modules.loadable, kernel.modules.builtin
    wanted = [*BOOT_MODULES, *(name for name in ("sd_mod",) if name in loadable)]
    needs = (need for name in wanted if name not in builtin for need in loadable.get(name, ()))
    return list(dict.fromkeys([*wanted, *needs]))


def _initramfs_hyperv(facts: Facts) -> Verdict:
    """Whether each kernel finds its root on Hyper-V's disks, first the one that boots."""
    default = _kernel(facts)
    others = [kernel for kernel in facts.boots.all if kernel.release != default.release]
    for kernel in (default, *others[-2:]):
        node = kernel.initramfs_node
        if node is None or not node.size:
            continue
        missing = [name for name in _needed_early(kernel) if name not in kernel.early_modules]
        if not missing:
            continue
        path = kernel.initramfs_path or ""
        if kernel.initramfs.is_packed_twice:
            return warned("the initramfs keeps its modules in an image inside, which is not read", path)
        found = f"the initramfs has no {', '.join(missing)}"
        if kernel is default:
            return failed(found, path)
        return warned(f"{found}; it is of the kernel {kernel.release}, which boots only when chosen", path)
    return passed(f"{', '.join(BOOT_MODULES)} are in it", default.initramfs_path or "")


def _initramfs_root(facts: Facts) -> Verdict:
    kernel, root = _kernel(facts), facts.survey.root
    wanted = []
    kind = root.file_system.kind if root is not None and root.file_system is not None else ""
    if kind in ("ext2", "ext3", "ext4", "xfs", "btrfs"):
        wanted.append("ext4" if kind.startswith("ext") else kind)
    if root is not None and root.logical is not None:
        wanted.append("dm_mod")
    loadable, builtin = kernel.modules.loadable, kernel.modules.builtin
    wanted += [need for name in list(wanted) if name not in builtin for need in loadable.get(name, ())]
    config = kernel.config[0] if kernel.config else {}
    built = {"ext4": "EXT4_FS", "xfs": "XFS_FS", "btrfs": "BTRFS_FS", "dm_mod": "BLK_DEV_DM"}
    missing = [
        name
        for name in wanted
        if name not in kernel.early_modules and config.get(f"CONFIG_{built.get(name, '')}") != "y"
    ]
    path = kernel.initramfs_path or ""
    if missing and not kernel.modules.builtin and not config:
        return warned(f"the initramfs has no {', '.join(missing)}; whether it is built in is not known", path)
    if missing and kernel.initramfs.is_packed_twice:
        return warned("the initramfs keeps its modules in an image inside, which is not read", path)
    if missing:
        return failed(f"the initramfs has no {', '.join(missing)}, which the root needs", path)
    return passed(f"{', '.join(wanted) or 'nothing'} for the root is in it", path)


def find_tool(files: Files) -> str:
    """What makes the guest's initramfs: 'dracut', 'initramfs-tools', 'mkinitcpio' or ''."""
    for name, paths in (
        ("initramfs-tools", INITRAMFS_TOOLS),
        ("dracut", DRACUT),
        ("mkinitcpio", MKINITCPIO),
    ):
        if any(files.exists(path) for path in paths):
            return name
    return ""


def regenerate_initramfs(files: Files) -> Iterator[Edit]:
    """The command that makes every kernel's initramfs anew; nothing when the guest's tool is not known."""
    commands = {
        "initramfs-tools": ("update-initramfs", "-u", "-k", "all"),
        "dracut": ("dracut", "--force", "--regenerate-all"),
        "mkinitcpio": ("mkinitcpio", "-P"),
    }
    argv = commands.get(find_tool(files))
    if argv is not None:
        yield Run(argv)


def azure_drivers(kernel: Kernel) -> list[str]:
    """What an initramfs for Azure is to have, as far as it is not built in."""
    optional = [name for name in ("hyperv_keyboard", "nvme") if name in kernel.modules.loadable]
    return [name for name in (*HYPERV, *optional) if name not in kernel.modules.builtin]


def _add_drivers(facts: Facts) -> Iterator[Edit]:
    """The configuration that has the tool take these drivers, and the tool's run."""
    files, tool = facts.guest, find_tool(facts.guest)
    names = azure_drivers(_kernel(facts))
    if tool == "dracut":
        yield Write(DRACUT_DROP_IN, f'add_drivers+=" {" ".join(names)} "\n'.encode())
    elif tool == "initramfs-tools":
        path = "/etc/initramfs-tools/modules"
        text = files.find_text(path, TEXT_LIMIT) or ""
        listed = {module_name(line.strip()) for line in text.splitlines()}
        more = "".join(f"{name}\n" for name in names if name not in listed)
        yield Write(path, f"{text.rstrip()}\n{more}".lstrip("\n").encode())
    else:
        return
    yield from regenerate_initramfs(files)


def _fix_initramfs_present(facts: Facts) -> Iterator[Edit]:
    """The tool makes it, where the kernel that it is for is installed."""
    if _kernel(facts).modules:
        yield from regenerate_initramfs(facts.guest)


def _dracut_text(files: Files) -> str:
    """All of dracut's configuration, in its order: a drop-in in /etc hides one of the same name."""
    texts = {"": files.find_text("/etc/dracut.conf", TEXT_LIMIT) or ""}
    for directory in DRACUT_FILES:
        for name in files.list(directory)[:MAX_DROP_INS]:
            if name.endswith(".conf"):
                texts[name] = files.find_text(f"{directory}/{name}", TEXT_LIMIT) or ""
    return "\n".join(texts[name] for name in sorted(texts))


def _assigned(text: str, name: str) -> str:
    """What a shell's lines give a variable: the last =, and every += behind it."""
    value = ""
    for line in text.splitlines():
        key, equals, given = line.split("#", 1)[0].strip().partition("=")
        if equals and key.rstrip("+") == name:
            given = given.strip().strip("\"'")
            value = f"{value} {given}" if key.endswith("+") else given
    return value.strip()


def _hostonly(facts: Facts) -> Verdict:
    tool = find_tool(facts.guest)
    if tool == "dracut":
        text = _dracut_text(facts.guest)
        if _assigned(text, "hostonly") == "no":
            return passed("dracut takes every driver (hostonly=no)")
        drivers = " ".join(_assigned(text, name) for name in ("add_drivers", "force_drivers")).split()
        builtin = _kernel(facts).modules.builtin
        if all(name in builtin or name in map(module_name, drivers) for name in BOOT_MODULES):
            return passed("dracut is told to take Hyper-V's drivers")
        return warned("dracut takes only the drivers of the machine it runs on", "/etc/dracut.conf.d")
    if tool == "initramfs-tools":
        value, path = _modules_setting(facts.guest)
        at_hand = _listed_modules(facts.guest) | _kernel(facts).modules.builtin
        if value in ("dep", "list") and not at_hand.issuperset(BOOT_MODULES):
            return warned(f"MODULES={value}: only the drivers of the machine it runs on", path)
        return passed(f"MODULES={value}", path)
    return not_applicable("neither dracut nor initramfs-tools is installed")


def _listed_modules(files: Files) -> set[str]:
    """The modules that mkinitramfs always takes: the administrator's list and those of packages."""
    names = files.list(PACKAGES_MODULES)[:MAX_DROP_INS]
    paths = ("/etc/initramfs-tools/modules", *(f"{PACKAGES_MODULES}/{name}" for name in names))
    texts = (files.find_text(path, TEXT_LIMIT) or "" for path in paths)
    return {module_name(line.strip()) for text in texts for line in text.splitlines()}


def _modules_setting(files: Files) -> tuple[str, str]:
    """(MODULES, where it is set) of initramfs-tools; the last file wins."""
    paths = ["/etc/initramfs-tools/initramfs.conf"]
    for directory in ("/usr/share/initramfs-tools/conf.d", "/etc/initramfs-tools/conf.d"):
        paths += [f"{directory}/{name}" for name in files.list(directory)]
    found = ("most", paths[0])
    for path in paths:
        value = _assigned(files.find_text(path, TEXT_LIMIT) or "", "MODULES")
        found = (value, path) if value else found
    return found


def _fix_hostonly(facts: Facts) -> Iterator[Edit]:
    tool = find_tool(facts.guest)
    if tool == "dracut":
        names = " ".join(azure_drivers(_kernel(facts)))
        yield Write(DRACUT_DROP_IN, f'add_drivers+=" {names} "\n'.encode())
    elif tool == "initramfs-tools":
        yield Write("/etc/initramfs-tools/conf.d/zz-azure", b"MODULES=most\n")


# -- NVMe


def _nvme(facts: Facts) -> Verdict:
    kernel = _kernel(facts)
    if not kernel.modules and not kernel.config:
        return not_applicable("the kernel has no list of modules")
    if _absent(kernel, {"nvme": "BLK_DEV_NVME"}):
        return warned("the kernel has no nvme", kernel.where)
    early = _has_initramfs(facts) and not kernel.initramfs.is_packed_twice
    if early and "nvme" not in kernel.early_modules and _absent(kernel, {"": "BLK_DEV_NVME"}):
        return warned("the initramfs has no nvme", kernel.initramfs_path or "")
    entry = facts.boots.default_entry
    if entry is not None and NVME_TIMEOUT not in entry.command_line.words:
        return warned(f"no {NVME_TIMEOUT} on the kernel command line", entry.command_line.where)
    return passed("nvme is at hand, and waits 240 s for a disk")


def _fix_nvme(facts: Facts) -> Iterator[Edit]:
    kernel = _kernel(facts)
    yield from change_command_lines(facts.guest, set_words(NVME_TIMEOUT, drop=("nvme_core.io_timeout=",)))
    if "nvme" in kernel.modules.loadable and _has_initramfs(facts) and "nvme" not in kernel.early_modules:
        yield from _add_drivers(facts)


# -- modules that are kept from loading


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
    return [name for name in names if name in _kernel(facts).modules.loadable and name not in forbidden]


def _floppy(facts: Facts) -> Verdict:
    if _unwanted(facts, ("floppy",)):
        return warned("the floppy driver is loaded, and there is no floppy drive", _kernel(facts).where)
    return passed("the floppy driver is not loaded")


def _noise(facts: Facts) -> Verdict:
    if facts.architecture not in (None, "x86_64"):
        return not_applicable("only for x86_64")
    unwanted = _unwanted(facts, NOISE)
    if unwanted:
        return warned(f"{', '.join(unwanted)} may be loaded", _kernel(facts).where)
    return passed("no driver of hardware that VMs only seem to have is loaded")


def _forbid(facts: Facts, path: str, names: tuple[str, ...]) -> Iterator[Edit]:
    yield Write(path, "".join(f"blacklist {name}\n" for name in _unwanted(facts, names)).encode())


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
        "initramfs-present",
        "the initramfs is there and whole",
        Severity.BOOT,
        "the kernel panics without the initramfs that its boot entry names",
        "Azure/ALAR initrd",
        has_kernel,
        _initramfs_present,
        "make it anew: update-initramfs -u -k all, or dracut --force --regenerate-all",
        fix=_fix_initramfs_present,
    ),
    Check(
        "initramfs-hv-modules",
        "the initramfs has Hyper-V's drivers",
        Severity.BOOT,
        "the OS disk hangs on the Hyper-V bus: without its drivers the kernel never finds its root",
        sources.RED_HAT,
        _has_initramfs,
        _initramfs_hyperv,
        "Debian: MODULES=most, then update-initramfs -u -k all; Red Hat: a file in /etc/dracut.conf.d with "
        "add_drivers+=' hv_vmbus hv_storvsc ', then dracut --force --regenerate-all",
        fix=_add_drivers,
    ),
    Check(
        "initramfs-rootfs-module",
        "the initramfs has what the root lies on",
        Severity.BOOT,
        "the kernel cannot mount a root whose file system it does not know yet",
        "Linux Documentation/filesystems/ramfs-rootfs-initramfs.rst",
        _has_initramfs,
        _initramfs_root,
        "make it anew in the guest: update-initramfs -u -k all, or dracut --force --regenerate-all",
        fix=_fix_initramfs_present,
    ),
    Check(
        "initramfs-hostonly",
        "the next initramfs has Hyper-V's drivers too",
        Severity.BOOT,
        "an update of the kernel makes an initramfs with the drivers of the machine on which it runs",
        sources.RED_HAT,
        has_kernel,
        _hostonly,
        "add_drivers+=' hv_vmbus hv_storvsc hv_netvsc ' in /etc/dracut.conf.d, or MODULES=most",
        fix=_fix_hostonly,
    ),
    Check(
        "nvme-ready",
        "the guest boots from NVMe disks",
        Severity.BEST,
        "newer VM sizes have their OS disk on NVMe; without the driver they do not boot, with the kernel's "
        "time-out of 30 s a short stall of the storage is an error",
        "azure-compute-docs enable-nvme-interface.md",
        has_kernel,
        _nvme,
        "take nvme into the initramfs, add nvme_core.io_timeout=240 to the kernel command line",
        generations=(2,),
        fix=_fix_nvme,
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

"""Checks of the initramfs: what is in it, and what the next one will have."""

from __future__ import annotations

from collections.abc import Iterator

from vmstamp.guest.boot.cmdline import change_command_lines, set_words
from vmstamp.guest.boot.kernel import Kernel, has_loader_path
from vmstamp.guest.boot.modules import module_name
from vmstamp.guest.checks import sources
from vmstamp.guest.checks.kernel import HYPERV, absent_modules, default_kernel, has_kernel
from vmstamp.guest.edits import Edit, Run, Write
from vmstamp.guest.facts import Facts
from vmstamp.guest.files.fs import Files
from vmstamp.guest.finding import Check, Severity, Verdict, failed, not_applicable, passed, warned

BOOT_MODULES = ("hv_vmbus", "hv_storvsc")
NVME_TIMEOUT = "nvme_core.io_timeout=240"
TEXT_LIMIT = 256 * 1024
MAX_DROP_INS = 200

DRACUT = ("/usr/bin/dracut", "/usr/sbin/dracut", "/sbin/dracut")
DRACUT_DROP_IN = "/etc/dracut.conf.d/90-azure.conf"
DRACUT_FILES = ("/usr/lib/dracut/dracut.conf.d", "/etc/dracut.conf.d")
INITRAMFS_TOOLS = ("/usr/sbin/update-initramfs", "/sbin/update-initramfs")
PACKAGES_MODULES = "/usr/share/initramfs-tools/modules.d"
MKINITCPIO = ("/usr/bin/mkinitcpio",)
MODULES_MOST = Write("/etc/initramfs-tools/conf.d/zz-azure", b"MODULES=most\n")


def _initramfs_present(facts: Facts) -> Verdict:
    """Each entry's initramfs is there; that of the kernel that boots is whole."""
    for entry in facts.entries:
        for initrd in entry.initrds:
            if "$" not in initrd and not has_loader_path(facts.guest, facts.boot.esp_files, initrd):
                return failed(f"the initramfs {initrd} is missing", entry.command_line.where)
    kernel = default_kernel(facts)
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
    node = default_kernel(facts).initramfs_node
    return node is not None and bool(node.size)


def _needed_early(kernel: Kernel) -> list[str]:
    """What an initramfs has for Hyper-V's disks: the drivers, that of SCSI disks, and what they need."""
    loadable, builtin = kernel.modules.loadable, kernel.modules.builtin
    wanted = [*BOOT_MODULES, *(name for name in ("sd_mod",) if name in loadable)]
    needs = (need for name in wanted if name not in builtin for need in loadable.get(name, ()))
    return list(dict.fromkeys([*wanted, *needs]))


def _initramfs_hyperv(facts: Facts) -> Verdict:
    """Whether each kernel finds its root on Hyper-V's disks, first the one that boots."""
    default = default_kernel(facts)
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
    kernel, root = default_kernel(facts), facts.survey.root
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
    """The command that makes every kernel's initramfs anew; nothing when the guest's tool is not known.

    It runs on a machine that is not the VM's: a tool that takes only the drivers of the machine on which it
    runs is told to take all.
    """
    commands = {
        "initramfs-tools": ("update-initramfs", "-u", "-k", "all"),
        "dracut": ("dracut", "--force", "--no-hostonly", "--regenerate-all"),
        "mkinitcpio": ("mkinitcpio", "-P"),
    }
    tool = find_tool(files)
    argv = commands.get(tool)
    if tool == "initramfs-tools" and _modules_setting(files)[0] == "dep":
        yield MODULES_MOST
    if argv is not None:
        yield Run(argv)


def azure_drivers(kernel: Kernel) -> list[str]:
    """What an initramfs for Azure is to have, as far as it is not built in."""
    optional = [name for name in ("hyperv_keyboard", "nvme", "sd_mod") if name in kernel.modules.loadable]
    return [name for name in (*HYPERV, *optional) if name not in kernel.modules.builtin]


def _add_drivers(facts: Facts) -> Iterator[Edit]:
    """The configuration that has the tool take these drivers, and the tool's run."""
    files, tool = facts.guest, find_tool(facts.guest)
    names = azure_drivers(default_kernel(facts))
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
    if default_kernel(facts).modules:
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
        builtin = default_kernel(facts).modules.builtin
        if all(name in builtin or name in map(module_name, drivers) for name in BOOT_MODULES):
            return passed("dracut is told to take Hyper-V's drivers")
        return warned("dracut takes only the drivers of the machine it runs on", "/etc/dracut.conf.d")
    if tool == "initramfs-tools":
        value, path = _modules_setting(facts.guest)
        at_hand = _listed_modules(facts.guest) | default_kernel(facts).modules.builtin
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
        names = " ".join(azure_drivers(default_kernel(facts)))
        yield Write(DRACUT_DROP_IN, f'add_drivers+=" {names} "\n'.encode())
    elif tool == "initramfs-tools":
        yield MODULES_MOST


def _nvme(facts: Facts) -> Verdict:
    kernel = default_kernel(facts)
    if not kernel.modules and not kernel.config:
        return not_applicable("the kernel has no list of modules")
    if absent_modules(kernel, {"nvme": "BLK_DEV_NVME"}):
        return warned("the kernel has no nvme", kernel.where)
    early = _has_initramfs(facts) and not kernel.initramfs.is_packed_twice
    if early and "nvme" not in kernel.early_modules and absent_modules(kernel, {"": "BLK_DEV_NVME"}):
        return warned("the initramfs has no nvme", kernel.initramfs_path or "")
    entry = facts.boots.default_entry
    if entry is not None and NVME_TIMEOUT not in entry.command_line.words:
        return warned(f"no {NVME_TIMEOUT} on the kernel command line", entry.command_line.where)
    return passed("nvme is at hand, and waits 240 s for a disk")


def _fix_nvme(facts: Facts) -> Iterator[Edit]:
    kernel = default_kernel(facts)
    yield from change_command_lines(facts.guest, set_words(NVME_TIMEOUT, drop=("nvme_core.io_timeout=",)))
    if "nvme" in kernel.modules.loadable and _has_initramfs(facts) and "nvme" not in kernel.early_modules:
        yield from _add_drivers(facts)


CHECKS = (
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
)  # fmt: skip

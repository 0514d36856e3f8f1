"""Checks of LVM: whether the initramfs and the guest find the logical volumes on another machine's disk."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmstamp.guest.boot.cmdline import change_command_lines, set_words
from vmstamp.guest.checks import sources
from vmstamp.guest.checks.initramfs import regenerate_initramfs
from vmstamp.guest.edits import Edit, Remove, Write
from vmstamp.guest.facts import Facts, has_guest
from vmstamp.guest.files.fs import Files
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed, warned

TEXT_LIMIT = 1024 * 1024
DEVICES_FILE = "/etc/lvm/devices/system.devices"
LVM_CONFIGURATION = "/etc/lvm/lvm.conf"


def _lvm_os_disk(facts: Facts) -> Verdict:
    root = facts.survey.root
    if root is not None and root.logical is not None:
        return warned(f"the root is {root.where}", root.where)
    return passed("the root is a partition of its own")


def _has_lvm(facts: Facts) -> bool:
    """The guest starts from LVM, or has its program."""
    contents = facts.survey.contents
    used = any(content.file_system and content.file_system.kind == "LVM" for content in contents)
    return facts.files is not None and (used or facts.files.is_file(LVM_CONFIGURATION))


def _lvm_text(files: Files) -> str:
    return files.find_text(LVM_CONFIGURATION, TEXT_LIMIT) or ""


def _lvm_setting(text: str, name: str) -> tuple[str, int] | None:
    """(value, line) of a setting of lvm.conf, which may be a list on several lines."""
    pattern = rf"^[ \t]*{re.escape(name)}[ \t]*=[ \t]*(\[[^\]]{{0,9999}}\]|[^\n#]*)"
    match = re.search(pattern, text, re.MULTILINE)
    return (match[1].strip(), text.count("\n", 0, match.start()) + 1) if match else None


def _devices_in(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if "IDNAME=" in line or "DEVNAME=" in line]


def _lvm_devices(facts: Facts) -> Verdict:
    used = _lvm_setting(_lvm_text(facts.guest), "use_devicesfile")
    if used is not None and used[0] == "0":
        return passed("LVM looks at every disk", f"{LVM_CONFIGURATION}:{used[1]}")
    if _devices_in(facts.guest.find_text(DEVICES_FILE, TEXT_LIMIT) or ""):
        return failed("LVM is told to use only the disks of the machine it was installed on", DEVICES_FILE)
    kernel = facts.boots.default
    if kernel is not None and _root_is_logical(facts) and kernel.initramfs_path:
        inside = kernel.initramfs.texts.get(DEVICES_FILE.lstrip("/"), "")
        if _devices_in(inside):
            return failed(f"{DEVICES_FILE} is in the initramfs", kernel.initramfs_path)
    return passed("LVM is not tied to the disks of another machine")


def _root_is_logical(facts: Facts) -> bool:
    return facts.survey.root is not None and facts.survey.root.logical is not None


def _fix_lvm_devices(facts: Facts) -> Iterator[Edit]:
    """The file goes; without it LVM looks at every disk. The initramfs is made anew where it has a copy."""
    yield Remove(DEVICES_FILE)
    kernel = facts.boots.default
    if kernel is not None and kernel.initramfs_path and DEVICES_FILE[1:] in kernel.initramfs.texts:
        yield from regenerate_initramfs(facts.guest)


def _dracut_activates(facts: Facts) -> bool:
    """The root is a logical volume, and dracut's script in the initramfs decides which volumes there are."""
    kernel = facts.boots.default if facts.files is not None and _root_is_logical(facts) else None
    if kernel is None or kernel.entry is None or not kernel.initramfs_path:
        return False
    return any(name.endswith("parse-lvm.sh") for name in kernel.initramfs.names)


def _root_activation(facts: Facts) -> Verdict:
    kernel, root = facts.boots.default, facts.survey.root
    assert kernel is not None and kernel.entry is not None and root is not None and root.logical is not None
    words = list(kernel.entry.command_line.words)
    for path, text in kernel.initramfs.texts.items():
        if path.startswith("etc/cmdline.d/"):
            words += text.split()
    group, where = root.logical.group, kernel.entry.command_line.where
    name = f"{group}/{root.logical.name}"
    if "rd.lvm=0" in words:
        return failed("rd.lvm=0: the initramfs activates no logical volume", where)
    named = [word.split("=", 1)[1] for word in words if word.startswith(("rd.lvm.lv=", "rd.lvm.vg="))]
    if name in named or group in named:
        return passed(f"the initramfs activates {name}", where)
    if named:
        return failed(f"the initramfs activates {', '.join(named)}, but not {name} of the root", where)
    if "rd.auto" in words or "rd.auto=1" in words:
        return passed("rd.auto: the initramfs activates every logical volume", where)
    return failed(f"neither rd.lvm.lv={name} nor rd.auto: the initramfs activates no logical volume", where)


def _fix_root_activation(facts: Facts) -> Iterator[Edit]:
    root = facts.survey.root
    assert root is not None and root.logical is not None
    word = f"rd.lvm.lv={root.logical.group}/{root.logical.name}"
    yield from change_command_lines(facts.guest, set_words(word, drop=("rd.lvm=0",)))


_DEVICE_IN_FILTER = re.compile(r"/(sd[a-z]|hd[a-z]|vd[a-z]|xvd[a-z]|nvme\d|disk/by-(?:id|path))")


def _bad_filter(text: str) -> tuple[str, str, int] | None:
    """(setting, what it names, line) of a filter of lvm.conf that lets only some disks through."""
    for name in ("filter", "global_filter"):
        found = _lvm_setting(text, name)
        if found is None:
            continue
        patterns = re.findall(r'"([^"]*)"', found[0])
        accepts = [one for one in patterns if one.startswith("a") and _DEVICE_IN_FILTER.search(one)]
        rejects_all = any(re.fullmatch(r"r.\^?\.?\*?.?", one) for one in patterns)
        if accepts and rejects_all:
            return name, accepts[0], found[1]
    return None


def _early_lvm_text(facts: Facts) -> str:
    """lvm.conf in the initramfs, where the root needs it; '' otherwise."""
    kernel = facts.boots.default
    if kernel is None or not _root_is_logical(facts) or not kernel.initramfs_path:
        return ""
    return kernel.initramfs.texts.get(LVM_CONFIGURATION.lstrip("/"), "")


def _lvm_filter(facts: Facts) -> Verdict:
    found = _bad_filter(_lvm_text(facts.guest))
    if found is not None:
        name, pattern, line = found
        return failed(f"{name} lets only {pattern[:80]} through", f"{LVM_CONFIGURATION}:{line}")
    found = _bad_filter(_early_lvm_text(facts))
    if found is not None:
        where = facts.boots.default.initramfs_path if facts.boots.default else ""
        return failed(f"{found[0]} in the initramfs lets only {found[1][:80]} through", where or "")
    return passed("no filter of LVM's names a disk", LVM_CONFIGURATION)


def _fix_lvm_filter(facts: Facts) -> Iterator[Edit]:
    text = before = _lvm_text(facts.guest)
    while (found := _bad_filter_in(text)) is not None:
        text = found
    if text != before:
        yield Write(LVM_CONFIGURATION, text.encode())
    if _bad_filter(_early_lvm_text(facts)) is not None:
        yield from regenerate_initramfs(facts.guest)


def _bad_filter_in(text: str) -> str | None:
    """The text with the first filter of a named disk made a comment; None when it has none."""
    pattern = re.compile(r"^[ \t]*(?:global_)?filter[ \t]*=[ \t]*(\[[^\]]{0,9999}\]|[^\n#]*)", re.MULTILINE)
    for match in pattern.finditer(text):
        if _DEVICE_IN_FILTER.search(match[1]):
            commented = "".join(f"# {line}" for line in match[0].splitlines(keepends=True))
            return text[: match.start()] + commented + text[match.end() :]
    return None


CHECKS = (
    Check(
        "lvm-os-disk",
        "the OS disk does without LVM",
        Severity.BEST,
        "a VM that does not boot is repaired by attaching its disk to another of the same image: the names "
        "of their volume groups clash",
        sources.GENERIC,
        has_guest,
        _lvm_os_disk,
        "use plain partitions on the OS disk; LVM on data disks is fine",
    ),
    Check(
        "lvm-devices-file",
        "LVM is not tied to the disks of another machine",
        Severity.BOOT,
        "LVM leaves out disks whose hardware ids are not in the file, so the root is never found",
        "libguestfs/guestfs-tools sysprep/sysprep_operation_lvm_system_devices.ml",
        _has_lvm,
        _lvm_devices,
        "remove /etc/lvm/devices/system.devices and make the initramfs anew",
        fix=_fix_lvm_devices,
    ),
    Check(
        "lvm-filter",
        "LVM's filter names no disk",
        Severity.BOOT,
        "the disk has another name on Azure, so LVM does not look at it",
        "lvm.conf(5) filter",
        _has_lvm,
        _lvm_filter,
        "remove filter and global_filter from lvm.conf, and make the initramfs anew",
        fix=_fix_lvm_filter,
    ),
    Check(
        "lvm-root-activation",
        "the initramfs activates the root's logical volume",
        Severity.BOOT,
        "the initramfs waits for the root, and ends in dracut's emergency shell",
        "dracut.cmdline(7); dracut modules.d/90lvm/parse-lvm.sh",
        _dracut_activates,
        _root_activation,
        "add rd.lvm.lv=GROUP/VOLUME to the kernel command line",
        fix=_fix_root_activation,
    ),
)

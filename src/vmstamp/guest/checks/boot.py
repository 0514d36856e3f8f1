"""Checks of the boot loader: its entries, which of them starts, and the serial console."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmstamp.guest.boot.grub import (
    GRUB_DEFAULTS,
    find_configuration,
    find_default,
    find_environment,
    find_environment_path,
    format_environment,
    is_named,
)
from vmstamp.guest.boot.kernel import has_loader_path
from vmstamp.guest.checks.partitions import boot_content
from vmstamp.guest.edits import Edit, Run, Write
from vmstamp.guest.facts import Facts, has_guest
from vmstamp.guest.files.fs import find_source, names_content, open_window
from vmstamp.guest.finding import Check, Severity, Verdict, failed, not_applicable, passed, warned

TEXT_LIMIT = 256 * 1024
SERIAL_COMMAND = "serial --speed=115200 --unit=0 --word=8 --parity=no --stop=1"
EXT_CSUM_SEED = 0x2000  # incompatible; mkfs.ext4 sets it from e2fsprogs 1.47 on
FIRST_GRUB_WITH_CSUM_SEED = (2, 6, 8)  # Debian's; upstream from 2.12 on


def _boot_entries(facts: Facts) -> Verdict:
    """Every entry's kernel exists and its root= names a file system of this disk."""
    if not facts.entries:
        return warned("no GRUB or Boot Loader Specification entries were found in /boot")
    for entry in facts.entries:
        where = entry.command_line.where
        if "$" not in entry.kernel and not has_loader_path(facts.guest, facts.boot.esp_files, entry.kernel):
            return failed(f"the kernel {entry.kernel} is missing", where)
        for root in entry.command_line.values("root"):
            if names_content(root) and find_source(root, facts.survey.contents) is None:
                return failed(f"root={root} names nothing on this disk", where)
    return passed(
        f"{len(facts.entries)} entries, each with its kernel and root", facts.entries[0].command_line.where
    )


def _fix_boot_entries(facts: Facts) -> Iterator[Edit]:
    """The guest's own program writes the menu of what is there.

    Without a kernel in /boot that is nothing: its file system is named wrongly in fstab, and not mounted.
    """
    if not any(name.startswith(("vmlinu", "linux", "Image")) for name in facts.guest.list("/boot")):
        return
    if facts.guest.exists("/usr/sbin/update-grub"):
        yield Run(("update-grub",))
    elif facts.guest.is_file("/boot/grub2/grub.cfg"):
        yield Run(("grub2-mkconfig", "-o", "/boot/grub2/grub.cfg"))


def _default_entry(facts: Facts) -> Verdict:
    wanted = find_default(facts.guest)
    where = (find_configuration(facts.guest) or ("",))[0]
    named = [entry for entry in facts.entries if is_named(entry, wanted)]
    if not named and wanted != "0":
        return warned(f"the default {wanted[:80]} names no entry, so GRUB starts the first", where)
    entry = named[0] if named else facts.entries[0]
    if entry.is_rescue or "memtest" in entry.kernel:
        return failed(f"the default starts {entry.titles[-1] if entry.titles else entry.kernel}", where)
    return passed(f"it starts {entry.kernel}", entry.command_line.where)


def _fix_default_entry(facts: Facts) -> Iterator[Edit]:
    """saved_entry is forgotten, so the first entry starts; a menu of rescue entries first is left alone."""
    path, variables = find_environment_path(facts.guest), find_environment(facts.guest)
    if path is not None and variables.pop("saved_entry", None) is not None:
        data = format_environment(variables)
        if data is not None:
            yield Write(path, data)


# -- serial console


def _grub_serial(facts: Facts) -> Verdict:
    found = find_configuration(facts.guest)
    if found is None:
        return not_applicable("the boot loader is not GRUB 2")
    path, text = found
    serial = re.search(r"^[ \t]*serial\b", text, re.MULTILINE)
    output = re.search(r"^[ \t]*terminal_output\b.*\bserial", text, re.MULTILINE)
    if not serial or not output:
        return warned("GRUB's menu is not shown on the serial console", path)
    return passed("GRUB's menu is on the serial console", path)


def _fix_grub_serial(facts: Facts) -> Iterator[Edit]:
    """The settings, and in grub.cfg the three commands that they would give, before its first menu entry."""
    found = find_configuration(facts.guest)
    text = facts.guest.find_text(GRUB_DEFAULTS, TEXT_LIMIT)
    if text is not None:
        for name, value in (
            ("GRUB_TERMINAL", "console serial"),
            ("GRUB_SERIAL_COMMAND", SERIAL_COMMAND),
        ):
            text = set_default(text, name, value)
        yield Write(GRUB_DEFAULTS, text.encode())
    if found is not None:
        yield Write(found[0], add_serial(found[1]).encode())


def set_default(text: str, name: str, value: str) -> str:
    """/etc/default/grub with the setting, in the place of an older one, else at the end."""
    line = f'{name}="{value}"'
    pattern = re.compile(rf"^[ \t]*{name}=.*$", re.MULTILINE)
    if pattern.search(text):
        return pattern.sub(lambda _: line, text)
    return f"{text.rstrip()}\n{line}\n"


def add_serial(text: str) -> str:
    """grub.cfg with its terminals on console and serial line; what it said of them is replaced."""
    kept = re.sub(r"^[ \t]*(serial|terminal_input|terminal_output)\b.*\n", "", text, flags=re.MULTILINE)
    lines = f"{SERIAL_COMMAND}\nterminal_input console serial\nterminal_output console serial\n"
    place = re.search(
        r"^(### END /etc/grub\.d/00_header|[ \t]*(menuentry|submenu|blscfg)\b)", kept, re.MULTILINE
    )
    at = place.start() if place else 0
    return f"{kept[:at]}{lines}{kept[at:]}"


_FOREVER = re.compile(r"^([ \t]*set[ \t]+timeout=)[\"']?-\d+[\"']?[ \t]*$", re.MULTILINE)


def _timeout(facts: Facts) -> Verdict:
    found = find_configuration(facts.guest)
    if found is None:
        return not_applicable("the boot loader is not GRUB 2")
    path, text = found
    match = _FOREVER.search(text)
    if match is not None:
        line = text.count("\n", 0, match.start(1)) + 1
        return failed("GRUB's time-out is negative: it waits for a key for ever", f"{path}:{line}")
    return passed("GRUB starts its default by itself", path)


def _fix_timeout(facts: Facts) -> Iterator[Edit]:
    found = find_configuration(facts.guest)
    if found is not None:
        yield Write(found[0], _FOREVER.sub(r"\g<1>5", found[1]).encode())
    text = facts.guest.find_text(GRUB_DEFAULTS, TEXT_LIMIT)
    if text is not None and re.search(r"^[ \t]*GRUB_TIMEOUT=[\"']?-", text, re.MULTILINE):
        yield Write(GRUB_DEFAULTS, set_default(text, "GRUB_TIMEOUT", "5").encode())


def _has_grub(facts: Facts) -> bool:
    return has_guest(facts) and find_configuration(facts.guest) is not None


def _grub_features(facts: Facts) -> Verdict:
    """Whether GRUB reads the file system with its menu. Source: Debian bugs 1030846, 1031325."""
    content = boot_content(facts)
    kind = content.file_system.kind if content is not None and content.file_system is not None else ""
    if content is None or not kind.startswith("ext"):
        return not_applicable("GRUB's menu is on no ext4")
    features = int.from_bytes(open_window(facts.disk, content).read_at(1024 + 0x60, 4), "little")
    version = facts.packages.get("grub-common", "")
    found = re.match(r"(?:\d+:)?(\d{1,4})\.(\d{1,4})(?:~\w+)?-(\d{1,4})", version)
    old = found is not None and tuple(map(int, found.groups())) < FIRST_GRUB_WITH_CSUM_SEED
    if features & EXT_CSUM_SEED and old:
        verdict = failed if facts.os is not None and facts.os.id == "debian" else warned
        return verdict(f"GRUB {version[:40]} does not read ext4's metadata_csum_seed", content.where)
    return passed("ext4 has no feature that is newer than GRUB", content.where)


CHECKS = (
    Check(
        "grub-cfg-root",
        "each boot entry has its kernel and its root",
        Severity.BOOT,
        "the kernel panics, or drops to a shell that nobody sees",
        "Azure/ALAR grubfix",
        has_guest,
        _boot_entries,
        "run update-grub in the guest",
        fix=_fix_boot_entries,
    ),
    Check(
        "grub-default-entry",
        "the default is an entry that boots",
        Severity.BOOT,
        "a rescue entry asks for root's password on a console that nobody sees",
        "Azure/ALAR kernel",
        lambda facts: facts.files is not None and bool(facts.entries),
        _default_entry,
        "grub-set-default 0, or correct GRUB_DEFAULT and run update-grub",
        fix=_fix_default_entry,
    ),
    Check(
        "grub-timeout",
        "GRUB does not wait for a key",
        Severity.BOOT,
        "with a negative time-out the menu waits for ever",
        "GRUB manual, Simple configuration",
        has_guest,
        _timeout,
        "set GRUB_TIMEOUT=1 or more and run update-grub",
        fix=_fix_timeout,
    ),
    Check(
        "grub-serial",
        "GRUB's menu is on the serial console",
        Severity.BEST,
        "Azure's Serial Console cannot choose another kernel when one fails",
        "azure-compute-docs linux/suse-create-upload-vhd.md",
        has_guest,
        _grub_serial,
        'GRUB_TERMINAL="console serial" and GRUB_SERIAL_COMMAND in /etc/default/grub, then update-grub',
        fix=_fix_grub_serial,
    ),
    Check(
        "grub-fs-features",
        "GRUB reads the file system that its menu is on",
        Severity.BOOT,
        "what mkfs.ext4 of a newer system makes is no file system to an older GRUB: it ends at its prompt",
        "tytso/e2fsprogs misc/mke2fs.conf.in",
        _has_grub,
        _grub_features,
        "tune2fs -O ^metadata_csum_seed on the partition, or make it by the guest's own mkfs.ext4",
    ),
)  # fmt: skip

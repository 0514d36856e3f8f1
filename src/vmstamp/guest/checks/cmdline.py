"""Checks of the kernel command line: what boots by default, and what every entry has."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmstamp.guest.boot.cmdline import change_command_lines, drop_words, replace_words, set_words
from vmstamp.guest.boot.grub import GRUB_DEFAULTS, BootEntry
from vmstamp.guest.checks import sources
from vmstamp.guest.checks.initramfs import find_tool
from vmstamp.guest.edits import Edit, Write
from vmstamp.guest.facts import Facts
from vmstamp.guest.files.fs import Files, find_source, names_content
from vmstamp.guest.files.fstab import find_device
from vmstamp.guest.finding import Check, Severity, Verdict, failed, not_applicable, passed, warned
from vmstamp.guest.system import family, is_older, version_key

CONSOLES = {"x86_64": "ttyS0", "aarch64": "ttyAMA0"}
DVD_HIDDEN = ("libata.atapi_enabled=0", "reserve=0x1f0,0x8")
INTERFACE_FILES = (
    "/etc/sysconfig/network-scripts/ifcfg-eth0",
    "/etc/sysconfig/network/ifcfg-eth0",
    "/etc/NetworkManager/system-connections/eth0.nmconnection",
)
NAMES_KEPT = ("/etc/udev/rules.d/80-net-setup-link.rules", "/etc/systemd/network/99-default.link")
RESUME = "/etc/initramfs-tools/conf.d/resume"


def _has_entries(facts: Facts) -> bool:
    return bool(facts.entries)


def _default(facts: Facts) -> BootEntry:
    entry = facts.boots.default_entry
    assert entry is not None, "a check of the command line ran without one"
    return entry


def _console_device(facts: Facts) -> str:
    return CONSOLES.get(facts.architecture or "", "ttyS0")


def _console(facts: Facts) -> Verdict:
    wanted, entry = _console_device(facts), _default(facts)
    consoles = [value.split(",")[0] for value in entry.command_line.values("console")]
    where = entry.command_line.where
    if wanted not in consoles:
        return warned(f"no console={wanted}: the serial log and console stay empty", where)
    if consoles[-1] != wanted:
        return warned(
            f"console={consoles[-1]} is the last, so what starts after the kernel does not write to {wanted}",
            where,
        )
    return passed(f"console={wanted}", where)


def _fix_console(facts: Facts) -> Iterator[Edit]:
    device = _console_device(facts)
    word = f"console={device},115200n8" if device == "ttyS0" else f"console={device}"

    def change(words: object) -> list[str]:
        kept = [w for w in words if w.split(",")[0] != f"console={device}"]  # type: ignore[attr-defined]
        return [*kept, word]

    yield from change_command_lines(facts.guest, change)


def _earlyprintk(facts: Facts) -> Verdict:
    if facts.architecture not in (None, "x86_64"):
        return not_applicable("only for x86_64")
    line = _default(facts).command_line
    if any(value.split(",")[0] == "ttyS0" for value in line.values("earlyprintk")):
        return passed("earlyprintk=ttyS0", line.where)
    return warned("no earlyprintk=ttyS0: what fails before the console is up leaves no trace", line.where)


def _rootdelay(facts: Facts) -> Verdict:
    sleeps = find_tool(facts.guest) == "initramfs-tools"
    for entry in facts.entries:
        values = entry.command_line.values("rootdelay")
        if values and sleeps:
            return warned(
                f"rootdelay={values[-1][:8]}: this guest's initramfs sleeps so many seconds at each boot",
                entry.command_line.where,
            )
    return passed("no boot waits for nothing" if sleeps else "the initramfs waits no longer than it must")


def _quiet(facts: Facts) -> Verdict:
    line = _default(facts).command_line
    found = [word for word in line.words if word in ("rhgb", "quiet", "splash", "crashkernel=auto")]
    if found:
        return warned(f"{' '.join(found)} hides the boot from the serial log, or takes memory", line.where)
    return passed("the boot is written to the console", line.where)


def _atapi(facts: Facts) -> Verdict:
    for entry in facts.entries:
        for word in DVD_HIDDEN:
            if word in entry.command_line.words:
                return failed(f"{word} hides the provisioning DVD", entry.command_line.where)
    return passed("nothing on the kernel command line hides the DVD")


def _is_old(facts: Facts) -> bool:
    """A kernel before 2.6.37 that has not got its fix: Red Hat's has from release 6.6 on."""
    if facts.os is not None and family(facts.os) == "rhel" and not is_older(facts.os.version_id, "6.6"):
        return False
    return bool(facts.kernels) and version_key(facts.kernels[-1]) < version_key("2.6.37")


def _numa(facts: Facts) -> Verdict:
    if not _is_old(facts):
        return not_applicable("only for kernels before 2.6.37")
    line = _default(facts).command_line
    if "numa=off" in line.words:
        return passed("numa=off", line.where)
    return failed("no numa=off, which a kernel before 2.6.37 needs", line.where)


def _root_device(facts: Facts) -> Verdict:
    for entry in facts.entries:
        for key in ("root", "resume"):
            for value in entry.command_line.values(key):
                if find_device(value):
                    return failed(f"{key}={value} is another device on Azure", entry.command_line.where)
    for value, where in _resumes(facts):
        if names_content(value) and find_source(value, facts.survey.contents) is None:
            return warned(f"resume={value} is not on this disk, so each boot waits for it", where)
    return passed("root= is by UUID, label or mapper name")


def _resumes(facts: Facts) -> Iterator[tuple[str, str]]:
    """(source, where) of what the guest would resume from."""
    for entry in facts.entries:
        yield from ((value, entry.command_line.where) for value in entry.command_line.values("resume"))
    text = facts.guest.find_text(RESUME, 64 * 1024) or ""
    for number, line in enumerate(text.splitlines(), 1):
        key, _, value = line.strip().partition("=")
        if key == "RESUME":
            yield value.strip("\"'"), f"{RESUME}:{number}"


def _fix_root_device(facts: Facts) -> Iterator[Edit]:
    """root= becomes the root's UUID, a resume= of what is not here goes; GRUB is to write UUIDs again."""
    root = facts.survey.root
    uuid = root.file_system.uuid if root is not None and root.file_system is not None else ""

    def change(word: str) -> str:
        key, _, value = word.partition("=")
        if key == "root" and find_device(value) and uuid:
            return f"root=UUID={uuid}"
        gone = names_content(value) and find_source(value, facts.survey.contents) is None
        return "" if key == "resume" and (gone or find_device(value)) else word

    edits = dict(_by_path(change_command_lines(facts.guest, replace_words(change))))
    edit = edits.get(GRUB_DEFAULTS)
    text = edit.data.decode() if edit else facts.guest.find_text(GRUB_DEFAULTS, 256 * 1024) or ""
    pattern = re.compile(r"^([ \t]*GRUB_DISABLE_LINUX_UUID=)[\"']?true[\"']?", re.MULTILINE)
    if pattern.search(text):
        edits[GRUB_DEFAULTS] = Write(GRUB_DEFAULTS, pattern.sub(r"\1false", text).encode())
    yield from edits.values()
    if any(where.startswith(RESUME) and _is_gone(facts, value) for value, where in _resumes(facts)):
        yield Write(RESUME, b"RESUME=none\n")


def _is_gone(facts: Facts, value: str) -> bool:
    return names_content(value) and find_source(value, facts.survey.contents) is None


def _by_path(edits: Iterator[Edit]) -> Iterator[tuple[str, Write]]:
    return ((edit.path, edit) for edit in edits if isinstance(edit, Write))


def _names_eth0(files: Files) -> str | None:
    """A file of the network's configuration that names eth0."""
    for path in INTERFACE_FILES:
        if files.is_file(path):
            return path
    texts = (("/etc/netplan", ".yaml", r"^[ \t]*eth0[ \t]*:"),
             ("/etc/systemd/network", ".network", r"^Name=eth0"),
             ("/etc/network/interfaces.d", "", r"^[ \t]*iface[ \t]+eth0\b"))  # fmt: skip
    for directory, suffix, pattern in texts:
        for name in files.list(directory):
            text = files.find_text(f"{directory}/{name}", 256 * 1024) or "" if name.endswith(suffix) else ""
            if re.search(pattern, text, re.MULTILINE):
                return f"{directory}/{name}"
    text = files.find_text("/etc/network/interfaces", 256 * 1024) or ""
    found = re.search(r"^[ \t]*iface[ \t]+eth0\b", text, re.MULTILINE)
    return "/etc/network/interfaces" if found else None


def _ifnames(facts: Facts) -> Verdict:
    path = _names_eth0(facts.guest)
    if path is None:
        return passed("the network's configuration does not depend on the name eth0")
    line = _default(facts).command_line
    if "net.ifnames=0" in line.words or any(facts.guest.readlink(one) == "/dev/null" for one in NAMES_KEPT):
        return passed("interfaces keep the names eth0, eth1", line.where)
    return warned(f"{path} is for eth0, and no net.ifnames=0 keeps that name", line.where)


CHECKS = (
    Check(
        "cmdline-root-device",
        "root= is not a kernel device name",
        Severity.BOOT,
        "sda, vda, nvme0n1 and by-id names are other disks on Azure, or none",
        sources.GENERIC,
        _has_entries,
        _root_device,
        "use root=UUID=... (GRUB_DISABLE_LINUX_UUID must not be set)",
        fix=_fix_root_device,
    ),
    Check(
        "cmdline-console",
        "the kernel writes to the serial console",
        Severity.BEST,
        "boot diagnostics show the serial console only; without it a failed boot has no trace",
        sources.GENERIC,
        _has_entries,
        _console,
        'add console=tty1 console=ttyS0,115200n8 to GRUB_CMDLINE_LINUX and run update-grub',
        fix=_fix_console,
    ),
    Check(
        "cmdline-earlyprintk",
        "the kernel writes to the serial console from its first line",
        Severity.BEST,
        "a kernel that fails early is silent in the boot diagnostics",
        sources.GENERIC,
        _has_entries,
        _earlyprintk,
        "add earlyprintk=ttyS0 to GRUB_CMDLINE_LINUX and run update-grub",
        fix=lambda facts: change_command_lines(
            facts.guest, set_words("earlyprintk=ttyS0", drop=("earlyprintk=",))
        ),
    ),
    Check(
        "cmdline-rootdelay",
        "the initramfs does not sleep",
        Severity.BEST,
        "the guest is not provisioned in time: Debian's initramfs sleeps for all of rootdelay's seconds",
        "initramfs-tools init",
        _has_entries,
        _rootdelay,
        "remove rootdelay; the initramfs waits for the root by itself",
        fix=lambda facts: change_command_lines(
            facts.guest, drop_words(lambda word: word.startswith("rootdelay="))
        ),
    ),
    Check(
        "cmdline-quiet",
        "the boot is not hidden",
        Severity.BEST,
        "the boot diagnostics of a VM that hangs show nothing",
        sources.GENERIC,
        _has_entries,
        _quiet,
        "remove rhgb, quiet, splash and crashkernel=auto",
        fix=lambda facts: change_command_lines(
            facts.guest, drop_words(lambda word: word in ("rhgb", "quiet", "splash", "crashkernel=auto"))
        ),
    ),
    Check(
        "cmdline-atapi-off",
        "the command line leaves the DVD drive alone",
        Severity.PROVISION,
        "the provisioning data comes on a DVD",
        sources.LISA,
        _has_entries,
        _atapi,
        "remove it from the kernel command line",
        fix=lambda facts: change_command_lines(facts.guest, drop_words(lambda word: word in DVD_HIDDEN)),
    ),
    Check(
        "cmdline-numa",
        "an old kernel is told to do without NUMA",
        Severity.BOOT,
        "kernels before 2.6.37 fail on VMs of the larger sizes",
        sources.GENERIC,
        _has_entries,
        _numa,
        "add numa=off to the kernel command line",
        fix=lambda facts: change_command_lines(facts.guest, set_words("numa=off")),
    ),
    Check(
        "cmdline-ifnames",
        "the interface has the name that the network is configured for",
        Severity.BEST,
        "an interface of another name gets no address",
        sources.GENERIC,
        _has_entries,
        _ifnames,
        "add net.ifnames=0 to the kernel command line, or configure by driver or MAC-less match",
        fix=lambda facts: change_command_lines(facts.guest, set_words("net.ifnames=0")),
    ),
)  # fmt: skip

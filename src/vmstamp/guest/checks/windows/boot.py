"""Checks of how a Windows starts: its registry, what the firmware finds, hibernation, encryption."""

from __future__ import annotations

from collections.abc import Iterator

from vmstamp.errors import GuestError
from vmstamp.guest.checks.sources import CERTIFICATION, GENERATION
from vmstamp.guest.checks.windows import sources
from vmstamp.guest.checks.windows.bcd import GEN2_MANAGER, SPARE_MANAGER, files_in
from vmstamp.guest.checks.windows.settings import windows_of
from vmstamp.guest.edits import Edit, Remove, Write
from vmstamp.guest.facts import LOADERS, Facts, has_windows
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed, warned
from vmstamp.guest.windows.system import SAM_HIVE, SOFTWARE_HIVE, SYSTEM_HIVE

MAX_MANAGER = 16 * 1024 * 1024  # bytes; bootmgfw.efi has less than three MiB
HIBERNATION_FILE = "/hiberfil.sys"
NT_6_2 = 9200  # Windows Server 2012 and Windows 8


def _hives(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    notes = []
    for name, path in (("SYSTEM", SYSTEM_HIVE), ("SOFTWARE", SOFTWARE_HIVE), ("SAM", SAM_HIVE)):
        try:
            notes += [(path, note) for note in windows.hive(name).notes]
            if name == "SYSTEM":
                windows.subkeys("SYSTEM", windows.control_set)
        except GuestError as error:
            return failed(error.message, path)
    if notes:
        path, note = notes[0]
        return warned(f"{path.rsplit('/', 1)[-1]}: {note}", path)
    return passed(f"SYSTEM, SOFTWARE and SAM are whole; {windows.control_set} is current")


def _generation(facts: Facts) -> Verdict:
    table = facts.survey.table
    if table is None or table.scheme is None:
        return failed("there is no partition table", "byte 0")
    if table.scheme == "gpt":
        return _gen2(facts)
    active = [part for part in table.partitions if part.active]
    if len(active) != 1:
        return failed(f"{len(active)} partitions are active, the BIOS starts the one that is", "MBR")
    if not table.boot_code:
        return failed("sector 0 has no boot program", "byte 0")
    content = next(c for c in facts.survey.contents if c.partition is active[0])
    files = files_in(content)
    if files is None or not files.is_file("/bootmgr"):
        return failed("the active partition has no bootmgr", content.where)
    return passed("MBR with bootmgr on its active partition: Gen1", content.where)


def _gen2(facts: Facts) -> Verdict:
    esp = facts.boot.esp
    if esp is None or facts.boot.esp_files is None:
        return failed("GPT without an EFI system partition that is read: neither generation starts it", "GPT")
    missing = [path for path in (GEN2_MANAGER,) if not facts.boot.esp_files.is_file(path)]
    if not facts.boot.loaders:
        missing.append("/EFI/Boot/bootx64.efi")
    if missing:
        return failed(f"{' and '.join(missing)} missing", esp.where)
    build = windows_of(facts).build
    if 0 < build < NT_6_2:
        return failed(f"build {build} does not start as Gen2, 2012 (build {NT_6_2}) and later do", esp.where)
    return passed("GPT with the Windows boot manager in its EFI system partition: Gen2", esp.where)


def _fix_generation(facts: Facts) -> Iterator[Edit]:
    """The boot manager in its place and where a firmware with empty variables looks, as by bcdboot."""
    esp, files = facts.boot.esp, facts.boot.esp_files
    target = next((path for path, name in LOADERS.items() if name == facts.architecture), None)
    if esp is None or files is None or target is None:
        return
    missing = [] if files.is_file(GEN2_MANAGER) else [GEN2_MANAGER]
    home, path = (facts.guest, SPARE_MANAGER) if missing else (files, GEN2_MANAGER)
    if not facts.boot.loaders:
        missing.append(target)
    if missing and home.is_file(path):
        data = home.read_bytes(path, MAX_MANAGER)
        yield from (Write(one, data, 0o755, esp.number) for one in missing)


def _hibernated(facts: Facts) -> Verdict:
    head = windows_of(facts).files.read_part(HIBERNATION_FILE, 0, 4)
    if head.upper() == b"HIBR":
        return failed("Windows is hibernated: its file systems are as they were in memory", HIBERNATION_FILE)
    if windows_of(facts).files.is_file(HIBERNATION_FILE):
        return warned("there is a file for hibernation, which Azure does not need", HIBERNATION_FILE)
    return passed("Windows was shut down, not hibernated")


def _fix_hibernated(facts: Facts) -> Iterator[Edit]:
    """Only a file that holds no session."""
    files = windows_of(facts).files
    if files.is_file(HIBERNATION_FILE) and files.read_part(HIBERNATION_FILE, 0, 4).upper() != b"HIBR":
        yield Remove(HIBERNATION_FILE)


def _bitlocker(facts: Facts) -> Verdict:
    locked = [c for c in facts.survey.contents if c.file_system and c.file_system.kind == "BitLocker"]
    if locked:
        return failed("the partition is encrypted with BitLocker", locked[0].where)
    return passed("no partition is encrypted with BitLocker")


def may_be_windows(facts: Facts) -> bool:
    kinds = [content.file_system.kind for content in facts.survey.contents if content.file_system]
    return has_windows(facts) or "BitLocker" in kinds


def _is_64bit(facts: Facts) -> Verdict:
    architecture = windows_of(facts).architecture
    where = "/Windows/System32/ntoskrnl.exe"
    if architecture in ("x86_64", "aarch64"):
        return passed(f"{architecture}", where)
    return failed(f"the kernel is for {architecture}" if architecture else "no kernel was found", where)


CHECKS = (
    Check(
        "win-hives",
        "the registry is whole",
        Severity.BOOT,
        "Windows stops at boot when it cannot load its registry",
        "msuhanov/regf Windows registry file format specification",
        has_windows,
        _hives,
        "start Windows once and shut it down (not hibernated), or restore the hive from a backup",
    ),
    Check(
        "win-generation",
        "the firmware finds the Windows boot manager",
        Severity.BOOT,
        "a Gen1 VM starts the active partition of an MBR, a Gen2 VM the loader in the EFI system partition; "
        "neither finds anything else",
        GENERATION,
        has_windows,
        _generation,
        "run `bcdboot C:\\Windows /s S: /f ALL`; `mbr2gpt` makes a Gen1 disk a Gen2 one, inside Windows",
        fix=_fix_generation,
    ),
    Check(
        "win-hibernated",
        "Windows is shut down",
        Severity.BOOT,
        "a session that was saved on another machine is resumed on Azure's, and stops",
        sources.PREPARE,
        has_windows,
        _hibernated,
        "run `powercfg /hibernate off` and shut Windows down",
        fix=_fix_hibernated,
    ),
    Check(
        "win-bitlocker",
        "no partition is encrypted with BitLocker",
        Severity.BOOT,
        "Azure's VM has another TPM or none, so the boot asks for a recovery key; Sysprep refuses too",
        sources.GENERALIZE,
        may_be_windows,
        _bitlocker,
        "run `manage-bde -off C:` and wait until it has decrypted everything",
    ),
    Check(
        "win-64bit",
        "Windows is 64-bit",
        Severity.CERTIFICATION,
        "the marketplace, and Azure's agent, take no 32-bit Windows",
        CERTIFICATION,
        has_windows,
        _is_64bit,
        "install a 64-bit Windows",
    ),
)

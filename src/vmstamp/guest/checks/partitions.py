"""Checks of the partition table, of the firmware's way to a loader, and of the file systems."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from vmstamp.disk.base import SECTOR
from vmstamp.disk.gpt_repair import mended_gpt
from vmstamp.disk.partitions import BIOS_BOOT
from vmstamp.guest.boot.uki import PortableExecutable, read_executable
from vmstamp.guest.checks import sources
from vmstamp.guest.edits import Edit, Patch, Write
from vmstamp.guest.facts import LOADERS, Facts, has_guest
from vmstamp.guest.files.fs import Content, Files, find_source, find_system, open_window
from vmstamp.guest.files.probe import OPAQUE, READ
from vmstamp.guest.files.xfs_log import find_unmounted
from vmstamp.guest.finding import Check, Severity, Verdict, failed, not_applicable, passed, warned

MIB = 1024 * 1024
ARCHITECTURES = ("x86_64", "aarch64")
# UEFI's suffix for the architecture; GRUB and shim use it in lower case.
SUFFIXES = {"x86_64": "x64", "aarch64": "aa64"}
MICROSOFT_CA = (b"Microsoft Corporation UEFI CA 2011", b"Microsoft UEFI CA 2023", b"Windows UEFI CA 2023",
                b"Microsoft Windows Production PCA 2011")  # fmt: skip
LOADER_LIMIT = 16 * MIB
CRYPTTAB = "/etc/crypttab"


def _partition_table(facts: Facts) -> Verdict:
    table = facts.survey.table
    if table is None:
        return failed(facts.survey.problem, "byte 0")
    if table.scheme is None:
        return failed("there is no partition table, so no firmware finds anything to start", "byte 0")
    if table.notes:
        return warned("; ".join(table.notes), table.scheme.upper())
    return passed(f"{table.scheme.upper()} with {len(table.partitions)} partitions")


def _fix_partition_table(facts: Facts) -> Iterator[Edit]:
    """The copies of a GPT, and its protective MBR, made of the copy that is whole; partitions stay."""
    return (
        Patch(at, data, f"the GPT's {_part_of_gpt(at, facts)}") for at, data in mended_gpt(facts.disk).items()
    )


def _part_of_gpt(at: int, facts: Facts) -> str:
    if at >= facts.disk.data_size // 2:
        return "backup"
    return {0: "protective MBR", SECTOR: "primary header"}.get(at, "primary entries")


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
    for path in boot.loaders:
        if not _has_second_stage(boot.esp_files, path):
            beside = f"grub{path[len('/EFI/BOOT/BOOT') : -len('.EFI')].lower()}.efi"
            return failed(f"{path} is shim, and {beside} is not beside it", where)
    machine = LOADERS[boot.loaders[0]]
    if facts.architecture in LOADERS.values() and facts.architecture not in map(LOADERS.get, boot.loaders):
        return failed(f"{boot.loaders[0]} is for {machine}, the guest is {facts.architecture}", where)
    return passed(", ".join(boot.loaders), where)


def _has_second_stage(esp: Files, loader: str) -> bool:
    """Whether the loader starts something: shim starts GRUB beside it, or what fallback's list names.

    Source: rhboot/shim shim.c start_image, fallback.c find_boot_csv
    """
    data = esp.read_bytes(loader, LOADER_LIMIT)
    suffix = loader[len("/EFI/BOOT/BOOT") : -len(".EFI")]
    names = {name.lower() for name in esp.list("/EFI/BOOT")}
    second = f"grub{suffix.lower()}.efi"
    if any(word.encode("utf-16-le") not in data for word in ("MokList", second)) or second in names:
        return True
    lists = (f"/EFI/{vendor}/BOOT{suffix}.CSV" for vendor in esp.list("/EFI"))
    return f"fb{suffix.lower()}.efi" in names and any(esp.is_file(path) for path in lists)


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
    """Of a disk that is to be generalized a dirty file system fails: what is left on it cannot be known."""
    for content in facts.survey.contents:
        if content.file_system is not None and content.file_system.dirty:
            return (failed if facts.target.without_identity else warned)(
                f"{content.file_system.dirty}; what is read here may be older than what the guest would see",
                content.where,
            )
        is_xfs = content.file_system is not None and content.file_system.kind == "xfs"
        if is_xfs and find_unmounted(open_window(facts.disk, content)) is False:
            return warned("its log was not replayed: what is read here may be older", content.where)
    return passed("every file system was unmounted cleanly")


def _boot_code(facts: Facts) -> Verdict:
    """GRUB's place of its core image leads to one; another boot program is not looked into."""
    table = facts.survey.table
    if table is None or not table.boot_code:
        return not_applicable("no BIOS boot program in sector 0")
    sector = facts.disk.read(0, SECTOR)
    if b"GRUB" not in sector:
        if table.scheme == "mbr" and sector[:440].strip(b"\0") and not _has_active(sector):
            return warned("no partition is active, and the boot program is not GRUB", "byte 446")
        return passed("a boot program that is not GRUB", "byte 0")
    place = struct.unpack_from("<Q", sector, 0x5C)[0] * SECTOR
    if not 0 < place <= facts.disk.size - SECTOR:
        return failed(f"GRUB's core image would be at byte {place}", "byte 92")
    if not any(facts.disk.read(place, SECTOR)):
        return failed("where GRUB's core image should be are zeros", f"byte {place}")
    home = next((part for part in table.partitions if part.start <= place < part.end), None)
    if home is not None and home.type_guid != BIOS_BOOT:
        return warned(f"GRUB's core image lies inside partition {home.number}", f"byte {place}")
    return passed("GRUB and its core image", f"byte {place}")


def _has_active(sector: bytes) -> bool:
    return any(sector[446 + 16 * index] == 0x80 for index in range(4))


# -- the EFI system partition


def _vendors(esp: Files) -> Iterator[str]:
    for name in esp.list("/EFI"):
        if name.upper() not in ("BOOT", "MICROSOFT", "LINUX") and esp.is_directory(f"/EFI/{name}"):
            yield f"/EFI/{name}"


def _esp_mount(facts: Facts) -> str | None:
    """Where the guest mounts its EFI system partition."""
    for mount in facts.fstab:
        if facts.boot.esp is not None and find_source(mount.source, facts.survey.contents) is facts.boot.esp:
            return mount.target.rstrip("/")
    return None


def _fix_gen2_esp(facts: Facts) -> Iterator[Edit]:
    """A copy of the vendor's shim, with what it starts beside it; of GRUB or systemd-boot without shim."""
    esp, base = facts.boot.esp_files, _esp_mount(facts)
    suffix = SUFFIXES.get(facts.architecture or "")
    if esp is None or base is None or suffix is None:
        return
    target = f"{base}/EFI/BOOT/BOOT{suffix.upper()}.EFI"
    for vendor in _vendors(esp):
        there = {name.lower(): f"{vendor}/{name}" for name in esp.list(vendor)}
        names = (f"shim{suffix}.efi", f"grub{suffix}.efi", f"systemd-boot{suffix}.efi")
        first = next((name for name in names if name in there), None)
        if first is None:
            continue
        yield Write(target, esp.read_bytes(there[first], LOADER_LIMIT), 0o755)
        beside = (f"grub{suffix}.efi", f"mm{suffix}.efi", "grub.cfg") if first == names[0] else ("grub.cfg",)
        for name in beside:
            if name in there:
                data = esp.read_bytes(there[name], LOADER_LIMIT)
                yield Write(f"{base}/EFI/BOOT/{name}", data, 0o755)
        return


_SEARCH = re.compile(r"^[ \t]*search(?:\.fs_uuid|[ \t].*--fs-uuid)[ \t]+(.*)$", re.MULTILINE)
_CONFIGFILE = re.compile(r"^[ \t]*configfile[ \t]+(\S+)", re.MULTILINE)
_PREFIX = re.compile(r"^[ \t]*set[ \t]+prefix=(\S+)", re.MULTILINE)


def _stubs(esp: Files) -> Iterator[tuple[str, str]]:
    for directory in ("/EFI/BOOT", *_vendors(esp)):
        path = f"{directory}/grub.cfg"
        text = esp.find_text(path, MIB)
        if text is not None and "menuentry" not in text:
            yield path, text


def _searched(text: str) -> list[str]:
    """The UUIDs that a stub searches for; options and the variable that is set are left out."""
    words = [word for line in _SEARCH.findall(text) for word in line.split()]
    return [word for word in words if re.fullmatch(r"[0-9A-Fa-f-]{9,36}", word)]


def _stub(facts: Facts) -> Verdict:
    esp = facts.boot.esp_files
    assert esp is not None
    seen = 0
    for path, text in _stubs(esp):
        seen += 1
        for uuid in _searched(text):
            if find_source(f"UUID={uuid}", facts.survey.contents) is None:
                return failed(f"it searches for {uuid}, which is not on this disk", path)
        leads_to = _CONFIGFILE.search(text)
        if (
            leads_to is not None
            and facts.files is not None
            and not _leads_somewhere(facts, text, leads_to[1])
        ):
            return failed(f"it leads to {leads_to[1]}, which is not there", path)
    if not seen:
        return not_applicable("no grub.cfg on the EFI system partition")
    return passed(f"{seen} of GRUB's stubs lead to this disk")


def _leads_somewhere(facts: Facts, text: str, target: str) -> bool:
    prefix = _PREFIX.search(text)
    path = re.sub(r"\$\{?prefix\}?", lambda _: prefix[1] if prefix else "$", target)
    path = path.replace("'", "").replace('"', "")
    path = re.sub(r"^\(\$?\{?\w*\}?\)", "", path)
    if "$" in path:
        return True
    tail = path.find("/boot/")
    candidates = (path, f"/boot{path}", f"/boot/efi{path}", path[tail:] if tail > 0 else path)
    return any(facts.guest.is_file(one) for one in candidates)


def _fix_stub(facts: Facts) -> Iterator[Edit]:
    """The UUID of the file system that has grub.cfg; only where each stub searches for one that is gone."""
    esp, base = facts.boot.esp_files, _esp_mount(facts)
    content = boot_content(facts)
    if esp is None or base is None or content is None or content.file_system is None:
        return
    for path, text in _stubs(esp):
        after = text
        for uuid in _searched(text):
            if find_source(f"UUID={uuid}", facts.survey.contents) is None:
                after = after.replace(uuid, content.file_system.uuid)
        if after != text:
            yield Write(f"{base}{path}", after.encode(), 0o755)


def boot_content(facts: Facts) -> Content | None:
    """The content that /boot lies on."""
    for mount in facts.fstab:
        if mount.target == "/boot":
            return find_source(mount.source, facts.survey.contents)
    return facts.survey.root


def _secure_boot(facts: Facts) -> Verdict:
    esp = facts.boot.esp_files
    assert esp is not None
    for path in facts.boot.loaders:
        image = _executable(esp, path)
        if image is None:
            return warned("the loader is no PE file", path)
        if not image.signed:
            return warned("the loader is not signed", path)
        data = esp.read_bytes(path, LOADER_LIMIT)
        if not any(name in data for name in MICROSOFT_CA):
            return warned("the loader is not signed by Microsoft's authority", path)
    for name in ("grubx64.efi", "grubaa64.efi"):
        image = _executable(esp, f"/EFI/BOOT/{name}")
        if image is not None and not image.signed:
            return warned("GRUB, which shim starts, is not signed", f"/EFI/BOOT/{name}")
    kernel = facts.boots.default if facts.files is not None else None
    if kernel is not None and kernel.path is not None:
        image = _executable(facts.guest, kernel.path)
        if image is not None and not image.signed:
            return warned("the kernel is not signed", kernel.path)
    return passed("the loader is signed by Microsoft's authority")


def _executable(files: Files, path: str) -> PortableExecutable | None:
    node = files.find(path)
    return read_executable(node) if node is not None else None


def _architecture(facts: Facts) -> Verdict:
    if facts.architecture is None:
        return warned("no program of the guest tells for which processor it is")
    if facts.architecture not in ARCHITECTURES:
        return failed(f"the guest is for {facts.architecture}; VMs are x86_64 or aarch64")
    kernel = facts.boots.default
    image = _executable(facts.guest, kernel.path) if kernel is not None and kernel.path else None
    if kernel is not None and image is not None and image.machine != facts.architecture:
        return failed(
            f"the kernel is for {image.machine}, the guest for {facts.architecture}", kernel.path or ""
        )
    return passed(f"the guest and its kernel are for {facts.architecture}")


def _single_root(facts: Facts) -> Verdict:
    roots = [content for content in facts.survey.contents if find_system(content) is not None]
    if len(roots) > 1:
        return warned(f"{len(roots)} systems: {', '.join(content.where for content in roots)}")
    return passed("one root")


def _encrypted(facts: Facts) -> Verdict:
    for content in facts.survey.contents:
        kind = content.file_system.kind if content.file_system else ""
        if kind in ("LUKS", "BitLocker"):
            return failed(f"{kind} encrypts it: nobody types the key at a boot on Azure", content.where)
    text = facts.files.find_text(CRYPTTAB, MIB) or "" if facts.files is not None else ""
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if len(fields) < 2 or fields[0].startswith("#"):
            continue
        options = fields[3].split(",") if len(fields) > 3 else []
        unattended = len(fields) > 2 and fields[2] in ("/dev/urandom", "/dev/random")
        if not unattended and "noauto" not in options and "nofail" not in options:
            return failed(f"{fields[0]} is to be opened at each boot", f"{CRYPTTAB}:{number}")
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
        fix=_fix_partition_table,
    ),
    Check(
        "gen1-boot-code",
        "BIOS finds GRUB's core image",
        Severity.BOOT,
        "a Gen1 VM starts the program in sector 0; without its second part it stops there",
        "GRUB grub-core/boot/i386/pc/boot.S",
        lambda facts: True,
        _boot_code,
        "run grub-install on the disk, in the guest",
        generations=(1,),
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
        generations=(2,),
        fix=_fix_gen2_esp,
    ),
    Check(
        "esp-grub-stub",
        "GRUB's stub leads to its menu",
        Severity.BOOT,
        "GRUB ends at its prompt when the file system that it searches for is absent",
        "Azure/ALAR efifix",
        lambda facts: facts.boot.esp_files is not None,
        _stub,
        "correct the UUID and the path in grub.cfg on the EFI system partition",
        generations=(2,),
        fix=_fix_stub,
    ),
    Check(
        "secureboot-chain",
        "the loader is signed for Secure Boot",
        Severity.BEST,
        "Trusted Launch, which is the default for new Gen2 VMs, starts signed loaders only",
        sources.GENERATION,
        lambda facts: bool(facts.boot.loaders),
        _secure_boot,
        "install shim and the signed GRUB (shim-signed), or use the security type Standard",
        generations=(2,),
    ),
    Check(
        "arch-match",
        "the guest is for a processor that Azure has",
        Severity.BOOT,
        "VMs are x86-64 or arm64; a kernel or programs for another processor do not start",
        sources.CERTIFICATION,
        has_guest,
        _architecture,
        "install the 64-bit distribution, with the kernel of its architecture",
    ),
    Check(
        "single-root-partition",
        "there is one root",
        Severity.CERTIFICATION,
        "the marketplace takes disks with one root only",
        sources.CERTIFICATION,
        has_guest,
        _single_root,
        "remove the other system's partition",
    ),
    Check(
        "root-fs-supported",
        "the root file system can be read",
        Severity.BEST,
        "what cannot be read here cannot be checked before the upload",
        "vmstamp",
        lambda facts: True,
        _root_file_system,
        "use ext4, XFS or btrfs, or check the guest by booting it",
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
)  # fmt: skip

"""What a boot loader of the guest offers: the entries of GRUB, systemd-boot, extlinux, unified kernels.

Spec: UAPI Boot Loader Specification, types 1 and 2; syslinux.zytor.com SYSLINUX, "Config".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmstamp.guest.boot.grub import (
    GRUB_1_MENUS,
    GRUB_CONFIGURATIONS,
    MAX_ENTRIES,
    TEXT_LIMIT,
    BootEntry,
    find_environment,
    parse_grub,
    parse_grub_1,
)
from vmstamp.guest.boot.uki import read_executable, read_section_text
from vmstamp.guest.files.fs import Files
from vmstamp.guest.files.fstab import CommandLine
from vmstamp.guest.system import version_key

BLS_ENTRIES = ("/boot/loader/entries", "/boot/efi/loader/entries", "/efi/loader/entries")
UNIFIED = ("/boot/efi/EFI/Linux", "/efi/EFI/Linux", "/boot/EFI/Linux")
EXTLINUX = ("/boot/extlinux/extlinux.conf", "/boot/extlinux.conf", "/boot/syslinux/syslinux.cfg")
MAX_IMAGES = 64


def find_boot_entries(files: Files, esp: Files | None = None) -> tuple[BootEntry, ...]:
    """All entries, first the first offered. `esp` are the EFI system partition's files, if it has any."""
    mounted = (*_bls_entries(files, BLS_ENTRIES), *_unified(files, UNIFIED))
    if not mounted and esp is not None:
        mounted = (*_bls_entries(esp, ("/loader/entries",)), *_unified(esp, ("/EFI/Linux",)))
    return (*mounted, *_grub_entries(files), *_extlinux_entries(files))


def _grub_entries(files: Files) -> Iterator[BootEntry]:
    there = False
    for path in GRUB_CONFIGURATIONS:
        text = files.find_text(path, TEXT_LIMIT)
        there = there or text is not None
        yield from parse_grub(text or "", path)
    for path in () if there else GRUB_1_MENUS:
        yield from parse_grub_1(files.find_text(path, TEXT_LIMIT) or "", path)


def _bls_entries(files: Files, directories: tuple[str, ...]) -> Iterator[BootEntry]:
    """Entries of type 1; `$kernelopts` and the like are GRUB's, from its environment block."""
    environment = find_environment(files)
    for directory in directories:
        names = [name for name in files.list(directory) if name.endswith(".conf")]
        for index, name in enumerate(sorted(names, key=version_key, reverse=True)[:MAX_ENTRIES]):
            path = f"{directory}/{name}"
            fields, line = parse_bls(files.find_text(path, 64 * 1024) or "")
            options = " ".join(fields.get("options", []))
            options = re.sub(r"\$\{?(\w+)\}?", lambda match: environment.get(match[1], ""), options)
            if "linux" in fields:
                initrds = tuple(one for value in fields.get("initrd", []) for one in value.split())
                title = " ".join(fields.get("title", []))
                yield BootEntry(
                    fields["linux"][0],
                    CommandLine(f"{path}:{line}" if line else path, options),
                    initrds,
                    (index,),
                    (title,),
                    (name.removesuffix(".conf"),),
                )


def parse_bls(text: str) -> tuple[dict[str, list[str]], int]:
    """An entry's fields, each with its values in order, and the line of its first options (0: none)."""
    fields: dict[str, list[str]] = {}
    options = 0
    for number, line in enumerate(text.splitlines(), 1):
        key, _, value = line.strip().replace("\t", " ").partition(" ")
        if key and not key.startswith("#"):
            fields.setdefault(key, []).append(value.strip())
            options = options or (number if key == "options" else 0)
    return fields, options


def _unified(files: Files, directories: tuple[str, ...]) -> Iterator[BootEntry]:
    """Entries of type 2: images with the sections .linux and .cmdline, and what addons beside them add."""
    for directory in directories:
        names = [name for name in files.list(directory) if name.lower().endswith(".efi")]
        for name in sorted(names, key=version_key, reverse=True)[:MAX_IMAGES]:
            path = f"{directory}/{name}"
            node = files.find(path)
            image = read_executable(node) if node is not None else None
            if image is None or ".linux" not in image.sections:
                continue
            text = [read_section_text(image, ".cmdline"), *_addons(files, f"{path}.extra.d")]
            words = " ".join(" ".join(text).split())
            yield BootEntry(path, CommandLine(path, words), (), (), (name,), (name,), image=path)


def _addons(files: Files, directory: str) -> Iterator[str]:
    for name in files.list(directory)[:MAX_IMAGES]:
        node = files.find(f"{directory}/{name}") if name.endswith(".addon.efi") else None
        image = read_executable(node) if node is not None else None
        if image is not None:
            yield read_section_text(image, ".cmdline")


def _extlinux_entries(files: Files) -> Iterator[BootEntry]:
    for path in EXTLINUX:
        entry: dict[str, str] = {}
        lines = (files.find_text(path, TEXT_LIMIT) or "").splitlines()
        for number, line in enumerate([*lines, "label"], 1):
            key, _, value = line.strip().replace("\t", " ").partition(" ")
            key = key.lower()
            if key == "label":
                if "linux" in entry:
                    where = CommandLine(entry.get("where", path), entry.get("append", ""))
                    initrds = tuple(entry.get("initrd", "").replace(",", " ").split())
                    yield BootEntry(entry["linux"], where, initrds, (), (entry["label"],), (entry["label"],))
                entry = {"label": value.strip()}
            elif key in ("linux", "kernel") and entry:
                entry["linux"] = value.strip()
            elif key in ("append", "initrd") and entry:
                entry[key] = value.strip()
                if key == "append":
                    entry["where"] = f"{path}:{number}"

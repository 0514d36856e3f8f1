"""GRUB's configuration: the entries of its menu, which of them is the default, its environment block.

grub.cfg is a script; only its lines are looked at, none is run: conditions count as true, variables other
than those of the environment block stay as they are. GRUB 1's menu.lst has `title`, `kernel` and `initrd`.
Spec: GRUB manual 2.12, "Writing your own configuration file", "Environment block"; GRUB Legacy manual.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vmstamp.guest.files.fs import Files
from vmstamp.guest.files.fstab import CommandLine

GRUB_CONFIGURATIONS = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg")
GRUB_ENVIRONMENTS = ("/boot/grub2/grubenv", "/boot/grub/grubenv")
GRUB_1_MENUS = ("/boot/grub/menu.lst", "/boot/grub/grub.conf")
GRUB_DEFAULTS = "/etc/default/grub"
GRUB_DEFAULTS_DIRECTORY = "/etc/default/grub.d"
ENVIRONMENT_SIZE = 1024  # bytes of an environment block
ENVIRONMENT_HEAD = "# GRUB Environment Block\n"
TEXT_LIMIT = 4 * 1024 * 1024
MAX_ENTRIES = 1000

_MENU = re.compile(r"\s*(menuentry|submenu)\s+(?:'([^']*)'|\"([^\"]*)\"|(\S+))(.*)\{\s*$")
_IDENTIFIER = re.compile(r"(?:--id|\$\{?menuentry_id_option\}?)[\s=]+(?:'([^']*)'|\"([^\"]*)\"|([^\s{]+))")
_KERNEL = re.compile(r"\s*linux(?:efi|16)?\s+(\S+)\s*(.*)$")
_INITRD = re.compile(r"\s*initrd(?:efi|16)?\s+(.*)$")
_DEFAULT = re.compile(r"^[ \t]*set[ \t]+default=(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class BootEntry:
    """An entry of a boot menu: paths as the boot loader sees them, and the kernel's command line.

    `place` are its number in the menu and in the submenus above it, `titles` and `identifiers` their names,
    its own last. `image` is the unified kernel image on the EFI system partition that the entry is; its
    `kernel` is that image's path too.
    """

    kernel: str
    command_line: CommandLine
    initrds: tuple[str, ...] = ()
    place: tuple[int, ...] = ()
    titles: tuple[str, ...] = ()
    identifiers: tuple[str, ...] = ()
    image: str = ""

    @property
    def is_rescue(self) -> bool:
        words = self.command_line.words
        return "single" in words or "rescue" in self.kernel

    @property
    def release(self) -> str:
        """The kernel's release by its file's name; '' when the name has none."""
        name = self.kernel.rsplit("/", 1)[-1]
        found = re.match(r"(?:vmlinu[xz]|Image(?:\.gz)?|kernel|bzImage)-(.+)$", name)
        return found[1] if found else ""


def parse_grub(text: str, path: str) -> Iterator[BootEntry]:
    """The entries of a grub.cfg that start a Linux, in their order."""
    blocks: list[str] = []  # what each open brace belongs to
    counts = [0]
    titles: list[str] = []
    names: list[str] = []
    open_entry: BootEntry | None = None
    found = 0
    for number, line in enumerate(text.splitlines(), 1):
        menu = _MENU.match(line)
        if menu is not None:
            identifier = _IDENTIFIER.search(menu[5])
            titles.append(_first(menu[2], menu[3], menu[4]))
            names.append(_first(*identifier.groups()) if identifier else "")
            counts[-1] += 1
            counts.append(0)
            blocks.append(menu[1])
        elif line.rstrip().endswith("{") and not line.strip().startswith("#"):
            blocks.append("")
        elif line.strip() == "}" and blocks:
            if blocks.pop():
                titles.pop(), names.pop(), counts.pop()
                if open_entry is not None:
                    yield open_entry
                open_entry = None
        elif (kernel := _KERNEL.match(line)) and ("vmlinu" in kernel[1] or "Image" in kernel[1]):
            if open_entry is not None:
                yield open_entry
            found += 1
            if found > MAX_ENTRIES:
                return
            place = tuple(count - 1 for count in counts[: len(titles)])
            where = CommandLine(f"{path}:{number}", kernel[2].strip())
            open_entry = BootEntry(kernel[1], where, (), place, tuple(titles), tuple(names))
        elif open_entry is not None and (initrd := _INITRD.match(line)):
            open_entry = _with_initrds(open_entry, tuple(initrd[1].split()))
    if open_entry is not None:
        yield open_entry


def _with_initrds(entry: BootEntry, initrds: tuple[str, ...]) -> BootEntry:
    return BootEntry(
        entry.kernel, entry.command_line, initrds, entry.place, entry.titles, entry.identifiers, entry.image
    )


def _first(*values: str | None) -> str:
    return next((value for value in values if value is not None), "")


def parse_grub_1(text: str, path: str) -> Iterator[BootEntry]:
    """The entries of GRUB 1's menu that start a Linux."""
    title, index = "", -1
    entry: BootEntry | None = None
    for number, line in enumerate(text.splitlines(), 1):
        key, _, value = line.strip().replace("\t", " ").partition(" ")
        value = value.strip()
        if key == "title":
            if entry is not None:
                yield entry
            title, index, entry = value, index + 1, None
        elif key == "kernel" and "vmlinu" in value and index < MAX_ENTRIES:
            kernel, _, options = value.partition(" ")
            where = CommandLine(f"{path}:{number}", options.strip())
            entry = BootEntry(kernel, where, (), (index,), (title,), ("",))
        elif key == "initrd" and entry is not None:
            entry = _with_initrds(entry, (value,))
    if entry is not None:
        yield entry


def find_environment(files: Files) -> dict[str, str]:
    """The variables of GRUB's environment block; {} when there is none."""
    path = find_environment_path(files)
    return parse_environment(files.find_text(path, 64 * 1024) or "") if path else {}


def find_environment_path(files: Files) -> str | None:
    return next((path for path in GRUB_ENVIRONMENTS if files.is_file(path)), None)


def parse_environment(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {key: value for key, equals, value in pairs if equals}


def format_environment(variables: dict[str, str]) -> bytes | None:
    """An environment block of these variables; None when they do not fit."""
    text = ENVIRONMENT_HEAD + "".join(f"{key}={value}\n" for key, value in variables.items())
    data = text.encode()
    return data.ljust(ENVIRONMENT_SIZE, b"#") if len(data) <= ENVIRONMENT_SIZE else None


def find_configuration(files: Files) -> tuple[str, str] | None:
    """(path, text) of the grub.cfg with a menu. On the EFI system partition, where older Red Hats keep it,
    a stub that only leads to another one is none.
    """
    for path in GRUB_CONFIGURATIONS:
        text = files.find_text(path, TEXT_LIMIT)
        if text is not None:
            return path, text
    for vendor in files.list("/boot/efi/EFI")[:32]:
        path = f"/boot/efi/EFI/{vendor}/grub.cfg"
        text = files.find_text(path, TEXT_LIMIT)
        if text is not None and ("blscfg" in text or "menuentry" in text):
            return path, text
    return None


def find_default(files: Files) -> str:
    """What GRUB starts when nobody chooses: a number, title or identifier, `>` between menus; '0' if unset.

    The last `set default=` of grub.cfg that is no one-time choice counts; `${saved_entry}` is the environment
    block's.
    """
    found = find_configuration(files)
    values = _DEFAULT.findall(found[1]) if found else []
    wanted = next((v.strip().strip("\"'") for v in reversed(values) if "next_entry" not in v), "0")
    if "saved_entry" in wanted:
        return find_environment(files).get("saved_entry", "") or "0"
    return wanted or "0"


def is_named(entry: BootEntry, wanted: str) -> bool:
    """Whether the default `wanted` starts this entry, or opens a menu above it."""
    parts = wanted.split(">")
    if len(parts) > len(entry.place):
        return wanted in entry.titles or wanted in entry.identifiers
    for depth, part in enumerate(parts):
        names = (entry.titles[depth], entry.identifiers[depth], str(entry.place[depth]))
        if part.strip() not in names:
            return False
    return True


def defaults_paths(files: Files) -> list[str]:
    """The files that grub-mkconfig reads, in their order."""
    drop_ins = [name for name in files.list(GRUB_DEFAULTS_DIRECTORY) if name.endswith(".cfg")]
    paths = [GRUB_DEFAULTS, *(f"{GRUB_DEFAULTS_DIRECTORY}/{name}" for name in drop_ins)]
    return [path for path in paths if files.is_file(path)]

"""Checks of Windows' boot configuration: what bootmgr starts, from where, and what it asks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID, uuid5

from vmstamp.disk.partitions import Partition
from vmstamp.errors import GuestError
from vmstamp.guest.checks.windows import sources
from vmstamp.guest.checks.windows.settings import show
from vmstamp.guest.edits import Edit, SetValue, Write
from vmstamp.guest.facts import Facts, has_windows
from vmstamp.guest.files.fs import Content, Files
from vmstamp.guest.finding import Check, Severity, Verdict, failed, not_applicable, passed, warned
from vmstamp.guest.windows.bcd import (
    ALLOWED_IN_MEMORY,
    APPLICATION_DEVICE,
    APPLICATION_PATH,
    BOOT,
    BOOT_LOADER_SETTINGS,
    BOOT_MANAGER,
    DEFAULT_OBJECT,
    DESCRIPTION,
    DISPLAY_ORDER,
    GLOBAL_SETTINGS,
    INHERIT,
    ISOLATED_CONTEXT,
    LOCATE,
    MANAGER,
    NX,
    OS_DEVICE,
    OS_LOADER,
    PARTITION,
    SYSTEM_ROOT,
    Device,
    Store,
    pack_device,
)
from vmstamp.guest.windows.hive import Hive

SUFFIXES = {1: ".exe", 2: ".efi"}
WINDOWS = r"\Windows"
LOADERS = {number: rf"{WINDOWS}\System32\winload{suffix}" for number, suffix in SUFFIXES.items()}
GEN2_MANAGER = "/EFI/Microsoft/Boot/bootmgfw.efi"
SPARE_MANAGER = "/Windows/Boot/EFI/bootmgfw.efi"  # of which bcdboot copies the boot manager
TEMPLATE = "/Windows/System32/config/BCD-Template"
MAX_TEMPLATE = 1024 * 1024  # bytes; Windows' own has 28,672
TIMEOUT = 5  # seconds that bootmgr's menu waits. Document: sources.PREPARE
OPT_OUT = 1  # of nx, as on servers. Spec: BcdLibrary_NxPolicy
IN_MEMORY = 0x15000075  # the element that the template for EFI allows in memory
# What makes a store the system's own, in its Description.
STORE_VALUES: tuple[tuple[str, str, int | str], ...] = (
    ("KeyName", "REG_SZ", "BCD00000000"),
    ("System", "REG_DWORD", 1),
    ("TreatAsSystem", "REG_DWORD", 1),
)
GEN1_STORE, GEN2_STORE = "/Boot/BCD", "/EFI/Microsoft/Boot/BCD"


@dataclass(frozen=True)
class FoundStore:
    """A BCD store: its path in the file system of `content`."""

    store: Store
    content: Content
    path: str
    generation: int


def find_store(facts: Facts) -> FoundStore | None:
    """The store that the firmware's boot manager reads. GuestError when its hive is damaged."""
    boot, table = facts.boot, facts.survey.table
    if table is not None and table.scheme == "gpt":
        content, files, path, generation = boot.esp, boot.esp_files, GEN2_STORE, 2
    else:
        active = (c for c in facts.survey.contents if c.partition is not None and c.partition.active)
        content = next(active, None)
        files, path, generation = files_in(content), GEN1_STORE, 1
    node = files.find(path) if files is not None else None
    if content is None or node is None:
        return None
    return FoundStore(Store(Hive(node, path, f"{content.where}: BCD")), content, path, generation)


def _bcd(facts: Facts) -> Verdict:
    found = find_store(facts)
    if found is None:
        return failed(
            f"neither {GEN2_STORE} (EFI system partition) nor {GEN1_STORE} (active partition) exists"
        )
    store, loader = found.store, found.store.default()
    if not loader:
        return failed(
            "bootmgr has no default and no display order", store.place(BOOT_MANAGER, APPLICATION_DEVICE)
        )
    if store.hive.find(f"Objects\\{loader}") is None:
        return failed(
            f"bootmgr's default {show(loader)} does not exist", f"{found.content.where}: {found.path}"
        )
    for element in (APPLICATION_DEVICE, OS_DEVICE):
        problem = _device_problem(facts, found, store.device(loader, element))
        if problem:
            name = "osdevice" if element == OS_DEVICE else "device"
            return failed(f"{name} {problem}", store.place(loader, element))
    path = store.text(loader, APPLICATION_PATH)
    suffix = SUFFIXES[found.generation]
    where = store.place(loader, APPLICATION_PATH)
    if not path.lower().endswith(suffix):
        return failed(
            f"the loader is {show(path) or 'not named'}, Gen{found.generation} needs winload{suffix}", where
        )
    if not facts.guest.is_file(path.replace("\\", "/")):
        return failed(f"the loader {show(path)} is not in the Windows partition", where)
    directory = store.text(loader, SYSTEM_ROOT)
    if directory.rstrip("\\").lower() not in ("", WINDOWS.lower()):
        return failed(f"systemroot is {show(directory)}, not {WINDOWS}", store.place(loader, SYSTEM_ROOT))
    return passed(f"bootmgr starts {show(path)} from the Windows partition", where)


def _is_started(facts: Facts, found: FoundStore, path: str) -> bool:
    """Whether this generation's firmware starts the loader, which is there."""
    return path.lower().endswith(SUFFIXES[found.generation]) and facts.guest.is_file(path.replace("\\", "/"))


def _device_problem(facts: Facts, found: FoundStore, device: Device | None) -> str:
    """Why the element does not name the Windows partition; '' when it does."""
    root = facts.survey.root
    if device is None:
        return "is missing"
    if device.kind == BOOT:
        return "" if found.content == root else "is the boot partition, Windows is on another"
    if device.kind == LOCATE:
        return ""
    if device.kind != PARTITION:
        return f"is {device.describe()}, no partition"
    target = _resolve(facts, device)
    if target is None:
        return f"is {device.describe()}: not on this disk"
    return "" if target == root else f"is {target.where}, Windows is on {root.where if root else 'none'}"


def _resolve(facts: Facts, device: Device) -> Content | None:
    disk = disk_identity(facts)
    for content in facts.survey.contents:
        part = content.partition
        if part is None or device.disk != disk:
            continue
        if device.partition == (part.unique_guid if isinstance(disk, UUID) else part.start):
            return content
    return None


def disk_identity(facts: Facts) -> UUID | int | None:
    """The GPT's disk GUID, or the MBR's disk signature."""
    table = facts.survey.table
    if table is None or table.scheme is None:
        return None
    if table.scheme == "gpt":
        return table.disk_guid
    return int.from_bytes(facts.disk.read(440, 4), "little")


def _fix_bcd(facts: Facts) -> Iterator[Edit]:
    """The loader that is started by default, its devices and its path, when the store has one for Windows."""
    found, root = find_store(facts), facts.survey.root
    disk = disk_identity(facts)
    if root is None or root.partition is None or disk is None:
        return
    if found is None:
        yield from _new_store(facts, root.partition)
        return
    store, loader = found.store, found.store.default()
    partition = root.partition.unique_guid if isinstance(disk, UUID) else root.partition.start
    if partition is None:
        return
    if not loader or store.hive.find(f"Objects\\{loader}") is None:
        loaders = list(store.loaders())
        fitting = [one for one in loaders if _is_ours(facts, found, one)]
        if store.kind(BOOT_MANAGER) != MANAGER or (len(loaders) != 1 and len(fitting) != 1):
            return
        loader = fitting[0] if len(fitting) == 1 else loaders[0]
        yield _set(facts, found, BOOT_MANAGER, DEFAULT_OBJECT, loader)
    path = LOADERS[found.generation]
    if _is_started(facts, found, path) and not _is_started(
        facts, found, store.text(loader, APPLICATION_PATH)
    ):
        yield _set(facts, found, loader, APPLICATION_PATH, path)
    if store.text(loader, SYSTEM_ROOT).rstrip("\\").lower() not in ("", WINDOWS.lower()):
        yield _set(facts, found, loader, SYSTEM_ROOT, WINDOWS)
    for element in (APPLICATION_DEVICE, OS_DEVICE):
        if _device_problem(facts, found, store.device(loader, element)):
            yield _set(facts, found, loader, element, pack_device(disk, partition))


def _is_ours(facts: Facts, found: FoundStore, loader: str) -> bool:
    """Whether the loader starts this Windows as it is."""
    path = found.store.text(loader, APPLICATION_PATH)
    devices = (found.store.device(loader, element) for element in (APPLICATION_DEVICE, OS_DEVICE))
    return _is_started(facts, found, path) and not any(_device_problem(facts, found, one) for one in devices)


def _new_store(facts: Facts, root: Partition) -> Iterator[Edit]:
    """A store for UEFI made as bcdboot makes it: of the template that every Windows carries.

    Without a template that is whole, and for BIOS, there are no edits: then bcdboot is to be run.
    """
    esp, files, disk = facts.boot.esp, facts.boot.esp_files, disk_identity(facts)
    if esp is None or esp.partition is None or files is None or not isinstance(disk, UUID):
        return
    boots = any(one.is_file(path) for one, path in ((files, GEN2_MANAGER), (facts.guest, SPARE_MANAGER)))
    template, ours, its = read_template(facts.guest), root.unique_guid, esp.partition.unique_guid
    if (
        not boots
        or ours is None
        or its is None
        or template is None
        or not facts.guest.is_file(LOADERS[2].replace("\\", "/"))
    ):
        return
    loader = f"{{{uuid5(ours, 'Windows Boot Loader')}}}"
    yield Write(GEN2_STORE, template, 0o755, esp.number)
    for name, kind, data in STORE_VALUES:
        yield SetValue(GEN2_STORE, "Description", name, kind, data, esp.number)
    key = f"Objects\\{loader}\\Description"
    yield SetValue(GEN2_STORE, key, "Type", "REG_DWORD", OS_LOADER, esp.number)
    windows = pack_device(disk, ours)
    elements: list[tuple[str, int, str | bytes | tuple[str, ...]]] = [
        (BOOT_MANAGER, APPLICATION_DEVICE, pack_device(disk, its)),
        (BOOT_MANAGER, APPLICATION_PATH, GEN2_MANAGER.replace("/", "\\")),
        (BOOT_MANAGER, DEFAULT_OBJECT, loader),
        (BOOT_MANAGER, DISPLAY_ORDER, (loader,)),
        (loader, APPLICATION_DEVICE, windows),
        (loader, APPLICATION_PATH, LOADERS[2]),
        (loader, DESCRIPTION, "Windows"),
        (loader, INHERIT, (BOOT_LOADER_SETTINGS,)),
        (loader, ISOLATED_CONTEXT, b"\1"),
        (loader, ALLOWED_IN_MEMORY, IN_MEMORY.to_bytes(8, "little")),
        (loader, OS_DEVICE, windows),
        (loader, SYSTEM_ROOT, WINDOWS),
        (loader, NX, OPT_OUT.to_bytes(8, "little")),
        *(
            (BOOT_MANAGER if option.manager else loader, option.element, option.data())
            for option in OPTIONS
            if option.absent not in option.good
        ),
    ]
    for identifier, element, content in elements:
        key = f"Objects\\{identifier}\\Elements\\{element:08x}"
        yield SetValue(GEN2_STORE, key, "Element", _kind(content), content, esp.number)


def _kind(content: str | bytes | tuple[str, ...]) -> str:
    """The registry type of an element's content."""
    if isinstance(content, tuple):
        return "REG_MULTI_SZ"
    return "REG_SZ" if isinstance(content, str) else "REG_BINARY"


def read_template(files: Files) -> bytes | None:
    """The template's bytes, when it is a store that is whole and has what a new one inherits."""
    node = files.find(TEMPLATE)
    if node is None or not 0 < node.size <= MAX_TEMPLATE:
        return None
    try:
        hive = Hive(node, TEMPLATE, "BCD-Template")
        store = Store(hive)
        whole = not hive.notes and store.kind(BOOT_MANAGER) == MANAGER
        inherited = all(store.kind(one) is not None for one in (BOOT_LOADER_SETTINGS, GLOBAL_SETTINGS))
    except GuestError:
        return None
    return files.read_bytes(TEMPLATE, MAX_TEMPLATE) if whole and inherited else None


def _set(facts: Facts, found: FoundStore, identifier: str, element: int, data: bytes | str) -> Edit:
    """An element set in the store, which lies in the Windows partition itself or in another."""
    number = 0 if found.content == facts.survey.root else found.content.number
    return SetValue(found.path, found.store.key(identifier, element), "Element", _kind(data), data, number)


@dataclass(frozen=True)
class Option:
    """An element of the loader (or of bootmgr), the values it may have, and its default or None."""

    name: str
    element: int
    good: tuple[int, ...]
    absent: int | None = None
    manager: bool = False

    def data(self) -> bytes:
        """The value that a fix sets, as the element's format has it."""
        value = TIMEOUT if self.name == "timeout" else self.good[0]
        return value.to_bytes(1 if self.element >> 24 & 0xF == 6 else 8, "little")


# Spec: BcdLibraryElementTypes, BcdOSLoaderElementTypes, BcdBootMgrElementTypes; the values: sources.PREPARE
OPTIONS = (
    Option("nointegritychecks", 0x16000048, (0,), 0),
    Option("integrityservices", 0x1500004B, (1, 0), 0),  # 0: as the firmware has it, 2: disabled
    Option("integrityservices of bootmgr", 0x1500004B, (1, 0), 0, manager=True),
    Option("testsigning", 0x16000049, (0,), 0),
    Option("recoveryenabled", 0x16000009, (0,), 1),
    Option("bootstatuspolicy", 0x250000E0, (1,), 0),
    Option("ems", 0x260000B0, (1,), 0),
    Option("bootems", 0x16000020, (1,), 0, manager=True),
    Option("displaybootmenu", 0x26000020, (1,), 0, manager=True),
    Option("timeout", 0x25000004, tuple(range(3, 31)), manager=True),
    Option("emsport", 0x15000022, (1,)),
    Option("emsbaudrate", 0x15000023, (115_200,)),
)


def _wrong_options(facts: Facts, found: FoundStore) -> Iterator[tuple[Option, str, int | None]]:
    loader = found.store.default()
    for option in OPTIONS:
        identifier = BOOT_MANAGER if option.manager else loader
        value = found.store.number(identifier, option.element) if identifier else None
        value = option.absent if value is None else value
        if value not in option.good:
            yield option, identifier, value


def _bcd_options(facts: Facts) -> Verdict:
    found = find_store(facts)
    if found is None:
        return not_applicable("no BCD store")
    wrong = list(_wrong_options(facts, found))
    if not wrong:
        return passed("the boot goes on without a question, and shows itself on COM1")
    text = ", ".join(
        f"{option.name} is {'not set' if value is None else value}" for option, _, value in wrong
    )
    return warned(text, found.store.place(wrong[0][1], wrong[0][0].element))


def _fix_bcd_options(facts: Facts) -> Iterator[Edit]:
    found = find_store(facts)
    if found is None:
        return
    for option, identifier, _ in _wrong_options(facts, found):
        if identifier:
            yield _set(facts, found, identifier, option.element, option.data())


def files_in(content: Content | None) -> Files | None:
    return Files({"/": content.volume}) if content is not None and content.volume is not None else None


CHECKS = (
    Check(
        "win-bcd",
        "the boot configuration names this Windows",
        Severity.BOOT,
        "bootmgr shows error 0xc000000e or 0xc0000225 and stops",
        sources.PREPARE,
        has_windows,
        _bcd,
        'run `bcdedit /set "{default}" device partition=C:` and the same with osdevice; where the store is '
        "gone or has no boot manager, `bcdboot C:\\Windows /s S: /f UEFI` (Gen1: /f BIOS) in Windows' "
        "recovery, or with the disk attached to another Windows, S: being the boot partition",
        fix=_fix_bcd,
    ),
    Check(
        "win-bcd-options",
        "the boot asks nobody and shows itself on the serial console",
        Severity.BEST,
        "after a failed boot Windows waits in its recovery menu, where nobody is; without EMS the serial "
        "console is empty",
        sources.PREPARE,
        has_windows,
        _bcd_options,
        "in Windows run the document's `bcdedit /set` of each option named",
        fix=_fix_bcd_options,
    ),
)

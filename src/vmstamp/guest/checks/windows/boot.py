"""Checks of how a Windows starts: firmware, boot configuration, drivers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from vmstamp.errors import GuestError
from vmstamp.guest.checks.sources import CERTIFICATION, GENERATION
from vmstamp.guest.checks.windows import sources
from vmstamp.guest.checks.windows.settings import (
    Setting,
    edits_of,
    judge_settings,
    service,
    settings_check,
    show,
    windows_of,
)
from vmstamp.guest.edits import DeleteValue, Edit, Remove, SetValue
from vmstamp.guest.facts import Facts, has_windows
from vmstamp.guest.files.fs import Content, Files
from vmstamp.guest.finding import Check, Severity, Status, Verdict, failed, not_applicable, passed, warned
from vmstamp.guest.windows.bcd import (
    APPLICATION_DEVICE,
    APPLICATION_PATH,
    BOOT,
    BOOT_MANAGER,
    LOCATE,
    OS_DEVICE,
    PARTITION,
    Device,
    Store,
    pack_device,
)
from vmstamp.guest.windows.hive import Hive
from vmstamp.guest.windows.system import SAM_HIVE, SOFTWARE_HIVE, SYSTEM_HIVE, Windows, pe_machine

SERVICES = r"CurrentControlSet\Services"
CLASSES = r"CurrentControlSet\Control\Class"
GEN1_STORE, GEN2_STORE = "/Boot/BCD", "/EFI/Microsoft/Boot/BCD"
GEN2_MANAGER = "/EFI/Microsoft/Boot/bootmgfw.efi"
HIBERNATION_FILE = "/hiberfil.sys"
NT_6_2 = 9200  # Windows Server 2012 and Windows 8
NT_6_3 = 9600

# Service: the Start values that boot, and whether every Windows must have it. Spec: sources.REPAIR
DRIVERS: dict[str, tuple[tuple[int, ...], bool]] = {
    "acpi": ((0,), True),
    "pci": ((0,), True),
    "vdrvroot": ((0, 1, 3), True),
    "vmbus": ((0,), True),
    "storvsc": ((0,), True),
    "disk": ((0,), True),
    "partmgr": ((0, 1), True),
    "volmgr": ((0,), True),
    "mountmgr": ((0,), True),
    "volsnap": ((0, 1, 3), True),
}
IDE_DRIVERS: dict[str, tuple[tuple[int, ...], bool]] = {
    "intelide": ((0,), False),
    "pciide": ((0,), False),
    "atapi": ((0,), False),
    "storahci": ((0,), False),
}
OTHER_DRIVERS = ("netvsc", "storflt")
LIBRARY = "storport"  # storvsc is linked with it; it need not be a service
OVERRIDDEN = ("vmbus", "storvsc")  # must start whatever StartOverride says
STORAGE_CLASSES = {
    "DiskDrive": "{4d36e967-e325-11ce-bfc1-08002be10318}",
    "HDC": "{4d36e96a-e325-11ce-bfc1-08002be10318}",
    "SCSIAdapter": "{4d36e97b-e325-11ce-bfc1-08002be10318}",
    "System": "{4d36e97d-e325-11ce-bfc1-08002be10318}",
    "Volume": "{71a27cdd-812a-11d0-bec7-08002be2092f}",
}
# What older Hyper-V called its ACPI devices, and what newer hosts call them.
ACPI_DEVICES = {"VMBus": "MSFT1000", "Hyper_V_Gen_Counter_V1": "MSFT1002"}


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
    files = _files(content)
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


def _files(content: Content | None) -> Files | None:
    return Files({"/": content.volume}) if content is not None and content.volume is not None else None


# --- boot configuration


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
        files, path, generation = _files(content), GEN1_STORE, 1
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
    suffix = ".efi" if found.generation == 2 else ".exe"
    where = store.place(loader, APPLICATION_PATH)
    if not path.lower().endswith(suffix):
        return failed(
            f"the loader is {show(path) or 'not named'}, Gen{found.generation} needs winload{suffix}", where
        )
    if not facts.guest.is_file(path.replace("\\", "/")):
        return failed(f"the loader {show(path)} is not in the Windows partition", where)
    return passed(f"bootmgr starts {show(path)} from the Windows partition", where)


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
    """Devices that name another partition; only in a store that lies in the Windows partition itself."""
    found, root = find_store(facts), facts.survey.root
    disk = disk_identity(facts)
    if found is None or root is None or root.partition is None or found.content != root or disk is None:
        return
    store, loader = found.store, found.store.default()
    partition = root.partition.unique_guid if isinstance(disk, UUID) else root.partition.start
    if not loader or partition is None or store.hive.find(f"Objects\\{loader}") is None:
        return
    for element in (APPLICATION_DEVICE, OS_DEVICE):
        if _device_problem(facts, found, store.device(loader, element)):
            data = pack_device(disk, partition)
            yield SetValue(found.path, store.key(loader, element), "Element", "REG_BINARY", data)


@dataclass(frozen=True)
class Option:
    """An element of the loader (or of bootmgr), the values it may have, and its default or None."""

    name: str
    element: int
    good: tuple[int, ...]
    absent: int | None = None
    manager: bool = False


# Spec: BcdLibraryElementTypes, BcdOSLoaderElementTypes, BcdBootMgrElementTypes; the values: sources.PREPARE
OPTIONS = (
    Option("nointegritychecks", 0x16000048, (0,), 0),
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
    if found is None or found.content != facts.survey.root:
        return
    for option, identifier, _ in _wrong_options(facts, found):
        if identifier:
            value = 5 if option.name == "timeout" else option.good[0]
            data = value.to_bytes(1 if option.element >> 24 & 0xF == 6 else 8, "little")
            key = found.store.key(identifier, option.element)
            yield SetValue(found.path, key, "Element", "REG_BINARY", data)


# --- drivers


def _driver_settings(facts: Facts) -> Iterator[Setting]:
    windows = windows_of(facts)
    table = facts.survey.table
    gen1 = table is None or table.scheme != "gpt"
    for name, (starts, required) in {**DRIVERS, **(IDE_DRIVERS if gen1 else {})}.items():
        present = windows.has_key("SYSTEM", f"{SERVICES}\\{name}")
        if present or required:
            yield service(name, *starts, absent=not required, fails=True)
    for name in OVERRIDDEN:
        key = windows.hive("SYSTEM").find(windows.key_path("SYSTEM", f"{SERVICES}\\{name}\\StartOverride"))
        for value in key.values() if key is not None else ():
            path = f"{SERVICES}\\{name}\\StartOverride"
            yield Setting("SYSTEM", path, value.name, (0,), fails=True)


def _boot_services(facts: Facts) -> Verdict:
    settings = list(_driver_settings(facts))
    return judge_settings(windows_of(facts), settings, f"{len(settings)} drivers start with the kernel")


def _fix_boot_services(facts: Facts) -> Iterator[Edit]:
    """Start values; a service whose key is missing needs more than that."""
    windows = windows_of(facts)
    for setting in _driver_settings(facts):
        if setting.problem(windows) and windows.has_key("SYSTEM", setting.key):
            yield setting.edit(windows)


def driver_path(windows: Windows, name: str) -> str:
    """The file of a driver's service, by its ImagePath or its name."""
    image = windows.text("SYSTEM", f"{SERVICES}\\{name}", "ImagePath").split("\0")[0]
    path = image.replace("\\", "/").strip('" ')
    path = re.sub(r"^(/\?\?/)?[A-Za-z]:/", "/", path)
    path = re.sub(r"^(/SystemRoot|%SystemRoot%|%windir%)/", "/Windows/", path, flags=re.IGNORECASE)
    if not path:
        return f"/Windows/System32/drivers/{name}.sys"
    return path if path.startswith("/") else f"/Windows/{path}"


def _driver_files(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    names = [n for n in (*DRIVERS, *OTHER_DRIVERS) if windows.has_key("SYSTEM", f"{SERVICES}\\{n}")]
    names += [LIBRARY] if LIBRARY not in names else []
    for name in names:
        path = driver_path(windows, name)
        if not windows.files.is_file(path):
            return failed(f"the driver of {name} is missing", path)
        machine = pe_machine(windows.files, path)
        if machine is None:
            return failed(f"the driver of {name} is no program", path)
        if windows.architecture is not None and machine != windows.architecture:
            return failed(f"the driver of {name} is for {machine}, Windows for {windows.architecture}", path)
    return passed(f"{len(names)} drivers are there, for {windows.architecture}", "/Windows/System32/drivers")


def filter_problem(windows: Windows, name: str) -> str:
    """Why a filter driver cannot be started; '' when it can."""
    key = f"{SERVICES}\\{name}"
    if not windows.has_key("SYSTEM", key):
        return "is no service"
    if windows.number("SYSTEM", key, "Start") == 4:
        return "is disabled"
    path = driver_path(windows, name)
    node = windows.files.find(path)
    if node is None or not node.size:
        return "has no driver file"
    return ""


def class_filters(windows: Windows) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """Class, key, value and its filters, of the classes in the way of the disk."""
    for name, guid in STORAGE_CLASSES.items():
        for value in ("UpperFilters", "LowerFilters"):
            filters = windows.texts("SYSTEM", f"{CLASSES}\\{guid}", value)
            if filters:
                yield name, f"{CLASSES}\\{guid}", value, filters


def _class_filters(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    count = 0
    for name, key, value, filters in class_filters(windows):
        for one in filters:
            problem = filter_problem(windows, one)
            if problem:
                place = windows.place("SYSTEM", key, value)
                return failed(f"the filter {show(one)} of class {name} {problem}", place)
            count += 1
    return passed(f"{count} filters of storage classes, each with its driver")


def _fix_class_filters(facts: Facts) -> Iterator[Edit]:
    windows = windows_of(facts)
    for _, key, value, filters in class_filters(windows):
        kept = tuple(one for one in filters if not filter_problem(windows, one))
        if kept == filters:
            continue
        path = windows.key_path("SYSTEM", key)
        if kept:
            yield SetValue(SYSTEM_HIVE, path, value, "REG_MULTI_SZ", kept)
        else:
            yield DeleteValue(SYSTEM_HIVE, path, value)


def _acpi(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    for old, new in ACPI_DEVICES.items():
        key = rf"CurrentControlSet\Enum\ACPI\{old}"
        other = rf"CurrentControlSet\Enum\ACPI\{new}"
        if windows.has_key("SYSTEM", key) and not windows.has_key("SYSTEM", other):
            return failed(f"{old} is known, {new} of newer hosts is not", windows.place("SYSTEM", key))
    return passed("the ACPI devices of newer hosts are known")


def is_2012(facts: Facts) -> bool:
    try:
        return facts.windows is not None and facts.windows.build in (NT_6_2, NT_6_3)
    except GuestError:
        return False


def _nvme(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    key = f"{SERVICES}\\stornvme"
    if 0 < windows.build < 10_240:
        return warned(f"build {windows.build} is not among those that Azure supports on NVMe")
    if windows.number("SYSTEM", key, "Start") != 0:
        return failed("stornvme does not start with the kernel", windows.place("SYSTEM", key, "Start"))
    places = (f"{key}\\Parameters", f"{key}\\Parameters\\Device")
    timeouts = [t for place in places if (t := windows.number("SYSTEM", place, "IoTimeoutValue")) is not None]
    if not timeouts or min(timeouts) < 240:
        found = f"IoTimeoutValue is {min(timeouts)}" if timeouts else "IoTimeoutValue is not set"
        return warned(f"{found}, Azure's is 240 s", windows.place("SYSTEM", places[0], "IoTimeoutValue"))
    return passed("stornvme starts with the kernel and waits 240 s", windows.place("SYSTEM", key))


def _fix_nvme(facts: Facts) -> Iterator[Edit]:
    windows = windows_of(facts)
    key = f"{SERVICES}\\stornvme"
    if windows.build < 10_240 or not windows.has_key("SYSTEM", key):
        return
    yield from edits_of(windows, (service("stornvme", 0, absent=False),))
    if _nvme(facts).status is not Status.PASS:
        timeout = Setting("SYSTEM", f"{key}\\Parameters", "IoTimeoutValue", (240,), absent=False)
        yield from edits_of(windows, (timeout,))


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
    ),
    Check(
        "win-bcd",
        "the boot configuration names this Windows",
        Severity.BOOT,
        "bootmgr shows error 0xc000000e or 0xc0000225 and stops",
        sources.PREPARE,
        has_windows,
        _bcd,
        'run `bcdedit /set "{default}" device partition=C:` and the same with osdevice, or bcdboot',
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
        "run the bcdedit commands of the document",
        fix=_fix_bcd_options,
    ),
    Check(
        "win-boot-services",
        "the drivers of Hyper-V's disks start with the kernel",
        Severity.BOOT,
        "stop error 0x7B, INACCESSIBLE_BOOT_DEVICE",
        sources.REPAIR,
        has_windows,
        _boot_services,
        "set each Start value to 0 in the registry",
        fix=_fix_boot_services,
    ),
    Check(
        "win-driver-files",
        "the drivers of Hyper-V's disks are there",
        Severity.BOOT,
        "stop error 0x7B, or a boot loader that refuses a driver of another architecture",
        sources.REPAIR,
        has_windows,
        _driver_files,
        "run `dism /Image:C:\\ /Cleanup-Image /RestoreHealth`, or copy the file from the same build",
    ),
    Check(
        "win-class-filters",
        "every filter of the storage classes can be loaded",
        Severity.BOOT,
        "a filter of a backup, antivirus or hypervisor tool that was removed stops the disk: error 0x7B",
        sources.REPAIR,
        has_windows,
        _class_filters,
        "take the filter out of UpperFilters or LowerFilters",
        fix=_fix_class_filters,
    ),
    Check(
        "win-acpi-enum-2012",
        "Windows 2012 knows the ACPI devices of newer hosts",
        Severity.BOOT,
        "stop error 0x7B: newer Hyper-V hosts name the VMBus MSFT1000",
        sources.REPAIR,
        is_2012,
        _acpi,
        r"copy the key: `reg copy HKLM\SYSTEM\ControlSet001\Enum\ACPI\VMBus ...\MSFT1000 /s`, and "
        r"Hyper_V_Gen_Counter_V1 to MSFT1002",
        generations=(1,),
    ),
    Check(
        "win-nvme",
        "the disk is found on sizes with NVMe",
        Severity.BEST,
        "on VM sizes with NVMe disks Windows stops with 0x7B, or gives up on a disk that Azure still repairs",
        sources.NVME,
        has_windows,
        _nvme,
        "set stornvme's Start to 0 and its Parameters\\IoTimeoutValue to 240",
        generations=(2,),
        fix=_fix_nvme,
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
    settings_check(
        "win-san-policy",
        "new disks come online",
        Severity.BEST,
        "data disks stay offline in every new VM until somebody brings them online",
        sources.PREPARE,
        (Setting("SYSTEM", rf"{SERVICES}\partmgr\Parameters", "SanPolicy", (1, 2)),),
        "the SAN policy brings new disks online",
        "run `diskpart` and `san policy=onlineall`",
    ),
)

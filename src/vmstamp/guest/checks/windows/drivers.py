"""Checks of the drivers that Windows starts with: Hyper-V's, the filters in their way, NVMe."""

from __future__ import annotations

import re
from collections.abc import Iterator

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
from vmstamp.guest.edits import DeleteValue, Edit, SetValue
from vmstamp.guest.facts import Facts, has_windows
from vmstamp.guest.finding import Check, Severity, Status, Verdict, failed, passed, warned
from vmstamp.guest.windows.pe import find_imports
from vmstamp.guest.windows.system import SYSTEM_HIVE, Windows, pe_machine

SERVICES = r"CurrentControlSet\Services"
CLASSES = r"CurrentControlSet\Control\Class"
ACPI = r"CurrentControlSet\Enum\ACPI"
BUSES = ("pci", "vmbus")
MAX_DEVICES = 200  # of a kind, and kinds

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
    "storport": ((0,), False),
}
# Services that can be made of the driver alone: their load order group. Spec: sources.REPAIR
REMADE = {
    "pci": "Boot Bus Extender",
    "disk": "SCSI Class",
    "partmgr": "Boot Bus Extender",
    "volmgr": "System Bus Extender",
}
CRITICAL_ERROR = 3  # ErrorControl of a driver without which Windows does not start
KERNEL_DRIVER = 1  # Type
IDE_DRIVERS: dict[str, tuple[tuple[int, ...], bool]] = {
    "intelide": ((0,), False),
    "pciide": ((0,), False),
    "atapi": ((0,), False),
    "storahci": ((0,), False),
}
OTHER_DRIVERS = ("netvsc", "storflt")
LIBRARY = "storport"  # storvsc is linked with it; it need not be a service
LIBRARIES = ("/Windows/System32/drivers", "/Windows/System32")
WINDOWS_10, SERVER_2019 = 10_240, 17_763  # builds
OVERRIDDEN = ("vmbus", "storvsc")  # must start whatever StartOverride says
STORAGE_CLASSES = {
    "DiskDrive": "{4d36e967-e325-11ce-bfc1-08002be10318}",
    "HDC": "{4d36e96a-e325-11ce-bfc1-08002be10318}",
    "SCSIAdapter": "{4d36e97b-e325-11ce-bfc1-08002be10318}",
    "System": "{4d36e97d-e325-11ce-bfc1-08002be10318}",
    "Volume": "{71a27cdd-812a-11d0-bec7-08002be2092f}",
}


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
    """Start values, and the services that can be made anew of a driver that is there."""
    windows = windows_of(facts)
    for setting in _driver_settings(facts):
        if setting.problem(windows) and windows.has_key("SYSTEM", setting.key):
            yield setting.edit(windows)
    for name, group in REMADE.items():
        if not windows.has_key("SYSTEM", f"{SERVICES}\\{name}") and not driver_problem(windows, name):
            yield from _new_service(windows, name, group)


def _new_service(windows: Windows, name: str, group: str) -> Iterator[Edit]:
    key = windows.key_path("SYSTEM", f"{SERVICES}\\{name}")
    numbers = {"Type": KERNEL_DRIVER, "Start": DRIVERS[name][0][0], "ErrorControl": CRITICAL_ERROR}
    for value, number in numbers.items():
        yield SetValue(SYSTEM_HIVE, key, value, "REG_DWORD", number)
    yield SetValue(SYSTEM_HIVE, key, "ImagePath", "REG_EXPAND_SZ", rf"System32\drivers\{name}.sys")
    yield SetValue(SYSTEM_HIVE, key, "Group", "REG_SZ", group)


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
        problem = driver_problem(windows, name) or _missing_library(windows, name)
        if problem:
            return failed(problem, driver_path(windows, name))
    return passed(f"{len(names)} drivers are there, for {windows.architecture}", "/Windows/System32/drivers")


def driver_problem(windows: Windows, name: str) -> str:
    """Why the service's driver cannot be loaded; '' when it can."""
    path = driver_path(windows, name)
    if not windows.files.is_file(path):
        return f"the driver of {name} is missing"
    machine = pe_machine(windows.files, path)
    if machine is None:
        return f"the driver of {name} is no program"
    if windows.architecture is not None and machine != windows.architecture:
        return f"the driver of {name} is for {machine}, Windows for {windows.architecture}"
    return ""


def _missing_library(windows: Windows, name: str) -> str:
    """The driver that this one is linked with and that is not there, as vmbus with winhv; '' for none."""
    for library in find_imports(windows.files, driver_path(windows, name)):
        if not library.lower().endswith(".sys") or "/" in library or "\\" in library:
            continue  # the kernel and its libraries, which the loader brings along
        if not any(windows.files.is_file(f"{directory}/{library}") for directory in LIBRARIES):
            return f"the driver of {name} is linked with {show(library)}, which is missing"
    return ""


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
    """Class or device, key, value and its filters, of what is in the way of the disk."""
    keys = [(f"class {name}", f"{CLASSES}\\{guid}") for name, guid in STORAGE_CLASSES.items()]
    for name, key in (*keys, *_bus_devices(windows)):
        for value in ("UpperFilters", "LowerFilters"):
            filters = windows.texts("SYSTEM", key, value)
            if filters:
                yield name, key, value, filters


def _bus_devices(windows: Windows) -> Iterator[tuple[str, str]]:
    """The ACPI devices that are the buses of the disk, each with its key."""
    for device in windows.subkeys("SYSTEM", ACPI)[:MAX_DEVICES]:
        for instance in windows.subkeys("SYSTEM", rf"{ACPI}\{device}")[:MAX_DEVICES]:
            key = rf"{ACPI}\{device}\{instance}"
            if windows.text("SYSTEM", key, "Service").lower() in BUSES:
                yield f"device {show(device)}", key


def _class_filters(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    count = 0
    for name, key, value, filters in class_filters(windows):
        for one in filters:
            problem = filter_problem(windows, one)
            if problem:
                place = windows.place("SYSTEM", key, value)
                return failed(f"the filter {show(one)} of {name} {problem}", place)
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


def _nvme(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    key = f"{SERVICES}\\stornvme"
    if not _knows_nvme(windows):
        return warned(f"build {windows.build} is not among those that Azure supports on NVMe")
    if windows.number("SYSTEM", key, "Start") != 0:
        return failed("stornvme does not start with the kernel", windows.place("SYSTEM", key, "Start"))
    places = (f"{key}\\Parameters", f"{key}\\Parameters\\Device")
    timeouts = [t for place in places if (t := windows.number("SYSTEM", place, "IoTimeoutValue")) is not None]
    if not timeouts or min(timeouts) < 240:
        found = f"IoTimeoutValue is {min(timeouts)}" if timeouts else "IoTimeoutValue is not set"
        return warned(f"{found}, Azure's is 240 s", windows.place("SYSTEM", places[0], "IoTimeoutValue"))
    return passed("stornvme starts with the kernel and waits 240 s", windows.place("SYSTEM", key))


def _knows_nvme(windows: Windows) -> bool:
    """Windows 10 and 11, Windows Server 2019 and later. Spec: sources.NVME"""
    return not 0 < windows.build < (SERVER_2019 if windows.is_server else WINDOWS_10)


def _fix_nvme(facts: Facts) -> Iterator[Edit]:
    windows = windows_of(facts)
    key = f"{SERVICES}\\stornvme"
    if not _knows_nvme(windows) or not windows.has_key("SYSTEM", key):
        return
    yield from edits_of(windows, (service("stornvme", 0, absent=False),))
    if _nvme(facts).status is not Status.PASS:
        timeout = Setting("SYSTEM", f"{key}\\Parameters", "IoTimeoutValue", (240,), absent=False)
        yield from edits_of(windows, (timeout,))


CHECKS = (
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

"""Checks of the devices that a Windows knows: those of Hyper-V must find their drivers at the first boot."""

from __future__ import annotations

from collections.abc import Iterator

from vmstamp.errors import GuestError
from vmstamp.guest.checks.windows import sources
from vmstamp.guest.checks.windows.drivers import SERVICES, driver_path
from vmstamp.guest.checks.windows.settings import windows_of
from vmstamp.guest.edits import CopyKey, Edit, SetValue
from vmstamp.guest.facts import Facts
from vmstamp.guest.finding import Check, Severity, Status, Verdict, failed, passed
from vmstamp.guest.windows.system import SYSTEM_HIVE

NT_6_2, NT_6_3 = 9200, 9600  # Windows Server 2012 and 2012 R2
# What older Hyper-V called its ACPI devices, and what newer hosts call them.
ACPI_DEVICES = {"VMBus": "MSFT1000", "Hyper_V_Gen_Counter_V1": "MSFT1002"}
CRITICAL = r"CurrentControlSet\Control\CriticalDeviceDatabase"
SYSTEM_CLASS = "{4D36E97D-E325-11CE-BFC1-08002BE10318}"
SCSI_CLASS = "{4D36E97B-E325-11CE-BFC1-08002BE10318}"
# Service, its class, and the devices' hardware ids with # for the backslash: of the VMBus, and of the SCSI
# and the IDE controllers on it, one of which is enough for the disk. Ids: Linux drivers/hv/vmbus_drv.c
# (vmbus_acpi_device_ids) and include/linux/hyperv.h (HV_SCSI_GUID, HV_IDE_GUID)
CRITICAL_DEVICES = {
    "vmbus": (SYSTEM_CLASS, ("acpi#vmbus",)),
    "storvsc": (
        SCSI_CLASS,
        ("vmbus#{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}", "vmbus#{32412632-86cb-44a2-9b5c-50d1417354f5}"),
    ),
}


def _acpi(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    for old, new in ACPI_DEVICES.items():
        key = rf"CurrentControlSet\Enum\ACPI\{old}"
        other = rf"CurrentControlSet\Enum\ACPI\{new}"
        if windows.has_key("SYSTEM", key) and not windows.has_key("SYSTEM", other):
            return failed(f"{old} is known, {new} of newer hosts is not", windows.place("SYSTEM", key))
    return passed("the ACPI devices of newer hosts are known")


def _fix_acpi(facts: Facts) -> Iterator[Edit]:
    """Copies what is known of each device to the name that newer hosts give it, as sources.REPAIR does."""
    windows = windows_of(facts)
    for old, new in ACPI_DEVICES.items():
        source, target = (rf"CurrentControlSet\Enum\ACPI\{name}" for name in (old, new))
        if windows.has_key("SYSTEM", source) and not windows.has_key("SYSTEM", target):
            paths = (windows.key_path("SYSTEM", key) for key in (source, target))
            yield CopyKey(SYSTEM_HIVE, *paths)


def _critical(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    for name, (_, ids) in CRITICAL_DEVICES.items():
        if not any(windows.text("SYSTEM", rf"{CRITICAL}\{id}", "Service").lower() == name for id in ids):
            place = windows.place("SYSTEM", rf"{CRITICAL}\{ids[0]}", "Service")
            return failed(f"no device that {name} drives is in the critical device database", place)
    return passed("the VMBus and the disk controllers on it are in it", windows.place("SYSTEM", CRITICAL))


def _fix_critical(facts: Facts) -> Iterator[Edit]:
    """Names the drivers that are there; one that is missing has to be installed."""
    windows = windows_of(facts)
    if _critical(facts).status is Status.PASS:
        return
    for name, (device_class, ids) in CRITICAL_DEVICES.items():
        if not windows.has_key("SYSTEM", f"{SERVICES}\\{name}"):
            continue
        if not windows.files.is_file(driver_path(windows, name)):
            continue
        for id in ids:
            key = windows.key_path("SYSTEM", rf"{CRITICAL}\{id}")
            for value, data in (("Service", name), ("ClassGUID", device_class)):
                if windows.text("SYSTEM", key, value).lower() != data.lower():
                    yield SetValue(SYSTEM_HIVE, key, value, "REG_SZ", data)


def is_before_2012(facts: Facts) -> bool:
    try:
        return facts.windows is not None and 0 < facts.windows.build < NT_6_2
    except GuestError:
        return False


def is_2012(facts: Facts) -> bool:
    try:
        return facts.windows is not None and facts.windows.build in (NT_6_2, NT_6_3)
    except GuestError:
        return False


CHECKS = (
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
        fix=_fix_acpi,
    ),
    Check(
        "win-critical-device-db",
        "Windows 2008 R2 and older bind Hyper-V's devices at their first boot",
        Severity.BOOT,
        "stop error 0x7B: before Plug and Play runs, the kernel finds the driver of a device that it has not "
        "seen yet in the critical device database only",
        sources.THIRD_PARTY,
        is_before_2012,
        _critical,
        r"add the keys acpi#vmbus and vmbus#{...} with Service and ClassGUID below "
        r"HKLM\SYSTEM\CurrentControlSet\Control\CriticalDeviceDatabase",
        generations=(1,),
        fix=_fix_critical,
    ),
)

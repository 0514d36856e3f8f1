"""Checks of how a Windows starts: each on one that fails only this, and what mends it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from tests.unit.guest.hives import build_hive
from tests.unit.guest.windows_guests import (
    CONFIG,
    DISK_GUID,
    EMS,
    ESP_GUID,
    LOADER,
    MANAGER,
    ROOT_START,
    SETTINGS,
    SIGNATURE,
    SYSTEM,
    VOLUME_CLASS,
    WindowsGuests,
    bcd,
    bcd_template,
    changed,
    element,
    pe,
)
from tests.unit.guest.windows_verdicts import (
    CS,
    HDC,
    SERVICES,
    assert_mended,
    bad,
    finding,
    fixes,
    mended,
    start,
)
from vmstamp.guest.edits import CopyKey, SetValue, Write
from vmstamp.guest.files.fs import Content
from vmstamp.guest.files.probe import FileSystem
from vmstamp.guest.finding import Status
from vmstamp.guest.windows.bcd import pack_device
from vmstamp.guest.windows.pe import find_imports

OTHER = UUID(int=99)
ON_ESP = pack_device(DISK_GUID, ESP_GUID)


@pytest.mark.parametrize(
    ("check", "status", "system"),
    [
        ("win-boot-services", "fail", start(storvsc=3)),
        ("win-boot-services", "fail", start(vmbus=4)),
        ("win-boot-services", "fail", start(storport=3)),
        ("win-class-filters", "fail",
         {rf"{CS}\Enum\ACPI\PNP0A03\0": {"Service": "pci", "UpperFilters": ("vsepflt",)}}),
        ("win-boot-services", "fail", {rf"{SERVICES}\mountmgr": None}),
        ("win-boot-services", "fail", {rf"{SERVICES}\storvsc\StartOverride": {"0": 3}}),
        ("win-class-filters", "fail", {HDC: {"UpperFilters": ("vsepflt",)}}),
        ("win-class-filters", "fail", {VOLUME_CLASS: {"LowerFilters": ("rdyboost", "gone")}}),
        ("win-class-filters", "fail", start(rdyboost=4)),
        ("win-nvme", "fail", start(stornvme=3)),
        ("win-nvme", "warning", {rf"{SERVICES}\stornvme\Parameters": {"IoTimeoutValue": 30}}),
        ("win-nvme", "warning", {rf"{SERVICES}\stornvme\Parameters": {"IoTimeoutValue": None}}),
        ("win-san-policy", "warning", {rf"{SERVICES}\partmgr\Parameters": {"SanPolicy": 4}}),
    ],
)  # fmt: skip
def test_one_wrong_value_of_the_system_hive_fails_one_check(
    windows: WindowsGuests, check: str, status: str, system: Any
) -> None:
    assert bad(windows.facts(system=system)) == {check: status}


@pytest.mark.parametrize(
    ("check", "status", "changes"),
    [
        ("win-driver-files", "fail", {"/Windows/System32/drivers/storvsc.sys": None}),
        ("win-driver-files", "fail",
         {"/Windows/System32/drivers/vmbus.sys": pe(imports=("ntoskrnl.exe", "HAL.dll", "winhv.sys"))}),
        ("win-driver-files", "fail", {"/Windows/System32/drivers/storport.sys": None}),
        ("win-driver-files", "fail", {"/Windows/System32/drivers/netvsc.sys": pe(0x14C)}),
        ("win-driver-files", "fail", {"/Windows/System32/drivers/vmbus.sys": b"zeros"}),
        ("win-class-filters", "fail", {"/Windows/System32/drivers/rdyboost.sys": ""}),
        ("win-bcd", "fail", {"/Windows/System32/winload.efi": None}),
        ("win-hibernated", "fail", {"/hiberfil.sys": b"HIBR" + bytes(60)}),
        ("win-hibernated", "warning", {"/hiberfil.sys": bytes(64)}),
        ("win-hives", "fail", {f"{CONFIG}/SAM": b"regf"}),
    ],
)  # fmt: skip
def test_one_wrong_file_fails_one_check(
    windows: WindowsGuests, check: str, status: str, changes: dict[str, str | bytes | None]
) -> None:
    wanted = {check: status}
    if check == "win-hives":
        wanted["win-local-users"] = "warning"
    assert bad(windows.facts(changes)) == wanted


@pytest.mark.parametrize(
    ("check", "status", "generation", "store"),
    [
        ("win-bcd", "fail", 2, {element(LOADER, 0x11000001): {"Element": pack_device(OTHER, OTHER)}}),
        ("win-bcd", "fail", 2, {element(LOADER, 0x21000001): None}),
        ("win-bcd", "fail", 2, {element(LOADER, 0x11000001): {"Element": ON_ESP}}),
        ("win-bcd", "fail", 2, {element(LOADER, 0x12000002): {"Element": r"\Windows\System32\winload.exe"}}),
        ("win-bcd", "fail", 1, {element(LOADER, 0x22000002): {"Element": r"\WINNT"}}),
        ("win-bcd", "fail", 2, {element(MANAGER, 0x23000003): {"Element": "{gone}"}}),
        ("win-bcd", "fail", 1, {element(LOADER, 0x11000001): {"Element": pack_device(1, ROOT_START)}}),
        ("win-bcd", "fail", 1, {element(LOADER, 0x21000001): {"Element": pack_device(SIGNATURE, 1 << 20)}}),
        ("win-bcd", "warning", 2, {element(LOADER, 0x11000001): {"Element": bytes(20)}}),
        ("win-bcd", "fail", 2, {element(LOADER, 0x11000001): {"Element": bytes(16) + b"\5" + bytes(71)}}),
        ("win-bcd-options", "warning", 2, {element(LOADER, 0x16000009): None}),
        ("win-bcd-options", "warning", 2, {element(LOADER, 0x1500004B): {"Element": b"\2" + bytes(7)}}),
        ("win-bcd-options", "warning", 1, {element(MANAGER, 0x1500004B): {"Element": b"\2" + bytes(7)}}),
        ("win-bcd-options", "warning", 1, {element(LOADER, 0x16000049): {"Element": b"\1"}}),
        ("win-bcd-options", "warning", 2, {element(MANAGER, 0x16000020): None}),
        ("win-bcd-options", "warning", 2, {element(EMS, 0x15000023): {"Element": bytes(8)}}),
    ],
)  # fmt: skip
def test_one_wrong_element_of_the_boot_configuration_fails_one_check(
    windows: WindowsGuests, check: str, status: str, generation: int, store: Any
) -> None:
    found = bad(windows.facts(generation=generation, store=store))
    if "{gone}" in str(store):
        found.pop("win-bcd-options")
    assert found == {check: status}


def test_a_device_that_is_located_by_a_file_is_found_at_boot(windows: WindowsGuests) -> None:
    data = bytes(16) + b"\x08" + bytes(71)
    store = {element(LOADER, number): {"Element": data} for number in (0x11000001, 0x21000001)}
    assert bad(windows.facts(store=store)) == {}


@pytest.mark.parametrize(
    ("wanted", "generation", "boot"),
    [
        ({"win-generation": "fail"}, 2, {"/EFI/Microsoft/Boot/bootmgfw.efi": None}),
        (
            {"win-generation": "fail", "gen2-esp": "fail", "gen-detect": "fail"},
            2,
            {"/EFI/BOOT/BOOTX64.EFI": None},
        ),
        ({"win-generation": "fail"}, 1, {"/bootmgr": None}),
        ({"win-bcd": "fail"}, 2, {"/EFI/Microsoft/Boot/BCD": None}),
        ({"win-bcd": "warning", "win-bcd-options": "warning"}, 1, {"/Boot/BCD": b"regf"}),
    ],
)
def test_what_the_boot_partition_lacks_is_found(
    windows: WindowsGuests, wanted: dict[str, str], generation: int, boot: Any
) -> None:
    assert bad(windows.facts(generation=generation, boot=boot)) == wanted


def test_the_boot_manager_is_copied_to_where_the_firmware_looks(windows: WindowsGuests) -> None:
    facts = windows.facts(boot={"/EFI/BOOT/BOOTX64.EFI": None})
    assert fixes(facts, "win-generation") == [Write("/EFI/BOOT/BOOTX64.EFI", b"MZ", 0o755, 1)]
    neither = {"/EFI/BOOT/BOOTX64.EFI": None, "/EFI/Microsoft/Boot/bootmgfw.efi": None}
    assert fixes(windows.facts(boot=neither), "win-generation") == []


def test_2012_is_asked_for_the_devices_of_newer_hosts(windows: WindowsGuests) -> None:
    version = {r"Microsoft\Windows NT\CurrentVersion": {"CurrentBuild": "9600"}}
    old = {rf"{CS}\Enum\ACPI\VMBus\0": {"x": 1}}
    found = bad(windows.facts(generation=1, system=old, software=version))
    assert found["win-acpi-enum-2012"] == "fail"
    copies = [
        CopyKey(f"{CONFIG}/SYSTEM", rf"{CS}\Enum\ACPI\VMBus", rf"{CS}\Enum\ACPI\MSFT1000"),
    ]
    assert fixes(windows.facts(generation=1, system=old, software=version), "win-acpi-enum-2012") == copies
    both = {**old, rf"{CS}\Enum\ACPI\MSFT1000\0": {"x": 1}}
    assert "win-acpi-enum-2012" not in bad(windows.facts(generation=1, system=both, software=version))


OLD = {r"Microsoft\Windows NT\CurrentVersion": {"CurrentBuild": "7601"}}
CRITICAL = rf"{CS}\Control\CriticalDeviceDatabase"
CRITICAL_DEVICES = {
    rf"{CRITICAL}\acpi#vmbus": {"Service": "vmbus"},
    rf"{CRITICAL}\vmbus#{{32412632-86cb-44a2-9b5c-50d1417354f5}}": {"Service": "storvsc"},
}


@pytest.mark.parametrize(
    ("lost", "found"),
    [
        (None, None),
        ("acpi#vmbus", "no device that vmbus drives is in the critical device database"),
        ("vmbus#", "no device that storvsc drives is in the critical device database"),
    ],
)
def test_2008_is_asked_for_its_critical_devices(
    windows: WindowsGuests, lost: str | None, found: str | None
) -> None:
    system = {key: values for key, values in CRITICAL_DEVICES.items() if not lost or lost not in key}
    facts = windows.facts(generation=1, system=system, software=OLD)
    problem = finding(facts, "win-critical-device-db")
    assert (problem.status, problem.found) == (
        (Status.FAIL, found) if found else (Status.PASS, "the VMBus and the disk controllers on it are in it")
    )
    after, _ = mended(windows, "win-critical-device-db", generation=1, system=system, software=OLD)
    assert "win-critical-device-db" not in after


def test_a_driver_that_is_missing_is_not_put_into_the_critical_devices(windows: WindowsGuests) -> None:
    driver = {"/Windows/System32/drivers/storvsc.sys": None}
    facts = windows.facts(driver, generation=1, software=OLD)
    keys = {edit.key for edit in fixes(facts, "win-critical-device-db") if isinstance(edit, SetValue)}
    assert keys == {rf"{CRITICAL}\acpi#vmbus"}


def test_a_new_windows_is_not_asked_for_critical_devices(windows: WindowsGuests) -> None:
    assert finding(windows.facts(generation=1), "win-critical-device-db").status is Status.NOT_APPLICABLE


def test_an_old_windows_does_not_start_as_gen2(windows: WindowsGuests) -> None:
    facts = windows.facts(software=OLD)
    assert finding(facts, "win-generation").status is Status.FAIL


def test_a_32_bit_windows_is_named(windows: WindowsGuests) -> None:
    facts = windows.facts({"/Windows/System32/ntoskrnl.exe": pe(0x14C)})
    assert finding(facts, "win-64bit").found == "the kernel is for i686"
    assert bad(facts)["win-64bit"] == "fail"


def test_a_partition_that_bitlocker_encrypts_is_found(windows: WindowsGuests) -> None:
    facts = windows.facts()
    boot, root = facts.survey.contents
    data = Content(None, FileSystem("BitLocker"))
    locked = replace(facts, survey=replace(facts.survey, contents=(boot, root, data)))
    assert bad(locked) == {"win-bitlocker": "fail", "disk-encrypted": "fail"}


def test_a_library_of_a_driver_that_is_there_is_found(windows: WindowsGuests) -> None:
    drivers = "/Windows/System32/drivers"
    linked = {f"{drivers}/vmbus.sys": pe(imports=("ntoskrnl.exe", "winhv.sys")), f"{drivers}/winhv.sys": pe()}
    assert bad(windows.facts(linked)) == {}
    found = finding(windows.facts({path: linked[path] for path in list(linked)[:1]}), "win-driver-files")
    assert found.found == "the driver of vmbus is linked with winhv.sys, which is missing"


def test_any_import_table_is_read_or_passed_over(guests: Any) -> None:
    whole = pe(imports=("ntoskrnl.exe", "winhv.sys"))
    assert find_imports(guests.files({"/x": whole}), "/x") == ("ntoskrnl.exe", "winhv.sys")
    numbers = random.Random(7)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(6):
            data[
                numbers.choice((0x3C, 0x80, 0x86, 0x94, 0x98, 0x110, 0x188, 0x400)) + numbers.randrange(8)
            ] ^= 255
        del data[numbers.randrange(0x300, len(data)) :]
        assert len(find_imports(guests.files({"/x": bytes(data)}), "/x")) <= 128


def test_a_service_that_carries_more_than_its_driver_is_not_made_anew(windows: WindowsGuests) -> None:
    facts = windows.facts(system={rf"{SERVICES}\storvsc": None, rf"{SERVICES}\storvsc\StartOverride": None})
    assert finding(facts, "win-boot-services").status is Status.FAIL
    assert fixes(facts, "win-boot-services") == []
    made = fixes(windows.facts(system={rf"{SERVICES}\disk": None}), "win-boot-services")
    assert {edit.name: edit.data for edit in made if isinstance(edit, SetValue)} == {
        "Type": 1,
        "Start": 0,
        "ErrorControl": 3,
        "ImagePath": r"System32\drivers\disk.sys",
        "Group": "SCSI Class",
    }
    lost = windows.facts({"/Windows/System32/drivers/disk.sys": None}, system={rf"{SERVICES}\disk": None})
    assert fixes(lost, "win-boot-services") == []


@pytest.mark.parametrize(
    ("build", "kind", "supported"),
    [
        ("14393", "Server", False),
        ("17763", "Server", True),
        ("14393", "Client", True),
        ("9600", "Client", False),
    ],
)
def test_nvme_is_for_windows_10_and_server_2019(
    windows: WindowsGuests, build: str, kind: str, supported: bool
) -> None:
    version = {r"Microsoft\Windows NT\CurrentVersion": {"CurrentBuild": build, "InstallationType": kind}}
    found = finding(windows.facts(software=version), "win-nvme")
    assert found.status is (Status.PASS if supported else Status.WARNING)
    stopped = windows.facts(software=version, system=start(stornvme=3))
    assert bool(fixes(stopped, "win-nvme")) is supported


def test_the_default_and_the_path_of_a_loader_are_mended_where_the_store_lies(windows: WindowsGuests) -> None:
    """On the EFI system partition, number 1."""
    path = "/EFI/Microsoft/Boot/BCD"
    description = {rf"Objects\{LOADER}\Description": {"Type": 0x10200003}}
    store: dict[str, Any] = {**description, element(MANAGER, 0x23000003): {"Element": "{gone}"}}
    facts = windows.facts(store={**store, element(LOADER, 0x12000002): {"Element": r"\Windows\winload.exe"}})
    loader = r"\Windows\System32\winload.efi"
    assert fixes(facts, "win-bcd") == [
        SetValue(path, element(MANAGER, 0x23000003), "Element", "REG_SZ", LOADER, 1),
        SetValue(path, element(LOADER, 0x12000002), "Element", "REG_SZ", loader, 1),
    ]
    other = windows.facts(store={element(LOADER, 0x22000002): {"Element": r"\WINNT"}})
    assert fixes(other, "win-bcd") == [
        SetValue(path, element(LOADER, 0x22000002), "Element", "REG_SZ", r"\Windows", 1)
    ]
    another = r"Objects\{another}"
    two: dict[str, Any] = {**store, rf"{another}\Description": {"Type": 0x10200003}}
    only = [SetValue(path, element(MANAGER, 0x23000003), "Element", "REG_SZ", LOADER, 1)]
    assert fixes(windows.facts(store=two), "win-bcd") == only
    same = {rf"{another}\Elements\{key[-8:]}": value for key, value in bcd(2).items() if LOADER in key}
    assert fixes(windows.facts(store={**two, **same}), "win-bcd") == []
    without = {**store, rf"Objects\{MANAGER}\Description": None}
    assert fixes(windows.facts(store=without), "win-bcd") == []


STORE = "/EFI/Microsoft/Boot/BCD"
TEMPLATE = f"{CONFIG}/BCD-Template"


def new_store(windows: WindowsGuests, template: bytes) -> list[Any]:
    return fixes(windows.facts({TEMPLATE: template}, boot={STORE: None}), "win-bcd")


def test_a_store_that_is_gone_is_made_of_the_template(windows: WindowsGuests) -> None:
    template = build_hive(bcd_template())
    written, *values = new_store(windows, template)
    assert written == Write(STORE, template, 0o755, 1)
    assert all(edit.hive == STORE and edit.partition == 1 for edit in values)
    made: dict[str, dict[str, Any]] = {}
    for edit in values:
        made.setdefault(edit.key, {})[edit.name] = edit.data
    hive = build_hive(changed(bcd_template(), made))
    assert bad(windows.facts({TEMPLATE: template}, boot={STORE: hive})) == {}
    assert made["Description"] == {"KeyName": "BCD00000000", "System": 1, "TreatAsSystem": 1}


@pytest.mark.parametrize(
    "template",
    [
        pytest.param(b"regf", id="cut"),
        pytest.param(build_hive(bcd_template(), sequences=(2, 1)), id="unfinished"),
        pytest.param(build_hive(changed(bcd_template(), {rf"Objects\{SETTINGS}": None})), id="no settings"),
        pytest.param(build_hive(changed(bcd_template(), {rf"Objects\{MANAGER}": None})), id="no manager"),
    ],
)
def test_no_store_is_made_of_a_template_that_is_not_whole(windows: WindowsGuests, template: bytes) -> None:
    assert new_store(windows, template) == []


def test_no_store_is_made_for_bios_nor_without_what_it_would_start(windows: WindowsGuests) -> None:
    template = build_hive(bcd_template())
    for changes, lacks in (
        ({TEMPLATE: template}, {STORE: None, "/EFI/Microsoft/Boot/bootmgfw.efi": None}),
        ({TEMPLATE: template, "/Windows/System32/winload.efi": None}, {STORE: None}),
        ({}, {STORE: None}),
    ):
        assert fixes(windows.facts(changes, boot=lacks), "win-bcd") == []
    bios = windows.facts({TEMPLATE: template}, generation=1, boot={"/Boot/BCD": None})
    assert fixes(bios, "win-bcd") == []


def test_a_boot_manager_that_is_gone_is_copied_from_windows(windows: WindowsGuests) -> None:
    manager = "/EFI/Microsoft/Boot/bootmgfw.efi"
    facts = windows.facts({"/Windows/Boot/EFI/bootmgfw.efi": b"MZ2"}, boot={manager: None})
    assert fixes(facts, "win-generation") == [Write(manager, b"MZ2", 0o755, 1)]


def test_a_driver_that_is_overridden_is_named(windows: WindowsGuests) -> None:
    facts = windows.facts(system={rf"{SERVICES}\storvsc\StartOverride": {"0": 3}, **start(vmbus=4)})
    assert finding(facts, "win-boot-services").found == "vmbus: Start is 4; storvsc: StartOverride\\0 is 3"


def test_the_control_set_is_the_one_that_select_names(windows: WindowsGuests) -> None:
    second = {
        key.replace("ControlSet001", "ControlSet002"): values
        for key, values in SYSTEM.items()
        if key.startswith("ControlSet001")
    }
    facts = windows.facts(system={**second, **start(storvsc=4), "Select": {"Current": 2}})
    assert bad(facts) == {}
    facts = windows.facts(system={"Select": {"Current": 7}})
    assert finding(facts, "win-boot-services").status is Status.FAIL
    facts = windows.facts(system={"Select": {"Current": None}})
    assert finding(facts, "win-hives").status is Status.FAIL


def test_a_dirty_hive_warns(windows: WindowsGuests) -> None:
    dirty = build_hive(changed(SYSTEM, {}), sequences=(9, 8))
    assert bad(windows.facts({f"{CONFIG}/SYSTEM": dirty})) == {"win-hives": "warning"}


@pytest.mark.parametrize(
    ("check", "guest"),
    [
        ("win-boot-services", {"system": start(storvsc=3, vmbus=4)}),
        ("win-boot-services", {"system": {rf"{SERVICES}\disk": None, rf"{SERVICES}\pci": None}}),
        ("win-class-filters",
         {"system": {rf"{CS}\Enum\ACPI\MSFT1000\0": {"Service": "vmbus", "LowerFilters": ("gone",)}}}),
        ("win-boot-services", {"system": {rf"{SERVICES}\storvsc\StartOverride": {"0": 3}}}),
        ("win-class-filters", {"system": {VOLUME_CLASS: {"LowerFilters": ("rdyboost", "gone")}}}),
        ("win-class-filters", {"system": {HDC: {"UpperFilters": ("vsepflt",)}}}),
        ("win-nvme", {"system": start(stornvme=3)}),
        ("win-san-policy", {"system": {rf"{SERVICES}\partmgr\Parameters": {"SanPolicy": 4}}}),
    ],
)  # fmt: skip
def test_a_fix_mends_what_was_found_and_nothing_else(
    windows: WindowsGuests, check: str, guest: dict[str, Any]
) -> None:
    assert_mended(windows, check, guest)

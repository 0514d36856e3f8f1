"""Each check of a Windows on one that passes and on one that fails only this check; and what mends it."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
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
    FIREWALL,
    INTERFACE,
    LISTENER,
    LOADER,
    MANAGER,
    PING_RULE,
    RDP_RULE,
    ROOT_START,
    SIGNATURE,
    STATE,
    SYSTEM,
    VOLUME_CLASS,
    WindowsGuests,
    account,
    changed,
    element,
    pe,
    services,
)
from vmstamp.errors import GuestError
from vmstamp.guest.checks import CHECKS
from vmstamp.guest.checks import windows as windows_checks
from vmstamp.guest.edits import DeleteValue, Edit, Remove, SetValue, describe
from vmstamp.guest.facts import Facts
from vmstamp.guest.files.fs import Content
from vmstamp.guest.files.probe import FileSystem
from vmstamp.guest.finding import Check, Finding, Severity, Status, judge
from vmstamp.guest.windows.bcd import pack_device
from vmstamp.guest.windows.hive import Hive
from vmstamp.guest.windows.system import image_state

CS = "ControlSet001"
SERVICES = rf"{CS}\Services"
CLASSES = rf"{CS}\Control\Class"
HDC = rf"{CLASSES}\{{4d36e96a-e325-11ce-bfc1-08002be10318}}"
MEMORY = rf"{CS}\Control\Session Manager\Memory Management"
SETUP = "Setup"
POLICIES = r"Policies\Microsoft"
SYSPREP_LOGS = "/Windows/System32/Sysprep/Panther"
UNATTEND = "/Windows/Panther/Unattend.xml"
RULES = rf"{FIREWALL}\FirewallRules"
PROFILE = rf"{FIREWALL}\PublicProfile"
WINLOGON = r"Microsoft\Windows NT\CurrentVersion\Winlogon"
PROXY_KEY = r"Microsoft\Windows\CurrentVersion\Internet Settings\Connections"
PASSWORD = "<Password><Value>hunter2hunter2</Value></Password>"
AUTOLOGON_PASSWORD = "hunter3hunter3"

# A complete Windows, not generalized.
COMPLETE: dict[str, Any] = {
    "changes": {
        "/Windows/Setup/State/State.ini": None,
        "/Windows/System32/Sysprep/Sysprep_succeeded.tag": None,
    },
    "software": {STATE: {"ImageState": "IMAGE_STATE_COMPLETE"}},
    "system": {SETUP: {"SystemSetupInProgress": 0, "OOBEInProgress": 0, "SetupType": 0, "CmdLine": ""}},
}


def bad(facts: Facts) -> dict[str, str]:
    found = {check.id: status_of(check, facts) for check in CHECKS}
    return {id: status.value for id, status in found.items() if status in (Status.FAIL, Status.WARNING)}


def status_of(check: Check, facts: Facts) -> Status:
    """The status before it is weighed for what the disk is to become."""
    status = judge(check, facts).status
    weighed = check.identity or check.severity is Severity.CERTIFICATION
    if not weighed or status is not Status.WARNING:
        return status
    with suppress(GuestError):
        status = check.run(facts).status
    return status


def finding(facts: Facts, id: str) -> Finding:
    return next(judge(check, facts) for check in CHECKS if check.id == id)


def fixes(facts: Facts, id: str) -> list[Edit]:
    check = next(check for check in CHECKS if check.id == id)
    assert check.fix is not None
    return list(check.fix(facts))


def start(**starts: int) -> dict[str, dict[str, Any]]:
    return services(**starts)


def proxy(bypass: bytes) -> bytes:
    name = b"proxy.example:8080"
    return struct.pack("<IIII", 24, 0, 3, len(name)) + name + struct.pack("<I", len(bypass)) + bypass


@pytest.mark.parametrize("generation", [1, 2])
def test_a_good_windows_passes_every_check(windows: WindowsGuests, generation: int) -> None:
    facts = windows.facts(generation=generation)
    assert bad(facts) == {}
    assert facts.os is not None
    assert (facts.os.kind, facts.os.id, facts.os.version_id) == ("Windows", "windows", "20348")
    assert facts.os.pretty_name == "Windows Server 2022 Datacenter"
    assert facts.architecture == "x86_64"
    ran = [check.id for check in CHECKS if judge(check, facts).status is Status.PASS]
    assert not any(id.startswith(("ci-", "wa-", "kernel-", "initramfs-", "fstab-")) for id in ran)


def test_no_check_of_windows_is_a_question_for_linux(guests: Any) -> None:
    statuses = {judge(c, guests.facts({})).status for c in CHECKS if c.id.startswith("win-")}
    assert statuses == {Status.NOT_APPLICABLE}


@pytest.mark.parametrize(
    ("check", "status", "system"),
    [
        ("win-boot-services", "fail", start(storvsc=3)),
        ("win-boot-services", "fail", start(vmbus=4)),
        ("win-boot-services", "fail", {rf"{SERVICES}\mountmgr": None}),
        ("win-boot-services", "fail", {rf"{SERVICES}\storvsc\StartOverride": {"0": 3}}),
        ("win-class-filters", "fail", {HDC: {"UpperFilters": ("vsepflt",)}}),
        ("win-class-filters", "fail", {VOLUME_CLASS: {"LowerFilters": ("rdyboost", "gone")}}),
        ("win-class-filters", "fail", start(rdyboost=4)),
        ("win-nvme", "fail", start(stornvme=3)),
        ("win-nvme", "warning", {rf"{SERVICES}\stornvme\Parameters": {"IoTimeoutValue": 30}}),
        ("win-nvme", "warning", {rf"{SERVICES}\stornvme\Parameters": {"IoTimeoutValue": None}}),
        ("win-san-policy", "warning", {rf"{SERVICES}\partmgr\Parameters": {"SanPolicy": 4}}),
        ("win-setup-flags", "fail", {SETUP: {"SetupType": 0}}),
        ("win-setup-flags", "fail", {SETUP: {"CmdLine": "cmd.exe"}}),
        ("win-sysprep-status", "warning", {r"Setup\Status\SysprepStatus": {"GeneralizationState": 3}}),
        ("win-custom-answer-file", "fail", {SETUP: {"UnattendFile": r"C:\mine.xml"}}),
        ("win-cdrom-enabled", "fail", start(cdrom=4)),
        ("win-pending-reboot", "warning",
         {rf"{CS}\Control\Session Manager": {"PendingFileRenameOperations": (r"\??\C:\a",)}}),
        ("win-rdp", "fail", {rf"{CS}\Control\Terminal Server": {"fDenyTSConnections": 1}}),
        ("win-rdp", "fail", {rf"{CS}\Control\Terminal Server": {"fDenyTSConnections": None}}),
        ("win-rdp", "fail", {LISTENER: {"PortNumber": 3390}}),
        ("win-rdp", "fail", {LISTENER: {"LanAdapter": 2}}),
        ("win-rdp", "warning", {LISTENER: {"SSLCertificateSHA1Hash": bytes(20)}}),
        ("win-rdp", "warning", {LISTENER: {"UserAuthentication": 0}}),
        ("win-rdp", "fail", start(TermService=4)),
        ("win-rdp-sessions", "warning", {LISTENER: {"KeepAliveTimeout": 0}}),
        ("win-firewall", "fail", {RULES: {"RemoteDesktop-UserMode-In-TCP": None}}),
        ("win-firewall", "fail",
         {RULES: {"RemoteDesktop-UserMode-In-TCP": RDP_RULE.replace("TRUE", "FALSE")}}),
        ("win-firewall", "fail",
         {RULES: {"x": "v2.31|Action=Block|Active=TRUE|Dir=In|Protocol=6|LPort=3000-4000|"}}),
        ("win-firewall", "fail", {RULES: {"x": "v2.31|Action=Block|Active=TRUE|Dir=Out|RA4=168.63.0.0/16|"}}),
        ("win-firewall", "fail",
         {RULES: {"RemoteDesktop-UserMode-In-TCP": None,
                  "app": "v2.30|Action=Allow|Active=TRUE|Dir=In|LUOwn=S-1-5-21-1|AppPkgId=S-1-15-2-1|"}}),
        ("win-firewall", "fail",
         {RULES: {"RemoteDesktop-UserMode-In-TCP": RDP_RULE.replace("LPort", "Profile=Domain|LPort")}}),
        ("win-firewall", "fail", {PROFILE: {"DefaultOutboundAction": 1}}),
        ("win-firewall", "fail", {PROFILE: {"DoNotAllowExceptions": 1}}),
        ("win-firewall", "warning", {PROFILE: {"EnableFirewall": 0}}),
        ("win-firewall", "warning", {RULES: {"FPS-ICMP4-ERQ-In": PING_RULE.replace("TRUE", "FALSE")}}),
        ("win-network-dhcp", "fail", {INTERFACE: {"EnableDHCP": 0, "IPAddress": ("10.1.2.3",)}}),
        ("win-network-dhcp", "warning", {INTERFACE: {"NameServer": "10.1.2.1"}}),
        ("win-network-dhcp", "warning",
         {rf"{SERVICES}\Tcpip\Parameters\PersistentRoutes": {"10.0.0.0,255.0.0.0,10.1.1.1,1": ""}}),
        ("win-services", "fail", start(Netlogon=4)),
        ("win-services", "fail", {rf"{SERVICES}\nsi": None}),
        ("win-service-starts", "warning", start(RemoteRegistry=4)),
        ("win-winrm", "warning", start(WinRM=3)),
        ("win-time", "warning", {rf"{CS}\Control\TimeZoneInformation": {"RealTimeIsUniversal": None}}),
        ("win-time", "warning", start(W32Time=3)),
        ("win-temp-vars", "warning", {rf"{CS}\Control\Session Manager\Environment": {"TEMP": r"E:\temp"}}),
        ("win-pagefile", "warning",
         {MEMORY: {"PagingFiles": (r"E:\pagefile.sys 0 0",)}}),
        ("win-crash", "warning", {rf"{CS}\Control\CrashControl": {"CrashDumpEnabled": 0}}),
        ("win-power", "warning", {rf"{CS}\Control\Power": {"HibernateEnabled": 1}}),
        ("win-agent", "warning", {rf"{SERVICES}\RdAgent": None}),
        ("win-agent", "warning", start(WindowsAzureGuestAgent=3)),
        ("win-foreign-tools", "warning", start(VMTools=2)),
        ("win-roles", "warning", {rf"{CS}\Control\ProductOptions": {"ProductType": "LanmanNT"}}),
        ("win-roles", "warning", start(ClusSvc=2)),
        ("win-roles", "warning",
         {**start(Netlogon=2), rf"{SERVICES}\Tcpip\Parameters": {"Domain": "corp.example"}}),
    ],
)  # fmt: skip
def test_one_wrong_value_of_the_system_hive_fails_one_check(
    windows: WindowsGuests, check: str, status: str, system: Any
) -> None:
    assert bad(windows.facts(system=system)) == {check: status}


@pytest.mark.parametrize(
    ("check", "status", "software"),
    [
        ("win-imagestate", "fail", {STATE: {"ImageState": None}}),
        ("win-cdrom-enabled", "fail", {rf"{POLICIES}\Windows\RemovableStorageDevices": {"Deny_All": 1}}),
        ("win-rearm", "warning",
         {r"Microsoft\Windows NT\CurrentVersion\SoftwareProtectionPlatform": {"SkipRearm": 1}}),
        ("win-pending-reboot", "fail",
         {r"Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending": {"x": 1}}),
        ("win-rdp", "fail", {rf"{POLICIES}\Windows NT\Terminal Services": {"fDenyTSConnections": 1}}),
        ("win-autologon", "fail", {WINLOGON: {"DefaultPassword": AUTOLOGON_PASSWORD}}),
        ("win-autologon", "warning", {WINLOGON: {"AutoAdminLogon": "1"}}),
        ("win-firewall", "fail",
         {rf"{POLICIES}\WindowsFirewall\PublicProfile": {"AllowLocalPolicyMerge": 0}}),
        ("win-proxy", "fail", {PROXY_KEY: {"WinHttpSettings": proxy(b"<local>")}}),
        ("win-winrm", "warning", {r"Microsoft\Windows\CurrentVersion\WSMAN\Listener\*+HTTP": None}),
        ("win-crash", "warning",
         {r"Microsoft\Windows\Windows Error Reporting\LocalDumps": {"DumpType": None}}),
        ("win-agent-state", "warning", {r"Microsoft\Windows Azure": {"VmId": "1"}}),
        ("win-ps-policy", "warning", {rf"{POLICIES}\Windows\PowerShell": {"ExecutionPolicy": "AllSigned"}}),
        ("win-ps-policy", "warning", {rf"{POLICIES}\Windows\PowerShell": {"EnableScripts": 0}}),
    ],
)  # fmt: skip
def test_one_wrong_value_of_the_software_hive_fails_one_check(
    windows: WindowsGuests, check: str, status: str, software: Any
) -> None:
    facts = windows.facts(software=software)
    wanted = {check: status}
    if check == "win-imagestate":
        wanted = {**wanted, "win-generalized": "fail", "win-setup-flags": "fail"}
    assert bad(facts) == wanted


@pytest.mark.parametrize(
    ("check", "status", "changes"),
    [
        ("win-driver-files", "fail", {"/Windows/System32/drivers/storvsc.sys": None}),
        ("win-driver-files", "fail", {"/Windows/System32/drivers/storport.sys": None}),
        ("win-driver-files", "fail", {"/Windows/System32/drivers/netvsc.sys": pe(0x14C)}),
        ("win-driver-files", "fail", {"/Windows/System32/drivers/vmbus.sys": b"zeros"}),
        ("win-class-filters", "fail", {"/Windows/System32/drivers/rdyboost.sys": ""}),
        ("win-bcd", "fail", {"/Windows/System32/winload.efi": None}),
        ("win-hibernated", "fail", {"/hiberfil.sys": b"HIBR" + bytes(60)}),
        ("win-hibernated", "warning", {"/hiberfil.sys": bytes(64)}),
        ("win-imagestate", "warning", {"/Windows/System32/Sysprep/Sysprep_succeeded.tag": None}),
        ("win-imagestate", "warning",
         {"/Windows/Setup/State/State.ini": "[State]\r\nImageState=IMAGE_STATE_UNDEPLOYABLE\r\n"}),
        ("win-custom-answer-file", "fail", {UNATTEND: "<unattend/>"}),
        ("win-pending-reboot", "fail", {"/Windows/WinSxS/pending.xml": "<x/>"}),
        ("win-hives", "fail", {f"{CONFIG}/SAM": b"regf"}),
        ("win-agent", "warning", {"/WindowsAzure/Logs/": None}),
    ],
)  # fmt: skip
def test_one_wrong_file_fails_one_check(
    windows: WindowsGuests, check: str, status: str, changes: dict[str, str | bytes | None]
) -> None:
    wanted = {check: status}
    if check == "win-hives":
        wanted["win-local-users"] = "warning"
    assert bad(windows.facts(changes)) == wanted


OTHER = UUID(int=99)
ON_ESP = pack_device(DISK_GUID, ESP_GUID)


@pytest.mark.parametrize(
    ("check", "status", "generation", "store"),
    [
        ("win-bcd", "fail", 2, {element(LOADER, 0x11000001): {"Element": pack_device(OTHER, OTHER)}}),
        ("win-bcd", "fail", 2, {element(LOADER, 0x21000001): None}),
        ("win-bcd", "fail", 2, {element(LOADER, 0x11000001): {"Element": ON_ESP}}),
        ("win-bcd", "fail", 2, {element(LOADER, 0x12000002): {"Element": r"\Windows\System32\winload.exe"}}),
        ("win-bcd", "fail", 2, {element(MANAGER, 0x23000003): {"Element": "{gone}"}}),
        ("win-bcd", "fail", 1, {element(LOADER, 0x11000001): {"Element": pack_device(1, ROOT_START)}}),
        ("win-bcd", "fail", 1, {element(LOADER, 0x21000001): {"Element": pack_device(SIGNATURE, 1 << 20)}}),
        ("win-bcd", "warning", 2, {element(LOADER, 0x11000001): {"Element": bytes(20)}}),
        ("win-bcd", "fail", 2, {element(LOADER, 0x11000001): {"Element": bytes(16) + b"\5" + bytes(71)}}),
        ("win-bcd-options", "warning", 2, {element(LOADER, 0x16000009): None}),
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


def test_2012_is_asked_for_the_devices_of_newer_hosts(windows: WindowsGuests) -> None:
    version = {r"Microsoft\Windows NT\CurrentVersion": {"CurrentBuild": "9600"}}
    old = {rf"{CS}\Enum\ACPI\VMBus\0": {"x": 1}}
    found = bad(windows.facts(generation=1, system=old, software=version))
    assert found["win-acpi-enum-2012"] == "fail"
    both = {**old, rf"{CS}\Enum\ACPI\MSFT1000\0": {"x": 1}}
    assert "win-acpi-enum-2012" not in bad(windows.facts(generation=1, system=both, software=version))


def test_an_old_windows_does_not_start_as_gen2(windows: WindowsGuests) -> None:
    facts = windows.facts(software={r"Microsoft\Windows NT\CurrentVersion": {"CurrentBuild": "7601"}})
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


def test_what_setup_left_is_removed_before_sysprep_and_kept_after_it(windows: WindowsGuests) -> None:
    log = {"/Windows/Panther/setupact.log": "x"}
    assert bad(windows.facts(log)) == {}
    facts = windows.facts(**{**COMPLETE, "changes": {**COMPLETE["changes"], **log}})
    assert bad(facts) == {"win-generalized": "fail", "win-panther-clean": "warning"}
    assert fixes(facts, "win-panther-clean") == [Remove("/Windows/Panther")]


def test_a_complete_windows_only_wants_sysprep(windows: WindowsGuests) -> None:
    assert bad(windows.facts(**COMPLETE)) == {"win-generalized": "fail"}


def test_a_complete_windows_with_a_setup_that_is_due_is_mended(windows: WindowsGuests) -> None:
    system = {SETUP: {**COMPLETE["system"][SETUP], "SetupType": 2}}
    facts = windows.facts(**{**COMPLETE, "system": system})
    assert bad(facts) == {"win-generalized": "fail", "win-setup-flags": "fail"}
    assert fixes(facts, "win-setup-flags") == [
        SetValue(f"{CONFIG}/SYSTEM", SETUP, "SetupType", "REG_DWORD", 0)
    ]


def test_the_package_that_stopped_sysprep_is_named_with_its_line(windows: WindowsGuests) -> None:
    line = (
        "2024-05-01 10:00:00, Error                 SYSPRP Package Microsoft.Foo_1.2_x64__8wekyb3d8bbwe "
        "was installed for a user, but not provisioned for all users. This package will not function.\r\n"
    )
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        log = ("2024-05-01 09:59:59, Info    SYSPRP ======\r\n" + line).encode(encoding)
        changes = {**COMPLETE["changes"], f"{SYSPREP_LOGS}/setuperr.log": log}
        found = finding(windows.facts(**{**COMPLETE, "changes": changes}), "win-sysprep-log")
        assert found.status is Status.FAIL
        assert "Microsoft.Foo_1.2_x64__8wekyb3d8bbwe" in found.found
        assert found.where == f"{SYSPREP_LOGS}/setuperr.log:2"
    other = (
        b"2024-05-01 10:00:00, Error      [0x0f0073] SYSPRP RunExternalDlls:Not running DLLs; 0x8007001f\r\n"
    )
    changes = {**COMPLETE["changes"], f"{SYSPREP_LOGS}/setupact.log": other}
    found = finding(windows.facts(**{**COMPLETE, "changes": changes}), "win-sysprep-log")
    assert found.status is Status.WARNING
    assert "Not running DLLs" in found.found


def test_accounts_are_named_and_their_hashes_are_not(windows: WindowsGuests) -> None:
    users = r"SAM\Domains\Account\Users"
    sam: Mapping[str, Any] = {
        rf"{users}\000003E8": account(1000, "packer", enabled=True),
        rf"{users}\000003E9": account(1001, "old", enabled=False),
    }
    facts = windows.facts(sam=sam)
    assert bad(facts) == {"win-local-users": "fail"}
    assert finding(facts, "win-local-users").found == "enabled accounts: packer"


def test_a_damaged_account_is_a_warning(windows: WindowsGuests) -> None:
    found = finding(
        windows.facts(sam={r"SAM\Domains\Account\Users\000003E8": {"F": b"", "V": b""}}), "win-local-users"
    )
    assert found.status is Status.WARNING
    assert "is damaged" in found.found


def test_passwords_are_found_and_never_said(windows: WindowsGuests) -> None:
    wiped = "<a>\n<Password>*SENSITIVE*DATA*DELETED*</Password></a>"
    assert "win-saved-passwords" not in bad(windows.facts({UNATTEND: wiped}))
    text = f"<a>\n{PASSWORD}</a>"
    for raw in (text.encode(), text.encode("utf-16")):
        facts = windows.facts({UNATTEND: raw}, software={WINLOGON: {"DefaultPassword": AUTOLOGON_PASSWORD}})
        assert finding(facts, "win-saved-passwords").where == f"{UNATTEND}:2"
        assert fixes(facts, "win-saved-passwords") == [Remove(UNATTEND)]
        said = str([judge(check, facts) for check in CHECKS])
        said += " ".join(
            describe(e) for check in windows_checks.CHECKS if check.fix for e in check.fix(facts)
        )
        assert "hunter" not in said


# --- what mends it


def mended(windows: WindowsGuests, id: str, **guest: Any) -> tuple[dict[str, str], list[Edit]]:
    """What is still bad once the check's edits of the two hives are made in the guest's trees."""
    edits = fixes(windows.facts(**guest), id)
    hives: dict[str, dict[str, dict[str, Any]]] = {"system": {}, "software": {}}
    for kind in hives:
        for key, values in guest.get(kind, {}).items():
            hives[kind][key] = dict(values) if values is not None else None  # type: ignore[assignment]
    for edit in edits:
        assert isinstance(edit, SetValue | DeleteValue)
        tree = hives["system" if edit.hive == f"{CONFIG}/SYSTEM" else "software"]
        data = edit.data if isinstance(edit, SetValue) else None
        tree.setdefault(edit.key, {})[edit.name] = data
    return bad(windows.facts(**{**guest, **hives})), edits


@pytest.mark.parametrize(
    ("check", "guest"),
    [
        ("win-boot-services", {"system": start(storvsc=3, vmbus=4)}),
        ("win-boot-services", {"system": {rf"{SERVICES}\storvsc\StartOverride": {"0": 3}}}),
        ("win-class-filters", {"system": {VOLUME_CLASS: {"LowerFilters": ("rdyboost", "gone")}}}),
        ("win-class-filters", {"system": {HDC: {"UpperFilters": ("vsepflt",)}}}),
        ("win-nvme", {"system": start(stornvme=3)}),
        ("win-san-policy", {"system": {rf"{SERVICES}\partmgr\Parameters": {"SanPolicy": 4}}}),
        ("win-sysprep-status", {"system": {r"Setup\Status\SysprepStatus": {"CleanupState": 1}}}),
        ("win-custom-answer-file", {"system": {SETUP: {"UnattendFile": r"C:\mine.xml"}}}),
        ("win-cdrom-enabled", {"system": start(cdrom=4)}),
        ("win-rdp", {"system": {LISTENER: {"SSLCertificateSHA1Hash": bytes(20), "PortNumber": 22}}}),
        ("win-rdp-sessions", {"system": {LISTENER: {"MaxInstanceCount": 2}}}),
        ("win-firewall", {"system": {RULES: {"RemoteDesktop-UserMode-In-TCP": None}}}),
        ("win-firewall", {"system": {RULES: {"RemoteDesktop-UserMode-In-TCP": RDP_RULE.replace(
            "TRUE|", "FALSE|Profile=Domain|")}}}),
        ("win-firewall", {"system": {RULES: {"FPS-ICMP4-ERQ-In": PING_RULE.replace("TRUE", "FALSE")},
                                     PROFILE: {"EnableFirewall": 0, "DoNotAllowExceptions": 1}}}),
        ("win-network-dhcp", {"system": {INTERFACE: {"EnableDHCP": 0, "IPAddress": ("10.1.2.3",),
                                                     "NameServer": "10.1.2.1"}}}),
        ("win-proxy", {"software": {PROXY_KEY: {"WinHttpSettings": proxy(b"<local>")}}}),
        ("win-proxy", {"software": {PROXY_KEY: {"WinHttpSettings": proxy(b"")}}}),
        ("win-services", {"system": start(Dhcp=4)}),
        ("win-winrm", {"system": start(WinRM=3)}),
        ("win-time", {"system": start(W32Time=3)}),
        ("win-pagefile", {"system": {MEMORY: {"PagingFiles": ()}}}),
        ("win-power", {"system": {rf"{CS}\Control\Power": {"HibernateEnabled": 1}}}),
        ("win-agent", {"system": start(RdAgent=3)}),
        ("win-agent-state", {"software": {r"Microsoft\Windows Azure": {"VmId": "1"}}}),
        ("win-foreign-tools", {"system": start(VMTools=2, vmci=0)}),
        ("win-ps-policy", {"software": {rf"{POLICIES}\Windows\PowerShell": {"EnableScripts": 0}}}),
        ("win-autologon", {"software": {WINLOGON: {"DefaultPassword": "x", "AutoAdminLogon": "1"}}}),
    ],
)  # fmt: skip
def test_a_fix_mends_what_was_found_and_nothing_else(
    windows: WindowsGuests, check: str, guest: dict[str, Any]
) -> None:
    assert check in bad(windows.facts(**guest))
    left, edits = mended(windows, check, **guest)
    assert left == {}
    assert edits
    assert all(
        edit.key.startswith(CS) for edit in edits if isinstance(edit, SetValue) and "Services" in edit.key
    )


def test_no_fix_has_edits_for_a_good_windows(windows: WindowsGuests) -> None:
    facts = windows.facts()
    for check in CHECKS:
        if check.id.startswith("win-") and check.fix is not None:
            assert list(check.fix(facts)) == [], check.id


def test_a_disabled_filter_of_a_class_is_not_disabled_by_a_fix(windows: WindowsGuests) -> None:
    system: dict[str, Any] = {
        rf"{SERVICES}\xenfilt": {"Start": 0, "ImagePath": r"System32\drivers\disk.sys"},
        HDC: {"UpperFilters": ("XENFILT",)},
    }
    facts = windows.facts(system=system)
    assert bad(facts) == {"win-foreign-tools": "warning"}
    assert fixes(facts, "win-foreign-tools") == []


def test_an_answer_file_and_a_hibernation_file_are_removed(windows: WindowsGuests) -> None:
    facts = windows.facts({UNATTEND: "<unattend/>", "/hiberfil.sys": bytes(64)})
    assert fixes(facts, "win-custom-answer-file") == [Remove(UNATTEND)]
    assert fixes(facts, "win-hibernated") == [Remove("/hiberfil.sys")]
    assert fixes(windows.facts({"/hiberfil.sys": b"hibr" + bytes(60)}), "win-hibernated") == []


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


def test_the_image_state_is_told_in_a_sentence(windows: WindowsGuests, guests: Any) -> None:
    state = image_state(windows.files())
    assert state is not None and state.generalized
    complete = image_state(windows.files(software={STATE: {"ImageState": "IMAGE_STATE_COMPLETE"}}))
    assert complete is not None and not complete.generalized
    assert complete.sentence.startswith("not generalized")
    assert image_state(guests.files({})) is None


def test_damaged_hives_never_stop_the_checks(windows: WindowsGuests) -> None:
    whole = build_hive(SYSTEM)
    numbers = random.Random(5)
    for _ in range(12):
        data = bytearray(whole)
        for _ in range(60):
            data[numbers.randrange(4096, len(data))] ^= 1 << numbers.randrange(8)
        facts = windows.facts({f"{CONFIG}/SYSTEM": bytes(data)})
        assert facts.os is not None
        assert all(judge(check, facts).found for check in CHECKS)


def test_hostile_texts_take_no_time(windows: WindowsGuests) -> None:
    """Each of these takes minutes where a pattern goes back over what it has read."""
    spaces = " " * 900_000
    error = "x, Error" * 200_000
    facts = windows.facts(
        {
            UNATTEND: f"<Password>{spaces}<Password>{spaces[:100_000]}",
            "/Windows/Setup/State/State.ini": "\n" * 60_000,
            f"{SYSPREP_LOGS}/setuperr.log": error,
        },
        software={STATE: {"ImageState": "IMAGE_STATE_COMPLETE" + "\x1b[31m" * 9000}},
        system={RULES: {"x": "v2|" + "RA4=1|LPort=1|" * 30_000}},
        store={element(LOADER, 0x14000006): {"Element": (LOADER,) * 20_000}},
    )
    begun = time.process_time()
    findings = [judge(check, facts) for check in CHECKS]
    assert time.process_time() - begun < 5
    assert all(len(f.found) < 1000 and f.found.isprintable() and f.where.isprintable() for f in findings)


def test_a_hive_is_read_only_so_much(guests: Any) -> None:
    """However often its cells name each other."""
    tree = {"a": {f"v{number}": bytes(1_000) for number in range(900)}}
    key = Hive(guests.node(build_hive(tree)), "/x", "x").find("a")
    assert key is not None
    with pytest.raises(GuestError, match="too much of it"):
        for _ in range(1000):
            assert len(key.values()) == 900


def test_a_driver_that_is_overridden_is_named(windows: WindowsGuests) -> None:
    facts = windows.facts(system={rf"{SERVICES}\storvsc\StartOverride": {"0": 3}, **start(vmbus=4)})
    assert finding(facts, "win-boot-services").found == "vmbus: Start is 4; storvsc: StartOverride\\0 is 3"

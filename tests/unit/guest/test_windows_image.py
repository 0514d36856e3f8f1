"""Checks of what an image of Windows carries into every VM: event logs, packages, devices; and its size."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.guest.windows_guests import KEEP, LOGS, WindowsGuests, evtx
from tests.unit.guest.windows_verdicts import COMPLETE, CS, PASSWORD, UNATTEND, bad, finding, fixes
from vmstamp.errors import GuestError
from vmstamp.guest.edits import Remove, Write
from vmstamp.guest.finding import Status
from vmstamp.guest.windows.evtx import count_records

GIB = 1 << 30
STORE = r"Microsoft\Windows\CurrentVersion\Appx\AppxAllUserStore"
USER = rf"{STORE}\S-1-5-21-1-2-3-1001"
CLIENT = {r"Microsoft\Windows NT\CurrentVersion": {"InstallationType": "Client"}}
VMWARE = {rf"{CS}\Enum\PCI\VEN_15AD&DEV_07C0&SUBSYS_07C015AD&REV_02\4": {"x": 1}}


def complete(**changes: Any) -> dict[str, Any]:
    """A complete Windows of a client with these changes."""
    software = {**COMPLETE["software"], **CLIENT, **changes.get("software", {})}
    system = {**COMPLETE["system"], **changes.get("system", {})}
    return {
        "changes": {**COMPLETE["changes"], **changes.get("files", {})},
        "software": software,
        "system": system,
    }


@pytest.mark.parametrize(
    ("log", "records"),
    [
        (evtx(), 0),
        (evtx((1, -1)), 0),
        (evtx((1, 1)), 1),
        (evtx((9001, 9090), (9091, 9100)), 100),
        (evtx((1, 90), (91, 180), (181, 270)), 180),
        (evtx((7, 3)), 0),
    ],
)
def test_the_records_of_a_log_are_counted_until_there_are_enough(
    guests: Any, log: bytes, records: int
) -> None:
    assert count_records(guests.files({"/x.evtx": log}), "/x.evtx", 100) == records


@pytest.mark.parametrize("data", [b"", b"ElfFile\0", b"LfLe".ljust(4096, b"\0")])
def test_what_is_no_event_log_is_told(guests: Any, data: bytes) -> None:
    with pytest.raises(GuestError, match="event log"):
        count_records(guests.files({"/x.evtx": data}), "/x.evtx", 100)


def test_logs_that_were_not_cleared_are_found_and_removed(windows: WindowsGuests) -> None:
    few: dict[str, str | bytes | None] = {
        f"{LOGS}/System.evtx": evtx((1, 100)),
        f"{LOGS}/Setup.evtx": evtx((1, -1)),
        f"{LOGS}/x.txt": "x",
    }
    assert bad(windows.facts(few)) == {}
    many = {**few, f"{LOGS}/Security.evtx": evtx((50_001, 50_101))}
    facts = windows.facts(many)
    assert bad(facts) == {"win-eventlogs": "warning"}
    assert finding(facts, "win-eventlogs").where == f"{LOGS}/Security.evtx"
    assert fixes(facts, "win-eventlogs") == [Remove(f"{LOGS}/Security.evtx")]


@pytest.mark.parametrize(
    ("packages", "lonely"),
    [
        ((), ""),
        (("Contoso.Mail_1.0.0.0_x64__8wekyb3d8bbwe",), ""),
        (("Contoso.Mail_2.1.0.0_neutral_~_8WEKYB3D8BBWE",), ""),
        (("Contoso.Native_3.0.0.0_x64__8wekyb3d8bbwe",), ""),
        (("Contoso.Editor_1.0.0.0_x64__8wekyb3d8bbwe",), "Contoso.Editor_1.0.0.0_x64__8wekyb3d8bbwe"),
        (("Contoso.Mail_1.0.0.0_x64__0000000000000",), "Contoso.Mail_1.0.0.0_x64__0000000000000"),
    ],
)
def test_a_package_of_one_user_only_is_named(
    windows: WindowsGuests, packages: tuple[str, ...], lonely: str
) -> None:
    bundle = rf"{STORE}\Applications\Contoso.Mail_1.0.0.0_neutral_~_8wekyb3d8bbwe"
    store: dict[str, Any] = {
        rf"{bundle}\Contoso.Native_2.0.0.0_x64__8wekyb3d8bbwe": {"Path": "x"},
        rf"{STORE}\S-1-5-18\Contoso.Editor_1.0.0.0_x64__8wekyb3d8bbwe": {"Path": "x"},
        **{rf"{USER}\{name}": {"Path": "x"} for name in packages},
    }
    facts = windows.facts(**complete(software=store))
    found = finding(facts, "win-appx-peruser")
    assert (found.status is Status.WARNING, lonely in found.found) == (bool(lonely), True)
    server = windows.facts(software={**COMPLETE["software"], **store})
    assert finding(server, "win-appx-peruser").status is Status.NOT_APPLICABLE
    generalized = windows.facts(software={**CLIENT, **store})
    assert finding(generalized, "win-appx-peruser").status is Status.PASS


def test_devices_that_sysprep_keeps_are_told_when_they_are_of_another_platform(
    windows: WindowsGuests,
) -> None:
    on = {UNATTEND: KEEP.format("true")}
    assert finding(windows.facts(on), "win-persist-drivers").status is Status.PASS
    assert finding(windows.facts(system=VMWARE), "win-persist-drivers").status is Status.PASS
    facts = windows.facts(on, system=VMWARE)
    found = finding(facts, "win-persist-drivers")
    assert (found.status, found.where) == (Status.WARNING, f"{UNATTEND}:1")
    assert "VMware" in found.found
    assert fixes(facts, "win-persist-drivers") == []  # Sysprep has kept them


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_devices_are_no_longer_kept_in_the_answer_files_own_encoding(
    windows: WindowsGuests, encoding: str
) -> None:
    facts = windows.facts(**complete(files={UNATTEND: KEEP.format("True").encode(encoding)}, system=VMWARE))
    assert finding(facts, "win-persist-drivers").status is Status.WARNING
    after = KEEP.format("false").encode(encoding)
    assert fixes(facts, "win-persist-drivers") == [Write(UNATTEND, after)]
    facts = windows.facts(**complete(files={UNATTEND: after}, system=VMWARE))
    assert finding(facts, "win-persist-drivers").status is Status.PASS


@pytest.mark.parametrize(
    ("size", "status"),
    [
        (30 * GIB, None),
        (250 * GIB, None),
        (30 * GIB - (1 << 20), "warning"),
        (251 * GIB, "warning"),
    ],
)
def test_the_marketplaces_sizes_are_30_to_250_gib(
    windows: WindowsGuests, size: int, status: str | None
) -> None:
    assert bad(windows.facts(size=size)).get("win-size") == status


@pytest.mark.parametrize(
    ("path", "removed"),
    [
        ("/Windows/Panther/unattend-original.xml", True),
        ("/Windows/Panther/UnattendGC/setup.xml", True),
        ("/Windows/System32/Sysprep/Panther/mine.xml", True),
        ("/autounattend.xml", True),
        ("/config.xml", False),
        ("/Users/me/unattend.xml", False),
    ],
)
def test_a_password_is_found_wherever_answer_files_are_kept(
    windows: WindowsGuests, path: str, removed: bool
) -> None:
    facts = windows.facts({path: PASSWORD})
    assert fixes(facts, "win-saved-passwords") == ([Remove(path)] if removed else [])

"""Checks of how a Windows suits its machine: each on one that fails only this, and what mends it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.guest.windows_guests import (
    WindowsGuests,
)
from tests.unit.guest.windows_verdicts import (
    CS,
    HDC,
    MEMORY,
    POLICIES,
    SERVICES,
    assert_mended,
    bad,
    fixes,
    start,
)


@pytest.mark.parametrize(
    ("check", "status", "system"),
    [
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
    assert bad(windows.facts(software=software)) == {check: status}


@pytest.mark.parametrize(
    ("check", "status", "changes"),
    [
        ("win-agent", "warning", {"/WindowsAzure/Logs/": None}),
    ],
)  # fmt: skip
def test_one_wrong_file_fails_one_check(
    windows: WindowsGuests, check: str, status: str, changes: dict[str, str | bytes | None]
) -> None:
    assert bad(windows.facts(changes)) == {check: status}


@pytest.mark.parametrize(
    ("check", "guest"),
    [
        ("win-time", {"system": start(W32Time=3)}),
        ("win-pagefile", {"system": {MEMORY: {"PagingFiles": ()}}}),
        ("win-power", {"system": {rf"{CS}\Control\Power": {"HibernateEnabled": 1}}}),
        ("win-agent", {"system": start(RdAgent=3)}),
        ("win-agent-state", {"software": {r"Microsoft\Windows Azure": {"VmId": "1"}}}),
        ("win-foreign-tools", {"system": start(VMTools=2, vmci=0)}),
        ("win-ps-policy", {"software": {rf"{POLICIES}\Windows\PowerShell": {"EnableScripts": 0}}}),
    ],
)  # fmt: skip
def test_a_fix_mends_what_was_found_and_nothing_else(
    windows: WindowsGuests, check: str, guest: dict[str, Any]
) -> None:
    assert_mended(windows, check, guest)


def test_a_disabled_filter_of_a_class_is_not_disabled_by_a_fix(windows: WindowsGuests) -> None:
    system: dict[str, Any] = {
        rf"{SERVICES}\xenfilt": {"Start": 0, "ImagePath": r"System32\drivers\disk.sys"},
        HDC: {"UpperFilters": ("XENFILT",)},
    }
    facts = windows.facts(system=system)
    assert bad(facts) == {"win-foreign-tools": "warning"}
    assert fixes(facts, "win-foreign-tools") == []

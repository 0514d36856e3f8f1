"""What the checks find on a Windows of `windows_guests`, and what is left after their fixes."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

from tests.unit.guest.windows_guests import (
    CONFIG,
    FIREWALL,
    STATE,
    WindowsGuests,
    services,
)
from vmstamp.errors import GuestError
from vmstamp.guest.checks import CHECKS
from vmstamp.guest.edits import DeleteValue, Edit, SetValue
from vmstamp.guest.facts import Facts
from vmstamp.guest.finding import Check, Finding, Severity, Status, judge

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
        tree[edit.key] = {**(tree.get(edit.key) or {}), edit.name: data}
    return bad(windows.facts(**{**guest, **hives})), edits


def assert_mended(windows: WindowsGuests, check: str, guest: dict[str, Any]) -> None:
    """The check's fix mends what it finds on this guest, and nothing is found then."""
    assert check in bad(windows.facts(**guest))
    left, edits = mended(windows, check, **guest)
    assert left == {}
    assert edits
    services = [edit for edit in edits if isinstance(edit, SetValue) and "\\Services\\" in edit.key]
    assert all(edit.key.startswith(CS) for edit in services)

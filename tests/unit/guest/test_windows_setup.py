"""Checks of Sysprep and setup: each on a Windows that fails only this, and what mends it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.guest.windows_guests import (
    CONFIG,
    STATE,
    WindowsGuests,
)
from tests.unit.guest.windows_verdicts import (
    COMPLETE,
    CS,
    POLICIES,
    SETUP,
    SYSPREP_LOGS,
    UNATTEND,
    assert_mended,
    bad,
    finding,
    fixes,
    start,
)
from vmstamp.guest.edits import Remove, SetValue
from vmstamp.guest.finding import Status
from vmstamp.guest.windows.system import image_state


@pytest.mark.parametrize(
    ("check", "status", "system"),
    [
        ("win-setup-flags", "fail", {SETUP: {"SetupType": 0}}),
        ("win-setup-flags", "fail", {SETUP: {"CmdLine": "cmd.exe"}}),
        ("win-sysprep-status", "warning", {r"Setup\Status\SysprepStatus": {"GeneralizationState": 3}}),
        ("win-custom-answer-file", "fail", {SETUP: {"UnattendFile": r"C:\mine.xml"}}),
        ("win-cdrom-enabled", "fail", start(cdrom=4)),
        ("win-cdrom-enabled", "fail", start(Fs_Rec=4)),
        ("win-pending-reboot", "warning",
         {rf"{CS}\Control\Session Manager": {"PendingFileRenameOperations": (r"\??\C:\a",)}}),
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
         {r"Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired": {"x": 1}}),
        ("win-pending-reboot", "fail",
         {r"Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending": {"x": 1}}),
    ],
)  # fmt: skip
def test_one_wrong_value_of_the_software_hive_fails_one_check(
    windows: WindowsGuests, check: str, status: str, software: Any
) -> None:
    wanted = {check: status}
    if check == "win-imagestate":
        wanted = {**wanted, "win-generalized": "fail", "win-setup-flags": "fail"}
    assert bad(windows.facts(software=software)) == wanted


@pytest.mark.parametrize(
    ("check", "status", "changes"),
    [
        ("win-imagestate", "warning", {"/Windows/System32/Sysprep/Sysprep_succeeded.tag": None}),
        ("win-imagestate", "warning",
         {"/Windows/Setup/State/State.ini": "[State]\r\nImageState=IMAGE_STATE_UNDEPLOYABLE\r\n"}),
        ("win-custom-answer-file", "fail", {UNATTEND: "<unattend/>"}),
        ("win-pending-reboot", "fail", {"/Windows/WinSxS/pending.xml": "<x/>"}),
    ],
)  # fmt: skip
def test_one_wrong_file_fails_one_check(
    windows: WindowsGuests, check: str, status: str, changes: dict[str, str | bytes | None]
) -> None:
    assert bad(windows.facts(changes)) == {check: status}


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


def test_the_image_state_is_told_in_a_sentence(windows: WindowsGuests, guests: Any) -> None:
    state = image_state(windows.files())
    assert state is not None and state.generalized
    complete = image_state(windows.files(software={STATE: {"ImageState": "IMAGE_STATE_COMPLETE"}}))
    assert complete is not None and not complete.generalized
    assert complete.sentence.startswith("not generalized")
    assert image_state(guests.files({})) is None


@pytest.mark.parametrize(
    ("check", "guest"),
    [
        ("win-sysprep-status", {"system": {r"Setup\Status\SysprepStatus": {"CleanupState": 1}}}),
        ("win-custom-answer-file", {"system": {SETUP: {"UnattendFile": r"C:\mine.xml"}}}),
        ("win-cdrom-enabled", {"system": start(cdrom=4)}),
        ("win-cdrom-enabled", {"system": start(Fs_Rec=4)}),
    ],
)  # fmt: skip
def test_a_fix_mends_what_was_found_and_nothing_else(
    windows: WindowsGuests, check: str, guest: dict[str, Any]
) -> None:
    assert_mended(windows, check, guest)


def test_an_answer_file_and_a_hibernation_file_are_removed(windows: WindowsGuests) -> None:
    facts = windows.facts({UNATTEND: "<unattend/>", "/hiberfil.sys": bytes(64)})
    assert fixes(facts, "win-custom-answer-file") == [Remove(UNATTEND)]
    assert fixes(facts, "win-hibernated") == [Remove("/hiberfil.sys")]
    assert fixes(windows.facts({"/hiberfil.sys": b"hibr" + bytes(60)}), "win-hibernated") == []


RUN = "2026-05-01 10:00:00, Info     SYSPRP ===          Beginning of a new sysprep run          ===\n"
NO_REARM = (
    "2026-05-01 10:00:09, Error      [0x0f0082] SYSPRP LaunchDll: Failure occurred while executing "
    "'C:\\Windows\\System32\\slc.dll, SLReArmWindows', returned error code -1073425657\n"
)


def complete(logs: dict[str, str | bytes], **software: Any) -> dict[str, Any]:
    """A Windows in use with these logs of Sysprep."""
    paths = {f"{SYSPREP_LOGS}/{name}": text for name, text in logs.items()}
    return {
        **COMPLETE,
        "changes": {**COMPLETE["changes"], **paths},
        "software": {**COMPLETE["software"], **software},
    }


def test_runs_of_sysprep_are_counted_against_the_limit(windows: WindowsGuests) -> None:
    few = windows.facts(**complete({"setupact.log": RUN * 2}))
    assert finding(few, "win-rearm").status is Status.PASS
    assert "tells of 2 runs, the limit is 1001" in finding(few, "win-rearm").found
    many = windows.facts(**complete({"setupact.log": (RUN * 1001).encode("utf-16")}))
    assert finding(many, "win-rearm").status is Status.WARNING
    assert "win-rearm" not in bad(windows.facts({f"{SYSPREP_LOGS}/setupact.log": RUN * 1001}))


def test_windows_7_has_three_rearms(windows: WindowsGuests) -> None:
    version = {r"Microsoft\Windows NT\CurrentVersion": {"CurrentBuild": "7601"}}
    for runs, status in ((2, Status.PASS), (3, Status.WARNING)):
        facts = windows.facts(**complete({"setupact.log": RUN * runs}, **version))
        assert finding(facts, "win-rearm").status is status


@pytest.mark.parametrize("line", [NO_REARM, NO_REARM.split(" LaunchDll")[0] + " WinMain: hr = 0xc004d307\n"])
def test_a_sysprep_without_a_rearm_left_is_told_with_its_line(windows: WindowsGuests, line: str) -> None:
    facts = windows.facts(**complete({"setuperr.log": "x\n" + line}))
    found = finding(facts, "win-rearm")
    assert (found.status, found.where) == (Status.WARNING, f"{SYSPREP_LOGS}/setuperr.log:2")
    assert fixes(facts, "win-rearm") == []

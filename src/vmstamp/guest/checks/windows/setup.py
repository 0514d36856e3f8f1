"""Checks of Sysprep and of Windows' setup: whether the next boot ends in a machine that is ready."""

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
from vmstamp.guest.edits import DeleteValue, Edit, Remove
from vmstamp.guest.facts import Facts, has_windows
from vmstamp.guest.finding import Check, Severity, Verdict, failed, not_applicable, passed, warned
from vmstamp.guest.windows.sysprep import (
    ANSWER_FILES,
    LOGS,
    PANTHER,
    SUCCEEDED_TAG,
    SYSPREP,
    complaints,
    count_runs,
    find_no_rearm,
)
from vmstamp.guest.windows.system import COMPLETE, GENERALIZED, SYSTEM_HIVE, Windows

STATE_INI = "/Windows/Setup/State/State.ini"
SETUP = "Setup"
SYSPREP_STATUS = r"Setup\Status\SysprepStatus"
SERVICING = r"Microsoft\Windows\CurrentVersion\Component Based Servicing"
WINDOWS_UPDATE = r"Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired"
SESSION_MANAGER = r"CurrentControlSet\Control\Session Manager"
STORAGE_POLICY = r"Policies\Microsoft\Windows\RemovableStorageDevices"
CD_POLICY = rf"{STORAGE_POLICY}\{{53f56308-b6bf-11d0-94f2-00a0c91efb8b}}"

LICENSING = r"Microsoft\Windows NT\CurrentVersion\SoftwareProtectionPlatform"
NT_6_2 = 9200  # the build of Windows Server 2012 and Windows 8
FEW_REARMS, MANY_REARMS = 3, 1001
_SKIP_REARM = Setting("SOFTWARE", LICENSING, "SkipRearm", (0,))
# SysprepStatus of an image that Sysprep takes, and after it has run.
_STATUS = (
    Setting("SYSTEM", SYSPREP_STATUS, "GeneralizationState", (7,)),
    Setting("SYSTEM", SYSPREP_STATUS, "CleanupState", (2,)),
)
_SETUP_DONE = (
    Setting("SYSTEM", SETUP, "SystemSetupInProgress", (0,), fails=True),
    Setting("SYSTEM", SETUP, "OOBEInProgress", (0,), fails=True),
    Setting("SYSTEM", SETUP, "SetupType", (0,), fails=True),
)


def _state_ini(windows: Windows) -> str:
    match = re.search(
        r"^[ \t]*ImageState[ \t]*=[ \t]*(\S+)", windows.files.find_text(STATE_INI, 64 * 1024) or "", re.M
    )
    return match[1] if match else ""


def _image_state(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    state = windows.image_state
    if state is None:
        return failed("setup has told no ImageState", r"HKLM\SOFTWARE")
    if state.name not in (GENERALIZED, COMPLETE):
        return failed(f"{state.name}: {state.sentence}", state.where)
    other = _state_ini(windows)
    if other and other != state.name:
        return warned(f"the registry says {state.name}, State.ini says {show(other)}", STATE_INI)
    if state.name == GENERALIZED and not windows.files.is_file(SUCCEEDED_TAG):
        return warned(f"{state.name}, but Sysprep left no Sysprep_succeeded.tag", SYSPREP)
    return passed(state.sentence, state.where)


def is_generalized(facts: Facts) -> bool:
    state = windows_of(facts).image_state
    return state is not None and state.generalized


def _generalized(facts: Facts) -> Verdict:
    state = windows_of(facts).image_state
    if state is None:
        return failed("setup has told no ImageState", r"HKLM\SOFTWARE")
    return (passed if state.generalized else failed)(state.sentence, state.where)


def _setup_flags(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    if not is_generalized(facts):
        return judge_settings(windows, _SETUP_DONE, "no setup is due at the next boot")
    kind = windows.number("SYSTEM", SETUP, "SetupType")
    command = windows.text("SYSTEM", SETUP, "CmdLine")
    place = windows.place("SYSTEM", SETUP, "SetupType")
    if kind != 2 or "windeploy" not in command.lower():
        return failed(f"SetupType is {kind}, CmdLine {show(command)!r}: setup would not go on", place)
    return passed("windeploy.exe goes on with setup at the next boot", place)


def _fix_setup_flags(facts: Facts) -> Iterator[Edit]:
    """Of a complete Windows only: what Sysprep prepares, Sysprep must prepare."""
    windows = windows_of(facts)
    state = windows.image_state
    if state is not None and state.name == COMPLETE:
        yield from edits_of(windows, _SETUP_DONE)


def _sysprep_log(facts: Facts) -> Verdict:
    files = windows_of(facts).files
    if is_generalized(facts):
        return passed("Sysprep has run to its end")
    if not any(files.is_file(path) for path in LOGS):
        return not_applicable("Sysprep has not run")
    first = next(complaints(files), None)
    if first is None:
        return passed("Sysprep's logs tell of no error", LOGS[0])
    if first.package:
        found = f"Sysprep stopped at the package {show(first.package)}, installed for a user only"
        return failed(found, first.where)
    return warned(f"Sysprep's last error: {show(first.text)}", first.where)


def _answer_files(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    verdict = failed if is_generalized(facts) else warned
    named = windows.text("SYSTEM", SETUP, "UnattendFile")
    if named:
        return verdict("the registry names an answer file", windows.place("SYSTEM", SETUP, "UnattendFile"))
    found = next((path for path in ANSWER_FILES if windows.files.is_file(path)), None)
    if found:
        return verdict("an answer file that setup takes before Azure's", found)
    return passed("no answer file is before Azure's")


def _fix_answer_files(facts: Facts) -> Iterator[Edit]:
    windows = windows_of(facts)
    if windows.text("SYSTEM", SETUP, "UnattendFile"):
        yield DeleteValue(SYSTEM_HIVE, SETUP, "UnattendFile")
    yield from (Remove(path) for path in ANSWER_FILES if windows.files.is_file(path))


def _panther(facts: Facts) -> Verdict:
    if is_generalized(facts):
        return passed("Sysprep has run; the logs in Panther may be its own")
    if windows_of(facts).files.is_directory(PANTHER):
        return warned("the logs and answer files of the first setup are still there", PANTHER)
    return passed("no Panther directory of an earlier setup")


def _fix_panther(facts: Facts) -> Iterator[Edit]:
    if not is_generalized(facts) and windows_of(facts).files.is_directory(PANTHER):
        yield Remove(PANTHER)


def _pending(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    pending = "/Windows/WinSxS/pending.xml"
    if windows.files.is_file(pending):
        return failed("an update is half installed", pending)
    for key in (rf"{SERVICING}\RebootPending", rf"{SERVICING}\RebootInProgress", WINDOWS_UPDATE):
        if windows.has_key("SOFTWARE", key):
            return failed("an update waits for a restart", windows.place("SOFTWARE", key))
    name = "PendingFileRenameOperations"
    renames = windows.texts("SYSTEM", SESSION_MANAGER, name)
    if renames:
        place = windows.place("SYSTEM", SESSION_MANAGER, name)
        return warned("files are to be renamed or deleted at the next boot", place)
    return passed("nothing waits for a restart")


def _rearms(build: int) -> int:
    """How often this build can be generalized. Document: sources.SYSPREP, the limits of Sysprep."""
    return FEW_REARMS if 0 < build < NT_6_2 else MANY_REARMS


def _rearm(facts: Facts) -> Verdict:
    """An image that Sysprep has generalized needs no further rearm of its own."""
    windows = windows_of(facts)
    problem = _SKIP_REARM.problem(windows)
    if problem:
        return warned(problem, windows.place("SOFTWARE", LICENSING, "SkipRearm"))
    runs, limit = count_runs(windows.files), _rearms(windows.build)
    told = f"Sysprep's log tells of {runs} {'run' if runs == 1 else 'runs'}, the limit is {limit}"
    exhausted = find_no_rearm(windows.files)
    if exhausted and not is_generalized(facts):
        return warned("Sysprep failed, as no rearm of the activation is left", exhausted)
    if runs >= limit and not is_generalized(facts):
        return warned(told, LOGS[1])
    return passed(f"SkipRearm is not set; {told}", LOGS[1] if runs else "")


def _fix_rearm(facts: Facts) -> Iterator[Edit]:
    return edits_of(windows_of(facts), (_SKIP_REARM,))


CHECKS = (
    Check(
        "win-imagestate",
        "setup or Sysprep has come to its end",
        Severity.PROVISION,
        "the VM boots into audit mode or into a setup that cannot go on, and never reports Ready",
        sources.STATES,
        has_windows,
        _image_state,
        "start Windows and run `sysprep /generalize /shutdown /oobe` again",
    ),
    Check(
        "win-generalized",
        "Sysprep has generalized Windows",
        Severity.PROVISION,
        "of an image marked as generalized Azure expects a setup that goes on at first boot; without one the "
        "VM times out, and all VMs have one SID and name",
        sources.GENERALIZE,
        has_windows,
        _generalized,
        "run `sysprep /generalize /shutdown /oobe` inside Windows, or make a specialized image",
        identity=True,
    ),
    Check(
        "win-setup-flags",
        "the next boot does what the image's state says",
        Severity.PROVISION,
        "Windows shows 'The computer restarted unexpectedly' or never starts its setup",
        sources.STATES,
        has_windows,
        _setup_flags,
        "run Sysprep again; on a Windows that is set up, clear SetupType in HKLM\\SYSTEM\\Setup",
        fix=_fix_setup_flags,
    ),
    settings_check(
        "win-sysprep-status",
        "Sysprep would run",
        Severity.PROVISION,
        "Sysprep stops with a fatal error after an attempt that was cut off",
        sources.SYSPREP,
        _STATUS,
        "no earlier run of Sysprep was cut off",
        r"set GeneralizationState to 7 and CleanupState to 2 in HKLM\SYSTEM\Setup\Status\SysprepStatus",
    ),
    Check(
        "win-sysprep-log",
        "Sysprep met no error",
        Severity.PROVISION,
        "Windows cannot be generalized until this is gone",
        sources.PACKAGES,
        has_windows,
        _sysprep_log,
        "remove the package for every user: `Remove-AppxPackage -AllUsers`, then run Sysprep again",
    ),
    Check(
        "win-custom-answer-file",
        "no answer file comes before Azure's",
        Severity.PROVISION,
        "setup takes it in place of the one on the provisioning DVD: neither name nor account are made",
        sources.GENERALIZE,
        has_windows,
        _answer_files,
        "delete it, and run Sysprep without /unattend",
        fix=_fix_answer_files,
    ),
    Check(
        "win-panther-clean",
        "setup's directory was removed before Sysprep",
        Severity.PROVISION,
        "Sysprep may fail or take up an old answer file",
        sources.GENERALIZE,
        has_windows,
        _panther,
        "delete C:\\Windows\\Panther before Sysprep",
        identity=True,
        trace=True,
        fix=_fix_panther,
    ),
    settings_check(
        "win-cdrom-enabled",
        "the provisioning DVD can be read",
        Severity.PROVISION,
        "setup does not see Azure's DVD and stays in the out-of-box experience",
        sources.GENERALIZE,
        (
            service("cdrom", 1, 0, 3, 2, absent=False, fails=True),
            # cdfs and udfs are disabled by default: the recognizer starts the one that a disk needs
            service("Fs_Rec", 1, 0, 2, fails=True),
            Setting("SOFTWARE", STORAGE_POLICY, "Deny_All", (0,), fails=True),
            Setting("SOFTWARE", CD_POLICY, "Deny_Read", (0,), fails=True),
        ),
        "the CD-ROM driver starts, and no policy denies removable storage",
        r"`reg add HKLM\SYSTEM\CurrentControlSet\Services\cdrom /v start /t REG_DWORD /d 1 /f`",
    ),
    Check(
        "win-pending-reboot",
        "nothing waits for a restart",
        Severity.PROVISION,
        "the first boot installs updates in place of being provisioned, and Sysprep refuses",
        sources.PREPARE,
        has_windows,
        _pending,
        "restart Windows until nothing is pending, then shut it down",
    ),
    Check(
        "win-rearm",
        "Sysprep resets the activation, and can",
        Severity.BEST,
        "with SkipRearm every VM has one activation client id, so a KMS host counts them as one machine; and "
        "a Windows whose rearms are used up cannot be generalized. How many are left the licensing service "
        "keeps encrypted, and it is not read here: only the runs that Sysprep's log tells of are counted",
        sources.SYSPREP,
        has_windows,
        _rearm,
        "set SkipRearm to 0 before Sysprep; where no rearm is left (`slmgr /dlv`), make the image anew",
        fix=_fix_rearm,
    ),
)

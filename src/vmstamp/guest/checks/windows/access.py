"""Checks of who can log in to a Windows: Remote Desktop, accounts and saved passwords."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmstamp.guest.checks.sources import CERTIFICATION
from vmstamp.guest.checks.windows import sources
from vmstamp.guest.checks.windows.settings import Setting, service, settings_check, show, windows_of
from vmstamp.guest.edits import DeleteValue, Edit, Remove, SetValue
from vmstamp.guest.facts import Facts, has_windows
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed, warned
from vmstamp.guest.windows.accounts import read_accounts
from vmstamp.guest.windows.answers import find_answer_files, read_answers
from vmstamp.guest.windows.system import SAM_HIVE, SOFTWARE_HIVE

TERMINAL_SERVER = r"CurrentControlSet\Control\Terminal Server"
LISTENER = rf"{TERMINAL_SERVER}\WinStations\RDP-Tcp"
TLS = r"CurrentControlSet\Control\SecurityProviders\SCHANNEL\Protocols\TLS 1.2\Server"
POLICY = r"Policies\Microsoft\Windows NT\Terminal Services"
WINLOGON = r"Microsoft\Windows NT\CurrentVersion\Winlogon"
SHOWN_ACCOUNTS = 5

# A password in an answer file; setup writes the mark over those that it has used.
_PASSWORD = re.compile(
    r"<(?:\w+:)?(?:AdministratorPassword|Password)>\s*+(?:<(?:\w+:)?Value>\s*+)?([^<\s][^<]*)", re.IGNORECASE
)
_USED = "*SENSITIVE*DATA*DELETED*"


def _accounts(facts: Facts) -> Verdict:
    accounts = read_accounts(windows_of(facts).sam)
    own = [account for account in accounts if account.enabled and not account.built_in]
    if not own:
        return passed(f"{len(accounts)} accounts, none enabled but those that come with Windows", SAM_HIVE)
    names = ", ".join(show(account.name) for account in own[:SHOWN_ACCOUNTS])
    more = f" and {len(own) - SHOWN_ACCOUNTS} more" if len(own) > SHOWN_ACCOUNTS else ""
    return failed(f"enabled accounts: {names}{more}", SAM_HIVE)


def _autologon(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    if windows.text("SOFTWARE", WINLOGON, "DefaultPassword"):
        place = windows.place("SOFTWARE", WINLOGON, "DefaultPassword")
        return failed("a password for automatic logon is stored in clear", place)
    if windows.data("SOFTWARE", WINLOGON, "AutoAdminLogon") in ("1", 1):
        place = windows.place("SOFTWARE", WINLOGON, "AutoAdminLogon")
        return warned("somebody is logged on automatically", place)
    return passed("nobody is logged on automatically")


def _fix_autologon(facts: Facts) -> Iterator[Edit]:
    windows = windows_of(facts)
    if windows.value("SOFTWARE", WINLOGON, "DefaultPassword") is not None:
        yield DeleteValue(SOFTWARE_HIVE, WINLOGON, "DefaultPassword")
    if windows.data("SOFTWARE", WINLOGON, "AutoAdminLogon") in ("1", 1):
        yield SetValue(SOFTWARE_HIVE, WINLOGON, "AutoAdminLogon", "REG_SZ", "0")


def _files_with_passwords(facts: Facts) -> Iterator[tuple[str, int]]:
    """The answer files with a password that was not wiped, and its line."""
    files = windows_of(facts).files
    for path in find_answer_files(files):
        text = read_answers(files, path)
        for match in _PASSWORD.finditer(text):
            if match[1].strip() != _USED:
                yield path, text.count("\n", 0, match.start()) + 1
                break


def _saved_passwords(facts: Facts) -> Verdict:
    for path, line in _files_with_passwords(facts):
        return failed("a password is stored in an answer file", f"{path}:{line}")
    return passed("no answer file holds a password")


def _fix_saved_passwords(facts: Facts) -> Iterator[Edit]:
    return (Remove(path) for path, _ in _files_with_passwords(facts))


CHECKS = (
    settings_check(
        "win-rdp",
        "Remote Desktop lets somebody in",
        Severity.PROVISION,
        "nobody can log in: a Windows VM on Azure has no other console",
        f"{sources.PREPARE}; {sources.REPAIR_RDP}",
        (
            Setting("SYSTEM", TERMINAL_SERVER, "fDenyTSConnections", (0,), absent=False, fails=True),
            Setting("SOFTWARE", POLICY, "fDenyTSConnections", (0,), fails=True),
            service("TermService", 3, 2, absent=False, fails=True),
            service("SessionEnv", 3, 2, fails=True),
            service("UmRdpService", 3, 2, fails=True),
            Setting("SYSTEM", LISTENER, "fEnableWinStation", (1,), fails=True),
            Setting("SYSTEM", LISTENER, "PortNumber", (3389,), absent=False, fails=True),
            Setting("SYSTEM", LISTENER, "LanAdapter", (0,), fails=True),
            # out of these ranges, or without TLS 1.2, the listener agrees with no client: sources.REPAIR_RDP
            Setting("SYSTEM", LISTENER, "SecurityLayer", (2, 1, 0), fails=True),
            Setting("SYSTEM", LISTENER, "MinEncryptionLevel", (2, 1, 3, 4), fails=True),
            Setting("SYSTEM", TLS, "Enabled", (1, 0xFFFFFFFF), fails=True),
            Setting("SYSTEM", TLS, "DisabledByDefault", (0,), fails=True),
            Setting("SYSTEM", LISTENER, "UserAuthentication", (1,)),
            Setting("SYSTEM", LISTENER, "SSLCertificateSHA1Hash", ()),
        ),
        "Remote Desktop listens on port 3389 of every interface",
        r"set fDenyTSConnections to 0 in HKLM\SYSTEM\CurrentControlSet\Control\Terminal Server",
    ),
    settings_check(
        "win-rdp-sessions",
        "Remote Desktop keeps and resumes sessions",
        Severity.BEST,
        "sessions that broke off stay open, or cannot be resumed",
        sources.PREPARE,
        (
            Setting("SOFTWARE", POLICY, "KeepAliveEnable", (1,)),
            Setting("SOFTWARE", POLICY, "KeepAliveInterval", (1,)),
            Setting("SOFTWARE", POLICY, "fDisableAutoReconnect", (0,)),
            Setting("SYSTEM", LISTENER, "KeepAliveTimeout", (1,), absent=False),
            Setting("SYSTEM", LISTENER, "fInheritReconnectSame", (1,)),
            Setting("SYSTEM", LISTENER, "fReconnectSame", (0,)),
            Setting("SYSTEM", LISTENER, "MaxInstanceCount", (0xFFFFFFFF,)),
        ),
        "sessions are kept alive and resumed",
        "set the values of the document in WinStations\\RDP-Tcp",
    ),
    Check(
        "win-local-users",
        "no accounts but those that come with Windows",
        Severity.SECURITY,
        "whoever knows the password of an account of the image can log in to every VM",
        CERTIFICATION,
        has_windows,
        _accounts,
        "delete or disable the accounts inside Windows before Sysprep",
        identity=True,
        trace=True,
    ),
    Check(
        "win-autologon",
        "nobody is logged on automatically",
        Severity.SECURITY,
        "every VM holds the password in clear, and its console is open",
        CERTIFICATION,
        has_windows,
        _autologon,
        r"delete DefaultPassword and set AutoAdminLogon to 0 in HKLM\SOFTWARE\...\Winlogon",
        fix=_fix_autologon,
    ),
    Check(
        "win-saved-passwords",
        "no answer file holds a password",
        Severity.SECURITY,
        "every VM made of the image holds the password",
        CERTIFICATION,
        has_windows,
        _saved_passwords,
        "delete the answer file",
        fix=_fix_saved_passwords,
    ),
)

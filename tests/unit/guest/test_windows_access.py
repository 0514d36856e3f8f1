"""Checks of who reaches a Windows: each on one that fails only this, and what mends it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.unit.guest.windows_guests import (
    INTERFACE,
    LISTENER,
    PING_RULE,
    RDP_RULE,
    WindowsGuests,
    account,
)
from tests.unit.guest.windows_verdicts import (
    CS,
    PASSWORD,
    POLICIES,
    PROFILE,
    PROXY_KEY,
    RULES,
    SERVICES,
    UNATTEND,
    WINLOGON,
    assert_mended,
    bad,
    finding,
    fixes,
    proxy,
    start,
)
from vmstamp.guest.checks import CHECKS
from vmstamp.guest.checks import windows as windows_checks
from vmstamp.guest.edits import Remove, describe
from vmstamp.guest.finding import Status, judge

TLS = rf"{CS}\Control\SecurityProviders\SCHANNEL\Protocols\TLS 1.2\Server"
AUTOLOGON_PASSWORD = "hunter3hunter3"


@pytest.mark.parametrize(
    ("check", "status", "system"),
    [
        ("win-rdp", "fail", {rf"{CS}\Control\Terminal Server": {"fDenyTSConnections": 1}}),
        ("win-rdp", "fail", {rf"{CS}\Control\Terminal Server": {"fDenyTSConnections": None}}),
        ("win-rdp", "fail", {LISTENER: {"PortNumber": 3390}}),
        ("win-rdp", "fail", {LISTENER: {"LanAdapter": 2}}),
        ("win-rdp", "fail", {LISTENER: {"fEnableWinStation": 0}}),
        ("win-rdp", "fail", {LISTENER: {"SecurityLayer": 7}}),
        ("win-rdp", "fail", {LISTENER: {"MinEncryptionLevel": 0}}),
        ("win-rdp", "fail", start(SessionEnv=4)),
        ("win-rdp", "fail", {TLS: {"Enabled": 0}}),
        ("win-rdp", "fail", {TLS: {"Enabled": 1, "DisabledByDefault": 1}}),
        ("win-firewall", "warning", {RULES: {"WINRM-HTTP-In-TCP-PUBLIC": None}}),
        ("win-network-dhcp", "warning",
         {rf"{SERVICES}\NetBT\Parameters\Interfaces\Tcpip_{{1}}": {"NameServerList": ("10.1.2.1",)}}),
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
    ],
)  # fmt: skip
def test_one_wrong_value_of_the_system_hive_fails_one_check(
    windows: WindowsGuests, check: str, status: str, system: Any
) -> None:
    assert bad(windows.facts(system=system)) == {check: status}


@pytest.mark.parametrize(
    ("check", "status", "software"),
    [
        ("win-rdp", "fail", {rf"{POLICIES}\Windows NT\Terminal Services": {"fDenyTSConnections": 1}}),
        ("win-autologon", "fail", {WINLOGON: {"DefaultPassword": AUTOLOGON_PASSWORD}}),
        ("win-autologon", "warning", {WINLOGON: {"AutoAdminLogon": "1"}}),
        ("win-firewall", "fail",
         {rf"{POLICIES}\WindowsFirewall\PublicProfile": {"AllowLocalPolicyMerge": 0}}),
        ("win-proxy", "fail", {PROXY_KEY: {"WinHttpSettings": proxy(b"<local>")}}),
    ],
)  # fmt: skip
def test_one_wrong_value_of_the_software_hive_fails_one_check(
    windows: WindowsGuests, check: str, status: str, software: Any
) -> None:
    assert bad(windows.facts(software=software)) == {check: status}


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


@pytest.mark.parametrize(
    ("check", "guest"),
    [
        ("win-rdp", {"system": {TLS: {"Enabled": 0, "DisabledByDefault": 1}, **start(UmRdpService=4)}}),
        ("win-rdp", {"system": {LISTENER: {"SSLCertificateSHA1Hash": bytes(20), "PortNumber": 22}}}),
        ("win-rdp-sessions", {"system": {LISTENER: {"MaxInstanceCount": 2}}}),
        ("win-firewall", {"system": {RULES: {"RemoteDesktop-UserMode-In-TCP": None}}}),
        ("win-firewall", {"system": {RULES: {"WINRM-HTTP-In-TCP-PUBLIC": None}}}),
        ("win-firewall", {"system": {RULES: {"FPS-ICMP4-ERQ-In": None}}}),
        ("win-firewall",
         {"system": {RULES: {"x": "v2.31|Action=Block|Active=TRUE|Dir=In|Protocol=6|LPort=3000-4000|"}}}),
        ("win-firewall",
         {"system": {RULES: {"x": "v2.31|Action=Block|Active=TRUE|Dir=Out|RA4=168.63.0.0/16|"}}}),
        ("win-firewall", {"system": {PROFILE: {"DefaultOutboundAction": 1}}}),
        ("win-network-dhcp", {"system": {
            rf"{SERVICES}\NetBT\Parameters\Interfaces\Tcpip_{{1}}": {"NameServerList": ("10.1.2.1",)}}}),
        ("win-rdp-sessions",
         {"software": {rf"{POLICIES}\Windows NT\Terminal Services": {"KeepAliveInterval": 0}}}),
        ("win-firewall", {"system": {RULES: {"RemoteDesktop-UserMode-In-TCP": RDP_RULE.replace(
            "TRUE|", "FALSE|Profile=Domain|")}}}),
        ("win-firewall", {"system": {RULES: {"FPS-ICMP4-ERQ-In": PING_RULE.replace("TRUE", "FALSE")},
                                     PROFILE: {"EnableFirewall": 0, "DoNotAllowExceptions": 1}}}),
        ("win-network-dhcp", {"system": {INTERFACE: {"EnableDHCP": 0, "IPAddress": ("10.1.2.3",),
                                                     "NameServer": "10.1.2.1"}}}),
        ("win-proxy", {"software": {PROXY_KEY: {"WinHttpSettings": proxy(b"<local>")}}}),
        ("win-proxy", {"software": {PROXY_KEY: {"WinHttpSettings": proxy(b"")}}}),
        ("win-services", {"system": start(Dhcp=4)}),
        ("win-autologon", {"software": {WINLOGON: {"DefaultPassword": "x", "AutoAdminLogon": "1"}}}),
    ],
)  # fmt: skip
def test_a_fix_mends_what_was_found_and_nothing_else(
    windows: WindowsGuests, check: str, guest: dict[str, Any]
) -> None:
    assert_mended(windows, check, guest)

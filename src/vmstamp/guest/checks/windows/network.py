"""Checks of a Windows' network: addresses, firewall, proxy, and the services that it lives by."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from vmstamp.guest.checks.windows import sources
from vmstamp.guest.checks.windows.settings import service, settings_check, show, windows_of
from vmstamp.guest.edits import DeleteValue, Edit, SetValue
from vmstamp.guest.facts import Facts, has_windows
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed, warned
from vmstamp.guest.windows.firewall import (
    POLICY,
    PROFILES,
    RULES,
    Rule,
    activated,
    deactivated,
    parse_rule,
    read_rules,
)
from vmstamp.guest.windows.system import SOFTWARE_HIVE, SYSTEM_HIVE, Windows

AZURE = "168.63.129.16"
RDP_PORT = 3389
RDP_RULE = "RemoteDesktop-UserMode-In-TCP"
WINRM_PORT = 5985
WINRM_RULE = "WINRM-HTTP-In-TCP"
PING_RULE = "FPS-ICMP4-ERQ-In"
AZURE_RULE = "AzurePlatform-Out"
GROUP_POLICY = r"Policies\Microsoft\WindowsFirewall"
TCPIP = r"CurrentControlSet\Services\Tcpip\Parameters"
NETBT = r"CurrentControlSet\Services\NetBT\Parameters\Interfaces"
PROXY_KEY = r"Microsoft\Windows\CurrentVersion\Internet Settings\Connections"
PROXY_VALUE = "WinHttpSettings"
BLOCK = 1  # DefaultOutboundAction, DefaultInboundAction
HAS_PROXY = 0x2
MAX_INTERFACES = 1000

# As Windows' own rules are once they are enabled; newer Windows read the older schema.
_NEW_RULES = {
    RDP_RULE: (
        "v2.10|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=3389|App=%SystemRoot%\\system32\\svchost.exe|"
        "Svc=termservice|Name=@FirewallAPI.dll,-28775|Desc=@FirewallAPI.dll,-28756|"
        "EmbedCtxt=@FirewallAPI.dll,-28752|"
    ),
    WINRM_RULE: (
        "v2.10|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=5985|App=System|"
        "Name=@FirewallAPI.dll,-30253|Desc=@FirewallAPI.dll,-30256|EmbedCtxt=@FirewallAPI.dll,-30267|"
    ),
    PING_RULE: (
        "v2.10|Action=Allow|Active=TRUE|Dir=In|Protocol=1|ICMP4=8:*|App=System|"
        "Name=@FirewallAPI.dll,-28543|Desc=@FirewallAPI.dll,-28547|EmbedCtxt=@FirewallAPI.dll,-28502|"
    ),
}
_NEW_AZURE_RULE = f"v2.10|Action=Allow|Active=TRUE|Dir=Out|RA4={AZURE}|Name=AzurePlatform|"


def _profile(windows: Windows, profile: str, name: str) -> int | None:
    """A setting of a profile; Group Policy's comes first."""
    value = windows.number("SOFTWARE", rf"{GROUP_POLICY}\{profile}", name)
    return windows.number("SYSTEM", rf"{POLICY}\{profile}", name) if value is None else value


def _firewall(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    rules = [rule for rule in read_rules(windows) if rule.active]
    place = windows.place("SYSTEM", RULES)
    for profile, name in PROFILES.items():
        if windows.number("SOFTWARE", rf"{GROUP_POLICY}\{profile}", "AllowLocalPolicyMerge") == 0:
            where = windows.place("SOFTWARE", rf"{GROUP_POLICY}\{profile}", "AllowLocalPolicyMerge")
            return failed(f"Group Policy lets no local rules count in the {name} profile", where)
        if _profile(windows, profile, "DoNotAllowExceptions") == 1:
            where = windows.place("SYSTEM", rf"{POLICY}\{profile}", "DoNotAllowExceptions")
            return failed(f"the {name} profile lets nothing in, whatever the rules say", where)
    blocking = next((rule for rule in rules if _blocks_rdp(rule)), None)
    if blocking:
        return failed(f"the rule {show(blocking.id)} blocks port {RDP_PORT}", place)
    if not any(allows(rule, RDP_PORT) for rule in rules):
        return failed(f"no active rule lets port {RDP_PORT} in", place)
    return _outbound(windows, rules, place)


def _blocks_rdp(rule: Rule) -> bool:
    """A block goes before every allow; one for some addresses or another program does not shut out all."""
    blocks = rule.inbound and rule.blocks and rule.any_address and rule.in_public
    if not blocks or not rule.concerns_port(RDP_PORT):
        return False
    return not rule.narrow or rule.first("SVC").lower() == "termservice"


def allows(rule: Rule, port: int) -> bool:
    """Whether an active rule lets the port in from anywhere. WinRM's names System, as http.sys listens."""
    allows = rule.inbound and not rule.blocks and rule.in_public
    if not allows or not rule.concerns_port(port):
        return False
    listener = "termservice" if port == RDP_PORT else "winrm"
    system = port != RDP_PORT and rule.first("APP").lower() == "system"
    return not rule.narrow or system or rule.first("SVC").lower() in (listener, "*")


def _outbound(windows: Windows, rules: list[Rule], place: str) -> Verdict:
    for rule in rules:
        if _blocks_azure(rule):
            return failed(f"the rule {show(rule.id)} blocks {AZURE}", place)
    allowed = any(_allows_azure(rule) for rule in rules)
    for profile, name in PROFILES.items():
        if _profile(windows, profile, "DefaultOutboundAction") == BLOCK and not allowed:
            return failed(f"the {name} profile blocks what goes out, and no rule allows {AZURE}", place)
    for profile, name in PROFILES.items():
        if _profile(windows, profile, "EnableFirewall") == 0:
            where = windows.place("SYSTEM", rf"{POLICY}\{profile}", "EnableFirewall")
            return warned(f"the firewall is off in the {name} profile", where)
    if not any(_does(rule, PING_RULE) for rule in rules):
        return warned("no active rule answers ping (FPS-ICMP4-ERQ-In)", place)
    if not any(allows(rule, WINRM_PORT) for rule in rules):
        return warned(f"no active rule lets WinRM in (port {WINRM_PORT}, WINRM-HTTP-In-TCP)", place)
    return passed(f"{len(rules)} active rules; Remote Desktop is let in, {AZURE} is reached", place)


def _blocks_azure(rule: Rule) -> bool:
    blocks = not rule.inbound and rule.blocks and not rule.narrow
    return blocks and (rule.concerns_address(AZURE) or (rule.any_address and not _limited(rule)))


def _allows_azure(rule: Rule) -> bool:
    return not rule.inbound and not rule.blocks and rule.concerns_address(AZURE)


def _limited(rule: Rule) -> bool:
    """Whether a rule without addresses is for some protocol or port only."""
    return any(rule.fields.get(name) for name in ("PROTOCOL", "RPORT", "RPORT2_10", "LPORT", "ICMP4", "IF"))


def _fix_firewall(facts: Facts) -> Iterator[Edit]:
    """Turns the profiles on, the rules of Remote Desktop, WinRM and ping too, and rules that block Remote
    Desktop or Azure's address off; lets Azure's address out where a profile lets nothing out.

    Group Policy is left alone.
    """
    windows = windows_of(facts)
    rules = {rule.id: rule for rule in _own_rules(windows)}
    key = windows.key_path("SYSTEM", RULES)
    for rule in rules.values():
        if rule.id not in _NEW_RULES and rule.active and (_blocks_rdp(rule) or _blocks_azure(rule)):
            yield SetValue(SYSTEM_HIVE, key, rule.id, "REG_SZ", deactivated(rule))
    for identifier, text in _NEW_RULES.items():
        if not any(rule.active and _does(rule, identifier) for rule in rules.values()):
            known = rules.get(identifier)
            text = activated(known) if known is not None else text
            yield SetValue(SYSTEM_HIVE, key, identifier, "REG_SZ", text)
    blocks = any(_profile(windows, profile, "DefaultOutboundAction") == BLOCK for profile in PROFILES)
    allowed = any(rule.active and _allows_azure(rule) for rule in rules.values())
    if blocks and not allowed:
        yield SetValue(SYSTEM_HIVE, key, AZURE_RULE, "REG_SZ", _NEW_AZURE_RULE)
    for profile in PROFILES:
        for name, good in (("EnableFirewall", 1), ("DoNotAllowExceptions", 0)):
            value = windows.number("SYSTEM", rf"{POLICY}\{profile}", name)
            if value is not None and value != good:
                path = windows.key_path("SYSTEM", rf"{POLICY}\{profile}")
                yield SetValue(SYSTEM_HIVE, path, name, "REG_DWORD", good)


def _does(rule: Rule, identifier: str) -> bool:
    """Whether the rule does what Windows' own of this name does."""
    if identifier == PING_RULE:
        return rule.id == PING_RULE and not rule.blocks
    return allows(rule, RDP_PORT if identifier == RDP_RULE else WINRM_PORT)


def _own_rules(windows: Windows) -> Iterator[Rule]:
    key = windows.system.find(windows.key_path("SYSTEM", RULES))
    for value in key.values() if key is not None else ():
        if isinstance(value.data, str):
            yield parse_rule(value.name, value.data)


def _static_interfaces(windows: Windows) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The keys of interfaces with an address of their own, and the values that say it."""
    key = rf"{TCPIP}\Interfaces"
    for name in windows.subkeys("SYSTEM", key)[:MAX_INTERFACES]:
        path = rf"{key}\{name}"
        addresses = [a for a in windows.texts("SYSTEM", path, "IPAddress") if a != "0.0.0.0"]
        if windows.number("SYSTEM", path, "EnableDHCP") == 0 and addresses:
            yield path, ("IPAddress", "SubnetMask", "DefaultGateway", "NameServer")
        elif windows.text("SYSTEM", path, "NameServer"):
            yield path, ("NameServer",)


def _dhcp(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    for path, names in _static_interfaces(windows):
        static = "IPAddress" in names
        found = "a fixed address" if static else "fixed name servers"
        name = "EnableDHCP" if static else "NameServer"
        return (failed if static else warned)(
            f"an interface has {found}", windows.place("SYSTEM", path, name)
        )
    if windows.text("SYSTEM", TCPIP, "NameServer"):
        return warned("name servers are fixed", windows.place("SYSTEM", TCPIP, "NameServer"))
    wins = next(_wins(windows), None)
    if wins:
        return warned("WINS servers are fixed", windows.place("SYSTEM", wins, "NameServerList"))
    if _routes(windows):
        return warned("there are persistent routes", windows.place("SYSTEM", rf"{TCPIP}\PersistentRoutes"))
    return passed("addresses, name servers and routes come from DHCP", windows.place("SYSTEM", TCPIP))


def _wins(windows: Windows) -> Iterator[str]:
    """The keys of interfaces with WINS servers of their own; DHCP's are in another value."""
    for name in windows.subkeys("SYSTEM", NETBT)[:MAX_INTERFACES]:
        if windows.texts("SYSTEM", rf"{NETBT}\{name}", "NameServerList"):
            yield rf"{NETBT}\{name}"


def _routes(windows: Windows) -> list[str]:
    key = windows.system.find(windows.key_path("SYSTEM", rf"{TCPIP}\PersistentRoutes"))
    return [value.name for value in key.values()] if key is not None else []


def _fix_dhcp(facts: Facts) -> Iterator[Edit]:
    windows = windows_of(facts)
    for path, names in _static_interfaces(windows):
        key = windows.key_path("SYSTEM", path)
        if "IPAddress" in names:
            yield SetValue(SYSTEM_HIVE, key, "EnableDHCP", "REG_DWORD", 1)
        for name in names:
            if windows.value("SYSTEM", path, name) is not None:
                yield DeleteValue(SYSTEM_HIVE, key, name)
    if windows.text("SYSTEM", TCPIP, "NameServer"):
        yield SetValue(SYSTEM_HIVE, windows.key_path("SYSTEM", TCPIP), "NameServer", "REG_SZ", "")
    for key in _wins(windows):
        path = windows.key_path("SYSTEM", key)
        yield SetValue(SYSTEM_HIVE, path, "NameServerList", "REG_MULTI_SZ", ())
    for route in _routes(windows):
        yield DeleteValue(SYSTEM_HIVE, windows.key_path("SYSTEM", rf"{TCPIP}\PersistentRoutes"), route)


def parse_proxy(data: bytes) -> tuple[str, str] | None:
    """Proxy and bypass list of WinHttpSettings; None when it goes direct or is not understood.

    Little-endian u32: size of the head, counter, flags (2: has a proxy); then each text after its length.
    """
    if len(data) < 16 or not struct.unpack_from("<I", data, 8)[0] & HAS_PROXY:
        return None
    length = struct.unpack_from("<I", data, 12)[0]
    end = 16 + length
    if end + 4 > len(data):
        return None
    size = struct.unpack_from("<I", data, end)[0]
    return data[16:end].decode("latin-1"), data[end + 4 : end + 4 + size].decode("latin-1")


def _proxy(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    place = windows.place("SOFTWARE", PROXY_KEY, PROXY_VALUE)
    data = windows.data("SOFTWARE", PROXY_KEY, PROXY_VALUE)
    found = parse_proxy(data) if isinstance(data, bytes) else None
    if found is None:
        return passed("WinHTTP goes direct")
    if AZURE in [part.strip() for part in found[1].split(";")]:
        return passed(f"WinHTTP has a proxy, and reaches {AZURE} without it", place)
    return failed(f"WinHTTP has a proxy, and would reach {AZURE} through it", place)


def _fix_proxy(facts: Facts) -> Iterator[Edit]:
    """Adds Azure's address to the bypass list."""
    windows = windows_of(facts)
    data = windows.data("SOFTWARE", PROXY_KEY, PROXY_VALUE)
    found = parse_proxy(data) if isinstance(data, bytes) else None
    if found is None or not isinstance(data, bytes) or AZURE in found[1].split(";"):
        return
    proxy, bypass = (text.encode("latin-1") for text in found)
    rest = data[20 + len(proxy) + len(bypass) :]
    bypass = b";".join(part for part in (bypass, AZURE.encode()) if part)
    texts = struct.pack("<I", len(proxy)) + proxy + struct.pack("<I", len(bypass)) + bypass
    yield SetValue(SOFTWARE_HIVE, PROXY_KEY, PROXY_VALUE, "REG_BINARY", data[:12] + texts + rest)


CHECKS = (
    Check(
        "win-firewall",
        "the firewall lets in Remote Desktop and lets out to Azure",
        Severity.PROVISION,
        "nobody can log in, or the agent does not reach Azure and the VM never reports Ready",
        sources.PREPARE,
        has_windows,
        _firewall,
        "run `Enable-NetFirewallRule -DisplayGroup 'Remote Desktop'`; take blocking rules away",
        fix=_fix_firewall,
    ),
    Check(
        "win-network-dhcp",
        "addresses come from DHCP",
        Severity.PROVISION,
        "the interface keeps an address of another network, and nothing reaches the VM",
        sources.PREPARE,
        has_windows,
        _dhcp,
        "set the interface to DHCP, and remove persistent routes with `route delete`",
        fix=_fix_dhcp,
    ),
    Check(
        "win-proxy",
        "Azure's own address is reached without a proxy",
        Severity.PROVISION,
        "the agent asks 168.63.129.16 through a proxy that does not know it, and the VM never reports Ready",
        sources.PREPARE,
        has_windows,
        _proxy,
        "run `netsh winhttp reset proxy`, or add 168.63.129.16 to the bypass list",
        fix=_fix_proxy,
    ),
    settings_check(
        "win-services",
        "the services that a connection needs are not disabled",
        Severity.PROVISION,
        "the VM gets no address, or nobody can log in",
        sources.PREPARE,
        (
            *(
                service(name, 2, 3, absent=False, fails=True)
                for name in ("BFE", "Dhcp", "Dnscache", "nsi", "mpssvc")
            ),
            *(service(name, 3, 2, fails=True) for name in ("Netman", "Netlogon")),
        ),
        "none is disabled",
        "run `Set-Service -Name ... -StartupType Automatic`",
    ),
    settings_check(
        "win-service-starts",
        "services start as Windows' defaults say",
        Severity.BEST,
        "what depends on them works only after somebody started them",
        sources.PREPARE,
        (
            *(service(name, 2) for name in ("BFE", "Dhcp", "Dnscache", "iphlpsvc", "nsi", "mpssvc")),
            service("IKEEXT", 2, 3),
            service("RemoteRegistry", 2),
        ),
        "as by default",
        "run `Set-Service -Name ... -StartupType Automatic`",
    ),
)

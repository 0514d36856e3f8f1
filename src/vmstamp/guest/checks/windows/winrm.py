r"""The check of WinRM: that it starts, where it listens, and whether the firewall lets that in.

SOFTWARE\Microsoft\Windows\CurrentVersion\WSMAN\Listener has a key for each listener, ADDRESS+TRANSPORT, as
`*+HTTP`. Its values: Port, uriprefix, enabled (absent: 1), hostname, certThumbprint. Spec: [MS-WSMV]
2.2.4.19 ListenerType; the names are those that `reg export` of Windows Server 2012 R2 and 2016 shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vmstamp.guest.checks.windows import sources
from vmstamp.guest.checks.windows.network import WINRM_PORT, allows
from vmstamp.guest.checks.windows.settings import service, show, windows_of
from vmstamp.guest.edits import Edit, SetValue
from vmstamp.guest.facts import Facts, has_windows
from vmstamp.guest.finding import Check, Severity, Verdict, passed, warned
from vmstamp.guest.windows.firewall import read_rules
from vmstamp.guest.windows.system import SOFTWARE_HIVE, Windows

SERVICE = r"CurrentControlSet\Services\WinRM"
LISTENERS = r"Microsoft\Windows\CurrentVersion\WSMAN\Listener"
POLICY = r"Policies\Microsoft\Windows\WinRM\Service"
CERTIFICATES = r"Microsoft\SystemCertificates\MY\Certificates"
PORTS = {"HTTP": WINRM_PORT, "HTTPS": 5986}
EVERY = "*"
MAX_LISTENERS = 100


@dataclass(frozen=True)
class Listener:
    """Where WinRM listens: `address` is *, `IP:...` or `MAC:...`. `problem`: why nobody reaches it there."""

    address: str
    transport: str
    port: int
    key: str
    problem: str = ""


def find_listeners(windows: Windows) -> list[Listener]:
    """The listeners of the registry and that of Group Policy. GuestError when a hive is damaged."""
    names = windows.subkeys("SOFTWARE", LISTENERS)[:MAX_LISTENERS]
    found = [_listener(windows, name) for name in names]
    if windows.number("SOFTWARE", POLICY, "AllowAutoConfig") == 1:
        addresses = windows.text("SOFTWARE", POLICY, "IPv4Filter")
        found.append(
            Listener(addresses, "HTTP", WINRM_PORT, POLICY, "" if addresses else "it has no address")
        )
    return found


def _listener(windows: Windows, name: str) -> Listener:
    address, _, transport = name.partition("+")
    transport, key = transport.upper(), rf"{LISTENERS}\{name}"
    port = windows.number("SOFTWARE", key, "Port") or PORTS.get(transport, 0)
    return Listener(address, transport, port, key, _problem(windows, key, address, transport))


def _problem(windows: Windows, key: str, address: str, transport: str) -> str:
    if transport not in PORTS:
        return f"its transport is {show(transport) or 'not told'}"
    if windows.number("SOFTWARE", key, "enabled") == 0:
        return "it is disabled"
    if address != EVERY:
        return f"it is for {show(address) or 'no address'}, which is another machine's"
    thumbprint = windows.text("SOFTWARE", key, "certThumbprint").replace(" ", "")
    if transport == "HTTPS" and not thumbprint:
        return "it has no certificate"
    if transport == "HTTPS" and not windows.has_key("SOFTWARE", rf"{CERTIFICATES}\{thumbprint}"):
        return "its certificate is not in the machine's store"
    return ""


def _winrm(facts: Facts) -> Verdict:
    windows = windows_of(facts)
    if windows.number("SYSTEM", SERVICE, "Start") != 2:
        return warned("WinRM does not start", windows.place("SYSTEM", SERVICE, "Start"))
    if windows.number("SOFTWARE", POLICY, "AllowAutoConfig") == 0:
        where = windows.place("SOFTWARE", POLICY, "AllowAutoConfig")
        return warned("Group Policy lets WinRM listen nowhere", where)
    listeners = find_listeners(windows)
    good = [listener for listener in listeners if not listener.problem]
    if not listeners:
        return warned("WinRM has no listener", windows.place("SOFTWARE", LISTENERS))
    if not good:
        first = listeners[0]
        where = windows.place("SOFTWARE", first.key)
        return warned(f"WinRM's listener for {show(first.transport)} is of no use: {first.problem}", where)
    closed = _closed(windows, good)
    if closed is not None:
        where = windows.place("SOFTWARE", closed.key, "Port")
        return warned(f"WinRM listens on port {closed.port} only, which no active rule lets in", where)
    text = " and ".join(f"{listener.transport} on port {listener.port}" for listener in good[:2])
    return passed(f"WinRM starts and listens: {text}", windows.place("SOFTWARE", good[0].key))


def _closed(windows: Windows, listeners: list[Listener]) -> Listener | None:
    """The first listener, when the firewall lets none of them in. win-firewall asks for WinRM's own port."""
    if any(listener.port == WINRM_PORT for listener in listeners):
        return None
    rules = [rule for rule in read_rules(windows) if rule.active]
    if any(allows(rule, listener.port) for rule in rules for listener in listeners):
        return None
    return listeners[0]


def _fix_winrm(facts: Facts) -> Iterator[Edit]:
    """The service starts; and a listener for HTTP on every address, where none is of use. Policy stays."""
    windows, start = windows_of(facts), service("WinRM", 2)
    if start.problem(windows):
        yield start.edit(windows)
    if windows.number("SOFTWARE", POLICY, "AllowAutoConfig") is not None:
        return
    if any(not listener.problem for listener in find_listeners(windows)):
        return
    key = rf"{LISTENERS}\{EVERY}+HTTP"
    yield SetValue(SOFTWARE_HIVE, key, "Port", "REG_DWORD", WINRM_PORT)
    yield SetValue(SOFTWARE_HIVE, key, "uriprefix", "REG_SZ", "wsman")
    if windows.number("SOFTWARE", key, "enabled") == 0:
        yield SetValue(SOFTWARE_HIVE, key, "enabled", "REG_DWORD", 1)


CHECKS = (
    Check(
        "win-winrm",
        "WinRM listens",
        Severity.BEST,
        "the VM cannot be managed by PowerShell remoting",
        sources.PREPARE,
        has_windows,
        _winrm,
        "run `Enable-PSRemoting -Force`",
        fix=_fix_winrm,
    ),
)
